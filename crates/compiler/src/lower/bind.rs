//! Rows for addresses that DNS gives a pod while its node's table is in force.
//!
//! Enters: the egress rules of the slots, and the names behind an address. Leaves: the row that holds from the pod to that
//! address. Guarantees: the row is complete, and says what the table would if it had been lowered with the names known;
//! equal questions cost a lookup. Does not: know how long an answer holds.

use super::Fixed;
use super::classes::Signature;
use super::index::{Id, Index, PeerEntry};
use super::lanes::own_row;
use super::row::{constant, ruling, sweep};
use super::slots::{Program, Rules, SlotKey};
use policy::table::{ClassId, Row, Ruling, SlotId, Table};
use policy::{Action, Demand, DnsName, DomainPattern, PortMatch, Protocol, RuleId, Tier, Verdict};
use std::collections::{BTreeMap, HashMap};
use std::net::IpAddr;
use std::sync::Arc;

/// Which name peers mean a name.
#[derive(Debug, Default)]
struct Patterns {
    exact: HashMap<DnsName, Vec<Id>, Fixed>,
    one_below: HashMap<DnsName, Vec<Id>, Fixed>,
    below: HashMap<DnsName, Vec<Id>, Fixed>,
    any: Vec<Id>,
    /// Wildcards without private zones, by these.
    outside: BTreeMap<Vec<DnsName>, Self>,
}

impl Patterns {
    fn new(index: &Index, peers: impl Iterator<Item = Id>) -> Self {
        let mut all = Self::default();
        for peer in peers {
            let Some(PeerEntry::Names(patterns)) = index.peers.get(peer as usize) else { continue };
            patterns.iter().for_each(|pattern| all.add(pattern, peer));
        }
        all
    }

    fn add(&mut self, pattern: &DomainPattern, peer: Id) {
        let (map, name) = match pattern {
            DomainPattern::Exact(name) => (&mut self.exact, name),
            DomainPattern::OneBelow(name) => (&mut self.one_below, name),
            DomainPattern::Below(name) => (&mut self.below, name),
            DomainPattern::Any => return self.any.push(peer),
            DomainPattern::Outside(outside) => {
                let of_zones = self.outside.entry(outside.zones().to_vec()).or_default();
                return of_zones.add(outside.wide(), peer);
            }
        };
        map.entry(name.clone()).or_default().push(peer);
    }

    fn add_matching(&self, name: &DnsName, peers: &mut Vec<Id>) {
        peers.extend(self.exact.get(name).into_iter().flatten());
        let nearest = name.parents().next();
        peers.extend(nearest.and_then(|parent| self.one_below.get(parent)).into_iter().flatten());
        for parent in name.parents() {
            peers.extend(self.below.get(parent).into_iter().flatten());
        }
        peers.extend(&self.any);
        for (zones, of_zones) in &self.outside {
            if !zones.iter().any(|zone| name.is_in(zone)) {
                of_zones.add_matching(name, peers);
            }
        }
    }
}

/// A slot whose egress rules speak of names.
#[derive(Debug)]
struct Speaking {
    rules: Arc<Rules>,
    /// The pods' node, where a table serves several.
    node: Option<Arc<str>>,
}

/// What all nodes with the same slots have in common.
#[derive(Debug)]
struct Common {
    patterns: Patterns,
    /// By class.
    signatures: Vec<Signature>,
    /// By slot. None where no rule speaks of names, or everything is closed.
    slots: Vec<Option<Speaking>>,
    /// What the peers of rules that look at requests mean.
    names: HashMap<Id, Vec<DomainPattern>, Fixed>,
    own_node: Ruling,
}

/// Where a pod connects to.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct Destination {
    /// The address.
    pub address: IpAddr,
    /// Whether it is neither a pod's nor a node's: only what goes out can be judged request by request.
    pub is_outside: bool,
}

/// Where in a table a pair of addresses is.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
struct Place {
    slot: SlotId,
    class: ClassId,
    is_outside: bool,
}

/// A rule that looks at requests, as it concerns one endpoint of a table.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Judging {
    /// The rule.
    pub rule: RuleId,
    /// Names that it is for.
    pub names: Vec<DomainPattern>,
    /// TCP ports that it is for: first and last.
    pub ports: Vec<(u16, u16)>,
    /// Whether what it allows adds to what others allow that are shared: in the NetworkPolicy tier.
    pub is_shared: bool,
}

/// Rows that are remembered. More do not occur but by adversarial names; making one takes microseconds.
const KNOWN: usize = 1 << 14;

