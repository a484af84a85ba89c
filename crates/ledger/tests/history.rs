//! What one source did is read from its trails, and is what the rows say; files of before there were trails.

#![expect(clippy::unwrap_used, reason = "a test's helpers fail the test")]

use ledger::{
    Column, EdgeFilter, Entry, EntryFilter, Kind, Ledger, Match, Order, Reader, Retention, Stored, Verdict,
};
use rusqlite::Connection;
use std::path::Path;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

const START: u64 = 1_800_000_000_000_000;
const SOURCES: u64 = 13;

fn entry(number: u64) -> Entry {
    let verdict = match number % 4 {
        1 => Verdict::Deny,
        3 => Verdict::Fail,
        _ => Verdict::Allow,
    };
    Entry {
        time: START + number * 20_000,
        node: format!("node-{}", number % 3).into(),
        source: format!("ns/Pod/p{}", number % SOURCES).into(),
        destination: format!("host-{}", number % 23).into(),
        port: u16::try_from(number % 5 * 100).unwrap(),
        protocol: 6,
        rule: format!("rule {}", number % 9).into(),
        count: number % 4,
        sent: if number == 26 { u64::MAX } else { number },
        received: number % 1000,
        detail: number.is_multiple_of(6).then(|| format!("{{\"number\":{number}}}")),
        ..Entry::new(
            Kind::ALL.into_iter().nth(usize::try_from(number % 11).unwrap().min(5)).unwrap(),
            verdict,
        )
    }
}

/// Writes some thousand entries more, and seals what can be sealed.
fn write(path: &Path, turns: std::ops::Range<u64>) {
    let mut ledger = Ledger::open(path).unwrap().0;
    for turn in turns {
        let entries: Vec<Entry> = (turn * 6000..(turn + 1) * 6000).map(entry).collect();
        ledger.append(&entries).unwrap();
        ledger.tend(START + turn * 120_000_000, &Retention::default()).unwrap();
    }
}

fn change(path: &Path, change: &str) {
    Connection::open(path).unwrap().execute_batch(change).unwrap();
}

fn of(source: u64) -> EntryFilter {
    EntryFilter { source: Some(format!("ns/Pod/p{source}")), ..EntryFilter::default() }
}

/// All of them, page by page: pages of another size find the same.
fn pages(reader: &Reader, filter: &EntryFilter, size: usize) -> Vec<Stored> {
    let (mut filter, mut all) = (EntryFilter { limit: Some(size), ..filter.clone() }, Vec::new());
    loop {
        let page = reader.entries(&filter).unwrap();
        let is_last = page.len() < size;
        all.extend(page);
        let Some(last) = all.last().filter(|_| !is_last) else { return all };
        match filter.order {
            Order::NewestFirst => filter.before = Some(last.id),
            Order::OldestFirst => filter.after = Some(last.id),
        }
    }
}

/// What rows say: without a source, trails are not read.
fn of_rows(reader: &Reader, filter: &EntryFilter) -> Vec<Stored> {
    let source = filter.source.clone().unwrap();
    let all = pages(reader, &EntryFilter { source: None, ..filter.clone() }, 10_000);
    all.into_iter().filter(|stored| *stored.entry.source == *source).collect()
}

fn filters() -> Vec<EntryFilter> {
    let (since, until) = (Some(START + 50_000_000), Some(START + 300_000_000));
    vec![
        of(0),
        EntryFilter { order: Order::OldestFirst, ..of(1) },
        EntryFilter { since, until, ..of(2) },
        EntryFilter { verdict: Some(Verdict::Deny), kinds: vec![Kind::Flow, Kind::Audit], ..of(3) },
        EntryFilter { kind: Some(Kind::Finding), port: Some(300), ..of(4) },
        EntryFilter { before: Some(9000), after: Some(100), order: Order::OldestFirst, ..of(5) },
        EntryFilter { destination: Some("host-7".into()), ..of(6) },
        EntryFilter { texts: vec![(Column::Rule, Match::Begins("rule 1".into()))], since, ..of(7) },
        EntryFilter { texts: vec![(Column::Source, Match::Has("P8".into()))], ..of(8) },
        EntryFilter { texts: vec![(Column::Source, Match::Is("ns/Pod/p1".into()))], ..of(9) },
        EntryFilter { tool: Some(Match::Is("shell".into())), ..of(10) },
        of(99),
    ]
}

