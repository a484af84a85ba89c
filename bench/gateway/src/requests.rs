//! What a request costs that is judged on its way: `bench-gateway requests [--quick] [--only PART]`, where
//! `PART` is what rows' names must contain.
//!
//! Enters: nothing but the machine, with `haproxy` installed, and `envoy` if it is to be measured too. Leaves: raw samples as JSON on
//! standard output, a table and progress on standard error. Connections stay open; each client asks again as soon as it is
//! answered. What counts is the processor time of the proxy for each request; beside it the median time of a request of one
//! client alone, and what idle connections take of memory. HAProxy and Envoy forward what they are given; the gateway's rows
//! understand and judge each request.

use crate::http2;
use crate::load::{self, pin};
use crate::proxies::{Judged, Peer, Proxy};
use anyhow::{Context, Result, bail};
use rustls::pki_types::{CertificateDer, PrivateKeyDer, ServerName, pem::PemObject};
use rustls::{ClientConfig, ClientConnection, RootCertStore, ServerConfig, ServerConnection, StreamOwned};
use serde_json::{Value, json};
use std::fmt::Write as _;
use std::io::{BufRead, BufReader, Read, Write};
use std::net::{Ipv4Addr, TcpListener, TcpStream};
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::{Duration, Instant};

/// The name that is asked for.
pub(crate) const NAME: &str = "api.openai.com";
const CLIENTS: usize = 8;
/// Bytes of an answer's body.
const ANSWER: usize = 1024;
/// Bytes of a call's body.
const CALL: usize = 2048;
/// Connections that do nothing.
const IDLE: usize = 1000;

/// They come in so many groups, and each has been idle for so long when the next comes: what a proxy gives back is used by
/// the next, as it is not by all at once.
const IDLE_GROUPS: usize = 4;
const IDLE_FOR: Duration = Duration::from_millis(2500);
/// With HTTP/2: longer than the gateway keeps the connection to the server (10 s).
const HTTP2_IDLE_FOR: Duration = Duration::from_secs(11);
/// Longer than the gateway keeps a client's connection of HTTP/2 (120 s) and then waits for one that does not answer (20 s).
pub(crate) const LATER: Duration = Duration::from_secs(142);

/// Who is measured.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Row {
    Peer(Peer, Transport),
    /// The gateway, with what it is to look for in bodies.
    Gateway(Judged, Transport),
}

/// How both sides speak.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Transport {
    Clear,
    Tls,
    /// HTTP/2, over TLS.
    Http2,
}

impl Transport {
    pub(crate) fn is_tls(self) -> bool {
        self != Self::Clear
    }

    /// What is said of it behind the name of a row.
    fn suffix(self) -> &'static str {
        match self {
            Self::Clear => "",
            Self::Tls => ", TLS",
            Self::Http2 => ", HTTP/2",
        }
    }

    /// What is agreed on in TLS.
    fn alpn(self) -> Vec<Vec<u8>> {
        let protocol: &[u8] = if self == Self::Http2 { b"h2" } else { b"http/1.1" };
        vec![protocol.to_vec()]
    }
}

/// Ports of servers.
#[derive(Clone, Copy)]
pub(crate) struct Servers {
    pub(crate) clear: u16,
    pub(crate) tls: u16,
    pub(crate) http2: u16,
}

/// How clients speak TLS.
pub(crate) struct Clients {
    http1: Arc<ClientConfig>,
    http2: Arc<ClientConfig>,
}

impl Clients {
    pub(crate) fn make(keys: &Keys) -> Result<Self> {
        let [http1, http2] =
            [Transport::Tls, Transport::Http2].map(|it| client_config(keys, it).map(Arc::new));
        Ok(Self { http1: http1?, http2: http2? })
    }

    pub(crate) fn http1(&self) -> &Arc<ClientConfig> {
        &self.http1
    }
}

impl Row {
    pub(crate) fn all() -> Vec<Self> {
        let mut all = Vec::new();
        for transport in [Transport::Clear, Transport::Tls, Transport::Http2] {
            let peers =
                Peer::ALL.into_iter().filter(|peer| peer.version().is_some() && peer.speaks(transport));
            all.extend(peers.map(|peer| Self::Peer(peer, transport)));
            all.push(Self::Gateway(Judged::Operations, transport));
            all.push(Self::Gateway(Judged::OperationsAndLeaks, transport));
        }
        all
    }

