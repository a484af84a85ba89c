//! A node that was taken asks the central gateway for what it likes, and as it likes.

#![allow(
    clippy::unwrap_used,
    clippy::panic,
    clippy::indexing_slicing,
    reason = "a test's helpers fail the test"
)]

use crate::support;
use gateway::{CentralLimits, Reason, Record};
use http::{HeaderValue, Request, StatusCode};
use hyper::body::Bytes;
use std::future::Future;
use std::net::TcpListener;
use std::time::Duration;
use support::egress::{Authority, HUB, Liar, Replica, head, policies, policy, server};

/// One replica, its authority, and the server that it connects to.
struct World {
    authority: Authority,
    replica: Replica,
    server: TcpListener,
}

impl World {
    fn new(egress: &str) -> Self {
        Self::limited(egress, CentralLimits::default())
    }

    fn limited(egress: &str, limits: CentralLimits) -> Self {
        let authority = Authority::new();
        let (server, address) = server();
        let replica = Replica::limited(authority.gateway(), policies(egress, 7), address, limits);
        Self { authority, replica, server }
    }

    /// Serves whoever comes, as long as they want.
    fn serve(&self) {
        let server = self.server.try_clone().unwrap();
        std::thread::spawn(move || {
            for mut stream in server.incoming().map_while(Result::ok) {
                std::thread::spawn(move || std::io::copy(&mut stream, &mut std::io::sink()));
            }
        });
    }

    /// The next record. What is under way goes on meanwhile.
    async fn record(&self) -> Record {
        patient(async {
            loop {
                match self.replica.records.try_recv() {
                    Ok(record) => return record,
                    Err(_) => tokio::time::sleep(Duration::from_millis(5)).await,
                }
            }
        })
        .await
    }

    async fn node(&self, node: &str) -> Liar {
        Liar::connect(&self.authority.node(node), self.replica.address).await
    }
}

fn run<T>(work: impl Future<Output = T>) -> T {
    tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap().block_on(work)
}

/// Nobody waits for a test that hangs.
async fn patient<T>(work: impl Future<Output = T>) -> T {
    tokio::time::timeout(Duration::from_secs(60), work).await.unwrap()
}

#[test]
fn a_node_gets_for_its_own_pods_what_policy_allows_and_nothing_else() {
    let world = World::new(HUB);
    let set = |name: &'static str, value: &str| {
        let value = HeaderValue::from_str(value).unwrap();
        move |head: &mut Request<()>| drop(head.headers_mut().insert(name, value.clone()))
    };
    let without = |head: &mut Request<()>| drop(head.headers_mut().remove("cofferdam-name"));
    type Change<'a> = &'a dyn Fn(&mut Request<()>);
    let other = set("cofferdam-pod", "team/other");
    let nobody = set("cofferdam-pod", "team/nobody");
    let elsewhere = set("cofferdam-source", "198.51.100.130:40000");
    let evil = set("cofferdam-name", "evil.example");
    let mapped = set("cofferdam-source", "[::ffff:127.0.0.1]:40000");
    let as_is = |_: &mut Request<()>| {};
    let cases: [(&str, &str, Change<'_>, Result<(), Reason>); 19] = [
        ("what is allowed", "203.0.113.9:443", &as_is, Ok(())),
        ("the same in the other family", "203.0.113.9:443", &mapped, Ok(())),
        ("another port", "203.0.113.9:80", &as_is, Err(Reason::NameNotAllowed)),
        ("another name", "203.0.113.9:443", &evil, Err(Reason::NameNotAllowed)),
        ("no name", "203.0.113.9:443", &without, Err(Reason::NoName)),
        ("a pod of another node", "203.0.113.9:443", &other, Err(Reason::UnknownPod)),
        ("a pod that is not there", "203.0.113.9:443", &nobody, Err(Reason::UnknownPod)),
        ("the address of another pod", "203.0.113.9:443", &elsewhere, Err(Reason::UnknownPod)),
        ("itself", "127.0.0.1:443", &as_is, Err(Reason::BarredDestination)),
        ("itself, otherwise", "[::ffff:127.0.0.1]:443", &as_is, Err(Reason::BarredDestination)),
        ("metadata", "169.254.169.254:443", &as_is, Err(Reason::BarredDestination)),
        ("metadata of Azure", "168.63.129.16:443", &as_is, Err(Reason::BarredDestination)),
        (
            "an address in the other family",
            "[::ffff:203.0.113.9]:443",
            &as_is,
            Err(Reason::BarredDestination),
        ),
        ("a pod", "198.51.100.130:443", &as_is, Err(Reason::BarredDestination)),
        ("a node", "198.51.100.1:443", &as_is, Err(Reason::BarredDestination)),
        ("everybody", "255.255.255.255:443", &as_is, Err(Reason::BarredDestination)),
        ("a Service", "10.96.0.1:443", &as_is, Err(Reason::BarredDestination)),
        ("a private address", "[fd00::1]:443", &as_is, Err(Reason::BarredDestination)),
        ("port 0", "203.0.113.9:0", &as_is, Err(Reason::BarredDestination)),
    ];
    run(async {
        let mut liar = world.node("node-a").await;
        for (what, destination, change, expected) in cases {
            let mut head = head(destination);
            change(&mut head);
            let (status, reason) = patient(liar.ask(head)).await;
            let expected =
                expected.map_or_else(|why| (StatusCode::FORBIDDEN, why.as_str()), |()| (StatusCode::OK, ""));
            assert_eq!((status, reason.as_str()), expected, "{what}");
            assert_eq!(
                world.record().await.verdict == policy::Verdict::Allow,
                status == StatusCode::OK,
                "{what}"
            );
        }
        let mut head = head("203.0.113.9:443");
        other(&mut head);
        elsewhere(&mut head);
        let (_, reason) = patient(liar.ask(head)).await;
        assert_eq!(reason, "not-on-node", "a pod of another node, by its right address");
    });
}

