//! HTTP/2 as attackers write it, frame by frame (RFC 9113).

#![allow(
    clippy::unwrap_used,
    clippy::panic,
    clippy::indexing_slicing,
    reason = "a test's helpers fail the test"
)]

mod support;

use gateway::{Call, End, Reason};
use std::io::{Read, Write};
use std::net::TcpStream;
use support::web::{Way, World, anything, trusting};

const PREFACE: &[u8] = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n";
const HEADERS: u8 = 1;
const RST_STREAM: u8 = 3;
const SETTINGS: u8 = 4;
const GOAWAY: u8 = 7;
const END_STREAM: u8 = 1;
const END_HEADERS: u8 = 4;

type Client = rustls::StreamOwned<rustls::ClientConnection, TcpStream>;

fn frame(kind: u8, flags: u8, stream: u32, payload: &[u8]) -> Vec<u8> {
    let length = u32::try_from(payload.len()).unwrap().to_be_bytes();
    [&length[1..], &[kind, flags], &stream.to_be_bytes(), payload].concat()
}

/// A field whose name and value are written out (RFC 7541, section 6.2.2).
fn field(name: &str, value: &str) -> Vec<u8> {
    let text = |text: &str| [&[u8::try_from(text.len()).unwrap()][..], text.as_bytes()].concat();
    [&[0][..], &text(name), &text(value)].concat()
}

fn fields(all: &[(&str, &str)]) -> Vec<u8> {
    all.iter().flat_map(|(name, value)| field(name, value)).collect()
}

fn connect(world: &World) -> Client {
    let config = trusting(&world.inspection.authority, world.way.alpn());
    let connection = rustls::ClientConnection::new(config, "hub.example".try_into().unwrap()).unwrap();
    let mut client = rustls::StreamOwned::new(connection, world.proxy.connect());
    client.write_all(&[PREFACE, &frame(SETTINGS, 0, 0, &[])].concat()).unwrap();
    client
}

/// Reads frames up to one of these kinds; returns which it is, and its payload. `None`: the end came first.
fn read(client: &mut Client, kinds: &[u8]) -> Option<(u8, Vec<u8>)> {
    loop {
        let mut head = [0; 9];
        client.read_exact(&mut head).ok()?;
        let length = u32::from_be_bytes([0, head[0], head[1], head[2]]);
        let mut payload = vec![0; length as usize];
        client.read_exact(&mut payload).ok()?;
        if kinds.contains(&head[3]) {
            return Some((head[3], payload));
        }
    }
}

const GET: [(&str, &str); 4] =
    [(":method", "GET"), (":scheme", "https"), (":path", "/"), (":authority", "hub.example")];

#[test]
fn a_flood_of_requests_that_are_taken_back_ends_the_connection() {
    let world = World::new(Way::Tls2, anything());
    let mut client = connect(&world);
    let flood: Vec<u8> = (0..200)
        .flat_map(|number| {
            let stream = 2 * number + 1;
            let head = frame(HEADERS, END_HEADERS | END_STREAM, stream, &fields(&GET));
            [head, frame(RST_STREAM, 0, stream, &8_u32.to_be_bytes())].concat()
        })
        .collect();
    let _cut = client.write_all(&flood);
    let (_, payload) = read(&mut client, &[GOAWAY]).unwrap();
    assert_eq!(payload[4..8], 11_u32.to_be_bytes(), "ENHANCE_YOUR_CALM");
    drop(client);
    let record = world.proxy.record();
    assert!(record.end != End::Cancelled, "{record:?}");
    assert!(world.proxy.calls.try_iter().count() < 200);
}

#[test]
fn tunnels_are_refused() {
    let tunnel: [(&str, &str); 2] = [(":method", "CONNECT"), (":authority", "hub.example:443")];
    let socket = [&[(":method", "CONNECT"), (":protocol", "websocket")][..], &GET[1..]].concat();
    for head in [&tunnel[..], &socket[..]] {
        let world = World::new(Way::Tls2, anything());
        let mut client = connect(&world);
        client.write_all(&frame(HEADERS, END_HEADERS, 1, &fields(head))).unwrap();
        let (kind, _) = read(&mut client, &[HEADERS, RST_STREAM, GOAWAY]).unwrap();
        drop(client);
        let _ended = world.proxy.record();
        let calls: Vec<Call> = world.proxy.calls.try_iter().collect();
        assert_eq!(calls.len(), usize::from(kind == HEADERS), "{head:?}");
        assert!(
            calls.iter().all(|call| call.reason == Reason::HttpTunnel && call.status == 403),
            "{calls:?}"
        );
        assert!(world.seen.try_recv().is_err(), "{head:?}");
    }
}

#[test]
fn a_head_written_by_hand_is_a_request() {
    let world = World::new(Way::Tls2, anything());
    let mut client = connect(&world);
    client.write_all(&frame(HEADERS, END_HEADERS | END_STREAM, 1, &fields(&GET))).unwrap();
    assert_eq!(read(&mut client, &[HEADERS, RST_STREAM, GOAWAY]).unwrap().0, HEADERS);
    assert_eq!(world.seen.recv_timeout(support::PATIENCE).unwrap().method, "GET");
}

#[test]
fn heads_that_http_2_forbids_reach_no_server() {
    let more = |more: &[(&'static str, &'static str)]| [&GET[..], more].concat();
    let long = ["x", &*"y".repeat(120).leak()];
    for head in [
        more(&[("host", "other.example")]),
        more(&[("host", "hub.example"), ("host", "hub.example")]),
        more(&[(":authority", "other.example")]),
        more(&[(":path", "/other")]),
        more(&[("connection", "close")]),
        more(&[("transfer-encoding", "chunked")]),
        more(&[("upgrade", "websocket")]),
        more(&[("X-Upper", "1")]),
        more(&[("x", "a\r\nhost: other.example")]),
        more(&[("content-length", "4")]),
        GET[1..].to_vec(),
        GET[..3].to_vec(),
        [&GET[..2], &GET[3..]].concat(),
        vec![(long[0], long[1]); 1000],
    ] {
        let world = World::new(Way::Tls2, anything());
        let mut client = connect(&world);
        // Frames hold 16 KiB at most.
        let fields = fields(&head);
        let (first, rest) = fields.split_at(fields.len().min(16_000));
        let end = if rest.is_empty() { END_HEADERS } else { 0 };
        client.write_all(&frame(HEADERS, end | END_STREAM, 1, first)).unwrap();
        for piece in rest.chunks(16_000) {
            let _cut = client.write_all(&frame(9, 0, 1, piece));
        }
        let answered = read(&mut client, &[HEADERS, RST_STREAM, GOAWAY]);
        drop(client);
        let _ended = world.proxy.record();
        let calls: Vec<Call> = world.proxy.calls.try_iter().collect();
        let is_refused = calls.iter().all(|call| call.end == End::Refused && call.status >= 400);
        assert!(is_refused, "{head:?} {calls:?}");
        assert!(world.seen.try_recv().is_err(), "{head:?} {answered:?}");
    }
}
