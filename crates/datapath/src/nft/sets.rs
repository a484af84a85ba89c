//! What the kernel's sets must hold for a table: pure data, so that applying is a comparison of two images.
//!
//! Enters: [`Table`]. Leaves: an [`Image`]. Guarantees: rows are named by their content, so that the same row keeps
//! its name from one table to the next; intervals are disjoint and cover their whole space, so that a miss can only
//! mean that the kernel does not show the set yet, and the packet is then dropped. Does not talk to the kernel.

use super::batch::{Element, Part};
use super::program::Phase;
use crate::mark::held;
use ipnet::IpNet;
use policy::table::{Cell, ClassId, Lane, Row, RowId, Slot, SlotId, Table};
use policy::{Protocol, RuleId};
use std::cmp::Ordering;
use std::collections::hash_map::Entry;
use std::collections::{BTreeMap, HashMap};
use std::hash::{DefaultHasher, Hash, Hasher};
use std::net::IpAddr;
use std::sync::Arc;

/// Cells of at most this many ports become one hash element per port; wider ones become intervals.
const LISTED_PORTS: u16 = 16;

/// The key of an element, at most two IPv6 addresses long.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub(crate) struct Key {
    bytes: [u8; 32],
    length: u8,
}

impl Key {
    pub(crate) fn of(parts: &[&[u8]]) -> Self {
        let mut key = Self { bytes: [0; 32], length: 0 };
        for byte in parts.iter().copied().flatten() {
            key.push(*byte);
        }
        key
    }

    fn push(&mut self, byte: u8) {
        if let Some(slot) = self.bytes.get_mut(usize::from(self.length)) {
            *slot = byte;
            self.length += 1;
        }
    }

    pub(crate) fn number(value: u32) -> Self {
        Self::of(&[&value.to_be_bytes()])
    }

    /// The key of what is found by names: they follow a zero.
    fn named(names: &[u32]) -> Self {
        let mut key = Self::of(&[&[0; 4]]);
        for byte in names.iter().flat_map(|name| name.to_be_bytes()) {
            key.push(byte);
        }
        key
    }

    /// The only name of such a key.
    pub(crate) fn name(bytes: &[u8]) -> Option<u32> {
        let [0, 0, 0, 0, a, b, c, d] = *bytes else { return None };
        Some(u32::from_be_bytes([a, b, c, d]))
    }

    pub(crate) fn address(address: IpAddr) -> Self {
        match address {
            IpAddr::V4(v4) => Self::of(&[&v4.octets()]),
            IpAddr::V6(v6) => Self::of(&[&v6.octets()]),
        }
    }

    /// An element without a value.
    pub(crate) fn element(&self) -> Element<'_> {
        Element { key: self.bytes(), value: None, end: false }
    }

    pub(crate) fn bytes(&self) -> &[u8] {
        self.bytes.get(..usize::from(self.length)).unwrap_or_default()
    }
}

/// The sets whose elements are changed one by one.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub(crate) enum HashSet {
    Endpoints4,
    Endpoints6,
    Self4,
    Self6,
    Own4,
    Own6,
    Hosts4,
    Hosts6,
    EgressLanes,
    IngressLanes,
    EgressRest,
    IngressRest,
    Cells,
    RowRest,
}

impl HashSet {
    pub(crate) const ALL: [Self; 14] = [
        Self::Endpoints4,
        Self::Endpoints6,
        Self::Self4,
        Self::Self6,
        Self::Own4,
        Self::Own6,
        Self::Hosts4,
        Self::Hosts6,
        Self::EgressLanes,
        Self::IngressLanes,
        Self::EgressRest,
        Self::IngressRest,
        Self::Cells,
        Self::RowRest,
    ];

