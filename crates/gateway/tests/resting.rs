//! Connections that rest between requests: whoever uses them notices nothing.

#![allow(
    clippy::unwrap_used,
    clippy::indexing_slicing,
    clippy::panic,
    reason = "a test's helpers fail the test"
)]

use crate::support;
use gateway::{Ceiling, End, Limits};
use http::StatusCode;
use hyper_util::rt::TokioIo;
use std::io::{Read, Write};
use std::time::Duration;
use support::web::{Client, Way, World, anything, full, request, run};
use tokio::io::{AsyncReadExt, AsyncWriteExt};

/// Several times as long as a connection waits for its next request before it rests, in tests.
const A_WHILE: Duration = Duration::from_millis(10);

const WAYS: [Way; 3] = [Way::Clear, Way::Tls1, Way::TlsUnsaid];

#[test]
fn requests_and_a_tunnel_go_over_connections_that_rested() {
    for way in WAYS {
        let world = World::new(way, anything());
        run(async {
            let mut client = world.client().await;
            for _ in 0..10 {
                let mut asked = request("POST", "/echo", full("question"));
                asked.headers_mut().insert("x-own", "1".parse().unwrap());
                assert_eq!(client.send(asked).await.unwrap().status(), StatusCode::OK);
                assert_eq!(client.get("/again").await.0, StatusCode::OK);
                tokio::time::sleep(A_WHILE).await;
            }
            let mut asked = request("GET", "/socket", full(""));
            for (name, value) in [("connection", "Upgrade"), ("upgrade", "websocket")] {
                asked.headers_mut().insert(name, value.parse().unwrap());
            }
            let answer = client.send(asked).await.unwrap();
            assert_eq!(answer.status(), StatusCode::SWITCHING_PROTOCOLS);
            let mut socket = TokioIo::new(hyper::upgrade::on(answer).await.unwrap());
            tokio::time::sleep(A_WHILE).await;
            socket.write_all(b"ping").await.unwrap();
            let mut back = vec![];
            socket.read_to_end(&mut back).await.unwrap();
            assert_eq!(back, b"pong!");
            socket.shutdown().await.unwrap();
        });
        let record = world.proxy.record();
        assert_eq!((record.end, world.proxy.calls.try_iter().count()), (End::Closed, 21), "{way:?}");
        assert_eq!(world.proxy.kill(), [], "one connection for all of them");
    }
}

#[test]
fn a_request_that_comes_in_pieces_is_whole_wherever_it_is_split() {
    let whole = b"POST /echo HTTP/1.1\r\nHost: hub.example\r\nContent-Length: 4\r\n\r\nbody";
    let world = World::new(Way::Clear, anything());
    let mut client = world.proxy.connect();
    for split in (1..whole.len()).step_by(5) {
        let (first, rest) = whole.split_at(split);
        std::thread::sleep(A_WHILE);
        client.write_all(first).unwrap();
        std::thread::sleep(A_WHILE);
        client.write_all(rest).unwrap();
        let mut answer = vec![];
        while !answer.ends_with(b"body") {
            let mut piece = [0; 512];
            let length = client.read(&mut piece).unwrap();
            assert!(length > 0, "cut at {split}: {}", String::from_utf8_lossy(&answer));
            answer.extend_from_slice(&piece[..length]);
        }
        assert!(answer.starts_with(b"HTTP/1.1 200"), "split at {split}");
    }
}

#[test]
fn a_client_that_goes_while_its_connection_rests_ends_it() {
    for way in WAYS {
        let world = World::new(way, anything());
        run(async {
            let mut client = world.client().await;
            assert_eq!(client.get("/again").await.0, StatusCode::OK);
            tokio::time::sleep(A_WHILE).await;
        });
        assert_eq!(world.proxy.record().end, End::Closed, "{way:?}");
    }
}

#[test]
fn an_http2_connection_that_nobody_uses_is_ended_in_good_order() {
    for way in [Way::Tls2, Way::Clear2] {
        // Long enough that a busy machine asks twice within it.
        let idle = 100 * A_WHILE;
        let limits = Limits { http2_idle: idle, ..Limits::default() };
        let world = World::with(way, anything(), Ceiling::default(), limits, true);
        run(async {
            let mut client = world.client().await;
            assert_eq!(client.get("/again").await.0, StatusCode::OK);
            // One that is under way is waited for, however long.
            let slow = client.send(request("GET", "/slow", full(""))).await.unwrap();
            assert_eq!(slow.status(), StatusCode::OK);
            tokio::time::sleep(2 * idle).await;
            assert_eq!(world.proxy.records.try_iter().count(), 0, "{way:?}");
            world.go_on.notify_one();
            http_body_util::BodyExt::collect(slow.into_body()).await.unwrap();
            let Client::Http2(sender) = &client else { panic!("{way:?}") };
            while !sender.is_closed() {
                tokio::time::sleep(A_WHILE).await;
            }
        });
        assert_eq!(world.proxy.record().end, End::Closed, "{way:?}");
        run(async { assert_eq!(world.client().await.get("/again").await.0, StatusCode::OK) });
    }
}
