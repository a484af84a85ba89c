//! `cofferdam controller`: watches the API server, compiles, and publishes to the agents.
//!
//! Enters: objects of the cluster. Leaves: the feed, probes' answers, one line whenever how it stands changes.
//! Guarantees: ends on SIGINT and SIGTERM; what was published stays in force on the nodes. Does not: enforce.

use crate::flows::printable;
use crate::health::{self, Health};
use anyhow::{Context, Result};
use clap::Args;
use controller::Status;
use feed::server::Feed;
use feed::tls::Identity;
use kube::config::{KubeConfigOptions, Kubeconfig};
use kube::{Client, Config};
use serde_json::json;
use std::io::Write;
use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;
use tokio::net::TcpListener;
use tokio::signal::unix::{SignalKind, signal};
use tokio::sync::watch;

/// Watch a cluster and publish its policy to the agents.
#[derive(Args, Debug)]
#[command(after_help = "Examples:
  cofferdam controller --certificates /etc/cofferdam                 in a pod, with its service account
  cofferdam controller --kubeconfig ~/.kube/config --certificates .  from outside")]
pub(crate) struct ControllerArgs {
    /// How to reach the API server [default: $KUBECONFIG, ~/.kube/config, or the pod's service account]
    #[arg(long, value_name = "FILE")]
    kubeconfig: Option<PathBuf>,
    /// Serve agents here
    #[arg(long, value_name = "ADDRESS", default_value = "0.0.0.0:9443")]
    listen: SocketAddr,
    /// Folder with ca.crt, tls.crt and tls.key, read anew when they change
    #[arg(long, value_name = "DIR")]
    certificates: PathBuf,
    /// Answer /healthz and /readyz here
    #[arg(long, value_name = "ADDRESS")]
    health: Option<SocketAddr>,
    /// Print one JSON object per line
    #[arg(long)]
    json: bool,
}

/// How often the certificate's files are read.
const RENEW: Duration = Duration::from_secs(10);

struct Ready {
    status: watch::Receiver<Status>,
}

impl Health for Ready {
    fn ready(&self) -> Result<(), String> {
        match self.status.borrow().generation {
            Some(_) => Ok(()),
            None => Err("nothing is published yet".to_owned()),
        }
    }
}

/// Runs until a signal.
pub(crate) fn run(args: &ControllerArgs) -> Result<()> {
    let runtime =
        tokio::runtime::Builder::new_multi_thread().enable_all().build().context("starting the runtime")?;
    runtime.block_on(serve(args))
}

async fn serve(args: &ControllerArgs) -> Result<()> {
    let (mut interrupt, mut terminate) = (signal(SignalKind::interrupt())?, signal(SignalKind::terminate())?);
    let client = client(args.kubeconfig.as_deref()).await?;
    let (identity, renewed) = watch::channel(Arc::new(identity(&args.certificates)?));
    let feed = Feed::default();
    let status = watch::Sender::default();
    let listener =
        TcpListener::bind(args.listen).await.with_context(|| format!("serving agents at {}", args.listen))?;
    if let Some(address) = args.health {
        let ready = Arc::new(Ready { status: status.subscribe() });
        tokio::spawn(health::serve(health::bind(address).await?, ready));
    }
    let seen = status.subscribe();
    tokio::select! {
        () = controller::run(client, feed.clone(), status) => {}
        () = feed.serve(listener, renewed) => {}
        () = tell(seen, args.json) => {}
        () = renew(&args.certificates, identity) => {}
        _ = interrupt.recv() => {}
        _ = terminate.recv() => {}
    }
    Ok(())
}

/// A client of the API server that a kubeconfig names, or that is at hand.
pub(crate) async fn client(kubeconfig: Option<&Path>) -> Result<Client> {
    let config = match kubeconfig {
        Some(path) => {
            let file = Kubeconfig::read_from(path).with_context(|| format!("reading {}", path.display()))?;
            Config::from_custom_kubeconfig(file, &KubeConfigOptions::default()).await?
        }
        None => Config::infer().await.context(
            "finding an API server: there is no kubeconfig and no service account; say where with --kubeconfig",
        )?,
    };
    Client::try_from(config).context("preparing the API server's client")
}

fn identity(folder: &Path) -> Result<Identity> {
    let identity = Identity::read(folder).context("the controller's certificate")?;
    identity.server().context("the controller's certificate")?;
    Ok(identity)
}

/// Takes new files when they can be used; goes on with the old ones while they cannot.
async fn renew(folder: &Path, to: watch::Sender<Arc<Identity>>) {
    loop {
        tokio::time::sleep(RENEW).await;
        if let Ok(new) = identity(folder) {
            to.send_if_modified(|held| {
                let differs = **held != new;
                *held = Arc::new(new);
                differs
            });
        }
    }
}

/// One line whenever something changes. Whoever read them may have left; that is no reason to stop.
async fn tell(mut status: watch::Receiver<Status>, as_json: bool) {
    let mut out = std::io::stdout();
    let mut said = String::new();
    while status.changed().await.is_ok() {
        let line = line(&status.borrow_and_update(), as_json);
        if line != said {
            let _ = writeln!(out, "{line}").and_then(|()| out.flush());
        }
        said = line;
    }
}

fn line(status: &Status, as_json: bool) -> String {
    let errors = status.diagnostics.iter().filter(|it| it.is_error()).count();
    let problems: Vec<String> =
        status.problems.iter().map(|(kind, why)| format!("{}: {why}", kind.plural())).collect();
    if as_json {
        let generation = status.generation.map(|it| it.0);
        return json!({ "controller": {
            "generation": generation, "policies": status.policies, "closedScopes": status.closed_scopes,
            "errors": errors, "problems": problems,
        } })
        .to_string();
    }
    let published = match status.generation {
        Some(generation) => format!(
            "generation {generation}: {} policies, {} closed scopes, {errors} errors",
            status.policies, status.closed_scopes
        ),
        None => "nothing published yet".to_owned(),
    };
    let problems: Vec<_> = problems.iter().map(|problem| format!("; {}", printable(problem))).collect();
    format!("{published}{}", problems.concat())
}
