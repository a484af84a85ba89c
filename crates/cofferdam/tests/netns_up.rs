//! `cofferdam up` on a machine of its own: a network namespace with two pods behind it, and real packets.

#![expect(clippy::unwrap_used, reason = "helpers of tests; a panic is the failure report")]

use crate::machine::{Machine, Up, eventually};
use serde_json::Value;
use std::fs;

const POLICY: &str = "\
apiVersion: networking.k8s.io/v1
kind: NetworkPolicy
metadata: { name: db, namespace: prod }
spec:
  podSelector: { matchLabels: { app: db } }
  policyTypes: [Ingress]
  ingress:
    - from: [{ podSelector: { matchLabels: { app: web } } }]
      ports: [{ protocol: TCP, port: 8080 }]
";

const DENIED_PORT: u16 = 9090;
const ALLOWED_PORT: u16 = 8080;

#[test]
fn netns_records_name_the_object_file_and_line_of_allowed_and_denied_access() {
    let machine = Machine::new("r");
    machine.write("policy.yaml", POLICY);
    let _server = machine.listen("b", ALLOWED_PORT);
    let up = Up::start_with(&machine, &["--health", "127.0.0.1:9440"]);
    assert!(machine.connects("a", "b", ALLOWED_PORT));
    assert!(!machine.connects("a", "b", DENIED_PORT));

    let allowed = eventually("an open record", || up.flow(&["--kind", "open", "--to", "prod/db"]));
    assert_eq!(allowed["from"]["name"], "web");
    assert_eq!(allowed["port"], ALLOWED_PORT);
    assert_eq!(allowed["ingress"]["reason"], "network-policy-allow");
    assert_eq!(allowed["ingress"]["object"]["name"], "db");
    assert_eq!(allowed["ingress"]["source"]["line"], 8);

    machine.forget_connections();
    let closed = eventually("a close record", || up.flow(&["--kind", "close", "--to", "prod/db"]));
    assert_eq!((&closed["connection"], &closed["ingress"]), (&allowed["connection"], &allowed["ingress"]));
    assert!(closed["traffic"]["bytes_sent"].as_u64() > Some(0), "{closed:#}");
    assert!(closed["traffic"]["packets_received"].as_u64() > Some(0), "{closed:#}");

    let denied = eventually("a deny record", || up.flow(&["--verdict", "deny", "--port", "9090"]));
    assert_eq!(denied["reason"], "isolated");
    assert_eq!(denied["ingress"]["object"]["kind"], "NetworkPolicy");
    let file = denied["ingress"]["source"]["file"].as_str().unwrap();
    assert!(file.ends_with("policy.yaml"), "{file}");

    let table = up.text(&["flows"]);
    assert!(table.contains("NetworkPolicy prod/db"), "{table}");
    let status = up.status();
    assert_eq!(status["resolver"]["verdict_disagreements"], 0, "{status:#}");
    assert_eq!(status["resolver"]["rule_disagreements"], 0, "{status:#}");
    assert_eq!(status["degraded"], Value::Array(vec![]));

    machine.must("n", "test \"$(curl --silent --fail http://127.0.0.1:9440/readyz)\" = ready");
    machine
        .must("n", "curl --silent --fail http://127.0.0.1:9440/metrics | grep -qx 'cofferdam_generation 1'");
}

#[test]
fn netns_an_edit_takes_effect_and_a_broken_edit_keeps_the_last_good_policy() {
    let machine = Machine::new("e");
    machine.write("policy.yaml", POLICY);
    let _server = machine.listen("b", DENIED_PORT);
    let up = Up::start(&machine);
    assert!(!machine.connects("a", "b", DENIED_PORT));

    machine.write("policy.yaml", &POLICY.replace("8080", "9090"));
    eventually("the edit in force", || machine.connects("a", "b", DENIED_PORT).then_some(()));
    let generation = up.status()["generation"].as_u64().unwrap();

    machine.write("policy.yaml", "kind: NetworkPolicy\nspec: [");
    let status = eventually("the broken edit noticed", || {
        let status = up.status();
        (status["load"]["outcome"] == "kept-last-good").then_some(status)
    });
    assert_eq!(status["generation"].as_u64(), Some(generation));
    assert!(!status["degraded"].as_array().unwrap().is_empty());
    assert!(status["load"]["diagnostics"][0].as_str().unwrap().contains("policy.yaml"), "{status:#}");
    assert!(machine.connects("a", "b", DENIED_PORT));
    assert!(!machine.connects("a", "b", ALLOWED_PORT));

    fs::remove_file(machine.folder().join("policy.yaml")).unwrap();
    eventually("the mended folder in force", || (up.status()["load"]["outcome"] == "applied").then_some(()));
}

