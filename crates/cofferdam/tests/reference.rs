//! The documentation is what the program says, and leads where it says.

#![expect(clippy::expect_used, reason = "helpers of tests; a panic is the failure report")]

use crate::program;
use std::collections::BTreeSet;
use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

fn root() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("../..").canonicalize().expect("the project")
}

#[test]
fn pages_made_from_the_program_are_what_it_says() {
    for page in ["cli", "configuration", "kinds", "metrics", "reasons"] {
        let printed = Command::new(env!("CARGO_BIN_EXE_cofferdam"))
            .args(["reference", page])
            .output()
            .expect("it runs");
        assert!(printed.status.success(), "{}", String::from_utf8_lossy(&printed.stderr));
        let printed = String::from_utf8(printed.stdout).expect("UTF-8");
        let kept = fs::read_to_string(root().join(format!("docs/reference/{page}.md"))).unwrap_or_default();
        let differs = printed.lines().zip(kept.lines()).find(|(printed, kept)| printed != kept);
        assert!(
            printed == kept,
            "run `cofferdam reference {page} > docs/reference/{page}.md`; first: {differs:?}"
        );
    }
}

/// Pages of the documentation, and those that lead to it.
fn pages() -> Vec<PathBuf> {
    let mut found = ["README.md", "CONTRIBUTING.md", "ARCHITECTURE.md", "bench/README.md"]
        .map(|page| root().join(page))
        .to_vec();
    let mut folders = vec![root().join("docs")];
    while let Some(folder) = folders.pop() {
        for entry in fs::read_dir(folder).expect("a folder") {
            let path = entry.expect("an entry").path();
            if path.is_dir() {
                folders.push(path);
            } else if path.extension().is_some_and(|it| it == "md") {
                found.push(path);
            }
        }
    }
    found.sort();
    found
}

/// Where links of a page lead: what stands between `](` and `)`, outside code.
fn links(text: &str) -> Vec<String> {
    let mut found = Vec::new();
    let mut is_code = false;
    for line in text.lines() {
        if line.trim_start().starts_with("```") {
            is_code = !is_code;
        }
        if is_code {
            continue;
        }
        // Every second part is code.
        for prose in line.split('`').step_by(2) {
            let targets = prose.split("](").skip(1).filter_map(|rest| rest.split(')').next());
            found.extend(targets.map(ToOwned::to_owned));
        }
    }
    found
}

/// Where a link may lead within a page: its headings, as GitHub and mdBook name them.
fn headings(text: &str) -> BTreeSet<String> {
    let (mut found, mut is_code) = (BTreeSet::new(), false);
    for line in text.lines() {
        if line.trim_start().starts_with("```") {
            is_code = !is_code;
        }
        let Some(heading) = line.strip_prefix('#').filter(|_| !is_code) else { continue };
        let heading = heading.trim_start_matches('#').trim().to_lowercase().replace(' ', "-");
        found.insert(heading.chars().filter(|c| c.is_alphanumeric() || "-_".contains(*c)).collect());
    }
    found
}

#[test]
fn every_link_within_the_documentation_leads_somewhere() {
    let mut wrong = Vec::new();
    let mut looked_at = 0;
    for page in pages() {
        let text = fs::read_to_string(&page).expect("a page");
        for link in links(&text) {
            if link.starts_with("http") {
                continue;
            }
            looked_at += 1;
            let (path, heading) = link.split_once('#').unwrap_or((&link, ""));
            let to = if path.is_empty() { page.clone() } else { page.parent().expect("a folder").join(path) };
            let is_there = || {
                heading.is_empty() || headings(&fs::read_to_string(&to).expect("a page")).contains(heading)
            };
            if !to.exists() || !is_there() {
                wrong.push(format!("{}: {link}", page.strip_prefix(root()).expect("below it").display()));
            }
        }
    }
    assert!(wrong.is_empty(), "{wrong:#?}");
    assert!(looked_at > 100, "only {looked_at} links were found");
}

