//! Findings: each once, as the newest entry about it says.

use super::{Asked, Reply, json, lost};
use crate::problem::Problem;
use crate::shape::incident::Finding;
use crate::shape::records::detail;
use crate::shape::{List, Moment};
use ledger::{EntryFilter, Kind, Match, Reader, Stored};
use serde_json::Value;
use std::cmp::Reverse;
use std::collections::{BTreeMap, HashMap};

/// Entries that are looked at for one answer, the newest: what was told of last before these is not found.
const SCANNED: usize = 10_000;
/// Entries of one reading.
const PAGE: usize = 1000;

/// `GET /findings`.
pub(crate) fn list(asked: &Asked<'_>, reader: &Reader) -> Result<Reply, Problem> {
    let query = asked.query;
    let acknowledged = acknowledged(reader)?;
    let limit = query.limit(100);
    let wants = |finding: &Finding| {
        let severities = query.texts("severity");
        query.text("state").is_none_or(|state| state == finding.state)
            && (severities.is_empty() || severities.contains(&finding.severity))
    };
    let below = query.number("before").unwrap_or(i64::MAX);
    let mut found: BTreeMap<Reverse<i64>, Finding> = BTreeMap::new();
    // Always from the newest on: an older entry about a finding must not pass for the newest.
    let mut numbers: HashMap<String, i64> = HashMap::new();
    let mut before = None;
    let mut scanned = 0;
    while scanned < SCANNED {
        let filter = EntryFilter {
            kinds: vec![Kind::Finding],
            since: query.time("since"),
            source: query.text("workload").map(str::to_owned),
            before,
            limit: Some(PAGE),
            ..EntryFilter::default()
        };
        let page = reader.entries(&filter)?;
        for stored in &page {
            let finding = finding(stored, &acknowledged);
            if let Some(number) = numbers.get(&finding.id) {
                // Of an older entry about the same only its beginning counts.
                if let Some(known) = found.get_mut(&Reverse(*number)) {
                    known.first = known.first.min(finding.first);
                }
                continue;
            }
            numbers.insert(finding.id.clone(), finding.number);
            if finding.number < below && wants(&finding) {
                found.insert(Reverse(finding.number), finding);
            }
        }
        scanned += page.len();
        before = page.last().map(|it| it.id);
        if page.len() < PAGE {
            break;
        }
    }
    let more = found.len() > limit;
    let items: Vec<_> = found.into_values().take(limit).collect();
    let next = items.last().filter(|_| more).map(|it| it.number);
    json(&List { items, next, lost: lost(reader)? })
}

/// Ids of findings that somebody has seen, as the newest entry about each says.
fn acknowledged(reader: &Reader) -> Result<HashMap<String, bool>, Problem> {
    let words = ["acknowledged", "unacknowledged"].map(str::to_owned).to_vec();
    let filter = EntryFilter {
        kinds: vec![Kind::Audit],
        texts: vec![(ledger::Column::Reason, Match::AnyOf(words))],
        limit: Some(SCANNED),
        ..EntryFilter::default()
    };
    let mut seen = HashMap::new();
    for Stored { entry, .. } in reader.entries(&filter)? {
        seen.entry(entry.destination.to_string()).or_insert(&*entry.reason == "acknowledged");
    }
    Ok(seen)
}

/// What an entry says. What it does not say, or says wrong, is left empty; a severity that is none is low.
fn finding(stored: &Stored, acknowledged: &HashMap<String, bool>) -> Finding {
    let entry = &stored.entry;
    let detail = detail(entry.detail.as_deref());
    let text = |name: &str| detail.get(name).and_then(Value::as_str).unwrap_or_default().to_owned();
    let or =
        |name: &str, other: &str| Some(text(name)).filter(|it| !it.is_empty()).unwrap_or(other.to_owned());
    let texts = |name: &str| -> Vec<String> {
        let all = detail.get(name).and_then(Value::as_array).map_or(&[][..], Vec::as_slice);
        all.iter().filter_map(Value::as_str).map(str::to_owned).collect()
    };
    let time = |name: &str| text(name).parse().ok().map(Moment);
    let id = or("id", &format!("finding-{}", stored.id));
    let severity = or("severity", "low");
    let severity =
        if ["low", "medium", "high"].contains(&severity.as_str()) { severity } else { "low".into() };
    let is_acknowledged = acknowledged.get(&id).copied().unwrap_or(false);
    Finding {
        number: stored.id,
        detector: or("detector", &entry.reason),
        severity,
        state: if is_acknowledged { "acknowledged" } else { "open" }.to_owned(),
        first: Some(time("time").unwrap_or(Moment::of(entry.time))),
        last: Some(time("until").or(time("time")).unwrap_or(Moment::of(entry.time))),
        workload: or("workload", &entry.source),
        subject: or("subject", &entry.destination),
        sentence: or("sentence", &entry.reason),
        numbers: detail.get("numbers").and_then(Value::as_array).cloned().unwrap_or_default(),
        count: detail.get("count").and_then(Value::as_u64).unwrap_or(1),
        records: texts("records"),
        techniques: texts("techniques"),
        rule: entry.rule.to_string(),
        node: entry.node.to_string(),
        pod: Some(text("pod")).filter(|pod| !pod.is_empty()),
        id,
    }
}
