//! What of other clusters is to be written here.
//!
//! Enters: what was seen, which of it changed, and the time. Leaves: slices to write or remove in the cluster, and what cannot be taken
//! and why. Guarantees: what is looked at goes by what changed: the slice that did, those of a cluster that fell silent or speaks again,
//! and everything where what is imported, what is listed or where there is no room changed. That a cluster speaks on changes nothing.

use super::{APART, API_VERSION, Known, Name, Side, State, Takes, Value, WITHHELD, Write, json, put};
use crate::identity::room::{MOST_BYTES, MOST_KNOWN, MOST_PODS, MOST_PODS_OF_NAMESPACE, MOST_SLICES};
use std::collections::{BTreeMap, BTreeSet};
use tokio::time::Instant;

/// What becomes of a slice of another cluster.
enum Fate {
    /// Nothing of it is to be here.
    Away,
    /// The same: why.
    Foreign(String),
    /// There is no room for its pods.
    Withheld { namespace: String, pods: u64 },
    /// What is here of it stays as it is.
    Stays,
    /// The same, for it cannot be read: why.
    Unread(String),
    /// It is to be so.
    Is(Value),
}

impl State {
    /// Whether anything is to be looked at anew.
    pub(in crate::identity) fn is_due(&self, now: Instant) -> bool {
        self.takes.all || !self.takes.slices.is_empty() || self.all_silent(now) != self.silent
    }

    /// What is to be written in the cluster, and what cannot be taken and why. Nothing before it is known what the hub has: but for
    /// clusters that are silent too long.
    pub(in crate::identity) fn imports(&mut self, now: Instant) -> (Vec<Write>, Vec<String>) {
        if !self.local.is_whole() || !self.namespaces.is_whole() {
            return (Vec::new(), Vec::new());
        }
        let silent = self.all_silent(now);
        let turned: Vec<String> = silent.symmetric_difference(&self.silent).cloned().collect();
        self.silent = silent;
        let Takes { all, mut slices } = std::mem::take(&mut self.takes);
        if !self.at_hub.is_whole() {
            return (self.expires(), Vec::new());
        }
        for cluster in turned {
            let names = of_cluster(&self.at_hub, &cluster).map(|(name, _)| name.clone());
            slices.extend(names);
        }
        // Where there is no room, one slice says how many pods of others find none.
        let is_all = all || slices.iter().any(|(cluster, _)| self.room.is_full(cluster));
        let writes = if is_all { self.look_at_all() } else { self.look_at(slices) };
        (writes, self.refused.values().chain(&self.bounds).cloned().collect())
    }

    /// Clusters of which something was taken and that are silent too long.
    pub(in crate::identity) fn silent(&self, now: Instant) -> BTreeSet<String> {
        let mut clusters = BTreeSet::new();
        let mut next = String::new();
        // Sorted by name, which begins with that of the cluster: each is looked for once, however much was taken of it.
        while let Some(((own, name), _)) = self.local.from((self.own.clone(), next)).next() {
            if *own != self.own {
                break;
            }
            let cluster = name.split_once('.').map_or(name.as_str(), |(cluster, _)| cluster);
            if self.is_silent(cluster, now) {
                clusters.insert(cluster.to_owned());
            }
            // What sorts behind every name of it.
            next = format!("{cluster}/");
        }
        clusters
    }

    /// The same, with those of which something may be taken.
    fn all_silent(&self, now: Instant) -> BTreeSet<String> {
        let mut silent = self.silent(now);
        let imported = self.imported.iter().map(|(cluster, _)| cluster);
        silent.extend(imported.filter(|cluster| self.is_silent(cluster, now)).cloned());
        silent
    }

    /// While the hub does not say what it has, only silence counts.
    fn expires(&self) -> Vec<Write> {
        let of = |(name, spec): (&Name, &Value)| {
            let cluster = spec.get("cluster").and_then(Value::as_str)?;
            let is_due = self.silent.contains(cluster) && !is_expired(spec);
            is_due.then(|| put(Side::Local, name.clone(), Some(cluster), expired(spec)))
        };
        self.local.iter().filter_map(of).collect()
    }

    fn here(&self, (cluster, name): &Name) -> Name {
        (self.own.clone(), format!("{cluster}.{name}"))
    }

    /// Looks at some of what the hub has, or has no more.
    fn look_at(&mut self, slices: BTreeSet<Name>) -> Vec<Write> {
        let mut writes = Vec::new();
        for name in slices.into_iter().filter(|(cluster, _)| *cluster != self.cluster) {
            self.refused.remove(&name);
            let here = self.here(&name);
            let fate = self.at_hub.get(&name).map_or(Fate::Away, |spec| self.fate(&name, &here, spec));
            let is_here = match fate {
                Fate::Away | Fate::Withheld { .. } => false,
                Fate::Foreign(why) => {
                    self.refused.insert(name, why);
                    false
                }
                Fate::Stays => true,
                Fate::Unread(why) => {
                    self.refused.insert(name, why);
                    true
                }
                Fate::Is(spec) => {
                    writes.push(put(Side::Local, here.clone(), Some(&name.0), spec));
                    true
                }
            };
            if !is_here && self.local.get(&here).is_some() {
                writes.push(Write::Remove { at: Side::Local, name: here });
            }
        }
        writes
    }

