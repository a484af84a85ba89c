//! From the Kubernetes world to a lab: who runs where, at which address.
//!
//! Enters: the world as the compiler made it, where pods may lack nodes and addresses, as they do in manifests
//! that no cluster has run yet. Leaves: the same world with every pod placed, as a scheduler and a network plugin
//! would have done.
//! Guarantees: what was written is kept; what was placed once stays placed across edits; no address is given twice.
//! Does not: make anything. That is `lab`'s.

use policy::{Labels, Node, World};
use std::collections::{BTreeMap, BTreeSet};
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};
use std::sync::Arc;

/// Nodes a lab gets when the manifests declare none.
const DEFAULT_NODES: [&str; 2] = ["node-1", "node-2"];
/// One byte of the address counts nodes, one counts the pods on a node.
const NODES: usize = 250;
const PODS_PER_NODE: u8 = 250;

/// Where pods were placed, by namespace and name; remembered across edits.
#[derive(Clone, Debug, Default)]
pub(crate) struct Places {
    nodes: BTreeMap<Arc<str>, Vec<IpAddr>>,
    pods: BTreeMap<(Arc<str>, Arc<str>), Place>,
}

#[derive(Clone, Debug)]
struct Place {
    node: Arc<str>,
    addresses: Vec<IpAddr>,
}

/// Why a world cannot be placed.
#[derive(Clone, Debug, thiserror::Error, PartialEq, Eq)]
pub(crate) enum PlaceError {
    /// Too many nodes.
    #[error("{0} nodes are more than a lab can have ({NODES})")]
    TooManyNodes(usize),
    /// Too many pods on one node.
    #[error("node {0} has no address left for pod {1}: a lab node can have {PODS_PER_NODE} pods")]
    TooManyPods(Arc<str>, String),
}

impl Places {
    /// Gives every node and pod of the world what it lacks.
    pub(crate) fn complete(&mut self, world: &mut World) -> Result<(), PlaceError> {
        declare_nodes(world);
        if world.nodes.len() > NODES {
            return Err(PlaceError::TooManyNodes(world.nodes.len()));
        }
        let mut taken = self.taken(world);
        self.address_nodes(world, &mut taken);
        let order: Vec<Arc<str>> = world.nodes.keys().cloned().collect();
        let mut load: BTreeMap<Arc<str>, usize> = order.iter().map(|node| (node.clone(), 0)).collect();
        for pod in world.pods.iter().filter_map(|pod| pod.node.as_ref()) {
            *load.entry(pod.clone()).or_default() += 1;
        }
        // Those of other clusters run there.
        for pod in world.pods.iter_mut().filter(|pod| pod.cluster().is_none()).map(Arc::make_mut) {
            let key = (pod.namespace.clone(), pod.name.clone());
            let known = self.pods.get(&key).filter(|place| world.nodes.contains_key(&place.node)).cloned();
            if pod.node.is_none() {
                let node = known.as_ref().map(|place| place.node.clone()).or_else(|| least_loaded(&load));
                let Some(node) = node else { continue };
                *load.entry(node.clone()).or_default() += 1;
                pod.node = Some(node);
            }
            let Some(node) = pod.node.clone() else { continue };
            if pod.host_network {
                continue;
            }
            if pod.addresses.is_empty() {
                let kept = known.filter(|place| place.node == node).map(|place| place.addresses);
                let index = order.iter().position(|name| *name == node).unwrap_or_default();
                pod.addresses = match kept {
                    Some(addresses) => addresses,
                    None => free_pod_addresses(index, &mut taken)
                        .ok_or_else(|| PlaceError::TooManyPods(node.clone(), pod.to_string()))?,
                };
            }
            self.pods.insert(key, Place { node, addresses: pod.addresses.clone() });
        }
        Ok(())
    }

    /// Every address that is someone's, was written or was ever given.
    fn taken(&self, world: &World) -> BTreeSet<IpAddr> {
        let pods = world.pods.iter().flat_map(|pod| &pod.addresses);
        let nodes = world.nodes.values().flat_map(|node| &node.addresses);
        let given =
            self.pods.values().flat_map(|place| &place.addresses).chain(self.nodes.values().flatten());
        pods.chain(nodes).chain(given).copied().collect()
    }

    fn address_nodes(&mut self, world: &mut World, taken: &mut BTreeSet<IpAddr>) {
        for node in world.nodes.values_mut().filter(|node| node.addresses.is_empty()) {
            let given = self.nodes.entry(node.name.clone()).or_insert_with(|| {
                let free = (1..=PODS_PER_NODE)
                    .map(node_addresses)
                    .find(|pair| pair.iter().all(|a| !taken.contains(a)));
                free.map(Vec::from).unwrap_or_default()
            });
            taken.extend(given.iter().copied());
            node.addresses.clone_from(given);
        }
    }
}

