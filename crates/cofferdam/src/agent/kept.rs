//! What was received last, kept over restarts of the process.
//!
//! Enters: the copy, before it is put in force. Leaves: the same, to the next process. It lives as long as the kernel's
//! rules do: on a file system that a reboot empties, for after a reboot its addresses belong to other pods.
//! Guarantees: never older than what is in force; whole or not at all.
//! Does not: judge its age.

use anyhow::{Context, Result};
use feed::Replica;
use std::fs::{self, OpenOptions};
use std::io::{ErrorKind, Write};
use std::os::unix::fs::OpenOptionsExt;
use std::path::{Path, PathBuf};

/// The file.
#[derive(Clone, Debug)]
pub(crate) struct Kept {
    path: PathBuf,
}

impl Kept {
    /// In the folder of the local socket.
    pub(crate) fn in_folder(folder: &Path) -> Self {
        Self { path: folder.join("received") }
    }

    /// What the last process kept, if there was one.
    pub(crate) fn recall(&self) -> Result<Option<Replica>> {
        let bytes = match fs::read(&self.path) {
            Ok(bytes) => bytes,
            Err(error) if error.kind() == ErrorKind::NotFound => return Ok(None),
            Err(error) => return Err(error).with_context(|| format!("reading {}", self.path.display())),
        };
        Replica::from_bytes(&bytes).map(Some).with_context(|| format!("{} is damaged", self.path.display()))
    }

    /// Keeps it.
    pub(crate) fn keep(&self, replica: &Replica) -> Result<()> {
        let new = self.path.with_extension("new");
        // Who is in the cluster, and where, is not for everybody on the node.
        let only_own = OpenOptions::new().write(true).create(true).truncate(true).mode(0o600).open(&new);
        only_own
            .and_then(|mut file| file.write_all(&replica.to_bytes()))
            .and_then(|()| fs::rename(&new, &self.path))
            .with_context(|| format!("keeping {}", self.path.display()))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::os::unix::fs::PermissionsExt;

    #[test]
    fn what_is_damaged_is_told_and_what_is_not_there_is_nothing() {
        let folder = tempfile::tempdir().unwrap();
        let kept = Kept::in_folder(folder.path());
        assert!(kept.recall().unwrap().is_none());
        kept.keep(&Replica::default()).unwrap();
        assert!(kept.recall().unwrap().is_some());
        assert_eq!(fs::metadata(&kept.path).unwrap().permissions().mode() & 0o777, 0o600);
        fs::write(&kept.path, "\u{0}garbage").unwrap();
        let error = format!("{:#}", kept.recall().unwrap_err());
        assert!(error.contains("is damaged"), "{error}");
    }
}
