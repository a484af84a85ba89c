//! Entries of the ledger, as they are.

use super::{Asked, Reply, json, lost};
use crate::problem::Problem;
use crate::query::Query;
use crate::shape::List;
use crate::shape::records::{Nearest, Record, Why};
use ledger::query::TEXTS;
use ledger::{BoundedStore, Column, Entry, EntryFilter, Kind, Match, Stored, Verdict};
use serde::Deserialize;
use serde_json::Value;

/// How far from it what is joined may be, in microseconds.
const CLOSE: u64 = 60_000_000;
/// Most that is joined.
const JOINED: usize = 100;

/// `GET /records`.
pub(crate) fn list(asked: &Asked<'_>, store: &dyn BoundedStore) -> Result<Reply, Problem> {
    let limit = asked.query.limit(100);
    let filter =
        EntryFilter { before: asked.query.number("before"), limit: Some(limit), ..filter(asked.query)? };
    let (found, is_cut) = store.page(&filter, TEXTS)?;
    let next = if found.len() < limit && !is_cut { None } else { found.last().map(|it| it.id) };
    json(&List { items: found.iter().map(Record::from).collect(), next, lost: lost(store)? })
}

/// The filter that a query means.
///
/// # Errors
/// A word of it is none.
pub(crate) fn filter(query: &Query) -> Result<EntryFilter, Problem> {
    let mut filter = EntryFilter {
        since: query.time("since"),
        until: query.time("until"),
        port: query.number("port").and_then(|port| u16::try_from(port).ok()),
        ..EntryFilter::default()
    };
    filter.kinds = kinds(query);
    filter.verdict = query.text("verdict").and_then(verdict);
    let columns = [
        ("source", Column::Source),
        ("destination", Column::Destination),
        ("rule", Column::Rule),
        ("node", Column::Node),
    ];
    for (name, column) in columns {
        filter.texts.extend(query.text(name).map(|text| (column, Match::wanted(text))));
    }
    filter.texts.extend(query.text("reason").map(|text| (Column::Reason, Match::Is(text.to_owned()))));
    filter.tool = query.text("tool").map(Match::wanted);
    filter.texts.extend(query.text("q").map(|text| (Column::Any, Match::Has(text.to_owned()))));
    Ok(filter)
}

/// The kinds that a query names.
pub(crate) fn kinds(query: &Query) -> Vec<Kind> {
    let is_named = |kind: &Kind| query.texts("kind").iter().any(|name| name == kind.name());
    Kind::ALL.into_iter().filter(is_named).collect()
}

fn verdict(name: &str) -> Option<Verdict> {
    [Verdict::Allow, Verdict::Deny, Verdict::Fail, Verdict::None].into_iter().find(|it| it.name() == name)
}

/// `GET /records/{number}`.
pub(crate) fn one(asked: &Asked<'_>, store: &dyn BoundedStore) -> Result<Reply, Problem> {
    let number = asked.word(0).parse::<i64>().ok().filter(|number| *number > 0 && *number < i64::MAX);
    let number = number.ok_or_else(|| Problem::bad("the number of a record is a whole number from 1"))?;
    let (after, before) = (Some(number - 1), Some(number + 1));
    let filter = EntryFilter { after, before, limit: Some(1), ..EntryFilter::default() };
    let found = store.entries(&filter)?.into_iter().find(|it| it.id == number);
    let found = found.ok_or_else(|| {
        Problem::not_found(format!(
            "record {number} is not in the ledger: it was forgotten, or is not there yet"
        ))
    })?;
    let record = Record::from(&found);
    let deciding = Some(&record.rule).filter(|rule| !rule.is_empty());
    let deciding = deciding.and_then(|rule| asked.known.live.deciding(rule));
    let mut nearest = nearest(&record.detail);
    let mut walk = asked.known.live.walk(&found.entry);
    for near in nearest.iter_mut().chain(walk.iter_mut().filter_map(|walk| walk.nearest.as_mut())) {
        near.deciding = asked.known.live.deciding(&near.rule);
    }
    json(&Why { joined: joined(store, &found)?, deciding, nearest, walk, record })
}

/// What belongs to the same connection: a question for the name before it, what the gateway and the API say of it, findings.
fn joined(store: &dyn BoundedStore, to: &Stored) -> Result<Vec<Record>, Problem> {
    let Entry { time, source, destination, .. } = &to.entry;
    if source.is_empty() || destination.is_empty() {
        return Ok(Vec::new());
    }
    let filter = EntryFilter {
        source: Some(source.to_string()),
        destination: Some(destination.to_string()),
        since: Some(time.saturating_sub(CLOSE)),
        until: Some(time.saturating_add(CLOSE)),
        limit: Some(JOINED + 1),
        ..EntryFilter::default()
    };
    let is_joined = |it: &&Stored| it.id != to.id && is_same_connection(&it.entry, &to.entry);
    let (found, _) = store.page(&filter, TEXTS)?;
    Ok(found.iter().filter(is_joined).take(JOINED).map(Record::from).collect())
}

/// A question for a name leads to connections at any port; all else must be at the same.
fn is_same_connection(one: &Entry, other: &Entry) -> bool {
    let any_port = |entry: &Entry| matches!(entry.kind, Kind::Dns | Kind::Finding | Kind::Audit);
    one.port == other.port || any_port(one) || any_port(other)
}

/// What a detail says about the rule that comes nearest.
fn nearest(detail: &Value) -> Option<Nearest> {
    let rule = detail.get("nearest")?.as_str()?.to_owned();
    let lacks = detail.get("unmet").or_else(|| detail.get("lacks")).cloned().unwrap_or_default();
    // A word for programs, where there is no more: for people a clause.
    let lacks = policy::Mismatch::deserialize(&lacks).map_or(lacks, |lacks| lacks.describe().into());
    Some(Nearest { rule, lacks, deciding: None })
}
