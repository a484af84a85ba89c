//! Any bytes as a credential, as an issuer's key set and as a client's certificate: nobody is known by them, for nothing here can sign.

use authn::{Authenticator, Authorities, KeySources, Shown};
use crds::{Object, read_objects};
use serde_json::json;
use std::sync::LazyLock;

/// A policy that takes tokens of two issuers: the keys of one are written in it, of the other they are fetched.
fn authenticator(sources: &KeySources, inline: &str) -> Option<Authenticator> {
    let spec = json!({
        "targetRefs": [{"group": "gateway.networking.k8s.io", "kind": "Gateway", "name": "g"}],
        "authentication": {"jwt": [
            {"name": "inline", "issuer": "https://a.example", "audiences": ["models"], "jwks": {"inline": inline}},
            {"name": "remote", "issuer": "https://b.example", "audiences": ["models"], "jwks": {"url": "https://b.example/keys"}},
        ]},
    });
    let policy = json!({
        "apiVersion": "cofferdam.dev/v1alpha1", "kind": "InferencePolicy", "metadata": {"name": "p", "namespace": "n"}, "spec": spec,
    });
    let read = read_objects("p", policy.to_string().as_bytes());
    let [Object::InferencePolicy(policy)] = read.objects.as_slice() else { return None };
    Authenticator::new(&policy.authentication.as_ref()?.value, sources).ok()
}

/// The point is the generator of P-256: whose private key is 1, which no fuzzer signs by.
const KEY: &str = r#"{"keys":[{"kty":"EC","crv":"P-256","kid":"k","x":"axfR8uEsQkf4vOblY6RA8ncDfYEt6zOg9KE5RdiYwpY","y":"T-NC4v4af5uO5-tKfA-eFivOM1drMV7Oy7ZAaDe_UfU"}]}"#;

static SOURCES: LazyLock<KeySources> = LazyLock::new(KeySources::default);
static KNOWN: LazyLock<Authenticator> =
    LazyLock::new(|| authenticator(&SOURCES, KEY).expect("the policy of this target holds"));

pub(crate) fn run(input: (&[u8], &[u8], u64)) {
    let (credential, keys, now) = input;
    let known = &*KNOWN;
    for fetch in SOURCES.due(now) {
        let _ = SOURCES.fetched(&fetch, keys, now);
    }
    let value = [b"Bearer ", credential].concat();
    for name in ["authorization", "x-api-key"] {
        let shown = if name == "authorization" { &value[..] } else { credential };
        let headers = [(name, shown)];
        assert!(known.authenticate(&Shown { headers: &headers, certificates: &[keys] }, now).is_err());
    }
    if let Ok(text) = std::str::from_utf8(keys) {
        let _ = authenticator(&KeySources::default(), text);
        let _ = Authorities::of("d.example", text);
    }
    assert!(authn::uris(keys).len() <= keys.len());
    let _ = authn::ends(&[keys, credential]);
}
