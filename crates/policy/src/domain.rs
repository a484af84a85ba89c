//! DNS names, and the patterns that peers are written in.
//!
//! There are two ways of writing them. In a ClusterNetworkPolicy (network-policy-api v1alpha2 `DomainName`, NPEP-133)
//! `*.x` is one or more labels below `x`. Cofferdam's own kinds tell the two apart: `*.x` is exactly one label, `**.x` one
//! or more. What a pattern means is in the type; how it was written is not, and it is shown as own kinds write it.
//!
//! In rules of own kinds that open something, a wildcard means nothing in a private zone unless it is written within it
//! ([`DomainPattern::outside`]): who allows `**.example` means the world, and not the pods behind `k8s.example`.

use serde::{Deserialize, Serialize};
use std::collections::BTreeSet;
use std::fmt;
use std::net::IpAddr;
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

    /// Whether it is this zone, or below it.
    pub fn is_in(&self, zone: &Self) -> bool {
        self == zone || below(self, zone).is_some()
    }

    /// The names above this one, from the nearest up to the top-level domain.
    pub fn parents(&self) -> impl Iterator<Item = &str> {
        self.0.match_indices('.').filter_map(|(dot, _)| self.0.get(dot + 1..))
    }
}

impl<'de> Deserialize<'de> for DnsName {
    fn deserialize<D: serde::Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let text = std::borrow::Cow::<'de, str>::deserialize(deserializer)?;
        Self::parse(&text).map_err(serde::de::Error::custom)
    }
}

impl std::borrow::Borrow<str> for DnsName {
    fn borrow(&self) -> &str {
        &self.0
    }
}

impl fmt::Display for DnsName {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

/// How [`DomainPattern::Any`] is shown.
const ANY: &str = "**";
/// Before the zones of an [`Outside`] as it is shown, and between them.
const EXCEPT: (&str, &str) = (" except ", ", ");

/// Which names are meant. Shown, and written in JSON, as own kinds write it: `name`, `*.name`, `**.name`; what nobody
/// writes is `**`, and `**.name except zone, zone`.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum DomainPattern {
    /// Exactly this name.
    Exact(DnsName),
    /// Exactly one whole label below this name; never the name itself.
    OneBelow(DnsName),
    /// One or more whole labels below this name; never the name itself.
    Below(DnsName),
    /// Any name. It is for where answers lead ([`crate::Requests::granted`]); written it is only in
    /// [`crate::ProviderEgress::domains`].
    Any,
    /// What a wildcard means, without private zones; only [`Self::outside`] makes it.
    Outside(Box<Outside>),
}

/// A wildcard without private zones that it would otherwise reach into.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Outside {
    wide: DomainPattern,
    zones: Vec<DnsName>,
}

impl Outside {
    /// The wildcard; never itself a [`DomainPattern::Outside`].
    pub fn wide(&self) -> &DomainPattern {
        &self.wide
    }

    /// Neither these nor names below them are meant. At least one, sorted.
    pub fn zones(&self) -> &[DnsName] {
        &self.zones
    }
}

impl DomainPattern {
    /// Parses a pattern as own kinds write it: `name`, `*.name` for one label below, `**.name` for one or more.
    ///
    /// # Errors
    /// The text is not a name, or has a `*` anywhere but as the whole first label.
    pub fn parse_own(text: &str) -> Result<Self, DomainError> {
        if let Some(rest) = text.strip_prefix("**.") {
            return DnsName::parse(rest).map(Self::Below);
        }
        match text.strip_prefix("*.") {
            Some(rest) => DnsName::parse(rest).map(Self::OneBelow),
            None => DnsName::parse(text).map(Self::Exact),
        }
    }

    /// Parses a pattern as it is shown, which nobody may have written.
    ///
    /// # Errors
    /// As [`Self::parse_own`], but for `**` alone, and `except` behind a wildcard.
    pub fn parse_shown(text: &str) -> Result<Self, DomainError> {
        if let Some((wide, zones)) = text.split_once(EXCEPT.0) {
            let zones: Result<Vec<_>, _> = zones.split(EXCEPT.1).map(DnsName::parse).collect();
            return Ok(Self::parse_shown(wide)?.outside(&zones?));
        }
        if text == ANY { Ok(Self::Any) } else { Self::parse_own(text) }
    }

