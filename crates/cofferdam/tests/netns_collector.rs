//! Two machines that enforce, and one collector: what both record is one ledger, through kills, and what one workload does on both
//! is one incident.

#![expect(
    clippy::unwrap_used,
    clippy::indexing_slicing,
    reason = "helpers of tests; a panic is the failure report"
)]

use crate::machine::{Machine, ip, write_identity};
use controller::authority::Authority;
use feed::tls::{COLLECTOR, node_name};
use serde_json::Value;
use std::collections::BTreeMap;
use std::fs::{self, File};
use std::io::{BufRead, BufReader, Read, Write};
use std::net::{SocketAddr, TcpStream};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant, SystemTime};

/// Nobody of `web` goes anywhere.
const POLICY: &str = "\
apiVersion: networking.k8s.io/v1
kind: NetworkPolicy
metadata: { name: nowhere, namespace: prod }
spec: { podSelector: { matchLabels: { app: web } }, policyTypes: [Egress] }
";
const API: ([u8; 4], u16) = ([127, 0, 0, 1], 8080);

/// A pod of a StatefulSet whose pods are on both machines.
fn pod(node: &str, app: &str, number: u8) -> String {
    format!(
        "apiVersion: v1\nkind: Pod\nmetadata:\n  name: {app}-{node}\n  namespace: prod\n  labels: {{ app: {app} }}\n  \
         ownerReferences: [{{ apiVersion: apps/v1, kind: StatefulSet, name: {app}, uid: u, controller: true }}]\n\
         spec: {{ nodeName: {node}, containers: [{{ name: c, image: i }}] }}\n\
         status: {{ phase: Running, podIP: 10.9.{number}.2, podIPs: [{{ ip: 10.9.{number}.2 }}] }}\n"
    )
}

/// The collector, in a namespace that machines reach.
struct Collector {
    namespace: String,
    folder: tempfile::TempDir,
    child: Option<Child>,
}

impl Collector {
    fn new(machines: &[&Machine], authority: &Authority) -> Self {
        // Tests run beside each other, each with machines of its own.
        let namespace = format!("{}z", machines.first().unwrap().namespace("n"));
        ip(&format!("netns add {namespace}"));
        ip(&format!("-n {namespace} link set lo up"));
        for (number, machine) in machines.iter().enumerate() {
            let node = machine.namespace("n");
            ip(&format!("-n {node} link add toz type veth peer name m{number} netns {namespace}"));
            ip(&format!("-n {node} addr add 10.8.{number}.1/24 dev toz"));
            ip(&format!("-n {node} link set toz up"));
            ip(&format!("-n {namespace} addr add 10.8.{number}.2/24 dev m{number}"));
            ip(&format!("-n {namespace} link set m{number} up"));
        }
        let folder = tempfile::tempdir().unwrap();
        let identity = authority.issue(&[COLLECTOR.to_owned()], SystemTime::now()).unwrap();
        write_identity(&folder.path().join("certificates"), &identity);
        let mut collector = Self { namespace, folder, child: None };
        collector.start();
        collector
    }

    fn ledger(&self) -> PathBuf {
        self.folder.path().join("ledger.db")
    }

    fn start(&mut self) {
        let mut command = Command::new("ip");
        command.args(["netns", "exec", &self.namespace, env!("CARGO_BIN_EXE_cofferdam"), "collector"]);
        command.arg("--ledger").arg(self.ledger());
        command.arg("--certificates").arg(self.folder.path().join("certificates"));
        command.args(["--listen", "0.0.0.0:9448", "--serve", "127.0.0.1:8080"]);
        let mut child = command.stdout(Stdio::piped()).spawn().unwrap();
        let mut said = BufReader::new(child.stdout.take().unwrap()).lines();
        self.child = Some(child);
        assert!(said.any(|line| line.unwrap().contains("token is kept")), "it ended before it served");
    }

    /// SIGKILL. `ip netns exec` is the program by then.
    fn kill(&mut self) {
        if let Some(mut child) = self.child.take() {
            child.kill().unwrap();
            child.wait().unwrap();
        }
    }

