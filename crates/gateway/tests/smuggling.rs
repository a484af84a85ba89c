//! What HTTP/1 readers could understand differently gets to no server and to no client, byte by byte as attackers write it.

#![allow(
    clippy::unwrap_used,
    clippy::panic,
    clippy::indexing_slicing,
    reason = "a test's helpers fail the test"
)]

use crate::support;
use gateway::{Ceiling, End, Limits, Reason};
use std::io::{Read, Write};
use std::net::{TcpListener, TcpStream};
use std::sync::mpsc::{Receiver, channel};
use std::thread::JoinHandle;
use std::time::Duration;
use support::web::{Way, World, anything, nothing, state_of, trusting};
use support::{PATIENCE, Proxy, patient};

const FIRST: &str = "GET /first HTTP/1.1\r\nHost: hub.example\r\n\r\n";

trait Both: Read + Write {}
impl<T: Read + Write> Both for T {}

/// A client's connection, on which bytes are written as they are.
fn connect(world: &World) -> Box<dyn Both> {
    let stream: TcpStream = world.proxy.connect();
    if world.way == Way::Clear {
        return Box::new(stream);
    }
    let config = trusting(&world.inspection.authority, world.way.alpn());
    let name = "hub.example".try_into().unwrap();
    let connection = rustls::ClientConnection::new(config, name).unwrap();
    Box::new(rustls::StreamOwned::new(connection, patient(stream)))
}

/// Reads an answer with a length, and returns its first line.
fn answer(client: &mut dyn Both) -> String {
    let mut head = Vec::new();
    let mut byte = [0];
    while !head.ends_with(b"\r\n\r\n") {
        client.read_exact(&mut byte).unwrap();
        head.push(byte[0]);
    }
    let head = String::from_utf8(head).unwrap().to_ascii_lowercase();
    let length = head.split("content-length: ").nth(1).map_or("0", |rest| rest.split("\r\n").next().unwrap());
    client.read_exact(&mut vec![0; length.parse().unwrap()]).unwrap();
    head.lines().next().unwrap().to_owned()
}

/// Each of them is the second request of its connection.
const FLAWED: [(&str, Reason); 24] = [
    (
        "POST / HTTP/1.1\r\nHost: hub.example\r\nContent-Length: 4\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n",
        Reason::HttpMalformed,
    ),
    (
        "POST / HTTP/1.1\r\nHost: hub.example\r\nTransfer-Encoding: chunked\r\nContent-Length: 4\r\n\r\n0\r\n\r\n",
        Reason::HttpMalformed,
    ),
    (
        "POST / HTTP/1.1\r\nHost: hub.example\r\nContent-Length: 4\r\nContent-Length: 5\r\n\r\nabcd",
        Reason::HttpMalformed,
    ),
    (
        "POST / HTTP/1.1\r\nHost: hub.example\r\nContent-Length: 4\r\nContent-Length: 4\r\n\r\nabcd",
        Reason::HttpMalformed,
    ),
    ("POST / HTTP/1.1\r\nHost: hub.example\r\nContent-Length: 4, 4\r\n\r\nabcd", Reason::HttpMalformed),
    ("POST / HTTP/1.1\r\nHost: hub.example\r\nContent-Length: +4\r\n\r\nabcd", Reason::HttpMalformed),
    ("POST / HTTP/1.1\r\nHost: hub.example\r\nContent-Length : 4\r\n\r\nabcd", Reason::HttpMalformed),
    (
        "POST / HTTP/1.1\r\nHost: hub.example\r\nTransfer-Encoding: xchunked\r\n\r\n0\r\n\r\n",
        Reason::HttpMalformed,
    ),
    (
        "POST / HTTP/1.1\r\nHost: hub.example\r\nTransfer-Encoding: gzip, chunked\r\n\r\n0\r\n\r\n",
        Reason::HttpMalformed,
    ),
    (
        "POST / HTTP/1.1\r\nHost: hub.example\r\nTransfer-Encoding: chunked\r\nTransfer-Encoding: identity\r\n\r\n0\r\n\r\n",
        Reason::HttpMalformed,
    ),
    (
        "POST / HTTP/1.0\r\nHost: hub.example\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n",
        Reason::HttpMalformed,
    ),
    ("GET / HTTP/1.1\r\nHost: hub.example\r\nContent-Length: 4\r\n\r\nGET ", Reason::HttpMalformed),
    ("GET / HTTP/1.1\r\nHost: hub.example\r\nX: a\r\n b\r\n\r\n", Reason::HttpMalformed),
    ("GET / HTTP/1.1\r\n Host: hub.example\r\n\r\n", Reason::HttpMalformed),
    ("GET / HTTP/1.1\r\nHost: hub.example\nX: 1\r\n\r\n", Reason::HttpMalformed),
    ("GET / HTTP/1.1\r\nHost: hub.example\r\nX: a\rb\r\n\r\n", Reason::HttpMalformed),
    ("GET / HTTP/1.1\r\nHost: hub.example\r\nX: a\0b\r\n\r\n", Reason::HttpMalformed),
    ("GET / HTTP/1.1\r\nHost: hub.example\r\nHost: hub.example\r\n\r\n", Reason::HttpHost),
    ("GET / HTTP/1.1\r\nHost: hub.example\r\nHost: other.example\r\n\r\n", Reason::HttpHost),
    ("GET http://other.example/ HTTP/1.1\r\nHost: hub.example\r\n\r\n", Reason::HttpHost),
    ("GET / HTTP/1.1\r\n\r\n", Reason::HttpHost),
    ("GET  / HTTP/1.1\r\nHost: hub.example\r\n\r\n", Reason::Opaque),
    ("PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n", Reason::HttpTunnel),
    ("GET / HTTP/1.1 X\r\nHost: hub.example\r\n\r\n", Reason::Opaque),
];

