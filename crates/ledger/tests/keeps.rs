//! What is written is found again, once, and stays within its bounds.

#![expect(clippy::unwrap_used, reason = "a test's helpers fail the test")]

use ledger::write::{EDGES_OF_ONE, OTHER, WINDOW};
use ledger::{EdgeFilter, Entry, EntryFilter, Kind, Ledger, Measure, Reader, Retention, TopBy, Verdict};
use proptest::prelude::*;
use std::collections::{BTreeMap, BTreeSet};
use std::path::PathBuf;
use tempfile::TempDir;

const START: u64 = 1_800_000_000_000_000;

fn file() -> (TempDir, PathBuf) {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("ledger.db");
    (folder, path)
}

fn flow(time: u64, source: &str, destination: &str, verdict: Verdict) -> Entry {
    Entry {
        time,
        source: source.into(),
        destination: destination.into(),
        port: 443,
        protocol: 6,
        rule: "a rule".into(),
        sent: 10,
        received: 1000,
        ..Entry::new(Kind::Flow, verdict)
    }
}

#[test]
fn equal_connections_of_a_window_are_one_entry_and_denials_with_detail_stay_single() {
    let (_folder, path) = file();
    let mut ledger = Ledger::open(&path).unwrap().0;
    let start = START / WINDOW * WINDOW;
    let allowed = |time| flow(time, "ai/train", "hub.example", Verdict::Allow);
    let denied =
        |time| Entry { detail: Some("{}".to_owned()), ..flow(time, "ai/train", "x.example", Verdict::Deny) };
    ledger.append(&[allowed(start + 1), allowed(start + 2), denied(start + 3), denied(start + 4)]).unwrap();
    ledger.append(&[allowed(start + WINDOW - 1)]).unwrap();
    ledger.append(&[allowed(start + WINDOW)]).unwrap();
    let entries = Reader::open(&path).unwrap().entries(&EntryFilter::default()).unwrap();
    let mut counts: Vec<_> = entries
        .iter()
        .map(|it| (it.entry.verdict, it.entry.time - start, it.entry.count, it.entry.sent))
        .collect();
    counts.sort_unstable();
    let expected = [
        (Verdict::Allow, 1, 3, 30),
        (Verdict::Allow, WINDOW, 1, 10),
        (Verdict::Deny, 3, 1, 10),
        (Verdict::Deny, 4, 1, 10),
    ];
    assert_eq!(counts, expected);
}

#[test]
fn a_sum_has_the_time_of_its_first_entry_also_where_that_only_added_bytes() {
    let (_folder, path) = file();
    let start = START / WINDOW * WINDOW;
    let ended = Entry { count: 0, ..flow(start + 1, "a", "b", Verdict::Allow) };
    let begun = flow(start + 9, "a", "b", Verdict::Allow);
    Ledger::open(&path).unwrap().0.append(&[ended, begun]).unwrap();
    let entries = Reader::open(&path).unwrap().entries(&EntryFilter::default()).unwrap();
    assert_eq!((entries.len(), entries[0].entry.time - start, entries[0].entry.count), (1, 1, 1));
}

#[test]
fn a_sum_takes_the_time_of_what_comes_late_and_keeps_it() {
    let (_folder, path) = file();
    let start = START / WINDOW * WINDOW;
    let mut ledger = Ledger::open(&path).unwrap().0;
    for (time, expected) in [(500, 500), (900, 500), (100, 100), (300, 100), (200, 100)] {
        ledger.append(&[flow(start + time, "a", "b", Verdict::Allow)]).unwrap();
        let entries = Reader::open(&path).unwrap().entries(&EntryFilter::default()).unwrap();
        assert_eq!((entries.len(), entries[0].entry.time - start), (1, expected), "{time}");
    }
}

#[test]
fn what_is_added_at_once_is_numbered_in_the_order_of_time() {
    let (_folder, path) = file();
    let mut ledger = Ledger::open(&path).unwrap().0;
    let entries: Vec<Entry> = (0..300_u64)
        .map(|number| Entry {
            detail: number.is_multiple_of(3).then(|| "{}".to_owned()),
            ..flow(START + number * 7919 % 300, "a", &format!("d{number}"), Verdict::Allow)
        })
        .collect();
    ledger.append(&entries).unwrap();
    let oldest_first = EntryFilter { order: ledger::Order::OldestFirst, ..EntryFilter::default() };
    let found = Reader::open(&path).unwrap().entries(&oldest_first).unwrap();
    assert!(found.len() == 300 && found.is_sorted_by_key(|it| it.entry.time));
}

