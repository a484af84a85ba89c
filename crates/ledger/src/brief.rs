//! Entries without their texts, many at once: what sums are made of.
//!
//! Enters: the entries of a block when it is sealed. Leaves: their numbers, packed in one value beside the block, some 20 bytes each, and
//! read again many times faster than rows. Guarantees: what is packed is what the rows say, or [`Reader::verify`] says so; what was never
//! packed, or cannot be read, is read from the rows; entries that no block has yet, too. Does not: keep details.

use crate::chain::BLOCK;
use crate::entries::EntryFilter;
use crate::entry::{Kind, Verdict};
use crate::error::LedgerError;
use crate::join::has;
use crate::query::Reader;
use crate::search::Column;
use crate::write::signed;
use rusqlite::{Connection, OptionalExtension, Row, params, params_from_iter};
use std::collections::HashSet;
use std::ops::ControlFlow;

/// An entry, with the numbers of its words.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Brief {
    /// Its number in the ledger.
    pub id: i64,
    /// When, in microseconds since 1970.
    pub time: i64,
    /// Number of its [`Kind`].
    pub(crate) kind: i64,
    /// Number of its [`Verdict`].
    pub(crate) verdict: i64,
    /// Number of the word for the enforcement point.
    pub node: i64,
    /// Of the word for who.
    pub source: i64,
    /// Of the word for whom.
    pub destination: i64,
    /// Destination port.
    pub port: i64,
    /// Number of the transport protocol.
    pub protocol: i64,
    /// Of the word for the rule.
    pub rule: i64,
    /// Of the word for the reason.
    pub reason: i64,
    /// How many.
    pub count: i64,
    /// Bytes that the source sent.
    pub sent: i64,
    /// Bytes that it received.
    pub received: i64,
}

/// What [`Brief::read`] reads of an entry `e`.
pub(crate) const SELECTED: &str = "e.id, e.time, e.kind, e.verdict, e.node, e.source, e.destination, e.port, e.protocol, e.rule, \
                                   e.reason, e.count, e.sent, e.received";

impl Brief {
    /// Of the first columns of a row.
    pub(crate) fn read(row: &Row<'_>) -> rusqlite::Result<Self> {
        Ok(Self {
            id: row.get(0)?,
            time: row.get(1)?,
            kind: row.get(2)?,
            verdict: row.get(3)?,
            node: row.get(4)?,
            source: row.get(5)?,
            destination: row.get(6)?,
            port: row.get(7)?,
            protocol: row.get(8)?,
            rule: row.get(9)?,
            reason: row.get(10)?,
            count: row.get(11)?,
            sent: row.get(12)?,
            received: row.get(13)?,
        })
    }

    /// Whether it was let through.
    #[must_use]
    pub fn is_allowed(&self) -> bool {
        self.verdict == Verdict::Allow.number()
    }

    /// Whether policy says that it was not.
    #[must_use]
    pub fn is_denied(&self) -> bool {
        self.verdict == Verdict::Deny.number()
    }

    /// In the order in which they are packed: as they are, so that all that can be in a row can be packed.
    fn fields(&self) -> [i64; 14] {
        let Self { id, time, kind, verdict, node, source, destination, .. } = *self;
        let Self { port, protocol, rule, reason, count, sent, received, .. } = *self;
        [
            id,
            time,
            kind,
            verdict,
            node,
            source,
            destination,
            port,
            protocol,
            rule,
            reason,
            count,
            sent,
            received,
        ]
    }

    fn of_fields(fields: [i64; 14]) -> Self {
        let [
            id,
            time,
            kind,
            verdict,
            node,
            source,
            destination,
            port,
            protocol,
            rule,
            reason,
            count,
            sent,
            received,
        ] = fields;
        Self {
            id,
            time,
            kind,
            verdict,
            node,
            source,
            destination,
            port,
            protocol,
            rule,
            reason,
            count,
            sent,
            received,
        }
    }
}

/// Bit behind those of the fields that differ, of an entry with a mark.
const MARK: u64 = 1 << 14;

