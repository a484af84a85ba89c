//! Datagrams in batches: one call to the kernel for many.
//!
//! Enters: sockets that are ready. Leaves: datagrams with their sender and the address they were sent to; and the way
//! back, each answer from the address that was asked.
//! Does not: wait.

use crate::question::UDP_LIMIT;
use nix::libc;
use nix::sys::socket::{
    ControlMessage, ControlMessageOwned, MsgFlags, MultiHeaders, RecvMsg, SockaddrStorage, recvmmsg, sendmmsg,
};
use std::fmt;
use std::io::{self, IoSlice, IoSliceMut};
use std::net::{IpAddr, SocketAddr};
use std::os::fd::{AsFd, AsRawFd};

/// Datagrams in one call.
const BATCH: usize = 64;

/// Longest datagram that is read; queries and answers that respect [`UDP_LIMIT`] are shorter.
const LONGEST: usize = 4096;
const _: () = assert!(LONGEST > UDP_LIMIT as usize);

/// Datagrams that a call makes room for at least.
const FEW: usize = 8;

/// Space for datagrams on their way in.
pub(crate) struct Inbox {
    buffers: Vec<Box<[u8]>>,
    /// How many the next call makes room for: what takes none costs as well.
    expected: usize,
    headers: MultiHeaders<SockaddrStorage>,
}

impl fmt::Debug for Inbox {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Inbox")
    }
}

/// Space for what tells where a datagram was sent to or comes from.
fn control_space() -> Vec<u8> {
    nix::cmsg_space!(libc::in6_pktinfo)
}

impl Inbox {
    /// For sockets of one kind and family: the sizes that the kernel wrote into the headers stay there for the next call,
    /// so that a datagram that tells more than the one before would be cut.
    pub(crate) fn new() -> Self {
        Self {
            buffers: vec![vec![0; LONGEST].into(); BATCH],
            expected: FEW,
            headers: MultiHeaders::preallocate(BATCH, Some(control_space())),
        }
    }

    /// Reads what is there, up to a batch; whether there may be more. `each` gets sender, destination where the socket
    /// tells it, and bytes.
    pub(crate) fn receive(
        &mut self,
        socket: impl AsFd,
        mut each: impl FnMut(SocketAddr, Option<IpAddr>, &[u8]),
    ) -> io::Result<bool> {
        let expected = self.expected;
        let room = self.buffers.iter_mut().take(expected);
        let mut slices: Vec<[IoSliceMut<'_>; 1]> = room.map(|buffer| [IoSliceMut::new(buffer)]).collect();
        let socket = socket.as_fd().as_raw_fd();
        let flags = MsgFlags::MSG_DONTWAIT;
        let received = recvmmsg(socket, &mut self.headers, slices.iter_mut(), flags, None)?;
        let mut count = 0;
        for message in received {
            count += 1;
            let whole = !message.flags.contains(MsgFlags::MSG_TRUNC);
            let from = message.address.as_ref().and_then(to_std);
            if let (Some(from), true) = (from, whole) {
                each(from, destination(&message), message.iovs().next().unwrap_or_default());
            }
        }
        self.expected = (count * 2).clamp(FEW, BATCH);
        Ok(count == expected)
    }
}

fn to_std(address: &SockaddrStorage) -> Option<SocketAddr> {
    let v4 = address.as_sockaddr_in().map(|it| SocketAddr::new(it.ip().into(), it.port()));
    v4.or_else(|| address.as_sockaddr_in6().map(|it| SocketAddr::new(it.ip().into(), it.port())))
}

fn destination(message: &RecvMsg<'_, '_, SockaddrStorage>) -> Option<IpAddr> {
    message.cmsgs().ok()?.find_map(|control| match control {
        ControlMessageOwned::Ipv4PacketInfo(info) => Some(IpAddr::from(info.ipi_addr.s_addr.to_ne_bytes())),
        ControlMessageOwned::Ipv6PacketInfo(info) => Some(IpAddr::from(info.ipi6_addr.s6_addr)),
        _ => None,
    })
}

/// A datagram on its way out.
pub(crate) struct Letter {
    pub(crate) to: SocketAddr,
    pub(crate) bytes: Vec<u8>,
}

/// Space for datagrams on their way out.
pub(crate) struct Post {
    from_v4: MultiHeaders<SockaddrStorage>,
    from_v6: MultiHeaders<SockaddrStorage>,
    plain: MultiHeaders<SockaddrStorage>,
}

impl Post {
    pub(crate) fn new() -> Self {
        let with = |space| MultiHeaders::preallocate(BATCH, space);
        Self {
            from_v4: with(Some(nix::cmsg_space!(libc::in_pktinfo))),
            from_v6: with(Some(nix::cmsg_space!(libc::in6_pktinfo))),
            plain: with(None),
        }
    }

    /// Sends from one address; how many could not be sent.
    pub(crate) fn send_from(&mut self, socket: impl AsFd, from: IpAddr, letters: &[Letter]) -> usize {
        match from {
            IpAddr::V4(from) => {
                let info = libc::in_pktinfo {
                    ipi_ifindex: 0,
                    ipi_spec_dst: libc::in_addr { s_addr: u32::from_ne_bytes(from.octets()) },
                    ipi_addr: libc::in_addr { s_addr: 0 },
                };
                send(socket, &mut self.from_v4, &[ControlMessage::Ipv4PacketInfo(&info)], letters)
            }
            IpAddr::V6(from) => {
                let info = libc::in6_pktinfo {
                    ipi6_addr: libc::in6_addr { s6_addr: from.octets() },
                    ipi6_ifindex: 0,
                };
                send(socket, &mut self.from_v6, &[ControlMessage::Ipv6PacketInfo(&info)], letters)
            }
        }
    }

    /// Sends from the socket's own address; how many could not be sent.
    pub(crate) fn send_plain(&mut self, socket: impl AsFd, letters: &[Letter]) -> usize {
        send(socket, &mut self.plain, &[], letters)
    }
}

fn send(
    socket: impl AsFd,
    headers: &mut MultiHeaders<SockaddrStorage>,
    control: &[ControlMessage<'_>],
    letters: &[Letter],
) -> usize {
    let socket = socket.as_fd().as_raw_fd();
    let mut unsent = 0;
    let mut rest = letters;
    while !rest.is_empty() {
        let batch = rest.get(..BATCH).unwrap_or(rest);
        let slices: Vec<[IoSlice<'_>; 1]> =
            batch.iter().map(|letter| [IoSlice::new(&letter.bytes)]).collect();
        let addresses: Vec<Option<SockaddrStorage>> =
            batch.iter().map(|letter| Some(letter.to.into())).collect();
        let sent = match sendmmsg(socket, headers, &slices, &addresses, control, MsgFlags::MSG_DONTWAIT) {
            Ok(sent) => sent.count(),
            Err(_) => 0,
        };
        // The first that is left could not be sent: no room, or no way there. UDP lets it go.
        let passed = if sent < batch.len() { sent + 1 } else { sent };
        unsent += passed - sent;
        rest = rest.get(passed..).unwrap_or_default();
    }
    unsent
}
