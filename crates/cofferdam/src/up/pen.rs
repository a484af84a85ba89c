//! What the journal hears, kept in a ledger by a thread of its own.
//!
//! Enters: records, as the journal gets them. Leaves: a file. Guarantees: whoever brings a record never waits for the disk;
//! what the disk does not take is tried again; what finds no room meanwhile is counted, in the status and, once it can be
//! written, in the file. Does not: enforce, or stop anything that does.

use super::calls::ApiCall;
use super::finding::Finding;
use super::lookup::Lookup;
use super::passage::Passage;
use ::ledger::{Entry, Kind, Ledger, Notice, Retention, Verdict};
use anyhow::{Context, Result};
use export::{Exports, SinkStatus};
use observe::{End, Record};
use serde::{Deserialize, Serialize};
use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::mpsc::{Receiver, RecvTimeoutError, SyncSender, sync_channel};
use std::sync::{Arc, Condvar, Mutex, MutexGuard, OnceLock, PoisonError};
use std::thread::JoinHandle;
use std::time::{Duration, Instant, SystemTime};

/// Records that wait for the disk.
const QUEUE: usize = 65_536;
/// Most of them that are written at once.
const BATCH: usize = 8192;
/// How often is written what came.
const PACE: Duration = Duration::from_millis(500);
/// How long after a failure it is tried again.
const PAUSE: Duration = Duration::from_secs(5);
/// How long somebody waits until all is sealed.
const PATIENCE: Duration = Duration::from_secs(5);
/// Port of DNS.
const DNS: u16 = 53;
const TCP: u8 = 6;
const UDP: u8 = 17;

/// How the ledger is.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct LedgerStatus {
    /// The file.
    pub(crate) path: PathBuf,
    /// Records that were written since the process began.
    pub(crate) written: u64,
    /// Records for which there was no room.
    pub(crate) lost: u64,
    /// Why nothing is written at the moment.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(crate) problem: Option<String>,
    /// What was found and mended.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub(crate) notices: Vec<String>,
    /// Where it is exported to.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub(crate) exports: Vec<SinkStatus>,
}

/// Writes a ledger.
#[derive(Debug)]
pub(crate) struct Pen {
    entries: Option<SyncSender<Entry>>,
    shared: Arc<Shared>,
    /// What will be the thread, until it is.
    waiting: Mutex<Option<(Hand, Receiver<Entry>)>>,
    thread: OnceLock<JoinHandle<()>>,
    /// Follow what is written.
    exports: Option<Exports>,
}

#[derive(Debug)]
struct Shared {
    path: PathBuf,
    /// Records that were handed to the thread.
    kept: AtomicU64,
    written: AtomicU64,
    lost: AtomicU64,
    /// The process ends: what cannot be written is given up.
    ends: AtomicBool,
    state: Mutex<State>,
    /// Something was written, or sealed because somebody asked.
    done: Condvar,
}

#[derive(Debug, Default)]
struct State {
    problem: Option<String>,
    notices: Vec<String>,
    /// What others lost, and how often, that the file does not know of yet.
    elsewhere: BTreeMap<&'static str, u64>,
    /// How often somebody wanted all to be sealed, and how many of these it was.
    wanted: u64,
    sealed: u64,
}

impl Shared {
    fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn change(&self, change: impl FnOnce(&mut State)) {
        change(&mut self.state());
    }

    fn take_elsewhere(&self) -> BTreeMap<&'static str, u64> {
        std::mem::take(&mut self.state().elsewhere)
    }
}

impl Pen {
    /// One that keeps records until it begins to write them: a process with threads cannot enter a user namespace, as a lab may.
    pub(crate) fn new(path: &Path, retention: Retention) -> Self {
        let (entries, received) = sync_channel(QUEUE);
        // Told from the start; whether it can be opened shows when it is.
        let problem = Ledger::can_be_at(path).err().map(|error| error.to_string());
        let shared = Arc::new(Shared {
            path: path.to_owned(),
            kept: AtomicU64::new(0),
            written: AtomicU64::new(0),
            lost: AtomicU64::new(0),
            ends: AtomicBool::new(false),
            state: Mutex::new(State { problem, ..State::default() }),
            done: Condvar::new(),
        });
        let hand =
            Hand { shared: Arc::clone(&shared), retention, ledger: None, damage: None, told: 0, sealed: 0 };
        let waiting = Mutex::new(Some((hand, received)));
        Self { entries: Some(entries), shared, waiting, thread: OnceLock::new(), exports: None }
    }

