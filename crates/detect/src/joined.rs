//! Detectors over what several enforcement points recorded: what only shows where their records are put together.
//!
//! Enters: events of all of them, each with its `scene.node`, about as they come; what they and who has this told already; the time.
//! Leaves: findings that records of at least two of them speak for, each with its `nodes`, and that none of them told. Guarantees:
//! events are looked at in the order of time, [`LATENESS`] after they happened, so that what a node finds by itself is known
//! before; what comes later than that is not looked at, and counted; memory is bounded. Does not: tell facts (a limit that was
//! reached, a leak), for whoever enforces tells each of them.

use crate::catalog::{self, Detector};
use crate::engine::Detectors;
use crate::event::{Event, HOUR, SECOND, is_over};
use crate::finding::{Finding, Number};
use crate::pace::Pace;
use observe::Time;
use std::collections::{BTreeMap, HashMap};

/// How long after it happened an event is looked at, in microseconds. Nodes hand over sums of connections up to 40 seconds late; the
/// rest is for clocks that differ.
pub const LATENESS: u64 = 90 * SECOND;
/// Events that wait for that.
pub const WAITING: usize = 1 << 17;
/// How long what was told counts as told: as long as findings of one id are one in an incident.
pub const TOLD: u64 = 6 * HOUR;
/// Findings of which it is remembered that they were told.
const MOST_TOLD: usize = 1 << 16;
/// Enforcement points whose records must speak for a finding.
const NODES: usize = 2;
/// Of them, in a sentence.
const NAMED: usize = 4;

/// Looks at the events of several enforcement points.
#[derive(Debug, Default)]
pub struct Joined {
    detectors: Detectors,
    pace: Pace,
    /// By when they happened, and the order in which they came.
    waiting: BTreeMap<(u64, u64), Event>,
    came: u64,
    /// What happened before was looked at.
    until: u64,
    told: HashMap<String, Told>,
    counts: Counts,
}

/// What became of events and findings.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Counts {
    /// Events that were looked at.
    pub looked_at: u64,
    /// Events that came too late for that.
    pub late: u64,
    /// Events for which there was no room, and things that detectors forgot for want of it.
    pub lost: u64,
    /// Findings that were told.
    pub told: u64,
    /// Findings that were not, each time, for an enforcement point had told them.
    pub told_by_nodes: u64,
    /// Findings that were not, for there were too many of one workload and detector in the hour.
    pub held_back: u64,
}

/// Who told a finding last, and when that was.
#[derive(Clone, Copy, Debug, Default)]
struct Told {
    by_node: u64,
    here: u64,
    /// Records that spoke for it when it was told here.
    count: u64,
}

impl Joined {
    /// Takes an event. One that is older than what was looked at already is counted, and left out.
    pub fn add(&mut self, event: Event) {
        if event.time.0 < self.until {
            self.counts.late += 1;
        } else if self.waiting.len() >= WAITING {
            self.counts.lost += 1;
        } else {
            self.came += 1;
            self.waiting.insert((event.time.0, self.came), event);
        }
    }

    /// An enforcement point told a finding: its id, and when it last saw something of it.
    pub fn told_by_node(&mut self, id: &str, until: Time) {
        let told = self.of(id, until.0);
        told.by_node = told.by_node.max(until.0);
    }

    /// A finding was told here, by an earlier process for example.
    pub fn told_here(&mut self, id: &str, until: Time, count: u64) {
        let told = self.of(id, until.0);
        if until.0 >= told.here {
            (told.here, told.count) = (until.0, count);
        }
    }

    /// What is to be told at a time. Where it goes back by more than a day, a clock was set back, and what happens from then on is
    /// looked at.
    #[must_use]
    pub fn turn(&mut self, now: Time) -> Vec<Finding> {
        let until = now.0.saturating_sub(LATENESS);
        if is_over(self.until, 0, until) {
            self.until = until;
        }
        let later = self.waiting.split_off(&(self.until, 0));
        let due = std::mem::replace(&mut self.waiting, later);
        let mut findings = Vec::new();
        for event in due.into_values() {
            self.counts.looked_at += 1;
            for finding in self.detectors.observe(&event) {
                if is_of_several(&finding) && self.is_news(&finding) {
                    findings.push(said(finding));
                }
            }
        }
        findings
    }

    /// What became of events and findings so far.
    pub fn counts(&self) -> Counts {
        let mut counts = self.counts;
        counts.lost = counts.lost.saturating_add(self.detectors.evicted());
        counts
    }

