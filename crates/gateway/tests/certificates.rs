//! A server's certificate is for the name that was allowed, where it can be seen; where not, the connection goes on.

#![allow(
    clippy::unwrap_used,
    clippy::panic,
    clippy::indexing_slicing,
    reason = "a test's helpers fail the test"
)]

use crate::support;
use gateway::{Ceiling, End, Limits, Reason, Rules};
use policy::Verdict;
use rustls::version::{TLS12, TLS13};
use rustls::{HandshakeKind, ServerConnection, StreamOwned};
use std::io::{Read, Write};
use std::net::{Shutdown, TcpStream};
use support::{ALL, POD, Proxy, Tls, patient, row, state, strict, usual};

/// More than is copied before the kernel moves the rest.
const MUCH: usize = 1 << 20;

type Server = StreamOwned<ServerConnection, TcpStream>;

/// Answers one question with much, and ends.
fn answer(mut server: Server) {
    server.read_exact(&mut [0; 4]).unwrap();
    server.write_all(&vec![7; MUCH]).unwrap();
    server.conn.send_close_notify();
    server.flush().unwrap();
    server.sock.shutdown(Shutdown::Write).unwrap();
}

/// A session with a server that is opened by `accept`, all of which arrives; returns whether it was a new one.
fn session(
    proxy: &Proxy,
    tls: &Tls,
    name: &str,
    accept: impl FnOnce(TcpStream) -> Server + Send,
) -> HandshakeKind {
    let listener = proxy.server.try_clone().unwrap();
    let kind = std::thread::scope(|scope| {
        scope.spawn(move || answer(accept(patient(listener.accept().unwrap().0))));
        let mut client = tls.connect(proxy.connect(), name);
        client.write_all(b"ping").unwrap();
        let mut back = vec![];
        client.read_to_end(&mut back).unwrap();
        assert_eq!(back.len(), MUCH);
        client.conn.handshake_kind().unwrap()
    });
    let record = proxy.record();
    assert_eq!((record.reason, record.end), (Reason::NameAllowed, End::Closed));
    assert!(record.bytes_down > MUCH as u64);
    kind
}

/// What a client that says hello reads before its end. The server says all it has, and does not mind a reset.
fn greeted(proxy: &Proxy, tls: &Tls, name: &str) -> Vec<u8> {
    let listener = proxy.server.try_clone().unwrap();
    std::thread::scope(|scope| {
        scope.spawn(move || {
            let stream = patient(listener.accept().unwrap().0);
            let mut server = tls.accept(stream);
            let _greeted = server.conn.read_tls(&mut server.sock).unwrap();
            server.conn.process_new_packets().unwrap();
            let mut flight = vec![];
            while server.conn.wants_write() {
                server.conn.write_tls(&mut flight).unwrap();
            }
            server.sock.write_all(&flight).unwrap();
            let _ended = server.sock.shutdown(Shutdown::Write);
            let _reset = server.sock.read_to_end(&mut vec![]);
        });
        let mut client = proxy.connect();
        client.write_all(&tls.hello(name)).unwrap();
        let mut back = vec![];
        let _reset = client.read_to_end(&mut back);
        back
    })
}

fn has_certificate(bytes: &[u8]) -> bool {
    let name = b"elsewhere.example";
    bytes.windows(name.len()).any(|part| part == name)
}

#[test]
fn a_server_with_a_certificate_for_the_name_passes_and_what_follows_is_copied_and_spliced() {
    for version in [&TLS12, &TLS13] {
        for splice_after in [0, 64 * 1024, u64::MAX] {
            let limits = Limits { splice_after, ..Limits::default() };
            let proxy = Proxy::start(Some(usual(Ceiling::default())), limits);
            let tls = Tls::of(&["other.example", "hub.example"], version);
            assert_eq!(session(&proxy, &tls, "hub.example", |it| tls.accept(it)), HandshakeKind::Full);
        }
    }
}

#[test]
fn a_server_with_a_certificate_for_other_names_is_cut_before_it_is_seen() {
    let (proxy, tls) = (Proxy::usual(), Tls::of(&["elsewhere.example"], &TLS12));
    assert!(greeted(&proxy, &tls, "hub.example").is_empty());
    let record = proxy.record();
    assert_eq!((record.reason, record.end), (Reason::CertificateName, End::Cut));
    assert_eq!((record.verdict, record.bytes_down), (Verdict::Deny, 0));
    assert_eq!(record.claim.name.as_deref(), Some("hub.example"));
    assert!(record.rule.is_some());
    assert_eq!(proxy.kill(), []);
}

