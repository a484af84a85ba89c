//! `cofferdam ingress-gateway` over a folder, with unmodified clients: who has a key may ask, nobody else and nothing else; an
//! edit holds at once; what is under way comes to its end.

#![allow(
    clippy::unwrap_used,
    clippy::indexing_slicing,
    clippy::panic,
    clippy::print_stderr,
    reason = "a test; a panic is the failure report"
)]

use crate::clients::python::{PYTHON, root};
use crate::ingress::gateway::Gateway;
use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;
use serde_json::{Value, json};
use std::fs;
use std::io::{BufRead, BufReader, Read, Write};
use std::net::{SocketAddr, TcpListener, TcpStream};
use std::process::Command;
use std::time::Duration;

/// SHA-256 of `sk-team-a`.
const DIGEST: &str = "8879f6a4ae35c420a15d35fed3b8dd07577207803d404f6d4cc4fa829dafa910";
/// Blocks what a rule set would: SQL in a query, and files of the system anywhere in the line.
const RULES: &str = r#"
SecRuleEngine On
SecRequestBodyAccess On
SecRule ARGS_GET "@detectSQLi" "id:1,phase:2,deny,log,msg:'SQL injection'"
SecRule REQUEST_URI "@contains /etc/passwd" "id:2,phase:1,deny,log,msg:'a file of the system'"
"#;

