//! No gap: under load, while tables are swapped and processes die, no denied packet passes and no allowed one is lost.

#![allow(
    clippy::unwrap_used,
    clippy::indexing_slicing,
    clippy::panic,
    clippy::print_stderr,
    clippy::cast_possible_truncation,
    reason = "in a test a panic is the failure report"
)]

mod support;

use datapath::{Config, Datapath, NftDatapath};
use policy::Protocol;
use policy::table::{ClassId, SlotId, Table};
use std::net::{SocketAddr, UdpSocket};
use std::process::{Command, Stdio};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::time::Duration;
use support::*;

const ALLOWED: u16 = 7001;
const DENIED: u16 = 7002;
/// After so many connections new ones come more slowly, or they might fill the kernel's table of connections, and what
/// it then drops is not for policy to say.
const MANY: u32 = 8000;

/// The same policy in many spellings: ids of slots, classes, rows and rules all differ, the verdicts never.
fn spelling(turn: u32) -> Table {
    let mut tables = Tables::new(2);
    for filler in 0..=turn % 7 {
        tables.row(if filler % 2 == 0 { allow(500 + filler) } else { deny(500 + filler) }, vec![]);
    }
    let rule = 16 + turn % 1000;
    let wide = if turn.is_multiple_of(3) { 200 } else { 0 };
    let row = tables.row(
        deny(rule),
        vec![
            cell(Protocol::UDP, ALLOWED, ALLOWED, allow(rule + 1)),
            cell(Protocol::UDP, 9000, 9000 + wide, deny(rule + 2)),
        ],
    );
    let peer = ClassId(200 + turn % 5);
    for address in [v4(0), v6(0)] {
        if turn.is_multiple_of(2) {
            tables.table.hosts.insert(address, peer);
        } else {
            tables.table.hosts.remove(&address);
            tables.table.networks.insert(ipnet(address), peer);
        }
    }
    tables.ingress(1).rows.insert(peer, row);
    tables.ingress(1).otherwise = tables.row(deny(rule + 3), vec![]);
    // Slots change places.
    if turn.is_multiple_of(2) {
        tables.table.slots.swap(0, 1);
        for slot in tables.table.endpoints.values_mut() {
            *slot = SlotId(1 - slot.0);
        }
    }
    tables.table
}

fn ipnet(address: std::net::IpAddr) -> ipnet::IpNet {
    ipnet::IpNet::new(address, if address.is_ipv4() { 24 } else { 64 }).unwrap().trunc()
}

struct Load {
    stop: Arc<AtomicBool>,
    sent: [Arc<AtomicU64>; 2],
    received: [Arc<AtomicU64>; 2],
    threads: Vec<std::thread::JoinHandle<()>>,
}

impl Load {
    /// One sender makes a new connection (a new source port) every few datagrams, so that judging goes on all the time.
    fn start(lab: &Lab) -> Self {
        let mut load = Self {
            stop: Arc::default(),
            sent: Default::default(),
            received: Default::default(),
            threads: vec![],
        };
        let (ready, started) = std::sync::mpsc::channel();
        for (index, port) in [ALLOWED, DENIED].into_iter().enumerate() {
            let (stop, received, ready) = (load.stop.clone(), load.received[index].clone(), ready.clone());
            load.threads.push(lab.pods[1].spawn(move || {
                let socket = UdpSocket::bind(("::", port)).unwrap();
                nix::sys::socket::setsockopt(&socket, nix::sys::socket::sockopt::RcvBufForce, &(16 << 20))
                    .unwrap();
                socket.set_read_timeout(Some(Duration::from_millis(50))).unwrap();
                ready.send(()).unwrap();
                let mut buffer = [0; 64];
                loop {
                    match socket.recv(&mut buffer) {
                        Ok(_) => drop(received.fetch_add(1, Ordering::Relaxed)),
                        Err(_) if stop.load(Ordering::Relaxed) => break,
                        Err(_) => {}
                    }
                }
            }));
            started.recv().unwrap();
        }
        let (stop, sent) = (load.stop.clone(), load.sent.clone());
        load.threads.push(lab.pods[0].spawn(move || send(&stop, &sent)));
        load
    }

    fn passed(&self) -> u64 {
        self.received[0].load(Ordering::Relaxed)
    }

