//! DNS names and the patterns `domainNames` peers are written in
//! (network-policy-api v1alpha2 `DomainName`, NPEP-133).

use serde::Serialize;
use std::fmt;
use std::sync::Arc;
use thiserror::Error;

/// Why a text is not a DNS name or pattern.
#[derive(Clone, Debug, Error, PartialEq, Eq)]
#[error("{text:?} is not a domain name: {why}")]
pub struct DomainError {
    text: String,
    why: &'static str,
}

/// A fully qualified DNS name: lower case, without the trailing dot, 1 to 253 characters.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize)]
#[serde(transparent)]
pub struct DnsName(Arc<str>);

impl DnsName {
    /// Parses a name; case and one trailing dot do not matter (RFC 4343, NPEP-133).
    ///
    /// # Errors
    /// The text is empty, too long, or a label breaks the rules of RFC 1123 (underscores are accepted: real
    /// names carry them, RFC 8552).
    pub fn parse(text: &str) -> Result<Self, DomainError> {
        let fail = |why| Err(DomainError { text: text.chars().take(80).collect(), why });
        let name = text.strip_suffix('.').unwrap_or(text).to_ascii_lowercase();
        if name.is_empty() || name.len() > 253 {
            return fail("it needs 1 to 253 characters");
        }
        for label in name.split('.') {
            if label.is_empty() || label.len() > 63 {
                return fail("every label needs 1 to 63 characters");
            }
            if !label.bytes().all(|b| b.is_ascii_alphanumeric() || b == b'-' || b == b'_') {
                return fail("labels are letters, digits, '-' and '_'");
            }
            if label.starts_with('-') || label.ends_with('-') {
                return fail("a label neither starts nor ends with '-'");
            }
        }
        Ok(Self(name.into()))
    }

    /// The name as text, lower case, no trailing dot.
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl fmt::Display for DnsName {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

/// `name` or `*.name`.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize)]
pub enum DomainPattern {
    /// Exactly this name.
    Exact(DnsName),
    /// One or more whole labels below this name; never the name itself.
    Below(DnsName),
}

impl DomainPattern {
    /// Parses a pattern.
    ///
    /// # Errors
    /// The text is not a name, or has a `*` anywhere but as the whole first label.
    pub fn parse(text: &str) -> Result<Self, DomainError> {
        match text.strip_prefix("*.") {
            Some(rest) => DnsName::parse(rest).map(Self::Below),
            None => DnsName::parse(text).map(Self::Exact),
        }
    }

    /// Whether `name` is meant.
    pub fn matches(&self, name: &DnsName) -> bool {
        match self {
            Self::Exact(exact) => exact == name,
            Self::Below(parent) => {
                name.0.strip_suffix(parent.as_str()).is_some_and(|head| head.len() > 1 && head.ends_with('.'))
            }
        }
    }
}

impl fmt::Display for DomainPattern {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Exact(name) => write!(f, "{name}"),
            Self::Below(name) => write!(f, "*.{name}"),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn check(pattern: &str, name: &str, expected: bool) {
        let verdict = DomainPattern::parse(pattern).unwrap().matches(&DnsName::parse(name).unwrap());
        assert_eq!(verdict, expected, "{pattern} on {name}");
    }

    #[test]
    fn patterns_match_whole_labels_only() {
        check("kubernetes.io", "Kubernetes.IO.", true);
        check("*.kubernetes.io", "kubernetes.io", false);
        check("*.kubernetes.io", "a.b.kubernetes.io", true);
        check("*.kubernetes.io", "my-kubernetes.io", false);
        check("kubernetes.io", "www.kubernetes.io", false);
    }

    #[test]
    fn malformed_names_are_refused() {
        for bad in ["", ".", "*", "a..b", "-a.io", "a.*.io", "*.*.io", "a b.io", "a[.io", &"x".repeat(64)] {
            assert!(DomainPattern::parse(bad).is_err(), "{bad}");
        }
    }
}
