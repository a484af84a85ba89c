//! How things stand, for the API: the engine's status and policies in its words.

use super::budgets::budgets;
use super::written::Written;
use crate::up::engine::Engine;
use crate::up::journal::Journal;
use crate::up::protocol::{NodeStatus, Status};
use crate::up::shadow::Seen;
use ::ledger::Entry;
use api::shape::Moment;
use api::shape::live::{
    Budget, Counts, Deciding, Difference, LedgerStatus, PolicyItem, Sensor, Shadow, Status as Told,
};
use api::shape::walk::Walk;
use api::{Live, Manifest};
use observe::Time;
use policy::{Generation, ObjectRef, Pod};
use std::path::PathBuf;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::SystemTime;

/// Ways in which a candidate differs that are told.
const DIFFERENCES: usize = 200;

/// Tells of one engine.
pub(crate) struct Teller {
    engine: Arc<Mutex<Engine>>,
    journal: Arc<Journal>,
    files: Vec<PathBuf>,
    known: Mutex<Arc<Written>>,
}

impl Teller {
    pub(crate) fn new(engine: Arc<Mutex<Engine>>, journal: Arc<Journal>, files: Vec<PathBuf>) -> Self {
        Self { engine, journal, files, known: Mutex::default() }
    }

    fn engine(&self) -> MutexGuard<'_, Engine> {
        // After a panic in a load the last good tables are still the kernel's.
        self.engine.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// What is told of the generation in force; made once, and without holding up who enforces.
    fn known(&self) -> Arc<Written> {
        let generation = self.engine().in_force();
        let known = Arc::clone(&self.known.lock().unwrap_or_else(PoisonError::into_inner));
        if known.generation() == generation && generation != Generation(0) {
            return known;
        }
        let Some(set) = self.engine().policy_set().cloned() else { return known };
        let known = Arc::new(Written::of(Arc::new(set)));
        *self.known.lock().unwrap_or_else(PoisonError::into_inner) = Arc::clone(&known);
        known
    }
}

fn difference(Seen { difference, seen }: Seen) -> Difference {
    Difference {
        verdict: difference.verdict.to_string(),
        source: difference.source.to_string(),
        destination: difference.destination.to_string(),
        protocol: difference.protocol.to_string(),
        port: difference.port,
        rule: difference.rule.to_string(),
        count: seen.count,
        first: Moment(seen.first),
        last: Moment(seen.last),
    }
}

impl Live for Teller {
    fn status(&self) -> Told {
        let status = self.engine().status();
        let ledger = self.journal.ledger().map(|ledger| LedgerStatus {
            path: ledger.path.display().to_string(),
            written: ledger.written,
            lost: ledger.lost,
            problem: ledger.problem,
            store: None,
        });
        Told {
            version: status.version.clone(),
            time: Moment(Time::from(SystemTime::now())),
            node: status.nodes.first().map_or_else(String::new, |node| node.node.to_string()),
            generation: status.generation.0,
            enforcement: word(status.mode),
            degraded: status.degraded.clone(),
            ledger: ledger.unwrap_or_default(),
            sensors: status.nodes.iter().flat_map(sensors).collect(),
            counts: counts(&status),
        }
    }

    fn policies(&self) -> (u64, Vec<PolicyItem>) {
        self.known().policies()
    }

    fn shadow(&self) -> Option<Shadow> {
        let shadow = self.engine().shadow()?;
        Some(Shadow {
            sources: shadow.sources,
            policies: shadow.policies as u64,
            problem: shadow.problem,
            judged: shadow.judged,
            would_deny: shadow.would_deny,
            would_allow: shadow.would_allow,
            unknown: shadow.unknown,
            unlisted: shadow.differences.iter().skip(DIFFERENCES).map(|it| it.seen.count).sum::<u64>()
                + shadow.unlisted,
            differences: shadow.differences.into_iter().take(DIFFERENCES).map(difference).collect(),
        })
    }

    fn manifest(&self, kind: &str, namespace: &str, name: &str) -> Option<Manifest> {
        let object = ObjectRef { kind: kind.into(), namespace: namespace.into(), name: name.into() };
        self.known().manifest(&object, &self.files)
    }

    fn deciding(&self, rule: &str) -> Option<Deciding> {
        self.known().deciding(rule, &self.files)
    }

    fn budgets(&self) -> Vec<Budget> {
        budgets(&self.engine().status().nodes)
    }

    fn walk(&self, entry: &Entry) -> Option<Walk> {
        // A node of a cluster has the policies of its own pods, and judges by none those of others.
        let nodes: Vec<Arc<str>> = match self.files.is_empty() {
            true => self.engine().status().nodes.iter().map(|node| Arc::clone(&node.node)).collect(),
            false => Vec::new(),
        };
        let is_here =
            |pod: &Pod| nodes.is_empty() || pod.node.as_ref().is_some_and(|node| nodes.contains(node));
        self.known().walk(is_here, entry)
    }
}

fn word(mode: impl serde::Serialize) -> String {
    serde_json::to_value(mode).ok().and_then(|it| it.as_str().map(str::to_owned)).unwrap_or_default()
}

fn counts(status: &Status) -> Counts {
    Counts {
        records: status.records.opened.saturating_add(status.records.denied),
        denied: status.records.denied,
        // The ledger says how much is open.
        findings: 0,
        incidents_open: 0,
    }
}

/// The parts of a node that see something.
fn sensors(node: &NodeStatus) -> Vec<Sensor> {
    let sensor = |role: &str, ready: bool, lost: u64, detail: String| Sensor {
        name: node.node.to_string(),
        role: role.to_owned(),
        ready,
        lost,
        detail,
    };
    let or = |problem: &Option<String>, detail: String| problem.clone().unwrap_or(detail);
    let kernel = or(&node.problem, format!("{}, {} addresses", node.backend, node.endpoints));
    let is_ready = node.problem.is_none() && node.enforced.is_some();
    let mut all = vec![sensor("kernel", is_ready, node.lost_events, kernel)];
    if let Some(dns) = &node.dns {
        let detail = or(&dns.problem, format!("{} answered, {} refused", dns.answered, dns.refused));
        all.push(sensor("dns", dns.problem.is_none(), dns.lost_records, detail));
    }
    if let Some(gateway) = &node.gateway {
        let detail = or(&gateway.problem, format!("{} passed, {} refused", gateway.passed, gateway.refused));
        all.push(sensor("gateway", gateway.problem.is_none(), gateway.lost_records, detail));
    }
    all
}
