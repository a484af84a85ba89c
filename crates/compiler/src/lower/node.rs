//! The table of one scope: slots, classes, rows.
//!
//! Enters: the index of a cluster. Leaves: a [`Table`]. Guarantees: nodes with the same slots share all work but their
//! own addresses. Does not: touch pods or policies that no local pod has to do with.

use super::classes::{Classes, Relevant, belongs_to_node};
use super::index::{Id, Index};
use super::lanes::{Lanes, own_row};
use super::row::{Rows, constant, ruling};
use super::slots::{Profiles, Program, SlotKey, port_names, program};
use super::{Binder, Destination, Fixed, LowerError, Placement, Scope, dense};
use policy::table::{Bindings, ClassId, Row, RowId, Slot, SlotId, Table};
use policy::{DnsName, NamedPort, RuleId};
use std::collections::{BTreeMap, BTreeSet, HashMap};
use std::net::IpAddr;
use std::sync::Arc;

/// The table for a scope.
pub(crate) fn table(index: &Index, scope: Scope<'_>, placement: &Placement) -> Result<Table, LowerError> {
    let placed = placed(index, placement)?;
    let (keys, endpoints) = Locals::new(&placed).slots(index, scope);
    let (node, own) = match scope {
        Scope::Node(node) => (Arc::from(node), own_addresses(index, node)),
        Scope::Everything => (Arc::from("*"), BTreeSet::new()),
    };
    Ok(Shared::new(index, &keys, &placed).table(index, &placed, node, own, endpoints).0)
}

/// The table of each node. Nodes whose pods the same policies select share the work.
pub(crate) fn each<'n>(
    index: &Index,
    nodes: impl IntoIterator<Item = &'n str>,
    placement: &Placement,
    mut give: impl FnMut(Table, Binder),
) -> Result<(), LowerError> {
    let placed = placed(index, placement)?;
    let mut locals = Locals::new(&placed);
    let mut known: HashMap<Vec<SlotKey>, usize, Fixed> = HashMap::default();
    let mut alike: Vec<Vec<(&str, BTreeMap<IpAddr, SlotId>)>> = Vec::new();
    for node in nodes {
        let (keys, endpoints) = locals.slots(index, Scope::Node(node));
        let at = *known.entry(keys).or_insert(alike.len());
        match alike.get_mut(at) {
            Some(nodes) => nodes.push((node, endpoints)),
            None => alike.push(vec![(node, endpoints)]),
        }
    }
    let mut keys: Vec<(Vec<SlotKey>, usize)> = known.into_iter().collect();
    keys.sort_unstable_by_key(|(_, at)| *at);
    for ((keys, _), nodes) in keys.into_iter().zip(alike) {
        let shared = Shared::new(index, &keys, &placed);
        for (node, endpoints) in nodes {
            let own = own_addresses(index, node);
            let (table, binder) = shared.table(index, &placed, node.into(), own, endpoints);
            give(table, binder);
        }
    }
    Ok(())
}

/// What the tables of all nodes with the same slots have in common: everything but who is local.
struct Shared {
    classes: Classes,
    /// Per slot, towards the peer.
    egress: Vec<Program>,
    slots: Vec<Slot>,
    rows: Rows,
    binder: Binder,
}

impl Shared {
    fn new(index: &Index, keys: &[SlotKey], placed: &BTreeMap<IpAddr, Id>) -> Self {
        let classes = Classes::new(index, &relevant(index, keys), placed);
        let lanes = Lanes::new(index, &classes);
        let (mut rows, mut egress, mut slots) = (Rows::default(), Vec::new(), Vec::new());
        for key in keys {
            let out = program(index, key, 0);
            let ingress = lanes.lane(key, 1, &program(index, key, 1), &mut rows);
            slots.push(Slot { egress: lanes.lane(key, 0, &out, &mut rows), ingress });
            egress.push(out);
        }
        let binder = Binder::new(index, keys, &egress, &classes.signatures);
        Self { classes, egress, slots, rows, binder }
    }

