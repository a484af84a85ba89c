//! `cofferdam ingress-gateway` over a folder, with unmodified clients: who has a key may ask, nobody else and nothing else; an
//! edit holds at once; what is under way comes to its end.

#![allow(
    dead_code,
    clippy::unwrap_used,
    clippy::indexing_slicing,
    clippy::panic,
    clippy::print_stderr,
    reason = "a test; a panic is the failure report, and not all of the shared module is used"
)]

#[path = "clients/python.rs"]
mod python;

use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;
use python::{PYTHON, root};
use serde_json::{Value, json};
use std::fs;
use std::io::{BufRead, BufReader, Read, Write};
use std::net::{SocketAddr, TcpListener, TcpStream};
use std::path::Path;
use std::process::{Child, Command, Stdio};
use std::sync::mpsc::{Receiver, channel};
use std::time::Duration;

const PATIENCE: Duration = Duration::from_secs(30);
/// SHA-256 of `sk-team-a`.
const DIGEST: &str = "8879f6a4ae35c420a15d35fed3b8dd07577207803d404f6d4cc4fa829dafa910";
/// Blocks what a rule set would: SQL in a query, and files of the system anywhere in the line.
const RULES: &str = r#"
SecRuleEngine On
SecRequestBodyAccess On
SecRule ARGS_GET "@detectSQLi" "id:1,phase:2,deny,log,msg:'SQL injection'"
SecRule REQUEST_URI "@contains /etc/passwd" "id:2,phase:1,deny,log,msg:'a file of the system'"
"#;

