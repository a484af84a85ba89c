//! What operators do: class 6003, API activity.

use crate::detail::Detail;
use crate::event::{Class, OTHER};
use ledger::Entry;
use serde_json::json;

/// Numbers of the schema.
const API_ACTIVITY: u64 = 6003;
const INFORMATIONAL: u64 = 1;

/// The class of an entry about what somebody did.
pub(crate) fn class(entry: &Entry, detail: &Detail) -> Class {
    let what = if entry.reason.is_empty() { "unknown" } else { &*entry.reason };
    let who = if entry.source.is_empty() { "unknown" } else { &*entry.source };
    let mut class = Class {
        uid: API_ACTIVITY,
        activity: OTHER,
        activity_name: Some(what.to_owned()),
        severity: INFORMATIONAL,
        ..Class::default()
    };
    class.put("actor", Some(json!({"user": {"name": who}})));
    class.put("api", Some(json!({"operation": what})));
    class.put("src_endpoint", Some(json!({"name": who})));
    if !entry.destination.is_empty() {
        class.put("resources", Some(json!([{"name": &*entry.destination}])));
    }
    class.put("unmapped", detail.is_there().then(|| detail.at(&[]).clone()));
    class
}
