//! Packets with a long header (RFC 9000, section 17.2) and the frames of a first packet (section 19).

use super::keys::{Keys, Version};
use crate::cursor::Cursor;

/// Longest connection id of versions 1 and 2.
const MAX_CONNECTION_ID: usize = 20;

/// Why a packet cannot be read.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Unreadable {
    /// A version unknown here.
    Version(u32),
    /// Its lengths or fixed bits are none of a client's.
    Shape,
}

/// A packet with a long header.
pub(super) enum Long<'a> {
    /// One that may carry the hello.
    Initial(Initial<'a>),
    /// 0-RTT or Handshake: passed over.
    Other,
}

/// A first packet, still protected.
pub(super) struct Initial<'a> {
    pub(super) version: Version,
    pub(super) destination: &'a [u8],
    /// From its first byte to the packet number.
    header: &'a [u8],
    /// Packet number and sealed payload.
    sealed: &'a [u8],
}

/// Takes the packet at the front of a datagram; returns the bytes behind it.
pub(super) fn long(bytes: &[u8]) -> Result<(Long<'_>, &[u8]), Unreadable> {
    let mut cursor = Cursor::new(bytes);
    let first = cursor.u8().ok_or(Unreadable::Shape)?;
    let number = cursor.u32().ok_or(Unreadable::Shape)?;
    // Version 0 is Version Negotiation, which only servers send.
    if number == 0 {
        return Err(Unreadable::Shape);
    }
    let Some(version) = Version::from_wire(number) else { return Err(Unreadable::Version(number)) };
    let shape = |part: Option<_>| part.ok_or(Unreadable::Shape);
    let destination = shape(cursor.part8())?;
    let source = shape(cursor.part8())?;
    let fixed = first & 0x40 != 0;
    if !fixed || destination.len() > MAX_CONNECTION_ID || source.len() > MAX_CONNECTION_ID {
        return Err(Unreadable::Shape);
    }
    let is_initial = match (version, first >> 4 & 3) {
        (Version::One, 0) | (Version::Two, 1) => true,
        // Retry, which only servers send, and which has no length.
        (Version::One, 3) | (Version::Two, 0) => return Err(Unreadable::Shape),
        (Version::One | Version::Two, _) => false,
    };
    if is_initial {
        let token =
            cursor.varint().and_then(|length| usize::try_from(length).ok()).ok_or(Unreadable::Shape)?;
        let _token = shape(cursor.take(token))?;
    }
    let length = cursor.varint().and_then(|length| usize::try_from(length).ok()).ok_or(Unreadable::Shape)?;
    let header = shape(bytes.get(..bytes.len() - cursor.rest().len()))?;
    let sealed = shape(cursor.take(length))?;
    let found = if is_initial {
        Long::Initial(Initial { version, destination, header, sealed })
    } else {
        Long::Other
    };
    Ok((found, cursor.rest()))
}

/// Removes the protection: the packet's number and its frames. `None` if the keys do not fit, or bits that must be
/// zero are not.
pub(super) fn open(keys: &Keys, initial: &Initial<'_>, largest: Option<u64>) -> Option<(u64, Vec<u8>)> {
    let sample = initial.sealed.get(4..20)?;
    let [first_mask, number_mask @ ..] = keys.mask(sample)?;
    let mut header = initial.header.to_vec();
    let first = header.first_mut()?;
    *first ^= first_mask & 0x0f;
    let length = usize::from(*first & 3) + 1;
    if *first & 0x0c != 0 {
        return None;
    }
    let (covered, payload) = initial.sealed.split_at_checked(length)?;
    let mut truncated = 0;
    for (byte, mask) in covered.iter().zip(number_mask) {
        header.push(byte ^ mask);
        truncated = truncated << 8 | u64::from(byte ^ mask);
    }
    let number = full_number(truncated, length, largest);
    Some((number, keys.open(number, &header, payload.to_vec())?))
}

/// The number closest to the one after the largest so far (RFC 9000, appendix A.3).
fn full_number(truncated: u64, length: usize, largest: Option<u64>) -> u64 {
    let expected = largest.map_or(0, |largest| largest + 1);
    let window = 1_u64 << (8 * length);
    let candidate = expected & !(window - 1) | truncated;
    if candidate + window / 2 <= expected {
        candidate + window
    } else if candidate > expected + window / 2 && candidate >= window {
        candidate - window
    } else {
        candidate
    }
}

/// Something that has no place in a first packet.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct BadFrame;

/// The CRYPTO frames of a payload, as offset and bytes; other frames that a client may send here are passed over.
pub(super) struct Frames<'a>(Cursor<'a>);

impl<'a> Frames<'a> {
    pub(super) fn new(payload: &'a [u8]) -> Self {
        Self(Cursor::new(payload))
    }

    /// RFC 9000, section 12.4: only PADDING, PING, ACK, CRYPTO and CONNECTION_CLOSE of the transport.
    fn frame(&mut self) -> Option<Option<(u64, &'a [u8])>> {
        let cursor = &mut self.0;
        match cursor.varint()? {
            0x00 | 0x01 => {}
            kind @ (0x02 | 0x03) => {
                let _largest_and_delay = (cursor.varint()?, cursor.varint()?);
                let ranges = cursor.varint()?;
                let _first = cursor.varint()?;
                // Each takes two bytes, so a lie about their count ends with the bytes.
                for _ in 0..ranges {
                    let _gap_and_length = (cursor.varint()?, cursor.varint()?);
                }
                if kind == 0x03 {
                    let _counts = (cursor.varint()?, cursor.varint()?, cursor.varint()?);
                }
            }
            0x06 => {
                let offset = cursor.varint()?;
                let length = usize::try_from(cursor.varint()?).ok()?;
                return Some(Some((offset, cursor.take(length)?)));
            }
            0x1c => {
                let _code_and_frame = (cursor.varint()?, cursor.varint()?);
                let length = usize::try_from(cursor.varint()?).ok()?;
                let _text = cursor.take(length)?;
            }
            _ => return None,
        }
        Some(None)
    }
}

impl<'a> Iterator for Frames<'a> {
    type Item = Result<(u64, &'a [u8]), BadFrame>;

    fn next(&mut self) -> Option<Self::Item> {
        while !self.0.is_empty() {
            match self.frame() {
                Some(Some(piece)) => return Some(Ok(piece)),
                Some(None) => {}
                None => {
                    self.0 = Cursor::new(&[]);
                    return Some(Err(BadFrame));
                }
            }
        }
        None
    }
}
