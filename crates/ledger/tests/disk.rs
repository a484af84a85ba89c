//! Disks that are full, cannot be written, or gave back other bytes than they were given; names without end.

#![expect(clippy::unwrap_used, reason = "a test's helpers fail the test")]

use ledger::{Entry, EntryFilter, Kind, Ledger, Notice, Reader, Retention, Verdict};
use std::fs::{self, OpenOptions};
use std::os::unix::fs::FileExt;
use std::path::{Path, PathBuf};
use std::process::Command;

const START: u64 = 1_800_000_000_000_000;
const FOLDER: &str = "LEDGER_TEST_DISK";

fn entry(number: u64) -> Entry {
    Entry {
        time: START + number,
        source: format!("s{}", number % 7).into(),
        destination: format!("d{}", number % 5).into(),
        detail: Some(format!("{{\"number\":{number},\"more\":\"{}\"}}", "x".repeat(200))),
        ..Entry::new(Kind::Flow, Verdict::Deny)
    }
}

fn batch(from: u64) -> Vec<Entry> {
    (from..from + 100).map(entry).collect()
}

/// Runs one of the tests below with a disk of its own of so many MiB, which nobody else sees and which goes with it. False: this
/// machine lets nobody mount one here.
fn on_a_disk(mib: u32, test: &str) -> bool {
    let folder = tempfile::tempdir().unwrap();
    let mount = format!("mount -t tmpfs -o size={mib}m none \"${FOLDER}\" || exit 77; exec \"$@\"");
    for namespaces in [&["--mount"][..], &["--mount", "--map-root-user"]] {
        let output = Command::new("unshare")
            .args(namespaces)
            .args(["sh", "-c", &mount, "sh"])
            .arg(std::env::current_exe().unwrap())
            .args(["--ignored", "--exact", test, "--nocapture"])
            .env(FOLDER, folder.path())
            .output()
            .unwrap();
        let said = String::from_utf8_lossy(&output.stdout);
        if said.contains("running 1 test") {
            assert!(output.status.success(), "{said}{}", String::from_utf8_lossy(&output.stderr));
            return true;
        }
    }
    false
}

fn disk() -> Option<PathBuf> {
    std::env::var_os(FOLDER).map(PathBuf::from)
}

fn put_aside(folder: &Path) -> usize {
    let names = fs::read_dir(folder).unwrap().map(|it| it.unwrap().file_name());
    names.filter(|name| name.to_string_lossy().contains("damaged")).count()
}

/// Entries of a ledger that holds.
fn held(path: &Path) -> u64 {
    let found = Reader::open(path).unwrap().verify().unwrap();
    assert_eq!(found.fault, None);
    found.entries + found.unsealed
}

#[test]
fn on_a_full_disk_nothing_acknowledged_is_lost_and_writing_goes_on_when_there_is_room() {
    if !on_a_disk(4, "full") {
        eprintln!("NOT RUN: no disk can be mounted here");
    }
}

#[test]
#[ignore = "is run by the test above, on a disk of its own"]
fn full() {
    let Some(folder) = disk() else { return };
    let path = folder.join("ledger.db");
    let ballast = folder.join("ballast");
    fs::write(&ballast, vec![0; 1 << 20]).unwrap();
    let mut ledger = Ledger::open(&path).unwrap().0;
    let mut written = 0;
    let error = loop {
        match ledger.append(&batch(written)) {
            Ok(()) => written += 100,
            Err(error) => break error,
        }
        // Sealing has the same disk.
        let _ = ledger.tend(START + written * 1_000_000, &Retention::default());
        assert!(written < 1_000_000, "the disk is never full");
    };
    assert!(written > 500 && !error.is_damage() && error.to_string().contains("full"), "{written}: {error}");
    for _ in 0..3 {
        assert!(ledger.append_counting(&batch(written), &[("never", 1)]).is_err());
        assert_eq!(held(&path), written, "all that was acknowledged, and nothing of what was not");
        assert_eq!(
            Reader::open(&path).unwrap().lost().unwrap(),
            [],
            "nothing is counted of what is tried again"
        );
    }
    drop(ledger);
    // Who starts while it is full takes it for full, not for damaged.
    if let Ok((mut ledger, notices)) = Ledger::open(&path) {
        assert_eq!(notices, []);
        assert!(ledger.append(&batch(written)).is_err());
    }
    assert_eq!((put_aside(&folder), held(&path)), (0, written));

    let (mut ledger, _) = {
        fs::remove_file(&ballast).unwrap();
        Ledger::open(&path).unwrap()
    };
    ledger.append_counting(&batch(written), &[("records for which there was no room", 300)]).unwrap();
    ledger.tend(START + 3_600_000_000, &Retention::default()).unwrap();
    assert_eq!((put_aside(&folder), held(&path)), (0, written + 100));
    let lost = Reader::open(&path).unwrap().lost().unwrap();
    assert_eq!(lost, [("records for which there was no room".to_owned(), 300)]);
}

