//! Containments in the cluster that this process runs in, for those who may wait.
//!
//! Enters: containments. Leaves: objects of the API server, and whether they are in force. Guarantees: whoever asks waits for a
//! bounded time. Does not: put anything in force; the controller and the nodes do.

use controller::contain::{Containments, NotContained, Stand};
use incident::Containment;
use kube::Client;
use std::sync::mpsc::sync_channel;
use std::time::{Duration, Instant};
use tokio::runtime::Handle;

/// How long a containment may take to be in force before it is said that it is not yet, and how often that is looked at.
const SETTLES: Duration = Duration::from_secs(10);
const LOOK: Duration = Duration::from_millis(200);

/// The API server, on the runtime of another thread.
#[derive(Clone)]
pub(crate) struct Cluster {
    runtime: Handle,
    client: Client,
    containments: Containments,
}

impl std::fmt::Debug for Cluster {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("Cluster")
    }
}

impl Cluster {
    pub(crate) fn new(runtime: Handle, client: Client) -> Self {
        Self { runtime, client: client.clone(), containments: Containments::new(client) }
    }

    /// Has something done that asks it, until the process ends.
    pub(crate) fn begin<F>(&self, work: impl FnOnce(Client) -> F)
    where
        F: Future<Output = ()> + Send + 'static,
    {
        self.runtime.spawn(work(self.client.clone()));
    }

    /// Has something asked, and waits. Not for threads of an asynchronous runtime.
    fn wait<T, F>(&self, ask: impl FnOnce(Containments) -> F) -> Result<T, NotContained>
    where
        T: Send + 'static,
        F: Future<Output = Result<T, NotContained>> + Send + 'static,
    {
        let (done, answer) = sync_channel(1);
        let asking = ask(self.containments.clone());
        self.runtime.spawn(async move {
            // Whoever asked waits.
            let _ = done.send(asking.await);
        });
        let ends = || Err(NotContained::Failed("this process ends".to_owned()));
        answer.recv().unwrap_or_else(|_| ends())
    }

    /// How the one for a workload stands; `None`: there is none.
    pub(crate) fn stand(&self, workload: &str) -> Result<Option<Stand>, NotContained> {
        let name = Containment::name_for(workload);
        self.wait(|it| async move { it.stand(&name).await })
    }

    /// Writes one over what was read. How it stood when it was in force, or when that had been waited for long enough.
    pub(crate) fn contain(
        &self,
        containment: &Containment,
        over: Option<Stand>,
    ) -> Result<Stand, NotContained> {
        let (name, object) = (Containment::name_for(&containment.workload), containment.object());
        self.wait(|it| async move { it.write(&name, &object, over.as_ref()).await })?;
        let end = Instant::now() + SETTLES;
        loop {
            let stand = self.stand(&containment.workload)?.unwrap_or_default();
            if stand.is_in_force || Instant::now() >= end {
                return Ok(stand);
            }
            std::thread::sleep(LOOK);
        }
    }

    /// Removes the one for a workload. Whether there was one.
    pub(crate) fn release(&self, workload: &str) -> Result<bool, NotContained> {
        let name = Containment::name_for(workload);
        self.wait(|it| async move { it.remove(&name).await })
    }
}
