//! What the kernel's sets must hold for a table: pure data, so that applying is a comparison of two images.
//!
//! Enters: [`Table`]. Leaves: an [`Image`], or the changes from one image to another. Guarantees: rows are named by their
//! content, so that the same row keeps its name from one table to the next. Does not talk to the kernel.

use super::sets::{HashSet, IntervalSet, Intervals, Key, cell_key};
use super::tiles::{networks, spans};
use crate::Span;
use crate::mark::held;
use policy::table::{Cell, Lane, Row, RowId, Slot, SlotId, Table};
use policy::{Protocol, RuleId};
use std::cmp::Ordering;
use std::collections::hash_map::Entry;
use std::collections::{BTreeMap, HashMap};
use std::hash::{DefaultHasher, Hash, Hasher};
use std::sync::Arc;

/// Cells of at most this many ports become one hash element per port; wider ones become intervals.
const LISTED_PORTS: u16 = 16;

/// Content of every set.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct Image {
    /// Of all hash sets but those of rows.
    pub(crate) hashes: BTreeMap<HashSet, BTreeMap<Key, u32>>,
    /// Content of [`HashSet::Cells`] and [`HashSet::RowRest`], by the row's name.
    pub(crate) rows: BTreeMap<u32, Listed>,
    pub(crate) intervals: Intervals,
    /// Rows that bindings name, as far as this process knows them.
    pub(crate) bound_rows: BTreeMap<u32, Arc<Row>>,
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
    pub(super) fn of(row: &Row) -> Self {
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
    /// Every name for it is another row's.
    #[error("no name is free for a row")]
    NoName,
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
        image.hashes.extend(bindings(table, &names)?);
        image.rows(&table.rows, &names);
        for row in table.bound.values().chain(table.past.values()) {
            let (name, row) =
                (names.get(*row)?, table.rows.get(row.0 as usize).ok_or(BrokenTable::NoRow(*row))?);
            image.bound_rows.entry(name).or_insert_with(|| Arc::new(row.clone()));
        }
        image.intervals.insert(IntervalSet::Networks4, networks(table, true).into());
        image.intervals.insert(IntervalSet::Networks6, networks(table, false).into());
        image.check_bounds()?;
        Ok(image)
    }

    /// The interfaces that endpoints are behind, which no table knows.
    pub(crate) fn sides(&self) -> &Names {
        static NONE: Names = Names::new();
        self.hashes.get(&HashSet::Sides).unwrap_or(&NONE)
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

    /// Whether the row of this name is this one; `None` if no row has it.
    pub(super) fn has_row(&self, name: u32, row: &Row) -> Option<bool> {
        if let Some(listed) = self.rows.get(&name) {
            return Some(!is_spanned(row) && *listed == Listed::of(row));
        }
        let all = self.intervals.get(&IntervalSet::Spans).map_or(&[][..], |spans| spans.as_slice());
        let (first, past) = (cell_key(name, Protocol(0), 0), cell_key(name + 1, Protocol(0), 0));
        let held = all.get(all.partition_point(|span| span.first < first)..).unwrap_or_default();
        let held = held.get(..held.partition_point(|span| span.first < past)).unwrap_or_default();
        (!held.is_empty()).then(|| is_spanned(row) && held == spans(name, row))
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
            if is_spanned(row) {
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

/// Whether the row has ranges that are not worth listing.
pub(super) fn is_spanned(row: &Row) -> bool {
    row.cells.iter().any(|cell| cell.last - cell.first >= LISTED_PORTS)
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
        put(same, Key::pair(*address, *address), 0);
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

/// What DNS gave the endpoints. Addresses of two families are no pair that a packet can have.
fn bindings(table: &Table, names: &RowNames) -> Result<BTreeMap<HashSet, Names>, BrokenTable> {
    let mut sets: BTreeMap<HashSet, Names> = BTreeMap::new();
    for (span, bindings) in [(Span::Live, &table.bound), (Span::Past, &table.past)] {
        for ((from, to), row) in bindings.iter().filter(|((from, to), _)| from.is_ipv4() == to.is_ipv4()) {
            let set = HashSet::bindings(span, *from);
            sets.entry(set).or_default().insert(Key::pair(*from, *to), names.get(*row)?);
        }
    }
    Ok(sets)
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

pub(super) fn cell_elements(name: u32, row: &Listed) -> impl Iterator<Item = (Key, u32)> {
    row.cells
        .iter()
        .map(move |(protocol, port, ruling)| (cell_key(name, Protocol(*protocol), *port), *ruling))
}

fn check_bound(set: &'static str, elements: usize, bound: usize) -> Result<(), BrokenTable> {
    if elements > bound { Err(BrokenTable::TooMany { set, elements, bound }) } else { Ok(()) }
}

/// The kernel's name of each row: a hash of what it says.
pub(super) struct RowNames(Vec<u32>);

impl RowNames {
    fn of(rows: &[Row]) -> Result<Self, BrokenTable> {
        let mut taken: HashMap<u32, &Row> = HashMap::with_capacity(rows.len());
        let mut names = Vec::with_capacity(rows.len());
        for row in rows {
            Self::check(row)?;
            let is_free = |name: &u32| match taken.entry(*name) {
                Entry::Vacant(free) => {
                    free.insert(row);
                    true
                }
                Entry::Occupied(same) => *same.get() == row,
            };
            names.push(Self::candidates(row).find(is_free).ok_or(BrokenTable::NoName)?);
        }
        Ok(Self(names))
    }

    pub(super) fn check(row: &Row) -> Result<(), BrokenTable> {
        let rulings = row.cells.iter().map(|cell| cell.ruling).chain([row.otherwise]);
        match rulings.map(|ruling| ruling.rule).find(|rule| *rule > RuleId::MAX) {
            Some(large) => Err(BrokenTable::RuleTooLarge(large)),
            None => Ok(()),
        }
    }

    /// Names for a row, the best first. 31 bits, so that the name after the last one exists too.
    pub(super) fn candidates(row: &Row) -> impl Iterator<Item = u32> + use<> {
        let mut hasher = DefaultHasher::new();
        row.hash(&mut hasher);
        let first = u32::try_from(hasher.finish() >> 33).unwrap_or_default();
        (0..=u32::MAX >> 1).map(move |step| first.wrapping_add(step) & (u32::MAX >> 1))
    }

    fn get(&self, row: RowId) -> Result<u32, BrokenTable> {
        self.0.get(row.0 as usize).copied().ok_or(BrokenTable::NoRow(row))
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

    #[test]
    fn equal_rows_share_a_name_and_different_rows_do_not() {
        let row = |rule| Row { otherwise: ruling(rule), cells: vec![] };
        let rows: Vec<_> = (0..1000).map(|i| row(i % 500)).collect();
        let names = RowNames::of(&rows).unwrap().0;
        assert_eq!(names[3], names[503]);
        let distinct: std::collections::BTreeSet<_> = names.iter().collect();
        assert_eq!(distinct.len(), 500);
    }

    #[test]
    fn a_difference_leads_from_the_held_to_the_wanted() {
        for held in 0..81_u32 {
            for wanted in 0..81_u32 {
                // Four keys, each absent or with one of two values.
                let map = |number: u32| {
                    let digits = (0..4_u32).map(|key| (key, number / 3_u32.pow(key) % 3));
                    digits.filter(|(_, digit)| *digit > 0).collect::<BTreeMap<_, _>>()
                };
                let (held, wanted) = (map(held), map(wanted));
                let (gone, new) = difference(held.iter(), wanted.iter(), |(key, _)| **key);
                let mut changed = held.clone();
                for (key, value) in &gone {
                    assert_eq!(changed.remove(key), Some(**value));
                }
                for (key, value) in &new {
                    assert_eq!(changed.insert(**key, **value), None);
                }
                assert_eq!(changed, wanted);
                assert!(gone.iter().all(|entry| !new.contains(entry)), "nothing is replaced by itself");
            }
        }
    }
}
