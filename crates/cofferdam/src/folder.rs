//! Reads manifests from files, folders and standard input.
//!
//! Enters: paths. Leaves: objects and every diagnostic, those of unreadable files too, in the order of the paths.
//! Guarantees: one bad file never hides the others; links that lead in circles end; nothing is read twice, however many
//! paths lead to it; no more is read of a file than `crds` accepts.
//! Does not: compile, or decide whether what was read is good enough.

use anyhow::{Context, Result};
use crds::{Code, Diagnostic, MAX_BYTES, Object, Position};
use std::collections::BTreeSet;
use std::fs::{self, File};
use std::io::{self, Read};
use std::path::{Path, PathBuf};

/// Deepest nesting of folders that is read.
const MAX_FOLDERS: usize = 64;
/// Endings of manifests within folders.
const ENDINGS: [&str; 3] = ["yaml", "yml", "json"];

/// What was read.
#[derive(Debug, Default)]
pub(crate) struct Manifests {
    /// Files that were found, readable or not.
    pub(crate) files: usize,
    /// What they hold.
    pub(crate) objects: Vec<Object>,
    /// What is wrong with them.
    pub(crate) diagnostics: Vec<Diagnostic>,
    /// The objects as they were written, for whoever hands them on; only of [`read_with_json`].
    pub(crate) json: Vec<serde_json::Value>,
}

/// Reads; the path `-` means `stdin` where that is given.
pub(crate) fn read(paths: &[PathBuf], stdin: Option<&mut dyn Read>) -> Manifests {
    Walk::default().paths(paths, stdin)
}

/// As [`read`], and keeps what was written as JSON too.
pub(crate) fn read_with_json(paths: &[PathBuf], stdin: Option<&mut dyn Read>) -> Manifests {
    Walk { keeps_json: true, ..Walk::default() }.paths(paths, stdin)
}

/// Refuses a path that leads nowhere: whoever goes by what files say would take it for files that say nothing.
///
/// # Errors
/// The first such path.
pub(crate) fn are_there(paths: &[PathBuf]) -> Result<()> {
    paths.iter().try_for_each(|path| {
        fs::metadata(path).map(drop).with_context(|| format!("reading -f {}", path.display()))
    })
}

#[derive(Default)]
struct Walk {
    found: Manifests,
    /// Real paths of files.
    seen: BTreeSet<PathBuf>,
    /// Real paths of folders that were read to the end: a few links to each other would multiply otherwise.
    folders: BTreeSet<PathBuf>,
    keeps_json: bool,
}

impl Walk {
    fn paths(mut self, paths: &[PathBuf], mut stdin: Option<&mut dyn Read>) -> Manifests {
        for path in paths {
            match &mut stdin {
                Some(input) if path == Path::new("-") => {
                    let bytes = bounded(&mut **input);
                    self.take("(stdin)", bytes);
                }
                Some(_) | None if path.is_dir() => self.folder(path, &mut Vec::new()),
                Some(_) | None => self.file(path),
            }
        }
        self.found
    }

    /// `above`: the real paths of the folders on the way here.
    fn folder(&mut self, path: &Path, above: &mut Vec<PathBuf>) {
        let (real, entries) = match fs::canonicalize(path).and_then(|real| Ok((real, fs::read_dir(path)?))) {
            Ok(opened) => opened,
            Err(error) => return self.unreadable(path, &error),
        };
        if above.contains(&real) {
            let message = format!("{} leads back to a folder it lies in; it is not followed", path.display());
            return self.found.diagnostics.push(at(path, Diagnostic::warning(Code::Unreadable, message)));
        }
        if self.folders.contains(&real) {
            return;
        }
        if above.len() >= MAX_FOLDERS {
            let message = format!("{} is nested in more than {MAX_FOLDERS} folders", path.display());
            return self.found.diagnostics.push(at(path, Diagnostic::error(Code::Unreadable, message)));
        }
        let mut paths = Vec::new();
        for entry in entries {
            match entry {
                Ok(entry) => paths.push(entry.path()),
                Err(error) => self.unreadable(path, &error),
            }
        }
        paths.sort();
        above.push(real.clone());
        for path in paths.iter().filter(|path| !is_hidden(path)) {
            if path.is_dir() {
                self.folder(path, above);
            } else if path.extension().is_some_and(|ending| ENDINGS.iter().any(|known| ending == *known)) {
                self.file_of_folder(path);
            }
        }
        above.pop();
        self.folders.insert(real);
    }

    /// A pipe or a device in a folder may never end; one that is named may be meant.
    fn file_of_folder(&mut self, path: &Path) {
        match fs::metadata(path) {
            Ok(metadata) if !metadata.is_file() => {
                self.found.files += 1;
                self.unreadable(path, &io::Error::other("not a file"));
            }
            Ok(_) | Err(_) => self.file(path),
        }
    }

    fn file(&mut self, path: &Path) {
        if let Ok(real) = fs::canonicalize(path)
            && !self.seen.insert(real)
        {
            return;
        }
        let name = path.to_string_lossy();
        let bytes = File::open(path).and_then(|mut file| bounded(&mut file));
        self.take(&name, bytes);
    }

    fn take(&mut self, name: &str, bytes: io::Result<Vec<u8>>) {
        self.found.files += 1;
        match bytes {
            Ok(bytes) if bytes.len() > MAX_BYTES => {
                let message = format!(
                    "the file has more than {MAX_BYTES} bytes, the most that is read; nothing in it is enforced"
                );
                let diagnostic = Diagnostic::error(Code::FileTooLarge, message);
                self.found
                    .diagnostics
                    .push(at(Path::new(name), diagnostic).suggest("split it into several files"));
            }
            Ok(bytes) if bytes.trim_ascii().is_empty() => {
                let diagnostic = Diagnostic::warning(
                    Code::NotAnObject,
                    "the file is empty: what was to be in it is not enforced",
                );
                self.found.diagnostics.push(at(Path::new(name), diagnostic));
            }
            Ok(bytes) => {
                let read = crds::read_objects(name, &bytes);
                if self.keeps_json {
                    self.found.json.extend(crds::as_json(name, &bytes));
                }
                self.found.objects.extend(read.objects);
                self.found.diagnostics.extend(read.diagnostics);
            }
            Err(error) => self.unreadable(Path::new(name), &error),
        }
    }

    fn unreadable(&mut self, path: &Path, error: &io::Error) {
        let message = format!("{} cannot be read, and nothing in it is enforced: {error}", path.display());
        self.found.diagnostics.push(at(path, Diagnostic::error(Code::Unreadable, message)));
    }
}

fn at(path: &Path, diagnostic: Diagnostic) -> Diagnostic {
    diagnostic.at(Position { file: path.to_string_lossy().as_ref().into(), line: 1, column: 1 })
}

/// One byte more than is accepted tells a file that is too large.
fn bounded(input: &mut dyn Read) -> io::Result<Vec<u8>> {
    let mut bytes = Vec::new();
    input.take(MAX_BYTES as u64 + 1).read_to_end(&mut bytes)?;
    Ok(bytes)
}

fn is_hidden(path: &Path) -> bool {
    path.file_name().is_some_and(|name| name.as_encoded_bytes().starts_with(b"."))
}
