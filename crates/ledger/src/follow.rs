//! Going on from an entry: what came after it and will not change any more.
//!
//! Entries without detail grow while their window is open, so a follower gets them when it is over, and with them, in the
//! order of their numbers, all that came later. Numbers have no gaps but where entries were forgotten, which is how a
//! follower learns what it missed.

use crate::brief;
use crate::chain;
use crate::entries::{DETAIL, Stored, stored};
use crate::error::LedgerError;
use crate::query::{Reader, TEXTS};
use crate::words::Texts;
use crate::write::{LATE, WINDOW, signed};
use rusqlite::{Connection, OptionalExtension, params};

/// How much longer than its window an entry may still grow, in microseconds: a writer whose disk is slower adds to entries
/// that were followed already.
const SLOW: u64 = 10_000_000;

/// What a follower finds.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Followed {
    /// The oldest first.
    pub entries: Vec<Stored>,
    /// So many were forgotten before them.
    pub forgotten: u64,
    /// The number to go on from.
    pub last: i64,
    /// So many more are there, of which some may still grow.
    pub waiting: u64,
}

impl Reader {
    /// At most `most` entries after a number, and no more once their texts have [`TEXTS`] bytes, of those that will not change any more at `now`, in microseconds since 1970; with
    /// [`u64::MAX`], all.
    ///
    /// # Errors
    /// The file cannot be read.
    pub fn follow(&self, after: i64, now: u64, most: usize) -> Result<Followed, LedgerError> {
        self.reading("following it", |connection| {
            // One view of the file, whatever is written meanwhile.
            let view = connection.unchecked_transaction()?;
            follow(&view, &mut self.texts(), after, now, most)
        })
    }

    /// The hash of the first block in hexadecimal digits, which no other ledger has; `None` while there is no block.
    ///
    /// # Errors
    /// The file cannot be read.
    pub fn identity(&self) -> Result<Option<String>, LedgerError> {
        let first = "SELECT lower(hex(hash)) FROM blocks WHERE number = 1";
        self.reading("reading its first block", |connection| {
            connection.query_row(first, [], |row| row.get(0)).optional()
        })
    }

    /// The highest number that an entry was ever given; 0 while there was none.
    ///
    /// # Errors
    /// The file cannot be read.
    pub fn newest(&self) -> Result<i64, LedgerError> {
        self.reading("reading its last number", newest)
    }

    /// The number before the first entry that is not older than a time in microseconds since 1970: where to begin to follow.
    ///
    /// # Errors
    /// The file cannot be read.
    pub fn before(&self, time: u64) -> Result<i64, LedgerError> {
        let first = "SELECT min(id) FROM entries WHERE time >= ?1";
        self.reading("looking for a time", |connection| {
            let found: Option<i64> = connection.query_row(first, [signed(time)], |row| row.get(0))?;
            match found {
                Some(first) => Ok(first - 1),
                None => newest(connection),
            }
        })
    }
}

fn follow(
    connection: &Connection,
    texts: &mut Texts,
    after: i64,
    now: u64,
    most: usize,
) -> rusqlite::Result<Followed> {
    let sealed = chain::newest(connection)?.map_or(0, |(_number, last, _hash)| last);
    let newest = newest(connection)?;
    let query =
        format!("SELECT {}, {DETAIL} FROM entries e WHERE e.id > ?1 ORDER BY e.id LIMIT ?2", brief::SELECTED);
    let mut statement = connection.prepare_cached(&query)?;
    let mut rows = statement.query(params![after, i64::try_from(most).unwrap_or(i64::MAX)])?;
    let mut find = Texts::find(connection)?;
    let (mut found, mut last, mut waits, mut bytes) = (Vec::new(), after, false, 0);
    while let Some(row) = rows.next()? {
        let Some(entry) = stored(row, |number| texts.get(&mut find, number))? else { continue };
        if !is_settled(&entry, sealed, now) {
            waits = true;
            break;
        }
        last = entry.id;
        bytes += entry.entry.bytes();
        found.push(entry);
        if bytes >= TEXTS {
            break;
        }
    }
    if found.is_empty() && !waits {
        // Nothing is left of what came after.
        last = last.max(newest);
    }
    let forgotten = last.saturating_sub(after).saturating_sub(signed(found.len() as u64));
    let waiting = newest.saturating_sub(last);
    let unsigned = |number: i64| u64::try_from(number).unwrap_or(0);
    Ok(Followed { entries: found, forgotten: unsigned(forgotten), last, waiting: unsigned(waiting) })
}

fn is_settled(Stored { id, entry }: &Stored, sealed: i64, now: u64) -> bool {
    let end = (entry.time / WINDOW).saturating_add(1).saturating_mul(WINDOW);
    entry.detail.is_some() || *id <= sealed || end.saturating_add(LATE).saturating_add(SLOW) <= now
}

/// The highest number that was ever given.
fn newest(connection: &Connection) -> rusqlite::Result<i64> {
    let last = "SELECT seq FROM sqlite_sequence WHERE name = 'entries'";
    Ok(connection.query_row(last, [], |row| row.get(0)).optional()?.unwrap_or(0))
}
