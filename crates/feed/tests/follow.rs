//! A node follows a controller over real connections: changes come, a wrong certificate does not get in, a controller
//! that is behind or gone changes nothing, and a node that comes back is sent only what it lacks.

#![allow(
    clippy::unwrap_used,
    clippy::panic,
    missing_docs,
    reason = "in a test a panic is the failure report"
)]

use compiler::lower::Cluster;
use compiler::sample;
use feed::access::{Accesses, Asked, Asks, End, Seen};
use feed::client::{Enforced, News, Node, follow};
use feed::enrol::{Granted, InspectionRequest, Registrar, Signer, enrol, intermediate};
use feed::server::{Feed, Needs, Publication, Standing};
use feed::tls::{CONTROLLER, Identity, node_name};
use feed::{Key, Parts, Replica, Revisions};
use policy::detection::{Tuned, Tuning};
use policy::{
    DomainPattern, Generation, Key as ProviderKey, PolicySet, Protocol, SecretRef, Selector, Verdict, World,
};
use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;
use std::time::Duration;
use tokio::net::TcpListener;
use tokio::sync::{mpsc, watch};
use tokio::task::JoinHandle;

const PATIENCE: Duration = Duration::from_secs(20);

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

/// A node that enforces whatever it receives at once.
struct TestNode {
    identity: Arc<Identity>,
    problem: Option<String>,
    received: mpsc::UnboundedSender<Replica>,
    problems: watch::Sender<Option<String>>,
    keys: watch::Sender<Option<Keys>>,
}

type Keys = BTreeMap<SecretRef, ProviderKey>;

impl Node for TestNode {
    async fn identity(&mut self, _address: &str) -> std::io::Result<Identity> {
        Ok((*self.identity).clone())
    }

    async fn received(&mut self, replica: &Replica) -> Enforced {
        self.received.send(replica.clone()).unwrap();
        let (generation, problem) = (Some(replica.generation()), self.problem.clone());
        Enforced { generation, problem, endpoints: 3, ..Enforced::default() }
    }

    fn keys(&mut self, keys: Keys) {
        self.keys.send_replace(Some(keys));
    }

    fn connected(&mut self, problem: Option<String>) {
        self.problems.send_replace(problem);
    }

    async fn changed(&mut self) -> Enforced {
        std::future::pending().await
    }
}

struct Connected {
    task: JoinHandle<()>,
    received: mpsc::UnboundedReceiver<Replica>,
    problems: watch::Receiver<Option<String>>,
    keys: watch::Receiver<Option<Keys>>,
}

impl Connected {
    fn start(address: &str, identity: Arc<Identity>, replica: Replica) -> Self {
        Self::named("node0", address, identity, replica, None)
    }

    fn named(
        name: &str,
        address: &str,
        identity: Arc<Identity>,
        replica: Replica,
        problem: Option<String>,
    ) -> Self {
        let (sender, received) = mpsc::unbounded_channel();
        let problems = watch::Sender::new(None);
        let (told, keys) = (problems.subscribe(), watch::Sender::new(None));
        let given = keys.subscribe();
        let (address, name) = (address.to_owned(), name.to_owned());
        let task = tokio::spawn(async move {
            let mut node = TestNode { identity, problem, received: sender, problems, keys };
            follow(&[address], &name, "test", replica, &mut node).await;
        });
        Self { task, received, problems: told, keys: given }
    }

    async fn next(&mut self) -> Replica {
        tokio::time::timeout(PATIENCE, self.received.recv()).await.unwrap().unwrap()
    }

    async fn problem(&mut self, wanted: &str) {
        let is_wanted = |problem: &Option<String>| problem.as_ref().is_some_and(|it| it.contains(wanted));
        let told = tokio::time::timeout(PATIENCE, self.problems.wait_for(is_wanted)).await.is_ok();
        assert!(told, "no {wanted:?}, but {:?}", *self.problems.borrow());
    }
}

