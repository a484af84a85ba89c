//! Limits: what is taken, given back, settled, and what is said of it.

#![allow(
    clippy::unwrap_used,
    clippy::panic,
    clippy::indexing_slicing,
    reason = "in a test a panic is the failure report"
)]

use admit::{Amount, Effective, Ledger, Need, Place, Policies, Short, Spent, Taken, Tokens};
use crds::{Object, read_objects};
use lease::{Accounts, Grant, StoreIs};
use policy::{Consumer, Known};
use proptest::prelude::*;
use std::sync::Arc;

/// The beginning of an hour, and of a day.
const NOON: u64 = 1_800_000_000 - 1_800_000_000 % 86_400;

fn limits(written: &str) -> Arc<Effective> {
    limits_of("n", written)
}

fn limits_of(namespace: &str, written: &str) -> Arc<Effective> {
    let yaml = format!(
        "apiVersion: cofferdam.dev/v1alpha1\nkind: InferencePolicy\nmetadata: {{name: p, namespace: {namespace}}}\nspec:\n  \
         targetRefs: [{{group: gateway.networking.k8s.io, kind: Gateway, name: g}}]\n  limits: {written}\n"
    );
    let read = read_objects("p.yaml", yaml.as_bytes());
    let [Object::InferencePolicy(policy)] = read.objects.as_slice() else { panic!("{read:#?}") };
    assert!(!policy.broken, "{:#?}", read.diagnostics);
    let (policies, _) = Policies::build(vec![policy.clone()]);
    policies.at(&Place { gateway: (namespace, "g"), listener: "https", route: None })
}

fn consumer(name: &str) -> Consumer {
    let groups = vec![Arc::from(format!("of-{name}"))];
    Consumer { name: name.into(), groups, how: Known::ApiKey, claims: Consumer::no_claims() }
}

const fn tokens(input: u64, output: u64) -> Amount {
    costs(input, output, 0)
}

/// So many billionths.
const fn costs(input: u64, output: u64, money: u64) -> Amount {
    Amount { tokens: Tokens { input, output }, money }
}

/// Takes, and says why not and when there may be more.
fn take(
    ledger: &Arc<Ledger>,
    by: &Effective,
    name: &str,
    needs: Amount,
    now: u64,
) -> Result<Taken, (&'static str, Option<u64>)> {
    let asks = consumer(name);
    let need = Need { consumer: &asks, model: Some("llama"), amount: needs, now, store: None };
    ledger.take(by, &need).map_err(Short::spent).map_err(|spent| (spent.reason, spent.retry_after))
}

/// A request that is answered and over.
fn whole(
    ledger: &Arc<Ledger>,
    by: &Effective,
    name: &str,
    needs: Amount,
    now: u64,
) -> Result<(), (&'static str, Option<u64>)> {
    take(ledger, by, name, needs, now).map(|mut taken| taken.answered())
}

#[test]
fn requests_are_counted_for_each_consumer_in_windows_that_begin_on_time() {
    let (ledger, by) = (Arc::default(), limits("[{per: consumer, requests: 2, window: 1m}]"));
    let spent = |retry| Err(("limit-requests", Some(retry)));
    for (name, now, expected) in [
        ("alice", NOON, Ok(())),
        ("alice", NOON + 59, Ok(())),
        ("alice", NOON + 59, spent(1)),
        ("bob", NOON + 59, Ok(())),
        ("alice", NOON + 60, Ok(())),
        // A clock that was set back gives nothing back.
        ("alice", NOON + 30, Ok(())),
        ("alice", NOON + 31, spent(89)),
        ("alice", NOON + 119, spent(1)),
        ("alice", NOON + 120, Ok(())),
    ] {
        assert_eq!(whole(&ledger, &by, name, tokens(0, 0), now), expected, "{name} {now}");
    }
}

