//! What is added to a ledger at once: entries that are alike as one row, and who reached whom.
//!
//! Enters: entries, and the rows whose windows are not over. Leaves: rows and edges, in a transaction that somebody else ends. Does not:
//! read the clock; which windows are over is said by who has it.

use crate::entry::{Entry, Kind, Verdict};
use crate::words::Words;
use crate::write::{EDGES_LOST, EDGES_OF_ONE, OTHER, WINDOW, lose, signed};
use ahash::HashMap;
use rusqlite::{Connection, Statement, params};
use std::sync::Arc;

/// Rows that may grow at once.
const OPEN: usize = 100_000;

const INSERT: &str = "INSERT INTO entries (time, kind, verdict, node, source, destination, port, protocol, rule, reason, count, \
                      sent, received, detail) VALUES (?1, ?2, ?3, ?4, ?5, ?6, ?7, ?8, ?9, ?10, ?11, ?12, ?13, ?14)";
// Sums stay whole numbers however large they would be: SQLite makes one of more than 63 bits a fraction, which nobody who reads the file
// expects. A time that stays is not written: it would be taken out of two indexes and put into them again.
const GROW: &str = "UPDATE entries SET count = min(count + ?2, 9223372036854775807), sent = min(sent + ?3, 9223372036854775807), \
                    received = min(received + ?4, 9223372036854775807) WHERE id = ?1";
const SET_TIME: &str = "UPDATE entries SET time = ?2 WHERE id = ?1";
// Of two that are joined the one that is added last may be older.
const ADD_TO_EDGE: &str = "UPDATE edges SET first = min(first, ?5), last = max(last, ?6), \
                           allowed = min(allowed + ?7, 9223372036854775807), denied = min(denied + ?8, 9223372036854775807), \
                           sent = min(sent + ?9, 9223372036854775807), received = min(received + ?10, 9223372036854775807), \
                           rule = CASE WHEN ?6 >= last THEN ?11 ELSE rule END \
                           WHERE source = ?1 AND destination = ?2 AND port = ?3 AND protocol = ?4";
const ADD_EDGE: &str = "INSERT INTO edges VALUES (?1, ?2, ?3, ?4, ?5, ?6, ?7, ?8, ?9, ?10, ?11)";
const EDGES_HELD: &str = "SELECT count(*) FROM (SELECT 1 FROM edges WHERE source = ?1 LIMIT ?2)";

/// What is added at once.
#[derive(Default)]
pub(crate) struct Batch<'a> {
    /// Entries with a detail, which stay single.
    single: Vec<(Alike, Amount, Option<&'a str>)>,
    sums: HashMap<Alike, Amount>,
    edges: HashMap<Edge, Reached>,
}

impl<'a> Batch<'a> {
    /// Takes one, with the numbers of its texts.
    pub(crate) fn add(
        &mut self,
        entry: &'a Entry,
        mut number: impl FnMut(&Arc<str>) -> rusqlite::Result<i64>,
    ) -> rusqlite::Result<()> {
        let alike = Alike {
            window: entry.time / WINDOW,
            kind: entry.kind,
            verdict: entry.verdict,
            node: number(&entry.node)?,
            source: number(&entry.source)?,
            destination: number(&entry.destination)?,
            port: entry.port,
            protocol: entry.protocol,
            rule: number(&entry.rule)?,
            reason: number(&entry.reason)?,
        };
        if let Some(detail) = &entry.detail {
            self.single.push((alike, Amount::of(entry), Some(detail)));
        } else {
            let sum = self.sums.entry(alike);
            sum.and_modify(|sum| sum.add(entry)).or_insert_with(|| Amount::of(entry));
        }
        if has_edge(entry) {
            let Alike { source, destination, port, protocol, .. } = alike;
            let edge = self.edges.entry(Edge { source, destination, port, protocol });
            edge.or_insert_with(|| Reached::at(entry.time)).add(entry, alike.rule);
        }
        Ok(())
    }

    /// Writes all of it, and says how many edges are new. `sealed` is the last row that must not grow.
    pub(crate) fn put(
        self,
        connection: &Connection,
        open: &mut HashMap<Alike, Grows>,
        words: &mut Words,
        sealed: i64,
    ) -> rusqlite::Result<u64> {
        let Self { single: mut rows, sums, edges } = self;
        let (mut grow, mut set_time) =
            (connection.prepare_cached(GROW)?, connection.prepare_cached(SET_TIME)?);
        for (alike, amount) in sums {
            let Some(grows) = open.get_mut(&alike).filter(|grows| grows.row > sealed) else {
                rows.push((alike, amount, None));
                continue;
            };
            let Amount { time, count, sent, received } = amount;
            grow.execute(params![grows.row, signed(count), signed(sent), signed(received)])?;
            if time < grows.time {
                set_time.execute(params![grows.row, signed(time)])?;
                grows.time = time;
            }
        }
        // By time, so that its index grows at its end, and the times of a block, which are packed as differences, are short.
        rows.sort_by_key(|(_, amount, _)| amount.time);
        let mut insert = connection.prepare_cached(INSERT)?;
        for (alike, amount, detail) in rows {
            let row = alike.insert(connection, &mut insert, &amount, detail)?;
            if detail.is_none() && (open.len() < OPEN || open.contains_key(&alike)) {
                open.insert(alike, Grows { row, time: amount.time });
            }
        }
        // In the order of their table: those of one source lie beside each other.
        let mut edges: Vec<(Edge, Reached)> = edges.into_iter().collect();
        edges.sort_unstable_by_key(|(edge, _)| *edge);
        let mut add = connection.prepare_cached(ADD_TO_EDGE)?;
        let mut fresh = 0;
        for (edge, reached) in edges {
            if !edge.write(&mut add, &reached)? {
                fresh += u64::from(edge.begin(connection, &mut add, words, &reached)?);
            }
        }
        Ok(fresh)
    }
}

