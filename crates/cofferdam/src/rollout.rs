//! `cofferdam rollout`: how a release comes to the clusters of a fleet, and what people say to it; `cofferdam rollouts` runs them.
//!
//! Enters: a hub's kubeconfig, the name of a Rollout. Leaves: stages with their numbers beside what their gates ask for, decisions,
//! commands of people. Guarantees: the numbers are those that a step decides by; a command is in the user's own name, and what came
//! of it is said; texts from clusters cannot steer a terminal. Does not: decide; `cofferdam rollouts` does.

mod run;
mod show;

pub(crate) use run::{RolloutsArgs, described, run as run_all};
pub(crate) use show::table;

use crate::clusters::{Form, Side, print};
use crate::control::client_and_place;
use anyhow::{Context, Result, bail, ensure};
use clap::{Args, Subcommand};
use fleet::rollout::{Verb, Word};
use kube::Client;
use rollouts::Asked;
use std::io::Write;
use std::path::PathBuf;
use std::time::Duration;

/// How long somebody waits for what comes of a command.
const PATIENCE: Duration = Duration::from_secs(15);

/// Show and steer how a release reaches the clusters.
#[derive(Subcommand, Debug)]
#[command(after_help = "Examples:
  cofferdam rollout status release-8 --hub hub.kubeconfig
  cofferdam rollout diff release-8 --hub hub.kubeconfig --on prod.yaml
  cofferdam rollout approve release-8 --hub hub.kubeconfig --stage prod --reason 'seen in staging for a week'
  cofferdam rollout rollback release-8 --hub hub.kubeconfig --reason 'checkout fails'
  cofferdam rollout promote release-8 --hub hub.kubeconfig --cluster dev-9 --reason 'it came late, and only the old job is denied'
  cofferdam rollout history release-8 --hub hub.kubeconfig --json

`cofferdam rollouts` must run somewhere: it decides; these look and ask. How a Rollout is written:
docs/how-to/promote-policy-over-clusters.md")]
pub(crate) enum RolloutCommand {
    /// Show stages, their numbers beside what their gates ask for, and what is missing. Exit code 1: it is held, or was taken back
    #[command(
        after_help = "Examples:\n  cofferdam rollout status release-8 --hub hub.kubeconfig\n  cofferdam rollout status release-8 --hub hub.kubeconfig --json"
    )]
    Status(ShowArgs),
    /// Show what is different in the release from what it falls back to. Exit code 1: it differs
    #[command(
        after_help = "Example:\n  cofferdam rollout diff release-8 --hub hub.kubeconfig --on prod.yaml"
    )]
    Diff(DiffArgs),
    /// Say that a stage may be enforced that asks for approval, once its gate holds
    #[command(
        after_help = "Example:\n  cofferdam rollout approve release-8 --hub hub.kubeconfig --stage prod --reason 'seen in staging for a week'"
    )]
    Approve(AskArgs),
    /// Enforce a stage although its gate does not hold, or begin it without clusters that could not be taken back, or pass over one without
    /// any: what is missing is written down
    #[command(
        after_help = "Example:\n  cofferdam rollout promote release-8 --hub hub.kubeconfig --stage dev --reason 'only the old job is denied'"
    )]
    Promote(AskArgs),
    /// Let no stage begin or be enforced; going back still happens by itself
    #[command(
        after_help = "Example:\n  cofferdam rollout pause release-8 --hub hub.kubeconfig --reason 'until Monday'"
    )]
    Pause(AskArgs),
    /// Go on
    #[command(after_help = "Example:\n  cofferdam rollout resume release-8 --hub hub.kubeconfig")]
    Resume(AskArgs),
    /// Take it back everywhere, before it is done or after
    #[command(
        visible_alias = "rollback",
        after_help = "Example:\n  cofferdam rollout rollback release-8 --hub hub.kubeconfig --reason 'checkout fails'"
    )]
    Abort(AskArgs),
    /// Show every decision: when, what, who, why, and what was seen
    #[command(
        after_help = "Examples:\n  cofferdam rollout history release-8 --hub hub.kubeconfig\n  cofferdam rollout history release-8 --hub hub.kubeconfig --json"
    )]
    History(ShowArgs),
}

/// Which rollout, at which hub.
#[derive(Args, Debug)]
pub(crate) struct Which {
    /// Name of the Rollout
    name: String,
    /// How to reach the hub's API server [default: $KUBECONFIG, ~/.kube/config, or the pod's service account]
    #[arg(long, value_name = "FILE")]
    hub: Option<PathBuf>,
}

/// What to show.
#[derive(Args, Debug)]
pub(crate) struct ShowArgs {
    #[command(flatten)]
    which: Which,
    /// Print one JSON object
    #[arg(long)]
    json: bool,
}

/// What to compare.
#[derive(Args, Debug)]
pub(crate) struct DiffArgs {
    #[command(flatten)]
    which: Which,
    /// Namespaces, pods and other policies of a cluster, to say which connections would be judged differently there
    #[arg(long, value_name = "PATH")]
    on: Vec<PathBuf>,
    /// Print one JSON object
    #[arg(long)]
    json: bool,
}

/// What to ask.
#[derive(Args, Debug)]
pub(crate) struct AskArgs {
    #[command(flatten)]
    which: Which,
    /// The stage that is meant; if it is no longer that one's turn, nothing is done [default: the one that it is about now]
    #[arg(long, value_name = "NAME")]
    stage: Option<String>,
    /// The cluster that is meant, one that came when the rollout was done: approve, promote and abort are then about it alone
    #[arg(long, value_name = "NAME", conflicts_with = "stage")]
    cluster: Option<String>,
    /// Why; it is written down
    #[arg(long, value_name = "TEXT")]
    reason: Option<String>,
    /// Do not wait for what comes of it
    #[arg(long)]
    no_wait: bool,
}

