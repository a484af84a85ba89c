//! What an API server leaves out of a policy that it takes.
//!
//! A definition (CRD) that is older than the release does not know its newer fields. The API server drops these with no more than a warning:
//! a rule without `operations` allows every request, and without `leaks` it looks for nothing.

use kube::api::DynamicObject;
use serde_json::Value;

/// Where the first field is that was wanted and that is not there, such as `spec.egress[0].leaks`; `None`: all are.
pub(super) fn dropped(wanted: &DynamicObject, there: &DynamicObject) -> Option<String> {
    // Of its own kinds, which have no definition, the API server leaves out what is empty.
    let is_own = wanted.types.as_ref().is_some_and(|types| types.api_version == "networking.k8s.io/v1");
    let is_nothing = |value: &Value| value.is_null() || is_own && is_empty(value);
    let spec = wanted.data.get("spec").filter(|spec| !is_nothing(spec))?;
    match there.data.get("spec") {
        Some(there) => first(spec, there, "spec", &is_nothing),
        None => Some("spec".to_owned()),
    }
}

fn first(wanted: &Value, there: &Value, path: &str, is_nothing: &impl Fn(&Value) -> bool) -> Option<String> {
    match (wanted, there) {
        (Value::Object(wanted), Value::Object(there)) => {
            wanted.iter().filter(|(_, value)| !is_nothing(value)).find_map(|(field, value)| {
                let path = format!("{path}.{field}");
                match there.get(field) {
                    Some(there) => first(value, there, &path, is_nothing),
                    None => Some(path),
                }
            })
        }
        (Value::Array(wanted), Value::Array(there)) => {
            wanted.iter().enumerate().find_map(|(number, value)| {
                let path = format!("{path}[{number}]");
                match there.get(number) {
                    Some(there) => first(value, there, &path, is_nothing),
                    None => Some(path),
                }
            })
        }
        // What a value is, is not the definition's to say.
        (_, _) => None,
    }
}

fn is_empty(value: &Value) -> bool {
    match value {
        Value::Null => true,
        Value::Bool(value) => !value,
        Value::Number(value) => value.as_f64() == Some(0.0),
        Value::String(value) => value.is_empty(),
        Value::Array(value) => value.is_empty(),
        Value::Object(value) => value.is_empty(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    fn found(version: &str, wanted: Value, there: Value) -> Option<String> {
        let object = |spec: Value| -> DynamicObject {
            let object =
                json!({ "apiVersion": version, "kind": "K", "metadata": { "name": "a" }, "spec": spec });
            serde_json::from_value(object).unwrap()
        };
        dropped(&object(wanted), &object(there))
    }

    #[test]
    fn what_a_definition_does_not_know_is_named_and_what_it_adds_is_not() {
        let own = "cofferdam.dev/v1alpha1";
        let rule = json!({ "to": [{ "domain": "a.example" }], "leaks": {}, "note": null });
        let wanted = json!({ "egress": [{ "to": [] }, rule] });
        for (there, lost) in [
            (
                json!({ "egress": [{ "to": [], "action": "Allow" }, { "to": [{ "domain": "a.example" }], "leaks": {} }] }),
                None,
            ),
            (
                json!({ "egress": [{ "to": [] }, { "to": [{ "domain": "a.example" }] }] }),
                Some("spec.egress[1].leaks"),
            ),
            (
                json!({ "egress": [{ "to": [] }, { "to": [{}], "leaks": {} }] }),
                Some("spec.egress[1].to[0].domain"),
            ),
            (json!({ "egress": [{ "to": [] }] }), Some("spec.egress[1]")),
            (json!({}), Some("spec.egress")),
        ] {
            assert_eq!(found(own, wanted.clone(), there.clone()).as_deref(), lost, "{there}");
        }
    }

    #[test]
    fn of_its_own_kinds_the_api_server_leaves_out_what_is_empty() {
        let wanted = json!({ "podSelector": {}, "ingress": [], "egress": [{ "ports": [], "to": [{ "ipBlock": { "cidr": "10.0.0.0/8", "except": [] } }] }] });
        let there =
            json!({ "podSelector": {}, "egress": [{ "to": [{ "ipBlock": { "cidr": "10.0.0.0/8" } }] }] });
        assert_eq!(found("networking.k8s.io/v1", wanted.clone(), there.clone()), None);
        assert_eq!(found("cofferdam.dev/v1alpha1", wanted, there), Some("spec.egress[0].ports".to_owned()));
    }
}
