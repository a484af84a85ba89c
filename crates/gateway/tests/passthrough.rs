//! What is let through arrives unchanged, within its bounds, and has one record.

#![allow(
    clippy::unwrap_used,
    clippy::panic,
    clippy::indexing_slicing,
    reason = "a test's helpers fail the test"
)]

use crate::support;
use gateway::{Ceiling, DownloadOnly, End, Limits, Opaque, Phase, Reason, Rules, Window};
use policy::Verdict;
use rustls::crypto::aws_lc_rs::kx_group;
use std::io::{Read, Write};
use std::net::{Shutdown, TcpStream};
use std::time::Duration;
use support::{ALL, POD, Proxy, Tls, bound, hello_of, patient, rules, state, strict, usual};

const REQUEST: &str = "GET / HTTP/1.1\r\nHost: hub.example\r\n\r\n";

/// Opens a connection whose hello is let through; the server has read it.
fn open(proxy: &Proxy) -> (TcpStream, TcpStream) {
    let hello = hello_of(Some("hub.example"), &[]);
    let mut client = proxy.connect();
    client.write_all(&hello).unwrap();
    let mut server = proxy.accept();
    let mut read = vec![0; hello.len()];
    server.read_exact(&mut read).unwrap();
    assert_eq!(read, hello);
    (client, server)
}

/// Bytes that do not repeat soon.
fn noise(length: usize) -> Vec<u8> {
    let mut state = 1_u32;
    let mut next = || {
        state = state.wrapping_mul(1_664_525).wrapping_add(1_013_904_223);
        (state >> 24) as u8
    };
    (0..length).map(|_| next()).collect()
}

fn session(tls: &Tls) {
    let proxy = Proxy::usual();
    let listener = proxy.server.try_clone().unwrap();
    std::thread::scope(|scope| {
        scope.spawn(move || {
            let mut server = tls.accept(patient(listener.accept().unwrap().0));
            let mut question = [0; 4];
            server.read_exact(&mut question).unwrap();
            server.write_all(b"pong").unwrap();
            server.conn.send_close_notify();
            server.flush().unwrap();
        });
        let mut client = tls.connect(proxy.connect(), "hub.example");
        client.write_all(b"ping").unwrap();
        let mut back = vec![];
        client.read_to_end(&mut back).unwrap();
        assert_eq!(back, b"pong");
    });
    let record = proxy.record();
    assert_eq!((record.verdict, record.reason), (Verdict::Allow, Reason::NameAllowed));
    assert_eq!(record.rule.as_deref(), Some("ClusterNetworkPolicy hub spec.egress[0]"));
    assert_eq!((record.claim.kind.as_str(), record.claim.name.as_deref()), ("tls", Some("hub.example")));
    assert!(record.bytes_up > 0 && record.bytes_down > 0);
    assert_eq!(proxy.kill(), []);
}

#[test]
fn tls_is_let_through_with_post_quantum_keys() {
    let tls = Tls::new();
    assert!(tls.hello("hub.example").len() > 1300);
    session(&tls);
}

#[test]
fn a_server_may_ask_for_the_hello_again() {
    session(&Tls::with(vec![kx_group::SECP384R1], vec![kx_group::X25519, kx_group::SECP384R1]));
}

#[test]
fn a_hello_that_comes_byte_by_byte_arrives_unchanged() {
    let (proxy, tls) = (Proxy::usual(), Tls::new());
    let hello = tls.hello("hub.example");
    let mut client = proxy.connect();
    for byte in &hello {
        client.write_all(&[*byte]).unwrap();
    }
    let mut read = vec![0; hello.len()];
    proxy.accept().read_exact(&mut read).unwrap();
    assert_eq!(read, hello);
}

#[test]
fn the_end_of_one_direction_is_passed_on_alone() {
    let proxy = Proxy::usual();
    let (mut client, mut server) = open(&proxy);
    client.write_all(&[23, 3, 3, 0, 1, 7]).unwrap();
    client.shutdown(Shutdown::Write).unwrap();
    let mut read = vec![];
    server.read_to_end(&mut read).unwrap();
    assert_eq!(read, [23, 3, 3, 0, 1, 7]);
    server.write_all(b"late answer").unwrap();
    drop(server);
    let mut back = vec![];
    client.read_to_end(&mut back).unwrap();
    assert_eq!(back, b"late answer");
    let record = proxy.record();
    assert_eq!((record.end, record.bytes_down), (End::Closed, 11));
    assert_eq!(record.bytes_up, hello_of(Some("hub.example"), &[]).len() as u64 + 6);
}