async fn serve(feed: &Feed, identity: Arc<Identity>) -> (String, JoinHandle<()>) {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = listener.local_addr().unwrap().to_string();
    let (feed, identity) = (feed.clone(), watch::Sender::new(identity));
    let task = tokio::spawn(async move { feed.serve(listener, identity.subscribe(), None).await });
    (address, task)
}

fn set(seed: u64, generation: u64) -> PolicySet {
    let mut set = sample::policy_set(seed);
    set.world.names.clear();
    set.generation = Generation(generation);
    set
}

struct All {
    cluster: Cluster,
    world: World,
    parts: Arc<Parts>,
    keys: Keys,
}

impl Needs for All {
    fn of(&self, node: &str) -> BTreeSet<Key> {
        let view = self.cluster.view(node);
        self.parts.needs(&view.pods, &view.nodes, &view.policies, &view.closed, &self.world)
    }

    fn policies_of(&self, _node: &str) -> Vec<&Key> {
        Vec::new()
    }

    fn keys_of(&self, node: &str) -> Keys {
        if node == "node0" { self.keys.clone() } else { Keys::new() }
    }
}

fn publish(feed: &Feed, set: &PolicySet, revision: u64) {
    publish_with(feed, set, revision, Keys::new());
}

fn publish_with(feed: &Feed, set: &PolicySet, revision: u64, keys: Keys) {
    let before = feed.current();
    let parts = Arc::new(Parts::new(set, before.as_ref().map(|it| &*it.parts)));
    let (cluster, world) = (Cluster::load(set), set.world.clone());
    let needs = Box::new(All { cluster, world, parts: Arc::clone(&parts), keys });
    let revisions = Revisions::from([("pods".to_owned(), revision)]);
    let reached = revisions.clone();
    feed.publish(Publication { generation: set.generation, revisions, reached, parts, needs });
}

async fn standing(feed: &Feed, wanted: impl Fn(&Standing) -> bool) {
    let mut standings = feed.standings();
    let all = standings.wait_for(|all| all.get("node0").is_some_and(&wanted));
    let came = tokio::time::timeout(PATIENCE, all).await.is_ok();
    assert!(came, "{:?}", feed.standings().borrow());
}

fn shown(set: &PolicySet) -> PolicySet {
    Cluster::load(set).view("node0").of(set)
}

#[tokio::test]
async fn a_node_follows_through_changes_and_a_restart_of_the_controller() {
    let authority = Authority::new();
    let (controller, node) = (authority.identity(CONTROLLER), authority.identity(&node_name("node0")));
    let feed = Feed::default();
    let (address, server) = serve(&feed, controller.clone()).await;
    let mut connected = Connected::start(&address, node.clone(), Replica::default());
    let (one, two) = (set(3, 10), set(5, 11));
    publish(&feed, &one, 1);
    assert_eq!(connected.next().await.policy_set().world.pods, shown(&one).world.pods);
    standing(&feed, |it| it.enforced == Some(Generation(10)) && it.endpoints == 3 && it.connections == 1)
        .await;
    publish(&feed, &two, 2);
    let replica = connected.next().await;
    assert_eq!(replica.policy_set().world.pods, shown(&two).world.pods);
    // Nothing that this node must know changed: it is not told, and stands at the new state.
    publish(&feed, &PolicySet { generation: Generation(12), ..two.clone() }, 3);
    standing(&feed, |it| it.enforced == Some(Generation(12))).await;

    server.abort();
    connected.task.abort();
    standing(&feed, |it| it.connections == 0).await;

    // Another replica of the controller, which has read less: the node keeps what it has.
    let feed = Feed::default();
    let (address, _server) = serve(&feed, controller).await;
    let mut connected = Connected::start(&address, node, replica);
    publish(&feed, &set(9, 30), 1);
    standing(&feed, |it| it.connections == 1).await;
    assert!(connected.received.try_recv().is_err());
    publish(&feed, &PolicySet { generation: Generation(31), ..two.clone() }, 2);
    let replica = connected.next().await;
    assert_eq!(replica.generation(), Generation(31));
    assert_eq!(replica.policy_set().world.pods, shown(&two).world.pods);
}

