//! `cofferdam up`: one process that enforces a folder of manifests and remembers what happened.
//!
//! Enters: files and folders, and the machine or a lab to enforce on. Leaves: rules in the kernel, records, a local
//! socket that answers `flows` and `status`.
//! Guarantees: says exactly what is not enforced; ends on SIGINT and SIGTERM and leaves the rules in force, except in
//! a lab, which it removes.
//! Does not: talk to an API server.

mod account;
mod budgets;
pub(crate) mod calls;
pub(crate) mod client;
pub(crate) mod cluster;
pub(crate) mod dns;
pub(crate) mod dns_proxy;
pub(crate) mod egress;
pub(crate) mod enforce;
pub(crate) mod engine;
mod events;
pub(crate) mod finding;
mod gate;
pub(crate) mod gateway_proxy;
pub(crate) mod ground;
pub(crate) mod hosted;
pub(crate) mod inspection;
pub(crate) mod journal;
pub(crate) mod keeper;
pub(crate) mod lab_plan;
pub(crate) mod lookup;
mod memory;
pub(crate) mod names;
pub(crate) mod passage;
pub(crate) mod pen;
mod pod_files;
pub(crate) mod protocol;
pub(crate) mod quarantine;
mod quotas;
pub(crate) mod reach;
pub(crate) mod say;
pub(crate) mod seen;
pub(crate) mod shadow;
pub(crate) mod sight;
pub(crate) mod socket;
pub(crate) mod source;
pub(crate) mod spending;
pub(crate) mod tuned;
mod visits;
pub(crate) mod watch;
pub(crate) mod watcher;

pub(crate) use ground::uninstall;

use crate::agent;
use crate::catalog::CatalogArg;
use crate::folder;
use crate::health::{self, Health};
use crate::ledger_cmd::LedgerArgs;
use crate::metrics::Page;
use crate::respond::Responder;
use crate::sending::Outlet;
use crate::serving::{self, ServeArgs};
use anyhow::{Context, Result, bail};
use clap::Args;
use dns::DnsArgs;
use engine::{Engine, Leader};
pub(crate) use hosted::Hosted;
use journal::Journal;
use memory::Memory;
use nix::sys::signal::{SigSet, Signal};
use nix::sys::signalfd::{SfdFlags, SignalFd};
use observe::Limits;
use policy::Generation;
use protocol::{Load, Outcome, Status};
use quarantine::Quarantines;
use say::Say;
use shadow::ShadowStatus;
use socket::{Socket, Source};
use std::net::SocketAddr;
use std::os::fd::AsFd;
use std::path::PathBuf;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;
use watch::Watch;

/// Enforce manifests on this machine, or in a lab.
#[derive(Args, Debug)]
#[command(after_help = "Examples:
  cofferdam up -f manifests/                     enforce on this machine
  cofferdam up -f examples/genai --lab --flows   run the pods in a lab and show what happens
  cofferdam up -f manifests/ --once              put the rules in force and leave
  cofferdam up -f now/ --shadow next/            enforce now/, and show what next/ would have done (`cofferdam shadow`)

Without --lab the rules stay in force when the process ends; `cofferdam uninstall` removes them.
Edits take effect within a second. An edit with errors leaves the last good policy in force.")]
pub(crate) struct UpArgs {
    /// Manifest, or folder of manifests; may be repeated
    #[arg(short, long = "file", value_name = "PATH", required = true)]
    files: Vec<PathBuf>,
    /// Manifest, or folder of manifests, whose policies are judged by beside those of --file, without effect: `cofferdam shadow`
    /// shows the difference. Parties are those of --file; may be repeated
    #[arg(long, value_name = "PATH")]
    shadow: Vec<PathBuf>,
    #[command(flatten)]
    catalog: CatalogArg,
    /// Name of the node to enforce for [default: this machine's host name]
    #[arg(long, value_name = "NAME", conflicts_with = "lab")]
    node: Option<String>,
    /// Make nodes and pods as network namespaces and enforce there
    #[arg(long)]
    lab: bool,
    /// End when the commands of all jobs (or, where there is none, of all pods) have ended; with --flows, count
    /// what was allowed and denied at the end
    #[arg(long, requires = "lab", overrides_with = "keep")]
    until_done: bool,
    /// Run on when the commands of all jobs have ended (the default)
    #[arg(long, requires = "lab")]
    keep: bool,
    /// Only make the lab: for `lab up`
    #[arg(skip)]
    pub(crate) unenforced: bool,
    /// Put the rules in force and end
    #[arg(long, conflicts_with = "lab")]
    once: bool,
    /// Drop traffic of interfaces whose names begin so until their pod is managed; may be repeated
    #[arg(long, value_name = "PREFIX")]
    guard: Vec<String>,
    /// Let open connections live on as they were judged when policy changes
    #[arg(long)]
    keep_connections: bool,
    /// Enforce nothing and change nothing on this machine: only judge and answer questions
    #[arg(long)]
    judge_only: bool,
    /// Print records as they come
    #[arg(long)]
    flows: bool,
    /// Print one JSON object per line
    #[arg(long)]
    json: bool,
    /// How many records to keep
    #[arg(long, value_name = "N", default_value_t = Limits::default().records)]
    records: usize,
    /// Local socket to answer at
    #[arg(long, value_name = "PATH")]
    socket: Option<PathBuf>,
    /// Answer /healthz, /readyz and /metrics here
    #[arg(long, value_name = "ADDRESS", value_parser = crate::http::address, conflicts_with = "once")]
    health: Option<SocketAddr>,
    #[command(flatten)]
    ledger: LedgerArgs,
    #[command(flatten)]
    dns: DnsArgs,
    #[command(flatten)]
    serve: ServeArgs,
}

