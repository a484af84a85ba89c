//! An Event for each condition that began to say that something of an object is refused.
//!
//! Enters: the status of an object before and after it was written. Leaves: Events, one for each condition that turned bad or gives
//! another reason. Guarantees: what was said already is not said again, and no more than so many in some minutes are; those beyond
//! are left out, for the conditions say the same. Does not: write anything else.

use crds::ObjectName;
use k8s_openapi::api::core::v1::ObjectReference;
use kube::Client;
use kube::api::DynamicObject;
use kube::runtime::events::{Event, EventType, Recorder, Reporter};
use serde_json::Value;
use std::time::Duration;
use tokio::time::Instant;

/// Events in one [`SPAN`].
const MOST: usize = 100;
const SPAN: Duration = Duration::from_secs(300);
/// Events for one change of one object.
const MOST_AT_ONCE: usize = 8;
/// Longest note that an Event may have, in bytes.
const MOST_NOTE: usize = 1000;
/// Conditions that are bad where they hold.
const BAD_WHERE_TRUE: [&str; 2] = ["Conflicted", "Degraded"];
/// Reasons that say that something is not there yet, and may come by itself.
const WAITING: [&str; 2] = ["AddressNotAssigned", "Pending"];

/// Says them, as long as there is room.
pub(super) struct Events {
    recorder: Recorder,
    since: Instant,
    count: usize,
}

impl Events {
    pub(super) fn new(client: Client, by: &str) -> Self {
        let reporter = Reporter { controller: by.to_owned(), instance: None };
        Self { recorder: Recorder::new(client, reporter), since: Instant::now(), count: 0 }
    }

    /// Says what turned bad of an object whose status was `old`.
    pub(super) async fn tell(&mut self, name: &ObjectName, object: &DynamicObject, status: &Value) {
        let old = object.data.get("status").unwrap_or(&Value::Null);
        let types = object.types.as_ref();
        let reference = ObjectReference {
            api_version: types.map(|it| it.api_version.clone()),
            kind: Some(name.kind.to_string()),
            name: Some(name.name.to_string()),
            namespace: (!name.namespace.is_empty()).then(|| name.namespace.to_string()),
            uid: object.metadata.uid.clone(),
            ..ObjectReference::default()
        };
        for (reason, note) in worse(old, status) {
            if !self.has_room() {
                return;
            }
            let (type_, action) = (EventType::Warning, "Serve".to_owned());
            let event = Event { type_, reason, note: Some(note), action, secondary: None };
            // The condition says the same, and stays.
            let _unsaid = self.recorder.publish(&event, &reference).await;
        }
    }

    fn has_room(&mut self) -> bool {
        if self.since.elapsed() >= SPAN {
            (self.since, self.count) = (Instant::now(), 0);
        }
        self.count += 1;
        self.count <= MOST
    }
}

/// Reason and note of each condition that says that something is wrong and did not say so before.
pub(super) fn worse(old: &Value, new: &Value) -> Vec<(String, String)> {
    let (mut before, mut after) = (Vec::new(), Vec::new());
    conditions(old, &mut before);
    conditions(new, &mut after);
    let mut news: Vec<(String, String)> = Vec::new();
    for said in after.into_iter().filter(|said| !before.contains(said)) {
        let [kind, reason, message] = said;
        let note = if message.is_empty() { kind.to_owned() } else { format!("{kind}: {message}") };
        let note: String = note
            .chars()
            .scan(0, |length, c| {
                *length += c.len_utf8();
                (*length <= MOST_NOTE).then_some(c)
            })
            .collect();
        let one = (reason.to_owned(), note);
        if news.len() < MOST_AT_ONCE && !news.contains(&one) {
            news.push(one);
        }
    }
    news
}

/// Type, reason and message of every bad condition, wherever in a status it stands.
fn conditions<'v>(status: &'v Value, into: &mut Vec<[&'v str; 3]>) {
    match status {
        Value::Array(parts) => parts.iter().for_each(|part| conditions(part, into)),
        Value::Object(fields) => {
            let text = |field: &str| fields.get(field).and_then(Value::as_str).unwrap_or_default();
            let bad = if BAD_WHERE_TRUE.contains(&text("type")) { "True" } else { "False" };
            if fields.contains_key("reason") && text("status") == bad && !WAITING.contains(&text("reason")) {
                into.push([text("type"), text("reason"), text("message")]);
            }
            fields.values().for_each(|part| conditions(part, into));
        }
        Value::Null | Value::Bool(_) | Value::Number(_) | Value::String(_) => {}
    }
}

#[cfg(test)]
mod tests {
    use super::worse;
    use serde_json::json;

    #[test]
    fn what_turned_bad_is_said_once_and_what_stayed_is_not() {
        let condition = |kind: &str, status: &str, reason: &str| json!({"type": kind, "status": status, "reason": reason, "message": "why"});
        let good = json!({"conditions": [condition("Accepted", "True", "Accepted"), condition("Conflicted", "False", "NoConflicts")]});
        let bad = condition("Accepted", "False", "Invalid");
        let route = json!({"parents": [{"conditions": [&bad]}, {"conditions": [&bad, condition("Conflicted", "True", "HostnameConflict")]}]});
        let said = [("Invalid", "Accepted: why"), ("HostnameConflict", "Conflicted: why")];
        let said = said.map(|(reason, note)| (reason.to_owned(), note.to_owned()));
        for (old, new, expected) in [
            (&json!(null), &good, &[][..]),
            (&good, &route, &said[..]),
            (&route, &route, &[]),
            (&route, &good, &[]),
            (&good, &json!({"conditions": [condition("Programmed", "False", "AddressNotAssigned")]}), &[]),
        ] {
            assert_eq!(worse(old, new), expected, "{old} {new}");
        }
        let long = json!({"conditions": [{"type": "Accepted", "status": "False", "reason": "Invalid", "message": "é".repeat(2000)}]});
        assert!(worse(&good, &long)[0].1.len() <= 1000);
    }
}
