//! `examples/genai`, run as `scripts/run` runs it: the pipeline does its work by names, and of the attacker's steps only those
//! succeed that are marked as known limits; each of the others has a record that says what stopped it.

#![expect(clippy::unwrap_used, clippy::print_stderr, reason = "a test; a panic is the failure report")]

use std::fs::{self, File};
use std::path::Path;
use std::process::Command;
use std::time::{Duration, Instant};

const BINARY: &str = env!("CARGO_BIN_EXE_cofferdam");
/// What the example runs, besides Python.
const TOOLS: [(&str, &str); 3] = [("unbound", "-V"), ("openssl", "version"), ("curl", "--version")];
/// What somebody with a stolen key tries at the ingress gateway, and what its record says of it.
const AT_THE_EDGE: [(&str, &str); 17] = [
    ("no-key", "unauthenticated"),
    ("guessed-key", "unauthenticated"),
    ("stolen-key-on-another-model", "not-allowed"),
    ("stolen-key-without-a-model", "not-allowed"),
    ("stolen-key-on-another-application", "not-understood"),
    ("adapter-loaded", "not-allowed"),
    ("adapter-loaded-by-another-path", "not-understood"),
    ("path-that-servers-read-differently", "target-ambiguous"),
    ("metrics", "not-allowed"),
    ("models-listed", "not-allowed"),
    ("prompt-injection", "guard-blocked"),
    ("prompt-injection-in-a-page", "guard-blocked"),
    ("sql-in-a-field-that-is-no-text", "waf-blocked"),
    ("file-in-the-query", "waf-blocked"),
    ("smuggled-request", "http-malformed"),
    ("host-of-nobody", "no-route"),
    ("over-quota", "limit-spent"),
];
/// `timeout` ends it with SIGTERM, so that the lab is removed.
const LONGEST: &str = "240";

/// Says loudly that a test did not run.
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

#[test]
fn netns_the_examples_pipeline_works_and_its_attacker_does_not() {
    if !may_run("netns_the_examples_pipeline_works_and_its_attacker_does_not") {
        return;
    }
    let example = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../examples/genai");
    let folder = tempfile::tempdir().unwrap();
    let mut command = Command::new("timeout");
    command.args(["--signal=TERM", LONGEST, BINARY, "up", "--lab", "--until-done", "-f"]).arg(&example);
    let (socket, output) = (folder.path().join("socket"), folder.path().join("output"));
    let file = |path: &Path| File::create(path).unwrap();
    let mut up = command.arg("--socket").arg(&socket).stdout(file(&output)).spawn().unwrap();
    let end = Instant::now() + Duration::from_secs(30);
    while !socket.exists() && Instant::now() < end {
        std::thread::sleep(Duration::from_millis(20));
    }
    // They end with whom they ask.
    let records = ["flows", "dns", "connections", "calls"].map(|verb| {
        let path = folder.path().join(verb);
        let mut follower = Command::new(BINARY);
        follower.args([verb, "--json", "--follow", "--verdict", "deny", "--socket"]).arg(&socket);
        (follower.stdout(file(&path)).spawn().unwrap(), path)
    });
    assert!(up.wait().unwrap().success(), "{}", fs::read_to_string(&output).unwrap());
    let mut story = Command::new("python3");
    story.arg(example.join("story.py")).arg(&output);
    for (mut follower, path) in records {
        follower.wait().unwrap();
        story.arg(path);
    }
    let told = story.output().unwrap();
    assert!(told.status.success(), "{}", String::from_utf8_lossy(&told.stdout));
    let said = String::from_utf8(fs::read(&output).unwrap()).unwrap();
    let (attack, work): (Vec<&str>, Vec<&str>) =
        said.lines().filter(|line| line.starts_with('[')).partition(|line| line.contains("] ATTACK "));
    let failed: Vec<_> = work.iter().filter(|line| line.contains(" FAILED")).collect();
    assert!(failed.is_empty(), "{failed:#?}");
    let reached: Vec<_> = attack.iter().filter(|line| line.contains(": REACHED")).collect();
    let unmarked: Vec<_> = reached.iter().filter(|line| !line.contains("[known limit: ")).collect();
    assert!(unmarked.is_empty(), "{unmarked:#?}");
    // What a limit names is really so, or it is one no more.
    assert_eq!(
        reached.len(),
        attack.iter().filter(|line| line.contains("[known limit: ")).count(),
        "{attack:#?}"
    );
    let blocked = attack.iter().filter(|line| line.contains(": blocked")).count();
    assert!(blocked >= 67, "{attack:#?}");
    let story = String::from_utf8(told.stdout).unwrap();
    let told: Vec<&str> = story.lines().collect();
    for (step, reason) in AT_THE_EDGE {
        let is_it =
            |pair: &&[&str]| pair.first().is_some_and(|it| it.split_whitespace().nth(1) == Some(step));
        let why = told.windows(2).find(is_it).and_then(|pair| pair.last());
        let wanted = format!("ingress gateway {reason}");
        assert!(why.is_some_and(|why| why.trim().starts_with(&wanted)), "{step}: {why:?}");
    }
    for client in [
        "download-model",
        "read-corpus",
        "list-bucket",
        "ask-anthropic",
        "list-models",
        "] chat ",
        "chat-stream",
        "] question ",
    ] {
        assert!(work.iter().any(|line| line.contains(client) && line.contains(": ok")), "{client}: {said}");
    }
}
