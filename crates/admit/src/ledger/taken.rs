//! What one request took of its limits.

use super::account::Account;
use super::{AccountKey, Amount, Ledger, Spent};
use crate::limit::Limit;
use policy::Money;
use std::sync::Arc;

/// What one request takes. A stream that it takes is given back when it is dropped; the amount too, unless
/// [`Taken::answered`] was told.
#[derive(Debug)]
#[must_use]
pub struct Taken {
    ledger: Arc<Ledger>,
    shares: Vec<Share>,
    amount: Amount,
    is_answered: bool,
}

/// What it takes of one limit.
#[derive(Debug)]
pub(super) struct Share {
    pub(super) limit: Arc<Limit>,
    pub(super) key: AccountKey,
    /// When the window began from which it was taken.
    pub(super) since: u64,
}

impl Taken {
    pub(super) fn new(ledger: Arc<Ledger>, shares: Vec<Share>, amount: Amount) -> Self {
        Self { ledger, shares, amount, is_answered: false }
    }

    /// The server answered: what it took is no longer given back.
    pub fn answered(&mut self) {
        self.is_answered = true;
    }

    /// Whether any limit holds.
    pub fn is_limited(&self) -> bool {
        !self.shares.is_empty()
    }

    /// What it takes as far as is known.
    pub fn amount(&self) -> Amount {
        self.amount
    }

    /// It takes at least so much. Returns what is spent by what is more than was set aside: the answer is to be cut then.
    pub fn grow(&mut self, least: Amount, now: u64) -> Option<Spent> {
        let after = self.amount.max(least);
        if after == self.amount {
            return None;
        }
        self.correct(after, Some(now))
    }

    /// It took so much, whatever was set aside.
    pub fn settle(&mut self, taken: Amount, now: u64) {
        let _nothing_follows = self.correct(taken, Some(now));
    }

    fn correct(&mut self, after: Amount, now: Option<u64>) -> Option<Spent> {
        let before = std::mem::replace(&mut self.amount, after);
        let mut accounts = self.ledger.accounts();
        accounts.is_changed |= before != after && !self.shares.is_empty();
        let mut spent = None;
        for Share { limit, key, since } in &self.shares {
            let Some(account) = accounts.all.get_mut(key) else { continue };
            now.into_iter().for_each(|now| account.roll(limit, now));
            account.correct(*since, before, after);
            spent = spent.or_else(|| account.over(limit, now?));
        }
        spent
    }

    /// Header fields for the answer that say what is left, in the manner of OpenAI's: `x-ratelimit-limit-requests`,
    /// `x-ratelimit-remaining-requests`, `x-ratelimit-reset-requests`, and the same with `-tokens` and `-money`; each of the limit
    /// that has least left.
    pub fn headers(&self, now: u64) -> Vec<(&'static str, String)> {
        let accounts = self.ledger.accounts();
        let of = |share: &'_ Share| Some((Arc::clone(&share.limit), accounts.all.get(&share.key)?.clone()));
        let drawn: Vec<(Arc<Limit>, Account)> = self.shares.iter().filter_map(of).collect();
        drop(accounts);
        headers(drawn.iter().map(|(limit, account)| (limit.as_ref(), account)), now)
    }
}

/// What is told of a limit: why it would be spent, and the fields of what is left, of how much, and until when.
const FIELDS: [(&str, [&str; 3]); 3] = [
    (
        "limit-requests",
        ["x-ratelimit-remaining-requests", "x-ratelimit-limit-requests", "x-ratelimit-reset-requests"],
    ),
    (
        "limit-tokens",
        ["x-ratelimit-remaining-tokens", "x-ratelimit-limit-tokens", "x-ratelimit-reset-tokens"],
    ),
    ("limit-money", ["x-ratelimit-remaining-money", "x-ratelimit-limit-money", "x-ratelimit-reset-money"]),
];

pub(super) fn headers<'a>(
    drawn: impl Iterator<Item = (&'a Limit, &'a Account)> + Clone,
    now: u64,
) -> Vec<(&'static str, String)> {
    let least =
        |reason: &str| drawn.clone().filter_map(|(limit, account)| account.left(limit, reason, now)).min();
    let told = FIELDS.into_iter().filter_map(|(reason, names)| Some((reason, names, least(reason)?)));
    told.flat_map(|(reason, [remaining, limit, reset], (left, most, seconds))| {
        let shown = |number: u64| match reason {
            "limit-money" => Money(number).to_string(),
            _ => number.to_string(),
        };
        [(remaining, shown(left)), (limit, shown(most)), (reset, format!("{seconds}s"))]
    })
    .collect()
}

impl Drop for Taken {
    fn drop(&mut self) {
        if !self.is_answered {
            let _spent_before = self.correct(Amount::default(), None);
        }
        let mut accounts = self.ledger.accounts();
        for share in &self.shares {
            if let Some(account) = accounts.all.get_mut(&share.key) {
                account.streams = account.streams.saturating_sub(1);
            }
        }
    }
}
