//! Names in records come from pods, from servers and, in a collector, from nodes that may have been taken. Whatever they hold, what shows
//! them to people shows names: nothing steers the terminal, makes another row, becomes a formula of a spreadsheet or breaks JSON.

#![expect(clippy::expect_used, reason = "a test's helpers fail the test")]

use ledger::{Entry, Kind, Ledger, Verdict};
use serde_json::json;
use std::path::Path;
use std::process::Command;

/// Names that do something where they are not shown as names.
const NAMES: [&str; 9] = [
    "a/\u{1b}[2J\u{1b}]0;owned\u{7}",
    "a/\u{9b}2J\u{85}b",
    "a/\r\nDENY everything",
    "a/\u{202e}txt.exe\u{2066}\u{61c}",
    "a/x\u{2028}y\u{2029}z",
    "=HYPERLINK(\"http://evil.example\",\"x\")",
    "@SUM(1+1)*cmd|' /C calc'!A0",
    "<img src=x onerror=alert(1)>",
    "a/\",\"verdict\":\"allow\"}\u{0}",
];
const NOW: u64 = 1_795_468_027_000_000;

fn cofferdam(folder: &Path, args: &[&str]) -> String {
    let program = env!("CARGO_BIN_EXE_cofferdam");
    let output = Command::new(program).current_dir(folder).args(args).output().expect("cofferdam runs");
    assert!(output.status.success(), "{args:?}: {}", String::from_utf8_lossy(&output.stderr));
    String::from_utf8(output.stdout).expect("UTF-8")
}

/// A ledger in which each name is everybody's: who, to whom, why, in findings and in what a request was.
fn ledger(folder: &Path) {
    let mut entries = Vec::new();
    for (name, at) in NAMES.into_iter().zip(1_u64..) {
        let named = |kind, detail: serde_json::Value| Entry {
            time: NOW + at,
            node: name.into(),
            source: name.into(),
            destination: name.into(),
            rule: name.into(),
            reason: name.into(),
            sent: at,
            detail: Some(detail.to_string()),
            ..Entry::new(kind, Verdict::Deny)
        };
        let finding = json!({
            "id": name, "detector": name, "severity": "high", "workload": name, "subject": name, "sentence": name, "numbers": [{"name": name}],
            "rule": name, "records": [name], "techniques": [name],
        });
        entries.push(named(Kind::Flow, json!({})));
        entries.push(named(Kind::AiCall, json!({"path": name, "operation": {"model": name}})));
        entries.push(named(Kind::Finding, finding));
    }
    // What a node says of an entry is not always what its kind has.
    for (at, detail) in (1_000..).zip(details()) {
        for kind in Kind::ALL {
            let entry = Entry::new(kind, Verdict::Deny);
            entries.push(Entry {
                time: NOW + at,
                source: "a/b".into(),
                detail: Some(detail.clone()),
                ..entry
            });
        }
    }
    let mut ledger = Ledger::open(&folder.join("ledger.db")).expect("a ledger").0;
    ledger.append(&entries).expect("it is written");
}

/// Details that no record has: broken, deep, long, and of other shapes.
fn details() -> Vec<String> {
    let deep = [("[", "]"), ("{\"operation\":", "}")];
    let deep = deep.map(|(open, close)| open.repeat(20_000) + "1" + &close.repeat(20_000));
    let odd = [
        "",
        "{",
        "null",
        "7",
        "1e999",
        "[]",
        "{\"id\":7,\"severity\":[],\"records\":\"x\",\"numbers\":{},\"techniques\":null,\"time\":-1}",
        "{\"id\":\"\",\"severity\":\"dire\",\"workload\":\"\",\"records\":[{}],\"numbers\":[7],\"count\":1e300}",
        "{\"path\":{},\"status\":\"200\",\"operation\":[],\"usage\":{\"input\":-5},\"action\":7,\"who\":[]}",
    ];
    let long = format!("{{\"sentence\":\"{}\",\"path\":\"{0}\"}}", "x".repeat(300_000));
    odd.map(str::to_owned).into_iter().chain(deep).chain([long]).collect()
}

/// What must be in no answer, whatever its form.
fn steers(c: char) -> bool {
    c != '\n' && c.is_control()
        || "\u{61c}\u{200e}\u{200f}\u{2028}\u{2029}".contains(c)
        || ('\u{202a}'..='\u{202e}').contains(&c)
        || ('\u{2066}'..='\u{2069}').contains(&c)
}

#[test]
fn names_are_shown_as_names_by_every_command_that_lists_them() {
    let folder = tempfile::tempdir().expect("a folder");
    ledger(folder.path());
    let commands = [
        &["ledger", "show"][..],
        &["edges"],
        &["top", "source", "--measure", "denied"],
        &["top", "destination"],
        &["incident", "list"],
    ];
    for command in commands {
        let shown = |form: &str| {
            let text = cofferdam(folder.path(), &[command, &["--ledger", "ledger.db", "-o", form]].concat());
            assert!(!text.contains(steers), "{command:?} as {form}: {}", text.escape_debug());
            text
        };
        let all: Vec<serde_json::Value> = serde_json::from_str(&shown("json")).expect("an array");
        assert!(!all.is_empty(), "{command:?} shows nothing");
        let lines = shown("jsonl");
        lines.lines().for_each(|line| drop(serde_json::from_str::<serde_json::Value>(line).expect("JSON")));
        assert_eq!(lines.lines().count(), all.len(), "{command:?}: {lines}");
        let (table, csv) = (shown("table"), shown("csv"));
        for text in [&table, &csv] {
            assert_eq!(
                text.lines().count(),
                all.len() + 1,
                "{command:?}: a row for each, and the heads: {text}"
            );
        }
        let mut cells = csv.lines().flat_map(|line| line.split(','));
        assert!(cells.all(|cell| !cell.trim_matches('"').starts_with(['=', '@'])), "{csv}");
    }
    let incidents = cofferdam(folder.path(), &["incident", "list", "--ledger", "ledger.db", "--json"]);
    let ids: Vec<String> = incidents
        .lines()
        .map(|line| serde_json::from_str::<serde_json::Value>(line).expect("JSON"))
        .filter_map(|it| it.get("id")?.as_str().map(str::to_owned))
        .collect();
    assert!(!ids.is_empty());
    for id in ids {
        for command in [["incident", "show"], ["incident", "timeline"]] {
            for more in [&[][..], &["--json"]] {
                let args = [&command[..], &[id.as_str(), "--ledger", "ledger.db"], more].concat();
                let text = cofferdam(folder.path(), &args);
                assert!(!text.contains(steers), "{args:?}: {}", text.escape_debug());
            }
        }
    }
}
