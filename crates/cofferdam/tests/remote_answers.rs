//! Commands that ask an API with `--api`, and what answers is a script: what is no answer of it is told, and never taken for one.

#![expect(clippy::unwrap_used, reason = "helpers of tests; a panic is the failure report")]

use api::shape::Moment;
use api::shape::live::{Difference, Policies, Shadow};
use serde_json::{Value, json};
use std::fs;
use std::io::{BufRead, BufReader, Write};
use std::net::{SocketAddr, TcpListener};
use std::process::Command;

/// 2026-11-26T12:00:00Z.
const START: u64 = 1_795_694_400_000_000;

/// Says the same to the first twenty who ask, whatever they ask.
fn says(head: &str, body: &str) -> SocketAddr {
    let answer = whole(head, body);
    serves(move |_| answer.clone())
}

fn whole(head: &str, body: &str) -> String {
    let length = body.len();
    format!("HTTP/1.1 {head}\r\ncontent-length: {length}\r\nconnection: close\r\n\r\n{body}")
}

/// Says to the first twenty who ask what is said to the first line of a request.
fn serves(answer: impl Fn(&str) -> String + Send + 'static) -> SocketAddr {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let address = listener.local_addr().unwrap();
    std::thread::spawn(move || {
        for _ in 0..20 {
            let (mut stream, _) = listener.accept().unwrap();
            let mut lines = BufReader::new(&stream).lines();
            let first = lines.next().unwrap().unwrap();
            while lines.next().is_some_and(|line| !line.unwrap().is_empty()) {}
            drop(lines);
            stream.write_all(answer(&first).as_bytes()).unwrap();
        }
    });
    address
}

