//! `cofferdam up --lab`: manifests without nodes or addresses become pods, and real packets between them obey.

#![expect(clippy::unwrap_used, reason = "helpers of tests; a panic is the failure report")]

use serde_json::Value;
use std::fs;
use std::io::{BufRead, BufReader};
use std::os::unix::fs::PermissionsExt;
use std::path::Path;
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

const BINARY: &str = env!("CARGO_BIN_EXE_cofferdam");
const PATIENCE: Duration = Duration::from_secs(30);

const PODS: &str = "\
apiVersion: apps/v1
kind: Deployment
metadata: { name: web, namespace: prod }
spec:
  replicas: 2
  selector: { matchLabels: { app: web } }
  template:
    metadata: { labels: { app: web } }
    spec: { containers: [{ name: c, image: i }] }
---
apiVersion: v1
kind: Pod
metadata: { name: db, namespace: prod, labels: { app: db } }
spec: { containers: [{ name: c, image: i, ports: [{ containerPort: 5432 }, { containerPort: 22 }] }] }
---
apiVersion: v1
kind: Pod
metadata:
  name: says
  namespace: prod
  annotations: { cofferdam.dev/lab-command: 'echo I am $POD_NAMESPACE/$POD_NAME' }
spec: { containers: [{ name: c, image: i }] }
";

const POLICY: &str = "\
apiVersion: networking.k8s.io/v1
kind: NetworkPolicy
metadata: { name: db, namespace: prod }
spec:
  podSelector: { matchLabels: { app: db } }
  ingress:
    - from: [{ podSelector: { matchLabels: { app: web } } }]
      ports: [{ protocol: TCP, port: 5432 }]
";

struct Running {
    folder: tempfile::TempDir,
    child: Child,
    said: Vec<String>,
}

/// What runs a program as somebody without rights, for root and for others.
fn without_rights() -> Command {
    let mut command = Command::new("setpriv");
    if nix::unistd::geteuid().is_root() {
        command.args(["--reuid=65534", "--regid=65534", "--clear-groups"]);
    }
    command.arg("--");
    command
}

impl Running {
    fn start() -> Self {
        Self::start_by(Command::new(BINARY), |_, _| ())
    }

    /// The same by another command line, which is given more arguments once the folder is there.
    fn start_by(mut command: Command, more: impl FnOnce(&mut Command, &Path)) -> Self {
        let folder = tempfile::tempdir().unwrap();
        fs::set_permissions(folder.path(), fs::Permissions::from_mode(0o777)).unwrap();
        let manifests = folder.path().join("manifests");
        fs::create_dir(&manifests).unwrap();
        fs::write(manifests.join("pods.yaml"), PODS).unwrap();
        fs::write(manifests.join("policy.yaml"), POLICY).unwrap();
        command.args(["up", "--lab", "--json", "-f"]).arg(&manifests);
        command.arg("--socket").arg(folder.path().join("socket"));
        more(&mut command, folder.path());
        let child = command.stdout(Stdio::piped()).spawn().unwrap();
        let mut running = Self { folder, child, said: Vec::new() };
        let lines = BufReader::new(running.child.stdout.take().unwrap()).lines();
        // The program that says something may do so before or after the lab is ready.
        for line in lines.map_while(Result::ok) {
            running.said.push(line);
            let has = |start: &str| running.said.iter().any(|line| line.starts_with(start));
            if has("{\"ready\"") && has("{\"output\"") {
                return running;
            }
        }
        assert!(running.said.is_empty(), "up ended before it was ready: {:#?}", running.said);
        running
    }

    fn ask(&self, arguments: &[&str]) -> (bool, String) {
        let mut command = Command::new(BINARY);
        let output = command.args(arguments).arg("--socket").arg(self.folder.path().join("socket")).output();
        let output = output.unwrap();
        (output.status.success(), String::from_utf8(output.stdout).unwrap())
    }

    fn probe(&self, from: &str, to: &str, port: &str) -> bool {
        self.ask(&["lab", "probe", "--from", from, "--to", to, "--port", port]).0
    }

    fn status(&self) -> Value {
        serde_json::from_str(&self.ask(&["status", "--json"]).1).unwrap()
    }

    fn flows(&self, filters: &[&str]) -> Vec<Value> {
        let (_, lines) = self.ask(&[&["flows", "--json"], filters].concat());
        lines.lines().map(|line| serde_json::from_str(line).unwrap()).collect()
    }

    fn write(&self, name: &str, text: &str) {
        fs::write(self.folder.path().join("manifests").join(name), text).unwrap();
    }
}

impl Drop for Running {
    fn drop(&mut self) {
        // A lab that is killed leaves its namespaces to the next one; end it in order.
        let pid = self.child.id().to_string();
        let _ = Command::new("kill").args(["-TERM", &pid]).status();
        let _ = self.child.wait();
    }
}

