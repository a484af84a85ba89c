//! A node and its pods as network namespaces, and probes between them. Everything is removed on drop.

#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::indexing_slicing,
    clippy::panic,
    clippy::print_stderr,
    clippy::cast_possible_truncation,
    reason = "a test's helpers fail the test"
)]
#![allow(dead_code, unreachable_pub, reason = "every test file uses its own part of this")]

pub mod packet;

use datapath::{Config, Datapath, Event, EventSource, Flow, NftDatapath};
use nix::sched::{CloneFlags, setns};
use nix::sys::socket::sockopt::{IpTransparent, Ipv6V6Only};
use nix::sys::socket::{AddressFamily, SockFlag, SockType, SockaddrStorage, bind, setsockopt, socket};
use policy::table::{Cell, ClassId, Lane, Row, RowId, Ruling, Slot, SlotId, Table};
use policy::{Generation, Protocol, RuleId, Verdict};
use std::collections::BTreeMap;
use std::fs::File;
use std::io::{Read, Write};
use std::net::{IpAddr, Ipv6Addr, SocketAddr, TcpListener, TcpStream, UdpSocket};
use std::os::fd::{AsRawFd, OwnedFd};
use std::process::Command;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU32, Ordering};
use std::thread::JoinHandle;
use std::time::Duration;

/// How long a probe waits before it calls silence a drop.
pub const SILENCE: Duration = Duration::from_millis(250);

/// Whether namespaces can be made here. Says loudly if not.
pub fn privileged() -> bool {
    let able = nix::unistd::geteuid().is_root() && run("ip", &["netns", "list"]);
    if !able {
        eprintln!("SKIPPED: this test needs root (or: unshare -Urnm with a tmpfs on /run) and iproute2");
    }
    able
}

/// Whether netfilter can see what bridges forward here. Says loudly if not.
pub fn bridges_are_seen() -> bool {
    let able = std::path::Path::new("/proc/sys/net/bridge").exists();
    if !able {
        eprintln!("SKIPPED: pods on a bridge (br_netfilter is not loaded)");
    }
    able
}

fn run(program: &str, arguments: &[&str]) -> bool {
    Command::new(program).args(arguments).output().is_ok_and(|output| output.status.success())
}

/// Runs a command that must succeed.
pub fn must(command: &str) -> String {
    let output = Command::new("sh").args(["-ec", command]).output().unwrap();
    let text = String::from_utf8_lossy(&output.stdout).into_owned();
    assert!(output.status.success(), "{command}\n{text}{}", String::from_utf8_lossy(&output.stderr));
    text
}

/// One network namespace.
#[derive(Clone, Debug)]
pub struct Namespace {
    pub name: String,
}

impl Namespace {
    fn new(name: String) -> Self {
        must(&format!("ip netns add {name} && ip -n {name} link set lo up"));
        Self { name }
    }

    /// Runs in a thread of its own inside.
    pub fn spawn<T: Send + 'static>(&self, work: impl FnOnce() -> T + Send + 'static) -> JoinHandle<T> {
        let handle = File::open(format!("/var/run/netns/{}", self.name)).unwrap();
        std::thread::spawn(move || {
            setns(handle, CloneFlags::CLONE_NEWNET).unwrap();
            work()
        })
    }

    /// Runs inside and waits.
    pub fn inside<T: Send + 'static>(&self, work: impl FnOnce() -> T + Send + 'static) -> T {
        self.spawn(work).join().unwrap()
    }

    /// Its link-local address on an interface, once it may be used.
    pub fn link_local(&self, interface: &str) -> Ipv6Addr {
        let (mut found, command) =
            (None, format!("ip -n {} -6 -br addr show dev {interface} scope link -tentative", self.name));
        assert!(eventually(|| {
            let shown = must(&command);
            let address = shown.split_whitespace().find_map(|word| word.strip_suffix("/64"));
            found = address.and_then(|address| address.parse().ok());
            found.is_some()
        }));
        found.unwrap()
    }

    /// Runs a command inside that must succeed.
    pub fn must(&self, command: &str) -> String {
        must(&format!("ip netns exec {} sh -ec '{command}'", self.name))
    }
}

