//! Connections to names are held to them, within their limits, over deaths of the agent and of the gateway.

#![expect(
    clippy::unwrap_used,
    clippy::indexing_slicing,
    reason = "helpers of tests; a panic is the failure report"
)]

use crate::machine::resolver::{HUB, Resolver, ask};
use crate::machine::{Machine, Up, eventually};
use nix::sys::signal::{Signal, kill};
use serde_json::Value;
use std::io::{Read, Write};
use std::net::{SocketAddr, TcpStream};
use std::time::Duration;

/// All names lead to one address.
const POLICY: &str = "\
apiVersion: cofferdam.dev/v1alpha1
kind: EgressPolicy
metadata: { name: web, namespace: prod }
spec:
  subject: { podSelector: { matchLabels: { app: web } } }
  egress:
    - action: Allow
      to: [{ domains: [hub.example.com] }]
      ports: [{ protocol: TCP, port: 80 }]
    - action: Allow
      name: store
      to: [{ domains: [store.example.com] }]
      ports: [{ protocol: TCP, port: 80 }]
      maxUploadBytes: { hour: 300k }
    - action: Allow
      to: [{ domains: [pull.example.com] }]
      ports: [{ protocol: TCP, port: 80 }]
      downloadOnly: true
    - action: Allow
      to: [{ networks: [10.9.2.2/32] }]
      ports: [{ protocol: UDP, port: 53 }]
";

const PATIENCE: Duration = Duration::from_secs(10);

/// A web server at pod `b` that reads each body to its end and says how long it was.
fn serve(machine: &Machine) {
    let listener = machine.at("b", || std::net::TcpListener::bind("0.0.0.0:80").unwrap());
    std::thread::spawn(move || {
        for stream in listener.incoming() {
            let Ok(stream) = stream else { return };
            std::thread::spawn(move || answer(stream));
        }
    });
}

fn answer(mut stream: TcpStream) {
    let mut head = Vec::new();
    loop {
        let mut byte = [0];
        while !head.ends_with(b"\r\n\r\n") {
            if !stream.read(&mut byte).is_ok_and(|length| length == 1) {
                return;
            }
            head.push(byte[0]);
        }
        let text = String::from_utf8(std::mem::take(&mut head)).unwrap();
        let length = text.lines().find_map(|line| line.strip_prefix("Content-Length: "));
        let length: u64 = length.map_or(0, |length| length.parse().unwrap());
        let taken = std::io::copy(&mut Read::by_ref(&mut stream).take(length), &mut std::io::sink());
        let said = taken.unwrap_or_default().to_string();
        let answer = format!("HTTP/1.1 200 OK\r\nContent-Length: {}\r\n\r\n{said}", said.len());
        if stream.write_all(answer.as_bytes()).is_err() {
            return;
        }
    }
}

/// A connection of pod `a` to the address of all names.
fn open(machine: &Machine) -> TcpStream {
    let stream = machine.at("a", || {
        TcpStream::connect_timeout(&SocketAddr::from((HUB, 80)), Duration::from_secs(3)).unwrap()
    });
    stream.set_read_timeout(Some(PATIENCE)).unwrap();
    stream.set_write_timeout(Some(PATIENCE)).unwrap();
    stream
}

/// What the answer begins with; nothing if there was none.
fn put(stream: &mut TcpStream, host: &str, bytes: usize) -> String {
    let head = format!("PUT / HTTP/1.1\r\nHost: {host}\r\nContent-Length: {bytes}\r\n\r\n");
    if stream.write_all(head.as_bytes()).and_then(|()| stream.write_all(&vec![b'x'; bytes])).is_err() {
        return String::new();
    }
    let mut answer = [0; 512];
    let length = stream.read(&mut answer).unwrap_or_default();
    String::from_utf8_lossy(&answer[..length]).into_owned()
}

fn passes(answer: &str, bytes: usize) -> bool {
    answer.starts_with("HTTP/1.1 200") && answer.ends_with(&format!("\r\n\r\n{bytes}"))
}

/// The newest connection that the filters leave.
fn connection(up: &Up<'_>, filters: &[&str]) -> Option<Value> {
    let lines = up.text(&[&["connections", "--json"], filters].concat());
    lines.lines().last().map(|line| serde_json::from_str(line).unwrap())
}

fn start(machine: &Machine) -> Up<'_> {
    Up::start_with(machine, &["--dns-resolver", "10.9.2.2", "--dns-hold", "600"])
}

/// What the chart gives an agent, as setpriv names capabilities.
fn capabilities() -> Vec<String> {
    let template = include_str!("../../../deploy/chart/templates/agent.yaml");
    let (_, after) = template.split_once("capabilities: {drop: [ALL], add: [").unwrap();
    let (list, _) = after.split_once(']').unwrap();
    list.split(", ").map(str::to_lowercase).collect()
}

