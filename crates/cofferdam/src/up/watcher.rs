//! Detectors over what the journal hears, on a thread of their own.
//!
//! Enters: records, as the journal gets them. Leaves: findings, on the journal's shelf and in the ledger. Guarantees: whoever
//! brings a record never waits for a detector; what finds no room is counted, in the status and in the ledger; what an earlier
//! process saw of who talks to whom is known from the ledger before the first record is looked at. Does not: stop anything.

use super::finding::Finding;
use super::journal::Shelf;
use super::pen::{Pen, Recorded};
use super::sight::{Seen, Sight};
use super::tuned::Tunings;
use ::ledger::Reader;
use anyhow::{Context, Result};
use detect::{Detectors, Event, Pace};
use observe::{End, Time};
use policy::detection::Tuning;
use serde::{Deserialize, Serialize};
use std::path::Path;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::mpsc::{Receiver, SyncSender, sync_channel};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::thread::JoinHandle;

/// Records that wait to be looked at.
const QUEUE: usize = 65_536;
/// Edges of the ledger that are known from the start.
const EDGES: usize = 65_536;
/// What the ledger says of records that were not looked at.
const LOST: &str = "records that detectors had no room for";
/// And of findings about whoever is told of all the time.
const HELD: &str = "findings beyond those of one workload and detector that are told in an hour";

/// How the detectors are.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct DetectionStatus {
    /// Records that were looked at since the process began.
    pub(crate) records: u64,
    /// Records for which there was no room.
    pub(crate) lost: u64,
    /// Things that detectors forgot for want of room.
    pub(crate) forgotten: u64,
    /// Findings that policies suppress, each time they were told.
    pub(crate) suppressed: u64,
    /// Who talks to whom, as known from the ledger at the start.
    pub(crate) remembered: u64,
    /// Findings that were not told, for there were too many of one workload and detector in the hour.
    pub(crate) held_back: u64,
    /// Why that is not known.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(crate) problem: Option<String>,
}

/// Looks at records.
#[derive(Debug)]
pub(crate) struct Watcher {
    seen: Option<SyncSender<Seen>>,
    shared: Arc<Shared>,
    thread: Option<JoinHandle<()>>,
}

#[derive(Debug, Default)]
struct Shared {
    records: AtomicU64,
    lost: AtomicU64,
    forgotten: AtomicU64,
    remembered: AtomicU64,
    suppressed: AtomicU64,
    held_back: AtomicU64,
    problem: Mutex<Option<String>>,
    tunings: Mutex<Arc<Tunings>>,
}

impl Shared {
    fn tunings(&self) -> MutexGuard<'_, Arc<Tunings>> {
        self.tunings.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Watcher {
    /// Begins to look.
    ///
    /// # Errors
    /// The system gives no thread.
    pub(crate) fn start(shelf: Arc<Shelf<Finding>>, pen: Option<Arc<Pen>>) -> Result<Self> {
        let (seen, received) = sync_channel(QUEUE);
        let shared = Arc::new(Shared::default());
        let eye = Eye {
            shared: Arc::clone(&shared),
            shelf,
            pen,
            detectors: Detectors::default(),
            pace: Pace::default(),
            sight: Sight::default(),
            told: 0,
        };
        let thread = std::thread::Builder::new().name("detect".to_owned());
        let thread = thread.spawn(move || eye.run(&received)).context("starting the detectors' thread")?;
        Ok(Self { seen: Some(seen), shared, thread: Some(thread) })
    }

    /// Has a record looked at.
    pub(crate) fn see(&self, seen: Seen) {
        if self.seen.as_ref().is_none_or(|sender| sender.try_send(seen).is_err()) {
            self.shared.lost.fetch_add(1, Ordering::Relaxed);
        }
    }

    /// What policies say from now on.
    pub(crate) fn tune(&self, tunings: &[Tuning]) {
        *self.shared.tunings() = Arc::new(Tunings::new(tunings));
    }

    /// How it is.
    pub(crate) fn status(&self) -> DetectionStatus {
        let of = |count: &AtomicU64| count.load(Ordering::Relaxed);
        DetectionStatus {
            records: of(&self.shared.records),
            lost: of(&self.shared.lost),
            forgotten: of(&self.shared.forgotten),
            suppressed: of(&self.shared.suppressed),
            held_back: of(&self.shared.held_back),
            remembered: of(&self.shared.remembered),
            problem: self.shared.problem.lock().unwrap_or_else(PoisonError::into_inner).clone(),
        }
    }
}

impl Drop for Watcher {
    /// Looks at what waits.
    fn drop(&mut self) {
        self.seen = None;
        if let Some(thread) = self.thread.take() {
            // A panic there was reported by its thread.
            let _ = thread.join();
        }
    }
}

/// What the thread has.
struct Eye {
    shared: Arc<Shared>,
    shelf: Arc<Shelf<Finding>>,
    pen: Option<Arc<Pen>>,
    detectors: Detectors,
    pace: Pace,
    sight: Sight,
    /// Of the lost, those that the ledger knows of.
    told: u64,
}

impl Eye {
    fn run(mut self, received: &Receiver<Seen>) {
        self.remember();
        let mut events = Vec::new();
        for seen in received {
            let who = self.sight.events(&seen, &mut events);
            let tunings = Arc::clone(&self.shared.tunings());
            let factors = tunings.factors(who);
            for event in events.drain(..) {
                let event = Event { factors: factors.clone(), ..event };
                for told in self.detectors.observe(&event) {
                    if self.pace.lets(&told) {
                        self.tell(who, told, &tunings);
                    } else {
                        self.hold_back();
                    }
                }
            }
            self.shared.records.fetch_add(1, Ordering::Relaxed);
            self.shared.forgotten.store(self.detectors.evicted(), Ordering::Relaxed);
            self.tell_lost();
        }
    }