#[test]
fn a_rule_for_an_address_leads_into_private_networks_and_a_name_where_it_may() {
    let both =
        "[{action: Allow, to: [{networks: [10.20.0.0/16]}, {domains: [hub.example]}], ports: [{port: 443}]}]";
    let world = World::new(both);
    run(async {
        let mut liar = world.node("node-a").await;
        for (destination, allowed) in [
            ("10.20.0.1:443", true),
            ("10.20.0.1:80", false),
            ("10.21.0.1:443", false),
            ("203.0.113.9:443", true),
        ] {
            let (status, reason) = patient(liar.ask(head(destination))).await;
            assert_eq!(status == StatusCode::OK, allowed, "{destination}: {reason}");
        }
        let private = vec!["10.21.0.0/16".parse().unwrap()];
        let policies = gateway::Policies::new(policy(HUB, 8), private);
        world.replica.policies.send_replace(Some(std::sync::Arc::new(policies)));
        for (destination, allowed) in [("10.20.0.1:443", false), ("10.21.0.1:443", true)] {
            let (status, reason) = patient(liar.ask(head(destination))).await;
            assert_eq!(status == StatusCode::OK, allowed, "{destination}: {reason}");
        }
    });
}

/// What is allowed over IPv6 is not allowed over IPv4, and no rule for networks lends out the machine's credentials.
#[test]
fn an_address_of_one_family_is_none_of_the_other_and_credentials_are_of_no_network() {
    let world =
        World::new("[{action: Allow, to: [{networks: ['::/0', 100.64.0.0/10]}], ports: [{port: 443}]}]");
    run(async {
        let mut liar = world.node("node-a").await;
        for (destination, expected) in [
            ("[2001:db8::9]:443", ""),
            ("100.100.100.201:443", ""),
            ("203.0.113.9:443", "no-name"),
            ("[::ffff:203.0.113.9]:443", "barred-destination"),
            ("100.100.100.200:443", "barred-destination"),
            ("[fd00:ec2::254]:443", "barred-destination"),
        ] {
            let mut head = head(destination);
            head.headers_mut().remove("cofferdam-name");
            assert_eq!(patient(liar.ask(head)).await.1, expected, "{destination}");
        }
    });
}

