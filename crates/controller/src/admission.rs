//! Judges a policy before it is stored: what cannot be enforced as written is refused, what is odd is warned about.
//!
//! Enters: an `AdmissionReview` of `admission.k8s.io/v1`, and the catalog. Leaves: its answer. Guarantees: only the object
//! itself and the catalog decide, so that an answer never depends on what else is in the cluster; removing is never refused.
//! Does not: look at other objects. What depends on them is in the policy's status a moment later.

use compiler::compile_unlinted_with;
use crds::{Catalog, Code, Diagnostic, Severity};
use policy::Generation;
use serde_json::{Value, json};

/// Longest warning that API servers pass on in full, in characters.
const WARNING: usize = 256;
/// Most warnings.
const WARNINGS: usize = 8;

/// The answer to a review; `None`: that is no review.
pub fn review(review: &Value, catalog: &Catalog) -> Option<Value> {
    let request = review.get("request")?;
    let uid = request.get("uid")?.as_str()?;
    let mut response = match request.get("operation").and_then(Value::as_str) {
        Some("CREATE" | "UPDATE") => judge(request.get("object")?, catalog),
        Some(_) | None => json!({ "allowed": true }),
    };
    response.as_object_mut()?.insert("uid".to_owned(), uid.into());
    Some(json!({ "apiVersion": "admission.k8s.io/v1", "kind": "AdmissionReview", "response": response }))
}

fn judge(object: &Value, catalog: &Catalog) -> Value {
    let read = crds::read_value("the request", object);
    let mut found = read.diagnostics;
    found.extend(admit::flaws(&read.objects));
    found.extend(compile_unlinted_with(read.objects, catalog, Generation(1)).diagnostics);
    let errors: Vec<String> = found.iter().filter(|it| it.is_error()).map(text).collect();
    // Whether a Secret is there is for the status to say.
    let is_of_itself =
        |it: &&Diagnostic| it.severity == Severity::Warning && it.code != Code::MissingReference;
    let warnings = found.iter().filter(is_of_itself);
    let warnings: Vec<String> =
        warnings.map(|it| text(it).chars().take(WARNING).collect()).take(WARNINGS).collect();
    if errors.is_empty() {
        return json!({ "allowed": true, "warnings": warnings });
    }
    let message = format!("{}; it would close what it may select", errors.join("; "));
    json!({
        "allowed": false, "warnings": warnings,
        "status": { "code": 422, "reason": "Invalid", "message": message },
    })
}

fn text(diagnostic: &Diagnostic) -> String {
    let field = if diagnostic.field.is_empty() { String::new() } else { format!("{}: ", diagnostic.field) };
    let hint = diagnostic.suggestion.as_ref().map_or_else(String::new, |hint| format!(" ({hint})"));
    format!("{field}{}{hint}", diagnostic.message)
}

#[cfg(test)]
mod tests {
    #![allow(
        clippy::unwrap_used,
        clippy::indexing_slicing,
        reason = "in a test a panic is the failure report"
    )]

    use super::*;

    fn asked(operation: &str, spec: &Value) -> Value {
        let object = json!({
            "apiVersion": "networking.k8s.io/v1", "kind": "NetworkPolicy",
            "metadata": { "name": "p", "namespace": "a" }, "spec": spec,
        });
        let request = json!({ "uid": "7", "operation": operation, "object": object });
        asked_with(&request)
    }

    fn asked_with(request: &Value) -> Value {
        let catalog = compiler::built_in_catalog();
        review(&json!({ "request": request }), catalog).unwrap()["response"].clone()
    }

    #[test]
    fn own_kinds_are_judged_with_the_catalog() {
        let asked = |to: &Value| {
            let object = json!({
                "apiVersion": "cofferdam.dev/v1alpha1", "kind": "EgressPolicy",
                "metadata": { "name": "p", "namespace": "a" },
                "spec": { "egress": [{ "action": "Allow", "to": [to] }] },
            });
            asked_with(&json!({ "uid": "7", "operation": "CREATE", "object": object }))
        };
        assert_eq!(asked(&json!({ "provider": "huggingface" }))["allowed"], true);
        let refused = asked(&json!({ "provider": "huggingfase" }));
        let message = refused["status"]["message"].as_str().unwrap();
        assert!(message.contains("did you mean \"huggingface\"?"), "{message}");
        assert_eq!(asked(&json!({ "domains": ["a.*.io"] }))["allowed"], false);
        // What is enforced elsewhere is refused here all the same.
        let asked = |kind: &str, spec: &Value| {
            let object = json!({
                "apiVersion": "cofferdam.dev/v1alpha1", "kind": kind,
                "metadata": { "name": "p", "namespace": "a" }, "spec": spec,
            });
            asked_with(&json!({ "uid": "7", "operation": "CREATE", "object": object }))
        };
        let route = json!({ "group": "gateway.networking.k8s.io", "kind": "HTTPRoute", "name": "r" });
        let streams = |per: &str| json!({ "targetRefs": [route], "limits": [{ "per": per, "streams": 9 }] });
        let held = |when: &str| {
            let conditions = [json!({ "tool": "t", "when": when })];
            json!({ "targetRefs": [route], "rules": [{ "action": "Allow", "toolConditions": conditions }] })
        };
        let tuned = |percent: u32| json!({ "podSelector": {}, "detectors": [{ "name": "beacon", "thresholdPercent": percent }] });
        for (kind, good, bad) in [
            ("InferencePolicy", streams("policy"), streams("planet")),
            ("InferencePolicy", held("args.n < 5"), held("arg.n < 5")),
            ("DetectionPolicy", tuned(200), tuned(5)),
        ] {
            let (good, bad) = (asked(kind, &good), asked(kind, &bad));
            assert_eq!((&good["allowed"], &good["warnings"]), (&json!(true), &json!([])), "{good}");
            assert_eq!(bad["allowed"], false, "{kind}");
        }
    }

    #[test]
    fn what_can_be_enforced_is_allowed_and_what_cannot_is_refused_with_the_field() {
        let good = asked("CREATE", &json!({ "podSelector": {} }));
        assert_eq!((&good["allowed"], &good["uid"]), (&json!(true), &json!("7")));
        let bad =
            json!({ "podSelector": {}, "ingress": [{ "from": [{ "ipBlock": { "cidr": "nonsense" } }] }] });
        let refused = asked("UPDATE", &bad);
        assert_eq!(refused["allowed"], false);
        let message = refused["status"]["message"].as_str().unwrap();
        assert!(message.contains("spec.ingress[0].from[0].ipBlock.cidr"), "{message}");
        assert_eq!(asked("DELETE", &bad)["allowed"], true);
    }

    #[test]
    fn what_is_no_review_has_no_answer() {
        for value in [json!({}), json!([]), json!({ "request": { "operation": "CREATE" } })] {
            assert!(review(&value, compiler::built_in_catalog()).is_none(), "{value}");
        }
    }
}
