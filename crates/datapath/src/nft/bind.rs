//! What DNS gives endpoints while a table is in force.
//!
//! Enters: bindings and the image of what is in force. Leaves: the changes of the sets. Guarantees: a row that is needed
//! comes in the same transaction as the binding that needs it. Does not talk to the kernel.

use super::image::{BrokenTable, Change, Image, Listed, RowNames, cell_elements};
use super::sets::{HashSet, IntervalSet, Intervals, Key};
use super::tiles::spans;
use crate::{Binding, Span};
use policy::table::Row;
use std::collections::BTreeMap;
use std::sync::Arc;

/// What the kernel has to be told.
#[derive(Debug, Default)]
pub(super) struct Rebinding {
    pub(super) changes: Vec<Change>,
    /// Rows that are not there yet.
    rows: BTreeMap<u32, Arc<Row>>,
    /// Rows that are.
    named: BTreeMap<u32, Arc<Row>>,
    /// The interval sets as they must become, where they change.
    pub(super) intervals: Option<Intervals>,
    /// Something that was allowed is not any more: open connections must be judged again.
    narrows: bool,
}

impl Rebinding {
    pub(super) fn of(bindings: &[Binding], image: &Image) -> Result<Self, BrokenTable> {
        let mut wanted: BTreeMap<(HashSet, Key), Option<&Arc<Row>>> = BTreeMap::new();
        for binding in bindings.iter().filter(|it| it.from.is_ipv4() == it.to.is_ipv4()) {
            let set = HashSet::bindings(binding.span, binding.from);
            wanted.insert((set, Key::pair(binding.from, binding.to)), binding.row.as_ref());
        }
        let mut all = Self::default();
        for ((set, key), row) in wanted {
            let held = image.hashes.get(&set).and_then(|held| held.get(&key)).copied();
            let name = row.map(|row| all.name(row, image)).transpose()?;
            if held == name {
                continue;
            }
            all.narrows |= set.span() == Some(Span::Live) && narrows(held, row, image);
            let change = all.change(set);
            change.gone.extend(held.map(|_| key));
            change.new.extend(name.map(|name| (key, name)));
        }
        all.check_bounds(image)?;
        all.add_rows(image);
        Ok(all)
    }

    /// Whether the state in force is left for another: rules are written anew.
    pub(super) fn moves(&self) -> bool {
        self.narrows || self.intervals.is_some()
    }

    fn change(&mut self, set: HashSet) -> &mut Change {
        let at = self.changes.iter().position(|change| change.set == set).unwrap_or_else(|| {
            self.changes.push(Change { set, gone: Vec::new(), new: Vec::new() });
            self.changes.len() - 1
        });
        // The place just found or made.
        #[expect(clippy::indexing_slicing, reason = "the index comes from this list")]
        &mut self.changes[at]
    }

    /// The name under which the kernel has the row or will have it.
    fn name(&mut self, row: &Arc<Row>, image: &Image) -> Result<u32, BrokenTable> {
        RowNames::check(row)?;
        for name in RowNames::candidates(row) {
            let is_this = self.rows.get(&name).map(|known| known == row).or_else(|| image.has_row(name, row));
            match is_this {
                Some(true) => {
                    self.named.insert(name, Arc::clone(row));
                    return Ok(name);
                }
                Some(false) => {}
                None => {
                    self.rows.insert(name, Arc::clone(row));
                    return Ok(name);
                }
            }
        }
        Err(BrokenTable::NoName)
    }

    fn check_bounds(&self, image: &Image) -> Result<(), BrokenTable> {
        for Change { set, gone, new } in &self.changes {
            let elements =
                image.hashes.get(set).map_or(0, BTreeMap::len) + new.len() - gone.len().min(new.len());
            if elements > set.bound() {
                return Err(BrokenTable::TooMany { set: set.name(), elements, bound: set.bound() });
            }
        }
        Ok(())
    }

    fn add_rows(&mut self, image: &Image) {
        let (mut cells, mut rest, mut wide) = (Vec::new(), Vec::new(), Vec::new());
        for (name, row) in &self.rows {
            if super::image::is_spanned(row) {
                wide.extend(spans(*name, row));
                continue;
            }
            let listed = Listed::of(row);
            cells.extend(cell_elements(*name, &listed));
            rest.extend(listed.otherwise.map(|ruling| (Key::named(&[*name]), ruling)));
        }
        for (set, new) in [(HashSet::Cells, cells), (HashSet::RowRest, rest)] {
            if !new.is_empty() {
                self.changes.push(Change { set, gone: Vec::new(), new });
            }
        }
        if !wide.is_empty() {
            let mut intervals = image.intervals.clone();
            let held = intervals.get(&IntervalSet::Spans).map_or(&[][..], |held| held.as_slice());
            wide.extend_from_slice(held);
            wide.sort_unstable_by_key(|interval| interval.first);
            intervals.insert(IntervalSet::Spans, wide.into());
            self.intervals = Some(intervals);
        }
    }

    /// What is in the kernel once it took this.
    pub(super) fn note(self, image: &mut Image) {
        for Change { set, gone, new } in self.changes.into_iter().filter(|change| !change.set.is_of_rows()) {
            let held = image.hashes.entry(set).or_default();
            for key in &gone {
                held.remove(key);
            }
            held.extend(new);
        }
        for (name, row) in self.rows {
            if !super::image::is_spanned(&row) {
                image.rows.insert(name, Listed::of(&row));
            }
            image.bound_rows.insert(name, row);
        }
        image.bound_rows.extend(self.named);
        image.intervals.extend(self.intervals.into_iter().flatten());
    }
}

/// Whether a binding in place of another takes something away. One that only ends takes nothing from what is open.
fn narrows(held: Option<u32>, row: Option<&Arc<Row>>, image: &Image) -> bool {
    let (Some(held), Some(row)) = (held, row) else { return false };
    image.bound_rows.get(&held).is_none_or(|held| held.allows_beyond(row))
}
