//! What a proxy adds to the time of an event of a stream: `bench-gateway streams [--quick] [--only ROW]`.
//!
//! Enters: nothing but the machine, with the peers that are installed. Leaves: raw samples as JSON on standard output, a table
//! and progress on standard error. [`STREAMS`] answers of server-sent events are open at once, as of chat completions; the
//! server sends one event after the other, each on the next stream, with the time at which it does. Who reads it compares.
//! The same without a proxy stands beside: server and clients share a processor, and most of the time is theirs.

use crate::load::pin;
use crate::proxies::{Judged, Peer};
use crate::requests::{
    Client, Clients, Keys, Row, Servers, Stream, Tls, Transport, read_head, say, server_config,
};
use anyhow::{Context, Result, anyhow, bail};
use rustls::{ServerConfig, ServerConnection, StreamOwned};
use serde_json::json;
use std::fmt::Write as _;
use std::io::{BufRead, BufReader, Read, Write};
use std::net::{Ipv4Addr, TcpListener};
use std::sync::Arc;
use std::sync::mpsc::{Receiver, Sender, channel};
use std::time::{Duration, Instant};

/// Streams at once.
const STREAMS: usize = 256;
/// Between two events: each stream has one in a tenth of a second.
const PACE: Duration = Duration::from_micros(390);
/// Longest that anything is waited for.
const PATIENCE: Duration = Duration::from_secs(30);

/// Who is between.
#[derive(Clone, Copy)]
enum Between {
    Nobody(Transport),
    Proxy(Row),
}

impl Between {
    fn all() -> Vec<Self> {
        let rows = |transport| {
            let peers =
                [Peer::HaProxy, Peer::Envoy, Peer::Nginx].into_iter().filter(|it| it.version().is_some());
            let peers = peers.map(move |peer| Self::Proxy(Row::Peer(peer, transport)));
            let gateway = Self::Proxy(Row::Gateway(Judged::Operations, transport));
            [Self::Nobody(transport)].into_iter().chain(peers).chain([gateway])
        };
        [Transport::Clear, Transport::Tls].into_iter().flat_map(rows).collect()
    }

    fn name(self) -> String {
        match self {
            Self::Nobody(Transport::Clear) => "nobody".to_owned(),
            Self::Nobody(Transport::Tls | Transport::Http2) => "nobody, TLS".to_owned(),
            Self::Proxy(row) => row.name(),
        }
    }

    fn transport(self) -> Transport {
        match self {
            Self::Nobody(transport) => transport,
            Self::Proxy(row) => row.transport(),
        }
    }
}

/// Seconds from the server's write to the client's read.
#[derive(Clone, Copy)]
struct Sample {
    p50: f64,
    p99: f64,
    /// Processor seconds of the proxy for an event.
    cpu: f64,
}

pub(crate) fn run(quick: bool, only: Option<&str>) -> Result<()> {
    let (rounds, events) = if quick { (1, 10) } else { (5, 40) };
    let machine = bench_machine::describe();
    pin(1)?;
    let keys = Keys::make()?;
    let clients = Clients::make(&keys)?;
    let mut all = Between::all();
    let names = all.iter().map(|between| between.name()).collect::<Vec<_>>().join("; ");
    all.retain(|between| only.is_none_or(|only| between.name() == only));
    if all.is_empty() {
        bail!("no row is named {}: there are {names}", only.unwrap_or_default());
    }
    let mut samples: Vec<(usize, String, Sample)> = Vec::new();
    for round in 0..rounds {
        // Each row stands once at each place of the order.
        for at in 0..all.len() {
            let Some(between) = all.get((at + round) % all.len()) else { continue };
            say(&format!("round {} of {rounds}: {}", round + 1, between.name()));
            let tls = between.transport().is_tls().then_some((clients.http1(), crate::requests::NAME));
            let sample = measure(*between, &keys, tls, events).with_context(|| between.name())?;
            samples.push((round, between.name(), sample));
        }
    }
    let to_json = |(round, row, it): &(usize, String, Sample)| json!({ "round": round, "row": row, "p50": it.p50, "p99": it.p99, "cpu_per_event": it.cpu });
    let report = json!({
        "what": "server-sent events over many streams; seconds from the server's write to the client's read, processor seconds of the proxy for each",
        "machine": machine, "peers": Peer::ALL.map(|peer| json!({ "name": peer.program(), "version": peer.version() })),
        "size": { "streams": STREAMS, "events_per_stream": events, "pace_micros": PACE.as_micros() },
        "rounds": rounds, "samples": samples.iter().map(to_json).collect::<Vec<_>>(),
    });
    writeln!(std::io::stdout(), "{report:#}")?;
    say(&table(&all, &samples));
    Ok(())
}

fn table(all: &[Between], samples: &[(usize, String, Sample)]) -> String {
    let mut text =
        "| row | event, p50 | added | p99 | CPU of an event |\n| --- | --- | --- | --- | --- |".to_owned();
    for between in all {
        let median = |name: &str, of: fn(&Sample) -> f64| {
            let mut all: Vec<f64> =
                samples.iter().filter(|(_, row, _)| row == name).map(|(.., it)| of(it) * 1e6).collect();
            all.sort_by(f64::total_cmp);
            all.get(all.len() / 2).copied().unwrap_or_default()
        };
        let (name, direct) = (between.name(), Between::Nobody(between.transport()).name());
        let p50 = median(&name, |it| it.p50);
        let _ = write!(
            text,
            "\n| {name} | {p50:.0} µs | {:.0} µs | {:.0} µs | {:.1} µs |",
            p50 - median(&direct, |it| it.p50),
            median(&name, |it| it.p99),
            median(&name, |it| it.cpu),
        );
    }
    text
}

