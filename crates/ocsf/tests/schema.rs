//! Every event has what its class requires, and nothing that the schema does not know.
//!
//! `schema.json` has names, types, requirements and numbers of the classes and objects that events use, taken from
//! <https://github.com/ocsf/ocsf-schema> at a5cfc68e (1.9.0-dev).

#![expect(
    clippy::unwrap_used,
    clippy::indexing_slicing,
    clippy::panic,
    reason = "a test's helpers fail the test"
)]

use ledger::{Entry, Kind, Stored, Verdict};
use serde_json::{Value, json};

/// Checks an object strictly.
fn check(schema: &Value, rules: &Value, found: &Value, path: &str) {
    let found = found.as_object().unwrap_or_else(|| panic!("{path} is no object: {found}"));
    let attributes = rules["attributes"].as_object().unwrap_or_else(|| panic!("{path}: not in the schema"));
    for (name, value) in found {
        let rule = attributes.get(name).unwrap_or_else(|| panic!("{path}.{name} is not in the schema"));
        let path = format!("{path}.{name}");
        if rule["array"] == true {
            let values = value.as_array().unwrap_or_else(|| panic!("{path} is no list"));
            assert!(!values.is_empty(), "{path} is empty");
            values.iter().for_each(|value| check_value(schema, rule, value, &path));
        } else {
            check_value(schema, rule, value, &path);
        }
    }
    for (name, rule) in attributes {
        assert!(rule["required"] != true || found.contains_key(name), "{path} lacks {name}");
    }
    if let Some(names) = rules["at_least_one"].as_array() {
        let has_one = names.iter().any(|name| found.contains_key(name.as_str().unwrap()));
        assert!(has_one, "{path} has none of {names:?}");
    }
}

fn check_value(schema: &Value, rule: &Value, value: &Value, path: &str) {
    let is_right = match rule["type"].as_str().unwrap() {
        "string_t" => value.is_string(),
        "integer_t" | "long_t" => value.is_i64() || value.is_u64(),
        "boolean_t" => value.is_boolean(),
        "float_t" => value.is_number(),
        // Anything.
        "object" | "json_t" => true,
        object => {
            check(schema, &schema["objects"][object], value, path);
            true
        }
    };
    assert!(is_right, "{path} is {value}, and not a {}", rule["type"]);
    if let Some(allowed) = rule["enum"].as_array() {
        assert!(allowed.contains(value), "{path} is {value}, and not one of {allowed:?}");
    }
}

fn checked(stored: &Stored) -> Value {
    let event = ocsf::event(stored);
    check_event(&event);
    event
}

fn check_event(event: &Value) {
    let schema: Value = serde_json::from_str(include_str!("schema.json")).unwrap();
    let class = event["class_uid"].as_u64().unwrap();
    check(&schema, &schema["classes"][class.to_string()], event, &format!("class {class}"));
    assert_eq!(event["category_uid"], class / 1000);
    assert_eq!(event["type_uid"], class * 100 + event["activity_id"].as_u64().unwrap());
    assert_eq!(event["metadata"]["version"], schema["version"]);
}

fn entry(kind: Kind, verdict: Verdict, detail: Option<Value>) -> Stored {
    let entry = Entry {
        time: 1_800_000_000_123_456,
        node: "node-1".into(),
        source: "ai/Job/train".into(),
        destination: "hub.example".into(),
        port: 443,
        protocol: 6,
        rule: "NetworkPolicy ai/deny, spec.egress (deny.yaml:3)".into(),
        reason: "isolated".into(),
        sent: 5,
        received: 7,
        detail: detail.map(|detail| detail.to_string()),
        ..Entry::new(kind, verdict)
    };
    Stored { id: 255, entry }
}

fn call() -> Value {
    json!({"pod": "10.0.0.1:4000", "destination": "192.0.2.1:443", "request_id": "r-1", "method": "POST", "path": "/v1/chat",
           "status": 200, "operation": {"provider": "openai", "api": "chat", "verb": "call", "resource": null, "model": "gpt",
           "tools": ["search"]}, "usage": {"input_tokens": 3, "output_tokens": 4, "model": "gpt-1"}})
}

fn finding() -> Value {
    json!({"id": "0011223344556677", "detector": "dns-tunnel", "severity": "high", "sentence": "it tunnels", "count": 9,
           "numbers": [{"name": "bytes an hour", "value": 12.5, "baseline": 1.0, "threshold": 10.0}],
           "records": ["dns:3"], "techniques": ["T1048", "T1071.004", "AML.T0024", "AML.T0051.001", "LLM10"]})
}

