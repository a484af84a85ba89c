//! Kinds that make pods from templates, normalised into one shape.
//!
//! Labels that a kind's controller adds to its pods are in the templates already, where they are well known and
//! do not differ from pod to pod; [`PodTemplate::index_labels`] and [`PodTemplate::name_labels`] name those that do.

use crate::decode::{Decoder, Map, Step};
use crate::diagnostic::Position;
use crate::document::Node;
use crate::meta::ObjectMeta;
use crate::meta::{Scope, labels};
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

    /// By API group and kind. Versions do not matter: the shapes read here are the same in all of them.
    pub(crate) fn of(group: &str, kind: &str) -> Option<Self> {
        let known = Self::ALL.into_iter().find(|known| known.as_str() == kind)?;
        let groups: &[&str] = match known {
            Self::Deployment | Self::DaemonSet | Self::ReplicaSet => &["apps", "extensions", ""],
            Self::StatefulSet => &["apps", ""],
            Self::ReplicationController => &[""],
            Self::Job | Self::CronJob => &["batch", ""],
            Self::JobSet => &["jobset.x-k8s.io"],
            Self::LeaderWorkerSet => &["leaderworkerset.x-k8s.io"],
            Self::RayCluster => &["ray.io"],
            Self::PyTorchJob => &["kubeflow.org"],
        };
        groups.contains(&group).then_some(known)
    }

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

/// A pod template under construction.
struct Draft {
    template: PodTemplate,
}

impl Draft {
    /// Reads a pod template: `{metadata: {labels, annotations}, spec}`.
    fn decode<'n>(d: &mut Decoder<'n>, node: &'n Node<'n>) -> Option<Self> {
        let map = d.map(node)?;
        let mut template = PodTemplate {
            name_suffix: "".into(),
            labels: BTreeMap::new(),
            annotations: BTreeMap::new(),
            spec: d.required(map, "spec", PodSpec::decode)?,
            replicas: 1,
            index_labels: Vec::new(),
            name_labels: Vec::new(),
        };
        d.field(map, "metadata", |d, node| {
            let Some(map) = d.map(node) else { return };
            template.labels = d.field(map, "labels", labels).unwrap_or_default();
            template.annotations = d.field(map, "annotations", Decoder::text_map).unwrap_or_default();
        });
        Some(Self { template })
    }

    fn label(mut self, key: &str, value: &str) -> Self {
        self.template.labels.insert(key.into(), value.into());
        self
    }

    fn index_label(mut self, key: &str) -> Self {
        self.template.index_labels.push(key.into());
        self
    }

    fn suffix(mut self, suffix: &str) -> Self {
        self.template.name_suffix = suffix.into();
        self
    }

    fn replicas(mut self, replicas: u32) -> Self {
        self.template.replicas = replicas;
        self
    }
}

impl Workload {
    pub(crate) fn decode<'n>(d: &mut Decoder<'n>, object: Map<'n>, kind: WorkloadKind) -> Self {
        let meta = ObjectMeta::decode(d, object, Scope::Namespaced, false);
        let drafts = d.required(object, "spec", |d, node| {
            let spec = d.map(node)?;
            Some(match kind {
                WorkloadKind::Deployment
                | WorkloadKind::ReplicaSet
                | WorkloadKind::ReplicationController
                | WorkloadKind::StatefulSet
                | WorkloadKind::DaemonSet => plain(d, spec, kind),
                WorkloadKind::Job => {
                    job(d, spec).map(|draft| job_labels(draft, &meta.name)).into_iter().collect()
                }
                WorkloadKind::CronJob => cron_job(d, spec).into_iter().collect(),
                WorkloadKind::JobSet => job_set(d, spec, &meta.name),
                WorkloadKind::LeaderWorkerSet => leader_worker_set(d, spec, &meta.name),
                WorkloadKind::RayCluster => ray_cluster(d, spec, &meta.name),
                WorkloadKind::PyTorchJob => pytorch_job(d, spec, &meta.name),
            })
        });
        let templates = drafts.unwrap_or_default().into_iter().map(|draft| draft.template).collect();
        Self { kind, position: d.position(object.place), meta, templates }
    }
}

