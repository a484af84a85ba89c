//! What one node must know of a cluster to judge for its own pods.
//!
//! Enters: the index of a cluster and a node. Leaves: a [`View`]: pods, nodes, policies and closed scopes.
//! Guarantees: a table of the node lowered from the view alone judges every connection as one lowered from the whole
//! set. Does not: include who is spoken of by no rule of a local pod; to the node that is an address like any other.

use super::index::{Id, Index, PeerEntry};
use super::node::add_relevant;
use super::{Cluster, dense};
use crate::lower::classes::Relevant;
use policy::{CLUSTER_DNS, PolicySet, World};
use std::collections::BTreeSet;
use std::net::IpAddr;
use std::sync::Arc;

/// The part of a policy set that one node needs.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct View {
    /// Pods by namespace and name, ascending; all pods of the node are among them, except those that use its network.
    pub pods: Vec<(Arc<str>, Arc<str>)>,
    /// Nodes by name, ascending.
    pub nodes: Vec<Arc<str>>,
    /// Positions in [`PolicySet::policies`], ascending.
    pub policies: Vec<usize>,
    /// Positions in [`PolicySet::closed`], ascending.
    pub closed: Vec<usize>,
}

impl View {
    /// The set without what is not in the view. Rule ids stay.
    pub fn of(&self, set: &PolicySet) -> PolicySet {
        let mut world = World { names: set.world.names.clone(), ..World::default() };
        for (namespace, name) in &self.pods {
            world.pods.extend(set.world.find_pod(namespace, name).cloned());
            if let Some(found) = set.world.namespaces.get(namespace) {
                world.namespaces.insert(namespace.clone(), found.clone());
            }
        }
        let nodes = self.nodes.iter().filter_map(|name| set.world.nodes.get_key_value(name));
        world.nodes = nodes.map(|(name, node)| (name.clone(), node.clone())).collect();
        PolicySet {
            generation: set.generation,
            world,
            policies: self.policies.iter().filter_map(|at| set.policies.get(*at)).cloned().collect(),
            closed: self.closed.iter().filter_map(|at| set.closed.get(*at)).cloned().collect(),
            rules: set.rules.clone(),
            detection: set.detection.clone(),
        }
    }
}

impl Cluster {
    /// Positions of the policies and of the closed scopes that select pods of a node, ascending.
    pub fn selecting(&self, node: &str) -> [BTreeSet<usize>; 2] {
        let index = &self.index;
        let groups: BTreeSet<Id> =
            self.local(node).iter().filter_map(|pod| Some(index.pods.get(*pod as usize)?.group)).collect();
        let groups = groups.iter().filter_map(|group| index.groups.get(*group as usize));
        let sets: BTreeSet<Id> = groups.flat_map(|group| group.sets.iter().copied()).collect();
        let (mut policies, mut closed) = (BTreeSet::new(), BTreeSet::new());
        for set in sets.iter().filter_map(|set| index.sets.get(*set as usize)) {
            policies.extend(set.policies.iter().map(|id| *id as usize));
            closed.extend(set.closed.iter().map(|id| *id as usize));
        }
        [policies, closed]
    }

    fn local(&self, node: &str) -> &[Id] {
        self.index.pods_on.get(node).map_or(&[][..], Vec::as_slice)
    }

    /// What a node must know.
    pub fn view(&self, node: &str) -> View {
        let index = &self.index;
        let [policies, closed] = self.selecting(node);
        let (mut relevant, mut peers) = (Relevant::default(), Vec::new());
        for policy in &policies {
            for direction in [0, 1] {
                add_relevant(index, &mut relevant, &mut peers, dense(*policy), direction);
            }
        }
        relevant.peers = peers.into_iter().collect();
        let mut pods: BTreeSet<Id> = self.local(node).iter().copied().collect();
        add_peers(index, &relevant, &mut pods);
        pods.extend(self.rivals.get_or_init(|| rivals(index)));
        add_resolvers(index, &mut pods);
        let name =
            |id: &Id| index.pods.get(*id as usize).map(|pod| (pod.namespace.clone(), pod.name.clone()));
        let mut pods: Vec<_> = pods.iter().filter_map(name).collect();
        pods.sort_unstable();
        let nodes = nodes(index, &relevant, node);
        View { pods, nodes, policies: policies.into_iter().collect(), closed: closed.into_iter().collect() }
    }
}

/// Pods that the rules speak of, by a selector or by the name of a port.
fn add_peers(index: &Index, relevant: &Relevant, pods: &mut BTreeSet<Id>) {
    for peer in &relevant.peers {
        let Some(PeerEntry::Pods(set)) = index.peers.get(*peer as usize) else { continue };
        let groups = index.sets.get(*set as usize).map_or(&[][..], |set| &set.groups);
        for group in groups.iter().filter_map(|group| index.groups.get(*group as usize)) {
            pods.extend(group.pods.iter().copied());
        }
    }
    pods.extend(relevant.names.iter().filter_map(|name| index.pods_naming.get(name)).flatten());
}

/// The cluster's DNS: whose answers are believed everywhere.
fn add_resolvers(index: &Index, pods: &mut BTreeSet<Id>) {
    let (namespace, label, value) = CLUSTER_DNS;
    let groups = index.namespace_ids.get(namespace).and_then(|id| index.namespaces.get(*id as usize));
    let groups = groups.into_iter().flat_map(|namespace| &namespace.groups);
    let groups = groups.filter_map(|group| index.groups.get(*group as usize));
    for group in groups.filter(|group| group.labels.get(label) == Some(value)) {
        pods.extend(group.pods.iter().copied());
    }
}

/// Pods whose address others claim too: who has it can only be said by who knows all of them.
fn rivals(index: &Index) -> Box<[Id]> {
    let shared = index.node_at.keys().filter_map(|address| index.pod_at.get(address));
    index.contested.values().flatten().chain(shared).copied().collect()
}

/// The node itself and who shares an address with it; all nodes where a rule speaks of nodes.
fn nodes(index: &Index, relevant: &Relevant, node: &str) -> Vec<Arc<str>> {
    let speaks_of_nodes = |peer: &Id| matches!(index.peers.get(*peer as usize), Some(PeerEntry::Nodes(_)));
    if relevant.peers.iter().any(speaks_of_nodes) {
        return index.nodes.keys().cloned().collect();
    }
    let own: &[IpAddr] = index.nodes.get(node).map_or(&[], |own| &own.addresses);
    let first = own.iter().filter_map(|address| index.node_at.get(address));
    let itself = index.nodes.get_key_value(node).map(|(name, _)| name);
    let found: BTreeSet<Arc<str>> = first.chain(itself).cloned().collect();
    found.into_iter().collect()
}
