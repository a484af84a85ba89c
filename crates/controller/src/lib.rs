//! From an API server to the nodes: watches, compiles, publishes.
//!
//! Enters: a client of an API server, and the catalog of providers. Leaves: publications on a [`Feed`], and how it goes ([`Status`]).
//! Guarantees: publishes nothing before it has read everything once; while the API server is gone, slow or forgets, the
//! last state stays published; generations only grow; a burst of changes is one state; a containment is published until its time
//! is over, by this process's clock.
//! Does not: write to the API server, enforce, or keep anything over a restart.

mod absent;
pub mod admission;
pub mod authority;
pub mod beside;
pub mod contain;
pub mod definition;
pub mod follow;
pub mod ingress;
pub mod inject;
pub mod inspection;
mod kinds;
pub mod lease;
pub mod policies;
pub mod registrar;
mod report;
pub mod reviewer;
mod share;
pub mod standing;
mod store;
pub mod trust;
mod watch;
pub mod write;

pub use absent::{Absent, Definition};
pub use kinds::Kind;
pub use report::{Tuning, Written};

use beside::{Asking, Candidate};
use compiler::Compiled;
use crds::{Catalog, Diagnostic};
use feed::server::{Feed, Publication};
use feed::{Parts, Revisions};
use fleet::Judged;
use kube::Client;
use policy::{Generation, PolicySet};
use share::Shares;
use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::{Duration, SystemTime, UNIX_EPOCH};
use store::{Change, Store};
use tokio::sync::{mpsc, watch as latest};
use tokio::time::{Instant, timeout_at};

/// Changes that wait to be taken in; watches wait when it is full.
const QUEUE: usize = 1024;
/// A burst of changes is over when this long nothing came, and is acted on after at most that long.
const BURST: [Duration; 2] = [Duration::from_millis(5), Duration::from_millis(100)];

/// How often it is looked whether a containment's time is over.
const LOOK: Duration = Duration::from_secs(1);

/// How the controller stands.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Status {
    /// What is published; `None`: nothing yet.
    pub generation: Option<Generation>,
    /// How far it had read.
    pub revisions: Revisions,
    /// Watches that fail now, and why. The last state stays published.
    pub problems: BTreeMap<Kind, String>,
    /// Kinds that the API server knew, or has a definition of, and does not know now.
    pub absent: BTreeMap<Kind, Absent>,
    /// What the reader and the compiler say of the objects.
    pub diagnostics: Vec<Diagnostic>,
    /// What is odd about the policies in force: of a moment ago, for it takes its time.
    pub findings: Vec<Diagnostic>,
    /// Every policy that was written.
    pub written: Vec<Written>,
    /// DetectionPolicies in force.
    pub tunings: Vec<Tuning>,
    /// Policies in force.
    pub policies: usize,
    /// Scopes closed because something could not be read.
    pub closed_scopes: usize,
}

/// Whether Secrets are read whose keys rules put into requests.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum ProviderKeys {
    /// They are not: what such rules allow is refused.
    #[default]
    NotRead,
    /// Those that are labelled `cofferdam.dev/inject: "true"`.
    Read,
}

/// What is read that not every cluster has.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Reads {
    /// Secrets with keys.
    pub provider_keys: ProviderKeys,
    /// The namespace in which what is known of other clusters stands; `None`: nothing is.
    pub elsewhere: Option<String>,
}

/// Runs until the future is dropped. Another catalog is another state of policy. What is asked for besides is judged beside it.
pub async fn run(
    client: Client,
    feed: Feed,
    catalog: latest::Receiver<Arc<Catalog>>,
    status: latest::Sender<Status>,
    reads: Reads,
    asking: Option<Asking>,
) {
    let (to_lint, sets) = latest::channel(None);
    let (to_judge, candidates) = latest::channel(None);
    let (wanted, judging) = match asking {
        Some(Asking { wanted, said }) => (Some(wanted), Some(said)),
        None => (None, None),
    };
    let judge = async {
        match judging {
            Some(said) => beside::run(feed.clone(), candidates, said).await,
            None => std::future::pending().await,
        }
    };
    let beside = (wanted, to_judge);
    tokio::select! {
        () = publish_changes(client, feed.clone(), catalog, (&status, to_lint), reads, beside) => {}
        () = find(sets, &status) => {}
        () = judge => {}
    }
}

