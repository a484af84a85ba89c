//! What pods opened, or tried to, for a controller that judges it by other policies.
//!
//! Enters: what is asked, records. Leaves: how often each access was seen since it was last taken. Guarantees: bounded, and
//! what finds no room is counted; where nobody asks, a record costs a look at a flag. Does not: judge.

use feed::access::{Accesses, End, MOST, Seen};
use observe::{EndKind, Kind, Record};
use policy::RuleId;
use std::collections::HashMap;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Mutex, MutexGuard, PoisonError};

/// What was seen since it was taken last.
#[derive(Debug, Default)]
pub(crate) struct Sightings {
    is_asked: AtomicBool,
    held: Mutex<Held>,
}

#[derive(Debug, Default)]
struct Held {
    number: u64,
    seen: HashMap<Seen, u64>,
    lost: u64,
}

impl Sightings {
    fn held(&self) -> MutexGuard<'_, Held> {
        // Counts are worth keeping after a panic elsewhere.
        self.held.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Begins anew under a number; 0: ends.
    pub(crate) fn ask(&self, number: u64) {
        *self.held() = Held { number, ..Held::default() };
        self.is_asked.store(number > 0, Ordering::Release);
    }

    /// Takes in a record, where somebody asks.
    pub(crate) fn note(&self, record: &Record) {
        if !self.is_asked.load(Ordering::Acquire) || record.kind == Kind::Close {
            return;
        }
        // What comes before all policy comes before every other, too.
        let by = record.rule().map(|rule| rule.rule);
        if matches!(by, Some(RuleId::UNMANAGED | RuleId::UNTRACKED)) {
            return;
        }
        let seen = Seen {
            from: end(&record.from),
            to: end(&record.to),
            protocol: record.protocol,
            port: record.port,
            verdict: record.verdict,
            names: Vec::new(),
            unfollowed: false,
        };
        let count = record.suppressed.saturating_add(1);
        let mut held = self.held();
        if held.seen.len() < MOST || held.seen.contains_key(&seen) {
            let counted = held.seen.entry(seen).or_default();
            *counted = counted.saturating_add(count);
        } else {
            held.lost = held.lost.saturating_add(count);
        }
    }

    /// Takes what was seen.
    pub(crate) fn take(&self) -> Accesses {
        let mut held = self.held();
        let seen = std::mem::take(&mut held.seen);
        Accesses {
            number: held.number,
            seen: seen.into_iter().collect(),
            lost: std::mem::take(&mut held.lost),
            found: Vec::new(),
        }
    }
}

fn end(end: &observe::End) -> End {
    let pod = match (end.kind, &end.namespace, &end.name) {
        (EndKind::Pod, Some(namespace), Some(name)) => Some((namespace.clone(), name.clone())),
        (EndKind::Pod | EndKind::Node | EndKind::Outside, _, _) => None,
    };
    End { address: end.address, pod }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::up::sight::example::{flow, outside, pod};
    use observe::Time;

    fn record(port: u16, kind: Kind) -> Record {
        let (from, to) = (pod("team", "web"), outside([10, 0, 0, 2]));
        Record { port, suppressed: u64::from(kind == Kind::Deny), ..flow(Time(1), &from, &to, kind) }
    }

    #[test]
    fn accesses_are_counted_while_somebody_asks_and_ends_are_none() {
        let sightings = Sightings::default();
        sightings.note(&record(80, Kind::Open));
        sightings.ask(3);
        assert_eq!(sightings.take(), Accesses { number: 3, ..Accesses::default() });
        for kind in [Kind::Open, Kind::Open, Kind::Close, Kind::Deny] {
            sightings.note(&record(80, kind));
        }
        let mut counts: Vec<u64> = sightings.take().seen.into_iter().map(|(_, count)| count).collect();
        counts.sort_unstable();
        assert_eq!(counts, [2, 2], "two opens, and a denial with an equal one before it");
        sightings.ask(0);
        sightings.note(&record(80, Kind::Open));
        assert!(sightings.take().seen.is_empty());
    }

    #[test]
    fn what_finds_no_room_is_counted() {
        let sightings = Sightings::default();
        sightings.ask(1);
        for port in 0..=u16::MAX {
            sightings.note(&record(port, Kind::Open));
        }
        let taken = sightings.take();
        assert_eq!((taken.seen.len(), taken.lost), (MOST, 65_536 - MOST as u64));
        assert_eq!(sightings.take().lost, 0, "it is told once");
    }
}
