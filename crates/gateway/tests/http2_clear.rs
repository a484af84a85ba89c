//! HTTP/2 in clear, which says for whom it is with each request only: where its address means one name, it is for that.

#![allow(clippy::unwrap_used, clippy::indexing_slicing, reason = "a test's helpers fail the test")]

use crate::support;
use gateway::{Ceiling, End, Limits, Reason};
use http::{StatusCode, Version};
use http_body_util::BodyExt;
use policy::Verdict;
use std::io::Write;
use std::time::Duration;
use support::web::{Client, Way, World, anything, full, nothing, request, run};
use support::{Proxy, usual};

#[test]
fn requests_arrive_as_they_were_sent_several_at_once() {
    let world = World::new(Way::Clear2, anything());
    run(async {
        let mut client = world.client().await;
        let Client::Http2(sender) = &client else { unreachable!() };
        let mut other = Client::Http2(sender.clone());
        let ((status, ..), (again, ..)) = tokio::join!(client.get("/again"), other.get("/again"));
        assert_eq!((status, again), (StatusCode::OK, StatusCode::OK));
        let answer = client.send(request("POST", "/echo", full("question"))).await.unwrap();
        assert_eq!(answer.into_body().collect().await.unwrap().to_bytes(), "question");
    });
    let seen: Vec<_> = world.seen.try_iter().collect();
    assert_eq!(seen.len(), 3);
    assert!(seen.iter().all(|seen| seen.version == Version::HTTP_2));
    let record = world.proxy.record();
    assert_eq!(
        (record.verdict, record.reason, record.end),
        (Verdict::Allow, Reason::NameAllowed, End::Closed)
    );
    assert_eq!(world.proxy.calls.try_iter().count(), 3);
}

#[test]
fn requests_that_policy_does_not_allow_and_those_for_another_host_are_refused() {
    let (forbidden, misdirected) = (StatusCode::FORBIDDEN, StatusCode::MISDIRECTED_REQUEST);
    for (requests, target, status, reason) in [
        (nothing(), "http://hub.example/again", forbidden, Reason::RequestNotAllowed),
        (anything(), "http://other.example/again", misdirected, Reason::HostMismatch),
        (anything(), "http://10.0.0.1/again", misdirected, Reason::HostMismatch),
    ] {
        let world = World::new(Way::Clear2, requests);
        run(async {
            let mut client = world.client().await;
            let answer = client.send(request("GET", target, full(""))).await.unwrap();
            assert_eq!(answer.status(), status, "{target}");
        });
        assert!(world.seen.try_recv().is_err(), "{target}");
        assert_eq!(world.proxy.call().reason, reason, "{target}");
    }
}

#[test]
fn where_an_address_means_several_names_or_requests_are_not_judged_it_is_refused() {
    let several = World::new(Way::Clear, anything());
    let mut state = usual(Ceiling::default());
    let all = state.pods.values_mut().flat_map(|pod| pod.bound.values_mut());
    all.for_each(|bound| bound.names.retain(|name, _| name.as_str() == "hub.example"));
    let unjudged = Proxy::start(Some(state), Limits::default());
    for proxy in [&several.proxy, &unjudged] {
        run(async {
            let client = Client::connect(proxy, Way::Clear2, &several.inspection.authority).await;
            let asked = request("GET", "http://hub.example/again", full(""));
            assert!(client.unwrap().send(asked).await.is_err());
        });
        assert_eq!(proxy.record().reason, Reason::HttpTunnel);
    }
}

/// What a client says first (RFC 9113, section 3.4), an empty frame of settings behind it.
const PREFACE: &[u8] = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n\0\0\0\x04\0\0\0\0\0";

/// The head of a request, of static fields but for its authority (RFC 7541, appendix A): GET, http, /.
fn head(authority: &str) -> Vec<u8> {
    let text =
        [&[0x82, 0x86, 0x84, 0x41, u8::try_from(authority.len()).unwrap()], authority.as_bytes()].concat();
    [&[0, 0, u8::try_from(text.len()).unwrap(), 1, 5, 0, 0, 0, 1], &text[..]].concat()
}

