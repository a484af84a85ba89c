//! Ways between pods past the addresses that policies know: link-local addresses, those of many, and tagged frames.

#![allow(
    clippy::unwrap_used,
    clippy::indexing_slicing,
    clippy::panic,
    clippy::print_stderr,
    clippy::cast_possible_truncation,
    reason = "in a test a panic is the failure report"
)]

use crate::support::packet::{Sender, opening};
use crate::support::*;
use datapath::{Config, Datapath, Paths, Sides};
use nix::net::if_::if_nametoindex;
use policy::Protocol;
use std::net::{IpAddr, Ipv6Addr, SocketAddr, SocketAddrV6, TcpStream, UdpSocket};

/// What pods are behind, on this node.
fn sides(lab: &Lab) -> Sides {
    let pods: Vec<IpAddr> = (0..lab.pods.len()).flat_map(|pod| [v4(pod), v6(pod)]).collect();
    lab.node.inside(move || Paths::open().unwrap().behind(pods.into_iter()).unwrap().sides)
}

/// Whether a TCP connection opens to an address that is only known on the interface.
fn reaches(from: &Namespace, interface: &'static str, to: Ipv6Addr) -> bool {
    from.inside(move || {
        let to = SocketAddrV6::new(to, 80, 0, if_nametoindex(interface).unwrap());
        TcpStream::connect_timeout(&SocketAddr::V6(to), SILENCE).is_ok_and(|mut stream| echoes(&mut stream))
    })
}

/// Who answers a datagram to many.
fn answers(from: &Namespace, to: IpAddr) -> Vec<IpAddr> {
    from.inside(move || {
        let any = if to.is_ipv4() { "0.0.0.0:0" } else { "[::]:0" };
        let socket = UdpSocket::bind(any).unwrap();
        socket.set_broadcast(true).unwrap();
        socket.set_read_timeout(Some(SILENCE)).unwrap();
        let to = match to {
            IpAddr::V4(v4) => SocketAddr::from((v4, 80)),
            IpAddr::V6(v6) => SocketAddrV6::new(v6, 80, 0, if_nametoindex("eth0").unwrap()).into(),
        };
        socket.send_to(b"many", to).unwrap();
        let mut buffer = [0; 8];
        std::iter::from_fn(|| socket.recv_from(&mut buffer).ok()).map(|(_, from)| from.ip()).collect()
    })
}

#[test]
fn kernel_closed_pods_reach_their_node_by_no_link_local_address() {
    if !privileged() {
        return;
    }
    let mut lab = Lab::new(3);
    lab.serve_on_node(80);
    lab.serve(0, 80);
    // Behind the third interface is the world.
    lab.node.must("ip route add default via 10.77.2.2; ip -6 route add default via fd77:2::2");
    let mut tables = Tables::new(2);
    let closed = tables.row(deny(7), vec![]);
    tables.egress(0).otherwise = closed;
    let mut datapath = lab.datapath(Config::default());
    let _ = datapath.apply(&tables.table).unwrap();
    assert!(!tcp(&lab.pods[0], node6(0), 80));
    let (near, own) = (lab.node.link_local("cfv0"), lab.pods[0].link_local("eth0"));
    assert!(reaches(&lab.pods[0], "eth0", near), "nobody knows yet what is behind the interface");
    datapath.close(&sides(&lab)).unwrap();
    assert!(!reaches(&lab.pods[0], "eth0", near));
    assert!(reaches(&lab.node, "cfv0", own), "the node reaches its own pods");
    assert!(reaches(&lab.pods[2], "eth0", lab.node.link_local("cfv2")), "the world is nobody's side");
    // It stays so when the table changes, and when another process takes over.
    tables.table.generation = policy::Generation(2);
    tables.egress(1).otherwise = closed;
    let _ = datapath.apply(&tables.table).unwrap();
    assert!(!reaches(&lab.pods[0], "eth0", near));
    drop(datapath);
    let mut datapath = lab.datapath(Config::default());
    let _ = datapath.apply(&tables.table).unwrap();
    assert!(!reaches(&lab.pods[0], "eth0", near));
    datapath.close(&Sides::default()).unwrap();
    assert!(reaches(&lab.pods[0], "eth0", near), "nothing is behind it any more");
}

