//! `cofferdam ingress-gateway`: whoever asks models of a cluster comes through here.
//!
//! Enters: Gateways, routes, policies and who answers, from an API server or a folder; requests of clients. Leaves: what
//! the servers behind it may hear, one printed record for each request, which is kept in a ledger where one is asked for, probes
//! and figures. Guarantees: answers nobody
//! before everything was read once; goes on by what it had last where something cannot be put in force; on SIGTERM takes
//! no more, waits for what is under way, and then ends.

mod kept;
mod lookout;
mod memory;
mod status;
mod told;

use crate::agent::credentials::Credentials;
use crate::control;
use crate::environment::{POD_NAME, POD_NAMESPACE};
use crate::folder;
use crate::health::{self, Health};
use crate::http;
use crate::ledger_cmd::LedgerArgs;
use crate::metrics::Page;
use crate::printer;
use crate::up::ground::host_name;
use crate::up::{block_signals, spending::SpendingArgs, watch::Watch};
use crate::waf::read_rules;
use admit::Ledger;
use anyhow::{Context, Result, bail};
use clap::Args;
use controller::ingress::{Candidate, Known, Seen, Serves, Told, Writing};
use controller::lease::Role;
use crds::{Diagnostic, GatewayApi, Object};
use feed::tls::ingress_name;
use ingress::{Config, Figures, Limits, Server, SessionKeys, Settings};
use kept::Kept;
use memory::Memory;
use nix::sys::signalfd::SignalFd;
use purse::{Purse, StoreMeans, StoreStanding};
use routes::{Resource, Routing};
use rustls_pki_types::CertificateDer;
use status::Statuses;
use std::borrow::Cow;
use std::net::{IpAddr, SocketAddr};
use std::num::NonZeroUsize;
use std::os::fd::AsFd;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, MutexGuard, OnceLock, PoisonError};
use std::time::Duration;
use tokio::runtime::Runtime;
use tokio::sync::watch;

/// How long the main loop sleeps where nothing happens.
const TICK: Duration = Duration::from_millis(200);

/// Guard the models that you serve: who asks what, how much.
#[derive(Args, Debug)]
#[command(after_help = "Examples:
  cofferdam ingress-gateway -f manifests/ --port 80=8080 --crs /usr/share/modsecurity-crs
  cofferdam ingress-gateway --cluster --health 0.0.0.0:9090 --json

