//! Why something cannot be exported at all.

use std::io;
use std::path::PathBuf;
use thiserror::Error;

/// Something that was asked for cannot be done, whatever is tried again.
#[derive(Debug, Error)]
pub enum ExportError {
    /// The target makes no sense.
    #[error("{target}: {why}")]
    Target {
        /// As it was written, without its query.
        target: String,
        /// Why, and what to write instead.
        why: String,
    },
    /// A file with headers or certificates is not what it should be.
    #[error("{path}: {why}")]
    File {
        /// The file.
        path: PathBuf,
        /// Why.
        why: String,
    },
    /// The system gives no thread.
    #[error("starting the thread that exports to {target}: {source}")]
    Thread {
        /// For which target.
        target: String,
        /// Why.
        source: io::Error,
    },
    /// There are more targets than are served.
    #[error("{found} targets to export to, and at most {most} are served")]
    Many {
        /// How many there are.
        found: usize,
        /// How many there may be.
        most: usize,
    },
    /// The ledger cannot be read.
    #[error(transparent)]
    Ledger(#[from] ledger::LedgerError),
    /// Whoever read standard output has seen enough.
    #[error(transparent)]
    Closed(io::Error),
    /// Exporting once was given up.
    #[error("{target}: {why}; entries up to number {last} were sent: go on with --after {last}")]
    GaveUp {
        /// The target.
        target: String,
        /// Why.
        why: String,
        /// The last number that was sent.
        last: i64,
    },
}
