//! What all events have, and which class an entry is of.

use crate::detail::Detail;
use crate::{VERSION, audit, call, finding, lookup, network};
use ledger::{Entry, Kind, Stored, Verdict};
use serde_json::{Map, Value, json};

/// Activities that all classes have.
pub(crate) const OTHER: u64 = 99;

/// What makes an event of its class.
#[derive(Debug, Default)]
pub(crate) struct Class {
    /// Number of the class.
    pub(crate) uid: u64,
    /// What happened, in the words of the class.
    pub(crate) activity: u64,
    /// The word for it where the class has none.
    pub(crate) activity_name: Option<String>,
    /// 1 informational, 2 low, 3 medium, 4 high.
    pub(crate) severity: u64,
    /// Attributes of the class.
    pub(crate) attributes: Map<String, Value>,
    /// Whether a model was asked.
    pub(crate) is_ai: bool,
}

impl Class {
    /// Adds an attribute, where there is something to say.
    pub(crate) fn put(&mut self, name: &str, value: Option<impl Into<Value>>) {
        if let Some(value) = value {
            self.attributes.insert(name.to_owned(), value.into());
        }
    }
}

/// The event of an entry: a JSON object with `class_uid`, `time` in milliseconds since 1970, and what the schema has for it.
#[must_use]
pub fn event(stored: &Stored) -> Value {
    let entry = &stored.entry;
    let detail = Detail::of(entry.detail.as_deref());
    let mut class = match entry.kind {
        Kind::Flow | Kind::Tls => network::class(entry, &detail),
        Kind::Dns => lookup::class(entry, &detail),
        Kind::AiCall => call::class(entry, &detail),
        Kind::Finding => finding::class(entry, &detail),
        Kind::Audit => audit::class(entry, &detail),
    };
    decision(&mut class, entry);
    class.put("message", Some(message(entry, &detail)));
    class.put("count", (entry.count > 0).then_some(entry.count));
    if !entry.reason.is_empty() {
        class.put("status_detail", Some(&*entry.reason));
    }
    let reporter = (!entry.node.is_empty()).then(|| json!({"name": &*entry.node}));
    whole(class, entry.time, uid(stored), entry.kind.name(), reporter)
}

/// The event that says that entries up to and with one number were forgotten before they were sent. `time` is in
/// microseconds since 1970.
#[must_use]
pub fn lost(records: u64, up_to: i64, time: u64) -> Value {
    let mut class =
        Class { activity: OTHER, activity_name: Some("lost".to_owned()), severity: 3, ..Class::default() };
    class.put("message", Some(format!("{records} records were forgotten before they could be sent")));
    class.put("unmapped", Some(json!({"records": records, "up_to": up_to})));
    whole(class, time, format!("lost-{up_to}-{records}"), "lost", None)
}

/// What happened in a sentence for a person; names in it are as they came.
#[must_use]
pub fn sentence(stored: &Stored) -> String {
    message(&stored.entry, &Detail::of(stored.entry.detail.as_deref()))
}

/// What names an entry wherever it is sent, always the same: node, time and number.
#[must_use]
pub fn uid(stored: &Stored) -> String {
    let Entry { node, time, .. } = &stored.entry;
    format!("{node}-{time:x}-{:x}", stored.id)
}

fn whole(class: Class, time: u64, uid: String, log: &str, reporter: Option<Value>) -> Value {
    let mut profiles = vec!["security_control"];
    if class.is_ai {
        profiles.push("ai_operation");
    }
    let mut metadata = json!({
        "version": VERSION,
        "product": {"name": "Cofferdam", "vendor_name": "Cofferdam", "version": env!("CARGO_PKG_VERSION")},
        "profiles": profiles,
        "uid": uid,
        "log_name": log,
    });
    if let (Some(metadata), Some(reporter)) = (metadata.as_object_mut(), reporter) {
        metadata.insert("reporter".to_owned(), reporter);
    }
    let mut all = class.attributes;
    let mut put = |name: &str, value: Value| drop(all.insert(name.to_owned(), value));
    put("class_uid", json!(class.uid));
    put("category_uid", json!(class.uid / 1000));
    put("activity_id", json!(class.activity));
    put("type_uid", json!(class.uid * 100 + class.activity));
    put("severity_id", json!(class.severity));
    put("time", json!(time / 1000));
    put("metadata", metadata);
    if let Some(name) = class.activity_name {
        put("activity_name", json!(name));
    }
    Value::Object(all)
}

/// The profile `security_control`: what was done about it, and by which rule.
fn decision(class: &mut Class, entry: &Entry) {
    let (action, disposition, status) = match entry.verdict {
        Verdict::Allow => (Some(1), Some(1), Some(1)),
        Verdict::Deny => (Some(2), Some(2), Some(2)),
        // Nobody was kept from it; it did not work.
        Verdict::Fail => (Some(1), Some(27), Some(2)),
        Verdict::None => (None, None, None),
    };
    class.put("action_id", action);
    class.put("disposition_id", disposition);
    class.put("status_id", status);
    if !entry.rule.is_empty() {
        class.put("policy", Some(json!({"name": &*entry.rule})));
    }
}

fn message(entry: &Entry, detail: &Detail) -> String {
    if let Some(sentence) = detail.text(&["sentence"]) {
        return sentence.to_owned();
    }
    let verdict = match entry.verdict {
        Verdict::Allow => "allowed",
        Verdict::Deny => "denied",
        Verdict::Fail => "failed",
        Verdict::None => "",
    };
    let (source, destination, reason) = (&entry.source, &entry.destination, &entry.reason);
    let what = match entry.kind {
        Kind::Flow | Kind::Tls => "connection",
        Kind::Dns => "DNS query",
        Kind::AiCall => "request",
        Kind::Finding => return format!("{reason}: {source} {destination}").trim_end().to_owned(),
        Kind::Audit => return format!("{source}: {reason} {destination}").trim_end().to_owned(),
    };
    format!("{what} of {source} to {destination} {verdict}: {reason}")
}
