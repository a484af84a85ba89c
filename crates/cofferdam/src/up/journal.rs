//! Where events become records: the one place that `up`'s threads share.
//!
//! Enters: rule books before they are enforced, observations as they come. Leaves: pages of records, at once or as
//! soon as there are new ones.
//! Guarantees: a lock is held only for memory work; readers never delay enforcement.
//! Does not: read the kernel or a socket.

use observe::{Book, Limits, Observation, Page, Query, Resolver, ResolverCounts, Store, StoreCounts};
use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

/// Records of this process.
#[derive(Debug, Default)]
pub(crate) struct Journal {
    inner: Mutex<Inner>,
    added: Condvar,
}

#[derive(Debug, Default)]
struct Inner {
    resolver: Resolver,
    store: Store,
}

impl Journal {
    /// An empty journal.
    pub(crate) fn new(limits: Limits) -> Self {
        let inner = Inner { resolver: Resolver::default(), store: Store::new(limits) };
        Self { inner: Mutex::new(inner), ..Self::default() }
    }

    /// A panic elsewhere leaves counters and records that are still worth showing.
    fn lock(&self) -> MutexGuard<'_, Inner> {
        self.inner.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Makes the events of a generation readable. Call it before the kernel gets the generation.
    pub(crate) fn add_book(&self, book: Book) {
        self.lock().resolver.add_book(Arc::new(book));
    }

    /// Makes and keeps the record of an event.
    pub(crate) fn observe(&self, seen: &Observation) {
        let mut inner = self.lock();
        if let Some(record) = inner.resolver.resolve(seen) {
            inner.store.add(record);
            drop(inner);
            self.added.notify_all();
        }
    }

    /// The newest records that match.
    pub(crate) fn newest(&self, query: &Query) -> Page {
        self.lock().store.newest(query)
    }

    /// The records after a cursor; waits for the first at most `patience`.
    pub(crate) fn after(&self, cursor: u64, query: &Query, patience: Duration) -> Page {
        let deadline = Instant::now() + patience;
        let mut inner = self.lock();
        let mut missed = 0;
        let mut cursor = cursor;
        loop {
            let page = inner.store.after(cursor, query);
            missed += page.missed;
            cursor = page.cursor;
            let left = deadline.saturating_duration_since(Instant::now());
            if !page.records.is_empty() || left.is_zero() {
                return Page { missed, ..page };
            }
            inner = self.added.wait_timeout(inner, left).unwrap_or_else(PoisonError::into_inner).0;
        }
    }

    /// The counters.
    pub(crate) fn counts(&self) -> (StoreCounts, ResolverCounts) {
        let inner = self.lock();
        (inner.store.counts(), inner.resolver.counts())
    }
}
