//! Requests leave with the key of the rule that allows them, and with no other; where that cannot be, they do not leave.

#![allow(
    clippy::unwrap_used,
    clippy::panic,
    clippy::indexing_slicing,
    reason = "a test's helpers fail the test"
)]

use crate::support;
use gateway::{Ceiling, Keys, Limits, Named, Reason, RuleFacts, State};
use http::{HeaderMap, StatusCode};
use http_body_util::BodyExt;
use policy::table::{Cell, Row, Ruling};
use policy::{
    AnswerFiles, Credential, DnsName, Inject, Key, LeakAction, Operations, Protocol, Requests, RuleId,
    SecretRef, Verb, Verdict,
};
use std::sync::Arc;
use support::web::{Body, Client, Seen, Way, World, anything, full, request, rule, run, state_of};
use support::{ALLOWS, DENIES, Tls};

const TLS: [Way; 3] = [Way::Tls1, Way::Tls2, Way::TlsUnsaid];
const CHAT: &str = "/v1/chat/completions";
const KEY: &str = "sk-of-the-gateway";
/// SHA-256 of [`KEY`], by `printf %s sk-of-the-gateway | sha256sum`.
const FINGERPRINT: &str = "29927982e3a00d0616a91cebbee39437cf18311758fcb52a3d41baf763d165d2";
/// What the pod sends, in every place where a key can be.
const OWN: [(&str, &str); 8] = [
    ("authorization", "Bearer sk-of-the-pod"),
    ("x-api-key", "sk-of-the-pod"),
    ("api-key", "sk-of-the-pod"),
    ("x-goog-api-key", "sk-of-the-pod"),
    ("ocp-apim-subscription-key", "sk-of-the-pod"),
    ("cookie", "session=sk-of-the-pod"),
    ("proxy-authorization", "Basic c2s6b2Y="),
    ("x-auth-token", "sk-of-the-pod"),
];

fn secret(key: &str) -> SecretRef {
    SecretRef { namespace: "team".into(), name: "keys".into(), key: key.into() }
}

fn injecting(header: Option<&str>) -> Requests {
    let inject = Inject { secret: secret("openai"), header: header.map(Into::into) };
    Requests { inject: Some(inject), ..anything() }
}

fn keys(all: &[(&str, &str)]) -> Arc<Keys> {
    let key = |(name, key): &(&str, &str)| (secret(name), Key::read(key.as_bytes()).unwrap());
    Arc::new(all.iter().map(key).collect())
}

fn world(way: Way, requests: Requests, all: &[(&str, &str)]) -> World {
    let state = State { keys: keys(all), ..state_of(requests, Ceiling::default(), None) };
    World::before(&Tls::new(), way, state, Limits::default(), true)
}