#[test]
fn a_window_that_was_sealed_does_not_grow() {
    let (_folder, path) = file();
    let mut ledger = Ledger::open(&path).unwrap().0;
    let entry = flow(START, "a", "b", Verdict::Allow);
    ledger.append(std::slice::from_ref(&entry)).unwrap();
    ledger.tend(START + 300_000_000, &Retention::default()).unwrap();
    ledger.append(&[entry]).unwrap();
    let reader = Reader::open(&path).unwrap();
    let found = reader.verify().unwrap();
    assert_eq!((found.fault, found.entries, found.unsealed), (None, 1, 1));
    assert_eq!(reader.edges(&EdgeFilter::default()).unwrap()[0].allowed, 2);
}

#[test]
fn what_somebody_wants_sealed_is_at_once_but_for_windows_that_may_grow() {
    let (_folder, path) = file();
    let mut ledger = Ledger::open(&path).unwrap().0;
    let start = START / WINDOW * WINDOW;
    let denied = Entry { detail: Some("{}".to_owned()), ..flow(start, "a", "b", Verdict::Deny) };
    let sealed = |ledger: &mut Ledger| {
        ledger.tend(start + 1, &Retention::default()).unwrap();
        ledger.seal().unwrap();
        let found = Reader::open(&path).unwrap().verify().unwrap();
        (found.fault, found.entries, found.unsealed)
    };
    ledger.append(std::slice::from_ref(&denied)).unwrap();
    assert_eq!(sealed(&mut ledger), (None, 1, 0));
    ledger.append(&[flow(start + 1, "a", "b", Verdict::Allow)]).unwrap();
    ledger.append(&[denied]).unwrap();
    assert_eq!(sealed(&mut ledger), (None, 1, 2));
    ledger.tend(start + 3 * WINDOW, &Retention::default()).unwrap();
    ledger.seal().unwrap();
    assert_eq!(Reader::open(&path).unwrap().verify().unwrap().entries, 3);
}

#[test]
fn a_clock_that_was_set_back_seals_and_forgets_as_before() {
    let (_folder, path) = file();
    let mut ledger = Ledger::open(&path).unwrap().0;
    ledger.append(&[flow(START, "a", "b", Verdict::Allow)]).unwrap();
    ledger.append(&[flow(START + 300_000_000, "a", "b", Verdict::Allow)]).unwrap();
    let retention = Retention { age: 3600 * 1_000_000, ..Retention::default() };
    ledger.tend(0, &retention).unwrap();
    let found = Reader::open(&path).unwrap().verify().unwrap();
    assert_eq!((found.fault, found.entries, found.unsealed, found.pruned), (None, 2, 0, 0));
}

#[test]
fn one_clock_of_many_that_is_ahead_or_behind_changes_nothing_for_others() {
    for wrong in [START + 1_800_000_000, START - 1_800_000_000] {
        let (_folder, path) = file();
        let mut ledger = Ledger::open(&path).unwrap().0;
        let start = START.next_multiple_of(WINDOW);
        let seconds = 90;
        for second in 0..seconds {
            let now = start + second * 1_000_000;
            let stray = Entry { detail: Some("{}".to_owned()), ..flow(wrong, "lost", "b", Verdict::Allow) };
            ledger.append(&[flow(now, "a", "b", Verdict::Allow), stray]).unwrap();
            ledger.tend(now + 1, &Retention::default()).unwrap();
        }
        let reader = Reader::open(&path).unwrap();
        let of = |source: &str| EntryFilter { source: Some(source.to_owned()), ..EntryFilter::default() };
        let sums = reader.entries(&of("a")).unwrap();
        assert_eq!(sums.iter().map(|it| it.entry.count).collect::<Vec<_>>(), [15; 6], "one a window");
        let found = reader.verify().unwrap();
        assert!(found.fault.is_none() && found.blocks <= 2, "{found:?}");
        assert_eq!(found.entries + found.unsealed, seconds + 6);
    }
}