    pub(crate) fn name(self) -> String {
        let (who, transport) = match self {
            Self::Peer(peer, transport) => (peer.program(), transport),
            Self::Gateway(Judged::Operations, transport) => ("cofferdam", transport),
            Self::Gateway(Judged::OperationsAndLeaks, transport) => ("cofferdam with leaks", transport),
        };
        format!("{who}{}", transport.suffix())
    }

    pub(crate) fn transport(self) -> Transport {
        match self {
            Self::Peer(_, transport) | Self::Gateway(_, transport) => transport,
        }
    }

    /// Starts it before one of these servers.
    pub(crate) fn start(self, servers: Servers, keys: &Keys) -> Result<Proxy> {
        let server = match self.transport() {
            Transport::Clear => servers.clear,
            Transport::Tls => servers.tls,
            Transport::Http2 => servers.http2,
        };
        match self {
            Self::Peer(peer, transport) => crate::proxies::http_peer(peer, transport, server, keys),
            Self::Gateway(judged, _) => crate::proxies::judging(judged, server, keys),
        }
    }

    /// How its clients speak.
    pub(crate) fn client(self, clients: &Clients) -> How<'_> {
        match self.transport() {
            Transport::Clear => How::Http1(None),
            Transport::Tls => How::Http1(Some((&clients.http1, NAME))),
            Transport::Http2 => How::Http2(&clients.http2),
        }
    }
}

/// Certificates of the servers, and the authority in whose name the gateway answers.
pub(crate) struct Keys {
    /// Both authorities, for clients and proxies that verify.
    pub(crate) trusted: String,
    /// Of the server behind the proxies: PEM, certificate and key.
    pub(crate) server: (String, String),
    /// Of the gateway.
    pub(crate) authority: gateway::AuthorityPem,
}

impl Keys {
    pub(crate) fn make() -> Result<Self> {
        let make = || gateway::Authority::generate(std::time::SystemTime::now());
        let (outside, authority) = (make()?, make()?);
        let key = rcgen::KeyPair::generate()?;
        let issuer =
            rcgen::Issuer::from_ca_cert_pem(&outside.certificate, rcgen::KeyPair::from_pem(&outside.key)?)?;
        let leaf = rcgen::CertificateParams::new(vec![NAME.to_owned(), load::NAME.to_owned()])?
            .signed_by(&key, &issuer)?;
        let trusted = format!("{}{}", outside.certificate, authority.certificate);
        Ok(Self { trusted, server: (leaf.pem(), key.serialize_pem()), authority })
    }

    /// What the gateway believes of servers.
    pub(crate) fn roots(&self) -> Result<Vec<Vec<u8>>> {
        let all = CertificateDer::pem_slice_iter(self.trusted.as_bytes());
        all.map(|it| Ok(it.context("an authority")?.to_vec())).collect()
    }
}

/// A stream of either kind.
pub(crate) trait Stream: Read + Write + Send {}
impl<T: Read + Write + Send> Stream for T {}

#[derive(Clone, Copy)]
struct Sample {
    get: f64,
    call: f64,
    get_p50: f64,
    call_p50: f64,
    idle: f64,
}

pub(crate) fn run(quick: bool, only: Option<&str>) -> Result<()> {
    let (rounds, requests) = if quick { (2, 4_000) } else { (5, 20_000) };
    let machine = bench_machine::describe();
    pin(1)?;
    for peer in Peer::ALL.into_iter().filter(|peer| peer.version().is_none()) {
        say(&format!("NOT MEASURED: {} (it is not installed)", peer.program()));
    }
    let keys = Keys::make()?;
    let (servers, clients) = (servers(&keys)?, Clients::make(&keys)?);
    let mut rows = Row::all();
    rows.retain(|row| only.is_none_or(|only| row.name().contains(only)));
    if rows.is_empty() {
        bail!("no row has {} in its name", only.unwrap_or_default());
    }
    let mut samples: Vec<(usize, String, Sample)> = Vec::new();
    for round in 0..rounds {
        // Each row stands once at each place of the order.
        for at in 0..rows.len() {
            let Some(row) = rows.get((at + round) % rows.len()) else { continue };
            say(&format!("round {} of {rounds}: {}", round + 1, row.name()));
            let proxy = row.start(servers, &keys)?;
            let sample = measure(&proxy, row.client(&clients), requests).with_context(|| row.name())?;
            samples.push((round, row.name(), sample));
        }
    }
    let names: Vec<String> = rows.iter().map(|row| row.name()).collect();
    let to_json = |(round, row, it): &(usize, String, Sample)| {
        json!({
            "round": round, "row": row, "cpu_per_get": it.get, "cpu_per_call": it.call, "get_p50": it.get_p50,
            "call_p50": it.call_p50, "bytes_per_idle_connection": it.idle,
        })
    };
    let report = json!({
        "what": "requests over open connections; processor seconds of the proxy for each, seconds of a request of one client alone",
        "machine": machine, "peers": Peer::ALL.map(|peer| json!({ "name": peer.program(), "version": peer.version() })),
        "size": { "requests": requests, "clients": CLIENTS, "answer_bytes": ANSWER, "call_bytes": CALL, "idle": IDLE },
        "rounds": rounds, "samples": samples.iter().map(to_json).collect::<Vec<Value>>(),
    });
    writeln!(std::io::stdout(), "{report:#}")?;
    say(&table(&names, &samples));
    Ok(())
}

