//! Listens to nodes and gateways, and answers what became of what they sent.
//!
//! A sender is who its certificate says: a node, or one of the gateways, whose replicas share a certificate's name. An answer is 200
//! with a [`Receipt`] as JSON; 400 or 413, which nothing changes; 403 for who speaks for another; 503 while the disk takes nothing.

use crate::refusals::Refusals;
use crate::store::{Store, now};
use feed::places::{Place, Places};
use feed::tls::{Identity, first_name, speaks_for};
use flate2::read::GzDecoder;
use http_body_util::{BodyExt, Full, LengthLimitError, Limited};
use hyper::body::{Bytes, Incoming};
use hyper::header::{CONTENT_TYPE, HeaderValue};
use hyper::server::conn::http1;
use hyper::service::service_fn;
use hyper::{Method, Request, Response, StatusCode};
use hyper_util::rt::{TokioIo, TokioTimer};
use ledger::{Parcel, Receipt};
use rustls::pki_types::CertificateDer;
use std::convert::Infallible;
use std::io::Read;
use std::net::IpAddr;
use std::pin::pin;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::{Semaphore, watch};
use tokio_rustls::TlsAcceptor;
use tokio_rustls::server::TlsStream;

/// Where entries are taken.
pub const PATH: &str = "/v1/entries";
/// Connections at a time, also those that did not say yet whose they are.
pub const CONNECTIONS: usize = 8192;
/// Of these, with certificates of one name.
pub const OF_ONE: usize = 16;
/// Most bytes of a parcel, packed and unpacked.
pub const PACKED: usize = 4 << 20;
const UNPACKED: u64 = 4 << 20;
/// Parcels that are unpacked and written at a time.
const AT_ONCE: usize = 4;
/// How long TLS may take, the head of a request, and its body.
const GREETING: Duration = Duration::from_secs(10);
const HEAD: Duration = Duration::from_secs(60);
const BODY: Duration = Duration::from_secs(60);
/// How long a connection is used; then a sender must show its certificate again.
const LIFE: Duration = Duration::from_secs(3600);
/// How often the ledger is sealed.
const PACE: Duration = Duration::from_secs(1);
/// How long to wait where no more connections can be taken.
const PAUSE: Duration = Duration::from_millis(50);

/// What became of connections and parcels since the process began.
#[derive(Debug, Default)]
pub struct Counts {
    /// Connections of who showed no certificate of this cluster, or for which there was no room.
    pub strangers: AtomicU64,
    /// Parcels that were taken.
    pub parcels: AtomicU64,
    /// Parcels that were refused as a whole.
    pub refused: AtomicU64,
}

/// What the tasks share.
struct Shared {
    store: Arc<Store>,
    counts: Arc<Counts>,
    refusals: Refusals,
    room: Semaphore,
    /// Connections by the name in their certificates.
    of: Places<String>,
}

/// Serves until the future is dropped. Before there is an identity nobody is served.
pub async fn serve(
    listener: TcpListener,
    identity: watch::Receiver<Result<Arc<Identity>, String>>,
    store: Arc<Store>,
    counts: Arc<Counts>,
) {
    let shared = Arc::new(Shared {
        store: Arc::clone(&store),
        counts,
        refusals: Refusals::default(),
        room: Semaphore::new(AT_ONCE),
        of: Places::new(OF_ONE),
    });
    tokio::select! {
        () = accept(listener, identity, shared) => {}
        () = tend(store) => {}
    }
}

async fn tend(store: Arc<Store>) {
    loop {
        tokio::time::sleep(PACE).await;
        let store = Arc::clone(&store);
        // What fails is in its standing, and is tried again.
        let _ = tokio::task::spawn_blocking(move || store.tend()).await;
    }
}

async fn accept(
    listener: TcpListener,
    identity: watch::Receiver<Result<Arc<Identity>, String>>,
    shared: Arc<Shared>,
) {
    let (room, strangers) = (Arc::new(Semaphore::new(CONNECTIONS)), Places::of_strangers());
    let mut held: Option<(Arc<Identity>, TlsAcceptor)> = None;
    loop {
        let Ok(permit) = Arc::clone(&room).acquire_owned().await else { return };
        let Ok((stream, from)) = listener.accept().await else {
            // Out of descriptors, most likely; do not spin.
            tokio::time::sleep(PAUSE).await;
            continue;
        };
        // It is closed, and may come again.
        let Some(stranger) = strangers.admit(from.ip()) else {
            shared.counts.strangers.fetch_add(1, Ordering::Relaxed);
            continue;
        };
        let newest = identity.borrow().clone().ok();
        let is_held =
            matches!((&held, &newest), (Some((held, _)), Some(newest)) if Arc::ptr_eq(held, newest));
        if !is_held {
            held = newest.and_then(|identity| Some((Arc::clone(&identity), acceptor(&identity)?)));
        }
        let Some((_, acceptor)) = &held else {
            shared.counts.strangers.fetch_add(1, Ordering::Relaxed);
            continue;
        };
        let (acceptor, shared) = (acceptor.clone(), Arc::clone(&shared));
        tokio::spawn(async move {
            connection((stream, stranger), acceptor, shared).await;
            drop(permit);
        });
    }
}

fn acceptor(identity: &Identity) -> Option<TlsAcceptor> {
    let mut config = identity.server_of_known().ok()?;
    config.alpn_protocols = vec![b"http/1.1".to_vec()];
    Some(TlsAcceptor::from(Arc::new(config)))
}