/// A node with pods on veths. Pod i has 10.77.i.2 and fd77:i::2, the node 10.77.i.1 and fd77:i::1.
pub struct Lab {
    pub node: Namespace,
    pub pods: Vec<Namespace>,
    stop: Arc<AtomicBool>,
    servers: Vec<JoinHandle<()>>,
}

static COUNT: AtomicU32 = AtomicU32::new(0);

impl Lab {
    pub fn new(pods: usize) -> Self {
        let unique = format!("cfd{}x{}", std::process::id(), COUNT.fetch_add(1, Ordering::Relaxed));
        let node = Namespace::new(format!("{unique}n"));
        node.must(
            "sysctl -qw net.ipv4.ip_forward=1 net.ipv6.conf.all.forwarding=1 net.ipv4.icmp_ratelimit=0",
        );
        let mut lab = Self { node, pods: vec![], stop: Arc::new(AtomicBool::new(false)), servers: vec![] };
        for i in 0..pods {
            let pod = Namespace::new(format!("{unique}p{i}"));
            let (n, p) = (&lab.node.name, &pod.name);
            must(&format!(
                "ip link add cfv{i} netns {n} type veth peer name eth0 netns {p}
                 ip -n {n} addr add 10.77.{i}.1/24 dev cfv{i}
                 ip -n {n} addr add fd77:{i}::1/64 dev cfv{i} nodad
                 ip -n {n} link set cfv{i} up
                 ip -n {p} addr add 10.77.{i}.2/24 dev eth0
                 ip -n {p} addr add fd77:{i}::2/64 dev eth0 nodad
                 ip -n {p} link set eth0 up
                 ip -n {p} route add default via 10.77.{i}.1
                 ip -n {p} -6 route add default via fd77:{i}::1"
            ));
            lab.pods.push(pod);
        }
        for (i, pod) in lab.pods.iter().enumerate() {
            let carriers =
                format!("ip -n {} link show cfv{i}; ip -n {} link show eth0", lab.node.name, pod.name);
            assert!(eventually(|| must(&carriers).matches("state UP").count() == 2), "the veth comes up");
            for to in [node4(i), node6(i)] {
                assert!(eventually(|| reachable(pod, to)), "the pod reaches its node");
            }
        }
        lab
    }

    /// Puts the first two pods on one bridge, `cni0`, with one network.
    pub fn bridge(&self) {
        let (n, a, b) = (&self.node.name, &self.pods[0].name, &self.pods[1].name);
        must(&format!(
            "ip -n {n} link add cni0 type bridge
             ip -n {n} link set cni0 up
             for i in 0 1; do ip -n {n} addr flush dev cfv$i; ip -n {n} link set cfv$i master cni0; done
             ip -n {n} addr add 10.77.0.1/16 dev cni0
             ip -n {n} addr add fd77::1/16 dev cni0 nodad
             for p in {a} {b}; do ip -n $p addr flush dev eth0 scope global; done
             ip -n {a} addr add 10.77.0.2/16 dev eth0
             ip -n {b} addr add 10.77.1.2/16 dev eth0
             ip -n {a} addr add fd77:0::2/16 dev eth0 nodad
             ip -n {b} addr add fd77:1::2/16 dev eth0 nodad"
        ));
    }

    /// Has netfilter see what bridges of the node forward.
    pub fn see_bridges(&self) {
        self.node
            .must("sysctl -qw net.bridge.bridge-nf-call-iptables=1 net.bridge.bridge-nf-call-ip6tables=1");
    }

    /// Opens the datapath in the node's namespace.
    pub fn datapath(&self, config: Config) -> NftDatapath {
        self.node.inside(move || NftDatapath::open(config).unwrap())
    }

    /// Answers TCP and UDP on the port of a pod, both families, until the lab ends.
    pub fn serve(&mut self, pod: usize, port: u16) {
        self.serve_in(self.pods[pod].clone(), port);
    }

    /// The same on the node.
    pub fn serve_on_node(&mut self, port: u16) {
        self.serve_in(self.node.clone(), port);
    }

    fn serve_in(&mut self, namespace: Namespace, port: u16) {
        let stop = self.stop.clone();
        let (ready, started) = std::sync::mpsc::channel();
        self.servers.push(namespace.spawn(move || serve(port, &stop, &ready)));
        started.recv().unwrap();
    }
}

