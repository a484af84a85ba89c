//! What an ingress gateway reads from a real API server, and the status and Events that it writes there.

#![allow(
    clippy::unwrap_used,
    clippy::panic,
    clippy::indexing_slicing,
    missing_docs,
    reason = "in a test a panic is the failure report"
)]

use apiserver::Cluster;
use controller::ingress::{self, Candidate, Faults, Known, Serves, Stands, Told, Writing};
use controller::lease::Role;
use kube::Client;
use kube::config::{KubeConfigOptions, Kubeconfig};
use routes::Routing;
use serde_json::{Value, json};
use std::sync::Arc;
use std::time::Duration;
use tokio::sync::watch;

const OURS: &str = "cofferdam.dev/ingress-gateway";

/// As loose as can be: how they are read and written is what is tried.
fn definitions() -> String {
    let api = "gateway.networking.k8s.io";
    let kinds = [
        (api, "GatewayClass", "gatewayclasses", "Cluster"),
        (api, "Gateway", "gateways", "Namespaced"),
        (api, "HTTPRoute", "httproutes", "Namespaced"),
        (api, "BackendTLSPolicy", "backendtlspolicies", "Namespaced"),
        ("inference.networking.k8s.io", "InferencePool", "inferencepools", "Namespaced"),
    ];
    let definition = |(group, kind, plural, scope): (&str, &str, &str, &str)| {
        let singular = kind.to_lowercase();
        format!(
            "
apiVersion: apiextensions.k8s.io/v1
kind: CustomResourceDefinition
metadata:
  name: {plural}.{group}
  annotations: {{api-approved.kubernetes.io: 'unapproved, for tests'}}
spec:
  group: {group}
  scope: {scope}
  names: {{kind: {kind}, plural: {plural}, singular: {singular}}}
  versions:
  - name: v1
    served: true
    storage: true
    subresources: {{status: {{}}}}
    schema: {{openAPIV3Schema: {{type: object, x-kubernetes-preserve-unknown-fields: true}}}}
---"
        )
    };
    kinds.map(definition).concat()
}

const OBJECTS: &str = "
{apiVersion: gateway.networking.k8s.io/v1, kind: GatewayClass, metadata: {name: cofferdam}, spec: {controllerName: cofferdam.dev/ingress-gateway}}
---
apiVersion: gateway.networking.k8s.io/v1
kind: Gateway
metadata: {name: edge, namespace: ai}
spec: {gatewayClassName: cofferdam, listeners: [{name: web, port: 80, protocol: HTTP}]}
---
{apiVersion: v1, kind: Service, metadata: {name: picker, namespace: ai}, spec: {ports: [{port: 9002}]}}
---
apiVersion: inference.networking.k8s.io/v1
kind: InferencePool
metadata: {name: llamas, namespace: ai}
spec: {selector: {matchLabels: {app: llama}}, targetPorts: [{number: 8000}], endpointPickerRef: {name: picker, port: {number: PORT}}}
---
apiVersion: gateway.networking.k8s.io/v1
kind: BackendTLSPolicy
metadata: {name: picker, namespace: ai}
spec: {targetRefs: [{group: '', kind: Service, name: picker}], validation: {hostname: picker.test, wellKnownCACertificates: System}}
---
apiVersion: gateway.networking.k8s.io/v1
kind: HTTPRoute
metadata: {name: pooled, namespace: ai}
spec:
  parentRefs: [{name: edge}]
  hostnames: [pooled.test]
  rules: [{backendRefs: [{group: inference.networking.k8s.io, kind: InferencePool, name: llamas}]}]
---
apiVersion: gateway.networking.k8s.io/v1
kind: HTTPRoute
metadata: {name: retried, namespace: ai}
spec: {parentRefs: [{name: edge}], hostnames: [retried.test], rules: [{retry: {attempts: 2}}]}
";

fn kubectl(cluster: &Cluster, args: &[&str], input: &str) -> String {
    let output = cluster.kubectl(args, input).unwrap();
    assert!(output.status.success(), "{args:?}: {}", String::from_utf8_lossy(&output.stderr));
    String::from_utf8(output.stdout).unwrap()
}

async fn client(cluster: &Cluster) -> Client {
    client_as(cluster, None).await
}

