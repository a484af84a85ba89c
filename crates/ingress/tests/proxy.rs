//! What passes through the gateway, and how.

#![allow(clippy::unwrap_used, clippy::indexing_slicing, reason = "a test's helpers fail the test")]

use crate::support;
use http::{Request, StatusCode, Version, header};
use http_body_util::{BodyExt, Full};
use hyper::body::Bytes;
use hyper_util::rt::{TokioExecutor, TokioIo};
use ingress::{End, Limits, Reason, Settings};
use std::num::NonZeroUsize;
use std::time::Duration;
use support::{EVENTS, OPEN, PATIENCE, PLAIN, World, chat, text};
use tokio::io::{AsyncReadExt, AsyncWriteExt};

fn open() -> String {
    format!("{PLAIN}{OPEN}")
}

#[tokio::test]
async fn a_request_and_its_answer_pass_without_what_is_about_their_connections() {
    let world = World::new(&open()).await;
    let mut request = chat(r#"{"model":"llama","messages":[]}"#);
    for (name, value) in [("x-forwarded-for", "10.0.0.1"), ("authorization", "Bearer"), ("te", "gzip")] {
        request.headers_mut().insert(name, value.parse().unwrap());
    }
    request.headers_mut().remove("authorization");
    let response = world.ask(request).await;
    assert_eq!(response.status(), StatusCode::OK);
    assert_eq!(response.headers()["x-from"], "stub");
    assert!(!response.headers().contains_key("x-hop"), "named by Connection");
    let id = response.headers()["x-request-id"].clone();
    assert!(text(response).await.contains("Hello"));
    let seen = world.stub.last();
    assert_eq!((seen.uri.as_str(), seen.version), ("/v1/chat/completions", Version::HTTP_11));
    assert_eq!(seen.headers["host"], "models.example");
    assert_eq!(seen.headers["x-forwarded-for"], "127.0.0.1");
    assert!(!seen.headers.contains_key("te"));
    let records = world.records.wait(1).await;
    let record = &records[0];
    assert_eq!((record.reason, record.status, record.end), (Reason::Allowed, 200, End::Closed));
    assert_eq!(record.operation.model.as_deref(), Some("llama"));
    assert_eq!(record.class, Some("infer"));
    assert_eq!(record.request_id, id.to_str().unwrap());
    assert_eq!(record.upstream, Some(world.stub.address));
    let usage = record.usage.as_ref().unwrap();
    assert_eq!((usage.input, usage.output), (Some(9), Some(2)));
    assert!(record.route.as_deref().unwrap().starts_with("HTTPRoute ai/models rule 0 (test.yaml:"));
}

#[tokio::test]
async fn a_stream_of_events_passes_and_its_tokens_are_counted() {
    let world = World::new(&open()).await;
    let response = world.ask(chat(r#"{"model":"llama","stream":true,"messages":[]}"#)).await;
    assert_eq!(response.headers()[header::CONTENT_TYPE], "text/event-stream");
    assert_eq!(text(response).await, EVENTS.concat());
    let records = world.records.wait(1).await;
    assert_eq!(records[0].usage.as_ref().unwrap().output, Some(2));
}

#[tokio::test]
async fn every_piece_of_an_answer_passes_as_it_comes() {
    let world = World::new(&open()).await;
    let request = Request::get("/held").header(header::HOST, "a.example").body(Full::default()).unwrap();
    let mut body = world.ask(request).await.into_body();
    for number in 0..3 {
        world.stub.gate.add_permits(1);
        let frame = tokio::time::timeout(PATIENCE, body.frame()).await.unwrap().unwrap().unwrap();
        assert_eq!(frame.into_data().unwrap(), format!("piece {number}\n"));
    }
}

#[tokio::test]
async fn one_connection_to_a_server_serves_request_after_request() {
    let world = World::new(&open()).await;
    for _ in 0..5 {
        let response = world.ask(chat(r#"{"model":"m","messages":[]}"#)).await;
        text(response).await;
        // The connection is free when the record is there.
        let count = world.stub.seen.lock().unwrap().len();
        world.records.wait(count).await;
    }
    let opened = world.stub.connections.load(std::sync::atomic::Ordering::Relaxed);
    assert!(opened <= 2, "{opened} connections for 5 requests");
}

#[tokio::test]
async fn http2_in_clear_and_grpc_trailers_pass_to_a_server_of_http2() {
    let manifests = open().replace("{port: 8000}", "{port: 8000, appProtocol: kubernetes.io/h2c}");
    let world = World::with(&manifests, Settings::default(), true).await;
    let io = TokioIo::new(world.connect().await);
    let (mut sender, connection) =
        hyper::client::conn::http2::handshake(TokioExecutor::new(), io).await.unwrap();
    tokio::spawn(async move { drop(connection.await) });
    let request = Request::post("http://models.example/grpc")
        .header(header::CONTENT_TYPE, "application/grpc")
        .header(header::TE, "trailers")
        .body(Full::new(Bytes::from_static(b"\0\0\0\0\0")))
        .unwrap();
    let response = sender.send_request(request).await.unwrap();
    assert_eq!(response.status(), StatusCode::OK);
    let collected = response.into_body().collect().await.unwrap();
    assert_eq!(collected.trailers().unwrap()["grpc-status"], "0");
    let seen = world.stub.last();
    assert_eq!((seen.version, seen.headers["te"].to_str().unwrap()), (Version::HTTP_2, "trailers"));
}

#[tokio::test]
async fn a_pool_that_speaks_http2_in_clear_is_asked_so() {
    let pool = "
---
apiVersion: inference.networking.k8s.io/v1
kind: InferencePool
metadata: {name: llamas, namespace: ai}
spec:
  selector: {matchLabels: {app: llama}}
  targetPorts: [{number: 8000}]
  appProtocol: kubernetes.io/h2c
";
    let manifests = open().replace(
        "{name: model, port: 8000}",
        "{group: inference.networking.k8s.io, kind: InferencePool, name: llamas}",
    );
    let world = World::with(&(manifests + pool), Settings::default(), true).await;
    let request = Request::get("/v1/models").header(header::HOST, "a.example").body(Full::default()).unwrap();
    assert_eq!(world.ask(request).await.status(), StatusCode::OK);
    assert_eq!(world.stub.last().version, Version::HTTP_2);
}

#[tokio::test]
async fn a_web_socket_passes_both_ways() {
    let world = World::new(&open()).await;
    let mut stream = world.connect().await;
    let request = "GET /ws HTTP/1.1\r\nHost: a.example\r\nConnection: Upgrade\r\nUpgrade: websocket\r\n\r\n";
    stream.write_all(request.as_bytes()).await.unwrap();
    let mut head = Vec::new();
    while !head.ends_with(b"\r\n\r\n") {
        head.push(stream.read_u8().await.unwrap());
    }
    assert!(head.starts_with(b"HTTP/1.1 101"), "{}", String::from_utf8_lossy(&head));
    stream.write_all(b"abcd").await.unwrap();
    let mut back = [0; 4];
    stream.read_exact(&mut back).await.unwrap();
    assert_eq!(&back, b"dcba");
}

#[tokio::test]
async fn a_web_socket_on_which_only_one_side_speaks_is_not_idle() {
    let idle = Duration::from_millis(400);
    let limits = Limits { answer_piece: idle, ..Limits::default() };
    let world = World::with(&open(), Settings { limits, ..Settings::default() }, false).await;
    let mut stream = world.connect().await;
    let request = "GET /ws HTTP/1.1\r\nHost: a.example\r\nConnection: Upgrade\r\nUpgrade: websocket\r\n\r\n";
    stream.write_all(request.as_bytes()).await.unwrap();
    let mut head = Vec::new();
    while !head.ends_with(b"\r\n\r\n") {
        head.push(stream.read_u8().await.unwrap());
    }
    // The server says nothing before it has four bytes.
    for byte in b"abcd" {
        tokio::time::sleep(idle / 2).await;
        stream.write_u8(*byte).await.unwrap();
    }
    let mut back = [0; 4];
    stream.read_exact(&mut back).await.unwrap();
    assert_eq!(&back, b"dcba");
}

#[tokio::test]
async fn a_body_that_comes_byte_by_byte_keeps_no_place() {
    let limits = Limits { body_piece: Duration::from_millis(300), ..Limits::default() };
    let world = World::with(&open(), Settings { limits, ..Settings::default() }, false).await;
    let mut stream = world.connect().await;
    let head = "POST /v1/chat/completions HTTP/1.1\r\nHost: a.example\r\nContent-Length: 900\r\n\r\n{";
    stream.write_all(head.as_bytes()).await.unwrap();
    let (mut from, mut to) = stream.split();
    let drip = async {
        // As long as the gateway takes it, and as it comes to its end nobody would know that it was slow.
        for _ in 0..899 {
            tokio::time::sleep(Duration::from_millis(20)).await;
            if to.write_all(b" ").await.is_err() {
                break;
            }
        }
        std::future::pending::<()>().await;
    };
    let mut answer = [0; 12];
    tokio::select! {
        () = drip => {}
        read = from.read_exact(&mut answer) => drop(read.unwrap()),
    }
    assert_eq!(String::from_utf8_lossy(&answer), "HTTP/1.1 408");
    assert_eq!(world.records.wait(1).await[0].reason, Reason::Timeout);
}

#[tokio::test]
async fn a_head_that_asks_for_a_tunnel_or_another_protocol_keeps_no_place_either() {
    let limits = Limits { head: Duration::from_millis(50), ..Limits::default() };
    let world = World::with(&open(), Settings { limits, ..Settings::default() }, false).await;
    for head in [
        "GET / HTTP/1.1\r\nHost: a",
        "GET / HTTP/1.1\r\nUpgrade: websocket\r\nHost: a",
        "CONNECT a.example:443 HTTP/1.1\r\n",
    ] {
        let before = world.records.0.lock().unwrap().len();
        assert_eq!(world.raw(head.as_bytes()).await, "", "{head:?}");
        let record = world.records.wait(before + 1).await.pop().unwrap();
        assert_eq!((record.reason, record.end), (Reason::Timeout, End::Cut), "{head:?}");
    }
}

#[tokio::test]
async fn without_an_endpoint_or_one_that_answers_the_client_is_told_so() {
    let world = World::new(&open()).await;
    let mut config = support::config(&open(), ([127, 0, 0, 1], 1).into());
    assert!(world.server.reload(config.clone()).unwrap().is_empty());
    let response = world.ask(chat("{}")).await;
    assert_eq!(response.status(), StatusCode::BAD_GATEWAY);
    assert_eq!(response.headers()["x-cofferdam-reason"], "server-unreachable");
    config.endpoints.clear();
    assert!(world.server.reload(config).unwrap().is_empty());
    let response = world.ask(chat("{}")).await;
    assert_eq!(response.status(), StatusCode::SERVICE_UNAVAILABLE);
    assert_eq!(response.headers()[header::RETRY_AFTER], "1");
    let body: serde_json::Value = serde_json::from_str(&text(response).await).unwrap();
    assert_eq!(body["error"]["code"], "no-endpoint", "{body}");
}

#[tokio::test]
async fn what_does_not_get_its_turn_is_told_when_to_try_again() {
    let limits = Limits { running: 1, waiting: 1, wait: Duration::from_millis(50), ..Limits::default() };
    let world = World::with(&open(), Settings { limits, ..Settings::default() }, false).await;
    let held = Request::get("/held").header(header::HOST, "a.example").body(Full::default()).unwrap();
    let first = world.ask(held).await;
    let response = world.ask(chat(r#"{"model":"m","messages":[]}"#)).await;
    assert_eq!(response.status(), StatusCode::SERVICE_UNAVAILABLE);
    assert!(response.headers().contains_key(header::RETRY_AFTER));
    world.stub.gate.add_permits(3);
    text(first).await;
    let response = world.ask(chat(r#"{"model":"m","messages":[]}"#)).await;
    assert_eq!(response.status(), StatusCode::OK, "its place is free again");
}

#[tokio::test]
async fn one_address_has_so_many_connections_and_the_next_is_closed_and_told_once() {
    let limits = Limits { connections_of_address: NonZeroUsize::new(2), ..Limits::default() };
    let world = World::with(&open(), Settings { limits, ..Settings::default() }, false).await;
    let mut staying = Vec::new();
    for _ in 0..2 {
        let io = TokioIo::new(world.connect().await);
        let (mut sender, connection) = hyper::client::conn::http1::handshake(io).await.unwrap();
        tokio::spawn(async move { drop(connection.await) });
        text(sender.send_request(chat(r#"{"model":"m","messages":[]}"#)).await.unwrap()).await;
        staying.push(sender);
    }
    let request = b"GET /v1/models HTTP/1.1\r\nhost: a.example\r\nconnection: close\r\n\r\n";
    for _ in 0..3 {
        assert_eq!(world.raw(request).await, "");
    }
    assert_eq!(world.server.figures().crowded(), 3);
    let records = world.records.wait(3).await;
    let told: Vec<_> = records.iter().filter(|it| it.reason == Reason::TooManyConnections).collect();
    assert_eq!((records.len(), told.len(), told[0].end), (3, 1, End::Cut));
    assert!(told[0].client.ip().is_loopback() && told[0].detail.as_deref().unwrap().contains("2 open"));
    staying.pop();
    let again = async {
        loop {
            let answer = world.raw(request).await;
            if !answer.is_empty() {
                return answer;
            }
        }
    };
    let answer = tokio::time::timeout(PATIENCE, again).await.unwrap();
    assert!(answer.starts_with("HTTP/1.1 200"), "its place is free again: {answer}");
}

#[tokio::test]
async fn a_stream_whose_client_takes_nothing_of_it_ends_and_gives_its_place_back() {
    let limits = Limits { running: 1, write: Duration::from_millis(50), ..Limits::default() };
    let world = World::with(&open(), Settings { limits, ..Settings::default() }, false).await;
    let mut builder = hyper::client::conn::http2::Builder::new(TokioExecutor::new());
    let io = TokioIo::new(world.connect().await);
    let (mut sender, connection) = builder.initial_stream_window_size(1).handshake(io).await.unwrap();
    tokio::spawn(async move { drop(connection.await) });
    let held = Request::get("http://a.example/held").body(Full::<Bytes>::default()).unwrap();
    world.stub.gate.add_permits(3);
    let first = sender.send_request(held).await.unwrap();
    let record = world.records.wait(1).await.remove(0);
    assert_eq!((record.status, record.end), (200, End::ClientGone));
    let response = world.ask(chat(r#"{"model":"m","messages":[]}"#)).await;
    assert_eq!(response.status(), StatusCode::OK);
    drop(first);
}

#[tokio::test]
async fn draining_lets_answers_come_to_their_end_and_takes_nothing_new() {
    let world = World::new(&open()).await;
    let address = world.address();
    let held = Request::get("/held").header(header::HOST, "a.example").body(Full::default()).unwrap();
    let first = world.ask(held).await;
    let draining = tokio::spawn(world.server.drain(PATIENCE));
    while tokio::net::TcpStream::connect(address).await.is_ok() {
        tokio::task::yield_now().await;
    }
    world.stub.gate.add_permits(3);
    assert_eq!(text(first).await, "piece 0\npiece 1\npiece 2\n");
    assert!(draining.await.unwrap(), "everything came to its end");
}