/// Makes rows for one table.
#[derive(Clone, Debug, Default)]
pub struct Binder {
    /// None where no rule speaks of names.
    common: Option<Arc<Common>>,
    /// Classes of the node's own addresses, and the class each is otherwise like.
    own: BTreeMap<ClassId, ClassId>,
    known: HashMap<(Place, Vec<Id>), Arc<Row>, Fixed>,
    /// The last answer: who puts a name in force asks for the kernel, for the gateway, and for the steering.
    last: Option<Answer>,
}

/// What was asked, and the row.
#[derive(Clone, Debug)]
struct Answer {
    from: IpAddr,
    to: Destination,
    names: Vec<DnsName>,
    row: Option<Arc<Row>>,
}

impl Binder {
    pub(crate) fn new(index: &Index, keys: &[SlotKey], egress: &[Program], signatures: &[Signature]) -> Self {
        let is_names = |peer: &&Id| matches!(index.peers.get(**peer as usize), Some(PeerEntry::Names(_)));
        let mut peers: Vec<Id> = Vec::new();
        let slots: Vec<_> = keys
            .iter()
            .zip(egress)
            .map(|(key, program)| {
                let Program::Rules(rules) = program else { return None };
                let before = peers.len();
                peers.extend(rules.by_peer.keys().filter(is_names));
                (peers.len() > before).then(|| Speaking { rules: Arc::clone(rules), node: key.node.clone() })
            })
            .collect();
        if peers.is_empty() {
            return Self::default();
        }
        peers.sort_unstable();
        peers.dedup();
        let names = |peer: &Id| match index.peers.get(*peer as usize) {
            Some(PeerEntry::Names(names)) => Some((*peer, names.clone())),
            Some(_) | None => None,
        };
        let names = peers.iter().filter_map(names).collect();
        let common = Common {
            names,
            patterns: Patterns::new(index, peers.into_iter()),
            signatures: signatures.to_vec(),
            slots,
            own_node: ruling(&index.rules, RuleId::OWN_NODE),
        };
        Self { common: Some(Arc::new(common)), ..Self::default() }
    }

    /// The same for a table in which these classes mean the node's own addresses.
    pub(crate) fn with_own(&self, own: BTreeMap<ClassId, ClassId>) -> Self {
        Self { common: self.common.clone(), own, ..Self::default() }
    }

