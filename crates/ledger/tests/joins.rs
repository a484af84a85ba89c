//! Ledgers joined into one: each entry once, in order, and under the name of who sent it.

#![expect(clippy::unwrap_used, reason = "a test's helpers fail the test")]

use ledger::join::{AHEAD, JOINED, OF_NODE, TEXT};
use ledger::{
    EdgeFilter, Entry, EntryFilter, Field, Kind, Ledger, Measure, Order, Parcel, Reader, Receipt, Retention,
    SeriesBy, Span, TopBy, Verdict,
};
use std::path::PathBuf;

/// Some time.
const NOW: u64 = 1_700_000_000_000_000;

struct World {
    _folder: tempfile::TempDir,
    path: PathBuf,
    ledger: Ledger,
}

impl World {
    fn new() -> Self {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("ledger.db");
        let ledger = Ledger::open(&path).unwrap().0;
        Self { _folder: folder, path, ledger }
    }

    fn join(&mut self, parcel: &Parcel) -> Receipt {
        self.ledger.join(parcel, NOW).unwrap()
    }

    fn reader(&self) -> Reader {
        Reader::open(&self.path).unwrap()
    }

    /// Node and source of all entries, the oldest first.
    fn all(&self) -> Vec<(String, String)> {
        let filter = EntryFilter { order: Order::OldestFirst, ..EntryFilter::default() };
        let entries = self.reader().entries(&filter).unwrap();
        entries.iter().map(|it| (it.entry.node.to_string(), it.entry.source.to_string())).collect()
    }
}

fn denial(node: &str, number: i64) -> Entry {
    Entry {
        time: NOW,
        node: node.into(),
        source: format!("ai/j{number}").into(),
        detail: Some("{}".to_owned()),
        ..Entry::new(Kind::Flow, Verdict::Deny)
    }
}

fn parcel(node: &str, ledger: &str, numbers: std::ops::RangeInclusive<i64>) -> Parcel {
    Parcel {
        node: node.to_owned(),
        ledger: ledger.to_owned(),
        last: *numbers.end(),
        waiting: 7,
        lost: 0,
        entries: numbers.map(|number| (number, denial(node, number))).collect(),
    }
}

fn counts(receipt: &Receipt) -> (u64, u64, u64) {
    (receipt.taken, receipt.known, receipt.refused)
}

#[test]
fn what_comes_again_is_known_and_what_is_new_in_it_is_added() {
    let mut world = World::new();
    assert_eq!(counts(&world.join(&parcel("a", "x", 1..=3))), (3, 0, 0));
    assert_eq!(counts(&world.join(&parcel("a", "x", 1..=3))), (0, 3, 0));
    assert_eq!(counts(&world.join(&parcel("a", "x", 2..=5))), (2, 2, 0));
    // Another node, and another ledger of the same, have numbers of their own.
    assert_eq!(counts(&world.join(&parcel("b", "x", 1..=1))), (1, 0, 0));
    assert_eq!(counts(&world.join(&parcel("a", "y", 1..=1))), (1, 0, 0));
    let expected = [("a", 1), ("a", 2), ("a", 3), ("a", 4), ("a", 5), ("b", 1), ("a", 1)];
    let expected = expected.map(|(node, number)| (node.to_owned(), format!("ai/j{number}")));
    assert_eq!(world.all(), expected);
    let joined = world.reader().joined().unwrap();
    let joined: Vec<_> = joined.iter().map(|it| (&*it.node, &*it.ledger, it.last, it.taken)).collect();
    assert_eq!(joined, [("a", "x", 5, 5), ("a", "y", 1, 1), ("b", "x", 1, 1)]);
}

#[test]
fn how_far_a_ledger_is_outlives_the_process() {
    let mut world = World::new();
    world.join(&parcel("a", "x", 1..=3));
    world.ledger = Ledger::open(&world.path).unwrap().0;
    assert_eq!(counts(&world.join(&parcel("a", "x", 1..=4))), (1, 3, 0));
}

#[test]
fn nobody_speaks_for_another_nor_from_the_future_nor_without_end() {
    let mut world = World::new();
    let mut mixed = parcel("a", "x", 1..=4);
    mixed.entries[0].1.node = "b".into();
    mixed.entries[1].1.node = "".into();
    mixed.entries[2].1.time = NOW + AHEAD + 1;
    mixed.entries.push((5, Entry { source: "x".repeat(TEXT + 1).into(), ..denial("a", 5) }));
    let receipt = world.join(&mixed);
    assert_eq!(counts(&receipt), (2, 0, 3));
    assert!(receipt.why.unwrap().contains("4096 bytes"));
    assert_eq!(world.all(), [("a", "ai/j2"), ("a", "ai/j4")].map(|(n, s)| (n.to_owned(), s.to_owned())));
    // What was refused is not refused again.
    assert_eq!(counts(&world.join(&mixed)), (0, 5, 0));
    assert_eq!(world.reader().joined().unwrap()[0].refused, 3);
}

