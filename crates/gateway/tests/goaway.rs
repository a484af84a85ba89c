//! Servers of HTTP/2 that go away, or refuse a request: what they did nothing with goes to them once more, and nothing else.

#![allow(
    clippy::unwrap_used,
    clippy::panic,
    clippy::indexing_slicing,
    reason = "a test's helpers fail the test"
)]

use crate::http2::{
    DATA, END_HEADERS, END_STREAM, HEADERS, PREFACE, RST_STREAM, SETTINGS, answered, client_of, fields,
    frame, goaway, proxy,
};
use crate::support::web::{Client, full, request, run};
use crate::support::{PATIENCE, Proxy, patient};
use http_body_util::BodyExt;
use std::io::{Read, Write};
use std::net::{TcpListener, TcpStream};
use std::sync::Arc;
use std::sync::mpsc::channel;
use std::thread::JoinHandle;
use tokio::sync::Notify;

/// What a server does with one connection: up to which kind of frame it reads a request, what it says then, and whether it closes it.
struct Turn {
    reads: u8,
    says: Vec<u8>,
    closes: bool,
}

fn turn(reads: u8, says: Vec<u8>) -> Turn {
    Turn { reads, says, closes: false }
}

fn ok() -> Vec<u8> {
    let head = frame(HEADERS, END_HEADERS, 1, &fields(&[(":status", "200")]));
    [head, frame(DATA, END_STREAM, 1, b"ok")].concat()
}

/// The end of a stream, for this reason.
fn reset(reason: u8) -> Vec<u8> {
    frame(RST_STREAM, 0, 1, &[0, 0, 0, reason])
}

/// The next connection, and as much of its request's body as comes up to a frame of this kind. `None`: nobody speaks HTTP/2 there.
fn taken(listener: &TcpListener, reads: u8) -> Option<(TcpStream, Vec<u8>)> {
    let mut stream = patient(listener.accept().ok()?.0);
    stream.read_exact(&mut [0; PREFACE.len()]).ok()?;
    let mut body = Vec::new();
    loop {
        let mut head = [0; 9];
        stream.read_exact(&mut head).ok()?;
        let length = u32::from_be_bytes([0, head[0], head[1], head[2]]);
        let mut payload = vec![0; length as usize];
        stream.read_exact(&mut payload).ok()?;
        if head[3] == DATA {
            body.extend(payload);
        }
        let is_whole = [HEADERS, DATA].contains(&head[3]) && head[4] & END_STREAM != 0;
        if is_whole || head[3] == HEADERS && reads == HEADERS {
            return Some((stream, body));
        }
    }
}

fn say(stream: &mut TcpStream, bytes: &[u8]) {
    let begun = [&frame(SETTINGS, 0, 0, &[])[..], &frame(SETTINGS, 1, 0, &[]), bytes].concat();
    stream.write_all(&begun).unwrap();
}

/// Takes these turns, one connection after the other; returns the bodies that came.
fn server(proxy: &Proxy, turns: Vec<Turn>) -> JoinHandle<Vec<Vec<u8>>> {
    let listener = proxy.server.try_clone().unwrap();
    std::thread::spawn(move || {
        let (mut open, mut bodies) = (Vec::new(), Vec::new());
        for turn in turns {
            let Some((mut stream, body)) = taken(&listener, turn.reads) else { break };
            bodies.push(body);
            say(&mut stream, &turn.says);
            open.extend((!turn.closes).then_some(stream));
        }
        for mut stream in open {
            // It leaves it to the other side to end it.
            let _ended = std::io::copy(&mut stream, &mut std::io::sink());
        }
        bodies
    })
}

