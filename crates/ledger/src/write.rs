//! Writing: entries as they come, those that are alike as one.
//!
//! An allowed connection is one of thousands that differ in nothing but their time: such entries have no detail, and those
//! of one window of 15 seconds are one row, which grows until its window ends. Denials, calls and findings stay single.

use crate::batch::{Alike, Batch, Grows};
use crate::chain;
use crate::entry::Entry;
use crate::error::LedgerError;
use crate::retention::{self, Retention};
use crate::schema::{self, PATIENCE, beside};
use crate::words::Words;
use ahash::HashMap;
use rusqlite::{Connection, params};
use std::path::{Path, PathBuf};

/// Entries without detail of one such span are one, in microseconds.
pub const WINDOW: u64 = 15_000_000;
/// How long a window waits for entries that are late, in microseconds.
pub(crate) const LATE: u64 = 15_000_000;
/// Destinations of one source that are told apart; those beyond are one.
pub const EDGES_OF_ONE: u64 = 10_000;
/// What edges to those are counted as, among what is lost.
pub const EDGES_LOST: &str = "edges beyond those that are told apart";
/// Name of all destinations beyond.
pub const OTHER: &str = "(other)";
/// Times a damaged file's name is tried before it is given up.
const ASIDE: usize = 1000;

/// What was found when the file was opened.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Notice {
    /// It was damaged. What was in it is now in the second file.
    PutAside {
        /// What is wrong with it.
        why: String,
        /// Where it is.
        to: PathBuf,
    },
}

/// One ledger, to be written.
#[derive(Debug)]
pub struct Ledger {
    connection: Connection,
    path: PathBuf,
    words: Words,
    /// The rows whose windows are not over.
    open: HashMap<Alike, Grows>,
    /// What SQLite says of the file's state, which changes when others write it.
    version: Option<i64>,
    /// When something was sealed last.
    sealed: Option<u64>,
    /// About how many edges there are: exact when the file was opened, or some were forgotten last.
    edges: u64,
    /// Words that were in use when they were last looked through.
    words_left: i64,
}

impl Ledger {
    /// Opens or makes the ledger in a file. A damaged one is put aside under another name.
    ///
    /// # Errors
    /// The file cannot be read or written, or is something else; see [`LedgerError`].
    pub fn open(path: &Path) -> Result<(Self, Vec<Notice>), LedgerError> {
        match Self::open_as_it_is(path) {
            Ok(ledger) => Ok((ledger, Vec::new())),
            Err(error) if error.is_damage() => {
                let (ledger, notice) = Self::replace(path, &error.to_string())?;
                Ok((ledger, vec![notice]))
            }
            Err(error) => Err(error),
        }
    }

    /// Whether a file could be there at all, without opening it.
    ///
    /// # Errors
    /// It is a folder, or its folder is not there.
    pub fn can_be_at(path: &Path) -> Result<(), LedgerError> {
        if path.is_dir() {
            return Err(LedgerError::Folder { path: path.to_owned() });
        }
        let folder = path.parent().filter(|folder| !folder.as_os_str().is_empty());
        match folder.map(Path::try_exists) {
            Some(Ok(false)) => Err(LedgerError::NoFolder { path: path.to_owned() }),
            // What else is wrong is said by who opens it.
            Some(Ok(true) | Err(_)) | None => Ok(()),
        }
    }

    /// The same for whoever had it open, dropped it, and knows from an error that it is damaged: what is damaged in the middle
    /// shows only when it is read, so that opening the file would not help. `damage` is what the error said; it is taken when
    /// the file was put aside.
    ///
    /// # Errors
    /// As [`Self::open`]; or the file cannot be renamed.
    pub fn open_after(path: &Path, damage: &mut Option<String>) -> Result<(Self, Vec<Notice>), LedgerError> {
        let Some(why) = damage.take() else { return Self::open(path) };
        match Self::replace(path, &why) {
            Ok((ledger, notice)) => Ok((ledger, vec![notice])),
            Err(error) => {
                if matches!(error, LedgerError::Aside { .. }) {
                    *damage = Some(why);
                }
                Err(error)
            }
        }
    }

    fn replace(path: &Path, why: &str) -> Result<(Self, Notice), LedgerError> {
        let to = put_aside(path).map_err(|source| LedgerError::Aside { path: path.to_owned(), source })?;
        Ok((Self::open_as_it_is(path)?, Notice::PutAside { why: why.to_owned(), to }))
    }

    fn open_as_it_is(path: &Path) -> Result<Self, LedgerError> {
        let failed = |doing| move |source| LedgerError::Sqlite { path: path.to_owned(), doing, source };
        Self::can_be_at(path)?;
        let connection = Connection::open(path).map_err(failed("opening it"))?;
        connection.busy_timeout(PATIENCE).map_err(failed("opening it"))?;
        schema::prepare(&connection, path)?;
        chain::newest(&connection).map_err(failed("reading its last block"))?;
        let edges = retention::count_edges(&connection).map_err(failed("counting edges"))?;
        Ok(Self {
            connection,
            path: path.to_owned(),
            words: Words::default(),
            open: HashMap::default(),
            version: None,
            sealed: None,
            edges,
            words_left: 0,
        })
    }

    /// Adds entries, all or none of them. When this returns, they are on the disk.
    ///
    /// # Errors
    /// The disk is full or the file damaged, and none of them is in it; see [`LedgerError::is_damage`].
    pub fn append(&mut self, entries: &[Entry]) -> Result<(), LedgerError> {
        if entries.is_empty() {
            return Ok(());
        }
        self.append_with(entries, |_| Ok(()))
    }

