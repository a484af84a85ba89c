//! Workloads expand to pods where only manifests are given.
//!
//! Enters: workloads, and the pods that exist. Leaves: for each workload none of whose pods is there, its pods, with
//! names that never change (`web-0`, `web-1`). Guarantees: at most [`MOST_REPLICAS`] pods per role, and says so.

use super::pods::{from_spec, workload_name};
use super::{Placed, Sorted, report_duplicate};
use crate::convert::Context;
use crds::{Code, Diagnostic, PodTemplate, Workload, WorkloadKind};
use policy::{Labels, Node, WorkloadRef};
use std::collections::{BTreeMap, HashMap, HashSet};
use std::sync::Arc;

/// A role with more pods than this is cut.
const MOST_REPLICAS: u32 = 1000;

/// Kind, namespace, name.
type Key = (Arc<str>, Arc<str>, Arc<str>);

pub(super) fn expand(
    context: &mut Context,
    sorted: &Sorted<'_>,
    pods: &[Placed],
    nodes: &BTreeMap<Arc<str>, Node>,
) -> Vec<Placed> {
    if sorted.workloads.is_empty() {
        return Vec::new();
    }
    let mut first_of: HashMap<Key, &Workload> = HashMap::new();
    let mut contradicted: HashSet<Key> = HashSet::new();
    let mut order = Vec::new();
    for workload in sorted.workloads.iter().copied() {
        let key = key(workload);
        let Some(first) = first_of.get(&key) else {
            first_of.insert(key, workload);
            order.push(workload);
            continue;
        };
        let same = first.templates == workload.templates;
        let positions = (&first.position, &workload.position);
        report_duplicate(
            context,
            workload_name(workload),
            positions,
            same,
            "the first one's pods are closed",
        );
        if !same {
            contradicted.insert(key);
        }
    }
    let present = present(sorted, pods, &first_of);
    let mut taken: HashSet<(Arc<str>, Arc<str>)> =
        pods.iter().map(|it| (it.pod.namespace.clone(), it.pod.name.clone())).collect();
    let mut made = Vec::new();
    for workload in order {
        let key = key(workload);
        let owner_expands = owners(workload).any(|owner| first_of.contains_key(&owner));
        if present.contains(&key) || owner_expands {
            continue;
        }
        let closed = contradicted.contains(&key).then_some("spec.template");
        for template in &workload.templates {
            let before = made.len();
            role(context, workload, template, nodes, &mut taken, &mut made);
            for it in made.iter_mut().skip(before) {
                it.closed = closed;
            }
        }
    }
    made
}

fn key(workload: &Workload) -> Key {
    (workload.kind.as_str().into(), workload.meta.namespace.clone(), workload.meta.name.clone())
}

fn owners(workload: &Workload) -> impl Iterator<Item = Key> {
    let namespace = &workload.meta.namespace;
    workload.meta.owners.iter().map(|owner| (owner.kind.clone(), namespace.clone(), owner.name.clone()))
}

/// Workloads some pod of which exists: found along owner references; by the name a controller derives for what is
/// between (`web-5d4f8` of Deployment `web`); or, where the chain is cut, by the template's labels.
fn present(sorted: &Sorted<'_>, pods: &[Placed], known: &HashMap<Key, &Workload>) -> HashSet<Key> {
    let mut present: HashSet<Key> = HashSet::new();
    // Labels of owned pods whose owner nobody declared, by namespace.
    let mut cut: HashMap<&Arc<str>, HashSet<&Labels>> = HashMap::new();
    let mut named: HashMap<(&Arc<str>, &Arc<str>), &Placed> = HashMap::with_capacity(pods.len());
    named.extend(pods.iter().map(|it| ((&it.pod.namespace, &it.pod.name), it)));
    for written in &sorted.pods {
        for (kind, name) in written.owners.iter().filter(|(kind, _)| &**kind != "Node") {
            let direct = (kind.clone(), written.pod.namespace.clone(), name.clone());
            let mut found = false;
            for key in [Some(direct.clone()), derived(&direct)].into_iter().flatten() {
                found |= climb(key, known, &mut present);
            }
            let live = named.get(&(&written.pod.namespace, &written.pod.name));
            if let Some(it) = live.filter(|_| !found) {
                cut.entry(&it.pod.namespace).or_default().insert(&it.pod.labels);
            }
        }
    }
    for (key, workload) in known {
        let Some(label_sets) = cut.get(&workload.meta.namespace) else { continue };
        let covers = |template: &PodTemplate| {
            !template.labels.is_empty()
                && label_sets.iter().any(|labels| {
                    template.labels.iter().all(|(key, value)| labels.get(key) == Some(value.as_ref()))
                })
        };
        if !present.contains(key) && workload.templates.iter().any(covers) {
            present.insert(key.clone());
        }
    }
    present
}

