//! Live connections, their records, and what survives the process.

#![allow(
    clippy::unwrap_used,
    clippy::indexing_slicing,
    clippy::panic,
    clippy::print_stderr,
    clippy::print_stdout,
    clippy::cast_possible_truncation,
    reason = "in a test a panic is the failure report"
)]

use crate::support::*;
use datapath::{Config, Datapath, Event, EventSource};
use policy::table::Table;
use policy::{ObjectRef, Protocol, Reason, RuleEntry, RuleId};
use std::io::{Read, Write};
use std::net::{IpAddr, SocketAddr, TcpStream};
use std::os::unix::process::CommandExt;
use std::process::Command;

/// Pod 1 accepts TCP 80 from pod 0 by rule `rule`, TCP 81 too if `both`.
fn table(rule: u32, both: bool) -> Table {
    let mut tables = Tables::new(2);
    let mut cells = vec![cell(Protocol::TCP, 80, 80, allow(rule))];
    if both {
        cells.push(cell(Protocol::TCP, 81, 81, allow(22)));
    }
    let row = tables.row(deny(20), cells);
    tables.ingress(1).otherwise = row;
    tables.table
}

fn connect(from: &Namespace, to: IpAddr, port: u16) -> TcpStream {
    from.inside(move || TcpStream::connect_timeout(&SocketAddr::new(to, port), SILENCE).unwrap())
}

/// Reads events until one matches.
fn find(source: &mut EventSource, seen: &mut Vec<Event>, wanted: impl Fn(&Event) -> bool) -> Event {
    assert!(
        eventually(|| {
            source.read(seen).unwrap();
            seen.iter().any(&wanted)
        }),
        "{seen:#?}"
    );
    *seen.iter().find(|event| wanted(event)).unwrap()
}

#[test]
fn kernel_cuts_live_connections_that_a_new_table_denies_and_keeps_the_others() {
    if !privileged() {
        return;
    }
    let mut lab = Lab::new(2);
    lab.serve(1, 80);
    lab.serve(1, 81);
    let mut datapath = lab.datapath(Config::default());
    let group = Config::default().log_group;
    let mut source = lab.node.inside(move || EventSource::open(group).unwrap());
    for to in [v4(1), v6(1)] {
        let _ = datapath.apply(&table(21, true)).unwrap();
        let mut kept = connect(&lab.pods[0], to, 80);
        let mut cut = connect(&lab.pods[0], to, 81);
        assert!(echoes(&mut kept) && echoes(&mut cut));
        let applied = datapath.apply(&table(23, false)).unwrap();
        assert!(echoes(&mut kept));
        assert!(!echoes(&mut cut));
        let mut seen = vec![];
        let denied = find(
            &mut source,
            &mut seen,
            |event| matches!(event, Event::Denied { flow, judged } if flow.to == to && judged.tag == applied.tag),
        );
        let Event::Denied { flow, judged } = denied else { unreachable!() };
        assert_eq!((flow.to_port, judged.ruling), (81, deny(20)));
        let back = datapath.apply(&table(21, true)).unwrap();
        assert!(back.changed);
        assert!(eventually(|| echoes(&mut cut)), "allowed again, the connection goes on");
    }
}

#[test]
fn kernel_leaves_live_connections_alone_when_rejudging_is_off() {
    if !privileged() {
        return;
    }
    let mut lab = Lab::new(2);
    lab.serve(1, 81);
    let mut datapath = lab.datapath(Config { rejudge: false, ..Config::default() });
    let _ = datapath.apply(&table(21, true)).unwrap();
    let mut open = connect(&lab.pods[0], v4(1), 81);
    assert!(echoes(&mut open));
    let _ = datapath.apply(&table(21, false)).unwrap();
    assert!(echoes(&mut open));
    assert!(!tcp(&lab.pods[0], v4(1), 81), "new ones are judged by the new table");
}