#[test]
fn what_could_be_read_in_two_ways_is_cut_and_reaches_no_server() {
    for way in [Way::Clear, Way::Tls1] {
        let world = World::new(way, anything());
        for (bytes, reason) in FLAWED {
            let mut client = connect(&world);
            client.write_all(FIRST.as_bytes()).unwrap();
            assert_eq!(answer(client.as_mut()), "http/1.1 200 ok");
            client.write_all(bytes.as_bytes()).unwrap();
            client.flush().unwrap();
            let record = world.proxy.record();
            assert_eq!((record.reason, record.end), (reason, End::Cut), "{way:?} {bytes:?}");
            let mut rest = vec![];
            let _reset = client.read_to_end(&mut rest);
            assert!(rest.is_empty(), "{bytes:?} is answered with nothing");
            assert_eq!(world.seen.recv_timeout(PATIENCE).unwrap().target, "/first");
        }
        assert!(world.seen.try_recv().is_err(), "{way:?}");
        let paths: Vec<String> = world.proxy.calls.try_iter().map(|call| call.path).collect();
        assert_eq!(paths, vec!["/first"; FLAWED.len()], "what was no request has no record");
    }
}

/// What is broken within a body: the server began to read it, and it is never whole.
#[test]
fn a_broken_chunk_breaks_the_request() {
    let head = "POST /body HTTP/1.1\r\nHost: hub.example\r\nTransfer-Encoding: chunked\r\n\r\n4\r\nabcd\r\n";
    for way in [Way::Clear, Way::Tls1] {
        for rest in [
            "x\r\n",
            "-1\r\n",
            "4;ext=1\r\nabcd\r\n0\r\n\r\n",
            "4\nabcd\r\n",
            "4\r\nabcdE\r\n",
            "ffffffffffffffff1\r\n",
            "0x4\r\nabcd\r\n",
            "0\r\nContent-Length: 5\r\n\r\n",
            "0\r\nHost: other.example\r\n\r\n",
            "0\r\n X: 1\r\n\r\n",
            "4;a=\rb\r\nabcd\r\n0\r\n\r\n",
            "4;a=\"\r\n\"\r\nabcd\r\n0\r\n\r\n",
            "4 \r\nabcd\r\n0\r\n\r\n",
            " 4\r\nabcd\r\n0\r\n\r\n",
            "+4\r\nabcd\r\n0\r\n\r\n",
            "0_4\r\nabcd\r\n0\r\n\r\n",
            "\r\nabcd\r\n0\r\n\r\n",
            "4\r\r\nabcd\r\n0\r\n\r\n",
            "8000000000000000\r\nabcd\r\n0\r\n\r\n",
            "10000000000000004\r\nabcd\r\n0\r\n\r\n",
            "4\r\nabcd\n0\r\n\r\n",
            "4\r\nabcd0\r\n\r\n",
            "0\n\r\n",
            "0\r\n\n",
            "0\r\nTransfer-Encoding: chunked\r\n\r\n",
            "0\r\nX: 1\r\n Y: 2\r\n\r\n",
            "0\r\nX Y: 1\r\n\r\n",
            "0\r\nX\r\n\r\n",
        ] {
            let world = World::new(way, anything());
            let mut client = connect(&world);
            client.write_all(format!("{head}{rest}").as_bytes()).unwrap();
            client.flush().unwrap();
            let record = world.proxy.record();
            assert_eq!((record.reason, record.end), (Reason::HttpMalformed, End::Cut), "{way:?} {rest:?}");
            drop(client);
            assert!(world.seen.try_iter().all(|seen| seen.body.is_none()), "{rest:?}");
            let calls: Vec<_> = world.proxy.calls.try_iter().map(|call| call.end).collect();
            assert!(calls.iter().all(|end| *end != End::Closed) && calls.len() <= 1, "{rest:?} {calls:?}");
        }
    }
}

