//! What the hub has, as far as it was seen.
//!
//! Enters: events of two watches. Leaves: rollouts and clusters, as the newest event has them. Guarantees: a cluster was heard when
//! what it says of itself was seen to change, or was stored by the hub, whichever is later; being listed again is no word of
//! it. Does not: ask for anything.

use crate::SILENT;
use fleet::hub::{ClusterSpec, ClusterStatus, Drift, Labels, RolloutStatus};
use fleet::rollout::{Cluster, Report};
use kube::api::DynamicObject;
use kube::runtime::watcher::Event;
use serde::de::DeserializeOwned;
use std::collections::{BTreeMap, BTreeSet};

/// Everything.
#[derive(Default)]
pub(crate) struct Board {
    pub(crate) rollouts: BTreeMap<String, Held>,
    pub(crate) clusters: BTreeMap<String, Known>,
    lists: [List; 2],
    /// When each cluster was heard, by its object's uid.
    heard: BTreeMap<String, Heard>,
}

/// A Rollout.
#[derive(Clone)]
pub(crate) struct Held {
    pub(crate) object: DynamicObject,
    /// An error: it is there and not understood, and so is left alone.
    pub(crate) status: Result<RolloutStatus, String>,
}

/// A ManagedCluster.
#[derive(Clone, Default)]
pub(crate) struct Known {
    pub(crate) uid: Option<String>,
    pub(crate) version: Option<String>,
    pub(crate) cluster: Cluster,
    pub(crate) drift: Drift,
}

#[derive(Clone, Copy)]
struct Heard {
    beat: i64,
    at: u64,
}

/// A list that is on its way.
#[derive(Default)]
struct List {
    names: Vec<String>,
    is_whole: bool,
}

const ROLLOUTS: usize = 0;
const CLUSTERS: usize = 1;

impl Board {
    /// Both are listed anew.
    pub(crate) fn begin(&mut self) {
        self.lists = Default::default();
    }

    /// Whether everything was listed.
    pub(crate) fn is_whole(&self) -> bool {
        self.lists.iter().all(|list| list.is_whole)
    }

    /// Rollouts that somebody has to look at.
    pub(crate) fn held(&self) -> usize {
        let is_held = |it: &&Held| match &it.status {
            Ok(status) => status.conditions.iter().any(|it| it.kind == "Held" && it.status == "True"),
            Err(_) => true,
        };
        self.rollouts.values().filter(is_held).count()
    }

    /// Clusters that spoke before, and do not.
    pub(crate) fn silent(&self, now: u64) -> usize {
        let heard = self.clusters.values().filter_map(|it| it.cluster.report.as_ref());
        heard.filter(|it| now.saturating_sub(it.heard) > SILENT).count()
    }

    pub(crate) fn labels(&self) -> Labels {
        self.clusters.iter().map(|(name, known)| (name.clone(), known.cluster.labels.clone())).collect()
    }

    pub(crate) fn rollout(&mut self, event: Event<DynamicObject>) {
        let (gone, kept) = self.note(ROLLOUTS, event);
        match gone {
            Gone::Nobody => {}
            Gone::One(name) => drop(self.rollouts.remove(&name)),
            Gone::AllBut(names) => self.rollouts.retain(|name, _| names.contains(name)),
        }
        if let Some((object, _)) = kept {
            let status = read(&object, "status").map(Option::unwrap_or_default);
            self.rollouts.insert(name_of(&object), Held { object, status });
        }
    }

    pub(crate) fn cluster(&mut self, event: Event<DynamicObject>, now: u64) {
        let (gone, kept) = self.note(CLUSTERS, event);
        match gone {
            Gone::Nobody => {}
            Gone::One(name) => drop(self.clusters.remove(&name)),
            Gone::AllBut(names) => self.clusters.retain(|name, _| names.contains(name)),
        }
        if let Some((object, is_live)) = kept {
            let known = self.known(&object, is_live, now);
            self.clusters.insert(name_of(&object), known);
        }
        let uids: Vec<&String> = self.clusters.values().filter_map(|it| it.uid.as_ref()).collect();
        if self.heard.len() > uids.len() * 2 {
            let uids: BTreeSet<String> = uids.into_iter().cloned().collect();
            self.heard.retain(|uid, _| uids.contains(uid));
        }
    }

    /// Notes what became of an object that was written.
    pub(crate) fn rewrote(&mut self, object: &DynamicObject, now: u64) {
        let known = self.known(object, true, now);
        self.clusters.insert(name_of(object), known);
    }

