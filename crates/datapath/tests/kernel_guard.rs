//! The guard: pods nobody manages are closed.

#![allow(
    clippy::unwrap_used,
    clippy::indexing_slicing,
    clippy::panic,
    clippy::print_stderr,
    clippy::cast_possible_truncation,
    reason = "in a test a panic is the failure report"
)]

use crate::support::packet::{Sender, opening};
use crate::support::*;
use datapath::{Config, Datapath, Event, EventSource, Tag};
use policy::{Protocol, RuleId};

#[test]
fn kernel_guard_closes_pods_that_are_not_managed_and_sources_nobody_has() {
    if !privileged() {
        return;
    }
    let mut lab = Lab::new(3);
    lab.serve(1, 80);
    lab.serve(2, 80);
    let config = Config { guard: vec!["cfv".to_owned()], ..Config::default() };
    let group = config.log_group;
    let mut source = lab.node.inside(move || EventSource::open(group).unwrap());
    let mut datapath = lab.datapath(config.clone());
    // Pod 2 is not managed.
    let _ = datapath.apply(&Tables::new(2).table).unwrap();
    for (managed, unmanaged, node) in [(v4(1), v4(2), node4(0)), (v6(1), v6(2), node6(0))] {
        assert!(tcp(&lab.pods[0], managed, 80));
        assert!(!tcp(&lab.pods[0], unmanaged, 80));
        assert!(!tcp(&lab.pods[2], managed, 80));
        assert!(!udp(&lab.pods[2], node, 80, 10));
        assert!(tcp(&lab.node, managed, 80));
    }
    // A managed pod with a source address of its own invention.
    let spoofed = "10.99.9.9".parse().unwrap();
    lab.pods[0].inside(move || {
        Sender::new().send(v4(1), &opening(spoofed, v4(1), Protocol::UDP, 1, 80));
    });
    let mut events = vec![];
    for (from, to) in [(v4(0), v4(2)), (v4(2), v4(1)), (v6(2), v6(1)), (spoofed, v4(1))] {
        assert!(
            eventually(|| {
                source.read(&mut events).unwrap();
                events.iter().any(|event| {
                    matches!(event, Event::Denied { flow, judged }
                    if (flow.from, flow.to) == (from, to)
                        && judged.ruling == deny(RuleId::UNMANAGED.0)
                        && judged.tag == Tag::NONE)
                })
            }),
            "{from} {to} {events:?}"
        );
    }
    drop(datapath);
    let mut datapath = lab.datapath(config);
    let _ = datapath.apply(&Tables::new(3).table).unwrap();
    assert!(tcp(&lab.pods[2], v4(1), 80) && tcp(&lab.pods[0], v6(2), 80));
    // One pod with the address of another: what that one may do is not for this one.
    lab.pods[0].inside(move || {
        let sender = Sender::new();
        for (from, to) in [(v4(2), v4(1)), (v6(2), v6(1)), (v4(1), node4(0))] {
            sender.send(to, &opening(from, to, Protocol::UDP, 7, 81));
        }
    });
    let mut events = vec![];
    for (from, to) in [(v4(2), v4(1)), (v6(2), v6(1)), (v4(1), node4(0))] {
        let is_it = |event: &Event| {
            matches!(event, Event::Denied { flow, judged }
                if (flow.from, flow.to) == (from, to) && judged.ruling == deny(RuleId::UNMANAGED.0))
        };
        assert!(
            eventually(|| {
                source.read(&mut events).unwrap();
                events.iter().any(is_it)
            }),
            "{from} {to} {events:?}"
        );
    }
    let _ = datapath.apply(&Tables::new(2).table).unwrap();
    assert!(!tcp(&lab.pods[2], v4(1), 80));
    datapath.uninstall().unwrap();
    assert!(tcp(&lab.pods[2], v4(1), 80));
}
