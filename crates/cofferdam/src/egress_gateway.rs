//! `cofferdam egress-gateway`: connections of a cluster's pods leave from here, as their nodes ask for them.
//!
//! Enters: policy, from the controller or a folder; CONNECTs of nodes, by mutual TLS; and, where it has a door for them,
//! requests of workloads that are on no node, known by their certificates. Leaves: connections to servers, one
//! printed record for each, which is kept in a ledger where one is asked for, probes and figures. Guarantees: connects nobody before it has policy; goes on by what it had
//! last when the controller is gone; on SIGTERM takes no more, waits for what is open, and then ends.
//! Does not: enforce in the kernel, resolve names of pods, or read what is carried for pods.

mod door;
mod following;
mod told;

use crate::agent::credentials::Credentials;
use crate::catalog::CatalogArg;
use crate::environment::POD_NAME;
use crate::folder;
use crate::health::{self, Health};
use crate::http;
use crate::ledger_cmd::LedgerArgs;
use crate::metrics::Page;
use crate::plain::counted;
use crate::printer;
use crate::up::ground::host_name;
use crate::up::journal::Journal;
use crate::up::pen::{LedgerStatus, Pen};
use crate::up::watcher::Watcher;
use crate::up::{block_signals, source, watch::Watch};
use anyhow::{Context, Result, bail};
use clap::Args;
use door::DoorArgs;
use feed::tls::gateway_name;
use following::{Following, Renewal};
use gateway::{Central, CentralLimits, Counters, Counts, Keys, Phase, Policies};
use ipnet::IpNet;
use nix::sys::signalfd::SignalFd;
use policy::{Generation, Key, PolicySet, SecretRef, Verdict, keys_of_accounts};
use std::collections::BTreeMap;
use std::net::SocketAddr;
use std::os::fd::AsFd;
use std::path::PathBuf;
use std::sync::{Arc, Mutex, PoisonError};
use std::thread::JoinHandle;
use std::time::Duration;
use tokio::sync::watch;

/// How long the main loop sleeps when nothing happens.
const TICK: Duration = Duration::from_secs(2);

/// Give connections that leave a cluster stable addresses.
#[derive(Args, Debug)]
#[command(after_help = "Examples:
  cofferdam egress-gateway --controller 10.0.0.2:9443 --token TOKEN --authority ca.crt
  cofferdam egress-gateway -f manifests/ --certificates /etc/cofferdam
  cofferdam egress-gateway -f manifests/ --certificates /etc/cofferdam --front 0.0.0.0:9446 \\
    --clients /etc/cofferdam-clients --clients-domain prod.example.org \\
    --inspection-ca ca.crt --inspection-key ca.key

Nodes come to it with `cofferdam agent --egress-gateway` or `cofferdam up --egress-gateway`.")]
pub(crate) struct EgressGatewayArgs {
    /// Where a controller is, as HOST:PORT; may be repeated, then the next is tried when one does not answer
    #[arg(long, value_name = "ADDRESS", required_unless_present = "files")]
    controller: Vec<String>,
    /// Instead: manifest, or folder of manifests, as the nodes have it; may be repeated
    #[arg(short, long = "file", value_name = "PATH", conflicts_with = "controller")]
    files: Vec<PathBuf>,
    #[command(flatten)]
    catalog: CatalogArg,
    /// Folder with ca.crt, tls.crt (for egress.cofferdam.internal) and tls.key, read anew when they change
    #[arg(long, value_name = "DIR", required_unless_present = "token")]
    certificates: Option<PathBuf>,
    /// Instead: service account token to ask the controller for a certificate with
    #[arg(long, value_name = "FILE", requires = "authority", conflicts_with_all = ["certificates", "files"])]
    token: Option<PathBuf>,
    /// Certificate of the authority to believe, with --token
    #[arg(long, value_name = "FILE", requires = "token")]
    authority: Option<PathBuf>,
    /// Serve nodes here
    #[arg(long, value_name = "ADDRESS", value_parser = crate::http::address, default_value = "0.0.0.0:9445")]
    listen: SocketAddr,
    #[command(flatten)]
    door: DoorArgs,
    /// Names may lead into this private network; may be repeated. Into others only rules on addresses do
    #[arg(long = "private-network", value_name = "CIDR")]
    private: Vec<IpNet>,
    /// How long open connections are waited for at the end
    #[arg(long, value_name = "SECONDS", default_value_t = 300)]
    drain: u64,
    /// Answer /healthz, /readyz and /metrics here
    #[arg(long, value_name = "ADDRESS", value_parser = crate::http::address)]
    health: Option<SocketAddr>,
    /// Print one JSON object per line
    #[arg(long)]
    json: bool,
    #[command(flatten)]
    ledger: LedgerArgs,
}

