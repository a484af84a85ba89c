//! Base64 (RFC 4648, section 4).

/// The bytes, `None` where it is none. Padding may be left out.
pub fn decode(text: &[u8]) -> Option<Vec<u8>> {
    let padded = text.iter().rev().take_while(|byte| **byte == b'=').count();
    let text = text.get(..text.len().checked_sub(padded)?)?;
    if padded > 2 || text.len() % 4 == 1 {
        return None;
    }
    let (mut bits, mut held) = (0u32, 0u32);
    let mut bytes = Vec::with_capacity(text.len());
    for byte in text {
        let digit = match byte {
            b'A'..=b'Z' => byte - b'A',
            b'a'..=b'z' => byte - b'a' + 26,
            b'0'..=b'9' => byte - b'0' + 52,
            b'+' => 62,
            b'/' => 63,
            _ => return None,
        };
        bits = (bits << 6 | u32::from(digit)) & 0xFFFF;
        held += 6;
        if held >= 8 {
            held -= 8;
            bytes.push(u8::try_from(bits >> held & 0xFF).ok()?);
        }
    }
    Some(bytes)
}

#[cfg(test)]
mod tests {
    use super::*;

    /// RFC 4648, section 10.
    #[test]
    fn the_vectors_of_the_standard_decode() {
        for (text, expected) in [
            ("", Some("")),
            ("Zg==", Some("f")),
            ("Zg", Some("f")),
            ("Zm8=", Some("fo")),
            ("Zm9v", Some("foo")),
            ("Zm9vYmFy", Some("foobar")),
            ("Z", None),
            ("Zm9v====", None),
            ("Zm=v", None),
            ("Zm 9v", None),
        ] {
            assert_eq!(decode(text.as_bytes()).as_deref(), expected.map(str::as_bytes), "{text}");
        }
    }
}