pub(crate) fn manifests(server: SocketAddr, more: &str) -> String {
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
pub(crate) fn model() -> SocketAddr {
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

pub(crate) fn folder(server: SocketAddr, more: &str) -> tempfile::TempDir {
    let folder = tempfile::tempdir().unwrap();
    fs::create_dir(folder.path().join("manifests")).unwrap();
    write(&folder, &manifests(server, more));
    folder
}

pub(crate) fn write(folder: &tempfile::TempDir, text: &str) {
    fs::write(folder.path().join("manifests/all.yaml"), text).unwrap();
}

pub(crate) const KEY: [&str; 2] = ["-H", "Authorization: Bearer sk-team-a"];
pub(crate) const CHAT: [&str; 2] =
    ["--json", r#"{"model":"llama","messages":[{"role":"user","content":"hello"}]}"#];

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

/// Kinds of the Gateway API: those of a file that `GATEWAY_API_DEFINITIONS` names, as they are released; without it as
/// loose as can be, for how they are read and written is what is tried.
fn definitions() -> String {
    if let Ok(file) = std::env::var("GATEWAY_API_DEFINITIONS") {
        return fs::read_to_string(file).unwrap();
    }
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
    subresources: {{status: {{}}}}
    schema: {{openAPIV3Schema: {{type: object, x-kubernetes-preserve-unknown-fields: true}}}}
---"
        )
    };
    kinds.map(definition).concat()
}

fn kubectl(cluster: &apiserver::Cluster, args: &[&str], input: &str) -> String {
    let output = cluster.kubectl(args, input).unwrap();
    assert!(output.status.success(), "{args:?}: {}", String::from_utf8_lossy(&output.stderr));
    String::from_utf8(output.stdout).unwrap()
}

/// Everything that is to be defined before objects can be there.
fn define(cluster: &apiserver::Cluster) {
    kubectl(cluster, &["apply", "--server-side", "-f", "-"], &definitions());
    let own = root().join("deploy/chart/crds/inferencepolicies.json");
    kubectl(cluster, &["apply", "-f", own.to_str().unwrap()], "");
    kubectl(cluster, &["wait", "--for=condition=Established", "crd", "--all", "--timeout=30s"], "");
}

/// The same without the EndpointSlice: the API server takes none that leads to loopback. A pod's address it takes as it is told.
fn of_cluster(server: SocketAddr, more: &str) -> String {
    let text = manifests(server, more);
    let slice = text.split("---").find(|document| document.contains("kind: EndpointSlice")).unwrap();
    let pod = "\n{apiVersion: v1, kind: Pod, metadata: {name: model, namespace: ai, labels: {app: model}}, \
               spec: {containers: [{name: c, image: i}]}}\n";
    let ports =
        format!("{{selector: {{app: model}}, ports: [{{port: 8000, targetPort: {}}}]}}", server.port());
    text.replace(slice, pod).replace("{ports: [{port: 8000}]}", &ports)
}

#[test]
fn on_a_cluster_it_goes_by_what_the_api_server_holds_also_while_that_is_gone() {
    let Some(mut cluster) = apiserver::Cluster::start_or_skip() else { return };
    let server = model();
    define(&cluster);
    kubectl(&cluster, &["create", "namespace", "ai"], "");
    let kubeconfig = cluster.kubeconfig();
    let apply = |more: &str| {
        kubectl(&cluster, &["apply", "-f", "-"], &of_cluster(server, more));
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

/// What the API server holds of an object's status, once it is so.
fn status(cluster: &apiserver::Cluster, object: &[&str], is_so: impl Fn(&Value) -> bool) -> Value {
    let args = [&["get", "-n", "ai", "-o", "json"], object].concat();
    let mut last = Value::Null;
    for _ in 0..300 {
        last = serde_json::from_str(&kubectl(cluster, &args, "")).unwrap();
        if is_so(&last["status"]) {
            return last;
        }
        std::thread::sleep(Duration::from_millis(100));
    }
    panic!("{object:?} never came to it: {last:#}");
}

/// Adds what another controller says of the route, beside what is said of it already, as controllers do.
fn say_of_route(cluster: &apiserver::Cluster, theirs: &Value) {
    for _ in 0..50 {
        let route = kubectl(cluster, &["get", "-n", "ai", "-o", "json", "httproute", "models"], "");
        let route: Value = serde_json::from_str(&route).unwrap();
        let mut parents = route["status"]["parents"].as_array().cloned().unwrap_or_default();
        parents.push(theirs.clone());
        let version = &route["metadata"]["resourceVersion"];
        let patch =
            json!({"metadata": {"resourceVersion": version}, "status": {"parents": parents}}).to_string();
        let patching = [
            "patch",
            "-n",
            "ai",
            "httproute",
            "models",
            "--type=merge",
            "--subresource=status",
            "-p",
            &patch,
        ];
        if cluster.kubectl(patching, "").unwrap().status.success() {
            return;
        }
    }
    panic!("the route never stayed as it was for long enough");
}

/// Whether a condition is so, for this reason.
fn has(of: &Value, kind: &str, status: &str, reason: &str) -> bool {
    let conditions = of["conditions"].as_array().map(Vec::as_slice).unwrap_or_default();
    conditions.iter().any(|it| it["type"] == kind && it["status"] == status && it["reason"] == reason)
}

#[test]
fn on_a_cluster_status_says_what_is_in_force_and_one_of_several_writes_it() {
    let Some(cluster) = apiserver::Cluster::start_or_skip() else { return };
    let kubeconfig = cluster.kubeconfig();
    let args = [
        "--cluster",
        "--kubeconfig",
        kubeconfig.to_str().unwrap(),
        "--namespace",
        "ai",
        "--service",
        "ai/model",
    ];
    kubectl(&cluster, &["create", "namespace", "ai"], "");
    let first = Gateway::spawn("first", &args);
    let told = first.note("the cluster has no gateways of gateway.networking.k8s.io/v1");
    assert!(told.contains("install the definitions of the Gateway API"), "{told}");
    define(&cluster);
    kubectl(&cluster, &["apply", "-f", "-"], &of_cluster(model(), ""));
    say_of_route(
        &cluster,
        &json!({
            "controllerName": "example.org/other", "parentRef": {"name": "theirs"},
            "conditions": [{"type": "Accepted", "status": "True", "reason": "Accepted", "message": "",
                "lastTransitionTime": "2026-01-01T00:00:00Z"}],
        }),
    );
    first.note("in force; listens at");

    let class =
        status(&cluster, &["gatewayclass", "cofferdam"], |it| has(it, "Accepted", "True", "Accepted"));
    assert_eq!(class["status"]["conditions"][0]["observedGeneration"], class["metadata"]["generation"]);
    // Routes and Services are watched apart from Gateways and may come after them.
    let whole = |it: &Value| {
        has(it, "Programmed", "True", "Programmed")
            && it["listeners"][0]["attachedRoutes"] == 1
            && !it["addresses"][0].is_null()
    };
    let gateway = status(&cluster, &["gateway", "edge"], whole);
    let listener = &gateway["status"]["listeners"][0];
    assert!(has(listener, "Programmed", "True", "Programmed"), "{gateway:#}");
    assert_eq!(listener["name"], "web");
    let service: Value =
        serde_json::from_str(&kubectl(&cluster, &["get", "-n", "ai", "-o", "json", "service", "model"], ""))
            .unwrap();
    assert_eq!(gateway["status"]["addresses"][0]["value"], service["spec"]["clusterIP"], "{gateway:#}");
    let of_both = |it: &Value| it["parents"].as_array().is_some_and(|parents| parents.len() == 2);
    let route = status(&cluster, &["httproute", "models"], of_both);
    let own = route["status"]["parents"].as_array().unwrap();
    let own = own.iter().find(|it| it["controllerName"] == "cofferdam.dev/ingress-gateway").unwrap();
    assert!(
        has(own, "Accepted", "True", "Accepted") && has(own, "ResolvedRefs", "True", "ResolvedRefs"),
        "{route:#}"
    );
    assert_eq!(own["parentRef"]["name"], "edge");
    let policy = ["inferencepolicy", "models"];
    status(&cluster, &policy, |it| has(it, "Programmed", "True", "Programmed"));

    // Another takes over and finds nothing to write.
    let second = Gateway::spawn("second", &args);
    second.note("first writes status");
    drop(first);
    second.note("this one writes status");
    kubectl(&cluster, &["apply", "-f", "-"], &of_cluster(model(), "  waf: {mode: Enforce}"));
    let said = status(&cluster, &policy, |it| has(it, "Programmed", "False", "NotEnforceable"));
    assert!(said["status"].to_string().contains("--crs"), "{said:#}");
    let after = status(&cluster, &["gateway", "edge"], |_| true);
    assert_eq!(after["metadata"]["resourceVersion"], gateway["metadata"]["resourceVersion"], "{after:#}");

    // A route that is ours no more keeps what others say, and nothing of us.
    let elsewhere = r#"{"spec":{"parentRefs":[{"name":"theirs"}]}}"#;
    kubectl(&cluster, &["patch", "-n", "ai", "httproute", "models", "--type=merge", "-p", elsewhere], "");
    let route = status(&cluster, &["httproute", "models"], |it| !of_both(it));
    assert_eq!(route["status"]["parents"][0]["controllerName"], "example.org/other", "{route:#}");
    let unattached = |it: &Value| it["listeners"][0]["attachedRoutes"] == 0;
    status(&cluster, &["gateway", "edge"], unattached);
}
