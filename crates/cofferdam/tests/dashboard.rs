//! The dashboard of the chart asks for metrics that the program has, by labels that they have.
//!
//! Names are read where the program makes its pages: every call of a `Page` with a name. What a real page looks like is held by
//! the tests of `metrics.rs`.

#![expect(clippy::expect_used, reason = "a test's helpers fail the test")]

use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::path::Path;

/// Words of PromQL that the dashboard uses.
const FUNCTIONS: [&str; 8] = ["sum", "max", "topk", "by", "rate", "increase", "5m", "1h"];
/// What Prometheus adds itself.
const OF_PROMETHEUS: [&str; 2] = ["instance", "job"];

/// Names of series with the label that each has, if it has one.
fn exposed() -> BTreeMap<String, Option<String>> {
    let mut texts = Vec::new();
    read(Path::new(concat!(env!("CARGO_MANIFEST_DIR"), "/src")), &mut texts);
    let mut names = BTreeMap::new();
    for text in texts {
        for (call, end) in [
            (".gauge(", ""),
            (".gauges(", ""),
            (".sums(", ""),
            (".counter(", "_total"),
            (".counters(", "_total"),
        ] {
            for after in text.split(call).skip(1) {
                let after = after.trim_start();
                let (quoted, has_label) = match after.strip_prefix('(') {
                    Some(pair) => (pair.trim_start(), true),
                    None => (after, false),
                };
                let mut parts = quoted.split('"');
                if parts.next() != Some("") {
                    continue;
                }
                let name = parts.next().expect("a name ends");
                let label = has_label.then(|| parts.nth(1).expect("a label follows").to_owned());
                names.insert(format!("cofferdam_{name}{end}"), label);
            }
        }
    }
    names
}

fn read(folder: &Path, texts: &mut Vec<String>) {
    for entry in fs::read_dir(folder).expect("the sources are there") {
        let path = entry.expect("readable").path();
        if path.is_dir() {
            read(&path, texts);
        } else {
            texts.push(fs::read_to_string(path).expect("UTF-8"));
        }
    }
}

fn dashboard() -> serde_json::Value {
    let text = include_str!("../../../deploy/chart/dashboards/cofferdam.json");
    serde_json::from_str(text).expect("the dashboard is JSON")
}

/// Words of a query that are no numbers.
fn words(query: &str) -> impl Iterator<Item = &str> {
    query
        .split(|c: char| !c.is_ascii_alphanumeric() && c != '_')
        .filter(|word| !word.is_empty() && word.parse::<f64>().is_err())
}

#[test]
fn every_query_asks_for_what_the_program_exposes() {
    let exposed = exposed();
    assert!(exposed.len() > 60, "too few metrics were found: {exposed:?}");
    let dashboard = dashboard();
    let panels = dashboard["panels"].as_array().expect("panels");
    let (mut asked, mut ids) = (BTreeSet::new(), BTreeSet::new());
    for panel in panels {
        assert!(ids.insert(panel["id"].as_u64()), "{} has the id of another panel", panel["title"]);
        for target in panel["targets"].as_array().into_iter().flatten() {
            let query = target["expr"].as_str().expect("a query");
            let metrics: Vec<&str> = words(query).filter(|word| word.starts_with("cofferdam_")).collect();
            assert_eq!(metrics.len(), 1, "{query} asks for one metric");
            let label = exposed
                .get(metrics[0])
                .unwrap_or_else(|| panic!("{query}: the program has no {}", metrics[0]));
            for word in
                words(query).filter(|word| !word.starts_with("cofferdam_") && !FUNCTIONS.contains(word))
            {
                let is_known = Some(word) == label.as_deref() || OF_PROMETHEUS.contains(&word);
                assert!(is_known, "{query}: {} has no label {word}", metrics[0]);
            }
            let is_rate = query.contains("rate(") || query.contains("increase(");
            let is_counter = metrics[0].ends_with("_total");
            assert_eq!(
                is_rate, is_counter,
                "{query}: counters, and nothing else, are looked at by how they grow"
            );
            asked.insert(metrics[0].to_owned());
        }
    }
    for needed in [
        "cofferdam_degraded",
        "cofferdam_ledger_lost_total",
        "cofferdam_export_waiting",
        "cofferdam_findings_total",
    ] {
        assert!(asked.contains(needed), "nothing shows {needed}");
    }
}