    fn remember(&mut self) {
        let Some(path) = self.pen.as_ref().map(|pen| pen.status().path).filter(|path| path.exists()) else {
            return;
        };
        match known(&path, &mut self.detectors) {
            Ok(count) => self.shared.remembered.store(count, Ordering::Relaxed),
            Err(error) => {
                let problem = format!("what workloads did before is not known: {error:#}");
                *self.shared.problem.lock().unwrap_or_else(PoisonError::into_inner) = Some(problem);
            }
        }
    }

    fn tell(&self, who: Option<&End>, mut told: detect::Finding, tunings: &Tunings) {
        told.suppressed = tunings.suppression(who, &told);
        self.shared.suppressed.fetch_add(told.suppressed.is_some().into(), Ordering::Relaxed);
        let finding = Finding { sequence: 0, told };
        if let Some(pen) = &self.pen {
            pen.write(finding.entry());
        }
        self.shelf.add(finding);
    }

    fn hold_back(&self) {
        self.shared.held_back.fetch_add(1, Ordering::Relaxed);
        if let Some(pen) = &self.pen {
            pen.lose(HELD, 1);
        }
    }

    fn tell_lost(&mut self) {
        let lost = self.shared.lost.load(Ordering::Relaxed);
        if lost > self.told
            && let Some(pen) = &self.pen
        {
            pen.lose(LOST, lost - self.told);
        }
        self.told = lost;
    }
}

/// Tells the detectors who talked to whom before.
fn known(ledger: &Path, detectors: &mut Detectors) -> Result<u64> {
    let mut count = 0;
    Reader::open(ledger)?.each_allowed_edge(EDGES, |who, whom, first| {
        detectors.remember(&Arc::from(who), whom, Time(first));
        count += 1;
    })?;
    Ok(count)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::up::finding::FindingQuery;
    use crate::up::journal::Journal;
    use crate::up::sight::example::{flow, outside, pod};
    use ::ledger::{EntryFilter, Kind as EntryKind, Ledger, Retention};
    use observe::{Kind, Limits, Record};
    use std::time::Duration;

    const NOW: u64 = 1_800_000_000_000_000;
    const DAY: u64 = 24 * 3600 * 1_000_000;
    const PATIENCE: Duration = Duration::from_secs(20);

    fn see(watcher: &Watcher, record: Record) {
        watcher.see(Seen::Flow(Arc::new(record)));
    }

    fn shelf() -> Arc<Shelf<Finding>> {
        Arc::clone(&Journal::new(Limits::default()).findings)
    }

    fn told(shelf: &Shelf<Finding>) -> Vec<(String, String)> {
        let all = shelf.newest(&FindingQuery::default()).records;
        all.iter().map(|it| (it.told.detector.to_string(), it.told.subject.clone())).collect()
    }

    #[test]
    fn what_is_brought_is_looked_at_and_what_waits_when_it_ends_as_well() {
        let shelf = shelf();
        let watcher = Watcher::start(Arc::clone(&shelf), None).unwrap();
        for port in 1..=25 {
            let record = flow(Time(NOW), &pod("ai", "x"), &outside([192, 0, 2, 1]), Kind::Deny);
            see(&watcher, Record { port, ..record });
        }
        let page = shelf.after(0, &FindingQuery::default(), PATIENCE);
        assert_eq!(page.records[0].told.detector, "port-scan");
        see(&watcher, flow(Time(NOW), &pod("ai", "x"), &outside([192, 0, 2, 2]), Kind::Open));
        let shared = Arc::clone(&watcher.shared);
        drop(watcher);
        assert_eq!(shared.records.load(Ordering::Relaxed), 26);
    }

    fn begun(path: &std::path::Path) -> Pen {
        let pen = Pen::new(path, Retention::default());
        pen.begin().unwrap();
        pen
    }

    #[test]
    fn what_finds_no_room_is_counted_and_the_ledger_says_so() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("ledger.db");
        let pen = Arc::new(begun(&path));
        let shelf = shelf();
        let watcher = Watcher::start(Arc::clone(&shelf), Some(Arc::clone(&pen))).unwrap();
        // As if the queue were full.
        watcher.shared.lost.fetch_add(7, Ordering::Relaxed);
        see(&watcher, flow(Time(NOW), &pod("ai", "x"), &outside([192, 0, 2, 2]), Kind::Open));
        assert_eq!(watcher.status().lost, 7);
        drop(watcher);
        drop(pen);
        assert_eq!(Reader::open(&path).unwrap().lost().unwrap(), [(LOST.to_owned(), 7)]);
    }

