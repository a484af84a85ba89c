//! How many requests and tokens pods used under rules that limit them, and what these cost.
//!
//! Enters: what a rule allows in an hour and a day ([`Quotas`]), requests, and what they take. Leaves: a [`Reservation`] for
//! each, or what is spent. Guarantees: one account for all threads and states of policy; windows are hours and days of
//! UTC; what was told by an earlier process counts. Does not: look at a clock, or know whose account it is: the agent
//! numbers them.

use crate::call::Shortfall;
use crate::reason::Reason;
use crate::state::Window;
use lease::{Ask, Count, Grant, Lease, Limits, StoreIs, Used};
use policy::{Quota, Quotas, RuleId};
use purse::Purse;
use serde::{Deserialize, Serialize};
use std::collections::HashMap;
use std::net::IpAddr;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

/// Seconds.
const HOUR: u64 = 3600;
const DAY: u64 = 24 * HOUR;
/// What is counted, by the names that the store has.
const COUNTS: [Count; 6] = [
    Count { name: "requests", window: lease::Window::Hour },
    Count { name: "requests", window: lease::Window::Day },
    Count { name: "tokens", window: lease::Window::Hour },
    Count { name: "tokens", window: lease::Window::Day },
    Count { name: "money", window: lease::Window::Hour },
    Count { name: "money", window: lease::Window::Day },
];
/// Accounts from which on those that were not used today are forgotten.
const MANY: usize = 65_536;

/// What was used of an account, in the hour and the day (UTC) of its last use.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct QuotaUse {
    /// When the hour began: seconds since 1970.
    pub hour_start: u64,
    /// Requests in it.
    pub requests_hour: u64,
    /// Tokens in it, as the provider counts them; as estimated, or set aside, until it does.
    pub tokens_hour: u64,
    /// When the day began: seconds since 1970.
    pub day_start: u64,
    /// Requests in it.
    pub requests_day: u64,
    /// Tokens in it.
    pub tokens_day: u64,
    /// Money in the hour, in billionths of the currency of the prices.
    #[serde(default)]
    pub money_hour: u64,
    /// Money in the day.
    #[serde(default)]
    pub money_day: u64,
}

/// What one request takes beside itself.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct Amount {
    pub(crate) tokens: u64,
    /// In billionths.
    pub(crate) money: u64,
}

impl Amount {
    fn max(self, other: Self) -> Self {
        Self { tokens: self.tokens.max(other.tokens), money: self.money.max(other.money) }
    }
}

impl QuotaUse {
    /// Begins the windows anew that are over. A clock that was set back begins none.
    fn roll(&mut self, now: u64) {
        let (hour, day) = (now - now % HOUR, now - now % DAY);
        if hour > self.hour_start {
            (self.hour_start, self.requests_hour, self.tokens_hour, self.money_hour) = (hour, 0, 0, 0);
        }
        if day > self.day_start {
            (self.day_start, self.requests_day, self.tokens_day, self.money_day) = (day, 0, 0, 0);
        }
    }

    /// The larger of both in the same window; in different ones, that of the later.
    fn merge(&mut self, other: &Self) {
        let (hour, day) = (self.hour_start.max(other.hour_start), self.day_start.max(other.day_start));
        let mut other = *other;
        for used in [&mut *self, &mut other] {
            used.roll(hour);
            used.roll(day);
        }
        for (mine, theirs) in [
            (&mut self.requests_hour, other.requests_hour),
            (&mut self.tokens_hour, other.tokens_hour),
            (&mut self.money_hour, other.money_hour),
            (&mut self.requests_day, other.requests_day),
            (&mut self.tokens_day, other.tokens_day),
            (&mut self.money_day, other.money_day),
        ] {
            *mine = (*mine).max(theirs);
        }
    }

