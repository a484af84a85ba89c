//! How much was asked and used, and whether there is more.
//!
//! Enters: limits, who asks, what a request may need, and what it took. Leaves: [`Taken`] for each request, or what is
//! [`Spent`]. Guarantees: a request that is refused by one limit takes nothing of any; what is set aside by requests at
//! the same time is never more than there is; a clock that is set back gives nothing back; at most [`MOST_ACCOUNTS`]
//! accounts, half of them of the policies of one namespace, and where there are as many, who has none is refused. Does not: write
//! files ([`Ledger::kept`] is what is to be written), or talk to a store of shared accounts ([`lease::Accounts`] is how somebody
//! does); streams are counted in the process alone.

mod account;
mod keep;
mod taken;

pub use keep::Kept;
pub use taken::Taken;

use crate::effective::{Effective, Source};
use crate::limit::Limit;
use account::Account;
use lease::{Ask, Grant, StoreIs};
use policy::Consumer;
use std::collections::HashMap;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use taken::{Share, headers};

/// Most accounts.
const MOST_ACCOUNTS: usize = 131_072;
/// Most of the policies of one namespace: whoever writes them says who is a consumer.
const MOST_OF_NAMESPACE: usize = MOST_ACCOUNTS / 2;

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
}

/// What a request takes beside itself.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Amount {
    /// Tokens.
    pub tokens: Tokens,
    /// What they cost, in billionths of the currency of the prices.
    pub money: u64,
}

impl Amount {
    fn max(self, other: Self) -> Self {
        let [mine, theirs] = [self.tokens, other.tokens];
        let tokens = Tokens { input: mine.input.max(theirs.input), output: mine.output.max(theirs.output) };
        Self { tokens, money: self.money.max(other.money) }
    }
}

/// Who asks for what, and when.
#[derive(Clone, Copy, Debug)]
pub struct Need<'a> {
    /// Who.
    pub consumer: &'a Consumer,
    /// The model that is named; one that is not may be any.
    pub model: Option<&'a str>,
    /// What it may need.
    pub amount: Amount,
    /// Seconds since 1970.
    pub now: u64,
    /// How the store stands in which gateways share their accounts. `None`: they do not.
    pub store: Option<StoreIs>,
}

/// All accounts. One for the process: it outlives policies.
#[derive(Debug, Default)]
pub struct Ledger(Mutex<Accounts>);

#[derive(Debug, Default)]
struct Accounts {
    all: HashMap<AccountKey, Account>,
    /// How many of the policies of each namespace.
    of: HashMap<String, usize>,
    /// When those that are of no use were forgotten last.
    swept: u64,
    /// Since they were kept last.
    is_changed: bool,
}

/// Limit and consumer.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct AccountKey {
    limit: Arc<str>,
    account: Arc<str>,
}

impl AccountKey {
    /// Of the policy that has the limit, by which its id begins.
    fn namespace(&self) -> &str {
        self.limit.split_once('/').map_or("", |(namespace, _)| namespace)
    }
}

/// What is used up.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Spent {
    /// `limit-requests`, `limit-streams`, `limit-input-tokens`, `limit-output-tokens`, `limit-tokens`, `limit-money`,
    /// `limit-accounts`.
    pub reason: &'static str,
    /// The limit.
    pub source: Source,
    /// A sentence, for a person.
    pub message: String,
    /// Seconds until there may be enough: `retry-after`. `None`: a request of this size is never taken.
    pub retry_after: Option<u64>,
    /// Fields for a refusal that say what is left of it, as [`Taken::headers`] has them.
    pub headers: Vec<(&'static str, String)>,
}

/// Why a request cannot be taken now.
#[derive(Debug)]
pub enum Short {
    /// There is not as much.
    Spent(Box<Spent>),
    /// This gateway was not granted as much: the store is to be asked for these accounts. How it looks if nothing more can be had.
    Unleased(Vec<AccountKey>, Box<Spent>),
}

impl Short {
    /// What is spent, if nothing more can be had.
    pub fn spent(self) -> Spent {
        match self {
            Self::Spent(spent) | Self::Unleased(_, spent) => *spent,
        }
    }
}

