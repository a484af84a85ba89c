//! How many requests and tokens a pod may use: what is spent is refused, or cut where it is under way.

#![allow(
    clippy::unwrap_used,
    clippy::panic,
    clippy::indexing_slicing,
    reason = "a test's helpers fail the test"
)]

#[path = "support/store.rs"]
mod store;
use crate::support;
use gateway::{
    Ceiling, Cost, End, Price, Prices, QuotaUse, Reason, RuleFacts, State, StoreAddress, StoreMeans,
    WhenDown, Window,
};
use http::{Request, StatusCode};
use http_body_util::BodyExt;
use policy::{DomainPattern, Glob, NANOS, ProviderEgress, Quota, Quotas, Requests};
use std::sync::Arc;
use std::time::{SystemTime, UNIX_EPOCH};
use store::Server;
use support::ALLOWS;
use support::web::{Body, Client, STREAMED, Step, Way, World, anything, full, request, run, state_of, steps};

/// Number of the pod's account.
const ACCOUNT: u32 = 16;
/// 29 bytes, which are taken for ten tokens.
const QUESTION: &str = r#"{"model":"m","max_tokens":10}"#;

fn limited(requests: Option<u64>, tokens: Option<u64>) -> Requests {
    let a_day = |day| Quota { hour: None, day };
    Requests {
        quotas: Quotas { requests: a_day(requests), tokens: a_day(tokens), ..Quotas::default() },
        ..anything()
    }
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

/// A question to a chat that streams.
fn streamed(question: &str) -> Request<Body> {
    let mut asked = request("POST", "/v1/chat/completions", full(question.to_owned()));
    asked.headers_mut().insert("x-stream", "1".parse().unwrap());
    asked.headers_mut().insert("content-type", "application/json".parse().unwrap());
    asked.headers_mut().insert("accept-encoding", "gzip".parse().unwrap());
    asked
}

/// Asks for a chat that streams; its status and the answer, or nothing of one that broke off.
async fn chat(world: &World, client: &mut Client, question: &str) -> (StatusCode, Option<String>) {
    let (head, body) = client.send(streamed(question)).await.unwrap().into_parts();
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
    // Ten for the question and ten for the answer are set aside; ten in all by the provider's count.
    world.proxy.table.replace(state(&world, limited(None, Some(30)), today(0, 0)));
    run(async {
        let mut client = world.client().await;
        for _ in 0..2 {
            let (status, body) = chat(&world, &mut client, QUESTION).await;
            assert_eq!((status, body), (StatusCode::OK, Some([STREAMED.0, STREAMED.1].concat())));
        }
        let (status, body) = chat(&world, &mut client, QUESTION).await;
        assert_eq!(status, StatusCode::TOO_MANY_REQUESTS);
        let body = body.unwrap();
        assert!(body.contains("20 tokens are set aside for it, 10 are left"), "{body}");
        let smaller = r#"{"model":"m"}"#.replace('}', r#","max_tokens":0}"#);
        assert_eq!(chat(&world, &mut client, &smaller).await.0, StatusCode::OK, "a smaller one fits");
    });
    let seen = world.seen.recv().unwrap();
    assert_eq!(seen.headers["accept-encoding"], "identity", "what is coded cannot be cut");
}

#[test]
fn what_calls_under_way_may_take_is_set_aside_and_a_refusal_says_when_there_is_more() {
    let world = World::new(Way::Tls2, anything());
    world.proxy.table.replace(state(&world, limited(None, Some(30)), today(0, 0)));
    run(async {
        let (mut one, mut other) = (world.client().await, world.client().await);
        let under_way = one.send(streamed(QUESTION)).await.unwrap();
        let refused = other.send(streamed(QUESTION)).await.unwrap();
        assert_eq!(refused.status(), StatusCode::TOO_MANY_REQUESTS);
        assert_eq!(refused.headers()["x-cofferdam-reason"], "quota-tokens");
        let wait: u64 = refused.headers()["retry-after"].to_str().unwrap().parse().unwrap();
        assert!((1..=86_400).contains(&wait), "{wait}");
        world.go_on.notify_one();
        under_way.into_body().collect().await.unwrap();
        assert_eq!(
            chat(&world, &mut other, QUESTION).await.0,
            StatusCode::OK,
            "what it did not take is left"
        );
        let never = QUESTION.replace("10", "99");
        let refused = other.send(streamed(&never)).await.unwrap();
        assert_eq!(refused.status(), StatusCode::TOO_MANY_REQUESTS);
        assert!(!refused.headers().contains_key("retry-after"), "no day has as much");
    });
}

#[test]
fn who_does_not_wait_for_an_answer_pays_for_it_all_the_same() {
    for way in [Way::Clear, Way::Tls2] {
        let world = World::new(way, anything());
        world.proxy.table.replace(state(&world, limited(None, Some(30)), today(0, 0)));
        run(async {
            let mut client = world.client().await;
            let mut asked = streamed(QUESTION);
            asked.headers_mut().insert("x-wait", "1".parse().unwrap());
            tokio::select! {
                _answered = client.send(asked) => panic!("nobody answers"),
                () = world.began.notified() => {}
            }
        });
        assert_eq!(world.proxy.call().status, 0, "{way:?}");
        let status = run(async { chat(&world, &mut world.client().await, QUESTION).await.0 });
        assert_eq!(status, StatusCode::TOO_MANY_REQUESTS, "{way:?}: twenty of thirty are set aside");
    }
}

#[test]
fn of_an_answer_in_one_piece_that_is_not_taken_whole_all_is_paid() {
    let world = World::new(Way::Tls2, anything());
    // Fewer than four characters of it come.
    world.proxy.table.replace(state(&world, limited(None, Some(30)), today(0, 0)));
    run(async {
        let mut client = world.client().await;
        let mut asked = request("POST", "/v1/chat/completions", full(QUESTION));
        asked.headers_mut().insert("x-begun", "1".parse().unwrap());
        let mut answer = client.send(asked).await.unwrap();
        answer.body_mut().frame().await.unwrap().unwrap();
    });
    assert_ne!(world.proxy.call().end, End::Closed);
    let status = run(async { chat(&world, &mut world.client().await, QUESTION).await.0 });
    assert_eq!(status, StatusCode::TOO_MANY_REQUESTS, "twenty of thirty are set aside");
}

#[test]
fn a_question_is_counted_whatever_it_says_that_it_is_and_sound_is_not() {
    let world = World::new(Way::Clear, anything());
    world.proxy.table.replace(state(&world, limited(None, Some(4100)), today(0, 0)));
    run(async {
        let mut client = world.client().await;
        let question = QUESTION.replace("10", "99999");
        for (name, value) in [("content-type", "image/png"), ("connection", "content-type")] {
            let mut asked = streamed(&question);
            asked.headers_mut().insert("content-type", "image/png".parse().unwrap());
            asked.headers_mut().insert(name, value.parse().unwrap());
            assert_eq!(client.send(asked).await.unwrap().status(), StatusCode::TOO_MANY_REQUESTS, "{name}");
        }
        let form = "--B\r\nContent-Disposition: form-data; name=\"model\"\r\n\r\nm\r\n--B--\r\n";
        let mut asked = request("POST", "/v1/audio/transcriptions", full(form));
        let kind = "multipart/form-data; boundary=B".parse().unwrap();
        asked.headers_mut().insert("content-type", kind);
        assert_eq!(client.send(asked).await.unwrap().status(), StatusCode::OK, "4096 for its answer alone");
    });
}

#[test]
fn a_limit_at_the_end_of_a_body_that_comes_piece_by_piece_is_seen_before_the_body_goes_on() {
    let world = World::new(Way::Clear, anything());
    world.proxy.table.replace(state(&world, limited(None, Some(100)), today(0, 0)));
    run(async {
        let pieces = [r#"{"model":"m","#, r#""max_tok"#, r#"ens":99999}"#];
        let body = steps(pieces.map(|piece| Step::Piece(piece.into())));
        let answer = world.client().await.send(request("POST", "/v1/chat/completions", body)).await.unwrap();
        assert_eq!(answer.status(), StatusCode::TOO_MANY_REQUESTS);
    });
    assert!(world.seen.try_recv().is_err(), "nothing of it went on");
    let call = world.proxy.call();
    assert_eq!(call.shortfall.map(|it| (it.needed > 99_999, it.left)), Some((true, 100)));
}

#[test]
fn a_conversation_that_cannot_be_counted_is_refused_where_tokens_are_limited() {
    let world = World::new(Way::Tls1, anything());
    let provider_egress = ProviderEgress { domains: vec![DomainPattern::Any], ..ProviderEgress::default() };
    let requests = Requests { provider_egress, ..limited(None, Some(100)) };
    world.proxy.table.replace(state(&world, requests, today(0, 0)));
    run(async {
        let mut asked = request("GET", "/v1/realtime?model=m", full(""));
        for (name, value) in [
            ("connection", "upgrade"),
            ("upgrade", "websocket"),
            ("sec-websocket-version", "13"),
            ("sec-websocket-key", "AAAAAAAAAAAAAAAAAAAAAA=="),
        ] {
            asked.headers_mut().insert(name, value.parse().unwrap());
        }
        assert_eq!(world.client().await.send(asked).await.unwrap().status(), StatusCode::FORBIDDEN);
    });
    assert_eq!(world.proxy.call().reason, Reason::QuotaUnread);
}

fn posted(path: &str, body: &str) -> Request<Body> {
    let mut asked = request("POST", path, full(body.to_owned()));
    asked.headers_mut().insert("content-type", "application/json".parse().unwrap());
    asked
}

#[test]
fn a_batch_takes_what_each_of_its_requests_may_and_one_whose_requests_are_elsewhere_is_refused() {
    let world = World::new(Way::Tls1, anything());
    // A third of its bytes, and twice ten for the answers.
    let batch = r#"{"requests":[{"params":{"model":"m","max_tokens":10}},{"params":{"model":"m","max_tokens":"1e1"}}]} "#;
    let needed = batch.len() as u64 / 3 + 1 + 20;
    let provider_egress = ProviderEgress { domains: vec![DomainPattern::Any], ..ProviderEgress::default() };
    let requests = Requests { provider_egress, ..limited(None, Some(needed + 5)) };
    world.proxy.table.replace(state(&world, requests, today(0, 0)));
    run(async {
        let mut client = world.client().await;
        let elsewhere = r#"{"input_file_id":"f","endpoint":"/v1/chat/completions"}"#;
        let refused = client.send(posted("/v1/batches", elsewhere)).await.unwrap();
        assert_eq!(refused.status(), StatusCode::FORBIDDEN);
        assert_eq!(refused.headers()["x-cofferdam-reason"], "quota-unread");
        let first = client.send(posted("/v1/messages/batches", batch)).await.unwrap();
        assert_eq!(first.status(), StatusCode::OK);
        first.into_body().collect().await.unwrap();
        let second = client.send(posted("/v1/messages/batches", batch)).await.unwrap();
        assert_eq!(second.status(), StatusCode::TOO_MANY_REQUESTS, "what the first may take stays set aside");
        let odd = client.send(posted("/v1/chat/completions", r#"{"max_tokens":1e400}"#)).await.unwrap();
        assert_eq!(odd.headers()["x-cofferdam-reason"], "quota-unread");
    });
}

#[test]
fn a_limit_that_is_written_otherwise_is_set_aside_as_its_server_reads_it() {
    let world = World::new(Way::Tls1, anything());
    world.proxy.table.replace(state(&world, limited(None, Some(10_000)), today(0, 0)));
    run(async {
        let mut client = world.client().await;
        for limit in ["1e5", "100000.0", r#""100000""#] {
            let (status, body) = chat(&world, &mut client, &QUESTION.replace("10", limit)).await;
            assert_eq!(status, StatusCode::TOO_MANY_REQUESTS, "{limit}");
            assert!(body.unwrap().contains("1000"), "{limit}");
        }
    });
}

fn dear(world: &World, money: u64) -> State {
    let mut requests = limited(None, None);
    requests.quotas.money = Quota { hour: None, day: Some(money) };
    let price = |model: &str, input| Price {
        provider: "openai-compatible".into(),
        model: Glob::new(model),
        input,
        cached_input: None,
        cache_write: None,
        output: 10 * input,
    };
    // 1000 billionths for a token that goes in.
    let prices = vec![Arc::new(price("m", NANOS)), Arc::new(price("free", 0))];
    let prices = Some(Arc::new(Prices { currency: "EUR".into(), prices }));
    State { prices, ..state(world, requests, today(0, 0)) }
}

#[test]
fn money_is_set_aside_by_the_price_and_settled_by_the_providers_count() {
    let world = World::new(Way::Tls1, anything());
    // 10 in and 10 out cost 110 000 at most; 7 in and 3 out cost 37 000.
    world.proxy.table.replace(dear(&world, 150_000));
    run(async {
        let mut client = world.client().await;
        for _ in 0..2 {
            assert_eq!(chat(&world, &mut client, QUESTION).await.0, StatusCode::OK);
        }
        let (status, body) = chat(&world, &mut client, QUESTION).await;
        assert_eq!(status, StatusCode::TOO_MANY_REQUESTS);
        let body = body.unwrap();
        assert!(body.contains("0.00011 is set aside for it, 0.000076 is left"), "{body}");
        let free = QUESTION.replace("\"m\"", "\"free\"");
        assert_eq!(chat(&world, &mut client, &free).await.0, StatusCode::OK);
    });
    let calls: Vec<_> = (0..4).map(|_| world.proxy.call()).collect();
    let cost = |nanos| Some(Cost { nanos, is_estimated: false });
    assert_eq!(
        calls.iter().map(|it| it.cost).collect::<Vec<_>>(),
        [cost(37_000), cost(37_000), None, cost(0)]
    );
    assert_eq!((calls[2].reason, calls[2].window), (Reason::QuotaMoney, Some(Window::Day)));
}

#[test]
fn a_model_without_a_price_is_refused_where_money_is_limited_and_nowhere_else() {
    let world = World::new(Way::Clear, anything());
    world.proxy.table.replace(dear(&world, 1_000_000));
    let other = QUESTION.replace("\"m\"", "\"other\"");
    run(async {
        let mut client = world.client().await;
        let (status, body) = chat(&world, &mut client, &other).await;
        assert_eq!(status, StatusCode::FORBIDDEN);
        let body = body.unwrap();
        assert!(body.contains("no-price") && body.contains("this call of other"), "{body}");
        world.proxy.table.replace(State { prices: None, ..dear(&world, 1_000_000) });
        assert_eq!(chat(&world, &mut client, QUESTION).await.0, StatusCode::FORBIDDEN, "without any prices");
        assert_eq!(client.get("/").await.0, StatusCode::OK, "what is no call costs nothing");
        world.allow(anything());
        assert_eq!(chat(&world, &mut client, &other).await.0, StatusCode::OK);
    });
}

#[test]
fn what_a_call_costs_is_recorded_also_without_a_budget() {
    let world = World::new(Way::Clear, anything());
    let requests = anything();
    let unlimited = state(&world, requests, today(0, 0));
    world.proxy.table.replace(State { prices: dear(&world, 1).prices, ..unlimited });
    assert_eq!(run(async { chat(&world, &mut world.client().await, QUESTION).await.0 }), StatusCode::OK);
    assert_eq!(world.proxy.call().cost, Some(Cost { nanos: 37_000, is_estimated: false }));
}

#[test]
fn a_stream_is_cut_between_two_events_when_its_tokens_are_spent() {
    for way in [Way::Clear, Way::Tls1, Way::Tls2] {
        let world = World::new(way, anything());
        // Its limit is said to be 5, and its server does not hold to it: ten come in the first piece.
        world.proxy.table.replace(state(&world, limited(None, Some(18)), today(0, 0)));
        let question = QUESTION.replace("10", "5");
        let (status, body) = run(async { chat(&world, &mut world.client().await, &question).await });
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
        assert_eq!(chat(&world, &mut client, QUESTION).await.0, StatusCode::TOO_MANY_REQUESTS);
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
    world.proxy.table.replace(state(&world, limited(None, Some(20)), today(0, 0)));
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

/// As the agent of a node tells it that shares budgets.
fn sharing(world: &World, folder: &std::path::Path, requests: Requests) -> State {
    let mut state = state(world, requests, today(0, 0));
    state.store = Some(Arc::new(StoreMeans {
        address: StoreAddress::Unix(folder.join(store::SOCKET)),
        roots: None,
        user: None,
        password: None,
        node: "node".into(),
        down: WhenDown::Deny,
    }));
    for pod in state.pods.values_mut() {
        let shared = Some("team/Deployment/app rule".into());
        let facts = RuleFacts { shared, ..(*pod.rules[&ALLOWS]).clone() };
        pod.rules.insert(ALLOWS, Arc::new(facts));
    }
    state
}

#[test]
fn two_gateways_draw_on_one_budget_and_say_when_they_cannot() {
    let folder = tempfile::tempdir().unwrap();
    let server = Server::start(folder.path(), &[]);
    let [one, other] = [Way::Tls2, Way::Clear].map(|way| World::new(way, anything()));
    for world in [&one, &other] {
        world.proxy.table.replace(sharing(world, folder.path(), limited(Some(3), None)));
    }
    run(async {
        let (mut of_one, mut of_other) = (one.client().await, other.client().await);
        assert_eq!(of_one.get("/").await.0, StatusCode::OK);
        assert_eq!(of_other.get("/").await.0, StatusCode::OK);
        assert_eq!(of_one.get("/").await.0, StatusCode::OK);
        for client in [&mut of_one, &mut of_other] {
            let (status, fields, _) = client.get("/").await;
            assert_eq!(status, StatusCode::TOO_MANY_REQUESTS);
            assert_eq!(fields["x-cofferdam-reason"], "quota-requests");
            assert!(fields.contains_key("retry-after"));
        }
    });
    drop(server);
    store::wait_for(|| {
        let (status, fields, _) = run(async { other.client().await.get("/").await });
        status == StatusCode::SERVICE_UNAVAILABLE && fields["x-cofferdam-reason"] == "quota-store"
    });
    let last = std::iter::from_fn(|| Some(other.proxy.call())).find(|call| call.reason == Reason::QuotaStore);
    assert!(last.unwrap().without_store);
}
