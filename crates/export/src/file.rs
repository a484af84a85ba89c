//! A file of lines that is put aside when it is full.
//!
//! Guarantees: when [`Lines::write`] returned, the lines are on the disk; a line that a killed process left half written is
//! taken out when the file is opened; there are never more than [`KEPT`] files besides the current one.

use std::ffi::OsString;
use std::fs::{self, File, OpenOptions};
use std::io::{self, Read, Seek, SeekFrom, Write};
use std::os::unix::fs::OpenOptionsExt;
use std::path::{Path, PathBuf};

/// A file with more bytes is put aside.
const FULL: u64 = 64 << 20;
/// Files that were put aside and are kept: `.1`, the youngest, to `.5`.
const KEPT: u32 = 5;
/// Only who runs the program may read what it recorded.
const MODE: u32 = 0o600;
/// Bytes that are looked through at once for the end of a line.
const BLOCK: u64 = 65_536;

/// The file, opened when something is written.
#[derive(Debug)]
pub(crate) struct Lines {
    path: PathBuf,
    full: u64,
    open: Option<File>,
}

impl Lines {
    pub(crate) fn new(path: PathBuf) -> Self {
        Self { path, full: FULL, open: None }
    }

    /// Adds whole lines.
    pub(crate) fn write(&mut self, lines: &[u8]) -> io::Result<()> {
        let mut file = match self.open.take() {
            Some(file) => file,
            None => open(&self.path)?,
        };
        let length = file.seek(SeekFrom::End(0))?;
        if length > 0 && length.saturating_add(lines.len() as u64) > self.full {
            drop(file);
            put_aside(&self.path)?;
            file = open(&self.path)?;
        }
        let start = file.seek(SeekFrom::End(0))?;
        if let Err(error) = file.write_all(lines).and_then(|()| file.sync_data()) {
            // They are written again; what of them is there would be there twice, and a part of a line with the next one.
            file.set_len(start)?;
            return Err(error);
        }
        self.open = Some(file);
        Ok(())
    }
}

fn open(path: &Path) -> io::Result<File> {
    let mut file = OpenOptions::new().read(true).append(true).create(true).mode(MODE).open(path)?;
    let mut end = file.seek(SeekFrom::End(0))?;
    let length = end;
    while end > 0 {
        let from = end.saturating_sub(BLOCK);
        file.seek(SeekFrom::Start(from))?;
        let mut block = Vec::new();
        (&mut file).take(end - from).read_to_end(&mut block)?;
        if let Some(at) = block.iter().rposition(|byte| *byte == b'\n') {
            end = from + at as u64 + 1;
            break;
        }
        end = from;
    }
    if end < length {
        file.set_len(end)?;
    }
    Ok(file)
}

fn put_aside(path: &Path) -> io::Result<()> {
    let numbered = |number: u32| {
        let mut name = OsString::from(path);
        name.push(format!(".{number}"));
        PathBuf::from(name)
    };
    for number in (1..KEPT).rev() {
        match fs::rename(numbered(number), numbered(number + 1)) {
            Err(error) if error.kind() != io::ErrorKind::NotFound => return Err(error),
            Ok(()) | Err(_) => {}
        }
    }
    fs::rename(path, numbered(1))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn read(path: &Path) -> String {
        fs::read_to_string(path).unwrap_or_default()
    }

    #[test]
    fn a_full_file_is_put_aside_and_old_ones_go() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("x.jsonl");
        let mut lines = Lines { full: 8, ..Lines::new(path.clone()) };
        for number in 0..9 {
            lines.write(format!("line{number}\n").as_bytes()).unwrap();
        }
        assert_eq!(read(&path), "line8\n");
        for (aside, line) in [(1, "line7\n"), (5, "line3\n"), (6, "")] {
            assert_eq!(read(&folder.path().join(format!("x.jsonl.{aside}"))), line);
        }
        // What is larger than a file may be is written whole.
        lines.write(b"0123456789\n").unwrap();
        assert_eq!(read(&path), "0123456789\n");
    }

    #[test]
    fn half_a_line_of_a_killed_process_is_taken_out() {
        let folder = tempfile::tempdir().unwrap();
        for (number, (before, kept)) in
            [("a\nb", "a\n"), ("b", ""), ("a\n", "a\n"), ("", "")].into_iter().enumerate()
        {
            let path = folder.path().join(number.to_string());
            fs::write(&path, before).unwrap();
            Lines::new(path.clone()).write(b"c\n").unwrap();
            assert_eq!(read(&path), format!("{kept}c\n"), "{before:?}");
        }
        let long = folder.path().join("long");
        fs::write(&long, format!("a\n{}", "x".repeat(200_000))).unwrap();
        Lines::new(long.clone()).write(b"c\n").unwrap();
        assert_eq!(read(&long), "a\nc\n");
    }

    #[test]
    fn a_folder_that_is_not_there_is_an_error_and_its_coming_is_noticed() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("later/x");
        let mut lines = Lines::new(path.clone());
        assert_eq!(lines.write(b"a\n").unwrap_err().kind(), io::ErrorKind::NotFound);
        fs::create_dir(folder.path().join("later")).unwrap();
        lines.write(b"a\n").unwrap();
        assert_eq!(read(&path), "a\n");
    }
}
