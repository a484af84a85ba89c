//! `cofferdam waf verify`: files of requests with what must be said to them, run and counted.

use super::Rules;
use anyhow::{Context, Result};
use clap::Args;
use serde_json::json;
use std::fs;
use std::io::Write;
use std::path::PathBuf;
use waf::cases::{self, Tally};

/// Failures that are printed.
const SHOWN: usize = 20;

/// Run requests through a rule set and count where it says what it must
#[derive(Args, Debug)]
#[command(after_help = "Examples:
  cofferdam waf verify --rules crs-4.28.0 regression.jsonl
  cofferdam waf verify --rules crs-4.28.0 --profile field-aware --json benign.jsonl

A file has one JSON object a line: method, uri, ver, headers and rheaders (lists of pairs), body and rbody in base64, status,
key, file, and exp and noexp: ids of rules that must and must not match, when all paranoia levels are on and nothing is blocked.
blocked_pl1 says, for each of some engines, whether it blocks the request in the stock set-up (paranoia level 1, threshold 5).

Printed are a table by file of rules, the first failures, and the count. --json adds a last line: passed, failed; blocked: how
many requests the stock set-up blocks; blocked_agree: to how many lines it says what blocked_pl1 says, among them blocked_split
where the engines named there differ and it says what one of them does.

Exit code: 0 all passed; 1 some failed; 2 it could not be run.")]
pub(crate) struct VerifyArgs {
    #[command(flatten)]
    rules: Rules,
    /// Add a line of JSON with the counts
    #[arg(long)]
    json: bool,
    /// Files of requests
    #[arg(required = true, value_name = "FILE.jsonl")]
    files: Vec<PathBuf>,
}

pub(super) fn run(args: &VerifyArgs, out: &mut impl Write) -> Result<bool> {
    let bench = args.rules.load()?;
    let mut all = Vec::new();
    for file in &args.files {
        let name = file.display();
        let text = fs::read_to_string(file).with_context(|| format!("cannot read {name}"))?;
        all.extend(cases::read(&text).with_context(|| format!("{name} is no file of requests"))?);
    }
    let tally = bench.tally(&all);
    print(&tally, out)?;
    if args.json {
        let line = json!({
            "passed": tally.passed, "failed": tally.failed, "blocked": tally.blocked,
            "blocked_agree": tally.blocked_agree + tally.blocked_split, "blocked_split": tally.blocked_split,
        });
        writeln!(out, "{line}")?;
    }
    Ok(tally.failed == 0)
}

fn print(tally: &Tally, out: &mut impl Write) -> Result<()> {
    let width = tally.files.keys().map(String::len).max().unwrap_or_default().max(5);
    writeln!(out, "{:width$}  passed  failed", "RULES")?;
    for (file, (passed, failed)) in &tally.files {
        writeln!(out, "{file:width$}  {passed:>6}  {failed:>6}")?;
    }
    for (key, verdict) in tally.failures.iter().take(SHOWN) {
        let list = |ids: &[u64]| ids.iter().map(u64::to_string).collect::<Vec<_>>().join(" ");
        writeln!(
            out,
            "{key}: missing [{}], not expected [{}]",
            list(&verdict.missing),
            list(&verdict.extra)
        )?;
    }
    for (key, blocked) in tally.disagreements.iter().take(SHOWN) {
        writeln!(
            out,
            "{key}: {}, unlike the engines named",
            if *blocked { "blocked" } else { "not blocked" }
        )?;
    }
    writeln!(out, "{} passed, {} failed", tally.passed, tally.failed)?;
    Ok(())
}
