//! One client: TLS if its listener ends that, then requests until it, or the gateway, is done.
//!
//! Guarantees: how long a hello, a head, an idle connection and an answer that nobody takes may last is bounded; a flood of
//! requests that are taken back at once ends the connection (CVE-2023-44487), and a head is bounded in whatever frames it
//! comes. Does not: judge requests.

use crate::config::Live;
use crate::crowd::Full;
use crate::pool::Spoken;
use crate::reason::Reason;
use crate::record::{Begin, End, Guard};
use crate::request::{Client, Exchange, Hello, MAX_TRIED, spread};
use crate::server::{Phase, Shared, stopped};
use crate::socket::{Begun, Patience, Socket, Stream, Wrong};
use crate::taking::Streams;
use crate::tunnel::{Quiet, copy};
use crate::upstream::{Io, Lease};
use hyper::server::conn::{http1, http2};
use hyper::service::service_fn;
use hyper_util::rt::{TokioIo, TokioTimer};
use inspect::{ClientHello, HelloReader, Outcome};
use routes::{ListenerId, ListenerProtocol, Target};
use std::net::SocketAddr;
use std::pin::{Pin, pin};
use std::sync::Arc;
use std::sync::atomic::AtomicU64;
use std::time::Duration;
use tokio::io::{AsyncReadExt, split};
use tokio::net::TcpStream;
use tokio::sync::watch;
use tokio::time::{sleep, timeout};
use tokio_rustls::TlsAcceptor;

/// Most fields of a request, and most bytes of its head.
const MAX_FIELDS: usize = 128;
const MAX_HEAD: usize = 64 * 1024;
/// Most requests at once on one connection.
const MAX_STREAMS: u32 = 128;
/// Requests that a client took back before they were looked at, and streams that it broke, after which it is a flood.
const MAX_RESETS: usize = 20;
/// How often a client of HTTP/2 must show that it is there.
const PING: Duration = Duration::from_secs(20);
/// With what HTTP/2 begins (RFC 9113, section 3.4).
const PREFACE: &[u8] = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n";
/// Bytes read at once of a hello.
const PIECE: usize = 4096;

/// Serves one connection to its end.
pub(crate) async fn serve(
    shared: Arc<Shared>,
    stream: TcpStream,
    address: SocketAddr,
    port: u16,
    phase: watch::Receiver<Phase>,
) {
    // Without it, small pieces would wait for each other; that it cannot be set harms nobody.
    let _slower = stream.set_nodelay(true);
    let live = shared.live();
    let on_port = live.routing().listeners().iter().find(|listener| listener.port == port);
    let Some(listener) = on_port else { return };
    let client = |tls, certificates| Client { address, port, tls, certificates, active: Arc::new(()) };
    if listener.protocol == ListenerProtocol::Http {
        // Connections outlive configurations.
        drop(live);
        return begin(Exchange { shared, client: client(None, Arc::new([])) }, stream, phase).await;
    }
    let Ok(Some((stream, hello))) = timeout(shared.limits.head, hello(stream)).await else { return };
    let name = hello.sni.as_ref().map(policy::DnsName::as_str);
    let Some(listener) = live.routing().listener_for(port, name).map(|listener| listener.id) else { return };
    let Some(config) = live.tls(listener) else {
        if let Some(name) = name {
            pass_on(&shared, live, listener, name, stream, &mut phase.clone()).await;
        }
        return;
    };
    let accepting = TlsAcceptor::from(Arc::clone(config)).accept(stream);
    let Ok(Ok(stream)) = timeout(shared.limits.head, accepting).await else { return };
    let session = stream.get_ref().1;
    // Whoever reads the hello must read the same.
    if session.server_name() != name {
        return;
    }
    let is_http2 = session.alpn_protocol() == Some(b"h2");
    let certificates = session.peer_certificates().unwrap_or_default().iter();
    let certificates = certificates.map(|certificate| certificate.clone().into_owned()).collect();
    let hello = Hello { server_name: name.map(Arc::from) };
    let exchange = Exchange { shared, client: client(Some(hello), certificates) };
    drop(live);
    run(exchange, stream, is_http2, phase).await;
}