    /// Whether any rule of the table speaks of names.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.common.is_none()
    }

    /// Endpoints of the table whose egress rules speak of names.
    pub fn led_by_names(&self, table: &Table) -> impl Iterator<Item = IpAddr> {
        let speaks = |slot: SlotId| {
            let slots = self.common.as_deref().map(|common| common.slots.as_slice());
            slots.and_then(|slots| slots.get(slot.0 as usize)).is_some_and(Option::is_some)
        };
        table.endpoints.iter().filter(move |(_, slot)| speaks(**slot)).map(|(address, _)| *address)
    }

    /// The row that holds from an endpoint of the table to an address that DNS gave it for these names. None where it is
    /// what the table says anyway, for no rule speaks of any of the names.
    pub fn row<'n>(
        &mut self,
        table: &Table,
        from: IpAddr,
        to: Destination,
        names: impl IntoIterator<Item = &'n DnsName, IntoIter: Clone>,
    ) -> Option<Arc<Row>> {
        let names = names.into_iter();
        let is_this =
            |last: &&Answer| last.from == from && last.to == to && last.names.iter().eq(names.clone());
        if let Some(last) = self.last.as_ref().filter(is_this) {
            return last.row.clone();
        }
        let place = self.place(table, from, to)?;
        let peers = self.peers(&place, names.clone());
        let row = (!peers.is_empty()).then(|| self.made(place, peers));
        self.last = Some(Answer { from, to, names: names.cloned().collect(), row: row.clone() });
        row
    }

    /// The row for connections that are open, to an address whose answers for `past` ran out: they may go on if the names
    /// it still has allow them, or those it had. None where no rule speaks of any of those.
    pub fn open_row<'n>(
        &mut self,
        table: &Table,
        from: IpAddr,
        to: Destination,
        live: impl IntoIterator<Item = &'n DnsName>,
        past: impl IntoIterator<Item = &'n DnsName>,
    ) -> Option<Arc<Row>> {
        let mut past = past.into_iter().peekable();
        past.peek()?;
        let place = self.place(table, from, to)?;
        let had = self.peers(&place, past);
        if had.is_empty() {
            return None;
        }
        let has = self.peers(&place, live);
        let (now, before) = (self.made(place, has), self.made(place, had));
        Some(Arc::new(now.or(&before)))
    }

    /// None where names make no difference.
    fn place(&self, table: &Table, from: IpAddr, to: Destination) -> Option<Place> {
        let slot = *table.endpoints.get(&from)?;
        self.common.as_ref()?.slots.get(slot.0 as usize)?.as_ref()?;
        Some(Place { slot, class: table.class(to.address), is_outside: to.is_outside })
    }

    /// The rules that look at requests and hold for an endpoint of the table, in order of judgement.
    #[must_use]
    pub fn judging(&self, table: &Table, from: IpAddr) -> Vec<Judging> {
        let common = self.common.as_deref();
        let speaking =
            table.endpoints.get(&from).and_then(|slot| common?.slots.get(slot.0 as usize)?.as_ref());
        let (Some(common), Some(Speaking { rules, .. })) = (common, speaking) else { return Vec::new() };
        let mut names: BTreeMap<u32, Vec<DomainPattern>> = BTreeMap::new();
        for (peer, of_peer) in &rules.by_peer {
            let Some(patterns) = common.names.get(peer) else { continue };
            of_peer.iter().for_each(|rule| names.entry(*rule).or_default().extend_from_slice(patterns));
        }
        let judging = |(rule, names): (u32, Vec<DomainPattern>)| {
            let rule = rules.rules.get(rule as usize)?;
            let is_judging = rule.action == Action::Accept && rule.demand.judges();
            is_judging.then(|| Judging {
                rule: rule.ruling.rule,
                names,
                ports: tcp_ports(rule.ports.as_deref()),
                is_shared: rule.tier == Tier::NetworkPolicy,
            })
        };
        names.into_iter().filter_map(judging).collect()
    }

    /// The peers of the slot's rules that mean any of the names; ascending.
    fn peers<'n>(&self, place: &Place, names: impl IntoIterator<Item = &'n DnsName>) -> Vec<Id> {
        let mut peers = Vec::new();
        let Some((common, Speaking { rules, .. })) = self.rules(place) else { return peers };
        names.into_iter().for_each(|name| common.patterns.add_matching(name, &mut peers));
        peers.retain(|peer| rules.by_peer.contains_key(peer));
        peers.sort_unstable();
        peers.dedup();
        peers
    }

    fn made(&mut self, place: Place, peers: Vec<Id>) -> Arc<Row> {
        let key = (place, peers);
        if let Some(known) = self.known.get(&key) {
            return Arc::clone(known);
        }
        let row = Arc::new(self.make(&key.0, &key.1));
        if self.known.len() >= KNOWN {
            self.known.clear();
        }
        self.known.insert(key, Arc::clone(&row));
        row
    }

    fn rules(&self, place: &Place) -> Option<(&Common, &Speaking)> {
        let common = self.common.as_deref()?;
        Some((common, common.slots.get(place.slot.0 as usize)?.as_ref()?))
    }

    fn make(&self, place: &Place, names: &[Id]) -> Row {
        let like = self.own.get(&place.class);
        let class = like.unwrap_or(&place.class);
        let found = self.rules(place);
        let signature = found.and_then(|(common, ..)| common.signatures.get(class.0 as usize));
        let (Some((common, Speaking { rules, node })), Some(signature)) = (found, signature) else {
            // A place comes from the table that this was made with; nobody vouches for another.
            return constant(Ruling { verdict: Verdict::Deny, rule: RuleId::UNMANAGED });
        };
        // What goes to a pod or a node passes nobody who would judge its requests.
        let is_judged = |rule: &&u32| {
            let demand = rules.rules.get(**rule as usize).map(|rule| rule.demand);
            place.is_outside || !demand.is_some_and(Demand::judges)
        };
        let peers = signature.peers.iter().chain(names);
        let matching = peers.filter_map(|peer| rules.by_peer.get(peer)).flatten().filter(is_judged);
        let mut matching: Vec<u32> = matching.chain(&rules.everyone).copied().collect();
        matching.sort_unstable();
        matching.dedup();
        if like.is_some() || (node.is_some() && signature.own == *node) {
            return own_row(rules, &matching, common.own_node);
        }
        let named = if rules.names_ports { signature.named.as_slice() } else { &[] };
        sweep(&rules.rules, &matching, named, rules.defaults)
    }
}

/// TCP ports of a rule; `None`: all.
fn tcp_ports(ports: Option<&[PortMatch]>) -> Vec<(u16, u16)> {
    let Some(ports) = ports else { return vec![(0, u16::MAX)] };
    let tcp = |port: &PortMatch| match port {
        PortMatch::Numbers { protocol, first, last } => {
            (*protocol == Protocol::TCP).then_some((*first, *last))
        }
        // Names mean pods' ports.
        PortMatch::Named { .. } => None,
    };
    ports.iter().filter_map(tcp).collect()
}
