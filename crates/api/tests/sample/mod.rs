//! A made-up ledger, the same each time, with all kinds of entries and with names that mean harm; and a server over it.
//!
//! Used by tests of the API, and by those of the console (`cargo run -p api --example sample`).

#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::indexing_slicing,
    clippy::panic,
    reason = "a test's helpers fail the test"
)]
#![allow(dead_code, reason = "each user needs a part of it")]

use api::shape::Moment;
use api::shape::fleet::{
    Fleet, FleetCluster, FleetDecision, FleetErrors, FleetFindings, FleetGate, FleetMember, FleetNumbers,
    FleetRate, FleetRollout, FleetStage, ReleaseRef,
};
use api::shape::live::{
    Budget, Counts, Deciding, Difference, LedgerStatus, Line, PolicyItem, RuleItem, Sensor, Shadow, Standing,
    Status,
};
use api::shape::records::Nearest;
use api::shape::walk::{Walk, WalkSide, WalkStep};
use api::{Actions, Change, Hub, Live, Manifest, NotDone, Who};
use incident::{Could, Reachable};
use ledger::{Entry, Kind, Ledger, Verdict};
use serde_json::{Value, json};
use std::net::IpAddr;
use std::path::Path;
use std::sync::{Arc, Mutex};

/// Names as an attacker would choose them.
pub(crate) const HOSTILE: [&str; 8] = [
    "<script>alert(1)</script>.example",
    "\"><img src=x onerror=alert(1)>.example",
    "javascript:alert(1)",
    "\u{1b}[31mred\u{7}.example",
    "\u{202e}elpmaxe.live",
    "line\nbreak\r\nevent: record.example",
    "xn--pypi-\u{455}.example",
    "tab\tnull\u{0}.example",
];
/// The rule of the sample's policy, as entries have it.
pub(crate) const RULE: &str = "EgressPolicy ai/train spec.egress[0] \"models\" (policies/ai.yaml:8)";
/// The policy's text.
pub(crate) const YAML: &str = "apiVersion: cofferdam.dev/v1alpha1\nkind: EgressPolicy\nmetadata:\n  name: train\n  namespace: ai\n\
                        spec:\n  egress:\n  - name: models\n    to:\n    - domains: [api.openai.com]\n";
const MICROS: u64 = 1_000_000;

/// A name of 255 bytes.
pub(crate) fn long_name() -> String {
    format!("{}.example", "long-label-".repeat(23)).chars().take(255).collect()
}

/// Numbers that look random and are the same each time.
struct Dice(u64);

impl Dice {
    fn roll(&mut self, sides: u64) -> u64 {
        self.0 = self.0.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
        (self.0 >> 33) % sides
    }

    fn pick<'a>(&mut self, of: &[&'a str]) -> &'a str {
        of[usize::try_from(self.roll(of.len() as u64)).unwrap()]
    }
}

const SOURCES: [&str; 5] =
    ["ai/Job/train", "ai/Deployment/serve", "web/Deployment/shop", "ops/DaemonSet/node-exporter", "node n1"];
const DESTINATIONS: [&str; 6] = [
    "api.openai.com",
    "huggingface.co",
    "pypi.org",
    "data/StatefulSet/postgres",
    "192.0.2.7",
    "telemetry.example.co.uk",
];

/// So many entries of the hour before `end` (microseconds since 1970), in the order of time.
pub(crate) fn entries(count: u64, end: u64) -> Vec<Entry> {
    let mut dice = Dice(7);
    let long = long_name();
    let step = 3600 * MICROS / count.max(1);
    (0..count)
        .map(|number| {
            let time = end - (count - number) * step;
            let source = dice.pick(&SOURCES);
            let name = match dice.roll(20) {
                0 => dice.pick(&HOSTILE),
                1 => long.as_str(),
                _ => dice.pick(&DESTINATIONS),
            };
            let kind = Kind::ALL[usize::try_from(number % 6).unwrap()];
            let denied = dice.roll(10) == 0;
            let verdict = match kind {
                Kind::Finding | Kind::Audit => Verdict::None,
                _ if denied => Verdict::Deny,
                _ => Verdict::Allow,
            };
            let detail = detail(kind, verdict, [number, time], [source, name], &mut dice);
            Entry {
                time,
                node: "n1".into(),
                source: if kind == Kind::Audit { "local:0" } else { source }.into(),
                destination: if kind == Kind::Audit { "finding-1" } else { name }.into(),
                port: if kind == Kind::Dns { 53 } else { 443 },
                protocol: if kind == Kind::Dns { 17 } else { 6 },
                rule: if denied { "".into() } else { RULE.into() },
                reason: reason(kind, denied).into(),
                sent: dice.roll(100_000),
                received: dice.roll(1_000_000),
                detail: detail.map(|it| it.to_string()),
                ..Entry::new(kind, verdict)
            }
        })
        .collect()
}