/// As somebody else, who has no rights.
async fn client_as(cluster: &Cluster, other: Option<&str>) -> Client {
    let _already = rustls::crypto::aws_lc_rs::default_provider().install_default();
    let mut config = Kubeconfig::read_from(cluster.kubeconfig()).unwrap();
    config.auth_infos[0].auth_info.as_mut().unwrap().impersonate = other.map(str::to_owned);
    let config = kube::Config::from_custom_kubeconfig(config, &KubeConfigOptions::default()).await.unwrap();
    Client::try_from(config).unwrap()
}

/// Reads and writes as a gateway does that serves everything it is told to.
async fn serve(client: Client) {
    let (sender, mut known) = watch::channel(Known::default());
    let (stands, to_write) = watch::channel(None);
    let (writing, _how) = watch::channel(Writing::default());
    let candidate = Candidate { namespace: "ai".into(), name: "first".into(), serves: Serves::All };
    let follow = ingress::follow(client.clone(), &[], sender);
    let write = ingress::write(client, &candidate, to_write, writing);
    let join = async {
        while known.changed().await.is_ok() {
            let Some(seen) = known.borrow_and_update().seen.clone() else { continue };
            let (_, statuses) = Routing::build(&seen.objects);
            let diagnostics: Vec<_> = seen.diagnostics.iter().collect();
            let (policies, _) = admit::Policies::build(Vec::new());
            let told = Told {
                objects: &seen.objects,
                diagnostics: &diagnostics,
                statuses: &statuses,
                policies: &policies,
                faults: &Faults::default(),
                service: None,
                serves: &Serves::All,
            };
            stands.send_replace(Some(Arc::new(Stands::new(&told))));
        }
    };
    tokio::join!(follow, write, join);
}

/// Why somebody who has no rights may not stand.
async fn barred(cluster: &Cluster) -> String {
    let gateway = routes::Resource { namespace: "ai".into(), name: "edge".into() };
    let candidate =
        Candidate { namespace: "ai".into(), name: "second".into(), serves: Serves::Only(gateway) };
    let (_stands, to_write) = watch::channel(None);
    let (writing, mut how) = watch::channel(Writing::default());
    let client = client_as(cluster, Some("nobody")).await;
    let write = tokio::spawn(async move { ingress::write(client, &candidate, to_write, writing).await });
    let is_barred = |it: &Writing| matches!(it.role, Role::Barred(_));
    let told = tokio::time::timeout(Duration::from_secs(60), how.wait_for(is_barred)).await;
    let Role::Barred(why) = told.unwrap().unwrap().role.clone() else { panic!("it is barred") };
    write.abort();
    why
}

/// Asks again and again until it is so.
async fn until(cluster: &Cluster, args: &[&str], is_so: impl Fn(&Value) -> bool) -> Value {
    let args = [&["get", "-n", "ai", "-o", "json"], args].concat();
    let mut last = Value::Null;
    for _ in 0..600 {
        last = serde_json::from_str(&kubectl(cluster, &args, "")).unwrap();
        if is_so(&last) {
            return last;
        }
        tokio::time::sleep(Duration::from_millis(100)).await;
    }
    panic!("{args:?} never came to it: {last:#}");
}

/// What we say in this list of a status.
fn own(of: &Value, list: &str) -> Option<Value> {
    let parts = of["status"][list].as_array()?;
    parts.iter().find(|it| it["controllerName"] == OURS).cloned()
}

/// Whether we say so in this list of a status.
fn says(of: &Value, list: &str, [kind, status, reason]: [&str; 3]) -> bool {
    let own = own(of, list).unwrap_or_default();
    let conditions = own["conditions"].as_array().cloned().unwrap_or_default();
    conditions.iter().any(|it| it["type"] == kind && it["status"] == status && it["reason"] == reason)
}