impl UpArgs {
    /// Whether it makes a lab.
    pub(crate) fn in_lab(&self) -> bool {
        self.lab
    }

    /// What is known of names: zones whose names may lead to private addresses are private to policy as well.
    fn catalog(&self) -> CatalogArg {
        self.catalog.with_zones(&self.dns.private_zones)
    }

    /// A lab without enforcement.
    pub(crate) fn lab_only(files: Vec<PathBuf>, json: bool, socket: Option<PathBuf>) -> Self {
        Self {
            files,
            shadow: Vec::new(),
            catalog: CatalogArg::default(),
            node: None,
            lab: true,
            until_done: false,
            keep: true,
            unenforced: true,
            once: false,
            guard: Vec::new(),
            keep_connections: false,
            judge_only: false,
            flows: false,
            json,
            records: Limits::default().records,
            socket,
            health: None,
            ledger: LedgerArgs::default(),
            dns: DnsArgs::default(),
            serve: ServeArgs::default(),
        }
    }
}

/// How long the main loop sleeps when nothing happens.
const TICK: Duration = Duration::from_secs(2);

/// The engine, shared with the socket.
struct Running {
    engine: Arc<Mutex<Engine>>,
    journal: Arc<Journal>,
    lab: Option<Hosted>,
    responder: Responder,
}

impl Running {
    fn engine(&self) -> MutexGuard<'_, Engine> {
        // After a panic in a load the last good tables are still the kernel's; go on showing them.
        self.engine.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Source for Running {
    fn status(&self) -> Status {
        self.engine().status()
    }

    fn journal(&self) -> &Journal {
        &self.journal
    }

    fn lab(&self) -> Option<&Hosted> {
        self.lab.as_ref()
    }

    fn release(&self) -> anyhow::Result<()> {
        self.engine().remove()
    }

    fn responder(&self) -> Option<&Responder> {
        Some(&self.responder)
    }

    fn shadow(&self) -> Option<ShadowStatus> {
        self.engine().shadow()
    }
}

impl Health for Running {
    fn ready(&self) -> Result<(), String> {
        let mut engine = self.engine();
        if engine.in_force() > Generation(0) {
            return Ok(());
        }
        Err(format!("no policy is in force: {}", engine.status().degraded.join("; ")))
    }

