//! The kernel against [`Table::judge`]: random small tables, random packets, the same verdict and the same rule.

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
use datapath::{Binding, Config, Datapath, Event, EventSource, Flow, Span};
use policy::table::{Cell, ClassId, Lane, Row, RowId, Ruling, Slot, SlotId, Table, TableVerdict};
use policy::{Protocol, Verdict};
use std::collections::{BTreeMap, HashMap, HashSet};
use std::net::IpAddr;
use std::sync::Arc;

/// A small linear congruential generator: reproducible, and random enough to mix cases.
struct Dice(u64);

impl Dice {
    fn below(&mut self, bound: usize) -> usize {
        self.0 = self.0.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
        usize::try_from((self.0 >> 33) % bound as u64).unwrap()
    }

    fn one<T: Copy>(&mut self, of: &[T]) -> T {
        of[self.below(of.len())]
    }

    fn ruling(&mut self) -> Ruling {
        let rule = 16 + u32::try_from(self.below(1 << 20)).unwrap();
        if self.below(2) == 0 { allow(rule) } else { deny(rule) }
    }
}

const PORTS: [u16; 12] = [1, 2, 79, 80, 81, 443, 1000, 1001, 32767, 32768, 65534, 65535];

fn row(dice: &mut Dice) -> Row {
    let mut cells = vec![];
    for protocol in Protocol::WITH_PORTS {
        let mut next = 0;
        for _ in 0..dice.below(4) {
            let (a, b) = (dice.one(&PORTS), dice.one(&PORTS));
            let (first, last) = (a.min(b).max(next), a.max(b));
            if first > last || next == u16::MAX {
                continue;
            }
            cells.push(Cell { protocol, first, last, ruling: dice.ruling() });
            next = last.saturating_add(1);
        }
    }
    cells.sort();
    Row { otherwise: dice.ruling(), cells }
}

fn lane(dice: &mut Dice, rows: usize) -> Lane {
    let row_id = |dice: &mut Dice| RowId(u32::try_from(dice.below(rows)).unwrap());
    let rows =
        (0..dice.below(5)).map(|_| (ClassId(u32::try_from(dice.below(6)).unwrap()), row_id(dice))).collect();
    Lane { rows, otherwise: row_id(dice) }
}

/// Pods 0 and 1 may be endpoints; behind pod 2 are the networks 10.78/16 and fd78/16.
fn table(dice: &mut Dice, addresses: &[IpAddr]) -> Table {
    let mut table = Tables::new(0).table;
    table.rows = (0..6).map(|_| row(dice)).collect();
    table.slots = (0..4).map(|_| Slot { egress: lane(dice, 6), ingress: lane(dice, 6) }).collect();
    for address in [v4(0), v6(0), v4(1), v6(1)] {
        if dice.below(5) > 0 {
            table.endpoints.insert(address, SlotId(u32::try_from(dice.below(4)).unwrap()));
        }
    }
    for address in addresses {
        if dice.below(3) == 0 {
            table.hosts.insert(*address, ClassId(u32::try_from(dice.below(6)).unwrap()));
        }
    }
    for net in [
        "0.0.0.0/0",
        "10.0.0.0/8",
        "10.77.0.0/16",
        "10.77.1.0/24",
        "10.78.0.0/16",
        "10.78.1.0/24",
        "10.78.1.1/32",
        "10.78.1.128/25",
        "::/0",
        "fd77::/16",
        "fd77:1::/32",
        "fd78::/16",
        "fd78:1::/64",
        "fd78:1::1/128",
    ] {
        if dice.below(2) == 0 {
            table.networks.insert(net.parse().unwrap(), ClassId(u32::try_from(dice.below(6)).unwrap()));
        }
    }
    for pod in 0..3 {
        table.own.extend([node4(pod), node6(pod)]);
    }
    for from in [v4(0), v6(0), v4(1), v6(1)] {
        for to in addresses.iter().filter(|to| to.is_ipv4() == from.is_ipv4()) {
            if dice.below(4) == 0 {
                table.bound.insert((from, *to), RowId(u32::try_from(dice.below(6)).unwrap()));
            }
            if dice.below(8) == 0 {
                // No packet here belongs to an open connection.
                table.past.insert((from, *to), RowId(u32::try_from(dice.below(6)).unwrap()));
            }
        }
    }
    table
}

/// The table with other bindings, and what leads from those to its own.
fn bound_later(dice: &mut Dice, table: &Table) -> (Table, Vec<Binding>) {
    let (mut before, mut bindings) = (table.clone(), vec![]);
    for ((from, to), row) in &table.bound {
        let row = Some(Arc::new(table.rows[row.0 as usize].clone()));
        match dice.below(3) {
            0 => drop(before.bound.remove(&(*from, *to))),
            1 => drop(before.bound.insert((*from, *to), RowId(u32::try_from(dice.below(6)).unwrap()))),
            _ => continue,
        }
        bindings.push(Binding { from: *from, to: *to, span: Span::Live, row });
    }
    for (from, to) in
        [(v4(0), "10.78.1.1"), (v6(0), "fd78:1::1")].map(|(from, to)| (from, to.parse().unwrap()))
    {
        if !table.bound.contains_key(&(from, to)) {
            before.bound.insert((from, to), RowId(0));
            bindings.push(Binding { from, to, span: Span::Live, row: None });
        }
    }
    (before, bindings)
}

/// What the kernel reports of a verdict: the egress denial, else ingress where the destination is local.
fn reported(verdict: TableVerdict) -> Option<Ruling> {
    match (verdict.egress, verdict.ingress) {
        (Some(egress), _) if egress.verdict == Verdict::Deny => Some(egress),
        (_, Some(ingress)) => Some(ingress),
        (egress, None) => egress,
    }
}

