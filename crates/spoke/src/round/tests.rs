//! What is taken, and what is told of it.

#![allow(clippy::unwrap_used, reason = "in a test a panic is the failure report")]

use super::*;
use fleet::hub::release_object;
use fleet::rollout::Findings;
use fleet::{Envelope, Header, Release, SigningKey};
use kube::client::Body;
use serde_json::Value;
use std::convert::Infallible;
use std::fs;
use std::sync::Mutex;
use tokio::time::advance;

#[test]
fn time_in_which_what_is_in_force_is_not_watched_is_none() {
    let nothing = || Evidence { seconds: 60, ..Evidence::nothing(Ref::nothing(), Mode::Enforce) };
    let seen = |problem: Option<&str>| Beside {
        of: Ref::nothing(),
        about: Ref::nothing(),
        seconds: 5,
        flows: 7,
        denials: Vec::new(),
        more_denials: 2,
        rules: Vec::new(),
        refused: Vec::new(),
        more_refused: 3,
        findings: Findings::default(),
        errors: Some(Errors::default()),
        problem: problem.map(str::to_owned),
    };
    let not = || Watch::Not("release-1: key ann is revoked".to_owned());
    for (watch, seen, seconds, denials, unwatched) in [
        (Watch::Over, None, 60, 0, None),
        (Watch::By(Ref::nothing()), Some(seen(None)), 60, 3, None),
        (Watch::By(Ref::nothing()), Some(seen(Some("n1 is silent"))), 60, 3, Some("n1 is silent")),
        (Watch::By(Ref::nothing()), None, 0, 0, None),
        // By itself it says nothing of what worked before.
        (Watch::Itself, Some(seen(None)), 60, 0, None),
        (Watch::Itself, None, 0, 0, None),
        (not(), None, 0, 0, Some("release-1: key ann is revoked")),
    ] {
        let found = watched(nothing(), &watch, seen);
        assert_eq!(found.errors.is_some(), found.flows == 7, "{watch:?}");
        let found = (found.seconds, found.more_denials, found.unwatched.as_deref());
        assert_eq!(found, (seconds, denials, unwatched), "{watch:?}");
    }
}

fn key(seed: u8) -> SigningKey {
    let head =
        [0x30, 0x2e, 0x02, 0x01, 0x00, 0x30, 0x05, 0x06, 0x03, 0x2b, 0x65, 0x70, 0x04, 0x22, 0x04, 0x20];
    let block = pem::encode(&pem::Pem::new("PRIVATE KEY", [&head[..], &[seed; 32]].concat()));
    SigningKey::from_pem(block.as_bytes()).unwrap()
}

/// Believes keys 1 and 2, or only 2.
fn keys(first_is_revoked: bool) -> Pinned {
    let of = |seed: u8| {
        let spki = [0x30, 0x2a, 0x30, 0x05, 0x06, 0x03, 0x2b, 0x65, 0x70, 0x03, 0x21, 0x00];
        let block = pem::encode(&pem::Pem::new("PUBLIC KEY", [&spki[..], &key(seed).public()].concat()));
        json!({ "name": format!("key-{seed}"), "public": block, "revoked": seed == 1 && first_is_revoked })
    };
    let keys = json!({ "apiVersion": API_VERSION, "kind": "ReleaseKeys", "keys": [of(1), of(2)] });
    Pinned::read("keys", keys.to_string().as_bytes()).unwrap()
}

#[tokio::test(start_paused = true)]
async fn a_release_that_is_signed_anew_after_its_key_was_revoked_is_fetched_anew() {
    let policy: Value = json!({
        "apiVersion": "networking.k8s.io/v1", "kind": "NetworkPolicy", "metadata": { "name": "web", "namespace": "shop" },
        "spec": { "podSelector": {} },
    });
    let header = Header { number: 1, fallback: None, rollback_to: None };
    let release = Release::build(header, &[policy]).unwrap().0;
    let reference = release.reference();
    let folder = tempfile::tempdir().unwrap();
    let file = folder.path().join(fleet::folder::release_path(&reference));
    fs::create_dir_all(file.parent().unwrap()).unwrap();
    let sign = |seed: u8| {
        let object = release_object(&release, &Envelope::seal(&release, &[key(seed)]));
        fs::write(&file, object.to_string()).unwrap();
    };
    let revoked = Arc::new(Mutex::new(false));
    let is_revoked = Arc::clone(&revoked);
    let settings = Settings {
        cluster: "dev".to_owned(),
        namespace: "cofferdam-system".to_owned(),
        pinned: Box::new(move || Ok(keys(*is_revoked.lock().unwrap()))),
        judge: None,
    };
    let nobody = tower::service_fn(|_: http::Request<Body>| {
        std::future::pending::<Result<http::Response<Body>, Infallible>>()
    });
    let source = Source::Folder(folder.path().to_owned());
    let mut spoke = Spoke::new(source, Client::new(nobody, "default"), settings);
    sign(1);
    assert!(spoke.fetch(&reference).await.is_ok());
    *revoked.lock().unwrap() = true;
    assert!(spoke.fetch(&reference).await.is_err());
    sign(2);
    assert!(spoke.fetch(&reference).await.is_err(), "it is not asked for at every round");
    advance(2 * ANEW).await;
    assert!(spoke.fetch(&reference).await.is_err());
    let signed = spoke.fetch(&reference).await.map_err(NotTaken::why).unwrap();
    assert_eq!(signed.signers(), ["key-2"]);
}
