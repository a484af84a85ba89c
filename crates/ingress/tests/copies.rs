//! Copies for RequestMirror filters: the same request, to somebody else, and nobody notices.

#![allow(
    clippy::unwrap_used,
    clippy::panic,
    clippy::indexing_slicing,
    reason = "a test's helpers fail the test"
)]

use crate::support;
use http::{Request, StatusCode, header};
use http_body_util::{BodyExt, Full};
use hyper::body::Bytes;
use hyper_util::rt::{TokioExecutor, TokioIo};
use ingress::{CopyFate, Server, Settings};
use routes::Target;
use std::net::{Ipv4Addr, SocketAddr};
use std::sync::Arc;
use std::time::Duration;
use support::{OPEN, PATIENCE, PLAIN, Records, Stub, World, chat, text};
use tokio::io::{AsyncReadExt, AsyncWriteExt};

/// A gateway whose route sends copies to the Service `shadow`.
async fn world(filters: &str, shadow: impl Into<Option<SocketAddr>>, is_http2: bool) -> World {
    let shadow: Vec<SocketAddr> = shadow.into().into_iter().collect();
    let service = format!(
        "\n---\napiVersion: v1\nkind: Service\nmetadata: {{name: shadow, namespace: ai}}\n\
         spec: {{ports: [{{port: 8000{}}}]}}\n",
        if is_http2 { ", appProtocol: kubernetes.io/h2c" } else { "" }
    );
    let route = PLAIN.replace(
        "    - backendRefs: [{name: model, port: 8000}]",
        &format!("    - backendRefs: [{{name: model, port: 8000}}]\n      filters: {filters}"),
    );
    let stub = Stub::start(false).await;
    let mut config = support::config(&format!("{route}{service}{OPEN}"), stub.address);
    for (target, addresses) in &mut config.endpoints {
        if matches!(target, Target::Service { service, .. } if &*service.name == "shadow") {
            addresses.clone_from(&shadow);
        }
    }
    let records = Arc::new(Records::default());
    let settings =
        Settings { bind: Ipv4Addr::LOCALHOST.into(), ports: [(80, 0)].into(), ..Settings::default() };
    let server = Server::start(settings, Arc::clone(&records) as _);
    assert!(server.reload(config).unwrap().is_empty());
    World { server, records, stub }
}

const EVERY: &str = "[{type: RequestMirror, requestMirror: {backendRef: {name: shadow, port: 8000}}}]";

/// Waits until so many copies had this fate.
async fn fate(world: &World, wanted: CopyFate, count: u64) {
    let figures = world.server.figures();
    let waiting = async {
        loop {
            let counts = figures.copies();
            if counts.iter().any(|(fate, found)| *fate == wanted && *found >= count) {
                return counts;
            }
            tokio::time::sleep(Duration::from_millis(5)).await;
        }
    };
    let counts = tokio::time::timeout(PATIENCE, waiting).await;
    let counts = counts.unwrap_or_else(|_| panic!("{:?}", figures.copies()));
    let others: u64 = counts.iter().filter(|(fate, _)| *fate != wanted).map(|(_, count)| count).sum();
    assert_eq!(others, 0, "{counts:?}");
}

#[tokio::test]
async fn a_copy_is_the_request_as_it_goes_on_and_its_answer_is_nobodys() {
    let shadow = Stub::start(false).await;
    let filters = "[{type: RequestHeaderModifier, requestHeaderModifier: {set: [{name: x-by, value: route}]}}, \
                   {type: RequestMirror, requestMirror: {backendRef: {name: shadow, port: 8000}}}]";
    let world = world(filters, shadow.address, false).await;
    let body = r#"{"model":"llama","messages":[]}"#;
    let response = world.ask(chat(body)).await;
    assert_eq!(response.status(), StatusCode::OK);
    assert!(text(response).await.contains("Hello"));
    fate(&world, CopyFate::Sent, 1).await;
    let (own, copy) = (world.stub.last(), shadow.last());
    assert_eq!((&copy.method, &copy.uri, &copy.body), (&own.method, &own.uri, &own.body));
    assert_eq!(copy.body, body);
    assert_eq!(copy.headers["x-by"], "route");
    assert_eq!(copy.headers["x-request-id"], own.headers["x-request-id"]);
    assert_eq!(copy.headers["host"], "models.example");
    assert_eq!(world.stub.seen.lock().unwrap().len(), 1);
}

