//! `--serve`: the HTTP API, and the console where it is built in, beside `up` and the agent.
//!
//! Enters: an address, and what runs. Leaves: answers, on a thread of its own. Guarantees: nobody who enforces waits for it;
//! at an address that others can reach it is not served in clear unless that is asked for; its token is in a file that only
//! the user who started the process can read; whoever else is let in, an identity provider or the cluster's API server vouched for. Does
//! not: keep a second view of anything: it asks the engine and the ledger, or the store that has the ledger's entries.

mod act;
mod budgets;
mod fleet;
mod live;
mod login;
mod oidc;
mod tls;
mod walk;
pub(crate) mod written;

use crate::control;
use crate::respond::Responder;
use crate::store::ServeStoreArgs;
use crate::up::cluster::Cluster;
use crate::up::engine::Engine;
use crate::up::journal::Journal;
use crate::up::say::Say;
use act::Acting;
use anyhow::{Context, Result, bail};
use api::{Actions, Asset, Config, Elsewhere, Hub, Live, SignOn, Token};
use clap::Args;
use controller::reviewer::Reviewer;
use crds::Catalog;
use fleet::AtHub;
use hyper::body::Bytes;
use kube::Client;
use live::Teller;
use login::Login;
use oidc::{Oidc, OidcArgs};
use std::io::IsTerminal;
use std::net::{SocketAddr, TcpListener};
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, PoisonError};
use tls::Files;
use tokio::runtime::Runtime;
use tokio::sync::watch;

/// Instead of a kubeconfig: the cluster that this runs in.
const IN_CLUSTER: &str = "in-cluster";
/// For whom tokens of the cluster must be made, where nobody says another.
const AUDIENCE: &str = "cofferdam-api";

/// Whether and where the HTTP API is served.
#[derive(Args, Clone, Debug, Default)]
pub(crate) struct ServeArgs {
    /// Serve the console and the HTTP API here, for example 127.0.0.1:8080; port 0: any that is free
    #[arg(long, value_name = "ADDRESS", value_parser = crate::http::address)]
    serve: Option<SocketAddr>,
    /// Name by which it is asked, besides addresses and localhost; may be repeated
    #[arg(long, value_name = "NAME", requires = "serve")]
    serve_name: Vec<String>,
    /// Serve without TLS at an address that others can reach: only behind something that brings TLS
    #[arg(long, requires = "serve")]
    serve_plain: bool,
    /// Serve over TLS, with this certificate (PEM, its own first); read anew when it changes
    #[arg(
        long,
        value_name = "FILE",
        requires = "serve",
        requires = "serve_key",
        conflicts_with = "serve_plain"
    )]
    serve_cert: Option<PathBuf>,
    /// The certificate's key (PEM)
    #[arg(long, value_name = "FILE", requires = "serve_cert")]
    serve_key: Option<PathBuf>,
    /// Let in whom the cluster's API server knows: by a token (kubectl create token), with a role by RBAC (ClusterRoles
    /// cofferdam-viewer, cofferdam-operator, cofferdam-admin); and contain workloads by objects of the cluster
    #[arg(long, requires = "serve")]
    serve_kubernetes: bool,
    /// How to reach that API server [default: $KUBECONFIG, ~/.kube/config, or the pod's service account]
    #[arg(long, value_name = "FILE", requires = "serve_kubernetes")]
    serve_kubeconfig: Option<PathBuf>,
    /// For whom such tokens must have been made [default: cofferdam-api]
    #[arg(long, value_name = "NAME", requires = "serve_kubernetes")]
    serve_audience: Option<String>,
    #[command(flatten)]
    store: ServeStoreArgs,
    #[command(flatten)]
    oidc: OidcArgs,
    /// Show the clusters and rollouts of the fleet whose hub this kubeconfig reaches, or `in-cluster`: that of this pod's own
    /// cluster, by its service account. It needs to list ManagedClusters and Rollouts
    #[arg(long, value_name = "FILE", requires = "serve")]
    serve_hub: Option<PathBuf>,
}

/// What is asked.
pub(crate) struct Running {
    /// What is in force.
    pub(crate) engine: Arc<Mutex<Engine>>,
    /// Records.
    pub(crate) journal: Arc<Journal>,
    /// Files and folders that policy comes from; none on a cluster.
    pub(crate) files: Vec<PathBuf>,
    /// Whose hosts are whose.
    pub(crate) catalog: Catalog,
}

/// Who tells and does what is asked, where that is not an engine.
pub(crate) struct Seams {
    /// How things stand.
    pub(crate) live: Arc<dyn Live>,
    /// Who does what changes something.
    pub(crate) actions: Arc<dyn Actions>,
    /// The ledger's file.
    pub(crate) ledger: PathBuf,
    /// Whose hosts are whose.
    pub(crate) catalog: Catalog,
}

