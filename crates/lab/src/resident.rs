//! One thread per namespace that lives as long as the lab. Threads and processes it starts inherit its network, and
//! children that ask to die with their parent thread do so when the lab ends, not before.

use crate::LabError;
use nix::sched::{CloneFlags, setns};
use std::fs::File;
use std::path::Path;
use std::sync::mpsc::{Sender, channel};
use std::thread::JoinHandle;

type Job = Box<dyn FnOnce() + Send>;

/// The thread that lives in one namespace.
#[derive(Debug)]
pub(crate) struct Resident {
    namespace: String,
    jobs: Option<Sender<Job>>,
    thread: Option<JoinHandle<()>>,
}

impl Resident {
    /// Starts the thread and waits until it is inside.
    pub(crate) fn enter(namespace: &str) -> Result<Self, LabError> {
        let action = format!("entering namespace {namespace}");
        let file =
            File::open(Path::new("/run/netns").join(namespace)).map_err(|e| LabError::io(&action, e))?;
        let (jobs, inbox) = channel::<Job>();
        let (entered, inside) = channel();
        let thread = std::thread::Builder::new()
            .name(namespace.chars().rev().take(15).collect::<Vec<_>>().into_iter().rev().collect())
            .spawn(move || {
                let result = setns(&file, CloneFlags::CLONE_NEWNET);
                let failed = result.is_err();
                if entered.send(result).is_err() || failed {
                    return;
                }
                for job in inbox {
                    job();
                }
            })
            .map_err(|e| LabError::io(&action, e))?;
        let result = inside.recv().map_err(|_| LabError::ResidentGone(namespace.to_owned()))?;
        result.map_err(|e| LabError::io(&action, e))?;
        Ok(Self { namespace: namespace.to_owned(), jobs: Some(jobs), thread: Some(thread) })
    }

    /// Runs `f` on this very thread and waits. Only for what is quick.
    pub(crate) fn call<T, F>(&self, f: F) -> Result<T, LabError>
    where
        T: Send + 'static,
        F: FnOnce() -> T + Send + 'static,
    {
        let gone = || LabError::ResidentGone(self.namespace.clone());
        let (answer, result) = channel();
        let job: Job = Box::new(move || drop(answer.send(f())));
        self.jobs.as_ref().ok_or_else(gone)?.send(job).map_err(|_| gone())?;
        result.recv().map_err(|_| gone())
    }

    /// Starts a thread that lives in the namespace.
    pub(crate) fn spawn<T, F>(&self, f: F) -> Result<JoinHandle<T>, LabError>
    where
        T: Send + 'static,
        F: FnOnce() -> T + Send + 'static,
    {
        let namespace = self.namespace.clone();
        self.call(move || std::thread::Builder::new().spawn(f))?
            .map_err(|e| LabError::io(format!("starting a thread in {namespace}"), e))
    }

    /// Runs `f` on a thread of its own in the namespace and waits.
    pub(crate) fn run<T, F>(&self, f: F) -> Result<T, LabError>
    where
        T: Send + 'static,
        F: FnOnce() -> T + Send + 'static,
    {
        self.spawn(f)?.join().map_err(|_| LabError::ResidentGone(self.namespace.clone()))
    }
}

impl Drop for Resident {
    fn drop(&mut self) {
        drop(self.jobs.take());
        if let Some(thread) = self.thread.take() {
            drop(thread.join());
        }
    }
}
