//! `cofferdam agent`: enforces on one node of a cluster what the controller publishes.
//!
//! Enters: the feed. Leaves: rules in the kernel, records, a local socket that answers `flows` and `status`, and how the
//! node stands to the controller.
//! Guarantees: what is in force stays so without the controller, and over restarts of this process; where nothing was ever
//! received, what the guard covers is closed. Does not: read manifests or talk to the API server.

pub(crate) mod credentials;
mod inspection;
mod kept;
mod link;

use crate::environment::NODE_NAME;
use crate::health::{self, Health};
use crate::http;
use crate::ledger_cmd::LedgerArgs;
use crate::metrics::Page;
use crate::respond::Responder;
use crate::serving::{self, ServeArgs};
use crate::up::dns::DnsArgs;
use crate::up::enforce::Enforcer;
use crate::up::engine::{Engine, Leader, Loaded, Sandbox};
use crate::up::ground::{Ground, host_name};
use crate::up::inspection::Home;
use crate::up::journal::Journal;
use crate::up::lab_plan::Runs;
use crate::up::protocol::{DnsStatus, GatewayStatus, Mode, NodeStatus, Status};
use crate::up::say::Say;
use crate::up::socket::{Socket, Source};
use crate::up::{Hosted, block_signals};
use anyhow::{Context, Result, bail};
use clap::Args;
use credentials::Credentials;
use datapath::Config;
use feed::Replica;
use inspection::Asking;
use kept::Kept;
use link::Link;
use nix::poll::{PollFd, PollFlags, poll};
use nix::sys::signalfd::SignalFd;
use observe::Limits;
use policy::{Generation, PolicySet, World};
use std::collections::BTreeSet;
use std::net::{IpAddr, SocketAddr};
use std::os::fd::AsFd;
use std::path::PathBuf;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};
use tokio::sync::watch;

/// Enforce on this node what the controller publishes.
#[derive(Args, Debug)]
#[command(after_help = "Examples:
  cofferdam agent --controller 10.0.0.2:9443 --certificates /etc/cofferdam --guard veth
  cofferdam status

The rules stay in force when the process ends; `cofferdam uninstall` removes them.")]
pub(crate) struct AgentArgs {
    /// Where a controller is, as HOST:PORT; may be repeated, then the next is tried when one does not answer
    #[arg(long, value_name = "ADDRESS", required = true)]
    controller: Vec<String>,
    /// Name of this node in the cluster [default: $NODE_NAME, else this machine's host name]
    #[arg(long, value_name = "NAME")]
    node: Option<String>,
    /// Folder with ca.crt, tls.crt and tls.key, read anew for each connection
    #[arg(long, value_name = "DIR", required_unless_present = "token")]
    certificates: Option<PathBuf>,
    /// Instead: service account token to ask the controller for a certificate with
    #[arg(long, value_name = "FILE", requires = "authority", conflicts_with = "certificates")]
    token: Option<PathBuf>,
    /// Certificate of the authority to believe, with --token
    #[arg(long, value_name = "FILE", requires = "token")]
    authority: Option<PathBuf>,
    /// Folder for the last state and the local socket; a reboot should empty it
    #[arg(long, value_name = "DIR", default_value = "/run/cofferdam")]
    state: PathBuf,
    /// Drop traffic of interfaces whose names begin so until their pod is managed; may be repeated
    #[arg(long, value_name = "PREFIX")]
    guard: Vec<String>,
    /// Say that cofferdam-cni holds pods until they are managed
    #[arg(long)]
    cni: bool,
    /// Let open connections live on as they were judged when policy changes
    #[arg(long)]
    keep_connections: bool,
    /// Answer /healthz, /readyz and /metrics here
    #[arg(long, value_name = "ADDRESS", value_parser = crate::http::address)]
    health: Option<SocketAddr>,
    /// Print one JSON object per line
    #[arg(long)]
    json: bool,
    /// How many records to keep
    #[arg(long, value_name = "N", default_value_t = Limits::default().records)]
    records: usize,
    #[command(flatten)]
    ledger: LedgerArgs,
    #[command(flatten)]
    dns: DnsArgs,
    #[command(flatten)]
    serve: ServeArgs,
}

