//! Frames of a capture -> what TCP and UDP say: who, to whom, how much.
//!
//! Does not: put fragments together (only the first of a datagram is read), or check sums.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

/// Most extension headers of IPv6 that are gone through.
const MOST_EXTENSIONS: usize = 8;

/// A segment or datagram.
#[derive(Debug)]
pub(super) struct Packet<'a> {
    pub(super) from: (IpAddr, u16),
    pub(super) to: (IpAddr, u16),
    pub(super) protocol: u8,
    /// Of TCP: [`FIN`], [`SYN`], [`RST`], [`ACK`]; 0 of UDP.
    pub(super) flags: u8,
    pub(super) payload: &'a [u8],
    /// Bytes of payload that there were on the wire, also where the capture has fewer.
    pub(super) length: u64,
}

pub(super) const TCP: u8 = 6;
pub(super) const UDP: u8 = 17;
pub(super) const FIN: u8 = 1;
pub(super) const SYN: u8 = 2;
pub(super) const RST: u8 = 4;
pub(super) const ACK: u8 = 16;

/// Kinds of frames that are read, by their number in <https://www.tcpdump.org/linktypes.html>.
pub(super) fn is_known(link: u32) -> bool {
    matches!(link, 0 | 1 | 12 | 14 | 101 | 108 | 113 | 228 | 229 | 276)
}

/// The packet in a frame; `None`: nothing of TCP or UDP, or cut.
pub(super) fn read(link: u32, frame: &[u8]) -> Option<Packet<'_>> {
    let (kind, rest) = match link {
        // Ethernet.
        1 => tagged(number(frame, 12)?, frame.get(14..)?)?,
        // Cooked captures of Linux.
        113 => tagged(number(frame, 14)?, frame.get(16..)?)?,
        276 => tagged(number(frame, 0)?, frame.get(20..)?)?,
        // BSD's loopback has the number of a family first, which the version of IP says as well.
        0 | 108 => (0, frame.get(4..)?),
        _ => (0, frame),
    };
    match (kind, rest.first()? >> 4) {
        (0 | 0x0800, 4) => v4(rest),
        (0 | 0x86dd, 6) => v6(rest),
        _ => None,
    }
}

/// What is below tags of VLANs (IEEE 802.1Q; 0x9100 is what switches wrote before 802.1ad) and a session of PPPoE (RFC 2516), at most three.
fn tagged(mut kind: u16, mut rest: &[u8]) -> Option<(u16, &[u8])> {
    for _ in 0..3 {
        (kind, rest) = match kind {
            0x8100 | 0x88a8 | 0x9100 => (number(rest, 2)?, rest.get(4..)?),
            // PPP has numbers of its own for both versions of IP.
            0x8864 => match number(rest, 6)? {
                0x0021 => (0x0800, rest.get(8..)?),
                0x0057 => (0x86dd, rest.get(8..)?),
                _ => return None,
            },
            _ => break,
        };
    }
    Some((kind, rest))
}

fn number(bytes: &[u8], at: usize) -> Option<u16> {
    Some(u16::from_be_bytes(bytes.get(at..at + 2)?.try_into().ok()?))
}

fn v4(bytes: &[u8]) -> Option<Packet<'_>> {
    let header = usize::from(bytes.first()? & 0xf) * 4;
    let total = match usize::from(number(bytes, 2)?) {
        // It was captured before the card cut it into segments (TSO).
        0 => bytes.len(),
        total => total,
    };
    let is_later_fragment = number(bytes, 6)? & 0x1fff != 0;
    if header < 20 || is_later_fragment {
        return None;
    }
    let address =
        |at: usize| Some(IpAddr::V4(Ipv4Addr::from(<[u8; 4]>::try_from(bytes.get(at..at + 4)?).ok()?)));
    transport(
        *bytes.get(9)?,
        (address(12)?, address(16)?),
        bytes.get(header..)?,
        total.saturating_sub(header),
    )
}

fn v6(bytes: &[u8]) -> Option<Packet<'_>> {
    let address =
        |at: usize| Some(IpAddr::V6(Ipv6Addr::from(<[u8; 16]>::try_from(bytes.get(at..at + 16)?).ok()?)));
    let total = usize::from(number(bytes, 4)?);
    let ends = (address(8)?, address(24)?);
    let (mut next, mut at) = (*bytes.get(6)?, 40usize);
    for _ in 0..MOST_EXTENSIONS {
        let length = match next {
            // Hop by hop, routing, destination (RFC 8200, section 4).
            0 | 43 | 60 => (usize::from(*bytes.get(at + 1)?) + 1) * 8,
            // Authentication (RFC 4302, section 2.2).
            51 => (usize::from(*bytes.get(at + 1)?) + 2) * 4,
            // A fragment: only the first has ports.
            44 if number(bytes, at + 2)? & 0xfff8 == 0 => 8,
            _ => break,
        };
        next = *bytes.get(at)?;
        at += length;
    }
    transport(next, ends, bytes.get(at..)?, (total + 40).saturating_sub(at))
}

/// `length` is what the header of IP says there is.
fn transport(protocol: u8, (from, to): (IpAddr, IpAddr), bytes: &[u8], length: usize) -> Option<Packet<'_>> {
    // Frames are filled up to a least length.
    let bytes = bytes.get(..length).unwrap_or(bytes);
    let (header, flags) = match protocol {
        TCP => (usize::from(*bytes.get(12)? >> 4) * 4, *bytes.get(13)? & (FIN | SYN | RST | ACK)),
        UDP => (8, 0),
        _ => return None,
    };
    Some(Packet {
        from: (from, number(bytes, 0)?),
        to: (to, number(bytes, 2)?),
        protocol,
        flags,
        payload: bytes.get(header..)?,
        length: u64::try_from(length.saturating_sub(header)).ok()?,
    })
}
