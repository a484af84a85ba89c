//! The definition of Containment.
//!
//! Leaves: a structural schema that refuses what `crds` refuses, as far as a schema and its rules can say it. Descriptions are
//! what `kubectl explain` prints.

use super::egress::{object, rule, selector, whole};
use super::{Kind, count, crd};
use serde_json::{Value, json};

/// As the reader has it.
const MOST_TEXT: usize = 1024;

/// The definition.
pub(super) fn containment() -> Value {
    let about = "Pods that reach nobody and are reached by nobody until a time, whatever other policy says. It is judged before all \
                 other policies; open connections are cut. It ends by itself, by the controller's clock.";
    let workload = object(
        "The pods that this made. Of a Deployment those of all its ReplicaSets, of a CronJob those of all its Jobs.",
        &["kind", "name"],
        json!({
            "kind": text("For example Deployment; Pod for a pod by itself."),
            "name": text("Its name."),
        }),
    );
    let mut spec = object(
        "Whom it cuts off, and until when.",
        &["namespace", "until"],
        json!({
            "namespace": {
                "type": "string", "minLength": 1, "maxLength": 63, "pattern": "^[a-z0-9]([-a-z0-9]*[a-z0-9])?$",
                "description": "The namespace of the pods.",
            },
            "workload": workload,
            "podSelector": selector("Pods with these labels. Empty: all pods of the namespace."),
            "until": {
                "type": "string", "maxLength": 30,
                "pattern": "^[0-9]{4}-[0-9]{2}-[0-9]{2}T[0-9]{2}:[0-9]{2}:[0-9]{2}(\\.[0-9]{1,9})?Z$",
                "description": "When it ends: a time of UTC (RFC 3339), for example 2026-12-31T18:00:00Z.",
            },
            "reason": text("Why, for people."),
            "incident": text("The incident for which it was made."),
        }),
    );
    rule(
        &mut spec,
        "has(self.workload) != has(self.podSelector)",
        "exactly one of workload and podSelector is needed",
    );
    let kind = Kind {
        kind: "Containment",
        plural: "containments",
        singular: "containment",
        short: "cont",
        scope: "Cluster",
    };
    let columns = [
        ("Phase", "string", ".status.phase"),
        ("Until", "string", ".spec.until"),
        ("Nodes", "integer", ".status.nodes.enforced"),
    ];
    let mut schema = whole(about, spec);
    if let Some(status) = schema.pointer_mut("/properties/status/properties").and_then(Value::as_object_mut) {
        status.insert(
            "phase".to_owned(),
            json!({
                "type": "string", "enum": ["Pending", "InForce", "Over"],
                "description": "InForce: on every node that has such pods. Over: its time is over, and nothing of it is in force.",
            }),
        );
        status.insert(
            "nodes".to_owned(),
            json!({
                "type": "object", "required": ["needed", "enforced"],
                "properties": {
                    "needed": count("Nodes with such pods."),
                    "enforced": count("Those of them whose kernel has it."),
                },
            }),
        );
    }
    crd(kind, true, &schema, &columns)
}

fn text(about: &str) -> Value {
    json!({ "type": "string", "minLength": 1, "maxLength": MOST_TEXT, "description": about })
}