    /// Takes an amount in place of the one that was counted before, in the windows (hour, day) that began at `since`. In a window
    /// that began later, what was counted before is no part of it, and only what is more is added.
    fn correct(&mut self, since: (u64, u64), before: Amount, after: Amount) {
        let (is_hour, is_day) = (since.0 == self.hour_start, since.1 == self.day_start);
        for (used, before, after, is_same) in [
            (&mut self.tokens_hour, before.tokens, after.tokens, is_hour),
            (&mut self.tokens_day, before.tokens, after.tokens, is_day),
            (&mut self.money_hour, before.money, after.money, is_hour),
            (&mut self.money_day, before.money, after.money, is_day),
        ] {
            *used = used.saturating_add(after.saturating_sub(before));
            if is_same {
                *used = used.saturating_sub(before.saturating_sub(after));
            }
        }
    }

    /// In the order of [`COUNTS`].
    fn counted(&self) -> Used<6> {
        let Self { requests_hour, requests_day, tokens_hour, tokens_day, money_hour, money_day, .. } = *self;
        Used {
            since: self.since(),
            counts: [requests_hour, requests_day, tokens_hour, tokens_day, money_hour, money_day],
        }
    }

    /// When the window of each of [`COUNTS`] began.
    fn since(&self) -> [u64; 6] {
        let (hour, day) = self.windows();
        [hour, day, hour, day, hour, day]
    }

    /// When the hour and the day began.
    pub(crate) fn windows(&self) -> (u64, u64) {
        (self.hour_start, self.day_start)
    }
}

/// What is used up.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Spent {
    pub(crate) reason: Reason,
    pub(crate) window: Window,
    /// Of a request that did not go on.
    pub(crate) shortfall: Option<Shortfall>,
    /// When there will be enough: seconds since 1970. `None`: never.
    pub(crate) retry_at: Option<u64>,
}

/// Whose account it is.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub(crate) enum Key {
    /// By the agent's number.
    Told(u32),
    /// A pod's under a rule to which no number was told: it is known to this process alone, and to this state of policy.
    Own(IpAddr, RuleId),
}

/// All accounts.
#[derive(Debug, Default)]
pub(crate) struct Accounts(Mutex<HashMap<Key, Entry>>);

#[derive(Debug, Default)]
struct Entry {
    used: QuotaUse,
    is_changed: bool,
    /// What of it this gateway may use, where it is shared with others.
    lease: Option<Lease<6>>,
}

impl Accounts {
    fn all(&self) -> MutexGuard<'_, HashMap<Key, Entry>> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Takes over what was used before.
    pub(crate) fn merge(&self, used: &HashMap<u32, QuotaUse>) {
        let mut all = self.all();
        for (number, used) in used {
            all.entry(Key::Told(*number)).or_default().used.merge(used);
        }
    }

    /// What changed since it was asked last, in order.
    pub(crate) fn changed(&self) -> Vec<(u32, QuotaUse)> {
        let mut all = self.all();
        let changed = all.iter_mut().filter_map(|(key, entry)| match key {
            Key::Told(number) => std::mem::take(&mut entry.is_changed).then_some((*number, entry.used)),
            Key::Own(..) => None,
        });
        let mut changed: Vec<_> = changed.collect();
        changed.sort_by_key(|(number, _)| *number);
        changed
    }

    /// Forgets what was used of an account, where that is of a day that is over: nothing can be limited by it any more.
    pub(crate) fn forget(&self, number: u32, now: u64) -> bool {
        let mut all = self.all();
        let key = Key::Told(number);
        let is_over = all.get(&key).is_none_or(|entry| entry.used.day_start.saturating_add(DAY) <= now);
        if is_over {
            all.remove(&key);
        }
        is_over
    }

    /// Whether an account is shared: then it holds its name.
    pub(crate) fn is_leased(&self, number: u32) -> bool {
        self.all().get(&Key::Told(number)).is_some_and(|entry| entry.lease.is_some())
    }

    #[cfg(test)]
    pub(crate) fn count(&self) -> usize {
        self.all().len()
    }

    /// Nobody heard what they are: all are to be told.
    pub(crate) fn untold(&self) {
        self.all().values_mut().for_each(|entry| entry.is_changed = true);
    }
}

impl lease::Accounts for Accounts {
    type Key = Key;
    type Amount = Amount;

    fn lease_ask(&self, key: &Key, amount: Amount) -> Option<Ask> {
        let mut all = self.all();
        let entry = all.get_mut(key)?;
        let lease = entry.lease.as_mut()?;
        let held = quotas(lease.held(&entry.used.since(), StoreIs::Up));
        let Amount { tokens, money } = amount;
        let needs = [1, 1, tokens, tokens, money, money];
        lacking(&held, &entry.used, amount).map(|_| lease.ask(&entry.used.counted(), needs))
    }

