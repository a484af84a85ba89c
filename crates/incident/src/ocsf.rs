//! Entries of the ledger as events of the Open Cybersecurity Schema Framework, version [`VERSION`].
//!
//! Enters: an entry. Leaves: one event as JSON: Detection Finding (2004) for findings, Network Activity (4001) for connections,
//! DNS Activity (4003) for DNS queries, HTTP Activity (4002) for requests; none for what people did, which these classes have no
//! place for. Guarantees: the fields that the classes require, times in milliseconds since 1970; what has no place in the
//! schema is under `unmapped`. Does not: follow newer versions, which renamed classes; a reader goes by `metadata.version`.

use crate::finding::{Finding, Severity};
use ledger::{Entry, Kind, Stored, Verdict};
use observe::Time;
use serde_json::{Map, Value, json};
use std::net::IpAddr;

/// The version whose names are used.
pub const VERSION: &str = "1.6.0";

/// One event. `product` is the version of the program that wrote the entry, where that is known.
#[must_use]
pub fn event(stored: &Stored, product: &str) -> Option<Value> {
    let entry = &stored.entry;
    let event = match entry.kind {
        Kind::Finding => finding(&Finding::read(stored)),
        Kind::Flow | Kind::Tls => network(entry),
        Kind::Dns => dns(entry),
        Kind::AiCall => http(entry),
        Kind::Audit => return None,
    };
    let mut event = event;
    event.insert("time".to_owned(), millis(Time(entry.time)).into());
    let metadata = json!({
        "version": VERSION,
        "product": { "name": "Cofferdam", "vendor_name": "Cofferdam", "version": product },
        "uid": stored.id.to_string(),
    });
    event.insert("metadata".to_owned(), metadata);
    Some(Value::Object(event))
}

/// The fields that every class requires.
fn base(category: u64, class: u64, activity: u64, severity: u64) -> Map<String, Value> {
    let fields = json!({
        "category_uid": category,
        "class_uid": class,
        "activity_id": activity,
        "type_uid": class * 100 + activity,
        "severity_id": severity,
    });
    match fields {
        Value::Object(fields) => fields,
        Value::Null | Value::Bool(_) | Value::Number(_) | Value::String(_) | Value::Array(_) => Map::new(),
    }
}

fn set(fields: &mut Map<String, Value>, more: Value) {
    if let Value::Object(more) = more {
        fields.extend(more);
    }
}

fn millis(time: Time) -> u64 {
    time.0 / 1000
}

fn finding(finding: &Finding) -> Map<String, Value> {
    let severity = match finding.severity {
        Severity::Low => 2,
        Severity::Medium => 3,
        Severity::High => 4,
    };
    // Create.
    let mut fields = base(2, 2004, 1, severity);
    let attacks = finding.techniques.iter().filter(|id| id.starts_with('T') || id.starts_with("AML."));
    let attacks: Vec<Value> = attacks.map(|id| json!({ "technique": { "uid": id } })).collect();
    set(
        &mut fields,
        json!({
            "finding_info": {
                "uid": finding.id,
                "title": finding.detector,
                "desc": finding.sentence,
                "first_seen_time": millis(finding.time),
                "last_seen_time": millis(finding.until),
                "attacks": attacks,
                "analytic": { "name": finding.detector, "type_id": 1 },
            },
            "is_alert": true,
            "count": finding.count,
            "resources": [{ "name": finding.workload, "type": "workload" }],
            "evidences": [{ "data": { "subject": finding.subject, "numbers": finding.numbers, "records": finding.records } }],
            "unmapped": { "techniques": finding.techniques, "rule": finding.rule },
        }),
    );
    fields
}

fn network(entry: &Entry) -> Map<String, Value> {
    let activity = match entry.verdict {
        // A row may be many connections.
        Verdict::Allow | Verdict::None => 6,
        Verdict::Deny => 5,
        Verdict::Fail => 4,
    };
    let mut fields = base(4, 4001, activity, severity(entry.verdict));
    set(&mut fields, ends(entry));
    set(&mut fields, control(entry));
    fields
}

