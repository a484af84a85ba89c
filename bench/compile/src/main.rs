//! Prints, as JSON, what one shape of cluster costs: `bench-compile namespaces` or `bench-compile policies`.
//!
//! Measured: `Cluster::load` (a policy set in memory to resolved subjects and peers), the tables of all nodes, one
//! node's table, events, one verdict by `Table::judge`, the same with its rule written out, the walk through all tiers by
//! the reference evaluator, and the peak resident size of this process, the policy set itself included. Not measured:
//! reading YAML and `compiler::compile`.
//! One shape a process, because a peak never falls.

mod shape;

use anyhow::{Context, Result};
use clap::{Parser, ValueEnum};
use compiler::engine::{Engine, Event};
use compiler::lower::{Cluster, Placement, Scope};
use policy::table::Table;
use policy::{Access, Endpoint, PolicySet, Protocol};
use serde_json::{Value, json};
use std::hint::black_box;
use std::net::IpAddr;
use std::time::Instant;

/// Measure what it costs to compile a policy set of a published size, to change it, and to judge by it
///
/// One JSON object goes to standard output. One shape a process, because peak memory never falls.
#[derive(Parser, Debug)]
#[command(after_help = "Example:
  cargo run --release -p bench-compile -- namespaces > compile-namespaces.json")]
struct Args {
    /// What the cluster looks like
    shape: Shape,
}

#[derive(ValueEnum, Clone, Copy, Debug)]
enum Shape {
    /// 25,000 namespaces of 4 pods and 3 policies each, on 1,000 nodes
    Namespaces,
    /// One namespace of 10,000 pods on 100 nodes, each selected by 10,000 policies
    Policies,
}

fn main() -> Result<()> {
    let (name, set) = match Args::parse().shape {
        Shape::Namespaces => ("namespaces", shape::namespaces()),
        Shape::Policies => ("policies", shape::policies()),
    };
    let before_mib = peak_mib()?;
    let start = Instant::now();
    let cluster = Cluster::load(&set);
    let load_ms = millis(start);
    let nodes: Vec<String> = set.world.nodes.keys().map(ToString::to_string).collect();
    let mut each = Vec::new();
    for node in &nodes {
        let one = Instant::now();
        let _ = black_box(cluster.lower(Scope::Node(node), &Placement::new())?);
        each.push(millis(one));
    }
    let start = Instant::now();
    let mut last = None;
    cluster.lower_each(nodes.iter().map(String::as_str), &Placement::new(), |table, _| last = Some(table))?;
    let all_nodes_ms = millis(start);
    let table = last.context("a shape has nodes")?;
    each.sort_by(f64::total_cmp);
    let report = json!({
        "shape": name,
        "namespaces": set.world.namespaces.len(),
        "pods": set.world.pods.len(),
        "policies": set.policies.len(),
        "nodes": nodes.len(),
        "load_ms": load_ms,
        "all_nodes_ms": all_nodes_ms,
        "one_node_ms": {"p50": at(&each, 50), "p99": at(&each, 99), "max": at(&each, 100)},
        "policy_set_peak_mib": before_mib,
        "peak_mib": peak_mib()?,
        "last_table": {"slots": table.slots.len(), "rows": table.rows.len(), "hosts": table.hosts.len(),
            "cells": table.rows.iter().map(|row| row.cells.len()).sum::<usize>()},
        "verdict_ns": verdict_ns(&set, &table),
        "event_ms": events(&set)?,
        "reference_explanation_us": reference_us(&set),
        "machine": bench_machine::describe(),
    });
    #[expect(clippy::print_stdout, reason = "the report is the output of this program")]
    {
        println!("{report:#}");
    }
    Ok(())
}

