//! Many different names that do not exist, search lists and block lists left out.

use crate::bounded::Bounded;
use crate::catalog::NXDOMAIN_STORM;
use crate::distinct::{Seen, key};
use crate::event::{Event, Lookup, MINUTE, NXDOMAIN};
use crate::finding::{Evidence, Finding, Number, Told};
use crate::name::{Split, split, turned_address};
use std::sync::Arc;

/// Workloads that are followed at a time.
const WORKLOADS: usize = 1 << 14;
/// Distinct names in a minute.
const NAMES: f64 = 40.0;
/// Times the workload's own mean.
const TIMES: f64 = 4.0;
/// What a minute counts for in the mean.
const WEIGHT: f64 = 0.1;
/// Part of all distinct names.
const SHARE: f64 = 0.5;
/// Labels, and one, that a search list may have below what was registered.
const SEARCHED: usize = 4;
/// Quiet minutes after which the mean is as good as nothing.
const FORGOTTEN: u64 = 120;

/// What is followed.
#[derive(Debug)]
pub(crate) struct Storms(Bounded<Arc<str>, Workload>);

#[derive(Debug, Default)]
struct Workload {
    minute: u64,
    seen: Seen,
    failed: u32,
    asked: u32,
    mean: f64,
    evidence: Evidence,
}

impl Storms {
    pub(crate) fn new() -> Self {
        Self(Bounded::new(WORKLOADS))
    }

    pub(crate) fn evicted(&self) -> u64 {
        self.0.evicted()
    }

    pub(crate) fn see(&mut self, event: &Event, lookup: &Lookup, parts: Split<'_>) -> Option<Finding> {
        let code = lookup.rcode?;
        let workload = self.0.entry(&event.who);
        workload.turn(event);
        // A block list says so that an address is not on it.
        let is_usual = is_expanded(parts.below) || turned_address(&lookup.name, parts.below).is_some();
        if (code == NXDOMAIN && is_usual) || !workload.seen.is_new(key(&lookup.name)) {
            return None;
        }
        workload.asked += 1;
        if code != NXDOMAIN {
            return None;
        }
        workload.failed += 1;
        workload.evidence.add(event);
        workload.judge(event)
    }
}

/// Whether a whole name is below the registered one, as search lists put it there: `api.example.com.corp` below
/// `example.org`.
fn is_expanded(below: &str) -> bool {
    let mut head = below;
    for _ in 0..SEARCHED {
        if head.contains('.') && split(head).is_public {
            return true;
        }
        let Some((rest, _)) = head.rsplit_once('.') else { return false };
        head = rest;
    }
    false
}

impl Workload {
    fn turn(&mut self, event: &Event) {
        if !event.ends(self.minute * MINUTE, MINUTE) {
            return;
        }
        let minute = event.micros() / MINUTE;
        let passed = minute.saturating_sub(self.minute);
        // Minutes in which nothing was asked are part of the mean.
        self.mean += (f64::from(self.failed) - self.mean) * WEIGHT;
        for _ in 1..passed.min(FORGOTTEN) {
            self.mean *= 1.0 - WEIGHT;
        }
        if f64::from(self.failed) < NAMES {
            self.evidence.clear();
        }
        self.seen.clear(event.micros());
        (self.minute, self.failed, self.asked) = (minute, 0, 0);
    }

    fn judge(&mut self, event: &Event) -> Option<Finding> {
        let failed = f64::from(self.failed);
        let least = event.limit(&NXDOMAIN_STORM, NAMES.max(TIMES * self.mean));
        let share = failed / f64::from(self.asked.max(1));
        if failed < least || share < SHARE || !self.evidence.is_due() {
            return None;
        }
        let sentence = format!(
            "{} asked for {failed:.0} different names within a minute that do not exist ({least:.0} are the limit, {:.1} a minute are \
             usual for it), {:.0}% of those it asked for",
            event.who,
            self.mean,
            share * 100.0
        );
        let numbers = vec![
            Number::of("names_that_do_not_exist", failed).was(self.mean).from(least),
            Number::of("share_of_names", share).from(SHARE),
        ];
        let told = Told { severity: None, sentence, numbers };
        Some(self.evidence.tell(&NXDOMAIN_STORM, &event.who, "names that do not exist", told))
    }
}
