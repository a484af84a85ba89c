//! What is not let through: nothing reaches the server, the client learns why, and there is one record with the reason.

#![allow(
    clippy::unwrap_used,
    clippy::panic,
    clippy::indexing_slicing,
    reason = "a test's helpers fail the test"
)]

use crate::support;
use gateway::{Ceiling, End, Limits, Opaque, Reason, Rules};
use policy::Verdict;
use std::io::{ErrorKind, Read, Write};
use std::net::Shutdown;
use std::time::Duration;
use support::{ALL, POD, Proxy, Tls, hello_of, state, usual};

/// Sends bytes and returns what came back before the end, and whether that was a reset.
fn answer(proxy: &Proxy, bytes: &[u8]) -> (Vec<u8>, bool) {
    let mut stream = proxy.connect();
    stream.write_all(bytes).unwrap();
    let mut back = vec![];
    match stream.read_to_end(&mut back) {
        Ok(_) => (back, false),
        Err(error) if error.kind() == ErrorKind::ConnectionReset => (back, true),
        Err(error) => panic!("{error}"),
    }
}

/// A connection that begins with `bytes` is refused for `reason`; returns the answer.
fn refused(proxy: &Proxy, bytes: &[u8], reason: Reason) -> Vec<u8> {
    let (back, reset) = answer(proxy, bytes);
    let record = proxy.record();
    assert_eq!((record.reason, record.verdict, record.end), (reason, Verdict::Deny, End::Refused));
    assert_eq!((record.bytes_up, record.bytes_down), (0, 0));
    // Of all these only a name that policy speaks of is denied by a rule.
    assert_eq!(record.rule.is_some(), reason == Reason::NameNotAllowed, "{reason}");
    assert!(proxy.nobody_came(), "{reason}");
    assert_eq!(reset, back.is_empty(), "who is not told is reset");
    back
}

const ALERT: [u8; 7] = [21, 3, 3, 0, 2, 2, 49];

#[test]
fn hellos_are_refused_with_an_alert() {
    let proxy = Proxy::usual();
    let ech = [0xfe, 0x0d, 0, 1, 0];
    for (bytes, reason) in [
        (hello_of(Some("elsewhere.example"), &[]), Reason::NameMismatch),
        (hello_of(Some("other.example"), &[]), Reason::NameNotAllowed),
        (hello_of(None, &[]), Reason::NoName),
        (hello_of(Some("hub.example"), &ech), Reason::EncryptedHello),
        (hello_of(Some("hub.example"), &[0, 16, 0, 9]), Reason::HelloMalformed),
        (vec![22, 3, 1, 0, 4, 1, 0xff, 0, 0], Reason::HelloTooLarge),
    ] {
        assert_eq!(refused(&proxy, &bytes, reason), ALERT, "{reason}");
    }
}

#[test]
fn requests_are_refused_with_an_answer() {
    let proxy = Proxy::usual();
    for (text, reason) in [
        ("GET / HTTP/1.1\r\nHost: elsewhere.example\r\n\r\n", Reason::HostMismatch),
        ("GET / HTTP/1.1\r\nHost: other.example\r\n\r\n", Reason::NameNotAllowed),
        ("GET / HTTP/1.1\r\nHost: 127.0.0.1\r\n\r\n", Reason::NoName),
        ("GET / HTTP/1.1\r\n\r\n", Reason::HttpHost),
        ("GET / HTTP/1.1\r\nHost: hub.example\r\nHost: b.example\r\n\r\n", Reason::HttpHost),
        ("GET http://b.example/ HTTP/1.1\r\nHost: hub.example\r\n\r\n", Reason::HttpHost),
        ("POST / HTTP/1.1\r\nHost: hub.example\r\nContent-Length: 1, 2\r\n\r\n", Reason::HttpMalformed),
        ("PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n", Reason::HttpTunnel),
        ("CONNECT b.example:443 HTTP/1.1\r\n\r\n", Reason::HttpTunnel),
        (&format!("GET /{} HTTP/1.1\r\n", "x".repeat(20_000)), Reason::HttpTooLarge),
    ] {
        let back = String::from_utf8(refused(&proxy, text.as_bytes(), reason)).unwrap();
        assert!(back.starts_with("HTTP/1.1 403 Forbidden\r\n"), "{back}");
        let body: serde_json::Value = serde_json::from_str(back.split("\r\n\r\n").nth(1).unwrap()).unwrap();
        assert_eq!(body["reason"], reason.as_str());
        let names_the_rule = body["policy"] == "ClusterNetworkPolicy hub spec.egress[0]";
        assert_eq!(
            names_the_rule,
            matches!(reason, Reason::HostMismatch | Reason::NameNotAllowed | Reason::NoName)
        );
    }
}

