//! The egress gateway's door for workloads that come by themselves, and the files by which it knows them.
//!
//! Guarantees: files that cannot be used at the start are an error; later ones change nothing, and are told of. Does not:
//! look at files of policy.

use super::Shared;
use crate::http;
use anyhow::{Context, Result};
use clap::Args;
use feed::tls::Identity;
use gateway::{Clients, Limits, Sink, SystemLookup, Visitors};
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
    #[arg(long, value_name = "ADDRESS", requires = "clients", requires = "domain")]
    front: Option<SocketAddr>,
    /// Folder with tls.crt and tls.key, which they are shown, and ca.crt, which certifies them; read anew when they change
    #[arg(long, value_name = "DIR", requires = "front")]
    clients: Option<PathBuf>,
    /// Trust domain of their ids: spiffe://DOMAIN/ns/NAMESPACE/sa/ACCOUNT
    #[arg(long = "clients-domain", value_name = "DOMAIN", requires = "front")]
    domain: Option<String>,
}

/// The door, open.
pub(super) struct Door {
    listener: TcpListener,
    files: Files,
    known: watch::Sender<Arc<Clients>>,
}

impl DoorArgs {
    /// Opens it, where one is wanted.
    pub(super) async fn open(&self, shared: &Arc<Shared>) -> Result<Option<Door>> {
        let (Some(address), Some(folder), Some(domain)) = (self.front, &self.clients, &self.domain) else {
            return Ok(None);
        };
        let (held, clients) =
            read(folder, domain).with_context(|| format!("--clients {}", folder.display()))?;
        let listener = http::bind(address).await?;
        shared.say(&format!("serves workloads of {domain} at {address}"));
        let files =
            Files { folder: folder.clone(), domain: domain.clone(), held, shared: Arc::clone(shared) };
        Ok(Some(Door { listener, files, known: watch::Sender::new(Arc::new(clients)) }))
    }
}

impl Door {
    /// Serves until told to drain, and then until nothing is open.
    pub(super) async fn serve(self, sink: Arc<dyn Sink>, drain_timeout: Duration) {
        let Self { listener, files, known } = self;
        let [max_connections, max_per_pod] = CONNECTIONS;
        let limits = Limits { drain_timeout, max_connections, max_per_pod, ..Limits::default() };
        let (policies, phase) = (files.shared.policies.subscribe(), files.shared.phase.subscribe());
        let (lookup, counters) = (Arc::new(SystemLookup), Arc::clone(&files.shared.counters));
        let visitors = Arc::new(Visitors::new(policies, lookup, sink, counters, limits, phase));
        let clients = known.subscribe();
        tokio::select! {
            () = visitors.serve(listener, clients) => {}
            () = files.keep(known) => {}
        }
    }
}

/// By what workloads are known.
struct Files {
    folder: PathBuf,
    domain: String,
    held: Identity,
    shared: Arc<Shared>,
}

impl Files {
    /// Gives newer ones to those who come next.
    async fn keep(mut self, known: watch::Sender<Arc<Clients>>) {
        loop {
            tokio::time::sleep(LOOK).await;
            let problem = match read(&self.folder, &self.domain) {
                Ok((new, clients)) => {
                    if new != self.held {
                        self.held = new;
                        known.send_replace(Arc::new(clients));
                    }
                    None
                }
                Err(error) => Some(format!(
                    "--clients {}: {error:#}; what was read before holds",
                    self.folder.display()
                )),
            };
            self.shared.note(&self.shared.unread, problem, "the files of --clients can be used");
        }
    }
}

fn read(folder: &Path, domain: &str) -> Result<(Identity, Clients)> {
    let identity = Identity::read(folder)?;
    let clients = Clients::new(&identity, domain)?;
    Ok((identity, clients))
}
