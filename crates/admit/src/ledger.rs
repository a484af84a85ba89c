//! How much was asked and used, and whether there is more.
//!
//! Enters: limits, who asks, what a request may need, and what it took. Leaves: [`Taken`] for each request, or what is
//! [`Spent`]. Guarantees: a request that is refused by one limit takes nothing of any; what is set aside by requests at
//! the same time is never more than there is; a clock that is set back gives nothing back; at most [`MOST_ACCOUNTS`]
//! accounts, and where there are as many, who has none is refused. Does not: outlive the process.

use crate::effective::{Effective, Source};
use crate::limit::{Limit, Most};
use policy::Consumer;
use std::collections::HashMap;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

/// Most accounts.
const MOST_ACCOUNTS: usize = 65_536;
/// Seconds until a stream may have ended, for who is refused for their number.
const STREAM_RETRY: u64 = 1;

/// Tokens, as far as known.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Tokens {
    /// Those that go in.
    pub input: u64,
    /// Those that come out.
    pub output: u64,
}

impl Tokens {
    fn total(self) -> u64 {
        self.input.saturating_add(self.output)
    }

    fn max(self, other: Self) -> Self {
        Self { input: self.input.max(other.input), output: self.output.max(other.output) }
    }
}

/// All accounts. One for the process: it outlives policies.
#[derive(Debug, Default)]
pub struct Ledger(Mutex<Accounts>);

#[derive(Debug, Default)]
struct Accounts {
    all: HashMap<Key, Account>,
    /// When those that are of no use were forgotten last.
    swept: u64,
}

/// Limit and consumer.
type Key = (Arc<str>, Arc<str>);

#[derive(Clone, Copy, Debug, Default)]
struct Account {
    /// When its window began.
    begin: u64,
    requests: u64,
    tokens: Tokens,
    streams: u64,
}

/// What is used up.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Spent {
    /// `limit-requests`, `limit-streams`, `limit-input-tokens`, `limit-output-tokens`, `limit-tokens`, `limit-accounts`.
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
    shares: Vec<Share>,
    tokens: Tokens,
    is_answered: bool,
}

/// What it takes of one limit.
#[derive(Debug)]
struct Share {
    limit: Arc<Limit>,
    key: Key,
    /// When the window began from which it was taken.
    since: u64,
}

impl Ledger {
    fn accounts(&self) -> MutexGuard<'_, Accounts> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }

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
    ) -> Result<Taken, Box<Spent>> {
        let limits = policies.limits.iter().flat_map(|limits| limits.iter());
        let limits: Vec<_> = limits.filter(|limit| limit.holds(consumer, model)).collect();
        let mut accounts = self.accounts();
        let mut shares = Vec::with_capacity(limits.len());
        for limit in limits {
            let key = (limit.id.clone(), limit.account(consumer));
            let account = accounts.open(&key, limit, now)?;
            if let Some(spent) = lacking(limit, account, needs, now) {
                return Err(Box::new(spent));
            }
            shares.push(Share { limit: limit.clone(), key, since: account.begin });
        }
        for share in &shares {
            let account = accounts.all.entry(share.key.clone()).or_default();
            account.requests = account.requests.saturating_add(1);
            account.streams = account.streams.saturating_add(1);
            account.correct(share.since, Tokens::default(), needs);
        }
        drop(accounts);
        Ok(Taken { ledger: self.clone(), shares, tokens: needs, is_answered: false })
    }
}

impl Accounts {
    /// The account, in the window that it is now.
    fn open(&mut self, key: &Key, limit: &Limit, now: u64) -> Result<&mut Account, Box<Spent>> {
        if self.all.len() >= MOST_ACCOUNTS && !self.all.contains_key(key) {
            self.sweep(now);
            if self.all.len() >= MOST_ACCOUNTS {
                let message =
                    "there are too many consumers at once for their limits to be counted".to_owned();
                let source = limit.source.clone();
                let reason = "limit-accounts";
                return Err(Box::new(Spent { reason, source, message, retry_after: Some(60) }));
            }
        }
        let account = self.all.entry(key.clone()).or_default();
        account.roll(limit, now);
        Ok(account)
    }

    /// Forgets accounts that had no use for a day, at most once a second: it looks at all.
    fn sweep(&mut self, now: u64) {
        const DAY: u64 = 24 * 3600;
        if now <= self.swept {
            return;
        }
        self.swept = now;
        self.all.retain(|_, account| account.streams > 0 || account.begin.saturating_add(DAY) > now);
    }
}

impl Account {
    fn roll(&mut self, limit: &Limit, now: u64) {
        let begin = limit.begin(now);
        if begin > self.begin {
            *self = Self { begin, streams: self.streams, ..Self::default() };
        }
    }

    /// Takes tokens in place of those that were counted before, in the window that began at `since`. In a later window what
    /// was counted before is no part of it, and only what is more is added.
    fn correct(&mut self, since: u64, before: Tokens, after: Tokens) {
        let is_same = since == self.begin;
        for (used, before, after) in [
            (&mut self.tokens.input, before.input, after.input),
            (&mut self.tokens.output, before.output, after.output),
        ] {
            *used = used.saturating_add(after.saturating_sub(before));
            if is_same {
                *used = used.saturating_sub(before.saturating_sub(after));
            }
        }
    }
}

/// One thing that a limit counts.
struct Count {
    reason: &'static str,
    what: &'static str,
    used: u64,
    most: u64,
    needed: u64,
}

