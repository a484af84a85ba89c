//! Notices that a folder of manifests changed.
//!
//! Enters: files and folders. Leaves: "something may have changed", some time after the last change of a burst.
//! Guarantees: every change is noticed: by inotify at once, and by comparing sizes and times every few seconds where
//! inotify is missing or cannot see it (network file systems, too many folders). Bounded in folders and depth.
//! Does not: read files, or know what a manifest is.

use nix::poll::{PollFd, PollFlags, PollTimeout, poll};
use nix::sys::inotify::{AddWatchFlags, InitFlags, Inotify};
use std::collections::hash_map::DefaultHasher;
use std::ffi::OsString;
use std::fs;
use std::hash::{Hash, Hasher};
use std::os::fd::{AsFd, BorrowedFd};
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

/// A burst of changes is over when this long nothing happened.
const QUIET: Duration = Duration::from_millis(80);
/// A burst that does not end is acted on after this long.
const BURST: Duration = Duration::from_millis(400);
/// How often to compare where inotify works, and where it does not.
const COMPARE: [Duration; 2] = [Duration::from_secs(5), Duration::from_millis(400)];
/// Bounds of the walk; folders beyond them are seen only by their parents' entries.
const FOLDERS: usize = 4096;
const ENTRIES: usize = 200_000;
const DEPTH: usize = 16;

/// Watches files and folders.
#[derive(Debug)]
pub(crate) struct Watch {
    paths: Vec<PathBuf>,
    inotify: Option<Inotify>,
    fingerprint: u64,
    next_compare: Instant,
}

impl Watch {
    /// Watches these and everything below them.
    pub(crate) fn new(paths: &[PathBuf]) -> Self {
        let mut watch =
            Self { paths: paths.to_vec(), inotify: None, fingerprint: 0, next_compare: Instant::now() };
        watch.arm();
        watch
    }

    /// How changes are noticed, for people.
    pub(crate) fn method(&self) -> &'static str {
        match self.inotify {
            Some(_) => "inotify",
            None => "polling",
        }
    }

    /// Looks again at which folders there are. Call it before reading the files, so that no change falls between.
    pub(crate) fn arm(&mut self) {
        let tree = Tree::walk(&self.paths);
        self.fingerprint = tree.fingerprint;
        self.inotify = watch_folders(&tree.folders).ok();
        self.schedule();
    }

    fn schedule(&mut self) {
        let [with, without] = COMPARE;
        self.next_compare = Instant::now() + if self.inotify.is_some() { with } else { without };
    }

    /// Waits until something changed (true), `other` became readable or `timeout` passed (false).
    pub(crate) fn wait(&mut self, other: BorrowedFd<'_>, timeout: Duration) -> bool {
        let deadline = Instant::now() + timeout;
        loop {
            let until = deadline.min(self.next_compare);
            match self.poll(other, until.saturating_duration_since(Instant::now())) {
                Ready::Change => return self.settle(),
                Ready::Other => return false,
                Ready::Nothing => {}
            }
            if Instant::now() >= self.next_compare {
                self.schedule();
                if Tree::walk(&self.paths).fingerprint != self.fingerprint {
                    return self.settle();
                }
            }
            if Instant::now() >= deadline {
                return false;
            }
        }
    }

    /// Waits for the end of a burst.
    fn settle(&mut self) -> bool {
        let end = Instant::now() + BURST;
        while Instant::now() < end {
            self.drain();
            let Some(inotify) = &self.inotify else {
                std::thread::sleep(QUIET);
                break;
            };
            let mut fds = [PollFd::new(inotify.as_fd(), PollFlags::POLLIN)];
            if !matches!(poll(&mut fds, timeout_of(QUIET)), Ok(ready) if ready > 0) {
                break;
            }
        }
        self.drain();
        true
    }

    fn drain(&self) {
        let Some(inotify) = &self.inotify else { return };
        // Non-blocking: ends with an error when the queue is empty.
        for _ in 0..1024 {
            if inotify.read_events().is_err() {
                return;
            }
        }
    }

    fn poll(&self, other: BorrowedFd<'_>, timeout: Duration) -> Ready {
        let mut fds = vec![PollFd::new(other, PollFlags::POLLIN)];
        if let Some(inotify) = &self.inotify {
            fds.push(PollFd::new(inotify.as_fd(), PollFlags::POLLIN));
        }
        if poll(&mut fds, timeout_of(timeout)).is_err() {
            return Ready::Nothing;
        }
        let is_ready = |fd: &PollFd<'_>| fd.any().unwrap_or(false);
        match (fds.first().is_some_and(is_ready), fds.get(1).is_some_and(is_ready)) {
            (true, _) => Ready::Other,
            (false, true) => Ready::Change,
            (false, false) => Ready::Nothing,
        }
    }
}

enum Ready {
    Change,
    Other,
    Nothing,
}

/// Rounded up, so that a wait never ends just before its deadline again and again.
fn timeout_of(duration: Duration) -> PollTimeout {
    let millis = duration.as_micros().div_ceil(1000);
    PollTimeout::try_from(millis).unwrap_or(PollTimeout::MAX)
}

