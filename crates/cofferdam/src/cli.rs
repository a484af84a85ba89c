//! The command line: which commands there are, and where each is done.

use crate::agent::AgentArgs;
use crate::catalog::CatalogCommand;
use crate::control::ControllerArgs;
use crate::flows::FlowsArgs;
use crate::install::InstallCommand;
use crate::lab_cmd::LabArgs;
use crate::lookups::DnsArgs;
use crate::policy::PolicyCommand;
use crate::status::StatusArgs;
use crate::up::UpArgs;
use anyhow::Result;
use clap::{Parser, Subcommand};
use std::io::Write;
use std::path::PathBuf;

/// Policies that real packets obey.
#[derive(Parser, Debug)]
#[command(version, about)]
struct Cli {
    #[command(subcommand)]
    command: Command,
}

#[derive(Subcommand, Debug)]
enum Command {
    /// Check, explain and verify policies without enforcing them
    #[command(subcommand)]
    Policy(PolicyCommand),
    Up(UpArgs),
    Controller(ControllerArgs),
    Agent(AgentArgs),
    #[command(subcommand)]
    Install(InstallCommand),
    #[command(subcommand)]
    Catalog(CatalogCommand),
    Flows(FlowsArgs),
    Dns(DnsArgs),
    Status(StatusArgs),
    Lab(LabArgs),
    /// The process that answers pods' DNS; started by others, which give it its sockets
    #[command(name = crate::up::keeper::COMMAND, hide = true)]
    DnsProxy,
    /// Remove every rule that `up` put in force on this machine: all traffic passes from then on
    #[command(
        after_help = "Example:\n  sudo cofferdam uninstall\n\nNothing else removes them: they outlive `up` on purpose."
    )]
    Uninstall {
        /// Local socket of the `up` or agent that put them in force, to find its DNS proxy
        #[arg(long, value_name = "PATH")]
        socket: Option<PathBuf>,
    },
}

/// Runs the command that the arguments name. False: the answer is no, or not everything is in force.
pub(crate) fn run(out: &mut impl Write) -> Result<bool> {
    match Cli::parse().command {
        Command::Policy(command) => crate::policy::run(&command, out),
        Command::Up(args) => crate::up::run(&args),
        Command::Controller(args) => crate::control::run(&args).map(|()| true),
        Command::Install(command) => crate::install::run(&command, out).map(|()| true),
        Command::Catalog(command) => crate::catalog::run(&command, out).map(|()| true),
        Command::Agent(args) => crate::agent::run(&args).map(|()| true),
        Command::Flows(args) => crate::flows::run(args, out).map(|()| true),
        Command::Dns(args) => crate::lookups::run(args, out).map(|()| true),
        Command::DnsProxy => crate::up::keeper::proxy().map(|()| true),
        Command::Status(args) => crate::status::run(&args, out),
        Command::Lab(args) => crate::lab_cmd::run(args, out),
        Command::Uninstall { socket } => crate::up::uninstall(socket, out).map(|()| true),
    }
}
