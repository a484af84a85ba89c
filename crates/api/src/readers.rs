//! Readers of the ledger, lent to threads that may wait for the disk.
//!
//! Guarantees: no more than [`AT_ONCE`] read at the same time; nobody reads longer than [`LIMIT`]; a file that was put aside
//! or replaced is opened anew. Does not: keep anything that was read.

use crate::problem::Problem;
use ledger::Reader;
use std::fs;
use std::os::unix::fs::MetadataExt;
use std::path::PathBuf;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;
use tokio::sync::{OwnedSemaphorePermit, Semaphore};

/// Requests that read at the same time.
const AT_ONCE: usize = 4;
/// How long one may read.
const LIMIT: Duration = Duration::from_secs(10);
/// How long one waits for others.
const PATIENCE: Duration = Duration::from_secs(10);
/// What is ended once may begin something else.
const AGAIN: Duration = Duration::from_millis(100);

/// All readers.
#[derive(Debug)]
pub(crate) struct Readers {
    path: PathBuf,
    room: Arc<Semaphore>,
    idle: Mutex<Vec<Held>>,
}

/// One that is open, and which file it has.
#[derive(Debug)]
struct Held {
    reader: Reader,
    file: (u64, u64),
}

impl Readers {
    /// Of the ledger in a file, which need not be there yet.
    pub(crate) fn new(path: PathBuf) -> Self {
        Self { path, room: Arc::new(Semaphore::new(AT_ONCE)), idle: Mutex::default() }
    }

    /// Has something read on a thread that may wait.
    ///
    /// # Errors
    /// All others are busy for too long, the ledger cannot be opened, or what `read` says.
    pub(crate) async fn read<T: Send + 'static>(
        self: &Arc<Self>,
        read: impl FnOnce(&Reader) -> Result<T, Problem> + Send + 'static,
    ) -> Result<T, Problem> {
        let permit = wait(&self.room, "the ledger").await?;
        let (readers, runtime) = (Arc::clone(self), tokio::runtime::Handle::current());
        let work = move || {
            let _permit = permit;
            let held = readers.take()?;
            let interrupter = held.reader.interrupter();
            let watch = runtime.spawn(async move {
                tokio::time::sleep(LIMIT).await;
                loop {
                    interrupter.interrupt();
                    tokio::time::sleep(AGAIN).await;
                }
            });
            let done = read(&held.reader);
            watch.abort();
            // One that failed may have a file that is damaged.
            if done.is_ok() {
                readers.idle.lock().unwrap_or_else(PoisonError::into_inner).push(held);
            }
            done
        };
        joined(tokio::task::spawn_blocking(work).await)
    }

    fn take(&self) -> Result<Held, Problem> {
        let found = fs::metadata(&self.path).map_err(|error| {
            Problem::unavailable(format!("the ledger {} cannot be read: {error}", self.path.display()))
        })?;
        let file = (found.dev(), found.ino());
        let idle = self.idle.lock().unwrap_or_else(PoisonError::into_inner).pop();
        match idle {
            Some(held) if held.file == file => Ok(held),
            Some(_) | None => Ok(Held { reader: Reader::open(&self.path)?, file }),
        }
    }
}

/// One of the places of those who ask `what` at the same time.
///
/// # Errors
/// None is left for too long.
pub(crate) async fn wait(room: &Arc<Semaphore>, what: &str) -> Result<OwnedSemaphorePermit, Problem> {
    let busy = || Problem::unavailable(format!("too many requests read {what} at the moment"));
    let permit = tokio::time::timeout(PATIENCE, Arc::clone(room).acquire_owned()).await;
    permit.map_err(|_| busy())?.map_err(|_| busy())
}

/// What a thread gave.
fn joined<T>(done: Result<Result<T, Problem>, tokio::task::JoinError>) -> Result<T, Problem> {
    done.unwrap_or_else(|_| {
        Err(Problem::new(hyper::StatusCode::INTERNAL_SERVER_ERROR, "answering this failed; that is a bug"))
    })
}

/// Has something done on a thread that may wait, without a reader.
///
/// # Errors
/// What `work` says.
pub(crate) async fn aside<T: Send + 'static>(
    work: impl FnOnce() -> Result<T, Problem> + Send + 'static,
) -> Result<T, Problem> {
    joined(tokio::task::spawn_blocking(work).await)
}
