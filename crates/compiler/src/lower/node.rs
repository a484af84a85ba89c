//! The table of one scope: slots, classes, rows.
//!
//! Enters: the index of a cluster. Leaves: a [`Table`]. Guarantees: a lane lists a class only if its row differs
//! from the lane's own. Does not: touch pods or policies that no local pod has to do with.

use super::classes::{Classes, Relevant, Signature, belongs_to_node};
use super::index::{Id, Index};
use super::row::{Rows, constant, ruling, sweep};
use super::slots::{Profiles, Program, Rules, SlotKey, port_names, program};
use super::{Fixed, LowerError, Placement, Scope, dense};
use policy::{NamedPort, RuleId};
use policy::table::{ClassId, Lane, Row, RowId, Slot, SlotId, Table};
use std::collections::{BTreeMap, BTreeSet, HashMap};
use std::net::IpAddr;
use std::sync::Arc;

/// The table for a scope.
pub(crate) fn table(index: &Index, scope: Scope<'_>, placement: &Placement) -> Result<Table, LowerError> {
    let placed = placed(index, placement)?;
    let (keys, endpoints) = slots(index, scope, &placed);
    let relevant = relevant(index, scope, &keys);
    let classes = Classes::new(index, &relevant, &placed);
    let lanes = Lanes::new(index, &classes, scope);
    let mut rows = Rows::default();
    let slots = keys
        .iter()
        .map(|key| Slot { egress: lanes.lane(key, 0, &mut rows), ingress: lanes.lane(key, 1, &mut rows) })
        .collect();
    let (node, own) = match scope {
        Scope::Node(node) => (Arc::from(node), own_addresses(index, node)),
        Scope::Everything => (Arc::from("*"), BTreeSet::new()),
    };
    Ok(Table {
        generation: index.generation,
        node,
        own,
        endpoints,
        hosts: classes.hosts,
        networks: classes.networks,
        slots,
        rows: rows.rows,
        rules: index.rules.clone(),
    })
}

fn own_addresses(index: &Index, node: &str) -> BTreeSet<IpAddr> {
    let addresses = index.nodes.get(node).map_or(&[][..], |node| &node.addresses);
    addresses.iter().copied().filter(|address| belongs_to_node(index, *address, node)).collect()
}

fn placed(index: &Index, placement: &Placement) -> Result<BTreeMap<IpAddr, Id>, LowerError> {
    let mut placed = BTreeMap::new();
    if placement.is_empty() {
        return Ok(placed);
    }
    let pods: HashMap<(&str, &str), Id> = index
        .pods
        .iter()
        .enumerate()
        .map(|(id, pod)| ((pod.namespace.as_ref(), pod.name.as_ref()), dense(id)))
        .collect();
    for ((namespace, name), addresses) in placement {
        let unknown = || LowerError::UnknownPod { namespace: namespace.clone(), name: name.clone() };
        let pod = *pods.get(&(namespace.as_ref(), name.as_ref())).ok_or_else(unknown)?;
        for &address in addresses {
            let known = index.pod_at.contains_key(&address) || index.node_at.contains_key(&address);
            if known || placed.insert(address, pod).is_some_and(|other| other != pod) {
                return Err(LowerError::AddressTaken { address });
            }
        }
    }
    Ok(placed)
}

