//! `cofferdam tools`: which tools pods called by MCP, and why it was allowed or not.
//!
//! Enters: filters. Leaves: one line per request that calls tools and ended. Guarantees: as [`crate::flows`]. Does not: show
//! with what tools were called, or calls that a model only proposes.

use crate::calls::{kept_why, mark, whole_json, why};
use crate::flows::verdict;
use crate::form::Clock;
use crate::ledger_cmd::entry_cells;
use crate::listing::{Form, Listing, kept_verdict, tools};
use crate::remote::{Kept, whole};
use crate::up::calls::ApiCall;
use crate::up::lookup::Filter;
use crate::up::protocol::{Answer, Request};
use ::ledger::{Kind, Stored};
use anyhow::Result;
use clap::Args;
use observe::Pattern;
use policy::Verdict;
use serde_json::Value;
use std::io::Write;
use std::time::Duration;

/// MCP tool calls: which tool, allowed or denied, and why.
#[derive(Args, Debug)]
#[command(after_help = "Examples:
  cofferdam tools --follow
  cofferdam tools --verdict deny --since 5m
  cofferdam tools --from 'agents/*' --tool 'delete_*'
  cofferdam tools -o jsonl | jq -r '.operation.tools[]' | sort | uniq -c
  cofferdam tools --since 1d --api http://127.0.0.1:8080 --token token    of a whole cluster, by its collector

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
    let tool = Some(Pattern(args.tool.as_deref().unwrap_or("*").into()));
    if let Some(remote) = args.listing.remote()? {
        let kept = Kept {
            heads: HEADS,
            widths: [27, 7, 24, 24, 20, 6, 8, 0],
            cells: |stored, clock| match whole::<ApiCall>(stored) {
                Some(call) => cells(&call, &clock.dated()),
                None => request_cells(stored, &clock.dated()),
            },
            json: whole_json,
        };
        let verdict = args.verdict.map(kept_verdict);
        return args.listing.show_kept(&remote, (Kind::AiCall, verdict, tool), &kept, out);
    }
    let query = Filter { tool, ..args.listing.filter(args.verdict) };
    let request = Request::Calls { query, after: None, follow: args.listing.follow };
    let form = Form {
        heads: HEADS,
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

const HEADS: [&str; 8] = ["TIME", "VERDICT", "FROM", "SERVER", "TOOL", "STATUS", "TOOK", "WHY"];

/// A request to a service inside, of which only what every record has is known.
fn request_cells(stored: &Stored, clock: &Clock) -> [String; 8] {
    let [_, time, _, _, verdict, _, from, to, _, _] = entry_cells(stored, clock);
    let record = whole::<Value>(stored);
    let names: Vec<&str> = tools(record.as_ref()).collect();
    let none = || "-".to_owned();
    [time, verdict, from, to, names.join(" "), none(), none(), kept_why(stored)]
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
