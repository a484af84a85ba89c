//! Endpoint pickers of InferencePools: asked by gRPC before a request goes on, and followed only as far as they may be.

#![allow(
    clippy::unwrap_used,
    clippy::panic,
    clippy::indexing_slicing,
    reason = "a test's helpers fail the test"
)]

#[path = "support/picker.rs"]
#[expect(unreachable_pub, clippy::unwrap_used, reason = "a test's helpers fail the test")]
mod server;
use crate::support;
use http::{Request, StatusCode, header};
use http_body_util::Full;
use ingress::{Limits, Reason, Server, Settings};
use routes::Target;
use server::{Kind, Manner, Picker};
use std::net::{Ipv4Addr, SocketAddr};
use std::sync::Arc;
use std::time::Duration;
use support::{OPEN, PATIENCE, PLAIN, Records, Stub, World, chat, text};

const BODY: &str = r#"{"model":"llama","temperature":1.0,"messages":[]}"#;

fn manifests(mode: &str) -> String {
    let route = PLAIN.replace(
        "{name: model, port: 8000}]",
        "{group: inference.networking.k8s.io, kind: InferencePool, name: llamas}]",
    );
    format!(
        "{route}
---
apiVersion: inference.networking.k8s.io/v1
kind: InferencePool
metadata: {{name: llamas, namespace: ai}}
spec:
  selector: {{matchLabels: {{app: llama}}}}
  targetPorts: [{{number: 8000}}]
  endpointPickerRef: {{name: picker, port: {{number: 9002}}, failureMode: {mode}}}
---
apiVersion: v1
kind: Service
metadata: {{name: picker, namespace: ai}}
spec: {{ports: [{{port: 9002}}]}}{OPEN}"
    )
}

/// A gateway before a pool of two pods, of which the first is the world's stub.
async fn world(mode: &str, picker: Option<SocketAddr>, limits: Limits) -> (World, Stub) {
    let (stub, other) = (Stub::start(false).await, Stub::start(false).await);
    let mut config = support::config(&manifests(mode), stub.address);
    for (target, addresses) in &mut config.endpoints {
        match target {
            Target::Pool { .. } => *addresses = vec![stub.address, other.address],
            _ => *addresses = picker.into_iter().collect(),
        }
    }
    let records = Arc::new(Records::default());
    let settings =
        Settings { bind: Ipv4Addr::LOCALHOST.into(), ports: [(80, 0)].into(), limits, ..Settings::default() };
    let server = Server::start(settings, Arc::clone(&records) as _);
    assert!(server.reload(config).unwrap().is_empty());
    (World { server, records, stub }, other)
}

fn picks(pods: impl ToString) -> Manner {
    Manner::Picks { pods: pods.to_string(), fields: Vec::new(), body: None }
}

/// Pods are known only once they listen: the picker of these tests picks whatever it is told to later.
async fn picked_world(mode: &str, manner: impl Fn(&World, &Stub) -> Manner) -> (World, Stub, Picker) {
    let (world, other) = world(mode, None, Limits::default()).await;
    let picker = Picker::start(manner(&world, &other)).await;
    let mut config = support::config(&manifests(mode), picker.address);
    for (target, addresses) in &mut config.endpoints {
        if matches!(target, Target::Pool { .. }) {
            *addresses = vec![world.stub.address, other.address];
        }
    }
    assert!(world.server.reload(config).unwrap().is_empty());
    (world, other, picker)
}

