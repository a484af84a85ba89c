//! Connections of a pod leave by the central gateway, on another machine, or not at all.

#![expect(clippy::unwrap_used, reason = "helpers of tests; a panic is the failure report")]

use crate::machine::resolver::{HUB, Resolver, ask};
use crate::machine::{Machine, Up, eventually, ip, write_identity};
use controller::authority::Authority;
use feed::tls::{GATEWAY, node_name};
use serde_json::Value;
use std::io::{BufRead, BufReader, Read, Write};
use std::net::{SocketAddr, TcpListener, TcpStream};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::sync::{Arc, Mutex};
use std::time::{Duration, SystemTime};

/// All names lead to one address.
const POLICY: &str = "\
apiVersion: cofferdam.dev/v1alpha1
kind: EgressPolicy
metadata: { name: web, namespace: prod }
spec:
  subject: { podSelector: { matchLabels: { app: web } } }
  egress:
    - action: Allow
      to: [{ domains: [hub.example.com] }]
      ports: [{ protocol: TCP, port: 80 }]
    - action: Allow
      to: [{ domains: [store.example.com] }]
      ports: [{ protocol: TCP, port: 80 }]
      maxUploadBytes: { hour: 300k }
    - action: Allow
      to: [{ domains: [api.example.com] }]
      ports: [{ protocol: TCP, port: 80 }]
      operations: [{ verbs: [download, meta] }]
    - action: Allow
      to: [{ networks: [10.9.2.2/32] }]
      ports: [{ protocol: UDP, port: 53 }]
";

const PATIENCE: Duration = Duration::from_secs(20);
const PLACE: &str = "10.9.3.2:9445";

/// A machine beside the node, with a central gateway on it. Removed when dropped.
struct Edge<'m> {
    machine: &'m Machine,
    namespace: String,
    manifests: PathBuf,
    certificates: PathBuf,
    child: Option<Child>,
    records: Arc<Mutex<Vec<Value>>>,
}

impl<'m> Edge<'m> {
    fn new(machine: &'m Machine, authority: &Authority, folder: &Path) -> Self {
        let (namespace, node) = (machine.namespace("e"), machine.namespace("n"));
        ip(&format!("netns add {namespace}"));
        ip(&format!("-n {node} link add toe type veth peer name eth0 netns {namespace}"));
        ip(&format!("-n {node} addr add 10.9.3.1/24 dev toe"));
        ip(&format!("-n {node} link set toe up"));
        ip(&format!("-n {namespace} addr add 10.9.3.2/24 dev eth0"));
        ip(&format!("-n {namespace} link set eth0 up"));
        ip(&format!("-n {namespace} link set lo up"));
        ip(&format!("-n {namespace} route add default via 10.9.3.1"));
        let certificates = folder.join("gateway");
        write_identity(&certificates, &authority.issue(&[GATEWAY.to_owned()], SystemTime::now()).unwrap());
        let manifests = machine.folder();
        let mut edge =
            Self { machine, namespace, manifests, certificates, child: None, records: Arc::default() };
        edge.start();
        edge
    }

    fn start(&mut self) {
        let mut command = Command::new("ip");
        command.args(["netns", "exec", &self.namespace, env!("CARGO_BIN_EXE_cofferdam"), "egress-gateway"]);
        command.arg("-f").arg(&self.manifests).arg("--certificates").arg(&self.certificates);
        command.args(["--listen", PLACE, "--json", "--drain", "5"]);
        let mut child = command.stdout(Stdio::piped()).spawn().unwrap();
        let said = BufReader::new(child.stdout.take().unwrap());
        self.child = Some(child);
        let records = Arc::clone(&self.records);
        let mut lines = said.lines();
        let is_serving = |line: std::io::Result<String>| line.unwrap().contains("serves nodes");
        assert!(lines.any(is_serving), "it ended before it served");
        std::thread::spawn(move || {
            for line in lines.map_while(Result::ok) {
                let line: Value = serde_json::from_str(&line).unwrap();
                records.lock().unwrap().extend(line.get("central").cloned());
            }
        });
    }

