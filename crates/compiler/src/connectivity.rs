//! The whole allow list of a policy set, by workload.
//!
//! Enters: a policy set. Leaves: for every two workloads, and every workload and range of outside addresses, the
//! protocols and ports that both directions allow. Guarantees: what no entry lists is denied; pods of one workload
//! are united, so an entry means that some pod of it may. Work follows distinct (slot, class) pairs; only the
//! list itself is as long as it is. Does not: list a workload towards itself, one outside towards another, or
//! nodes (host-network pods are listed under their workload, and judged as their node), or workloads of other clusters towards
//! each other; know what DNS will answer.

mod allowed;
mod difference;
mod ranges;
pub mod render;

pub use difference::{Difference, difference};

use crate::lower::classes::{self, Classes, Relevant, Signature};
use crate::lower::forest::Forest;
use crate::lower::index::{Id, Index, PeerEntry, PodEntry};
use crate::lower::lanes::Lanes;
use crate::lower::node::relevant;
use crate::lower::row::Rows;
use crate::lower::slots::{Profiles, SlotKey, program};
use crate::lower::{Fixed, dense};
use allowed::Allowed;
use policy::table::{ClassId, Row, Slot};
use policy::{Labels, Pod, PolicySet, Protocol, WorkloadRef};
use std::collections::{BTreeMap, BTreeSet, HashMap};
use std::fmt;
use std::net::IpAddr;
use std::sync::Arc;

/// One end of an entry.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Peer {
    /// Pods of a workload.
    Workload {
        /// Namespace.
        namespace: Arc<str>,
        /// Kind and name.
        workload: WorkloadRef,
    },
    /// Outside addresses, both included.
    Range(IpAddr, IpAddr),
    /// Whoever forwards traffic of Ingress and Route objects: a pod without labels in a namespace without labels.
    IngressController,
}

impl Peer {
    /// Whether it is a workload of this cluster: what others do among themselves, nothing here judges.
    fn is_ours(&self) -> bool {
        match self {
            Self::Workload { namespace, .. } => policy::cluster_of(namespace).is_none(),
            Self::Range(..) | Self::IngressController => false,
        }
    }
}

impl fmt::Display for Peer {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Workload { namespace, workload } => {
                write!(f, "{namespace}/{}[{}]", workload.name, workload.kind)
            }
            Self::Range(first, last) => write!(f, "{first}-{last}"),
            Self::IngressController => f.write_str("ingress-controller"),
        }
    }
}

/// Which protocols an entry speaks of.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Protocols {
    /// Every protocol, those without ports included.
    All,
    /// One of [`Protocol::WITH_PORTS`].
    One(Protocol),
    /// Every protocol but those with ports.
    Portless,
}

impl fmt::Display for Protocols {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::All => f.write_str("*"),
            Self::One(protocol) => write!(f, "{protocol}"),
            Self::Portless => f.write_str("without ports"),
        }
    }
}

/// Ports `first` to `last`, both included.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct PortRange {
    /// First port, from 1.
    pub first: u16,
    /// Last port.
    pub last: u16,
}

impl PortRange {
    /// Every port.
    pub const ALL: Self = Self { first: 1, last: u16::MAX };
}

impl fmt::Display for PortRange {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match *self {
            Self::ALL => f.write_str("*"),
            Self { first, last } if first == last => write!(f, "{first}"),
            Self { first, last } => write!(f, "{first}-{last}"),
        }
    }
}

/// One thing that is allowed.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Entry {
    /// Who connects.
    pub from: Peer,
    /// To whom.
    pub to: Peer,
    /// With which protocols.
    pub protocol: Protocols,
    /// To which ports: ascending, disjoint, not empty.
    pub ports: Vec<PortRange>,
}

/// The allow list, sorted by `from`, `to` and protocol.
pub fn connectivity(set: &PolicySet) -> Vec<Entry> {
    let survey = Survey::new(set);
    let mut entries = Vec::new();
    let mut known: HashMap<(Unit, Unit), Allowed, Fixed> = HashMap::default();
    for (from, from_units) in &survey.workloads {
        let others = survey.workloads.iter().filter(|(to, _)| *to != from);
        for (to, to_units) in others.filter(|(to, _)| from.is_ours() || to.is_ours()) {
            let mut allowed = Allowed::default();
            for pair in from_units.iter().flat_map(|a| to_units.iter().map(move |b| (*a, *b))) {
                let one = known.entry(pair).or_insert_with(|| survey.allowed(pair.0, pair.1));
                allowed.unite(one);
            }
            entries.extend(allowed.entries(from, to));
        }
    }
    for (workload, units) in survey.workloads.iter().filter(|(workload, _)| workload.is_ours()) {
        survey.outside(workload, units, &mut entries);
    }
    entries.sort_unstable();
    entries
}

