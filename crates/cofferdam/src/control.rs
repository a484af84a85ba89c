//! `cofferdam controller`: watches the API server, compiles, and publishes to the agents.
//!
//! Enters: objects of the cluster. Leaves: the feed, probes' answers, one line whenever how it stands changes.
//! Guarantees: ends on SIGINT and SIGTERM; what was published stays in force on the nodes. Does not: enforce.

use crate::catalog::CatalogArg;
use crate::environment::{POD_NAME, POD_NAMESPACE};
use crate::health::{self, Health};
use crate::hub::HubArgs;
use crate::metrics::Page;
use crate::plain::{counted, printable};
use crate::trust::{self, TrustArgs};
use crate::{http, webhook};
use anyhow::{Context, Result, bail};
use clap::Args;
use controller::lease::{self, Role};
use controller::registrar::{self, Maker};
use controller::trust::Authorities;
use controller::{Absent, Kind, ProviderKeys, Reads, Status};
use crds::{Catalog, Severity};
use feed::server::{Feed, Standing};
use feed::tls::{CONTROLLER, Identity, is_gateway};
use kube::config::{KubeConfigOptions, Kubeconfig};
use kube::{Client, Config};
use policy::Generation;
use serde_json::json;
use std::collections::BTreeMap;
use std::io::Write;
use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::{Duration, SystemTime};
use tokio::signal::unix::{SignalKind, signal};
use tokio::sync::watch;

/// Watch the API server and publish policy to the agents.
#[derive(Args, Debug)]
#[command(after_help = "Examples:
  cofferdam controller                                               in a pod, with its service account
  cofferdam controller --kubeconfig ~/.kube/config --certificates .  from outside

It serves no console: that of a cluster is the collector's (cofferdam collector --serve), and the notes of the chart say where.")]
pub(crate) struct ControllerArgs {
    /// How to reach the API server [default: $KUBECONFIG, ~/.kube/config, or the pod's service account]
    #[arg(long, value_name = "FILE")]
    kubeconfig: Option<PathBuf>,
    /// Serve agents here
    #[arg(long, value_name = "ADDRESS", value_parser = crate::http::address, default_value = "0.0.0.0:9443")]
    listen: SocketAddr,
    /// Folder with ca.crt, tls.crt and tls.key, read anew when they change. Without, the controller has an authority of
    /// its own, in a Secret, with which agents enrol
    #[arg(long, value_name = "DIR")]
    certificates: Option<PathBuf>,
    /// Make no authority: wait for the Secret cofferdam-authority, which somebody else writes and renews, for example
    /// cert-manager
    #[arg(long, conflicts_with = "certificates")]
    await_authority: bool,
    /// Namespace of the controller's own objects [default: $POD_NAMESPACE, else cofferdam-system]
    #[arg(long, value_name = "NAME")]
    namespace: Option<String>,
    /// Answer the API server's questions about policies here: the admission webhook
    #[arg(long, value_name = "ADDRESS", value_parser = crate::http::address, conflicts_with = "certificates")]
    webhook: Option<SocketAddr>,
    /// Answer /healthz, /readyz and /metrics here
    #[arg(long, value_name = "ADDRESS", value_parser = crate::http::address)]
    health: Option<SocketAddr>,
    #[command(flatten)]
    catalog: CatalogArg,
    /// Read Secrets labelled cofferdam.dev/inject: "true", whose keys rules put into requests (inject), and give them to the nodes
    /// that need them; without, what such rules allow is refused
    #[arg(long)]
    provider_keys: bool,
    #[command(flatten)]
    trust: TrustArgs,
    /// Print one JSON object per line
    #[arg(long)]
    json: bool,
    #[command(flatten)]
    hub: HubArgs,
}

impl ControllerArgs {
    fn maker(&self) -> Maker {
        if self.await_authority { Maker::Somebody } else { Maker::Controller }
    }
}

/// How often the files of the certificate and of the catalog are read.
const RENEW: Duration = Duration::from_secs(10);

struct Ready {
    status: watch::Receiver<Status>,
    role: watch::Receiver<Role>,
    standings: watch::Receiver<BTreeMap<Arc<str>, Standing>>,
}