It serves the Gateways whose class has the controllerName cofferdam.dev/ingress-gateway. What an InferencePolicy may say is in
docs/reference/inference-policy.md; a route that no policy is attached to is closed.")]
pub(crate) struct IngressGatewayArgs {
    /// Manifest, or folder of manifests, read again when they change; may be repeated
    #[arg(short, long = "file", value_name = "PATH", required_unless_present = "cluster")]
    files: Vec<PathBuf>,
    /// Instead: what the API server of a cluster holds
    #[arg(long, conflicts_with = "files")]
    cluster: bool,
    /// How to reach the API server [default: $KUBECONFIG, ~/.kube/config, or the pod's service account]
    #[arg(long, value_name = "FILE", requires = "cluster")]
    kubeconfig: Option<PathBuf>,
    /// Namespace of the Lease by which one of several gateways writes status [default: $POD_NAMESPACE, else cofferdam-system]
    #[arg(long, value_name = "NAME", requires = "cluster")]
    namespace: Option<String>,
    /// The Service that leads here: its addresses are those that Gateways say they have
    #[arg(long, value_name = "NAMESPACE/NAME", requires = "cluster", value_parser = status::object)]
    service: Option<Resource>,
    /// Serve this Gateway and no other of its class: those have processes of their own, and so ports of their own
    #[arg(long, value_name = "NAMESPACE/NAME", value_parser = status::object)]
    gateway: Option<Resource>,
    /// Serve all of its class but this one, which has a process of its own; may be repeated
    #[arg(long, value_name = "NAMESPACE/NAME", value_parser = status::object, conflicts_with = "gateway")]
    except: Vec<Resource>,
    /// Read the Secrets of this namespace, and of no other that is not named too; may be repeated [default: of all]
    #[arg(long = "secrets-of", value_name = "NAMESPACE", requires = "cluster")]
    secrets: Vec<String>,
    /// Listen at this address
    #[arg(long, value_name = "ADDRESS", default_value = "0.0.0.0")]
    bind: IpAddr,
    /// Listen at PORT for the port that Gateways name; may be repeated
    #[arg(long = "port", value_name = "GATEWAY_PORT=PORT", value_parser = ports)]
    ports: Vec<(u16, u16)>,
    /// Take at most this many connections at once of one client address, of IPv6 of one /64; not where a load balancer hides
    /// clients behind its own [default: as many as of all]
    #[arg(long, value_name = "NUMBER")]
    connections_of_address: Option<NonZeroUsize>,
    /// Folder of an OWASP Core Rule Set, for policies with `waf`
    #[arg(long, value_name = "DIR")]
    crs: Option<PathBuf>,
    /// How long requests under way are waited for at the end
    #[arg(long, value_name = "SECONDS", default_value_t = 60)]
    drain: u64,
    /// Folder in which what consumers used of their limits, and tools of MCP servers as they were seen first, are kept over a
    /// restart; of this gateway alone [default: they are forgotten]
    #[arg(long, value_name = "DIR")]
    state: Option<PathBuf>,
    /// Keys by which ids of sessions, tasks (MCP, A2A) and stored objects are bound to whom they were given, the same for all
    /// gateways of one address: 64 hexadecimal digits a line; the first is used, and each is believed [default: made of the route's uid]
    #[arg(long, value_name = "FILE")]
    session_keys: Option<PathBuf>,
    /// Answer /healthz, /readyz and /metrics here
    #[arg(long, value_name = "ADDRESS", value_parser = crate::http::address)]
    health: Option<SocketAddr>,
    /// Print one JSON object per line
    #[arg(long)]
    json: bool,
    #[command(flatten)]
    ledger: LedgerArgs,
    /// Where a controller is that gives a certificate to show the collector, as HOST:PORT; may be repeated
    #[arg(long, value_name = "ADDRESS", requires = "token")]
    controller: Vec<String>,
    /// Service account token to ask it with
    #[arg(
        long,
        value_name = "FILE",
        requires = "authority",
        requires = "controller",
        requires = "collector"
    )]
    token: Option<PathBuf>,
    /// Certificate of the authority to believe, with --token
    #[arg(long, value_name = "FILE", requires = "token")]
    authority: Option<PathBuf>,
    #[command(flatten)]
    spending: SpendingArgs,
}

fn ports(text: &str) -> Result<(u16, u16), String> {
    let (named, own) = text.split_once('=').ok_or("write it as GATEWAY_PORT=PORT, for example 80=8080")?;
    let port = |text: &str| text.parse().map_err(|_| format!("{text} is no port"));
    Ok((port(named)?, port(own)?))
}

/// What the threads share.
struct Shared {
    told: Arc<told::Told>,
    /// Of the server, once there is one.
    figures: OnceLock<Figures>,
    standing: Mutex<Standing>,
    /// What is kept over a restart, where it is.
    memory: Option<Arc<Memory>>,
    /// The way to the store of shared budgets, where there is one.
    purse: Option<Arc<Purse<Ledger>>>,
    as_json: bool,
}

#[derive(Debug, Default)]
struct Standing {
    /// How often something was put in force.
    generation: u64,
    draining: bool,
    /// Why the newest is not in force.
    problem: Option<String>,
    /// Kinds whose watch fails.
    cut_off: usize,
    /// What is wrong with objects.
    errors: usize,
    /// What is closed, for it cannot be in force as it is written.
    closed: usize,
    /// Add-ons that the cluster does not have.
    missing: usize,
    /// How the writing of status goes, on a cluster.
    writing: Option<Writing>,
    /// Why limits are not shared, or not kept, as it was said last.
    limits: [Option<String>; 2],
}

