//! `cofferdam api`: what can be asked over HTTP.

use anyhow::Result;
use clap::Subcommand;
use std::io::Write;

/// Show what can be asked over HTTP, of `up --serve` and `agent --serve`
#[derive(Debug, Subcommand)]
pub(crate) enum ApiCommand {
    /// Print the OpenAPI 3.1 document
    #[command(after_help = "Example:\n  cofferdam api openapi > api.json")]
    Openapi,
}

/// Runs `cofferdam api`.
pub(crate) fn run(command: &ApiCommand, out: &mut impl Write) -> Result<()> {
    match command {
        ApiCommand::Openapi => {
            serde_json::to_writer_pretty(&mut *out, &api::document())?;
            writeln!(out)?;
        }
    }
    Ok(())
}
