//! Answers of every provider, in the same terms.

#![allow(clippy::unwrap_used, clippy::indexing_slicing, reason = "a test's helpers fail the test")]

use inspect::answer::{AnswerReader, Usage, estimate};
use inspect::refusal::{Asked, Framing, Refusal, cut};
use policy::{Operation, Verb};
use proptest::prelude::*;

const JSON: &str = "application/json; charset=utf-8";
const SSE: &str = "text/event-stream";
const NDJSON: &str = "application/x-ndjson";
const MESSAGES: &str = "application/vnd.amazon.eventstream";

fn call() -> Operation {
    Operation { verb: Verb::Call, ..Operation::unknown("test") }
}

fn read<'a>(kind: &str, parts: impl Iterator<Item = &'a [u8]>) -> Usage {
    let mut reader = AnswerReader::new(&call(), &[("content-type", kind.as_bytes())]);
    parts.for_each(|part| reader.push(part));
    let before = reader.usage();
    let after = reader.end();
    assert!(before.events <= after.events);
    after
}

/// The same however it is split.
fn check(kind: &str, body: &[u8], expected: &Usage) {
    assert_eq!(&read(kind, std::iter::once(body)), expected, "{}", String::from_utf8_lossy(body));
    for size in 1..24 {
        assert_eq!(&read(kind, body.chunks(size)), expected, "by {size}");
    }
}

fn usage(tokens: (u64, u64), model: &str, id: &str, finish: &[&str]) -> Usage {
    let text = |text: &str| (!text.is_empty()).then(|| text.to_owned());
    Usage {
        input_tokens: Some(tokens.0),
        output_tokens: Some(tokens.1),
        model: text(model),
        id: text(id),
        finish: finish.iter().map(ToString::to_string).collect(),
        ..Usage::default()
    }
}

fn names(names: &[&str]) -> Vec<String> {
    names.iter().map(ToString::to_string).collect()
}

#[test]
fn openai_chat_is_read_whole() {
    let body = r#"{"id":"chatcmpl-1","object":"chat.completion","model":"gpt-4o","choices":[{"index":0,
        "message":{"role":"assistant","content":"h\u00fc\ud83d\ude00","tool_calls":[{"id":"c","type":"function",
        "function":{"name":"search","arguments":"{}"}}]},"finish_reason":"tool_calls"}],
        "usage":{"prompt_tokens":20,"completion_tokens":9,"total_tokens":29,
        "prompt_tokens_details":{"cached_tokens":5},"completion_tokens_details":{"reasoning_tokens":4}}}"#;
    let expected = Usage {
        cached_tokens: Some(5),
        reasoning_tokens: Some(4),
        events: 1,
        output_chars: 5,
        output_pieces: 2,
        tool_calls: names(&["search"]),
        ..usage((20, 9), "gpt-4o", "chatcmpl-1", &["tool_calls"])
    };
    check(JSON, body.as_bytes(), &expected);
}

#[test]
fn openai_chat_is_read_as_a_stream() {
    let body = concat!(
        ": ping\n\n",
        "data: {\"id\":\"1\",\"model\":\"gpt-4o\",\"choices\":[{\"index\":0,\"delta\":{\"content\":\"hé\"},\"finish_reason\":null}],\"usage\":null}\r\n\r\n",
        "data: {\"id\":\"1\",\"choices\":[{\"index\":0,\"delta\":{\"tool_calls\":[{\"index\":0,\"function\":{\"name\":\"f\",\"arguments\":\"{\\\"\"}}]}}]}\r\r",
        "event: whatever\ndata: {\"id\":\"1\",\ndata: \"choices\":[{\"delta\":{},\"finish_reason\":\"stop\"}]}\n\n",
        "data: {\"id\":\"1\",\"choices\":[],\"usage\":{\"prompt_tokens\":7,\"completion_tokens\":3}}\n\n",
        "data: [DONE]\n\n",
    );
    let expected = Usage {
        events: 5,
        output_chars: 4,
        output_pieces: 2,
        tool_calls: names(&["f"]),
        ..usage((7, 3), "gpt-4o", "1", &["stop"])
    };
    check(SSE, body.as_bytes(), &expected);
}

