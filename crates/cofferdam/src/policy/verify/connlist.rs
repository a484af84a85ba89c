//! Expands an exhaustive allow list of workloads into accesses.
//!
//! Between two points at which some rule or entry changes its mind nothing changes, so the ports around every such
//! point stand for all, and so do the ends and middles of address ranges.

use super::case::{Check, End, Entry, INGRESS_CONTROLLER, Ports, Round};
use anyhow::{Context, Result, bail};
use ipnet::IpNet;
use policy::{Peer, Peers, PolicySet, PortMatch, Protocol, Verdict};
use std::collections::{BTreeMap, BTreeSet};
use std::net::{IpAddr, Ipv4Addr};

/// Most ports that stand for a case; more would be more of the same.
const MOST_PORTS: usize = 40;
/// Most outside addresses that stand for a case.
const MOST_ADDRESSES: usize = 60;

/// Addresses that hosts can have; the ends of wide ranges are often some that none can.
const ORDINARY: [Ipv4Addr; 3] =
    [Ipv4Addr::new(8, 8, 4, 4), Ipv4Addr::new(172, 31, 7, 7), Ipv4Addr::new(203, 0, 113, 77)];

/// An end of an entry.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
enum Side {
    Workload(String),
    Range(u32, u32),
    IngressController,
}

struct Allowed {
    from: Side,
    to: Side,
    ports: Ports,
}

/// The round of a connection list.
pub(super) fn round(set: PolicySet, entries: &[Entry]) -> Result<Round> {
    let allowed = entries.iter().map(read).collect::<Result<Vec<_>>>()?;
    let mut members: BTreeMap<String, Vec<End>> = BTreeMap::new();
    for pod in &set.world.pods {
        if (&*pod.namespace, &*pod.name) == INGRESS_CONTROLLER {
            continue;
        }
        let workload = format!("{}/{}[{}]", pod.namespace, pod.workload.name, pod.workload.kind);
        members.entry(workload).or_default().push(End::Pod(pod.namespace.to_string(), pod.name.to_string()));
    }
    for side in allowed.iter().flat_map(|entry| [&entry.from, &entry.to]) {
        if let Side::Workload(name) = side
            && !members.contains_key(name)
        {
            bail!("workload {name} is not in the manifests; they have {:?}", members.keys());
        }
    }
    let ports = ports(&set, &allowed);
    let outside = outside_addresses(&set, &allowed);
    let mut checks = Vec::new();
    for (from, sources) in &members {
        let from_side = Side::Workload(from.clone());
        for (to, targets) in members.iter().filter(|(to, _)| *to != from) {
            let relevant = between(&allowed, |side| *side == from_side, |side| is_workload(side, to));
            expand(&mut checks, sources, targets, &ports, &relevant);
        }
        for address in &outside {
            let end = [End::Address(IpAddr::V4(*address))];
            let leaving = between(&allowed, |side| *side == from_side, |side| holds(side, *address));
            expand(&mut checks, sources, &end, &ports, &leaving);
            let entering = between(&allowed, |side| holds(side, *address), |side| *side == from_side);
            expand(&mut checks, &end, sources, &ports, &entering);
        }
    }
    let controller = End::Pod(INGRESS_CONTROLLER.0.to_owned(), INGRESS_CONTROLLER.1.to_owned());
    for entry in allowed.iter().filter(|entry| entry.from == Side::IngressController) {
        let Side::Workload(to) = &entry.to else { bail!("an ingress controller leads to workloads only") };
        let ends: BTreeSet<(Protocol, u16)> = entry
            .ports
            .protocols
            .iter()
            .flat_map(|p| [(*p, entry.ports.first), (*p, entry.ports.last)])
            .collect();
        let targets = members.get(to).context("checked above")?;
        for (protocol, port) in ends {
            for target in targets {
                let (from, to) = (controller.clone(), target.clone());
                checks.push(Check { from, to, protocol, port, expected: Verdict::Allow });
            }
        }
    }
    Ok(Round { set, manifests: Default::default(), catalog: Default::default(), checks })
}

fn read(entry: &Entry) -> Result<Allowed> {
    if entry.verdict()? != Verdict::Allow {
        bail!("a connection list lists what is allowed");
    }
    Ok(Allowed { from: side(&entry.from)?, to: side(&entry.to)?, ports: entry.ports()? })
}