fn check(path: &Path, when: &str) {
    let reader = Reader::open(path).unwrap();
    for filter in filters() {
        let rows = of_rows(&reader, &filter);
        for size in [7, 10_000] {
            let found = pages(&reader, &filter, size);
            assert!(found == rows, "{when}, {filter:?}: {} and {}", found.len(), rows.len());
        }
    }
    assert!(pages(&reader, &of(0), 100).len() > 500, "{when}");
}

#[test]
fn a_history_is_what_rows_say_with_trails_without_and_with_some_that_broke() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("ledger.db");
    write(&path, 0..4);
    let sound = Reader::open(&path).unwrap().verify().unwrap();
    assert!(sound.fault.is_none() && sound.blocks >= 3 && sound.unsealed > 0, "{sound:?}");
    check(&path, "whole");
    change(
        &path,
        "DELETE FROM trails WHERE block = 1; UPDATE trails SET data = x'ff' WHERE block = 2 AND source % 2",
    );
    check(&path, "broken");
    // One byte more: the last number of what was packed is cut off.
    change(&path, "UPDATE trails SET data = substr(data, 1, length(data) - 1) WHERE block = 3");
    check(&path, "cut");
}

#[test]
fn a_page_of_a_history_ends_with_the_bytes_that_were_asked_for() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("ledger.db");
    write(&path, 0..2);
    let reader = Reader::open(&path).unwrap();
    let (page, is_cut) = reader.page(&of(0), 200).unwrap();
    assert!(is_cut && !page.is_empty() && page.len() < 20, "{}", page.len());
    let none = EntryFilter { limit: Some(0), ..of(0) };
    assert_eq!(reader.page(&none, 200).unwrap(), (Vec::new(), false));
}

/// Makes the file one that a version before wrote: without trails, and with the indexes of then.
const BEFORE: &str = "DROP TABLE trails; DROP INDEX edges_newest; DROP INDEX blocks_by_first; DROP INDEX blocks_kept; \
                      CREATE INDEX edges_by_first ON edges (first);";

#[test]
fn a_ledger_of_before_there_were_trails_is_read_as_it_is_and_goes_on_when_it_is_written() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("ledger.db");
    write(&path, 0..2);
    let edges = |path: &Path| Reader::open(path).unwrap().edges(&EdgeFilter::default()).unwrap();
    let before = edges(&path);
    change(&path, BEFORE);
    check(&path, "before");
    assert_eq!(edges(&path), before);
    assert_eq!(Reader::open(&path).unwrap().verify().unwrap().fault, None);

    write(&path, 2..4);
    let connection = Connection::open(&path).unwrap();
    let number = |query: &str| connection.query_row(query, [], |row| row.get::<_, i64>(0)).unwrap();
    assert!(number("SELECT min(block) FROM trails") > 1 && number("SELECT count(*) FROM trails") > 0);
    assert_eq!(number("SELECT count(*) FROM sqlite_master WHERE name = 'edges_by_first'"), 0);
    check(&path, "written again");
    let found = Reader::open(&path).unwrap().verify().unwrap();
    assert!(found.fault.is_none(), "{found:?}");
    let all = edges(&path);
    assert_eq!(i64::try_from(all.len()).unwrap(), number("SELECT count(*) FROM edges"));
    assert!(all.len() > before.len());
}

#[test]
fn trails_go_with_their_block() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("ledger.db");
    write(&path, 0..4);
    let mut ledger = Ledger::open(&path).unwrap().0;
    let young = Retention { age: 1, ..Retention::default() };
    ledger.tend(START + 1_000_000_000, &young).unwrap();
    let connection = Connection::open(&path).unwrap();
    let left = "SELECT count(*) FROM trails WHERE block IN (SELECT number FROM blocks WHERE pruned)";
    let number = |query: &str| connection.query_row(query, [], |row| row.get::<_, i64>(0)).unwrap();
    assert!(number("SELECT count(*) FROM blocks WHERE pruned") > 2);
    assert_eq!(number(left), 0);
    assert_eq!(Reader::open(&path).unwrap().verify().unwrap().fault, None);
    check_empty(&path);
}

/// Bytes of the log beside a file.
fn log(path: &Path) -> u64 {
    std::fs::metadata(path.with_extension("db-wal")).map_or(0, |log| log.len())
}

/// Two MiB.
fn large(number: u64) -> Entry {
    Entry {
        time: START + number,
        detail: Some("x".repeat(2 << 20)),
        ..Entry::new(Kind::Finding, Verdict::None)
    }
}

