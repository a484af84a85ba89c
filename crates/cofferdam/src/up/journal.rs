//! Where events become records: the one place that `up`'s threads share.
//!
//! Enters: rule books before they are enforced, observations and DNS queries as they come. Leaves: pages of records, at
//! once or as soon as there are new ones.
//! Guarantees: a lock is held only for memory work; readers never delay enforcement.
//! Does not: read the kernel or a socket.

use super::budgets;
use super::calls::{ApiCall, ApiContent};
use super::finding::Finding;
use super::lookup::Lookup;
use super::passage::Passage;
use super::pen::{LedgerStatus, Pen, Recorded};
use super::seen::Sightings;
use super::shadow::ShadowStatus;
use super::sight::Seen;
use super::watcher::{DetectionStatus, Watcher};
use anyhow::Result;
use incident::What;
use observe::{
    Bindings, Book, Bound, Candidate, Kept, Limits, Observation, Page, Record, Resolver, ResolverCounts,
    Store, StoreCounts, Time,
};
use policy::detection::Tuning;
use policy::table::Row;
use serde_json::{Map, Value};
use std::net::{IpAddr, SocketAddr};
use std::sync::{Arc, Condvar, Mutex, MutexGuard, OnceLock, PoisonError};
use std::time::{Duration, Instant, SystemTime};

/// Records of this process.
#[derive(Debug)]
pub(crate) struct Journal {
    resolver: Mutex<Resolver>,
    /// Connections.
    pub(crate) flows: Shelf<Record>,
    /// DNS queries.
    pub(crate) lookups: Shelf<Lookup>,
    /// Connections that were held to their name.
    pub(crate) passages: Shelf<Passage>,
    /// Requests that were judged.
    pub(crate) calls: Shelf<ApiCall>,
    /// What was kept of requests, where rules asked for it.
    pub(crate) contents: Shelf<ApiContent>,
    /// What somebody should look at.
    pub(crate) findings: Arc<Shelf<Finding>>,
    /// What pods open, for a controller that asks.
    pub(crate) sightings: Sightings,
    /// Looks at all of it. Before the pen: its last findings are written.
    watcher: OnceLock<Watcher>,
    /// Keeps all of it on disk.
    pen: Option<Arc<Pen>>,
}

/// Records of one kind, and whoever waits for more.
#[derive(Debug)]
pub(crate) struct Shelf<R> {
    store: Mutex<Store<R>>,
    added: Condvar,
}

impl Journal {
    /// An empty journal.
    pub(crate) fn new(limits: Limits) -> Self {
        Self {
            resolver: Mutex::default(),
            flows: Shelf::new(limits),
            lookups: Shelf::new(limits),
            passages: Shelf::new(limits),
            calls: Shelf::new(limits),
            contents: Shelf::new(limits),
            findings: Arc::new(Shelf::new(limits)),
            sightings: Sightings::default(),
            watcher: OnceLock::new(),
            pen: None,
        }
    }

    /// The same, kept on disk besides.
    pub(crate) fn kept_by(self, pen: Option<Pen>) -> Self {
        Self { pen: pen.map(Arc::new), ..self }
    }

    /// Has detectors look at what comes from here on; they begin with what is kept on disk. Records of before are not looked at.
    ///
    /// # Errors
    /// The system gives no thread.
    pub(crate) fn watch(&self) -> Result<()> {
        if let Some(pen) = &self.pen {
            pen.begin()?;
        }
        let watcher = Watcher::start(Arc::clone(&self.findings), self.pen.clone())?;
        // Who asks twice has the first.
        let _ = self.watcher.set(watcher);
        Ok(())
    }

    /// Has detectors go by what policies say.
    pub(crate) fn tune(&self, tunings: &[Tuning]) {
        if let Some(watcher) = self.watcher.get() {
            watcher.tune(tunings);
        }
    }

    /// How what is kept on disk is; `None` where nothing is.
    pub(crate) fn ledger(&self) -> Option<LedgerStatus> {
        self.pen.as_ref().map(|pen| pen.status())
    }

    /// How detectors are; `None` where there are none.
    pub(crate) fn detection(&self) -> Option<DetectionStatus> {
        self.watcher.get().map(Watcher::status)
    }

    fn show(&self, seen: Seen) {
        if let Some(watcher) = self.watcher.get() {
            watcher.see(seen);
        }
    }

    /// Whether anything is kept on disk.
    pub(crate) fn keeps(&self) -> bool {
        self.pen.is_some()
    }

    /// Keeps what somebody, or this program, did. Whether it is kept: not where there is no ledger.
    pub(crate) fn audit(&self, who: &str, what: What, on: &str, detail: &Map<String, Value>) -> bool {
        let Some(pen) = &self.pen else { return false };
        pen.write(incident::entry(Time::from(SystemTime::now()), who, what, on, detail));
        true
    }

    /// Waits for a while until what was kept is on disk. False: it is not there yet.
    pub(crate) fn settle(&self) -> bool {
        self.pen.as_ref().is_none_or(|pen| pen.settle())
    }

    /// Has what is kept on disk sealed, as far as it can be.
    pub(crate) fn seal(&self) {
        if let Some(pen) = &self.pen {
            pen.seal();
        }
    }

    fn keep(&self, record: &impl Recorded) {
        if let Some(pen) = &self.pen {
            pen.write(record.entry());
        }
    }