/// How long the main loop sleeps when nothing happens.
const TICK: Duration = Duration::from_secs(2);

/// How long a pod may take to be settled, and how often it is looked for.
const SETTLE: Duration = Duration::from_secs(8);
const LOOK: Duration = Duration::from_millis(20);

/// What the threads share.
struct Agent {
    engine: Arc<Mutex<Engine>>,
    journal: Arc<Journal>,
    say: Say,
    /// Whether somebody holds pods until they are settled, or drops their traffic.
    holds_pods: AtomicBool,
    /// Counts what the main loop changed, for the one who tells the controller.
    changes: watch::Sender<u64>,
    node: String,
    /// Namespaces with pods here that want an inspection authority of their own.
    wanting: watch::Sender<BTreeSet<Arc<str>>>,
    responder: Responder,
}

impl Agent {
    fn engine(&self) -> MutexGuard<'_, Engine> {
        // After a panic in a load the last good tables are still the kernel's; go on showing them.
        self.engine.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Puts in force what was received.
    fn load(&self, set: PolicySet) {
        let objects = set.world.pods.len() + set.policies.len() + set.world.namespaces.len();
        let wanting = set.world.own_authorities(&self.node);
        let loaded = Loaded { objects, runs: Runs::default(), set, diagnostics: Vec::new(), keys: None };
        self.say.load(self.engine().load(|_| loaded));
        self.wanting.send_if_modified(|held| {
            let differs = *held != wanting;
            *held = wanting;
            differs
        });
    }
}

impl Source for Agent {
    fn status(&self) -> Status {
        let first_packets_judged = Some(self.holds_pods.load(Ordering::Relaxed));
        Status { first_packets_judged, ..self.engine().status() }
    }

    fn journal(&self) -> &Journal {
        &self.journal
    }

    fn lab(&self) -> Option<&Hosted> {
        None
    }

    fn settle(&self, pod: Sandbox<'_>, addresses: &[IpAddr]) -> Result<Generation> {
        self.holds_pods.store(true, Ordering::Relaxed);
        let end = Instant::now() + SETTLE;
        loop {
            let mut engine = self.engine();
            if engine.settle(pod, addresses)? {
                return Ok(engine.in_force());
            }
            drop(engine);
            if Instant::now() >= end {
                let Sandbox { namespace, name, .. } = pod;
                bail!(
                    "pod {namespace}/{name} is not known on this node after {SETTLE:?}, or somebody else has its \
                     address; `cofferdam status` says whether the agent is cut off from the controller"
                );
            }
            std::thread::sleep(LOOK);
        }
    }

    fn forget(&self, pod: Sandbox<'_>) -> Generation {
        let mut engine = self.engine();
        engine.forget(pod);
        engine.in_force()
    }

    fn release(&self) -> Result<()> {
        self.engine().remove()
    }

    fn responder(&self) -> Option<&Responder> {
        Some(&self.responder)
    }
}

impl Health for Agent {
    fn ready(&self) -> Result<(), String> {
        let here = self.engine().here();
        let received = here.as_ref().and_then(|node| node.enforced).is_some_and(|it| it > Generation(0));
        if received { Ok(()) } else { Err("nothing is enforced yet".to_owned()) }
    }

    fn metrics(&self) -> Page {
        let mut page = Page::new();
        figures(&mut page, &self.engine().status());
        page
    }
}

