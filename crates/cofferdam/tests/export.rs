//! `cofferdam ledger export`, `up --export` and `--store`, as a user runs them.

#![expect(clippy::expect_used, reason = "a test's helpers fail the test")]

use ledger::{Entry, Kind, Ledger, Verdict};
use std::io::{BufRead, BufReader, Read, Write};
use std::net::{TcpListener, TcpStream};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Output, Stdio};
use std::thread::JoinHandle;

fn cofferdam(folder: &Path, args: &[&str]) -> Output {
    let program = env!("CARGO_BIN_EXE_cofferdam");
    Command::new(program).current_dir(folder).args(args).output().expect("cofferdam runs")
}

/// A ledger with two denials.
fn ledger() -> (tempfile::TempDir, PathBuf) {
    let folder = tempfile::tempdir().expect("a folder");
    let path = folder.path().join("ledger.db");
    let denial = |time| Entry {
        time,
        source: "ai/Job/train".into(),
        destination: "hub.example".into(),
        detail: Some("{}".to_owned()),
        ..Entry::new(Kind::Flow, Verdict::Deny)
    };
    let mut ledger = Ledger::open(&path).expect("a ledger").0;
    ledger.append(&[denial(1_000_000), denial(1_700_000_000_000_000)]).expect("it is written");
    (folder, path)
}

#[test]
fn a_ledger_is_exported_once_as_lines_or_events() {
    let (folder, _path) = ledger();
    for (args, field, expected) in [
        (&["--to", "stdout:"][..], "number", &[1, 2][..]),
        (&["--to", "stdout:", "--since", "2020-01-01T00:00:00Z"], "number", &[2]),
        (&["--to", "stdout:", "--after", "1"], "number", &[2]),
        (&["--to", "ocsf+stdout:"], "class_uid", &[4001, 4001]),
    ] {
        let output =
            cofferdam(folder.path(), &[&["ledger", "export", "--ledger", "ledger.db"], args].concat());
        assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
        let printed = String::from_utf8(output.stdout).expect("UTF-8");
        let found: Vec<_> = printed
            .lines()
            .map(|line| serde_json::from_str::<serde_json::Value>(line).expect("JSON"))
            .map(|line| line.get(field).and_then(serde_json::Value::as_i64).expect("a number"))
            .collect();
        assert_eq!(found, expected, "{args:?}");
    }
    let to = format!("file:{}/out.jsonl", folder.path().display());
    let output = cofferdam(folder.path(), &["ledger", "export", "--ledger", "ledger.db", "--to", &to]);
    assert_eq!(String::from_utf8_lossy(&output.stdout), "2 entries sent, 0 refused, up to number 2\n");
}

#[test]
fn whoever_reads_an_export_and_has_seen_enough_ends_it_quietly() {
    let (folder, path) = ledger();
    let denial = Entry { detail: Some("x".repeat(1000)), ..Entry::new(Kind::Flow, Verdict::Deny) };
    let mut ledger = Ledger::open(&path).expect("a ledger").0;
    // More than a pipe holds.
    ledger.append(&vec![denial; 1000]).expect("it is written");
    for to in ["stdout:", "ocsf+stdout:"] {
        let mut child = Command::new(env!("CARGO_BIN_EXE_cofferdam"))
            .current_dir(folder.path())
            .args(["ledger", "export", "--ledger", "ledger.db", "--to", to])
            .stdout(Stdio::piped())
            .stderr(Stdio::piped())
            .spawn()
            .expect("cofferdam runs");
        let mut line = String::new();
        BufReader::new(child.stdout.take().expect("its output")).read_line(&mut line).expect("a line");
        let output = child.wait_with_output().expect("it ends");
        assert!(line.starts_with('{'), "{line}");
        assert_eq!((output.status.code(), &*String::from_utf8_lossy(&output.stderr)), (Some(0), ""), "{to}");
    }
}