impl ServeArgs {
    /// Whether the cluster's API server is asked.
    pub(crate) fn asks_cluster(&self) -> bool {
        self.serve_kubernetes
    }

    /// Where a ledger is kept when nobody says: beside the socket.
    pub(crate) fn ledger_beside(&self, socket: &Path) -> Option<PathBuf> {
        self.serve.map(|_| socket.with_extension("ledger"))
    }

    /// Takes the address and the token, before a lab may enter another network and another user namespace. The token is shown at a terminal,
    /// and in a lab, where nothing is worth one; elsewhere what is printed is kept by others.
    ///
    /// # Errors
    /// The address is taken, or others can reach it in clear and nobody said that they may; the certificate cannot be used; the
    /// token cannot be kept.
    pub(crate) fn open(&self, socket: &Path, in_lab: bool) -> Result<Option<Door>> {
        let Some(address) = self.serve else { return Ok(None) };
        let files = self.serve_cert.clone().zip(self.serve_key.clone());
        let files = files.map(|(certificate, key)| Files { certificate, key });
        if !address.ip().is_loopback() && !self.serve_plain && files.is_none() {
            bail!(
                "--serve {address}: others can reach this address, and the token would pass in clear: give a certificate \
                 (--serve-cert, --serve-key), or serve at 127.0.0.1, or say --serve-plain where something before it brings TLS"
            );
        }
        if let Some(files) = &files {
            // Better now than when somebody asks.
            files.load()?;
        }
        let store = self.store.elsewhere()?;
        let listener =
            TcpListener::bind(address).with_context(|| format!("--serve: listening at {address}"))?;
        listener.set_nonblocking(true).context("--serve: listening")?;
        let address = listener.local_addr().context("--serve: which address was taken")?;
        let file = socket.with_extension("token");
        let token = Token::kept_in(&file)
            .with_context(|| format!("--serve: keeping the token in {}", file.display()))?;
        let hosts = self.serve_name.clone();
        let cluster = self.serve_kubernetes.then(|| AtCluster {
            kubeconfig: self.serve_kubeconfig.clone(),
            audience: self.serve_audience.clone().unwrap_or_else(|| AUDIENCE.to_owned()),
        });
        let hub = self.serve_hub.clone();
        let oidc = self.oidc.oidc()?;
        let sign_on = self.oidc.sign_on(oidc.as_ref(), &self.serve_name)?;
        let shows_token = in_lab || std::io::stdout().is_terminal();
        Ok(Some(Door {
            listener,
            address,
            token,
            shows_token,
            file,
            hosts,
            files,
            store,
            cluster,
            oidc,
            sign_on,
            hub,
        }))
    }
}

/// An address that was taken, and who may come in.
pub(crate) struct Door {
    listener: TcpListener,
    address: SocketAddr,
    token: Token,
    shows_token: bool,
    file: PathBuf,
    hosts: Vec<String>,
    files: Option<Files>,
    store: Option<Elsewhere>,
    cluster: Option<AtCluster>,
    oidc: Option<Oidc>,
    sign_on: Option<SignOn>,
    hub: Option<PathBuf>,
}

/// The API server that says who somebody is.
struct AtCluster {
    kubeconfig: Option<PathBuf>,
    audience: String,
}

impl Door {
    /// Begins to answer.
    ///
    /// # Errors
    /// There is no ledger, or no API server to be asked; the system gives no thread.
    pub(crate) fn serve(self, running: Running, say: &Say) -> Result<()> {
        let Running { engine, journal, files, catalog } = running;
        let ledger = journal.ledger().context("--serve: there is no ledger")?.path;
        let (runtime, client) = self.begin()?;
        if let Some(client) = &client {
            let cluster = Cluster::new(runtime.handle().clone(), client.clone());
            engine.lock().unwrap_or_else(PoisonError::into_inner).with_cluster(cluster);
        }
        let responder = Responder::new(Arc::clone(&engine), Arc::clone(&journal));
        let seams = Seams {
            live: Arc::new(Teller::new(engine, Arc::clone(&journal), files)),
            actions: Arc::new(Acting::new(responder, journal, ledger.clone())),
            ledger,
            catalog,
        };
        self.answer_on((runtime, client), seams, |text| say.note(text))
    }

    /// The same for who has no engine; `seams` are given where containments are written, with --serve-kubernetes.
    ///
    /// # Errors
    /// There is no API server to be asked; the system gives no thread.
    pub(crate) fn answer(
        self,
        seams: impl FnOnce(Option<Cluster>) -> Seams,
        note: impl Fn(&str),
    ) -> Result<()> {
        let (runtime, client) = self.begin()?;
        let cluster = client.clone().map(|client| Cluster::new(runtime.handle().clone(), client));
        self.answer_on((runtime, client), seams(cluster), note)
    }

