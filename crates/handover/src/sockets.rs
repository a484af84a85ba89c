//! Makes the sockets that what pods send comes to. The agent makes and holds them, so that it waits in them while the proxy
//! starts again.
//!
//! Enters: addresses, in the network namespace of the calling thread. Leaves: open sockets.
//! Guarantees: a datagram tells which address it was sent to, and its answer can come from there.
//! Does not: steer packets; the kernel's `tproxy` rule and the route for its mark are the datapath's.

use crate::{Assembly, send_with};
use nix::errno::Errno;
use nix::sys::socket::sockopt::{
    IpTransparent, Ipv4PacketInfo, Ipv6RecvPacketInfo, Ipv6V6Only, RcvBuf, RcvBufForce, ReuseAddr,
};
use nix::sys::socket::{
    AddressFamily, Backlog, SockFlag, SockType, SockaddrStorage, bind, listen, setsockopt, socket,
};
use std::io;
use std::net::{SocketAddr, TcpListener};
use std::os::fd::{AsFd, AsRawFd, OwnedFd};
use std::os::unix::net::UnixListener;
use std::path::Path;
use thiserror::Error;

/// Bytes of datagrams that wait in the kernel while the proxy is busy or starts again.
const QUEUE: usize = 4 << 20;

/// Connections that wait to be accepted.
const BACKLOG: i32 = 4096;

/// Ports that the kernel chose and somebody else has for datagrams, before giving up.
const TRIES: usize = 16;

/// Whether packets come that were sent to other addresses.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Steering {
    /// By `tproxy`; needs `CAP_NET_ADMIN`.
    Transparent,
    /// None; for tests and measurements.
    None,
}

/// A socket could not be made.
#[derive(Debug, Error)]
#[error("{doing} {address}: {source}")]
pub struct SocketError {
    doing: &'static str,
    address: String,
    source: io::Error,
}

/// The sockets of one proxy.
#[derive(Debug, Default)]
pub struct Sockets {
    /// For datagrams, at most one a family.
    pub udp: Vec<OwnedFd>,
    /// For connections.
    pub tcp: Vec<OwnedFd>,
    /// Where the next agent finds the proxy of one that died; which waits for it there.
    pub control: Option<OwnedFd>,
}

impl Sockets {
    /// Makes a socket for datagrams and one for connections at each address. For port 0 the kernel chooses one, the same
    /// for both.
    ///
    /// # Errors
    /// The address is taken, or the privilege is missing.
    pub fn bind(addresses: &[SocketAddr], steering: Steering) -> Result<Self, SocketError> {
        let mut sockets = Self::default();
        for address in addresses {
            let (udp, tcp) = pair(*address, steering)?;
            sockets.udp.push(udp);
            sockets.tcp.push(tcp);
        }
        Ok(sockets)
    }

    /// Makes the socket of the file system where the next agent finds the proxy. An old file is replaced; who may reach
    /// it is for the folder to say.
    ///
    /// # Errors
    /// The file cannot be made.
    pub fn with_control(mut self, path: &Path) -> Result<Self, SocketError> {
        let failed =
            |source| SocketError { doing: "listening at", address: path.display().to_string(), source };
        match std::fs::remove_file(path) {
            Err(error) if error.kind() != io::ErrorKind::NotFound => return Err(failed(error)),
            Ok(()) | Err(_) => {}
        }
        self.control = Some(UnixListener::bind(path).map_err(failed)?.into());
        Ok(self)
    }

    /// Where they are to be reached.
    ///
    /// # Errors
    /// One of them is no socket for connections.
    pub fn listening(&self) -> io::Result<Vec<SocketAddr>> {
        self.tcp.iter().map(|socket| TcpListener::from(socket.try_clone()?).local_addr()).collect()
    }

    /// How many there are for datagrams and for connections, and whether there is one for the next agent.
    pub fn counts(&self) -> (usize, usize, bool) {
        (self.udp.len(), self.tcp.len(), self.control.is_some())
    }

    /// Sends bytes with all of them; how many bytes went.
    ///
    /// # Errors
    /// As [`crate::send_with`].
    pub fn send_with(&self, stream: impl AsFd, bytes: &[u8]) -> io::Result<usize> {
        let all = self.udp.iter().chain(&self.tcp).chain(&self.control);
        send_with(stream, bytes, &all.map(AsFd::as_fd).collect::<Vec<_>>())
    }

