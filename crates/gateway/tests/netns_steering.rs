//! A pod, its node and a server as network namespaces: the kernel steers the pod's connections to the proxy, which
//! sees where they were going, for IPv4 and IPv6.

#![allow(
    clippy::unwrap_used,
    clippy::panic,
    clippy::indexing_slicing,
    clippy::print_stderr,
    reason = "a test's helpers fail the test"
)]

mod support;

use gateway::{Agent, Ceiling, Counts, End, Limits, PodState, Proxy, Reason, Record, State, run_proxy};
use handover::{Sockets, Steering};
use nix::sched::{CloneFlags, setns};
use policy::Generation;
use std::fs::File;
use std::io::{ErrorKind, Read, Write};
use std::net::{IpAddr, SocketAddr, TcpListener, TcpStream, UdpSocket};
use std::os::fd::OwnedFd;
use std::os::unix::net::UnixStream;
use std::process::Command;
use std::sync::mpsc::{Receiver, Sender, channel};
use std::thread::JoinHandle;
use support::{PATIENCE, bound, hello_of, patient, rules};

const POD: [&str; 2] = ["10.78.1.2", "fd78:1::2"];
const SERVER: [&str; 2] = ["198.51.100.7", "2001:db8::7"];
const PROXY_PORT: u16 = 15_443;
/// What the node marks steered packets with.
const RULES: &str = "
table inet steer {
  chain prerouting {
    type filter hook prerouting priority mangle;
    iifname \"pod\" tcp dport 443 meta nfproto ipv4 tproxy ip to :15443 meta mark set 0x200 accept
    iifname \"pod\" tcp dport 443 meta nfproto ipv6 tproxy ip6 to :15443 meta mark set 0x200 accept
    iifname \"pod\" tcp dport 443 drop
    iifname \"pod\" udp dport 443 meta nfproto ipv4 tproxy ip to :15443 meta mark set 0x200 accept
    iifname \"pod\" udp dport 443 meta nfproto ipv6 tproxy ip6 to :15443 meta mark set 0x200 accept
  }
}";

fn must(command: &str) {
    let output = Command::new("sh").args(["-ec", command]).output().unwrap();
    assert!(output.status.success(), "{command}\n{}", String::from_utf8_lossy(&output.stderr));
}

/// Whether namespaces can be made and rules loaded here. Says loudly if not.
fn able() -> bool {
    let able = nix::unistd::geteuid().is_root()
        && Command::new("sh")
            .args(["-c", "ip netns list && nft --version"])
            .output()
            .is_ok_and(|o| o.status.success());
    if !able {
        eprintln!("SKIPPED: this test needs root (or: unshare -Urnm with a tmpfs on /run), iproute2 and nft");
    }
    able
}

/// Three namespaces, removed on drop.
struct World {
    id: String,
}

impl World {
    fn new() -> Self {
        let id = format!("cfg{}", std::process::id());
        let world = Self { id };
        let [pod, node, server] = ["p", "n", "s"].map(|place| world.name(place));
        must(&format!(
            "for n in {pod} {node} {server}; do ip netns add $n; ip -n $n link set lo up; done
             ip link add pod netns {node} type veth peer name eth0 netns {pod}
             ip link add out netns {node} type veth peer name eth0 netns {server}
             ip -n {pod} addr add 10.78.1.2/24 dev eth0; ip -n {pod} addr add fd78:1::2/64 dev eth0 nodad
             ip -n {node} addr add 10.78.1.1/24 dev pod; ip -n {node} addr add fd78:1::1/64 dev pod nodad
             ip -n {node} addr add 198.51.100.1/24 dev out; ip -n {node} addr add 2001:db8::1/64 dev out nodad
             ip -n {server} addr add 198.51.100.7/24 dev eth0
             ip -n {server} addr add 2001:db8::7/64 dev eth0 nodad
             ip -n {pod} link set eth0 up; ip -n {node} link set pod up
             ip -n {node} link set out up; ip -n {server} link set eth0 up
             ip -n {pod} route add default via 10.78.1.1; ip -n {pod} -6 route add default via fd78:1::1
             ip netns exec {node} sysctl -qw net.ipv4.ip_forward=1 net.ipv6.conf.all.forwarding=1
             for f in -4 -6; do
               ip -n {node} $f rule add fwmark 0x200 lookup 2004
               ip -n {node} $f route add local default dev lo table 2004
             done
             ip netns exec {node} nft -f - <<'EOF'\n{RULES}\nEOF"
        ));
        world
    }

    fn name(&self, place: &str) -> String {
        format!("{}{place}", self.id)
    }

    /// Runs in a thread of its own inside a namespace.
    fn spawn<T: Send + 'static>(
        &self,
        place: &str,
        work: impl FnOnce() -> T + Send + 'static,
    ) -> JoinHandle<T> {
        let handle = File::open(format!("/var/run/netns/{}", self.name(place))).unwrap();
        std::thread::spawn(move || {
            setns(handle, CloneFlags::CLONE_NEWNET).unwrap();
            work()
        })
    }

    fn inside<T: Send + 'static>(&self, place: &str, work: impl FnOnce() -> T + Send + 'static) -> T {
        self.spawn(place, work).join().unwrap()
    }

    /// A connection of the pod's, from a fresh socket.
    fn connect(&self, to: SocketAddr) -> std::io::Result<TcpStream> {
        self.inside("p", move || TcpStream::connect_timeout(&to, PATIENCE).map(patient))
    }
}

impl Drop for World {
    fn drop(&mut self) {
        for place in ["p", "n", "s"] {
            let _gone = Command::new("ip").args(["netns", "del", &self.name(place)]).output();
        }
    }
}

