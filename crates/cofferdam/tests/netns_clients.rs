//! `tests/clients`: unmodified clients of services outside go through the gateway, which opens their connections. What a policy
//! allows works; whatever writes, names another model or shows another key is refused, and the client's own error says why.
//! `docs/clients.md` is what this test saw; with `COFFERDAM_BLESS=1` it is written anew.

#![expect(
    clippy::unwrap_used,
    clippy::panic,
    clippy::print_stderr,
    reason = "a test; a panic is the failure report"
)]

use crate::clients::page;
use crate::clients::python::{PYTHON, root};
use crate::clients::row::Row;
use gateway::Call;
use std::fs::{self, File};
use std::path::Path;
use std::process::Command;
use std::time::{Duration, Instant};

const BINARY: &str = env!("CARGO_BIN_EXE_cofferdam");
/// What the lab's services need, besides Python.
const TOOLS: [(&str, &str); 2] = [("unbound", "-V"), ("openssl", "version")];
/// `timeout` ends it with SIGTERM, so that the lab is removed.
const LONGEST: &str = "300";
/// Of the Python clients, which are there whenever anything is.
const LEAST_ROWS: usize = 70;

/// Whether they can run here; says so loudly if not.
fn may_run(test: &str) -> bool {
    if !lab::privilege::has_capabilities() {
        eprintln!("NOT RUN: {test} needs CAP_NET_ADMIN and CAP_SYS_ADMIN (run as root)");
        return false;
    }
    let path = format!("{}:/usr/sbin:/sbin", std::env::var("PATH").unwrap());
    let has = |(tool, ask): &(&str, &str)| Command::new(tool).arg(ask).env("PATH", &path).output().is_ok();
    let missing: Vec<_> = TOOLS.iter().filter(|tool| !has(tool)).map(|(tool, _)| *tool).collect();
    if !missing.is_empty() {
        eprintln!("NOT RUN: {test} needs {missing:?}");
    }
    missing.is_empty()
}

/// What a run left behind.
struct Run {
    /// What the lab said.
    said: String,
    /// The records of all requests.
    calls: Vec<Call>,
    /// What `cofferdam tools` showed meanwhile.
    tools: String,
}

/// Runs the clients. `None`: it cannot be done here, which is said loudly.
fn run(test: &str, manifests: &str) -> Option<Run> {
    if !may_run(test) {
        return None;
    }
    let Some(python) = &*PYTHON else {
        eprintln!("NOT RUN: {test} needs clients from PyPI (no PyPI, or no venv, here)");
        return None;
    };
    let folder = tempfile::tempdir().unwrap();
    let [socket, output, records, tools] =
        ["socket", "output", "calls", "tools"].map(|name| folder.path().join(name));
    let mut command = Command::new("timeout");
    command.args(["--signal=TERM", LONGEST, BINARY, "up", "--lab", "--until-done", "-f"]);
    command.args([manifests, "--socket"]).arg(&socket).current_dir(root());
    command.env("CLIENTS_PYTHON", python);
    let mut up = command.stdout(File::create(&output).unwrap()).spawn().unwrap();
    let end = Instant::now() + Duration::from_secs(30);
    while !socket.exists() && Instant::now() < end {
        std::thread::sleep(Duration::from_millis(20));
    }
    // They end with whom they ask.
    let follow = |arguments: &[&str], into: &Path| {
        let mut follower = Command::new(BINARY);
        follower.args(arguments).args(["--follow", "--socket"]).arg(&socket);
        follower.stdout(File::create(into).unwrap()).spawn().unwrap()
    };
    let mut followers = [follow(&["calls", "--json"], &records), follow(&["tools"], &tools)];
    let is_good = up.wait().unwrap().success();
    for follower in &mut followers {
        follower.wait().unwrap();
    }
    let said = fs::read_to_string(&output).unwrap();
    assert!(is_good, "{said}");
    let records = fs::read_to_string(&records).unwrap();
    for line in said.lines().filter(|line| line.contains("] MISSING ")) {
        eprintln!("NOT RUN of {test}: {line}");
    }
    let calls = records.lines().map(|line| serde_json::from_str(line).unwrap()).collect();
    Some(Run { said, calls, tools: fs::read_to_string(&tools).unwrap() })
}

/// Verdict, server, tool and status of a line of `cofferdam tools`.
fn tool_call(line: &str) -> [&str; 4] {
    let cells: Vec<&str> = line.split_whitespace().collect();
    let [_time, verdict, _from, server, tool, status, ..] = cells.as_slice() else { panic!("{line:?}") };
    [verdict, server, tool, status]
}

#[test]
fn netns_real_clients_read_and_ask_but_do_not_write_and_are_told_why() {
    let test = "netns_real_clients_read_and_ask_but_do_not_write_and_are_told_why";
    let Some(Run { said, calls, tools }) = run(test, "tests/clients") else { return };
    let rows: Vec<Row> = said.lines().filter_map(Row::read).collect();
    let wrong: Vec<String> = rows.iter().filter_map(|row| row.check(&calls).err()).collect();
    assert!(wrong.is_empty(), "{}", wrong.join("\n\n"));
    assert!(rows.len() >= LEAST_ROWS, "{} rows: {said}", rows.len());
    let unexplained: Vec<_> = rows.iter().filter(|row| !row.explains(&calls)).collect();
    assert!(unexplained.is_empty(), "{unexplained:#?}");

    // The tools that a client of MCP called, and nothing that a model was only told of.
    let mut shown: Vec<[&str; 4]> = tools.lines().skip(1).map(tool_call).collect();
    shown.sort_unstable();
    shown.dedup();
    let server = "tools.acme.example";
    assert_eq!(
        shown,
        [["DENY", server, "delete_page", "403"], ["allow", server, "search", "200"]],
        "{tools}"
    );

    let file = root().join("docs/clients.md");
    let found = page::write(&rows, &calls);
    if std::env::var_os("COFFERDAM_BLESS").is_some() {
        assert!(!said.contains("] MISSING "), "the page would lose rows");
        fs::write(&file, &found).unwrap();
    }
    let kept = fs::read_to_string(&file).unwrap_or_default();
    let differs = page::difference(&kept, &found, &rows);
    assert!(
        differs.is_empty(),
        "docs/clients.md says otherwise (COFFERDAM_BLESS=1 writes it anew): {differs:#?}"
    );
}

#[test]
fn netns_the_same_clients_write_where_there_is_no_policy() {
    let test = "netns_the_same_clients_write_where_there_is_no_policy";
    let Some(Run { said, calls, tools }) = run(test, "tests/clients/world.yaml") else { return };
    assert!(calls.is_empty(), "{calls:#?}");
    assert_eq!(tools, "", "nobody looks at requests");
    let rows: Vec<Row> = said.lines().filter_map(Row::read).collect();
    let failed: Vec<_> = rows.iter().filter(|row| !row.ok).collect();
    assert!(failed.is_empty(), "the services do not take what policy would refuse: {failed:#?}");
    assert!(rows.len() >= LEAST_ROWS, "{} rows: {said}", rows.len());
}