fn reason(kind: Kind, denied: bool) -> &'static str {
    match (kind, denied) {
        (Kind::Finding, _) => "beacon",
        (Kind::Audit, _) => "note",
        (_, true) => "no-rule",
        (_, false) => "rule",
    }
}

fn detail(
    kind: Kind,
    verdict: Verdict,
    [number, time]: [u64; 2],
    [source, name]: [&str; 2],
    dice: &mut Dice,
) -> Option<Value> {
    match kind {
        Kind::AiCall => Some(json!({
            "method": "POST", "path": "/v1/chat/completions", "operation": { "model": "gpt-5" },
            "usage": { "model": "gpt-5", "input_tokens": dice.roll(1000), "output_tokens": dice.roll(500) },
            "first_byte_micros": 1000 + dice.roll(100_000), "duration_micros": 2000 + dice.roll(900_000),
            "cost": { "nanos": dice.roll(1_000_000), "currency": "USD" },
        })),
        Kind::Finding => Some(json!({
            "id": format!("finding-{}", number / 60), "detector": "beacon", "severity": dice.pick(&["low", "medium", "high"]),
            "time": Moment::of(time), "until": Moment::of(time), "workload": source, "subject": name,
            "sentence": format!("{source} calls {name} every 60 s"),
            "numbers": [{ "name": "period_s", "value": 60, "threshold": 5 }], "count": 1, "records": [], "techniques": ["T1071"],
        })),
        Kind::Audit => Some(json!({ "text": "looked at it" })),
        Kind::Flow | Kind::Dns | Kind::Tls if verdict == Verdict::Deny => {
            Some(json!({ "verdict": "deny", "nearest": RULE, "lacks": "verb" }))
        }
        // Each differs from all others, so that they do not become one.
        Kind::Flow | Kind::Dns | Kind::Tls => Some(json!({ "n": number })),
    }
}

/// Writes a ledger.
pub(crate) fn ledger(path: &Path, count: u64, end: u64) -> Ledger {
    let (mut ledger, _) = Ledger::open(path).unwrap();
    for batch in entries(count, end).chunks(1000) {
        ledger.append(batch).unwrap();
    }
    ledger
}

/// How things stand, made up.
#[derive(Debug)]
pub(crate) struct SampleLive {
    /// The ledger's file.
    pub(crate) path: String,
}

impl Live for SampleLive {
    fn status(&self) -> Status {
        Status {
            version: "0.1.0".into(),
            time: Moment::of(MICROS),
            node: "n1".into(),
            generation: 7,
            enforcement: "lab".into(),
            degraded: vec!["the DNS proxy of node n1 was started 2 times".into()],
            ledger: LedgerStatus {
                path: self.path.clone(),
                written: 5000,
                lost: 3,
                ..LedgerStatus::default()
            },
            sensors: vec![Sensor {
                name: "n1".into(),
                role: "kernel".into(),
                ready: true,
                lost: 0,
                detail: "nftables".into(),
            }],
            counts: Counts { records: 5000, denied: 400, findings: 80, incidents_open: 0 },
        }
    }

    fn shadow(&self) -> Option<Shadow> {
        Some(Shadow {
            sources: vec!["next".into()],
            policies: 1,
            problem: None,
            judged: 12,
            would_deny: 3,
            would_allow: 0,
            unknown: 0,
            unlisted: 0,
            differences: vec![Difference {
                verdict: "deny".into(),
                source: "ai/train".into(),
                destination: "192.0.2.7".into(),
                protocol: "TCP".into(),
                port: 443,
                rule: "EgressPolicy ai/train (next/ai.yaml:8)".into(),
                count: 3,
                first: Moment::of(1),
                last: Moment::of(2),
            }],
        })
    }

    fn policies(&self) -> (u64, Vec<PolicyItem>) {
        let rule = |rule: &str, field: &str| RuleItem {
            rule: rule.into(),
            field: field.into(),
            name: Some("models".into()),
            hits: 0,
            denied: 0,
            last: None,
        };
        let item = PolicyItem {
            kind: "EgressPolicy".into(),
            namespace: "ai".into(),
            name: "train".into(),
            file: Some("policies/ai.yaml".into()),
            line: Some(1),
            tier: "network-policy".into(),
            selects: 2,
            rules: vec![rule(RULE, "spec.egress[0]"), rule("never", "spec.egress[1]")],
            problems: Vec::new(),
            standing: Some(Standing {
                in_force: Some(false),
                detail: "on 1 of 2 nodes; waits for node-b (no agent has connected from it)".into(),
            }),
        };
        (7, vec![item])
    }

