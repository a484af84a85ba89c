//! Requests: class 4002, HTTP activity, with the profile `ai_operation` where a model was asked.

use crate::detail::Detail;
use crate::event::{Class, OTHER};
use crate::network::{connection, ends, severity, traffic};
use ledger::Entry;
use serde_json::{Map, Value, json};

/// Numbers of the schema.
const HTTP_ACTIVITY: u64 = 4002;
const METHODS: [(&str, u64); 9] = [
    ("CONNECT", 1),
    ("DELETE", 2),
    ("GET", 3),
    ("HEAD", 4),
    ("OPTIONS", 5),
    ("POST", 6),
    ("PUT", 7),
    ("TRACE", 8),
    ("PATCH", 9),
];

/// The class of an entry about a request.
pub(crate) fn class(entry: &Entry, detail: &Detail) -> Class {
    let method = detail.text(&["method"]);
    let known = METHODS.iter().find(|(name, _)| Some(*name) == method);
    let mut class = Class {
        uid: HTTP_ACTIVITY,
        activity: known.map_or(OTHER, |(_, number)| *number),
        activity_name: if known.is_none() { Some(method.unwrap_or("unknown").to_owned()) } else { None },
        severity: severity(entry.verdict),
        ..Class::default()
    };
    ends(&mut class, entry, detail);
    class.put("connection_info", Some(connection(entry)));
    class.put("traffic", traffic(entry));
    class.put("http_request", Some(request(entry, detail, known.map(|(name, _)| *name))));
    let status = detail.number(&["status"]).filter(|status| *status != 0);
    class.put("http_response", status.map(|status| json!({"code": status, "body_length": entry.received})));
    model(&mut class, detail);
    class
}

fn request(entry: &Entry, detail: &Detail, method: Option<&str>) -> Value {
    let mut url = Map::new();
    url.insert("path".to_owned(), json!(detail.text(&["path"]).unwrap_or("/")));
    if !entry.destination.is_empty() {
        url.insert("hostname".to_owned(), json!(&*entry.destination));
    }
    if entry.port != 0 {
        url.insert("port".to_owned(), json!(entry.port));
    }
    let mut request = Map::new();
    request.insert("url".to_owned(), Value::Object(url));
    request.insert("body_length".to_owned(), json!(entry.sent));
    if let Some(method) = method {
        request.insert("http_method".to_owned(), json!(method));
    }
    if let Some(id) = detail.text(&["request_id"]) {
        request.insert("uid".to_owned(), json!(id));
    }
    Value::Object(request)
}

/// The profile `ai_operation`: which model, and how many tokens. Never what was said.
fn model(class: &mut Class, detail: &Detail) {
    let Some(provider) = detail.text(&["operation", "provider"]) else { return };
    class.is_ai = true;
    if let Some(model) = detail.text(&["operation", "model"]) {
        let mut all = json!({"ai_provider": provider, "name": model});
        let version = detail.text(&["usage", "model"]);
        if let (Some(all), Some(version)) = (all.as_object_mut(), version) {
            all.insert("version".to_owned(), json!(version));
        }
        class.put("ai_model", Some(all));
    }
    let mut context = json!({"service": {"name": provider}});
    let tokens = [("input_tokens", "prompt_tokens"), ("output_tokens", "completion_tokens")];
    for (ours, theirs) in tokens {
        if let (Some(context), Some(count)) = (context.as_object_mut(), detail.number(&["usage", ours])) {
            context.insert(theirs.to_owned(), json!(count));
        }
    }
    class.put("message_context", Some(context));
    let unmapped: Map<String, Value> = ["api", "verb", "resource", "sources", "tools"]
        .into_iter()
        .map(|name| (name.to_owned(), detail.at(&["operation", name]).clone()))
        .filter(|(_, value)| !value.is_null())
        .collect();
    class.put("unmapped", (!unmapped.is_empty()).then_some(unmapped));
}
