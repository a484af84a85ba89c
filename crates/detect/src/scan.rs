//! Ports and machines tried one after the other.

use crate::beacon::real;
use crate::bounded::Bounded;
use crate::catalog::{LATERAL, PORT_SCAN};
use crate::distinct::{Seen, key};
use crate::event::{Event, Flow, MINUTE, Phase, Place};
use crate::finding::{Evidence, Finding, Number, Told};
use std::collections::BTreeSet;
use std::sync::Arc;

/// Workloads that are followed at a time.
const WORKLOADS: usize = 1 << 14;
/// How long attempts belong together.
const WINDOW: u64 = 10 * MINUTE;
/// Distinct destinations, address and port, that could not be reached.
const FAILED: u32 = 20;
/// Their part of all distinct ones.
const SHARE: f64 = 0.5;
/// Machines whose ports of administration are reached for.
const MACHINES: u32 = 5;
/// Kinds of administration on one machine, one of which runs commands.
const KINDS: u64 = 3;
/// Ports that run commands: SSH, RDP, WinRM, Docker, kubelet.
const COMMANDS: [u16; 8] = [22, 3389, 5985, 5986, 2375, 2376, 10250, 10255];
/// Other ports of administration: telnet, RPC, NetBIOS, SMB, VNC, etcd.
const ADMINISTRATION: [u16; 7] = [23, 135, 139, 445, 5900, 2379, 2380];

/// What is followed.
#[derive(Debug)]
pub(crate) struct Scans(Bounded<Arc<str>, Workload>);

#[derive(Debug, Default)]
struct Workload {
    start: u64,
    seen: Seen,
    tried: u32,
    failed: u32,
    /// Of a scan; and of administration.
    evidence: Evidence,
    reached: Evidence,
    machines: u32,
    /// The last machine of administration, and which of its ports.
    machine: u64,
    ports: BTreeSet<u16>,
}

impl Scans {
    pub(crate) fn new() -> Self {
        Self(Bounded::new(WORKLOADS))
    }

    pub(crate) fn evicted(&self) -> u64 {
        self.0.evicted()
    }

    pub(crate) fn see(&mut self, event: &Event, flow: &Flow) -> Option<Finding> {
        if matches!(flow.phase, Phase::Close | Phase::More) || flow.from_node {
            return None;
        }
        let workload = self.0.entry(&event.who);
        if event.micros().saturating_sub(workload.start) >= WINDOW {
            let mut seen = std::mem::take(&mut workload.seen);
            seen.clear();
            *workload = Workload { start: event.micros(), seen, ..Workload::default() };
        }
        let is_failed = flow.phase == Phase::Failed;
        if !workload.seen.is_new(key((flow.address, flow.port, flow.protocol, is_failed))) {
            return None;
        }
        workload.scan(event, is_failed).or_else(|| workload.lateral(event, flow))
    }
}

impl Workload {
    fn scan(&mut self, event: &Event, is_failed: bool) -> Option<Finding> {
        self.tried += 1;
        if !is_failed {
            return None;
        }
        self.failed += 1;
        self.evidence.add(event);
        let share = f64::from(self.failed) / f64::from(self.tried);
        let least = event.count(&PORT_SCAN, u64::from(FAILED));
        if u64::from(self.failed) < least || share < SHARE || !self.evidence.is_due() {
            return None;
        }
        let sentence = format!(
            "{} tried {} different addresses and ports within ten minutes that refused it, did not answer or were denied ({least} \
             are the limit), {:.0}% of those it tried: it is looking for what is open",
            event.who,
            self.failed,
            share * 100.0
        );
        let numbers = vec![
            Number::of("destinations_that_failed", f64::from(self.failed)).from(real(least)),
            Number::of("share_of_destinations", share).from(SHARE),
        ];
        Some(self.evidence.tell(
            &PORT_SCAN,
            &event.who,
            "addresses and ports",
            Told { severity: None, sentence, numbers },
        ))
    }

    fn lateral(&mut self, event: &Event, flow: &Flow) -> Option<Finding> {
        let is_command = COMMANDS.contains(&flow.port);
        if flow.place == Place::Outside || !(is_command || ADMINISTRATION.contains(&flow.port)) {
            return None;
        }
        self.reached.add(event);
        self.machines += u32::from(self.seen.is_new(key(("machine", flow.address))));
        let machine = key(flow.address);
        if machine != self.machine {
            (self.machine, self.ports) = (machine, BTreeSet::new());
        }
        self.ports.insert(flow.port);
        let kinds = self.ports.len() as u64;
        let has_command = self.ports.iter().any(|port| COMMANDS.contains(port));
        let machines = event.count(&LATERAL, u64::from(MACHINES));
        let most_kinds = event.count(&LATERAL, KINDS);
        let is_mix = kinds >= most_kinds && has_command;
        if (u64::from(self.machines) < machines && !is_mix) || !self.reached.is_due() {
            return None;
        }
        let sentence = format!(
            "{} reached for ports of administration of {} machines within ten minutes ({machines} are the limit), {kinds} kinds of them on \
             the last, {} ({most_kinds} with one that runs commands are the limit): it may be moving on from where it is",
            event.who,
            self.machines,
            flow.whom()
        );
        let numbers = vec![
            Number::of("machines", f64::from(self.machines)).from(real(machines)),
            Number::of("kinds_on_one_machine", real(kinds)).from(real(most_kinds)),
        ];
        Some(self.reached.tell(
            &LATERAL,
            &event.who,
            "ports of administration",
            Told { severity: None, sentence, numbers },
        ))
    }
}
