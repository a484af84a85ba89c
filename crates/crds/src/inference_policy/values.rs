//! Values that several sections of an InferencePolicy have.

use crate::decode::Decoder;
use crate::diagnostic::{Code, Diagnostic};
use crate::document::{Node, Value};
use crate::egress_policy::{MOST_PATTERN, MOST_PATTERNS};
use std::fmt;
use std::sync::Arc;

/// A number from 0 to 1, in millionths: such numbers are compared, and are the same wherever they are read.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Score(u32);

impl Score {
    const ONE: u32 = 1_000_000;
    const DECIMALS: usize = 6;

    /// As a fraction.
    pub fn as_f64(self) -> f64 {
        f64::from(self.0) / f64::from(Self::ONE)
    }

    /// `0`, `1` or `0.25`, with at most six decimals.
    pub(crate) fn read(text: &str) -> Option<Self> {
        let (whole, decimals) = text.split_once('.').unwrap_or((text, "0"));
        let is_decimals = (1..=Self::DECIMALS).contains(&decimals.len())
            && decimals.bytes().all(|byte| byte.is_ascii_digit());
        if !matches!(whole, "0" | "1") || !is_decimals {
            return None;
        }
        let number = format!("{whole}{decimals:0<width$}", width = Self::DECIMALS).parse().ok()?;
        (number <= Self::ONE).then_some(Self(number))
    }
}

impl fmt::Display for Score {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}", self.as_f64())
    }
}

/// A score, as a number; in quotes it means the same.
pub(super) fn score<'n>(d: &mut Decoder<'n>, node: &'n Node<'n>) -> Option<Score> {
    let read = match &node.value {
        Value::Scalar { text, .. } => Score::read(text),
        Value::Sequence(_) | Value::Mapping(_) => None,
    };
    if read.is_none() {
        let diagnostic = Diagnostic::error(Code::InvalidValue, "it is no number from 0 to 1");
        d.report(node.place, diagnostic.suggest("write it with at most six decimals: 0.85"));
    }
    read
}

/// Patterns, at least one.
pub(super) fn patterns<'n>(d: &mut Decoder<'n>, node: &'n Node<'n>) -> Option<Vec<Arc<str>>> {
    d.check_length(node, 1, MOST_PATTERNS);
    d.list(node, |d, node| text(d, node, MOST_PATTERN))
}

/// A text of 1 to so many bytes.
pub(super) fn text<'n>(d: &mut Decoder<'n>, node: &'n Node<'n>, most: usize) -> Option<Arc<str>> {
    let text = d.string(node)?;
    if text.is_empty() || text.len() > most {
        d.error(node.place, Code::InvalidValue, format!("it has 1 to {most} bytes"));
        return None;
    }
    Some(text)
}

/// Seconds, written as a whole number with `s`, `m`, `h` or `d`; at most a year.
pub(crate) fn duration<'n>(d: &mut Decoder<'n>, node: &'n Node<'n>) -> Option<u64> {
    const YEAR: u64 = 366 * 24 * 3600;
    let text = d.str(node)?;
    let read = [("s", 1), ("m", 60), ("h", 3600), ("d", 24 * 3600)].iter().find_map(|(unit, seconds)| {
        let digits = text.strip_suffix(unit)?;
        let is_number = digits.len() <= 8 && digits.bytes().all(|byte| byte.is_ascii_digit());
        digits.parse::<u64>().ok().filter(|_| is_number)?.checked_mul(*seconds)
    });
    let read = read.filter(|seconds| (1..=YEAR).contains(seconds));
    if read.is_none() {
        let diagnostic = Diagnostic::error(Code::InvalidValue, "it is no time from a second to a year");
        d.report(node.place, diagnostic.suggest("a whole number with s, m, h or d: 5m"));
    }
    read
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn scores_are_exact_and_from_0_to_1() {
        for (text, expected) in [
            ("0", Some(0)),
            ("1", Some(1_000_000)),
            ("1.0", Some(1_000_000)),
            ("0.85", Some(850_000)),
            ("0.000001", Some(1)),
            ("1.000001", None),
            ("2", None),
            ("-0", None),
            (".5", None),
            ("0.", None),
            ("0.0000001", None),
            ("1e-1", None),
            ("00.5", None),
            ("", None),
            ("NaN", None),
        ] {
            assert_eq!(Score::read(text), expected.map(Score), "{text}");
        }
    }
}
