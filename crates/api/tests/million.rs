//! A ledger of a million edges: every answer about who met whom is bounded, in time and in size, and says what is left out.
//!
//! Takes minutes: `cargo test -p api --test all million -- --ignored --nocapture`. With MILLION_LEDGER=FILE the ledger is kept there, and
//! used again.

#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    clippy::indexing_slicing,
    clippy::print_stderr,
    reason = "in a test a panic is the failure report"
)]

use crate::served;
use crate::served::END;
use ledger::{Entry, Kind, Ledger, Retention, Verdict};
use serde_json::Value;
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

const EDGES: u64 = 1_000_000;
const HOUR: u64 = 3_600_000_000;
/// Entries of one write.
const TURN: u64 = 20_000;
/// Largest answer, in bytes.
const MOST_BYTES: usize = 4 << 20;
/// The API itself gives up after 10 s.
const MOST_TIME: Duration = Duration::from_secs(10);

/// 5,000 workloads of 100 namespaces, which met 200 of their like or of 100,000 outside names of 2,000 domains; one in a hundred was
/// denied.
fn entry(number: u64) -> Entry {
    let source = number / 200;
    let other = number.wrapping_mul(2_654_435_761) >> 7;
    let workload = |of: u64| format!("team-{:02}/Deployment/service-{}", of % 100, of % 5000);
    let destination = match number % 4 {
        // So many different ones as there are numbers.
        0 => format!("host-{}-{}.domain-{}.example", number % 50_000, number % 200, number % 2000),
        _ => format!("team-{:02}/Pod/{}-{}", other % 100, other % 40, number % 200),
    };
    Entry {
        time: END - HOUR + number * (HOUR / EDGES),
        node: format!("node-{}", source % 50).into(),
        source: workload(source).into(),
        destination: destination.into(),
        port: 443,
        protocol: 6,
        rule: "EgressPolicy team/allow spec.egress[0] (a.yaml:7)".into(),
        reason: "rule-allows".into(),
        sent: number % 5000,
        received: number % 90_000,
        ..Entry::new(Kind::Flow, if number % 100 == 3 { Verdict::Deny } else { Verdict::Allow })
    }
}

fn write(path: &Path) {
    let (mut ledger, _) = Ledger::open(path).unwrap();
    for turn in 0..EDGES / TURN {
        let entries: Vec<Entry> = (turn * TURN..(turn + 1) * TURN).map(entry).collect();
        ledger.append(&entries).unwrap();
        // As whoever keeps one does every second.
        ledger.tend(END, &Retention::default()).unwrap();
    }
}

#[test]
#[ignore = "a measurement: it takes minutes"]
fn a_million_edges_are_told_of_in_bounded_time_and_size() {
    let folder = tempfile::tempdir().unwrap();
    let kept = std::env::var_os("MILLION_LEDGER").map(PathBuf::from);
    let path = kept.unwrap_or_else(|| folder.path().join("ledger.db"));
    if !path.exists() {
        let begun = Instant::now();
        write(&path);
        eprintln!(
            "written in {:.1} s, {} MB",
            begun.elapsed().as_secs_f64(),
            path.metadata().unwrap().len() >> 20
        );
    }
    let server = served::serve_from(&path);
    let hour = "since=2026-11-26T11:00:00Z&until=2026-11-26T12:00:00Z";
    let ask = |what: &str| -> Value {
        let begun = Instant::now();
        let answer = server.get(what);
        let (took, bytes) = (begun.elapsed(), answer.body.len());
        assert_eq!(answer.status, 200, "{what}: {}", String::from_utf8_lossy(&answer.body));
        eprintln!("{:7.0} ms {:8} bytes  {what}", took.as_secs_f64() * 1e3, bytes);
        assert!(bytes <= MOST_BYTES && took <= MOST_TIME, "{what}: {bytes} bytes in {took:?}");
        answer.json()
    };
    let length = |of: &Value, name: &str| of[name].as_array().unwrap().len();

    let all = ask(&format!("/graph?{hour}&fold=true&limit=10000"));
    let met = all["pairs"].as_u64().unwrap();
    assert!(met > EDGES * 9 / 10, "the ledger has {met} edges");
    assert_eq!(all["is_folded"], true);
    assert!(length(&all, "nodes") <= 501 && length(&all, "edges") <= 10_000);
    let told: u64 = all["edges"].as_array().unwrap().iter().map(sum).sum();
    assert_eq!(told + all["left_out"].as_u64().unwrap(), EDGES, "each is in a line, or counted");
    let opened = ask(&format!("/graph?{hour}&fold=true&limit=10000&open=n:team-07"));
    assert!(opened["nodes"].as_array().unwrap().iter().any(|it| it["id"] == "team-07/Deployment/service-7"));
    let one = ask(&format!("/graph?{hour}&fold=true&limit=10000&source=team-07/Deployment/service-7"));
    assert_eq!((one["is_folded"].as_bool(), one["pairs"].as_u64()), (Some(false), Some(200)));
    let denied = ask(&format!("/graph?{hour}&fold=true&limit=10000&verdict=deny&node=node-7"));
    assert!(denied["pairs"].as_u64().unwrap() > 0);
    let strongest = ask(&format!("/graph?{hour}&limit=10000"));
    assert_eq!((length(&strongest, "edges"), strongest["truncated"].as_bool()), (10_000, Some(true)));

    let mut before = String::new();
    for _ in 0..3 {
        let page = ask(&format!("/edges?{hour}&limit=1000{before}"));
        assert_eq!(length(&page, "items"), 1000);
        before = format!("&before={}", page["next"].as_str().unwrap());
    }
    // As far behind as those go that were first seen a tenth after the hour began.
    let far = END - HOUR + HOUR / 10;
    ask(&format!("/edges?{hour}&limit=1000&before=l-{far:x}-0-0-0-0"));
    ask(&format!("/edges?{hour}&limit=1000&source=team-07/*&verdict=deny"));
    ask(&format!("/records?{hour}&kind=flow&limit=500"));
    ask(&format!("/series?{hour}&kind=flow&step=60"));
    ask(&format!("/hints?{hour}&field=destination&prefix=host-7"));
    ask("/policies");
    ask("/status");
}

fn sum(edge: &Value) -> u64 {
    edge["allowed"].as_u64().unwrap() + edge["denied"].as_u64().unwrap()
}
