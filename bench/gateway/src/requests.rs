//! What a request costs that is judged on its way: `bench-gateway requests [--quick]`.
//!
//! Enters: nothing but the machine, with `haproxy` installed, and `envoy` if it is to be measured too. Leaves: raw samples as JSON on
//! standard output, a table and progress on standard error. Connections stay open; each client asks again as soon as it is
//! answered. What counts is the processor time of the proxy for each request; beside it the median time of a request of one
//! client alone, and what idle connections take of memory. HAProxy and Envoy forward what they are given; the gateway's rows
//! understand and judge each request.

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
}

impl Row {
    pub(crate) fn all() -> Vec<Self> {
        let mut all = Vec::new();
        for transport in [Transport::Clear, Transport::Tls] {
            let peers = Peer::ALL.into_iter().filter(|peer| peer.version().is_some());
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
        let how = if transport == Transport::Tls { ", TLS" } else { "" };
        format!("{who}{how}")
    }

    pub(crate) fn transport(self) -> Transport {
        match self {
            Self::Peer(_, transport) | Self::Gateway(_, transport) => transport,
        }
    }

    /// Starts it before one of these servers, which speak in clear and TLS.
    pub(crate) fn start(self, (clear, tls): (u16, u16), keys: &Keys) -> Result<Proxy> {
        let server = if self.transport() == Transport::Tls { tls } else { clear };
        match self {
            Self::Peer(peer, transport) => crate::proxies::http_peer(peer, transport, server, keys),
            Self::Gateway(judged, _) => crate::proxies::judging(judged, server, keys),
        }
    }

    /// How its clients speak TLS, if they do.
    pub(crate) fn client(self, config: &Arc<ClientConfig>) -> Tls<'_> {
        (self.transport() == Transport::Tls).then_some((config, NAME))
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

pub(crate) fn run(quick: bool) -> Result<()> {
    let (rounds, requests) = if quick { (2, 4_000) } else { (5, 20_000) };
    let machine = bench_machine::describe();
    pin(1)?;
    for peer in Peer::ALL.into_iter().filter(|peer| peer.version().is_none()) {
        say(&format!("NOT MEASURED: {} (it is not installed)", peer.program()));
    }
    let keys = Keys::make()?;
    let servers = (serve(None)?, serve(Some(server_config(&keys)?))?);
    let client = Arc::new(client_config(&keys)?);
    let rows = Row::all();
    let mut samples: Vec<(usize, String, Sample)> = Vec::new();
    for round in 0..rounds {
        // Each row stands once at each place of the order.
        for at in 0..rows.len() {
            let Some(row) = rows.get((at + round) % rows.len()) else { continue };
            say(&format!("round {} of {rounds}: {}", round + 1, row.name()));
            let proxy = row.start(servers, &keys)?;
            let sample = measure(&proxy, row.client(&client), requests).with_context(|| row.name())?;
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

pub(crate) fn server_config(keys: &Keys) -> Result<Arc<ServerConfig>> {
    let (certificate, key) = &keys.server;
    let chain = vec![CertificateDer::from_pem_slice(certificate.as_bytes())?];
    let key = PrivateKeyDer::from_pem_slice(key.as_bytes())?;
    let mut config = ServerConfig::builder().with_no_client_auth().with_single_cert(chain, key)?;
    config.alpn_protocols = vec![b"http/1.1".to_vec()];
    Ok(Arc::new(config))
}

pub(crate) fn client_config(keys: &Keys) -> Result<ClientConfig> {
    let mut roots = RootCertStore::empty();
    roots.add_parsable_certificates(keys.roots()?.into_iter().map(CertificateDer::from));
    // HAProxy and Envoy answer with the server's certificate.
    let mut config = ClientConfig::builder().with_root_certificates(roots).with_no_client_auth();
    config.alpn_protocols = vec![b"http/1.1".to_vec()];
    Ok(config)
}

/// Answers every request with [`ANSWER`] bytes; the port.
pub(crate) fn serve(tls: Option<Arc<ServerConfig>>) -> Result<u16> {
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
                        answer(StreamOwned::new(connection, stream))
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

/// A connection through the proxy that had one answer.
pub(crate) struct Client(BufReader<Box<dyn Stream>>);

impl Client {
    pub(crate) fn open(port: u16, tls: Tls<'_>) -> Result<Self> {
        let stream = TcpStream::connect((Ipv4Addr::LOCALHOST, port))?;
        stream.set_nodelay(true)?;
        let stream: Box<dyn Stream> = match tls {
            None => Box::new(stream),
            Some((config, name)) => {
                let name = ServerName::try_from(name)?;
                Box::new(StreamOwned::new(ClientConnection::new(Arc::clone(config), name)?, stream))
            }
        };
        Ok(Self(BufReader::new(stream)))
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

fn get() -> Vec<u8> {
    format!("GET /v1/models HTTP/1.1\r\nHost: {NAME}\r\nAuthorization: Bearer sk-bench\r\n\r\n").into_bytes()
}

/// As clients make it: the model behind the messages.
fn call() -> Vec<u8> {
    let words = "Keep the water out of the hold, and count what leaves. ";
    let head = r#"{"messages":[{"role":"user","content":""#;
    let tail = r#""}],"model":"gpt-4o-mini","stream":false}"#;
    let text: String = words.chars().cycle().take(CALL - head.len() - tail.len()).collect();
    let body = format!("{head}{text}{tail}");
    let fields =
        format!("Host: {NAME}\r\nContent-Type: application/json\r\nAuthorization: Bearer sk-bench\r\n");
    format!("POST /v1/chat/completions HTTP/1.1\r\n{fields}Content-Length: {}\r\n\r\n{body}", body.len())
        .into_bytes()
}

fn measure(proxy: &Proxy, tls: Tls<'_>, count: usize) -> Result<Sample> {
    let (get, call) = (get(), call());
    let cpu = |request: &[u8]| -> Result<f64> {
        many(proxy.port(), tls, request, count / 10)?;
        let before = proxy.processor_seconds()?;
        many(proxy.port(), tls, request, count)?;
        Ok((proxy.processor_seconds()? - before) / f64::from(u32::try_from(count)?))
    };
    let alone = |request: &[u8]| -> Result<f64> {
        let mut client = Client::open(proxy.port(), tls)?;
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
    let idle = idle_bytes(proxy, tls)?;
    Ok(Sample { get: get_cpu, call: call_cpu, get_p50, call_p50, idle })
}

/// What a connection takes of a proxy's memory that had its answer and does nothing.
pub(crate) fn idle_bytes(proxy: &Proxy, tls: Tls<'_>) -> Result<f64> {
    let before = proxy.memory()?;
    let mut idle = Vec::new();
    for _ in 0..IDLE_GROUPS {
        for _ in 0..IDLE / IDLE_GROUPS {
            let mut client = Client::open(proxy.port(), tls)?;
            client.ask(&get())?;
            idle.push(client);
        }
        std::thread::sleep(IDLE_FOR);
    }
    Ok((proxy.memory()? - before) / f64::from(u32::try_from(IDLE)?))
}

/// Clients that ask until so many were answered.
fn many(port: u16, tls: Tls<'_>, request: &[u8], count: usize) -> Result<()> {
    let left = AtomicUsize::new(count);
    let client = || -> Result<()> {
        let mut client = Client::open(port, tls)?;
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
