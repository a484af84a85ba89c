//! Nodes: declared, and those that pods say they run on.
//!
//! Enters: Node objects and pods. Leaves: every node a pod is bound to, with the addresses its pods report for it.

use super::{Placed, report_duplicate};
use crate::convert::Context;
use crds::{Code, Diagnostic, ObjectName, Position};
use policy::{Labels, Node};
use std::collections::{BTreeMap, HashMap};
use std::net::IpAddr;
use std::sync::Arc;

/// Where host-network pods run that say nothing about their node, as those of a template do.
const UNKNOWN_NODE: &str = "unknown-node";

pub(super) fn declared(context: &mut Context, written: &[&crds::Node]) -> BTreeMap<Arc<str>, Node> {
    let mut nodes: BTreeMap<Arc<str>, Node> = BTreeMap::new();
    let mut first_at: HashMap<Arc<str>, Position> = HashMap::new();
    for it in written.iter().filter(|it| !it.meta.name.is_empty()) {
        let name = context.interner.text(&it.meta.name);
        let labels = context.interner.labels(&it.meta.labels);
        let Some(first) = nodes.get_mut(&name) else {
            first_at.insert(name.clone(), it.position.clone());
            nodes.insert(name.clone(), Node { name, labels, addresses: it.addresses.clone() });
            continue;
        };
        let same = first.labels == labels && first.addresses == it.addresses;
        if !same {
            let agreed = first.labels.iter().filter(|(key, value)| labels.get(key) == Some(*value));
            first.labels = agreed.collect();
            add(&mut first.addresses, &it.addresses);
        }
        let object = ObjectName { kind: "Node".into(), namespace: "".into(), name: name.clone() };
        let at = first_at.get(&name).unwrap_or(&it.position).clone();
        let consequence = "it keeps the labels that both agree on";
        report_duplicate(context, object, (&at, &it.position), same, consequence);
    }
    report_shared(context, &nodes, &first_at);
    nodes
}

/// An address identifies the first of the nodes that claim it; which one is meant cannot be known.
fn report_shared(
    context: &mut Context,
    nodes: &BTreeMap<Arc<str>, Node>,
    first_at: &HashMap<Arc<str>, Position>,
) {
    let mut holders: HashMap<IpAddr, &Arc<str>> = HashMap::new();
    for node in nodes.values() {
        for address in &node.addresses {
            match holders.get(address) {
                Some(first) if *first != &node.name => {
                    let message =
                        format!("address {address} is also that of node {first}, which it is taken for");
                    let object =
                        ObjectName { kind: "Node".into(), namespace: "".into(), name: node.name.clone() };
                    let diagnostic = Diagnostic::warning(Code::OverlappingAddress, message).of(object);
                    let diagnostic = match first_at.get(&node.name) {
                        Some(at) => diagnostic.at(at.clone()),
                        None => diagnostic,
                    };
                    context.report(diagnostic.field("status.addresses"));
                }
                Some(_) => {}
                None => {
                    holders.insert(*address, &node.name);
                }
            }
        }
    }
}

/// Makes every node exist that a pod is bound to, binds pods that only give `hostIP`, and learns node addresses from
/// `hostIP` and from host-network pods.
pub(super) fn bind(context: &mut Context, nodes: &mut BTreeMap<Arc<str>, Node>, placed: &mut [Placed]) {
    let mut by_address: HashMap<IpAddr, Arc<str>> = HashMap::new();
    for node in nodes.values() {
        for address in &node.addresses {
            by_address.entry(*address).or_insert_with(|| node.name.clone());
        }
    }
    for it in placed.iter_mut() {
        let host_pod_addresses: &[IpAddr] = if it.pod.host_network { &it.pod.addresses } else { &[] };
        let known = it.host_addresses.iter().chain(host_pod_addresses);
        if let Some(name) = &it.pod.node
            && nodes.contains_key(name)
            && known.clone().all(|address| by_address.get(address) == Some(name))
        {
            continue;
        }
        let known: Vec<IpAddr> = known.copied().collect();
        let name = match (&it.pod.node, known.first()) {
            (Some(name), _) => name.clone(),
            (None, Some(address)) => match known.iter().find_map(|known| by_address.get(known)) {
                Some(name) => name.clone(),
                None => context.interner.text(&format!("node-{address}")),
            },
            (None, None) if it.pod.host_network => context.interner.text(UNKNOWN_NODE),
            (None, None) => continue,
        };
        let node = nodes.entry(name.clone()).or_insert_with(|| Node {
            name: name.clone(),
            labels: Labels::default(),
            addresses: Vec::new(),
        });
        // An address that another node has already is not taken from it.
        let free: Vec<IpAddr> =
            known.into_iter().filter(|a| by_address.get(a).is_none_or(|holder| *holder == name)).collect();
        for address in &free {
            by_address.entry(*address).or_insert_with(|| name.clone());
        }
        add(&mut node.addresses, &free);
        if it.pod.node.as_ref() != Some(&name) {
            Arc::make_mut(&mut it.pod).node = Some(name);
        }
    }
}

fn add(addresses: &mut Vec<IpAddr>, more: &[IpAddr]) {
    for address in more {
        if !addresses.contains(address) {
            addresses.push(*address);
        }
    }
}