    pub(crate) fn name(self) -> &'static str {
        match self {
            Self::Endpoints4 => "endpoints4",
            Self::Endpoints6 => "endpoints6",
            Self::Self4 => "self4",
            Self::Self6 => "self6",
            Self::Own4 => "own4",
            Self::Own6 => "own6",
            Self::Hosts4 => "hosts4",
            Self::Hosts6 => "hosts6",
            Self::EgressLanes => "egress_lanes",
            Self::IngressLanes => "ingress_lanes",
            Self::EgressRest => "egress_rest",
            Self::IngressRest => "ingress_rest",
            Self::Cells => "cells",
            Self::RowRest => "row_rest",
        }
    }

    pub(crate) fn key(self) -> &'static [Part] {
        match self {
            Self::Endpoints4 | Self::Own4 | Self::Hosts4 => &[Part::Ipv4],
            Self::Endpoints6 | Self::Own6 | Self::Hosts6 => &[Part::Ipv6],
            Self::Self4 => &[Part::Ipv4, Part::Ipv4],
            Self::Self6 => &[Part::Ipv6, Part::Ipv6],
            Self::EgressRest | Self::IngressRest | Self::RowRest => &[Part::Number; 2],
            Self::EgressLanes | Self::IngressLanes => &[Part::Number; 3],
            Self::Cells => &[Part::Number; 4],
        }
    }

    /// Whether keys have values.
    pub(crate) fn is_map(self) -> bool {
        !matches!(self, Self::Self4 | Self::Self6 | Self::Own4 | Self::Own6)
    }

    /// Whether its elements belong to rows.
    pub(crate) fn is_of_rows(self) -> bool {
        matches!(self, Self::Cells | Self::RowRest)
    }

    /// Most elements; a table that needs more is refused.
    pub(crate) fn bound(self) -> usize {
        match self {
            Self::Endpoints4 | Self::Endpoints6 | Self::Self4 | Self::Self6 => 1 << 16,
            Self::Own4 | Self::Own6 => 1 << 12,
            Self::Hosts4 | Self::Hosts6 => 1 << 20,
            Self::EgressRest | Self::IngressRest | Self::RowRest => 1 << 17,
            Self::EgressLanes | Self::IngressLanes | Self::Cells => 1 << 21,
        }
    }

    /// An element of this set.
    pub(crate) fn element(self, key: &Key, value: u32) -> Element<'_> {
        Element {
            key: key.bytes(),
            value: self.is_map().then(|| encode(self.is_of_rows(), value)),
            end: false,
        }
    }

    pub(crate) fn hosts(address: IpAddr) -> Self {
        if address.is_ipv4() { Self::Hosts4 } else { Self::Hosts6 }
    }
}

/// The sets that exist once for each phase.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub(crate) enum IntervalSet {
    Networks4,
    Networks6,
    Spans,
}

impl IntervalSet {
    pub(crate) const ALL: [Self; 3] = [Self::Networks4, Self::Networks6, Self::Spans];

    pub(crate) fn name(self, phase: Phase) -> String {
        format!("{}_{}", self.stem(), phase.letter())
    }

    pub(crate) fn is_of_rows(self) -> bool {
        self == Self::Spans
    }

    fn stem(self) -> &'static str {
        match self {
            Self::Networks4 => "networks4",
            Self::Networks6 => "networks6",
            Self::Spans => "spans",
        }
    }

    pub(crate) fn key(self) -> &'static [Part] {
        match self {
            Self::Networks4 => &[Part::Ipv4],
            Self::Networks6 => &[Part::Ipv6],
            Self::Spans => &[Part::Cell],
        }
    }

    /// Most intervals.
    pub(crate) fn bound(self) -> usize {
        1 << 18
    }
}

/// Keys from `first` up to but not including `end`; to the end of the space without one.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Interval {
    pub(crate) first: Key,
    pub(crate) end: Option<Key>,
    pub(crate) value: u32,
}

impl Interval {
    /// The elements that make it: to be added with the value they have in the set, to be removed without.
    pub(crate) fn elements(&self, added_to: Option<IntervalSet>) -> impl Iterator<Item = Element<'_>> {
        let value = added_to.map(|set| encode(set.is_of_rows(), self.value));
        let first = Element { key: self.first.bytes(), value, end: false };
        let end = self.end.as_ref().map(|end| Element { key: end.bytes(), value: None, end: true });
        std::iter::once(first).chain(end)
    }
}

