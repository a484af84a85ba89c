//! Real packets between namespaces: what the table allows passes, what it denies does not.

#![allow(
    clippy::unwrap_used,
    clippy::indexing_slicing,
    clippy::panic,
    clippy::print_stderr,
    clippy::cast_possible_truncation,
    reason = "in a test a panic is the failure report"
)]

use crate::support::*;
use datapath::{Config, Datapath};
use policy::Protocol;
use policy::table::ClassId;

/// Pod 1 accepts TCP and UDP 80 from pod 0 only.
fn only_80_from_pod_0() -> Tables {
    let mut tables = Tables::new(3);
    let closed = tables.row(deny(20), vec![]);
    let open = tables
        .row(deny(20), vec![cell(Protocol::TCP, 80, 80, allow(21)), cell(Protocol::UDP, 80, 80, allow(22))]);
    tables.ingress(1).otherwise = closed;
    tables.ingress(1).rows.insert(class(0), open);
    tables
}

#[test]
fn kernel_allows_and_denies_tcp_and_udp_over_ipv4_and_ipv6() {
    if !privileged() {
        return;
    }
    let mut lab = Lab::new(3);
    lab.serve(1, 80);
    lab.serve(1, 81);
    for to in [v4(1), v6(1)] {
        assert!(tcp(&lab.pods[2], to, 80), "the lab itself works");
    }
    let mut datapath = lab.datapath(Config::default());
    let applied = datapath.apply(&only_80_from_pod_0().table).unwrap();
    eprintln!("{applied:?}");
    for to in [v4(1), v6(1)] {
        assert!(tcp(&lab.pods[0], to, 80));
        assert!(udp(&lab.pods[0], to, 80, 10));
        assert!(!tcp(&lab.pods[0], to, 81));
        assert!(!udp(&lab.pods[0], to, 81, 10));
        assert!(!tcp(&lab.pods[2], to, 80));
        assert!(!udp(&lab.pods[2], to, 80, 10));
        assert!(tcp(&lab.node, to, 81), "the own node is always allowed");
    }
    let again = datapath.apply(&only_80_from_pod_0().table).unwrap();
    assert!(!again.changed);
    let counters = datapath.counters().unwrap();
    eprintln!("{counters:?}");
    assert_eq!(counters.get(&policy::RuleId(21)), Some(&2));
    assert_eq!(counters.get(&policy::RuleId(22)), Some(&2));
    datapath.uninstall().unwrap();
    assert!(tcp(&lab.pods[2], v4(1), 80));
}

#[test]
fn kernel_judges_egress_by_host_before_network_and_by_the_longest_prefix() {
    if !privileged() {
        return;
    }
    let mut lab = Lab::new(3);
    lab.serve(1, 80);
    lab.serve(2, 80);
    let mut tables = Tables::new(1);
    // Pods 1 and 2 are outside: networks only.
    for (net, class) in [("10.77.0.0/16", 50), ("10.77.2.0/24", 51), ("fd77::/16", 50), ("fd77:2::/32", 51)] {
        tables.table.networks.insert(net.parse().unwrap(), ClassId(class));
    }
    let denied = tables.row(deny(30), vec![cell(Protocol::TCP, 1, 60000, deny(32))]);
    let allowed = tables.row(allow(31), vec![]);
    tables.egress(0).otherwise = denied;
    tables.egress(0).rows.insert(ClassId(51), allowed);
    let mut datapath = lab.datapath(Config::default());
    let _ = datapath.apply(&tables.table).unwrap();
    for (one, two) in [(v4(1), v4(2)), (v6(1), v6(2))] {
        assert!(!tcp(&lab.pods[0], one, 80));
        assert!(tcp(&lab.pods[0], two, 80));
        tables.table.hosts = [(one, ClassId(51)), (two, ClassId(50))].into();
        let _ = datapath.apply(&tables.table).unwrap();
        assert!(tcp(&lab.pods[0], one, 80));
        assert!(!tcp(&lab.pods[0], two, 80), "a host goes before its network");
        tables.table.hosts.clear();
        let _ = datapath.apply(&tables.table).unwrap();
    }
}