fn slots(
    index: &Index,
    scope: Scope<'_>,
    placed: &BTreeMap<IpAddr, Id>,
) -> (Vec<SlotKey>, BTreeMap<IpAddr, SlotId>) {
    let mut extra: HashMap<Id, Vec<IpAddr>, Fixed> = HashMap::default();
    placed.iter().for_each(|(address, pod)| extra.entry(*pod).or_default().push(*address));
    let everyone: Vec<Id>;
    let local = match scope {
        Scope::Node(node) => index.pods_on.get(node).map_or(&[][..], Vec::as_slice),
        Scope::Everything => {
            everyone = (0..dense(index.pods.len())).collect();
            &everyone
        }
    };
    let mut profiles = Profiles::default();
    let mut ids: HashMap<SlotKey, SlotId, Fixed> = HashMap::default();
    // A whole key names every policy of a pod, and is looked at once per group rather than once per pod.
    let mut known: HashMap<(Id, Vec<NamedPort>, Option<Arc<str>>), SlotId, Fixed> = HashMap::default();
    let mut keys = Vec::new();
    let mut endpoints = BTreeMap::new();
    for (id, pod) in local.iter().filter_map(|id| Some((id, index.pods.get(*id as usize)?))) {
        let own = pod.addresses.iter().filter(|address| index.pod_at.get(address) == Some(id));
        let addresses: Vec<IpAddr> = own.chain(extra.get(id).into_iter().flatten()).copied().collect();
        if addresses.is_empty() {
            continue;
        }
        let node = match scope {
            Scope::Node(_) => None,
            Scope::Everything => pod.node.clone(),
        };
        let key = profiles.of(index, pod.group).key(pod, node);
        let short = (pod.group, key.named.clone(), key.node.clone());
        let slot = *known.entry(short).or_insert_with(|| {
            *ids.entry(key).or_insert_with_key(|key| {
                keys.push(key.clone());
                SlotId(dense(keys.len() - 1))
            })
        });
        endpoints.extend(addresses.into_iter().map(|address| (address, slot)));
    }
    (keys, endpoints)
}

/// What the rules of these slots speak of.
pub(crate) fn relevant(index: &Index, scope: Scope<'_>, keys: &[SlotKey]) -> Relevant {
    let mut relevant = Relevant::default();
    let mut sections: Vec<(Id, usize)> = Vec::new();
    for key in keys {
        relevant.own.extend(key.node.clone());
        for direction in [0, 1] {
            if key.closed.get(direction).is_none_or(Option::is_none) {
                sections.extend(key.policies.iter().map(|policy| (*policy, direction)));
            }
        }
    }
    sections.sort_unstable();
    sections.dedup();
    let mut peers = Vec::new();
    for (policy, direction) in sections {
        add_relevant(index, &mut relevant, &mut peers, policy, direction);
    }
    peers.sort_unstable();
    peers.dedup();
    relevant.peers = peers.into_iter().collect();
    if let Scope::Node(node) = scope {
        relevant.own.insert(node.into());
    }
    relevant
}

fn add_relevant(
    index: &Index,
    relevant: &mut Relevant,
    peers: &mut Vec<Id>,
    policy: Id,
    direction: usize,
) {
    let policy = index.policies.get(policy as usize);
    let Some(section) = policy.and_then(|policy| policy.sections.get(direction)?.as_deref()) else { return };
    for rule in section {
        peers.extend(rule.peers.iter().flatten());
        if direction == 0 {
            relevant.names.extend(rule.ports.as_deref().into_iter().flat_map(port_names));
        }
    }
}

/// Classes, found the way lanes need them.
pub(crate) struct Lanes<'a> {
    index: &'a Index,
    classes: &'a Classes,
    by_peer: HashMap<Id, Vec<ClassId>, Fixed>,
    own: Vec<ClassId>,
    named: Vec<ClassId>,
    /// The table serves one node.
    single: bool,
}

impl<'a> Lanes<'a> {
    pub(crate) fn new(index: &'a Index, classes: &'a Classes, scope: Scope<'_>) -> Self {
        let (mut own, mut named) = (Vec::new(), Vec::new());
        let mut by_peer: HashMap<Id, Vec<ClassId>, Fixed> = HashMap::default();
        for (id, signature) in classes.signatures.iter().enumerate() {
            let id = ClassId(dense(id));
            signature.peers.iter().for_each(|peer| by_peer.entry(*peer).or_default().push(id));
            if signature.own.is_some() {
                own.push(id);
            }
            if !signature.named.is_empty() {
                named.push(id);
            }
        }
        Self { index, classes, by_peer, own, named, single: matches!(scope, Scope::Node(_)) }
    }