#[test]
fn openai_responses_count_what_was_written_once() {
    let body = concat!(
        "event: response.created\ndata: {\"type\":\"response.created\",\"response\":{\"id\":\"resp_1\",\"model\":\"o3\",\"status\":\"in_progress\",\"usage\":null}}\n\n",
        "event: response.output_text.delta\ndata: {\"type\":\"response.output_text.delta\",\"item_id\":\"m\",\"delta\":\"hello\"}\n\n",
        "event: response.output_item.added\ndata: {\"type\":\"response.output_item.added\",\"item\":{\"type\":\"function_call\",\"id\":\"fc\",\"name\":\"f\"}}\n\n",
        "event: response.completed\ndata: {\"type\":\"response.completed\",\"response\":{\"id\":\"resp_1\",\"status\":\"completed\",\"output\":[{\"content\":[{\"text\":\"hello\"}]}],",
        "\"usage\":{\"input_tokens\":30,\"input_tokens_details\":{\"cached_tokens\":10,\"cache_write_tokens\":2},\"output_tokens\":8,\"output_tokens_details\":{\"reasoning_tokens\":6}}}}\n\n",
    );
    let expected = Usage {
        cached_tokens: Some(10),
        cache_write_tokens: Some(2),
        reasoning_tokens: Some(6),
        events: 4,
        output_chars: 5,
        output_pieces: 1,
        tool_calls: names(&["f"]),
        ..usage((30, 8), "o3", "resp_1", &["completed"])
    };
    check(SSE, body.as_bytes(), &expected);
}

#[test]
fn embeddings_have_input_only() {
    let body = r#"{"object":"list","data":[{"embedding":[0.1,-2e-3,3]}],"model":"e","usage":{"prompt_tokens":8,"total_tokens":8}}"#;
    check(JSON, body.as_bytes(), &Usage { output_tokens: None, events: 1, ..usage((8, 0), "e", "", &[]) });
}

#[test]
fn anthropic_input_is_counted_with_what_was_cached() {
    let body = r#"{"id":"msg_1","type":"message","model":"claude","content":[{"type":"text","text":"hi"},
        {"type":"tool_use","id":"t","name":"get","input":{"a":"b"}}],"stop_reason":"tool_use",
        "usage":{"input_tokens":10,"cache_creation_input_tokens":100,"cache_read_input_tokens":1000,"output_tokens":5}}"#;
    let expected = Usage {
        cached_tokens: Some(1000),
        cache_write_tokens: Some(100),
        events: 1,
        output_chars: 2,
        output_pieces: 1,
        tool_calls: names(&["get"]),
        ..usage((1110, 5), "claude", "msg_1", &["tool_use"])
    };
    check(JSON, body.as_bytes(), &expected);
}

#[test]
fn anthropic_output_is_cumulative_in_a_stream() {
    let body = concat!(
        "event: message_start\ndata: {\"type\":\"message_start\",\"message\":{\"id\":\"msg_1\",\"model\":\"claude\",\"content\":[],\"stop_reason\":null,\"usage\":{\"input_tokens\":10,\"cache_creation_input_tokens\":0,\"cache_read_input_tokens\":90,\"output_tokens\":1}}}\n\n",
        "event: ping\ndata: {\"type\":\"ping\"}\n\n",
        "event: content_block_start\ndata: {\"type\":\"content_block_start\",\"index\":0,\"content_block\":{\"type\":\"tool_use\",\"id\":\"t\",\"name\":\"get\",\"input\":{}}}\n\n",
        "event: content_block_delta\ndata: {\"type\":\"content_block_delta\",\"delta\":{\"type\":\"text_delta\",\"text\":\"abc\"}}\n\n",
        "event: content_block_delta\ndata: {\"type\":\"content_block_delta\",\"delta\":{\"type\":\"input_json_delta\",\"partial_json\":\"{\\\"\"}}\n\n",
        "event: message_delta\ndata: {\"type\":\"message_delta\",\"delta\":{\"stop_reason\":\"end_turn\"},\"usage\":{\"output_tokens\":12}}\n\n",
        "event: message_delta\ndata: {\"type\":\"message_delta\",\"delta\":{},\"usage\":{\"output_tokens\":15}}\n\n",
        "event: message_stop\ndata: {\"type\":\"message_stop\"}\n\n",
    );
    let expected = Usage {
        cached_tokens: Some(90),
        cache_write_tokens: Some(0),
        events: 8,
        output_chars: 5,
        output_pieces: 2,
        tool_calls: names(&["get"]),
        ..usage((100, 15), "claude", "msg_1", &["end_turn"])
    };
    check(SSE, body.as_bytes(), &expected);
}

