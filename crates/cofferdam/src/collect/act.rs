//! What the API has done about incidents of a whole cluster: it is written down. Whoever is to be cut off is cut off by those who
//! enforce, once it is written into the cluster.
//!
//! Guarantees: who was cut off and let go is in the ledger, with who asked. Does not: know the cluster's pods; a workload is meant
//! as it is written.

use super::now;
use crate::respond::{Annotation, Containment, Mark, Told, canonical, cluster, cuts_in};
use crate::up::cluster::Cluster;
use ::collector::Store;
use ::ledger::Reader;
use api::{Actions, Change, NotDone, Who};
use incident::{Reachable, View, What};
use observe::Time;
use serde_json::{Map, Value, json};
use std::net::IpAddr;
use std::sync::Arc;

/// Why nobody is let go from here.
const WRITES_NOTHING: &str = "this collector cannot write to the cluster: start it with --serve-kubernetes, or \
                              kubectl delete containment";

/// Writes down what people decide over HTTP.
pub(super) struct Deciding {
    store: Arc<Store>,
    /// Where containments are written.
    cluster: Option<Cluster>,
}

impl Deciding {
    pub(super) fn new(store: Arc<Store>, cluster: Option<Cluster>) -> Self {
        Self { store, cluster }
    }

    fn reader(&self) -> Result<Reader, NotDone> {
        Reader::open(self.store.path()).map_err(unavailable)
    }

    fn view(&self) -> Result<View, NotDone> {
        View::read(&self.reader()?, Time(now())).map_err(unavailable)
    }

    /// Has a workload cut off by an object of the cluster. Where it may not be written, the answer has it.
    fn contain(&self, who: &Who, order: &Containment) -> Result<Value, NotDone> {
        let time = Time(now());
        let invalid = |error: anyhow::Error| NotDone::Invalid(format!("{error:#}"));
        let until = order.until(time).map_err(invalid)?;
        let workload = canonical(&order.workload);
        let target = cluster::written(&workload).map_err(invalid)?;
        let mut warnings = Vec::new();
        if target.kind == "ReplicaSet" {
            warnings.push(
                "exactly the pods of this ReplicaSet are meant: if a Deployment made it, contain that, for its next one would go \
                 free"
                    .to_owned(),
            );
        }
        let cuts = cuts_in(&self.reader()?, &workload, time);
        let asked = cluster::Asked { who: &who.name, order, until, target, cuts, warnings };
        let tell = |told: &Told<'_>, problem: Option<&str>| {
            let detail = told.detail(order, problem);
            let entry = incident::entry(Time(now()), &who.name, What::Contained, told.workload, &detail);
            self.store.write(&[entry]).is_ok()
        };
        let done = asked.contain(self.cluster.as_ref(), tell);
        done.map_err(|error| NotDone::Conflict(format!("{error:#}")))
    }

    fn release(&self, who: &Who, workload: &str, incident: &str) -> Result<Value, NotDone> {
        let Some(cluster) = &self.cluster else {
            return Err(NotDone::Conflict(WRITES_NOTHING.to_owned()));
        };
        let workload = canonical(workload);
        let released = cluster::release(cluster, &workload);
        let released = released.map_err(|error| NotDone::Conflict(format!("{error:#}")))?;
        if released {
            let detail: Map<String, Value> = [("incident".to_owned(), incident.into())].into_iter().collect();
            let entry = incident::entry(Time(now()), &who.name, What::Released, &workload, &detail);
            self.store.write(&[entry]).map_err(unavailable)?;
        }
        Ok(json!({ "workload": workload, "released": released }))
    }

    fn annotate(&self, who: &Who, annotation: &Annotation) -> Result<Value, NotDone> {
        let detail = annotation.detail().map_err(|error| NotDone::Invalid(format!("{error:#}")))?;
        let (what, on) = (What::from(annotation.what), &annotation.on);
        let entry = incident::entry(Time(now()), &who.name, what, on, &detail);
        self.store.write(&[entry]).map_err(unavailable)?;
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
            Change::Contain { incident, workload, minutes, dry_run } => {
                let incident = Some(self.id_of(&incident)?);
                let seconds = u64::from(minutes) * 60;
                let order = Containment { workload, incident, seconds, dry_run, ..Containment::default() };
                self.contain(who, &order)
            }
            Change::Release { incident, workload } => {
                let incident = self.id_of(&incident)?;
                self.release(who, &workload, &incident)
            }
            Change::Export { incident, manifest } => {
                let what = Mark::Exported;
                self.annotate(who, &Annotation { on: incident, what, text: None, manifest: Some(manifest) })
            }
        }
    }

    fn seal(&self) {
        // What is not sealed now shows in what is made of it.
        let _ = self.store.seal();
    }

    fn could(&self, _workload: &str) -> Option<Reachable> {
        None
    }

    fn logged_in(&self, from: IpAddr, who: &Who, how: &str) {
        let text = format!("{how}, from {from}, as {}", who.role.name());
        let detail: Map<String, Value> = [("text".to_owned(), text.into())].into_iter().collect();
        let entry = incident::entry(Time(now()), &who.name, What::LoggedIn, "", &detail);
        // What cannot be written shows in the status.
        let _ = self.store.write(&[entry]);
    }

    fn refused(&self, from: IpAddr, why: &str) {
        let detail: Map<String, Value> = [("text".to_owned(), why.into())].into_iter().collect();
        let entry = incident::entry(Time(now()), &from.to_string(), What::LoginRefused, "", &detail);
        // What cannot be written shows in the status.
        let _ = self.store.write(&[entry]);
    }
}
