//! `cofferdam tools`: which tools pods called by MCP, and why it was allowed or not.
//!
//! Enters: filters. Leaves: one line per request that calls tools and ended. Guarantees: as [`crate::flows`]. Does not: show
//! with what tools were called, or calls that a model only proposes.

use crate::calls::{mark, why};
use crate::flows::verdict;
use crate::form::Clock;
use crate::listing::{Form, Listing};
use crate::up::calls::ApiCall;
use crate::up::protocol::{Answer, Request};
use anyhow::Result;
use clap::Args;
use observe::Pattern;
use policy::Verdict;
use std::io::Write;
use std::time::Duration;

/// MCP tool calls: which tool, allowed or denied, and why.
#[derive(Args, Debug)]
#[command(after_help = "Examples:
  cofferdam tools --follow
  cofferdam tools --verdict deny --since 5m
  cofferdam tools --from 'agents/*' --tool 'delete_*'
  cofferdam tools -o jsonl | jq -r '.operation.tools[]' | sort | uniq -c

A call is listed when it has ended, where a rule looks at requests; what else is asked of such services is in `cofferdam calls`.
A name without * or ? matches anywhere in it.")]
pub(crate) struct ToolsArgs {
    /// Only this verdict: allow or deny
    #[arg(long, value_parser = verdict)]
    verdict: Option<Verdict>,
    /// Which tool: part of its name, or a glob such as 'delete_*'
    #[arg(long, value_name = "NAME")]
    tool: Option<String>,
    #[command(flatten)]
    listing: Listing,
}

/// Runs the command.
pub(crate) fn run(args: &ToolsArgs, out: &mut impl Write) -> Result<()> {
    let mut query = args.listing.filter(args.verdict);
    query.tool = Some(Pattern(args.tool.as_deref().unwrap_or("*").into()));
    let request = Request::Calls { query, after: None, follow: args.listing.follow };
    let form = Form {
        heads: ["TIME", "VERDICT", "FROM", "SERVER", "TOOL", "STATUS", "TOOK", "WHY"],
        widths: [12, 7, 24, 24, 20, 6, 8, 0],
        record: |answer| match answer {
            Answer::Call(call) => Some(call),
            _ => None,
        },
        cells,
        mark,
        line: None,
    };
    args.listing.show(&request, &form, out)
}

fn cells(call: &ApiCall, clock: &Clock) -> [String; 8] {
    let ApiCall { from, call, .. } = call;
    let verdict = match call.verdict {
        Verdict::Allow => "allow",
        Verdict::Deny => "DENY",
    };
    [
        clock.show(call.time),
        verdict.into(),
        from.as_ref().map_or_else(|| call.pod.to_string(), ToString::to_string),
        call.name.to_string(),
        call.operation.tools.join(" "),
        if call.status == 0 { "-".to_owned() } else { call.status.to_string() },
        format!("{:.1?}", Duration::from_micros(call.duration_micros)),
        why(call),
    ]
}
