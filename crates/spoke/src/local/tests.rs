//! What a cluster's API server is asked for.

#![allow(clippy::unwrap_used, reason = "in a test a panic is the failure report")]

use super::*;
use http::{Method, Request, Response};
use kube::client::Body;
use std::convert::Infallible;
use std::sync::{Arc, Mutex};

/// An API server that has what is written to it, and notes what is asked for: NetworkPolicies, by name.
#[derive(Default)]
struct Server {
    objects: BTreeMap<String, Value>,
    version: u64,
    asked: BTreeMap<String, usize>,
    /// A field of `spec` that it does not know, and drops.
    unknown: Option<&'static str>,
}

impl Server {
    fn answer(&mut self, method: &Method, path: &str, is_dry: bool, mut body: Value) -> (u16, Value) {
        let verb = if is_dry { format!("dry {method}") } else { method.to_string() };
        let is_list = *method == Method::GET && !path.contains("/namespaces/");
        *self.asked.entry(if is_list { "list".to_owned() } else { verb }).or_default() += 1;
        if is_list {
            let is_of_fleet = |it: &&Value| it.pointer("/metadata/labels/cofferdam.dev~1of-fleet").is_some();
            let is_kind = path.ends_with("/networkpolicies");
            let items: Vec<&Value> = self.objects.values().filter(is_of_fleet).filter(|_| is_kind).collect();
            return (200, json!({ "metadata": { "resourceVersion": "1" }, "items": items }));
        }
        if let Some((field, spec)) = self.unknown.zip(body.get_mut("spec").and_then(Value::as_object_mut)) {
            spec.remove(field);
        }
        let of_path = path.rsplit('/').next().unwrap_or_default();
        let name = if *method == Method::POST {
            body.pointer("/metadata/name").and_then(Value::as_str).unwrap_or_default().to_owned()
        } else {
            of_path.to_owned()
        };
        let there = self.objects.get(&name).cloned();
        let version = |of: &Value| of.pointer("/metadata/resourceVersion").cloned();
        match (method.as_str(), there) {
            ("GET", Some(object)) => (200, object),
            ("GET" | "PUT" | "DELETE", None) => failure(404),
            ("POST", Some(_)) => failure(409),
            ("PUT", Some(object)) if version(&body) != version(&object) => failure(409),
            ("DELETE", Some(object)) => {
                self.objects.remove(&name);
                (200, object)
            }
            _ if is_dry => (200, body),
            (_, there) => {
                self.version += 1;
                let uid = there.as_ref().and_then(|it| it.pointer("/metadata/uid").cloned());
                let metadata = body.get_mut("metadata").and_then(Value::as_object_mut).unwrap();
                metadata.insert("resourceVersion".to_owned(), self.version.to_string().into());
                metadata.insert("uid".to_owned(), uid.unwrap_or_else(|| format!("u{}", self.version).into()));
                self.objects.insert(name, body.clone());
                (200, body)
            }
        }
    }
}

fn failure(code: u16) -> (u16, Value) {
    (
        code,
        json!({ "kind": "Status", "apiVersion": "v1", "status": "Failure", "message": "no", "code": code }),
    )
}

struct World {
    server: Arc<Mutex<Server>>,
    local: Local,
}

impl World {
    fn new() -> Self {
        let server = Arc::<Mutex<Server>>::default();
        let of = Arc::clone(&server);
        let service = tower::service_fn(move |request: Request<Body>| {
            let server = Arc::clone(&of);
            async move {
                let (head, body) = request.into_parts();
                let body = body.collect_bytes().await.unwrap();
                let body = serde_json::from_slice(&body).unwrap_or_default();
                let is_dry = head.uri.query().is_some_and(|it| it.contains("dryRun=All"));
                let (code, answer) =
                    server.lock().unwrap().answer(&head.method, head.uri.path(), is_dry, body);
                let body = Body::from(answer.to_string().into_bytes());
                Ok::<_, Infallible>(Response::builder().status(code).body(body).unwrap())
            }
        });
        Self { server, local: Local::new(Client::new(service, "default")) }
    }

    async fn put(&mut self, manifests: &[Manifest]) -> Effective {
        let was_in_force = false;
        let outcome = self.local.put(&Intended { manifests, drift: Drift::Correct, was_in_force }).await;
        assert_eq!(outcome.problems, [""; 0]);
        outcome.effective.unwrap()
    }

