//! Reads the sources of `up`: manifests in files and folders, compiled to one policy set.
//!
//! Enters: paths and the generation to give. Leaves: the set and every diagnostic, those of unreadable files too.
//! Guarantees: reads each time anew; one bad file never hides the others.
//! Does not: decide whether a load is good enough to enforce.

use super::engine::Loaded;
use super::lab_plan::Runs;
use compiler::compile;
use crds::{Code, Diagnostic, Position};
use policy::Generation;
use std::fs;
use std::path::{Path, PathBuf};

/// Reads and compiles.
pub(crate) fn read(paths: &[PathBuf], generation: Generation) -> Loaded {
    let (mut objects, mut diagnostics) = (Vec::new(), Vec::new());
    let mut files = Vec::new();
    for path in paths {
        collect(path, 0, &mut files, &mut diagnostics);
    }
    for file in files {
        match fs::read(&file) {
            Ok(bytes) => {
                let read = crds::read_objects(&file.to_string_lossy(), &bytes);
                objects.extend(read.objects);
                diagnostics.extend(read.diagnostics);
            }
            Err(error) => diagnostics.push(unreadable(&file, &error)),
        }
    }
    let count = objects.len();
    let runs = Runs::of(&objects);
    let compiled = compile(objects, generation);
    diagnostics.extend(compiled.diagnostics);
    Loaded { objects: count, runs, set: compiled.set, diagnostics }
}

fn collect(path: &Path, depth: usize, files: &mut Vec<PathBuf>, diagnostics: &mut Vec<Diagnostic>) {
    if !path.is_dir() {
        files.push(path.to_path_buf());
        return;
    }
    let entries = match fs::read_dir(path) {
        Ok(entries) if depth < 16 => entries,
        Ok(_) => return,
        Err(error) => return diagnostics.push(unreadable(path, &error)),
    };
    let mut paths: Vec<_> = entries.flatten().map(|entry| entry.path()).collect();
    paths.sort();
    for path in paths {
        let is_manifest =
            path.extension().is_some_and(|ext| ["yaml", "yml", "json"].iter().any(|e| ext == *e));
        if path.is_dir() || is_manifest {
            collect(&path, depth + 1, files, diagnostics);
        }
    }
}

fn unreadable(path: &Path, error: &std::io::Error) -> Diagnostic {
    let file = path.to_string_lossy();
    Diagnostic::error(Code::Unreadable, format!("{file} cannot be read: {error}")).at(Position {
        file: file.as_ref().into(),
        line: 1,
        column: 1,
    })
}
