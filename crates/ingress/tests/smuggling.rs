//! What HTTP/1 readers could understand differently gets to no server, byte by byte as attackers write it.

#![allow(clippy::unwrap_used, clippy::indexing_slicing, reason = "a test's helpers fail the test")]

use crate::support;
use http::{Request, StatusCode, header};
use http_body_util::Full;
use hyper::body::Bytes;
use hyper_util::rt::{TokioExecutor, TokioIo};
use ingress::Reason;
use std::io::Write;
use support::{OPEN, PLAIN, World};

const FLAWED: [&str; 14] = [
    "POST / HTTP/1.1\r\nHost: a.example\r\nContent-Length: 4\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n",
    "POST / HTTP/1.1\r\nHost: a.example\r\nTransfer-Encoding: chunked\r\nContent-Length: 4\r\n\r\n0\r\n\r\n",
    "POST / HTTP/1.1\r\nHost: a.example\r\nContent-Length: 4\r\nContent-Length: 5\r\n\r\nabcde",
    "POST / HTTP/1.1\r\nHost: a.example\r\nContent-Length: +4\r\n\r\nabcd",
    "POST / HTTP/1.1\r\nHost: a.example\r\nContent-Length: 4, 4\r\n\r\nabcd",
    "POST / HTTP/1.1\r\nHost: a.example\r\nTransfer-Encoding: xchunked\r\n\r\n0\r\n\r\n",
    "POST / HTTP/1.1\r\nHost: a.example\r\nTransfer-Encoding: chunked, identity\r\n\r\n0\r\n\r\n",
    "POST / HTTP/1.1\r\nHost: a.example\r\nTransfer-Encoding : chunked\r\n\r\n0\r\n\r\n",
    "GET / HTTP/1.1\r\nHost: a.example\r\n X-Folded: 1\r\n\r\n",
    "GET / HTTP/1.1\nHost: a.example\n\n",
    "GET / HTTP/1.1\r\nHost: a.example\r\nX: a\rb\r\n\r\n",
    "GET / HTTP/1.1\r\nHost: a.example\r\nHost: b.example\r\n\r\n",
    "GET  / HTTP/1.1\r\nHost: a.example\r\n\r\n",
    "POST / HTTP/1.0\r\nHost: a.example\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n",
];

#[tokio::test]
async fn what_could_be_read_in_two_ways_is_answered_400_and_reaches_nobody() {
    let world = World::new(&format!("{PLAIN}{OPEN}")).await;
    for (count, flawed) in FLAWED.iter().enumerate() {
        let hidden = format!("{flawed}GET /hidden HTTP/1.1\r\nHost: a.example\r\n\r\n");
        let answer = world.raw(hidden.as_bytes()).await;
        assert!(answer.starts_with("HTTP/1.1 400"), "{flawed:?}: {answer:?}");
        assert_eq!(answer.matches("HTTP/1.1").count(), 1, "{flawed:?}: {answer:?}");
        let records = world.records.wait(count + 1).await;
        let last = records.last().unwrap();
        assert!(matches!(last.reason, Reason::HttpMalformed | Reason::HttpHost), "{flawed:?}: {last:?}");
    }
    assert!(world.stub.seen.lock().unwrap().is_empty(), "{:?}", world.stub.seen);
}

#[tokio::test]
async fn a_bad_chunk_ends_a_body_that_is_under_way() {
    let world = World::new(&format!("{PLAIN}{OPEN}")).await;
    let answer = world
        .raw(b"POST /v1/x HTTP/1.1\r\nHost: a.example\r\nTransfer-Encoding: chunked\r\n\r\n4\r\nabcd\r\n5 ;x\nabcde\r\n0\r\n\r\n")
        .await;
    assert!(!answer.contains("200"), "{answer}");
    let seen = world.stub.seen.lock().unwrap().clone();
    assert!(seen.iter().all(|seen| seen.body == "(broken off)"), "{seen:?}");
}

