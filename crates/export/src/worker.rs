//! Each target has a thread that follows the ledger and sends what is new, for as long as the process runs.
//!
//! Guarantees: no target waits for another; one that does not take what is sent is tried again, at first after a second, then
//! less and less often, never less than once a minute; what it did not take stays in the ledger.

use crate::batch::Batch;
use crate::cursor::{self, Cursor};
use crate::error::ExportError;
use crate::follow::{Follower, Next, now};
use crate::settings::Settings;
use crate::sink::{Outcome, Sink, is_told};
use crate::target::{Format, Target};
use serde::{Deserialize, Serialize};
use std::hash::{BuildHasher, RandomState};
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, OnceLock, PoisonError};
use std::thread::JoinHandle;
use std::time::{Duration, Instant};
use tokio::runtime::Runtime;
use tokio::sync::watch;

/// Most targets of one ledger.
const TARGETS: usize = 16;
/// Most entries that are sent at once.
pub(crate) const BATCH: usize = 500;
/// How often is looked for new entries.
const PACE: Duration = Duration::from_secs(1);
/// How often a collector is told how things stand, at least.
const BEAT: Duration = Duration::from_secs(10);
/// How long after a failure it is tried again, the first time and at most.
const PAUSE: [Duration; 2] = [Duration::from_secs(1), Duration::from_secs(60)];

/// How a target is.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct SinkStatus {
    /// Its URL, without its query.
    pub to: String,
    /// `jsonl`, `otlp`, `ocsf`, `syslog`, `clickhouse` or `collector`.
    pub format: String,
    /// Entries that were sent since the target was first named.
    pub sent: u64,
    /// Entries that it refused for good.
    pub refused: u64,
    /// Entries that were forgotten before they could be sent.
    pub lost: u64,
    /// Entries that wait for it; the youngest wait until they will not change any more.
    pub waiting: u64,
    /// Why nothing is sent at the moment.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub problem: Option<String>,
    /// What it said last of what it does not want, or what was found when it was begun.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub notice: Option<String>,
}

/// Targets that are sent what a ledger has, until this is dropped.
#[derive(Debug)]
pub struct Exports {
    /// True: end.
    ends: watch::Sender<bool>,
    workers: Vec<Running>,
}

/// What will be a thread, the thread, and how its target is.
#[derive(Debug)]
struct Running {
    status: Arc<Mutex<SinkStatus>>,
    waiting: Mutex<Option<Worker>>,
    thread: OnceLock<JoinHandle<()>>,
}

impl Exports {
    /// Targets that will be sent what is in a ledger once they [`begin`](Self::begin), from where each was, or from the
    /// beginning. The file need not be there yet.
    ///
    /// # Errors
    /// A target, or a file that goes with it, is not what it should be.
    pub fn new(ledger: &Path, targets: &[Target], settings: &Settings) -> Result<Self, ExportError> {
        if targets.len() > TARGETS {
            return Err(ExportError::Many { found: targets.len(), most: TARGETS });
        }
        let mut exports = Self { ends: watch::Sender::new(false), workers: Vec::new() };
        for (number, target) in targets.iter().enumerate() {
            let why = || "it is named twice: name it once".to_owned();
            if targets.iter().take(number).any(|other| other.to_string() == target.to_string()) {
                return Err(ExportError::Target { target: target.to_string(), why: why() });
            }
            exports.add(ledger, target, settings)?;
        }
        Ok(exports)
    }

    fn add(&mut self, ledger: &Path, target: &Target, settings: &Settings) -> Result<(), ExportError> {
        let kept = cursor::path(ledger, target);
        let (cursor, notice) = Cursor::read(&kept, target);
        let status = SinkStatus {
            to: target.to_string(),
            format: target.format.name().to_owned(),
            notice,
            ..SinkStatus::default()
        };
        let status = Arc::new(Mutex::new(status));
        let worker = Worker {
            follower: Follower::new(ledger.to_owned()),
            sink: Sink::new(target.clone(), settings)?,
            cursor,
            kept,
            status: Arc::clone(&status),
            size: BATCH,
            failures: 0,
            is_told: is_told(target),
            told: None,
        };
        worker.tell(|_| ());
        self.workers.push(Running { status, waiting: Mutex::new(Some(worker)), thread: OnceLock::new() });
        Ok(())
    }

    /// Begins to send. Apart from [`new`](Self::new), for a process with threads cannot enter a user namespace.
    ///
    /// # Errors
    /// The system gives no thread.
    pub fn begin(&self) -> Result<(), ExportError> {
        for running in &self.workers {
            let waiting = running.waiting.lock().unwrap_or_else(PoisonError::into_inner).take();
            let Some(worker) = waiting else { continue };
            let target = running.status.lock().unwrap_or_else(PoisonError::into_inner).to.clone();
            let failed = |source| ExportError::Thread { target: target.clone(), source };
            let runtime =
                tokio::runtime::Builder::new_current_thread().enable_all().build().map_err(failed)?;
            let ended = self.ends.subscribe();
            let thread = std::thread::Builder::new().name("export".to_owned());
            let thread = thread.spawn(move || run(&runtime, worker, ended)).map_err(failed)?;
            let _ = running.thread.set(thread);
        }
        Ok(())
    }

    /// How each target is, in the order in which they were named.
    #[must_use]
    pub fn status(&self) -> Vec<SinkStatus> {
        let read = |status: &Mutex<SinkStatus>| status.lock().unwrap_or_else(PoisonError::into_inner).clone();
        self.workers.iter().map(|running| read(&running.status)).collect()
    }
}

