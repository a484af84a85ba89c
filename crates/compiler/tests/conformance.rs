//! The `pairs` and `pairs-dns` cases of the shared conformance data, judged by the reference evaluator.
//!
//! Data: `$COFFERDAM_SHARED/conformance`, by default `../shared` beside the project. Without it the test says so and
//! passes; with it every fact must hold.

#![expect(clippy::unwrap_used, clippy::panic, reason = "a panic is how a test fails")]

use policy::{Access, DnsName, Endpoint, Generation, PolicySet, Protocol, Verdict, decide};
use serde_json::Value;
use std::borrow::Cow;
use std::collections::BTreeMap;
use std::fs;
use std::net::IpAddr;
use std::path::{Path, PathBuf};

/// Ports that stand for "any port": the edges, and the ones the cases' own policies name.
const ANY_PORT: [u16; 8] = [1, 53, 80, 81, 82, 443, 9003, 65535];

#[test]
fn cases_every_listed_pair_gets_its_verdict() {
    let Some(folder) = conformance() else {
        eprintln!("\n*** NO CONFORMANCE DATA: set COFFERDAM_SHARED; nothing was checked ***\n");
        return;
    };
    let mut families: BTreeMap<String, (usize, usize)> = BTreeMap::new();
    let mut failures = Vec::new();
    let mut cases: Vec<_> = fs::read_dir(folder).unwrap().map(|entry| entry.unwrap().path()).collect();
    cases.sort();
    for case in cases.iter().filter(|path| path.join("expected.json").exists()) {
        let expected: Value = read_json(&case.join("expected.json"));
        if !matches!(expected["mode"].as_str(), Some("pairs" | "pairs-dns")) {
            continue;
        }
        let set = compile(case);
        let counts = families.entry(expected["family"].as_str().unwrap().to_owned()).or_default();
        for pair in expected["expect"].as_array().unwrap() {
            counts.0 += 1;
            let wrong = judge(&set, pair);
            if !wrong.is_empty() {
                counts.1 += 1;
                failures.push(format!("{}: {pair}: {wrong}", case.file_name().unwrap().display()));
            }
        }
    }
    for (family, (facts, failed)) in &families {
        eprintln!("{family:<6} {facts:>7} facts, {failed} failed");
    }
    assert!(families.len() >= 6, "families found: {:?}", families.keys());
    assert!(
        failures.is_empty(),
        "{} failed:\n{}",
        failures.len(),
        failures[..failures.len().min(20)].join("\n")
    );
}

fn conformance() -> Option<PathBuf> {
    let root = Path::new(env!("CARGO_MANIFEST_DIR")).join("../..");
    let shared = std::env::var_os("COFFERDAM_SHARED").map_or(root.join("../shared"), PathBuf::from);
    let folder = shared.join("conformance");
    folder.is_dir().then_some(folder)
}

fn read_json(path: &Path) -> Value {
    serde_json::from_slice(&fs::read(path).unwrap()).unwrap()
}

fn compile(case: &Path) -> PolicySet {
    let file = case.join("manifests.yaml");
    let read = crds::read_objects(&file.display().to_string(), &fs::read(&file).unwrap());
    let compiled = compiler::compile(read.objects, Generation(1));
    let errors: Vec<_> = read
        .diagnostics
        .iter()
        .chain(&compiled.diagnostics)
        .filter(|d| d.is_error())
        .map(ToString::to_string)
        .collect();
    assert!(errors.is_empty(), "{errors:#?}");
    compiled.set
}

/// What is wrong with the verdicts for one expected pair; empty if nothing is.
fn judge(set: &PolicySet, pair: &Value) -> String {
    let mut set = Cow::Borrowed(set);
    for answer in pair["dns"].as_array().into_iter().flatten() {
        let name = DnsName::parse(answer["name"].as_str().unwrap()).unwrap();
        for ip in answer["ips"].as_array().unwrap() {
            let ip: IpAddr = ip.as_str().unwrap().parse().unwrap();
            set.to_mut().world.answer_everyone(&name, ip);
        }
    }
    let expected = match pair["verdict"].as_str().unwrap() {
        "allow" => Verdict::Allow,
        "deny" => Verdict::Deny,
        other => panic!("unknown verdict {other}"),
    };
    let ports: Vec<u16> = match pair["port"].as_u64() {
        Some(port) => vec![u16::try_from(port).unwrap()],
        None => ANY_PORT.to_vec(),
    };
    let protocols: Vec<Protocol> = match pair["protocol"].as_str().unwrap() {
        "*" => Protocol::WITH_PORTS.to_vec(),
        one => vec![one.parse().unwrap()],
    };
    let (Some(from), Some(to)) = (endpoint(&set, &pair["from"]), endpoint(&set, &pair["to"])) else {
        return "no such endpoint".to_owned();
    };
    let mut wrong = String::new();
    for protocol in protocols {
        for &port in &ports {
            let decision = decide(&set, &Access { from, to, protocol, port });
            if decision.verdict != expected {
                let (direction, judgement) = decision.deciding();
                let rule = set.rule(judgement.rule).map(ToString::to_string).unwrap_or_default();
                wrong.push_str(&format!("{protocol}/{port} {:?} by {direction} {rule}; ", decision.verdict));
            }
        }
    }
    wrong
}

fn endpoint<'a>(set: &'a PolicySet, text: &Value) -> Option<Endpoint<'a>> {
    let (kind, name) = text.as_str()?.split_once(':')?;
    match kind {
        "pod" => {
            let (namespace, name) = name.split_once('/')?;
            Some(Endpoint::pod(&set.world, set.world.find_pod(namespace, name)?))
        }
        "ip" => Some(Endpoint::at(&set.world, name.parse().ok()?)),
        _ => None,
    }
}
