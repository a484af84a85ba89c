//! Key sets that are fetched: when to fetch which, and how long what was fetched serves.
//!
//! Enters: what was fetched, or that it could not be, and what time it is. Leaves: what to fetch now. Guarantees: a set is
//! fetched again before it is old, later and later while that fails, and for a key that it does not have at most every
//! [`LEAST_BETWEEN`] seconds, whoever asks; what was fetched serves through an outage as long as the policy says, then
//! nobody is known by it. Does not: fetch.

use crate::jwks::{self, KeySet};
use std::collections::HashMap;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError, Weak};

/// Seconds between fetches that unknown keys ask for.
pub(crate) const LEAST_BETWEEN: u64 = 30;
/// Seconds after which a fetch of which nothing was heard is given out again.
const LOST: u64 = 60;
/// Seconds to the next try after the first failure; twice as many after each further one.
const FIRST_RETRY: u64 = 2;
/// Most seconds to the next try.
const LAST_RETRY: u64 = 300;

/// The key sets of all policies. One for the process.
#[derive(Debug, Default)]
pub struct KeySources {
    sources: Mutex<HashMap<Fetch, Weak<Source>>>,
    failures: AtomicU64,
}

/// How the sets in use stand.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Standing {
    /// How many there are.
    pub sets: usize,
    /// Of which nothing was fetched yet.
    pub missing: usize,
    /// Whose last fetch failed.
    pub failing: usize,
    /// Seconds since the oldest of those that are there was fetched. `None`: none is there.
    pub oldest: Option<u64>,
    /// Fetches that failed since the start, of sets that are not in use any more too.
    pub failures: u64,
}

/// A key set that should be fetched now.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct Fetch {
    /// From where, with `https://`.
    pub url: Arc<str>,
    /// Certificates in PEM by which the server is known. `None`: those of the machine.
    pub ca: Option<Arc<str>>,
}

/// One set.
#[derive(Debug)]
pub(crate) struct Source {
    pub(crate) fetch: Fetch,
    state: Mutex<State>,
}

#[derive(Debug)]
struct State {
    keys: Option<Arc<KeySet>>,
    /// When they came.
    fetched_at: u64,
    /// From then on they should be fetched.
    next: u64,
    /// When it was given out to be fetched, while nothing was heard of it.
    given_out: Option<u64>,
    tried_at: u64,
    failures: u32,
    /// Seconds from one fetch to the next: the smallest that a policy wants.
    refresh: u64,
}

impl KeySources {
    /// Most bytes of a key set: who fetches stops there.
    pub const MOST_BYTES: usize = jwks::MAX_BYTES;

    fn all(&self) -> MutexGuard<'_, HashMap<Fetch, Weak<Source>>> {
        self.sources.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn in_use(&self) -> Vec<Arc<Source>> {
        let mut all = self.all();
        all.retain(|_, source| source.strong_count() > 0);
        all.values().filter_map(Weak::upgrade).collect()
    }

    /// The set of this place, which is forgotten once nobody uses it.
    pub(crate) fn source(&self, fetch: Fetch, refresh: u64) -> Arc<Source> {
        let mut all = self.all();
        if let Some(known) = all.get(&fetch).and_then(Weak::upgrade) {
            let mut state = known.state();
            state.refresh = state.refresh.min(refresh);
            drop(state);
            return known;
        }
        let source = Arc::new(Source { fetch: fetch.clone(), state: Mutex::new(State::new(refresh)) });
        all.insert(fetch, Arc::downgrade(&source));
        source
    }

    /// What should be fetched now; each is given out once until [`Self::fetched`] or [`Self::failed`] is told, or a minute
    /// is over. `now`: seconds since 1970.
    pub fn due(&self, now: u64) -> Vec<Fetch> {
        let sources = self.in_use();
        let due = sources.iter().filter(|source| source.state().give_out(now));
        due.map(|source| source.fetch.clone()).collect()
    }

