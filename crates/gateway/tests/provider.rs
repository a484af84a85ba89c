//! Whom a request has its provider contact is judged by the policy of who sends it.

#![allow(
    clippy::unwrap_used,
    clippy::panic,
    clippy::indexing_slicing,
    reason = "a test's helpers fail the test"
)]

use crate::support;
use gateway::{Ceiling, Limits, Reason, State};
use http::StatusCode;
use http_body_util::BodyExt;
use inspect::operation::MAX_WATCHED;
use policy::{
    DomainPattern, Generation, HostedTools, Mismatch, OwnEgress, ProviderEgress, Requests, own_egress,
};
use std::io::Write;
use std::sync::Arc;
use support::Tls;
use support::web::{Client, Way, World, anything, full, request, run, state_of};

const WAYS: [Way; 3] = [Way::Clear, Way::Tls1, Way::Tls2];

/// The isolation is of line 7, where the policy begins.
const POLICIES: &str = "\
apiVersion: v1
kind: Pod
metadata: {name: trainer, namespace: ml}
spec: {nodeName: n, containers: []}
status: {podIP: 10.0.0.1}
---
apiVersion: cofferdam.dev/v1alpha1
kind: EgressPolicy
metadata: {name: trainer, namespace: ml}
spec:
  egress:
  - {action: Allow, to: [{domains: [hub.example]}], models: [m]}
  - {action: Allow, to: [{domains: [mcp.ours.example]}]}
  - {action: Allow, to: [{domains: [huggingface.co]}], operations: [{verbs: [download], resources: [ours/**]}]}
";

fn own() -> OwnEgress {
    let read = crds::read_objects("policies.yaml", POLICIES.as_bytes());
    let set = compiler::compile_unlinted(read.objects, Generation(7)).set;
    own_egress(&set, &set.world.pods[0])
}

fn state(requests: Requests) -> State {
    let mut state = state_of(requests, Ceiling::default(), None);
    let own = Arc::new(own());
    state.pods.values_mut().for_each(|pod| pod.own = Arc::clone(&own));
    state
}

fn world(way: Way, provider_egress: ProviderEgress) -> World {
    let requests = Requests { provider_egress, ..anything() };
    World::before(&Tls::new(), way, state(requests), Limits::default(), true)
}

async fn ask(
    client: &mut Client,
    body: impl Into<hyper::body::Bytes>,
    coding: Option<&str>,
) -> (StatusCode, String) {
    let mut request = request("POST", "/v1/responses", full(body));
    if let Some(coding) = coding {
        request.headers_mut().insert("content-encoding", coding.parse().unwrap());
    }
    let (head, body) = client.send(request).await.unwrap().into_parts();
    let body = body.collect().await.unwrap().to_bytes();
    (head.status, String::from_utf8(body.to_vec()).unwrap())
}

fn with(field: &str) -> String {
    format!(r#"{{"model":"m","input":"x",{field}}}"#)
}

fn server(url: &str) -> String {
    with(&format!(r#""tools":[{{"type":"mcp","server_url":"{url}"}}]"#))
}

fn picture(url: &str) -> String {
    format!(r#"{{"model":"m","input":[{{"content":[{{"type":"input_image","image_url":"{url}"}}]}}]}}"#)
}

#[test]
fn a_provider_is_sent_only_where_the_workload_may_go_itself() {
    for way in WAYS {
        let world = world(way, ProviderEgress::default());
        let allowed = [
            server("https://mcp.ours.example/sse"),
            picture("https://mcp.ours.example/a.png"),
            picture("https://huggingface.co/ours/repo/resolve/main/a.png"),
            picture("data:image/png;base64,AAAA"),
            with(r#""tools":[{"type":"code_interpreter"},{"type":"function","name":"f"}]"#),
        ];
        let refused = [
            (
                server("https://mcp.evil.example/sse?hush"),
                "tools[0].server_url has the provider contact mcp.evil.example:443",
            ),
            (
                picture("https://evil.example/?hush"),
                "input[0].content[0].image_url has the provider contact evil.example:443",
            ),
            (picture("https://huggingface.co/evil/hush/resolve/main/a.png"), "huggingface.co:443"),
            (server("https://huggingface.co/mcp"), "huggingface.co:443"),
            (picture("http://192.0.2.7/"), "192.0.2.7:80"),
            (picture("https://mcp.ours.example@evil.example/"), "cannot be told"),
            (
                with(r#""tools":[{"type":"web_search"}]"#),
                "web_search, which contacts hosts of its own choice",
            ),
        ];
        run(async {
            let mut client = world.client().await;
            for body in &allowed {
                let (status, told) = ask(&mut client, body.clone(), None).await;
                assert_eq!(status, StatusCode::OK, "{way:?} {body} {told}");
            }
            for (body, expected) in &refused {
                let (status, told) = ask(&mut client, body.clone(), None).await;
                assert_eq!(status, StatusCode::FORBIDDEN, "{way:?} {body}");
                assert!(told.contains("provider-egress") && told.contains(expected), "{told}");
            }
            let mut gzip = flate2::write::GzEncoder::new(Vec::new(), flate2::Compression::fast());
            gzip.write_all(refused[0].0.as_bytes()).unwrap();
            let (status, told) = ask(&mut client, gzip.finish().unwrap(), Some("gzip")).await;
            assert!(status == StatusCode::FORBIDDEN && told.contains(refused[0].1), "{told}");
            assert!(told.contains("EgressPolicy ml/trainer") && told.contains("policies.yaml:7"), "{told}");
        });
        let calls: Vec<_> = (0..=allowed.len() + refused.len()).map(|_| world.proxy.call()).collect();
        let (passed, stopped) = calls.split_at(allowed.len());
        assert!(passed.iter().all(|call| call.reason == Reason::RequestAllowed));
        assert_eq!(passed[0].operation.contacts[0].whom.to_string(), "mcp.ours.example:443");
        assert!(stopped.iter().all(|call| call.reason == Reason::ProviderEgress));
        assert!(stopped.iter().all(|call| call.lacks == Some(Mismatch::ProviderEgress)));
        let kept = serde_json::to_string(&calls).unwrap();
        assert!(kept.contains(r#""host":{"name":"mcp.evil.example","port":443}"#), "{kept}");
        assert!(!kept.contains("hush"), "what a URL carries is not kept: {kept}");
        assert_eq!(world.seen.try_iter().count(), allowed.len(), "what is refused is not at the server");
    }
}

#[test]
fn a_rule_may_let_a_provider_go_further_than_the_workload() {
    let domains = ["*.partner.example", "search.example", "**.search.example"];
    let domains = domains.map(|text| DomainPattern::parse_own(text).unwrap()).to_vec();
    let limited = r#""tools":[{"type":"web_search","filters":{"allowed_domains":["search.example"]}}]"#;
    let elsewhere = r#""tools":[{"type":"web_search","filters":{"allowed_domains":["evil.example"]}}]"#;
    let anywhere = r#""tools":[{"type":"web_search"}]"#;
    for (domains, hosted_tools, expected) in [
        (domains.clone(), HostedTools::AllowedDomains, [true, false, true, false, false]),
        (vec![], HostedTools::Allow, [false, false, true, true, true]),
        (vec![DomainPattern::Any], HostedTools::Deny, [true, true, false, false, false]),
    ] {
        let world = world(Way::Tls1, ProviderEgress { domains, hosted_tools });
        let bodies = [
            server("https://mcp.partner.example"),
            server("https://evil.example"),
            with(limited),
            with(elsewhere),
            with(anywhere),
        ];
        run(async {
            let mut client = world.client().await;
            for (body, is_allowed) in bodies.into_iter().zip(expected) {
                let (status, told) = ask(&mut client, body.clone(), None).await;
                assert_eq!(status == StatusCode::OK, is_allowed, "{hosted_tools:?} {body} {told}");
            }
        });
    }
}

#[test]
fn what_is_said_beyond_the_bound_of_what_is_held_is_never_whole_at_the_server() {
    let world = world(Way::Tls1, ProviderEgress::default());
    let filler = "a".repeat(MAX_WATCHED);
    let late = format!(
        r#"{{"model":"m","input":"{filler}","tools":[{{"server_url":"https://mcp.ours.example"}}]}}"#
    );
    run(async {
        let mut client = world.client().await;
        let (status, told) = ask(&mut client, format!(r#"{{"model":"m","input":"{filler}"}}"#), None).await;
        assert_eq!(status, StatusCode::OK, "{told}");
        let mut client = world.client().await;
        // It may be told, or its connection may break before.
        let late = client.send(request("POST", "/v1/responses", full(late))).await;
        assert!(late.map_or(true, |answer| answer.status() == StatusCode::FORBIDDEN));
    });
    let calls = [world.proxy.call(), world.proxy.call()].map(|call| call.reason);
    assert_eq!(calls, [Reason::RequestAllowed, Reason::RequestChanged]);
    let whole = world.seen.try_iter().filter(|seen| seen.body.is_some()).count();
    assert_eq!(whole, 1);
}
