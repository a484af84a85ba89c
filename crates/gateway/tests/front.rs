//! Clients that were told of a proxy: what they may ask it for, and what they are told.

#![allow(
    clippy::unwrap_used,
    clippy::panic,
    clippy::indexing_slicing,
    reason = "a test's helpers fail the test"
)]

use crate::support;
use gateway::{
    Caller, Ceiling, Claim, Counters, End, Gateway, Host, Judge, Limits, Near, Opening, Phase, Reason,
    Record, Resolve, Resolving, Sink, Table, Unresolved,
};
use policy::{DnsName, Verdict};
use std::io::{Read, Write};
use std::net::{IpAddr, Shutdown, SocketAddr, TcpListener, TcpStream};
use std::sync::{Arc, Mutex};
use std::time::Duration;
use support::web::{anything, nothing, run, state_of};
use support::{ALL, POD, Proxy, Tls, hello_of, patient, state, strict, usual};
use tokio::io::{AsyncReadExt, AsyncWriteExt};

/// Sends a head to the front door, with `{port}` for the server's.
fn ask(proxy: &Proxy, head: &str) -> TcpStream {
    let port = proxy.server.local_addr().unwrap().port().to_string();
    let mut client = patient(TcpStream::connect(proxy.front).unwrap());
    client.write_all(head.replace("{port}", &port).replace('|', "\r\n").as_bytes()).unwrap();
    client
}

/// Reads a head to its end, byte by byte, for what follows is for others.
fn head(stream: &mut TcpStream) -> String {
    let mut head = vec![];
    while !head.ends_with(b"\r\n\r\n") {
        let mut byte = [0];
        stream.read_exact(&mut byte).unwrap_or_else(|_| panic!("{}", String::from_utf8_lossy(&head)));
        head.push(byte[0]);
    }
    String::from_utf8(head).unwrap()
}

/// Everything up to the end.
fn rest(mut stream: TcpStream) -> String {
    let mut all = vec![];
    stream.read_to_end(&mut all).unwrap();
    String::from_utf8(all).unwrap()
}

const CONNECT: &str = "CONNECT hub.example:{port} HTTP/1.1|Host: hub.example:{port}||";
const LEAVE: &str = "HTTP/1.1 200 Connection established\r\n\r\n";

/// A tunnel to `hub.example`.
fn tunnel(proxy: &Proxy) -> TcpStream {
    let mut client = ask(proxy, CONNECT);
    assert_eq!(head(&mut client), LEAVE);
    client
}

/// Asks, and is refused with this status and reason; the record says the same, and nobody came to the server.
fn check_refused(proxy: &Proxy, text: &str, status: u16, reason: Reason) -> Record {
    let answer = rest(ask(proxy, text));
    assert!(answer.starts_with(&format!("HTTP/1.1 {status} ")), "{text}: {answer}");
    assert!(answer.contains(&format!("x-cofferdam-reason: {reason}\r\n")), "{text}: {answer}");
    let record = proxy.record();
    assert_eq!((record.reason, record.verdict), (reason, Verdict::Deny), "{text}");
    let explicit = record.explicit.as_deref().unwrap();
    assert!(answer.contains(&explicit.request_id), "{text}: {answer}");
    assert_eq!(answer.matches("HTTP/1.1 ").count(), 1, "{text}: {answer}");
    assert!(proxy.nobody_came(), "{text}");
    record
}

