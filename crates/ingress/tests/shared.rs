//! Gateways that share what is left of limits through a real server, and one that remembers what its process before used.

#![allow(
    clippy::unwrap_used,
    clippy::panic,
    clippy::indexing_slicing,
    reason = "a test's helpers fail the test"
)]

#[path = "../../gateway/tests/support/store.rs"]
mod store;
use crate::support;
use admit::Ledger;
use http::StatusCode;
use ingress::{Reason, Settings};
use purse::{Purse, StoreAddress, StoreMeans, WhenDown};
use std::path::Path;
use std::sync::Arc;
use std::time::{SystemTime, UNIX_EPOCH};
use store::Server;
use support::{PLAIN, World, chat, text};

fn policy(limit: &str) -> String {
    format!(
        "{PLAIN}
---
apiVersion: cofferdam.dev/v1alpha1
kind: InferencePolicy
metadata: {{name: models, namespace: ai}}
spec:
  targetRefs: [{{group: gateway.networking.k8s.io, kind: Gateway, name: edge}}]
  authentication: {{anonymous: true}}
  limits: [{limit}]
"
    )
}

async fn gateway(folder: &Path, limit: &str) -> World {
    let ledger: Arc<Ledger> = Arc::default();
    let means = StoreMeans {
        address: StoreAddress::Unix(folder.join(store::SOCKET)),
        roots: None,
        user: None,
        password: None,
        node: "gateway".into(),
        down: WhenDown::Deny,
    };
    let purse = Some(Purse::start(Arc::new(means), &ledger).unwrap());
    World::with(&policy(limit), Settings { ledger, purse, ..Settings::default() }, false).await
}

async fn ask(world: &World) -> StatusCode {
    let response = world.ask(chat(r#"{"model":"m","max_tokens":1,"messages":[]}"#)).await;
    let status = response.status();
    text(response).await;
    status
}

#[tokio::test]
async fn gateways_together_let_through_what_is_allowed_and_one_that_begins_anew_gives_nothing_back() {
    const MOST: usize = 20;
    let folder = tempfile::tempdir().unwrap();
    let server = Server::start(folder.path(), &[]);
    let limit = format!("{{per: policy, requests: {MOST}, window: 1d}}");
    let mut worlds = [gateway(folder.path(), &limit).await, gateway(folder.path(), &limit).await];
    let mut answered = 0;
    for at in 0..12 {
        assert_eq!(ask(&worlds[at % 2]).await, StatusCode::OK, "{at}");
        answered += 1;
    }
    // What it held and used, the store knows as another's.
    worlds[0] = gateway(folder.path(), &limit).await;
    for at in 0..2 * MOST {
        answered += usize::from(ask(&worlds[at % 2]).await == StatusCode::OK);
    }
    assert_eq!(answered, MOST);
    assert!(worlds[1].records.wait(1).await.iter().all(|record| !record.without_store));
    // Without the store nothing is known to be left, and that is said.
    let third = gateway(folder.path(), "{name: other, per: policy, requests: 20, window: 1d}").await;
    drop(server);
    assert_eq!(ask(&third).await, StatusCode::SERVICE_UNAVAILABLE);
    let record = third.records.wait(1).await.remove(0);
    assert_eq!((record.reason, record.without_store), (Reason::LimitStore, true));
}

#[tokio::test]
async fn requests_at_the_same_time_are_not_refused_while_there_is_enough() {
    let folder = tempfile::tempdir().unwrap();
    let _server = Server::start(folder.path(), &[]);
    // 16 tokens for each, of which a 64th of the limit is held ahead: less than one request.
    let limit = "{per: policy, tokens: 1000, window: 1d}, {per: consumer, requests: 100, window: 1h}";
    let world = gateway(folder.path(), limit).await;
    let asked = (0..48).map(|_| ask(&world));
    let statuses = futures_util::future::join_all(asked).await;
    assert!(statuses.iter().all(|status| *status == StatusCode::OK), "{statuses:?}");
}

#[tokio::test]
async fn what_the_process_before_used_counts() {
    let now = SystemTime::now().duration_since(UNIX_EPOCH).unwrap().as_secs();
    let limit = "{per: policy, requests: 3, window: 1d}";
    let first: Arc<Ledger> = Arc::default();
    let world =
        World::with(&policy(limit), Settings { ledger: first.clone(), ..Settings::default() }, false).await;
    assert_eq!((ask(&world).await, ask(&world).await), (StatusCode::OK, StatusCode::OK));
    world.records.wait(2).await;
    let kept = first.kept(now).unwrap();
    let text = serde_json::to_string(&kept).unwrap();
    let next: Arc<Ledger> = Arc::default();
    next.restore(serde_json::from_str(&text).unwrap(), now);
    let world = World::with(&policy(limit), Settings { ledger: next, ..Settings::default() }, false).await;
    assert_eq!((ask(&world).await, ask(&world).await), (StatusCode::OK, StatusCode::TOO_MANY_REQUESTS));
}
