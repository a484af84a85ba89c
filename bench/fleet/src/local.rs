//! What a cluster's own API server is to its spoke, in memory: objects by path, without validation, watches or delay.
//!
//! So what is measured is the hub and the spokes, and not 200 API servers on one machine.

use http_body_util::{BodyExt, Full};
use hyper::body::Bytes;
use hyper::{Method, Request, Response};
use kube::Client;
use kube::client::Body;
use serde_json::{Value, json};
use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, PoisonError};

#[derive(Default)]
struct Objects {
    by_path: BTreeMap<String, Value>,
    version: u64,
}

/// A client of one more.
pub(crate) fn client() -> Client {
    let objects = Arc::<Mutex<Objects>>::default();
    let service = tower::service_fn(move |request: Request<Body>| {
        let objects = Arc::clone(&objects);
        async move {
            let (head, body) = request.into_parts();
            let body = body.collect().await?.to_bytes();
            let (code, answer) = {
                let mut objects = objects.lock().unwrap_or_else(PoisonError::into_inner);
                let is_dry = head.uri.query().is_some_and(|it| it.contains("dryRun=All"));
                let body: Value = serde_json::from_slice(&body).unwrap_or_default();
                if is_dry { (200, body) } else { objects.answer(&head.method, head.uri.path(), body) }
            };
            let answer = Full::new(Bytes::from(answer.to_string()));
            Ok::<_, Box<dyn std::error::Error + Send + Sync>>(Response::builder().status(code).body(answer)?)
        }
    });
    Client::new(service, "default")
}

impl Objects {
    fn answer(&mut self, method: &Method, path: &str, body: Value) -> (u16, Value) {
        let path = match (*method == Method::POST, body.pointer("/metadata/name").and_then(Value::as_str)) {
            (true, Some(name)) => format!("{path}/{name}"),
            _ => path.to_owned(),
        };
        match *method {
            Method::POST | Method::PUT | Method::PATCH => (200, self.put(path, body)),
            Method::DELETE => match self.by_path.remove(&path) {
                Some(object) => (200, object),
                None => missing(),
            },
            _ => match self.by_path.get(&path) {
                Some(object) => (200, object.clone()),
                None => self.list(&path),
            },
        }
    }

    fn put(&mut self, path: String, mut object: Value) -> Value {
        self.version += 1;
        if let Some(metadata) = object.get_mut("metadata").and_then(Value::as_object_mut) {
            metadata.insert("resourceVersion".to_owned(), self.version.to_string().into());
        }
        self.by_path.insert(path, object.clone());
        object
    }

    /// Of all namespaces: `/apis/GROUP/VERSION/PLURAL`. Whatever else has not that many parts is an object that is not there.
    fn list(&self, path: &str) -> (u16, Value) {
        let parts: Vec<&str> = path.trim_matches('/').split('/').collect();
        let [_, group, version, plural] = parts[..] else { return missing() };
        let of = |key: &String| {
            key.contains(&format!("/{group}/{version}/")) && key.contains(&format!("/{plural}/"))
        };
        let items: Vec<&Value> = self.by_path.iter().filter(|(key, _)| of(key)).map(|(_, it)| it).collect();
        let version = self.version.to_string();
        (
            200,
            json!({ "apiVersion": "v1", "kind": "List", "metadata": { "resourceVersion": version }, "items": items }),
        )
    }
}

fn missing() -> (u16, Value) {
    let status = json!({
        "apiVersion": "v1", "kind": "Status", "status": "Failure", "reason": "NotFound", "message": "not found", "code": 404,
    });
    (404, status)
}
