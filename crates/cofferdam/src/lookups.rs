//! `cofferdam dns`: what pods asked of DNS, as a table or as JSON lines.
//!
//! Enters: filters. Leaves: one line per query, oldest first; with `--follow` as they come.
//! Guarantees: as [`crate::flows`]. Does not: ask any resolver.

use crate::form::Clock;
use crate::ledger_cmd::entry_cells;
use crate::listing::{Form, Listing, entry_json};
use crate::remote::Kept;
use crate::up::lookup::Lookup;
use crate::up::protocol::{Answer, Request};
use ::ledger::Kind;
use anyhow::Result;
use clap::Args;
use dns::{Reason, Verdict};
use std::fmt::Write as _;
use std::io::Write;
use std::time::Duration;

/// DNS queries: asked, answered or refused, and why.
#[derive(Args, Debug)]
#[command(after_help = "Examples:
  cofferdam dns --follow
  cofferdam dns --verdict deny --since 5m
  cofferdam dns --from 'train/*' --name '*.huggingface.co'
  cofferdam dns --json | jq -r 'select(.verdict == \"deny\") | .name'
  cofferdam dns --verdict deny --since 1d --api http://127.0.0.1:8080 --token token    of a whole cluster

With --api these are entries of the ledger there, as `cofferdam ledger show` has them: allowed ones are summed up. A name without * or ? matches anywhere in it.")]
pub(crate) struct DnsArgs {
    /// Only this verdict: allow, deny, or fail (allowed, and nobody could answer)
    #[arg(long, value_parser = verdict)]
    verdict: Option<Verdict>,
    #[command(flatten)]
    listing: Listing,
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
pub(crate) fn run(args: &DnsArgs, out: &mut impl Write) -> Result<()> {
    if let Some(remote) = args.listing.remote()? {
        let verdict = args.verdict.map(|verdict| match verdict {
            Verdict::Allow => ::ledger::Verdict::Allow,
            Verdict::Deny => ::ledger::Verdict::Deny,
            Verdict::Fail => ::ledger::Verdict::Fail,
        });
        let kept = Kept {
            heads: ["TIME", "NODE", "VERDICT", "COUNT", "FROM", "NAME", "WHY"],
            widths: [27, 12, 7, 5, 24, 28, 0],
            cells: |stored, clock| {
                let [_, time, node, _, verdict, count, from, name, _, why] =
                    entry_cells(stored, &clock.dated());
                [time, node, verdict, count, from, name, why]
            },
            json: entry_json,
        };
        return args.listing.show_kept(&remote, (Kind::Dns, verdict, None), &kept, out);
    }
    let query = args.listing.filter(args.verdict);
    let request = Request::Lookups { query, after: None, follow: args.listing.follow };
    let form = Form {
        heads: ["TIME", "VERDICT", "FROM", "NAME", "TYPE", "ANSWER"],
        widths: [12, 7, 24, 28, 5, 0],
        record: |answer| match answer {
            Answer::Lookup(lookup) => Some(lookup),
            _ => None,
        },
        cells,
        mark: |it| (format!("dns:{}", it.sequence), it.query.verdict == Verdict::Deny),
        line: None,
    };
    args.listing.show(&request, &form, out)
}

pub(crate) fn cells(lookup: &Lookup, clock: &Clock) -> [String; 6] {
    let query = &lookup.query;
    let verdict = match query.verdict {
        Verdict::Allow => "allow",
        Verdict::Deny => "DENY",
        Verdict::Fail => "FAIL",
    };
    let from = lookup.from.as_ref().map_or_else(|| query.pod.to_string(), ToString::to_string);
    [
        clock.show(query.time),
        verdict.into(),
        from,
        query.name.to_string(),
        query.kind.to_string(),
        answer(lookup),
    ]
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
    if query.explicit {
        text.push_str(", for the explicit proxy");
    }
    // What was known, or was refused, took no time.
    if query.micros > 0 {
        let _ = write!(text, ", {:.1?}", Duration::from_micros(query.micros));
    }
    text
}