impl Drop for Lab {
    fn drop(&mut self) {
        self.stop.store(true, Ordering::Relaxed);
        for server in self.servers.drain(..) {
            let _ended = server.join();
        }
        for namespace in self.pods.iter().chain([&self.node]) {
            run("ip", &["netns", "del", &namespace.name]);
        }
    }
}

/// A lab under a table, and what the kernel says of connections.
pub struct World {
    pub lab: Lab,
    pub datapath: NftDatapath,
    pub source: EventSource,
}

impl World {
    pub fn new(pods: usize, tables: &Tables) -> Self {
        let lab = Lab::new(pods);
        let mut datapath = lab.datapath(Config::default());
        let group = Config::default().log_group;
        let source = lab.node.inside(move || EventSource::open(group).unwrap());
        let _ = datapath.apply(&tables.table).unwrap();
        Self { lab, datapath, source }
    }

    pub fn send(&self, pod: usize, to: IpAddr, packet: Vec<u8>) {
        self.lab.pods[pod].inside(move || packet::Sender::new().send(to, &packet));
    }

    /// The ruling of the next event that matches.
    pub fn ruling(&mut self, wanted: impl Fn(&Flow) -> bool) -> Option<Ruling> {
        let (mut events, mut found) = (vec![], None);
        eventually(|| {
            self.source.read(&mut events).unwrap();
            found = events.drain(..).find_map(|event| match event {
                Event::Opened { flow, judged, .. } | Event::Denied { flow, judged } => {
                    wanted(&flow).then_some(judged.ruling)
                }
                Event::Closed(_) | Event::Lost(_) => None,
            });
            found.is_some()
        });
        found
    }
}

/// Whether the other end refuses a connection: it is there.
fn reachable(from: &Namespace, to: IpAddr) -> bool {
    from.inside(move || {
        let tried = TcpStream::connect_timeout(&SocketAddr::new(to, 9), SILENCE);
        tried.is_err_and(|error| error.kind() == std::io::ErrorKind::ConnectionRefused)
    })
}

fn serve(port: u16, stop: &AtomicBool, ready: &std::sync::mpsc::Sender<()>) {
    let tcp = TcpListener::bind(("::", port)).unwrap();
    tcp.set_nonblocking(true).unwrap();
    let udp = UdpSocket::bind(("::", port)).unwrap();
    udp.set_nonblocking(true).unwrap();
    ready.send(()).unwrap();
    let mut open: Vec<TcpStream> = vec![];
    let mut buffer = [0; 65536];
    while !stop.load(Ordering::Relaxed) {
        let mut idle = true;
        if let Ok((stream, _)) = tcp.accept() {
            stream.set_nonblocking(true).unwrap();
            open.push(stream);
            idle = false;
        }
        while let Ok((length, peer)) = udp.recv_from(&mut buffer) {
            let _unreachable = udp.send_to(&buffer[..length], peer);
            idle = false;
        }
        open.retain_mut(|stream| match stream.read(&mut buffer) {
            Ok(0) => false,
            Ok(length) => {
                idle = false;
                stream.write_all(&buffer[..length]).is_ok()
            }
            Err(error) => error.kind() == std::io::ErrorKind::WouldBlock,
        });
        if idle {
            std::thread::sleep(Duration::from_micros(500));
        }
    }
}

/// The address of a pod.
pub fn v4(pod: usize) -> IpAddr {
    format!("10.77.{pod}.2").parse().unwrap()
}

/// The address of a pod.
pub fn v6(pod: usize) -> IpAddr {
    format!("fd77:{pod}::2").parse().unwrap()
}

/// The node's address towards a pod.
pub fn node4(pod: usize) -> IpAddr {
    format!("10.77.{pod}.1").parse().unwrap()
}

/// The node's address towards a pod.
pub fn node6(pod: usize) -> IpAddr {
    format!("fd77:{pod}::1").parse().unwrap()
}

/// Whether a TCP connection opens and echoes.
pub fn tcp(from: &Namespace, to: IpAddr, port: u16) -> bool {
    from.inside(move || {
        let Ok(mut stream) = TcpStream::connect_timeout(&SocketAddr::new(to, port), SILENCE) else {
            return false;
        };
        echoes(&mut stream)
    })
}

/// Whether an open connection still echoes.
pub fn echoes(stream: &mut TcpStream) -> bool {
    stream.set_read_timeout(Some(SILENCE)).unwrap();
    let mut back = [0; 4];
    stream.write_all(b"ping").is_ok() && stream.read_exact(&mut back).is_ok()
}

