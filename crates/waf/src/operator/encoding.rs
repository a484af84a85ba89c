//! Operators that ask whether a value is written as it should be; they say yes when it is not.

/// Reads `10,13,32-126` into a set of bytes, one bit each.
pub(super) fn range(argument: &[u8]) -> Result<[u64; 4], String> {
    let text = String::from_utf8_lossy(argument);
    let mut set = [0_u64; 4];
    for part in text.split(',').map(str::trim).filter(|part| !part.is_empty()) {
        let (from, to) = part.split_once('-').unwrap_or((part, part));
        let byte = |text: &str| {
            text.trim().parse::<u8>().map_err(|_| format!("{part} is no range of bytes from 0 to 255"))
        };
        for byte in byte(from)?..=byte(to)? {
            if let Some(word) = set.get_mut(usize::from(byte / 64)) {
                *word |= 1 << (byte % 64);
            }
        }
    }
    Ok(set)
}

/// Whether a byte of the value is not in the set.
pub(super) fn outside(value: &[u8], allowed: &[u64; 4]) -> bool {
    value
        .iter()
        .any(|byte| allowed.get(usize::from(byte / 64)).is_none_or(|word| word >> (byte % 64) & 1 == 0))
}

/// Whether a percent sign is not followed by two hexadecimal digits.
pub(super) fn bad_escape(value: &[u8]) -> bool {
    memchr::memchr_iter(b'%', value).any(|start| {
        let digits = value.get(start + 1..start + 3);
        !digits.is_some_and(|digits| digits.iter().all(u8::is_ascii_hexdigit))
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_badly_written_is_found() {
        let printable = range(b"9,10,13,32-126").unwrap();
        assert!(
            outside(b"a\0", &printable) && outside(b"\xff", &printable) && !outside(b"a\r\n ~", &printable)
        );
        assert!(range(b"1-256").is_err());
        for (value, expected) in [("a%20", false), ("a%2", true), ("%zz", true), ("", false), ("%", true)] {
            assert_eq!(bad_escape(value.as_bytes()), expected, "{value}");
        }
    }
}
