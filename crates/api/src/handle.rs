//! Answers, one module for each kind of question. All of it runs on threads that may wait.

pub(crate) mod findings;
pub(crate) mod fleet;
mod fold;
pub(crate) mod graph;
pub(crate) mod incidents;
pub(crate) mod live;
pub(crate) mod records;
pub(crate) mod sums;
pub(crate) mod usage;

use crate::elsewhere::Elsewhere;
use crate::graph_names::Providers;
use crate::groups::Kept;
use crate::problem::Problem;
use crate::query::Query;
use crate::seam::{Actions, Hub, Live, NotDone};
use crate::shape::fleet::Fleet;
use crate::who::Who;
use hyper::StatusCode;
use hyper::body::Bytes;
use incident::{Case, State, View};
use ledger::{BoundedStore, EntryFilter, Reader, Span};
use observe::Time;
use serde::Serialize;
use serde::de::DeserializeOwned;
use std::sync::{Arc, Mutex, PoisonError};

/// Microseconds of an hour.
const HOUR: u64 = 3_600_000_000;
/// How long a count of what is open holds, in microseconds.
const COUNTED: u64 = 3_000_000;

/// What handlers go by.
pub(crate) struct Known {
    pub(crate) live: Arc<dyn Live>,
    pub(crate) actions: Arc<dyn Actions>,
    pub(crate) providers: Providers,
    pub(crate) groups: Kept,
    pub(crate) document: Bytes,
    /// What is open, and when that was counted.
    pub(crate) open: Mutex<Option<(Time, Open)>>,
    /// What is asked instead of the ledger's file where [`BoundedStore`] is enough.
    pub(crate) store: Option<Elsewhere>,
    pub(crate) hub: Option<Arc<dyn Hub>>,
    /// What the hub said last, and when.
    pub(crate) fleet: Mutex<Option<(Time, Result<Fleet, String>)>>,
}

/// How much somebody has yet to look after.
#[derive(Clone, Copy)]
pub(crate) struct Open {
    /// Incidents that nobody closed.
    pub(crate) incidents: u64,
    /// Findings that nobody acknowledged.
    pub(crate) findings: u64,
}

impl Known {
    /// Counted anew after [`COUNTED`] only: every open page of the console asks for it all the time.
    pub(crate) fn open(&self, reader: &Reader, now: Time) -> Result<Open, Problem> {
        let known = *self.open.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some((at, open)) = known
            && now.0.saturating_sub(at.0) < COUNTED
        {
            return Ok(open);
        }
        let view = View::read(reader, now)?;
        let is_open = |case: &&Case| case.incident.state != State::Closed;
        let findings = view.cases.iter().flat_map(|case| &case.findings);
        let open = Open {
            incidents: view.cases.iter().filter(is_open).count() as u64,
            findings: findings.filter(|finding| !view.acknowledged.contains(&finding.id)).count() as u64,
        };
        *self.open.lock().unwrap_or_else(PoisonError::into_inner) = Some((now, open));
        Ok(open)
    }
}

/// One request that was let in.
pub(crate) struct Asked<'a> {
    pub(crate) known: &'a Known,
    pub(crate) who: &'a Who,
    pub(crate) query: &'a Query,
    /// What stands for segments in braces.
    pub(crate) words: &'a [String],
    pub(crate) body: &'a [u8],
}

/// What is answered.
#[derive(Debug)]
pub(crate) enum Reply {
    /// JSON.
    Json(Bytes),
    /// A file of this media type and name.
    File(&'static str, String, Bytes),
}

impl Asked<'_> {
    /// What stands for a segment in braces.
    fn word(&self, number: usize) -> &str {
        self.words.get(number).map_or("", String::as_str)
    }

    /// The time that was asked for; without `since` it is so many hours long.
    fn span(&self, hours: u64) -> Span {
        let until = self.query.time("until").unwrap_or(self.query.now().0);
        let since = self.query.time("since").unwrap_or_else(|| until.saturating_sub(hours * HOUR));
        Span { since, until }
    }

    /// The entries that were asked for, of that time.
    fn filter(&self, hours: u64) -> Result<EntryFilter, Problem> {
        let Span { since, until } = self.span(hours);
        Ok(EntryFilter { since: Some(since), until: Some(until), ..records::filter(self.query)? })
    }

    /// The body as JSON; an empty one is an empty object.
    fn order<T: DeserializeOwned>(&self) -> Result<T, Problem> {
        let body = if self.body.is_empty() { b"{}" } else { self.body };
        serde_json::from_slice(body).map_err(|error| Problem::bad(format!("the body: {error}")))
    }
}

/// As JSON.
pub(crate) fn json(answer: &impl Serialize) -> Result<Reply, Problem> {
    let written = serde_json::to_vec(answer);
    written.map(|bytes| Reply::Json(bytes.into())).map_err(|error| {
        Problem::new(StatusCode::INTERNAL_SERVER_ERROR, format!("the answer cannot be written: {error}"))
    })
}

/// What is not in the ledger, or in the store.
pub(crate) fn lost(store: &dyn BoundedStore) -> Result<u64, Problem> {
    Ok(store.missing()?)
}

impl From<NotDone> for Problem {
    fn from(error: NotDone) -> Self {
        let text = error.to_string();
        match error {
            NotDone::NotFound(_) => Self::not_found(text),
            NotDone::Conflict(_) => Self::new(StatusCode::CONFLICT, text),
            NotDone::Invalid(_) => Self::new(StatusCode::UNPROCESSABLE_ENTITY, text),
            NotDone::Unavailable(_) => Self::unavailable(text),
        }
    }
}
