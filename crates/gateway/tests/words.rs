//! Refusals are told in the words of the service that was asked, and codings hide nothing.

#![allow(
    clippy::unwrap_used,
    clippy::panic,
    clippy::indexing_slicing,
    reason = "a test's helpers fail the test"
)]

use crate::support;
use gateway::{Ceiling, End, Limits, Reason};
use http::{HeaderMap, StatusCode};
use http_body_util::BodyExt;
use policy::{Glob, Operations, Requests, Verb};
use std::io::{Read, Write};
use support::web::{Client, Way, World, full, nothing, request, run, state_of};
use support::{POD, Proxy};

/// Allows to ask these models only.
fn models(models: &[&str]) -> Requests {
    let operations = vec![Operations { verbs: [Verb::Call].into(), resources: vec![] }];
    let models = models.iter().map(|model| Glob::new(model)).collect();
    Requests { operations, models, ..Requests::default() }
}

async fn ask(
    client: &mut Client,
    target: &str,
    fields: &[(&'static str, &str)],
    body: &[u8],
) -> (StatusCode, HeaderMap, String) {
    let mut asked = request("POST", target, full(body.to_vec()));
    for (name, value) in fields {
        asked.headers_mut().insert(*name, value.parse().unwrap());
    }
    let (head, body) = client.send(asked).await.unwrap().into_parts();
    let body = body.collect().await.unwrap().to_bytes();
    (head.status, head.headers, String::from_utf8_lossy(&body).into_owned())
}

#[test]
fn a_refusal_is_told_as_the_service_tells_errors() {
    for way in [Way::Clear, Way::Tls1, Way::Tls2] {
        let world = World::new(way, models(&["small"]));
        run(async {
            let mut client = world.client().await;
            for (target, field, expected) in [
                (
                    "/v1/chat/completions",
                    ("content-type", "application/json"),
                    "\"type\":\"permission_error\"",
                ),
                ("/v1/messages", ("anthropic-version", "2023-06-01"), "\"type\":\"error\""),
            ] {
                let (status, fields, body) =
                    ask(&mut client, target, &[field], br#"{"model":"large"}"#).await;
                assert_eq!(status, StatusCode::FORBIDDEN);
                assert!(body.contains(expected), "{target} {body}");
                let told = "this call of large at hub.example: not with that model";
                assert!(body.contains(told), "{body}");
                assert!(body.contains("policy: ClusterNetworkPolicy hub spec.egress[0]"), "{body}");
                let call = world.proxy.call();
                assert!(body.contains(&call.request_id), "{body}");
                assert_eq!(fields["x-cofferdam-reason"], call.reason.as_str());
                assert_eq!((call.status, call.end), (403, End::Refused));
            }
        });
        assert!(world.seen.try_recv().is_err());
    }
}

#[test]
fn what_is_not_understood_is_told_with_why() {
    let world = World::new(Way::Clear, nothing());
    run(async {
        let (_, fields, body) = world.client().await.get("/secret?token=1").await;
        assert_eq!(fields["content-type"], "application/json");
        assert!(body.contains("this request at hub.example: what it does is not known: "), "{body}");
        assert!(!body.contains("token=1"), "{body}");
    });
}

#[test]
fn a_browser_is_told_in_html_and_the_status_line_says_why() {
    let proxy = Proxy::start(Some(state_of(nothing(), Ceiling::default(), None)), Limits::default());
    let mut stream = proxy.connect();
    let asked = "GET / HTTP/1.1\r\nHost: hub.example\r\nAccept: text/html\r\nConnection: close\r\n\r\n";
    stream.write_all(asked.as_bytes()).unwrap();
    let mut answer = String::new();
    stream.read_to_string(&mut answer).unwrap();
    assert!(answer.starts_with("HTTP/1.1 403 Refused by Cofferdam: this request at hub.example"), "{answer}");
    assert!(answer.contains("<!doctype html>"), "{answer}");
}

#[test]
fn a_server_that_is_not_there_is_told_inside() {
    for way in [Way::Clear, Way::Tls1] {
        let world = World::new(way, nothing());
        let state = state_of(nothing(), Ceiling::default(), Some(world.inspection.clone()));
        let server = std::net::TcpListener::bind((POD, 0)).unwrap();
        let gone = std::net::TcpListener::bind((POD, 0)).unwrap().local_addr().unwrap();
        let proxy = Proxy::in_front_of(server, gone, Some(state), Limits::default());
        run(async {
            let mut client = Client::connect(&proxy, way, &world.inspection.authority).await.unwrap();
            let (status, fields, _) = client.get("/").await;
            assert_eq!(
                (status, &fields["x-cofferdam-reason"]),
                (StatusCode::BAD_GATEWAY, &"server-unreachable".parse().unwrap())
            );
        });
        let record = proxy.record();
        assert_eq!((record.reason, record.end), (Reason::ServerUnreachable, End::Unreachable), "{way:?}");
    }
}

/// `{"model":"small"}` and `{"model":"large"}` by Python's `gzip.compress(…, mtime=0)`.
#[rustfmt::skip]
const SMALL: [u8; 37] = [31, 139, 8, 0, 0, 0, 0, 0, 2, 3, 171, 86, 202, 205, 79, 73, 205, 81, 178, 82, 42, 206, 77, 204, 201, 81, 170, 5, 0, 206, 147, 37, 247, 17, 0, 0, 0];
#[rustfmt::skip]
const LARGE: [u8; 37] = [31, 139, 8, 0, 0, 0, 0, 0, 2, 3, 171, 86, 202, 205, 79, 73, 205, 81, 178, 82, 202, 73, 44, 74, 79, 85, 170, 5, 0, 78, 238, 225, 238, 17, 0, 0, 0];

#[test]
fn a_coded_body_is_judged_by_what_it_says_and_goes_on_as_it_came() {
    for way in [Way::Clear, Way::Tls1, Way::Tls2] {
        let world = World::new(way, models(&["small"]));
        run(async {
            let mut client = world.client().await;
            let mut asked = async |coding, body: &[u8]| {
                ask(&mut client, "/v1/chat/completions", &[("content-encoding", coding)], body).await
            };
            assert_eq!(asked("gzip", &SMALL).await.0, StatusCode::OK, "{way:?}");
            for (coding, body, why) in [
                ("gzip", &LARGE[..], "not with that model"),
                ("gzip", br#"{"model":"small"}"#, "what it does is not known"),
                ("compress", br#"{"model":"small"}"#, "what it does is not known"),
            ] {
                let (status, _, told) = asked(coding, body).await;
                assert!(status == StatusCode::FORBIDDEN && told.contains(why), "{coding} {told}");
            }
        });
        assert_eq!(world.seen.recv().unwrap().body.as_deref(), Some(&SMALL[..]));
        assert!(world.seen.try_recv().is_err());
        assert_eq!(world.proxy.call().operation.model.as_deref(), Some("small"));
    }
}

#[test]
fn a_refused_message_is_answered_by_its_id_and_each_request_of_a_batch_by_its_own() {
    let call = |id: &str| format!(r#"{{"jsonrpc":"2.0","method":"tools/call","params":{{"name":"t"}}{id}}}"#);
    let padding = format!(r#","x":"{}""#, "y".repeat(100_000));
    for way in [Way::Clear, Way::Tls1, Way::Tls2] {
        let world = World::new(way, nothing());
        run(async {
            for (body, expected) in [
                (call(r#","id":7"#), &["7"][..]),
                (call(r#","id":"a b""#), &["\"a b\""]),
                (call(""), &["null"]),
                (call(&padding), &["null"]),
                (format!("[{},{}]", call(r#","id":1"#), call(r#","id":"x""#)), &["1", "\"x\""]),
            ] {
                let mut client = world.client().await;
                let fields = [("content-type", "application/json")];
                let (status, _, told) = ask(&mut client, "/mcp", &fields, body.as_bytes()).await;
                assert_eq!(status, StatusCode::FORBIDDEN, "{told}");
                let told: serde_json::Value = serde_json::from_str(&told).unwrap();
                let errors = told.as_array().cloned().unwrap_or_else(|| vec![told.clone()]);
                assert_eq!(told.is_array(), expected.len() > 1);
                let ids: Vec<String> = errors.iter().map(|error| error["id"].to_string()).collect();
                assert_eq!(ids, expected, "{way:?}");
                assert!(errors.iter().all(|error| error["error"]["code"] == -32000));
            }
        });
    }
}