/// What whoever smuggles wants to get to the server unjudged, behind what is written before it.
const SMUGGLED: &str = "GET /smuggled HTTP/1.1\r\nHost: hub.example\r\n\r\n";

/// Lines of a head, behind `POST /a HTTP/1.1` and its host, which no two readers may take in different ways.
const ODD_FIELDS: [&str; 30] = [
    "Transfer-Encoding: chunked, identity",
    "Transfer-Encoding: identity, chunked",
    "Transfer-Encoding: identity",
    "Transfer-Encoding: chunked, chunked",
    "Transfer-Encoding: chunked\r\nTransfer-Encoding: chunked",
    "Transfer-Encoding: chunked\r\nTransfer-Encoding: x",
    "Transfer-Encoding: \"chunked\"",
    "Transfer-Encoding: chunked;q=1",
    "Transfer-Encoding: ,chunked",
    "Transfer-Encoding:\u{b}chunked",
    "Transfer-Encoding: chunked\u{a0}",
    "Transfer-Encoding:\r\n chunked",
    "Transfer-Encoding : chunked",
    "Transfer-Encoding\t: chunked",
    "Transfer-Encoding\0: chunked",
    "Transfer-Encoding:",
    "Transfer-Encoding: chunked\r\nconTENT-length: 5",
    "Content-Length: 0x5",
    "Content-Length: 0_5",
    "Content-Length: -5",
    "Content-Length:",
    "Content-Length: 5 5",
    "Content-Length: 5;5",
    "Content-Length: 18446744073709551621",
    "Content-Length\0: 5",
    "X Y: 1\r\nContent-Length: 5",
    "X\0Y: 1\r\nContent-Length: 5",
    ": 1\r\nContent-Length: 5",
    "X\r\nContent-Length: 5",
    "X: 1\r\n\tContent-Length: 5",
];

/// Whole heads of that kind.
const ODD_HEADS: [&str; 16] = [
    "GET /a\r\n",
    "GET /a\r\n\r\n",
    "GET /a HTTP/0.9\r\nHost: hub.example\r\n\r\n",
    "GET /a HTTP/1.2\r\nHost: hub.example\r\n\r\n",
    "GET /a HTTP/01.1\r\nHost: hub.example\r\n\r\n",
    "GET /a http/1.1\r\nHost: hub.example\r\n\r\n",
    "GET\t/a HTTP/1.1\r\nHost: hub.example\r\n\r\n",
    "GET /a\0 HTTP/1.1\r\nHost: hub.example\r\n\r\n",
    "\r\nGET /a HTTP/1.1\r\nHost: hub.example\r\n\r\n",
    "GET /a HTTP/1.1\nHost: hub.example\n\n",
    "GET /a HTTP/1.1\r\nHost: hub.example\r\n\n",
    "GET /a HTTP/1.1\r\nHost: hub.example\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n",
    "HEAD /a HTTP/1.1\r\nHost: hub.example\r\nContent-Length: 5\r\n\r\n0\r\n\r\n",
    "POST /a HTTP/1.0\r\nHost: hub.example\r\nConnection: keep-alive\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n",
    "GET https://hub.example/a HTTP/1.1\r\nHost: hub.example\r\n\r\n",
    "GET http://hub.example@other.example/a HTTP/1.1\r\nHost: hub.example\r\n\r\n",
];

