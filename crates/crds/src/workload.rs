//! Kinds that make pods from templates, normalised into one shape.
//!
//! Labels that a kind's controller adds to its pods are in the templates already, where they are well known and
//! do not differ from pod to pod; [`PodTemplate::index_labels`] and [`PodTemplate::name_labels`] name those that do.

use crate::diagnostic::Position;
use crate::meta::ObjectMeta;
use crate::pod::PodSpec;
use std::collections::BTreeMap;
use std::sync::Arc;

/// Which kind a workload is.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum WorkloadKind {
    /// `apps/v1`
    Deployment,
    /// `apps/v1`
    StatefulSet,
    /// `apps/v1`; one pod per node.
    DaemonSet,
    /// `apps/v1`
    ReplicaSet,
    /// `v1`
    ReplicationController,
    /// `batch/v1`
    Job,
    /// `batch/v1`
    CronJob,
    /// `jobset.x-k8s.io`
    JobSet,
    /// `leaderworkerset.x-k8s.io`
    LeaderWorkerSet,
    /// `ray.io`
    RayCluster,
    /// `kubeflow.org`
    PyTorchJob,
}

impl WorkloadKind {
    /// Every kind.
    pub const ALL: [Self; 11] = [
        Self::Deployment,
        Self::StatefulSet,
        Self::DaemonSet,
        Self::ReplicaSet,
        Self::ReplicationController,
        Self::Job,
        Self::CronJob,
        Self::JobSet,
        Self::LeaderWorkerSet,
        Self::RayCluster,
        Self::PyTorchJob,
    ];

    /// The kind as written in a manifest.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Deployment => "Deployment",
            Self::StatefulSet => "StatefulSet",
            Self::DaemonSet => "DaemonSet",
            Self::ReplicaSet => "ReplicaSet",
            Self::ReplicationController => "ReplicationController",
            Self::Job => "Job",
            Self::CronJob => "CronJob",
            Self::JobSet => "JobSet",
            Self::LeaderWorkerSet => "LeaderWorkerSet",
            Self::RayCluster => "RayCluster",
            Self::PyTorchJob => "PyTorchJob",
        }
    }
}

/// A kind that makes pods.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Workload {
    /// Which.
    pub kind: WorkloadKind,
    /// Metadata of the workload itself.
    pub meta: ObjectMeta,
    /// Where.
    pub position: Position,
    /// One for most kinds; one per role for those that have roles.
    pub templates: Vec<PodTemplate>,
}

/// One pod template of a workload, and how many pods it makes.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct PodTemplate {
    /// What distinguishes this role's pods in their names, for example `worker`; empty where there is one role.
    pub name_suffix: Arc<str>,
    /// Labels of the pods: the template's, and those the controller adds to all of them.
    pub labels: BTreeMap<Arc<str>, Arc<str>>,
    /// Annotations of the pods.
    pub annotations: BTreeMap<Arc<str>, Arc<str>>,
    /// Spec of the pods.
    pub spec: PodSpec,
    /// How many pods; 1 for a DaemonSet, which makes one per node.
    pub replicas: u32,
    /// Labels whose value is the pod's index, from 0 to `replicas` - 1.
    pub index_labels: Vec<Arc<str>>,
    /// Labels whose value is the pod's name.
    pub name_labels: Vec<Arc<str>>,
}
