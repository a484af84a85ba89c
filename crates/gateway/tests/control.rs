//! The proxy as its own process is told what to do: over a socket pair, in a thread that stands for the process, and as a
//! process that is killed.

#![allow(
    clippy::unwrap_used,
    clippy::panic,
    clippy::indexing_slicing,
    clippy::print_stderr,
    reason = "a test's helpers fail the test"
)]

mod support;

use gateway::{
    Agent, Ask, AuthorityPem, Bind, Call, Ceiling, Content, Counts, Host, Inspection, Limits, PodState,
    ProcessError, Proxy, Reason, Record, RuleFacts, State, Unresolved, Window, run_proxy,
};
use handover::{Sockets, Steering};
use policy::{Capture, DnsName, Generation, Quota, Quotas, Requests, Verb, Verdict};
use std::cell::RefCell;
use std::collections::VecDeque;
use std::io::{Read, Write};
use std::net::{IpAddr, SocketAddr, TcpStream};
use std::os::fd::{AsFd, OwnedFd};
use std::os::unix::fs::PermissionsExt;
use std::os::unix::net::UnixStream;
use std::path::Path;
use std::process::{Child, Command, Stdio};
use std::sync::mpsc::{Receiver, Sender, channel};
use std::thread::JoinHandle;
use support::web::{anything, nothing, state_of};
use support::{ALL, PATIENCE, POD, bound, hello_of, patient, rules, strict};

#[derive(Debug)]
enum Said {
    Applied(u64, Result<(), String>),
    Record(Box<Record>),
    Call(Box<Call>),
    Content(Box<Content>),
    Counts(Counts),
    Asked(Ask),
    Ended,
}

struct Ear(Sender<Said>);

impl Ear {
    fn say(&self, said: Said) {
        // The test may have heard enough.
        let _gone = self.0.send(said);
    }
}

impl Agent for Ear {
    fn applied(&mut self, revision: u64, applied: Result<(), String>) {
        self.say(Said::Applied(revision, applied));
    }

    fn records(&mut self, records: Vec<Record>) {
        records.into_iter().for_each(|record| self.say(Said::Record(Box::new(record))));
    }

    fn calls(&mut self, calls: Vec<Call>) {
        calls.into_iter().for_each(|call| self.say(Said::Call(Box::new(call))));
    }

    fn content(&mut self, content: Content) {
        self.say(Said::Content(Box::new(content)));
    }

    fn counts(&mut self, counts: Counts) {
        self.say(Said::Counts(counts));
    }

    fn asked(&mut self, ask: Ask) {
        self.say(Said::Asked(ask));
    }

    fn ended(&mut self, _: &str) {
        self.say(Said::Ended);
    }
}

fn sockets() -> (Sockets, SocketAddr) {
    let sockets = Sockets::bind(&[SocketAddr::new(POD, 0)], Steering::None).unwrap();
    let to = sockets.listening().unwrap()[0];
    (sockets, to)
}

struct Led {
    proxy: Proxy,
    said: Receiver<Said>,
    /// Records that came while something else was waited for.
    kept: RefCell<VecDeque<Record>>,
    process: Option<JoinHandle<Result<(), ProcessError>>>,
}

impl Led {
    fn start(sockets: &Sockets) -> Self {
        Self::start_with_front(sockets, 0)
    }

    fn start_with_front(sockets: &Sockets, front: usize) -> Self {
        let (mine, its) = UnixStream::pair().unwrap();
        let process = std::thread::spawn(|| run_proxy(OwnedFd::from(its)));
        let (sender, said) = channel();
        let proxy = Proxy::start_with_front(mine, (sockets, front), Limits::default(), 2, Ear(sender));
        let proxy = proxy.unwrap();
        Self { proxy, said, kept: RefCell::default(), process: Some(process) }
    }

    /// What was told is in force, or why not.
    fn applied(&self, revision: u64) -> Result<(), String> {
        loop {
            match self.said.recv_timeout(PATIENCE).unwrap() {
                Said::Applied(number, applied) if number == revision => return applied,
                Said::Record(record) => self.kept.borrow_mut().push_back(*record),
                Said::Applied(..) | Said::Counts(_) | Said::Call(_) | Said::Content(_) | Said::Asked(_) => {}
                Said::Ended => panic!("it ended"),
            }
        }
    }