    fn finish(self) -> ([u64; 2], [u64; 2]) {
        self.stop.store(true, Ordering::Relaxed);
        for thread in self.threads {
            thread.join().unwrap();
        }
        let read =
            |counters: &[Arc<AtomicU64>; 2]| [0, 1].map(|i: usize| counters[i].load(Ordering::Relaxed));
        (read(&self.sent), read(&self.received))
    }
}

fn send(stop: &AtomicBool, sent: &[Arc<AtomicU64>; 2]) {
    let mut turn = 0_u32;
    while !stop.load(Ordering::Relaxed) {
        let to = if turn.is_multiple_of(2) { v4(1) } else { v6(1) };
        let any = if to.is_ipv4() { "0.0.0.0:0" } else { "[::]:0" };
        let socket = UdpSocket::bind(any).unwrap();
        for _ in 0..8 {
            for (index, port) in [ALLOWED, DENIED].into_iter().enumerate() {
                if socket.send_to(&[0; 32], SocketAddr::new(to, port)).is_ok() {
                    sent[index].fetch_add(1, Ordering::Relaxed);
                }
            }
        }
        turn += 1;
        if turn > MANY {
            std::thread::sleep(Duration::from_millis(1));
        }
    }
}

#[test]
fn kernel_swaps_tables_under_load_without_a_leak_or_a_loss() {
    if !privileged() {
        return;
    }
    let lab = Lab::new(2);
    let mut datapath = lab.datapath(Config::default());
    let _ = datapath.apply(&spelling(0)).unwrap();
    let load = Load::start(&lab);
    assert!(eventually(|| load.passed() > 100));
    for turn in 1..=300 {
        let applied = datapath.apply(&spelling(turn)).unwrap();
        assert!(applied.changed);
        if turn.is_multiple_of(50) {
            // A new process takes over, or one with other settings replaces everything.
            let group = Config::default().log_group + u16::try_from(turn % 100 / 50).unwrap();
            drop(datapath);
            datapath = lab.datapath(Config { log_group: group, ..Config::default() });
        }
    }
    let (sent, received) = load.finish();
    eprintln!("allowed {} of {}, denied {} of {} passed", received[0], sent[0], received[1], sent[1]);
    assert_eq!(received[1], 0, "denied datagrams passed");
    assert_eq!(received[0], sent[0], "allowed datagrams were lost");
}

#[test]
fn kernel_killed_process_leaves_no_gap() {
    if !privileged() {
        return;
    }
    if let Ok(namespace) = std::env::var("COFFERDAM_VICTIM") {
        victim(namespace);
    }
    let lab = Lab::new(2);
    let mut datapath = lab.datapath(Config::default());
    let _ = datapath.apply(&spelling(0)).unwrap();
    drop(datapath);
    let load = Load::start(&lab);
    assert!(eventually(|| load.passed() > 100));
    for _ in 0..10 {
        let before = tag(&lab);
        let mut child = Command::new(std::env::current_exe().unwrap())
            .args(["--exact", "kernel_killed_process_leaves_no_gap", "--nocapture"])
            .env("COFFERDAM_VICTIM", &lab.node.name)
            .stdout(Stdio::null())
            .stderr(Stdio::null())
            .spawn()
            .unwrap();
        let busy = eventually(|| tag(&lab) != before);
        child.kill().unwrap();
        child.wait().unwrap();
        assert!(busy, "the process was killed in the middle of its work");
    }
    let (sent, received) = load.finish();
    eprintln!("allowed {} of {}, denied {} of {} passed", received[0], sent[0], received[1], sent[1]);
    assert_eq!(received[1], 0, "denied datagrams passed");
    assert_eq!(received[0], sent[0], "allowed datagrams were lost");
}

fn tag(lab: &Lab) -> Option<datapath::Tag> {
    lab.datapath(Config::default()).tag()
}

/// Swaps tables until it is killed.
fn victim(namespace: String) -> ! {
    let node = Namespace { name: namespace };
    let mut datapath = node.inside(|| NftDatapath::open(Config::default()).unwrap());
    for turn in 1..100_000 {
        let _ = datapath.apply(&spelling(turn)).unwrap();
    }
    std::process::exit(1)
}