#[test]
fn kernel_pods_of_a_bridge_reach_closed_ones_by_no_address_of_nobody() {
    if !privileged() || !bridges_are_seen() {
        return;
    }
    let mut lab = Lab::new(2);
    lab.serve(1, 80);
    lab.serve_on_node(80);
    lab.bridge();
    lab.see_bridges();
    let mut tables = Tables::new(2);
    let closed = tables.row(deny(7), vec![]);
    tables.ingress(1).otherwise = closed;
    let mut datapath = lab.datapath(Config::default());
    let _ = datapath.apply(&tables.table).unwrap();
    // A pod speaks from its link-local address once it has one, and to all hosts once it has a route.
    let [_, other] = [0, 1].map(|pod| lab.pods[pod].link_local("eth0"));
    must(&format!("ip -n {} route add default via 10.77.0.1", lab.pods[0].name));
    let many: [IpAddr; 3] =
        ["10.77.255.255", "255.255.255.255", "ff02::1"].map(|address| address.parse().unwrap());
    let is_other = |answer: &IpAddr| [v4(1), v6(1), IpAddr::V6(other)].contains(answer);
    assert!(reaches(&lab.pods[0], "eth0", other), "nobody knows yet what is behind the bridge");
    for to in many {
        assert!(answers(&lab.pods[0], to).iter().any(is_other), "{to}");
    }
    datapath.close(&sides(&lab)).unwrap();
    assert!(!reaches(&lab.pods[0], "eth0", other));
    for to in many {
        assert!(!answers(&lab.pods[0], to).iter().any(is_other), "{to}");
    }
    assert!(
        answers(&lab.pods[0], many[0]).contains(&node4(0)),
        "a pod may speak to its node, as its egress says"
    );
    assert!(reaches(&lab.node, "cni0", other), "the node reaches its own pods");
    assert!(tcp(&lab.pods[1], node4(0), 80) && tcp(&lab.pods[1], node6(0), 80));
}