impl Health for Ready {
    fn ready(&self) -> Result<(), String> {
        match self.status.borrow().generation {
            Some(_) => Ok(()),
            None => Err("nothing is published yet".to_owned()),
        }
    }

    fn metrics(&self) -> Page {
        let mut page = Page::new();
        figures(&mut page, &self.role.borrow(), &self.status.borrow(), &self.standings.borrow());
        page
    }
}

/// How a replica of the controller stands, with the nodes that follow it.
pub(crate) fn figures(
    page: &mut Page,
    role: &Role,
    status: &Status,
    standings: &BTreeMap<Arc<str>, Standing>,
) {
    page.gauge("leads", "1 where this replica leads", u64::from(*role == Role::Leads));
    let generation = status.generation.unwrap_or_default();
    page.gauge("generation", "State of policy that is published; 0: none", generation.0);
    page.gauge("policies", "Policies in force", status.policies as u64);
    page.gauge("closed_scopes", "Scopes closed for what could not be read", status.closed_scopes as u64);
    let found = [("error", Severity::Error), ("warning", Severity::Warning), ("note", Severity::Note)];
    let found = found.map(|(word, severity)| {
        let all = status.diagnostics.iter().chain(&status.findings);
        (word.to_owned(), all.filter(|it| it.severity == severity).count() as u64)
    });
    page.gauges(("diagnostics", "severity"), "What is wrong or odd about policies", found);
    let failing = |kind: &Kind| u64::from(status.problems.contains_key(kind));
    let watches = Kind::ALL.into_iter().map(|kind| (kind.plural().to_owned(), failing(&kind)));
    page.gauges(("watch_failing", "kind"), "1 where the API server does not answer the watch", watches);
    let of = |count: fn(&Absent) -> u64| {
        let kinds = Kind::ALL.into_iter();
        kinds.map(move |kind| (kind.plural().to_owned(), status.absent.get(&kind).map_or(0, count)))
    };
    page.gauges(
        ("kind_missing", "kind"),
        "1 where the API server knew a kind and does not know it now",
        of(|_| 1),
    );
    page.gauges(
        ("objects_lost", "kind"),
        "Objects that went out of force with the definition of their kind",
        of(|absent| absent.lost as u64),
    );
    let of = |gateways: bool| standings.iter().filter(move |(name, _)| is_gateway(name) == gateways);
    let count = |is: fn(&Standing, Generation) -> bool| {
        of(false).filter(|(_, standing)| is(standing, generation)).count() as u64
    };
    page.gauge(
        "egress_gateways",
        "Replicas of the egress gateway that follow this replica",
        of(true).filter(|(_, standing)| standing.connections > 0).count() as u64,
    );
    let nodes = [
        ("connected", count(|standing, _| standing.connections > 0)),
        ("cut_off", count(|standing, _| standing.connections == 0)),
        ("behind", count(|standing, newest| standing.enforced.is_none_or(|it| it < newest))),
        ("unwell", count(|standing, _| !standing.problem.is_empty())),
    ];
    let nodes = nodes.map(|(state, count)| (state.to_owned(), count));
    page.gauges(
        ("nodes", "state"),
        "Nodes that have followed this replica; one may be counted in several",
        nodes,
    );
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
    if let Some(folder) = &args.certificates {
        // Better now than when agents come.
        identity(folder)?;
    }
    let (catalogs, catalog) = watch::channel(Arc::new(args.catalog.load().context("the catalog")?));
    let feed = Feed::default();
    let status = watch::Sender::default();
    let namespace = args.namespace.clone().or_else(|| POD_NAMESPACE.value());
    let namespace = namespace.unwrap_or_else(|| "cofferdam-system".to_owned());
    let holder = POD_NAME.value().unwrap_or_else(|| format!("pid-{}", std::process::id()));
    let (elected, role) = watch::channel(Role::default());
    if let Some(address) = args.health {
        let ready =
            Arc::new(Ready { status: status.subscribe(), role: role.clone(), standings: feed.standings() });
        tokio::spawn(health::serve(http::bind(address).await?, ready));
    }
    let provider_keys = if args.provider_keys { ProviderKeys::Read } else { ProviderKeys::NotRead };
    let reads = Reads { provider_keys, elsewhere: Some(namespace.clone()) };
    let (seen, written) = (status.subscribe(), status.subscribe());
    let (judge, asking) = args.hub.judging();
    let (to_hold, held) = watch::channel(Authorities::none(trust::NOT_YET));
    tokio::select! {
        () = controller::run(client.clone(), feed.clone(), catalog.clone(), status, reads, asking) => {}
        other = lease::run(client.clone(), (&namespace, lease::CONTROLLER), &holder, &elected) => {
            // A process that is no longer asked must not go on answering: its successor is another process.
            bail!("{other} leads now (Lease {namespace}/{}); this one ends, to stand again", lease::CONTROLLER);
        }
        served = serve_agents(args, &feed, &client, &namespace, role.clone(), held.clone()) => served?,
        answered = serve_webhook(args, &client, &namespace, catalog) => answered?,
        () = controller::write::run(client.clone(), feed.clone(), written, role.clone()) => {}
        () = follow(&args.catalog, catalogs) => {}
        () = args.trust.keep(args.certificates.is_none(), &client, &namespace, role.clone(), to_hold) => {}
        followed = args.hub.follow(&client, &namespace, role.clone(), judge) => followed?,
        () = tell(seen, role, args.json) => {}
        _ = interrupt.recv() => {}
        _ = terminate.recv() => {}
    }
    Ok(())
}

