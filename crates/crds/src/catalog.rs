//! Providers by name: which hosts they need, and what each is for.
//!
//! Enters: the built-in file (`catalog.yaml`, with the source of each entry), and files of users in the same form.
//! Leaves: a [`Catalog`]. Guarantees: a provider of a user's file replaces the built-in one of its name, whole; a file with
//! an error gives no catalog. Does not: look anything up in the network, or allow anything by itself.

use crate::decode::{Decoder, Kept, Map, nearest};
use crate::diagnostic::{Code, Diagnostic, ObjectName, Position};
use crate::document::{self, Document, Node};
use crate::meta::short;
use crate::name;
use crate::pod::port_number;
use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

/// The cluster's domain as most have it, and that of a set of clusters (KEP-1645).
const PRIVATE_ZONES: [&str; 2] = ["cluster.local", "clusterset.local"];
/// The built-in catalog's file.
const BUILT_IN: &str = "catalog.yaml";
/// Of a catalog.
pub(crate) const KIND: &str = "Catalog";
const API_VERSION: &str = "cofferdam.dev/v1alpha1";
/// Where nothing else is written.
const HTTPS: u16 = 443;

/// Names that are known before any policy is read: providers' hosts, and zones that are private.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Catalog {
    /// By name.
    pub providers: BTreeMap<Arc<str>, Provider>,
    /// Names of zones: the cluster's domain, and those of private networks. A wildcard that allows means a name in one only if it is
    /// written within it. `cluster.local` and `clusterset.local` are always among them.
    pub private_zones: BTreeSet<Arc<str>>,
}

impl Default for Catalog {
    /// No provider.
    fn default() -> Self {
        Self { providers: BTreeMap::new(), private_zones: PRIVATE_ZONES.map(Arc::from).into() }
    }
}

/// One provider.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Provider {
    /// Lower case, unique.
    pub name: Arc<str>,
    /// For people.
    pub title: Arc<str>,
    /// Where the hosts are from.
    pub sources: Vec<Arc<str>>,
    /// Empty: everybody runs or mirrors it elsewhere; whoever uses the provider names its hosts.
    pub hosts: Vec<CatalogHost>,
    /// What to know before allowing it; empty: nothing.
    pub note: Arc<str>,
    /// Where it is written.
    pub position: Position,
}

/// A host of a provider.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct CatalogHost {
    /// A name; `*.name` for those one label below it, `**.name` for all below it; `{word}` in a label where whoever uses the provider must say what stands there.
    pub host: Arc<str>,
    /// TCP ports.
    pub ports: Vec<u16>,
    /// What it is for.
    pub purpose: Purpose,
}

/// What a host is for.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Purpose {
    /// Calls: questions and answers.
    Api,
    /// Contents to be fetched.
    Content,
    /// Contents, both ways.
    Storage,
    /// Contents to be delivered.
    Upload,
}

impl Purpose {
    /// As they are written.
    pub const WORDS: [(&'static str, Self); 4] = [
        ("api", Self::Api),
        ("content", Self::Content),
        ("storage", Self::Storage),
        ("upload", Self::Upload),
    ];

    /// As it is written.
    pub fn as_str(self) -> &'static str {
        Self::WORDS.iter().find(|(_, it)| *it == self).map_or("", |(word, _)| word)
    }
}

impl CatalogHost {
    /// Words that whoever uses the host must fill in, in their order.
    pub fn parameters(&self) -> Vec<&str> {
        self.host.split('{').skip(1).filter_map(|rest| rest.split_once('}').map(|(word, _)| word)).collect()
    }
}

impl Catalog {
    /// What comes with the program.
    pub fn built_in() -> Self {
        // A test holds that there is nothing wrong with it.
        Self::read(BUILT_IN, include_bytes!("catalog.yaml")).unwrap_or_default()
    }

    /// Reads a file.
    ///
    /// # Errors
    /// All that is wrong with it; nothing of it is used then.
    pub fn read(file: &str, bytes: &[u8]) -> Result<Self, Vec<Diagnostic>> {
        let file: Arc<str> = file.into();
        let bytes = document::in_utf8(bytes);
        let documents = document::read(&file, &bytes).map_err(|diagnostic| vec![*diagnostic])?;
        let (mut catalog, mut kept) = (Self::default(), Kept::default());
        for document in documents {
            let mut decoder = Decoder::new(file.clone(), kept);
            decoder.begin(Some(ObjectName { kind: KIND.into(), namespace: "".into(), name: "".into() }));
            match &document {
                Document::Broken { diagnostic, .. } => decoder.add(diagnostic.clone()),
                Document::Read { root, flaws } => {
                    flaws.iter().for_each(|flaw| decoder.add(flaw.diagnostic.clone()));
                    catalog.decode(&mut decoder, root);
                }
            }
            kept = decoder.finish();
        }
        if kept.diagnostics.iter().any(Diagnostic::is_error) { Err(kept.diagnostics) } else { Ok(catalog) }
    }

