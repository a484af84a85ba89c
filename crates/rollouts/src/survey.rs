//! A whole hub at once: its clusters and its rollouts, as they stand now.
//!
//! Enters: a client of the hub. Leaves: each cluster in its own words, and each rollout with the numbers that a step would decide
//! by. Guarantees: an object that cannot be read is there with the reason, and hides no other. Does not: watch, or write.

use crate::asking::{Error, Looked, list, looked};
use crate::board::{cluster, name_of, read, stored};
use crate::clock::Clock;
use crate::{clusters, rollouts};
use fleet::hub::{ClusterSpec, ClusterStatus, Drift};
use fleet::rollout::{Cluster, Seen, Wanted};
use kube::Client;
use kube::api::DynamicObject;
use std::collections::BTreeMap;

/// Everything of a hub.
#[derive(Clone, Debug, Default)]
pub struct Survey {
    /// By name.
    pub clusters: Vec<Standing>,
    /// By name.
    pub rollouts: Vec<Surveyed>,
}

/// One cluster, as it stands.
#[derive(Clone, Debug, Default)]
pub struct Standing {
    /// Its name at the hub.
    pub name: String,
    /// As on its object.
    pub labels: BTreeMap<String, String>,
    /// What it is to have; `None`: what it has.
    pub wanted: Option<Wanted>,
    /// What is done where somebody changed a policy of the fleet there.
    pub drift: Drift,
    /// What it said last; `None`: nothing yet.
    pub status: Option<ClusterStatus>,
    /// Seconds since then, by the hub's clock.
    pub silent: Option<u64>,
    /// Why its object is not understood.
    pub unclear: Option<String>,
}

/// One rollout.
#[derive(Clone, Debug)]
pub struct Surveyed {
    /// Its name.
    pub name: String,
    /// How it stands; an error: it is there and not understood.
    pub looked: Result<Looked, String>,
}

/// How everything of a hub stands now.
///
/// # Errors
/// The hub does not answer, or has no such kinds.
pub async fn survey(hub: &Client) -> Result<Survey, Error> {
    let objects = list(&clusters(hub), "ManagedClusters").await?;
    let found = list(&rollouts(hub), "Rollouts").await?;
    let now = Clock::of(hub).await.now();
    let mut seen = Seen::default();
    let mut standing = Vec::with_capacity(objects.len());
    for object in &objects {
        let (one, cluster) = stand(object, now);
        seen.clusters.insert(one.name.clone(), cluster);
        standing.push(one);
    }
    standing.sort_by(|a, b| a.name.cmp(&b.name));
    let mut surveyed: Vec<Surveyed> = found
        .iter()
        .map(|object| {
            let name = name_of(object);
            let looked = looked(&name, object, &seen, now).map_err(|error| error.to_string());
            Surveyed { name, looked }
        })
        .collect();
    surveyed.sort_by(|a, b| a.name.cmp(&b.name));
    Ok(Survey { clusters: standing, rollouts: surveyed })
}

/// One cluster, for people and as a rollout sees it. `now`: seconds since 1970.
fn stand(object: &DynamicObject, now: u64) -> (Standing, Cluster) {
    let status = read::<ClusterStatus>(object, "status");
    let spec = read::<ClusterSpec>(object, "spec");
    let unclear = status.as_ref().err().or(spec.as_ref().err()).cloned();
    let (status, spec) = (status.ok().flatten(), spec.ok().flatten().unwrap_or_default());
    let heard = stored(object).unwrap_or_default().min(now);
    let report = status.as_ref().map(|it| it.report(heard));
    let standing = Standing {
        name: name_of(object),
        labels: object.metadata.labels.clone().unwrap_or_default(),
        wanted: spec.wanted.clone(),
        drift: spec.drift,
        silent: status.is_some().then(|| now.saturating_sub(heard)),
        status,
        unclear,
    };
    (standing, cluster(object, spec.wanted, report))
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::{Value, json};

    fn stands(object: Value) -> Standing {
        let object: DynamicObject = serde_json::from_value(object).unwrap();
        stand(&object, 1000).0
    }

    #[test]
    fn what_is_not_understood_is_there_with_the_reason() {
        let of = |status: Value| {
            json!({
                "apiVersion": "cofferdam.dev/v1alpha1", "kind": "ManagedCluster",
                "metadata": { "name": "a", "labels": { "env": "prod" } },
                "spec": { "drift": "Report" }, "status": status,
            })
        };
        let silent = stands(of(Value::Null));
        assert_eq!((silent.name.as_str(), silent.silent, silent.unclear.clone()), ("a", None, None));
        assert_eq!((silent.labels.len(), silent.drift), (1, Drift::Report));
        let unclear = stands(of(json!({ "beat": "yesterday" })));
        assert!(unclear.unclear.unwrap().starts_with("status:") && unclear.status.is_none());
    }
}