#[test]
fn a_disk_that_cannot_be_written_is_told_and_what_is_on_it_can_be_read() {
    if !on_a_disk(8, "read_only") {
        eprintln!("NOT RUN: no disk can be mounted here");
    }
}

#[test]
#[ignore = "is run by the test above, on a disk of its own"]
fn read_only() {
    let Some(folder) = disk() else { return };
    // A name that is no name of a file for whoever takes it for an address.
    let path = folder.join("a 100% ledger?.db");
    let mut ledger = Ledger::open(&path).unwrap().0;
    ledger.append(&batch(0)).unwrap();
    drop(ledger);
    let mount = |how: &str| Command::new("mount").args(["-o", how]).arg(&folder).status().unwrap().success();
    assert!(mount("remount,ro"));
    let error =
        Ledger::open(&path).map(|(mut ledger, _)| ledger.append(&batch(100))).map_or_else(Some, Result::err);
    assert!(error.as_ref().is_some_and(|error| !error.is_damage()), "{error:?}");
    assert_eq!((put_aside(&folder), held(&path)), (0, 100));
    assert_eq!(Reader::open(&path).unwrap().entries(&EntryFilter::default()).unwrap().len(), 100);
    assert!(Reader::open(&folder.join("none.db")).is_err());
    assert!(mount("remount,rw"));
    Ledger::open(&path).unwrap().0.append(&batch(100)).unwrap();
    assert_eq!(held(&path), 200);
}

#[test]
fn what_is_damaged_in_the_middle_is_put_aside_whole_when_it_is_found_and_another_begun() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("ledger.db");
    let mut ledger = Ledger::open(&path).unwrap().0;
    (0..200).for_each(|number| ledger.append(&batch(number * 100)).unwrap());
    drop(ledger);
    // All but the first pages, which say what is where.
    let file = OpenOptions::new().write(true).open(&path).unwrap();
    let length = file.metadata().unwrap().len();
    file.write_all_at(&vec![0xa5; usize::try_from(length).unwrap() - 16 * 4096], 16 * 4096).unwrap();
    drop(file);
    let harmed = fs::read(&path).unwrap();

    let (mut ledger, notices) = Ledger::open(&path).unwrap();
    assert_eq!(notices, [], "opening does not read it all");
    let error = ledger.append(&batch(0)).unwrap_err();
    assert!(error.is_damage(), "{error}");
    drop(ledger);
    let mut damage = Some(error.to_string());
    let (mut ledger, notices) = Ledger::open_after(&path, &mut damage).unwrap();
    let [Notice::PutAside { why, to }] = &notices[..] else { panic!("{notices:?}") };
    assert_eq!((why, &damage), (&error.to_string(), &None));
    assert_eq!(fs::read(to).unwrap(), harmed);
    ledger.append(&batch(0)).unwrap();
    assert_eq!(held(&path), 100);
    // Where nothing is wrong nothing is put aside.
    drop(ledger);
    assert_eq!(Ledger::open_after(&path, &mut damage).unwrap().1, []);
    assert_eq!((put_aside(folder.path()), held(&path)), (1, 100));
}

#[test]
fn a_flood_of_names_stays_within_the_size_of_the_file_and_does_not_stop_who_writes() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("ledger.db");
    let mut ledger = Ledger::open(&path).unwrap().0;
    let retention = Retention { age: u64::MAX, bytes: 12 << 20 };
    let (mut largest, mut number) = (0, 0_u64);
    for round in 0..30_u64 {
        let names: Vec<Entry> = (0..8192)
            .map(|_| {
                number += 1;
                Entry {
                    time: START + number * 1000,
                    source: "ai/Job/train".into(),
                    destination: format!(
                        "{:016x}.tunnel.example",
                        number.wrapping_mul(0x9e37_79b9_7f4a_7c15)
                    )
                    .into(),
                    port: 53,
                    protocol: 17,
                    ..Entry::new(Kind::Dns, Verdict::Allow)
                }
            })
            .collect();
        ledger.append(&names).unwrap();
        ledger.tend(START + number * 1000 + 120_000_000, &retention).unwrap();
        if round % 10 == 9 {
            largest = largest.max(fs::metadata(&path).unwrap().len());
        }
    }
    let reader = Reader::open(&path).unwrap();
    let found = reader.verify().unwrap();
    assert!(found.fault.is_none() && found.pruned > 20, "{found:?}");
    // Words of a round that are no longer used are let be.
    assert!(largest < 48 << 20, "{largest}");
    assert!(reader.words(|_| true).unwrap().1, "names are kept");
}
