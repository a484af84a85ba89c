//! Keys that sign tokens, and policies that take them.

#![allow(
    clippy::unwrap_used,
    clippy::panic,
    clippy::indexing_slicing,
    dead_code,
    reason = "in a test a panic is the failure report"
)]

use authn::{Authenticator, Consumer, KeySources, Refused, Shown};
use aws_lc_rs::hmac;
use aws_lc_rs::rand::SystemRandom;
use aws_lc_rs::rsa::KeySize;
use aws_lc_rs::signature::{self, EcdsaKeyPair, Ed25519KeyPair, KeyPair, RsaEncoding, RsaKeyPair};
use base64::Engine;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use crds::{Authentication, Object, read_objects};
use serde_json::{Value, json};
use std::sync::Arc;

/// When the tests are.
pub(crate) const NOW: u64 = 1_800_000_000;

pub(crate) fn b64(bytes: impl AsRef<[u8]>) -> String {
    URL_SAFE_NO_PAD.encode(bytes)
}

pub(crate) enum Signer {
    Rsa(RsaKeyPair),
    P256(EcdsaKeyPair),
    P384(EcdsaKeyPair),
    Ed25519(Ed25519KeyPair),
}

impl Signer {
    pub(crate) fn rsa() -> Self {
        Self::Rsa(RsaKeyPair::generate(KeySize::Rsa2048).unwrap())
    }

    pub(crate) fn p256() -> Self {
        Self::P256(EcdsaKeyPair::generate(&signature::ECDSA_P256_SHA256_FIXED_SIGNING).unwrap())
    }

    pub(crate) fn p384() -> Self {
        Self::P384(EcdsaKeyPair::generate(&signature::ECDSA_P384_SHA384_FIXED_SIGNING).unwrap())
    }

    pub(crate) fn ed25519() -> Self {
        Self::Ed25519(Ed25519KeyPair::generate().unwrap())
    }

    /// The public key, called so.
    pub(crate) fn jwk(&self, kid: &str) -> Value {
        let point = |key: &EcdsaKeyPair, curve: &str| {
            let (x, y) = key.public_key().as_ref()[1..].split_at((key.public_key().as_ref().len() - 1) / 2);
            json!({"kty": "EC", "crv": curve, "x": b64(x), "y": b64(y), "kid": kid})
        };
        match self {
            Self::Rsa(key) => {
                let n = key.public_key().modulus().big_endian_without_leading_zero().to_vec();
                json!({"kty": "RSA", "n": b64(n), "e": "AQAB", "kid": kid})
            }
            Self::P256(key) => point(key, "P-256"),
            Self::P384(key) => point(key, "P-384"),
            Self::Ed25519(key) => {
                json!({"kty": "OKP", "crv": "Ed25519", "x": b64(key.public_key().as_ref()), "kid": kid})
            }
        }
    }

    /// Signs by its own method, or for RSA by the one that is named.
    pub(crate) fn sign(&self, algorithm: &str, message: &[u8]) -> Vec<u8> {
        let random = SystemRandom::new();
        match self {
            Self::Rsa(key) => {
                let padding: &'static dyn RsaEncoding = match algorithm {
                    "RS384" => &signature::RSA_PKCS1_SHA384,
                    "RS512" => &signature::RSA_PKCS1_SHA512,
                    "PS256" => &signature::RSA_PSS_SHA256,
                    "PS384" => &signature::RSA_PSS_SHA384,
                    "PS512" => &signature::RSA_PSS_SHA512,
                    _ => &signature::RSA_PKCS1_SHA256,
                };
                let mut signed = vec![0; key.public_modulus_len()];
                key.sign(padding, &random, message, &mut signed).unwrap();
                signed
            }
            Self::P256(key) | Self::P384(key) => key.sign(&random, message).unwrap().as_ref().to_vec(),
            Self::Ed25519(key) => key.sign(message).as_ref().to_vec(),
        }
    }

    /// A token with this header and these claims, both as they are written.
    pub(crate) fn token_of(&self, header: &str, claims: &str) -> String {
        let message = format!("{}.{}", b64(header), b64(claims));
        let algorithm = serde_json::from_str::<Value>(header).ok();
        let algorithm =
            algorithm.and_then(|it| Some(it.get("alg")?.as_str()?.to_owned())).unwrap_or_default();
        format!("{message}.{}", b64(self.sign(&algorithm, message.as_bytes())))
    }

    pub(crate) fn token(&self, algorithm: &str, kid: &str, claims: &Value) -> String {
        self.token_of(&json!({"alg": algorithm, "kid": kid}).to_string(), &claims.to_string())
    }
}

/// What an attacker signs with a text that everybody knows.
pub(crate) fn hmac_token(header: &str, claims: &str, secret: &[u8]) -> String {
    let message = format!("{}.{}", b64(header), b64(claims));
    let key = hmac::Key::new(hmac::HMAC_SHA256, secret);
    format!("{message}.{}", b64(hmac::sign(&key, message.as_bytes())))
}

/// Claims of a good token, with some of them in place of the usual ones; null leaves one out.
pub(crate) fn claims(changed: Value) -> Value {
    let mut claims = json!({
        "iss": "https://issuer.example", "aud": "models", "sub": "alice", "exp": NOW + 600, "nbf": NOW - 10,
        "groups": ["team-a", "team-b"],
    });
    for (name, value) in changed.as_object().unwrap() {
        match value {
            Value::Null => drop(claims.as_object_mut().unwrap().remove(name)),
            value => claims[name] = value.clone(),
        }
    }
    claims
}

/// As a policy has it, in YAML or JSON.
pub(crate) fn authentication(written: &str) -> Authentication {
    let yaml = format!(
        "apiVersion: cofferdam.dev/v1alpha1\nkind: InferencePolicy\nmetadata: {{name: p, namespace: n}}\nspec:\n  \
         targetRefs: [{{group: gateway.networking.k8s.io, kind: Gateway, name: g}}]\n  authentication: {written}\n"
    );
    let read = read_objects("p.yaml", yaml.as_bytes());
    let [Object::InferencePolicy(policy)] = read.objects.as_slice() else { panic!("{read:#?}") };
    assert!(!policy.broken, "{:#?}", read.diagnostics);
    policy.authentication.clone().unwrap().value
}

/// One issuer with these keys.
pub(crate) fn issuer(keys: &[Value]) -> Authenticator {
    let inline = json!({"keys": keys}).to_string();
    let jwt = json!([{
        "name": "corp", "issuer": "https://issuer.example", "audiences": ["models"], "groups": "groups",
        "jwks": {"inline": inline},
    }]);
    Authenticator::new(&authentication(&json!({"jwt": jwt}).to_string()), &KeySources::default()).unwrap()
}

pub(crate) fn bearer(by: &Authenticator, credential: &str, now: u64) -> Result<Arc<Consumer>, Refused> {
    let value = format!("Bearer {credential}");
    by.authenticate(&Shown { headers: &[("authorization", value.as_bytes())], certificates: &[] }, now)
}