#[test]
fn edges_of_false_senders_are_forgotten_before_they_fill_the_file_and_counted() {
    let (_folder, path) = file();
    let mut ledger = Ledger::open(&path).unwrap().0;
    let retention = Retention { bytes: 1 << 20, ..Retention::default() };
    let most = retention.bytes / 512;
    let known: Vec<_> =
        (0..100).map(|number| flow(START, &format!("ai/{number}"), "hub", Verdict::Allow)).collect();
    ledger.append(&known).unwrap();
    for round in 1..6 {
        let sender = |number: u64| format!("198.51.{round}.{number}");
        let many: Vec<_> =
            (0..most).map(|number| flow(START + round, &sender(number), "ai/web", Verdict::Deny)).collect();
        ledger.append(&many).unwrap();
        ledger.tend(START + round, &retention).unwrap();
    }
    let reader = Reader::open(&path).unwrap();
    let edges = reader.edges(&EdgeFilter::default()).unwrap();
    assert_eq!(edges.len() as u64, most);
    assert_eq!(
        edges.iter().filter(|edge| edge.allowed > 0).count(),
        100,
        "who was let through is still known"
    );
    assert!(edges.iter().all(|edge| edge.allowed > 0 || edge.last == START + 5), "the latest stay");
    assert_eq!(reader.lost().unwrap()[0].1, 5 * most + 100 - most);
}

#[test]
fn a_clock_that_was_ahead_for_a_while_has_nothing_forgotten_afterwards() {
    let (_folder, path) = file();
    let mut ledger = Ledger::open(&path).unwrap().0;
    let year = 365 * 24 * 3600 * 1_000_000;
    ledger.append(&[flow(START + year, "a", "b", Verdict::Allow)]).unwrap();
    ledger.append(&[flow(START, "a", "b", Verdict::Allow)]).unwrap();
    ledger.tend(START, &Retention::default()).unwrap();
    ledger.tend(START + 1_000_000, &Retention::default()).unwrap();
    let reader = Reader::open(&path).unwrap();
    let times: Vec<_> =
        reader.entries(&EntryFilter::default()).unwrap().iter().map(|it| it.entry.time).collect();
    assert_eq!(times, [START, START + year]);
}

#[test]
fn names_beyond_those_told_apart_are_one_edge_and_counted() {
    let (_folder, path) = file();
    let mut ledger = Ledger::open(&path).unwrap().0;
    let more = 25;
    let many: Vec<_> = (0..EDGES_OF_ONE + more)
        .map(|number| flow(START, "a", &format!("n{number}.example"), Verdict::Allow))
        .collect();
    ledger.append(&many).unwrap();
    let reader = Reader::open(&path).unwrap();
    let other = EdgeFilter { destination: Some(OTHER.to_owned()), ..EdgeFilter::default() };
    let other = reader.edges(&other).unwrap();
    assert_eq!(other.iter().map(|edge| edge.allowed).collect::<Vec<_>>(), [more]);
    assert_eq!(reader.lost().unwrap(), [("edges beyond those that are told apart".to_owned(), more)]);
    ledger.append(&[flow(START, "b", "c", Verdict::Allow)]).unwrap();
    let of_others = EdgeFilter { source: Some("b".to_owned()), ..EdgeFilter::default() };
    assert_eq!(reader.edges(&of_others).unwrap()[0].destination.as_ref(), "c");
}

#[test]
fn what_is_too_old_or_too_much_is_forgotten_and_the_chain_still_holds() {
    let day = 24 * 3600 * 1_000_000;
    for retention in [Retention { age: day, bytes: u64::MAX }, Retention { age: u64::MAX, bytes: 3 << 20 }] {
        let (_folder, path) = file();
        let mut ledger = Ledger::open(&path).unwrap().0;
        let mut largest = 0;
        for step in 0..40 {
            let now = START + step * day / 4;
            let detail = Some("x".repeat(500));
            let entries: Vec<_> = (0..1000)
                .map(|number| Entry { detail: detail.clone(), ..flow(now + number, "a", "b", Verdict::Deny) })
                .collect();
            ledger.append(&entries).unwrap();
            ledger.tend(now + 120_000_000, &retention).unwrap();
            largest = largest.max(std::fs::metadata(&path).unwrap().len());
        }
        let reader = Reader::open(&path).unwrap();
        let found = reader.verify().unwrap();
        assert_eq!(found.fault, None);
        assert!(found.pruned > 20 && found.blocks > 2, "{found:?}");
        assert!(largest < 8 << 20, "{largest}");
        // Who was ever reached is not forgotten.
        assert_eq!(reader.edges(&EdgeFilter::default()).unwrap()[0].denied, 40_000);
    }
}

