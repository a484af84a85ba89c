//! Base64, hexadecimal digits, parity bits, lengths.

use super::hex_pair;

const ALPHABET: &[u8; 64] = b"ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/";

fn sextet(byte: u8) -> Option<u32> {
    Some(u32::from(match byte {
        b'A'..=b'Z' => byte - b'A',
        b'a'..=b'z' => byte - b'a' + 26,
        b'0'..=b'9' => byte - b'0' + 52,
        b'+' => 62,
        b'/' => 63,
        _ => return None,
    }))
}

/// Decodes what `digits` gives; an odd rest gives the bytes that are whole.
fn decode(digits: impl Iterator<Item = u32>) -> Vec<u8> {
    let mut output = Vec::new();
    let (mut value, mut bits) = (0_u32, 0_u32);
    for digit in digits {
        value = (value << 6 | digit) & 0x3fff;
        bits += 6;
        if bits >= 8 {
            bits -= 8;
            output.extend(u8::try_from(value >> bits & 0xff));
        }
    }
    output
}

/// Decodes standard base64 up to its padding.
///
/// Returns none where a byte of it is neither a digit nor padding.
pub(crate) fn decode_base64(text: &[u8]) -> Option<Vec<u8>> {
    let text = text.trim_ascii_end();
    let end = text.iter().position(|byte| *byte == b'=').unwrap_or(text.len());
    let digits = text.get(..end)?;
    digits
        .iter()
        .all(|byte| sextet(*byte).is_some())
        .then(|| decode(digits.iter().filter_map(|byte| sextet(*byte))))
}

/// Decodes up to the first byte that is no digit; lines may be broken.
pub(super) fn base64_decode(input: &[u8]) -> Option<Vec<u8>> {
    let digits = input.iter().filter(|byte| !matches!(byte, b'\r' | b'\n'));
    let output = decode(digits.map_while(|byte| sextet(*byte)));
    (output != input).then_some(output)
}

/// Decodes whatever digits there are, as lenient readers do.
pub(super) fn base64_decode_ext(input: &[u8]) -> Option<Vec<u8>> {
    let output = decode(input.iter().filter_map(|byte| sextet(*byte)));
    (output != input).then_some(output)
}

pub(super) fn base64_encode(input: &[u8]) -> Option<Vec<u8>> {
    let mut output = Vec::with_capacity(input.len().div_ceil(3) * 4);
    for chunk in input.chunks(3) {
        let value =
            chunk.iter().fold(0_u32, |value, byte| value << 8 | u32::from(*byte)) << (8 * (3 - chunk.len()));
        for place in 0..4_usize {
            let digit = (value >> (18 - 6 * place) & 63) as usize;
            let digit = ALPHABET.get(digit).copied().unwrap_or(b'=');
            output.push(if place <= chunk.len() { digit } else { b'=' });
        }
    }
    (!input.is_empty()).then_some(output)
}

pub(super) fn hex_encode(input: &[u8]) -> Option<Vec<u8>> {
    const DIGITS: &[u8; 16] = b"0123456789abcdef";
    let digit = |value: u8| DIGITS.get(usize::from(value)).copied().unwrap_or(b'0');
    (!input.is_empty()).then(|| input.iter().flat_map(|byte| [digit(byte >> 4), digit(byte & 15)]).collect())
}

/// Decodes pairs of digits. What is no digit counts by its place beside the letters or digits, as in ModSecurity, so that
/// such a byte hides nothing behind it.
pub(super) fn hex_decode(input: &[u8]) -> Option<Vec<u8>> {
    let digit = |byte: u8| match byte {
        b'A'.. => (byte & 0xdf).wrapping_sub(b'A').wrapping_add(10),
        _ => byte.wrapping_sub(b'0'),
    };
    let pairs = input.chunks_exact(2).filter_map(|pair| match pair {
        [high, low] => Some(digit(*high).wrapping_mul(16).wrapping_add(digit(*low))),
        _ => None,
    });
    (!input.is_empty()).then(|| pairs.collect())
}

/// Decodes each `0x` with digits behind it.
pub(super) fn sql_hex_decode(input: &[u8]) -> Option<Vec<u8>> {
    let mut output = Vec::with_capacity(input.len());
    let mut rest = input;
    let mut changed = false;
    while let Some((first, after)) = rest.split_first() {
        if let [b'0', b'x' | b'X', high, low, ..] = rest
            && hex_pair(*high, *low).is_some()
        {
            rest = rest.get(2..).unwrap_or_default();
            while let [high, low, after @ ..] = rest
                && let Some(byte) = hex_pair(*high, *low)
            {
                output.push(byte);
                rest = after;
            }
            changed = true;
        } else {
            output.push(*first);
            rest = after;
        }
    }
    changed.then_some(output)
}

/// The number of bytes, in digits.
#[expect(clippy::unnecessary_wraps, reason = "the shape of every step")]
pub(super) fn length(input: &[u8]) -> Option<Vec<u8>> {
    Some(input.len().to_string().into_bytes())
}

/// Sets or clears the highest bit of each byte, as all eight of its bits say: a byte that has it already is looked at with it, as
/// in ModSecurity.
fn parity(input: &[u8], set: impl Fn(u8) -> bool) -> Option<Vec<u8>> {
    let output: Vec<u8> =
        input.iter().map(|byte| if set(*byte) { byte | 0x80 } else { byte & 0x7f }).collect();
    (output != input).then_some(output)
}

pub(super) fn parity_even(input: &[u8]) -> Option<Vec<u8>> {
    parity(input, |byte| byte.count_ones() % 2 == 1)
}

pub(super) fn parity_odd(input: &[u8]) -> Option<Vec<u8>> {
    parity(input, |byte| byte.count_ones() % 2 == 0)
}

pub(super) fn parity_zero(input: &[u8]) -> Option<Vec<u8>> {
    parity(input, |_| false)
}
