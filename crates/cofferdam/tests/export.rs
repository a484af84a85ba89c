//! `cofferdam ledger export`, and `up --export`, as a user runs them.

#![expect(clippy::expect_used, reason = "a test's helpers fail the test")]

use ledger::{Entry, Kind, Ledger, Verdict};
use std::path::{Path, PathBuf};
use std::process::{Command, Output};

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
