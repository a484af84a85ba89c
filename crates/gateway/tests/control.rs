//! The proxy as its own process is told what to do: over a socket pair, in a thread that stands for the process.

#![allow(
    clippy::unwrap_used,
    clippy::panic,
    clippy::indexing_slicing,
    reason = "a test's helpers fail the test"
)]

mod support;

use gateway::control::{
    AllowedFrame, BoundFrame, ControlError, Frames, Order, PodFrame, Told, run_proxy, send,
};
use gateway::{Ceiling, Counts, Limits, Reason, Record, Rules};
use policy::Generation;
use std::io::{Read, Write};
use std::net::{SocketAddr, TcpListener, TcpStream};
use std::os::fd::{AsFd, OwnedFd};
use std::os::unix::net::UnixStream;
use std::process::{Command, Stdio};
use std::thread::JoinHandle;
use support::{PATIENCE, POD, hello_of, patient};

struct Agent {
    socket: OwnedFd,
    frames: Frames,
    proxy: JoinHandle<Result<(), ControlError>>,
    records: Vec<Record>,
    counts: Counts,
}

impl Agent {
    /// A proxy with its control socket, not started.
    fn new() -> Self {
        let (mine, its) = UnixStream::pair().unwrap();
        mine.set_read_timeout(Some(PATIENCE)).unwrap();
        let proxy = std::thread::spawn(|| run_proxy(OwnedFd::from(its)));
        let socket = OwnedFd::from(mine);
        let frames = Frames::new(socket.try_clone().unwrap());
        Self { socket, frames, proxy, records: vec![], counts: Counts::default() }
    }

    fn started(listeners: &[&TcpListener]) -> Self {
        let mut agent = Self::new();
        let fds: Vec<_> = listeners.iter().map(AsFd::as_fd).collect();
        send(&agent.socket, &Order::Start { limits: Limits::default(), workers: 2 }, &fds).unwrap();
        assert_eq!(agent.told(), Some(Told::Started));
        agent
    }

    fn order(&mut self, order: &Order) -> Told {
        send(&self.socket, order, &[]).unwrap();
        self.told().unwrap()
    }

    /// The next word that is neither records nor counters, which are kept.
    fn told(&mut self) -> Option<Told> {
        loop {
            match self.frames.recv().unwrap()? {
                Told::Records(records) => self.records.extend(records),
                Told::Counts(counts) => self.counts = counts,
                other => return Some(other),
            }
        }
    }

    /// Hears everything to the end.
    fn ended(mut self) -> (Vec<Record>, Counts) {
        while self.told().is_some() {}
        self.proxy.join().unwrap().unwrap();
        (self.records, self.counts)
    }
}

fn pod(names: &[&str], destination: SocketAddr) -> PodFrame {
    let allowed = AllowedFrame {
        pattern: "hub.example".into(),
        ports: vec![],
        rule: "a rule".into(),
        ceiling: Ceiling::default(),
    };
    PodFrame { address: POD, allowed: vec![allowed], bound: vec![bound(names, destination)] }
}

fn bound(names: &[&str], destination: SocketAddr) -> BoundFrame {
    let names = names.iter().map(|name| (*name).to_owned()).collect();
    BoundFrame { destination: destination.ip(), names, allowed: vec![0] }
}

fn listener() -> (TcpListener, SocketAddr) {
    let listener = TcpListener::bind((POD, 0)).unwrap();
    let address = listener.local_addr().unwrap();
    (listener, address)
}

/// Opens a connection and waits for its refusal.
fn refused(to: SocketAddr, name: &str) {
    let mut stream = patient(TcpStream::connect(to).unwrap());
    stream.write_all(&hello_of(Some(name), &[])).unwrap();
    let mut alert = vec![];
    stream.read_to_end(&mut alert).unwrap();
    assert_eq!(alert, [21, 3, 3, 0, 2, 2, 49]);
}

#[test]
fn nothing_passes_before_a_state_and_what_is_applied_is_in_force() {
    let (listener, to) = listener();
    let mut agent = Agent::started(&[&listener]);
    refused(to, "hub.example");
    let state =
        |revision, pods| Order::State { revision, generation: Generation(7), rules: Rules::default(), pods };
    assert_eq!(agent.order(&state(1, vec![pod(&["other.example"], to)])), Told::Applied { revision: 1 });
    refused(to, "hub.example");
    let bind = Order::Bind { revision: 2, pod: POD, bound: bound(&["hub.example", "other.example"], to) };
    assert_eq!(agent.order(&bind), Told::Applied { revision: 2 });
    refused(to, "other.example");
    assert_eq!(
        agent.order(&Order::Unbind { revision: 3, pod: POD, destination: to.ip() }),
        Told::Applied { revision: 3 }
    );
    refused(to, "other.example");
    send(&agent.socket, &Order::Drain, &[]).unwrap();
    let (records, counts) = agent.ended();
    let reasons: Vec<_> = records.iter().map(|record| record.reason).collect();
    assert_eq!(
        reasons,
        [Reason::NoPolicy, Reason::NameMismatch, Reason::NameNotAllowed, Reason::NotResolved]
    );
    assert_eq!((counts.reasons.values().sum::<u64>(), counts.open, counts.records_lost), (4, 0, 0));
}

