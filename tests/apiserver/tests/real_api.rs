//! The API for tests is the real one: it validates, stores, survives its store's death and forgets nothing.

#![allow(clippy::unwrap_used, reason = "in a test a panic is the failure report")]

use apiserver::{Cluster, Part};

fn kubectl(cluster: &Cluster, arguments: &str, input: &str) -> Result<String, String> {
    let output = cluster.kubectl(arguments.split(' '), input).unwrap();
    let text = |bytes: &[u8]| String::from_utf8_lossy(bytes).into_owned();
    if output.status.success() { Ok(text(&output.stdout)) } else { Err(text(&output.stderr)) }
}

const POLICY: &str = "apiVersion: networking.k8s.io/v1
kind: NetworkPolicy
metadata: {name: closed, namespace: default}
spec: {podSelector: {}, policyTypes: [Ingress]}
";

#[test]
fn it_validates_and_stores_and_comes_back_with_what_it_stored() {
    let Some(mut cluster) = Cluster::start_or_skip() else { return };
    let version = kubectl(&cluster, "version", "").unwrap();
    assert!(version.contains("Server Version: v1."), "{version}");
    kubectl(&cluster, "apply -f -", POLICY).unwrap();
    let refused = kubectl(&cluster, "apply -f -", &POLICY.replace("Ingress", "Sideways")).unwrap_err();
    assert!(refused.contains("spec.policyTypes[0]: Unsupported value"), "{refused}");

    cluster.kill_part(Part::Api).unwrap();
    cluster.kill_part(Part::Etcd).unwrap();
    assert!(kubectl(&cluster, "get networkpolicies", "").is_err());
    cluster.start_part(Part::Etcd).unwrap();
    cluster.start_part(Part::Api).unwrap();
    assert!(kubectl(&cluster, "get networkpolicies", "").unwrap().contains("closed"));
}

#[test]
fn several_run_at_once_and_know_nothing_of_each_other() {
    let (Some(one), Some(other)) = (Cluster::start_or_skip(), Cluster::start_or_skip()) else { return };
    kubectl(&one, "apply -f -", POLICY).unwrap();
    assert!(kubectl(&one, "get networkpolicies", "").unwrap().contains("closed"));
    assert!(!kubectl(&other, "get networkpolicies", "").unwrap().contains("closed"));
}

#[test]
fn a_paused_api_answers_again_when_it_goes_on() {
    let Some(mut cluster) = Cluster::start_or_skip() else { return };
    cluster.pause_part(Part::Api).unwrap();
    let late = kubectl(&cluster, "get namespaces --request-timeout=1s", "");
    assert!(late.is_err(), "{late:?}");
    cluster.resume_part(Part::Api).unwrap();
    assert!(kubectl(&cluster, "get namespaces", "").unwrap().contains("kube-system"));
}
