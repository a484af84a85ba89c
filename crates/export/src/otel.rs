//! The record of a request in the names of OpenTelemetry's semantic conventions ([`span`]).
//!
//! Enters: a request's record as JSON, as `cofferdam calls --json` and the ledger have it. Leaves: one JSON object with what a span
//! has, or its attributes. Names and values are those of the conventions 1.41 for HTTP, servers, networks and errors
//! (<https://opentelemetry.io/docs/specs/semconv/>), and of those for generative AI, which are in development and may still
//! change (<https://github.com/open-telemetry/semantic-conventions-genai>, 2026-11). Guarantees: what the conventions have no name
//! for begins with `cofferdam.`; nothing is left out but what only a person reads; a field that is not what it should be is.
//! Does not: send it anywhere, or make ids of traces.

use observe::Time;
use ocsf::Detail;
use policy::{Credential, SecretRef};
use serde_json::{Map, Value, json};
use std::net::SocketAddr;

/// Names that differ from those of our catalog.
const PROVIDERS: [(&str, &str); 7] = [
    ("azure-openai", "azure.ai.openai"),
    ("bedrock", "aws.bedrock"),
    ("gemini", "gcp.gemini"),
    ("mistral", "mistral_ai"),
    ("moonshot", "moonshot_ai"),
    ("vertex", "gcp.vertex_ai"),
    ("xai", "x_ai"),
];

/// Operations that have a name, by the interface of a provider.
const OPERATIONS: [(&str, &str); 13] = [
    ("chat", "chat"),
    ("messages", "chat"),
    ("responses", "chat"),
    ("converse", "chat"),
    ("completions", "text_completion"),
    ("generate", "text_completion"),
    ("embeddings", "embeddings"),
    ("embed", "embeddings"),
    ("generate-content", "generate_content"),
    ("tools/call", "execute_tool"),
    ("message/send", "invoke_agent"),
    ("message/stream", "invoke_agent"),
    ("SendMessage", "invoke_agent"),
];

/// One request as a span of kind `CLIENT`: `name`, `kind`, `start_time_unix_nano`, `end_time_unix_nano`, `status`, `attributes`.
#[must_use]
pub fn span(call: &Detail) -> Value {
    let time = call.text(&["time"]).and_then(|time| time.parse::<Time>().ok()).unwrap_or_default();
    let start = time.0.saturating_mul(1000);
    let took = call.number(&["duration_micros"]).unwrap_or(0).saturating_mul(1000);
    json!({
        "name": name(call),
        "kind": "CLIENT",
        "start_time_unix_nano": start,
        "end_time_unix_nano": start.saturating_add(took),
        "status": if error(call).is_some() { "ERROR" } else { "UNSET" },
        "attributes": attributes(call),
    })
}

/// What its span is called.
pub(crate) fn name(call: &Detail) -> String {
    let Some(operation) = operation(call) else { return call.text(&["method"]).unwrap_or("HTTP").to_owned() };
    let model = call.text(&["operation", "model"]);
    let what = model.or(call.texts(&["operation", "tools"]).first().copied());
    [Some(operation), what].into_iter().flatten().collect::<Vec<_>>().join(" ")
}

/// The attributes of a request.
pub(crate) fn attributes(call: &Detail) -> Map<String, Value> {
    let mut all = http(call);
    if let Some(operation) = operation(call) {
        gen_ai(&mut all, call, operation);
    }
    own(&mut all, call);
    all
}

/// What an operation is called; only calls have a name.
fn operation(call: &Detail) -> Option<&str> {
    let api = call.text(&["operation", "api"])?;
    let known = OPERATIONS.iter().find(|(ours, _)| *ours == api).map_or(api, |(_, name)| *name);
    (call.text(&["operation", "verb"]) == Some("call")).then_some(known)
}

/// Why it is an error: our reason, else the server's status, else how it ended.
pub(crate) fn error(call: &Detail) -> Option<String> {
    let status = call.number(&["status"]).unwrap_or(0);
    match (call.text(&["verdict"]), status, call.text(&["end"])) {
        (Some("deny"), ..) => Some(call.text(&["reason"]).unwrap_or("_OTHER").to_owned()),
        (_, 400.., _) => Some(status.to_string()),
        (_, _, None | Some("closed")) => None,
        (_, _, Some(end)) => Some(end.to_owned()),
    }
}

