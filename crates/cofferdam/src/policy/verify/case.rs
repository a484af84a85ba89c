//! Reads a conformance case: manifests, and the facts expected of them.
//!
//! Enters: a case folder as `FORMAT.md` of the shared cases describes it, or `tests/cases/README.md`. Leaves: a [`Case`] with
//! accesses to judge (in rounds, one per state of the world) and facts that need no packet, already answered.
//! Guarantees: every entry of the file becomes at least one check; an entry that cannot be read is an error, not a skip.

use super::connlist;
use crate::catalog;
use anyhow::{Context, Result, anyhow, bail};
use compiler::compile_unlinted_with;
use crds::{Catalog, Severity};
use policy::domain::{self, Answer};
use policy::{DnsName, DomainPattern, Generation, Labels, Pod, PolicySet, Protocol, Verdict, WorkloadRef};
use serde::Deserialize;
use std::collections::BTreeMap;
use std::net::IpAddr;
use std::path::Path;
use std::sync::Arc;

/// Where a case has its own providers.
const CATALOG: &str = "catalog.yaml";
/// Stands for an ingress controller: a pod without labels in a namespace nobody declared.
pub(super) const INGRESS_CONTROLLER: (&str, &str) = ("cofferdam-verify", "ingress-controller");

/// One case.
#[derive(Debug)]
pub(super) struct Case {
    pub id: String,
    pub family: String,
    pub rounds: Vec<Round>,
    pub facts: Vec<Fact>,
}

/// Accesses to judge in one state of the world.
#[derive(Debug)]
pub(super) struct Round {
    pub set: PolicySet,
    /// The manifests, for whoever hands them on.
    pub manifests: Arc<Vec<serde_json::Value>>,
    /// What providers are looked up in.
    pub catalog: Arc<Catalog>,
    pub checks: Vec<Check>,
}

/// One access and the expected verdict.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Check {
    pub from: End,
    pub to: End,
    pub protocol: Protocol,
    pub port: u16,
    pub expected: Verdict,
}

/// An end of an access as cases write it.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub(super) enum End {
    Pod(String, String),
    Address(IpAddr),
}

impl std::fmt::Display for End {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Self::Pod(namespace, name) => write!(f, "pod:{namespace}/{name}"),
            Self::Address(address) => write!(f, "ip:{address}"),
        }
    }
}

/// Something that needs no access to be judged.
#[derive(Debug)]
pub(super) struct Fact {
    pub what: String,
    pub expected: String,
    pub got: String,
}

#[derive(Deserialize)]
struct Expected {
    id: String,
    family: String,
    mode: String,
    expect: Vec<serde_json::Value>,
}

/// An entry of the modes `pairs`, `pairs-dns` and `connlist`.
#[derive(Deserialize)]
pub(super) struct Entry {
    pub from: String,
    pub to: String,
    pub port: serde_json::Value,
    pub protocol: String,
    pub verdict: String,
    #[serde(default)]
    dns: Vec<Observed>,
}

#[derive(Deserialize)]
struct Observed {
    name: String,
    ips: Vec<IpAddr>,
    ttl: Option<u64>,
}

/// Ports as an entry writes them: inclusive ranges, and protocols.
pub(super) struct Ports {
    pub protocols: Vec<Protocol>,
    pub first: u16,
    pub last: u16,
}

impl Entry {
    pub(super) fn ports(&self) -> Result<Ports> {
        let protocols = match self.protocol.as_str() {
            "*" => Protocol::WITH_PORTS.to_vec(),
            name => vec![name.parse()?],
        };
        let (first, last) = match &self.port {
            serde_json::Value::Number(number) => {
                let port =
                    number.as_u64().and_then(|n| u16::try_from(n).ok()).context("port out of range")?;
                (port, port)
            }
            serde_json::Value::String(text) if text == "*" => (1, u16::MAX),
            serde_json::Value::String(text) => {
                let (first, last) = text.split_once('-').unwrap_or((text, text));
                (first.parse()?, last.parse()?)
            }
            other => bail!("port {other} is neither a number nor a range"),
        };
        Ok(Ports { protocols, first, last })
    }

