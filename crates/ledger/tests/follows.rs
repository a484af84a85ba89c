//! Who follows a ledger gets each entry once, when it will not change any more, and learns what it missed.

#![expect(clippy::unwrap_used, reason = "a test's helpers fail the test")]

use ledger::query::TEXTS;
use ledger::write::WINDOW;
use ledger::{Entry, EntryFilter, Kind, Ledger, Reader, Retention, Verdict};
use std::path::PathBuf;
use tempfile::TempDir;

/// The beginning of a window.
const START: u64 = 120_000_000 * WINDOW;
/// After this, an entry of the first window does not change.
const SETTLED: u64 = START + WINDOW + 25_000_000;
const MOST: usize = 100;

fn ledger() -> (TempDir, PathBuf, Ledger) {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("ledger.db");
    let ledger = Ledger::open(&path).unwrap().0;
    (folder, path, ledger)
}

fn entry(time: u64, source: &str, detail: Option<&str>) -> Entry {
    Entry {
        time,
        source: source.into(),
        destination: "d".into(),
        detail: detail.map(str::to_owned),
        ..Entry::new(Kind::Flow, Verdict::Allow)
    }
}

#[test]
fn an_entry_that_may_still_grow_holds_back_what_came_after_it() {
    let (_folder, path, mut ledger) = ledger();
    ledger.append(&[entry(START, "a", Some("{}"))]).unwrap();
    ledger.append(&[entry(START, "b", None)]).unwrap();
    ledger.append(&[entry(START + 1, "c", Some("{}"))]).unwrap();
    let reader = Reader::open(&path).unwrap();
    let early = reader.follow(0, SETTLED - 1, MOST).unwrap();
    assert_eq!((early.entries.len(), early.last, early.waiting, early.forgotten), (1, 1, 2, 0));
    ledger.append(&[entry(START + 2, "b", None)]).unwrap();
    let late = reader.follow(early.last, SETTLED, MOST).unwrap();
    let found: Vec<_> = late.entries.iter().map(|it| (it.id, &*it.entry.source, it.entry.count)).collect();
    assert_eq!(found, [(2, "b", 2), (3, "c", 1)]);
    assert_eq!((late.last, late.waiting), (3, 0));
    assert_eq!(reader.follow(3, SETTLED, MOST).unwrap().entries, []);
    // As it is, for who does not wait.
    assert_eq!(reader.follow(0, u64::MAX, MOST).unwrap().entries.len(), 3);
    assert_eq!(reader.follow(0, u64::MAX, 2).unwrap().last, 2);
}

#[test]
fn entries_that_are_long_come_in_several_pages() {
    let (_folder, path, mut ledger) = ledger();
    let long = "x".repeat(TEXTS / 4);
    ledger.append(&(0..5).map(|time| entry(START + time, "a", Some(&long))).collect::<Vec<_>>()).unwrap();
    let reader = Reader::open(&path).unwrap();
    let first = reader.follow(0, SETTLED, MOST).unwrap();
    assert_eq!((first.entries.len(), first.last, first.waiting, first.forgotten), (4, 4, 1, 0));
    let rest = reader.follow(first.last, SETTLED, MOST).unwrap();
    assert_eq!((rest.entries.len(), rest.last, rest.waiting), (1, 5, 0));
    let all = EntryFilter::default();
    let (page, is_cut) = reader.page(&all, TEXTS).unwrap();
    assert_eq!((page.len(), is_cut), (4, true));
    let (page, is_cut) = reader.page(&EntryFilter { before: Some(2), ..all.clone() }, TEXTS).unwrap();
    assert_eq!((page.len(), is_cut, reader.entries(&all).unwrap().len()), (1, false, 5));
}

#[test]
fn what_is_sealed_is_settled_although_a_clock_was_ahead() {
    let (_folder, path, mut ledger) = ledger();
    ledger.append(&[entry(START + 1_000 * WINDOW, "a", None)]).unwrap();
    let reader = Reader::open(&path).unwrap();
    assert_eq!(reader.follow(0, START, MOST).unwrap().entries.len(), 0);
    ledger.tend(START + 2_000 * WINDOW, &Retention::default()).unwrap();
    assert_eq!(reader.follow(0, START, MOST).unwrap().entries.len(), 1);
}

#[test]
fn what_was_forgotten_before_is_counted_once() {
    let (_folder, path, mut ledger) = ledger();
    let first: Vec<_> = (0..10).map(|time| entry(START + time, "a", Some("{}"))).collect();
    ledger.append(&first).unwrap();
    let day = 24 * 3600 * 1_000_000;
    let short = Retention { age: day, ..Retention::default() };
    ledger.tend(START + day / 2, &short).unwrap();
    ledger.tend(START + 2 * day, &short).unwrap();
    let reader = Reader::open(&path).unwrap();
    // Nothing came since: what is gone is told at once.
    let nothing = reader.follow(3, START, MOST).unwrap();
    assert_eq!((nothing.entries.len(), nothing.forgotten, nothing.last), (0, 7, 10));
    ledger.append(&[entry(START + 2 * day, "b", Some("{}"))]).unwrap();
    for (after, forgotten) in [(0, 10), (4, 6), (10, 0)] {
        let found = reader.follow(after, START, MOST).unwrap();
        assert_eq!((found.entries.len(), found.forgotten, found.last), (1, forgotten, 11), "after {after}");
    }
    assert_eq!(reader.follow(11, START, MOST).unwrap().forgotten, 0);
}

#[test]
fn a_ledger_is_told_from_another_by_its_first_block() {
    let (_folder, path, mut ledger) = ledger();
    let reader = Reader::open(&path).unwrap();
    assert_eq!((reader.identity().unwrap(), reader.before(0).unwrap()), (None, 0));
    ledger.append(&[entry(START, "a", Some("{}")), entry(START + 10, "a", Some("{}"))]).unwrap();
    ledger.tend(START + 100 * WINDOW, &Retention::default()).unwrap();
    let identity = reader.identity().unwrap().unwrap();
    assert!(reader.has_block(&identity).unwrap());
    for (time, before) in [(0, 0), (START, 0), (START + 1, 1), (START + 11, 2)] {
        assert_eq!(reader.before(time).unwrap(), before, "{time}");
    }
}