    /// Asks the API.
    fn ask(&self, method: &str, path: &str, body: &str) -> (u16, Value) {
        let token = fs::read_to_string(self.folder.path().join("ledger.token")).unwrap();
        let request = format!(
            "{method} /api/v1{path} HTTP/1.1\r\nHost: localhost:8080\r\nAuthorization: Bearer {}\r\n\
             Content-Type: application/json\r\nContent-Length: {}\r\nConnection: close\r\n\r\n{body}",
            token.trim(),
            body.len()
        );
        let file = File::open(format!("/run/netns/{}", self.namespace)).unwrap();
        let answer = std::thread::spawn(move || {
            nix::sched::setns(file, nix::sched::CloneFlags::CLONE_NEWNET).unwrap();
            let mut stream = TcpStream::connect(SocketAddr::from(API)).unwrap();
            stream.set_read_timeout(Some(Duration::from_secs(30))).unwrap();
            stream.write_all(request.as_bytes()).unwrap();
            let mut answer = String::new();
            stream.read_to_string(&mut answer).unwrap();
            answer
        });
        let answer = answer.join().unwrap();
        let (head, body) = answer.split_once("\r\n\r\n").unwrap();
        let status = head.split(' ').nth(1).unwrap().parse().unwrap();
        (status, serde_json::from_str(body).unwrap_or_default())
    }

    fn get(&self, path: &str) -> Value {
        let (status, found) = self.ask("GET", path, "");
        assert_eq!(status, 200, "{path}: {found:#}");
        found
    }
}

impl Drop for Collector {
    fn drop(&mut self) {
        self.kill();
        let _ = Command::new("ip").args(["netns", "del", &self.namespace]).status();
    }
}

/// A machine that enforces and sends.
struct Node {
    machine: Machine,
    name: &'static str,
    folder: tempfile::TempDir,
    child: Option<Child>,
}

impl Node {
    fn new(name: &'static str, authority: &Authority) -> Self {
        let machine = Machine::new(name);
        machine.write("pods.yaml", &format!("{}---\n{}", pod(name, "web", 1), pod(name, "db", 2)));
        machine.write("policy.yaml", POLICY);
        let folder = tempfile::tempdir().unwrap();
        let identity = authority.issue(&[node_name(name)], SystemTime::now()).unwrap();
        write_identity(&folder.path().join("certificates"), &identity);
        Self { machine, name, folder, child: None }
    }

    fn ledger(&self) -> PathBuf {
        self.folder.path().join("ledger.db")
    }

    fn start(&mut self, collector: &str) {
        let (manifests, socket) = (self.machine.folder(), self.machine.socket());
        let mut command = self.machine.program(&["up", "--json", "--node", self.name]);
        command.arg("-f").arg(manifests).arg("--socket").arg(socket).arg("--ledger").arg(self.ledger());
        command.args(["--collector", collector]);
        command.arg("--collector-certificates").arg(self.folder.path().join("certificates"));
        let mut child = command.stdout(Stdio::piped()).spawn().unwrap();
        let mut said = BufReader::new(child.stdout.take().unwrap()).lines();
        self.child = Some(child);
        assert!(said.any(|line| line.unwrap().starts_with("{\"ready\"")), "up ended before it was ready");
        std::thread::spawn(move || said.map_while(Result::ok).for_each(drop));
    }

    /// Its pod `web` tries these ports of `db`.
    fn scan(&self, ports: std::ops::Range<u16>) {
        self.machine.at("a", move || {
            for port in ports {
                let to = SocketAddr::from(([10, 9, 2, 2], port));
                // It is dropped.
                let _ = TcpStream::connect_timeout(&to, Duration::from_millis(20));
            }
        });
    }

    /// Whether all that is in its ledger was sent.
    fn has_sent(&self) -> bool {
        let socket = self.machine.socket();
        let mut command = self.machine.program(&["status", "--json", "--socket"]);
        let output = command.arg(socket).output().unwrap();
        let status: Value = serde_json::from_slice(&output.stdout).unwrap();
        let to = &status["ledger"]["exports"][0];
        to["waiting"] == 0 && to["sent"].as_u64().unwrap() > 0 && to["problem"].is_null()
    }
}

impl Drop for Node {
    fn drop(&mut self) {
        if let Some(mut child) = self.child.take() {
            let _ = child.kill();
            let _ = child.wait();
        }
    }
}

