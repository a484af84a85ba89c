//! Requests are judged one by one where a rule says which it allows: over real packets, with the rule of the verdict in the
//! client's own answer and in the records; and where nobody could judge them, nothing passes.

#![expect(clippy::unwrap_used, reason = "helpers of tests; a panic is the failure report")]

use crate::machine::resolver::{HUB, Resolver, ask};
use crate::machine::{Machine, Up, eventually};
use serde_json::Value;
use std::io::{Read, Write};
use std::net::{SocketAddr, TcpStream};
use std::process::{Command, Stdio};
use std::time::Duration;

/// Two rules of two policies for one name: what either allows is allowed. A third allows the name without looking, and does
/// not undo them.
const POLICY: &str = "\
apiVersion: cofferdam.dev/v1alpha1
kind: EgressPolicy
metadata: { name: web, namespace: prod }
spec:
  subject: { podSelector: { matchLabels: { app: web } } }
  egress:
    - action: Allow
      name: models
      to: [{ domains: [hub.example.com] }]
      ports: [{ protocol: TCP, port: 80 }]
      operations: [{ verbs: [download], resources: [acme/*] }]
    - action: Allow
      to: [{ networks: [10.9.2.2/32] }]
      ports: [{ protocol: UDP, port: 53 }]
---
apiVersion: cofferdam.dev/v1alpha1
kind: EgressPolicy
metadata: { name: chat, namespace: prod }
spec:
  subject: { podSelector: { matchLabels: { app: web } } }
  egress:
    - action: Allow
      to: [{ domains: [hub.example.com] }]
      ports: [{ protocol: TCP, port: 80 }]
      models: [small-*]
    - action: Allow
      to: [{ domains: [hub.example.com] }]
";

/// A server at pod `b` that reads each body to its end and says its length.
fn serve(machine: &Machine) {
    let listener = machine.at("b", || std::net::TcpListener::bind("0.0.0.0:80").unwrap());
    std::thread::spawn(move || {
        for stream in listener.incoming() {
            let Ok(stream) = stream else { return };
            std::thread::spawn(move || answer(stream));
        }
    });
}

fn answer(mut stream: TcpStream) {
    loop {
        let (mut head, mut byte) = (Vec::new(), [0]);
        while !head.ends_with(b"\r\n\r\n") {
            if !stream.read(&mut byte).is_ok_and(|length| length == 1) {
                return;
            }
            head.push(byte[0]);
        }
        let text = String::from_utf8(head).unwrap().to_ascii_lowercase();
        let length = text.lines().find_map(|line| line.strip_prefix("content-length: "));
        let length: u64 = length.map_or(0, |length| length.parse().unwrap());
        let taken = std::io::copy(&mut Read::by_ref(&mut stream).take(length), &mut std::io::sink());
        let said = format!("took {}", taken.unwrap_or_default());
        let answer = format!("HTTP/1.1 200 OK\r\nContent-Length: {}\r\n\r\n{said}", said.len());
        if stream.write_all(answer.as_bytes()).is_err() {
            return;
        }
    }
}

fn open(machine: &Machine) -> Option<TcpStream> {
    let stream = machine
        .at("a", || TcpStream::connect_timeout(&SocketAddr::from((HUB, 80)), Duration::from_secs(3)))
        .ok()?;
    stream.set_read_timeout(Some(Duration::from_secs(10))).unwrap();
    Some(stream)
}

/// Status, the word for why it was refused if it was, and the body.
fn request(stream: &mut TcpStream, line: &str, body: &str) -> (u16, String, String) {
    let head = format!(
        "{line} HTTP/1.1\r\nHost: hub.example.com\r\nContent-Type: application/json\r\nContent-Length: {}\r\n\r\n{body}",
        body.len()
    );
    stream.write_all(head.as_bytes()).unwrap();
    let (mut head, mut byte) = (Vec::new(), [0]);
    while !head.ends_with(b"\r\n\r\n") {
        stream.read_exact(&mut byte).unwrap();
        head.push(byte[0]);
    }
    let head = String::from_utf8(head).unwrap();
    let field = |name: &str| {
        let lines = head.lines().filter_map(|line| line.split_once(": "));
        lines.clone().find(|(field, _)| field.eq_ignore_ascii_case(name)).map(|(_, value)| value.to_owned())
    };
    let length = field("content-length").map_or(0, |length| length.parse().unwrap());
    let mut body = vec![0; length];
    stream.read_exact(&mut body).unwrap();
    let status = head[9..12].parse().unwrap();
    (status, field("x-cofferdam-reason").unwrap_or_default(), String::from_utf8(body).unwrap())
}

fn calls(up: &Up<'_>) -> Vec<Value> {
    up.text(&["calls", "--json"]).lines().map(|line| serde_json::from_str(line).unwrap()).collect()
}

#[test]
fn netns_each_request_is_judged_and_says_by_which_rule() {
    let machine = Machine::new("r");
    machine.write("policy.yaml", POLICY);
    let _resolver = Resolver::start(&machine);
    serve(&machine);
    let up = Up::start_with(&machine, &["--dns-resolver", "10.9.2.2", "--dns-hold", "600"]);
    assert_eq!(ask(&machine, "hub.example.com"), Some(0));
    // One connection: what is refused does not end it.
    let mut stream = open(&machine).unwrap();
    let chat = |model: &str| format!(r#"{{"messages": [], "model": "{model}"}}"#);
    let cases = [
        (
            "GET /acme/tiny/resolve/main/weights.safetensors",
            String::new(),
            200,
            "",
            "download",
            "policy.yaml:7",
        ),
        (
            "GET /other/tiny/resolve/main/weights.safetensors",
            String::new(),
            403,
            "resource",
            "download",
            "policy.yaml:7",
        ),
        ("POST /api/models/acme/tiny/commit/main", "{}".to_owned(), 403, "verb", "upload", "policy.yaml"),
        ("POST /v1/chat/completions", chat("small-1"), 200, "", "call", "policy.yaml:22"),
        ("POST /v1/chat/completions", chat("large-1"), 403, "model", "call", "policy.yaml:22"),
        ("GET /something/else", String::new(), 403, "unknown", "unknown", "policy.yaml"),
    ];
    for (line, body, status, _, _, _) in &cases {
        let (got, why, text) = request(&mut stream, line, body);
        assert_eq!(got, *status, "{line}: {text}");
        let expected = if *status == 200 { "" } else { "request-not-allowed" };
        assert_eq!(why, expected, "{line}: {text}");
        let told = if *status == 200 { format!("took {}", body.len()) } else { "policy.yaml".to_owned() };
        assert!(text.contains(&told), "{line}: {text}");
    }
    let calls =
        eventually("a record of each", || Some(calls(&up)).filter(|calls| calls.len() == cases.len()));
    for (call, (line, _, status, lacks, verb, rule)) in calls.iter().zip(&cases) {
        assert_eq!(call["status"], *status, "{line}: {call:#}");
        assert_eq!(call["lacks"].as_str().unwrap_or_default(), *lacks, "{line}: {call:#}");
        assert_eq!(call["operation"]["verb"], *verb, "{line}: {call:#}");
        let text = call["rule"].as_str().or(call["nearest"].as_str()).unwrap();
        assert!(text.contains(rule), "{line}: {call:#}");
        assert_eq!(call["from"]["name"], "web", "{call:#}");
    }
    eventually("the counters", || {
        let gateway = &up.status()["nodes"][0]["gateway"];
        (gateway["requests_allowed"] == 2 && gateway["requests_refused"] == 4).then_some(())
    });
    let status = up.status();
    assert_eq!(status["degraded"], serde_json::json!([]));
    assert_eq!(status["resolver"]["verdict_disagreements"], 0, "{status:#}");
    // What does not speak HTTP does not pass under such a rule.
    let mut stream = open(&machine).unwrap();
    stream.write_all(b"SSH-2.0-x\r\n").unwrap();
    assert!(stream.read(&mut [0; 64]).map_or(true, |length| length == 0));
}

/// Files may be written below one folder.
const TOOLS: &str = "\
apiVersion: cofferdam.dev/v1alpha1
kind: EgressPolicy
metadata: { name: tools, namespace: prod }
spec:
  subject: { podSelector: { matchLabels: { app: web } } }
  egress:
    - action: Allow
      name: tools
      to: [{ domains: [hub.example.com] }]
      ports: [{ protocol: TCP, port: 80 }]
      tools: [write_*, read_*]
      toolConditions:
        - tool: write_*
          when: args.path.startsWith('/tmp/') && server == 'hub.example.com'
    - action: Allow
      to: [{ networks: [10.9.2.2/32] }]
      ports: [{ protocol: UDP, port: 53 }]
";

#[test]
fn netns_tools_are_called_with_what_their_condition_allows_and_nothing_else() {
    let machine = Machine::new("q");
    machine.write("policy.yaml", TOOLS);
    let _resolver = Resolver::start(&machine);
    serve(&machine);
    let up = Up::start_with(&machine, &["--dns-resolver", "10.9.2.2", "--dns-hold", "600"]);
    assert_eq!(ask(&machine, "hub.example.com"), Some(0));
    let mut stream = open(&machine).unwrap();
    let call = |tool: &str, arguments: &str| {
        let params = format!(r#"{{"name":"{tool}","arguments":{arguments}}}"#);
        format!(r#"{{"jsonrpc":"2.0","id":1,"method":"tools/call","params":{params}}}"#)
    };
    let cases = [
        (call("write_file", r#"{"path":"/tmp/a","text":"x"}"#), ""),
        (call("write_file", r#"{"path":"/etc/passwd"}"#), "tool-arguments"),
        (call("write_file", r#"{"path":"/tmp/a","Path":"/etc/passwd"}"#), "tool-arguments"),
        (call("write_file", "{}"), "tool-arguments"),
        (call("read_file", r#"{"path":"/etc/passwd"}"#), ""),
        (call("exec", r#"{"path":"/tmp/a"}"#), "tool"),
    ];
    for (body, lacks) in &cases {
        let (_, why, text) = request(&mut stream, "POST /mcp", body);
        assert_eq!(text.contains("took"), lacks.is_empty(), "{body}: {text}");
        let expected = if lacks.is_empty() { "" } else { "request-not-allowed" };
        assert_eq!(why, expected, "{body}: {text}");
        let names_condition = text.contains("the condition on write_* is not met: args.path.startsWith");
        assert_eq!(names_condition, *lacks == "tool-arguments", "{body}: {text}");
    }
    let calls =
        eventually("a record of each", || Some(calls(&up)).filter(|calls| calls.len() == cases.len()));
    for (call, (body, lacks)) in calls.iter().zip(&cases) {
        assert_eq!(call["lacks"].as_str().unwrap_or_default(), *lacks, "{body}: {call:#}");
        assert_eq!(call["unmet"].is_string(), *lacks == "tool-arguments", "{body}: {call:#}");
        assert!(!call.to_string().contains("passwd"), "{call:#}");
    }
    assert!(up.text(&["calls"]).contains("the condition on write_* is not met"));
    assert_eq!(up.status()["resolver"]["verdict_disagreements"], 0);
}

/// Three requests an hour, and a mark that must not leave.
const BUDGET: &str = "\
apiVersion: cofferdam.dev/v1alpha1
kind: EgressPolicy
metadata: { name: chat, namespace: prod }
spec:
  subject: { podSelector: { matchLabels: { app: web } } }
  egress:
    - action: Allow
      name: chat
      to: [{ domains: [hub.example.com] }]
      ports: [{ protocol: TCP, port: 80 }]
      models: [small-*]
      leaks: { canaries: { values: [mark-of-the-hold-4711], action: Block } }
      budgets: { requests: { day: 3 }, money: { day: '1.00' } }
    - action: Allow
      to: [{ networks: [10.9.2.2/32] }]
      ports: [{ protocol: UDP, port: 53 }]
";

const PRICES: &str = "\
apiVersion: cofferdam.dev/v1alpha1
kind: PriceList
currency: EUR
prices:
  - { provider: openai-compatible, model: small-1, input: '1', output: '2', source: this test, date: 2026-01-31 }
";

#[test]
fn netns_marks_do_not_leave_and_budgets_outlive_gateway_and_agent() {
    let machine = Machine::new("t");
    machine.write("policy.yaml", BUDGET);
    let _resolver = Resolver::start(&machine);
    serve(&machine);
    let folder = tempfile::tempdir().unwrap();
    let prices = folder.path().join("prices.yaml");
    std::fs::write(&prices, PRICES).unwrap();
    let prices = prices.to_str().unwrap();
    let options = ["--dns-resolver", "10.9.2.2", "--dns-hold", "600", "--prices", prices];
    let up = Up::start_with(&machine, &options);
    assert_eq!(ask(&machine, "hub.example.com"), Some(0));
    let call_of = |model: &str, text: &str| {
        let body = format!(r#"{{"messages": [{{"content": "{text}"}}], "model": "{model}"}}"#);
        let (status, why, _) = request(&mut open(&machine).unwrap(), "POST /v1/chat/completions", &body);
        (status, why)
    };
    let call = |text: &str| call_of("small-1", text);
    // As it is, and as base64.
    for text in ["it says mark-of-the-hold-4711.", "bWFyay1vZi10aGUtaG9sZC00NzEx"] {
        assert_eq!(call(text), (403, "leak-blocked".to_owned()), "{text}");
    }
    assert_eq!(call_of("small-2", "hello"), (403, "no-price".to_owned()));
    let mut answers = Vec::new();
    while answers.len() < 10 && !matches!(answers.last(), Some((429, _))) {
        answers.push(call("hello"));
    }
    let (spent, allowed) = answers.split_last().unwrap();
    assert_eq!(*spent, (429, "quota-requests".to_owned()));
    assert!(
        (1..=3).contains(&allowed.len()) && allowed.iter().all(|(status, _)| *status == 200),
        "{answers:?}"
    );
    let kinds = |up: &Up<'_>| -> Vec<String> {
        let findings = up.text(&["findings", "--json"]);
        let kind = |line: &str| {
            serde_json::from_str::<Value>(line).unwrap()["detector"].as_str().unwrap().to_owned()
        };
        findings.lines().map(kind).collect()
    };
    let found = eventually("the findings", || Some(kinds(&up)).filter(|kinds| kinds.len() == 3));
    // Two ways to wrap one key are one finding.
    assert_eq!(found, ["leak-blocked", "no-price", "quota-requests"]);
    // What was counted is looked at every two seconds.
    let gateway = || up.status()["nodes"][0]["gateway"].clone();
    assert_eq!(gateway()["starts"], 1);
    assert_eq!(gateway()["currency"], "EUR");
    // The server says nothing of tokens: what was set aside counts, 4096 for each answer.
    let used =
        eventually("what is used", || gateway()["used"][0]["money_day"].as_u64().filter(|used| *used > 0));
    let calls = allowed.len() as u64;
    assert!((calls * 8_192_000..=calls * 8_300_000).contains(&used), "{used}");
    let cost = |line: &str| serde_json::from_str::<Value>(line).unwrap()["cost"]["nanos"].as_u64();
    assert_eq!(up.text(&["calls", "--json"]).lines().filter_map(cost).sum::<u64>(), used);
    eventually("the file that keeps it", || {
        let text = std::fs::read_to_string(machine.socket().with_extension("quotas")).ok()?;
        text.contains("\"requests_day\":3").then_some(())
    });
    up.terminate();
    let _up = Up::start_with(&machine, &options);
    ask(&machine, "hub.example.com");
    assert_eq!(call("hello"), (429, "quota-requests".to_owned()));
}

/// A mark goes on as a marker, and what is asked is kept.
const MASKED: &str = "\
apiVersion: cofferdam.dev/v1alpha1
kind: EgressPolicy
metadata: { name: chat, namespace: prod }
spec:
  subject: { podSelector: { matchLabels: { app: web } } }
  egress:
    - action: Allow
      name: chat
      to: [{ domains: [hub.example.com] }]
      ports: [{ protocol: TCP, port: 80 }]
      models: [small-*]
      leaks: { canaries: { values: [mark-of-the-hold-4711], action: Mask } }
      capture: { requests: true }
    - action: Allow
      to: [{ networks: [10.9.2.2/32] }]
      ports: [{ protocol: UDP, port: 53 }]
";

#[test]
fn netns_marks_are_masked_and_what_was_asked_is_kept_without_them() {
    let machine = Machine::new("m");
    machine.write("policy.yaml", MASKED);
    let _resolver = Resolver::start(&machine);
    serve(&machine);
    let up = Up::start_with(&machine, &["--dns-resolver", "10.9.2.2", "--dns-hold", "600"]);
    assert_eq!(ask(&machine, "hub.example.com"), Some(0));
    let body =
        |text: &str| format!(r#"{{"messages": [{{"content": "\u001b {text}"}}], "model": "small-1"}}"#);
    let call = |body: &str| request(&mut open(&machine).unwrap(), "POST /v1/chat/completions", body);
    let masked = body("it says [canary removed].");
    let (status, _, text) = call(&body("it says mark-of-the-hold-4711."));
    assert_eq!((status, text), (200, format!("took {}", masked.len())));
    let (status, why, _) = call(&body("bWFyay1vZi10aGUtaG9sZC00NzEx"));
    assert_eq!((status, why.as_str()), (403, "leak-unmasked"));
    let kept =
        eventually("what was kept", || Some(up.text(&["calls", "--content"])).filter(|it| !it.is_empty()));
    assert!(kept.contains(&format!("\n> {masked}\n")), "{kept}");
    let both = eventually("both records", || Some(calls(&up)).filter(|calls| calls.len() == 2));
    assert_eq!(
        (&both[0]["masked"][0]["rule"], &both[0]["masked"][0]["count"]),
        (&"canary".into(), &1.into())
    );
    let spans = up.text(&["calls", "--otel"]);
    let span: Value = serde_json::from_str(spans.lines().next().unwrap()).unwrap();
    assert_eq!(span["attributes"]["gen_ai.request.model"], "small-1", "{span:#}");
    assert_eq!(span["attributes"]["k8s.pod.name"], "web", "{span:#}");
    let findings = eventually("the findings", || {
        let findings = up.text(&["findings", "--json"]);
        (findings.contains("\"leak-masked\"") && findings.contains("\"leak-blocked\"")).then_some(findings)
    });
    for text in
        [kept, spans, findings, up.text(&["calls", "--json"]), up.text(&["calls", "--content", "--json"])]
    {
        assert!(!text.contains("mark-of-the-hold"), "{text}");
    }
}

#[test]
fn netns_without_a_gateway_what_looks_at_requests_is_closed_and_said_so() {
    let machine = Machine::new("s");
    machine.write("policy.yaml", POLICY);
    let _resolver = Resolver::start(&machine);
    serve(&machine);
    let up = Up::start_with(&machine, &["--no-gateway", "--dns-resolver", "10.9.2.2", "--dns-hold", "600"]);
    ask(&machine, "hub.example.com");
    assert!(open(&machine).is_none());
    let status = up.status();
    let degraded = status["degraded"].to_string();
    assert!(degraded.contains("prod/web") && degraded.contains("--no-gateway"), "{degraded}");
}

#[test]
fn netns_to_whom_tls_is_never_opened_nothing_passes_where_requests_are_judged() {
    let machine = Machine::new("w");
    machine.write("policy.yaml", &POLICY.replace("port: 80", "port: 443"));
    let _resolver = Resolver::start(&machine);
    let options = ["--never-open", "**.example.com", "--dns-resolver", "10.9.2.2", "--dns-hold", "600"];
    let up = Up::start_with(&machine, &options);
    assert_eq!(ask(&machine, "hub.example.com"), Some(0));
    let client = machine.at("a", || {
        let to = SocketAddr::from((HUB, 443)).to_string();
        let mut client = Command::new("openssl");
        client.args(["s_client", "-connect", &to, "-servername", "hub.example.com"]);
        client.stdin(Stdio::null()).output().unwrap()
    });
    assert!(!client.status.success());
    let told = String::from_utf8(client.stderr).unwrap();
    assert!(told.contains("access denied"), "{told}");
    let record = eventually("its record", || {
        let lines = up.text(&["connections", "--json"]);
        lines.lines().map(|line| serde_json::from_str::<Value>(line).unwrap()).next()
    });
    assert_eq!((&record["reason"], &record["verdict"]), (&"never-opened".into(), &"deny".into()), "{record}");
}
