//! Traffic between the two pods, and what it cost.
//!
//! Processor time is that of the whole machine (`/proc/stat`: everything but idle and waiting), because the kernel's part
//! of the work is billed to whoever happens to run. The machine should do nothing else meanwhile.

use crate::{CLIENT, SERVER};
use anyhow::{Context, Result, bail};
use nix::sys::socket::{setsockopt, sockopt};
use serde_json::{Value, json};
use std::io::{Read, Write};
use std::net::{SocketAddr, TcpListener, TcpStream};
use std::process::Command;
use std::thread::spawn;
use std::time::{Duration, Instant};

/// The ports that rules allow: for connections, for questions and answers, for a stream.
pub(crate) const PORTS: (u16, u16) = (5001, 5003);
/// Open at the server, and allowed by no rule.
const CLOSED: u16 = 5009;
const CHUNK: usize = 1 << 17;

/// How much of each.
#[derive(Clone, Copy)]
pub(crate) struct Size {
    connections: u32,
    questions: u32,
    bytes: u64,
}

impl Size {
    pub(crate) const FULL: Self = Self { connections: 10_000, questions: 40_000, bytes: 6 << 30 };
    pub(crate) const QUICK: Self = Self { connections: 1500, questions: 5000, bytes: 512 << 20 };

    pub(crate) fn to_json(self) -> Value {
        json!({"connections": self.connections, "questions": self.questions, "bytes": self.bytes})
    }
}

/// What one row cost in one round.
#[derive(Clone, Copy)]
pub(crate) struct Sample {
    /// Connections per second.
    pub(crate) connections: f64,
    /// Processor seconds per connection.
    pub(crate) per_connection: f64,
    /// Median and 99th percentile of a question and its answer on an open connection, in seconds.
    pub(crate) answer: (f64, f64),
    /// Processor seconds per question.
    pub(crate) per_question: f64,
    /// Bytes per second of one stream.
    pub(crate) stream: f64,
    /// Processor seconds per byte.
    pub(crate) per_byte: f64,
}

impl Sample {
    pub(crate) fn to_json(self, round: usize, row: &str) -> Value {
        json!({
            "round": round, "row": row,
            "connections_per_s": self.connections, "cpu_us_per_connection": self.per_connection * 1e6,
            "answer_p50_us": self.answer.0 * 1e6, "answer_p99_us": self.answer.1 * 1e6,
            "cpu_us_per_question": self.per_question * 1e6,
            "gbit_per_s": self.stream * 8e-9, "cpu_s_per_gb": self.per_byte * 1e9,
        })
    }
}

/// Starts the server's threads; they live as long as the process.
pub(crate) fn serve() -> Result<()> {
    for port in [PORTS.0, PORTS.0 + 1, PORTS.1, CLOSED] {
        let listener = TcpListener::bind((SERVER, port))?;
        spawn(move || {
            for stream in listener.incoming().flatten() {
                if port == PORTS.0 {
                    let _ = answer(stream, 1);
                } else if port == PORTS.1 {
                    spawn(move || swallow(stream));
                } else {
                    spawn(move || answer(stream, usize::MAX));
                }
            }
        });
    }
    Ok(())
}

fn answer(mut stream: TcpStream, times: usize) -> std::io::Result<()> {
    stream.set_nodelay(true)?;
    let mut byte = [0];
    for _ in 0..times {
        stream.read_exact(&mut byte)?;
        stream.write_all(&byte)?;
    }
    Ok(())
}

/// Takes a stream, and says at its end how much came.
fn swallow(mut stream: TcpStream) -> std::io::Result<()> {
    let mut buffer = vec![0; CHUNK];
    let mut total = 0_u64;
    loop {
        match stream.read(&mut buffer)? {
            0 => return stream.write_all(&total.to_be_bytes()),
            read => total += read as u64,
        }
    }
}

/// Whether the port that no rule allows stays silent.
pub(crate) fn is_closed() -> bool {
    let address = SocketAddr::from((SERVER, CLOSED));
    TcpStream::connect_timeout(&address, Duration::from_millis(300)).is_err()
}

