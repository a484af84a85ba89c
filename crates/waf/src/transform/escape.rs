//! Escapes that begin by a backslash: JavaScript, CSS, ANSI C.

use super::{hex_pair, is_blank};

/// Applies `decode` at every backslash; it says the byte that stands there, if any, and how many bytes it took.
fn at_backslashes(input: &[u8], decode: impl Fn(&[u8]) -> (Option<u8>, usize)) -> Option<Vec<u8>> {
    memchr::memchr(b'\\', input)?;
    let mut output = Vec::with_capacity(input.len());
    let mut rest = input;
    while let Some(start) = memchr::memchr(b'\\', rest) {
        let (before, escape) = rest.split_at_checked(start)?;
        output.extend_from_slice(before);
        let (byte, taken) = decode(escape);
        output.extend(byte);
        rest = escape.get(taken.max(1)..).unwrap_or_default();
    }
    output.extend_from_slice(rest);
    (output != input).then_some(output)
}

fn named(letter: u8) -> Option<u8> {
    Some(match letter {
        b'a' => 0x07,
        b'b' => 0x08,
        b'f' => 0x0c,
        b'n' => b'\n',
        b'r' => b'\r',
        b't' => b'\t',
        b'v' => 0x0b,
        _ => return None,
    })
}

/// Up to `most` octal digits behind the backslash, as a number and their count.
fn octal(escape: &[u8], most: usize) -> (u32, usize) {
    let digits = escape.iter().skip(1).take(most).take_while(|byte| matches!(byte, b'0'..=b'7'));
    digits.fold((0, 0), |(value, count), digit| (value * 8 + u32::from(digit - b'0'), count + 1))
}

fn low_byte(value: u32) -> u8 {
    value.to_le_bytes().first().copied().unwrap_or_default()
}

/// The byte of four digits: the low one, and of a full-width letter (U+FF01 to U+FF5E) the narrow one.
pub(super) fn narrow(digits: &[u8]) -> Option<u8> {
    let [a, b, c, d] = *digits.first_chunk::<4>()?;
    let (high, low) = (hex_pair(a, b)?, hex_pair(c, d)?);
    Some(if high == 0xff && (0x01..0x5f).contains(&low) { low + 0x20 } else { low })
}

pub(super) fn js(input: &[u8]) -> Option<Vec<u8>> {
    at_backslashes(input, |escape| {
        if let [_, b'u', digits @ ..] = escape
            && let Some(byte) = narrow(digits)
        {
            return (Some(byte), 6);
        }
        if let [_, b'x', high, low, ..] = escape
            && let Some(byte) = hex_pair(*high, *low)
        {
            return (Some(byte), 4);
        }
        let (value, count) = octal(escape, 3);
        match (count, escape.get(1)) {
            (3, _) if value > 0o377 => {
                let (value, count) = octal(escape, 2);
                (Some(low_byte(value)), 1 + count)
            }
            (1.., _) => (Some(low_byte(value)), 1 + count),
            (0, Some(letter)) => (Some(named(*letter).unwrap_or(*letter)), 2),
            (0, None) => (Some(b'\\'), 1),
        }
    })
}

pub(super) fn ansi_c(input: &[u8]) -> Option<Vec<u8>> {
    at_backslashes(input, |escape| {
        let Some(letter) = escape.get(1) else { return (Some(b'\\'), 1) };
        if let Some(byte) = named(*letter) {
            return (Some(byte), 2);
        }
        if let [_, b'x' | b'X', high, low, ..] = escape
            && let Some(byte) = hex_pair(*high, *low)
        {
            return (Some(byte), 4);
        }
        let (value, count) = octal(escape, 3);
        if count > 0 { (Some(low_byte(value)), 1 + count) } else { (Some(*letter), 2) }
    })
}

pub(super) fn css(input: &[u8]) -> Option<Vec<u8>> {
    at_backslashes(input, |escape| {
        let behind = escape.get(1..).unwrap_or_default();
        let count = behind.iter().take(6).take_while(|byte| byte.is_ascii_hexdigit()).count();
        if count == 0 {
            return match behind.first() {
                // A line may be continued by a backslash; one at the very end is dropped.
                Some(b'\n') => (None, 2),
                Some(byte) => (Some(*byte), 2),
                None => (None, 1),
            };
        }
        let digits = behind.get(..count).unwrap_or_default();
        let byte = match digits {
            [only] => hex_pair(b'0', *only),
            [.., _, _, _, _] if digits.iter().rev().skip(4).all(|digit| *digit == b'0') => {
                narrow(digits.get(count - 4..).unwrap_or_default())
            }
            [.., high, low] => hex_pair(*high, *low),
            [] => None,
        };
        let blank = behind.get(count).is_some_and(|byte| is_blank(*byte));
        (byte, 1 + count + usize::from(blank))
    })
}