/// 4 MiB each way at once, and each side slow to read at first: more than any buffer holds.
fn bulk(splice_after: u64) {
    let proxy = Proxy::start(Some(usual(Ceiling::default())), Limits { splice_after, ..Limits::default() });
    let (client, server) = open(&proxy);
    let data = [&[23, 3, 3, 0, 1, 7][..], &noise(4 << 20)].concat();
    std::thread::scope(|scope| {
        for mut stream in [client.try_clone().unwrap(), server.try_clone().unwrap()] {
            let data = &data;
            scope.spawn(move || {
                stream.write_all(data).unwrap();
                stream.shutdown(Shutdown::Write).unwrap();
            });
        }
        for mut stream in [client, server] {
            let data = &data;
            scope.spawn(move || {
                let mut read = vec![];
                stream.read_to_end(&mut read).unwrap();
                assert!(read == *data, "what arrives is what was sent");
            });
        }
    });
    let record = proxy.record();
    assert_eq!((record.end, record.bytes_down), (End::Closed, data.len() as u64));
    assert_eq!(record.bytes_up, (data.len() + hello_of(Some("hub.example"), &[]).len()) as u64);
}

#[test]
fn much_is_copied_and_spliced_unchanged() {
    bulk(u64::MAX);
    bulk(64 * 1024);
    bulk(0);
}

#[test]
fn later_requests_for_the_same_host_pass_and_for_another_do_not() {
    let proxy = Proxy::usual();
    let mut client = proxy.connect();
    client.write_all(REQUEST.as_bytes()).unwrap();
    let mut server = proxy.accept();
    let mut read = vec![0; REQUEST.len()];
    server.read_exact(&mut read).unwrap();
    for _ in 0..2 {
        server.write_all(b"HTTP/1.1 204 No Content\r\n\r\n").unwrap();
        client.read_exact(&mut [0; 27]).unwrap();
        client.write_all(REQUEST.as_bytes()).unwrap();
        server.read_exact(&mut read).unwrap();
        assert_eq!(read, REQUEST.as_bytes());
    }
    client.write_all(b"GET / HTTP/1.1\r\nHost: other.example\r\n\r\n").unwrap();
    let record = proxy.record();
    assert_eq!((record.reason, record.end, record.verdict), (Reason::LaterHost, End::Cut, Verdict::Deny));
    assert_eq!(record.bytes_up, 3 * REQUEST.len() as u64);
    assert!(
        server.read_to_end(&mut vec![]).is_err(),
        "the server sees a reset, and nothing of the other request"
    );
}

#[test]
fn pipelined_requests_for_another_host_stop_the_first() {
    let proxy = Proxy::usual();
    let mut client = proxy.connect();
    let other = "GET / HTTP/1.1\r\nHost: other.example\r\n\r\n";
    client.write_all(format!("{REQUEST}{other}").as_bytes()).unwrap();
    let record = proxy.record();
    assert_eq!((record.reason, record.bytes_up), (Reason::LaterHost, 0));
    assert!(proxy.nobody_came());
}

#[test]
fn a_second_hello_for_another_name_is_cut() {
    let proxy = Proxy::usual();
    let (mut client, mut server) = open(&proxy);
    client.write_all(&hello_of(Some("other.example"), &[])).unwrap();
    let record = proxy.record();
    assert_eq!((record.reason, record.end), (Reason::SecondHello, End::Cut));
    let mut read = vec![];
    assert!(server.read_to_end(&mut read).is_err() && read.is_empty());
}

#[test]
fn uploads_end_at_their_ceiling() {
    let hello = hello_of(Some("hub.example"), &[]).len() as u64;
    let ceiling = Ceiling { max_upload: Some(hello + 100_000), download_only: None };
    let proxy = Proxy::start(Some(usual(ceiling)), Limits { splice_after: 0, ..Limits::default() });
    let (mut client, mut server) = open(&proxy);
    std::thread::scope(|scope| {
        let reading = scope.spawn(move || server.read_to_end(&mut vec![]));
        let _cut = client.write_all(&[&[23, 3, 3, 0, 1, 7][..], &noise(1 << 20)].concat());
        assert!(reading.join().unwrap().is_err(), "the server sees a reset, not an end");
    });
    let record = proxy.record();
    assert_eq!((record.reason, record.end), (Reason::UploadCeiling, End::Cut));
    assert!(record.bytes_up <= hello + 100_000 && record.rule.is_some());
}

