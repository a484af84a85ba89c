//! The bounded store of records.
//!
//! Enters: records. Leaves: the newest ones that a query matches, or everything after a cursor.
//! Guarantees: never more records or bytes than its limits; sequence numbers have no gaps; what was evicted is
//! counted, and a reader that fell behind is told how many it missed.
//! Does not: outlive the process, lock, or read a clock.

use crate::query::Query;
use crate::record::{Kind, Record};
use serde::{Deserialize, Serialize};
use std::collections::VecDeque;
use std::sync::Arc;

/// How much a store keeps.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Limits {
    /// Records.
    pub records: usize,
    /// Bytes, by [`Record::weight`].
    pub bytes: usize,
    /// Records in one answer.
    pub answer: usize,
}

impl Default for Limits {
    fn default() -> Self {
        Self { records: 65_536, bytes: 64 << 20, answer: 10_000 }
    }
}

/// What a store holds and what it had to give up.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct StoreCounts {
    /// Records kept now.
    pub kept: u64,
    /// Bytes kept now.
    pub bytes: u64,
    /// Records that made room for newer ones.
    pub evicted: u64,
    /// Opens ever added.
    pub opened: u64,
    /// Closes ever added.
    pub closed: u64,
    /// Denials ever added.
    pub denied: u64,
    /// Equal denials that were counted instead of recorded.
    pub suppressed: u64,
}

/// Records in order of their sequence, and where to go on.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Page {
    /// Oldest first.
    pub records: Vec<Arc<Record>>,
    /// Pass it to [`Store::after`] for what comes next.
    pub cursor: u64,
    /// Records after the given cursor that were evicted before they could be read.
    pub missed: u64,
}

/// The store.
#[derive(Debug, Default)]
pub struct Store {
    limits: Limits,
    kept: VecDeque<(usize, Arc<Record>)>,
    /// Sequence of the newest record.
    last: u64,
    counts: StoreCounts,
}

impl Store {
    /// An empty store.
    pub fn new(limits: Limits) -> Self {
        Self { limits, ..Self::default() }
    }

    /// Numbers and keeps a record; the oldest make room.
    pub fn add(&mut self, mut record: Record) -> Arc<Record> {
        self.last += 1;
        record.sequence = self.last;
        match record.kind {
            Kind::Open => self.counts.opened += 1,
            Kind::Close => self.counts.closed += 1,
            Kind::Deny => self.counts.denied += 1,
        }
        self.counts.suppressed += record.suppressed;
        let weight = record.weight();
        let record = Arc::new(record);
        self.kept.push_back((weight, Arc::clone(&record)));
        self.counts.bytes += weight as u64;
        self.evict();
        record
    }

    fn evict(&mut self) {
        let bytes = self.limits.bytes as u64;
        while self.kept.len() > self.limits.records || self.counts.bytes > bytes {
            let Some((weight, _)) = self.kept.pop_front() else { return };
            self.counts.bytes -= weight as u64;
            self.counts.evicted += 1;
        }
    }

    /// The newest records that match, oldest of them first. The cursor is the newest record of all.
    pub fn newest(&self, query: &Query) -> Page {
        let limit = query.limit.unwrap_or(usize::MAX).min(self.limits.answer);
        let newest_first = self.kept.iter().rev().map(|(_, record)| record);
        let mut records: Vec<_> =
            newest_first.filter(|record| query.matches(record)).take(limit).cloned().collect();
        records.reverse();
        Page { records, cursor: self.last, missed: 0 }
    }

    /// The oldest matching records after a cursor. The limit of the query is per page, and nothing is skipped by it:
    /// the cursor stops where the page does.
    pub fn after(&self, cursor: u64, query: &Query) -> Page {
        let limit = query.limit.unwrap_or(usize::MAX).min(self.limits.answer);
        // A cursor from before a restart may lie ahead of this store: then the reader goes on with what comes.
        let cursor = cursor.min(self.last);
        let oldest = self.last + 1 - self.kept.len() as u64;
        let missed = oldest.saturating_sub(cursor + 1);
        let mut page = Page { records: Vec::new(), cursor: self.last, missed };
        let skip = usize::try_from((cursor + 1).saturating_sub(oldest)).unwrap_or(usize::MAX);
        for (_, record) in self.kept.iter().skip(skip) {
            if !query.matches(record) {
                continue;
            }
            if page.records.len() == limit {
                page.cursor = page.records.last().map_or(cursor, |last| last.sequence);
                break;
            }
            page.records.push(Arc::clone(record));
        }
        page
    }

    /// The counters.
    pub fn counts(&self) -> StoreCounts {
        StoreCounts { kept: self.kept.len() as u64, ..self.counts }
    }
}
