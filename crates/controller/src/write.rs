//! Writes how policies stand back to the API server.
//!
//! Enters: reports. Leaves: for a NetworkPolicy, which has no status, a [`crate::definition`] of the same name beside it;
//! for the other kinds, also a DetectionPolicy, conditions in their own status; an Event when something goes wrong.
//! Guarantees: only who leads writes; only what changed is written, at most every second; what cannot be written is
//! written later. Does not: touch anything else of an object.

use crate::Kind;
use crate::Status;
use crate::definition::{GROUP, KIND, PLURAL, VERSION};
use crate::lease::Role;
use crate::report::{Condition, Report, Reporter, Written};
use feed::server::Feed;
use k8s_openapi::api::core::v1::ObjectReference;
use k8s_openapi::jiff::Timestamp;
use kube::api::{DeleteParams, DynamicObject, ListParams, Patch, PatchParams};
use kube::core::{ApiResource, GroupVersionKind};
use kube::runtime::events::{Event, EventType, Recorder, Reporter as Source};
use kube::{Api, Client};
use serde_json::{Value, json};
use std::collections::BTreeMap;
use std::time::Duration;
use tokio::sync::watch;
use tokio::time::sleep;

/// Whose fields these are.
const MANAGER: &str = "cofferdam-controller";
/// Least time between two rounds of writing.
const PACE: Duration = Duration::from_secs(1);
/// Rest before each write: whatever changes at once, the API server has others to serve.
const REST: Duration = Duration::from_millis(20);
/// Writes before it is looked how things stand now.
const ROUND: usize = 100;

/// What was written of a policy.
struct Said {
    report: Report,
    /// Since when each condition is as it is.
    since: BTreeMap<&'static str, (bool, String)>,
}

/// Writes until the future is dropped.
pub async fn run(client: Client, feed: Feed, status: watch::Receiver<Status>, role: watch::Receiver<Role>) {
    let mut writer = Writer::new(client);
    let (mut status, mut role, mut standings) = (status, role, feed.standings());
    let mut reporter = Reporter::default();
    loop {
        let _changed = tokio::select! {
            changed = status.changed() => changed.is_ok(),
            changed = standings.changed() => changed.is_ok(),
            changed = role.changed() => changed.is_ok(),
            // What could not be written is tried again.
            () = sleep(PACE * 10), if writer.owes => true,
            () = std::future::ready(()), if writer.has_more => true,
        };
        sleep(PACE).await;
        if *role.borrow() != Role::Leads {
            continue;
        }
        let Some(current) = feed.current() else { continue };
        let seen = status.borrow_and_update().clone();
        let standings = standings.borrow_and_update().clone();
        let work = move || {
            let said = [seen.diagnostics, seen.findings].concat();
            let reports = reporter.reports(&current, (&seen.written, &seen.tunings), &said, &standings);
            (reporter, reports)
        };
        let reports;
        // A panic here is a bug that must be seen.
        (reporter, reports) = match tokio::task::spawn_blocking(work).await {
            Ok(done) => done,
            Err(panicked) => std::panic::resume_unwind(panicked.into_panic()),
        };
        writer.write(reports).await;
    }
}

struct Writer {
    client: Client,
    events: Recorder,
    said: BTreeMap<Written, Said>,
    /// Whether something could not be written.
    owes: bool,
    /// Whether a round ended before all was written.
    has_more: bool,
    /// Where it ended.
    last: Option<Written>,
    /// Whether what an earlier leader left behind was looked for.
    is_tidy: bool,
}

impl Writer {
    fn new(client: Client) -> Self {
        let source = Source { controller: MANAGER.to_owned(), instance: None };
        let events = Recorder::new(client.clone(), source);
        Self {
            client,
            events,
            said: BTreeMap::new(),
            owes: false,
            has_more: false,
            last: None,
            is_tidy: false,
        }
    }