fn asking(method: &str, target: &str, fields: &[(&'static str, &str)]) -> http::Request<Body> {
    let body = if method == "POST" { r#"{"model":"m","messages":[]}"# } else { "" };
    let mut asked = request(method, target, full(body));
    for (name, value) in fields {
        asked.headers_mut().append(*name, value.parse().unwrap());
    }
    asked
}

/// Status, and all that the client is told.
async fn told(client: &mut Client, asked: http::Request<Body>) -> (StatusCode, String) {
    let (head, body) = client.send(asked).await.unwrap().into_parts();
    let body = String::from_utf8_lossy(&body.collect().await.unwrap().to_bytes()).into_owned();
    (head.status, format!("{:?} {body}", head.headers))
}

/// Nothing of the pod's own is in it, and the key is in one field alone.
fn is_replaced(seen: &Seen, field: &str, value: &str) {
    let all = format!("{} {:?} {:?}", seen.target, texts(&seen.headers), seen.trailers);
    assert!(!all.contains("of-the-pod") && !all.contains("c2s6"), "{all}");
    assert_eq!(all.matches(KEY).count(), 1, "{all}");
    assert_eq!(seen.headers.get_all(field).iter().collect::<Vec<_>>(), [value], "{all}");
}

fn texts(fields: &HeaderMap) -> Vec<(String, String)> {
    let text = |(name, value): (&http::HeaderName, &http::HeaderValue)| {
        (name.to_string(), String::from_utf8_lossy(value.as_bytes()).into_owned())
    };
    fields.iter().map(text).collect()
}

#[test]
fn a_request_leaves_with_the_key_as_its_service_takes_it_and_without_the_pods() {
    for way in TLS {
        let world = world(way, injecting(None), &[("openai", KEY)]);
        for (target, field, value) in [
            (CHAT, "authorization", "Bearer sk-of-the-gateway"),
            ("/v1/messages", "x-api-key", KEY),
            ("/v1beta/models/m:generateContent?key=sk-of-the-pod&alt=sse", "x-goog-api-key", KEY),
            ("/v1/chat/completions?api_key=sk-of-the-pod", "authorization", "Bearer sk-of-the-gateway"),
        ] {
            run(async {
                let (status, answer) = told(&mut world.client().await, asking("POST", target, &OWN)).await;
                assert_eq!(status, StatusCode::OK, "{way:?} {target} {answer}");
                assert!(!answer.contains(KEY));
            });
            is_replaced(&world.seen.recv().unwrap(), field, value);
            let call = world.proxy.call();
            let injected = call.injected.clone().unwrap();
            assert_eq!(injected.secret, secret("openai"));
            assert_eq!(injected.credential, Credential::Sha256(FINGERPRINT.into()));
            assert_eq!(call.rule.as_deref(), Some("ClusterNetworkPolicy hub spec.egress[0]"));
            let shown = format!("{call:?} {}", serde_json::to_string(&call).unwrap());
            assert!(!shown.contains(KEY) && !shown.contains("of-the-pod"), "{shown}");
        }
    }
}

#[test]
fn a_rule_can_name_the_field_and_where_the_service_is_not_known_must() {
    for way in TLS {
        let named = world(way, injecting(Some("x-team-key")), &[("openai", KEY)]);
        let bearer = world(way, injecting(Some("authorization")), &[("openai", KEY)]);
        for (world, field, value) in
            [(named, "x-team-key", KEY), (bearer, "authorization", "Bearer sk-of-the-gateway")]
        {
            run(async {
                let own = [&OWN[..], &[("x-team-key", "sk-of-the-pod")]].concat();
                let (status, _) = told(&mut world.client().await, asking("POST", "/unheard/of", &own)).await;
                assert_eq!(status, StatusCode::OK);
            });
            let mut seen = world.seen.recv().unwrap();
            if field != "x-team-key" {
                // To another service it says nothing.
                seen.headers.remove("x-team-key");
            }
            is_replaced(&seen, field, value);
        }
        let world = world(way, injecting(None), &[("openai", KEY)]);
        let closed = closed(&world, asking("POST", "/unheard/of", &OWN));
        assert_eq!(closed, (StatusCode::FORBIDDEN, Reason::KeyForm));
    }
}

/// What becomes of a request that must not reach the server.
fn closed(world: &World, asked: http::Request<Body>) -> (StatusCode, Reason) {
    let (status, answer) = run(async { told(&mut world.client().await, asked).await });
    assert!(!answer.contains(KEY) && !answer.contains("of-the-pod"), "{answer}");
    let call = world.proxy.call();
    assert!(world.seen.try_recv().is_err(), "the server saw it");
    assert_eq!(call.injected, None);
    (status, call.reason)
}

#[test]
fn a_key_that_is_not_there_closes_what_its_rule_allows() {
    for way in TLS {
        let world = world(way, injecting(None), &[("another", KEY)]);
        let closed = closed(&world, asking("POST", CHAT, &OWN));
        assert_eq!(closed, (StatusCode::FORBIDDEN, Reason::KeyMissing), "{way:?}");
    }
}

#[test]
fn a_key_never_leaves_in_clear() {
    let world = world(Way::Clear, injecting(None), &[("openai", KEY)]);
    let closed = closed(&world, asking("POST", CHAT, &OWN));
    assert_eq!(closed, (StatusCode::FORBIDDEN, Reason::KeyInClear));
}

#[test]
fn a_server_that_does_not_verify_never_has_a_key() {
    let state =
        State { keys: keys(&[("openai", KEY)]), ..state_of(injecting(None), Ceiling::default(), None) };
    let world = World::before(&Tls::new(), Way::Tls1, state, Limits::default(), false);
    let (status, reason) = closed(&world, asking("POST", CHAT, &OWN));
    assert_eq!((status, reason), (StatusCode::BAD_GATEWAY, Reason::ServerCertificate));
}

#[test]
fn what_is_signed_is_refused_and_so_is_what_would_be_sent_back() {
    let signed =
        "AWS4-HMAC-SHA256 Credential=AKIA0123456789ABCDEF/20260101/eu/s3/aws4_request, SignedHeaders=host";
    for way in [Way::Tls1, Way::Tls2] {
        let world = world(way, injecting(Some("authorization")), &[("openai", KEY)]);
        for (method, target, fields, reason) in [
            ("POST", "/b/k", vec![("authorization", signed)], Reason::KeySigned),
            ("POST", "/b/k", vec![("authorization", "AWS4-HMAC-SHA256 x")], Reason::KeySigned),
            ("POST", "/b/k", vec![("authorization", "SharedKey me:c2ln")], Reason::KeySigned),
            ("POST", "/b/k?X-Amz-Credential=AKIA1%2F20260101%2Feu", vec![], Reason::KeySigned),
            ("POST", "/b/k?sv=1&sig=abc", vec![], Reason::KeySigned),
            ("TRACE", "/b/k", vec![], Reason::KeyForm),
        ] {
            let asked = asking(method, target, &fields);
            assert_eq!(
                closed(&world, asked),
                (StatusCode::FORBIDDEN, reason),
                "{method} {target} {fields:?}"
            );
        }
    }
}

#[test]
fn another_key_of_the_secret_holds_for_the_next_request_of_an_open_connection() {
    for way in TLS {
        let world = world(way, injecting(None), &[("openai", "sk-old")]);
        let change = |all: &[(&str, &str)]| {
            let inspection = Some(Arc::clone(&world.inspection));
            let state = state_of(injecting(None), Ceiling::default(), inspection);
            world.proxy.table.replace(State { keys: keys(all), ..state });
        };
        run(async {
            let mut client = world.client().await;
            for (all, expected) in [
                (&[("openai", "sk-old")][..], StatusCode::OK),
                (&[("openai", KEY)], StatusCode::OK),
                (&[], StatusCode::FORBIDDEN),
                (&[("openai", "sk-old")], StatusCode::OK),
            ] {
                change(all);
                assert_eq!(
                    told(&mut client, asking("POST", CHAT, &OWN)).await.0,
                    expected,
                    "{way:?} {all:?}"
                );
            }
        });
        let values: Vec<_> = world
            .seen
            .try_iter()
            .map(|seen| seen.headers["authorization"].to_str().unwrap().to_owned())
            .collect();
        assert_eq!(values, ["Bearer sk-old", "Bearer sk-of-the-gateway", "Bearer sk-old"]);
    }
}

#[test]
fn the_key_is_that_of_the_rule_that_allows_the_request() {
    let verbs = |verb: Verb| vec![Operations { verbs: [verb].into(), resources: vec![] }];
    let with = |key: &str| Some(Inject { secret: secret(key), header: Some("authorization".into()) });
    let rules = [
        (ALLOWS, Requests { operations: verbs(Verb::Upload), inject: with("openai"), ..Requests::default() }),
        (RuleId(18), Requests { operations: verbs(Verb::Call), ..Requests::default() }),
        (
            RuleId(19),
            Requests { operations: verbs(Verb::Call), inject: with("other"), ..Requests::default() },
        ),
        (
            RuleId(20),
            Requests { operations: verbs(Verb::Call), inject: with("openai"), ..Requests::default() },
        ),
    ];
    // One that demands more of a request decides, and it has no key.
    let answers = AnswerFiles { pickles: Some(LeakAction::Report), archives: None };
    let stricter = (RuleId(21), Requests { operations: verbs(Verb::Call), answers, ..Requests::default() });
    for (rules, expected) in
        [(rules.to_vec(), "Bearer sk-other"), ([&rules[..], &[stricter]].concat(), "Bearer sk-of-the-pod")]
    {
        let mut state = state_of(anything(), Ceiling::default(), None);
        for pod in state.pods.values_mut() {
            let usual = (*pod.rules[&ALLOWS]).clone();
            for (number, requests) in &rules {
                let requests = Some(rule(requests.clone(), true));
                pod.rules.insert(*number, Arc::new(RuleFacts { requests, ..usual.clone() }));
            }
        }
        let state = State { keys: keys(&[("openai", KEY), ("other", "sk-other")]), ..state };
        let world = World::before(&Tls::new(), Way::Tls1, state, Limits::default(), true);
        let (status, _) = run(async { told(&mut world.client().await, asking("POST", CHAT, &OWN)).await });
        assert_eq!(status, StatusCode::OK);
        assert_eq!(world.seen.recv().unwrap().headers["authorization"], expected);
    }
}

/// As [`world`], and a rule without a key allows everything of `other.example`.
fn world_with_another_host(way: Way) -> World {
    let mut state = state_of(injecting(None), Ceiling::default(), None);
    let other = RuleId(18);
    let row = Arc::new(Row {
        otherwise: Ruling { verdict: Verdict::Deny, rule: DENIES },
        cells: vec![Cell {
            protocol: Protocol::TCP,
            first: 0,
            last: 65535,
            ruling: Ruling { verdict: Verdict::Allow, rule: other },
        }],
    });
    for pod in state.pods.values_mut() {
        let facts = RuleFacts { requests: Some(rule(anything(), false)), ..(*pod.rules[&ALLOWS]).clone() };
        pod.rules.insert(other, Arc::new(facts));
        for bound in pod.bound.values_mut() {
            let named = Named { row: Arc::clone(&row), is_live: true };
            bound.names.insert(DnsName::parse("other.example").unwrap(), named);
        }
    }
    let state = State { keys: keys(&[("openai", KEY)]), ..state };
    World::before(&Tls::new(), way, state, Limits::default(), true)
}

#[test]
fn a_client_that_follows_a_redirect_elsewhere_does_not_take_the_key_along() {
    for way in [Way::Tls1, Way::Tls2] {
        let world = world_with_another_host(way);
        run(async {
            let to = ("x-location", "https://other.example/v1/models");
            let own = [&OWN[..], &[to]].concat();
            let (status, answer) = told(&mut world.client().await, asking("GET", "/v1/models", &own)).await;
            assert_eq!(status, StatusCode::FOUND, "{answer}");
            assert!(answer.contains("other.example") && !answer.contains(KEY), "{answer}");
            let authority = &world.inspection.authority;
            let mut client = Client::connect_to("other.example", &world.proxy, way, authority).await.unwrap();
            let host = if way == Way::Tls2 { "https://other.example" } else { "" };
            let mut asked = asking("GET", &format!("{host}/v1/models"), &OWN[..1]);
            if way == Way::Tls1 {
                asked.headers_mut().insert("host", "other.example".parse().unwrap());
            }
            assert_eq!(told(&mut client, asked).await.0, StatusCode::OK);
        });
        is_replaced(&world.seen.recv().unwrap(), "authorization", "Bearer sk-of-the-gateway");
        let followed = world.seen.recv().unwrap();
        assert_eq!(followed.headers["authorization"], "Bearer sk-of-the-pod", "what it had before");
        assert!(!format!("{:?}", texts(&followed.headers)).contains(KEY));
    }
}

#[test]
fn a_key_that_the_server_sends_back_is_hidden_from_the_pod() {
    let stars = "*".repeat(KEY.len());
    for way in TLS {
        let world = world(way, injecting(None), &[("openai", KEY)]);
        for size in ["0", "1", "5", "200"] {
            run(async {
                let mut asked = asking("POST", CHAT, &[("x-echo", size), ("accept-encoding", "gzip")]);
                asked.headers_mut().insert("te", "trailers".parse().unwrap());
                let answer = world.client().await.send(asked).await.unwrap();
                let (head, body) = answer.into_parts();
                assert_eq!(head.headers["x-said"], format!("Bearer {stars}"), "{way:?} {size}");
                assert_eq!(head.headers["x-coding"], "identity");
                let body = body.collect().await.unwrap();
                let trailers = body.trailers().cloned().unwrap_or_default();
                assert!(!format!("{trailers:?}").contains(KEY), "{way:?} {size}");
                if way == Way::Tls2 && size != "0" {
                    assert_eq!(trailers["grpc-message"], format!("Bearer {stars}"));
                }
                let expected = format!("you said Bearer {stars}, and end so: sk-of");
                assert_eq!(body.to_bytes(), expected.as_bytes(), "{way:?} {size}");
            });
            assert_eq!(world.seen.recv().unwrap().headers["authorization"], format!("Bearer {KEY}"));
        }
    }
}

#[test]
fn what_the_pod_says_itself_comes_back_as_it_was_said() {
    let world = world(Way::Tls1, anything(), &[("openai", KEY)]);
    run(async {
        let own = [("x-echo", "5"), ("authorization", "Bearer sk-of-the-pod"), ("accept-encoding", "gzip")];
        let (_, answer) = told(&mut world.client().await, asking("POST", CHAT, &own)).await;
        assert!(answer.contains("you said Bearer sk-of-the-pod, and end so: sk-of"), "{answer}");
        assert!(answer.contains("gzip"), "{answer}");
    });
}