    /// Whether nobody told it yet, or there is twice as much of it.
    fn is_news(&mut self, finding: &Finding) -> bool {
        let (now, count) = (finding.until.0, finding.count);
        let told = self.told.get(&finding.id).copied().unwrap_or_default();
        let is_fresh = |at: u64| at > 0 && now.saturating_sub(at) < TOLD;
        if is_fresh(told.by_node) {
            self.counts.told_by_nodes += 1;
            return false;
        }
        if is_fresh(told.here) && count < told.count.saturating_mul(2) {
            return false;
        }
        if !self.pace.lets(finding) {
            self.counts.held_back += 1;
            return false;
        }
        self.told_here(&finding.id, finding.until, count);
        self.counts.told += 1;
        true
    }

    fn of(&mut self, id: &str, now: u64) -> &mut Told {
        if self.told.len() >= MOST_TOLD && !self.told.contains_key(id) {
            let least = now.saturating_sub(TOLD);
            self.told.retain(|_, told| told.by_node.max(told.here) >= least);
        }
        if self.told.len() >= MOST_TOLD && !self.told.contains_key(id) {
            // Better told twice than memory without end.
            self.told.clear();
        }
        self.told.entry(id.to_owned()).or_default()
    }
}

/// Whether several enforcement points had to see it, and none of them could have told it as a fact.
fn is_of_several(finding: &Finding) -> bool {
    let detector = catalog::ALL.iter().copied().find(|detector| detector.name == finding.detector);
    finding.nodes.len() >= NODES && detector.is_some_and(Detector::is_tunable)
}

