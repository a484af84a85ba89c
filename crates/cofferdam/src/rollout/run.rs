//! `cofferdam rollouts`: runs every Rollout of a hub.
//!
//! Enters: a hub's kubeconfig. Leaves: what clusters are to have, how rollouts stand, one line for each decision. Guarantees: of
//! several only who holds the lease decides; ends on SIGINT and SIGTERM, and may end at any other point: whoever comes next
//! goes on. Does not: need to be in a cluster.

use super::show;
use crate::control::{client, complain};
use crate::environment::{POD_NAME, POD_NAMESPACE};
use crate::health::{self, Health};
use crate::http;
use crate::metrics::Page;
use anyhow::{Context, Result, bail};
use clap::Args;
use controller::lease::{self, Role};
use rollouts::News;
use serde_json::json;
use std::collections::BTreeMap;
use std::io::Write;
use std::net::SocketAddr;
use std::path::PathBuf;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};
use tokio::signal::unix::{SignalKind, signal};
use tokio::sync::watch;
use tokio::time::timeout;

/// Who decides.
const LEASE: &str = "cofferdam-rollouts";
/// Everything is looked at every few seconds: whoever decides and did not for so long is stuck.
const STUCK: Duration = Duration::from_secs(60);

/// A hub that says nothing for so long is told of.
const SILENT: Duration = Duration::from_secs(10);

/// Run every Rollout of a hub, stage by stage.
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
    /// Answer /healthz, /readyz and /metrics here
    #[arg(long, value_name = "ADDRESS", value_parser = crate::http::address)]
    health: Option<SocketAddr>,
}

/// How it goes, for probes and Prometheus.
struct Standing {
    role: watch::Receiver<Role>,
    known: Mutex<Known>,
}

#[derive(Default)]
struct Known {
    /// When everything was looked at last.
    looked: Option<Instant>,
    rollouts: usize,
    held: usize,
    clusters: usize,
    silent: usize,
    decisions: BTreeMap<String, u64>,
    problems: u64,
    /// Why nothing was looked at since.
    problem: Option<String>,
}

impl Standing {
    fn known(&self) -> MutexGuard<'_, Known> {
        self.known.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Whether it is to be told: of a hub that does not answer once, and that it answers again.
    fn note(&self, news: &News) -> bool {
        let mut known = self.known();
        match news {
            News::Decided { decision, .. } => {
                *known.decisions.entry(format!("{:?}", decision.what)).or_default() += 1;
                true
            }
            News::Unfit(_) => {
                known.problems += 1;
                true
            }
            News::Problem(problem) => {
                known.problems += 1;
                known.problem.replace(problem.clone()).as_ref() != Some(problem)
            }
            News::Looked { rollouts, held, clusters, silent } => {
                (known.rollouts, known.held) = (*rollouts, *held);
                (known.clusters, known.silent) = (*clusters, *silent);
                known.looked = Some(Instant::now());
                known.problem.take().is_some()
            }
        }
    }
}

impl Health for Standing {
    /// Whoever waits for the lease does its work.
    fn ready(&self) -> Result<(), String> {
        match &*self.role.borrow() {
            Role::Unknown => return Err(format!("the hub did not say yet who has the lease {LEASE}")),
            Role::Barred(why) => {
                return Err(format!("the hub lets it not stand for the lease {LEASE}: {why}"));
            }
            Role::Stands(_) => return Ok(()),
            Role::Leads => {}
        }
        let known = self.known();
        match (&known.problem, known.looked) {
            (Some(problem), _) => Err(problem.clone()),
            (None, None) => Err("nothing was looked at yet".to_owned()),
            (None, Some(at)) if at.elapsed() > STUCK => {
                Err(format!("nothing was looked at for {} s", at.elapsed().as_secs()))
            }
            (None, Some(_)) => Ok(()),
        }
    }

    fn metrics(&self) -> Page {
        let mut page = Page::new();
        figures(&mut page, &self.role.borrow(), &self.known());
        page
    }
}

