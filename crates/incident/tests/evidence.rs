//! Evidence is the same for the same ledger, tells whatever was changed in it, and is nothing but text to a browser.

#![expect(clippy::unwrap_used, clippy::indexing_slicing, reason = "a test's helpers fail the test")]

use incident::evidence::{Bundle, bundle, verify};
use incident::quarantine::{Labels, PodLabels, labels_of};
use incident::{Could, Reach, Reachable, View, What};
use ledger::{Entry, Kind, Ledger, Reader, Retention, Verdict};
use observe::Time;
use proptest::prelude::*;
use serde_json::{Value, json};
use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::sync::LazyLock;
use tempfile::TempDir;

const START: u64 = 1_800_000_000_000_000;
const HOSTILE: &str = "<script>alert(1)</script>&\"'\u{1b}[2J\u{202e}/w";

struct Anywhere;

impl Reach for Anywhere {
    fn could(&self, _workload: &str) -> Option<Reachable> {
        let all = Could { destination: "<img src=x>".into(), port: "443/TCP".into(), rule: "r".into() };
        Some(Reachable { places: vec![all], is_complete: true })
    }
}

fn kept() -> (TempDir, PathBuf) {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("ledger.db");
    let of = |time, kind, verdict, detail: Value| Entry {
        time: START + time,
        source: HOSTILE.into(),
        destination: "</title><b>evil.example".into(),
        port: 443,
        rule: "rule <i>".into(),
        reason: "tunnel".into(),
        detail: Some(detail.to_string()),
        ..Entry::new(kind, verdict)
    };
    let call = json!({ "method": "POST", "path": "/<v1>", "status": 200, "request_id": "r1" });
    let mut ledger = Ledger::open(&path).unwrap().0;
    ledger
        .append(&[
            of(
                1,
                Kind::Finding,
                Verdict::None,
                json!({ "severity": "high", "techniques": ["T1048", "LLM02"] }),
            ),
            of(2, Kind::Dns, Verdict::Deny, json!({})),
            of(3, Kind::Flow, Verdict::Allow, json!({})),
            of(4, Kind::Tls, Verdict::Fail, json!({})),
            of(5, Kind::AiCall, Verdict::Deny, call),
        ])
        .unwrap();
    ledger.tend(START + 3_600_000_000, &Retention { age: u64::MAX, bytes: u64::MAX }).unwrap();
    ledger
        .append(&[incident::entry(
            Time(START + 6),
            "local:0",
            What::Contained,
            HOSTILE,
            &json!({ "text": "x" }).as_object().unwrap().clone(),
        )])
        .unwrap();
    (folder, path)
}

fn bundled(path: &Path) -> (Reader, Bundle) {
    let reader = Reader::open(path).unwrap();
    let view = View::read(&reader, Time(START)).unwrap();
    let bundle = bundle(&reader, &view.cases[0], &Anywhere, "0.1").unwrap();
    (reader, bundle)
}

/// Files by name, as any tar would list them.
fn files(archive: &[u8]) -> Vec<(String, Vec<u8>)> {
    let folder = tempfile::tempdir().unwrap();
    let file = folder.path().join("a.tar");
    std::fs::write(&file, archive).unwrap();
    let output =
        std::process::Command::new("tar").arg("xf").arg(&file).arg("-C").arg(folder.path()).output().unwrap();
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    std::fs::remove_file(&file).unwrap();
    let mut all: Vec<(String, Vec<u8>)> = std::fs::read_dir(folder.path())
        .unwrap()
        .map(|entry| entry.unwrap())
        .map(|entry| (entry.file_name().into_string().unwrap(), std::fs::read(entry.path()).unwrap()))
        .collect();
    all.sort();
    all
}

fn text(archive: &[u8], name: &str) -> String {
    let found = files(archive).into_iter().find(|(known, _)| known == name).unwrap();
    String::from_utf8(found.1).unwrap()
}