    pub(crate) fn lane(&self, key: &SlotKey, direction: usize, rows: &mut Rows) -> Lane {
        let own_node = ruling(&self.index.rules, RuleId::OWN_NODE);
        let (mut lane, program) = match program(self.index, key, direction) {
            Program::Closed(ruling) => {
                (Lane { rows: BTreeMap::new(), otherwise: rows.id(constant(ruling)) }, None)
            }
            Program::Rules(program) => {
                let named = if direction == 1 { key.named.as_slice() } else { &[] };
                let row = sweep(&program.rules, &program.everyone, named, program.defaults);
                (Lane { rows: BTreeMap::new(), otherwise: rows.id(row) }, Some(program))
            }
        };
        if let Some(program) = program {
            lane.rows = self.class_rows(key, direction, &program, rows);
        }
        if direction == 1 {
            // Nothing closes a pod to its own node, not even a closed scope.
            let row = rows.id(constant(own_node));
            for class in self.own.iter().filter(|class| self.is_own(**class, key)) {
                lane.rows.insert(*class, row);
            }
        }
        lane.rows.retain(|_, row| *row != lane.otherwise);
        lane
    }

    fn class_rows(
        &self,
        key: &SlotKey,
        direction: usize,
        program: &Rules<'_>,
        rows: &mut Rows,
    ) -> BTreeMap<ClassId, RowId> {
        let own_node = ruling(&self.index.rules, RuleId::OWN_NODE);
        let mut by_class = BTreeMap::new();
        let mut known: HashMap<(Vec<u32>, bool, &[NamedPort]), Row, Fixed> = HashMap::default();
        for (class, mut matching) in self.matching(program, key, direction) {
            let Some(signature) = self.classes.signatures.get(class.0 as usize) else { continue };
            matching.extend_from_slice(&program.everyone);
            matching.sort_unstable();
            matching.dedup();
            let own = direction == 0 && self.is_own(class, key);
            let named = self.named_ports(signature, key, direction, program);
            let row = known.entry((matching, own, named)).or_insert_with_key(|(matching, own, named)| {
                let mut defaults = program.defaults;
                if !own {
                    return sweep(&program.rules, matching, named, defaults);
                }
                let Some(isolation) = &mut defaults.isolation else {
                    return sweep(&program.rules, matching, named, defaults);
                };
                // Where the tier would isolate, it leaves the pod's own node alone, whatever its rules say.
                *isolation = own_node;
                let tier = |rule: &u32| program.rules.get(*rule as usize).map(|rule| rule.tier);
                let others = |rule: &u32| tier(rule) != Some(policy::Tier::NetworkPolicy);
                let matching: Vec<u32> = matching.iter().copied().filter(others).collect();
                sweep(&program.rules, &matching, named, defaults)
            });
            by_class.insert(class, rows.id(row.clone()));
        }
        by_class
    }

    /// Classes that may differ from the lane's own row, with the rules for their peers.
    fn matching(&self, program: &Rules<'_>, key: &SlotKey, direction: usize) -> BTreeMap<ClassId, Vec<u32>> {
        let mut matching: BTreeMap<ClassId, Vec<u32>> = BTreeMap::new();
        for (peer, rules) in &program.by_peer {
            for class in self.by_peer.get(peer).into_iter().flatten() {
                matching.entry(*class).or_default().extend_from_slice(rules);
            }
        }
        if direction == 0 {
            for class in self.own.iter().filter(|class| self.is_own(**class, key)) {
                matching.entry(*class).or_default();
            }
            let named = if program.everyone_named { self.named.as_slice() } else { &[] };
            for class in named {
                matching.entry(*class).or_default();
            }
        }
        matching
    }

    fn named_ports<'b>(
        &self,
        signature: &'b Signature,
        key: &'b SlotKey,
        direction: usize,
        program: &Rules<'_>,
    ) -> &'b [NamedPort] {
        match (program.names_ports, direction) {
            (false, _) => &[],
            (true, 0) => &signature.named,
            (true, _) => &key.named,
        }
    }

    /// Whether the class is addresses of the node that the slot's pods run on.
    fn is_own(&self, class: ClassId, key: &SlotKey) -> bool {
        let own = self.classes.signatures.get(class.0 as usize).and_then(|signature| signature.own.as_ref());
        match &key.node {
            Some(node) => own == Some(node),
            // A table for one node knows no other node's addresses as own.
            None => own.is_some() && self.single,
        }
    }
}