/// How the fleet stands, as this process saw it last.
fn figures(page: &mut Page, role: &Role, known: &Known) {
    page.gauge(
        "rollouts_decides",
        "Whether this one has the lease and decides",
        (*role == Role::Leads).into(),
    );
    page.gauge("rollouts", "Rollouts at the hub, as this one saw last", known.rollouts as u64);
    page.gauge("rollouts_held", "Rollouts that wait for somebody", known.held as u64);
    page.gauge("rollouts_clusters", "Clusters at the hub, as this one saw last", known.clusters as u64);
    page.gauge(
        "rollouts_clusters_silent",
        "Clusters that spoke before, and not for two minutes",
        known.silent as u64,
    );
    let decisions = known.decisions.iter().map(|(what, count)| (what.clone(), *count));
    page.counters(("rollouts_decisions", "what"), "Decisions that were written", decisions);
    page.counter("rollouts_problems", "Times that the hub did not answer or refused", known.problems);
}

/// The figures of `cofferdam rollouts`, on a page that only describes them.
pub(crate) fn described(page: &mut Page) {
    figures(page, &Role::default(), &Known::default());
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
    let namespace = args.namespace.clone().or_else(|| POD_NAMESPACE.value());
    let namespace = namespace.unwrap_or_else(|| "cofferdam-system".to_owned());
    let host = nix::unistd::gethostname().ok().and_then(|it| it.into_string().ok()).unwrap_or_default();
    let holder = POD_NAME.value().unwrap_or_else(|| format!("{host}-{}", std::process::id()));
    let (elected, mut role) = watch::channel(Role::default());
    let as_json = args.json;
    let standing = Arc::new(Standing { role: elected.subscribe(), known: Mutex::default() });
    if let Some(address) = args.health {
        let listener = http::bind(address).await.context("--health")?;
        tokio::spawn(health::serve(listener, Arc::clone(&standing)));
    }
    let decide = async {
        if role.wait_for(|role| *role == Role::Leads).await.is_err() {
            return;
        }
        say("this one decides");
        let noted = move |news: News| {
            if standing.note(&news) {
                tell(&news, as_json);
            }
        };
        rollouts::run(hub.clone(), noted).await;
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

/// Says for whom, or for what, it waits.
async fn wait(namespace: &str, mut role: watch::Receiver<Role>) {
    if timeout(SILENT, role.changed()).await.is_err() {
        say(&format!(
            "the hub did not say within {SILENT:?} who decides (Lease {namespace}/{LEASE}): is it reached? It is asked on"
        ));
    }
    loop {
        let text = match &*role.borrow_and_update() {
            Role::Stands(other) => {
                Some(format!("{other} decides (Lease {namespace}/{LEASE}); this one waits"))
            }
            Role::Barred(why) => {
                Some(format!("the hub lets it not stand for the Lease {namespace}/{LEASE}: {why}"))
            }
            Role::Unknown | Role::Leads => None,
        };
        if let Some(text) = text {
            say(&text);
        }
        if role.changed().await.is_err() {
            return;
        }
    }
}

/// Whoever read the lines may have left; that is no reason to stop.
fn tell(news: &News, as_json: bool) {
    let mut out = std::io::stdout();
    match news {
        News::Looked { .. } => say("everything was looked at again"),
        News::Problem(problem) | News::Unfit(problem) => complain(problem.clone()),
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

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_hub_that_does_not_answer_is_told_of_once_and_that_it_answers_again() {
        let (_elected, role) = watch::channel(Role::default());
        let standing = Standing { role, known: Mutex::default() };
        let looked = || News::Looked { rollouts: 3, held: 1, clusters: 4, silent: 2 };
        let problem = |why: &str| News::Problem(why.to_owned());
        let unfit = News::Unfit("c".to_owned());
        let told =
            [looked(), problem("a"), problem("a"), problem("b"), looked(), unfit, looked(), problem("b")];
        let told = told.map(|news| standing.note(&news));
        assert_eq!(told, [false, true, false, true, true, true, false, true]);
        let known = standing.known();
        assert_eq!((known.problems, known.held, known.silent), (5, 1, 2));
    }
}
