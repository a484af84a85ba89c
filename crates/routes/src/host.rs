//! Host names, and patterns of them: exact, `*.` and anything below, or any.

use std::collections::{HashMap, HashSet};
use std::sync::Arc;

/// Longest host name, in bytes (RFC 1035, section 2.3.4).
const MOST: usize = 253;

/// A request's host in lower case, without port and final dot. `None`: it is none. An address stands for itself.
pub fn read(text: &str) -> Option<String> {
    let name = match text.strip_prefix('[') {
        Some(rest) => {
            let (address, port) = rest.split_once(']')?;
            let address: std::net::Ipv6Addr = address.parse().ok()?;
            is_port(port.strip_prefix(':').or(port.is_empty().then_some(""))?).then_some(())?;
            return Some(address.to_string());
        }
        None => match text.split_once(':') {
            Some((name, port)) => is_port(port).then_some(name)?,
            None => text,
        },
    };
    let name = name.strip_suffix('.').unwrap_or(name);
    let is_label = |label: &str| {
        let is_known = |byte: u8| byte.is_ascii_alphanumeric() || byte == b'-' || byte == b'_';
        !label.is_empty() && label.bytes().all(is_known)
    };
    (name.len() <= MOST && name.split('.').all(is_label)).then(|| name.to_ascii_lowercase())
}

fn is_port(text: &str) -> bool {
    text.len() <= 5 && text.bytes().all(|byte| byte.is_ascii_digit())
}

/// What is below each parent of a name, the nearest first: of `a.b.c` that is `.b.c` and `.c`.
fn parents(name: &str) -> impl Iterator<Item = &str> {
    name.bytes().enumerate().filter(|(_, byte)| *byte == b'.').filter_map(|(at, _)| name.get(at..))
}

/// Whether a name, or every name that a pattern means, is meant by a pattern.
pub(crate) fn covers(pattern: Option<&str>, name: &str) -> bool {
    let Some(pattern) = pattern else { return true };
    match (pattern.strip_prefix('*'), name.strip_prefix('*')) {
        (Some(suffix), Some(inner)) => inner.ends_with(suffix),
        (Some(suffix), None) => name.len() > suffix.len() && name.ends_with(suffix),
        (None, Some(_)) => false,
        (None, None) => pattern == name,
    }
}

/// Whether there is a name that both mean.
pub(crate) fn intersect(one: Option<&str>, other: &str) -> bool {
    covers(one, other) || one.is_some_and(|one| covers(Some(other), one))
}

/// Something for each pattern; asked for a host, the most specific first.
#[derive(Debug)]
pub(crate) struct Hosts<T> {
    exact: HashMap<Arc<str>, T>,
    /// By what follows the `*`.
    below: HashMap<Arc<str>, T>,
    any: Option<T>,
}

impl<T> Default for Hosts<T> {
    fn default() -> Self {
        Self { exact: HashMap::new(), below: HashMap::new(), any: None }
    }
}

impl<T: Default> Hosts<T> {
    /// What is kept for a pattern.
    pub(crate) fn entry(&mut self, pattern: Option<&str>) -> &mut T {
        match pattern {
            None => self.any.get_or_insert_default(),
            Some(pattern) => match pattern.strip_prefix('*') {
                Some(suffix) => self.below.entry(suffix.into()).or_default(),
                None => self.exact.entry(pattern.into()).or_default(),
            },
        }
    }
}

impl<T> Hosts<T> {
    /// What is kept for patterns that mean this host. `None`: the host is not known, and only what holds for any is given.
    pub(crate) fn matching<'h>(&'h self, host: Option<&'h str>) -> impl Iterator<Item = &'h T> {
        let named = host.into_iter().flat_map(|host| {
            self.exact.get(host).into_iter().chain(parents(host).filter_map(|parent| self.below.get(parent)))
        });
        named.chain(&self.any)
    }

