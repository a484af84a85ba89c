//! `cofferdam dns`: what pods asked of DNS, as a table or as JSON lines.
//!
//! Enters: filters. Leaves: one line per query, oldest first; with `--follow` as they come.
//! Guarantees: as [`crate::flows`]. Does not: ask any resolver.

use crate::flows::{Table, moment, printable};
use crate::up::client::ask;
use crate::up::lookup::{Lookup, LookupQuery};
use crate::up::protocol::{Answer, Request};
use anyhow::{Result, bail};
use clap::Args;
use dns::{Reason, Verdict};
use observe::{Pattern, Time};
use std::fmt::Write as _;
use std::io::Write;
use std::path::PathBuf;
use std::time::Duration;

/// Show what pods asked of DNS, what they were told, and why.
#[derive(Args, Debug)]
#[command(after_help = "Examples:
  cofferdam dns --follow
  cofferdam dns --verdict deny --since 5m
  cofferdam dns --from 'train/*' --name '*.huggingface.co'
  cofferdam dns --json | jq -r 'select(.verdict == \"deny\") | .name'

Times are UTC. A name without * or ? matches anywhere in it.")]
pub(crate) struct DnsArgs {
    /// Go on with queries as they come
    #[arg(long, short = 'F')]
    follow: bool,
    /// Only this verdict: allow, deny, or fail (allowed, and nobody could answer)
    #[arg(long, value_parser = verdict)]
    verdict: Option<Verdict>,
    /// Who asked: part of a name or address, or a glob such as 'prod/*'
    #[arg(long, value_name = "NAME")]
    from: Option<String>,
    /// What was asked for: part of it, or a glob
    #[arg(long, value_name = "NAME")]
    name: Option<String>,
    /// Not older: 90s, 5m, 2h, 1d, or a time like 2026-11-23T21:06:27Z
    #[arg(long, value_name = "WHEN", value_parser = moment)]
    since: Option<Time>,
    /// Not younger: written like --since
    #[arg(long, value_name = "WHEN", value_parser = moment)]
    until: Option<Time>,
    /// At most so many, the newest ones
    #[arg(long, value_name = "N")]
    limit: Option<usize>,
    /// One JSON object per line
    #[arg(long)]
    json: bool,
    /// Local socket of the running `up` or agent
    #[arg(long, value_name = "PATH")]
    socket: Option<PathBuf>,
}

fn verdict(text: &str) -> Result<Verdict, String> {
    match text {
        "allow" => Ok(Verdict::Allow),
        "deny" => Ok(Verdict::Deny),
        "fail" => Ok(Verdict::Fail),
        _ => Err("use allow, deny or fail".into()),
    }
}

/// Runs the command.
pub(crate) fn run(args: DnsArgs, out: &mut impl Write) -> Result<()> {
    let query = LookupQuery {
        verdict: args.verdict,
        from: args.from.map(|text| Pattern(text.into())),
        name: args.name.map(|text| Pattern(text.to_ascii_lowercase().into())),
        since: args.since,
        until: args.until,
        limit: args.limit,
    };
    let answers = ask(args.socket.as_deref(), &Request::Lookups { query, after: None, follow: args.follow })?;
    let mut table = Table::<6>::new([12, 7, 24, 28, 5]);
    let headers = ["TIME", "VERDICT", "FROM", "NAME", "TYPE", "ANSWER"];
    let mut headed = args.json;
    for answer in answers {
        match answer? {
            Answer::Lookup(lookup) if args.json => writeln!(out, "{}", serde_json::to_string(&*lookup)?)?,
            Answer::Lookup(lookup) => {
                if !std::mem::replace(&mut headed, true) {
                    write!(out, "{}", table.row(headers.map(str::to_owned)))?;
                }
                write!(out, "{}", table.row(cells(&lookup).map(|cell| printable(&cell))))?;
            }
            Answer::Missed(count) if args.json => writeln!(out, "{{\"missed\":{count}}}")?,
            Answer::Missed(count) => {
                writeln!(out, "... {count} records were evicted before they could be read")?;
            }
            Answer::End { .. } => break,
            Answer::Record(_)
            | Answer::Settled { .. }
            | Answer::Status(_)
            | Answer::Lab { .. }
            | Answer::Probe(_)
            | Answer::Error(_) => bail!("the answer is not about DNS"),
        }
        if args.follow {
            out.flush()?;
        }
    }
    Ok(())
}

fn cells(lookup: &Lookup) -> [String; 6] {
    let query = &lookup.query;
    let verdict = match query.verdict {
        Verdict::Allow => "allow",
        Verdict::Deny => "DENY",
        Verdict::Fail => "FAIL",
    };
    let from = lookup.from.as_ref().map_or_else(|| query.pod.to_string(), ToString::to_string);
    [query.time.clock(), verdict.into(), from, query.name.to_string(), query.kind.to_string(), answer(lookup)]
}

/// What the pod was told, or why it was not.
fn answer(lookup: &Lookup) -> String {
    /// Addresses that are worth the room.
    const SHOWN: usize = 3;
    let query = &lookup.query;
    let mut text = match query.reason {
        Reason::Answered | Reason::Cached if query.addresses.is_empty() => query.rcode.to_string(),
        Reason::Answered | Reason::Cached => String::new(),
        reason => reason.describe().to_owned(),
    };
    if let Some(rule) = query.rule.as_ref().filter(|_| query.verdict == Verdict::Deny) {
        let _ = write!(text, " by {rule}");
    }
    let shown: Vec<_> = query.addresses.iter().take(SHOWN).map(ToString::to_string).collect();
    if !shown.is_empty() {
        let gap = if text.is_empty() { "" } else { ": " };
        let _ = write!(text, "{gap}{}", shown.join(" "));
    }
    if query.addresses.len() > SHOWN {
        let _ = write!(text, " and {} more", query.addresses.len() - SHOWN);
    }
    if query.learned {
        text.push_str(", opened");
    }
    let _ = write!(text, ", {:.1?}", Duration::from_micros(query.micros));
    text
}
