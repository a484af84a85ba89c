//! Connections that leave by a central gateway: real TLS between a node's gateway and replicas in this process.

#![allow(
    clippy::unwrap_used,
    clippy::panic,
    clippy::indexing_slicing,
    reason = "a test's helpers fail the test"
)]

use crate::support;
use feed::tls::{Identity, node_name};
use gateway::{End, Phase, Reason, RuleFacts};
use policy::table::{Row, Ruling};
use policy::{Operations, Requests, RuleId, Verb, Verdict};
use std::io::{Read, Write};
use std::net::{Shutdown, SocketAddr, TcpStream};
use std::sync::Arc;
use std::time::Duration;
use support::egress::{Authority, HUB, Replica, accept, is_reset, node, policies, server, through};
use support::web::rule;
use support::{ALLOWS, Proxy, hello_of, patient};

/// A node's gateway and its replicas.
struct World {
    node: Proxy,
    replicas: Vec<Replica>,
    server: std::net::TcpListener,
}

impl World {
    fn new(replicas: usize) -> Self {
        let authority = Authority::new();
        Self::with(replicas, &authority.gateway(), &authority.node("node-a"))
    }

    fn with(replicas: usize, gateway: &Identity, shown: &Identity) -> Self {
        let (server, address) = server();
        let start = |_| Replica::start(gateway.clone(), policies(HUB, 7), address);
        let replicas: Vec<_> = (0..replicas).map(start).collect();
        let addresses: Vec<SocketAddr> = replicas.iter().map(|it| it.address).collect();
        let node = node(server.try_clone().unwrap(), through(&addresses, Some(shown)));
        Self { node, replicas, server }
    }

    /// A connection whose hello was let through; the server has read it.
    fn open(&self) -> (TcpStream, TcpStream) {
        let hello = hello_of(Some("hub.example"), &[]);
        let mut client = self.node.connect();
        client.write_all(&hello).unwrap();
        let mut server = accept(&self.server);
        let mut read = vec![0; hello.len()];
        server.read_exact(&mut read).unwrap();
        assert_eq!(read, hello);
        (client, server)
    }

    /// The record of a connection that does not get through.
    fn refused(&self) -> gateway::Record {
        let mut client = self.node.connect();
        client.write_all(&hello_of(Some("hub.example"), &[])).unwrap();
        let record = self.node.record();
        self.server.set_nonblocking(true).unwrap();
        assert!(self.server.accept().is_err(), "nobody comes to the server");
        self.server.set_nonblocking(false).unwrap();
        record
    }
}

#[test]
fn what_is_permitted_leaves_by_the_central_gateway_and_has_a_record_at_both() {
    let world = World::new(1);
    let (mut client, mut server) = world.open();
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
    let record = world.node.record();
    assert_eq!((record.reason, record.end, record.bytes_down), (Reason::NameAllowed, End::Closed, 11));
    assert_eq!(record.via, Some(world.replicas[0].address));
    let central = world.replicas[0].record();
    assert_eq!(
        (central.reason, central.end, central.verdict),
        (Reason::NameAllowed, End::Closed, Verdict::Allow)
    );
    assert_eq!((central.bytes_up, central.bytes_down), (record.bytes_up, record.bytes_down));
    assert_eq!(
        (central.asked_by.as_deref(), central.claim.name.as_deref()),
        (Some("node-a"), Some("hub.example"))
    );
    assert_eq!((central.claim.kind.as_str(), central.generation.0), ("connect", 7));
    assert!(central.rule.unwrap().starts_with("EgressPolicy team/p spec.egress[0]"));
}

#[test]
fn bulk_arrives_both_ways_unchanged() {
    let world = World::new(2);
    let (client, server) = world.open();
    // Records of TLS, so that the gate has nothing to say.
    let data: Vec<u8> = (0..3_000_000_u32).map(|at| (at.wrapping_mul(2_654_435_761) >> 24) as u8).collect();
    let data = [&[23, 3, 3, 0, 1, 7][..], &data].concat();
    std::thread::scope(|scope| {
        for (mut from, mut to) in
            [(client.try_clone().unwrap(), server.try_clone().unwrap()), (server, client)]
        {
            let (sent, data) = (data.clone(), &data);
            scope.spawn(move || {
                from.write_all(&sent).unwrap();
                from.shutdown(Shutdown::Write).unwrap();
            });
            scope.spawn(move || {
                let mut read = vec![];
                to.read_to_end(&mut read).unwrap();
                assert!(read == *data, "{} of {} bytes", read.len(), data.len());
            });
        }
    });
    assert_eq!(world.node.record().end, End::Closed);
}

