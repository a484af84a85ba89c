//! An object as an API server holds it, and what its status is to say -> the status to write.
//!
//! Guarantees: conditions and parents of others stay as they are, in their order; a condition that says the same keeps its
//! time; nothing is said of a state of the object that was not looked at. Does not: talk to anything.

use super::serves::Serves;
use super::stands::{Listener, Says, Wanted};
use crate::report::Condition;
use routes::{CONTROLLER, FEATURES, Resource};
use serde_json::{Map, Value, json};

/// Conditions of an InferencePolicy that come and go.
const PASSING: [&str; 1] = ["Degraded"];
/// Group of the kinds of routes that may attach.
const GROUP: &str = "gateway.networking.k8s.io";

/// The whole status to write; `None`: it is as it should be, or the object is not the one that this is about. `serves`: the
/// Gateways that are spoken for. `now`: RFC 3339.
pub(super) fn merged(object: &Value, wanted: &Wanted, serves: &Serves, now: &str) -> Option<Value> {
    let metadata = object.get("metadata")?;
    let is_it = metadata.get("generation").and_then(Value::as_i64).unwrap_or_default() == wanted.generation
        && metadata.get("creationTimestamp").and_then(Value::as_str).unwrap_or_default() == &*wanted.created;
    if !is_it {
        return None;
    }
    let nothing = Value::Object(Map::new());
    let old = object.get("status").unwrap_or(&nothing);
    let mut status = old.as_object().cloned().unwrap_or_default();
    let at = |conditions: &[Condition], old: &Value, passing: &[&str]| {
        merge_conditions(list(old, "conditions"), conditions, passing, (wanted.generation, now))
    };
    match &wanted.says {
        Says::Class(conditions) => {
            status.insert("conditions".to_owned(), at(conditions, old, &[]));
            let features: Vec<Value> = FEATURES.iter().map(|name| json!({ "name": name })).collect();
            status.insert("supportedFeatures".to_owned(), features.into());
        }
        Says::Policy(conditions) => {
            status.insert("conditions".to_owned(), at(conditions, old, &PASSING));
        }
        Says::Gateway { conditions, addresses, listeners } => {
            status.insert("conditions".to_owned(), at(conditions, old, &[]));
            let addresses: Vec<Value> =
                addresses.iter().map(|(kind, value)| json!({ "type": kind, "value": value })).collect();
            if !addresses.is_empty() || status.contains_key("addresses") {
                status.insert("addresses".to_owned(), addresses.into());
            }
            let before = list(old, "listeners");
            let listeners: Vec<Value> = listeners
                .iter()
                .map(|it| {
                    let is_same = |old: &&Value| old.get("name").and_then(Value::as_str) == Some(&it.name);
                    let old = before.iter().find(is_same).unwrap_or(&nothing);
                    listener(it, at(&it.conditions, old, &[]))
                })
                .collect();
            status.insert("listeners".to_owned(), listeners.into());
        }
        Says::Route(own) => {
            let before = list(old, "parents");
            let parents = parents(object, before, own, serves, |conditions, old| at(conditions, old, &[]))?;
            // Whoever has no parent of ours and no status needs none.
            if !parents.is_empty() || !before.is_empty() {
                status.insert("parents".to_owned(), parents.into());
            }
        }
        Says::Pool(own) => {
            POOL.put(&mut status, old, (own, serves), |conditions, old| at(conditions, old, &[]));
        }
        Says::BackendTls(own) => {
            BACKEND_TLS.put(&mut status, old, (own, serves), |conditions, old| at(conditions, old, &[]));
        }
    }
    let status = Value::Object(status);
    (status != *old).then_some(status)
}

/// How a kind names the Gateways that come to its objects.
struct Words {
    list: &'static str,
    reference: &'static str,
    /// As many as the list has room for.
    most: usize,
}

const POOL: Words = Words { list: "parents", reference: "parentRef", most: 32 };
const BACKEND_TLS: Words = Words { list: "ancestors", reference: "ancestorRef", most: 16 };

impl Words {
    fn put(
        &self,
        status: &mut Map<String, Value>,
        old: &Value,
        (own, serves): (&[(Resource, Vec<Condition>)], &Serves),
        conditions: impl Fn(&[Condition], &Value) -> Value,
    ) {
        let before = list(old, self.list);
        let users = self.users(before, own, serves, conditions);
        // Whoever nobody of ours comes to, and who says nothing, need say nothing.
        if !users.is_empty() || !before.is_empty() {
            status.insert(self.list.to_owned(), users.into());
        }
    }

