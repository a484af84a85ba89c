//! Pods of exported namespaces, told to other clusters through the hub, and theirs, taken from there.
//!
//! Enters: a client of the hub's API server, one of the cluster's own. Leaves: at the hub, slices of the cluster's exported pods
//! and a lease that says that they are how things are; in the cluster, the slices of others that its namespaces import.
//! Guarantees: as [`state`] says; nobody connects to a cluster; a change of a pod writes the slice that it is in and no other, and
//! elsewhere has that one looked at and no other; the lease is renewed only while what is exported is what there is; while the hub is gone, what was taken stays, until it expires.
//! Does not: decide what a rule means by it; the cluster's controller does.

mod known;
mod room;
mod shelf;
mod state;
#[cfg(test)]
mod tests;

use crate::local::why;
use crate::resource;
use futures_util::{StreamExt, stream};
use k8s_openapi::api::coordination::v1::Lease;
use k8s_openapi::api::core::v1::{Namespace, Pod};
use k8s_openapi::jiff::Timestamp;
use kube::api::{DeleteParams, DynamicObject, Patch, PatchParams};
use kube::runtime::WatchStreamExt;
use kube::runtime::watcher::{Config, Error as WatchError, Event, watcher};
use kube::{Api, Client};
use serde::de::DeserializeOwned;
use serde_json::json;
use state::{Side, State, Write};
use std::collections::{BTreeMap, BTreeSet};
use std::fmt::Debug;
use std::pin::pin;
use std::time::Duration;
use tokio::sync::{mpsc, watch};
use tokio::task::JoinSet;
use tokio::time::{Instant, sleep, sleep_until, timeout, timeout_at};

/// For how long the identities of a cluster that is silent are believed, where nobody says otherwise.
pub const EXPIRE_AFTER: Duration = Duration::from_secs(3600);
/// How often the cluster says that it lives.
const BEAT: Duration = Duration::from_secs(20);
/// Soonest next try of what could not be written, and how often it is looked who is silent.
const AGAIN: Duration = Duration::from_secs(2);
/// How long an API server may take to answer.
const PATIENCE: Duration = Duration::from_secs(10);
/// Changes that wait to be taken in; watches wait when it is full.
const QUEUE: usize = 1024;
/// A burst of changes is over when this long nothing came, and is acted on after at most that long.
const BURST: [Duration; 2] = [Duration::from_millis(5), Duration::from_millis(100)];
/// Objects that are written at a time.
const AT_ONCE: usize = 8;
/// Objects asked for at a time.
const PAGE: u32 = 500;
/// The lease by which a cluster says that it lives.
const LEASE: &str = "cofferdam-identities";
/// Soonest next list of the hub because more is imported, and because there is room again for what found none.
const LIST_AGAIN: [Duration; 2] = [Duration::from_secs(2), Duration::from_secs(60)];
/// Whose fields these are.
const MANAGER: &str = "cofferdam-identities";

/// What a cluster is told that tells its identities.
#[derive(Clone, Debug)]
pub struct Sharing {
    /// Name of the cluster, which is that of its namespace at the hub.
    pub cluster: String,
    /// Namespace of its own objects, in the cluster: where what is imported stands.
    pub namespace: String,
    /// For how long a cluster that is silent is believed.
    pub expire_after: Duration,
}

/// How it goes.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Shared {
    /// Slices at the hub that are this cluster's.
    pub exported: usize,
    /// Slices in the cluster that are others'.
    pub imported: usize,
    /// Clusters that were silent too long: what rules allow them is closed.
    pub silent: BTreeSet<String>,
    /// What is wrong.
    pub problems: Vec<String>,
}

/// Watches of what others tell. While they fail, what is exported is as true as before.
const OF_OTHERS: [&str; 2] = ["what was imported", "leases at the hub"];

/// What a watch says.
enum News {
    Namespace(Event<Namespace>),
    Pod(String, Box<Event<Pod>>),
    /// By the number of the watch: one that was ended may still say something.
    AtHub(u64, Event<DynamicObject>),
    Here(Event<DynamicObject>),
    Lease(Event<Lease>),
    /// A watch fails; it goes on by itself.
    Failed(String),
}

impl News {
    /// A list is asked for: whether there is an answer is not known yet.
    fn is_only_asked_for(&self) -> bool {
        match self {
            Self::Namespace(event) => matches!(event, Event::Init),
            Self::Pod(_, event) => matches!(**event, Event::Init),
            Self::AtHub(_, event) | Self::Here(event) => matches!(event, Event::Init),
            Self::Lease(event) => matches!(event, Event::Init),
            Self::Failed(_) => false,
        }
    }
}

