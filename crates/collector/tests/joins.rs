//! Real senders follow real ledgers to a real collector, over mutual TLS.

#![expect(clippy::unwrap_used, reason = "a test's helpers fail the test")]

use collector::{Counts, Store, serve};
use export::{Exports, Sender, Settings, SinkStatus, Target};
use feed::tls::{COLLECTOR, GATEWAY, INGRESS, Identity, gateway_name, ingress_name, node_name};
use ledger::{Entry, EntryFilter, Kind, Ledger, Order, Reader, Retention, Verdict};
use std::collections::BTreeMap;
use std::io::Read;
use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::{Duration, Instant, SystemTime};
use tokio::runtime::Runtime;
use tokio::sync::watch;

const PATIENCE: Duration = Duration::from_secs(60);

struct Authority(rcgen::CertifiedIssuer<'static, rcgen::KeyPair>);

impl Authority {
    fn new() -> Self {
        let mut params = rcgen::CertificateParams::default();
        params.is_ca = rcgen::IsCa::Ca(rcgen::BasicConstraints::Unconstrained);
        Self(rcgen::CertifiedIssuer::self_signed(params, rcgen::KeyPair::generate().unwrap()).unwrap())
    }

    fn identity(&self, name: &str) -> Arc<Identity> {
        let key = rcgen::KeyPair::generate().unwrap();
        let params = rcgen::CertificateParams::new(vec![name.to_owned()]).unwrap();
        let own = params.signed_by(&key, &self.0).unwrap();
        Arc::new(Identity {
            chain: own.pem().into_bytes(),
            key: key.serialize_pem().into_bytes(),
            authority: self.0.pem().into_bytes(),
        })
    }
}

/// A collector that runs until it is stopped.
struct Running {
    address: SocketAddr,
    counts: Arc<Counts>,
    runtime: Runtime,
}

impl Running {
    fn start(ledger: &Path, identity: Arc<Identity>, at: Option<SocketAddr>) -> Self {
        let runtime = tokio::runtime::Builder::new_multi_thread().enable_all().build().unwrap();
        let at = at.unwrap_or_else(|| "127.0.0.1:0".parse().unwrap());
        let listener = runtime.block_on(tokio::net::TcpListener::bind(at)).unwrap();
        let address = listener.local_addr().unwrap();
        let counts = Arc::<Counts>::default();
        let store = Arc::new(Store::open(ledger, Retention::default()).unwrap());
        let (sender, shown) = watch::channel(Ok(identity));
        let served = Arc::clone(&counts);
        runtime.spawn(async move {
            serve(listener, shown, store, served).await;
            drop(sender);
        });
        Self { address, counts, runtime }
    }

    /// Ends it in whatever it does.
    fn stop(self) -> SocketAddr {
        self.runtime.shutdown_timeout(Duration::from_secs(10));
        self.address
    }
}

struct World {
    folder: tempfile::TempDir,
    authority: Authority,
}

impl World {
    fn new() -> Self {
        Self { folder: tempfile::tempdir().unwrap(), authority: Authority::new() }
    }

    fn path(&self, name: &str) -> PathBuf {
        self.folder.path().join(name)
    }

    fn collector(&self, at: Option<SocketAddr>) -> Running {
        Running::start(&self.path("all.db"), self.authority.identity(COLLECTOR), at)
    }

    /// A ledger whose entries say that they are of a node.
    fn ledger(&self, name: &str, node: &str, count: u64) -> Ledger {
        let mut ledger = Ledger::open(&self.path(name)).unwrap().0;
        add(&mut ledger, node, 0..count);
        ledger
    }

    fn send(&self, ledger: &str, node: &str, identity: Arc<Identity>, to: SocketAddr) -> Exports {
        let target = Target::collector(&format!("https://{to}")).unwrap();
        let (kept, shown) = watch::channel(Ok(identity));
        // It is never renewed.
        std::mem::forget(kept);
        let sender = Some(Sender { node: node.to_owned(), identity: shown });
        let settings = Settings { sender, ..Settings::default() };
        let exports = Exports::new(&self.path(ledger), &[target], &settings).unwrap();
        exports.begin().unwrap();
        exports
    }

    /// How many entries there are of each node and source.
    fn all(&self) -> BTreeMap<(String, String), u64> {
        let reader = Reader::open(&self.path("all.db")).unwrap();
        let filter = EntryFilter { order: Order::OldestFirst, limit: Some(10_000), ..EntryFilter::default() };
        let mut all = BTreeMap::new();
        for it in reader.entries(&filter).unwrap() {
            *all.entry((it.entry.node.to_string(), it.entry.source.to_string())).or_default() += 1;
        }
        all
    }
}

fn add(ledger: &mut Ledger, node: &str, numbers: std::ops::Range<u64>) {
    // What is too old is forgotten at once.
    let start = observe::Time::from(SystemTime::now()).0;
    let denial = |number| Entry {
        time: start + number,
        node: node.into(),
        source: format!("ai/j{number:05}").into(),
        detail: Some("{}".to_owned()),
        ..Entry::new(Kind::Flow, Verdict::Deny)
    };
    ledger.append(&numbers.map(denial).collect::<Vec<_>>()).unwrap();
}

/// All of them, each once.
fn expected(of: &[(&str, u64)]) -> BTreeMap<(String, String), u64> {
    let numbered = |(node, count): &(&str, u64)| {
        let node = (*node).to_owned();
        (0..*count).map(move |number| ((node.clone(), format!("ai/j{number:05}")), 1))
    };
    of.iter().flat_map(numbered).collect()
}

/// Compares without thousands of lines.
fn same(found: &BTreeMap<(String, String), u64>, expected: &BTreeMap<(String, String), u64>) {
    let differs = expected.keys().chain(found.keys()).find(|key| found.get(*key) != expected.get(*key));
    assert_eq!((differs, found.len()), (None, expected.len()));
}

/// Waits until a status is as it should be.
fn wait(exports: &Exports, until: impl Fn(&SinkStatus) -> bool) -> SinkStatus {
    let end = Instant::now() + PATIENCE;
    loop {
        let status = exports.status().remove(0);
        if until(&status) {
            return status;
        }
        assert!(Instant::now() < end, "{status:?}");
        std::thread::sleep(Duration::from_millis(20));
    }
}

fn has_sent(count: u64) -> impl Fn(&SinkStatus) -> bool {
    move |status| status.sent == count && status.waiting == 0
}

#[test]
fn nodes_and_gateways_are_one_ledger() {
    let world = World::new();
    let collector = world.collector(None);
    let (egress, ingress) = (gateway_name("e-0"), ingress_name("i-0"));
    let senders = [
        ("a.db", "node-a", node_name("node-a"), 1200),
        ("b.db", "node-b", node_name("node-b"), 3),
        ("e.db", &*egress, GATEWAY.to_owned(), 2),
        ("i.db", &*ingress, INGRESS.to_owned(), 1),
    ];
    let mut running = Vec::new();
    for (file, node, name, count) in &senders {
        drop(world.ledger(file, node, *count));
        let identity = world.authority.identity(name);
        running.push((world.send(file, node, identity, collector.address), *count));
    }
    for (exports, count) in &running {
        wait(exports, has_sent(*count));
    }
    same(&world.all(), &expected(&senders.map(|(_, node, _, count)| (node, count))));
    let reader = Reader::open(&world.path("all.db")).unwrap();
    let joined = reader.joined().unwrap();
    let joined: Vec<_> = joined.iter().map(|it| (&*it.node, it.taken, it.waiting)).collect();
    assert_eq!(joined, [(&*egress, 2, 0), (&*ingress, 1, 0), ("node-a", 1200, 0), ("node-b", 3, 0)]);
    assert_eq!(reader.verify().unwrap().fault, None);
    assert_eq!(collector.counts.strangers.load(Ordering::Relaxed), 0);
}

#[test]
fn a_collector_that_ends_and_comes_again_and_a_sender_that_forgot_leave_nothing_out_and_nothing_twice() {
    let world = World::new();
    let mut collector = world.collector(None);
    let mut ledger = world.ledger("a.db", "node-a", 0);
    let identity = || world.authority.identity(&node_name("node-a"));
    let exports = world.send("a.db", "node-a", identity(), collector.address);
    let mut count = 0;
    for round in 1..=5 {
        let before = count;
        count = round * 700;
        add(&mut ledger, "node-a", before..count);
        // In the middle of what it does, or not.
        std::thread::sleep(Duration::from_millis(150 * round));
        let address = collector.stop();
        collector = world.collector(Some(address));
    }
    wait(&exports, has_sent(count));
    same(&world.all(), &expected(&[("node-a", count)]));
    // Who forgot how far it was sends all of it again.
    drop(exports);
    let is_cursor = |path: &PathBuf| path.to_string_lossy().contains(".export-");
    let files = std::fs::read_dir(world.folder.path()).unwrap().map(|it| it.unwrap().path());
    files.filter(is_cursor).for_each(|path| std::fs::remove_file(path).unwrap());
    let again = world.send("a.db", "node-a", identity(), collector.address);
    wait(&again, has_sent(count));
    same(&world.all(), &expected(&[("node-a", count)]));
}

#[test]
fn who_shows_no_certificate_of_the_cluster_is_not_listened_to() {
    let world = World::new();
    let collector = world.collector(None);
    drop(world.ledger("a.db", "node-a", 3));
    let other = Authority::new();
    let stranger = Arc::new(Identity {
        authority: world.authority.identity("x").authority.clone(),
        ..(*other.identity(&node_name("node-a"))).clone()
    });
    let exports = world.send("a.db", "node-a", stranger, collector.address);
    let status = wait(&exports, |status| status.problem.is_some());
    assert_eq!((status.sent, world.all().len()), (0, 0));
    assert!(collector.counts.strangers.load(Ordering::Relaxed) > 0);
}

#[test]
fn a_collector_is_known_by_its_name_and_not_by_where_it_is() {
    let world = World::new();
    let deceiver = world.authority.identity(&node_name("node-b"));
    let collector = Running::start(&world.path("all.db"), deceiver, None);
    drop(world.ledger("a.db", "node-a", 3));
    let identity = world.authority.identity(&node_name("node-a"));
    let exports = world.send("a.db", "node-a", identity, collector.address);
    let status = wait(&exports, |status| status.problem.is_some());
    assert!(status.problem.unwrap().contains("not valid for name"), "{:?}", exports.status());
    assert!(world.all().is_empty());
}

#[test]
fn who_speaks_for_another_is_refused_and_that_is_in_the_ledger() {
    let world = World::new();
    let collector = world.collector(None);
    // As another: nothing of it is taken, and all of it waits.
    drop(world.ledger("a.db", "node-a", 3));
    let as_another =
        world.send("a.db", "node-a", world.authority.identity(&node_name("node-b")), collector.address);
    let status = wait(&as_another, |status| status.problem.is_some());
    assert!(status.problem.unwrap().contains("speaks for node-a"));
    assert_eq!((status.sent, status.waiting), (0, 3));
    drop(as_another);
    // As itself, with entries of another: those are refused for good, and the others taken.
    let mut mixed = world.ledger("c.db", "node-c", 2);
    add(&mut mixed, "node-a", 2..5);
    let as_itself =
        world.send("c.db", "node-c", world.authority.identity(&node_name("node-c")), collector.address);
    let status = wait(&as_itself, |status| status.waiting == 0 && status.refused == 3);
    assert_eq!(status.sent, 2);
    let mut all = world.all();
    let audit = |all: &mut BTreeMap<(String, String), u64>, name: &str| {
        all.remove(&(String::new(), node_name(name)))
            .unwrap_or_else(|| panic!("{name} is in no audit: {all:?}"))
    };
    assert!(audit(&mut all, "node-b") >= 1 && audit(&mut all, "node-c") >= 1);
    assert_eq!(all, expected(&[("node-c", 2)]));
    let filter = EntryFilter { kind: Some(Kind::Audit), ..EntryFilter::default() };
    let audits = Reader::open(&world.path("all.db")).unwrap().entries(&filter).unwrap();
    assert!(audits.iter().all(|it| &*it.entry.reason == "records-refused"));
}

#[test]
fn who_has_nothing_to_send_is_heard_of() {
    let world = World::new();
    let collector = world.collector(None);
    drop(world.ledger("a.db", "node-a", 0));
    let identity = world.authority.identity(&node_name("node-a"));
    let _exports = world.send("a.db", "node-a", identity, collector.address);
    let end = Instant::now() + PATIENCE;
    let joined = loop {
        let joined = Reader::open(&world.path("all.db")).unwrap().joined().unwrap();
        if !joined.is_empty() {
            break joined;
        }
        assert!(Instant::now() < end);
        std::thread::sleep(Duration::from_millis(20));
    };
    assert_eq!((joined[0].node.as_str(), joined[0].taken), ("node-a", 0));
    assert!(joined[0].seen > 0);
}

/// Other addresses have their own room, so none of this is in the way of nodes.
#[test]
fn an_address_that_only_connects_has_so_many_connections_and_no_more() {
    let world = World::new();
    let collector = world.collector(None);
    let silent = |_| std::net::TcpStream::connect(collector.address).unwrap();
    let mut held: Vec<_> = (0..=feed::places::OF_ADDRESS).map(silent).collect();
    let last = held.pop().unwrap();
    last.set_read_timeout(Some(PATIENCE)).unwrap();
    // The others are waited for ten seconds; this one was closed before it could say anything.
    assert!(matches!((&last).read(&mut [0]), Ok(0) | Err(_)));
    assert_eq!(collector.counts.strangers.load(Ordering::Relaxed), 1);
    drop(held);
    drop(world.ledger("a.db", "node-a", 3));
    let identity = world.authority.identity(&node_name("node-a"));
    let exports = world.send("a.db", "node-a", identity, collector.address);
    wait(&exports, has_sent(3));
}
