//! What a server of models stores: with `storedObjects: PerConsumer`, each consumer's answers, conversations and files are its own.

#![allow(
    clippy::unwrap_used,
    clippy::panic,
    clippy::indexing_slicing,
    reason = "a test's helpers fail the test"
)]

use crate::support;
use http::{Method, Request, Response, StatusCode, header};
use http_body_util::{BodyExt, Full};
use hyper::body::{Bytes, Incoming};
use hyper::service::service_fn;
use hyper_util::rt::TokioIo;
use ingress::{Reason, SessionKeys};
use serde_json::{Value, json};
use std::collections::BTreeSet;
use std::convert::Infallible;
use std::fmt::Write;
use std::net::{Ipv4Addr, SocketAddr};
use std::sync::{Arc, Mutex};
use std::time::Duration;
use support::{PATIENCE, PLAIN, Records, config, text};
use tokio::net::TcpListener;

const KEYS: [(&str, &str); 2] =
    [("alice", "key-of-alice-0123456789abcdef"), ("bob", "key-of-bob-0123456789abcdef00")];
const PER_CONSUMER: &str = "storedObjects: PerConsumer";

/// A server of models that stores, and knows nothing of consumers.
#[derive(Debug, Default)]
struct Store {
    known: BTreeSet<String>,
    /// What it was asked: method, target and body.
    seen: Vec<(Method, String, String)>,
}

impl Store {
    fn new_id(&mut self, kind: &str) -> String {
        let id = format!("{kind}_{:04}", self.known.len());
        self.known.insert(id.clone());
        id
    }

    fn response(&mut self, asked: &Value) -> Option<Value> {
        let named = [&asked["previous_response_id"], &asked["conversation"], &asked["conversation"]["id"]];
        if named.iter().filter_map(|id| id.as_str()).any(|id| !self.known.contains(id)) {
            return None;
        }
        let (id, item) = (self.new_id("resp"), self.new_id("msg"));
        let content = json!([{"type": "output_text", "text": format!("{id} has {item}"), "annotations": []}]);
        Some(json!({
            "id": id, "object": "response", "status": "completed", "model": "m",
            "previous_response_id": asked["previous_response_id"],
            "metadata": {"id": "mine"},
            "output": [{"id": item, "type": "message", "role": "assistant", "content": content}],
        }))
    }

