//! Names that a program draws: how odd the last ones were that do not exist, and how many there are.

use crate::beacon::real;
use crate::bounded::Bounded;
use crate::catalog::DGA;
use crate::distinct::{Seen, key};
use crate::event::{Event, Lookup, MINUTE, NXDOMAIN};
use crate::finding::{Evidence, Finding, Number, Severity, Told};
use crate::model::oddity;
use crate::name::{Split, chosen};
use std::collections::VecDeque;
use std::sync::Arc;

/// Workloads that are followed at a time.
const WORKLOADS: usize = 1 << 14;
/// How long names belong together.
const WINDOW: u64 = 30 * MINUTE;
/// Names whose mean counts.
const NAMES: usize = 10;
/// Mean oddity of names that do not exist.
const ODD: f64 = 1.25;
/// Mean oddity where it is not known whether they exist.
const ODD_UNKNOWN: f64 = 1.6;
/// Domains that do not exist, whatever they look like.
const FAILING: u32 = 30;
/// Their part of all that were asked for.
const SHARE: f64 = 0.7;

/// What is followed.
#[derive(Debug)]
pub(crate) struct Draws(Bounded<Arc<str>, Workload>);

#[derive(Debug, Default)]
struct Workload {
    start: u64,
    seen: Seen,
    /// Oddity, and whether it is known that the name does not exist.
    last: VecDeque<(f64, bool)>,
    odd: Evidence,
    failing: Evidence,
    failed: u32,
    asked: u32,
}

impl Draws {
    pub(crate) fn new() -> Self {
        Self(Bounded::new(WORKLOADS))
    }

    pub(crate) fn evicted(&self) -> u64 {
        self.0.evicted()
    }

    pub(crate) fn see(&mut self, event: &Event, lookup: &Lookup, split: Split<'_>) -> Option<Finding> {
        let workload = self.0.entry(&event.who);
        workload.age(event);
        let is_known = lookup.rcode.is_some();
        if !is_known && split.is_of_cloud() {
            return None;
        }
        let exists = lookup.rcode.is_some_and(|code| code != NXDOMAIN);
        if !workload.seen.is_new(key((split.registered, exists))) {
            return None;
        }
        workload.asked += u32::from(is_known);
        if exists {
            return None;
        }
        let odd = oddity(chosen(split.registered));
        workload.add(odd, is_known, event);
        workload.odd_names(event).or_else(|| workload.failing_names(event))
    }
}

impl Workload {
    fn age(&mut self, event: &Event) {
        if !event.ends(self.start, WINDOW) {
            return;
        }
        let mut seen = std::mem::take(&mut self.seen);
        seen.clear(event.micros());
        *self = Self { start: event.micros(), seen, ..Self::default() };
    }

    fn add(&mut self, odd: f64, is_known: bool, event: &Event) {
        if self.last.len() == NAMES {
            self.last.pop_front();
        }
        self.last.push_back((odd, is_known));
        if odd >= ODD {
            self.odd.add(event);
        }
        if is_known {
            self.failed += 1;
            self.failing.add(event);
        }
    }

    fn odd_names(&mut self, event: &Event) -> Option<Finding> {
        if self.last.len() < NAMES {
            return None;
        }
        let mean = self.last.iter().map(|(odd, _)| odd).sum::<f64>() / 10.0;
        let all_known = self.last.iter().all(|(_, known)| *known);
        let least = event.limit(&DGA, if all_known { ODD } else { ODD_UNKNOWN });
        if mean < least || !self.odd.is_due() {
            return None;
        }
        let exist =
            if all_known { "none of which exists" } else { "of which it is not known whether they exist" };
        let sentence = format!(
            "{} asked for names {exist} and that look drawn by a program: the last {NAMES} differ from names that people \
             register by {mean:.2} spreads on average ({least} are the limit), {} such names so far",
            event.who,
            self.odd.count()
        );
        let numbers = vec![
            Number::of("mean_oddity_of_10_names", mean).was(0.0).from(least),
            Number::of("odd_names", f64::from(u32::try_from(self.odd.count()).unwrap_or(u32::MAX))),
        ];
        Some(self.odd.tell(
            &DGA,
            &event.who,
            "names that look drawn",
            Told { severity: None, sentence, numbers },
        ))
    }

    fn failing_names(&mut self, event: &Event) -> Option<Finding> {
        let share = f64::from(self.failed) / f64::from(self.asked.max(1));
        let least = event.count(&DGA, u64::from(FAILING));
        if u64::from(self.failed) < least || share < SHARE || !self.failing.is_due() {
            return None;
        }
        let sentence = format!(
            "{} asked for {} different registered domains within half an hour that do not exist ({least} are the limit), {:.0}% \
             of those it asked for: it may be searching for a server whose name changes",
            event.who,
            self.failed,
            share * 100.0
        );
        let numbers = vec![
            Number::of("domains_that_do_not_exist", f64::from(self.failed)).from(real(least)),
            Number::of("share_of_domains", share).from(SHARE),
        ];
        let told = Told { severity: Some(Severity::Medium), sentence, numbers };
        Some(self.failing.tell(&DGA, &event.who, "many domains that do not exist", told))
    }
}
