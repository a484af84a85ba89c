//! One ledger, to be read, while it is written.
//!
//! Enters: the file. Leaves: a connection that others ask: for entries ([`crate::entries`]), edges ([`crate::edges`]), and sums
//! ([`crate::top`], [`crate::sums`]). Guarantees: nothing is written, not even beside a file that nobody can write.

use crate::error::LedgerError;
use crate::schema::{self, PATIENCE, beside};
use crate::words::Texts;
use rusqlite::types::Value;
use rusqlite::{Connection, ErrorCode, OpenFlags, Row, params_from_iter};
use std::cell::{RefCell, RefMut};
use std::ffi::{OsStr, OsString};
use std::fmt::Write as _;
use std::path::{Path, PathBuf};

/// Most rows of one answer.
pub const MOST: usize = 10_000;
/// Bytes of texts that whoever answers others asks for at once: what nodes hand over may be a thousand times as long as what they
/// have to say.
pub const TEXTS: usize = 16 << 20;

/// One ledger, to be read.
#[derive(Debug)]
pub struct Reader {
    connection: Connection,
    path: PathBuf,
    texts: RefCell<Texts>,
}

impl Reader {
    /// Opens a ledger to read. On a disk that cannot be written one can be read that was closed as it should be.
    ///
    /// # Errors
    /// There is none, or it cannot be read.
    pub fn open(path: &Path) -> Result<Self, LedgerError> {
        if matches!(path.try_exists(), Ok(false)) {
            return Err(LedgerError::Absent { path: path.to_owned() });
        }
        if path.is_dir() {
            return Err(LedgerError::Folder { path: path.to_owned() });
        }
        let connection = match Self::connect(path.as_os_str(), path, OpenFlags::empty()) {
            // SQLite keeps a file beside it where others may write. Nobody can here, and nothing of what was written is elsewhere.
            Err(error) if error.is_unwritable() && !has_log(path) => {
                Self::connect(&unchanging(path), path, OpenFlags::SQLITE_OPEN_URI)?
            }
            connected => connected?,
        };
        Ok(Self { connection, path: path.to_owned(), texts: RefCell::default() })
    }

    fn connect(name: &OsStr, path: &Path, more: OpenFlags) -> Result<Connection, LedgerError> {
        let failed = |source: rusqlite::Error| match source.sqlite_error_code() {
            Some(ErrorCode::NotADatabase) => LedgerError::NoDatabase { path: path.to_owned() },
            _ => LedgerError::Sqlite { path: path.to_owned(), doing: "opening it", source },
        };
        let flags = OpenFlags::SQLITE_OPEN_READ_ONLY | OpenFlags::SQLITE_OPEN_NO_MUTEX | more;
        let connection = Connection::open_with_flags(name, flags).map_err(failed)?;
        connection.busy_timeout(PATIENCE).map_err(failed)?;
        schema::prepare_reader(&connection).map_err(failed)?;
        schema::check(&connection, path)?;
        Ok(connection)
    }

    /// What is not in the file, and how often.
    ///
    /// # Errors
    /// The file cannot be read.
    pub fn lost(&self) -> Result<Vec<(String, u64)>, LedgerError> {
        let query = "SELECT what, count FROM lost ORDER BY what";
        self.list(query, &[], "reading what is lost", |row| Ok((row.get(0)?, unsigned(row, 1)?)))
    }

    pub(crate) fn list<T>(
        &self,
        query: &str,
        values: &[Value],
        doing: &'static str,
        read: impl Fn(&Row<'_>) -> rusqlite::Result<T>,
    ) -> Result<Vec<T>, LedgerError> {
        self.reading(doing, |connection| {
            let mut statement = connection.prepare(query)?;
            let rows = statement.query_map(params_from_iter(values), |row| read(row))?;
            rows.collect()
        })
    }

    /// What is known of its words. Not to be asked for twice at once.
    pub(crate) fn texts(&self) -> RefMut<'_, Texts> {
        self.texts.borrow_mut()
    }

    pub(crate) fn connection(&self) -> &Connection {
        &self.connection
    }

    pub(crate) fn reading<T>(
        &self,
        doing: &'static str,
        read: impl FnOnce(&Connection) -> rusqlite::Result<T>,
    ) -> Result<T, LedgerError> {
        read(&self.connection).map_err(|source| LedgerError::Sqlite {
            path: self.path.clone(),
            doing,
            source,
        })
    }
}

/// Whether entries are in the log beside a file that are not in the file yet.
fn has_log(path: &Path) -> bool {
    std::fs::metadata(beside(path, "-wal")).is_ok_and(|log| log.len() > 0)
}

/// The name of a file that nobody changes, as SQLite takes it.
fn unchanging(path: &Path) -> OsString {
    let mut name = String::from("file:");
    for byte in path.as_os_str().as_encoded_bytes() {
        match byte {
            b'a'..=b'z' | b'A'..=b'Z' | b'0'..=b'9' | b'/' | b'-' | b'_' | b'.' => {
                name.push(char::from(*byte))
            }
            // Writing to a string cannot fail.
            _ => drop(write!(name, "%{byte:02X}")),
        }
    }
    name.push_str("?immutable=1");
    name.into()
}

pub(crate) fn unsigned(row: &Row<'_>, column: usize) -> rusqlite::Result<u64> {
    Ok(positive(row.get(column)?))
}

pub(crate) fn positive(number: i64) -> u64 {
    u64::try_from(number).unwrap_or(0)
}

#[cfg(test)]
pub(crate) mod tests {
    use super::*;
    use crate::write::Ledger;

    /// How SQLite goes about a query of a new ledger.
    pub(crate) fn plan(query: &str) -> String {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("ledger.db");
        let _ledger = Ledger::open(&path).unwrap();
        let reader = Reader::open(&path).unwrap();
        let mut statement = reader.connection.prepare(&format!("EXPLAIN QUERY PLAN {query}")).unwrap();
        let values = vec![1_i64; statement.parameter_count()];
        let steps = statement.query_map(params_from_iter(values), |row| row.get::<_, String>(3)).unwrap();
        steps.collect::<Result<Vec<_>, _>>().unwrap().join("\n")
    }
}