/// What a client is answered that stores something, which bodies came to the server, and what is told of the request.
fn stored(turns: Vec<Turn>) -> (u16, Option<Vec<u8>>, Vec<Vec<u8>>, u16) {
    let proxy = proxy();
    let server = server(&proxy, turns);
    let (status, body) = run(async {
        let mut client = client_of(&proxy).await;
        let answer = client.send(request("POST", "/", full("hello"))).await.unwrap();
        let (head, body) = answer.into_parts();
        (head.status.as_u16(), body.collect().await.ok().map(|body| body.to_bytes().to_vec()))
    });
    assert!(proxy.nobody_came());
    // A server that waits for somebody sees that nobody comes.
    drop(TcpStream::connect(proxy.server.local_addr().unwrap()));
    let _ended = proxy.record();
    let told = proxy.calls.recv_timeout(PATIENCE).unwrap();
    assert!(proxy.calls.try_recv().is_err(), "a request is told once");
    (status, body, server.join().unwrap(), told.status)
}

#[test]
fn what_a_server_did_nothing_with_goes_to_it_once_more() {
    for (what, reads, says) in [
        ("it goes before the request is whole", HEADERS, goaway(0, b"")),
        ("it goes", DATA, goaway(0, b"bye")),
        ("it goes in two steps", DATA, [goaway(0x7fff_ffff, b""), goaway(0, b"")].concat()),
        ("it refuses before the request is whole", HEADERS, reset(7)),
        ("it refuses", DATA, reset(7)),
    ] {
        let (status, body, bodies, told) = stored(vec![turn(reads, says), turn(DATA, ok())]);
        assert_eq!((status, body.as_deref(), told), (200, Some(&b"ok"[..]), 200), "{what}");
        assert_eq!((bodies.len(), &bodies[1][..]), (2, &b"hello"[..]), "{what}");
    }
}

#[test]
fn what_a_server_may_have_done_something_with_goes_to_it_once() {
    for (what, says, closes) in [
        ("it took it, and goes", goaway(1, b""), true),
        ("it goes, and does not say from where on", goaway(0x7fff_ffff, b""), true),
        ("it ends without a word", Vec::new(), true),
        ("it took it, and breaks off", reset(2), false),
        ("it took it, and does not want it any more", reset(8), false),
    ] {
        let (status, _, bodies, told) = stored(vec![Turn { reads: DATA, says, closes }]);
        assert_eq!((status, told, bodies.len()), (502, 502, 1), "{what}");
    }
}

#[test]
fn what_is_refused_again_is_not_sent_a_third_time() {
    let (status, _, bodies, told) = stored(vec![turn(DATA, goaway(0, b"")), turn(DATA, reset(7))]);
    assert_eq!((status, told, bodies.len()), (502, 502, 2));
}

#[test]
fn a_server_that_goes_answers_what_it_took_and_gets_what_comes_later_over_another_connection() {
    let proxy = proxy();
    let listener = proxy.server.try_clone().unwrap();
    let goes = Arc::new(Notify::new());
    let (go_on, may) = channel();
    let told = Arc::clone(&goes);
    let server = std::thread::spawn(move || {
        let (mut first, _) = taken(&listener, HEADERS).unwrap();
        say(&mut first, &goaway(1, b""));
        told.notify_one();
        let (mut second, _) = taken(&listener, HEADERS).unwrap();
        say(&mut second, &ok());
        may.recv_timeout(PATIENCE).unwrap();
        first.write_all(&ok()).unwrap();
        for mut stream in [first, second] {
            let _ended = std::io::copy(&mut stream, &mut std::io::sink());
        }
    });
    let (first, second) = run(async {
        let Client::Http2(sender) = client_of(&proxy).await else { panic!("it speaks HTTP/2") };
        let [mut one, mut other] = [sender.clone(), sender].map(Client::Http2);
        let second = async {
            goes.notified().await;
            let said = answered(&mut other).await;
            go_on.send(()).unwrap();
            said
        };
        tokio::join!(answered(&mut one), second)
    });
    server.join().unwrap();
    let whole = Some((200, Some(b"ok".to_vec())));
    assert_eq!((first, second), (whole.clone(), whole));
}