    fn manifest(&self, kind: &str, namespace: &str, name: &str) -> Option<Manifest> {
        let is_it = (kind, namespace, name) == ("EgressPolicy", "ai", "train");
        is_it.then(|| Manifest { yaml: YAML.into(), file: "policies/ai.yaml".into(), line: 1 })
    }

    fn deciding(&self, rule: &str) -> Option<Deciding> {
        let lines: Vec<Line> = api::excerpt::excerpt(YAML, 8);
        (rule == RULE).then(|| Deciding {
            object: "EgressPolicy ai/train".into(),
            field: "spec.egress[0]".into(),
            name: Some("models".into()),
            file: Some("policies/ai.yaml".into()),
            line: Some(8),
            lines,
        })
    }

    fn budgets(&self) -> Vec<Budget> {
        vec![Budget {
            workload: "ai/train-0".into(),
            rule: "EgressPolicy ai/train models".into(),
            what: "tokens".into(),
            used: 400,
            limit: Some(1000),
            window: "day".into(),
            resets: Moment::of(86_400 * MICROS),
        }]
    }

    fn walk(&self, entry: &Entry) -> Option<Walk> {
        if entry.verdict == Verdict::None {
            return None;
        }
        let step = |tier: &str, found: &str, text: &str| WalkStep {
            tier: Some(tier.into()),
            found: found.into(),
            action: (found == "matches").then(|| "accept".into()),
            text: text.into(),
            decides: found == "matches",
        };
        let side = WalkSide {
            direction: "egress".into(),
            subject: "pod ai/train-0".into(),
            verdict: "allow".into(),
            reason: "a rule allows it".into(),
            decides: true,
            steps: vec![step("admin", "nothing", ""), step("network-policy", "matches", RULE)],
        };
        let nearest = Nearest { rule: RULE.into(), lacks: json!(["port 80 is not 443"]), deciding: None };
        Some(Walk { generation: 7, verdict: "allow".into(), sides: vec![side], nearest: Some(nearest) })
    }
}

/// Does nothing, and remembers what it was asked to do.
#[derive(Debug, Default)]
pub(crate) struct SampleActions {
    /// Who asked for what.
    pub(crate) changes: Mutex<Vec<(String, Change)>>,
    /// Who logged in, and how.
    pub(crate) logged_in: Mutex<Vec<(String, String)>>,
    /// Who was not let in.
    pub(crate) refused: Mutex<Vec<IpAddr>>,
}

/// The one incident of the sample.
pub(crate) fn incident() -> Value {
    json!({
        "id": "inc-1", "title": "ai/Job/train reaches what it never did", "state": "open", "severity": "high", "score": 80,
        "parts": [{ "what": "detectors", "points": 80, "why": "beacon" }], "workloads": ["ai/Job/train"],
        "destinations": [HOSTILE[0]], "detectors": ["beacon"], "techniques": ["T1071"], "first": Moment::of(MICROS),
        "last": Moment::of(2 * MICROS), "findings": ["finding-1"],
        "notes": [{ "time": Moment::of(MICROS), "who": "local:0", "text": "looked at it" }],
        "contained": [{ "workload": "ai/Job/train", "until": Moment::of(3 * MICROS) }],
    })
}

fn edge() -> Value {
    json!({
        "source": "ai/Job/train", "destination": HOSTILE[0], "port": 443, "protocol": 6, "first_seen": Moment::of(MICROS),
        "last_seen": Moment::of(MICROS), "allowed": 1, "denied": 0, "bytes_sent": 1, "bytes_received": 1, "rule": RULE,
    })
}

fn known(id: &str) -> Result<(), NotDone> {
    if id == "inc-1" { Ok(()) } else { Err(NotDone::NotFound("there is no such incident".to_owned())) }
}

impl Actions for SampleActions {
    fn change(&self, who: &Who, change: Change) -> Result<Value, NotDone> {
        let answer = match &change {
            Change::AcknowledgeFinding { .. } => json!({}),
            Change::Note { incident: id, .. }
            | Change::Acknowledge { incident: id, .. }
            | Change::Close { incident: id, .. }
            | Change::Reopen { incident: id, .. } => {
                known(id)?;
                incident()
            }
            Change::Contain { incident: id, .. } => {
                known(id)?;
                json!({
                    "policy": YAML, "until": Moment::of(MICROS), "cuts": [edge()], "workload": "ai/Job/train",
                    "in_force": false, "warnings": [],
                })
            }
            Change::Release { incident: id, .. } => {
                known(id)?;
                json!({ "workload": "ai/Job/train", "released": true })
            }
            Change::Export { .. } => json!({}),
        };
        self.changes.lock().unwrap().push((who.name.to_string(), change));
        Ok(answer)
    }

