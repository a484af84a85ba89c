//! Key sets that are fetched: when to fetch which, and how long what was fetched serves.

use std::sync::Arc;

/// The key sets of all policies. One for the process.
#[derive(Debug, Default)]
pub struct KeySources;

/// A key set that should be fetched now.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Fetch {
    /// From where, with `https://`.
    pub url: Arc<str>,
    /// Certificates in PEM by which the server is known. `None`: those of the machine.
    pub ca: Option<Arc<str>>,
}

impl KeySources {
    /// Most bytes of a key set: who fetches stops there.
    pub const MOST_BYTES: usize = 256 * 1024;

    /// What should be fetched now; each is given out once until [`Self::fetched`] or [`Self::failed`] is told, or a minute
    /// is over. `now`: seconds since 1970.
    pub fn due(&self, now: u64) -> Vec<Fetch> {
        let _ = now;
        Vec::new()
    }

    /// When something will be due, if nothing happens before. Seconds since 1970.
    pub fn next_due(&self) -> Option<u64> {
        None
    }

    /// This is what came.
    ///
    /// # Errors
    /// It is no key set; what was there before stays. A sentence for the log.
    pub fn fetched(&self, fetch: &Fetch, body: &[u8], now: u64) -> Result<(), String> {
        let _ = (fetch, body, now);
        Ok(())
    }

    /// It could not be fetched.
    pub fn failed(&self, fetch: &Fetch, now: u64) {
        let _ = (fetch, now);
    }
}
