//! Which pods a workload made that is cut off.
//!
//! Enters: containments, and the pods. Leaves: pods that carry a label by which a containment's policy selects them and no others.
//! Guarantees: of a Deployment the pods of all its ReplicaSets, of a CronJob those of all its Jobs. Does not: look at time.

use super::{Placed, Sorted};
use crate::convert::Context;
use crds::{Code, Contained, Diagnostic, ObjectName};
use policy::{CONTAINMENT, Pod};
use std::collections::{BTreeMap, HashMap};
use std::sync::Arc;

/// What keys of labels begin with that mark pods of a contained workload.
const LABEL: &str = "contained.cofferdam.dev/";
/// Label of pods that a Deployment's ReplicaSet made: the end of the ReplicaSet's name.
const TEMPLATE: &str = "pod-template-hash";

/// The label of pods that a containment of this name cuts off.
pub(crate) fn contained_label(name: &str) -> String {
    format!("{LABEL}{name}")
}

/// Namespace, kind, name.
type Key<'a> = (&'a str, &'a str, &'a str);

/// Labels the pods of contained workloads, and says whom nothing here cuts off.
pub(super) fn mark(context: &mut Context, sorted: &Sorted<'_>, placed: &mut [Placed]) {
    let mut wanted: HashMap<Key<'_>, Vec<usize>> = HashMap::new();
    for (at, written) in sorted.containments.iter().enumerate() {
        if let (Some(namespace), Contained::Workload { kind, name }) = (&written.namespace, &written.whom) {
            wanted.entry((namespace, kind, name)).or_default().push(at);
        }
    }
    if wanted.is_empty() {
        return;
    }
    // Of each containment: pods that it cuts off, and those that use their node's network.
    let mut found = vec![[0_usize; 2]; sorted.containments.len()];
    for it in placed.iter_mut() {
        let containments: Vec<usize> = keys(&it.pod)
            .into_iter()
            .flatten()
            .filter_map(|key| wanted.get(&key))
            .flatten()
            .copied()
            .collect();
        if containments.is_empty() {
            continue;
        }
        let mut labels: BTreeMap<Arc<str>, Arc<str>> = (*it.pod.labels.0).clone();
        for at in containments {
            if let Some([contained, of_node]) = found.get_mut(at) {
                *(if it.pod.host_network { of_node } else { contained }) += 1;
            }
            if let Some(written) = sorted.containments.get(at) {
                labels.insert(contained_label(&written.meta.name).into(), "true".into());
            }
        }
        Arc::make_mut(&mut it.pod).labels = context.interner.labels(labels);
    }
    for (written, [contained, of_node]) in sorted.containments.iter().zip(found) {
        if let Contained::Workload { .. } = written.whom {
            tell(context, written, contained, of_node);
        }
    }
}

/// By which workloads a pod goes: its own, and the one behind that.
fn keys(pod: &Pod) -> [Option<Key<'_>>; 2] {
    let (namespace, kind, name) = (&*pod.namespace, &*pod.workload.kind, &*pod.workload.name);
    let behind = name.rsplit_once('-').and_then(|(stem, end)| match kind {
        "ReplicaSet" if pod.labels.get(TEMPLATE) == Some(end) => Some((namespace, "Deployment", stem)),
        "Job" if !end.is_empty() && end.bytes().all(|byte| byte.is_ascii_digit()) => {
            Some((namespace, "CronJob", stem))
        }
        _ => None,
    });
    [Some((namespace, kind, name)), behind]
}

fn tell(context: &mut Context, written: &crds::Containment, contained: usize, of_node: usize) {
    let name = ObjectName { kind: CONTAINMENT.into(), namespace: "".into(), name: written.meta.name.clone() };
    let diagnostic = match (contained, of_node) {
        (_, 1..) => Diagnostic::warning(
            Code::Unsupported,
            format!(
                "{of_node} of its pods use their node's network, where no policy holds, and are not cut off"
            ),
        )
        .suggest("stop them"),
        (0, 0) => Diagnostic::note(Code::SelectsNothing, "it has no pods now; those that come are cut off"),
        (_, 0) => return,
    };
    context.report(diagnostic.of(name).at(written.position.clone()).field("spec.workload"));
}