/// As [`publish`], up to where nothing was missed.
fn publish_reaching(feed: &Feed, generation: u64, reached: Revisions) {
    let set = set(5, generation);
    let parts = Arc::new(Parts::new(&set, None));
    let (cluster, world) = (Cluster::load(&set), set.world.clone());
    let needs = Box::new(All { cluster, world, parts: Arc::clone(&parts), keys: Keys::new() });
    let revisions = Revisions::from([("pods".to_owned(), 4)]);
    feed.publish(Publication { generation: set.generation, revisions, reached, parts, needs });
}

#[tokio::test]
async fn a_controller_that_is_new_is_not_behind_for_what_is_gone_or_what_it_does_not_read() {
    let authority = Authority::new();
    let (controller, node) = (authority.identity(CONTROLLER), authority.identity(&node_name("node0")));
    let feed = Feed::default();
    let (address, _server) = serve(&feed, controller.clone()).await;
    let mut connected = Connected::start(&address, node.clone(), Replica::default());
    publish(&feed, &set(3, 10), 9);
    let replica = connected.next().await;
    assert_eq!(replica.revisions()["pods"], 9);
    connected.task.abort();

    // The pod of revision 9 is gone: the newest that the next controller sees is one of 4.
    let feed = Feed::default();
    let (address, _server) = serve(&feed, controller).await;
    let mut connected = Connected::start(&address, node, replica);
    publish_reaching(&feed, 20, Revisions::from([("pods".to_owned(), 8)]));
    standing(&feed, |it| {
        it.problem.contains("had pods up to revision 9, and this controller knows them up to 8")
    })
    .await;
    assert!(connected.received.try_recv().is_err(), "it may have missed something");
    // What came since changes nothing of it.
    feed.reach(Revisions::from([("pods".to_owned(), 9)]));
    assert_eq!(connected.next().await.generation(), Generation(20));
    standing(&feed, |it| it.problem.is_empty()).await;
    // Nobody reads pods any more.
    publish(&feed, &set(3, 22), 30);
    assert_eq!(connected.next().await.revisions()["pods"], 30);
    publish_reaching(&feed, 23, Revisions::default());
    assert_eq!(connected.next().await.generation(), Generation(23));
}

#[tokio::test]
async fn a_node_that_lies_about_what_it_has_keeps_nothing_from_others() {
    let authority = Authority::new();
    let (controller, node) = (authority.identity(CONTROLLER), authority.identity(&node_name("node0")));
    let feed = Feed::default();
    let (address, _server) = serve(&feed, controller.clone()).await;
    let mut had = Vec::new();
    for generation in [100, u64::MAX] {
        publish(&feed, &set(3, generation), 1);
        let mut connected = Connected::start(&address, node.clone(), Replica::default());
        had.push(connected.next().await);
        connected.task.abort();
    }
    let lie = had.pop().unwrap();

    let feed = Feed::default();
    let highest = feed.highest();
    let (address, _server) = serve(&feed, controller).await;
    publish(&feed, &set(3, 10), 1);
    let mut liar = Connected::start(&address, node.clone(), lie);
    liar.problem("generation 18446744073709551615, and 10 is published").await;
    assert_eq!(*highest.borrow(), Generation(0));
    let mut honest = Connected::start(&address, node.clone(), Replica::default());
    assert_eq!(honest.next().await.generation(), Generation(10));
    // One that may be true: whoever publishes is told to go beyond it.
    let ahead = Connected::start(&address, node, had.pop().unwrap());
    let mut told = feed.highest();
    tokio::time::timeout(PATIENCE, told.wait_for(|it| *it == Generation(100))).await.unwrap().unwrap();
    for connected in [liar, honest, ahead] {
        connected.task.abort();
    }
}

