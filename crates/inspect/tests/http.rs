//! Requests of a connection: each is found, and what could be read in two ways is refused.

#![allow(
    clippy::unwrap_used,
    clippy::panic,
    clippy::indexing_slicing,
    reason = "a test's helpers fail the test"
)]

use inspect::http_head::{Body, HttpFlaw};
use inspect::http_stream::{Along, Event, MAX_HEAD, Requests};
use proptest::prelude::*;

/// Hosts of all requests, and how it ended.
fn hosts(pieces: &[&[u8]]) -> (Vec<String>, Event) {
    let (mut requests, mut found, mut last) = (Requests::new(), vec![], Event::More);
    for piece in pieces {
        let mut at = 0;
        loop {
            let (taken, event) = requests.push(&piece[at..]);
            at += taken;
            match event {
                Event::Request(head) => found.push(head.host.to_string()),
                other => {
                    last = other;
                    break;
                }
            }
        }
    }
    (found, last)
}

fn check(text: &str, expected: &[&str], end: &Event) {
    let (found, last) = hosts(&[text.as_bytes()]);
    assert_eq!(
        (found.iter().map(String::as_str).collect::<Vec<_>>().as_slice(), &last),
        (expected, end),
        "{text:?}"
    );
}

fn refused(text: &str, flaw: HttpFlaw) {
    check(text, &[], &Event::Refused(flaw));
}

#[test]
fn hosts_are_read_without_case_port_and_dot() {
    check("GET / HTTP/1.1\r\nHost: A.Example\r\n\r\n", &["a.example"], &Event::More);
    check("GET / HTTP/1.1\r\nhOsT:a.example.:8080 \r\nX: y\r\n\r\n", &["a.example"], &Event::More);
    check("GET http://a.example/x HTTP/1.1\r\nHost: a.example\r\n\r\n", &["a.example"], &Event::More);
    check("OPTIONS * HTTP/1.1\r\nHost: 192.0.2.1\r\n\r\n", &["192.0.2.1"], &Event::More);
    check("GET / HTTP/1.0\r\nHost: [2001:db8::1]:80\r\n\r\n", &["2001:db8::1"], &Event::More);
}

#[test]
fn later_requests_are_found_behind_every_body() {
    check(
        "POST / HTTP/1.1\r\nHost: a.example\r\nContent-Length: 5\r\n\r\nGET /GET / HTTP/1.1\r\nHost: b.example\r\n\r\n",
        &["a.example", "b.example"],
        &Event::More,
    );
    check(
        "POST / HTTP/1.1\r\nHost: a.example\r\nTransfer-Encoding: chunked\r\n\r\n\
         A\r\n0123456789\r\n0\r\nX-Sum: 1\r\n\r\nGET / HTTP/1.1\r\nHost: b.example\r\n\r\n",
        &["a.example", "b.example"],
        &Event::More,
    );
    check(
        "POST / HTTP/1.1\r\nHost: a.example\r\nContent-Length: 0\r\n\r\nGET / HTTP/1.1\r\nHost: b.example\r\n\r\n",
        &["a.example", "b.example"],
        &Event::More,
    );
}

#[test]
fn hosts_that_do_not_agree_are_refused() {
    refused("GET / HTTP/1.1\r\nHost: a.example\r\nHost: b.example\r\n\r\n", HttpFlaw::SeveralHosts);
    refused("GET / HTTP/1.1\r\nHost: a.example\r\nhost: a.example\r\n\r\n", HttpFlaw::SeveralHosts);
    refused("GET http://b.example/ HTTP/1.1\r\nHost: a.example\r\n\r\n", HttpFlaw::SeveralHosts);
    refused("GET / HTTP/1.1\r\n\r\n", HttpFlaw::NoHost);
    refused("GET / HTTP/1.0\r\nHost: \r\n\r\n", HttpFlaw::NoHost);
    refused("GET http://a.example/ HTTP/1.1\r\n\r\n", HttpFlaw::NoHost);
    for host in
        ["a.example, b.example", "a@b.example", "a.example:80x", "a.example/x", "a..b", "[::1", "[::1]x"]
    {
        refused(&format!("GET / HTTP/1.1\r\nHost: {host}\r\n\r\n"), HttpFlaw::Malformed);
    }
    refused("GET http://x@a.example/ HTTP/1.1\r\nHost: a.example\r\n\r\n", HttpFlaw::Malformed);
}

