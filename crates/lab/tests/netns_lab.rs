//! A lab with real packets: what arrives, what is dropped, what is left behind.

#![expect(clippy::unwrap_used, clippy::print_stderr, reason = "a test's helpers fail the test")]

use lab::{
    Evidence, Lab, NodePlan, Outcome, OutsideProgram, OwnFile, Place, Plan, PodOutput, PodPlan, Probe,
    probe_all,
};
use policy::Protocol;
use std::net::IpAddr;
use std::process::Command;
use std::sync::Arc;
use std::time::{Duration, Instant};

/// Says loudly that a test did not run.
fn may_run(test: &str) -> bool {
    let may = lab::privilege::has_capabilities();
    if !may {
        eprintln!("NOT RUN: {test} needs CAP_NET_ADMIN and CAP_SYS_ADMIN (run as root)");
    }
    may
}

fn pod(name: &str, node: &str, addresses: &[&str]) -> PodPlan {
    PodPlan {
        namespace: "test".into(),
        name: name.into(),
        node: node.into(),
        addresses: addresses.iter().map(|a| a.parse().unwrap()).collect(),
        ports: vec![(Protocol::TCP, 80), (Protocol::UDP, 53)],
        host_network: false,
        command: None,
        env: Vec::new(),
        directory: None,
        files: Vec::new(),
    }
}

fn plan() -> Plan {
    let node = |name: &str, addresses: [&str; 2]| NodePlan {
        name: name.into(),
        addresses: addresses.map(|a| a.parse().unwrap()).to_vec(),
    };
    Plan {
        nodes: vec![node("one", ["172.18.0.2", "fd00:18::2"]), node("two", ["172.18.0.3", "fd00:18::3"])],
        pods: vec![
            pod("a", "one", &["10.0.0.1", "fd00:10::1"]),
            pod("b", "one", &["192.168.49.2", "fd00:10::2"]),
            pod("c", "two", &["1.2.3.4", "2001:db8::4"]),
        ],
        outside: vec!["203.0.113.66".parse().unwrap(), "2001:db8:66::1".parse().unwrap()],
        outside_programs: Vec::new(),
        network: lab::Network::Routed,
    }
}

fn no_evidence() -> Evidence {
    Arc::new(|_| false)
}

fn probe(from: &Place, to: &str, protocol: Protocol, port: u16) -> Probe {
    Probe { from: from.clone(), source: None, to: to.parse().unwrap(), protocol, port }
}

fn place(name: &str) -> Place {
    Place::Pod("test".into(), name.into())
}

#[test]
fn netns_every_protocol_arrives_with_and_without_a_listener() {
    if !may_run("netns_every_protocol_arrives_with_and_without_a_listener") {
        return;
    }
    let started = Instant::now();
    let mut lab = Lab::up(plan()).unwrap();
    let (output, _lines) = std::sync::mpsc::sync_channel(10);
    lab.start_programs(output).unwrap();
    println!("lab of 3 pods up in {:?}", started.elapsed());
    let mut probes = Vec::new();
    let both_sides = [
        (
            place("a"),
            vec!["192.168.49.2", "1.2.3.4", "fd00:10::2", "2001:db8::4", "172.18.0.2", "203.0.113.66"],
        ),
        (Place::Outside, vec!["10.0.0.1", "2001:db8::4", "172.18.0.3"]),
        (Place::Node("two".into()), vec!["10.0.0.1", "1.2.3.4", "fd00:10::1"]),
        (place("c"), vec!["2001:db8:66::1", "fd00:18::3", "10.0.0.1"]),
    ];
    for (from, targets) in both_sides {
        for to in targets {
            let address: IpAddr = to.parse().unwrap();
            let icmp = if address.is_ipv4() { Protocol::ICMP } else { Protocol::ICMPV6 };
            for (protocol, port) in [
                (Protocol::TCP, 80),
                (Protocol::TCP, 81),
                (Protocol::UDP, 53),
                (Protocol::UDP, 54),
                (Protocol::SCTP, 9003),
                (icmp, 0),
            ] {
                probes.push(probe(&from, to, protocol, port));
            }
        }
    }
    let outcomes = probe_all(&lab, &probes, Duration::from_secs(3), &no_evidence()).unwrap();
    for (probe, outcome) in probes.iter().zip(&outcomes) {
        assert_eq!(*outcome, Outcome::Answered, "{probe:?}");
    }
}

