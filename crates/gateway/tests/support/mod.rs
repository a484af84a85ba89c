//! A proxy on loopback in front of one server, and clients of every kind.

#![allow(
    clippy::unwrap_used,
    clippy::panic,
    clippy::indexing_slicing,
    clippy::print_stderr,
    reason = "a test's helpers fail the test"
)]
#![allow(dead_code, unreachable_pub, reason = "every test file uses its own part of this")]

pub mod door;
pub mod egress;
pub mod web;

use gateway::{
    Bound, Call, Ceiling, Content, Counters, Gateway, Limits, Named, Phase, PodState, Record, Resolve,
    RuleFacts, Rules, Sink, State, Table,
};
use policy::table::{Cell, Row, Ruling};
use policy::{DnsName, Generation, Protocol, RuleId, Verdict};
use rustls::crypto::aws_lc_rs::{default_provider, kx_group};
use rustls::pki_types::{PrivateKeyDer, ServerName};
use rustls::{ClientConfig, ClientConnection, RootCertStore, ServerConfig, ServerConnection, StreamOwned};
use std::net::{IpAddr, Ipv4Addr, SocketAddr, TcpListener, TcpStream};
use std::sync::Arc;
use std::sync::mpsc::{Receiver, Sender, channel};
use std::thread::JoinHandle;
use std::time::Duration;
use tokio::sync::watch;

/// A test that waits longer than this for anything has failed.
pub const PATIENCE: Duration = Duration::from_secs(20);

pub const POD: IpAddr = IpAddr::V4(Ipv4Addr::LOCALHOST);

struct Collect(Sender<Record>, Sender<Call>, Sender<Content>);

impl Sink for Collect {
    fn take(&self, record: Record) -> bool {
        self.0.send(record).is_ok()
    }

    fn call(&self, call: Call) -> bool {
        self.1.send(call).is_ok()
    }

    fn content(&self, content: Content) -> bool {
        self.2.send(content).is_ok()
    }
}

pub const DENIES: RuleId = RuleId(16);
pub const ALLOWS: RuleId = RuleId(17);

/// A row that allows these TCP ports and nothing else.
pub fn row(ports: &[(u16, u16)]) -> Arc<Row> {
    let allow = Ruling { verdict: Verdict::Allow, rule: ALLOWS };
    let cell = |(first, last)| Cell { protocol: Protocol::TCP, first, last, ruling: allow };
    let otherwise = Ruling { verdict: Verdict::Deny, rule: DENIES };
    Arc::new(Row { otherwise, cells: ports.iter().copied().map(cell).collect() })
}

pub fn rules(ceiling: Ceiling, budget: Option<u32>) -> [(RuleId, Arc<RuleFacts>); 2] {
    let facts = |text: &str, ceiling, budget| {
        Arc::new(RuleFacts { text: text.into(), ceiling, budget, ..RuleFacts::default() })
    };
    [
        (DENIES, facts("isolated", Ceiling::default(), None)),
        (ALLOWS, facts("ClusterNetworkPolicy hub spec.egress[0]", ceiling, budget)),
    ]
}

/// Names that a pod resolved, with the ports at which policy allows each.
pub fn bound(names: &[(&str, &[(u16, u16)])]) -> Bound {
    let named = |(name, ports): &(&str, &[(u16, u16)])| {
        (DnsName::parse(name).unwrap(), Named { row: row(ports), is_live: true })
    };
    Bound { names: names.iter().map(named).collect(), unnamed: row(&[]), adds: false }
}

/// All ports.
pub const ALL: &[(u16, u16)] = &[(0, 65535)];

/// A state in which the pod resolved names to `destination`.
pub fn state(destination: IpAddr, names: &[(&str, &[(u16, u16)])], ceiling: Ceiling, how: Rules) -> State {
    let bound = [(destination, bound(names))].into();
    let pod = PodState { rules: rules(ceiling, None).into(), bound, ..PodState::default() };
    State { generation: Generation(7), rules: how, pods: [(POD, pod)].into(), ..State::default() }
}

/// What names nobody is refused, and no port is for TLS alone.
pub fn strict() -> Rules {
    Rules { tls_ports: [].into(), opaque: gateway::Opaque::Deny, ..Rules::default() }
}

/// The usual state: `hub.example` and `other.example` lead to the server, and only the first is allowed.
pub fn usual(ceiling: Ceiling) -> State {
    state(POD, &[("hub.example", ALL), ("other.example", &[])], ceiling, strict())
}

