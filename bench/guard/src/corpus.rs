//! The rows that are learned from.
//!
//! Enters: files of JSON lines with `text`, `label` (0 or 1), `family` and `source`. Leaves: [`Row`]s.

use anyhow::{Context, Result, bail};
use serde::Deserialize;
use std::fs;
use std::path::Path;

/// One text, and what it is.
#[derive(Clone, Debug, Deserialize)]
pub(crate) struct Row {
    pub(crate) text: String,
    pub(crate) label: u8,
    pub(crate) family: String,
    pub(crate) source: String,
}

impl Row {
    /// The family of an attack: 0 direct, 1 indirect, 2 jailbreak. None: benign.
    pub(crate) fn target(&self) -> Option<usize> {
        match (self.label, self.family.as_str()) {
            (0, _) => None,
            (_, "jailbreak") => Some(2),
            (_, family) if family.starts_with("indirect") => Some(1),
            (_, _) => Some(0),
        }
    }
}

/// All rows of the file.
pub(crate) fn read(file: &Path) -> Result<Vec<Row>> {
    let text = fs::read_to_string(file).with_context(|| format!("{} cannot be read", file.display()))?;
    let mut rows = Vec::new();
    for (line, text) in text.lines().enumerate().filter(|(_, text)| !text.trim().is_empty()) {
        let row: Row =
            serde_json::from_str(text).with_context(|| format!("{}:{}: no row", file.display(), line + 1))?;
        rows.push(row);
    }
    if rows.is_empty() {
        bail!("{} has no rows", file.display());
    }
    Ok(rows)
}