/// What a limit counts, in the order in which it is told.
fn counts(most: &Most, account: &Account, needs: Tokens) -> impl Iterator<Item = Count> {
    let used = account.tokens;
    [
        ("limit-streams", "requests at once", account.streams, most.streams, 1),
        ("limit-requests", "requests", account.requests, most.requests, 1),
        ("limit-input-tokens", "input tokens", used.input, most.input_tokens, needs.input),
        ("limit-output-tokens", "output tokens", used.output, most.output_tokens, needs.output),
        ("limit-tokens", "tokens", used.total(), most.tokens, needs.total()),
    ]
    .into_iter()
    .filter_map(|(reason, what, used, most, needed)| Some(Count { reason, what, used, most: most?, needed }))
}

/// What there is not enough of for one more request.
fn lacking(limit: &Limit, account: &Account, needs: Tokens, now: u64) -> Option<Spent> {
    // What is spent is spent, also for a request that seems to need nothing.
    let lacks = |it: &Count| it.used >= it.most || it.used.saturating_add(it.needed) > it.most;
    let Count { reason, what, used, most, needed } = counts(&limit.most, account, needs).find(lacks)?;
    let left = most.saturating_sub(used);
    let message =
        format!("{most} {what} are allowed by {}: {left} are left, and {needed} needed", limit.source);
    let retry_after = match reason {
        _ if needed > most => None,
        "limit-streams" => Some(STREAM_RETRY),
        _ => limit.window.map(|_| until_next(limit, account.begin, now)),
    };
    Some(Spent { reason, source: limit.source.clone(), message, retry_after })
}

/// Seconds to the end of the window, at least one.
fn until_next(limit: &Limit, begin: u64, now: u64) -> u64 {
    let end = begin.saturating_add(limit.window.unwrap_or(0));
    end.saturating_sub(now).max(1)
}

impl Taken {
    /// The server answered: what it took is no longer given back.
    pub fn answered(&mut self) {
        self.is_answered = true;
    }

    /// It takes at least so much. Returns what is spent by what is more than was set aside: the answer is to be cut then.
    pub fn grow(&mut self, least: Tokens, now: u64) -> Option<Spent> {
        let after = self.tokens.max(least);
        if after == self.tokens {
            return None;
        }
        self.correct(after, Some(now))
    }

    /// It took so much, whatever was set aside.
    pub fn settle(&mut self, taken: Tokens, now: u64) {
        let _nothing_follows = self.correct(taken, Some(now));
    }

    fn correct(&mut self, after: Tokens, now: Option<u64>) -> Option<Spent> {
        let before = std::mem::replace(&mut self.tokens, after);
        let mut accounts = self.ledger.accounts();
        let mut spent = None;
        for Share { limit, key, since } in &self.shares {
            let Some(account) = accounts.all.get_mut(key) else { continue };
            now.into_iter().for_each(|now| account.roll(limit, now));
            account.correct(*since, before, after);
            spent = spent.or_else(|| over(limit, account, now?));
        }
        spent
    }

    /// Header fields for the answer that say what is left, in the manner of OpenAI's: `x-ratelimit-limit-requests`,
    /// `x-ratelimit-remaining-requests`, `x-ratelimit-reset-requests`, and the same with `-tokens`; each of the limit that has
    /// least left.
    pub fn headers(&self, now: u64) -> Vec<(&'static str, String)> {
        let accounts = self.ledger.accounts();
        let left = |reason: &str| {
            let of = |share: &Share| {
                let account = accounts.all.get(&share.key)?;
                let count =
                    counts(&share.limit.most, account, Tokens::default()).find(|it| it.reason == reason)?;
                let reset = until_next(&share.limit, account.begin, now);
                Some((count.most.saturating_sub(count.used), count.most, reset))
            };
            self.shares.iter().filter_map(of).min()
        };
        let fields = [
            (
                "limit-requests",
                [
                    "x-ratelimit-remaining-requests",
                    "x-ratelimit-limit-requests",
                    "x-ratelimit-reset-requests",
                ],
            ),
            (
                "limit-tokens",
                ["x-ratelimit-remaining-tokens", "x-ratelimit-limit-tokens", "x-ratelimit-reset-tokens"],
            ),
        ];
        let told = fields.into_iter().filter_map(|(reason, names)| Some((names, left(reason)?)));
        told.flat_map(|([remaining, limit, reset], (left, most, seconds))| {
            [(remaining, left.to_string()), (limit, most.to_string()), (reset, format!("{seconds}s"))]
        })
        .collect()
    }
}

/// What there is more of than there may be. Requests and streams are counted before they go on, so there never is of them.
fn over(limit: &Limit, account: &Account, now: u64) -> Option<Spent> {
    let is_over = |it: &Count| it.needed == 0 && it.used > it.most;
    let Count { reason, what, most, .. } = counts(&limit.most, account, Tokens::default()).find(is_over)?;
    let message = format!("{most} {what} are allowed by {}, and this answer takes more", limit.source);
    let retry_after = Some(until_next(limit, account.begin, now));
    Some(Spent { reason, source: limit.source.clone(), message, retry_after })
}

impl Drop for Taken {
    fn drop(&mut self) {
        if !self.is_answered {
            let _spent_before = self.correct(Tokens::default(), None);
        }
        let mut accounts = self.ledger.accounts();
        for share in &self.shares {
            if let Some(account) = accounts.all.get_mut(&share.key) {
                account.streams = account.streams.saturating_sub(1);
            }
        }
    }
}
