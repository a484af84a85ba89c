//! Incidents, and what people do about them.

use super::findings::once_each;
use super::{Asked, Reply, json, lost};
use crate::problem::Problem;
use crate::seam::{Actions, Change};
use crate::shape::incident::{ContainOrder, Finding, ReleaseOrder, Words};
use incident::evidence::bundle;
use incident::{
    Case, Incident, Indicator, Item, Of, Radius, Reach, Reachable, Unclear, View, Within, radius, timeline,
};
use ledger::{Match, Reader};
use observe::Time;
use serde::Serialize;

/// Longest text of a note.
const TEXT_BYTES: usize = 4096;
/// Longest containment: a week.
const MINUTES: u32 = 7 * 24 * 60;
/// Incidents of one answer where nobody says how many.
const INCIDENTS: usize = 1000;
/// Workloads whose reach is told.
const RADII: usize = 20;

/// Incidents, and whether older ones may be missing.
#[derive(Serialize)]
struct Listed {
    items: Vec<Incident>,
    next: Option<i64>,
    lost: u64,
    #[serde(skip_serializing_if = "std::ops::Not::not")]
    truncated: bool,
}

/// `GET /incidents`.
pub(crate) fn list(asked: &Asked<'_>, reader: &Reader) -> Result<Reply, Problem> {
    let query = asked.query;
    let (since, until) = (query.time("since").unwrap_or(0), query.time("until").unwrap_or(u64::MAX));
    let states = asked.query.texts("state");
    let view = View::read(reader, asked.query.now())?;
    let wants = |it: &Incident| {
        it.last.0 >= since
            && it.first.0 <= until
            && (states.is_empty() || states.iter().any(|state| state == it.state.as_str()))
    };
    let of = Of { workload: query.text("workload"), node: query.text("node"), text: query.text("q") };
    let truncated = view.truncated;
    let all = view.cases.into_iter().filter(|case| of.is(case)).map(|case| case.incident).filter(wants);
    let items = all.take(query.limit(INCIDENTS)).collect();
    json(&Listed { items, next: None, lost: lost(reader)?, truncated })
}

fn case(view: &View, id: &str) -> Result<Case, Problem> {
    view.meant(id).cloned().map_err(|unclear| match unclear {
        Unclear::Unknown => {
            Problem::not_found(format!("{unclear}, or its findings are not in the ledger any more"))
        }
        Unclear::Several => Problem::bad(unclear.to_string()),
    })
}

/// Asks whoever knows the policy in force.
struct Asking<'a>(&'a dyn Actions);

impl Reach for Asking<'_> {
    fn could(&self, workload: &str) -> Option<Reachable> {
        self.0.could(workload)
    }
}

/// An incident with all about it.
#[derive(Serialize)]
struct Whole {
    incident: Incident,
    findings: Vec<Finding>,
    timeline: Vec<Item>,
    timeline_truncated: bool,
    blast_radius: Vec<Radius>,
}

/// `GET /incidents/{id}`.
pub(crate) fn one(asked: &Asked<'_>, reader: &Reader) -> Result<Reply, Problem> {
    let view = View::read(reader, asked.query.now())?;
    let case = case(&view, asked.word(0))?;
    let told = timeline(reader, &case)?;
    let workloads: Vec<String> = case.incident.workloads.iter().take(RADII).cloned().collect();
    let blast_radius = radius(reader, &Asking(&*asked.known.actions), &workloads)?;
    json(&Whole {
        findings: once_each(case.findings.iter(), &view),
        incident: case.incident,
        timeline: told.items,
        timeline_truncated: told.truncated,
        blast_radius,
    })
}

/// `GET /incidents/{id}/evidence`.
pub(crate) fn evidence(asked: &Asked<'_>, reader: &Reader) -> Result<Reply, Problem> {
    asked.known.actions.seal();
    let case = case(&View::read(reader, asked.query.now())?, asked.word(0))?;
    let id = case.incident.id.clone();
    let bundle = bundle(reader, &case, &Asking(&*asked.known.actions), env!("CARGO_PKG_VERSION"))?;
    // Whoever takes it is written down before it is given away.
    let export = Change::Export { incident: id.clone(), manifest: bundle.manifest };
    asked.known.actions.change(asked.who, export)?;
    let name: String = id.chars().filter(char::is_ascii_alphanumeric).take(64).collect();
    Ok(Reply::File("application/x-tar", format!("cofferdam-{name}.tar"), bundle.archive.into()))
}

/// `GET /hunt`.
pub(crate) fn hunt(asked: &Asked<'_>, reader: &Reader) -> Result<Reply, Problem> {
    let text = asked.query.text("indicator");
    let text = text.ok_or_else(|| Problem::bad("indicator: what is to be looked for?"))?;
    let indicator = Indicator::read(text).map_err(|error| Problem::bad(format!("indicator: {error}")))?;
    let within = Within {
        since: asked.query.time("since").map(Time),
        until: asked.query.time("until").map(Time),
        node: asked.query.text("node").map(Match::wanted),
    };
    json(&incident::hunt(reader, &indicator, &within)?)
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
