//! The allow list against the shared `connlist` cases, and against the reference evaluator on random sets.

#![expect(clippy::unwrap_used, clippy::panic, reason = "a panic is how a test fails")]

use compiler::connectivity::{self, Entry, Peer, Protocols, connectivity, from_ingress_controller};
use compiler::sample;
use policy::{Access, Endpoint, Generation, PolicySet, Protocol, Verdict, decide};
use serde_json::Value;
use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::net::{IpAddr, Ipv4Addr};
use std::path::{Path, PathBuf};

type Ports = BTreeSet<(Protocol, u16, u16)>;

/// Allowed port ranges by the names of both ends; a range of addresses goes by its first address.
type List = BTreeMap<(String, String), Ports>;

#[test]
fn cases_every_connection_list_is_exactly_the_expected_one() {
    let Some(folder) = conformance() else {
        eprintln!("\n*** NO CONFORMANCE DATA: set COFFERDAM_SHARED; nothing was checked ***\n");
        return;
    };
    let mut cases: Vec<_> = fs::read_dir(folder).unwrap().map(|entry| entry.unwrap().path()).collect();
    cases.sort();
    let (mut checked, mut failures) = (0, Vec::new());
    for case in cases.iter().filter(|path| path.join("expected.json").exists()) {
        let expected: Value = serde_json::from_slice(&fs::read(case.join("expected.json")).unwrap()).unwrap();
        if expected["mode"].as_str() != Some("connlist") {
            continue;
        }
        checked += 1;
        let set = compile(case);
        if let Some(difference) = compare(&set, expected["expect"].as_array().unwrap()) {
            failures.push(format!("{}: {difference}", case.file_name().unwrap().display()));
        }
    }
    eprintln!("{checked} connection lists");
    assert!(checked > 50, "only {checked} cases found");
    assert!(failures.is_empty(), "{} of {checked} failed:\n{}", failures.len(), failures.join("\n"));
}

fn conformance() -> Option<PathBuf> {
    let root = Path::new(env!("CARGO_MANIFEST_DIR")).join("../..");
    let shared = std::env::var_os("COFFERDAM_SHARED").map_or(root.join("../shared"), PathBuf::from);
    let folder = shared.join("conformance");
    folder.is_dir().then_some(folder)
}

/// The tool behind these lists takes host-network and completed pods for ordinary ones, so for its lists they are.
fn compile(case: &Path) -> PolicySet {
    let file = case.join("manifests.yaml");
    let text = fs::read_to_string(&file).unwrap();
    let text = text.replace("phase: Succeeded", "phase: Running");
    let read = crds::read_objects(&file.display().to_string(), text.as_bytes());
    let mut set = compiler::compile(read.objects, Generation(1)).set;
    set.world.pods.iter_mut().for_each(|pod| std::sync::Arc::make_mut(pod).host_network = false);
    set
}

/// The first difference, if there is one.
fn compare(set: &PolicySet, expected: &[Value]) -> Option<String> {
    let entries = connectivity(set);
    let mut starts: BTreeSet<IpAddr> = BTreeSet::new();
    for entry in &entries {
        starts.extend([&entry.from, &entry.to].into_iter().filter_map(first_address));
    }
    for text in expected.iter().flat_map(|e| [e["from"].as_str(), e["to"].as_str()]).flatten() {
        if let Some((first, last)) = text.strip_prefix("ip:").and_then(|range| range.split_once('-')) {
            starts.insert(first.parse().unwrap());
            let last: Ipv4Addr = last.parse().unwrap();
            starts.extend(u32::from(last).checked_add(1).map(|next| IpAddr::V4(next.into())));
        }
    }
    let got = list(&entries, &starts);
    let mut wanted = List::new();
    let ingress = list(&from_ingress_controller(set), &starts);
    for line in expected {
        let (from, to) = (line["from"].as_str().unwrap(), line["to"].as_str().unwrap());
        let ports = ports_of(line);
        if from == "ingress-controller" {
            let key = (from.to_owned(), to.trim_start_matches("workload:").to_owned());
            if !contains(ingress.get(&key), &ports) {
                return Some(format!("ingress controller may not: {line}"));
            }
            continue;
        }
        for (from, to) in pieces(from, &starts)
            .iter()
            .flat_map(|f| pieces(to, &starts).into_iter().map(move |t| (f.clone(), t)))
        {
            wanted.entry((from, to)).or_default().extend(ports.iter().copied());
        }
    }
    let wanted: List = wanted.into_iter().map(|(key, ports)| (key, joined(ports))).collect();
    let keys: BTreeSet<_> = got.keys().chain(wanted.keys()).collect();
    keys.into_iter()
        .find(|key| got.get(*key) != wanted.get(*key))
        .map(|key| format!("{key:?}: listed {:?}, expected {:?}", got.get(key), wanted.get(key)))
}

fn contains(have: Option<&Ports>, ports: &Ports) -> bool {
    let have = have.cloned().unwrap_or_default();
    joined(have.iter().chain(ports).copied().collect()) == have
}

fn first_address(peer: &Peer) -> Option<IpAddr> {
    match peer {
        Peer::Range(first, _) => Some(*first),
        Peer::Workload { .. } | Peer::IngressController => None,
    }
}

