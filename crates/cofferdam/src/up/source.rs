//! Reads the sources of `up`: manifests in files and folders, compiled to one policy set.
//!
//! Enters: paths and the generation to give. Leaves: the set and every diagnostic, those of unreadable files too.
//! Guarantees: reads each time anew; one bad file never hides the others.
//! Does not: decide whether a load is good enough to enforce.

use super::engine::Loaded;
use super::lab_plan::Runs;
use crate::folder;
use compiler::compile;
use policy::Generation;
use std::path::PathBuf;

/// Reads and compiles. Sources are read again after edits, so standard input cannot be one.
pub(crate) fn read(paths: &[PathBuf], generation: Generation) -> Loaded {
    let manifests = folder::read(paths, None);
    let (objects, mut diagnostics) = (manifests.objects, manifests.diagnostics);
    let count = objects.len();
    let runs = Runs::of(&objects);
    let compiled = compile(objects, generation);
    diagnostics.extend(compiled.diagnostics);
    Loaded { objects: count, runs, set: compiled.set, diagnostics }
}