    fn table(
        &self,
        index: &Index,
        placed: &BTreeMap<IpAddr, Id>,
        node: Arc<str>,
        own: BTreeSet<IpAddr>,
        endpoints: BTreeMap<IpAddr, SlotId>,
    ) -> (Table, Binder) {
        let mut table = Table {
            generation: index.generation,
            node,
            own: BTreeSet::new(),
            endpoints,
            hosts: self.classes.hosts.clone(),
            networks: self.classes.networks.clone(),
            bound: Bindings::new(),
            past: Bindings::new(),
            slots: self.slots.clone(),
            rows: self.rows.rows.clone(),
            rules: index.rules.clone(),
        };
        let mut classes: BTreeMap<ClassId, ClassId> = BTreeMap::new();
        for address in &own {
            let like = table.class(*address);
            let next = ClassId(dense(self.classes.signatures.len() + classes.len()));
            let class = *classes.entry(like).or_insert(next);
            table.hosts.insert(*address, class);
        }
        table.own = own;
        for (like, class) in &classes {
            self.add_own(index, &mut table, *like, *class);
        }
        let own = classes.into_iter().map(|(like, class)| (class, like)).collect();
        let mut binder = self.binder.with_own(own);
        self.add_bindings(index, placed, &mut table, &mut binder);
        (table, binder)
    }

    /// Fills in what DNS answered the table's endpoints.
    fn add_bindings(
        &self,
        index: &Index,
        placed: &BTreeMap<IpAddr, Id>,
        table: &mut Table,
        binder: &mut Binder,
    ) {
        if binder.is_empty() || index.names.is_empty() {
            return;
        }
        let mut rows = BoundRows { shared: &self.rows, new: HashMap::default(), first: table.rows.len() };
        let (mut bound, mut past) = (Bindings::new(), Bindings::new());
        for address in table.endpoints.keys() {
            let id = index.pod_at.get(address).or_else(|| placed.get(address));
            let Some(pod) = id.and_then(|id| index.pods.get(*id as usize)) else { continue };
            let Some(known) = index.names.get(&(pod.namespace.clone(), pod.name.clone())) else { continue };
            // No name peer matches a pod at an address that the world does not know.
            let is_known = |(to, _): &(&IpAddr, &BTreeSet<DnsName>)| !placed.contains_key(*to);
            let destination = |to: &IpAddr| {
                let is_inside = index.pod_at.contains_key(to) || index.node_at.contains_key(to);
                Destination { address: *to, is_outside: !is_inside }
            };
            for (to, names) in known.live.iter().filter(is_known) {
                let row = binder.row(table, *address, destination(to), names);
                bound.extend(row.map(|row| ((*address, *to), rows.id(row))));
            }
            for (to, names) in known.past.iter().filter(is_known) {
                let live = known.live.get(to).into_iter().flatten();
                let row = binder.open_row(table, *address, destination(to), live, names);
                past.extend(row.map(|row| ((*address, *to), rows.id(row))));
            }
        }
        table.rows.extend(rows.in_order());
        (table.bound, table.past) = (bound, past);
    }

    /// Fills in what the slots say to a class of the node's own addresses that are otherwise like another class.
    fn add_own(&self, index: &Index, table: &mut Table, like: ClassId, class: ClassId) {
        let own_node = ruling(&index.rules, RuleId::OWN_NODE);
        let Table { slots, rows, .. } = table;
        let mut id = |row: Row| self.rows.find(&row).unwrap_or_else(|| added(rows, row));
        let ingress = id(constant(own_node));
        let peers = self.classes.signatures.get(like.0 as usize).map_or(&[][..], |like| &like.peers);
        for (slot, program) in slots.iter_mut().zip(&self.egress) {
            if let Program::Rules(program) = program {
                let matching = peers.iter().filter_map(|peer| program.by_peer.get(peer)).flatten();
                let mut matching: Vec<u32> = matching.chain(&program.everyone).copied().collect();
                matching.sort_unstable();
                matching.dedup();
                let row = id(own_row(program, &matching, own_node));
                if row != slot.egress.otherwise {
                    slot.egress.rows.insert(class, row);
                }
            }
            // Nothing closes a pod to its own node, not even a closed scope.
            if ingress != slot.ingress.otherwise {
                slot.ingress.rows.insert(class, ingress);
            }
        }
    }
}

