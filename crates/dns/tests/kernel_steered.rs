//! Queries of a pod in a network namespace, steered by the kernel as decision 0010 has it: behind the translation of a
//! Service's address, by `tproxy`, over IPv4 and IPv6, UDP and TCP.

#![allow(
    clippy::expect_used,
    clippy::unwrap_used,
    clippy::panic,
    clippy::print_stderr,
    clippy::indexing_slicing,
    reason = "in a test a panic is the failure report"
)]

mod support;

use handover::{Sockets, Steering};
use nix::sched::{CloneFlags, setns};
use policy::Generation;
use std::fs::File;
use std::io::Write;
use std::net::{IpAddr, SocketAddr, TcpStream, UdpSocket};
use std::process::{Command, Stdio};
use support::*;

/// Removes the namespaces at the end, also after a panic.
struct Namespaces(String);

impl Drop for Namespaces {
    fn drop(&mut self) {
        for role in ["pod", "node", "far"] {
            let _ = Command::new("ip").args(["netns", "del", &format!("{}{role}", self.0)]).status();
        }
    }
}

impl Namespaces {
    /// Runs in the namespace of this role, on a thread of its own.
    fn within<T: Send + 'static>(&self, role: &str, act: impl FnOnce() -> T + Send + 'static) -> T {
        let file = File::open(format!("/run/netns/{}{role}", self.0)).unwrap();
        let run = move || {
            setns(file, CloneFlags::CLONE_NEWNET).unwrap();
            act()
        };
        std::thread::spawn(run).join().unwrap()
    }
}

/// A program and what it reads; whether it ended well.
fn run(program: &str, arguments: &[&str], input: &str) -> bool {
    let child = Command::new(program).args(arguments).stdin(Stdio::piped()).stderr(Stdio::piped()).spawn();
    let Ok(mut child) = child else { return false };
    child.stdin.take().unwrap().write_all(input.as_bytes()).unwrap();
    let output = child.wait_with_output().unwrap();
    if !output.status.success() {
        eprintln!("{program} {arguments:?}: {}", String::from_utf8_lossy(&output.stderr));
    }
    output.status.success()
}

/// The pod's, the node's and a farther network; the node translates a Service's address and steers port 53.
fn build() -> Option<Namespaces> {
    let prefix = format!("cfdns{}", std::process::id());
    let (pod, node, far) = (format!("{prefix}pod"), format!("{prefix}node"), format!("{prefix}far"));
    let namespaces = Namespaces(prefix);
    let links = format!(
        "netns add {pod}
         netns add {node}
         netns add {far}
         -n {node} link set lo up
         -n {node} link add pod0 type veth peer name eth0 netns {pod}
         -n {node} link add far0 type veth peer name eth0 netns {far}
         -n {node} addr add 10.88.1.1/24 dev pod0
         -n {node} addr add fd88:1::1/64 dev pod0 nodad
         -n {node} addr add 10.88.2.1/24 dev far0
         -n {node} addr add fd88:2::1/64 dev far0 nodad
         -n {node} link set pod0 up
         -n {node} link set far0 up
         -n {pod} addr add 10.88.1.2/24 dev eth0
         -n {pod} addr add fd88:1::2/64 dev eth0 nodad
         -n {pod} link set eth0 up
         -n {pod} route add default via 10.88.1.1
         -n {pod} route add default via fd88:1::1
         -n {far} addr add 10.88.2.2/24 dev eth0
         -n {far} addr add fd88:2::2/64 dev eth0 nodad
         -n {far} link set eth0 up
         -n {far} route add default via 10.88.2.1
         -n {far} route add default via fd88:2::1
         -n {node} rule add fwmark 0x200 lookup 2004
         -n {node} route add local default dev lo table 2004
         -n {node} -6 rule add fwmark 0x200 lookup 2004
         -n {node} -6 route add local default dev lo table 2004"
    );
    let lines = links.lines().map(str::trim);
    if !lines.into_iter().all(|line| run("ip", &line.split(' ').collect::<Vec<_>>(), "")) {
        return None;
    }
    let forward = "sysctl -qw net.ipv4.ip_forward=1 net.ipv6.conf.all.forwarding=1";
    let rules = "table inet steer {
        chain services {
            type nat hook prerouting priority dstnat;
            ip daddr 10.96.0.10 th dport 53 meta l4proto { udp, tcp } dnat ip to 10.88.2.2
            ip6 daddr fd96::10 th dport 53 meta l4proto { udp, tcp } dnat ip6 to fd88:2::2
        }
        chain steer {
            type filter hook prerouting priority -99;
            iifname pod0 th dport 53 meta nfproto ipv4 meta l4proto { udp, tcp } tproxy ip to 127.0.53.53:53 meta mark set 0x200 accept
            iifname pod0 th dport 53 meta nfproto ipv6 meta l4proto { udp, tcp } tproxy ip6 to [::1]:53 meta mark set 0x200 accept
            iifname pod0 th dport 53 meta l4proto { udp, tcp } drop
        }
    }";
    let inside = |arguments: &str, input| {
        let all = format!("netns exec {node} {arguments}");
        run("ip", &all.split(' ').collect::<Vec<_>>(), input)
    };
    (inside(forward, "") && inside("nft -f -", rules)).then_some(namespaces)
}