/// Whether a UDP datagram comes back.
pub fn udp(from: &Namespace, to: IpAddr, port: u16, length: usize) -> bool {
    from.inside(move || {
        let any = if to.is_ipv4() { "0.0.0.0:0" } else { "[::]:0" };
        let socket = UdpSocket::bind(any).unwrap();
        socket.set_read_timeout(Some(SILENCE)).unwrap();
        socket.connect(SocketAddr::new(to, port)).unwrap();
        let mut back = vec![0; length + 1];
        socket.send(&vec![7; length]).is_ok() && socket.recv(&mut back).is_ok_and(|got| got == length)
    })
}

/// A socket for what is steered to the address.
pub fn transparent(address: SocketAddr, kind: SockType) -> OwnedFd {
    let family = if address.is_ipv4() { AddressFamily::Inet } else { AddressFamily::Inet6 };
    let fd = socket(family, kind, SockFlag::SOCK_CLOEXEC, None).unwrap();
    if address.is_ipv6() {
        setsockopt(&fd, Ipv6V6Only, &true).unwrap();
    }
    setsockopt(&fd, IpTransparent, &true).unwrap();
    bind(fd.as_raw_fd(), &SockaddrStorage::from(address)).unwrap();
    fd
}

/// Whether a ping with a payload of this size is answered.
pub fn ping(from: &Namespace, to: IpAddr, size: usize) -> bool {
    run("ip", &["netns", "exec", &from.name, "ping", "-c1", "-W1", "-s", &size.to_string(), &to.to_string()])
}

/// Waits until the condition holds; false if it does not within five seconds.
pub fn eventually(mut condition: impl FnMut() -> bool) -> bool {
    for _ in 0..500 {
        if condition() {
            return true;
        }
        std::thread::sleep(Duration::from_millis(10));
    }
    false
}

pub fn allow(rule: u32) -> Ruling {
    Ruling { verdict: Verdict::Allow, rule: RuleId(rule) }
}

pub fn deny(rule: u32) -> Ruling {
    Ruling { verdict: Verdict::Deny, rule: RuleId(rule) }
}

pub fn cell(protocol: Protocol, first: u16, last: u16, ruling: Ruling) -> Cell {
    Cell { protocol, first, last, ruling }
}

/// A table in which every pod is an endpoint with slot and class of its own (slot i, class i + 1), and the node's
/// addresses are its own with class 100.
pub struct Tables {
    pub table: Table,
}

impl Tables {
    pub fn new(pods: usize) -> Self {
        let open = Row { otherwise: allow(0), cells: vec![] };
        let lane = || Lane { rows: BTreeMap::new(), otherwise: RowId(0) };
        let mut table = Table {
            generation: Generation(1),
            node: "node".into(),
            own: Default::default(),
            endpoints: Default::default(),
            hosts: Default::default(),
            networks: Default::default(),
            bound: Default::default(),
            past: Default::default(),
            slots: (0..pods).map(|_| Slot { egress: lane(), ingress: lane() }).collect(),
            rows: vec![open],
            rules: Default::default(),
        };
        for pod in 0..pods {
            let slot = SlotId(u32::try_from(pod).unwrap());
            for address in [v4(pod), v6(pod)] {
                table.endpoints.insert(address, slot);
                table.hosts.insert(address, ClassId(slot.0 + 1));
            }
            for address in [node4(pod), node6(pod)] {
                table.own.insert(address);
                table.hosts.insert(address, ClassId(100));
            }
        }
        Self { table }
    }

    pub fn row(&mut self, otherwise: Ruling, cells: Vec<Cell>) -> RowId {
        self.table.rows.push(Row { otherwise, cells });
        RowId(u32::try_from(self.table.rows.len() - 1).unwrap())
    }

    pub fn ingress(&mut self, pod: usize) -> &mut Lane {
        &mut self.table.slots[pod].ingress
    }

    pub fn egress(&mut self, pod: usize) -> &mut Lane {
        &mut self.table.slots[pod].egress
    }
}

/// The class of a pod in [`Tables`].
pub fn class(pod: usize) -> ClassId {
    ClassId(u32::try_from(pod).unwrap() + 1)
}