/// Marks a workload and all above it. At most a few levels; a cycle of owners ends when it meets itself.
fn climb(key: Key, known: &HashMap<Key, &Workload>, present: &mut HashSet<Key>) -> bool {
    let Some(workload) = known.get(&key) else { return false };
    let mut open = vec![*workload];
    present.insert(key);
    while let Some(workload) = open.pop() {
        for above in owners(workload) {
            if let Some(next) = known.get(&above)
                && present.insert(above)
            {
                open.push(next);
            }
        }
    }
    true
}

/// The workload behind a generated one: ReplicaSet `web-5d4f8` of Deployment `web`, Job `nightly-28391` of CronJob
/// `nightly`.
fn derived((kind, namespace, name): &Key) -> Option<Key> {
    let above = match &**kind {
        "ReplicaSet" => WorkloadKind::Deployment,
        "Job" => WorkloadKind::CronJob,
        _ => return None,
    };
    let (stem, _) = name.rsplit_once('-')?;
    Some((above.as_str().into(), namespace.clone(), stem.into()))
}

/// One role's pods.
fn role(
    context: &mut Context,
    workload: &Workload,
    template: &PodTemplate,
    nodes: &BTreeMap<Arc<str>, Node>,
    taken: &mut HashSet<(Arc<str>, Arc<str>)>,
    made: &mut Vec<Placed>,
) {
    let namespace = context.interner.text(&workload.meta.namespace);
    let stem = match &*template.name_suffix {
        "" => workload.meta.name.to_string(),
        suffix => format!("{}-{suffix}", workload.meta.name),
    };
    // Another kind's workload of the same name may have taken the pod names.
    let first = context.interner.text(&format!("{stem}-0"));
    let stem = match taken.contains(&(namespace.clone(), first)) {
        true => format!("{stem}-{}", workload.kind.as_str().to_ascii_lowercase()),
        false => stem,
    };
    let on_nodes: Vec<Option<&Arc<str>>> = match workload.kind {
        WorkloadKind::DaemonSet if !nodes.is_empty() => nodes.keys().map(Some).collect(),
        WorkloadKind::DaemonSet
        | WorkloadKind::Deployment
        | WorkloadKind::StatefulSet
        | WorkloadKind::ReplicaSet
        | WorkloadKind::ReplicationController
        | WorkloadKind::Job
        | WorkloadKind::CronJob
        | WorkloadKind::JobSet
        | WorkloadKind::LeaderWorkerSet
        | WorkloadKind::RayCluster
        | WorkloadKind::PyTorchJob => (0..replicas(context, workload, template)).map(|_| None).collect(),
    };
    let owner = WorkloadRef {
        kind: context.interner.text(workload.kind.as_str()),
        name: context.interner.text(&workload.meta.name),
    };
    for (index, node) in on_nodes.into_iter().enumerate() {
        let name = context.interner.text(&format!("{stem}-{index}"));
        if !taken.insert((namespace.clone(), name.clone())) {
            continue;
        }
        let labels = labels(context, template, index, &name);
        let mut pod =
            from_spec(&mut context.interner, &template.spec, namespace.clone(), name, labels, owner.clone());
        pod.node = pod.node.or_else(|| node.cloned());
        let position = workload.position.clone();
        made.push(Placed { pod: Arc::new(pod), position, host_addresses: Vec::new(), closed: None });
    }
}

fn labels(context: &mut Context, template: &PodTemplate, index: usize, name: &Arc<str>) -> Labels {
    if template.index_labels.is_empty() && template.name_labels.is_empty() {
        return context.interner.labels(&template.labels);
    }
    let mut pairs = template.labels.clone();
    let index: Arc<str> = index.to_string().into();
    pairs.extend(template.index_labels.iter().map(|key| (key.clone(), index.clone())));
    pairs.extend(template.name_labels.iter().map(|key| (key.clone(), name.clone())));
    context.interner.labels(pairs)
}

fn replicas(context: &mut Context, workload: &Workload, template: &PodTemplate) -> u32 {
    let report = |context: &mut Context, diagnostic: Diagnostic| {
        context.report(
            diagnostic.of(workload_name(workload)).at(workload.position.clone()).field("spec.replicas"),
        );
    };
    if template.replicas == 0 {
        let message = "scaled to 0, so it has no pods and policies that mean it select nothing";
        report(context, Diagnostic::note(Code::SelectsNothing, message));
    }
    if template.replicas > MOST_REPLICAS {
        let message =
            format!("{} replicas; only the first {MOST_REPLICAS} are expanded to pods", template.replicas);
        let suggestion = "give the pods themselves, as `kubectl get pods -o yaml` prints them";
        report(context, Diagnostic::warning(Code::LimitExceeded, message).suggest(suggestion));
    }
    template.replicas.min(MOST_REPLICAS)
}