#[tokio::test]
async fn of_who_is_gone_and_no_node_nothing_is_kept_and_of_a_nodes_words_not_all() {
    let authority = Authority::new();
    let feed = Feed::default();
    publish(&feed, &set(3, 10), 1);
    let (address, _server) = serve(&feed, authority.identity(CONTROLLER)).await;
    let name = feed::tls::gateway_name("pod-7");
    let gateway = authority.identity(feed::tls::GATEWAY);
    let problem = Some("é".repeat(100_000));
    let connected = Connected::named(&name, &address, gateway, Replica::default(), problem);
    let mut standings = feed.standings();
    let has = |all: &BTreeMap<Arc<str>, Standing>, connections| {
        all.get(&*name).is_some_and(|it| it.connections == connections && it.problem == "é".repeat(1000))
    };
    tokio::time::timeout(PATIENCE, standings.wait_for(|all| has(all, 1))).await.unwrap().unwrap();
    connected.task.abort();
    tokio::time::timeout(PATIENCE, standings.wait_for(|all| has(all, 0))).await.unwrap().unwrap();
    publish(&feed, &set(3, 11), 2);
    assert!(!feed.standings().borrow().contains_key(&*name));
}

#[tokio::test]
async fn who_shows_another_nodes_certificate_or_none_of_the_authority_gets_nothing() {
    let (authority, other) = (Authority::new(), Authority::new());
    let feed = Feed::default();
    publish(&feed, &set(3, 10), 1);
    let (address, _server) = serve(&feed, authority.identity(CONTROLLER)).await;
    let another = authority.identity(&node_name("node1"));
    let mut connected = Connected::start(&address, another, Replica::default());
    connected.problem("the certificate is not that of node node0").await;
    let stranger = Arc::new(Identity {
        authority: authority.identity("x").authority.clone(),
        ..(*other.identity(&node_name("node0"))).clone()
    });
    let mut refused = Connected::start(&address, stranger, Replica::default());
    refused.problem("").await;
    let (address, _server) = serve(&feed, authority.identity("elsewhere.internal")).await;
    let own = authority.identity(&node_name("node0"));
    let mut deceived = Connected::start(&address, own, Replica::default());
    deceived.problem("not valid for").await;
    for connected in [&mut connected, &mut refused, &mut deceived] {
        assert!(connected.received.try_recv().is_err());
    }
    assert!(feed.standings().borrow().is_empty());
}

#[tokio::test]
async fn who_opens_connections_and_says_nothing_takes_no_room_from_nodes() {
    let authority = Authority::new();
    let feed = Feed::default();
    publish(&feed, &set(3, 10), 1);
    let (address, _server) = serve(&feed, authority.identity(CONTROLLER)).await;
    let open = async || {
        let socket = tokio::net::TcpSocket::new_v4().unwrap();
        socket.bind("127.0.0.2:0".parse().unwrap()).unwrap();
        socket.connect(address.parse().unwrap()).await.unwrap()
    };
    let mut held = Vec::new();
    for _ in 0..256 {
        held.push(open().await);
    }
    let beyond = open().await;
    beyond.readable().await.unwrap();
    let is_open = |stream: &tokio::net::TcpStream| {
        stream.try_read(&mut [0; 1]).is_err_and(|error| error.kind() == std::io::ErrorKind::WouldBlock)
    };
    assert!(!is_open(&beyond) && is_open(held.last().unwrap()), "the one beyond goes, and no other");
    let mut node = Connected::start(&address, authority.identity(&node_name("node0")), Replica::default());
    node.next().await;
}

