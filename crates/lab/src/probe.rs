//! Opens connections with real packets and says whether they arrived.
//!
//! A packet arrived when something came back that only its destination could send: a connection, a reset, a datagram,
//! "port unreachable", "protocol unreachable". Nothing has to listen. Silence alone proves little, so the caller
//! may bring evidence of its own that a packet was dropped; both kinds of evidence for one probe contradict each other
//! and are reported as such.

mod raw;
mod socket;

use crate::plan::Place;
use crate::{Lab, LabError};
use policy::Protocol;
use std::collections::BTreeMap;
use std::net::IpAddr;
use std::sync::Arc;
use std::time::Duration;

/// One connection to try.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Probe {
    /// Where it starts.
    pub from: Place,
    /// Its source address; `None` leaves the choice to the kernel there.
    pub source: Option<IpAddr>,
    /// Destination address.
    pub to: IpAddr,
    /// TCP, UDP, SCTP, or ICMP of either family.
    pub protocol: Protocol,
    /// Destination port; ignored for ICMP.
    pub port: u16,
}

/// What a probe looks like on the wire.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct ProbeTuple {
    /// Source address.
    pub source: IpAddr,
    /// Source port; the echo identifier for ICMP.
    pub source_port: u16,
    /// Destination address.
    pub destination: IpAddr,
    /// Protocol.
    pub protocol: Protocol,
    /// Destination port; 0 for ICMP.
    pub port: u16,
}

/// What became of a probe.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Outcome {
    /// It arrived.
    Answered,
    /// The caller's evidence says it was dropped, and nothing came back.
    Denied,
    /// Nothing came back by the deadline, and there is no evidence of a drop.
    Silent,
    /// It was answered although the evidence says it was dropped.
    Contradiction,
    /// It could not be tried, or came back in a way that says neither.
    Failed(String),
}

/// The caller's evidence: whether a packet of this tuple is known to have been dropped.
pub type Evidence = Arc<dyn Fn(&ProbeTuple) -> bool + Send + Sync>;

/// Tries every probe, those of one place at the same time, all places in parallel. Outcomes are in the order of
/// `probes`.
///
/// # Errors
/// A place is not in the lab or its thread is gone.
pub fn probe_all(
    lab: &Lab,
    probes: &[Probe],
    deadline: Duration,
    dropped: &Evidence,
) -> Result<Vec<Outcome>, LabError> {
    let mut places: BTreeMap<&Place, Vec<(usize, Probe)>> = BTreeMap::new();
    for (i, probe) in probes.iter().enumerate() {
        places.entry(&probe.from).or_default().push((i, probe.clone()));
    }
    let mut running = Vec::new();
    for (place, mine) in places {
        let dropped = dropped.clone();
        running.push((place, lab.resident(place)?.spawn(move || run_place(mine, deadline, &dropped))?));
    }
    let mut outcomes = vec![Outcome::Failed("not tried".into()); probes.len()];
    for (place, thread) in running {
        let finished = thread.join().map_err(|_| LabError::ResidentGone(place.to_string()))?;
        for (i, outcome) in finished {
            if let Some(slot) = outcomes.get_mut(i) {
                *slot = outcome;
            }
        }
    }
    Ok(outcomes)
}

fn run_place(probes: Vec<(usize, Probe)>, deadline: Duration, dropped: &Evidence) -> Vec<(usize, Outcome)> {
    let (with_sockets, raw): (Vec<_>, Vec<_>) =
        probes.into_iter().partition(|(_, probe)| matches!(probe.protocol, Protocol::TCP | Protocol::UDP));
    // A process has a limited number of descriptors; a thousand at once stay well within the usual limit.
    let mut outcomes = Vec::new();
    for chunk in with_sockets.chunks(250) {
        outcomes.extend(socket::run(chunk, deadline, dropped));
    }
    if !raw.is_empty() {
        outcomes.extend(raw::run(&raw, deadline, dropped));
    }
    outcomes
}

/// How long a probe whose drop is known is still watched for an answer that would contradict it.
const GRACE: Duration = Duration::from_millis(30);
/// How often open probes are held against the caller's evidence.
const TICK: Duration = Duration::from_millis(10);

/// What is known of one probe so far.
#[derive(Debug)]
struct Progress {
    index: usize,
    tuple: ProbeTuple,
    /// When the drop became known.
    denied: Option<std::time::Instant>,
    outcome: Option<Outcome>,
}

impl Progress {
    fn new(index: usize, tuple: ProbeTuple) -> Self {
        Self { index, tuple, denied: None, outcome: None }
    }

    /// Something came back.
    fn answered(&mut self, dropped: &Evidence) {
        let contradicted = self.denied.is_some() || dropped(&self.tuple);
        self.outcome = Some(if contradicted { Outcome::Contradiction } else { Outcome::Answered });
    }

    fn failed(&mut self, why: impl ToString) {
        self.outcome = Some(Outcome::Failed(why.to_string()));
    }

    /// Looks at the evidence and the clock.
    fn tick(&mut self, now: std::time::Instant, end: std::time::Instant, dropped: &Evidence) {
        if self.outcome.is_some() {
            return;
        }
        if self.denied.is_none() && dropped(&self.tuple) {
            self.denied = Some(now);
        }
        match self.denied {
            Some(since) if now >= since + GRACE || now >= end => self.outcome = Some(Outcome::Denied),
            None if now >= end => self.outcome = Some(Outcome::Silent),
            Some(_) | None => {}
        }
    }
}