/// Adds what is there.
fn put(all: &mut Map<String, Value>, name: &str, value: &Value) {
    let is_empty = value.is_null() || value.as_array().is_some_and(Vec::is_empty);
    if !is_empty {
        all.insert(name.to_owned(), value.clone());
    }
}

fn http(call: &Detail) -> Map<String, Value> {
    let mut all = Map::new();
    let address = |name| call.text(&[name]).and_then(|text| text.parse::<SocketAddr>().ok());
    if let Some(pod) = address("pod") {
        put(&mut all, "client.address", &json!(pod.ip()));
        put(&mut all, "client.port", &json!(pod.port()));
    }
    if let Some(destination) = address("destination") {
        put(&mut all, "server.port", &json!(destination.port()));
        put(&mut all, "network.peer.address", &json!(destination.ip()));
        put(&mut all, "network.peer.port", &json!(destination.port()));
    }
    for (name, field) in [
        ("server.address", "name"),
        ("http.request.method", "method"),
        ("http.request.body.size", "bytes_up"),
        ("http.response.body.size", "bytes_down"),
        ("url.path", "path"),
    ] {
        put(&mut all, name, call.at(&[field]));
    }
    put(
        &mut all,
        "http.response.status_code",
        &json!(call.number(&["status"]).filter(|status| *status != 0)),
    );
    put(&mut all, "error.type", &json!(error(call)));
    all
}

fn gen_ai(all: &mut Map<String, Value>, call: &Detail, operation: &str) {
    let provider = call
        .text(&["operation", "provider"])
        .map(|ours| PROVIDERS.iter().find(|(known, _)| *known == ours).map_or(ours, |(_, name)| *name));
    put(all, "gen_ai.operation.name", &json!(operation));
    put(all, "gen_ai.provider.name", &json!(provider));
    put(all, "gen_ai.tool.name", &json!(call.texts(&["operation", "tools"]).first()));
    if call.at(&["operation", "stream"]) == &Value::Bool(true) {
        put(all, "gen_ai.request.stream", &json!(true));
        let seconds = call.number(&["first_byte_micros"]).map(|micros| micros as f64 / 1e6);
        put(all, "gen_ai.response.time_to_first_chunk", &json!(seconds));
    }
    for (name, path) in [
        ("request.model", ["operation", "model"]),
        ("response.model", ["usage", "model"]),
        ("response.id", ["usage", "id"]),
        ("response.finish_reasons", ["usage", "finish"]),
        ("usage.input_tokens", ["usage", "input_tokens"]),
        ("usage.output_tokens", ["usage", "output_tokens"]),
        ("usage.cache_read.input_tokens", ["usage", "cached_tokens"]),
        ("usage.reasoning.output_tokens", ["usage", "reasoning_tokens"]),
    ] {
        put(all, &format!("gen_ai.{name}"), call.at(&path));
    }
}

