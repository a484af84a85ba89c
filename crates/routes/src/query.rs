//! The parameters of a query, read once and only if a rule looks at them.

use crate::routing::Why;
use std::cell::OnceCell;
use std::collections::HashMap;

/// Most parameters that are looked at.
pub(crate) const MOST_PARAMETERS: usize = 256;

/// A query as it came.
pub(crate) struct Query<'a> {
    raw: Option<&'a str>,
    /// `None`: there are too many.
    read: OnceCell<Option<HashMap<Vec<u8>, Vec<u8>>>>,
}

impl<'a> Query<'a> {
    pub(crate) fn new(raw: Option<&'a str>) -> Self {
        Self { raw, read: OnceCell::new() }
    }

    /// The first value of a parameter: the API recommends it where one is there twice.
    ///
    /// # Errors
    /// There are too many to look at.
    pub(crate) fn get(&self, name: &str) -> Result<Option<&[u8]>, Why> {
        let read = self.read.get_or_init(|| parameters(self.raw.unwrap_or_default()));
        let read = read.as_ref().ok_or(Why::LongQuery)?;
        Ok(read.get(name.as_bytes()).map(Vec::as_slice))
    }
}

fn parameters(raw: &str) -> Option<HashMap<Vec<u8>, Vec<u8>>> {
    let mut read = HashMap::new();
    for (count, pair) in raw.split('&').filter(|pair| !pair.is_empty()).enumerate() {
        if count == MOST_PARAMETERS {
            return None;
        }
        let (name, value) = pair.split_once('=').unwrap_or((pair, ""));
        read.entry(decode(name)).or_insert_with(|| decode(value));
    }
    Some(read)
}

/// As forms are written: `+` is a space; a `%` without two digits stays what it is.
fn decode(text: &str) -> Vec<u8> {
    let mut bytes = Vec::with_capacity(text.len());
    let mut rest = text.as_bytes();
    while let [first, after @ ..] = rest {
        let hex =
            |digit: Option<&u8>| char::from(*digit?).to_digit(16).and_then(|digit| u8::try_from(digit).ok());
        rest = after;
        match (first, hex(after.first()), hex(after.get(1))) {
            (b'%', Some(high), Some(low)) => {
                bytes.push(high << 4 | low);
                rest = after.get(2..).unwrap_or_default();
            }
            (b'+', _, _) => bytes.push(b' '),
            (byte, _, _) => bytes.push(*byte),
        }
    }
    bytes
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, reason = "in a test a panic is the failure report")]

    use super::*;

    #[test]
    fn the_first_value_of_a_parameter_counts() {
        let query = Query::new(Some("a=1&a=2&b&c=x+y%20z&%64=%zz&&=e"));
        for (name, expected) in [
            ("a", Some("1")),
            ("b", Some("")),
            ("c", Some("x y z")),
            ("d", Some("%zz")),
            ("", Some("e")),
            ("x", None),
        ] {
            assert_eq!(query.get(name).unwrap(), expected.map(str::as_bytes), "{name}");
        }
    }

    #[test]
    fn more_parameters_than_are_looked_at_are_an_error() {
        let full = vec!["a=1"; MOST_PARAMETERS].join("&");
        assert!(Query::new(Some(&full)).get("a").is_ok());
        assert_eq!(Query::new(Some(&format!("{full}&b"))).get("a"), Err(Why::LongQuery));
    }
}
