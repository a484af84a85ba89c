//! Refusals in the form that each service's clients read.

#![allow(
    clippy::unwrap_used,
    clippy::panic,
    clippy::indexing_slicing,
    reason = "a test's helpers fail the test"
)]

use inspect::refusal::{Answer, Asked, Boundary, Framing, Refusal, answer, cut};
use policy::{Operation, Verb};
use proptest::prelude::*;
use serde_json::Value;

const REFUSAL: Refusal<'_> = Refusal {
    status: 403,
    reason: "request-verb",
    message: "the rule allows download only, and this is an upload.",
    rule: Some("EgressPolicy team-a/hub, spec.egress[0], hub.yaml:12"),
    request_id: "7f3a",
};

const TEXT: &str = "Refused by Cofferdam: the rule allows download only, and this is an upload (reason: request-verb; \
                    policy: EgressPolicy team-a/hub, spec.egress[0], hub.yaml:12; request: 7f3a)";

/// Ends a header, a line, an element, a text and an HTTP message, if it is let.
const EVIL: &str = "a\r\n\r\nx: y\n\ndata: z\0\"}]</Message><script>&\u{1b}[2J ü 😀";

fn operation(provider: &'static str, api: &'static str) -> Operation {
    let provider = (!provider.is_empty()).then_some(provider.into());
    Operation { provider, api: api.into(), verb: Verb::Upload, ..Operation::unknown("test") }
}

fn header<'a>(answer: &'a Answer, name: &str) -> &'a str {
    let found: Vec<_> = answer.headers.iter().filter(|(key, _)| *key == name).collect();
    assert!(found.len() <= 1, "{name} twice: {answer:?}");
    found.first().map_or("", |(_, value)| value)
}

/// The text at this place of a body, which must be JSON.
fn at(body: &[u8], pointer: &str) -> String {
    let value: Value = serde_json::from_slice(body).unwrap();
    let found = value.pointer(pointer).unwrap_or_else(|| panic!("no {pointer} in {value}"));
    found.as_str().map_or_else(|| found.to_string(), str::to_owned)
}

#[test]
fn every_service_has_the_text_where_its_clients_look() {
    for (provider, api, place) in [
        ("openai", "chat", "/error/message"),
        ("groq", "chat", "/error/message"),
        ("vllm", "pooling", "/error/message"),
        ("azure-openai", "files", "/error/message"),
        ("unheard-of", "embeddings", "/error/message"),
        ("anthropic", "messages", "/error/message"),
        ("anthropic", "files", "/error/message"),
        ("vllm", "messages", "/error/message"),
        ("gemini", "generate-content", "/error/message"),
        ("gcs", "object", "/error/message"),
        ("bedrock", "converse", "/message"),
        ("huggingface", "commit", "/error"),
        ("huggingface", "chat", "/error/message"),
        ("ghcr", "manifest", "/errors/0/message"),
        ("huggingface", "lfs-batch", "/message"),
        ("npm", "publish", "/error"),
        ("cargo", "publish", "/errors/0/detail"),
        ("ollama", "chat", "/error"),
        ("triton", "infer", "/error"),
        ("mcp", "tools/call", "/error/message"),
        ("a2a", "message/send", "/error/message"),
        ("pypi", "publish", "/error"),
        ("", "unknown", "/error"),
    ] {
        let answer = answer(&operation(provider, api), &Asked::default(), &REFUSAL);
        assert_eq!(answer.status, 403);
        assert_eq!(at(&answer.body, place), TEXT, "{provider} {api}");
        assert!(header(&answer, "content-type").ends_with("json"), "{provider} {api}");
    }
}

