//! The policy that cuts a workload off from everything.
//!
//! Enters: a workload, its pods' labels, until when, by whom. Leaves: a ClusterNetworkPolicy as YAML. Guarantees: it selects
//! all pods of the workload; where it would select others, or cannot select them, it says so instead. Does not: put it in force.

use crate::digest::short;
use observe::Time;
use serde_json::Value;
use std::collections::BTreeMap;
use std::fmt::Write as _;

/// Annotation that makes a Deny rule of the Admin tier mean everybody, nodes and the outside included: to whom it applies, as
/// `namespace/Kind/name`.
pub const WORKLOAD: &str = "cofferdam.dev/quarantine";
/// Annotation: until when, RFC 3339.
pub const UNTIL: &str = "cofferdam.dev/until";
/// Annotation: by whom.
pub const BY: &str = "cofferdam.dev/by";
/// Annotation: for which incident.
pub const INCIDENT: &str = "cofferdam.dev/incident";
/// What names of such policies begin with.
pub const PREFIX: &str = "cofferdam-quarantine-";

/// Labels that differ from one revision or pod of a workload to the next.
const OF_ONE: [&str; 8] = [
    "pod-template-hash",
    "controller-revision-hash",
    "pod-template-generation",
    "apps.kubernetes.io/pod-index",
    "statefulset.kubernetes.io/pod-name",
    "batch.kubernetes.io/job-completion-index",
    "batch.kubernetes.io/controller-uid",
    "controller-uid",
];

/// Labels of a pod.
pub type Labels<'a> = BTreeMap<&'a str, &'a str>;

/// A pod of the workload's namespace.
#[derive(Clone, Debug)]
pub struct PodLabels<'a> {
    /// `namespace/name`
    pub pod: String,
    /// Its labels.
    pub labels: Labels<'a>,
    /// Whether it belongs to the workload.
    pub is_meant: bool,
}

/// Why a workload cannot be cut off by its labels.
#[derive(Clone, Debug, thiserror::Error, PartialEq, Eq)]
pub enum NoSelector {
    /// It has no pods.
    #[error("no pod of {0} is known: write it as namespace/Kind/name, as `cofferdam incident show` does")]
    Nobody(String),
    /// Its pods have nothing in common.
    #[error(
        "the pods of {0} have no label in common, and a policy selects pods by labels: label them, or delete them"
    )]
    Unlabelled(String),
    /// Others have the same labels.
    #[error(
        "the labels of {workload} are those of {others}, too: give its pods a label of their own, or cut off all of them (--wide)"
    )]
    Others {
        /// Which workload.
        workload: String,
        /// Other pods, the first few.
        others: String,
    },
}

/// Labels by which a policy selects the pods of a workload and no others, or others, too, if that is wanted.
///
/// # Errors
/// There are none.
pub fn labels_of<'a>(
    workload: &str,
    pods: &[PodLabels<'a>],
    others_too: bool,
) -> Result<Labels<'a>, NoSelector> {
    let mut meant = pods.iter().filter(|pod| pod.is_meant);
    let Some(first) = meant.next() else { return Err(NoSelector::Nobody(workload.to_owned())) };
    let mut common = first.labels.clone();
    for pod in meant {
        common.retain(|key, value| pod.labels.get(key) == Some(value));
    }
    let lasting: Labels<'a> =
        common.iter().filter(|(key, _)| !OF_ONE.contains(key)).map(|(key, value)| (*key, *value)).collect();
    let labels = if lasting.is_empty() { common } else { lasting };
    if labels.is_empty() {
        return Err(NoSelector::Unlabelled(workload.to_owned()));
    }
    let has_all = |pod: &&PodLabels<'_>| labels.iter().all(|(key, value)| pod.labels.get(key) == Some(value));
    let others: Vec<&str> =
        pods.iter().filter(|pod| !pod.is_meant).filter(has_all).map(|pod| pod.pod.as_str()).collect();
    if !others.is_empty() && !others_too {
        let more = if others.len() > 3 { format!(" and {} more", others.len() - 3) } else { String::new() };
        let others = others.iter().take(3).copied().collect::<Vec<_>>().join(", ") + &more;
        return Err(NoSelector::Others { workload: workload.to_owned(), others });
    }
    Ok(labels)
}

/// A workload that is cut off.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Quarantine {
    /// `namespace/Kind/name`, or `namespace/name` of a pod.
    pub workload: String,
    /// Of its pods.
    pub namespace: String,
    /// By which its pods are selected; not empty.
    pub labels: BTreeMap<String, String>,
    /// Until when.
    pub until: Time,
    /// By whom.
    pub by: String,
    /// For which incident; empty for none.
    pub incident: String,
}

impl Quarantine {
    /// Name of the policy: always the same for a workload.
    #[must_use]
    pub fn name_for(workload: &str) -> String {
        format!("{PREFIX}{}", short([workload]))
    }

    /// The ClusterNetworkPolicy.
    #[must_use]
    pub fn manifest(&self) -> String {
        let mut labels = String::new();
        for (key, value) in &self.labels {
            let _ = write!(labels, "\n          {}: {}", quoted(key), quoted(value));
        }
        let mut annotations = String::new();
        let until = self.until.to_string();
        for (key, value) in
            [(WORKLOAD, &self.workload), (UNTIL, &until), (BY, &self.by), (INCIDENT, &self.incident)]
        {
            if !value.is_empty() {
                let _ = write!(annotations, "\n    {key}: {}", quoted(value));
            }
        }
        format!(
            "apiVersion: policy.networking.k8s.io/v1alpha2
kind: ClusterNetworkPolicy
metadata:
  name: {}
  annotations:{annotations}
spec:
  tier: Admin
  priority: 0
  subject:
    pods:
      namespaceSelector:
        matchLabels:
          kubernetes.io/metadata.name: {}
      podSelector:
        matchLabels:{labels}
  ingress:
    - name: quarantine
      action: Deny
      from:
        - namespaces: {{}}
  egress:
    - name: quarantine
      action: Deny
      to:
        - namespaces: {{}}
        - nodes: {{}}
        - networks: [0.0.0.0/0, \"::/0\"]
",
            Self::name_for(&self.workload),
            quoted(&self.namespace)
        )
    }
}

/// A string of JSON is one of YAML.
pub(crate) fn quoted(text: &str) -> String {
    Value::from(text).to_string()
}
