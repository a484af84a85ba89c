//! The object that cuts a workload off from everything in a cluster, until a time.
//!
//! Enters: a workload, until when, by whom. Leaves: a Containment, as YAML and as JSON, which say the same. Guarantees: the same
//! workload has the same name each time. Does not: write it anywhere.

use crate::quarantine::{BY, Quarantine, WORKLOAD, quoted};
use observe::Time;
use serde_json::{Map, Value, json};

/// Whose pods, in the words of the cluster.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Target {
    /// Of its pods.
    pub namespace: String,
    /// For example `Deployment`.
    pub kind: String,
    /// Name.
    pub name: String,
}

/// A workload that a cluster is to cut off.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Containment {
    /// As the ledger has it: `namespace/Kind/name`, or `namespace/name` of a pod.
    pub workload: String,
    /// Whose pods that is.
    pub target: Target,
    /// Until when.
    pub until: Time,
    /// By whom.
    pub by: String,
    /// Why; empty where nobody said.
    pub reason: String,
    /// For which incident; empty for none.
    pub incident: String,
}

impl Containment {
    /// Name of the object that is meant for a workload.
    #[must_use]
    pub fn name_for(workload: &str) -> String {
        Quarantine::name_for(workload)
    }

    fn said(&self) -> impl Iterator<Item = (&'static str, &str)> {
        let said = [("reason", self.reason.as_str()), ("incident", self.incident.as_str())];
        said.into_iter().filter(|(_, text)| !text.trim().is_empty())
    }

    /// As an API server takes it.
    #[must_use]
    pub fn object(&self) -> Value {
        let Target { namespace, kind, name } = &self.target;
        let mut spec = Map::new();
        spec.insert("namespace".to_owned(), json!(namespace));
        spec.insert("workload".to_owned(), json!({ "kind": kind, "name": name }));
        spec.insert("until".to_owned(), json!(self.until.to_string()));
        spec.extend(self.said().map(|(key, text)| (key.to_owned(), json!(text))));
        json!({
            "apiVersion": "cofferdam.dev/v1alpha1",
            "kind": "Containment",
            "metadata": {
                "name": Self::name_for(&self.workload),
                "annotations": { WORKLOAD: self.workload, BY: self.by },
            },
            "spec": spec,
        })
    }

    /// As people read it.
    #[must_use]
    pub fn manifest(&self) -> String {
        let Target { namespace, kind, name } = &self.target;
        let said: String = self.said().map(|(key, text)| format!("  {key}: {}\n", quoted(text))).collect();
        format!(
            "apiVersion: cofferdam.dev/v1alpha1
kind: Containment
metadata:
  name: {}
  annotations:
    {WORKLOAD}: {}
    {BY}: {}
spec:
  namespace: {}
  workload:
    kind: {}
    name: {}
  until: {}
{said}",
            Self::name_for(&self.workload),
            quoted(&self.workload),
            quoted(&self.by),
            quoted(namespace),
            quoted(kind),
            quoted(name),
            quoted(&self.until.to_string()),
        )
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn both_forms_say_the_same_and_names_do_not_leave_their_quotes() {
        let hostile = "x\": {}\n---\u{202e}";
        let containment = Containment {
            workload: format!("ai/Job/{hostile}"),
            target: Target { namespace: "ai".to_owned(), kind: "Job".to_owned(), name: hostile.to_owned() },
            until: Time(1_798_740_000_500_000),
            by: hostile.to_owned(),
            reason: hostile.to_owned(),
            incident: String::new(),
        };
        let text = containment.manifest();
        let [object] = &crds::as_json("c.yaml", text.as_bytes())[..] else { panic!("{text}") };
        assert_eq!(*object, containment.object());
        let read = crds::read_objects("c.yaml", text.as_bytes());
        let [crds::Object::Containment(read)] = &read.objects[..] else { panic!("{read:?}") };
        assert!(!read.broken);
        assert_eq!(read.until, 1_798_740_001, "a second that has begun counts");
    }
}
