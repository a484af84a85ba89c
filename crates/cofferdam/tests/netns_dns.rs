//! Names open the kernel for the pod that asked, over deaths of the agent and of its DNS proxy.

#![expect(clippy::unwrap_used, reason = "helpers of tests; a panic is the failure report")]

use crate::machine::resolver::{CDN, HUB, Resolver, ask};
use crate::machine::{Machine, Up, eventually};
use nix::sys::signal::{Signal, kill};
use std::net::{Ipv4Addr, SocketAddr, TcpStream};
use std::time::Duration;

const POLICY: &str = "\
apiVersion: cofferdam.dev/v1alpha1
kind: EgressPolicy
metadata: { name: web, namespace: prod }
spec:
  subject: { podSelector: { matchLabels: { app: web } } }
  egress:
    - action: Allow
      to: [{ domains: [hub.example.com, '*.cdn.example.com'] }]
      ports: [{ protocol: TCP, port: 8080 }]
    - action: Allow
      to: [{ networks: [10.9.2.2/32] }]
      ports: [{ protocol: UDP, port: 53 }]
  dns: { names: ['**.example.com'] }
";

fn open(machine: &Machine, to: Ipv4Addr, port: u16) -> Option<TcpStream> {
    machine.at("a", move || {
        TcpStream::connect_timeout(&SocketAddr::from((to, port)), Duration::from_millis(700)).ok()
    })
}

fn start(machine: &Machine) -> Up<'_> {
    Up::start_with(machine, &["--dns-resolver", "10.9.2.2", "--dns-hold", "1"])
}

#[test]
fn netns_a_name_opens_its_address_to_who_asked_while_its_answer_holds() {
    let machine = Machine::new("d");
    machine.write("policy.yaml", POLICY);
    let _resolver = Resolver::start(&machine);
    let _server = machine.at("b", || std::net::TcpListener::bind("0.0.0.0:8080").unwrap());
    let up = start(&machine);
    assert!(open(&machine, HUB, 8080).is_none(), "nobody asked yet");
    let denied = eventually("its record", || up.flow(&["--about", "address-not-resolved"]));
    assert_eq!((&denied["kind"], &denied["to"]["address"]), (&"deny".into(), &HUB.to_string().into()));
    assert_eq!(denied["about"], "address-not-resolved", "{denied:#}");
    let line = up.text(&["flows", "--about", "address-not-resolved"]);
    assert!(line.contains("; the address was not resolved by this pod"), "{line}");
    assert_eq!(ask(&machine, "hub.example.com"), Some(0));
    let open_connection = open(&machine, HUB, 8080).unwrap();
    assert!(open(&machine, HUB, 9090).is_none(), "the rule names a port");
    assert!(open(&machine, CDN, 8080).is_none(), "the name does not lead there");
    assert_eq!(ask(&machine, "a.b.cdn.example.com"), Some(0), "it may be asked for");
    assert!(open(&machine, CDN, 8080).is_none(), "a star is one label");
    assert_eq!(ask(&machine, "a.cdn.example.com"), Some(0));
    assert!(open(&machine, CDN, 8080).is_some());
    assert_eq!(ask(&machine, "paste.example.org"), Some(5));

    let opened = eventually("its record", || up.flow(&["--kind", "open", "--to", "hub.example.com"]));
    assert_eq!(opened["to"]["names"][0], "hub.example.com", "{opened:#}");
    assert_eq!(opened["egress"]["object"]["kind"], "EgressPolicy");
    let refused = eventually("the record of the question", || {
        let lines = up.text(&["dns", "--json", "--verdict", "deny"]);
        lines.lines().last().map(|line| serde_json::from_str::<serde_json::Value>(line).unwrap())
    });
    assert_eq!(refused["name"], "paste.example.org", "{refused:#}");
    assert_eq!((&refused["from"]["name"], &refused["reason"]), (&"web".into(), &"name".into()));
    assert!(refused["rule"].as_str().unwrap().contains("policy.yaml"), "{refused:#}");

    eventually("the answer to run out", || open(&machine, HUB, 8080).is_none().then_some(()));
    machine
        .write("policy.yaml", &(POLICY.to_owned() + "---\n" + &POLICY.replace("name: web,", "name: more,")));
    eventually("another state", || (up.status()["policies"] == 2).then_some(()));
    let mut byte = [0];
    open_connection.set_read_timeout(Some(Duration::from_millis(300))).unwrap();
    open_connection.set_nonblocking(false).unwrap();
    // Who is cut gets no acknowledgement of what it sends; who is not only hears nothing.
    std::io::Write::write_all(&mut &open_connection, b"x").unwrap();
    let heard = std::io::Read::read(&mut &open_connection, &mut byte).unwrap_err();
    assert_eq!(heard.kind(), std::io::ErrorKind::WouldBlock);
    let unsent = || unacknowledged(&machine);
    eventually("the server to acknowledge", || (unsent() == 0).then_some(()));
    let status = up.status();
    assert_eq!(status["resolver"]["verdict_disagreements"], 0, "{status:#}");
    assert_eq!(status["resolver"]["rule_disagreements"], 0, "{status:#}");
    assert_eq!(status["degraded"], serde_json::json!([]));
}