/// Packs entries: of each first which fields differ from those of the entry before, a bit each, and then by how much.
#[derive(Debug, Default)]
pub(crate) struct Packer {
    bytes: Vec<u8>,
    last: [i64; 14],
}

impl Packer {
    /// With a mark, which means what whoever packs says.
    pub(crate) fn add(&mut self, brief: &Brief, is_marked: bool) {
        let fields = brief.fields();
        let differ = |place: usize, field: &i64| self.last.get(place) != Some(field);
        let changed = fields.iter().enumerate().filter(|(place, field)| differ(*place, field));
        let mask = changed.fold(0_u64, |mask, (place, _)| mask | 1 << place);
        put(&mut self.bytes, if is_marked { mask | MARK } else { mask });
        for (field, last) in fields.iter().zip(&self.last) {
            let by = field.wrapping_sub(*last);
            if by != 0 {
                // The sign last, so that small differences are short (as ZigZag of Protocol Buffers).
                put(&mut self.bytes, ((by << 1) ^ (by >> 63)).cast_unsigned());
            }
        }
        self.last = fields;
    }

    pub(crate) fn bytes(self) -> Vec<u8> {
        self.bytes
    }
}

/// Seven bits a byte, the lowest first; the highest bit says that more follow.
fn put(bytes: &mut Vec<u8>, mut number: u64) {
    while number >= 0x80 {
        bytes.push(u8::try_from(number & 0x7f).unwrap_or(0) | 0x80);
        number >>= 7;
    }
    bytes.push(u8::try_from(number).unwrap_or(0));
}

fn take(bytes: &mut &[u8]) -> Option<u64> {
    let mut number = 0_u64;
    for shift in (0..64).step_by(7) {
        let (byte, rest) = bytes.split_first()?;
        *bytes = rest;
        number |= u64::from(byte & 0x7f) << shift;
        if byte & 0x80 == 0 {
            return Some(number);
        }
    }
    None
}

/// Shows all that was packed, and what has a mark; `None`: it is none, at least behind what was shown.
pub(crate) fn unpack(mut bytes: &[u8], mut see: impl FnMut(Brief, bool)) -> Option<()> {
    let (mut fields, mut count) = ([0_i64; 14], 0);
    while !bytes.is_empty() {
        // No block has more, whatever somebody wrote there.
        if count >= BLOCK {
            return None;
        }
        count += 1;
        let mask = take(&mut bytes)?;
        for (place, field) in fields.iter_mut().enumerate() {
            if mask >> place & 1 == 1 {
                let by = take(&mut bytes)?;
                *field = field.wrapping_add((by >> 1).cast_signed() ^ -(by & 1).cast_signed());
            }
        }
        see(Brief::of_fields(fields), mask & MARK != 0);
    }
    Some(())
}

/// Keeps what was packed of a block.
pub(crate) fn keep(connection: &Connection, block: i64, oldest: i64, bytes: &[u8]) -> rusqlite::Result<()> {
    let add = "INSERT OR REPLACE INTO packed VALUES (?1, ?2, ?3)";
    connection.prepare_cached(add)?.execute(params![block, oldest, bytes]).map(drop)
}

/// What is kept of a block, as [`keep`] was given it; `None`: nothing is.
pub(crate) fn kept(connection: &Connection, block: i64) -> rusqlite::Result<Option<(i64, Vec<u8>)>> {
    if !has(connection, "packed")? {
        return Ok(None);
    }
    let find = "SELECT oldest, data FROM packed WHERE block = ?1";
    connection.prepare_cached(find)?.query_row([block], |row| Ok((row.get(0)?, row.get(1)?))).optional()
}

/// What a filter means, in numbers.
pub(crate) struct Wanted {
    /// One bit for each kind.
    kinds: u64,
    verdict: Option<i64>,
    port: Option<i64>,
    times: (i64, i64),
    ids: (i64, i64),
    /// One of these columns must have one of these words.
    texts: Vec<(Column, HashSet<i64>)>,
}

