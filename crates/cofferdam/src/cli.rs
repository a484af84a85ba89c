//! The command line: which commands there are, and where each is done.

use crate::agent::AgentArgs;
use crate::api_cmd::ApiCommand;
use crate::calls::CallsArgs;
use crate::catalog::CatalogCommand;
use crate::classify::ClassifyArgs;
use crate::clusters::ClustersCommand;
use crate::collect::CollectorArgs;
use crate::connections::ConnectionsArgs;
use crate::control::ControllerArgs;
use crate::detect::DetectArgs;
use crate::egress_gateway::EgressGatewayArgs;
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
use crate::release::ReleaseCommand;
use crate::status::StatusArgs;
use crate::up::UpArgs;
use crate::up::dns_proxy::DnsProxy;
use crate::up::gateway_proxy::GatewayProxy;
use crate::up::keeper::{Kind, process};
use crate::waf::WafCommand;
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
    Findings(FindingsArgs),
    Edges(EdgesArgs),
    Top(TopArgs),
    #[command(subcommand)]
    Ledger(LedgerCommand),
    Status(StatusArgs),
    Lab(LabArgs),
    #[command(subcommand)]
    Waf(WafCommand),
    #[command(subcommand)]
    Guard(GuardCommand),
    Detect(DetectArgs),
    #[command(subcommand)]
    Release(ReleaseCommand),
    #[command(subcommand)]
    Clusters(ClustersCommand),
    #[command(subcommand)]
    Api(ApiCommand),
    #[command(subcommand)]
    Incident(IncidentCommand),
    Hunt(HuntArgs),
    /// The process that answers pods' DNS; started by others, which give it its sockets
    #[command(name = DnsProxy::COMMAND, hide = true)]
    DnsProxy,
    /// The process that holds connections to their names; started by others, which give it its sockets
    #[command(name = GatewayProxy::COMMAND, hide = true)]
    GatewayProxy,
    /// Remove every rule that `up` put in force on this machine: all traffic passes from then on
    #[command(
        after_help = "Example:\n  sudo cofferdam uninstall\n\nNothing else removes them: they outlive `up` on purpose."
    )]
    Uninstall {
        /// Local socket of the `up` or agent that put them in force, to find its proxies
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
        Command::Edges(args) => crate::ledger_cmd::edges(&args, out).map(|()| true),
        Command::Top(args) => crate::ledger_cmd::top(&args, out).map(|()| true),
        Command::Ledger(command) => crate::ledger_cmd::run(&command, out),
        Command::DnsProxy => process(|control| Ok(dns::run_proxy(control)?)).map(|()| true),
        Command::GatewayProxy => process(|control| Ok(gateway::run_proxy(control)?)).map(|()| true),
        Command::Status(args) => crate::status::run(&args, out),
        Command::Lab(args) => crate::lab_cmd::run(args, out),
        Command::Waf(command) => crate::waf::run(&command, out),
        Command::Guard(command) => crate::guard::run(&command, out).map(|()| true),
        Command::Detect(args) => crate::detect::run(&args, out).map(|()| true),
        Command::Release(command) => crate::release::run(&command, out),
        Command::Clusters(command) => crate::clusters::run(&command, out),
        Command::Api(command) => crate::api_cmd::run(&command, out).map(|()| true),
        Command::Incident(command) => crate::incident_cmd::run(&command, out),
        Command::Hunt(args) => crate::incident_cmd::hunt(&args, out).map(|()| true),
        Command::Uninstall { socket } => crate::up::uninstall(socket, out).map(|()| true),
    }
}
