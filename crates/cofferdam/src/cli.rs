//! The command line: which commands there are, and where each is done.

use crate::agent::AgentArgs;
use crate::api_cmd::ApiCommand;
use crate::calls::CallsArgs;
use crate::catalog::CatalogCommand;
use crate::classify::ClassifyArgs;
use crate::clusters::ClustersCommand;
use crate::collect::CollectorArgs;
use crate::completion::CompletionArgs;
use crate::connections::ConnectionsArgs;
use crate::control::ControllerArgs;
use crate::detect::DetectArgs;
use crate::egress_gateway::EgressGatewayArgs;
use crate::explain::RecordArgs;
use crate::findings::FindingsArgs;
use crate::flows::FlowsArgs;
use crate::guard::GuardCommand;
use crate::incident_cmd::{HuntArgs, IncidentCommand};
use crate::ingress_gateway::IngressGatewayArgs;
use crate::install::InstallCommand;
use crate::lab_cmd::LabArgs;
use crate::ledger_cmd::{EdgesArgs, LedgerCommand, TopArgs};
use crate::lookups::DnsArgs;
use crate::policy::PolicyCommand;
use crate::prices::PricesCommand;
use crate::reference::ReferenceCommand;
use crate::release::ReleaseCommand;
use crate::rollout::{RolloutCommand, RolloutsArgs};
use crate::shadow_cmd::ShadowArgs;
use crate::status::StatusArgs;
use crate::tools::ToolsArgs;
use crate::up::UpArgs;
use crate::up::dns_proxy::DnsProxy;
use crate::up::gateway_proxy::GatewayProxy;
use crate::up::keeper::{Kind, process};
use crate::waf::WafCommand;
use anyhow::Result;
use clap::error::{ContextKind, ContextValue, ErrorKind};
use clap::{CommandFactory, FromArgMatches, Parser, Subcommand};
use std::io::Write;
use std::path::PathBuf;

/// Network policy and AI traffic control for GenAI workloads, explained.
#[derive(Parser, Debug)]
#[command(version)]
struct Cli {
    #[command(subcommand)]
    command: Command,
}

#[derive(Subcommand, Debug)]
enum Command {
    /// Check, explain and verify policies; enforces nothing
    #[command(subcommand)]
    Policy(PolicyCommand),
    Up(UpArgs),
    Controller(ControllerArgs),
    Agent(AgentArgs),
    EgressGateway(EgressGatewayArgs),
    IngressGateway(IngressGatewayArgs),
    Collector(CollectorArgs),
    #[command(subcommand)]
    Install(InstallCommand),
    #[command(subcommand)]
    Catalog(CatalogCommand),
    Classify(ClassifyArgs),
    #[command(subcommand)]
    Prices(PricesCommand),
    Flows(FlowsArgs),
    Dns(DnsArgs),
    Connections(ConnectionsArgs),
    Calls(CallsArgs),
    Tools(ToolsArgs),
    Findings(FindingsArgs),
    Explain(RecordArgs),
    Edges(EdgesArgs),
    Top(TopArgs),
    #[command(subcommand)]
    Ledger(LedgerCommand),
    Status(StatusArgs),
    Shadow(ShadowArgs),
    Lab(LabArgs),
    #[command(subcommand)]
    Waf(WafCommand),
    #[command(subcommand)]
    Guard(GuardCommand),
    Detect(DetectArgs),
    #[command(subcommand)]
    Release(ReleaseCommand),
    #[command(subcommand)]
    Rollout(RolloutCommand),
    Rollouts(RolloutsArgs),
    #[command(subcommand)]
    Clusters(ClustersCommand),
    #[command(subcommand)]
    Api(ApiCommand),
    #[command(subcommand)]
    Incident(IncidentCommand),
    Hunt(HuntArgs),
    Completion(CompletionArgs),
    #[command(subcommand, hide = true)]
    Reference(ReferenceCommand),
    /// The process that answers pods' DNS; started by others, which give it its sockets
    #[command(name = DnsProxy::COMMAND, hide = true)]
    DnsProxy,
    /// The process that holds connections to their names; started by others, which give it its sockets
    #[command(name = GatewayProxy::COMMAND, hide = true)]
    GatewayProxy,
    /// Remove every rule from this machine: all traffic passes
    #[command(
        after_help = "Example:\n  sudo cofferdam uninstall\n\nNothing else removes them: they outlive `up` on purpose."
    )]
    Uninstall {
        /// Local socket of the `up` or agent that put them in force, to find its proxies
        #[arg(long, value_name = "PATH")]
        socket: Option<PathBuf>,
    },
}