/// A program that answers each name with an address of the family that is asked for.
fn resolve() {
    for at in ["10.88.2.2:53", "[fd88:2::2]:53"] {
        let (udp, tcp) = (UdpSocket::bind(at).unwrap(), std::net::TcpListener::bind(at).unwrap());
        let reply = |bytes: &[u8]| {
            let question = hickory_proto::op::Message::from_vec(bytes).unwrap();
            let Act::Send(message) = always("192.0.2.7", 300)(&question).remove(0) else {
                panic!("a message")
            };
            message.to_vec().unwrap()
        };
        std::thread::spawn(move || {
            let mut buffer = [0; 2048];
            while let Ok((size, from)) = udp.recv_from(&mut buffer) {
                udp.send_to(&reply(&buffer[..size]), from).unwrap();
            }
        });
        std::thread::spawn(move || {
            while let Ok((mut stream, _)) = tcp.accept() {
                let question = read_framed(&mut stream);
                stream.write_all(&framed(&reply(&question))).unwrap();
            }
        });
    }
}

/// Asks by a connected socket, which takes answers only from the address that it asked.
fn ask(server: &str, text: &str, tcp: bool) -> Result<Vec<IpAddr>, std::io::Error> {
    let server = SocketAddr::new(server.parse().unwrap(), 53);
    let bytes = question(text, hickory_proto::rr::RecordType::A, 7).to_vec().unwrap();
    if tcp {
        let mut stream = TcpStream::connect(server)?;
        stream.set_read_timeout(Some(PATIENCE))?;
        stream.write_all(&framed(&bytes))?;
        let reply = read_framed(&mut stream);
        return Ok(addresses(&hickory_proto::op::Message::from_vec(&reply).unwrap()));
    }
    let socket = UdpSocket::bind(if server.is_ipv4() { "0.0.0.0:0" } else { "[::]:0" })?;
    socket.set_read_timeout(Some(PATIENCE))?;
    socket.connect(server)?;
    socket.send(&bytes)?;
    let mut buffer = [0; 2048];
    let size = socket.recv(&mut buffer)?;
    Ok(addresses(&hickory_proto::op::Message::from_vec(&buffer[..size]).unwrap()))
}

#[test]
fn kernel_steers_queries_of_both_families_and_the_answers_come_from_whom_was_asked() {
    let Some(namespaces) = build() else {
        eprintln!(
            "SKIPPED: steering by the kernel (needs root, iproute2, nftables, and a kernel with nft_tproxy)"
        );
        return;
    };
    namespaces.within("far", resolve);
    let mut state = state(53, &["*.io"]);
    state.pods[0].addresses = vec!["10.88.1.2".parse().unwrap(), "fd88:1::2".parse().unwrap()];
    state.trusted = vec![vec!["10.88.2.2".parse().unwrap(), "fd88:2::2".parse().unwrap()]];
    let started = state.clone();
    let mut world = namespaces.within("node", move || {
        let sockets = Sockets::bind(&dns::LISTEN, Steering::Transparent).unwrap();
        World::with_sockets(started, Binds::AtOnce, sockets, 53)
    });
    world.set_state(state);
    let cases = [
        ("a Service", "10.96.0.10", "10.88.2.2"),
        ("a Service over IPv6", "fd96::10", "fd88:2::2"),
        ("the resolver", "10.88.2.2", "10.88.2.2"),
        ("the resolver over IPv6", "fd88:2::2", "fd88:2::2"),
    ];
    for (number, (what, asked, resolver)) in cases.into_iter().enumerate() {
        for tcp in [false, true] {
            let text = format!("n{number}{tcp}.io.");
            let found = namespaces.within("pod", move || ask(asked, &text, tcp)).expect(what);
            assert_eq!(found, ["192.0.2.7".parse::<IpAddr>().unwrap()], "{what}, tcp: {tcp}");
            let record = world.next_record();
            assert_eq!(record.resolver.to_string(), resolver, "{what}: as it stands behind the translation");
            assert!(record.pod.to_string().ends_with(if resolver.contains(':') { "::2" } else { ".1.2" }));
            assert!(record.learned);
        }
    }
    assert!(
        world.learns.iter().all(|it| it.pod == "10.88.1.2".parse::<IpAddr>().unwrap()),
        "one pod, one name"
    );
    assert_eq!(world.state.generation, Generation(1));
}