/// Reads a hello; gives the stream back as it was. `None`: it is none that everybody reads alike.
async fn hello(mut stream: TcpStream) -> Option<(Begun<TcpStream>, ClientHello)> {
    let (mut reader, mut bytes) = (HelloReader::new(), Vec::new());
    loop {
        let at = bytes.len();
        bytes.reserve(PIECE);
        if stream.read_buf(&mut bytes).await.ok()? == 0 {
            return None;
        }
        match reader.push(bytes.get(at..).unwrap_or_default()) {
            Outcome::NeedMore => {}
            Outcome::Hello(hello) => return Some((Begun::new(stream, bytes), hello)),
            Outcome::NotTls | Outcome::Malformed(_) | Outcome::TooLarge => return None,
        }
    }
}

/// Hands TLS on as it is.
async fn pass_on(
    shared: &Shared,
    live: Arc<Live>,
    listener: ListenerId,
    name: &str,
    stream: Begun<TcpStream>,
    phase: &mut watch::Receiver<Phase>,
) {
    let Some(rule) = live.routing().find_tls(listener, name) else { return };
    let Some(backend) = rule.pick(spread(shared.next_number())) else { return };
    if matches!(backend.target, Target::Nobody(_)) {
        return;
    }
    let addresses = live.endpoints(&backend.target);
    let Some((_load, server)) = connected(shared, addresses).await else { return };
    // It outlives configurations.
    drop(live);
    let (quiet, count) = (Quiet::new(shared.limits.passed), AtomicU64::new(0));
    let (from_client, to_client) = split(stream);
    let (from_server, to_server) = split(server);
    let up = copy(from_client, to_server, &quiet, &count);
    let copied = async { tokio::try_join!(up, copy(from_server, to_client, &quiet, &count)) };
    tokio::select! {
        // How it ended, both ends see.
        _ended = copied => {}
        () = stopped(phase) => {}
    }
}

/// The endpoint of these that has the least to do, of those that can be reached.
async fn connected(shared: &Shared, addresses: &[SocketAddr]) -> Option<(Lease, Box<dyn Io>)> {
    let mut tried = Vec::new();
    while tried.len() < MAX_TRIED {
        let endpoint = shared.pool.pick(addresses, Spoken::default(), &tried)?;
        if let Some(server) = endpoint.connect(shared.limits.connect).await {
            return Some((endpoint.lease(), server));
        }
        tried.push(endpoint.address);
    }
    None
}

/// Finds out whether a connection in clear begins with HTTP/2.
async fn begin(exchange: Exchange, mut stream: TcpStream, phase: watch::Receiver<Phase>) {
    let mut bytes = Vec::with_capacity(PREFACE.len());
    let limits = &exchange.shared.limits;
    let reading = async {
        while bytes.len() < PREFACE.len() && PREFACE.starts_with(&bytes) {
            let left = PREFACE.len().saturating_sub(bytes.len());
            match (&mut stream).take(left as u64).read_buf(&mut bytes).await {
                Ok(0) | Err(_) => return false,
                Ok(_) => {}
            }
        }
        true
    };
    let patience = limits.idle;
    if timeout(patience, reading).await != Ok(true) {
        return;
    }
    let is_http2 = bytes == PREFACE;
    run(exchange, Begun::new(stream, bytes), is_http2, phase).await;
}

