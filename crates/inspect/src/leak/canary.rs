//! The ways in which a canary may be written.
//!
//! Enters: a string that its owner put where nobody may take it from. Leaves: every text to search for. Guarantees: a
//! bounded number. Does not: find it in pieces, or encoded twice (one layer of encoding is undone elsewhere).

/// Every way of writing it, without duplicates.
pub(super) fn variants(canary: &[u8]) -> Vec<Vec<u8>> {
    let mut all =
        vec![canary.to_vec(), hex(canary, false), hex(canary, true), json(canary, false), json(canary, true)];
    for is_url in [false, true] {
        all.extend((0..3).map(|shift| base64_inside(canary, shift, is_url)));
    }
    for upper in [false, true] {
        all.extend([b"%20".as_slice(), b"+"].map(|blank| percent(canary, upper, blank)));
    }
    all.sort();
    all.dedup();
    all
}

fn hex(bytes: &[u8], upper: bool) -> Vec<u8> {
    let digits: &[u8; 16] = if upper { b"0123456789ABCDEF" } else { b"0123456789abcdef" };
    let digit = |value: u8| digits.get(usize::from(value)).copied().unwrap_or(b'0');
    bytes.iter().flat_map(|byte| [digit(byte >> 4), digit(byte & 15)]).collect()
}

/// RFC 3986: everything but the unreserved is encoded.
fn percent(bytes: &[u8], upper: bool, blank: &[u8]) -> Vec<u8> {
    let mut out = Vec::new();
    for byte in bytes {
        match byte {
            b' ' => out.extend(blank),
            byte if byte.is_ascii_alphanumeric() || b"-._~".contains(byte) => out.push(*byte),
            byte => {
                out.push(b'%');
                out.extend(hex(&[*byte], upper));
            }
        }
    }
    out
}

/// RFC 8259; `ascii`: with `\u` for everything that is not ASCII, and `\/`.
fn json(bytes: &[u8], ascii: bool) -> Vec<u8> {
    let mut out = String::new();
    for letter in String::from_utf8_lossy(bytes).chars() {
        match letter {
            '"' | '\\' => out.extend(['\\', letter]),
            '/' if ascii => out.push_str("\\/"),
            '\n' => out.push_str("\\n"),
            '\r' => out.push_str("\\r"),
            '\t' => out.push_str("\\t"),
            letter if !letter.is_ascii() && ascii || letter.is_ascii_control() => {
                let mut units = [0; 2];
                letter
                    .encode_utf16(&mut units)
                    .iter()
                    .for_each(|unit| out.push_str(&format!("\\u{unit:04x}")));
            }
            letter => out.push(letter),
        }
    }
    out.into_bytes()
}

/// What base64 of any text that has it has, where `shift` bytes of a group of three stand before it: the characters at its
/// ends depend on its neighbours and are left out.
fn base64_inside(bytes: &[u8], shift: usize, is_url: bool) -> Vec<u8> {
    let alphabet = |value: u32| match u8::try_from(value & 63).unwrap_or(0) {
        value @ 0..=25 => value + b'A',
        value @ 26..=51 => value - 26 + b'a',
        value @ 52..=61 => value - 52 + b'0',
        62 => {
            if is_url {
                b'-'
            } else {
                b'+'
            }
        }
        _ => {
            if is_url {
                b'_'
            } else {
                b'/'
            }
        }
    };
    let mut out = Vec::new();
    let (mut bits, mut held) = (0u32, 0);
    for byte in std::iter::repeat_n(&0, shift).chain(bytes) {
        bits = bits << 8 | u32::from(*byte);
        held += 8;
        while held >= 6 {
            held -= 6;
            out.push(alphabet(bits >> held));
        }
    }
    out.split_off((shift * 8).div_ceil(6))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_canary_is_known_however_it_is_written() {
        let all = variants("pässword \"7/ä\"?>".as_bytes());
        let expected = [
            "p\u{e4}ssword \"7/\u{e4}\"?>",
            "70c3a47373776f72642022372fc3a4223f3e",
            "70C3A47373776F72642022372FC3A4223F3E",
            r#"p\u00e4ssword \"7\/\u00e4\"?>"#,
            "p%C3%A4ssword+%227%2F%C3%A4%22%3F%3E",
            "p%c3%a4ssword%20%227%2f%c3%a4%22%3f%3e",
            "cMOkc3N3b3JkICI3L8OkIj8-",
            "cMOkc3N3b3JkICI3L8OkIj8+",
        ];
        for text in expected {
            assert!(all.contains(&text.as_bytes().to_vec()), "{text}");
        }
    }

    #[test]
    fn its_base64_is_found_at_each_place_of_a_longer_text() {
        let canary = b"canary-4711";
        let all = variants(canary);
        for before in ["", "x", "xy", "xyz"] {
            let text = base64_inside(&[before.as_bytes(), canary, b"zzz"].concat(), 0, false);
            assert!(
                all.iter().any(|variant| text.windows(variant.len()).any(|part| part == variant)),
                "{before}"
            );
        }
    }
}
