//! The definitions of Cofferdam's own kinds: EgressPolicy, ClusterEgressPolicy, InferencePolicy, DetectionPolicy, Containment, IdentitySlice, and how a NetworkPolicy stands, which has
//! no status of its own.
//!
//! Leaves: CustomResourceDefinitions with structural schemas, rules and columns. What is checked in and installed is made
//! from them. Does not: write objects of them.

mod containment;
mod detection;
mod egress;
mod inference;

use serde_json::{Value, json};

/// API group of own kinds.
pub const GROUP: &str = "cofferdam.dev";
/// Its version.
pub const VERSION: &str = "v1alpha1";
/// How a NetworkPolicy stands.
pub const KIND: &str = "PolicyStatus";
/// As in its URL.
pub const PLURAL: &str = "policystatuses";

/// Every definition.
pub fn definitions() -> [Value; 7] {
    [
        policy_status(),
        egress::egress_policy(),
        egress::cluster_egress_policy(),
        inference::inference_policy(),
        detection::detection_policy(),
        containment::containment(),
        fleet::hub::identity_slice(),
    ]
}

/// Every definition as one object, to be installed in a cluster.
pub fn list() -> Value {
    json!({ "apiVersion": "v1", "kind": "List", "items": definitions() })
}

/// What a kind is called.
struct Kind {
    kind: &'static str,
    plural: &'static str,
    singular: &'static str,
    short: &'static str,
    scope: &'static str,
}

/// A definition. Every kind has conditions, and columns for them.
fn crd(kind: Kind, has_status: bool, schema: &Value, columns: &[(&str, &str, &str)]) -> Value {
    let Kind { kind, plural, singular, short, scope } = kind;
    let column = |name: &str, kind: &str, path: &str| json!({ "name": name, "type": kind, "jsonPath": path });
    let condition = |kind: &str, field: &str| format!(".status.conditions[?(@.type==\"{kind}\")].{field}");
    let mut all = vec![
        column("Accepted", "string", &condition("Accepted", "status")),
        column("Programmed", "string", &condition("Programmed", "status")),
    ];
    all.extend(columns.iter().map(|(name, kind, path)| column(name, kind, path)));
    all.push(column("Message", "string", &condition("Programmed", "message")));
    all.push(column("Age", "date", ".metadata.creationTimestamp"));
    let mut version = json!({
        "name": VERSION, "served": true, "storage": true,
        "schema": { "openAPIV3Schema": schema },
        "additionalPrinterColumns": all,
    });
    if let Some(fields) = version.as_object_mut().filter(|_| has_status) {
        fields.insert("subresources".to_owned(), json!({ "status": {} }));
    }
    json!({
        "apiVersion": "apiextensions.k8s.io/v1",
        "kind": "CustomResourceDefinition",
        "metadata": { "name": format!("{plural}.{GROUP}") },
        "spec": {
            "group": GROUP,
            "scope": scope,
            "names": {
                "kind": kind, "listKind": format!("{kind}List"), "plural": plural, "singular": singular,
                "shortNames": [short], "categories": ["cofferdam"],
            },
            "versions": [version],
        },
    })
}

fn policy_status() -> Value {
    let kind =
        Kind { kind: KIND, plural: PLURAL, singular: "policystatus", short: "polst", scope: "Namespaced" };
    let columns =
        [("Enforced", "integer", ".status.nodes.enforced"), ("Needed", "integer", ".status.nodes.needed")];
    crd(kind, false, &schema(), &columns)
}

fn text(about: &str, most: u32) -> Value {
    json!({ "type": "string", "maxLength": most, "description": about })
}

fn count(about: &str) -> Value {
    json!({ "type": "integer", "format": "int64", "minimum": 0, "description": about })
}

/// A list of conditions.
fn conditions() -> Value {
    let condition = json!({
        "type": "object",
        "required": ["type", "status", "reason", "message", "lastTransitionTime"],
        "properties": {
            "type": {
                "type": "string", "enum": ["Accepted", "Programmed", "Shadowed", "Conflicted", "Degraded"],
                "description": "What the condition is about.",
            },
            "status": { "type": "string", "enum": ["True", "False", "Unknown"], "description": "Whether it holds." },
            "reason": text("Why, in one word.", 1024),
            "message": text("Why, for people.", 32768),
            "observedGeneration": count("metadata.generation of the policy that this is about."),
            "lastTransitionTime": {
                "type": "string", "format": "date-time", "description": "When the status last changed.",
            },
        },
    });
    json!({
        "type": "array", "maxItems": 16, "items": condition,
        "x-kubernetes-list-type": "map", "x-kubernetes-list-map-keys": ["type"],
    })
}

fn schema() -> Value {
    json!({
        "type": "object",
        "description": "How the NetworkPolicy of the same name stands. Written by the controller of Cofferdam.",
        "required": ["status"],
        "properties": {
            "apiVersion": { "type": "string" },
            "kind": { "type": "string" },
            "metadata": { "type": "object" },
            "status": {
                "type": "object",
                "required": ["nodes", "conditions"],
                "properties": {
                    "observedGeneration": count("metadata.generation of the policy that this is about."),
                    "sinceGeneration": count("State of policy that first held the policy as it is now."),
                    "nodes": {
                        "type": "object",
                        "required": ["needed", "enforced"],
                        "properties": {
                            "needed": count("Nodes with pods that the policy is about."),
                            "enforced": count("Those of them whose kernel has it."),
                        },
                        "x-kubernetes-validations": [{
                            "rule": "self.enforced <= self.needed",
                            "message": "more nodes enforce the policy than need it",
                        }],
                    },
                    "conditions": conditions(),
                },
            },
        },
    })
}
