//! `cofferdam policy`: what manifests mean, without enforcing them.

mod verify;

use anyhow::Result;
use clap::Subcommand;
use std::io::Write;

/// The verbs.
#[derive(Subcommand, Debug)]
pub(crate) enum PolicyCommand {
    Verify(verify::VerifyArgs),
}

/// Runs a verb. False: the answer is no.
pub(crate) fn run(command: &PolicyCommand, out: &mut impl Write) -> Result<bool> {
    match command {
        PolicyCommand::Verify(args) => verify::run(args, out),
    }
}