/// Root in a container has what its bounding set leaves, and cannot get more.
#[test]
fn netns_the_capabilities_of_the_chart_are_enough_and_no_process_has_others() {
    let machine = Machine::new("c");
    machine.write("policy.yaml", POLICY);
    let _resolver = Resolver::start(&machine);
    serve(&machine);
    let bounding = format!("--bounding-set=-all,+{}", capabilities().join(",+"));
    let starter = ["setpriv", &bounding, "--inh-caps=-all", "--no-new-privs"];
    let up = Up::start_by(&machine, &starter, &["--dns-resolver", "10.9.2.2", "--dns-hold", "600"]);
    assert_eq!(ask(&machine, "hub.example.com"), Some(0));
    assert!(passes(&put(&mut open(&machine), "hub.example.com", 3), 3));
    assert!(!passes(&put(&mut open(&machine), "evil.example.com", 3), 3));
    // Counted in the kernel, which the agent asks.
    assert_eq!(ask(&machine, "store.example.com"), Some(0));
    assert!(passes(&put(&mut open(&machine), "store.example.com", 1000), 1000));
    assert_eq!(up.status()["degraded"], serde_json::json!([]));
    let commands = [env!("CARGO_BIN_EXE_cofferdam"), "dns-proxy", "gateway-proxy"];
    let all: Vec<_> = commands.iter().flat_map(|command| machine.running(command)).collect();
    assert_eq!(all.len(), 3, "the agent and its two proxies: {all:?}");
    for pid in all {
        let status = std::fs::read_to_string(format!("/proc/{pid}/status")).unwrap();
        let held = status.lines().find_map(|line| line.strip_prefix("CapPrm:")).unwrap().trim();
        // CAP_NET_BIND_SERVICE and CAP_NET_ADMIN.
        let known = 1_u64 << 10 | 1 << 12;
        assert_eq!(u64::from_str_radix(held, 16).unwrap() & !known, 0, "{pid} has {held}");
    }
}

#[test]
fn netns_a_connection_is_held_to_the_name_it_was_opened_for() {
    let machine = Machine::new("g");
    machine.write("policy.yaml", POLICY);
    let _resolver = Resolver::start(&machine);
    serve(&machine);
    let up = start(&machine);
    assert_eq!((ask(&machine, "hub.example.com"), ask(&machine, "evil.example.com")), (Some(0), Some(0)));
    assert!(passes(&put(&mut open(&machine), "hub.example.com", 3), 3));
    let passed = eventually("its record", || connection(&up, &["--verdict", "allow"]));
    assert_eq!(
        (&passed["claim"]["name"], &passed["reason"]),
        (&"hub.example.com".into(), &"name-allowed".into())
    );
    assert_eq!((&passed["from"]["name"], &passed["destination"]), (&"web".into(), &"203.0.113.7:80".into()));
    assert!(passed["rule"].as_str().unwrap().contains("policy.yaml:7"), "{passed:#}");
    for (host, reason) in [
        ("evil.example.com", "host-mismatch"),
        ("store.example.com", "host-mismatch"),
        ("203.0.113.7", "no-name"),
    ] {
        let answer = put(&mut open(&machine), host, 3);
        assert!(answer.starts_with("HTTP/1.1 403") && answer.contains(reason), "{host}: {answer}");
        let refused = eventually("its record", || connection(&up, &["--verdict", "deny", "--name", host]));
        assert_eq!(refused["reason"], reason, "{refused:#}");
    }
    // The kernel had it opened; who asks for another in the same connection is cut.
    let mut stream = open(&machine);
    assert!(passes(&put(&mut stream, "hub.example.com", 3), 3));
    assert!(put(&mut stream, "evil.example.com", 3).is_empty());
    let status = up.status();
    assert_eq!(status["resolver"]["verdict_disagreements"], 0, "{status:#}");
    assert_eq!(status["degraded"], serde_json::json!([]));
    assert_eq!(status["nodes"][0]["gateway"]["named"], 1);
}

