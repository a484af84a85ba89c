//! Ids of sessions, tasks and conversations behind the gateway: each is worth something to the consumer who got it alone.

#![allow(
    clippy::unwrap_used,
    clippy::panic,
    clippy::indexing_slicing,
    reason = "a test's helpers fail the test"
)]

use crate::support;
use http::{HeaderMap, Request, Response, StatusCode, header};
use http_body_util::Full;
use hyper::body::{Bytes, Incoming};
use ingress::{Reason, SessionKeys};
use std::fmt::Write;
use std::net::{Ipv4Addr, SocketAddr};
use std::sync::Arc;
use support::canned::server;
use support::{PLAIN, Records, config, text};

const KEYS: [(&str, &str); 2] =
    [("alice", "key-of-alice-0123456789abcdef"), ("bob", "key-of-bob-0123456789abcdef00")];
/// What the server calls its session, its task and its conversation.
const SESSION: &str = "7f3a-session";
const TASK: &str = "t-4711";
const CONTEXT: &str = "c-0815";

fn sha256(text: &str) -> String {
    let digest = aws_lc_rs::digest::digest(&aws_lc_rs::digest::SHA256, text.as_bytes());
    digest.as_ref().iter().fold(String::new(), |mut out, byte| {
        write!(out, "{byte:02x}").unwrap();
        out
    })
}

/// Two consumers with keys, or everybody.
fn manifests(section: &str, uid: &str, is_open: bool) -> String {
    let keys: Vec<String> =
        KEYS.iter().map(|(id, key)| format!("{{consumer: {id}, sha256: [{}]}}", sha256(key))).collect();
    let authentication =
        if is_open { "{anonymous: true}".to_owned() } else { format!("{{apiKeys: [{}]}}", keys.join(", ")) };
    let plain = PLAIN.replace(
        "metadata: {name: models, namespace: ai}",
        &format!("metadata: {{name: models, namespace: ai{uid}}}"),
    );
    format!(
        "{plain}
---
apiVersion: cofferdam.dev/v1alpha1
kind: InferencePolicy
metadata: {{name: models, namespace: ai}}
spec:
  targetRefs: [{{group: gateway.networking.k8s.io, kind: Gateway, name: edge}}]
  authentication: {authentication}
  rules: [{{name: all, action: Allow, classes: [infer, introspect, admin, unknown]}}]
  {section}
"
    )
}

struct World {
    inner: ingress::Server,
    records: Arc<Records>,
    heard: Arc<std::sync::Mutex<String>>,
}

impl World {
    /// Before a server that gives this answer.
    async fn new(section: &str, answer: &str) -> Self {
        Self::with(section, "", false, SessionKeys::default(), answer).await
    }

    async fn with(section: &str, uid: &str, is_open: bool, session_keys: SessionKeys, answer: &str) -> Self {
        let (address, heard) = server(vec![answer.as_bytes().to_vec()]).await;
        let records = Arc::new(Records::default());
        let settings = ingress::Settings {
            bind: Ipv4Addr::LOCALHOST.into(),
            ports: [(80, 0)].into(),
            session_keys,
            ..ingress::Settings::default()
        };
        let inner = ingress::Server::start(settings, Arc::clone(&records) as _);
        let world = Self { inner, records, heard };
        world.load(section, uid, is_open, address);
        world
    }

    fn load(&self, section: &str, uid: &str, is_open: bool, address: SocketAddr) {
        let faults = self.inner.reload(config(&manifests(section, uid, is_open), address)).unwrap();
        assert!(faults.is_empty(), "{faults:?}");
    }

    async fn send(&self, who: &str, mut request: Request<Full<Bytes>>) -> Response<Incoming> {
        let key = KEYS.iter().find(|(id, _)| *id == who).map(|(_, key)| *key);
        if let Some(key) = key {
            let value = format!("Bearer {key}").parse().unwrap();
            request.headers_mut().insert(header::AUTHORIZATION, value);
        }
        let address = *self.inner.addresses().get(&80).unwrap();
        let stream = tokio::net::TcpStream::connect(address).await.unwrap();
        let io = hyper_util::rt::TokioIo::new(stream);
        let (mut sender, connection) = hyper::client::conn::http1::handshake(io).await.unwrap();
        tokio::spawn(async move { drop(connection.await) });
        sender.send_request(request).await.unwrap()
    }

