//! The definition of Rollout, and what holds people to their own names in it.

use super::asked::{MOST_ACCEPTED, MOST_COMMANDS};
use super::{FLEET_LABEL, definition, object, reference, text, whole_number};
use crate::rollout::MOST_STAGES;
use serde_json::{Value, json};

/// Most labels of one selector.
const MOST_LABELS: usize = 32;

/// Who asks for something of a rollout does so in their own name.
///
/// A policy of the API server's own: it refuses a new command under another name than that of whoever writes it.
pub fn guards() -> [Value; 2] {
    let name = "cofferdam-rollout-commands";
    let is_old =
        "(oldObject != null && has(oldObject.spec.commands) && oldObject.spec.commands.exists(o, o == c))";
    let rule = format!(
        "!has(object.spec.commands) || object.spec.commands.all(c, {is_old} || c.by == request.userInfo.username)"
    );
    let policy = json!({
        "apiVersion": "admissionregistration.k8s.io/v1", "kind": "ValidatingAdmissionPolicy",
        "metadata": { "name": name },
        "spec": {
            "failurePolicy": "Fail",
            "matchConstraints": { "resourceRules": [{
                "apiGroups": ["cofferdam.dev"], "apiVersions": ["*"], "operations": ["CREATE", "UPDATE"], "resources": ["rollouts"],
            }] },
            "validations": [{
                "expression": rule,
                "messageExpression": "'spec.commands: a new command must be in the name of whoever writes it, ' + request.userInfo.username",
            }],
        },
    });
    let binding = json!({
        "apiVersion": "admissionregistration.k8s.io/v1", "kind": "ValidatingAdmissionPolicyBinding",
        "metadata": { "name": name },
        "spec": { "policyName": name, "validationActions": ["Deny"] },
    });
    [policy, binding]
}

pub(super) fn rollout() -> Value {
    let about = "A release that is brought to clusters stage by stage, as far as what they see of it allows.";
    let schema = object(about, &["spec"], &json!({ "spec": spec(), "status": status() }));
    let columns = [
        ("Release", "integer", ".spec.release.number"),
        ("Stage", "string", ".status.stage"),
        ("Phase", "string", ".status.phase"),
        ("Held", "string", ".status.conditions[?(@.type=='Held')].status"),
        ("Waits", "string", ".status.waits"),
        ("Age", "date", ".metadata.creationTimestamp"),
    ];
    definition("Rollout", "rollouts", "polroll", &schema, &columns)
}

fn spec() -> Value {
    let stages = json!({ "type": "array", "minItems": 1, "maxItems": MOST_STAGES, "items": stage() });
    let accepted = object(
        "A denial that is meant. What is left out fits everything.",
        &[],
        &json!({
            "source": text("Workload, as in a report.", 512),
            "destination": text("Workload, name or address, as in a report.", 512),
            "port": { "type": "integer", "minimum": 0, "maximum": 65535, "description": "Destination port." },
        }),
    );
    let accepted = json!({ "type": "array", "maxItems": MOST_ACCEPTED, "items": accepted });
    let at_least_one = |about: &str, default: u64| json!({ "type": "integer", "format": "int64", "minimum": 1, "default": default, "description": about });
    let drift = json!({
        "type": "string", "enum": ["Correct", "Report"],
        "description": "What its clusters do where somebody changed a policy of the fleet. Left out: what each has in its own spec.",
    });
    let paused = json!({
        "type": "boolean", "default": false,
        "description": "No stage begins or is enforced. Going back still happens by itself.",
    });
    let mut spec = object(
        "What is asked for. Release, fallback, fleet and stages never change: make another Rollout.",
        &["release", "stages"],
        &json!({
            "release": reference("What is rolled out."),
            "fallback": reference("What the release was signed to fall back to; left out: nothing, and then it cannot be taken back."),
            "stages": stages,
            "fleet": {
                "type": "string", "maxLength": 63, "pattern": "^[a-z0-9]([a-z0-9-]*[a-z0-9])?$",
                "description": format!("Only clusters whose label {FLEET_LABEL} is this, and no release that was signed for another fleet. Left out: whichever clusters the stages select."),
            },
            "accepted": accepted,
            "spike": at_least_one("So many denials of what worked before, at one cluster, take it back everywhere.", 1),
            "silenceSeconds": at_least_one("After so long without a word of it, what a cluster said does not count.", 120),
            "drift": drift,
            "paused": paused,
            "commands": commands(),
        }),
    );
    if let Some(fields) = spec.as_object_mut() {
        let same = |field: &str| format!("self.{field} == oldSelf.{field}");
        let both = |field: &str| {
            format!(
                "has(self.{field}) == has(oldSelf.{field}) && (!has(self.{field}) || self.{field} == oldSelf.{field})"
            )
        };
        let message = "never changes; make another Rollout";
        let rules = json!([
            { "rule": same("release"), "message": format!("release {message}") },
            { "rule": both("fallback"), "message": format!("fallback {message}") },
            { "rule": both("fleet"), "message": format!("fleet {message}") },
            { "rule": same("stages"), "message": format!("stages {message}") },
        ]);
        fields.insert("x-kubernetes-validations".to_owned(), rules);
    }
    spec
}