fn own(all: &mut Map<String, Value>, call: &Detail) {
    let paths: [(&str, &[&str]); 11] = [
        ("request.id", &["request_id"]),
        ("verdict", &["verdict"]),
        ("reason", &["reason"]),
        ("end", &["end"]),
        ("verb", &["operation", "verb"]),
        ("resource", &["operation", "resource"]),
        ("rule", &["rule"]),
        ("rule.nearest", &["nearest"]),
        ("generation", &["generation"]),
        ("request.body.sha256", &["request_sha256"]),
        ("response.body.sha256", &["answer_sha256"]),
    ];
    for (name, path) in paths {
        put(all, &format!("cofferdam.{name}"), call.at(path));
    }
    let injected = |name| call.at(&["injected", name]).clone();
    let secret = serde_json::from_value::<SecretRef>(injected("secret")).ok();
    put(all, "cofferdam.injected.secret", &json!(secret.map(|it| it.to_string())));
    let credential = serde_json::from_value::<Credential>(injected("credential")).ok();
    put(all, "cofferdam.injected.credential", &json!(credential.map(|it| it.to_string())));
    for name in ["leaks", "masked"] {
        let rules: Vec<&Value> = call.list(&[name]).iter().filter_map(|fact| fact.get("rule")).collect();
        put(all, &format!("cofferdam.{name}"), &json!(rules));
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn call(json: Value) -> Detail {
        let mut whole = json!({
            "time": "1970-01-01T00:00:00.000005Z", "pod": "10.0.0.1:4000", "destination": "192.0.2.1:443", "name": "api.openai.com", "request_id": "r",
            "method": "POST", "path": "/v1/chat/completions", "operation": {
                "provider": "openai", "api": "chat", "verb": "call", "resource": null, "model": "gpt", "stream": true,
                "reason": "",
            },
            "verdict": "allow", "reason": "request-allowed", "generation": 3, "status": 200, "bytes_up": 7, "bytes_down": 9,
            "duration_micros": 8, "end": "closed",
        });
        let fields = json.as_object().unwrap().clone();
        whole.as_object_mut().unwrap().extend(fields);
        whole.into()
    }

    #[test]
    fn a_call_has_the_names_of_the_conventions() {
        let usage =
            json!({"input_tokens": 1, "output_tokens": 2, "model": "gpt-1", "finish": ["stop"], "id": "c-1"});
        let span = span(&call(json!({"usage": usage, "first_byte_micros": 1_500_000})));
        assert_eq!(
            (&span["name"], &span["kind"], &span["status"]),
            (&json!("chat gpt"), &json!("CLIENT"), &json!("UNSET"))
        );
        assert_eq!(
            (&span["start_time_unix_nano"], &span["end_time_unix_nano"]),
            (&json!(5000), &json!(13_000))
        );
        for (name, expected) in [
            ("gen_ai.operation.name", json!("chat")),
            ("gen_ai.provider.name", json!("openai")),
            ("gen_ai.request.model", json!("gpt")),
            ("gen_ai.request.stream", json!(true)),
            ("gen_ai.response.model", json!("gpt-1")),
            ("gen_ai.response.id", json!("c-1")),
            ("gen_ai.response.finish_reasons", json!(["stop"])),
            ("gen_ai.response.time_to_first_chunk", json!(1.5)),
            ("gen_ai.usage.input_tokens", json!(1)),
            ("gen_ai.usage.output_tokens", json!(2)),
            ("server.address", json!("api.openai.com")),
            ("server.port", json!(443)),
            ("http.request.method", json!("POST")),
            ("http.response.status_code", json!(200)),
            ("cofferdam.verdict", json!("allow")),
        ] {
            assert_eq!(span["attributes"][name], expected, "{name}");
        }
        assert!(span["attributes"].get("error.type").is_none());
    }

    #[test]
    fn an_error_has_the_word_that_tells_most() {
        for (fields, expected) in [
            (
                json!({"verdict": "deny", "reason": "leak-blocked", "status": 403, "end": "refused"}),
                "leak-blocked",
            ),
            (json!({"status": 429}), "429"),
            (json!({"status": 0, "end": "server-gone"}), "server-gone"),
        ] {
            let span = span(&call(fields));
            assert_eq!(
                (&span["attributes"]["error.type"], &span["status"]),
                (&json!(expected), &json!("ERROR"))
            );
        }
    }

    #[test]
    fn what_was_found_and_which_key_it_left_with_is_told_by_name() {
        let injected = json!({"secret": {"namespace": "ai", "name": "keys", "key": "openai"}, "credential": {"sha256": "00"}});
        let leaks = json!([{"rule": "aws-key", "layer": "plain"}]);
        let span = span(&call(json!({"injected": injected, "leaks": leaks, "masked": []})));
        for (name, expected) in [
            ("injected.secret", json!("openai of Secret ai/keys")),
            ("injected.credential", json!("sha256:00")),
            ("leaks", json!(["aws-key"])),
            ("masked", Value::Null),
        ] {
            assert_eq!(span["attributes"][format!("cofferdam.{name}")], expected, "{name}");
        }
    }

    #[test]
    fn what_is_no_call_has_nothing_of_models() {
        let operation = json!({"provider": "huggingface", "api": "resolve", "verb": "download", "resource": "a/b", "model": null,
                               "stream": false, "reason": ""});
        let span = span(&call(json!({"operation": operation})));
        assert_eq!(span["name"], json!("POST"));
        let names: Vec<_> = span["attributes"].as_object().unwrap().keys().collect();
        assert!(!names.iter().any(|name| name.starts_with("gen_ai")), "{names:?}");
        assert_eq!(span["attributes"]["cofferdam.resource"], json!("a/b"));
    }
}
