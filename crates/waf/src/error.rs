//! What is wrong with rules: each fault with the file and line that has it, and the way out.

use std::fmt;

/// Most faults that one load reports; what is beyond them is counted.
pub const MAX_LOAD_ERRORS: usize = 100;

/// One fault of the rules, at the place that has it.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{file}:{line}: {what}")]
pub struct LoadError {
    /// Name of the file, as the host gave it.
    pub file: String,
    /// Line of the directive, counted from 1.
    pub line: usize,
    /// What is wrong, and what would be right.
    pub what: String,
}

/// All faults of a load: none of the rules is in force.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct LoadErrors {
    /// The first [`MAX_LOAD_ERRORS`] of them, in the order of files and lines.
    pub errors: Vec<LoadError>,
    /// How many more there are.
    pub more: usize,
}

impl LoadErrors {
    pub(crate) fn push(&mut self, error: LoadError) {
        if self.errors.len() < MAX_LOAD_ERRORS {
            self.errors.push(error);
        } else {
            self.more += 1;
        }
    }

    pub(crate) fn into_result(self) -> Result<(), Self> {
        if self.errors.is_empty() { Ok(()) } else { Err(self) }
    }
}

impl fmt::Display for LoadErrors {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for (index, error) in self.errors.iter().enumerate() {
            if index > 0 {
                f.write_str("\n")?;
            }
            write!(f, "{error}")?;
        }
        if self.more > 0 {
            write!(f, "\nand {} more", self.more)?;
        }
        Ok(())
    }
}

impl std::error::Error for LoadErrors {}
