//! What must not leave is found in answers, in every form in which a server gives them.

#![allow(
    clippy::unwrap_used,
    clippy::panic,
    clippy::indexing_slicing,
    reason = "a test's helpers fail the test"
)]

use crate::support;
use http::{Request, StatusCode};
use http_body_util::Full;
use hyper::body::Bytes;
use ingress::{End, Reason};
use std::time::Duration;
use support::canned::{Canned, answer, server};
use support::chat;
use tokio::io::{AsyncReadExt, AsyncWriteExt};

const TOKEN: &str = "sk_live_k3J9fLq0ZxVb7NwR2tYcPm5sQd8eHg1u";
const MASKED: &str = "[secret removed: stripe-key]";
const PROMPT: &str =
    "You are Ada. Never tell anybody that refunds above 50 euros are granted when asked three times.";

fn ask(stream: bool) -> Request<Full<Bytes>> {
    let body = serde_json::json!({"model": "m", "stream": stream, "messages": [
        {"role": "system", "content": PROMPT}, {"role": "user", "content": "hi"}]});
    chat(&body.to_string())
}

fn events(text: &str) -> String {
    let letters: Vec<char> = text.chars().collect();
    let events = letters.chunks(3).map(|piece| {
        let content: String = piece.iter().collect();
        format!("data: {}\n\n", serde_json::json!({"choices": [{"index": 0, "delta": {"content": content}}]}))
    });
    events.collect::<String>() + "data: [DONE]\n\n"
}

fn said(events: &str) -> String {
    let data = events.split("\n\n").filter_map(|event| event.strip_prefix("data: "));
    let values = data.filter_map(|data| serde_json::from_str::<serde_json::Value>(data).ok());
    values.filter_map(|value| value["choices"][0]["delta"]["content"].as_str().map(str::to_owned)).collect()
}

#[tokio::test]
async fn a_stream_goes_on_with_a_marker_in_place_of_what_a_model_wrote_piece_by_piece() {
    for size in [1, 50, 100_000] {
        let body = events(&format!("The token is {TOKEN}. Use it well."));
        let (address, seen) = server(answer("text/event-stream", body.as_bytes(), size)).await;
        let world = Canned::new("responses: {leaks: {secrets: Mask}}", address);
        let mut request = ask(true);
        request.headers_mut().insert("range", "bytes=0-9".parse().unwrap());
        let (status, body) = world.ask(request).await;
        assert_eq!((status, said(&body)), (StatusCode::OK, format!("The token is {MASKED}. Use it well.")));
        assert!(body.ends_with("data: [DONE]\n\n"), "{body}");
        let asked = seen.lock().unwrap().clone();
        assert!(asked.contains("accept-encoding: identity"), "nothing compressed is asked for");
        assert!(!asked.contains("range:"), "and nothing in parts");
        let record = world.record().await;
        let leak = &record.leaks[0];
        assert_eq!((leak.rule, leak.class, leak.action, leak.count), ("stripe-key", "secret", "masked", 1));
        assert_eq!((record.reason, record.end), (Reason::Allowed, End::Closed));
    }
}

#[tokio::test]
async fn a_stream_is_cut_before_what_must_not_leave_with_an_error_in_its_own_form() {
    let repeated = "Well: never tell anybody that refunds above 50 euros are granted when asked, so";
    for (leaks, told, rule) in [
        ("secrets: Block", format!("It is {TOKEN} and more"), "stripe-key"),
        ("systemPrompt: Block", repeated.to_owned(), "system-prompt"),
        ("personal: Block", "My card is 4111 1111 1111 1111, thanks".to_owned(), "payment-card"),
        (
            "canaries: {values: [a-canary-of-ours], action: Block}",
            "so a-canary-of-ours it is".to_owned(),
            "canary",
        ),
    ] {
        let (address, _) = server(answer("text/event-stream", events(&told).as_bytes(), 40)).await;
        let world = Canned::new(&format!("responses: {{leaks: {{{leaks}}}}}"), address);
        let (_, body) = world.ask(ask(true)).await;
        let so_far = said(&body);
        assert!(told.starts_with(&so_far) && so_far.len() < 15, "{so_far}");
        assert!(body.contains("leak-blocked") && body.ends_with("data: [DONE]\n\n"), "{body}");
        let record = world.record().await;
        assert_eq!((record.reason, record.end), (Reason::LeakBlocked, End::Cut));
        assert!(
            record.leaks[0].rule == rule && record.rule.as_ref().unwrap().contains("spec.responses"),
            "{record:?}"
        );
    }
}

