//! Packets that are not plain TCP or UDP: ICMP, fragments, SCTP, translated destinations, strays.

#![allow(
    clippy::unwrap_used,
    clippy::indexing_slicing,
    clippy::panic,
    clippy::print_stderr,
    clippy::cast_possible_truncation,
    reason = "in a test a panic is the failure report"
)]

use crate::support::packet::{checksum, network, opening, plain_checksum};
use crate::support::*;
use datapath::Datapath;
use policy::{Protocol, RuleId};
use std::io::Write;
use std::net::{SocketAddr, TcpStream};

/// Pod 1 takes UDP 80 and SCTP 80, and ICMP from pod 0 only.
fn tables() -> Tables {
    let mut tables = Tables::new(3);
    let cells = vec![
        cell(Protocol::TCP, 8080, 8080, allow(24)),
        cell(Protocol::UDP, 80, 80, allow(21)),
        cell(Protocol::SCTP, 80, 80, allow(22)),
    ];
    let friend = tables.row(allow(23), cells.clone());
    let stranger = tables.row(deny(20), cells);
    tables.ingress(1).otherwise = stranger;
    tables.ingress(1).rows.insert(class(0), friend);
    tables
}

#[test]
fn kernel_judges_ping_and_sctp_by_protocol_and_port() {
    if !privileged() {
        return;
    }
    let mut world = World::new(3, &tables());
    for (from, to, echo) in [(v4(0), v4(1), Protocol::ICMP), (v6(0), v6(1), Protocol::ICMPV6)] {
        let stranger = if from.is_ipv4() { v4(2) } else { v6(2) };
        for (pod, from, protocol, port, expected) in [
            (0, from, echo, 0, allow(23)),
            (2, stranger, echo, 0, deny(20)),
            (2, stranger, Protocol::SCTP, 80, allow(22)),
            (2, stranger, Protocol::SCTP, 81, deny(20)),
            (2, stranger, Protocol(47), 0, deny(20)),
        ] {
            world.send(pod, to, opening(from, to, protocol, 4000, port));
            let got = world.ruling(|flow| (flow.from, flow.to, flow.protocol) == (from, to, protocol));
            assert_eq!(got, Some(expected), "{protocol} {port} from {from}");
        }
    }
}

#[test]
fn kernel_judges_fragmented_datagrams_as_a_whole() {
    if !privileged() {
        return;
    }
    let mut world = World::new(3, &tables());
    world.lab.serve(1, 80);
    world.lab.serve(1, 81);
    for to in [v4(1), v6(1)] {
        assert!(udp(&world.lab.pods[2], to, 80, 4000));
        assert!(!udp(&world.lab.pods[2], to, 81, 4000));
    }
}

#[test]
fn kernel_judges_the_backend_behind_a_translated_address() {
    if !privileged() {
        return;
    }
    let mut tables = tables();
    let none = tables.row(deny(30), vec![]);
    let backend = tables.row(deny(30), vec![cell(Protocol::TCP, 8080, 8080, allow(31))]);
    tables.egress(0).otherwise = none;
    tables.egress(0).rows.insert(class(1), backend);
    let mut world = World::new(3, &tables);
    world.lab.serve(1, 8080);
    world.lab.serve(2, 8080);
    world.lab.node.must(
        "nft add table inet lb
         nft add chain inet lb pre \"{ type nat hook prerouting priority dstnat; }\"
         nft add rule inet lb pre ip daddr 10.96.0.10 tcp dport 443 dnat ip to 10.77.1.2:8080
         nft add rule inet lb pre ip daddr 10.96.0.11 tcp dport 443 dnat ip to 10.77.2.2:8080
         nft add rule inet lb pre ip6 daddr fd96::10 tcp dport 443 dnat ip6 to [fd77:1::2]:8080
         nft add rule inet lb pre ip6 daddr fd96::11 tcp dport 443 dnat ip6 to [fd77:2::2]:8080
         nft add chain inet lb post \"{ type nat hook postrouting priority srcnat; }\"
         nft add rule inet lb post oifname cfv1 masquerade",
    );
    for (service, other, backend, wrong) in
        [("10.96.0.10", "10.96.0.11", v4(1), v4(2)), ("fd96::10", "fd96::11", v6(1), v6(2))]
    {
        assert!(tcp(&world.lab.pods[0], service.parse().unwrap(), 443));
        let got = world.ruling(|flow| flow.to == backend && flow.to_port == 8080);
        assert_eq!(got, Some(allow(24)));
        assert!(!tcp(&world.lab.pods[0], other.parse().unwrap(), 443));
        assert_eq!(world.ruling(|flow| flow.to == wrong && flow.to_port == 8080), Some(deny(30)));
    }
}

#[test]
fn kernel_passes_errors_about_allowed_connections_and_drops_strays() {
    if !privileged() {
        return;
    }
    let mut world = World::new(3, &tables());
    world.lab.serve(1, 8080);
    // Nobody listens on UDP 80: the refusal is an ICMP error of pod 1, whose egress would be judged by pod 0's class.
    for to in [v4(1), v6(1)] {
        let refused = world.lab.pods[0].inside(move || {
            let any = if to.is_ipv4() { "0.0.0.0:0" } else { "[::]:0" };
            let socket = std::net::UdpSocket::bind(any).unwrap();
            socket.set_read_timeout(Some(SILENCE)).unwrap();
            socket.connect((to, 80)).unwrap();
            socket.send(b"x").unwrap();
            socket.recv(&mut [0; 8]).unwrap_err().kind()
        });
        assert_eq!(refused, std::io::ErrorKind::ConnectionRefused);
    }
    // An error about a connection that does not exist.
    for (from, to, protocol) in [(v4(2), v4(1), Protocol::ICMP), (v6(2), v6(1), Protocol::ICMPV6)] {
        let inner = opening(to, from, Protocol::UDP, 5555, 5556);
        let mut body = if protocol == Protocol::ICMP { vec![3, 3, 0, 0] } else { vec![1, 4, 0, 0] };
        body.extend([0; 4]);
        body.extend(inner);
        let sum = if protocol == Protocol::ICMP {
            plain_checksum(&body)
        } else {
            checksum(from, to, protocol, &body)
        };
        body[2..4].copy_from_slice(&sum.to_be_bytes());
        world.send(2, to, network(from, to, protocol, 64, &body));
        let got = world.ruling(|flow| (flow.from, flow.to, flow.protocol) == (from, to, protocol));
        assert_eq!(got.map(|ruling| ruling.rule), Some(RuleId::UNTRACKED));
    }
    // A connection of before is judged too: it was opened without any table.
    world.datapath.uninstall().unwrap();
    let mut before = world.lab.pods[2]
        .inside(|| TcpStream::connect_timeout(&SocketAddr::new(v4(1), 8080), SILENCE).unwrap());
    before.write_all(b"x").unwrap();
    let _ = world.datapath.apply(&Tables::new(3).table).unwrap();
    assert!(echoes(&mut before));
}
