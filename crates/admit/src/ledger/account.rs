//! One account of a limit: what was used in its window, and what of it this gateway may use where others draw on it too.

use crate::ledger::{Amount, Spent, Tokens};
use crate::limit::{COUNTS, Limit, Most, begin};
use lease::{Ask, Grant, Lease, StoreIs, Used, Window};
use policy::Money;

/// Seconds until a stream may have ended, for who is refused for their number.
const STREAM_RETRY: u64 = 1;

/// What was used.
#[derive(Clone, Debug, Default)]
pub(super) struct Account {
    /// When its window began.
    pub(super) begin: u64,
    /// `None`: it has none.
    pub(super) window: Option<Window>,
    pub(super) requests: u64,
    pub(super) amount: Amount,
    /// Requests that are under way.
    pub(super) streams: u64,
    /// `None`: nobody else draws on it.
    lease: Option<Lease<COUNTS>>,
}

impl Account {
    /// As it was in the process before.
    pub(super) fn kept(window: Window, begin: u64, requests: u64, amount: Amount) -> Self {
        Self { begin, window: Some(window), requests, amount, streams: 0, lease: None }
    }

    /// Begins a window anew that is over. A clock that is set back begins none.
    pub(super) fn roll(&mut self, limit: &Limit, now: u64) {
        self.window = limit.window;
        let begin = limit.window.map_or(0, |window| begin(window, now));
        if begin > self.begin {
            (self.begin, self.requests, self.amount) = (begin, 0, Amount::default());
        }
    }

    /// Whether it says anything at that time.
    pub(super) fn is_of_use(&self, now: u64) -> bool {
        let end = |window: Window| self.begin.saturating_add(window.seconds());
        self.streams > 0 || self.window.is_some_and(|window| end(window) > now)
    }

    /// Takes an amount in place of the one that was counted before, in the window that began at `since`. In a later window what
    /// was counted before is no part of it, and only what is more is added.
    pub(super) fn correct(&mut self, since: u64, before: Amount, after: Amount) {
        let is_same = since == self.begin;
        let Amount { tokens, money } = &mut self.amount;
        for (used, before, after) in [
            (&mut tokens.input, before.tokens.input, after.tokens.input),
            (&mut tokens.output, before.tokens.output, after.tokens.output),
            (money, before.money, after.money),
        ] {
            *used = used.saturating_add(after.saturating_sub(before));
            if is_same {
                *used = used.saturating_sub(before.saturating_sub(after));
            }
        }
    }

    fn used(&self) -> Used<COUNTS> {
        let Tokens { input, output } = self.amount.tokens;
        let counts = [self.requests, input, output, self.amount.tokens.total(), self.amount.money];
        Used { since: [self.begin; COUNTS], counts }
    }

    /// What there is not enough of for one more request. With a store: of what there is for all.
    pub(super) fn lacking(&self, limit: &Limit, needs: Amount, now: u64) -> Option<Spent> {
        lacking(limit, (&limit.most, None), self, needs, now)
    }

    /// What there is not enough of in what this gateway was granted; how it looks if nothing more can be.
    pub(super) fn unleased(
        &mut self,
        limit: &Limit,
        account: &str,
        (needs, now): (Amount, u64),
        store: StoreIs,
    ) -> Option<Spent> {
        let window = limit.window?;
        let (used, all) = (self.used(), limit.most.counted());
        let new = || Lease::new(&limit.shared_name(account), Limit::counts(window), all, used);
        let lease = self.lease.get_or_insert_with(new);
        lease.limits = all;
        let held = Most::of(lease.held(&used.since, store));
        let left = Most::of(lease.left_by_others(&used.since));
        let spent = lacking(limit, (&held, None), self, needs, now)?;
        // Where the others have not all of it, it is the store that does not say more.
        let mut spent = lacking(limit, (&left, Some(&limit.most)), self, needs, now).unwrap_or(spent);
        spent.retry_after = Some(until_next(limit, self.begin, now));
        Some(spent)
    }

    /// What there is for this gateway and those that draw on it too, less what those were granted.
    fn most(&self, limit: &Limit) -> Most {
        let left = self.lease.as_ref().map(|lease| Most::of(lease.left_by_others(&self.used().since)));
        left.unwrap_or(limit.most)
    }

    /// What there is more of than there may be. Requests and streams are counted before they go on, so there never is of them.
    pub(super) fn over(&self, limit: &Limit, now: u64) -> Option<Spent> {
        let is_over = |it: &Count| it.needed == 0 && it.used > it.most;
        let count = counts(&self.most(limit), self, Amount::default()).find(is_over)?;
        let all = counts(&limit.most, self, Amount::default()).find(|it| it.reason == count.reason);
        let most = count.shown(all.map_or(count.most, |all| all.most));
        let message =
            format!("{most} {} are allowed by {}, and this answer takes more", count.what, limit.source);
        Some(Spent {
            reason: count.reason,
            source: limit.source.clone(),
            message,
            retry_after: Some(until_next(limit, self.begin, now)),
            headers: Vec::new(),
        })
    }

