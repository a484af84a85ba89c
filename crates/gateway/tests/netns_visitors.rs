//! Workloads that come to the central gateway by themselves: real TLS, and servers at addresses outside, in a network namespace.

#![allow(
    clippy::unwrap_used,
    clippy::panic,
    clippy::indexing_slicing,
    clippy::print_stderr,
    reason = "a test's helpers fail the test"
)]

mod support;

use feed::tls::Identity;
use gateway::{
    Clients, Counters, End, Limits, Looking, Lookup, Phase, Policies, Reason, Record, Sink, Visitors,
};
use nix::sched::{CloneFlags, setns};
use policy::{DnsName, Verdict};
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
use support::egress::{Authority, manifests};
use support::{PATIENCE, hello_of, patient};
use tokio::sync::{oneshot, watch};

const DOMAIN: &str = "prod.example.org";
const RUNNER: &str = "spiffe://prod.example.org/ns/team/sa/runner";
/// Where names lead, but for those that begin with `inside`.
const SERVER: &str = "203.0.113.9";
const DOOR: &str = "egress.example";

fn must(command: &str) {
    let output = Command::new("sh").args(["-ec", command]).output().unwrap();
    assert!(output.status.success(), "{command}\n{}", String::from_utf8_lossy(&output.stderr));
}

fn able() -> bool {
    let able = nix::unistd::geteuid().is_root()
        && Command::new("ip").args(["netns", "list"]).output().is_ok_and(|output| output.status.success());
    if !able {
        eprintln!("SKIPPED: this test needs root (or: unshare -Urnm with a tmpfs on /run) and iproute2");
    }
    able
}

