//! The definition of DetectionPolicy.
//!
//! Leaves: a structural schema that refuses what `crds` refuses, as far as a schema and its rules can say it. Descriptions are
//! what `kubectl explain` prints.

use super::egress::{list, object, rule, selector, whole};
use super::{Kind, crd};
use serde_json::{Value, json};

/// As the reader has them.
const MOST: usize = 64;
const MOST_TEXT: usize = 256;

/// The definition.
pub(super) fn detection_policy() -> Value {
    let about = "From where on detectors tell of pods of its namespace, and which findings nobody has to see. It allows and denies \
                 nothing. What is suppressed is counted and kept in the ledger all the same, with the reason.";
    let spec = object(
        "What holds for its pods.",
        &["podSelector", "detectors"],
        json!({
            "podSelector": selector("Pods with these labels. Empty: all pods of the namespace."),
            "detectors": list("Each name once. Of several policies that give one a threshold the lowest holds.", 1, MOST, detector()),
        }),
    );
    let kind = Kind {
        kind: "DetectionPolicy",
        plural: "detectionpolicies",
        singular: "detectionpolicy",
        short: "detp",
        scope: "Namespaced",
    };
    crd(kind, true, &whole(about, spec), &[])
}

fn text(about: &str) -> Value {
    json!({ "type": "string", "minLength": 1, "maxLength": MOST_TEXT, "description": about })
}

fn detector() -> Value {
    let names: Vec<&str> = crds::TUNABLE.iter().chain(&crds::FACTS).copied().collect();
    let percent = crds::THRESHOLD_PERCENT;
    let mut detector = object(
        "What holds for one detector.",
        &["name"],
        json!({
            "name": { "type": "string", "enum": names, "description": "Its name, as findings have it; `cofferdam detect --list` explains all." },
            "enabled": { "type": "boolean", "description": "false: none of its findings is shown; then a reason is needed." },
            "reason": text("Why it is switched off."),
            "thresholdPercent": {
                "type": "integer", "minimum": percent.start(), "maximum": percent.end(),
                "description": "Of the detector's own threshold: 200 tells from twice as much on. Not for detectors that say what was done.",
            },
            "suppress": list("Findings that are not shown.", 1, MOST, suppression()),
        }),
    );
    rule(
        &mut detector,
        "has(self.reason) == (has(self.enabled) && !self.enabled)",
        "enabled: false needs a reason, and nothing else has one",
    );
    rule(
        &mut detector,
        "has(self.reason) || has(self.thresholdPercent) || has(self.suppress)",
        "it says nothing of the detector",
    );
    detector
}

fn suppression() -> Value {
    object(
        "Findings that are not shown.",
        &["subject", "reason"],
        json!({
            "subject": text("A pattern over what a finding is about: * is anything without /, ** anything at all."),
            "reason": text("Why nobody has to see them."),
            "until": {
                "type": "string", "pattern": "^[0-9]{4}-[0-9]{2}-[0-9]{2}$",
                "description": "The last day on which it holds, of UTC, for example 2026-12-31. Left out: for ever.",
            },
        }),
    )
}