    /// The same without the names of each zone, unless the pattern is written within that zone.
    #[must_use]
    pub fn outside(self, zones: &[DnsName]) -> Self {
        let (wide, before) = match self {
            Self::Outside(outside) => (outside.wide, outside.zones),
            wide @ (Self::Exact(_) | Self::OneBelow(_) | Self::Below(_) | Self::Any) => (wide, Vec::new()),
        };
        let reaches_into = |zone: &&DnsName| wide.means_some_of(zone) && !wide.is_within(zone);
        let zones: BTreeSet<DnsName> = before.iter().chain(zones).filter(reaches_into).cloned().collect();
        if zones.is_empty() {
            return wide;
        }
        Self::Outside(Box::new(Outside { wide, zones: zones.into_iter().collect() }))
    }

    /// Whether any name may be meant, private zones aside.
    pub fn is_any(&self) -> bool {
        match self {
            Self::Any => true,
            Self::Outside(outside) => outside.wide.is_any(),
            Self::Exact(_) | Self::OneBelow(_) | Self::Below(_) => false,
        }
    }

    /// Whether every name that is meant is in the zone.
    fn is_within(&self, zone: &DnsName) -> bool {
        match self {
            Self::Exact(name) | Self::OneBelow(name) | Self::Below(name) => name.is_in(zone),
            Self::Any => false,
            Self::Outside(outside) => outside.wide.is_within(zone),
        }
    }

    /// Whether any name is meant that is in the zone.
    fn means_some_of(&self, zone: &DnsName) -> bool {
        match self {
            Self::Exact(name) => name.is_in(zone),
            Self::OneBelow(parent) => parent.is_in(zone) || self.matches(zone),
            Self::Below(parent) => parent.is_in(zone) || zone.is_in(parent),
            Self::Any => true,
            Self::Outside(outside) => {
                outside.wide.means_some_of(zone) && !outside.zones.iter().any(|without| zone.is_in(without))
            }
        }
    }

    /// Parses a pattern as a ClusterNetworkPolicy writes it: `name`, or `*.name` for one or more labels below.
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
            Self::OneBelow(parent) => below(name, parent).is_some_and(|labels| !labels.contains('.')),
            Self::Below(parent) => below(name, parent).is_some(),
            Self::Any => true,
            Self::Outside(outside) => {
                outside.wide.matches(name) && !outside.zones.iter().any(|zone| name.is_in(zone))
            }
        }
    }

    /// Whether every name that `other` means is meant.
    pub fn covers(&self, other: &Self) -> bool {
        match (self, other) {
            (Self::Any, _) => true,
            (_, Self::Exact(name)) => self.matches(name),
            (Self::Outside(outside), _) => {
                outside.wide.covers(other) && !outside.zones.iter().any(|zone| other.means_some_of(zone))
            }
            (_, Self::Outside(outside)) => self.covers(&outside.wide),
            (Self::Exact(_), Self::OneBelow(_) | Self::Below(_))
            | (Self::OneBelow(_), Self::Below(_))
            | (Self::Exact(_) | Self::OneBelow(_) | Self::Below(_), Self::Any) => false,
            (Self::OneBelow(a), Self::OneBelow(b)) => a == b,
            (Self::Below(a), Self::OneBelow(b) | Self::Below(b)) => a == b || below(b, a).is_some(),
        }
    }
}

/// The labels of a name that stand before `parent`; `None` if it does not lie below it.
fn below<'n>(name: &'n DnsName, parent: &DnsName) -> Option<&'n str> {
    let labels = name.0.strip_suffix(parent.as_str())?.strip_suffix('.')?;
    (!labels.is_empty()).then_some(labels)
}

impl fmt::Display for DomainPattern {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Exact(name) => write!(f, "{name}"),
            Self::OneBelow(name) => write!(f, "*.{name}"),
            Self::Below(name) => write!(f, "**.{name}"),
            Self::Any => f.write_str(ANY),
            Self::Outside(outside) => {
                let zones: Vec<&str> = outside.zones.iter().map(DnsName::as_str).collect();
                write!(f, "{}{}{}", outside.wide, EXCEPT.0, zones.join(EXCEPT.1))
            }
        }
    }
}