#[test]
fn a_server_that_breaks_off_is_no_clean_end() {
    let world = World::new(1);
    let (mut client, server) = world.open();
    socket_reset(server);
    assert!(is_reset(&mut client));
    assert_eq!(world.node.record().end, End::ServerGone);
}

#[test]
fn a_pod_that_breaks_off_is_no_clean_end() {
    let world = World::new(1);
    let (client, mut server) = world.open();
    socket_reset(client);
    assert!(is_reset(&mut server));
}

fn socket_reset(stream: TcpStream) {
    rustix::net::sockopt::set_socket_linger(&stream, Some(Duration::ZERO)).unwrap();
}

#[test]
fn a_pod_of_another_node_gets_nothing() {
    let authority = Authority::new();
    let world = World::with(1, &authority.gateway(), &authority.node("node-b"));
    let record = world.refused();
    assert_eq!(
        (record.verdict, record.reason, record.end),
        (Verdict::Deny, Reason::CentralRefused, End::Refused)
    );
    let central = world.replicas[0].record();
    assert_eq!((central.reason, central.asked_by.as_deref()), (Reason::NotOnNode, Some("node-b")));
}

/// Each side must be who it should be; if not, nothing is opened, and never directly.
#[test]
fn strangers_are_not_spoken_with() {
    let (own, foreign) = (Authority::new(), Authority::new());
    let expired = own.identity(&[&node_name("node-a")], Duration::from_secs(3600));
    let several = own.identity(&[&node_name("node-a"), &node_name("node-b")], Duration::from_secs(200_000));
    let mixed = Identity { authority: own.gateway().authority, ..foreign.node("node-a") };
    for (what, gateway, shown) in [
        ("a node of another authority", own.gateway(), mixed),
        ("a gateway of another authority", foreign.gateway(), own.node("node-a")),
        ("a node as gateway", own.node("node-b"), own.node("node-a")),
        ("an expired node", own.gateway(), expired),
        ("a node with two names", own.gateway(), several),
        ("a gateway as node", own.gateway(), own.gateway()),
        ("a controller as node", own.gateway(), own.valid(feed::tls::CONTROLLER)),
    ] {
        let world = World::with(1, &gateway, &shown);
        let record = world.refused();
        assert_eq!((record.reason, record.end), (Reason::CentralUnreachable, End::Refused), "{what}");
        assert!(world.replicas[0].records.try_recv().is_err(), "{what}");
    }
}

#[test]
fn without_a_replica_or_a_certificate_nothing_leaves() {
    let authority = Authority::new();
    let shown = authority.node("node-a");
    let unused = server().1;
    for state in [through(&[], Some(&shown)), through(&[unused], None), through(&[unused], Some(&shown))] {
        let (server, _) = server();
        let node = node(server.try_clone().unwrap(), state);
        let world = World { node, replicas: Vec::new(), server };
        assert_eq!(world.refused().reason, Reason::CentralUnreachable);
    }
}

#[test]
fn a_pod_that_nobody_told_of_does_not_leave() {
    let authority = Authority::new();
    let (server, _) = server();
    let mut state = through(&[server.local_addr().unwrap()], Some(&authority.node("node-a")));
    state.workloads.clear();
    let node = node(server.try_clone().unwrap(), state);
    let world = World { node, replicas: Vec::new(), server };
    assert_eq!(world.refused().reason, Reason::CentralUnreachable);
}

#[test]
fn a_replica_that_dies_breaks_what_it_had_and_others_go_on() {
    let mut world = World::new(2);
    let (mut client, _server) = world.open();
    let via = world.replicas.iter().position(|it| it.counters.read().open == 1).unwrap();
    world.replicas[via].kill();
    assert!(is_reset(&mut client));
    assert_eq!(world.node.record().end, End::ServerGone);
    for _ in 0..4 {
        let (client, server) = world.open();
        drop((client, server));
        assert_eq!(world.node.record().via, Some(world.replicas[1 - via].address));
    }
    world.replicas[1 - via].kill();
    assert_eq!(world.refused().reason, Reason::CentralUnreachable);
}

#[test]
fn a_replica_that_drains_keeps_what_it_has_and_takes_no_more() {
    let mut world = World::new(2);
    let opened: Vec<_> = (0..4).map(|_| world.open()).collect();
    let drained = world.replicas.remove(0);
    drained.phase.send_modify(|phase| phase.draining = true);
    // Those that are opened while it says so may still be its own.
    let left = world.replicas[0].address;
    let settled = (0..64).any(|_| {
        let (client, server) = world.open();
        drop((client, server));
        world.node.record().via == Some(left) && drained.counters.read().open <= 2
    });
    assert!(settled);
    for (mut client, mut server) in opened {
        client.write_all(&[23, 3, 3, 0, 1, 7]).unwrap();
        let mut read = [0; 6];
        server.read_exact(&mut read).unwrap();
    }
    // With the last of them it ends.
    let records = drained.wait();
    assert!(records.iter().filter(|it| it.end == End::Closed).count() >= 2, "{records:?}");
}

