//! The server behind the proxies, the clients before them, and what is measured.

use crate::proxies::Proxy;
use anyhow::{Result, bail};
use nix::sched::{CpuSet, sched_setaffinity};
use nix::unistd::Pid;
use rustls::pki_types::ServerName;
use rustls::{ClientConfig, ClientConnection, RootCertStore};
use serde_json::{Value, json};
use std::io::{Read, Write};
use std::net::{Ipv4Addr, TcpListener, TcpStream};
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Instant;

/// The name that every proxy lets through.
pub(crate) const NAME: &str = "hub.example";

/// Clients at once.
const CLIENTS: usize = 8;

/// What the server answers to a hello before it closes.
const ANSWER: usize = 1024;

/// Behind a hello, one byte asks for the stream instead.
const STREAM: &[u8] = &[23, 3, 3, 0, 1, 1];

/// How much is measured.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Size {
    connections: usize,
    bytes: u64,
}

impl Size {
    pub(crate) const FULL: Self = Self { connections: 6_000, bytes: 1 << 30 };
    pub(crate) const QUICK: Self = Self { connections: 2_000, bytes: 256 << 20 };

    pub(crate) fn to_json(self) -> Value {
        json!({ "connections": self.connections, "answer_bytes": ANSWER, "stream_bytes": self.bytes, "clients": CLIENTS })
    }
}

/// One row of one round.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Sample {
    /// Processor seconds of the proxy.
    pub(crate) cpu_per_connection: f64,
    /// By the clock.
    pub(crate) connections_per_second: f64,
    /// Processor seconds of the proxy.
    pub(crate) cpu_per_byte: f64,
    /// By the clock.
    pub(crate) bytes_per_second: f64,
    /// Bytes, afterwards.
    pub(crate) memory: f64,
}

impl Sample {
    pub(crate) fn to_json(self, round: usize, row: &str) -> Value {
        json!({
            "round": round,
            "row": row,
            "cpu_per_connection": self.cpu_per_connection,
            "connections_per_second": self.connections_per_second,
            "cpu_per_byte": self.cpu_per_byte,
            "bytes_per_second": self.bytes_per_second,
            "memory": self.memory,
        })
    }
}

/// Keeps this process on one processor.
pub(crate) fn pin(processor: usize) -> Result<()> {
    let mut set = CpuSet::new();
    set.set(processor)?;
    Ok(sched_setaffinity(Pid::from_raw(0), &set)?)
}

/// Answers each connection with [`ANSWER`] bytes, or with a stream for as long as it is read.
pub(crate) struct Server {
    port: u16,
}

impl Server {
    pub(crate) fn start() -> Result<Self> {
        let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0))?;
        let port = listener.local_addr()?.port();
        let length = hello(NAME)?.len();
        for _ in 0..CLIENTS {
            let listener = listener.try_clone()?;
            std::thread::spawn(move || {
                while let Ok((stream, _)) = listener.accept() {
                    let _client_is_done = answer(stream, length);
                }
            });
        }
        Ok(Self { port })
    }

    pub(crate) fn port(&self) -> u16 {
        self.port
    }
}

fn answer(mut stream: TcpStream, hello: usize) -> std::io::Result<()> {
    let mut read = vec![0; 4096];
    let mut length = 0;
    while length < hello {
        match stream.read(read.get_mut(length..).unwrap_or_default())? {
            0 => return Ok(()),
            more => length += more,
        }
    }
    if length < hello + STREAM.len() {
        return stream.write_all(&[7; ANSWER]);
    }
    let piece = vec![7; 1 << 20];
    loop {
        stream.write_all(&piece)?;
    }
}

/// The first bytes of a real client, with post-quantum keys.
fn hello(name: &str) -> Result<Vec<u8>> {
    let mut provider = rustls::crypto::aws_lc_rs::default_provider();
    provider.kx_groups.insert(0, rustls::crypto::aws_lc_rs::kx_group::X25519MLKEM768);
    let config = ClientConfig::builder_with_provider(Arc::new(provider))
        .with_safe_default_protocol_versions()?
        .with_root_certificates(RootCertStore::empty())
        .with_no_client_auth();
    let mut client = ClientConnection::new(Arc::new(config), ServerName::try_from(name.to_owned())?)?;
    let mut bytes = Vec::new();
    while client.wants_write() {
        client.write_tls(&mut bytes)?;
    }
    Ok(bytes)
}

/// Whether another name gets nothing from the server.
pub(crate) fn is_refused(port: u16) -> bool {
    let tried = || -> Result<usize> {
        let mut stream = TcpStream::connect((Ipv4Addr::LOCALHOST, port))?;
        stream.write_all(&hello("evil.example")?)?;
        let mut back = Vec::new();
        let _reset_is_well = stream.read_to_end(&mut back);
        Ok(back.len())
    };
    tried().is_ok_and(|length| length < ANSWER)
}

pub(crate) fn measure(proxy: &Proxy, size: Size) -> Result<Sample> {
    let hello = hello(NAME)?;
    // A tenth first: pools and caches are filled.
    connections(proxy.port(), &hello, size.connections / 10)?;
    let timed = |work: &dyn Fn() -> Result<()>| -> Result<(f64, f64)> {
        let (started, before) = (Instant::now(), proxy.processor_seconds()?);
        work()?;
        let wall = started.elapsed().as_secs_f64();
        Ok((proxy.processor_seconds()? - before, wall))
    };
    let (cpu, wall) = timed(&|| connections(proxy.port(), &hello, size.connections))?;
    let count = f64::from(u32::try_from(size.connections)?);
    let (stream_cpu, stream_wall) = timed(&|| stream(proxy.port(), &hello, size.bytes))?;
    #[expect(clippy::cast_precision_loss, reason = "some GiB")]
    let bytes = size.bytes as f64;
    Ok(Sample {
        cpu_per_connection: cpu / count,
        connections_per_second: count / wall,
        cpu_per_byte: stream_cpu / bytes,
        bytes_per_second: bytes / stream_wall,
        memory: proxy.memory()?,
    })
}

fn connections(port: u16, hello: &[u8], count: usize) -> Result<()> {
    let left = AtomicUsize::new(count);
    let client = || -> Result<()> {
        let mut back = vec![0; ANSWER + 1];
        while left.fetch_update(Ordering::Relaxed, Ordering::Relaxed, |left| left.checked_sub(1)).is_ok() {
            let mut stream = TcpStream::connect((Ipv4Addr::LOCALHOST, port))?;
            stream.write_all(hello)?;
            let mut length = 0;
            loop {
                match stream.read(back.get_mut(length..).unwrap_or_default())? {
                    0 => break,
                    more => length += more,
                }
            }
            if length != ANSWER {
                bail!("{length} bytes came back");
            }
        }
        Ok(())
    };
    std::thread::scope(|scope| {
        let clients: Vec<_> = (0..CLIENTS).map(|_| scope.spawn(client)).collect();
        for client in clients {
            client.join().map_err(|_| anyhow::anyhow!("a client panicked"))??;
        }
        Ok(())
    })
}

fn stream(port: u16, hello: &[u8], bytes: u64) -> Result<()> {
    let mut stream = TcpStream::connect((Ipv4Addr::LOCALHOST, port))?;
    stream.write_all(&[hello, STREAM].concat())?;
    let mut buffer = vec![0; 1 << 20];
    let mut left = bytes;
    while left > 0 {
        match stream.read(&mut buffer)? {
            0 => bail!("the stream ended {left} bytes too early"),
            more => left = left.saturating_sub(more as u64),
        }
    }
    Ok(())
}