#[test]
fn who_only_downloads_may_not_upload() {
    let only = DownloadOnly { allowance: 1000, percent: 5 };
    let ceiling = Ceiling { max_upload: None, download_only: Some(only) };
    let proxy = Proxy::start(Some(usual(ceiling)), Limits { splice_after: 0, ..Limits::default() });
    let (mut client, mut server) = open(&proxy);
    let data = noise(1 << 20);
    std::thread::scope(|scope| {
        scope.spawn(|| server.write_all(&data).unwrap());
        let mut read = vec![0; data.len()];
        client.read_exact(&mut read).unwrap();
        assert!(read == data);
    });
    // 5 % of it may go back.
    let back = [&[23, 3, 3, 0, 1, 7][..], &noise(50_000)].concat();
    client.write_all(&back).unwrap();
    let mut read = vec![0; back.len()];
    server.read_exact(&mut read).unwrap();
    assert!(read == back);
    client.write_all(&noise(10_000)).unwrap();
    let record = proxy.record();
    assert_eq!((record.reason, record.end, record.bytes_down), (Reason::DownloadOnly, End::Cut, 1 << 20));
}

#[test]
fn what_names_nobody_passes_where_every_name_is_allowed_and_only_there() {
    let how = || Rules { opaque: Opaque::ByEveryName, ..strict() };
    let one = state(POD, &[("hub.example", ALL)], Ceiling::default(), how());
    let proxy = Proxy::start(Some(one), Limits::default());
    let mut client = proxy.connect();
    client.write_all(b"SSH-2.0-client\r\n").unwrap();
    proxy.accept().read_exact(&mut [0; 16]).unwrap();
    drop(client);
    assert_eq!(proxy.record().reason, Reason::EveryNameAllowed);
    let names: [(&str, &[_]); 2] = [("hub.example", ALL), ("other.example", &[])];
    let two = state(POD, &names, Ceiling::default(), how());
    let proxy = Proxy::start(Some(two), Limits::default());
    proxy.connect().write_all(b"SSH-2.0-client\r\n").unwrap();
    assert_eq!(proxy.record().reason, Reason::Opaque);
}

#[test]
fn open_connections_follow_a_change_of_policy_and_outlive_their_names_time() {
    let proxy = Proxy::usual();
    let (mut client, mut server) = open(&proxy);
    let mut ping = || {
        client.write_all(&[23, 3, 3, 0, 1, 7]).unwrap();
        server.read_exact(&mut [0; 6]).unwrap();
    };
    ping();
    // Judged again: its answer ran out, and its rule holds.
    let mut past = bound(&[("hub.example", ALL)]);
    past.names.values_mut().for_each(|named| named.is_live = false);
    assert!(proxy.table.bind(POD, POD, [], Some(past)));
    proxy.phase.send_replace(Phase { changes: 1, ..Phase::default() });
    ping();
    ping();
    let denied = state(POD, &[("hub.example", &[])], Ceiling::default(), strict());
    proxy.table.replace(denied);
    proxy.phase.send_replace(Phase { changes: 2, ..Phase::default() });
    let record = proxy.record();
    assert_eq!((record.reason, record.end), (Reason::NameNotAllowed, End::Cut));
    assert!(server.read_to_end(&mut vec![]).is_err());
}

#[test]
fn what_was_opened_without_a_limit_does_not_outlive_it() {
    let ceiling = |max_upload| Ceiling { max_upload, download_only: None };
    let limited = |max_upload, budget| {
        let mut state = usual(ceiling(max_upload));
        state.pods.get_mut(&POD).unwrap().rules = rules(ceiling(max_upload), budget).into();
        state
    };
    for (before, after, expected) in [
        ((None, None), (Some(100_000), None), Some(Reason::LimitsChanged)),
        ((Some(100_001), None), (Some(100_000), None), Some(Reason::LimitsChanged)),
        ((None, None), (None, Some(16)), Some(Reason::LimitsChanged)),
        ((Some(100_000), None), (None, None), None),
        ((None, Some(16)), (None, Some(16)), None),
    ] {
        let proxy = Proxy::start(Some(limited(before.0, before.1)), Limits::default());
        let (mut client, mut server) = open(&proxy);
        proxy.table.replace(limited(after.0, after.1));
        proxy.phase.send_replace(Phase { changes: 1, ..Phase::default() });
        match expected {
            Some(reason) => {
                assert!(server.read_to_end(&mut vec![]).is_err());
                let record = proxy.record();
                assert_eq!((record.reason, record.end), (reason, End::Cut), "{before:?} {after:?}");
            }
            None => {
                for _ in 0..2 {
                    client.write_all(&[23, 3, 3, 0, 1, 7]).unwrap();
                    server.read_exact(&mut [0; 6]).unwrap();
                }
            }
        }
    }
}

