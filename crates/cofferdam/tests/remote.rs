//! Commands that ask an API with `--api` say what they say of the ledger behind it, follow it, and refuse what it cannot be asked.

#![expect(clippy::unwrap_used, reason = "helpers of tests; a panic is the failure report")]

use api::shape::Moment;
use api::shape::live::{Budget, Counts, Deciding, LedgerStatus, PolicyItem, Sensor, Shadow, Status};
use api::shape::walk::Walk;
use api::{Actions, Authenticate, Change, Live, Manifest, NotDone, NotRecognised, Recognition, Role, Who};
use incident::Reachable;
use ledger::{Entry, Kind, Ledger, Verdict};
use serde_json::{Value, json};
use std::fs;
use std::io::{BufRead, BufReader};
use std::net::{IpAddr, SocketAddr};
use std::path::PathBuf;
use std::process::{Command, Output, Stdio};
use std::sync::Arc;

/// 2026-11-26T12:00:00Z.
const START: u64 = 1_795_694_400_000_000;

/// Knows nothing but that a sender is silent: what is asked here comes from the ledger.
struct Nothing;

impl Live for Nothing {
    fn status(&self) -> Status {
        Status {
            version: "1".to_owned(),
            time: Moment::of(START),
            node: "collector".to_owned(),
            generation: 7,
            enforcement: "collector".to_owned(),
            degraded: Vec::new(),
            ledger: LedgerStatus {
                path: "ledger.db".to_owned(),
                written: 9,
                lost: 0,
                ..LedgerStatus::default()
            },
            sensors: vec![Sensor {
                name: "n2".to_owned(),
                role: "sender".to_owned(),
                ready: false,
                lost: 4,
                detail: "heard of 900 s ago".to_owned(),
            }],
            counts: Counts::default(),
        }
    }

    fn policies(&self) -> (u64, Vec<PolicyItem>) {
        (0, Vec::new())
    }

    fn shadow(&self) -> Option<Shadow> {
        None
    }

    fn manifest(&self, _: &str, _: &str, _: &str) -> Option<Manifest> {
        None
    }

    fn deciding(&self, _: &str) -> Option<Deciding> {
        None
    }

    fn budgets(&self) -> Vec<Budget> {
        Vec::new()
    }

    fn walk(&self, _: &Entry) -> Option<Walk> {
        None
    }
}

impl Actions for Nothing {
    fn change(&self, _: &Who, change: Change) -> Result<Value, NotDone> {
        match change {
            Change::Close { incident, text } => Ok(json!({ "id": incident, "notes": [{ "text": text }] })),
            Change::Export { .. } => Ok(json!({})),
            Change::AcknowledgeFinding { .. }
            | Change::Note { .. }
            | Change::Acknowledge { .. }
            | Change::Reopen { .. }
            | Change::Contain { .. }
            | Change::Release { .. } => Err(NotDone::Unavailable("nothing is done here".to_owned())),
        }
    }

    fn seal(&self) {}

    fn could(&self, _: &str) -> Option<Reachable> {
        None
    }

    fn logged_in(&self, _: IpAddr, _: &Who, _: &str) {}

    fn refused(&self, _: IpAddr, _: &str) {}
}

impl Authenticate for Nothing {
    fn recognise<'a>(&'a self, token: &'a str) -> Recognition<'a> {
        let who = |role| Ok(Who { name: "somebody".into(), role });
        Box::pin(std::future::ready(match token {
            "good" => who(Role::Viewer),
            "acting" => who(Role::Operator),
            _ => Err(NotRecognised::Wrong),
        }))
    }
}

/// What an API goes by that has a ledger and nothing else.
pub(crate) fn config(ledger: PathBuf) -> api::Config {
    api::Config {
        live: Arc::new(Nothing),
        actions: Arc::new(Nothing),
        authenticate: Arc::new(Nothing),
        ledger,
        store: None,
        catalog: crds::Catalog::built_in(),
        hosts: Vec::new(),
        hub: None,
        sign_on: None,
        assets: Box::new(|_, _| None),
    }
}