impl EgressGatewayArgs {
    fn credentials(&self) -> Result<Credentials> {
        if let Some(folder) = &self.certificates {
            return Ok(Credentials::Folder(folder.clone()));
        }
        let token = self.token.clone().context("neither --certificates nor --token")?;
        let authority = self.authority.clone().context("--token without --authority")?;
        Ok(Credentials::Token { node: "egress-gateway".to_owned(), token, authority, held: None })
    }

    /// Who keeps records on disk, if that is asked for.
    fn pen(&self, name: &str) -> Result<Option<Arc<Pen>>> {
        let outlet = self.ledger.outlet(name, || Ok((self.credentials()?, self.controller.clone())))?;
        let pen = self.ledger.pen(None, outlet)?.map(Arc::new);
        pen.as_ref().map_or(Ok(()), |pen| pen.begin())?;
        Ok(pen)
    }
}

/// Who makes findings, where there is a place for them.
fn watcher(pen: Option<&Arc<Pen>>) -> Result<Option<Arc<Watcher>>> {
    let Some(pen) = pen else { return Ok(None) };
    // Nobody asks this process for them.
    let shelf = Arc::clone(&Journal::new(observe::Limits::default()).findings);
    Ok(Some(Arc::new(Watcher::start(shelf, Some(Arc::clone(pen)))?)))
}

/// The name of this replica, by which it follows a controller and which is the node of its records.
fn own_name() -> String {
    let host = POD_NAME.value().map_or_else(host_name, Ok);
    gateway_name(&host.unwrap_or_else(|_| std::process::id().to_string()))
}

/// What the threads share.
struct Shared {
    policies: watch::Sender<Option<Arc<Policies>>>,
    /// What requests of workloads that come by themselves leave with.
    keys: watch::Sender<Arc<Keys>>,
    counters: Arc<Counters>,
    phase: watch::Sender<Phase>,
    private: Vec<IpNet>,
    /// Keeps records on disk.
    pen: Option<Arc<Pen>>,
    /// Makes findings for the same place.
    watcher: Option<Arc<Watcher>>,
    /// Why nothing new comes.
    problem: Mutex<Option<String>>,
    /// Why it cannot be shown who this is.
    unknown: Mutex<Option<String>>,
    /// Why newer files about workloads that come by themselves are not gone by.
    unread: Mutex<Option<String>>,
    /// Why the store of their budgets is not reached.
    uncounted: Mutex<Option<String>>,
    as_json: bool,
}

impl Shared {
    /// Goes by another state of policy.
    fn load(&self, set: PolicySet) {
        let (generation, policies) = (set.generation, set.policies.len());
        if let Some(watcher) = &self.watcher {
            watcher.tune(&set.detection);
        }
        self.policies.send_replace(Some(Arc::new(Policies::new(set, self.private.clone()))));
        self.phase.send_modify(|phase| phase.changes = phase.changes.wrapping_add(1));
        self.say(&format!("generation {generation}: {}", counted(policies, "policy")));
    }

    /// Has requests leave with these keys from now on.
    fn inject_with(&self, keys: Keys) {
        self.keys.send_replace(Arc::new(keys));
    }

