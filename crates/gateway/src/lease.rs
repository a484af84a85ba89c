//! What this gateway may use of an account that other gateways draw on too.
//!
//! Enters: what it used, what it needs, and what the store of shared budgets answers. Leaves: what to ask the store
//! ([`Ask`]), and the limits to hold to meanwhile. Guarantees: without an answer nothing is granted; what was granted holds in
//! its windows only. Pure: no I/O, no clock. Does not: talk to the store; that is `purse`'s.
//!
//! The store has, for each window, what it granted to each gateway. A gateway asks for more than it needs at once (a lease), so
//! that few requests wait for the store; it gives back what it does not use. Since what is granted counts as used by
//! everybody, the sum never passes the limit, but for what was used beyond what was set aside.

use crate::quota::{Amount, QuotaUse};
use policy::{Quota, Quotas};
use std::sync::Arc;

/// Which part of a limit a gateway asks for beyond what it needs.
pub(crate) const LEASES: u64 = 64;
/// Which part of what nobody was granted a gateway may use while the store cannot be reached.
pub(crate) const OUTAGE_SHARE: u64 = 10;
/// Counts of an account: requests, tokens and money, in the hour and in the day.
pub(crate) const COUNTS: usize = 6;

/// One gateway's part of an account.
#[derive(Clone, Debug)]
pub(crate) struct Lease {
    /// Of the account, the same at every gateway.
    pub(crate) name: Arc<str>,
    /// What all may use together.
    pub(crate) quotas: Quotas,
    /// What this one may.
    granted: QuotaUse,
    /// What the others may, when the store was last heard.
    others: QuotaUse,
    /// What was used when the store was last told.
    told: QuotaUse,
    /// What was used before this process began to share: the store has it as that of others.
    base: QuotaUse,
    /// It was granted for a request that may not have taken it yet, and is not given back at once.
    is_fresh: bool,
}

/// What the store is asked for, of one account.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Ask {
    pub(crate) name: Arc<str>,
    /// When the hour and the day began.
    pub(crate) windows: (u64, u64),
    pub(crate) rows: [Row; COUNTS],
    used: QuotaUse,
    is_for_request: bool,
}

/// Of one count.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct Row {
    /// `None`: nothing is limited.
    pub(crate) limit: Option<u64>,
    pub(crate) used: u64,
    /// If not so much is there, no more is granted than before.
    pub(crate) need: u64,
    pub(crate) want: u64,
}

/// What the store says of one count.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct Grant {
    pub(crate) granted: u64,
    /// Granted to the others.
    pub(crate) others: u64,
}

impl Lease {
    /// Of an account of which this much was used before.
    pub(crate) fn new(name: &Arc<str>, quotas: Quotas, base: QuotaUse) -> Self {
        let [granted, others] = [QuotaUse::default(); 2];
        Self { name: Arc::clone(name), quotas, granted, others, told: base, base, is_fresh: false }
    }

    /// Limits for what this gateway uses, in windows that began at these times.
    pub(crate) fn held(&self, windows: (u64, u64), store: StoreIs) -> Quotas {
        let [granted, others, base] =
            [&self.granted, &self.others, &self.base].map(|used| in_windows(used, windows));
        limited(&self.quotas, |count, limit| {
            let of = |counts: &[u64; COUNTS]| counts.get(count).copied().unwrap_or(0);
            let (granted, others, base) = (of(&granted), of(&others), of(&base));
            let share = match store {
                StoreIs::Up | StoreIs::DownAndDenied => 0,
                StoreIs::Down => limit.saturating_sub(others).saturating_sub(granted) / OUTAGE_SHARE,
            };
            base.saturating_add(granted).saturating_add(share).min(limit)
        })
    }

    /// Limits by what the others were granted: what is left, whoever may use it.
    pub(crate) fn left_by_others(&self, windows: (u64, u64)) -> Quotas {
        let [others, base] = [&self.others, &self.base].map(|used| in_windows(used, windows));
        limited(&self.quotas, |count, limit| {
            let of = |counts: &[u64; COUNTS]| counts.get(count).copied().unwrap_or(0);
            limit.saturating_sub(of(&others)).saturating_add(of(&base)).min(limit)
        })
    }

