//! Name of a fleet, as a release and a cluster say it.
//!
//! Enters: text. Leaves: the name, or why it is none. Guarantees: small and printable, so that it can stand in any message. Does
//! not: know which fleets there are.

use serde::{Deserialize, Serialize};
use std::fmt;

/// Longest name.
const MOST: usize = 63;

/// A label as in DNS: small letters, digits and `-`, at most 63.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub struct FleetName(String);

/// The text is no name of a fleet.
#[derive(Clone, Debug, thiserror::Error, PartialEq, Eq)]
#[error("{0:?} is no name of a fleet: 1 to {MOST} small letters, digits and -, neither first nor last a -")]
pub struct NotAFleet(String);

impl TryFrom<String> for FleetName {
    type Error = NotAFleet;

    fn try_from(text: String) -> Result<Self, NotAFleet> {
        let is_plain = text.bytes().all(|b| matches!(b, b'a'..=b'z' | b'0'..=b'9' | b'-'));
        let is_ended = text.starts_with('-') || text.ends_with('-');
        if !text.is_empty() && text.len() <= MOST && is_plain && !is_ended {
            Ok(Self(text))
        } else {
            Err(NotAFleet(text.chars().take(MOST + 1).collect()))
        }
    }
}

impl std::str::FromStr for FleetName {
    type Err = NotAFleet;

    fn from_str(text: &str) -> Result<Self, NotAFleet> {
        Self::try_from(text.to_owned())
    }
}

impl From<FleetName> for String {
    fn from(name: FleetName) -> Self {
        name.0
    }
}

impl fmt::Display for FleetName {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_name_is_a_label() {
        for (text, is_one) in [
            ("payments", true),
            ("eu-1", true),
            (&"a".repeat(MOST), true),
            (&"a".repeat(MOST + 1), false),
            ("", false),
            ("-a", false),
            ("a-", false),
            ("A", false),
            ("a b", false),
            ("a.b", false),
        ] {
            assert_eq!(text.parse::<FleetName>().is_ok(), is_one, "{text:?}");
        }
    }
}