    /// What was asked for since it was asked last.
    fn asked(&self) -> String {
        let asked = std::mem::take(&mut self.server.lock().unwrap().asked);
        asked.iter().map(|(verb, count)| format!("{verb} {count}")).collect::<Vec<_>>().join(", ")
    }
}

/// So many policies, that allow one port.
fn policies(count: usize, port: u16) -> Vec<Manifest> {
    let policy = |at: usize| {
        json!({
            "apiVersion": "networking.k8s.io/v1", "kind": "NetworkPolicy", "metadata": { "name": format!("p{at}"), "namespace": "shop" },
            "spec": { "podSelector": {}, "ingress": [{ "ports": [{ "port": port, "protocol": "TCP" }] }] },
        })
    };
    fleet::policies(&(0..count).map(policy).collect::<Vec<_>>()).unwrap().0
}

#[tokio::test]
async fn a_policy_costs_one_request_where_it_differs_and_none_where_it_does_not() {
    let mut world = World::new();
    let (first, second) = (policies(20, 1000), policies(20, 2000));
    assert_eq!(world.local.would_take(&first).await, [""; 0]);
    assert_eq!(world.asked(), "dry POST 20");
    let effective = world.put(&first).await;
    assert_eq!((effective.policies, world.asked().as_str()), (20, "POST 20, list 8"));
    assert_eq!(world.put(&first).await, effective);
    assert_eq!(world.asked(), "list 8");
    assert_eq!(world.local.would_take(&first).await, [""; 0]);
    assert_eq!(world.asked(), "", "the cluster has them");
    assert_eq!(world.local.would_take(&second).await, [""; 0]);
    assert_eq!(world.asked(), "dry PUT 20");
    let other = world.put(&second).await;
    assert_eq!((other.policies, world.asked().as_str()), (20, "PUT 20, list 8"));
    assert_ne!(other.digest, effective.digest);
    assert_eq!(other, Effective::of(&second));
}

#[tokio::test]
async fn a_policy_of_which_the_api_server_would_drop_something_is_not_taken() {
    let mut world = World::new();
    let (first, second) = (policies(2, 1000), policies(2, 2000));
    world.put(&first).await;
    world.server.lock().unwrap().unknown = Some("ingress");
    let problems = world.local.would_take(&second).await;
    assert_eq!(problems.len(), 2, "{problems:?}");
    for problem in problems {
        assert!(problem.contains("does not know spec.ingress,"), "{problem}");
    }
    let intended = Intended { manifests: &second, drift: Drift::Correct, was_in_force: false };
    // Where it happens all the same, nothing says that it is in place.
    let outcome = world.local.put(&intended).await;
    assert_eq!(outcome.problems.len(), 2, "{outcome:?}");
    world.server.lock().unwrap().unknown = None;
    assert_eq!(world.local.would_take(&second).await, [""; 0]);
    assert_eq!(world.put(&second).await, Effective::of(&second));
}

#[tokio::test]
async fn what_the_cluster_has_is_read_anew_where_any_of_it_differs() {
    let mut world = World::new();
    let (three, two) = (policies(3, 1000), policies(2, 1000));
    assert_eq!(world.put(&three).await, Effective::of(&three));
    // Somebody removes one that nobody wants any more.
    world.server.lock().unwrap().objects.remove("p2");
    assert_eq!(world.put(&two).await, Effective::of(&two));
    assert_eq!(world.put(&three).await, Effective::of(&three));
    world.server.lock().unwrap().objects.clear();
    assert_eq!(world.put(&[]).await, Effective::of(&[]));
    assert_eq!(world.put(&two).await, Effective::of(&two));
}

#[tokio::test]
async fn what_is_there_and_not_of_the_fleet_is_neither_tried_nor_taken() {
    let mut world = World::new();
    let policies = policies(1, 1000);
    let own = policies.first().unwrap().value.clone();
    world.server.lock().unwrap().answer(
        &Method::POST,
        "/namespaces/shop/networkpolicies",
        false,
        own.clone(),
    );
    let refused = world.local.would_take(&policies).await;
    assert!(refused.concat().contains(NOT_OURS), "{refused:?}");
    let intended = Intended { manifests: &policies, drift: Drift::Correct, was_in_force: false };
    let outcome = world.local.put(&intended).await;
    assert!(outcome.problems.concat().contains(NOT_OURS), "{:?}", outcome.problems);
    let there = world.server.lock().unwrap().objects.get("p0").cloned().unwrap();
    assert_eq!(there.get("spec"), own.get("spec"));
}
