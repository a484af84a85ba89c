//! `cofferdam api`: what can be asked over HTTP.

use anyhow::{Context, Result};
use clap::Subcommand;
use std::fs;
use std::io::Write;
use std::path::PathBuf;

/// Show the document of the HTTP API
#[derive(Debug, Subcommand)]
pub(crate) enum ApiCommand {
    /// Print the OpenAPI 3.1 document
    #[command(after_help = "Example:\n  cofferdam api openapi > api.json")]
    Openapi,
    /// Print the token by which a process that serves lets people in: whoever may read its file is the admin there
    #[command(
        after_help = "Example:\n  kubectl -n cofferdam-system exec statefulset/cofferdam-collector -- cofferdam api token /var/lib/cofferdam/ledger.token"
    )]
    Token {
        /// The file, which the process names when it starts
        file: PathBuf,
    },
}

/// Runs `cofferdam api`.
pub(crate) fn run(command: &ApiCommand, out: &mut impl Write) -> Result<()> {
    match command {
        ApiCommand::Openapi => {
            serde_json::to_writer_pretty(&mut *out, &api::document())?;
            writeln!(out)?;
        }
        ApiCommand::Token { file } => {
            let text = fs::read_to_string(file).with_context(|| format!("reading {}", file.display()))?;
            writeln!(out, "{}", text.trim())?;
        }
    }
    Ok(())
}