/// An API over a ledger, and the program that asks it.
struct World {
    ledger: Ledger,
    path: PathBuf,
    address: SocketAddr,
    folder: tempfile::TempDir,
    _runtime: tokio::runtime::Runtime,
}

impl World {
    fn new() -> Self {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("ledger.db");
        let mut ledger = Ledger::open(&path).unwrap().0;
        ledger.append(&recorded()).unwrap();
        fs::write(folder.path().join("good"), "good\n").unwrap();
        fs::write(folder.path().join("wrong"), "wrong\n").unwrap();
        fs::write(folder.path().join("acting"), "acting\n").unwrap();
        let runtime =
            tokio::runtime::Builder::new_multi_thread().worker_threads(2).enable_all().build().unwrap();
        let listener = runtime.block_on(tokio::net::TcpListener::bind("127.0.0.1:0")).unwrap();
        let address = listener.local_addr().unwrap();
        runtime.spawn(api::serve(listener, config(path.clone())));
        Self { ledger, path, address, folder, _runtime: runtime }
    }

    fn command(&self, words: &str, token: &str) -> Command {
        let mut command = Command::new(env!("CARGO_BIN_EXE_cofferdam"));
        command.current_dir(self.folder.path()).args(words.split_whitespace());
        command.args(["--api", &format!("http://{}", self.address), "--token", token]);
        command
    }

    fn ask(&self, words: &str) -> Output {
        self.command(words, "good").output().unwrap()
    }

    /// What the API is said to have.
    fn text(&self, words: &str) -> String {
        let output = self.ask(words);
        assert!(output.status.success(), "{words}: {}", String::from_utf8_lossy(&output.stderr));
        String::from_utf8(output.stdout).unwrap()
    }

    fn json(&self, words: &str) -> Vec<Value> {
        let text = self.text(&format!("{words} --json"));
        text.lines().map(|line| serde_json::from_str(line).unwrap()).collect()
    }

    /// The same of the ledger's file.
    fn local(&self, words: &str) -> String {
        let mut command = Command::new(env!("CARGO_BIN_EXE_cofferdam"));
        command.current_dir(self.folder.path());
        let output = command.args(words.split_whitespace()).arg("--ledger").arg(&self.path).output().unwrap();
        assert!(output.status.success(), "{words}: {}", String::from_utf8_lossy(&output.stderr));
        String::from_utf8(output.stdout).unwrap()
    }
}