fn manifests(server: SocketAddr, more: &str) -> String {
    format!(
        "
apiVersion: gateway.networking.k8s.io/v1
kind: GatewayClass
metadata: {{name: cofferdam}}
spec: {{controllerName: cofferdam.dev/ingress-gateway}}
---
apiVersion: gateway.networking.k8s.io/v1
kind: Gateway
metadata: {{name: edge, namespace: ai}}
spec:
  gatewayClassName: cofferdam
  listeners: [{{name: web, port: 80, protocol: HTTP}}]
---
apiVersion: v1
kind: Service
metadata: {{name: model, namespace: ai}}
spec: {{ports: [{{port: 8000}}]}}
---
apiVersion: discovery.k8s.io/v1
kind: EndpointSlice
metadata: {{name: model-1, namespace: ai, labels: {{kubernetes.io/service-name: model}}}}
addressType: IPv4
ports: [{{port: {}}}]
endpoints: [{{addresses: [\"{}\"]}}]
---
apiVersion: gateway.networking.k8s.io/v1
kind: HTTPRoute
metadata: {{name: models, namespace: ai}}
spec:
  parentRefs: [{{name: edge}}]
  rules: [{{backendRefs: [{{name: model, port: 8000}}]}}]
---
apiVersion: cofferdam.dev/v1alpha1
kind: InferencePolicy
metadata: {{name: models, namespace: ai}}
spec:
  targetRefs: [{{group: gateway.networking.k8s.io, kind: Gateway, name: edge}}]
  server: vllm
  authentication: {{apiKeys: [{{consumer: team-a, sha256: [{DIGEST}]}}]}}
  guard: {{mode: Enforce}}
{more}
",
        server.port(),
        server.ip(),
    )
}

/// An inference server: answers every completion in the form of whoever asked.
fn model() -> SocketAddr {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let address = listener.local_addr().unwrap();
    // Ends with the test process.
    std::thread::spawn(move || {
        for stream in listener.incoming() {
            std::thread::spawn(move || answer(&stream.unwrap()));
        }
    });
    address
}

fn answer(stream: &TcpStream) {
    let mut reader = BufReader::new(stream);
    loop {
        let (mut line, mut length) = (String::new(), 0);
        if reader.read_line(&mut line).unwrap_or_default() == 0 {
            return;
        }
        loop {
            let mut header = String::new();
            reader.read_line(&mut header).unwrap();
            let header = header.trim().to_lowercase();
            assert!(!header.contains("sk-team-a"), "the key stays with the gateway: {header}");
            if header.is_empty() {
                break;
            }
            if let Some(value) = header.strip_prefix("content-length: ") {
                length = value.parse().unwrap();
            }
        }
        let mut body = vec![0; length];
        reader.read_exact(&mut body).unwrap();
        let asked: Value = serde_json::from_slice(&body).unwrap_or_default();
        let usage = json!({"prompt_tokens": 7, "completion_tokens": 3, "total_tokens": 10});
        let text = if asked["stream"] == true {
            let piece = |delta: &str, finish: Value| {
                let choice = json!({"index": 0, "delta": {"content": delta}, "finish_reason": finish});
                json!({"id": "c", "object": "chat.completion.chunk", "created": 1, "model": "llama", "choices": [choice]})
            };
            let pieces = [piece("It is ", Value::Null), piece("42.", "stop".into())];
            pieces.map(|it| format!("data: {it}\n\n")).concat() + "data: [DONE]\n\n"
        } else if line.contains("/v1/messages") {
            json!({"id": "m", "type": "message", "role": "assistant", "model": "llama", "stop_reason": "end_turn",
                "content": [{"type": "text", "text": "It is 42."}], "usage": {"input_tokens": 7, "output_tokens": 3}})
            .to_string()
        } else {
            let message = json!({"role": "assistant", "content": "It is 42."});
            let choice = json!({"index": 0, "message": message, "finish_reason": "stop"});
            json!({"id": "c", "object": "chat.completion", "created": 1, "model": "llama", "choices": [choice], "usage": usage})
                .to_string()
        };
        let kind = if asked["stream"] == true { "text/event-stream" } else { "application/json" };
        let head =
            format!("HTTP/1.1 200 OK\r\ncontent-type: {kind}\r\ncontent-length: {}\r\n\r\n", text.len());
        let mut stream = stream;
        if stream.write_all((head + &text).as_bytes()).is_err() {
            return;
        }
    }
}

/// The gateway as a user runs it, and what it prints.
struct Gateway {
    child: Child,
    lines: Receiver<Value>,
    url: String,
}

impl Gateway {
    fn start(folder: &Path, more: &[&str]) -> Self {
        let files = folder.join("manifests");
        Self::run(&[&["-f", files.to_str().unwrap()], more].concat())
    }

    fn run(args: &[&str]) -> Self {
        let port = TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap().port();
        let mut command = Command::new(env!("CARGO_BIN_EXE_cofferdam"));
        command.args(["ingress-gateway", "--json", "--bind", "127.0.0.1", "--port", &format!("80={port}")]);
        command.args(args).stdout(Stdio::piped());
        let mut child = command.spawn().unwrap();
        let (sender, lines) = channel();
        let printed = BufReader::new(child.stdout.take().unwrap());
        std::thread::spawn(move || {
            for line in printed.lines().map_while(Result::ok) {
                let _ = sender.send(serde_json::from_str(&line).unwrap());
            }
        });
        let gateway = Self { child, lines, url: format!("http://127.0.0.1:{port}") };
        gateway.note("in force; listens at");
        gateway
    }

    /// The next of what it prints that has this field.
    fn next(&self, field: &str) -> Value {
        loop {
            let line =
                self.lines.recv_timeout(PATIENCE).unwrap_or_else(|_| panic!("it did not print a {field}"));
            if !line[field].is_null() {
                return line[field].clone();
            }
        }
    }

    /// Waits for it to say something.
    fn note(&self, text: &str) -> String {
        loop {
            let note = self.next("note");
            if note.as_str().unwrap().contains(text) {
                return note.as_str().unwrap().to_owned();
            }
        }
    }

    /// What curl gets: status and body.
    fn curl(&self, args: &[&str], path: &str) -> (u16, String) {
        let mut command = Command::new("curl");
        command.args(["--silent", "--max-time", "20", "--write-out", "\n%{http_code}"]).args(args);
        let output = command.arg(format!("{}{path}", self.url)).output().unwrap();
        let text = String::from_utf8(output.stdout).unwrap();
        let (body, status) = text.rsplit_once('\n').unwrap();
        (status.parse().unwrap(), body.to_owned())
    }
}

impl Drop for Gateway {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

fn folder(server: SocketAddr, more: &str) -> tempfile::TempDir {
    let folder = tempfile::tempdir().unwrap();
    fs::create_dir(folder.path().join("manifests")).unwrap();
    write(&folder, &manifests(server, more));
    folder
}

fn write(folder: &tempfile::TempDir, text: &str) {
    fs::write(folder.path().join("manifests/all.yaml"), text).unwrap();
}

const KEY: [&str; 2] = ["-H", "Authorization: Bearer sk-team-a"];
const CHAT: [&str; 2] = ["--json", r#"{"model":"llama","messages":[{"role":"user","content":"hello"}]}"#];

#[test]
fn unmodified_sdks_ask_stream_and_understand_why_they_are_refused() {
    let Some(python) = &*PYTHON else {
        eprintln!("NOT RUN: it needs clients from PyPI (no PyPI, or no venv, here)");
        return;
    };
    let folder = folder(model(), "");
    let gateway = Gateway::start(folder.path(), &[]);
    let program = root().join("tests/clients/programs/ingress.py");
    let output = Command::new(python).arg(program).args([&gateway.url, "sk-team-a"]).output().unwrap();
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    let text = String::from_utf8(output.stdout).unwrap();
    let steps: Vec<Value> = text.lines().map(|line| serde_json::from_str(line).unwrap()).collect();
    let of =
        |step: &str| steps.iter().find(|it| it["step"] == step).unwrap_or_else(|| panic!("{step}: {text}"));
    for step in ["openai chat", "openai stream", "anthropic message"] {
        assert_eq!(of(step)["said"], "It is 42.", "{step}: {text}");
        let record = gateway.next("request");
        assert_eq!(
            (&record["reason"], &record["consumer"]),
            (&"allowed".into(), &"team-a".into()),
            "{record:#}"
        );
        assert_eq!(record["operation"]["model"], "llama", "{record:#}");
        if step != "openai stream" {
            assert_eq!(
                (&record["usage"]["input"], &record["usage"]["output"]),
                (&7.into(), &3.into()),
                "{record:#}"
            );
        }
    }
    for (step, status, kind, reason) in [
        ("openai wrong key", 401, "AuthenticationError", "unauthenticated"),
        ("anthropic wrong key", 401, "AuthenticationError", "unauthenticated"),
        ("openai models", 403, "PermissionDeniedError", "shielded"),
        ("openai adapter", 403, "PermissionDeniedError", "shielded"),
        ("openai injection", 403, "PermissionDeniedError", "guard-blocked"),
        ("anthropic injection", 403, "PermissionDeniedError", "guard-blocked"),
    ] {
        let step_said = of(step);
        assert_eq!(
            (&step_said["status"], &step_said["kind"]),
            (&status.into(), &kind.into()),
            "{step}: {text}"
        );
        let said = step_said["error"].as_str().unwrap();
        let record = gateway.next("request");
        assert_eq!(record["reason"], reason, "{step}: {record:#}");
        let id = record["request_id"].as_str().unwrap();
        assert!(said.contains(id) && said.contains(reason), "{step}: {said}");
    }
}

#[test]
fn edits_hold_at_once_and_a_broken_one_closes_what_it_is_attached_to() {
    let server = model();
    let folder = folder(server, "");
    let gateway = Gateway::start(folder.path(), &[]);
    let ask = || gateway.curl(&[&KEY[..], &CHAT].concat(), "/v1/chat/completions");
    assert_eq!(ask().0, 200);
    write(&folder, &manifests(server, "  rules: [{name: other, action: Allow, models: [other]}]"));
    gateway.note("in force");
    let (status, body) = ask();
    assert!(status == 403 && body.contains("not-allowed"), "{status} {body}");
    write(&folder, &manifests(server, "  limits: [{per: consumer, requests: 1, window: lots}]"));
    let told = gateway.note("all.yaml");
    assert!(told.contains("window"), "{told}");
    gateway.note("in force");
    let (status, body) = ask();
    assert!(status == 503 && body.contains("policy-closed"), "{status} {body}");
    write(&folder, &manifests(server, "  limits: [{per: consumer, requests: 2, window: 1d}]"));
    gateway.note("in force");
    assert_eq!((ask().0, ask().0), (200, 200));
    let (status, body) = ask();
    assert!(status == 429 && body.contains("limit-spent"), "{status} {body}");
}

#[test]
fn the_firewall_reads_what_servers_act_on_and_leaves_prose_to_the_guard() {
    let folder = folder(model(), "  waf: {mode: Enforce}");
    let rules = folder.path().join("crs");
    fs::create_dir(&rules).unwrap();
    fs::write(rules.join("own.conf"), RULES).unwrap();
    let gateway = Gateway::start(folder.path(), &["--crs", rules.to_str().unwrap()]);
    let ask = |path: &str, body: &str| gateway.curl(&[&KEY[..], &["--json", body]].concat(), path);
    let prose = r#"{"model":"llama","messages":[{"role":"user","content":"why is 1' OR '1'='1 bad, and who reads /etc/passwd?"}]}"#;
    assert_eq!(ask("/v1/chat/completions", prose).0, 200);
    for path in ["/v1/chat/completions?id=1%27%20OR%20%271%27=%271", "/v1/chat/completions?f=/etc/passwd"] {
        let (status, body) = ask(path, prose);
        assert!(status == 403 && body.contains("waf-blocked"), "{path}: {status} {body}");
    }
    let records = [(); 3].map(|()| gateway.next("request"));
    assert_eq!(records[1]["waf"]["rules"], json!([1]), "{:#}", records[1]);
    assert_eq!(records[2]["waf"]["rules"], json!([2]), "{:#}", records[2]);
}

#[test]
fn a_policy_that_cannot_be_enforced_closes_its_gateway_and_says_why() {
    let folder = folder(model(), "  waf: {mode: Enforce}");
    let mut gateway = Gateway::start(folder.path(), &[]);
    let (status, body) = gateway.curl(&[&KEY[..], &CHAT].concat(), "/v1/chat/completions");
    assert!(status == 503 && body.contains("policy-closed") && body.contains("--crs"), "{status} {body}");
    kill(Pid::from_raw(i32::try_from(gateway.child.id()).unwrap()), Signal::SIGTERM).unwrap();
    assert!(gateway.child.wait().unwrap().success());
}

/// Kinds of the Gateway API as loose as can be: how they are read is what is tried.
fn definitions() -> String {
    let kinds = [
        ("GatewayClass", "gatewayclasses", "Cluster"),
        ("Gateway", "gateways", "Namespaced"),
        ("HTTPRoute", "httproutes", "Namespaced"),
    ];
    let definition = |(kind, plural, scope): (&str, &str, &str)| {
        let singular = kind.to_lowercase();
        format!(
            "
apiVersion: apiextensions.k8s.io/v1
kind: CustomResourceDefinition
metadata:
  name: {plural}.gateway.networking.k8s.io
  annotations: {{api-approved.kubernetes.io: 'unapproved, for tests'}}
spec:
  group: gateway.networking.k8s.io
  scope: {scope}
  names: {{kind: {kind}, plural: {plural}, singular: {singular}}}
  versions:
  - name: v1
    served: true
    storage: true
    schema: {{openAPIV3Schema: {{type: object, x-kubernetes-preserve-unknown-fields: true}}}}
---"
        )
    };
    kinds.map(definition).concat()
}

fn kubectl(cluster: &apiserver::Cluster, args: &[&str], input: &str) {
    let output = cluster.kubectl(args, input).unwrap();
    assert!(output.status.success(), "{args:?}: {}", String::from_utf8_lossy(&output.stderr));
}

#[test]
fn on_a_cluster_it_goes_by_what_the_api_server_holds_also_while_that_is_gone() {
    let Some(mut cluster) = apiserver::Cluster::start_or_skip() else { return };
    let server = model();
    kubectl(&cluster, &["apply", "-f", "-"], &definitions());
    let own = root().join("deploy/chart/crds/inferencepolicies.json");
    kubectl(&cluster, &["apply", "-f", own.to_str().unwrap()], "");
    let defined = ["wait", "--for=condition=Established", "crd", "--all", "--timeout=30s"];
    kubectl(&cluster, &defined, "");
    kubectl(&cluster, &["create", "namespace", "ai"], "");
    let kubeconfig = cluster.kubeconfig();
    // The API server takes no EndpointSlice that leads to loopback; a pod's address it takes as it is told.
    let slice = manifests(server, "");
    let slice = slice.split("---").find(|document| document.contains("kind: EndpointSlice")).unwrap();
    let pod = "\n{apiVersion: v1, kind: Pod, metadata: {name: model, namespace: ai, labels: {app: model}}, \
               spec: {containers: [{name: c, image: i}]}}\n";
    let ports =
        format!("{{selector: {{app: model}}, ports: [{{port: 8000, targetPort: {}}}]}}", server.port());
    let apply = |more: &str| {
        let text = manifests(server, more).replace(slice, pod).replace("{ports: [{port: 8000}]}", &ports);
        kubectl(&cluster, &["apply", "-f", "-"], &text);
    };
    apply("");
    let address = r#"{"status":{"podIP":"127.0.0.1","podIPs":[{"ip":"127.0.0.1"}]}}"#;
    kubectl(&cluster, &["patch", "-n", "ai", "pod", "model", "--subresource=status", "-p", address], "");
    let gateway = Gateway::run(&["--cluster", "--kubeconfig", kubeconfig.to_str().unwrap()]);
    let ask = || gateway.curl(&[&KEY[..], &CHAT].concat(), "/v1/chat/completions");
    let answered = |wanted: u16| {
        let asked = (0..300).map(|_| {
            std::thread::sleep(Duration::from_millis(100));
            ask().0
        });
        asked.into_iter().find(|status| *status == wanted).unwrap_or_else(|| panic!("never {wanted}"))
    };
    answered(200);
    apply("  rules: [{name: other, action: Allow, models: [other]}]");
    answered(403);
    cluster.kill_part(apiserver::Part::Api).unwrap();
    assert_eq!(ask().0, 403);
    cluster.start_part(apiserver::Part::Api).unwrap();
    kubectl(&cluster, &["delete", "-n", "ai", "inferencepolicy", "models"], "");
    answered(403);
}
