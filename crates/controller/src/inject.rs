//! Has pods trust the inspection authority: mounts what they must trust, and tells their programs where it is.
//!
//! Enters: an `AdmissionReview` of `admission.k8s.io/v1` of a pod that is about to be made. Leaves: its answer, with a JSON
//! patch (RFC 6902) where something is to change. Guarantees: a pod is never refused; what a container says itself is left as
//! it is; asked again, it changes nothing more.
//! Does not: choose pods but by their annotation. The webhook's configuration chooses namespaces.

use crate::trust::{ALONE, BUNDLE, NAME};
use serde_json::{Map, Value, json};

/// Annotation of a pod, and label of its namespace. At a pod `"false"` leaves it alone.
const ANNOTATION: &str = crate::trust::INJECT;
/// Where the ConfigMap is mounted.
const AT: &str = "/etc/cofferdam-trust";
/// Variables by which programs find what they trust, each with the key of the ConfigMap: the authority alone for those that
/// trust it beside what they trust anyway, else everything. By the documentation of OpenSSL and Go, requests, curl, git, the
/// AWS SDKs, pip, cargo, gRPC, Node.js and Deno.
const VARIABLES: [(&str, &str); 10] = [
    ("SSL_CERT_FILE", BUNDLE),
    ("REQUESTS_CA_BUNDLE", BUNDLE),
    ("CURL_CA_BUNDLE", BUNDLE),
    ("GIT_SSL_CAINFO", BUNDLE),
    ("AWS_CA_BUNDLE", BUNDLE),
    ("PIP_CERT", BUNDLE),
    ("CARGO_HTTP_CAINFO", BUNDLE),
    ("GRPC_DEFAULT_SSL_ROOTS_FILE_PATH", BUNDLE),
    ("NODE_EXTRA_CA_CERTS", ALONE),
    ("DENO_CERT", ALONE),
];

/// The answer to a review; `None`: that is no review.
pub fn review(review: &Value) -> Option<Value> {
    let request = review.get("request")?;
    let uid = request.get("uid")?.as_str()?;
    let is_new = request.get("operation").and_then(Value::as_str) == Some("CREATE");
    let (patch, warnings) = match request.get("object").filter(|_| is_new) {
        Some(pod) => patch(pod),
        None => Default::default(),
    };
    let mut response = json!({ "uid": uid, "allowed": true });
    if let Some(fields) = response.as_object_mut() {
        if !warnings.is_empty() {
            fields.insert("warnings".to_owned(), warnings.into());
        }
        if !patch.is_empty() {
            fields.insert("patchType".to_owned(), "JSONPatch".into());
            fields.insert("patch".to_owned(), bytes(&Value::Array(patch)));
        }
    }
    Some(json!({ "apiVersion": "admission.k8s.io/v1", "kind": "AdmissionReview", "response": response }))
}

/// As bytes are in JSON.
fn bytes(value: &Value) -> Value {
    json!(k8s_openapi::ByteString(value.to_string().into_bytes()))
}

/// What is to change about a pod, and what its author should know.
fn patch(pod: &Value) -> (Vec<Value>, Vec<String>) {
    let Some(spec) = pod.get("spec").filter(|spec| is_meant(pod, spec)) else { return Default::default() };
    let volumes = list(spec, "volumes");
    let own = json!({ "name": NAME, "configMap": { "name": NAME } });
    let is_own = |held: &Value| held.pointer("/configMap/name").is_some_and(|name| name == NAME);
    if volumes.iter().any(|volume| volume["name"] == NAME && !is_own(volume)) {
        return (Vec::new(), vec![format!("volume {NAME} is another one: the pod is left alone")]);
    }
    let mut patch = Vec::new();
    let mut warnings = Vec::new();
    for kind in ["initContainers", "containers"] {
        let all = list(spec, kind);
        // Whatever else stands in their place, the API server says so itself.
        for (number, container) in all.iter().enumerate().filter(|(_, it)| it.is_object()) {
            match changed(container) {
                Ok(fields) => patch.extend(fields.into_iter().map(|(field, value)| {
                    // Replaces what is there (RFC 6902, section 4.1), so that there need not be anything.
                    json!({ "op": "add", "path": format!("/spec/{kind}/{number}/{field}"), "value": value })
                })),
                Err(why) => warnings.push(why),
            }
        }
    }
    if !patch.is_empty() && !volumes.iter().any(|volume| volume["name"] == NAME) {
        let all = [volumes, vec![own]].concat();
        patch.insert(0, json!({ "op": "add", "path": "/spec/volumes", "value": all }));
    }
    (patch, warnings)
}