/// Requests that are odd and have one meaning, and as what the server gets them, with what is behind them.
const ODD_AND_SOUND: [(&str, &[(&str, &str)]); 10] = [
    (
        "POST /a HTTP/1.1\r\nHost: hub.example\r\nTransfer-Encoding: Chunked\r\n\r\n2\r\nok\r\n0\r\n\r\n",
        &[("POST /a", "ok"), BEHIND],
    ),
    (
        "POST /a HTTP/1.1\r\nHost: hub.example\r\nTransfer-Encoding:\tchunked\t\r\n\r\n02\r\nok\r\n0\r\nX: 1\r\n\r\n",
        &[("POST /a", "ok"), BEHIND],
    ),
    (
        "POST /a HTTP/1.1\r\nHost: hub.example\r\nConnection: content-length\r\nContent-Length: 2\r\n\r\nok",
        &[("POST /a", "ok"), BEHIND],
    ),
    (
        "POST /a HTTP/1.1\r\nHost: hub.example\r\nConnection: transfer-encoding\r\nTransfer-Encoding: chunked\r\n\r\n2\r\nok\r\n0\r\n\r\n",
        &[("POST /a", "ok"), BEHIND],
    ),
    (
        "POST /a HTTP/1.1\r\nHost: hub.example\r\nConnection: host\r\nContent-Length: 2\r\n\r\nok",
        &[("POST /a", "ok"), BEHIND],
    ),
    (
        "POST /a HTTP/1.1\r\nHost: hub.example\r\nContent_Length: 9\r\nTransfer_Encoding: chunked\r\nContent-Length: 2\r\n\r\nok",
        &[("POST /a", "ok"), BEHIND],
    ),
    ("POST /a HTTP/1.1\r\nHost: hub.example\r\nContent-Length: 002\r\n\r\nok", &[("POST /a", "ok"), BEHIND]),
    (
        "POST http://HUB.example/a HTTP/1.1\r\nHost: hub.example\r\nContent-Length: 2\r\n\r\nok",
        &[("POST /a", "ok"), BEHIND],
    ),
    ("POST /a HTTP/1.1\r\nHost: hub.example\r\nContent-Length: 45\r\n\r\n", &[("POST /a", SMUGGLED)]),
    (
        "POST /a HTTP/1.1\r\nHost: hub.example\r\nTransfer-Encoding: chunked\r\n\r\n2\r\n\r\n\r\n0\r\n\r\n",
        &[("POST /a", "\r\n"), BEHIND],
    ),
];
const BEHIND: (&str, &str) = ("GET /smuggled", "");

/// The first request in bytes, as one who believes nothing finds it: method and target, and its body; and what is behind it.
/// Nothing where it has no end.
fn whole(bytes: &[u8]) -> Option<((String, String), &[u8])> {
    let end = bytes.windows(4).position(|at| at == b"\r\n\r\n")?;
    let head = std::str::from_utf8(&bytes[..end]).unwrap();
    assert!(!head.replace("\r\n", "").contains(['\r', '\n', '\0']), "{head:?}");
    let mut lines = head.split("\r\n");
    let line = lines.next().unwrap().strip_suffix(" HTTP/1.1").unwrap().to_owned();
    let fields: Vec<(String, &str)> = lines
        .map(|line| line.split_once(": ").unwrap())
        .map(|(name, value)| (name.to_ascii_lowercase(), value))
        .collect();
    let of = |name: &str| -> Vec<&str> {
        fields.iter().filter(|(known, _)| known == name).map(|(_, value)| *value).collect()
    };
    let (lengths, codings) = (of("content-length"), of("transfer-encoding"));
    assert!(of("host").len() == 1 && lengths.len() + codings.len() <= 1, "{head:?}");
    let (mut rest, mut body) = (&bytes[end + 4..], Vec::new());
    for length in lengths {
        assert!(length.bytes().all(|byte| byte.is_ascii_digit()), "{head:?}");
        let (own, behind) = rest.split_at_checked(length.parse().unwrap())?;
        (body, rest) = (own.to_vec(), behind);
    }
    for coding in codings {
        assert_eq!(coding, "chunked", "{head:?}");
        loop {
            let end = rest.windows(2).position(|at| at == b"\r\n")?;
            let size = usize::from_str_radix(std::str::from_utf8(&rest[..end]).unwrap(), 16).unwrap();
            let (own, behind) = rest[end + 2..].split_at_checked(size)?;
            body.extend(own);
            let (line_end, behind) = behind.split_at_checked(2)?;
            assert_eq!(line_end, b"\r\n", "{head:?}");
            rest = behind;
            if size == 0 {
                break;
            }
        }
    }
    Some(((line, String::from_utf8(body).unwrap()), rest))
}

/// All of a connection, and how many bytes are behind the last that is whole.
fn all_whole(mut bytes: &[u8]) -> (Vec<(String, String)>, usize) {
    let mut all = Vec::new();
    while let Some((request, rest)) = whole(bytes) {
        all.push(request);
        bytes = rest;
    }
    (all, bytes.len())
}

