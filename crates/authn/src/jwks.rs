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

#[cfg(test)]
mod tests {
    use super::*;

    /// RFC 7515, appendix A.2.
    const RSA: [&str; 3] = [
        r#"{"kty":"RSA","n":"ofgWCuLjybRlzo0tZWJjNiuSfb4p4fAkd_wWJcyQoTbji9k0l8W26mPddxHmfHQp-Vaw-4qPCJrcS2mJPMEzP1Pt0Bm4d4QlL-yRT-SFd2lZS-pCgNMsD1W_YpRPEwOWvG6b32690r2jZ47soMZo9wGzjb_7OMg0LOL-bSf63kpaSHSXndS5z5rexMdbBYUsLA9e-KXBdQOS-UTo7WTBEMa2R2CapHg665xsmtdVMTBQY4uDZlxvb3qCo5ZwKh9kG4LT6_I5IhlJH7aGhyxXFvUK-DWNmoudF8NAco9_h9iaGNj8q2ethFkMLs91kzk2PAcDTW9gb54h4FRWyuXpoQ","e":"AQAB"}"#,
        "eyJhbGciOiJSUzI1NiJ9.eyJpc3MiOiJqb2UiLA0KICJleHAiOjEzMDA4MTkzODAsDQogImh0dHA6Ly9leGFtcGxlLmNvbS9pc19yb290Ijp0cnVlfQ",
        "cC4hiUPoj9Eetdgtv3hF80EGrhuB__dzERat0XF9g2VtQgr9PJbu3XOiZj5RZmh7AAuHIm4Bh-0Qc_lF5YKt_O8W2Fp5jujGbds9uJdbF9CUAr7t1dnZcAcQjbKBYNX4BAynRFdiuB--f_nZLgrnbyTyWzO75vRK5h6xBArLIARNPvkSjtQBMHlb1L07Qe7K0GarZRmB_eSN9383LcOLn6_dO--xi12jzDwusC-eOkHWEsqtFZESc6BfI7noOPqvhJ1phCnvWh6IeYI2w9QOYEUipUTI8np6LbgGY9Fs98rqVt5AXLIhWkWywlVmtVrBp0igcN_IoypGlUPQGe77Rw",
    ];
    /// RFC 7515, appendix A.3.
    const EC: [&str; 3] = [
        r#"{"kty":"EC","crv":"P-256","x":"f83OJ3D2xF1Bg8vub9tLe1gHMzV76e8Tus9uPHvRVEU","y":"x_FEzRu9m36HLN_tue659LNpXW6pCyStikYjKIWI5a0"}"#,
        "eyJhbGciOiJFUzI1NiJ9.eyJpc3MiOiJqb2UiLA0KICJleHAiOjEzMDA4MTkzODAsDQogImh0dHA6Ly9leGFtcGxlLmNvbS9pc19yb290Ijp0cnVlfQ",
        "DtEhU3ljbEg8L38VWAfUAqOyKAM6-Xx-F4GawxaepmXFCgfTjDxw5djxLa8ISlSApmWQxfKTUJqPP3-Kg6NU1Q",
    ];
    /// RFC 8037, appendix A.
    const ED: [&str; 3] = [
        r#"{"kty":"OKP","crv":"Ed25519","x":"11qYAYKxCrfVS_7TyWQHOg7hcvPapiMlrwIaaPcHURo"}"#,
        "eyJhbGciOiJFZERTQSJ9.RXhhbXBsZSBvZiBFZDI1NTE5IHNpZ25pbmc",
        "hgyY0il_MGCjP0JzlnLWG1PPOt7-09PGcvMg3AIbQR6dWbhijcNR4ki4iylGjg5BhVsPt9g7sVvpAr_MuM0KAg",
    ];

