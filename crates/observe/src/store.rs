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

/// What a store can keep.
pub trait Kept {
    /// Which of them someone wants.
    type Query;

    /// Its number, once a store gave it one.
    fn sequence(&self) -> u64;

    /// Gives it its number.
    fn set_sequence(&mut self, sequence: u64);

    /// Bytes of memory, at most.
    fn weight(&self) -> usize;

    /// Adds it to the counts of its kind.
    fn count(&self, counts: &mut StoreCounts);

    /// Whether it is wanted.
    fn matches(&self, query: &Self::Query) -> bool;

    /// At most how many are wanted.
    fn limit(query: &Self::Query) -> Option<usize>;
}

impl Kept for Record {
    type Query = Query;

    fn sequence(&self) -> u64 {
        self.sequence
    }

    fn set_sequence(&mut self, sequence: u64) {
        self.sequence = sequence;
    }

    fn weight(&self) -> usize {
        self.weight()
    }

    fn count(&self, counts: &mut StoreCounts) {
        match self.kind {
            Kind::Open => counts.opened += 1,
            Kind::Close => counts.closed += 1,
            Kind::Deny => counts.denied += 1,
        }
        counts.suppressed += self.suppressed;
    }

    fn matches(&self, query: &Query) -> bool {
        query.matches(self)
    }

    fn limit(query: &Query) -> Option<usize> {
        query.limit
    }
}

/// How much a store keeps.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Limits {
    /// Records.
    pub records: usize,
    /// Bytes, by [`Kept::weight`].
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
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Page<R = Record> {
    /// Oldest first.
    pub records: Vec<Arc<R>>,
    /// Pass it to [`Store::after`] for what comes next.
    pub cursor: u64,
    /// Records after the given cursor that were evicted before they could be read.
    pub missed: u64,
}

/// The store.
#[derive(Debug)]
pub struct Store<R = Record> {
    limits: Limits,
    kept: VecDeque<(usize, Arc<R>)>,
    /// Sequence of the newest record.
    last: u64,
    counts: StoreCounts,
}

impl<R: Kept> Store<R> {
    /// An empty store.
    pub fn new(limits: Limits) -> Self {
        Self { limits, kept: VecDeque::new(), last: 0, counts: StoreCounts::default() }
    }

    /// Numbers and keeps a record; the oldest make room.
    pub fn add(&mut self, mut record: R) -> Arc<R> {
        self.last += 1;
        record.set_sequence(self.last);
        record.count(&mut self.counts);
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
    pub fn newest(&self, query: &R::Query) -> Page<R> {
        let limit = R::limit(query).unwrap_or(usize::MAX).min(self.limits.answer);
        let newest_first = self.kept.iter().rev().map(|(_, record)| record);
        let mut records: Vec<_> =
            newest_first.filter(|record| record.matches(query)).take(limit).cloned().collect();
        records.reverse();
        Page { records, cursor: self.last, missed: 0 }
    }

    /// The oldest matching records after a cursor. The limit of the query is per page, and nothing is skipped by it:
    /// the cursor stops where the page does.
    pub fn after(&self, cursor: u64, query: &R::Query) -> Page<R> {
        let limit = R::limit(query).unwrap_or(usize::MAX).min(self.limits.answer);
        // A cursor from before a restart may lie ahead of this store: then the reader goes on with what comes.
        let cursor = cursor.min(self.last);
        let oldest = self.last + 1 - self.kept.len() as u64;
        let missed = oldest.saturating_sub(cursor + 1);
        let mut page: Page<R> = Page { records: Vec::new(), cursor: self.last, missed };
        let skip = usize::try_from((cursor + 1).saturating_sub(oldest)).unwrap_or(usize::MAX);
        for (_, record) in self.kept.iter().skip(skip) {
            if !record.matches(query) {
                continue;
            }
            if page.records.len() == limit {
                page.cursor = page.records.last().map_or(cursor, |last| last.sequence());
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
