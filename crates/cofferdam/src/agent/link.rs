//! The agent as the feed sees it: takes what is received, says how the node stands.
//!
//! Guarantees: what is received is kept before it is put in force; a copy that cannot be kept is no reason not to enforce.
//! Does not: connect, or decide what to do about a refusal of the kernel.

use super::Agent;
use super::credentials::Credentials;
use super::kept::Kept;
use crate::up::finding::FindingQuery;
use feed::Replica;
use feed::access::{Accesses, Asks};
use feed::client::{Enforced, News, Node};
use feed::tls::Identity;
use policy::{Generation, Key, SecretRef};
use std::collections::BTreeMap;
use std::io;
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::Duration;
use tokio::sync::watch;
use tokio::time::{Instant, sleep_until};

/// The agent's end of the feed.
pub(crate) struct Link {
    agent: Arc<Agent>,
    kept: Kept,
    credentials: Credentials,
    changes: watch::Receiver<u64>,
    /// Why the copy is not kept.
    unkept: Option<String>,
    /// When is told next what pods opened; `None`: nobody asks.
    tells: Option<Instant>,
    /// Events that the kernel could not hand over until then.
    lost: u64,
    /// The last finding that was told, or was there before anybody asked.
    found: u64,
    /// Records that detectors had no room for until then.
    unwatched: u64,
}

/// How often is told what pods opened.
const PACE: Duration = Duration::from_secs(3);

impl Link {
    pub(crate) fn new(agent: Arc<Agent>, kept: Kept, credentials: Credentials) -> Self {
        let changes = agent.changes.subscribe();
        Self { agent, kept, credentials, changes, unkept: None, tells: None, lost: 0, found: 0, unwatched: 0 }
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

impl Link {
    /// What pods opened since it was told last, with the names by which they know whom.
    fn seen(&mut self) -> Accesses {
        let mut accesses = self.agent.journal.sightings.take();
        let engine = self.agent.engine();
        for (seen, _) in &mut accesses.seen {
            if let (Some(pod), None) = (&seen.from.pod, &seen.to.pod) {
                (seen.names, seen.unfollowed) = engine.names_known(seen.from.address, pod, seen.to.address);
            }
        }
        let lost = engine.here().map_or(0, |here| here.lost_events);
        drop(engine);
        accesses.lost = accesses.lost.saturating_add(lost.saturating_sub(self.lost));
        self.lost = lost;
        self.findings(&mut accesses);
        accesses
    }

    /// Adds what detectors told since then. What they did not look at counts as not seen.
    fn findings(&mut self, accesses: &mut Accesses) {
        let page = self.agent.journal.findings.after(self.found, &FindingQuery::default(), Duration::ZERO);
        self.found = page.cursor;
        accesses.found = page.records.iter().map(|it| it.found()).collect();
        let unwatched = self.unwatched();
        let more = page.missed.saturating_add(unwatched.saturating_sub(self.unwatched));
        accesses.lost = accesses.lost.saturating_add(more);
        self.unwatched = unwatched;
    }

    fn unwatched(&self) -> u64 {
        self.agent.journal.detection().map_or(0, |it| it.lost)
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

    fn asked(&mut self, asks: Asks) {
        let mut engine = self.agent.engine();
        // That it is not put in force shows in the status, as always.
        let _ = engine.follow_names(asks.names);
        self.lost = engine.here().map_or(0, |here| here.lost_events);
        drop(engine);
        self.agent.journal.sightings.ask(asks.number);
        let none = FindingQuery { limit: Some(0), ..FindingQuery::default() };
        self.found = self.agent.journal.findings.newest(&none).cursor;
        self.unwatched = self.unwatched();
        self.tells = (asks.number > 0).then(|| Instant::now() + PACE);
    }

    async fn news(&mut self) -> News {
        let Some(at) = self.tells else { return News::Enforced(self.changed().await) };
        tokio::select! {
            enforced = self.changed() => News::Enforced(enforced),
            () = sleep_until(at) => {
                self.tells = Some(Instant::now() + PACE);
                News::Seen(self.seen())
            }
        }
    }
}