impl Wanted {
    /// `None`: no entry can be meant, for no word matches.
    pub(crate) fn of(connection: &Connection, filter: &EntryFilter) -> rusqlite::Result<Option<Self>> {
        let bit = |kind: Kind| 1_u64 << kind.number();
        let some = filter.kinds.iter().fold(0, |kinds, kind| kinds | bit(*kind));
        let mut texts = Vec::new();
        for (column, wanted) in filter.texts() {
            let (query, values) = wanted.query();
            let mut statement = connection.prepare(&query)?;
            let words = statement.query_map(params_from_iter(values), |row| row.get(0))?;
            let words: HashSet<i64> = words.collect::<rusqlite::Result<_>>()?;
            if words.is_empty() {
                return Ok(None);
            }
            texts.push((column, words));
        }
        Ok(Some(Self {
            kinds: if some == 0 { u64::MAX } else { some } & filter.kind.map_or(u64::MAX, bit),
            verdict: filter.verdict.map(Verdict::number),
            port: filter.port.map(i64::from),
            times: (filter.since.map_or(i64::MIN, signed), filter.until.map_or(i64::MAX, signed)),
            ids: (filter.after.unwrap_or(i64::MIN), filter.before.unwrap_or(i64::MAX)),
            texts,
        }))
    }

    pub(crate) fn means(&self, brief: &Brief) -> bool {
        let (since, until) = self.times;
        let (after, before) = self.ids;
        let kind = u32::try_from(brief.kind).ok().and_then(|kind| 1_u64.checked_shl(kind)).unwrap_or(0);
        (since..=until).contains(&brief.time)
            && (self.kinds == u64::MAX || self.kinds & kind != 0)
            && self.verdict.is_none_or(|verdict| verdict == brief.verdict)
            && self.port.is_none_or(|port| port == brief.port)
            && (after == i64::MIN || brief.id > after)
            && (before == i64::MAX || brief.id < before)
            && self.texts.iter().all(|(column, words)| has_one(brief, *column, words))
    }
}

fn has_one(brief: &Brief, column: Column, words: &HashSet<i64>) -> bool {
    let Brief { node, source, destination, rule, reason, .. } = brief;
    match column {
        Column::Node => words.contains(node),
        Column::Source => words.contains(source),
        Column::Destination => words.contains(destination),
        Column::Rule => words.contains(rule),
        Column::Reason => words.contains(reason),
        Column::Any => [source, destination, rule, reason].into_iter().any(|word| words.contains(word)),
    }
}

impl Reader {
    /// Shows the entries that a filter means, in order, until it is told to stop; of one moment, whatever is written meanwhile. The
    /// filter's `tool`, `order` and `limit` are not gone by: tools are only in details.
    ///
    /// # Errors
    /// The file cannot be read.
    pub fn each_brief(
        &self,
        filter: &EntryFilter,
        see: impl FnMut(&Brief) -> ControlFlow<()>,
    ) -> Result<(), LedgerError> {
        self.reading("going through entries", |connection| {
            let view = connection.unchecked_transaction()?;
            match Wanted::of(&view, filter)? {
                Some(wanted) => each(&view, &wanted, see),
                None => Ok(()),
            }
        })
    }

    /// The words that have a higher number than this, in order, until it is told to stop. Numbers of words that were forgotten do not
    /// come again.
    ///
    /// # Errors
    /// The file cannot be read.
    pub fn each_word(
        &self,
        after: i64,
        mut see: impl FnMut(i64, &str) -> ControlFlow<()>,
    ) -> Result<(), LedgerError> {
        self.reading("reading its words", |connection| {
            let mut statement =
                connection.prepare_cached("SELECT id, text FROM words WHERE id > ?1 ORDER BY id")?;
            let mut rows = statement.query([after])?;
            while let Some(row) = rows.next()? {
                if see(row.get(0)?, row.get_ref(1)?.as_str()?).is_break() {
                    break;
                }
            }
            Ok(())
        })
    }

    /// The number of a word; `None`: nothing has it.
    ///
    /// # Errors
    /// The file cannot be read.
    pub fn number_of(&self, word: &str) -> Result<Option<i64>, LedgerError> {
        self.reading("looking for a word", |connection| {
            let find = "SELECT id FROM words WHERE text = ?1";
            connection.prepare_cached(find)?.query_row([word], |row| row.get(0)).optional()
        })
    }