/// How often each denial and finding of a node is in a ledger.
fn entries(ledger: &Path, node: &str) -> BTreeMap<String, u64> {
    let mut all = BTreeMap::new();
    for kind in ["flow", "finding"] {
        let output = Command::new(env!("CARGO_BIN_EXE_cofferdam"))
            .args(["ledger", "show", "--json", "--limit", "10000", "--kind", kind, "--node", node])
            .arg("--ledger")
            .arg(ledger)
            .output()
            .unwrap();
        for line in String::from_utf8(output.stdout).unwrap().lines() {
            let entry: Value = serde_json::from_str(line).unwrap();
            let key = ["time", "kind", "source", "destination", "port", "reason", "count", "node"]
                .map(|key| entry[key].to_string());
            // Sums may become one in the joined ledger.
            if !entry["detail"].is_null() {
                *all.entry(key.join(" ")).or_default() += 1;
            }
        }
    }
    all
}

/// Waits until a collector has what a node has, each entry as often.
fn same_on_both_sides(node: &Node, collector: &Collector) -> BTreeMap<String, u64> {
    // Sums are sent when they are over, and a sender that was turned away waits for up to a minute.
    let end = Instant::now() + Duration::from_secs(150);
    loop {
        let (own, joined) = (entries(&node.ledger(), node.name), entries(&collector.ledger(), node.name));
        if own == joined && node.has_sent() {
            return own;
        }
        assert!(Instant::now() < end, "{}: {} here and {} there", node.name, own.len(), joined.len());
        std::thread::sleep(Duration::from_millis(200));
    }
}

