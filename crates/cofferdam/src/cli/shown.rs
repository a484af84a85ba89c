//! Commands that the help and the documentation show are commands, with options that there are.

use super::{Cli, program};
use clap::Parser;
use clap::error::{ContextKind, ContextValue, ErrorKind};
use std::fs;
use std::path::{Path, PathBuf};

/// A command as it is shown.
struct Shown {
    words: Vec<String>,
    /// It leaves something out, or only names the command.
    is_part: bool,
}

/// The commands of one line of a shell, each as its words, without what they read from and write to.
fn shell(line: &str) -> Vec<Vec<String>> {
    let (mut commands, mut words, mut word, mut quote) = (Vec::new(), Vec::new(), None::<String>, None);
    let mut is_file = false;
    for c in line.chars().chain([' ']) {
        match (quote, c) {
            (Some(open), _) if c == open => quote = None,
            (Some(_), _) => word.get_or_insert_default().push(c),
            (None, '\'' | '"') => {
                quote = Some(c);
                word.get_or_insert_default();
            }
            (None, '#') if word.is_none() => break,
            (None, ' ' | '|' | ';' | '&' | '>') => {
                // Of `2> file` the number is none of the command's words.
                let ended = word.take().filter(|word| c != '>' || word.parse::<u8>().is_err());
                words.extend(ended.filter(|_| !std::mem::take(&mut is_file)));
                match c {
                    ' ' => {}
                    '>' => is_file = true,
                    _ => commands.push(std::mem::take(&mut words)),
                }
            }
            (None, _) => word.get_or_insert_default().push(c),
        }
    }
    commands.push(words);
    commands
}

/// The command of ours among these words.
fn ours(mut words: Vec<String>, is_named: bool) -> Option<Shown> {
    let at = words.iter().position(|word| {
        ["cofferdam", "target/debug/cofferdam", "target/release/cofferdam"].contains(&word.as_str())
    })?;
    let before = words.get(..at)?;
    // Also in a pod.
    let is_in_pod = before.last().is_some_and(|word| word == "--");
    if !is_in_pod && !before.iter().all(|word| word == "sudo" || word == "timeout" || word.contains('=')) {
        return None;
    }
    let mut words = words.split_off(at);
    let all = words.len();
    words.retain(|word| word != "..." && word != "…");
    (words.len() > 1).then_some(Shown { is_part: is_named || words.len() < all, words })
}

/// Lines of a text that are commands, with those that go on on the next one put together. Behind two blanks it is said what they do.
fn commands(text: &str) -> Vec<Shown> {
    let joined = text.lines().map(str::trim).collect::<Vec<_>>().join("\n").replace("\\\n", "");
    let lines = joined.lines().filter_map(|line| line.trim_start_matches("$ ").split("  ").next());
    lines.flat_map(shell).filter_map(|words| ours(words, false)).collect()
}

/// Commands of a page: in blocks of code as they are to be typed, and in its sentences as they are named.
fn of_page(text: &str) -> Vec<Shown> {
    let (mut blocks, mut prose, mut is_code) = (String::new(), String::new(), false);
    for line in text.lines() {
        if line.trim_start().starts_with("```") {
            is_code = !is_code;
        } else {
            let into = if is_code { &mut blocks } else { &mut prose };
            into.push_str(line);
            into.push(if is_code { '\n' } else { ' ' });
        }
    }
    // Every second part is code.
    let named = prose.split('`').skip(1).step_by(2).flat_map(shell);
    let named = named.filter_map(|words| ours(words, true));
    commands(&blocks).into_iter().chain(named).collect()
}