#[test]
fn tls_through_a_tunnel_arrives_unchanged_and_its_record_says_how_it_came() {
    let (proxy, tls) = (Proxy::usual(), Tls::new());
    let listener = proxy.server.try_clone().unwrap();
    std::thread::scope(|scope| {
        scope.spawn(|| {
            let mut server = tls.accept(patient(listener.accept().unwrap().0));
            let mut question = [0; 4];
            server.read_exact(&mut question).unwrap();
            server.write_all(b"pong").unwrap();
            server.conn.send_close_notify();
            server.flush().unwrap();
        });
        let mut client = tls.connect(tunnel(&proxy), "hub.example");
        client.write_all(b"ping").unwrap();
        let mut back = vec![];
        client.read_to_end(&mut back).unwrap();
        assert_eq!(back, b"pong");
    });
    let record = proxy.record();
    assert_eq!(
        (record.verdict, record.reason, record.end),
        (Verdict::Allow, Reason::NameAllowed, End::Closed)
    );
    assert_eq!(record.destination, proxy.server.local_addr().unwrap());
    assert_eq!((record.claim.kind.as_str(), record.claim.name.as_deref()), ("tls", Some("hub.example")));
    let explicit = record.explicit.as_deref().unwrap();
    let port = record.destination.port();
    assert_eq!(
        (explicit.method.as_str(), explicit.asked.clone()),
        ("CONNECT", format!("hub.example:{port}"))
    );
    assert_eq!(proxy.kill(), []);
}

#[test]
fn what_comes_with_the_head_is_not_lost() {
    let proxy = Proxy::usual();
    let hello = hello_of(Some("hub.example"), &[]);
    let port = proxy.server.local_addr().unwrap().port();
    let head_and_hello = [format!("CONNECT hub.example:{port} HTTP/1.0\r\n\r\n").as_bytes(), &hello].concat();
    for cut in [0, 1, 20, head_and_hello.len() - 5] {
        let mut client = patient(TcpStream::connect(proxy.front).unwrap());
        client.write_all(&head_and_hello[..cut]).unwrap();
        std::thread::sleep(Duration::from_millis(20));
        client.write_all(&head_and_hello[cut..]).unwrap();
        assert_eq!(head(&mut client), LEAVE, "{cut}");
        let mut read = vec![0; hello.len()];
        proxy.accept().read_exact(&mut read).unwrap();
        assert_eq!(read, hello, "{cut}");
    }
}

#[test]
fn the_end_of_one_direction_is_passed_on_alone() {
    let proxy = Proxy::usual();
    let mut client = tunnel(&proxy);
    client.write_all(&hello_of(Some("hub.example"), &[])).unwrap();
    client.write_all(&[23, 3, 3, 0, 1, 7]).unwrap();
    client.shutdown(Shutdown::Write).unwrap();
    let mut server = proxy.accept();
    let mut read = vec![];
    server.read_to_end(&mut read).unwrap();
    assert!(read.ends_with(&[23, 3, 3, 0, 1, 7]));
    server.write_all(b"late answer").unwrap();
    drop(server);
    assert_eq!(rest(client), "late answer");
    assert_eq!(proxy.record().end, End::Closed);
}

#[test]
fn a_host_that_is_not_allowed_gets_no_tunnel_and_says_why() {
    let proxy = Proxy::usual();
    let record =
        check_refused(&proxy, "CONNECT other.example:{port} HTTP/1.1||", 403, Reason::NameNotAllowed);
    assert_eq!(record.nearest.as_deref(), Some("ClusterNetworkPolicy hub spec.egress[0]"));
    check_refused(&proxy, "CONNECT stranger.example:{port} HTTP/1.1||", 403, Reason::NameMismatch);
    check_refused(
        &proxy,
        "GET http://other.example:{port}/ HTTP/1.1|Host: other.example:{port}||",
        403,
        Reason::NameNotAllowed,
    );
    let answer = rest(ask(&proxy, "CONNECT other.example:{port} HTTP/1.1||"));
    assert!(answer.contains("x-cofferdam-policy: ClusterNetworkPolicy hub spec.egress[0]\r\n"), "{answer}");
    assert!(
        answer.lines().next().unwrap().contains("Refused by Cofferdam: other.example at port"),
        "{answer}"
    );
}

#[test]
fn only_ports_that_are_allowed_are_led_to() {
    let one = state(POD, &[("hub.example", &[(1, 1)])], Ceiling::default(), strict());
    let proxy = Proxy::start(Some(one), Limits::default());
    check_refused(&proxy, CONNECT, 403, Reason::NameNotAllowed);
}