    pub(super) fn verdict(&self) -> Result<Verdict> {
        match self.verdict.as_str() {
            "allow" => Ok(Verdict::Allow),
            "deny" => Ok(Verdict::Deny),
            other => bail!("verdict {other:?} is neither allow nor deny"),
        }
    }
}

/// Reads one case folder.
pub(super) fn read(folder: &Path, catalog: &Catalog) -> Result<Case> {
    read_inner(folder, catalog).with_context(|| format!("case {}", folder.display()))
}

fn read_inner(folder: &Path, catalog: &Catalog) -> Result<Case> {
    let expected: Expected =
        serde_json::from_slice(&std::fs::read(folder.join("expected.json"))?).context("expected.json")?;
    let (read, raw) = manifests(folder)?;
    let mut case = Case { id: expected.id, family: expected.family, rounds: Vec::new(), facts: Vec::new() };
    if expected.mode == "validate" {
        let error = read.diagnostics.iter().find(|diagnostic| diagnostic.severity == Severity::Error);
        case.facts = expected.expect.iter().map(|entry| validated(entry, error)).collect::<Result<_>>()?;
        return Ok(case);
    }
    let mut objects = read.objects;
    if expected.mode == "connlist" {
        objects.iter_mut().for_each(running);
    }
    let catalog = Arc::new(own_catalog(folder, catalog)?);
    // What is wrong with a policy closes what it may select, here as on a cluster, and the verdicts are those of that.
    let set = compile_unlinted_with(objects, &catalog, Generation(1)).set;
    match expected.mode.as_str() {
        "pairs" | "pairs-dns" => {
            let (asked, pairs): (Vec<_>, Vec<_>) = expected.expect.into_iter().partition(is_of_dns);
            case.facts = asked.iter().map(|entry| dns_fact(&set, entry)).collect::<Result<_>>()?;
            case.rounds = self::pairs(set, &pairs)?;
        }
        "connlist" => {
            let entries: Vec<Entry> = entries(&expected.expect)?;
            case.rounds = vec![connlist::round(as_ordinary_pods(with_ingress_controller(set)), &entries)?];
        }
        "domain-pattern" | "domain-lookup" | "domain-cname" => {
            case.facts = expected.expect.iter().map(domain_fact).collect::<Result<_>>()?;
        }
        other => bail!("mode {other:?} is unknown"),
    }
    let raw = Arc::new(raw);
    for round in &mut case.rounds {
        (round.manifests, round.catalog) = (Arc::clone(&raw), Arc::clone(&catalog));
    }
    Ok(case)
}

/// A case may bring providers of its own.
fn own_catalog(folder: &Path, catalog: &Catalog) -> Result<Catalog> {
    let file = folder.join(CATALOG);
    if !file.is_file() {
        return Ok(catalog.clone());
    }
    let own = catalog::read(&file).map_err(|found| catalog::refusal(&found))?;
    Ok(catalog.clone().with(own))
}

/// `manifests.yaml`, or in a folder that is an example as well as a case, every YAML file.
fn manifests(folder: &Path) -> Result<(crds::Read, Vec<serde_json::Value>)> {
    let single = folder.join("manifests.yaml");
    let mut files = vec![single.clone()];
    if !single.is_file() {
        files = std::fs::read_dir(folder)?.map(|entry| Ok(entry?.path())).collect::<Result<_>>()?;
        files.retain(|file| {
            file.extension().is_some_and(|extension| extension == "yaml") && !file.ends_with(CATALOG)
        });
        files.sort();
    }
    let mut all = crds::Read { objects: Vec::new(), diagnostics: Vec::new() };
    let mut raw = Vec::new();
    for file in files {
        let (name, bytes) = (file.to_string_lossy(), std::fs::read(&file)?);
        let read = crds::read_objects(&name, &bytes);
        raw.extend(crds::as_json(&name, &bytes));
        all.objects.extend(read.objects);
        all.diagnostics.extend(read.diagnostics);
    }
    Ok((all, raw))
}