#[test]
fn netns_a_folder_that_is_broken_at_the_start_closes_what_it_may_have_selected() {
    let machine = Machine::new("b");
    machine
        .write("policy.yaml", &POLICY.replace("podSelector: { matchLabels: { app: db } }", "podSelector: 7"));
    let _server = machine.listen("b", ALLOWED_PORT);
    let up = Up::start(&machine);
    assert!(!machine.connects("a", "b", ALLOWED_PORT));
    let status = up.status();
    assert_eq!(status["load"]["outcome"], "applied-with-closed-scopes", "{status:#}");
    assert!(status["closed_scopes"].as_u64().unwrap() > 0);
}

#[test]
fn netns_what_somebody_removed_comes_back_and_what_was_uninstalled_does_not() {
    let machine = Machine::new("w");
    machine.write("policy.yaml", POLICY);
    let _server = machine.listen("b", DENIED_PORT);
    let up = Up::start(&machine);
    assert!(!machine.connects("a", "b", DENIED_PORT));
    machine.must("n", "nft flush ruleset");
    eventually("all of it again", || (!machine.connects("a", "b", DENIED_PORT)).then_some(()));

    machine.uninstall();
    assert!(machine.connects("a", "b", DENIED_PORT), "the process that runs puts nothing back");
    machine.write("policy.yaml", &POLICY.replace("8080", "8081"));
    let status = eventually("an edit that is refused", || {
        let status = up.status();
        (status["load"]["outcome"] == "refused").then_some(status)
    });
    assert!(status["degraded"].to_string().contains("cofferdam uninstall"), "{status:#}");
    assert!(machine.connects("a", "b", DENIED_PORT));
}

#[test]
fn netns_sigkill_under_load_leaks_no_denied_packet_and_a_restart_adopts() {
    let machine = Machine::new("k");
    let _server = machine.listen("b", ALLOWED_PORT);
    let denied = machine.datagrams("a", "b", DENIED_PORT);
    eventually("datagrams pass while nothing is enforced", || (denied.received() > 0).then_some(()));

    machine.write("policy.yaml", POLICY);
    let up = Up::start(&machine);
    let first = up.status()["generation"].as_u64().unwrap();
    denied.settle();
    let (sent, received) = (denied.sent(), denied.received());

    up.kill();
    assert!(machine.connects("a", "b", ALLOWED_PORT), "allowed traffic goes on without the process");
    assert!(!machine.connects("a", "b", DENIED_PORT));
    eventually("more load", || (denied.sent() > sent + 2000).then_some(()));
    assert_eq!(denied.received(), received, "leaked after SIGKILL");

    let up = Up::start(&machine);
    assert!(up.status()["generation"].as_u64().unwrap() > first, "generations never move backwards");
    eventually("more load", || (denied.sent() > sent + 4000).then_some(()));
    assert_eq!(denied.received(), received, "leaked over the restart");
    assert!(machine.connects("a", "b", ALLOWED_PORT));

    up.terminate();
    assert!(!machine.connects("a", "b", DENIED_PORT), "SIGTERM leaves the rules in force");
    machine.uninstall();
    eventually("datagrams pass after uninstall", || (denied.received() > received).then_some(()));
}