#[test]
fn several_clusters_are_asked_at_once_and_who_does_not_answer_is_named() {
    let world = World::new();
    // Takes connections, and says nothing.
    let silent = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
    let ask = |clusters: &[(&str, &str, &str)], form: &str| {
        let mut command = Command::new(env!("CARGO_BIN_EXE_cofferdam"));
        command.current_dir(world.folder.path()).args(["clusters", "ask", "--wait", "15", "-o", form]);
        for (name, address, token) in clusters {
            command.args([
                "--at",
                &format!("{name}=http://{address}"),
                "--token",
                &format!("{name}={token}"),
            ]);
        }
        let output = command.args(["--", "edges", "--limit", "3"]).output().unwrap();
        let text = |bytes: &[u8]| String::from_utf8(bytes.to_vec()).unwrap();
        (output.status.code(), text(&output.stdout), text(&output.stderr))
    };
    let (here, silent) = (world.address.to_string(), silent.local_addr().unwrap().to_string());
    let own = world.json("edges --limit 3");
    assert!(!own.is_empty());
    let of = |cluster: &str| {
        let named = |row: &Value| {
            let mut row = row.clone();
            row["cluster"] = cluster.into();
            row
        };
        own.iter().map(named).collect::<Vec<_>>()
    };
    let (code, lines, _) = ask(&[("west", &here, "good"), ("east", &here, "good")], "jsonl");
    let rows: Vec<Value> = lines.lines().map(|line| serde_json::from_str(line).unwrap()).collect();
    assert_eq!((code, rows), (Some(0), [of("west"), of("east")].concat()));
    let clusters = [
        ("west", &*here, "good"),
        ("wrong", &*here, "wrong"),
        ("gone", "127.0.0.1:1", "good"),
        ("mute", &*silent, "good"),
    ];
    let (code, array, told) = ask(&clusters, "json");
    assert_eq!(code, Some(1));
    assert!(told.contains("PARTIAL: 3 of 4 clusters did not answer"), "{told}");
    let rows: Vec<Value> = serde_json::from_str(&array).unwrap();
    let (found, missing) = rows.split_at(own.len());
    assert_eq!(found, of("west"));
    let missing: Vec<_> =
        missing.iter().map(|it| (it["cluster"].as_str().unwrap(), it["error"].as_str())).collect();
    assert_eq!(missing.iter().map(|(name, _)| *name).collect::<Vec<_>>(), ["wrong", "gone", "mute"]);
    assert!(missing.iter().all(|(_, why)| why.is_some_and(|why| !why.is_empty())), "{missing:?}");
    let (_, table, _) = ask(&clusters[..3], "table");
    let head = table.lines().take(1 + world.text("edges --limit 3").lines().count()).collect::<Vec<_>>();
    assert_eq!(head[0], "== west");
    assert_eq!(head[1..].join("\n"), world.text("edges --limit 3").trim_end());
    assert!(table.contains("== gone\nNOT ANSWERED: "), "{table}");
    let (_, csv, told) = ask(&clusters[..3], "csv");
    assert!(
        csv.starts_with("cluster,") && csv.lines().skip(1).all(|line| line.starts_with("west,")),
        "{csv}"
    );
    assert!(told.contains("gone: not answered: "), "{told}");
}

fn denial(number: u64) -> Entry {
    let detail = json!({
        "kind": "deny", "about": "metadata-service",
        "from": { "kind": "pod", "namespace": "ai", "name": format!("train-{number}"), "address": "10.0.0.7", "port": 4000 },
    });
    Entry {
        time: START + number,
        node: "n1".into(),
        source: "ai/Job/train".into(),
        destination: "169.254.169.254".into(),
        port: 80,
        protocol: 6,
        reason: "no-rule".into(),
        detail: Some(detail.to_string()),
        ..Entry::new(Kind::Flow, Verdict::Deny)
    }
}

fn dns(number: u64) -> Entry {
    Entry {
        time: START + 1_000_000 * number,
        node: "n2".into(),
        source: format!("shop/Deployment/web-{}", number % 3).into(),
        destination: format!("{number}.example").into(),
        port: 53,
        protocol: 17,
        reason: "answered".into(),
        detail: Some("{}".to_owned()),
        ..Entry::new(Kind::Dns, Verdict::Allow)
    }
}

fn finding(id: u64, told: u64) -> Entry {
    let time = "2026-11-26T12:00:00.000000Z";
    let detail = json!({
        "id": format!("{id:016x}"), "detector": "beacon", "severity": if id == 1 { "high" } else { "low" }, "time": time,
        "until": time, "workload": "ai/Job/train", "subject": "c2.example", "sentence": format!("told {told}"),
        "numbers": [], "count": told, "records": [], "techniques": ["T1071"],
    });
    Entry {
        time: START,
        source: "ai/Job/train".into(),
        destination: "c2.example".into(),
        reason: "beacon".into(),
        detail: Some(detail.to_string()),
        ..Entry::new(Kind::Finding, Verdict::None)
    }
}

