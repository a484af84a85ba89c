//! The dashboard of the chart asks for metrics that the program has, by labels that they have.
//!
//! Names are those of `cofferdam reference metrics`. What a real page looks like is held by the tests of `metrics.rs`.

#![expect(clippy::expect_used, reason = "a test's helpers fail the test")]

use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::path::Path;
use std::process::Command;

/// Words of PromQL that the dashboard uses.
const FUNCTIONS: [&str; 8] = ["sum", "max", "topk", "by", "rate", "increase", "5m", "1h"];
/// What Prometheus adds itself.
const OF_PROMETHEUS: [&str; 2] = ["instance", "job"];

/// Names of series with the label that each has, if it has one.
fn exposed() -> BTreeMap<String, Option<String>> {
    let printed = Command::new(env!("CARGO_BIN_EXE_cofferdam"))
        .args(["reference", "metrics"])
        .output()
        .expect("the program runs");
    let text = String::from_utf8(printed.stdout).expect("UTF-8");
    let rows = text.lines().filter(|line| line.starts_with("| `"));
    rows.map(|row| {
        let mut cells = row.split('|').map(|cell| cell.trim().trim_matches('`').to_owned()).skip(1);
        let name = cells.next().expect("a name");
        (name, cells.nth(1).filter(|label| !label.is_empty()))
    })
    .collect()
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

/// Names that begin as metrics do, and are tables of nftables or of a database.
const OTHERS: [&str; 5] =
    ["cofferdam_api", "cofferdam_frames", "cofferdam_guard", "cofferdam_records", "cofferdam_edges"];

#[test]
fn every_metric_that_the_documentation_names_is_there() {
    let exposed = exposed();
    let mut folders = vec![Path::new(env!("CARGO_MANIFEST_DIR")).join("../../docs")];
    let mut looked_at = 0;
    while let Some(folder) = folders.pop() {
        for entry in fs::read_dir(folder).expect("a folder") {
            let path = entry.expect("an entry").path();
            if path.is_dir() {
                folders.push(path);
                continue;
            }
            let Ok(text) = fs::read_to_string(&path) else { continue };
            let is_name = |word: &&str| word.starts_with("cofferdam_") && !OTHERS.contains(word);
            for name in text.split(|c: char| !c.is_ascii_alphanumeric() && c != '_').filter(is_name) {
                looked_at += 1;
                assert!(exposed.contains_key(name), "{}: the program has no {name}", path.display());
            }
        }
    }
    assert!(looked_at > 100, "only {looked_at} names were found");
}