/// Values of rows are rulings, which become connection marks, which the kernel keeps in the byte order of the machine.
/// Other values are names, which become parts of keys, which are compared as bytes.
fn encode(of_rows: bool, value: u32) -> [u8; 4] {
    if of_rows { value.to_ne_bytes() } else { value.to_be_bytes() }
}

/// Content of the interval sets of one phase, in rising order.
pub(crate) type Intervals = BTreeMap<IntervalSet, Arc<Vec<Interval>>>;

/// Content of every set.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct Image {
    /// Of all hash sets but those of rows.
    pub(crate) hashes: BTreeMap<HashSet, BTreeMap<Key, u32>>,
    /// Content of [`HashSet::Cells`] and [`HashSet::RowRest`], by the row's name.
    pub(crate) rows: BTreeMap<u32, Listed>,
    pub(crate) intervals: Intervals,
}

/// A row without wide ranges.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct Listed {
    /// What holds for every other port.
    pub(crate) otherwise: Option<u32>,
    /// Protocol, port, ruling; in rising order.
    pub(crate) cells: Vec<(u8, u16, u32)>,
}

impl Listed {
    fn of(row: &Row) -> Self {
        let ports = |cell: &Cell| {
            let (protocol, ruling) = (cell.protocol.0, held(cell.ruling));
            (cell.first..=cell.last).map(move |port| (protocol, port, ruling))
        };
        Self { otherwise: Some(held(row.otherwise)), cells: row.cells.iter().flat_map(ports).collect() }
    }
}

/// What must happen to one hash set.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Change {
    pub(crate) set: HashSet,
    pub(crate) gone: Vec<Key>,
    pub(crate) new: Vec<(Key, u32)>,
}

/// A table that cannot be loaded.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum BrokenTable {
    /// A lane names a row that is not there.
    #[error("row {} is used but not defined", .0.0)]
    NoRow(RowId),
    /// An endpoint names a slot that is not there.
    #[error("slot {} is used but not defined", .0.0)]
    NoSlot(SlotId),
    /// A rule id does not fit the connection mark.
    #[error("rule id {} is larger than a connection mark can carry ({})", .0.0, RuleId::MAX.0)]
    RuleTooLarge(RuleId),
    /// More elements than a set may have.
    #[error("{set} needs {elements} elements and may have {bound}")]
    TooMany {
        /// The set.
        set: &'static str,
        /// What the table needs.
        elements: usize,
        /// What is allowed.
        bound: usize,
    },
}

impl Image {
    /// What the kernel must hold for the table.
    pub(crate) fn of(table: &Table) -> Result<Self, BrokenTable> {
        let names = RowNames::of(&table.rows)?;
        let mut image = Self { hashes: addresses(table)?, ..Self::default() };
        let (egress, egress_rest) = lanes(table, &names, |slot| &slot.egress)?;
        let (ingress, ingress_rest) = lanes(table, &names, |slot| &slot.ingress)?;
        image.hashes.insert(HashSet::EgressLanes, egress);
        image.hashes.insert(HashSet::EgressRest, egress_rest);
        image.hashes.insert(HashSet::IngressLanes, ingress);
        image.hashes.insert(HashSet::IngressRest, ingress_rest);
        image.rows(&table.rows, &names);
        image.intervals.insert(IntervalSet::Networks4, networks(table, true).into());
        image.intervals.insert(IntervalSet::Networks6, networks(table, false).into());
        image.check_bounds()?;
        Ok(image)
    }

    pub(crate) fn put(&mut self, set: HashSet, key: Key, value: u32) {
        self.hashes.entry(set).or_default().insert(key, value);
    }

    /// From this image to the wanted one.
    pub(crate) fn changes_to(&self, wanted: &Self) -> Vec<Change> {
        let mut changes: Vec<Change> = HashSet::ALL
            .into_iter()
            .filter(|set| !set.is_of_rows())
            .map(|set| {
                let (gone, new) = difference(self.elements(set), wanted.elements(set), |entry| entry.0);
                Change { set, gone: gone.into_iter().map(|(key, _)| key).collect(), new }
            })
            .collect();
        changes.extend(self.row_changes_to(wanted));
        changes.retain(|change| !change.gone.is_empty() || !change.new.is_empty());
        changes
    }