    fn set(keys: &[&str]) -> Result<KeySet, String> {
        KeySet::read(format!(r#"{{"keys":[{}]}}"#, keys.join(",")).as_bytes())
    }

    #[test]
    fn the_examples_of_the_standards_are_verified() {
        for (algorithm, [jwk, message, signature]) in
            [(Algorithm::Rs256, RSA), (Algorithm::Es256, EC), (Algorithm::EdDsa, ED)]
        {
            let signature = URL_SAFE_NO_PAD.decode(signature).unwrap();
            let all = set(&[RSA[0], EC[0], ED[0]]).unwrap();
            for keys in [&set(&[jwk]).unwrap(), &all] {
                assert_eq!(keys.verify(algorithm, None, message.as_bytes(), &signature), Ok(()));
                let other = format!("{message}x");
                assert_eq!(keys.verify(algorithm, None, other.as_bytes(), &signature), Err(Bad::Signature));
            }
        }
    }

    #[test]
    fn a_key_is_left_out_where_it_is_for_something_else_or_cannot_be() {
        let with = |more: &str| ED[0].replacen('{', &format!("{{{more},"), 1);
        for (jwk, is_taken) in [
            (with(r#""use":"sig""#), true),
            (with(r#""use":"enc""#), false),
            (with(r#""use":1"#), false),
            (with(r#""key_ops":["verify"]"#), true),
            (with(r#""key_ops":["sign"]"#), false),
            (with(r#""key_ops":"verify""#), false),
            (with(r#""alg":"EdDSA""#), true),
            (with(r#""alg":"HS256""#), false),
            (with(r#""alg":null"#), false),
            (with(r#""kid":1"#), false),
            (ED[0].replace("OKP", "EC"), false),
            (ED[0].replace("Ed25519", "X25519"), false),
            (ED[0].replace("11qY", ""), false),
            (EC[0].replace("P-256", "P-384"), false),
            (EC[0].replace("P-256", "secp256k1"), false),
            (EC[0].replace("5a0", "5a4"), false),
            (RSA[0].replace("AQAB", "AQABAQAB"), false),
            (RSA[0].replace("AQAB", "AQAB=="), false),
            (r#"{"kty":"RSA","n":"AQAB","e":"AQAB"}"#.into(), false),
            (r#"{"kty":"oct","k":"c2VjcmV0"}"#.into(), false),
            ("7".into(), false),
        ] {
            assert_eq!(set(&[&jwk]).is_ok(), is_taken, "{jwk}");
        }
    }

    #[test]
    fn a_set_that_is_none_or_too_large_is_not_taken() {
        let many = vec![ED[0]; MAX_KEYS + 1];
        assert!(set(&many[1..]).is_ok() && set(&many).is_err());
        let large = format!(r#"{{"keys":[{}],"x":"{}"}}"#, ED[0], "y".repeat(MAX_BYTES));
        for text in
            [&large, "", "[]", "{}", r#"{"keys":{}}"#, r#"{"keys":[]}"#, "{\"keys\":[],\"keys\":[]}", "\u{0}"]
        {
            assert!(KeySet::read(text.as_bytes()).is_err());
        }
        let deep = format!(r#"{{"keys":{}"#, "[".repeat(100_000));
        assert!(KeySet::read(deep.as_bytes()).is_err());
    }

    #[test]
    fn one_signature_is_tried_with_few_keys_and_a_name_chooses_among_them() {
        let other =
            r#"{"kty":"OKP","crv":"Ed25519","x":"O2onvM62pC1io6jQKm8Nc2UyFXcd4kOmOsBIoYtZ2ik","kid":"o"}"#;
        let named = ED[0].replacen('{', r#"{"kid":"k","#, 1);
        let signature = URL_SAFE_NO_PAD.decode(ED[2]).unwrap();
        let verify = |keys: &[&str], kid| {
            set(keys).unwrap().verify(Algorithm::EdDsa, kid, ED[1].as_bytes(), &signature)
        };
        assert_eq!(verify(&[other, &named], Some("k")), Ok(()));
        assert_eq!(verify(&[other, &named], Some("o")), Err(Bad::Signature));
        assert_eq!(verify(&[other, &named], Some("x")), Err(Bad::NoKey));
        assert_eq!(verify(&[other, ED[0]], Some("x")), Ok(()), "a key without a name");
        let mut keys = vec![other; MAX_TRIED];
        assert_eq!(verify(&keys, None), Err(Bad::Signature));
        keys.push(&named);
        assert_eq!(verify(&keys, None), Err(Bad::Signature), "beyond what is tried");
        keys.remove(0);
        assert_eq!(verify(&keys, None), Ok(()));
    }
}