#[tokio::test]
async fn the_pod_that_is_picked_answers_and_the_picker_hears_of_it() {
    let manner = |_: &World, other: &Stub| Manner::Picks {
        pods: other.address.to_string(),
        fields: vec![
            ("x-prefiller", "10.0.0.9:8000"),
            ("content-length", "3"),
            ("authorization", "Bearer stolen"),
            ("x-cofferdam-consumer", "root"),
        ],
        body: None,
    };
    let (world, other, picker) = picked_world("FailClose", manner).await;
    for _ in 0..4 {
        let mut request = chat(BODY);
        for (name, value) in [
            ("x-gateway-destination-endpoint", "10.9.9.9:22"),
            ("x-gateway-inference-fairness-id", "somebody else"),
            ("x-gone", "1"),
        ] {
            request.headers_mut().insert(name, value.parse().unwrap());
        }
        let response = world.ask(request).await;
        assert_eq!(response.status(), StatusCode::OK);
        assert!(text(response).await.contains("Hello"));
    }
    assert!(world.stub.seen.lock().unwrap().is_empty());
    assert_eq!(other.seen.lock().unwrap().len(), 4);
    let seen = other.last();
    assert_eq!(seen.body, BODY, "as it was sent");
    assert_eq!(seen.headers["x-prefiller"], "10.0.0.9:8000");
    assert_eq!(seen.headers["x-gateway-destination-endpoint"], other.address.to_string());
    // Nobody in particular asks.
    for name in ["x-gone", "authorization", "x-gateway-inference-fairness-id"] {
        assert!(!seen.headers.contains_key(name), "{name}");
    }
    assert_ne!(seen.headers.get("x-cofferdam-consumer").map(|it| it.as_bytes()), Some(&b"root"[..]));
    assert_eq!(world.records.wait(4).await[0].upstream, Some(other.address));
    // Every stream ends when its answer is over.
    let ended = async {
        while *picker.ended.lock().unwrap() < 4 {
            tokio::time::sleep(Duration::from_millis(5)).await;
        }
    };
    tokio::time::timeout(PATIENCE, ended).await.unwrap();
    let heard = picker.heard.lock().unwrap();
    let head = heard[0].request_headers.as_ref().unwrap();
    let fields = &head.headers.as_ref().unwrap().headers;
    let field = |name: &str| {
        let found = fields.iter().find(|it| it.key == name);
        found.map(|it| String::from_utf8(it.raw_value.clone()).unwrap())
    };
    assert_eq!(field(":method").as_deref(), Some("POST"));
    assert_eq!(field(":path").as_deref(), Some("/v1/chat/completions"));
    assert_eq!(field(":authority").as_deref(), Some("models.example"));
    assert_eq!(field("x-gateway-destination-endpoint"), None, "a client picks nothing");
    assert!(!head.end_of_stream);
    assert_eq!(heard[0].protocol_config.as_ref().unwrap().request_body_mode, 4, "FULL_DUPLEX_STREAMED");
    let body = heard[1].request_body.as_ref().unwrap();
    assert_eq!((body.body.as_slice(), body.end_of_stream), (BODY.as_bytes(), true));
    let served = heard.iter().find(|it| it.response_headers.is_some()).unwrap();
    let metadata = &served.metadata_context.as_ref().unwrap().filter_metadata["envoy.lb"];
    let by = metadata.fields["x-gateway-destination-endpoint-served"].kind.as_ref().unwrap();
    assert_eq!(*by, Kind::Text(other.address.to_string()));
}

#[tokio::test]
async fn the_next_pod_of_the_list_answers_where_the_first_cannot_be_reached() {
    let unreachable: SocketAddr = ([127, 0, 0, 1], 1).into();
    let manner = |world: &World, _: &Stub| picks(format!("{unreachable}, {}", world.stub.address));
    let (world, other) = world("FailClose", None, Limits::default()).await;
    let picker = Picker::start(manner(&world, &other)).await;
    let mut config = support::config(&manifests("FailClose"), picker.address);
    for (target, addresses) in &mut config.endpoints {
        if matches!(target, Target::Pool { .. }) {
            *addresses = vec![unreachable, world.stub.address];
        }
    }
    assert!(world.server.reload(config).unwrap().is_empty());
    let response = world.ask(chat(BODY)).await;
    assert_eq!(response.status(), StatusCode::OK);
    text(response).await;
    assert_eq!(world.records.wait(1).await[0].upstream, Some(world.stub.address));
}

#[tokio::test]
async fn a_request_without_a_body_is_picked_for_too() {
    let (world, other, picker) = picked_world("FailClose", |_, other| picks(other.address)).await;
    let request = Request::get("/v1/models").header(header::HOST, "a.example").body(Full::default()).unwrap();
    assert_eq!(world.ask(request).await.status(), StatusCode::OK);
    assert_eq!(other.seen.lock().unwrap().len(), 1);
    assert!(picker.heard.lock().unwrap()[0].request_headers.as_ref().unwrap().end_of_stream);
}