    async fn ask(&self, who: &str, request: Request<Full<Bytes>>) -> (StatusCode, HeaderMap, String) {
        let response = self.send(who, request).await;
        let (status, headers) = (response.status(), response.headers().clone());
        (status, headers, text(response).await)
    }

    /// The head that the server saw last, and forgets it.
    fn heard(&self) -> String {
        std::mem::take(&mut *self.heard.lock().unwrap())
    }

    async fn last_reason(&self, count: usize) -> Reason {
        self.records.wait(count).await[count - 1].reason
    }
}

fn canned(fields: &str, body: &str) -> String {
    let length = body.len();
    format!("HTTP/1.1 200 OK\r\nconnection: close\r\ncontent-length: {length}\r\n{fields}\r\n{body}")
}

fn initialized() -> String {
    let body = r#"{"jsonrpc":"2.0","id":1,"result":{}}"#;
    canned(&format!("content-type: application/json\r\nMcp-Session-Id: {SESSION}\r\n"), body)
}

fn mcp(method: &str, session: &[&str]) -> Request<Full<Bytes>> {
    let body = r#"{"jsonrpc":"2.0","id":7,"method":"tools/call","params":{"name":"search"}}"#;
    let mut request = Request::builder()
        .method(method)
        .uri("/mcp")
        .header(header::HOST, "tools.example")
        .header(header::ACCEPT, "application/json, text/event-stream");
    for id in session {
        request = request.header("mcp-session-id", *id);
    }
    if method == "POST" {
        request = request.header(header::CONTENT_TYPE, "application/json");
        return request.body(Full::new(Bytes::from(body))).unwrap();
    }
    request.body(Full::default()).unwrap()
}

fn session(headers: &HeaderMap) -> String {
    headers["mcp-session-id"].to_str().unwrap().to_owned()
}

#[tokio::test]
async fn a_session_is_continued_by_who_began_it_and_by_nobody_else() {
    // Also where no policy says that it is a server of tools.
    for section in ["server: mcp", "mcp: {definitions: {others: TrustOnFirstUse}}", "server: openai"] {
        let world = World::new(section, &initialized()).await;
        let (status, headers, _) = world.ask("alice", mcp("POST", &[])).await;
        let given = session(&headers);
        assert!(status == StatusCode::OK && given.starts_with(SESSION) && given != SESSION, "{given}");
        world.heard();
        for method in ["POST", "GET", "DELETE"] {
            let (status, headers, body) = world.ask("alice", mcp(method, &[&given])).await;
            assert_eq!(status, StatusCode::OK, "{section} {method}: {body}");
            let heard = world.heard();
            assert!(heard.contains(&format!("mcp-session-id: {SESSION}\r\n")), "{heard}");
            assert_eq!(session(&headers), given, "the same id every time");
        }
        let mut count = 4;
        let upper = given.to_uppercase();
        let cut = given[..given.len() - 1].to_owned();
        let padded = format!("{given} ");
        for method in ["POST", "GET", "DELETE"] {
            for (who, ids) in [
                ("bob", &[given.as_str()][..]),
                ("bob", &[SESSION]),
                ("bob", &[&padded]),
                ("bob", &[""]),
                ("alice", &[SESSION]),
                ("alice", &[&upper]),
                ("alice", &[&cut]),
                ("alice", &["7f3a-session~00000000000000000000000000000000"]),
                ("alice", &[&given, &given]),
                ("alice", &[&given, SESSION]),
            ] {
                let (status, headers, body) = world.ask(who, mcp(method, ids)).await;
                count += 1;
                assert_eq!(status, StatusCode::NOT_FOUND, "{section} {method} {who} {ids:?}: {body}");
                assert_eq!(headers["x-cofferdam-reason"], "not-given");
                assert_eq!(world.last_reason(count).await, Reason::NotGiven);
                assert_eq!(world.heard(), "", "{who} {ids:?}");
                if method == "POST" {
                    let body: serde_json::Value = serde_json::from_str(&body).unwrap();
                    assert_eq!(
                        (&body["id"], &body["error"]["code"]),
                        (&7.into(), &(-32001).into()),
                        "{body}"
                    );
                }
            }
        }
    }
}