/// Whether an error is only that something was left out.
fn is_of_parts(error: &clap::Error) -> bool {
    match error.kind() {
        ErrorKind::MissingRequiredArgument
        | ErrorKind::DisplayHelpOnMissingArgumentOrSubcommand
        | ErrorKind::DisplayHelp => true,
        ErrorKind::InvalidValue => match error.get(ContextKind::InvalidValue) {
            Some(ContextValue::String(value)) => value.is_empty() || value.ends_with(['.', '…']),
            _ => true,
        },
        ErrorKind::ValueValidation => match error.get(ContextKind::InvalidValue) {
            Some(ContextValue::String(value)) => value.ends_with(['.', '…']),
            _ => false,
        },
        _ => false,
    }
}

fn wrong(from: &str, commands: Vec<Shown>) -> Vec<String> {
    let parse = |Shown { words, is_part }: Shown| match Cli::try_parse_from(&words) {
        Ok(_) => None,
        Err(error) if is_part && is_of_parts(&error) => None,
        Err(error) => Some(format!("{from}: {}: {error}", words.join(" "))),
    };
    commands.into_iter().filter_map(parse).collect()
}

#[test]
fn what_is_typed_and_what_is_named_are_found() {
    let page = "1. One:\n\n   ```console\n   $ cofferdam flows --to a | jq . > out 2> err   # all\n   $ kubectl -n n exec p -- cofferdam \\\n       status --json\n   $ echo 'cofferdam x' | cofferdam classify - && cofferdam agent ... --log\n   ```\n\nThen `cofferdam\nup -f DIR`.\n";
    let found: Vec<(String, bool)> =
        of_page(page).into_iter().map(|it| (it.words.join(" "), it.is_part)).collect();
    let expected = [
        ("cofferdam flows --to a", false),
        ("cofferdam status --json", false),
        ("cofferdam classify -", false),
        ("cofferdam agent --log", true),
        ("cofferdam up -f DIR", true),
    ];
    assert_eq!(found, expected.map(|(words, is_part)| (words.to_owned(), is_part)));
    assert_eq!(wrong("page", of_page(page)).len(), 1, "an agent has no --log");
}

#[test]
fn every_command_has_an_example_that_is_a_command() {
    let (mut wrongs, mut seen) = (Vec::new(), 0);
    let mut command = program();
    command.build();
    let mut waiting = vec![command];
    while let Some(command) = waiting.pop() {
        let help = command.get_after_help().map(ToString::to_string).unwrap_or_default();
        let found = commands(&help);
        let is_typed = !command.has_subcommands() && !command.is_hide_set() && command.get_name() != "help";
        if is_typed && found.is_empty() {
            wrongs
                .push(format!("{}: its help has no example", command.get_display_name().unwrap_or_default()));
        }
        seen += found.len();
        wrongs.extend(wrong(command.get_name(), found));
        waiting.extend(
            command.get_subcommands().filter(|it| !it.is_hide_set() && it.get_name() != "help").cloned(),
        );
    }
    assert!(wrongs.is_empty(), "{}", wrongs.join("\n"));
    assert!(seen > 100, "only {seen} examples were found");
}

#[test]
fn every_command_in_the_documentation_is_one() {
    let root = Path::new(env!("CARGO_MANIFEST_DIR")).join("../..");
    let mut pages: Vec<PathBuf> =
        ["README.md", "CONTRIBUTING.md", "deploy/chart/README.md", "examples/fleet/README.md"]
            .map(|page| root.join(page))
            .to_vec();
    for folder in ["docs", "docs/how-to", "docs/reference"] {
        let entries = fs::read_dir(root.join(folder)).unwrap().map(|entry| entry.unwrap().path());
        pages.extend(entries.filter(|path| path.extension().is_some_and(|it| it == "md")));
    }
    let (mut wrongs, mut seen) = (Vec::new(), 0);
    for page in pages {
        let found = of_page(&fs::read_to_string(&page).unwrap());
        seen += found.len();
        wrongs.extend(wrong(&page.display().to_string(), found));
    }
    assert!(wrongs.is_empty(), "{}", wrongs.join("\n"));
    assert!(seen > 500, "only {seen} commands were found");
}
