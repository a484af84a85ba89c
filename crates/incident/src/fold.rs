//! Findings that belong together.
//!
//! Enters: findings in the order of the ledger. Leaves: groups. Guarantees: the same entries give the same groups; time is
//! that of sorting, whatever the findings say. Does not: look at anything but findings.
//!
//! Two findings belong together where they have a name in common (the workload of one is workload or subject of the other, or
//! both have one subject) and at most [`JOIN`] lies between them; or where their workloads are of one namespace and at most
//! [`CLOSE`] lies between them. A subject that more than [`SHARED`] workloads have in common is a common place, and joins
//! nothing, and so does one that is a phrase. Whatever belongs together with the same belongs together.

use crate::finding::{Finding, MAX_LIST};
use observe::Time;
use std::collections::{HashMap, HashSet};

/// What has a name in common is one matter when at most so many microseconds lie between: six hours.
pub const JOIN: u64 = 6 * 3600 * 1_000_000;
/// What happened in one namespace is one matter when at most so many microseconds lie between: two minutes.
pub const CLOSE: u64 = 120 * 1_000_000;
/// A subject of more workloads than these joins nothing.
pub const SHARED: usize = 16;

/// One group: its findings, and by which ids an incident of it is known.
#[derive(Clone, Debug, PartialEq)]
pub(crate) struct Group {
    /// In the order of their beginnings.
    pub(crate) findings: Vec<Finding>,
    /// The first is that of the incident; under the others it was known before findings joined two.
    pub(crate) ids: Vec<String>,
}

/// A finding with each beginning that was told of it.
struct Told {
    finding: Finding,
    beginnings: Vec<Time>,
}

/// Folds findings, which come in the order in which they were told.
pub(crate) fn fold(findings: impl IntoIterator<Item = Finding>) -> Vec<Group> {
    let told = once_each(findings);
    let mut sets = Sets::of(told.len());
    join(&mut sets, by_name(&told), JOIN);
    join(&mut sets, by_namespace(&told), CLOSE);
    let mut groups: HashMap<usize, Vec<Told>> = HashMap::new();
    for (index, told) in told.into_iter().enumerate() {
        groups.entry(sets.root(index)).or_default().push(told);
    }
    let mut groups: Vec<Group> = groups.into_values().map(group).collect();
    groups.sort_by(|a, b| a.ids.cmp(&b.ids));
    groups
}

/// What is told again is one finding, as it was told last; but what is told long after is another of the same kind.
fn once_each(findings: impl IntoIterator<Item = Finding>) -> Vec<Told> {
    let mut all: Vec<Told> = Vec::new();
    let mut newest: HashMap<String, usize> = HashMap::new();
    for finding in findings {
        let known = newest.get(&finding.id).copied();
        let known = known.filter(|at| all.get(*at).is_some_and(|told| gap(&told.finding, &finding) <= JOIN));
        if let Some(told) = known.and_then(|at| all.get_mut(at)) {
            told.again(finding);
            continue;
        }
        newest.insert(finding.id.clone(), all.len());
        let beginnings = vec![finding.time];
        all.push(Told { finding, beginnings });
    }
    all
}

impl Told {
    fn again(&mut self, newer: Finding) {
        let before = std::mem::replace(&mut self.finding, newer);
        let now = &mut self.finding;
        if !self.beginnings.contains(&now.time) && self.beginnings.len() < MAX_LIST {
            self.beginnings.push(now.time);
        }
        if before.time != now.time {
            // It was counted anew.
            now.count = now.count.saturating_add(before.count);
        }
        now.time = now.time.min(before.time);
        now.until = now.until.max(before.until);
        now.severity = now.severity.max(before.severity);
        let mut entries = before.entries;
        // The first and the newest of them stay.
        if entries.len() >= MAX_LIST {
            entries.remove(1);
        }
        entries.append(&mut now.entries);
        now.entries = entries;
    }
}

/// What lies between two findings; nothing where they overlap.
fn gap(a: &Finding, b: &Finding) -> u64 {
    let (first, second) = if a.time <= b.time { (a, b) } else { (b, a) };
    second.time.0.saturating_sub(first.until.0)
}