    fn leased(&self, most: usize) -> Vec<Key> {
        let all = self.all();
        all.iter().filter(|(_, entry)| entry.lease.is_some()).map(|(key, _)| *key).take(most).collect()
    }

    fn lease_news_of(&self, key: &Key) -> Option<Ask> {
        let mut all = self.all();
        let Entry { used, lease, .. } = all.get_mut(key)?;
        lease.as_mut()?.news(&used.counted())
    }

    fn lease_granted(&self, key: &Key, ask: &Ask, grants: &[Grant]) {
        let mut all = self.all();
        if let Some(lease) = all.get_mut(key).and_then(|entry| entry.lease.as_mut()) {
            lease.granted(ask, grants);
        }
    }
}

/// In the order of [`COUNTS`].
fn limits_of(quotas: &Quotas) -> Limits<6> {
    let Quotas { requests, tokens, money } = quotas;
    [requests.hour, requests.day, tokens.hour, tokens.day, money.hour, money.day]
}

fn quotas(limits: Limits<6>) -> Quotas {
    let [requests_hour, requests_day, tokens_hour, tokens_day, money_hour, money_day] = limits;
    let quota = |hour, day| Quota { hour, day };
    Quotas {
        requests: quota(requests_hour, requests_day),
        tokens: quota(tokens_hour, tokens_day),
        money: quota(money_hour, money_day),
    }
}

/// An account on which other gateways draw too.
#[derive(Clone, Debug)]
pub(crate) struct Shared {
    /// The same at every gateway.
    pub(crate) name: Arc<str>,
    pub(crate) purse: Arc<Purse<Accounts>>,
}

/// Why a request cannot be taken now.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Short {
    /// There is not as much.
    Spent(Spent),
    /// This gateway was not granted as much; how it looks if nothing more can be.
    Unleased(Spent),
}

/// One account under a rule.
#[derive(Clone, Debug)]
pub(crate) struct Account {
    pub(crate) accounts: Arc<Accounts>,
    pub(crate) key: Key,
    pub(crate) quotas: Quotas,
    /// `None`: it is this gateway's alone.
    pub(crate) shared: Option<Shared>,
}

impl PartialEq for Account {
    fn eq(&self, other: &Self) -> bool {
        (self.key, self.quotas) == (other.key, other.quotas)
    }
}

impl Account {
    /// Whether tokens are counted: they, or what they cost, is limited.
    pub(crate) fn counts_tokens(&self) -> bool {
        !self.quotas.tokens.is_open() || self.counts_money()
    }

    pub(crate) fn counts_money(&self) -> bool {
        !self.quotas.money.is_open()
    }

    /// Takes a request, and what it may need. `now`: seconds since 1970.
    ///
    /// # Errors
    /// There is not as much left; nothing is taken.
    pub(crate) fn reserve(&self, taken: Amount, now: u64) -> Result<Reservation, Short> {
        let mut all = self.accounts.all();
        if all.len() >= MANY {
            all.retain(|_, entry| entry.used.day_start.saturating_add(DAY) > now);
        }
        let entry = all.entry(self.key).or_default();
        entry.used.roll(now);
        if let Some(spent) = lacking(&self.quotas, &entry.used, taken) {
            return Err(Short::Spent(spent));
        }
        if let Some(Shared { name, purse }) = &self.shared {
            let limits = limits_of(&self.quotas);
            let base = entry.used.counted();
            let lease = entry.lease.get_or_insert_with(|| Lease::new(name, COUNTS, limits, base));
            lease.limits = limits;
            let held = quotas(lease.held(&base.since, purse.store_is()));
            if let Some(spent) = lacking(&held, &entry.used, taken) {
                let left = quotas(lease.left_by_others(&base.since));
                let spent = lacking(&left, &entry.used, taken).unwrap_or(spent);
                let retry_at = Some(spent.window.end(entry.used.windows()));
                return Err(Short::Unleased(Spent { retry_at, ..spent }));
            }
        }
        let since = entry.used.windows();
        entry.used.requests_hour = entry.used.requests_hour.saturating_add(1);
        entry.used.requests_day = entry.used.requests_day.saturating_add(1);
        entry.used.correct(since, Amount::default(), taken);
        entry.is_changed = true;
        Ok(Reservation { account: self.clone(), taken, since, is_sent: false })
    }

