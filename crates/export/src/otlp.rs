//! Entries as logs of OTLP in JSON; in [`spans`] and [`metrics`] as these.
//!
//! Source: OTLP 1.9, `ExportLogsServiceRequest` (<https://github.com/open-telemetry/opentelemetry-proto> at `ac2c4b5d`) and its JSON
//! encoding: names in lowerCamelCase, 64-bit numbers as decimal strings, enumerations as numbers. Attributes: the semantic
//! conventions 1.44 (<https://github.com/open-telemetry/semantic-conventions> at `384d6616`); what they have no name for begins
//! with `cofferdam.`.

pub(crate) mod metrics;
pub(crate) mod spans;

use crate::batch::{Batch, Lost};
use crate::otel;
use ledger::{Entry, Kind, Stored, Verdict};
use ocsf::Detail;
use serde_json::{Map, Value, json};
use std::net::IpAddr;

/// Numbers of `SeverityNumber`.
const INFO: u8 = 9;
const WARN: u8 = 13;
const ERROR: u8 = 17;

/// The body of a request.
pub(crate) fn request(batch: &Batch) -> Value {
    let records: Vec<Value> = batch.lost.iter().map(lost).chain(batch.entries.iter().map(record)).collect();
    json!({"resourceLogs": [{"resource": resource(), "scopeLogs": [{"scope": scope(), "logRecords": records}]}]})
}

/// Who tells.
fn resource() -> Value {
    let all = [("service.name", json!("cofferdam")), ("service.version", json!(env!("CARGO_PKG_VERSION")))];
    json!({"attributes": attributes(all.map(|(name, value)| (name.to_owned(), value)))})
}

fn scope() -> Value {
    json!({"name": "cofferdam", "version": env!("CARGO_PKG_VERSION")})
}

/// What a server says that it did not take, and why or what else.
pub(crate) fn partial(answer: &[u8]) -> (u64, Option<String>) {
    let answer = Detail::from(serde_json::from_slice::<Value>(answer).unwrap_or_default());
    // A decimal string by the encoding; some write a number.
    let rejected = ["rejectedLogRecords", "rejectedSpans", "rejectedDataPoints"].iter().find_map(|of| {
        let path = ["partialSuccess", of];
        answer.text(&path).and_then(|text| text.parse().ok()).or_else(|| answer.number(&path))
    });
    let message = answer.text(&["partialSuccess", "errorMessage"]);
    (rejected.unwrap_or(0), message.map(str::to_owned))
}

fn record(stored: &Stored) -> Value {
    let entry = &stored.entry;
    let event = format!("cofferdam.{}", entry.kind.name());
    let detail = Detail::of(entry.detail.as_deref());
    log(entry.time, severity(entry, &detail), &event, &ocsf::sentence(stored), named(stored, &detail))
}

fn lost(lost: &Lost) -> Value {
    let sentence = format!("{} records were forgotten before they could be sent", lost.records);
    let all = [("cofferdam.lost.records", json!(lost.records)), ("cofferdam.lost.up_to", json!(lost.up_to))];
    log(lost.time, WARN, "cofferdam.lost", &sentence, all.map(|(name, value)| (name.to_owned(), value)))
}

fn log(
    micros: u64,
    severity: u8,
    event: &str,
    body: &str,
    all: impl IntoIterator<Item = (String, Value)>,
) -> Value {
    let time = nanos(micros);
    let text = match severity {
        INFO => "INFO",
        WARN => "WARN",
        _ => "ERROR",
    };
    json!({
        "timeUnixNano": time,
        "observedTimeUnixNano": time,
        "severityNumber": severity,
        "severityText": text,
        "eventName": event,
        "body": {"stringValue": body},
        "attributes": attributes(all),
    })
}

/// A time as OTLP has it in JSON.
fn nanos(micros: u64) -> String {
    u128::from(micros).saturating_mul(1000).min(u128::from(u64::MAX)).to_string()
}

fn severity(entry: &Entry, detail: &Detail) -> u8 {
    match (entry.kind, entry.verdict) {
        (Kind::Finding, _) if detail.text(&["severity"]) == Some("high") => ERROR,
        (Kind::Finding, _) | (_, Verdict::Deny | Verdict::Fail) => WARN,
        (_, Verdict::Allow | Verdict::None) => INFO,
    }
}

