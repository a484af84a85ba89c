//! What pages of the documentation say of the chart is taken by it: blocks of values, and what `--set` gives.

#![expect(clippy::unwrap_used, reason = "helpers of tests; a panic is the failure report")]

use crate::cluster_chart::{ROOT, helm, run, text};
use crate::reference::blocks;
use std::fs;
use std::path::{Path, PathBuf};

/// With what blocks of values begin.
const BEGINS: [&str; 6] =
    ["# values of the chart", "fleet:", "collector:", "ingressGateway:", "ledger:", "egressGateway:"];

fn pages() -> Vec<PathBuf> {
    let folder = fs::read_dir(Path::new(ROOT).join("docs/how-to")).unwrap();
    let pages = folder.map(|entry| entry.unwrap().path());
    pages.chain([Path::new(ROOT).join("README.md")]).collect()
}

/// What commands of helm set, without what is about a cluster. Files hold what the chart does not look into.
fn set(text: &str, file: &str) -> Vec<Vec<String>> {
    let joined = text.lines().map(str::trim).collect::<Vec<_>>().join("\n").replace("\\\n", "");
    let commands = joined.lines().filter(|line| line.starts_with("$ helm ") && line.contains("deploy/chart"));
    let mut found = Vec::new();
    for command in commands {
        let mut words = command.split(' ').filter(|word| !word.is_empty()).map(|word| word.replace('\'', ""));
        let mut arguments = Vec::new();
        while let Some(word) = words.next().filter(|word| word != "#") {
            if !word.starts_with("--set") {
                continue;
            }
            let value = words.next().unwrap();
            let value = match word.as_str() {
                "--set-file" => format!("{}={file}", value.split_once('=').unwrap().0),
                _ => value,
            };
            arguments.extend([word, value]);
        }
        found.push(arguments);
    }
    found
}

#[test]
fn chart_takes_what_pages_show_of_its_values() {
    let Some(helm) = helm() else { return };
    let folder = tempfile::tempdir().unwrap();
    let file = folder.path().join("values.yaml");
    let path = file.to_str().unwrap();
    let (mut seen, mut wrong) = (0, Vec::new());
    let mut try_with = |page: &Path, more: &[&str]| {
        seen += 1;
        let said = run(
            &helm,
            &[&["template", "cofferdam", "chart", "--namespace", "cofferdam-system"], more].concat(),
        );
        if !said.status.success() {
            wrong.push(format!("{}: {more:?}: {}", page.display(), String::from_utf8_lossy(&said.stderr)));
        }
    };
    for page in pages() {
        let shown = fs::read_to_string(&page).unwrap();
        for block in blocks(&shown).iter().filter(|block| BEGINS.iter().any(|begin| block.starts_with(begin)))
        {
            fs::write(&file, block).unwrap();
            try_with(&page, &["--values", path]);
        }
        for arguments in set(&shown, path).iter().filter(|arguments| !arguments.is_empty()) {
            let arguments: Vec<&str> = arguments.iter().map(String::as_str).collect();
            try_with(&page, &arguments);
        }
    }
    assert!(wrong.is_empty(), "{}", wrong.join("\n"));
    assert!(seen > 15, "only {seen} were found");
    let refused = run(&helm, &["template", "cofferdam", "chart", "--set", "ledgre.enabled=true"]);
    assert!(!refused.status.success(), "{}", text(&refused));
}