    fn correct(&self, since: (u64, u64), before: Amount, after: Amount, now: Option<u64>) -> Option<Spent> {
        let mut all = self.accounts.all();
        let entry = all.entry(self.key).or_default();
        now.into_iter().for_each(|now| entry.used.roll(now));
        entry.used.correct(since, before, after);
        entry.is_changed |= before != after;
        let left = entry.lease.as_ref().map(|lease| quotas(lease.left_by_others(&entry.used.since())));
        over(&left.unwrap_or(self.quotas), &entry.used)
    }
}

impl Window {
    /// When it ends, of an hour and a day that began then.
    fn end(self, (hour, day): (u64, u64)) -> u64 {
        match self {
            Self::Hour => hour.saturating_add(HOUR),
            Self::Day => day.saturating_add(DAY),
        }
    }
}

/// One limit, and how far it is used.
struct Limit {
    reason: Reason,
    window: Window,
    most: u64,
    used: u64,
    /// When the window ends: seconds since 1970.
    end: u64,
}

/// What is limited; of each the longer window first.
fn limits(quotas: &Quotas, used: &QuotaUse) -> impl Iterator<Item = Limit> {
    let Quotas { requests, tokens, money } = *quotas;
    let windows = used.windows();
    let all = [
        (Reason::QuotaRequests, Window::Day, requests.day, used.requests_day),
        (Reason::QuotaRequests, Window::Hour, requests.hour, used.requests_hour),
        (Reason::QuotaTokens, Window::Day, tokens.day, used.tokens_day),
        (Reason::QuotaTokens, Window::Hour, tokens.hour, used.tokens_hour),
        (Reason::QuotaMoney, Window::Day, money.day, used.money_day),
        (Reason::QuotaMoney, Window::Hour, money.hour, used.money_hour),
    ];
    all.into_iter().filter_map(move |(reason, window, most, used)| {
        Some(Limit { reason, window, most: most?, used, end: window.end(windows) })
    })
}

/// What a request lacks that needs as much.
fn lacking(quotas: &Quotas, used: &QuotaUse, taken: Amount) -> Option<Spent> {
    for Limit { reason, window, most, used, end } in limits(quotas, used) {
        let needed = match reason {
            Reason::QuotaTokens => taken.tokens,
            Reason::QuotaMoney => taken.money,
            _ => 1,
        };
        // What is spent is spent, also for a request that seems to need nothing.
        if used >= most || used.saturating_add(needed) > most {
            let shortfall = Some(Shortfall { needed, left: most.saturating_sub(used) });
            let retry_at = (needed <= most).then_some(end);
            return Some(Spent { reason, window, shortfall, retry_at });
        }
    }
    None
}

/// What there is more of than there may be. Requests are counted before they go on, so there never is of them.
fn over(quotas: &Quotas, used: &QuotaUse) -> Option<Spent> {
    let Limit { reason, window, end, .. } =
        limits(quotas, used).find(|it| it.reason != Reason::QuotaRequests && it.used > it.most)?;
    Some(Spent { reason, window, shortfall: None, retry_at: Some(end) })
}

/// What one request takes. What it takes beside itself is given back where it does not go on, or its server does not answer.
#[derive(Debug)]
#[must_use]
pub(crate) struct Reservation {
    account: Account,
    taken: Amount,
    /// When the hour and the day began from which it was taken.
    since: (u64, u64),
    is_sent: bool,
}

impl Reservation {
    /// The request goes on: what it takes is no longer given back.
    pub(crate) fn sent(&mut self) {
        self.is_sent = true;
    }

    /// Its server did not answer after all.
    pub(crate) fn unanswered(&mut self) {
        self.is_sent = false;
    }

    pub(crate) fn counts_tokens(&self) -> bool {
        self.account.counts_tokens()
    }