#[test]
fn draining_does_not_take_for_ever() {
    let world = World::new(1);
    let (mut client, _server) = world.open();
    world.replicas[0].phase.send_modify(|phase| *phase = Phase { draining: true, now: true, ..*phase });
    assert!(is_reset(&mut client));
    let end = world.replicas[0].record().end;
    assert!(matches!(end, End::Drained | End::ServerGone), "{end:?}");
}

/// The central gateway judges by itself: also what the node has not heard of, or does not want to.
#[test]
fn a_change_of_policy_cuts_what_it_denies() {
    let world = World::new(1);
    let (mut client, _server) = world.open();
    world.replicas[0].policies.send_replace(policies(HUB, 8));
    world.replicas[0].policies.send_replace(policies("[{action: Deny, to: [{domains: [hub.example]}]}]", 9));
    assert!(is_reset(&mut client));
    let central = world.replicas[0].record();
    assert_eq!((central.reason, central.end), (Reason::NameNotAllowed, End::Cut));
    assert_eq!(world.refused().end, End::ServerGone, "of the one that was cut");
    assert_eq!(world.node.record().reason, Reason::CentralRefused);
}

#[test]
fn a_gateway_without_policy_connects_nobody_and_with_it_goes_on() {
    let world = World::new(1);
    world.replicas[0].policies.send_replace(None);
    assert_eq!(world.refused().reason, Reason::CentralUnreachable);
    assert_eq!(world.replicas[0].record().reason, Reason::NoPolicy);
    world.replicas[0].policies.send_replace(policies(HUB, 7));
    world.open();
}

#[test]
fn a_gateway_that_is_behind_waits_for_what_the_node_has_already() {
    let world = World::new(1);
    world.replicas[0].policies.send_replace(policies("[]", 6));
    let mut client = world.node.connect();
    client.write_all(&hello_of(Some("hub.example"), &[])).unwrap();
    // The connection arrived, and is judged by the older state.
    let arrived = std::iter::repeat_with(|| world.replicas[0].counters.read().open).take_while(|it| *it == 0);
    arrived.for_each(|_| std::thread::yield_now());
    world.replicas[0].policies.send_replace(policies(HUB, 7));
    let _server = accept(&world.server);
}

/// Neither side takes in more than its windows while nobody reads.
#[test]
fn a_slow_reader_makes_the_other_side_wait() {
    let world = World::new(1);
    let (client, server) = world.open();
    for (mut writer, reader) in [(server.try_clone().unwrap(), client.try_clone().unwrap()), (client, server)]
    {
        writer.set_write_timeout(Some(Duration::from_secs(2))).unwrap();
        let piece = vec![7; 1 << 20];
        let mut written = 0;
        // Kernel buffers of three sockets each way, and the windows: far from all of it.
        while let Ok(length @ 1..) = writer.write(&piece) {
            written += length;
            assert!(written < 200 << 20, "nothing holds it back");
        }
        assert!(written > 256 * 1024, "{written}");
        drop(reader);
        // Others are not kept waiting by it.
        let (mut other, mut far) = world.open();
        other.write_all(&[23, 3, 3, 0, 1, 7]).unwrap();
        far.read_exact(&mut [0; 6]).unwrap();
        far.write_all(b"answer").unwrap();
        other.read_exact(&mut [0; 6]).unwrap();
    }
}

