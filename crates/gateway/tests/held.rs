//! What waits in memory until it is understood: no pod takes the room of another.

#![allow(clippy::unwrap_used, clippy::indexing_slicing, reason = "a test's helpers fail the test")]

use crate::support;
use gateway::{Ceiling, Limits, Reason};
use std::io::Write;
use std::net::{IpAddr, Ipv4Addr, SocketAddr, TcpStream};
use support::web::{Way, World, anything, run, state_of};
use support::{PATIENCE, POD, Tls};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpSocket;

/// A second pod, which the loopback interface has an address for as well.
const OTHER: IpAddr = IpAddr::V4(Ipv4Addr::new(127, 0, 0, 2));
/// Bytes of a call whose model comes last: all that a pod may hold has room for two of them.
const LONG: usize = 15 << 20;
const TAIL: &str = r#""}],"model":"m-1"}"#;

/// A call but for its tail.
fn begun() -> Vec<u8> {
    let head = r#"{"messages":[{"role":"user","content":""#;
    let body = format!("{head}{}", "x".repeat(LONG - head.len() - TAIL.len()));
    let fields = "Host: hub.example\r\nContent-Type: application/json";
    format!("POST /v1/chat/completions HTTP/1.1\r\n{fields}\r\nContent-Length: {LONG}\r\n\r\n{body}").into()
}

#[test]
fn a_pod_that_has_as_much_held_as_it_may_is_refused_and_another_is_served() {
    let mut state = state_of(anything(), Ceiling::default(), None);
    let same = state.pods[&POD].clone();
    state.pods.insert(OTHER, same);
    let world = World::before(&Tls::new(), Way::Clear, state, Limits::default(), true);
    let begun = begun();
    let greedy: Vec<_> = std::thread::scope(|scope| {
        let begun = &begun;
        let send = |mut client: TcpStream| {
            // Who is refused may be so before all of it is sent.
            let _refused = client.write_all(begun);
            client
        };
        let clients: Vec<_> = (0..5).map(|_| world.proxy.connect()).collect();
        let clients: Vec<_> = clients.into_iter().map(|client| scope.spawn(move || send(client))).collect();
        clients.into_iter().map(|client| client.join().unwrap()).collect()
    });
    for _ in 0..3 {
        let call = world.proxy.calls.recv_timeout(PATIENCE).unwrap();
        assert_eq!((call.reason, call.status), (Reason::TooMuchHeld, 503));
    }
    run(async {
        let socket = TcpSocket::new_v4().unwrap();
        socket.bind(SocketAddr::new(OTHER, 0)).unwrap();
        let mut client = socket.connect(world.proxy.address).await.unwrap();
        client.write_all(&begun).await.unwrap();
        client.write_all(TAIL.as_bytes()).await.unwrap();
        let mut status = [0; 12];
        client.read_exact(&mut status).await.unwrap();
        assert_eq!(status, *b"HTTP/1.1 200");
    });
    assert_eq!(world.seen.recv_timeout(PATIENCE).unwrap().body.unwrap().len(), LONG);
    assert!(world.seen.try_recv().is_err(), "of the others nothing has gone on");
    drop(greedy);
}
