//! Cutting workloads off where a controller says what holds: by an object of the cluster.
//!
//! Enters: orders. Leaves: JSON, as where this process enforces by itself. Guarantees: as [`Responder::contain`]. Where this
//! process may not write the object, the answer has it for somebody who may, and says that nothing is in force.

use super::{Containment as Order, Responder, Told, add, canonical};
use crate::up::cluster::Cluster;
use anyhow::{Result, bail, ensure};
use controller::contain::NotContained;
use incident::{Containment, Target, What};
use observe::Time;
use policy::PolicySet;
use serde_json::{Map, Value, json};

/// What nodes go by until the object is there.
const APPLY: &str =
    "nothing is in force until the policy is applied to the cluster (kubectl apply -f -); it ends by itself";
/// How often one is written that others write at the same time.
const TRIES: u32 = 8;
/// Label of pods that a Deployment's ReplicaSet made: the end of the ReplicaSet's name.
const TEMPLATE: &str = "pod-template-hash";

impl Responder {
    /// As [`Responder::contain`], until a time.
    pub(super) fn contain_in_cluster(
        &self,
        who: &str,
        order: &Order,
        until: Time,
        now: Time,
    ) -> Result<Value> {
        let engine = self.engine();
        let (workload, cluster) = (canonical(&order.workload), engine.cluster().cloned());
        let (target, mut warnings) = target(engine.policy_set(), &workload)?;
        // Whoever waits for a name waits for the engine: it is not held while the API server is asked.
        drop(engine);
        if order.wide {
            warnings.push(
                "in a cluster exactly the workload's pods are cut off, whatever their labels".to_owned(),
            );
        }
        let cuts = self.cuts(&workload, now);
        let asked = Asked { who, order, until, target, cuts, warnings };
        asked.contain(cluster.as_ref(), |told, problem| self.tell_of(who, told, order, problem))
    }

    /// Lets a workload go. Whether it was cut off.
    pub(super) fn release_in_cluster(
        &self,
        who: &str,
        cluster: &Cluster,
        workload: &str,
        [incident, text]: [Option<&str>; 2],
    ) -> Result<bool> {
        let released = release(cluster, workload)?;
        if released {
            let mut detail = Map::new();
            add(&mut detail, "incident", incident);
            add(&mut detail, "text", text);
            self.journal.audit(who, What::Released, workload, &detail);
        }
        Ok(released)
    }
}

/// A workload that is to be cut off.
pub(crate) struct Asked<'a> {
    /// Who asks.
    pub(crate) who: &'a str,
    /// For what.
    pub(crate) order: &'a Order,
    /// Until when.
    pub(crate) until: Time,
    /// Whose pods that means.
    pub(crate) target: Target,
    /// Connections that are cut by it.
    pub(crate) cuts: Vec<Value>,
    /// What is to be said besides.
    pub(crate) warnings: Vec<String>,
}

impl Asked<'_> {
    /// Has it written, and written down by `tell`, which says whether that could be done.
    ///
    /// # Errors
    /// The API server refuses it, or does not answer.
    pub(crate) fn contain(
        mut self,
        cluster: Option<&Cluster>,
        tell: impl FnOnce(&Told<'_>, Option<&str>) -> bool,
    ) -> Result<Value> {
        let order = self.order;
        let mut containment = Containment {
            workload: canonical(&order.workload),
            target: self.target.clone(),
            until: self.until,
            by: self.who.to_owned(),
            reason: order.text.clone().unwrap_or_default(),
            incident: order.incident.clone().unwrap_or_default(),
        };
        let in_force = match cluster {
            None => {
                self.warnings.push(format!("this process cannot write to the cluster: {APPLY}"));
                false
            }
            Some(cluster) => write(cluster, (order, &mut containment), &mut self.warnings, tell)?,
        };
        Ok(json!({
            "workload": containment.workload,
            "policy": containment.manifest(),
            "until": containment.until,
            "cuts": self.cuts,
            "in_force": in_force,
            "warnings": self.warnings,
        }))
    }
}