fn pieces(text: &str, starts: &BTreeSet<IpAddr>) -> Vec<String> {
    match text.strip_prefix("ip:").and_then(|range| range.split_once('-')) {
        Some((first, last)) => {
            let range = first.parse::<IpAddr>().unwrap()..=last.parse::<IpAddr>().unwrap();
            starts.range(range).map(ToString::to_string).collect()
        }
        None => vec![text.trim_start_matches("workload:").to_owned()],
    }
}

fn ports_of(line: &Value) -> Ports {
    let (first, last) = match &line["port"] {
        Value::Number(port) => (port.as_u64().unwrap(), port.as_u64().unwrap()),
        Value::String(text) if text == "*" => (1, 65535),
        Value::String(text) => {
            let (first, last) = text.split_once('-').unwrap();
            (first.parse().unwrap(), last.parse().unwrap())
        }
        other => panic!("port {other}"),
    };
    let protocols = match line["protocol"].as_str().unwrap() {
        "*" => Protocol::WITH_PORTS.to_vec(),
        one => vec![one.parse().unwrap()],
    };
    let (first, last) = (u16::try_from(first).unwrap(), u16::try_from(last).unwrap());
    protocols.into_iter().map(|protocol| (protocol, first, last)).collect()
}

fn list(entries: &[Entry], starts: &BTreeSet<IpAddr>) -> List {
    let mut list = List::new();
    for entry in entries {
        let protocols = match entry.protocol {
            Protocols::All => Protocol::WITH_PORTS.to_vec(),
            Protocols::One(protocol) => vec![protocol],
            Protocols::Portless => continue,
        };
        let name = |peer: &Peer| match peer {
            Peer::Range(..) => pieces(&format!("ip:{peer}"), starts),
            Peer::Workload { .. } | Peer::IngressController => vec![peer.to_string()],
        };
        for from in name(&entry.from) {
            for to in name(&entry.to) {
                let ports = list.entry((from.clone(), to)).or_default();
                for protocol in &protocols {
                    ports.extend(entry.ports.iter().map(|range| (*protocol, range.first, range.last)));
                }
            }
        }
    }
    list.into_iter().map(|(key, ports)| (key, joined(ports))).collect()
}

fn joined(ports: Ports) -> Ports {
    let mut out: Vec<(Protocol, u16, u16)> = Vec::new();
    for (protocol, first, last) in ports {
        match out.last_mut() {
            Some(before) if before.0 == protocol && u32::from(first) <= u32::from(before.2) + 1 => {
                before.2 = before.2.max(last);
            }
            _ => out.push((protocol, first, last)),
        }
    }
    out.into_iter().collect()
}

#[test]
fn the_list_allows_what_the_reference_allows_for_some_pod() {
    let mut allowed_some = [0_u32; 2];
    for seed in 0..150 {
        let mut set = sample::policy_set(seed);
        set.world.names.clear();
        let list = list(&connectivity(&set), &BTreeSet::new());
        for (from, to) in set.world.pods.iter().flat_map(|a| set.world.pods.iter().map(move |b| (a, b))) {
            let name =
                |pod: &policy::Pod| format!("{}/{}[{}]", pod.namespace, pod.workload.name, pod.workload.kind);
            let is_elsewhere = |pod: &policy::Pod| pod.cluster().is_some();
            let is_left_out = from.host_network || to.host_network || is_elsewhere(from) && is_elsewhere(to);
            if name(from) == name(to) || is_left_out {
                continue;
            }
            for (protocol, port) in [(Protocol::TCP, 80), (Protocol::TCP, 443), (Protocol::UDP, 81)] {
                let ends = |pod| -> Vec<Endpoint<'_>> { at_every_address(&set, pod) };
                let wanted = ends(from).into_iter().any(|from| {
                    ends(to).into_iter().any(|to| {
                        decide(&set, &Access { from, to, protocol, port }).verdict == Verdict::Allow
                    })
                });
                let ports = list.get(&(name(from), name(to)));
                let got =
                    ports.is_some_and(|p| p.iter().any(|r| r.0 == protocol && (r.1..=r.2).contains(&port)));
                assert_eq!(got, wanted, "seed {seed}: {} -> {} {protocol} {port}", name(from), name(to));
                allowed_some[usize::from(wanted)] += 1;
            }
        }
    }
    assert!(allowed_some.iter().all(|count| *count > 1000), "{allowed_some:?}");
}

fn at_every_address<'a>(set: &'a PolicySet, pod: &'a policy::Pod) -> Vec<Endpoint<'a>> {
    if pod.addresses.is_empty() {
        return vec![Endpoint::pod(&set.world, pod)];
    }
    let party = policy::Party::Pod(pod);
    pod.addresses.iter().map(|address| Endpoint { party, address: Some(*address) }).collect()
}

#[test]
fn every_format_renders_a_random_list() {
    let entries = connectivity(&sample::policy_set(7));
    let parsed: Value = serde_json::from_str(&connectivity::render::json(&entries)).unwrap();
    assert!(parsed.as_array().unwrap().len() >= entries.len());
    assert!(connectivity::render::dot(&entries).ends_with("}\n"));
}
