//! Reads the sources of `up`: manifests in files and folders, compiled to one policy set.
//!
//! Enters: paths, the catalog's file and the generation to give. Leaves: the set and every diagnostic, those of unreadable files too.
//! Guarantees: reads each time anew; one bad file never hides the others.
//! Does not: decide whether a load is good enough to enforce.

use super::engine::Loaded;
use super::lab_plan::Runs;
use crate::catalog::CatalogArg;
use crate::folder;
use compiler::compile_with;
use policy::Generation;
use std::path::PathBuf;

/// Reads and compiles. Sources are read again after edits, so standard input cannot be one.
///
/// Where the catalog cannot be read, no provider is known, and what names one is closed: with the built-in catalog alone, a
/// provider that the file replaces would be another one.
pub(crate) fn read(paths: &[PathBuf], catalog: &CatalogArg, generation: Generation) -> Loaded {
    let manifests = folder::read(paths, None);
    let (objects, mut diagnostics) = (manifests.objects, manifests.diagnostics);
    let count = objects.len();
    let runs = Runs::of(&objects);
    let catalog = catalog.read().unwrap_or_else(|wrong| {
        diagnostics.extend(wrong);
        catalog.without_providers()
    });
    let compiled = compile_with(objects, &catalog, generation);
    diagnostics.extend(compiled.diagnostics);
    Loaded { objects: count, runs, set: compiled.set, diagnostics, keys: Some(compiled.keys) }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::fs;
    use std::os::unix::fs::symlink;

    const NAMESPACE: &str = "apiVersion: v1\nkind: Namespace\nmetadata: { name: a }\n";

    fn load(folder: &tempfile::TempDir) -> Loaded {
        read(&[folder.path().to_path_buf()], &CatalogArg::default(), Generation(1))
    }

    #[test]
    fn links_that_lead_back_pipes_and_missing_files_end_and_are_told() {
        let folder = tempfile::tempdir().unwrap();
        let path = |name: &str| folder.path().join(name);
        fs::create_dir(path("deep")).unwrap();
        fs::write(path("deep/a.yaml"), NAMESPACE).unwrap();
        for link in ["one", "two", "deep/three", "deep/four"] {
            symlink(folder.path(), path(link)).unwrap();
        }
        symlink(path("nowhere"), path("gone.yaml")).unwrap();
        nix::unistd::mkfifo(&path("pipe.yaml"), nix::sys::stat::Mode::from_bits_truncate(0o600)).unwrap();
        let loaded = load(&folder);
        assert_eq!(loaded.objects, 1);
        let errors: Vec<_> =
            loaded.diagnostics.iter().filter(|it| it.is_error()).map(ToString::to_string).collect();
        assert_eq!(errors.len(), 2, "{errors:#?}");
    }

    #[test]
    fn links_that_multiply_cost_each_folder_once() {
        let folder = tempfile::tempdir().unwrap();
        let path = |number: u32| folder.path().join(number.to_string());
        // Two ways from each folder to the next: 2^40 paths to the last.
        (0..=40).for_each(|number| fs::create_dir(path(number)).unwrap());
        for number in 0..40 {
            symlink(path(number + 1), path(number).join("one")).unwrap();
            symlink(path(number + 1), path(number).join("two")).unwrap();
        }
        fs::write(path(40).join("a.yaml"), NAMESPACE).unwrap();
        let found = crate::folder::read(&[path(0)], None);
        assert_eq!((found.objects.len(), found.diagnostics.len()), (1, 0), "{:#?}", found.diagnostics);
    }

    #[test]
    fn a_mounted_volume_is_read_once_and_other_files_not_at_all() {
        let folder = tempfile::tempdir().unwrap();
        let path = |name: &str| folder.path().join(name);
        fs::create_dir(path("..2026")).unwrap();
        fs::write(path("..2026/a.yaml"), NAMESPACE).unwrap();
        fs::write(path("README.md"), "kind: [").unwrap();
        symlink("..2026", path("..data")).unwrap();
        symlink("..data/a.yaml", path("a.yaml")).unwrap();
        let loaded = load(&folder);
        assert_eq!(loaded.objects, 1);
        assert!(!loaded.diagnostics.iter().any(crds::Diagnostic::is_error), "{:#?}", loaded.diagnostics);
    }

    #[test]
    fn a_folder_that_is_not_there_is_an_error() {
        let loaded = read(&[PathBuf::from("/nowhere/at/all")], &CatalogArg::default(), Generation(1));
        assert!(loaded.objects == 0 && loaded.diagnostics.iter().any(crds::Diagnostic::is_error));
    }
}
