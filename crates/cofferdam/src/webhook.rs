//! The admission webhooks: policies are judged before they are stored, and pods are told what they must trust.
//!
//! Enters: reviews from the API server. Leaves: answers; and the authority's certificate in the webhook's configuration, so
//! that the API server believes this end. Guarantees: what is no review, or too large, is an error of the request; nobody who has
//! large policies judged keeps the rest of the process from its work.
//! Does not: decide what happens when it cannot be asked; the configuration does. Nor know who asks.

use crate::http::{self, Answer, answer};
use crds::Catalog;
use feed::tls::Identity;
use http_body_util::{BodyExt, Limited};
use hyper::body::Incoming;
use hyper::{Request, StatusCode};
use serde_json::Value;
use std::sync::Arc;
use tokio::net::TcpListener;
use tokio::sync::{Semaphore, watch};

/// Largest review, in bytes: two objects of the size that etcd takes.
const LIMIT: usize = 4 << 20;
/// Reviews that are judged at a time.
const AT_ONCE: usize = 4;

/// Answers until the future is dropped.
pub(crate) async fn serve(
    listener: TcpListener,
    identity: watch::Receiver<Arc<Identity>>,
    catalog: watch::Receiver<Arc<Catalog>>,
) {
    let room = Arc::new(Semaphore::new(AT_ONCE));
    let handle = move |request| {
        let latest = catalog.borrow().clone();
        handle(request, latest, Arc::clone(&room))
    };
    http::serve(listener, Some(identity), handle).await;
}

async fn handle(request: Request<Incoming>, catalog: Arc<Catalog>, room: Arc<Semaphore>) -> Answer {
    let review: fn(&Value, &Catalog) -> Option<Value> = match request.uri().path() {
        "/validate" => controller::admission::review,
        "/inject" => |review, _| controller::inject::review(review),
        _ => return answer(StatusCode::NOT_FOUND, "there are /validate and /inject\n"),
    };
    let Ok(body) = Limited::new(request.into_body(), LIMIT).collect().await else {
        return answer(StatusCode::PAYLOAD_TOO_LARGE, format!("at most {LIMIT} bytes\n"));
    };
    let permit = room.acquire_owned().await;
    // Apart: threads that answer nodes and probes must not wait for it.
    let judging = tokio::task::spawn_blocking(move || {
        let _permit = permit;
        let asked = serde_json::from_slice(&body.to_bytes()).ok();
        asked.and_then(|asked| review(&asked, &catalog)).map(|reviewed| reviewed.to_string())
    });
    match judging.await {
        Ok(Some(reviewed)) => {
            let mut response = answer(StatusCode::OK, reviewed);
            let json = hyper::header::HeaderValue::from_static("application/json");
            response.headers_mut().insert(hyper::header::CONTENT_TYPE, json);
            response
        }
        Ok(None) => answer(StatusCode::BAD_REQUEST, "this is no AdmissionReview\n"),
        Err(_) => answer(StatusCode::INTERNAL_SERVER_ERROR, "judging this failed; that is a bug\n"),
    }
}