    /// What it takes as far as is known.
    pub(crate) fn taken(&self) -> Amount {
        self.taken
    }

    /// It takes at least so much. Returns what is spent by what is more than was set aside.
    pub(crate) fn grow(&mut self, least: Amount, now: u64) -> Option<Spent> {
        let after = self.taken.max(least);
        if after == self.taken {
            return None;
        }
        let before = std::mem::replace(&mut self.taken, after);
        self.account.correct(self.since, before, after, Some(now))
    }

    /// It took so much, whatever was set aside.
    pub(crate) fn settle(&mut self, taken: Amount, now: u64) {
        let before = std::mem::replace(&mut self.taken, taken);
        let _nothing_follows = self.account.correct(self.since, before, taken, Some(now));
    }
}

impl Drop for Reservation {
    fn drop(&mut self) {
        if !self.is_sent {
            let _spent_before = self.account.correct(self.since, self.taken, Amount::default(), None);
        }
    }
}

#[cfg(test)]
#[path = "sharing.rs"]
mod sharing;

#[cfg(test)]
mod tests {
    use super::*;
    use policy::Quota;
    use proptest::prelude::*;

    const NOON: u64 = 1_800_000_000 - 1_800_000_000 % DAY + 12 * HOUR;

    fn account(requests: Quota, tokens: Quota) -> Account {
        Account {
            accounts: Arc::default(),
            key: Key::Told(16),
            quotas: Quotas { requests, tokens, ..Quotas::default() },
            shared: None,
        }
    }

    fn spent(reserved: Result<Reservation, Short>) -> Option<(Reason, Window)> {
        match reserved {
            Ok(mut reserved) => {
                reserved.sent();
                None
            }
            Err(
                Short::Spent(Spent { reason, window, .. }) | Short::Unleased(Spent { reason, window, .. }),
            ) => Some((reason, window)),
        }
    }

    #[test]
    fn requests_are_counted_in_hours_and_days_that_begin_on_time() {
        let account = account(Quota { hour: Some(2), day: Some(3) }, Quota::default());
        let (hour, day) =
            (Some((Reason::QuotaRequests, Window::Hour)), Some((Reason::QuotaRequests, Window::Day)));
        for (now, expected) in [
            (NOON, None),
            (NOON + HOUR - 1, None),
            (NOON + HOUR - 1, hour),
            (NOON + HOUR, None),
            (NOON + HOUR, day),
            // A clock that was set back gives nothing back.
            (NOON, day),
            (NOON + DAY, None),
        ] {
            assert_eq!(spent(account.reserve(tokens(0), now)), expected, "{now}");
        }
    }

    const fn tokens(tokens: u64) -> Amount {
        Amount { tokens, money: 0 }
    }

    #[test]
    fn tokens_are_reserved_settled_and_given_back() {
        let account = account(Quota::default(), Quota { hour: Some(100), day: None });
        let spent_hour = Some((Reason::QuotaTokens, Window::Hour));
        let mut first = account.reserve(tokens(60), NOON).unwrap();
        let refused = |much| match account.reserve(tokens(much), NOON) {
            Err(Short::Spent(spent)) => spent,
            other => panic!("{other:?}"),
        };
        let (refused, never) = (refused(41), refused(101));
        assert_eq!(refused.shortfall, Some(Shortfall { needed: 41, left: 40 }));
        assert_eq!(refused.retry_at, Some(NOON + HOUR));
        assert_eq!(never.retry_at, None, "in no hour is as much");
        assert_eq!(first.grow(tokens(10), NOON), None, "what is set aside stays so");
        assert_eq!(spent(account.reserve(tokens(41), NOON)), spent_hour);
        assert_eq!(first.grow(tokens(100), NOON), None);
        assert_eq!(spent(account.reserve(tokens(0), NOON)), spent_hour, "what is spent is spent");
        let over = first.grow(tokens(101), NOON).unwrap();
        assert_eq!((over.reason, over.window), (Reason::QuotaTokens, Window::Hour));
        first.settle(tokens(10), NOON);
        first.sent();
        drop(first);
        let unanswered = account.reserve(tokens(90), NOON).unwrap();
        assert_eq!(spent(account.reserve(tokens(1), NOON)), spent_hour);
        drop(unanswered);
        assert_eq!(spent(account.reserve(tokens(90), NOON)), None);
        let told = account.accounts.changed();
        assert_eq!((told[0].0, told[0].1.tokens_hour, told[0].1.requests_hour), (16, 100, 3));
        assert!(account.accounts.changed().is_empty());
        account.accounts.untold();
        assert_eq!(account.accounts.changed(), told);
    }

