//! What differs between two sets of policies, object by object.
//!
//! Enters: manifests in their normal form. Leaves: what is only on one side, and which fields differ in the rest.
//! Guarantees: sorted by kind, namespace and name; of one object at most [`MOST_FIELDS`] fields are named, and those beyond
//! counted. Does not: know what a difference means; which accesses are judged otherwise, the compiler says.

use crate::contents::Manifest;
use crds::ObjectName;
use serde_json::Value;
use std::collections::{BTreeMap, BTreeSet};

/// Most fields of one object that are named.
pub const MOST_FIELDS: usize = 50;

/// What happened to one object.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Change {
    /// Only in the first.
    Removed(ObjectName),
    /// Only in the second.
    Added(ObjectName),
    /// In both, and not the same.
    Changed {
        /// Which.
        object: ObjectName,
        /// Where.
        fields: Vec<FieldChange>,
        /// Fields beyond those named.
        more: usize,
    },
}

/// A field that differs.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct FieldChange {
    /// For example `spec.ingress[0].ports[1].port`.
    pub field: String,
    /// In the first; `None`: it is not there.
    pub before: Option<Value>,
    /// In the second.
    pub after: Option<Value>,
}

/// Every object that differs.
pub fn compare(first: &[Manifest], second: &[Manifest]) -> Vec<Change> {
    let by_name = |side: &[Manifest]| -> BTreeMap<ObjectName, Value> {
        side.iter().map(|it| (it.name.clone(), it.value.clone())).collect()
    };
    let (before, after) = (by_name(first), by_name(second));
    let names: BTreeSet<&ObjectName> = before.keys().chain(after.keys()).collect();
    names.into_iter().filter_map(|name| change(name, before.get(name), after.get(name))).collect()
}

fn change(name: &ObjectName, before: Option<&Value>, after: Option<&Value>) -> Option<Change> {
    match (before, after) {
        (Some(before), Some(after)) if before == after => None,
        (Some(before), Some(after)) => {
            let mut found = Found { fields: Vec::new(), more: 0 };
            found.walk(String::new(), Some(before), Some(after));
            Some(Change::Changed { object: name.clone(), fields: found.fields, more: found.more })
        }
        (Some(_), None) => Some(Change::Removed(name.clone())),
        (None, Some(_)) => Some(Change::Added(name.clone())),
        (None, None) => None,
    }
}

struct Found {
    fields: Vec<FieldChange>,
    more: usize,
}

impl Found {
    /// Depth is bounded by whoever read the text.
    fn walk(&mut self, path: String, before: Option<&Value>, after: Option<&Value>) {
        match (before, after) {
            (before, after) if before == after => {}
            (Some(Value::Object(a)), Some(Value::Object(b))) => {
                let keys: BTreeSet<&String> = a.keys().chain(b.keys()).collect();
                for key in keys {
                    self.walk(below(&path, key), a.get(key), b.get(key));
                }
            }
            (Some(Value::Array(a)), Some(Value::Array(b))) => {
                for index in 0..a.len().max(b.len()) {
                    self.walk(format!("{path}[{index}]"), a.get(index), b.get(index));
                }
            }
            _ if self.fields.len() >= MOST_FIELDS => self.more += 1,
            (before, after) => {
                self.fields.push(FieldChange { field: path, before: before.cloned(), after: after.cloned() })
            }
        }
    }
}

/// Keys of labels have dots and slashes.
fn below(path: &str, key: &str) -> String {
    match (path, key.contains(['.', '/', '[', '"'])) {
        (_, true) => format!("{path}[{key:?}]"),
        ("", false) => key.to_owned(),
        (path, false) => format!("{path}.{key}"),
    }
}
