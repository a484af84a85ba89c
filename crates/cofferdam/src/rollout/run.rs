//! `cofferdam rollouts`: runs every Rollout of a hub.
//!
//! Enters: a hub's kubeconfig. Leaves: what clusters are to have, how rollouts stand, one line for each decision. Guarantees: of
//! several only who holds the lease decides; ends on SIGINT and SIGTERM, and may end at any other point: whoever comes next
//! goes on. Does not: serve anything, or need to be in a cluster.

use super::show;
use crate::control::{client, complain};
use anyhow::{Context, Result, bail};
use clap::Args;
use controller::lease::{self, Role};
use rollouts::News;
use serde_json::json;
use std::io::Write;
use std::path::PathBuf;
use tokio::signal::unix::{SignalKind, signal};
use tokio::sync::watch;

/// Who decides.
const LEASE: &str = "cofferdam-rollouts";

/// Bring releases to clusters, stage by stage: run every Rollout of a hub.
#[derive(Args, Debug)]
#[command(after_help = "Examples:
  cofferdam rollouts                                in a pod of the hub, with its service account
  cofferdam rollouts --hub hub.kubeconfig --json    from anywhere that reaches the hub

It holds no key and connects to no cluster. Several may run: one decides, the others wait for its lease. What it decides is in the
status of each Rollout (`cofferdam rollout history`) before it is acted on, so it may be killed at any time.")]
pub(crate) struct RolloutsArgs {
    /// How to reach the hub's API server [default: $KUBECONFIG, ~/.kube/config, or the pod's service account]
    #[arg(long, value_name = "FILE")]
    hub: Option<PathBuf>,
    /// Namespace of the lease; it must be there [default: $POD_NAMESPACE, else cofferdam-system]
    #[arg(long, value_name = "NAME")]
    namespace: Option<String>,
    /// Print one JSON object per decision
    #[arg(long)]
    json: bool,
}

/// Runs until a signal.
pub(crate) fn run(args: &RolloutsArgs) -> Result<()> {
    let runtime =
        tokio::runtime::Builder::new_multi_thread().enable_all().build().context("starting the runtime")?;
    runtime.block_on(serve(args))
}

async fn serve(args: &RolloutsArgs) -> Result<()> {
    let (mut interrupt, mut terminate) = (signal(SignalKind::interrupt())?, signal(SignalKind::terminate())?);
    let hub = client(args.hub.as_deref()).await.context("--hub")?;
    let namespace = args.namespace.clone().or_else(|| std::env::var("POD_NAMESPACE").ok());
    let namespace = namespace.unwrap_or_else(|| "cofferdam-system".to_owned());
    let host = nix::unistd::gethostname().ok().and_then(|it| it.into_string().ok()).unwrap_or_default();
    let holder = std::env::var("POD_NAME").unwrap_or_else(|_| format!("{host}-{}", std::process::id()));
    let (elected, mut role) = watch::channel(Role::default());
    let as_json = args.json;
    let decide = async {
        if role.wait_for(|role| *role == Role::Leads).await.is_err() {
            return;
        }
        say("this one decides");
        rollouts::run(hub.clone(), move |news| tell(&news, as_json)).await;
    };
    tokio::select! {
        other = lease::run(hub.clone(), (&namespace, LEASE), &holder, &elected) => {
            bail!("{other} decides now (Lease {namespace}/{LEASE}); this one ends, to stand again");
        }
        () = decide => {}
        () = wait(&namespace, elected.subscribe()) => {}
        _ = interrupt.recv() => {}
        _ = terminate.recv() => {}
    }
    Ok(())
}

/// Says for whom it waits.
async fn wait(namespace: &str, mut role: watch::Receiver<Role>) {
    while role.changed().await.is_ok() {
        if let Role::Stands(other) = &*role.borrow_and_update() {
            say(&format!("{other} decides (Lease {namespace}/{LEASE}); this one waits"));
        }
    }
}

/// Whoever read the lines may have left; that is no reason to stop.
fn tell(news: &News, as_json: bool) {
    let mut out = std::io::stdout();
    match news {
        News::Problem(problem) => complain(problem.clone()),
        News::Decided { rollout, decision } if as_json => {
            let _ = writeln!(out, "{}", json!({ "rollout": rollout, "decision": decision }));
        }
        News::Decided { rollout, decision } => {
            let _ = write!(out, "{rollout}  ");
            let _ = show::decision(decision, &mut out);
        }
    }
}

fn say(text: &str) {
    complain(text.to_owned());
}
