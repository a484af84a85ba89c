//! A real client that is pinned to its server's certificate: curl, over real packets. Where its rule says `whenUnopened: Pass` it passes
//! unread and within its limits once it refused twice; else it stays refused.

#![expect(clippy::unwrap_used, reason = "helpers of tests; a panic is the failure report")]

use crate::machine::resolver::{HUB, Resolver, ask};
use crate::machine::web::{folder, serve};
use crate::machine::{Machine, Up, eventually};
use serde_json::Value;
use std::process::Command;

/// What is allowed is nothing that this test asks for: who gets an answer was not read.
fn policy(unopened: &str) -> String {
    format!(
        "\
apiVersion: cofferdam.dev/v1alpha1
kind: EgressPolicy
metadata: {{ name: pinned, namespace: prod }}
spec:
  subject: {{ podSelector: {{ matchLabels: {{ app: web }} }} }}
  egress:
    - action: Allow
      to: [{{ domains: [hub.example.com] }}]
      ports: [{{ protocol: TCP, port: 443 }}]
      operations: [{{ verbs: [admin] }}]
      maxUploadBytes: {{ connection: 64Ki }}
      whenUnopened: {unopened}
    - action: Allow
      to: [{{ networks: [10.9.2.2/32] }}]
      ports: [{{ protocol: UDP, port: 53 }}]
"
    )
}

/// Asks as the pod does, believing one certificate alone; what curl says and the status, 000 where there is no answer.
fn asks(machine: &Machine, believed: &str, body: usize) -> String {
    let command = format!(
        "head -c {body} /dev/zero | curl -sS -m 20 --cacert {believed} --resolve hub.example.com:443:{HUB} \
         -w ' status %{{http_code}}' -X POST --data-binary @- https://hub.example.com/secret"
    );
    let folder = folder(machine);
    machine.at("a", move || {
        let output = Command::new("sh").args(["-c", &command]).current_dir(folder).output().unwrap();
        [output.stdout, output.stderr].map(|text| String::from_utf8_lossy(&text).into_owned()).concat()
    })
}

fn connections(up: &Up<'_>) -> Vec<Value> {
    let lines = up.text(&["connections", "--json"]);
    lines.lines().map(|line| serde_json::from_str(line).unwrap()).collect()
}

/// The reason of the last of so many connections.
fn reason_of(up: &Up<'_>, count: usize) -> String {
    let all = eventually("its record", || Some(connections(up)).filter(|all| all.len() >= count));
    all.last().unwrap()["reason"].as_str().unwrap().to_owned()
}

#[test]
fn netns_a_pinned_client_passes_within_limits_where_its_rule_says_so_and_nowhere_else() {
    let machine = Machine::new("p");
    machine.write("policy.yaml", &policy("Pass"));
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
    let mut count = 0;
    let mut next = || {
        count += 1;
        reason_of(&up, count)
    };
    for _ in 0..2 {
        let said = asks(&machine, "server.pem", 10);
        assert!(said.contains("status 000") && said.contains("certificate"), "{said}");
        assert_eq!(next(), "client-distrusts");
    }
    assert_eq!(asks(&machine, "server.pem", 10), "{} status 200");
    assert_eq!(next(), "passed-unopened");
    // What it sends is still bounded.
    let said = asks(&machine, "server.pem", 1_000_000);
    assert!(!said.contains("status 200"), "{said}");
    assert_eq!(next(), "upload-ceiling");

    machine.write("policy.yaml", &policy("Deny"));
    eventually("the other rule", || asks(&machine, "server.pem", 10).contains("status 000").then_some(()));
    for _ in 0..3 {
        let said = asks(&machine, "server.pem", 10);
        assert!(said.contains("status 000"), "{said}");
    }
    let all = connections(&up);
    assert_eq!(all.last().unwrap()["reason"], "client-distrusts", "{all:#?}");
    // Who lets itself be opened hears what is wrong.
    let said = asks(&machine, "gateway.pem", 10);
    assert!(said.contains("status 403") && said.contains("request-not-allowed"), "{said}");
}