#[test]
fn in_a_tunnel_to_a_name_there_is_nobody_else() {
    let tls = Tls::new();
    // Both are allowed, and at the same address.
    let both = state(POD, &[("hub.example", ALL), ("other.example", ALL)], Ceiling::default(), strict());
    let proxy = Proxy::start(Some(both), Limits::default());
    let alert = |name: &str| {
        let mut client = tunnel(&proxy);
        client.write_all(&tls.hello(name)).unwrap();
        let mut answer = vec![];
        client.read_to_end(&mut answer).unwrap();
        let came = proxy.server.accept().map(|(mut server, _)| {
            server.set_read_timeout(Some(support::PATIENCE)).unwrap();
            let mut read = vec![];
            let _reset = server.read_to_end(&mut read);
            read
        });
        (answer, came.unwrap(), proxy.record().reason)
    };
    for name in ["other.example", "stranger.example"] {
        let (answer, came, reason) = alert(name);
        assert_eq!((answer, reason), (vec![21, 3, 3, 0, 2, 2, 49], Reason::TunnelName), "{name}");
        assert_eq!(came, b"", "the server heard nothing");
    }
    let mut client = tunnel(&proxy);
    client.write_all(b"GET / HTTP/1.1\r\nHost: other.example\r\n\r\n").unwrap();
    assert!(rest(client).contains("\"tunnel-name\""));
    assert_eq!(proxy.record().reason, Reason::TunnelName);
    let mut client = tunnel(&proxy);
    client.write_all(b"SSH-2.0-x\r\n").unwrap();
    assert!(client.read(&mut [0]).is_err_and(|error| error.kind() == std::io::ErrorKind::ConnectionReset));
    assert_eq!(proxy.record().reason, Reason::Opaque);
}

#[test]
fn plain_requests_in_a_tunnel_are_held_to_their_host() {
    let proxy = Proxy::usual();
    let mut client = tunnel(&proxy);
    client.write_all(b"GET /1 HTTP/1.1\r\nHost: hub.example\r\n\r\n").unwrap();
    let mut server = proxy.accept();
    let mut read = [0; 38];
    server.read_exact(&mut read).unwrap();
    assert_eq!(read, *b"GET /1 HTTP/1.1\r\nHost: hub.example\r\n\r\n");
    client.write_all(b"GET /2 HTTP/1.1\r\nHost: other.example\r\n\r\n").unwrap();
    assert!(client.read(&mut [0]).is_err());
    let record = proxy.record();
    assert_eq!((record.reason, record.end), (Reason::LaterHost, End::Cut));
}

/// What a server gets of one request, and answers with `answer`.
fn served(proxy: &Proxy, answer: &'static str) -> std::thread::JoinHandle<String> {
    let listener = proxy.server.try_clone().unwrap();
    listener.set_nonblocking(false).unwrap();
    std::thread::spawn(move || {
        let mut server = patient(listener.accept().unwrap().0);
        let head = head(&mut server);
        server.write_all(answer.as_bytes()).unwrap();
        head
    })
}

const OK: &str = "HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok";

#[test]
fn a_request_for_a_whole_address_goes_on_without_what_is_for_the_proxy() {
    let proxy = Proxy::usual();
    let server = served(&proxy, OK);
    let answer = rest(ask(
        &proxy,
        "GET http://hub.example:{port}/x?y=1 HTTP/1.1|Host: hub.example:{port}|Proxy-Authorization: Basic eDp5|\
         Proxy-Connection: keep-alive|Connection: keep-alive, X-Hop|X-Hop: 1|X-Own: 1|Authorization: mine||",
    ));
    let asked = server.join().unwrap();
    let port = proxy.server.local_addr().unwrap().port();
    assert!(asked.starts_with("GET /x?y=1 HTTP/1.1\r\n"), "{asked}");
    let lower = asked.to_ascii_lowercase();
    for expected in [&format!("host: hub.example:{port}\r\n"), "x-own: 1\r\n", "authorization: mine\r\n"] {
        assert!(lower.contains(expected), "{expected}: {asked}");
    }
    for unexpected in ["proxy-", "x-hop", "keep-alive"] {
        assert!(!lower.contains(unexpected), "{unexpected}: {asked}");
    }
    assert!(answer.starts_with("HTTP/1.1 200 OK\r\n") && answer.ends_with("ok"), "{answer}");
    assert!(answer.to_ascii_lowercase().contains("connection: close\r\n"), "{answer}");
    let (record, call) = (proxy.record(), proxy.call());
    assert_eq!(
        (record.reason, record.end, record.claim.kind.as_str()),
        (Reason::NameAllowed, End::Closed, "http")
    );
    assert_eq!((call.reason, call.status, call.explicit), (Reason::RequestAllowed, 200, true));
    assert_eq!((call.path.as_str(), call.name.as_str()), ("/x", "hub.example"));
}

