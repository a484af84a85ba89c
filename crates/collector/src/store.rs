//! The ledger that all is joined in, and its one writer.
//!
//! Guarantees: what failed left nothing behind; a damaged file is put aside, and a new one begun. Does not: wait for anything but
//! the disk.

use ledger::{Entry, Ledger, LedgerError, Notice, Parcel, Receipt, Retention};
use observe::Time;
use std::path::{Path, PathBuf};
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::SystemTime;

/// Notices that are kept; the first ones.
const NOTICES: usize = 16;

/// One ledger, written by whoever has this. Calls wait for the disk.
#[derive(Debug)]
pub struct Store {
    path: PathBuf,
    retention: Retention,
    inner: Mutex<Inner>,
}

#[derive(Debug)]
struct Inner {
    /// `None`: it was damaged, and is opened anew.
    ledger: Option<Ledger>,
    /// What is wrong with the file, until it is put aside.
    damage: Option<String>,
    standing: Standing,
}

/// What one call wrote.
#[derive(Clone, Copy, Debug, Default)]
struct Written {
    entries: u64,
    denied: u64,
}

/// How the file is.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Standing {
    /// Entries that were written since the process began.
    pub written: u64,
    /// Connections that they say were denied.
    pub denied: u64,
    /// Why nothing is written at the moment.
    pub problem: Option<String>,
    /// What was found and mended.
    pub notices: Vec<String>,
}

impl Store {
    /// Opens or makes the file.
    ///
    /// # Errors
    /// It cannot be read or written, or is something else.
    pub fn open(path: &Path, retention: Retention) -> Result<Self, LedgerError> {
        let mut inner = Inner { ledger: None, damage: None, standing: Standing::default() };
        inner.open(path)?;
        Ok(Self { path: path.to_owned(), retention, inner: Mutex::new(inner) })
    }

    /// The file.
    pub fn path(&self) -> &Path {
        &self.path
    }

    /// How it is.
    pub fn standing(&self) -> Standing {
        self.lock().standing.clone()
    }

    /// Adds what another ledger hands over.
    ///
    /// # Errors
    /// Nothing of it was added; see [`Ledger::join`].
    pub fn join(&self, parcel: &Parcel) -> Result<Receipt, LedgerError> {
        self.with(|ledger| {
            let receipt = ledger.join(parcel, now())?;
            Ok((Written { entries: receipt.taken, denied: receipt.denied }, receipt))
        })
    }

    /// Adds entries of its own.
    ///
    /// # Errors
    /// None of them was added; see [`Ledger::append`].
    pub fn write(&self, entries: &[Entry]) -> Result<(), LedgerError> {
        let written = Written { entries: entries.len() as u64, denied: 0 };
        self.with(|ledger| ledger.append(entries).map(|()| (written, ())))
    }

    /// Seals and forgets. To be called every second or so.
    ///
    /// # Errors
    /// See [`Ledger::tend`]; it is tried again the next time.
    pub fn tend(&self) -> Result<(), LedgerError> {
        self.with(|ledger| ledger.tend(now(), &self.retention).map(|()| (Written::default(), ())))
    }

    /// Seals all that can be.
    ///
    /// # Errors
    /// See [`Ledger::seal`].
    pub fn seal(&self) -> Result<(), LedgerError> {
        self.with(|ledger| ledger.seal().map(|()| (Written::default(), ())))
    }

    fn with<T>(
        &self,
        act: impl FnOnce(&mut Ledger) -> Result<(Written, T), LedgerError>,
    ) -> Result<T, LedgerError> {
        let mut inner = self.lock();
        let done = inner.open(&self.path).and_then(act);
        match done {
            Ok((written, given)) => {
                let standing = &mut inner.standing;
                standing.written = standing.written.saturating_add(written.entries);
                standing.denied = standing.denied.saturating_add(written.denied);
                standing.problem = None;
                Ok(given)
            }
            Err(error) => {
                if error.is_damage() {
                    inner.ledger = None;
                    inner.damage = Some(error.to_string());
                }
                inner.standing.problem = Some(error.to_string());
                Err(error)
            }
        }
    }

    /// A panic elsewhere leaves a ledger whose transaction did not end, and is worth using.
    fn lock(&self) -> MutexGuard<'_, Inner> {
        self.inner.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Inner {
    fn open(&mut self, path: &Path) -> Result<&mut Ledger, LedgerError> {
        if let Some(ledger) = self.ledger.take() {
            return Ok(self.ledger.insert(ledger));
        }
        let (ledger, notices) = Ledger::open_after(path, &mut self.damage)?;
        for Notice::PutAside { why, to } in notices {
            if self.standing.notices.len() < NOTICES {
                self.standing.notices.push(format!("{why}; what was in it is in {}", to.display()));
            }
        }
        Ok(self.ledger.insert(ledger))
    }
}

/// Microseconds since 1970.
pub(crate) fn now() -> u64 {
    Time::from(SystemTime::now()).0
}
