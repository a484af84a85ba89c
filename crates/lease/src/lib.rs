//! What one of several gateways may use of an account that the others draw on too.
//!
//! Enters: what it used, what it needs, and what the store of shared budgets answers. Leaves: what to ask the store
//! ([`Ask`]), and the limits to hold to meanwhile. Guarantees: without an answer nothing is granted; what was granted holds in
//! its windows only. Pure: no I/O, no clock. Does not: talk to the store, which is `purse`'s; or know what is counted.
//!
//! The store has, for each window, what it granted to each gateway. A gateway asks for more than it needs at once (a lease), so
//! that few requests wait for the store; it gives back what it does not use. Since what is granted counts as used by
//! everybody, the sum never passes the limit, but for what was used beyond what was set aside.

#![cfg_attr(test, allow(clippy::unwrap_used, clippy::indexing_slicing, clippy::panic, reason = "tests"))]

use std::array;
use std::fmt::Debug;
use std::sync::Arc;

/// Which part of a limit a gateway asks for beyond what it needs.
pub const LEASES: u64 = 64;
/// Which part of what nobody was granted a gateway may use while the store cannot be reached.
pub const OUTAGE_SHARE: u64 = 10;

/// The windows in which something is counted: whole minutes, hours and days of UTC.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Window {
    /// A minute.
    Minute,
    /// An hour.
    Hour,
    /// A day.
    Day,
}

impl Window {
    /// Its length.
    pub const fn seconds(self) -> u64 {
        match self {
            Self::Minute => 60,
            Self::Hour => 3600,
            Self::Day => 24 * 3600,
        }
    }
}

/// What is counted, and in which windows.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Count {
    /// What the store knows it by: `tokens`.
    pub name: &'static str,
    /// In which windows.
    pub window: Window,
}

/// How much of each count, each in the window that began then (seconds since 1970).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Used<const N: usize> {
    /// When its window began.
    pub since: [u64; N],
    /// How much.
    pub counts: [u64; N],
}

impl<const N: usize> Used<N> {
    const NOTHING: Self = Self { since: [0; N], counts: [0; N] };

    /// Of one count that is of these windows; nothing of others.
    fn at(&self, count: usize, since: &[u64; N]) -> u64 {
        let mine = self.since.get(count).zip(self.counts.get(count));
        mine.filter(|(mine, _)| since.get(count) == Some(*mine)).map_or(0, |(_, count)| *count)
    }

    /// Of what is of these windows; nothing of others.
    fn within(&self, since: &[u64; N]) -> [u64; N] {
        array::from_fn(|count| self.at(count, since))
    }
}

/// Limits of each count. `None`: any.
pub type Limits<const N: usize> = [Option<u64>; N];

/// One gateway's part of an account.
#[derive(Clone, Debug)]
pub struct Lease<const N: usize> {
    /// Of the account, the same at every gateway.
    name: Arc<str>,
    counts: [Count; N],
    /// What all may use together.
    pub limits: Limits<N>,
    /// What this one may.
    granted: Used<N>,
    /// What the others may, when the store was last heard.
    others: Used<N>,
    /// What this process had used when the store was last told.
    told: Used<N>,
    /// What was used before this process began to share: the store has it as that of others.
    base: Used<N>,
    /// It was granted for a request that may not have taken it yet, and is not given back at once.
    is_fresh: bool,
}

/// What the store is asked for, of one account.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Ask {
    /// Of the account.
    pub name: Arc<str>,
    /// One for each count.
    pub rows: Vec<Row>,
    is_for_request: bool,
}

/// Of one count.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Row {
    /// Which.
    pub count: Count,
    /// When its window began.
    pub since: u64,
    /// `None`: nothing is limited.
    pub limit: Option<u64>,
    /// By this process.
    pub used: u64,
    /// If not so much is there, no more is granted than before.
    pub need: u64,
    /// If as much is there, it is granted.
    pub want: u64,
}

/// What the store says of one count.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Grant {
    /// To this gateway.
    pub granted: u64,
    /// To the others.
    pub others: u64,
}

/// Accounts that somebody draws for. Two gateways have such: that of nodes, and the ingress gateway.
pub trait Accounts: Debug + Send + Sync + 'static {
    /// Which account.
    type Key: Clone + Debug + Send + 'static;
    /// What a request needs of it.
    type Amount: Copy + Debug + Send + 'static;

    /// What the store is to be asked so that this account has as much; nothing where it has.
    fn lease_ask(&self, key: &Self::Key, amount: Self::Amount) -> Option<Ask>;
    /// Accounts that are shared; at most so many.
    fn leased(&self, most: usize) -> Vec<Self::Key>;
    /// What the store is to be told of an account; nothing where there is no news.
    fn lease_news_of(&self, key: &Self::Key) -> Option<Ask>;
    /// Takes what the store answered: one for each row of what was asked.
    fn lease_granted(&self, key: &Self::Key, ask: &Ask, grants: &[Grant]);
}

