//! How many requests and tokens a pod may use: what is spent is refused, or cut where it is under way.

#![allow(
    clippy::unwrap_used,
    clippy::panic,
    clippy::indexing_slicing,
    reason = "a test's helpers fail the test"
)]

mod support;

use gateway::{Ceiling, End, QuotaUse, Reason, RuleFacts, State, Window};
use http::StatusCode;
use http_body_util::BodyExt;
use policy::{Quota, Quotas, Requests};
use std::sync::Arc;
use std::time::{SystemTime, UNIX_EPOCH};
use support::ALLOWS;
use support::web::{Client, STREAMED, Way, World, anything, full, request, run, state_of};

/// Number of the pod's account.
const ACCOUNT: u32 = 16;
const QUESTION: &str = r#"{"model":"m"}"#;

fn limited(requests: Option<u64>, tokens: Option<u64>) -> Requests {
    let a_day = |day| Quota { hour: None, day };
    Requests { quotas: Quotas { requests: a_day(requests), tokens: a_day(tokens) }, ..anything() }
}

/// As the agent tells it, with what was used before.
fn state(world: &World, requests: Requests, used: QuotaUse) -> State {
    let mut state = state_of(requests, Ceiling::default(), Some(world.inspection.clone()));
    state.quota_use = [(ACCOUNT, used)].into();
    for pod in state.pods.values_mut() {
        let facts = RuleFacts { quota: Some(ACCOUNT), ..(*pod.rules[&ALLOWS]).clone() };
        pod.rules.insert(ALLOWS, Arc::new(facts));
    }
    state
}

fn today(requests_day: u64, tokens_day: u64) -> QuotaUse {
    let now = SystemTime::now().duration_since(UNIX_EPOCH).unwrap().as_secs();
    QuotaUse { day_start: now - now % 86_400, requests_day, tokens_day, ..QuotaUse::default() }
}

/// Asks for a chat that streams; its status and the answer, or nothing of one that broke off.
async fn chat(world: &World, client: &mut Client) -> (StatusCode, Option<String>) {
    let mut asked = request("POST", "/v1/chat/completions", full(QUESTION));
    asked.headers_mut().insert("x-stream", "1".parse().unwrap());
    asked.headers_mut().insert("content-type", "application/json".parse().unwrap());
    asked.headers_mut().insert("accept-encoding", "gzip".parse().unwrap());
    let (head, body) = client.send(asked).await.unwrap().into_parts();
    world.go_on.notify_one();
    let body = body.collect().await.ok();
    (head.status, body.map(|body| String::from_utf8(body.to_bytes().to_vec()).unwrap()))
}

#[test]
fn requests_beyond_the_quota_are_refused_also_after_a_change_of_policy() {
    for way in [Way::Clear, Way::Tls1, Way::Tls2] {
        let world = World::new(way, anything());
        world.proxy.table.replace(state(&world, limited(Some(3), None), today(1, 0)));
        run(async {
            let mut client = world.client().await;
            assert_eq!(client.get("/").await.0, StatusCode::OK);
            // What an agent knows may be old.
            world.proxy.table.replace(state(&world, limited(Some(3), None), today(1, 0)));
            assert_eq!(client.get("/").await.0, StatusCode::OK);
            let (status, fields, body) = client.get("/").await;
            assert_eq!(status, StatusCode::TOO_MANY_REQUESTS, "{way:?}");
            assert_eq!(fields["x-cofferdam-reason"], "quota-requests");
            assert!(body.contains("as many requests as the rule allows, in a day (UTC)"), "{body}");
        });
        let calls: Vec<_> = (0..3).map(|_| world.proxy.call()).collect();
        assert_eq!((calls[2].reason, calls[2].window), (Reason::QuotaRequests, Some(Window::Day)));
        assert_eq!((calls[1].reason, calls[1].window), (Reason::RequestAllowed, None));
    }
}

#[test]
fn tokens_are_counted_as_the_provider_does_and_then_refused() {
    let world = World::new(Way::Tls1, anything());
    // About four for the question and ten for the answer; then ten by the provider's count.
    world.proxy.table.replace(state(&world, limited(None, Some(14)), today(0, 0)));
    run(async {
        let mut client = world.client().await;
        let (status, body) = chat(&world, &mut client).await;
        assert_eq!((status, body), (StatusCode::OK, Some([STREAMED.0, STREAMED.1].concat())));
        // Four are left, and no answer could be.
        let (status, body) = chat(&world, &mut client).await;
        assert_eq!(status, StatusCode::OK);
        assert!(body.unwrap().contains("quota-tokens"));
        // A connection on which a stream was cut is over.
        let (status, _) = chat(&world, &mut world.client().await).await;
        assert_eq!(status, StatusCode::TOO_MANY_REQUESTS);
    });
    let seen = world.seen.recv().unwrap();
    assert_eq!(seen.headers["accept-encoding"], "identity", "what is coded cannot be cut");
}

#[test]
fn a_stream_is_cut_between_two_events_when_its_tokens_are_spent() {
    for way in [Way::Clear, Way::Tls1, Way::Tls2] {
        let world = World::new(way, anything());
        world.proxy.table.replace(state(&world, limited(None, Some(13)), today(0, 0)));
        let (status, body) = run(async { chat(&world, &mut world.client().await).await });
        let body = body.unwrap();
        assert_eq!(status, StatusCode::OK, "{way:?}");
        assert!(body.starts_with("data: {\"error\":"), "{body}");
        assert!(body.ends_with("data: [DONE]\n\n"), "{body}");
        assert!(body.contains("as many tokens as the rule allows"), "{body}");
        let call = world.proxy.call();
        assert_eq!((call.reason, call.end), (Reason::QuotaTokens, End::Cut));
        assert_eq!((call.window, call.bytes_down), (Some(Window::Day), body.len() as u64));
    }
}

#[test]
fn a_question_that_would_take_more_than_is_left_is_refused() {
    let world = World::new(Way::Clear, anything());
    world.proxy.table.replace(state(&world, limited(None, Some(100)), today(0, 97)));
    run(async {
        let mut client = world.client().await;
        assert_eq!(chat(&world, &mut client).await.0, StatusCode::TOO_MANY_REQUESTS);
        assert_eq!(client.get("/").await.0, StatusCode::OK, "what is no call has no tokens");
    });
    assert_eq!(world.proxy.call().reason, Reason::QuotaTokens);
}

#[test]
fn without_a_number_a_pod_has_an_account_all_the_same() {
    let world = World::new(Way::Clear, limited(Some(1), None));
    run(async {
        let mut client = world.client().await;
        assert_eq!(client.get("/").await.0, StatusCode::OK);
        assert_eq!(client.get("/").await.0, StatusCode::TOO_MANY_REQUESTS);
    });
}

#[test]
fn an_answer_that_is_none_takes_no_tokens() {
    let world = World::new(Way::Clear, anything());
    world.proxy.table.replace(state(&world, limited(None, Some(5)), today(0, 0)));
    run(async {
        let mut client = world.client().await;
        for _ in 0..3 {
            let mut asked = request("POST", "/v1/chat/completions", full(QUESTION));
            asked.headers_mut().insert("x-location", "/elsewhere".parse().unwrap());
            let answer = client.send(asked).await.unwrap();
            assert_eq!(answer.status(), StatusCode::FOUND);
            answer.into_body().collect().await.unwrap();
        }
    });
}