/// Runs inside a namespace of its own, in which every address of a network outside is this machine's, though no interface
/// has it.
fn outside(name: &str, work: impl FnOnce() + Send + 'static) {
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
struct Zone;

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

struct Collect(Sender<Record>);

impl Sink for Collect {
    fn take(&self, record: Record) -> bool {
        self.0.send(record).is_ok()
    }
}

/// What the workload `runner` may do, and what everybody else of the namespace may.
fn policies(egress: &str) -> Option<Arc<Policies>> {
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

const HUB: &str =
    "[{action: Allow, to: [{domains: [hub.example, inside.example]}], ports: [{port: 443}, {port: 80}]}]";

/// The certificate of somebody with these URIs.
fn shown(authority: &Authority, uris: &[&str]) -> Identity {
    authority.with_uris(uris)
}

/// The door, in the namespace of the thread that opens it.
struct Door {
    address: SocketAddr,
    authority: Authority,
    records: Receiver<Record>,
    policies: watch::Sender<Option<Arc<Policies>>>,
    phase: watch::Sender<Phase>,
    clients: watch::Sender<Arc<Clients>>,
    stop: Option<oneshot::Sender<()>>,
    thread: Option<JoinHandle<()>>,
}

impl Door {
    fn new(set: Option<Arc<Policies>>) -> Self {
        let authority = Authority::new();
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        listener.set_nonblocking(true).unwrap();
        let address = listener.local_addr().unwrap();
        let (sender, records) = channel();
        let (policies, latest) = watch::channel(set);
        let (phase, told) = watch::channel(Phase::default());
        let known = Clients::new(&authority.valid(DOOR), DOMAIN).unwrap();
        let (clients, known) = watch::channel(Arc::new(known));
        let (stop, stopped) = oneshot::channel();
        let thread = std::thread::spawn(move || {
            let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
            runtime.block_on(async {
                let sink = Arc::new(Collect(sender));
                let counters = Arc::new(Counters::new());
                let door = Visitors::new(latest, Arc::new(Zone), sink, counters, Limits::default(), told);
                let listener = tokio::net::TcpListener::from_std(listener).unwrap();
                tokio::select! {
                    () = Arc::new(door).serve(listener, known) => {}
                    _ = stopped => {}
                }
            });
        });
        let (stop, thread) = (Some(stop), Some(thread));
        Self { address, authority, records, policies, phase, clients, stop, thread }
    }

    /// A TLS connection to the door with a certificate.
    fn come(&self, identity: Option<&Identity>) -> StreamOwned<ClientConnection, TcpStream> {
        let stream = patient(TcpStream::connect(self.address).unwrap());
        let config = client(&self.authority, identity);
        let name = ServerName::try_from(DOOR).unwrap();
        StreamOwned::new(ClientConnection::new(Arc::new(config), name).unwrap(), stream)
    }

    /// As `runner`, asks with this head; returns the head of the answer, and the connection.
    fn ask(&self, head: &str) -> (String, StreamOwned<ClientConnection, TcpStream>) {
        self.ask_as(Some(&shown(&self.authority, &[RUNNER])), head)
    }

    fn ask_as(
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

    fn record(&self) -> Record {
        self.records.recv_timeout(PATIENCE).unwrap()
    }

    fn check_refused(&self, identity: Option<&Identity>, head: &str, reason: Reason, says: &str) -> Record {
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
fn client(authority: &Authority, identity: Option<&Identity>) -> rustls::ClientConfig {
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

const CONNECT: &str = "CONNECT hub.example:443 HTTP/1.1|Host: hub.example:443||";
const LEAVE: &str = "HTTP/1.1 200 Connection established\r\n\r\n";

fn server(port: u16) -> TcpListener {
    TcpListener::bind((SERVER, port)).unwrap()
}

#[test]
fn a_workload_is_known_by_its_certificate_and_gets_where_its_policy_leads() {
    if !able() {
        return;
    }
    outside("a", || {
        let (tls, clear) = (server(443), server(80));
        let door = Door::new(policies(HUB));
        let (answer, mut stream) = door.ask(CONNECT);
        assert_eq!(answer, LEAVE);
        let hello = hello_of(Some("hub.example"), &[]);
        stream.write_all(&hello).unwrap();
        let mut far = patient(tls.accept().unwrap().0);
        let mut read = vec![0; hello.len()];
        far.read_exact(&mut read).unwrap();
        assert_eq!(read, hello);
        far.write_all(b"answer").unwrap();
        drop(far);
        let mut back = vec![0; 6];
        stream.read_exact(&mut back).unwrap();
        assert_eq!(back, b"answer");
        drop(stream);
        let record = door.record();
        assert_eq!((record.reason, record.verdict), (Reason::NameAllowed, Verdict::Allow));
        assert_eq!((record.asked_by.as_deref(), record.generation.0), (Some(RUNNER), 7));
        assert_eq!(record.destination, SocketAddr::new(SERVER.parse().unwrap(), 443));
        assert!(record.pod.ip().is_loopback(), "where it came from: {}", record.pod);
        assert!(record.rule.unwrap().starts_with("EgressPolicy team/visitors spec.egress[0]"));

        let asking = std::thread::spawn(move || {
            let mut far = patient(clear.accept().unwrap().0);
            let mut read = vec![];
            while !read.ends_with(b"\r\n\r\n") {
                let mut byte = [0];
                far.read_exact(&mut byte).unwrap();
                read.push(byte[0]);
            }
            far.write_all(b"HTTP/1.1 204 No Content\r\nconnection: close\r\n\r\n").unwrap();
            read
        });
        let (answer, _stream) = door.ask("GET http://hub.example/x HTTP/1.1|Host: hub.example||");
        assert!(answer.starts_with("HTTP/1.1 204"), "{answer}");
        assert!(asking.join().unwrap().starts_with(b"GET /x HTTP/1.1\r\n"));
    });
}

#[test]
fn it_gets_nowhere_else() {
    if !able() {
        return;
    }
    outside("b", || {
        let tls = server(443);
        tls.set_nonblocking(true).unwrap();
        let door = Door::new(policies(HUB));
        let runner = shown(&door.authority, &[RUNNER]);
        for (head, reason) in [
            ("CONNECT secret.example:443 HTTP/1.1||", Reason::LookupRefused),
            ("CONNECT hub.example:8443 HTTP/1.1||", Reason::NameNotAllowed),
            ("CONNECT inside.example:443 HTTP/1.1||", Reason::BarredDestination),
            ("CONNECT 203.0.113.9:443 HTTP/1.1||", Reason::NoName),
            ("CONNECT 127.0.0.1:443 HTTP/1.1||", Reason::Inside),
            ("CONNECT 198.51.100.130:443 HTTP/1.1||", Reason::BarredDestination),
            ("GET http://secret.example/ HTTP/1.1|Host: secret.example||", Reason::LookupRefused),
        ] {
            let record = door.check_refused(Some(&runner), head, reason, reason.as_str());
            assert_eq!(record.asked_by.as_deref(), Some(RUNNER), "{head}");
        }
        // Another of the namespace, whom no policy selects, and one of a namespace that there is not.
        for id in
            ["spiffe://prod.example.org/ns/team/sa/other", "spiffe://prod.example.org/ns/none/sa/runner"]
        {
            let other = shown(&door.authority, &[id]);
            door.check_refused(Some(&other), CONNECT, Reason::LookupRefused, "lookup-refused");
            let address = "CONNECT 203.0.113.9:443 HTTP/1.1||";
            door.check_refused(Some(&other), address, Reason::WorkloadUnselected, "workload-unselected");
        }
        // For another name than the tunnel, and for none.
        for hello in [hello_of(Some("inside.example"), &[]), hello_of(None, &[])] {
            let (answer, mut stream) = door.ask(CONNECT);
            assert_eq!(answer, LEAVE);
            stream.write_all(&hello).unwrap();
            let _alert = stream.read_to_end(&mut vec![]);
            assert_eq!(door.record().end, End::Refused);
        }
        while let Ok((mut far, _)) = tls.accept() {
            far.set_nonblocking(false).unwrap();
            let mut read = vec![];
            let _end = far.read_to_end(&mut read);
            assert!(read.is_empty(), "a server was told something: {read:?}");
        }
    });
}

#[test]
fn who_is_no_workload_by_certificate_is_told_what_it_presented() {
    if !able() {
        return;
    }
    outside("c", || {
        let door = Door::new(policies(HUB));
        for (uris, says) in [
            (&["spiffe://other.example/ns/team/sa/runner"][..], "spiffe://other.example/ns/team/sa/runner"),
            (&["spiffe://prod.example.org/team/runner"], "spiffe://prod.example.org/team/runner"),
            (&[RUNNER, "spiffe://prod.example.org/ns/team/sa/other"], "sa/runner, spiffe://"),
            (&[], "certificate"),
        ] {
            let identity = shown(&door.authority, uris);
            let record = door.check_refused(Some(&identity), CONNECT, Reason::WorkloadUnknown, says);
            assert!(record.asked_by.unwrap().contains(says), "{says}");
        }
        door.check_refused(None, CONNECT, Reason::WorkloadUnknown, "workload-unknown");
        // What the authority did not make is no certificate to TLS; nor is what the next authority did not.
        let stranger = shown(&Authority::new(), &[RUNNER]);
        let believed = Identity { authority: door.authority.valid(DOOR).authority, ..stranger };
        let before = shown(&door.authority, &[RUNNER]);
        let next = Authority::new();
        let both = Identity { authority: next.valid(DOOR).authority, ..door.authority.valid(DOOR) };
        for (identity, is_next) in [(believed, false), (before, true)] {
            if is_next {
                door.clients.send(Arc::new(Clients::new(&both, DOMAIN).unwrap())).unwrap();
            }
            let mut stream = door.come(Some(&identity));
            let _written = stream.write_all(CONNECT.replace('|', "\r\n").as_bytes());
            assert!(stream.read(&mut [0; 1]).is_err(), "{is_next}");
        }
    });
}

#[test]
fn a_change_of_policy_cuts_what_it_denies_and_demands_that_only_a_node_meets_are_refused() {
    if !able() {
        return;
    }
    outside("d", || {
        let tls = server(443);
        let door = Door::new(None);
        let (answer, _) = door.ask(CONNECT);
        assert!(answer.starts_with("HTTP/1.1 503 ") && answer.contains("no-policy"), "{answer}");
        assert_eq!(door.record().reason, Reason::NoPolicy);
        door.policies.send(policies(HUB)).unwrap();
        let (answer, mut stream) = door.ask(CONNECT);
        assert_eq!(answer, LEAVE);
        let hello = hello_of(Some("hub.example"), &[]);
        stream.write_all(&hello).unwrap();
        let mut far = patient(tls.accept().unwrap().0);
        far.read_exact(&mut vec![0; hello.len()]).unwrap();
        for rule in ["maxUploadBytes: {connection: 1Mi}", "operations: [{verbs: [download]}]"] {
            let rule = format!(
                "[{{action: Allow, to: [{{domains: [hub.example]}}], ports: [{{port: 443}}], {rule}}}]"
            );
            door.policies.send(policies(&rule)).unwrap();
            door.check_refused(
                Some(&shown(&door.authority, &[RUNNER])),
                CONNECT,
                Reason::NeedsNode,
                "needs-node",
            );
        }
        door.policies.send(policies("[]")).unwrap();
        door.phase.send_modify(|phase| phase.changes += 1);
        let _cut = stream.read(&mut [0; 1]);
        let record = door.record();
        assert_eq!((record.verdict, record.end), (Verdict::Deny, End::Cut));
    });
}
