//! A token: a JWS in compact form (RFC 7515, section 7.1) with claims (RFC 7519).
//!
//! Enters: its text. Leaves: [`Token`], of which nothing is true before its signature was verified; then whether it is for
//! here and now. Guarantees: at most [`MAX_BYTES`]; a member that is there twice, an extension that must be understood
//! (`crit`, `b64`) and every algorithm but those of `jwks` refuse it; what the token itself says where its key is
//! (`jku`, `jwk`, `x5u`, `x5c`) is not looked at.

use crate::jwks::{Algorithm, MAX_KID};
use crate::refused::Reason;
use base64::Engine;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use policy::cel::{Map, Value};
use std::sync::Arc;

/// Most bytes of a token.
pub(crate) const MAX_BYTES: usize = 16 * 1024;
/// Seconds by which clocks may differ.
pub(crate) const LEEWAY: u64 = 60;
/// Groups of one consumer.
const MAX_GROUPS: usize = 1000;

/// A token that can be read.
#[derive(Debug)]
pub(crate) struct Token<'t> {
    pub(crate) algorithm: Algorithm,
    pub(crate) kid: Option<Arc<str>>,
    /// What is signed.
    pub(crate) message: &'t [u8],
    pub(crate) signature: Vec<u8>,
    pub(crate) claims: Claims,
}

/// What a token says.
#[derive(Clone, Debug)]
pub(crate) struct Claims(Arc<Map>);

/// Whether a text has the form of a token, so that it is not only a key that nobody has.
pub(crate) fn is_token(text: &str) -> bool {
    text.bytes().filter(|byte| *byte == b'.').count() == 2
}

impl<'t> Token<'t> {
    pub(crate) fn read(text: &'t str) -> Result<Self, Reason> {
        if text.len() > MAX_BYTES {
            return Err(Reason::TokenTooLarge);
        }
        let (message, signature) = text.rsplit_once('.').ok_or(Reason::UnreadableCredential)?;
        let (header, claims) = message.split_once('.').ok_or(Reason::UnreadableCredential)?;
        let header = object(header)?;
        let (algorithm, kid) = read_header(&header)?;
        let signature = decoded(signature)?;
        Ok(Self { algorithm, kid, message: message.as_bytes(), signature, claims: Claims(object(claims)?) })
    }
}

fn decoded(part: &str) -> Result<Vec<u8>, Reason> {
    URL_SAFE_NO_PAD.decode(part).map_err(|_| Reason::UnreadableCredential)
}

fn object(part: &str) -> Result<Arc<Map>, Reason> {
    match serde_json::from_slice(&decoded(part)?) {
        Ok(Value::Map(map)) => Ok(map),
        Ok(_) | Err(_) => Err(Reason::UnreadableCredential),
    }
}

fn read_header(header: &Map) -> Result<(Algorithm, Option<Arc<str>>), Reason> {
    if ["crit", "b64", "zip", "enc"].iter().any(|field| header.get(field).is_some()) {
        return Err(Reason::TokenCritical);
    }
    let algorithm = match header.get("alg") {
        Some(Value::String(name)) => Algorithm::named(name).ok_or(Reason::TokenAlgorithm)?,
        Some(_) | None => return Err(Reason::TokenAlgorithm),
    };
    let kid = match header.get("kid") {
        Some(Value::String(kid)) if kid.len() <= MAX_KID => Some(kid.clone()),
        Some(_) => return Err(Reason::UnreadableCredential),
        None => None,
    };
    match header.get("typ") {
        // A token for something else (logout+jwt, dpop+jwt) is no access token, whoever signed it (RFC 8725, section 3.11).
        Some(Value::String(kind)) if !is_access_token(kind) => Err(Reason::UnreadableCredential),
        Some(Value::String(_)) | None => Ok((algorithm, kid)),
        Some(_) => Err(Reason::UnreadableCredential),
    }
}

fn is_access_token(kind: &str) -> bool {
    let kind = kind.to_ascii_lowercase();
    matches!(kind.strip_prefix("application/").unwrap_or(&kind), "jwt" | "at+jwt" | "jose")
}

impl Claims {
    pub(crate) fn issuer(&self) -> Option<&str> {
        match self.0.get("iss")? {
            Value::String(issuer) => Some(issuer),
            _ => None,
        }
    }

    pub(crate) fn is_for(&self, audiences: &[Arc<str>]) -> bool {
        let is_meant = |value: &Value| matches!(value, Value::String(it) if audiences.contains(it));
        match self.0.get("aud") {
            Some(Value::List(list)) => list.iter().any(is_meant),
            Some(value) => is_meant(value),
            None => false,
        }
    }

    /// Until when it is valid (`exp` and the leeway), if it is now. One that never says until when never ends, and is none.
    pub(crate) fn valid_until(&self, now: u64) -> Result<u64, Reason> {
        let until = self.time("exp")?.ok_or(Reason::TokenExpired)?.saturating_add(LEEWAY);
        if now >= until {
            return Err(Reason::TokenExpired);
        }
        for from in ["nbf", "iat"] {
            if self.time(from)?.is_some_and(|from| from > now.saturating_add(LEEWAY)) {
                return Err(Reason::TokenNotYet);
            }
        }
        Ok(until)
    }

    /// A `NumericDate` (RFC 7519, section 2), which may have a fraction.
    #[expect(
        clippy::cast_possible_truncation,
        clippy::cast_sign_loss,
        reason = "within the bounds just checked"
    )]
    fn time(&self, claim: &str) -> Result<Option<u64>, Reason> {
        const FAR: f64 = 1e15;
        match self.0.get(claim) {
            None => Ok(None),
            Some(Value::Int(time)) => {
                u64::try_from(*time).map(Some).map_err(|_| Reason::UnreadableCredential)
            }
            Some(Value::Double(time)) if (0.0..FAR).contains(time) => Ok(Some(*time as u64)),
            Some(_) => Err(Reason::UnreadableCredential),
        }
    }

    /// What a claim says that is named as it is, or with dots that lead into objects.
    fn find(&self, claim: &str) -> Option<&Value> {
        if let Some(value) = self.0.get(claim) {
            return Some(value);
        }
        let mut steps = claim.split('.');
        let mut found = self.0.get(steps.next()?)?;
        for step in steps {
            let Value::Map(map) = found else { return None };
            found = map.get(step)?;
        }
        Some(found)
    }

    /// A text that is not empty.
    pub(crate) fn name(&self, claim: &str) -> Option<&Arc<str>> {
        match self.find(claim)? {
            Value::String(name) if !name.is_empty() => Some(name),
            _ => None,
        }
    }

    /// Texts of a list, or the words of a text (as `scope` has them: RFC 8693, section 4.2).
    pub(crate) fn groups(&self, claim: &str) -> Vec<Arc<str>> {
        match self.find(claim) {
            Some(Value::List(list)) => {
                let text = |value: &Value| match value {
                    Value::String(text) => Some(text.clone()),
                    _ => None,
                };
                list.iter().filter_map(text).take(MAX_GROUPS).collect()
            }
            Some(Value::String(words)) => {
                words.split(' ').filter(|word| !word.is_empty()).take(MAX_GROUPS).map(Arc::from).collect()
            }
            _ => Vec::new(),
        }
    }

    pub(crate) fn value(&self) -> Value {
        Value::Map(self.0.clone())
    }
}