/// Where a rule looks at requests the node opens the connection, and the server's side of it leaves by the gateway too.
#[test]
fn requests_are_judged_on_the_node_and_leave_by_the_gateway() {
    let authority = Authority::new();
    let (server, address) = server();
    let replica = Replica::start(authority.gateway(), policies(HUB, 7), address);
    let mut state = through(&[replica.address], Some(&authority.node("node-a")));
    for pod in state.pods.values_mut() {
        let requests = Some(rule(downloads(), false));
        let facts = RuleFacts { requests, ..(*pod.rules[&ALLOWS]).clone() };
        pod.rules.insert(ALLOWS, Arc::new(facts));
    }
    let node = node(server.try_clone().unwrap(), state);
    let serving = std::thread::spawn(move || {
        let mut server = accept(&server);
        let mut read = vec![];
        while !read.ends_with(b"\r\n\r\n") {
            let mut byte = [0];
            server.read_exact(&mut byte).unwrap();
            read.extend(byte);
        }
        server.write_all(b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok").unwrap();
        let mut more = vec![];
        // What is refused never comes.
        drop(server.read_to_end(&mut more));
        (String::from_utf8(read).unwrap(), more)
    });
    let mut client = node.connect();
    client
        .write_all(b"GET /acme/m/resolve/main/model.safetensors HTTP/1.1\r\nHost: hub.example\r\n\r\n")
        .unwrap();
    let mut answer = [0; 15];
    client.read_exact(&mut answer).unwrap();
    assert_eq!(&answer, b"HTTP/1.1 200 OK");
    client.write_all(b"DELETE /acme/m HTTP/1.1\r\nHost: hub.example\r\nConnection: close\r\n\r\n").unwrap();
    let mut rest = String::new();
    client.read_to_string(&mut rest).unwrap();
    assert!(rest.contains("HTTP/1.1 403"), "{rest}");
    let (first, more) = serving.join().unwrap();
    assert!(
        first.starts_with("GET /acme/m/resolve/main/model.safetensors HTTP/1.1") && more.is_empty(),
        "{first}"
    );
    assert_eq!(node.record().via, Some(replica.address));
    assert_eq!((node.call().reason, node.call().reason), (Reason::RequestAllowed, Reason::RequestNotAllowed));
}

fn downloads() -> Requests {
    let operations = vec![Operations { verbs: [Verb::Download, Verb::Meta].into(), resources: vec![] }];
    Requests { operations, ..Requests::default() }
}

/// Two addresses' worth of leave: the address itself, and `hub.example` there.
const BOTH: &str = "[{action: Allow, to: [{networks: [203.0.113.9/32]}]}, \
                    {action: Allow, to: [{domains: [hub.example]}], ports: [{port: 443}]}]";

/// What connections that name nobody and those to `hub.example` draw on. Whom the central gateway was asked for must be
/// `expected`.
fn check_ahead([unnamed, named]: [Option<u32>; 2], expected: &[Option<&str>]) {
    let (authority, (server, address)) = (Authority::new(), server());
    let replica = Replica::start(authority.gateway(), policies(BOTH, 7), address);
    let mut state = through(&[replica.address], Some(&authority.node("node-a")));
    for pod in state.pods.values_mut() {
        let address = RuleId(18);
        let of_address = RuleFacts { text: "the address".into(), budget: unnamed, ..RuleFacts::default() };
        let of_name = RuleFacts { budget: named, ..(*pod.rules[&ALLOWS]).clone() };
        pod.rules.extend([(address, Arc::new(of_address)), (ALLOWS, Arc::new(of_name))]);
        for bound in pod.bound.values_mut() {
            let otherwise = Ruling { verdict: Verdict::Allow, rule: address };
            bound.unnamed = Arc::new(Row { otherwise, cells: Vec::new() });
        }
    }
    let node = node(server.try_clone().unwrap(), state);
    let mut client = patient(TcpStream::connect(node.front).unwrap());
    client.write_all(b"CONNECT 203.0.113.9:443 HTTP/1.1\r\nHost: 203.0.113.9:443\r\n\r\n").unwrap();
    let mut leave = [0; 39];
    client.read_exact(&mut leave).unwrap();
    assert_eq!(&leave[..], b"HTTP/1.1 200 Connection established\r\n\r\n");
    // Opened before anything was said in the tunnel.
    let mut ahead = accept(&server);
    let hello = hello_of(Some("hub.example"), &[]);
    client.write_all(&hello).unwrap();
    let mut carrying = if expected.len() > 1 { accept(&server) } else { ahead.try_clone().unwrap() };
    let mut read = vec![0; hello.len()];
    carrying.read_exact(&mut read).unwrap();
    assert_eq!(read, hello);
    if expected.len() > 1 {
        let mut stray = Vec::new();
        let _broken_off = ahead.read_to_end(&mut stray);
        assert_eq!(stray, b"", "nothing went by the other budget");
    }
    drop((client, carrying, ahead));
    let record = node.record();
    assert_eq!((record.reason, record.claim.name.as_deref()), (Reason::NameAllowed, Some("hub.example")));
    let mut asked: Vec<_> = expected.iter().map(|_| replica.record().claim.name).collect();
    asked.sort();
    assert_eq!(asked, expected.iter().map(|name| name.map(str::to_owned)).collect::<Vec<_>>());
    assert!(replica.records.try_recv().is_err(), "no other tunnel");
}

#[test]
fn a_tunnel_that_was_opened_for_an_address_carries_no_name_that_draws_on_another_budget() {
    check_ahead([None, Some(3)], &[None, Some("hub.example")]);
    check_ahead([Some(2), Some(3)], &[None, Some("hub.example")]);
    check_ahead([Some(3), Some(3)], &[None]);
}
