//! What the API has done about incidents of a whole cluster: it is written down. Whoever is to be cut off is cut off by those who
//! enforce.

use super::now;
use crate::respond::{Annotation, Mark};
use ::collector::Store;
use ::ledger::Reader;
use api::{Actions, Change, NotDone, Who};
use incident::{Reachable, View, What};
use observe::Time;
use serde_json::{Map, Value, json};
use std::net::IpAddr;
use std::sync::Arc;

/// Why nobody is cut off from here.
const ENFORCES_NOTHING: &str = "a collector enforces nothing: do it on a node that the workload runs on, with \
                                `cofferdam incident contain` and `release` there, or in that agent's console";

/// Writes down what people decide over HTTP.
pub(super) struct Deciding(Arc<Store>);

impl Deciding {
    pub(super) fn new(store: Arc<Store>) -> Self {
        Self(store)
    }

    fn view(&self) -> Result<View, NotDone> {
        let reader = Reader::open(self.0.path());
        reader.and_then(|reader| View::read(&reader, Time(now()))).map_err(unavailable)
    }

    fn annotate(&self, who: &Who, annotation: &Annotation) -> Result<Value, NotDone> {
        let detail = annotation.detail().map_err(|error| NotDone::Invalid(format!("{error:#}")))?;
        let (what, on) = (What::from(annotation.what), &annotation.on);
        let entry = incident::entry(Time(now()), &who.name, what, on, &detail);
        self.0.write(&[entry]).map_err(unavailable)?;
        Ok(json!({}))
    }

    /// Writes something down about an incident, and gives the incident as it is then.
    fn mark(&self, who: &Who, incident: &str, what: Mark, text: String) -> Result<Value, NotDone> {
        let on = self.id_of(incident)?;
        self.annotate(who, &Annotation { on: on.clone(), what, text: Some(text), manifest: None })?;
        let view = self.view()?;
        let case = view.find(&on).ok_or_else(|| unknown(&on))?;
        Ok(json!(case.incident))
    }

    /// The id by which an incident is kept, of any by which it is known.
    fn id_of(&self, incident: &str) -> Result<String, NotDone> {
        let view = self.view()?;
        view.find(incident).map(|case| case.incident.id.clone()).ok_or_else(|| unknown(incident))
    }
}

fn unavailable(error: ::ledger::LedgerError) -> NotDone {
    NotDone::Unavailable(error.to_string())
}

fn unknown(incident: &str) -> NotDone {
    NotDone::NotFound(format!(
        "there is no incident {incident:?}: its findings are not in the ledger any more"
    ))
}

impl Actions for Deciding {
    fn change(&self, who: &Who, change: Change) -> Result<Value, NotDone> {
        match change {
            Change::AcknowledgeFinding { finding, text } => {
                let what = Mark::Acknowledged;
                self.annotate(who, &Annotation { on: finding, what, text: Some(text), manifest: None })
            }
            Change::Note { incident, text } => self.mark(who, &incident, Mark::Note, text),
            Change::Acknowledge { incident, text } => self.mark(who, &incident, Mark::Acknowledged, text),
            Change::Close { incident, text } => self.mark(who, &incident, Mark::Closed, text),
            Change::Reopen { incident, text } => self.mark(who, &incident, Mark::Reopened, text),
            Change::Contain { .. } | Change::Release { .. } => {
                Err(NotDone::Conflict(ENFORCES_NOTHING.to_owned()))
            }
            Change::Export { incident, manifest } => {
                let what = Mark::Exported;
                self.annotate(who, &Annotation { on: incident, what, text: None, manifest: Some(manifest) })
            }
        }
    }

    fn could(&self, _workload: &str) -> Option<Reachable> {
        None
    }

    fn refused(&self, from: IpAddr, why: &str) {
        let detail: Map<String, Value> = [("text".to_owned(), why.into())].into_iter().collect();
        let entry = incident::entry(Time(now()), &from.to_string(), What::LoginRefused, "", &detail);
        // What cannot be written shows in the status.
        let _ = self.0.write(&[entry]);
    }
}