    /// The same, with what could not be added, by what it was: what is counted is counted if the entries are added, and only then.
    ///
    /// # Errors
    /// As [`Self::append`].
    pub fn append_counting(&mut self, entries: &[Entry], lost: &[(&str, u64)]) -> Result<(), LedgerError> {
        if lost.is_empty() {
            return self.append(entries);
        }
        self.append_with(entries, |connection| {
            lost.iter().try_for_each(|(what, count)| lose(connection, what, *count))
        })
    }

    /// The same, with something beside them that is written if they are.
    pub(crate) fn append_with(
        &mut self,
        entries: &[Entry],
        beside: impl FnOnce(&Connection) -> rusqlite::Result<()>,
    ) -> Result<(), LedgerError> {
        let written = self.write(entries, beside);
        if written.is_err() {
            // Numbers of words and rows that did not come into the file.
            self.words.forget();
            self.open.clear();
        }
        written.map_err(|source| self.failed("adding entries", source))
    }

    fn write(
        &mut self,
        entries: &[Entry],
        beside: impl FnOnce(&Connection) -> rusqlite::Result<()>,
    ) -> rusqlite::Result<()> {
        let transaction =
            self.connection.transaction_with_behavior(rusqlite::TransactionBehavior::Immediate)?;
        let version = transaction.pragma_query_value(None, "data_version", |row| row.get(0))?;
        if self.version.replace(version).is_some_and(|before| before != version) {
            // Somebody else wrote it, who may have forgotten words that nothing used.
            self.words.forget();
        }
        // What somebody else sealed does not grow.
        let sealed = chain::newest(&transaction)?.map_or(0, |(_number, last, _hash)| last);
        let mut batch = Batch::default();
        for entry in entries {
            batch.add(entry, |text| self.words.number(&transaction, text))?;
        }
        let fresh = batch.put(&transaction, &mut self.open, &mut self.words, sealed)?;
        beside(&transaction)?;
        transaction.commit()?;
        self.edges += fresh;
        Ok(())
    }

    /// Seals what can be sealed and forgets what is too old or too much. To be called every second or so; `now` is in
    /// microseconds since 1970.
    ///
    /// # Errors
    /// As [`Self::append`]; it is tried again the next time.
    pub fn tend(&mut self, now: u64, retention: &Retention) -> Result<(), LedgerError> {
        // A window that is ahead is none that still grows: a clock was set back, or is wrong. All is judged by the clock as it is: one
        // that was ahead for a while, or one node's of many, must not have windows of others closed or what comes later forgotten.
        self.open.retain(|alike, _| {
            let start = alike.window.saturating_mul(WINDOW);
            start.saturating_add(WINDOW + LATE) > now && start <= now.saturating_add(LATE)
        });
        let limit = self.first_open();
        let is_turn = self.sealed.is_none_or(|sealed| now.abs_diff(sealed) >= chain::PATIENCE);
        let is_due = |oldest: u64| is_turn && now.abs_diff(oldest) >= chain::PATIENCE;
        let tended = (|| {
            if chain::seal(&mut self.connection, limit, is_due)? {
                self.sealed = Some(now);
            }
            retention::forget_edges(&mut self.connection, retention, &mut self.edges)?;
            let words = retention::prune(&mut self.connection, now, retention, &mut self.words_left)?;
            schema::shorten_log(&self.connection, &self.path)?;
            Ok(words)
        })();
        match tended {
            Ok(true) => {
                self.words.forget();
                Ok(())
            }
            Ok(false) => Ok(()),
            Err(source) => Err(self.failed("sealing and pruning", source)),
        }
    }

    /// Seals all that can be, however little it is: not what a window of connections may still add to.
    ///
    /// # Errors
    /// As [`Self::append`].
    pub fn seal(&mut self) -> Result<(), LedgerError> {
        let limit = self.first_open();
        let sealed = chain::seal(&mut self.connection, limit, |_| true);
        sealed.map(drop).map_err(|source| self.failed("sealing", source))
    }

    /// The first row that may still grow.
    fn first_open(&self) -> Option<i64> {
        self.open.values().map(|grows| grows.row).min()
    }

    /// Reads something of the file as it is for who writes it.
    pub(crate) fn reading<T>(
        &self,
        doing: &'static str,
        read: impl FnOnce(&Connection) -> rusqlite::Result<T>,
    ) -> Result<T, LedgerError> {
        read(&self.connection).map_err(|source| self.failed(doing, source))
    }

    fn failed(&self, doing: &'static str, source: rusqlite::Error) -> LedgerError {
        LedgerError::Sqlite { path: self.path.clone(), doing, source }
    }
}

/// The numbers of SQLite have a sign.
pub(crate) fn signed(number: u64) -> i64 {
    i64::try_from(number).unwrap_or(i64::MAX)
}

pub(crate) fn lose(connection: &Connection, what: &str, count: u64) -> rusqlite::Result<()> {
    let add = "INSERT INTO lost VALUES (?1, ?2) ON CONFLICT DO UPDATE SET count = min(count + excluded.count, 9223372036854775807)";
    connection.prepare_cached(add)?.execute(params![what, signed(count)]).map(drop)
}

/// Renames a file and what SQLite keeps beside it.
fn put_aside(path: &Path) -> std::io::Result<PathBuf> {
    let free = (1..ASIDE).map(|number| beside(path, &format!(".damaged-{number}"))).find(|to| !to.exists());
    let to = free.ok_or_else(|| std::io::Error::other("too many damaged ones are there already"))?;
    std::fs::rename(path, &to)?;
    for end in ["-wal", "-shm"] {
        let from = beside(path, end);
        if from.exists() {
            std::fs::rename(from, beside(&to, end))?;
        }
    }
    Ok(to)
}
