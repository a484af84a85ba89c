//! How much an incident matters, from 0 to 100, in parts that can be seen.
//!
//! Up to 70 points come from the findings: each distinct detector counts once, by its gravest finding, as one more independent
//! hint (noisy OR: of what is still doubted, each takes its share away). Up to 10 each come from what got through, from how
//! many are concerned, and from sensitive targets. Whole numbers only, so that the same incident has the same score anywhere.

use crate::finding::{Finding, Severity};
use observe::About;
use policy::metadata::{self, At};
use serde::{Deserialize, Serialize};
use std::collections::BTreeMap;
use std::net::{IpAddr, SocketAddrV4};

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
const SENSITIVE: [(&str, &str); 8] = [
    ("metadata.google.internal", HANDS_OUT_KEYS),
    ("metadata.goog", HANDS_OUT_KEYS),
    ("metadata.tencentyun.com", HANDS_OUT_KEYS),
    ("kubernetes.default", IS_API_SERVER),
    ("kube-apiserver", IS_API_SERVER),
    ("kube-system/", "it belongs to the cluster itself"),
    ("vault", "keys are kept there"),
    ("etcd", "the cluster's state and keys are there"),
];

const HANDS_OUT_KEYS: &str = "it hands out the cloud's keys";
const IS_API_SERVER: &str = "it is the cluster's API server";

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
    let (name, why) = destinations.iter().find_map(|name| Some((name, sensitive(name)?)))?;
    let why = format!("{name}: {why}");
    Some(Part { what: "sensitive target".to_owned(), points: FROM_ELSE, why })
}

/// Why a destination is one that matters more; nothing where it is not.
fn sensitive(name: &str) -> Option<String> {
    // Of refused attempts, findings name what was tried, and no address.
    for (about, why) in [(About::MetadataService, HANDS_OUT_KEYS), (About::ApiServer, IS_API_SERVER)] {
        if name == about.attempted() {
            return Some(why.to_owned());
        }
    }
    let name = name.to_ascii_lowercase();
    if let Some(why) = addresses(&name).find_map(hands_out_keys) {
        return Some(why);
    }
    SENSITIVE.iter().find(|(part, _)| name.contains(part)).map(|(_, why)| (*why).to_owned())
}

/// The addresses in a text, with or without a port behind, or before more of a name, as those have it that lead to the address in them
/// (nip.io, for example).
fn addresses(text: &str) -> impl Iterator<Item = IpAddr> {
    let words = text.split(|c: char| !c.is_ascii_hexdigit() && c != ':' && c != '.');
    words.filter_map(|word| {
        let word = word.trim_matches('.');
        let with_port = || word.parse::<SocketAddrV4>().ok().map(|it| IpAddr::V4(*it.ip()));
        word.parse().ok().or_else(with_port)
    })
}

/// What is known of a destination is its address. Where that is also for something else, the reason says so.
fn hands_out_keys(address: IpAddr) -> Option<String> {
    metadata::at(address).map(|place| match place.ports {
        At::EveryPort => HANDS_OUT_KEYS.to_owned(),
        At::Tcp(ports) => {
            let ports: Vec<String> = ports.iter().map(ToString::to_string).collect();
            format!("{HANDS_OUT_KEYS}, at its ports {}", ports.join(" and "))
        }
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn why(destination: &str) -> Option<String> {
        of_targets(&[destination.to_owned()]).map(|part| part.why)
    }

    #[test]
    fn every_place_where_clouds_hand_out_keys_is_a_sensitive_target() {
        for place in metadata::PLACES {
            let address = place.address;
            for destination in [
                address.to_string(),
                std::net::SocketAddr::new(address, 80).to_string(),
                format!("name.example ({address})"),
            ] {
                let why = why(&destination).unwrap_or_default();
                assert!(why.contains(HANDS_OUT_KEYS), "{destination}: {why:?}");
            }
        }
        assert_eq!(
            why("168.63.129.16").as_deref(),
            Some("168.63.129.16: it hands out the cloud's keys, at its ports 80 and 32526")
        );
    }

    #[test]
    fn a_name_made_of_such_an_address_is_a_sensitive_target() {
        for name in ["169.254.169.254.nip.io", "www.169.254.169.254.sslip.io", "169.254.169.254."] {
            assert!(why(name).is_some_and(|why| why.contains(HANDS_OUT_KEYS)), "{name}");
        }
    }

    #[test]
    fn refused_attempts_at_keys_or_at_the_api_server_are_at_sensitive_targets() {
        for (about, is_sensitive) in [
            (About::MetadataService, true),
            (About::ApiServer, true),
            (About::DnsElsewhere, false),
            (About::DnsOverTls, false),
            (About::DnsOverHttps, false),
            (About::AddressNotResolved, false),
        ] {
            assert_eq!(why(about.attempted()).is_some(), is_sensitive, "{about}");
        }
    }

    #[test]
    fn others_are_none() {
        for destination in ["", "10.0.0.1", "1169.254.169.254", "169.254.169.25", "shop/Deployment/web", "::"]
        {
            assert_eq!(why(destination), None, "{destination:?}");
        }
    }
}
