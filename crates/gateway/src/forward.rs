//! Opens the way to the server of a permitted connection.

use crate::decide::Permit;
use nix::sys::socket::{setsockopt, sockopt};
use std::io;
use std::net::SocketAddr;
use std::os::fd::AsFd;
use std::time::Duration;
use tokio::net::{TcpSocket, TcpStream};

/// Connects to where the pod was going, from the node's own address.
pub(crate) async fn connect(permit: &Permit, within: Duration) -> io::Result<TcpStream> {
    let to = permit.opening().destination;
    let socket = match to {
        SocketAddr::V4(_) => TcpSocket::new_v4()?,
        SocketAddr::V6(_) => TcpSocket::new_v6()?,
    };
    if let Some(budget) = permit.judgement().budget {
        count_on(&socket, budget)?;
    }
    socket.set_nodelay(true)?;
    match tokio::time::timeout(within, socket.connect(to)).await {
        Ok(connected) => connected,
        Err(_) => Err(io::ErrorKind::TimedOut.into()),
    }
}

/// Goes on with a server that was connected to under an earlier permit for the same place.
pub(crate) fn adopt(server: TcpStream, permit: &Permit) -> io::Result<TcpStream> {
    // Without a budget it draws on none.
    count_on(&server, permit.judgement().budget.unwrap_or(0))?;
    Ok(server)
}

/// Has the kernel count what the socket sends on a budget: the datapath knows it by the packets' priority, which it sets
/// back before anybody else looks at it.
fn count_on(socket: &impl AsFd, budget: u32) -> io::Result<()> {
    let number = i32::try_from(budget).map_err(|_| io::ErrorKind::InvalidInput)?;
    Ok(setsockopt(socket, sockopt::Priority, &number)?)
}
