//! How much was asked and used, and whether there is more.

use crate::effective::{Effective, Source};
use policy::Consumer;
use std::sync::Arc;

/// Tokens, as far as known.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Tokens {
    /// Those that go in.
    pub input: u64,
    /// Those that come out.
    pub output: u64,
}

/// All accounts. One for the process: it outlives policies.
#[derive(Debug, Default)]
pub struct Ledger;

/// What is used up.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Spent {
    /// `limit-requests`, `limit-streams`, `limit-input-tokens`, `limit-output-tokens`, `limit-tokens`.
    pub reason: &'static str,
    /// The limit.
    pub source: Source,
    /// A sentence, for a person.
    pub message: String,
    /// Seconds until there may be enough: `retry-after`. `None`: a request of this size is never taken.
    pub retry_after: Option<u64>,
}

/// What one request takes. A stream that it takes is given back when it is dropped; tokens too, unless
/// [`Taken::answered`] was told.
#[derive(Debug)]
#[must_use]
pub struct Taken {
    ledger: Arc<Ledger>,
}

impl Ledger {
    /// Takes a request, a stream and the tokens that it may need, in every limit that holds. `now`: seconds since 1970.
    ///
    /// # Errors
    /// There is not as much left in one of them; nothing is taken.
    pub fn take(
        self: &Arc<Self>,
        policies: &Effective,
        consumer: &Consumer,
        model: Option<&str>,
        needs: Tokens,
        now: u64,
    ) -> Result<Taken, Spent> {
        let _ = (policies, consumer, model, needs, now);
        Ok(Taken { ledger: self.clone() })
    }
}

impl Taken {
    /// The server answered: what it took is no longer given back.
    pub fn answered(&mut self) {}

    /// It takes at least so much. Returns what is spent by what is more than was set aside: the answer is to be cut then.
    pub fn grow(&mut self, least: Tokens, now: u64) -> Option<Spent> {
        let _ = (least, now, &self.ledger);
        None
    }

    /// It took so much, whatever was set aside.
    pub fn settle(&mut self, taken: Tokens, now: u64) {
        let _ = (taken, now);
    }

    /// Header fields for the answer that say what is left: `x-ratelimit-limit-requests`, `-remaining-requests`,
    /// `-reset-requests` and the same of tokens, in the manner of OpenAI's; of the limit that has least left.
    pub fn headers(&self, now: u64) -> Vec<(&'static str, String)> {
        let _ = now;
        Vec::new()
    }
}
