//! What answers say of their tokens is in the records of calls, and the answers go on as they came.

#![allow(
    clippy::unwrap_used,
    clippy::panic,
    clippy::indexing_slicing,
    reason = "a test's helpers fail the test"
)]

use crate::support;
use gateway::{Call, End, Usage};
use http_body_util::BodyExt;
use support::web::{COMPLETED, COMPLETED_GZIP, STREAMED, Way, World, anything, full, request, run};

/// Asks for a chat that is answered as this field says; returns the answer's body and the record.
fn chat(way: Way, field: &'static str) -> (Vec<u8>, Call) {
    let world = World::new(way, anything());
    let body = run(async {
        let mut client = world.client().await;
        let mut asked = request("POST", "/v1/chat/completions", full(r#"{"model":"m"}"#));
        asked.headers_mut().insert(field, "1".parse().unwrap());
        let answer = client.send(asked).await.unwrap();
        world.go_on.notify_one();
        answer.into_body().collect().await.unwrap().to_bytes().to_vec()
    });
    (body, world.proxy.call())
}

#[test]
fn what_an_answer_says_of_its_tokens_is_recorded_however_it_comes() {
    let streamed = [STREAMED.0, STREAMED.1].concat();
    for way in [Way::Clear, Way::Tls1, Way::Tls2] {
        for (field, body, output) in [
            ("x-stream", streamed.as_bytes(), 3),
            ("x-completed", COMPLETED.as_bytes(), 2),
            ("x-gzip", COMPLETED_GZIP, 2),
        ] {
            let (came, call) = chat(way, field);
            assert_eq!(came, body, "{way:?} {field}");
            let usage = Usage {
                input_tokens: Some(7),
                output_tokens: Some(output),
                model: Some("m-1".into()),
                finish: vec!["stop".into()],
                ..Usage::default()
            };
            assert_eq!(call.usage, Some(usage), "{way:?} {field}");
            assert!(call.first_byte_micros.is_some_and(|after| after <= call.duration_micros));
            assert_eq!((call.end, call.bytes_down), (End::Closed, body.len() as u64));
        }
    }
}

#[test]
fn what_is_no_call_or_says_nothing_has_no_usage() {
    let world = World::new(Way::Clear, anything());
    run(async {
        let mut client = world.client().await;
        client.get("/x").await;
        client.get("/empty").await;
    });
    let (first, second) = (world.proxy.call(), world.proxy.call());
    assert_eq!((first.usage, second.usage, second.first_byte_micros), (None, None, None));
    let (_, call) = chat(Way::Clear, "x-nothing");
    assert_eq!(call.usage.and_then(|usage| usage.input_tokens), None);
}

#[test]
fn an_answer_that_nobody_reads_to_its_end_is_recorded_as_far_as_it_came() {
    let world = World::new(Way::Clear, anything());
    run(async {
        let mut client = world.client().await;
        let mut asked = request("POST", "/v1/chat/completions", full(r#"{"model":"m"}"#));
        asked.headers_mut().insert("x-stream", "1".parse().unwrap());
        let mut answer = client.send(asked).await.unwrap().into_body();
        answer.frame().await.unwrap().unwrap();
    });
    let call = world.proxy.call();
    assert_eq!(call.usage.and_then(|usage| usage.model).as_deref(), Some("m-1"));
    assert_ne!(call.end, End::Closed);
}