#[tokio::test]
async fn a_body_in_pieces_is_copied_to_a_server_of_http2() {
    let shadow = Stub::start(true).await;
    let world = world(EVERY, shadow.address, true).await;
    let mut stream = world.connect().await;
    let chunked = "POST /v1/chat/completions HTTP/1.1\r\nHost: a.example\r\nTransfer-Encoding: chunked\r\n\
                   Content-Type: application/json\r\nConnection: close\r\n\r\n\
                   8\r\n{\"model\"\r\n16\r\n:\"llama\",\"messages\":[]\r\n1\r\n}\r\n0\r\n\r\n";
    stream.write_all(chunked.as_bytes()).await.unwrap();
    let mut answer = String::new();
    tokio::time::timeout(PATIENCE, stream.read_to_string(&mut answer)).await.unwrap().unwrap();
    assert!(answer.starts_with("HTTP/1.1 200"), "{answer}");
    fate(&world, CopyFate::Sent, 1).await;
    assert_eq!(shadow.last().body, r#"{"model":"llama","messages":[]}"#);
    assert_eq!(shadow.last().version, http::Version::HTTP_2);
}

#[tokio::test]
async fn a_grpc_request_is_copied() {
    let shadow = Stub::start(true).await;
    let manifests = format!("{PLAIN}{OPEN}")
        .replace("kind: HTTPRoute", "kind: GRPCRoute")
        .replace("    - backendRefs:", &format!("    - filters: {EVERY}\n      backendRefs:"))
        + "\n---\napiVersion: v1\nkind: Service\nmetadata: {name: shadow, namespace: ai}\nspec: {ports: [{port: 8000}]}\n";
    let world = World::with(&manifests, Settings::default(), true).await;
    let mut config = support::config(&manifests, world.stub.address);
    for (target, addresses) in &mut config.endpoints {
        if matches!(target, Target::Service { service, .. } if &*service.name == "shadow") {
            *addresses = vec![shadow.address];
        }
    }
    assert!(world.server.reload(config).unwrap().is_empty());
    let io = TokioIo::new(world.connect().await);
    let (mut sender, connection) =
        hyper::client::conn::http2::handshake(TokioExecutor::new(), io).await.unwrap();
    tokio::spawn(async move { drop(connection.await) });
    let request = Request::post("http://models.example/llm.Chat/grpc")
        .header(header::CONTENT_TYPE, "application/grpc")
        .header(header::TE, "trailers")
        .body(Full::new(Bytes::from_static(b"\0\0\0\0\x01x")))
        .unwrap();
    let response = sender.send_request(request).await.unwrap();
    assert!(
        !response.headers().contains_key("grpc-status"),
        "refused: {:?}",
        world.records.0.lock().unwrap()
    );
    assert_eq!(response.into_body().collect().await.unwrap().trailers().unwrap()["grpc-status"], "0");
    fate(&world, CopyFate::Sent, 1).await;
    assert_eq!(shadow.last().body, &b"\0\0\0\0\x01x"[..]);
}

#[tokio::test]
async fn nobody_waits_for_whoever_gets_copies() {
    // It takes connections and never answers.
    let silent = tokio::net::TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).await.unwrap();
    let world = world(EVERY, silent.local_addr().unwrap(), false).await;
    for _ in 0..3 {
        let response = world.ask(chat(r#"{"model":"llama","messages":[]}"#)).await;
        assert_eq!(response.status(), StatusCode::OK);
        assert!(text(response).await.contains("Hello"));
    }
    assert_eq!(world.records.wait(3).await[0].status, 200);
    let sent = world.server.figures().copies();
    assert!(sent.iter().all(|(fate, count)| *fate != CopyFate::Sent || *count == 0), "{sent:?}");
}

#[tokio::test]
async fn who_cannot_have_a_copy_is_counted_and_the_request_passes() {
    let large = format!(r#"{{"model":"llama","messages":[],"x":"{}"}}"#, "a".repeat(ingress::MOST_COPIED));
    let unreachable: SocketAddr = ([127, 0, 0, 1], 1).into();
    let shadow = Stub::start(false).await;
    for (shadow, body, expected) in [
        (Some(shadow.address), large.as_str(), CopyFate::TooLarge),
        (Some(unreachable), "{}", CopyFate::Failed),
        (None, "{}", CopyFate::NoEndpoint),
    ] {
        let world = world(EVERY, shadow, false).await;
        let response = world.ask(chat(body)).await;
        assert_eq!(response.status(), StatusCode::OK);
        fate(&world, expected, 1).await;
    }
    assert!(shadow.seen.lock().unwrap().is_empty());
}

#[tokio::test]
async fn of_what_is_refused_or_cut_nobody_has_a_copy() {
    let shadow = Stub::start(false).await;
    let world = world(EVERY, shadow.address, false).await;
    let response = world.ask(chat(r#"{"model":"a","messages":[],"model":"b"}"#)).await;
    assert_eq!(response.status(), StatusCode::BAD_REQUEST);
    assert!(world.server.figures().copies().iter().all(|(_, count)| *count == 0), "it never went on");
    let mut stream = world.connect().await;
    let head = "POST /upload HTTP/1.1\r\nHost: a.example\r\nContent-Type: application/octet-stream\r\n\
                Content-Length: 100\r\n\r\nbegins";
    stream.write_all(head.as_bytes()).await.unwrap();
    let went_on = async {
        while world.stub.connections.load(std::sync::atomic::Ordering::Relaxed) == 0 {
            tokio::time::sleep(Duration::from_millis(5)).await;
        }
    };
    tokio::time::timeout(PATIENCE, went_on).await.unwrap();
    drop(stream);
    fate(&world, CopyFate::Cut, 1).await;
    assert!(shadow.seen.lock().unwrap().is_empty());
}

#[tokio::test]
async fn so_many_are_copied_as_the_route_says() {
    let shadow = Stub::start(false).await;
    let filters = "[{type: RequestMirror, requestMirror: {backendRef: {name: shadow, port: 8000}, percent: 0}}, \
                   {type: RequestMirror, requestMirror: {backendRef: {name: shadow, port: 8000}, \
                   fraction: {numerator: 1, denominator: 2}}}]";
    let world = world(filters, shadow.address, false).await;
    let asked = 60;
    for _ in 0..asked {
        text(world.ask(chat(r#"{"model":"llama","messages":[]}"#)).await).await;
    }
    // What is copied is drawn from the number of the request, the same in every run.
    let copied = async {
        while world.server.figures().copies().iter().map(|(_, count)| *count).sum::<u64>() < asked / 4 {
            tokio::time::sleep(Duration::from_millis(5)).await;
        }
    };
    tokio::time::timeout(PATIENCE, copied).await.unwrap();
    let seen = shadow.seen.lock().unwrap().len();
    assert!((15..=45).contains(&seen), "{seen} of {asked}");
}
