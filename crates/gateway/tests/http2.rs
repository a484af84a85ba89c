//! HTTP/2 as attackers write it, frame by frame (RFC 9113): clients, and servers that a rule allows.

#![allow(
    clippy::unwrap_used,
    clippy::panic,
    clippy::indexing_slicing,
    reason = "a test's helpers fail the test"
)]

use crate::support;
use gateway::{Authority, Call, Ceiling, End, Limits, Reason};
use http_body_util::BodyExt;
use std::io::{Read, Write};
use std::net::TcpStream;
use std::thread::JoinHandle;
use std::time::SystemTime;
use support::web::{Client as Asking, Way, World, anything, full, request, run, state_of, trusting};
use support::{PATIENCE, Proxy, patient};

pub(crate) const PREFACE: &[u8] = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n";
pub(crate) const DATA: u8 = 0;
pub(crate) const HEADERS: u8 = 1;
pub(crate) const RST_STREAM: u8 = 3;
pub(crate) const SETTINGS: u8 = 4;
const PUSH_PROMISE: u8 = 5;
const PING: u8 = 6;
const GOAWAY: u8 = 7;
const WINDOW_UPDATE: u8 = 8;
const CONTINUATION: u8 = 9;
pub(crate) const END_STREAM: u8 = 1;
pub(crate) const END_HEADERS: u8 = 4;

type Client = rustls::StreamOwned<rustls::ClientConnection, TcpStream>;

pub(crate) fn frame(kind: u8, flags: u8, stream: u32, payload: &[u8]) -> Vec<u8> {
    let length = u32::try_from(payload.len()).unwrap().to_be_bytes();
    [&length[1..], &[kind, flags], &stream.to_be_bytes(), payload].concat()
}

/// A field whose name and value are written out (RFC 7541, section 6.2.2).
fn field(name: &str, value: &str) -> Vec<u8> {
    let text = |text: &str| [&[u8::try_from(text.len()).unwrap()][..], text.as_bytes()].concat();
    [&[0][..], &text(name), &text(value)].concat()
}