#[test]
fn kernel_reports_opening_and_end_with_rule_and_bytes_and_every_denial() {
    if !privileged() {
        return;
    }
    let mut lab = Lab::new(2);
    lab.serve(1, 80);
    let mut datapath = lab.datapath(Config::default());
    let group = Config::default().log_group;
    let mut source = lab.node.inside(move || EventSource::open(group).unwrap());
    let applied = datapath.apply(&table(21, false)).unwrap();
    for (from, to) in [(v4(0), v4(1)), (v6(0), v6(1))] {
        let mut stream = connect(&lab.pods[0], to, 80);
        assert!(echoes(&mut stream));
        let mut back = vec![0; 10_000];
        stream.write_all(&back).unwrap();
        stream.read_exact(&mut back).unwrap();
        drop(stream);
        assert!(!tcp(&lab.pods[0], to, 82));
        assert!(!udp(&lab.pods[0], to, 80, 10));
        let mut seen = vec![];
        let opened = find(
            &mut source,
            &mut seen,
            |event| matches!(event, Event::Opened { flow, .. } if flow.to == to),
        );
        let Event::Opened { flow, id, judged } = opened else { unreachable!() };
        assert_eq!((flow.from, flow.to_port, flow.protocol), (from, 80, Protocol::TCP));
        assert_eq!((judged.tag, judged.ruling), (applied.tag, allow(21)));
        for (port, protocol) in [(82, Protocol::TCP), (80, Protocol::UDP)] {
            let denied = find(&mut source, &mut seen, |event| {
                matches!(event, Event::Denied { flow, .. }
                    if flow.to == to && flow.to_port == port && flow.protocol == protocol)
            });
            let Event::Denied { flow, judged } = denied else { unreachable!() };
            assert_eq!((flow.from, judged.tag, judged.ruling), (from, applied.tag, deny(20)));
        }
        // The kernel forgets a closed connection minutes later; this is the same, now.
        lab.node.must("conntrack -F");
        let closed =
            find(&mut source, &mut seen, |event| matches!(event, Event::Closed(ended) if ended.id == id));
        let Event::Closed(ended) = closed else { unreachable!() };
        assert_eq!((ended.flow, ended.judged.ruling), (flow, allow(21)));
        assert!(ended.sent.bytes > 10_000 && ended.sent.packets > 3, "{ended:?}");
        assert!(ended.received.bytes > 10_000, "{ended:?}");
        assert!(!seen.iter().any(|event| matches!(event, Event::Lost(_))));
    }
}

#[test]
fn kernel_logs_a_flood_of_one_denied_tuple_once_and_counts_the_rest() {
    if !privileged() {
        return;
    }
    let lab = Lab::new(2);
    let mut datapath = lab.datapath(Config { quiet_ms: 60_000, ..Config::default() });
    let group = Config::default().log_group;
    let mut source = lab.node.inside(move || EventSource::open(group).unwrap());
    let _ = datapath.apply(&table(21, false)).unwrap();
    lab.pods[0].inside(|| {
        for to in [v4(1), v6(1)] {
            let any = if to.is_ipv4() { "0.0.0.0:0" } else { "[::]:0" };
            let socket = std::net::UdpSocket::bind(any).unwrap();
            for _ in 0..500 {
                socket.send_to(&[1; 10], (to, 9)).unwrap();
            }
        }
    });
    let mut seen = vec![];
    for to in [v4(1), v6(1)] {
        find(&mut source, &mut seen, |event| matches!(event, Event::Denied { flow, .. } if flow.to == to));
    }
    assert_eq!(seen.iter().filter(|event| matches!(event, Event::Denied { .. })).count(), 2, "{seen:?}");
    let suppressed = datapath.suppressed().unwrap();
    for (from, to) in [(v4(0), v4(1)), (v6(0), v6(1))] {
        let tuple = suppressed.iter().find(|tuple| tuple.from == from && tuple.to == to).unwrap();
        assert_eq!((tuple.protocol, tuple.port, tuple.packets), (17, 9, 499));
    }
    assert_eq!(datapath.counters().unwrap().get(&RuleId(20)), Some(&1000));
}

/// Somebody who fills the kernel's memory of denied tuples could go on unseen otherwise.
#[test]
fn kernel_logs_denials_of_more_tuples_than_it_remembers_and_counts_what_it_does_not_log() {
    if !privileged() {
        return;
    }
    let lab = Lab::new(2);
    let mut datapath = lab.datapath(Config { quiet_tuples: 16, ..Config::default() });
    let group = Config::default().log_group;
    let mut source = lab.node.inside(move || EventSource::open(group).unwrap());
    let _ = datapath.apply(&table(21, false)).unwrap();
    let mut sent = 0;
    for (to, ports) in [(v4(1), 1000..1300), (v4(1), 2000..8000), (v6(1), 2000..8000)] {
        let few = ports.len() < 1000;
        sent += ports.len();
        lab.pods[0].inside(move || {
            let any = if to.is_ipv4() { "0.0.0.0:0" } else { "[::]:0" };
            let socket = std::net::UdpSocket::bind(any).unwrap();
            for port in ports {
                socket.send_to(&[1; 10], (to, port)).unwrap();
            }
        });
        let mut seen = vec![];
        let mut accounted = 0;
        assert!(
            eventually(|| {
                source.read(&mut seen).unwrap();
                let logged = seen.iter().filter(|event| matches!(event, Event::Denied { .. })).count();
                accounted += logged;
                seen.clear();
                accounted + usize::try_from(datapath.unrecorded().unwrap()).unwrap() == sent
            }),
            "{accounted} logged, {} only counted, {sent} sent",
            datapath.unrecorded().unwrap()
        );
        assert_eq!(datapath.unrecorded().unwrap() == 0, few, "a few more than it remembers are all logged");
        sent -= accounted;
    }
}

