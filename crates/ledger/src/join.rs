//! One ledger of several: entries of others are added once, each under the name of who sent them.
//!
//! Guarantees: entries and how far their ledger is are written together, so that after a kill nothing is missing and nothing is
//! there twice; no entry says that it is of anybody but its sender. Does not: know who the sender is.

use crate::entry::{Entry, Kind, Verdict};
use crate::error::LedgerError;
use crate::parcel::{Parcel, Receipt};
use crate::query::Reader;
use crate::write::{Ledger, signed};
use rusqlite::{Connection, OptionalExtension, Row, params};
use std::sync::Arc;

/// Ledgers of others whose numbers are remembered; beyond, those are forgotten that were heard of longest ago.
pub const JOINED: u32 = 16_384;
/// Of these, of one node: it had a new one each time its disk was.
pub const OF_NODE: u32 = 16;
/// Longest text of an entry but its detail, in bytes.
pub const TEXT: usize = 4096;
/// Longest detail.
pub const DETAIL: usize = 1 << 20;
/// Longest name of a ledger: see [`Reader::origin`].
const ORIGIN: usize = 64;
/// How much later than now an entry may be, in microseconds: clocks differ, but what comes from the future would never grow old.
pub const AHEAD: u64 = 3600 * 1_000_000;

/// How far a ledger is that is joined into this one.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Joined {
    /// Whose it is.
    pub node: String,
    /// Which of its ledgers.
    pub ledger: String,
    /// The number up to which it was handed over.
    pub last: i64,
    /// Entries that were added.
    pub taken: u64,
    /// Entries that were refused.
    pub refused: u64,
    /// Entries that the sender forgot before it could send them.
    pub lost: u64,
    /// Entries that wait at the sender, as it said last.
    pub waiting: u64,
    /// When it was heard of last, in microseconds since 1970.
    pub seen: u64,
}

/// An entry that is not added.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Refusal {
    /// It says that it is of another node.
    Another,
    /// It is of the future.
    Future,
    /// A text of it is too long.
    Long,
}

impl Ledger {
    /// Adds what another ledger hands over, all of it or nothing; of what was handed over before, nothing. Entries that name no
    /// node are said to be of the sender's; those that name another one, or are of the future, are refused and counted.
    ///
    /// # Errors
    /// As [`Ledger::append`].
    pub fn join(&mut self, parcel: &Parcel, now: u64) -> Result<Receipt, LedgerError> {
        let Parcel { node, .. } = parcel;
        let ledger = &parcel.ledger.chars().take(ORIGIN).collect::<String>();
        let before =
            self.reading("reading how far a ledger is", |connection| of(connection, node, ledger))?;
        let last = before.as_ref().map_or(0, |before| before.last);
        let sender: Arc<str> = node.as_str().into();
        let (mut fresh, mut receipt, mut highest) = (Vec::new(), Receipt::default(), last);
        for (number, entry) in &parcel.entries {
            if *number <= highest {
                receipt.known += 1;
                continue;
            }
            highest = *number;
            match judge(&sender, entry, now) {
                Ok(()) => {
                    if entry.kind == Kind::Flow && entry.verdict == Verdict::Deny {
                        receipt.denied = receipt.denied.saturating_add(entry.count);
                    }
                    fresh.push(Entry { node: Arc::clone(&sender), ..entry.clone() });
                }
                Err(refusal) => {
                    receipt.refused += 1;
                    receipt.why = Some(why(refusal, &sender, entry));
                }
            }
        }
        receipt.taken = fresh.len() as u64;
        let before = before.unwrap_or_default();
        let after = Joined {
            node: node.clone(),
            ledger: ledger.clone(),
            last: highest.max(parcel.last),
            taken: before.taken.saturating_add(receipt.taken),
            refused: before.refused.saturating_add(receipt.refused),
            lost: before.lost.max(parcel.lost),
            waiting: parcel.waiting,
            seen: now.max(before.seen),
        };
        self.append_with(&fresh, |connection| keep(connection, &after))?;
        Ok(receipt)
    }
}

fn judge(sender: &str, entry: &Entry, now: u64) -> Result<(), Refusal> {
    if !entry.node.is_empty() && &*entry.node != sender {
        return Err(Refusal::Another);
    }
    if entry.time > now.saturating_add(AHEAD) {
        return Err(Refusal::Future);
    }
    let Entry { source, destination, rule, reason, detail, .. } = entry;
    let is_long = [source, destination, rule, reason].into_iter().any(|text| text.len() > TEXT);
    if is_long || detail.as_ref().is_some_and(|detail| detail.len() > DETAIL) {
        return Err(Refusal::Long);
    }
    Ok(())
}