#[test]
fn requests_for_a_whole_address_are_judged_as_requests() {
    for (requests, expected) in [(anything(), Reason::RequestAllowed), (nothing(), Reason::RequestNotAllowed)]
    {
        let proxy = Proxy::start(Some(state_of(requests, Ceiling::default(), None)), Limits::default());
        let server = (expected == Reason::RequestAllowed).then(|| served(&proxy, OK));
        let answer = rest(ask(&proxy, "GET http://hub.example:{port}/ HTTP/1.1|Host: hub.example:{port}||"));
        server.map(|server| server.join().unwrap());
        let call = proxy.call();
        assert_eq!((call.reason, call.explicit), (expected, true));
        assert_eq!(answer.contains(&call.request_id), expected == Reason::RequestNotAllowed, "{answer}");
    }
}

#[test]
fn the_next_request_on_a_connection_is_not_for_the_server_of_the_first() {
    let proxy = Proxy::usual();
    let server = served(&proxy, OK);
    let first = "POST http://hub.example:{port}/1 HTTP/1.1|Host: hub.example:{port}|Content-Length: 2||hi";
    let second = "GET http://other.example:{port}/2 HTTP/1.1|Host: other.example:{port}||";
    let mut client = ask(&proxy, &format!("{first}{second}"));
    let mut answer = vec![];
    // What was not read may end it with a reset, behind the answer.
    let _end = client.read_to_end(&mut answer);
    let answer = String::from_utf8(answer).unwrap();
    assert_eq!((answer.matches("HTTP/1.1 ").count(), answer.contains("200 OK")), (1, true), "{answer}");
    assert!(server.join().unwrap().starts_with("POST /1 "));
    drop(client);
    let record = proxy.record();
    assert_eq!(record.reason, Reason::NameAllowed);
    let (records, calls) = proxy.kill_all();
    assert_eq!((records.len(), calls.len()), (0, 1), "{calls:?}");
}

#[test]
fn what_two_readers_could_take_differently_goes_nowhere() {
    let proxy = Proxy::usual();
    let long = format!("CONNECT hub.example:{{port}} HTTP/1.1|X: {}||", "x".repeat(20_000));
    for (text, status, reason) in [
        ("CONNECT hub.example:{port} HTTP/1.1|Host: other.example:{port}||", 400, Reason::HttpHost),
        ("CONNECT hub.example:{port} HTTP/1.1|Content-Length: 5||", 400, Reason::HttpMalformed),
        ("CONNECT hub.example:{port} HTTP/1.1|Transfer-Encoding: chunked||", 400, Reason::HttpMalformed),
        ("CONNECT hub.example HTTP/1.1||", 400, Reason::HttpMalformed),
        ("CONNECT hub.example:{port} HTTP/1.1|X : 1||", 400, Reason::HttpMalformed),
        ("CONNECT x@hub.example:{port} HTTP/1.1||", 400, Reason::HttpMalformed),
        ("CONNECT hub.example:{port} HTTP/1.1|Upgrade: h2c||", 400, Reason::HttpTunnel),
        ("connect hub.example:{port} HTTP/1.1||", 400, Reason::HttpTunnel),
        ("PRI * HTTP/2.0||SM||", 400, Reason::HttpTunnel),
        ("GET / HTTP/1.1|Host: hub.example||", 400, Reason::NotForProxy),
        ("GET https://hub.example/ HTTP/1.1|Host: hub.example||", 400, Reason::HttpMalformed),
        ("GET http://hub.example/ HTTP/1.1|Host: other.example||", 400, Reason::HttpHost),
        (
            "POST http://hub.example/ HTTP/1.1|Host: hub.example|Content-Length: 1|Transfer-Encoding: chunked||",
            400,
            Reason::HttpMalformed,
        ),
        ("\u{16}\u{3}\u{1}\u{0}\u{5}", 400, Reason::NotForProxy),
        (long.as_str(), 431, Reason::HttpTooLarge),
    ] {
        check_refused(&proxy, text, status, reason);
    }
}