/// How a node stands, with its proxies.
pub(crate) fn figures(page: &mut Page, status: &Status) {
    let sum = |of: fn(&NodeStatus) -> u64| status.nodes.iter().map(of).sum::<u64>();
    page.gauge(
        "generation",
        "State of policy that the kernel has; 0: none",
        // Of the nodes of a lab, that which is behind.
        status.nodes.iter().map(|node| node.enforced.unwrap_or_default().0).min().unwrap_or_default(),
    );
    page.gauge(
        "degraded",
        "Reasons why not everything that was written is in force",
        status.degraded.len() as u64,
    );
    page.gauge("policies", "Policies in force", status.policies as u64);
    page.gauge("rules", "Rules in force", status.rules as u64);
    page.gauge("closed_scopes", "Scopes closed for what could not be read", status.closed_scopes as u64);
    page.gauge("endpoints", "Pod addresses that are judged for", sum(|node| node.endpoints as u64));
    page.gauge("load_microseconds", "Time from a new state to the kernel, last", status.load.took_micros);
    page.gauge("open_connections", "Connections that are open", status.resolver.open);
    page.counter("connections_allowed", "Connections that were allowed", status.records.opened);
    page.counter("connections_denied", "Denials on record", status.records.denied);
    page.counter(
        "denials_suppressed",
        "Equal denials counted instead of recorded",
        status.records.suppressed,
    );
    page.counter("records_evicted", "Records that made room for newer ones", status.records.evicted);
    page.counter("events_lost", "Events that the kernel could not hand over", sum(|node| node.lost_events));
    let dns = |of: fn(&DnsStatus) -> u64| {
        status.nodes.iter().filter_map(|node| node.dns.as_ref()).map(of).sum::<u64>()
    };
    page.gauge("dns_addresses", "Addresses that are open to pods by name", dns(|dns| dns.opened as u64));
    page.counter("dns_answered", "DNS queries of pods that were answered", dns(|dns| dns.answered));
    page.counter("dns_refused", "DNS queries of pods that were refused", dns(|dns| dns.refused));
    page.counter("dns_failed", "DNS queries that nobody could answer", dns(|dns| dns.failed));
    page.counter("dns_records_lost", "Records of DNS queries that were lost", dns(|dns| dns.lost_records));
    page.counter(
        "dns_bindings",
        "Times that names were put in force in kernel and gateway",
        dns(|dns| dns.binds),
    );
    page.counter(
        "dns_binding_microseconds",
        "Time from an answer to names in force, of all together",
        dns(|dns| dns.bind_micros),
    );
    page.counter("dns_proxy_starts", "Times the DNS proxy was started", dns(|dns| dns.starts));
    let gateway = |of: fn(&GatewayStatus) -> u64| {
        status.nodes.iter().filter_map(|node| node.gateway.as_ref()).map(of).sum::<u64>()
    };
    page.gauge(
        "gateway_connections",
        "Connections to names that are open through the gateway",
        gateway(|gateway| gateway.open),
    );
    page.gauge(
        "gateway_limits_used_up",
        "Pods and rules whose upload of the hour or day is used up",
        gateway(|gateway| gateway.spent as u64),
    );
    page.counter(
        "gateway_passed",
        "Connections to names that passed and ended",
        gateway(|gateway| gateway.passed),
    );
    page.counter(
        "gateway_refused",
        "Connections to names that were refused or cut",
        gateway(|gateway| gateway.refused),
    );
    page.counter(
        "gateway_requests_allowed",
        "Requests that were judged and allowed, and ended",
        gateway(|gateway| gateway.requests_allowed),
    );
    page.counter(
        "gateway_requests_refused",
        "Requests that were judged and refused, or cut",
        gateway(|gateway| gateway.requests_refused),
    );
    page.counter(
        "gateway_files_reported",
        "Dangers, or what could not be read, in files that answers brought, which went on",
        gateway(|gateway| gateway.files_reported),
    );
    page.counter(
        "gateway_files_blocked",
        "Dangers, or what could not be read, in files that answers brought, for which they were stopped",
        gateway(|gateway| gateway.files_blocked),
    );
    page.counter(
        "gateway_edges_lost",
        "Edges of parts of uploads that were forgotten for want of room: what stands across them was not looked for",
        gateway(|gateway| gateway.edges_lost),
    );
    page.counter(
        "gateway_bytes_sent",
        "Bytes from pods to names, of ended connections",
        gateway(|gateway| gateway.bytes_up),
    );
    page.counter(
        "gateway_bytes_received",
        "Bytes from names to pods, of ended connections",
        gateway(|gateway| gateway.bytes_down),
    );
    page.counter(
        "gateway_records_lost",
        "Records of connections to names that were lost",
        gateway(|gateway| gateway.lost_records),
    );
    page.gauge(
        "gateway_money_nanos_today",
        "What calls under budgets cost since midnight (UTC), in billionths of the currency of the prices, of at most 100 pods and rules",
        gateway(|gateway| gateway.used.iter().map(|it| it.used.money_day).sum()),
    );
    page.gauge(
        "gateway_budget_store_down",
        "Whether the store of shared budgets cannot be reached",
        gateway(|gateway| gateway.store.as_ref().is_some_and(|store| store.problem.is_some()).into()),
    );
    page.counter(
        "gateway_budget_store_failures",
        "Times that the store of shared budgets did not answer",
        gateway(|gateway| gateway.store.as_ref().map_or(0, |store| store.failures)),
    );
    page.gauge(
        "gateway_tokens_today",
        "Tokens of calls under budgets since midnight (UTC), of at most 100 pods and rules",
        gateway(|gateway| gateway.used.iter().map(|it| it.used.tokens_day).sum()),
    );
    page.counter("gateway_starts", "Times the gateway was started", gateway(|gateway| gateway.starts));
    page.only("with `--ledger`", status.ledger.as_ref(), Page::ledger);
    page.counter("findings", "Things that somebody should look at", status.findings);
    page.only("where detectors run", status.detection.as_ref(), |page, detection| {
        page.counter("detection_records", "Records that detectors looked at", detection.records);
        page.counter("detection_records_lost", "Records that detectors had no room for", detection.lost);
        page.counter(
            "detection_forgotten",
            "Things that detectors forgot for want of room",
            detection.forgotten,
        );
    });
    page.counter(
        "verdict_disagreements",
        "Events where kernel and tables gave another verdict; more than 0 is a bug",
        status.resolver.verdict_disagreements,
    );
}

