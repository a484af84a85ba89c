//! Measures two pods on one node under each row of [`rows`], interleaved: `bench-packets [--quick] [--svg FILE]`.
//!
//! Enters: nothing but the machine, as root. Leaves: raw samples as JSON on standard output, a table and progress on
//! standard error. Every row is measured once per round, in an order that turns with the round; samples are compared
//! with plain conntrack of the same round, so that a machine that gets slower or faster in between hits both.
//! Every namespace is removed at the end, also after an error.

mod changes;
mod load;
mod report;
mod rows;

use anyhow::{Result, bail};
use lab::{Lab, NodePlan, Place, Plan, PodPlan};
use rows::Row;
use serde_json::json;
use std::io::Write;
use std::net::{IpAddr, Ipv4Addr};

/// The pod that asks, the pod that answers, and their node.
const CLIENT: Ipv4Addr = Ipv4Addr::new(10, 9, 1, 1);
const SERVER: Ipv4Addr = Ipv4Addr::new(10, 9, 1, 2);
const NODE: Ipv4Addr = Ipv4Addr::new(172, 31, 0, 1);

fn main() -> Result<()> {
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    let quick = arguments.iter().any(|argument| argument == "--quick");
    let svg = arguments.iter().position(|argument| argument == "--svg").and_then(|at| arguments.get(at + 1));
    if let lab::privilege::Privilege::None { why } = lab::privilege::enter() {
        bail!("packets can only be measured between network namespaces, and {why}; run it as root");
    }
    let (rounds, size) = if quick { (3, load::Size::QUICK) } else { (11, load::Size::FULL) };
    let lab = Lab::up(plan())?;
    lab.run(&pod("server"), load::serve)??;
    let mut all = Row::all()?;
    let mut samples = Vec::new();
    for round in 0..rounds {
        let turn = round % all.len();
        let (late, early) = all.split_at_mut(turn);
        for row in early.iter_mut().chain(late) {
            say(&format!("round {} of {rounds}: {}", round + 1, row.name));
            let in_force = row.put_in_force(&lab)?;
            let sample = lab.run(&pod("client"), move || load::measure(size))??;
            let is_closed = lab.run(&pod("client"), load::is_closed)?;
            if row.is_enforced() && !is_closed {
                bail!("{}: a port that no rule allows is open, so this measured something else", row.name);
            }
            in_force.remove()?;
            samples.push((round, row.name.clone(), sample));
        }
    }
    let changes = changes::measure(&lab, if quick { 3 } else { 15 }, say)?;
    drop(lab);
    let report = json!({
        "what": "two pods on one node, per row and round; times in seconds, processor time of the whole machine",
        "machine": bench_machine::describe(),
        "size": size.to_json(),
        "rounds": rounds,
        "samples": samples.iter().map(|(round, row, sample)| sample.to_json(*round, row)).collect::<Vec<_>>(),
        "changes_of_10000_rules": &changes,
    });
    let mut out = std::io::stdout();
    writeln!(out, "{report:#}")?;
    writeln!(std::io::stderr(), "{}", report::table(&samples, &changes))?;
    if let Some(path) = svg {
        std::fs::write(path, report::svg(&samples))?;
    }
    Ok(())
}

fn say(what: &str) {
    let _ = writeln!(std::io::stderr(), "{what}");
}

fn pod(name: &str) -> Place {
    Place::Pod("bench".into(), name.into())
}

fn plan() -> Plan {
    let pod = |name: &str, address: Ipv4Addr| PodPlan {
        namespace: "bench".into(),
        name: name.into(),
        node: "node".into(),
        addresses: vec![IpAddr::V4(address)],
        ports: Vec::new(),
        host_network: false,
        command: None,
        env: Vec::new(),
        directory: None,
    };
    Plan {
        nodes: vec![NodePlan { name: "node".into(), addresses: vec![IpAddr::V4(NODE)] }],
        pods: vec![pod("client", CLIENT), pod("server", SERVER)],
        outside: Vec::new(),
    }
}