#[test]
fn evidence_is_a_tar_that_any_tar_reads_the_same_each_time_and_verifies() {
    let (_folder, path) = kept();
    let (reader, made) = bundled(&path);
    assert_eq!(bundled(&path).1, made);
    let names: Vec<String> = files(&made.archive).into_iter().map(|(name, _)| name).collect();
    let expected =
        ["findings.jsonl", "incident.json", "manifest.json", "ocsf.jsonl", "records.jsonl", "report.html"];
    assert_eq!(names, expected);
    let manifest: Value = serde_json::from_str(&text(&made.archive, "manifest.json")).unwrap();
    assert_eq!((&manifest["records"], &manifest["unsealed_records"]), (&json!(6), &json!(1)));
    let checked = verify(&made.archive, None).unwrap();
    assert_eq!((checked.faults.as_slice(), checked.files.len(), checked.blocks), (&[][..], 5, 1));
    assert_eq!(checked.manifest, made.manifest);
    let checked = verify(&made.archive, Some(&reader)).unwrap();
    assert_eq!((checked.blocks_in_ledger, checked.is_told, checked.faults.len()), (Some(1), Some(false), 0));
    assert_eq!(checked.records_in_ledger, Some(6));
    let detail = json!({ "manifest": made.manifest }).as_object().unwrap().clone();
    let export = incident::entry(Time(START + 9), "local:0", What::Exported, "i", &detail);
    Ledger::open(&path).unwrap().0.append(&[export]).unwrap();
    assert_eq!(verify(&made.archive, Some(&reader)).unwrap().is_told, Some(true));
    // Another ledger has none of its blocks.
    let other = path.with_extension("other");
    drop(Ledger::open(&other).unwrap());
    let checked = verify(&made.archive, Some(&Reader::open(&other).unwrap())).unwrap();
    assert_eq!((checked.blocks_in_ledger, checked.is_told, checked.faults.len()), (Some(0), Some(false), 1));
}

#[test]
fn the_report_has_no_markup_of_others_and_no_script() {
    let (_folder, path) = kept();
    let (_, made) = bundled(&path);
    let page = text(&made.archive, "report.html");
    for markup in
        ["<script", "<img", "<b>", "<i>", "onerror", "\u{1b}", "\u{202e}", "http://", "https://", "src="]
    {
        assert!(!page.replace("&lt;img src=x&gt;", "").contains(markup), "{markup}: {page}");
    }
    assert!(page.contains("&lt;script&gt;alert(1)&lt;/script&gt;&amp;&quot;&#39;\\u{1b}[2J\\u{202e}/w"));
}

#[test]
fn each_record_is_an_event_of_ocsf() {
    let lines = text(&MADE.archive, "ocsf.jsonl");
    let events: Vec<Value> = lines.lines().map(|line| serde_json::from_str(line).unwrap()).collect();
    let classes: Vec<u64> = events.iter().map(|event| event["class_uid"].as_u64().unwrap()).collect();
    assert_eq!(classes.get(..5), Some(&[2004, 4003, 4001, 4001, 4002][..]));
    assert_eq!(events.len(), text(&MADE.archive, "records.jsonl").lines().count());
}