/// A watch, by what it is of, and what it says.
type Told = (String, News);

/// Runs until the future is dropped. `shared`: how it goes.
pub async fn share(hub: Client, local: Client, sharing: Sharing, shared: watch::Sender<Shared>) {
    let (sender, mut news) = mpsc::channel::<Told>(QUEUE);
    let mut sharer = Sharer::new(hub, local, &sharing, sender);
    let (mut beat, mut look, mut owes) = (Instant::now(), Instant::now() + AGAIN, false);
    loop {
        tokio::select! {
            told = news.recv() => match told {
                Some(told) => sharer.take(told),
                None => return,
            },
            () = sleep_until(look) => {}
        }
        let [quiet, longest] = BURST;
        let end = Instant::now() + longest;
        while let Ok(Some(told)) = timeout_at(end.min(Instant::now() + quiet), news.recv()).await {
            sharer.take(told);
            if Instant::now() >= end {
                break;
            }
        }
        sharer.follow_slices();
        sharer.follow_pods();
        let is_due = Instant::now() >= look;
        if is_due {
            look = Instant::now() + AGAIN;
            sharer.state.look();
        }
        // What could not be written is not tried again at every change of something else.
        if !owes || is_due {
            owes = !sharer.write().await;
        }
        // What could not be told is not said to be how things are.
        if Instant::now() >= beat && sharer.has_told_all() {
            let told = sharer.beat().await;
            beat = Instant::now() + if told { BEAT } else { AGAIN };
        }
        shared.send_if_modified(|shared| {
            let now = sharer.shared();
            let differs = *shared != now;
            *shared = now;
            differs
        });
    }
}

struct Sharer {
    hub: Client,
    local: Client,
    cluster: String,
    state: State,
    to: mpsc::Sender<Told>,
    /// Ends with this.
    watches: JoinSet<()>,
    pods: BTreeMap<String, tokio::task::AbortHandle>,
    /// The watch of slices at the hub, its number, and since when it is.
    slices: Option<(tokio::task::AbortHandle, u64, Instant)>,
    /// Watches that fail, and why.
    failing: BTreeMap<String, String>,
    /// What could not be written, and why.
    unwritten: Vec<String>,
    /// Whether some of that is for the hub.
    untold: bool,
    /// What cannot be taken, and why.
    refused: Vec<String>,
    unheard: Option<String>,
    silent: BTreeSet<String>,
}

fn slices(client: &Client, namespace: Option<&str>) -> Api<DynamicObject> {
    let kind = resource(["cofferdam.dev", "v1alpha1", "IdentitySlice", "identityslices"]);
    match namespace {
        Some(namespace) => Api::namespaced_with(client.clone(), namespace, &kind),
        None => Api::all_with(client.clone(), &kind),
    }
}

impl Sharer {
    fn new(hub: Client, local: Client, sharing: &Sharing, to: mpsc::Sender<Told>) -> Self {
        let Sharing { cluster, namespace, expire_after } = sharing;
        let mut watches = JoinSet::new();
        let all = Config::default().page_size(PAGE);
        let namespaces: Api<Namespace> = Api::all(local.clone());
        watches.spawn(follow("namespaces".to_owned(), namespaces, all.clone(), to.clone(), News::Namespace));
        let here = slices(&local, Some(namespace));
        let [imported, leases_at_hub] = OF_OTHERS.map(str::to_owned);
        watches.spawn(follow(imported, here, all, to.clone(), News::Here));
        let only = Config::default().page_size(PAGE).fields(&format!("metadata.name={LEASE}"));
        let leases: Api<Lease> = Api::all(hub.clone());
        watches.spawn(follow(leases_at_hub, leases, only, to.clone(), News::Lease));
        Self {
            hub,
            local,
            cluster: cluster.clone(),
            state: State::new(cluster, namespace, *expire_after),
            to,
            watches,
            pods: BTreeMap::new(),
            slices: None,
            failing: BTreeMap::new(),
            unwritten: Vec::new(),
            untold: false,
            refused: Vec::new(),
            unheard: None,
            silent: BTreeSet::new(),
        }
    }

