//! Writing: entries as they come, those that are alike as one.
//!
//! An allowed connection is one of thousands that differ in nothing but their time: such entries have no detail, and those
//! of one window of 15 seconds are one row, which grows until its window ends. Denials, calls and findings stay single.

use crate::chain;
use crate::entry::{Entry, Kind, Verdict};
use crate::error::LedgerError;
use crate::retention::{self, Retention};
use crate::schema;
use crate::words::Words;
use rusqlite::{Connection, OptionalExtension, params};
use std::collections::HashMap;
use std::ffi::OsString;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

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
/// Windows that are open at once.
const OPEN: usize = 100_000;
/// Times a damaged file's name is tried before it is given up.
const ASIDE: usize = 1000;
/// How long another process may hold the file.
const PATIENCE: Duration = Duration::from_secs(5);

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
    open: HashMap<Alike, i64>,
    /// When something was sealed last.
    sealed: Option<u64>,
    /// About how many edges there are: exact when the file was opened, or some were forgotten last.
    edges: u64,
    /// Words that were in use when they were last looked through.
    words_left: i64,
}

/// What entries of one row have in common; texts by their numbers.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
struct Alike {
    window: u64,
    kind: Kind,
    verdict: Verdict,
    node: i64,
    source: i64,
    destination: i64,
    port: u16,
    protocol: u8,
    rule: i64,
    reason: i64,
}

/// How much.
#[derive(Clone, Copy, Debug)]
struct Amount {
    time: u64,
    count: u64,
    sent: u64,
    received: u64,
}

impl Amount {
    fn of(entry: &Entry) -> Self {
        let Entry { time, count, sent, received, .. } = *entry;
        Self { time, count, sent, received }
    }