impl<const N: usize> Lease<N> {
    /// Of an account of which this much was used before.
    pub fn new(name: &Arc<str>, counts: [Count; N], limits: Limits<N>, base: Used<N>) -> Self {
        let nothing = Used::NOTHING;
        Self {
            name: Arc::clone(name),
            counts,
            limits,
            granted: nothing,
            others: nothing,
            told: nothing,
            base,
            is_fresh: false,
        }
    }

    /// Limits for what this gateway uses, in windows that began at these times.
    pub fn held(&self, since: &[u64; N], store: StoreIs) -> Limits<N> {
        self.limited(|count, limit| {
            let [granted, others, base] =
                [&self.granted, &self.others, &self.base].map(|used| used.at(count, since));
            let share = match store {
                StoreIs::Up | StoreIs::DownAndDenied => 0,
                StoreIs::Down => limit.saturating_sub(others).saturating_sub(granted) / OUTAGE_SHARE,
            };
            base.saturating_add(granted).saturating_add(share).min(limit)
        })
    }

    /// Limits by what the others were granted: what is left, whoever may use it.
    pub fn left_by_others(&self, since: &[u64; N]) -> Limits<N> {
        self.limited(|count, limit| {
            let [others, base] = [&self.others, &self.base].map(|used| used.at(count, since));
            limit.saturating_sub(others).saturating_add(base).min(limit)
        })
    }

    /// What to ask for a request that needs as much of each count.
    pub fn ask(&mut self, used: &Used<N>, needs: [u64; N]) -> Ask {
        Ask { is_for_request: true, ..self.asked(used, needs, true) }
    }

    /// What to tell of what was used since, if there is anything: an account that is in use keeps something ahead, one that
    /// is not gives it back.
    pub fn news(&mut self, used: &Used<N>) -> Option<Ask> {
        let own = self.own(used);
        let is_used = own != self.told.within(&used.since);
        let granted = self.granted.within(&used.since);
        let has_spare = granted.iter().zip(own).any(|(granted, used)| *granted > used);
        let is_fresh = std::mem::take(&mut self.is_fresh);
        (is_used || has_spare && !is_fresh).then(|| self.asked(used, [0; N], is_used))
    }

    /// What this process used.
    fn own(&self, used: &Used<N>) -> [u64; N] {
        let mut own = used.counts;
        for (own, base) in own.iter_mut().zip(self.base.within(&used.since)) {
            *own = own.saturating_sub(base);
        }
        own
    }

    /// From now on no more is held than is asked for: what is given back must not be drawn while the store takes it.
    fn asked(&mut self, used: &Used<N>, needs: [u64; N], ahead: bool) -> Ask {
        let own = self.own(used).into_iter().zip(needs);
        let of = self.counts.into_iter().zip(used.since).zip(self.limits);
        let row = |(((count, since), limit), (used, need)): (_, (u64, u64))| {
            let need = used.saturating_add(need);
            let limit: Option<u64> = limit;
            let spare = limit.filter(|_| ahead).map_or(0, |limit| limit / LEASES);
            Row { count, since, limit, used, need, want: need.saturating_add(spare) }
        };
        let rows: Vec<Row> = of.zip(own).map(row).collect();
        let mut kept = self.granted.within(&used.since);
        for (kept, row) in kept.iter_mut().zip(&rows) {
            *kept = (*kept).min(row.want);
        }
        self.granted = Used { since: used.since, counts: kept };
        Ask { name: Arc::clone(&self.name), rows, is_for_request: false }
    }

    /// Takes what the store answered to what it was asked: one for each row.
    pub fn granted(&mut self, ask: &Ask, grants: &[Grant]) {
        let of = |value: &dyn Fn(usize) -> Option<u64>| array::from_fn(|count| value(count).unwrap_or(0));
        let since = of(&|count| Some(ask.rows.get(count)?.since));
        let used = |counts| Used { since, counts };
        self.granted = used(of(&|count| Some(grants.get(count)?.granted)));
        self.others = used(of(&|count| Some(grants.get(count)?.others)));
        self.told = used(of(&|count| Some(ask.rows.get(count)?.used)));
        self.is_fresh = ask.is_for_request;
    }