#[test]
fn services_with_codes_of_their_own_get_them() {
    let body = |provider, api, status| {
        answer(&operation(provider, api), &Asked::default(), &Refusal { status, ..REFUSAL }).body
    };
    for (provider, api, status, place, expected) in [
        ("openai", "chat", 403, "/error/code", "request-verb"),
        ("openai", "chat", 403, "/error/type", "permission_error"),
        ("openai", "chat", 429, "/error/type", "insufficient_quota"),
        ("anthropic", "messages", 403, "/error/type", "permission_error"),
        ("anthropic", "messages", 413, "/error/type", "request_too_large"),
        ("anthropic", "messages", 403, "/type", "error"),
        ("anthropic", "messages", 403, "/request_id", "7f3a"),
        ("gemini", "generate-content", 403, "/error/code", "403"),
        ("gemini", "generate-content", 403, "/error/status", "PERMISSION_DENIED"),
        ("gemini", "generate-content", 429, "/error/status", "RESOURCE_EXHAUSTED"),
        ("gemini", "generate-content", 403, "/error/details/0/reason", "REQUEST_VERB"),
        ("oci", "blob", 403, "/errors/0/code", "DENIED"),
        ("oci", "blob", 403, "/errors/0/detail/request_id", "7f3a"),
        ("mcp", "tools/call", 403, "/id", "null"),
        ("mcp", "tools/call", 403, "/jsonrpc", "2.0"),
        ("", "unknown", 403, "/reason", "request-verb"),
    ] {
        assert_eq!(at(&body(provider, api, status), place), expected, "{provider} {api} {status}");
    }
}

#[test]
fn headers_say_why_by_which_rule_and_where_the_record_is() {
    for (provider, api, name, expected) in [
        ("", "unknown", "x-cofferdam-reason", "request-verb"),
        ("", "unknown", "x-cofferdam-policy", "EgressPolicy team-a/hub, spec.egress[0], hub.yaml:12"),
        ("", "unknown", "x-cofferdam-request-id", "7f3a"),
        ("huggingface", "commit", "x-error-message", TEXT),
        ("huggingface", "commit", "x-error-code", "PolicyDenied"),
        ("openai", "chat", "x-should-retry", "false"),
        ("anthropic", "messages", "request-id", "7f3a"),
        ("bedrock", "converse", "x-amzn-errortype", "AccessDeniedException"),
        ("s3", "object", "x-amz-request-id", "7f3a"),
        ("azure-blob", "object", "x-ms-error-code", "AuthorizationFailure"),
    ] {
        let answer = answer(&operation(provider, api), &Asked::default(), &REFUSAL);
        assert_eq!(header(&answer, name), expected, "{provider} {api}");
        assert_eq!(answer.reason_phrase, TEXT);
    }
    let without = Refusal { rule: None, ..REFUSAL };
    let answer = answer(&operation("", "x"), &Asked::default(), &without);
    assert!(answer.headers.iter().all(|(name, _)| *name != "x-cofferdam-policy"));
}

#[test]
fn object_stores_have_xml() {
    for (provider, code) in [("s3", "AccessDenied"), ("azure-blob", "AuthorizationFailure")] {
        let answer = answer(&operation(provider, "object"), &Asked::default(), &REFUSAL);
        let body = String::from_utf8(answer.body.clone()).unwrap();
        assert!(body.starts_with("<?xml"), "{body}");
        assert!(body.contains(&format!("<Error><Code>{code}</Code><Message>{TEXT}</Message>")), "{body}");
        assert_eq!(header(&answer, "content-type"), "application/xml");
    }
}

#[test]
fn git_is_told_in_the_protocol_behind_its_first_request() {
    let git = |verb, method| {
        let operation = Operation { verb, ..operation("huggingface", "git") };
        answer(&operation, &Asked { method, ..Asked::default() }, &REFUSAL)
    };
    let first = git(Verb::Upload, "GET");
    assert_eq!((first.status, header(&first, "content-type")), (403, "text/plain; charset=utf-8"));
    assert_eq!(first.body, format!("{TEXT}\n").as_bytes());

    let (fetch, push) = (git(Verb::Download, "POST"), git(Verb::Upload, "POST"));
    assert_eq!((fetch.status, header(&fetch, "content-type")), (200, "application/x-git-upload-pack-result"));
    assert_eq!(fetch.body, format!("{:04x}ERR {TEXT}\n0000", TEXT.len() + 9).as_bytes());
    assert_eq!((push.status, header(&push, "content-type")), (200, "application/x-git-receive-pack-result"));
    assert_eq!(push.body, format!("{:04x}\u{3}{TEXT}\n0000", TEXT.len() + 6).as_bytes());
}