#[test]
fn streams_are_given_back_when_they_end_and_only_then() {
    let (ledger, by) = (Arc::default(), limits("[{per: policy, streams: 2}]"));
    let first = take(&ledger, &by, "alice", tokens(0, 0), NOON).unwrap();
    let mut second = take(&ledger, &by, "bob", tokens(0, 0), NOON).unwrap();
    second.answered();
    let refused = take(&ledger, &by, "carol", tokens(0, 0), NOON + 90_000).map(drop);
    assert_eq!(refused, Err(("limit-streams", Some(1))));
    drop(second);
    assert_eq!(take(&ledger, &by, "carol", tokens(0, 0), NOON).map(drop), Ok(()));
    drop(first);
}

#[test]
fn tokens_are_set_aside_grow_and_are_settled() {
    let (ledger, by) =
        (Arc::default(), limits("[{per: consumer, tokens: 100, outputTokens: 50, window: 1h}]"));
    let mut first = take(&ledger, &by, "a", tokens(20, 40), NOON).unwrap();
    assert_eq!(whole(&ledger, &by, "a", tokens(0, 11), NOON + 600), Err(("limit-output-tokens", Some(3000))));
    assert_eq!(whole(&ledger, &by, "a", tokens(41, 0), NOON), Err(("limit-tokens", Some(3600))));
    assert_eq!(
        whole(&ledger, &by, "a", tokens(101, 0), NOON),
        Err(("limit-tokens", None)),
        "in no hour is as much"
    );
    assert_eq!(first.grow(tokens(20, 50), NOON), None);
    let over = first.grow(tokens(20, 51), NOON).unwrap();
    assert_eq!(over.reason, "limit-output-tokens");
    assert!(over.message.contains("InferencePolicy n/p spec.limits[0] (p.yaml:6"), "{}", over.message);
    first.answered();
    first.settle(tokens(20, 10), NOON);
    drop(first);
    let unanswered = take(&ledger, &by, "a", tokens(70, 0), NOON).unwrap();
    drop(unanswered);
    assert_eq!(whole(&ledger, &by, "a", tokens(70, 0), NOON), Ok(()), "what was not answered was given back");
    assert_eq!(
        whole(&ledger, &by, "a", tokens(0, 0), NOON),
        Err(("limit-tokens", Some(3600))),
        "what is spent is spent"
    );
}

#[test]
fn what_is_settled_after_its_window_takes_nothing_from_the_next() {
    let (ledger, by) = (Arc::default(), limits("[{per: consumer, tokens: 100, window: 1m}]"));
    let mut old = take(&ledger, &by, "a", tokens(60, 0), NOON).unwrap();
    let mut new = take(&ledger, &by, "a", tokens(50, 0), NOON + 60).unwrap();
    old.settle(tokens(10, 0), NOON + 60);
    assert!(take(&ledger, &by, "a", tokens(51, 0), NOON + 60).is_err());
    assert_eq!(old.grow(tokens(20, 0), NOON + 60), None);
    assert!(
        take(&ledger, &by, "a", tokens(41, 0), NOON + 60).is_err(),
        "what came in this minute is of this minute"
    );
    old.answered();
    new.answered();
}

#[test]
fn a_limit_holds_for_whom_and_what_it_says_and_one_that_refuses_leaves_the_others_alone() {
    let by = limits(
        "[{per: consumer, requests: 2, window: 1d}, {per: policy, groups: [of-b*], requests: 1, window: 1h},
          {per: policy, models: ['gpt*'], requests: 1, window: 1m}]",
    );
    let ledger = Arc::new(Ledger::default());
    assert_eq!(whole(&ledger, &by, "bob", tokens(0, 0), NOON), Ok(()));
    for _ in 0..3 {
        assert_eq!(whole(&ledger, &by, "bob", tokens(0, 0), NOON), Err(("limit-requests", Some(3600))));
    }
    assert_eq!(
        whole(&ledger, &by, "bob", tokens(0, 0), NOON + 3600),
        Ok(()),
        "refused ones took nothing of the day"
    );
    assert_eq!(whole(&ledger, &by, "alice", tokens(0, 0), NOON), Ok(()));
    // A model that is not named may be any.
    let unnamed = |now| {
        let need = Need { consumer: &consumer("carol"), model: None, amount: tokens(0, 0), now, store: None };
        ledger.take(&by, &need).map(|mut it| it.answered())
    };
    assert!(unnamed(NOON + 3600).is_ok() && unnamed(NOON + 3601).is_err());
}