#[test]
fn netns_connections_outlive_the_agent_and_wait_for_the_next_gateway() {
    let machine = Machine::new("h");
    machine.write("policy.yaml", POLICY);
    let _resolver = Resolver::start(&machine);
    serve(&machine);
    let up = start(&machine);
    assert_eq!(ask(&machine, "hub.example.com"), Some(0));
    for _ in 0..3 {
        let gateways = machine.running("gateway-proxy");
        assert_eq!(gateways.len(), 1);
        kill(gateways[0], Signal::SIGKILL).unwrap();
        assert!(passes(&put(&mut open(&machine), "hub.example.com", 3), 3), "it waits in the socket");
    }
    let mut held = open(&machine);
    assert!(passes(&put(&mut held, "hub.example.com", 3), 3));
    up.kill();
    assert!(passes(&put(&mut held, "hub.example.com", 3), 3), "without its agent");
    assert!(passes(&put(&mut open(&machine), "hub.example.com", 3), 3), "a new one, too");
    assert!(put(&mut open(&machine), "evil.example.com", 3).starts_with("HTTP/1.1 403"));

    let up = start(&machine);
    assert!(passes(&put(&mut held, "hub.example.com", 3), 3), "the gateway that holds it lives on");
    assert!(passes(&put(&mut open(&machine), "hub.example.com", 3), 3));
    assert_eq!(machine.running("gateway-proxy").len(), 2);
    let kept = eventually("what was refused meanwhile", || connection(&up, &["--name", "evil.example.com"]));
    assert_eq!(kept["reason"], "host-mismatch");
    // Without any policy everything may go on; with another rule it ends.
    machine.write("policy.yaml", "# nothing");
    eventually("no policy", || (up.status()["policies"] == 0).then_some(()));
    assert!(passes(&put(&mut held, "hub.example.com", 3), 3));
    assert!(passes(&put(&mut open(&machine), "evil.example.com", 3), 3));
    machine.write("policy.yaml", &POLICY.replace("hub.example.com", "nobody.example.com"));
    let cut = eventually("the end of what is not allowed", || {
        connection(&up, &["--verdict", "deny", "--name", "hub.example.com"])
    });
    assert_eq!((&cut["reason"], &cut["end"]), (&"name-not-allowed".into(), &"cut".into()));
    assert!(put(&mut held, "hub.example.com", 3).is_empty());
    eventually("the end of the old gateway", || (machine.running("gateway-proxy").len() == 1).then_some(()));
    up.terminate();
    machine.uninstall();
    eventually("its exit", || machine.running("gateway-proxy").is_empty().then_some(()));
    assert!(passes(&put(&mut open(&machine), "evil.example.com", 3), 3), "connections are left alone");
}

#[test]
fn netns_uploads_end_at_their_limits_whoever_restarts() {
    let machine = Machine::new("i");
    machine.write("policy.yaml", POLICY);
    let _resolver = Resolver::start(&machine);
    serve(&machine);
    let up = start(&machine);
    for name in ["hub.example.com", "store.example.com", "pull.example.com"] {
        assert_eq!(ask(&machine, name), Some(0));
    }
    assert!(passes(&put(&mut open(&machine), "hub.example.com", 2_000_000), 2_000_000), "it has no limit");
    assert!(passes(&put(&mut open(&machine), "pull.example.com", 50_000), 50_000), "an allowance is free");
    assert!(put(&mut open(&machine), "pull.example.com", 200_000).is_empty());
    let found = |kind: &str| {
        let lines = up.text(&["findings", "--json"]);
        let all = lines.lines().map(|line| serde_json::from_str::<Value>(line).unwrap());
        all.into_iter().find(|finding| finding["detector"] == kind)
    };
    let finding = eventually("the finding", || found("download-only"));
    assert_eq!((&finding["workload"], &finding["subject"]), (&"prod/web".into(), &"pull.example.com".into()));

    // Twice within the limit; not a third time, from whatever port.
    assert!(passes(&put(&mut open(&machine), "store.example.com", 120_000), 120_000));
    assert!(passes(&put(&mut open(&machine), "store.example.com", 120_000), 120_000));
    let mut third = open(&machine);
    third.set_write_timeout(Some(Duration::from_secs(30))).unwrap();
    assert!(put(&mut third, "store.example.com", 120_000).is_empty());
    let finding = eventually("the finding", || found("upload-hour"));
    let bytes = finding["numbers"][0]["value"].as_f64();
    assert_eq!((&finding["workload"], bytes), (&"prod/web".into(), Some(300_000.0)));
    assert!(finding["rule"].as_str().unwrap().contains("\"store\""), "{finding:#}");
    let is_over = || {
        let answer = put(&mut open(&machine), "store.example.com", 3);
        assert!(answer.starts_with("HTTP/1.1 403") && answer.contains("upload-hour"), "{answer}");
    };
    is_over();
    assert!(passes(&put(&mut open(&machine), "hub.example.com", 3), 3), "other rules go on");
    kill(machine.running("gateway-proxy")[0], Signal::SIGKILL).unwrap();
    is_over();
    up.kill();
    is_over();
    let up = start(&machine);
    is_over();
    // Its position changes, and its number with it; its name does not.
    machine.write(
        "policy.yaml",
        &POLICY.replace(
            "  egress:\n",
            "  egress:\n    - { action: Deny, to: [{ domains: [no.example.com] }] }\n",
        ),
    );
    eventually("the edit", || {
        (up.status()["generation"].as_u64() > Some(1) && up.status()["load"]["outcome"] == "applied")
            .then_some(())
    });
    is_over();
    assert_eq!(up.status()["nodes"][0]["gateway"]["spent"], 1);
    machine.write("policy.yaml", &POLICY.replace("hour: 300k", "hour: 900k"));
    eventually("more to be allowed", || {
        passes(&put(&mut open(&machine), "store.example.com", 3), 3).then_some(())
    });
}
