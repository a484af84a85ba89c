//! How much an incident matters, from 0 to 100, in parts that can be seen.
//!
//! Up to 70 points come from the findings: each distinct detector counts once, by its gravest finding, as one more independent
//! hint (noisy OR: of what is still doubted, each takes its share away). Up to 10 each come from what got through, from how
//! many are concerned, and from sensitive targets. Whole numbers only, so that the same incident has the same score anywhere.

use crate::finding::{Finding, Severity};
use serde::{Deserialize, Serialize};
use std::collections::BTreeMap;

/// Points of all findings together, at most.
const FROM_FINDINGS: u64 = 70;
/// Points of each other part, at most.
const FROM_ELSE: u64 = 10;
/// From so many points on it is of this severity.
const SCORES: [(u64, Severity); 2] = [(70, Severity::High), (40, Severity::Medium)];

/// One part of a score.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Part {
    /// Of what.
    pub what: String,
    /// How many.
    pub points: u64,
    /// Why.
    pub why: String,
}

/// What the ledger says of connections between the workloads and destinations of an incident.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct Passed {
    /// How many were let through.
    pub(crate) allowed: u64,
    /// How many were not.
    pub(crate) denied: u64,
}

/// Names and addresses behind which keys, or the cluster itself, are: what they begin with, or what is in them.
const SENSITIVE: [(&str, &str); 9] = [
    ("169.254.169.254", "it hands out the cloud's keys"),
    ("fd00:ec2::254", "it hands out the cloud's keys"),
    ("100.100.100.200", "it hands out the cloud's keys"),
    ("metadata.google.internal", "it hands out the cloud's keys"),
    ("kubernetes.default", "it is the cluster's API server"),
    ("kube-apiserver", "it is the cluster's API server"),
    ("kube-system/", "it belongs to the cluster itself"),
    ("vault", "keys are kept there"),
    ("etcd", "the cluster's state and keys are there"),
];

/// In a thousand: how far a finding of this severity speaks for an attack.
fn weight(severity: Severity) -> u64 {
    match severity {
        Severity::Low => 150,
        Severity::Medium => 400,
        Severity::High => 700,
    }
}

/// The score and its parts.
pub(crate) fn score(findings: &[Finding], destinations: &[String], passed: Passed) -> (u64, Vec<Part>) {
    let mut parts = of_detectors(findings);
    parts.extend(of_passed(passed));
    let workloads: std::collections::BTreeSet<&str> =
        findings.iter().map(|finding| finding.workload.as_str()).collect();
    parts.extend(of_breadth(workloads.len(), destinations.len()));
    parts.extend(of_targets(destinations));
    let sum = parts.iter().map(|part| part.points).sum::<u64>().min(100);
    (sum, parts)
}

/// By a score alone, how much it matters.
pub(crate) fn severity(score: u64) -> Severity {
    let found = SCORES.iter().find(|(from, _)| score >= *from);
    found.map_or(Severity::Low, |(_, severity)| *severity)
}

fn of_detectors(findings: &[Finding]) -> Vec<Part> {
    let mut gravest: BTreeMap<&str, (Severity, usize)> = BTreeMap::new();
    for finding in findings {
        let (severity, count) = gravest.entry(&finding.detector).or_insert((finding.severity, 0));
        *severity = (*severity).max(finding.severity);
        *count += 1;
    }
    let mut gravest: Vec<_> = gravest.into_iter().collect();
    gravest.sort_by_key(|(detector, (severity, _))| (std::cmp::Reverse(*severity), *detector));
    // In a millionth: what is still doubted.
    let (mut doubt, mut given) = (1_000_000, 0);
    let mut parts = Vec::with_capacity(gravest.len());
    for (detector, (severity, count)) in gravest {
        doubt = doubt * (1000 - weight(severity)) / 1000;
        let all = FROM_FINDINGS * (1_000_000 - doubt) / 1_000_000;
        let times = if count == 1 { "one finding".to_owned() } else { format!("{count} findings") };
        let why = format!("{times}, the gravest of {} severity", severity.as_str());
        parts.push(Part { what: detector.to_owned(), points: all - given, why });
        given = all;
    }
    parts
}

fn of_passed(passed: Passed) -> Option<Part> {
    let Passed { allowed, denied } = passed;
    let (points, why) = match (allowed, denied) {
        (0, 0) => return None,
        (0, _) => (2, format!("all {denied} connections to what it is about were denied")),
        (_, 0) => (FROM_ELSE, format!("{allowed} connections to what it is about were let through")),
        (_, _) => {
            (8, format!("{allowed} connections to what it is about were let through, {denied} were denied"))
        }
    };
    Some(Part { what: "what got through".to_owned(), points, why })
}

fn of_breadth(workloads: usize, destinations: usize) -> Option<Part> {
    let of = |count: usize, each: usize, most: usize| count.saturating_sub(1).saturating_mul(each).min(most);
    let points = of(workloads, 3, 6) + of(destinations, 1, 4);
    let points = u64::try_from(points).unwrap_or(FROM_ELSE).min(FROM_ELSE);
    let why = format!("workloads concerned: {workloads}, destinations: {destinations}");
    (points > 0).then(|| Part { what: "breadth".to_owned(), points, why })
}

fn of_targets(destinations: &[String]) -> Option<Part> {
    let sensitive = |name: &String| {
        let name = name.to_ascii_lowercase();
        SENSITIVE.iter().find(|(part, _)| name.contains(part)).map(|(_, why)| *why)
    };
    let (name, why) = destinations.iter().find_map(|name| Some((name, sensitive(name)?)))?;
    let why = format!("{name}: {why}");
    Some(Part { what: "sensitive target".to_owned(), points: FROM_ELSE, why })
}