fn count<'n>(d: &mut Decoder<'n>, map: Map<'n>, name: &'n str) -> Option<u32> {
    d.field(map, name, Decoder::count).flatten()
}

fn plain<'n>(d: &mut Decoder<'n>, spec: Map<'n>, kind: WorkloadKind) -> Vec<Draft> {
    let replicas = if kind == WorkloadKind::DaemonSet { 1 } else { count(d, spec, "replicas").unwrap_or(1) };
    let Some(mut draft) = d.required(spec, "template", Draft::decode) else { return Vec::new() };
    if kind == WorkloadKind::StatefulSet {
        draft = draft.index_label("apps.kubernetes.io/pod-index");
        draft.template.name_labels.push("statefulset.kubernetes.io/pod-name".into());
    }
    vec![draft.replicas(replicas)]
}

/// A Job's spec: `parallelism` pods at a time.
fn job<'n>(d: &mut Decoder<'n>, spec: Map<'n>) -> Option<Draft> {
    let parallelism = count(d, spec, "parallelism").unwrap_or(1);
    let completions = count(d, spec, "completions");
    let indexed = d.field(spec, "completionMode", Decoder::str).flatten() == Some("Indexed");
    let draft = d.required(spec, "template", Draft::decode)?;
    let draft = draft.replicas(parallelism.min(completions.unwrap_or(u32::MAX)));
    Some(if indexed { draft.index_label("batch.kubernetes.io/job-completion-index") } else { draft })
}

fn job_labels(draft: Draft, name: &str) -> Draft {
    draft.label("job-name", name).label("batch.kubernetes.io/job-name", name)
}

/// The jobs it makes are named by the time they begin, so that their labels cannot be known.
fn cron_job<'n>(d: &mut Decoder<'n>, spec: Map<'n>) -> Option<Draft> {
    d.required(spec, "jobTemplate", job_template)
}

fn job_template<'n>(d: &mut Decoder<'n>, node: &'n Node<'n>) -> Option<Draft> {
    let map = d.map(node)?;
    d.required(map, "spec", |d, node| {
        let map = d.map(node)?;
        job(d, map)
    })
}

/// The pods of all jobs of one replicated job together; labels by which its jobs differ are left out.
fn job_set<'n>(d: &mut Decoder<'n>, spec: Map<'n>, name: &str) -> Vec<Draft> {
    let replicated = d.field(spec, "replicatedJobs", |d, node| {
        d.list(node, |d, node| {
            let map = d.map(node)?;
            let role = d.field(map, "name", Decoder::string).flatten().unwrap_or_default();
            let jobs = count(d, map, "replicas").unwrap_or(1);
            let draft = d.required(map, "template", job_template)?;
            let pods = draft.template.replicas.saturating_mul(jobs);
            let mut draft = draft
                .suffix(&role)
                .replicas(pods)
                .label("jobset.sigs.k8s.io/jobset-name", name)
                .label("jobset.sigs.k8s.io/replicatedjob-name", &role)
                .label("jobset.sigs.k8s.io/replicatedjob-replicas", &jobs.to_string());
            if jobs == 1 {
                draft =
                    job_labels(draft, &format!("{name}-{role}-0")).label("jobset.sigs.k8s.io/job-index", "0");
            } else {
                // An index runs per job, not over all of them.
                draft.template.index_labels.clear();
            }
            Some(draft)
        })
    });
    replicated.flatten().unwrap_or_default()
}

