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
use detect::{Detectors, Event};
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
                    self.tell(who, told, &tunings);
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