#[test]
fn what_makes_no_sense_ends_before_anything_runs_and_says_what_to_write() {
    let (folder, _path) = ledger();
    let up = ["up", "-f", ".", "--judge-only", "--socket", "socket"];
    for (more, says) in [
        (&["--export", "stdout:"][..], "--ledger"),
        (&["--ledger", "l.db", "--export", "ftp://x"], "syslog+udp://host:514"),
        (&["--ledger", "l.db", "--export", "https://me:geheim@x/"], "--export-headers"),
        (&["--ledger", "l.db", "--export", "https://x/", "--export-ca", "none.pem"], "none.pem"),
    ] {
        let output = cofferdam(folder.path(), &[&up[..], more].concat());
        let stderr = String::from_utf8_lossy(&output.stderr);
        assert!(!output.status.success() && stderr.contains(says), "{more:?}: {stderr}");
    }
    let output = cofferdam(folder.path(), &["ledger", "clickhouse-ddl", "--database", "a;b"]);
    assert!(String::from_utf8_lossy(&output.stderr).contains("letters, digits and _"));
}

/// Answers a request with each row, one after the other; its port, and the heads of the requests.
fn database(rows: &'static [&'static str]) -> (u16, JoinHandle<String>) {
    let listener = TcpListener::bind("127.0.0.1:0").expect("a port");
    let port = listener.local_addr().expect("an address").port();
    let answered = std::thread::spawn(move || {
        let mut heads = String::new();
        for row in rows {
            let mut stream: TcpStream = listener.accept().expect("a connection").0;
            let mut reader = BufReader::new(stream.try_clone().expect("a stream"));
            let (mut head, mut length) = (String::new(), 0);
            while !head.ends_with("\r\n\r\n") {
                let mut line = String::new();
                assert!(reader.read_line(&mut line).expect("a line") > 0, "the request ends early");
                if let Some(value) = line.to_lowercase().strip_prefix("content-length:") {
                    length = value.trim().parse().expect("a number");
                }
                head.push_str(&line);
            }
            reader.read_exact(&mut vec![0; length]).expect("a body");
            write!(stream, "HTTP/1.1 200 OK\r\ncontent-length: {}\r\n\r\n{row}", row.len())
                .expect("it is answered");
            heads.push_str(&head);
        }
        heads
    });
    (port, answered)
}

