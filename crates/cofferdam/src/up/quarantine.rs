//! Workloads that are cut off, kept beside the socket: one manifest each, which a restart finds again.
//!
//! Enters: quarantines, the time. Leaves: the policy set that comes before all others, and which of them are over. Guarantees: a
//! file is written whole or not at all; one that cannot be read is told of, and closes what it may select.
//! Does not: put anything in force.

use anyhow::{Context, Result};
use crds::Object;
use incident::Quarantine;
use incident::quarantine::{BY, INCIDENT, PREFIX, UNTIL, WORKLOAD};
use observe::Time;
use policy::{Generation, PolicySet};
use std::fs;
use std::io::ErrorKind;
use std::os::unix::fs::DirBuilderExt;
use std::path::{Path, PathBuf};

/// Workloads that are cut off at once.
const MOST: usize = 1000;

/// The folder.
#[derive(Clone, Debug)]
pub(crate) struct Quarantines {
    folder: PathBuf,
}

/// One that is there.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Held {
    /// Its file.
    pub(crate) path: PathBuf,
    /// Who is cut off.
    pub(crate) workload: String,
    /// Until when.
    pub(crate) until: Time,
    /// By whom.
    pub(crate) by: String,
    /// For which incident; empty for none.
    pub(crate) incident: String,
}

/// All that is there.
#[derive(Debug)]
pub(crate) struct Holding {
    /// Those that can be read.
    pub(crate) held: Vec<Held>,
    /// What comes before all other policies.
    pub(crate) set: PolicySet,
    /// What is wrong.
    pub(crate) problems: Vec<String>,
}

impl Quarantines {
    /// Those that belong to a local socket.
    pub(crate) fn beside(socket: &Path) -> Self {
        Self { folder: socket.with_extension("quarantine") }
    }

    /// Where they are.
    pub(crate) fn folder(&self) -> &Path {
        &self.folder
    }

    /// Reads them.
    pub(crate) fn read(&self) -> Holding {
        let (mut objects, mut problems) = (Vec::new(), Vec::new());
        let files = match self.files() {
            Ok(files) => files,
            Err(error) => {
                problems
                    .push(format!("the quarantines in {} cannot be read: {error}", self.folder.display()));
                Vec::new()
            }
        };
        for path in files {
            match fs::read(&path) {
                Ok(bytes) => {
                    let read = crds::read_objects(&path.to_string_lossy(), &bytes);
                    problems
                        .extend(read.diagnostics.iter().filter(|it| it.is_error()).map(ToString::to_string));
                    objects.extend(read.objects);
                }
                Err(error) => {
                    problems.push(format!("the quarantine {} is not in force: {error}", path.display()))
                }
            }
        }
        let held = objects.iter().filter_map(held).collect();
        let compiled = compiler::compile_unlinted(objects, Generation(0));
        Holding { held, set: compiled.set, problems }
    }

    fn files(&self) -> std::io::Result<Vec<PathBuf>> {
        let entries = match fs::read_dir(&self.folder) {
            Ok(entries) => entries,
            Err(error) if error.kind() == ErrorKind::NotFound => return Ok(Vec::new()),
            Err(error) => return Err(error),
        };
        let mut paths = Vec::new();
        for entry in entries {
            let path = entry?.path();
            if path.extension().is_some_and(|ending| ending == "yaml") {
                paths.push(path);
            }
        }
        paths.sort();
        Ok(paths)
    }

    fn path(&self, workload: &str) -> PathBuf {
        self.folder.join(format!("{}.yaml", Quarantine::name_for(workload)))
    }

    /// Keeps one, in place of an earlier one for the same workload.
    pub(crate) fn keep(&self, quarantine: &Quarantine) -> Result<()> {
        let path = self.path(&quarantine.workload);
        let making = || format!("making {}", self.folder.display());
        fs::DirBuilder::new().recursive(true).mode(0o700).create(&self.folder).with_context(making)?;
        anyhow::ensure!(
            path.exists() || self.files()?.len() < MOST,
            "{MOST} workloads are cut off already: release one first"
        );
        let new = path.with_extension("new");
        let writing = || format!("writing {}", path.display());
        fs::write(&new, quarantine.manifest()).with_context(writing)?;
        fs::File::open(&new).and_then(|file| file.sync_all()).with_context(writing)?;
        fs::rename(&new, &path).with_context(writing)
    }

    /// Forgets the one for a workload. Whether there was one.
    pub(crate) fn forget(&self, workload: &str) -> Result<bool> {
        let path = self.path(workload);
        match fs::remove_file(&path) {
            Ok(()) => Ok(true),
            Err(error) if error.kind() == ErrorKind::NotFound => Ok(false),
            Err(error) => Err(error).with_context(|| format!("removing {}", path.display())),
        }
    }
}

fn held(object: &Object) -> Option<Held> {
    let Object::ClusterPolicy(policy) = object else { return None };
    if !policy.meta.name.starts_with(PREFIX) {
        return None;
    }
    let text = |key: &str| policy.meta.annotations.get(key).map(ToString::to_string);
    Some(Held {
        path: PathBuf::from(&*policy.position.file),
        workload: text(WORKLOAD)?,
        until: text(UNTIL)?.parse().ok()?,
        by: text(BY).unwrap_or_default(),
        incident: text(INCIDENT).unwrap_or_default(),
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::collections::BTreeMap;

    #[test]
    fn what_is_kept_is_found_again_and_a_broken_file_hides_nothing() {
        let folder = tempfile::tempdir().unwrap();
        let quarantines = Quarantines::beside(&folder.path().join("cofferdam.sock"));
        assert!(quarantines.read().held.is_empty());
        // A name that would be markup, or leave the quotes, were it not quoted.
        let hostile = "ai/Job/x\": {}\n---\u{202e}";
        let one = |workload: &str, until| Quarantine {
            workload: workload.to_owned(),
            namespace: "ai".to_owned(),
            labels: BTreeMap::from([("app".to_owned(), "x".to_owned())]),
            until: Time(until),
            by: "local:0".to_owned(),
            incident: String::new(),
        };
        quarantines.keep(&one(hostile, 1_000_000)).unwrap();
        quarantines.keep(&one("ai/Job/y", 2_000_000)).unwrap();
        quarantines.keep(&one("ai/Job/y", 3_000_000)).unwrap();
        fs::write(quarantines.folder().join("broken.yaml"), "kind: [").unwrap();
        let holding = quarantines.read();
        let mut held: Vec<_> = holding.held.iter().map(|it| (it.workload.as_str(), it.until.0)).collect();
        held.sort_unstable();
        assert_eq!(held, [(hostile, 1_000_000), ("ai/Job/y", 3_000_000)]);
        assert_eq!((holding.set.policies.len(), holding.problems.len()), (2, 1), "{:?}", holding.problems);
        assert!(quarantines.forget("ai/Job/y").unwrap());
        assert!(!quarantines.forget("ai/Job/y").unwrap());
        assert_eq!(quarantines.read().held.len(), 1);
    }
}