pub struct Proxy {
    pub address: SocketAddr,
    /// Where clients of the explicit proxy come.
    pub front: SocketAddr,
    /// Where permitted connections arrive.
    pub server: TcpListener,
    pub records: Receiver<Record>,
    pub calls: Receiver<Call>,
    /// What was kept of a request is told before its record.
    pub contents: Receiver<Content>,
    pub table: Arc<Table>,
    pub counters: Arc<Counters>,
    pub phase: watch::Sender<Phase>,
    stop: Option<tokio::sync::oneshot::Sender<()>>,
    thread: Option<JoinHandle<()>>,
}

impl Proxy {
    pub fn usual() -> Self {
        Self::start(Some(usual(Ceiling::default())), Limits::default())
    }

    pub fn start(state: Option<State>, limits: Limits) -> Self {
        let server = TcpListener::bind((POD, 0)).unwrap();
        let to = server.local_addr().unwrap();
        Self::in_front_of(server, to, state, limits)
    }

    pub fn in_front_of(server: TcpListener, to: SocketAddr, state: Option<State>, limits: Limits) -> Self {
        Self::launch(server, state, limits, |gateway| gateway.standing_for(to))
    }

    /// A proxy whose clients are led where `resolver` says.
    pub fn finding(resolver: Arc<dyn Resolve>, state: Option<State>) -> Self {
        let server = TcpListener::bind((POD, 0)).unwrap();
        Self::launch(server, state, Limits::default(), |gateway| gateway.resolving(resolver))
    }

    fn launch(
        server: TcpListener,
        state: Option<State>,
        mut limits: Limits,
        with: impl FnOnce(Gateway) -> Gateway,
    ) -> Self {
        let [listener, door] = [(); 2].map(|()| TcpListener::bind((POD, 0)).unwrap());
        let [address, front] = [&listener, &door].map(|listener| listener.local_addr().unwrap());
        let ((sender, records), (caller, calls), (keeper, contents)) = (channel(), channel(), channel());
        let (phase, told) = watch::channel(Phase::default());
        let table = Arc::new(Table::new());
        if let Some(state) = state {
            table.replace(state);
        }
        // Connections rest wherever they can.
        limits.rest_after = Duration::from_millis(1);
        let counters = Arc::new(Counters::new());
        let sink = Arc::new(Collect(sender, caller, keeper));
        let gateway = Arc::new(with(Gateway::new(table.clone(), sink, counters.clone(), limits, told)));
        let (stop, stopped) = tokio::sync::oneshot::channel();
        let thread = std::thread::spawn(move || {
            let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
            runtime.block_on(async {
                tokio::select! {
                    served = gateway.serve_both(vec![listener], vec![door]) => served.unwrap(),
                    _ = stopped => {}
                }
            });
        });
        Self {
            address,
            front,
            server,
            records,
            calls,
            contents,
            table,
            counters,
            phase,
            stop: Some(stop),
            thread: Some(thread),
        }
    }

    pub fn connect(&self) -> TcpStream {
        patient(TcpStream::connect(self.address).unwrap())
    }

    /// The permitted connection at the server.
    pub fn accept(&self) -> TcpStream {
        patient(self.server.accept().unwrap().0)
    }

    /// Whether nobody came to the server.
    pub fn nobody_came(&self) -> bool {
        self.server.set_nonblocking(true).unwrap();
        self.server.accept().is_err_and(|error| error.kind() == std::io::ErrorKind::WouldBlock)
    }

    pub fn record(&self) -> Record {
        self.records.recv_timeout(PATIENCE).unwrap()
    }

    pub fn call(&self) -> Call {
        self.calls.recv_timeout(PATIENCE).unwrap()
    }

    /// Ends the proxy as a kill would, and returns the records that are left.
    pub fn kill(mut self) -> Vec<Record> {
        self.finish(true)
    }

    /// As [`Self::kill`], and the records of requests.
    pub fn kill_all(mut self) -> (Vec<Record>, Vec<Call>) {
        let records = self.finish(true);
        (records, self.calls.try_iter().collect())
    }

    /// Waits for the proxy's own end, and returns the records that are left.
    pub fn wait(mut self) -> Vec<Record> {
        self.finish(false)
    }

    fn finish(&mut self, now: bool) -> Vec<Record> {
        let stop = self.stop.take().unwrap();
        if now {
            let _ended = stop.send(());
            self.thread.take().unwrap().join().unwrap();
        } else {
            self.thread.take().unwrap().join().unwrap();
            drop(stop);
        }
        self.records.try_iter().collect()
    }
}

impl Drop for Proxy {
    fn drop(&mut self) {
        if self.thread.is_some() {
            let _left = self.finish(true);
        }
    }
}

