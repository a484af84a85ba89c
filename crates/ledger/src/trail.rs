//! What one source did, block by block: the numbers of its entries beside each other, for in the order of their numbers they lie all over
//! the file.
//!
//! Enters: the entries of a block when it is sealed. Leaves: entries by number, of one source. Guarantees: what a trail says is what the
//! rows say, or [`Reader::verify`] says so; which entries there are is never read from it, and of what it does not have, as of blocks
//! that an earlier version sealed, the rows are read. Does not: keep details, but knows which entries have one.

use crate::brief::{self, Brief, Packer};
use crate::entries::{EntryFilter, Order, Stored, Where, entry_of};
use crate::error::LedgerError;
use crate::join::has;
use crate::query::Reader;
use crate::search::{Column, Match, limit};
use crate::words::Texts;
use rusqlite::types::Value;
use rusqlite::{Connection, OptionalExtension, params, params_from_iter};
use std::collections::BTreeMap;

/// Numbers of entries that are looked at in one go, where not all of them are meant.
const AT_ONCE: usize = 65_536;

/// The block in which an entry is, if any is behind its first, and the trail of a source there.
const BLOCK_OF: &str = "SELECT b.first, b.last, (SELECT data FROM trails WHERE block = b.number AND source = ?2) FROM blocks b \
                        WHERE b.first <= ?1 ORDER BY b.first DESC LIMIT 1";

/// The trails of a block, by the numbers of their sources.
#[derive(Debug, Default)]
pub(crate) struct Trails(BTreeMap<i64, Packer>);

impl Trails {
    pub(crate) fn add(&mut self, brief: &Brief, has_detail: bool) {
        self.0.entry(brief.source).or_default().add(brief, has_detail);
    }

    fn bytes(self) -> impl Iterator<Item = (i64, Vec<u8>)> {
        self.0.into_iter().map(|(source, packer)| (source, packer.bytes()))
    }
}

/// Keeps the trails of a block.
pub(crate) fn keep(connection: &Connection, block: i64, trails: Trails) -> rusqlite::Result<()> {
    let mut add = connection.prepare_cached("INSERT OR REPLACE INTO trails VALUES (?1, ?2, ?3)")?;
    trails.bytes().try_for_each(|(source, bytes)| add.execute(params![block, source, bytes]).map(drop))
}

/// Forgets those of a block and of all before it.
pub(crate) fn forget(connection: &Connection, block: i64) -> rusqlite::Result<()> {
    connection.prepare_cached("DELETE FROM trails WHERE block <= ?1")?.execute([block]).map(drop)
}

/// Whether what is kept of a block, if anything is, is this.
pub(crate) fn holds(connection: &Connection, block: i64, trails: Trails) -> rusqlite::Result<bool> {
    if !has(connection, "trails")? {
        return Ok(true);
    }
    let all = "SELECT source, data FROM trails WHERE block = ?1 ORDER BY source";
    let mut statement = connection.prepare_cached(all)?;
    let mut rows = statement.query([block])?;
    let (mut trails, mut is_first) = (trails.bytes(), true);
    loop {
        let (row, trail) = (rows.next()?, trails.next());
        match (row, trail) {
            (None, None) => return Ok(true),
            (None, Some(_)) => return Ok(is_first),
            (Some(_), None) => return Ok(false),
            (Some(row), Some((source, bytes))) => {
                let is_same =
                    row.get::<_, i64>(0)? == source && row.get_ref(1)?.as_bytes().ok() == Some(&bytes);
                if !is_same {
                    return Ok(false);
                }
            }
        }
        is_first = false;
    }
}

/// The entries of one source, read in the order of their numbers, or in the opposite one: in another they are found, too, but each block
/// is read again.
struct Trail<'a> {
    connection: &'a Connection,
    source: i64,
    /// The numbers of the entries of the block that was read last.
    first: i64,
    last: i64,
    /// What its trail has, by number, and whether there is a detail.
    held: Vec<(Brief, bool)>,
}

impl<'a> Trail<'a> {
    fn of(connection: &'a Connection, source: i64) -> rusqlite::Result<Self> {
        // Nothing is to be read where there are none: a file that only an earlier version wrote.
        let (first, last) = if has(connection, "trails")? { (0, -1) } else { (i64::MIN, i64::MAX) };
        Ok(Self { connection, source, first, last, held: Vec::new() })
    }

    /// An entry, and whether it has a detail; `None`: there is none with this number.
    fn entry(&mut self, id: i64) -> rusqlite::Result<Option<(Brief, bool)>> {
        if !(self.first..=self.last).contains(&id) {
            self.read(id)?;
        }
        let place = self.held.binary_search_by_key(&id, |(brief, _)| brief.id);
        if let Some(found) = place.ok().and_then(|place| self.held.get(place)) {
            return Ok(Some(*found));
        }
        let find = format!("SELECT {}, e.detail IS NOT NULL FROM entries e WHERE e.id = ?1", brief::SELECTED);
        let mut find = self.connection.prepare_cached(&find)?;
        find.query_row([id], |row| Ok((Brief::read(row)?, row.get(14)?))).optional()
    }