const GEMINI: [&str; 2] = [
    r#"{"candidates":[{"content":{"parts":[{"text":"abc"},{"functionCall":{"name":"f","args":{"x":1}}}]}}],"usageMetadata":{"promptTokenCount":9,"candidatesTokenCount":1},"modelVersion":"gemini-x","responseId":"r"}"#,
    r#"{"candidates":[{"content":{"parts":[{"text":"de"}]},"finishReason":"STOP"}],"usageMetadata":{"promptTokenCount":9,"candidatesTokenCount":4,"thoughtsTokenCount":20,"cachedContentTokenCount":6,"totalTokenCount":33}}"#,
];

#[test]
fn gemini_is_the_same_as_array_as_events_and_output_includes_thoughts() {
    let [first, second] = GEMINI;
    let expected = Usage {
        cached_tokens: Some(6),
        reasoning_tokens: Some(20),
        events: 2,
        output_chars: 5,
        output_pieces: 2,
        tool_calls: names(&["f"]),
        ..usage((9, 24), "gemini-x", "r", &["STOP"])
    };
    check(JSON, format!("[{first}\n,\r\n{second}\n]").as_bytes(), &expected);
    check(SSE, format!("data: {first}\r\n\r\ndata: {second}\r\n\r\n").as_bytes(), &expected);
}

#[test]
fn ollama_says_at_the_end_what_it_took() {
    let chat = concat!(
        "{\"model\":\"llama3\",\"message\":{\"role\":\"assistant\",\"content\":\"hel\"},\"done\":false}\n",
        "broken line\n",
        "{\"model\":\"llama3\",\"message\":{\"role\":\"assistant\",\"content\":\"lo\",\"tool_calls\":[{\"function\":{\"name\":\"f\"}}]},\"done\":false}\n",
        "{\"model\":\"llama3\",\"message\":{\"content\":\"\"},\"done\":true,\"done_reason\":\"stop\",\"prompt_eval_count\":26,\"eval_count\":298}",
    );
    let expected = Usage {
        events: 3,
        output_chars: 5,
        output_pieces: 2,
        tool_calls: names(&["f"]),
        ..usage((26, 298), "llama3", "", &["stop"])
    };
    check(NDJSON, chat.as_bytes(), &expected);
    let generate = "{\"model\":\"llama3\",\"response\":\"hello\",\"done\":true,\"prompt_eval_count\":26,\"eval_count\":298}\n";
    check(
        NDJSON,
        generate.as_bytes(),
        &Usage { events: 1, output_chars: 5, output_pieces: 1, ..usage((26, 298), "llama3", "", &[]) },
    );
}

#[test]
fn bedrock_is_read_from_its_body() {
    let body = r#"{"output":{"message":{"role":"assistant","content":[{"text":"abc"},{"toolUse":{"name":"f","input":{}}}]}},
        "stopReason":"tool_use","usage":{"inputTokens":30,"outputTokens":6,"totalTokens":136,"cacheReadInputTokens":70,"cacheWriteInputTokens":30}}"#;
    let expected = Usage {
        cached_tokens: Some(70),
        cache_write_tokens: Some(30),
        events: 1,
        output_chars: 3,
        output_pieces: 1,
        tool_calls: names(&["f"]),
        ..usage((130, 6), "", "", &["tool_use"])
    };
    check(JSON, body.as_bytes(), &expected);
}

