//! Requests of one client that stay with one endpoint.

#![allow(
    clippy::unwrap_used,
    clippy::panic,
    clippy::indexing_slicing,
    reason = "a test's helpers fail the test"
)]

use crate::support;
use http::{HeaderMap, Request, header};
use http_body_util::Full;
use hyper::body::Bytes;
use ingress::Config;
use routes::Target;
use std::net::{Ipv4Addr, SocketAddr};
use support::canned::{Canned, answer, manifests, server};

/// Manifests whose route has a `uid`, leads to these backends, and keeps sessions so.
fn keeping(session: &str, backends: &str) -> String {
    let text = manifests("server: openai")
        .replace(
            "{name: models, namespace: ai}\nspec:\n  parentRefs",
            "{name: models, namespace: ai, uid: u-1}\nspec:\n  parentRefs",
        )
        .replace(
            "[{name: model, port: 8000}]\n",
            &format!("[{backends}]\n      sessionPersistence: {session}\n"),
        );
    assert!(text.contains("uid: u-1") && text.contains("sessionPersistence"), "{text}");
    text
}

/// A configuration that keeps sessions so, with these endpoints.
fn config(session: &str, endpoints: &[SocketAddr]) -> Config {
    let mut config = support::config(&keeping(session, "{name: model, port: 8000}"), endpoints[0]);
    config.endpoints.values_mut().for_each(|of| *of = endpoints.to_vec());
    config
}

/// Which server answers, and what the next request is to have beside.
async fn ask(world: &Canned, sent: &HeaderMap) -> (String, HeaderMap) {
    let address = *world.inner.addresses().get(&80).unwrap();
    let stream = tokio::net::TcpStream::connect(address).await.unwrap();
    let io = hyper_util::rt::TokioIo::new(stream);
    let (mut sender, connection) = hyper::client::conn::http1::handshake(io).await.unwrap();
    tokio::spawn(async move { drop(connection.await) });
    let mut request =
        Request::get("/").header(header::HOST, "a.example").body(Full::<Bytes>::default()).unwrap();
    request.headers_mut().extend(sent.clone());
    let response = sender.send_request(request).await.unwrap();
    let mut next = sent.clone();
    if let Some(cookie) = response.headers().get(header::SET_COOKIE) {
        let cookie = cookie.to_str().unwrap().split(';').next().unwrap().to_owned();
        next.insert(header::COOKIE, cookie.parse().unwrap());
    }
    if let Some(session) = response.headers().get("x-session") {
        next.insert("x-session", session.clone());
    }
    (support::text(response).await, next)
}

#[tokio::test]
async fn a_client_stays_with_its_endpoint_at_every_gateway_until_that_is_gone() {
    let (one, _) = server(answer("text/plain", b"one", 10)).await;
    let (two, _) = server(answer("text/plain", b"two", 10)).await;
    let gone: SocketAddr = {
        let listener = tokio::net::TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).await.unwrap();
        listener.local_addr().unwrap()
    };
    for session in ["{}", "{type: Header, sessionName: x-session, idleTimeout: 1h}"] {
        let [first, second] = [0, 1].map(|_| Canned::new("server: openai", one));
        for world in [&first, &second] {
            assert!(world.inner.reload(config(session, &[one, two])).unwrap().is_empty());
        }
        let (mine, mut sent) = ask(&first, &HeaderMap::new()).await;
        assert_eq!(sent.len(), 1, "{session}");
        let mut others = Vec::new();
        for world in [&first, &second, &first, &second, &first, &second] {
            others.push(ask(world, &HeaderMap::new()).await.0);
            let (answered, next) = ask(world, &sent).await;
            assert_eq!(answered, mine, "{session}");
            sent = next;
        }
        assert!(others.contains(&"one".to_owned()) && others.contains(&"two".to_owned()), "{others:?}");
        let left = if mine == "one" { two } else { one };
        // Drained: it is no endpoint any more. Dead: it still is, and does not answer.
        for endpoints in [&[left][..], &[gone, left]] {
            first.inner.reload(config(session, endpoints)).unwrap();
            let (answered, next) = ask(&first, &sent).await;
            assert_ne!(answered, mine, "{session}");
            assert_ne!(next, sent, "{session}: it is told of the other");
            assert_eq!(ask(&first, &next).await.0, answered);
        }
    }
}

/// Two Services of these weights with an endpoint each.
fn weighted(weights: [u32; 2], endpoints: [SocketAddr; 2]) -> Config {
    let [one, two] = weights;
    let backends =
        format!("{{name: model, port: 8000, weight: {one}}}, {{name: other, port: 8000, weight: {two}}}");
    let text = keeping("{}", &backends);
    let other = "\n---\n{apiVersion: v1, kind: Service, metadata: {name: other, namespace: ai}, spec: {ports: [{port: 8000}]}}\n";
    let mut config = support::config(&(text + other), endpoints[0]);
    assert_eq!(config.endpoints.len(), 2);
    for (target, of) in &mut config.endpoints {
        let Target::Service { service, .. } = target else { panic!("{target:?}") };
        *of = vec![endpoints[usize::from(&*service.name == "other")]];
    }
    config
}

#[tokio::test]
async fn weights_are_for_new_clients_until_one_is_nothing() {
    let (one, _) = server(answer("text/plain", b"one", 10)).await;
    let (two, _) = server(answer("text/plain", b"two", 10)).await;
    let world = Canned::new("server: openai", one);
    let load = |weights| assert!(world.inner.reload(weighted(weights, [one, two])).unwrap().is_empty());
    load([1, 0]);
    let (mine, sent) = ask(&world, &HeaderMap::new()).await;
    assert_eq!(mine, "one");
    load([1, 1_000_000]);
    let mut new = 0;
    for _ in 0..5 {
        assert_eq!(ask(&world, &sent).await.0, "one", "it stays");
        new += usize::from(ask(&world, &HeaderMap::new()).await.0 == "two");
    }
    assert!(new >= 3, "{new} of 5 new clients by weight");
    load([0, 1]);
    let (moved, next) = ask(&world, &sent).await;
    assert_eq!(moved, "two", "nobody stays with a backend of weight 0");
    assert_ne!(next, sent, "it is told of the other");
    load([1, 1]);
    for _ in 0..5 {
        assert_eq!(ask(&world, &next).await.0, "two");
    }
}