#[tokio::test]
async fn no_field_of_a_like_name_gets_another_session_to_the_server() {
    let world = World::new("server: mcp", &initialized()).await;
    let (_, headers, _) = world.ask("bob", mcp("POST", &[])).await;
    let own = session(&headers);
    for name in ["mcp_session_id", "Mcp.Session.Id", "MCP_SESSION-ID", "last_event_id"] {
        let mut request = mcp("POST", &[&own]);
        let name = header::HeaderName::from_bytes(name.to_ascii_lowercase().as_bytes()).unwrap();
        request.headers_mut().insert(name, "stolen".parse().unwrap());
        assert_eq!(world.ask("bob", request).await.0, StatusCode::OK);
        assert!(!world.heard().contains("stolen"));
    }
    // Case is nothing in a name.
    let mut request = mcp("POST", &[]);
    request.headers_mut().insert("MCP-SESSION-ID", SESSION.parse().unwrap());
    assert_eq!(world.ask("bob", request).await.0, StatusCode::NOT_FOUND);
}

#[tokio::test]
async fn a_server_that_says_two_sessions_begins_none() {
    let two = canned("content-type: application/json\r\nMcp-Session-Id: a\r\nMcp-Session-Id: b\r\n", "{}");
    let world = World::new("server: mcp", &two).await;
    let (status, headers, _) = world.ask("alice", mcp("POST", &[])).await;
    assert!(status == StatusCode::OK && !headers.contains_key("mcp-session-id"), "{headers:?}");
    let none = canned("content-type: application/json\r\n", "{}");
    let world = World::new("server: mcp", &none).await;
    let (status, headers, _) = world.ask("alice", mcp("POST", &[])).await;
    assert!(status == StatusCode::OK && !headers.contains_key("mcp-session-id"), "{headers:?}");
}

#[tokio::test]
async fn replicas_and_a_restart_know_sessions_by_their_keys_or_by_the_uid_of_the_route() {
    let keys = |digit: &str| SessionKeys::read(&digit.repeat(64)).unwrap();
    let uid = ", uid: 5c7b1e2a";
    for (uid, first, other, status) in [
        (uid, SessionKeys::default(), SessionKeys::default(), StatusCode::OK),
        ("", SessionKeys::default(), SessionKeys::default(), StatusCode::NOT_FOUND),
        ("", keys("a"), keys("a"), StatusCode::OK),
        (uid, keys("a"), keys("b"), StatusCode::NOT_FOUND),
        (uid, SessionKeys::default(), keys("b"), StatusCode::NOT_FOUND),
    ] {
        let one = World::with("server: mcp", uid, false, first, &initialized()).await;
        let two = World::with("server: mcp", uid, false, other, &initialized()).await;
        let (_, headers, _) = one.ask("alice", mcp("POST", &[])).await;
        let given = session(&headers);
        assert_eq!(two.ask("alice", mcp("POST", &[&given])).await.0, status, "{uid}");
        assert_eq!(two.ask("bob", mcp("POST", &[&given])).await.0, StatusCode::NOT_FOUND, "{uid}");
    }
    // Who is not known is where they are, and here all are at one place.
    let world = World::with("server: mcp", "", true, SessionKeys::default(), &initialized()).await;
    let (_, headers, _) = world.ask("", mcp("POST", &[])).await;
    assert_eq!(world.ask("", mcp("POST", &[&session(&headers)])).await.0, StatusCode::OK);
    assert_eq!(world.ask("", mcp("POST", &[SESSION])).await.0, StatusCode::NOT_FOUND);
}

#[tokio::test]
async fn nobody_goes_on_with_the_stream_of_another() {
    let stream =
        "id: e1\nevent: message\ndata: {\"jsonrpc\":\"2.0\",\"method\":\"notifications/progress\"}\n\n";
    let fields = format!("content-type: text/event-stream\r\nMcp-Session-Id: {SESSION}\r\n");
    for section in ["server: mcp", "server: openai"] {
        let world = World::new(section, &canned(&fields, stream)).await;
        let (_, headers, body) = world.ask("alice", mcp("POST", &[])).await;
        let (alice, event) =
            (session(&headers), body.lines().find_map(|line| line.strip_prefix("id: ")).unwrap().to_owned());
        assert!(event.starts_with("e1~") && body.contains("notifications/progress"), "{body}");
        let (_, headers, _) = world.ask("bob", mcp("POST", &[])).await;
        let bob = session(&headers);
        for (who, session, event, status) in [
            ("alice", &alice, event.as_str(), StatusCode::OK),
            ("bob", &bob, &event, StatusCode::NOT_FOUND),
            ("bob", &bob, "e1", StatusCode::NOT_FOUND),
            // A session is no event.
            ("alice", &alice, &alice, StatusCode::NOT_FOUND),
        ] {
            world.heard();
            let mut request = mcp("GET", &[session]);
            request.headers_mut().insert("last-event-id", event.parse().unwrap());
            let (got, _, body) = world.ask(who, request).await;
            assert_eq!(got, status, "{section} {who} {event}: {body}");
            let heard = world.heard();
            assert_eq!(heard.contains("last-event-id: e1\r\n"), got == StatusCode::OK, "{heard}");
        }
    }
}

