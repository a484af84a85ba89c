//! A refusal's words, safe in the place where they go: header fields, XML, HTML, a line of git's protocol.
//!
//! Guarantees: bounded; nothing that was sent by a client ends a field, an element or a line.

use std::fmt::Write;

/// Most bytes of each part of a text, so that an answer stays small whatever a request had in it.
const MAX_PART: usize = 1024;

/// Most bytes of a header's value.
const MAX_VALUE: usize = 1024;

/// As much of a text as may go in an answer, on one line.
pub(crate) fn line(text: &str) -> String {
    let mut line = String::with_capacity(text.len().min(MAX_PART));
    for one in text.chars() {
        let one = if one.is_control() || matches!(one, '\u{2028}' | '\u{2029}') { ' ' } else { one };
        if line.len() + one.len_utf8() > MAX_PART {
            line.push('…');
            break;
        }
        line.push(one);
    }
    line.trim().to_owned()
}

/// A value of a header: visible ASCII and spaces; other bytes and `%` are percent-encoded. So gRPC wants its messages
/// (<https://github.com/grpc/grpc/blob/master/doc/PROTOCOL-HTTP2.md>), and so others can be read by a person.
pub(crate) fn header_value(text: &str) -> String {
    let mut value = String::new();
    for one in text.trim().chars() {
        let before = value.len();
        if matches!(one, ' '..='~') && one != '%' {
            value.push(one);
        } else {
            for byte in one.encode_utf8(&mut [0; 4]).bytes() {
                // Writing to a String does not fail.
                let _ = write!(value, "%{byte:02X}");
            }
        }
        if value.len() > MAX_VALUE {
            value.truncate(before);
            break;
        }
    }
    value
}

/// The text behind the status of an HTTP/1 answer: visible ASCII and spaces.
pub(crate) fn phrase(text: &str) -> String {
    let visible = |one| if matches!(one, ' '..='~') { one } else { '?' };
    text.chars().map(visible).take(MAX_VALUE).collect()
}

/// Text within XML or HTML, or within a quoted attribute. XML 1.0 knows no control characters but three, not even escaped.
pub(crate) fn markup(text: &str) -> String {
    let mut safe = String::with_capacity(text.len());
    for one in text.chars() {
        match one {
            '&' => safe.push_str("&amp;"),
            '<' => safe.push_str("&lt;"),
            '>' => safe.push_str("&gt;"),
            '"' => safe.push_str("&quot;"),
            '\'' => safe.push_str("&#39;"),
            '\u{fffe}' | '\u{ffff}' => safe.push('?'),
            one if one.is_control() => safe.push(' '),
            one => safe.push(one),
        }
    }
    safe
}

/// A line of git's protocol: its length in four hexadecimal digits, which count themselves.
pub(crate) fn pkt_line(text: &str) -> Vec<u8> {
    // Far below the 65520 bytes that a line may have, for every part of the text is bounded.
    format!("{:04x}{text}", text.len() + 4).into_bytes()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_header_has_visible_ascii_only() {
        for (text, expected) in [
            ("plain text", "plain text"),
            ("  trimmed ", "trimmed"),
            ("a\r\nset-cookie: x", "a%0D%0Aset-cookie: x"),
            ("100%", "100%25"),
            ("grün", "gr%C3%BCn"),
            ("\0\u{7f}", "%00%7F"),
            ("", ""),
        ] {
            assert_eq!(header_value(text), expected);
        }
    }

    #[test]
    fn a_long_header_ends_between_characters() {
        let value = header_value(&"ü".repeat(9999));
        assert!(value.len() <= MAX_VALUE && value.len() > MAX_VALUE - 6);
        assert_eq!(value.replace("%C3%BC", ""), "");
    }

    #[test]
    fn a_line_is_one_line_and_bounded() {
        assert_eq!(line("a\r\nb\u{2028}c\u{85}d"), "a  b c d");
        let long = line(&"ü".repeat(9999));
        assert!(long.ends_with('…') && long.len() <= MAX_PART + '…'.len_utf8());
    }

    #[test]
    fn markup_cannot_be_left() {
        assert_eq!(markup("</Message>&\"'\0\u{ffff}"), "&lt;/Message&gt;&amp;&quot;&#39; ?");
    }

    #[test]
    fn a_pkt_line_counts_bytes_and_itself() {
        assert_eq!(pkt_line("ERR ü"), "000aERR ü".as_bytes());
    }
}
