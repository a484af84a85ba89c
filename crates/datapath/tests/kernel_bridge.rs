//! Pods that hang on a bridge: judged where netfilter sees what the bridge forwards, told where it does not.

#![allow(
    clippy::unwrap_used,
    clippy::indexing_slicing,
    clippy::panic,
    clippy::print_stderr,
    clippy::cast_possible_truncation,
    reason = "in a test a panic is the failure report"
)]

use crate::support::*;
use datapath::{Config, Datapath, Paths};

/// The names of the settings that are missing, for pods of both families.
fn missing(lab: &Lab) -> Vec<String> {
    lab.node.inside(|| {
        let mut paths = Paths::open().unwrap();
        let mut of = |pod| paths.behind([pod].into_iter()).unwrap().bypass.map(|bypass| bypass.to_string());
        [v4(0), v6(0), v4(1)].into_iter().filter_map(&mut of).collect()
    })
}

#[test]
fn kernel_bridge_is_judged_when_netfilter_is_called_and_told_when_not() {
    if !privileged() {
        return;
    }
    if !bridges_are_seen() {
        return;
    }
    let mut lab = Lab::new(2);
    lab.serve(0, 80);
    lab.serve(1, 80);
    let mut datapath = lab.datapath(Config { guard: vec!["cni0".to_owned()], ..Config::default() });
    let mut tables = Tables::new(2);
    let closed = tables.row(deny(7), vec![]);
    tables.ingress(1).otherwise = closed;
    assert_eq!(missing(&lab), Vec::<String>::new(), "there is no bridge");
    lab.bridge();
    let set = |four, six| {
        lab.node.must(&format!(
            "sysctl -qw net.bridge.bridge-nf-call-iptables={four} net.bridge.bridge-nf-call-ip6tables={six}"
        ));
    };
    set(0, 0);
    let _ = datapath.apply(&tables.table).unwrap();
    assert!(tcp(&lab.pods[0], v4(1), 80), "nobody sees what the bridge forwards");
    let told = missing(&lab);
    assert_eq!(told.len(), 3, "{told:?}");
    assert!(told[0].contains("bridge cni0") && told[0].contains("bridge-nf-call-iptables"), "{told:?}");
    assert!(told[1].contains("bridge-nf-call-ip6tables"), "{told:?}");
    set(1, 0);
    assert_eq!(missing(&lab).len(), 1);
    set(1, 1);
    assert_eq!(missing(&lab), Vec::<String>::new());
    for to in [v4(1), v6(1)] {
        assert!(!tcp(&lab.pods[0], to, 80), "{to}");
        assert!(tcp(&lab.node, to, 80), "the node reaches its own pods");
    }
    for to in [v4(0), v6(0)] {
        assert!(tcp(&lab.pods[1], to, 80), "{to} passes rules and guard");
    }
    let _ = datapath.apply(&Tables::new(1).table).unwrap();
    assert!(
        !tcp(&lab.pods[1], v4(0), 80),
        "a pod that nobody manages is closed, by the bridge it comes in by"
    );
}
