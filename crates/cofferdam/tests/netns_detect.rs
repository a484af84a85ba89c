//! Detectors look at what happens on a machine: a pod that scans and hides data in names is told of within seconds, in memory
//! and in the ledger, and what a policy suppresses is marked and counted.

#![expect(clippy::unwrap_used, reason = "helpers of tests; a panic is the failure report")]

use crate::machine::resolver::{Resolver, ask};
use crate::machine::{Machine, Up, eventually};
use serde_json::Value;
use std::fs;
use std::net::{SocketAddr, TcpStream};
use std::time::Duration;

const POLICY: &str = "\
apiVersion: cofferdam.dev/v1alpha1
kind: EgressPolicy
metadata: { name: web, namespace: prod }
spec:
  subject: { podSelector: { matchLabels: { app: web } } }
  egress:
    - action: Allow
      to: [{ networks: [10.9.2.2/32] }]
      ports: [{ protocol: UDP, port: 53 }]
  dns: { names: ['**.example.com'] }
";

const SUPPRESSED: &str = "\
apiVersion: cofferdam.dev/v1alpha1
kind: DetectionPolicy
metadata: { name: scanner, namespace: prod }
spec:
  podSelector: { matchLabels: { app: web } }
  detectors:
    - { name: port-scan, enabled: false, reason: it looks for open ports every night }
";

fn json(text: &str) -> Vec<Value> {
    text.lines().map(|line| serde_json::from_str(line).unwrap()).collect()
}

/// Tries ports of pod `b`; none answers.
fn scan(machine: &Machine, ports: std::ops::Range<u16>) {
    machine.at("a", move || {
        for port in ports {
            let to = SocketAddr::from(([10, 9, 2, 2], port));
            assert!(TcpStream::connect_timeout(&to, Duration::from_millis(20)).is_err());
        }
    });
}

fn finding(up: &Up<'_>, arguments: &[&str]) -> Option<Value> {
    let mut found = json(&up.text(&[&["findings", "--json"], arguments].concat()));
    assert!(found.len() < 2, "each finding once: {found:?}");
    found.pop()
}

#[test]
fn netns_who_scans_and_hides_data_in_names_is_told_of_and_the_ledger_knows_it() {
    let machine = Machine::new("dt");
    machine.write("policy.yaml", POLICY);
    let _resolver = Resolver::start(&machine);
    let file = machine.socket().with_extension("ledger");
    let file = file.to_str().unwrap();
    let options = ["--dns-resolver", "10.9.2.2", "--ledger", file];
    let up = Up::start_with(&machine, &options);

    scan(&machine, 8000..8040);
    let scanned = eventually("the scan", || finding(&up, &["--detector", "port-scan"]));
    assert_eq!(
        (&scanned["workload"], &scanned["severity"], &scanned["node"], &scanned["pod"]),
        (&"prod/web".into(), &"high".into(), &"m1".into(), &"prod/web".into())
    );
    assert!(scanned["numbers"][0]["value"].as_f64() >= Some(20.0), "{scanned:#}");
    assert!(scanned["records"][0].as_str().unwrap().starts_with("flow:"), "{scanned:#}");
    for number in 0..40_u64 {
        let noise = number.wrapping_mul(0x9e37_79b9_7f4a_7c15);
        assert_eq!(ask(&machine, &format!("{noise:016x}{:016x}{noise:013x}.t.example.com", !noise)), Some(0));
    }
    let tunnel = eventually("the tunnel", || finding(&up, &["--detector", "dns-tunnel"]));
    assert_eq!((&tunnel["subject"], &tunnel["workload"]), (&"example.com".into(), &"prod/web".into()));
    let high = json(&up.text(&["findings", "--json", "--severity", "high", "--from", "prod/*"]));
    assert_eq!(high.len(), 2, "{high:?}");
    // What is listed is what can be searched again.
    let recording = tempfile::NamedTempFile::new().unwrap();
    fs::write(recording.path(), up.text(&["dns", "--json"])).unwrap();
    let again = machine.program(&["detect", "--json", "--replay"]).arg(recording.path()).output().unwrap();
    assert!(again.status.success(), "{}", String::from_utf8_lossy(&again.stderr));
    let again = json(&String::from_utf8(again.stdout).unwrap());
    assert!(
        again.iter().any(|it| it["detector"] == "dns-tunnel" && it["workload"] == "prod/web"),
        "{again:?}"
    );
    let table = up.text(&["findings"]);
    assert!(table.contains("dns-tunnel") && table.contains("LAST SEEN"), "{table}");

    // In the ledger each time it was told, under one id.
    let told = eventually("both in the ledger", || {
        let entries = json(&up.text(&["ledger", "show", "--kind", "finding", "--json"]));
        let has = |detector: &str| entries.iter().any(|entry| entry["reason"] == detector);
        (has("port-scan") && has("dns-tunnel")).then_some(entries)
    });
    let entry = told.iter().rev().find(|entry| entry["reason"] == "port-scan").unwrap();
    assert_eq!((&entry["source"], &entry["destination"]), (&scanned["workload"], &scanned["subject"]));
    for field in
        ["id", "detector", "severity", "time", "until", "workload", "subject", "sentence", "numbers", "count"]
    {
        assert!(!entry["detail"][field].is_null(), "{field}: {entry:#}");
    }
    assert_eq!(entry["detail"]["id"], scanned["id"]);
    let detection = up.status()["detection"].clone();
    assert!(detection["records"].as_u64() > Some(20), "{detection}");
    assert_eq!(detection["lost"], 0);
}

#[test]
fn netns_what_a_policy_suppresses_is_marked_and_counted_from_the_edit_on() {
    let machine = Machine::new("ds");
    machine.write("policy.yaml", POLICY);
    let up = Up::start(&machine);
    let generation = up.status()["generation"].as_u64();
    machine.write("detection.yaml", SUPPRESSED);
    eventually("the edit in force", || (up.status()["generation"].as_u64() > generation).then_some(()));
    scan(&machine, 8000..8040);
    let marked = eventually("the scan", || finding(&up, &["--suppressed"]));
    assert_eq!(marked["suppressed"]["reason"], "it looks for open ports every night", "{marked:#}");
    let place = marked["suppressed"]["policy"].as_str().unwrap();
    assert!(
        place.starts_with("DetectionPolicy prod/scanner spec.detectors[0] (") && place.ends_with(":7)"),
        "{place}"
    );
    assert_eq!(finding(&up, &[]), None);
    let status = up.status();
    assert_eq!((&status["findings"], &status["degraded"]), (&0.into(), &Value::Array(vec![])));
    assert!(status["detection"]["suppressed"].as_u64() > Some(0), "{status:#}");

    // A broken edit changes nothing of what holds.
    machine.write("detection.yaml", &SUPPRESSED.replace("port-scan", "port-scam"));
    let status = eventually("the broken edit noticed", || {
        let status = up.status();
        (status["load"]["outcome"] == "kept-last-good").then_some(status)
    });
    let said = status["load"]["diagnostics"][0].as_str().unwrap();
    assert!(said.contains("detection.yaml:7") && said.contains("did you mean port-scan?"), "{said}");
}