/// The tool behind the connection lists takes completed pods for running ones.
fn running(object: &mut crds::Object) {
    if let crds::Object::Pod(pod) = object
        && pod.phase.is_completed()
    {
        pod.phase = crds::Phase::Running;
    }
}

/// It also takes host-network pods for ordinary ones. Those share their node's address, and packets tell pods apart by
/// address alone, so an address of several is taken away from all of them.
fn as_ordinary_pods(mut set: PolicySet) -> PolicySet {
    let mut owners: BTreeMap<IpAddr, usize> = BTreeMap::new();
    for address in set.world.pods.iter().flat_map(|pod| &pod.addresses) {
        *owners.entry(*address).or_default() += 1;
    }
    for address in set.world.nodes.values().flat_map(|node| &node.addresses) {
        *owners.entry(*address).or_default() += 1;
    }
    for pod in set.world.pods.iter_mut().map(Arc::make_mut) {
        pod.host_network = false;
        pod.addresses.retain(|address| owners.get(address) == Some(&1));
    }
    set
}

fn entries<T: for<'de> Deserialize<'de>>(values: &[serde_json::Value]) -> Result<Vec<T>> {
    values.iter().map(|value| Ok(T::deserialize(value)?)).collect()
}

fn validated(entry: &serde_json::Value, error: Option<&crds::Diagnostic>) -> Result<Fact> {
    let expected = entry.get("verdict").and_then(|v| v.as_str()).context("no verdict")?;
    let got = if error.is_some() { "invalid" } else { "valid" };
    let what = error.map_or_else(|| "no error found".to_owned(), |error| error.message.clone());
    Ok(Fact { what, expected: expected.to_owned(), got: got.to_owned() })
}

/// Entries that saw the same DNS answers share a round.
fn pairs(set: PolicySet, values: &[serde_json::Value]) -> Result<Vec<Round>> {
    let mut rounds: Vec<(String, Round)> = Vec::new();
    for value in values {
        let entry = Entry::deserialize(value)?;
        let key = value.get("dns").map(ToString::to_string).unwrap_or_default();
        let position = match rounds.iter().position(|(known, _)| *known == key) {
            Some(position) => position,
            None => {
                let mut set = set.clone();
                for observed in &entry.dns {
                    let name = DnsName::parse(&observed.name)?;
                    for address in &observed.ips {
                        set.world.answer_everyone(&name, *address);
                    }
                }
                rounds.push((
                    key,
                    Round { set, manifests: Arc::default(), catalog: Arc::default(), checks: Vec::new() },
                ));
                rounds.len() - 1
            }
        };
        let round = &mut rounds.get_mut(position).context("the round just found")?.1;
        let ports = entry.ports()?;
        let (from, to, expected) = (end(&entry.from)?, end(&entry.to)?, entry.verdict()?);
        for port in representatives(ports.first, ports.last) {
            for protocol in &ports.protocols {
                let (from, to) = (from.clone(), to.clone());
                round.checks.push(Check { from, to, protocol: *protocol, port, expected });
            }
        }
    }
    Ok(rounds.into_iter().map(|(_, round)| round).collect())
}

/// Whether an entry asks of DNS: by `question` a name, by `resolver` an end.
fn is_of_dns(entry: &serde_json::Value) -> bool {
    ["question", "resolver"].iter().any(|field| entry.get(field).is_some())
}

#[derive(Deserialize)]
struct DnsEntry {
    from: String,
    question: Option<String>,
    resolver: Option<String>,
    verdict: Verdict,
}

/// No packet is needed: whether it may be asked is what the proxy asks the same function.
fn dns_fact(set: &PolicySet, value: &serde_json::Value) -> Result<Fact> {
    let entry = DnsEntry::deserialize(value)?;
    let End::Pod(namespace, name) = end(&entry.from)? else { bail!("only pods ask") };
    let pod = set.world.find_pod(&namespace, &name).with_context(|| format!("no pod {namespace}/{name}"))?;
    let judged = match (&entry.question, &entry.resolver) {
        (Some(name), None) => policy::decide_question(set, pod, &DnsName::parse(name)?),
        (None, Some(resolver)) => {
            let ends = super::judge::endpoints(&set.world, &end(resolver)?)?;
            let end = ends.first().context("the resolver has no address")?;
            policy::decide_resolver(set, pod, *end)
        }
        (Some(_), Some(_)) | (None, None) => bail!("question or resolver is needed, not both"),
    };
    let what = format!("{value} ({})", super::judge::explain(set, judged.rule));
    Ok(Fact { what, expected: entry.verdict.to_string(), got: judged.verdict.to_string() })
}