impl Shared {
    fn standing(&self) -> MutexGuard<'_, Standing> {
        self.standing.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn say(&self, text: &str) {
        printer::note(text, self.as_json);
    }

    /// Says what became of the store of shared limits, and of the files in which they are kept.
    fn note_limits(&self) {
        let store = self.purse.as_ref().and_then(|purse| purse.standing().problem);
        let memory = self.memory.as_ref().and_then(|memory| memory.problem());
        let now = [store, memory];
        let before = std::mem::replace(&mut self.standing().limits, now.clone());
        let what = [
            (
                "the store of shared limits cannot be reached, and this gateway uses no more than its share",
                "the store of shared limits answers again",
            ),
            ("what was used of limits is NOT kept", "what was used of limits is kept again"),
        ];
        for ((before, now), (lost, back)) in before.iter().zip(now).zip(what) {
            match (before, now) {
                (None, Some(why)) => self.say(&format!("{lost}: {why}")),
                (Some(_), None) => self.say(back),
                (Some(_), Some(_)) | (None, None) => {}
            }
        }
    }
}

impl Health for Shared {
    fn ready(&self) -> Result<(), String> {
        let standing = self.standing();
        if standing.draining {
            return Err("it takes no more connections, and ends".to_owned());
        }
        match (&standing.problem, standing.generation) {
            (Some(problem), 0) => Err(problem.clone()),
            (None, 0) => Err("nothing was read yet".to_owned()),
            (_, _) => Ok(()),
        }
    }

    fn metrics(&self) -> Page {
        let mut page = Page::new();
        let store = self.purse.as_ref().map(|purse| purse.standing());
        let unkept = self.memory.as_ref().map(|memory| memory.problem().is_some());
        figures(&mut page, &self.standing(), store.as_ref(), unkept.as_ref());
        self.told.metrics(&mut page);
        if let Some(figures) = self.figures.get() {
            told::figures(
                &mut page,
                &figures.copies(),
                (figures.unpicked(), figures.crowded()),
                &figures.keys(),
            );
        }
        page
    }
}

/// Its figures, on a page that only describes them.
pub(crate) fn described(page: &mut Page) {
    figures(page, &Standing::default(), None, None);
    told::described(page);
}

/// How what is in force stands: with the store of shared limits, and whether what was used of limits is not kept, where these are.
fn figures(page: &mut Page, standing: &Standing, store: Option<&StoreStanding>, unkept: Option<&bool>) {
    page.counter("ingress_loads", "How often something else was put in force", standing.generation);
    page.gauge("ingress_stale", "1 where the newest is not in force", u64::from(standing.problem.is_some()));
    page.gauge("ingress_watches_failing", "Kinds that cannot be watched", standing.cut_off as u64);
    page.gauge("ingress_errors", "What is wrong with objects", standing.errors as u64);
    page.gauge("ingress_closed", "What is closed, for it cannot be enforced", standing.closed as u64);
    page.gauge("ingress_kinds_missing", "Kinds that the cluster does not have", standing.missing as u64);
    page.only("on a cluster", standing.writing.as_ref(), |page, writing| {
        let leads = u64::from(writing.role == Role::Leads);
        page.gauge("ingress_status_leads", "1 where this one writes status", leads);
        let fails = u64::from(writing.problem.is_some() || matches!(writing.role, Role::Barred(_)));
        page.gauge("ingress_status_failing", "1 where some status cannot be written", fails);
    });
    page.only("with `--budget-store`", store, |page, store| {
        page.gauge(
            "ingress_budget_store_down",
            "1 where limits are not shared, for the store cannot be reached",
            u64::from(store.problem.is_some()),
        );
        page.counter("ingress_budget_store_failures", "Times that the store gave no answer", store.failures);
    });
    page.only("with `--state`", unkept, |page, unkept| {
        page.gauge(
            "ingress_state_failing",
            "1 where what was used of limits is not kept, for it cannot be written",
            u64::from(*unkept),
        );
    });
}