#[test]
fn what_breaks_off_and_what_is_no_stream_is_told() {
    let folder = tempfile::tempdir().unwrap();
    fs::write(folder.path().join("good"), "good\n").unwrap();
    let none = r#"{"items":[],"next":null,"lost":0}"#;
    let stream = "200 OK\r\ncontent-type: text/event-stream";
    for (words, listed, streamed, wanted) in [
        (
            "dns",
            whole("200 OK", none).replace("length: 33", "length: 99"),
            String::new(),
            "did not come whole",
        ),
        ("dns", whole("200 OK", r#"{"items":["#), String::new(), "JSON that breaks off"),
        (
            "dns --follow",
            whole("200 OK", none),
            whole("200 OK\r\ncontent-type: text/html", "<b>"),
            "text/html, 3 bytes",
        ),
        ("dns --follow", whole("200 OK", none), whole("200 OK", "{}"), "no content type"),
        ("dns --follow", whole("200 OK", none), whole(stream, "event: record\ndata: <b>\n\n"), "is no event"),
        (
            "dns --follow",
            whole("200 OK", none),
            whole(stream, "event: lost\ndata: {}\n\n"),
            "how many were lost",
        ),
        ("dns --follow", whole("200 OK", none), whole(stream, "event: rec"), "in the middle of an event"),
        (
            "dns --follow",
            whole("200 OK", none),
            whole(stream, "event: ping\ndata: {}\n\n"),
            "ended what it told",
        ),
    ] {
        let address =
            serves(
                move |first| {
                    if first.contains("/records/stream") { streamed.clone() } else { listed.clone() }
                },
            );
        let mut command = Command::new(env!("CARGO_BIN_EXE_cofferdam"));
        command.current_dir(folder.path()).args(words.split_whitespace());
        command.args(["--api", &format!("http://{address}"), "--token", "good"]);
        let output = command.output().unwrap();
        let said = String::from_utf8_lossy(&output.stderr).into_owned();
        let names = said.contains(&address.to_string());
        assert!(
            output.status.code() == Some(2) && said.contains(wanted) && names,
            "{words}, {wanted}: {said}"
        );
    }
}

#[test]
fn what_is_no_answer_to_it_is_told_with_the_way_out_and_steers_no_terminal() {
    let folder = tempfile::tempdir().unwrap();
    fs::write(folder.path().join("good"), "good\n").unwrap();
    let problem = json!({ "detail": "too many\u{1b}[2J" }).to_string();
    let other = json!({ "items": [{ "number": 1, "time": "2026-11-26T12:00:00Z", "kind": "\u{1b}[2J" }], "next": null }).to_string();
    for (words, head, body, wanted) in [
        ("flows", "302 Found\r\nlocation: http://127.0.0.1:1/", "", "name the API's own address"),
        ("flows", "429 Too Many Requests\r\nretry-after: 7", problem.as_str(), "try again in 7 s"),
        ("flows", "404 Not Found", "<html>", "is it the API of Cofferdam"),
        (
            "flows",
            "200 OK\r\ncontent-type: text/html",
            "<html>\u{1b}",
            "text/html, 7 bytes that begin with \"<html>\\x1b\"",
        ),
        ("incident list", "200 OK", "", "nothing in it"),
        ("incident list", "200 OK", "[]", "this version of the program"),
        ("incident show a", "200 OK", "null", "this version of the program"),
        ("incident contain a --for 1h --yes", "200 OK", "{}", "this version of the program"),
        ("incident release ai/Job/train", "200 OK", "<html>", "what is no JSON"),
        ("incident evidence a -o a.tar", "200 OK", "<html>", "what is no JSON"),
        ("hunt a.example", "200 OK", "{}", "this version of the program"),
        ("status", "200 OK", "<html>", "what is no JSON"),
        ("shadow", "200 OK", "{}", "this version of the program"),
        ("flows", "200 OK", other.as_str(), "this version of the program"),
        ("flows", "200 OK", r#"{"items":[],"next":7,"lost":0}"#, "does not go on"),
        ("dns --follow", "503 Service Unavailable\r\nretry-after: 5", problem.as_str(), "try again in 5 s"),
        ("edges", "200 OK", r#"{"items":[],"next":7,"lost":0}"#, "this version of the program"),
        ("edges", "200 OK", r#"{"items":[],"next":"z-7","lost":0}"#, "a mark that this version"),
        ("edges", "200 OK", r#"{"items":[],"next":"l-7-1-2-3-4","lost":0}"#, "does not go on"),
    ] {
        let mut command = Command::new(env!("CARGO_BIN_EXE_cofferdam"));
        command.current_dir(folder.path()).args(words.split_whitespace());
        command.args(["--api", &format!("http://{}", says(head, body)), "--token", "good"]);
        let output = command.output().unwrap();
        let said = String::from_utf8_lossy(&output.stderr).into_owned();
        assert!(output.status.code() == Some(2) && said.contains(wanted), "{words}, {head}: {said}");
        assert!(!said.contains('\u{1b}'), "{said:?}");
    }
}

#[test]
fn a_candidate_elsewhere_is_told_as_one_here() {
    let folder = tempfile::tempdir().unwrap();
    fs::write(folder.path().join("good"), "good\n").unwrap();
    let difference = Difference {
        verdict: "deny".to_owned(),
        source: "ai/Job/train".to_owned(),
        destination: "hub.example".to_owned(),
        protocol: "TCP".to_owned(),
        port: 443,
        rule: "NetworkPolicy ai/next (next.yaml:3)".to_owned(),
        count: 12,
        first: Moment::of(START),
        last: Moment::of(START + 1),
    };
    let shadow = Shadow {
        sources: vec!["next".to_owned()],
        policies: 1,
        problem: None,
        judged: 40,
        would_deny: 12,
        would_allow: 0,
        unknown: 0,
        unlisted: 3,
        differences: vec![difference],
    };
    let told =
        serde_json::to_string(&Policies { generation: 7, items: Vec::new(), shadow: Some(shadow) }).unwrap();
    let api = format!("http://{}", says("200 OK\r\ncontent-type: application/json", &told));
    let ask = |words: &str| {
        let mut command = Command::new(env!("CARGO_BIN_EXE_cofferdam"));
        command
            .current_dir(folder.path())
            .args(words.split_whitespace())
            .args(["--api", &api, "--token", "good"]);
        let output = command.output().unwrap();
        (output.status.code(), String::from_utf8(output.stdout).unwrap())
    };
    let (code, said) = ask("shadow");
    assert_eq!(code, Some(1), "something would be denied: {said}");
    assert!(said.starts_with("next (1 policies): 40 accesses judged, 12 would be denied"), "{said}");
    assert!(
        said.contains("443/TCP") && said.contains("next.yaml:3") && said.contains("and 3 accesses"),
        "{said}"
    );
    let shadow: Value = serde_json::from_str(&ask("shadow --json").1).unwrap();
    assert_eq!((&shadow["would_deny"], &shadow["differences"][0]["count"]), (&json!(12), &json!(12)));
}