#[test]
fn kernel_keeps_enforcing_after_the_process_and_a_new_one_takes_over_what_is_there() {
    if !privileged() {
        return;
    }
    let mut lab = Lab::new(2);
    lab.serve(1, 80);
    lab.serve(1, 81);
    let mut datapath = lab.datapath(Config::default());
    let mut first = table(21, true);
    for net in ["10.0.0.0/8", "10.77.0.0/16", "fd00::/8"] {
        first.networks.insert(net.parse().unwrap(), policy::table::ClassId(7));
    }
    let mut wide = first.rows[1].clone();
    wide.cells.push(cell(Protocol::UDP, 1000, 2000, deny(40)));
    first.rows[1] = wide;
    let applied = datapath.apply(&first).unwrap();
    let mut open = connect(&lab.pods[0], v4(1), 81);
    assert!(echoes(&mut open));
    let judged = datapath.counters().unwrap();
    drop(datapath);
    assert!(!tcp(&lab.pods[0], v4(1), 82));
    assert!(echoes(&mut open));
    let mut datapath = lab.datapath(Config::default());
    assert_eq!(datapath.tag(), Some(applied.tag));
    let again = datapath.apply(&first).unwrap();
    assert!(!again.changed, "what is in force already is left alone");
    let counters = datapath.counters().unwrap();
    assert_eq!(counters.get(&RuleId(22)), judged.get(&RuleId(22)));
    let _ = datapath.apply(&table(21, false)).unwrap();
    assert!(!echoes(&mut open));
    drop(datapath);
    // Another hook priority is another table: replaced whole, in one step.
    let mut datapath = lab.datapath(Config { priority: -6, ..Config::default() });
    assert_eq!(datapath.tag(), None);
    let _ = datapath.apply(&table(21, true)).unwrap();
    assert!(tcp(&lab.pods[0], v4(1), 81) && !tcp(&lab.pods[0], v4(1), 82));
}

#[test]
fn kernel_tables_that_somebody_removed_come_back_with_the_next_apply() {
    if !privileged() {
        return;
    }
    let mut lab = Lab::new(2);
    lab.serve(1, 80);
    lab.serve(1, 81);
    let config = Config { guard: vec!["cfv".to_owned()], ..Config::default() };
    let mut datapath = lab.datapath(config);
    for turn in 0..2 {
        let _ = datapath.apply(&table(21, false)).unwrap();
        assert!(tcp(&lab.pods[0], v4(1), 80) && !tcp(&lab.pods[0], v4(1), 81));
        lab.node.must("nft flush ruleset");
        assert!(tcp(&lab.pods[0], v4(1), 81));
        // Whether it is the same table or another one.
        let again = datapath.apply(&table(21 + turn, false)).unwrap();
        assert!(again.changed);
        assert!(tcp(&lab.pods[0], v4(1), 80) && !tcp(&lab.pods[0], v4(1), 81));
        assert!(!datapath.apply(&table(21 + turn, false)).unwrap().changed);
        assert!(lab.node.must("nft list tables").contains("cofferdam_guard"));
    }
}

#[test]
fn kernel_new_tables_judge_connections_that_carry_their_tag_from_earlier_tables() {
    if !privileged() {
        return;
    }
    let mut lab = Lab::new(2);
    lab.serve(1, 81);
    for (to, flushed) in [(v4(1), true), (v6(1), true), (v4(1), false), (v6(1), false)] {
        let mut datapath = lab.datapath(Config::default());
        let tags = |datapath: &mut datapath::NftDatapath, last: Table| {
            let tables = [table(21, true), table(22, true), last];
            tables.map(|table| datapath.apply(&table).unwrap().tag)
        };
        let first = tags(&mut datapath, table(23, true));
        let mut open = connect(&lab.pods[0], to, 81);
        assert!(echoes(&mut open));
        drop(datapath);
        if flushed {
            lab.node.must("nft flush ruleset");
        }
        // Another priority makes the table of before a foreign one.
        let mut datapath = lab.datapath(Config { priority: -6, ..Config::default() });
        let second = tags(&mut datapath, table(23, false));
        assert_eq!(first == second, flushed, "after a flush the tag says nothing");
        assert!(!echoes(&mut open));
        datapath.uninstall().unwrap();
    }
}