    /// Notes what is wrong, or that it is `well` again; says so where that is news.
    fn note(&self, what: &Mutex<Option<String>>, problem: Option<String>, well: &str) {
        let mut held = what.lock().unwrap_or_else(PoisonError::into_inner);
        if *held == problem {
            return;
        }
        self.say(problem.as_deref().unwrap_or(well));
        *held = problem;
    }

    fn say(&self, text: &str) {
        printer::note(text, self.as_json);
    }
}

impl Health for Shared {
    fn ready(&self) -> Result<(), String> {
        if self.phase.borrow().draining {
            return Err("it takes no more connections, and ends".to_owned());
        }
        if let Some(why) = &*self.unknown.lock().unwrap_or_else(PoisonError::into_inner) {
            return Err(why.clone());
        }
        match &*self.policies.borrow() {
            Some(policies) if policies.generation() > Generation(0) => Ok(()),
            Some(_) | None => Err("no policy was received yet, so nothing may pass".to_owned()),
        }
    }

    fn metrics(&self) -> Page {
        let mut page = Page::new();
        let generation = self.policies.borrow().as_ref().map_or(Generation(0), |it| it.generation());
        let is_cut_off = self.problem.lock().unwrap_or_else(PoisonError::into_inner).is_some();
        let ledger = self.pen.as_ref().map(|pen| pen.status());
        figures(&mut page, generation, is_cut_off, &self.counters.read(), ledger.as_ref());
        page
    }
}

/// How a replica stands, and what passed through it.
pub(crate) fn figures(
    page: &mut Page,
    generation: Generation,
    is_cut_off: bool,
    counts: &Counts,
    ledger: Option<&LedgerStatus>,
) {
    let of = |verdict: Verdict| {
        counts.reasons.iter().filter(|(reason, _)| reason.verdict() == verdict).map(|(_, count)| count).sum()
    };
    page.gauge("generation", "State of policy that is judged by; 0: none", generation.0);
    page.gauge("cut_off", "1 where the controller cannot be reached", u64::from(is_cut_off));
    page.gauge("egress_connections", "Connections of pods that are open", counts.open);
    page.counter("egress_passed", "Connections of pods that passed and ended", of(Verdict::Allow));
    page.counter("egress_refused", "Connections of pods that were refused or cut", of(Verdict::Deny));
    page.counter("egress_bytes_sent", "Bytes of pods, of ended connections", counts.bytes_up);
    page.counter("egress_bytes_received", "Bytes to pods, of ended connections", counts.bytes_down);
    page.counter("egress_records_lost", "Records that were not printed", counts.records_lost);
    page.counter(
        "egress_strangers",
        "Connections that were not those of a node, or for which there was no room",
        counts.accept_errors,
    );
    page.only("with `--ledger`", ledger, Page::ledger);
}

/// Runs until a signal, and then until nothing is open.
pub(crate) fn run(args: &EgressGatewayArgs) -> Result<()> {
    folder::are_there(&args.files)?;
    // Before any thread exists, so that all of them inherit it.
    let signals = block_signals()?;
    let pen = args.pen(&own_name())?;
    let shared = Arc::new(Shared {
        policies: watch::Sender::new(None),
        keys: watch::Sender::new(Arc::default()),
        counters: Arc::new(Counters::new()),
        phase: watch::Sender::new(Phase::default()),
        private: args.private.clone(),
        watcher: watcher(pen.as_ref())?,
        pen,
        problem: Mutex::default(),
        unknown: Mutex::new(Some("it has no certificate yet".to_owned())),
        unread: Mutex::default(),
        uncounted: Mutex::default(),
        as_json: args.json,
    });
    let mut watch = Watch::new(&args.files);
    let mut generation = Generation(0);
    if !args.files.is_empty() {
        read(args, &shared, &mut generation);
    }
    let served = serve(args, &shared)?;
    until_ended(args, &signals, &shared, &mut watch, &mut generation, &served);
    served.join().unwrap_or_else(|_| bail!("the thread that serves nodes panicked"))
}