    /// Begins to write. A file that cannot be opened is tried again, and shows in the status.
    ///
    /// # Errors
    /// The system gives no thread.
    pub(crate) fn begin(&self) -> Result<()> {
        let waiting = self.waiting.lock().unwrap_or_else(PoisonError::into_inner).take();
        let Some((hand, received)) = waiting else { return Ok(()) };
        let thread = std::thread::Builder::new().name("ledger".to_owned());
        let thread = thread.spawn(move || hand.run(&received)).context("starting the ledger's thread")?;
        let _ = self.thread.set(thread);
        self.exports.as_ref().map_or(Ok(()), Exports::begin).context("--export")
    }

    /// The same, with what is written exported by others, once it is begun.
    pub(crate) fn exported(mut self, exports: Option<Exports>) -> Self {
        self.exports = exports;
        self
    }

    /// How it is.
    pub(crate) fn status(&self) -> LedgerStatus {
        let state = self.shared.state();
        LedgerStatus {
            path: self.shared.path.clone(),
            written: self.shared.written.load(Ordering::Relaxed),
            lost: self.shared.lost.load(Ordering::Relaxed),
            problem: state.problem.clone(),
            notices: state.notices.clone(),
            exports: self.exports.as_ref().map(Exports::status).unwrap_or_default(),
        }
    }

    /// Keeps one record.
    pub(crate) fn write(&self, entry: Entry) {
        let is_kept = self.entries.as_ref().is_some_and(|entries| entries.try_send(entry).is_ok());
        let counter = if is_kept { &self.shared.kept } else { &self.shared.lost };
        counter.fetch_add(1, Ordering::Relaxed);
    }

    /// Waits for a while until all that was kept until now is in the file. False: it is not there yet.
    pub(crate) fn settle(&self) -> bool {
        let kept = self.shared.kept.load(Ordering::Relaxed);
        let is_missing = |_: &mut State| self.shared.written.load(Ordering::Relaxed) < kept;
        let waited = self.shared.done.wait_timeout_while(self.shared.state(), PATIENCE, is_missing);
        !waited.unwrap_or_else(PoisonError::into_inner).1.timed_out()
    }

    /// Has all that was kept until now written and sealed, as far as it can be, and waits for that for a while.
    pub(crate) fn seal(&self) {
        let mut state = self.shared.state();
        state.wanted += 1;
        let wanted = state.wanted;
        // Who waits in vain has what is sealed by then; what is not shows in what is made of it.
        let _ = self.shared.done.wait_timeout_while(state, PATIENCE, |state| state.sealed < wanted);
    }

    /// Counts in the file what others lost.
    pub(crate) fn lose(&self, what: &'static str, count: u64) {
        self.shared.change(|state| *state.elsewhere.entry(what).or_default() += count);
    }
}

impl Drop for Pen {
    /// Writes what waits.
    fn drop(&mut self) {
        self.shared.ends.store(true, Ordering::Relaxed);
        self.entries = None;
        if let Some(thread) = self.thread.take() {
            // A panic there was reported by its thread.
            let _ = thread.join();
        }
    }
}

/// What the thread has.
#[derive(Debug)]
struct Hand {
    shared: Arc<Shared>,
    retention: Retention,
    ledger: Option<Ledger>,
    /// What is wrong with the file, until it is put aside.
    damage: Option<String>,
    /// Of the lost, those that the file knows of.
    told: u64,
    /// For how many of those who wanted it all was sealed.
    sealed: u64,
}

impl Hand {
    fn run(mut self, received: &Receiver<Entry>) {
        let mut waiting = Vec::new();
        let mut paused: Option<Instant> = None;
        loop {
            let is_last = collect(received, &mut waiting);
            let ends = is_last || self.shared.ends.load(Ordering::Relaxed);
            if paused.is_none_or(|until| Instant::now() >= until || ends) {
                paused = match self.write(&waiting) {
                    Ok(()) => {
                        let count = waiting.len() as u64;
                        self.shared.change(|_| _ = self.shared.written.fetch_add(count, Ordering::Relaxed));
                        self.shared.done.notify_all();
                        waiting.clear();
                        None
                    }
                    Err(error) => {
                        self.shared.change(|state| state.problem = Some(format!("{error:#}")));
                        Some(Instant::now() + PAUSE)
                    }
                };
            }
            if is_last || (ends && paused.is_some()) {
                return;
            }
        }
    }