/// Two names: each must be allowed.
#[test]
fn all_names_must_be_allowed() {
    let world = World::new(HUB);
    run(async {
        let mut liar = world.node("node-a").await;
        let mut head = head("203.0.113.9:443");
        head.headers_mut().append("cofferdam-name", HeaderValue::from_static("evil.example"));
        assert_eq!(patient(liar.ask(head)).await.1, "name-not-allowed");
    });
}

#[test]
fn what_is_no_connect_is_refused_and_recorded() {
    let world = World::new(HUB);
    run(async {
        let mut liar = world.node("node-a").await;
        let get = Request::get("https://203.0.113.9/").body(()).unwrap();
        let name = head("hub.example:443");
        let mut silent = head("203.0.113.9:443");
        silent.headers_mut().clear();
        for (what, head) in [("a GET", get), ("a name as destination", name), ("no pod", silent)] {
            let (status, reason) = patient(liar.ask(head)).await;
            assert_eq!((status, reason.as_str()), (StatusCode::BAD_REQUEST, "connect-malformed"), "{what}");
            let record = world.record().await;
            assert_eq!(
                (record.reason, record.asked_by.as_deref()),
                (Reason::ConnectMalformed, Some("node-a"))
            );
        }
    });
}

#[test]
fn a_node_that_asks_too_much_takes_nobody_elses_place() {
    let limits = CentralLimits {
        streams: 100,
        streams_of_node: 3,
        connections_of_node: 2,
        ..CentralLimits::default()
    };
    let world = World::limited(HUB, limits);
    run(async {
        let mut liar = world.node("node-a").await;
        let mut held = Vec::new();
        for number in 0..5 {
            let send = liar.send.clone().ready().await.unwrap();
            let (answer, stream) = { send }.send_request(head("203.0.113.9:443"), false).unwrap();
            let answer = patient(answer).await.unwrap();
            let expected = if number < 3 { StatusCode::OK } else { StatusCode::SERVICE_UNAVAILABLE };
            assert_eq!(answer.status(), expected, "{number}");
            held.push((answer, stream));
        }
        let mut other = world.node("node-b").await;
        let mut theirs = head("203.0.113.9:443");
        theirs.headers_mut().insert("cofferdam-pod", HeaderValue::from_static("team/other"));
        theirs.headers_mut().insert("cofferdam-source", HeaderValue::from_static("198.51.100.130:1"));
        assert_eq!(patient(other.ask(theirs)).await.0, StatusCode::OK);
        // Places are given back.
        held.clear();
        let mut status = StatusCode::SERVICE_UNAVAILABLE;
        while status != StatusCode::OK {
            status = patient(liar.ask(head("203.0.113.9:443"))).await.0;
        }
        let _second = world.node("node-a").await;
        let third = world.node("node-a").await;
        let _ended = patient(third.driver).await;
        assert_eq!(world.replica.counters.read().accept_errors, 1);
    });
}

/// Whoever says nothing has a place for as long as a node may take to say who it is.
#[test]
fn who_says_nothing_takes_only_a_part_of_all_places() {
    let limits = CentralLimits { connections: 150, ..CentralLimits::default() };
    let world = World::limited(HUB, limits);
    let silent = |_| {
        let socket = tokio::net::TcpSocket::new_v4().unwrap();
        socket.bind("127.0.0.77:0".parse().unwrap()).unwrap();
        socket.connect(world.replica.address)
    };
    run(async {
        let mut held = Vec::new();
        for connecting in (0..200).map(silent) {
            held.push(patient(connecting).await.unwrap());
        }
        let mut node = patient(world.node("node-a")).await;
        assert_eq!(patient(node.ask(head("203.0.113.9:443"))).await.0, StatusCode::OK);
        assert!(world.replica.counters.read().accept_errors > 0, "some of the others were turned away");
        drop(held);
    });
}

