//! How far a target is, in a small file beside the ledger.
//!
//! Guarantees: the file is replaced whole or not at all. One that cannot be read is said, and what the ledger has is sent from
//! its beginning: twice rather than never.

use crate::target::Target;
use aws_lc_rs::digest::{SHA256, digest};
use data_encoding::HEXLOWER;
use serde::{Deserialize, Serialize};
use std::ffi::OsString;
use std::fs::{self, File};
use std::io::{self, Write};
use std::path::{Path, PathBuf};

/// How far a target is.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Cursor {
    /// The target, for a person who looks into the file.
    pub(crate) to: String,
    /// The first block of the ledger, once it has one: another ledger begins anew.
    pub(crate) ledger: Option<String>,
    /// The number of the last entry that was sent.
    pub(crate) last: i64,
    /// Entries that were sent.
    pub(crate) sent: u64,
    /// Entries that the target refused for good.
    pub(crate) refused: u64,
    /// Entries that were forgotten before they could be sent.
    pub(crate) lost: u64,
}

/// Where the cursor of a target is kept.
pub(crate) fn path(ledger: &Path, target: &Target) -> PathBuf {
    let name = digest(&SHA256, target.to_string().as_bytes());
    let name: String = HEXLOWER.encode(name.as_ref()).chars().take(16).collect();
    let mut path = OsString::from(ledger);
    path.push(format!(".export-{name}"));
    PathBuf::from(path)
}

impl Cursor {
    /// What was kept, and what is wrong with it.
    pub(crate) fn read(path: &Path, target: &Target) -> (Self, Option<String>) {
        let new = || Self { to: target.to_string(), ..Self::default() };
        let wrong = |why: String| {
            let shown = path.display();
            (new(), Some(format!("{shown}: {why}: all that the ledger has is sent, some of it again")))
        };
        match fs::read(path) {
            Ok(bytes) => match serde_json::from_slice(&bytes) {
                Ok(cursor) => (cursor, None),
                Err(error) => wrong(error.to_string()),
            },
            Err(error) if error.kind() == io::ErrorKind::NotFound => (new(), None),
            Err(error) => wrong(error.to_string()),
        }
    }

    /// Keeps it.
    pub(crate) fn write(&self, path: &Path) -> io::Result<()> {
        let mut new = OsString::from(path);
        new.push(".new");
        let mut file = File::create(&new)?;
        file.write_all(serde_json::to_string(self)?.as_bytes())?;
        file.sync_data()?;
        fs::rename(new, path)
    }
}
