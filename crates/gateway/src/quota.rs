//! How many requests and tokens pods used under rules that limit them.
//!
//! Enters: what a rule allows in an hour and a day ([`Quotas`]), requests, and what they take. Leaves: a [`Reservation`] for
//! each, or what is spent. Guarantees: one account for all threads and states of policy; windows are hours and days of
//! UTC; what was told by an earlier process counts. Does not: look at a clock, or know whose account it is: the agent
//! numbers them.

use crate::reason::Reason;
use crate::state::Window;
use policy::{Quota, Quotas, RuleId};
use serde::{Deserialize, Serialize};
use std::collections::HashMap;
use std::net::IpAddr;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

/// Seconds.
const HOUR: u64 = 3600;
const DAY: u64 = 24 * HOUR;
/// Accounts from which on those that were not used today are forgotten.
const MANY: usize = 65_536;

/// What was used of an account, in the hour and the day (UTC) of its last use.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct QuotaUse {
    /// When the hour began: seconds since 1970.
    pub hour_start: u64,
    /// Requests in it.
    pub requests_hour: u64,
    /// Tokens in it, as the provider counts them; as estimated until it does.
    pub tokens_hour: u64,
    /// When the day began: seconds since 1970.
    pub day_start: u64,
    /// Requests in it.
    pub requests_day: u64,
    /// Tokens in it.
    pub tokens_day: u64,
}

impl QuotaUse {
    /// Begins the windows anew that are over. A clock that was set back begins none.
    fn roll(&mut self, now: u64) {
        let (hour, day) = (now - now % HOUR, now - now % DAY);
        if hour > self.hour_start {
            (self.hour_start, self.requests_hour, self.tokens_hour) = (hour, 0, 0);
        }
        if day > self.day_start {
            (self.day_start, self.requests_day, self.tokens_day) = (day, 0, 0);
        }
    }

    /// The larger of both in the same window; in different ones, that of the later.
    fn merge(&mut self, other: &Self) {
        if other.hour_start > self.hour_start {
            (self.hour_start, self.requests_hour, self.tokens_hour) = (other.hour_start, 0, 0);
        }
        if other.hour_start == self.hour_start {
            self.requests_hour = self.requests_hour.max(other.requests_hour);
            self.tokens_hour = self.tokens_hour.max(other.tokens_hour);
        }
        if other.day_start > self.day_start {
            (self.day_start, self.requests_day, self.tokens_day) = (other.day_start, 0, 0);
        }
        if other.day_start == self.day_start {
            self.requests_day = self.requests_day.max(other.requests_day);
            self.tokens_day = self.tokens_day.max(other.tokens_day);
        }
    }

    /// Takes these tokens in place of those that were counted before.
    fn correct(&mut self, before: u64, after: u64) {
        for tokens in [&mut self.tokens_hour, &mut self.tokens_day] {
            *tokens = tokens.saturating_sub(before).saturating_add(after);
        }
    }
}

/// What is used up.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Spent {
    pub(crate) reason: Reason,
    pub(crate) window: Window,
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

    /// Nobody heard what they are: all are to be told.
    pub(crate) fn untold(&self) {
        self.all().values_mut().for_each(|entry| entry.is_changed = true);
    }
}

/// One account under a rule.
#[derive(Clone, Debug)]
pub(crate) struct Account {
    pub(crate) accounts: Arc<Accounts>,
    pub(crate) key: Key,
    pub(crate) quotas: Quotas,
}

impl PartialEq for Account {
    fn eq(&self, other: &Self) -> bool {
        (self.key, self.quotas) == (other.key, other.quotas)
    }
}

impl Account {
    /// Whether tokens are limited.
    pub(crate) fn counts_tokens(&self) -> bool {
        !self.quotas.tokens.is_open()
    }

    /// Takes a request, and tokens that it may need. `now`: seconds since 1970.
    ///
    /// # Errors
    /// There is not as much left; nothing is taken.
    pub(crate) fn reserve(&self, tokens: u64, now: u64) -> Result<Reservation, Spent> {
        let mut all = self.accounts.all();
        if all.len() >= MANY {
            all.retain(|_, entry| entry.used.day_start.saturating_add(DAY) > now);
        }
        let entry = all.entry(self.key).or_default();
        entry.used.roll(now);
        let mut after = entry.used;
        after.requests_hour = after.requests_hour.saturating_add(1);
        after.requests_day = after.requests_day.saturating_add(1);
        after.correct(0, tokens);
        let Quotas { requests, tokens: of_tokens } = self.quotas;
        let requests = within(requests, after.requests_hour, after.requests_day);
        requests.map_err(|window| Spent { reason: Reason::QuotaRequests, window })?;
        // What is spent is spent, also for a request that seems to need nothing.
        let (hour, day) = (entry.used.tokens_hour, entry.used.tokens_day);
        let left = within(of_tokens, hour.saturating_add(1), day.saturating_add(1));
        let left = left.and(within(of_tokens, after.tokens_hour, after.tokens_day));
        left.map_err(|window| Spent { reason: Reason::QuotaTokens, window })?;
        *entry = Entry { used: after, is_changed: true };
        Ok(Reservation { account: self.clone(), tokens, is_answered: false })
    }