/// Streams that are opened and reset at once, tens of thousands of them (CVE-2023-44487).
#[test]
fn rapid_resets_end_the_connection_and_leave_nothing_behind() {
    let world = World::new(HUB);
    world.serve();
    run(async {
        let liar = world.node("node-a").await;
        let asking = async {
            for _ in 0..50_000 {
                let Ok(mut send) = liar.send.clone().ready().await else { return };
                let Ok((answer, mut stream)) = send.send_request(head("203.0.113.9:443"), false) else {
                    return;
                };
                stream.send_reset(h2::Reason::CANCEL);
                drop(answer);
            }
        };
        patient(asking).await;
        goes_on(&world).await;
    });
    settles(&world);
}

#[test]
fn more_streams_than_a_connection_may_have_wait_or_are_refused() {
    let world = World::new(HUB);
    world.serve();
    run(async {
        let liar = world.node("node-a").await;
        let mut held = Vec::new();
        while held.len() < 256 {
            let mut send = patient(liar.send.clone().ready()).await.unwrap();
            let (answer, stream) = send.send_request(head("203.0.113.9:443"), false).unwrap();
            held.push((patient(answer).await.unwrap(), stream));
        }
        let mut send = liar.send.clone().ready().await.unwrap();
        let (answer, _stream) = send.send_request(head("203.0.113.9:443"), false).unwrap();
        assert!(tokio::time::timeout(Duration::from_millis(300), answer).await.is_err(), "there is no place");
        assert_eq!(world.replica.counters.read().open, 256);
        goes_on(&world).await;
    });
}

#[test]
fn a_huge_head_is_refused() {
    let world = World::new(HUB);
    run(async {
        let liar = world.node("node-a").await;
        for size in [20_000, 1 << 20] {
            let mut big = head("203.0.113.9:443");
            let value = HeaderValue::from_bytes(&vec![b'x'; size]).unwrap();
            big.headers_mut().insert("x-big", value);
            let Ok(mut send) = liar.send.clone().ready().await else { break };
            // Their own library may refuse to send it.
            let Ok((answer, _stream)) = send.send_request(big, false) else { continue };
            match patient(answer).await {
                Ok(answer) => {
                    assert_eq!(answer.status(), StatusCode::REQUEST_HEADER_FIELDS_TOO_LARGE, "{size}")
                }
                Err(error) => assert!(error.is_reset() || error.is_go_away() || error.is_io(), "{error}"),
            }
        }
        goes_on(&world).await;
    });
    assert_eq!(world.replica.counters.read().accept_errors, 0);
}

/// More than the window at once is a fault of the other side, and its alone.
#[test]
fn bytes_that_nobody_takes_are_bounded() {
    let world = World::new(HUB);
    run(async {
        let liar = world.node("node-a").await;
        let mut send = liar.send.clone().ready().await.unwrap();
        let (answer, mut stream) = send.send_request(head("203.0.113.9:443"), false).unwrap();
        assert_eq!(patient(answer).await.unwrap().status(), StatusCode::OK);
        // The server never reads: what kernel buffers and the window hold is all that goes.
        let (_unread, _) = world.server.accept().unwrap();
        let mut sent = 0;
        loop {
            stream.reserve_capacity(1 << 20);
            let more = std::future::poll_fn(|cx| stream.poll_capacity(cx));
            let Ok(Some(Ok(length))) = tokio::time::timeout(Duration::from_secs(1), more).await else {
                break;
            };
            stream.send_data(Bytes::from(vec![7; length]), false).unwrap();
            sent += length;
            assert!(sent < 64 << 20, "nothing holds it back");
        }
        assert!(sent >= 64 * 1024, "{sent}");
        goes_on(&world).await;
    });
}

/// Others are served.
async fn goes_on(world: &World) {
    let mut node = world.node("node-a").await;
    assert_eq!(patient(node.ask(head("203.0.113.9:443"))).await.0, StatusCode::OK);
}

/// Nothing is open any more once those who asked are gone.
fn settles(world: &World) {
    let end = std::time::Instant::now() + support::PATIENCE;
    while world.replica.counters.read().open > 0 {
        assert!(std::time::Instant::now() < end, "{:?}", world.replica.counters.read());
        std::thread::sleep(Duration::from_millis(10));
    }
}
