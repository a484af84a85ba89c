//! What the API has done about incidents: by the one who does it for the local socket, too.

use crate::respond::{Annotation, Containment, Mark, Order, Responder};
use crate::up::journal::Journal;
use ::ledger::{EntryFilter, Kind, Reader};
use api::{Actions, Change, NotDone, Who};
use incident::{Reach, Reachable, View, What};
use observe::Time;
use serde_json::{Map, Value, json};
use std::net::IpAddr;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::{Duration, SystemTime};

/// How long what was ordered takes to come into the ledger, at most, and how often that is looked at.
const WRITTEN: Duration = Duration::from_secs(3);
const LOOK: Duration = Duration::from_millis(50);

/// Acts for people who ask over HTTP.
pub(crate) struct Acting {
    responder: Responder,
    journal: Arc<Journal>,
    ledger: PathBuf,
}

impl Acting {
    pub(crate) fn new(responder: Responder, journal: Arc<Journal>, ledger: PathBuf) -> Self {
        Self { responder, journal, ledger }
    }

    fn reader(&self) -> Result<Reader, NotDone> {
        Reader::open(&self.ledger).map_err(|error| NotDone::Unavailable(error.to_string()))
    }

    /// The id by which an incident is kept, of any by which it is known.
    fn id_of(&self, reader: &Reader, incident: &str) -> Result<String, NotDone> {
        let view = View::read(reader, now()).map_err(|error| NotDone::Unavailable(error.to_string()))?;
        let case = view.find(incident).ok_or_else(|| {
            NotDone::NotFound(format!(
                "there is no incident {incident:?}: its findings are not in the ledger any more"
            ))
        })?;
        Ok(case.incident.id.clone())
    }

    fn run(&self, who: &Who, order: &Order) -> Result<Value, NotDone> {
        self.responder.run(&who.name, order).map_err(|error| NotDone::Conflict(format!("{error:#}")))
    }

    fn annotate(&self, who: &Who, annotation: Annotation) -> Result<Value, NotDone> {
        self.run(who, &Order::Annotate(annotation))
    }

    /// Writes something down about an incident, and gives the incident as it is then.
    fn mark(&self, who: &Who, incident: &str, what: Mark, text: String) -> Result<Value, NotDone> {
        let reader = self.reader()?;
        let on = self.id_of(&reader, incident)?;
        let before = newest_act(&reader, &on)?;
        self.annotate(who, Annotation { on: on.clone(), what, text: Some(text), manifest: None })?;
        let end = std::time::Instant::now() + WRITTEN;
        while newest_act(&reader, &on)? == before && std::time::Instant::now() < end {
            std::thread::sleep(LOOK);
        }
        let view = View::read(&reader, now()).map_err(|error| NotDone::Unavailable(error.to_string()))?;
        let case = view.find(&on).ok_or_else(|| NotDone::NotFound(format!("there is no incident {on:?}")))?;
        Ok(json!(case.incident))
    }
}

/// The number of the newest entry that somebody made about something; 0: there is none.
fn newest_act(reader: &Reader, on: &str) -> Result<i64, NotDone> {
    let filter = EntryFilter {
        kinds: vec![Kind::Audit],
        destination: Some(on.to_owned()),
        limit: Some(1),
        ..EntryFilter::default()
    };
    let found = reader.entries(&filter).map_err(|error| NotDone::Unavailable(error.to_string()))?;
    Ok(found.first().map_or(0, |it| it.id))
}

fn now() -> Time {
    Time::from(SystemTime::now())
}

impl Actions for Acting {
    fn change(&self, who: &Who, change: Change) -> Result<Value, NotDone> {
        match change {
            Change::AcknowledgeFinding { finding, text } => {
                let what = Mark::Acknowledged;
                self.annotate(who, Annotation { on: finding, what, text: Some(text), manifest: None })
            }
            Change::Note { incident, text } => self.mark(who, &incident, Mark::Note, text),
            Change::Acknowledge { incident, text } => self.mark(who, &incident, Mark::Acknowledged, text),
            Change::Close { incident, text } => self.mark(who, &incident, Mark::Closed, text),
            Change::Reopen { incident, text } => self.mark(who, &incident, Mark::Reopened, text),
            Change::Contain { incident, workload, minutes, dry_run } => {
                let incident = Some(self.id_of(&self.reader()?, &incident)?);
                let seconds = u64::from(minutes) * 60;
                let order = Containment { workload, incident, seconds, dry_run, ..Containment::default() };
                self.run(who, &Order::Contain(order))
            }
            Change::Release { incident, workload } => {
                let incident = Some(self.id_of(&self.reader()?, &incident)?);
                self.run(who, &Order::Release { workload, incident, text: None })
            }
            Change::Export { incident, manifest } => {
                let what = Mark::Exported;
                self.annotate(who, Annotation { on: incident, what, text: None, manifest: Some(manifest) })
            }
        }
    }

    fn seal(&self) {
        self.journal.seal();
    }

    fn could(&self, workload: &str) -> Option<Reachable> {
        self.responder.could(workload)
    }

    fn logged_in(&self, from: IpAddr, who: &Who, how: &str) {
        let text = format!("{how}, from {from}, as {}", who.role.name());
        let detail: Map<String, Value> = [("text".to_owned(), text.into())].into_iter().collect();
        self.journal.audit(&who.name, What::LoggedIn, "", &detail);
    }

    fn refused(&self, from: IpAddr, why: &str) {
        let detail: Map<String, Value> = [("text".to_owned(), why.into())].into_iter().collect();
        self.journal.audit(&from.to_string(), What::LoginRefused, "", &detail);
    }
}
