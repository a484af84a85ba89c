//! The console of a real collector over a ledger of a million edges, in a real browser: how long until a page says what it has to say.
//!
//! Takes minutes: `cargo test -p cofferdam --test all console_million -- --ignored --nocapture`. With MILLION_LEDGER=FILE the ledger is kept there, and
//! used again within the hour; MILLION_MOST=MILLISECONDS is what a page may take (2000).

#![allow(
    clippy::unwrap_used,
    clippy::panic,
    clippy::indexing_slicing,
    clippy::print_stderr,
    reason = "in a test a panic is the failure report"
)]

use controller::authority::Authority;
use feed::tls::{COLLECTOR, Identity};
use ledger::{Entry, Kind, Ledger, Verdict};
use serde_json::{Value, json};
use std::fmt::Write as _;
use std::fs;
use std::io::{BufRead, BufReader, Read, Write};
use std::net::TcpStream;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant, SystemTime};

const EDGES: u64 = 1_000_000;
/// Calls of models.
const CALLS: u64 = 50_000;
const FINDINGS: u64 = 500;
/// All of it happened in this time, of the hour that pages show: in microseconds.
const LASTS: u64 = 40 * 60 * 1_000_000;
/// Entries of one write.
const TURN: u64 = 20_000;
const NAMESPACES: u64 = 100;
const WORKLOADS: u64 = 5000;
/// Of each namespace.
const POLICIES: u64 = 5;

fn namespace(of: u64) -> String {
    format!("team-{:02}", of % NAMESPACES)
}

fn workload(of: u64) -> String {
    format!("{}/Deployment/service-{}", namespace(of), of % WORKLOADS)
}

/// What decided about a workload.
fn rule(of: u64) -> String {
    format!("NetworkPolicy {}/policy-{} spec.egress[0] (policies.yaml:7)", namespace(of), of % POLICIES)
}

/// 5,000 workloads of 100 namespaces, which met 200 of their like or of 100,000 outside names of 2,000 domains; one in a hundred was
/// denied.
fn flow(number: u64, begun: u64) -> Entry {
    let source = number / 200;
    let other = number.wrapping_mul(2_654_435_761) >> 7;
    let destination = match number % 4 {
        0 => format!("host-{}-{}.domain-{}.example", number % 50_000, number % 200, number % 2000),
        _ => format!("{}/Pod/{}-{}", namespace(other), other % 40, number % 200),
    };
    Entry {
        time: begun + number * (LASTS / EDGES),
        node: format!("node-{}", source % 50).into(),
        source: workload(source).into(),
        destination: destination.into(),
        port: 443,
        protocol: 6,
        rule: rule(source).into(),
        reason: "rule-allows".into(),
        sent: number % 5000,
        received: number % 90_000,
        ..Entry::new(Kind::Flow, if number % 100 == 3 { Verdict::Deny } else { Verdict::Allow })
    }
}

fn call(number: u64, begun: u64) -> Entry {
    let (source, service) = (number % 200, ["api.openai.com", "api.anthropic.com", "huggingface.co"]);
    let name = service[usize::try_from(number % 3).unwrap()];
    let detail = json!({
        "time": "2026-11-27T00:00:00Z", "name": name, "verdict": "allow", "reason": "rule-allows", "status": 200,
        "operation": { "verb": "generate", "model": format!("model-{}", number % 5) },
        "usage": { "model": format!("model-{}", number % 5), "input_tokens": 812, "output_tokens": 96 },
        "cost": { "nanos": 1_200_000, "currency": "USD" },
        "duration_micros": 900_000 + number % 300_000, "first_byte_micros": 210_000, "bytes_up": 3000, "bytes_down": 900,
    });
    Entry {
        time: begun + number * (LASTS / CALLS),
        node: format!("node-{}", source % 50).into(),
        source: workload(source).into(),
        destination: name.into(),
        port: 443,
        protocol: 6,
        rule: rule(source).into(),
        reason: "rule-allows".into(),
        detail: Some(detail.to_string()),
        ..Entry::new(Kind::AiCall, Verdict::Allow)
    }
}

fn finding(number: u64, begun: u64) -> Entry {
    let (who, whom) = (workload(number), format!("domain-{}.example", number % 50));
    let detail = json!({
        "id": format!("{number:016x}"), "detector": "beacon", "severity": "medium", "workload": who, "subject": whom,
        "sentence": "it beacons", "techniques": ["T1071"],
    });
    Entry {
        time: begun + number * (LASTS / FINDINGS),
        node: format!("node-{}", number % 50).into(),
        source: who.into(),
        destination: whom.into(),
        reason: "beacon".into(),
        detail: Some(detail.to_string()),
        ..Entry::new(Kind::Finding, Verdict::None)
    }
}

fn write(path: &Path) {
    let now = SystemTime::now().duration_since(SystemTime::UNIX_EPOCH).unwrap().as_micros();
    let begun = u64::try_from(now).unwrap() - LASTS - 120_000_000;
    let (mut ledger, _) = Ledger::open(path).unwrap();
    for turn in 0..EDGES / TURN {
        let entries: Vec<Entry> = (turn * TURN..(turn + 1) * TURN).map(|it| flow(it, begun)).collect();
        ledger.append(&entries).unwrap();
    }
    let calls: Vec<Entry> = (0..CALLS).map(|it| call(it, begun)).collect();
    ledger.append(&calls).unwrap();
    let findings: Vec<Entry> = (0..FINDINGS).map(|it| finding(it, begun)).collect();
    ledger.append(&findings).unwrap();
}

