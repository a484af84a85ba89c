//! Who asks: what a request shows of it, made a [`Consumer`].
//!
//! Enters: the `authentication` of an InferencePolicy ([`crds::Authentication`]), the headers and the certificates of a
//! request ([`Shown`]), and what time it is. Leaves: who it is, or why that is not known ([`Refused`]). Guarantees: bounded
//! time and memory for whatever is shown; a credential that is wrong is never the same as none; nothing of a credential is
//! in what leaves. Does not: open sockets or look at a clock. Whoever has these fetches keys as [`KeySources`] says.

#![cfg_attr(test, allow(clippy::unwrap_used, clippy::indexing_slicing, clippy::panic, reason = "tests"))]

mod refused;
mod sources;

pub use policy::{Consumer, Known};
pub use refused::{Reason, Refused};
pub use sources::{Fetch, KeySources};

use crds::{Authentication, Diagnostic};
use std::sync::Arc;

/// Header fields in which credentials are looked for. They are not for the server behind.
pub const CREDENTIAL_HEADERS: [&str; 4] = ["authorization", "x-api-key", "api-key", "x-goog-api-key"];

/// What a request shows of who asks.
#[derive(Clone, Copy, Debug)]
pub struct Shown<'a> {
    /// Every field line, names in lower case.
    pub headers: &'a [(&'a str, &'a [u8])],
    /// The client's certificates as TLS had them, its own first, in DER. The handshake has proved that it has the key of the
    /// first; whom they are by is not yet known. Empty: none.
    pub certificates: &'a [&'a [u8]],
}

/// Knows who asks, by one policy.
#[derive(Debug)]
pub struct Authenticator {
    anonymous: bool,
}

impl Authenticator {
    /// By this `authentication`. Key sets that are fetched are those of `sources`, which outlive policies.
    ///
    /// # Errors
    /// Keys or certificates that cannot be read, each with its place.
    pub fn new(written: &Authentication, sources: &Arc<KeySources>) -> Result<Self, Vec<Diagnostic>> {
        let _ = sources;
        Ok(Self { anonymous: written.anonymous })
    }

    /// Who asks. `now`: seconds since 1970.
    ///
    /// # Errors
    /// That is not known.
    pub fn authenticate(&self, shown: &Shown<'_>, now: u64) -> Result<Arc<Consumer>, Refused> {
        let _ = now;
        let shows_nothing = shown.certificates.is_empty()
            && !shown.headers.iter().any(|(name, _)| CREDENTIAL_HEADERS.contains(name));
        if self.anonymous && shows_nothing {
            return Ok(Arc::new(Consumer::anonymous()));
        }
        Err(Refused::new(if shows_nothing { Reason::NoCredential } else { Reason::UnknownCredential }))
    }
}