/// Where objects come from.
enum Source {
    Files(Watch),
    Cluster(watch::Receiver<Known>),
}

/// Runs until a signal, and then until nothing is under way.
pub(crate) fn run(args: &IngressGatewayArgs) -> Result<()> {
    folder::are_there(&args.files)?;
    // Before any thread exists, so that all of them inherit it.
    let signals = block_signals()?;
    let runtime =
        tokio::runtime::Builder::new_multi_thread().enable_all().build().context("starting the runtime")?;
    let settings = args.settings()?;
    let memory = match &args.state {
        Some(folder) => Some(Memory::start(folder, &settings.ledger, &settings.pins)?),
        None => None,
    };
    let shared = Arc::new(Shared {
        told: told::Told::start(args.json, args.kept()?).context("starting the printer's thread")?,
        figures: OnceLock::new(),
        standing: Mutex::default(),
        memory: memory.clone(),
        purse: settings.purse.clone(),
        as_json: args.json,
    });
    let waf = match &args.crs {
        Some(folder) => read_rules(folder)?.into(),
        None => Arc::default(),
    };
    let (mut source, statuses) = args.source(&runtime)?;
    let serves = args.serves();
    let mut gateway = Gateway { settings, waf, shared: Arc::clone(&shared), server: None, statuses, serves };
    if let Some(address) = args.health {
        let listener = runtime.block_on(http::bind(address))?;
        runtime.spawn(health::serve(listener, Arc::clone(&shared)));
    }
    let _on_the_runtime = runtime.enter();
    if let Source::Files(_) = source {
        gateway.load(&of_files(&args.files));
    }
    until_signal(args, &signals, &mut source, &mut gateway);
    shared.standing().draining = true;
    let Some(server) = gateway.server else { return Ok(()) };
    let ended = drained(args, &runtime, &shared, &signals, server);
    // Of what ended in order, all is kept.
    if let Some(memory) = memory {
        memory.keep();
        memory.problem().map_or(Ok(()), |problem| Err(anyhow::anyhow!(problem)))?;
    }
    ended
}

/// Waits for what is under way.
fn drained(
    args: &IngressGatewayArgs,
    runtime: &Runtime,
    shared: &Shared,
    signals: &SignalFd,
    server: Server,
) -> Result<()> {
    shared.say("takes no more, and waits for what is under way");
    let (done, ended) = std::sync::mpsc::channel();
    let patience = Duration::from_secs(args.drain);
    runtime.spawn(async move { done.send(server.drain(patience).await) });
    loop {
        // Who asks twice does not want to wait.
        match ended.recv_timeout(TICK) {
            Err(std::sync::mpsc::RecvTimeoutError::Timeout)
                if !matches!(signals.read_signal(), Ok(Some(_))) => {}
            Ok(true) => return Ok(()),
            _ => bail!("requests were under way when it ended"),
        }
    }
}

impl IngressGatewayArgs {
    /// Who keeps records on disk, if that is asked for.
    fn kept(&self) -> Result<Option<Kept>> {
        let host = POD_NAME.value().map_or_else(host_name, Ok);
        let node = ingress_name(&host.unwrap_or_else(|_| std::process::id().to_string()));
        let own = || {
            let (Some(token), Some(authority)) = (self.token.clone(), self.authority.clone()) else {
                bail!(
                    "--collector needs a certificate to show: --collector-certificates, or --controller, --token and \
                     --authority"
                );
            };
            let node = "ingress-gateway".to_owned();
            Ok((Credentials::Token { node, token, authority, held: None }, self.controller.clone()))
        };
        let outlet = self.ledger.outlet(&node, own)?;
        let Some(pen) = self.ledger.pen(None, outlet)? else { return Ok(None) };
        pen.begin()?;
        Ok(Some(Kept::new(Arc::new(pen), &node)))
    }