impl Command {
    /// Whether it has keys, tokens or what others said in its memory for longer than a question takes. In a lab nobody's are real, and
    /// who may not be dumped cannot enter a user namespace.
    fn holds_secrets(&self) -> bool {
        match self {
            Self::Up(args) => !args.in_lab(),
            it => matches!(
                it,
                Self::Agent(_)
                    | Self::Controller(_)
                    | Self::Collector(_)
                    | Self::EgressGateway(_)
                    | Self::IngressGateway(_)
                    | Self::Rollouts(_)
                    | Self::DnsProxy
                    | Self::GatewayProxy
            ),
        }
    }
}

/// The command line as it is shown.
pub(crate) fn program() -> clap::Command {
    crate::overview::grouped(Cli::command())
}

/// With paragraphs of one line each behind the options: only a terminal knows where its lines end.
fn flowing(command: clap::Command) -> clap::Command {
    let after = command.get_after_help().map(|after| flow(&after.to_string()));
    let command = match after {
        Some(after) => command.after_help(after),
        None => command,
    };
    command.mut_subcommands(flowing)
}

/// Joins the lines of paragraphs. What is indented is to be read line by line, and so is what stands behind a colon.
fn flow(text: &str) -> String {
    let (mut flowing, mut goes_on) = (String::with_capacity(text.len()), false);
    for (at, line) in text.lines().enumerate() {
        let is_prose = !line.is_empty() && !line.starts_with(' ');
        if at > 0 {
            flowing.push(if is_prose && goes_on { ' ' } else { '\n' });
        }
        flowing.push_str(line);
        goes_on = is_prose && !line.ends_with(':');
    }
    flowing
}

/// Whether these words, the first of which is the program's name, are a command.
pub(crate) fn understood<'w>(words: impl Iterator<Item = &'w str>) -> Result<(), clap::Error> {
    Cli::try_parse_from(words).map(drop)
}

/// What is written without an option where manifests have one is told so.
fn with_the_option(mut error: clap::Error) -> clap::Error {
    let given = match (error.kind(), error.get(ContextKind::InvalidArg), error.get(ContextKind::Usage)) {
        (ErrorKind::UnknownArgument, Some(ContextValue::String(given)), Some(usage))
            if !given.starts_with('-') && usage.to_string().contains("--file <PATH>") =>
        {
            given.clone()
        }
        _ => return error,
    };
    let told = format!("manifests are named by an option: -f {given}");
    error.insert(ContextKind::Suggested, ContextValue::StyledStrs(vec![told.into()]));
    error
}

/// Runs the command that the arguments name. False: the answer is no, or not everything is in force.
pub(crate) fn run(out: &mut impl Write) -> Result<bool> {
    let matches = flowing(program()).try_get_matches().unwrap_or_else(|error| with_the_option(error).exit());
    let command = Cli::from_arg_matches(&matches).unwrap_or_else(|error| error.exit()).command;
    if command.holds_secrets() {
        crate::core_dumps::refuse()?;
    }
    match command {
        Command::Policy(command) => crate::policy::run(&command, out),
        Command::Up(args) => crate::up::run(&args),
        Command::Controller(args) => crate::control::run(&args).map(|()| true),
        Command::Install(command) => crate::install::run(&command, out).map(|()| true),
        Command::Catalog(command) => crate::catalog::run(&command, out).map(|()| true),
        Command::Classify(args) => crate::classify::run(&args, out).map(|()| true),
        Command::EgressGateway(args) => crate::egress_gateway::run(&args).map(|()| true),
        Command::IngressGateway(args) => crate::ingress_gateway::run(&args).map(|()| true),
        Command::Collector(args) => crate::collect::run(&args).map(|()| true),
        Command::Prices(command) => crate::prices::run(&command, out).map(|()| true),
        Command::Agent(args) => crate::agent::run(&args).map(|()| true),
        Command::Flows(args) => crate::flows::run(args, out).map(|()| true),
        Command::Dns(args) => crate::lookups::run(&args, out).map(|()| true),
        Command::Connections(args) => crate::connections::run(&args, out).map(|()| true),
        Command::Calls(args) => crate::calls::run(&args, out).map(|()| true),
        Command::Findings(args) => crate::findings::run(&args, out).map(|()| true),
        Command::Tools(args) => crate::tools::run(&args, out).map(|()| true),
        Command::Explain(args) => crate::explain::run(&args, out).map(|()| true),
        Command::Completion(args) => crate::completion::run(&args, program(), out).map(|()| true),
        Command::Edges(args) => crate::ledger_cmd::edges(&args, out).map(|()| true),
        Command::Top(args) => crate::ledger_cmd::top(&args, out).map(|()| true),
        Command::Ledger(command) => crate::ledger_cmd::run(&command, out),
        Command::DnsProxy => process(|control| Ok(dns::run_proxy(control)?)).map(|()| true),
        Command::GatewayProxy => process(|control| Ok(gateway::run_proxy(control)?)).map(|()| true),
        Command::Status(args) => crate::status::run(&args, out),
        Command::Shadow(args) => crate::shadow_cmd::run(&args, out),
        Command::Lab(args) => crate::lab_cmd::run(args, out),
        Command::Waf(command) => crate::waf::run(&command, out),
        Command::Guard(command) => crate::guard::run(&command, out).map(|()| true),
        Command::Detect(args) => crate::detect::run(&args, out).map(|()| true),
        Command::Release(command) => crate::release::run(&command, out),
        Command::Rollout(command) => crate::rollout::run(&command, out),
        Command::Rollouts(args) => crate::rollout::run_all(&args).map(|()| true),
        Command::Clusters(command) => crate::clusters::run(&command, out),
        Command::Api(command) => crate::api_cmd::run(&command, out).map(|()| true),
        Command::Incident(command) => crate::incident_cmd::run(&command, out),
        Command::Reference(command) => crate::reference::run(&command, program(), out).map(|()| true),
        Command::Hunt(args) => crate::incident_cmd::hunt(&args, out).map(|()| true),
        Command::Uninstall { socket } => crate::up::uninstall(socket, out).map(|()| true),
    }
}

