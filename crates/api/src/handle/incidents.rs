//! Incidents, and what people do about them.

use super::{Asked, Reply, json, lost};
use crate::problem::Problem;
use crate::seam::Change;
use crate::shape::List;
use crate::shape::incident::{ContainOrder, ReleaseOrder, Words};
use ledger::Reader;
use serde_json::Value;

/// Longest text of a note.
const TEXT_BYTES: usize = 4096;
/// Longest containment: a week.
const MINUTES: u32 = 7 * 24 * 60;
/// Most incidents of one answer.
const INCIDENTS: usize = 1000;

/// `GET /incidents`.
pub(crate) fn list(asked: &Asked<'_>, reader: &Reader) -> Result<Reply, Problem> {
    let since = asked.query.time("since").unwrap_or(0);
    let states = asked.query.texts("state");
    let state =
        |incident: &Value| incident.get("state").and_then(Value::as_str).unwrap_or_default().to_owned();
    let mut items = asked.known.actions.incidents(reader, since)?;
    items.retain(|incident| states.is_empty() || states.contains(&state(incident)));
    items.truncate(INCIDENTS);
    json(&List { items, next: None, lost: lost(reader)? })
}

/// `GET /incidents/{id}`.
pub(crate) fn one(asked: &Asked<'_>, reader: &Reader) -> Result<Reply, Problem> {
    json(&asked.known.actions.incident(reader, asked.word(0))?)
}

/// `GET /incidents/{id}/evidence`.
pub(crate) fn evidence(asked: &Asked<'_>, reader: &Reader) -> Result<Reply, Problem> {
    let id = asked.word(0);
    let bundle = asked.known.actions.evidence(reader, asked.who, id)?;
    let name: String = id.chars().filter(|it| it.is_ascii_alphanumeric() || *it == '-').take(64).collect();
    Ok(Reply::File("application/x-tar", format!("cofferdam-{name}.tar"), bundle.into()))
}

/// `GET /hunt`.
pub(crate) fn hunt(asked: &Asked<'_>, reader: &Reader) -> Result<Reply, Problem> {
    let indicator = asked.query.text("indicator");
    let indicator = indicator.ok_or_else(|| Problem::bad("indicator: what is to be looked for?"))?;
    json(&asked.known.actions.hunt(reader, indicator, asked.query.time("since").unwrap_or(0))?)
}

/// `POST /findings/{id}/acknowledge`.
pub(crate) fn acknowledge_finding(asked: &Asked<'_>) -> Result<Reply, Problem> {
    let (finding, text) = (asked.word(0).to_owned(), words(asked)?);
    change(asked, Change::AcknowledgeFinding { finding, text })
}

/// `POST /incidents/{id}/notes`.
pub(crate) fn note(asked: &Asked<'_>) -> Result<Reply, Problem> {
    let text = words(asked)?;
    if text.trim().is_empty() {
        return Err(Problem::bad("text: a note says something"));
    }
    change(asked, Change::Note { incident: asked.word(0).to_owned(), text })
}

/// `POST /incidents/{id}/acknowledge`.
pub(crate) fn acknowledge(asked: &Asked<'_>) -> Result<Reply, Problem> {
    change(asked, Change::Acknowledge { incident: asked.word(0).to_owned(), text: words(asked)? })
}

/// `POST /incidents/{id}/close`.
pub(crate) fn close(asked: &Asked<'_>) -> Result<Reply, Problem> {
    change(asked, Change::Close { incident: asked.word(0).to_owned(), text: words(asked)? })
}

/// `POST /incidents/{id}/reopen`.
pub(crate) fn reopen(asked: &Asked<'_>) -> Result<Reply, Problem> {
    change(asked, Change::Reopen { incident: asked.word(0).to_owned(), text: words(asked)? })
}

/// `POST /incidents/{id}/contain`.
pub(crate) fn contain(asked: &Asked<'_>) -> Result<Reply, Problem> {
    let ContainOrder { workload, minutes, dry_run } = asked.order()?;
    if !(1..=MINUTES).contains(&minutes) {
        return Err(Problem::bad(format!("minutes: a whole number from 1 to {MINUTES} is wanted")));
    }
    change(asked, Change::Contain { incident: asked.word(0).to_owned(), workload, minutes, dry_run })
}

/// `POST /incidents/{id}/release`.
pub(crate) fn release(asked: &Asked<'_>) -> Result<Reply, Problem> {
    let ReleaseOrder { workload } = asked.order()?;
    change(asked, Change::Release { incident: asked.word(0).to_owned(), workload })
}

fn words(asked: &Asked<'_>) -> Result<String, Problem> {
    let Words { text } = asked.order()?;
    if text.len() > TEXT_BYTES {
        return Err(Problem::bad(format!("text: longer than {TEXT_BYTES} bytes")));
    }
    Ok(text)
}

fn change(asked: &Asked<'_>, change: Change) -> Result<Reply, Problem> {
    json(&asked.known.actions.change(asked.who, change)?)
}
