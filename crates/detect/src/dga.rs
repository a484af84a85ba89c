//! Names that a program draws: how odd the last ones were that do not exist, whether all of them are long, and how many there are.

use crate::beacon::real;
use crate::bounded::Bounded;
use crate::catalog::DGA;
use crate::distinct::{Seen, key};
use crate::event::{Event, Lookup, MINUTE, NXDOMAIN};
use crate::finding::{Evidence, Finding, Number, Severity, Told};
use crate::model::oddity;
use crate::name::{Split, chosen, is_spelled};
use std::collections::VecDeque;
use std::sync::Arc;

/// Workloads that are followed at a time.
const WORKLOADS: usize = 1 << 14;
/// How long names belong together.
const WINDOW: u64 = 30 * MINUTE;
/// So many of the last names, and the mean oddity from which on they look drawn.
struct Stretch {
    names: usize,
    /// Where none of them exists.
    odd: f64,
    /// Where that is not known.
    odd_unknown: f64,
}

/// A few names must be odd to stand out. Many that are a little odd each, as syllables put together are, stand out as well.
const STRETCHES: [Stretch; 3] = [
    Stretch { names: 10, odd: 1.25, odd_unknown: 1.6 },
    Stretch { names: 20, odd: 1.2, odd_unknown: 1.35 },
    Stretch { names: LAST, odd: 1.1, odd_unknown: 1.1 },
];
/// Names that are looked at together at most.
const LAST: usize = 40;
/// Oddity of a name that speaks for a finding.
const ODD: f64 = 1.25;
/// Letters from which on a name is long.
const LONG: f64 = 9.0;
/// So many of the last names, and how many of these may be shorter. Of 40 that people chose, a third and more are; of 159,000 in
/// Chromium's list of sites that want HTTPS, no 40 in a row have fewer than 4, no 30 none.
const LENGTHS: [(usize, usize); 2] = [(30, 0), (LAST, 2)];
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
    last: VecDeque<Drawn>,
    odd: Evidence,
    long: Evidence,
    failing: Evidence,
    failed: u32,
    asked: u32,
}

/// What is kept of a name.
#[derive(Debug)]
struct Drawn {
    odd: f64,
    letters: f64,
    /// Whether it is known that it does not exist.
    is_known: bool,
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
        workload.add(chosen(split.registered), is_known, event);
        let told = workload.odd_names(event).or_else(|| workload.failing_names(event));
        told.or_else(|| workload.long_names(event))
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

    fn add(&mut self, label: &str, is_known: bool, event: &Event) {
        if is_known {
            self.failed += 1;
            self.failing.add(event);
        }
        // How a name of another alphabet is written in this one says nothing of whoever chose it.
        if !is_spelled(label) {
            return;
        }
        if self.last.len() == LAST {
            self.last.pop_front();
        }
        let drawn = Drawn { odd: oddity(label), letters: letters(label), is_known };
        if drawn.odd >= ODD {
            self.odd.add(event);
        }
        if drawn.letters >= LONG {
            self.long.add(event);
        }
        self.last.push_back(drawn);
    }

    /// The names of a stretch, the newest first; `None`: there were not so many yet.
    fn stretch(&self, names: usize) -> Option<impl Iterator<Item = &Drawn> + Clone> {
        (self.last.len() >= names).then(|| self.last.iter().rev().take(names))
    }

    fn odd_names(&mut self, event: &Event) -> Option<Finding> {
        let (names, mean, least, all_known) = STRETCHES.iter().find_map(|stretch| {
            let drawn = self.stretch(stretch.names)?;
            let all_known = drawn.clone().all(|it| it.is_known);
            let own = if all_known { stretch.odd } else { stretch.odd_unknown };
            let (mean, least) = (mean(drawn.map(|it| it.odd)), event.limit(&DGA, own));
            (mean >= least).then_some((stretch.names, mean, least, all_known))
        })?;
        if !self.odd.is_due() {
            return None;
        }
        let sentence = format!(
            "{} asked for names {} and that look drawn by a program: the last {names} differ from names that people \
             register by {mean:.2} spreads on average ({least} are the limit), {} such names so far",
            event.who,
            existence(all_known),
            self.odd.count()
        );
        let numbers = vec![
            Number::of("mean_oddity", mean).was(0.0).from(least),
            Number::of("names", f64::from(u32::try_from(names).unwrap_or(u32::MAX))),
            Number::of("odd_names", f64::from(u32::try_from(self.odd.count()).unwrap_or(u32::MAX))),
        ];
        Some(self.odd.tell(
            &DGA,
            &event.who,
            "names that look drawn",
            Told { severity: None, sentence, numbers },
        ))
    }

    /// Words put together make long names only, and what people chose is of all lengths.
    fn long_names(&mut self, event: &Event) -> Option<Finding> {
        // Another finding says more of the same names.
        if self.odd.is_told() || self.failing.is_told() {
            return None;
        }
        let least = event.limit(&DGA, LONG);
        let (names, short, most) = LENGTHS.iter().find_map(|(names, most)| {
            let short = self.stretch(*names)?.filter(|it| it.letters < least).count();
            (short <= *most).then_some((*names, short, *most))
        })?;
        if !self.long.is_due() {
            return None;
        }
        let all_known = self.stretch(names)?.all(|it| it.is_known);
        let mean = mean(self.stretch(names)?.map(|it| it.letters));
        let sentence = format!(
            "{} asked for names {} and that look put together by a program: what was registered has {mean:.0} letters on average, and \
             of the last {names} {short} have fewer than {least} ({most} are the limit)",
            event.who,
            existence(all_known),
        );
        let numbers = vec![
            Number::of("mean_letters", mean),
            Number::of("short_names", f64::from(u32::try_from(short).unwrap_or(u32::MAX))),
            Number::of("letters_of_a_long_name", least),
        ];
        let told = Told { severity: Some(Severity::Medium), sentence, numbers };
        Some(self.long.tell(&DGA, &event.who, "names that are all long", told))
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

fn existence(all_known: bool) -> &'static str {
    if all_known { "none of which exists" } else { "of which it is not known whether they exist" }
}

fn letters(label: &str) -> f64 {
    f64::from(u32::try_from(label.len()).unwrap_or(u32::MAX))
}

fn mean(numbers: impl Iterator<Item = f64>) -> f64 {
    let (sum, count) = numbers.fold((0.0, 0.0), |(sum, count), number| (sum + number, count + 1.0));
    if count > 0.0 { sum / count } else { 0.0 }
}