    fn metrics(&self) -> Page {
        let mut page = Page::new();
        agent::figures(&mut page, &self.engine().status());
        page
    }
}

/// Runs the command until a signal. Whether what was loaded first is in force, or judged by if that was asked for.
pub(crate) fn run(args: &UpArgs) -> Result<bool> {
    // A folder that is not there, or not yet, would be taken for policy that forbids nothing.
    folder::are_there(&args.files).context("what was in force stays as it was")?;
    // Before any thread exists, so that all of them inherit it.
    let signals = block_signals()?;
    // Before a lab may enter a user namespace, where the usual places are others.
    let socket = Socket::bind(args.socket.as_deref())?;
    let say = Arc::new(Say::new(args.json));
    let door = args.serve.open(socket.path(), args.lab)?;
    let health = args.health.map(health::open).transpose()?;
    let pen = args.ledger.pen(args.serve.ledger_beside(socket.path()), outlet(args)?)?;
    let journal = Journal::new(Limits { records: args.records, ..Limits::default() });
    let journal = Arc::new(journal.kept_by(pen));
    let (mut engine, lab) = engine(args, &socket, &journal)?;
    engine.with_quarantines(Quarantines::beside(socket.path()));
    // A process with threads cannot enter a user namespace, so not before the lab is there.
    journal.watch()?;
    let watched = args.files.iter().chain(&args.shadow).chain(args.catalog.file());
    let watched: Vec<PathBuf> = watched.cloned().collect();
    let mut watch = Watch::new(&watched);
    engine.watched_by(watch.method());
    let load = load(args, &mut engine, &say);
    let in_force = match load.outcome {
        Outcome::Applied | Outcome::AppliedWithClosedScopes => true,
        // As was asked for.
        Outcome::JudgedOnly => true,
        Outcome::KeptLastGood | Outcome::Refused => false,
    };
    if args.once {
        return Ok(in_force);
    }
    if lab.is_some() && !in_force {
        bail!("the pods' programs are not started: {}", engine.status().degraded.join("; "));
    }
    let engine = Arc::new(Mutex::new(engine));
    Leader::lead(&engine, &journal);
    args.dns.egress.follow(&engine, None, &[])?;
    if let Some(lab) = &lab {
        lab.start(Arc::clone(&say))?;
    }
    let responder = Responder::new(Arc::clone(&engine), Arc::clone(&journal));
    let running = Arc::new(Running { engine, journal, lab, responder });
    socket.serve(&running)?;
    say.ready(&running.status(), socket.path());
    if let Some(door) = door {
        let (engine, journal) = (Arc::clone(&running.engine), Arc::clone(&running.journal));
        let catalog = args.catalog().read().unwrap_or_default();
        door.serve(serving::Running { engine, journal, files: args.files.clone(), catalog }, &say)?;
    }
    if let Some(listener) = health {
        health::serve_apart(listener, Arc::clone(&running))?;
    }
    if args.flows {
        say.follow(&running.journal)?;
    }
    watch_until_signal(args, &mut watch, &signals, &running, &say);
    if args.until_done && args.flows {
        say.summary(&running.journal, &running.status());
    }
    // Clients may still hold what is running; the lab goes now.
    if let Some(lab) = &running.lab {
        lab.down();
    }
    Ok(in_force)
}

/// Reads what is to be enforced, and what is judged by beside it.
fn load(args: &UpArgs, engine: &mut Engine, say: &Say) -> Load {
    if !args.shadow.is_empty() {
        let read = shadow::read(&args.files, &args.shadow, &args.catalog());
        engine.shadow_by(&args.shadow, read);
    }
    let load = engine.load(|next| source::read(&args.files, &args.catalog(), next)).clone();
    say.load(&load);
    if let Some(problem) = engine.shadow().and_then(|it| it.problem) {
        say.note(&format!("nothing is judged by the candidate: {problem}"));
    }
    load
}

/// How the collector of the cluster is sent records, if that is asked for.
fn outlet(args: &UpArgs) -> Result<Option<Outlet>> {
    let node = match &args.node {
        Some(node) => node.clone(),
        None => ground::host_name()?,
    };
    let own = || bail!("--collector needs --collector-certificates: nobody here has a certificate to show");
    let outlet = args.ledger.outlet(&node, own)?;
    if args.lab && outlet.is_some() {
        bail!("--collector with --lab: a lab has records of several nodes, and a sender speaks for one");
    }
    Ok(outlet)
}

fn engine(args: &UpArgs, socket: &Socket, journal: &Arc<Journal>) -> Result<(Engine, Option<Hosted>)> {
    let sources = args.files.iter().map(|path| path.display().to_string()).collect();
    if !args.lab {
        let ground = ground::machine(args, socket.path(), journal)?;
        let memory = Some(Memory::beside(socket.path()));
        let mut engine = Engine::new(ground, sources, Arc::clone(journal), memory);
        engine.with_dns(args.dns.clone(), Some(&socket.path().with_extension("names")));
        return Ok((engine, None));
    }
    let (ground, places, lab) = hosted::make(args, journal)?;
    let mut engine = Engine::new(ground, sources, Arc::clone(journal), None);
    engine.in_lab(places, lab.as_ref().map(Hosted::pods).unwrap_or_default());
    engine.with_dns(args.dns.clone(), None);
    Ok((engine, lab))
}

/// SIGINT and SIGTERM as something to wait for. Programs that this starts get them unblocked again.
pub(crate) fn block_signals() -> Result<SignalFd> {
    let mut set = SigSet::empty();
    set.add(Signal::SIGINT);
    set.add(Signal::SIGTERM);
    set.thread_block().context("blocking signals")?;
    SignalFd::with_flags(&set, SfdFlags::SFD_CLOEXEC | SfdFlags::SFD_NONBLOCK).context("waiting for signals")
}

fn watch_until_signal(args: &UpArgs, watch: &mut Watch, signals: &SignalFd, running: &Running, say: &Say) {
    let mut is_told = false;
    loop {
        let changed = watch.wait(signals.as_fd(), TICK);
        if matches!(signals.read_signal(), Ok(Some(_))) {
            return;
        }
        if changed || running.engine().wants_retry() {
            // First look where to watch, then read: a change in between is noticed again.
            watch.arm();
            load(args, &mut running.engine(), say);
        }
        let news = running.engine().tick();
        if let Some(news) = news {
            say.note(&news);
        }
        if args.until_done && running.lab.as_ref().is_none_or(Hosted::has_ended) {
            return;
        }
        if !is_told && running.lab.as_ref().is_some_and(|lab| lab.has_jobs() && lab.has_ended()) {
            is_told = true;
            if args.flows {
                say.summary(&running.journal, &running.status());
            }
            say.note("the commands of all jobs have ended; the lab stays until Ctrl-C");
        }
    }
}
