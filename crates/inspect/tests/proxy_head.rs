//! What clients tell an explicit proxy, and what nobody may tell it.

#![allow(clippy::unwrap_used, clippy::indexing_slicing, reason = "a test's helpers fail the test")]

use inspect::http_stream::MAX_HEAD;
use inspect::proxy_head::{Asked, Form, ProxyHead, Unasked};
use proptest::prelude::*;

fn read(text: &[u8]) -> Option<Result<Asked, Unasked>> {
    ProxyHead::new().push(text)
}

fn shown(text: &str) -> String {
    match read(text.replace('|', "\r\n").as_bytes()) {
        None => "more".into(),
        Some(Ok(Asked { form, host, port, .. })) => match form {
            Form::Connect => format!("connect {host} {port}"),
            Form::Request(method) => format!("{method} {host} {port}"),
        },
        Some(Err(Unasked::Origin)) => "origin".into(),
        Some(Err(Unasked::Flaw(flaw))) => flaw.to_string(),
    }
}

#[test]
fn what_clients_send_is_understood_and_what_could_be_understood_differently_is_refused() {
    for (text, expected) in [
        ("CONNECT a.example:443 HTTP/1.1|Host: a.example:443||", "connect a.example 443"),
        ("CONNECT A.Example.:443 HTTP/1.1|Host: a.example|User-Agent: x||", "connect a.example 443"),
        ("CONNECT a.example:443 HTTP/1.0||", "connect a.example 443"),
        ("CONNECT 192.0.2.1:22 HTTP/1.1|Content-Length: 0||", "connect 192.0.2.1 22"),
        ("CONNECT [2001:db8::1]:443 HTTP/1.1|Host: [2001:db8::1]:443||", "connect 2001:db8::1 443"),
        ("CONNECT [::ffff:192.0.2.1]:443 HTTP/1.1|Host: 192.0.2.1||", "connect 192.0.2.1 443"),
        ("CONNECT a.example:443 HTTP/1.1|Proxy-Authorization: Basic eDp5||", "connect a.example 443"),
        ("GET http://a.example/x?y HTTP/1.1|Host: a.example||", "GET a.example 80"),
        (
            "POST HTTP://a.example:8080 HTTP/1.1|Host: a.example:8080|Content-Length: 3||",
            "POST a.example 8080",
        ),
        ("GET http://192.0.2.1/ HTTP/1.1|Host: 192.0.2.1||", "GET 192.0.2.1 80"),
        ("GET /http://a.example/ HTTP/1.1|Host: a.example||", "origin"),
        ("GET / HTTP/1.1|Host: a.example||", "origin"),
        ("OPTIONS * HTTP/1.1|Host: a.example||", "origin"),
        ("CONNECT a.example:443 HTTP/1.1|Host: a.example", "more"),
        ("CONNECT a.example:443 HTTP/1.1|", "more"),
        // A target without a port, or with a bad one.
        ("CONNECT a.example HTTP/1.1||", "malformed"),
        ("CONNECT a.example: HTTP/1.1||", "malformed"),
        ("CONNECT a.example:0 HTTP/1.1||", "malformed"),
        ("CONNECT a.example:65536 HTTP/1.1||", "malformed"),
        ("CONNECT a.example:+443 HTTP/1.1||", "malformed"),
        ("CONNECT a.example:443:80 HTTP/1.1||", "malformed"),
        ("CONNECT x@a.example:443 HTTP/1.1||", "malformed"),
        ("CONNECT http://a.example:443 HTTP/1.1||", "malformed"),
        ("CONNECT 2001:db8::1:443 HTTP/1.1||", "malformed"),
        ("CONNECT :443 HTTP/1.1||", "malformed"),
        // Two hosts.
        ("CONNECT a.example:443 HTTP/1.1|Host: b.example||", "several-hosts"),
        ("CONNECT a.example:443 HTTP/1.1|Host: a.example:80||", "several-hosts"),
        ("CONNECT a.example:443 HTTP/1.1|Host: a.example|Host: a.example||", "several-hosts"),
        ("GET http://a.example/ HTTP/1.1|Host: b.example||", "several-hosts"),
        // A body, or a line that only tolerant readers take.
        ("CONNECT a.example:443 HTTP/1.1|Content-Length: 5||", "framing"),
        ("CONNECT a.example:443 HTTP/1.1|Transfer-Encoding: chunked||", "framing"),
        ("CONNECT a.example:443 HTTP/1.1|Upgrade: h2c||", "upgrade"),
        ("CONNECT a.example:443 HTTP/1.1|Host : a.example||", "malformed"),
        ("CONNECT a.example:443 HTTP/1.1| Host: a.example||", "malformed"),
        ("CONNECT a.example:443 HTTP/1.1|X: 1\nHost: b.example||", "malformed"),
        ("CONNECT a.example:443 HTTP/1.1|X: 1\rHost: b.example||", "malformed"),
        ("CONNECT a.example:443 HTTP/1.1|X: \0||", "malformed"),
        ("CONNECT  a.example:443 HTTP/1.1||", "not-http"),
        ("CONNECT a.example:443 HTTP/2.0||", "not-http"),
        ("CONNECT a.example:443||", "not-http"),
        ("CONNECT a.example:443\n HTTP/1.1||", "malformed"),
        ("connect a.example:443 HTTP/1.1||", "connect"),
        ("GET https://a.example/ HTTP/1.1|Host: a.example||", "malformed"),
        ("GET ftp://a.example/ HTTP/1.1|Host: a.example||", "malformed"),
        ("GET http://x:y@a.example/ HTTP/1.1|Host: a.example||", "malformed"),
        ("GET http://a.example:0/ HTTP/1.1|Host: a.example:0||", "malformed"),
        ("GET http:///x HTTP/1.1|Host: a.example||", "no-host"),
        ("GET http://a.example/ HTTP/1.1||", "no-host"),
        ("POST http://a.example/ HTTP/1.1|Host: a.example|Content-Length: 3|Content-Length: 3||", "framing"),
        (
            "POST http://a.example/ HTTP/1.1|Host: a.example|Content-Length: 3|Transfer-Encoding: chunked||",
            "framing",
        ),
        ("PRI * HTTP/2.0||", "http2"),
        ("\u{16}\u{3}\u{1}", "not-http"),
    ] {
        assert_eq!(shown(text), expected, "{text}");
    }
}