/// Pods that change their label, and policies that go and come back: from the event to the new table of one node it
/// concerns, and to those of all of them.
fn events(set: &PolicySet) -> Result<Value> {
    let mut engine = Engine::load(set);
    let (mut one_node, mut all_nodes) = (Vec::new(), Vec::new());
    let mut tables = 0;
    for number in 0..500_usize {
        let pod = set.world.pods.get(number * 7919 % set.world.pods.len()).context("a shape has pods")?;
        let policy = set.policies.get(number * 7919 % set.policies.len()).context("a shape has policies")?;
        let mut moved = policy::Pod::clone(pod);
        moved.labels = policy::Labels::from_iter([("app", format!("app-{}", number % 4))]);
        let back = Event::Policy { policy: Box::new(policy.clone()), rules: set.rules.clone() };
        for event in [Event::Pod(moved.into()), Event::PolicyRemoved(policy.object.clone()), back] {
            let start = Instant::now();
            let nodes = engine.apply(event, set.generation);
            tables += nodes.len();
            let applied = millis(start);
            engine.lower_each(nodes.iter().map(AsRef::as_ref), &Placement::new(), |table, _| {
                let _ = black_box(table);
            })?;
            all_nodes.push(millis(start));
            for node in nodes.iter().take(10) {
                let one = Instant::now();
                let _ = black_box(engine.lower(Scope::Node(node), &Placement::new())?);
                one_node.push(applied + millis(one));
            }
        }
        if all_nodes.iter().sum::<f64>() > 20_000.0 {
            break;
        }
    }
    let spread = |mut times: Vec<f64>| {
        times.sort_by(f64::total_cmp);
        json!({"p50": at(&times, 50), "p99": at(&times, 99), "max": at(&times, 100)})
    };
    let events = all_nodes.len();
    Ok(
        json!({"events": events, "tables": tables, "one_node": spread(one_node), "all_nodes": spread(all_nodes)}),
    )
}

/// Pairs of addresses: local pods of the table's node, and pods anywhere.
fn pairs(set: &PolicySet, table: &Table) -> Vec<(IpAddr, IpAddr)> {
    let local: Vec<IpAddr> = table.endpoints.keys().copied().collect();
    let all = set.world.pods.iter().step_by(97).filter_map(|pod| pod.addresses.first().copied());
    local.iter().cycle().copied().zip(all).take(1000).collect()
}

/// Time of a verdict alone, and of a verdict with both deciding rules written out as a record shows them.
fn verdict_ns(set: &PolicySet, table: &Table) -> Value {
    let pairs = pairs(set, table);
    let timed = |judge: &dyn Fn(IpAddr, IpAddr, u16)| {
        let start = Instant::now();
        let mut judged = 0_u32;
        for round in 0..200_u16 {
            for (from, to) in &pairs {
                judge(*from, *to, 1000 + round);
                judged += 1;
            }
        }
        start.elapsed().as_secs_f64() * 1e9 / f64::from(judged.max(1))
    };
    let alone = timed(&|from, to, port| {
        let _ = black_box(table.judge(from, to, Protocol::TCP, port));
    });
    let explained = timed(&|from, to, port| {
        let found = table.judge(from, to, Protocol::TCP, port);
        for ruling in [found.egress, found.ingress].into_iter().flatten() {
            black_box(table.rules.get(ruling.rule.0 as usize).map(ToString::to_string));
        }
    });
    json!({"alone": alone, "explained": explained})
}

fn reference_us(set: &PolicySet) -> f64 {
    let pods = || set.world.pods.iter().map(|pod| Endpoint::pod(&set.world, pod));
    let accesses = pods().zip(pods().skip(1)).step_by(1009).take(50);
    let start = Instant::now();
    let mut judged = 0_u32;
    for (from, to) in accesses {
        let _ = black_box(policy::decide(set, &Access { from, to, protocol: Protocol::TCP, port: 80 }));
        judged += 1;
    }
    start.elapsed().as_secs_f64() * 1e6 / f64::from(judged.max(1))
}

fn millis(since: Instant) -> f64 {
    since.elapsed().as_secs_f64() * 1e3
}

fn at(sorted: &[f64], percent: usize) -> Option<f64> {
    sorted.get((sorted.len() * percent / 100).min(sorted.len().saturating_sub(1))).copied()
}

fn peak_mib() -> Result<u64> {
    let status = std::fs::read_to_string("/proc/self/status")?;
    let line = status.lines().find_map(|line| line.strip_prefix("VmHWM:")).context("no VmHWM")?;
    Ok(line.trim().trim_end_matches("kB").trim().parse::<u64>()? / 1024)
}