    fn kill(&mut self) {
        if let Some(mut child) = self.child.take() {
            child.kill().unwrap();
            child.wait().unwrap();
        }
    }

    /// The newest record with this reason.
    fn record(&self, reason: &str) -> Value {
        eventually(reason, || {
            let records = self.records.lock().unwrap();
            records.iter().rev().find(|record| record["reason"] == reason).cloned()
        })
    }
}

impl Drop for Edge<'_> {
    fn drop(&mut self) {
        self.kill();
        let _ = Command::new("ip").args(["netns", "del", &self.machine.namespace("e")]).status();
    }
}

/// A web server at pod `b` that says who came, after it read the body.
fn serve(machine: &Machine) {
    let listener = machine.at("b", || TcpListener::bind("0.0.0.0:80").unwrap());
    std::thread::spawn(move || {
        for stream in listener.incoming().map_while(Result::ok) {
            std::thread::spawn(move || answer(stream));
        }
    });
}

fn answer(mut stream: TcpStream) {
    let mut head = Vec::new();
    while !head.ends_with(b"\r\n\r\n") {
        let mut byte = [0];
        if !stream.read(&mut byte).is_ok_and(|length| length == 1) {
            return;
        }
        head.push(byte[0]);
    }
    let text = String::from_utf8_lossy(&head).to_lowercase();
    let length = text.lines().find_map(|line| line.strip_prefix("content-length: "));
    let length: u64 = length.map_or(0, |length| length.parse().unwrap());
    drop(std::io::copy(&mut Read::by_ref(&mut stream).take(length), &mut std::io::sink()));
    let peer = stream.peer_addr().unwrap().ip().to_string();
    drop(write!(stream, "HTTP/1.1 200 OK\r\nContent-Length: {}\r\n\r\n{peer}", peer.len()));
}

/// What pod `a` is answered; nothing if it was not.
fn send(machine: &Machine, method: &str, host: &str, bytes: usize) -> String {
    let head = format!(
        "{method} /acme/m/resolve/main/model.safetensors HTTP/1.1\r\nHost: {host}\r\nContent-Length: {bytes}\r\nConnection: close\r\n\r\n"
    );
    machine.at("a", move || {
        let mut stream =
            TcpStream::connect_timeout(&SocketAddr::from((HUB, 80)), Duration::from_secs(3)).unwrap();
        stream.set_read_timeout(Some(PATIENCE)).unwrap();
        stream.set_write_timeout(Some(PATIENCE)).unwrap();
        if stream.write_all(head.as_bytes()).and_then(|()| stream.write_all(&vec![b'x'; bytes])).is_err() {
            return String::new();
        }
        let mut answer = Vec::new();
        // What came before it was broken off counts.
        drop(stream.read_to_end(&mut answer));
        String::from_utf8_lossy(&answer).into_owned()
    })
}

/// Asks until the name is in force: a busy machine may take its time.
fn resolved(machine: &Machine, name: &str) {
    eventually(name, || (ask(machine, name) == Some(0)).then_some(()));
}

fn connection(up: &Up<'_>, filters: &[&str]) -> Option<Value> {
    let lines = up.text(&[&["connections", "--json"], filters].concat());
    lines.lines().last().map(|line| serde_json::from_str(line).unwrap())
}

fn start<'m>(machine: &'m Machine, certificates: &Path) -> Up<'m> {
    let certificates = certificates.to_str().unwrap();
    let options = ["--dns-resolver", "10.9.2.2", "--dns-hold", "600", "--egress-gateway", PLACE];
    Up::start_with(machine, &[&options[..], &["--egress-certificates", certificates]].concat())
}