fn why(refusal: Refusal, sender: &str, entry: &Entry) -> String {
    match refusal {
        Refusal::Another => {
            let claimed: String = entry.node.chars().take(253).collect();
            format!("{sender} sent entries that say they are of {claimed}")
        }
        Refusal::Future => {
            format!("{sender} sent entries of more than {} s from now: set its clock", AHEAD / 1_000_000)
        }
        Refusal::Long => {
            format!(
                "{sender} sent entries with a text of more than {TEXT} bytes, or a detail of more than {DETAIL}"
            )
        }
    }
}

const SELECTED: &str = "SELECT node, ledger, last, taken, refused, lost, waiting, seen FROM joined";

fn of(connection: &Connection, node: &str, ledger: &str) -> rusqlite::Result<Option<Joined>> {
    let find = format!("{SELECTED} WHERE node = ?1 AND ledger = ?2");
    connection.prepare_cached(&find)?.query_row([node, ledger], joined).optional()
}

fn joined(row: &Row<'_>) -> rusqlite::Result<Joined> {
    let count = |column| row.get::<_, i64>(column).map(|number| u64::try_from(number).unwrap_or(0));
    Ok(Joined {
        node: row.get(0)?,
        ledger: row.get(1)?,
        last: row.get(2)?,
        taken: count(3)?,
        refused: count(4)?,
        lost: count(5)?,
        waiting: count(6)?,
        seen: count(7)?,
    })
}

fn keep(connection: &Connection, it: &Joined) -> rusqlite::Result<()> {
    let add = "INSERT OR REPLACE INTO joined VALUES (?1, ?2, ?3, ?4, ?5, ?6, ?7, ?8)";
    let (taken, refused, lost) = (signed(it.taken), signed(it.refused), signed(it.lost));
    let values =
        params![it.node, it.ledger, it.last, taken, refused, lost, signed(it.waiting), signed(it.seen)];
    connection.prepare_cached(add)?.execute(values)?;
    // Those of one node first: it must not have others' forgotten.
    let forget = "DELETE FROM joined WHERE rowid IN \
                  (SELECT rowid FROM joined WHERE node = ?1 ORDER BY seen DESC, rowid DESC LIMIT -1 OFFSET ?2)";
    connection.prepare_cached(forget)?.execute(params![it.node, OF_NODE])?;
    let count: u32 = connection.query_row("SELECT count(*) FROM joined", [], |row| row.get(0))?;
    let Some(beyond) = count.checked_sub(JOINED).filter(|beyond| *beyond > 0) else { return Ok(()) };
    let forget = "DELETE FROM joined WHERE rowid IN (SELECT rowid FROM joined ORDER BY seen LIMIT ?1)";
    connection.execute(forget, [beyond]).map(drop)
}

impl Reader {
    /// Which ledger this is: what no other has, and stays the same. `None`: it was written only by a version that gave none.
    ///
    /// # Errors
    /// The file cannot be read.
    pub fn origin(&self) -> Result<Option<String>, LedgerError> {
        self.reading("reading which ledger it is", |connection| {
            if !has(connection, "origin")? {
                return Ok(None);
            }
            connection.query_row("SELECT id FROM origin", [], |row| row.get(0)).optional()
        })
    }

    /// The ledgers that are joined into this one, and how far each is, in the order of their names.
    ///
    /// # Errors
    /// The file cannot be read.
    pub fn joined(&self) -> Result<Vec<Joined>, LedgerError> {
        self.reading("reading whose entries are joined in it", |connection| {
            if !has(connection, "joined")? {
                return Ok(Vec::new());
            }
            let all = format!("{SELECTED} ORDER BY node, seen DESC");
            connection.prepare_cached(&all)?.query_map([], joined)?.collect()
        })
    }
}

/// A file that only an earlier version wrote has fewer tables.
pub(crate) fn has(connection: &Connection, table: &str) -> rusqlite::Result<bool> {
    let find = "SELECT count(*) > 0 FROM sqlite_master WHERE type = 'table' AND name = ?1";
    connection.query_row(find, [table], |row| row.get(0))
}
