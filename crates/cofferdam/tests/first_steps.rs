//! What somebody meets who uses a command for the first time, and mistypes: it is said what to do, once, and nothing runs on as if all
//! were well.

use crate::program::{self, Folder};
use std::fs;
use std::io::{BufRead, BufReader};
use std::os::unix::net::UnixListener;
use std::os::unix::process::CommandExt;
use std::process::{Command, Stdio};

#[test]
fn gateways_refuse_manifests_that_are_not_there() {
    for gateway in [
        vec!["ingress-gateway", "-f", "/nowhere/at-all"],
        vec!["egress-gateway", "-f", "/nowhere/at-all", "--certificates", "/nowhere"],
    ] {
        let said = program::run(gateway.iter().copied());
        assert_eq!(said.code, Some(2), "{gateway:?}: {}{}", said.out, said.err);
        assert!(said.err.contains("-f /nowhere/at-all: No such file"), "{gateway:?}: {}", said.err);
    }
}

#[test]
fn a_collector_without_a_certificate_says_that_nobody_can_send() {
    let folder = tempfile::tempdir().unwrap();
    let mut child = Command::new(env!("CARGO_BIN_EXE_cofferdam"))
        .current_dir(folder.path())
        .args(["collector", "--ledger", "all.db", "--certificates", "nope", "--listen", "127.0.0.1:0"])
        .stdout(Stdio::piped())
        .spawn()
        .unwrap();
    let mut said = BufReader::new(child.stdout.take().unwrap()).lines().map_while(Result::ok);
    let found = said.find(|line| line.contains("NOBODY CAN SEND"));
    child.kill().unwrap();
    child.wait().unwrap();
    assert!(found.is_some_and(|line| line.contains("nope/tls.crt: No such file")));
}

#[test]
fn a_hub_that_cannot_be_found_is_told_of_once() {
    let folder = tempfile::tempdir().unwrap();
    let nowhere = folder.path().join("nope");
    let nowhere = nowhere.to_str().unwrap();
    for command in [vec!["rollout", "status", "x", "--hub", nowhere], vec!["rollouts", "--hub", nowhere]] {
        let said = program::run(command.iter().copied());
        assert_eq!(said.code, Some(2), "{}", said.err);
        assert_eq!(said.err.matches("No such file").count(), 1, "{}", said.err);
        assert!(said.err.starts_with("cofferdam: --hub: reading "), "{}", said.err);
    }
}

#[test]
fn objects_of_a_fleet_lie_beside_policies() {
    let folder = Folder::with(
        "fleet.yaml",
        "apiVersion: cofferdam.dev/v1alpha1\nkind: Rollout\nmetadata: {name: r}\nspec: {}\n",
    );
    let said = folder.policy("check", "");
    assert_eq!(said.code, Some(0), "{}", said.out);
    assert!(
        said.out.contains("Rollout r: how a release comes") && said.out.contains("`cofferdam rollouts`"),
        "{}",
        said.out
    );
    assert_eq!(
        (folder.verdict("x/b", "x/a", 80), folder.verdict("y/c", "x/a", 80)),
        ("allow".into(), "deny".into())
    );
}

#[test]
fn an_end_that_is_none_leads_to_one() {
    let folder = Folder::new();
    for (to, hint) in [("a", "; there is x/a"), ("huggingface.co", "--name huggingface.co")] {
        let said = folder.policy("explain", &format!("--from x/b --to {to} --port 80"));
        assert!(said.code == Some(2) && said.err.contains(hint), "{to}: {}", said.err);
    }
}

#[test]
fn a_policy_that_decides_as_a_whole_is_named_with_one_space_before_its_line() {
    let broken = "apiVersion: cofferdam.dev/v1alpha1\nkind: EgressPolicy\nmetadata: {name: p, namespace: x}\nspec: {subjct: {}}\n";
    let folder = Folder::with("p.yaml", broken);
    let said = folder.policy("explain", "--from x/a --to y/c --port 80");
    assert!(said.out.contains("EgressPolicy x/p (") && said.out.contains("p.yaml:1)"), "{}", said.out);
}