#[test]
fn files_that_were_changed_removed_or_added_are_named() {
    let (_folder, path) = kept();
    let (_, made) = bundled(&path);
    let whole = files(&made.archive);
    let repacked = |change: &dyn Fn(&std::path::Path)| {
        let folder = tempfile::tempdir().unwrap();
        whole.iter().for_each(|(name, content)| std::fs::write(folder.path().join(name), content).unwrap());
        change(folder.path());
        let script = "cd \"$0\" && tar --format=ustar -cf - $(ls)";
        let output =
            std::process::Command::new("sh").args(["-c", script]).arg(folder.path()).output().unwrap();
        verify(&output.stdout, None).unwrap()
    };
    assert_eq!(repacked(&|_| {}).faults, [] as [&str; 0]);
    let changed = repacked(&|folder| std::fs::write(folder.join("findings.jsonl"), "{}\n").unwrap());
    assert_eq!(
        changed.faults,
        ["\"findings.jsonl\" was changed: it has not the hash that manifest.json says"]
    );
    let removed = repacked(&|folder| std::fs::remove_file(folder.join("records.jsonl")).unwrap());
    assert_eq!(removed.faults, ["\"records.jsonl\" is missing"]);
    let added = repacked(&|folder| std::fs::write(folder.join("more.txt"), "x").unwrap());
    assert_eq!(added.faults, ["\"more.txt\" is not in manifest.json: somebody added it"]);
    let block = repacked(&|folder| {
        let file = folder.join("manifest.json");
        let text = std::fs::read_to_string(&file).unwrap().replace("\"last\": 5", "\"last\": 6");
        std::fs::write(file, text).unwrap();
    });
    assert_eq!(block.faults, ["the hash of block 1 is not that of what the block says"]);
    for archive in [&b""[..], b"x", &[0; 1024], &made.archive[..700]] {
        assert_eq!(verify(archive, None).unwrap().faults.len(), 1);
    }
}

#[test]
fn a_record_that_was_changed_with_the_manifest_is_not_what_the_ledger_says() {
    let (_folder, path) = kept();
    let (reader, made) = bundled(&path);
    let whole: BTreeMap<String, Vec<u8>> = files(&made.archive).into_iter().collect();
    // As who knows how archives are made would do it.
    let forged = |changes: &[(&str, &str, &str)]| {
        let mut files = whole.clone();
        let mut manifest: Value = serde_json::from_slice(&files["manifest.json"]).unwrap();
        for (name, from, to) in changes {
            let text = String::from_utf8(files[*name].clone()).unwrap();
            assert!(text.contains(from), "{text}");
            let text = text.replacen(from, to, 1).into_bytes();
            let hash = aws_lc_rs::digest::digest(&aws_lc_rs::digest::SHA256, &text);
            let hash: String = hash.as_ref().iter().map(|byte| format!("{byte:02x}")).collect();
            manifest["files"][*name] = json!(hash);
            files.insert((*name).to_owned(), text);
        }
        files.insert("manifest.json".to_owned(), manifest.to_string().into_bytes());
        let folder = tempfile::tempdir().unwrap();
        files.iter().for_each(|(name, text)| std::fs::write(folder.path().join(name), text).unwrap());
        let script = "cd \"$0\" && tar --format=ustar -cf - $(ls)";
        let output =
            std::process::Command::new("sh").args(["-c", script]).arg(folder.path()).output().unwrap();
        assert_eq!(verify(&output.stdout, None).unwrap().faults, [] as [&str; 0], "by itself nothing shows");
        verify(&output.stdout, Some(&reader)).unwrap()
    };
    let record = |from, to| ("records.jsonl", from, to);
    let whole = forged(&[record("evil.example", "evil.example")]);
    assert_eq!((whole.faults.len(), whole.records_in_ledger), (0, Some(6)));
    for (changes, fault) in [
        (&[record("</title><b>evil.example", "good.example")][..], "record 1 "),
        (&[record("\"number\":3", "\"number\":4000")], "record 4000 "),
        (&[("ocsf.jsonl", "4003", "4002")], "record 2 "),
    ] {
        let checked = forged(changes);
        assert!(matches!(&checked.faults[..], [one] if one.starts_with(fault)), "{:?}", checked.faults);
        assert_eq!(checked.records_in_ledger, Some(5));
    }
}

#[test]
fn a_sum_that_grew_after_the_evidence_was_taken_is_no_fault() {
    let (_folder, path) = kept();
    let mut ledger = Ledger::open(&path).unwrap().0;
    let flow = Entry {
        time: START + 7,
        source: HOSTILE.into(),
        destination: "hub.example".into(),
        ..Entry::new(Kind::Flow, Verdict::Allow)
    };
    ledger.append(std::slice::from_ref(&flow)).unwrap();
    let (reader, made) = bundled(&path);
    assert!(text(&made.archive, "records.jsonl").contains("hub.example"));
    ledger.append(&[flow]).unwrap();
    let checked = verify(&made.archive, Some(&reader)).unwrap();
    assert_eq!((checked.faults, checked.records_in_ledger), (vec![], Some(6)));
}