#[test]
fn netns_dropped_packets_are_silent_or_denied_by_evidence() {
    if !may_run("netns_dropped_packets_are_silent_or_denied_by_evidence") {
        return;
    }
    dropped(lab::Network::Routed);
    if lab::can_filter_bridges() {
        dropped(lab::Network::Bridged);
    } else {
        eprintln!("SKIPPED: the same on a bridge (br_netfilter is not loaded)");
    }
}

fn dropped(network: lab::Network) {
    let lab = Lab::up(Plan { network, ..plan() }).unwrap();
    let drop_all = "table inet t { chain f { type filter hook forward priority 0; \
        ip daddr 192.168.49.2 drop; ip6 daddr fd00:10::2 drop; }; }";
    let loaded =
        lab.run(&Place::Node("one".into()), move || Command::new("nft").arg(drop_all).output().unwrap());
    assert!(loaded.as_ref().unwrap().status.success(), "{loaded:?}");
    let a = place("a");
    let probes: Vec<Probe> = [Protocol::TCP, Protocol::UDP, Protocol::SCTP, Protocol::ICMP]
        .map(|protocol| probe(&a, "192.168.49.2", protocol, 80))
        .into_iter()
        .chain(
            [Protocol::TCP, Protocol::UDP, Protocol::SCTP, Protocol::ICMPV6]
                .map(|p| probe(&a, "fd00:10::2", p, 80)),
        )
        .collect();
    let silent = probe_all(&lab, &probes, Duration::from_millis(700), &no_evidence()).unwrap();
    assert!(silent.iter().all(|outcome| *outcome == Outcome::Silent), "{silent:?}");
    let everything: Evidence = Arc::new(|_| true);
    let denied = probe_all(&lab, &probes, Duration::from_secs(5), &everything).unwrap();
    assert!(denied.iter().all(|outcome| *outcome == Outcome::Denied), "{denied:?}");
    let open = [probe(&a, "1.2.3.4", Protocol::TCP, 80), probe(&a, "1.2.3.4", Protocol::SCTP, 80)];
    let contradicted = probe_all(&lab, &open, Duration::from_secs(5), &everything).unwrap();
    assert!(contradicted.iter().all(|outcome| *outcome == Outcome::Contradiction), "{contradicted:?}");
    // On a bridge the two talk past the node's routing: only as long as netfilter is called does anybody see it.
    let unseen = "for f in /proc/sys/net/bridge/bridge-nf-call-ip*tables; do echo 0 > $f; done";
    let run = move || Command::new("sh").args(["-c", unseen]).output().unwrap();
    assert!(lab.run(&Place::Node("one".into()), run).unwrap().status.success());
    let outcomes = probe_all(&lab, &probes, Duration::from_millis(700), &no_evidence()).unwrap();
    let expected = if network == lab::Network::Bridged { Outcome::Answered } else { Outcome::Silent };
    assert!(outcomes.iter().all(|outcome| *outcome == expected), "{network:?} {outcomes:?}");
}

#[test]
fn netns_sixty_pods_come_up_and_nothing_is_left() {
    if !may_run("netns_sixty_pods_come_up_and_nothing_is_left") {
        return;
    }
    let mut plan = plan();
    plan.pods = (0..60).map(|i| pod(&format!("p{i}"), "one", &[&format!("10.1.0.{}", i + 1)])).collect();
    let started = Instant::now();
    let lab = Lab::up(plan).unwrap();
    println!("60 pods up in {:?}", started.elapsed());
    let name = lab.namespace(&place("p59")).unwrap().to_owned();
    let file = std::path::Path::new("/run/netns").join(&name);
    assert!(file.exists());
    let probes: Vec<Probe> =
        (1..60).map(|i| probe(&place("p0"), &format!("10.1.0.{}", i + 1), Protocol::TCP, 80)).collect();
    let outcomes = probe_all(&lab, &probes, Duration::from_secs(3), &no_evidence()).unwrap();
    assert!(outcomes.iter().all(|outcome| *outcome == Outcome::Answered), "{outcomes:?}");
    drop(lab);
    assert!(!file.exists(), "{name} is still there");
}

