//! Pods as written.
//!
//! Enters: Pod objects. Leaves: those that may run, each name once. Completed pods are left out with their addresses.
//! Also makes pods from templates for `workloads`.

use super::{Placed, report_duplicate};
use crate::convert::{Context, protocol};
use crds::{ObjectName, PodSpec};
use policy::{Labels, NamedPort, Pod, WorkloadRef};
use std::collections::HashMap;
use std::sync::Arc;

pub(super) fn written(context: &mut Context, pods: &[crds::Pod]) -> Vec<Placed> {
    let mut kept: Vec<Placed> = Vec::with_capacity(pods.len());
    let mut by_name: HashMap<(Arc<str>, Arc<str>), usize> = HashMap::with_capacity(pods.len());
    let mut generated: HashMap<(Arc<str>, Arc<str>), usize> = HashMap::new();
    for written in pods {
        // "Completed pods keep status.podIP while the address is reused." Terminating ones still run.
        if written.phase.is_completed() {
            continue;
        }
        let mut placed = place(context, written);
        // Pods with only a generateName are different pods: the API server would give each its own name.
        if !written.meta.generate_name.is_empty()
            && written.meta.generate_name.starts_with(&*written.meta.name)
        {
            let count = generated.entry((placed.pod.namespace.clone(), placed.pod.name.clone())).or_default();
            placed.pod.name = context.interner.text(&format!("{}{count}", written.meta.generate_name));
            *count += 1;
        }
        let name = (placed.pod.namespace.clone(), placed.pod.name.clone());
        let Some(first) = by_name.get(&name).and_then(|i| kept.get_mut(*i)) else {
            by_name.insert(name, kept.len());
            kept.push(placed);
            continue;
        };
        let same = first.pod == placed.pod;
        let positions = (&first.position.clone(), &written.position);
        if !same {
            first.closed = Some("metadata.name");
            first.pod.addresses.extend(placed.pod.addresses);
            first.pod.addresses.sort_unstable();
            first.pod.addresses.dedup();
        }
        report_duplicate(context, first.name(), positions, same, "the pod is closed");
    }
    kept
}

fn place(context: &mut Context, written: &crds::Pod) -> Placed {
    let namespace = context.interner.text(&written.meta.namespace);
    let name = context.interner.text(&written.meta.name);
    let labels = context.interner.labels(&written.meta.labels);
    let workload = workload(context, &written.meta);
    let mut pod = from_spec(context, &written.spec, namespace, name, labels, workload);
    pod.addresses.clone_from(&written.addresses);
    Placed {
        pod,
        position: written.position.clone(),
        host_addresses: written.host_addresses.clone(),
        closed: None,
    }
}

/// A pod goes by its first owner; a static pod's owner is its Node, which says nothing.
fn workload(context: &mut Context, meta: &crds::ObjectMeta) -> WorkloadRef {
    let owner = meta.owners.first().filter(|owner| &*owner.kind != "Node" && !owner.name.is_empty());
    let (kind, name) = match owner {
        Some(owner) if owner.kind.is_empty() => ("Pod", &owner.name),
        Some(owner) => (&*owner.kind, &owner.name),
        None => ("Pod", &meta.name),
    };
    WorkloadRef { kind: context.interner.text(kind), name: context.interner.text(name) }
}

/// A pod without addresses.
pub(super) fn from_spec(
    context: &mut Context,
    spec: &PodSpec,
    namespace: Arc<str>,
    name: Arc<str>,
    labels: Labels,
    workload: WorkloadRef,
) -> Pod {
    let named = |context: &mut Context, port: &crds::ContainerPort| {
        port.name.as_ref().map(|name| NamedPort {
            name: context.interner.text(name),
            protocol: protocol(port.protocol),
            port: port.port,
        })
    };
    let mut ports: Vec<NamedPort> = spec.ports().filter_map(|port| named(context, port)).collect();
    ports.sort();
    ports.dedup();
    Pod {
        namespace,
        name,
        labels,
        service_account: context.interner.text(&spec.service_account),
        node: spec.node_name.as_ref().filter(|name| !name.is_empty()).map(|name| context.interner.text(name)),
        addresses: Vec::new(),
        ports,
        host_network: spec.host_network,
        workload,
    }
}

/// Names a workload for a diagnostic.
pub(super) fn workload_name(workload: &crds::Workload) -> ObjectName {
    ObjectName {
        kind: workload.kind.as_str().into(),
        namespace: workload.meta.namespace.clone(),
        name: workload.meta.name.clone(),
    }
}