#[test]
fn behind_tls_1_3_a_certificate_for_other_names_is_not_seen_and_left_to_the_client() {
    let (proxy, tls) = (Proxy::usual(), Tls::of(&["elsewhere.example"], &TLS13));
    assert!(!greeted(&proxy, &tls, "hub.example").is_empty());
    assert_eq!(proxy.record().reason, Reason::NameAllowed);
}

#[test]
fn certificates_are_not_looked_at_where_that_is_off_or_the_address_is_allowed() {
    let tls = Tls::of(&["elsewhere.example"], &TLS12);
    let off = Rules { certificates: false, ..strict() };
    let off = state(POD, &[("hub.example", ALL)], Ceiling::default(), off);
    let proxy = Proxy::start(Some(off), Limits::default());
    // One name is denied, so that the hello is read.
    let names: [(&str, &[_]); 2] = [("hub.example", ALL), ("other.example", &[])];
    let mut address = state(POD, &names, Ceiling::default(), strict());
    address.pods.get_mut(&POD).unwrap().bound.get_mut(&POD).unwrap().unnamed = row(ALL);
    let by_address = Proxy::start(Some(address), Limits::default());
    for (proxy, name, reason) in
        [(&proxy, "hub.example", Reason::NameAllowed), (&by_address, "third.example", Reason::AddressAllowed)]
    {
        assert!(has_certificate(&greeted(proxy, &tls, name)));
        assert_eq!(proxy.record().reason, reason);
    }
}

#[test]
fn a_resumed_session_shows_no_certificate_and_passes() {
    let (proxy, tls) = (Proxy::usual(), Tls::of(&["hub.example"], &TLS12));
    for kind in [HandshakeKind::Full, HandshakeKind::Resumed] {
        assert_eq!(session(&proxy, &tls, "hub.example", |it| tls.accept(it)), kind);
    }
}

#[test]
fn a_wildcard_stands_for_one_label() {
    let names: [(&str, &[_]); 2] = [("a.hub.example", ALL), ("a.b.hub.example", ALL)];
    let proxy = Proxy::start(Some(state(POD, &names, Ceiling::default(), strict())), Limits::default());
    let tls = Tls::of(&["*.hub.example"], &TLS12);
    let _full = session(&proxy, &tls, "a.hub.example", |it| tls.accept(it));
    assert!(greeted(&proxy, &tls, "a.b.hub.example").is_empty());
    assert_eq!(proxy.record().reason, Reason::CertificateName);
}

#[test]
fn an_answer_that_comes_byte_by_byte_passes() {
    for version in [&TLS12, &TLS13] {
        let (proxy, tls) = (Proxy::usual(), Tls::of(&["hub.example"], version));
        let _full = session(&proxy, &tls, "hub.example", |stream| {
            let mut server = tls.accept(stream);
            while !server.conn.wants_write() {
                assert!(server.conn.read_tls(&mut server.sock).unwrap() > 0);
                server.conn.process_new_packets().unwrap();
            }
            let mut flight = vec![];
            while server.conn.wants_write() {
                server.conn.write_tls(&mut flight).unwrap();
            }
            flight.iter().for_each(|byte| server.sock.write_all(&[*byte]).unwrap());
            server
        });
    }
}

#[test]
fn an_answer_that_ends_before_its_certificate_is_broken_off() {
    let (proxy, tls) = (Proxy::usual(), Tls::of(&["hub.example"], &TLS12));
    let mut client = proxy.connect();
    client.write_all(&tls.hello("hub.example")).unwrap();
    let mut server = proxy.accept();
    server.write_all(&[22, 3, 3, 0, 40, 2]).unwrap();
    drop(server);
    let mut back = vec![];
    assert!(client.read_to_end(&mut back).is_err() && back.is_empty(), "a reset, and nothing before");
    let record = proxy.record();
    assert_eq!((record.reason, record.end), (Reason::NameAllowed, End::ServerGone));
}

#[test]
fn an_answer_that_cannot_be_read_is_cut() {
    let (proxy, tls) = (Proxy::usual(), Tls::of(&["hub.example"], &TLS12));
    let mut client = proxy.connect();
    client.write_all(&tls.hello("hub.example")).unwrap();
    let mut server = proxy.accept();
    server.write_all(&[22, 3, 3, 0, 4, 11, 0, 0, 0]).unwrap();
    let mut back = vec![];
    assert!(client.read_to_end(&mut back).is_err() && back.is_empty());
    assert!(server.read_to_end(&mut vec![]).is_err());
    let record = proxy.record();
    assert_eq!((record.reason, record.end, record.bytes_down), (Reason::ServerFlight, End::Cut, 0));
}
