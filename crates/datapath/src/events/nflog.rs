//! The log of denials: the mark says why, the packet says who.
//!
//! Lost entries are counted exactly, because the kernel numbers them. Source: `linux/netfilter/nfnetlink_log.h`.

use super::{Event, Flow};
use crate::error::ApplyError;
use crate::mark::Judged;
use crate::netlink::{ACK, Message, Parsed, Socket, TransactError, messages};
use nix::errno::Errno;
use policy::Protocol;
use std::net::IpAddr;
use std::os::fd::{AsFd, BorrowedFd};

const SUBSYSTEM: u16 = 4;
const PACKET: u16 = SUBSYSTEM << 8;
const CONFIG: u16 = SUBSYSTEM << 8 | 1;

const CFG_COMMAND: u16 = 1;
const CFG_MODE: u16 = 2;
const CFG_TIMEOUT: u16 = 4;
const CFG_THRESHOLD: u16 = 5;
const CFG_FLAGS: u16 = 6;
const COMMAND_BIND: u8 = 1;
const COPY_PACKET: u8 = 2;
const FLAG_SEQUENCE: u16 = 1;

/// Enough for an IPv6 header, its extensions and the ports.
const COPY_BYTES: u32 = 256;
/// Entries the kernel collects before it hands them over, at the latest after the timeout (1/100 s).
const THRESHOLD: u32 = 32;
const TIMEOUT: u32 = 2;

/// The log group of one network namespace.
#[derive(Debug)]
pub(super) struct Log {
    socket: Socket,
    /// Number of the next entry.
    expected: Option<u32>,
}

impl Log {
    pub(super) fn open(group: u16) -> Result<Self, ApplyError> {
        let doing = format!("reading log group {group}");
        let mut socket = Socket::open().map_err(|errno| ApplyError::from_errno(doing.clone(), errno))?;
        socket.grow_receive(8 << 20);
        let mut messages = socket.messages();
        let acknowledged = messages.push(CONFIG, ACK, 0, group, |a| {
            a.bytes(CFG_COMMAND, &[COMMAND_BIND]);
            let [b0, b1, b2, b3] = COPY_BYTES.to_be_bytes();
            a.bytes(CFG_MODE, &[b0, b1, b2, b3, COPY_PACKET, 0]);
            a.u32(CFG_TIMEOUT, TIMEOUT).u32(CFG_THRESHOLD, THRESHOLD).u16(CFG_FLAGS, FLAG_SEQUENCE);
        });
        match socket.transact(&messages, acknowledged) {
            Ok(()) => Ok(Self { socket, expected: None }),
            Err(TransactError::Refused(refused)) if refused.errno == Errno::EBUSY => {
                let doing = format!("{doing}, which another process reads already");
                Err(ApplyError::from_errno(doing, refused.errno))
            }
            Err(error) => Err(ApplyError::from_transact(error, &[(acknowledged, doing)])),
        }
    }

    /// Appends the events of one datagram; false if there was none.
    pub(super) fn read(&mut self, events: &mut Vec<Event>) -> Result<bool, Errno> {
        let bytes = match self.socket.receive() {
            Ok(bytes) => bytes,
            // How many were lost shows in the next entry's number.
            Err(Errno::ENOBUFS) => return Ok(true),
            Err(Errno::EAGAIN | Errno::EINTR) => return Ok(false),
            Err(errno) => return Err(errno),
        };
        for message in messages(bytes).filter(|message| message.kind == PACKET) {
            let attributes = message.attributes();
            if let Some(number) = attributes.u32(12) {
                let lost = self.expected.map_or(0, |expected| number.wrapping_sub(expected));
                // A step backwards is a new numbering, not four billion losses.
                if lost > 0 && lost < u32::MAX / 2 {
                    events.push(Event::Lost(lost.into()));
                }
                self.expected = Some(number.wrapping_add(1));
            }
            events.extend(denial(message));
        }
        Ok(true)
    }
}