/// Runs all three loads, as the client. `node` is the network namespace in which connections are tracked.
pub(crate) fn measure(size: Size, node: &str) -> Result<Sample> {
    connect(size.connections / 10)?;
    forget(node)?;
    let mut took = 0.0;
    let (_, processor) = timed(|| {
        let start = Instant::now();
        connect(size.connections)?;
        took = start.elapsed().as_secs_f64();
        forget(node)
    })?;
    let count = f64::from(size.connections);
    let (connections, per_connection) = (count / took, processor / count);
    let mut times = Vec::new();
    let (_, processor) = timed(|| {
        times = ask(size.questions)?;
        Ok(())
    })?;
    times.sort_by(f64::total_cmp);
    let at = |percent: usize| times.get(times.len() * percent / 100).copied().context("questions");
    let answer = (at(50)?, at(99)?);
    let per_question = processor / f64::from(size.questions);
    let (took, processor) = timed(|| send(size.bytes))?;
    #[expect(clippy::cast_precision_loss, reason = "a few gigabytes")]
    let bytes = size.bytes as f64;
    Ok(Sample {
        connections,
        per_connection,
        answer,
        per_question,
        stream: bytes / took,
        per_byte: processor / bytes,
    })
}

/// Seconds on the clock, and of all processors.
fn timed(load: impl FnOnce() -> Result<()>) -> Result<(f64, f64)> {
    let (busy, start) = (busy()?, Instant::now());
    load()?;
    let took = start.elapsed().as_secs_f64();
    Ok((took, self::busy()? - busy))
}

/// Seconds that all processors together were busy since the machine started.
fn busy() -> Result<f64> {
    let text = std::fs::read_to_string("/proc/stat")?;
    let line = text.lines().next().context("no line in /proc/stat")?;
    let ticks: Vec<f64> = line.split_whitespace().skip(1).map_while(|field| field.parse().ok()).collect();
    // user nice system idle iowait irq softirq steal; guests are counted in user and nice. Stolen time is not ours.
    let idle_or_stolen = |field: usize| matches!(field, 3 | 4 | 7);
    let ours = ticks.iter().take(8).enumerate().filter(|(field, _)| !idle_or_stolen(*field));
    Ok(ours.map(|(_, ticks)| ticks).sum::<f64>() / 100.0)
}

/// Ends every tracked connection now, so that the cost of its end, and of the record of it, falls on the row it belongs to.
fn forget(node: &str) -> Result<()> {
    let output = Command::new("ip").args(["netns", "exec", node, "conntrack", "-F"]).output()?;
    if !output.status.success() {
        bail!("conntrack -F: {}", String::from_utf8_lossy(&output.stderr));
    }
    std::thread::sleep(Duration::from_millis(100));
    Ok(())
}

/// Opens connections one after the other, a byte there and back on each.
fn connect(count: u32) -> Result<()> {
    for _ in 0..count {
        let mut stream = TcpStream::connect((SERVER, PORTS.0))?;
        let linger = nix::libc::linger { l_onoff: 1, l_linger: 0 };
        // Reset at the end: no state waits for late packets, so that ports do not run out.
        setsockopt(&stream, sockopt::Linger, &linger)?;
        stream.write_all(b"?")?;
        stream.read_exact(&mut [0])?;
    }
    Ok(())
}

fn ask(count: u32) -> Result<Vec<f64>> {
    let mut stream = TcpStream::connect((SERVER, PORTS.0 + 1))?;
    stream.set_nodelay(true)?;
    let mut times = Vec::with_capacity(count as usize);
    for _ in 0..count {
        let start = Instant::now();
        stream.write_all(b"?")?;
        stream.read_exact(&mut [0])?;
        times.push(start.elapsed().as_secs_f64());
    }
    Ok(times)
}

fn send(bytes: u64) -> Result<()> {
    let mut stream = TcpStream::connect((SERVER, PORTS.1))?;
    let chunk = vec![7; CHUNK];
    for _ in 0..bytes / CHUNK as u64 {
        stream.write_all(&chunk)?;
    }
    stream.shutdown(std::net::Shutdown::Write)?;
    let mut total = [0; 8];
    stream.read_exact(&mut total)?;
    if u64::from_be_bytes(total) != bytes {
        bail!("{CLIENT} sent {bytes} bytes, and {} came", u64::from_be_bytes(total));
    }
    Ok(())
}
