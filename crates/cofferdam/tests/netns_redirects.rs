//! What an answer of an allowed server leads to is fetched from a host that no rule names, for as long as that is granted; the host
//! is reached for nothing else, and by nobody who was not led there.

#![expect(clippy::unwrap_used, reason = "helpers of tests; a panic is the failure report")]

use crate::machine::resolver::{CDN, HUB, Resolver, ask};
use crate::machine::web::{folder, serve};
use crate::machine::{Machine, Up, eventually};
use serde_json::Value;
use std::fs;
use std::process::Command;

const POLICY: &str = "\
apiVersion: cofferdam.dev/v1alpha1
kind: EgressPolicy
metadata: { name: hub, namespace: prod }
spec:
  subject: { podSelector: { matchLabels: { app: web } } }
  egress:
    - action: Allow
      name: hub
      to: [{ domains: [hub.example.com] }]
      operations: [{ verbs: [download] }]
      redirects: { grant: 20s }
    - action: Allow
      to: [{ networks: [10.9.2.2/32] }]
      ports: [{ protocol: UDP, port: 53 }]
";

const OBJECT: &str = "https://cdn.elsewhere.net/object?sig=1";

/// Asks as the pod does; the answer and its status.
fn asks(machine: &Machine, arguments: &str) -> String {
    let command = format!(
        "curl -sS -m 20 --cacert gateway.pem --resolve hub.example.com:443:{HUB} \
         --resolve cdn.elsewhere.net:443:{CDN} -w ' status %{{http_code}}' {arguments}"
    );
    let folder = folder(machine);
    machine.at("a", move || {
        let output = Command::new("sh").args(["-c", &command]).current_dir(folder).output().unwrap();
        [output.stdout, output.stderr].map(|text| String::from_utf8_lossy(&text).into_owned()).concat()
    })
}

/// How many requests the server saw.
fn seen(machine: &Machine) -> usize {
    fs::read_to_string(folder(machine).join("seen")).unwrap_or_default().lines().count()
}

#[test]
fn netns_what_an_answer_leads_to_is_fetched_from_a_host_that_no_rule_names() {
    let machine = Machine::new("g");
    machine.write("policy.yaml", POLICY);
    let _resolver = Resolver::start(&machine);
    let _server = serve(&machine);
    let at = |name: &str| folder(&machine).join(name).to_str().unwrap().to_owned();
    let (ca, key, root) = (at("gateway.pem"), at("gateway.key"), at("server.pem"));
    let options = ["--inspection-ca", &ca, "--inspection-key", &key, "--inspection-root", &root];
    let up = Up::start_with(
        &machine,
        &[&["--dns-resolver", "10.9.2.2", "--dns-hold", "600"], &options[..]].concat(),
    );
    // An address that DNS did not give the pod is dropped by the kernel.
    assert!(!machine.connects("a", &CDN.to_string(), 443));
    for name in ["hub.example.com", "cdn.elsewhere.net"] {
        assert_eq!(ask(&machine, name), Some(0), "{name}");
    }
    // To know the name is not to reach it.
    let said = asks(&machine, &format!("'{OBJECT}'"));
    assert!(said.ends_with("status 403") && said.contains("not-referred"), "{said}");
    assert_eq!(seen(&machine), 0);
    let model = "https://hub.example.com/acme/tiny/resolve/main/weights.safetensors";
    let led = asks(&machine, &format!("-L -H 'x-lead: {OBJECT}' {model}"));
    assert_eq!((led.as_str(), seen(&machine)), ("{} status 200", 2));
    assert_eq!(asks(&machine, &format!("'{OBJECT}'")), "{} status 200");
    for other in ["https://cdn.elsewhere.net/object?sig=2", &format!("-d x '{OBJECT}'")] {
        let said = asks(&machine, &other.replace("?sig=2", "'?sig=2'"));
        assert!(said.ends_with("status 403") && said.contains("request-not-allowed"), "{other}: {said}");
    }
    assert_eq!(seen(&machine), 3, "nothing else came to the server");
    // What the hub does not lead to is not granted by it.
    let other = "https://cdn.elsewhere.net/other";
    let refused = asks(
        &machine,
        &format!(
            "-L -d '{{}}' -H 'x-lead: {other}' https://hub.example.com/api/models/acme/tiny/commit/main"
        ),
    );
    assert!(refused.ends_with("status 403"), "{refused}");
    assert!(asks(&machine, other).ends_with("status 403"));
    eventually("the grant's end", || {
        asks(&machine, &format!("'{OBJECT}'")).ends_with("status 403").then_some(())
    });
    let calls: Vec<Value> = eventually("the records", || {
        let lines = up.text(&["calls", "--json"]);
        let calls: Vec<Value> = lines.lines().map(|line| serde_json::from_str(line).unwrap()).collect();
        let granted = calls.iter().filter(|call| call["operation"]["granted"] == true).count();
        (granted >= 2).then_some(calls)
    });
    let granted = calls.iter().find(|call| call["operation"]["granted"] == true).unwrap();
    let rule = granted["rule"].as_str().unwrap();
    assert!(rule.contains("spec.egress[0].redirects") && rule.contains("policy.yaml:7"), "{rule}");
    let status = up.status();
    assert_eq!(status["degraded"], serde_json::json!([]));
    assert_eq!(status["resolver"]["verdict_disagreements"], 0, "{status:#}");
}
