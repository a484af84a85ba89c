//! What is to be written, by what was seen.
//!
//! Enters: what the cluster and the hub were seen to have, and the time. Leaves: slices to write or remove, at either.
//! Guarantees: only namespaces that are labelled for it are exported, and nothing of a host-network or completed pod; only what the
//! namespace of the same name here imports is taken, and only of the cluster in whose namespace of the hub it is; a slice that
//! cannot be read leaves the one before it; what others export is kept only as far as it is imported and there is [`Room`] for it,
//! and what is not kept is not known to any rule; what is taken of a cluster that is silent too long is said to be expired.
//! Does not: talk to anything.

mod import;

use super::known::Known;
use super::room::{Place, Room, Size};
use super::shelf::Shelf;
use fleet::hub::API_VERSION;
use k8s_openapi::api::core::v1::Pod;
use kube::api::DynamicObject;
use serde_json::{Value, json};
use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;
use tokio::time::Instant;

/// The label of a namespace whose pods are exported, and its value.
pub(super) const EXPORT: [&str; 2] = ["cofferdam.dev/export", IDENTITIES];
/// What is exported and imported.
const IDENTITIES: &str = "identities";
/// What the key of the label begins with of a namespace that imports; the name of the cluster follows.
const IMPORT: &str = "import.cofferdam.dev/";
/// The label of what is taken from the hub: from which cluster.
pub(super) const IMPORTED: &str = "cofferdam.dev/imported-from";
/// In what is kept of a slice of another cluster instead of its pods: how many there are, for which there is no room.
const WITHHELD: &str = "withheld";
/// The same: that nobody imports it.
const APART: &str = "apart";

/// Labels.
type Labels = BTreeMap<String, String>;
/// Namespace and name.
pub(super) type Name = (String, String);

/// What is to be done to a slice.
#[derive(Clone, Debug, PartialEq)]
pub(super) enum Write {
    /// It is to be so.
    Put { at: Side, name: Name, object: Value },
    /// It is to be gone.
    Remove { at: Side, name: Name },
}

impl Write {
    pub(super) fn is_for_the_hub(&self) -> bool {
        let (Self::Put { at, .. } | Self::Remove { at, .. }) = self;
        *at == Side::Hub
    }
}

/// Where.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Side {
    /// At the hub: what is exported.
    Hub,
    /// In the cluster: what is imported.
    Local,
}

/// When a cluster was last heard.
#[derive(Clone, Debug)]
struct Heard {
    said: String,
    at: Instant,
}

/// A namespace that is exported.
#[derive(Debug, Default)]
struct Exported {
    pods: Known<String, Value>,
    shelf: Shelf,
    /// Slices to look at.
    due: BTreeSet<u32>,
}

/// Everything that was seen.
pub(super) struct State {
    cluster: String,
    /// Of Cofferdam's own objects, in the cluster.
    own: String,
    expire_after: Duration,
    start: Instant,
    /// Labels of the cluster's namespaces.
    pub(super) namespaces: Known<String, Labels>,
    exported: BTreeMap<String, Exported>,
    /// Specifications of slices at the hub; without pods those of others that are not imported, or find no room.
    pub(super) at_hub: Known<Name, Value>,
    room: Room,
    /// Clusters and namespaces of which something is imported.
    imported: BTreeSet<(String, String)>,
    /// Whether more is imported than when the hub was listed, so that what was not kept is wanted now.
    pub(super) imports_more: bool,
    /// Those in the cluster that were taken from there.
    pub(super) local: Known<Name, Value>,
    leases: Known<String, String>,
    heard: BTreeMap<String, Heard>,
    /// What others export that has to be looked at anew.
    pub(super) takes: Takes,
    /// Clusters that were silent too long when that was looked at last.
    silent: BTreeSet<String>,
    /// Slices at the hub that cannot be taken, and why.
    refused: BTreeMap<Name, String>,
    /// What there is no room for.
    bounds: Vec<String>,
    /// Whether slices that are there for nothing have to be looked for at the hub.
    tidies: bool,
    /// What others changed of it. It is put back now and then, not at once: two that claim one name would not stop.
    changed: Changed,
}

