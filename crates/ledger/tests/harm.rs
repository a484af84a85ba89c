//! Files that somebody changed, that broke, or that another program wrote; writers that are killed.

#![expect(clippy::unwrap_used, reason = "a test's helpers fail the test")]

use ledger::{Entry, EntryFilter, Kind, Ledger, LedgerError, Notice, Reader, Retention, Verdict};
use rusqlite::Connection;
use std::io::{BufRead, BufReader};
use std::path::Path;
use std::process::{Command, Stdio};

const START: u64 = 1_800_000_000_000_000;

fn entry(number: u64) -> Entry {
    Entry {
        time: START + number,
        source: format!("s{}", number % 7).into(),
        destination: "d".into(),
        rule: "EgressPolicy ai/egress spec.rules[0] (policies.yaml:7)".into(),
        detail: Some(format!("{{\"number\":{number}}}")),
        ..Entry::new(Kind::Finding, Verdict::None)
    }
}

/// Three full blocks, and some entries behind.
fn fill(path: &Path) {
    let mut ledger = Ledger::open(path).unwrap().0;
    let entries: Vec<_> = (0..3 * 4096 + 100).map(entry).collect();
    ledger.append(&entries).unwrap();
    ledger.tend(START, &Retention::default()).unwrap();
}

#[test]
fn whatever_is_changed_in_sealed_entries_is_told_with_its_block() {
    let folder = tempfile::tempdir().unwrap();
    let whole = folder.path().join("whole.db");
    fill(&whole);
    let sound = Reader::open(&whole).unwrap().verify().unwrap();
    assert_eq!((sound.blocks, sound.entries, sound.unsealed, &sound.fault), (3, 3 * 4096, 100, &None));
    let check = |name: &str, change: &str, block: i64| {
        let path = folder.path().join(format!("{name}.db"));
        std::fs::copy(&whole, &path).unwrap();
        let changed = Connection::open(&path).unwrap().execute_batch(change);
        changed.unwrap_or_else(|error| panic!("{name}: {error}"));
        let found = Reader::open(&path).unwrap().verify().unwrap();
        assert_eq!(found.fault.as_ref().map(|fault| fault.block), Some(block), "{name}: {found:?}");
    };
    check("verdict", "UPDATE entries SET verdict = 0 WHERE id = 5000", 2);
    check("detail", "UPDATE entries SET detail = '{}' WHERE id = 1", 1);
    check("no-detail", "UPDATE entries SET detail = NULL WHERE id = 12288", 3);
    check("time", "UPDATE entries SET time = time + 1 WHERE id = 4097", 2);
    check("removed", "DELETE FROM entries WHERE id = 4096", 1);
    check("source", "UPDATE entries SET source = (SELECT id FROM words WHERE text = 'd') WHERE id = 9000", 3);
    check("word", "UPDATE words SET text = 'nobody' WHERE text = 's3'", 1);
    check("word-gone", "DELETE FROM words WHERE text = 'd'", 1);
    check("block-gone", "DELETE FROM blocks WHERE number = 2", 3);
    check("first-block-gone", "DELETE FROM blocks WHERE number = 1", 2);
    check("block", "UPDATE blocks SET last = last - 1 WHERE number = 2", 2);
    check("hash", "UPDATE blocks SET hash = zeroblob(32) WHERE number = 1", 1);
    check("said-forgotten", "UPDATE blocks SET pruned = 1 WHERE number = 2", 2);
    check("forgotten-in-between", "DELETE FROM entries WHERE id BETWEEN 4097 AND 8192", 2);
    let forgotten =
        "UPDATE blocks SET pruned = 1 WHERE number = 2; DELETE FROM entries WHERE id BETWEEN 4097 AND 8192;";
    check("forgotten-out-of-turn", forgotten, 2);
    check("forgotten-later", "UPDATE blocks SET newest = newest + 1 WHERE number = 2", 2);
    check("left-out-of-sums", "UPDATE packed SET oldest = 9223372036854775807 WHERE block = 3", 3);
    check("sums", "UPDATE packed SET data = (SELECT data FROM packed WHERE block = 1) WHERE block = 3", 3);
    let one = "block = 3 AND source = (SELECT id FROM words WHERE text = 's3')";
    check("history", &format!("UPDATE trails SET data = x'00' WHERE {one}"), 3);
    check("history-gone", &format!("DELETE FROM trails WHERE {one}"), 3);
    check(
        "history-of-nobody",
        "INSERT INTO trails SELECT block, 1000, data FROM trails WHERE block = 2 LIMIT 1",
        2,
    );
    check(
        "history-of-the-first",
        "UPDATE trails SET source = -1 WHERE block = 1 AND source = (SELECT min(source) FROM trails)",
        1,
    );
    check(
        "before",
        "INSERT INTO entries SELECT -5, time, kind, verdict, node, source, destination, port, protocol, rule, \
                     reason, count, sent, received, detail FROM entries WHERE id = 1",
        1,
    );
}

#[test]
fn the_end_of_a_chain_that_was_cut_off_shows_in_its_newest_hash_only() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("ledger.db");
    fill(&path);
    let before = Reader::open(&path).unwrap().verify().unwrap();
    let cut = "DELETE FROM blocks WHERE number = 3; DELETE FROM entries WHERE id > 8192;";
    Connection::open(&path).unwrap().execute_batch(cut).unwrap();
    let after = Reader::open(&path).unwrap().verify().unwrap();
    assert_eq!(after.fault, None);
    assert_ne!(after.newest, before.newest);
    let has = |hash: &Option<String>| Reader::open(&path).unwrap().has_block(hash.as_ref().unwrap()).unwrap();
    assert!(has(&after.newest) && !has(&before.newest));
}

