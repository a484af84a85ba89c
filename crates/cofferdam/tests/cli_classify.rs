//! `cofferdam classify` on the command line: forms of input, what is printed, exit codes.

#![expect(clippy::expect_used, clippy::panic, reason = "a test's helpers fail the test")]

use serde_json::Value;
use std::fs;
use std::process::Command;

/// Exit code, printed objects, and what was said of what could not be read.
fn classify(name: &str, contents: &str) -> (Option<i32>, Vec<Value>, String) {
    let folder = tempfile::tempdir().expect("a folder");
    let file = folder.path().join(name);
    fs::write(&file, contents).expect("written");
    let said =
        Command::new(env!("CARGO_BIN_EXE_cofferdam")).arg("classify").arg(&file).output().expect("it runs");
    let out = String::from_utf8(said.stdout).expect("UTF-8");
    let read = |line: &str| serde_json::from_str(line).unwrap_or_else(|error| panic!("{error}: {line}"));
    (said.status.code(), out.lines().map(read).collect(), String::from_utf8_lossy(&said.stderr).into_owned())
}

fn field<'a>(object: &'a Value, name: &str) -> &'a str {
    object.get(name).and_then(Value::as_str).unwrap_or("-")
}

fn short(object: &Value) -> String {
    let parts = ["provider", "api", "verb", "resource", "model"].map(|name| field(object, name));
    parts.join(" ")
}

#[test]
fn each_line_has_its_object_in_order() {
    let lines = [
        r#"{"method":"POST","url":"https://api.openai.com/v1/chat/completions","headers":{"Authorization":"Bearer abc"},"body":{"stream":true,"model":"gpt-4o"}}"#,
        r#"{"method":"POST","url":"https://api.openai.com/v1/chat/completions","body":"{\"model\":\"a\",\"model\":\"b\"}"}"#,
        r#"{"method":"POST","url":"https://api.openai.com/v1/embeddings","body_base64":"eyJtb2RlbCI6ImUifQ=="}"#,
        "",
        r#"{"method":"GET","url":"https://huggingface.co/o/m/resolve/main/x","headers":[["accept","*/*"],{"name":"x","value":"y"}]}"#,
        r#"{"method":"GET","url":"https://ghcr.io/token?scope=repository:o/i:pull","headers":{"accept":["a","b"]}}"#,
        r#"{"method":"POST","url":"https://api.openai.com/v1/chat/completions","headers":{"content-encoding":"gzip"},"body_base64":"H4sI"}"#,
        r#"{"method":"POST","url":"https://api.openai.com/v1/files","headers":{"content-encoding":"gzip"},"body_base64":"H4sI"}"#,
        r#"{"method":"POST","url":"https://api.openai.com/v1/chat/completions","headers":{"content-encoding":"gzip"},"body_base64":"H4sIAAAAAAACA6tWys1PSc1RslKqUqoFAG7Z07MNAAAA"}"#,
        r#"{"method":"POST","url":"https://t.example/mcp","body":{"jsonrpc":"2.0","method":"tools/call","params":{"name":"t"}}}"#,
    ];
    let (code, objects, said) = classify("requests.jsonl", &lines.join("\n"));
    assert_eq!((code, said.as_str()), (Some(0), ""));
    let found: Vec<_> = objects.iter().map(short).collect();
    let expected = [
        "openai chat call - gpt-4o",
        "openai unknown unknown - -",
        "openai embeddings call - e",
        "huggingface resolve download o/m -",
        "ghcr token authorize o/i -",
        "openai unknown unknown - -",
        "openai files upload - -",
        "openai chat call - z",
        "mcp tools/call call - -",
    ];
    assert_eq!(found, expected);
    let chat = &objects[0];
    assert_eq!(chat["stream"], true);
    assert!(chat["resource"].is_null() && field(chat, "reason").contains("host"), "{chat}");
    let key = "sha256:ba7816bf8f01cfea414140de5dae2223b00361a396177a9cb410ff61f20015ad";
    assert_eq!(chat["credentials"][0], key);
    assert!(objects[1].get("credentials").is_none() && field(&objects[1], "reason").contains("twice"));
    assert_eq!(objects[4]["intent"], "download");
    assert!(field(&objects[5], "reason").contains("content coding"));
    assert_eq!(objects[8]["tools"][0], "t");
}