#[test]
fn who_says_nothing_or_too_slowly_is_not_waited_for() {
    let limits = Limits { header_timeout: Duration::from_millis(100), ..Limits::default() };
    let proxy = Proxy::start(Some(usual(Ceiling::default())), limits);
    for text in ["", "CONNECT hub.example:{port} HTTP/1.1|Host: h"] {
        check_refused(&proxy, text, 408, Reason::Timeout);
    }
    // Nor in a tunnel.
    let mut client = tunnel(&proxy);
    assert!(client.read(&mut [0]).is_err());
    assert_eq!(proxy.record().reason, Reason::Timeout);
    // Who goes is told nothing.
    let client = ask(&proxy, "CONNECT hub");
    client.shutdown(Shutdown::Write).unwrap();
    assert!(rest(client).starts_with("HTTP/1.1 408 "));
    assert_eq!(proxy.record().reason, Reason::Incomplete);
}

#[test]
fn a_server_that_is_not_there_is_told_before_the_tunnel_begins() {
    let gone = TcpListener::bind((POD, 0)).unwrap().local_addr().unwrap();
    let server = TcpListener::bind((POD, 0)).unwrap();
    let proxy = Proxy::in_front_of(server, gone, Some(usual(Ceiling::default())), Limits::default());
    for text in [CONNECT, "GET http://hub.example:{port}/ HTTP/1.1|Host: hub.example:{port}||"] {
        let record = check_refused(&proxy, text, 502, Reason::ServerUnreachable);
        assert_eq!((record.end, record.destination), (End::Unreachable, gone));
    }
}

#[test]
fn strangers_and_pods_without_policy_get_nothing() {
    let proxy = Proxy::start(None, Limits::default());
    check_refused(&proxy, CONNECT, 503, Reason::NoPolicy);
    let mut nobody = usual(Ceiling::default());
    nobody.pods.clear();
    let proxy = Proxy::start(Some(nobody), Limits::default());
    check_refused(&proxy, CONNECT, 403, Reason::UnknownPod);
}

#[test]
fn one_pod_has_a_bound_and_is_told_so() {
    let limits = Limits { max_per_pod: 1, ..Limits::default() };
    let proxy = Proxy::start(Some(usual(Ceiling::default())), limits);
    let _held = tunnel(&proxy);
    let server = proxy.accept();
    check_refused(&proxy, CONNECT, 503, Reason::TooManyOfPod);
    drop(server);
}

#[test]
fn a_tunnel_is_cut_when_policy_turns_against_it() {
    let proxy = Proxy::usual();
    let mut client = tunnel(&proxy);
    client.write_all(&hello_of(Some("hub.example"), &[])).unwrap();
    let mut server = proxy.accept();
    server.read_exact(&mut [0; 5]).unwrap();
    proxy.table.replace(state(POD, &[("hub.example", &[])], Ceiling::default(), strict()));
    proxy.phase.send_modify(|phase: &mut Phase| phase.changes += 1);
    assert!(client.read(&mut [0]).is_err());
    let record = proxy.record();
    assert_eq!((record.reason, record.end), (Reason::NameNotAllowed, End::Cut));
    assert!(record.explicit.is_some());
}

