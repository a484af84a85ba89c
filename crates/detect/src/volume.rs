//! Who a workload never talked to before, and how much it sends.

use crate::beacon::real;
use crate::bounded::Bounded;
use crate::catalog::{NEW_DESTINATION, UPLOAD};
use crate::distinct::key;
use crate::event::{DAY, Event, Flow, HOUR, Phase, Place};
use crate::finding::{Evidence, Finding, Number, Told};
use crate::name;
use std::collections::VecDeque;
use std::net::IpAddr;
use std::sync::Arc;

/// Workloads, and pairs of workload and destination, that are followed at a time.
const WORKLOADS: usize = 1 << 14;
const PAIRS: usize = 1 << 17;
/// How long a workload is watched before something counts as new.
const LEARNING: u64 = DAY;
/// New destinations of a workload in a day that are told of; more are counted with the last.
const NEW_A_DAY: u32 = 5;
/// Bytes in an hour to one destination below which nothing is said.
const LEAST: f64 = 67_108_864.0;
/// Times the median of the hours before.
const TIMES: f64 = 8.0;
/// Hours that are remembered, and how many a median needs.
const HOURS: usize = 24;
const LEAST_HOURS: usize = 3;
/// Times the most of any hour before: a backup at night is no news by day.
const TIMES_MOST: f64 = 2.0;
/// Bytes sent for each received, where there are no hours to compare with.
const RATIO: f64 = 4.0;
/// Bytes in an hour of a workload that is not watched for long yet, below which nothing is said.
const LEAST_LEARNING: f64 = 536_870_912.0;

/// What is followed.
#[derive(Debug)]
pub(crate) struct Volumes {
    workloads: Bounded<Arc<str>, Workload>,
    pairs: Bounded<u64, Pair>,
}

#[derive(Debug, Default)]
struct Workload {
    first: Option<u64>,
    day: u64,
    told: u32,
}

#[derive(Debug, Default)]
struct Pair {
    is_known: bool,
    hour: u64,
    sent: f64,
    received: f64,
    before: VecDeque<f64>,
    evidence: Evidence,
}

impl Volumes {
    pub(crate) fn new() -> Self {
        Self { workloads: Bounded::new(WORKLOADS), pairs: Bounded::new(PAIRS) }
    }

    pub(crate) fn evicted(&self) -> u64 {
        self.workloads.evicted() + self.pairs.evicted()
    }

    /// What an earlier process saw: since when, in microseconds.
    pub(crate) fn remember(&mut self, who: &Arc<str>, whom: &str, first: u64) {
        self.pairs.entry(&key((who, known(whom)))).is_known = true;
        let workload = self.workloads.entry(who);
        workload.first = Some(workload.first.map_or(first, |known| known.min(first)));
    }

    pub(crate) fn see(&mut self, event: &Event, flow: &Flow, findings: &mut Vec<Finding>) {
        if flow.phase == Phase::Failed || flow.from_node {
            return;
        }
        let (whom, shown) = destination(flow);
        let pair = self.pairs.entry(&key((&event.who, whom)));
        let workload = self.workloads.entry(&event.who);
        let is_new = !std::mem::replace(&mut pair.is_known, true);
        if is_new {
            findings.extend(workload.is_new(event, &shown));
        }
        if flow.phase != Phase::Open && flow.place != Place::Inside {
            let is_learning = workload.watched(event) < LEARNING;
            findings.extend(pair.sent(event, flow, &shown, is_learning));
        }
    }
}

impl Workload {
    /// For how long, in microseconds.
    fn watched(&mut self, event: &Event) -> u64 {
        let first = self.first.map_or(event.micros(), |first| first.min(event.micros()));
        self.first = Some(first);
        event.micros() - first
    }

    fn is_new(&mut self, event: &Event, shown: &str) -> Option<Finding> {
        let known_for = self.watched(event);
        let learning = event.count(&NEW_DESTINATION, LEARNING);
        if known_for < learning {
            return None;
        }
        if event.ends(self.day * DAY, DAY) {
            (self.day, self.told) = (event.micros() / DAY, 0);
        }
        self.told += 1;
        if self.told > NEW_A_DAY {
            return None;
        }
        let hours = known_for / HOUR;
        let sentence =
            format!("{} talks to {shown} for the first time in the {hours} hours it is watched", event.who);
        let numbers = vec![
            Number::of("hours_watched", real(hours)).from(real(learning / HOUR)),
            Number::of("new_destinations_today", f64::from(self.told)).from(1.0),
        ];
        let mut evidence = Evidence::default();
        evidence.add(event);
        Some(evidence.tell(&NEW_DESTINATION, &event.who, shown, Told { severity: None, sentence, numbers }))
    }
}