#[test]
fn an_empty_parcel_tells_how_the_sender_stands() {
    let mut world = World::new();
    let mut empty = parcel("a", "x", 1..=3);
    empty.entries.clear();
    (empty.lost, empty.waiting) = (9, 2);
    assert_eq!(counts(&world.join(&empty)), (0, 0, 0));
    let joined = world.reader().joined().unwrap().remove(0);
    assert_eq!((joined.lost, joined.waiting, joined.last, joined.seen), (9, 2, 3, NOW));
}

#[test]
fn a_joined_ledger_is_a_ledger() {
    let mut world = World::new();
    let mut sums = parcel("a", "x", 1..=2);
    for (_, entry) in &mut sums.entries {
        (entry.detail, entry.source) = (None, "ai/web".into());
    }
    world.join(&sums);
    world.join(&Parcel { node: "b".to_owned(), ..sums.clone() });
    world.ledger.tend(NOW + 120_000_000, &Retention::default()).unwrap();
    let reader = world.reader();
    assert_eq!(reader.verify().unwrap().fault, None);
    let entries = reader.entries(&EntryFilter::default()).unwrap();
    // Of node a they are one; those that b sent say that they are of a.
    assert_eq!(entries.iter().map(|it| (&*it.entry.node, it.entry.count)).collect::<Vec<_>>(), [("a", 2)]);
}

#[test]
fn of_too_many_ledgers_those_are_forgotten_that_were_heard_of_longest_ago() {
    let mut world = World::new();
    let fill = "WITH RECURSIVE n(i) AS (SELECT 0 UNION ALL SELECT i + 1 FROM n WHERE i + 1 < ?1) \
                INSERT INTO joined SELECT printf('%05d', i), 'x', 1, 0, 0, 0, 0, i FROM n";
    rusqlite::Connection::open(&world.path).unwrap().execute(fill, [JOINED]).unwrap();
    world.join(&parcel("b", "x", 1..=1));
    let joined = world.reader().joined().unwrap();
    assert_eq!(joined.len(), JOINED as usize);
    assert!(joined.iter().all(|it| it.node != "00000"));
    // Of one node no more than these.
    for number in 0..u64::from(OF_NODE) + 3 {
        let empty = Parcel { entries: Vec::new(), ..parcel("b", &format!("{number:05}"), 1..=1) };
        world.ledger.join(&empty, NOW + 1 + number).unwrap();
    }
    let joined = world.reader().joined().unwrap();
    let of_b: Vec<&str> = joined.iter().filter(|it| it.node == "b").map(|it| &*it.ledger).collect();
    assert_eq!((of_b.len(), of_b[0], of_b[15]), (16, "00018", "00003"));
}

#[test]
fn each_ledger_has_an_origin_that_stays() {
    let (one, other) = (World::new(), World::new());
    let origin = one.reader().origin().unwrap().unwrap();
    assert_ne!(Some(&origin), other.reader().origin().unwrap().as_ref());
    drop(Ledger::open(&one.path).unwrap());
    assert_eq!(one.reader().origin().unwrap(), Some(origin));
}

/// What somebody says of one connection.
fn said(node: &str, time: u64, rule: &str, count: u64) -> Parcel {
    let entry = Entry {
        time,
        source: "ai/web".into(),
        destination: "hub.example".into(),
        port: 443,
        rule: rule.into(),
        count,
        sent: count,
        received: count,
        ..Entry::new(Kind::Flow, Verdict::Allow)
    };
    let mut parcel = parcel(node, node, 1..=1);
    parcel.entries = vec![(1, entry)];
    parcel
}

#[test]
fn amounts_of_a_node_that_lies_leave_a_ledger_that_everybody_can_read() {
    let mut world = World::new();
    for ledger in ["x", "y", "z"] {
        let mut parcel = said("a", NOW, "r", u64::MAX);
        parcel.ledger = ledger.to_owned();
        world.join(&parcel);
    }
    world.join(&said("b", NOW, "r", 7));
    let (reader, all) = (world.reader(), Span { since: 0, until: u64::MAX }.all());
    assert_eq!(reader.entries(&EntryFilter::default()).unwrap().len(), 2);
    assert_eq!(reader.edges(&EdgeFilter::default()).unwrap()[0].allowed, i64::MAX.unsigned_abs());
    for measure in [Measure::Bytes, Measure::Count, Measure::Denied] {
        assert_eq!(reader.top(TopBy::Source, measure, 0, 10).unwrap().len(), 1);
    }
    let mut pairs = 0;
    reader.each_pair(&all, None, |_| pairs += 1).unwrap();
    assert_eq!(pairs, 1);
    assert_eq!(reader.rules(&all).unwrap().len(), 1);
    assert_eq!(reader.series(&all, SeriesBy::Field(Field::Node), 60_000_000, 10).unwrap().len(), 2);
}

#[test]
fn what_is_joined_late_does_not_say_which_rule_decided_last() {
    let mut world = World::new();
    world.join(&said("a", NOW, "today's", 1));
    world.join(&said("b", NOW - 3_600_000_000, "yesterday's", 1));
    let edge = world.reader().edges(&EdgeFilter::default()).unwrap().remove(0);
    assert_eq!((&*edge.rule, edge.allowed, edge.last), ("today's", 2, NOW));
}