/// What entries of one row have in common; texts by their numbers.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub(crate) struct Alike {
    pub(crate) window: u64,
    kind: Kind,
    verdict: Verdict,
    node: i64,
    source: i64,
    destination: i64,
    port: u16,
    protocol: u8,
    rule: i64,
    reason: i64,
}

/// A row that may still grow.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Grows {
    pub(crate) row: i64,
    /// Its time.
    time: u64,
}

/// How much.
#[derive(Clone, Copy, Debug)]
struct Amount {
    time: u64,
    count: u64,
    sent: u64,
    received: u64,
}

impl Amount {
    fn of(entry: &Entry) -> Self {
        let Entry { time, count, sent, received, .. } = *entry;
        Self { time, count, sent, received }
    }

    fn add(&mut self, entry: &Entry) {
        self.time = self.time.min(entry.time);
        self.count = self.count.saturating_add(entry.count);
        self.sent = self.sent.saturating_add(entry.sent);
        self.received = self.received.saturating_add(entry.received);
    }
}

impl Alike {
    /// Writes a row, and says which.
    fn insert(
        &self,
        connection: &Connection,
        statement: &mut Statement<'_>,
        amount: &Amount,
        detail: Option<&str>,
    ) -> rusqlite::Result<i64> {
        let Self { kind, verdict, node, source, destination, port, protocol, rule, reason, .. } = *self;
        let Amount { time, count, sent, received } = *amount;
        statement.execute(params![
            signed(time),
            kind.number(),
            verdict.number(),
            node,
            source,
            destination,
            port,
            protocol,
            rule,
            reason,
            signed(count),
            signed(sent),
            signed(received),
            detail,
        ])?;
        Ok(connection.last_insert_rowid())
    }
}

/// Who reaches whom.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
struct Edge {
    source: i64,
    destination: i64,
    port: u16,
    protocol: u8,
}

impl Edge {
    /// Writes the first of it, and says whether it is one more: those beyond what is told apart are one.
    fn begin(
        mut self,
        connection: &Connection,
        add: &mut Statement<'_>,
        words: &mut Words,
        reached: &Reached,
    ) -> rusqlite::Result<bool> {
        let held: i64 = connection
            .prepare_cached(EDGES_HELD)?
            .query_row(params![self.source, signed(EDGES_OF_ONE)], |row| row.get(0))?;
        if held >= signed(EDGES_OF_ONE) {
            self.destination = words.number(connection, &OTHER.into())?;
            lose(connection, EDGES_LOST, 1)?;
            if self.write(add, reached)? {
                return Ok(false);
            }
        }
        let mut first = connection.prepare_cached(ADD_EDGE)?;
        self.write(&mut first, reached)
    }

    /// Runs a statement that has all its columns, and says whether it changed anything.
    fn write(self, statement: &mut Statement<'_>, reached: &Reached) -> rusqlite::Result<bool> {
        let Self { source, destination, port, protocol } = self;
        let Reached { first, last, allowed, denied, sent, received, rule } = *reached;
        let changed = statement.execute(params![
            source,
            destination,
            port,
            protocol,
            signed(first),
            signed(last),
            signed(allowed),
            signed(denied),
            signed(sent),
            signed(received),
            rule
        ])?;
        Ok(changed > 0)
    }
}

#[derive(Clone, Copy, Debug)]
struct Reached {
    first: u64,
    last: u64,
    allowed: u64,
    denied: u64,
    sent: u64,
    received: u64,
    rule: i64,
}

impl Reached {
    fn at(time: u64) -> Self {
        Self { first: time, last: time, allowed: 0, denied: 0, sent: 0, received: 0, rule: 0 }
    }

    fn add(&mut self, entry: &Entry, rule: i64) {
        self.first = self.first.min(entry.time);
        if entry.time >= self.last {
            (self.last, self.rule) = (entry.time, rule);
        }
        match entry.verdict {
            Verdict::Allow => self.allowed = self.allowed.saturating_add(entry.count),
            Verdict::Deny | Verdict::Fail | Verdict::None => {
                self.denied = self.denied.saturating_add(entry.count);
            }
        }
        self.sent = self.sent.saturating_add(entry.sent);
        self.received = self.received.saturating_add(entry.received);
    }
}

/// Only connections lead somewhere; what else is told of them would count them twice.
fn has_edge(entry: &Entry) -> bool {
    entry.kind == Kind::Flow && !entry.destination.is_empty()
}