/// Serves agents once this one leads. Before, they are refused and try another.
async fn serve_agents(
    args: &ControllerArgs,
    feed: &Feed,
    client: &Client,
    namespace: &str,
    mut role: watch::Receiver<Role>,
    inspection: watch::Receiver<Authorities>,
) -> Result<()> {
    if role.wait_for(|role| *role == Role::Leads).await.is_err() {
        return Ok(());
    }
    let bind = || async { http::bind(args.listen).await.context("serving agents") };
    if let Some(folder) = &args.certificates {
        let (sender, latest) = watch::channel(Arc::new(identity(folder)?));
        let listener = bind().await?;
        tokio::join!(feed.serve(listener, latest, None), renew(folder, sender));
        return Ok(());
    }
    let authority = registrar::authority_at_last(client, namespace, args.maker(), complain).await;
    let names = vec![CONTROLLER.to_owned()];
    let own = authority.issue(&names, SystemTime::now())?;
    let (sender, latest) = watch::channel(Arc::new(own));
    let answers = registrar::registrar(client.clone(), namespace, Arc::clone(&authority), inspection);
    let listener = bind().await?;
    tokio::select! {
        () = feed.serve(listener, latest, Some(answers)) => Ok(()),
        () = registrar::renew(Arc::clone(&authority), names, sender) => Ok(()),
        () = registrar::until_superseded(client, namespace, &authority) => superseded(namespace),
    }
}

/// Answers reviews, of whichever replica is asked.
async fn serve_webhook(
    args: &ControllerArgs,
    client: &Client,
    namespace: &str,
    catalog: watch::Receiver<Arc<Catalog>>,
) -> Result<()> {
    let Some(address) = args.webhook else { return std::future::pending().await };
    let authority = registrar::authority_at_last(client, namespace, args.maker(), complain).await;
    let names = registrar::webhook_names(namespace);
    let (sender, latest) = watch::channel(Arc::new(authority.issue(&names, SystemTime::now())?));
    let vouch = async {
        loop {
            if let Err(error) = registrar::vouch_for_webhook(client, &authority).await {
                complain(error.to_string());
            }
            tokio::time::sleep(RENEW).await;
        }
    };
    let listener = http::bind(address).await.context("the webhook")?;
    tokio::select! {
        () = webhook::serve(listener, latest, catalog) => {}
        () = vouch => {}
        () = registrar::renew(Arc::clone(&authority), names, sender) => {}
        () = registrar::until_superseded(client, namespace, &authority) => return superseded(namespace),
    }
    Ok(())
}

