//! Who asks: what a request shows of it, made a [`Consumer`].
//!
//! Enters: the `authentication` of an InferencePolicy ([`crds::Authentication`]), the headers and the certificates of a
//! request ([`Shown`]), and what time it is. Leaves: who it is, or why that is not known ([`Refused`]). Guarantees: bounded
//! time and memory for whatever is shown; a credential that is wrong is never the same as none; nothing of a credential is
//! in what leaves. Does not: open sockets or look at a clock. Whoever has these fetches keys as [`KeySources`] says.

#![cfg_attr(test, allow(clippy::unwrap_used, clippy::indexing_slicing, clippy::panic, reason = "tests"))]

mod cache;
mod certificate;
mod id_token;
mod issuer;
mod jwks;
mod refused;
mod shown;
mod sources;
mod token;

pub use certificate::{Authorities, ends, uris};
pub use id_token::answers_log_in;
pub use policy::{Consumer, Known};
pub use refused::{Reason, Refused};
pub use shown::{CREDENTIAL_HEADERS, Shown};
pub use sources::{Fetch, KeySources, Standing};

use aws_lc_rs::constant_time::verify_slices_are_equal;
use aws_lc_rs::digest::{SHA256, digest};
use cache::{Digest, Verified};
use crds::{Authentication, Diagnostic};
use issuer::Issuer;
use std::collections::HashMap;
use std::sync::Arc;
use token::{MAX_BYTES, Token};

/// Knows who asks, by one policy.
#[derive(Debug)]
pub struct Authenticator {
    anonymous: Option<Arc<Consumer>>,
    keys: HashMap<Digest, (Digest, Arc<Consumer>)>,
    issuers: Vec<Issuer>,
    authorities: Option<Authorities>,
    verified: Verified,
}

impl Authenticator {
    /// By this `authentication`. Key sets that are fetched are those of `sources`, which outlive policies.
    ///
    /// # Errors
    /// Keys or certificates that cannot be read, each with its place.
    pub fn new(written: &Authentication, sources: &KeySources) -> Result<Self, Vec<Diagnostic>> {
        let mut wrong = Vec::new();
        let mut issuers = Vec::new();
        for issuer in &written.jwt {
            match Issuer::new(&issuer.value, sources) {
                Ok(issuer) => issuers.push(issuer),
                Err(diagnostic) => wrong.push(*diagnostic),
            }
        }
        let authorities = written.mtls.as_ref().map(|mtls| Authorities::read(mtls, &mut wrong));
        if !wrong.is_empty() {
            return Err(wrong);
        }
        Ok(Self {
            anonymous: written.anonymous.then(|| Arc::new(Consumer::anonymous())),
            keys: api_keys(written),
            issuers,
            authorities,
            verified: Verified::default(),
        })
    }

    /// Who asks. A credential in the headers says it, else a certificate, else it may be nobody. `now`: seconds since 1970.
    ///
    /// # Errors
    /// That is not known.
    pub fn authenticate(&self, shown: &Shown<'_>, now: u64) -> Result<Arc<Consumer>, Refused> {
        if let Some(credential) = shown.credential().map_err(Refused::new)? {
            return self.by_credential(credential, now);
        }
        match &self.authorities {
            Some(authorities) if !shown.certificates.is_empty() => {
                let (id, domain) = authorities.identify(shown.certificates, now).map_err(Refused::new)?;
                let how = Known::Certificate(domain);
                Ok(Arc::new(Consumer { name: id, groups: Vec::new(), how, claims: Consumer::no_claims() }))
            }
            Some(_) | None => self.anonymous.clone().ok_or_else(|| Refused::new(Reason::NoCredential)),
        }
    }

    fn by_credential(&self, credential: &str, now: u64) -> Result<Arc<Consumer>, Refused> {
        if credential.len() > MAX_BYTES {
            return Err(Refused::new(Reason::TokenTooLarge));
        }
        let shown = sha256(credential.as_bytes());
        if let Some(consumer) = self.by_key(&shown) {
            return Ok(consumer);
        }
        if self.issuers.is_empty() || !token::is_token(credential) {
            return Err(Refused::new(Reason::UnknownCredential));
        }
        let keys = |issuer: usize| self.issuers.get(issuer).and_then(|issuer| issuer.keys(now));
        if let Some(consumer) = self.verified.find(&shown, now, keys) {
            return Ok(consumer);
        }
        let token = Token::read(credential).map_err(Refused::new)?;
        self.by_token(&token, shown, now)
    }

    /// Keys are looked up by a digest of their digest, so that how long that takes tells nothing of digests in the policy.
    fn by_key(&self, shown: &Digest) -> Option<Arc<Consumer>> {
        let (known, consumer) = self.keys.get(&sha256(shown))?;
        verify_slices_are_equal(known, shown).ok()?;
        Some(consumer.clone())
    }

    /// Several issuers may be written for one `iss`, for other audiences: the first that takes the token counts, else what the
    /// last had against it.
    fn by_token(&self, token: &Token<'_>, shown: Digest, now: u64) -> Result<Arc<Consumer>, Refused> {
        let mut refused = Refused::new(Reason::TokenIssuer);
        let meant = self.issuers.iter().enumerate().filter(|(_, issuer)| issuer.is_of(token));
        for (at, issuer) in meant {
            match issuer.verify(token, now) {
                Ok(good) => {
                    self.verified.add(shown, &good.consumer, good.until, at, good.keys);
                    return Ok(good.consumer);
                }
                Err(why) => refused = why,
            }
        }
        Err(refused)
    }
}

fn api_keys(written: &Authentication) -> HashMap<Digest, (Digest, Arc<Consumer>)> {
    let mut keys = HashMap::new();
    for key in &written.api_keys {
        let consumer = Arc::new(Consumer {
            name: key.value.consumer.clone(),
            groups: key.value.groups.clone(),
            how: Known::ApiKey,
            claims: Consumer::no_claims(),
        });
        for known in &key.value.digests {
            keys.insert(sha256(known), (*known, consumer.clone()));
        }
    }
    keys
}

fn sha256(bytes: &[u8]) -> Digest {
    let mut copy = Digest::default();
    // A SHA-256 has as many bytes.
    copy.iter_mut().zip(digest(&SHA256, bytes).as_ref()).for_each(|(to, from)| *to = *from);
    copy
}