#[test]
fn accounts_outlive_a_change_of_their_limits() {
    let ledger = Arc::default();
    let before = limits("[{name: day, per: consumer, requests: 2, window: 1d}]");
    assert_eq!(whole(&ledger, &before, "a", tokens(0, 0), NOON), Ok(()));
    let after = limits("[{per: consumer, streams: 9}, {name: day, per: consumer, requests: 1, window: 1d}]");
    assert_eq!(whole(&ledger, &after, "a", tokens(0, 0), NOON), Err(("limit-requests", Some(86_400))));
}

#[test]
fn answers_say_what_is_left_of_the_limit_with_least() {
    let by = limits(
        "[{per: consumer, requests: 9, window: 1d}, {per: policy, requests: 3, tokens: 100, window: 1m}]",
    );
    let taken = take(&Arc::default(), &by, "a", tokens(10, 20), NOON + 15).unwrap();
    let expected = [
        ("x-ratelimit-remaining-requests", "2"),
        ("x-ratelimit-limit-requests", "3"),
        ("x-ratelimit-reset-requests", "45s"),
        ("x-ratelimit-remaining-tokens", "70"),
        ("x-ratelimit-limit-tokens", "100"),
        ("x-ratelimit-reset-tokens", "45s"),
    ];
    assert_eq!(taken.headers(NOON + 15), expected.map(|(name, value)| (name, value.to_owned())));
}

#[test]
fn money_is_set_aside_settled_and_told() {
    const UNIT: u64 = policy::NANOS;
    let (ledger, by) = (Arc::default(), limits("[{per: consumer, money: '5.00', window: 1h}]"));
    let mut first = take(&ledger, &by, "a", costs(1, 1, 3 * UNIT), NOON + 60).unwrap();
    assert_eq!(
        whole(&ledger, &by, "a", costs(0, 0, 2 * UNIT + 1), NOON),
        Err(("limit-money", Some(3600))),
        "what others may take is set aside"
    );
    assert_eq!(
        whole(&ledger, &by, "a", costs(0, 0, 5 * UNIT + 1), NOON),
        Err(("limit-money", None)),
        "in no hour is as much"
    );
    first.answered();
    let over = first.grow(costs(1, 1, 5 * UNIT + 1), NOON).unwrap();
    assert!(over.message.starts_with("5.00 of money are allowed by InferencePolicy n/p"), "{}", over.message);
    first.settle(costs(1, 1, UNIT / 2), NOON);
    let expected = [
        ("x-ratelimit-remaining-money", "4.50"),
        ("x-ratelimit-limit-money", "5.00"),
        ("x-ratelimit-reset-money", "3600s"),
    ];
    assert_eq!(first.headers(NOON), expected.map(|(name, value)| (name, value.to_owned())));
    drop(first);
    let need = Need {
        consumer: &consumer("a"),
        model: Some("llama"),
        amount: costs(0, 0, 4_500_000_001),
        now: NOON,
        store: None,
    };
    let Err(Short::Spent(spent)) = ledger.take(&by, &need) else { panic!("there is not as much") };
    let Spent { message, headers, .. } = *spent;
    assert!(message.contains("4.50 are left, and 4.500000001 needed"), "{message}");
    assert_eq!(headers[0].1, "4.50");
}