    fn settings(&self) -> Result<Settings> {
        let mut roots = rustls::RootCertStore::empty();
        let found: Vec<CertificateDer<'static>> = rustls_native_certs::load_native_certs().certs;
        let _some_cannot_be_read = roots.add_parsable_certificates(found);
        let ports = self.ports.iter().copied().collect();
        let ledger: Arc<Ledger> = Arc::default();
        let purse = match self.spending.store()? {
            Some(means) => {
                let node = POD_NAME.value().unwrap_or_else(|| "ingress-gateway".to_owned());
                let means = Arc::new(StoreMeans { node: node.into(), ..means });
                Some(Purse::start(means, &ledger).context("starting the thread that shares limits")?)
            }
            None => None,
        };
        let prices = self.spending.prices()?;
        let (bind, roots) = (self.bind, Arc::new(roots));
        let limits = Limits { connections_of_address: self.connections_of_address, ..Limits::default() };
        let session_keys = match &self.session_keys {
            Some(file) => session_keys(file)?,
            None => SessionKeys::default(),
        };
        Ok(Settings {
            bind,
            ports,
            limits,
            roots,
            ledger,
            prices,
            purse,
            session_keys,
            ..Settings::default()
        })
    }

    fn serves(&self) -> Serves {
        match &self.gateway {
            Some(gateway) => Serves::Only(gateway.clone()),
            None if self.except.is_empty() => Serves::All,
            None => Serves::AllBut(self.except.clone()),
        }
    }

    /// With what is written back, where it can be.
    fn source(&self, runtime: &Runtime) -> Result<(Source, Option<Statuses>)> {
        if !self.cluster {
            return Ok((Source::Files(Watch::new(&self.files)), None));
        }
        let client = runtime.block_on(control::client(self.kubeconfig.as_deref()))?;
        let (sender, known) = watch::channel(Known::default());
        let (watching, secrets) = (client.clone(), self.secrets.clone());
        runtime.spawn(async move { controller::ingress::follow(watching, &secrets, sender).await });
        let namespace = self.namespace.clone().or_else(|| POD_NAMESPACE.value());
        let namespace = namespace.unwrap_or_else(|| "cofferdam-system".to_owned());
        let name = POD_NAME.value().unwrap_or_else(|| format!("pid-{}", std::process::id()));
        let candidate = Candidate { namespace, name, serves: self.serves() };
        let statuses = Statuses::start(runtime, client, candidate, self.service.clone());
        Ok((Source::Cluster(known), Some(statuses)))
    }
}

fn session_keys(file: &Path) -> Result<SessionKeys> {
    let text = std::fs::read_to_string(file).with_context(|| format!("reading {}", file.display()))?;
    SessionKeys::read(&text).map_err(|why| anyhow::anyhow!("{}: {why}", file.display()))
}

fn until_signal(args: &IngressGatewayArgs, signals: &SignalFd, source: &mut Source, gateway: &mut Gateway) {
    // It watches nothing, and waits for signals alone.
    let mut nothing = Watch::new(&[]);
    loop {
        let changed = match source {
            Source::Files(watch) => watch.wait(signals.as_fd(), TICK),
            Source::Cluster(_) => nothing.wait(signals.as_fd(), TICK),
        };
        if matches!(signals.read_signal(), Ok(Some(_))) {
            return;
        }
        match source {
            Source::Files(watch) if changed => {
                watch.arm();
                gateway.load(&of_files(&args.files));
            }
            Source::Cluster(known) if known.has_changed().unwrap_or(false) => {
                let known = known.borrow_and_update().clone();
                gateway.watches_fail(&known);
                if let Some(seen) = known.seen {
                    gateway.load(&seen);
                }
            }
            Source::Files(_) | Source::Cluster(_) => {}
        }
        gateway.note_writing();
        gateway.shared.note_limits();
    }
}