    /// When something will be due, if nothing happens before. Seconds since 1970.
    pub fn next_due(&self) -> Option<u64> {
        self.in_use().iter().map(|source| source.state().due_at()).min()
    }

    /// How the sets in use stand. `now`: seconds since 1970.
    pub fn standing(&self, now: u64) -> Standing {
        let sources = self.in_use();
        let mut standing = Standing {
            sets: sources.len(),
            failures: self.failures.load(Ordering::Relaxed),
            ..Standing::default()
        };
        for source in &sources {
            let state = source.state();
            standing.failing += usize::from(state.failures > 0);
            if state.keys.is_none() {
                standing.missing += 1;
            } else {
                standing.oldest = standing.oldest.max(Some(now.saturating_sub(state.fetched_at)));
            }
        }
        standing
    }

    /// This is what came.
    ///
    /// # Errors
    /// It is no key set; what was there before stays. A clause for the log.
    pub fn fetched(&self, fetch: &Fetch, body: &[u8], now: u64) -> Result<(), String> {
        let read = KeySet::read(body);
        self.failures.fetch_add(u64::from(read.is_err()), Ordering::Relaxed);
        let source = self.all().get(fetch).and_then(Weak::upgrade);
        let Some(source) = source else { return Ok(()) };
        match read {
            Ok(keys) => {
                source.state().fetched(keys, now);
                Ok(())
            }
            Err(why) => {
                source.state().failed(now);
                Err(why)
            }
        }
    }

    /// It could not be fetched.
    pub fn failed(&self, fetch: &Fetch, now: u64) {
        self.failures.fetch_add(1, Ordering::Relaxed);
        let source = self.all().get(fetch).and_then(Weak::upgrade);
        if let Some(source) = source {
            source.state().failed(now);
        }
    }
}

impl Source {
    fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// The keys, if they may serve: they are not older than the time to the next fetch and `stale` seconds more.
    pub(crate) fn keys(&self, stale: u64, now: u64) -> Option<Arc<KeySet>> {
        let state = self.state();
        let until = state.fetched_at.saturating_add(state.refresh).saturating_add(stale);
        state.keys.clone().filter(|_| now <= until)
    }

    /// A key is wanted that is not there. Whether it is worth to wait for the next fetch.
    pub(crate) fn wanted(&self, now: u64) -> bool {
        let mut state = self.state();
        let is_first = state.keys.is_none() && state.failures == 0;
        if is_first || state.given_out.is_some_and(|at| now < at.saturating_add(LOST)) {
            return true;
        }
        if now < state.tried_at.saturating_add(LEAST_BETWEEN) {
            return false;
        }
        state.next = state.next.min(now);
        true
    }
}

impl State {
    fn new(refresh: u64) -> Self {
        Self { keys: None, fetched_at: 0, next: 0, given_out: None, tried_at: 0, failures: 0, refresh }
    }

    fn due_at(&self) -> u64 {
        self.given_out.map_or(self.next, |at| at.saturating_add(LOST).max(self.next))
    }

    fn give_out(&mut self, now: u64) -> bool {
        if now < self.due_at() {
            return false;
        }
        self.given_out = Some(now);
        self.tried_at = now;
        true
    }

    fn fetched(&mut self, keys: KeySet, now: u64) {
        self.keys = Some(Arc::new(keys));
        (self.fetched_at, self.tried_at) = (now, now);
        (self.failures, self.given_out) = (0, None);
        self.next = now.saturating_add(self.refresh);
    }

    fn failed(&mut self, now: u64) {
        let wait = FIRST_RETRY.checked_shl(self.failures.min(16)).unwrap_or(LAST_RETRY).min(LAST_RETRY);
        self.failures = self.failures.saturating_add(1);
        (self.tried_at, self.given_out) = (now, None);
        self.next = now.saturating_add(wait);
    }
}