    fn elements(&self, set: HashSet) -> impl Iterator<Item = (Key, u32)> {
        self.hashes.get(&set).into_iter().flatten().map(|(key, value)| (*key, *value))
    }

    fn row_changes_to(&self, wanted: &Self) -> [Change; 2] {
        let (gone, new) = difference(self.rows.iter(), wanted.rows.iter(), |row| *row.0);
        let cells = |(name, row): &(&u32, &Listed)| cell_elements(**name, row).collect::<Vec<_>>();
        let rest =
            |(name, row): &(&u32, &Listed)| row.otherwise.map(|ruling| (Key::named(&[**name]), ruling));
        let change = |set, gone: Vec<(Key, u32)>, new| Change {
            set,
            gone: gone.into_iter().map(|(key, _)| key).collect(),
            new,
        };
        [
            change(
                HashSet::Cells,
                gone.iter().flat_map(cells).collect(),
                new.iter().flat_map(cells).collect(),
            ),
            change(
                HashSet::RowRest,
                gone.iter().filter_map(rest).collect(),
                new.iter().filter_map(rest).collect(),
            ),
        ]
    }

    fn rows(&mut self, rows: &[Row], names: &RowNames) {
        let mut spanned = BTreeMap::new();
        let mut listed = Vec::with_capacity(rows.len());
        for (row, name) in rows.iter().zip(&names.0) {
            if row.cells.iter().any(|cell| cell.last - cell.first >= LISTED_PORTS) {
                spanned.insert(*name, row);
            } else {
                listed.push((*name, row));
            }
        }
        // Equal rows have one name.
        listed.sort_unstable_by_key(|(name, _)| *name);
        listed.dedup_by_key(|(name, _)| *name);
        self.rows = listed.into_iter().map(|(name, row)| (name, Listed::of(row))).collect();
        let spans: Vec<_> = spanned.into_iter().flat_map(|(name, row)| spans(name, row)).collect();
        self.intervals.insert(IntervalSet::Spans, spans.into());
    }

    fn check_bounds(&self) -> Result<(), BrokenTable> {
        for (set, elements) in &self.hashes {
            check_bound(set.name(), elements.len(), set.bound())?;
        }
        let cells = self.rows.values().map(|row| row.cells.len()).sum();
        check_bound(HashSet::Cells.name(), cells, HashSet::Cells.bound())?;
        check_bound(HashSet::RowRest.name(), self.rows.len(), HashSet::RowRest.bound())?;
        for (set, intervals) in &self.intervals {
            check_bound(set.stem(), intervals.len(), set.bound())?;
        }
        Ok(())
    }
}

/// What only the first has and what only the second has. Both are in rising order of their keys, each key once.
pub(crate) fn difference<T: PartialEq, K: Ord>(
    held: impl Iterator<Item = T>,
    wanted: impl Iterator<Item = T>,
    key: impl Fn(&T) -> K,
) -> (Vec<T>, Vec<T>) {
    let (mut held, mut wanted) = (held.peekable(), wanted.peekable());
    let (mut gone, mut new) = (vec![], vec![]);
    loop {
        let order = match (held.peek(), wanted.peek()) {
            (None, None) => return (gone, new),
            (Some(_), None) => Ordering::Less,
            (None, Some(_)) => Ordering::Greater,
            (Some(held), Some(wanted)) => key(held).cmp(&key(wanted)),
        };
        match order {
            Ordering::Less => gone.extend(held.next()),
            Ordering::Greater => new.extend(wanted.next()),
            Ordering::Equal => {
                let (before, after) = (held.next(), wanted.next());
                if before != after {
                    gone.extend(before);
                    new.extend(after);
                }
            }
        }
    }
}

