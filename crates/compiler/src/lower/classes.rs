//! Which addresses the rules of a table can tell apart.
//!
//! Enters: the peers and port names that matter here. Leaves: a class for every address, by host and network.
//! Guarantees: addresses of one class match the same peers, belong or do not belong to the same node's own
//! addresses, and resolve the same named ports. Pods that behave like the network around them have no entry.

use super::forest::Forest;
use super::index::{Id, Index, PeerEntry, PodEntry};
use super::{Fixed, dense};
use ipnet::IpNet;
use policy::NamedPort;
use policy::table::ClassId;
use std::collections::{BTreeMap, BTreeSet, HashMap};
use std::net::IpAddr;
use std::sync::Arc;

/// What the rules of a table can see of an address.
#[derive(Clone, Debug, Default, PartialEq, Eq, Hash)]
pub(crate) struct Signature {
    /// Ascending.
    pub(crate) peers: Vec<Id>,
    /// The node whose address it is, where that matters.
    pub(crate) own: Option<Arc<str>>,
    /// Named ports that egress rules mention.
    pub(crate) named: Vec<NamedPort>,
}

/// What matters to a table.
#[derive(Default)]
pub(crate) struct Relevant {
    pub(crate) peers: BTreeSet<Id>,
    /// Port names in egress rules.
    pub(crate) names: BTreeSet<Arc<str>>,
    /// Nodes that are some local pod's own.
    pub(crate) own: BTreeSet<Arc<str>>,
}

/// Every class of a table.
pub(crate) struct Classes {
    /// By [`ClassId`]; the first is [`ClassId::OTHER`].
    pub(crate) signatures: Vec<Signature>,
    ids: HashMap<Signature, ClassId, Fixed>,
    pub(crate) hosts: BTreeMap<IpAddr, ClassId>,
    pub(crate) networks: BTreeMap<IpNet, ClassId>,
}

impl Classes {
    /// The classes of all addresses; `placed` are addresses that the world does not know, with their pods.
    pub(crate) fn new(index: &Index, relevant: &Relevant, placed: &BTreeMap<IpAddr, Id>) -> Self {
        let mut classes = Self {
            signatures: Vec::new(),
            ids: HashMap::default(),
            hosts: BTreeMap::new(),
            networks: BTreeMap::new(),
        };
        classes.id(Signature::default());
        let forest =
            Forest::new(relevant.peers.iter().filter_map(|id| match index.peers.get(*id as usize) {
                Some(PeerEntry::Network(cidr, except)) => Some((*id, *cidr, except.as_slice())),
                Some(PeerEntry::Pods(_) | PeerEntry::Nodes(_) | PeerEntry::Names(_)) | None => None,
            }));
        let by_prefix = classes.add_networks(&forest);
        let around = |address| {
            let found = forest.find(address).and_then(|at| by_prefix.get(at));
            found.copied().unwrap_or(ClassId::OTHER)
        };
        let mut seen = pods(index, relevant, placed);
        nodes(index, relevant, &mut seen);
        for (address, mut signature) in seen {
            if !placed.contains_key(&address) {
                signature.peers.extend_from_slice(forest.peers(address));
            }
            signature.peers.sort_unstable();
            signature.peers.dedup();
            let class = classes.id(signature);
            if class != around(address) {
                classes.hosts.insert(address, class);
            }
        }
        classes
    }

    /// Only the class of an address nobody speaks of.
    pub(crate) fn empty() -> Self {
        let mut classes = Self {
            signatures: Vec::new(),
            ids: HashMap::default(),
            hosts: BTreeMap::new(),
            networks: BTreeMap::new(),
        };
        classes.id(Signature::default());
        classes
    }

    fn add_networks(&mut self, forest: &Forest) -> Vec<ClassId> {
        let mut by_prefix: Vec<ClassId> = Vec::with_capacity(forest.prefixes.len());
        for prefix in &forest.prefixes {
            let class = self.id(Signature { peers: prefix.peers.clone(), ..Signature::default() });
            let outer = prefix.parent.and_then(|parent| by_prefix.get(parent)).copied();
            if class != outer.unwrap_or(ClassId::OTHER) {
                self.networks.insert(prefix.net, class);
            }
            by_prefix.push(class);
        }
        by_prefix
    }

