//! Bodies are changed where a rule demands it, and nowhere else; what was said is kept where a rule asks for it, masked, and
//! nowhere else.

#![allow(
    clippy::unwrap_used,
    clippy::panic,
    clippy::indexing_slicing,
    reason = "a test's helpers fail the test"
)]

use crate::support;
use gateway::{Call, Content, End, LeakKind, Reason};
use http::StatusCode;
use http_body_util::BodyExt;
use hyper::body::Bytes;
use policy::{Canaries, Capture, LeakAction, Leaks, Quota, Quotas, Requests};
use std::io::Write;
use support::web::{Seen, Step, TOLD, Way, World, anything, full, request, run, steps};

const CANARY: &str = "canary-3f9c1d7e";
const WAYS: [Way; 3] = [Way::Clear, Way::Tls1, Way::Tls2];
const JSON: (&str, &str) = ("content-type", "application/json");
const CHAT: &str = "/v1/chat/completions";

fn masking() -> Requests {
    let canaries = Some(Canaries { values: vec![CANARY.into()], action: LeakAction::Mask });
    let (secrets, personal) = (Some(LeakAction::Mask), Some(LeakAction::Mask));
    Requests { leaks: Leaks { opaque: None, canaries, secrets, personal, files: None }, ..anything() }
}

fn metered() -> Requests {
    let tokens = Quota { hour: None, day: Some(10_000) };
    Requests { quotas: Quotas { tokens, ..Quotas::default() }, ..anything() }
}

/// What became of a request.
struct Became {
    status: StatusCode,
    answer: String,
    seen: Option<Seen>,
    call: Call,
    content: Option<Content>,
}

impl Became {
    fn arrived(&self) -> &str {
        std::str::from_utf8(self.seen.as_ref().unwrap().body.as_ref().unwrap()).unwrap()
    }
}

