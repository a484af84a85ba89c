//! What an API server holds reads as the same JSON in a file does, except that nothing has a line.

#![allow(clippy::unwrap_used, clippy::panic, missing_docs)]

/// Everything but where things were written.
fn without_places(text: &str) -> String {
    let mut kept = String::new();
    let mut rest = text;
    while let Some((before, after)) = rest.split_once("line: ") {
        kept.push_str(before);
        let (_, after) = after.split_once("column: ").unwrap();
        rest = after.trim_start_matches(|c: char| c.is_ascii_digit());
    }
    kept + rest
}

fn check(json: &str, objects: usize, errors: usize) {
    let file = crds::read_objects("x", json.as_bytes());
    let api = crds::read_value("x", &serde_json::from_str(json).unwrap());
    assert_eq!((api.objects.len(), file.objects.len()), (objects, objects), "{:?}", api.diagnostics);
    assert_eq!(without_places(&format!("{:?}", file.objects)), without_places(&format!("{:?}", api.objects)));
    let told = |read: &crds::Read| -> Vec<String> {
        read.diagnostics
            .iter()
            .map(|d| crds::Diagnostic { position: None, ..d.clone() }.to_string())
            .collect()
    };
    assert_eq!(told(&file), told(&api));
    assert_eq!(api.diagnostics.iter().filter(|d| d.is_error()).count(), errors, "{:?}", api.diagnostics);
    assert!(api.diagnostics.iter().all(|diagnostic| diagnostic.position.is_none()));
    assert!(file.diagnostics.iter().all(|diagnostic| diagnostic.position.is_some()));
}

#[test]
fn a_policy_with_every_type_of_scalar() {
    let policy = r#"{"apiVersion": "networking.k8s.io/v1", "kind": "NetworkPolicy",
        "metadata": {"name": "p", "namespace": "a", "labels": {"on": "true", "n": "1"}, "generation": 3},
        "spec": {"podSelector": {"matchLabels": {"x": "null"}}, "policyTypes": ["Ingress", "Egress"], "egress": null,
            "ingress": [{"ports": [{"port": 80, "endPort": 90}, {"port": "web", "protocol": "UDP"}],
                "from": [{"ipBlock": {"cidr": "10.0.0.0/8", "except": ["10.1.0.0/16"]}}]}]}}"#;
    check(policy, 1, 0);
    check(&policy.replace("80", "\"80\""), 1, 1);
    check(&policy.replace("\"true\"", "true"), 1, 1);
    check(&policy.replace("\"egress\"", "\"egres\""), 1, 1);
    check(&policy.replace("[\"Ingress\", \"Egress\"]", "[\"Sideways\"]"), 1, 1);
}

#[test]
fn a_list_is_its_items() {
    check(
        r#"{"apiVersion": "v1", "kind": "PodList", "items": [
        {"metadata": {"name": "a"}, "spec": {"hostNetwork": true, "containers": [{"name": "c", "image": "i"}]},
         "status": {"podIPs": [{"ip": "10.0.0.1"}]}},
        {"metadata": {"name": "b"}, "spec": {"containers": [{"name": "c", "image": "i",
         "ports": [{"name": "web", "containerPort": 80}]}]}}]}"#,
        2,
        0,
    );
}
