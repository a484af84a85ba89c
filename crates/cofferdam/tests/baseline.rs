//! `cofferdam install baseline`: what is printed passes `policy check`, and is what its case verifies.

#![expect(clippy::expect_used, reason = "a test's helpers fail the test")]

use crate::program::{Folder, run};
use std::fs;
use std::path::Path;

/// Every option. The case `cof__shipped-baseline` ends with what these print.
const OPTIONS: &str = "install baseline --api-server 203.0.113.6/32 --api-server 2001:db8::6/128 --allow-namespace ops \
                       --resolver 169.254.20.10/32 --resolver 168.63.129.16/32 --resolver 169.254.169.254/32";

fn printed(arguments: &str) -> String {
    let said = run(arguments.split_whitespace());
    assert_eq!(said.code, Some(0), "{}", said.err);
    said.out
}

fn case() -> String {
    let path = "../../tests/cases/cof__shipped-baseline/manifests.yaml";
    fs::read_to_string(Path::new(env!("CARGO_MANIFEST_DIR")).join(path)).expect("the case is there")
}

#[test]
fn the_case_is_about_what_is_printed() {
    let policies = printed(OPTIONS);
    let case = case();
    assert!(case.ends_with(&policies), "the case's manifests do not end with `cofferdam {OPTIONS}`");
}

#[test]
fn it_passes_the_check_but_for_denying_dns_of_pods_too() {
    let case = case();
    let (world, _) = case.split_once("---\n# Isolated").expect("the world comes first");
    for arguments in ["install baseline", OPTIONS] {
        let folder = Folder::with("baseline.yaml", printed(arguments));
        folder.write("world.yaml", world);
        let said = folder.policy("check", "");
        assert_eq!(said.code, Some(0), "{}{}", said.out, said.err);
        assert!(said.out.contains("0 errors, 4 warnings"), "{}", said.out);
        // A resolver in a pod is one past the cluster's, too.
        let of_pods = said.out.matches("contains pods, for example x/a").count();
        assert_eq!(of_pods, 4, "{}", said.out);
        let verdicts = ["8.8.8.8", "203.0.113.10"].map(|to| folder.verdict("x/a", to, 443));
        assert_eq!(verdicts, ["deny", "allow"]);
    }
}
