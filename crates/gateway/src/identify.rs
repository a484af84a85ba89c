//! Who opened a connection, and where it was going: the kernel keeps both on a steered connection.

use std::io;
use std::net::{IpAddr, SocketAddr};
use tokio::net::TcpStream;

/// Both ends as the pod meant them.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Ends {
    pub(crate) pod: SocketAddr,
    /// Steered by tproxy, the socket's own address is the one that the pod connected to.
    pub(crate) destination: SocketAddr,
}

impl Ends {
    pub(crate) fn of(stream: &TcpStream, pod: SocketAddr) -> io::Result<Self> {
        Ok(Self { pod: plain(pod), destination: plain(stream.local_addr()?) })
    }
}

/// An IPv4 address that a socket of both families shows as IPv6 is IPv4.
fn plain(address: SocketAddr) -> SocketAddr {
    match address.ip() {
        IpAddr::V6(_) => SocketAddr::new(address.ip().to_canonical(), address.port()),
        IpAddr::V4(_) => address,
    }
}
