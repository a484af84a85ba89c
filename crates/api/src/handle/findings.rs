//! Findings: each once, as the newest entry about it says.

use super::{Asked, Reply, json, lost};
use crate::problem::Problem;
use crate::shape::incident::Finding;
use crate::shape::{List, Moment};
use incident::{View, is_like};
use ledger::Reader;
use std::collections::HashMap;

/// `GET /findings`.
pub(crate) fn list(asked: &Asked<'_>, reader: &Reader) -> Result<Reply, Problem> {
    let query = asked.query;
    let view = View::read(reader, query.now())?;
    let severities = query.texts("severity");
    let (since, until) = (query.time("since").unwrap_or(0), query.time("until").unwrap_or(u64::MAX));
    let below = query.number("before").unwrap_or(i64::MAX);
    let like = |name, text: &str| query.text(name).is_none_or(|wanted| is_like(wanted, text));
    let wants = |finding: &Finding| {
        query.text("state").is_none_or(|state| state == finding.state)
            && like("workload", &finding.workload)
            && like("subject", &finding.subject)
            && like("node", &finding.node)
            && has(
                query.text("q"),
                [&finding.detector, &finding.workload, &finding.subject, &finding.sentence],
            )
            && (severities.is_empty() || severities.iter().any(|it| it == finding.severity))
            && finding.last.0.0 >= since
            && finding.time.0.0 <= until
            && newest(finding) < below
    };
    let all = view.cases.iter().flat_map(|case| &case.findings);
    let mut items: Vec<_> = once_each(all, &view).into_iter().filter(wants).collect();
    items.sort_by_key(|finding| std::cmp::Reverse(newest(finding)));
    let limit = query.limit(100);
    let more = items.len() > limit;
    items.truncate(limit);
    let next = items.last().filter(|_| more).map(newest);
    json(&List { items, next, lost: lost(reader)? })
}

/// Whether one of these has in it what somebody asked for, in either case.
fn has<'t>(wanted: Option<&str>, texts: impl IntoIterator<Item = &'t String>) -> bool {
    let Some(wanted) = wanted.map(str::to_ascii_lowercase) else { return true };
    texts.into_iter().any(|text| text.to_ascii_lowercase().contains(&wanted))
}

/// Number of the newest entry about it.
fn newest(finding: &Finding) -> i64 {
    finding.entries.last().copied().unwrap_or(0)
}

/// As they are answered. One that was told of again after a long time may be in several incidents.
pub(crate) fn once_each<'f>(all: impl Iterator<Item = &'f incident::Finding>, view: &View) -> Vec<Finding> {
    let mut found: HashMap<&str, Finding> = HashMap::new();
    for one in all {
        let first = found.get(one.id.as_str()).map(|known| known.first);
        let is_newer =
            found.get(one.id.as_str()).is_none_or(|known| one.entries.last() > known.entries.last());
        if is_newer {
            let answer = answer(one, view);
            found.insert(&one.id, answer);
        }
        if let Some((known, first)) = found.get_mut(one.id.as_str()).zip(first) {
            known.first = known.first.min(first).min(Moment(one.time));
        }
    }
    let mut found: Vec<_> = found.into_values().collect();
    found.sort_by(|a, b| (a.first, &a.id).cmp(&(b.first, &b.id)));
    found
}

fn answer(finding: &incident::Finding, view: &View) -> Finding {
    let is_acknowledged = view.acknowledged.contains(&finding.id);
    let incident::Finding { id, detector, workload, subject, sentence, rule, .. } = finding.clone();
    let incident::Finding { numbers, records, techniques, entries, .. } = finding.clone();
    Finding {
        id,
        detector,
        severity: finding.severity.as_str(),
        state: if is_acknowledged { "acknowledged" } else { "open" },
        time: Moment(finding.time),
        until: Moment(finding.until),
        first: Moment(finding.time),
        last: Moment(finding.until),
        node: finding.node.clone(),
        workload,
        subject,
        sentence,
        numbers,
        count: finding.count,
        records,
        techniques,
        rule,
        entries,
    }
}
