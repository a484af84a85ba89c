//! The key of a Secret among the manifests is put into requests of a pod that does not have it; it is replaced and taken away while
//! everything runs, and nothing that is asked of `cofferdam` shows it.

#![expect(
    clippy::unwrap_used,
    clippy::indexing_slicing,
    reason = "helpers of tests; a panic is the failure report"
)]

use crate::machine::resolver::{HUB, Resolver, ask};
use crate::machine::web::{folder, serve};
use crate::machine::{Machine, Up, eventually};
use serde_json::Value;
use std::fs;
use std::process::Command;

const POLICY: &str = "\
apiVersion: cofferdam.dev/v1alpha1
kind: EgressPolicy
metadata: { name: models, namespace: prod }
spec:
  subject: { podSelector: { matchLabels: { app: web } } }
  egress:
    - action: Allow
      name: models
      to: [{ domains: [hub.example.com] }]
      ports: [{ protocol: TCP, port: 443 }]
      models: [small-*]
      credentials: [{ inject: { secretRef: { name: keys, key: openai } } }]
    - action: Allow
      to: [{ networks: [10.9.2.2/32] }]
      ports: [{ protocol: UDP, port: 53 }]
";

fn secret(label: &str, key: &str) -> String {
    format!(
        "apiVersion: v1\nkind: Secret\nmetadata: {{ name: keys, namespace: prod, labels: {{ cofferdam.dev/inject: \"{label}\" }} }}\n\
         stringData: {{ openai: {key} }}\n"
    )
}

/// Asks a model as the pod does, with a key of its own; the status and the answer.
fn asks(machine: &Machine) -> String {
    let command = format!(
        "curl -sS -m 20 --cacert gateway.pem --resolve hub.example.com:443:{HUB} -w ' status %{{http_code}}' \
         -H 'Content-Type: application/json' -H 'Authorization: Bearer sk-of-the-pod' -H 'Cookie: a=sk-of-the-pod' \
         -d '{{\"model\":\"small-1\",\"messages\":[]}}' https://hub.example.com/v1/chat/completions?api_key=sk-of-the-pod"
    );
    let folder = folder(machine);
    machine.at("a", move || {
        let output = Command::new("sh").args(["-c", &command]).current_dir(folder).output().unwrap();
        [output.stdout, output.stderr].map(|text| String::from_utf8_lossy(&text).into_owned()).concat()
    })
}

fn seen(machine: &Machine) -> Vec<String> {
    let text = fs::read_to_string(folder(machine).join("seen")).unwrap_or_default();
    text.lines().map(str::to_owned).collect()
}

fn degraded(up: &Up<'_>) -> String {
    up.status()["degraded"].to_string()
}

#[test]
fn netns_a_pod_asks_with_a_key_that_it_does_not_have() {
    let machine = Machine::new("k");
    machine.write("policy.yaml", POLICY);
    machine.write("secret.yaml", &secret("true", "sk-first"));
    let _resolver = Resolver::start(&machine);
    let _server = serve(&machine);
    let at = |name: &str| folder(&machine).join(name).to_str().unwrap().to_owned();
    let (ca, key, root) = (at("gateway.pem"), at("gateway.key"), at("server.pem"));
    let options = ["--inspection-ca", &ca, "--inspection-key", &key, "--inspection-root", &root];
    let up = Up::start_with(
        &machine,
        &[&["--dns-resolver", "10.9.2.2", "--dns-hold", "600"], &options[..]].concat(),
    );
    assert_eq!(ask(&machine, "hub.example.com"), Some(0));
    assert_eq!(asks(&machine), "{} status 200");
    let has = |all: &[String], key: &str| all.last().is_some_and(|seen| seen.contains(key));
    assert!(has(&seen(&machine), "'Bearer sk-first'"), "{:?}", seen(&machine));
    assert!(!seen(&machine).concat().contains("of-the-pod"), "{:?}", seen(&machine));
    assert_eq!(degraded(&up), "[]");
    machine.write("secret.yaml", &secret("true", "sk-second"));
    eventually("the other key", || {
        asks(&machine);
        has(&seen(&machine), "'Bearer sk-second'").then_some(())
    });
    // Without its label it is as if it were not there.
    machine.write("secret.yaml", &secret("false", "sk-second"));
    let said = eventually("a refusal", || Some(asks(&machine)).filter(|said| said.contains("status 403")));
    assert!(said.contains("key-missing") && said.contains("policy.yaml:7"), "{said}");
    let told =
        eventually("the status", || Some(degraded(&up)).filter(|told| told.contains("its key is not there")));
    assert!(told.contains("openai of Secret prod/keys"), "{told}");
    let heard = seen(&machine).len();
    assert!(asks(&machine).contains("status 403"));
    assert_eq!(seen(&machine).len(), heard, "nothing leaves with another key");
    machine.write("secret.yaml", &secret("true", "sk-first"));
    eventually("the key again", || asks(&machine).contains("status 200").then_some(()));
    let calls: Vec<Value> = eventually("the records", || {
        let lines = up.text(&["calls", "--json"]);
        let calls: Vec<Value> = lines.lines().map(|line| serde_json::from_str(line).unwrap()).collect();
        calls.last().is_some_and(|call| call["status"] == 200).then_some(calls)
    });
    let injected = &calls.last().unwrap()["injected"];
    assert_eq!(injected["secret"]["name"], "keys", "{calls:#?}");
    let shown = [
        &["calls", "--json"][..],
        &["calls"],
        &["calls", "--otel"],
        &["status", "--json"],
        &["status"],
        &["flows", "--json"],
        &["connections", "--json"],
        &["findings", "--json"],
    ]
    .map(|command| up.text(command));
    for key in ["sk-first", "sk-second", "sk-of-the-pod"] {
        assert!(shown.iter().all(|text| !text.contains(key)), "{key}: {shown:#?}");
    }
    assert_eq!(up.status()["resolver"]["verdict_disagreements"], 0);
}