/// Pods name nodes that nobody declared; a world without nodes gets two.
fn declare_nodes(world: &mut World) {
    let named: Vec<Arc<str>> = world.pods.iter().filter_map(|pod| pod.node.clone()).collect();
    let synthetic = DEFAULT_NODES.map(Arc::from);
    let wanted = if world.nodes.is_empty() && named.is_empty() { synthetic.to_vec() } else { named };
    for name in wanted {
        world.nodes.entry(name.clone()).or_insert_with(|| Node {
            labels: Labels::from_iter([("kubernetes.io/hostname", &*name)]),
            name,
            addresses: vec![],
        });
    }
}

fn least_loaded(load: &BTreeMap<Arc<str>, usize>) -> Option<Arc<str>> {
    load.iter().min_by_key(|(_, pods)| **pods).map(|(node, _)| node.clone())
}

fn node_addresses(number: u8) -> [IpAddr; 2] {
    let v6 = Ipv6Addr::new(0xfd00, 0x172, 0x18, 0, 0, 0, 0, u16::from(number) + 1);
    [Ipv4Addr::new(172, 18, 0, number.saturating_add(1)).into(), v6.into()]
}

/// The next pair on a node: `10.244.NODE.n` and `fd00:10:244:NODE::n`, as cluster networks usually look.
fn free_pod_addresses(node: usize, taken: &mut BTreeSet<IpAddr>) -> Option<Vec<IpAddr>> {
    let node = u8::try_from(node).ok()?;
    let pair = |n: u8| -> [IpAddr; 2] {
        let v6 = Ipv6Addr::new(0xfd00, 0x10, 0x244, u16::from(node), 0, 0, 0, u16::from(n) + 1);
        [Ipv4Addr::new(10, 244, node, n + 1).into(), v6.into()]
    };
    let free = (1..=PODS_PER_NODE).map(pair).find(|pair| pair.iter().all(|a| !taken.contains(a)))?;
    taken.extend(free);
    Some(free.to_vec())
}

#[cfg(test)]
mod tests {
    use super::*;
    use policy::{Pod, WorkloadRef};

    fn pod(name: &str, node: Option<&str>) -> Pod {
        Pod {
            namespace: "a".into(),
            name: name.into(),
            labels: Labels::default(),
            service_account: "default".into(),
            node: node.map(Arc::from),
            addresses: vec![],
            ports: vec![],
            host_network: false,
            workload: WorkloadRef { kind: "Pod".into(), name: name.into() },
        }
    }

    fn world(pods: Vec<Pod>) -> World {
        World { pods: pods.into_iter().map(Arc::new).collect(), ..World::default() }
    }

    #[test]
    fn pods_without_a_node_are_spread_and_every_address_is_given_once() {
        let mut world = world((0..9).map(|n| pod(&format!("p{n}"), None)).collect());
        Places::default().complete(&mut world).unwrap();
        let on = |node: &str| world.pods.iter().filter(|pod| pod.node.as_deref() == Some(node)).count();
        assert_eq!((on("node-1"), on("node-2")), (5, 4));
        let nodes = world.nodes.values().flat_map(|node| &node.addresses);
        let all: Vec<_> = world.pods.iter().flat_map(|pod| &pod.addresses).chain(nodes).collect();
        assert_eq!(all.len(), 22);
        assert_eq!(all.iter().collect::<BTreeSet<_>>().len(), all.len());
    }

    #[test]
    fn what_was_written_is_kept() {
        let mut written = pod("w", Some("big"));
        written.addresses = vec!["10.244.0.2".parse().unwrap()];
        let mut world = world(vec![pod("free", None), written.clone()]);
        Places::default().complete(&mut world).unwrap();
        assert_eq!(*world.pods[1], written);
        assert_eq!(world.nodes.keys().map(AsRef::as_ref).collect::<Vec<_>>(), ["big"]);
        assert_ne!(world.pods[0].addresses[0], written.addresses[0]);
    }

    #[test]
    fn an_edit_moves_nobody() {
        let mut places = Places::default();
        let mut before = world(vec![pod("b", None), pod("c", None)]);
        places.complete(&mut before).unwrap();
        let mut after = world(vec![pod("a", None), pod("b", None), pod("c", None)]);
        places.complete(&mut after).unwrap();
        assert_eq!(after.pods[1..], before.pods);
        assert_eq!(after.nodes, before.nodes);
    }

    #[test]
    fn too_many_pods_on_a_node_are_refused_by_name() {
        let mut world = world((0..251).map(|n| pod(&format!("p{n}"), Some("n"))).collect());
        let refused = Places::default().complete(&mut world);
        assert_eq!(refused, Err(PlaceError::TooManyPods("n".into(), "a/p250".into())));
    }
}
