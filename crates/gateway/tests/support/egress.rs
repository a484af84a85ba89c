//! Central gateways in this process, nodes that use them, and nodes that lie to them.

use super::{ALL, PATIENCE, POD, Proxy, patient, state, strict};
use compiler::compile_unlinted;
use feed::tls::{GATEWAY, Identity, node_name};
use gateway::{
    Call, Ceiling, Central, CentralLimits, Counters, Egress, Limits, Phase, Policies, Record, Shown, Sink,
    State,
};
use h2::client::SendRequest;
use http::{Request, StatusCode};
use hyper::body::Bytes;
use policy::{Generation, PolicySet};
use rustls::pki_types::ServerName;
use std::net::{IpAddr, SocketAddr, TcpListener, TcpStream};
use std::sync::Arc;
use std::sync::mpsc::{Receiver, Sender, channel};
use std::thread::JoinHandle;
use std::time::{Duration, SystemTime};
use tokio::sync::{oneshot, watch};
use tokio_rustls::TlsConnector;

/// Where pods go.
pub const OUTSIDE: &str = "203.0.113.9";

/// An authority of a cluster.
pub struct Authority(rcgen::CertifiedIssuer<'static, rcgen::KeyPair>);

impl Authority {
    pub fn new() -> Self {
        let mut params = rcgen::CertificateParams::default();
        params.is_ca = rcgen::IsCa::Ca(rcgen::BasicConstraints::Unconstrained);
        Self(rcgen::CertifiedIssuer::self_signed(params, rcgen::KeyPair::generate().unwrap()).unwrap())
    }

    /// A certificate that ends so long after it began a day ago.
    pub fn identity(&self, names: &[&str], length: Duration) -> Identity {
        let key = rcgen::KeyPair::generate().unwrap();
        let names: Vec<String> = names.iter().map(|name| (*name).to_owned()).collect();
        let mut params = rcgen::CertificateParams::new(names).unwrap();
        let begin = SystemTime::now() - Duration::from_secs(86_400);
        (params.not_before, params.not_after) = (begin.into(), (begin + length).into());
        let own = params.signed_by(&key, &self.0).unwrap();
        Identity {
            chain: own.pem().into_bytes(),
            key: key.serialize_pem().into_bytes(),
            authority: self.0.pem().into_bytes(),
        }
    }

    pub fn valid(&self, name: &str) -> Identity {
        self.identity(&[name], Duration::from_secs(2 * 86_400))
    }

    /// A certificate with these URIs and no other name.
    pub fn with_uris(&self, uris: &[&str]) -> Identity {
        self.with_uris_until(uris, SystemTime::now() + Duration::from_secs(86_400))
    }

    /// The same, until then.
    pub fn with_uris_until(&self, uris: &[&str], end: SystemTime) -> Identity {
        let key = rcgen::KeyPair::generate().unwrap();
        let mut params = rcgen::CertificateParams::default();
        params.not_after = end.into();
        let uri = |uri: &&str| rcgen::SanType::URI((*uri).try_into().unwrap());
        params.subject_alt_names = uris.iter().map(uri).collect();
        let own = params.signed_by(&key, &self.0).unwrap();
        Identity {
            chain: own.pem().into_bytes(),
            key: key.serialize_pem().into_bytes(),
            authority: self.0.pem().into_bytes(),
        }
    }

    pub fn node(&self, node: &str) -> Identity {
        self.valid(&node_name(node))
    }

    pub fn gateway(&self) -> Identity {
        self.valid(GATEWAY)
    }
}

/// A cluster of two nodes with a pod each, and what `team/trainer` may do.
pub fn manifests(egress: &str) -> String {
    let pod = |name: &str, node: &str, address: &str| {
        format!(
            "---\napiVersion: v1\nkind: Pod\nmetadata: {{name: {name}, namespace: team, labels: {{app: {name}}}}}\n\
             spec: {{nodeName: {node}, containers: [{{name: c}}]}}\n\
             status: {{phase: Running, podIP: {address}, podIPs: [{{ip: {address}}}]}}\n"
        )
    };
    let node = |name: &str, address: &str| {
        format!(
            "---\napiVersion: v1\nkind: Node\nmetadata: {{name: {name}}}\n\
             status: {{addresses: [{{type: InternalIP, address: {address}}}]}}\n"
        )
    };
    [
        "apiVersion: v1\nkind: Namespace\nmetadata: {name: team}\n".to_owned(),
        node("node-a", "198.51.100.1"),
        node("node-b", "198.51.100.2"),
        pod("trainer", "node-a", "127.0.0.1"),
        pod("other", "node-b", "198.51.100.130"),
        format!(
            "---\napiVersion: cofferdam.dev/v1alpha1\nkind: EgressPolicy\nmetadata: {{name: p, namespace: team}}\n\
             spec: {{subject: {{podSelector: {{matchLabels: {{app: trainer}}}}}}, egress: {egress}}}\n"
        ),
    ]
    .concat()
}

/// `hub.example` on port 443.
pub const HUB: &str = "[{action: Allow, to: [{domains: [hub.example]}], ports: [{port: 443}]}]";

pub fn policy(egress: &str, generation: u64) -> PolicySet {
    let read = crds::read_objects("test.yaml", manifests(egress).as_bytes());
    let compiled = compile_unlinted(read.objects, Generation(generation));
    let errors: Vec<_> =
        read.diagnostics.iter().chain(&compiled.diagnostics).filter(|it| it.is_error()).collect();
    assert!(errors.is_empty(), "{errors:#?}");
    compiled.set
}

pub fn policies(egress: &str, generation: u64) -> Option<Arc<Policies>> {
    Some(Arc::new(Policies::new(policy(egress, generation), Vec::new())))
}

struct Collect(Sender<Record>);

impl Sink for Collect {
    fn take(&self, record: Record) -> bool {
        self.0.send(record).is_ok()
    }

    fn call(&self, _: Call) -> bool {
        true
    }
}

/// One replica of a central gateway. Wherever it is asked to, it connects to one server.
pub struct Replica {
    pub address: SocketAddr,
    pub records: Receiver<Record>,
    pub counters: Arc<Counters>,
    pub policies: watch::Sender<Option<Arc<Policies>>>,
    pub phase: watch::Sender<Phase>,
    stop: Option<oneshot::Sender<()>>,
    thread: Option<JoinHandle<()>>,
}

impl Replica {
    pub fn start(identity: Identity, policies: Option<Arc<Policies>>, server: SocketAddr) -> Self {
        Self::limited(identity, policies, server, CentralLimits::default())
    }

    pub fn limited(
        identity: Identity,
        policies: Option<Arc<Policies>>,
        server: SocketAddr,
        limits: CentralLimits,
    ) -> Self {
        let listener = TcpListener::bind((POD, 0)).unwrap();
        listener.set_nonblocking(true).unwrap();
        let address = listener.local_addr().unwrap();
        let (sender, records) = channel();
        let ((policies, latest), (phase, told)) =
            (watch::channel(policies), watch::channel(Phase::default()));
        let counters = Arc::new(Counters::new());
        let central = Central::new(latest, Arc::new(Collect(sender)), Arc::clone(&counters), limits, told);
        let central = Arc::new(central.standing_for(server));
        let (stop, stopped) = oneshot::channel();
        let thread = std::thread::spawn(move || {
            let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
            runtime.block_on(async {
                let (_renewing, identity) = watch::channel(Arc::new(identity));
                let listener = tokio::net::TcpListener::from_std(listener).unwrap();
                tokio::select! {
                    () = central.serve(listener, identity) => {}
                    _ = stopped => {}
                }
            });
        });
        Self { address, records, counters, policies, phase, stop: Some(stop), thread: Some(thread) }
    }

    pub fn record(&self) -> Record {
        self.records.recv_timeout(PATIENCE).unwrap()
    }

    /// Ends it as a kill would.
    pub fn kill(&mut self) {
        drop(self.stop.take());
        if let Some(thread) = self.thread.take() {
            thread.join().unwrap();
        }
    }

    /// Waits for its own end.
    pub fn wait(mut self) -> Vec<Record> {
        self.thread.take().unwrap().join().unwrap();
        self.records.try_iter().collect()
    }
}

impl Drop for Replica {
    fn drop(&mut self) {
        self.kill();
    }
}

/// What the node's gateway goes by: `hub.example` led to the outside.
pub fn through(replicas: &[SocketAddr], shown: Option<&Identity>) -> State {
    let egress = Egress { replicas: replicas.to_vec(), shown: shown.map(Shown::from) };
    let outside: IpAddr = OUTSIDE.parse().unwrap();
    State {
        egress: Some(Arc::new(egress)),
        workloads: [(POD, "team/trainer".into())].into(),
        ..state(outside, &[("hub.example", ALL)], Ceiling::default(), strict())
    }
}

/// The gateway of a node. Its `server` is the one that central gateways connect to.
pub fn node(server: TcpListener, state: State) -> Proxy {
    let limits = Limits { connect_timeout: Duration::from_secs(5), ..Limits::default() };
    Proxy::in_front_of(server, SocketAddr::new(OUTSIDE.parse().unwrap(), 443), Some(state), limits)
}

/// A server that waits, and where.
pub fn server() -> (TcpListener, SocketAddr) {
    let server = TcpListener::bind((POD, 0)).unwrap();
    let address = server.local_addr().unwrap();
    (server, address)
}

/// A node that asks for what it likes.
pub struct Liar {
    pub send: SendRequest<Bytes>,
    pub driver: tokio::task::JoinHandle<Result<(), h2::Error>>,
}

impl Liar {
    pub async fn connect(identity: &Identity, to: SocketAddr) -> Self {
        let stream = tokio::net::TcpStream::connect(to).await.unwrap();
        let connector = TlsConnector::from(Arc::new(identity.client().unwrap()));
        let stream = connector.connect(ServerName::try_from(GATEWAY).unwrap(), stream).await.unwrap();
        let (send, connection) = h2::client::handshake(stream).await.unwrap();
        Self { send, driver: tokio::spawn(connection) }
    }

    /// Status and reason of what is asked for.
    pub async fn ask(&mut self, head: Request<()>) -> (StatusCode, String) {
        let send = self.send.clone().ready().await.unwrap();
        let (answer, _stream) = { send }.send_request(head, false).unwrap();
        let answer = answer.await.unwrap();
        let reason = answer.headers().get("cofferdam-reason").map(|it| it.to_str().unwrap().to_owned());
        (answer.status(), reason.unwrap_or_default())
    }
}

/// A CONNECT for `team/trainer`, by `hub.example`.
pub fn head(destination: &str) -> Request<()> {
    Request::connect(destination)
        .header("cofferdam-pod", "team/trainer")
        .header("cofferdam-source", "127.0.0.1:40000")
        .header("cofferdam-generation", "7")
        .header("cofferdam-name", "hub.example")
        .body(())
        .unwrap()
}

/// Whether the other side broke off, instead of coming to an end.
pub fn is_reset(client: &mut TcpStream) -> bool {
    let read = std::io::copy(client, &mut std::io::sink());
    read.is_err_and(|error| error.kind() == std::io::ErrorKind::ConnectionReset)
}

pub fn accept(server: &TcpListener) -> TcpStream {
    patient(server.accept().unwrap().0)
}
