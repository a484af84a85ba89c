//! Endpoints that speak HTTP/2 and go away, or refuse a request: what they did nothing with goes on once more, and nothing else.

#![allow(
    clippy::unwrap_used,
    clippy::panic,
    clippy::indexing_slicing,
    reason = "a test's helpers fail the test"
)]

use crate::support;
use http::StatusCode;
use ingress::{Reason, Server, Settings};
use std::net::{Ipv4Addr, SocketAddr};
use std::sync::{Arc, Mutex};
use support::{OPEN, PLAIN, Records, chat, text};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream};

const PREFACE: &[u8] = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n";
const DATA: u8 = 0;
const HEADERS: u8 = 1;
const RST_STREAM: u8 = 3;
const SETTINGS: u8 = 4;
const GOAWAY: u8 = 7;
const END_STREAM: u8 = 1;
const END_HEADERS: u8 = 4;
const BODY: &str = r#"{"model":"m","messages":[]}"#;

fn frame(kind: u8, flags: u8, stream: u32, payload: &[u8]) -> Vec<u8> {
    let length = u32::try_from(payload.len()).unwrap().to_be_bytes();
    [&length[1..], &[kind, flags], &stream.to_be_bytes(), payload].concat()
}

/// An answer on a stream; its status is written out (RFC 7541, section 6.2.2).
fn ok(stream: u32) -> Vec<u8> {
    let status = [&[0, 7][..], b":status", &[3], b"200"].concat();
    let head = frame(HEADERS, END_HEADERS, stream, &status);
    [head, frame(DATA, END_STREAM, stream, b"{}")].concat()
}

fn goaway(last: u32) -> Vec<u8> {
    frame(GOAWAY, 0, 0, &[last.to_be_bytes(), [0; 4]].concat())
}

fn reset(reason: u8) -> Vec<u8> {
    frame(RST_STREAM, 0, 1, &[0, 0, 0, reason])
}

/// What an endpoint says on one connection, to one request after the other, and whether it closes it then.
struct Turn {
    says: Vec<Vec<u8>>,
    closes: bool,
}

fn turn(says: Vec<u8>) -> Turn {
    Turn { says: vec![says], closes: false }
}

/// The bodies that came to an endpoint, with the number of the connection that each came by.
type Seen = Arc<Mutex<Vec<(usize, String)>>>;

/// An endpoint that takes so many connections; with `ends`, whoever comes after finds nobody.
async fn endpoint(turns: Vec<Turn>, ends: bool) -> (SocketAddr, Seen) {
    let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).await.unwrap();
    let (address, seen) = (listener.local_addr().unwrap(), Seen::default());
    let told = Arc::clone(&seen);
    tokio::spawn(async move {
        let (mut listener, last) = (Some(listener), turns.len());
        let mut open = Vec::new();
        for (number, turn) in (1..).zip(turns) {
            let (mut stream, _) = listener.as_ref().unwrap().accept().await.unwrap();
            drop(listener.take_if(|_| ends && number == last));
            stream.read_exact(&mut [0; PREFACE.len()]).await.unwrap();
            let begun = [frame(SETTINGS, 0, 0, &[]), frame(SETTINGS, 1, 0, &[])].concat();
            stream.write_all(&begun).await.unwrap();
            for says in turn.says {
                let body = request(&mut stream).await;
                told.lock().unwrap().push((number, body));
                stream.write_all(&says).await.unwrap();
            }
            open.extend((!turn.closes).then_some(stream));
        }
        // Who waits for an answer here waits longer than the test.
        std::future::pending::<()>().await;
        drop((open, listener));
    });
    (address, seen)
}

/// Reads one request; returns its body.
async fn request(stream: &mut TcpStream) -> String {
    let mut body = Vec::new();
    loop {
        let mut head = [0; 9];
        stream.read_exact(&mut head).await.unwrap();
        let length = u32::from_be_bytes([0, head[0], head[1], head[2]]);
        let mut payload = vec![0; length as usize];
        stream.read_exact(&mut payload).await.unwrap();
        if head[3] == DATA {
            body.extend(payload);
        }
        if [HEADERS, DATA].contains(&head[3]) && head[4] & END_STREAM != 0 {
            return String::from_utf8(body).unwrap();
        }
    }
}

