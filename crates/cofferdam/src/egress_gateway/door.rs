//! The egress gateway's door for workloads that come by themselves, the files by which it knows them, and those with which their
//! TLS is opened; and what their budgets are counted by.
//!
//! Guarantees: files that cannot be used at the start are an error; later ones change nothing, and are told of. Does not:
//! look at files of policy.

use super::{Shared, own_name};
use crate::http;
use crate::up::dns::pattern;
use crate::up::inspection::{Home, InspectionArgs};
use crate::up::spending::SpendingArgs;
use anyhow::{Context, Result, bail};
use clap::Args;
use feed::tls::Identity;
use gateway::{Clients, Inspection, Limits, Prices, Sink, StoreMeans, SystemLookup, Visitors};
use policy::DomainPattern;
use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;
use tokio::net::TcpListener;
use tokio::sync::watch;

/// How often the files are looked at.
const LOOK: Duration = Duration::from_secs(5);
/// Connections of workloads at once, and of these, those of one.
const CONNECTIONS: [usize; 2] = [8_192, 1_024];

#[derive(Args, Debug)]
pub(super) struct DoorArgs {
    /// Serve workloads outside the nodes here: an explicit proxy over TLS, which knows them by their certificates
    #[arg(long, value_name = "ADDRESS", value_parser = crate::http::address, requires = "clients", requires = "domain")]
    front: Option<SocketAddr>,
    /// Folder with tls.crt and tls.key, which they are shown, and ca.crt, which certifies them; read anew when they change
    #[arg(long, value_name = "DIR", requires = "front")]
    clients: Option<PathBuf>,
    /// Trust domain of their ids: spiffe://DOMAIN/ns/NAMESPACE/sa/ACCOUNT
    #[arg(long = "clients-domain", value_name = "DOMAIN", requires = "front")]
    domain: Option<String>,
    #[command(flatten)]
    inspection: InspectionArgs,
    /// Never open TLS of workloads to these names (`*.x`: one label more, `**.x`: any); where a rule looks at their requests,
    /// they are refused. May be repeated
    #[arg(long, value_name = "NAME", value_parser = pattern, requires = "inspection_ca")]
    never_open: Vec<DomainPattern>,
    #[command(flatten)]
    spending: SpendingArgs,
}

/// The door, open.
pub(super) struct Door {
    listener: TcpListener,
    files: Files,
    known: watch::Sender<Arc<Clients>>,
    store: Option<Arc<StoreMeans>>,
    prices: Option<Arc<Prices>>,
}

impl DoorArgs {
    /// Opens it, where one is wanted.
    pub(super) async fn open(&self, shared: &Arc<Shared>) -> Result<Option<Door>> {
        let (Some(address), Some(folder), Some(domain)) = (self.front, &self.clients, &self.domain) else {
            if self.inspection.has_authority() {
                bail!("--inspection-ca without --front: TLS of pods is opened on their nodes, not here");
            }
            if self.spending.is_given() {
                bail!(
                    "--budget-store or --prices without --front: what pods use is counted on their nodes, not here"
                );
            }
            return Ok(None);
        };
        let store = self.spending.store()?;
        let store = store.map(|store| Arc::new(StoreMeans { node: own_name().into(), ..store }));
        let prices = self.spending.prices()?;
        let opens = self.inspection.means(&Home::Nowhere)?;
        let (held, clients) =
            read(folder, domain).with_context(|| format!("--clients {}", folder.display()))?;
        let listener = http::bind(address).await?;
        shared.say(&format!("serves workloads of {domain} at {address}"));
        let files = Files {
            folder: folder.clone(),
            domain: domain.clone(),
            held,
            inspection: self.inspection.clone(),
            never: self.never_open.clone(),
            opens,
            shared: Arc::clone(shared),
        };
        Ok(Some(Door { listener, files, known: watch::Sender::new(Arc::new(clients)), store, prices }))
    }
}

impl Door {
    /// Serves until told to drain, and then until nothing is open.
    pub(super) async fn serve(self, sink: Arc<dyn Sink>, drain_timeout: Duration) -> Result<()> {
        let Self { listener, files, known, store, prices } = self;
        let [max_connections, max_per_pod] = CONNECTIONS;
        let limits = Limits { drain_timeout, max_connections, max_per_pod, ..Limits::default() };
        let (policies, phase) = (files.shared.policies.subscribe(), files.shared.phase.subscribe());
        let (lookup, counters) = (Arc::new(SystemLookup), Arc::clone(&files.shared.counters));
        let visitors = Arc::new(Visitors::new(policies, lookup, sink, counters, limits, phase));
        visitors.open_with(files.opens.as_deref(), files.never.clone())?;
        visitors.inject_with(files.shared.keys.subscribe());
        visitors.count_with(store, prices).context("starting the thread that shares budgets")?;
        let clients = known.subscribe();
        tokio::select! {
            () = Arc::clone(&visitors).serve(listener, clients) => {}
            () = files.keep(known, &visitors) => {}
        }
        Ok(())
    }
}

/// By what workloads are known, and with what their TLS is opened.
struct Files {
    folder: PathBuf,
    domain: String,
    held: Identity,
    inspection: InspectionArgs,
    never: Vec<DomainPattern>,
    opens: Option<Arc<Inspection>>,
    shared: Arc<Shared>,
}

impl Files {
    /// Gives newer ones to those who come next.
    async fn keep(mut self, known: watch::Sender<Arc<Clients>>, visitors: &Visitors) {
        loop {
            tokio::time::sleep(LOOK).await;
            let problem = match self.look(&known).and_then(|()| self.look_at_authority(visitors)) {
                Ok(()) => None,
                Err(error) => Some(format!("{error:#}; what was read before holds")),
            };
            self.shared.note(&self.shared.unread, problem, "the files for workloads can be used");
            let problem = visitors.store_standing().and_then(|store| store.problem);
            let problem = problem.map(|why| {
                format!("the store of budgets cannot be reached, and this gateway uses no more than its share: {why}")
            });
            self.shared.note(&self.shared.uncounted, problem, "the store of budgets answers");
        }
    }

    fn look(&mut self, known: &watch::Sender<Arc<Clients>>) -> Result<()> {
        let of_folder = || format!("--clients {}", self.folder.display());
        let (new, clients) = read(&self.folder, &self.domain).with_context(of_folder)?;
        if new != self.held {
            self.held = new;
            known.send_replace(Arc::new(clients));
        }
        Ok(())
    }

    fn look_at_authority(&mut self, visitors: &Visitors) -> Result<()> {
        let new = self.inspection.means(&Home::Nowhere)?;
        if new != self.opens {
            visitors.open_with(new.as_deref(), self.never.clone())?;
            self.opens = new;
        }
        Ok(())
    }
}

fn read(folder: &Path, domain: &str) -> Result<(Identity, Clients)> {
    let identity = Identity::read(folder)?;
    let clients = Clients::new(&identity, domain)?;
    Ok((identity, clients))
}
