//! What answers to allowed requests led to may be asked for, by its pod and as it was named; nothing else may.

#![allow(
    clippy::unwrap_used,
    clippy::panic,
    clippy::indexing_slicing,
    reason = "a test's helpers fail the test"
)]

use crate::support;
use gateway::{Ceiling, Limits, Reason, RuleFacts, State};
use http::StatusCode;
use policy::{Mismatch, Operations, Requests, RuleId, Verb};
use std::sync::Arc;
use support::web::{Client, Way, World, anything, full, nothing, request, rule, run, state_of};
use support::{ALLOWS, Tls};

const WAYS: [Way; 3] = [Way::Clear, Way::Tls1, Way::Tls2];
const BLOB: &str = "/v2/a/b/blobs/sha256:0000000000000000000000000000000000000000000000000000000000000000";
const BATCH: &str = "/a/b.git/info/lfs/objects/batch";

/// Downloads and uploads what is understood.
fn reading() -> Requests {
    let verbs = [Verb::Download, Verb::Upload].into();
    let operations = vec![Operations { verbs, resources: vec![] }];
    Requests { operations, ..Requests::default() }
}

/// Of a pod with these rules.
fn state_by(rules: &[(RuleId, Requests)]) -> State {
    let mut state = state_of(nothing(), Ceiling::default(), None);
    for pod in state.pods.values_mut() {
        let usual = (*pod.rules[&ALLOWS]).clone();
        for (number, requests) in rules {
            let requests = Some(rule(requests.clone(), true));
            pod.rules.insert(*number, Arc::new(RuleFacts { requests, ..usual.clone() }));
        }
    }
    state
}

/// One rule allows to download and upload what is understood, another anything that an answer led to.
fn world(way: Way) -> World {
    let referred = Requests { only_referred: true, ..anything() };
    let state = state_by(&[(ALLOWS, reading()), (RuleId(18), referred)]);
    World::before(&Tls::new(), way, state, Limits::default(), true)
}