    fn correct(&self, before: u64, after: u64, now: Option<u64>) -> Option<Spent> {
        let mut all = self.accounts.all();
        let entry = all.entry(self.key).or_default();
        now.into_iter().for_each(|now| entry.used.roll(now));
        entry.used.correct(before, after);
        entry.is_changed |= before != after;
        let left = within(self.quotas.tokens, entry.used.tokens_hour, entry.used.tokens_day);
        left.err().map(|window| Spent { reason: Reason::QuotaTokens, window })
    }
}

fn within(quota: Quota, hour: u64, day: u64) -> Result<(), Window> {
    match quota {
        Quota { day: Some(most), .. } if day > most => Err(Window::Day),
        Quota { hour: Some(most), .. } if hour > most => Err(Window::Hour),
        Quota { .. } => Ok(()),
    }
}

/// What one request takes. Its tokens are given back where no answer comes.
#[derive(Debug)]
#[must_use]
pub(crate) struct Reservation {
    account: Account,
    tokens: u64,
    is_answered: bool,
}

impl Reservation {
    /// The server answered: what it took is no longer given back.
    pub(crate) fn answered(&mut self) {
        self.is_answered = true;
    }

    pub(crate) fn counts_tokens(&self) -> bool {
        self.account.counts_tokens()
    }

    /// So many tokens it took, in place of what was counted before. Returns what is spent by that.
    pub(crate) fn count(&mut self, tokens: u64, now: u64) -> Option<Spent> {
        let before = std::mem::replace(&mut self.tokens, tokens);
        self.account.correct(before, tokens, Some(now))
    }
}

impl Drop for Reservation {
    fn drop(&mut self) {
        if !self.is_answered {
            let _spent_before = self.account.correct(self.tokens, 0, None);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const NOON: u64 = 1_800_000_000 - 1_800_000_000 % DAY + 12 * HOUR;

    fn account(requests: Quota, tokens: Quota) -> Account {
        Account { accounts: Arc::default(), key: Key::Told(16), quotas: Quotas { requests, tokens } }
    }

    fn spent(reserved: Result<Reservation, Spent>) -> Option<(Reason, Window)> {
        match reserved {
            Ok(mut reserved) => {
                reserved.answered();
                None
            }
            Err(Spent { reason, window }) => Some((reason, window)),
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
            assert_eq!(spent(account.reserve(0, now)), expected, "{now}");
        }
    }

    #[test]
    fn tokens_are_reserved_corrected_and_given_back() {
        let account = account(Quota::default(), Quota { hour: Some(100), day: None });
        let spent_hour = Some((Reason::QuotaTokens, Window::Hour));
        let mut first = account.reserve(60, NOON).unwrap();
        assert_eq!(spent(account.reserve(41, NOON)), spent_hour);
        assert_eq!(first.count(100, NOON), None);
        assert_eq!(spent(account.reserve(0, NOON)), spent_hour, "what is spent is spent");
        let window = Window::Hour;
        assert_eq!(first.count(101, NOON), Some(Spent { reason: Reason::QuotaTokens, window }));
        assert_eq!(first.count(10, NOON), None);
        first.answered();
        drop(first);
        let unanswered = account.reserve(90, NOON).unwrap();
        assert_eq!(spent(account.reserve(1, NOON)), spent_hour);
        drop(unanswered);
        assert_eq!(spent(account.reserve(90, NOON)), None);
        let told = account.accounts.changed();
        assert_eq!((told[0].0, told[0].1.tokens_hour, told[0].1.requests_hour), (16, 100, 3));
        assert!(account.accounts.changed().is_empty());
        account.accounts.untold();
        assert_eq!(account.accounts.changed(), told);
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
        assert!(account.reserve(0, NOON).is_err(), "the larger of both");
        assert_eq!(spent(account.reserve(0, NOON + HOUR)), None);
        account.accounts.merge(&used(NOON, 9));
        assert_eq!(spent(account.reserve(0, NOON + HOUR)), None);
        assert!(account.reserve(0, NOON + HOUR).is_err());
    }
}