    pub(crate) fn values_mut(&mut self) -> impl Iterator<Item = &mut T> {
        self.exact.values_mut().chain(self.below.values_mut()).chain(&mut self.any)
    }
}

/// Patterns, asked whether another shares a name with one of them.
#[derive(Debug, Default)]
pub(crate) struct HostSet {
    exact: HashSet<Arc<str>>,
    below: HashSet<Arc<str>>,
    /// What every pattern is below.
    above: HashSet<Arc<str>>,
    any: bool,
    is_used: bool,
}

impl HostSet {
    pub(crate) fn insert(&mut self, pattern: Option<&str>) {
        self.is_used = true;
        let Some(pattern) = pattern else {
            self.any = true;
            return;
        };
        self.above.extend(parents(pattern).map(Arc::from));
        match pattern.strip_prefix('*') {
            Some(suffix) => self.below.insert(suffix.into()),
            None => self.exact.insert(pattern.into()),
        };
    }

    pub(crate) fn meets(&self, pattern: Option<&str>) -> bool {
        let Some(pattern) = pattern else { return self.is_used };
        let is_inside = self.any || parents(pattern).any(|parent| self.below.contains(parent));
        is_inside
            || match pattern.strip_prefix('*') {
                Some(suffix) => self.above.contains(suffix),
                None => self.exact.contains(pattern),
            }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_host_is_read_without_port_case_and_final_dot() {
        let long = format!("{}.a", "x".repeat(252));
        for (text, expected) in [
            ("Example.COM", Some("example.com")),
            ("example.com:8080", Some("example.com")),
            ("example.com.:80", Some("example.com")),
            ("a_b.c", Some("a_b.c")),
            ("10.0.0.1:80", Some("10.0.0.1")),
            ("[::1]:80", Some("::1")),
            ("[0:0::1]", Some("::1")),
            ("", None),
            (".", None),
            ("a..b", None),
            ("a:b", None),
            ("a:80:90", None),
            ("a:800000", None),
            ("*.a", None),
            ("a/b", None),
            ("u@a", None),
            ("[::1", None),
            ("[::1]x", None),
            ("é.com", None),
            (&long, None),
        ] {
            assert_eq!(read(text).as_deref(), expected, "{text}");
        }
    }

    #[test]
    fn patterns_meet_where_a_name_is_meant_by_both() {
        let patterns = [
            None,
            Some("a.b.c"),
            Some("x.b.c"),
            Some("b.c"),
            Some("*.b.c"),
            Some("*.c"),
            Some("*.a.b.c"),
            Some("c"),
        ];
        let names = ["a.b.c", "x.b.c", "b.c", "c", "y.a.b.c", "z.y.a.b.c", "q.c", "q"];
        let meant = |pattern: Option<&str>| -> Vec<&str> {
            names.into_iter().filter(|name| covers(pattern, name)).collect()
        };
        for one in patterns {
            let mut set = HostSet::default();
            set.insert(one);
            for other in patterns {
                let expected = meant(one).iter().any(|name| meant(other).contains(name));
                assert_eq!(set.meets(other), expected, "{one:?} {other:?}");
                if let Some(other) = other {
                    assert_eq!(intersect(one, other), expected, "{one:?} {other:?}");
                }
            }
        }
    }

    #[test]
    fn the_most_specific_pattern_comes_first() {
        let mut hosts: Hosts<Vec<&str>> = Hosts::default();
        for pattern in ["*.c", "*.b.c", "a.b.c", "*.a.b.c"] {
            hosts.entry(Some(pattern)).push(pattern);
        }
        hosts.entry(None).push("any");
        let found = |host| hosts.matching(host).flatten().copied().collect::<Vec<_>>();
        assert_eq!(found(Some("a.b.c")), ["a.b.c", "*.b.c", "*.c", "any"]);
        assert_eq!(found(Some("b.c")), ["*.c", "any"]);
        assert_eq!(found(Some("c")), ["any"]);
        assert_eq!(found(None), ["any"]);
    }
}