#[tokio::test(flavor = "multi_thread")]
async fn pools_and_policies_say_who_comes_to_them_and_events_say_what_is_refused() {
    let Some(cluster) = Cluster::start_or_skip() else { return };
    kubectl(&cluster, &["create", "namespace", "ai"], "");
    kubectl(&cluster, &["apply", "--server-side", "-f", "-"], &definitions());
    kubectl(&cluster, &["wait", "--for=condition=Established", "crd", "--all", "--timeout=60s"], "");
    kubectl(&cluster, &["apply", "-f", "-"], &OBJECTS.replace("PORT", "9002"));
    let theirs = json!({"parentRef": {"name": "other", "namespace": "ai"}, "controllerName": "example.org/other",
        "conditions": []});
    let patch = json!({"status": {"parents": [theirs]}}).to_string();
    let patching =
        ["-n", "ai", "inferencepool", "llamas", "--type=merge", "--subresource=status", "-p", &patch];
    kubectl(&cluster, &[&["patch"], &patching[..]].concat(), "");
    let serving = tokio::spawn(serve(client(&cluster).await));

    let class =
        until(&cluster, &["gatewayclass", "cofferdam"], |it| it["status"]["conditions"].is_array()).await;
    let features = class["status"]["supportedFeatures"].as_array().unwrap();
    assert!(features.contains(&json!({"name": "HTTPRouteRequestMirror"})), "{class:#}");
    assert!(!features.contains(&json!({"name": "HTTPRouteRetry"})), "{class:#}");

    let (pool, policy) = (["inferencepool", "llamas"], ["backendtlspolicy", "picker"]);
    let resolved = ["ResolvedRefs", "True", "ResolvedRefs"];
    let said = until(&cluster, &pool, |it| says(it, "parents", resolved)).await;
    assert_eq!(said["status"]["parents"][0], theirs, "what others say stays: {said:#}");
    assert!(says(&said, "parents", ["Accepted", "True", "Accepted"]), "{said:#}");
    let parent = &own(&said, "parents").unwrap()["parentRef"];
    assert_eq!((&parent["kind"], &parent["name"]), (&json!("Gateway"), &json!("edge")));
    let said = until(&cluster, &policy, |it| says(it, "ancestors", ["Accepted", "True", "Accepted"])).await;
    assert_eq!(own(&said, "ancestors").unwrap()["ancestorRef"]["name"], "edge", "{said:#}");

    // A picker that is not there, and a route of which something is refused.
    kubectl(&cluster, &["apply", "-f", "-"], &OBJECTS.replace("PORT", "9003"));
    until(&cluster, &pool, |it| says(it, "parents", ["ResolvedRefs", "False", "InvalidExtensionRef"])).await;
    let refused = ["Accepted", "False", "UnsupportedValue"];
    until(&cluster, &["httproute", "retried"], |it| says(it, "parents", refused)).await;
    let events = |name: &str| {
        let fields = format!("reportingComponent=cofferdam-ingress-gateway,involvedObject.name={name}");
        ["events".to_owned(), "--field-selector".to_owned(), fields]
    };
    for (name, reason, part) in
        [("llamas", "InvalidExtensionRef", "9003"), ("retried", "UnsupportedValue", "retry")]
    {
        let args = events(name);
        let args: Vec<&str> = args.iter().map(String::as_str).collect();
        let there = |it: &Value| it["items"].as_array().is_some_and(|items| !items.is_empty());
        let found = until(&cluster, &args, there).await;
        let items = found["items"].as_array().unwrap();
        assert_eq!(
            (items.len(), &items[0]["reason"], &items[0]["type"]),
            (1, &json!(reason), &json!("Warning"))
        );
        assert!(items[0]["message"].as_str().unwrap().contains(part), "{found:#}");
    }

    // Of whoever nobody of ours comes to we say nothing, and what stayed the same is not said again.
    kubectl(&cluster, &["delete", "-n", "ai", "httproute", "pooled"], "");
    let said = until(&cluster, &pool, |it| own(it, "parents").is_none()).await;
    assert_eq!(said["status"]["parents"], json!([theirs]));
    until(&cluster, &policy, |it| own(it, "ancestors").is_none()).await;
    let args = events("retried");
    let args: Vec<&str> = args.iter().map(String::as_str).collect();
    let found = until(&cluster, &args, |_| true).await;
    assert_eq!(found["items"].as_array().unwrap().len(), 1, "{found:#}");
    serving.abort();
    // Who has no right to the Lease says so.
    let why = barred(&cluster).await;
    assert!(why.contains("cofferdam-ingress-gateway.ai.edge") && why.contains("forbidden"), "{why}");
}