struct Probe {
    from_pod: usize,
    flow: Flow,
    expected: Option<Ruling>,
}

#[test]
fn kernel_gives_the_verdict_and_the_rule_of_the_table_for_random_tables_and_packets() {
    if !privileged() {
        return;
    }
    let rounds: u64 = std::env::var("COFFERDAM_ROUNDS").ok().and_then(|text| text.parse().ok()).unwrap_or(12);
    let lab = Lab::new(3);
    lab.node.must("ip route add 10.78.0.0/16 via 10.77.2.2; ip -6 route add fd78::/16 via fd77:2::2");
    let addresses: Vec<IpAddr> = [
        "10.77.0.2",
        "10.77.1.2",
        "10.77.2.2",
        "10.78.1.1",
        "10.78.1.2",
        "10.78.1.200",
        "10.78.2.1",
        "10.77.0.1",
        "fd77:0::2",
        "fd77:1::2",
        "fd77:2::2",
        "fd78:1::1",
        "fd78:1::2",
        "fd78:2::1",
        "fd77::1",
    ]
    .map(|text| text.parse().unwrap())
    .to_vec();
    // Remembering nothing: every denial is logged.
    let config = Config { quiet_ms: 0, ..Config::default() };
    let group = config.log_group;
    let mut source = lab.node.inside(move || EventSource::open(group).unwrap());
    let mut datapath = lab.datapath(config.clone());
    let mut port = 1024_u16;
    let mut judged = 0;
    for seed in 0..rounds {
        let mut dice = Dice(seed);
        let table = table(&mut dice, &addresses);
        let _ = datapath.apply(&table).unwrap();
        if seed % 2 == 0 {
            let (before, bindings) = bound_later(&mut dice, &table);
            let _ = datapath.apply(&before).unwrap();
            datapath.bind(&bindings).unwrap();
        }
        if seed % 3 == 0 {
            // What the next process reads back is what this one wrote, in both phases.
            datapath = lab.datapath(config.clone());
            assert!(!datapath.apply(&table).unwrap().changed, "seed {seed}");
        }
        // A denied tuple is logged once in a while, so each is sent once.
        let mut asked = HashSet::new();
        let mut probes: Vec<Probe> =
            (0..400).map(|_| probe(&mut dice, &table, &addresses, &mut port)).collect();
        probes.retain(|Probe { flow, .. }| asked.insert((flow.from, flow.to, flow.protocol, flow.to_port)));
        let seen = send(&lab, &mut source, &probes);
        for Probe { flow, expected, .. } in &probes {
            let got = seen.get(flow).copied();
            let ruling = got.map(|(judged, _)| judged.ruling);
            assert_eq!(ruling, *expected, "seed {seed}: {flow:?}\n{table:#?}");
            if let Some((got, denied)) = got {
                assert_eq!((Some(got.tag), denied), (datapath.tag(), got.ruling.verdict == Verdict::Deny));
                judged += 1;
            }
        }
    }
    eprintln!("{judged} packets judged as the tables say");
    assert!(judged > rounds * 100);
}

fn probe(dice: &mut Dice, table: &Table, addresses: &[IpAddr], port: &mut u16) -> Probe {
    loop {
        let (from, to) = (dice.one(addresses), dice.one(addresses));
        // The node itself sends nothing here, and what stays on one side crosses no hook.
        let pod_of =
            |address: IpAddr| (0..2).find(|pod| address == v4(*pod) || address == v6(*pod)).unwrap_or(2);
        let nodes = [node4(0), node6(0)];
        if from.is_ipv4() != to.is_ipv4() || nodes.contains(&from) {
            continue;
        }
        if pod_of(from) == pod_of(to) && !nodes.contains(&to) {
            continue;
        }
        let protocol = dice.one(&[Protocol::TCP, Protocol::TCP, Protocol::UDP, Protocol::SCTP]);
        *port = if *port == 65535 { 1024 } else { *port + 1 };
        let flow = Flow { from, from_port: *port, to, to_port: dice.one(&PORTS), protocol };
        let expected = reported(table.judge(from, to, protocol, flow.to_port));
        return Probe { from_pod: pod_of(from), flow, expected };
    }
}

/// Sends every probe and gathers what the kernel said about it.
fn send(lab: &Lab, source: &mut EventSource, probes: &[Probe]) -> HashMap<Flow, (datapath::Judged, bool)> {
    let mut by_pod: BTreeMap<usize, Vec<Flow>> = BTreeMap::new();
    for probe in probes {
        by_pod.entry(probe.from_pod).or_default().push(probe.flow);
    }
    for (pod, flows) in by_pod {
        lab.pods[pod].inside(move || {
            let sender = Sender::new();
            for Flow { from, from_port, to, to_port, protocol } in flows {
                sender.send(to, &opening(from, to, protocol, from_port, to_port));
            }
        });
    }
    let wanted = probes.iter().filter(|probe| probe.expected.is_some()).count();
    let mut seen = HashMap::new();
    let mut events = vec![];
    let complete = |seen: &HashMap<Flow, _>| {
        probes.iter().filter(|probe| probe.expected.is_some() && seen.contains_key(&probe.flow)).count()
            == wanted
    };
    eventually(|| {
        source.read(&mut events).unwrap();
        for event in events.drain(..) {
            match event {
                Event::Opened { flow, judged, .. } => drop(seen.insert(flow, (judged, false))),
                Event::Denied { flow, judged } => drop(seen.insert(flow, (judged, true))),
                Event::Closed(_) => {}
                Event::Lost(lost) => panic!("{lost} events lost"),
            }
        }
        complete(&seen)
    });
    seen
}