#[test]
fn what_names_nobody_is_reset() {
    let proxy = Proxy::usual();
    let _ = refused(&proxy, b"\0\x01\x02", Reason::Opaque);
    let _ = refused(&proxy, b"SSH-2.0-client\r\n", Reason::Opaque);
}

#[test]
fn a_port_for_tls_is_for_tls() {
    let server = std::net::TcpListener::bind((POD, 0)).unwrap();
    let to = server.local_addr().unwrap();
    let rules = Rules { tls_ports: [to.port()].into(), opaque: Opaque::ByEveryName, ..Rules::default() };
    let state = state(POD, &[("hub.example", ALL)], Ceiling::default(), rules);
    let proxy = Proxy::in_front_of(server, to, Some(state), Limits::default());
    let _ = refused(&proxy, b"GET / HTTP/1.1\r\nHost: hub.example\r\n\r\n", Reason::NotTls);
    let _ = refused(&proxy, b"SSH-2.0-client\r\n", Reason::NotTls);
}

#[test]
fn without_policy_everything_is_refused() {
    let proxy = Proxy::start(None, Limits::default());
    assert_eq!(refused(&proxy, &hello_of(Some("hub.example"), &[]), Reason::NoPolicy), ALERT);
}

#[test]
fn slow_and_unfinished_openings_are_refused() {
    let limits = Limits { header_timeout: Duration::from_millis(50), ..Limits::default() };
    let proxy = Proxy::start(Some(usual(Ceiling::default())), limits);
    let _ = refused(&proxy, &hello_of(Some("hub.example"), &[])[..20], Reason::Timeout);
    let _ = refused(&proxy, b"", Reason::Timeout);
    let proxy = Proxy::usual();
    let mut stream = proxy.connect();
    stream.write_all(b"GET / HT").unwrap();
    stream.shutdown(Shutdown::Write).unwrap();
    let _reset = stream.read(&mut [0; 9]);
    assert_eq!(proxy.record().reason, Reason::Incomplete);
    assert!(proxy.nobody_came());
}

#[test]
fn a_client_reads_the_alert_as_access_denied() {
    let (proxy, tls) = (Proxy::usual(), Tls::new());
    let mut client = tls.connect(proxy.connect(), "other.example");
    let error =
        client.write_all(b"x").and_then(|()| client.flush()).and_then(|()| client.read_to_end(&mut vec![]));
    assert!(error.unwrap_err().to_string().contains("AccessDenied"));
    let record = proxy.record();
    assert_eq!(record.claim.name.as_deref(), Some("other.example"));
}

#[test]
fn one_pod_opens_only_so_many() {
    let limits = Limits { max_per_pod: 1, ..Limits::default() };
    let proxy = Proxy::start(Some(usual(Ceiling::default())), limits);
    let mut first = proxy.connect();
    first.write_all(&hello_of(Some("hub.example"), &[])).unwrap();
    let _server = proxy.accept();
    let _ = refused(&proxy, b"", Reason::TooManyOfPod);
    assert_eq!(proxy.counters.read().reasons[&Reason::TooManyOfPod], 1);
}

#[test]
fn a_server_that_is_not_there_is_told() {
    let server = std::net::TcpListener::bind((POD, 0)).unwrap();
    let gone = std::net::TcpListener::bind((POD, 0)).unwrap().local_addr().unwrap();
    let proxy = Proxy::in_front_of(server, gone, Some(usual(Ceiling::default())), Limits::default());
    let (back, reset) = answer(&proxy, &hello_of(Some("hub.example"), &[]));
    assert!(back.is_empty() && reset);
    let record = proxy.record();
    assert_eq!((record.reason, record.end), (Reason::NameAllowed, End::Unreachable));
}