    fn asked(&self) -> Ask {
        loop {
            match self.said.recv_timeout(PATIENCE).unwrap() {
                Said::Asked(ask) => return ask,
                Said::Record(record) => self.kept.borrow_mut().push_back(*record),
                Said::Applied(..) | Said::Counts(_) | Said::Call(_) | Said::Content(_) => {}
                Said::Ended => panic!("it ended"),
            }
        }
    }

    fn record(&self) -> Record {
        if let Some(kept) = self.kept.borrow_mut().pop_front() {
            return kept;
        }
        loop {
            match self.said.recv_timeout(PATIENCE).unwrap() {
                Said::Record(record) => return *record,
                Said::Applied(..) | Said::Counts(_) | Said::Call(_) | Said::Content(_) | Said::Asked(_) => {}
                Said::Ended => panic!("it ended"),
            }
        }
    }

    fn call(&self) -> Call {
        loop {
            match self.said.recv_timeout(PATIENCE).unwrap() {
                Said::Call(call) => return *call,
                Said::Record(record) => self.kept.borrow_mut().push_back(*record),
                Said::Applied(..) | Said::Counts(_) | Said::Content(_) | Said::Asked(_) => {}
                Said::Ended => panic!("it ended"),
            }
        }
    }

    fn goes_by(&self, revision: u64, state: &State) {
        self.proxy.set_state(revision, state).unwrap();
        self.applied(revision).unwrap();
    }

    /// Hears everything to the end.
    fn ended(self) -> (Vec<Record>, Counts) {
        let (mut records, mut counts) = (Vec::from(self.kept.take()), Counts::default());
        loop {
            match self.said.recv_timeout(PATIENCE).unwrap() {
                Said::Record(record) => records.push(*record),
                Said::Counts(now) => counts = now,
                Said::Applied(..) | Said::Call(_) | Said::Content(_) | Said::Asked(_) => {}
                Said::Ended => break,
            }
        }
        self.process.into_iter().for_each(|process| process.join().unwrap().unwrap());
        (records, counts)
    }
}

/// A state in which the pod resolved nothing.
fn empty() -> State {
    let pods = [(POD, PodState::default())].into();
    State { generation: Generation(7), rules: strict(), pods, ..State::default() }
}

