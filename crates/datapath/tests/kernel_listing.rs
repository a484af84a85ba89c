//! Other tools list rule sets: ours must not break them.

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
use std::process::Command;

/// A table with something in every set.
fn full() -> Tables {
    let mut tables = Tables::new(2);
    for (net, class) in [("10.0.0.0/8", 50), ("10.78.0.0/16", 51), ("fd00::/8", 50), ("fd78::/16", 51)] {
        tables.table.networks.insert(net.parse().unwrap(), ClassId(class));
    }
    // Named ports become listed ones; wide ranges become intervals.
    let listed = tables.row(
        deny(20),
        vec![cell(Protocol::TCP, 80, 80, allow(21)), cell(Protocol::TCP, 8080, 8090, allow(22))],
    );
    let wide = tables.row(deny(20), vec![cell(Protocol::UDP, 1000, 2000, allow(23))]);
    for pod in 0..2 {
        for lane in [tables.table.slots[pod].egress.clone(), tables.table.slots[pod].ingress.clone()] {
            assert!(lane.rows.is_empty());
        }
        tables.egress(pod).rows.insert(ClassId(51), wide);
        tables.egress(pod).rows.insert(class(1), listed);
        tables.ingress(pod).rows.insert(class(0), listed);
        tables.ingress(pod).otherwise = wide;
    }
    tables
}

#[test]
fn kernel_program_can_be_listed_by_nft() {
    if !privileged() {
        return;
    }
    if Command::new("nft").arg("--version").output().is_err() {
        eprintln!("SKIPPED: nft is not installed");
        return;
    }
    let mut lab = Lab::new(2);
    lab.serve(1, 80);
    for rejudge in [true, false] {
        let config = Config { guard: vec!["cfv".to_owned()], rejudge, ..Config::default() };
        let mut datapath = lab.datapath(config);
        let _ = datapath.apply(&full().table).unwrap();
        for to in [v4(1), v6(1)] {
            assert!(tcp(&lab.pods[0], to, 80));
            assert!(!tcp(&lab.pods[0], to, 81), "so that something was logged and counted");
        }
        for command in ["nft list ruleset", "nft -a list table inet cofferdam", "nft -j list ruleset"] {
            let listed = lab.node.must(command);
            for name in
                ["cofferdam_guard", "overtaken", "a_pair6_host", "b_ingress4_net", "networks6_b", "recent6"]
            {
                let in_table = name != "cofferdam_guard" || command.ends_with("ruleset");
                assert_eq!(listed.contains(name), in_table, "{command}: {name}");
            }
        }
        datapath.uninstall().unwrap();
    }
}
