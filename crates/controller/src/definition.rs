//! The definition of Cofferdam's own kind: how a NetworkPolicy stands, which has no status of its own.
//!
//! Leaves: a CustomResourceDefinition with a structural schema, rules and columns. What is checked in and installed is made
//! from it. Does not: write objects of it.

use serde_json::{Value, json};

/// API group of own kinds.
pub const GROUP: &str = "cofferdam.dev";
/// Its version.
pub const VERSION: &str = "v1alpha1";
/// The kind.
pub const KIND: &str = "PolicyStatus";
/// As in its URL.
pub const PLURAL: &str = "policystatuses";

/// The definition, to be installed in a cluster.
pub fn definition() -> Value {
    let column = |name: &str, kind: &str, path: &str| json!({ "name": name, "type": kind, "jsonPath": path });
    let condition = |kind: &str, field: &str| format!(".status.conditions[?(@.type==\"{kind}\")].{field}");
    json!({
        "apiVersion": "apiextensions.k8s.io/v1",
        "kind": "CustomResourceDefinition",
        "metadata": { "name": format!("{PLURAL}.{GROUP}") },
        "spec": {
            "group": GROUP,
            "scope": "Namespaced",
            "names": {
                "kind": KIND, "listKind": format!("{KIND}List"), "plural": PLURAL, "singular": "policystatus",
                "shortNames": ["polst"], "categories": ["cofferdam"],
            },
            "versions": [{
                "name": VERSION, "served": true, "storage": true,
                "schema": { "openAPIV3Schema": schema() },
                "additionalPrinterColumns": [
                    column("Accepted", "string", &condition("Accepted", "status")),
                    column("Programmed", "string", &condition("Programmed", "status")),
                    column("Enforced", "integer", ".status.nodes.enforced"),
                    column("Needed", "integer", ".status.nodes.needed"),
                    column("Message", "string", &condition("Programmed", "message")),
                    column("Age", "date", ".metadata.creationTimestamp"),
                ],
            }],
        },
    })
}

fn schema() -> Value {
    let text = |about: &str, most: u32| json!({ "type": "string", "maxLength": most, "description": about });
    let count =
        |about: &str| json!({ "type": "integer", "format": "int64", "minimum": 0, "description": about });
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
                    "conditions": {
                        "type": "array", "maxItems": 16, "items": condition,
                        "x-kubernetes-list-type": "map", "x-kubernetes-list-map-keys": ["type"],
                    },
                },
            },
        },
    })
}