pub(crate) fn fields(all: &[(&str, &str)]) -> Vec<u8> {
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
            let _cut = client.write_all(&frame(CONTINUATION, 0, 1, piece));
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

/// More than whoever reads within bounds lets a server write: sockets of two connections hold some of it.
const TOO_MUCH: usize = 96 << 20;

/// A proxy that opens connections in clear, all of which are for one name.
pub(crate) fn proxy() -> Proxy {
    let mut state = state_of(anything(), Ceiling::default(), None);
    let all = state.pods.values_mut().flat_map(|pod| pod.bound.values_mut());
    all.for_each(|bound| bound.names.retain(|name, _| name.as_str() == "hub.example"));
    Proxy::start(Some(state), Limits::default())
}

/// A proxy before a server that writes this when it was asked, and again and again where `again` is not empty; how much of that it
/// could write.
fn before(first: Vec<u8>, again: Vec<u8>) -> (Proxy, JoinHandle<usize>) {
    let proxy = proxy();
    let listener = proxy.server.try_clone().unwrap();
    let server = std::thread::spawn(move || {
        let mut stream = patient(listener.accept().unwrap().0);
        stream.read_exact(&mut [0; PREFACE.len()]).unwrap();
        let mut head = [0; 9];
        while head[3] != HEADERS {
            stream.read_exact(&mut head).unwrap();
            let length = u32::from_be_bytes([0, head[0], head[1], head[2]]);
            stream.read_exact(&mut vec![0; length as usize]).unwrap();
        }
        let begun = [frame(SETTINGS, 0, 0, &[]), frame(SETTINGS, 1, 0, &[]), first].concat();
        let (mut goes_on, mut written) = (stream.write_all(&begun).is_ok(), 0);
        while goes_on && !again.is_empty() && written < TOO_MUCH {
            goes_on = stream.write_all(&again).is_ok();
            written += again.len();
        }
        // It leaves it to the other side to end it.
        let _ended = std::io::copy(&mut stream, &mut std::io::sink());
        written
    });
    (proxy, server)
}

#[test]
fn the_end_of_a_body_goes_with_its_last_piece() {
    let proxy = proxy();
    let mut client = proxy.connect();
    let post = [(":method", "POST"), (":scheme", "http"), (":path", "/"), (":authority", "hub.example")];
    let asked =
        [frame(HEADERS, END_HEADERS, 1, &fields(&post)), frame(DATA, END_STREAM, 1, b"hello")].concat();
    client.write_all(&[PREFACE, &frame(SETTINGS, 0, 0, &[]), &asked].concat()).unwrap();
    let mut server = proxy.accept();
    server.read_exact(&mut [0; PREFACE.len()]).unwrap();
    let mut came = Vec::new();
    while came.last().is_none_or(|(flags, _)| flags & END_STREAM == 0) {
        let mut head = [0; 9];
        server.read_exact(&mut head).unwrap();
        let length = u32::from_be_bytes([0, head[0], head[1], head[2]]);
        let mut payload = vec![0; length as usize];
        server.read_exact(&mut payload).unwrap();
        came.extend((head[3] == DATA).then_some((head[4], payload)));
    }
    assert_eq!(came, [(END_STREAM, b"hello".to_vec())]);
}

/// Status and body of what a client is answered, or nothing where its connection breaks.
pub(crate) async fn answered(client: &mut Asking) -> Option<(u16, Option<Vec<u8>>)> {
    let (head, body) = client.send(request("GET", "/", full(""))).await.ok()?.into_parts();
    Some((head.status.as_u16(), body.collect().await.ok().map(|body| body.to_bytes().to_vec())))
}

pub(crate) async fn client_of(proxy: &Proxy) -> Asking {
    let authority = Authority::generate(SystemTime::now()).unwrap();
    Asking::connect(proxy, Way::Clear2, &authority).await.unwrap()
}

pub(crate) fn goaway(last: u32, debug: &[u8]) -> Vec<u8> {
    frame(GOAWAY, 0, 0, &[&last.to_be_bytes()[..], &[0; 4], debug].concat())
}

#[test]
fn a_server_that_breaks_the_rules_of_http_2_is_no_more_than_one_that_does_not_answer() {
    let ok = fields(&[(":status", "200")]);
    let answer = [frame(HEADERS, END_HEADERS, 1, &ok), frame(DATA, END_STREAM, 1, b"ok")].concat();
    let after = |bytes: Vec<u8>| [bytes, answer.clone()].concat();
    let whole = Some((200, Some(b"ok".to_vec())));
    let open = frame(HEADERS, END_HEADERS, 1, &ok);
    let split = fields(&[(":status", "200"), ("x", "a\r\nset-cookie: evil")]);
    for (what, bytes, may_be_whole) in [
        ("an answer", answer.clone(), true),
        ("it goes, and answers what it took", after(goaway(1, b"")), true),
        ("it goes and goes", [goaway(1, &[b'x'; 1000]).repeat(500), answer.clone()].concat(), true),
        ("it took more at each word", after([goaway(1, b""), goaway(9, b"")].concat()), false),
        ("settings that must not be", after(frame(SETTINGS, 0, 0, &[0, 5, 0, 0, 0, 1])), false),
        (
            "a promise that nobody wanted",
            after(frame(PUSH_PROMISE, END_HEADERS, 1, &[&[0, 0, 0, 2][..], &fields(&GET)].concat())),
            false,
        ),
        ("a window beyond all", after(frame(WINDOW_UPDATE, 0, 0, &0x7fff_ffff_u32.to_be_bytes())), false),
        ("an answer that nobody asked for", after(frame(HEADERS, END_HEADERS, 3, &ok)), false),
        ("a stream of the server's own", after(frame(HEADERS, END_HEADERS, 2, &ok)), false),
        ("a body before its head", after(frame(DATA, 0, 1, b"evil")), false),
        ("two heads", after(open.clone()), false),
        ("a head without its status", after(frame(HEADERS, END_HEADERS, 1, &fields(&[("x", "y")]))), false),
        ("a status that is none", after(frame(HEADERS, END_HEADERS, 1, &fields(&[(":status", "2")]))), false),
        ("a request for an answer", after(frame(HEADERS, END_HEADERS, 1, &fields(&GET))), false),
        (
            "a head with another in it",
            [frame(HEADERS, END_HEADERS, 1, &split), answer.clone()].concat(),
            false,
        ),
        (
            "less than it said",
            [
                frame(HEADERS, END_HEADERS, 1, &fields(&[(":status", "200"), ("content-length", "9")])),
                frame(DATA, END_STREAM, 1, b"ok"),
            ]
            .concat(),
            false,
        ),
        (
            "more than it said",
            [
                frame(HEADERS, END_HEADERS, 1, &fields(&[(":status", "200"), ("content-length", "1")])),
                frame(DATA, END_STREAM, 1, b"evil"),
            ]
            .concat(),
            false,
        ),
        ("compression that is none", after(frame(HEADERS, END_HEADERS, 1, &[0xff; 64])), false),
        (
            "a table of any size",
            after(frame(HEADERS, END_HEADERS, 1, &[&[0x3f, 0xff, 0xff, 0xff, 0x7f][..], &ok].concat())),
            false,
        ),
        ("a frame that is too long", after(frame(DATA, 0, 1, &[0; 20_000])), false),
        ("another protocol", b"HTTP/1.1 200 OK\r\ncontent-length: 4\r\n\r\nevil".to_vec(), false),
        ("taken back", frame(RST_STREAM, 0, 1, &[0, 0, 0, 8]), false),
    ] {
        let (proxy, server) = before(bytes, Vec::new());
        let said = run(async { answered(&mut client_of(&proxy).await).await });
        assert!(may_be_whole || said != whole, "{what}: {said:?}");
        let body = said.and_then(|(_, body)| body).unwrap_or_default();
        assert!(!body.windows(4).any(|four| four == b"evil"), "{what}");
        let _ended = proxy.record();
        assert_eq!(proxy.calls.recv_timeout(PATIENCE).unwrap().path, "/", "{what}");
        server.join().unwrap();
    }
}

#[test]
fn a_head_of_an_answer_that_never_ends_ends_its_connection() {
    let piece = fields(&[("x", &"y".repeat(120)[..]); 100]);
    let first = [fields(&[(":status", "200")]), piece.clone()].concat();
    let (proxy, server) = before(frame(HEADERS, 0, 1, &first), frame(CONTINUATION, 0, 1, &piece));
    let said = run(async { answered(&mut client_of(&proxy).await).await });
    assert!(said.as_ref().is_none_or(|(status, _)| *status == 502), "{said:?}");
    let _ended = proxy.record();
    assert!(server.join().unwrap() < TOO_MUCH);
}

#[test]
fn what_a_server_sends_without_end_ends_with_its_client_and_holds_up_nobody_else() {
    let early =
        frame(HEADERS, END_HEADERS, 1, &fields(&[(":status", "103"), ("link", &"y".repeat(100)[..])]));
    for (what, again) in [
        ("early hints", early.repeat(100)),
        ("pings", frame(PING, 0, 0, &[7; 8]).repeat(1000)),
        ("settings", frame(SETTINGS, 0, 0, &[]).repeat(1000)),
        ("windows", frame(WINDOW_UPDATE, 0, 1, &[0, 0, 0, 1]).repeat(1000)),
        ("nothing", frame(DATA, 0, 1, b"").repeat(1000)),
    ] {
        let head = if what == "nothing" {
            frame(HEADERS, END_HEADERS, 1, &fields(&[(":status", "200")]))
        } else {
            Vec::new()
        };
        let (proxy, server) = before(head, again);
        run(async {
            let mut client = client_of(&proxy).await;
            let asks = answered(&mut client);
            let waited = tokio::time::timeout(std::time::Duration::from_millis(300), asks).await;
            assert!(
                waited.as_ref().is_err()
                    || waited.as_ref().is_ok_and(|said| said
                        .as_ref()
                        .is_none_or(|(status, body)| *status == 502 || body.is_none())),
                "{what}: {waited:?}"
            );
        });
        let _ended = proxy.record();
        let _written = server.join().unwrap();
    }
}