/// One thing that findings may have in common, when that was, and of which finding it is.
type Mark<'a> = (&'a str, Time, Time, usize);

fn by_name(told: &[Told]) -> Vec<Mark<'_>> {
    let mut workloads: HashMap<&str, HashSet<&str>> = HashMap::new();
    for Told { finding, .. } in told {
        let of = workloads.entry(&finding.subject).or_default();
        if of.len() <= SHARED {
            of.insert(&finding.workload);
        }
    }
    // Words such as "addresses and ports" name nobody; nodes are the only ones whose name has a space.
    let is_phrase = |subject: &str| subject.contains(' ') && !subject.starts_with("node ");
    let is_common_place = |subject: &str| {
        subject.is_empty() || is_phrase(subject) || workloads.get(subject).is_some_and(|of| of.len() > SHARED)
    };
    let mut marks = Vec::with_capacity(told.len() * 2);
    for (index, Told { finding, .. }) in told.iter().enumerate() {
        let mark = |name| (name, finding.time, finding.until, index);
        if !finding.workload.is_empty() {
            marks.push(mark(finding.workload.as_str()));
        }
        if !is_common_place(&finding.subject) {
            marks.push(mark(finding.subject.as_str()));
        }
    }
    marks
}

fn by_namespace(told: &[Told]) -> Vec<Mark<'_>> {
    let mut marks = Vec::with_capacity(told.len());
    for (index, Told { finding, .. }) in told.iter().enumerate() {
        if let Some((namespace, _)) = finding.workload.split_once('/') {
            marks.push((namespace, finding.time, finding.until, index));
        }
    }
    marks
}

/// Joins what has a mark in common and follows within `most`.
fn join(sets: &mut Sets, mut marks: Vec<Mark<'_>>, most: u64) {
    marks.sort_unstable();
    let mut before: Option<(&str, Time, usize)> = None;
    for (name, time, until, index) in marks {
        before = match before {
            Some((last, end, with)) if last == name && time.0.saturating_sub(end.0) <= most => {
                sets.unite(with, index);
                Some((name, end.max(until), index))
            }
            Some(_) | None => Some((name, until, index)),
        };
    }
}

fn group(mut told: Vec<Told>) -> Group {
    told.sort_by(|a, b| (a.finding.time, &a.finding.id).cmp(&(b.finding.time, &b.finding.id)));
    let mut ids: Vec<String> = Vec::new();
    for it in &mut told {
        it.beginnings.sort_unstable();
        ids.extend(it.beginnings.iter().map(|time| incident_id(&it.finding.id, *time)));
    }
    Group { findings: told.into_iter().map(|it| it.finding).collect(), ids }
}

fn incident_id(finding: &str, time: Time) -> String {
    crate::digest::short([finding, &time.to_string()])
}

/// Disjoint sets of numbers: union by size, paths halved.
struct Sets {
    above: Vec<usize>,
    sizes: Vec<usize>,
}

impl Sets {
    fn of(count: usize) -> Self {
        Self { above: (0..count).collect(), sizes: vec![1; count] }
    }

    fn root(&mut self, mut number: usize) -> usize {
        while let Some(up) = self.above.get(number).copied().filter(|up| *up != number) {
            let next = self.above.get(up).copied().unwrap_or(up);
            if let Some(slot) = self.above.get_mut(number) {
                *slot = next;
            }
            number = next;
        }
        number
    }

    fn unite(&mut self, a: usize, b: usize) {
        let (a, b) = (self.root(a), self.root(b));
        if a == b {
            return;
        }
        let size = |sets: &Self, root: usize| sets.sizes.get(root).copied().unwrap_or(0);
        let (large, small) = if size(self, a) >= size(self, b) { (a, b) } else { (b, a) };
        let sum = size(self, large) + size(self, small);
        if let (Some(above), Some(slot)) = (self.above.get_mut(small), self.sizes.get_mut(large)) {
            *above = large;
            *slot = sum;
        }
    }
}