#[test]
fn kernel_frames_with_a_tag_of_no_vlan_pass_no_bridge() {
    if !privileged() || !bridges_are_seen() {
        return;
    }
    let frame = "import socket, sys
s = socket.socket(socket.AF_PACKET, socket.SOCK_RAW)
s.bind((\"eth0\", 0))
s.send(bytes.fromhex(sys.argv[1]))";
    if std::process::Command::new("python3").arg("--version").output().is_err() {
        eprintln!("SKIPPED: python3 is not installed, so that no frame can be made");
        return;
    }
    let lab = Lab::new(2);
    lab.bridge();
    lab.see_bridges();
    let mut tables = Tables::new(2);
    let closed = tables.row(deny(7), vec![]);
    tables.ingress(1).otherwise = closed;
    let mut datapath = lab.datapath(Config { guard: vec!["cni0".to_owned()], ..Config::default() });
    let _ = datapath.apply(&tables.table).unwrap();
    let hardware = |pod: usize| {
        let shown = must(&format!("ip -n {} -br link show dev eth0", lab.pods[pod].name));
        shown.split_whitespace().nth(2).unwrap().replace(':', "")
    };
    let ends = format!("{}{}", hardware(1), hardware(0));
    // Which of these arrive: a frame without a tag, with one, with two, and with one of a provider.
    let tags = ["", "81000000", "8100000081000000", "88a80000"];
    let arrive = || -> Vec<u16> {
        let listener = lab.pods[1].inside(|| UdpSocket::bind("[::]:81").unwrap());
        listener.set_read_timeout(Some(SILENCE)).unwrap();
        for (tag, port) in tags.iter().zip(5000..) {
            let packet = opening(v6(0), v6(1), Protocol::UDP, port, 81);
            let packet: String = packet.iter().map(|byte| format!("{byte:02x}")).collect();
            let sent = std::process::Command::new("ip")
                .args(["netns", "exec", &lab.pods[0].name, "python3", "-c", frame])
                .arg(format!("{ends}{tag}86dd{packet}"))
                .output()
                .unwrap();
            assert!(sent.status.success(), "{sent:?}");
        }
        let mut buffer = [0; 8];
        std::iter::from_fn(|| listener.recv_from(&mut buffer).ok()).map(|(_, from)| from.port()).collect()
    };
    assert_eq!(arrive(), [5001, 5002, 5003], "the hooks of IP see only what has no tag");
    datapath.close(&sides(&lab)).unwrap();
    assert_eq!(arrive(), [0; 0]);
    assert!(tcp_refused(&lab.pods[1], v6(0)), "what has no tag passes");
    datapath.uninstall().unwrap();
    assert_eq!(arrive(), [5000, 5001, 5002, 5003], "all is open again");
}

/// Which of these packets arrive at a socket, by the port that they are from.
fn arrive(at: &UdpSocket, from: &Namespace, packets: Vec<(IpAddr, Vec<u8>)>) -> Vec<u16> {
    from.inside(move || packets.iter().for_each(|(to, packet)| Sender::new().send(*to, packet)));
    at.set_read_timeout(Some(SILENCE)).unwrap();
    let mut buffer = [0; 8];
    std::iter::from_fn(|| at.recv_from(&mut buffer).ok()).map(|(_, from)| from.port()).collect()
}

#[test]
fn kernel_pods_pass_neither_for_their_node_nor_for_whom_they_speak_to() {
    if !privileged() {
        return;
    }
    let lab = Lab::new(2);
    let mut tables = Tables::new(2);
    let closed = tables.row(deny(7), vec![]);
    tables.ingress(1).otherwise = closed;
    let mut datapath = lab.datapath(Config::default());
    let _ = datapath.apply(&tables.table).unwrap();
    datapath.close(&sides(&lab)).unwrap();
    let listener = lab.pods[1].inside(|| UdpSocket::bind("[::]:81").unwrap());
    let packet = |from: IpAddr, to: IpAddr, port: u16| (to, opening(from, to, Protocol::UDP, port, 81));
    let spoofed = |port: u16| {
        // IPv4 takes nothing from its own address, where it routes.
        let from = [node6(1), v6(1), v4(0), v6(0)];
        let to = |from: IpAddr| if from.is_ipv4() { v4(1) } else { v6(1) };
        from.into_iter().zip(port..).map(|(from, port)| packet(from, to(from), port)).collect()
    };
    assert_eq!(arrive(&listener, &lab.pods[0], spoofed(5000)), [0; 0]);
    let own = vec![packet(node4(1), v4(1), 6000), packet(node6(1), v6(1), 6001)];
    assert_eq!(arrive(&listener, &lab.node, own), [6000, 6001], "the node itself does");
    datapath.uninstall().unwrap();
    assert_eq!(arrive(&listener, &lab.pods[0], spoofed(7000)).len(), 4, "all of it would arrive");
}

#[test]
fn kernel_pods_reach_no_loopback_address_of_their_node() {
    if !privileged() {
        return;
    }
    let lab = Lab::new(1);
    lab.node.must("sysctl -qw net.ipv4.conf.all.route_localnet=1");
    let mut datapath = lab.datapath(Config::default());
    let listener = lab.node.inside(|| UdpSocket::bind("127.0.0.1:81").unwrap());
    let loopback = "127.0.0.1".parse().unwrap();
    let to_it = |port| vec![(node4(0), opening(v4(0), loopback, Protocol::UDP, port, 81))];
    assert_eq!(arrive(&listener, &lab.pods[0], to_it(5000)), [5000], "without rules it does");
    let _ = datapath.apply(&Tables::new(1).table).unwrap();
    assert_eq!(arrive(&listener, &lab.pods[0], to_it(5001)), [0; 0]);
    // What the node itself leads there arrives.
    lab.node.must(
        "nft add table ip lead
         nft add chain ip lead pre \"{ type nat hook prerouting priority dstnat; }\"
         nft add rule ip lead pre ip daddr 169.254.169.254 udp dport 81 dnat to 127.0.0.1",
    );
    let metadata = "169.254.169.254".parse().unwrap();
    let led = vec![(metadata, opening(v4(0), metadata, Protocol::UDP, 5002, 81))];
    assert_eq!(arrive(&listener, &lab.pods[0], led), [5002]);
}

/// Whether somebody is there and says that nothing listens.
fn tcp_refused(from: &Namespace, to: IpAddr) -> bool {
    from.inside(move || {
        let tried = TcpStream::connect_timeout(&SocketAddr::new(to, 9), SILENCE);
        tried.is_err_and(|error| error.kind() == std::io::ErrorKind::ConnectionRefused)
    })
}