fn stage() -> Value {
    let label = json!({ "type": "string", "maxLength": 317 });
    let expression = object(
        "One of the label selector's expressions.",
        &["key", "operator"],
        &json!({
            "key": label,
            "operator": { "type": "string", "enum": ["In", "NotIn", "Exists", "DoesNotExist"] },
            "values": { "type": "array", "maxItems": MOST_LABELS, "items": { "type": "string", "maxLength": 63 } },
        }),
    );
    let clusters = object(
        "By their labels at the hub. A cluster belongs to the first stage that selects it; {} selects all.",
        &[],
        &json!({
            "matchLabels": {
                "type": "object", "maxProperties": MOST_LABELS, "additionalProperties": { "type": "string", "maxLength": 63 },
            },
            "matchExpressions": { "type": "array", "maxItems": MOST_LABELS, "items": expression },
        }),
    );
    let gate = object(
        "What must be seen without effect before the stage enforces it.",
        &["seconds", "flows"],
        &json!({
            "seconds": whole_number("At every cluster, by its own steady clock."),
            "flows": whole_number("Judged, at all clusters of the stage together."),
            "findings": whole_number("Most findings at any one cluster, of workloads that the release selects."),
            "severity": {
                "type": "string", "enum": ["low", "medium", "high"], "default": "medium",
                "description": "Findings that matter less do not count.",
            },
            "errorPercent": {
                "type": "integer", "format": "int64", "minimum": 0, "maximum": 100,
                "description": "Of a hundred connections, names or requests of workloads that the release selects, so many may fail at any one cluster, before the stage enforces it and before the next begins. Left out: nobody looks.",
            },
        }),
    );
    object(
        "Clusters that get the release together.",
        &["name", "clusters", "gate"],
        &json!({
            "name": { "type": "string", "minLength": 1, "maxLength": 63, "description": "For people." },
            "clusters": clusters,
            "gate": gate,
            "approval": { "type": "boolean", "default": false, "description": "Whether somebody must approve as well." },
            "holdSeconds": whole_number("For so long every cluster must have enforced it before the next stage begins."),
        }),
    )
}

fn commands() -> Value {
    let command = object(
        "Something that somebody asks for; handled once. `cofferdam rollout` writes it.",
        &["id", "by", "verb"],
        &json!({
            "id": { "type": "integer", "format": "int64", "minimum": 1, "description": "Higher than that of every command before, by at most 10000000000000: others are not done." },
            "by": text("Who asks: whoever writes it, by the name that the API server knows.", 512),
            "verb": { "type": "string", "enum": [
                "Pause", "Resume", "Approve", "Promote", "Abort", "ApproveCluster", "PromoteCluster", "SendBack",
            ] },
            "stage": text("The stage that is meant. Another one is left alone.", 63),
            "cluster": text("The cluster that is meant by ApproveCluster, PromoteCluster and SendBack: one that came when the rollout was done.", 253),
            "why": text("In their words.", 1024),
        }),
    );
    json!({
        "type": "array", "maxItems": MOST_COMMANDS, "items": command,
        "x-kubernetes-list-type": "map", "x-kubernetes-list-map-keys": ["id"],
    })
}

fn status() -> Value {
    // Only one program writes it, and its form is that one's to check. As one field it stays small where it counts: in what the
    // API server keeps of who wrote what.
    let state = json!({
        "type": "object", "x-kubernetes-preserve-unknown-fields": true, "x-kubernetes-map-type": "atomic",
        "description": "Everything that the next step goes by, with the decisions so far.",
    });
    let condition = object(
        "A condition.",
        &["type", "status", "reason", "lastTransitionTime"],
        &json!({
            "type": text("Accepted, Progressing, Held, Done or RolledBack.", 63),
            "status": text("True or False.", 7),
            "reason": text("In one word.", 63),
            "message": text("In words.", 8192),
            "lastTransitionTime": { "type": "string", "format": "date-time" },
            "observedGeneration": whole_number("Generation of the object that it is about."),
        }),
    );
    let stages = json!({ "type": "array", "x-kubernetes-list-type": "atomic", "items": {
        "type": "object", "x-kubernetes-preserve-unknown-fields": true,
    } });
    object(
        "How it stands.",
        &[],
        &json!({
            "observedGeneration": whole_number("Generation of the object that this is about."),
            "phase": text("Waiting, Shadow, Enforce, RollingBack, RolledBack or Done.", 63),
            "stage": text("The stage that it is about.", 63),
            "waits": text("What it waits for.", 8192),
            "stages": stages,
            "conditions": {
                "type": "array", "items": condition,
                "x-kubernetes-list-type": "map", "x-kubernetes-list-map-keys": ["type"],
            },
            "state": state,
        }),
    )
}
