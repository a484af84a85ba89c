//! The tasks of one connection: they end with it.

use hyper::rt::Executor;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use tokio::task::JoinSet;

/// Where the tasks of a connection are started.
#[derive(Clone, Debug, Default)]
pub(crate) struct Tasks(Arc<Mutex<JoinSet<()>>>);

impl Tasks {
    fn set(&self) -> MutexGuard<'_, JoinSet<()>> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }

    pub(crate) fn spawn(&self, task: impl Future<Output = ()> + Send + 'static) {
        let mut set = self.set();
        while set.try_join_next().is_some() {}
        set.spawn(task);
    }

    /// Waits for all of them.
    pub(crate) async fn finish(&self) {
        let mut set = std::mem::take(&mut *self.set());
        while set.join_next().await.is_some() {}
    }
}

impl<F: Future<Output: Send> + Send + 'static> Executor<F> for Tasks {
    fn execute(&self, task: F) {
        self.spawn(async {
            task.await;
        });
    }
}

/// Ends the tasks when it goes. They know where they were started, so nothing else would.
#[derive(Debug, Default)]
pub(crate) struct Owner(pub(crate) Tasks);

impl Drop for Owner {
    fn drop(&mut self) {
        self.0.set().abort_all();
    }
}
