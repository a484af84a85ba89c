//! Opens the way to the server of a permitted connection.

use crate::decide::Permit;
use nix::sys::socket::{setsockopt, sockopt};
use std::io;
use std::net::SocketAddr;
use std::os::fd::AsFd;
use std::time::Duration;
use tokio::net::{TcpSocket, TcpStream};

/// The server of a permitted connection.
#[derive(Debug, Default)]
pub(crate) enum Server {
    /// To be connected to.
    #[default]
    Unopened,
    /// To be connected to with this mark on what is sent; with 0 without.
    Marked(u32),
    /// Connected to under an earlier permit for the same place.
    Open(TcpStream),
}

impl Server {
    /// The connection to it.
    pub(crate) async fn open(self, permit: &Permit, within: Duration) -> io::Result<TcpStream> {
        match self {
            Self::Unopened => connect(permit, within, 0).await,
            Self::Marked(mark) => connect(permit, within, mark).await,
            Self::Open(server) => {
                // Without a budget it draws on none.
                count_on(&server, permit.judgement().budget.unwrap_or(0))?;
                Ok(server)
            }
        }
    }
}

/// Connects to where the pod was going, from the node's own address.
pub(crate) async fn connect(permit: &Permit, within: Duration, mark: u32) -> io::Result<TcpStream> {
    let to = permit.opening().destination;
    let socket = match to {
        SocketAddr::V4(_) => TcpSocket::new_v4()?,
        SocketAddr::V6(_) => TcpSocket::new_v6()?,
    };
    if let Some(budget) = permit.judgement().budget {
        count_on(&socket, budget)?;
    }
    if mark != 0 {
        setsockopt(&socket, sockopt::Mark, &mark)?;
    }
    socket.set_nodelay(true)?;
    match tokio::time::timeout(within, socket.connect(to)).await {
        Ok(connected) => connected,
        Err(_) => Err(io::ErrorKind::TimedOut.into()),
    }
}

/// Has the kernel count what the socket sends on a budget: the datapath knows it by the packets' priority, which it sets
/// back before anybody else looks at it.
fn count_on(socket: &impl AsFd, budget: u32) -> io::Result<()> {
    let number = i32::try_from(budget).map_err(|_| io::ErrorKind::InvalidInput)?;
    Ok(setsockopt(socket, sockopt::Priority, &number)?)
}