/// Runs until a signal.
pub(crate) fn run(args: &AgentArgs) -> Result<()> {
    // Before any thread exists, so that all of them inherit it.
    let signals = block_signals()?;
    let socket = Socket::bind(Some(&args.state.join("cofferdam.sock")))?;
    let kept = Kept::in_folder(&args.state);
    let node = match &args.node {
        Some(name) => name.clone(),
        None => NODE_NAME.value().map_or_else(host_name, Ok)?,
    };
    let door = args.serve.open(socket.path(), false)?;
    let own = || Ok((credentials(args, &node)?, args.controller.clone()));
    let outlet = args.ledger.outlet(&node, own)?;
    let pen = args.ledger.pen(args.serve.ledger_beside(socket.path()), outlet)?;
    let journal = Journal::new(Limits { records: args.records, ..Limits::default() });
    let journal = Arc::new(journal.kept_by(pen));
    journal.watch()?;
    let config = Config { rejudge: !args.keep_connections, guard: args.guard.clone(), ..Config::default() };
    let answering = args.dns.answering(Some(args.state.join("cofferdam.dns")), &Home::Nowhere)?;
    let enforcer = Enforcer::open(node.as_str().into(), config, &journal, answering)
        .with_context(|| format!("nothing is enforced on node {node}: the agent needs CAP_NET_ADMIN"))?;
    let ground = Ground { mode: Mode::Node, enforcers: vec![enforcer] };
    let mut engine = Engine::new(ground, args.controller.clone(), Arc::clone(&journal), None);
    engine.watched_by("feed");
    engine.with_dns(args.dns.clone(), Some(&args.state.join("names")));
    engine.cut_off(Some(format!("not connected to the controller at {} yet", args.controller.join(" or "))));
    let engine = Arc::new(Mutex::new(engine));
    let agent = Arc::new(Agent {
        responder: Responder::new(Arc::clone(&engine), Arc::clone(&journal)),
        engine,
        journal,
        say: Say::new(args.json),
        holds_pods: AtomicBool::new(args.cni || !args.guard.is_empty()),
        changes: watch::Sender::new(0),
        node: node.clone(),
        wanting: watch::Sender::default(),
    });
    let replica = begin(&agent, &kept);
    Leader::lead(&agent.engine, &agent.journal);
    socket.serve(&agent)?;
    agent.say.ready(&agent.status(), socket.path());
    if let Some(door) = door {
        let (engine, journal) = (Arc::clone(&agent.engine), Arc::clone(&agent.journal));
        let catalog = crds::Catalog::built_in();
        door.serve(serving::Running { engine, journal, files: Vec::new(), catalog }, &agent.say)?;
    }
    let link = Link::new(Arc::clone(&agent), kept, credentials(args, &node)?);
    let asking = asking(args, &node)?;
    args.dns.egress.follow(&agent.engine, Some(credentials(args, &node)?), &args.controller)?;
    follow(args, node, replica, link, asking)?;
    until_signal(&signals, &agent);
    Ok(())
}