/// Rows of one table for what DNS answered: found among the shared ones, or added behind the table's own.
struct BoundRows<'a> {
    shared: &'a Rows,
    new: HashMap<Arc<Row>, RowId, Fixed>,
    first: usize,
}

impl BoundRows<'_> {
    fn id(&mut self, row: Arc<Row>) -> RowId {
        let next = RowId(dense(self.first + self.new.len()));
        self.shared.find(&row).unwrap_or_else(|| *self.new.entry(row).or_insert(next))
    }

    fn in_order(self) -> impl Iterator<Item = Row> {
        let by_id: BTreeMap<RowId, Arc<Row>> = self.new.into_iter().map(|(row, id)| (id, row)).collect();
        by_id.into_values().map(|row| (*row).clone())
    }
}

/// The place of a row that the shared ones do not have.
fn added(rows: &mut Vec<Row>, row: Row) -> RowId {
    let at = rows.iter().rposition(|known| *known == row);
    RowId(dense(at.unwrap_or_else(|| {
        rows.push(row);
        rows.len() - 1
    })))
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
            // What another cluster claims keeps no pod of this one from its address.
            let holder = index.pod_at.get(&address).and_then(|id| index.pods.get(*id as usize));
            let known =
                holder.is_some_and(|holder| !holder.is_elsewhere()) || index.node_at.contains_key(&address);
            if known || placed.insert(address, pod).is_some_and(|other| other != pod) {
                return Err(LowerError::AddressTaken { address });
            }
        }
    }
    Ok(placed)
}

/// The pod's group, and what else of a [`SlotKey`] is the pod's own.
type ShortKey = (Id, Vec<NamedPort>, Option<Arc<str>>);

/// Who is local, and what tells them apart.
struct Locals {
    extra: HashMap<Id, Vec<IpAddr>, Fixed>,
    profiles: Profiles,
}

impl Locals {
    fn new(placed: &BTreeMap<IpAddr, Id>) -> Self {
        let mut extra: HashMap<Id, Vec<IpAddr>, Fixed> = HashMap::default();
        placed.iter().for_each(|(address, pod)| extra.entry(*pod).or_default().push(*address));
        Self { extra, profiles: Profiles::default() }
    }

    fn slots(&mut self, index: &Index, scope: Scope<'_>) -> (Vec<SlotKey>, BTreeMap<IpAddr, SlotId>) {
        let everyone: Vec<Id>;
        let local = match scope {
            Scope::Node(node) => index.pods_on.get(node).map_or(&[][..], Vec::as_slice),
            Scope::Everything => {
                everyone = (0..dense(index.pods.len())).collect();
                &everyone
            }
        };
        let mut ids: HashMap<SlotKey, SlotId, Fixed> = HashMap::default();
        // A whole key names every policy of a pod, and is looked at once per group rather than once per pod.
        let mut known: HashMap<ShortKey, SlotId, Fixed> = HashMap::default();
        let mut keys = Vec::new();
        let mut endpoints = BTreeMap::new();
        for (id, pod) in local.iter().filter_map(|id| Some((id, index.pods.get(*id as usize)?))) {
            if pod.is_elsewhere() {
                continue;
            }
            let own = pod.addresses.iter().filter(|address| index.pod_at.get(address) == Some(id));
            let addresses: Vec<IpAddr> =
                own.chain(self.extra.get(id).into_iter().flatten()).copied().collect();
            if addresses.is_empty() {
                continue;
            }
            let node = match scope {
                Scope::Node(_) => None,
                Scope::Everything => pod.node.clone(),
            };
            let key = self.profiles.of(index, pod.group).key(pod, node);
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
}

/// What the rules of these slots speak of.
pub(crate) fn relevant(index: &Index, keys: &[SlotKey]) -> Relevant {
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
    relevant
}

/// Adds the peers, and in egress rules the port names, of one direction of a policy.
pub(crate) fn add_relevant(
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