#[test]
fn what_cannot_be_read_stands_in_its_place_and_is_told_of() {
    let lines = "{\"method\":\"GET\",\"url\":\"https://pypi.org/simple/x/\"}\nnot json\n{\"url\":\"https://a/\"}\n\
        {\"method\":\"GET\",\"url\":\"/relative\"}\n{\"method\":\"GET\",\"url\":\"https://a/\",\"headers\":7}\n";
    let (code, objects, said) = classify("bad.jsonl", lines);
    assert_eq!(code, Some(2));
    let found: Vec<_> = objects.iter().map(|object| field(object, "verb")).collect();
    assert_eq!(found, ["meta", "unknown", "unknown", "unknown", "unknown"]);
    for place in ["bad.jsonl:2: ", "bad.jsonl:3: ", "bad.jsonl:4: ", "bad.jsonl:5: ", "4 of 5 requests"] {
        assert!(said.contains(place), "{place} in {said}");
    }
}

#[test]
fn a_har_file_is_read_with_its_bodies() {
    let har = r#"{"log": {"version": "1.2", "entries": [
        {"request": {"method": "POST", "url": "https://api.anthropic.com/v1/messages#x",
            "headers": [{"name": ":authority", "value": "API.anthropic.com:443"}, {"name": "X-Api-Key", "value": "abc"}],
            "postData": {"mimeType": "application/json", "text": "{\"model\": \"c\"}"}}},
        {"request": {"method": "POST", "url": "https://api.openai.com/v1/embeddings", "headers": [],
            "postData": {"text": "eyJtb2RlbCI6ImUifQ==", "encoding": "base64"}}},
        {"request": {"method": "POST", "url": "https://api.openai.com/v1/audio/transcriptions",
            "headers": [{"name": "Content-Type", "value": "multipart/form-data; boundary=B"}],
            "postData": {"params": [{"name": "file", "fileName": "a.wav", "value": "x"}, {"name": "model", "value": "w"}]}}},
        {"request": {"method": "POST", "url": "https://agent.example/", "headers": null,
            "postData": {"mimeType": "application/json; charset=utf-8",
                "text": "{\"jsonrpc\": \"2.0\", \"id\": 1, \"method\": \"tools/list\"}"}}},
        {"request": {"method": "POST", "url": "https://api.openai.com/v1/embeddings",
            "headers": [{"name": "content-encoding", "value": "gzip"}], "postData": {"text": "{\"model\": \"e\"}"}}},
        {"request": {"method": "GET", "url": "https://huggingface.co/o/m/resolve/main/x", "headers": [],
            "postData": {"text": "and something with it"}}},
        {"response": {}}
    ]}}"#;
    let (code, objects, said) = classify("session.har", har);
    assert_eq!(code, Some(2));
    let found: Vec<_> = objects.iter().map(short).collect();
    let expected = [
        "anthropic messages call - c",
        "openai embeddings call - e",
        "openai audio call - w",
        "mcp tools/list meta - -",
        "openai embeddings call - e",
        "huggingface unknown unknown - -",
        "- unknown unknown - -",
    ];
    assert_eq!(found, expected);
    assert!(said.contains("session.har:entry 7: "), "{said}");
}