/// Pods of their node's network are not looked at, and those of Windows have other paths.
fn is_meant(pod: &Value, spec: &Value) -> bool {
    let says = pod.pointer("/metadata/annotations").and_then(|it| it.get(ANNOTATION));
    says.and_then(Value::as_str) != Some("false")
        && spec["hostNetwork"] != true
        && spec.pointer("/os/name").and_then(Value::as_str) != Some("windows")
}

/// The fields of a container that change.
fn changed(container: &Value) -> Result<Map<String, Value>, String> {
    let (mut env, mut mounts) = (list(container, "env"), list(container, "volumeMounts"));
    let missing = VARIABLES.iter().filter(|(name, _)| !env.iter().any(|it| it["name"] == *name));
    let missing: Vec<Value> =
        missing.map(|(name, key)| json!({ "name": name, "value": format!("{AT}/{key}") })).collect();
    let mut fields = Map::new();
    // Whoever says everything itself needs nothing of ours.
    if missing.is_empty() {
        return Ok(fields);
    }
    match mounts
        .iter()
        .find(|mount| mount["mountPath"].as_str().map(|at| at.trim_end_matches('/')) == Some(AT))
    {
        Some(mount) if mount["name"] == NAME => {}
        Some(_) => {
            return Err(format!(
                "container {}: something else is at {AT}: it is left alone",
                container["name"]
            ));
        }
        None => {
            mounts.push(json!({ "name": NAME, "mountPath": AT, "readOnly": true }));
            fields.insert("volumeMounts".to_owned(), mounts.into());
        }
    }
    env.extend(missing);
    fields.insert("env".to_owned(), env.into());
    Ok(fields)
}

fn list(object: &Value, field: &str) -> Vec<Value> {
    object.get(field).and_then(Value::as_array).cloned().unwrap_or_default()
}