    async fn write(&mut self, reports: BTreeMap<Written, Report>) {
        self.owes = false;
        let gone: Vec<_> =
            self.said.keys().filter(|policy| !reports.contains_key(*policy)).cloned().collect();
        for policy in gone {
            self.said.remove(&policy);
            let name = |it: &Written| (it.kind, it.namespace.clone(), it.name.clone());
            let lives_on = reports.keys().any(|it| name(it) == name(&policy));
            if policy.kind.lacks_status() && !lives_on {
                self.remove(&policy.namespace, &policy.name).await;
            }
        }
        if !self.is_tidy {
            self.is_tidy = self.tidy(&reports).await.is_ok();
            self.owes |= !self.is_tidy;
        }
        let is_due = |(policy, report): &(Written, Report)| {
            self.said.get(policy).is_none_or(|said| said.report != *report)
        };
        let mut due: Vec<(Written, Report)> = reports.into_iter().filter(is_due).collect();
        // On from where the last round ended: what cannot be written keeps nobody waiting.
        let next = due.partition_point(|(policy, _)| Some(policy) <= self.last.as_ref());
        due.rotate_left(next);
        self.has_more = due.len() > ROUND;
        due.truncate(ROUND);
        self.last = due.last().map(|(policy, _)| policy.clone());
        for (policy, report) in due {
            let before = self.said.get(&policy);
            let since = since(&report.conditions, before);
            sleep(REST).await;
            match self.put(&policy, &report, &since).await {
                Ok(()) => {
                    let news = news(&report.conditions, before);
                    self.tell(&policy, news).await;
                    self.said.insert(policy, Said { report, since });
                }
                // Whoever removed it or its kind has no use for its status.
                Err(kube::Error::Api(status)) if status.code == 404 => {}
                Err(_) => self.owes = true,
            }
        }
    }

    async fn put(
        &self,
        policy: &Written,
        report: &Report,
        since: &BTreeMap<&'static str, (bool, String)>,
    ) -> kube::Result<()> {
        let time = |condition: &Condition| since.get(condition.kind).map(|(_, time)| time.as_str());
        let conditions: Vec<Value> = report
            .conditions
            .iter()
            .map(|condition| condition.json(policy.generation, time(condition).unwrap_or_default()))
            .collect();
        let params = PatchParams::apply(MANAGER).force();
        let resource = policy.kind.resource();
        if !policy.kind.lacks_status() {
            let (client, namespace) = (self.client.clone(), &*policy.namespace);
            let api: Api<DynamicObject> = match namespace {
                "" => Api::all_with(client, &resource),
                namespace => Api::namespaced_with(client, namespace, &resource),
            };
            let mut metadata = json!({ "name": policy.name });
            if let Some(fields) = metadata.as_object_mut().filter(|_| !namespace.is_empty()) {
                fields.insert("namespace".to_owned(), namespace.into());
            }
            let mut patch = json!({
                "apiVersion": resource.api_version, "kind": resource.kind,
                "metadata": metadata, "status": { "conditions": conditions },
            });
            let own = patch.get_mut("status").and_then(Value::as_object_mut);
            if let Some(status) = own.filter(|_| policy.kind == Kind::Containment) {
                status.insert("phase".to_owned(), report.phase().into());
                let nodes = json!({ "needed": report.needed, "enforced": report.enforced });
                status.insert("nodes".to_owned(), nodes);
            }
            return api.patch_status(&policy.name, &params, &Patch::Apply(&patch)).await.map(drop);
        }
        let patch = json!({
            "apiVersion": format!("{GROUP}/{VERSION}"), "kind": KIND,
            "metadata": { "name": policy.name, "namespace": policy.namespace, "ownerReferences": [{
                "apiVersion": resource.api_version, "kind": resource.kind, "name": policy.name, "uid": policy.uid,
            }] },
            "status": {
                "observedGeneration": policy.generation, "sinceGeneration": report.since.0,
                "nodes": { "needed": report.needed, "enforced": report.enforced },
                "conditions": conditions,
            },
        });
        self.beside(&policy.namespace).patch(&policy.name, &params, &Patch::Apply(&patch)).await.map(drop)
    }

