//! Findings: class 2004, detection finding.

use crate::detail::Detail;
use crate::end::{endpoint, resource};
use crate::event::Class;
use ledger::Entry;
use serde_json::{Map, Value, json};

/// Numbers of the schema.
const DETECTION_FINDING: u64 = 2004;
const CREATE: u64 = 1;
const NEW: u64 = 1;
const STATISTICAL: u64 = 3;
const MEDIUM: u64 = 3;

/// The class of an entry about a finding.
pub(crate) fn class(entry: &Entry, detail: &Detail) -> Class {
    let severity = match detail.text(&["severity"]) {
        Some("low") => 2,
        Some("high") => 4,
        Some(_) | None => MEDIUM,
    };
    let mut class = Class { uid: DETECTION_FINDING, activity: CREATE, severity, ..Class::default() };
    class.put("finding_info", Some(info(entry, detail)));
    class.put("is_alert", Some(true));
    // Not whether it succeeded: whether somebody looked at it.
    class.put("status_id", Some(NEW));
    if !entry.source.is_empty() {
        class.put("resources", Some(vec![resource(&entry.source)]));
    }
    let mut evidence = Map::new();
    let ends = [("src_endpoint", &entry.source, 0), ("dst_endpoint", &entry.destination, entry.port)];
    for (name, whom, port) in ends {
        if let Some(end) = endpoint(whom, port, None) {
            evidence.insert(name.to_owned(), end);
        }
    }
    class.put("evidences", (!evidence.is_empty()).then(|| vec![Value::Object(evidence)]));
    class.put("anomaly_analyses", numbers(entry, detail));
    class
}

fn info(entry: &Entry, detail: &Detail) -> Value {
    let detector = detail.text(&["detector"]).unwrap_or(&entry.reason);
    let title = detail.text(&["sentence"]).unwrap_or(detector);
    // What has no id of its own is told once, and is named by what it is about.
    let own = || format!("{detector}:{}:{}", entry.source, entry.destination);
    let id = detail.text(&["id"]).map_or_else(own, str::to_owned);
    let mut all = json!({"uid": id, "title": title});
    let Some(info) = all.as_object_mut() else { return all };
    let mut put = |name: &str, value: Value| drop(info.insert(name.to_owned(), value));
    if !detector.is_empty() {
        put("analytic", json!({"name": detector, "uid": detector, "type_id": STATISTICAL}));
    }
    let techniques = detail.texts(&["techniques"]);
    let attacks: Vec<Value> = techniques.iter().filter_map(|id| attack(id)).collect();
    if !attacks.is_empty() {
        put("attacks", json!(attacks));
    }
    let owasp: Vec<&str> = techniques.into_iter().filter(|id| id.starts_with("LLM")).collect();
    if !owasp.is_empty() {
        put("tags", json!([{"name": "owasp_llm_top_10", "values": owasp}]));
    }
    let records: Vec<Value> =
        detail.texts(&["records"]).into_iter().map(|record| json!({"uid": record})).collect();
    if !records.is_empty() {
        put("related_events", json!(records));
    }
    if let Some(count) = detail.number(&["count"]) {
        put("related_events_count", json!(count));
    }
    all
}

/// Techniques of MITRE ATT&CK are `T1048`, of ATLAS `AML.T0024`; what follows a second point is a sub-technique.
fn attack(id: &str) -> Option<Value> {
    let number = id.strip_prefix("AML.").unwrap_or(id);
    if !number.starts_with('T') {
        return None;
    }
    match number.split_once('.') {
        Some((technique, _)) => {
            let technique = id.get(..id.len() - number.len() + technique.len())?;
            Some(json!({"technique": {"uid": technique}, "sub_technique": {"uid": id}}))
        }
        None => Some(json!({"technique": {"uid": id}})),
    }
}

/// The numbers that it rests on, each with what it was before and from where on it is told.
fn numbers(entry: &Entry, detail: &Detail) -> Option<Value> {
    let (mut anomalies, mut baselines) = (Vec::new(), Vec::new());
    for number in detail.list(&["numbers"]) {
        let Some(name) = number.get("name").and_then(Value::as_str) else { continue };
        let Some(value) = number.get("value").filter(|value| value.is_number()) else { continue };
        let mut anomaly =
            json!({"observation_parameter": name, "observations": [{"value": value.to_string()}]});
        if let (Some(anomaly), Some(threshold)) = (anomaly.as_object_mut(), number.get("threshold")) {
            anomaly.insert("observed_pattern".to_owned(), json!(format!("told from {threshold} on")));
        }
        anomalies.push(anomaly);
        if let Some(baseline) = number.get("baseline").filter(|value| value.is_number()) {
            let observations = json!([{"value": baseline.to_string()}]);
            baselines.push(json!({"observation_parameter": name, "observations": observations}));
        }
    }
    if anomalies.is_empty() {
        return None;
    }
    let name = if entry.source.is_empty() { "unknown" } else { &*entry.source };
    let mut analysis =
        json!({"analysis_targets": [{"name": name, "type": "workload"}], "anomalies": anomalies});
    if let (Some(analysis), false) = (analysis.as_object_mut(), baselines.is_empty()) {
        analysis.insert("baselines".to_owned(), json!(baselines));
    }
    Some(json!([analysis]))
}