    /// What is in the sample's ledger was written before.
    fn seal(&self) {}

    fn could(&self, _: &str) -> Option<Reachable> {
        let place = Could { destination: "pypi.org".into(), port: "443/TCP".into(), rule: RULE.into() };
        Some(Reachable { places: vec![place], is_complete: true })
    }

    fn logged_in(&self, _: IpAddr, who: &Who, how: &str) {
        self.logged_in.lock().unwrap().push((who.name.to_string(), how.to_owned()));
    }

    fn refused(&self, from: IpAddr, _: &str) {
        self.refused.lock().unwrap().push(from);
    }
}

/// A fleet of two clusters, made up; the second time it is asked, the hub is gone.
#[derive(Debug, Default)]
pub(crate) struct SampleHub(std::sync::atomic::AtomicUsize);

impl Hub for SampleHub {
    fn fleet(&self) -> Result<Fleet, String> {
        let before = self.0.fetch_add(1, std::sync::atomic::Ordering::Relaxed);
        if before > 0 {
            return Err("the hub: it does not answer".to_owned());
        }
        let release = |number| ReleaseRef { number, digest: format!("sha256:{number:064x}") };
        let cluster = |name: &str, enforced: u64| FleetCluster {
            name: name.into(),
            labels: vec!["env=prod".into()],
            wanted: Some(release(8)),
            enforced: Some(release(enforced)),
            shadow: Some(release(8)),
            silent_seconds: Some(3),
            policies: 4,
            effective: release(enforced).digest,
            drift_is: "correct".into(),
            drift: vec!["NetworkPolicy web/shop".into()],
            problems: Vec::new(),
        };
        let stage = FleetStage {
            name: "prod".into(),
            phase: "shadow".into(),
            selects: 1,
            gate: FleetGate {
                seconds: 3600,
                flows: 1000,
                findings: 0,
                severity: "medium",
                error_percent: Some(5),
            },
            approval: true,
            hold_seconds: 600,
            numbers: FleetNumbers {
                clusters: 1,
                reporting: 1,
                seconds: 60,
                flows: 12,
                ..FleetNumbers::default()
            },
            missing: vec!["b: 60 of 3600 s".into()],
            clusters: vec![FleetMember {
                name: "b".into(),
                told: "shadow".into(),
                silent_seconds: Some(3),
                seconds: 60,
                flows: 12,
                denials: 0,
                findings: 1,
                by_severity: FleetFindings { low: 1, ..FleetFindings::default() },
                errors: Some(FleetErrors {
                    requests: FleetRate { tried: 40, failed: 2 },
                    ..FleetErrors::default()
                }),
                problem: None,
            }],
            more_clusters: 0,
        };
        let decision = FleetDecision {
            time: Moment::of(MICROS),
            what: "began".into(),
            stage: "prod".into(),
            by: String::new(),
            why: "the stage before holds".into(),
        };
        let rollout = FleetRollout {
            name: "release-8".into(),
            release: Some(release(8)),
            fallback: Some(release(7)),
            phase: "shadow".into(),
            stage: "prod".into(),
            waits: vec!["b: 60 of 3600 s".into()],
            stages: vec![stage],
            decisions: vec![decision],
            ..FleetRollout::default()
        };
        let clusters = vec![cluster("a", 8), cluster("b", 7)];
        Ok(Fleet { has_hub: true, clusters, more_clusters: 0, rollouts: vec![rollout] })
    }
}

/// What a server over a sample goes by.
pub(crate) fn config(
    path: &Path,
    actions: Arc<SampleActions>,
    authenticate: Arc<dyn api::Authenticate>,
) -> api::Config {
    api::Config {
        live: Arc::new(SampleLive { path: path.display().to_string() }),
        actions,
        authenticate,
        ledger: path.to_owned(),
        store: None,
        catalog: crds::Catalog::built_in(),
        hosts: vec!["console.example".to_owned()],
        hub: Some(Arc::new(SampleHub::default())),
        sign_on: None,
        assets: Box::new(|path, _| {
            (path == "/index.html" || path == "/").then(|| api::Asset {
                headers: vec![("content-type", "text/html; charset=utf-8".into())],
                body: "<!doctype html><title>the console</title>".into(),
            })
        }),
    }
}