#[test]
fn netns_a_ledger_outlives_a_kill_says_who_reached_whom_and_can_be_checked() {
    let machine = Machine::new("g");
    machine.write("policy.yaml", POLICY);
    let _server = machine.listen("b", ALLOWED_PORT);
    let file = machine.socket().with_extension("ledger");
    let file = file.to_str().unwrap();
    let start = || Up::start_with(&machine, &["--ledger", file]);
    let up = start();
    assert!(machine.connects("a", "b", ALLOWED_PORT));
    assert!(machine.connects("a", "b", ALLOWED_PORT));
    assert!(!machine.connects("a", "b", DENIED_PORT));
    let lines = |arguments: &[&str]| -> Vec<Value> {
        let output = machine.program(arguments).args(["--json", "--ledger", file]).output().unwrap();
        assert!(output.stderr.is_empty(), "{}", String::from_utf8_lossy(&output.stderr));
        let text = String::from_utf8(output.stdout).unwrap();
        text.lines().map(|line| serde_json::from_str(line).unwrap()).collect()
    };
    let edges = eventually("two edges in the ledger", || {
        let edges = lines(&["edges", "--new", "--since", "1h"]);
        let denied: u64 = edges.iter().map(|edge| edge["denied"].as_u64().unwrap()).sum();
        (edges.len() == 2 && denied > 0 && edges.iter().any(|edge| edge["allowed"] == 2)).then_some(edges)
    });
    let denied = edges.iter().find(|edge| edge["port"] == DENIED_PORT).unwrap();
    assert_eq!(
        (&denied["source"], &denied["destination"]),
        (&Value::from("prod/web"), &Value::from("prod/db"))
    );
    let rule = denied["rule"].as_str().unwrap();
    assert!(rule.contains("NetworkPolicy prod/db") && rule.contains("policy.yaml:"), "{rule}");
    // The running `up` tells where its ledger is.
    assert_eq!(up.text(&["edges", "--json"]).lines().count(), 2);

    up.kill();
    let before = lines(&["ledger", "show", "--kind", "flow", "--verdict", "deny"]);
    assert_eq!(before.len(), 1, "{before:?}");
    assert_eq!(before[0]["detail"]["ingress"]["object"]["name"], "db");
    let up = start();
    assert!(machine.connects("a", "b", ALLOWED_PORT));
    eventually("a third connection", || {
        let edges = lines(&["edges", "--source", "prod/web", "--destination", "prod/db"]);
        edges.iter().any(|edge| edge["allowed"] == 3).then_some(())
    });
    let top = lines(&["top", "rule", "--measure", "denied"]);
    assert!(top[0]["denied"].as_u64() > Some(0) && top[0]["of"] == denied["rule"], "{top:?}");
    let status = up.status();
    assert_eq!((&status["ledger"]["lost"], &status["degraded"]), (&Value::from(0), &Value::Array(vec![])));
    let found = &lines(&["ledger", "verify"])[0];
    assert_eq!((&found["holds"], &found["fault"]), (&Value::Bool(true), &Value::Null), "{found}");
}

#[test]
fn netns_a_ledger_that_cannot_be_written_stops_nothing_and_is_written_again_when_it_can_be() {
    let machine = Machine::new("h");
    machine.write("policy.yaml", POLICY);
    let _server = machine.listen("b", ALLOWED_PORT);
    let folder = machine.socket().with_extension("full");
    // A folder in place of the file: nobody can write that, root neither.
    fs::create_dir(&folder).unwrap();
    let up = Up::start_with(&machine, &["--ledger", folder.to_str().unwrap()]);
    assert!(machine.connects("a", "b", ALLOWED_PORT));
    assert!(!machine.connects("a", "b", DENIED_PORT));
    let status = eventually("the trouble in the status", || {
        let status = up.status();
        status["ledger"]["problem"].is_string().then_some(status)
    });
    let reason = status["degraded"][0].as_str().unwrap();
    assert!(reason.starts_with("records are not written to the ledger: ledger /"), "{reason}");
    fs::remove_dir(&folder).unwrap();
    // What was recorded meanwhile waited.
    eventually("both connections in the ledger", || {
        (up.text(&["edges", "--json"]).lines().count() == 2).then_some(())
    });
    assert_eq!(up.status()["degraded"], Value::Array(vec![]));
}

