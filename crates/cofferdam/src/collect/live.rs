//! How a collector stands, for the API: its senders are its sensors. Of policy it tells what it reads, and where it reads none it has
//! none.

use super::{NAME, SILENT, Shared, now, silence};
use ::ledger::{Entry, Joined};
use api::shape::Moment;
use api::shape::live::{Budget, Counts, Deciding, LedgerStatus, PolicyItem, Sensor, Shadow, Status};
use api::shape::walk::Walk;
use api::{Live, Manifest};
use policy::ObjectRef;
use std::sync::Arc;
use std::sync::atomic::Ordering;

/// Tells of one collector.
pub(super) struct Teller(Arc<Shared>);

impl Teller {
    pub(super) fn new(shared: Arc<Shared>) -> Self {
        Self(shared)
    }

    /// The collector itself, its detectors, and each sender.
    fn sensors(&self) -> Vec<Sensor> {
        let strangers = self.0.counts.strangers.load(Ordering::Relaxed);
        let (problem, senders) = (self.0.problem(), self.0.senders());
        let well = || format!("takes what nodes and gateways send; {strangers} connections were not theirs");
        let itself = Sensor {
            name: NAME.to_owned(),
            role: "collector".to_owned(),
            ready: problem.is_none() && senders.is_ok(),
            lost: 0,
            detail: problem.or_else(|| senders.as_ref().err().map(ToString::to_string)).unwrap_or_else(well),
        };
        let now = now();
        let senders = senders.unwrap_or_default();
        let watched = self.0.watch.watched();
        let detectors = Sensor {
            name: "detectors".to_owned(),
            role: "collector".to_owned(),
            ready: watched.problem.is_none(),
            lost: watched.counts.lost.saturating_add(watched.missed).saturating_add(watched.unreadable),
            detail: watched.words(),
        };
        let policies = self.0.policies.words().map(|detail| Sensor {
            name: "policies".to_owned(),
            role: "collector".to_owned(),
            ready: watched.unread.is_none(),
            lost: 0,
            detail,
        });
        let own = [Some(itself), Some(detectors), policies].into_iter().flatten();
        own.chain(senders.iter().map(|sender| sensor(sender, now))).collect()
    }
}

fn sensor(sender: &Joined, now: u64) -> Sensor {
    let silence = silence(sender, now);
    let Joined { node, taken, refused, lost, waiting, seen, .. } = sender;
    let refused = if *refused > 0 { format!(", {refused} refused") } else { String::new() };
    Sensor {
        name: node.clone(),
        role: "sender".to_owned(),
        ready: silence < SILENT,
        lost: *lost,
        detail: format!(
            "heard of {} s ago, at {}; {taken} entries taken{refused}, {waiting} waited there then",
            silence.as_secs(),
            Moment::of(*seen).0,
        ),
    }
}

impl Live for Teller {
    fn status(&self) -> Status {
        let ledger = self.0.ledger();
        let records = ledger.written;
        Status {
            version: env!("CARGO_PKG_VERSION").to_owned(),
            time: Moment::of(now()),
            node: NAME.to_owned(),
            generation: self.0.policies.held().generation(),
            enforcement: "collector".to_owned(),
            degraded: self.0.problem().into_iter().chain(self.0.policies.problem()).collect(),
            ledger: LedgerStatus {
                path: ledger.path.display().to_string(),
                written: ledger.written,
                lost: ledger.lost,
                problem: ledger.problem,
                store: None,
            },
            sensors: self.sensors(),
            counts: Counts { records, denied: self.0.store.standing().denied, ..Counts::default() },
        }
    }

    fn policies(&self) -> (u64, Vec<PolicyItem>) {
        let (generation, mut items) = self.0.policies.held().written().policies();
        self.0.policies.tell_standings(&mut items);
        (generation, items)
    }

    fn manifest(&self, kind: &str, namespace: &str, name: &str) -> Option<Manifest> {
        let object = ObjectRef { kind: kind.into(), namespace: namespace.into(), name: name.into() };
        self.0.policies.held().written().manifest(&object, self.0.policies.files())
    }

    fn deciding(&self, rule: &str) -> Option<Deciding> {
        self.0.policies.held().written().deciding(rule, self.0.policies.files())
    }

    fn budgets(&self) -> Vec<Budget> {
        Vec::new()
    }

    fn shadow(&self) -> Option<Shadow> {
        None
    }

    fn walk(&self, entry: &Entry) -> Option<Walk> {
        // It has the policies of all pods.
        self.0.policies.held().written().walk(|_| true, entry)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn who_is_silent_does_not_do_its_work() {
        let silent = u64::try_from(SILENT.as_micros()).unwrap();
        let sender =
            Joined { node: "a".to_owned(), seen: 1_000_000, lost: 3, refused: 2, ..Joined::default() };
        let shown = sensor(&sender, 3_000_000);
        assert_eq!((shown.ready, shown.lost), (true, 3));
        assert!(
            shown.detail.starts_with("heard of 2 s ago") && shown.detail.contains("2 refused"),
            "{shown:?}"
        );
        assert!(!sensor(&sender, 1_000_000 + silent).ready);
    }
}
