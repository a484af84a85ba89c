//! The agent as the feed sees it: takes what is received, says how the node stands.
//!
//! Guarantees: what is received is kept before it is put in force; a copy that cannot be kept is no reason not to enforce.
//! Does not: connect, or decide what to do about a refusal of the kernel.

use super::Agent;
use super::credentials::Credentials;
use super::kept::Kept;
use feed::Replica;
use feed::client::{Enforced, Node};
use feed::tls::Identity;
use policy::{Generation, Key, SecretRef};
use std::collections::BTreeMap;
use std::io;
use std::sync::Arc;
use std::sync::atomic::Ordering;
use tokio::sync::watch;

/// The agent's end of the feed.
pub(crate) struct Link {
    agent: Arc<Agent>,
    kept: Kept,
    credentials: Credentials,
    changes: watch::Receiver<u64>,
    /// Why the copy is not kept.
    unkept: Option<String>,
}

impl Link {
    pub(crate) fn new(agent: Arc<Agent>, kept: Kept, credentials: Credentials) -> Self {
        let changes = agent.changes.subscribe();
        Self { agent, kept, credentials, changes, unkept: None }
    }

    /// Whom it speaks for.
    pub(crate) fn agent(&self) -> &Arc<Agent> {
        &self.agent
    }

    fn enforced(&self) -> Enforced {
        let Some(here) = self.agent.engine().here() else { return Enforced::default() };
        Enforced {
            generation: here.enforced.filter(|generation| *generation > Generation(0)),
            problem: here.problem.or_else(|| self.unkept.clone()),
            endpoints: here.endpoints as u64,
            holds_pods: self.agent.holds_pods.load(Ordering::Relaxed),
        }
    }
}

impl Node for Link {
    async fn identity(&mut self, address: &str) -> io::Result<Identity> {
        self.credentials.identity(address).await
    }

    async fn received(&mut self, replica: &Replica) -> Enforced {
        self.unkept = self.kept.keep(replica).err().map(|error| format!("{error:#}"));
        // Blocks this thread, which has nothing else to do than to wait for it.
        self.agent.load(replica.policy_set());
        self.enforced()
    }

    fn keys(&mut self, keys: BTreeMap<SecretRef, Key>) {
        self.agent.engine().inject_with(keys);
    }

    fn connected(&mut self, problem: Option<String>) {
        let reason = problem.map(|problem| {
            let generation = self.agent.engine().in_force();
            format!("cut off from the controller: {problem}; generation {generation} stays in force")
        });
        let changed = self.agent.engine().cut_off(reason.clone());
        if changed {
            self.agent.say.note(&reason.unwrap_or_else(|| "connected to the controller".to_owned()));
        }
    }

    async fn changed(&mut self) -> Enforced {
        if self.changes.changed().await.is_err() {
            std::future::pending::<()>().await;
        }
        self.enforced()
    }
}