/// Looks for what is odd in the newest state, again and again, with a pause in between.
async fn find(mut sets: latest::Receiver<Option<Arc<PolicySet>>>, status: &latest::Sender<Status>) {
    while sets.changed().await.is_ok() {
        let Some(set) = sets.borrow_and_update().clone() else { continue };
        let begin = Instant::now();
        // A panic here is a bug that must be seen.
        let findings = match tokio::task::spawn_blocking(move || compiler::lint::lint(&set)).await {
            Ok(findings) => findings,
            Err(panicked) => std::panic::resume_unwind(panicked.into_panic()),
        };
        status.send_if_modified(|status| {
            let differs = status.findings != findings;
            status.findings = findings;
            differs
        });
        // A tenth of one processor at most.
        tokio::time::sleep(Duration::from_millis(200).max(begin.elapsed() * 9)).await;
    }
}

async fn publish_changes(
    client: Client,
    feed: Feed,
    mut catalog: latest::Receiver<Arc<Catalog>>,
    (status, to_lint): (&latest::Sender<Status>, latest::Sender<Option<Arc<PolicySet>>>),
    Reads { provider_keys, elsewhere }: Reads,
    (mut wanted, to_judge): Judging,
) {
    let (sender, mut changes) = mpsc::channel(QUEUE);
    let mut store = Store::default();
    for kind in Kind::ALL {
        let is_left_out = kind == Kind::Secret && provider_keys == ProviderKeys::NotRead
            || matches!(kind, Kind::IdentitySlice | Kind::ImportedSlice) && elsewhere.is_none();
        if is_left_out {
            store.take(kind, Change::NotRead);
            continue;
        }
        // Whoever may write in a namespace of their own says nothing of other clusters.
        let within = elsewhere.clone().filter(|_| kind == Kind::IdentitySlice);
        // Ends when the receiver goes with this future.
        tokio::spawn(watch::watch(client.clone(), kind, within, sender.clone()));
    }
    let mut highest = feed.highest();
    let mut over = 0;
    loop {
        let mut is_wanted_anew = false;
        let [containments, _] = store.containments(0);
        let mut differs = tokio::select! {
            change = changes.recv() => match change {
                Some((kind, change)) => store.take(kind, change),
                None => return,
            },
            // A node may have heard of a higher generation from another replica: go beyond it.
            _ = highest.changed() => is_behind(&feed),
            // Whoever gave the catalog may be gone; then it stays as it is.
            Ok(()) = catalog.changed() => true,
            Ok(()) = wanted_anew(wanted.as_mut()) => {
                is_wanted_anew = true;
                false
            }
            // By the clock on the wall, which may be set.
            () = tokio::time::sleep(LOOK), if containments > 0 => false,
        };
        differs |= rest_of_burst(&mut changes, |kind, change| store.take(kind, change)).await;
        let (problems, absent) = (store.problems(), store.absent());
        status.send_if_modified(|status| {
            let differs = status.problems != problems || status.absent != absent;
            (status.problems, status.absent) = (problems, absent);
            differs
        });
        let now = seconds();
        let [_, over_now] = store.containments(now);
        differs |= over_now != over;
        if differs && store.is_complete() {
            over = over_now;
            let latest = catalog.borrow_and_update().clone();
            store = publish((store, now), latest, &feed, status, &to_lint).await;
        } else if store.is_complete() {
            feed.reach(store.reached());
        }
        // After what is enforced, for which nobody waits then.
        if let Some(wanted) = wanted.as_mut().filter(|_| (differs || is_wanted_anew) && store.is_complete()) {
            let (wanted, latest) = (wanted.borrow_and_update().clone(), catalog.borrow().clone());
            store = judge_by((store, now), latest, wanted, &to_judge).await;
        }
    }
}

/// What is to be judged beside, if anybody may ask for that, and where what is judged by goes.
type Judging = (Option<latest::Receiver<Option<Arc<Judged>>>>, latest::Sender<Option<Arc<Candidate>>>);