fn side(text: &str) -> Result<Side> {
    if text == "ingress-controller" {
        return Ok(Side::IngressController);
    }
    if let Some(name) = text.strip_prefix("workload:") {
        return Ok(Side::Workload(name.to_owned()));
    }
    let range = text.strip_prefix("ip:").with_context(|| format!("endpoint {text:?}"))?;
    let (first, last) = range.split_once('-').unwrap_or((range, range));
    Ok(Side::Range(first.parse::<Ipv4Addr>()?.to_bits(), last.parse::<Ipv4Addr>()?.to_bits()))
}

fn is_workload(side: &Side, name: &str) -> bool {
    matches!(side, Side::Workload(known) if known == name)
}

fn holds(side: &Side, address: Ipv4Addr) -> bool {
    matches!(side, Side::Range(first, last) if (*first..=*last).contains(&address.to_bits()))
}

fn between(allowed: &[Allowed], from: impl Fn(&Side) -> bool, to: impl Fn(&Side) -> bool) -> Vec<&Ports> {
    allowed.iter().filter(|entry| from(&entry.from) && to(&entry.to)).map(|entry| &entry.ports).collect()
}

fn expand(checks: &mut Vec<Check>, from: &[End], to: &[End], ports: &[u16], allowed: &[&Ports]) {
    for (source, target) in from.iter().flat_map(|source| to.iter().map(move |target| (source, target))) {
        for protocol in Protocol::WITH_PORTS {
            for port in ports {
                let holds = |entry: &&Ports| {
                    entry.protocols.contains(&protocol) && (entry.first..=entry.last).contains(port)
                };
                let expected = if allowed.iter().any(holds) { Verdict::Allow } else { Verdict::Deny };
                checks.push(Check {
                    from: source.clone(),
                    to: target.clone(),
                    protocol,
                    port: *port,
                    expected,
                });
            }
        }
    }
}

fn ports(set: &PolicySet, allowed: &[Allowed]) -> Vec<u16> {
    let mut edges = BTreeSet::from([1, u16::MAX]);
    let named = set.world.pods.iter().flat_map(|pod| pod.ports.iter().map(|port| (port.port, port.port)));
    let written = rules(set).filter_map(|rule| match &rule.ports {
        policy::Ports::All => None,
        policy::Ports::AnyOf(list) => Some(list.iter().filter_map(|entry| match entry {
            PortMatch::Numbers { first, last, .. } => Some((*first, *last)),
            PortMatch::Named { .. } => None,
        })),
    });
    let expected = allowed.iter().map(|entry| (entry.ports.first, entry.ports.last));
    for (first, last) in expected.chain(written.flatten()).chain(named) {
        edges.extend([first.saturating_sub(1).max(1), first, last, last.saturating_add(1)]);
    }
    edges.into_iter().filter(|port| *port > 0).take(MOST_PORTS).collect()
}

fn rules(set: &PolicySet) -> impl Iterator<Item = &policy::Rule> {
    set.policies.iter().flat_map(|policy| policy.egress.rules().iter().chain(policy.ingress.rules()))
}

/// Ends and middles of every expected range, and the edges of every block that a rule mentions; without the
/// addresses of pods and nodes, which are not outside.
fn outside_addresses(set: &PolicySet, allowed: &[Allowed]) -> Vec<Ipv4Addr> {
    let mut found = BTreeSet::new();
    for side in allowed.iter().flat_map(|entry| [&entry.from, &entry.to]) {
        if let Side::Range(first, last) = side {
            let ordinary = ORDINARY.map(Ipv4Addr::to_bits);
            found.extend(ordinary.iter().filter(|address| (*first..=*last).contains(*address)));
            found.extend([*first, first.saturating_add(1).min(*last), first + (last - first) / 2, *last]);
        }
    }
    let blocks = rules(set).filter_map(|rule| match &rule.peers {
        Peers::Everyone => None,
        Peers::AnyOf(peers) => Some(peers),
    });
    for peer in blocks.flatten() {
        if let Peer::Network { cidr, except } = peer {
            for net in std::iter::once(cidr).chain(except) {
                let IpNet::V4(net) = net else { continue };
                let (first, last) = (net.network().to_bits(), net.broadcast().to_bits());
                found.extend([first.saturating_sub(1), first, last, last.saturating_add(1)]);
            }
        }
    }
    let taken: BTreeSet<IpAddr> = set
        .world
        .pods
        .iter()
        .flat_map(|pod| &pod.addresses)
        .chain(set.world.nodes.values().flat_map(|node| &node.addresses))
        .copied()
        .collect();
    let free =
        found.into_iter().map(Ipv4Addr::from_bits).filter(|address| !taken.contains(&IpAddr::V4(*address)));
    let all: Vec<Ipv4Addr> = free.collect();
    let step = all.len().div_ceil(MOST_ADDRESSES).max(1);
    all.into_iter().step_by(step).collect()
}