/// 500 policies and 5,000 workloads, a file for each namespace.
fn policies(folder: &Path) {
    fs::create_dir(folder).unwrap();
    for team in 0..NAMESPACES {
        let name = namespace(team);
        let mut text = format!("apiVersion: v1\nkind: Namespace\nmetadata: {{name: {name}}}\n");
        for number in 0..POLICIES {
            let policy = format!(
                "---\napiVersion: networking.k8s.io/v1\nkind: NetworkPolicy\nmetadata: {{name: policy-{number}, namespace: {name}}}\n\
                 spec:\n  podSelector: {{matchLabels: {{tier: \"{number}\"}}}}\n  policyTypes: [Egress]\n  egress:\n  - ports: [{{port: 443}}]\n"
            );
            text.push_str(&policy);
        }
        for of in (team..WORKLOADS).step_by(usize::try_from(NAMESPACES).unwrap()) {
            write!(
                text,
                "---\napiVersion: apps/v1\nkind: Deployment\nmetadata: {{name: service-{of}, namespace: {name}}}\nspec:\n  replicas: 1\n  \
                 selector: {{matchLabels: {{app: s{of}}}}}\n  template:\n    metadata: {{labels: {{app: s{of}, tier: \"{}\"}}}}\n    \
                 spec: {{containers: [{{name: c, image: i}}]}}\n",
                of % POLICIES
            )
            .unwrap();
        }
        fs::write(folder.join(format!("{name}.yaml")), text).unwrap();
    }
}

struct Served {
    child: Child,
    address: String,
    token: String,
}

impl Served {
    fn start(ledger: &Path, folder: &Path) -> Self {
        let certificates = folder.join("certificates");
        fs::create_dir(&certificates).unwrap();
        let authority = Authority::new(SystemTime::now()).unwrap();
        let Identity { chain, key, authority } =
            authority.issue(&[COLLECTOR.to_owned()], SystemTime::now()).unwrap();
        for (file, text) in [("tls.crt", chain), ("tls.key", key), ("ca.crt", authority)] {
            fs::write(certificates.join(file), text).unwrap();
        }
        let manifests = folder.join("manifests");
        policies(&manifests);
        let mut command = Command::new(env!("CARGO_BIN_EXE_cofferdam"));
        command
            .args(["collector", "--listen", "127.0.0.1:0", "--serve", "127.0.0.1:0", "--ledger"])
            .arg(ledger);
        command.arg("--certificates").arg(&certificates).arg("--policies").arg(&manifests);
        let mut child = command.stdout(Stdio::piped()).spawn().unwrap();
        let said = BufReader::new(child.stdout.take().unwrap()).lines();
        let found = said.map_while(Result::ok).find_map(|line| {
            Some(line.split_once("console and API: http://")?.1.trim_end_matches('/').to_owned())
        });
        let address = found.unwrap_or_else(|| panic!("it ended before it served"));
        let token = fs::read_to_string(ledger.with_extension("token")).unwrap().trim().to_owned();
        Self { child, address, token }
    }

    fn get(&self, path: &str) -> Value {
        let mut stream = TcpStream::connect(&self.address).unwrap();
        let request = format!(
            "GET /api/v1{path} HTTP/1.0\r\nhost: {}\r\nauthorization: Bearer {}\r\n\r\n",
            self.address, self.token
        );
        stream.write_all(request.as_bytes()).unwrap();
        let mut answer = String::new();
        stream.read_to_string(&mut answer).unwrap();
        serde_json::from_str(answer.split_once("\r\n\r\n").unwrap().1).unwrap()
    }

    /// Detectors look at the last hour first, with all of a processor.
    fn until_detectors_are_done(&self) {
        let end = Instant::now() + Duration::from_secs(900);
        let looked_at = || {
            let status = self.get("/status");
            let found =
                status["sensors"].as_array().unwrap().iter().find(|it| it["name"] == "detectors").cloned();
            let detail = found.unwrap()["detail"].as_str().unwrap().to_owned();
            detail.split(' ').find_map(|word| word.parse::<u64>().ok()).unwrap()
        };
        while looked_at() < EDGES {
            assert!(Instant::now() < end, "{:#}", self.get("/status"));
            std::thread::sleep(Duration::from_secs(2));
        }
    }
}

impl Drop for Served {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

#[test]
#[ignore = "a measurement: it takes minutes, and needs node, chromium and the console that npm builds"]
fn pages_over_a_million_edges_say_what_they_have_to_say_in_time() {
    let folder = tempfile::tempdir().unwrap();
    let kept = std::env::var_os("MILLION_LEDGER").map(PathBuf::from);
    let path = kept.unwrap_or_else(|| folder.path().join("ledger.db"));
    if !path.exists() {
        let begun = Instant::now();
        write(&path);
        let megabytes = path.metadata().unwrap().len() >> 20;
        eprintln!("written in {:.1} s, {megabytes} MB", begun.elapsed().as_secs_f64());
    }
    let begun = Instant::now();
    let served = Served::start(&path, folder.path());
    served.until_detectors_are_done();
    eprintln!("detectors looked at it in {:.1} s", begun.elapsed().as_secs_f64());
    let most = std::env::var("MILLION_MOST").unwrap_or_else(|_| "2000".to_owned());
    let script = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../tests/console/million.mjs");
    let mut measure = Command::new("node");
    measure.arg(script).args([&format!("http://{}/", served.address), &served.token, &most]);
    assert!(measure.status().unwrap().success(), "a page took longer than {most} ms");
}
