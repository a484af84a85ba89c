//! A set of keys (RFC 7517), and what it says of a signature.
//!
//! Enters: a JWK set as bytes. Leaves: [`KeySet`]. Guarantees: at most [`MAX_KEYS`] keys in [`MAX_BYTES`]; a key is only good
//! for what its type, its curve and its own `alg`, `use` and `key_ops` say, so that a public key is never taken for a shared
//! secret (RFC 8725, section 3.1); one signature is tried with at most [`MAX_TRIED`] keys. Keys of other kinds are left
//! out, as RFC 7517, section 5 says. Does not: look at the time.

use aws_lc_rs::signature::{
    self, ParsedPublicKey, RsaParameters, RsaPublicKeyComponents, VerificationAlgorithm,
};
use base64::Engine;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use policy::cel::{Map, Value};
use std::sync::Arc;

/// Most bytes of a set.
pub(crate) const MAX_BYTES: usize = 256 * 1024;
/// Most keys of a set, those that are left out too.
const MAX_KEYS: usize = 128;
/// Keys that a signature is tried with.
const MAX_TRIED: usize = 8;
/// Bytes of an identifier of a key.
pub(crate) const MAX_KID: usize = 256;

/// How something is signed (RFC 7518, section 3.1; RFC 8037, section 3.1; RFC 9864 for `Ed25519`).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Algorithm {
    Rs256,
    Rs384,
    Rs512,
    Ps256,
    Ps384,
    Ps512,
    Es256,
    Es384,
    EdDsa,
}

impl Algorithm {
    const ALL: [(&'static str, Self); 10] = [
        ("RS256", Self::Rs256),
        ("RS384", Self::Rs384),
        ("RS512", Self::Rs512),
        ("PS256", Self::Ps256),
        ("PS384", Self::Ps384),
        ("PS512", Self::Ps512),
        ("ES256", Self::Es256),
        ("ES384", Self::Es384),
        ("EdDSA", Self::EdDsa),
        ("Ed25519", Self::EdDsa),
    ];

    pub(crate) fn named(name: &str) -> Option<Self> {
        Self::ALL.iter().find(|(known, _)| *known == name).map(|(_, algorithm)| *algorithm)
    }

    /// With which RSA parameters; `None`: it is not RSA.
    fn rsa(self) -> Option<&'static RsaParameters> {
        match self {
            Self::Rs256 => Some(&signature::RSA_PKCS1_2048_8192_SHA256),
            Self::Rs384 => Some(&signature::RSA_PKCS1_2048_8192_SHA384),
            Self::Rs512 => Some(&signature::RSA_PKCS1_2048_8192_SHA512),
            Self::Ps256 => Some(&signature::RSA_PSS_2048_8192_SHA256),
            Self::Ps384 => Some(&signature::RSA_PSS_2048_8192_SHA384),
            Self::Ps512 => Some(&signature::RSA_PSS_2048_8192_SHA512),
            Self::Es256 | Self::Es384 | Self::EdDsa => None,
        }
    }
}

/// The keys of an issuer.
#[derive(Debug, Default)]
pub(crate) struct KeySet {
    keys: Vec<Key>,
}

#[derive(Debug)]
struct Key {
    kid: Option<Arc<str>>,
    /// What it says itself that it is for.
    only: Option<Algorithm>,
    public: Public,
}

#[derive(Debug)]
enum Public {
    Rsa(RsaPublicKeyComponents<Vec<u8>>),
    /// Of the one algorithm that its curve is for.
    Curve(Algorithm, Box<ParsedPublicKey>),
}

/// Why a signature is not good.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Bad {
    /// There is no key that it could be of.
    NoKey,
    /// There is, and it is not for this algorithm.
    Algorithm,
    Signature,
}

impl KeySet {
    /// Reads a set.
    ///
    /// # Errors
    /// It is none, or has no key that can be used. A clause, with nothing of what was read.
    pub(crate) fn read(json: &[u8]) -> Result<Self, String> {
        if json.len() > MAX_BYTES {
            return Err(format!("the key set has more than {MAX_BYTES} bytes"));
        }
        let Ok(Value::Map(set)) = serde_json::from_slice(json) else {
            return Err("the key set is no JSON object, or has a key twice".into());
        };
        let Some(Value::List(keys)) = set.get("keys") else {
            return Err("the key set has no list of keys".into());
        };
        if keys.len() > MAX_KEYS {
            return Err(format!("the key set has more than {MAX_KEYS} keys"));
        }
        let keys: Vec<Key> = keys.iter().filter_map(Key::read).collect();
        if keys.is_empty() {
            return Err("the key set has no key for RS, PS, ES256, ES384 or EdDSA".into());
        }
        Ok(Self { keys })
    }

