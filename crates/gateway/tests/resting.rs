//! Connections that rest between requests: whoever uses them notices nothing, as long as there is a way to the server.

#![allow(
    clippy::unwrap_used,
    clippy::indexing_slicing,
    clippy::panic,
    reason = "a test's helpers fail the test"
)]

use crate::support;
use gateway::{Ceiling, End, Limits, Reason};
use http::StatusCode;
use http_body_util::BodyExt;
use hyper_util::rt::TokioIo;
use std::io::{Read, Write};
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;
use support::web::{Client, Way, World, anything, full, request, run, state_of};
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
        let limits = Limits { http2_rest_after: idle, http2_idle: idle, ..Limits::default() };
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
            slow.into_body().collect().await.unwrap();
            let Client::Http2(sender) = &client else { panic!("{way:?}") };
            while !sender.is_closed() {
                tokio::time::sleep(A_WHILE).await;
            }
        });
        assert_eq!(world.proxy.record().end, End::Closed, "{way:?}");
        run(async { assert_eq!(world.client().await.get("/again").await.0, StatusCode::OK) });
    }
}

/// A world whose connections of HTTP/2 to the server end soon.
fn soon() -> World {
    let limits = Limits { http2_rest_after: A_WHILE / 10, ..Limits::default() };
    World::with(Way::Tls2, anything(), Ceiling::default(), limits, true)
}

#[test]
fn an_http2_connection_to_a_server_ends_in_good_order_and_its_client_keeps_its_own() {
    let world = soon();
    let count = |of: &AtomicUsize| of.load(Ordering::SeqCst);
    run(async {
        let mut client = world.client().await;
        // More than may follow on one that takes no more requests.
        for round in 1..7 {
            let answer = client.send(request("POST", "/echo", full("question"))).await.unwrap();
            assert_eq!(answer.status(), StatusCode::OK);
            assert_eq!(answer.into_body().collect().await.unwrap().to_bytes(), "question");
            while count(&world.count.ended) < round {
                tokio::time::sleep(A_WHILE).await;
            }
            assert_eq!((count(&world.count.came), count(&world.count.ended)), (round, round));
        }
        // Who streams needs it for as long as that takes.
        let slow = client.send(request("GET", "/slow", full(""))).await.unwrap();
        tokio::time::sleep(5 * A_WHILE).await;
        world.go_on.notify_one();
        assert_eq!(slow.into_body().collect().await.unwrap().to_bytes(), "somemore");
        assert_eq!(count(&world.count.came), 7);
        let Client::Http2(sender) = &client else { panic!("it speaks HTTP/2") };
        assert!(!sender.is_closed());
    });
    assert_eq!((world.proxy.record().end, world.proxy.calls.try_iter().count()), (End::Closed, 7));
}

#[test]
fn a_request_for_which_there_is_no_way_any_more_is_refused_and_its_client_is_told_to_come_anew() {
    let world = soon();
    run(async {
        let mut client = world.client().await;
        assert_eq!(client.get("/again").await.0, StatusCode::OK);
        // With the next state nobody opens TLS any more; the connection to the server that is there is not judged by it.
        world.proxy.table.replace(state_of(anything(), Ceiling::default(), None));
        let refused = loop {
            let (status, fields, _) = client.get("/again").await;
            if status != StatusCode::OK {
                break (status, fields["x-cofferdam-reason"].clone());
            }
            tokio::time::sleep(A_WHILE).await;
        };
        assert_eq!(refused, (StatusCode::FORBIDDEN, "no-authority".parse().unwrap()));
        let Client::Http2(sender) = &client else { panic!("it speaks HTTP/2") };
        while !sender.is_closed() {
            tokio::time::sleep(A_WHILE).await;
        }
    });
    let last = world.proxy.calls.try_iter().last().unwrap();
    assert_eq!((last.reason, last.end), (Reason::NoAuthority, End::Refused));
    assert_eq!(world.proxy.record().end, End::Closed);
}
