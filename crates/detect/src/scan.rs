//! Ports and machines tried one after the other.

use crate::beacon::real;
use crate::bounded::Bounded;
use crate::catalog::{LATERAL, PORT_SCAN};
use crate::distinct::{Seen, key};
use crate::event::{DAY, Event, Flow, MINUTE, Phase, Place};
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
/// Distinct ports of one address that could not be reached, however slowly they were tried: nobody has so many to ask there. Of many
/// addresses that does not hold, for those of pods and of large services change.
const PORTS: u64 = 30;
/// From here on ports are those of clients, to which late answers go (Linux, `ip_local_port_range`).
const OF_CLIENTS: u16 = 32_768;
const SLOW: u64 = DAY;
/// Workloads and addresses that are followed so.
const ADDRESSES: usize = 1 << 15;
/// Machines whose ports of administration are reached for.
const MACHINES: u32 = 5;
/// Kinds of administration on one machine, one of which runs commands.
const KINDS: u64 = 3;
/// What a scan is about.
const SUBJECT: &str = "addresses and ports";
/// Ports that run commands: SSH, RDP, WinRM, Docker, kubelet.
const COMMANDS: [u16; 8] = [22, 3389, 5985, 5986, 2375, 2376, 10250, 10255];
/// Other ports of administration: telnet, RPC, NetBIOS, SMB, VNC, etcd.
const ADMINISTRATION: [u16; 7] = [23, 135, 139, 445, 5900, 2379, 2380];

/// What is followed.
#[derive(Debug)]
pub(crate) struct Scans {
    workloads: Bounded<Arc<str>, Workload>,
    addresses: Bounded<u64, Address>,
}

/// One that a workload could not reach.
#[derive(Debug, Default)]
struct Address {
    start: u64,
    seen: Seen,
    ports: u64,
    evidence: Evidence,
}

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
        Self { workloads: Bounded::new(WORKLOADS), addresses: Bounded::new(ADDRESSES) }
    }

    pub(crate) fn evicted(&self) -> u64 {
        self.workloads.evicted() + self.addresses.evicted()
    }

    pub(crate) fn see(&mut self, event: &Event, flow: &Flow) -> Option<Finding> {
        if matches!(flow.phase, Phase::Close | Phase::More) || flow.from_node {
            return None;
        }
        let slow = self.slow(event, flow);
        let workload = self.workloads.entry(&event.who);
        if event.ends(workload.start, WINDOW) {
            let mut seen = std::mem::take(&mut workload.seen);
            seen.clear(event.micros());
            *workload = Workload { start: event.micros(), seen, ..Workload::default() };
        }
        let is_failed = flow.phase == Phase::Failed;
        if !workload.seen.is_new(key((flow.address, flow.port, flow.protocol, is_failed))) {
            return slow;
        }
        workload.scan(event, is_failed).or_else(|| workload.lateral(event, flow)).or(slow)
    }

    fn slow(&mut self, event: &Event, flow: &Flow) -> Option<Finding> {
        if flow.phase != Phase::Failed || flow.port >= OF_CLIENTS {
            return None;
        }
        let address = self.addresses.entry(&key((&event.who, flow.address)));
        if event.ends(address.start, SLOW) {
            let mut seen = std::mem::take(&mut address.seen);
            seen.clear(event.micros());
            *address = Address { start: event.micros(), seen, ..Address::default() };
        }
        if !address.seen.is_new(key((flow.port, flow.protocol))) {
            return None;
        }
        address.ports += 1;
        address.evidence.add(event);
        let least = event.count(&PORT_SCAN, PORTS);
        if address.ports < least || !address.evidence.is_due() {
            return None;
        }
        let sentence = format!(
            "{} tried {} different ports of {} within a day that refused it, did not answer or were denied ({least} are the limit): it is \
             looking for what is open",
            event.who,
            address.ports,
            flow.whom()
        );
        let numbers = vec![Number::of("ports_that_failed", real(address.ports)).from(real(least))];
        let told = Told { severity: None, sentence, numbers };
        Some(address.evidence.tell(&PORT_SCAN, &event.who, SUBJECT, told))
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
        Some(self.evidence.tell(&PORT_SCAN, &event.who, SUBJECT, Told { severity: None, sentence, numbers }))
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