fn watch_folders(folders: &[PathBuf]) -> nix::Result<Inotify> {
    let inotify = Inotify::init(InitFlags::IN_NONBLOCK | InitFlags::IN_CLOEXEC)?;
    let what = AddWatchFlags::IN_CREATE
        | AddWatchFlags::IN_CLOSE_WRITE
        | AddWatchFlags::IN_MODIFY
        | AddWatchFlags::IN_MOVED_FROM
        | AddWatchFlags::IN_MOVED_TO
        | AddWatchFlags::IN_DELETE
        | AddWatchFlags::IN_ATTRIB
        | AddWatchFlags::IN_DELETE_SELF
        | AddWatchFlags::IN_MOVE_SELF;
    for folder in folders {
        inotify.add_watch(folder, what)?;
    }
    Ok(inotify)
}

/// What is there, by names, sizes and times.
#[derive(Default)]
struct Tree {
    folders: Vec<PathBuf>,
    fingerprint: u64,
}

impl Tree {
    fn walk(paths: &[PathBuf]) -> Self {
        let mut tree = Self::default();
        let mut entries = 0;
        let mut hash = DefaultHasher::new();
        // Depth first with a stack of our own: a cyclic link ends at the depth limit.
        let mut open: Vec<(PathBuf, usize)> = Vec::new();
        for path in paths {
            if path.is_dir() {
                open.push((path.clone(), 0));
            } else {
                // Editors replace files by renaming: that is seen in the folder.
                let parent = path.parent().filter(|parent| !parent.as_os_str().is_empty());
                tree.folders.push(parent.unwrap_or(Path::new(".")).to_path_buf());
                mark(path, &mut hash);
            }
        }
        while let Some((folder, depth)) = open.pop() {
            if tree.folders.len() >= FOLDERS || entries >= ENTRIES {
                break;
            }
            let mut names: Vec<OsString> = fs::read_dir(&folder)
                .into_iter()
                .flatten()
                .flatten()
                .map(|entry| entry.file_name())
                .collect();
            names.sort();
            entries += names.len();
            for name in names {
                let path = folder.join(name);
                mark(&path, &mut hash);
                if depth < DEPTH && path.is_dir() {
                    open.push((path, depth + 1));
                }
            }
            tree.folders.push(folder);
        }
        tree.fingerprint = hash.finish();
        tree
    }
}

fn mark(path: &Path, hash: &mut DefaultHasher) {
    path.hash(hash);
    let Ok(found) = fs::metadata(path) else { return };
    (found.len(), found.modified().ok(), found.permissions().readonly()).hash(hash);
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::io::pipe;

    const PATIENCE: Duration = Duration::from_secs(20);

    fn notices(mut watch: Watch, change: impl FnOnce()) {
        let (never, _writer) = pipe().unwrap();
        assert!(!watch.wait(never.as_fd(), Duration::ZERO), "nothing changed yet");
        change();
        assert!(watch.wait(never.as_fd(), PATIENCE), "by {}", watch.method());
    }

    #[test]
    fn a_written_a_renamed_and_a_removed_file_are_noticed_with_and_without_inotify() {
        for polling in [false, true] {
            let dir = tempfile::tempdir().unwrap();
            let nested = dir.path().join("a/b");
            fs::create_dir_all(&nested).unwrap();
            let file = nested.join("policy.yaml");
            let watch = || {
                let mut watch = Watch::new(&[dir.path().to_path_buf()]);
                if polling {
                    watch.inotify = None;
                    watch.schedule();
                }
                watch
            };
            notices(watch(), || fs::write(&file, "one").unwrap());
            notices(watch(), || fs::write(&file, "three").unwrap());
            notices(watch(), || fs::rename(&file, nested.join("other.yaml")).unwrap());
            notices(watch(), || fs::remove_file(nested.join("other.yaml")).unwrap());
        }
    }

    #[test]
    fn a_single_file_is_watched_through_its_folder() {
        let dir = tempfile::tempdir().unwrap();
        let file = dir.path().join("policy.yaml");
        fs::write(&file, "one").unwrap();
        let replace = || {
            fs::write(dir.path().join("new"), "two").unwrap();
            fs::rename(dir.path().join("new"), &file).unwrap();
        };
        notices(Watch::new(std::slice::from_ref(&file)), replace);
    }

    #[test]
    fn a_signal_ends_the_wait() {
        let dir = tempfile::tempdir().unwrap();
        let (reader, mut writer) = pipe().unwrap();
        std::io::Write::write_all(&mut writer, b"x").unwrap();
        assert!(!Watch::new(&[dir.path().to_path_buf()]).wait(reader.as_fd(), PATIENCE));
    }

    #[test]
    fn a_link_to_its_own_folder_ends() {
        let dir = tempfile::tempdir().unwrap();
        std::os::unix::fs::symlink(dir.path(), dir.path().join("loop")).unwrap();
        assert!(Tree::walk(&[dir.path().to_path_buf()]).folders.len() <= DEPTH + 2);
    }
}
