//! Recordings of a folder, whole, compressed by gzip or not.

use anyhow::{Context, Result};
use detect::Event;
use detect::read::{Read as Heard, Recording};
use std::fs;
use std::io::Read;
use std::path::{Path, PathBuf};

/// Events of a recording, and how much of it could not be read.
pub(crate) fn events(path: &Path) -> Result<(Vec<Event>, usize)> {
    let name = path.display().to_string();
    let mut bytes = fs::read(path).with_context(|| name.clone())?;
    if bytes.starts_with(&[0x1f, 0x8b]) {
        let mut plain = Vec::new();
        flate2::read::MultiGzDecoder::new(&*bytes).read_to_end(&mut plain).with_context(|| name.clone())?;
        bytes = plain;
    }
    let (mut recording, mut heard) = (Recording::new(&name), Heard::default());
    recording.push(&bytes, &mut heard);
    recording.finish(&mut heard);
    Ok((heard.events, heard.unreadable.len()))
}

/// Files of a folder, by name.
pub(crate) fn files(folder: &Path) -> Result<Vec<PathBuf>> {
    let entries = fs::read_dir(folder).with_context(|| folder.display().to_string())?;
    let mut files = entries.map(|entry| Ok(entry?.path())).collect::<Result<Vec<_>>>()?;
    files.retain(|path| path.is_file());
    files.sort_unstable();
    Ok(files)
}

/// Name of a file without folder.
pub(crate) fn name(path: &Path) -> String {
    path.file_name().unwrap_or_default().to_string_lossy().into_owned()
}