impl Serialize for DomainPattern {
    fn serialize<S: serde::Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_str(self)
    }
}

impl<'de> Deserialize<'de> for DomainPattern {
    fn deserialize<D: serde::Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let text = std::borrow::Cow::<'de, str>::deserialize(deserializer)?;
        Self::parse_shown(&text).map_err(serde::de::Error::custom)
    }
}

/// What one record of a DNS response gives for its name.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Answer {
    /// CNAME.
    Alias(DnsName),
    /// A or AAAA.
    Address(IpAddr),
}

/// Whether one response makes `address` reachable through `pattern`: a matching name leads to it, directly or over a
/// chain of aliases that is complete within this response (NPEP-133).
pub fn response_allows(pattern: &DomainPattern, response: &[(DnsName, Answer)], address: IpAddr) -> bool {
    let mut names: Vec<&DnsName> =
        response.iter().map(|(name, _)| name).filter(|n| pattern.matches(n)).collect();
    let mut next = 0;
    // Each name is followed once, so a loop of aliases ends.
    while let Some(name) = names.get(next).copied() {
        next += 1;
        for (_, answer) in response.iter().filter(|(owner, _)| owner == name) {
            match answer {
                Answer::Address(found) if *found == address => return true,
                Answer::Alias(target) if !names.contains(&target) => names.push(target),
                Answer::Address(_) | Answer::Alias(_) => {}
            }
        }
    }
    false
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
    fn own_kinds_tell_one_label_from_one_or_more() {
        let own = |pattern, name| {
            DomainPattern::parse_own(pattern).unwrap().matches(&DnsName::parse(name).unwrap())
        };
        for (name, one, more) in [
            ("a.io", false, false),
            ("x.a.io", true, true),
            ("X.A.io.", true, true),
            ("y.x.a.io", false, true),
            ("xa.io", false, false),
        ] {
            assert_eq!((own("*.a.io", name), own("**.a.io", name)), (one, more), "{name}");
        }
        for text in ["a.io", "*.a.io", "**.a.io"] {
            let pattern = DomainPattern::parse_own(text).unwrap();
            assert_eq!(pattern.to_string(), text);
            let json = serde_json::to_string(&pattern).unwrap();
            assert_eq!(json, format!("\"{text}\""));
            assert_eq!(serde_json::from_str::<DomainPattern>(&json).unwrap(), pattern);
        }
        for bad in ["***.a.io", "**", "**.", "a.**.io", "*a.io"] {
            assert!(DomainPattern::parse_own(bad).is_err(), "{bad}");
        }
    }

    #[test]
    fn any_name_is_shown_and_read_again_and_never_written() {
        let json = serde_json::to_string(&DomainPattern::Any).unwrap();
        assert_eq!(json, "\"**\"");
        assert_eq!(serde_json::from_str::<DomainPattern>(&json).unwrap(), DomainPattern::Any);
        assert!(DomainPattern::parse_own("**").is_err() && DomainPattern::parse("**").is_err());
        assert!(DomainPattern::Any.matches(&DnsName::parse("a.io").unwrap()));
    }

    #[test]
    fn a_wildcard_means_a_private_zone_only_if_it_is_written_within_it() {
        let zones = ["Cluster.Local.", "k8s.corp.io", "in.k8s.corp.io"].map(|it| DnsName::parse(it).unwrap());
        for (written, shown, means, not) in [
            (
                "**.local",
                "**.local except cluster.local",
                "printer.local a.notcluster.local",
                "cluster.local db.x.svc.cluster.local DB.x.svc.CLUSTER.local.",
            ),
            ("*.local", "*.local except cluster.local", "printer.local", "cluster.local"),
            ("**.cluster.local", "**.cluster.local", "db.x.svc.cluster.local", "cluster.local"),
            (
                "*.x.svc.cluster.local",
                "*.x.svc.cluster.local",
                "db.x.svc.cluster.local",
                "x.svc.cluster.local",
            ),
            ("Db.x.svc.cluster.local.", "db.x.svc.cluster.local", "db.x.svc.cluster.local", "local"),
            (
                "**.corp.io",
                "**.corp.io except in.k8s.corp.io, k8s.corp.io",
                "git.corp.io a.b.corp.io",
                "k8s.corp.io db.k8s.corp.io a.in.k8s.corp.io",
            ),
            // Each zone by itself: who writes in the outer one does not write in the inner one.
            ("**.k8s.corp.io", "**.k8s.corp.io except in.k8s.corp.io", "db.k8s.corp.io", "a.in.k8s.corp.io"),
            ("*.corp.io", "*.corp.io except k8s.corp.io", "git.corp.io", "k8s.corp.io"),
            ("**.io", "**.io except in.k8s.corp.io, k8s.corp.io", "a.io", "db.k8s.corp.io"),
            ("**.other.io", "**.other.io", "a.other.io", "other.io"),
        ] {
            let pattern = DomainPattern::parse_own(written).unwrap().outside(&zones);
            assert_eq!(pattern.to_string(), shown);
            assert_eq!(DomainPattern::parse_shown(shown).unwrap(), pattern);
            assert_eq!(pattern.clone().outside(&zones), pattern);
            let json = serde_json::to_string(&pattern).unwrap();
            assert_eq!(serde_json::from_str::<DomainPattern>(&json).unwrap(), pattern);
            for (names, expected) in [(means, true), (not, false)] {
                for name in names.split(' ') {
                    let name = DnsName::parse(name).unwrap();
                    assert_eq!(pattern.matches(&name), expected, "{pattern} on {name}");
                }
            }
        }
        let granted = DomainPattern::Any.outside(&zones);
        assert!(granted.is_any() && !granted.matches(&zones[0]));
        for bad in ["** except ", "**.io except *.a.io", "**.io except a.io,b.io", "**.io except"] {
            assert!(DomainPattern::parse_shown(bad).is_err(), "{bad}");
        }
        assert!(DomainPattern::parse_own("**.io except a.io").is_err());
    }

    #[test]
    fn a_pattern_covers_another_when_it_means_all_that_it_does() {
        let all = [
            "a.io",
            "x.a.io",
            "*.a.io",
            "**.a.io",
            "*.x.a.io",
            "**.x.a.io",
            "y.x.a.io",
            "**",
            "*.a.io except x.a.io",
            "**.a.io except x.a.io",
            "**.a.io except y.x.a.io",
            "**.x.a.io except y.x.a.io",
            "** except x.a.io",
            "** except a.io",
        ]
        .map(|text| DomainPattern::parse_shown(text).unwrap());
        let names = [
            "a.io",
            "x.a.io",
            "w.a.io",
            "y.x.a.io",
            "u.x.a.io",
            "z.y.x.a.io",
            "z.w.a.io",
            "v.z.y.x.a.io",
            "v.u.x.a.io",
            "b.io",
        ]
        .map(|text| DnsName::parse(text).unwrap());
        for (a, b) in all.iter().flat_map(|a| all.iter().map(move |b| (a, b))) {
            let all_of_b = names.iter().filter(|name| b.matches(name)).all(|name| a.matches(name));
            assert_eq!(a.covers(b), all_of_b, "{a} covers {b}");
        }
    }

    #[test]
    fn aliases_count_only_when_the_response_completes_them() {
        let name = |text| DnsName::parse(text).unwrap();
        let address = |text: &str| Answer::Address(text.parse().unwrap());
        let pattern = DomainPattern::parse("www.a.io").unwrap();
        let alias = (name("www.a.io"), Answer::Alias(name("cdn.io")));
        let looped = (name("cdn.io"), Answer::Alias(name("www.a.io")));
        let target = (name("cdn.io"), address("192.0.2.1"));
        let allows = |response: &[_]| response_allows(&pattern, response, "192.0.2.1".parse().unwrap());
        assert!(allows(&[alias.clone(), target.clone()]));
        assert!(!allows(std::slice::from_ref(&alias)));
        assert!(!allows(&[target]));
        assert!(!allows(&[alias, looped]));
    }

    #[test]
    fn malformed_names_are_refused() {
        for bad in ["", ".", "*", "a..b", "-a.io", "a.*.io", "*.*.io", "a b.io", "a[.io", &"x".repeat(64)] {
            assert!(DomainPattern::parse(bad).is_err(), "{bad}");
        }
    }
}