fn addresses(table: &Table) -> Result<BTreeMap<HashSet, BTreeMap<Key, u32>>, BrokenTable> {
    let mut sets: BTreeMap<HashSet, Vec<(Key, u32)>> = BTreeMap::new();
    let mut put = |set, key, value| sets.entry(set).or_default().push((key, value));
    for (address, slot) in &table.endpoints {
        if table.slots.get(slot.0 as usize).is_none() {
            return Err(BrokenTable::NoSlot(*slot));
        }
        let key = Key::address(*address);
        let (endpoints, same) = if address.is_ipv4() {
            (HashSet::Endpoints4, HashSet::Self4)
        } else {
            (HashSet::Endpoints6, HashSet::Self6)
        };
        put(endpoints, key, slot.0);
        put(same, Key::of(&[key.bytes(), key.bytes()]), 0);
    }
    for address in &table.own {
        let set = if address.is_ipv4() { HashSet::Own4 } else { HashSet::Own6 };
        put(set, Key::address(*address), 0);
    }
    for (address, class) in &table.hosts {
        put(HashSet::hosts(*address), Key::address(*address), class.0);
    }
    Ok(sets.into_iter().map(|(set, elements)| (set, elements.into_iter().collect())).collect())
}

type Names = BTreeMap<Key, u32>;

/// One direction of every slot: rows by slot and class, and the slots' rows for all other classes.
fn lanes(
    table: &Table,
    names: &RowNames,
    direction: impl Fn(&Slot) -> &Lane,
) -> Result<(Names, Names), BrokenTable> {
    let (mut exact, mut rest) = (vec![], vec![]);
    for (slot, number) in table.slots.iter().zip(0_u32..) {
        let lane = direction(slot);
        for (class, row) in &lane.rows {
            exact.push((Key::named(&[number, class.0]), names.get(*row)?));
        }
        rest.push((Key::named(&[number]), names.get(lane.otherwise)?));
    }
    Ok((exact.into_iter().collect(), rest.into_iter().collect()))
}

fn cell_elements(name: u32, row: &Listed) -> impl Iterator<Item = (Key, u32)> {
    row.cells
        .iter()
        .map(move |(protocol, port, ruling)| (cell_key(name, Protocol(*protocol), *port), *ruling))
}

fn check_bound(set: &'static str, elements: usize, bound: usize) -> Result<(), BrokenTable> {
    if elements > bound { Err(BrokenTable::TooMany { set, elements, bound }) } else { Ok(()) }
}

/// The kernel's name of each row: a hash of what it says.
struct RowNames(Vec<u32>);

impl RowNames {
    fn of(rows: &[Row]) -> Result<Self, BrokenTable> {
        let mut taken: HashMap<u32, &Row> = HashMap::with_capacity(rows.len());
        let mut names = Vec::with_capacity(rows.len());
        for row in rows {
            let rulings = row.cells.iter().map(|cell| cell.ruling).chain([row.otherwise]);
            if let Some(large) = rulings.map(|ruling| ruling.rule).find(|rule| *rule > RuleId::MAX) {
                return Err(BrokenTable::RuleTooLarge(large));
            }
            let mut hasher = DefaultHasher::new();
            row.hash(&mut hasher);
            // 31 bits, so that the name after the last one exists too.
            let mut name = u32::try_from(hasher.finish() >> 33).unwrap_or_default();
            loop {
                match taken.entry(name) {
                    Entry::Vacant(free) => {
                        free.insert(row);
                        break;
                    }
                    Entry::Occupied(same) if *same.get() == row => break,
                    Entry::Occupied(_) => name = (name + 1) & (u32::MAX >> 1),
                }
            }
            names.push(name);
        }
        Ok(Self(names))
    }

    fn get(&self, row: RowId) -> Result<u32, BrokenTable> {
        self.0.get(row.0 as usize).copied().ok_or(BrokenTable::NoRow(row))
    }
}

/// The row, protocol and port of a key of [`HashSet::Cells`].
pub(crate) fn cell_of(key: &[u8]) -> Option<(u32, u8, u16)> {
    let [0, 0, 0, 0, a, b, c, d, protocol, _, _, _, high, low, _, _] = *key else { return None };
    Some((u32::from_be_bytes([a, b, c, d]), protocol, u16::from_be_bytes([high, low])))
}

fn cell_key(row: u32, protocol: Protocol, port: u16) -> Key {
    let [high, low] = port.to_be_bytes();
    Key::named(&[row, u32::from_be_bytes([protocol.0, 0, 0, 0]), u32::from_be_bytes([high, low, 0, 0])])
}