pub(crate) fn say(what: &str) {
    let _ = writeln!(std::io::stderr(), "{what}");
}

fn table(names: &[String], samples: &[(usize, String, Sample)]) -> String {
    let mut text = "| row | CPU of a GET | CPU of a call | GET, p50 | call, p50 | an idle connection |\n| --- | --- | --- | --- | --- | --- |".to_owned();
    for name in names {
        let median = |of: fn(&Sample) -> f64| {
            let mut all: Vec<f64> =
                samples.iter().filter(|(_, row, _)| row == name).map(|(.., it)| of(it)).collect();
            all.sort_by(f64::total_cmp);
            all.get(all.len() / 2).copied().unwrap_or_default()
        };
        let micros = |of: fn(&Sample) -> f64| median(of) * 1e6;
        let _ = write!(
            text,
            "\n| {name} | {:.1} µs | {:.1} µs | {:.0} µs | {:.0} µs | {:.1} KiB |",
            micros(|it| it.get),
            micros(|it| it.call),
            micros(|it| it.get_p50),
            micros(|it| it.call_p50),
            median(|it| it.idle) / 1024.0,
        );
    }
    text
}

pub(crate) fn server_config(keys: &Keys, transport: Transport) -> Result<Arc<ServerConfig>> {
    let (certificate, key) = &keys.server;
    let chain = vec![CertificateDer::from_pem_slice(certificate.as_bytes())?];
    let key = PrivateKeyDer::from_pem_slice(key.as_bytes())?;
    let mut config = ServerConfig::builder().with_no_client_auth().with_single_cert(chain, key)?;
    config.alpn_protocols = transport.alpn();
    Ok(Arc::new(config))
}

fn client_config(keys: &Keys, transport: Transport) -> Result<ClientConfig> {
    let mut roots = RootCertStore::empty();
    roots.add_parsable_certificates(keys.roots()?.into_iter().map(CertificateDer::from));
    // HAProxy and Envoy answer with the server's certificate.
    let mut config = ClientConfig::builder().with_root_certificates(roots).with_no_client_auth();
    config.alpn_protocols = transport.alpn();
    Ok(config)
}

/// Starts one of each.
pub(crate) fn servers(keys: &Keys) -> Result<Servers> {
    let config = |transport: Transport| server_config(keys, transport).map(Some);
    Ok(Servers {
        clear: serve(None, Transport::Clear)?,
        tls: serve(config(Transport::Tls)?, Transport::Tls)?,
        http2: serve(config(Transport::Http2)?, Transport::Http2)?,
    })
}

/// Answers every request with [`ANSWER`] bytes; the port.
fn serve(tls: Option<Arc<ServerConfig>>, transport: Transport) -> Result<u16> {
    let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0))?;
    let port = listener.local_addr()?.port();
    std::thread::spawn(move || {
        while let Ok((stream, _)) = listener.accept() {
            let tls = tls.clone();
            std::thread::spawn(move || {
                stream.set_nodelay(true)?;
                match tls {
                    None => answer(stream),
                    Some(config) => {
                        let connection = ServerConnection::new(config).map_err(std::io::Error::other)?;
                        let stream = StreamOwned::new(connection, stream);
                        match transport {
                            Transport::Http2 => http2::answer(stream, &[b' '; ANSWER]),
                            Transport::Clear | Transport::Tls => answer(stream),
                        }
                    }
                }
            });
        }
    });
    Ok(port)
}

fn answer(stream: impl Read + Write) -> std::io::Result<()> {
    let head =
        format!("HTTP/1.1 200 OK\r\nContent-Type: application/json\r\nContent-Length: {ANSWER}\r\n\r\n");
    let whole = [head.as_bytes(), &[b' '; ANSWER]].concat();
    let mut stream = BufReader::new(stream);
    while let Some(length) = read_head(&mut stream)? {
        std::io::copy(&mut Read::by_ref(&mut stream).take(length), &mut std::io::sink())?;
        stream.get_mut().write_all(&whole)?;
        stream.get_mut().flush()?;
    }
    Ok(())
}

