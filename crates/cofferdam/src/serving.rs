//! `--serve`: the HTTP API, and the console where it is built in, beside `up` and the agent.
//!
//! Enters: an address, and what runs. Leaves: answers, on a thread of its own. Guarantees: nobody who enforces waits for it;
//! at an address that others can reach it is not served in clear unless that is asked for; its token is in a file that only
//! the user who started the process can read. Does not: keep a second view of anything: it asks the engine and the ledger.

mod act;
mod budgets;
mod live;

use crate::respond::Responder;
use crate::up::engine::Engine;
use crate::up::journal::Journal;
use crate::up::say::Say;
use act::Acting;
use anyhow::{Context, Result, bail};
use api::{Actions, Asset, Config, Live, Token};
use clap::Args;
use crds::Catalog;
use hyper::body::Bytes;
use live::Teller;
use std::net::{SocketAddr, TcpListener};
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex};

/// Whether and where the HTTP API is served.
#[derive(Args, Clone, Debug, Default)]
pub(crate) struct ServeArgs {
    /// Serve the console and the HTTP API here, for example 127.0.0.1:8080; port 0: any that is free
    #[arg(long, value_name = "ADDRESS")]
    serve: Option<SocketAddr>,
    /// Name by which it is asked, besides addresses and localhost; may be repeated
    #[arg(long, value_name = "NAME", requires = "serve")]
    serve_name: Vec<String>,
    /// Serve without TLS at an address that others can reach: only behind something that brings TLS
    #[arg(long, requires = "serve")]
    serve_plain: bool,
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
    /// Where a ledger is kept when nobody says: beside the socket.
    pub(crate) fn ledger_beside(&self, socket: &Path) -> Option<PathBuf> {
        self.serve.map(|_| socket.with_extension("ledger"))
    }

    /// Takes the address and the token, before a lab may enter another network and another user namespace.
    ///
    /// # Errors
    /// The address is taken, or others can reach it and nobody said that they may; the token cannot be kept.
    pub(crate) fn open(&self, socket: &Path) -> Result<Option<Door>> {
        let Some(address) = self.serve else { return Ok(None) };
        if !address.ip().is_loopback() && !self.serve_plain {
            bail!(
                "--serve {address}: others can reach this address, and the token would pass in clear: serve at 127.0.0.1 and \
                 put something with TLS before it, or say --serve-plain"
            );
        }
        let listener =
            TcpListener::bind(address).with_context(|| format!("--serve: listening at {address}"))?;
        listener.set_nonblocking(true).context("--serve: listening")?;
        let address = listener.local_addr().context("--serve: which address was taken")?;
        let file = socket.with_extension("token");
        let token = Token::kept_in(&file)
            .with_context(|| format!("--serve: keeping the token in {}", file.display()))?;
        Ok(Some(Door { listener, address, token, file, hosts: self.serve_name.clone() }))
    }
}

/// An address that was taken, and who may come in.
pub(crate) struct Door {
    listener: TcpListener,
    address: SocketAddr,
    token: Token,
    file: PathBuf,
    hosts: Vec<String>,
}

impl Door {
    /// Begins to answer.
    ///
    /// # Errors
    /// There is no ledger; the system gives no thread.
    pub(crate) fn serve(self, running: Running, say: &Say) -> Result<()> {
        let Running { engine, journal, files, catalog } = running;
        let ledger = journal.ledger().context("--serve: there is no ledger")?.path;
        let responder = Responder::new(Arc::clone(&engine), Arc::clone(&journal));
        let seams = Seams {
            live: Arc::new(Teller::new(engine, Arc::clone(&journal), files)),
            actions: Arc::new(Acting::new(responder, journal, ledger.clone())),
            ledger,
            catalog,
        };
        self.answer(seams, |text| say.note(text))
    }

    /// The same for who has no engine.
    ///
    /// # Errors
    /// The system gives no thread.
    pub(crate) fn answer(self, seams: Seams, note: impl Fn(&str)) -> Result<()> {
        let Self { listener, address, token, file, hosts } = self;
        let Seams { live, actions, ledger, catalog } = seams;
        let link = format!("http://{address}/#token={}", token.reveal());
        let config = Config {
            live,
            actions,
            authenticate: Arc::new(token),
            ledger: ledger.clone(),
            catalog,
            hosts,
            assets: Box::new(page),
        };
        serve(listener, config)?;
        note(&format!("console and API: {link}"));
        note(&format!("the token is kept in {}, the ledger in {}", file.display(), ledger.display()));
        Ok(())
    }
}

fn serve(listener: TcpListener, config: Config) -> Result<()> {
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build()
        .context("--serve: starting its thread")?;
    let task = async move {
        // It listens already, and cannot fail to.
        if let Ok(listener) = tokio::net::TcpListener::from_std(listener) {
            api::serve(listener, config).await;
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