    #[test]
    fn after_a_restart_only_what_the_ledger_does_not_know_is_new_and_findings_are_in_it() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("ledger.db");
        let who = pod("ai", "x");
        let open = |time, to: [u8; 4]| flow(Time(time), &who, &outside(to), Kind::Open);
        let before = [open(NOW - 3 * DAY, [192, 0, 2, 7]), open(NOW - 2 * DAY, [198, 51, 100, 1])];
        let entries: Vec<_> = before.iter().map(Recorded::entry).collect();
        Ledger::open(&path).unwrap().0.append(&entries).unwrap();

        let pen = Arc::new(begun(&path));
        let shelf = shelf();
        let watcher = Watcher::start(Arc::clone(&shelf), Some(Arc::clone(&pen))).unwrap();
        for to in [[192, 0, 2, 7], [198, 51, 100, 1], [203, 0, 113, 9]] {
            see(&watcher, open(NOW, to));
        }
        let status = || watcher.status();
        shelf.after(0, &FindingQuery::default(), PATIENCE);
        assert_eq!((status().remembered, status().problem), (2, None));
        assert_eq!(told(&shelf), [("new-destination".to_owned(), "203.0.113.9".to_owned())]);
        drop(watcher);
        drop(pen);
        let filter = EntryFilter { kind: Some(EntryKind::Finding), ..EntryFilter::default() };
        let found = Reader::open(&path).unwrap().entries(&filter).unwrap();
        let [found] = &found[..] else { panic!("{found:?}") };
        assert_eq!((&*found.entry.source, &*found.entry.reason), ("ai/Deployment/web", "new-destination"));
    }

    #[test]
    fn a_ledger_that_cannot_be_read_is_said_and_stops_nothing() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("ledger.db");
        std::fs::create_dir(&path).unwrap();
        let pen = Arc::new(begun(&path));
        let shelf = shelf();
        let watcher = Watcher::start(Arc::clone(&shelf), Some(pen)).unwrap();
        for port in 1..=25 {
            let record = flow(Time(NOW), &pod("ai", "x"), &outside([192, 0, 2, 1]), Kind::Deny);
            see(&watcher, Record { port, ..record });
        }
        assert!(!shelf.after(0, &FindingQuery::default(), PATIENCE).records.is_empty());
        let problem = watcher.status().problem.unwrap();
        assert!(problem.starts_with("what workloads did before is not known: "), "{problem}");
    }
}