/// 30 edges, three denials, 1200 questions (more than one answer has), two requests, and two findings of which one was told twice.
pub(crate) fn recorded() -> Vec<Entry> {
    let flow = |number: u64| Entry {
        time: START + 20_000_000 * number,
        node: "n1".into(),
        source: format!("shop/Deployment/web-{}", number % 3).into(),
        destination: format!("{number}.example").into(),
        port: 443,
        protocol: 6,
        rule: "EgressPolicy shop/web (a.yaml:7)".into(),
        reason: "name-allowed".into(),
        sent: 1000 * number,
        received: 7,
        ..Entry::new(Kind::Flow, Verdict::Allow)
    };
    let call = |tools: Value| Entry {
        time: START,
        source: "agents/Pod/helper".into(),
        destination: "mcp.example".into(),
        port: 443,
        protocol: 6,
        reason: "allowed".into(),
        detail: Some(
            json!({ "method": "POST", "path": "/mcp", "status": 200, "operation": { "tools": tools } })
                .to_string(),
        ),
        ..Entry::new(Kind::AiCall, Verdict::Allow)
    };
    let mut all: Vec<Entry> = (0..30).map(flow).chain((0..3).map(denial)).chain((0..1200).map(dns)).collect();
    all.extend([call(json!(["delete_all"])), call(json!([]))]);
    all.extend([finding(1, 1), finding(2, 1), finding(1, 2)]);
    all
}

#[test]
fn what_a_ledger_is_asked_an_api_over_it_answers_in_the_same_words() {
    let world = World::new();
    for words in [
        "edges",
        "edges --json",
        "edges -o csv",
        "edges -o json --zone +02:00",
        "edges --new --since 2026-11-26T12:05:00Z --json",
        "edges --since 2026-11-26T12:05:00Z --until 2026-11-26T12:06:00Z --json",
        "edges --verdict deny --json",
        "edges --source shop/* --destination 7.example --port 443 --rule EgressPolicy* --json",
        "edges --text EXAMPLE --limit 4",
        "top",
        "top destination --json",
        "top rule --measure denied --since 2026-11-26T12:00:00Z -o csv",
        "ledger show --kind dns --limit 1150 --json",
        "ledger show --kind flow --kind finding --source shop/* --node n1 --limit 7",
        "ledger show --verdict deny --reason no-rule --port 80 --json",
        "ledger show --tool delete* --json",
        "incident list",
        "incident list --json",
        "incident list -o csv --zone +02:00",
        "incident list --state open --workload ai/* --text BEACON --since 2026-11-26T12:00:00Z --until 2026-11-27T12:00:00Z --json",
        "hunt c2.example",
        "hunt c2.example --json",
        "hunt ai/Job/train --node n1 -o csv",
        "hunt 169.254.0.0/16 --since 2026-11-26T12:00:00Z --until 2026-11-26T13:00:00Z --json",
        "hunt key:nobody-has-it --json",
    ] {
        let said = world.text(words);
        assert_eq!(said, world.local(words), "{words}");
        assert!(said.lines().count() > 1 || said.len() > 100, "nothing is asked by {words}: {said}");
    }
    let [mut pages, mut before] = [String::new(), String::new()];
    loop {
        let output = world.ask(&format!("edges --json --limit 8{before}"));
        pages += std::str::from_utf8(&output.stdout).unwrap();
        let noted = String::from_utf8(output.stderr).unwrap();
        let Some((_, mark)) = noted.trim().split_once("--before ") else { break };
        before = format!(" --before {mark}");
    }
    assert_eq!(pages, world.local("edges --json"));
}