    /// The class of a signature.
    pub(crate) fn id(&mut self, signature: Signature) -> ClassId {
        if let Some(known) = self.ids.get(&signature) {
            return *known;
        }
        let id = ClassId(dense(self.signatures.len()));
        self.ids.insert(signature.clone(), id);
        self.signatures.push(signature);
        id
    }
}

/// The network peers that matter.
pub(crate) fn forest(index: &Index, relevant: &Relevant) -> Forest {
    Forest::new(relevant.peers.iter().filter_map(|id| match index.peers.get(*id as usize) {
        Some(PeerEntry::Network(cidr, except)) => Some((*id, *cidr, except.as_slice())),
        Some(PeerEntry::Pods(_) | PeerEntry::Nodes(_) | PeerEntry::Names(_)) | None => None,
    }))
}

/// Addresses of pods that a pod peer matches or that have a mentioned named port; and all placed addresses.
fn pods(index: &Index, relevant: &Relevant, placed: &BTreeMap<IpAddr, Id>) -> BTreeMap<IpAddr, Signature> {
    let mut group_peers: HashMap<Id, Vec<Id>, Fixed> = HashMap::default();
    for &peer in &relevant.peers {
        let Some(PeerEntry::Pods(set)) = index.peers.get(peer as usize) else { continue };
        let groups = index.sets.get(*set as usize).map_or(&[][..], |set| &set.groups);
        groups.iter().for_each(|group| group_peers.entry(*group).or_default().push(peer));
    }
    let matched = group_peers.keys().filter_map(|group| index.groups.get(*group as usize));
    let mut ids: Vec<Id> = matched.flat_map(|group| group.pods.iter().copied()).collect();
    ids.extend(relevant.names.iter().filter_map(|name| index.pods_naming.get(name)).flatten());
    ids.sort_unstable();
    ids.dedup();
    let signature = |pod: &PodEntry| Signature {
        peers: group_peers.get(&pod.group).cloned().unwrap_or_default(),
        own: None,
        named: named_ports(pod, &relevant.names),
    };
    let mut seen = BTreeMap::new();
    for (id, pod) in ids.iter().filter_map(|id| Some((id, index.pods.get(*id as usize)?))) {
        for address in pod.addresses.iter().filter(|address| index.pod_at.get(address) == Some(id)) {
            seen.insert(*address, signature(pod));
        }
    }
    let placed = placed.iter().filter_map(|(address, id)| Some((*address, index.pods.get(*id as usize)?)));
    seen.extend(placed.map(|(address, pod)| (address, signature(pod))));
    seen
}

pub(crate) fn named_ports(pod: &PodEntry, names: &BTreeSet<Arc<str>>) -> Vec<NamedPort> {
    let mut named: Vec<NamedPort> =
        pod.ports.iter().filter(|port| names.contains(&port.name)).cloned().collect();
    named.sort_unstable();
    named.dedup();
    named
}

fn nodes(index: &Index, relevant: &Relevant, seen: &mut BTreeMap<IpAddr, Signature>) {
    let selectors: Vec<_> = relevant
        .peers
        .iter()
        .filter_map(|id| match index.peers.get(*id as usize) {
            Some(PeerEntry::Nodes(selector)) => Some((*id, selector)),
            Some(PeerEntry::Pods(_) | PeerEntry::Network(..) | PeerEntry::Names(_)) | None => None,
        })
        .collect();
    if selectors.is_empty() && relevant.own.is_empty() {
        return;
    }
    for node in index.nodes.values() {
        let matching = selectors.iter().filter(|(_, selector)| selector.matches(&node.labels));
        let peers: Vec<Id> = matching.map(|(id, _)| *id).collect();
        let own = relevant.own.get(&node.name).cloned();
        if peers.is_empty() && own.is_none() {
            continue;
        }
        for address in &node.addresses {
            if belongs_to_node(index, *address, &node.name) {
                let entry = seen.entry(*address).or_default();
                entry.peers.extend_from_slice(&peers);
                entry.own.clone_from(&own);
            }
        }
    }
}

/// Whether an address means the node: no pod has it, and no node before this one.
pub(crate) fn belongs_to_node(index: &Index, address: IpAddr, node: &str) -> bool {
    !index.pod_at.contains_key(&address) && index.node_at.get(&address).is_some_and(|owner| **owner == *node)
}