#[test]
fn readers_that_follow_each_other_do_not_have_the_log_grow_without_end() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("ledger.db");
    let mut ledger = Ledger::open(&path).unwrap().0;
    let ends = AtomicBool::new(false);
    // At every moment one of two reads, and none of them for long.
    let read = |before: u64| {
        std::thread::sleep(Duration::from_millis(before));
        let reader = Connection::open(&path).unwrap();
        while !ends.load(Ordering::Relaxed) {
            reader.query_row("SELECT count(*) FROM entries", [], |_| Ok(())).unwrap();
            let view = reader.unchecked_transaction().unwrap();
            view.query_row("SELECT count(*) FROM entries", [], |_| Ok(())).unwrap();
            std::thread::sleep(Duration::from_millis(30));
        }
    };
    let mut most = 0;
    std::thread::scope(|scope| {
        scope.spawn(|| read(0));
        scope.spawn(|| read(15));
        for number in 0..100 {
            ledger.append(&[large(number)]).unwrap();
            ledger.tend(START + number * 1_000_000, &Retention::default()).unwrap();
            most = most.max(log(&path));
        }
        ends.store(true, Ordering::Relaxed);
    });
    assert!(most < 140 << 20, "{most} bytes at most");
}

#[test]
fn a_log_that_a_reader_made_long_is_cut_when_it_begins_anew() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("ledger.db");
    let mut ledger = Ledger::open(&path).unwrap().0;
    ledger.append(&[large(0)]).unwrap();
    let reader = Connection::open(&path).unwrap();
    let view = reader.unchecked_transaction().unwrap();
    view.query_row("SELECT count(*) FROM entries", [], |_| Ok(())).unwrap();
    (1..16).for_each(|number| ledger.append(&[large(number)]).unwrap());
    assert!(log(&path) > 20 << 20, "{} bytes while somebody reads", log(&path));
    drop(view);
    (16..18).for_each(|number| ledger.append(&[large(number)]).unwrap());
    assert!(log(&path) < 20 << 20, "{} bytes stay", log(&path));
}

#[test]
fn what_another_process_sealed_does_not_grow_and_what_it_forgot_is_written_again() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("ledger.db");
    let flow = Entry { source: "a".into(), destination: "b".into(), ..entry(1) };
    let flow = Entry { kind: Kind::Flow, detail: None, count: 1, ..flow };
    let (mut one, mut other) = (Ledger::open(&path).unwrap().0, Ledger::open(&path).unwrap().0);
    one.append(std::slice::from_ref(&flow)).unwrap();
    other.seal().unwrap();
    one.append(std::slice::from_ref(&flow)).unwrap();
    one.append(std::slice::from_ref(&flow)).unwrap();
    let reader = Reader::open(&path).unwrap();
    assert_eq!(reader.verify().unwrap().fault, None);
    let counts: Vec<u64> =
        reader.entries(&EntryFilter::default()).unwrap().iter().map(|it| it.entry.count).collect();
    assert_eq!(counts, [2, 1]);

    let named = |source: &str| Entry { source: source.into(), ..entry(0) };
    one.append(&[named("gone"), named("newest")]).unwrap();
    change(
        &path,
        "DELETE FROM entries WHERE source = (SELECT id FROM words WHERE text = 'gone'); DELETE FROM words WHERE text = 'gone';",
    );
    one.append(&[named("gone")]).unwrap();
    let gone = EntryFilter { source: Some("gone".into()), ..EntryFilter::default() };
    assert_eq!(Reader::open(&path).unwrap().entries(&gone).unwrap().len(), 1);
}

#[test]
fn a_clock_that_was_ahead_for_a_while_does_not_have_what_came_before_and_after_kept_for_ever() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("ledger.db");
    let (day, year) = (24 * 3600 * 1_000_000, 365 * 24 * 3600 * 1_000_000);
    let mut ledger = Ledger::open(&path).unwrap().0;
    let mut at = |now: u64, time: u64| {
        ledger.append(&[Entry { time, ..entry(0) }]).unwrap();
        ledger.tend(now, &Retention::default()).unwrap();
        ledger.seal().unwrap();
        Reader::open(&path).unwrap().entries(&EntryFilter::default()).unwrap().len()
    };
    assert_eq!(at(START + 80 * year, START + 80 * year), 1);
    assert_eq!(at(START, START), 2);
    assert_eq!(at(START + 29 * day, START + 29 * day), 3);
    // In the same step as what is old by itself, and not before.
    assert_eq!(at(START + 31 * day, START + 31 * day), 2);
    assert_eq!(Reader::open(&path).unwrap().verify().unwrap().fault, None);
}

fn check_empty(path: &Path) {
    let reader = Reader::open(path).unwrap();
    for source in 0..SOURCES {
        assert_eq!(reader.entries(&of(source)).unwrap(), of_rows(&reader, &of(source)));
    }
}