#[test]
fn a_head_is_bounded_and_what_follows_it_is_kept() {
    let head = |field: usize| format!("CONNECT a.example:443 HTTP/1.1\r\nX: {}\r\n\r\n", "x".repeat(field));
    let around = head(0).len();
    assert!(read(head(MAX_HEAD - around).as_bytes()).unwrap().is_ok());
    assert_eq!(
        read(head(MAX_HEAD - around + 1).as_bytes()),
        Some(Err(Unasked::Flaw(inspect::http_head::HttpFlaw::TooLarge)))
    );
    let mut endless = ProxyHead::new();
    let piece = [b'x'; 1024];
    assert!((0..=MAX_HEAD / piece.len()).any(|_| endless.push(&piece).is_some_and(|it| it.is_err())));
    let mut reader = ProxyHead::new();
    let asked = reader.push(b"CONNECT a.example:443 HTTP/1.1\r\n\r\n\x16\x03\r\n\r\n").unwrap().unwrap();
    assert_eq!(reader.into_bytes()[asked.length..], *b"\x16\x03\r\n\r\n");
}

proptest! {
    /// How a head is split changes nothing.
    #[test]
    fn a_head_split_anywhere_means_the_same(at in prop::collection::vec(0_usize..120, 0..6), which in 0_usize..4) {
        let text = [
            "CONNECT a.example:443 HTTP/1.1\r\nHost: a.example\r\nX: 1\r\n\r\nrest\r\n\r\n",
            "GET http://a.example:81/ HTTP/1.1\r\nHost: a.example:81\r\n\r\n",
            "CONNECT a.example:443 HTTP/1.1\r\nHost: b.example\r\n\r\n",
            "GET / HTTP/1.1\r\nHost: b.example\r\n\r\n",
        ][which].as_bytes();
        let mut cuts: Vec<usize> = at.into_iter().map(|at| at.min(text.len())).chain([0, text.len()]).collect();
        cuts.sort_unstable();
        let mut reader = ProxyHead::new();
        let found = cuts.windows(2).find_map(|cut| reader.push(&text[cut[0]..cut[1]]));
        prop_assert_eq!(found, read(text));
    }
}
