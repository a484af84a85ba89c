//! The other stores: each in a process of its own, which reads the same records from files.

use crate::shape::{Shape, lines};
use anyhow::{Context, Result, ensure};
use serde_json::Value;
use std::fs;
use std::path::Path;
use std::process::{Command, Stdio};

/// The program that runs them.
const PROGRAM: &str = include_str!("stores.py");
/// Records of a file, which is written at once: stores by columns want many.
const BATCH: u64 = 50_000;

/// Writes the records to files of a folder.
pub(crate) fn write(folder: &Path, records: u64) -> Result<()> {
    let mut shape = Shape::new(records);
    let mut left = records;
    for number in 0.. {
        if left == 0 {
            break;
        }
        let count = left.min(BATCH);
        fs::write(folder.join(format!("{number:05}.tsv")), lines(&shape.take(usize::try_from(count)?)))?;
        left -= count;
    }
    Ok(())
}

/// Runs one; `None` where its package is not there.
pub(crate) fn measure(python: &Path, module: &str, batches: &Path, folder: &Path) -> Result<Option<Value>> {
    let there = Command::new(python).args(["-c", &format!("import {module}")]).stderr(Stdio::null()).status();
    if !there.is_ok_and(|status| status.success()) {
        return Ok(None);
    }
    let output = Command::new(python)
        .args(["-c", PROGRAM, module])
        .args([batches, folder])
        .stderr(Stdio::inherit())
        .output()
        .with_context(|| format!("starting {}", python.display()))?;
    ensure!(output.status.success(), "{module} ended with {}", output.status);
    Ok(Some(serde_json::from_slice(&output.stdout).with_context(|| format!("what {module} said"))?))
}
