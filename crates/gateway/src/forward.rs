//! Opens the way to the server of a permitted connection.

use crate::decide::Permit;
use crate::settings::Limits;
use nix::sys::socket::{setsockopt, sockopt};
use std::io;
use std::net::SocketAddr;
use tokio::net::{TcpSocket, TcpStream};

/// Connects to where the pod was going, from the node's own address.
pub(crate) async fn connect(permit: &Permit, limits: &Limits) -> io::Result<TcpStream> {
    let to = permit.opening().destination;
    let socket = match to {
        SocketAddr::V4(_) => TcpSocket::new_v4()?,
        SocketAddr::V6(_) => TcpSocket::new_v6()?,
    };
    if limits.mark != 0 {
        setsockopt(&socket, sockopt::Mark, &limits.mark)?;
    }
    socket.set_nodelay(true)?;
    match tokio::time::timeout(limits.connect_timeout, socket.connect(to)).await {
        Ok(connected) => connected,
        Err(_) => Err(io::ErrorKind::TimedOut.into()),
    }
}