fn until_ended(
    args: &EgressGatewayArgs,
    signals: &SignalFd,
    shared: &Shared,
    watch: &mut Watch,
    generation: &mut Generation,
    served: &JoinHandle<Result<()>>,
) {
    while !served.is_finished() {
        let changed = watch.wait(signals.as_fd(), TICK);
        if matches!(signals.read_signal(), Ok(Some(_))) {
            // Who asks twice does not want to wait.
            shared.phase.send_modify(|phase| {
                phase.now = phase.draining;
                phase.draining = true;
            });
        } else if changed && !args.files.is_empty() {
            watch.arm();
            read(args, shared, generation);
        }
    }
}

/// Goes by what files say. One with errors changes nothing where there is a good one, and closes what it may select where
/// there is none.
fn read(args: &EgressGatewayArgs, shared: &Shared, generation: &mut Generation) {
    let loaded = source::read(&args.files, &args.catalog, Generation(generation.0 + 1));
    let errors = loaded.diagnostics.iter().filter(|it| it.is_error()).count();
    let problem = (errors > 0).then(|| format!("{}; see `cofferdam policy check`", counted(errors, "error")));
    let is_first = shared.policies.borrow().is_none();
    if errors == 0 || is_first {
        *generation = loaded.set.generation;
        // Before the policy that asks for them.
        shared.inject_with(of_accounts(&loaded.set, &loaded.keys.unwrap_or_default()));
        shared.load(loaded.set);
    }
    shared.note(&shared.problem, problem, "the manifests can be read");
}

/// The keys that a controller would give: who may have them does not depend on where policy comes from.
fn of_accounts(set: &PolicySet, all: &BTreeMap<SecretRef, Key>) -> Keys {
    let wanted = keys_of_accounts(set);
    Keys::some(all, |secret| wanted.contains(secret))
}

/// Serves nodes on threads of their own.
fn serve(args: &EgressGatewayArgs, shared: &Arc<Shared>) -> Result<JoinHandle<Result<()>>> {
    let runtime =
        tokio::runtime::Builder::new_multi_thread().enable_all().build().context("starting the runtime")?;
    let (listener, health, door) = runtime.block_on(async {
        let health = match args.health {
            Some(address) => Some(http::bind(address).await?),
            None => None,
        };
        anyhow::Ok((http::bind(args.listen).await?, health, args.door.open(shared).await?))
    })?;
    shared.say(&format!("serves nodes at {}", args.listen));
    let drain_timeout = Duration::from_secs(args.drain);
    let limits = CentralLimits { drain_timeout, ..CentralLimits::default() };
    let limits = limits.within_descriptors();
    let sink = told::Told::start(args.json, shared.pen.clone(), shared.watcher.clone(), &own_name())
        .context("starting the printer's thread")?;
    let (policies, phase) = (shared.policies.subscribe(), shared.phase.subscribe());
    let central = Arc::new(Central::new(policies, sink.clone(), Arc::clone(&shared.counters), limits, phase));
    let following = Following::new(args.controller.clone(), args.credentials()?, Arc::clone(shared));
    let mut renewal = Renewal::new(args.controller.clone(), args.credentials()?, Arc::clone(shared));
    let shared = Arc::clone(shared);
    let run = move || {
        runtime.block_on(async {
            if let Some(listener) = health {
                tokio::spawn(health::serve(listener, Arc::clone(&shared)));
            }
            tokio::spawn(following.follow());
            let door = async move {
                match door {
                    Some(door) => door.serve(sink, drain_timeout).await,
                    None => Ok(()),
                }
            };
            let door = tokio::spawn(door);
            let mut phase = shared.phase.subscribe();
            let first = tokio::select! {
                first = renewal.first() => first,
                _ = phase.wait_for(|phase| phase.draining) => return Ok(()),
            };
            let (sender, identity) = watch::channel(Arc::new(first));
            tokio::spawn(renewal.keep(sender));
            central.serve(listener, identity).await;
            // It drains at the same time, and has as long.
            door.await.unwrap_or_else(|_| bail!("the task that serves workloads panicked"))
        })
    };
    std::thread::Builder::new().name("serve".into()).spawn(run).context("starting the thread that serves")
}