/// Writes it, unless that is only to be shown. Whether it is in force.
fn write(
    cluster: &Cluster,
    (order, containment): (&Order, &mut Containment),
    warnings: &mut Vec<String>,
    tell: impl FnOnce(&Told<'_>, Option<&str>) -> bool,
) -> Result<bool> {
    let asked = containment.until;
    let mut tries = 0;
    let (held, done) = loop {
        let stand = match cluster.stand(&containment.workload) {
            Ok(stand) => stand,
            Err(NotContained::Forbidden(why)) => {
                warnings.push(format!("this process may not write to the cluster ({why}): {APPLY}"));
                return Ok(false);
            }
            Err(error) => bail!(error),
        };
        let until = stand.as_ref().and_then(|held| held.until.parse::<Time>().ok());
        let held = until.filter(|held| *held > asked);
        containment.until = held.unwrap_or(asked);
        if order.dry_run {
            break (held, None);
        }
        tries += 1;
        // Somebody else contains it, or lets it go, at the same time: what they did counts.
        match cluster.contain(containment, stand) {
            Err(NotContained::Changed) if tries < TRIES => {}
            done => break (held, Some(done)),
        }
    };
    if let Some(held) = held {
        warnings.push(format!("it was cut off before until {held}, which is later and counts"));
    }
    let Some(done) = done else { return Ok(false) };
    if let Err(NotContained::Forbidden(why)) = &done {
        warnings.push(format!("this process may not write to the cluster ({why}): {APPLY}"));
        return Ok(false);
    }
    let manifest = containment.manifest();
    let told = Told { workload: &containment.workload, until: containment.until, manifest: &manifest };
    let problem = done.as_ref().err().map(ToString::to_string);
    if !tell(&told, problem.as_deref()) {
        warnings.push(
            "there is no ledger, so nothing here tells later who did this: start with --ledger".to_owned(),
        );
    }
    let stand = done?;
    if !stand.is_in_force {
        warnings.push(format!(
            "it is written, and in force on {} of {} nodes yet: kubectl get containments",
            stand.enforced, stand.needed
        ));
    }
    Ok(stand.is_in_force)
}

/// Lets a workload go. Whether it was cut off.
///
/// # Errors
/// This process may not, or the API server does not answer.
pub(crate) fn release(cluster: &Cluster, workload: &str) -> Result<bool> {
    match cluster.release(workload) {
        Ok(released) => Ok(released),
        Err(NotContained::Forbidden(why)) => bail!(
            "this process may not do that in the cluster ({why}): kubectl delete containment {}",
            Containment::name_for(workload)
        ),
        Err(error) => bail!(error),
    }
}

/// Whose pods a workload means, as it is written.
///
/// # Errors
/// It is none.
pub(crate) fn written(workload: &str) -> Result<Target> {
    let mut parts = workload.split('/');
    let (namespace, kind, name) = match (parts.next(), parts.next(), parts.next(), parts.next()) {
        (Some(namespace), Some(name), None, None) => (namespace, "Pod", name),
        (Some(namespace), Some(kind), Some(name), None) => (namespace, kind, name),
        _ => ("", "", ""),
    };
    ensure!(
        !namespace.is_empty() && !kind.is_empty() && !name.is_empty(),
        "{workload:?} is no workload: write it as namespace/Kind/name, as `cofferdam incident show` does"
    );
    if let Some(cluster) = policy::cluster_of(namespace) {
        bail!(
            "{workload} runs in cluster {cluster}, and is cut off there: contain it with that cluster's `cofferdam incident`"
        );
    }
    let owned = |text: &str| text.to_owned();
    Ok(Target { namespace: owned(namespace), kind: owned(kind), name: owned(name) })
}

/// Whose pods a workload means in the cluster: of a ReplicaSet that a Deployment made, those of the Deployment, for its next
/// ReplicaSet would go free. And what is to be said about it.
fn target(set: Option<&PolicySet>, workload: &str) -> Result<(Target, Vec<String>)> {
    let Some(set) = set else { bail!("no policy is in force yet, so nobody is known") };
    let written = written(workload)?;
    let (namespace, kind, name) = (&*written.namespace, &*written.kind, &*written.name);
    let is_of = |pod: &&std::sync::Arc<policy::Pod>| {
        *pod.namespace == *namespace && *pod.workload.kind == *kind && *pod.workload.name == *name
    };
    let pods: Vec<_> = set.world.pods.iter().filter(is_of).collect();
    let mut warnings = Vec::new();
    if pods.is_empty() {
        warnings.push(
            "this node knows no pod of it; those that the cluster has, and that come, are meant".to_owned(),
        );
    }
    if pods.iter().any(|pod| pod.host_network) {
        warnings.push("its pods that use their node's network are not cut off: stop them".to_owned());
    }
    let behind = name.rsplit_once('-').filter(|(_, end)| {
        kind == "ReplicaSet" && pods.iter().any(|pod| pod.labels.get(TEMPLATE) == Some(end))
    });
    let (kind, name) = behind.map_or((kind, name), |(stem, _)| ("Deployment", stem));
    let owned = |text: &str| text.to_owned();
    Ok((Target { namespace: owned(namespace), kind: owned(kind), name: owned(name) }, warnings))
}
