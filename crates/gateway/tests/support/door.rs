//! The central gateway's door for workloads, in a network namespace whose outside is this machine.

use super::egress::{Authority, manifests};
use super::{PATIENCE, patient};
use feed::tls::Identity;
use gateway::{
    Call, Clients, Counters, Inspection, Keys, Limits, Looking, Lookup, Phase, Policies, Reached, Reason,
    Record, Sink, StoreMeans, Visitors,
};
use nix::sched::{CloneFlags, setns};
use policy::{DnsName, DomainPattern, Verdict};
use rustls::pki_types::pem::PemObject;
use rustls::pki_types::{CertificateDer, ServerName};
use rustls::{ClientConnection, StreamOwned};
use std::fs::File;
use std::io::{Read, Write};
use std::net::{SocketAddr, TcpListener, TcpStream};
use std::process::Command;
use std::sync::Arc;
use std::sync::mpsc::{Receiver, Sender, channel};
use std::thread::JoinHandle;
use tokio::sync::{oneshot, watch};

pub const DOMAIN: &str = "prod.example.org";
pub const RUNNER: &str = "spiffe://prod.example.org/ns/team/sa/runner";
/// Where names lead, but for those that begin with `inside`.
pub const SERVER: &str = "203.0.113.9";
pub const DOOR: &str = "egress.example";

pub fn must(command: &str) {
    let output = Command::new("sh").args(["-ec", command]).output().unwrap();
    assert!(output.status.success(), "{command}\n{}", String::from_utf8_lossy(&output.stderr));
}

pub fn able() -> bool {
    let able = nix::unistd::geteuid().is_root()
        && Command::new("ip").args(["netns", "list"]).output().is_ok_and(|output| output.status.success());
    if !able {
        eprintln!("SKIPPED: this test needs root (or: unshare -Urnm with a tmpfs on /run) and iproute2");
    }
    able
}

/// Runs inside a namespace of its own, in which every address of a network outside is this machine's, though no interface
/// has it.
pub fn outside(name: &str, work: impl FnOnce() + Send + 'static) {
    let name = format!("cfv{name}{}", std::process::id());
    must(&format!(
        "ip netns add {name}; ip -n {name} link set lo up; ip -n {name} route add local 203.0.113.0/24 dev lo
         ip -n {name} route add local 10.7.0.0/24 dev lo"
    ));
    let handle = File::open(format!("/var/run/netns/{name}")).unwrap();
    let worked = std::thread::spawn(move || {
        setns(handle, CloneFlags::CLONE_NEWNET).unwrap();
        work();
    })
    .join();
    must(&format!("ip netns del {name}"));
    worked.unwrap();
}

/// Knows where names are.
pub struct Zone;

impl Lookup for Zone {
    fn lookup<'a>(&'a self, name: &'a DnsName) -> Looking<'a> {
        Box::pin(async move {
            let text = name.to_string();
            assert!(!text.starts_with("secret"), "{text} must not be asked for");
            let address = if text.starts_with("inside") { "10.7.0.1" } else { SERVER };
            Ok(vec![address.parse().unwrap()])
        })
    }
}

pub struct Collect {
    records: Sender<Record>,
    calls: Sender<Call>,
    reached: Sender<Reached>,
}

impl Sink for Collect {
    fn take(&self, record: Record) -> bool {
        self.records.send(record).is_ok()
    }

    fn call(&self, call: Call) -> bool {
        self.calls.send(call).is_ok()
    }

    fn reached(&self, reached: Reached) {
        // Few tests want to know.
        let _nobody = self.reached.send(reached);
    }
}

/// What the workload `runner` may do, and what everybody else of the namespace may.
pub fn policies(egress: &str) -> Option<Arc<Policies>> {
    let policy = format!(
        "---\napiVersion: cofferdam.dev/v1alpha1\nkind: EgressPolicy\nmetadata: {{name: visitors, namespace: team}}\n\
         spec: {{subject: {{podSelector: {{matchLabels: {{cofferdam.dev/service-account: runner}}}}}}, egress: {egress}}}\n"
    );
    let text = [manifests("[]"), policy].concat();
    let read = crds::read_objects("test.yaml", text.as_bytes());
    let compiled = compiler::compile_unlinted(read.objects, policy::Generation(7));
    let errors: Vec<_> =
        read.diagnostics.iter().chain(&compiled.diagnostics).filter(|it| it.is_error()).collect();
    assert!(errors.is_empty(), "{errors:#?}");
    Some(Arc::new(Policies::new(compiled.set, Vec::new())))
}

pub const HUB: &str =
    "[{action: Allow, to: [{domains: [hub.example, inside.example]}], ports: [{port: 443}, {port: 80}]}]";

/// The certificate of somebody with these URIs.
pub fn shown(authority: &Authority, uris: &[&str]) -> Identity {
    authority.with_uris(uris)
}

/// The door, in the namespace of the thread that opens it.
pub struct Door {
    pub address: SocketAddr,
    pub authority: Authority,
    pub records: Receiver<Record>,
    pub calls: Receiver<Call>,
    pub reached: Receiver<Reached>,
    pub policies: watch::Sender<Option<Arc<Policies>>>,
    pub phase: watch::Sender<Phase>,
    pub clients: watch::Sender<Arc<Clients>>,
    /// What requests leave with.
    pub keys: watch::Sender<Arc<Keys>>,
    stop: Option<oneshot::Sender<()>>,
    thread: Option<JoinHandle<()>>,
}

impl Door {
    pub fn new(set: Option<Arc<Policies>>) -> Self {
        Self::opening(set, None, Vec::new())
    }