/// Runs a verb. False: the answer is no.
pub(crate) fn run(command: &RolloutCommand, out: &mut impl Write) -> Result<bool> {
    let runtime =
        tokio::runtime::Builder::new_current_thread().enable_all().build().context("starting the runtime")?;
    runtime.block_on(async {
        let which = match command {
            RolloutCommand::Status(args) | RolloutCommand::History(args) => &args.which,
            RolloutCommand::Diff(args) => &args.which,
            RolloutCommand::Approve(args)
            | RolloutCommand::Promote(args)
            | RolloutCommand::Pause(args)
            | RolloutCommand::Resume(args)
            | RolloutCommand::Abort(args) => &args.which,
        };
        let (hub, place) = client_and_place(which.hub.as_deref()).await.context("--hub")?;
        let done = match command {
            RolloutCommand::Status(args) => status(&hub, args, out).await,
            RolloutCommand::Diff(args) => diff(&hub, args, out).await,
            RolloutCommand::Approve(args) => ask(&hub, args, Verb::Approve, out).await,
            RolloutCommand::Promote(args) => ask(&hub, args, Verb::Promote, out).await,
            RolloutCommand::Pause(args) => ask(&hub, args, Verb::Pause, out).await,
            RolloutCommand::Resume(args) => ask(&hub, args, Verb::Resume, out).await,
            RolloutCommand::Abort(args) => ask(&hub, args, Verb::Abort, out).await,
            RolloutCommand::History(args) => history(&hub, args, out).await,
        };
        done.map_err(|error| placed(error, &place))
    })
}

/// Says which API server it is that does not answer, or does not let it be done.
pub(crate) fn placed(error: anyhow::Error, place: &str) -> anyhow::Error {
    match error.downcast_ref() {
        Some(rollouts::Error::Hub(..)) => error.context(format!("--hub: the API server at {place}")),
        _ => error,
    }
}

async fn status(hub: &Client, args: &ShowArgs, out: &mut impl Write) -> Result<bool> {
    let looked = rollouts::look(hub, &args.which.name).await?;
    if args.json {
        show::json(&args.which.name, &looked, out)?;
    } else {
        show::status(&args.which.name, &looked, out)?;
    }
    let is = |kind: &str| looked.status.conditions.iter().any(|it| it.kind == kind && it.status == "True");
    Ok(!is("Held") && !is("RolledBack"))
}

async fn history(hub: &Client, args: &ShowArgs, out: &mut impl Write) -> Result<bool> {
    let looked = rollouts::look(hub, &args.which.name).await?;
    show::history(&looked.status.state, args.json, out)?;
    Ok(true)
}

async fn diff(hub: &Client, args: &DiffArgs, out: &mut impl Write) -> Result<bool> {
    let spec = rollouts::look(hub, &args.which.name).await?.spec;
    let Some(fallback) = &spec.fallback else {
        bail!("the release falls back to nothing; compare files: `cofferdam release diff`");
    };
    let after = rollouts::contents(hub, &spec.release).await?;
    let after = Side::of_release(&fleet::hub::release_name(&spec.release), &after, &args.on)?;
    let before = match fallback.number {
        0 => Side::of_nothing("no policy of the fleet's", &args.on)?,
        _ => {
            let before = rollouts::contents(hub, fallback).await?;
            Side::of_release(&fleet::hub::release_name(fallback), &before, &args.on)?
        }
    };
    print(&before, &after, !args.on.is_empty(), if args.json { Form::Json } else { Form::Text }, out)
}

async fn ask(hub: &Client, args: &AskArgs, verb: Verb, out: &mut impl Write) -> Result<bool> {
    let name = &args.which.name;
    if let Some(stage) = &args.stage {
        let stages = rollouts::look(hub, name).await?.spec.stages;
        let names: Vec<&str> = stages.iter().map(|it| it.name.as_str()).collect();
        ensure!(
            names.contains(&stage.as_str()),
            "--stage {stage:?}: Rollout {name} has no such stage; it has {}",
            names.join(", ")
        );
    }
    let by = rollouts::who(hub).await?;
    let verb = match (verb, &args.cluster) {
        (verb, None) => verb,
        (Verb::Approve | Verb::ApproveCluster, Some(_)) => Verb::ApproveCluster,
        (Verb::Promote | Verb::PromoteCluster, Some(_)) => Verb::PromoteCluster,
        (Verb::Abort | Verb::SendBack, Some(_)) => Verb::SendBack,
        (Verb::Pause | Verb::Resume, Some(_)) => {
            bail!("--cluster: only a whole rollout is paused and resumed")
        }
    };
    let (stage, cluster) = (args.stage.clone(), args.cluster.clone());
    let asked = Asked { verb, stage, cluster, why: args.reason.clone() };
    let ticket = rollouts::ask(hub, name, &by, &asked).await?;
    if args.no_wait {
        writeln!(out, "asked, as {by}; `cofferdam rollout history {name}` shows what comes of it")?;
        return Ok(true);
    }
    let Some(decisions) = rollouts::answers(hub, name, ticket, PATIENCE).await? else {
        writeln!(
            out,
            "asked, as {by}; nobody took it up within {PATIENCE:?}: does `cofferdam rollouts` run? It stays asked, and is done once one \
             does; a pause, or an abort, comes into effect then and not before"
        )?;
        return Ok(false);
    };
    for decision in &decisions {
        show::decision(decision, out)?;
    }
    Ok(!decisions.iter().any(|it| it.what == Word::NotDone))
}
