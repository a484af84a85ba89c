//! `cofferdam calls`: what pods asked of services whose requests a rule looks at, and why it was allowed or not.
//!
//! Enters: filters. Leaves: one line per request that ended. Guarantees: as [`crate::flows`]. Does not: show what was said.

use crate::flows::{bytes, verdict};
use crate::listing::{Form, Listing};
use crate::up::calls::ApiCall;
use crate::up::protocol::{Answer, Request};
use anyhow::Result;
use clap::Args;
use policy::Verdict;
use std::fmt::Write as _;
use std::io::Write;

/// Show what pods asked of services whose requests a rule looks at, and why it was allowed or not.
#[derive(Args, Debug)]
#[command(after_help = "Examples:
  cofferdam calls --follow
  cofferdam calls --verdict deny --since 5m
  cofferdam calls --from 'train/*' --name huggingface.co
  cofferdam calls --json | jq -r 'select(.operation.verb == \"upload\") | [.from.name, .operation.resource] | @tsv'

A request is listed when it has ended. Requests are judged where a rule has operations, models, tools or credentials; other
connections to names are in `cofferdam connections`. Times are UTC. A name without * or ? matches anywhere in it.")]
pub(crate) struct CallsArgs {
    /// Only this verdict: allow or deny
    #[arg(long, value_parser = verdict)]
    verdict: Option<Verdict>,
    #[command(flatten)]
    listing: Listing,
}

/// Runs the command.
pub(crate) fn run(args: &CallsArgs, out: &mut impl Write) -> Result<()> {
    let query = args.listing.filter(args.verdict);
    let request = Request::Calls { query, after: None, follow: args.listing.follow };
    let form = Form {
        heads: ["TIME", "VERDICT", "FROM", "SERVICE", "DOES", "TO WHAT", "STATUS", "SENT", "RECEIVED", "WHY"],
        widths: [12, 7, 24, 24, 9, 28, 6, 8, 8, 0],
        record: |answer| match answer {
            Answer::Call(call) => Some(call),
            _ => None,
        },
        cells,
    };
    args.listing.show(&request, &form, out)
}

fn cells(call: &ApiCall) -> [String; 10] {
    let ApiCall { from, call, .. } = call;
    let verdict = match call.verdict {
        Verdict::Allow => "allow",
        Verdict::Deny => "DENY",
    };
    let from = from.as_ref().map_or_else(|| call.pod.to_string(), ToString::to_string);
    let operation = &call.operation;
    let what = operation.model.as_ref().or(operation.resource.as_ref());
    [
        call.time.clock(),
        verdict.into(),
        from,
        call.name.to_string(),
        operation.verb.to_string(),
        what.cloned().unwrap_or_else(|| format!("{} {}", call.method, call.path)),
        if call.status == 0 { "-".to_owned() } else { call.status.to_string() },
        bytes(call.bytes_up),
        bytes(call.bytes_down),
        why(call),
    ]
}

fn why(call: &gateway::Call) -> String {
    let mut text = call.reason.describe().to_owned();
    if let Some(lacks) = call.lacks {
        let _ = write!(text, ": {}", lacks.describe());
    }
    let _ = write!(text, " ({}: {})", call.operation.api, call.operation.reason);
    if let Some(usage) = &call.usage {
        let tokens = |tokens: Option<u64>| tokens.map_or_else(|| "?".to_owned(), |tokens| tokens.to_string());
        let _ =
            write!(text, ", {} tokens in, {} out", tokens(usage.input_tokens), tokens(usage.output_tokens));
    }
    for leak in &call.leaks {
        let _ = write!(text, ", with {} in it ({})", leak.rule, leak.layer);
    }
    for fact in &call.answers {
        let _ = write!(text, ", brings {} ({})", fact.rule, fact.what);
    }
    match (&call.rule, &call.nearest) {
        (Some(rule), _) => {
            let _ = write!(text, ": {rule}");
        }
        (None, Some(nearest)) => {
            let _ = write!(text, "; nearest: {nearest}");
        }
        (None, None) => {}
    }
    text
}