    /// What to ask for a request that needs as much.
    pub(crate) fn ask(&mut self, used: &QuotaUse, amount: Amount) -> Ask {
        let needs = [1, 1, amount.tokens, amount.tokens, amount.money, amount.money];
        Ask { is_for_request: true, ..self.asked(used, needs, true) }
    }

    /// What to tell of what was used since, if there is anything: an account that is in use keeps something ahead, one that
    /// is not gives it back.
    pub(crate) fn news(&mut self, used: &QuotaUse) -> Option<Ask> {
        let windows = used.windows();
        let is_used = counts(used) != in_windows(&self.told, windows);
        let granted = in_windows(&self.granted, windows);
        let has_spare = granted.iter().zip(self.own(used)).any(|(granted, used)| *granted > used);
        let is_fresh = std::mem::take(&mut self.is_fresh);
        (is_used || has_spare && !is_fresh).then(|| self.asked(used, [0; COUNTS], is_used))
    }

    /// What this process used.
    fn own(&self, used: &QuotaUse) -> [u64; COUNTS] {
        let mut own = counts(used);
        for (own, base) in own.iter_mut().zip(in_windows(&self.base, used.windows())) {
            *own = own.saturating_sub(base);
        }
        own
    }

    /// From now on no more is held than is asked for: what is given back must not be drawn while the store takes it.
    fn asked(&mut self, used: &QuotaUse, needs: [u64; COUNTS], ahead: bool) -> Ask {
        let mut rows = [Row::default(); COUNTS];
        for (((row, used), need), limit) in
            rows.iter_mut().zip(self.own(used)).zip(needs).zip(limits(&self.quotas))
        {
            let need = used.saturating_add(need);
            let spare = limit.filter(|_| ahead).map_or(0, |limit| limit / LEASES);
            *row = Row { limit, used, need, want: need.saturating_add(spare) };
        }
        let (name, windows) = (Arc::clone(&self.name), used.windows());
        let mut kept = in_windows(&self.granted, windows);
        for (kept, row) in kept.iter_mut().zip(&rows) {
            *kept = (*kept).min(row.want);
        }
        self.granted = from_counts(windows, kept);
        Ask { name, windows, rows, used: *used, is_for_request: false }
    }

    /// Takes what the store answered.
    pub(crate) fn granted(&mut self, ask: &Ask, grants: &[Grant; COUNTS]) {
        let of = |value: fn(&Grant) -> u64| from_counts(ask.windows, grants.each_ref().map(value));
        self.granted = of(|grant| grant.granted);
        self.others = of(|grant| grant.others);
        self.told = ask.used;
        self.is_fresh = ask.is_for_request;
    }
}

/// How the store stands.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum StoreIs {
    Up,
    /// It cannot be reached, and a share may be used.
    Down,
    DownAndDenied,
}

fn counts(used: &QuotaUse) -> [u64; COUNTS] {
    let QuotaUse { requests_hour, requests_day, tokens_hour, tokens_day, money_hour, money_day, .. } = *used;
    [requests_hour, requests_day, tokens_hour, tokens_day, money_hour, money_day]
}

fn from_counts((hour_start, day_start): (u64, u64), counts: [u64; COUNTS]) -> QuotaUse {
    let [requests_hour, requests_day, tokens_hour, tokens_day, money_hour, money_day] = counts;
    QuotaUse {
        hour_start,
        requests_hour,
        tokens_hour,
        day_start,
        requests_day,
        tokens_day,
        money_hour,
        money_day,
    }
}

/// Of what is of these windows; nothing of others.
fn in_windows(used: &QuotaUse, (hour, day): (u64, u64)) -> [u64; COUNTS] {
    let is_same = [used.hour_start == hour, used.day_start == day];
    let mut counts = counts(used);
    for (count, is_same) in counts.iter_mut().zip(is_same.into_iter().cycle()) {
        *count = if is_same { *count } else { 0 };
    }
    counts
}

fn limits(quotas: &Quotas) -> [Option<u64>; COUNTS] {
    let Quotas { requests, tokens, money } = quotas;
    [requests.hour, requests.day, tokens.hour, tokens.day, money.hour, money.day]
}