#[test]
fn a_line_is_read_as_it_was_written() {
    let lines = [
        // Fields that are there twice are not lost.
        r#"{"method":"POST","url":"https://api.openai.com/v1/responses","body":{"model":"a","n":[1,-2,0.5,null,"\u00e9"],"model":"b"}}"#,
        r#"{"method":"POST","url":"https://api.openai.com/v1/responses","body":{"id":123456789012345678901234567890,"model":"a"}}"#,
        r#"{"method":"POST","url":"/v1/responses","headers":{"Host":"api.openai.com"},"body":{"model":"a"}}"#,
        r#"{"method":"POST","url":"https://api.openai.com/v1/responses","headers":{"host":"evil.example"},"body":{"model":"a"}}"#,
        r#"{"method":"POST","url":"https://api.openai.com/v1/responses","headers":null,"body":{"model":"a"},"body_base64":null}"#,
        r#"{"method":"POST","url":"https://agent.example/","body":{"jsonrpc":"2.0","id":1,"method":"message/send","params":{}}}"#,
        r#"{"method":"GET","url":"https://huggingface.co/o/m/resolve/main/x","body":"and something with it"}"#,
        r#"{"method":"GET","url":"https://huggingface.co/o/m/resolve/main/x","headers":{"content-length":"0"}}"#,
        r#"{"method":"POST","url":"https://upload.pypi.org/legacy/","headers":{"authorization":"Basic ..."},"body":"x"}"#,
    ];
    let (code, objects, said) = classify("requests.jsonl", &lines.join("\n"));
    assert_eq!((code, said.as_str()), (Some(0), ""));
    let found: Vec<_> = objects.iter().map(short).collect();
    let expected = [
        "openai unknown unknown - -",
        "openai responses call - a",
        "openai responses call - a",
        "- unknown unknown - -",
        "openai responses call - a",
        "a2a message/send call - -",
        "huggingface unknown unknown - -",
        "huggingface resolve download o/m -",
        "pypi publish upload - -",
    ];
    assert_eq!(found, expected);
}

#[test]
fn a_file_that_is_not_there_is_an_error_and_help_has_examples() {
    let run = |arguments: &[&str]| {
        Command::new(env!("CARGO_BIN_EXE_cofferdam"))
            .arg("classify")
            .args(arguments)
            .output()
            .expect("it runs")
    };
    assert_eq!(run(&["/nowhere/x.har"]).status.code(), Some(2));
    let help = String::from_utf8(run(&["--help"]).stdout).expect("UTF-8");
    assert!(help.contains("Examples:") && help.contains("cofferdam classify session.har"), "{help}");
}

