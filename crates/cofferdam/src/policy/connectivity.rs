//! `cofferdam policy connectivity`: everything that manifests allow, as a list or a picture.

use super::Sources;
use anyhow::Result;
use clap::{Args, ValueEnum};
use compiler::connectivity::{connectivity, render};
use std::io::Write;

/// List or draw everything that manifests allow between workloads and the outside
#[derive(Args, Debug)]
#[command(after_help = "Examples:
  cofferdam policy connectivity -f examples/genai
  cofferdam policy connectivity -f examples/genai --output svg > allowed.svg
  cofferdam policy connectivity -f examples/genai --output dot | dot -Tpng > allowed.png
  cofferdam policy connectivity -f examples/genai --json | jq '.[] | select(.to | test(\"vector-db\"))'

What is not listed is denied. A workload towards itself is not listed. Pods of one workload are united.")]
pub(crate) struct ConnectivityArgs {
    #[command(flatten)]
    sources: Sources,
    /// Form of the answer
    #[arg(long, short, value_enum, default_value_t = Output::Text)]
    output: Output,
    /// The same as --output json
    #[arg(long, conflicts_with = "output")]
    json: bool,
}

/// Forms of the answer.
#[derive(Clone, Copy, Debug, ValueEnum)]
enum Output {
    /// A line per entry
    Text,
    /// A JSON array
    Json,
    /// Comma-separated values with a header
    Csv,
    /// A Graphviz graph
    Dot,
    /// A Mermaid flowchart
    Mermaid,
    /// A picture: who (rows) may reach whom (columns)
    Svg,
}

/// Runs the verb; false if an error in the manifests makes the list incomplete.
pub(super) fn run(args: &ConnectivityArgs, out: &mut impl Write) -> Result<bool> {
    let loaded = args.sources.load()?;
    let complete = super::report_errors(&loaded)?;
    let entries = connectivity(&loaded.set);
    let text = match if args.json { Output::Json } else { args.output } {
        Output::Text => render::text(&entries),
        Output::Json => render::json(&entries),
        Output::Csv => render::csv(&entries),
        Output::Dot => render::dot(&entries),
        Output::Mermaid => render::mermaid(&entries),
        Output::Svg => render::svg(&entries),
    };
    if entries.is_empty() {
        writeln!(std::io::stderr(), "nothing is allowed: no workload may reach another, or the outside")?;
        // Those that draw have a drawing of nothing, and those that list an empty list.
        if matches!(args.output, Output::Text) && !args.json {
            return Ok(complete);
        }
    }
    out.write_all(text.as_bytes())?;
    if !text.ends_with('\n') {
        writeln!(out)?;
    }
    Ok(complete)
}