    /// With the providers of another one, which replace those of the same name, and its private zones.
    #[must_use]
    pub fn with(mut self, other: Self) -> Self {
        self.providers.extend(other.providers);
        self.private_zones.extend(other.private_zones);
        self
    }

    /// The provider whose name is most like this one, if one is.
    pub fn nearest(&self, name: &str) -> Option<&str> {
        nearest(name, self.providers.keys().map(AsRef::as_ref))
    }

    fn decode<'n>(&mut self, d: &mut Decoder<'n>, root: &'n Node<'n>) {
        let Some(map) = d.strict(root, &["apiVersion", "kind", "providers", "privateZones"]) else { return };
        for (field, only) in [("apiVersion", API_VERSION), ("kind", KIND)] {
            d.required(map, field, |d, node| d.one_of(node, &[(only, ())]));
        }
        let zones = d.field(map, "privateZones", |d, node| d.list(node, zone)).flatten().unwrap_or_default();
        self.private_zones.extend(zones);
        let providers = d.required(map, "providers", |d, node| d.list(node, provider)).unwrap_or_default();
        for provider in providers {
            if let Some(first) = self.providers.get(&provider.name) {
                let message =
                    format!("provider {} is written twice, also at {}", provider.name, first.position);
                d.add(Diagnostic::error(Code::DuplicateObject, message).at(provider.position.clone()));
            }
            self.providers.insert(provider.name.clone(), provider);
        }
    }
}

fn zone<'n>(d: &mut Decoder<'n>, node: &'n Node<'n>) -> Option<Arc<str>> {
    let zone = d.string(node)?;
    // A zone may be a single label.
    let wrong = match zone.starts_with('*') {
        true => Some("a zone has no '*': all names below it are private"),
        false => name::domain_pattern(&format!("x.{zone}")),
    };
    let Some(wrong) = wrong else { return Some(zone) };
    d.error(node.place, Code::InvalidDomain, format!("{:?} is no zone: {wrong}", short(&zone)));
    None
}

fn provider<'n>(d: &mut Decoder<'n>, node: &'n Node<'n>) -> Option<Provider> {
    let map = d.strict(node, &["name", "title", "sources", "hosts", "note"])?;
    let name = d.required(map, "name", |d, node| {
        let name = d.string(node)?;
        if let Some(wrong) = name::dns_label(&name) {
            d.error(
                node.place,
                Code::InvalidName,
                format!("{:?} is no name of a provider: {wrong}", short(&name)),
            );
        }
        Some(name)
    })?;
    let mut texts =
        |field| d.field(map, field, |d, node| d.list(node, Decoder::string)).flatten().unwrap_or_default();
    let sources = texts("sources");
    let hosts = d.required(map, "hosts", |d, node| d.list(node, host)).unwrap_or_default();
    let mut text = |field| d.field(map, field, Decoder::string).flatten().unwrap_or_else(|| "".into());
    let (title, note) = (text("title"), text("note"));
    Some(Provider { name, title, sources, hosts, note, position: d.position(map.place) })
}

fn host<'n>(d: &mut Decoder<'n>, node: &'n Node<'n>) -> Option<CatalogHost> {
    let map: Map<'n> = d.strict(node, &["host", "ports", "for"])?;
    let host = d.required(map, "host", |d, node| {
        let host = d.string(node)?;
        match wrong(&host) {
            None => Some(host),
            Some(wrong) => {
                d.error(node.place, Code::InvalidDomain, format!("{:?} is no host: {wrong}", short(&host)));
                None
            }
        }
    });
    let purpose = d.required(map, "for", |d, node| d.one_of(node, &Purpose::WORDS));
    let ports = d.field(map, "ports", |d, node| d.list(node, port_number)).flatten();
    Some(CatalogHost { host: host?, ports: ports.unwrap_or_else(|| vec![HTTPS]), purpose: purpose? })
}