/// What so many requests, one after the other, are answered with, and why.
async fn asked(endpoints: &[SocketAddr], count: usize) -> Vec<(StatusCode, Reason)> {
    let manifests =
        format!("{PLAIN}{OPEN}").replace("{port: 8000}", "{port: 8000, appProtocol: kubernetes.io/h2c}");
    let records = Arc::new(Records::default());
    let settings =
        Settings { bind: Ipv4Addr::LOCALHOST.into(), ports: [(80, 0)].into(), ..Settings::default() };
    let gateway = Server::start(settings, Arc::clone(&records) as _);
    let mut config = support::config(&manifests, endpoints[0]);
    config.endpoints.values_mut().for_each(|all| *all = endpoints.to_vec());
    assert!(gateway.reload(config).unwrap().is_empty());
    let stream = TcpStream::connect(*gateway.addresses().get(&80).unwrap()).await.unwrap();
    let io = hyper_util::rt::TokioIo::new(stream);
    let (mut sender, connection) = hyper::client::conn::http1::handshake(io).await.unwrap();
    tokio::spawn(async move { drop(connection.await) });
    let mut answers = Vec::new();
    for number in 1..=count {
        sender.ready().await.unwrap();
        let sent = sender.send_request(chat(BODY));
        let response = tokio::time::timeout(support::PATIENCE, sent).await.unwrap().unwrap();
        let status = response.status();
        text(response).await;
        answers.push((status, records.wait(number).await[number - 1].reason));
    }
    answers
}

fn bodies(connections: &[usize]) -> Vec<(usize, String)> {
    connections.iter().map(|number| (*number, BODY.to_owned())).collect()
}

#[tokio::test]
async fn what_an_endpoint_did_nothing_with_goes_to_it_once_more() {
    for (what, says) in [
        ("it goes", goaway(0)),
        ("it goes in two steps", [goaway(0x7fff_ffff), goaway(0)].concat()),
        ("it refuses", reset(7)),
    ] {
        let (address, seen) = endpoint(vec![turn(says), turn(ok(1))], false).await;
        assert_eq!(asked(&[address], 1).await, [(StatusCode::OK, Reason::Allowed)], "{what}");
        assert_eq!(*seen.lock().unwrap(), bodies(&[1, 2]), "{what}");
    }
}

#[tokio::test]
async fn what_an_endpoint_may_have_done_something_with_goes_nowhere_else() {
    for (what, says, closes) in [
        ("it took it, and goes", goaway(1), true),
        ("it goes, and does not say from where on", goaway(0x7fff_ffff), true),
        ("it ends without a word", Vec::new(), true),
        ("it took it, and breaks off", reset(2), false),
    ] {
        let (one, seen) = endpoint(vec![Turn { says: vec![says], closes }], false).await;
        let (other, others) = endpoint(vec![turn(ok(1))], false).await;
        let broke = (StatusCode::BAD_GATEWAY, Reason::ServerBroke);
        assert_eq!(asked(&[one, other], 1).await, [broke], "{what}");
        assert_eq!((seen.lock().unwrap().len(), others.lock().unwrap().len()), (1, 0), "{what}");
    }
}

#[tokio::test]
async fn an_endpoint_that_refuses_twice_is_left_for_another_and_that_gets_it_once() {
    let (one, seen) = endpoint(vec![turn(reset(7)), turn(goaway(0))], false).await;
    let (other, others) = endpoint(vec![turn(reset(7))], false).await;
    let refused = (StatusCode::BAD_GATEWAY, Reason::ServerUnreachable);
    assert_eq!(asked(&[one, other], 1).await, [refused]);
    assert_eq!(*seen.lock().unwrap(), bodies(&[1, 2]));
    assert_eq!(*others.lock().unwrap(), bodies(&[1]));
}

#[tokio::test]
async fn a_request_leaves_an_endpoint_that_goes_for_good_for_another() {
    let (one, seen) = endpoint(vec![turn(goaway(0))], true).await;
    let (other, others) = endpoint(vec![turn(ok(1))], false).await;
    assert_eq!(asked(&[one, other], 1).await, [(StatusCode::OK, Reason::Allowed)]);
    assert_eq!(*seen.lock().unwrap(), bodies(&[1]));
    assert_eq!(*others.lock().unwrap(), bodies(&[1]));
}

#[tokio::test]
async fn a_connection_that_went_while_nobody_used_it_costs_no_request() {
    for (what, last, closes) in [
        ("it says so", goaway(1), false),
        ("it says so and closes", goaway(1), true),
        ("it closes", vec![], true),
    ] {
        let first = Turn { says: vec![[ok(1), last].concat()], closes };
        let (address, seen) = endpoint(vec![first, turn(ok(1))], false).await;
        let fine = (StatusCode::OK, Reason::Allowed);
        assert_eq!(asked(&[address], 2).await, [fine, fine], "{what}");
        assert_eq!(*seen.lock().unwrap(), bodies(&[1, 2]), "{what}");
    }
}