#[test]
fn draining_lets_open_connections_end_and_takes_no_more() {
    let proxy = Proxy::usual();
    let (mut client, mut server) = open(&proxy);
    proxy.phase.send_replace(Phase { draining: true, ..Phase::default() });
    let refused = std::iter::repeat_with(|| TcpStream::connect(proxy.address)).find(Result::is_err).unwrap();
    // A reset, if it came to the listener just before that closed.
    let kind = refused.unwrap_err().kind();
    let kinds = [std::io::ErrorKind::ConnectionRefused, std::io::ErrorKind::ConnectionReset];
    assert!(kinds.contains(&kind), "{kind}");
    client.write_all(&[23, 3, 3, 0, 1, 7]).unwrap();
    server.read_exact(&mut [0; 6]).unwrap();
    drop((client, server));
    let records = proxy.wait();
    let open = records.iter().filter(|record| record.reason == Reason::NameAllowed).count();
    assert_eq!(open, 1, "{records:?}");
}

#[test]
fn draining_does_not_wait_for_ever() {
    let limits = Limits { drain_timeout: Duration::from_millis(20), ..Limits::default() };
    let proxy = Proxy::start(Some(usual(Ceiling::default())), limits);
    let _open = open(&proxy);
    proxy.phase.send_replace(Phase { draining: true, ..Phase::default() });
    let records = proxy.wait();
    assert_eq!(records.iter().map(|record| record.end).collect::<Vec<_>>(), [End::Drained]);
}

#[test]
fn a_kill_in_the_middle_of_a_transfer_leaves_one_record_with_its_bytes() {
    let proxy = Proxy::usual();
    let (mut client, mut server) = open(&proxy);
    server.write_all(&noise(10_000)).unwrap();
    client.read_exact(&mut [0; 10_000]).unwrap();
    let records = proxy.kill();
    let [record] = records.as_slice() else { panic!("{records:?}") };
    assert_eq!((record.end, record.reason, record.bytes_down), (End::Cancelled, Reason::NameAllowed, 10_000));
}

#[test]
fn a_side_that_breaks_off_breaks_the_other() {
    let proxy = Proxy::usual();
    for pod in [true, false] {
        let (client, server) = open(&proxy);
        let (broken, mut other) = if pod { (client, server) } else { (server, client) };
        rustix::net::sockopt::set_socket_linger(&broken, Some(Duration::ZERO)).unwrap();
        drop(broken);
        assert!(other.read_to_end(&mut vec![]).is_err(), "a reset, not an end");
        assert_eq!(proxy.record().end, if pod { End::PodGone } else { End::ServerGone });
    }
}

#[test]
fn nothing_for_too_long_ends_it() {
    let limits = Limits { idle_timeout: Duration::from_millis(20), ..Limits::default() };
    let proxy = Proxy::start(Some(usual(Ceiling::default())), limits);
    let _open = open(&proxy);
    assert_eq!(proxy.record().end, End::Idle);
}

#[test]
fn what_a_rule_allows_for_a_while_is_over_when_its_budget_is() {
    let mut limited = usual(Ceiling::default());
    limited.pods.get_mut(&POD).unwrap().rules = rules(Ceiling::default(), Some(16)).into();
    let proxy = Proxy::start(Some(limited), Limits::default());
    let (_client, mut server) = open(&proxy);
    proxy.table.spend([(16, Window::Hour)].into());
    proxy.phase.send_replace(Phase { changes: 1, ..Phase::default() });
    let record = proxy.record();
    assert_eq!((record.reason, record.end), (Reason::UploadHour, End::Cut));
    assert!(server.read_to_end(&mut vec![]).is_err());
    let mut client = proxy.connect();
    client.write_all(&hello_of(Some("hub.example"), &[])).unwrap();
    let record = proxy.record();
    assert_eq!((record.reason, record.end), (Reason::UploadHour, End::Refused));
    proxy.table.spend([].into());
    let _ = open(&proxy);
}

#[test]
fn a_server_may_speak_first_where_the_port_is_for_nothing_else() {
    let how = Rules { opaque: Opaque::ByEveryName, ..strict() };
    let open = state(POD, &[("hub.example", ALL)], Ceiling::default(), how);
    let limits = Limits { silence: Duration::from_millis(20), ..Limits::default() };
    let proxy = Proxy::start(Some(open), limits);
    let mut client = proxy.connect();
    let mut server = proxy.accept();
    server.write_all(b"220 mail\r\n").unwrap();
    client.read_exact(&mut [0; 10]).unwrap();
    client.write_all(b"EHLO me\r\n").unwrap();
    server.read_exact(&mut [0; 9]).unwrap();
    drop((client, server));
    assert_eq!(proxy.record().reason, Reason::EveryNameAllowed);
    // Who waits and then says for whom it is was not judged by that.
    let mut client = proxy.connect();
    let mut server = proxy.accept();
    client.write_all(&hello_of(Some("other.example"), &[])).unwrap();
    assert!(server.read_to_end(&mut vec![]).is_err());
    assert_eq!(proxy.record().reason, Reason::LateClaim);
}