fn eventually<T>(what: &str, mut ask: impl FnMut() -> Option<T>) -> T {
    let deadline = Instant::now() + PATIENCE;
    loop {
        if let Some(found) = ask() {
            return found;
        }
        assert!(Instant::now() < deadline, "waited too long for {what}");
        std::thread::sleep(Duration::from_millis(20));
    }
}

#[test]
fn netns_a_lab_enforces_records_once_across_nodes_follows_edits_and_is_removed() {
    let running = Running::start();
    let output = running.said.iter().find(|line| line.starts_with("{\"output\"")).unwrap();
    assert!(output.contains("I am prod/says"), "{output}");

    // web-0 and web-1 are on different nodes, so one of them reaches db over the wire between nodes.
    for web in ["prod/web-0", "prod/web-1"] {
        assert!(running.probe(web, "prod/db", "5432"));
        assert!(!running.probe(web, "prod/db", "22"));
    }
    assert!(!running.probe("prod/says", "prod/db", "5432"));
    let mut mistyped = Command::new(BINARY);
    mistyped.args(["lab", "probe", "--from", "prod/wbe-0", "--to", "prod/db", "--port", "22", "--socket"]);
    let said = mistyped.arg(running.folder.path().join("socket")).output().unwrap();
    let said = String::from_utf8(said.stderr).unwrap();
    assert!(said.contains("prod/wbe-0: no such pod") && said.contains("`cofferdam lab list`"), "{said}");
    eventually("three denials", || (running.flows(&["--verdict", "deny"]).len() >= 3).then_some(()));
    let opened = running.flows(&["--kind", "open", "--to", "prod/db"]);
    assert_eq!(opened.len(), 2, "{opened:#?}");
    for record in &opened {
        assert_eq!(record["egress"]["reason"], "no-policy");
        assert_eq!(record["ingress"]["object"]["name"], "db");
        assert!(record["ingress"]["source"]["file"].as_str().unwrap().ends_with("policy.yaml"));
        assert_eq!(record["ingress"]["source"]["line"], 7);
    }
    let status = running.status();
    assert_eq!(status["resolver"]["verdict_disagreements"], 0, "{status:#}");
    assert_eq!(status["resolver"]["rule_disagreements"], 0, "{status:#}");
    assert_eq!(status["mode"], "lab");

    running.write("policy.yaml", &POLICY.replace("5432", "22"));
    eventually("the edit in force", || running.probe("prod/web-0", "prod/db", "22").then_some(()));
    assert!(!running.probe("prod/web-0", "prod/db", "5432"));

    running.write(
        "more.yaml",
        "apiVersion: v1\nkind: Pod\nmetadata: { name: late, namespace: prod }\nspec: {}\n",
    );
    let status = eventually("the new pod noticed", || {
        let status = running.status();
        status["degraded"].as_array().is_some_and(|reasons| !reasons.is_empty()).then_some(status)
    });
    assert!(status["degraded"][0].as_str().unwrap().contains("prod/late"), "{status:#}");

    let (_, list) = running.ask(&["lab", "list", "--json"]);
    let namespaces: Vec<String> = list
        .lines()
        .map(|line| {
            serde_json::from_str::<Value>(line).unwrap()["network_namespace"].as_str().unwrap().to_owned()
        })
        .collect();
    assert_eq!(namespaces.len(), 6, "{list}");
    assert!(running.ask(&["lab", "down"]).0);
    for namespace in namespaces {
        assert!(!std::path::Path::new("/run/netns").join(&namespace).exists(), "{namespace} is still there");
    }
}

/// Nothing may have threads before the lab has its user namespace, or the kernel refuses it.
#[test]
fn netns_a_lab_without_root_keeps_a_ledger_exports_it_and_is_served() {
    if !without_rights().args(["unshare", "--user", "--net", "true"]).status().unwrap().success() {
        eprintln!("SKIPPED: this kernel gives nobody but root a user namespace");
        return;
    }
    let mut command = without_rights();
    command.arg(BINARY);
    let running = Running::start_by(command, |command, folder| {
        command.arg("--ledger").arg(folder.join("ledger.db"));
        command.arg("--export").arg(format!("file:{}/sent.jsonl", folder.display()));
        command.args(["--serve", "127.0.0.1:0"]);
    });
    assert!(running.probe("prod/web-0", "prod/db", "5432"));
    assert!(!running.probe("prod/web-0", "prod/db", "22"));
    // Whoever exports sees it, and waits until it is old enough to be final.
    let export = eventually("the export's thread", || {
        let export = running.status()["ledger"]["exports"][0].take();
        export["waiting"].as_u64().is_some_and(|waiting| waiting > 0).then_some(export)
    });
    assert_eq!(export["problem"], Value::Null, "{export:#}");
}
