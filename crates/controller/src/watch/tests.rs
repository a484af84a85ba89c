//! What a watch says of a kind that the API server does not know, by what that says of the definition.

#![allow(clippy::unwrap_used, clippy::panic, reason = "in a test a panic is the failure report")]

use super::*;
use crate::Kind;
use http::{Request, Response};
use kube::client::Body;
use serde_json::json;
use std::convert::Infallible;
use tokio::time::Instant;

/// What the API server answers to who asks for the definition.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Answer {
    NoSuchObject,
    NoSuchPath,
    Forbidden,
    Serves(&'static str, bool),
}

fn status(code: u16, details: &Value) -> (u16, Value) {
    let reason = if code == 404 { "NotFound" } else { "Forbidden" };
    let body = json!({
        "kind": "Status", "apiVersion": "v1", "status": "Failure", "message": "no", "reason": reason, "code": code,
        "details": details,
    });
    (code, body)
}

/// An API server that knows no EgressPolicies.
async fn without(request: Request<Body>, answer: Answer) -> Result<Response<Body>, Infallible> {
    let name = "egresspolicies.cofferdam.dev";
    let (code, body) = match (request.uri().path().ends_with(name), answer) {
        (false, _) | (true, Answer::NoSuchPath) => status(404, &json!({})),
        (true, Answer::NoSuchObject) => {
            let group = "apiextensions.k8s.io";
            status(404, &json!({ "name": name, "group": group, "kind": "customresourcedefinitions" }))
        }
        (true, Answer::Forbidden) => status(403, &json!({ "name": name })),
        (true, Answer::Serves(version, served)) => {
            let versions = json!([{ "name": version, "served": served }]);
            let kind = "CustomResourceDefinition";
            let body = json!({
                "apiVersion": "apiextensions.k8s.io/v1", "kind": kind, "metadata": { "name": name },
                "spec": { "versions": versions },
            });
            (200, body)
        }
    };
    Ok(Response::builder().status(code).body(Body::from(body.to_string().into_bytes())).unwrap())
}

/// The first so many words about the kind, and how long they took.
async fn said(answer: Answer, count: usize) -> (Vec<Definition>, Duration) {
    let service = tower::service_fn(move |request| without(request, answer));
    let (to, mut changes) = mpsc::channel(8);
    let watching = tokio::spawn(watch(Client::new(service, "default"), Kind::EgressPolicy, None, to));
    let begin = Instant::now();
    let mut said = Vec::new();
    while said.len() < count {
        match changes.recv().await.unwrap() {
            (_, Change::NoSuchKind(definition)) => said.push(definition),
            (_, Change::ListBegins(_)) => {}
            (_, other) => panic!("{other:?}"),
        }
    }
    watching.abort();
    (said, begin.elapsed())
}

#[tokio::test(start_paused = true)]
async fn a_kind_is_gone_only_where_there_is_no_definition_of_that_name() {
    for (answer, expected) in [
        (Answer::NoSuchObject, Definition::Gone),
        (Answer::NoSuchPath, Definition::Unsaid),
        (Answer::Forbidden, Definition::Unsaid),
        (Answer::Serves("v1alpha1", true), Definition::Starting),
        (Answer::Serves("v1alpha1", false), Definition::Unserved),
        (Answer::Serves("v9", true), Definition::Unserved),
    ] {
        assert_eq!(said(answer, 3).await.0, [expected; 3], "{answer:?}");
    }
}

#[tokio::test(start_paused = true)]
async fn a_kind_that_nobody_knows_is_asked_for_less_and_less_often() {
    // Of the clock that stands still while anything is done.
    let (said, took) = said(Answer::NoSuchObject, 20).await;
    assert!(said.len() == 20 && took >= Duration::from_secs(60), "{took:?}");
}