pub fn patient(stream: TcpStream) -> TcpStream {
    stream.set_read_timeout(Some(PATIENCE)).unwrap();
    stream.set_write_timeout(Some(PATIENCE)).unwrap();
    stream.set_nodelay(true).unwrap();
    stream
}

/// A server's and a client's configuration, for `hub.example` and `other.example` unless said.
pub struct Tls {
    pub server: Arc<ServerConfig>,
    pub client: Arc<ClientConfig>,
    pub certificate: String,
    pub key: String,
}

impl Tls {
    pub fn new() -> Self {
        Self::with(
            vec![kx_group::X25519MLKEM768, kx_group::X25519],
            vec![kx_group::X25519MLKEM768, kx_group::X25519],
        )
    }

    /// With the key exchanges of server and client.
    pub fn with(
        server: Vec<&'static dyn rustls::crypto::SupportedKxGroup>,
        client: Vec<&'static dyn rustls::crypto::SupportedKxGroup>,
    ) -> Self {
        Self::made(&["hub.example", "other.example"], rustls::ALL_VERSIONS, server, client)
    }

    /// With a certificate for these names, and one version.
    pub fn of(names: &[&str], version: &'static rustls::SupportedProtocolVersion) -> Self {
        Self::made(names, &[version], vec![kx_group::X25519], vec![kx_group::X25519])
    }

    /// The server has only `versions`; the client has all.
    fn made(
        names: &[&str],
        versions: &[&'static rustls::SupportedProtocolVersion],
        server: Vec<&'static dyn rustls::crypto::SupportedKxGroup>,
        client: Vec<&'static dyn rustls::crypto::SupportedKxGroup>,
    ) -> Self {
        let names: Vec<String> = names.iter().map(|name| (*name).to_owned()).collect();
        let made = rcgen::generate_simple_self_signed(names).unwrap();
        let key = PrivateKeyDer::try_from(made.signing_key.serialize_der()).unwrap();
        let provider = |groups| {
            let mut provider = default_provider();
            provider.kx_groups = groups;
            Arc::new(provider)
        };
        let server = ServerConfig::builder_with_provider(provider(server))
            .with_protocol_versions(versions)
            .unwrap()
            .with_no_client_auth()
            .with_single_cert(vec![made.cert.der().clone()], key)
            .unwrap();
        let mut roots = RootCertStore::empty();
        roots.add(made.cert.der().clone()).unwrap();
        let client = ClientConfig::builder_with_provider(provider(client))
            .with_safe_default_protocol_versions()
            .unwrap()
            .with_root_certificates(roots)
            .with_no_client_auth();
        Self {
            server: Arc::new(server),
            client: Arc::new(client),
            certificate: made.cert.pem(),
            key: made.signing_key.serialize_pem(),
        }
    }

    pub fn connect(&self, stream: TcpStream, name: &str) -> StreamOwned<ClientConnection, TcpStream> {
        let name = ServerName::try_from(name.to_owned()).unwrap();
        StreamOwned::new(ClientConnection::new(self.client.clone(), name).unwrap(), stream)
    }

    pub fn accept(&self, stream: TcpStream) -> StreamOwned<ServerConnection, TcpStream> {
        StreamOwned::new(ServerConnection::new(self.server.clone()).unwrap(), stream)
    }

    /// The first bytes a client sends.
    pub fn hello(&self, name: &str) -> Vec<u8> {
        let name = ServerName::try_from(name.to_owned()).unwrap();
        let mut client = ClientConnection::new(self.client.clone(), name).unwrap();
        let mut bytes = vec![];
        while client.wants_write() {
            client.write_tls(&mut bytes).unwrap();
        }
        bytes
    }
}

/// A ClientHello of TLS 1.2 in one record, without a name unless there is one.
pub fn hello_of(name: Option<&str>, more: &[u8]) -> Vec<u8> {
    let be = |length: usize| u16::try_from(length).unwrap().to_be_bytes();
    let mut extensions = more.to_vec();
    if let Some(name) = name {
        let entry = [&[0][..], &be(name.len()), name.as_bytes()].concat();
        let list = [&be(entry.len())[..], &entry].concat();
        extensions.extend([&[0, 0][..], &be(list.len()), &list].concat());
    }
    let fixed = [&[3, 3][..], &[7; 32], &[0, 0, 2, 0x13, 1, 1, 0]].concat();
    let body = [&fixed[..], &be(extensions.len()), &extensions].concat();
    let message = [&[1, 0][..], &be(body.len()), &body].concat();
    [&[22, 3, 1][..], &be(message.len()), &message].concat()
}