/// mdBook leaves out what its summary does not name.
#[test]
fn every_page_is_in_the_summary() {
    let docs = root().join("docs");
    let summary = fs::read_to_string(docs.join("SUMMARY.md")).expect("a summary");
    let named: BTreeSet<PathBuf> = links(&summary).into_iter().map(PathBuf::from).collect();
    let below = pages().into_iter().filter_map(|page| page.strip_prefix(&docs).map(Path::to_owned).ok());
    let there: BTreeSet<PathBuf> = below.filter(|page| page != Path::new("SUMMARY.md")).collect();
    assert_eq!(named, there);
}

/// Files of a folder, and of those below it.
fn files(folder: &Path, found: &mut Vec<String>) {
    for entry in fs::read_dir(folder).expect("a folder") {
        let path = entry.expect("an entry").path();
        match path.is_dir() {
            true => files(&path, found),
            false => found.push(path.to_str().expect("UTF-8").to_owned()),
        }
    }
}

#[test]
fn sources_that_pages_for_engineers_name_are_there() {
    let mut sources = Vec::new();
    for folder in ["crates", "tests/fuzzing", "tests/apiserver"] {
        files(&root().join(folder), &mut sources);
    }
    let is_life =
        |page: &PathBuf| page.file_name().is_some_and(|name| name.to_string_lossy().starts_with("life-of-"));
    let of_engineers = ["ARCHITECTURE.md", "docs/threat-model.md"].map(|page| root().join(page));
    let (mut wrong, mut looked_at) = (Vec::new(), 0);
    for page in pages().into_iter().filter(is_life).chain(of_engineers) {
        let text = fs::read_to_string(&page).expect("a page");
        for line in text.lines() {
            let code = line.split('`').skip(1).step_by(2);
            for named in code.filter(|it| it.ends_with(".rs") && !it.contains(['*', ' '])) {
                looked_at += 1;
                if !sources.iter().any(|path| path.ends_with(&format!("/{named}"))) {
                    wrong.push(format!("{}: {named}", page.display()));
                }
            }
        }
    }
    assert!(wrong.is_empty(), "{wrong:#?}");
    assert!(looked_at > 100, "only {looked_at} names were found");
}

/// The blocks of YAML of a page, each without the indent that it has there.
pub(crate) fn blocks(text: &str) -> Vec<String> {
    let blocks = text.split("```yaml\n").skip(1).filter_map(|rest| rest.split_once("```"));
    let plain = blocks.map(|(block, _)| {
        let indent = block.len() - block.trim_start_matches(' ').len();
        block.lines().map(|line| line.get(indent..).unwrap_or_default()).collect::<Vec<_>>().join("\n")
    });
    plain.collect()
}

/// Whole objects among the blocks of YAML of a page.
fn objects(text: &str) -> Vec<String> {
    blocks(text).into_iter().filter(|block| block.starts_with("apiVersion:")).collect()
}

const EGRESS: &str =
    "apiVersion: cofferdam.dev/v1alpha1\nkind: EgressPolicy\nmetadata: {name: p, namespace: n}\nspec:\n";
const RULE: &str =
    "  egress:\n    - action: Allow\n      to: [{domains: [a.example]}]\n      ports: [{port: 443}]\n";
const INFERENCE: &str = "apiVersion: cofferdam.dev/v1alpha1\nkind: InferencePolicy\nmetadata: {name: p, namespace: n}\nspec:\n  targetRefs: [{group: gateway.networking.k8s.io, kind: Gateway, name: g}]\n";

/// The policy that a block is a part of, by its first word; `None`: it is of something else.
fn whole(block: &str) -> Option<String> {
    let first = block.split([':', ' ']).find(|word| !word.is_empty())?;
    let (before, indent) = match first {
        "-" => (format!("{EGRESS}  egress:\n"), 4),
        "egress" => (EGRESS.to_owned(), 2),
        "operations" => (format!("{EGRESS}{RULE}"), 6),
        "leaks" | "answers" | "capture" => {
            let looks =
                if block.contains("operations:") { "" } else { "      operations: [{verbs: [call]}]\n" };
            (format!("{EGRESS}{RULE}{looks}"), 6)
        }
        "limits" | "responses" | "server" => (INFERENCE.to_owned(), 2),
        "definitions" => (format!("{INFERENCE}  server: mcp\n  mcp:\n"), 4),
        _ => return None,
    };
    let indent = " ".repeat(indent);
    Some(block.lines().fold(before, |text, line| format!("{text}{indent}{line}\n")))
}