/// Bytes that pod `a` sent over TCP and nobody acknowledged.
fn unacknowledged(machine: &Machine) -> u64 {
    let text = machine.at("a", || std::fs::read_to_string("/proc/thread-self/net/tcp").unwrap());
    let queue = |line: &str| {
        line.split_whitespace().nth(4).and_then(|queues| queues.split(':').next().map(str::to_owned))
    };
    let established = text.lines().skip(1).filter(|line| line.split_whitespace().nth(3) == Some("01"));
    established.filter_map(queue).map(|hex| u64::from_str_radix(&hex, 16).unwrap()).sum()
}

#[test]
fn netns_names_outlive_the_agent_and_queries_the_proxy() {
    let machine = Machine::new("p");
    machine.write("policy.yaml", POLICY);
    let _resolver = Resolver::start(&machine);
    let _server = machine.at("b", || std::net::TcpListener::bind("0.0.0.0:8080").unwrap());
    let options = ["--dns-resolver", "10.9.2.2", "--dns-hold", "600"];
    let up = Up::start_with(&machine, &options);
    assert_eq!(ask(&machine, "hub.example.com"), Some(0));
    for _ in 0..3 {
        let proxies = machine.running("dns-proxy");
        assert_eq!(proxies.len(), 1);
        kill(proxies[0], Signal::SIGKILL).unwrap();
        assert_eq!(ask(&machine, "hub.example.com"), Some(0), "the query waits in the socket");
    }
    assert!(open(&machine, HUB, 8080).is_some());

    up.kill();
    assert!(open(&machine, HUB, 8080).is_some(), "the kernel has it");
    assert_eq!(ask(&machine, "hub.example.com"), Some(0), "it is known to be open");
    assert_eq!(ask(&machine, "new.cdn.example.com"), Some(2), "nobody could open it");
    assert_eq!(ask(&machine, "paste.example.org"), Some(5));

    let up = Up::start_with(&machine, &options);
    assert!(open(&machine, HUB, 8080).is_some(), "remembered, without asking again");
    assert_eq!(ask(&machine, "new.cdn.example.com"), Some(0));
    assert!(open(&machine, CDN, 8080).is_some());
    assert_eq!(machine.running("dns-proxy").len(), 1, "the one before gave its sockets to a new one");

    assert_eq!(ask(&machine, "hub.example.com"), Some(0), "the new proxy hears that it is open");
    up.terminate();
    assert_eq!(ask(&machine, "hub.example.com"), Some(0), "rules and answers outlive the process");
    machine.uninstall();
    assert!(machine.running("dns-proxy").is_empty());
    assert_eq!(ask(&machine, "paste.example.org"), Some(0), "DNS is left alone");
}

#[test]
fn netns_dns_whose_place_was_taken_is_answered_when_it_is_free() {
    let machine = Machine::new("t");
    machine.write("policy.yaml", POLICY);
    let _resolver = Resolver::start(&machine);
    let _server = machine.at("b", || std::net::TcpListener::bind("0.0.0.0:8080").unwrap());
    let taken = machine.at("n", || std::net::UdpSocket::bind("127.0.53.53:53").unwrap());
    let up = start(&machine);
    let degraded = || up.status()["degraded"].to_string();
    eventually("it is said", || degraded().contains("pods' DNS is not answered").then_some(()));
    assert!(open(&machine, HUB, 8080).is_none());
    drop(taken);
    eventually("a name opens its address", || {
        ask(&machine, "hub.example.com");
        open(&machine, HUB, 8080).map(drop)
    });
    eventually("it is no more said", || (up.status()["degraded"] == serde_json::json!([])).then_some(()));
}
