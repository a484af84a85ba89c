//! From an API server to the nodes: watches, compiles, publishes.
//!
//! Enters: a client of an API server. Leaves: publications on a [`Feed`], and how it goes ([`Status`]).
//! Guarantees: publishes nothing before it has read everything once; while the API server is gone, slow or forgets, the
//! last state stays published; generations only grow; a burst of changes is one state.
//! Does not: write to the API server, enforce, or keep anything over a restart.

pub mod admission;
pub mod authority;
pub mod definition;
mod kinds;
pub mod lease;
pub mod registrar;
mod report;
mod store;
mod watch;
pub mod write;

pub use kinds::Kind;
pub use report::Written;

use compiler::Compiled;
use compiler::lower::Cluster;
use crds::Diagnostic;
use feed::server::{Feed, Publication};
use feed::{Parts, Revisions};
use kube::Client;
use policy::Generation;
use std::collections::BTreeMap;
use std::time::Duration;
use store::{Change, Store};
use tokio::sync::{mpsc, watch as latest};
use tokio::time::{Instant, timeout_at};

/// Changes that wait to be taken in; watches wait when it is full.
const QUEUE: usize = 4096;
/// A burst of changes is over when this long nothing came, and is acted on after at most that long.
const BURST: [Duration; 2] = [Duration::from_millis(5), Duration::from_millis(100)];

/// How the controller stands.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Status {
    /// What is published; `None`: nothing yet.
    pub generation: Option<Generation>,
    /// How far it had read.
    pub revisions: Revisions,
    /// Watches that fail now, and why. The last state stays published.
    pub problems: BTreeMap<Kind, String>,
    /// What the reader and the compiler say of the objects.
    pub diagnostics: Vec<Diagnostic>,
    /// Every policy that was written.
    pub written: Vec<Written>,
    /// Policies in force.
    pub policies: usize,
    /// Scopes closed because something could not be read.
    pub closed_scopes: usize,
}

/// Runs until the future is dropped.
pub async fn run(client: Client, feed: Feed, status: latest::Sender<Status>) {
    let (sender, mut changes) = mpsc::channel(QUEUE);
    for kind in Kind::ALL {
        // Ends when the receiver goes with this future.
        tokio::spawn(watch::watch(client.clone(), kind, sender.clone()));
    }
    let mut store = Store::default();
    let mut standings = feed.standings();
    loop {
        let mut differs = tokio::select! {
            change = changes.recv() => match change {
                Some((kind, change)) => store.take(kind, change),
                None => return,
            },
            // A node may have heard of a higher generation from another replica: go beyond it.
            _ = standings.changed() => is_behind(&feed),
        };
        differs |= rest_of_burst(&mut changes, &mut store).await;
        let problems = store.problems();
        status.send_if_modified(|status| {
            let differs = status.problems != problems;
            status.problems = problems;
            differs
        });
        if differs && store.is_complete() {
            store = publish(store, &feed, &status).await;
        }
    }
}

fn is_behind(feed: &Feed) -> bool {
    feed.current().is_some_and(|current| current.generation < feed.highest())
}

async fn rest_of_burst(changes: &mut mpsc::Receiver<(Kind, Change)>, store: &mut Store) -> bool {
    let [quiet, longest] = BURST;
    let end = Instant::now() + longest;
    let mut differs = false;
    while let Ok(Some((kind, change))) = timeout_at(end.min(Instant::now() + quiet), changes.recv()).await {
        differs |= store.take(kind, change);
        if Instant::now() >= end {
            break;
        }
    }
    differs
}

/// Compiles what there is and makes it the current state. Gives the store back.
async fn publish(store: Store, feed: &Feed, status: &latest::Sender<Status>) -> Store {
    let before = feed.current();
    let last = before.as_ref().map_or(Generation(0), |it| it.generation).max(feed.highest());
    let work = move || {
        let revisions = store.revisions();
        let newest = revisions.values().max().copied().unwrap_or_default();
        let generation = Generation(newest.max(last.0 + 1));
        let (objects, mut diagnostics) = store.objects();
        let Compiled { set, diagnostics: compiled } = compiler::compile(objects, generation);
        diagnostics.extend(compiled);
        let parts = Parts::new(&set, before.as_ref().map(|it| &it.parts));
        (store, revisions, set, parts, diagnostics)
    };
    // A panic while compiling is a bug that must be seen, not a state to go on from.
    let (store, revisions, set, parts, diagnostics) = match tokio::task::spawn_blocking(work).await {
        Ok(done) => done,
        Err(panicked) => std::panic::resume_unwind(panicked.into_panic()),
    };
    let new = Status {
        generation: Some(set.generation),
        revisions: revisions.clone(),
        problems: store.problems(),
        diagnostics,
        written: store.written(),
        policies: set.policies.len(),
        closed_scopes: set.closed.len(),
    };
    let (cluster, generation, keys) = (Cluster::load(&set), set.generation, parts.clone());
    let needs = move |node: &str| {
        let view = cluster.view(node);
        keys.needs(&view.pods, &view.nodes, &view.policies, &view.closed, &set.world)
    };
    feed.publish(Publication { generation, revisions, parts, needs: Box::new(needs) });
    status.send_replace(new);
    store
}
