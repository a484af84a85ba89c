//! Pods as written.
//!
//! Enters: Pod objects. Leaves: those that may run, each name once. Completed pods are left out with their addresses.
//! Also makes pods from templates for `workloads`.

use super::{Placed, report_duplicate};
use crate::convert::{Context, protocol};
use crds::{ObjectName, PodSpec, Position};
use policy::intern::Interner;
use policy::{Labels, NamedPort, Pod, WorkloadRef};
use std::collections::HashMap;
use std::net::IpAddr;
use std::sync::Arc;

/// A Pod object in the words of the model, as far as it can be said of one alone.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct WrittenPod {
    pub(crate) pod: Arc<Pod>,
    pub(crate) position: Position,
    /// `status.hostIPs`
    host_addresses: Vec<IpAddr>,
    /// Kind and name.
    pub(super) owners: Vec<(Arc<str>, Arc<str>)>,
    generate_name: Arc<str>,
    is_completed: bool,
}

impl WrittenPod {
    pub(crate) fn new(interner: &mut Interner, written: &crds::Pod) -> Self {
        let meta = &written.meta;
        let (namespace, name) = (interner.text(&meta.namespace), interner.text(&meta.name));
        let labels = interner.labels(&meta.labels);
        let workload = workload(interner, meta);
        let mut pod = from_spec(interner, &written.spec, namespace, name, labels, workload);
        pod.addresses.clone_from(&written.addresses);
        let owners = meta.owners.iter();
        Self {
            pod: Arc::new(pod),
            position: written.position.clone(),
            host_addresses: written.host_addresses.clone(),
            owners: owners.map(|it| (interner.text(&it.kind), interner.text(&it.name))).collect(),
            generate_name: interner.text(&meta.generate_name),
            is_completed: written.phase.is_completed(),
        }
    }

    /// Whether it is one of many that the API server would give names of their own.
    fn is_generated(&self) -> bool {
        !self.generate_name.is_empty() && self.generate_name.starts_with(&*self.pod.name)
    }

    pub(super) fn name(&self) -> ObjectName {
        ObjectName { kind: "Pod".into(), namespace: self.pod.namespace.clone(), name: self.pod.name.clone() }
    }
}

/// By namespace and name, ascending.
pub(super) fn written(context: &mut Context, pods: &[&WrittenPod]) -> Vec<Placed> {
    let mut generated: HashMap<(Arc<str>, Arc<str>), usize> = HashMap::new();
    let mut placed = Vec::with_capacity(pods.len());
    // "Completed pods keep status.podIP while the address is reused." Terminating ones still run.
    for written in pods.iter().filter(|written| !written.is_completed) {
        let mut pod = Arc::clone(&written.pod);
        if written.is_generated() {
            let count = generated.entry((pod.namespace.clone(), pod.name.clone())).or_default();
            let name = context.interner.text(&format!("{}{count}", written.generate_name));
            Arc::make_mut(&mut pod).name = name;
            *count += 1;
        }
        let (position, host_addresses) = (written.position.clone(), written.host_addresses.clone());
        placed.push(Placed { pod, position, host_addresses, closed: None });
    }
    // Stable: of one name the first written stays the first.
    placed.sort_by(Placed::order);
    let mut kept: Vec<Placed> = Vec::with_capacity(placed.len());
    for next in placed {
        match kept.last_mut() {
            Some(first) if first.order(&next).is_eq() => merge(context, first, next),
            Some(_) | None => kept.push(next),
        }
    }
    kept
}

/// Another pod of the same name.
fn merge(context: &mut Context, first: &mut Placed, second: Placed) {
    let same = first.pod == second.pod;
    let name = first.name();
    report_duplicate(context, name, (&first.position, &second.position), same, "the pod is closed");
    if !same {
        first.closed = Some("metadata.name");
        let addresses = &mut Arc::make_mut(&mut first.pod).addresses;
        addresses.extend(&second.pod.addresses);
        addresses.sort_unstable();
        addresses.dedup();
    }
}

/// A pod goes by its first owner; a static pod's owner is its Node, which says nothing.
fn workload(interner: &mut Interner, meta: &crds::ObjectMeta) -> WorkloadRef {
    let owner = meta.owners.first().filter(|owner| &*owner.kind != "Node" && !owner.name.is_empty());
    let (kind, name) = match owner {
        Some(owner) if owner.kind.is_empty() => ("Pod", &owner.name),
        Some(owner) => (&*owner.kind, &owner.name),
        None => ("Pod", &meta.name),
    };
    WorkloadRef { kind: interner.text(kind), name: interner.text(name) }
}

/// A pod without addresses.
pub(super) fn from_spec(
    interner: &mut Interner,
    spec: &PodSpec,
    namespace: Arc<str>,
    name: Arc<str>,
    labels: Labels,
    workload: WorkloadRef,
) -> Pod {
    let named = |interner: &mut Interner, port: &crds::ContainerPort| {
        port.name.as_ref().map(|name| NamedPort {
            name: interner.text(name),
            protocol: protocol(port.protocol),
            port: port.port,
        })
    };
    let mut ports: Vec<NamedPort> = spec.ports().filter_map(|port| named(interner, port)).collect();
    ports.sort();
    ports.dedup();
    Pod {
        namespace,
        name,
        labels,
        service_account: interner.text(&spec.service_account),
        node: spec.node_name.as_ref().filter(|name| !name.is_empty()).map(|name| interner.text(name)),
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
