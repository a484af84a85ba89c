//! The public conformance cases, read: those of family `val` must be accepted or rejected as they say, and the
//! manifests of every other family must be free of errors.
//!
//! The cases are data outside this repository: `COFFERDAM_SHARED`, or `../shared` beside it.

#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, clippy::print_stderr, missing_docs)]

use std::path::{Path, PathBuf};

fn cases() -> Vec<PathBuf> {
    let default = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../../shared");
    let root = std::env::var_os("COFFERDAM_SHARED").map_or(default, PathBuf::from).join("conformance");
    let Ok(entries) = std::fs::read_dir(&root) else {
        eprintln!("NOT RUN: no conformance cases at {}; set COFFERDAM_SHARED", root.display());
        return Vec::new();
    };
    let mut cases: Vec<_> = entries.map(|entry| entry.unwrap().path()).filter(|path| path.is_dir()).collect();
    cases.sort();
    assert!(cases.len() > 100, "only {} cases at {}", cases.len(), root.display());
    cases
}

fn read(case: &Path) -> crds::Read {
    let path = case.join("manifests.yaml");
    crds::read_objects(&path.display().to_string(), &std::fs::read(&path).unwrap())
}

fn is_validation(case: &Path) -> bool {
    case.file_name().unwrap().to_string_lossy().starts_with("val__")
}

fn errors(read: &crds::Read) -> Vec<String> {
    read.diagnostics.iter().filter(|d| d.is_error()).map(ToString::to_string).collect()
}

#[test]
fn cases_of_validation_are_judged_as_the_api_judges_them() {
    let mut wrong = Vec::new();
    let mut ran = 0;
    for case in cases().iter().filter(|case| is_validation(case)) {
        let text = std::fs::read_to_string(case.join("expected.json")).unwrap();
        let expected: serde_json::Value = serde_json::from_str(&text).unwrap();
        let read = read(case);
        for expect in expected.get("expect").unwrap().as_array().unwrap() {
            ran += 1;
            let valid = expect.get("verdict").unwrap() == "valid";
            if valid != errors(&read).is_empty() {
                wrong.push(format!("{}: valid={valid}, got {:?}", case.display(), errors(&read)));
            }
        }
    }
    eprintln!("{ran} verdicts of family val");
    assert!(wrong.is_empty(), "{}", wrong.join("\n"));
}

#[test]
fn cases_of_every_other_family_read_without_errors() {
    let mut wrong = Vec::new();
    let mut objects = 0;
    for case in cases().iter().filter(|case| !is_validation(case)) {
        let read = read(case);
        objects += read.objects.len();
        wrong.extend(errors(&read));
    }
    eprintln!("{objects} objects");
    assert!(wrong.is_empty(), "{} errors:\n{}", wrong.len(), wrong.join("\n"));
}
