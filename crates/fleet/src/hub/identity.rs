//! The definition of IdentitySlice, which a hub has and every cluster that imports.

use super::{definition, object, text};
use serde_json::{Value, json};

/// As the reader has them.
const MOST_PODS: usize = 256;
const MOST_ADDRESSES: usize = 16;
const MOST_LABELS: usize = 128;
/// The longest name.
const MOST_NAME: usize = 253;

/// The definition.
pub fn identity_slice() -> Value {
    let about = "Some pods of a namespace that a cluster exports, with their labels and addresses, for policy of other clusters to \
                 select. At the hub it is in the namespace that has the cluster's name. Written by Cofferdam.";
    let spec = object(
        "Which pods.",
        &["cluster", "namespace", "pods"],
        &json!({
            "cluster": label("The cluster in which they run."),
            "namespace": label("Their namespace there."),
            "namespaceLabels": labels("The labels of that namespace there."),
            "expired": {
                "type": "boolean",
                "description": "Nothing was heard of the cluster for too long: no rule allows anything to these pods, and rules that \
                                deny go on meaning them.",
            },
            "withheld": {
                "type": "integer", "format": "int64", "minimum": 1, "maximum": i32::MAX,
                "description": "So many pods of the namespace are not taken, for the cluster exports too many: no rule means them. \
                                Written where it is imported.",
            },
            // Replaced as a whole by whoever writes it.
            "pods": {
                "type": "array", "maxItems": MOST_PODS, "items": pod(), "x-kubernetes-list-type": "atomic",
                "description": "The pods, each name once.",
            },
        }),
    );
    let status = json!({
        "type": "object", "description": "How it stands where it was imported.", "x-kubernetes-preserve-unknown-fields": true,
    });
    let schema = object(about, &["spec"], &json!({ "spec": spec, "status": status }));
    let columns = [
        ("Cluster", "string", ".spec.cluster"),
        ("Of", "string", ".spec.namespace"),
        ("Expired", "boolean", ".spec.expired"),
        ("Accepted", "string", ".status.conditions[?(@.type==\"Accepted\")].status"),
        ("Message", "string", ".status.conditions[?(@.type==\"Accepted\")].message"),
        ("Age", "date", ".metadata.creationTimestamp"),
    ];
    let mut slice = definition("IdentitySlice", "identityslices", "idsl", &schema, &columns);
    if let Some(scope) = slice.pointer_mut("/spec/scope") {
        *scope = "Namespaced".into();
    }
    slice
}

fn pod() -> Value {
    let workload = object(
        "What made it. Left out: nothing did.",
        &["kind", "name"],
        &json!({ "kind": text("For example ReplicaSet.", MOST_NAME), "name": text("Its name.", MOST_NAME) }),
    );
    object(
        "A pod.",
        &["name", "addresses"],
        &json!({
            "name": text("Its name.", MOST_NAME),
            "labels": labels("Its labels."),
            "addresses": {
                "type": "array", "minItems": 1, "maxItems": MOST_ADDRESSES,
                "items": { "type": "string", "maxLength": 45 }, "x-kubernetes-list-type": "atomic",
                "description": "Its addresses. Nobody else's: not of this host, not of one link, not of many hosts.",
            },
            "serviceAccount": text("Its service account. Left out: default.", MOST_NAME),
            "workload": workload,
        }),
    )
}

fn label(about: &str) -> Value {
    json!({
        "type": "string", "minLength": 1, "maxLength": 63, "pattern": "^[a-z0-9]([-a-z0-9]*[a-z0-9])?$", "description": about,
    })
}

fn labels(about: &str) -> Value {
    json!({
        "type": "object", "maxProperties": MOST_LABELS, "additionalProperties": { "type": "string", "maxLength": 63 },
        "description": about,
    })
}