/// Knows two names, and remembers who asked.
struct Book {
    answer: Result<Vec<IpAddr>, Unresolved>,
    asked: Mutex<Vec<(IpAddr, Host)>>,
}

impl Resolve for Book {
    fn resolve(&self, pod: IpAddr, host: &Host) -> Resolving<'_> {
        self.asked.lock().unwrap().push((pod, host.clone()));
        let answer = self.answer.clone();
        Box::pin(async { answer })
    }
}

fn finding(answer: Result<Vec<IpAddr>, Unresolved>) -> (Proxy, Arc<Book>) {
    let book = Arc::new(Book { answer, asked: Mutex::default() });
    (Proxy::finding(Arc::clone(&book) as Arc<dyn Resolve>, Some(usual(Ceiling::default()))), book)
}

#[test]
fn nobody_is_led_to_this_machine_whatever_policy_and_dns_say() {
    let own = |text: &str| text.parse::<IpAddr>().unwrap();
    for address in
        ["127.0.0.1", "127.8.8.8", "0.0.0.0", "169.254.169.254", "::1", "::ffff:127.0.0.1", "fe80::1"]
    {
        let (proxy, book) = finding(Ok(vec![own(address)]));
        check_refused(&proxy, CONNECT, 403, Reason::Inside);
        let name = Host::Name(DnsName::parse("hub.example").unwrap());
        assert_eq!(*book.asked.lock().unwrap(), [(POD, name)]);
    }
    let (proxy, book) = finding(Ok(vec![own("127.0.0.1")]));
    check_refused(&proxy, "CONNECT 127.0.0.1:{port} HTTP/1.1||", 403, Reason::Inside);
    check_refused(
        &proxy,
        "GET http://127.0.0.1:{port}/ HTTP/1.1|Host: 127.0.0.1:{port}||",
        403,
        Reason::Inside,
    );
    assert_eq!(book.asked.lock().unwrap()[0], (POD, Host::Address(own("127.0.0.1"))));
    // Whoever is asked for it judges what will be connected to.
    check_refused(&proxy, "CONNECT [::ffff:127.0.0.1]:{port} HTTP/1.1||", 403, Reason::Inside);
    assert_eq!(book.asked.lock().unwrap()[2], (POD, Host::Address(own("127.0.0.1"))));
    // An address of an interface that is no loopback one, where the machine has any.
    let socket = std::net::UdpSocket::bind("0.0.0.0:0").unwrap();
    if socket.connect("192.0.2.1:9").is_ok() {
        let (proxy, _) = finding(Ok(vec![socket.local_addr().unwrap().ip()]));
        check_refused(&proxy, CONNECT, 403, Reason::Inside);
    }
}

#[test]
fn an_address_of_ipv4_is_judged_as_that_however_a_resolver_writes_it() {
    let [v4, mapped] = ["192.0.2.9", "::ffff:192.0.2.9"].map(|text| text.parse::<IpAddr>().unwrap());
    let book = Arc::new(Book { answer: Ok(vec![mapped]), asked: Mutex::default() });
    // As if rules for IPv6 allowed it, and those for IPv4 did not.
    let allowed = state(mapped, &[("hub.example", ALL)], Ceiling::default(), strict());
    let proxy = Proxy::finding(book, Some(allowed));
    let record = check_refused(&proxy, CONNECT, 403, Reason::NotResolved);
    assert_eq!(record.destination.ip(), v4);
}

#[test]
fn why_a_name_leads_nowhere_is_told() {
    for (reason, status) in [
        (Reason::LookupRefused, 403),
        (Reason::NoAddress, 502),
        (Reason::Inside, 403),
        (Reason::TooManyAsked, 503),
    ] {
        let unresolved =
            Unresolved { reason, rule: Some("the rule".into()), detail: Some("so it said".into()) };
        let (proxy, _) = finding(Err(unresolved));
        let answer = rest(ask(&proxy, CONNECT));
        assert!(answer.contains("so it said") && answer.contains("policy: the rule"), "{answer}");
        let record = proxy.record();
        assert_eq!(record.nearest.as_deref(), Some("the rule"));
        check_refused(&proxy, CONNECT, status, reason);
    }
    let (proxy, _) = finding(Ok(vec![]));
    check_refused(&proxy, CONNECT, 502, Reason::NoAddress);
}