#[test]
fn a_client_of_an_unknown_service_gets_its_own_form() {
    let browser = "text/html,application/xhtml+xml,application/xml;q=0.9,*/*;q=0.8";
    let pip = "application/vnd.pypi.simple.v1+json, text/html; q=0.01";
    for (accept, user_agent, expected) in [
        (Some(browser), None, "text/html; charset=utf-8"),
        (Some("text/html"), Some("Mozilla/5.0"), "text/html; charset=utf-8"),
        (Some("*/*"), Some("curl/8"), "application/json"),
        (Some(pip), Some("pip/25"), "application/json"),
        (Some("*/*"), Some("git/2.47"), "text/plain; charset=utf-8"),
        (None, Some("git-lfs/3.6"), "application/vnd.git-lfs+json"),
        (None, None, "application/json"),
    ] {
        let asked = Asked { accept, user_agent, ..Asked::default() };
        let answer = answer(&operation("", "unknown"), &asked, &REFUSAL);
        assert_eq!(header(&answer, "content-type"), expected, "{accept:?} {user_agent:?}");
    }
    // Who asks a known service is answered as that service does.
    let asked = Asked { accept: Some("text/html"), ..Asked::default() };
    assert_eq!(
        header(&answer(&operation("openai", "chat"), &asked, &REFUSAL), "content-type"),
        "application/json"
    );
}

#[test]
fn grpc_is_answered_with_trailers_only() {
    let asked = Asked { content_type: Some("application/grpc+proto"), method: "POST", ..Asked::default() };
    let message = "ü 100%";
    for (status, code) in [(403, "7"), (404, "12"), (429, "8"), (503, "14"), (401, "16")] {
        let answer = answer(&operation("triton", "infer"), &asked, &Refusal { status, message, ..REFUSAL });
        assert_eq!((answer.status, header(&answer, "grpc-status")), (200, code));
        assert!(header(&answer, "grpc-message").starts_with("Refused by Cofferdam: %C3%BC 100%25 ("));
        assert_eq!(answer.body, b"");
    }
}

#[test]
fn a_json_rpc_id_is_given_back_only_if_it_is_one() {
    for (id, expected) in [
        (Some("7"), "7"),
        (Some("\"a\""), "a"),
        (Some("null"), "null"),
        (Some("{}"), "null"),
        (Some("7}"), "null"),
        (Some(""), "null"),
        (None, "null"),
    ] {
        let asked = Asked { rpc_id: id, ..Asked::default() };
        assert_eq!(
            at(&answer(&operation("mcp", "tools/call"), &asked, &REFUSAL).body, "/id"),
            expected,
            "{id:?}"
        );
    }
}

#[test]
fn a_head_request_has_the_headers_without_the_body_and_its_type() {
    let ask = |method| answer(&operation("oci", "blob"), &Asked { method, ..Asked::default() }, &REFUSAL);
    let (head, mut get) = (ask("HEAD"), ask("GET"));
    let all = get.headers.len();
    get.headers.retain(|(name, _)| *name != "content-type");
    assert_eq!(get.headers.len(), all - 1);
    assert_eq!(head.headers, get.headers);
    assert!(head.body.is_empty() && !get.body.is_empty());
}

#[test]
fn a_status_that_is_no_refusal_is_forbidden() {
    for status in [0, 200, 302, 399, 600] {
        let refusal = Refusal { status, ..REFUSAL };
        assert_eq!(answer(&operation("", "x"), &Asked::default(), &refusal).status, 403);
    }
}

#[test]
fn the_hub_refuses_with_a_status_that_its_client_tells_as_a_refusal() {
    for (status, expected) in [(401, 403), (429, 403), (403, 403), (502, 502)] {
        let refusal = Refusal { status, ..REFUSAL };
        assert_eq!(answer(&operation("huggingface", "commit"), &Asked::default(), &refusal).status, expected);
    }
}