fn measure(between: Between, keys: &Keys, tls: Tls<'_>, events: usize) -> Result<Sample> {
    let config = tls.is_some().then(|| server_config(keys, Transport::Tls)).transpose()?;
    let (port, accepted) = serve(config)?;
    let proxy = match between {
        Between::Nobody(_) => None,
        Between::Proxy(row) => {
            let servers = Servers { clear: port, tls: port, http2: port };
            Some(row.start(servers, keys)?)
        }
    };
    let at = proxy.as_ref().map_or(port, crate::proxies::Proxy::port);
    let (began, (heard, times)) = (Instant::now(), channel());
    let mut servers = Vec::new();
    for _ in 0..STREAMS {
        let mut client = Client::open(at, tls)?;
        client.send(&call())?;
        servers.push(accepted.recv_timeout(PATIENCE).context("nobody asked the server")?);
        client.head()?;
        let heard = heard.clone();
        std::thread::Builder::new().stack_size(256 * 1024).spawn(move || listen(client, began, &heard))?;
    }
    drop(heard);
    let cpu = || proxy.as_ref().map_or(Ok(0.0), crate::proxies::Proxy::processor_seconds);
    let before = cpu()?;
    for _ in 0..events {
        for server in &mut servers {
            let data = format!(
                "data: {{\"choices\":[{{\"delta\":{{\"content\":\"{}\"}}}}]}}\n\n",
                began.elapsed().as_nanos()
            );
            server.write_all(format!("{:x}\r\n{data}\r\n", data.len()).as_bytes())?;
            server.flush()?;
            std::thread::sleep(PACE);
        }
    }
    for server in &mut servers {
        server.write_all(b"0\r\n\r\n")?;
        server.flush()?;
    }
    let mut times: Vec<f64> = times.iter().collect();
    let used = cpu()? - before;
    if times.len() != events * STREAMS {
        bail!("{} events of {} came", times.len(), events * STREAMS);
    }
    times.sort_by(f64::total_cmp);
    let count = f64::from(u32::try_from(times.len())?);
    let at = |part: usize| times.get(times.len() * part / 100).copied().unwrap_or_default();
    Ok(Sample { p50: at(50), p99: at(99), cpu: used / count })
}

/// Accepts connections, reads a request on each and begins to answer; the port, and the connections.
fn serve(tls: Option<Arc<ServerConfig>>) -> Result<(u16, Receiver<Box<dyn Stream>>)> {
    let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0))?;
    let port = listener.local_addr()?.port();
    let (sender, accepted) = channel();
    std::thread::spawn(move || {
        for stream in listener.incoming() {
            let (sender, tls) = (sender.clone(), tls.clone());
            std::thread::spawn(move || -> Result<()> {
                let stream = stream?;
                stream.set_nodelay(true)?;
                let stream: Box<dyn Stream> = match tls {
                    None => Box::new(stream),
                    Some(config) => Box::new(StreamOwned::new(ServerConnection::new(config)?, stream)),
                };
                let mut stream = BufReader::new(stream);
                // Who only looks whether somebody is there asks nothing.
                let Some(length) = read_head(&mut stream)? else { return Ok(()) };
                std::io::copy(&mut Read::by_ref(&mut stream).take(length), &mut std::io::sink())?;
                let mut stream = stream.into_inner();
                stream.write_all(
                    b"HTTP/1.1 200 OK\r\nContent-Type: text/event-stream\r\nTransfer-Encoding: chunked\r\n\r\n",
                )?;
                stream.flush()?;
                sender.send(stream).map_err(|_| anyhow!("nobody measures any more"))
            });
        }
    });
    Ok((port, accepted))
}

/// Tells how long each event took that comes.
fn listen(client: Client, began: Instant, heard: &Sender<f64>) {
    let mut lines = client.into_inner();
    let mut line = String::new();
    while lines.read_line(&mut line).is_ok_and(|length| length > 0) {
        let now = began.elapsed().as_nanos();
        let sent = line.strip_prefix("data: ").and_then(|data| data.split('"').nth(7)?.parse::<u128>().ok());
        if let Some(sent) = sent {
            #[expect(clippy::cast_precision_loss, reason = "some seconds")]
            let seconds = now.saturating_sub(sent) as f64 / 1e9;
            // Who measures may have given up.
            let _gone = heard.send(seconds);
        } else if line.trim_end() == "0" {
            return;
        }
        line.clear();
    }
}

/// A call whose answer is a stream.
fn call() -> Vec<u8> {
    let body = r#"{"model":"gpt-4o-mini","stream":true,"messages":[{"role":"user","content":"Count."}]}"#;
    let fields = "Content-Type: application/json\r\nAuthorization: Bearer sk-bench";
    let name = crate::requests::NAME;
    format!(
        "POST /v1/chat/completions HTTP/1.1\r\nHost: {name}\r\n{fields}\r\nContent-Length: {}\r\n\r\n{body}",
        body.len()
    )
    .into_bytes()
}