/// What others export that has to be looked at anew.
#[derive(Debug, Default)]
pub(super) struct Takes {
    /// Everything.
    pub(super) all: bool,
    /// These, by their names at the hub.
    pub(super) slices: BTreeSet<Name>,
}

/// What others changed.
#[derive(Debug, Default)]
struct Changed {
    exported: BTreeSet<(String, u32)>,
    imported: bool,
    left: bool,
}

impl State {
    pub(super) fn new(cluster: &str, own: &str, expire_after: Duration) -> Self {
        Self {
            cluster: cluster.to_owned(),
            own: own.to_owned(),
            expire_after,
            start: Instant::now(),
            namespaces: Known::default(),
            exported: BTreeMap::new(),
            at_hub: Known::default(),
            room: Room::default(),
            imported: BTreeSet::new(),
            imports_more: false,
            local: Known::default(),
            leases: Known::default(),
            heard: BTreeMap::new(),
            takes: Takes { all: true, ..Takes::default() },
            silent: BTreeSet::new(),
            refused: BTreeMap::new(),
            bounds: Vec::new(),
            tidies: true,
            changed: Changed::default(),
        }
    }

    /// Has what others changed put back.
    pub(super) fn look(&mut self) {
        let Changed { exported, imported, left } = std::mem::take(&mut self.changed);
        for (namespace, number) in exported {
            if let Some(exported) = self.exported.get_mut(&namespace) {
                exported.due.insert(number);
            }
        }
        self.takes.all |= imported;
        self.tidies |= left;
    }

    /// Namespaces whose pods have to be watched.
    pub(super) fn to_watch(&self) -> BTreeSet<String> {
        let [key, value] = EXPORT;
        let is_exported = |labels: &Labels| labels.get(key).is_some_and(|found| found == value);
        self.namespaces
            .iter()
            .filter(|(_, labels)| is_exported(labels))
            .map(|(name, _)| name.clone())
            .collect()
    }

    pub(super) fn namespace(&mut self, event: kube::runtime::watcher::Event<(String, Labels)>) {
        let differ = self.namespaces.take(event, |(name, labels)| (name, Some(labels)));
        let imported = imported(&self.namespaces);
        let before = std::mem::replace(&mut self.imported, imported);
        self.imports_more |= self.imported.difference(&before).next().is_some();
        if before.difference(&self.imported).next().is_some() {
            self.forget();
        }
        self.takes.all |= self.imported != before;
        self.tidies |= !differ.is_empty();
        for name in differ {
            if let Some(exported) = self.exported.get_mut(&name) {
                exported.due.extend(exported.shelf.numbers());
            }
        }
    }

    /// Of what is no longer imported only the names are kept.
    fn forget(&mut self) {
        let all = self.at_hub.iter().filter(|((of, _), _)| *of != self.cluster);
        let gone = all.filter_map(|(name, spec)| {
            let namespace = spec.get("namespace")?.as_str()?;
            let is_gone =
                spec.get(APART).is_none() && !self.imported.contains(&(name.0.clone(), namespace.to_owned()));
            is_gone.then(|| (name.clone(), apart(spec)))
        });
        for (name, spec) in gone.collect::<Vec<_>>() {
            let namespace = spec.get("namespace").and_then(Value::as_str).unwrap_or_default().to_owned();
            self.room.put(&name, &namespace, None);
            self.at_hub.set(name, Some(spec));
        }
    }

    /// Whether the hub is to be listed anew, for there is room again.
    pub(super) fn has_room_again(&self) -> bool {
        self.room.is_freed
    }

