//! Keys and releases for tests.

#![allow(dead_code, reason = "each test uses some of them")]

use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use fleet::{Envelope, Header, Pinned, Release, Signed, SigningKey};
use serde_json::Value;

pub(crate) const WEB: &str = "{apiVersion: networking.k8s.io/v1, kind: NetworkPolicy, metadata: {name: web}, spec: {podSelector: {matchLabels: {app: web}}, \
                       ingress: [{ports: [{port: 80, protocol: TCP}]}]}}";
pub(crate) const OTHER: &str = "{apiVersion: networking.k8s.io/v1, kind: NetworkPolicy, metadata: {name: other}, spec: {podSelector: {}}}";
pub(crate) const DENY: &str = "{apiVersion: policy.networking.k8s.io/v1alpha2, kind: ClusterNetworkPolicy, metadata: {name: deny}, spec: {tier: Admin, \
                        priority: 1, subject: {namespaces: {}}, egress: [{action: Deny, to: [{networks: [192.0.2.0/24]}]}]}}";

pub(crate) fn values(files: &[&str]) -> Vec<Value> {
    files.iter().flat_map(|text| crds::as_json("t.yaml", text.as_bytes())).collect()
}

pub(crate) fn header(number: u64) -> Header {
    Header { number, fallback: None, rollback_to: None }
}

pub(crate) fn release(number: u64, files: &[&str]) -> Release {
    Release::build(header(number), &values(files)).unwrap().0
}

/// PKCS#8 of RFC 8410 with a seed of equal bytes.
fn pem_of(seed: u8) -> String {
    let head =
        [0x30, 0x2e, 0x02, 0x01, 0x00, 0x30, 0x05, 0x06, 0x03, 0x2b, 0x65, 0x70, 0x04, 0x22, 0x04, 0x20];
    pem::encode(&pem::Pem::new("PRIVATE KEY", [&head[..], &[seed; 32]].concat()))
}

pub(crate) fn key(seed: u8) -> SigningKey {
    SigningKey::from_pem(pem_of(seed).as_bytes()).unwrap()
}

pub(crate) fn sign(release: &Release) -> Signed {
    let signer = key(1);
    Envelope::seal(release, &[key(1)])
        .open(&pinned(&[("a", &signer)], "", 1), "2026-11-26T12:00:00Z")
        .unwrap()
}

/// Signs whatever it is given.
pub(crate) fn seal_bytes(payload: &[u8], seed: u8) -> Envelope {
    let pair = aws_lc_rs::signature::Ed25519KeyPair::from_seed_unchecked(&[seed; 32]).unwrap();
    let kind = fleet::PAYLOAD_TYPE;
    let message = [format!("DSSEv1 {} {kind} {} ", kind.len(), payload.len()).as_bytes(), payload].concat();
    let keyid =
        Pinned::read("k", pinned_text(&[("a", &key(seed))], "", 1).as_bytes()).unwrap().keys()[0].id();
    let sig = STANDARD.encode(pair.sign(&message));
    Envelope {
        payload_type: kind.to_owned(),
        payload: STANDARD.encode(payload),
        signatures: vec![fleet::Signature { keyid, sig }],
    }
}

/// `more`: lines of the last key.
pub(crate) fn pinned_text(keys: &[(&str, &SigningKey)], more: &str, threshold: usize) -> String {
    let mut text =
        format!("apiVersion: cofferdam.dev/v1alpha1\nkind: ReleaseKeys\nthreshold: {threshold}\nkeys:\n");
    for (name, key) in keys {
        let spki = [0x30, 0x2a, 0x30, 0x05, 0x06, 0x03, 0x2b, 0x65, 0x70, 0x03, 0x21, 0x00];
        let block = pem::encode(&pem::Pem::new("PUBLIC KEY", [&spki[..], &key.public()].concat()));
        let block: String = block.lines().map(|line| format!("    {}\n", line.trim_end())).collect();
        text += &format!("- name: {name}\n  public: |\n{block}");
    }
    if more.is_empty() { text } else { format!("{text}  {more}\n") }
}

pub(crate) fn pinned(keys: &[(&str, &SigningKey)], more: &str, threshold: usize) -> Pinned {
    Pinned::read("keys.yaml", pinned_text(keys, more, threshold).as_bytes()).unwrap()
}