/// `replicas` groups of one leader and `size` - 1 workers each.
fn leader_worker_set<'n>(d: &mut Decoder<'n>, spec: Map<'n>, name: &str) -> Vec<Draft> {
    let groups = count(d, spec, "replicas").unwrap_or(1);
    let drafts = d.required(spec, "leaderWorkerTemplate", |d, node| {
        let map = d.map(node)?;
        let size = count(d, map, "size").unwrap_or(1);
        let leader = match map.get("leaderTemplate") {
            Some(_) => d.field(map, "leaderTemplate", Draft::decode).flatten(),
            None => d.required(map, "workerTemplate", Draft::decode),
        };
        let worker = d.field(map, "workerTemplate", Draft::decode).flatten();
        let set = |draft: Draft| draft.label("leaderworkerset.sigs.k8s.io/name", name);
        let leader = leader.map(|draft| {
            let draft = draft
                .suffix("leader")
                .replicas(groups)
                .index_label("leaderworkerset.sigs.k8s.io/group-index");
            set(draft).label("leaderworkerset.sigs.k8s.io/worker-index", "0")
        });
        let workers = groups.saturating_mul(size.saturating_sub(1));
        let worker = worker.map(|draft| set(draft.suffix("worker").replicas(workers)));
        Some(leader.into_iter().chain(worker.filter(|draft| draft.template.replicas > 0)).collect())
    });
    drafts.unwrap_or_default()
}

fn ray_cluster<'n>(d: &mut Decoder<'n>, spec: Map<'n>, name: &str) -> Vec<Draft> {
    let member = |draft: Draft, role: &str, group: &str| {
        draft
            .label("ray.io/cluster", name)
            .label("ray.io/is-ray-node", "yes")
            .label("ray.io/node-type", role)
            .label("ray.io/group", group)
            .label("app.kubernetes.io/name", "kuberay")
            .label("app.kubernetes.io/created-by", "kuberay-operator")
    };
    let head = d.required(spec, "headGroupSpec", |d, node| {
        let map = d.map(node)?;
        d.required(map, "template", Draft::decode)
    });
    let workers = d.field(spec, "workerGroupSpecs", |d, node| {
        d.list(node, |d, node| {
            let map = d.map(node)?;
            let group = d.field(map, "groupName", Decoder::string).flatten().unwrap_or_default();
            let replicas = count(d, map, "replicas").or_else(|| count(d, map, "minReplicas")).unwrap_or(1);
            let hosts = count(d, map, "numOfHosts").unwrap_or(1);
            let draft = d.required(map, "template", Draft::decode)?;
            Some(member(draft, "worker", &group).suffix(&group).replicas(replicas.saturating_mul(hosts)))
        })
    });
    let head = head.map(|draft| member(draft, "head", "headgroup").suffix("head"));
    head.into_iter().chain(workers.flatten().unwrap_or_default()).collect()
}

fn pytorch_job<'n>(d: &mut Decoder<'n>, spec: Map<'n>, name: &str) -> Vec<Draft> {
    let drafts = d.required(spec, "pytorchReplicaSpecs", |d, node| {
        let map = d.map(node)?;
        let mut drafts = Vec::new();
        for entry in map.entries() {
            let role = entry.key.to_ascii_lowercase();
            let draft = d.within(Step::Field(&entry.key), |d| {
                let map = d.map(&entry.node)?;
                let replicas = count(d, map, "replicas").unwrap_or(1);
                Some(d.required(map, "template", Draft::decode)?.replicas(replicas))
            });
            let Some(draft) = draft else { continue };
            let draft = draft
                .suffix(&role)
                .label("training.kubeflow.org/job-name", name)
                .label("training.kubeflow.org/operator-name", "pytorchjob-controller")
                .label("training.kubeflow.org/replica-type", &role)
                .index_label("training.kubeflow.org/replica-index");
            drafts.push(if role == "master" {
                draft.label("training.kubeflow.org/job-role", "master")
            } else {
                draft
            });
        }
        Some(drafts)
    });
    drafts.unwrap_or_default()
}
