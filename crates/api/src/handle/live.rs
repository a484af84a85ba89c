//! How things stand, what is written, who asks.

use super::records::filter;
use super::{Asked, Reply, json, lost};
use crate::problem::Problem;
use crate::shape::Moment;
use crate::shape::incident::Me;
use crate::shape::live::{ManifestAnswer, Policies};
use ledger::{Reader, RuleSum};
use std::collections::HashMap;

/// `GET /me`.
pub(crate) fn me(asked: &Asked<'_>) -> Result<Reply, Problem> {
    json(&Me::from(asked.who))
}

/// `GET /openapi.json`.
#[expect(clippy::unnecessary_wraps, reason = "all handlers have one form")]
pub(crate) fn openapi(asked: &Asked<'_>) -> Result<Reply, Problem> {
    Ok(Reply::Json(asked.known.document.clone()))
}

/// `GET /status`.
pub(crate) fn status(asked: &Asked<'_>, reader: &Reader) -> Result<Reply, Problem> {
    let mut status = asked.known.live.status();
    // What an earlier process lost is not in the ledger either.
    status.ledger.lost = status.ledger.lost.max(lost(reader)?);
    status.ledger.store = asked.known.store.as_ref().map(|store| store.name().to_owned());
    let open = asked.known.open(reader, asked.query.now())?;
    (status.counts.incidents_open, status.counts.findings) = (open.incidents, open.findings);
    json(&status)
}

/// `GET /policies`.
pub(crate) fn policies(asked: &Asked<'_>, reader: &Reader) -> Result<Reply, Problem> {
    let (generation, mut items) = asked.known.live.policies();
    let sums = reader.rules(&filter(asked.query)?)?;
    let sums: HashMap<&str, &RuleSum> = sums.iter().map(|sum| (sum.rule.as_str(), sum)).collect();
    for rule in items.iter_mut().flat_map(|item| &mut item.rules) {
        if let Some(sum) = sums.get(rule.rule.as_str()) {
            (rule.hits, rule.denied, rule.last) = (sum.count, sum.denied, Some(Moment::of(sum.last)));
        }
    }
    json(&Policies { generation, items, shadow: asked.known.live.shadow() })
}

/// `GET /policies/{kind}/{namespace}/{name}`.
pub(crate) fn manifest(asked: &Asked<'_>) -> Result<Reply, Problem> {
    let (kind, namespace, name) = (asked.word(0), asked.word(1), asked.word(2));
    let namespace = if namespace == "-" { "" } else { namespace };
    let found = asked.known.live.manifest(kind, namespace, name).ok_or_else(|| {
        Problem::not_found("there is no such policy among the files that policy comes from")
    })?;
    json(&ManifestAnswer { yaml: found.yaml, file: found.file, line: found.line })
}
