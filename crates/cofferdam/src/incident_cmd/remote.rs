//! Containments asked for at an API over HTTP.

use crate::remote::Remote;
use anyhow::{Result, bail};
use hyper::Method;
use serde_json::{Value, json};
use std::time::Duration;

impl Remote {
    /// The incident that is meant, and its workloads: by its id or the beginning of one, or the latest of a workload.
    ///
    /// # Errors
    /// There is none, there are several, or the API does not answer.
    pub(super) fn incident(&self, id: Option<&str>, workload: Option<&str>) -> Result<(String, Vec<String>)> {
        let found = self.ask(&Method::GET, "/incidents", None)?;
        let items = found.get("items").and_then(Value::as_array).map(Vec::as_slice).unwrap_or_default();
        let of = |item: &Value| {
            let workloads = item.get("workloads").and_then(Value::as_array).into_iter().flatten();
            let workloads: Vec<String> = workloads.filter_map(Value::as_str).map(str::to_owned).collect();
            (item.get("id").and_then(Value::as_str).unwrap_or_default().to_owned(), workloads)
        };
        let mut meant = items.iter().map(of).filter(|(known, workloads)| match (id, workload) {
            (Some(id), _) => !id.is_empty() && known.starts_with(id),
            (None, Some(workload)) => workloads.iter().any(|it| it == workload),
            (None, None) => false,
        });
        // Of a workload the latest, which comes first.
        match (meant.next(), id.is_some() && meant.next().is_some()) {
            (Some(_), true) => bail!("several incidents begin with that: give more of the id"),
            (Some(found), false) => Ok(found),
            (None, _) => bail!(
                "there is no such incident at that API: name one by its id, as its console and GET /api/v1/incidents have it"
            ),
        }
    }

    /// Cuts a workload off, or says what that would be. Answers as the socket does.
    ///
    /// # Errors
    /// The API refuses it, or does not answer.
    pub(super) fn contain(
        &self,
        incident: &str,
        workload: &str,
        lasts: Duration,
        dry_run: bool,
    ) -> Result<Value> {
        let minutes = lasts.as_secs().div_ceil(60).max(1);
        let order = json!({ "workload": workload, "minutes": minutes, "dry_run": dry_run });
        self.ask(&Method::POST, &format!("/incidents/{incident}/contain"), Some(&order))
    }

    /// Lets a workload go.
    ///
    /// # Errors
    /// As [`Self::contain`].
    pub(super) fn release(&self, incident: &str, workload: &str) -> Result<Value> {
        self.ask(
            &Method::POST,
            &format!("/incidents/{incident}/release"),
            Some(&json!({ "workload": workload })),
        )
    }
}