#[test]
fn kernel_forgets_old_tags_of_idle_connections_before_they_come_again() {
    if !privileged() {
        return;
    }
    let mut lab = Lab::new(2);
    lab.serve(1, 80);
    let mut datapath = lab.datapath(Config::default());
    let _ = datapath.apply(&table(21, true)).unwrap();
    let mut idle = [connect(&lab.pods[0], v4(1), 80), connect(&lab.pods[0], v6(1), 80)];
    assert!(idle.iter_mut().all(echoes));
    let marks =
        |lab: &Lab| lab.node.must("conntrack -L -f ipv4 2>/dev/null; conntrack -L -f ipv6 2>/dev/null");
    assert_eq!(marks(&lab).matches("mark=4194325 ").count(), 2, "tag 1, rule 21");
    let mut applied = None;
    for turn in 0..255 {
        applied = Some(datapath.apply(&table(22 + turn % 2, true)).unwrap());
    }
    assert_eq!(applied.map(|applied| applied.tag.number()), Some(256));
    assert_eq!(marks(&lab).matches("mark=0 ").count(), 2, "{}", marks(&lab));
    assert!(idle.iter_mut().all(echoes), "judged again, they go on");
}

#[test]
fn kernel_counters_follow_rules_to_their_new_numbers() {
    if !privileged() {
        return;
    }
    let mut lab = Lab::new(2);
    lab.serve(1, 80);
    let mut datapath = lab.datapath(Config::default());
    let rules = |names: &[&str]| {
        let entry = |name: &&str| RuleEntry {
            reason: Reason::NetworkPolicyAllow,
            object: Some(ObjectRef {
                kind: "NetworkPolicy".into(),
                namespace: "a".into(),
                name: (*name).into(),
            }),
            direction: None,
            index: None,
            name: None,
            field: "".into(),
            source: None,
            upload: None,
            requests: None,
        };
        let built_in = policy::set::built_in_rules();
        std::sync::Arc::new(built_in.into_iter().chain(names.iter().map(entry)).collect::<Vec<_>>())
    };
    let mut first = table(16, false);
    first.rules = rules(&["web"]);
    let _ = datapath.apply(&first).unwrap();
    assert!(tcp(&lab.pods[0], v4(1), 80));
    let mut second = table(17, false);
    second.rules = rules(&["other", "web"]);
    let _ = datapath.apply(&second).unwrap();
    assert!(tcp(&lab.pods[0], v4(1), 80));
    assert_eq!(datapath.counters().unwrap().get(&RuleId(17)), Some(&2));
    assert_eq!(datapath.counters().unwrap().get(&RuleId(16)), None);
}

#[test]
fn kernel_probe_passes_here_and_changes_nothing() {
    if !privileged() {
        return;
    }
    let lab = Lab::new(0);
    let mut datapath = lab.datapath(Config::default());
    datapath.probe().unwrap();
    assert_eq!(lab.node.must("nft list ruleset"), "");
    let _ = datapath.apply(&table(21, true)).unwrap();
    let before = lab.node.must("nft list chains");
    datapath.probe().unwrap();
    assert_eq!(lab.node.must("nft list chains"), before);
}

#[test]
fn kernel_refusal_names_the_privilege_that_is_missing() {
    if std::env::var("COFFERDAM_UNPRIVILEGED").is_ok() {
        let error = datapath::NftDatapath::open(Config::default()).unwrap_err();
        println!("{error}");
        return;
    }
    if !privileged() {
        return;
    }
    let child = Command::new(std::env::current_exe().unwrap())
        .args([
            "--exact",
            "kernel_connections::kernel_refusal_names_the_privilege_that_is_missing",
            "--nocapture",
        ])
        .env("COFFERDAM_UNPRIVILEGED", "1")
        .uid(65534)
        .output();
    let Ok(output) = child else {
        eprintln!("SKIPPED: another user may not run this test");
        return;
    };
    let text = String::from_utf8_lossy(&output.stdout);
    assert!(text.contains("needs CAP_NET_ADMIN"), "{text}");
}