const ALL: [(&str, &str); 14] = [
    ("openai", "chat"),
    ("openai", "responses"),
    ("anthropic", "messages"),
    ("gemini", "generate-content"),
    ("bedrock", "converse"),
    ("s3", "object"),
    ("azure-blob", "object"),
    ("huggingface", "commit"),
    ("oci", "blob"),
    ("git", "git"),
    ("cargo", "publish"),
    ("mcp", "tools/call"),
    ("ollama", "chat"),
    ("", "unknown"),
];

#[test]
fn nothing_in_a_refusal_leaves_its_place() {
    let long = EVIL.repeat(5000);
    for text in [EVIL, &long] {
        let refusal = Refusal { reason: text, message: text, rule: Some(text), request_id: text, ..REFUSAL };
        for (provider, api) in ALL {
            for (method, accept) in [("POST", None), ("GET", Some("text/html"))] {
                let asked = Asked { method, accept, ..Asked::default() };
                check_contained(&answer(&operation(provider, api), &asked, &refusal));
            }
            for framing in [Framing::Sse, Framing::NdJson] {
                let bytes = cut(&operation(provider, api), &Asked::default(), &refusal, framing);
                let text = String::from_utf8(bytes).unwrap();
                let mut lines = text.lines().filter(|line| !line.is_empty());
                let expected = |line: &str| {
                    line.starts_with("data: ") || line.starts_with("event: ") || line.starts_with('{')
                };
                assert!(lines.all(expected), "{text}");
            }
        }
    }
}

fn check_contained(answer: &Answer) {
    assert!(answer.body.len() < 16 * 1024);
    let is_visible = |text: &str| text.bytes().all(|byte| matches!(byte, b' '..=b'~')) && text.len() <= 1024;
    assert!(is_visible(&answer.reason_phrase), "{answer:?}");
    for (name, value) in &answer.headers {
        assert!(is_visible(value) && value.trim() == value, "{name}: {value:?}");
        assert_eq!(name.to_lowercase(), *name);
    }
    let body = String::from_utf8(answer.body.clone()).unwrap();
    match header(answer, "content-type") {
        kind if kind.ends_with("json") => assert!(serde_json::from_str::<Value>(&body).is_ok(), "{body}"),
        "application/xml" => assert_eq!(body.matches("</Message>").count(), 1, "{body}"),
        kind if kind.starts_with("text/html") => assert!(!body.contains("<script>"), "{body}"),
        "text/plain; charset=utf-8" => assert_eq!(body.lines().count(), 1, "{body}"),
        kind => {
            assert!(kind.starts_with("application/x-git-"), "{kind}");
            let length = usize::from_str_radix(&body[..4], 16).unwrap();
            assert_eq!(body[length..], *"0000");
        }
    }
}