    /// A panic elsewhere leaves counters and books that are still worth using.
    fn resolver(&self) -> MutexGuard<'_, Resolver> {
        self.resolver.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Makes the events of a generation readable, with what is bound in it. Call it before the kernel gets it.
    pub(crate) fn add_book(&self, book: Book, bindings: Bindings) {
        let mut resolver = self.resolver();
        resolver.add_book(Arc::new(book));
        resolver.set_bindings(bindings);
    }

    /// Says what is bound from one address to another. Call it before the kernel hears of it.
    pub(crate) fn bind(&self, from: IpAddr, to: IpAddr, bound: Option<Bound>) {
        self.resolver().bind(from, to, bound);
    }

    /// Has a candidate judge what comes from here on; nobody if `None`.
    pub(crate) fn judge_beside(&self, candidate: Option<Candidate>) {
        self.resolver().judge_beside(candidate);
    }

    /// Says what the candidate has bound from one address to another.
    pub(crate) fn bind_beside(&self, from: IpAddr, to: IpAddr, row: Option<Arc<Row>>) {
        self.resolver().bind_beside(from, to, row);
    }

    /// The status of a candidate, with what it said so far.
    pub(crate) fn with_tally(&self, status: ShadowStatus) -> ShadowStatus {
        match self.resolver().tally() {
            Some(tally) => status.with(tally),
            None => status,
        }
    }

    /// Makes and keeps the record of an event.
    pub(crate) fn observe(&self, seen: &Observation) {
        let record = self.resolver().resolve(seen);
        if let Some(record) = record {
            self.keep(&record);
            self.sightings.note(&record);
            self.show(Seen::Flow(self.flows.add(record)));
        }
    }

    /// Keeps the records of queries.
    pub(crate) fn looked_up(&self, node: &Arc<str>, queries: Vec<dns::Query>) {
        let book = self.resolver().newest().cloned();
        for query in queries {
            let end = book.as_ref().map(|book| book.end(SocketAddr::new(query.pod, 0)));
            let lookup = Lookup { sequence: 0, node: Arc::clone(node), from: end, query };
            self.keep(&lookup);
            self.sightings.note_lookup(&lookup);
            self.show(Seen::Lookup(self.lookups.add(lookup)));
        }
    }

    /// Keeps the records of the gateway.
    pub(crate) fn passed(&self, node: &Arc<str>, records: Vec<gateway::Record>) {
        let book = self.resolver().newest().cloned();
        for record in records {
            let from = book.as_ref().map(|book| book.end(SocketAddr::new(record.pod.ip(), 0)));
            let passage = Passage { sequence: 0, node: Arc::clone(node), from, record };
            self.keep(&passage);
            self.sightings.note_passage(&passage);
            self.show(Seen::Passage(self.passages.add(passage)));
        }
    }

    /// Keeps the records of requests.
    pub(crate) fn called(&self, node: &Arc<str>, calls: Vec<gateway::Call>) {
        let book = self.resolver().newest().cloned();
        for call in calls {
            let from = book.as_ref().map(|book| book.end(SocketAddr::new(call.pod.ip(), 0)));
            let call = ApiCall { sequence: 0, node: Arc::clone(node), from, call };
            self.keep(&call);
            self.sightings.note_call(&call);
            self.show(Seen::Call(self.calls.add(call)));
        }
    }

    /// Keeps what was kept of a request.
    pub(crate) fn kept(&self, node: &Arc<str>, content: gateway::Content) {
        let book = self.resolver().newest().cloned();
        let from = book.as_ref().map(|book| book.end(SocketAddr::new(content.pod.ip(), 0)));
        let _ = self.contents.add(ApiContent { sequence: 0, node: Arc::clone(node), from, content });
    }

    /// Has it told that a budget of bytes is used up.
    pub(crate) fn spent(&self, node: &Arc<str>, spent: &budgets::Spent) {
        let (namespace, name) = spent.pod();
        let from = self.resolver().newest().and_then(|book| book.pod(namespace, name).cloned());
        self.show(Seen::Spent(Box::new(spent.seen(node, from))));
    }

    /// The counters.
    pub(crate) fn counts(&self) -> (StoreCounts, ResolverCounts) {
        (self.flows.lock().counts(), self.resolver().counts())
    }
}

impl<R: Kept> Shelf<R> {
    fn new(limits: Limits) -> Self {
        Self { store: Mutex::new(Store::new(limits)), added: Condvar::new() }
    }

    fn lock(&self) -> MutexGuard<'_, Store<R>> {
        self.store.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Keeps one, and gives it back with its number.
    pub(crate) fn add(&self, record: R) -> Arc<R> {
        let record = self.lock().add(record);
        self.added.notify_all();
        record
    }

    /// How many there were.
    pub(crate) fn total(&self) -> u64 {
        let counts = self.lock().counts();
        counts.opened + counts.denied
    }

    /// The newest records that match.
    pub(crate) fn newest(&self, query: &R::Query) -> Page<R> {
        self.lock().newest(query)
    }

    /// The records after a cursor; waits for the first at most `patience`.
    pub(crate) fn after(&self, cursor: u64, query: &R::Query, patience: Duration) -> Page<R> {
        let deadline = Instant::now() + patience;
        let mut store = self.lock();
        let mut missed = 0;
        let mut cursor = cursor;
        loop {
            let page = store.after(cursor, query);
            missed += page.missed;
            cursor = page.cursor;
            let left = deadline.saturating_duration_since(Instant::now());
            if !page.records.is_empty() || left.is_zero() {
                return Page { missed, ..page };
            }
            store = self.added.wait_timeout(store, left).unwrap_or_else(PoisonError::into_inner).0;
        }
    }
}