#[test]
fn shapes_of_request_smuggling_are_refused() {
    let with = |fields: &str, flaw| {
        refused(&format!("POST / HTTP/1.1\r\nHost: a.example\r\n{fields}\r\n\r\n"), flaw);
    };
    for fields in [
        "Content-Length: 5\r\nTransfer-Encoding: chunked",
        "Transfer-Encoding: chunked\r\nContent-Length: 5",
        "Content-Length: 5\r\nContent-Length: 5",
        "Content-Length: 5, 5",
        "Content-Length: +5",
        "Content-Length: 0x5",
        "Content-Length: 5 5",
        "Content-Length:",
        "Content-Length: 99999999999999999999",
        "Transfer-Encoding: identity",
        "Transfer-Encoding: gzip, chunked",
        "Transfer-Encoding: chunked\r\nTransfer-Encoding: chunked",
        "Transfer-Encoding: xchunked",
    ] {
        with(fields, HttpFlaw::Framing);
    }
    for fields in [
        "Transfer-Encoding : chunked",
        " Transfer-Encoding: chunked",
        "X: y\r\n Transfer-Encoding: chunked",
        "X: y\nTransfer-Encoding: chunked",
        "X: y\rTransfer-Encoding: chunked",
        "X: y\0",
        "no colon",
        ": empty",
    ] {
        with(fields, HttpFlaw::Malformed);
    }
    refused("POST / HTTP/1.0\r\nHost: a.example\r\nTransfer-Encoding: chunked\r\n\r\n", HttpFlaw::Framing);
    refused("GET / HTTP/1.1\r\nHost: a.example\r\nContent-Length: 9\r\n\r\n", HttpFlaw::Framing);
    refused("get / HTTP/1.1\r\nHost: a.example\r\nContent-Length: 9\r\n\r\n", HttpFlaw::Framing);
    for chunks in [
        "5;x=y\r\n",
        "5\n",
        "0x5\r\n",
        "-1\r\n",
        "1000000000000000\r\n",
        "\r\n",
        "1\r\nab",
        "0\r\nHost: b\r\n",
    ] {
        check(
            &format!("POST / HTTP/1.1\r\nHost: a.example\r\nTransfer-Encoding: chunked\r\n\r\n{chunks}"),
            &["a.example"],
            &Event::Refused(HttpFlaw::Framing),
        );
    }
}

#[test]
fn other_protocols_are_told() {
    refused("PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n", HttpFlaw::Http2);
    refused("CONNECT b.example:443 HTTP/1.1\r\n", HttpFlaw::Connect);
    refused("GET / HTTP/1.1\r\nHost: a.example\r\nUpgrade: h2c\r\n\r\n", HttpFlaw::Upgrade);
    for text in [
        "SSH-2.0-x\r\n",
        "GET /\r\n",
        "GET  / HTTP/1.1\r\n",
        "GET / HTTP/1.1 \r\n",
        "GET / http/1.1\r\n",
        "\r\n",
    ] {
        refused(text, HttpFlaw::NotHttp);
    }
    refused("\u{16}\u{3}", HttpFlaw::NotHttp);
}

#[test]
fn heads_and_trailers_are_bounded() {
    let long = "x".repeat(MAX_HEAD);
    refused(&format!("GET /{long}"), HttpFlaw::TooLarge);
    refused(&format!("GET / HTTP/1.1\r\nX: {long}"), HttpFlaw::TooLarge);
    let chunked = "POST / HTTP/1.1\r\nHost: a.example\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n";
    check(&format!("{chunked}X: {long}"), &["a.example"], &Event::Refused(HttpFlaw::TooLarge));
}

#[test]
fn only_an_unfinished_head_is_held() {
    let mut requests = Requests::new();
    let text = b"POST / HTTP/1.1\r\nHost: a.example\r\nContent-Length: 3\r\n\r\nabcGET";
    let (taken, event) = requests.push(text);
    assert!(matches!(event, Event::Request(head) if head.body == Body::Length(3)));
    let (rest, event) = requests.push(&text[taken..]);
    assert_eq!((rest, event, requests.holding()), (6, Event::More, 3));
}

proptest! {
    #[test]
    fn how_bytes_are_split_does_not_matter(
        parts in prop::collection::vec(prop_oneof![
            Just("GET / HTTP/1.1\r\n"), Just("POST / HTTP/1.1\r\n"), Just("Host: a.example\r\n"), Just("\r\n"),
            Just("Content-Length: 4\r\n"), Just("Transfer-Encoding: chunked\r\n"), Just("4\r\nabcd\r\n"),
            Just("0\r\n\r\n"), Just("abcd"), Just("\n"), Just("\r"), Just("GET http://b.example/ HTTP/1.1\r\n"),
        ], 0..12),
        cut in any::<prop::sample::Index>(),
    ) {
        let text = parts.concat();
        let at = cut.index(text.len() + 1);
        let whole = hosts(&[text.as_bytes()]);
        let (left, right) = text.as_bytes().split_at(at);
        prop_assert_eq!(&hosts(&[left, right]), &whole);
        let bytes: Vec<&[u8]> = text.as_bytes().chunks(1).collect();
        prop_assert_eq!(&hosts(&bytes), &whole);
    }
}

#[test]
fn the_last_head_that_is_read_along_has_an_end_too() {
    for line in ["CONNECT a.example:443 HTTP/1.1\r\n", "GET / HTTP/1.1\r\nUpgrade: websocket\r\n"] {
        for end in ["Host: a.example\r\n\r\n", "\r\n", "\n", "Host: a.example\n\n"] {
            let bytes = [line, end].concat();
            for size in [1, 2, 3, 7, 1000] {
                let (mut along, mut seen) = (Along::default(), 0);
                for piece in bytes.as_bytes().chunks(size) {
                    along.push(piece).unwrap();
                    seen += piece.len();
                    assert_eq!(along.is_in_head(), seen < bytes.len(), "{bytes:?} {size} {seen}");
                    assert!(!along.is_between_requests(), "{bytes:?} {size} {seen}");
                }
                along.push(b"whatever follows\r\n\0").unwrap();
                assert!(!along.is_in_head(), "{bytes:?} {size}");
            }
        }
    }
}