#[tokio::test]
async fn tunnels_and_other_protocols_are_refused_and_paths_that_servers_read_differently_too() {
    let world = World::new(&format!("{PLAIN}{OPEN}")).await;
    for (request, status, reason) in [
        ("CONNECT a.example:443 HTTP/1.1\r\nHost: a.example:443\r\n\r\n", "501", Reason::HttpTunnel),
        (
            "GET / HTTP/1.1\r\nHost: a.example\r\nConnection: upgrade\r\nUpgrade: h2c\r\n\r\n",
            "501",
            Reason::HttpTunnel,
        ),
        (
            "GET /v1/../admin HTTP/1.1\r\nHost: a.example\r\nConnection: close\r\n\r\n",
            "400",
            Reason::TargetAmbiguous,
        ),
        (
            "GET /v1%2fadmin HTTP/1.1\r\nHost: a.example\r\nConnection: close\r\n\r\n",
            "400",
            Reason::TargetAmbiguous,
        ),
    ] {
        let before = world.records.0.lock().unwrap().len();
        let answer = world.raw(request.as_bytes()).await;
        assert!(answer.starts_with(&format!("HTTP/1.1 {status}")), "{request:?}: {answer}");
        let records = world.records.wait(before + 1).await;
        assert_eq!(records.last().unwrap().reason, reason, "{request:?}");
    }
    assert!(world.stub.seen.lock().unwrap().is_empty());
}

#[tokio::test]
async fn what_a_server_may_take_for_a_request_without_a_body_has_none_whatever_its_client_speaks() {
    let world = World::new(&format!("{PLAIN}{OPEN}")).await;
    let io = TokioIo::new(world.connect().await);
    let (mut sender, connection) =
        hyper::client::conn::http2::handshake(TokioExecutor::new(), io).await.unwrap();
    tokio::spawn(async move { drop(connection.await) });
    let hidden = Bytes::from_static(b"POST /pause HTTP/1.1\r\nHost: a.example\r\nContent-Length: 0\r\n\r\n");
    for method in ["GET", "HEAD", "TRACE", "get"] {
        let request = Request::builder()
            .method(method)
            .uri("http://a.example/v1/models")
            .header(header::CONTENT_LENGTH, hidden.len())
            .body(Full::new(hidden.clone()))
            .unwrap();
        let answer = sender.send_request(request).await.unwrap();
        assert_eq!(answer.status(), StatusCode::BAD_REQUEST, "{method}");
    }
    assert!(world.stub.seen.lock().unwrap().is_empty(), "{:?}", world.stub.seen);
}

#[tokio::test]
async fn a_field_that_does_not_go_on_is_not_what_a_request_is_judged_by() {
    let rules = "
---
apiVersion: cofferdam.dev/v1alpha1
kind: InferencePolicy
metadata: {name: small, namespace: ai}
spec:
  targetRefs: [{group: gateway.networking.k8s.io, kind: Gateway, name: edge}]
  authentication: {anonymous: true}
  rules: [{name: small, action: Allow, models: [small]}]
";
    let world = World::new(&format!("{PLAIN}{rules}")).await;
    let mut coder = flate2::write::GzEncoder::new(Vec::new(), flate2::Compression::default());
    coder.write_all(br#"{"model":"small","messages":[]}"#).unwrap();
    let coded = Bytes::from(coder.finish().unwrap());
    for (connection, status) in [("keep-alive", StatusCode::OK), ("content-encoding", StatusCode::FORBIDDEN)]
    {
        let request = Request::post("/v1/chat/completions")
            .header(header::HOST, "a.example")
            .header(header::CONTENT_TYPE, "application/json")
            .header(header::CONTENT_ENCODING, "gzip")
            .header(header::CONNECTION, connection)
            .body(Full::new(coded.clone()))
            .unwrap();
        assert_eq!(world.ask(request).await.status(), status, "{connection}");
    }
}