    /// Whether a message is signed by one of the keys. `kid` only chooses among them.
    pub(crate) fn verify(
        &self,
        algorithm: Algorithm,
        kid: Option<&str>,
        message: &[u8],
        signed: &[u8],
    ) -> Result<(), Bad> {
        let is_meant = |key: &&Key| kid.is_none() || key.kid.as_deref() == kid;
        let mut meant: Vec<&Key> = self.keys.iter().filter(is_meant).collect();
        if meant.is_empty() {
            // A set of one key often does not name it.
            meant = self.keys.iter().filter(|key| key.kid.is_none()).collect();
        }
        if meant.is_empty() {
            return Err(Bad::NoKey);
        }
        let mut fitting = meant.into_iter().filter(|key| key.is_for(algorithm)).take(MAX_TRIED).peekable();
        if fitting.peek().is_none() {
            return Err(Bad::Algorithm);
        }
        let is_signed = fitting.any(|key| key.public.verify(algorithm, message, signed));
        if is_signed { Ok(()) } else { Err(Bad::Signature) }
    }
}

impl Key {
    fn read(jwk: &Value) -> Option<Self> {
        let Value::Map(jwk) = jwk else { return None };
        if !is_for_signatures(jwk) {
            return None;
        }
        let only = match jwk.get("alg") {
            // For another algorithm than those that are taken.
            Some(Value::String(name)) => Some(Algorithm::named(name)?),
            Some(_) => return None,
            None => None,
        };
        let kid = match jwk.get("kid") {
            Some(Value::String(kid)) => Some(kid.clone()),
            Some(_) => return None,
            None => None,
        };
        Some(Self { kid, only, public: Public::read(jwk)? })
    }

    fn is_for(&self, algorithm: Algorithm) -> bool {
        let fits = match &self.public {
            Public::Rsa(_) => algorithm.rsa().is_some(),
            Public::Curve(of, _) => *of == algorithm,
        };
        fits && self.only.is_none_or(|only| only == algorithm)
    }
}

/// `use` and `key_ops` (RFC 7517, sections 4.2 and 4.3).
fn is_for_signatures(jwk: &Map) -> bool {
    let by_use = match jwk.get("use") {
        None => true,
        Some(Value::String(purpose)) => &**purpose == "sig",
        Some(_) => false,
    };
    let by_operations = match jwk.get("key_ops") {
        None => true,
        Some(Value::List(list)) => list.contains(&Value::text("verify")),
        Some(_) => false,
    };
    by_use && by_operations
}

impl Public {
    fn read(jwk: &Map) -> Option<Self> {
        match (text(jwk, "kty")?, text(jwk, "crv")) {
            ("RSA", None) => {
                let [n, e] = [significant(octets(jwk, "n")?), significant(octets(jwk, "e")?)];
                // The bounds that the verifier has, so that a key that can never serve is not counted as one.
                let is_right = (2048 / 8..=8192 / 8).contains(&n.len()) && (1..=4).contains(&e.len());
                is_right.then_some(Self::Rsa(RsaPublicKeyComponents { n, e }))
            }
            ("EC", Some("P-256")) => point(jwk, 32, Algorithm::Es256, &signature::ECDSA_P256_SHA256_FIXED),
            ("EC", Some("P-384")) => point(jwk, 48, Algorithm::Es384, &signature::ECDSA_P384_SHA384_FIXED),
            ("OKP", Some("Ed25519")) => {
                let x = octets(jwk, "x").filter(|x| x.len() == 32)?;
                curve(Algorithm::EdDsa, &signature::ED25519, &x)
            }
            _ => None,
        }
    }

    fn verify(&self, algorithm: Algorithm, message: &[u8], signed: &[u8]) -> bool {
        match self {
            Self::Rsa(key) => {
                algorithm.rsa().is_some_and(|parameters| key.verify(parameters, message, signed).is_ok())
            }
            Self::Curve(_, key) => key.verify_sig(message, signed).is_ok(),
        }
    }
}

/// Some write a number with the zeros that its length was rounded up with.
fn significant(number: Vec<u8>) -> Vec<u8> {
    number.into_iter().skip_while(|byte| *byte == 0).collect()
}

/// A point in the uncompressed form of SEC 1, section 2.3.3.
fn point(
    jwk: &Map,
    length: usize,
    algorithm: Algorithm,
    verifier: &'static dyn VerificationAlgorithm,
) -> Option<Public> {
    let [x, y] = [octets(jwk, "x")?, octets(jwk, "y")?];
    if x.len() != length || y.len() != length {
        return None;
    }
    curve(algorithm, verifier, &[&[4][..], &x, &y].concat())
}

fn curve(
    algorithm: Algorithm,
    verifier: &'static dyn VerificationAlgorithm,
    public: &[u8],
) -> Option<Public> {
    ParsedPublicKey::new(verifier, public).ok().map(|key| Public::Curve(algorithm, Box::new(key)))
}

fn text<'j>(jwk: &'j Map, field: &str) -> Option<&'j str> {
    match jwk.get(field)? {
        Value::String(text) => Some(text),
        _ => None,
    }
}

fn octets(jwk: &Map, field: &str) -> Option<Vec<u8>> {
    URL_SAFE_NO_PAD.decode(text(jwk, field)?).ok()
}