/// What a controller of this version says that has no authority, and one of before that knows nothing of it.
#[tokio::test]
async fn a_node_that_gets_no_authority_hears_why() {
    for (why, expected) in
        [("the Secret is broken", "the Secret is broken"), ("", "of a version that gives none")]
    {
        let authority = Authority::new();
        let registrar: Registrar = Arc::new(move |_| {
            Box::pin(
                async move { Ok(Granted { certificate: String::new(), inspection: Err(why.to_owned()) }) },
            )
        });
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = listener.local_addr().unwrap().to_string();
        let (_identity, latest) = watch::channel(authority.identity(CONTROLLER));
        tokio::spawn(async move { Feed::default().serve(listener, latest, Some(registrar)).await });
        for of in [Signer::Cluster, Signer::Namespace("shop".into())] {
            let own = authority.0.pem();
            let refused = intermediate(&address, own.as_bytes(), "t", "n", &of).await.unwrap_err();
            assert!(refused.to_string().contains(expected), "{refused}");
        }
    }
}

#[tokio::test]
async fn a_node_enrols_and_without_a_certificate_can_do_nothing_else() {
    let authority = Arc::new(Authority::new());
    let issuer = Arc::clone(&authority);
    let registrar: Registrar = Arc::new(move |request| {
        let issuer = Arc::clone(&issuer);
        Box::pin(async move {
            if request.token != "node0's token" {
                return Err("who is this?".to_owned());
            }
            // Each as who signs it.
            let of = request.inspection.as_ref().map(|it| it.of.to_string()).unwrap_or_default();
            let sign = |request: Vec<u8>| {
                let mut asked = rcgen::CertificateSigningRequestParams::from_der(&request.into()).unwrap();
                asked.params.subject_alt_names =
                    rcgen::CertificateParams::new(vec![node_name("node0")]).unwrap().subject_alt_names;
                asked.signed_by(&issuer.0).unwrap().pem()
            };
            let signed = |it: InspectionRequest| format!("{}# of {of}\n", sign(it.signing_request));
            let inspection = request.inspection.map(signed).ok_or("not asked for".to_owned());
            Ok(Granted { certificate: sign(request.signing_request), inspection })
        })
    });
    let feed = Feed::default();
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = listener.local_addr().unwrap().to_string();
    let (identity, latest) = watch::channel(authority.identity(CONTROLLER));
    let serving = feed.clone();
    tokio::spawn(async move { serving.serve(listener, latest, Some(registrar)).await });
    let own = authority.0.pem();

    let refused = enrol(&address, own.as_bytes(), "another token", "node0").await;
    assert!(refused.err().unwrap().to_string().contains("who is this?"));
    let other = Authority::new().0.pem();
    assert!(
        enrol(&address, other.as_bytes(), "node0's token", "node0").await.is_err(),
        "whom it does not trust"
    );
    let enrolled = enrol(&address, own.as_bytes(), "node0's token", "node0").await.unwrap();
    let mut node = Connected::start(&address, Arc::new(enrolled), Replica::default());
    node.problems.wait_for(Option::is_none).await.unwrap();
    for (of, said) in
        [(Signer::Cluster, "# of the cluster\n"), (Signer::Namespace("a".into()), "# of namespace a\n")]
    {
        let given = intermediate(&address, own.as_bytes(), "node0's token", "node0", &of).await.unwrap();
        assert!(given.chain.ends_with(said), "{}", given.chain);
        let key = rcgen::KeyPair::from_pem(&given.key).unwrap();
        rcgen::Issuer::from_ca_cert_pem(&given.chain, key).unwrap();
        let secret = given.key.lines().nth(1).unwrap();
        assert!(!format!("{given:?}").contains(secret));
    }

    // Nobody is believed whose certificate another authority issued, and nobody without one is served.
    let stranger =
        Identity { authority: own.into_bytes(), ..(*Authority::new().identity(&node_name("node0"))).clone() };
    let mut stranger = Connected::start(&address, Arc::new(stranger), Replica::default());
    stranger.problems.wait_for(Option::is_some).await.unwrap();
    drop(identity);
}

