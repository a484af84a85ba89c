//! The store that records are asked of instead of the ledger's file, where there is one.
//!
//! Enters: questions. Leaves: what the store answers. Guarantees: no more than [`AT_ONCE`] ask it at the same time, and none of them
//! takes the place of who reads the ledger's file, so that a store that is slow or away holds up nobody else; where it does not answer,
//! nothing else does in its place. Does not: end a question: the store bounds what one may take.

use crate::problem::Problem;
use crate::readers::{aside, wait};
use ledger::BoundedStore;
use std::fmt;
use std::sync::Arc;
use tokio::sync::Semaphore;

/// Requests that ask at the same time.
const AT_ONCE: usize = 4;

/// A store, and how it is called where people read of it.
#[derive(Clone)]
pub struct Elsewhere {
    name: String,
    store: Arc<dyn BoundedStore + Send + Sync>,
    room: Arc<Semaphore>,
}

impl fmt::Debug for Elsewhere {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Elsewhere").field("name", &self.name).finish_non_exhaustive()
    }
}

impl Elsewhere {
    /// `name` has nothing secret in it. The store bounds how long it takes for an answer.
    #[must_use]
    pub fn new(name: String, store: Arc<dyn BoundedStore + Send + Sync>) -> Self {
        Self { name, store, room: Arc::new(Semaphore::new(AT_ONCE)) }
    }

    /// How it is called.
    #[must_use]
    pub fn name(&self) -> &str {
        &self.name
    }

    /// Has something asked on a thread that may wait.
    ///
    /// # Errors
    /// All others are busy for too long, or what `ask` says.
    pub(crate) async fn ask<T: Send + 'static>(
        &self,
        ask: impl FnOnce(&dyn BoundedStore) -> Result<T, Problem> + Send + 'static,
    ) -> Result<T, Problem> {
        let permit = wait(&self.room, &self.name).await?;
        let store = Arc::clone(&self.store);
        aside(move || {
            let _permit = permit;
            ask(&*store)
        })
        .await
    }
}