async fn ask(
    client: &mut Client,
    method: &str,
    target: &str,
    field: (&'static str, &str),
    body: &str,
) -> StatusCode {
    let mut asked = request(method, target, full(body.to_owned()));
    asked.headers_mut().insert(field.0, field.1.parse().unwrap());
    let answer = client.send(asked).await;
    let answer = answer.unwrap_or_else(|error| panic!("{method} {target} {body:?}: {error:?}"));
    let status = answer.status();
    http_body_util::BodyExt::collect(answer.into_body()).await.unwrap();
    status
}

const NONE: (&str, &str) = ("x-none", "1");

#[test]
fn a_redirect_of_an_allowed_download_leads_on_and_so_do_those_behind_it() {
    for way in WAYS {
        let world = world(way);
        run(async {
            let mut client = world.client().await;
            assert_eq!(ask(&mut client, "GET", "/one?sig=1", NONE, "").await, StatusCode::FORBIDDEN);
            let to_one = ("x-location", "/one?sig=1");
            assert_eq!(ask(&mut client, "GET", BLOB, to_one, "").await, StatusCode::FOUND, "{way:?}");
            for (method, target) in [("GET", "/one"), ("GET", "/one?sig=2"), ("POST", "/one?sig=1")] {
                assert_eq!(ask(&mut client, method, target, NONE, "").await, StatusCode::FORBIDDEN);
            }
            let to_two = ("x-location", "/two");
            assert_eq!(ask(&mut client, "GET", "/one?sig=1", to_two, "").await, StatusCode::FOUND);
            assert_eq!(ask(&mut client, "HEAD", "/two", NONE, "").await, StatusCode::OK);
            assert_eq!(ask(&mut client, "GET", "/two", NONE, "").await, StatusCode::OK, "{way:?}");
        });
        let calls: Vec<_> = (0..8).map(|_| world.proxy.call()).collect();
        assert_eq!(calls[0].lacks, Some(Mismatch::Referral));
        let is_referred: Vec<bool> = calls.iter().map(|call| call.operation.referred).collect();
        assert_eq!(is_referred, [false, false, false, false, false, true, true, true]);
    }
}

#[test]
fn another_connection_of_the_pod_may_ask_for_it_too() {
    let world = world(Way::Tls2);
    run(async {
        let mut first = world.client().await;
        assert_eq!(ask(&mut first, "GET", BLOB, ("x-location", "/one"), "").await, StatusCode::FOUND);
        assert_eq!(ask(&mut world.client().await, "GET", "/one", NONE, "").await, StatusCode::OK);
    });
}

#[test]
fn who_gets_the_address_of_another_pod_gets_nothing_of_what_was_granted_to_it() {
    let held_by = |world: &World, pod: Option<&str>| {
        let all = [(ALLOWS, reading()), (RuleId(18), Requests { only_referred: true, ..anything() })];
        let mut state = State { inspection: Some(Arc::clone(&world.inspection)), ..state_by(&all) };
        match pod {
            Some(pod) => {
                let addresses: Vec<_> = state.pods.keys().copied().collect();
                state.workloads = addresses.into_iter().map(|address| (address, pod.into())).collect();
            }
            None => state.pods.clear(),
        }
        world.proxy.table.replace(state);
    };
    let world = world(Way::Tls2);
    run(async {
        let one = async || ask(&mut world.client().await, "GET", "/one", NONE, "").await;
        let to_one = ("x-location", "/one");
        held_by(&world, Some("team/first"));
        let mut of_first = world.client().await;
        assert_eq!(ask(&mut of_first, "GET", BLOB, to_one, "").await, StatusCode::FOUND);
        held_by(&world, Some("team/first"));
        assert_eq!(one().await, StatusCode::OK, "another state says the same of it");
        held_by(&world, Some("team/second"));
        assert_eq!(one().await, StatusCode::FORBIDDEN);
        // What was open before is the first one's, and leads nobody else anywhere.
        assert_eq!(ask(&mut of_first, "GET", BLOB, to_one, "").await, StatusCode::FOUND);
        assert_eq!(one().await, StatusCode::FORBIDDEN);
        // Nor does one of the same name get it that came when the first had gone.
        held_by(&world, None);
        held_by(&world, Some("team/second"));
        assert_eq!(one().await, StatusCode::FORBIDDEN);
        assert_eq!(ask(&mut world.client().await, "GET", BLOB, to_one, "").await, StatusCode::FOUND);
        assert_eq!(one().await, StatusCode::OK);
        held_by(&world, None);
        held_by(&world, Some("team/second"));
        assert_eq!(one().await, StatusCode::FORBIDDEN);
    });
}

#[test]
fn what_an_upload_or_a_refused_request_leads_to_is_not_granted() {
    for way in WAYS {
        let world = world(way);
        run(async {
            let mut client = world.client().await;
            let (upload, to_one) = (BLOB.replace("/sha256", "/uploads/sha256"), ("x-location", "/one"));
            assert_eq!(ask(&mut client, "PUT", &upload, to_one, "x").await, StatusCode::FOUND, "{way:?}");
            assert_eq!(ask(&mut client, "GET", "/secret", to_one, "").await, StatusCode::FORBIDDEN);
            assert_eq!(ask(&mut client, "GET", "/one", NONE, "").await, StatusCode::FORBIDDEN);
        });
    }
}

#[test]
fn an_answer_of_git_lfs_leads_to_its_downloads_only_where_downloads_were_asked_for() {
    for way in WAYS {
        let world = world(way);
        let port = world.proxy.server.local_addr().unwrap().port();
        let batch = format!(
            r#"{{"objects":[{{"actions":{{"download":{{"href":"https://hub.example:{port}/down"}},"upload":{{"href":"https://hub.example:{port}/up"}}}}}}]}}"#
        );
        run(async {
            let mut client = world.client().await;
            let mut asks = async |method, target, body| {
                ask(&mut client, method, target, ("x-batch", &batch), body).await
            };
            assert_eq!(asks("POST", BATCH, r#"{"operation":"upload"}"#).await, StatusCode::OK, "{way:?}");
            assert_eq!(asks("GET", "/down", "").await, StatusCode::FORBIDDEN);
            assert_eq!(asks("POST", BATCH, r#"{"operation":"download"}"#).await, StatusCode::OK);
            assert_eq!(asks("GET", "/down", "").await, StatusCode::OK);
            assert_eq!(asks("GET", "/up", "").await, StatusCode::FORBIDDEN);
        });
    }
}

#[test]
fn a_server_that_only_referrals_allow_is_not_connected_to_before_one() {
    for way in WAYS {
        let referred = Requests { only_referred: true, ..anything() };
        let world = World::new(way, referred.clone());
        let ask_for = async |target| {
            let mut client = world.client().await;
            ask(&mut client, "GET", target, ("x-location", "/two"), "").await
        };
        run(async { assert_eq!(ask_for("/one").await, StatusCode::FORBIDDEN, "{way:?}") });
        let record = world.proxy.record();
        assert_eq!((record.reason, record.bytes_up), (Reason::NotReferred, 0), "{way:?}");
        assert_eq!(world.proxy.call().reason, Reason::NotReferred);
        assert!(world.seen.try_recv().is_err());
        // While another rule allows it too, an answer leads on; then that alone does.
        world.allow(anything());
        run(async { assert_eq!(ask_for(BLOB).await, StatusCode::FOUND) });
        world.allow(referred);
        run(async {
            assert_eq!(ask_for("/two").await, StatusCode::FOUND, "{way:?}");
            assert_eq!(ask_for("/one").await, StatusCode::FORBIDDEN, "what is asked for is judged still");
        });
    }
}

/// The rule that comes with another's `redirects`.
fn granted() -> Requests {
    Requests { granted: true, ..Requests::default() }
}

#[test]
fn what_an_answer_grants_may_be_fetched_exactly_and_nothing_else_of_its_server() {
    for way in [Way::Tls1, Way::Tls2] {
        let world = World::new(way, granted());
        let get = async |target, to| {
            let mut client = world.client().await;
            ask(&mut client, "GET", target, ("x-location", to), "").await
        };
        run(async { assert_eq!(get("/one", "/x").await, StatusCode::FORBIDDEN, "{way:?}") });
        let record = world.proxy.record();
        assert_eq!((record.reason, record.bytes_up), (Reason::NotReferred, 0), "{way:?}");
        assert_eq!(world.proxy.call().reason, Reason::NotReferred);
        assert!(world.seen.try_recv().is_err(), "nobody is connected to a server that nothing led to");
        // What is led to without such a rule is referred to, and not granted.
        world.allow(anything());
        run(async { assert_eq!(get(BLOB, "/zero").await, StatusCode::FOUND) });
        world.allow(Requests { redirects: Some(60), ..anything() });
        run(async { assert_eq!(get(BLOB, "/one?sig=1").await, StatusCode::FOUND) });
        world.allow(granted());
        run(async {
            let asks = async |method, target, body| {
                ask(&mut world.client().await, method, target, ("x-location", "/two"), body).await
            };
            assert_eq!(asks("HEAD", "/one?sig=1", "").await, StatusCode::FOUND, "{way:?}");
            assert_eq!(asks("GET", "/one?sig=1", "").await, StatusCode::FOUND, "{way:?}");
            for (method, target, body) in [
                ("GET", "/one", ""),
                ("GET", "/one?sig=2", ""),
                ("GET", "/zero", ""),
                ("POST", "/one?sig=1", ""),
                ("PUT", "/one?sig=1", "x"),
                // What a granted answer leads to is not granted.
                ("GET", "/two", ""),
            ] {
                let told = asks(method, target, body).await;
                assert_eq!(told, StatusCode::FORBIDDEN, "{way:?} {method} {target}");
            }
            // In HTTP/1 such a request is cut.
            if way == Way::Tls2 {
                assert_eq!(asks("GET", "/one?sig=1", "says something").await, StatusCode::FORBIDDEN);
            }
        });
        let calls: Vec<_> = (0..10).map(|_| world.proxy.call()).collect();
        let granted: Vec<bool> = calls.iter().map(|call| call.operation.granted).collect();
        assert_eq!(granted, [false, false, true, true, false, false, false, false, false, false]);
        assert_eq!(calls.last().unwrap().lacks, Some(Mismatch::Grant));
    }
}

#[test]
fn a_granted_url_is_no_way_to_a_tunnel() {
    let world = World::new(Way::Tls1, Requests { redirects: Some(60), ..anything() });
    run(async {
        let mut client = world.client().await;
        assert_eq!(ask(&mut client, "GET", BLOB, ("x-location", "/one"), "").await, StatusCode::FOUND);
        world.allow(granted());
        let mut asked = request("GET", "/one", full(""));
        for (name, value) in [
            ("connection", "upgrade"),
            ("upgrade", "websocket"),
            ("sec-websocket-version", "13"),
            ("sec-websocket-key", "dGhlIHNhbXBsZSBub25jZQ=="),
        ] {
            asked.headers_mut().insert(name, value.parse().unwrap());
        }
        assert_eq!(client.send(asked).await.unwrap().status(), StatusCode::FORBIDDEN);
    });
}

#[test]
fn in_clear_nothing_is_granted() {
    let world = World::new(Way::Clear, Requests { redirects: Some(60), ..anything() });
    run(async {
        let mut client = world.client().await;
        assert_eq!(ask(&mut client, "GET", BLOB, ("x-location", "/one"), "").await, StatusCode::FOUND);
        world.allow(granted());
        assert_eq!(ask(&mut client, "GET", "/one", NONE, "").await, StatusCode::FORBIDDEN);
    });
}