#[test]
fn fields_of_requests_that_are_not_read_are_named_and_no_error() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("requests.jsonl");
    let request = r#"{"method":"GET","url":"https://pypi.org/simple/x/","id":1}"#;
    fs::write(&path, format!("{request}\n{}\n", request.replace("\"id\"", "\"data\""))).unwrap();
    let said = program::run(["classify", path.to_str().unwrap()]);
    assert_eq!(said.code, Some(0), "{}", said.err);
    assert!(said.err.contains("not read: id (line 1), data (line 2); of a request"), "{}", said.err);
    let har = r#"{"log":{"entries":[{"id":3,"request":{"method":"GET","url":"https://pypi.org/simple/x/","x":1}}]}}"#;
    fs::write(&path, har).unwrap();
    let said = program::run(["classify", path.to_str().unwrap()]);
    assert_eq!((said.code, said.err.as_str()), (Some(0), ""));
}

#[test]
fn a_file_that_is_no_archive_is_no_evidence_that_was_changed() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("notes.txt");
    let long = "x".repeat(4096);
    for text in ["", "a note", long.as_str()] {
        fs::write(&path, text).unwrap();
        let said = program::run(["incident", "verify", path.to_str().unwrap()]);
        assert_eq!(said.code, Some(2), "{}", said.out);
        assert!(
            said.err.contains("notes.txt is no archive") && said.err.contains("incident evidence"),
            "{}",
            said.err
        );
    }
}

#[test]
fn an_address_that_is_none_leads_to_one() {
    for (written, hint) in
        [("8080", "127.0.0.1:8080"), (":80", "127.0.0.1:80"), ("localhost:80", "an IP address and a port")]
    {
        let said = program::run(["up", "-f", ".", "--serve", written]);
        assert!(said.code == Some(2) && said.err.contains(hint), "{written}: {}", said.err);
    }
}

#[test]
fn nobody_who_answers_may_be_elsewhere() {
    let said = program::run(["flows", "--socket", "/nowhere/x.sock"]);
    assert_eq!(said.code, Some(2));
    for way_out in ["cofferdam up -f DIR", "--socket", "--api URL --token FILE"] {
        assert!(said.err.contains(way_out), "{}", said.err);
    }
}

#[test]
fn a_reader_who_has_seen_enough_ends_a_command_in_silence() {
    let mut child = Command::new(env!("CARGO_BIN_EXE_cofferdam"))
        .args(["api", "openapi"])
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .unwrap();
    let mut first = String::new();
    BufReader::new(child.stdout.take().unwrap()).read_line(&mut first).unwrap();
    let said = child.wait_with_output().unwrap();
    assert!(said.status.success() && said.stderr.is_empty(), "{}", String::from_utf8_lossy(&said.stderr));
}

#[test]
fn policies_without_workloads_say_what_is_missing() {
    let policies = "{apiVersion: networking.k8s.io/v1, kind: NetworkPolicy, metadata: {name: a, namespace: x}, spec: {podSelector: {}}}";
    let folder = tempfile::tempdir().unwrap();
    fs::write(folder.path().join("a.yaml"), policies).unwrap();
    let folder = folder.path().to_str().unwrap();
    let asked = ["policy", "explain", "-f", folder, "--from", "x/a", "--to", "x/b", "--port", "80"];
    let said = program::run(asked);
    assert_eq!(said.code, Some(2));
    assert!(said.err.contains("give -f those of the workloads, too"), "{}", said.err);
    let said = program::run(["policy", "connectivity", "-f", folder]);
    assert_eq!((said.code, said.out.as_str()), (Some(0), ""));
    assert!(said.err.contains("nothing is allowed"), "{}", said.err);
}

#[test]
fn a_folder_without_manifests_is_told_to_whoever_enforces_it() {
    let folder = tempfile::tempdir().unwrap();
    let socket = folder.path().join("up.sock");
    let (folder, socket) = (folder.path().to_str().unwrap(), socket.to_str().unwrap());
    let said = program::run(["up", "--judge-only", "--once", "-f", folder, "--socket", socket]);
    assert_eq!(said.code, Some(0), "{}", said.err);
    assert!(said.out.contains("no object was found, so nothing is denied"), "{}", said.out);
}