#[tokio::test]
async fn an_answer_that_is_one_value_is_refused_whole_or_masked() {
    let body = serde_json::json!({"choices": [{"message": {"content": format!("so \"{TOKEN}\"")}}], "usage":
        {"prompt_tokens": 9, "completion_tokens": 2}})
    .to_string();
    for (action, expected) in
        [("Mask", StatusCode::OK), ("Report", StatusCode::OK), ("Block", StatusCode::FORBIDDEN)]
    {
        let (address, _) = server(answer("application/json; charset=utf-8", body.as_bytes(), 30)).await;
        let world = Canned::new(&format!("responses: {{leaks: {{secrets: {action}}}}}"), address);
        let (status, got) = world.ask(ask(false)).await;
        assert_eq!(status, expected, "{action}: {got}");
        let record = world.record().await;
        match action {
            "Mask" => assert_eq!(got, body.replace(TOKEN, MASKED)),
            "Report" => assert_eq!(got, body),
            _ => assert!(got.contains("leak-blocked") && !got.contains("sk_live"), "{got}"),
        }
        assert_eq!(record.leaks[0].rule, "stripe-key");
        if action == "Mask" {
            assert_eq!(record.usage.unwrap().output, Some(2), "what it says of its tokens is read");
        }
    }
}

#[tokio::test]
async fn compressed_answers_are_opened_and_what_cannot_be_looked_at_does_what_the_policy_says() {
    let gzip = |body: &str| {
        use std::io::Write;
        let mut encoder = flate2::write::GzEncoder::new(Vec::new(), flate2::Compression::default());
        encoder.write_all(body.as_bytes()).unwrap();
        encoder.finish().unwrap()
    };
    let told = events(&format!("so {TOKEN} it is"));
    let coded = answer("text/event-stream\r\ncontent-encoding: gzip", &gzip(&told), 20);
    let (address, _) = server(coded).await;
    let world = Canned::new("responses: {leaks: {secrets: Mask}}", address);
    let (_, body) = world.ask(ask(true)).await;
    assert_eq!(said(&body), format!("so {MASKED} it is"));
    for (kind, body) in [
        ("application/octet-stream", "bytes"),
        ("text/event-stream\r\ncontent-encoding: snappy", "bytes"),
        ("application/json", "no JSON"),
    ] {
        for (uninspected, status) in [("Deny", StatusCode::FORBIDDEN), ("Allow", StatusCode::OK)] {
            let (address, _) = server(answer(kind, body.as_bytes(), 3)).await;
            let world = Canned::new(
                &format!("responses: {{leaks: {{secrets: Mask}}, uninspected: {uninspected}}}"),
                address,
            );
            let (got, said) = world.ask(ask(false)).await;
            assert_eq!(got, status, "{kind} {uninspected}: {said}");
            let record = world.record().await;
            if uninspected == "Allow" {
                assert_eq!(said, body);
                assert!(record.detail.unwrap().starts_with("not inspected"));
            } else {
                assert_eq!(record.reason, Reason::Uninspected);
            }
        }
    }
}

#[tokio::test]
async fn what_a_model_says_in_a_web_socket_is_looked_through() {
    fn frame(text: &str) -> Vec<u8> {
        [&[0x81, u8::try_from(text.len()).unwrap()], text.as_bytes()].concat()
    }
    for (action, expected) in [("Mask", MASKED), ("Block", "must not get out")] {
        let head = "HTTP/1.1 101 Switching Protocols\r\nconnection: upgrade\r\nupgrade: websocket\r\n\r\n";
        let (first, second) = TOKEN.split_at(20);
        let told = ["{\"delta\":\"so ", first, "\"}"].concat();
        let sent = vec![head.into(), frame(&told), frame(&["{\"delta\":\"", second, " it is\"}"].concat())];
        let (address, seen) = server(sent).await;
        let world = Canned::new(&format!("responses: {{leaks: {{secrets: {action}}}}}"), address);
        let gateway = *world.inner.addresses().get(&80).unwrap();
        let mut stream = tokio::net::TcpStream::connect(gateway).await.unwrap();
        let ask = "GET /v1/realtime HTTP/1.1\r\nhost: models.example\r\nconnection: upgrade\r\nupgrade: websocket\r\n\
            sec-websocket-key: dGhlIHNhbXBsZSBub25jZQ==\r\nsec-websocket-version: 13\r\nsec-websocket-extensions: permessage-deflate\r\n\r\n";
        stream.write_all(ask.as_bytes()).await.unwrap();
        let mut got = Vec::new();
        let read = tokio::time::timeout(Duration::from_secs(20), stream.read_to_end(&mut got)).await;
        drop(read.unwrap());
        let got = String::from_utf8_lossy(&got).into_owned();
        assert!(
            got.starts_with("HTTP/1.1 101") && got.contains(expected) && !got.contains("sk_live"),
            "{got}"
        );
        assert!(!seen.lock().unwrap().contains("permessage"), "frames stay readable");
        drop(stream);
        assert_eq!(world.record().await.leaks[0].rule, "stripe-key");
    }
}

#[tokio::test]
async fn how_long_an_answer_in_chunks_is_its_chunks_say_alone() {
    let head =
        "HTTP/1.1 200 OK\r\nconnection: close\r\ncontent-length: 2\r\ntransfer-encoding: chunked\r\n\r\n";
    let (address, _seen) = server(vec![head.into(), b"5\r\nhello\r\n0\r\n\r\n".to_vec()]).await;
    let world = Canned::new("", address);
    assert_eq!(world.ask(ask(false)).await, (StatusCode::OK, "hello".to_owned()));
}
