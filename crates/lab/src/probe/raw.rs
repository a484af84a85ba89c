//! SCTP and ICMP probes. Kernels without SCTP have no sockets for it, so the INIT chunk (RFC 9260, section 3.3.2) is
//! written by hand; a destination without SCTP answers "protocol unreachable" (IPv4) or "unrecognized next header" (IPv6),
//! quoting our packet.

use super::{Evidence, Outcome, Probe, ProbeTuple, Progress, TICK};
use nix::errno::Errno;
use nix::poll::{PollFd, PollFlags, PollTimeout, poll};
use nix::sys::socket::{
    AddressFamily, MsgFlags, SockFlag, SockProtocol, SockType, SockaddrStorage, connect, getsockname,
    recvfrom, sendto, socket,
};
use policy::Protocol;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};
use std::os::fd::{AsFd, AsRawFd, OwnedFd};
use std::sync::atomic::{AtomicU32, Ordering};
use std::time::{Duration, Instant};

/// SCTP and echo probes sent so far.
static SENT: AtomicU32 = AtomicU32::new(0);
/// Source port of the first SCTP probe, identifier of the first echo request; they come round after 45,056.
const FIRST: u32 = 20_480;

struct Family {
    /// Sends whole packets (header included) and receives nothing, so that it never keeps the kernel from answering
    /// "protocol unreachable" for packets that come in.
    sender: OwnedFd,
    icmp: OwnedFd,
}

/// Tries them all at once.
pub(super) fn run(
    probes: &[(usize, Probe)],
    deadline: Duration,
    dropped: &Evidence,
) -> Vec<(usize, Outcome)> {
    let mut done = Vec::new();
    let mut open: Vec<Progress> = Vec::new();
    let families = match (Family::open(AddressFamily::Inet), Family::open(AddressFamily::Inet6)) {
        (Ok(v4), Ok(v6)) => [v4, v6],
        (Err(e), _) | (_, Err(e)) => {
            let why = format!("raw sockets: {e}");
            return probes.iter().map(|(index, _)| (*index, Outcome::Failed(why.clone()))).collect();
        }
    };
    for (index, probe) in probes {
        let [v4, v6] = &families;
        match start(if probe.to.is_ipv4() { v4 } else { v6 }, probe) {
            Ok(tuple) => open.push(Progress::new(*index, tuple)),
            Err(e) => done.push((*index, Outcome::Failed(format!("sending: {e}")))),
        }
    }
    let end = Instant::now() + deadline;
    while !open.is_empty() {
        for (answer, meaning) in receive(&families) {
            for one in open.iter_mut().filter(|one| is_about(&answer, &one.tuple)) {
                match &meaning {
                    Ok(()) => one.answered(dropped),
                    Err(why) => one.failed(why),
                }
            }
        }
        let now = Instant::now();
        open.retain_mut(|one| {
            one.tick(now, end, dropped);
            match one.outcome.take() {
                Some(outcome) => {
                    done.push((one.index, outcome));
                    false
                }
                None => true,
            }
        });
    }
    done
}

impl Family {
    fn open(family: AddressFamily) -> nix::Result<Self> {
        let icmp = if family == AddressFamily::Inet { SockProtocol::Icmp } else { SockProtocol::IcmpV6 };
        let flags = SockFlag::SOCK_NONBLOCK | SockFlag::SOCK_CLOEXEC;
        Ok(Self {
            sender: socket(family, SockType::Raw, flags, SockProtocol::Raw)?,
            icmp: socket(family, SockType::Raw, flags, icmp)?,
        })
    }
}

fn start(family: &Family, probe: &Probe) -> nix::Result<ProbeTuple> {
    let source = match probe.source {
        Some(source) => source,
        None => source_towards(probe.to)?,
    };
    let source_port = FIRST + SENT.fetch_add(1, Ordering::Relaxed) % (0x1_0000 - FIRST);
    let source_port = u16::try_from(source_port).map_err(|_| Errno::ERANGE)?;
    let port = if probe.protocol.has_ports() { probe.port } else { 0 };
    let tuple = ProbeTuple { source, source_port, destination: probe.to, protocol: probe.protocol, port };
    let payload = match probe.protocol {
        Protocol::ICMP => echo_request(8, source_port, None),
        Protocol::ICMPV6 => echo_request(128, source_port, Some((source, probe.to))),
        Protocol(_) => sctp_init(source_port, port),
    };
    let packet = with_header(&tuple, &payload)?;
    let to = SockaddrStorage::from(SocketAddr::new(probe.to, 0));
    sendto(family.sender.as_raw_fd(), &packet, &to, MsgFlags::empty())?;
    Ok(tuple)
}

