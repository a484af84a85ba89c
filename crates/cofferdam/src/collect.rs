//! `cofferdam collector`: one ledger of a cluster, and the API and console over it.
//!
//! Enters: what nodes and gateways send of their ledgers, each by its certificate. Leaves: one ledger, answers of the API, probes and
//! figures. Guarantees: as the crate `collector`; on SIGTERM it ends at once, for what it said it has is on the disk and senders come
//! again; what several nodes have to see before it shows is found here ([`watch`]), as DetectionPolicies say ([`policies`]). Does not:
//! enforce (who is to be cut off is written into the cluster, [`act`]).

mod act;
mod live;
mod policies;
mod watch;

use crate::agent::credentials::Credentials;
use crate::health::{self, Health};
use crate::http;
use crate::ledger_cmd::LedgerArgs;
use crate::metrics::Page;
use crate::printer;
use crate::sending::{self, Shown};
use crate::serving::{Door, Seams, ServeArgs};
use crate::up::block_signals;
use crate::up::cluster::Cluster;
use crate::up::pen::LedgerStatus;
use ::collector::{Counts, Store};
use ::ledger::{Joined, Reader};
use act::Deciding;
use anyhow::{Context, Result, bail};
use clap::Args;
use export::Exports;
use live::Teller;
use nix::poll::{PollFd, PollFlags, PollTimeout, poll};
use nix::sys::signalfd::SignalFd;
use policies::{Origin, Policies};
use std::net::SocketAddr;
use std::os::fd::AsFd;
use std::path::PathBuf;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::thread::JoinHandle;
use std::time::{Duration, SystemTime};
use watch::{Watch, Watched};

/// Who was not heard of for so long does not do its work: three times as long as a sender is silent, at most.
const SILENT: Duration = Duration::from_secs(30);

/// Who was not heard of for so long is not told of any more: a node, and a replica of a gateway, of which others come.
const GONE: [Duration; 2] = [Duration::from_secs(7 * 86400), Duration::from_secs(3600)];

/// The node of what it records itself.
const NAME: &str = "collector";

/// Join the ledgers of a cluster into one, with its console.
#[derive(Args, Debug)]
#[command(after_help = "Examples:
  cofferdam collector --ledger /var/lib/cofferdam/ledger.db --certificates /etc/cofferdam --serve 127.0.0.1:8080
  cofferdam collector --ledger /var/lib/cofferdam/ledger.db --controller 10.0.0.2:9443 --token TOKEN --authority ca.crt
  cofferdam collector --ledger all.db --certificates /etc/cofferdam --policies manifests/

Policies are shown, and DetectionPolicies hold for what it finds, where it may read them: of the cluster with --serve-kubernetes, else
of --policies. Pods or workloads that they select have to be there, too.

Nodes and gateways send it what their ledgers get with `--ledger FILE --collector https://HOST:9448`.")]
pub(crate) struct CollectorArgs {
    /// Take what nodes and gateways send here
    #[arg(long, value_name = "ADDRESS", value_parser = crate::http::address, default_value = "0.0.0.0:9448")]
    listen: SocketAddr,
    #[command(flatten)]
    ledger: LedgerArgs,
    /// Folder with ca.crt, tls.crt (for collector.cofferdam.internal) and tls.key, read anew when they change
    #[arg(long, value_name = "DIR", required_unless_present = "token")]
    certificates: Option<PathBuf>,
    /// Instead: where a controller is that gives certificates, as HOST:PORT; may be repeated
    #[arg(
        long,
        value_name = "ADDRESS",
        conflicts_with = "certificates",
        required_unless_present = "certificates"
    )]
    controller: Vec<String>,
    /// Service account token to ask the controller for a certificate with
    #[arg(long, value_name = "FILE", requires = "authority", conflicts_with = "certificates")]
    token: Option<PathBuf>,
    /// Certificate of the authority to believe, with --token
    #[arg(long, value_name = "FILE", requires = "token")]
    authority: Option<PathBuf>,
    /// Answer /healthz, /readyz and /metrics here
    #[arg(long, value_name = "ADDRESS", value_parser = crate::http::address)]
    health: Option<SocketAddr>,
    /// Show the policies of these manifests, and hold what is found to their DetectionPolicies: files and folders, read anew every
    /// 10 s, with the pods or workloads that are selected; may be repeated. With --serve-kubernetes they are the cluster's
    #[arg(long, value_name = "PATH", conflicts_with = "serve_kubernetes")]
    policies: Vec<PathBuf>,
    /// Print one JSON object per line
    #[arg(long)]
    json: bool,
    #[command(flatten)]
    serve: ServeArgs,
}