    pub(super) fn pod(&mut self, namespace: &str, event: kube::runtime::watcher::Event<Pod>) {
        let exported = self.exported.entry(namespace.to_owned()).or_default();
        let was_whole = exported.pods.is_whole();
        let differ = exported.pods.take(event, |pod| {
            let name = pod.metadata.name.clone().unwrap_or_default();
            let identity = identity(&pod);
            (name, identity)
        });
        if !was_whole && exported.pods.is_whole() {
            self.tidies = true;
            // In place before anything is written, as before a restart.
            for (number, name) in places(&self.at_hub, &self.cluster, namespace) {
                exported.shelf.reserve(number, &name);
            }
            let gone: Vec<String> =
                exported.shelf.names().filter(|name| exported.pods.get(name).is_none()).cloned().collect();
            exported.due.extend(gone.iter().filter_map(|name| exported.shelf.remove(name)));
        }
        for name in differ {
            let slice = match exported.pods.get(&name) {
                Some(identity) => exported.shelf.put(&name, identity.clone()),
                None => exported.shelf.remove(&name),
            };
            exported.due.extend(slice);
        }
    }

    pub(super) fn slice_at_hub(&mut self, event: kube::runtime::watcher::Event<DynamicObject>) {
        use kube::runtime::watcher::Event;
        if matches!(event, Event::Init) {
            self.room.clear();
        }
        let is_gone = matches!(event, Event::Delete(_));
        self.takes.all |= matches!(event, Event::InitDone);
        let Self { room, cluster, at_hub, imported, .. } = self;
        let differ = at_hub.take(event, |object| {
            let (name, spec) = (name(&object), specification(&object, false));
            if name.0 == *cluster {
                return (name, spec);
            }
            let Some(spec) = spec.filter(|_| !is_gone) else {
                room.remove(&name);
                return (name, None);
            };
            let kept = kept(room, imported, &name, spec);
            (name, kept)
        });
        for (namespace, name) in differ {
            if namespace != self.cluster {
                self.takes.slices.insert((namespace, name));
                continue;
            }
            self.changed.left = true;
            self.changed.exported.extend(parts(&name).map(|(of, number)| (of.to_owned(), number)));
        }
    }

    pub(super) fn slice_here(&mut self, event: kube::runtime::watcher::Event<DynamicObject>) {
        let was_whole = self.local.is_whole();
        let differ = self.local.take(event, |object| (name(&object), specification(&object, true)));
        self.changed.imported |= !differ.is_empty();
        self.takes.all |= !was_whole && self.local.is_whole();
    }

    /// A cluster said that it lives, at `said` by its own clock; `age`: how long ago that would be by this one's.
    pub(super) fn lease(
        &mut self,
        event: kube::runtime::watcher::Event<(String, String)>,
        age: impl Fn(&str) -> Duration,
    ) {
        let now = Instant::now();
        let differ = self.leases.take(event, |(cluster, said)| (cluster, Some(said)));
        for cluster in differ {
            let Some(said) = self.leases.get(&cluster) else { continue };
            let at = match self.heard.get(&cluster) {
                // Whatever its clock says.
                Some(heard) if heard.said != *said => now,
                Some(heard) => heard.at,
                // Nobody here saw it being written.
                None => {
                    let at = now.checked_sub(age(said)).or_else(|| now.checked_sub(self.expire_after));
                    at.unwrap_or(self.start)
                }
            };
            self.heard.insert(cluster, Heard { said: said.clone(), at });
        }
    }

    fn is_silent(&self, cluster: &str, now: Instant) -> bool {
        // While nothing was ever heard, since this began.
        let at = self.heard.get(cluster).map_or(self.start, |heard| heard.at);
        now.duration_since(at) >= self.expire_after
    }

    /// Whether all is known of which something is exported.
    pub(super) fn is_settled(&self) -> bool {
        let is_known = |namespace: &String| self.exported.get(namespace).is_some_and(|it| it.pods.is_whole());
        self.at_hub.is_whole() && self.namespaces.is_whole() && self.to_watch().iter().all(is_known)
    }

