//! Operators that compare numbers.

use crate::transform::is_blank;

/// How the number of the value and that of the argument have to stand to each other.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Relation {
    Eq,
    Ge,
    Gt,
    Le,
    Lt,
}

impl Relation {
    pub(super) fn parse(name: &str) -> Option<Self> {
        Some(match name.to_ascii_lowercase().as_str() {
            "eq" => Self::Eq,
            "ge" => Self::Ge,
            "gt" => Self::Gt,
            "le" => Self::Le,
            "lt" => Self::Lt,
            _ => return None,
        })
    }

    pub(super) fn holds(self, value: &[u8], argument: &[u8]) -> bool {
        let (value, argument) = (integer(value), integer(argument));
        match self {
            Self::Eq => value == argument,
            Self::Ge => value >= argument,
            Self::Gt => value > argument,
            Self::Le => value <= argument,
            Self::Lt => value < argument,
        }
    }
}

/// The number that a text begins by, as C reads it: without digits it is 0; too large a one is the largest.
pub(crate) fn integer(text: &[u8]) -> i64 {
    let first = text.iter().position(|byte| !is_blank(*byte)).unwrap_or(text.len());
    let text = text.get(first..).unwrap_or_default();
    let (negative, digits) = match text.split_first() {
        Some((b'-', rest)) => (true, rest),
        Some((b'+', rest)) => (false, rest),
        _ => (false, text),
    };
    let digits = digits.iter().take_while(|byte| byte.is_ascii_digit());
    let value =
        digits.fold(0_i64, |value, digit| value.saturating_mul(10).saturating_add(i64::from(digit - b'0')));
    if negative { -value } else { value }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn numbers_are_read_as_c_reads_them() {
        for (text, expected) in [
            ("12", 12),
            (" 7x", 7),
            ("\u{b}7", 7),
            ("-3", -3),
            ("", 0),
            ("x", 0),
            ("99999999999999999999", i64::MAX),
        ] {
            assert_eq!(integer(text.as_bytes()), expected, "{text}");
        }
        assert!(Relation::Ge.holds(b"5", b"5") && !Relation::Lt.holds(b"5", b"5"));
    }
}