    /// One that opens TLS, but to some names.
    pub fn opening(set: Option<Arc<Policies>>, means: Option<Inspection>, never: Vec<DomainPattern>) -> Self {
        Self::started(set, means, never, None)
    }

    /// One that opens TLS, and counts budgets in a store.
    pub fn counting(set: Option<Arc<Policies>>, means: Inspection, store: StoreMeans) -> Self {
        Self::started(set, Some(means), Vec::new(), Some(Arc::new(store)))
    }

    fn started(
        set: Option<Arc<Policies>>,
        means: Option<Inspection>,
        never: Vec<DomainPattern>,
        store: Option<Arc<StoreMeans>>,
    ) -> Self {
        let authority = Authority::new();
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        listener.set_nonblocking(true).unwrap();
        let address = listener.local_addr().unwrap();
        let ((records, taken), (calls, called), (reached, told_of)) = (channel(), channel(), channel());
        let (policies, latest) = watch::channel(set);
        let (phase, told) = watch::channel(Phase::default());
        let known = Clients::new(&authority.valid(DOOR), DOMAIN).unwrap();
        let (clients, known) = watch::channel(Arc::new(known));
        let (keys, held) = watch::channel(Arc::default());
        let (stop, stopped) = oneshot::channel();
        let thread = std::thread::spawn(move || {
            let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
            runtime.block_on(async {
                let sink = Arc::new(Collect { records, calls, reached });
                let counters = Arc::new(Counters::new());
                let door = Visitors::new(latest, Arc::new(Zone), sink, counters, Limits::default(), told);
                door.open_with(means.as_ref(), never).unwrap();
                door.inject_with(held);
                door.count_with(store, None).unwrap();
                let listener = tokio::net::TcpListener::from_std(listener).unwrap();
                tokio::select! {
                    () = Arc::new(door).serve(listener, known) => {}
                    _ = stopped => {}
                }
            });
        });
        let (stop, thread) = (Some(stop), Some(thread));
        let (records, calls, reached) = (taken, called, told_of);
        Self { address, authority, records, calls, reached, policies, phase, clients, keys, stop, thread }
    }

    /// A TLS connection to the door with a certificate.
    pub fn come(&self, identity: Option<&Identity>) -> StreamOwned<ClientConnection, TcpStream> {
        let stream = patient(TcpStream::connect(self.address).unwrap());
        let config = client(&self.authority, identity);
        let name = ServerName::try_from(DOOR).unwrap();
        StreamOwned::new(ClientConnection::new(Arc::new(config), name).unwrap(), stream)
    }

    /// As `runner`, asks with this head; returns the head of the answer, and the connection.
    pub fn ask(&self, head: &str) -> (String, StreamOwned<ClientConnection, TcpStream>) {
        self.ask_as(Some(&shown(&self.authority, &[RUNNER])), head)
    }

    pub fn ask_as(
        &self,
        identity: Option<&Identity>,
        head: &str,
    ) -> (String, StreamOwned<ClientConnection, TcpStream>) {
        let mut stream = self.come(identity);
        stream.write_all(head.replace('|', "\r\n").as_bytes()).unwrap();
        let mut answer = vec![];
        while !answer.ends_with(b"\r\n\r\n") {
            let mut byte = [0];
            match stream.read(&mut byte) {
                Ok(1) => answer.push(byte[0]),
                other => panic!("{other:?} behind {}", String::from_utf8_lossy(&answer)),
            }
        }
        (String::from_utf8(answer).unwrap(), stream)
    }

    pub fn record(&self) -> Record {
        self.records.recv_timeout(PATIENCE).unwrap()
    }

    pub fn check_refused(
        &self,
        identity: Option<&Identity>,
        head: &str,
        reason: Reason,
        says: &str,
    ) -> Record {
        let (answer, mut stream) = self.ask_as(identity, head);
        let mut body = vec![];
        let _end = stream.read_to_end(&mut body);
        let body = String::from_utf8(body).unwrap();
        assert!(answer.starts_with("HTTP/1.1 403 "), "{head}: {answer}");
        assert!(answer.contains(&format!("x-cofferdam-reason: {reason}\r\n")), "{head}: {answer}");
        assert!(body.contains(says), "{head}: {says} is not in {body}");
        let record = self.record();
        assert_eq!((record.reason, record.verdict), (reason, Verdict::Deny), "{head}");
        record
    }
}

impl Drop for Door {
    fn drop(&mut self) {
        drop(self.stop.take());
        drop(self.thread.take().map(JoinHandle::join));
    }
}

/// What a client trusts and shows.
pub fn client(authority: &Authority, identity: Option<&Identity>) -> rustls::ClientConfig {
    let mut config = match identity {
        Some(identity) => identity.client().unwrap(),
        None => {
            let mut roots = rustls::RootCertStore::empty();
            let pem = authority.valid("nobody.example").authority;
            roots.add(CertificateDer::from_pem_slice(&pem).unwrap()).unwrap();
            let provider = Arc::new(rustls::crypto::aws_lc_rs::default_provider());
            let builder = rustls::ClientConfig::builder_with_provider(provider);
            let builder = builder.with_safe_default_protocol_versions().unwrap();
            builder.with_root_certificates(roots).with_no_client_auth()
        }
    };
    config.alpn_protocols = vec![b"http/1.1".to_vec()];
    config
}

pub const CONNECT: &str = "CONNECT hub.example:443 HTTP/1.1|Host: hub.example:443||";
pub const LEAVE: &str = "HTTP/1.1 200 Connection established\r\n\r\n";

pub fn server(port: u16) -> TcpListener {
    TcpListener::bind((SERVER, port)).unwrap()
}