#[test]
fn netns_the_next_lab_removes_what_a_dead_one_left() {
    if !may_run("netns_the_next_lab_removes_what_a_dead_one_left") {
        return;
    }
    let mut child = Command::new("true").spawn().unwrap();
    let dead = child.id();
    child.wait().unwrap();
    let name = format!("cfd-{dead}-0-left");
    assert!(Command::new("ip").args(["netns", "add", &name]).status().unwrap().success());
    drop(Lab::up(plan()).unwrap());
    assert!(!std::path::Path::new("/run/netns").join(&name).exists());
}

#[test]
fn netns_a_command_runs_in_its_pod_and_ends_with_the_lab() {
    if !may_run("netns_a_command_runs_in_its_pod_and_ends_with_the_lab") {
        return;
    }
    let mut plan = plan();
    plan.pods[0].command =
        Some(["sh", "-c", "ip -o addr; echo pid $$; exec sleep 1000"].map(str::to_owned).to_vec());
    let mut lab = Lab::up(plan).unwrap();
    let (output, lines) = std::sync::mpsc::sync_channel(100);
    lab.start_programs(output).unwrap();
    let mut seen = Vec::new();
    let pid = loop {
        let line = lines.recv_timeout(Duration::from_secs(10)).expect("the command prints").line;
        if let Some(pid) = line.strip_prefix("pid ") {
            break pid.to_owned();
        }
        seen.push(line);
    };
    assert!(seen.iter().any(|line| line.contains("10.0.0.1/32")), "{seen:?}");
    assert!(std::path::Path::new("/proc").join(&pid).exists());
    drop(lab);
    assert!(!std::path::Path::new("/proc").join(&pid).exists(), "the command outlived its lab");
}

#[test]
fn netns_a_pods_own_files_are_seen_and_changed_by_nobody_else() {
    if !may_run("netns_a_pods_own_files_are_seen_and_changed_by_nobody_else") {
        return;
    }
    let before = std::fs::read_to_string("/etc/hosts").unwrap();
    let mut plan = plan();
    plan.pods.iter_mut().for_each(|pod| pod.ports.clear());
    for name in ["a", "b"] {
        let pod = plan.pods.iter_mut().find(|pod| pod.name == name).unwrap();
        pod.files = vec![OwnFile { path: "/etc/hosts".into(), text: format!("192.0.2.1 of-{name}\n") }];
        let change = if name == "a" { "echo 192.0.2.2 pinned >> /etc/hosts;" } else { "sleep 0.2;" };
        pod.command = Some(["sh", "-c", &format!("{change} cat /etc/hosts")].map(str::to_owned).to_vec());
    }
    let command = ["cat", "/etc/hosts"].map(str::to_owned).to_vec();
    plan.outside_programs.push(OutsideProgram { command, ..OutsideProgram::default() });
    let mut lab = Lab::up(plan).unwrap();
    let (output, lines) = std::sync::mpsc::sync_channel(100);
    lab.start_programs(output).unwrap();
    let mut said = std::collections::BTreeMap::<String, String>::new();
    // The other end is gone once all three programs ended.
    for PodOutput { pod, line } in lines {
        *said.entry(pod).or_default() += &(line + "\n");
    }
    assert_eq!(said["test/a"], "192.0.2.1 of-a\n192.0.2.2 pinned\n");
    assert_eq!(said["test/b"], "192.0.2.1 of-b\n");
    assert_eq!(said["outside"], before);
    assert_eq!(std::fs::read_to_string("/etc/hosts").unwrap(), before);
}
