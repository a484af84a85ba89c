//! How a collector stands, for the API: its senders are its sensors. It has no policy, and says so by having none.

use super::{NAME, SILENT, Shared, now, silence};
use ::ledger::{Entry, Joined};
use api::shape::Moment;
use api::shape::live::{Budget, Counts, Deciding, LedgerStatus, PolicyItem, Sensor, Shadow, Status};
use api::shape::walk::Walk;
use api::{Live, Manifest};
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
        [itself, detectors].into_iter().chain(senders.iter().map(|sender| sensor(sender, now))).collect()
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
            generation: 0,
            enforcement: "collector".to_owned(),
            degraded: self.0.problem().into_iter().collect(),
            ledger: LedgerStatus {
                path: ledger.path.display().to_string(),
                written: ledger.written,
                lost: ledger.lost,
                problem: ledger.problem,
            },
            sensors: self.sensors(),
            counts: Counts { records, denied: self.0.store.standing().denied, ..Counts::default() },
        }
    }

    fn policies(&self) -> (u64, Vec<PolicyItem>) {
        (0, Vec::new())
    }

    fn manifest(&self, _kind: &str, _namespace: &str, _name: &str) -> Option<Manifest> {
        None
    }

    fn deciding(&self, _rule: &str) -> Option<Deciding> {
        None
    }

    fn budgets(&self) -> Vec<Budget> {
        Vec::new()
    }

    fn shadow(&self) -> Option<Shadow> {
        None
    }

    fn walk(&self, _entry: &Entry) -> Option<Walk> {
        None
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