    /// The same limits, each made another one by its place and itself.
    fn limited(&self, made: impl Fn(usize, u64) -> u64) -> Limits<N> {
        let mut all = self.limits;
        for (count, limit) in all.iter_mut().enumerate() {
            *limit = limit.map(|limit| made(count, limit));
        }
        all
    }
}

/// How the store stands.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum StoreIs {
    /// It answers.
    Up,
    /// It cannot be reached, and a share may be used.
    Down,
    /// It cannot be reached, and no more may be used than was granted.
    DownAndDenied,
}

#[cfg(test)]
mod tests {
    use super::*;

    const HOUR: u64 = 1_800_000_000;
    const DAY: u64 = HOUR - 3600;
    const SINCE: [u64; 3] = [HOUR, HOUR, DAY];
    const COUNTS: [Count; 3] = [
        Count { name: "requests", window: Window::Hour },
        Count { name: "tokens", window: Window::Hour },
        Count { name: "tokens", window: Window::Day },
    ];

    fn used(tokens_hour: u64) -> Used<3> {
        Used { since: SINCE, counts: [0, tokens_hour, 0] }
    }

    fn lease(limit: u64, base: u64) -> Lease<3> {
        Lease::new(&"x/Deployment/app rule".into(), COUNTS, [None, Some(limit), None], used(base))
    }

    /// Has the store grant so many tokens of this hour, with so many granted to others.
    fn granted(lease: &mut Lease<3>, now: &Used<3>, tokens: u64, others: u64) {
        let ask = lease.ask(now, [1, 0, 0]);
        let mut grants = [Grant::default(); 3];
        grants[1] = Grant { granted: tokens, others };
        lease.granted(&ask, &grants);
    }

    /// Limit, used, need, want.
    fn row(ask: &Ask) -> (Option<u64>, u64, u64, u64) {
        let Row { limit, used, need, want, .. } = ask.rows[1];
        (limit, used, need, want)
    }

    #[test]
    fn nothing_is_held_before_the_store_answered_nor_in_another_window() {
        let mut lease = lease(6400, 0);
        let hour = |lease: &Lease<3>, since, store| lease.held(since, store)[1];
        assert_eq!(hour(&lease, &SINCE, StoreIs::Up), Some(0));
        assert_eq!(hour(&lease, &SINCE, StoreIs::DownAndDenied), Some(0));
        assert_eq!(hour(&lease, &SINCE, StoreIs::Down), Some(640), "of an hour that nobody spoke of");
        granted(&mut lease, &used(0), 400, 1000);
        assert_eq!(hour(&lease, &SINCE, StoreIs::Up), Some(400));
        assert_eq!(hour(&lease, &SINCE, StoreIs::DownAndDenied), Some(400));
        assert_eq!(hour(&lease, &SINCE, StoreIs::Down), Some(400 + 500));
        assert_eq!(lease.left_by_others(&SINCE)[1], Some(5400));
        let next = [HOUR + 3600, HOUR + 3600, DAY];
        assert_eq!(hour(&lease, &next, StoreIs::Up), Some(0));
        assert_eq!(lease.left_by_others(&next)[1], Some(6400));
        assert_eq!(lease.held(&SINCE, StoreIs::Up)[0], None, "what is not limited stays so");
    }

    #[test]
    fn what_was_used_before_is_no_part_of_what_is_asked_for() {
        let mut lease = lease(6400, 1000);
        let ask = lease.ask(&used(1000), [1, 50, 50]);
        assert_eq!(row(&ask), (Some(6400), 0, 50, 150));
        granted(&mut lease, &used(1000), 150, 1000);
        assert_eq!(lease.held(&SINCE, StoreIs::Up)[1], Some(1150));
        assert_eq!(lease.left_by_others(&SINCE)[1], Some(6400), "the others' part is what was used before");
    }

    #[test]
    fn what_is_used_is_told_and_what_is_not_is_given_back() {
        let mut lease = lease(6400, 0);
        assert_eq!(lease.news(&used(0)), None);
        granted(&mut lease, &used(0), 200, 0);
        let news = lease.news(&used(70)).unwrap();
        assert_eq!(row(&news), (Some(6400), 70, 70, 170), "it goes on, and keeps something ahead");
        granted(&mut lease, &used(70), 170, 0);
        assert_eq!(lease.news(&used(70)), None, "whoever it was granted for may not have taken it yet");
        let news = lease.news(&used(70)).unwrap();
        assert_eq!(row(&news), (Some(6400), 70, 70, 70), "it rests");
        granted(&mut lease, &used(70), 70, 0);
        assert_eq!(lease.news(&used(70)), None);
    }
}
