//! Percent escapes of URLs and forms, `%u` of IIS, and UTF-8 written as `%u`.

use std::collections::BTreeMap;

use super::escape::narrow;
use super::hex_pair;

/// Which byte a code page shows for a character (`SecUnicodeMapFile`).
#[derive(Debug, Clone, Default)]
pub(crate) struct CodePage(pub(crate) BTreeMap<u16, u8>);

/// What percent escapes became, and whether one of them was wrong.
pub(crate) struct Decoded {
    pub(crate) bytes: Vec<u8>,
    pub(crate) invalid: bool,
}

fn percent(input: &[u8], plus: bool) -> Decoded {
    let mut decoded = Decoded { bytes: Vec::with_capacity(input.len()), invalid: false };
    let mut rest = input;
    while let Some((first, after)) = rest.split_first() {
        match (rest, first) {
            ([b'%', high, low, tail @ ..], _) if let Some(byte) = hex_pair(*high, *low) => {
                decoded.bytes.push(byte);
                rest = tail;
                continue;
            }
            (_, b'%') => {
                decoded.invalid = true;
                decoded.bytes.push(b'%');
            }
            (_, b'+') if plus => decoded.bytes.push(b' '),
            (_, other) => decoded.bytes.push(*other),
        }
        rest = after;
    }
    decoded
}

/// A name or value of a form or query.
pub(crate) fn decode_form(input: &[u8]) -> Decoded {
    percent(input, true)
}

/// A path: a plus sign is a plus sign.
pub(crate) fn decode_path(input: &[u8]) -> Vec<u8> {
    percent(input, false).bytes
}

pub(super) fn decode(input: &[u8]) -> Option<Vec<u8>> {
    memchr::memchr2(b'%', b'+', input)?;
    let output = percent(input, true).bytes;
    (output != input).then_some(output)
}

pub(super) fn decode_uni(input: &[u8], page: Option<&CodePage>) -> Option<Vec<u8>> {
    memchr::memchr2(b'%', b'+', input)?;
    let mut output = Vec::with_capacity(input.len());
    let mut rest = input;
    while let Some((first, after)) = rest.split_first() {
        if !matches!(first, b'%' | b'+') {
            // What stands as it is goes in one piece.
            let end = memchr::memchr2(b'%', b'+', rest).unwrap_or(rest.len());
            let (plain, behind) = rest.split_at_checked(end).unwrap_or((rest, &[]));
            output.extend_from_slice(plain);
            rest = behind;
            continue;
        }
        match rest {
            [b'%', b'u' | b'U', digits @ ..] => {
                if let Some(byte) = character(digits, page) {
                    output.push(byte);
                    rest = digits.get(4..).unwrap_or_default();
                } else {
                    output.extend(rest.get(..2).unwrap_or_default());
                    rest = digits;
                }
                continue;
            }
            [b'%', high, low, tail @ ..] => {
                if let Some(byte) = hex_pair(*high, *low) {
                    output.push(byte);
                    rest = tail;
                    continue;
                }
                output.push(b'%');
            }
            [b'+', ..] => output.push(b' '),
            _ => output.push(*first),
        }
        rest = after;
    }
    (output != input).then_some(output)
}

/// The byte that stands for four digits: what the code page says, or the low byte.
fn character(digits: &[u8], page: Option<&CodePage>) -> Option<u8> {
    let [a, b, c, d] = *digits.first_chunk::<4>()?;
    let code = u16::from(hex_pair(a, b)?) << 8 | u16::from(hex_pair(c, d)?);
    page.and_then(|page| page.0.get(&code).copied()).or_else(|| narrow(digits))
}

pub(super) fn encode(input: &[u8]) -> Option<Vec<u8>> {
    let mut output = Vec::with_capacity(input.len());
    for byte in input {
        match byte {
            b' ' => output.push(b'+'),
            b'*' | b'0'..=b'9' | b'A'..=b'Z' | b'a'..=b'z' => output.push(*byte),
            other => output.extend_from_slice(format!("%{other:02x}").as_bytes()),
        }
    }
    (output != input).then_some(output)
}

/// Each character beyond ASCII becomes `%uXXXX`. The first byte of a sequence that is not whole is dropped, and so is a null
/// byte before the end, as in ModSecurity; other bytes that are no UTF-8 stay. An overlong form is written both ways, as a
/// reader that takes it and one that does not would see it.
pub(super) fn utf8_to_unicode(input: &[u8]) -> Option<Vec<u8>> {
    if input.is_ascii() && memchr::memchr(0, input).is_none() {
        return None;
    }
    let mut output = Vec::with_capacity(input.len() * 2);
    let mut rest = input;
    while let Some((first, after)) = rest.split_first() {
        let Some((code, length)) = sequence(rest) else {
            if !matches!(first, 0xc0..=0xf4) {
                output.push(*first);
            }
            rest = after;
            continue;
        };
        if length == 1 {
            if *first != 0 || after.is_empty() {
                output.push(*first);
            }
        } else {
            // No character has a first byte like that (RFC 3629).
            if *first >= 0xf5 {
                output.push(*first);
            }
            output.extend_from_slice(b"%u");
            let digits = if code > 0xf_ffff {
                6
            } else if code > 0xffff {
                5
            } else {
                4
            };
            for place in (0..digits).rev() {
                let digit = char::from_digit(code >> (4 * place) & 15, 16).unwrap_or('0');
                output.extend(u8::try_from(digit));
            }
            let least = [0x80, 0x800, 0x1_0000].get(length - 2).copied().unwrap_or(0);
            if code < least || (0xd800..=0xdfff).contains(&code) {
                output.push(*first);
            }
        }
        rest = rest.get(length..).unwrap_or_default();
    }
    (output != input).then_some(output)
}

/// A sequence of UTF-8, overlong ones with it: its code and its length.
fn sequence(input: &[u8]) -> Option<(u32, usize)> {
    let first = *input.first()?;
    let (start, length) = match first {
        0x00..=0x7f => (first, 1),
        0xc0..=0xdf => (first & 0x1f, 2),
        0xe0..=0xef => (first & 0x0f, 3),
        0xf0..=0xf7 => (first & 0x07, 4),
        _ => return None,
    };
    let mut code = u32::from(start);
    for byte in input.get(1..length)? {
        if byte & 0xc0 != 0x80 {
            return None;
        }
        code = code << 6 | u32::from(byte & 0x3f);
    }
    Some((code, length))
}