#[cfg(test)]
mod shown;

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn manifests_that_are_named_without_the_option_are_told_of_it() {
        let told = |words: &[&str]| {
            let error = program().try_get_matches_from(words).unwrap_err();
            with_the_option(error).render().to_string()
        };
        let text = told(&["cofferdam", "policy", "check", "examples/genai"]);
        assert!(text.contains("tip: manifests are named by an option: -f examples/genai"), "{text}");
        for other in
            [&["cofferdam", "policy", "check", "--fil"][..], &["cofferdam", "prices", "check", "a", "b"]]
        {
            assert!(!told(other).contains("manifests are named"), "{other:?}");
        }
    }

    /// Arguments are seen by everybody on a machine. A namespace is where secrets are, and none itself.
    #[test]
    fn no_option_takes_a_secret_but_as_a_file() {
        let mut command = program();
        command.build();
        let (mut waiting, mut seen) = (vec![command], 0);
        while let Some(command) = waiting.pop() {
            for argument in command.get_arguments() {
                let name = argument.get_long().unwrap_or_default();
                let is_secret = ["password", "token", "secret", "-key", "headers", "credential"]
                    .iter()
                    .any(|word| name.contains(word));
                let takes = argument.get_action().takes_values();
                if !is_secret || !takes {
                    continue;
                }
                seen += 1;
                let values: Vec<_> = argument.get_value_names().unwrap_or_default().iter().collect();
                let is_file = values.iter().all(|value| {
                    let value = value.rsplit('=').next().unwrap_or_default();
                    ["FILE", "DIR", "PATH", "NAMESPACE"].contains(&value)
                });
                assert!(is_file, "{} --{name} takes {values:?}", command.get_name());
            }
            waiting.extend(command.get_subcommands().cloned());
        }
        assert!(seen > 10, "only {seen} options were found");
    }

    /// A narrow terminal breaks a line once, and not again where the source did.
    #[test]
    fn paragraphs_of_the_help_are_lines_and_examples_stay() {
        let text = "Examples:\n  cofferdam status\n  cofferdam flows\n\nOne sentence that\ngoes on.\nAnd another.\n\nKept:\n\n  a\n  b";
        let expected = "Examples:\n  cofferdam status\n  cofferdam flows\n\nOne sentence that goes on. And another.\n\nKept:\n\n  a\n  b";
        assert_eq!(flow(text), expected);
        let mut waiting = vec![flowing(program())];
        while let Some(command) = waiting.pop() {
            let after = command.get_after_help().map(ToString::to_string).unwrap_or_default();
            assert_eq!(flow(&after), after, "{}", command.get_name());
            waiting.extend(command.get_subcommands().cloned());
        }
    }
}