    fn take(&mut self, (of, news): Told) {
        let is_only_asked_for = news.is_only_asked_for();
        match news {
            News::Failed(why) => {
                self.failing.insert(of, why);
                return;
            }
            News::Namespace(event) => {
                let labelled = event_of(event, |namespace| {
                    let labels = namespace.metadata.labels.unwrap_or_default();
                    (namespace.metadata.name.unwrap_or_default(), labels)
                });
                self.state.namespace(labelled);
            }
            // One of a watch that has just ended.
            News::Pod(namespace, _) if !self.pods.contains_key(&namespace) => {}
            News::Pod(namespace, event) => self.state.pod(&namespace, *event),
            News::AtHub(number, _) if self.slices.as_ref().is_none_or(|(_, now, _)| *now != number) => {}
            News::AtHub(_, event) => self.state.slice_at_hub(event),
            News::Here(event) => self.state.slice_here(event),
            News::Lease(event) => {
                let said = event_of(event, |lease| {
                    let renewed = lease.spec.and_then(|spec| spec.renew_time);
                    let said = renewed.map(|time| time.0.to_string()).unwrap_or_default();
                    (lease.metadata.namespace.unwrap_or_default(), said)
                });
                self.state.lease(said, age);
            }
        }
        if !is_only_asked_for {
            self.failing.remove(&of);
        }
    }

    /// Whether what the hub has of this cluster is all that there is to say.
    fn has_told_all(&self) -> bool {
        let fails = self.failing.keys().any(|of| !OF_OTHERS.contains(&of.as_str()));
        !self.untold && !fails && self.state.is_settled()
    }

    /// Watches the slices at the hub once it is known what is imported, so that nothing else is kept of them; and lists them anew where
    /// something is wanted that was not kept.
    fn follow_slices(&mut self) {
        if !self.state.namespaces.is_whole() {
            return;
        }
        let number = match &self.slices {
            None => 0,
            Some((watch, number, since)) => {
                let [more, room] = LIST_AGAIN;
                let is_due = (self.state.imports_more && since.elapsed() >= more)
                    || (self.state.has_room_again() && since.elapsed() >= room);
                // One that has not listed yet is left to it.
                if !is_due || !self.state.at_hub.is_whole() {
                    return;
                }
                watch.abort();
                number.wrapping_add(1)
            }
        };
        // What is labelled from now on is not in this list.
        self.state.imports_more = false;
        let wrap = move |event| News::AtHub(number, event);
        let config = Config::default().page_size(PAGE);
        let watch =
            follow("slices at the hub".to_owned(), slices(&self.hub, None), config, self.to.clone(), wrap);
        self.slices = Some((self.watches.spawn(watch), number, Instant::now()));
    }

    /// Watches the pods of the namespaces that are exported now, and no others.
    fn follow_pods(&mut self) {
        // Where a pod was before is known first.
        if !self.state.at_hub.is_whole() || !self.state.namespaces.is_whole() {
            return;
        }
        let wanted = self.state.to_watch();
        self.pods.retain(|namespace, watch| {
            let stays = wanted.contains(namespace);
            if !stays {
                watch.abort();
                self.failing.remove(&format!("pods of namespace {namespace}"));
            }
            stays
        });
        for namespace in wanted {
            if self.pods.contains_key(&namespace) {
                continue;
            }
            let pods: Api<Pod> = Api::namespaced(self.local.clone(), &namespace);
            let of = namespace.clone();
            let wrap = move |event| News::Pod(of.clone(), Box::new(event));
            let config = Config::default().page_size(PAGE);
            let what = format!("pods of namespace {namespace}");
            let watch = self.watches.spawn(follow(what, pods, config, self.to.clone(), wrap));
            self.pods.insert(namespace, watch);
        }
    }

    /// Writes what is to be written. Whether all of it was.
    async fn write(&mut self) -> bool {
        let now = Instant::now();
        let mut writes = self.state.exports();
        self.silent = self.state.silent(now);
        if self.state.is_due(now) {
            let (imports, refused) = self.state.imports(now);
            writes.extend(imports);
            self.refused = refused;
        }
        self.unwritten.clear();
        self.untold = false;
        let clients = (&self.hub, &self.local);
        let written = stream::iter(writes).map(|write| async move {
            let result = write_one(clients, &write).await;
            (write, result)
        });
        let results: Vec<(Write, Result<(), String>)> = written.buffer_unordered(AT_ONCE).collect().await;
        for (write, result) in results {
            match result {
                Ok(()) => self.state.wrote(&write),
                Err(problem) => {
                    self.untold |= write.is_for_the_hub();
                    self.state.owes(&write);
                    self.unwritten.push(problem);
                }
            }
        }
        self.unwritten.is_empty()
    }