impl CollectorArgs {
    fn credentials(&self) -> Result<Credentials> {
        if let Some(folder) = &self.certificates {
            return Ok(Credentials::Folder(folder.clone()));
        }
        let token = self.token.clone().context("neither --certificates nor --token")?;
        let authority = self.authority.clone().context("--token without --authority")?;
        Ok(Credentials::Token { node: NAME.to_owned(), token, authority, held: None })
    }

    /// Where policies come from.
    fn origin(&self) -> Origin {
        match &self.policies[..] {
            _ if self.serve.asks_cluster() => Origin::Cluster,
            [] => Origin::Nowhere,
            files => Origin::Files(files.to_vec()),
        }
    }
}

/// What the threads share.
struct Shared {
    store: Arc<Store>,
    counts: Arc<Counts>,
    identity: Shown,
    exports: Option<Exports>,
    policies: Arc<Policies>,
    watch: Arc<Watch>,
}

impl Shared {
    /// How each sender stands, by the ledger of its that was heard of last.
    fn senders(&self) -> Result<Vec<Joined>, ::ledger::LedgerError> {
        let mut joined = Reader::open(self.store.path())?.joined()?;
        // Of one node, the newest come first.
        joined.dedup_by(|later, first| later.node == first.node);
        let now = now();
        joined.retain(|sender| silence(sender, now) < gone_after(sender));
        Ok(joined)
    }

    /// How the ledger is, as others say it.
    fn ledger(&self) -> LedgerStatus {
        let standing = self.store.standing();
        LedgerStatus {
            path: self.store.path().to_owned(),
            written: standing.written,
            lost: 0,
            problem: standing.problem,
            notices: standing.notices,
            exports: self.exports.as_ref().map(Exports::status).unwrap_or_default(),
        }
    }

    /// Why nobody can be served.
    fn problem(&self) -> Option<String> {
        let identity = self.identity.borrow().as_ref().err().cloned();
        let identity = identity.map(|why| format!("it has no certificate to show: {why}"));
        identity.or_else(|| Some(format!("the ledger cannot be written: {}", self.store.standing().problem?)))
    }
}

/// Microseconds since 1970.
fn now() -> u64 {
    observe::Time::from(SystemTime::now()).0
}

/// How long ago a sender was heard of.
fn silence(sender: &Joined, now: u64) -> Duration {
    Duration::from_micros(now.saturating_sub(sender.seen))
}

/// How long somebody may be silent and is still told of.
fn gone_after(sender: &Joined) -> Duration {
    let [node, replica] = GONE;
    // No name of a node has a slash.
    if sender.node.contains('/') { replica } else { node }
}

impl Health for Shared {
    fn ready(&self) -> Result<(), String> {
        self.problem().map_or(Ok(()), Err)
    }

    fn metrics(&self) -> Page {
        let mut page = Page::new();
        // A file that cannot be read shows as one that cannot be written.
        figures(
            &mut page,
            &self.ledger(),
            &self.counts,
            &self.senders().unwrap_or_default(),
            &self.watch.watched(),
        );
        page
    }
}

/// How a collector stands, with those who send to it.
pub(crate) fn figures(
    page: &mut Page,
    ledger: &LedgerStatus,
    counts: &Counts,
    senders: &[Joined],
    watched: &Watched,
) {
    let of = |count: &AtomicU64| count.load(Ordering::Relaxed);
    page.ledger(ledger);
    page.counter("collector_parcels", "Parcels that were taken", of(&counts.parcels));
    page.counter("collector_refused", "Parcels that were refused", of(&counts.refused));
    page.counter(
        "collector_strangers",
        "Connections without a certificate of this cluster, or for which there was no room",
        of(&counts.strangers),
    );
    let now = now();
    let silent = senders.iter().filter(|it| silence(it, now) >= SILENT).count() as u64;
    let sum = |of: fn(&Joined) -> u64| senders.iter().map(of).fold(0, u64::saturating_add);
    page.gauge(
        "collector_senders",
        "Nodes that were heard of in the last week, and replicas of gateways in the last hour",
        senders.len() as u64,
    );
    page.gauge("collector_senders_silent", "Those that were not heard of for 30 s", silent);
    page.gauge("collector_waiting", "Entries that wait at senders, as they said last", sum(|it| it.waiting));
    page.gauge("collector_lost", "Entries that senders forgot before they were sent", sum(|it| it.lost));
    page.counter(
        "findings",
        "Findings that records of several nodes speak for and none of them told",
        watched.counts.told,
    );
    page.counter("detection_records", "Events that detectors looked at", watched.counts.looked_at);
    page.counter("detection_records_late", "Events that came too late for detectors", watched.counts.late);
    page.counter(
        "detection_records_lost",
        "Events that detectors had no room for, or that were forgotten or unreadable",
        watched.counts.lost.saturating_add(watched.missed).saturating_add(watched.unreadable),
    );
    page.gauge(
        "detection_down",
        "Whether detectors cannot read or write the ledger",
        watched.problem.is_some().into(),
    );
    page.counter(
        "findings_suppressed",
        "Of these findings, those that DetectionPolicies suppress",
        watched.suppressed,
    );
    page.gauge("detection_policies", "DetectionPolicies that hold here", watched.policies as u64);
    page.gauge(
        "policies_unread",
        "Whether policies cannot be read, so that those of before are shown and hold, or none",
        watched.unread.is_some().into(),
    );
}