    /// Those that came with a message that counted them.
    ///
    /// # Errors
    /// Others came.
    pub fn taken(assembly: &mut Assembly, (udp, tcp, control): (usize, usize, bool)) -> io::Result<Self> {
        let all = udp.saturating_add(tcp).saturating_add(usize::from(control));
        let mut fds = assembly.take_fds(all)?.into_iter();
        let udp = fds.by_ref().take(udp).collect();
        let tcp = fds.by_ref().take(tcp).collect();
        Ok(Self { udp, tcp, control: fds.next() })
    }

    /// The same sockets once more.
    ///
    /// # Errors
    /// Too many open files.
    pub fn try_clone(&self) -> io::Result<Self> {
        let all =
            |sockets: &[OwnedFd]| sockets.iter().map(OwnedFd::try_clone).collect::<io::Result<Vec<_>>>();
        Ok(Self {
            udp: all(&self.udp)?,
            tcp: all(&self.tcp)?,
            control: self.control.as_ref().map(OwnedFd::try_clone).transpose()?,
        })
    }
}

fn pair(address: SocketAddr, steering: Steering) -> Result<(OwnedFd, OwnedFd), SocketError> {
    let mut left = if address.port() == 0 { TRIES } else { 1 };
    loop {
        let tcp = tcp(address, steering)?;
        let socket = tcp.try_clone().map(TcpListener::from);
        let port = socket.and_then(|socket| socket.local_addr()).map_err(|source| SocketError {
            doing: "asking for the port of",
            address: address.to_string(),
            source,
        })?;
        left -= 1;
        match udp(port, steering) {
            Ok(udp) => return Ok((udp, tcp)),
            Err(error) if left == 0 => return Err(error),
            Err(_) => {}
        }
    }
}

/// A socket for datagrams that tells where each was sent to.
///
/// # Errors
/// See [`Sockets::bind`].
pub fn udp(address: SocketAddr, steering: Steering) -> Result<OwnedFd, SocketError> {
    make(address, SockType::Datagram, steering, |fd| {
        match address {
            SocketAddr::V4(_) => setsockopt(fd, Ipv4PacketInfo, &true)?,
            SocketAddr::V6(_) => setsockopt(fd, Ipv6RecvPacketInfo, &true)?,
        }
        // Beyond the system's limit with the privilege, else up to it.
        setsockopt(fd, RcvBufForce, &QUEUE).or_else(|_| setsockopt(fd, RcvBuf, &QUEUE))
    })
}

/// A socket that listens for connections.
///
/// # Errors
/// See [`Sockets::bind`].
pub fn tcp(address: SocketAddr, steering: Steering) -> Result<OwnedFd, SocketError> {
    let socket = make(address, SockType::Stream, steering, |fd| setsockopt(fd, ReuseAddr, &true))?;
    let listening = Backlog::new(BACKLOG).and_then(|backlog| listen(&socket, backlog));
    listening.map_err(|error| failed("listening at", address, error))?;
    Ok(socket)
}

fn make(
    address: SocketAddr,
    kind: SockType,
    steering: Steering,
    options: impl Fn(&OwnedFd) -> Result<(), Errno>,
) -> Result<OwnedFd, SocketError> {
    let family = if address.is_ipv4() { AddressFamily::Inet } else { AddressFamily::Inet6 };
    let flags = SockFlag::SOCK_CLOEXEC | SockFlag::SOCK_NONBLOCK;
    let fd =
        socket(family, kind, flags, None).map_err(|error| failed("opening a socket for", address, error))?;
    let set = || {
        if address.is_ipv6() {
            setsockopt(&fd, Ipv6V6Only, &true)?;
        }
        if steering == Steering::Transparent {
            // One flag for both families; it also allows to bind and to send from addresses that are not local.
            setsockopt(&fd, IpTransparent, &true)?;
        }
        options(&fd)
    };
    set().map_err(|error| failed("preparing a socket for", address, error))?;
    bind(fd.as_raw_fd(), &SockaddrStorage::from(address))
        .map_err(|error| failed("binding", address, error))?;
    Ok(fd)
}

fn failed(doing: &'static str, address: SocketAddr, error: Errno) -> SocketError {
    SocketError { doing, address: address.to_string(), source: error.into() }
}
