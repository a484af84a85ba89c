//! CORS filters: preflights, and what other answers say.

#![allow(clippy::unwrap_used, clippy::indexing_slicing, reason = "a test's helpers fail the test")]

use crate::support;
use http::{HeaderMap, Method, Request, StatusCode, header};
use http_body_util::Full;
use ingress::{End, Reason};
use support::{OPEN, PLAIN, World, chat, text};

fn manifests(cors: &str, policy: &str) -> String {
    let route = PLAIN.replace(
        "    - backendRefs:",
        &format!("    - filters: [{{type: CORS, cors: {cors}}}]\n      backendRefs:"),
    );
    format!("{route}{policy}")
}

/// A policy that knows nobody who has no key.
fn closed() -> String {
    OPEN.replace(
        "anonymous: true",
        "jwt: [{name: i, issuer: 'https://i.example', audiences: [a], jwks: {url: 'https://i.example/k'}}]",
    )
}

fn preflight(origin: &str, fields: &str) -> Request<Full<hyper::body::Bytes>> {
    Request::builder()
        .method(Method::OPTIONS)
        .uri("/v1/chat/completions")
        .header(header::HOST, "models.example")
        .header(header::ORIGIN, origin)
        .header(header::ACCESS_CONTROL_REQUEST_METHOD, "POST")
        .header(header::ACCESS_CONTROL_REQUEST_HEADERS, fields)
        .body(Full::default())
        .unwrap()
}

/// What is said of CORS, each as one line.
fn said(headers: &HeaderMap) -> Vec<String> {
    let own = headers.iter().filter(|(name, _)| name.as_str().starts_with("access-control-"));
    let mut lines: Vec<String> =
        own.map(|(name, value)| format!("{}: {}", &name.as_str()[15..], value.to_str().unwrap())).collect();
    lines.sort();
    lines
}

#[tokio::test]
async fn a_preflight_is_answered_by_the_route_before_anybody_is_known() {
    let one = "{allowOrigins: ['https://*.example'], allowMethods: [POST, GET], allowHeaders: [x-a], exposeHeaders: [x-b], maxAge: 60}";
    let every = "{allowOrigins: ['*'], allowMethods: ['*'], allowHeaders: ['*']}";
    let known = "{allowOrigins: ['*'], allowMethods: ['*'], allowHeaders: ['*'], allowCredentials: true}";
    for (cors, origin, expected) in [
        (
            one,
            "https://a.example",
            &[
                "allow-headers: x-a",
                "allow-methods: POST, GET",
                "allow-origin: https://a.example",
                "expose-headers: x-b",
                "max-age: 60",
            ][..],
        ),
        (one, "https://evil.test", &[]),
        (one, "http://a.example", &[]),
        (every, "null", &["allow-headers: *", "allow-methods: *", "allow-origin: null", "max-age: 5"]),
        (
            known,
            "https://b.test",
            &[
                "allow-credentials: true",
                "allow-headers: x-a, x-b",
                "allow-methods: POST",
                "allow-origin: https://b.test",
                "max-age: 5",
            ],
        ),
    ] {
        let world = World::new(&manifests(cors, &closed())).await;
        let response = world.ask(preflight(origin, "x-a, x-b")).await;
        assert_eq!(response.status(), StatusCode::NO_CONTENT);
        assert_eq!(said(response.headers()), expected, "{cors} {origin}");
        assert_eq!(response.headers()[header::VARY], "origin");
        let record = world.records.wait(1).await.remove(0);
        assert_eq!((record.reason, record.status, record.end), (Reason::Preflight, 204, End::Closed));
        assert!(world.stub.seen.lock().unwrap().is_empty(), "no server is asked");
    }
}

#[tokio::test]
async fn answers_and_refusals_say_what_the_route_says_and_not_what_the_server_does() {
    let cors = "{allowOrigins: ['https://a.example'], exposeHeaders: [x-request-id]}";
    for (policy, status) in [(OPEN.to_owned(), StatusCode::OK), (closed(), StatusCode::UNAUTHORIZED)] {
        for (origin, expected) in [
            (
                Some("https://a.example"),
                &["allow-origin: https://a.example", "expose-headers: x-request-id"][..],
            ),
            (Some("https://evil.test"), &[]),
            (None, &[]),
        ] {
            let world = World::new(&manifests(cors, &policy)).await;
            let mut request = chat(r#"{"model":"llama","messages":[]}"#);
            if let Some(origin) = origin {
                request.headers_mut().insert(header::ORIGIN, origin.parse().unwrap());
            }
            let response = world.ask(request).await;
            assert_eq!(response.status(), status);
            assert_eq!(said(response.headers()), expected, "{origin:?}");
            text(response).await;
        }
    }
}

#[tokio::test]
async fn an_origin_is_answered_with_itself_where_every_one_is_allowed() {
    for (credentials, expected) in [
        (false, &["allow-origin: https://b.test", "expose-headers: *"][..]),
        (true, &["allow-credentials: true", "allow-origin: https://b.test"]),
    ] {
        let cors = format!("{{allowOrigins: ['*'], exposeHeaders: ['*'], allowCredentials: {credentials}}}");
        let world = World::new(&manifests(&cors, OPEN)).await;
        let mut request = chat(r#"{"model":"llama","messages":[]}"#);
        request.headers_mut().insert(header::ORIGIN, "https://b.test".parse().unwrap());
        request.headers_mut().insert(header::COOKIE, "a=b".parse().unwrap());
        let response = world.ask(request).await;
        assert_eq!(response.status(), StatusCode::OK);
        assert_eq!(said(response.headers()), expected, "{credentials}");
        text(response).await;
    }
}

#[tokio::test]
async fn without_a_filter_and_without_the_fields_of_a_preflight_options_are_a_request() {
    let cors = "{allowOrigins: ['*']}";
    for manifests in [format!("{PLAIN}{OPEN}"), manifests(cors, OPEN)] {
        let world = World::new(&manifests).await;
        let mut request = preflight("https://a.example", "x-a");
        if manifests.contains("CORS") {
            request.headers_mut().remove(header::ACCESS_CONTROL_REQUEST_METHOD);
        }
        let response = world.ask(request).await;
        assert_eq!(response.status(), StatusCode::OK);
        assert_eq!(world.stub.last().method, Method::OPTIONS);
    }
}
