//! The page of figures: those of each role, as its page for Prometheus has them.
//!
//! Leaves: Markdown. Guarantees: a figure that a role serves is here, for the same functions put it on both pages.

use super::{cell, heading};
use crate::metrics::{Figure, Page};
use crate::{agent, collect, control, egress_gateway, ingress_gateway, rollout};
use ::policy::Generation;
use anyhow::Result;
use std::collections::BTreeMap;
use std::io::Write;

/// Each role that serves figures.
fn roles() -> [(&'static str, Vec<Figure>); 6] {
    let nothing = Generation(0);
    [
        ("agent, cofferdam up", Page::describing(|page| agent::figures(page, &Default::default()))),
        (
            "controller",
            Page::describing(|page| {
                control::figures(page, &Default::default(), &Default::default(), &BTreeMap::new());
            }),
        ),
        (
            "collector",
            Page::describing(|page| {
                collect::figures(page, &Default::default(), &Default::default(), &[], &Default::default())
            }),
        ),
        (
            "egress-gateway",
            Page::describing(|page| {
                egress_gateway::figures(page, nothing, false, &Default::default(), None);
            }),
        ),
        ("ingress-gateway", Page::describing(ingress_gateway::described)),
        ("rollouts", Page::describing(rollout::described)),
    ]
}

pub(super) fn page(out: &mut impl Write) -> Result<()> {
    heading(
        out,
        "Metrics",
        "metrics",
        "What each role answers at `/metrics` where `--health` says, in the OpenMetrics text format. Counters count since the process started. \
         No label has a value that comes from traffic. What single connections, queries and requests were is in the \
         [ledger](../how-to/keep-a-ledger.md).",
    )?;
    for (role, figures) in roles() {
        writeln!(
            out,
            "\n## cofferdam {role}\n\n| metric | type | label | unit | meaning |\n| --- | --- | --- | --- | --- |"
        )?;
        for figure in figures {
            let label = figure.label.map(|label| format!("`{label}`")).unwrap_or_default();
            let only = figure.only.map(|only| format!(" ({only})")).unwrap_or_default();
            writeln!(
                out,
                "| `{}` | {} | {label} | {} | {}{only} |",
                figure.name,
                figure.kind,
                figure.unit(),
                cell(figure.help)
            )?;
        }
    }
    Ok(())
}
