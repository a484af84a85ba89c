//! Servers of HTTP/2, over whose connections requests of many go: what one of them does to its answers is nothing to the others.

#![allow(clippy::unwrap_used, reason = "a test's helpers fail the test")]

use crate::support;
use http::{Request, Response, header};
use http_body_util::Full;
use hyper::body::{Bytes, Incoming};
use hyper::service::service_fn;
use hyper_util::rt::{TokioExecutor, TokioIo};
use ingress::Settings;
use std::convert::Infallible;
use std::net::{Ipv4Addr, SocketAddr};
use std::time::Duration;
use support::{OPEN, PATIENCE, PLAIN, World, text};
use tokio::net::TcpListener;

/// A server that takes so many requests at once on a connection. Its answers are large below `/large`, and there are none below
/// `/held`.
async fn server(streams: u32) -> SocketAddr {
    let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).await.unwrap();
    let address = listener.local_addr().unwrap();
    tokio::spawn(async move {
        while let Ok((stream, _)) = listener.accept().await {
            let service = service_fn(async |request: Request<Incoming>| {
                let size = match request.uri().path() {
                    "/large" => 16 << 20,
                    "/held" => std::future::pending().await,
                    _ => 1,
                };
                Ok::<_, Infallible>(Response::new(Full::new(Bytes::from(vec![b'x'; size]))))
            });
            let mut http = hyper::server::conn::http2::Builder::new(TokioExecutor::new());
            http.max_concurrent_streams(streams);
            let serving = http.serve_connection(TokioIo::new(stream), service);
            tokio::spawn(async move { drop(serving.await) });
        }
    });
    address
}

/// A gateway before it.
async fn world(server: SocketAddr) -> World {
    let manifests =
        format!("{PLAIN}{OPEN}").replace("{port: 8000}]}", "{port: 8000, appProtocol: kubernetes.io/h2c}]}");
    let world = World::with(&manifests, Settings::default(), true).await;
    assert!(world.server.reload(support::config(&manifests, server)).unwrap().is_empty());
    world
}

/// What somebody else is answered in the meantime.
async fn small(world: &World) -> String {
    let request = Request::get("/small").header(header::HOST, "a.example").body(Full::default()).unwrap();
    text(world.ask(request).await).await
}

#[tokio::test]
async fn answers_that_their_client_does_not_take_keep_nobody_waiting() {
    let world = world(server(100).await).await;
    let mut builder = hyper::client::conn::http2::Builder::new(TokioExecutor::new());
    let io = TokioIo::new(world.connect().await);
    let (mut sender, connection) = builder.initial_stream_window_size(1).handshake(io).await.unwrap();
    tokio::spawn(async move { drop(connection.await) });
    let mut untaken = Vec::new();
    for _ in 0..8 {
        let request = Request::get("http://a.example/large").body(Full::<Bytes>::default()).unwrap();
        untaken.push(tokio::time::timeout(PATIENCE, sender.send_request(request)).await.unwrap().unwrap());
    }
    assert_eq!(small(&world).await, "x");
    drop(untaken);
}

#[tokio::test]
async fn an_endpoint_that_is_gone_without_a_word_is_given_up() {
    let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).await.unwrap();
    let world = world(listener.local_addr().unwrap()).await;
    let silent = tokio::spawn(async move {
        let mut kept = Vec::new();
        while let Ok(accepted) = listener.accept().await {
            kept.push(accepted);
        }
    });
    let request = Request::get("/").header(header::HOST, "a.example").body(Full::<Bytes>::default()).unwrap();
    let io = TokioIo::new(world.connect().await);
    let (mut sender, connection) = hyper::client::conn::http1::handshake(io).await.unwrap();
    tokio::spawn(async move { drop(connection.await) });
    // Much less than it may take to answer.
    let answer = tokio::time::timeout(Duration::from_secs(120), sender.send_request(request)).await;
    assert_eq!(answer.unwrap().unwrap().status(), 502);
    silent.abort();
}

#[tokio::test]
async fn who_has_all_streams_of_a_connection_keeps_nobody_waiting() {
    let world = world(server(2).await).await;
    assert_eq!(small(&world).await, "x");
    let mut held = Vec::new();
    for count in 1..=5 {
        let io = TokioIo::new(world.connect().await);
        let (mut sender, connection) = hyper::client::conn::http1::handshake(io).await.unwrap();
        tokio::spawn(async move { drop(connection.await) });
        let request = Request::get("/held").header(header::HOST, "a.example").body(Full::<Bytes>::default());
        held.push(tokio::spawn(async move { sender.send_request(request.unwrap()).await.map(drop) }));
        assert_eq!(small(&world).await, "x", "beside {count}");
    }
    held.iter().for_each(tokio::task::JoinHandle::abort);
}