static MADE: LazyLock<Bundle> = LazyLock::new(|| {
    let (_folder, path) = kept();
    bundled(&path).1
});

proptest! {
    #![proptest_config(ProptestConfig::with_cases(200))]

    /// Padding and the two zero blocks at the end carry nothing.
    #[test]
    fn no_byte_of_content_can_be_changed_unnoticed(at in any::<prop::sample::Index>(), by in 1..=255_u8) {
        let made = &*MADE;
        let mut archive = made.archive.clone();
        let at = at.index(archive.len());
        archive[at] ^= by;
        let checked = verify(&archive, None).unwrap();
        let is_noticed = !checked.faults.is_empty() || checked.manifest != made.manifest;
        prop_assert!(is_noticed || made.archive[at] == 0, "byte {at}");
    }
}

#[test]
fn a_workload_is_selected_by_labels_that_only_its_pods_have() {
    let pod = |name: &str, labels: &[(&'static str, &'static str)], is_meant| PodLabels {
        pod: name.to_owned(),
        labels: labels.iter().copied().collect::<Labels<'static>>(),
        is_meant,
    };
    let hash = ("pod-template-hash", "1");
    let (web, db, tier) = (("app", "web"), ("app", "db"), ("tier", "back"));
    type Expected = Result<&'static str, &'static str>;
    let cases: [(&str, Vec<PodLabels<'_>>, bool, Expected); 7] = [
        ("nobody", vec![pod("x/a", &[web], false)], false, Err("no pod of x/Job/w is known")),
        ("no labels", vec![pod("x/a", &[], true)], false, Err("have no label in common")),
        (
            "nothing in common",
            vec![pod("x/a", &[web], true), pod("x/b", &[db], true)],
            true,
            Err("no label in common"),
        ),
        (
            "what all have",
            vec![pod("x/a", &[web, hash], true), pod("x/b", &[web, tier], true)],
            false,
            Ok("app=web"),
        ),
        ("only a hash", vec![pod("x/a", &[hash], true)], false, Ok("pod-template-hash=1")),
        (
            "others, too",
            vec![pod("x/a", &[web], true), pod("x/b", &[web, tier], false)],
            false,
            Err("are those of x/b, too"),
        ),
        (
            "and they are meant",
            vec![pod("x/a", &[web], true), pod("x/b", &[web, tier], false)],
            true,
            Ok("app=web"),
        ),
    ];
    for (why, pods, wide, expected) in cases {
        let found = labels_of("x/Job/w", &pods, wide);
        let found = found
            .map(|labels| labels.iter().map(|(key, value)| format!("{key}={value}")).collect::<String>());
        match (found, expected) {
            (Ok(labels), Ok(expected)) => assert_eq!(labels, expected, "{why}"),
            (Err(error), Err(part)) => assert!(error.to_string().contains(part), "{why}: {error}"),
            (found, expected) => panic!("{why}: {found:?}, not {expected:?}"),
        }
    }
}

#[test]
fn an_archive_of_somebody_else_is_taken_whole_or_not_at_all() {
    let (_folder, path) = kept();
    let (_reader, made) = bundled(&path);
    assert_eq!(Bundle::read(made.archive.clone()).unwrap(), made);
    let mut changed = made.archive.clone();
    let at = changed.windows(8).position(|it| it == b"timeline").unwrap();
    changed[at] = b'T';
    let faulty = Bundle::read(changed).unwrap_err().to_string();
    assert!(faulty.contains("incident.json") && faulty.contains("was changed"), "{faulty}");
    let cut = made.archive.get(..made.archive.len() / 2).unwrap().to_vec();
    assert!(Bundle::read(cut).is_err() && Bundle::read(Vec::new()).is_err());
}