fn bind(names: &[&str], destination: SocketAddr) -> Bind {
    let ports = |name: &str| if name == "hub.example" { ALL } else { &[] };
    let names: Vec<_> = names.iter().map(|name| (*name, ports(name))).collect();
    Bind {
        pod: POD,
        destination: destination.ip(),
        rules: rules(Ceiling::default(), None).into(),
        bound: Some(bound(&names)),
    }
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
fn nothing_is_accepted_before_a_state_and_what_is_applied_is_in_force() {
    let (sockets, to) = sockets();
    let led = Led::start(&sockets);
    let waiting = std::thread::spawn(move || refused(to, "hub.example"));
    assert!(led.said.recv_timeout(std::time::Duration::from_millis(100)).is_err());
    led.goes_by(1, &empty());
    waiting.join().unwrap();
    assert_eq!(led.record().reason, Reason::NotResolved);
    led.proxy.bind(2, &[bind(&["hub.example", "other.example"], to)]).unwrap();
    led.applied(2).unwrap();
    refused(to, "other.example");
    assert_eq!(led.record().reason, Reason::NameNotAllowed);
    led.proxy.bind(3, &[Bind { bound: None, ..bind(&[], to) }]).unwrap();
    led.applied(3).unwrap();
    refused(to, "other.example");
    led.proxy.drain().unwrap();
    let (records, counts) = led.ended();
    assert_eq!(records.iter().map(|record| record.reason).collect::<Vec<_>>(), [Reason::NotResolved]);
    assert_eq!((counts.reasons.values().sum::<u64>(), counts.open, counts.records_lost), (3, 0, 0));
}

#[test]
fn what_is_bound_to_a_stranger_changes_nothing_and_is_told() {
    let (sockets, to) = sockets();
    let led = Led::start(&sockets);
    led.goes_by(1, &empty());
    let stranger = Bind { pod: IpAddr::from([10, 0, 0, 9]), ..bind(&["hub.example"], to) };
    led.proxy.bind(2, &[stranger]).unwrap();
    assert!(led.applied(2).unwrap_err().contains("10.0.0.9"));
    refused(to, "hub.example");
    assert_eq!(led.record().reason, Reason::NotResolved);
    led.proxy.spend(&[(16, Window::Day)].into()).unwrap();
    led.proxy.stop().unwrap();
    let _ = led.ended();
}

/// What a client of the front door is told.
fn answered(to: SocketAddr, host: &str) -> JoinHandle<String> {
    let head = format!("CONNECT {host}:443 HTTP/1.1\r\n\r\n");
    std::thread::spawn(move || {
        let mut stream = patient(TcpStream::connect(to).unwrap());
        stream.write_all(head.as_bytes()).unwrap();
        let mut answer = String::new();
        stream.read_to_string(&mut answer).unwrap();
        answer
    })
}

#[test]
fn the_agent_is_asked_where_a_host_is_and_when_it_goes_nobody_waits_for_it() {
    let (mut sockets, steered) = sockets();
    let front = handover::sockets::tcp(SocketAddr::new(POD, 0), Steering::None).unwrap();
    let to = std::net::TcpListener::from(front.try_clone().unwrap()).local_addr().unwrap();
    sockets.tcp.push(front);
    let led = Led::start_with_front(&sockets, 1);
    led.goes_by(1, &empty());
    refused(steered, "hub.example");
    assert!(led.record().explicit.is_none(), "the other door is as it was");
    let client = answered(to, "hub.example");
    let ask = led.asked();
    assert_eq!((ask.pod, &ask.host), (POD, &Host::Name(DnsName::parse("hub.example").unwrap())));
    // What nobody asked for changes nothing.
    led.proxy.found(ask.id + 1, &Ok(vec![])).unwrap();
    let unresolved = Unresolved {
        reason: Reason::LookupRefused,
        rule: Some("EgressPolicy a/b".into()),
        detail: Some("no rule allows this name".into()),
    };
    led.proxy.found(ask.id, &Err(unresolved)).unwrap();
    let answer = client.join().unwrap();
    assert!(answer.starts_with("HTTP/1.1 403 "), "{answer}");
    assert!(answer.contains("x-cofferdam-policy: EgressPolicy a/b\r\n"), "{answer}");
    assert_eq!(led.record().explicit.unwrap().asked, "hub.example:443");
    let client = answered(to, "127.0.0.1");
    let ask = led.asked();
    assert_eq!(ask.host, Host::Address(POD));
    led.proxy.found(ask.id, &Ok(vec![POD])).unwrap();
    assert!(client.join().unwrap().contains("reason: inside"));
    let client = answered(to, "hub.example");
    led.asked();
    let Led { proxy, process, .. } = led;
    proxy.leave();
    assert!(client.join().unwrap().starts_with("HTTP/1.1 502 "));
    // Without a place for a next agent it ends.
    process.unwrap().join().unwrap().unwrap();
}

#[test]
fn requests_are_told_as_connections_are() {
    let (sockets, to) = sockets();
    let led = Led::start(&sockets);
    led.goes_by(1, &state_of(nothing(), Ceiling::default(), None));
    let mut client = patient(TcpStream::connect(to).unwrap());
    client.write_all(b"GET /a?b HTTP/1.1\r\nHost: hub.example\r\nConnection: close\r\n\r\n").unwrap();
    let mut answer = String::new();
    client.read_to_string(&mut answer).unwrap();
    assert!(answer.starts_with("HTTP/1.1 403"), "{answer}");
    let call = led.call();
    assert_eq!(
        (call.reason, call.path.as_str(), call.generation),
        (Reason::RequestNotAllowed, "/a", Generation(7))
    );
    led.proxy.drain().unwrap();
    let (_, counts) = led.ended();
    assert_eq!((counts.requests, counts.records_lost), (vec![(Verdict::Deny, Verb::Unknown, 1)], 0));
}

#[test]
fn what_a_rule_has_kept_is_told_masked() {
    let (sockets, to) = sockets();
    let led = Led::start(&sockets);
    let requests = Quota { hour: None, day: Some(1) };
    let rule = Requests {
        capture: Some(Capture { requests: true, answers: false, max_bytes: Capture::BYTES }),
        quotas: Quotas { requests, ..Quotas::default() },
        ..anything()
    };
    led.goes_by(1, &state_of(rule, Ceiling::default(), None));
    let mut client = patient(TcpStream::connect(to).unwrap());
    let head = "POST / HTTP/1.1\r\nHost: hub.example\r\nContent-Type: text/plain\r\nConnection: close\r\n";
    write!(client, "{head}Content-Length: 21\r\n\r\n4111 1111 1111 1111 .").unwrap();
    let mut answer = String::new();
    // It is forwarded to the proxy itself, which refuses it as the second, and of what is refused nothing is kept.
    client.read_to_string(&mut answer).unwrap();
    assert!(answer.starts_with("HTTP/1.1 429"), "{answer}");
    let content = loop {
        match led.said.recv_timeout(PATIENCE).unwrap() {
            Said::Content(content) => break *content,
            Said::Counts(_) | Said::Applied(..) | Said::Call(_) | Said::Record(_) | Said::Asked(_) => {}
            Said::Ended => panic!("it was not told"),
        }
    };
    assert_eq!(content.request.unwrap().text, "[personal data removed: payment-card] .");
    led.proxy.stop().unwrap();
    loop {
        match led.said.recv_timeout(PATIENCE).unwrap() {
            Said::Content(more) => panic!("{more:?}"),
            Said::Counts(_) | Said::Applied(..) | Said::Call(_) | Said::Record(_) | Said::Asked(_) => {}
            Said::Ended => break,
        }
    }
}

#[test]
fn what_pods_used_is_told_and_counts_in_the_next_process() {
    let (sockets, to) = sockets();
    let quota = policy::Quota { hour: None, day: Some(1) };
    let quotas = policy::Quotas { requests: quota, ..policy::Quotas::default() };
    let requests = policy::Requests { quotas, ..anything() };
    let mut state = state_of(requests, Ceiling::default(), None);
    for pod in state.pods.values_mut() {
        let facts = RuleFacts { quota: Some(5), ..(*pod.rules[&support::ALLOWS]).clone() };
        pod.rules.insert(support::ALLOWS, facts.into());
    }
    let ask = || {
        let mut client = patient(TcpStream::connect(to).unwrap());
        client.write_all(b"GET / HTTP/1.1\r\nHost: hub.example\r\nConnection: close\r\n\r\n").unwrap();
        let mut answer = String::new();
        client.read_to_string(&mut answer).unwrap();
        answer.get(9..12).unwrap().to_owned()
    };
    // The request is forwarded to the proxy itself, which refuses it as the second.
    let first = Led::start(&sockets);
    first.goes_by(1, &state);
    assert_eq!(ask(), "429");
    let used = loop {
        match first.said.recv_timeout(PATIENCE).unwrap() {
            Said::Counts(counts) if !counts.quotas.is_empty() => break counts.quotas,
            Said::Counts(_) | Said::Applied(..) | Said::Call(_) | Said::Content(_) | Said::Record(_) => {}
            Said::Asked(_) => {}
            Said::Ended => panic!("it was not told"),
        }
    };
    assert_eq!((used.len(), used[0].0, used[0].1.requests_day), (1, 5, 1));
    first.proxy.stop().unwrap();
    let _ = first.ended();
    state.quota_use = used.into_iter().collect();
    let second = Led::start(&sockets);
    second.goes_by(1, &state);
    assert_eq!(ask(), "429");
    assert_eq!(second.call().reason, Reason::QuotaRequests);
    second.proxy.stop().unwrap();
    let (_, counts) = second.ended();
    assert_eq!(counts.requests, [(Verdict::Deny, Verb::Unknown, 1)], "none was let through");
}

#[test]
fn an_authority_that_is_none_changes_nothing_and_is_told() {
    let (sockets, to) = sockets();
    let led = Led::start(&sockets);
    led.goes_by(1, &empty());
    let authority = AuthorityPem { certificate: "none".into(), key: "none".into() };
    let means = Inspection { authority, roots: vec![] };
    led.proxy.set_state(2, &state_of(nothing(), Ceiling::default(), Some(means.into()))).unwrap();
    assert!(led.applied(2).unwrap_err().contains("authority"));
    refused(to, "hub.example");
    assert_eq!(led.record().reason, Reason::NotResolved, "what was before still is");
    led.proxy.stop().unwrap();
    let _ = led.ended();
}

#[test]
fn what_is_bound_in_a_state_that_was_refused_is_refused_until_there_is_one_that_is_not() {
    let (sockets, to) = sockets();
    let led = Led::start(&sockets);
    led.goes_by(1, &empty());
    let authority = AuthorityPem { certificate: "none".into(), key: "none".into() };
    let means = Inspection { authority, roots: vec![] };
    led.proxy.set_state(2, &State { inspection: Some(means.into()), ..empty() }).unwrap();
    assert!(led.applied(2).unwrap_err().contains("authority"));
    // Its rules have other numbers there, and the agent tells only those that are new.
    led.proxy.bind(3, &[bind(&["hub.example", "other.example"], to)]).unwrap();
    assert!(led.applied(3).unwrap_err().contains("authority"), "the reason stays the one that can be mended");
    refused(to, "other.example");
    assert_eq!(led.record().reason, Reason::NotResolved);
    led.goes_by(4, &empty());
    led.proxy.bind(5, &[bind(&["hub.example", "other.example"], to)]).unwrap();
    led.applied(5).unwrap();
    refused(to, "other.example");
    assert_eq!(led.record().reason, Reason::NameNotAllowed);
    led.proxy.stop().unwrap();
    let _ = led.ended();
}

#[test]
fn a_new_proxy_takes_the_listeners_over_and_nobody_is_turned_away() {
    let (sockets, to) = sockets();
    let old = Led::start(&sockets);
    old.goes_by(1, &empty());
    refused(to, "a.example");
    old.proxy.drain().unwrap();
    let (first, _) = old.ended();
    // Nobody accepts now; the connection waits in the listener.
    let waiting = std::thread::spawn(move || refused(to, "b.example"));
    let new = Led::start(&sockets);
    new.goes_by(1, &empty());
    waiting.join().unwrap();
    new.proxy.drain().unwrap();
    let (second, _) = new.ended();
    let names = |records: &[Record]| {
        records.iter().filter_map(|record| record.claim.name.clone()).collect::<Vec<_>>()
    };
    assert_eq!((names(&first), names(&second)), (vec!["a.example".into()], vec!["b.example".into()]));
}

/// The channel of the proxy's process is its standard input.
#[test]
#[ignore = "no test of its own"]
fn the_process_of_another_test() {
    run_proxy(std::io::stdin().as_fd().try_clone_to_owned().unwrap()).unwrap();
}

fn process(sockets: &Sockets) -> (Child, Led) {
    let (mine, its) = UnixStream::pair().unwrap();
    let child = Command::new(std::env::current_exe().unwrap())
        .args(["--ignored", "--exact", "the_process_of_another_test"])
        .stdin(OwnedFd::from(its))
        .stdout(Stdio::null())
        .spawn()
        .unwrap();
    let (sender, said) = channel();
    let proxy = Proxy::start(mine, sockets, Limits::default(), 1, Ear(sender)).unwrap();
    let led = Led { proxy, said, kept: RefCell::default(), process: None };
    led.goes_by(1, &empty());
    (child, led)
}

#[test]
fn a_proxy_that_is_killed_loses_its_connections_and_the_next_serves_what_waited() {
    let (sockets, to) = sockets();
    let (mut child, led) = process(&sockets);
    let mut open = patient(TcpStream::connect(to).unwrap());
    // It is read from, so it was accepted.
    refused(to, "a.example");
    child.kill().unwrap();
    child.wait().unwrap();
    assert!(!open.read(&mut [0]).is_ok_and(|length| length > 0), "it is over, by an end or a reset");
    let _ = led.ended();
    let waiting = std::thread::spawn(move || refused(to, "b.example"));
    let (mut child, led) = process(&sockets);
    waiting.join().unwrap();
    led.proxy.drain().unwrap();
    assert!(child.wait().unwrap().success());
}

/// Where a test says to its stranger whom to ask.
const SOCKET: &str = "GATEWAY_TEST_SOCKET";

/// Another user of the machine, whom the folder would let in, is turned away.
fn a_stranger_gets_nothing(socket: &Path) {
    if !nix::unistd::geteuid().is_root() {
        return eprintln!("SKIPPED: nobody but root can ask as another user");
    }
    std::fs::set_permissions(socket, std::fs::Permissions::from_mode(0o777)).unwrap();
    let asked = Command::new("setpriv")
        .args(["--reuid=65534", "--clear-groups"])
        .arg(std::env::current_exe().unwrap())
        .args(["--ignored", "--exact", "the_stranger_of_another_test"])
        .env(SOCKET, socket)
        .output()
        .unwrap();
    // By setpriv: there is no such user here, or the user cannot run this program.
    if matches!(asked.status.code(), Some(126 | 127)) {
        return eprintln!("SKIPPED: {}", String::from_utf8_lossy(&asked.stderr));
    }
    assert!(asked.status.success(), "{}", String::from_utf8_lossy(&asked.stdout));
}

#[test]
#[ignore = "the user that another test asks as"]
fn the_stranger_of_another_test() {
    let mut stream = UnixStream::connect(std::env::var(SOCKET).unwrap()).unwrap();
    stream.set_read_timeout(Some(PATIENCE)).unwrap();
    assert_eq!(stream.read(&mut [0; 64]).unwrap(), 0, "it is told nothing");
}

#[test]
fn without_its_agent_a_proxy_goes_on_until_the_next_has_its_sockets() {
    let folder = std::env::temp_dir().join(format!("gateway-control-{}", std::process::id()));
    let (sockets, to) = sockets();
    let sockets = sockets.with_control(&folder).unwrap();
    let (mut child, Led { proxy, .. }) = process(&sockets);
    proxy.leave();
    drop(sockets);
    refused(to, "a.example");
    a_stranger_gets_nothing(&folder);
    let (sender, said) = channel();
    let (old, taken) = Proxy::adopt(&folder, Ear(sender)).unwrap().unwrap();
    let old = Led { proxy: old, said, kept: RefCell::default(), process: None };
    assert_eq!(old.record().claim.name.as_deref(), Some("a.example"), "it was kept for whoever comes");
    assert_eq!(taken.listening().unwrap(), [to]);
    // Its state is another agent's: the same number means another rule there.
    old.proxy.bind(2, &[bind(&["a.example"], to)]).unwrap();
    assert!(old.applied(2).unwrap_err().contains("no state"));
    old.goes_by(3, &empty());
    old.proxy.bind(4, &[bind(&["a.example"], to)]).unwrap();
    old.applied(4).unwrap();
    let (mut next, new) = process(&taken);
    old.proxy.drain().unwrap();
    assert!(child.wait().unwrap().success());
    refused(to, "b.example");
    assert_eq!(new.record().claim.name.as_deref(), Some("b.example"));
    new.proxy.stop().unwrap();
    assert!(next.wait().unwrap().success());
    drop(taken);
    assert!(Proxy::adopt(&folder, Ear(channel().0)).unwrap().is_none(), "nobody waits there now");
    std::fs::remove_file(&folder).unwrap();
}

#[test]
fn the_agents_end_ends_a_proxy_that_nobody_could_find() {
    let (sockets, _) = sockets();
    let Led { proxy, process, .. } = Led::start(&sockets);
    proxy.leave();
    process.unwrap().join().unwrap().unwrap();
}

#[test]
fn a_proxy_that_is_not_started_well_ends() {
    for bytes in [&[0xff; 8][..], b"\0\0\0\x07\"drain\"", b""] {
        let (mut mine, its) = UnixStream::pair().unwrap();
        mine.write_all(bytes).unwrap();
        drop(mine);
        assert!(run_proxy(OwnedFd::from(its)).is_err());
    }
}