#[cfg(test)]
mod tests {
    #![allow(
        clippy::unwrap_used,
        clippy::indexing_slicing,
        clippy::panic,
        reason = "in a test a panic is the failure report"
    )]

    use super::*;

    /// Does to a pod what an API server does with the patch; only of operations that are made here.
    fn apply(pod: &Value, patch: &[Value]) -> Value {
        let mut pod = pod.clone();
        for operation in patch {
            assert_eq!(operation["op"], "add");
            let (parent, field) = operation["path"].as_str().unwrap().rsplit_once('/').unwrap();
            let parent = pod.pointer_mut(parent).unwrap_or_else(|| panic!("{operation}"));
            parent.as_object_mut().unwrap().insert(field.to_owned(), operation["value"].clone());
        }
        pod
    }

    fn pod(spec: &Value) -> Value {
        json!({ "metadata": { "name": "p" }, "spec": spec })
    }

    fn variable(container: &Value, name: &str) -> Value {
        let found: Vec<_> = list(container, "env").into_iter().filter(|it| it["name"] == name).collect();
        assert!(found.len() <= 1, "{name} twice");
        found.first().map_or(Value::Null, |it| it["value"].clone())
    }

    #[test]
    fn every_container_is_told_where_to_find_what_it_must_trust_and_asked_again_nothing_changes() {
        let before = pod(&json!({
            "volumes": [{ "name": "data", "emptyDir": {} }],
            "initContainers": [{ "name": "i" }],
            "containers": [
                { "name": "a", "env": [{ "name": "X", "value": "1" }], "volumeMounts": [{ "name": "data", "mountPath": "/data" }] },
                { "name": "b", "env": null },
            ],
        }));
        let (first, warnings) = patch(&before);
        assert!(warnings.is_empty());
        let after = apply(&before, &first);
        let spec = &after["spec"];
        assert_eq!(spec["volumes"][0]["name"], "data");
        assert_eq!(spec["volumes"][1], json!({ "name": NAME, "configMap": { "name": NAME } }));
        for container in [&spec["initContainers"][0], &spec["containers"][0], &spec["containers"][1]] {
            for (name, key) in VARIABLES {
                assert_eq!(variable(container, name), format!("/etc/cofferdam-trust/{key}"));
            }
            let mounts = list(container, "volumeMounts");
            let own = json!({ "name": NAME, "mountPath": AT, "readOnly": true });
            assert_eq!(mounts.last(), Some(&own));
        }
        assert_eq!(variable(&spec["containers"][0], "X"), "1");
        assert_eq!(spec["containers"][0]["volumeMounts"][0]["name"], "data");
        assert_eq!(patch(&after), (Vec::new(), Vec::new()));
    }

    #[test]
    fn what_a_container_says_itself_is_left_as_it_is() {
        let own =
            json!([{ "name": "SSL_CERT_FILE", "value": "/mine" }, { "name": "PIP_CERT", "valueFrom": {} }]);
        let before = pod(&json!({ "containers": [{ "name": "a", "env": own }] }));
        let after = apply(&before, &patch(&before).0);
        let container = &after["spec"]["containers"][0];
        assert_eq!(variable(container, "SSL_CERT_FILE"), "/mine");
        assert_eq!(variable(container, "PIP_CERT"), Value::Null);
        assert_eq!(variable(container, "CURL_CA_BUNDLE"), "/etc/cofferdam-trust/bundle.pem");
        let all: Vec<_> = VARIABLES.iter().map(|(name, _)| json!({ "name": name, "value": "" })).collect();
        let before = pod(&json!({ "containers": [{ "name": "a", "env": all }] }));
        assert_eq!(patch(&before), (Vec::new(), Vec::new()), "it says everything");
    }

    #[test]
    fn who_is_left_alone_and_who_is_warned() {
        let check = |pod: &Value, warnings: usize| {
            let (changes, said) = patch(pod);
            assert_eq!((changes.len(), said.len()), (0, warnings), "{pod}: {said:?}");
        };
        let one = json!([{ "name": "a" }]);
        check(&pod(&json!({ "hostNetwork": true, "containers": one })), 0);
        check(&pod(&json!({ "os": { "name": "windows" }, "containers": one })), 0);
        let mut out = pod(&json!({ "containers": one }));
        out["metadata"]["annotations"] = json!({ ANNOTATION: "false" });
        check(&out, 0);
        out["metadata"]["annotations"] = json!({ ANNOTATION: "true" });
        assert!(!patch(&out).0.is_empty());
        let secret = json!([{ "name": NAME, "secret": { "secretName": NAME } }]);
        check(&pod(&json!({ "volumes": secret, "containers": one })), 1);
        let taken =
            json!([{ "name": "a", "volumeMounts": [{ "name": "x", "mountPath": "/etc/cofferdam-trust/" }] }]);
        check(&pod(&json!({ "containers": taken })), 1);
        for odd in [json!(null), json!([]), json!({ "containers": 7 }), json!({ "containers": null })] {
            check(&pod(&odd), 0);
        }
        check(&json!({ "metadata": 7, "spec": { "containers": [] } }), 0);
    }

    #[test]
    fn a_review_is_answered_with_a_patch_of_bytes_and_never_refused() {
        let ask = |operation: &str| {
            let object = pod(&json!({ "containers": [{ "name": "a" }] }));
            let request = json!({ "uid": "7", "operation": operation, "object": object });
            review(&json!({ "request": request })).unwrap()["response"].clone()
        };
        let answer = ask("CREATE");
        assert_eq!((&answer["uid"], &answer["allowed"]), (&json!("7"), &json!(true)));
        assert_eq!(answer["patchType"], "JSONPatch");
        let patch: k8s_openapi::ByteString = serde_json::from_value(answer["patch"].clone()).unwrap();
        let patch: Value = serde_json::from_slice(&patch.0).unwrap();
        assert_eq!(patch[0]["path"], "/spec/volumes");
        for other in ["UPDATE", "DELETE", "CONNECT"] {
            assert_eq!(ask(other), json!({ "uid": "7", "allowed": true }), "{other}");
        }
        for value in [json!({}), json!([]), json!({ "request": { "operation": "CREATE" } })] {
            assert!(review(&value).is_none(), "{value}");
        }
    }
}