/// With what begin whole objects, and parts of what others read: pods, rights, steps of a CI, and values, which `chart_pages.rs` tries.
const OF_OTHERS: [&str; 10] = [
    "apiVersion",
    "env",
    "rules",
    "steps",
    "# values of the chart",
    "collector",
    "egressGateway",
    "fleet",
    "ingressGateway",
    "ledger",
];

#[test]
fn every_part_of_a_policy_that_a_page_shows_is_read_without_an_error() {
    let (mut seen, mut wrong) = (0, Vec::new());
    let folder = tempfile::tempdir().unwrap();
    let file = folder.path().join("part.yaml");
    for page in pages() {
        for block in blocks(&fs::read_to_string(&page).unwrap()) {
            let Some(policy) = whole(&block) else {
                if !OF_OTHERS.iter().any(|begin| block.starts_with(begin)) {
                    wrong.push(format!("{}: of what is this a part?\n{block}", page.display()));
                }
                continue;
            };
            seen += 1;
            fs::write(&file, &policy).unwrap();
            let said = program::run(["policy", "check", "-f", file.to_str().unwrap()]);
            if said.code != Some(0) {
                wrong.push(format!("{}: {}{}\n{policy}", page.display(), said.out, said.err));
            }
        }
    }
    assert!(wrong.is_empty(), "{}", wrong.join("\n"));
    assert!(seen > 10, "{seen} parts");
}

#[test]
fn every_object_that_a_page_shows_is_read_without_an_error() {
    let (mut seen, mut wrong) = (0, Vec::new());
    for page in pages() {
        let found = objects(&fs::read_to_string(&page).unwrap());
        if found.is_empty() {
            continue;
        }
        seen += found.len();
        let folder = tempfile::tempdir().unwrap();
        for (number, object) in found.iter().enumerate() {
            // One by one: a page may show an object twice, as it is and as it should be.
            let file = folder.path().join(format!("{number}.yaml"));
            fs::write(&file, object).unwrap();
            let said = program::run(["policy", "check", "-f", file.to_str().unwrap()]);
            // A kind that was mistyped may be taken for somebody else's.
            let is_ours = !["rbac.authorization.k8s.io/", "kind: Rollout", "kind: ReleaseKeys"]
                .iter()
                .any(|other| object.contains(other));
            if said.code != Some(0) || is_ours && said.out.contains("[unknown-kind]") {
                wrong.push(format!("{}: {}{}", page.display(), said.out, said.err));
            }
        }
    }
    assert!(seen > 20, "{seen} objects");
    assert!(wrong.is_empty(), "{wrong:#?}");
}

#[test]
fn the_first_policy_of_the_first_page_works_as_it_is_written() {
    let page = root().join("docs/how-to/write-a-first-policy.md");
    let folder = tempfile::tempdir().unwrap();
    for (number, object) in objects(&fs::read_to_string(page).unwrap()).iter().enumerate() {
        fs::write(folder.path().join(format!("{number}.yaml")), object).unwrap();
    }
    let folder = folder.path().to_str().unwrap();
    let said = program::run(["policy", "check", "-f", folder]);
    assert!(said.out.contains("0 errors, 1 warning in 6 objects from 3 files"), "{}", said.out);
    let asked = ["--from", "shop/web-0", "--to", "shop/db-0", "--port", "5432"];
    let said = program::run(["policy", "explain", "-f", folder].into_iter().chain(asked));
    assert_eq!(said.code, Some(0), "{}{}", said.out, said.err);
    let said = program::run(["policy", "connectivity", "-f", folder]);
    assert_eq!(said.out, "shop/web[Deployment] -> shop/db[StatefulSet] : TCP 5432\n");
}