/// Ports that stand for a range: its ends and its middle.
fn representatives(first: u16, last: u16) -> Vec<u16> {
    let mut ports = vec![first, first + (last - first) / 2, last];
    ports.dedup();
    ports
}

pub(super) fn end(text: &str) -> Result<End> {
    let (kind, rest) = text.split_once(':').ok_or_else(|| anyhow!("endpoint {text:?} has no kind"))?;
    match kind {
        "ip" => Ok(End::Address(rest.parse()?)),
        "pod" => {
            let (namespace, name) = rest.split_once('/').context("a pod is namespace/name")?;
            Ok(End::Pod(namespace.to_owned(), name.to_owned()))
        }
        other => bail!("endpoint kind {other:?} is unknown"),
    }
}

fn with_ingress_controller(mut set: PolicySet) -> PolicySet {
    let (namespace, name) = INGRESS_CONTROLLER;
    let pod = Pod {
        namespace: namespace.into(),
        name: name.into(),
        labels: Labels::default(),
        service_account: "default".into(),
        node: None,
        addresses: Vec::new(),
        ports: Vec::new(),
        host_network: false,
        workload: WorkloadRef { kind: "Pod".into(), name: name.into() },
    };
    let at = set.world.pods.partition_point(|known| (&*known.namespace, &*known.name) < (namespace, name));
    set.world.pods.insert(at, pod.into());
    set
}

#[derive(Deserialize)]
struct DomainEntry {
    pattern: String,
    name: Option<String>,
    #[serde(default)]
    dns: Vec<Observed>,
    #[serde(default)]
    dns_responses: Vec<Vec<ResourceRecord>>,
    #[serde(default)]
    age_s: u64,
    ip: Option<IpAddr>,
    verdict: String,
}

#[derive(Deserialize)]
struct ResourceRecord {
    name: String,
    r#type: String,
    value: String,
}

fn domain_fact(value: &serde_json::Value) -> Result<Fact> {
    let entry = DomainEntry::deserialize(value)?;
    let pattern = DomainPattern::parse(&entry.pattern)?;
    let (words, yes) = if let Some(name) = &entry.name {
        (("match", "no-match"), pattern.matches(&DnsName::parse(name)?))
    } else if entry.dns_responses.is_empty() {
        let ip = entry.ip.context("no ip")?;
        let mut yes = false;
        for observed in &entry.dns {
            let name = DnsName::parse(&observed.name)?;
            // An answer without a time to live is one that has not expired.
            let fresh = observed.ttl.is_none_or(|ttl| entry.age_s <= ttl);
            yes |= fresh && pattern.matches(&name) && observed.ips.contains(&ip);
        }
        (("match", "no-match"), yes)
    } else {
        let ip = entry.ip.context("no ip")?;
        let mut yes = false;
        for response in &entry.dns_responses {
            let answers = response.iter().map(answer).collect::<Result<Vec<_>>>()?;
            yes |= domain::response_allows(&pattern, &answers, ip);
        }
        (("may-allow", "may-deny"), yes)
    };
    let got = if yes { words.0 } else { words.1 };
    Ok(Fact { what: value.to_string(), expected: entry.verdict, got: got.to_owned() })
}

fn answer(record: &ResourceRecord) -> Result<(DnsName, Answer)> {
    let answer = match record.r#type.as_str() {
        "CNAME" => Answer::Alias(DnsName::parse(&record.value)?),
        "A" | "AAAA" => Answer::Address(record.value.parse()?),
        other => bail!("record type {other:?} is unknown"),
    };
    Ok((DnsName::parse(&record.name)?, answer))
}
