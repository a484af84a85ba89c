//! Incidents asked for at an API over HTTP, and what is done about them there.

use super::{HuntArgs, ListArgs};
use crate::plain::printable;
use crate::remote::{Question, Remote, segment};
use crate::respond::Mark;
use anyhow::{Context, Result, anyhow, bail, ensure};
use hyper::Method;
use incident::evidence::{Bundle, MAX_ARCHIVE};
use incident::{Hunt, Incident, State, Story};
use serde::Deserialize;
use serde_json::{Value, json};
use std::time::Duration;

/// Incidents that are looked through for the latest of a workload.
const LOOKED: usize = 10_000;

/// Incidents, as they are told.
#[derive(Debug, Deserialize)]
struct Told {
    items: Vec<Incident>,
    /// Whether older findings are left out.
    #[serde(default)]
    truncated: bool,
}

impl Remote {
    /// Incidents, and whether older ones may be missing.
    ///
    /// # Errors
    /// The API refuses it, or does not answer; this also goes for the others.
    pub(super) fn incidents(&self, args: &ListArgs) -> Result<(Vec<Incident>, bool)> {
        let mut question = Question::default();
        question.some("state", args.state.map(|state| State::from(state).as_str()));
        question.some("since", args.since);
        question.some("until", args.until);
        question.some("workload", args.workload.as_deref());
        question.some("node", args.node.as_deref());
        question.some("q", args.text.as_deref());
        question.add("limit", args.limit);
        let Told { items, truncated } = self.told(&question.path("/incidents", &[]))?;
        Ok((items, truncated))
    }

    /// One incident and all about it, by its id or the beginning of one.
    ///
    /// # Errors
    /// There is none, or there are several.
    pub(super) fn story(&self, id: &str) -> Result<Story> {
        ensure!(
            !id.is_empty(),
            "name the incident by its id: `cofferdam incident list` shows those there are"
        );
        self.told(&format!("/incidents/{}", segment(id)))
    }

    /// The incident that is meant, and its workloads: by its id or the beginning of one, or the latest of a workload.
    ///
    /// # Errors
    /// There is none, or there are several.
    pub(super) fn incident(&self, id: Option<&str>, workload: Option<&str>) -> Result<(String, Vec<String>)> {
        let found = match (id, workload) {
            (Some(id), _) => Some(self.story(id)?.incident),
            (None, Some(workload)) => {
                let mut question = Question::default();
                question.add("workload", workload);
                question.add("limit", LOOKED);
                let Told { items, .. } = self.told(&question.path("/incidents", &[]))?;
                // The latest comes first. A star at the end of a name would mean others.
                items.into_iter().find(|it| it.workloads.iter().any(|it| it == workload))
            }
            (None, None) => None,
        };
        let Some(Incident { id, workloads, .. }) = found else {
            bail!(
                "there is no incident of that workload at {}: `cofferdam incident list` with the same --api shows those there are",
                self.name()
            )
        };
        Ok((id, workloads))
    }

    /// Writes something down about an incident. Gives its whole id.
    ///
    /// # Errors
    /// There is no such incident, or nobody writes it down.
    pub(super) fn mark(&self, id: &str, what: Mark, text: Option<&String>) -> Result<String> {
        let act = match what {
            Mark::Note => "notes",
            Mark::Acknowledged => "acknowledge",
            Mark::Closed => "close",
            Mark::Reopened => "reopen",
            Mark::Unacknowledged | Mark::Exported => bail!("an API cannot be asked to write that down"),
        };
        let (id, _) = self.incident(Some(id), None)?;
        let order = json!({ "text": text.map(String::as_str).unwrap_or_default() });
        let done = self.ask(&Method::POST, &format!("/incidents/{}/{act}", segment(&id)), Some(&order))?;
        let told = done.get("id").and_then(Value::as_str);
        ensure!(told.is_some(), "{} does not say that it was written down", self.name());
        Ok(id)
    }

    /// The evidence of an incident. Who takes it is written down there before it is given away.
    ///
    /// # Errors
    /// There is no such incident, or what comes is not as its manifest says.
    pub(super) fn evidence(&self, id: &str) -> Result<Bundle> {
        let (id, _) = self.incident(Some(id), None)?;
        let path = format!("/incidents/{}/evidence", segment(&id));
        let archive = self.file(&path, "application/x-tar", MAX_ARCHIVE)?;
        Bundle::read(archive.into()).map_err(|faulty| {
            // It repeats what the archive has.
            let faulty = printable(&faulty.to_string());
            anyhow!("the evidence that {} gives does not hold: {faulty}", self.name())
        })
    }

    /// Where an indicator was seen.
    ///
    /// # Errors
    /// The API takes it for none.
    pub(super) fn hunt(&self, args: &HuntArgs) -> Result<Hunt> {
        let mut question = Question::default();
        question.add("indicator", &args.indicator);
        question.some("since", args.since);
        question.some("until", args.until);
        question.some("node", args.node.as_deref());
        self.told(&question.path("/hunt", &[]))
    }

    /// Cuts a workload off, or says what that would be. Answers as the socket does.
    ///
    /// # Errors
    /// The answer does not say whether it is cut off.
    pub(super) fn contain(
        &self,
        incident: &str,
        workload: &str,
        lasts: Duration,
        dry_run: bool,
    ) -> Result<Value> {
        let minutes = lasts.as_secs().div_ceil(60).max(1);
        let order = json!({ "workload": workload, "minutes": minutes, "dry_run": dry_run });
        self.act(incident, "contain", &order, "in_force")
    }

    /// Lets a workload go.
    ///
    /// # Errors
    /// The answer does not say whether it was let go.
    pub(super) fn release(&self, incident: &str, workload: &str) -> Result<Value> {
        self.act(incident, "release", &json!({ "workload": workload }), "released")
    }

    /// Has something done about a workload, whose outcome is `says` of the answer.
    fn act(&self, incident: &str, act: &str, order: &Value, says: &str) -> Result<Value> {
        let path = format!("/incidents/{}/{act}", segment(incident));
        let done = self.ask(&Method::POST, &path, Some(order))?;
        done.get(says).and_then(Value::as_bool).with_context(|| {
            format!(
                "the answer of {} does not say how it went ({says}): look at `cofferdam incident show`",
                self.name()
            )
        })?;
        Ok(done)
    }
}
