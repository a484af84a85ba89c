//! Writes to an API server what the status of Gateways, routes and policies is to say.
//!
//! Enters: [`Stands`], whenever they differ. Leaves: statuses, and Events where one began to say that something is refused. Guarantees: of several gateways only the one that leads
//! writes; an object is read before it is written and written only if nobody wrote it meanwhile, so that what others
//! say stays; only what differs is written, at most so much in a second; what cannot be written, or was changed by somebody
//! else, is written later. Does not: touch anything of an object but its status.

use super::events::Events;
use super::merge::merged;
use super::serves::Serves;
use super::stands::{Says, Stands, Wanted};
use super::{Served, with_status};
use crate::lease::{self, Role};
use crate::watch::Watched;
use crds::ObjectName;
use feed::client::chain;
use k8s_openapi::jiff::Timestamp;
use kube::api::{DynamicObject, ListParams, Patch, PatchParams};
use kube::{Api, Client};
use serde_json::{Value, json};
use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;
use std::time::Duration;
use tokio::sync::watch;
use tokio::time::{Instant, sleep, sleep_until};

/// Whose fields these are.
const MANAGER: &str = "cofferdam-ingress-gateway";
/// Least time between two rounds of writing.
const PACE: Duration = Duration::from_secs(1);
/// Rest before each write: whatever changes at once, the API server has others to serve.
const REST: Duration = Duration::from_millis(20);
/// Writes before it is looked how things stand now.
const ROUND: usize = 100;
/// After so long what could not be written is tried again.
const AGAIN: Duration = Duration::from_secs(10);
/// How often it is looked whether somebody changed what was written.
const LOOK: Duration = Duration::from_secs(300);
/// How often an object that others write too is looked at again at once.
const TRIES: usize = 3;
/// Objects asked for at a time.
const PAGE: u32 = 500;

/// Who takes part in the election of the one that writes.
#[derive(Clone, Debug)]
pub struct Candidate {
    /// Namespace of the Lease.
    pub namespace: String,
    /// This gateway's name among all.
    pub name: String,
    /// The Gateways that it serves. A process of one alone has a Lease of its own.
    pub serves: Serves,
}

impl Candidate {
    fn lease(&self) -> String {
        match &self.serves {
            Serves::Only(gateway) => format!("{}.{}.{}", lease::INGRESS, gateway.namespace, gateway.name),
            Serves::All | Serves::AllBut(_) => lease::INGRESS.to_owned(),
        }
    }
}

/// How the writing goes.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Writing {
    /// Whether this one leads, as far as it knows.
    pub role: Role,
    /// Why something could not be written; it is tried again.
    pub problem: Option<String>,
}

/// Writes while this one leads, until the future is dropped.
pub async fn run(
    client: Client,
    candidate: &Candidate,
    stands: watch::Receiver<Option<Arc<Stands>>>,
    writing: watch::Sender<Writing>,
) {
    let (elected, role) = watch::channel(Role::default());
    let elect = async {
        loop {
            let name = candidate.lease();
            let lease = (&*candidate.namespace, &*name);
            let other = lease::run(client.clone(), lease, &candidate.name, &elected).await;
            elected.send_replace(Role::Stands(other));
        }
    };
    tokio::select! {
        () = elect => {}
        () = write(client.clone(), stands, role, &writing) => {}
    }
}

async fn write(
    client: Client,
    mut stands: watch::Receiver<Option<Arc<Stands>>>,
    mut role: watch::Receiver<Role>,
    writing: &watch::Sender<Writing>,
) {
    let mut writer = Writer::new(client);
    loop {
        tokio::select! {
            // Whoever says how things stand may be gone; then nothing is left to write.
            changed = stands.changed() => if changed.is_err() { return },
            _ = role.changed() => {}
            () = sleep(AGAIN), if !writer.due.is_empty() && !writer.has_more => {}
            () = sleep_until(writer.look_at), if writer.leads => {}
            () = std::future::ready(()), if writer.has_more => {}
        }
        sleep(PACE).await;
        let current = role.borrow_and_update().clone();
        if current == Role::Leads {
            let latest = stands.borrow_and_update().clone();
            if let Some(latest) = latest {
                writer.take(&latest);
                writer.round().await;
            }
        } else {
            // Whoever leads again looks at everything again.
            writer = Writer::new(writer.client);
        }
        let now = Writing { role: current, problem: writer.problem.clone() };
        writing.send_if_modified(|before| {
            let differs = *before != now;
            *before = now;
            differs
        });
    }
}

struct Writer {
    client: Client,
    events: Events,
    wanted: BTreeMap<ObjectName, Wanted>,
    serves: Serves,
    /// What may not be as it is wanted.
    due: BTreeSet<ObjectName>,
    /// Where the last round ended.
    last: Option<ObjectName>,
    has_more: bool,
    leads: bool,
    /// When all is looked at again.
    look_at: Instant,
    problem: Option<String>,
}

impl Writer {
    fn new(client: Client) -> Self {
        let (wanted, due) = (BTreeMap::new(), BTreeSet::new());
        let look_at = Instant::now();
        let events = Events::new(client.clone(), MANAGER);
        Self {
            client,
            events,
            wanted,
            serves: Serves::All,
            due,
            last: None,
            has_more: false,
            leads: false,
            look_at,
            problem: None,
        }
    }

