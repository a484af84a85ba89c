//! Measures two pods on one node under each row of [`rows`], interleaved: `bench-packets [--quick] [--svg FILE]`.
//!
//! Enters: nothing but the machine, as root. Leaves: raw samples as JSON on standard output, a table and progress on
//! standard error. Every row is measured once per round, in an order drawn anew; samples are compared with plain
//! conntrack of the same round, so that a machine that gets slower or faster in between hits both.
//! Every namespace is removed at the end, also after an error; what a signal leaves is removed by the next lab.

mod changes;
mod load;
mod report;
mod rows;

use anyhow::{Context, Result, bail};
use clap::Parser;
use lab::{Lab, NodePlan, Place, Plan, PodPlan};
use rows::Row;
use serde_json::json;
use std::io::Write;
use std::net::{IpAddr, Ipv4Addr};
use std::path::PathBuf;

/// The pod that asks, the pod that answers, and their node.
const CLIENT: Ipv4Addr = Ipv4Addr::new(10, 9, 1, 1);
const SERVER: Ipv4Addr = Ipv4Addr::new(10, 9, 1, 2);
const NODE: Ipv4Addr = Ipv4Addr::new(172, 31, 0, 1);

/// Measure what enforcement costs packets between two pods, beside no policy, plain conntrack and linear chains
///
/// Needs root, or a kernel that allows user namespaces. Raw samples go to standard output as JSON, a table and progress to standard error.
#[derive(Parser, Debug)]
#[command(after_help = "Example:
  cargo build --release -p bench-packets && sudo target/release/bench-packets --quick --svg packets.svg > packets.json")]
struct Args {
    /// Three small rounds instead of nine, to see that it works
    #[arg(long)]
    quick: bool,
    /// Where a chart of processor time per new connection is written
    #[arg(long, value_name = "FILE")]
    svg: Option<PathBuf>,
}

fn main() -> Result<()> {
    let Args { quick, svg } = Args::parse();
    if let lab::privilege::Privilege::None { why } = lab::privilege::enter() {
        bail!("packets can only be measured between network namespaces, and {why}; run it as root");
    }
    let (rounds, size) = if quick { (3, load::Size::QUICK) } else { (9, load::Size::FULL) };
    let lab = Lab::up(plan())?;
    lab.run(&pod("server"), load::serve)??;
    let mut all = Row::all()?;
    let mut samples = Vec::new();
    let mut dice = bench_machine::Dice(1);
    for round in 0..rounds {
        // Nobody is always measured after the same neighbour, whose leftovers may still be cleaned up.
        dice.shuffle(&mut all);
        for row in &all {
            say(&format!("round {} of {rounds}: {}", round + 1, row.name));
            let in_force = row.put_in_force(&lab)?;
            if row.is_enforced() && !lab.run(&pod("client"), load::is_closed)? {
                bail!(
                    "{}: a port that no rule allows is open, so this would measure something else",
                    row.name
                );
            }
            let node = lab.namespace(&node()).context("the node")?.to_owned();
            let sample = lab.run(&pod("client"), move || load::measure(size, &node))??;
            in_force.remove()?;
            samples.push((round, row.name.clone(), sample));
        }
    }
    let changes = changes::measure(&lab, if quick { 3 } else { 21 }, say)?;
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
    if !report::chains_were_walked(&samples) {
        bail!(
            "10,000 linear rules cost no more than 10: the chain was not walked, and this run says nothing"
        );
    }
    Ok(())
}

fn say(what: &str) {
    let _ = writeln!(std::io::stderr(), "{what}");
}

fn node() -> Place {
    Place::Node("node".into())
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
        files: Vec::new(),
    };
    Plan {
        nodes: vec![NodePlan { name: "node".into(), addresses: vec![IpAddr::V4(NODE)] }],
        pods: vec![pod("client", CLIENT), pod("server", SERVER)],
        ..Plan::default()
    }
}