/// What is known of an entry, by the names of the conventions.
fn named(stored: &Stored, detail: &Detail) -> Map<String, Value> {
    let entry = &stored.entry;
    let mut all = match entry.kind {
        Kind::AiCall => otel::attributes(detail),
        Kind::Flow | Kind::Dns | Kind::Tls | Kind::Finding | Kind::Audit => Map::new(),
    };
    let mut put = |name: &str, value: Value| {
        if !value.is_null() && value != "" {
            all.insert(name.to_owned(), value);
        }
    };
    put("log.record.uid", json!(ocsf::uid(stored)));
    put("k8s.node.name", json!(&*entry.node));
    put("k8s.namespace.name", json!(entry.source.split_once('/').map(|(namespace, _)| namespace)));
    put("k8s.pod.name", json!(detail.text(&["from", "name"])));
    put("cofferdam.source", json!(&*entry.source));
    put("cofferdam.destination", json!(&*entry.destination));
    put("cofferdam.verdict", json!(entry.verdict));
    put("cofferdam.rule", json!(&*entry.rule));
    put("cofferdam.reason", json!(&*entry.reason));
    put("cofferdam.count", json!(entry.count));
    put("cofferdam.bytes.sent", json!(entry.sent));
    put("cofferdam.bytes.received", json!(entry.received));
    put("network.transport", json!(transport(entry.protocol)));
    put("destination.port", json!((entry.port != 0).then_some(entry.port)));
    let source = detail.text(&["from", "address"]).map(str::to_owned);
    put("source.address", json!(source.or_else(|| ip(&entry.source))));
    if matches!(entry.verdict, Verdict::Deny | Verdict::Fail) {
        put("error.type", json!(&*entry.reason));
    }
    for (name, value) in of_kind(entry, detail) {
        put(&name, value);
    }
    all
}

/// What only entries of its kind have.
fn of_kind(entry: &Entry, detail: &Detail) -> Vec<(String, Value)> {
    let own = |name: &str, value: Value| (name.to_owned(), value);
    let protocol = "network.protocol.name";
    match entry.kind {
        Kind::Dns => vec![
            own(protocol, json!("dns")),
            own("dns.question.name", json!(&*entry.destination)),
            own("dns.answers", detail.at(&["addresses"]).clone()),
            own("cofferdam.dns.rcode", detail.at(&["rcode"]).clone()),
            own("cofferdam.dns.type", detail.at(&["type"]).clone()),
        ],
        Kind::Tls => vec![
            own(protocol, json!(detail.text(&["claim", "kind"]))),
            own("destination.address", json!(&*entry.destination)),
        ],
        Kind::Flow => {
            // A workload is no address.
            let is_workload = entry.destination.contains('/');
            let to = if is_workload { detail.text(&["to", "address"]) } else { Some(&*entry.destination) };
            vec![own("destination.address", json!(to))]
        }
        Kind::AiCall => vec![own(protocol, json!("http"))],
        Kind::Finding => ["id", "detector", "severity", "count", "techniques", "records", "subject"]
            .map(|name| (format!("cofferdam.finding.{name}"), detail.at(&[name]).clone()))
            .into(),
        Kind::Audit => vec![own("cofferdam.audit.text", detail.at(&["text"]).clone())],
    }
}

fn ip(text: &str) -> Option<String> {
    text.parse::<IpAddr>().ok().map(|ip| ip.to_string())
}

fn transport(protocol: u8) -> Option<&'static str> {
    match protocol {
        6 => Some("tcp"),
        17 => Some("udp"),
        _ => None,
    }
}

/// A list of `KeyValue`.
fn attributes(all: impl IntoIterator<Item = (String, Value)>) -> Vec<Value> {
    all.into_iter().map(|(key, value)| json!({"key": key, "value": any(&value)})).collect()
}

/// An `AnyValue`; what is null has none.
fn any(value: &Value) -> Value {
    match value {
        Value::Null => json!({}),
        Value::Bool(it) => json!({"boolValue": it}),
        Value::Number(it) => match it.as_i64() {
            Some(number) => json!({"intValue": number.to_string()}),
            None => json!({"doubleValue": it}),
        },
        Value::String(it) => json!({"stringValue": it}),
        Value::Array(all) => json!({"arrayValue": {"values": all.iter().map(any).collect::<Vec<_>>()}}),
        Value::Object(all) => {
            json!({"kvlistValue": {"values": attributes(all.iter().map(|(key, it)| (key.clone(), it.clone())))}})
        }
    }
}