    fn known(&mut self, object: &DynamicObject, is_live: bool, now: u64) -> Known {
        let uid = object.metadata.uid.clone();
        let status: Option<ClusterStatus> = read(object, "status").ok().flatten();
        let spec: ClusterSpec = read(object, "spec").ok().flatten().unwrap_or_default();
        let report = status.map(|status| {
            let was = uid.as_ref().and_then(|uid| self.heard.get(uid)).copied();
            let at_hub = (!is_live).then(|| stored(object).unwrap_or_default().min(now));
            let at = heard(was, status.beat, at_hub, now);
            if let Some(uid) = &uid {
                self.heard.insert(uid.clone(), Heard { beat: status.beat, at });
            }
            status.report(at)
        });
        Known {
            uid,
            version: object.metadata.resource_version.clone(),
            cluster: cluster(object, spec.wanted.clone(), report),
            drift: spec.drift,
        }
    }

    /// What is gone, and what is there, and whether that is an event of now.
    fn note(&mut self, which: usize, event: Event<DynamicObject>) -> (Gone, Option<(DynamicObject, bool)>) {
        let Some(list) = self.lists.get_mut(which) else { return (Gone::Nobody, None) };
        match event {
            Event::Init => {
                *list = List::default();
                (Gone::Nobody, None)
            }
            Event::InitApply(object) => {
                list.names.push(name_of(&object));
                (Gone::Nobody, Some((object, false)))
            }
            Event::InitDone => {
                list.is_whole = true;
                (Gone::AllBut(std::mem::take(&mut list.names).into_iter().collect()), None)
            }
            Event::Apply(object) => (Gone::Nobody, Some((object, true))),
            Event::Delete(object) => (Gone::One(name_of(&object)), None),
        }
    }
}

enum Gone {
    Nobody,
    One(String),
    AllBut(BTreeSet<String>),
}

/// When a cluster was heard, that says this now. `stored`: when the hub stored it, where it is not an event of now.
fn heard(was: Option<Heard>, beat: i64, stored: Option<u64>, now: u64) -> u64 {
    match (was, stored) {
        (Some(was), _) if was.beat == beat => was.at,
        (was, Some(stored)) => stored.max(was.map_or(0, |it| it.at)),
        // An event of now.
        (_, None) => now,
    }
}

/// When the hub stored what a cluster says of itself, by the hub's own clock.
pub(crate) fn stored(object: &DynamicObject) -> Option<u64> {
    let entries = object.metadata.managed_fields.iter().flatten();
    let of_status = entries.filter(|it| it.subresource.as_deref() == Some("status"));
    let newest = of_status.filter_map(|it| it.time.as_ref()).map(|it| it.0.as_second()).max()?;
    u64::try_from(newest).ok()
}

/// A cluster as a rollout sees it.
pub(crate) fn cluster(
    object: &DynamicObject,
    wanted: Option<fleet::rollout::Wanted>,
    report: Option<Report>,
) -> Cluster {
    let labels = object.metadata.labels.iter().flatten();
    let labels = labels.map(|(key, value)| (key.as_str().into(), value.as_str().into())).collect();
    Cluster { labels, wanted, report, held_by: None }
}

pub(crate) fn name_of(object: &DynamicObject) -> String {
    object.metadata.name.clone().unwrap_or_default()
}

/// One part of an object; `None`: it is not there.
pub(crate) fn read<T: DeserializeOwned>(object: &DynamicObject, part: &str) -> Result<Option<T>, String> {
    let Some(value) = object.data.get(part).filter(|it| !it.is_null()) else { return Ok(None) };
    T::deserialize(value).map(Some).map_err(|error| format!("{part}: {error}"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_cluster_was_heard_when_its_word_changed_or_was_stored() {
        let was = |beat, at| Some(Heard { beat, at });
        for (case, was, beat, stored, expected) in [
            ("first listed", None, 1, Some(50), 50),
            ("first event", None, 1, None, 100),
            ("the same, listed again", was(1, 40), 1, Some(50), 40),
            ("the same, another field changed", was(1, 40), 1, None, 40),
            ("another, as an event", was(1, 40), 2, None, 100),
            ("another, listed after a gap", was(1, 40), 2, Some(70), 70),
            ("another, stored by a clock that is behind", was(1, 40), 2, Some(7), 40),
        ] {
            assert_eq!(heard(was, beat, stored, 100), expected, "{case}");
        }
    }
}