    /// Ours in their places or at the end, as long as there is room; those of others stay.
    fn users(
        &self,
        before: &[Value],
        own: &[(Resource, Vec<Condition>)],
        serves: &Serves,
        conditions: impl Fn(&[Condition], &Value) -> Value,
    ) -> Vec<Value> {
        let mut wanted: Vec<_> = own.iter().collect();
        let made = |(gateway, wanted): &(Resource, Vec<Condition>), old: &Value| {
            let reference = json!({
                "group": GROUP, "kind": "Gateway", "namespace": gateway.namespace, "name": gateway.name,
            });
            json!({ self.reference: reference, "controllerName": CONTROLLER, "conditions": conditions(wanted, old) })
        };
        let gateway_of = |old: &'_ Value| {
            let reference = old.get(self.reference)?;
            let is_gateway = text(reference, "kind").is_none_or(|kind| kind == "Gateway");
            let (namespace, name) = (text(reference, "namespace")?, text(reference, "name")?);
            is_gateway.then(|| Resource { namespace: namespace.into(), name: name.into() })
        };
        let mut users = Vec::new();
        for old in before {
            let is_ours = text(old, "controllerName") == Some(CONTROLLER);
            let gateway = gateway_of(old);
            let at = wanted.iter().position(|(wanted, _)| Some(wanted) == gateway.as_ref());
            let is_spoken_for = gateway.map_or(serves.is_all(), |it| serves.has(&it.namespace, &it.name));
            // Definitions of pools without the field drop who said it: then it is who speaks for the Gateway.
            let may_be_ours = text(old, "controllerName").is_none();
            match at.filter(|_| is_ours || may_be_ours) {
                Some(at) => users.push(made(wanted.remove(at), old)),
                None if is_ours && is_spoken_for => {}
                None => users.push(old.clone()),
            }
        }
        users.extend(wanted.into_iter().map(|it| made(it, &Value::Null)));
        users.truncate(self.most);
        users
    }
}

fn list<'v>(value: &'v Value, field: &str) -> &'v [Value] {
    value.get(field).and_then(Value::as_array).map(Vec::as_slice).unwrap_or_default()
}

fn text<'v>(value: &'v Value, field: &str) -> Option<&'v str> {
    value.get(field).and_then(Value::as_str)
}

/// Ours in their places or at the end; what is `passing` and not wanted goes.
fn merge_conditions(
    before: &[Value],
    wanted: &[Condition],
    passing: &[&str],
    (generation, now): (i64, &str),
) -> Value {
    let made = |condition: &Condition, old: Option<&Value>| {
        let status = if condition.holds { "True" } else { "False" };
        let same = old.filter(|old| text(old, "status") == Some(status));
        let since = same.and_then(|old| text(old, "lastTransitionTime")).unwrap_or(now);
        condition.json(generation, since)
    };
    let mut merged: Vec<Value> = Vec::new();
    for old in before {
        let kind = text(old, "type").unwrap_or_default();
        match wanted.iter().find(|it| it.kind == kind) {
            Some(condition) => merged.push(made(condition, Some(old))),
            None if passing.contains(&kind) => {}
            None => merged.push(old.clone()),
        }
    }
    let is_there = |it: &&Condition| before.iter().any(|old| text(old, "type") == Some(it.kind));
    merged.extend(wanted.iter().filter(|it| !is_there(it)).map(|it| made(it, None)));
    merged.into()
}

fn listener(listener: &Listener, conditions: Value) -> Value {
    let kinds: Vec<Value> =
        listener.kinds.iter().map(|kind| json!({ "group": GROUP, "kind": kind })).collect();
    json!({
        "name": listener.name, "supportedKinds": kinds, "attachedRoutes": listener.attached, "conditions": conditions,
    })
}

/// Each in its place, those that come to it at the end. `None`: a parent is not where it was.
fn parents(
    object: &Value,
    before: &[Value],
    own: &[(usize, Vec<Condition>)],
    serves: &Serves,
    conditions: impl Fn(&[Condition], &Value) -> Value,
) -> Option<Vec<Value>> {
    let written = list(object.get("spec").unwrap_or(&Value::Null), "parentRefs");
    let mut wanted: Vec<(&Value, &[Condition])> = Vec::new();
    for (index, conditions) in own {
        wanted.push((written.get(*index)?, conditions));
    }
    let made = |(reference, wanted): (&Value, &[Condition]), old: &Value| json!({ "parentRef": reference, "controllerName": CONTROLLER, "conditions": conditions(wanted, old) });
    let mut parents: Vec<Value> = Vec::new();
    for old in before {
        if text(old, "controllerName") != Some(CONTROLLER) {
            parents.push(old.clone());
        } else if let Some(at) = wanted.iter().position(|(it, _)| Some(*it) == old.get("parentRef")) {
            parents.push(made(wanted.remove(at), old));
        } else if !is_spoken_for(object, old, serves) {
            parents.push(old.clone());
        }
    }
    parents.extend(wanted.into_iter().map(|it| made(it, &Value::Null)));
    Some(parents)
}

/// Whether a parent of a route's status is a Gateway that is served here.
fn is_spoken_for(object: &Value, parent: &Value, serves: &Serves) -> bool {
    let reference = parent.get("parentRef").unwrap_or(&Value::Null);
    let own = object.get("metadata").and_then(|it| text(it, "namespace"));
    let namespace = text(reference, "namespace").or(own).unwrap_or_default();
    serves.has(namespace, text(reference, "name").unwrap_or_default())
}
