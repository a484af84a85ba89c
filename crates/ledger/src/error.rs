//! Why the ledger could not do something.

use rusqlite::ErrorCode;
use std::io;
use std::path::PathBuf;
use thiserror::Error;

/// The ledger could not do something. What was in the file still is.
#[derive(Debug, Error)]
pub enum LedgerError {
    /// SQLite said no.
    #[error("ledger {path}: {doing}: {source}")]
    Sqlite {
        /// The file.
        path: PathBuf,
        /// What was tried.
        doing: &'static str,
        /// What SQLite says.
        source: rusqlite::Error,
    },
    /// There is no such file to read.
    #[error("ledger {path}: there is no such file: name one that `up`, an agent or a collector writes")]
    Absent {
        /// Where it was looked for.
        path: PathBuf,
    },
    /// A folder is where the file is to be.
    #[error("ledger {path}: it is a folder: name a file, such as ledger.db in it")]
    Folder {
        /// The folder.
        path: PathBuf,
    },
    /// The folder of the file is not there.
    #[error("ledger {path}: its folder is not there: make it, or name a file elsewhere")]
    NoFolder {
        /// The file.
        path: PathBuf,
    },
    /// The file was written by a program that knows more.
    #[error(
        "ledger {path}: it has version {found}, and this program knows {known}: use the program that wrote it, or another file"
    )]
    Newer {
        /// The file.
        path: PathBuf,
        /// Its version.
        found: i64,
        /// The newest that is known here.
        known: i64,
    },
    /// The file is a database, of something else.
    #[error("ledger {path}: this SQLite file is not a ledger: name another file")]
    Foreign {
        /// The file.
        path: PathBuf,
    },
    /// The file is no database, or not any more.
    #[error("ledger {path}: this is no ledger, or its beginning is damaged: name another file")]
    NoDatabase {
        /// The file.
        path: PathBuf,
    },
    /// A damaged file could not be put aside.
    #[error("ledger {path}: it is damaged, and cannot be put aside: {source}")]
    Aside {
        /// The file.
        path: PathBuf,
        /// Why.
        source: io::Error,
    },
    /// A page of edges is to begin where no edge of this store is.
    #[error(
        "the mark was given by another store, whose order is another: go on there, or begin here without a mark"
    )]
    OtherMark,
    /// A store that is no file did not answer.
    #[error("{store}: {doing}: {why}")]
    Store {
        /// Which, without anything secret.
        store: String,
        /// What was asked for.
        doing: &'static str,
        /// What it says, or what is wrong with its answer.
        why: String,
    },
    /// A store that is no file has entries of several ledgers, which are in no order.
    #[error(
        "{store}: what is asked for are entries of {ledgers} ledgers, and their numbers, by which they are in order, are each ledger's \
         own: ask for one node's, or have only the cluster's collector export to this database"
    )]
    Several {
        /// Which, without anything secret.
        store: String,
        /// Of how many ledgers.
        ledgers: u64,
    },
}

impl LedgerError {
    /// Whether the file itself is damaged, so that trying again cannot help.
    #[must_use]
    pub fn is_damage(&self) -> bool {
        match self {
            Self::NoDatabase { .. } => true,
            Self::Sqlite { source, .. } => {
                matches!(
                    source.sqlite_error_code(),
                    Some(ErrorCode::DatabaseCorrupt | ErrorCode::NotADatabase)
                )
            }
            _ => false,
        }
    }

    /// Whether nothing can be written where the file is.
    pub(crate) fn is_unwritable(&self) -> bool {
        let Self::Sqlite { source, .. } = self else { return false };
        matches!(source.sqlite_error_code(), Some(ErrorCode::CannotOpen | ErrorCode::ReadOnly))
    }

    /// Whether somebody ended it because it took too long.
    #[must_use]
    pub fn is_interrupted(&self) -> bool {
        let Self::Sqlite { source, .. } = self else { return false };
        source.sqlite_error_code() == Some(ErrorCode::OperationInterrupted)
    }
}
