//! What a pod says in IPv6's neighbour discovery: the guard lets through what a host says of itself, and nothing that only a
//! router or somebody else may say.

#![allow(
    clippy::unwrap_used,
    clippy::indexing_slicing,
    clippy::panic,
    clippy::print_stderr,
    clippy::cast_possible_truncation,
    reason = "in a test a panic is the failure report"
)]

use crate::support::packet::{Sender, checksum, network};
use crate::support::*;
use datapath::{Config, Datapath, Paths};
use nix::sys::socket::sockopt::ReceiveTimeout;
use nix::sys::socket::{
    AddressFamily, SockFlag, SockProtocol, SockType, SockaddrIn6, recvfrom, setsockopt, socket,
};
use nix::sys::time::{TimeVal, TimeValLike};
use policy::Protocol;
use std::net::{IpAddr, Ipv6Addr};
use std::os::fd::AsRawFd;

const ALL_NODES: Ipv6Addr = Ipv6Addr::new(0xff02, 0, 0, 0, 0, 0, 0, 1);
const SOLICIT_ROUTER: u8 = 133;
const ADVERTISE_ROUTER: u8 = 134;
const SOLICIT: u8 = 135;
const ADVERTISE: u8 = 136;
const REDIRECT: u8 = 137;

/// Type, source, and the address that it speaks of.
type Said = (u8, Ipv6Addr, Ipv6Addr);

/// A message of one type about a target. One of a router has no target, and a lifetime in its place.
fn message((kind, from, target): Said, to: Ipv6Addr, behind_options: bool) -> Vec<u8> {
    let mut body = vec![kind, 0, 0, 0];
    match kind {
        SOLICIT_ROUTER => body.extend([0; 4]),
        ADVERTISE_ROUTER => body.extend([64, 0, 7, 8, 0, 0, 0, 0, 0, 0, 0, 0]),
        _ => {
            body.extend([0x20, 0, 0, 0]);
            body.extend(target.octets());
            // Where it leads to.
            body.extend(
                [0xfe, 0x80, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 9].iter().filter(|_| kind == REDIRECT),
            );
        }
    }
    let (from, to) = (IpAddr::V6(from), IpAddr::V6(to));
    let sum = checksum(from, to, Protocol::ICMPV6, &body);
    body[2..4].copy_from_slice(&sum.to_be_bytes());
    if behind_options {
        let mut options = vec![Protocol::ICMPV6.0, 0, 1, 4, 0, 0, 0, 0];
        options.extend(body);
        return network(from, to, Protocol(60), 255, &options);
    }
    network(from, to, Protocol::ICMPV6, 255, &body)
}

/// What one namespace hears of these sources while another one sends.
fn heard(
    at: &Namespace,
    from: &Namespace,
    interface: &'static str,
    packets: Vec<(Ipv6Addr, Vec<u8>)>,
) -> Vec<Said> {
    let (ready, started) = std::sync::mpsc::channel();
    let listener = at.spawn(move || {
        let heard =
            socket(AddressFamily::Inet6, SockType::Raw, SockFlag::empty(), SockProtocol::IcmpV6).unwrap();
        setsockopt(&heard, ReceiveTimeout, &TimeVal::milliseconds(600)).unwrap();
        ready.send(()).unwrap();
        let (mut said, mut buffer) = (vec![], [0; 2048]);
        while let Ok((length, sender)) = recvfrom::<SockaddrIn6>(heard.as_raw_fd(), &mut buffer) {
            let message = &buffer[..length];
            let target = message.get(8..24).and_then(|bytes| <[u8; 16]>::try_from(bytes).ok());
            said.push((
                message[0],
                sender.unwrap().ip(),
                target.map_or(Ipv6Addr::UNSPECIFIED, Ipv6Addr::from),
            ));
        }
        said
    });
    started.recv().unwrap();
    from.inside(move || {
        let sender = Sender::new();
        for (to, packet) in packets {
            sender.send_on(interface, to, &packet);
        }
    });
    listener.join().unwrap()
}