    fn add(&mut self, entry: &Entry) {
        self.time = self.time.min(entry.time);
        self.count = self.count.saturating_add(entry.count);
        self.sent = self.sent.saturating_add(entry.sent);
        self.received = self.received.saturating_add(entry.received);
    }
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
            open: HashMap::new(),
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
        let mut sums: HashMap<Alike, Amount> = HashMap::new();
        let mut edges: HashMap<Edge, Reached> = HashMap::new();
        for entry in entries {
            let mut number = |text: &Arc<str>| self.words.number(&transaction, text);
            let alike = Alike {
                window: entry.time / WINDOW,
                kind: entry.kind,
                verdict: entry.verdict,
                node: number(&entry.node)?,
                source: number(&entry.source)?,
                destination: number(&entry.destination)?,
                port: entry.port,
                protocol: entry.protocol,
                rule: number(&entry.rule)?,
                reason: number(&entry.reason)?,
            };
            if let Some(detail) = &entry.detail {
                insert(&transaction, &alike, &Amount::of(entry), Some(detail))?;
            } else {
                let sum = sums.entry(alike);
                sum.and_modify(|sum| sum.add(entry)).or_insert_with(|| Amount::of(entry));
            }
            if has_edge(entry) {
                let edge = Edge {
                    source: alike.source,
                    destination: alike.destination,
                    port: alike.port,
                    protocol: alike.protocol,
                };
                edges.entry(edge).or_insert_with(|| Reached::at(entry.time)).add(entry, alike.rule);
            }
        }
        for (alike, amount) in sums {
            match self.open.get(&alike) {
                Some(row) => grow(&transaction, *row, &amount)?,
                None => {
                    let row = insert(&transaction, &alike, &amount, None)?;
                    if self.open.len() < OPEN {
                        self.open.insert(alike, row);
                    }
                }
            }
        }
        let mut fresh = 0;
        for (edge, reached) in edges {
            fresh += u64::from(note(&transaction, &mut self.words, edge, &reached)?);
        }
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
        let limit = self.open.values().min().copied();
        let is_turn = self.sealed.is_none_or(|sealed| now.abs_diff(sealed) >= chain::PATIENCE);
        let is_due = |oldest: u64| is_turn && now.abs_diff(oldest) >= chain::PATIENCE;
        let tended = (|| {
            if chain::seal(&mut self.connection, limit, is_due)? {
                self.sealed = Some(now);
            }
            retention::forget_edges(&mut self.connection, retention, &mut self.edges)?;
            retention::prune(&mut self.connection, now, retention, &mut self.words_left)
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
        let limit = self.open.values().min().copied();
        let sealed = chain::seal(&mut self.connection, limit, |_| true);
        sealed.map(drop).map_err(|source| self.failed("sealing", source))
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

/// A sum that stays a whole number however large it would be: SQLite makes one of more than 63 bits a fraction, which nobody who
/// reads the file expects.
fn added(column: &str, more: &str) -> String {
    format!("min({column} + {more}, {})", i64::MAX)
}

pub(crate) fn lose(connection: &Connection, what: &str, count: u64) -> rusqlite::Result<()> {
    let add = "INSERT INTO lost VALUES (?1, ?2) ON CONFLICT DO UPDATE SET count = min(count + excluded.count, 9223372036854775807)";
    connection.prepare_cached(add)?.execute(params![what, signed(count)]).map(drop)
}

fn insert(
    connection: &Connection,
    alike: &Alike,
    amount: &Amount,
    detail: Option<&str>,
) -> rusqlite::Result<i64> {
    let add = "INSERT INTO entries (time, kind, verdict, node, source, destination, port, protocol, rule, reason, count, \
               sent, received, detail) VALUES (?1, ?2, ?3, ?4, ?5, ?6, ?7, ?8, ?9, ?10, ?11, ?12, ?13, ?14)";
    let Alike { kind, verdict, node, source, destination, port, protocol, rule, reason, .. } = *alike;
    let Amount { time, count, sent, received } = *amount;
    connection.prepare_cached(add)?.execute(params![
        signed(time),
        kind.number(),
        verdict.number(),
        node,
        source,
        destination,
        port,
        protocol,
        rule,
        reason,
        signed(count),
        signed(sent),
        signed(received),
        detail,
    ])?;
    Ok(connection.last_insert_rowid())
}

fn grow(connection: &Connection, row: i64, amount: &Amount) -> rusqlite::Result<()> {
    let grow = format!(
        "UPDATE entries SET time = min(time, ?2), count = {}, sent = {}, received = {} WHERE id = ?1",
        added("count", "?3"),
        added("sent", "?4"),
        added("received", "?5")
    );
    let Amount { time, count, sent, received } = *amount;
    connection
        .prepare_cached(&grow)?
        .execute(params![row, signed(time), signed(count), signed(sent), signed(received)])
        .map(drop)
}

/// Who reaches whom.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
struct Edge {
    source: i64,
    destination: i64,
    port: u16,
    protocol: u8,
}

#[derive(Clone, Copy, Debug)]
struct Reached {
    first: u64,
    last: u64,
    allowed: u64,
    denied: u64,
    sent: u64,
    received: u64,
    rule: i64,
}

impl Reached {
    fn at(time: u64) -> Self {
        Self { first: time, last: time, allowed: 0, denied: 0, sent: 0, received: 0, rule: 0 }
    }

    fn add(&mut self, entry: &Entry, rule: i64) {
        self.first = self.first.min(entry.time);
        if entry.time >= self.last {
            (self.last, self.rule) = (entry.time, rule);
        }
        match entry.verdict {
            Verdict::Allow => self.allowed = self.allowed.saturating_add(entry.count),
            Verdict::Deny | Verdict::Fail | Verdict::None => {
                self.denied = self.denied.saturating_add(entry.count);
            }
        }
        self.sent = self.sent.saturating_add(entry.sent);
        self.received = self.received.saturating_add(entry.received);
    }
}

/// Only connections lead somewhere; what else is told of them would count them twice.
fn has_edge(entry: &Entry) -> bool {
    entry.kind == Kind::Flow && !entry.destination.is_empty()
}

/// Whether it is one more.
fn note(connection: &Connection, words: &mut Words, edge: Edge, reached: &Reached) -> rusqlite::Result<bool> {
    let Edge { source, mut destination, port, protocol } = edge;
    let Reached { first, last, allowed, denied, sent, received, rule } = *reached;
    let known = "SELECT 1 FROM edges WHERE source = ?1 AND destination = ?2 AND port = ?3 AND protocol = ?4";
    let known = connection
        .prepare_cached(known)?
        .query_row(params![source, destination, port, protocol], |_| Ok(()))
        .optional()?;
    if known.is_none() {
        let many = "SELECT count(*) FROM (SELECT 1 FROM edges WHERE source = ?1 LIMIT ?2)";
        let held: i64 = connection
            .prepare_cached(many)?
            .query_row(params![source, signed(EDGES_OF_ONE)], |row| row.get(0))?;
        if held >= signed(EDGES_OF_ONE) {
            destination = words.number(connection, &OTHER.into())?;
            lose(connection, EDGES_LOST, 1)?;
        }
    }
    // Of two that are joined the one that is added last may be older.
    let add = format!(
        "INSERT INTO edges VALUES (?1, ?2, ?3, ?4, ?5, ?6, ?7, ?8, ?9, ?10, ?11) \
         ON CONFLICT DO UPDATE SET first = min(first, excluded.first), last = max(last, excluded.last), \
         allowed = {}, denied = {}, sent = {}, received = {}, \
         rule = CASE WHEN excluded.last >= last THEN excluded.rule ELSE rule END",
        added("allowed", "excluded.allowed"),
        added("denied", "excluded.denied"),
        added("sent", "excluded.sent"),
        added("received", "excluded.received")
    );
    connection
        .prepare_cached(&add)?
        .execute(params![
            source,
            destination,
            port,
            protocol,
            signed(first),
            signed(last),
            signed(allowed),
            signed(denied),
            signed(sent),
            signed(received),
            rule
        ])
        .map(|_| known.is_none())
}

/// Renames a file and what SQLite keeps beside it.
fn put_aside(path: &Path) -> std::io::Result<PathBuf> {
    let beside = |end: String| {
        let mut name = OsString::from(path);
        name.push(end);
        PathBuf::from(name)
    };
    let free = (1..ASIDE).map(|number| beside(format!(".damaged-{number}"))).find(|to| !to.exists());
    let to = free.ok_or_else(|| std::io::Error::other("too many damaged ones are there already"))?;
    std::fs::rename(path, &to)?;
    for end in ["-wal", "-shm"] {
        let from = beside(end.to_owned());
        if from.exists() {
            let mut name = OsString::from(&to);
            name.push(end);
            std::fs::rename(from, PathBuf::from(name))?;
        }
    }
    Ok(to)
}
