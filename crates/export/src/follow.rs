//! What comes after a cursor in a ledger that somebody else writes, and may put aside and begin anew.

use crate::batch::{Batch, Lost, Place};
use crate::cursor::Cursor;
use ledger::{LedgerError, Reader};
use std::fs;
use std::os::unix::fs::MetadataExt;
use std::path::PathBuf;
use std::time::SystemTime;

/// A ledger, opened when it is read.
#[derive(Debug)]
pub(crate) struct Follower {
    path: PathBuf,
    open: Option<(Reader, File)>,
    /// Entries that were not sent when it was looked at last.
    waiting: u64,
    /// What an earlier ledger had and nobody was told of yet.
    gone: Option<Lost>,
}

/// What tells a file from another of the same name: device and number.
type File = (u64, u64);

/// What is to be sent next.
#[derive(Debug, Default)]
pub(crate) struct Next {
    pub(crate) batch: Batch,
    /// The number to go on from when it was sent.
    pub(crate) last: i64,
    /// Entries that are there after it.
    pub(crate) waiting: u64,
}

impl Follower {
    pub(crate) fn new(path: PathBuf) -> Self {
        Self { path, open: None, waiting: 0, gone: None }
    }

    /// The next `most` entries. A cursor of another ledger is set to the beginning of this one.
    pub(crate) fn next(&mut self, cursor: &mut Cursor, most: usize, now: u64) -> Result<Next, LedgerError> {
        let next = self.look(cursor, most, now);
        if next.is_err() {
            self.open = None;
        }
        next
    }

    /// What was given last was sent, and so many wait after it.
    pub(crate) fn sent(&mut self, waiting: u64) {
        self.gone = None;
        self.waiting = waiting;
    }

    fn look(&mut self, cursor: &mut Cursor, most: usize, now: u64) -> Result<Next, LedgerError> {
        let file = fs::metadata(&self.path).ok().map(|it| (it.dev(), it.ino()));
        let is_same = matches!((&self.open, file), (Some((_, open)), Some(file)) if *open == file);
        if !is_same {
            self.open = None;
        }
        let (reader, _) = match self.open.take() {
            Some(open) => self.open.insert(open),
            None => {
                let reader = Reader::open(&self.path)?;
                self.open.insert((reader, file.unwrap_or_default()))
            }
        };
        let identity = reader.identity()?;
        let is_other = match (&cursor.ledger, &identity) {
            (Some(known), Some(found)) => known != found,
            // A ledger that has no block yet is young.
            (Some(_), None) => true,
            (None, _) => reader.newest()? < cursor.last,
        };
        if is_other {
            // Of what the other one had, so much was there when it was looked at last.
            let records = self.waiting.saturating_add(self.gone.map_or(0, |gone| gone.records));
            self.gone = (records > 0).then_some(Lost { records, up_to: cursor.last, time: now });
            cursor.last = 0;
        }
        cursor.ledger = identity;
        let found = reader.follow(cursor.last, now, most)?;
        let mut lost = self.gone;
        if found.forgotten > 0 {
            let up_to = found.entries.first().map_or(found.last, |first| first.id - 1);
            let records = found.forgotten.saturating_add(lost.map_or(0, |lost| lost.records));
            lost = Some(Lost { records, up_to, time: now });
        }
        let inside = u64::try_from(found.entries.len()).unwrap_or(u64::MAX);
        self.waiting = found.waiting.saturating_add(inside);
        let place = Place {
            ledger: reader.origin()?,
            last: found.last,
            waiting: found.waiting,
            lost: cursor.lost.saturating_add(lost.map_or(0, |lost| lost.records)),
        };
        let batch = Batch { lost, entries: found.entries, place };
        Ok(Next { batch, last: found.last, waiting: found.waiting })
    }
}

/// Microseconds since 1970.
pub(crate) fn now() -> u64 {
    observe::Time::from(SystemTime::now()).0
}