const MANIFESTS: &str = "
apiVersion: v1
kind: Pod
metadata: {name: trainer, namespace: train, labels: {app: trainer}}
spec: {containers: [{name: a, image: a}]}
status: {podIP: 10.1.0.5}
---
apiVersion: cofferdam.dev/v1alpha1
kind: EgressPolicy
metadata: {name: hub, namespace: train}
spec:
  egress:
    - name: acme
      action: Allow
      to: [{domains: [huggingface.co]}]
      ports: [{port: 443}]
      operations: [{verbs: [download], resources: [acme/*]}]
    - name: everything
      action: Allow
      to: [{domains: [open.example]}]
  dns: {fromRules: true}
";

#[test]
fn with_manifests_each_request_has_its_verdict_and_rule() {
    let folder = tempfile::tempdir().expect("a folder");
    let (requests, manifests) = (folder.path().join("requests.jsonl"), folder.path().join("policy.yaml"));
    let cases = [
        ("GET", "https://huggingface.co/acme/m/resolve/main/x", "allow", "request-allowed", "\"acme\"", "-"),
        (
            "GET",
            "https://huggingface.co/evil/m/resolve/main/x",
            "deny",
            "request-not-allowed",
            "\"acme\"",
            "resource",
        ),
        (
            "POST",
            "https://huggingface.co/api/repos/create",
            "deny",
            "request-not-allowed",
            "\"acme\"",
            "verb",
        ),
        ("GET", "http://huggingface.co/acme/m/resolve/main/x", "deny", "isolated", "spec.subject", "-"),
        ("POST", "https://open.example/whatever", "allow", "egress-policy-allow", "\"everything\"", "-"),
        ("GET", "https://evil.example/", "deny", "dns-name-deny", "spec.dns.fromRules", "-"),
        ("GET", "https://192.0.2.7/", "deny", "isolated", "spec.subject", "-"),
    ];
    let lines = cases.map(|(method, url, ..)| format!(r#"{{"method": "{method}", "url": "{url}"}}"#));
    fs::write(&requests, lines.join("\n")).expect("written");
    fs::write(&manifests, MANIFESTS).expect("written");
    let run = |from: &[&str]| {
        let mut command = Command::new(env!("CARGO_BIN_EXE_cofferdam"));
        command.arg("classify").arg(&requests).arg("-f").arg(&manifests).args(from).output().expect("it runs")
    };
    let said = run(&["--from", "pod:train/trainer"]);
    let out = String::from_utf8(said.stdout).expect("UTF-8");
    let objects: Vec<Value> = out
        .lines()
        .map(|line| serde_json::from_str(line).unwrap_or_else(|error| panic!("{error}: {line}")))
        .collect();
    assert_eq!((said.status.code(), objects.len()), (Some(0), cases.len()), "{out}");
    for ((method, url, verdict, reason, rule, lacks), object) in cases.iter().zip(&objects) {
        let found = ["verdict", "verdictReason", "lacks"].map(|name| field(object, name));
        assert_eq!(found, [*verdict, *reason, *lacks], "{method} {url}: {object}");
        assert!(field(object, "rule").contains(rule), "{method} {url}: {object}");
    }
    for (from, told) in [(&["--from", "train/nobody"][..], "there is no pod"), (&[][..], "--from")] {
        let said = run(from);
        let why = String::from_utf8_lossy(&said.stderr).into_owned();
        assert!(said.status.code() == Some(2) && why.contains(told), "{why}");
    }
}

#[test]
fn arguments_of_tools_are_held_to_their_conditions_and_not_shown() {
    let manifests = "\
apiVersion: v1
kind: Pod
metadata: { name: agent, namespace: agents, labels: { app: agent } }
status: { podIP: 10.0.0.7 }
---
apiVersion: cofferdam.dev/v1alpha1
kind: EgressPolicy
metadata: { name: agent, namespace: agents }
spec:
  egress:
    - action: Allow
      to: [{ domains: [tools.example.com] }]
      toolConditions: [{ tool: 'write_*', when: 'args.path.startsWith(\"/tmp/\")' }]
  dns: { fromRules: true }
";
    let folder = tempfile::tempdir().expect("a folder");
    let (requests, file) = (folder.path().join("requests.jsonl"), folder.path().join("agent.yaml"));
    let call = |arguments: &str| {
        format!(
            r#"{{"method":"POST","url":"https://tools.example.com/mcp","body":{{"jsonrpc":"2.0","id":1,"method":"tools/call","params":{{"name":"write_file","arguments":{arguments}}}}}}}"#
        )
    };
    let lines = [call(r#"{"path":"/tmp/a"}"#), call(r#"{"path":"/etc/passwd"}"#), call("{}")];
    fs::write(&requests, lines.join("\n")).expect("written");
    fs::write(&file, manifests).expect("written");
    let mut command = Command::new(env!("CARGO_BIN_EXE_cofferdam"));
    command.arg("classify").arg(&requests).arg("-f").arg(&file).args(["--from", "pod:agents/agent"]);
    let out = String::from_utf8(command.output().expect("it runs").stdout).expect("UTF-8");
    let read = |line: &str| serde_json::from_str(line).unwrap_or_else(|error| panic!("{error}: {line}"));
    let objects: Vec<Value> = out.lines().map(read).collect();
    let condition = "the condition on write_* is not met: args.path.startsWith(\"/tmp/\")";
    let lost = format!("{condition} (there is no field `path`)");
    let expected = [
        ["allow", "-", "-"],
        ["deny", "tool-arguments", condition],
        ["deny", "tool-arguments", lost.as_str()],
    ];
    let found: Vec<_> =
        objects.iter().map(|object| ["verdict", "lacks", "unmet"].map(|name| field(object, name))).collect();
    assert_eq!(found, expected, "{out}");
    assert!(!out.contains("passwd"), "{out}");
}
