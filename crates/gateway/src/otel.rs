//! The record of a request in the names of OpenTelemetry's semantic conventions ([`span`]).
//!
//! Enters: a [`Call`]. Leaves: one JSON object with what a span has. Names and values are those of the conventions 1.41 for HTTP,
//! servers, networks and errors (<https://opentelemetry.io/docs/specs/semconv/>), and of those for generative AI, which are in
//! development and may still change (<https://github.com/open-telemetry/semantic-conventions-genai>, 2026-11). Guarantees: what the
//! conventions have no name for begins with `cofferdam.`; nothing is left out but what only a person reads. Does not: send it
//! anywhere, or make ids of traces.

use crate::call::{Call, Usage};
use crate::reason::End;
use policy::{Operation, Verb, Verdict};
use serde_json::{Map, Value, json};

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
pub fn span(call: &Call) -> Value {
    let error = error(call);
    let start = call.time.0.saturating_mul(1000);
    let mut attributes = http(call, error.as_deref());
    let name = match operation(&call.operation) {
        Some(operation) => {
            gen_ai(&mut attributes, call, operation);
            let what = call.operation.model.as_deref().or(call.operation.tools.first().map(String::as_str));
            [Some(operation), what].into_iter().flatten().collect::<Vec<_>>().join(" ")
        }
        None => call.method.clone(),
    };
    own(&mut attributes, call);
    json!({
        "name": name,
        "kind": "CLIENT",
        "start_time_unix_nano": start,
        "end_time_unix_nano": start.saturating_add(call.duration_micros.saturating_mul(1000)),
        "status": if error.is_some() { "ERROR" } else { "UNSET" },
        "attributes": attributes,
    })
}

/// What an operation is called; only calls have a name.
fn operation(operation: &Operation) -> Option<&str> {
    let api = operation.api.as_ref();
    let known = OPERATIONS.iter().find(|(ours, _)| *ours == api).map_or(api, |(_, name)| *name);
    (operation.verb == Verb::Call).then_some(known)
}

/// Why it is an error: our reason, else the server's status, else how it ended.
fn error(call: &Call) -> Option<String> {
    match (call.verdict, call.status, call.end) {
        (Verdict::Deny, ..) => Some(call.reason.as_str().to_owned()),
        (Verdict::Allow, 400.., _) => Some(call.status.to_string()),
        (Verdict::Allow, _, End::Closed) => None,
        (Verdict::Allow, _, end) => Some(end.as_str().to_owned()),
    }
}

fn http(call: &Call, error: Option<&str>) -> Map<String, Value> {
    let mut all = Map::new();
    let mut put = |name: &str, value: Value| {
        all.insert(name.to_owned(), value);
    };
    put("client.address", json!(call.pod.ip()));
    put("client.port", json!(call.pod.port()));
    put("server.address", json!(call.name.as_str()));
    put("server.port", json!(call.destination.port()));
    put("network.peer.address", json!(call.destination.ip()));
    put("network.peer.port", json!(call.destination.port()));
    put("http.request.method", json!(call.method));
    put("http.request.body.size", json!(call.bytes_up));
    put("http.response.body.size", json!(call.bytes_down));
    put("url.path", json!(call.path));
    if call.status != 0 {
        put("http.response.status_code", json!(call.status));
    }
    if let Some(error) = error {
        put("error.type", json!(error));
    }
    all
}

fn gen_ai(all: &mut Map<String, Value>, call: &Call, operation: &str) {
    let mut put = |name: &str, value: Option<Value>| {
        if let Some(value) = value {
            all.insert(format!("gen_ai.{name}"), value);
        }
    };
    let provider = call
        .operation
        .provider
        .as_deref()
        .map(|ours| PROVIDERS.iter().find(|(known, _)| *known == ours).map_or(ours, |(_, name)| *name));
    put("operation.name", Some(json!(operation)));
    put("provider.name", provider.map(|name| json!(name)));
    put("request.model", call.operation.model.as_ref().map(|model| json!(model)));
    put("request.stream", call.operation.stream.then_some(json!(true)));
    put("tool.name", call.operation.tools.first().map(|tool| json!(tool)));
    if call.operation.stream {
        let seconds = call.first_byte_micros.map(|micros| json!(micros as f64 / 1e6));
        put("response.time_to_first_chunk", seconds);
    }
    let Some(usage) = &call.usage else { return };
    let Usage { input_tokens, output_tokens, cached_tokens, reasoning_tokens, model, finish, id } = usage;
    put("response.model", model.as_ref().map(|model| json!(model)));
    put("response.id", id.as_ref().map(|id| json!(id)));
    put("response.finish_reasons", (!finish.is_empty()).then(|| json!(finish)));
    put("usage.input_tokens", input_tokens.map(|count| json!(count)));
    put("usage.output_tokens", output_tokens.map(|count| json!(count)));
    put("usage.cache_read.input_tokens", cached_tokens.map(|count| json!(count)));
    put("usage.reasoning.output_tokens", reasoning_tokens.map(|count| json!(count)));
}

fn own(all: &mut Map<String, Value>, call: &Call) {
    let mut put = |name: &str, value: Option<Value>| {
        if let Some(value) = value {
            all.insert(format!("cofferdam.{name}"), value);
        }
    };
    let words = |words: Vec<&str>| (!words.is_empty()).then(|| json!(words));
    put("request.id", Some(json!(call.request_id)));
    put("verdict", Some(json!(call.verdict)));
    put("reason", Some(json!(call.reason)));
    put("end", Some(json!(call.end)));
    put("verb", Some(json!(call.operation.verb)));
    put("resource", call.operation.resource.as_ref().map(|resource| json!(resource)));
    put("rule", call.rule.as_ref().map(|rule| json!(rule)));
    put("rule.nearest", call.nearest.as_ref().map(|rule| json!(rule)));
    put("generation", Some(json!(call.generation.0)));
    put("leaks", words(call.leaks.iter().map(|fact| fact.rule.as_ref()).collect()));
    put("masked", words(call.masked.iter().map(|fact| fact.rule.as_ref()).collect()));
    put("injected.secret", call.injected.as_ref().map(|it| json!(it.secret.to_string())));
    put("injected.credential", call.injected.as_ref().map(|it| json!(it.credential.to_string())));
    put("request.body.sha256", call.request_sha256.as_ref().map(|digest| json!(digest)));
    put("response.body.sha256", call.answer_sha256.as_ref().map(|digest| json!(digest)));
}

#[cfg(test)]
mod tests {
    use super::*;

    fn call(json: Value) -> Call {
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
        serde_json::from_value(whole).unwrap()
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