    /// What is to be written at the hub. Nothing before it is known what is there.
    pub(super) fn exports(&mut self) -> Vec<Write> {
        if !self.at_hub.is_whole() || !self.namespaces.is_whole() {
            return Vec::new();
        }
        let wanted = self.to_watch();
        self.exported.retain(|namespace, _| wanted.contains(namespace));
        let mut writes = Vec::new();
        for (namespace, exported) in self.exported.iter_mut().filter(|(_, it)| it.pods.is_whole()) {
            let labels = self.namespaces.get(namespace).cloned().unwrap_or_default();
            for number in std::mem::take(&mut exported.due) {
                let name = (self.cluster.clone(), format!("{namespace}.{number}"));
                match exported.shelf.pods(number) {
                    Some(pods) => {
                        let spec = json!({
                            "cluster": self.cluster, "namespace": namespace, "namespaceLabels": labels, "pods": pods,
                        });
                        if self.at_hub.get(&name) != Some(&spec) {
                            writes.push(put(Side::Hub, name, None, spec));
                        }
                    }
                    None if self.at_hub.get(&name).is_some() => {
                        writes.push(Write::Remove { at: Side::Hub, name });
                    }
                    None => {}
                }
            }
        }
        if !std::mem::take(&mut self.tidies) {
            return writes;
        }
        // What is there of namespaces that are exported no more, or of slices that are none.
        for ((of, name), _) in self.at_hub.iter().filter(|((of, _), _)| *of == self.cluster) {
            let is_wanted = match parts(name) {
                Some((namespace, number)) => match self.exported.get(namespace) {
                    Some(exported) => !exported.pods.is_whole() || exported.shelf.pods(number).is_some(),
                    None => wanted.contains(namespace),
                },
                None => false,
            };
            let removal = Write::Remove { at: Side::Hub, name: (of.clone(), name.clone()) };
            if !is_wanted && !writes.contains(&removal) {
                writes.push(removal);
            }
        }
        writes
    }

    /// What was written is there, before a watch says so.
    pub(super) fn wrote(&mut self, write: &Write) {
        let (at, name, spec) = match write {
            Write::Put { at, name, object } => (at, name, object.get("spec").cloned()),
            Write::Remove { at, name } => (at, name, None),
        };
        match at {
            Side::Hub => drop(self.at_hub.set(name.clone(), spec)),
            Side::Local => drop(self.local.set(name.clone(), spec)),
        }
    }

    /// What could not be written is looked at again.
    pub(super) fn owes(&mut self, write: &Write) {
        let (Write::Put { at, name, .. } | Write::Remove { at, name }) = write;
        match at {
            Side::Hub => {
                self.tidies = true;
                if let Some((of, number)) = parts(&name.1)
                    && let Some(exported) = self.exported.get_mut(of)
                {
                    exported.due.insert(number);
                }
            }
            Side::Local => match name.1.split_once('.') {
                // Names of clusters are those of namespaces, and have no dot.
                Some((cluster, slice)) => {
                    self.takes.slices.insert((cluster.to_owned(), slice.to_owned()));
                }
                None => self.takes.all = true,
            },
        }
    }

    /// How many slices are exported, and how many imported.
    pub(super) fn counts(&self) -> [usize; 2] {
        let own = self.at_hub.from((self.cluster.clone(), String::new()));
        [own.take_while(|((of, _), _)| *of == self.cluster).count(), self.local.len()]
    }
}

/// `namespace.number`
fn parts(name: &str) -> Option<(&str, u32)> {
    let (namespace, number) = name.rsplit_once('.')?;
    Some((namespace, number.parse().ok()?))
}

/// The place of each pod in slices that are at the hub.
fn places(at_hub: &Known<Name, Value>, cluster: &str, namespace: &str) -> Vec<(u32, String)> {
    let mut places = Vec::new();
    for ((of, name), spec) in at_hub.iter() {
        let Some((exported, number)) = parts(name) else { continue };
        if of != cluster || exported != namespace {
            continue;
        }
        let pods = spec.get("pods").and_then(Value::as_array).into_iter().flatten();
        let names = pods.filter_map(|pod| pod.get("name")?.as_str());
        places.extend(names.map(|name| (number, name.to_owned())));
    }
    places
}