impl AsFd for Log {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.socket.as_fd()
    }
}

fn denial(message: Message<'_>) -> Option<Event> {
    let attributes = message.attributes();
    let judged = Judged::from_mark(attributes.u32(2)?);
    let packet = flow(attributes.get(9)?)?;
    let flow = if is_reply(attributes) { reversed(packet) } else { packet };
    Some(Event::Denied { flow, judged })
}

fn is_reply(attributes: Parsed<'_>) -> bool {
    attributes.text(10) == Some(crate::nft::LOG_REPLY)
}

fn reversed(flow: Flow) -> Flow {
    Flow { from: flow.to, from_port: flow.to_port, to: flow.from, to_port: flow.from_port, ..flow }
}

/// Who sends to whom, from a packet that begins with its network header.
fn flow(packet: &[u8]) -> Option<Flow> {
    let (from, to, protocol, transport) = match packet.first()? >> 4 {
        4 => {
            let header = usize::from(packet.first()? & 0xf) * 4;
            let address = |at: usize| Some(IpAddr::from(<[u8; 4]>::try_from(packet.get(at..at + 4)?).ok()?));
            (address(12)?, address(16)?, *packet.get(9)?, packet.get(header..))
        }
        6 => {
            let address =
                |at: usize| Some(IpAddr::from(<[u8; 16]>::try_from(packet.get(at..at + 16)?).ok()?));
            let (protocol, transport) = behind_extensions(*packet.get(6)?, packet.get(40..));
            (address(8)?, address(24)?, protocol, transport)
        }
        _ => return None,
    };
    let protocol = Protocol(protocol);
    let port = |at: usize| {
        let bytes = transport.filter(|_| protocol.has_ports())?.get(at..at + 2)?;
        Some(u16::from_be_bytes(bytes.try_into().ok()?))
    };
    Some(Flow { from, from_port: port(0).unwrap_or(0), to, to_port: port(2).unwrap_or(0), protocol })
}

/// Steps over IPv6 extension headers (RFC 8200, section 4); at most so many as anyone sends.
fn behind_extensions(mut next: u8, mut rest: Option<&[u8]>) -> (u8, Option<&[u8]>) {
    const HOP_BY_HOP: u8 = 0;
    const ROUTING: u8 = 43;
    const FRAGMENT: u8 = 44;
    const AUTHENTICATION: u8 = 51;
    const DESTINATION: u8 = 60;
    for _ in 0..8 {
        let Some([following, length, ..]) = rest else { break };
        let bytes = match next {
            HOP_BY_HOP | ROUTING | DESTINATION => (usize::from(*length) + 1) * 8,
            FRAGMENT => 8,
            AUTHENTICATION => (usize::from(*length) + 2) * 4,
            _ => break,
        };
        next = *following;
        rest = rest.and_then(|header| header.get(bytes..));
    }
    (next, rest)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ports_are_found_behind_extension_headers() {
        let mut packet = vec![0x60, 0, 0, 0, 0, 20, 0, 64];
        packet.extend([1; 16]);
        packet.extend([2; 16]);
        packet.extend([60, 0, 0, 0, 0, 0, 0, 0]);
        packet.extend([17, 0, 0, 0, 0, 0, 0, 0]);
        packet.extend([0x12, 0x34, 0, 53]);
        let flow = flow(&packet).unwrap();
        assert_eq!((flow.from_port, flow.to_port, flow.protocol), (0x1234, 53, Protocol::UDP));
    }

    #[test]
    fn cut_off_packets_yield_no_ports_and_no_panic() {
        let mut packet = vec![0x45; 20];
        packet[9] = 6;
        packet.extend([0, 80, 0, 81]);
        for end in 0..packet.len() {
            assert!(flow(&packet[..end]).is_none_or(|flow| flow.to_port == 0));
        }
        assert_eq!(flow(&packet).unwrap().to_port, 81);
    }
}