async fn connection(
    (stream, stranger): (TcpStream, Place<IpAddr>),
    acceptor: TlsAcceptor,
    shared: Arc<Shared>,
) {
    let greeted = tokio::time::timeout(GREETING, acceptor.accept(stream)).await;
    let known = greeted.ok().and_then(Result::ok).and_then(|stream| {
        let certificate = certificate(&stream)?;
        let place = shared.of.take(first_name(&certificate))?;
        Some((stream, certificate, place))
    });
    let Some((stream, certificate, place)) = known else {
        shared.counts.strangers.fetch_add(1, Ordering::Relaxed);
        return;
    };
    drop(stranger);
    let service = service_fn(|request| answer(&shared, &certificate, request));
    let served = http1::Builder::new()
        .timer(TokioTimer::new())
        .header_read_timeout(HEAD)
        .serve_connection(TokioIo::new(stream), service);
    let mut served = pin!(served);
    tokio::select! {
        // Who sends comes back.
        _ended = &mut served => {}
        () = tokio::time::sleep(LIFE) => {
            served.as_mut().graceful_shutdown();
            let _ended = tokio::time::timeout(HEAD + BODY, served).await;
        }
    }
    drop(place);
}

fn certificate(stream: &TlsStream<TcpStream>) -> Option<CertificateDer<'static>> {
    let (_, session) = stream.get_ref();
    session.peer_certificates()?.first().cloned().map(CertificateDer::into_owned)
}

async fn answer(
    shared: &Arc<Shared>,
    certificate: &CertificateDer<'static>,
    request: Request<Incoming>,
) -> Result<Response<Full<Bytes>>, Infallible> {
    Ok(match take(shared, certificate, request).await {
        Ok(receipt) => {
            shared.counts.parcels.fetch_add(1, Ordering::Relaxed);
            let body = serde_json::to_vec(&receipt).unwrap_or_default();
            let mut response = Response::new(Full::new(Bytes::from(body)));
            response.headers_mut().insert(CONTENT_TYPE, HeaderValue::from_static("application/json"));
            response
        }
        Err((status, why)) => {
            shared.counts.refused.fetch_add(1, Ordering::Relaxed);
            let mut response = Response::new(Full::new(Bytes::from(why)));
            *response.status_mut() = status;
            response
        }
    })
}

/// Why a parcel was not taken.
type Refused = (StatusCode, String);

async fn take(
    shared: &Arc<Shared>,
    certificate: &CertificateDer<'static>,
    request: Request<Incoming>,
) -> Result<Receipt, Refused> {
    if request.uri().path() != PATH {
        return Err((StatusCode::NOT_FOUND, format!("entries are taken at {PATH}")));
    }
    if request.method() != Method::POST {
        return Err((StatusCode::METHOD_NOT_ALLOWED, "entries are sent with POST".to_owned()));
    }
    let body = tokio::time::timeout(BODY, Limited::new(request.into_body(), PACKED).collect()).await;
    let body = body.map_err(|_| (StatusCode::REQUEST_TIMEOUT, "the parcel did not come".to_owned()))?;
    let body = body.map_err(|error| match error.is::<LengthLimitError>() {
        true => (StatusCode::PAYLOAD_TOO_LARGE, format!("a parcel has at most {PACKED} bytes")),
        false => (StatusCode::REQUEST_TIMEOUT, format!("the parcel did not come: {error}")),
    })?;
    let failed = || (StatusCode::SERVICE_UNAVAILABLE, "the collector is ending".to_owned());
    let _permit = shared.room.acquire().await.map_err(|_| failed())?;
    let (shared, certificate) = (Arc::clone(shared), certificate.clone());
    let work = move || join(&shared, &certificate, &body.to_bytes());
    tokio::task::spawn_blocking(work).await.unwrap_or_else(|_| Err(failed()))
}

fn join(shared: &Shared, certificate: &CertificateDer<'_>, packed: &[u8]) -> Result<Receipt, Refused> {
    let parcel = unpack(packed)?;
    let who = first_name(certificate);
    if !speaks_for(certificate, &parcel.node) {
        let node: String = parcel.node.chars().take(253).collect();
        let why = format!("it shows a certificate of {who}, and speaks for {node}");
        note(shared, &who, &why, parcel.entries.len() as u64);
        return Err((StatusCode::FORBIDDEN, why));
    }
    let unavailable = |error: ledger::LedgerError| (StatusCode::SERVICE_UNAVAILABLE, error.to_string());
    let receipt = shared.store.join(&parcel).map_err(unavailable)?;
    if let Some(why) = &receipt.why {
        note(shared, &who, why, receipt.refused);
    }
    Ok(receipt)
}

/// Writes down that something was refused.
fn note(shared: &Shared, who: &str, why: &str, count: u64) {
    if let Some(entry) = shared.refusals.note(who, why, count, now()) {
        // What cannot be written shows in the standing; the refusal holds.
        let _ = shared.store.write(&[entry]);
    }
}

fn unpack(packed: &[u8]) -> Result<Parcel, Refused> {
    let wrong = |why: String| (StatusCode::BAD_REQUEST, why);
    let mut bytes = Vec::new();
    let read = GzDecoder::new(packed).take(UNPACKED + 1).read_to_end(&mut bytes);
    read.map_err(|error| wrong(format!("it is not packed by gzip: {error}")))?;
    if bytes.len() as u64 > UNPACKED {
        let why = format!("a parcel has at most {UNPACKED} bytes, unpacked");
        return Err((StatusCode::PAYLOAD_TOO_LARGE, why));
    }
    serde_json::from_slice(&bytes).map_err(|error| wrong(format!("it is no parcel: {error}")))
}