/// Posts a body; `size`: in chunks of so many bytes, else with its length.
fn post(
    way: Way,
    rule: Requests,
    target: &str,
    fields: &[(&'static str, &str)],
    body: &[u8],
    size: Option<usize>,
) -> Became {
    let world = World::new(way, rule);
    let body = match size {
        None => full(body.to_vec()),
        Some(size) => {
            let all: Vec<Bytes> = body.chunks(size).map(Bytes::copy_from_slice).collect();
            steps(all.into_iter().map(Step::Piece))
        }
    };
    let (status, answer) = run(async {
        let mut asked = request("POST", target, body);
        for (name, value) in fields {
            asked.headers_mut().insert(*name, value.parse().unwrap());
        }
        let (head, body) = world.client().await.send(asked).await.unwrap().into_parts();
        let body = body.collect().await.unwrap().to_bytes();
        (head.status, String::from_utf8_lossy(&body).into_owned())
    });
    let call = world.proxy.call();
    let (seen, content) = (world.seen.try_recv().ok(), world.proxy.contents.try_recv().ok());
    Became { status, answer, seen, call, content }
}

fn gzip(bytes: &[u8]) -> Vec<u8> {
    let mut encoder = flate2::write::GzEncoder::new(Vec::new(), flate2::Compression::fast());
    encoder.write_all(bytes).unwrap();
    encoder.finish().unwrap()
}

fn question(text: &str) -> String {
    format!(r#"{{"model": "m","messages":[{{"role":"user","content":"{text}"}}],"stream":false}}"#)
}

#[test]
fn what_is_masked_goes_on_with_markers_and_its_right_length_however_it_comes() {
    let text = |card: &str, canary: &str| {
        question(&format!("{} \\\"{card}\\\" \\n{canary} {card} é", "a".repeat(20_000)))
    };
    let body = text("4111 1111 1111 1111", CANARY);
    let expected = text("[personal data removed: payment-card]", "[canary removed]");
    for way in WAYS {
        for size in [None, Some(1_013), Some(9_000)] {
            let became = post(way, masking(), CHAT, &[JSON], body.as_bytes(), size);
            assert_eq!(became.status, StatusCode::OK, "{way:?} {size:?} {:?}", became.call);
            assert_eq!(became.arrived(), expected, "{way:?} {size:?}");
            let length = &became.seen.as_ref().unwrap().headers["content-length"];
            assert_eq!(length.to_str().unwrap(), expected.len().to_string());
            let call = &became.call;
            let masked: Vec<_> =
                call.masked.iter().map(|fact| (&*fact.rule, fact.class, fact.count)).collect();
            assert_eq!(masked, [("payment-card", LeakKind::Personal, 2), ("canary", LeakKind::Canary, 1)]);
            assert!(call.leaks.len() == 2 && call.leaks.iter().all(|fact| fact.masked && !fact.blocked));
            assert_eq!((call.reason, call.bytes_up), (Reason::RequestAllowed, expected.len() as u64));
            assert!(!serde_json::to_string(call).unwrap().contains(CANARY));
        }
    }
}

#[test]
fn a_coded_body_is_masked_and_goes_on_without_its_coding() {
    let body = gzip(question(CANARY).as_bytes());
    let fields = [JSON, ("content-encoding", "gzip")];
    let became = post(Way::Tls1, masking(), CHAT, &fields, &body, None);
    assert_eq!(became.arrived(), question("[canary removed]"));
    assert!(!became.seen.unwrap().headers.contains_key("content-encoding"));
    let body = gzip(question("nothing").as_bytes());
    let became = post(Way::Tls1, masking(), CHAT, &fields, &body, None);
    let seen = became.seen.unwrap();
    assert_eq!((seen.body, &seen.headers["content-encoding"]), (Some(body), &"gzip".parse().unwrap()));
}

#[test]
fn what_cannot_be_masked_is_refused_and_says_so() {
    let text = question(CANARY);
    let base64 =
        "Y2FuYXJ5LTNmOWMxZDdlIGFuZCBtb3JlIG9mIHRoYXQsIHNvIHRoYXQgaXQgaXMgbG9uZyBlbm91Z2ggdG8gYmUgYSBydW4=";
    let target = format!("{CHAT}?q={CANARY}");
    for (target, fields, body) in [
        (CHAT, vec![("content-type", "application/octet-stream")], text.clone()),
        (CHAT, vec![], text.clone()),
        (CHAT, vec![JSON, ("content-digest", "sha-256=:a:")], text.clone()),
        (CHAT, vec![JSON, ("authorization", "AWS4-HMAC-SHA256 Credential=a")], text.clone()),
        (CHAT, vec![JSON], question(base64)),
        (CHAT, vec![JSON], format!(r#"{{"model":"m","{CANARY}":1}}"#)),
        (CHAT, vec![JSON], format!(r#"{{"model":"{CANARY}"}}"#)),
        (CHAT, vec![JSON], r#"{"model":"m","n":4111111111111111}"#.to_owned()),
        (CHAT, vec![JSON, ("x-own", CANARY)], question("nothing")),
        (&target, vec![JSON], question("nothing")),
    ] {
        for way in WAYS {
            let became = post(way, masking(), target, &fields, body.as_bytes(), None);
            assert_eq!(became.status, StatusCode::FORBIDDEN, "{way:?} {fields:?} {body}");
            assert!(became.seen.is_none(), "{way:?} {fields:?} {body}");
            let call = became.call;
            assert_eq!(call.reason, Reason::LeakUnmasked, "{call:?}");
            assert!(call.masked.is_empty() && call.leaks.iter().any(|fact| fact.blocked), "{call:?}");
            assert!(!call.leaks.iter().any(|fact| fact.masked), "{call:?}");
            assert!(became.answer.contains("it cannot be masked there"), "{}", became.answer);
        }
    }
}

#[test]
fn what_has_nothing_to_be_masked_goes_on_as_it_came() {
    for (kind, body) in [
        ("application/json", question("nothing")),
        ("application/json", "{ no json".to_owned()),
        ("text/plain", "é".to_owned()),
        ("application/octet-stream", "x".repeat(100_000)),
    ] {
        for size in [None, Some(999)] {
            let became = post(Way::Clear, masking(), "/x", &[("content-type", kind)], body.as_bytes(), size);
            assert_eq!((became.arrived(), became.call.masked.len()), (body.as_str(), 0));
        }
    }
    let text = ("content-type", "text/plain");
    let became = post(Way::Clear, masking(), "/x", &[text], format!("a {CANARY} b").as_bytes(), None);
    assert_eq!(became.arrived(), "a [canary removed] b");
}

#[test]
fn a_body_to_be_masked_that_is_larger_than_what_is_held_is_refused() {
    let body = question(&"a".repeat(16 << 20));
    let became = post(Way::Clear, masking(), CHAT, &[JSON], body.as_bytes(), None);
    assert_eq!((became.status, became.call.reason), (StatusCode::PAYLOAD_TOO_LARGE, Reason::RequestTooLarge));
    assert!(became.seen.is_none_or(|seen| seen.body.is_none()));
}

#[test]
fn a_stream_is_asked_for_its_tokens_where_they_are_counted_and_the_client_gets_what_it_asked_for() {
    let stream = r#"{"model":"m","stream":true}"#;
    let own = r#"{"model":"m","stream":true,"stream_options":{"include_usage":true}}"#;
    let refused = r#"{"model":"m","stream":true,"stream_options":{"include_usage":false}}"#;
    let (without, with) = ([TOLD[0], TOLD[2]].concat(), TOLD.concat());
    for way in WAYS {
        for (rule, body, arrived, answer, is_asked) in [
            (
                metered(),
                stream,
                r#"{"stream_options":{"include_usage":true},"model":"m","stream":true}"#,
                &without,
                true,
            ),
            (metered(), refused, own, &without, true),
            (metered(), own, own, &with, false),
            (anything(), stream, stream, &without, false),
            (anything(), refused, refused, &without, false),
        ] {
            for size in [None, Some(5)] {
                let fields = [JSON, ("x-usage", "1"), ("authorization", "Bearer k")];
                let became = post(way, rule.clone(), CHAT, &fields, body.as_bytes(), size);
                assert_eq!((became.arrived(), &became.answer), (arrived, answer), "{way:?} {body}");
                let usage = became.call.usage.unwrap();
                assert_eq!(usage.input_tokens, (is_asked || body == own).then_some(7), "{way:?} {body}");
                assert_eq!((became.call.usage_asked, became.call.end), (is_asked, End::Closed));
                assert_eq!(became.call.bytes_down, answer.len() as u64);
            }
        }
    }
}

#[test]
fn a_signed_body_is_not_asked_for_its_tokens() {
    let body = r#"{"model":"m","stream":true}"#;
    for field in [("content-md5", "a"), ("signature", "a=:b:"), ("authorization", "AWS4-HMAC-SHA256 a")] {
        let became =
            post(Way::Clear, metered(), CHAT, &[JSON, ("x-usage", "1"), field], body.as_bytes(), None);
        assert_eq!((became.arrived(), became.call.usage_asked), (body, false), "{field:?}");
    }
}

#[test]
fn digests_of_what_passed_are_recorded() {
    // By sha256sum.
    let expected = "2cf24dba5fb0a30e26e83b2ac5b9e29e1b161e5c1fa7425e73043362938b9824";
    for way in WAYS {
        let call = post(way, anything(), "/echo", &[], b"hello", Some(2)).call;
        assert_eq!(call.request_sha256.as_deref(), Some(expected));
        assert_eq!(call.answer_sha256.as_deref(), Some(expected), "it answers with the same");
        let call = post(way, anything(), "/empty", &[], b"", None).call;
        assert_eq!((call.request_sha256, call.answer_sha256), (None, None));
    }
}

#[test]
fn what_was_said_is_kept_masked_where_a_rule_asks_for_it_and_nowhere_else() {
    let body = question(&format!("4111 1111 1111 1111 {CANARY}"));
    let fields = [JSON, ("x-completed", "1")];
    for way in WAYS {
        let became = post(way, anything(), CHAT, &fields, body.as_bytes(), Some(7));
        assert_eq!((became.arrived(), &became.content), (body.as_str(), &None), "{way:?}");
        let canaries = Some(Canaries { values: vec![CANARY.into()], action: LeakAction::Report });
        for (requests, answers) in [(true, true), (true, false), (false, true)] {
            let rule = Requests {
                leaks: Leaks { canaries: canaries.clone(), ..Leaks::default() },
                capture: Some(Capture { requests, answers, max_bytes: 200 }),
                ..anything()
            };
            let became = post(way, rule, CHAT, &fields, body.as_bytes(), Some(7));
            assert_eq!(became.arrived(), body, "what goes on is as it was");
            let content = became.content.unwrap();
            assert_eq!(content.request_id, became.call.request_id);
            let asked = content.request.map(|text| (text.text, text.masked));
            let masked = question("[personal data removed: payment-card] [canary removed]");
            assert_eq!(asked, requests.then_some((masked, 2)), "{way:?}");
            assert_eq!(content.answer.map(|text| text.text), answers.then_some(became.answer), "{way:?}");
        }
    }
}