    fn write(&mut self, waiting: &[Entry]) -> Result<()> {
        if self.ledger.is_none() {
            let (ledger, notices) = Ledger::open_after(&self.shared.path, &mut self.damage)?;
            self.ledger = Some(ledger);
            for Notice::PutAside { why, to } in notices {
                let notice = format!("{why}; what was in it is in {}", to.display());
                crate::control::complain(notice.clone());
                self.shared.change(|state| state.notices.push(notice));
            }
        }
        let Some(ledger) = &mut self.ledger else { return Ok(()) };
        let lost = self.shared.lost.load(Ordering::Relaxed);
        let own = Some(("records for which there was no room", lost.saturating_sub(self.told)));
        let elsewhere = self.shared.take_elsewhere();
        let missing: Vec<(&str, u64)> = elsewhere
            .iter()
            .map(|(what, count)| (*what, *count))
            .chain(own.filter(|(_, count)| *count > 0))
            .collect();
        let written = ledger.append_counting(waiting, &missing);
        match &written {
            Ok(()) => self.told = lost,
            // What cannot be counted now is counted with the next.
            Err(_) => self.shared.change(|state| {
                for (what, count) in elsewhere {
                    *state.elsewhere.entry(what).or_default() += count;
                }
            }),
        }
        // What cannot be sealed or forgotten now can be the next time; what was written is.
        let wanted = self.shared.state().wanted;
        let is_wanted = wanted > self.sealed;
        let tended = match ledger.tend(now(), &self.retention) {
            Ok(()) if is_wanted && written.is_ok() => ledger.seal(),
            tended => tended,
        };
        let damage =
            [&written, &tended].into_iter().find_map(|done| done.as_ref().err().filter(|it| it.is_damage()));
        if let Some(error) = damage {
            // The next time another is begun.
            self.damage = Some(error.to_string());
            self.ledger = None;
        }
        written?;
        if is_wanted && tended.is_ok() {
            self.sealed = wanted;
            self.shared.change(|state| state.sealed = wanted);
            self.shared.done.notify_all();
        }
        self.shared.change(|state| state.problem = tended.err().map(|error| error.to_string()));
        Ok(())
    }
}

/// Waits for records, and takes what is there. True: there will be no more.
fn collect(received: &Receiver<Entry>, waiting: &mut Vec<Entry>) -> bool {
    if waiting.len() >= BATCH {
        // They could not be written, and come before all others.
        std::thread::sleep(PACE);
        return false;
    }
    let end = Instant::now() + PACE;
    while waiting.len() < BATCH {
        match received.recv_timeout(end.saturating_duration_since(Instant::now())) {
            Ok(entry) => waiting.push(entry),
            Err(RecvTimeoutError::Timeout) => return false,
            Err(RecvTimeoutError::Disconnected) => return true,
        }
    }
    false
}

fn now() -> u64 {
    observe::Time::from(SystemTime::now()).0
}

/// The record as JSON, without the number that another store gives it.
fn detail(record: &impl Serialize) -> Option<String> {
    let mut value = serde_json::to_value(record).ok()?;
    value.as_object_mut()?.remove("sequence");
    Some(value.to_string())
}

fn of(verdict: policy::Verdict) -> Verdict {
    match verdict {
        policy::Verdict::Allow => Verdict::Allow,
        policy::Verdict::Deny => Verdict::Deny,
    }
}

fn who(from: Option<&End>, address: impl ToString) -> Arc<str> {
    from.map_or_else(|| address.to_string(), End::workload).into()
}

/// The word that JSON has for something.
fn word(value: impl Serialize) -> Arc<str> {
    let value = serde_json::to_value(value).unwrap_or_default();
    value.as_str().unwrap_or_default().into()
}

fn some(rule: Option<&Arc<str>>) -> Arc<str> {
    rule.map_or_else(|| "".into(), Arc::clone)
}

/// What the ledger keeps of a record.
pub(crate) trait Recorded {
    /// The entry.
    fn entry(&self) -> Entry;
}