impl Pair {
    fn sent(&mut self, event: &Event, flow: &Flow, shown: &str, is_learning: bool) -> Option<Finding> {
        if event.ends(self.hour * HOUR, HOUR) {
            if self.hour != 0 {
                if self.before.len() == HOURS {
                    self.before.pop_front();
                }
                self.before.push_back(self.sent);
            }
            (self.hour, self.sent, self.received) = (event.micros() / HOUR, 0.0, 0.0);
            self.evidence.clear();
        }
        self.sent += real(flow.sent);
        self.received += real(flow.received);
        self.evidence.add(event);
        let floor = event.limit(&UPLOAD, LEAST);
        if self.sent < floor {
            return None;
        }
        let ratio = self.sent / self.received.max(1.0);
        let usual = (self.before.len() >= LEAST_HOURS).then(|| median(&self.before));
        let most = self.before.iter().copied().fold(0.0, f64::max);
        let is_much = match usual {
            Some(usual) => self.sent >= event.limit(&UPLOAD, TIMES * usual),
            None => ratio >= RATIO && (!is_learning || self.sent >= event.limit(&UPLOAD, LEAST_LEARNING)),
        };
        let is_much = is_much && self.sent >= TIMES_MOST * most;
        if !is_much || !self.evidence.is_due() {
            return None;
        }
        Some(self.tell(event, shown, usual, ratio))
    }

    fn tell(&self, event: &Event, shown: &str, usual: Option<f64>, ratio: f64) -> Finding {
        let mib = |bytes: f64| bytes / 1_048_576.0;
        let (compared, limit) = match usual {
            Some(usual) => (
                format!("{:.1} MiB an hour are usual", mib(usual)),
                event.limit(&UPLOAD, LEAST.max(TIMES * usual)),
            ),
            None => (format!("{ratio:.1} bytes for each that came back"), event.limit(&UPLOAD, LEAST)),
        };
        let sentence =
            format!("{} sent {:.1} MiB to {shown} within an hour; {compared}", event.who, mib(self.sent));
        let sent = Number::of("bytes_sent_in_the_hour", self.sent).from(limit);
        let numbers = vec![
            usual.map_or_else(|| sent.clone(), |usual| sent.clone().was(usual)),
            Number::of("bytes_sent_for_each_received", ratio).from(RATIO),
        ];
        self.evidence.tell(&UPLOAD, &event.who, shown, Told { severity: None, sentence, numbers })
    }
}

/// Who counts as one destination: what was registered, a workload, or the network of an address: services have many.
fn destination(flow: &Flow) -> (u64, String) {
    match (&flow.name, flow.place) {
        (Some(name), Place::Inside) => (key(name.as_ref()), name.to_string()),
        (Some(name), Place::Outside | Place::Unknown) => {
            let registered = name::split(name).registered;
            (key(registered), registered.to_owned())
        }
        (None, _) => (network(flow.address), flow.address.to_string()),
    }
}

fn network(address: IpAddr) -> u64 {
    let network = match address {
        IpAddr::V4(address) => u128::from(address.to_bits() >> 8),
        IpAddr::V6(address) => address.to_bits() >> 64,
    };
    key(("network", address.is_ipv4(), network))
}

/// The same of a destination that is known by its word alone: an address, a workload or node, or a name.
fn known(whom: &str) -> u64 {
    if let Ok(address) = whom.parse() {
        return network(address);
    }
    let is_inside = whom.contains(['/', ' ']);
    if is_inside { key(whom) } else { key(name::split(whom).registered) }
}

/// The middle of a few numbers; 0 of none.
pub(crate) fn median(values: &VecDeque<f64>) -> f64 {
    let mut sorted: Vec<f64> = values.iter().copied().collect();
    sorted.sort_by(f64::total_cmp);
    sorted.get(sorted.len() / 2).copied().unwrap_or(0.0)
}
