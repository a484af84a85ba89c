//! Files that a pod has of its own: its resolver's settings, its hosts file.
//!
//! Enters: the calling thread, which must be the one that lives in the pod's namespace. Leaves: the same thread in a mount
//! namespace of its own, where each file lies over the machine's; what it starts sees it so too.
//! Guarantees: nothing outside that namespace changes, whatever the pod writes into its files, and they go with the last
//! process in it. Needs no more rights than network namespaces do.
//! Does not: hide anything else of the machine's file system.

use crate::LabError;
use crate::plan::OwnFile;
use nix::mount::{MsFlags, mount};
use nix::sched::{CloneFlags, unshare};
use std::fs::{self, File};
use std::io::{ErrorKind, Write};
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicU32, Ordering};

static FILES: AtomicU32 = AtomicU32::new(0);

/// Gives the calling thread these files.
pub(crate) fn give(files: &[OwnFile]) -> Result<(), LabError> {
    let action = "making a mount namespace for a pod";
    unshare(CloneFlags::CLONE_NEWNS).map_err(|e| LabError::io(action, e))?;
    let none: Option<&str> = None;
    // What is unmounted outside is not held here; what is mounted here is not seen outside.
    mount(none, "/", none, MsFlags::MS_REC | MsFlags::MS_SLAVE, none).map_err(|e| LabError::io(action, e))?;
    files.iter().try_for_each(lay_over)
}

fn lay_over(file: &OwnFile) -> Result<(), LabError> {
    let action = || format!("giving a pod its own {}", file.path.display());
    let own = new_file(&file.text).map_err(|e| LabError::io(action(), e))?;
    let none: Option<&str> = None;
    let laid = target(&file.path).and_then(|target| {
        mount(Some(&own), &target, none, MsFlags::MS_BIND, none).map_err(std::io::Error::from)
    });
    // The mount keeps it; without a name nobody has to remove it.
    fs::remove_file(&own).and(laid).map_err(|e| LabError::io(action(), e))
}

fn new_file(text: &str) -> std::io::Result<PathBuf> {
    let number = FILES.fetch_add(1, Ordering::Relaxed);
    let path = std::env::temp_dir().join(format!("cofferdam-file-{}-{number}", std::process::id()));
    // Not through what somebody else may have put there.
    File::create_new(&path)?.write_all(text.as_bytes())?;
    Ok(path)
}

/// Where to mount: the machine must have such a file. `/etc/resolv.conf` is often a link into `/run`, which is empty where
/// the process has a `/run` of its own.
fn target(path: &Path) -> std::io::Result<PathBuf> {
    match fs::canonicalize(path) {
        Err(error) if error.kind() == ErrorKind::NotFound => {}
        found => return found,
    }
    let link = fs::read_link(path).map_err(|error| match error.kind() {
        ErrorKind::NotFound => {
            std::io::Error::other("this machine has none to lay it over; make an empty one")
        }
        _ => error,
    })?;
    let target = path.parent().unwrap_or(Path::new("/")).join(link);
    if let Some(folder) = target.parent() {
        fs::create_dir_all(folder)?;
    }
    File::create_new(&target)?;
    Ok(target)
}