#[test]
fn netns_two_nodes_are_one_ledger_through_kills_and_one_incident() {
    let authority = Authority::new(SystemTime::now()).unwrap();
    let mut nodes = ["m1", "m2"].map(|name| Node::new(name, &authority));
    let mut collector = Collector::new(&nodes.each_ref().map(|node| &node.machine), &authority);
    for (number, node) in nodes.iter_mut().enumerate() {
        node.start(&format!("https://10.8.{number}.2:9448"));
    }
    // Each sees enough of it to say so.
    for node in &nodes {
        node.scan(1..120);
    }
    // Away while more happens, and killed in whatever it does when it is back.
    for round in 1..4 {
        collector.kill();
        for node in &nodes {
            node.scan(round * 200..round * 200 + 60);
        }
        collector.start();
    }
    for node in &nodes {
        let sent = same_on_both_sides(node, &collector);
        assert!(sent.len() > 200, "{} of {}", sent.len(), node.name);
        assert!(sent.keys().any(|key| key.contains("\"finding\"")), "no finding of {}", node.name);
    }

    // One incident, though each node told of it.
    let incidents = collector.get("/incidents");
    let of_web = |it: &&Value| it["workloads"].as_array().unwrap().contains(&"prod/StatefulSet/web".into());
    let items = incidents["items"].as_array().unwrap();
    let incident = items.iter().find(of_web).unwrap_or_else(|| panic!("{incidents:#}"));
    assert_eq!(items.iter().filter(of_web).count(), 1, "{incidents:#}");
    for node in ["m1", "m2"] {
        let told = collector.get(&format!("/records?kind=finding&node={node}"));
        let told = told["items"].as_array().unwrap();
        assert!(!told.is_empty() && told.iter().all(|it| it["node"] == node), "{told:#?}");
        assert!(told.iter().any(|it| it["source"] == "prod/StatefulSet/web"), "{told:#?}");
    }

    // What nodes told it does not tell again.
    let own = collector.get("/records?kind=finding&node=collector");
    assert_eq!(own["items"], Value::Array(Vec::new()), "{own:#}");

    // It says who sends, and what it does not do.
    let status = collector.get("/status");
    let sensors = status["sensors"].as_array().unwrap();
    let found: Vec<_> =
        sensors.iter().map(|it| (&it["name"], &it["role"], &it["ready"], &it["lost"])).collect();
    let (yes, none) = (Value::from(true), Value::from(0));
    let [itself, sender] = ["collector", "sender"].map(Value::from);
    let expected = [
        (&itself, &itself),
        (&"detectors".into(), &itself),
        (&"m1".into(), &sender),
        (&"m2".into(), &sender),
    ];
    assert_eq!(found, expected.map(|(name, role)| (name, role, &yes, &none)), "{status:#}");
    let id = incident["id"].as_str().unwrap();
    let contain = r#"{"workload":"prod/StatefulSet/web","minutes":5}"#;
    // It may not write to a cluster: it gives what somebody may apply, and says that nothing is in force.
    let (code, said) = collector.ask("POST", &format!("/incidents/{id}/contain"), contain);
    assert_eq!((code, &said["in_force"]), (200, &false.into()), "{said:#}");
    assert!(said["policy"].as_str().unwrap().contains("kind: Containment"), "{said:#}");
    let release = r#"{"workload":"prod/StatefulSet/web"}"#;
    let (code, said) = collector.ask("POST", &format!("/incidents/{id}/release"), release);
    assert_eq!(code, 409, "{said:#}");
    assert!(said["detail"].as_str().unwrap().contains("--serve-kubernetes"), "{said:#}");
    let (code, closed) =
        collector.ask("POST", &format!("/incidents/{id}/close"), r#"{"text":"an exercise"}"#);
    assert_eq!((code, &closed["state"]), (200, &"closed".into()), "{closed:#}");
    let verified = Command::new(env!("CARGO_BIN_EXE_cofferdam"))
        .args(["ledger", "verify", "--ledger"])
        .arg(collector.ledger())
        .output()
        .unwrap();
    assert!(verified.status.success(), "{}", String::from_utf8_lossy(&verified.stdout));
}

/// Each tries too few ports to be told of by its node.
#[test]
fn netns_a_scan_spread_over_two_nodes_is_found_where_their_records_are_together() {
    let authority = Authority::new(SystemTime::now()).unwrap();
    let mut nodes = ["s1", "s2"].map(|name| Node::new(name, &authority));
    let collector = Collector::new(&nodes.each_ref().map(|node| &node.machine), &authority);
    for (number, node) in nodes.iter_mut().enumerate() {
        node.start(&format!("https://10.8.{number}.2:9448"));
    }
    for (node, first) in nodes.iter().zip([1, 101]) {
        node.scan(first..first + 15);
    }
    // Nodes hand it over some seconds later, and it is looked at when it is 90 seconds old.
    let end = Instant::now() + Duration::from_secs(240);
    let told = loop {
        let told = collector.get("/records?kind=finding&node=collector");
        let found = told["items"].as_array().unwrap().first().cloned();
        if let Some(found) = found {
            break found;
        }
        assert!(Instant::now() < end, "{:#}", collector.get("/status"));
        std::thread::sleep(Duration::from_secs(1));
    };
    assert_eq!(
        (&told["source"], &told["reason"]),
        (&"prod/StatefulSet/web".into(), &"port-scan".into()),
        "{told:#}"
    );
    assert_eq!(told["detail"]["nodes"].as_array().unwrap().len(), 2, "{told:#}");
    for node in ["s1", "s2"] {
        let of_node = collector.get(&format!("/records?kind=finding&node={node}"));
        let scans =
            of_node["items"].as_array().unwrap().iter().filter(|it| it["reason"] == "port-scan").count();
        assert_eq!(scans, 0, "{of_node:#}");
    }
}

#[test]
fn netns_a_collector_says_what_it_needs() {
    let said = |arguments: &[&str]| {
        let output = Command::new(env!("CARGO_BIN_EXE_cofferdam")).args(arguments).output().unwrap();
        assert!(!output.status.success(), "{arguments:?}");
        String::from_utf8(output.stderr).unwrap()
    };
    let collector = ["collector", "--certificates", "/none", "--listen", "127.0.0.1:0"];
    assert!(said(&collector).contains("--ledger"));
    assert!(said(&["collector", "--ledger", "/none/x.db"]).contains("--certificates"));
    let more = ["--ledger", "/tmp/x.db", "--collector", "https://x"];
    assert!(said(&[&collector[..], &more].concat()).contains("sends to no other"));
    let folder = tempfile::tempdir().unwrap();
    let socket = folder.path().join("socket");
    let up = ["up", "-f", ".", "--socket", socket.to_str().unwrap(), "--ledger", "/none/x.db", "--collector"];
    assert!(said(&[&up[..], &["http://x"]].concat()).contains("https://HOST:9448"));
    assert!(said(&[&up[..], &["https://x"]].concat()).contains("--collector-certificates"));
}
