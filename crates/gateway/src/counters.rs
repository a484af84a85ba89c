//! What is counted: connections by reason and by end, requests by verdict and by verb, bytes, and what was lost. Labels are closed tables.

use crate::files::{FileFact, RULES};
use crate::quota::QuotaUse;
use crate::reason::{End, Reason};
use policy::{Verb, Verdict};
use purse::StoreStanding;
use serde::{Deserialize, Serialize};
use std::array::from_fn;
use std::collections::BTreeMap;
use std::sync::atomic::{AtomicU64, Ordering};

/// Verdicts, in the order in which they are counted.
const VERDICTS: [Verdict; 2] = [Verdict::Allow, Verdict::Deny];

/// Counters of one proxy, since it started.
#[derive(Debug)]
pub struct Counters {
    reasons: [AtomicU64; Reason::ALL.len()],
    ends: [AtomicU64; End::ALL.len()],
    /// Allowed, then denied, by verb.
    calls: [[AtomicU64; Verb::ALL.len()]; VERDICTS.len()],
    /// Reported, then blocked, by rule.
    files: [[AtomicU64; RULES.len()]; 2],
    pub(crate) bytes_up: AtomicU64,
    pub(crate) bytes_down: AtomicU64,
    pub(crate) accept_errors: AtomicU64,
    pub(crate) records_lost: AtomicU64,
    pub(crate) edges_lost: AtomicU64,
    pub(crate) open: AtomicU64,
}

/// A reading of [`Counters`].
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Counts {
    /// Ended connections by reason; those that are zero are left out.
    pub reasons: BTreeMap<Reason, u64>,
    /// Ended connections by how they ended; those that are zero are left out.
    pub ends: BTreeMap<End, u64>,
    /// Ended requests of opened connections by verdict and verb; those that are zero are left out.
    #[serde(default)]
    pub requests: Vec<(Verdict, Verb, u64)>,
    /// What was found in files that answers brought: by the rule that found it, whether it was blocked; those that are zero
    /// are left out.
    #[serde(default)]
    pub files: Vec<(String, bool, u64)>,
    /// Bytes from pods to servers, of ended connections.
    pub bytes_up: u64,
    /// Bytes from servers to pods, of ended connections.
    pub bytes_down: u64,
    /// Connections that the kernel did not hand over (out of file descriptors, gone at once).
    pub accept_errors: u64,
    /// Records that found no room.
    pub records_lost: u64,
    /// Edges of parts of uploads that were forgotten for want of room: what stands across them was not looked for.
    #[serde(default)]
    pub edges_lost: u64,
    /// Connections open now.
    pub open: u64,
    /// Accounts that were drawn on since they were told last, by their number ([`crate::RuleFacts::quota`]).
    #[serde(default)]
    pub quotas: Vec<(u32, QuotaUse)>,
    /// How the store of shared budgets stands; `None`: there is none.
    #[serde(default)]
    pub store: Option<StoreStanding>,
}

impl Default for Counters {
    fn default() -> Self {
        Self::new()
    }
}

impl Counters {
    /// Counters at zero.
    pub fn new() -> Self {
        Self {
            reasons: from_fn(|_| AtomicU64::default()),
            ends: from_fn(|_| AtomicU64::default()),
            calls: from_fn(|_| from_fn(|_| AtomicU64::default())),
            files: from_fn(|_| from_fn(|_| AtomicU64::default())),
            bytes_up: AtomicU64::default(),
            bytes_down: AtomicU64::default(),
            accept_errors: AtomicU64::default(),
            records_lost: AtomicU64::default(),
            edges_lost: AtomicU64::default(),
            open: AtomicU64::default(),
        }
    }

    pub(crate) fn ended(&self, reason: Reason, end: End) {
        let reason = Reason::ALL.iter().zip(&self.reasons).find(|(known, _)| **known == reason);
        let end = End::ALL.iter().zip(&self.ends).find(|(known, _)| **known == end);
        for counter in
            [reason.map(|(_, counter)| counter), end.map(|(_, counter)| counter)].into_iter().flatten()
        {
            add(counter, 1);
        }
    }

    pub(crate) fn called(&self, verdict: Verdict, verb: Verb) {
        let by_verb = VERDICTS.iter().zip(&self.calls).find(|(known, _)| **known == verdict);
        let counter = by_verb
            .and_then(|(_, counters)| Verb::ALL.iter().zip(counters).find(|((_, known), _)| *known == verb));
        if let Some((_, counter)) = counter {
            add(counter, 1);
        }
    }

    /// What they say now, but of accounts and their store.
    pub fn read(&self) -> Counts {
        let get = |counter: &AtomicU64| counter.load(Ordering::Relaxed);
        let some = |count: &u64| *count > 0;
        Counts {
            reasons: Reason::ALL
                .into_iter()
                .zip(self.reasons.iter().map(get))
                .filter(|(_, count)| some(count))
                .collect(),
            ends: End::ALL
                .into_iter()
                .zip(self.ends.iter().map(get))
                .filter(|(_, count)| some(count))
                .collect(),
            requests: self.requests(),
            files: self.files(),
            bytes_up: get(&self.bytes_up),
            bytes_down: get(&self.bytes_down),
            accept_errors: get(&self.accept_errors),
            records_lost: get(&self.records_lost),
            edges_lost: get(&self.edges_lost),
            open: get(&self.open),
            quotas: Vec::new(),
            store: None,
        }
    }
}

impl Counters {
    pub(crate) fn found(&self, fact: &FileFact) {
        let [reported, blocked] = &self.files;
        let counters = if fact.blocked { blocked } else { reported };
        if let Some((_, counter)) = RULES.iter().zip(counters).find(|(rule, _)| **rule == fact.rule) {
            add(counter, 1);
        }
    }

    fn files(&self) -> Vec<(String, bool, u64)> {
        let of_kind = |(is_blocked, counters): (bool, &[AtomicU64; RULES.len()])| {
            let counts: Vec<_> = counters.iter().map(|counter| counter.load(Ordering::Relaxed)).collect();
            RULES.into_iter().zip(counts).map(move |(rule, count)| (rule.to_owned(), is_blocked, count))
        };
        let all = [false, true].into_iter().zip(&self.files).flat_map(of_kind);
        all.filter(|(.., count)| *count > 0).collect()
    }

    fn requests(&self) -> Vec<(Verdict, Verb, u64)> {
        let by_verb = |(verdict, counters): (Verdict, &[AtomicU64; Verb::ALL.len()])| {
            let counts: Vec<_> = counters.iter().map(|counter| counter.load(Ordering::Relaxed)).collect();
            Verb::ALL.into_iter().zip(counts).map(move |((_, verb), count)| (verdict, verb, count))
        };
        let all = VERDICTS.into_iter().zip(&self.calls).flat_map(by_verb);
        all.filter(|(.., count)| *count > 0).collect()
    }
}

pub(crate) fn add(counter: &AtomicU64, count: u64) {
    counter.fetch_add(count, Ordering::Relaxed);
}
