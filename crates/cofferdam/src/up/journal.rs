//! Where events become records: the one place that `up`'s threads share.
//!
//! Enters: rule books before they are enforced, observations and DNS queries as they come. Leaves: pages of records, at
//! once or as soon as there are new ones.
//! Guarantees: a lock is held only for memory work; readers never delay enforcement.
//! Does not: read the kernel or a socket.

use super::calls::{ApiCall, ApiContent};
use super::lookup::Lookup;
use super::passage::{Finding, FindingKind, Passage};
use super::pen::{LedgerStatus, Pen, Recorded};
use incident::What;
use observe::{
    Bindings, Book, Bound, Kept, Limits, Observation, Page, Record, Resolver, ResolverCounts, Store,
    StoreCounts, Time,
};
use serde_json::{Map, Value};
use std::collections::HashSet;
use std::net::{IpAddr, SocketAddr};
use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError};
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
    pub(crate) findings: Shelf<Finding>,
    /// Budgets that were told of as used up, and in which hour.
    told: Mutex<HashSet<Told>>,
    /// Keeps all of it on disk.
    pen: Option<Pen>,
}

/// Who, under which rule, what, when.
type Told = (Arc<str>, Option<Arc<str>>, FindingKind, u64);

/// Microseconds.
const HOUR: u64 = 3600 * 1_000_000;
/// Most that is told of in an hour.
const TOLD: usize = 4096;

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
            findings: Shelf::new(limits),
            told: Mutex::default(),
            pen: None,
        }
    }

    /// The same, kept on disk besides.
    pub(crate) fn kept_by(self, pen: Option<Pen>) -> Self {
        Self { pen, ..self }
    }

    /// How what is kept on disk is; `None` where nothing is.
    pub(crate) fn ledger(&self) -> Option<LedgerStatus> {
        self.pen.as_ref().map(Pen::status)
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

    /// Makes and keeps the record of an event.
    pub(crate) fn observe(&self, seen: &Observation) {
        let record = self.resolver().resolve(seen);
        if let Some(record) = record {
            self.keep(&record);
            self.flows.add(record);
        }
    }

    /// Keeps the records of queries.
    pub(crate) fn looked_up(&self, node: &Arc<str>, queries: Vec<dns::Query>) {
        let book = self.resolver().newest().cloned();
        for query in queries {
            let end = book.as_ref().map(|book| book.end(SocketAddr::new(query.pod, 0)));
            let lookup = Lookup { sequence: 0, node: Arc::clone(node), from: end, query };
            self.keep(&lookup);
            self.lookups.add(lookup);
        }
    }

    /// Keeps the records of the gateway.
    pub(crate) fn passed(&self, node: &Arc<str>, records: Vec<gateway::Record>) {
        let book = self.resolver().newest().cloned();
        for record in records {
            let from = book.as_ref().map(|book| book.end(SocketAddr::new(record.pod.ip(), 0)));
            let passage = Passage { sequence: 0, node: Arc::clone(node), from, record };
            let finding = passage.finding();
            self.keep(&passage);
            self.passages.add(passage);
            finding.into_iter().filter(|finding| self.is_news(finding)).for_each(|it| self.found(it));
        }
    }

    /// Keeps the records of requests.
    pub(crate) fn called(&self, node: &Arc<str>, calls: Vec<gateway::Call>) {
        let book = self.resolver().newest().cloned();
        for call in calls {
            let from = book.as_ref().map(|book| book.end(SocketAddr::new(call.pod.ip(), 0)));
            let call = ApiCall { sequence: 0, node: Arc::clone(node), from, call };
            let findings = call.findings();
            self.keep(&call);
            self.calls.add(call);
            findings.into_iter().filter(|finding| self.is_news(finding)).for_each(|it| self.found(it));
        }
    }

    /// Keeps what was kept of a request.
    pub(crate) fn kept(&self, node: &Arc<str>, content: gateway::Content) {
        let book = self.resolver().newest().cloned();
        let from = book.as_ref().map(|book| book.end(SocketAddr::new(content.pod.ip(), 0)));
        self.contents.add(ApiContent { sequence: 0, node: Arc::clone(node), from, content });
    }

    /// Whether a finding says something that none before said: that a budget is used up, each refused request says again.
    fn is_news(&self, finding: &Finding) -> bool {
        match finding.kind {
            FindingKind::QuotaRequests
            | FindingKind::QuotaTokens
            | FindingKind::QuotaMoney
            | FindingKind::NoPrice
            | FindingKind::Unopened => {
                let hour = finding.time.0 / HOUR;
                let key = (Arc::clone(&finding.from), finding.rule.clone(), finding.kind, hour);
                let mut told = self.told.lock().unwrap_or_else(PoisonError::into_inner);
                // Of earlier hours none comes again.
                if told.iter().any(|(.., of)| *of != hour) {
                    told.clear();
                }
                told.len() < TOLD && told.insert(key)
            }
            FindingKind::UploadConnection
            | FindingKind::DownloadOnly
            | FindingKind::UploadHour
            | FindingKind::UploadDay
            | FindingKind::Leak
            | FindingKind::LeakBlocked
            | FindingKind::LeakMasked
            | FindingKind::UnsafeFile
            | FindingKind::UnsafeFileBlocked => true,
        }
    }

    /// Keeps a finding.
    pub(crate) fn found(&self, finding: Finding) {
        self.keep(&finding);
        self.findings.add(finding);
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

    fn add(&self, record: R) {
        self.lock().add(record);
        self.added.notify_all();
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