    /// The word with a number; empty where there is none.
    ///
    /// # Errors
    /// The file cannot be read.
    pub fn word(&self, number: i64) -> Result<String, LedgerError> {
        self.reading("reading a word", |connection| {
            let find = "SELECT text FROM words WHERE id = ?1";
            let found = connection.prepare_cached(find)?.query_row([number], |row| row.get(0)).optional()?;
            Ok(found.unwrap_or_default())
        })
    }
}

fn each(
    connection: &Connection,
    wanted: &Wanted,
    mut see: impl FnMut(&Brief) -> ControlFlow<()>,
) -> rusqlite::Result<()> {
    let (since, until) = wanted.times;
    let packed = if has(connection, "packed")? {
        "p.oldest, p.data FROM blocks b LEFT JOIN packed p ON p.block = b.number"
    } else {
        "NULL, NULL FROM blocks b"
    };
    let blocks =
        format!("SELECT b.first, b.last, {packed} WHERE b.pruned = 0 AND b.newest >= ?1 ORDER BY b.number");
    let mut statement = connection.prepare_cached(&blocks)?;
    let mut rows = statement.query([since])?;
    let mut briefs = Vec::new();
    while let Some(row) = rows.next()? {
        if row.get::<_, Option<i64>>(2)?.is_some_and(|oldest| oldest > until) {
            continue;
        }
        let is_packed = match row.get_ref(3)?.as_blob_or_null() {
            Ok(Some(bytes)) => {
                briefs.clear();
                unpack(bytes, |brief, _| briefs.push(brief)).is_some()
            }
            Ok(None) | Err(_) => false,
        };
        let shown = if is_packed {
            briefs.iter().filter(|brief| wanted.means(brief)).try_for_each(&mut see)
        } else {
            each_row(connection, (row.get(0)?, row.get(1)?), wanted, &mut see)?
        };
        if shown.is_break() {
            return Ok(());
        }
    }
    let sealed = "SELECT coalesce((SELECT last FROM blocks ORDER BY number DESC LIMIT 1), 0)";
    let sealed: i64 = connection.query_row(sealed, [], |row| row.get(0))?;
    each_row(connection, (sealed.saturating_add(1), i64::MAX), wanted, &mut see).map(drop)
}

/// The same, of rows with numbers from one to another.
fn each_row(
    connection: &Connection,
    (first, last): (i64, i64),
    wanted: &Wanted,
    mut see: impl FnMut(&Brief) -> ControlFlow<()>,
) -> rusqlite::Result<ControlFlow<()>> {
    let find = format!("SELECT {SELECTED} FROM entries e WHERE e.id BETWEEN ?1 AND ?2 ORDER BY e.id");
    let mut statement = connection.prepare_cached(&find)?;
    let mut rows = statement.query([first, last])?;
    while let Some(row) = rows.next()? {
        let brief = Brief::read(row)?;
        if wanted.means(&brief) && see(&brief).is_break() {
            return Ok(ControlFlow::Break(()));
        }
    }
    Ok(ControlFlow::Continue(()))
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    proptest! {
        #[test]
        fn what_is_packed_is_unpacked(rows in prop::collection::vec((prop::array::uniform14(any::<i64>()), any::<bool>()), 0..20)) {
            let briefs: Vec<(Brief, bool)> = rows.into_iter().map(|(fields, mark)| (Brief::of_fields(fields), mark)).collect();
            let mut packer = Packer::default();
            briefs.iter().for_each(|(brief, mark)| packer.add(brief, *mark));
            let mut unpacked = Vec::new();
            prop_assert!(unpack(&packer.bytes(), |brief, mark| unpacked.push((brief, mark))).is_some());
            prop_assert_eq!(unpacked, briefs);
        }

        #[test]
        fn whatever_stands_in_the_file_is_read_to_an_end(bytes in prop::collection::vec(any::<u8>(), 0..200)) {
            let mut unpacked = 0;
            let _ = unpack(&bytes, |_, _| unpacked += 1);
            prop_assert!(unpacked <= bytes.len());
        }
    }
}