/// Runs until a signal.
pub(crate) fn run(args: &CollectorArgs) -> Result<()> {
    // Before any thread exists, so that all of them inherit it.
    let signals = block_signals()?;
    let (path, retention) = args.ledger.kept(None).context("a collector needs --ledger FILE")?;
    let outlet = args.ledger.outlet("", || bail!("--collector: a collector sends to no other collector"))?;
    if outlet.is_some() {
        bail!("--collector: a collector sends to no other collector");
    }
    let store = Arc::new(Store::open(&path, retention)?);
    for notice in store.standing().notices {
        printer::note(&notice, args.json);
    }
    // Its token is kept beside the ledger.
    let door = args.serve.open(&path, false)?;
    let policies = Arc::new(Policies::new(args.origin()));
    let shared = Arc::new(Shared {
        exports: args.ledger.exports(&path, None)?,
        identity: sending::shown(args.credentials()?, args.controller.clone())?,
        counts: Arc::default(),
        watch: Watch::start(&store, &policies)?,
        policies,
        store,
    });
    shared.exports.as_ref().map_or(Ok(()), Exports::begin).context("--export")?;
    let served = serve(args, &shared)?;
    if let Some(door) = door {
        answer(door, &shared, args.json)?;
    }
    until_ended(&signals, &served);
    if served.is_finished() {
        bail!("the thread that serves nodes ended");
    }
    Ok(())
}

/// Serves nodes on threads of their own.
fn serve(args: &CollectorArgs, shared: &Arc<Shared>) -> Result<JoinHandle<()>> {
    let runtime =
        tokio::runtime::Builder::new_multi_thread().enable_all().build().context("starting the runtime")?;
    let (listener, health) = runtime.block_on(async {
        let health = match args.health {
            Some(address) => Some(http::bind(address).await?),
            None => None,
        };
        anyhow::Ok((http::bind(args.listen).await?, health))
    })?;
    let address = listener.local_addr().context("which address was taken")?;
    printer::note(&format!("takes entries at {address}, into {}", shared.store.path().display()), args.json);
    let (of_health, identity) = (Arc::clone(shared), shared.identity.clone());
    let (store, counts) = (Arc::clone(&shared.store), Arc::clone(&shared.counts));
    let (shown, as_json) = (shared.identity.clone(), args.json);
    let run = move || {
        runtime.block_on(async {
            if let Some(listener) = health {
                tokio::spawn(health::serve(listener, of_health));
            }
            tokio::spawn(say_who(shown, as_json));
            ::collector::serve(listener, identity, store, counts).await;
        });
    };
    std::thread::Builder::new().name("serve".into()).spawn(run).context("starting the thread that serves")
}

/// Says why nobody can send, and when that is over.
async fn say_who(mut shown: Shown, as_json: bool) {
    let mut is_well = true;
    while shown.changed().await.is_ok() {
        let problem = shown.borrow_and_update().as_ref().err().cloned();
        let was_well = std::mem::replace(&mut is_well, problem.is_none());
        match problem {
            Some(why) => printer::note(&format!("NOBODY CAN SEND: no certificate to show: {why}"), as_json),
            None if was_well => {}
            None => printer::note("there is a certificate to show: nodes and gateways can send", as_json),
        }
    }
}

/// Begins to answer the API.
fn answer(door: Door, shared: &Arc<Shared>, as_json: bool) -> Result<()> {
    let seams = |cluster: Option<Cluster>| {
        if let Some(cluster) = &cluster {
            cluster.begin(|client| Arc::clone(&shared.policies).follow(client));
        }
        Seams {
            live: Arc::new(Teller::new(Arc::clone(shared))),
            actions: Arc::new(Deciding::new(Arc::clone(&shared.store), cluster)),
            ledger: shared.store.path().to_owned(),
            catalog: crds::Catalog::built_in(),
        }
    };
    door.answer(seams, |text| printer::note(text, as_json))
}

fn until_ended(signals: &SignalFd, served: &JoinHandle<()>) {
    /// How often it is looked whether the other thread still runs, in milliseconds.
    const TICK: u16 = 2000;
    while !served.is_finished() {
        let mut fds = [PollFd::new(signals.as_fd(), PollFlags::POLLIN)];
        // An error is an interruption; the signal is looked for anyway.
        let _ = poll(&mut fds, PollTimeout::from(TICK));
        if matches!(signals.read_signal(), Ok(Some(_))) {
            return;
        }
    }
}
