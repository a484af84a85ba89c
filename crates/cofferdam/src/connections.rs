//! `cofferdam connections`: what pods opened to names, for whom it was, and why it passed or not.
//!
//! Enters: filters. Leaves: one line per connection that ended. Guarantees: as [`crate::flows`]. Does not: show connections
//! that no name opened; those are flows.

use crate::flows::{bytes, verdict};
use crate::form::Clock;
use crate::ledger_cmd::entry_cells;
use crate::listing::{Form, Listing, entry_json, kept_verdict};
use crate::remote::Kept;
use crate::up::passage::Passage;
use crate::up::protocol::{Answer, Request};
use ::ledger::Kind;
use anyhow::Result;
use clap::Args;
use policy::Verdict;
use std::fmt::Write as _;
use std::io::Write;

/// Connections to names: for which name, passed or not, and why.
#[derive(Args, Debug)]
#[command(after_help = "Examples:
  cofferdam connections --follow
  cofferdam connections --verdict deny --since 5m
  cofferdam connections --from 'train/*' --name '*.huggingface.co'
  cofferdam connections --json | jq -r 'select(.reason == \"name-mismatch\") | .claim.name'
  cofferdam connections --verdict deny --since 1d --api http://127.0.0.1:8080 --token token    of a whole cluster

A connection is listed when it has ended; with --api, as `cofferdam ledger show` has it, and allowed ones summed up. Connections to addresses that no name opened are in `cofferdam flows`.
A name without * or ? matches anywhere in it.")]
pub(crate) struct ConnectionsArgs {
    /// Only this verdict: allow or deny
    #[arg(long, value_parser = verdict)]
    verdict: Option<Verdict>,
    #[command(flatten)]
    listing: Listing,
}

/// Runs the command.
pub(crate) fn run(args: &ConnectionsArgs, out: &mut impl Write) -> Result<()> {
    if let Some(remote) = args.listing.remote()? {
        let kept = Kept {
            heads: ["TIME", "NODE", "VERDICT", "COUNT", "FROM", "FOR", "SENT", "RECEIVED", "WHY"],
            widths: [27, 12, 7, 5, 24, 28, 8, 8, 0],
            cells: |stored, clock| {
                let [_, time, node, _, verdict, count, from, to, _, why] =
                    entry_cells(stored, &clock.dated());
                let (sent, received) = (bytes(stored.entry.sent), bytes(stored.entry.received));
                let whom = format!("{to}:{}", stored.entry.port);
                [time, node, verdict, count, from, whom, sent, received, why]
            },
            json: entry_json,
        };
        let verdict = args.verdict.map(kept_verdict);
        return args.listing.show_kept(&remote, (Kind::Tls, verdict, None), &kept, out);
    }
    let query = args.listing.filter(args.verdict);
    let request = Request::Passages { query, after: None, follow: args.listing.follow };
    let form = Form {
        heads: ["TIME", "VERDICT", "FROM", "FOR", "SENT", "RECEIVED", "WHY"],
        widths: [12, 7, 24, 28, 8, 8, 0],
        record: |answer| match answer {
            Answer::Passage(passage) => Some(passage),
            _ => None,
        },
        cells,
        mark: |it| (format!("tls:{}", it.sequence), it.record.verdict == Verdict::Deny),
        line: None,
    };
    args.listing.show(&request, &form, out)
}

pub(crate) fn cells(passage: &Passage, clock: &Clock) -> [String; 7] {
    let record = &passage.record;
    let verdict = match record.verdict {
        Verdict::Allow => "allow",
        Verdict::Deny => "DENY",
    };
    let from = passage.from.as_ref().map_or_else(|| record.pod.to_string(), ToString::to_string);
    let whom = format!("{}:{}", passage.whom(), record.destination.port());
    let whom = passage.asked().map_or(whom, ToOwned::to_owned);
    [
        clock.show(record.time),
        verdict.into(),
        from,
        whom,
        bytes(record.bytes_up),
        bytes(record.bytes_down),
        why(passage),
    ]
}

fn why(passage: &Passage) -> String {
    let record = &passage.record;
    let mut text = record.reason.describe().to_owned();
    if record.claim.name.is_some() && record.explicit.is_none() {
        let _ = write!(text, " ({})", record.destination.ip());
    }
    match (&record.rule, &record.nearest) {
        (Some(rule), _) => {
            let _ = write!(text, ": {rule}");
        }
        (None, Some(nearest)) => {
            let _ = write!(text, "; what is allowed there: {nearest}");
        }
        (None, None) => {}
    }
    if let Some(explicit) = &record.explicit {
        let to = record.destination.ip();
        let _ = write!(text, ", by the explicit proxy ({to}, request {})", explicit.request_id);
    }
    if let Some(replica) = record.via {
        let _ = write!(text, ", left by {replica}");
    }
    if record.verdict == Verdict::Allow {
        let _ = write!(text, ", {}", record.end);
    }
    text
}
