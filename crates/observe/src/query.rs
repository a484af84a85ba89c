//! Which records someone wants to see.
//!
//! Enters: filters, all of which must hold. Leaves: yes or no for a record.
//! Guarantees: an empty query matches everything; matching never allocates per record beyond the names it compares.
//! Does not: order or count; that is the store's.

use crate::about::About;
use crate::record::{End, Kind, Record};
use crate::time::Time;
use policy::{Protocol, Verdict};
use serde::{Deserialize, Serialize};
use std::sync::Arc;

/// Text to find an end by. With `*` or `?` it is a glob over the whole `namespace/name`, node name, address or
/// `Kind/name` of the workload; otherwise it matches anywhere in them.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(transparent)]
pub struct Pattern(pub Arc<str>);

impl Pattern {
    /// Whether the text is meant.
    pub fn matches_text(&self, text: &str) -> bool {
        if self.0.contains(['*', '?']) {
            glob(self.0.as_bytes(), text.as_bytes())
        } else {
            text.contains(&*self.0)
        }
    }

    /// Whether the end is meant.
    pub fn matches(&self, end: &End) -> bool {
        let meant = |text: &str| self.matches_text(text);
        if meant(&end.address.to_string()) {
            return true;
        }
        if end.names.iter().any(|name| meant(name.as_str())) {
            return true;
        }
        let Some(name) = &end.name else { return false };
        let full = end.namespace.as_ref().map_or_else(|| name.to_string(), |ns| format!("{ns}/{name}"));
        meant(&full)
            || end
                .workload
                .as_ref()
                .is_some_and(|workload| meant(&format!("{}/{}", workload.kind, workload.name)))
    }
}

/// `*` is any text, `?` any one byte. Time is the product of both lengths at most: after a mismatch only the
/// last star is tried again.
fn glob(pattern: &[u8], text: &[u8]) -> bool {
    let (mut p, mut t) = (0, 0);
    let mut retry: Option<(usize, usize)> = None;
    while let Some(byte) = text.get(t) {
        match pattern.get(p) {
            Some(b'*') => {
                retry = Some((p, t));
                p += 1;
            }
            Some(wanted) if *wanted == b'?' || wanted == byte => {
                p += 1;
                t += 1;
            }
            Some(_) | None => {
                let Some((star, from)) = retry else { return false };
                retry = Some((star, from + 1));
                p = star + 1;
                t = from + 1;
            }
        }
    }
    pattern.iter().skip(p).all(|byte| *byte == b'*')
}

/// Filters; those that are absent hold for every record.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct Query {
    /// Allow or deny.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub verdict: Option<Verdict>,
    /// Open, close or deny.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub kind: Option<Kind>,
    /// Who opened.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub from: Option<Pattern>,
    /// Who received.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub to: Option<Pattern>,
    /// Not older.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub since: Option<Time>,
    /// Not younger.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub until: Option<Time>,
    /// Destination port.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub port: Option<u16>,
    /// Transport protocol.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub protocol: Option<Protocol>,
    /// What a denied connection was about.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub about: Option<About>,
    /// Only where the candidate that is judged beside would not have done what happened.
    #[serde(skip_serializing_if = "is_false")]
    pub shadow_differs: bool,
    /// At most so many, the newest ones. The store has a ceiling of its own.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub limit: Option<usize>,
}

#[expect(clippy::trivially_copy_pass_by_ref, reason = "the signature serde asks for")]
fn is_false(flag: &bool) -> bool {
    !*flag
}

impl Query {
    /// Whether every filter holds.
    pub fn matches(&self, record: &Record) -> bool {
        self.verdict.is_none_or(|wanted| wanted == record.verdict)
            && self.kind.is_none_or(|wanted| wanted == record.kind)
            && self.port.is_none_or(|wanted| wanted == record.port)
            && self.protocol.is_none_or(|wanted| wanted == record.protocol)
            && self.about.is_none_or(|wanted| Some(wanted) == record.about)
            && (!self.shadow_differs || record.differs())
            && self.since.is_none_or(|since| record.time >= since)
            && self.until.is_none_or(|until| record.time <= until)
            && self.from.as_ref().is_none_or(|pattern| pattern.matches(&record.from))
            && self.to.as_ref().is_none_or(|pattern| pattern.matches(&record.to))
    }
}

#[cfg(test)]
mod tests {
    use super::glob;

    #[test]
    fn globs_match_whole_texts() {
        let cases = [
            ("*", "", true),
            ("a*", "abc", true),
            ("*c", "abc", true),
            ("a*c*e", "abcde", true),
            ("prod/*", "prod/web-0", true),
            ("prod/*", "preprod/web-0", false),
            ("?", "", false),
            ("web-?", "web-0", true),
            ("web-?", "web-10", false),
            ("*ab*ab", "abab", true),
            ("*aab", "aaab", true),
            ("", "a", false),
        ];
        for (pattern, text, expected) in cases {
            assert_eq!(glob(pattern.as_bytes(), text.as_bytes()), expected, "{pattern} {text}");
        }
    }

    #[test]
    fn a_hostile_glob_ends() {
        let pattern = "*a".repeat(200) + "b";
        assert!(!glob(pattern.as_bytes(), "a".repeat(5000).as_bytes()));
    }
}