#[test]
fn netns_where_a_generation_cannot_be_remembered_the_last_policy_stays_and_the_next_comes_by_itself() {
    let machine = Machine::new("j");
    machine.write("policy.yaml", POLICY);
    let _servers = [ALLOWED_PORT, DENIED_PORT].map(|port| machine.listen("b", port));
    let up = Up::start(&machine);
    assert!(machine.connects("a", "b", ALLOWED_PORT));
    let before = up.status()["generation"].as_u64().unwrap();
    let in_its_way = machine.socket().with_extension("generation.new");
    fs::create_dir(&in_its_way).unwrap();
    machine.write("policy.yaml", &POLICY.replace("8080", "9090"));
    let degraded = eventually("the trouble in the status", || {
        let status = up.status();
        let degraded = status["degraded"].as_array().unwrap().clone();
        assert_eq!(status["nodes"][0]["enforced"], before);
        (!degraded.is_empty()).then_some(degraded)
    });
    let told = serde_json::to_string(&degraded).unwrap();
    assert!(told.contains("could not be put in force"), "{told}");
    assert!(machine.connects("a", "b", ALLOWED_PORT));
    assert!(!machine.connects("a", "b", DENIED_PORT));
    fs::remove_dir(&in_its_way).unwrap();
    eventually("the new policy", || machine.connects("a", "b", DENIED_PORT).then_some(()));
    assert!(!machine.connects("a", "b", ALLOWED_PORT));
    assert!(up.status()["generation"].as_u64().unwrap() > before);
}

/// A small disk, which goes with it.
struct Disk(std::path::PathBuf);

impl Disk {
    fn new(path: std::path::PathBuf, mib: u32) -> Self {
        fs::create_dir(&path).unwrap();
        let options = format!("size={mib}m");
        let mount = std::process::Command::new("mount")
            .args(["-t", "tmpfs", "-o", &options, "none"])
            .arg(&path)
            .status()
            .unwrap();
        assert!(mount.success());
        Self(path)
    }
}

impl Drop for Disk {
    fn drop(&mut self) {
        let _ = std::process::Command::new("umount").arg("-l").arg(&self.0).status();
    }
}

#[test]
fn netns_on_a_full_disk_policy_is_enforced_and_what_was_recorded_is_written_when_there_is_room() {
    let machine = Machine::new("i");
    machine.write("policy.yaml", POLICY);
    let _server = machine.listen("b", ALLOWED_PORT);
    let disk = Disk::new(machine.socket().with_extension("disk"), 4);
    let file = disk.0.join("ledger.db");
    let up = Up::start_with(&machine, &["--ledger", file.to_str().unwrap()]);
    assert!(machine.connects("a", "b", ALLOWED_PORT));
    let edges = || up.text(&["edges", "--json"]).lines().count();
    eventually("the connection in the ledger", || (edges() == 1).then_some(()));
    let ballast = disk.0.join("ballast");
    let filled = std::io::copy(&mut std::io::repeat(1), &mut fs::File::create(&ballast).unwrap());
    assert!(filled.is_err(), "the disk is full");

    // What has room in the file already is no trouble: more is recorded than that.
    machine.at("a", || {
        for port in 20_000..20_600 {
            let socket = std::net::UdpSocket::bind("0.0.0.0:0").unwrap();
            socket.send_to(b"x", (std::net::Ipv4Addr::new(10, 9, 2, 2), port)).unwrap();
        }
    });
    let status = eventually("the trouble in the status", || {
        let status = up.status();
        status["ledger"]["problem"].is_string().then_some(status)
    });
    let problem = status["ledger"]["problem"].as_str().unwrap();
    assert!(problem.contains("full"), "{problem}");
    assert!(!status["degraded"].as_array().unwrap().is_empty());
    assert!(machine.connects("a", "b", ALLOWED_PORT));
    assert!(!machine.connects("a", "b", DENIED_PORT));

    fs::remove_file(&ballast).unwrap();
    let status = eventually("nothing waits", || {
        let status = up.status();
        (status["ledger"]["problem"].is_null() && edges() >= 600).then_some(status)
    });
    assert_eq!((&status["ledger"]["lost"], &status["ledger"]["notices"]), (&0.into(), &Value::Null));
    let found: Value = serde_json::from_str(&up.text(&["ledger", "verify", "--json"])).unwrap();
    assert_eq!((&found["holds"], &found["lost"]), (&Value::Bool(true), &serde_json::json!({})), "{found}");
}