#[test]
fn an_incident_is_told_the_same_and_found_by_the_beginning_of_its_id() {
    let world = World::new();
    let [incident] = &world.json("incident list")[..] else { panic!("there is one") };
    let id = incident["id"].as_str().unwrap();
    let begin = id.get(..6).unwrap();
    for id in [id, begin] {
        for words in [
            format!("incident show {id}"),
            format!("incident show {id} --json"),
            format!("incident timeline {id}"),
            format!("incident timeline {id} --json"),
        ] {
            let said = world.text(&words);
            assert_eq!(said, world.local(&words), "{words}");
            assert!(said.contains("told 2") && said.contains("169.254.169.254"), "{words}: {said}");
        }
    }
    assert_eq!(world.text("incident list --state closed -o json"), "[]\n");
    assert_eq!(world.text("incident list --workload nobody --json"), "");

    let acted = |words: &str, token: &str| {
        let output = world.command(words, token).output().unwrap();
        let [out, problem] = [output.stdout, output.stderr].map(|text| String::from_utf8(text).unwrap());
        (output.status.code(), out, problem)
    };
    assert_eq!(
        acted(&format!("incident close {begin} --text over"), "acting"),
        (Some(0), format!("{id}: written down\n"), String::new())
    );
    assert_eq!(acted(&format!("incident close {begin} --json"), "acting").1, "{}\n");
    let (code, _, problem) = acted(&format!("incident close {begin}"), "good");
    assert!(code == Some(2) && problem.contains("403"), "a viewer closes nothing: {problem}");
    let (code, _, problem) = acted(&format!("incident note {begin} seen"), "acting");
    assert!(code == Some(2) && problem.contains("nothing is done here"), "{problem}");

    let take = format!("incident evidence {begin} -o taken.tar");
    let (code, _, problem) = acted(&take, "good");
    assert!(code == Some(2) && problem.contains("403"), "a viewer takes nothing out: {problem}");
    let (code, said, problem) = acted(&take, "acting");
    assert!(code == Some(0) && said.contains(" records\nhash of its manifest "), "{said} {problem}");
    let (code, _, problem) = acted(&take, "acting");
    assert!(code == Some(2) && problem.contains("it is there already"), "{problem}");
    let verified = world.local("incident verify taken.tar");
    assert!(verified.starts_with(&format!("holds: incident {id}, 5 files\n")), "{verified}");
}

#[test]
fn a_part_that_does_not_do_its_work_is_told_of_a_process_elsewhere() {
    let world = World::new();
    let output = world.ask("status");
    let said = String::from_utf8(output.stdout).unwrap();
    assert_eq!(output.status.code(), Some(1), "{said}");
    assert!(
        said.starts_with("DEGRADED: collecting") && said.contains("1 incident that nobody closed"),
        "{said}"
    );
    assert!(said.contains("NOT READY") && said.contains("heard of 900 s ago"), "{said}");
    let status: Value = serde_json::from_slice(&world.ask("status --json").stdout).unwrap();
    assert_eq!((&status["enforcement"], &status["sensors"][0]["lost"]), (&json!("collector"), &json!(4)));
}

#[test]
fn records_of_each_kind_are_listed_and_filtered() {
    let world = World::new();
    let count = |words: &str| world.json(words).len();
    assert_eq!((count("flows"), count("flows --verdict deny"), count("flows --kind deny")), (33, 3, 3));
    assert_eq!((count("flows --protocol UDP"), count("flows --about metadata-service")), (0, 3));
    // A pod, which only the whole record has, and a workload.
    assert_eq!((count("flows --from ai/train-1"), count("flows --from ai/Job/train")), (1, 3));
    assert_eq!(
        (count("flows --from shop/*"), count("flows --to 29.exam"), count("flows --limit 5")),
        (30, 1, 5)
    );
    let text = world.text("flows --verdict deny --ids");
    let id = text.lines().nth(1).and_then(|line| line.split_whitespace().next()).unwrap();
    assert!(text.starts_with("RECORD") && id.starts_with("ledger:") && text.contains("DENY"), "{text}");
    let summary = world.text("flows --summary");
    assert!(summary.ends_with("\n30 allowed, 3 denied\n") && summary.contains("80/TCP"), "{summary}");

    let asked = world.json("dns --since 2026-11-26T12:00:00Z");
    let numbers: Vec<_> = asked.iter().map(|record| record["number"].as_i64().unwrap()).collect();
    assert_eq!((numbers.len(), numbers.is_sorted_by(|one, next| one < next)), (1200, true));
    assert_eq!(
        (count("dns --verdict deny"), count("dns --name 119?.example"), count("dns --from web-1")),
        (0, 10, 400)
    );
    assert!(world.text("dns -o csv --limit 1").starts_with("TIME,NODE,VERDICT,COUNT,FROM,NAME,WHY\n"));
    assert_eq!(world.text("connections -o json"), "[]\n");

    let calls = world.json("calls --name MCP.example");
    assert_eq!((calls.len(), &calls[0]["method"]), (2, &json!("POST")));
    let sequences = [&calls[0], &calls[1]].map(|call| call["sequence"].as_u64().unwrap());
    assert_eq!(sequences[0] + 1, sequences[1], "those of the ledger");
    assert_eq!((count("tools"), count("tools --tool delete_*"), count("tools --tool read")), (1, 1, 0));
    assert!(world.text("tools").contains("delete_all") && world.text("calls").contains("/mcp"));

    let findings = world.json("findings");
    let told: Vec<_> = findings.iter().map(|it| it["sentence"].as_str().unwrap()).collect();
    assert_eq!(told, ["told 2", "told 1"]);
    assert_eq!(
        (count("findings --severity high"), count("findings --from nobody"), count("findings --limit 1")),
        (1, 0, 1)
    );
    let explained = world.text("explain 0000000000000001");
    assert!(explained.contains("told 2"), "{explained}");
    let entry = &world.json(&format!("explain {id}"))[0];
    assert!(entry.to_string().contains("169.254.169.254"), "{entry}");
}

