//! What is looked for is found wherever it was, by any of its names, and nothing else.

use incident::hunt::NotAnIndicator;
use incident::{Indicator, Within, hunt};
use ledger::{Entry, Kind, Ledger, Match, Reader, Verdict};
use observe::Time;

const START: u64 = 1_800_000_000_000_000;
const HASH: &str = "9f86d081884c7d659a2feaa0c55ad015a3bf4f1b2b0b822cd15d6c15b0f00a08";

fn entry(number: u64, kind: Kind, source: &str, destination: &str, detail: Option<String>) -> Entry {
    Entry {
        time: START + number,
        source: source.into(),
        destination: destination.into(),
        rule: if number == 1 { "EgressPolicy ai/hub spec.egress[0] (a.yaml:7)" } else { "" }.into(),
        node: if number == 1 { "n1" } else { "" }.into(),
        detail,
        ..Entry::new(kind, Verdict::Allow)
    }
}

#[test]
fn indicators_of_each_kind_lead_to_whoever_had_to_do_with_them() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("ledger.db");
    let call = format!(
        r#"{{"operation":{{"model":"gpt-x","credentials":[{{"sha256":"{HASH}"}}]}},"answer_sha256":"{HASH}"}}"#
    );
    let entries = [
        entry(1, Kind::Flow, "ai/Job/a", "hub.evil.example", None),
        entry(2, Kind::Dns, "ai/Job/b", "EVIL.example", None),
        entry(3, Kind::Dns, "ai/Job/b", "notevil.example", None),
        entry(4, Kind::Flow, "ai/Job/a", "evil.example (192.0.2.7)", None),
        entry(5, Kind::Flow, "192.0.2.9", "ai/Job/a", None),
        entry(6, Kind::Flow, "ai/Job/c", "2001:db8::1", None),
        entry(7, Kind::AiCall, "ai/Job/c", "api.example", Some(call)),
        entry(8, Kind::Flow, "ai/Job/c", "x", Some("{\"gpt-x\":1}".to_owned())),
    ];
    Ledger::open(&path).unwrap().0.append(&entries).unwrap();
    let reader = Reader::open(&path).unwrap();
    let cases = [
        ("evil.example", "domain", vec!["ai/Job/a", "ai/Job/b"]),
        ("*.evil.example.", "domain", vec!["ai/Job/a", "ai/Job/b"]),
        ("192.0.2.7", "address", vec!["ai/Job/a"]),
        ("192.0.2.0/24", "address", vec!["192.0.2.9", "ai/Job/a"]),
        ("2001:db8::/32", "address", vec!["ai/Job/c"]),
        ("198.51.100.0/24", "address", vec![]),
        ("ai/Job/b", "workload", vec!["ai/Job/b"]),
        ("ai/Job/a", "workload", vec!["192.0.2.9", "ai/Job/a"]),
        ("rule:a.yaml:7", "rule", vec!["ai/Job/a"]),
        ("gpt-x", "model", vec!["ai/Job/c"]),
        ("model: gpt-x ", "model", vec!["ai/Job/c"]),
        (HASH, "hash", vec!["ai/Job/c"]),
        ("key:9f86d081884c7d65", "key", vec!["ai/Job/c"]),
        ("model:\"", "model", vec![]),
        ("nobody.example", "domain", vec![]),
    ];
    for (text, kind, expected) in cases {
        let indicator = Indicator::read(text).unwrap();
        let found = hunt(&reader, &indicator, &Within::default()).unwrap();
        let mut workloads: Vec<&str> = found.workloads.iter().map(|it| it.workload.as_str()).collect();
        workloads.sort_unstable();
        let sort = serde_json::to_value(found.kind).unwrap();
        assert_eq!((workloads, sort.as_str()), (expected, Some(kind)), "{text}");
        assert_eq!(found.hits, found.records.len() as u64, "{text}");
        assert!(!found.truncated);
    }
    let (second, evil) = (Some(Time(START + 2)), Indicator::read("evil.example").unwrap());
    let found = hunt(&reader, &evil, &Within { since: second, ..Within::default() }).unwrap();
    assert_eq!((found.first, found.last, found.hits), (second, second, 1));
    let found = hunt(&reader, &evil, &Within { until: Some(Time(START + 1)), ..Within::default() }).unwrap();
    assert_eq!((found.workloads.len(), found.hits), (1, 1));
    for (node, hits) in [("n1", 1), ("n*", 1), ("n2", 0)] {
        let within = Within { node: Some(Match::wanted(node)), ..Within::default() };
        assert_eq!(hunt(&reader, &evil, &within).unwrap().hits, hits, "{node}");
    }
}

#[test]
fn what_is_nothing_to_look_for_is_refused_with_what_would_be() {
    let cases = [
        ("", NotAnIndicator::Empty),
        ("  ", NotAnIndicator::Empty),
        ("model:", NotAnIndicator::Empty),
        ("domain:*.", NotAnIndicator::Empty),
        ("address:hub.example", NotAnIndicator::NoAddress("hub.example".to_owned())),
    ];
    for (text, expected) in cases {
        assert_eq!(Indicator::read(text), Err(expected), "{text:?}");
    }
    assert_eq!(Indicator::read(&"x".repeat(10_000)), Err(NotAnIndicator::TooLong));
}