#[test]
fn what_cannot_be_read_changes_nothing_and_is_told() {
    let (listener, to) = listener();
    let mut agent = Agent::started(&[&listener]);
    let good = Order::State {
        revision: 1,
        generation: Generation(7),
        rules: Rules::default(),
        pods: vec![pod(&["hub.example"], to)],
    };
    assert_eq!(agent.order(&good), Told::Applied { revision: 1 });
    let mut broken = pod(&["hub.example"], to);
    broken.allowed[0].pattern = "*.*".into();
    let mut outside = pod(&["hub.example"], to);
    outside.bound[0].allowed = vec![1];
    for pods in [vec![broken], vec![outside], vec![pod(&["not a name"], to)]] {
        let told = agent.order(&Order::State {
            revision: 2,
            generation: Generation(7),
            rules: Rules::default(),
            pods,
        });
        assert!(matches!(told, Told::NotApplied { revision: 2, .. }), "{told:?}");
    }
    let stranger = Order::Bind { revision: 3, pod: [10, 0, 0, 9].into(), bound: bound(&["hub.example"], to) };
    assert!(matches!(agent.order(&stranger), Told::NotApplied { revision: 3, .. }));
    refused(to, "other.example");
    send(&agent.socket, &Order::Drain, &[]).unwrap();
    let (records, _) = agent.ended();
    assert_eq!(records[0].reason, Reason::NameMismatch, "the state before is still in force");
}

#[test]
fn a_new_proxy_takes_the_listeners_over_and_nobody_is_turned_away() {
    let (listener, to) = listener();
    let old = Agent::started(&[&listener]);
    refused(to, "a.example");
    send(&old.socket, &Order::Drain, &[]).unwrap();
    let (first, _) = old.ended();
    // Nobody accepts now; the connection waits in the listener.
    let waiting = std::thread::spawn(move || refused(to, "b.example"));
    let new = Agent::started(&[&listener]);
    waiting.join().unwrap();
    send(&new.socket, &Order::Drain, &[]).unwrap();
    let (second, _) = new.ended();
    let names = |records: &[Record]| {
        records.iter().filter_map(|record| record.claim.name.clone()).collect::<Vec<_>>()
    };
    assert_eq!((names(&first), names(&second)), (vec!["a.example".into()], vec!["b.example".into()]));
}

/// The control socket of the proxy's process is its standard input.
#[test]
#[ignore = "no test of its own"]
fn the_process_of_another_test() {
    run_proxy(std::io::stdin().as_fd().try_clone_to_owned().unwrap()).unwrap();
}

#[test]
fn a_proxy_that_is_killed_loses_its_connections_and_the_next_serves_what_waited() {
    let (listener, to) = listener();
    let start = || {
        let (mine, its) = UnixStream::pair().unwrap();
        mine.set_read_timeout(Some(PATIENCE)).unwrap();
        let process = Command::new(std::env::current_exe().unwrap())
            .args(["--ignored", "--exact", "the_process_of_another_test"])
            .stdin(OwnedFd::from(its))
            .stdout(Stdio::null())
            .spawn()
            .unwrap();
        let order = Order::Start { limits: Limits::default(), workers: 1 };
        send(&mine, &order, &[listener.as_fd()]).unwrap();
        let mut frames = Frames::new(OwnedFd::from(mine));
        assert_eq!(frames.recv().unwrap(), Some(Told::Started));
        (process, frames)
    };
    let (mut process, mut frames) = start();
    let mut open = patient(TcpStream::connect(to).unwrap());
    // It is read from, so it was accepted.
    refused(to, "a.example");
    process.kill().unwrap();
    process.wait().unwrap();
    assert!(!open.read(&mut [0]).is_ok_and(|length| length > 0), "it is over, by an end or a reset");
    while frames.recv::<Told>().is_ok_and(|told| told.is_some()) {}
    let waiting = std::thread::spawn(move || refused(to, "b.example"));
    let (mut process, frames) = start();
    waiting.join().unwrap();
    drop(frames);
    assert!(process.wait().unwrap().success(), "the agent's end is a good end");
}

#[test]
fn the_agents_end_ends_the_proxy() {
    let (listener, _) = listener();
    let Agent { socket, frames, proxy, .. } = Agent::started(&[&listener]);
    drop((socket, frames));
    proxy.join().unwrap().unwrap();
}

#[test]
fn a_proxy_that_is_not_started_well_ends() {
    let agent = Agent::new();
    send(&agent.socket, &Order::Drain, &[]).unwrap();
    assert!(matches!(agent.proxy.join().unwrap(), Err(ControlError::Frame(_))));
    let agent = Agent::new();
    send(&agent.socket, &Order::Start { limits: Limits::default(), workers: 1 }, &[]).unwrap();
    assert!(matches!(agent.proxy.join().unwrap(), Err(ControlError::Frame(_))));
    let mut agent = Agent::new();
    UnixStream::from(agent.socket.try_clone().unwrap()).write_all(&[0xff; 8]).unwrap();
    assert!(agent.told().is_none());
    assert!(agent.proxy.join().unwrap().is_err());
}