/// Places are few, and what waits for one in vain keeps it for a minute.
#[tokio::test]
async fn who_asks_for_certificates_without_end_has_nobody_else_wait_behind_all_of_that() {
    let authority = Authority::new();
    let registrar: Registrar = Arc::new(|_| Box::pin(std::future::pending()));
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = listener.local_addr().unwrap().to_string();
    let (identity, latest) = watch::channel(authority.identity(CONTROLLER));
    let feed = Feed::default();
    tokio::spawn(async move { feed.serve(listener, latest, Some(registrar)).await });
    let mut asking = tokio::task::JoinSet::new();
    for _ in 0..17 {
        let (address, own) = (address.clone(), authority.0.pem());
        asking.spawn(async move { enrol(&address, own.as_bytes(), "a token", "node0").await });
    }
    let first = asking.join_next().await.unwrap().unwrap();
    let told = first.err().unwrap().to_string();
    assert!(told.contains("16 others ask for certificates from 127.0.0.1"), "{told}");
    assert_eq!(asking.len(), 16, "the others wait for their turn");
    drop(identity);
}

fn keys(key: &str) -> Keys {
    let at = SecretRef { namespace: "team".into(), name: "keys".into(), key: "openai".into() };
    [(at, ProviderKey::read(key.as_bytes()).unwrap())].into()
}

impl Connected {
    async fn given(&mut self, wanted: &Keys) {
        let is_wanted = |given: &Option<Keys>| given.as_ref() == Some(wanted);
        let came = tokio::time::timeout(PATIENCE, self.keys.wait_for(is_wanted)).await.is_ok();
        assert!(came, "{:?}", *self.keys.borrow());
    }
}

#[tokio::test]
async fn keys_come_beside_policy_and_are_in_nothing_that_is_kept() {
    let authority = Authority::new();
    let feed = Feed::default();
    let (address, server) = serve(&feed, authority.identity(CONTROLLER)).await;
    publish_with(&feed, &set(3, 1), 1, keys("sk-one"));
    let mut node = Connected::start(&address, authority.identity(&node_name("node0")), Replica::default());
    node.given(&keys("sk-one")).await;
    let kept = node.next().await.to_bytes();
    assert!(!kept.windows(6).any(|part| part == b"sk-one"), "it would be in a file");
    // Nothing but the key changes.
    publish_with(&feed, &set(3, 2), 2, keys("sk-two"));
    node.given(&keys("sk-two")).await;
    publish_with(&feed, &set(3, 3), 3, Keys::new());
    node.given(&Keys::new()).await;
    node.task.abort();
    // Who comes back has none: they are given anew.
    publish_with(&feed, &set(3, 4), 4, keys("sk-two"));
    let mut again = Connected::start(
        &address,
        authority.identity(&node_name("node0")),
        Replica::from_bytes(&kept).unwrap(),
    );
    again.given(&keys("sk-two")).await;
    let shown = format!("{:?}", again.keys.borrow());
    assert!(!shown.contains("sk-"), "{shown}");
    again.task.abort();
    server.abort();
}

#[tokio::test]
async fn a_node_is_told_what_holds_for_detectors_in_its_namespaces_and_keeps_it() {
    let authority = Authority::new();
    let feed = Feed::default();
    let (address, _server) = serve(&feed, authority.identity(CONTROLLER)).await;
    let mut connected =
        Connected::start(&address, authority.identity(&node_name("node0")), Replica::default());
    let tuning = |namespace: &str, percent| Tuning {
        namespace: namespace.into(),
        pods: Selector::everything(),
        detectors: vec![Tuned {
            detector: "beacon".into(),
            threshold_percent: Some(percent),
            suppress: Vec::new(),
        }],
    };
    let has_pods = |set: &PolicySet| !shown(set).world.pods.is_empty();
    let mut one = (0..50).map(|seed| set(seed, 10)).find(has_pods).unwrap();
    let here = shown(&one).world.pods[0].namespace.clone();
    one.detection = [tuning(&here, 200), tuning("of-no-pod-here", 300)].into();
    publish(&feed, &one, 1);
    assert_eq!(*connected.next().await.policy_set().detection, [tuning(&here, 200)]);
    // Nothing else changed.
    one.generation = Generation(11);
    one.detection = [tuning(&here, 50)].into();
    publish(&feed, &one, 2);
    let replica = connected.next().await;
    assert_eq!(replica.policy_set().detection, one.detection);
    let kept = Replica::from_bytes(&replica.to_bytes()).unwrap();
    assert_eq!(kept.policy_set().detection, one.detection, "over a restart");
    one.generation = Generation(12);
    one.detection = Arc::default();
    publish(&feed, &one, 3);
    assert_eq!(*connected.next().await.policy_set().detection, []);
}

