//! `cofferdam findings`: what somebody should look at.
//!
//! Enters: filters. Leaves: one line per finding. Guarantees: as [`crate::flows`]. Does not: act on them.

use crate::flows::bytes;
use crate::listing::{Form, Listing};
use crate::up::passage::Finding;
use crate::up::protocol::{Answer, Request};
use anyhow::Result;
use clap::Args;
use std::io::Write;

/// Show what somebody should look at: limits and budgets that were reached, and what leaked.
#[derive(Args, Debug)]
#[command(after_help = "Examples:
  cofferdam findings --since 1d
  cofferdam findings --follow --json

Times are UTC.")]
pub(crate) struct FindingsArgs {
    #[command(flatten)]
    listing: Listing,
}

/// Runs the command.
pub(crate) fn run(args: &FindingsArgs, out: &mut impl Write) -> Result<()> {
    let query = args.listing.filter(None);
    let request = Request::Findings { query, after: None, follow: args.listing.follow };
    let form = Form {
        heads: ["TIME", "FROM", "TO", "BYTES", "WHAT"],
        widths: [12, 24, 24, 8, 0],
        record: |answer| match answer {
            Answer::Finding(finding) => Some(finding),
            _ => None,
        },
        cells,
        line: None,
    };
    args.listing.show(&request, &form, out)
}

fn cells(finding: &Finding) -> [String; 5] {
    let to = finding.to.as_deref().unwrap_or("any").to_owned();
    let rule = finding.rule.as_ref().map(|rule| format!(": {rule}")).unwrap_or_default();
    let what = finding.what.as_ref().map(|what| format!(": {what}")).unwrap_or_default();
    let what = format!("{}{what}{rule}", finding.kind.describe());
    [finding.time.clock(), finding.from.to_string(), to, bytes(finding.bytes), what]
}
