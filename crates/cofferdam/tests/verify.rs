//! `cofferdam policy verify`: the cases pass, and a wrong expectation fails.

#![expect(clippy::expect_used, clippy::print_stderr, reason = "a test's helpers fail the test")]

use std::path::{Path, PathBuf};
use std::process::{Command, Output};

fn root() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("../..")
}

/// The public cases, or a loud word that they are missing.
fn shared(test: &str) -> Option<PathBuf> {
    let shared = std::env::var_os("COFFERDAM_SHARED").map_or_else(|| root().join("../shared"), PathBuf::from);
    let conformance = shared.join("conformance");
    if !conformance.is_dir() {
        eprintln!("NOT RUN: {test}: {} is not there (set COFFERDAM_SHARED)", conformance.display());
        return None;
    }
    Some(conformance)
}

fn verify(folder: &Path, enforcer: &str) -> Output {
    Command::new(env!("CARGO_BIN_EXE_cofferdam"))
        .args(["policy", "verify", "--enforcer", enforcer])
        .arg(folder)
        .output()
        .expect("the program runs")
}

fn last_line(output: &Output) -> String {
    String::from_utf8_lossy(&output.stdout).lines().last().unwrap_or_default().to_owned()
}

fn passes(folder: &Path, enforcer: &str) {
    let output = verify(folder, enforcer);
    let said = String::from_utf8_lossy(&output.stdout) + String::from_utf8_lossy(&output.stderr);
    assert_eq!(output.status.code(), Some(0), "{enforcer}: {said}");
    assert!(last_line(&output).ends_with(" passed, 0 failed, 0 skipped"), "{said}");
}

#[test]
fn cases_of_our_own_pass_in_user_space() {
    passes(&root().join("tests/cases"), "reference");
    passes(&root().join("tests/cases"), "compiled");
}

#[test]
fn cases_of_others_pass_in_user_space() {
    let Some(conformance) = shared("cases_of_others_pass_in_user_space") else { return };
    passes(&conformance, "reference");
    passes(&conformance, "compiled");
}

#[test]
fn kernel_passes_our_own_cases_with_real_packets() {
    if !lab::privilege::has_capabilities() {
        eprintln!("NOT RUN: kernel_passes_our_own_cases_with_real_packets needs root");
        return;
    }
    passes(&root().join("tests/cases"), "kernel");
}

const MANIFESTS: &str = "
apiVersion: v1
kind: Namespace
metadata: {name: x}
---
apiVersion: v1
kind: Pod
metadata: {name: a, namespace: x}
status: {podIP: 10.1.0.1}
---
apiVersion: v1
kind: Pod
metadata: {name: b, namespace: x, labels: {closed: 'true'}}
status: {podIP: 10.1.0.2}
---
apiVersion: networking.k8s.io/v1
kind: NetworkPolicy
metadata: {name: closed, namespace: x}
spec:
  podSelector: {matchLabels: {closed: 'true'}}
";

/// A case of two checks, of which the second expects the opposite of the truth.
fn wrong_case(wrong: &str) -> tempfile::TempDir {
    let folder = tempfile::tempdir().expect("a folder");
    let (from, to) = if wrong == "allow" { ("a", "b") } else { ("b", "a") };
    let expected = format!(
        r#"{{"id": "cof__wrong", "family": "cof", "mode": "pairs", "expect": [
            {{"from": "pod:x/a", "to": "pod:x/b", "port": 80, "protocol": "TCP", "verdict": "deny"}},
            {{"from": "pod:x/{from}", "to": "pod:x/{to}", "port": 81, "protocol": "UDP", "verdict": "{wrong}"}}]}}"#
    );
    std::fs::write(folder.path().join("manifests.yaml"), MANIFESTS).expect("written");
    std::fs::write(folder.path().join("expected.json"), expected).expect("written");
    folder
}

#[test]
fn a_wrong_expectation_fails_with_every_enforcer() {
    for wrong in ["allow", "deny"] {
        let folder = wrong_case(wrong);
        for enforcer in ["reference", "compiled", "kernel"] {
            if enforcer == "kernel" && !lab::privilege::has_capabilities() {
                eprintln!(
                    "NOT RUN: a_wrong_expectation_fails_with_every_enforcer with the kernel needs root"
                );
                continue;
            }
            let output = verify(folder.path(), enforcer);
            let said = String::from_utf8_lossy(&output.stdout) + String::from_utf8_lossy(&output.stderr);
            assert_eq!(output.status.code(), Some(1), "{enforcer}: {said}");
            assert!(said.contains("UDP 81: expected"), "{enforcer}: {said}");
            assert!(!said.contains("TCP 80: expected"), "{enforcer}: {said}");
            assert_eq!(last_line(&output), "0 passed, 1 failed, 0 skipped");
        }
    }
}

/// A policy that cannot be read is judged as what it is, closed, and a case that cannot be read fails alone.
#[test]
fn one_case_that_cannot_be_read_keeps_no_other_from_being_judged() {
    let folder = tempfile::tempdir().expect("a folder");
    let case = |name: &str, manifests: &str, mode: &str| {
        let expected = format!(
            r#"{{"id": "{name}", "family": "odd", "mode": "{mode}", "expect": [
                {{"from": "pod:x/a", "to": "pod:x/b", "port": 80, "protocol": "TCP", "verdict": "deny"}}]}}"#
        );
        let folder = folder.path().join(name);
        std::fs::create_dir(&folder).expect("made");
        std::fs::write(folder.join("manifests.yaml"), manifests).expect("written");
        std::fs::write(folder.join("expected.json"), expected).expect("written");
    };
    case("odd__good", MANIFESTS, "pairs");
    let broken = MANIFESTS.replace("podSelector:", "ingress: [{from: [{galaxies: {}}]}]\n  podSelector:");
    case("odd__broken", &broken, "pairs");
    case("odd__unknown", MANIFESTS, "feelings");
    for enforcer in ["reference", "compiled"] {
        let output = verify(folder.path(), enforcer);
        let said = String::from_utf8_lossy(&output.stdout) + String::from_utf8_lossy(&output.stderr);
        assert_eq!(output.status.code(), Some(1), "{enforcer}: {said}");
        assert_eq!(last_line(&output), "2 passed, 1 failed, 0 skipped", "{said}");
        assert!(said.contains("odd__unknown") && said.contains("\"feelings\" is unknown"), "{said}");
    }
}

#[test]
fn a_folder_without_cases_is_an_error_that_says_what_a_case_is() {
    let empty = tempfile::tempdir().expect("a folder");
    let output = verify(empty.path(), "reference");
    assert_eq!(output.status.code(), Some(2));
    assert!(String::from_utf8_lossy(&output.stderr).contains("expected.json"));
}
