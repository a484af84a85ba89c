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
    if let Some(budget) = permit.judgement().budget {
        count_on(&socket, budget)?;
    }
    socket.set_nodelay(true)?;
    match tokio::time::timeout(limits.connect_timeout, socket.connect(to)).await {
        Ok(connected) => connected,
        Err(_) => Err(io::ErrorKind::TimedOut.into()),
    }
}

/// Has the kernel count what the socket sends on a budget: the datapath knows it by the packets' priority, which it sets
/// back before anybody else looks at it.
fn count_on(socket: &TcpSocket, budget: u32) -> io::Result<()> {
    let number = i32::try_from(budget).map_err(|_| io::ErrorKind::InvalidInput)?;
    Ok(setsockopt(socket, sockopt::Priority, &number)?)
}