    /// Looks at everything that the hub has.
    fn look_at_all(&mut self) -> Vec<Write> {
        let (mut writes, mut refused, mut bounds) = (Vec::new(), BTreeMap::new(), Vec::new());
        let mut withheld: BTreeMap<(&str, String), (Name, u64)> = BTreeMap::new();
        let mut wanted = BTreeSet::new();
        for (name, spec) in self.at_hub.iter().filter(|((of, _), _)| *of != self.cluster) {
            let here = self.here(name);
            match self.fate(name, &here, spec) {
                Fate::Away => {}
                Fate::Foreign(why) => drop(refused.insert(name.clone(), why)),
                Fate::Withheld { namespace, pods } => {
                    let (_, all) = withheld.entry((&name.0, namespace)).or_insert_with(|| (here, 0));
                    *all = all.saturating_add(pods);
                }
                Fate::Stays => {
                    wanted.insert(here);
                }
                Fate::Unread(why) => {
                    refused.insert(name.clone(), why);
                    wanted.insert(here);
                }
                Fate::Is(spec) => {
                    wanted.insert(here.clone());
                    writes.push(put(Side::Local, here, Some(&name.0), spec));
                }
            }
        }
        for cluster in self.room.beyond().filter(|it| self.imported.iter().any(|(of, _)| of == it)) {
            bounds.push(format!(
                "cluster {cluster} has more than {MOST_KNOWN} slices at the hub: those beyond, by name, are neither taken nor counted, \
                 also of namespaces that are imported; export fewer namespaces"
            ));
        }
        // One of them says it in the cluster; of a peer that exports millions not every slice is copied to say so.
        for ((cluster, namespace), (here, pods)) in withheld {
            // Without the number, which may change with every pod.
            bounds.push(format!(
                "cluster {cluster} exports more of namespace {namespace} than is taken: no rule means the pods beyond, which \
                 IdentitySlice {} of this cluster counts; at most {MOST_PODS_OF_NAMESPACE} pods of a namespace are taken, and of a \
                 cluster {MOST_PODS} pods, {MOST_SLICES} slices and {} MiB",
                here.1,
                MOST_BYTES / (1024 * 1024)
            ));
            // As many as the field has room for.
            let pods = pods.min(i32::MAX.unsigned_abs().into());
            let spec = json!({ "cluster": cluster, "namespace": namespace, "pods": [], WITHHELD: pods });
            wanted.insert(here.clone());
            if self.local.get(&here) != Some(&spec) {
                writes.push(put(Side::Local, here, Some(cluster), spec));
            }
        }
        let gone = self.local.iter().filter(|(name, _)| !wanted.contains(*name));
        writes.extend(gone.map(|(name, _)| Write::Remove { at: Side::Local, name: name.clone() }));
        (self.refused, self.bounds) = (refused, bounds);
        writes
    }

    /// What becomes of one slice of another cluster, which is called `here` in this one.
    fn fate(&self, (cluster, name): &Name, here: &Name, spec: &Value) -> Fate {
        let text = |field: &str| spec.get(field).and_then(Value::as_str);
        let (Some(of), Some(namespace)) = (text("cluster"), text("namespace")) else { return Fate::Away };
        if of != cluster {
            return Fate::Foreign(format!(
                "IdentitySlice {cluster}/{name} of the hub says cluster {of:?}: of namespace {cluster} only that of cluster {cluster} is \
                 taken"
            ));
        }
        if !self.imported.contains(&(cluster.clone(), namespace.to_owned())) {
            return Fate::Away;
        }
        if let Some(pods) = spec.get(WITHHELD).and_then(Value::as_u64) {
            // Of one without pods nothing is left out, and no slice may say so.
            let namespace = namespace.to_owned();
            return if pods == 0 { Fate::Away } else { Fate::Withheld { namespace, pods } };
        }
        let is_silent = self.silent.contains(cluster);
        if spec.get(APART).is_some() {
            // It is imported since a moment ago, and comes with its pods when the hub is listed.
            let here_still = self.local.get(here).filter(|it| is_silent && !is_expired(it));
            return here_still.map_or(Fate::Stays, |spec| Fate::Is(expired(spec)));
        }
        let spec = if is_silent { expired(spec) } else { spec.clone() };
        if self.local.get(here) == Some(&spec) {
            return Fate::Stays;
        }
        match readable(here, &spec) {
            Ok(()) => Fate::Is(spec),
            Err(why) => {
                Fate::Unread(format!("IdentitySlice {cluster}/{name} of the hub is not taken: {why}"))
            }
        }
    }
}

/// Slices of one cluster.
fn of_cluster<'k, V: PartialEq>(
    at_hub: &'k Known<Name, V>,
    cluster: &'k str,
) -> impl Iterator<Item = (&'k Name, &'k V)> {
    let all = at_hub.from((cluster.to_owned(), String::new()));
    all.take_while(move |((of, _), _)| of == cluster)
}

fn is_expired(spec: &Value) -> bool {
    spec.get("expired").and_then(Value::as_bool) == Some(true)
}

fn expired(spec: &Value) -> Value {
    let mut spec = spec.clone();
    if let Some(fields) = spec.as_object_mut() {
        fields.insert("expired".to_owned(), true.into());
    }
    spec
}

/// Whether the cluster's controller will understand it.
fn readable(name: &Name, spec: &Value) -> Result<(), String> {
    let object = json!({
        "apiVersion": API_VERSION, "kind": "IdentitySlice",
        "metadata": { "namespace": name.0, "name": name.1 }, "spec": spec,
    });
    let read = crds::read_value("the hub", &object);
    match read.diagnostics.iter().find(|it| it.is_error()) {
        Some(error) => Err(format!("{}: {}", error.field, error.message)),
        None => Ok(()),
    }
}