#[test]
fn a_database_is_asked_instead_of_the_ledger_by_who_a_file_says() {
    let folder = tempfile::tempdir().expect("a folder");
    std::fs::write(folder.path().join("headers"), "X-ClickHouse-Key: geheim\n").expect("it is written");
    let name = "x\\u001b[2J/Job/é";
    for (command, row, says) in [
        (
            &["ledger", "show", "--source", "x*"][..],
            &[
                r#"["9","1700000000000000","dns","allow","n1","x\u001b[2J/Job/é","hub.example",0,0,"","name-allowed","3","0","0","","1"]"#,
            ],
            "hub.example",
        ),
        (
            &["edges", "--source", "x*"],
            &[
                r#"["x\u001b[2J/Job/é","hub.example",443,6,"1700000000000000","1700000000000001","3","0","10","20","r","17","18"]"#,
            ],
            "hub.example",
        ),
        (&["top", "--since", "1d"], &[r#"["x\u001b[2J/Job/é","3","0","10","20"]"#], "bytes_received\":20"),
    ] {
        let (port, answered) = database(row);
        let url = format!("clickhouse+http://127.0.0.1:{port}/security");
        let store = ["--store", &url, "--store-headers", "headers", "-o", "jsonl"];
        let output = cofferdam(folder.path(), &[command, &store].concat());
        let (out, error) = (String::from_utf8_lossy(&output.stdout), String::from_utf8_lossy(&output.stderr));
        assert!(
            output.status.success() && out.contains(says) && out.contains(name),
            "{command:?}: {out}{error}"
        );
        let head = answered.join().expect("it was asked").to_lowercase();
        assert!(head.contains("x-clickhouse-key: geheim") && head.contains("&param_p0="), "{head}");
    }
    let url = "clickhouse+http://127.0.0.1:1/security";
    for (args, says) in [
        (&["edges", "--store", "https://x/"][..], "only ClickHouse can be asked"),
        (&["edges", "--store", "clickhouse+https://me:geheim@x/"], "--store-headers"),
        (&["edges", "--store", url, "--ledger", "ledger.db"], "cannot be used with"),
        (&["edges", "--store-headers", "headers"], "--store <URL>"),
        (&["top", "--store", url, "--store-headers", "none"], "none"),
        (&["top", "--store", url], "connecting to 127.0.0.1:1"),
        (&["ledger", "verify", "--store", url], "unexpected argument '--store'"),
        (&["hunt", "x.example", "--store", url], "unexpected argument '--store'"),
        (&["up", "-f", ".", "--serve-store", url], "--serve <ADDRESS>"),
        (
            &["up", "-f", ".", "--serve", "127.0.0.1:0", "--serve-store", "https://x/"],
            "only ClickHouse can be asked",
        ),
        (&["up", "-f", ".", "--serve", "127.0.0.1:0", "--serve-store-ca", "none"], "--serve-store <URL>"),
    ] {
        let output = cofferdam(folder.path(), args);
        let stderr = String::from_utf8_lossy(&output.stderr);
        assert!(!output.status.success() && stderr.contains(says), "{args:?}: {stderr}");
    }
}

/// A program that is ended with this.
struct Running(Child);

impl Drop for Running {
    fn drop(&mut self) {
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

#[test]
fn an_api_answers_by_the_database_that_is_named_and_by_nothing_else_where_that_is_away() {
    let folder = tempfile::tempdir().expect("a folder");
    std::fs::write(folder.path().join("headers"), "X-ClickHouse-Key: geheim\n").expect("it is written");
    let (port, answered) = database(&[
        r#"["ai/Job/train","hub.example",443,6,"1700000000000000","1700000000000001","3","0","10","20","r","17","18"]"#,
        r#"["7"]"#,
    ]);
    let url = format!("clickhouse+http://127.0.0.1:{port}/security");
    let mut child = Command::new(env!("CARGO_BIN_EXE_cofferdam"))
        .current_dir(folder.path())
        .args(["collector", "--ledger", "all.db", "--certificates", "none", "--listen", "127.0.0.1:0"])
        .args(["--serve", "127.0.0.1:0", "--serve-store", &url, "--serve-store-headers", "headers"])
        .stdout(Stdio::piped())
        .spawn()
        .expect("cofferdam runs");
    let said = BufReader::new(child.stdout.take().expect("it says something")).lines();
    let _running = Running(child);
    let mut said = said.map_while(Result::ok);
    let api =
        said.find_map(|line| Some(line.split_once("console and API: ")?.1.trim_end_matches('/').to_owned()));
    let api = api.expect("it serves");
    assert!(said.any(|line| line == format!("records, edges, the largest, the map and series are those of {url}")));
    let ask = |command: &[&str]| {
        let output = cofferdam(folder.path(), &[command, &["--api", &api, "--token", "all.token"]].concat());
        let [out, error] =
            [output.stdout, output.stderr].map(|text| String::from_utf8_lossy(&text).into_owned());
        (output.status.success(), out, error)
    };
    let (is_done, out, error) = ask(&["edges", "-o", "jsonl"]);
    assert!(is_done && out.contains("hub.example"), "{out}{error}");
    let heads = answered.join().expect("it was asked").to_lowercase();
    for part in ["x-clickhouse-key: geheim", "&max_execution_time=10&max_memory_usage=2147483648&"] {
        assert_eq!(heads.matches(part).count(), 2, "{heads}");
    }
    // Nobody listens there any more.
    for command in [&["edges"][..], &["top"], &["ledger", "show"], &["dns"], &["calls"], &["findings"]] {
        let (is_done, out, error) = ask(command);
        assert!(
            !is_done && error.contains("503") && error.contains(&format!("connecting to 127.0.0.1:{port}")),
            "{command:?}: {out}{error}"
        );
    }
    let (_, out, error) = ask(&["status"]);
    assert!(out.contains(&format!("are those of {url}")), "{out}{error}");
    let (is_done, out, error) = ask(&["incident", "list"]);
    assert!(is_done, "{out}{error}");
}