fn name(object: &DynamicObject) -> Name {
    let text = |text: &Option<String>| text.clone().unwrap_or_default();
    (text(&object.metadata.namespace), text(&object.metadata.name))
}

/// The specification of a slice; `imported`: of one that was taken from a hub, else of one that was not. `None`: of the others.
fn specification(object: &DynamicObject, imported: bool) -> Option<Value> {
    let is_imported = object.metadata.labels.as_ref().is_some_and(|labels| labels.contains_key(IMPORTED));
    (is_imported == imported).then(|| object.data.get("spec").cloned().unwrap_or_default())
}

/// Clusters and namespaces of which something is imported.
fn imported(namespaces: &Known<String, Labels>) -> BTreeSet<(String, String)> {
    let imported = namespaces.iter().flat_map(|(namespace, labels)| {
        let keys = labels.iter().filter(|(_, value)| *value == IDENTITIES).map(|(key, _)| key);
        keys.filter_map(|key| Some((key.strip_prefix(IMPORT)?.to_owned(), namespace.clone())))
    });
    imported.collect()
}

/// What is kept of a slice of another cluster.
fn kept(room: &mut Room, imported: &BTreeSet<(String, String)>, name: &Name, spec: Value) -> Option<Value> {
    let text = |field: &str| spec.get(field).and_then(Value::as_str).unwrap_or_default();
    let namespace = text("namespace").to_owned();
    let is_taken = text("cluster") == name.0 && imported.contains(&(name.0.clone(), namespace.clone()));
    let pods = spec.get("pods").and_then(Value::as_array).map_or(0, Vec::len);
    let size = is_taken.then(|| Size { slices: 1, pods, bytes: spec.to_string().len() });
    match room.put(name, &namespace, size) {
        Place::Kept if is_taken => Some(spec),
        Place::Kept => Some(apart(&spec)),
        Place::Full => {
            let mut rest = apart(&spec);
            if let Some(fields) = rest.as_object_mut() {
                fields.remove(APART);
                fields.insert(WITHHELD.to_owned(), pods.into());
            }
            Some(rest)
        }
        Place::Beyond => None,
    }
}

/// Whose it is, without its pods.
fn apart(spec: &Value) -> Value {
    json!({ "cluster": spec.get("cluster"), "namespace": spec.get("namespace"), APART: true })
}

fn put(at: Side, name: Name, from: Option<&str>, spec: Value) -> Write {
    let mut metadata = json!({ "namespace": name.0, "name": name.1 });
    if let (Some(from), Some(fields)) = (from, metadata.as_object_mut()) {
        fields.insert("labels".to_owned(), json!({ IMPORTED: from }));
    }
    let object =
        json!({ "apiVersion": API_VERSION, "kind": "IdentitySlice", "metadata": metadata, "spec": spec });
    Write::Put { at, name, object }
}

/// What others are told of a pod; `None` where its address is not its own, or not any more.
fn identity(pod: &Pod) -> Option<Value> {
    let (spec, status) = (pod.spec.as_ref()?, pod.status.as_ref()?);
    let is_over = matches!(status.phase.as_deref(), Some("Succeeded" | "Failed"));
    if is_over || spec.host_network == Some(true) {
        return None;
    }
    let listed = status.pod_ips.iter().flatten().map(|it| it.ip.as_str());
    let addresses: BTreeSet<&str> = status.pod_ip.as_deref().into_iter().chain(listed).collect();
    if addresses.is_empty() {
        return None;
    }
    let name = pod.metadata.name.as_deref()?;
    let owner = pod.metadata.owner_references.iter().flatten().find(|owner| owner.kind != "Node");
    let (kind, of) = owner.map_or(("Pod", name), |owner| (&owner.kind, &owner.name));
    Some(json!({
        "name": name,
        "labels": pod.metadata.labels.clone().unwrap_or_default(),
        "addresses": addresses,
        "serviceAccount": spec.service_account_name.as_deref().filter(|it| !it.is_empty()).unwrap_or("default"),
        "workload": { "kind": kind, "name": of },
    }))
}
