//! What pods must trust, where their requests inside TLS are looked at: a ConfigMap in each of their namespaces.
//!
//! Enters: the inspection authority's Secret, those of namespaces that want their own ([`own`]), the namespaces. Leaves: the
//! authorities, for who vouches for nodes; and the ConfigMaps. Guarantees: where there is no Secret of the cluster one is made, and
//! one that is there is used as it is and followed when it changes; pods of a namespace that wants its own authority are given
//! that and never the cluster's; a ConfigMap that somebody changes or removes is put right; only who leads writes.
//! Does not: remove a ConfigMap, for pods may hang on it.

pub mod own;

use crate::inspection::{Root, RootError};
use crate::lease::Role;
use feed::client::chain;
use futures_util::StreamExt;
use k8s_openapi::ByteString;
use k8s_openapi::api::core::v1::{ConfigMap, Namespace, Secret};
use kube::api::{ObjectMeta, PartialObjectMeta, Patch, PatchParams, PostParams};
use kube::runtime::WatchStreamExt;
use kube::runtime::watcher::{Config, Error as WatchError, Event, watcher};
use kube::{Api, Client};
use policy::{INSPECTION_LABEL, wants_own_authority};
use serde_json::{Value, json};
use std::collections::{BTreeMap, BTreeSet};
use std::pin::pin;
use std::sync::Arc;
use std::time::{Duration, SystemTime};
use tokio::sync::watch;
use tokio::time::{MissedTickBehavior, interval, sleep};

/// Name of the Secret, in the controller's namespace and in those that want their own: `tls.crt`, `tls.key`, and in `ca.crt` what
/// else pods shall trust.
pub const SECRET: &str = "cofferdam-inspection";
/// Name of the ConfigMaps.
pub const NAME: &str = "cofferdam-trust";
/// Key of a ConfigMap with the authority alone, for what trusts it besides others.
pub const ALONE: &str = "ca.pem";
/// Key of a ConfigMap with what the system trusts besides, for what trusts one file and nothing else.
pub const BUNDLE: &str = "bundle.pem";
/// Label of a namespace: `enabled`, or `disabled`.
const LABEL: &str = "cofferdam.dev/trust";
/// Label of a namespace whose pods are given the ConfigMap: `enabled`.
pub const INJECT: &str = "cofferdam.dev/inject-trust";
/// Namespaces of the cluster's own.
const SYSTEM: [&str; 3] = ["kube-system", "kube-public", "kube-node-lease"];
/// Whose fields these are.
const MANAGER: &str = "cofferdam-controller";
/// How often the Secret is looked at.
const LOOK: Duration = Duration::from_secs(10);
/// Rest between two writes: 200 KB each, the API server has others to serve.
const REST: Duration = Duration::from_millis(50);
/// After how long what could not be written is tried again.
const AGAIN: Duration = Duration::from_secs(10);

/// An authority as of now, or why there is none.
pub type Held = Result<Arc<Root>, String>;

/// All authorities as of now.
#[derive(Clone, Debug)]
pub struct Authorities {
    /// Of the cluster: of all pods whose namespaces want no other.
    pub cluster: Held,
    /// By namespace, of those that want their own and whose Secret was looked at.
    pub own: BTreeMap<String, Held>,
}

impl Authorities {
    /// None at all.
    pub fn none(why: &str) -> Self {
        Self { cluster: Err(why.to_owned()), own: BTreeMap::new() }
    }

    /// A namespace's own.
    ///
    /// # Errors
    /// It does not want one, its Secret is none or has not been read.
    pub fn of_namespace(&self, name: &str) -> Held {
        self.own.get(name).cloned().unwrap_or_else(|| {
            Err(format!(
                "the controller knows of no authority of namespace {name}: it keeps none, or has not read its label \
                 {INSPECTION_LABEL} yet"
            ))
        })
    }
}

/// Where pods are given what they must trust.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Delivery {
    /// In all namespaces but those of the cluster's own, and those whose label says `disabled`.
    All,
    /// In those whose label says `enabled`.
    Labelled,
    /// Nowhere: somebody else does.
    #[default]
    Nowhere,
}

impl Delivery {
    fn includes(self, name: &str, labels: &BTreeMap<String, String>) -> bool {
        let says = |label: &str, text: &str| labels.get(label).is_some_and(|it| it == text);
        // Pods that are told of the ConfigMap do not start without it.
        let is_wanted = says(LABEL, "enabled") || says(INJECT, "enabled");
        !SYSTEM.contains(&name)
            && match self {
                Self::All => is_wanted || !says(LABEL, "disabled"),
                Self::Labelled => is_wanted,
                Self::Nowhere => false,
            }
    }
}