#[tokio::test]
async fn a_body_of_many_messages_is_shown_whole() {
    let (world, other, picker) = picked_world("FailClose", |_, other| picks(other.address)).await;
    let body = format!(r#"{{"model":"llama","messages":[],"x":"{}"}}"#, "a".repeat(200_000));
    let response = world.ask(chat(&body)).await;
    assert_eq!(response.status(), StatusCode::OK);
    assert_eq!(other.last().body, body);
    let shown: Vec<u8> = picker
        .heard
        .lock()
        .unwrap()
        .iter()
        .filter_map(|it| it.request_body.as_ref())
        .flat_map(|it| it.body.clone())
        .collect();
    assert_eq!(shown, body.as_bytes());
}

#[tokio::test]
async fn a_body_that_was_only_written_again_goes_on_as_it_came() {
    let again = r#"{"messages":[],"model":"llama","temperature":1}"#;
    let manner = |_: &World, other: &Stub| Manner::Picks {
        pods: other.address.to_string(),
        fields: Vec::new(),
        body: Some(again.to_owned()),
    };
    let (world, other, _picker) = picked_world("FailClose", manner).await;
    assert_eq!(world.ask(chat(BODY)).await.status(), StatusCode::OK);
    assert_eq!(other.last().body, BODY);
}

#[tokio::test]
async fn where_a_picker_fails_the_mode_decides() {
    let stranger = Stub::start(false).await;
    let changed = Manner::Picks {
        pods: String::new(),
        fields: Vec::new(),
        body: Some(r#"{"model":"other","temperature":1.0,"messages":[]}"#.to_owned()),
    };
    for (manner, why) in [
        (Manner::Ends, "ends before"),
        (Manner::Fails, "ends before"),
        (Manner::Silent, "in time"),
        (picks(stranger.address), "no pod of its pool"),
        (picks("nonsense"), "no pod of its pool"),
        (Manner::Contradicts(String::new(), stranger.address.to_string()), "different pods"),
        (changed, "another body"),
    ] {
        for (mode, status, reason) in [
            ("FailClose", StatusCode::SERVICE_UNAVAILABLE, Reason::PickerFailed),
            ("FailOpen", StatusCode::OK, Reason::Allowed),
        ] {
            let limits = Limits { pick: Duration::from_millis(300), ..Limits::default() };
            let (world, other) = world(mode, None, limits).await;
            // Whoever is picked where it matters is of the pool.
            let manner = match manner.clone() {
                Manner::Contradicts(_, two) => Manner::Contradicts(other.address.to_string(), two),
                Manner::Picks { fields, body: Some(body), .. } => {
                    Manner::Picks { pods: other.address.to_string(), fields, body: Some(body) }
                }
                manner => manner,
            };
            // One that contradicts itself gives no body back; it is heard out only for a request without one.
            let has_body = !matches!(manner, Manner::Contradicts(..));
            let picker = Picker::start(manner.clone()).await;
            let mut config = support::config(&manifests(mode), picker.address);
            for (target, addresses) in &mut config.endpoints {
                if matches!(target, Target::Pool { .. }) {
                    *addresses = vec![world.stub.address, other.address];
                }
            }
            assert!(world.server.reload(config).unwrap().is_empty());
            let request = if has_body {
                chat(BODY)
            } else {
                Request::get("/v1/models").header(header::HOST, "a.example").body(Full::default()).unwrap()
            };
            let response = world.ask(request).await;
            assert_eq!(response.status(), status, "{manner:?} {mode}");
            text(response).await;
            let record = world.records.wait(1).await.remove(0);
            assert_eq!(record.reason, reason, "{manner:?} {mode}");
            assert!(record.detail.as_deref().unwrap().contains(why), "{manner:?}: {:?}", record.detail);
            assert_eq!(world.server.figures().unpicked(), 1);
            let served = world.stub.seen.lock().unwrap().len() + other.seen.lock().unwrap().len();
            assert_eq!(served, usize::from(mode == "FailOpen"));
            assert!(stranger.seen.lock().unwrap().is_empty());
            if let (true, true, Some(seen)) =
                (has_body, mode == "FailOpen", other.seen.lock().unwrap().first())
            {
                assert_eq!(seen.body, BODY);
            }
        }
    }
}

#[tokio::test]
async fn a_picker_that_is_not_there_fails_as_its_mode_says() {
    let unreachable: SocketAddr = ([127, 0, 0, 1], 1).into();
    for (mode, status) in [("FailClose", 503), ("FailOpen", 200)] {
        for picker in [None, Some(unreachable)] {
            let (world, _other) = world(mode, picker, Limits::default()).await;
            assert_eq!(world.ask(chat(BODY)).await.status(), status, "{mode} {picker:?}");
        }
    }
}

#[tokio::test]
async fn what_a_picker_answers_itself_its_client_hears_in_either_mode() {
    for (code, status, reason) in [
        (429, StatusCode::TOO_MANY_REQUESTS, Reason::PickerSheds),
        (503, StatusCode::SERVICE_UNAVAILABLE, Reason::PickerRefused),
        (200, StatusCode::SERVICE_UNAVAILABLE, Reason::PickerRefused),
    ] {
        for mode in ["FailOpen", "FailClose"] {
            let picker = Picker::start(Manner::Immediate(code)).await;
            let (world, other) = world(mode, Some(picker.address), Limits::default()).await;
            let response = world.ask(chat(BODY)).await;
            assert_eq!(response.status(), status);
            assert_eq!(response.headers()["x-cofferdam-reason"], reason.as_str());
            assert!(response.headers().contains_key(header::RETRY_AFTER));
            assert_eq!(world.records.wait(1).await[0].reason, reason);
            assert!(world.stub.seen.lock().unwrap().is_empty() && other.seen.lock().unwrap().is_empty());
        }
    }
}

#[tokio::test]
async fn a_body_larger_than_what_is_held_is_shown_to_no_picker() {
    for (mode, status) in [("FailClose", 503), ("FailOpen", 200)] {
        let limits = Limits { body: 64 * 1024, ..Limits::default() };
        let picker = Picker::start(Manner::Silent).await;
        let (world, _other) = world(mode, Some(picker.address), limits).await;
        let request = Request::post("/upload")
            .header(header::HOST, "a.example")
            .header(header::CONTENT_TYPE, "application/octet-stream")
            .body(Full::from("a".repeat(200_000)))
            .unwrap();
        assert_eq!(world.ask(request).await.status(), status, "{mode}");
        assert!(picker.heard.lock().unwrap().is_empty());
    }
}