    /// What answers run on, and the API server that says who somebody is.
    fn begin(&self) -> Result<(Runtime, Option<Client>)> {
        let runtime = tokio::runtime::Builder::new_current_thread()
            .enable_all()
            .build()
            .context("--serve: starting its thread")?;
        let client = match &self.cluster {
            None => None,
            Some(AtCluster { kubeconfig, .. }) => {
                Some(client_on(&runtime, kubeconfig.as_deref()).context("--serve-kubernetes")?)
            }
        };
        Ok((runtime, client))
    }

    fn answer_on(
        self,
        (runtime, client): (Runtime, Option<Client>),
        seams: Seams,
        note: impl Fn(&str),
    ) -> Result<()> {
        let Self {
            listener,
            address,
            token,
            shows_token,
            file,
            hosts,
            files,
            store,
            cluster,
            oidc,
            sign_on,
            hub,
        } = self;
        let hub = hub.map(|hub| hub_on(&runtime, &hub).context("--serve-hub")).transpose()?;
        let hub = hub.map(|hub| AtHub::new(runtime.handle().clone(), hub));
        let Seams { live, actions, ledger, catalog } = seams;
        let scheme = if files.is_some() { "https" } else { "http" };
        let fragment = if shows_token { format!("#token={}", token.reveal()) } else { String::new() };
        let link = format!("{scheme}://{address}/{fragment}");
        let audience = cluster.map(|cluster| cluster.audience);
        let reviewer = client.zip(audience.clone()).map(|(client, audience)| Reviewer::new(client, audience));
        let issuer = oidc.as_ref().map(|oidc| oidc.issuer().to_owned());
        let provider = sign_on.as_ref().map(|sign_on| sign_on.provider().to_owned());
        if let Some(oidc) = &oidc {
            runtime.spawn(oidc.keys().keep());
        }
        let config = Config {
            live,
            actions,
            authenticate: Arc::new(Login::new(token, oidc, reviewer)),
            ledger: ledger.clone(),
            store: store.clone(),
            catalog,
            hosts,
            assets: Box::new(page),
            hub: hub.map(|hub| Arc::new(hub) as Arc<dyn Hub>),
            sign_on,
        };
        serve(runtime, listener, config, files)?;
        note(&format!("console and API: {link}"));
        note(&format!("the token is kept in {}, the ledger in {}", file.display(), ledger.display()));
        if let Some(store) = store {
            note(&format!("records, edges, the largest, the map and series are those of {}", store.name()));
        }
        if let Some(audience) = audience {
            note(&format!(
                "tokens of the cluster are taken, too: kubectl create token NAME --audience {audience}"
            ));
        }
        if let Some(issuer) = issuer {
            note(&format!("tokens of {issuer} are taken, too"));
        }
        if let Some(provider) = provider {
            note(&format!("people log in to the console by way of {provider}"));
        }
        Ok(())
    }
}

/// A client of the hub.
fn hub_on(runtime: &Runtime, hub: &Path) -> Result<Client> {
    if hub.as_os_str() != IN_CLUSTER {
        return client_on(runtime, Some(hub));
    }
    let config =
        kube::Config::incluster().context("in-cluster: this is no pod with a service account's token")?;
    on(runtime, async { Client::try_from(config).context("preparing the API server's client") })
}

/// A client of the API server that a kubeconfig names, or that is at hand.
fn client_on(runtime: &Runtime, kubeconfig: Option<&Path>) -> Result<Client> {
    on(runtime, control::client(kubeconfig))
}

/// Makes a client that belongs to a runtime which does not run yet. On a thread of its own, for the caller may be of another
/// runtime.
fn on(runtime: &Runtime, make: impl Future<Output = Result<Client>> + Send) -> Result<Client> {
    let made = std::thread::scope(|scope| scope.spawn(|| runtime.block_on(make)).join());
    match made {
        Ok(made) => made,
        Err(panicked) => std::panic::resume_unwind(panicked),
    }
}

fn serve(runtime: Runtime, listener: TcpListener, config: Config, files: Option<Files>) -> Result<()> {
    let tls = match files {
        None => None,
        Some(files) => {
            let (identity, first) = files.load()?;
            let (sender, newest) = watch::channel(first);
            Some((files.follow(identity, sender), newest))
        }
    };
    let task = async move {
        // It listens already, and cannot fail to.
        if let Ok(listener) = tokio::net::TcpListener::from_std(listener) {
            match tls {
                None => api::serve(listener, config).await,
                Some((follow, newest)) => tokio::select! {
                    () = api::serve_tls(listener, config, newest) => {}
                    () = follow => {}
                },
            }
        }
    };
    std::thread::Builder::new()
        .name("api".into())
        .spawn(move || runtime.block_on(task))
        .context("--serve: starting its thread")?;
    Ok(())
}

/// A file of the console.
fn page(path: &str, codings: &str) -> Option<Asset> {
    let found = console::asset(path, codings)?;
    let headers = found.headers().map(|(name, value)| (name, value.into())).collect();
    Some(Asset { headers, body: Bytes::from_static(found.bytes) })
}