    /// The content type and body of an answer; `None`: it has no such thing.
    fn answer(&mut self, method: &Method, path: &str, body: &str) -> Option<(&'static str, String)> {
        let asked: Value = serde_json::from_str(body).unwrap_or_default();
        let segments: Vec<&str> = path.trim_start_matches("/v1/").split('/').collect();
        let known = |id: &str| self.known.contains(id).then(|| id.to_owned());
        let is_post = *method == Method::POST;
        let answer = match segments.as_slice() {
            ["responses"] => {
                let response = self.response(&asked)?;
                if asked["stream"] == true {
                    return Some(("text/event-stream", events(&response)));
                }
                response
            }
            ["responses", id, "input_items"] => {
                known(id)?;
                json!({"object": "list", "data": [{"id": "msg_in", "type": "message"}], "first_id": "msg_in", "last_id": "msg_in"})
            }
            ["responses", id] | ["responses", id, "cancel"] => {
                json!({"id": known(id)?, "object": "response"})
            }
            ["conversations"] if asked["odd"] == true => {
                return Some(("application/octet-stream", r#"{"id":"conv_x"}"#.to_owned()));
            }
            ["conversations"] if is_post => json!({"id": self.new_id("conv"), "object": "conversation"}),
            ["conversations", id] => json!({"id": known(id)?, "object": "conversation"}),
            ["files"] if is_post => json!({"id": self.new_id("file"), "object": "file"}),
            ["files"] => json!({"object": "list", "data": self.known}),
            ["files", id] => json!({"id": known(id)?, "object": "file"}),
            ["files", id, "content"] => return Some(("application/octet-stream", known(id)?)),
            ["chat", "completions"] => {
                json!({"id": "chatcmpl-1", "object": "chat.completion", "choices": []})
            }
            ["odd"] => return Some(("application/octet-stream", "{}".to_owned())),
            _ => return None,
        };
        Some(("application/json", answer.to_string()))
    }
}

fn events(response: &Value) -> String {
    let item = &response["output"][0];
    let all = [
        json!({"type": "response.created", "response": {"id": response["id"], "object": "response", "output": []}}),
        json!({"type": "response.output_item.added", "output_index": 0, "item": item}),
        json!({"type": "response.output_text.delta", "item_id": item["id"], "delta": "Hello"}),
        json!({"type": "response.completed", "response": response}),
    ];
    all.iter().fold(String::new(), |mut out, event| {
        write!(out, "event: {}\ndata: {event}\n\n", event["type"].as_str().unwrap()).unwrap();
        out
    })
}

async fn serve(store: Arc<Mutex<Store>>) -> SocketAddr {
    let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).await.unwrap();
    let address = listener.local_addr().unwrap();
    tokio::spawn(async move {
        while let Ok((stream, _)) = listener.accept().await {
            let store = Arc::clone(&store);
            let service = service_fn(move |request: Request<Incoming>| {
                let store = Arc::clone(&store);
                async move {
                    let (head, body) = request.into_parts();
                    let body = body.collect().await.map(|body| body.to_bytes()).unwrap_or_default();
                    let body = String::from_utf8_lossy(&body).into_owned();
                    let mut store = store.lock().unwrap();
                    store.seen.push((head.method.clone(), head.uri.to_string(), body.clone()));
                    let found = store.answer(&head.method, head.uri.path(), &body);
                    let status = if found.is_some() { StatusCode::OK } else { StatusCode::NOT_FOUND };
                    let (kind, body) =
                        found.unwrap_or(("application/json", r#"{"error":{"message":"none"}}"#.to_owned()));
                    let response = Response::builder().status(status).header(header::CONTENT_TYPE, kind);
                    Ok::<_, Infallible>(response.body(Full::new(Bytes::from(body))).unwrap())
                }
            });
            tokio::spawn(async move {
                let http = hyper::server::conn::http1::Builder::new();
                drop(http.serve_connection(TokioIo::new(stream), service).await);
            });
        }
    });
    address
}

fn sha256(text: &str) -> String {
    let digest = aws_lc_rs::digest::digest(&aws_lc_rs::digest::SHA256, text.as_bytes());
    digest.as_ref().iter().fold(String::new(), |mut out, byte| {
        write!(out, "{byte:02x}").unwrap();
        out
    })
}

/// A gateway before such a server.
struct World {
    gateway: ingress::Server,
    records: Arc<Records>,
    store: Arc<Mutex<Store>>,
    at: SocketAddr,
}

impl World {
    async fn new(section: &str) -> Self {
        let store = Arc::new(Mutex::new(Store::default()));
        let at = serve(Arc::clone(&store)).await;
        Self::before(section, "keys", SessionKeys::default(), (store, at))
    }

    /// `who`: consumers with `keys`, or `anybody`.
    fn before(
        section: &str,
        who: &str,
        session_keys: SessionKeys,
        (store, at): (Arc<Mutex<Store>>, SocketAddr),
    ) -> Self {
        let keys: Vec<String> =
            KEYS.iter().map(|(id, key)| format!("{{consumer: {id}, sha256: [{}]}}", sha256(key))).collect();
        let authentication = if who == "anybody" {
            "{anonymous: true}".to_owned()
        } else {
            format!("{{apiKeys: [{}]}}", keys.join(", "))
        };
        let manifests = format!(
            "{PLAIN}
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
        );
        let records = Arc::new(Records::default());
        let settings = ingress::Settings {
            bind: Ipv4Addr::LOCALHOST.into(),
            ports: [(80, 0)].into(),
            session_keys,
            ..ingress::Settings::default()
        };
        let gateway = ingress::Server::start(settings, Arc::clone(&records) as _);
        let faults = gateway.reload(config(&manifests, at)).unwrap();
        assert!(faults.is_empty(), "{faults:?}");
        Self { gateway, records, store, at }
    }

    async fn send(&self, who: &str, mut request: Request<Full<Bytes>>) -> Response<Incoming> {
        if let Some((_, key)) = KEYS.iter().find(|(id, _)| *id == who) {
            let value = format!("Bearer {key}").parse().unwrap();
            request.headers_mut().insert(header::AUTHORIZATION, value);
        }
        let stream = tokio::net::TcpStream::connect(self.gateway.addresses()[&80]).await.unwrap();
        let (mut sender, connection) =
            hyper::client::conn::http1::handshake(TokioIo::new(stream)).await.unwrap();
        tokio::spawn(async move { drop(connection.await) });
        sender.send_request(request).await.unwrap()
    }

    async fn ask(&self, who: &str, method: &str, path: &str, body: &str) -> (StatusCode, String) {
        let request = Request::builder()
            .method(method)
            .uri(path)
            .header(header::HOST, "models.example")
            .header(header::CONTENT_TYPE, "application/json")
            .body(Full::new(Bytes::from(body.to_owned())));
        let response = self.send(who, request.unwrap()).await;
        (response.status(), text(response).await)
    }

    /// The JSON of an answer that must be good.
    async fn good(&self, who: &str, method: &str, path: &str, body: &str) -> Value {
        let (status, said) = self.ask(who, method, path, body).await;
        assert_eq!(status, StatusCode::OK, "{who} {method} {path} {body}: {said}");
        serde_json::from_str(&said).unwrap()
    }

    /// It is not there for who asks, in the words of OpenAI, and its server heard nothing.
    async fn refused(&self, who: &str, method: &str, path: &str, body: &str) {
        let before = self.store.lock().unwrap().seen.len();
        let count = self.not_given();
        let (status, said) = self.ask(who, method, path, body).await;
        assert_eq!(status, StatusCode::NOT_FOUND, "{who} {method} {path} {body}: {said}");
        let said: Value = serde_json::from_str(&said).unwrap();
        assert_eq!(said["error"]["code"], "not-given", "{method} {path} {body}: {said}");
        assert_eq!(said["error"]["type"], "invalid_request_error", "{said}");
        let told = async {
            while self.not_given() == count {
                tokio::time::sleep(Duration::from_millis(5)).await;
            }
        };
        tokio::time::timeout(PATIENCE, told).await.unwrap();
        assert_eq!(self.store.lock().unwrap().seen.len(), before, "{who} {method} {path} {body}");
    }

    fn not_given(&self) -> usize {
        let records = self.records.0.lock().unwrap();
        records.iter().filter(|record| record.reason == Reason::NotGiven).count()
    }

    fn last(&self) -> (Method, String, String) {
        self.store.lock().unwrap().seen.last().cloned().unwrap()
    }
}

fn id(of: &Value) -> String {
    of["id"].as_str().unwrap().to_owned()
}

#[tokio::test]
async fn an_answer_is_gone_on_with_by_who_got_it_and_by_nobody_else() {
    let world = World::new(PER_CONSUMER).await;
    let first = world.good("alice", "POST", "/v1/responses", r#"{"model":"m","input":"hi"}"#).await;
    let given = id(&first);
    let item = id(&first["output"][0]);
    assert!(given.starts_with("resp_0000~") && item.starts_with("msg_0001~"), "{first}");
    assert_eq!(first["output"][0]["content"][0]["text"], "resp_0000 has msg_0001", "what a model says stays");
    assert_eq!(first["metadata"]["id"], "mine");
    let next = format!(
        r#"{{"model":"m","z":1,"input":[{{"type":"item_reference","id":"{item}"}}],"previous_response_id":"{given}","a":1.50}}"#
    );
    let second = world.good("alice", "POST", "/v1/responses", &next).await;
    assert_eq!(second["previous_response_id"], given, "the same id every time");
    let (_, _, heard) = world.last();
    assert_eq!(
        heard,
        r#"{"model":"m","z":1,"input":[{"type":"item_reference","id":"msg_0001"}],"previous_response_id":"resp_0000","a":1.50}"#
    );
    let escaped = given.replace('~', "%7E");
    for (method, path, heard) in [
        ("GET", format!("/v1/responses/{given}"), "/v1/responses/resp_0000"),
        ("GET", format!("/v1/responses/{escaped}?stream=false"), "/v1/responses/resp_0000?stream=false"),
        ("POST", format!("/v1/responses/{given}/cancel"), "/v1/responses/resp_0000/cancel"),
        (
            "GET",
            format!("/v1/responses/{given}/input_items?after={item}&limit=2"),
            "/v1/responses/resp_0000/input_items?after=msg_0001&limit=2",
        ),
        ("DELETE", format!("/v1/responses/{given}"), "/v1/responses/resp_0000"),
    ] {
        let said = world.good("alice", method, &path, "").await;
        assert_eq!(world.last().1, heard, "{method} {path}");
        assert!(
            !said.to_string().contains("\"resp_0000\"") && !said.to_string().contains("\"msg_in\""),
            "{said}"
        );
        world.refused("bob", method, &path, "").await;
        let raw = path.replace(&given, "resp_0000").replace(&escaped, "resp_0000");
        for who in ["alice", "bob"] {
            world.refused(who, method, &raw, "").await;
        }
    }
    for body in [
        next.clone(),
        next.replace(&item, "msg_9"),
        next.replace(&given, "resp_0000"),
        format!(r#"{{"previous_response_id":"{given}","previous_response_id":null}}"#),
        format!(r#"{{"input":[{{"type":"item_reference","id":"{item}"}}]}}"#),
        format!(r#"{{"input":[{{"id":"{item}","type":"reasoning","summary":[]}}]}}"#),
    ] {
        world.refused("bob", "POST", "/v1/responses", &body).await;
        world.refused("bob", "POST", "/v1/responses/compact", &body).await;
    }
    // Who names what is stored would name what another has.
    world.refused("bob", "POST", "/v1/responses", r#"{"input":"x","request_id":"resp_0000"}"#).await;
    // An item without a tag is one that its client made up.
    let made_up = r#"{"model":"m","input":[{"type":"item_reference","id":"msg_0001"}]}"#;
    world.good("bob", "POST", "/v1/responses", made_up).await;
    assert!(world.last().2.contains(r#""id":"msg_0001~"#), "nobody names another's: {}", world.last().2);
}

#[tokio::test]
async fn the_events_of_an_answer_have_the_ids_of_who_asked() {
    let world = World::new(PER_CONSUMER).await;
    let ask = r#"{"model":"m","input":"hi","stream":true}"#;
    let (status, said) = world.ask("alice", "POST", "/v1/responses", ask).await;
    assert_eq!(status, StatusCode::OK, "{said}");
    let events: Vec<Value> = said
        .lines()
        .filter_map(|line| line.strip_prefix("data: "))
        .map(|data| serde_json::from_str(data).unwrap())
        .collect();
    assert_eq!(said.matches("event: response.").count(), 4, "{said}");
    let [created, added, delta, completed] = events.as_slice() else { panic!("{said}") };
    let given = id(&created["response"]);
    assert!(given.starts_with("resp_0000~"), "{given}");
    assert_eq!(id(&completed["response"]), given);
    assert_eq!(delta["item_id"], added["item"]["id"]);
    assert_eq!(delta["delta"], "Hello");
    let next = format!(r#"{{"model":"m","input":"on","stream":true,"previous_response_id":"{given}"}}"#);
    let (_, said) = world.ask("alice", "POST", "/v1/responses", &next).await;
    assert!(said.contains("response.completed"), "{said}");
    world.refused("bob", "POST", "/v1/responses", &next).await;
}

#[tokio::test]
async fn conversations_and_files_are_each_consumers_own() {
    let world = World::new(PER_CONSUMER).await;
    let conversation = id(&world.good("alice", "POST", "/v1/conversations", "{}").await);
    for body in [
        format!(r#"{{"model":"m","input":"hi","conversation":"{conversation}"}}"#),
        format!(r#"{{"model":"m","input":"hi","conversation":{{"id":"{conversation}"}}}}"#),
    ] {
        world.good("alice", "POST", "/v1/responses", &body).await;
        world.refused("bob", "POST", "/v1/responses", &body).await;
        world.refused("bob", "POST", "/v1/responses", &body.replace(&conversation, "conv_0000")).await;
    }
    let path = format!("/v1/conversations/{conversation}");
    assert_eq!(id(&world.good("alice", "GET", &path, "").await), conversation);
    for path in [path.clone(), format!("{path}/items"), format!("{path}/items/msg_1")] {
        world.refused("bob", "GET", &path, "").await;
    }
    let form = "--b\r\nContent-Disposition: form-data; name=\"purpose\"\r\n\r\nuser_data\r\n--b--\r\n";
    let mut upload = Request::post("/v1/files").header(header::HOST, "models.example");
    upload = upload.header(header::CONTENT_TYPE, "multipart/form-data; boundary=b");
    let response = world.send("alice", upload.body(Full::new(Bytes::from(form))).unwrap()).await;
    let file = id(&serde_json::from_str(&text(response).await).unwrap());
    assert!(file.contains('~') && world.last().2 == form, "{file}");
    let path = format!("/v1/files/{file}");
    assert_eq!(id(&world.good("alice", "GET", &path, "").await), file);
    let (status, content) = world.ask("alice", "GET", &format!("{path}/content"), "").await;
    assert_eq!((status, content.contains('~')), (StatusCode::OK, false), "what is in a file is left alone");
    for (method, path) in
        [("GET", path.clone()), ("DELETE", path.clone()), ("GET", format!("{path}/content"))]
    {
        world.refused("bob", method, &path, "").await;
    }
    let input = format!(
        r#"{{"model":"m","input":[{{"role":"user","content":[{{"type":"input_file","file_id":"{file}"}}]}}]}}"#
    );
    world.good("alice", "POST", "/v1/responses", &input).await;
    assert!(!world.last().2.contains('~'), "{}", world.last().2);
    world.refused("bob", "POST", "/v1/responses", &input).await;
    let chat = format!(
        r#"{{"model":"m","messages":[{{"role":"user","content":[{{"type":"file","file":{{"file_id":"{file}"}}}}]}}]}}"#
    );
    world.refused("bob", "POST", "/v1/chat/completions", &chat).await;
    assert_eq!(id(&world.good("alice", "POST", "/v1/chat/completions", &chat).await), "chatcmpl-1");
}

#[tokio::test]
async fn nobody_lists_what_all_have_nor_reaches_what_is_not_bound() {
    let world = World::new(PER_CONSUMER).await;
    for (method, path) in [
        ("GET", "/v1/files"),
        ("GET", "/v1/files?limit=1"),
        ("GET", "/v1/conversations"),
        ("GET", "/v1/responses"),
        ("GET", "/v1/chat/completions"),
        ("GET", "/v1/chat/completions/chatcmpl-1"),
        ("GET", "/v1/batches"),
        ("GET", "/v1/vector_stores/vs_1"),
        ("GET", "/v1/containers/cntr_1/files"),
    ] {
        world.refused("alice", method, path, "").await;
    }
}

#[tokio::test]
async fn what_cannot_be_read_goes_to_no_server_and_to_no_client() {
    let world = World::new(PER_CONSUMER).await;
    let mut count = 0;
    for (path, body) in [
        ("/v1/responses", "{"),
        ("/v1/responses", r#"{"previous_response_id":"resp_0","a":NaN}"#),
        ("/v1/conversations", "\u{feff}{}"),
    ] {
        let (status, said) = world.ask("alice", "POST", path, body).await;
        count += 1;
        assert_eq!(status, StatusCode::FORBIDDEN, "{path} {body}: {said}");
        let reason = world.records.wait(count).await[count - 1].reason;
        assert_eq!(reason, Reason::NotUnderstood, "{path} {body}");
    }
    let upgrade = Request::get("/v1/responses")
        .header(header::HOST, "models.example")
        .header(header::CONNECTION, "upgrade")
        .header(header::UPGRADE, "websocket")
        .header("sec-websocket-version", "13")
        .header("sec-websocket-key", "dGhlIHNhbXBsZSBub25jZQ==");
    let response = world.send("alice", upgrade.body(Full::default()).unwrap()).await;
    assert_eq!(response.headers()["x-cofferdam-reason"], "uninspected");
    assert!(world.store.lock().unwrap().seen.is_empty());
    // An answer of which nobody knows what is in it, though the rest of the policy would let it pass.
    let lenient = "storedObjects: PerConsumer\n  responses: {leaks: {secrets: Report}, uninspected: Allow}";
    for section in [PER_CONSUMER, lenient] {
        let world = World::new(section).await;
        let odd = world.ask("alice", "POST", "/v1/conversations", r#"{"odd":true}"#).await;
        assert!(odd.0 == StatusCode::FORBIDDEN && odd.1.contains("uninspected"), "{section}: {}", odd.1);
        let (status, said) = world.ask("alice", "GET", "/v1/odd", "").await;
        assert_eq!(
            (status, said.as_str()),
            (StatusCode::OK, "{}"),
            "it has nothing to do with what is stored"
        );
    }
}

#[tokio::test]
async fn replicas_with_the_same_keys_and_a_restart_know_whose_it_is() {
    let keys = |digit: &str| SessionKeys::read(&digit.repeat(64)).unwrap();
    let (ask, path) = (r#"{"model":"m","input":"hi"}"#, "/v1/responses");
    let one = World::new(PER_CONSUMER).await;
    let behind = (Arc::clone(&one.store), one.at);
    let one = World::before(PER_CONSUMER, "keys", keys("a"), behind.clone());
    let given = id(&one.good("alice", "POST", path, ask).await);
    drop(one);
    let next = format!(r#"{{"model":"m","input":"on","previous_response_id":"{given}"}}"#);
    let two = World::before(PER_CONSUMER, "keys", keys("a"), behind.clone());
    two.good("alice", "POST", path, &next).await;
    two.refused("bob", "POST", path, &next).await;
    let stranger = World::before(PER_CONSUMER, "keys", keys("b"), behind.clone());
    stranger.refused("alice", "POST", path, &next).await;
    // Who is not known is where they are, and here all are at one place.
    let open = World::before(PER_CONSUMER, "anybody", keys("a"), behind);
    open.refused("", "POST", path, &next).await;
    let given = id(&open.good("", "POST", path, ask).await);
    open.good("", "GET", &format!("/v1/responses/{given}"), "").await;
    open.refused("", "GET", "/v1/responses/resp_0000", "").await;
}

#[tokio::test]
async fn where_nothing_is_said_ids_and_lists_stay_as_they_are() {
    for section in ["server: openai", "storedObjects: Shared"] {
        let world = World::new(section).await;
        let ask = r#"{"model":"m","input":"hi"}"#;
        let given = id(&world.good("alice", "POST", "/v1/responses", ask).await);
        assert_eq!(given, "resp_0000", "{section}");
        world.good("bob", "GET", "/v1/responses/resp_0000", "").await;
        world.good("bob", "GET", "/v1/files", "").await;
    }
}