/// Of the allow list, what one end may reach; sorted by `to` and protocol.
pub fn connectivity_from(set: &PolicySet, from: &Peer) -> Vec<Entry> {
    let survey = Survey::new(set);
    let Some(units) = survey.workloads.get(from) else { return Vec::new() };
    let mut entries = Vec::new();
    let others = survey.workloads.iter().filter(|(to, _)| *to != from);
    for (to, to_units) in others.filter(|(to, _)| from.is_ours() || to.is_ours()) {
        let mut allowed = Allowed::default();
        for pair in units.iter().flat_map(|a| to_units.iter().map(move |b| (*a, *b))) {
            allowed.unite(&survey.allowed(pair.0, pair.1));
        }
        entries.extend(allowed.entries(from, to));
    }
    if from.is_ours() {
        survey.outside(from, units, &mut entries);
    }
    entries.retain(|entry| entry.from == *from);
    entries.sort_unstable();
    entries
}

/// What the ingress controller may reach: for each workload, what its ingress policies allow a pod without labels
/// in a namespace without labels. The caller keeps the ports its Ingress and Route objects forward to.
pub fn from_ingress_controller(set: &PolicySet) -> Vec<Entry> {
    let survey = Survey::new(set);
    let controller = Unit { slot: None, class: survey.controller };
    let mut entries: Vec<Entry> = Vec::new();
    for (to, units) in survey.workloads.iter().filter(|(to, _)| to.is_ours()) {
        let mut allowed = Allowed::default();
        units.iter().for_each(|unit| allowed.unite(&survey.allowed(controller, *unit)));
        entries.extend(allowed.entries(&Peer::IngressController, to));
    }
    entries.sort_unstable();
    entries
}

/// What rules can tell of one end: as a subject (`None` cannot be one) and as a peer.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
struct Unit {
    slot: Option<u32>,
    class: ClassId,
}

struct Survey {
    slots: Vec<Slot>,
    rows: Vec<Row>,
    workloads: BTreeMap<Peer, BTreeSet<Unit>>,
    ranges: Vec<(IpAddr, IpAddr, ClassId)>,
    controller: ClassId,
}

impl Survey {
    fn new(set: &PolicySet) -> Self {
        let index = Index::new(set);
        let mut profiles = Profiles::default();
        let mut slot_ids: HashMap<SlotKey, u32, Fixed> = HashMap::default();
        let mut keys = Vec::new();
        let mut pod_slots = Vec::with_capacity(index.pods.len());
        for pod in &index.pods {
            if pod.is_elsewhere() {
                pod_slots.push(None);
                continue;
            }
            let profile = profiles.of(&index, pod.group);
            let key = profile.key(pod, pod.node.clone());
            pod_slots.push(Some(*slot_ids.entry(key.clone()).or_insert_with(|| {
                keys.push(key);
                dense(keys.len() - 1)
            })));
        }
        let relevant = relevant(&index, &keys);
        let view = View::new(&index, &relevant);
        let mut classes = Classes::empty();
        let mut workloads: BTreeMap<Peer, BTreeSet<Unit>> = BTreeMap::new();
        // The index lists the pods of the world that are not their node's, in the world's order.
        let mut own_network = index.pods.iter().zip(pod_slots);
        for pod in &set.world.pods {
            let units = workloads.entry(workload(pod)).or_default();
            if pod.host_network {
                let class = classes.id(view.node(pod));
                units.insert(Unit { slot: None, class });
            } else if let Some((entry, slot)) = own_network.next() {
                let signatures = view.pod(entry);
                units.extend(signatures.map(|s| Unit { slot, class: classes.id(s) }));
            }
        }
        let controller = classes.id(view.unlabelled());
        let ranges = ranges::outside(&view.forest, |signature| classes.id(signature));
        let lanes = Lanes::new(&index, &classes);
        let mut rows = Rows::default();
        let mut lane = |key: &SlotKey, direction| {
            lanes.lane(key, direction, &program(&index, key, direction), &mut rows)
        };
        let slot = |key: &SlotKey| Slot { egress: lane(key, 0), ingress: lane(key, 1) };
        let slots = keys.iter().map(slot).collect();
        Self { slots, rows: rows.rows, workloads, ranges, controller }
    }

