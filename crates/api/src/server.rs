//! Listens, and has each request answered.
//!
//! Guarantees: bounded connections; who is slow with a handshake or a request, or does not take an answer, is let go; whoever holds connections
//! without being recognised on them keeps nobody else out.

use crate::body::AnswerBody;
use crate::dispatch::Shared;
use crate::elsewhere::Elsewhere;
use crate::graph_names::Providers;
use crate::groups::Kept;
use crate::handle::Known;
use crate::openapi;
use crate::patient::Patient;
use crate::readers::Readers;
use crate::route::routes;
use crate::seam::{Actions, Assets, Hub, Live};
use crate::session::{Sessions, Wrongs};
use crate::sign_on::SignOn;
use crate::stream::{self, STREAMS};
use crate::who::Authenticate;
use crds::Catalog;
use feed::room::{Room, Seat};
use hyper::body::Incoming;
use hyper::server::conn::http1;
use hyper::service::service_fn;
use hyper::{Request, Response};
use hyper_util::rt::{TokioIo, TokioTimer};
use observe::Time;
use rustls::ServerConfig;
use std::convert::Infallible;
use std::path::PathBuf;
use std::sync::atomic::AtomicU64;
use std::sync::{Arc, Mutex};
use std::time::{Duration, SystemTime};
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::{Semaphore, watch};
use tokio::time::timeout;
use tokio_rustls::TlsAcceptor;

/// Connections at a time.
pub const CONNECTIONS: usize = 256;
/// How long the head of a request may take, and how long a connection may be without one.
const HEAD: Duration = Duration::from_secs(30);
/// How long to wait where no more connections can be taken.
const PAUSE: Duration = Duration::from_millis(50);

/// What a server goes by.
pub struct Config {
    /// How things stand.
    pub live: Arc<dyn Live>,
    /// Who does what changes something.
    pub actions: Arc<dyn Actions>,
    /// Who recognises people.
    pub authenticate: Arc<dyn Authenticate>,
    /// The ledger's file, which need not be there yet.
    pub ledger: PathBuf,
    /// What has its entries, and is asked for records, edges and sums instead of the file.
    pub store: Option<Elsewhere>,
    /// Whose hosts are whose.
    pub catalog: Catalog,
    /// Names that it may be asked by, besides addresses and `localhost`.
    pub hosts: Vec<String>,
    /// Files of the console.
    pub assets: Box<Assets>,
    /// The hub of the fleet, where there is one.
    pub hub: Option<Arc<dyn Hub>>,
    /// The identity provider by way of which people log in, where there is one.
    pub sign_on: Option<SignOn>,
}

impl std::fmt::Debug for Config {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Config")
            .field("ledger", &self.ledger)
            .field("store", &self.store)
            .field("hosts", &self.hosts)
            .finish_non_exhaustive()
    }
}

/// Serves in clear until the future is dropped.
pub async fn serve(listener: TcpListener, config: Config) {
    serve_by(listener, config, None).await;
}

/// Serves over TLS until the future is dropped; what is newest of `tls` holds for the next connection. Whoever does not speak
/// TLS is let go.
pub async fn serve_tls(listener: TcpListener, config: Config, tls: watch::Receiver<Arc<ServerConfig>>) {
    serve_by(listener, config, Some(tls)).await;
}

async fn serve_by(listener: TcpListener, config: Config, tls: Option<watch::Receiver<Arc<ServerConfig>>>) {
    let (sender, newest) = watch::channel(0);
    let shared = Arc::new(Shared { has_tls: tls.is_some(), ..shared(config, newest) });
    let look = tokio::spawn(stream::look(Arc::clone(&shared), sender));
    let room = Room::new(CONNECTIONS);
    let _ends = Ends(look);
    loop {
        let Ok((stream, from)) = listener.accept().await else {
            // Out of descriptors, most likely; do not spin.
            tokio::time::sleep(PAUSE).await;
            continue;
        };
        let (shared, seat) = (Arc::clone(&shared), room.enter(from.ip()));
        let tls = tls.as_ref().map(|tls| TlsAcceptor::from(tls.borrow().clone()));
        tokio::spawn(async move {
            tokio::select! {
                () = greet(&shared, &seat, Patient::new(stream), tls) => {}
                () = seat.given_away() => {}
            }
        });
    }
}

async fn greet(shared: &Arc<Shared>, seat: &Seat, stream: Patient<TcpStream>, tls: Option<TlsAcceptor>) {
    let Some(tls) = tls else { return talk(shared, seat, stream).await };
    if let Ok(Ok(stream)) = timeout(HEAD, tls.accept(stream)).await {
        talk(shared, seat, stream).await;
    }
}

async fn talk(shared: &Arc<Shared>, seat: &Seat, stream: impl AsyncRead + AsyncWrite + Unpin) {
    let service = service_fn(|request| answer(Arc::clone(shared), seat, request));
    // Whoever asked is gone or will ask again.
    let _ended = http1::Builder::new()
        .timer(TokioTimer::new())
        .header_read_timeout(HEAD)
        .serve_connection(TokioIo::new(stream), service)
        .await;
}

/// Ends a task with whoever has it.
struct Ends(tokio::task::JoinHandle<()>);

impl Drop for Ends {
    fn drop(&mut self) {
        self.0.abort();
    }
}

async fn answer(
    shared: Arc<Shared>,
    seat: &Seat,
    request: Request<Incoming>,
) -> Result<Response<AnswerBody>, Infallible> {
    Ok(shared.answer(seat, request).await)
}

fn shared(config: Config, newest: watch::Receiver<i64>) -> Shared {
    let Config { live, actions, authenticate, ledger, store, catalog, hosts, assets, hub, sign_on } = config;
    let document = serde_json::to_vec(&openapi::document()).unwrap_or_default();
    Shared {
        routes: routes(),
        known: Arc::new(Known {
            live,
            actions,
            providers: Providers::of(&catalog),
            groups: Kept::default(),
            document: document.into(),
            open: Mutex::default(),
            store,
            hub,
            fleet: Mutex::default(),
        }),
        readers: Arc::new(Readers::new(ledger)),
        authenticate,
        sessions: Sessions::default(),
        wrongs: Wrongs::default(),
        sign_on,
        hosts,
        has_tls: false,
        assets,
        streams: Arc::new(Semaphore::new(STREAMS)),
        newest,
        started: Time::from(SystemTime::now()).0,
        requests: AtomicU64::new(0),
    }
}