#[test]
fn what_was_kept_counts_in_its_window_and_one_that_is_not_there_yet_is_over_with_this_one() {
    let by = limits("[{per: consumer, requests: 3, money: '1', window: 1h}, {per: policy, streams: 9}]");
    let ledger = Arc::new(Ledger::default());
    assert!(ledger.kept(NOON).is_none(), "nothing is new");
    assert_eq!(whole(&ledger, &by, "a", costs(5, 6, 700), NOON), Ok(()));
    let kept = ledger.kept(NOON).unwrap();
    assert_eq!(kept.len(), 1, "streams are under way, and nothing is under way in the next process");
    let it = &kept[0];
    assert_eq!((it.begin, it.window, it.requests, it.input, it.output, it.money), (NOON, 3600, 1, 5, 6, 700));
    assert!(ledger.kept(NOON).is_none());
    ledger.unkept();
    assert_eq!(ledger.kept(NOON).unwrap(), kept);
    ledger.unkept();
    assert_eq!(ledger.kept(NOON + 3600).unwrap(), [], "its window is over");
    let left = |kept: &[admit::Kept], now| {
        let next = Arc::new(Ledger::default());
        next.restore(kept.to_vec(), now);
        (0..9).take_while(|_| whole(&next, &by, "a", tokens(0, 0), now).is_ok()).count()
    };
    assert_eq!((left(&kept, NOON + 60), left(&kept, NOON + 3600)), (2, 3));
    let ahead = [admit::Kept { begin: NOON + 86_400 * 365, ..kept[0].clone() }];
    assert_eq!(left(&ahead, NOON), 2, "of a clock that was wrong");
}

#[test]
fn an_account_that_gateways_share_is_drawn_on_by_what_the_store_granted() {
    let by = limits("[{per: policy, tokens: 1000, window: 1h}]");
    let ledger = Arc::new(Ledger::default());
    let take = |amount| {
        let need =
            Need { consumer: &consumer("a"), model: None, amount, now: NOON, store: Some(StoreIs::Up) };
        ledger.take(&by, &need)
    };
    let Err(Short::Unleased(keys, _)) = take(tokens(60, 40)) else { panic!("nothing was granted yet") };
    let [key] = keys.as_slice() else { panic!("{keys:?}") };
    assert_eq!(ledger.leased(9), keys);
    let ask = ledger.lease_ask(key, tokens(60, 40)).unwrap();
    assert_eq!(&*ask.name, "ingress:17:n/p 0 policy 3600 ");
    let tokens_row = ask.rows.iter().position(|row| row.count.name == "tokens").unwrap();
    assert_eq!((ask.rows[tokens_row].need, ask.rows[tokens_row].limit), (100, Some(1000)));
    let grants = |granted, others| {
        let mut grants = vec![Grant::default(); ask.rows.len()];
        grants[tokens_row] = Grant { granted, others };
        grants
    };
    ledger.lease_granted(key, &ask, &grants(115, 800));
    let mut taken = take(tokens(60, 40)).unwrap();
    taken.answered();
    let told = taken.headers(NOON);
    assert_eq!(told[0], ("x-ratelimit-remaining-tokens", "100".to_owned()), "what others have is not left");
    assert!(matches!(take(tokens(10, 10)), Err(Short::Unleased(..))), "beyond what was granted");
    assert!(matches!(take(tokens(1000, 1)), Err(Short::Spent(_))), "beyond what there is for all");
    assert_eq!(taken.grow(tokens(60, 140), NOON), None);
    let over = taken.grow(tokens(60, 141), NOON).unwrap();
    assert!(over.message.starts_with("1000 tokens are allowed"), "{}", over.message);
    drop(taken);
    let news = ledger.lease_news_of(key).unwrap();
    assert_eq!(news.rows[tokens_row].used, 201);
}