    fn beside(&self, namespace: &str) -> Api<DynamicObject> {
        Api::namespaced_with(self.client.clone(), namespace, &resource())
    }

    async fn remove(&mut self, namespace: &str, name: &str) {
        match self.beside(namespace).delete(name, &DeleteParams::default()).await {
            Ok(_) => {}
            Err(kube::Error::Api(status)) if status.code == 404 => {}
            // Found again by the next search.
            Err(_) => (self.owes, self.is_tidy) = (true, false),
        }
    }

    /// Removes what stands beside policies that are no more.
    async fn tidy(&mut self, reports: &BTreeMap<Written, Report>) -> kube::Result<()> {
        let api: Api<DynamicObject> = Api::all_with(self.client.clone(), &resource());
        let lives = |namespace: &str, name: &str| {
            let is_it =
                |it: &Written| it.kind.lacks_status() && *it.namespace == *namespace && *it.name == *name;
            reports.keys().any(is_it)
        };
        for found in api.list_metadata(&ListParams::default()).await? {
            let (namespace, name) =
                (found.metadata.namespace.unwrap_or_default(), found.metadata.name.unwrap_or_default());
            if !lives(&namespace, &name) {
                self.remove(&namespace, &name).await;
            }
        }
        Ok(())
    }

    async fn tell(&self, policy: &Written, news: Vec<(EventType, &'static str, String)>) {
        let resource = policy.kind.resource();
        let reference = ObjectReference {
            api_version: Some(resource.api_version),
            kind: Some(resource.kind),
            name: Some(policy.name.to_string()),
            namespace: (!policy.namespace.is_empty()).then(|| policy.namespace.to_string()),
            uid: Some(policy.uid.to_string()),
            ..ObjectReference::default()
        };
        for (type_, reason, note) in news {
            let event = Event {
                type_,
                reason: reason.to_owned(),
                note: Some(note),
                action: "Enforce".to_owned(),
                secondary: None,
            };
            // The condition says the same and is written again until it is there.
            let _ = self.events.publish(&event, &reference).await;
        }
    }
}

/// How a client asks for how NetworkPolicies stand.
pub(crate) fn resource() -> ApiResource {
    ApiResource::from_gvk_with_plural(&GroupVersionKind::gvk(GROUP, VERSION, KIND), PLURAL)
}

/// When each condition became what it is.
fn since(conditions: &[Condition], before: Option<&Said>) -> BTreeMap<&'static str, (bool, String)> {
    let time = |condition: &Condition| {
        let held = before.and_then(|said| said.since.get(condition.kind));
        let same = held.filter(|(holds, _)| *holds == condition.holds).map(|(_, time)| time.clone());
        // Whole seconds, as the type of the field has them.
        let now = || Timestamp::from_second(Timestamp::now().as_second()).unwrap_or_default().to_string();
        same.unwrap_or_else(now)
    };
    conditions.iter().map(|condition| (condition.kind, (condition.holds, time(condition)))).collect()
}

/// What went wrong that was not wrong before, and what is well again.
fn news(conditions: &[Condition], before: Option<&Said>) -> Vec<(EventType, &'static str, String)> {
    let was_bad = |kind: &str| {
        before.is_some_and(|said| said.report.conditions.iter().any(|it| it.kind == kind && it.is_bad()))
    };
    let bad = conditions.iter().filter(|it| it.is_bad() && !was_bad(it.kind));
    let mut news: Vec<_> = bad.map(|it| (EventType::Warning, it.reason, it.message.clone())).collect();
    let is_well = |kind: &str| !conditions.iter().any(|it| it.kind == kind && it.is_bad());
    let well = ["Accepted", "Degraded"].into_iter().filter(|kind| was_bad(kind) && is_well(kind));
    news.extend(well.map(|kind| (EventType::Normal, "Recovered", format!("no longer a problem: {kind}"))));
    news
}