impl Drop for Exports {
    /// What was not sent stays in the ledger.
    fn drop(&mut self) {
        self.ends.send_replace(true);
        for running in &mut self.workers {
            if let Some(thread) = running.thread.take() {
                // A panic there was reported by its thread.
                let _ = thread.join();
            }
        }
    }
}

fn run(runtime: &Runtime, mut worker: Worker, mut ended: watch::Receiver<bool>) {
    runtime.block_on(async {
        loop {
            let step = async {
                let pause = worker.step().await;
                tokio::time::sleep(pause).await;
            };
            tokio::select! {
                // Whoever could end this is gone: so is the reason for it.
                _ = ended.wait_for(|ends| *ends) => return,
                () = step => {}
            }
        }
    });
}

/// What one thread has.
#[derive(Debug)]
struct Worker {
    follower: Follower,
    sink: Sink,
    cursor: Cursor,
    /// Where the cursor is kept.
    kept: PathBuf,
    status: Arc<Mutex<SinkStatus>>,
    /// Entries of the next batch.
    size: usize,
    /// Failures since something was taken last.
    failures: u32,
    /// Whether the target is told how things stand when there is nothing to send.
    is_told: bool,
    /// When it was told something last.
    told: Option<Instant>,
}

impl Worker {
    /// Sends one batch, if there is one; how long to wait before the next.
    async fn step(&mut self) -> Duration {
        let next = match self.follower.next(&mut self.cursor, self.size, now()) {
            Ok(next) => next,
            Err(error) => return self.failed(error.to_string(), None),
        };
        let inside = next.batch.entries.len() as u64;
        self.tell(|status| status.waiting = next.waiting + inside);
        let is_due = self.is_told && self.told.is_none_or(|told| told.elapsed() >= BEAT);
        if next.batch.len() == 0 && !is_due {
            self.failures = 0;
            self.tell(|status| status.problem = None);
            return PACE;
        }
        match self.sink.send(&next.batch).await {
            Outcome::Taken { rejected, says } => {
                self.size = (self.size * 2).min(BATCH);
                self.advance(&next, rejected.min(inside), says)
            }
            Outcome::Never { .. } if next.batch.entries.len() > 1 => {
                // One of them is the reason, most likely.
                self.size = next.batch.entries.len() / 2;
                Duration::ZERO
            }
            // There is nothing to leave out.
            Outcome::Never { why } if next.batch.len() == 0 => self.failed(why, None),
            Outcome::Never { why } => {
                let which = next.batch.entries.first().map_or(0, |stored| stored.id);
                self.advance(&next, inside, Some(format!("entry {which} was refused: {why}")))
            }
            Outcome::Later { why, after } => self.failed(why, after),
            Outcome::Closed => self.failed("nobody reads standard output any more".to_owned(), None),
        }
    }

    /// Goes on after a batch, of which so much was refused.
    fn advance(&mut self, next: &Next, refused: u64, says: Option<String>) -> Duration {
        let Batch { lost, entries, .. } = &next.batch;
        self.told = Some(Instant::now());
        let cursor = &mut self.cursor;
        cursor.last = next.last;
        cursor.sent = cursor.sent.saturating_add((entries.len() as u64).saturating_sub(refused));
        cursor.refused = cursor.refused.saturating_add(refused);
        cursor.lost = cursor.lost.saturating_add(lost.map_or(0, |lost| lost.records));
        self.follower.sent(next.waiting);
        self.failures = 0;
        // They were sent, and are sent again after a restart if this goes on.
        let kept = self.cursor.write(&self.kept);
        let problem = kept.err().map(|error| format!("writing {}: {error}", self.kept.display()));
        self.tell(|status| {
            status.waiting = next.waiting;
            status.problem = problem;
            status.notice = says.or(status.notice.take());
        });
        if next.waiting > 0 { Duration::ZERO } else { PACE }
    }

    fn failed(&mut self, why: String, after: Option<Duration>) -> Duration {
        let pause = pause(self.failures, RandomState::new().hash_one(self.failures));
        self.failures = self.failures.saturating_add(1);
        self.tell(|status| status.problem = Some(why));
        after.map_or(pause, |after| after.max(pause))
    }

    fn tell(&self, change: impl FnOnce(&mut SinkStatus)) {
        let mut status = self.status.lock().unwrap_or_else(PoisonError::into_inner);
        let Cursor { sent, refused, lost, .. } = self.cursor;
        (status.sent, status.refused, status.lost) = (sent, refused, lost);
        change(&mut status);
    }
}

/// How long to wait after so many failures: twice as long each time, and by chance up to half as long again, so that those whom
/// one server failed do not come back together.
pub(crate) fn pause(failures: u32, chance: u64) -> Duration {
    let [first, most] = PAUSE;
    let pause = first.saturating_mul(1 << failures.min(16)).min(most);
    let part = u32::try_from(chance % 1024).unwrap_or(0);
    pause / 2 + pause * part / 2048
}

impl SinkStatus {
    /// The format, where this program knows it.
    #[must_use]
    pub fn known_format(&self) -> Option<Format> {
        Format::ALL.into_iter().find(|format| format.name() == self.format)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn pauses_grow_to_a_minute_and_differ_by_chance() {
        for (failures, least, most) in
            [(0, 500, 1000), (1, 1000, 2000), (5, 16_000, 32_000), (6, 30_000, 60_000), (99, 30_000, 60_000)]
        {
            for (chance, expected) in [(0, least), (1023, most)] {
                let millis = pause(failures, chance).as_millis();
                assert!(millis.abs_diff(expected) <= expected / 100, "{failures} {chance}: {millis}");
            }
        }
    }
}
