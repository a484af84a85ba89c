//! Steering: pods' DNS goes to a listener of the node, judged as what the pod meant, and nowhere without one.

#![allow(
    clippy::unwrap_used,
    clippy::indexing_slicing,
    clippy::panic,
    clippy::print_stderr,
    reason = "in a test a panic is the failure report"
)]

use crate::support::*;
use datapath::{Config, Datapath, Steer, Steering};
use nix::sys::socket::{Backlog, SockType, listen};
use policy::Protocol;
use std::io::{Read, Write};
use std::net::{IpAddr, SocketAddr, TcpListener, UdpSocket};

const LISTEN: [&str; 2] = ["127.0.53.53:53", "[::1]:53"];

/// One connection and one datagram to each listener: whom they were meant for, and who sent the datagram.
fn take(lab: &Lab, address: SocketAddr) -> std::thread::JoinHandle<(SocketAddr, IpAddr)> {
    let (ready, is_ready) = std::sync::mpsc::channel();
    let taken = lab.node.spawn(move || {
        let tcp = transparent(address, SockType::Stream);
        listen(&tcp, Backlog::new(8).unwrap()).unwrap();
        let udp = UdpSocket::from(transparent(address, SockType::Datagram));
        udp.set_read_timeout(Some(20 * SILENCE)).unwrap();
        ready.send(()).unwrap();
        let (mut stream, _) = TcpListener::from(tcp).accept().unwrap();
        let mut query = [0; 4];
        stream.read_exact(&mut query).unwrap();
        stream.write_all(&query).unwrap();
        let meant = stream.local_addr().unwrap();
        let (_, from) = udp.recv_from(&mut query).unwrap();
        (meant, from.ip())
    });
    is_ready.recv().unwrap();
    taken
}

#[test]
fn kernel_hands_dns_to_the_listener_and_drops_it_without_one() {
    if !privileged() {
        return;
    }
    let mut lab = Lab::new(3);
    lab.serve(1, 53);
    lab.serve(1, 80);
    lab.serve(2, 53);
    let mut datapath = lab.datapath(Config::default());
    let mut tables = Tables::new(2);
    let _ = datapath.apply(&tables.table).unwrap();
    let mut steering = lab.node.inside(|| Steering::open().unwrap());
    let dns = LISTEN.map(|text| text.parse().unwrap()).to_vec();
    let steer = Steer { pods: [v4(0), v6(0)].into(), dns, ..Steer::default() };
    steering.steer(&steer).unwrap();
    // Of an earlier process, as it were: everything is there.
    let mut steering = lab.node.inside(|| Steering::open().unwrap());
    steering.steer(&steer).unwrap();
    for (to, client) in [(v4(1), v4(0)), (v6(1), v6(0))] {
        assert!(!tcp(&lab.pods[0], to, 53) && !udp(&lab.pods[0], to, 53, 4), "nobody listens: it is dropped");
        assert!(tcp(&lab.pods[0], to, 80), "only DNS is steered");
        assert!(tcp(&lab.pods[2], to, 53), "only these pods are steered");
        let taken = take(&lab, steer.dns[usize::from(to.is_ipv6())]);
        assert!(tcp(&lab.pods[0], to, 53));
        // Not answered here, only taken.
        assert!(!udp(&lab.pods[0], to, 53, 4));
        assert_eq!(taken.join().unwrap(), (SocketAddr::new(to, 53), client));
    }
    // The input hook judges pod and resolver.
    let denied = tables.row(deny(30), vec![cell(Protocol::TCP, 80, 80, allow(31))]);
    tables.egress(0).otherwise = denied;
    tables.egress(0).rows.clear();
    let _ = datapath.apply(&tables.table).unwrap();
    let listener = lab.node.inside(move || {
        let fd = transparent(LISTEN[0].parse().unwrap(), SockType::Stream);
        listen(&fd, Backlog::new(8).unwrap()).unwrap();
        fd
    });
    assert!(!tcp(&lab.pods[0], v4(1), 53), "policy denies the resolver");
    drop(listener);
    let _ = datapath.apply(&Tables::new(2).table).unwrap();
    steering.uninstall().unwrap();
    steering.uninstall().unwrap();
    assert!(tcp(&lab.pods[0], v4(1), 53) && udp(&lab.pods[0], v6(1), 53, 4));
    let rules = lab.node.must("ip rule; ip -6 rule; ip route show table 3325; ip -6 route show table 3325");
    assert!(!rules.contains("3325") && !rules.contains("default dev lo"), "{rules}");
}