/// The same limits, each made another one by its place and itself.
fn limited(quotas: &Quotas, made: impl Fn(usize, u64) -> u64) -> Quotas {
    let mut all = limits(quotas);
    for (count, limit) in all.iter_mut().enumerate() {
        *limit = limit.map(|limit| made(count, limit));
    }
    let [requests_hour, requests_day, tokens_hour, tokens_day, money_hour, money_day] = all;
    let quota = |hour, day| Quota { hour, day };
    Quotas {
        requests: quota(requests_hour, requests_day),
        tokens: quota(tokens_hour, tokens_day),
        money: quota(money_hour, money_day),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const HOUR: u64 = 1_800_000_000;
    const WINDOWS: (u64, u64) = (HOUR, HOUR - 3600);

    fn used(tokens_hour: u64) -> QuotaUse {
        from_counts(WINDOWS, [0, 0, tokens_hour, 0, 0, 0])
    }

    fn lease(limit: u64, base: u64) -> Lease {
        let quotas = Quotas { tokens: Quota { hour: Some(limit), day: None }, ..Quotas::default() };
        Lease::new(&"x/Deployment/app rule".into(), quotas, used(base))
    }

    /// Has the store grant so many tokens of this hour, with so many granted to others.
    fn granted(lease: &mut Lease, now: &QuotaUse, tokens: u64, others: u64) {
        let ask = lease.ask(now, Amount::default());
        let mut grants = [Grant::default(); COUNTS];
        grants[2] = Grant { granted: tokens, others };
        lease.granted(&ask, &grants);
    }

    #[test]
    fn nothing_is_held_before_the_store_answered_nor_in_another_window() {
        let mut lease = lease(6400, 0);
        let hour = |lease: &Lease, windows, store| lease.held(windows, store).tokens.hour;
        assert_eq!(hour(&lease, WINDOWS, StoreIs::Up), Some(0));
        assert_eq!(hour(&lease, WINDOWS, StoreIs::DownAndDenied), Some(0));
        assert_eq!(hour(&lease, WINDOWS, StoreIs::Down), Some(640), "of an hour that nobody spoke of");
        granted(&mut lease, &used(0), 400, 1000);
        assert_eq!(hour(&lease, WINDOWS, StoreIs::Up), Some(400));
        assert_eq!(hour(&lease, WINDOWS, StoreIs::DownAndDenied), Some(400));
        assert_eq!(hour(&lease, WINDOWS, StoreIs::Down), Some(400 + 500));
        assert_eq!(lease.left_by_others(WINDOWS).tokens.hour, Some(5400));
        let next = (WINDOWS.0 + 3600, WINDOWS.1);
        assert_eq!(hour(&lease, next, StoreIs::Up), Some(0));
        assert_eq!(lease.left_by_others(next).tokens.hour, Some(6400));
        assert_eq!(
            lease.held(WINDOWS, StoreIs::Up).requests,
            Quota::default(),
            "what is not limited stays so"
        );
    }

    #[test]
    fn what_was_used_before_is_no_part_of_what_is_asked_for() {
        let mut lease = lease(6400, 1000);
        let ask = lease.ask(&used(1000), Amount { tokens: 50, money: 0 });
        assert_eq!(ask.rows[2], Row { limit: Some(6400), used: 0, need: 50, want: 150 });
        granted(&mut lease, &used(1000), 150, 1000);
        assert_eq!(lease.held(WINDOWS, StoreIs::Up).tokens.hour, Some(1150));
        assert_eq!(
            lease.left_by_others(WINDOWS).tokens.hour,
            Some(6400),
            "the others' part is what was used before"
        );
    }

    #[test]
    fn what_is_used_is_told_and_what_is_not_is_given_back() {
        let mut lease = lease(6400, 0);
        assert_eq!(lease.news(&used(0)), None);
        granted(&mut lease, &used(0), 200, 0);
        let news = lease.news(&used(70)).unwrap();
        assert_eq!(
            (news.rows[2].used, news.rows[2].want),
            (70, 170),
            "it goes on, and keeps something ahead"
        );
        granted(&mut lease, &used(70), 170, 0);
        assert_eq!(lease.news(&used(70)), None, "whoever it was granted for may not have taken it yet");
        let news = lease.news(&used(70)).unwrap();
        assert_eq!((news.rows[2].used, news.rows[2].want), (70, 70), "it rests");
        granted(&mut lease, &used(70), 70, 0);
        assert_eq!(lease.news(&used(70)), None);
    }
}
