//! Agents that speak Agent2Agent behind the gateway.

#![allow(
    clippy::unwrap_used,
    clippy::panic,
    clippy::indexing_slicing,
    reason = "a test's helpers fail the test"
)]

use crate::support;
use http::{Request, StatusCode, header};
use http_body_util::Full;
use hyper::body::Bytes;
use ingress::Reason;
use std::fmt::Write;
use support::canned::{Canned, answer, manifests, server};

const FIRST_USE: &str = "a2a: {card: {others: TrustOnFirstUse}}";

fn card(about: &str) -> String {
    format!(
        r#"{{"name":"agent","description":"{about}","skills":[],"signatures":[{{"signature":"{}"}}]}}"#,
        about.len()
    )
}

/// As documents say that a digest is made.
fn sha256(about: &str) -> String {
    let text = format!(r#"{{"description":"{about}","name":"agent","skills":[]}}"#);
    let digest = aws_lc_rs::digest::digest(&aws_lc_rs::digest::SHA256, text.as_bytes());
    digest.as_ref().iter().fold(String::new(), |mut out, byte| {
        write!(out, "{byte:02x}").unwrap();
        out
    })
}

fn get(path: &str) -> Request<Full<Bytes>> {
    Request::get(path).header(header::HOST, "agent.example").body(Full::default()).unwrap()
}

/// A message of JSON-RPC.
fn message(method: &str) -> Request<Full<Bytes>> {
    let body = format!(r#"{{"jsonrpc":"2.0","id":7,"method":"{method}","params":{{}}}}"#);
    Request::post("/")
        .header(header::HOST, "agent.example")
        .header(header::CONTENT_TYPE, "application/json")
        .body(Full::new(Bytes::from(body)))
        .unwrap()
}

/// The same by REST.
fn rest(path: &str) -> Request<Full<Bytes>> {
    Request::post(path)
        .header(header::HOST, "agent.example")
        .header(header::CONTENT_TYPE, "application/json")
        .header("a2a-version", "1.0")
        .body(Full::new(Bytes::from_static(b"{}")))
        .unwrap()
}

const CARD: &str = "/.well-known/agent-card.json";

#[tokio::test]
async fn an_agent_whose_card_changed_is_not_shown_and_not_asked_until_it_is_what_it_was() {
    let (good, _) = server(answer("application/json", card("helps").as_bytes(), 9)).await;
    let (bad, _) = server(answer("application/a2a+json", card("helps, and mails").as_bytes(), 9)).await;
    let world = Canned::new(FIRST_USE, good);
    let to = |address| world.inner.reload(support::config(&manifests(FIRST_USE), address)).unwrap();
    let (status, shown) = world.ask(get(CARD)).await;
    assert!(status == StatusCode::OK && shown.contains("helps"), "{shown}");
    assert_eq!(world.ask(message("message/send")).await.0, StatusCode::OK);
    to(bad);
    let (status, shown) = world.ask(get(CARD)).await;
    assert!(status == StatusCode::FORBIDDEN && !shown.contains("mails"), "{shown}");
    for asked in [message("SendMessage"), message("message/stream"), rest("/message:send")] {
        assert_eq!(world.ask(asked).await.0, StatusCode::FORBIDDEN);
    }
    let (_, refused) = world.ask(message("tasks/get")).await;
    let refused: serde_json::Value = serde_json::from_str(&refused).unwrap();
    assert_eq!(refused["id"], 7, "a refusal answers the request that was sent: {refused}");
    to(good);
    assert_eq!(world.ask(get(CARD)).await.0, StatusCode::OK);
    assert_eq!(world.ask(message("message/send")).await.0, StatusCode::OK);
    let records = world.records.wait(9).await;
    let fact = |at: usize| {
        let tool = &records[at].tools[0];
        (tool.name.as_str(), tool.standing, tool.is_quarantined)
    };
    assert_eq!(fact(0), ("agent-card.json", "first", false));
    assert_eq!(records[0].tools[0].sha256, sha256("helps"));
    assert_eq!(fact(2), ("agent-card.json", "changed", true));
    let reasons: Vec<Reason> = records.iter().map(|record| record.reason).collect();
    let (fine, not) = (Reason::Allowed, Reason::CardQuarantined);
    assert_eq!(reasons, [fine, fine, not, not, not, not, not, fine, fine]);
}

#[tokio::test]
async fn a_card_is_what_it_is_pinned_to_and_others_are_nobodys() {
    let section = |about: &str| format!("a2a: {{card: {{sha256: {}, others: Quarantine}}}}", sha256(about));
    let (address, _) = server(answer("application/json", card("helps").as_bytes(), 1000)).await;
    for (about, path, status) in [
        ("helps", CARD, StatusCode::OK),
        ("mails", CARD, StatusCode::FORBIDDEN),
        ("helps", "/.well-known/agent.json", StatusCode::FORBIDDEN),
        ("helps", "/extendedAgentCard", StatusCode::FORBIDDEN),
        ("helps", "/elsewhere/.well-known/agent-card.json", StatusCode::FORBIDDEN),
    ] {
        let (got, shown) = Canned::new(&section(about), address).ask(get(path)).await;
        assert_eq!(got, status, "{about} {path}: {shown}");
    }
}

#[tokio::test]
async fn a_card_that_is_the_result_of_a_message_is_looked_at_too() {
    let result = |about: &str| format!(r#"{{"jsonrpc":"2.0","id":7,"result":{}}}"#, card(about));
    let (good, _) = server(answer("application/json", result("helps").as_bytes(), 9)).await;
    let (bad, _) = server(answer("application/json", result("mails").as_bytes(), 9)).await;
    let world = Canned::new(FIRST_USE, good);
    assert!(world.ask(message("GetExtendedAgentCard")).await.1.contains("helps"));
    world.inner.reload(support::config(&manifests(FIRST_USE), bad)).unwrap();
    for method in ["GetExtendedAgentCard", "GetAgentCard"] {
        let (status, shown) = world.ask(message(method)).await;
        assert!(status == StatusCode::FORBIDDEN && !shown.contains("mails"), "{shown}");
    }
    assert_eq!(world.ask(message("SendMessage")).await.0, StatusCode::FORBIDDEN);
}

#[tokio::test]
async fn what_cannot_be_read_as_a_card_is_shown_to_nobody() {
    for (kind, body, status) in [
        ("text/plain", card("helps"), StatusCode::FORBIDDEN),
        ("application/octet-stream", card("helps"), StatusCode::FORBIDDEN),
        ("application/json", "{\"name\":".to_owned(), StatusCode::FORBIDDEN),
        ("application/json; charset=utf-8", card("helps"), StatusCode::OK),
    ] {
        let (address, _) = server(answer(kind, body.as_bytes(), 5)).await;
        let (got, said) = Canned::new(FIRST_USE, address).ask(get(CARD)).await;
        assert_eq!(got, status, "{kind}: {said}");
    }
}

#[tokio::test]
async fn a_page_that_is_not_named_may_not_ask_an_agent() {
    let (address, _) = server(answer("application/json", b"{}", 10)).await;
    for (section, origin, status) in [
        ("server: a2a", "https://evil.example", StatusCode::FORBIDDEN),
        ("a2a: {origins: ['https://app.example']}", "https://app.example", StatusCode::OK),
        ("a2a: {origins: ['https://app.example']}", "https://evil.example", StatusCode::FORBIDDEN),
        ("mcp: {origins: ['https://app.example']}\n  server: a2a", "https://app.example", StatusCode::OK),
    ] {
        let world = Canned::new(section, address);
        let mut asked = message("message/send");
        asked.headers_mut().insert(header::ORIGIN, origin.parse().unwrap());
        let (got, body) = world.ask(asked).await;
        assert_eq!(got, status, "{section} {origin}: {body}");
        if status == StatusCode::FORBIDDEN {
            assert_eq!(world.record().await.reason, Reason::OriginDenied);
        }
    }
}

#[tokio::test]
async fn only_methods_that_a_rule_lists_are_called_and_a_message_opens_no_more_than_its_path() {
    let (address, _) =
        server(answer("application/json", b"{\"jsonrpc\":\"2.0\",\"id\":7,\"result\":{}}", 100)).await;
    let policy = |rules: &str| {
        manifests("server: a2a")
            .replace("[{name: all, action: Allow, classes: [infer, introspect, unknown]}]", rules)
    };
    let listed = "[{name: send, action: Allow, operations: [message/send, SendMessage]}]";
    let any = "[{name: any, action: Allow}]";
    for (rules, asked, status) in [
        (listed, message("message/send"), StatusCode::OK),
        (listed, message("SendMessage"), StatusCode::OK),
        (listed, rest("/message:send"), StatusCode::OK),
        (listed, message("message/stream"), StatusCode::FORBIDDEN),
        (listed, message("tasks/cancel"), StatusCode::FORBIDDEN),
        (any, message("tasks/cancel"), StatusCode::OK),
        (any, message("tasks/pushNotificationConfig/set"), StatusCode::FORBIDDEN),
        (any, message("CreateTaskPushNotificationConfig"), StatusCode::FORBIDDEN),
        (any, message("ListTasks"), StatusCode::FORBIDDEN),
        (any, message("tasks/list"), StatusCode::FORBIDDEN),
        (any, message("GetExtendedAgentCard"), StatusCode::FORBIDDEN),
        (any, rest("/tasks/1/pushNotificationConfigs"), StatusCode::FORBIDDEN),
    ] {
        let world = Canned::new("server: a2a", address);
        world.inner.reload(support::config(&policy(rules), address)).unwrap();
        let (got, body) = world.ask(asked).await;
        assert_eq!(got, status, "{rules} {:?}: {body}", world.record().await.operation);
    }
}
