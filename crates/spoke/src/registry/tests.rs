//! Registries as they are, and as they should not be.

#![allow(clippy::unwrap_used, reason = "in a test a panic is the failure report")]

use super::*;
use crate::Source;
use fleet::folder::{cluster_text, release_path};
use fleet::hub::ClusterSpec;
use fleet::rollout::Wanted;
use fleet::{Envelope, Ref};
use futures_util::StreamExt;
use ociregistry::Manner;
use rustls::RootCertStore;
use rustls_pki_types::CertificateDer;
use rustls_pki_types::pem::PemObject;
use serde_json::json;

fn tls(server: &ociregistry::Registry) -> Arc<ClientConfig> {
    let mut roots = RootCertStore::empty();
    roots.add(CertificateDer::from_pem_slice(server.authority().as_bytes()).unwrap()).unwrap();
    let provider = Arc::new(rustls::crypto::aws_lc_rs::default_provider());
    let config = ClientConfig::builder_with_provider(provider).with_safe_default_protocol_versions().unwrap();
    Arc::new(config.with_root_certificates(roots).with_no_client_auth())
}

fn at(server: &ociregistry::Registry, text: &str, login: Option<(&str, &str)>) -> Registry {
    let login = login.map(|(user, password)| Login { user: user.to_owned(), password: password.to_owned() });
    Registry::new(text.parse().unwrap(), tls(server), Box::new(move || Ok(login.clone())))
}

const ANN: Option<(&str, &str)> = Some(("ann", "geheim"));

/// What a cluster is to have, and the release.
fn files(number: u64) -> BTreeMap<String, Vec<u8>> {
    let release = Ref { number, ..Ref::nothing() };
    let wanted = Some(Wanted { enforce: release.clone(), shadow: None });
    let text = cluster_text("dev", &ClusterSpec { wanted, ..ClusterSpec::default() });
    let envelope = json!({ "spec": { "envelope": { "payloadType": "x", "payload": number.to_string(), "signatures": [] } } });
    BTreeMap::from([
        ("clusters/dev.json".to_owned(), text.into_bytes()),
        (release_path(&release), envelope.to_string().into_bytes()),
    ])
}

async fn read(registry: &Registry, path: &str) -> Result<Option<Bytes>, String> {
    let tree = registry.look().await?;
    registry.file(&tree, path, 65_536).await
}

#[tokio::test]
async fn what_was_pushed_is_what_is_read_by_tag_and_by_digest() {
    let server = ociregistry::Registry::start(ANN);
    let place = format!("oci://{}/policy/fleet", server.host());
    let registry = at(&server, &format!("{place}:main"), ANN);
    let none = registry.look().await.unwrap_err();
    assert!(none.contains("is not there; `cofferdam release push`"), "{none}");
    let pushed = registry.push(files(1)).await.unwrap();
    assert_eq!(pushed.new, 2);
    for version in [":main".to_owned(), format!("@{}", pushed.digest)] {
        let reader = at(&server, &format!("{place}{version}"), ANN);
        assert_eq!(read(&reader, "clusters/dev.json").await.unwrap().unwrap(), files(1)["clusters/dev.json"]);
        assert_eq!(read(&reader, "clusters/prod.json").await, Ok(None));
        assert!(reader.name().ends_with(pushed.digest.as_str()), "{}", reader.name());
    }
    // The same once more is the same; more of it is only what is more.
    assert_eq!(registry.push(files(1)).await.unwrap(), Pushed { new: 0, ..pushed.clone() });
    let both: BTreeMap<_, _> = files(1).into_iter().chain(files(2)).collect();
    let more = registry.push(both).await.unwrap();
    assert!(more.new == 2 && more.digest != pushed.digest, "{more:?}");
    assert_eq!(read(&registry, "clusters/dev.json").await.unwrap().unwrap(), files(2)["clusters/dev.json"]);
    let old = at(&server, &format!("{place}@{}", pushed.digest), ANN);
    assert_eq!(read(&old, "clusters/dev.json").await.unwrap().unwrap(), files(1)["clusters/dev.json"]);
    assert!(old.push(files(1)).await.unwrap_err().contains("only a tag"));
}

#[tokio::test]
async fn a_tag_that_means_the_same_costs_one_question_and_a_lost_token_two_more() {
    let server = ociregistry::Registry::start(ANN);
    let registry = at(&server, &format!("oci://{}/fleet:main", server.host()), ANN);
    registry.push(files(1)).await.unwrap();
    registry.look().await.unwrap();
    server.asked();
    registry.look().await.unwrap();
    assert_eq!(server.asked(), ["HEAD /v2/fleet/manifests/main"]);
    server.forget_tokens();
    registry.look().await.unwrap();
    let expected = ["HEAD /v2/fleet/manifests/main", "GET /token", "HEAD /v2/fleet/manifests/main"];
    assert_eq!(server.asked(), expected);
    // Where it does not say the digest, the manifest is read.
    server.behave(Manner::Silent);
    registry.look().await.unwrap();
    assert_eq!(server.asked(), ["HEAD /v2/fleet/manifests/main", "GET /v2/fleet/manifests/main"]);
}