/// The address the kernel would speak from. Connecting a datagram socket sends nothing.
fn source_towards(to: IpAddr) -> nix::Result<IpAddr> {
    let family = if to.is_ipv4() { AddressFamily::Inet } else { AddressFamily::Inet6 };
    let socket = socket(family, SockType::Datagram, SockFlag::SOCK_CLOEXEC, None)?;
    connect(socket.as_raw_fd(), &SockaddrStorage::from(SocketAddr::new(to, 9)))?;
    let local: SockaddrStorage = getsockname(socket.as_raw_fd())?;
    address_of(&local).ok_or(Errno::EAFNOSUPPORT)
}

/// An IP header before the payload. The kernel fills the IPv4 length, identifier and checksum.
fn with_header(tuple: &ProbeTuple, payload: &[u8]) -> nix::Result<Vec<u8>> {
    let length = u16::try_from(payload.len()).map_err(|_| Errno::EMSGSIZE)?;
    let mut packet = Vec::with_capacity(40 + payload.len());
    match (tuple.source, tuple.destination) {
        (IpAddr::V4(source), IpAddr::V4(destination)) => {
            packet.extend([0x45, 0, 0, 0, 0, 0, 0, 0, 64, tuple.protocol.0, 0, 0]);
            packet.extend(source.octets());
            packet.extend(destination.octets());
        }
        (IpAddr::V6(source), IpAddr::V6(destination)) => {
            packet.extend([0x60, 0, 0, 0]);
            packet.extend(length.to_be_bytes());
            packet.extend([tuple.protocol.0, 64]);
            packet.extend(source.octets());
            packet.extend(destination.octets());
        }
        (IpAddr::V4(_), IpAddr::V6(_)) | (IpAddr::V6(_), IpAddr::V4(_)) => return Err(Errno::EAFNOSUPPORT),
    }
    packet.extend(payload);
    Ok(packet)
}

fn echo_request(kind: u8, identifier: u16, pseudo: Option<(IpAddr, IpAddr)>) -> Vec<u8> {
    let mut message = vec![kind, 0, 0, 0];
    message.extend(identifier.to_be_bytes());
    message.extend([0, 1]);
    message.extend(b"cofferdam");
    message.push(0);
    let mut covered = Vec::new();
    if let Some((IpAddr::V6(source), IpAddr::V6(destination))) = pseudo {
        covered.extend(source.octets());
        covered.extend(destination.octets());
        covered.extend([0, 0, 0, 18, 0, 0, 0, Protocol::ICMPV6.0]);
    }
    covered.extend(&message);
    let [high, low] = internet_checksum(&covered).to_be_bytes();
    message.splice(2..4, [high, low]);
    message
}

fn sctp_init(source_port: u16, port: u16) -> Vec<u8> {
    let mut packet = Vec::with_capacity(32);
    packet.extend(source_port.to_be_bytes());
    packet.extend(port.to_be_bytes());
    packet.extend([0; 8]); // verification tag 0 for INIT; checksum below
    packet.extend([1, 0, 0, 20]); // INIT, 20 bytes
    packet.extend(0xcf_da_00_01_u32.to_be_bytes()); // initiate tag
    packet.extend(65_536_u32.to_be_bytes()); // receiver window
    packet.extend([0, 1, 0, 1]); // streams out and in
    packet.extend(1_u32.to_be_bytes()); // first transmission sequence number
    let checksum = crc32c(&packet).to_le_bytes();
    packet.splice(8..12, checksum);
    packet
}

/// RFC 1071.
fn internet_checksum(bytes: &[u8]) -> u16 {
    let word =
        |pair: &[u8]| u32::from(*pair.first().unwrap_or(&0)) << 8 | u32::from(*pair.get(1).unwrap_or(&0));
    let mut sum: u32 = bytes.chunks(2).map(word).sum();
    while sum > 0xffff {
        sum = (sum & 0xffff) + (sum >> 16);
    }
    #[expect(clippy::cast_possible_truncation, reason = "the loop above left 16 bits")]
    let folded = sum as u16;
    !folded
}

/// RFC 9260, appendix A; bit by bit, since probes are few.
fn crc32c(bytes: &[u8]) -> u32 {
    let step = |crc: u32| if crc & 1 == 1 { crc >> 1 ^ 0x82f6_3b78 } else { crc >> 1 };
    !bytes.iter().fold(u32::MAX, |crc, byte| (0..8).fold(crc ^ u32::from(*byte), |crc, _| step(crc)))
}

/// Identifiers come round late, so an answer whose source is not known is still about one probe.
fn is_about(answer: &ProbeTuple, probe: &ProbeTuple) -> bool {
    let source = if answer.source.is_unspecified() { probe.source } else { answer.source };
    ProbeTuple { source, ..*answer } == *probe
}

/// Which of our packets something came back for, and what it means.
type Answer = (ProbeTuple, Result<(), String>);