/// Why the Secret gives no authority.
#[derive(Debug, thiserror::Error)]
enum SecretError {
    #[error("{0}: {cause}", cause = chain(.1))]
    Api(&'static str, #[source] kube::Error),
    #[error("{0}")]
    Root(#[from] RootError),
    #[error("it has no {0}")]
    Missing(&'static str),
    #[error("there is none")]
    Absent,
}

/// What is wrong with a Secret.
fn named(secret: &str, error: &SecretError) -> String {
    format!("Secret {secret}: {error}")
}

/// Follows the Secret once this one leads, and makes it where there is none. What is wrong is said once.
pub async fn follow(
    client: &Client,
    namespace: &str,
    mut role: watch::Receiver<Role>,
    to: &watch::Sender<Authorities>,
    say: impl Fn(String),
) {
    if role.wait_for(|role| *role == Role::Leads).await.is_err() {
        return;
    }
    let secrets: Api<Secret> = Api::namespaced(client.clone(), namespace);
    let (mut seen, mut said) = (None, String::new());
    loop {
        let problem = match secret(&secrets).await {
            Ok(found) if seen.as_ref() == Some(&found) => None,
            Ok(found) => {
                let held = root(&found).map(Arc::new).map_err(|error| named(SECRET, &error));
                seen = Some(found);
                let problem = held.as_ref().err().cloned();
                to.send_modify(|latest| latest.cluster = held);
                problem
            }
            // An API server that does not answer has said nothing.
            Err(error) => Some(named(SECRET, &error)),
        };
        let problem = problem.unwrap_or_default();
        if !problem.is_empty() && problem != said {
            say(format!("requests inside TLS: {problem}"));
        }
        said = problem;
        sleep(LOOK).await;
    }
}

type Data = BTreeMap<String, ByteString>;

/// What the Secret holds. Of several who make it at once, one does.
async fn secret(secrets: &Api<Secret>) -> Result<Data, SecretError> {
    let read =
        || async { secrets.get_opt(SECRET).await.map_err(|e| SecretError::Api("it cannot be read", e)) };
    let held = match read().await? {
        Some(held) => held,
        None => match secrets.create(&PostParams::default(), &fresh()?).await {
            Ok(made) => made,
            Err(kube::Error::Api(status)) if status.code == 409 => {
                read().await?.ok_or(SecretError::Missing("tls.crt"))?
            }
            Err(error) => return Err(SecretError::Api("it cannot be written", error)),
        },
    };
    Ok(held.data.unwrap_or_default())
}

fn fresh() -> Result<Secret, RootError> {
    let (certificate, key) = Root::make(SystemTime::now())?;
    let bytes = |text: String| ByteString(text.into_bytes());
    let data = [("tls.crt".to_owned(), bytes(certificate)), ("tls.key".to_owned(), bytes(key))];
    Ok(Secret {
        metadata: ObjectMeta { name: Some(SECRET.to_owned()), ..ObjectMeta::default() },
        type_: Some("kubernetes.io/tls".to_owned()),
        data: Some(data.into()),
        ..Secret::default()
    })
}

fn root(data: &Data) -> Result<Root, SecretError> {
    let text = |key| data.get(key).map(|bytes| String::from_utf8_lossy(&bytes.0).into_owned());
    let needed = |key| text(key).ok_or(SecretError::Missing(key));
    Ok(Root::of(&needed("tls.crt")?, &needed("tls.key")?, &text("ca.crt").unwrap_or_default())?)
}

/// Keeps the ConfigMaps once this one leads, until the future is dropped. `system` (PEM) is what pods trust besides. What is
/// wrong is said once for each namespace, as long as it is so.
pub async fn keep(
    client: &Client,
    delivery: Delivery,
    system: &str,
    mut role: watch::Receiver<Role>,
    mut held: watch::Receiver<Authorities>,
    say: impl Fn(String),
) {
    if delivery == Delivery::Nowhere || role.wait_for(|role| *role == Role::Leads).await.is_err() {
        return std::future::pending().await;
    }
    let all = Api::<PartialObjectMeta<Namespace>>::all(client.clone());
    let spaces = watcher(all, Config::default()).default_backoff();
    let only = Config::default().fields(&format!("metadata.name={NAME}"));
    let all = Api::<PartialObjectMeta<ConfigMap>>::all(client.clone());
    let maps = watcher(all, only).default_backoff();
    let (mut spaces, mut maps) = (pin!(spaces), pin!(maps));
    let (mut rest, mut again) = (interval(REST), interval(AGAIN));
    rest.set_missed_tick_behavior(MissedTickBehavior::Delay);
    let mut keeping = Keeping { delivery, ..Keeping::default() };
    held.mark_changed();
    loop {
        tokio::select! {
            Some(event) = spaces.next() => keeping.take_space(event),
            Some(event) = maps.next() => keeping.take_map(event),
            Ok(()) = held.changed() => keeping.take_authorities(&held.borrow_and_update()),
            _ = again.tick() => keeping.due.append(&mut keeping.failed),
            _ = rest.tick(), if !keeping.due.is_empty() => {
                if let Some(space) = keeping.due.pop_first()
                    && let Some(root) = keeping.trusted(&space)
                {
                    let map = contents(root.trust(), system);
                    let done = put(client, &space, &map).await;
                    keeping.took(space, done, &say);
                }
            }
        }
    }
}

fn contents(trust: &str, system: &str) -> Value {
    json!({
        "apiVersion": "v1", "kind": "ConfigMap",
        "metadata": { "name": NAME, "labels": { "app.kubernetes.io/managed-by": MANAGER } },
        "data": { ALONE: trust, BUNDLE: format!("{trust}{system}") },
    })
}

/// Returns the version that is there then.
async fn put(client: &Client, space: &str, map: &Value) -> kube::Result<Option<String>> {
    let api: Api<ConfigMap> = Api::namespaced(client.clone(), space);
    let put = api.patch_metadata(NAME, &PatchParams::apply(MANAGER).force(), &Patch::Apply(map)).await?;
    Ok(put.metadata.resource_version)
}

/// Where ConfigMaps are wanted, and which must be written.
#[derive(Default)]
struct Keeping {
    delivery: Delivery,
    wanted: BTreeSet<String>,
    /// Namespaces of a list that has not ended.
    listed: BTreeSet<String>,
    due: BTreeSet<String>,
    /// Of those where ConfigMaps are wanted: who trusts the namespace's authority and not the cluster's.
    own: BTreeSet<String>,
    /// The last authorities that were some. Where one is none, what pods trust already stays.
    of_cluster: Option<Arc<Root>>,
    of_space: BTreeMap<String, Arc<Root>>,
    /// Tried again later, and why, which was said.
    failed: BTreeSet<String>,
    said: BTreeMap<String, String>,
    /// The version that was written last.
    versions: BTreeMap<String, Option<String>>,
}

impl Keeping {
    fn take_space(&mut self, event: Result<Event<PartialObjectMeta<Namespace>>, WatchError>) {
        match event {
            Ok(Event::Init) => self.listed.clear(),
            Ok(Event::InitApply(space)) => {
                self.listed.extend(space.metadata.name.clone());
                self.take_one(space.metadata);
            }
            Ok(Event::InitDone) => {
                let gone: Vec<String> = self.wanted.difference(&self.listed).cloned().collect();
                gone.iter().for_each(|name| self.forget(name));
                self.listed.clear();
            }
            Ok(Event::Apply(space)) => self.take_one(space.metadata),
            Ok(Event::Delete(space)) => self.forget(&space.metadata.name.unwrap_or_default()),
            // Tried again by the watch itself; until then what is known holds.
            Err(_) => {}
        }
    }

    fn take_one(&mut self, space: ObjectMeta) {
        let (name, labels) = (space.name.unwrap_or_default(), space.labels.unwrap_or_default());
        if space.deletion_timestamp.is_some() || !self.delivery.includes(&name, &labels) {
            self.forget(&name);
            return;
        }
        let is_other = match wants_own_authority(labels.get(INSPECTION_LABEL).map(String::as_str)) {
            true => self.own.insert(name.clone()),
            false => self.own.remove(&name),
        };
        if self.wanted.insert(name.clone()) || is_other {
            self.due.insert(name);
        }
    }

    /// What pods of a namespace are to trust; `None`: that is not known yet.
    fn trusted(&self, space: &str) -> Option<Arc<Root>> {
        let own = || self.of_space.get(space);
        if self.own.contains(space) { own() } else { self.of_cluster.as_ref() }.cloned()
    }

    /// Has what pods trust written where that is something else now.
    fn take_authorities(&mut self, latest: &Authorities) {
        let before: Vec<_> = self.wanted.iter().map(|it| (it.clone(), self.trusted(it))).collect();
        let of_cluster = latest.cluster.as_ref().ok().or(self.of_cluster.as_ref()).cloned();
        let of_space = latest.own.iter().filter_map(|(space, held)| {
            let root = held.as_ref().ok().or_else(|| self.of_space.get(space))?;
            Some((space.clone(), Arc::clone(root)))
        });
        (self.of_cluster, self.of_space) = (of_cluster, of_space.collect());
        for (space, before) in before {
            let now = self.trusted(&space);
            if now.is_some_and(|now| before.is_none_or(|before| before.trust() != now.trust())) {
                self.due.insert(space);
            }
        }
    }

    fn take_map(&mut self, event: Result<Event<PartialObjectMeta<ConfigMap>>, WatchError>) {
        let space = |map: &PartialObjectMeta<ConfigMap>| map.metadata.namespace.clone().unwrap_or_default();
        let due = match event {
            Ok(Event::InitApply(map) | Event::Apply(map)) => {
                let is_own = self.versions.get(&space(&map)) == Some(&map.metadata.resource_version);
                (!is_own).then(|| space(&map))
            }
            Ok(Event::Delete(map)) => Some(space(&map)),
            // Whatever is not in the list may be gone.
            Ok(Event::InitDone) => {
                self.due = self.wanted.clone();
                None
            }
            Ok(Event::Init) | Err(_) => None,
        };
        self.due.extend(due.filter(|space| self.wanted.contains(space)));
    }

    fn took(&mut self, space: String, done: kube::Result<Option<String>>, say: impl Fn(String)) {
        match done {
            Ok(version) => {
                self.said.remove(&space);
                self.versions.insert(space, version);
            }
            Err(error) => {
                let why = chain(&error);
                if self.said.get(&space) != Some(&why) {
                    say(format!("ConfigMap {space}/{NAME} cannot be written: {why}"));
                }
                self.said.insert(space.clone(), why);
                self.failed.insert(space);
            }
        }
    }

    fn forget(&mut self, space: &str) {
        for set in [&mut self.wanted, &mut self.due, &mut self.failed, &mut self.own] {
            set.remove(space);
        }
        self.said.remove(space);
        self.versions.remove(space);
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, reason = "in a test a panic is the failure report")]

    use super::*;

    #[test]
    fn who_is_given_what_pods_must_trust() {
        let labels = |text: &str| -> BTreeMap<String, String> {
            let pairs = text.split_whitespace().map(|pair| pair.split_once('=').unwrap());
            pairs.map(|(name, value)| (format!("cofferdam.dev/{name}"), value.to_owned())).collect()
        };
        let check = |name: &str, text: &str, expected: [bool; 3]| {
            let of = [Delivery::All, Delivery::Labelled, Delivery::Nowhere];
            assert_eq!(of.map(|it| it.includes(name, &labels(text))), expected, "{name} {text}");
        };
        check("shop", "", [true, false, false]);
        check("shop", "trust=enabled", [true, true, false]);
        check("shop", "trust=disabled", [false, false, false]);
        check("shop", "trust=nonsense", [true, false, false]);
        check("shop", "inject-trust=enabled", [true, true, false]);
        check("shop", "trust=disabled inject-trust=enabled", [true, true, false]);
        for name in SYSTEM {
            check(name, "trust=enabled inject-trust=enabled", [false, false, false]);
        }
    }

    fn meta<K: Default>(name: &str, namespace: &str, version: &str) -> PartialObjectMeta<K> {
        let text = |text: &str| Some(text.to_owned());
        let metadata = ObjectMeta {
            name: text(name),
            namespace: text(namespace),
            resource_version: text(version),
            ..ObjectMeta::default()
        };
        PartialObjectMeta { metadata, ..PartialObjectMeta::default() }
    }

    fn due(keeping: &mut Keeping) -> Vec<String> {
        std::mem::take(&mut keeping.due).into_iter().collect()
    }

    #[test]
    fn a_map_is_due_when_somebody_changes_or_removes_it_and_not_when_it_was_written_here() {
        let mut keeping = Keeping { delivery: Delivery::All, ..Keeping::default() };
        let say = |what: String| assert!(what.is_empty(), "{what}");
        for name in ["a", "b", "kube-system"] {
            keeping.take_space(Ok(Event::InitApply(meta(name, "", "1"))));
        }
        keeping.take_map(Ok(Event::InitDone));
        assert_eq!(due(&mut keeping), ["a", "b"]);
        keeping.took("a".to_owned(), Ok(Some("7".to_owned())), say);
        keeping.take_map(Ok(Event::Apply(meta(NAME, "a", "7"))));
        assert!(due(&mut keeping).is_empty(), "it is as it was written");
        keeping.take_map(Ok(Event::Apply(meta(NAME, "a", "8"))));
        assert_eq!(due(&mut keeping), ["a"], "somebody changed it");
        keeping.take_map(Ok(Event::Delete(meta(NAME, "a", "9"))));
        assert_eq!(due(&mut keeping), ["a"], "somebody removed it");
        for elsewhere in ["kube-system", "unknown"] {
            keeping.take_map(Ok(Event::Apply(meta(NAME, elsewhere, "1"))));
        }
        assert!(due(&mut keeping).is_empty(), "not wanted there");
        keeping.took("b".to_owned(), Ok(Some("11".to_owned())), say);
        keeping.take_space(Ok(Event::Init));
        keeping.take_map(Ok(Event::Apply(meta(NAME, "b", "12"))));
        assert_eq!(due(&mut keeping), ["b"], "changed while namespaces are listed anew");
        keeping.take_space(Ok(Event::InitApply(meta("b", "", "1"))));
        keeping.take_space(Ok(Event::InitDone));
        keeping.take_map(Ok(Event::Delete(meta(NAME, "a", "10"))));
        assert!(due(&mut keeping).is_empty(), "a went unseen, and its map with it");
        keeping.take_space(Ok(Event::Apply(meta("a", "", "3"))));
        assert_eq!(due(&mut keeping), ["a"], "a namespace that came again is a new one");
    }

    fn labelled(name: &str, label: &str, value: &str) -> PartialObjectMeta<Namespace> {
        let mut space: PartialObjectMeta<Namespace> = meta(name, "", "1");
        space.metadata.labels = Some([(label.to_owned(), value.to_owned())].into());
        space
    }

    fn made() -> Arc<Root> {
        let (certificate, key) = Root::make(SystemTime::now()).unwrap();
        Arc::new(Root::of(&certificate, &key, "").unwrap())
    }

    #[test]
    fn pods_of_a_namespace_with_its_own_authority_are_never_given_the_clusters() {
        let mut keeping = Keeping { delivery: Delivery::All, ..Keeping::default() };
        let (cluster, own, next) = (made(), made(), made());
        let trusts = |keeping: &Keeping, space: &str| keeping.trusted(space).map(|it| it.trust().to_owned());
        let told = |own: Option<Held>| Authorities {
            cluster: Ok(Arc::clone(&cluster)),
            own: own.into_iter().map(|held| ("a".to_owned(), held)).collect(),
        };
        keeping.take_space(Ok(Event::Apply(labelled("a", INSPECTION_LABEL, "own"))));
        keeping.take_space(Ok(Event::Apply(meta("b", "", "1"))));
        assert_eq!(due(&mut keeping), ["a", "b"]);
        keeping.take_authorities(&told(None));
        assert_eq!(due(&mut keeping), ["b"], "nobody has read a's Secret");
        assert_eq!(trusts(&keeping, "a"), None);
        keeping.take_authorities(&told(Some(Err("there is none".to_owned()))));
        assert_eq!((due(&mut keeping).len(), trusts(&keeping, "a")), (0, None));
        keeping.take_authorities(&told(Some(Ok(Arc::clone(&own)))));
        assert_eq!(due(&mut keeping), ["a"]);
        assert_eq!(trusts(&keeping, "a").as_deref(), Some(own.trust()));
        assert_eq!(trusts(&keeping, "b").as_deref(), Some(cluster.trust()));
        keeping.take_authorities(&told(Some(Err("broken".to_owned()))));
        assert!(due(&mut keeping).is_empty(), "what pods trust already stays");
        assert_eq!(trusts(&keeping, "a").as_deref(), Some(own.trust()));
        keeping.take_authorities(&told(Some(Ok(Arc::clone(&next)))));
        assert_eq!(due(&mut keeping), ["a"]);
        assert_eq!(trusts(&keeping, "a").as_deref(), Some(next.trust()));
        keeping.take_space(Ok(Event::Apply(meta("a", "", "2"))));
        assert_eq!(due(&mut keeping), ["a"], "it does not want its own any more");
        assert_eq!(trusts(&keeping, "a").as_deref(), Some(cluster.trust()));
        keeping.take_space(Ok(Event::Apply(labelled("b", INSPECTION_LABEL, "own"))));
        assert_eq!((due(&mut keeping).len(), trusts(&keeping, "b")), (1, None));
    }
}