#[test]
fn bedrock_invoke_is_read_from_its_headers() {
    let mut reader = AnswerReader::new(
        &call(),
        &[
            ("content-type", b"application/json"),
            ("x-amzn-bedrock-input-token-count", b"12"),
            ("x-amzn-bedrock-output-token-count", b" 34 "),
            ("x-amzn-bedrock-cache-read-input-token-count", b"5"),
            ("x-amzn-bedrock-cache-write-input-token-count", b"many"),
        ],
    );
    reader.push(br#"{"generation":"x"}"#);
    let expected = Usage { cached_tokens: Some(5), events: 1, ..usage((17, 34), "", "", &[]) };
    assert_eq!(reader.end(), expected);
}

/// A message of AWS's event stream, independently of the code under test.
fn message(payload: &str) -> Vec<u8> {
    let crc = |bytes: &[u8]| {
        let shift = |value: u32, _| if value & 1 == 1 { value >> 1 ^ 0xedb8_8320 } else { value >> 1 };
        !bytes.iter().fold(u32::MAX, |crc, byte| (0..8).fold(crc ^ u32::from(*byte), shift))
    };
    let headers = b"\x0b:event-type\x07\0\x05chunk";
    let mut bytes = u32::try_from(16 + headers.len() + payload.len()).unwrap().to_be_bytes().to_vec();
    bytes.extend_from_slice(&u32::try_from(headers.len()).unwrap().to_be_bytes());
    bytes.extend_from_slice(&crc(&bytes).to_be_bytes());
    bytes.extend_from_slice(headers);
    bytes.extend_from_slice(payload.as_bytes());
    bytes.extend_from_slice(&crc(&bytes).to_be_bytes());
    bytes
}

#[test]
fn bedrock_streams_are_read_from_their_messages() {
    let converse = [
        message(r#"{"contentBlockIndex":0,"start":{"toolUse":{"toolUseId":"t","name":"f"}}}"#),
        message(r#"{"contentBlockIndex":0,"delta":{"text":"abc"},"p":"abcdefgh"}"#),
        message(r#"{"stopReason":"end_turn"}"#),
        message(r#"{"metrics":{"latencyMs":5},"usage":{"inputTokens":3,"outputTokens":4,"totalTokens":7}}"#),
    ];
    let expected = Usage {
        events: 4,
        output_chars: 3,
        output_pieces: 1,
        tool_calls: names(&["f"]),
        ..usage((3, 4), "", "", &["end_turn"])
    };
    check(MESSAGES, &converse.concat(), &expected);

    // {"type":"content_block_delta","delta":{"type":"text_delta","text":"abc"}}
    let delta = "eyJ0eXBlIjoiY29udGVudF9ibG9ja19kZWx0YSIsImRlbHRhIjp7InR5cGUiOiJ0ZXh0X2RlbHRhIiwidGV4dCI6ImFiYyJ9fQ==";
    // {"amazon-bedrock-invocationMetrics":{"inputTokenCount":8,"outputTokenCount":9}}
    let metrics = "eyJhbWF6b24tYmVkcm9jay1pbnZvY2F0aW9uTWV0cmljcyI6eyJpbnB1dFRva2VuQ291bnQiOjgsIm91dHB1dFRva2VuQ291bnQiOjl9fQ==";
    let invoke = [delta, metrics].map(|chunk| message(&format!(r#"{{"bytes":"{chunk}","p":"abc"}}"#)));
    check(
        MESSAGES,
        &invoke.concat(),
        &Usage { events: 2, output_chars: 3, output_pieces: 1, ..usage((8, 9), "", "", &[]) },
    );
}

#[test]
fn a_chunk_within_a_chunk_is_not_opened() {
    // {"bytes":"…"}, of which the text is {"amazon-bedrock-invocationMetrics":{"inputTokenCount":8}}
    let chunk = "eyJieXRlcyI6ImV5SmhiV0Y2YjI0dFltVmtjbTlqYXkxcGJuWnZZMkYwYVc5dVRXVjBjbWxqY3lJNmV5SnBibkIxZEZSdmEyVnVRMjkxYm5RaU9qaDlmUT09In0=";
    let bytes = message(&format!(r#"{{"bytes":"{chunk}"}}"#));
    check(MESSAGES, &bytes, &Usage { events: 1, ..Usage::default() });
}

#[test]
fn an_exception_in_a_stream_is_why_it_ended() {
    let refusal =
        Refusal { status: 429, reason: "spent", message: "The budget is spent", rule: None, request_id: "1" };
    let operation = Operation { provider: Some("bedrock".into()), ..call() };
    let bytes = cut(&operation, &Asked::default(), &refusal, Framing::EventStream);
    let expected = Usage { finish: names(&["throttlingException"]), events: 1, ..Usage::default() };
    check(MESSAGES, &bytes, &expected);
}

#[test]
fn what_cannot_be_read_says_nothing_and_harms_nothing() {
    let nothing = Usage::default();
    for (kind, body) in [
        (JSON, "<html>{\"usage\":{\"prompt_tokens\":1}}</html>"),
        (JSON, ""),
        (JSON, "]]]]"),
        ("text/html", "{\"usage\":{\"prompt_tokens\":1}}"),
        ("application/octet-stream", "{\"usage\":{\"prompt_tokens\":1}}"),
        (SSE, "{\"usage\":{\"prompt_tokens\":1}}\n\n"),
        (MESSAGES, "{\"usage\":{\"prompt_tokens\":1}}"),
        (JSON, "{\"usage\":{\"prompt_tokens\":-1,\"completion_tokens\":1.5}"),
        (JSON, "{\"usage\":{\"prompt_tokens\":\"1\",\"completion_tokens\":99999999999999999999999}"),
        (JSON, "{\"usage/prompt_tokens\":1,\"x\":{\"usage\":{\"prompt_tokens\":1}}"),
    ] {
        check(kind, body.as_bytes(), &nothing);
    }
    let after = "data: {{{\n\ndata: {\"usage\":{\"prompt_tokens\":1,\"completion_tokens\":2}}\n\n";
    check(SSE, after.as_bytes(), &Usage { events: 2, ..usage((1, 2), "", "", &[]) });
}

#[test]
fn counts_that_overflow_are_the_largest_there_is() {
    let most = u64::MAX;
    let body = format!(
        r#"{{"usage":{{"input_tokens":{most},"cache_read_input_tokens":{most},"output_tokens":{most}}}}}"#
    );
    let expected = Usage { cached_tokens: Some(most), events: 1, ..usage((most, most), "", "", &[]) };
    check(JSON, body.as_bytes(), &expected);
}

#[test]
fn long_lines_and_texts_are_read_without_being_kept() {
    let text = "ü".repeat(1 << 20);
    let body =
        format!("data: {{\"model\":\"{text}\",\"choices\":[{{\"delta\":{{\"content\":\"{text}\"}}}}]}}\n\n");
    let usage = read(SSE, body.as_bytes().chunks(4096));
    assert_eq!(usage.model.unwrap().len(), 512);
    assert_eq!((usage.output_chars, usage.events), (1 << 20, 1));
}

#[test]
fn tokens_are_estimated_until_they_are_told() {
    for (chars, expected) in [(0, 0), (1, 1), (4, 1), (5, 2), (u64::MAX, 1 << 62)] {
        assert_eq!(estimate(chars), expected);
    }
}

proptest! {
    #[test]
    fn where_an_answer_is_split_changes_nothing(
        at in 0_usize..400,
        with in r#"[{}\[\]":,\r\n\\ d1]{0,3}"#,
        size in 1_usize..9,
        which in 0_usize..3,
    ) {
        let [first, second] = GEMINI;
        let (kind, body) = [
            (JSON, format!("[{first},{second}]")),
            (SSE, format!("data: {first}\r\n\r\ndata: {second}\n\n")),
            (NDJSON, format!("{first}\n{second}\n")),
        ][which].clone();
        let mut bytes = body.into_bytes();
        bytes.splice(at..at, with.bytes());
        prop_assert_eq!(read(kind, std::iter::once(&bytes[..])), read(kind, bytes.chunks(size)));
    }

    #[test]
    fn where_messages_are_split_changes_nothing(flipped in 0_usize..300, size in 1_usize..40) {
        let mut bytes: Vec<u8> = GEMINI.map(message).concat();
        bytes[flipped] ^= 1;
        prop_assert_eq!(read(MESSAGES, std::iter::once(&bytes[..])), read(MESSAGES, bytes.chunks(size)));
    }
}