    fn take(&mut self, stands: &Stands) {
        self.leads = true;
        let differs = |(name, wanted): &(&ObjectName, &Wanted)| self.wanted.get(*name) != Some(*wanted);
        let changed = stands.wanted.iter().filter(differs).map(|(name, _)| name);
        let gone = self.wanted.keys().filter(|name| !stands.wanted.contains_key(*name));
        self.due.extend(changed.chain(gone).cloned());
        self.wanted.clone_from(&stands.wanted);
        self.serves.clone_from(&stands.serves);
    }

    async fn round(&mut self) {
        self.problem = None;
        if Instant::now() >= self.look_at {
            match self.look().await {
                Ok(()) => self.look_at = Instant::now() + LOOK,
                Err(error) => {
                    self.problem = Some(chain(&error));
                    self.look_at = Instant::now() + AGAIN;
                }
            }
        }
        // On from where the last round ended: what cannot be written keeps nobody waiting.
        let mut due: Vec<ObjectName> = self.due.iter().cloned().collect();
        let next = due.partition_point(|name| Some(name) <= self.last.as_ref());
        due.rotate_left(next);
        self.has_more = due.len() > ROUND;
        due.truncate(ROUND);
        self.last = due.last().cloned();
        for name in due {
            match self.put(&name).await {
                Ok(()) => drop(self.due.remove(&name)),
                Err(error) => self.problem = Some(format!("{name}: {}", chain(&error))),
            }
        }
    }

    /// Looks at everything that has a status, and notes what is not as it is wanted.
    async fn look(&mut self) -> kube::Result<()> {
        for kind in with_status() {
            let api: Api<DynamicObject> = Api::all_with(self.client.clone(), &kind.resource());
            let mut params = ListParams::default().limit(PAGE);
            loop {
                let page = match api.list(&params).await {
                    Ok(page) => page,
                    // The cluster does not have the kind.
                    Err(kube::Error::Api(status)) if status.code == 404 => break,
                    Err(error) => return Err(error),
                };
                for object in page.items {
                    let name = name_of(kind, &object);
                    if self.change(&name, &object).is_some() {
                        self.due.insert(name);
                    }
                }
                match page.metadata.continue_.filter(|token| !token.is_empty()) {
                    Some(token) => params = params.continue_token(&token),
                    None => break,
                }
            }
        }
        Ok(())
    }

    async fn put(&mut self, name: &ObjectName) -> kube::Result<()> {
        let mut tries = 1;
        loop {
            match self.try_put(name).await {
                // Another wrote meanwhile: what it said is looked at, and stays.
                Err(kube::Error::Api(status)) if status.code == 409 && tries < TRIES => tries += 1,
                result => return result,
            }
        }
    }

    async fn try_put(&mut self, name: &ObjectName) -> kube::Result<()> {
        let Some(kind) = with_status().find(|kind| kind.kind() == &*name.kind) else { return Ok(()) };
        let (client, resource) = (self.client.clone(), kind.resource());
        let api: Api<DynamicObject> = match &*name.namespace {
            "" => Api::all_with(client, &resource),
            namespace => Api::namespaced_with(client, namespace, &resource),
        };
        // Whoever removed it has no use for its status.
        let Some(object) = api.get_opt(&name.name).await? else { return Ok(()) };
        let version = object.metadata.resource_version.clone();
        let Some(status) = self.change(name, &object) else { return Ok(()) };
        sleep(REST).await;
        let patch = json!({ "metadata": { "resourceVersion": version }, "status": status });
        let params = PatchParams { field_manager: Some(MANAGER.to_owned()), ..PatchParams::default() };
        match api.patch_status(&name.name, &params, &Patch::Merge(&patch)).await {
            Err(kube::Error::Api(status)) if status.code == 404 => Ok(()),
            Ok(_) => {
                self.events.tell(name, &object, &status).await;
                Ok(())
            }
            Err(error) => Err(error),
        }
    }

    /// What its status is to be, where it is not.
    fn change(&self, name: &ObjectName, object: &DynamicObject) -> Option<Value> {
        let object = serde_json::to_value(object).unwrap_or_default();
        let no_route = || Wanted::none(&object);
        match self.wanted.get(name) {
            Some(wanted) => merged(&object, wanted, &self.serves, &now()),
            // It may have been ours.
            None if name.kind.ends_with("Route") => merged(&object, &no_route(), &self.serves, &now()),
            None => None,
        }
    }
}

impl Wanted {
    /// Nothing of a route is ours.
    fn none(object: &Value) -> Self {
        let metadata = object.get("metadata").unwrap_or(&Value::Null);
        let generation = metadata.get("generation").and_then(Value::as_i64).unwrap_or_default();
        let created = metadata.get("creationTimestamp").and_then(Value::as_str).unwrap_or_default();
        Self { generation, created: created.into(), says: Says::Route(Vec::new()) }
    }
}

fn name_of(kind: Served, object: &DynamicObject) -> ObjectName {
    let text = |text: &Option<String>| text.as_deref().unwrap_or_default().into();
    let (namespace, name) = (text(&object.metadata.namespace), text(&object.metadata.name));
    ObjectName { kind: kind.kind().into(), namespace, name }
}

/// Whole seconds, as the type of the field has them.
fn now() -> String {
    Timestamp::from_second(Timestamp::now().as_second()).unwrap_or_default().to_string()
}