/// With the words that say from where it is known.
fn said(mut finding: Finding) -> Finding {
    let named: Vec<&str> = finding.nodes.iter().take(NAMED).map(|node| &**node).collect();
    let more = finding.nodes.len().saturating_sub(NAMED);
    let more = if more > 0 { format!(" and {more} more") } else { String::new() };
    finding.sentence = format!(
        "{}; no enforcement point told this by itself: it shows in the records of {}{more} together",
        finding.sentence,
        named.join(", ")
    );
    let nodes = u32::try_from(finding.nodes.len()).unwrap_or(u32::MAX);
    finding.numbers.push(Number::of("nodes", f64::from(nodes)).from(2.0));
    finding
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::event::{Flow, MINUTE, Phase, Place, RecordId, Scene, What};

    const NOW: u64 = 1_800_000_000 * SECOND;

    fn denied(node: &str, port: u16, time: u64) -> Event {
        let what = What::Flow(Flow {
            phase: Phase::Failed,
            from_node: false,
            address: [192, 0, 2, 1].into(),
            name: None,
            place: Place::Outside,
            port,
            protocol: 6,
            sent: 0,
            received: 0,
            duration: 0,
        });
        let record = RecordId { source: "ledger".into(), number: u64::from(port) };
        let scene = Scene { node: Some(node.into()), ..Scene::default() };
        Event { scene, ..Event::new(Time(time), "ai/Deployment/web".into(), record, what) }
    }

    /// Twelve of two nodes each: twenty are a scan.
    fn scan(joined: &mut Joined, nodes: [&str; 2], at: u64) {
        for (node, ports) in nodes.into_iter().zip([1..13, 101..113]) {
            for port in ports {
                joined.add(denied(node, port, at));
            }
        }
    }

    fn later(joined: &mut Joined, at: u64) -> Vec<Finding> {
        joined.turn(Time(at + LATENESS + 1))
    }

    #[test]
    fn what_two_nodes_see_of_a_scan_is_told_with_both_and_what_one_sees_is_not() {
        let mut joined = Joined::default();
        scan(&mut joined, ["a", "b"], NOW);
        assert_eq!(joined.turn(Time(NOW + LATENESS)), [], "a node may still tell it");
        let told = later(&mut joined, NOW);
        assert_eq!(told.len(), 1, "{told:#?}");
        assert_eq!((&*told[0].detector, &*told[0].workload), ("port-scan", "ai/Deployment/web"));
        assert_eq!(told[0].nodes.iter().map(|node| &**node).collect::<Vec<_>>(), ["a", "b"]);
        assert!(told[0].sentence.ends_with("in the records of a, b together"), "{}", told[0].sentence);
        let mut alone = Joined::default();
        scan(&mut alone, ["a", "a"], NOW);
        assert_eq!(later(&mut alone, NOW), []);
        assert_eq!(alone.counts().looked_at, 24);
    }

    #[test]
    fn what_a_node_told_is_not_told_again_until_it_is_silent_for_hours() {
        let mut other = Joined::default();
        scan(&mut other, ["a", "b"], NOW);
        let id = later(&mut other, NOW).remove(0).id;
        let mut joined = Joined::default();
        scan(&mut joined, ["a", "b"], NOW);
        joined.told_by_node(&id, Time(NOW));
        assert_eq!(later(&mut joined, NOW), []);
        assert_eq!((joined.counts().told, joined.counts().told_by_nodes), (0, 1));
        scan(&mut joined, ["a", "b"], NOW + TOLD);
        assert_eq!(later(&mut joined, NOW + TOLD).len(), 1);
    }

    #[test]
    fn who_starts_again_tells_only_what_grew() {
        let mut first = Joined::default();
        scan(&mut first, ["a", "b"], NOW);
        let told = later(&mut first, NOW).remove(0);
        let mut second = Joined::default();
        second.told_here(&told.id, told.until, told.count);
        scan(&mut second, ["a", "b"], NOW);
        assert_eq!(later(&mut second, NOW), []);
        for port in 200..230 {
            second.add(denied("b", port, NOW + MINUTE + LATENESS));
        }
        let again = later(&mut second, NOW + MINUTE + LATENESS);
        assert_eq!((again.len(), again[0].count >= told.count * 2), (1, true), "{again:#?}");
    }

    #[test]
    fn nodes_whose_records_come_in_turn_are_looked_at_in_the_order_of_time_and_who_is_late_is_counted() {
        let mut joined = Joined::default();
        // A scan of ten minutes ago by b must not count with what a does now.
        for port in 101..113 {
            joined.add(denied("b", port, NOW - 11 * MINUTE));
        }
        for port in 1..13 {
            joined.add(denied("a", port, NOW));
        }
        assert_eq!(later(&mut joined, NOW), []);
        joined.add(denied("b", 7, NOW - MINUTE));
        assert_eq!((joined.counts().late, joined.counts().looked_at), (1, 24));
        // In whatever order nodes hand it over.
        let mut mixed = Joined::default();
        for (a, b) in (1..13).zip(101..113) {
            mixed.add(denied("b", b, NOW + SECOND));
            mixed.add(denied("a", a, NOW));
        }
        let told = later(&mut mixed, NOW + SECOND);
        assert_eq!(told[0].time, Time(NOW));
    }

    #[test]
    fn a_clock_that_was_ahead_for_a_while_blinds_nobody_afterwards() {
        let mut joined = Joined::default();
        assert_eq!(joined.turn(Time(NOW + 400 * 24 * HOUR)), []);
        assert_eq!(joined.turn(Time(NOW)), []);
        scan(&mut joined, ["a", "b"], NOW);
        assert_eq!((later(&mut joined, NOW).len(), joined.counts().late), (1, 0));
    }

    #[test]
    fn a_key_that_one_node_saw_in_one_namespace_and_another_in_another_is_told_with_both() {
        let shown = |node: &str, who: &str, at: u64| {
            let call = crate::event::Call {
                service: "api.example.com".into(),
                allowed: true,
                keys: vec!["sha256:0011".into()],
                ..crate::event::Call::default()
            };
            Event { what: What::Call(Box::new(call)), who: who.into(), ..denied(node, 1, at) }
        };
        let mut joined = Joined::default();
        joined.add(shown("a", "ai/Deployment/web", NOW));
        joined.add(shown("b", "other/Job/thief", NOW + HOUR));
        let told = later(&mut joined, NOW + HOUR);
        assert_eq!((told.len(), &*told[0].detector), (1, "credential-misuse"), "{told:#?}");
        assert_eq!(told[0].nodes.len(), 2);
    }

    #[test]
    fn memory_is_bounded_and_what_it_costs_is_counted() {
        let mut joined = Joined::default();
        for _ in 0..WAITING + 5 {
            joined.add(denied("a", 1, NOW));
        }
        assert_eq!((joined.waiting.len(), joined.counts().lost), (WAITING, 5));
        for number in 0..MOST_TOLD + 5 {
            joined.told_by_node(&number.to_string(), Time(NOW));
        }
        assert!(joined.told.len() <= MOST_TOLD);
    }
}