    #[test]
    fn what_is_settled_after_its_hour_takes_nothing_from_the_next() {
        let account = account(Quota::default(), Quota { hour: Some(100), day: None });
        let mut old = account.reserve(tokens(60), NOON).unwrap();
        let mut new = account.reserve(tokens(50), NOON + HOUR).unwrap();
        old.settle(tokens(10), NOON + HOUR);
        assert!(account.reserve(tokens(51), NOON + HOUR).is_err(), "the other one's 50 are still set aside");
        assert_eq!(old.grow(tokens(20), NOON + HOUR), None);
        assert!(account.reserve(tokens(41), NOON + HOUR).is_err(), "what came in this hour is of this hour");
        new.sent();
        old.sent();
    }

    #[test]
    fn money_is_limited_beside_tokens() {
        let mut account = account(Quota::default(), Quota { hour: Some(100), day: None });
        account.quotas.money = Quota { hour: None, day: Some(1000) };
        let of = |tokens, money| Amount { tokens, money };
        assert_eq!(spent(account.reserve(of(1, 900), NOON)), None);
        let day = Some((Reason::QuotaMoney, Window::Day));
        assert_eq!(spent(account.reserve(of(1, 101), NOON)), day);
        assert_eq!(spent(account.reserve(of(100, 1), NOON)), Some((Reason::QuotaTokens, Window::Hour)));
        assert_eq!(spent(account.reserve(of(1, 100), NOON)), None);
        assert_eq!(spent(account.reserve(of(0, 0), NOON)), day);
        assert_eq!(spent(account.reserve(of(100, 1000), NOON + DAY)), None);
    }

    proptest! {
        /// As many calls at the same time as there may be: never is more set aside than there is, and what was used more than
        /// was set aside is all that is over.
        #[test]
        fn calls_at_the_same_time_overshoot_by_no_more_than_they_took_beyond_what_was_set_aside(
            calls in prop::collection::vec((0u64..40, 0u64..60, any::<bool>()), 1..60),
        ) {
            let account = account(Quota::default(), Quota { hour: Some(100), day: None });
            let used = || account.accounts.all().get(&account.key).map_or(0, |entry| entry.used.tokens_hour);
            let (mut open, mut beyond) = (Vec::new(), 0);
            for (set_aside, took, ends) in calls {
                let (before, reserved) = (used(), account.reserve(tokens(set_aside), NOON));
                prop_assert_eq!(reserved.is_ok(), before < 100 && before + set_aside <= 100);
                open.extend(reserved.ok().map(|reserved| (reserved, set_aside, took)));
                if ends && let Some((mut reserved, set_aside, took)) = open.pop() {
                    reserved.sent();
                    reserved.settle(tokens(took), NOON);
                    beyond += took.saturating_sub(set_aside);
                }
                prop_assert!(used() <= 100 + beyond, "{} {}", used(), beyond);
            }
        }
    }

    #[test]
    fn what_was_used_before_counts_in_its_window_only() {
        let account = account(Quota { hour: Some(2), day: None }, Quota::default());
        let used = |hour_start, requests_hour| {
            [(16, QuotaUse { hour_start, requests_hour, ..QuotaUse::default() })].into()
        };
        account.accounts.merge(&used(NOON, 2));
        account.accounts.merge(&used(NOON, 1));
        account.accounts.merge(&used(NOON - HOUR, 9));
        assert!(account.reserve(tokens(0), NOON).is_err(), "the larger of both");
        assert_eq!(spent(account.reserve(tokens(0), NOON + HOUR)), None);
        account.accounts.merge(&used(NOON, 9));
        assert_eq!(spent(account.reserve(tokens(0), NOON + HOUR)), None);
        assert!(account.reserve(tokens(0), NOON + HOUR).is_err());
    }
}