impl Recorded for Record {
    fn entry(&self) -> Entry {
        let traffic = self.traffic.unwrap_or_default();
        Entry {
            time: self.time.0,
            node: Arc::clone(&self.node),
            source: self.from.workload().into(),
            destination: self.to.called().into(),
            port: self.port,
            protocol: self.protocol.0,
            rule: self.rule().map(ToString::to_string).unwrap_or_default().into(),
            reason: word(self.reason),
            count: match self.kind {
                observe::Kind::Open | observe::Kind::Deny => 1 + self.suppressed,
                // It was counted when it was opened.
                observe::Kind::Close => 0,
            },
            sent: traffic.bytes_sent,
            received: traffic.bytes_received,
            detail: (self.verdict == policy::Verdict::Deny || self.differs()).then(|| detail(self)).flatten(),
            ..Entry::new(Kind::Flow, of(self.verdict))
        }
    }
}

impl Recorded for Lookup {
    fn entry(&self) -> Entry {
        let query = &self.query;
        let verdict = match query.verdict {
            dns::Verdict::Allow => Verdict::Allow,
            dns::Verdict::Deny => Verdict::Deny,
            dns::Verdict::Fail => Verdict::Fail,
        };
        Entry {
            time: query.time.0,
            node: Arc::clone(&self.node),
            source: who(self.from.as_ref(), query.pod),
            destination: Arc::from(&*query.name),
            port: DNS,
            protocol: match query.transport {
                dns::Transport::Udp => UDP,
                dns::Transport::Tcp => TCP,
            },
            rule: some(query.rule.as_ref()),
            reason: word(query.reason),
            detail: (verdict == Verdict::Deny).then(|| detail(self)).flatten(),
            ..Entry::new(Kind::Dns, verdict)
        }
    }
}

impl Recorded for Passage {
    fn entry(&self) -> Entry {
        let record = &self.record;
        Entry {
            time: record.time.0,
            node: Arc::clone(&self.node),
            source: who(self.from.as_ref(), record.pod.ip()),
            destination: self.whom().into(),
            port: record.destination.port(),
            protocol: TCP,
            rule: some(record.rule.as_ref()),
            reason: word(record.reason),
            sent: record.bytes_up,
            received: record.bytes_down,
            detail: (record.verdict == policy::Verdict::Deny).then(|| detail(self)).flatten(),
            ..Entry::new(Kind::Tls, of(record.verdict))
        }
    }
}

impl Recorded for ApiCall {
    fn entry(&self) -> Entry {
        let call = &self.call;
        Entry {
            time: call.time.0,
            node: Arc::clone(&self.node),
            source: who(self.from.as_ref(), call.pod.ip()),
            destination: call.name.as_str().into(),
            port: call.destination.port(),
            protocol: TCP,
            rule: some(call.rule.as_ref().or(call.nearest.as_ref())),
            reason: word(call.reason),
            sent: call.bytes_up,
            received: call.bytes_down,
            detail: detail(self),
            ..Entry::new(Kind::AiCall, of(call.verdict))
        }
    }
}

impl Recorded for Finding {
    fn entry(&self) -> Entry {
        let told = &self.told;
        Entry {
            // When it was told: what was told before under its id came earlier.
            time: told.until.0,
            node: some(told.node.as_ref()),
            source: Arc::clone(&told.workload),
            destination: told.subject.as_str().into(),
            rule: some(told.rule.as_ref()),
            reason: (*told.detector).into(),
            detail: detail(self),
            ..Entry::new(Kind::Finding, Verdict::None)
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use ::ledger::{EntryFilter, Reader};

    #[test]
    fn what_is_settled_is_there_for_whoever_reads_next() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("ledger.db");
        let pen = Pen::new(&path, Retention::default());
        pen.begin().unwrap();
        assert!(pen.settle(), "nothing was kept, so nothing is missing");
        for count in 1..4 {
            // What is too old is forgotten at once, and what is alike is summed up.
            let entry = Entry::new(Kind::Audit, Verdict::None);
            pen.write(Entry { time: now(), destination: count.to_string().into(), ..entry });
            assert!(pen.settle());
            let entries = Reader::open(&path).unwrap().entries(&EntryFilter::default()).unwrap();
            assert_eq!(entries.len() as u64, count);
        }
    }
}