fn dns(entry: &Entry) -> Map<String, Value> {
    // Query.
    let mut fields = base(4, 4003, 1, severity(entry.verdict));
    set(&mut fields, ends(entry));
    let refused = match entry.verdict {
        Verdict::Deny => json!({ "rcode_id": 5 }),
        Verdict::Allow | Verdict::Fail | Verdict::None => json!({}),
    };
    set(&mut fields, refused);
    set(&mut fields, json!({ "query": { "hostname": &*entry.destination } }));
    // The name is what was asked for, and no end.
    fields.remove("dst_endpoint");
    set(&mut fields, control(entry));
    fields
}

fn http(entry: &Entry) -> Map<String, Value> {
    let detail: Value =
        entry.detail.as_ref().and_then(|detail| serde_json::from_str(detail).ok()).unwrap_or_default();
    let text = |key: &str| detail.get(key).and_then(Value::as_str).unwrap_or_default();
    let method = text("method");
    let methods = ["CONNECT", "DELETE", "GET", "HEAD", "OPTIONS", "POST", "PUT", "TRACE", "PATCH"];
    let activity = (1..).zip(methods).find(|(_, known)| *known == method).map_or(99, |(id, _)| id);
    let mut fields = base(4, 4002, activity, severity(entry.verdict));
    set(&mut fields, ends(entry));
    set(
        &mut fields,
        json!({
            "http_request": {
                "http_method": method,
                "uid": text("request_id"),
                "url": { "hostname": &*entry.destination, "path": text("path"), "port": entry.port },
            },
        }),
    );
    if let Some(status) = detail.get("status").and_then(Value::as_u64).filter(|status| *status > 0) {
        set(&mut fields, json!({ "http_response": { "code": status } }));
    }
    set(&mut fields, control(entry));
    let more = json!({
        "operation": detail.get("operation"),
        "usage": detail.get("usage"),
        "cost": detail.get("cost"),
    });
    if let Some(Value::Object(unmapped)) = fields.get_mut("unmapped") {
        set(unmapped, more);
    }
    fields
}

/// Informational, or medium for what was denied.
fn severity(verdict: Verdict) -> u64 {
    match verdict {
        Verdict::Allow | Verdict::None => 1,
        Verdict::Fail => 2,
        Verdict::Deny => 3,
    }
}

fn ends(entry: &Entry) -> Value {
    json!({
        "src_endpoint": end(&entry.source, None),
        "dst_endpoint": end(&entry.destination, Some(entry.port).filter(|port| *port > 0)),
        "connection_info": { "direction_id": 2, "protocol_num": entry.protocol },
        "traffic": { "bytes_out": entry.sent, "bytes_in": entry.received, "bytes": entry.sent.saturating_add(entry.received) },
        "count": entry.count.max(1),
    })
}

fn end(name: &str, port: Option<u16>) -> Value {
    let mut fields = Map::new();
    let key = match name {
        _ if name.parse::<IpAddr>().is_ok() => "ip",
        _ if name.contains('/') => "name",
        _ => "hostname",
    };
    fields.insert(key.to_owned(), name.into());
    if let Some(port) = port {
        fields.insert("port".to_owned(), port.into());
    }
    Value::Object(fields)
}

/// What was decided: the profile `security_control`.
fn control(entry: &Entry) -> Value {
    let (action, disposition) = match entry.verdict {
        Verdict::Allow => (1, 1),
        Verdict::Deny => (2, 2),
        Verdict::Fail | Verdict::None => (0, 0),
    };
    let rule = (!entry.rule.is_empty()).then(|| json!({ "name": &*entry.rule }));
    json!({
        "action_id": action,
        "disposition_id": disposition,
        "firewall_rule": rule,
        "unmapped": { "reason": &*entry.reason, "node": &*entry.node },
    })
}