#[test]
fn an_address_is_judged_as_if_the_pod_had_connected_to_it() {
    let connect = format!("CONNECT {POD}:{{port}} HTTP/1.1||");
    // Nothing but names is allowed there: what comes must say one.
    let proxy = Proxy::usual();
    let mut client = ask(&proxy, &connect);
    assert_eq!(head(&mut client), LEAVE);
    client.write_all(&hello_of(Some("hub.example"), &[])).unwrap();
    proxy.accept().read_exact(&mut [0; 5]).unwrap();
    let mut client = ask(&proxy, &connect);
    assert_eq!(head(&mut client), LEAVE);
    client.write_all(&hello_of(Some("other.example"), &[])).unwrap();
    let mut answer = vec![];
    client.read_to_end(&mut answer).unwrap();
    assert_eq!(answer, [21, 3, 3, 0, 2, 2, 49]);
    drop(proxy);
    // No name that is allowed leads there.
    let none = state(POD, &[("other.example", &[])], Ceiling::default(), strict());
    let proxy = Proxy::start(Some(none), Limits::default());
    check_refused(&proxy, &connect, 403, Reason::NoName);
    let judged =
        proxy.table.judge(&Opening { pod: POD, destination: SocketAddr::new(POD, 1), claim: Claim::Opaque });
    assert_eq!(judged.reason.verdict(), Verdict::Deny);
}

/// Forgets all.
struct Nowhere;

impl Sink for Nowhere {
    fn take(&self, _: Record) -> bool {
        true
    }
}

#[test]
fn any_stream_is_served_whose_caller_somebody_knows() {
    let server = TcpListener::bind((POD, 0)).unwrap();
    let to = server.local_addr().unwrap();
    let table = Arc::new(Table::new());
    table.replace(usual(Ceiling::default()));
    let (_phase, told) = tokio::sync::watch::channel(Phase::default());
    let limits = Limits { splice_after: 0, ..Limits::default() };
    let counters = Arc::new(Counters::new());
    let gateway = Gateway::new(table, Arc::new(Nowhere), counters, limits, told).standing_for(to);
    let echo = std::thread::spawn(move || {
        let mut stream = patient(server.accept().unwrap().0);
        let mut all = vec![];
        stream.read_to_end(&mut all).unwrap();
        // No hello: that would be no answer to one.
        stream.write_all(&all[all.len() - (1 << 20)..]).unwrap();
        all.len()
    });
    let hello = hello_of(Some("hub.example"), &[]);
    let body = vec![7; 1 << 20];
    run(async {
        let (client, far) = tokio::io::duplex(1000);
        let address = SocketAddr::new(POD, 1);
        let serving = gateway.front(Near::any(far), Caller { pod: address, listener: address });
        let asking = async {
            let (mut read, mut write) = tokio::io::split(client);
            let ask = format!("CONNECT hub.example:{} HTTP/1.1\r\n\r\n", to.port());
            write.write_all(ask.as_bytes()).await.unwrap();
            let mut leave = vec![0; LEAVE.len()];
            read.read_exact(&mut leave).await.unwrap();
            assert_eq!(leave, LEAVE.as_bytes());
            write.write_all(&hello).await.unwrap();
            write.write_all(&[23, 3, 3, 0, 1, 7]).await.unwrap();
            write.write_all(&body).await.unwrap();
            write.shutdown().await.unwrap();
            let mut back = vec![];
            read.read_to_end(&mut back).await.unwrap();
            assert!(back == body, "{} bytes", back.len());
        };
        tokio::join!(serving, asking);
    });
    assert_eq!(echo.join().unwrap(), hello.len() + 6 + body.len());
}
