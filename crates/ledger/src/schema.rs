//! The tables of the file.
//!
//! Texts that come again and again are numbers of `words`. `entries` are numbered in the order they were written and never
//! changed once a block is sealed over them. `edges` say who ever reached or tried whom. `blocks` are the chain. `lost`
//! counts what is not in the file. Later versions have some more.

use crate::error::LedgerError;
use rusqlite::Connection;
use std::ffi::OsString;
use std::path::{Path, PathBuf};
use std::time::Duration;

/// `application_id` of a ledger: "CFDL".
const APPLICATION: i64 = 0x4346_444c;
const VERSION: i64 = 1;

const TABLES: &str = "
CREATE TABLE words (id INTEGER PRIMARY KEY, text TEXT NOT NULL UNIQUE);
CREATE TABLE entries (
    id INTEGER PRIMARY KEY AUTOINCREMENT,
    time INTEGER NOT NULL, kind INTEGER NOT NULL, verdict INTEGER NOT NULL,
    node INTEGER NOT NULL, source INTEGER NOT NULL, destination INTEGER NOT NULL,
    port INTEGER NOT NULL, protocol INTEGER NOT NULL, rule INTEGER NOT NULL, reason INTEGER NOT NULL,
    count INTEGER NOT NULL, sent INTEGER NOT NULL, received INTEGER NOT NULL, detail TEXT);
CREATE INDEX entries_by_time ON entries (time);
CREATE INDEX entries_by_source ON entries (source, time);
CREATE TABLE edges (
    source INTEGER NOT NULL, destination INTEGER NOT NULL, port INTEGER NOT NULL, protocol INTEGER NOT NULL,
    first INTEGER NOT NULL, last INTEGER NOT NULL, allowed INTEGER NOT NULL, denied INTEGER NOT NULL,
    sent INTEGER NOT NULL, received INTEGER NOT NULL, rule INTEGER NOT NULL,
    PRIMARY KEY (source, destination, port, protocol)) WITHOUT ROWID;
CREATE TABLE blocks (
    number INTEGER PRIMARY KEY, first INTEGER NOT NULL, last INTEGER NOT NULL, newest INTEGER NOT NULL,
    content BLOB NOT NULL, previous BLOB NOT NULL, hash BLOB NOT NULL, pruned INTEGER NOT NULL DEFAULT 0);
CREATE TABLE lost (what TEXT PRIMARY KEY, count INTEGER NOT NULL) WITHOUT ROWID;
";

/// Tables and indexes that came later: programs of before do not miss them. `origin` tells ledgers apart, `joined` says how far those of others are
/// that are joined into this one, `packed` has the numbers of the entries of a block once more, in one value ([`crate::brief`]), and
/// `trails` in one for each source ([`crate::trail`]). `edges_newest` has all of an edge, for whole
/// pages of new ones; `blocks_kept` is there so that those which are forgotten are not gone through again and again.
const LATER: &str = "
CREATE TABLE IF NOT EXISTS origin (id TEXT NOT NULL);
INSERT INTO origin SELECT lower(hex(randomblob(16))) WHERE NOT EXISTS (SELECT 1 FROM origin);
CREATE TABLE IF NOT EXISTS joined (
    node TEXT NOT NULL, ledger TEXT NOT NULL, last INTEGER NOT NULL, taken INTEGER NOT NULL, refused INTEGER NOT NULL,
    lost INTEGER NOT NULL, waiting INTEGER NOT NULL, seen INTEGER NOT NULL, PRIMARY KEY (node, ledger));
CREATE TABLE IF NOT EXISTS packed (block INTEGER PRIMARY KEY, oldest INTEGER NOT NULL, data BLOB NOT NULL);
CREATE TABLE IF NOT EXISTS trails (block INTEGER NOT NULL, source INTEGER NOT NULL, data BLOB NOT NULL, PRIMARY KEY (block, source)) WITHOUT ROWID;
CREATE INDEX IF NOT EXISTS blocks_by_first ON blocks (first);
CREATE INDEX IF NOT EXISTS blocks_kept ON blocks (number) WHERE pruned = 0;
CREATE INDEX IF NOT EXISTS edges_newest ON edges (first, source, destination, port, protocol, last, allowed, denied, sent, received, rule);
DROP INDEX IF EXISTS edges_by_first;
CREATE INDEX IF NOT EXISTS edges_refused ON edges (last) WHERE allowed = 0;
";