/// The length of the body behind a head; none at the end.
pub(crate) fn read_head(stream: &mut impl BufRead) -> std::io::Result<Option<u64>> {
    let (mut length, mut line) = (0, String::new());
    loop {
        line.clear();
        if stream.read_line(&mut line)? == 0 {
            return Ok(None);
        }
        let text = line.trim_end();
        if text.is_empty() {
            return Ok(Some(length));
        }
        if let Some((name, value)) = text.split_once(':')
            && name.eq_ignore_ascii_case("content-length")
        {
            length = value.trim().parse().map_err(std::io::Error::other)?;
        }
    }
}

/// How a client speaks TLS, and with whom.
pub(crate) type Tls<'a> = Option<(&'a Arc<ClientConfig>, &'static str)>;

/// How a client speaks.
#[derive(Clone, Copy)]
pub(crate) enum How<'a> {
    Http1(Tls<'a>),
    Http2(&'a Arc<ClientConfig>),
}

/// A client of either kind.
enum Asking {
    Http1(Client),
    Http2(http2::Client),
}

/// A request, as each kind of client sends it.
struct Asked {
    http1: Vec<u8>,
    http2: http2::Request,
}

impl Asking {
    fn open(port: u16, how: How<'_>) -> Result<Self> {
        Ok(match how {
            How::Http1(tls) => Self::Http1(Client::open(port, tls)?),
            How::Http2(config) => Self::Http2(http2::Client::open(connect(port, Some((config, NAME)))?)?),
        })
    }

    fn ask(&mut self, asked: &Asked) -> Result<()> {
        match self {
            Self::Http1(client) => client.ask(&asked.http1),
            Self::Http2(client) => client.ask(&asked.http2),
        }
    }
}

fn connect(port: u16, tls: Tls<'_>) -> Result<Box<dyn Stream>> {
    let stream = TcpStream::connect((Ipv4Addr::LOCALHOST, port))?;
    stream.set_nodelay(true)?;
    Ok(match tls {
        None => Box::new(stream),
        Some((config, name)) => {
            let name = ServerName::try_from(name)?;
            Box::new(StreamOwned::new(ClientConnection::new(Arc::clone(config), name)?, stream))
        }
    })
}

/// A connection through the proxy that had one answer.
pub(crate) struct Client(BufReader<Box<dyn Stream>>);

impl Client {
    pub(crate) fn open(port: u16, tls: Tls<'_>) -> Result<Self> {
        Ok(Self(BufReader::new(connect(port, tls)?)))
    }

    fn ask(&mut self, request: &[u8]) -> Result<()> {
        self.send(request)?;
        let length = self.head()?;
        std::io::copy(&mut Read::by_ref(&mut self.0).take(length), &mut std::io::sink())?;
        Ok(())
    }

    pub(crate) fn send(&mut self, request: &[u8]) -> Result<()> {
        self.0.get_mut().write_all(request)?;
        Ok(self.0.get_mut().flush()?)
    }

    /// Reads the head of an answer; the length of its body, as far as it is said.
    pub(crate) fn head(&mut self) -> Result<u64> {
        let mut status = String::new();
        self.0.read_line(&mut status)?;
        let length = read_head(&mut self.0)?.context("no answer")?;
        if !status.contains(" 200 ") {
            bail!("answered {status:?}");
        }
        Ok(length)
    }

    pub(crate) fn into_inner(self) -> BufReader<Box<dyn Stream>> {
        self.0
    }
}

/// Numbers of fields in the table of HTTP/2 that never changes.
const AUTHORITY: u8 = 1;
const PATH: u8 = 4;
const AUTHORIZATION: u8 = 23;
const CONTENT_TYPE: u8 = 31;
/// `:method: GET` and `:method: POST`, as a field each.
const GET: u8 = 0x82;
const POST: u8 = 0x83;

fn get() -> Result<Asked> {
    let http1 = format!("GET /v1/models HTTP/1.1\r\nHost: {NAME}\r\nAuthorization: Bearer sk-bench\r\n\r\n");
    let fields = [(AUTHORITY, NAME), (PATH, "/v1/models"), (AUTHORIZATION, "Bearer sk-bench")];
    let http2 = http2::Request { block: http2::block(GET, &fields)?, body: Vec::new() };
    Ok(Asked { http1: http1.into_bytes(), http2 })
}

/// As clients make it: the model behind the messages.
fn call() -> Result<Asked> {
    let words = "Keep the water out of the hold, and count what leaves. ";
    let head = r#"{"messages":[{"role":"user","content":""#;
    let tail = r#""}],"model":"gpt-4o-mini","stream":false}"#;
    let text: String = words.chars().cycle().take(CALL - head.len() - tail.len()).collect();
    let body = format!("{head}{text}{tail}");
    let fields =
        format!("Host: {NAME}\r\nContent-Type: application/json\r\nAuthorization: Bearer sk-bench\r\n");
    let http1 =
        format!("POST /v1/chat/completions HTTP/1.1\r\n{fields}Content-Length: {}\r\n\r\n{body}", body.len());
    let fields = [
        (AUTHORITY, NAME),
        (PATH, "/v1/chat/completions"),
        (CONTENT_TYPE, "application/json"),
        (AUTHORIZATION, "Bearer sk-bench"),
    ];
    let http2 = http2::Request { block: http2::block(POST, &fields)?, body: body.into_bytes() };
    Ok(Asked { http1: http1.into_bytes(), http2 })
}

fn measure(proxy: &Proxy, how: How<'_>, count: usize) -> Result<Sample> {
    let (get, call) = (get()?, call()?);
    let cpu = |request: &Asked| -> Result<f64> {
        many(proxy.port(), how, request, count / 10)?;
        let before = proxy.processor_seconds()?;
        many(proxy.port(), how, request, count)?;
        Ok((proxy.processor_seconds()? - before) / f64::from(u32::try_from(count)?))
    };
    let alone = |request: &Asked| -> Result<f64> {
        let mut client = Asking::open(proxy.port(), how)?;
        let mut times = Vec::new();
        for _ in 0..count / 10 {
            let began = Instant::now();
            client.ask(request)?;
            times.push(began.elapsed().as_secs_f64());
        }
        times.sort_by(f64::total_cmp);
        Ok(times.get(times.len() / 2).copied().unwrap_or_default())
    };
    let (get_cpu, call_cpu, get_p50, call_p50) = (cpu(&get)?, cpu(&call)?, alone(&get)?, alone(&call)?);
    let idle = idle_bytes(proxy, how)?;
    Ok(Sample { get: get_cpu, call: call_cpu, get_p50, call_p50, idle })
}

/// What a connection takes of a proxy's memory that had its answer and does nothing.
pub(crate) fn idle_bytes(proxy: &Proxy, how: How<'_>) -> Result<f64> {
    Ok(idle(proxy, how)?.0)
}

/// The same, and what it is once proxies had time to end what is idle.
pub(crate) fn idle_and_later_bytes(proxy: &Proxy, how: How<'_>) -> Result<[f64; 2]> {
    let before = proxy.memory()?;
    let (bytes, _idle) = idle(proxy, how)?;
    std::thread::sleep(LATER);
    Ok([bytes, (proxy.memory()? - before) / f64::from(u32::try_from(IDLE)?)])
}

/// What each takes, and they.
fn idle(proxy: &Proxy, how: How<'_>) -> Result<(f64, Vec<Asking>)> {
    let (before, get) = (proxy.memory()?, get()?);
    let pause = match how {
        How::Http1(_) => IDLE_FOR,
        How::Http2(_) => HTTP2_IDLE_FOR,
    };
    let mut idle = Vec::new();
    for _ in 0..IDLE_GROUPS {
        for _ in 0..IDLE / IDLE_GROUPS {
            let mut client = Asking::open(proxy.port(), how)?;
            client.ask(&get)?;
            idle.push(client);
        }
        std::thread::sleep(pause);
    }
    Ok(((proxy.memory()? - before) / f64::from(u32::try_from(IDLE)?), idle))
}

/// Clients that ask until so many were answered.
fn many(port: u16, how: How<'_>, request: &Asked, count: usize) -> Result<()> {
    let left = AtomicUsize::new(count);
    let client = || -> Result<()> {
        let mut client = Asking::open(port, how)?;
        while left.fetch_update(Ordering::Relaxed, Ordering::Relaxed, |left| left.checked_sub(1)).is_ok() {
            client.ask(request)?;
        }
        Ok(())
    };
    std::thread::scope(|scope| {
        let clients: Vec<_> = (0..CLIENTS).map(|_| scope.spawn(client)).collect();
        clients.into_iter().try_for_each(|it| it.join().map_err(|_| anyhow::anyhow!("a client panicked"))?)
    })
}