    fn allowed(&self, from: Unit, to: Unit) -> Allowed {
        let row = |subject: Unit, direction: policy::Direction, peer: Unit| {
            let lane = self.slots.get(subject.slot? as usize)?.lane(direction);
            let row = lane.rows.get(&peer.class).copied().unwrap_or(lane.otherwise);
            self.rows.get(row.0 as usize)
        };
        let mut allowed = Allowed::everything();
        let rows = [row(from, policy::Direction::Egress, to), row(to, policy::Direction::Ingress, from)];
        rows.into_iter().flatten().for_each(|row| allowed.keep(row));
        allowed
    }

    /// Entries between a workload and the outside; neighbouring ranges that are allowed the same are joined.
    fn outside(&self, workload: &Peer, units: &BTreeSet<Unit>, entries: &mut Vec<Entry>) {
        for inwards in [false, true] {
            let mut joined: Vec<(IpAddr, IpAddr, Allowed)> = Vec::new();
            for (first, last, class) in &self.ranges {
                let outside = Unit { slot: None, class: *class };
                let mut allowed = Allowed::default();
                for unit in units {
                    let (from, to) = if inwards { (outside, *unit) } else { (*unit, outside) };
                    allowed.unite(&self.allowed(from, to));
                }
                match joined.last_mut() {
                    Some((_, end, before)) if *before == allowed && end.is_ipv4() == last.is_ipv4() => {
                        *end = *last
                    }
                    Some(_) | None => joined.push((*first, *last, allowed)),
                }
            }
            for (first, last, allowed) in joined {
                let range = Peer::Range(first, last);
                let (from, to) = if inwards { (&range, workload) } else { (workload, &range) };
                entries.extend(allowed.entries(from, to));
            }
        }
    }
}

fn workload(pod: &Pod) -> Peer {
    Peer::Workload { namespace: pod.namespace.clone(), workload: pod.workload.clone() }
}

/// Signatures of parties, rather than of addresses: most pods of plain manifests have none.
struct View<'a> {
    index: &'a Index,
    relevant: &'a Relevant,
    forest: Forest,
}

impl<'a> View<'a> {
    fn new(index: &'a Index, relevant: &'a Relevant) -> Self {
        Self { index, relevant, forest: classes::forest(index, relevant) }
    }

    /// One signature for each address; one without network or name peers where there is none.
    fn pod(&self, pod: &PodEntry) -> impl Iterator<Item = Signature> {
        let sets = self.index.groups.get(pod.group as usize).map_or(&[][..], |group| &group.sets);
        let peers = self.pod_peers(|set| sets.binary_search(&set).is_ok());
        let named = classes::named_ports(pod, &self.relevant.names);
        let mut addresses: Vec<Option<IpAddr>> = pod.addresses.iter().copied().map(Some).collect();
        if addresses.is_empty() {
            addresses.push(None);
        }
        addresses.into_iter().map(move |address| self.signature(peers.clone(), named.clone(), None, address))
    }

    /// A host-network pod, seen as its node.
    fn node(&self, pod: &Pod) -> Signature {
        let node = pod.node.as_ref().and_then(|name| self.index.nodes.get(name));
        let nodes = |id: &&Id| match self.index.peers.get(**id as usize) {
            Some(PeerEntry::Nodes(selector)) => node.is_some_and(|node| selector.matches(&node.labels)),
            Some(PeerEntry::Pods(_) | PeerEntry::Network(..) | PeerEntry::Names(_)) | None => false,
        };
        let peers = self.relevant.peers.iter().filter(nodes).copied().collect();
        let first = pod.addresses.first().or_else(|| node.and_then(|node| node.addresses.first()));
        let own = node.map(|node| node.name.clone()).filter(|name| self.relevant.own.contains(name));
        self.signature(peers, Vec::new(), own, first.copied())
    }

    fn unlabelled(&self) -> Signature {
        let sets = self.index.sets_of_stranger(&Labels::default(), &Labels::default());
        let peers = self.pod_peers(|set| sets.binary_search(&set).is_ok());
        self.signature(peers, Vec::new(), None, None)
    }

    fn pod_peers(&self, includes: impl Fn(Id) -> bool) -> Vec<Id> {
        let matches = |id: &&Id| match self.index.peers.get(**id as usize) {
            Some(PeerEntry::Pods(set)) => includes(*set),
            Some(PeerEntry::Nodes(_) | PeerEntry::Network(..) | PeerEntry::Names(_)) | None => false,
        };
        self.relevant.peers.iter().filter(matches).copied().collect()
    }

    fn signature(
        &self,
        mut peers: Vec<Id>,
        named: Vec<policy::NamedPort>,
        own: Option<Arc<str>>,
        address: Option<IpAddr>,
    ) -> Signature {
        if let Some(address) = address {
            peers.extend_from_slice(self.forest.peers(address));
        }
        peers.sort_unstable();
        peers.dedup();
        Signature { peers, own, named }
    }
}