/// The pod's own kernel says things, too, so only what is told apart by its target or type is looked for.
fn check(lab: &Lab, hears: &Namespace, near: &'static str) {
    let pod = &lab.pods[0];
    let (own, router) = (pod.link_local("eth0"), lab.node.link_local(near));
    let (mine, nodes): (Ipv6Addr, Ipv6Addr) = ("fd77::2".parse().unwrap(), "fd77::1".parse().unwrap());
    let nobody = Ipv6Addr::UNSPECIFIED;
    // Addresses of documentation, so that no kernel speaks of them by itself.
    let [a, b, c] = [1, 2, 3].map(|last| Ipv6Addr::new(0x2001, 0xdb8, 0, 0, 0, 0, 0, last));
    let said = |it: Said| (ALL_NODES, message(it, ALL_NODES, false));
    let got = heard(
        hears,
        pod,
        "eth0",
        vec![
            said((ADVERTISE_ROUTER, own, nobody)),
            (ALL_NODES, message((ADVERTISE_ROUTER, own, nobody), ALL_NODES, true)),
            said((ADVERTISE_ROUTER, router, nobody)),
            said((REDIRECT, router, a)),
            said((REDIRECT, own, a)),
            said((SOLICIT, router, a)),
            said((SOLICIT, nodes, a)),
            said((ADVERTISE, router, router)),
            said((ADVERTISE, nodes, nodes)),
            said((ADVERTISE, own, b)),
            (ALL_NODES, message((ADVERTISE, own, c), ALL_NODES, true)),
            said((SOLICIT, nobody, c)),
            said((SOLICIT, own, c)),
            said((SOLICIT_ROUTER, own, nobody)),
        ],
    );
    let count = |kind: u8, from: Ipv6Addr, target: Option<Ipv6Addr>| {
        got.iter()
            .filter(|it| it.0 == kind && it.1 == from && target.is_none_or(|target| it.2 == target))
            .count()
    };
    for kind in [ADVERTISE_ROUTER, REDIRECT] {
        assert!(got.iter().all(|said| said.0 != kind), "only routers say {kind}: {got:?}");
    }
    for from in [router, nodes] {
        assert_eq!(count(SOLICIT, from, Some(a)), 0, "{got:?}");
    }
    for target in [router, nodes, b, c] {
        assert!(
            got.iter().all(|said| (said.0, said.2) != (ADVERTISE, target)),
            "{target} is not the pod's: {got:?}"
        );
    }
    let of_itself = count(ADVERTISE, own, Some(own));
    assert!(of_itself >= 2, "they speak of the pod itself now, behind options too: {got:?}");
    for from in [nobody, own] {
        assert_eq!(count(SOLICIT, from, Some(c)), 1, "{from} may ask: {got:?}");
    }
    assert!(count(SOLICIT_ROUTER, own, None) >= 1, "{got:?}");
    // What the node itself says, to all and to the pod's own address.
    let advertised = |to: Ipv6Addr| (to, message((ADVERTISE_ROUTER, router, nobody), to, false));
    let got = heard(pod, &lab.node, near, vec![advertised(ALL_NODES), advertised(mine)]);
    let from_router = got.iter().filter(|said| (said.0, said.1) == (ADVERTISE_ROUTER, router));
    assert_eq!(from_router.count(), 2, "{got:?}");
}

#[test]
fn kernel_guard_lets_pods_say_what_hosts_say_of_themselves() {
    if !privileged() {
        return;
    }
    let mut lab = Lab::new(2);
    let mut datapath = lab.datapath(Config { guard: vec!["cfv".to_owned()], ..Config::default() });
    let _ = datapath.apply(&Tables::new(2).table).unwrap();
    check(&lab, &lab.node, "cfv0");
    drop(datapath);
    if !bridges_are_seen() {
        return;
    }
    lab.serve(1, 80);
    lab.bridge();
    lab.see_bridges();
    let mut datapath = lab.datapath(Config { guard: vec!["cni0".to_owned()], ..Config::default() });
    let _ = datapath.apply(&Tables::new(2).table).unwrap();
    check(&lab, &lab.pods[1], "cni0");
    // They still find each other and the node, by global and by link-local addresses.
    for namespace in [&lab.node, &lab.pods[0], &lab.pods[1]] {
        must(&format!("ip -n {} -6 neigh flush all", namespace.name));
    }
    assert!(tcp(&lab.pods[0], v6(1), 80) && tcp(&lab.node, v6(1), 80));
}

#[test]
fn kernel_without_a_guard_no_pod_speaks_for_a_router_either() {
    if !privileged() {
        return;
    }
    let lab = Lab::new(3);
    // Behind the third interface is the world.
    lab.node.must("ip route add default via 10.77.2.2; ip -6 route add default via fd77:2::2");
    let mut datapath = lab.datapath(Config::default());
    let _ = datapath.apply(&Tables::new(2).table).unwrap();
    let hears = |pod: usize| {
        let own = lab.pods[pod].link_local("eth0");
        let said = (ALL_NODES, message((ADVERTISE_ROUTER, own, Ipv6Addr::UNSPECIFIED), ALL_NODES, false));
        let got = heard(&lab.node, &lab.pods[pod], "eth0", vec![said]);
        got.iter().any(|said| (said.0, said.1) == (ADVERTISE_ROUTER, own))
    };
    assert!(hears(0), "nobody knows yet what is behind the interface");
    let pods = [0, 1].into_iter().flat_map(|pod| [v4(pod), v6(pod)]);
    let sides = lab.node.inside(move || Paths::open().unwrap().behind(pods).unwrap().sides);
    datapath.close(&sides).unwrap();
    assert!(!hears(0));
    assert!(hears(2), "a router of the world says what it is");
}