/// A node that says what it saw as soon as it is asked.
struct TellingNode {
    identity: Arc<Identity>,
    asked: watch::Sender<Asks>,
    told: u64,
}

impl Node for TellingNode {
    async fn identity(&mut self, _address: &str) -> std::io::Result<Identity> {
        Ok((*self.identity).clone())
    }

    async fn received(&mut self, replica: &Replica) -> Enforced {
        Enforced { generation: Some(replica.generation()), ..Enforced::default() }
    }

    fn connected(&mut self, _problem: Option<String>) {}

    async fn changed(&mut self) -> Enforced {
        std::future::pending().await
    }

    fn asked(&mut self, asks: Asks) {
        self.asked.send_replace(asks);
    }

    async fn news(&mut self) -> News {
        let number = self.asked.borrow().number;
        if number == self.told {
            std::future::pending::<()>().await;
        }
        self.told = number;
        News::Seen(Accesses { number, seen: vec![(access(), 4)], lost: 1, ..Accesses::default() })
    }
}

fn access() -> Seen {
    Seen {
        from: End { address: "10.0.0.1".parse().unwrap(), pod: Some(("a".into(), "b".into())) },
        to: End { address: "2001:db8::1".parse().unwrap(), pod: None },
        protocol: Protocol::UDP,
        port: 53,
        verdict: Verdict::Allow,
        names: Vec::new(),
        unfollowed: true,
    }
}

#[tokio::test]
async fn a_node_that_is_asked_says_what_it_saw_and_one_that_is_not_says_nothing() {
    let authority = Authority::new();
    let feed = Feed::default();
    publish(&feed, &set(3, 10), 1);
    let (address, server) = serve(&feed, authority.identity(CONTROLLER)).await;
    let identity = authority.identity(&node_name("node0"));
    let asked = watch::Sender::new(Asks::default());
    let mut asks = asked.subscribe();
    let node = tokio::spawn(async move {
        let mut node = TellingNode { identity, asked, told: 0 };
        follow(&[address], "node0", "test", Replica::default(), &mut node).await;
    });
    standing(&feed, |it| it.enforced == Some(Generation(10))).await;
    assert!(!asks.has_changed().unwrap() || asks.borrow_and_update().number == 0);

    let (to, mut told) = mpsc::channel(4);
    let names: Arc<[DomainPattern]> = [DomainPattern::parse("*.example.com").unwrap()].into_iter().collect();
    let wanted = Asks { number: 7, names };
    feed.ask(Some(Asked { asks: wanted.clone(), to: to.clone() }));
    let heard = tokio::time::timeout(PATIENCE, told.recv()).await.unwrap().unwrap();
    assert_eq!((&*heard.node, &heard.accesses.seen, heard.accesses.lost), ("node0", &vec![(access(), 4)], 1));
    assert_eq!(*asks.borrow_and_update(), wanted);

    // It is still fed, and asked anew under another number.
    publish(&feed, &set(3, 11), 2);
    feed.ask(Some(Asked { asks: Asks { number: 8, names: Arc::default() }, to }));
    let again = tokio::time::timeout(PATIENCE, told.recv()).await.unwrap().unwrap();
    assert_eq!((again.accesses.number, again.connection), (8, heard.connection));
    standing(&feed, |it| it.enforced == Some(Generation(11))).await;

    feed.ask(None);
    tokio::time::timeout(PATIENCE, asks.wait_for(|asks| asks.number == 0)).await.unwrap().unwrap();
    node.abort();
    server.abort();
}