fn pod(family: usize) -> (IpAddr, PodState) {
    let bound = [(SERVER[family].parse().unwrap(), bound(&[("hub.example", &[(443, 443)])]))];
    let rules = rules(Ceiling::default(), None).into();
    (POD[family].parse().unwrap(), PodState { rules, bound: bound.into(), ..PodState::default() })
}

/// Passes on what a proxy says of itself.
struct Ear(Sender<Option<Record>>);

impl Agent for Ear {
    fn applied(&mut self, _: u64, applied: Result<(), String>) {
        applied.unwrap();
        self.0.send(None).unwrap();
    }

    fn records(&mut self, records: Vec<Record>) {
        records.into_iter().for_each(|record| self.0.send(Some(record)).unwrap());
    }

    fn counts(&mut self, _: Counts) {}

    fn ended(&mut self, _: &str) {
        self.0.send(None).unwrap();
    }
}

#[test]
fn steered_connections_are_let_through_by_their_name_only() {
    if !able() {
        return;
    }
    let world = World::new();
    let at = [(IpAddr::from([0; 4]), PROXY_PORT), (IpAddr::from([0; 16]), PROXY_PORT)].map(SocketAddr::from);
    let sockets = world.inside("n", move || Sockets::bind(&at, Steering::Transparent).unwrap());
    let (mine, its) = UnixStream::pair().unwrap();
    let process = world.spawn("n", || run_proxy(OwnedFd::from(its)));
    let (sender, said) = channel();
    let proxy = Proxy::start(mine, &sockets, Limits::default(), 2, Ear(sender)).unwrap();
    let state = State { generation: Generation(7), pods: [pod(0), pod(1)].into(), ..State::default() };
    proxy.set_state(1, &state).unwrap();
    assert_eq!(said.recv_timeout(PATIENCE).unwrap(), None);
    for family in 0..2 {
        passes(&world, &said, family);
        is_refused(&world, &said, family);
        quic_is_refused(&world, &said, family);
    }
    proxy.drain().unwrap();
    assert_eq!(said.recv_timeout(PATIENCE).unwrap(), None);
    process.join().unwrap().unwrap();
    drop(sockets);
    // With nobody behind the rule, its drop keeps the pod from the server.
    let to = SocketAddr::new(SERVER[0].parse().unwrap(), 443);
    let listener = world.inside("s", move || TcpListener::bind(to).unwrap());
    let tried =
        world.inside("p", move || TcpStream::connect_timeout(&to, std::time::Duration::from_millis(300)));
    assert_eq!(tried.unwrap_err().kind(), ErrorKind::TimedOut);
    drop(listener);
}

fn record(said: &Receiver<Option<Record>>) -> Record {
    said.recv_timeout(PATIENCE).unwrap().unwrap()
}

/// One record for the flow, with the name that it asks for.
fn quic_is_refused(world: &World, said: &Receiver<Option<Record>>, family: usize) {
    let digits = include_str!("../../inspect/tests/vectors/rfc9001-a2.hex");
    let digits: Vec<char> = digits.chars().filter(char::is_ascii_hexdigit).collect();
    let hex = |pair: &[char]| u8::from_str_radix(&pair.iter().collect::<String>(), 16).unwrap();
    let datagram: Vec<u8> = digits.chunks(2).map(hex).collect();
    let to = server_address(family);
    let from = world.inside("p", move || {
        let socket = UdpSocket::bind(if to.is_ipv4() { "0.0.0.0:0" } else { "[::]:0" }).unwrap();
        socket.connect(to).unwrap();
        for _ in 0..3 {
            socket.send(&datagram).unwrap();
        }
        socket.local_addr().unwrap()
    });
    let record = record(said);
    assert_eq!((record.reason, record.end), (Reason::Quic, End::Refused));
    assert_eq!((record.pod, record.destination), (from, to));
    assert_eq!(record.claim.name.as_deref(), Some("example.com"));
}

fn server_address(family: usize) -> SocketAddr {
    SocketAddr::new(SERVER[family].parse().unwrap(), 443)
}

fn passes(world: &World, said: &Receiver<Option<Record>>, family: usize) {
    let to = server_address(family);
    let listener = world.inside("s", move || TcpListener::bind(to).unwrap());
    let hello = hello_of(Some("hub.example"), &[]);
    let mut client = world.connect(to).unwrap();
    client.write_all(&hello).unwrap();
    let (server, from) = listener.accept().unwrap();
    let mut server = patient(server);
    let node: IpAddr = ["198.51.100.1", "2001:db8::1"][family].parse().unwrap();
    assert_eq!(from.ip(), node, "the proxy connects from the node's address");
    let mut read = vec![0; hello.len()];
    server.read_exact(&mut read).unwrap();
    assert_eq!(read, hello);
    server.write_all(b"answer").unwrap();
    drop(server);
    let mut back = vec![];
    client.read_to_end(&mut back).unwrap();
    assert_eq!(back, b"answer");
    let (pod, from) = (POD[family].parse().unwrap(), client.local_addr().unwrap());
    drop(client);
    let record = record(said);
    assert_eq!((record.reason, record.end, record.destination), (Reason::NameAllowed, End::Closed, to));
    assert_eq!((record.pod, record.pod.ip()), (from, pod));
}

fn is_refused(world: &World, said: &Receiver<Option<Record>>, family: usize) {
    let mut client = world.connect(server_address(family)).unwrap();
    client.write_all(&hello_of(Some("evil.example"), &[])).unwrap();
    let mut back = vec![];
    client.read_to_end(&mut back).unwrap();
    assert_eq!(back, [21, 3, 3, 0, 2, 2, 49]);
    let record = record(said);
    assert_eq!((record.reason, record.destination), (Reason::NameMismatch, server_address(family)));
}