#[test]
fn a_file_that_is_no_ledger_is_kept_and_whoever_named_it_is_told_where() {
    let folder = Folder::with("notes.txt", "nothing of a ledger");
    let path = |name| folder.path(name).to_str().unwrap().to_owned();
    let [manifest, socket, file] = ["world.yaml", "up.sock", "notes.txt"].map(path);
    let said = program::run([
        "up",
        "--judge-only",
        "--once",
        "-f",
        &manifest,
        "--socket",
        &socket,
        "--ledger",
        &file,
    ]);
    assert_eq!(said.code, Some(0), "{}", said.err);
    let aside = format!("{file}.damaged-1");
    assert!(said.err.contains(&format!("what was in it is in {aside}")), "{}", said.err);
    assert_eq!(fs::read_to_string(aside).unwrap(), "nothing of a ledger");
}

#[test]
fn who_may_not_ask_is_told_so_and_not_that_nobody_answers() {
    // The folder is its user's alone.
    let folder = tempfile::tempdir().unwrap();
    let socket = folder.path().join("up.sock");
    let _listens = UnixListener::bind(&socket).unwrap();
    if !nix::unistd::geteuid().is_root() {
        return eprintln!("SKIPPED: only root can ask as somebody else");
    }
    let asked = Command::new(env!("CARGO_BIN_EXE_cofferdam"))
        .args(["flows", "--socket", socket.to_str().unwrap()])
        .uid(65534)
        .current_dir("/")
        .output();
    let Ok(said) = asked else { return eprintln!("SKIPPED: nobody else can run the program where it is") };
    let said = String::from_utf8_lossy(&said.stderr).into_owned();
    assert!(said.contains("up.sock: permission denied") && said.contains("sudo"), "{said}");
}

#[test]
fn what_is_empty_is_not_taken_for_what_is_well() {
    let folder = Folder::with("empty.yaml", "\n");
    let said = folder.policy("check", "");
    assert_eq!(said.code, Some(0), "{}", said.out);
    assert!(said.out.contains("empty.yaml:1:1: the file is empty"), "{}", said.out);
    let empty = folder.path("empty.yaml");
    let empty = empty.to_str().unwrap();
    for asked in [
        &["policy", "check", "-f", empty][..],
        &["policy", "verify", empty],
        &["clusters", "diff", empty, empty],
        &["release", "diff", empty, empty],
    ] {
        let said = program::run(asked.iter().copied());
        assert_eq!(said.code, Some(2), "{asked:?}: {}{}", said.out, said.err);
        assert!(said.err.contains("empty.yaml"), "{asked:?}: {}", said.err);
    }
    let said = program::run(["classify", empty]);
    assert!(said.code == Some(0) && said.err.contains("there is no request in it"), "{}", said.err);
}

#[test]
fn a_file_that_is_no_ledger_is_told_from_one_that_cannot_be_read() {
    let folder = Folder::new();
    let world = folder.path("world.yaml");
    for command in [&["ledger", "verify"][..], &["edges"], &["incident", "list"]] {
        let said = program::run(command.iter().copied().chain(["--ledger", world.to_str().unwrap()]));
        assert_eq!(said.code, Some(2), "{}", said.err);
        assert!(said.err.contains("world.yaml: this is no ledger"), "{}", said.err);
    }
}

#[test]
fn a_hub_that_does_not_answer_is_named_by_its_address() {
    let folder = tempfile::tempdir().unwrap();
    let config = folder.path().join("hub.kubeconfig");
    let text = "{apiVersion: v1, kind: Config, current-context: c, clusters: [{name: c, cluster: {server: 'http://127.0.0.1:1'}}], \
                contexts: [{name: c, context: {cluster: c, user: u}}], users: [{name: u, user: {}}]}";
    fs::write(&config, text).unwrap();
    for command in [&["clusters", "list"][..], &["rollout", "status", "r"], &["rollout", "pause", "r"]] {
        let said = program::run(command.iter().copied().chain(["--hub", config.to_str().unwrap()]));
        assert_eq!(said.code, Some(2), "{}", said.err);
        assert!(said.err.contains("--hub: the API server at http://127.0.0.1:1/"), "{}", said.err);
    }
}

#[test]
fn a_kind_that_is_none_leads_to_those_there_are() {
    let said = program::run(["install", "crds", "--kind", "egresspolicy"]);
    assert!(
        said.code == Some(2) && said.err.contains("there are ") && said.err.contains("EgressPolicy"),
        "{}",
        said.err
    );
}