#[test]
fn netns_connections_leave_by_the_central_gateway_or_not_at_all() {
    let (machine, folder) = (Machine::new("c"), tempfile::tempdir().unwrap());
    machine.write("policy.yaml", POLICY);
    let authority = Authority::new(SystemTime::now()).unwrap();
    let own = folder.path().join("m1");
    write_identity(&own, &authority.issue(&[node_name("m1")], SystemTime::now()).unwrap());
    let _resolver = Resolver::start(&machine);
    serve(&machine);
    let mut edge = Edge::new(&machine, &authority, folder.path());
    let up = start(&machine, &own);
    for name in ["hub", "store", "api", "evil"] {
        resolved(&machine, &format!("{name}.example.com"));
    }
    // Until its certificate is read nothing leaves.
    let answer = eventually("the way", || {
        let answer = send(&machine, "GET", "hub.example.com", 0);
        (!answer.contains("central-unreachable")).then_some(answer)
    });
    assert!(answer.starts_with("HTTP/1.1 200") && answer.ends_with("\r\n\r\n10.9.3.2"), "{answer}");
    let record = eventually("its record", || connection(&up, &["--verdict", "allow"]));
    assert_eq!((&record["via"], &record["reason"]), (&PLACE.into(), &"name-allowed".into()), "{record:#}");
    let central = edge.record("name-allowed");
    assert_eq!(
        (&central["asked_by"], &central["claim"]["name"], &central["destination"]),
        (&"m1".into(), &"hub.example.com".into(), &"203.0.113.7:80".into()),
        "{central:#}"
    );
    assert!(central["rule"].as_str().unwrap().contains("policy.yaml:7"), "{central:#}");

    // Requests are judged here, and leave there.
    assert!(send(&machine, "GET", "api.example.com", 0).ends_with("10.9.3.2"));
    let answer = send(&machine, "DELETE", "api.example.com", 0);
    assert!(answer.starts_with("HTTP/1.1 403"), "{answer}");
    let answer = send(&machine, "GET", "evil.example.com", 0);
    assert!(answer.starts_with("HTTP/1.1 403") && answer.contains("host-mismatch"), "{answer}");

    // The hour's upload is counted on the way to the gateway.
    assert!(send(&machine, "PUT", "store.example.com", 200_000).ends_with("10.9.3.2"));
    assert!(!send(&machine, "PUT", "store.example.com", 200_000).ends_with("10.9.3.2"));

    // Without the gateway nothing leaves; with the next one, again.
    edge.kill();
    let answer = send(&machine, "GET", "hub.example.com", 0);
    assert!(answer.starts_with("HTTP/1.1 403") && answer.contains("central-unreachable"), "{answer}");
    let record = eventually("its record", || {
        connection(&up, &["--verdict", "deny"]).filter(|record| record["reason"] == "central-unreachable")
    });
    assert!(record["via"].is_null(), "{record:#}");
    edge.start();
    let back = || Some(send(&machine, "GET", "hub.example.com", 0)).filter(|it| it.ends_with("10.9.3.2"));
    eventually("the gateway again", back);
    assert_eq!(up.status()["degraded"], serde_json::json!([]));
}

#[test]
fn netns_a_node_gets_nothing_for_pods_of_another() {
    let (machine, folder) = (Machine::new("d"), tempfile::tempdir().unwrap());
    machine.write("policy.yaml", POLICY);
    let authority = Authority::new(SystemTime::now()).unwrap();
    let stolen = folder.path().join("m2");
    write_identity(&stolen, &authority.issue(&[node_name("m2")], SystemTime::now()).unwrap());
    let _resolver = Resolver::start(&machine);
    serve(&machine);
    let edge = Edge::new(&machine, &authority, folder.path());
    let _up = start(&machine, &stolen);
    resolved(&machine, "hub.example.com");
    let answer = eventually("an answer of the gateway", || {
        let answer = send(&machine, "GET", "hub.example.com", 0);
        (!answer.contains("central-unreachable")).then_some(answer)
    });
    assert!(answer.starts_with("HTTP/1.1 403") && answer.contains("central-refused"), "{answer}");
    assert_eq!(edge.record("not-on-node")["asked_by"], "m2");
}