/// First, last, allowed, denied, sent.
type Reached = (u64, u64, u64, u64, u64);

/// What `Reader` must say, by going through all entries.
#[derive(Debug, Default)]
struct Oracle {
    edges: BTreeMap<(String, String, u16), Reached>,
    sent: BTreeMap<String, u64>,
}

fn entries() -> impl Strategy<Value = Vec<Entry>> {
    let entry = (0..200_000_000_u64, 0..4_u8, 0..6_u8, 0..2_u16, any::<bool>(), any::<bool>(), 0..1000_u64);
    let entry = entry.prop_map(|(time, source, destination, port, allowed, single, sent)| Entry {
        time: START + time,
        source: format!("s{source}").into(),
        destination: format!("d{destination}").into(),
        port,
        sent,
        detail: single.then(|| "{}".to_owned()),
        ..Entry::new(Kind::Flow, if allowed { Verdict::Allow } else { Verdict::Deny })
    });
    prop::collection::vec(entry, 0..120)
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(24))]
    #[test]
    fn edges_and_sums_are_those_of_all_entries(entries in entries(), cut in 1..40_usize) {
        let (_folder, path) = file();
        let mut ledger = Ledger::open(&path).unwrap().0;
        let mut oracle = Oracle::default();
        for part in entries.chunks(cut) {
            ledger.append(part).unwrap();
            ledger.tend(part[0].time, &Retention::default()).unwrap();
        }
        for entry in &entries {
            let key = (entry.source.to_string(), entry.destination.to_string(), entry.port);
            let edge = oracle.edges.entry(key).or_insert((entry.time, entry.time, 0, 0, 0));
            edge.0 = edge.0.min(entry.time);
            edge.1 = edge.1.max(entry.time);
            *if entry.verdict == Verdict::Allow { &mut edge.2 } else { &mut edge.3 } += 1;
            edge.4 += entry.sent;
            *oracle.sent.entry(entry.source.to_string()).or_default() += entry.sent;
        }
        let reader = Reader::open(&path).unwrap();
        let edges = reader.edges(&EdgeFilter::default()).unwrap().into_iter();
        let edges: BTreeMap<_, _> = edges
            .map(|it| ((it.source.to_string(), it.destination.to_string(), it.port), (it.first, it.last, it.allowed, it.denied, it.sent)))
            .collect();
        prop_assert_eq!(edges, oracle.edges);
        let top = reader.top(TopBy::Source, Measure::Bytes, 0, 10).unwrap();
        let sums: Vec<_> = top.iter().map(|sum| sum.sent).collect();
        prop_assert!(sums.is_sorted_by(|a, b| a >= b));
        prop_assert_eq!(top.into_iter().map(|sum| (sum.of, sum.sent)).collect::<BTreeMap<_, _>>(), oracle.sent);
        let found = reader.entries(&EntryFilter::default()).unwrap();
        prop_assert_eq!(found.iter().map(|it| it.entry.count).sum::<u64>(), entries.len() as u64);
        let numbers: BTreeSet<_> = found.iter().map(|it| it.id).collect();
        prop_assert_eq!(numbers.len(), found.len());
        let verified = reader.verify().unwrap();
        prop_assert_eq!(verified.fault, None);
        prop_assert_eq!(verified.entries + verified.unsealed, found.len() as u64);
    }
}

#[test]
fn who_was_let_through_is_gone_through_with_the_latest_first_and_denials_left_out() {
    let (_folder, path) = file();
    let mut ledger = Ledger::open(&path).unwrap().0;
    let entries = [
        flow(START, "ai/train", "hub.example", Verdict::Allow),
        flow(START + 5, "ai/train", "hub.example", Verdict::Allow),
        flow(START + 1, "ai/serve", "10.0.0.9", Verdict::Allow),
        flow(START + 9, "ai/train", "paste.example", Verdict::Deny),
    ];
    ledger.append(&entries).unwrap();
    let known = |most| {
        let mut known = Vec::new();
        let reader = Reader::open(&path).unwrap();
        reader
            .each_allowed_edge(most, |who, whom, first| known.push((who.to_owned(), whom.to_owned(), first)))
            .unwrap();
        known
    };
    let train = ("ai/train".to_owned(), "hub.example".to_owned(), START);
    let serve = ("ai/serve".to_owned(), "10.0.0.9".to_owned(), START + 1);
    assert_eq!(known(10), [train.clone(), serve]);
    assert_eq!(known(1), [train]);
}