fn receive(families: &[Family; 2]) -> Vec<Answer> {
    let mut polled = families.each_ref().map(|family| PollFd::new(family.icmp.as_fd(), PollFlags::POLLIN));
    let timeout = PollTimeout::try_from(TICK).unwrap_or(PollTimeout::ZERO);
    if poll(&mut polled, timeout).is_err() {
        return Vec::new();
    }
    let mut answers = Vec::new();
    for (family, parse) in families.iter().zip([answer4 as fn(&[u8], IpAddr) -> Option<Answer>, answer6]) {
        let mut buffer = [0; 2048];
        // Bounded, so that a flood of other people's messages cannot keep us from the clock.
        for _ in 0..4096 {
            let Ok((n, from)) = recvfrom::<SockaddrStorage>(family.icmp.as_raw_fd(), &mut buffer) else {
                break;
            };
            let from = from.and_then(|from| address_of(&from)).unwrap_or(IpAddr::V4(Ipv4Addr::UNSPECIFIED));
            answers.extend(buffer.get(..n).and_then(|message| parse(message, from)));
        }
    }
    answers
}

fn address_of(end: &SockaddrStorage) -> Option<IpAddr> {
    let v4 = end.as_sockaddr_in().map(|a| IpAddr::V4(a.ip()));
    v4.or_else(|| end.as_sockaddr_in6().map(|a| IpAddr::V6(a.ip())))
}

fn answer4(packet: &[u8], _from: IpAddr) -> Option<Answer> {
    let header = usize::from(packet.first()? & 0x0f) * 4;
    let message = packet.get(header..)?;
    let (kind, code) = (*message.first()?, *message.get(1)?);
    if kind == 0 {
        let ends = address4(packet, 16).zip(address4(packet, 12))?;
        return Some((tuple(ends, Protocol::ICMP, number(message, 4)?, 0), Ok(())));
    }
    let quote = message.get(8..)?;
    let inner = quote.get(usize::from(quote.first()? & 0x0f) * 4..)?;
    let protocol = Protocol(*quote.get(9)?);
    let ends = address4(quote, 12).zip(address4(quote, 16))?;
    let meaning = match (kind, code) {
        (3, 2 | 3) => Ok(()),
        _ => Err(format!("ICMP type {kind} code {code}")),
    };
    Some((quoted_tuple(ends, protocol, inner)?, meaning))
}

/// An IPv6 raw socket gives the message without its header.
fn answer6(message: &[u8], from: IpAddr) -> Option<Answer> {
    let (kind, code) = (*message.first()?, *message.get(1)?);
    if kind == 129 {
        let ends = (IpAddr::V6(Ipv6Addr::UNSPECIFIED), from);
        return Some((tuple(ends, Protocol::ICMPV6, number(message, 4)?, 0), Ok(())));
    }
    if kind >= 128 {
        return None;
    }
    let quote = message.get(8..)?;
    let protocol = Protocol(*quote.get(6)?);
    let ends = address6(quote, 8).zip(address6(quote, 24))?;
    let meaning = match (kind, code) {
        (4, 1) | (1, 4) => Ok(()),
        _ => Err(format!("ICMPv6 type {kind} code {code}")),
    };
    Some((quoted_tuple(ends, protocol, quote.get(40..)?)?, meaning))
}

fn quoted_tuple(ends: (IpAddr, IpAddr), protocol: Protocol, inner: &[u8]) -> Option<ProbeTuple> {
    if protocol == Protocol::SCTP {
        return Some(tuple(ends, protocol, number(inner, 0)?, number(inner, 2)?));
    }
    Some(tuple(ends, protocol, number(inner, 4)?, 0))
}

fn tuple(ends: (IpAddr, IpAddr), protocol: Protocol, source_port: u16, port: u16) -> ProbeTuple {
    ProbeTuple { source: ends.0, source_port, destination: ends.1, protocol, port }
}

fn number(bytes: &[u8], at: usize) -> Option<u16> {
    Some(u16::from_be_bytes(bytes.get(at..at + 2)?.try_into().ok()?))
}

fn address4(bytes: &[u8], at: usize) -> Option<IpAddr> {
    let octets: [u8; 4] = bytes.get(at..at + 4)?.try_into().ok()?;
    Some(IpAddr::from(octets))
}

fn address6(bytes: &[u8], at: usize) -> Option<IpAddr> {
    let octets: [u8; 16] = bytes.get(at..at + 16)?.try_into().ok()?;
    Some(IpAddr::from(octets))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn checksums_match_the_published_vectors() {
        // RFC 3720, appendix B.4 (CRC32C of "123456789" is the usual check value); RFC 1071, section 3.
        assert_eq!(crc32c(b"123456789"), 0xe306_9283);
        assert_eq!(internet_checksum(&[0x00, 0x01, 0xf2, 0x03, 0xf4, 0xf5, 0xf6, 0xf7]), !0xddf2);
    }
}