#[test]
fn a_stream_is_cut_with_an_event_of_its_own() {
    for (provider, api, framing, begins, ends) in [
        ("openai", "chat", Framing::Sse, r#"data: {"error":{"#, "}\n\ndata: [DONE]\n\n"),
        ("openai", "responses", Framing::Sse, "event: error\ndata: {", "}\n\n"),
        ("anthropic", "messages", Framing::Sse, "event: error\ndata: {", r#""type":"error"}"#),
        ("gemini", "generate-content", Framing::Sse, r#"data: {"error":{"#, "}\r\n\r\n"),
        ("gemini", "generate-content", Framing::JsonArrayStart, r#"[{"error":{"#, "}]"),
        ("gemini", "generate-content", Framing::JsonArray, r#",{"error":{"#, "}]"),
        ("ollama", "chat", Framing::NdJson, r#"{"error":"Refused by"#, "}\n"),
        ("mcp", "tools/call", Framing::Sse, "event: message\ndata: {", "}\n\n"),
        ("", "unknown", Framing::Sse, "event: error\ndata: {", "}\n\n"),
    ] {
        let text =
            String::from_utf8(cut(&operation(provider, api), &Asked::default(), &REFUSAL, framing)).unwrap();
        assert!(text.starts_with(begins) && text.trim_end().ends_with(ends.trim_end()), "{text}");
        assert!(text.contains("request-verb") && text.contains("hub.yaml:12"), "{text}");
    }
    let bytes = cut(&operation("bedrock", "converse"), &Asked::default(), &REFUSAL, Framing::EventStream);
    let mut boundary = Boundary::new(Framing::EventStream);
    assert_eq!(boundary.push(&bytes), bytes.len());
    assert!(boundary.is_between());
}

#[test]
fn a_json_rpc_stream_is_cut_with_an_answer_to_its_request() {
    let asked = Asked { rpc_id: Some("7"), ..Asked::default() };
    let text =
        String::from_utf8(cut(&operation("mcp", "tools/call"), &asked, &REFUSAL, Framing::Sse)).unwrap();
    let data = text.strip_prefix("event: message\ndata: ").unwrap().trim_end();
    assert_eq!(at(data.as_bytes(), "/id"), "7");
    assert_eq!(at(data.as_bytes(), "/error/message"), TEXT);
}

const SSE: &str = ": hi\n\ndata: a\ndata: b\n\nevent: x\r\ndata: c\r\n\r\ndata: d\r\rdata: e";

/// Every place, counted in bytes, where the stream can be cut.
fn places<'a>(framing: Framing, parts: impl Iterator<Item = &'a [u8]>) -> Vec<usize> {
    let mut boundary = Boundary::new(framing);
    let (mut at, mut found) = (0, vec![]);
    for part in parts {
        let mut rest = part;
        while !rest.is_empty() {
            let taken = boundary.push(rest);
            assert!(taken > 0);
            (at, rest) = (at + taken, &rest[taken..]);
            if boundary.is_between() {
                found.push(at);
            }
        }
    }
    found
}

#[test]
fn a_stream_can_be_cut_behind_its_events_only() {
    for (framing, text, expected) in [
        (Framing::Sse, SSE, vec![6, 23, 43, 44, 53]),
        (Framing::Sse, "\n\ndata: [DONE]\n\n", vec![1, 2, 16]),
        (Framing::NdJson, "{}\n{\"a\":1}\r\n{", vec![3, 12]),
        (Framing::JsonArrayStart, "[{\"a\":[{}]}\n,{\"b\":\"}]\\\"}\"}]", vec![11, 12, 26]),
        (Framing::JsonArrayStart, " [", vec![1]),
        (Framing::JsonArrayStart, "[]{}{}", vec![]),
        (Framing::JsonArray, ",{}]", vec![3]),
        (Framing::EventStream, "no event stream at all, and a long one at that", vec![]),
    ] {
        assert_eq!(places(framing, std::iter::once(text.as_bytes())), expected, "{text:?}");
    }
    let message = cut(&operation("bedrock", "converse"), &Asked::default(), &REFUSAL, Framing::EventStream);
    let two = [message.clone(), message.clone()].concat();
    assert_eq!(places(Framing::EventStream, std::iter::once(&two[..])), [message.len(), 2 * message.len()]);
}

#[test]
fn an_array_that_is_cut_is_json() {
    let text = r#"[{"a":"]"} , {"b":[1]}]"#;
    let mut cuts = 0;
    let mut boundary = Boundary::new(Framing::JsonArrayStart);
    for at in 0..=text.len() {
        if boundary.is_between() {
            let end = cut(
                &operation("gemini", "generate-content"),
                &Asked::default(),
                &REFUSAL,
                boundary.framing(),
            );
            let whole = [&text.as_bytes()[..at], &end].concat();
            let elements: Vec<Value> = serde_json::from_slice(&whole).unwrap();
            assert!(elements.last().unwrap().get("error").is_some());
            cuts += 1;
        }
        boundary.push(text.as_bytes().get(at..=at).unwrap_or_default());
    }
    assert_eq!(cuts, 4, "at the start, behind an element and the blank, behind the last");
}

proptest! {
    #[test]
    fn where_a_stream_is_split_does_not_move_its_boundaries(
        text in r#"[\[\]{}"\\,ad: \r\n]{0,40}"#,
        size in 1_usize..6,
        framing in prop::sample::select(vec![Framing::Sse, Framing::NdJson, Framing::JsonArrayStart, Framing::EventStream]),
    ) {
        let bytes = text.as_bytes();
        prop_assert_eq!(places(framing, std::iter::once(bytes)), places(framing, bytes.chunks(size)));
    }
}