#[tokio::test]
async fn a_session_within_a_target_is_its_consumers_too() {
    let stream = "event: endpoint\ndata: /messages?session_id=abc\n\n";
    let world = World::new("server: mcp", &canned("content-type: text/event-stream\r\n", stream)).await;
    let mut listen = mcp("GET", &[]);
    *listen.uri_mut() = "/sse".parse().unwrap();
    let (_, _, body) = world.ask("alice", listen).await;
    let place = body.lines().find_map(|line| line.strip_prefix("data: ")).unwrap().to_owned();
    assert!(place.starts_with("/messages?session_id=abc~"), "{body}");
    for (who, place, status) in [
        ("alice", place.as_str(), StatusCode::OK),
        ("bob", &place, StatusCode::NOT_FOUND),
        ("bob", "/messages?session_id=abc", StatusCode::OK),
    ] {
        world.heard();
        let mut request = mcp("POST", &[]);
        *request.uri_mut() = place.parse().unwrap();
        let (got, _, body) = world.ask(who, request).await;
        assert_eq!(got, status, "{who} {place}: {body}");
        let reached = world.heard().starts_with("POST /messages?session_id=abc HTTP");
        assert_eq!(reached, who == "alice", "another has that name for a session of its own");
    }
}

/// A message to an agent.
fn a2a(method: &str, params: &str) -> Request<Full<Bytes>> {
    let body = format!(r#"{{"jsonrpc":"2.0","id":7,"method":"{method}","params":{params}}}"#);
    Request::post("/")
        .header(header::HOST, "agent.example")
        .header(header::CONTENT_TYPE, "application/json")
        .header("a2a-version", if method.contains('/') { "0.3" } else { "1.0" })
        .body(Full::new(Bytes::from(body)))
        .unwrap()
}

fn rest(method: &str, path: &str, body: &str) -> Request<Full<Bytes>> {
    Request::builder()
        .method(method)
        .uri(path)
        .header(header::HOST, "agent.example")
        .header(header::CONTENT_TYPE, "application/json")
        .header("a2a-version", "1.0")
        .body(Full::new(Bytes::from(body.to_owned())))
        .unwrap()
}

fn task() -> String {
    format!(r#"{{"id":"{TASK}","contextId":"{CONTEXT}","status":{{"state":"working"}}}}"#)
}

/// The ids that a consumer was told, of a task and its conversation.
async fn told(world: &World, who: &str) -> (String, String) {
    let (status, _, body) = world.ask(who, a2a("message/send", r#"{"message":{"parts":[]}}"#)).await;
    assert_eq!(status, StatusCode::OK, "{body}");
    let body: serde_json::Value = serde_json::from_str(&body).unwrap();
    let of = |name: &str| body["result"][name].as_str().unwrap().to_owned();
    (of("id"), of("contextId"))
}

#[tokio::test]
async fn a_task_is_its_consumers_by_every_method_and_binding() {
    let answer = format!(r#"{{"jsonrpc":"2.0","id":7,"result":{}}}"#, task());
    for section in ["server: a2a", "a2a: {card: {others: TrustOnFirstUse}}"] {
        let world = World::new(section, &canned("content-type: application/json\r\n", &answer)).await;
        let (task, context) = told(&world, "alice").await;
        assert!(task.starts_with(TASK) && task != TASK && context.starts_with(CONTEXT), "{task} {context}");
        let asked = |task: &str, context: &str| {
            let id = format!(r#"{{"id":"{task}"}}"#);
            let of = format!(r#"{{"taskId":"{task}","id":"p"}}"#);
            let set =
                format!(r#"{{"taskId":"{task}","pushNotificationConfig":{{"url":"https://a.example"}}}}"#);
            let named = format!(r#"{{"name":"tasks/{task}"}}"#);
            let snake = format!(r#"{{"message":{{"task_id":"{task}","parts":[]}}}}"#);
            let refers = format!(r#"{{"message":{{"referenceTaskIds":["{task}"],"parts":[]}}}}"#);
            let goes_on = format!(r#"{{"message":{{"contextId":"{context}","parts":[]}}}}"#);
            let escaped = task.replace('~', "%7e");
            vec![
                a2a("tasks/get", &id),
                a2a("tasks/cancel", &id),
                a2a("tasks/resubscribe", &id),
                a2a("tasks/pushNotificationConfig/set", &set),
                a2a("tasks/pushNotificationConfig/list", &id),
                a2a("GetTask", &id),
                a2a("GetTask", &named),
                a2a("CancelTask", &id),
                a2a("SubscribeToTask", &id),
                a2a("CreateTaskPushNotificationConfig", &of),
                a2a("DeleteTaskPushNotificationConfig", &of),
                a2a("message/send", &snake),
                a2a("SendMessage", &refers),
                a2a("SendStreamingMessage", &goes_on),
                rest("GET", &format!("/v1/tasks/{task}"), ""),
                rest("GET", &format!("/tasks/{escaped}"), ""),
                rest("GET", &format!("/%74asks/{task}"), ""),
                rest("POST", &format!("/tasks/{task}:cancel"), "{}"),
                rest("GET", &format!("/tasks/{task}:subscribe"), ""),
                rest("POST", &format!("/tasks/{task}/pushNotificationConfigs"), "{}"),
                rest("DELETE", &format!("/tasks/{task}/pushNotificationConfigs/p"), ""),
                rest("POST", "/message:send", &goes_on),
            ]
        };
        let mut count = 1;
        for request in asked(&task, &context) {
            let what = format!("{} {:?}", request.uri(), request.body());
            let (status, _, body) = world.ask("alice", request).await;
            count += 1;
            assert_eq!(status, StatusCode::OK, "{what}: {body}");
            assert_eq!(world.last_reason(count).await, Reason::Allowed, "{what}");
            let heard = world.heard();
            assert!(!heard.lines().next().unwrap().contains(['~', '%']) || heard.contains("%74"), "{heard}");
        }
        for request in asked(&task, &context) {
            let what = format!("{} {:?}", request.uri(), request.body());
            let is_message = request.uri().path() == "/";
            let (status, headers, body) = world.ask("bob", request).await;
            count += 1;
            assert_eq!(world.last_reason(count).await, Reason::NotGiven, "{what}: {body}");
            assert_eq!(headers["x-cofferdam-reason"], "not-given");
            assert_eq!(world.heard(), "", "{what}");
            let body: serde_json::Value = serde_json::from_str(&body).unwrap();
            assert_eq!(body["error"]["code"], -32001, "TaskNotFound: {body}");
            let expected = if is_message { StatusCode::OK } else { StatusCode::NOT_FOUND };
            assert_eq!(status, expected, "{what}");
        }
        // Whatever an agent may take for a task.
        for (method, path) in [
            ("POST", format!("/tasks/{TASK}:CANCEL")),
            ("POST", format!("/tasks/{TASK}%3Acancel")),
            ("POST", format!("/Tasks/{TASK}/cancel")),
            ("PATCH", format!("/v1/tasks/{TASK}/")),
            ("GET", format!("/tasks?task_id={TASK}")),
        ] {
            let body = if method == "GET" { "" } else { "{}" };
            let (_, headers, _) = world.ask("bob", rest(method, &path, body)).await;
            let reason = headers.get("x-cofferdam-reason").map(|reason| reason.to_str().unwrap());
            assert_eq!(reason, Some("not-given"), "{method} {path}");
        }
        // Without its tag it is nobody's.
        for who in ["alice", "bob"] {
            let (_, headers, _) = world.ask(who, a2a("tasks/get", &format!(r#"{{"id":"{TASK}"}}"#))).await;
            assert_eq!(headers["x-cofferdam-reason"], "not-given");
        }
    }
}

#[tokio::test]
async fn what_goes_to_the_server_has_the_servers_ids_in_a_stream_and_in_a_conversation_that_a_client_named() {
    let event = format!(
        "data: {{\"jsonrpc\":\"2.0\",\"id\":7,\"result\":{{\"taskId\":\"{TASK}\",\"status\":{{}}}}}}\n\n"
    );
    let world = World::new("server: a2a", &canned("content-type: text/event-stream\r\n", &event)).await;
    let (_, _, body) = world.ask("alice", a2a("message/stream", r#"{"message":{"parts":[]}}"#)).await;
    assert!(body.contains(&format!("\"{TASK}~")), "{body}");
    let stub = support::Stub::start(false).await;
    world.load("server: a2a", "", false, stub.address);
    let given = body.split('"').find(|text| text.starts_with(TASK)).unwrap();
    let params = format!(r#"{{"message":{{"taskId":"{given}","contextId":"mine","parts":[]}}}}"#);
    for who in ["alice", "bob"] {
        let (status, ..) = world.ask(who, a2a("message/send", &params)).await;
        assert_eq!(status, StatusCode::OK);
    }
    let seen = stub.seen.lock().unwrap().clone();
    assert_eq!(seen.len(), 1, "of another nothing gets there");
    let body: serde_json::Value = serde_json::from_slice(&seen[0].body).unwrap();
    assert_eq!(body["params"]["message"]["taskId"], TASK);
    let named = body["params"]["message"]["contextId"].as_str().unwrap();
    assert!(named.starts_with("mine~"), "no client names what another has: {named}");
    assert_eq!(seen[0].headers["content-length"].to_str().unwrap(), seen[0].body.len().to_string());
}

#[tokio::test]
async fn a_task_of_a_server_of_tools_is_its_consumers_also_within_a_batch() {
    let answer =
        format!(r#"{{"jsonrpc":"2.0","id":7,"result":{{"task":{{"taskId":"{TASK}","status":"working"}}}}}}"#);
    let world = World::new("server: mcp", &canned("content-type: application/json\r\n", &answer)).await;
    let (_, _, body) = world.ask("alice", mcp("POST", &[])).await;
    let body: serde_json::Value = serde_json::from_str(&body).unwrap();
    let task = body["result"]["task"]["taskId"].as_str().unwrap().to_owned();
    assert!(task.starts_with("t-4711~"), "{task}");
    let call =
        r#"{"jsonrpc":"2.0","id":1,"method":"tools/call","params":{"name":"a","arguments":{"taskId":"x"}}}"#;
    let result = |id: &str| {
        format!(r#"{{"jsonrpc":"2.0","id":2,"method":"tasks/result","params":{{"taskId":"{id}"}}}}"#)
    };
    for (who, body, reason) in [
        ("alice", result(&task), Reason::Allowed),
        ("alice", format!("[{call},{}]", result(&task)), Reason::Allowed),
        ("alice", call.to_owned(), Reason::Allowed),
        ("bob", result(&task), Reason::NotGiven),
        ("bob", result(TASK), Reason::NotGiven),
        ("bob", format!("[{call},{}]", result(&task)), Reason::NotGiven),
    ] {
        let mut request = mcp("POST", &[]);
        *request.body_mut() = Full::new(Bytes::from(body.clone()));
        request.headers_mut().insert(header::CONTENT_LENGTH, body.len().into());
        let before = world.records.0.lock().unwrap().len();
        let (_, _, said) = world.ask(who, request).await;
        assert_eq!(world.last_reason(before + 1).await, reason, "{who} {body}: {said}");
    }
}

#[tokio::test]
async fn what_cannot_be_read_goes_to_no_agent() {
    let world = World::new("server: a2a", &canned("content-type: application/json\r\n", "{}")).await;
    let mut grpc = rest("POST", "/lf.a2a.v1.A2AService/CancelTask", "x");
    grpc.headers_mut().insert(header::CONTENT_TYPE, "application/grpc".parse().unwrap());
    for request in [grpc, rest("POST", "/message:send", "{"), rest("POST", "/", "\u{feff}{}")] {
        let what = format!("{} {:?}", request.uri(), request.body());
        let before = world.records.0.lock().unwrap().len();
        world.ask("alice", request).await;
        assert_eq!(world.last_reason(before + 1).await, Reason::NotUnderstood, "{what}");
        assert_eq!(world.heard(), "", "{what}");
    }
}