    /// Says that the cluster lives. Whether that was heard.
    async fn beat(&mut self) -> bool {
        let api: Api<Lease> = Api::namespaced(self.hub.clone(), &self.cluster);
        let now = Timestamp::now();
        let lease = json!({
            "apiVersion": "coordination.k8s.io/v1", "kind": "Lease", "metadata": { "name": LEASE },
            "spec": { "holderIdentity": self.cluster, "renewTime": format!("{now:.6}") },
        });
        let params = PatchParams::apply(MANAGER).force();
        let told = patiently(api.patch(LEASE, &params, &Patch::Apply(&lease))).await;
        self.unheard = told.err().map(|error| format!("Lease {}/{LEASE} of the hub: {error}", self.cluster));
        self.unheard.is_none()
    }

    fn shared(&self) -> Shared {
        let [exported, imported] = self.state.counts();
        let watches = self.failing.iter().map(|(of, why)| format!("watching {of}: {why}"));
        // Thousands of objects are not written for one reason.
        let more = match self.unwritten.len() {
            0 | 1 => None,
            more => Some(format!("and {} more slices could not be written", more - 1)),
        };
        let unwritten = self.unwritten.first().cloned().into_iter().chain(more);
        let problems = watches
            .chain(unwritten)
            .chain(self.unheard.clone())
            .chain(self.refused.iter().cloned())
            .collect();
        Shared { exported, imported, silent: self.silent.clone(), problems }
    }
}

async fn write_one((hub, local): (&Client, &Client), write: &Write) -> Result<(), String> {
    let (Write::Put { at, name, .. } | Write::Remove { at, name }) = write;
    let (client, place) = match at {
        Side::Hub => (hub, "of the hub"),
        Side::Local => (local, "of this cluster"),
    };
    let (namespace, name) = name;
    let api = slices(client, Some(namespace));
    let done = match write {
        Write::Put { object, .. } => {
            let params = PatchParams::apply(MANAGER).force();
            patiently(api.patch(name, &params, &Patch::Apply(object))).await.map(drop)
        }
        Write::Remove { .. } => match timeout(PATIENCE, api.delete(name, &DeleteParams::default())).await {
            Ok(Err(kube::Error::Api(status))) if status.code == 404 => Ok(()),
            Ok(done) => done.map(drop).map_err(|error| why(&error)),
            Err(_) => Err(format!("it does not answer within {PATIENCE:?}")),
        },
    };
    done.map_err(|error| format!("IdentitySlice {namespace}/{name} {place}: {error}"))
}

async fn patiently<T>(asked: impl Future<Output = kube::Result<T>>) -> Result<T, String> {
    match timeout(PATIENCE, asked).await {
        Ok(answer) => answer.map_err(|error| why(&error)),
        Err(_) => Err(format!("it does not answer within {PATIENCE:?}")),
    }
}

/// Watches until nobody listens. One that fails begins anew, with a list: a watch that only goes on says nothing until something
/// changes, and would be taken for failing for as long.
async fn follow<T>(
    of: String,
    api: Api<T>,
    config: Config,
    to: mpsc::Sender<Told>,
    wrap: impl Fn(Event<T>) -> News,
) where
    T: kube::Resource + Clone + DeserializeOwned + Debug + Send + 'static,
{
    loop {
        let mut events = pin!(watcher(api.clone(), config.clone()).default_backoff());
        let mut goes_on = true;
        while goes_on {
            let news = match events.next().await {
                Some(Ok(event)) => wrap(event),
                Some(Err(error)) => {
                    // A list that failed is asked for again.
                    goes_on = matches!(error, WatchError::InitialListFailed(_));
                    News::Failed(failure(&error))
                }
                None => return,
            };
            if to.send((of.clone(), news)).await.is_err() {
                return;
            }
        }
        sleep(AGAIN).await;
    }
}

/// Why a watch failed.
pub(crate) fn failure(error: &WatchError) -> String {
    match error {
        WatchError::InitialListFailed(cause)
        | WatchError::WatchStartFailed(cause)
        | WatchError::WatchFailed(cause) => why(cause),
        WatchError::WatchError(_) | WatchError::NoResourceVersion => error.to_string(),
    }
}

/// The event of a part of the object.
fn event_of<T, U>(event: Event<T>, part: impl Fn(T) -> U) -> Event<U> {
    match event {
        Event::Init => Event::Init,
        Event::InitApply(object) => Event::InitApply(part(object)),
        Event::InitDone => Event::InitDone,
        Event::Apply(object) => Event::Apply(part(object)),
        Event::Delete(object) => Event::Delete(part(object)),
    }
}

/// How long ago a time of another clock was, by this one's: not at all where that is ahead. Not understood: for ever.
fn age(said: &str) -> Duration {
    let Ok(time) = said.parse::<Timestamp>() else { return Duration::MAX };
    Duration::try_from(Timestamp::now().duration_since(time)).unwrap_or(Duration::ZERO)
}