/// Takes requests until there are no more.
async fn run(exchange: Exchange, stream: impl Stream, is_http2: bool, mut phase: watch::Receiver<Phase>) {
    let exchange = Arc::new(exchange);
    let limits = &exchange.shared.limits;
    let wrong = Arc::new(Wrong::default());
    let patience = Patience { head: limits.head, write: limits.write };
    let io = TokioIo::new(Socket::new(stream, !is_http2, patience, &wrong));
    let answering = Arc::clone(&exchange);
    let service = service_fn(move |request| Arc::clone(&answering).answer(request));
    let mut end = phase.clone();
    let active = &exchange.client.active;
    let last = async {
        tokio::select! {
            () = idle(active, limits.idle) => {}
            _gone = phase.wait_for(|phase| *phase != Phase::Serving) => {}
        }
    };
    let last = (last, idle(active, limits.head));
    let serving = async {
        if is_http2 {
            let mut builder = http2::Builder::new(Streams { within: limits.write });
            builder
                .timer(TokioTimer::new())
                .keep_alive_interval(PING)
                .keep_alive_timeout(PING)
                .max_concurrent_streams(MAX_STREAMS)
                .max_header_list_size(u32::try_from(MAX_HEAD).unwrap_or(u32::MAX))
                .max_pending_accept_reset_streams(MAX_RESETS)
                .max_local_error_reset_streams(MAX_RESETS)
                .auto_date_header(false);
            let connection = builder.serve_connection(io, service);
            until_last(connection, http2::Connection::graceful_shutdown, last).await
        } else {
            let mut builder = http1::Builder::new();
            builder.max_headers(MAX_FIELDS).max_buf_size(MAX_HEAD).auto_date_header(false);
            // How long a head may take is bounded by the socket: the parser's own bound would end connections that
            // only wait for their next request.
            builder.header_read_timeout(None);
            let connection = builder.serve_connection(io, service).with_upgrades();
            until_last(connection, http1::UpgradeableConnection::graceful_shutdown, last).await
        }
    };
    tokio::select! {
        served = serving => tell(&exchange, &wrong, served),
        () = stopped(&mut end) => {}
    }
}

/// Drives a connection to its end; has it take no further requests once `last` returns, and ends it where `gone` does then: whoever said
/// nothing that the parser could end in good order keeps no place.
async fn until_last<C: Future<Output = hyper::Result<()>>>(
    connection: C,
    end: impl Fn(Pin<&mut C>),
    (last, gone): (impl Future<Output = ()>, impl Future<Output = ()>),
) -> hyper::Result<()> {
    let (mut connection, mut last) = (pin!(connection), pin!(last));
    tokio::select! {
        served = &mut connection => return served,
        () = &mut last => {}
    }
    end(connection.as_mut());
    tokio::select! {
        served = &mut connection => served,
        () = gone => Ok(()),
    }
}

/// Returns when no request was there for so long.
async fn idle(active: &Arc<()>, within: Duration) {
    // The connection has one itself, and a request one each.
    let is_idle = || Arc::strong_count(active) <= 1;
    let step = within / 4;
    let mut quiet = 0;
    while quiet < 4 {
        sleep(step).await;
        quiet = if is_idle() { quiet + 1 } else { 0 };
    }
}

/// A connection that was closed at once has a record, but of those of one address only the first: whoever opens them in a flood
/// fills no ledger.
pub(crate) fn tell_crowded(shared: &Shared, client: SocketAddr, port: u16, full: Full) {
    if !full.is_new {
        return;
    }
    let begin = Begin { client, port, host: "", method: "", path: "" };
    let mut guard = Guard::new(&shared.sink, &begin, &Arc::new(()));
    let detail = format!("it has {} open, and no more of it are taken until one of them ends", full.most);
    guard.refused(Reason::TooManyConnections, Some(detail));
    guard.record.end = End::Cut;
}

/// What the parser answered, and no request is there for, has a record as well.
fn tell(exchange: &Exchange, wrong: &Wrong, served: hyper::Result<()>) {
    let detail = match (wrong.flaw(), wrong.is_late(), &served) {
        (Some(flaw), _, _) => (Reason::HttpMalformed, Some(flaw.to_string())),
        (None, true, _) => (Reason::Timeout, None),
        (None, false, Err(error)) if error.is_parse() => (Reason::HttpMalformed, Some(error.to_string())),
        (None, false, _) => return,
    };
    let client = &exchange.client;
    let begin = Begin { client: client.address, port: client.port, host: "", method: "", path: "" };
    let mut guard = Guard::new(&exchange.shared.sink, &begin, &client.active);
    guard.refused(detail.0, detail.1);
    guard.record.end = End::Cut;
}