/// The whole protocol and port space of one row, as intervals.
fn spans(name: u32, row: &Row) -> Vec<Interval> {
    const SPACE: u32 = 1 << 24;
    let key_at = |point: u32| {
        if point == SPACE {
            return cell_key(name + 1, Protocol(0), 0);
        }
        let [_, protocol, high, low] = point.to_be_bytes();
        cell_key(name, Protocol(protocol), u16::from_be_bytes([high, low]))
    };
    let mut tiles = Tiles::default();
    let mut next = 0;
    for Cell { protocol, first, last, ruling } in &row.cells {
        let base = u32::from(protocol.0) << 16;
        let (start, past) = (base + u32::from(*first), base + u32::from(*last) + 1);
        if start > next {
            tiles.put(next.into(), held(row.otherwise));
        }
        tiles.put(start.into(), held(*ruling));
        next = past;
    }
    if next < SPACE {
        tiles.put(next.into(), held(row.otherwise));
    }
    let point = |at: u128| key_at(u32::try_from(at).unwrap_or(SPACE));
    tiles.intervals(point, Some(key_at(SPACE)))
}

/// The whole address space of a family by class, the longest prefix winning.
fn networks(table: &Table, v4: bool) -> Vec<Interval> {
    let bits = if v4 { 32 } else { 128 };
    let top = u128::MAX >> (128 - bits);
    let mut nets: Vec<(u128, u8, u128, ClassId)> = table
        .networks
        .iter()
        // A prefix with host bits is found by no lookup.
        .filter(|(net, _)| net.addr().is_ipv4() == v4 && net.trunc() == **net)
        .map(|(net, class)| (number(net.network()), net.prefix_len(), number(last(net)), *class))
        .collect();
    nets.sort_unstable();
    let mut tiles = Tiles::default();
    let mut open = vec![(top, ClassId::OTHER)];
    tiles.put(0, ClassId::OTHER.0);
    for (start, _, end, class) in nets {
        close_before(&mut open, &mut tiles, start);
        tiles.put(start, class.0);
        open.push((end, class));
    }
    close_before(&mut open, &mut tiles, top);
    let key = |at: u128| match u32::try_from(at) {
        Ok(small) if v4 => Key::number(small),
        Ok(_) | Err(_) => Key::of(&[&at.to_be_bytes()]),
    };
    tiles.intervals(key, None)
}

/// Ends the networks that lie wholly before `start`; what encloses them holds again behind each.
fn close_before(open: &mut Vec<(u128, ClassId)>, tiles: &mut Tiles, start: u128) {
    while let [.., (_, around), (end, _)] = open.as_slice()
        && *end < start
    {
        tiles.put(end + 1, around.0);
        open.pop();
    }
}

fn number(address: IpAddr) -> u128 {
    match address {
        IpAddr::V4(v4) => u32::from(v4).into(),
        IpAddr::V6(v6) => v6.into(),
    }
}

fn last(net: &IpNet) -> IpAddr {
    net.broadcast()
}

/// Points in rising order; each value holds to the next point.
#[derive(Default)]
struct Tiles(Vec<(u128, u32)>);

impl Tiles {
    fn put(&mut self, at: u128, value: u32) {
        if self.0.last().is_some_and(|(last, _)| *last == at) {
            self.0.pop();
        }
        if self.0.last().is_none_or(|(_, before)| *before != value) {
            self.0.push((at, value));
        }
    }

