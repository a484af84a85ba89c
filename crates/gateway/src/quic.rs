//! QUIC to named addresses: read for whom it is, recorded, and refused. Nobody forwards it yet; clients fall back to TCP.
//!
//! Enters: datagrams of pods to port 443, steered here by the kernel. Leaves: one record for each flow, with the name that
//! its hello asks for where that can be read. Guarantees: what is remembered is bounded; nothing is forwarded or answered.

use crate::decide::{Claim, Judgement, Unreadable};
use crate::reason::{End, Reason};
use crate::record::Guard;
use crate::serve::Gateway;
use ::inspect::quic::{Initials, Outcome};
use nix::sys::socket::{ControlMessageOwned, MsgFlags, SockaddrStorage, recvmsg};
use std::collections::HashMap;
use std::io::{self, IoSliceMut};
use std::net::{IpAddr, SocketAddr, SocketAddrV4, SocketAddrV6, UdpSocket};
use std::os::fd::AsRawFd;
use std::sync::Arc;
use std::time::{Duration, Instant};
use tokio::io::Interest;
use tokio::task::JoinSet;

/// The port at which QUIC is looked for.
const PORT: u16 = 443;
/// Longest datagram that is read.
const LONGEST: usize = 2048;
/// Flows that are remembered; beyond these the oldest give way.
const FLOWS: usize = 1024;
/// A flow that is silent so long is over: its record is written, and the next datagram begins another.
const SILENCE: Duration = Duration::from_secs(5);

/// Who sends, and where to.
type Flow = (SocketAddr, SocketAddr);

/// A flow whose record is not written before it ends.
struct Reading {
    guard: Guard,
    /// None: its hello was read, or cannot be.
    initials: Option<Initials>,
    last: Instant,
}

/// Refuses what comes to these sockets. Returns only with an error.
pub(crate) async fn refuse(gateway: &Arc<Gateway>, sockets: Vec<UdpSocket>) -> io::Result<()> {
    let mut each = JoinSet::new();
    for socket in sockets {
        socket.set_nonblocking(true)?;
        each.spawn(refuse_at(Arc::clone(gateway), tokio::net::UdpSocket::from_std(socket)?));
    }
    match each.join_next().await {
        Some(ended) => ended.unwrap_or_else(|error| Err(io::Error::other(error))),
        None => std::future::pending().await,
    }
}

async fn refuse_at(gateway: Arc<Gateway>, socket: tokio::net::UdpSocket) -> io::Result<()> {
    let mut flows: HashMap<Flow, Reading> = HashMap::new();
    let mut buffer = vec![0; LONGEST];
    let mut swept = Instant::now();
    loop {
        let received = socket.async_io(Interest::READABLE, || receive(&socket, &mut buffer));
        if let Ok(received) = tokio::time::timeout(SILENCE, received).await
            && let Some((flow, length)) = received?
        {
            take(&gateway, &mut flows, flow, buffer.get(..length).unwrap_or_default());
        }
        // Also while others go on sending.
        if swept.elapsed() >= SILENCE {
            swept = Instant::now();
            flows.retain(|_, reading| reading.last.elapsed() < SILENCE);
        }
    }
}

fn take(gateway: &Gateway, flows: &mut HashMap<Flow, Reading>, flow: Flow, datagram: &[u8]) {
    let now = Instant::now();
    if !flows.contains_key(&flow) && flows.len() >= FLOWS {
        flows.retain(|_, reading| now.duration_since(reading.last) < SILENCE);
        let oldest = flows.iter().min_by_key(|(_, reading)| reading.last).map(|(flow, _)| *flow);
        if flows.len() >= FLOWS
            && let Some(oldest) = oldest
        {
            flows.remove(&oldest);
        }
    }
    let reading = flows.entry(flow).or_insert_with(|| {
        let (pod, destination) = flow;
        let mut guard = gateway.guard(pod, destination);
        guard.judged(&Judgement::without_rule(Reason::Quic));
        guard.ended(End::Refused);
        Reading { guard, initials: Some(Initials::new()), last: now }
    });
    reading.last = now;
    let Some(initials) = &mut reading.initials else { return };
    let claim = match initials.push(datagram) {
        Outcome::NeedMore => return,
        Outcome::Hello(hello) => Claim::Tls(hello),
        Outcome::NotQuic | Outcome::Version(_) => Claim::Opaque,
        Outcome::Malformed(flaw) => Claim::Unreadable(Unreadable::Tls(flaw)),
        Outcome::TooLarge => Claim::Unreadable(Unreadable::TlsTooLarge),
    };
    reading.guard.claims(&claim);
    reading.initials = None;
}

/// A datagram: its flow, and how long it is. None: it does not say where it was going.
fn receive(socket: &tokio::net::UdpSocket, buffer: &mut [u8]) -> io::Result<Option<(Flow, usize)>> {
    let mut space = nix::cmsg_space!(nix::libc::in6_pktinfo);
    let mut slices = [IoSliceMut::new(buffer)];
    let received =
        recvmsg::<SockaddrStorage>(socket.as_raw_fd(), &mut slices, Some(&mut space), MsgFlags::empty())?;
    let to = received.cmsgs()?.find_map(|control| match control {
        ControlMessageOwned::Ipv4PacketInfo(info) => Some(IpAddr::from(info.ipi_addr.s_addr.to_ne_bytes())),
        ControlMessageOwned::Ipv6PacketInfo(info) => Some(IpAddr::from(info.ipi6_addr.s6_addr)),
        _ => None,
    });
    let from = received.address.as_ref().and_then(|from| {
        let v4 = from.as_sockaddr_in().map(|from| SocketAddr::from(SocketAddrV4::from(*from)));
        v4.or_else(|| from.as_sockaddr_in6().map(|from| SocketAddr::from(SocketAddrV6::from(*from))))
    });
    Ok(from.zip(to).map(|(from, to)| ((from, SocketAddr::new(to, PORT)), received.bytes)))
}