#[test]
fn what_comes_is_followed_without_a_gap() {
    let mut world = World::new();
    let mut command = world.command("dns --follow --json --name 119*.example", "good");
    let mut child = command.stdout(Stdio::piped()).spawn().unwrap();
    let mut lines = BufReader::new(child.stdout.take().unwrap()).lines();
    let mut next = || {
        let line: Value = serde_json::from_str(&lines.next().unwrap().unwrap()).unwrap();
        (line["number"].as_u64().unwrap(), line["destination"].as_str().unwrap().to_owned())
    };
    let listed: Vec<_> = (0..11).map(|_| next()).collect();
    let expected = std::iter::once(119).chain(1190..1200).map(|it| format!("{it}.example"));
    assert!(
        listed.iter().map(|(_, name)| name.clone()).eq(expected),
        "each once, the oldest first: {listed:?}"
    );
    for batch in [&[dns(5000), dns(1191)][..], &[denial(7)], &[dns(1192)]] {
        world.ledger.append(batch).unwrap();
    }
    let [(first, one), (second, other)] = [next(), next()];
    assert!(first > listed[10].0 && one == "1191.example" && other == "1192.example", "{one} {other}");
    assert!(second - first >= 2, "one that was not asked for is between them");
    child.kill().unwrap();
    child.wait().unwrap();
}

#[test]
fn what_an_api_cannot_be_asked_is_told() {
    let world = World::new();
    for (words, says) in [
        ("calls --content", "--content"),
        ("calls --otel", "--otel"),
        ("flows --kind open", "--kind"),
        ("flows --shadow-differs", "--shadow-differs"),
        ("explain flow:1", "ledger:N"),
        ("explain ledger:31 --ledger ledger.db", "--api and --ledger"),
        ("edges --ledger ledger.db", "--api and --ledger"),
        ("edges --store clickhouse+http://127.0.0.1:1/security", "cannot be used with"),
        ("flows --socket here", "cannot be used with"),
        ("top --limit 100000", "400"),
        ("incident list --limit 100000", "400"),
        ("incident list --ledger ledger.db", "--api and --ledger"),
        ("incident show zzzz", "there is no such incident"),
        ("incident show zzzz --ledger ledger.db", "--api and --ledger"),
        ("hunt evil.example --ledger ledger.db", "--api and --ledger"),
        ("hunt evil.example --socket here", "cannot be used with"),
        ("hunt address:nowhere", "is not an address"),
        ("status --socket here", "cannot be used with"),
        ("shadow", "ask an `up` that has --shadow"),
    ] {
        let output = world.ask(words);
        let said = String::from_utf8_lossy(&output.stderr).into_owned();
        assert!(!output.status.success() && said.contains(says), "{words}: {said}");
    }
    let output = world.command("flows", "wrong").output().unwrap();
    let said = String::from_utf8_lossy(&output.stderr).into_owned();
    assert!(output.status.code() == Some(2) && said.contains("401") && said.contains("--token"), "{said}");
}