/// Waits until something else is to be judged by. Nobody who asks: for ever.
async fn wanted_anew(
    wanted: Option<&mut latest::Receiver<Option<Arc<Judged>>>>,
) -> Result<(), latest::error::RecvError> {
    match wanted {
        Some(wanted) => wanted.changed().await,
        None => std::future::pending().await,
    }
}

/// Compiles what is judged beside. Gives the store back.
async fn judge_by(
    (store, now): (Store, u64),
    catalog: Arc<Catalog>,
    wanted: Option<Arc<Judged>>,
    to_judge: &latest::Sender<Option<Arc<Candidate>>>,
) -> Store {
    let work = move || {
        let candidate =
            wanted.map(|judged| Arc::new(Candidate::new(&judged, store.objects_of_others(now), &catalog)));
        (store, candidate)
    };
    // A panic while compiling is a bug that must be seen, not a state to go on from.
    let (store, candidate) = match tokio::task::spawn_blocking(work).await {
        Ok(done) => done,
        Err(panicked) => std::panic::resume_unwind(panicked.into_panic()),
    };
    to_judge.send_if_modified(|judged| {
        let differs = judged.is_some() || candidate.is_some();
        *judged = candidate;
        differs
    });
    store
}

/// Since 1970. A clock before that ends nothing.
fn seconds() -> u64 {
    SystemTime::now().duration_since(UNIX_EPOCH).map_or(0, |since| since.as_secs())
}

fn is_behind(feed: &Feed) -> bool {
    feed.current().is_some_and(|current| current.generation < *feed.highest().borrow())
}

/// Takes in what comes until nothing comes for a moment. Whether anything differs by it.
async fn rest_of_burst<K>(
    changes: &mut mpsc::Receiver<(K, Change)>,
    mut take: impl FnMut(K, Change) -> bool,
) -> bool {
    let [quiet, longest] = BURST;
    let end = Instant::now() + longest;
    let mut differs = false;
    while let Ok(Some((kind, change))) = timeout_at(end.min(Instant::now() + quiet), changes.recv()).await {
        differs |= take(kind, change);
        if Instant::now() >= end {
            break;
        }
    }
    differs
}

/// Compiles what there is at a time and makes it the current state. Gives the store back.
async fn publish(
    (store, now): (Store, u64),
    catalog: Arc<Catalog>,
    feed: &Feed,
    status: &latest::Sender<Status>,
    to_lint: &latest::Sender<Option<Arc<PolicySet>>>,
) -> Store {
    let before = feed.current();
    let last = before.as_ref().map_or(Generation(0), |it| it.generation).max(*feed.highest().borrow());
    let work = move || {
        let (revisions, reached) = (store.revisions(), store.reached());
        let newest = revisions.values().max().copied().unwrap_or_default();
        let generation = Generation(newest.max(last.0.saturating_add(1)));
        // What is odd but legal is found later: enforcement does not wait for it.
        let Compiled { set, diagnostics: compiled, keys } =
            compiler::compile_prepared(store.objects(now), &catalog, generation);
        let diagnostics = [store.diagnostics(), compiled].concat();
        let tunings = Tuning::all(&set, store.tunings());
        let set = Arc::new(set);
        let parts = Arc::new(Parts::new(&set, before.as_ref().map(|it| &*it.parts)));
        let needs = Box::new(Shares::new(Arc::clone(&set), Arc::clone(&parts), keys));
        (store, set, (diagnostics, tunings), Publication { generation, revisions, reached, parts, needs })
    };
    // A panic while compiling is a bug that must be seen, not a state to go on from.
    let (store, set, (diagnostics, tunings), publication) = match tokio::task::spawn_blocking(work).await {
        Ok(done) => done,
        Err(panicked) => std::panic::resume_unwind(panicked.into_panic()),
    };
    let read = publication.revisions.clone();
    feed.publish(publication);
    let (written, problems, absent) = (store.written(now), store.problems(), store.absent());
    status.send_modify(|status| {
        *status = Status {
            generation: Some(set.generation),
            revisions: read,
            problems,
            absent,
            diagnostics,
            findings: std::mem::take(&mut status.findings),
            written,
            tunings,
            policies: set.policies.len(),
            closed_scopes: set.closed.len(),
        };
    });
    to_lint.send_replace(Some(set));
    store
}