/// A server that answers every whole request, and tells what came over each connection, one after the other.
fn telling(listener: TcpListener) -> Receiver<Vec<u8>> {
    let (tell, told) = channel();
    std::thread::spawn(move || {
        for stream in listener.incoming() {
            let mut stream = patient(stream.unwrap());
            let (mut came, mut answered, mut piece) = (Vec::new(), 0, [0; 4096]);
            while let Ok(length @ 1..) = stream.read(&mut piece) {
                came.extend_from_slice(&piece[..length]);
                while answered < all_whole(&came).0.len() {
                    answered += 1;
                    let _gone = stream.write_all(b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok");
                }
            }
            if tell.send(came).is_err() {
                return;
            }
        }
    });
    told
}

/// Sends this behind a sound request, and what is smuggled behind it. The server must get these requests, each as it was judged, or
/// nothing more; where nothing, the connection is cut.
fn check_behind(proxy: &Proxy, told: &Receiver<Vec<u8>>, bytes: &str, expected: &[(&str, &str)]) {
    let mut client = proxy.connect();
    client.write_all(FIRST.as_bytes()).unwrap();
    assert_eq!(answer(&mut client), "http/1.1 200 ok");
    client.write_all(format!("{bytes}{SMUGGLED}").as_bytes()).unwrap();
    for _ in expected {
        assert_eq!(answer(&mut client), "http/1.1 200 ok", "{bytes:?}");
    }
    if expected.is_empty() {
        let mut rest = Vec::new();
        let _reset = client.read_to_end(&mut rest);
        assert!(rest.is_empty(), "{bytes:?} is answered with nothing");
    }
    drop(client);
    let record = proxy.record();
    assert_eq!(record.end == End::Cut, expected.is_empty(), "{bytes:?} {record:?}");
    // Behind it all that the proxy sent is there.
    TcpStream::connect(proxy.server.local_addr().unwrap()).unwrap().write_all(b"end").unwrap();
    let came: Vec<_> = std::iter::from_fn(|| Some(told.recv_timeout(PATIENCE).unwrap()))
        .take_while(|it| it != b"end")
        .collect();
    let came: Vec<_> = came.iter().map(|bytes| all_whole(bytes)).collect();
    assert!(came.iter().all(|(_, rest)| *rest == 0), "{bytes:?}: a part of a request: {came:?}");
    let came: Vec<_> = came.into_iter().flat_map(|(all, _)| all).collect();
    let first = std::iter::once(&("GET /first", ""));
    let meant: Vec<_> =
        first.chain(expected).map(|(line, body)| ((*line).to_owned(), (*body).to_owned())).collect();
    assert_eq!(came, meant, "{bytes:?}");
    let judged: Vec<_> =
        proxy.calls.try_iter().map(|call| (call.reason, format!("{} {}", call.method, call.path))).collect();
    let meant: Vec<_> = meant.into_iter().map(|(line, _)| (Reason::RequestAllowed, line)).collect();
    assert_eq!(judged, meant, "{bytes:?}");
}

/// Classes as the HTTP Garden has them (<https://github.com/narfindustries/http-garden>), in words of our own.
#[test]
fn the_server_gets_nothing_or_one_sound_request_that_is_the_one_that_was_judged() {
    let proxy = Proxy::start(Some(state_of(anything(), Ceiling::default(), None)), Limits::default());
    let told = telling(proxy.server.try_clone().unwrap());
    for fields in ODD_FIELDS {
        let bytes = format!("POST /a HTTP/1.1\r\nHost: hub.example\r\n{fields}\r\n\r\n0\r\n\r\n");
        check_behind(&proxy, &told, &bytes, &[]);
    }
    for bytes in ODD_HEADS {
        check_behind(&proxy, &told, bytes, &[]);
    }
    for (bytes, expected) in ODD_AND_SOUND {
        check_behind(&proxy, &told, bytes, expected);
    }
}

#[test]
fn pipelined_requests_are_answered_one_by_one_however_they_are_split() {
    let two =
        format!("{FIRST}POST /second HTTP/1.1\r\nHost: HUB.example\r\nContent-Length: 2\r\n\r\nab{FIRST}");
    for size in [1, 7, 1000] {
        let world = World::new(Way::Tls1, anything());
        let mut client = connect(&world);
        for piece in two.as_bytes().chunks(size) {
            client.write_all(piece).unwrap();
            client.flush().unwrap();
        }
        for _ in 0..3 {
            assert_eq!(answer(client.as_mut()), "http/1.1 200 ok");
        }
        let seen: Vec<_> = (0..3).map(|_| world.seen.recv_timeout(PATIENCE).unwrap()).collect();
        assert_eq!(seen[1].body.as_deref(), Some(&b"ab"[..]));
        let targets: Vec<&str> = seen.iter().map(|seen| seen.target.as_str()).collect();
        assert_eq!(targets, ["/first", "/second", "/first"]);
    }
}

#[test]
fn tunnels_are_refused_and_are_the_last_of_their_connection() {
    for (bytes, reason) in [
        ("CONNECT hub.example:443 HTTP/1.1\r\nHost: hub.example\r\n\r\n", Reason::HttpTunnel),
        ("connect / HTTP/1.1\r\nHost: hub.example\r\n\r\n", Reason::HttpTunnel),
        (
            "GET / HTTP/1.1\r\nHost: hub.example\r\nConnection: Upgrade, HTTP2-Settings\r\nUpgrade: h2c\r\nHTTP2-Settings: AAMAAABk\r\n\r\n",
            Reason::HttpTunnel,
        ),
        (
            "POST / HTTP/1.1\r\nHost: hub.example\r\nConnection: Upgrade\r\nUpgrade: websocket\r\nContent-Length: 4\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n",
            Reason::HttpTunnel,
        ),
        (
            "GET / HTTP/1.1\r\nHost: hub.example\r\nConnection: Upgrade\r\nUpgrade: websocket\r\nHost: other.example\r\n\r\n",
            Reason::HttpHost,
        ),
    ] {
        let world = World::new(Way::Tls1, anything());
        let mut client = connect(&world);
        client.write_all(format!("{bytes}{FIRST}").as_bytes()).unwrap();
        client.flush().unwrap();
        let refused = answer(client.as_mut());
        let is_refused =
            ["403", "400"].map(|status| refused.starts_with(&format!("http/1.1 {status} refused by")));
        assert!(is_refused.contains(&true), "{refused}");
        let _end = client.read_to_end(&mut vec![]);
        let call = world.proxy.call();
        assert_eq!((call.reason, call.end), (reason, End::Refused), "{bytes:?}");
        drop(client);
        assert_eq!(world.proxy.record().end, End::Closed);
        assert!(world.seen.try_recv().is_err(), "{bytes:?}");
        assert!(world.proxy.calls.try_recv().is_err(), "what came behind it was not read");
    }
}

#[test]
fn heads_are_bounded() {
    let many = "X: 1\r\n".repeat(200);
    let long = format!("X: {}\r\n", "x".repeat(20_000));
    for (fields, how) in [(many, "many"), (long, "long")] {
        let world = World::new(Way::Tls1, anything());
        let mut client = connect(&world);
        let _reset =
            client.write_all(format!("GET / HTTP/1.1\r\nHost: hub.example\r\n{fields}\r\n").as_bytes());
        let _reset = client.flush();
        let mut back = vec![];
        let _reset = client.read_to_end(&mut back);
        assert!(!back.starts_with(b"HTTP/1.1 200"), "{how}");
        let record = world.proxy.record();
        assert_eq!((record.reason, record.end), (Reason::HttpTooLarge, End::Cut), "{how}");
        assert!(world.seen.try_recv().is_err(), "{how}");
    }
}

#[test]
fn a_head_that_does_not_come_to_its_end_is_cut_and_an_idle_connection_is_not() {
    let limits = Limits { header_timeout: Duration::from_millis(300), ..Limits::default() };
    for way in [Way::Clear, Way::Tls1] {
        let world = World::with(way, anything(), Ceiling::default(), limits.clone(), true);
        let mut client = connect(&world);
        for _ in 0..2 {
            client.write_all(FIRST.as_bytes()).unwrap();
            assert_eq!(answer(client.as_mut()), "http/1.1 200 ok");
            // Longer than a head may take.
            std::thread::sleep(limits.header_timeout * 2);
        }
        client.write_all(b"GET / HTTP/1.1\r\nHost: hub").unwrap();
        client.flush().unwrap();
        let record = world.proxy.record();
        assert_eq!((record.reason, record.end), (Reason::Timeout, End::Cut), "{way:?}");
        let mut client = connect(&world);
        client.write_all(FIRST.as_bytes()).unwrap();
        assert_eq!(answer(client.as_mut()), "http/1.1 200 ok");
        client.write_all(b"GET / HTTP/1.1\r\nUpgrade: websocket\r\nHost: hub").unwrap();
        client.flush().unwrap();
        let record = world.proxy.record();
        assert_eq!((record.reason, record.end), (Reason::Timeout, End::Cut), "{way:?}");
    }
}

#[test]
fn what_is_refused_is_not_read_as_the_next_request() {
    let world = World::new(Way::Tls1, nothing());
    let mut client = connect(&world);
    let body = FIRST;
    let outer =
        format!("POST /outer HTTP/1.1\r\nHost: hub.example\r\nContent-Length: {}\r\n\r\n{body}", body.len());
    client.write_all(format!("{outer}GET /next HTTP/1.1\r\nHost: hub.example\r\n\r\n").as_bytes()).unwrap();
    client.flush().unwrap();
    for path in ["/outer", "/next"] {
        let refused = answer(client.as_mut());
        assert!(refused.starts_with("http/1.1 403 refused by"), "{refused}");
        assert_eq!(world.proxy.call().path, path);
    }
    assert!(world.seen.try_recv().is_err());
}

/// More than whoever reads within bounds lets a server write: sockets of two connections hold some of it.
const TOO_MUCH: usize = 96 << 20;

/// A proxy before a server that writes this when it was asked, then `again` on and on with a pause, and closes where that is empty;
/// how much of it it could write.
fn before(first: Vec<u8>, again: Vec<u8>, pause: Duration) -> (Proxy, JoinHandle<usize>) {
    let proxy = Proxy::start(Some(state_of(anything(), Ceiling::default(), None)), Limits::default());
    let listener = proxy.server.try_clone().unwrap();
    let server = std::thread::spawn(move || {
        let mut stream = patient(listener.accept().unwrap().0);
        stream.set_write_timeout(Some(PATIENCE / 2)).unwrap();
        let mut head = Vec::new();
        while !head.ends_with(b"\r\n\r\n") {
            let mut byte = [0];
            stream.read_exact(&mut byte).unwrap();
            head.push(byte[0]);
        }
        let (mut goes_on, mut written) = (stream.write_all(&first).is_ok(), first.len());
        while goes_on && !again.is_empty() && written < TOO_MUCH {
            goes_on = stream.write_all(&again).is_ok();
            written += again.len();
            std::thread::sleep(pause);
        }
        let _gone = stream.shutdown(std::net::Shutdown::Write);
        let _ended = std::io::copy(&mut stream, &mut std::io::sink());
        written
    });
    (proxy, server)
}

fn ask(proxy: &Proxy) -> TcpStream {
    let mut client = proxy.connect();
    client.write_all(b"GET / HTTP/1.1\r\nHost: hub.example\r\nConnection: close\r\n\r\n").unwrap();
    client
}

/// Answers, and whether one of status 200 with the body `ok` may come of it.
const ANSWERS: [(&str, bool); 27] = [
    ("HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok", true),
    ("HTTP/1.1 200 OK\nContent-Length: 2\n\nok", true),
    (
        "HTTP/1.1 100 Continue\r\n\r\nHTTP/1.1 103 Early Hints\r\nX: y\r\n\r\nHTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok",
        true,
    ),
    ("HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nokHTTP/1.1 200 OK\r\nContent-Length: 4\r\n\r\nevil", true),
    ("HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nokevil", true),
    (
        "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\nContent-Length: 9\r\n\r\n2\r\nok\r\n0\r\n\r\nevil",
        false,
    ),
    (
        "HTTP/1.1 200 OK\r\nContent-Length: 9\r\nTransfer-Encoding: chunked\r\n\r\n2\r\nok\r\n0\r\n\r\nevil",
        false,
    ),
    ("HTTP/1.1 200 OK\r\nContent-Length: 2\r\nContent-Length: 6\r\n\r\nokevil", false),
    ("HTTP/1.1 200 OK\r\nContent-Length: 2, 6\r\n\r\nokevil", false),
    ("HTTP/1.1 200 OK\r\nContent-Length: -2\r\n\r\nevil", false),
    ("HTTP/1.1 200 OK\r\nContent-Length: 99999999999999999999\r\n\r\nevil", false),
    ("HTTP/1.1 200 OK\r\nContent-Length: 9\r\n\r\nok", false),
    ("HTTP/1.1 200 OK\r\nContent-Length : 4\r\n\r\nevil", false),
    ("HTTP/1.1 200 OK\r\nX: a\rSet-Cookie: evil\r\nContent-Length: 2\r\n\r\nok", false),
    ("HTTP/1.1 200 OK\r\nX: a\r\n Set-Cookie: evil\r\nContent-Length: 2\r\n\r\nok", false),
    ("HTTP/1.1 200 OK\r\nX: a\0evil\r\nContent-Length: 2\r\n\r\nok", false),
    ("HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\nzz\r\nevil", false),
    ("HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n2\r\nokevil", false),
    ("HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\nffffffffffffffff1\r\nevil", false),
    ("HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n2\r\nok\r\n", false),
    ("HTTP/1.1 101 Switching Protocols\r\nConnection: upgrade\r\nUpgrade: x\r\n\r\nevil", false),
    ("HTTP/1.1 204 No Content\r\nContent-Length: 4\r\n\r\nevil", false),
    ("HTTP/1.1 304 Not Modified\r\nContent-Length: 4\r\n\r\nevil", false),
    ("HTTP/2.0 200 OK\r\nContent-Length: 4\r\n\r\nevil", false),
    ("evil", false),
    ("HTTP/1.1 100 Continue\r\n\r\nevil", false),
    ("", false),
];

#[test]
fn what_a_server_answers_comes_to_a_client_in_one_reading_or_not_at_all() {
    for (bytes, may_be_whole) in ANSWERS {
        let (proxy, server) = before(bytes.into(), Vec::new(), Duration::ZERO);
        let mut client = ask(&proxy);
        let mut told = Vec::new();
        let _reset = client.read_to_end(&mut told);
        let told = String::from_utf8(told).unwrap().to_ascii_lowercase();
        let (head, body) = told.split_once("\r\n\r\n").unwrap_or((&told, ""));
        let framings: Vec<&str> = head
            .lines()
            .filter(|line| line.starts_with("content-length:") || line.starts_with("transfer-encoding:"))
            .collect();
        assert!(framings.len() <= 1 && !head.contains("\n "), "{bytes:?}: {told:?}");
        assert!(!head.replace("\r\n", "").contains(['\r', '\n', '\0']), "{bytes:?}: {told:?}");
        assert!(!told.contains("evil"), "{bytes:?}: {told:?}");
        assert_eq!(
            told.matches("http/1.1 ").count().min(2),
            usize::from(!told.is_empty()),
            "{bytes:?}: {told:?}"
        );
        let is_whole = head.starts_with("http/1.1 200") && (body == "ok" || body == "2\r\nok\r\n0\r\n\r\n");
        let is_cut = framings == ["content-length: 9"];
        assert_eq!(is_whole && !is_cut, may_be_whole, "{bytes:?}: {told:?}");
        // Of two lengths nothing is passed on.
        let is_twofold = bytes.contains("Transfer-Encoding") && bytes.contains("Content-Length");
        assert!(!is_twofold || head.starts_with("http/1.1 502"), "{bytes:?}: {told:?}");
        let _ended = proxy.record();
        server.join().unwrap();
    }
}

#[test]
fn a_head_of_an_answer_that_never_ends_is_given_up() {
    let field = format!("X-1: {}\r\n", "y".repeat(1000));
    let chunked = "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n";
    for (first, again) in [
        ("HTTP/1.1 200 ", "reason ".repeat(1000)),
        ("HTTP/1.1 200 OK\r\n", field.clone()),
        ("HTTP/1.1 200 OK\r\nX: ", "y".repeat(1000)),
        ("HTTP/1.1 200 OK\r\n", "A: b\r\n".repeat(100)),
        (&format!("{chunked}2;"), "x".repeat(1000)),
        (&format!("{chunked}0\r\n"), field.clone()),
        (&format!("{chunked}1\r\na\r\n0\r\n"), "A: b\r\n".repeat(100)),
    ] {
        let (proxy, server) = before(first.into(), again.clone().into(), Duration::ZERO);
        let mut told = Vec::new();
        let _reset = ask(&proxy).read_to_end(&mut told);
        let told = String::from_utf8(told).unwrap();
        assert!(!told.ends_with("\r\n0\r\n\r\n"), "{first:?} {:?}: {told:?}", &again[..6]);
        let _ended = proxy.record();
        assert!(server.join().unwrap() < TOO_MUCH, "{first:?} {:?}", &again[..6]);
    }
}

#[test]
fn what_a_server_sends_without_end_waits_for_its_client_and_ends_with_it() {
    let chunk = format!("2000\r\n{}\r\n", "x".repeat(0x2000));
    let (none, some) = (Duration::ZERO, Duration::from_millis(10));
    for (first, again, pause) in [
        ("HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n", chunk, none),
        ("HTTP/1.1 200 OK\r\n\r\n", "x".repeat(0x2000), none),
        // The length of a chunk may have zeros without end; nothing is kept of them.
        ("HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n", "0".repeat(100), some),
        ("HTTP/1.1 200 OK\r\nX: ", "x".to_owned(), some),
        ("HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n", "1\r\nx\r\n".to_owned(), some),
        ("", "HTTP/1.1 100 Continue\r\n\r\n".repeat(20), some),
    ] {
        let (proxy, server) = before(first.into(), again.into(), pause);
        let client = ask(&proxy);
        // It reads nothing, for so long that all that has room anywhere is full.
        std::thread::sleep(Duration::from_millis(300));
        assert!(proxy.records.try_recv().is_err(), "{first:?}: it goes on");
        drop(client);
        let _ended = proxy.record();
        assert!(server.join().unwrap() < TOO_MUCH, "{first:?}");
    }
}