#[test]
fn a_damaged_file_is_put_aside_whole_and_another_begun() {
    let folder = tempfile::tempdir().unwrap();
    for (name, harm) in [
        ("text", b"this is no database, and was never one, however long it may go on about it".to_vec()),
        ("zeroed", vec![0; 8192]),
        ("header", {
            let path = folder.path().join("whole.db");
            fill(&path);
            let mut bytes = std::fs::read(&path).unwrap();
            bytes[..4096].fill(0xff);
            bytes
        }),
    ] {
        let path = folder.path().join(format!("{name}.db"));
        std::fs::write(&path, &harm).unwrap();
        let (mut ledger, notices) = Ledger::open(&path).unwrap_or_else(|error| panic!("{name}: {error}"));
        ledger.append(&[entry(1)]).unwrap();
        let [Notice::PutAside { to, .. }] = &notices[..] else { panic!("{name}: {notices:?}") };
        assert_eq!(std::fs::read(to).unwrap(), harm, "{name}");
        assert_eq!(Reader::open(&path).unwrap().entries(&EntryFilter::default()).unwrap().len(), 1, "{name}");
    }
}

#[test]
fn a_file_that_lost_its_end_is_told_as_damaged_and_never_read_as_whole() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("ledger.db");
    fill(&path);
    let bytes = std::fs::read(&path).unwrap();
    for keep in [bytes.len() / 10, bytes.len() / 2, bytes.len() - 4096] {
        std::fs::write(&path, &bytes[..keep]).unwrap();
        let read = Reader::open(&path).and_then(|reader| reader.verify());
        let is_told = match &read {
            Ok(found) => found.fault.is_some() || found.entries < 3 * 4096 || found.unsealed < 100,
            Err(error) => error.is_damage(),
        };
        assert!(is_told, "{keep}: {read:?}");
    }
}

#[test]
fn a_ledger_that_is_not_there_is_told_so_and_none_is_made() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("ledger.db");
    let error = Reader::open(&path).unwrap_err();
    assert!(matches!(error, LedgerError::Absent { .. }), "{error}");
    assert!(error.to_string().contains("there is no such file"), "{error}");
    assert_eq!(std::fs::read_dir(folder.path()).unwrap().count(), 0);
}

#[test]
fn a_folder_and_a_file_in_no_folder_are_told_apart_from_damage() {
    let folder = tempfile::tempdir().unwrap();
    let told = |error: LedgerError| {
        assert!(!error.is_damage(), "{error}");
        error.to_string()
    };
    assert!(told(Reader::open(folder.path()).unwrap_err()).contains("it is a folder"));
    assert!(told(Ledger::open(folder.path()).unwrap_err()).contains("it is a folder"));
    let nowhere = folder.path().join("nowhere/ledger.db");
    assert!(told(Ledger::open(&nowhere).unwrap_err()).contains("its folder is not there"));
    assert_eq!(std::fs::read_dir(folder.path()).unwrap().count(), 0);
}

#[test]
fn what_a_newer_or_another_program_wrote_is_left_alone() {
    let folder = tempfile::tempdir().unwrap();
    let newer = folder.path().join("newer.db");
    fill(&newer);
    Connection::open(&newer).unwrap().execute_batch("PRAGMA user_version = 99").unwrap();
    let other = folder.path().join("other.db");
    Connection::open(&other).unwrap().execute_batch("CREATE TABLE t (a)").unwrap();
    for path in [&newer, &other] {
        let error = Ledger::open(path).unwrap_err();
        assert!(matches!(error, LedgerError::Newer { .. } | LedgerError::Foreign { .. }), "{error}");
        let error = Reader::open(path).unwrap_err();
        assert!(matches!(error, LedgerError::Newer { .. } | LedgerError::Foreign { .. }), "{error}");
    }
    assert_eq!(
        std::fs::read_dir(folder.path())
            .unwrap()
            .filter(|it| { it.as_ref().unwrap().file_name().to_string_lossy().contains("damaged") })
            .count(),
        0
    );
}

const FILE: &str = "LEDGER_TEST_FILE";

/// The writer of the test below, in a process of its own.
#[test]
#[ignore = "is run by the test below"]
fn writer() {
    let Some(path) = std::env::var_os(FILE) else { return };
    let mut ledger = Ledger::open(Path::new(&path)).unwrap().0;
    for number in 0..1_000_000 {
        ledger.append(&[entry(2 * number), entry(2 * number + 1)]).unwrap();
        ledger.tend(START + number * 1_000_000, &Retention::default()).unwrap();
        println!("wrote {number}");
    }
}

#[test]
fn what_was_acknowledged_outlives_a_kill_and_what_was_not_is_there_whole_or_not_at_all() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("ledger.db");
    let mut child = Command::new(std::env::current_exe().unwrap())
        .args(["--ignored", "--exact", "writer", "--nocapture"])
        .env(FILE, &path)
        .stdout(Stdio::piped())
        .spawn()
        .unwrap();
    let lines = BufReader::new(child.stdout.take().unwrap()).lines().map_while(Result::ok);
    let mut wrote =
        lines.filter_map(|line| line.strip_prefix("wrote ").and_then(|it| it.parse::<usize>().ok()));
    let told = wrote.by_ref().find(|number| *number >= 200).unwrap();
    child.kill().unwrap();
    child.wait().unwrap();
    let told = wrote.last().unwrap_or(told) + 1;
    let (mut ledger, notices) = Ledger::open(&path).unwrap();
    assert_eq!(notices, []);
    let found = Reader::open(&path).unwrap().verify().unwrap();
    let there = found.entries + found.unsealed;
    assert_eq!(found.fault, None);
    assert!(there >= 2 * told as u64 && there.is_multiple_of(2), "{there} where {told} pairs were told of");
    ledger.append(&[entry(0)]).unwrap();
}