/// What is wrong with a host, its parameters aside.
fn wrong(host: &str) -> Option<&'static str> {
    let mut plain = String::new();
    let mut rest = host;
    while let Some((before, after)) = rest.split_once('{') {
        let Some((word, behind)) = after.split_once('}') else { return Some("a '{' is not closed") };
        if word.is_empty() || !word.bytes().all(|b| b.is_ascii_lowercase()) {
            return Some("between '{' and '}' stands a word of lower-case letters");
        }
        plain = plain + before + "x";
        rest = behind;
    }
    plain += rest;
    if plain.bytes().any(|b| b.is_ascii_uppercase()) {
        return Some("it is written in lower case");
    }
    name::own_domain_pattern(&plain)
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, reason = "in a test a panic is the failure report")]

    use super::*;

    fn file(hosts: &str) -> String {
        format!("apiVersion: {API_VERSION}\nkind: {KIND}\nproviders:\n- name: hub\n  hosts:\n{hosts}")
    }

    #[test]
    fn what_comes_with_the_program_is_whole_and_says_where_from() {
        let catalog = Catalog::read(BUILT_IN, include_bytes!("catalog.yaml")).unwrap();
        for name in
            ["openai", "anthropic", "huggingface", "gemini", "bedrock", "azure-openai", "ghcr", "quay"]
        {
            assert!(catalog.providers.contains_key(name), "{name}");
        }
        for provider in catalog.providers.values() {
            assert!(!provider.title.is_empty(), "{}", provider.name);
            // Whoever has no host has nothing to be checked.
            assert_eq!(provider.sources.is_empty(), provider.hosts.is_empty(), "{}", provider.name);
            assert!(!provider.hosts.is_empty() || !provider.note.is_empty(), "{}", provider.name);
        }
        assert_eq!(Catalog::built_in(), catalog);
    }

    #[test]
    fn a_users_zones_are_private_besides_those_that_always_are() {
        let zones = |written: &str| {
            let text =
                format!("apiVersion: {API_VERSION}\nkind: {KIND}\nproviders: []\nprivateZones: {written}\n");
            Catalog::read("mine.yaml", text.as_bytes())
                .map(|mine| Catalog::built_in().with(mine).private_zones)
        };
        let all: Vec<String> =
            zones("[K8s.corp.example., lan]").unwrap().iter().map(ToString::to_string).collect();
        assert_eq!(all, ["K8s.corp.example.", "cluster.local", "clusterset.local", "lan"]);
        assert_eq!(zones("[]").unwrap(), Catalog::default().private_zones);
        for bad in ["['*.corp.example']", "['']", "['.']", "[a..b]", "[corp example]", "lan", "[-a]"] {
            assert!(zones(bad).is_err(), "{bad}");
        }
    }

    #[test]
    fn a_users_provider_replaces_the_one_of_its_name() {
        let mine =
            file("  - {host: hub.example, for: storage, ports: [8443]}\n").replace("hub\n", "huggingface\n");
        let both = Catalog::built_in().with(Catalog::read("mine.yaml", mine.as_bytes()).unwrap());
        let hosts = &both.providers.get("huggingface").unwrap().hosts;
        assert_eq!(hosts.len(), 1);
        assert_eq!(hosts.first().map(|it| (&*it.host, &*it.ports)), Some(("hub.example", [8443].as_slice())));
        assert!(both.providers.contains_key("openai"));
    }

    #[test]
    fn errors_name_field_and_line() {
        for (hosts, field, line) in [
            ("  - {host: Hub.example, for: api}\n", "providers[0].hosts[0].host", 6),
            ("  - {host: a.*.example, for: api}\n", "providers[0].hosts[0].host", 6),
            ("  - {host: 'a.{region.example', for: api}\n", "providers[0].hosts[0].host", 6),
            ("  - {host: 'a.{}.example', for: api}\n", "providers[0].hosts[0].host", 6),
            ("  - {host: example, for: api}\n", "providers[0].hosts[0].host", 6),
            ("  - {host: a.example}\n", "providers[0].hosts[0].for", 6),
            ("  - {host: a.example, for: fun}\n", "providers[0].hosts[0].for", 6),
            ("  - {host: a.example, for: api, ports: [0]}\n", "providers[0].hosts[0].ports[0]", 6),
            ("  - {hots: a.example, for: api}\n", "providers[0].hosts[0]", 6),
            ("  - {host: a.example, for: api}\n- {name: hub, hosts: []}\n", "", 7),
            ("  - {host: a.example, for: api}\n- {name: Hub, hosts: []}\n", "providers[1].name", 7),
        ] {
            let found = Catalog::read("mine.yaml", file(hosts).as_bytes()).unwrap_err();
            let is_it = |it: &Diagnostic| {
                it.field.starts_with(field) && it.position.as_ref().is_some_and(|at| at.line == line)
            };
            assert!(found.iter().any(is_it), "{hosts}: {found:?}");
        }
        assert!(Catalog::read("x", b"kind: Pod\n").is_err());
        assert!(Catalog::read("x", b"- [").is_err());
    }

    #[test]
    fn parameters_are_found_in_order() {
        let region = "  - {host: 'bedrock-runtime.{region}.amazonaws.com', for: api}\n";
        let catalog = Catalog::read("x", file(region).as_bytes()).unwrap();
        let hosts = &catalog.providers.get("hub").unwrap().hosts;
        assert_eq!(hosts.first().unwrap().parameters(), ["region"]);
    }
}
