//! Streams of HTTP/2 whose clients take nothing of their answers.
//!
//! A client that grants no window stops its stream and not its connection, so that no write to the socket is late, and nobody asks the
//! answer for more, where time could be looked at. Guarantees: such a stream is ended after twice the time at most, and with it
//! what its answer holds. Does not: end the connection, which may have others.

use hyper::rt::Executor;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::time::Duration;
use tokio::time::sleep;

tokio::task_local! {
    static TAKING: Arc<Taking>;
}

/// How one answer is taken.
#[derive(Debug, Default)]
pub(crate) struct Taking {
    pieces: AtomicU64,
    /// Whether there is something that its client did not take.
    waits: AtomicBool,
}

impl Taking {
    /// Of the stream whose task this is; `None`: it is none of HTTP/2. Its answer begins.
    pub(crate) fn begin() -> Option<Arc<Self>> {
        let taking = TAKING.try_with(Arc::clone).ok()?;
        taking.given();
        Some(taking)
    }

    /// A piece was given out.
    pub(crate) fn given(&self) {
        self.pieces.fetch_add(1, Ordering::Relaxed);
        self.waits.store(true, Ordering::Relaxed);
    }

    /// More is asked for.
    pub(crate) fn asked(&self) {
        self.waits.store(false, Ordering::Relaxed);
    }

    /// Returns when nothing was taken for so long.
    async fn stops(&self, within: Duration) {
        loop {
            let before = self.pieces.load(Ordering::Relaxed);
            sleep(within).await;
            if self.waits.load(Ordering::Relaxed) && self.pieces.load(Ordering::Relaxed) == before {
                return;
            }
        }
    }
}

/// Runs the streams of a connection.
#[derive(Clone, Debug)]
pub(crate) struct Streams {
    /// For a client that takes nothing of its answer.
    pub(crate) within: Duration,
}

impl<F: Future<Output: Send> + Send + 'static> Executor<F> for Streams {
    fn execute(&self, stream: F) {
        let (taking, within) = (Arc::<Taking>::default(), self.within);
        let watched = Arc::clone(&taking);
        tokio::spawn(TAKING.scope(taking, async move {
            tokio::select! {
                biased;
                _over = stream => {}
                () = watched.stops(within) => {}
            }
        }));
    }
}
