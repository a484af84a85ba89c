//! Senders that were refused, as entries of kind `audit`.
//!
//! Guarantees: of one sender at most one entry a minute, which counts what was refused since the one before; so nobody can push
//! others' entries out of the ledger by being refused.

use incident::What;
use ledger::Entry;
use observe::Time;
use serde_json::{Map, Value};
use std::collections::HashMap;
use std::sync::{Mutex, PoisonError};

/// How long nothing more is told of a sender, in microseconds.
const PAUSE: u64 = 60_000_000;
/// Senders that are told apart. Their names are those of certificates, of which there are as many as nodes.
const SENDERS: usize = 16_384;

/// What was refused lately.
#[derive(Debug, Default)]
pub(crate) struct Refusals(Mutex<HashMap<String, Held>>);

#[derive(Debug, Default)]
struct Held {
    told: u64,
    count: u64,
}

impl Refusals {
    /// The entry to write, if one is due. `count`: how many entries were refused.
    pub(crate) fn note(&self, who: &str, why: &str, count: u64, now: u64) -> Option<Entry> {
        let mut all = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        if all.len() >= SENDERS && !all.contains_key(who) {
            all.retain(|_, held| now.saturating_sub(held.told) < PAUSE);
        }
        if all.len() >= SENDERS && !all.contains_key(who) {
            return None;
        }
        let held = all.entry(who.to_owned()).or_default();
        held.count = held.count.saturating_add(count);
        if held.told != 0 && now.saturating_sub(held.told) < PAUSE {
            return None;
        }
        let detail: Map<String, Value> =
            [("text".to_owned(), why.into()), ("count".to_owned(), held.count.into())].into_iter().collect();
        *held = Held { told: now, count: 0 };
        Some(incident::entry(Time(now), who, What::RecordsRefused, "", &detail))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn of_one_sender_one_entry_a_minute_counts_all() {
        let refusals = Refusals::default();
        let note = |who, count, now| refusals.note(who, "why", count, now).and_then(|entry| entry.detail);
        assert!(note("a", 2, PAUSE).unwrap().contains(r#""count":2"#));
        assert_eq!(note("a", 3, PAUSE + 1), None);
        assert!(note("b", 1, PAUSE + 1).is_some());
        assert!(note("a", 4, PAUSE * 2).unwrap().contains(r#""count":7"#));
    }
}