    /// What is left of what a limit counts, how much there is of it, and the seconds until there is as much again.
    pub(super) fn left(&self, limit: &Limit, reason: &str, now: u64) -> Option<(u64, u64, u64)> {
        let find = |most: &Most| counts(most, self, Amount::default()).find(|it| it.reason == reason);
        let (left, all) = (find(&self.most(limit))?, find(&limit.most)?);
        Some((left.most.saturating_sub(left.used), all.most, until_next(limit, self.begin, now)))
    }

    pub(super) fn is_leased(&self) -> bool {
        self.lease.is_some()
    }

    /// What the store is to be asked so that there is as much; nothing where there is.
    pub(super) fn lease_ask(&mut self, amount: Amount) -> Option<Ask> {
        let used = self.used();
        let needs = [1, amount.tokens.input, amount.tokens.output, amount.tokens.total(), amount.money];
        let lease = self.lease.as_mut()?;
        let held = lease.held(&used.since, StoreIs::Up);
        let lacks = |(held, (used, need)): (Option<u64>, (u64, u64))| {
            held.is_some_and(|held| used >= held || used.saturating_add(need) > held)
        };
        let lacks = held.into_iter().zip(used.counts.into_iter().zip(needs)).any(lacks);
        lacks.then(|| lease.ask(&used, needs))
    }

    /// What the store is to be told; nothing where there is no news.
    pub(super) fn lease_news(&mut self) -> Option<Ask> {
        let used = self.used();
        self.lease.as_mut()?.news(&used)
    }

    pub(super) fn lease_granted(&mut self, ask: &Ask, grants: &[Grant]) {
        if let Some(lease) = &mut self.lease {
            lease.granted(ask, grants);
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

impl Count {
    fn shown(&self, number: u64) -> String {
        if self.reason == MONEY { Money(number).to_string() } else { number.to_string() }
    }
}

const MONEY: &str = "limit-money";

/// What a limit counts, in the order in which it is told.
fn counts(most: &Most, account: &Account, needs: Amount) -> impl Iterator<Item = Count> {
    let Amount { tokens, money } = needs;
    let used = account.amount;
    [
        ("limit-streams", "requests at once", account.streams, most.streams, 1),
        ("limit-requests", "requests", account.requests, most.requests, 1),
        ("limit-input-tokens", "input tokens", used.tokens.input, most.input_tokens, tokens.input),
        ("limit-output-tokens", "output tokens", used.tokens.output, most.output_tokens, tokens.output),
        ("limit-tokens", "tokens", used.tokens.total(), most.tokens, tokens.total()),
        (MONEY, "of money", used.money, most.money, money),
    ]
    .into_iter()
    .filter_map(|(reason, what, used, most, needed)| Some(Count { reason, what, used, most: most?, needed }))
}

/// What there is not enough of for one more request. `all`: what is told that there is, where that is another number.
fn lacking(
    limit: &Limit,
    (most, all): (&Most, Option<&Most>),
    account: &Account,
    needs: Amount,
    now: u64,
) -> Option<Spent> {
    // What is spent is spent, also for a request that seems to need nothing.
    let lacks = |it: &Count| it.used >= it.most || it.used.saturating_add(it.needed) > it.most;
    let count = counts(most, account, needs).find(lacks)?;
    let all = counts(all.unwrap_or(most), account, needs).find(|it| it.reason == count.reason);
    let all = all.map_or(count.most, |all| all.most);
    let [most, left, needed] =
        [all, count.most.saturating_sub(count.used), count.needed].map(|number| count.shown(number));
    let message = format!(
        "{most} {} are allowed by {}: {left} are left, and {needed} needed",
        count.what, limit.source
    );
    let retry_after = match count.reason {
        _ if count.needed > all => None,
        "limit-streams" => Some(STREAM_RETRY),
        _ => limit.window.map(|_| until_next(limit, account.begin, now)),
    };
    Some(Spent {
        reason: count.reason,
        source: limit.source.clone(),
        message,
        retry_after,
        headers: Vec::new(),
    })
}

/// Seconds to the end of the window, at least one.
fn until_next(limit: &Limit, begin: u64, now: u64) -> u64 {
    let end = begin.saturating_add(limit.window.map_or(0, Window::seconds));
    end.saturating_sub(now).max(1)
}