#[test]
fn each_kind_has_its_class_and_says_what_was_decided() {
    let denied = json!({"from": {"address": "10.0.0.1"}, "to": {"address": "192.0.2.1"}});
    let query = json!({"pod": "10.0.0.1", "resolver": "10.96.0.10", "type": "A", "rcode": 3, "addresses": ["192.0.2.1"]});
    for (kind, verdict, detail, class, activity, action) in [
        (Kind::Flow, Verdict::Allow, None, 4001, 6, json!(1)),
        (Kind::Flow, Verdict::Deny, Some(denied), 4001, 5, json!(2)),
        (Kind::Flow, Verdict::Fail, None, 4001, 4, json!(1)),
        (Kind::Tls, Verdict::Deny, Some(json!({"claim": {"kind": "tls"}})), 4001, 5, json!(2)),
        (Kind::Dns, Verdict::Allow, None, 4003, 6, json!(1)),
        (Kind::Dns, Verdict::Deny, Some(query), 4003, 2, json!(2)),
        (Kind::AiCall, Verdict::Allow, Some(call()), 4002, 6, json!(1)),
        (Kind::AiCall, Verdict::Deny, Some(json!({"method": "BREW"})), 4002, 99, json!(2)),
        (Kind::AiCall, Verdict::Deny, None, 4002, 99, json!(2)),
        (Kind::Finding, Verdict::None, Some(finding()), 2004, 1, Value::Null),
        (Kind::Finding, Verdict::None, None, 2004, 1, Value::Null),
        (Kind::Audit, Verdict::None, Some(json!({"text": "why"})), 6003, 99, Value::Null),
    ] {
        let event = checked(&entry(kind, verdict, detail));
        assert_eq!(
            (event["class_uid"].as_u64(), event["activity_id"].as_u64()),
            (Some(class), Some(activity))
        );
        assert_eq!(event["action_id"], action, "{event}");
        assert_eq!(event["time"], 1_800_000_000_123_u64);
        assert_eq!(event["metadata"]["uid"], format!("node-1-{:x}-ff", 1_800_000_000_123_456_u64));
        assert_eq!(event["policy"]["name"], "NetworkPolicy ai/deny, spec.egress (deny.yaml:3)");
    }
}

#[test]
fn a_request_says_which_model_and_how_many_tokens() {
    let event = checked(&entry(Kind::AiCall, Verdict::Allow, Some(call())));
    for (pointer, expected) in [
        ("/ai_model/name", json!("gpt")),
        ("/ai_model/version", json!("gpt-1")),
        ("/ai_model/ai_provider", json!("openai")),
        ("/message_context/prompt_tokens", json!(3)),
        ("/message_context/completion_tokens", json!(4)),
        ("/http_request/url/path", json!("/v1/chat")),
        ("/http_response/code", json!(200)),
        ("/src_endpoint/ip", json!("10.0.0.1")),
        ("/dst_endpoint/hostname", json!("hub.example")),
        ("/unmapped/tools/0", json!("search")),
        ("/metadata/profiles/1", json!("ai_operation")),
    ] {
        assert_eq!(event.pointer(pointer), Some(&expected), "{pointer} in {event}");
    }
}

#[test]
fn a_finding_says_its_numbers_and_techniques() {
    let event = checked(&entry(Kind::Finding, Verdict::None, Some(finding())));
    for (pointer, expected) in [
        ("/finding_info/uid", json!("0011223344556677")),
        ("/finding_info/title", json!("it tunnels")),
        ("/finding_info/attacks/0/technique/uid", json!("T1048")),
        ("/finding_info/attacks/1/technique/uid", json!("T1071")),
        ("/finding_info/attacks/1/sub_technique/uid", json!("T1071.004")),
        ("/finding_info/attacks/2/technique/uid", json!("AML.T0024")),
        ("/finding_info/attacks/3/technique/uid", json!("AML.T0051")),
        ("/finding_info/attacks/3/sub_technique/uid", json!("AML.T0051.001")),
        ("/finding_info/tags/0/values/0", json!("LLM10")),
        ("/anomaly_analyses/0/anomalies/0/observations/0/value", json!("12.5")),
        ("/anomaly_analyses/0/baselines/0/observations/0/value", json!("1.0")),
        ("/severity_id", json!(4)),
        ("/resources/0/namespace", json!("ai")),
    ] {
        assert_eq!(event.pointer(pointer), Some(&expected), "{pointer} in {event}");
    }
}

#[test]
fn a_detail_that_is_not_what_it_should_be_changes_nothing_but_what_it_says() {
    let wrong = json!([]);
    let everywhere: Vec<Value> = [
        "id",
        "detector",
        "severity",
        "sentence",
        "count",
        "numbers",
        "records",
        "techniques",
        "pod",
        "method",
        "path",
        "status",
        "operation",
        "usage",
        "claim",
        "rcode",
        "type",
        "addresses",
        "resolver",
        "from",
        "to",
    ]
    .into_iter()
    .flat_map(|name| {
        [
            json!(null),
            json!(-1),
            json!("\u{1b}[31m\u{202e}\"]"),
            json!({"x": [{}]}),
            json!([[], null, {"name": 3}]),
        ]
        .map(|value| json!({ name: value }))
    })
    .chain([wrong, json!("text"), json!(1e300)])
    .collect();
    for kind in Kind::ALL {
        for detail in &everywhere {
            checked(&entry(kind, Verdict::Deny, Some(detail.clone())));
        }
        let mut broken = entry(kind, Verdict::None, None);
        broken.entry.detail = Some("{\"cut of".to_owned());
        checked(&broken);
        // Nothing at all is known.
        checked(&Stored { id: 0, entry: Entry::new(kind, Verdict::None) });
        checked(&Stored {
            id: i64::MAX,
            entry: Entry { time: u64::MAX, ..Entry::new(kind, Verdict::Allow) },
        });
    }
}

#[test]
fn what_was_lost_is_an_event_too() {
    let event = ocsf::lost(12, 40, 1_000_000);
    check_event(&event);
    assert_eq!((&event["unmapped"]["records"], &event["severity_id"]), (&json!(12), &json!(3)));
}
