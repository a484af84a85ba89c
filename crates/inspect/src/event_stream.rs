//! AWS's binary event stream (`application/vnd.amazon.eventstream`): one message at a time, both ways.
//!
//! A message is its length, the length of its headers and the CRC of those two (4 bytes each), the headers, the payload and
//! the CRC of all before (<https://smithy.io/2.0/aws/amazon-eventstream.html>). Guarantees: a message of which a length or
//! a CRC is wrong is none.

use crate::cursor::Cursor;

/// Lengths and their CRC.
pub(crate) const PRELUDE: usize = 12;

/// What a message has besides its headers and payload.
pub(crate) const OVERHEAD: usize = PRELUDE + 4;

/// Most bytes of a message that is believed. AWS says 16 MiB of payload and 128 KiB of headers; a model's events have a few
/// kilobytes.
pub(crate) const MAX_MESSAGE: usize = 17 * 1024 * 1024;

const TEXT: u8 = 7;

const CRC_TABLE: [u32; 256] = crc_table();

const fn crc_table() -> [u32; 256] {
    let mut table = [0; 256];
    let mut at = 0_u32;
    while at < 256 {
        let (mut value, mut bit) = (at, 0);
        while bit < 8 {
            value = if value & 1 == 1 { value >> 1 ^ 0xedb8_8320 } else { value >> 1 };
            bit += 1;
        }
        #[expect(clippy::indexing_slicing, reason = "at is below 256, and this runs in the compiler")]
        {
            table[at as usize] = value;
        }
        at += 1;
    }
    table
}

/// CRC-32 of IEEE 802.3, as in zlib, piece by piece.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Crc(u32);

impl Crc {
    pub(crate) fn new() -> Self {
        Self(u32::MAX)
    }

    pub(crate) fn push(&mut self, bytes: &[u8]) {
        for byte in bytes {
            let [low, ..] = self.0.to_le_bytes();
            let step = CRC_TABLE.get(usize::from(low ^ byte)).copied().unwrap_or_default();
            self.0 = self.0 >> 8 ^ step;
        }
    }

    pub(crate) fn value(self) -> u32 {
        !self.0
    }

    pub(crate) fn of(bytes: &[u8]) -> u32 {
        let mut crc = Self::new();
        crc.push(bytes);
        crc.value()
    }
}

/// How long the message is that begins so, and its headers. `None`: it is none.
pub(crate) fn prelude(bytes: &[u8; PRELUDE]) -> Option<(usize, usize)> {
    let mut cursor = Cursor::new(bytes);
    let (total, headers, crc) = (cursor.u32()?, cursor.u32()?, cursor.u32()?);
    let (total, headers) = (usize::try_from(total).ok()?, usize::try_from(headers).ok()?);
    let is_sound = Crc::of(bytes.first_chunk::<8>()?) == crc
        && total <= MAX_MESSAGE
        && headers.checked_add(OVERHEAD).is_some_and(|least| least <= total);
    is_sound.then_some((total, headers))
}

/// The value of a text header.
pub(crate) fn header<'a>(headers: &'a [u8], name: &str) -> Option<&'a str> {
    let mut cursor = Cursor::new(headers);
    while !cursor.is_empty() {
        let key = cursor.part8()?;
        let value = match cursor.u8()? {
            0 | 1 => cursor.take(0)?,
            2 => cursor.take(1)?,
            3 => cursor.take(2)?,
            4 => cursor.take(4)?,
            5 | 8 => cursor.take(8)?,
            9 => cursor.take(16)?,
            TEXT if key == name.as_bytes() => return std::str::from_utf8(cursor.part16()?).ok(),
            6 | TEXT => cursor.part16()?,
            _ => return None,
        };
        let _other = value;
    }
    None
}

/// A message. `None`: a header or the whole is too long.
pub(crate) fn message(headers: &[(&str, &str)], payload: &[u8]) -> Option<Vec<u8>> {
    let mut lines = Vec::new();
    for (name, value) in headers {
        lines.push(u8::try_from(name.len()).ok()?);
        lines.extend_from_slice(name.as_bytes());
        lines.push(TEXT);
        lines.extend_from_slice(&u16::try_from(value.len()).ok()?.to_be_bytes());
        lines.extend_from_slice(value.as_bytes());
    }
    let total = OVERHEAD + lines.len() + payload.len();
    let mut bytes = Vec::with_capacity(total);
    bytes.extend_from_slice(&u32::try_from(total).ok()?.to_be_bytes());
    bytes.extend_from_slice(&u32::try_from(lines.len()).ok()?.to_be_bytes());
    bytes.extend_from_slice(&Crc::of(&bytes).to_be_bytes());
    bytes.extend_from_slice(&lines);
    bytes.extend_from_slice(payload);
    bytes.extend_from_slice(&Crc::of(&bytes).to_be_bytes());
    Some(bytes)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_crc_is_that_of_zlib() {
        assert_eq!(Crc::of(b"123456789"), 0xcbf4_3926);
        assert_eq!(Crc::of(b""), 0);
    }

    #[test]
    fn a_message_without_headers_and_payload_is_the_known_one() {
        // The first vector of AWS's own encoders: `empty_message`.
        let known = [0, 0, 0, 16, 0, 0, 0, 0, 0x05, 0xc2, 0x48, 0xeb, 0x7d, 0x98, 0xc8, 0xff];
        assert_eq!(message(&[], &[]).unwrap(), known);
    }

    #[test]
    fn a_prelude_that_lies_is_refused() {
        let made = |total: u32, headers: u32| {
            let mut bytes = [total.to_be_bytes(), headers.to_be_bytes()].concat();
            bytes.extend_from_slice(&Crc::of(&bytes).to_be_bytes());
            <[u8; PRELUDE]>::try_from(bytes).unwrap()
        };
        assert_eq!(prelude(&made(20, 4)), Some((20, 4)));
        assert_eq!(prelude(&made(20, 5)), None, "headers beyond the end");
        assert_eq!(prelude(&made(15, 0)), None, "no room for the CRC");
        assert_eq!(prelude(&made(u32::MAX, 0)), None, "too long");
        assert_eq!(prelude(&made(u32::MAX, u32::MAX)), None);
        let mut broken = made(20, 4);
        broken[11] ^= 1;
        assert_eq!(prelude(&broken), None, "wrong CRC");
    }

    #[test]
    fn headers_of_other_kinds_are_stepped_over() {
        let mut headers = vec![1, b'a', 0, 1, b'b', 4, 0, 0, 0, 9, 1, b'c', 6, 0, 1, 0xff];
        headers.extend_from_slice(&[1, b'd', 7, 0, 2, b'o', b'k']);
        assert_eq!(header(&headers, "d"), Some("ok"));
        assert_eq!(header(&headers, "e"), None);
        assert_eq!(header(&[1, b'a', 10], "a"), None, "a kind that is not known");
        assert_eq!(header(&[1, b'a', 7, 0, 9, b'x'], "a"), None, "ends too early");
    }
}