fn credentials(args: &AgentArgs, node: &str) -> Result<Credentials> {
    if let Some(folder) = &args.certificates {
        return Ok(Credentials::Folder(folder.clone()));
    }
    let token = args.token.clone().context("neither --certificates nor --token")?;
    let authority = args.authority.clone().context("--token without --authority")?;
    Ok(Credentials::Token { node: node.to_owned(), token, authority, held: None })
}

/// How to come by an authority to open TLS with; `None` where one was given or none is needed. Only who enrols is given one.
fn asking(args: &AgentArgs, node: &str) -> Result<Option<Asking>> {
    let (Some(token), Some(authority)) = (args.token.clone(), args.authority.clone()) else {
        return Ok(None);
    };
    let Some(roots) = args.dns.awaits_authority()? else { return Ok(None) };
    let (node, controllers) = (node.to_owned(), args.controller.clone());
    Ok(Some(Asking::new(node, controllers, (token, authority), roots)))
}

/// Puts in force what an earlier process received last.
fn begin(agent: &Agent, kept: &Kept) -> Replica {
    match kept.recall() {
        Ok(Some(replica)) => {
            agent.load(replica.policy_set());
            return replica;
        }
        Ok(None) => {}
        Err(error) => agent.say.note(&format!("{error:#}; the controller sends all of it anew")),
    }
    // Rules of an earlier process are better than none; without any, the guard closes what it covers.
    let has_rules = agent.engine().has_rules();
    if !has_rules {
        agent.load(PolicySet::empty(Generation(0), World::default()));
    }
    Replica::default()
}

/// Follows the controller on a thread of its own, until the process ends.
fn follow(
    args: &AgentArgs,
    node: String,
    replica: Replica,
    mut link: Link,
    asking: Option<Asking>,
) -> Result<()> {
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build()
        .context("starting the network's thread")?;
    let (controller, agent) = (args.controller.clone(), Arc::clone(link.agent()));
    let health = args.health.map(|address| runtime.block_on(http::bind(address))).transpose()?;
    let task = async move {
        if let Some(asking) = asking {
            tokio::spawn(inspection::follow(Arc::clone(&agent), asking));
        }
        if let Some(listener) = health {
            tokio::spawn(health::serve(listener, agent));
        }
        feed::client::follow(&controller, &node, env!("CARGO_PKG_VERSION"), replica, &mut link).await;
    };
    std::thread::Builder::new()
        .name("feed".into())
        .spawn(move || runtime.block_on(task))
        .context("starting the feed's thread")?;
    Ok(())
}

fn until_signal(signals: &SignalFd, agent: &Agent) {
    loop {
        let mut fds = [PollFd::new(signals.as_fd(), PollFlags::POLLIN)];
        let millis = u16::try_from(TICK.as_millis()).unwrap_or(u16::MAX);
        // An error is an interruption; the signal is looked for anyway.
        let _ = poll(&mut fds, millis);
        if matches!(signals.read_signal(), Ok(Some(_))) {
            return;
        }
        let mut engine = agent.engine();
        let problem = |engine: &Engine| engine.here().and_then(|node| node.problem);
        let before = problem(&engine);
        let retried = engine.retry().cloned();
        let news = engine.tick();
        let after = problem(&engine);
        drop(engine);
        if let Some(news) = news {
            agent.say.note(&news);
        }
        if let Some(load) = &retried {
            agent.say.load(load);
        }
        if retried.is_some() || before != after {
            agent.changes.send_modify(|count| *count += 1);
        }
    }
}