#[tokio::test]
async fn what_is_not_what_its_digest_says_is_not_handed_on() {
    let server = ociregistry::Registry::start(None);
    let place = format!("oci://{}/fleet:main", server.host());
    at(&server, &place, None).push(files(1)).await.unwrap();
    for (manner, says) in [
        (Manner::OtherManifest, "what it gives as sha256:"),
        (Manner::OtherBlob, "what it gives as clusters/dev.json is sha256:"),
        (Manner::Circular, "307 Temporary Redirect"),
        (Manner::ToClear, "which is not https"),
        (Manner::Down, "503 Service Unavailable"),
        (Manner::TokensInClear, "which is not https"),
    ] {
        server.behave(manner);
        let said = read(&at(&server, &place, None), "clusters/dev.json").await.unwrap_err();
        assert!(said.contains(says), "{manner:?}: {said}");
    }
    server.behave(Manner::Proper);
    let registry = at(&server, &place, None);
    let tree = registry.look().await.unwrap();
    let said = registry.file(&tree, "clusters/dev.json", 10).await.unwrap_err();
    assert!(said.contains("more than 10 bytes"), "{said}");
    // A size that is not its own.
    let manifest = String::from_utf8(server.manifest("fleet", "main").unwrap()).unwrap();
    let size = format!("\"size\":{}", files(1)["clusters/dev.json"].len());
    server.put_manifest("fleet", "main", manifest.replace(&size, "\"size\":12").as_bytes());
    let said = read(&registry, "clusters/dev.json").await.unwrap_err();
    assert!(said.contains("has more than 12 bytes"), "{said}");
    server.put_manifest("fleet", "main", &vec![b' '; MOST_MANIFEST + 1]);
    let said = registry.look().await.unwrap_err();
    assert!(said.contains("bytes at most") || said.contains("has more than"), "{said}");
    server.put_manifest(
        "fleet",
        "main",
        b"{\"schemaVersion\": 2, \"mediaType\": \"application/vnd.oci.image.index.v1+json\"}",
    );
    assert!(registry.look().await.unwrap_err().contains("no manifest of files"));
}

#[tokio::test]
async fn a_login_goes_to_nobody_in_clear_and_is_not_told() {
    let server = ociregistry::Registry::start(ANN);
    let place = format!("oci://{}/fleet:main", server.host());
    let said = at(&server, &place, None).look().await.unwrap_err();
    assert!(said.contains("a token was not given: 401 Unauthorized"), "{said}");
    let said = at(&server, &place, Some(("ann", "falsch"))).look().await.unwrap_err();
    assert!(said.contains("a token was not given") && !said.contains("falsch"), "{said}");
    // Nobody vouches for it.
    let other = ociregistry::Registry::start(None);
    let said = at(&other, &place, ANN).look().await.unwrap_err();
    assert!(said.contains("TLS: "), "{said}");
    // TLS spoken to one that does not speak it, and the other way round.
    let clear = ociregistry::Registry::start_clear();
    assert!(at(&clear, &format!("oci://{}/fleet:main", clear.host()), None).look().await.is_err());
    let place = format!("oci+http://{}/fleet:main", clear.host());
    let said = at(&clear, &place, ANN).push(files(1)).await.unwrap_err();
    assert!(said.contains("does not pass in clear") && !said.contains("geheim"), "{said}");
    at(&clear, &place, None).push(files(1)).await.unwrap();
    assert!(read(&at(&clear, &place, None), "clusters/dev.json").await.unwrap().is_some());
}

#[tokio::test]
async fn a_cluster_is_told_by_a_registry_what_a_folder_would_tell_it() {
    let server = ociregistry::Registry::start(ANN);
    let place = format!("oci://{}/fleet:main", server.host());
    at(&server, &place, ANN).push(files(1)).await.unwrap();
    let source = Source::Registry(Arc::new(at(&server, &place, ANN)));
    let looked = source.looks("dev").next().await.unwrap().unwrap().unwrap();
    assert_eq!(looked.data.pointer("/spec/wanted/enforce/number"), Some(&json!(1)));
    let release = Ref { number: 1, ..Ref::nothing() };
    let envelope: Envelope = source.envelope(&release).await.unwrap();
    assert_eq!(envelope.payload_type, "x");
    let said = source.envelope(&Ref { number: 2, ..Ref::nothing() }).await.unwrap_err();
    assert!(said.contains("@sha256:") && said.ends_with("has no releases/release-2.json"), "{said}");
    assert_eq!(source.looks("prod").next().await.unwrap(), Ok(None));
    assert!(source.says_nothing("prod").contains("has no clusters/prod.json"));
    assert!(source.looks("../x").next().await.unwrap().unwrap_err().contains("no name of a cluster"));
    let mut files = files(1);
    files.insert("clusters/dev.json".to_owned(), b"{\"kind\": \"Pod\"}".to_vec());
    at(&server, &place, ANN).push(files).await.unwrap();
    let said = source.looks("dev").next().await.unwrap().unwrap_err();
    assert!(said.contains("no ManagedCluster"), "{said}");
}
