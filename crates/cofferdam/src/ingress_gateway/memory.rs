//! What an ingress gateway remembers over a restart: what consumers used of their limits, and tools as they were seen first.
//!
//! Enters: a folder, and what the gateway counts. Leaves: two files in it, and what they held when the process before ended.
//! Guarantees: a file is replaced whole; one process has a folder at a time; a file that cannot be read ends the start. Of a
//! process that is killed, what was counted in the last [`EVERY`] may be missing; of one that ends in order, nothing. Does not:
//! share anything with other gateways; the store of shared budgets does.

use admit::{Kept, KeptTool, Ledger, Pins};
use anyhow::{Context, Result, bail};
use serde::Serialize;
use serde::de::DeserializeOwned;
use std::fs::{self, File, OpenOptions, TryLockError};
use std::io::{ErrorKind, Write};
use std::os::unix::fs::OpenOptionsExt;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, PoisonError, Weak};
use std::time::{Duration, SystemTime, UNIX_EPOCH};

/// How often it is written.
const EVERY: Duration = Duration::from_secs(1);
/// Files of the folder.
const LIMITS: &str = "limits.json";
const TOOLS: &str = "tools.json";
const LOCK: &str = "lock";
/// Largest file that is read, in bytes: as many accounts and tools as there may be, with names as long as they may be.
const MOST_READ: u64 = 1 << 30;

/// What is remembered.
#[derive(Debug)]
pub(super) struct Memory {
    folder: PathBuf,
    ledger: Arc<Ledger>,
    pins: Arc<Pins>,
    /// One at a time writes.
    writing: Mutex<()>,
    problem: Mutex<Option<String>>,
    /// Held as long as the process has the folder.
    _lock: File,
}

impl Memory {
    /// Takes over what was remembered, and remembers from now on until it is dropped.
    pub(super) fn start(folder: &Path, ledger: &Arc<Ledger>, pins: &Arc<Pins>) -> Result<Arc<Self>> {
        fs::create_dir_all(folder).with_context(|| format!("making the folder {}", folder.display()))?;
        let lock = locked(&folder.join(LOCK))?;
        let limits: Vec<Kept> = read(&folder.join(LIMITS), "limits")?;
        let tools: Vec<KeptTool> = read(&folder.join(TOOLS), "tools of MCP servers")?;
        ledger.restore(limits, seconds());
        pins.restore(tools);
        let memory = Arc::new(Self {
            folder: folder.to_owned(),
            ledger: Arc::clone(ledger),
            pins: Arc::clone(pins),
            writing: Mutex::default(),
            problem: Mutex::default(),
            _lock: lock,
        });
        // A folder that cannot be written is told now, and not when it is too late.
        ledger.unkept();
        memory.keep();
        if let Some(problem) = memory.problem() {
            bail!(problem);
        }
        let remembering = Arc::downgrade(&memory);
        std::thread::Builder::new()
            .name("memory".into())
            .spawn(move || remember(&remembering))
            .context("starting the thread that remembers")?;
        Ok(memory)
    }

    /// Writes what changed.
    pub(super) fn keep(&self) {
        let _alone = self.writing.lock().unwrap_or_else(PoisonError::into_inner);
        let mut problem = Ok(());
        if let Some(limits) = self.ledger.kept(seconds()) {
            problem = self.write(LIMITS, &limits).inspect_err(|_| self.ledger.unkept());
        }
        if let Some(tools) = self.pins.kept() {
            problem = problem.and(self.write(TOOLS, &tools).inspect_err(|_| self.pins.unkept()));
        }
        let problem = problem.err().map(|error| format!("{error:#}"));
        *self.problem.lock().unwrap_or_else(PoisonError::into_inner) = problem;
    }

    /// Why what changed is not written.
    pub(super) fn problem(&self) -> Option<String> {
        self.problem.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }

    fn write<T: Serialize>(&self, name: &str, all: &[T]) -> Result<()> {
        let path = self.folder.join(name);
        let writing = || format!("writing {}", path.display());
        let new = path.with_extension("new");
        let mut file = OpenOptions::new()
            .write(true)
            .create(true)
            .truncate(true)
            .mode(0o600)
            .open(&new)
            .with_context(writing)?;
        file.write_all(&serde_json::to_vec(all)?).with_context(writing)?;
        // Else a machine that loses its power may have an empty file of that name.
        file.sync_data().with_context(writing)?;
        fs::rename(&new, &path).with_context(writing)
    }
}

fn seconds() -> u64 {
    SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default().as_secs()
}

fn remember(memory: &Weak<Memory>) {
    loop {
        std::thread::sleep(EVERY);
        let Some(memory) = memory.upgrade() else { return };
        memory.keep();
    }
}

fn locked(path: &Path) -> Result<File> {
    let opening = || format!("opening {}", path.display());
    let file = OpenOptions::new().write(true).create(true).truncate(false).mode(0o600).open(path);
    let file = file.with_context(opening)?;
    match file.try_lock() {
        Ok(()) => Ok(file),
        Err(TryLockError::WouldBlock) => {
            bail!("{}: another process has this folder; give each gateway one of its own", path.display())
        }
        Err(TryLockError::Error(error)) => Err(error).with_context(opening),
    }
}

/// What a file holds; nothing where there is none.
fn read<T: DeserializeOwned>(path: &Path, what: &str) -> Result<Vec<T>> {
    let shown = path.display();
    match fs::metadata(path) {
        Ok(found) if found.len() > MOST_READ => bail!("{shown} has more than {MOST_READ} bytes"),
        Ok(_) => {}
        Err(error) if error.kind() == ErrorKind::NotFound => return Ok(Vec::new()),
        Err(error) => return Err(error).with_context(|| format!("reading {shown}")),
    }
    let bytes = fs::read(path).with_context(|| format!("reading {shown}"))?;
    serde_json::from_slice(&bytes)
        .with_context(|| format!("{shown} is not what was written there; remove it to begin {what} anew"))
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, reason = "in a test a panic is the failure report")]

    use super::*;
    use crds::{Definitions, Unpinned};

    #[test]
    fn a_folder_is_one_processes_and_what_cannot_be_read_ends_the_start() {
        let folder = tempfile::tempdir().unwrap();
        let start = || Memory::start(folder.path(), &Arc::default(), &Arc::default());
        let first = start().unwrap();
        let told = start().unwrap_err().to_string();
        assert!(told.contains("another process"), "{told}");
        drop(first);
        fs::write(folder.path().join(LIMITS), "nonsense").unwrap();
        let told = start().unwrap_err().to_string();
        assert!(told.contains("limits.json") && told.contains("remove it"), "{told}");
    }

    #[test]
    fn tools_are_what_they_were_seen_as_first_also_after_the_process() {
        let folder = tempfile::tempdir().unwrap();
        let policy = Definitions { pins: [].into(), others: Unpinned::TrustOnFirstUse };
        let pins: Arc<Pins> = Arc::default();
        let memory = Memory::start(folder.path(), &Arc::default(), &pins).unwrap();
        assert!(pins.listed(&policy, "server", "search", [1; 32]).is_usable());
        memory.keep();
        drop(memory);
        let next: Arc<Pins> = Arc::default();
        let _memory = Memory::start(folder.path(), &Arc::default(), &next).unwrap();
        assert!(!next.listed(&policy, "server", "search", [2; 32]).is_usable());
        assert!(next.listed(&policy, "server", "search", [1; 32]).is_usable());
    }
}