/// Whoever was told of the old authority is told of the new one by the process that comes next.
fn superseded(namespace: &str) -> Result<()> {
    bail!(
        "the Secret {namespace}/{} holds another authority; this one ends, to begin with that",
        registrar::NAME
    )
}

pub(crate) fn complain(problem: String) {
    let _ = writeln!(std::io::stderr(), "cofferdam: {}", printable(&problem));
}

/// A client of the API server that a kubeconfig names, or that is at hand.
pub(crate) async fn client(kubeconfig: Option<&Path>) -> Result<Client> {
    client_and_place(kubeconfig).await.map(|(client, _)| client)
}

/// The same, and the URL of the server.
pub(crate) async fn client_and_place(kubeconfig: Option<&Path>) -> Result<(Client, String)> {
    let config = match kubeconfig {
        Some(path) => {
            let file = Kubeconfig::read_from(path).with_context(|| format!("reading {}", path.display()))?;
            Config::from_custom_kubeconfig(file, &KubeConfigOptions::default()).await?
        }
        None => Config::infer().await.context(
            "finding an API server: there is no kubeconfig and no service account; name a kubeconfig",
        )?,
    };
    let place = config.cluster_url.to_string();
    Ok((Client::try_from(config).context("preparing the API server's client")?, place))
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

/// Takes a new catalog when it can be used; goes on with the old one while it cannot, and says why.
async fn follow(catalog: &CatalogArg, to: watch::Sender<Arc<Catalog>>) {
    let mut said = String::new();
    loop {
        tokio::time::sleep(RENEW).await;
        let problem = match catalog.load() {
            Ok(new) => {
                to.send_if_modified(|held| {
                    let differs = **held != new;
                    *held = Arc::new(new);
                    differs
                });
                String::new()
            }
            Err(error) => format!("the catalog of before holds: {error:#}"),
        };
        if !problem.is_empty() && problem != said {
            complain(problem.clone());
        }
        said = problem;
    }
}

/// One line whenever something changes. Whoever read them may have left; that is no reason to stop.
async fn tell(mut status: watch::Receiver<Status>, mut role: watch::Receiver<Role>, as_json: bool) {
    let mut out = std::io::stdout();
    let mut said = String::new();
    loop {
        tokio::select! {
            changed = status.changed() => if changed.is_err() { return },
            changed = role.changed() => if changed.is_err() { return },
        }
        let line = line(&status.borrow_and_update(), &role.borrow_and_update(), as_json);
        if line != said {
            let _ = writeln!(out, "{line}").and_then(|()| out.flush());
        }
        said = line;
    }
}

fn line(status: &Status, role: &Role, as_json: bool) -> String {
    let errors = status.diagnostics.iter().filter(|it| it.is_error()).count();
    let failing = status.problems.iter().map(|(kind, why)| format!("{}: {why}", kind.plural()));
    let absent = status.absent.iter().map(|(kind, absent)| absent.of(*kind).to_string());
    let problems: Vec<String> = failing.chain(absent).collect();
    if as_json {
        let generation = status.generation.map(|it| it.0);
        return json!({ "controller": {
            "leads": *role == Role::Leads, "generation": generation, "policies": status.policies, "closedScopes": status.closed_scopes,
            "errors": errors, "problems": problems,
        } })
        .to_string();
    }
    let published = match status.generation {
        Some(generation) => format!(
            "generation {generation}: {}, {}, {}",
            counted(status.policies, "policy"),
            counted(status.closed_scopes, "closed scope"),
            counted(errors, "error")
        ),
        None => "nothing published yet".to_owned(),
    };
    let problems: Vec<_> = problems.iter().map(|problem| format!("; {}", printable(problem))).collect();
    let role = match role {
        Role::Unknown => "waits to be elected".to_owned(),
        Role::Barred(why) => format!("may not be elected ({})", printable(why)),
        Role::Stands(other) => format!("stands by ({} leads)", printable(other)),
        Role::Leads => "leads".to_owned(),
    };
    format!("{role}; {published}{}", problems.concat())
}
