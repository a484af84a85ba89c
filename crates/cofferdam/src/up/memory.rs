//! The last generation, remembered over restarts.
//!
//! Enters: generations as they are used. Leaves: the last one. It lives as long as the kernel's rules do: in a file
//! beside the local socket, on a file system that a reboot empties.
//! Guarantees: a process never gives a number again that an earlier one gave while its rules were in force.
//! Does not: remember policy; sources are read anew.

use policy::Generation;
use std::fs;
use std::io;
use std::path::{Path, PathBuf};

/// The file.
#[derive(Clone, Debug)]
pub(crate) struct Memory {
    path: PathBuf,
}

impl Memory {
    /// The memory that belongs to a local socket.
    pub(crate) fn beside(socket: &Path) -> Self {
        Self { path: socket.with_extension("generation") }
    }

    /// The last generation; 0 where there was none, or nothing that can be read.
    pub(crate) fn recall(&self) -> Generation {
        let text = fs::read_to_string(&self.path).unwrap_or_default();
        Generation(text.trim().parse().unwrap_or_default())
    }

    /// Remembers a generation, whole or not at all.
    pub(crate) fn keep(&self, generation: Generation) -> io::Result<()> {
        let new = self.path.with_extension("generation.new");
        fs::write(&new, format!("{generation}\n"))?;
        fs::rename(new, &self.path)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_last_generation_survives_and_damage_is_zero() {
        let folder = tempfile::tempdir().unwrap();
        let memory = Memory::beside(&folder.path().join("cofferdam.sock"));
        assert_eq!(memory.recall(), Generation(0));
        memory.keep(Generation(41)).unwrap();
        memory.keep(Generation(42)).unwrap();
        assert_eq!(memory.clone().recall(), Generation(42));
        fs::write(&memory.path, "\u{0}garbage").unwrap();
        assert_eq!(memory.recall(), Generation(0));
    }
}
