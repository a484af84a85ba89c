//! The OWASP Core Rule Set's own regression tests, and what two other engines say of the same requests.
//!
//! The rules and cases are not part of this repository: `COFFERDAM_SHARED` names the folder that has `data/waf`, and
//! without it the folder `shared` beside the repository is tried. Where neither is there, the tests say so and end.

#![expect(
    clippy::panic,
    clippy::print_stdout,
    clippy::unwrap_used,
    reason = "a test's helpers fail the test, or say why they did not run it"
)]

use std::path::{Path, PathBuf};
use std::sync::OnceLock;

use waf::Profile;
use waf::cases::{self, Bench, Case};

/// Stages that an HTTP server in front decides: it, and not the rules, sees how a request was framed.
const FRAMING: [&str; 5] = [
    "REQUEST-920-PROTOCOL-ENFORCEMENT/920181/1/0",
    "REQUEST-920-PROTOCOL-ENFORCEMENT/920430/",
    "REQUEST-920-PROTOCOL-ENFORCEMENT/920620/1/0",
    "REQUEST-920-PROTOCOL-ENFORCEMENT/920640/5/0",
    "REQUEST-921-PROTOCOL-ATTACK/921140/1/0",
];

fn shared() -> Option<PathBuf> {
    let default = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../../shared");
    let folder = std::env::var_os("COFFERDAM_SHARED").map_or(default, PathBuf::from).join("data/waf");
    if !folder.is_dir() {
        println!(
            "NOT RUN: {} is not there; COFFERDAM_SHARED names the folder that has data/waf",
            folder.display()
        );
        return None;
    }
    Some(folder)
}

fn files(folder: &Path) -> Vec<(String, Vec<u8>)> {
    let mut found = Vec::new();
    for folder in [folder.to_owned(), folder.join("rules")] {
        for entry in std::fs::read_dir(folder).unwrap() {
            let path = entry.unwrap().path();
            if path.is_file() {
                found.push((path.display().to_string(), std::fs::read(&path).unwrap()));
            }
        }
    }
    found
}

fn bench(profile: Profile) -> Option<Bench> {
    static FILES: OnceLock<Vec<(String, Vec<u8>)>> = OnceLock::new();
    let folder = shared()?;
    let files = FILES.get_or_init(|| files(&folder.join("crs-4.28.0")));
    Some(Bench::load(files, profile).unwrap_or_else(|errors| panic!("{errors}")))
}

fn cases(name: &str) -> Vec<Case> {
    cases::read(&std::fs::read_to_string(shared().unwrap().join(name)).unwrap()).unwrap()
}

#[test]
fn every_regression_stage_passes_but_those_of_framing_and_blocks_what_other_engines_block() {
    let Some(bench) = bench(Profile::Crs) else { return };
    let tally = bench.tally(&cases("crs-4.28.0-regression.jsonl"));
    let other = |key: &str| !FRAMING.iter().any(|framing| key.starts_with(framing));
    let failures: Vec<_> = tally.failures.iter().filter(|(key, _)| other(key)).collect();
    assert!(failures.is_empty(), "{failures:#?}");
    assert!(tally.passed >= 3_600, "{} passed", tally.passed);
    assert!(tally.disagreements.is_empty(), "{:#?}", tally.disagreements);
}

#[test]
fn ordinary_prompts_are_judged_as_other_engines_judge_them() {
    let Some(bench) = bench(Profile::Crs) else { return };
    let tally = bench.tally(&cases("benign-prompts.jsonl"));
    assert!(tally.disagreements.is_empty(), "{:#?}", tally.disagreements);
    assert!(tally.blocked_agree > 400);
}

#[test]
fn prose_of_ai_requests_is_left_to_guards_and_nothing_else_is() {
    let Some(bench) = bench(Profile::FieldAware) else { return };
    let prompts = cases("benign-prompts.jsonl");
    let tally = bench.tally(&prompts);
    assert!(tally.blocked * 200 <= prompts.len(), "{} of {} blocked", tally.blocked, prompts.len());
    let others = cases("crs-4.28.0-regression.jsonl");
    let sample: Vec<Case> = others.into_iter().step_by(5).collect();
    let tally = bench.tally(&sample);
    assert!(tally.disagreements.is_empty(), "{:#?}", tally.disagreements);
}