    fn intervals(self, key: impl Fn(u128) -> Key, end: Option<Key>) -> Vec<Interval> {
        let ends = self.0.iter().skip(1).map(|(at, _)| Some(key(*at))).chain([end]);
        self.0
            .iter()
            .zip(ends)
            .map(|((at, value), end)| Interval { first: key(*at), end, value: *value })
            .collect()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use policy::Verdict;
    use policy::table::Ruling;

    fn ruling(rule: u32) -> Ruling {
        Ruling { verdict: Verdict::Allow, rule: RuleId(rule) }
    }

    fn value_at(intervals: &[Interval], key: Key) -> Option<u32> {
        let inside = |i: &&Interval| i.first <= key && i.end.is_none_or(|end| key < end);
        let found: Vec<_> = intervals.iter().filter(inside).collect();
        assert!(found.len() <= 1, "intervals overlap");
        found.first().map(|interval| interval.value)
    }

    fn table_with(networks: &[(&str, u32)]) -> Table {
        Table {
            generation: policy::Generation(1),
            node: "n".into(),
            own: Default::default(),
            endpoints: Default::default(),
            hosts: Default::default(),
            networks: networks.iter().map(|(net, class)| (net.parse().unwrap(), ClassId(*class))).collect(),
            slots: vec![],
            rows: vec![],
            rules: Default::default(),
        }
    }

    #[test]
    fn networks_become_intervals_in_which_the_longest_prefix_holds() {
        let table = table_with(&[
            ("10.0.0.0/8", 1),
            ("10.1.0.0/16", 2),
            ("10.1.0.0/24", 3),
            ("10.1.255.0/24", 4),
            ("255.255.255.255/32", 5),
            ("2001:db8::/32", 6),
            ("2001:db8::/128", 7),
            ("ff00::/8", 8),
        ]);
        let image = Image::of(&table).unwrap();
        for address in [
            "0.0.0.0",
            "9.255.255.255",
            "10.0.0.0",
            "10.0.255.255",
            "10.1.0.0",
            "10.1.0.255",
            "10.1.1.0",
            "10.1.254.255",
            "10.1.255.0",
            "10.1.255.255",
            "10.2.0.0",
            "10.255.255.255",
            "11.0.0.0",
            "255.255.255.254",
            "255.255.255.255",
            "::",
            "2001:db8::",
            "2001:db8::1",
            "2001:db8:ffff:ffff:ffff:ffff:ffff:ffff",
            "2001:db9::",
            "ff00::",
            "ffff:ffff:ffff:ffff:ffff:ffff:ffff:ffff",
        ] {
            let address: IpAddr = address.parse().unwrap();
            let set = if address.is_ipv4() { IntervalSet::Networks4 } else { IntervalSet::Networks6 };
            let value = value_at(&image.intervals[&set], Key::address(address));
            assert_eq!(value, Some(table.class(address).0), "{address}");
        }
    }

    #[test]
    fn spans_cover_every_protocol_and_port_of_a_row() {
        let cell = |protocol, first, last, rule| Cell { protocol, first, last, ruling: ruling(rule) };
        let row = Row {
            otherwise: ruling(20),
            cells: vec![
                cell(Protocol::TCP, 0, 79, 21),
                cell(Protocol::TCP, 80, 80, 22),
                cell(Protocol::TCP, 1000, 65535, 23),
                cell(Protocol::UDP, 0, 0, 24),
                cell(Protocol::UDP, 65535, 65535, 25),
                cell(Protocol::SCTP, 0, 65535, 26),
            ],
        };
        let intervals = spans(7, &row);
        for protocol in [0, 1, 5, 6, 7, 16, 17, 18, 58, 131, 132, 133, 255] {
            for port in [0, 1, 79, 80, 81, 999, 1000, 1001, 65534, 65535] {
                let value = value_at(&intervals, cell_key(7, Protocol(protocol), port));
                assert_eq!(value, Some(held(row.ruling(Protocol(protocol), port))), "{protocol} {port}");
            }
        }
        assert_eq!(value_at(&intervals, cell_key(8, Protocol(0), 0)), None);
        assert_eq!(value_at(&intervals, cell_key(6, Protocol(255), 65535)), None);
    }

    #[test]
    fn equal_rows_share_a_name_and_different_rows_do_not() {
        let row = |rule| Row { otherwise: ruling(rule), cells: vec![] };
        let rows: Vec<_> = (0..1000).map(|i| row(i % 500)).collect();
        let names = RowNames::of(&rows).unwrap().0;
        assert_eq!(names[3], names[503]);
        let distinct: std::collections::BTreeSet<_> = names.iter().collect();
        assert_eq!(distinct.len(), 500);
    }
}