#[test]
fn a_preface_that_comes_in_pieces_is_one_wherever_it_is_split() {
    let world = World::new(Way::Clear2, anything());
    let whole = [PREFACE, &head("hub.example")].concat();
    for split in (1..whole.len()).step_by(3) {
        let mut client = world.proxy.connect();
        client.set_nodelay(true).unwrap();
        let (first, rest) = whole.split_at(split);
        client.write_all(first).unwrap();
        std::thread::sleep(std::time::Duration::from_millis(5));
        client.write_all(rest).unwrap();
        let seen = world.seen.recv_timeout(support::PATIENCE);
        assert_eq!(seen.map(|seen| seen.version), Ok(Version::HTTP_2), "split at {split}");
    }
}

#[test]
fn what_only_begins_like_http_2_reaches_no_server() {
    let request = b"GET / HTTP/1.1\r\nHost: hub.example\r\n\r\n";
    for first in [
        &b"PRI * HTTP/2.0\r\n\r\nGET / HTTP/1.1\r\nHost: hub.example\r\n\r\n"[..],
        b"PRI * HTTP/2.0\r\nHost: hub.example\r\n\r\n",
        b"PRI * HTTP/2.0\n\nSM\n\n",
        b"PRI / HTTP/2.0\r\n\r\nSM\r\n\r\n",
        b"PRI * HTTP/2.1\r\n\r\nSM\r\n\r\n",
        // Where a frame of settings must stand, a request does.
        b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n",
    ] {
        let world = World::new(Way::Clear2, anything());
        let mut client = world.proxy.connect();
        let _cut = client.write_all(&[first, request].concat());
        drop(client);
        let record = world.proxy.record();
        assert!(record.end != End::Cancelled, "{record:?}");
        assert!(world.seen.try_recv().is_err(), "{}", String::from_utf8_lossy(first));
    }
}

#[test]
fn to_become_http_2_by_an_upgrade_is_refused() {
    let world = World::new(Way::Clear, anything());
    run(async {
        let mut client = world.client().await;
        let mut asked = request("GET", "/again", full(""));
        let fields = [
            ("connection", "Upgrade, HTTP2-Settings"),
            ("upgrade", "h2c"),
            ("http2-settings", "AAMAAABkAAQAAP__"),
        ];
        for (name, value) in fields {
            asked.headers_mut().insert(name, value.parse().unwrap());
        }
        assert_eq!(client.send(asked).await.unwrap().status(), StatusCode::FORBIDDEN);
    });
    assert!(world.seen.try_recv().is_err());
    assert_eq!(world.proxy.record().reason, Reason::HttpTunnel);
}

#[test]
fn what_a_client_does_not_take_waits_at_the_server() {
    let world = World::new(Way::Clear2, anything());
    let mut client = world.proxy.connect();
    // It would take all at once, on every stream (RFC 9113, sections 6.5.2 and 6.9).
    let settings = [&[0, 0, 6, 4, 0, 0, 0, 0, 0, 0, 4][..], &i32::MAX.to_be_bytes()].concat();
    let window = [&[0, 0, 4, 8, 0, 0, 0, 0, 0][..], &(i32::MAX - 65_535).to_be_bytes()].concat();
    client.write_all(&[PREFACE, &settings, &window].concat()).unwrap();
    let length = b"\0\x08x-length\x071048576";
    for stream in (1_u32..240).step_by(2) {
        let mut head = head("hub.example");
        head.extend_from_slice(length);
        head[2] = u8::try_from(head.len() - 9).unwrap();
        head[5..9].copy_from_slice(&stream.to_be_bytes());
        client.write_all(&head).unwrap();
    }
    // It reads nothing, for so long that all that has room anywhere is full: no more comes to it, for a while.
    client.set_nonblocking(true).unwrap();
    let (mut room, mut came, mut still) = (vec![0; 16 << 20], 0, 0);
    for _ in 0..300 {
        std::thread::sleep(Duration::from_millis(100));
        let now = client.peek(&mut room).unwrap_or(0);
        still = if now > 65_536 && now == came { still + 1 } else { 0 };
        came = now;
        if still == 7 {
            break;
        }
    }
    assert_eq!(still, 7, "{came} bytes came, and it goes on");
    assert!(world.proxy.records.try_recv().is_err(), "it goes on");
    drop(client);
    let record = world.proxy.record();
    assert!((1 << 20..40 << 20).contains(&record.bytes_down), "{record:?}");
}