    /// Reads the trail of the block in which an entry is.
    fn read(&mut self, id: i64) -> rusqlite::Result<()> {
        self.held.clear();
        (self.first, self.last) = (id, id);
        let mut find = self.connection.prepare_cached(BLOCK_OF)?;
        let mut rows = find.query([id, self.source])?;
        let Some(row) = rows.next()? else { return Ok(()) };
        let (first, last): (i64, i64) = (row.get(0)?, row.get(1)?);
        if id > last {
            // No block is younger.
            (self.first, self.last) = (last.saturating_add(1), i64::MAX);
            return Ok(());
        }
        (self.first, self.last) = (first, last);
        let Ok(Some(bytes)) = row.get_ref(2)?.as_blob_or_null() else { return Ok(()) };
        if brief::unpack(bytes, |brief, has_detail| self.held.push((brief, has_detail))).is_none() {
            self.held.clear();
        }
        Ok(())
    }
}

/// The source whose entries alone a filter means, where trails tell all that it asks for: tools are only in details.
pub(crate) fn only_source(filter: &EntryFilter) -> Option<String> {
    let source = filter.texts().into_iter().find_map(|(column, wanted)| match (column, wanted) {
        (Column::Source, Match::Is(source)) => Some(source),
        _ => None,
    })?;
    filter.tool.is_none().then_some(source)
}

impl Reader {
    /// [`Self::page`] of one source.
    pub(crate) fn page_of_source(
        &self,
        source: &str,
        filter: &EntryFilter,
        bytes: usize,
    ) -> Result<(Vec<Stored>, bool), LedgerError> {
        let Some(source) = self.number_of(source)? else { return Ok((Vec::new(), false)) };
        let mut texts = self.texts();
        self.reading("looking for entries of a source", |connection| {
            // One view of the file, whatever is written meanwhile.
            let view = connection.unchecked_transaction()?;
            page(&view, &mut texts, source, filter, bytes)
        })
    }
}

fn page(
    connection: &Connection,
    texts: &mut Texts,
    source: i64,
    filter: &EntryFilter,
    bytes: usize,
) -> rusqlite::Result<(Vec<Stored>, bool)> {
    let Some(wanted) = brief::Wanted::of(connection, filter)? else { return Ok((Vec::new(), false)) };
    let most = limit(filter.limit);
    let at_once = if asks_no_more(filter) { most } else { AT_ONCE };
    let mut trail = Trail::of(connection, source)?;
    let mut find = Texts::find(connection)?;
    let mut detail = connection.prepare_cached("SELECT detail FROM entries WHERE id = ?1")?;
    let (mut found, mut left, mut rest) = (Vec::new(), bytes, filter.clone());
    loop {
        let numbers = numbers(connection, source, &rest, at_once)?;
        for id in &numbers {
            let Some((brief, has_detail)) = trail.entry(*id)? else { continue };
            if !wanted.means(&brief) {
                continue;
            }
            let read = |row: &rusqlite::Row<'_>| row.get(0);
            let told = if has_detail { detail.query_row([id], read).optional()?.flatten() } else { None };
            let Some(entry) = entry_of(&brief, told, |number| texts.get(&mut find, number))? else {
                continue;
            };
            left = left.saturating_sub(entry.bytes());
            found.push(Stored { id: *id, entry });
            if found.len() >= most || left == 0 {
                return Ok((found, left == 0));
            }
        }
        let Some(last) = numbers.last().filter(|_| numbers.len() >= at_once && at_once > 0) else {
            return Ok((found, false));
        };
        match filter.order {
            Order::NewestFirst => rest.before = Some(*last),
            Order::OldestFirst => rest.after = Some(*last),
        }
    }
}

/// Whether a filter asks for nothing but the source, times and numbers, which its index has.
fn asks_no_more(filter: &EntryFilter) -> bool {
    let EntryFilter { kind, verdict, kinds, port, .. } = filter;
    kind.is_none() && verdict.is_none() && kinds.is_empty() && port.is_none() && filter.texts().len() == 1
}

/// The numbers of entries of a source, in order, at most so many.
fn numbers(
    connection: &Connection,
    source: i64,
    filter: &EntryFilter,
    most: usize,
) -> rusqlite::Result<Vec<i64>> {
    let (query, values) = numbers_query(source, filter, most);
    let mut statement = connection.prepare_cached(&query)?;
    let numbers = statement.query_map(params_from_iter(values), |row| row.get(0))?;
    numbers.collect()
}

fn numbers_query(source: i64, filter: &EntryFilter, most: usize) -> (String, Vec<Value>) {
    let mut conditions = Where::default();
    conditions.and("e.source = ?", Some(source));
    conditions.span(filter);
    let order = match filter.order {
        Order::NewestFirst => "DESC",
        Order::OldestFirst => "ASC",
    };
    let query = format!("SELECT e.id FROM entries e{} ORDER BY e.id {order} LIMIT {most}", conditions.text);
    (query, conditions.values)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::query::tests::plan;

    #[test]
    fn numbers_are_found_in_an_index_alone_and_blocks_by_their_first_entry() {
        let filter =
            EntryFilter { since: Some(1), until: Some(2), before: Some(9), ..EntryFilter::default() };
        let numbers = plan(&numbers_query(1, &filter, 10).0);
        assert!(numbers.contains("SEARCH e USING COVERING INDEX entries_by_source (source=?"), "{numbers}");
        let block = plan(BLOCK_OF);
        assert!(block.contains("SEARCH b USING INDEX blocks_by_first") && !block.contains("TEMP"), "{block}");
    }
}
