//! What a name in a record is: a workload, a node, a provider that the catalog knows, or something else outside.

use crate::shape::records::{Node, NodeKind};
use crds::Catalog;
use std::collections::HashMap;

/// Hosts of the catalog, to be found by name.
#[derive(Debug, Default)]
pub(crate) struct Providers {
    /// By the last labels that are written out; what must stand before them, and whose it is.
    hosts: HashMap<String, Vec<(Before, String)>>,
}

/// What must stand before the labels that are written out.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Before {
    Nothing,
    /// One label.
    One,
    /// At least one.
    Any,
}

impl Providers {
    /// Those of a catalog.
    pub(crate) fn of(catalog: &Catalog) -> Self {
        let mut providers = Self::default();
        for provider in catalog.providers.values() {
            for host in &provider.hosts {
                let (before, end) = split(&host.host);
                if !end.is_empty() {
                    let hosts = providers.hosts.entry(end).or_default();
                    hosts.push((before, provider.name.to_string()));
                }
            }
        }
        providers
    }

    /// Whose host a name is. The longest that is written out goes first.
    pub(crate) fn whose(&self, name: &str) -> Option<&str> {
        let name = name.to_ascii_lowercase();
        let mut end = name.as_str();
        let mut labels_before = 0;
        loop {
            let fits = |before: &Before| match before {
                Before::Nothing => labels_before == 0,
                Before::One => labels_before == 1,
                Before::Any => labels_before >= 1,
            };
            let hosts = self.hosts.get(end).map_or(&[][..], Vec::as_slice);
            if let Some((_, provider)) = hosts.iter().find(|(before, _)| fits(before)) {
                return Some(provider);
            }
            end = end.split_once('.')?.1;
            labels_before += 1;
        }
    }

    /// What the word of a record is.
    pub(crate) fn node(&self, id: &str) -> Node {
        let of = |kind, namespace: Option<&str>, group: Option<&str>, label: &str| Node {
            id: id.to_owned(),
            kind,
            namespace: namespace.map(str::to_owned),
            group: group.map(str::to_owned),
            label: label.to_owned(),
            members: None,
        };
        if let Some(name) = id.strip_prefix("node ") {
            return of(NodeKind::Node, None, None, name);
        }
        if let Some((namespace, rest)) = id.split_once('/') {
            let label = rest.rsplit_once('/').map_or(rest, |(_, name)| name);
            return of(NodeKind::Workload, Some(namespace), None, label);
        }
        // A destination may be a name with its address behind it.
        let name = id.split_once(" (").map_or(id, |(name, _)| name);
        if let Some(provider) = self.whose(name) {
            return of(NodeKind::Provider, None, Some(provider), name);
        }
        of(NodeKind::External, None, domain(name), name)
    }
}

/// A host of the catalog as the labels that are written out at its end, and what stands before them.
fn split(host: &str) -> (Before, String) {
    if let Some(end) = host.strip_prefix("**.") {
        return (Before::Any, written_out(end));
    }
    if let Some(end) = host.strip_prefix("*.") {
        let written = written_out(end);
        return (if written == end { Before::One } else { Before::Any }, written);
    }
    let written = written_out(host);
    (if written == host { Before::Nothing } else { Before::Any }, written)
}

/// The labels behind the last that has a parameter. A public suffix alone is nobody's.
fn written_out(host: &str) -> String {
    let end = host.rsplit_once('}').map_or(host, |(_, rest)| rest.split_once('.').map_or("", |(_, end)| end));
    if host.contains('}') && psl::domain_str(end).is_none() {
        String::new()
    } else {
        end.to_ascii_lowercase()
    }
}

/// The registrable domain of a name; none of an address.
fn domain(name: &str) -> Option<&str> {
    if name.parse::<std::net::IpAddr>().is_ok() { None } else { psl::domain_str(name) }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn words_of_records_are_what_they_say() {
        let providers = Providers::of(&Catalog::built_in());
        for (id, kind, namespace, group, label) in [
            ("ai/Job/train", NodeKind::Workload, Some("ai"), None, "train"),
            ("ai/shell", NodeKind::Workload, Some("ai"), None, "shell"),
            ("node n1", NodeKind::Node, None, None, "n1"),
            ("api.openai.com", NodeKind::Provider, None, Some("openai"), "api.openai.com"),
            ("API.OpenAI.com (10.0.0.1)", NodeKind::Provider, None, Some("openai"), "API.OpenAI.com"),
            ("notopenai.com", NodeKind::External, None, Some("notopenai.com"), "notopenai.com"),
            ("a.b.example.co.uk", NodeKind::External, None, Some("example.co.uk"), "a.b.example.co.uk"),
            ("192.0.2.1", NodeKind::External, None, None, "192.0.2.1"),
            ("2001:db8::1", NodeKind::External, None, None, "2001:db8::1"),
            ("<script>", NodeKind::External, None, None, "<script>"),
            ("", NodeKind::External, None, None, ""),
        ] {
            let node = providers.node(id);
            let found = (node.kind, node.namespace.as_deref(), node.group.as_deref(), node.label.as_str());
            assert_eq!(found, (kind, namespace, group, label), "{id}");
        }
    }

    #[test]
    fn every_host_of_the_catalog_is_its_providers() {
        let (catalog, providers) = (Catalog::built_in(), Providers::of(&Catalog::built_in()));
        for provider in catalog.providers.values() {
            for host in provider.hosts.iter().filter(|host| !host.host.contains('{')) {
                let name = host.host.replace("**", "a.b").replace('*', "a");
                assert!(providers.whose(&name).is_some(), "{name}");
            }
        }
    }
}