#[test]
fn there_are_only_so_many_accounts_and_who_has_none_is_refused() {
    let (ledger, by) = (Arc::default(), limits("[{per: consumer, requests: 1, window: 1d}]"));
    for number in 0..65_536 {
        assert_eq!(whole(&ledger, &by, &number.to_string(), tokens(0, 0), NOON), Ok(()));
    }
    assert_eq!(whole(&ledger, &by, "new", tokens(0, 0), NOON), Err(("limit-accounts", Some(60))));
    assert_eq!(whole(&ledger, &by, "7", tokens(0, 0), NOON), Err(("limit-requests", Some(86_400))));
    // Who writes policy in one namespace takes no room from others.
    let other = limits_of("m", "[{per: consumer, requests: 1, window: 1d}]");
    assert_eq!(whole(&ledger, &other, "new", tokens(0, 0), NOON), Ok(()));
    assert_eq!(whole(&ledger, &by, "new", tokens(0, 0), NOON + 86_400), Ok(()));
}

proptest! {
    /// The same of money beside tokens: whichever is spent first, neither is ever passed by more than answers took beyond what
    /// was set aside, and what is given back is there for others.
    #[test]
    fn neither_tokens_nor_money_is_passed_by_what_is_set_aside(
        calls in prop::collection::vec((0u64..40, 0u64..500, 0u64..60, 0u64..700, 0u8..3), 1..60),
    ) {
        let by = limits("[{per: policy, tokens: 100, window: 1h}, {per: policy, money: '0.000001', window: 1d}]");
        let ledger = Arc::new(Ledger::default());
        let mut open: Vec<(Taken, [u64; 2], [u64; 2])> = Vec::new();
        let (mut used, mut beyond) = ([0; 2], [0; 2]);
        for (tokens, money, more_tokens, more_money, ends) in calls {
            let amount = costs(tokens, 0, money);
            let taken = take(&ledger, &by, "a", amount, NOON);
            let fits = used[0] < 100 && used[0] + tokens <= 100 && used[1] < 1000 && used[1] + money <= 1000;
            prop_assert_eq!(taken.is_ok(), fits, "{:?}", used);
            if let Ok(taken) = taken {
                used = [used[0] + tokens, used[1] + money];
                open.push((taken, [tokens, money], [more_tokens, more_money]));
            }
            if ends > 0 && let Some((mut taken, aside, took)) = open.pop() {
                let took = if ends == 1 { took } else { [0, 0] };
                if ends == 1 {
                    taken.answered();
                    taken.settle(costs(took[0], 0, took[1]), NOON);
                }
                for at in 0..2 {
                    used[at] = used[at] - aside[at] + took[at];
                    beyond[at] += took[at].saturating_sub(aside[at]);
                }
            }
            prop_assert!(used[0] <= 100 + beyond[0] && used[1] <= 1000 + beyond[1], "{:?} {:?}", used, beyond);
        }
    }

    /// However requests overlap: no more is set aside than there is, and all that is over is what took more than was set aside.
    #[test]
    fn requests_at_the_same_time_never_set_aside_more_than_there_is(
        calls in prop::collection::vec((0u64..40, 0u64..60, any::<bool>()), 1..60),
    ) {
        let (ledger, by) = (Arc::new(Ledger::default()), limits("[{per: policy, tokens: 100, window: 1h}]"));
        let (mut open, mut used): (Vec<(Taken, u64, u64)>, u64) = (Vec::new(), 0);
        for (set_aside, took, ends) in calls {
            let taken = take(&ledger, &by, "a", tokens(set_aside, 0), NOON);
            prop_assert_eq!(taken.is_ok(), used < 100 && used + set_aside <= 100);
            if let Ok(taken) = taken {
                used += set_aside;
                open.push((taken, set_aside, took));
            }
            if ends && let Some((mut taken, set_aside, took)) = open.pop() {
                taken.answered();
                taken.settle(tokens(took, 0), NOON);
                used = used + took - set_aside;
            }
        }
    }
}