/// How long another process may hold the file.
pub(crate) const PATIENCE: Duration = Duration::from_secs(5);
/// KiB of pages that a writer and a reader keep: by source, entries go to as many places at once as there are workloads.
const WRITER_CACHE: i64 = 16 << 10;
const READER_CACHE: i64 = 8 << 10;
/// Statements that are kept ready: a writer has some twenty.
const STATEMENTS: usize = 64;

/// Bytes of the log beside the file that stay when all that is in it is in the file, too.
const LOG: i64 = 16 << 20;
/// From so many on readers are waited for, so that it can begin anew: while one reads after the other, it only grows.
const LONG_LOG: u64 = 64 << 20;
/// How long they are waited for.
const READERS: Duration = Duration::from_millis(200);

/// Has a log that readers kept from beginning anew begin anew, if they let it.
pub(crate) fn shorten_log(connection: &Connection, path: &Path) -> rusqlite::Result<()> {
    let log = std::fs::metadata(beside(path, "-wal"));
    if log.is_ok_and(|log| log.len() > LONG_LOG) {
        connection.busy_timeout(READERS)?;
        // Whoever reads for longer keeps it from that: then it is tried again the next time.
        let tried = connection.query_row("PRAGMA wal_checkpoint(TRUNCATE)", [], |_| Ok(()));
        connection.busy_timeout(PATIENCE)?;
        tried?;
    }
    Ok(())
}

/// The name of what is kept beside a file.
pub(crate) fn beside(path: &Path, end: &str) -> PathBuf {
    let mut name = OsString::from(path);
    name.push(end);
    name.into()
}

/// Has a reader keep what it needs again and again.
pub(crate) fn prepare_reader(connection: &Connection) -> rusqlite::Result<()> {
    connection.set_prepared_statement_cache_capacity(STATEMENTS);
    connection.pragma_update(None, "cache_size", -READER_CACHE)
}

/// Makes the tables where there are none; or says why this file is not to be written.
pub(crate) fn prepare(connection: &Connection, path: &Path) -> Result<(), LedgerError> {
    let failed = |source| LedgerError::Sqlite { path: path.to_owned(), doing: "preparing it", source };
    connection.pragma_update(None, "journal_mode", "WAL").map_err(failed)?;
    connection.pragma_update(None, "synchronous", "FULL").map_err(failed)?;
    connection.pragma_update(None, "journal_size_limit", LOG).map_err(failed)?;
    connection.pragma_update(None, "cache_size", -WRITER_CACHE).map_err(failed)?;
    connection.set_prepared_statement_cache_capacity(STATEMENTS);
    if is_empty(connection).map_err(failed)? {
        let all = format!(
            "BEGIN IMMEDIATE; {TABLES} {LATER} PRAGMA application_id = {APPLICATION}; PRAGMA user_version = {VERSION}; COMMIT;"
        );
        return connection.execute_batch(&all).map_err(failed);
    }
    check(connection, path)?;
    connection.execute_batch(&format!("BEGIN IMMEDIATE; {LATER} COMMIT;")).map_err(failed)
}

/// Whether this is a ledger that can be read here.
pub(crate) fn check(connection: &Connection, path: &Path) -> Result<(), LedgerError> {
    let failed = |source| LedgerError::Sqlite { path: path.to_owned(), doing: "reading its version", source };
    let number =
        |pragma| connection.pragma_query_value(None, pragma, |row| row.get::<_, i64>(0)).map_err(failed);
    if number("application_id")? != APPLICATION {
        return Err(LedgerError::Foreign { path: path.to_owned() });
    }
    match number("user_version")? {
        VERSION => Ok(()),
        found => Err(LedgerError::Newer { path: path.to_owned(), found, known: VERSION }),
    }
}

fn is_empty(connection: &Connection) -> rusqlite::Result<bool> {
    connection.query_row("SELECT count(*) = 0 FROM sqlite_master", [], |row| row.get(0))
}