impl Ledger {
    fn accounts(&self) -> MutexGuard<'_, Accounts> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Takes a request, a stream and what it may need, in every limit that holds.
    ///
    /// # Errors
    /// There is not as much left in one of them, or not as much was granted to this gateway; nothing is taken.
    pub fn take(self: &Arc<Self>, policies: &Effective, need: &Need<'_>) -> Result<Taken, Short> {
        let Need { consumer, amount, now, store, .. } = *need;
        let mut accounts = self.accounts();
        let (mut shares, mut unleased, mut why) = (Vec::new(), Vec::new(), None);
        for limit in policies.limits_of(consumer, need.model) {
            let key = AccountKey { limit: limit.id.clone(), account: limit.account(consumer) };
            let account = accounts.open(&key, limit, now).map_err(Short::Spent)?;
            if let Some(mut spent) = account.lacking(limit, amount, now) {
                spent.headers = headers([(limit.as_ref(), &*account)].into_iter(), now);
                return Err(Short::Spent(Box::new(spent)));
            }
            if let Some(store) = store
                && let Some(mut spent) = account.unleased(limit, &key.account, (amount, now), store)
            {
                spent.headers = headers([(limit.as_ref(), &*account)].into_iter(), now);
                why = why.or(Some(spent));
                unleased.push(key.clone());
            }
            shares.push(Share { limit: limit.clone(), key, since: account.begin });
        }
        if let Some(why) = why {
            return Err(Short::Unleased(unleased, Box::new(why)));
        }
        for share in &shares {
            let account = accounts.all.entry(share.key.clone()).or_default();
            account.requests = account.requests.saturating_add(1);
            account.streams = account.streams.saturating_add(1);
            account.correct(share.since, Amount::default(), amount);
        }
        accounts.is_changed |= !shares.is_empty();
        drop(accounts);
        Ok(Taken::new(self.clone(), shares, amount))
    }
}

impl Effective {
    fn limits_of<'a, 'b>(
        &'a self,
        consumer: &'b Consumer,
        model: Option<&'b str>,
    ) -> impl Iterator<Item = &'a Arc<Limit>> {
        let limits = self.limits.iter().flat_map(|limits| limits.iter());
        limits.filter(move |limit| limit.holds(consumer, model))
    }

    /// The first limit of money, of whomever it is.
    pub fn limits_money(&self) -> Option<&Source> {
        let mut limits = self.limits.iter().flat_map(|limits| limits.iter());
        limits.find(|limit| limit.most.money.is_some()).map(|limit| &limit.source)
    }

    /// The first limit of money that holds for this.
    pub fn money_limit(&self, consumer: &Consumer, model: Option<&str>) -> Option<&Source> {
        self.limits_of(consumer, model).find(|limit| limit.most.money.is_some()).map(|limit| &limit.source)
    }

    /// The first limit of tokens, or of what they cost, that holds for this.
    pub fn token_limit(&self, consumer: &Consumer, model: Option<&str>) -> Option<&Source> {
        self.limits_of(consumer, model).find(|limit| limit.counts_tokens()).map(|limit| &limit.source)
    }
}

impl Accounts {
    /// The account, in the window that it is now.
    fn open(&mut self, key: &AccountKey, limit: &Limit, now: u64) -> Result<&mut Account, Box<Spent>> {
        if !self.add(key) {
            self.sweep(now);
            if !self.add(key) {
                let message =
                    "there are too many consumers at once for their limits to be counted".to_owned();
                let (source, reason) = (limit.source.clone(), "limit-accounts");
                let headers = Vec::new();
                return Err(Box::new(Spent { reason, source, message, retry_after: Some(60), headers }));
            }
        }
        let account = self.all.entry(key.clone()).or_default();
        account.roll(limit, now);
        Ok(account)
    }

    /// Counts an account that is about to be there, if there is room for it; one that is there needs none.
    fn add(&mut self, key: &AccountKey) -> bool {
        if self.all.contains_key(key) {
            return true;
        }
        let of = self.of.entry(key.namespace().to_owned()).or_default();
        let has_room = self.all.len() < MOST_ACCOUNTS && *of < MOST_OF_NAMESPACE;
        *of += usize::from(has_room);
        has_room
    }

    /// Forgets accounts whose window is over, at most once a second: it looks at all.
    fn sweep(&mut self, now: u64) {
        if now <= self.swept {
            return;
        }
        self.swept = now;
        self.all.retain(|_, account| account.is_of_use(now));
        self.of.clear();
        for key in self.all.keys() {
            *self.of.entry(key.namespace().to_owned()).or_default() += 1;
        }
    }
}

impl lease::Accounts for Ledger {
    type Key = AccountKey;
    type Amount = Amount;

    fn lease_ask(&self, key: &AccountKey, amount: Amount) -> Option<Ask> {
        self.accounts().all.get_mut(key)?.lease_ask(amount)
    }

    fn leased(&self, most: usize) -> Vec<AccountKey> {
        let accounts = self.accounts();
        let leased = accounts.all.iter().filter(|(_, account)| account.is_leased());
        leased.map(|(key, _)| key.clone()).take(most).collect()
    }

    fn lease_news_of(&self, key: &AccountKey) -> Option<Ask> {
        self.accounts().all.get_mut(key)?.lease_news()
    }

    fn lease_granted(&self, key: &AccountKey, ask: &Ask, grants: &[Grant]) {
        if let Some(account) = self.accounts().all.get_mut(key) {
            account.lease_granted(ask, grants);
        }
    }
}