fn of_files(files: &[PathBuf]) -> Seen {
    let read = folder::read(files, None);
    Seen { objects: read.objects, diagnostics: read.diagnostics }
}

/// All but Gateways that are not served here.
fn without_others(objects: &[Object], serves: &Serves) -> Vec<Object> {
    let is_served = |object: &&Object| {
        let Object::GatewayApi(GatewayApi::Gateway(it)) = object else { return true };
        serves.has(&it.meta.namespace, &it.meta.name)
    };
    objects.iter().filter(is_served).cloned().collect()
}

/// The server, once there is one.
struct Gateway {
    settings: Settings,
    waf: Arc<[(String, Vec<u8>)]>,
    shared: Arc<Shared>,
    server: Option<Server>,
    statuses: Option<Statuses>,
    /// Which Gateways of our classes are served.
    serves: Serves,
}

impl Gateway {
    /// Goes by these objects, or says why it does not.
    fn load(&mut self, seen: &Seen) {
        let objects = match &self.serves {
            Serves::All => Cow::Borrowed(&*seen.objects),
            serves => Cow::Owned(without_others(&seen.objects, serves)),
        };
        let config = Config::of(&objects, Arc::clone(&self.waf));
        let (policies, judged) = admit::Policies::build(config.policies.clone());
        let all: Vec<&Diagnostic> = seen.diagnostics.iter().chain(&judged).collect();
        for diagnostic in &all {
            self.shared.say(&diagnostic.to_string());
        }
        let (routing, statuses) = Routing::build(&objects);
        for wrong in told::wrong(&statuses) {
            self.shared.say(&wrong);
        }
        let server = self.server.get_or_insert_with(|| {
            let sink = Arc::clone(&self.shared.told);
            Server::start(self.settings.clone(), sink)
        });
        self.shared.figures.get_or_init(|| server.figures());
        let taken = server.reload(config);
        if let Some(to) = &self.statuses {
            let faults = status::faults(&taken, server, &routing);
            let (diagnostics, statuses, service) = (&*all, &*statuses, to.service.as_ref());
            let (objects, policies, faults) = (&*objects, &policies, &faults);
            let serves = &self.serves;
            to.say(&Told { objects, diagnostics, statuses, policies, faults, service, serves });
        }
        let mut standing = self.shared.standing();
        standing.errors = all.iter().filter(|it| it.is_error()).count();
        standing.problem = None;
        match taken {
            Ok(faults) => {
                standing.generation += 1;
                standing.closed = faults.len();
                for fault in faults {
                    self.shared.say(&format!("CLOSED: {:#}", anyhow::Error::new(fault)));
                }
                self.shared.say(&told::serves(server));
            }
            Err(error) => {
                let problem = format!("NOT in force: {:#}", anyhow::Error::new(error));
                self.shared.say(&problem);
                standing.problem = Some(problem);
            }
        }
    }

    fn watches_fail(&self, known: &Known) {
        let mut standing = self.shared.standing();
        if standing.cut_off != known.problems.len() {
            for (kind, why) in &known.problems {
                self.shared.say(&format!("cannot watch {kind}, and goes on by what it knows: {why}"));
            }
        }
        standing.cut_off = known.problems.len();
        if standing.missing != known.missing.len() {
            told::missing(&known.missing).iter().for_each(|line| self.shared.say(line));
        }
        standing.missing = known.missing.len();
    }

    fn note_writing(&mut self) {
        let Some(statuses) = &mut self.statuses else { return };
        if statuses.writing.has_changed().unwrap_or(false) {
            let writing = statuses.writing.borrow_and_update().clone();
            self.shared.say(&status::line(&writing));
            self.shared.standing().writing = Some(writing);
        }
    }
}
