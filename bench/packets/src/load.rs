//! Load between two pods: a client thread and a server thread, each on a processor of its own.
//!
//! Leaves: for every burst its length, the processor time of the two threads, and what the whole machine did meanwhile.
//! Between namespaces on one machine packets are carried by whoever sends them, so the time of the threads contains
//! the network path of both pods and of the node between them. What the kernel puts off to threads of its own is only
//! in the numbers of the whole machine.

use anyhow::{Context, Result};
use lab::{Lab, Place};
use nix::sched::{CpuSet, sched_setaffinity};
use nix::sys::socket::{setsockopt, sockopt};
use nix::sys::time::{TimeVal, TimeValLike};
use nix::time::{ClockId, clock_gettime};
use nix::unistd::Pid;
use std::io::{Read, Result as IoResult, Write};
use std::net::{SocketAddr, TcpListener, TcpStream};
use std::sync::mpsc::{Receiver, channel};
use std::time::{Duration, Instant};

/// No single read, write or accept waits longer.
const PATIENCE: Duration = Duration::from_secs(5);

/// One burst of one kind of load.
#[derive(Clone, Debug, Default)]
pub(crate) struct Burst {
    /// Seconds from the client's start to the last of both.
    pub(crate) wall: f64,
    /// Seconds of processor time of both threads.
    pub(crate) cpu: f64,
    /// Meanwhile, everywhere.
    pub(crate) machine: Ticks,
    /// Nanoseconds of each exchange, where there are any.
    pub(crate) latencies: Vec<u32>,
}

/// Processor time of the whole machine, in hundredths of a second, from `/proc/stat`.
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct Ticks {
    /// Everything but idle.
    pub(crate) busy: u64,
    /// The part of it that the kernel calls softirq.
    pub(crate) softirq: u64,
}

impl Ticks {
    fn now() -> Self {
        let text = std::fs::read_to_string("/proc/stat").unwrap_or_default();
        let line = text.lines().next().unwrap_or_default();
        let numbers: Vec<u64> = line.split_whitespace().skip(1).filter_map(|n| n.parse().ok()).collect();
        let at = |index: usize| numbers.get(index).copied().unwrap_or(0);
        // user, nice, system, idle, iowait, irq, softirq
        Self { busy: at(0) + at(1) + at(2) + at(5) + at(6), softirq: at(6) }
    }

    fn since(self, before: Self) -> Self {
        Self {
            busy: self.busy.saturating_sub(before.busy),
            softirq: self.softirq.saturating_sub(before.softirq),
        }
    }
}

/// A pair of pods with what they need to load the path between them.
#[derive(Debug)]
pub(crate) struct Link {
    client: Place,
    to: SocketAddr,
    listener: TcpListener,
    stream: (TcpStream, TcpStream),
    exchange: (TcpStream, TcpStream),
}

impl Link {
    /// Listens in one pod and connects from the other, twice.
    pub(crate) fn open(lab: &Lab, client: Place, server: &Place, to: SocketAddr) -> Result<Self> {
        let listener = lab.run(server, move || TcpListener::bind(to))??;
        setsockopt(&listener, sockopt::ReceiveTimeout, &TimeVal::seconds(5))?;
        let connect = || -> Result<(TcpStream, TcpStream)> {
            let near = lab.run(&client, move || TcpStream::connect_timeout(&to, PATIENCE))?;
            let near = near.with_context(|| format!("connecting from {client} to {to}"))?;
            let (far, _) = listener.accept()?;
            for end in [&near, &far] {
                end.set_read_timeout(Some(PATIENCE))?;
                end.set_write_timeout(Some(PATIENCE))?;
                end.set_nodelay(true)?;
            }
            Ok((near, far))
        };
        let (stream, exchange) = (connect()?, connect()?);
        Ok(Self { client, to, listener, stream, exchange })
    }

    /// Moves so many bytes over one standing connection.
    pub(crate) fn stream(&self, lab: &Lab, bytes: usize) -> Result<Burst> {
        let (mut near, mut far) = (self.stream.0.try_clone()?, self.stream.1.try_clone()?);
        let send = move || {
            let block = vec![0x5a_u8; 128 << 10];
            let mut left = bytes;
            while left > 0 {
                let part = block.get(..left.min(block.len())).unwrap_or_default();
                near.write_all(part)?;
                left -= part.len();
            }
            Ok(Vec::new())
        };
        let receive = move || {
            let mut block = vec![0_u8; 128 << 10];
            let mut left = bytes;
            while left > 0 {
                let upto = left.min(block.len());
                let count = far.read(block.get_mut(..upto).unwrap_or_default())?;
                if count == 0 {
                    return Err(std::io::ErrorKind::UnexpectedEof.into());
                }
                left -= count;
            }
            Ok(())
        };
        self.both(lab, send, receive)
    }

    /// So many connections one after the other: opened, one byte there, one byte back, reset. A reset leaves neither end
    /// waiting, so that any number of them fits the ports of one address.
    pub(crate) fn connections(&self, lab: &Lab, count: u32) -> Result<Burst> {
        let (to, listener) = (self.to, self.listener.try_clone()?);
        let open = move || {
            let reset = nix::libc::linger { l_onoff: 1, l_linger: 0 };
            let mut byte = [1];
            for _ in 0..count {
                let mut connection = TcpStream::connect(to)?;
                connection.set_read_timeout(Some(PATIENCE))?;
                setsockopt(&connection, sockopt::Linger, &reset)?;
                connection.write_all(&byte)?;
                connection.read_exact(&mut byte)?;
            }
            Ok(Vec::new())
        };
        let accept = move || {
            let mut byte = [0];
            let mut before = None;
            for _ in 0..count {
                let (mut connection, _) = listener.accept()?;
                connection.read_exact(&mut byte)?;
                connection.write_all(&byte)?;
                // Closed only when the client has reset it.
                drop(before.replace(connection));
            }
            Ok(())
        };
        self.both(lab, open, accept)
    }

    /// So many times one byte there and one byte back over one standing connection.
    pub(crate) fn exchanges(&self, lab: &Lab, count: u32) -> Result<Burst> {
        let (mut near, mut far) = (self.exchange.0.try_clone()?, self.exchange.1.try_clone()?);
        let ask = move || {
            let (mut byte, mut latencies) = ([1], Vec::new());
            for _ in 0..count {
                let start = Instant::now();
                near.write_all(&byte)?;
                near.read_exact(&mut byte)?;
                latencies.push(u32::try_from(start.elapsed().as_nanos()).unwrap_or(u32::MAX));
            }
            Ok(latencies)
        };
        let answer = move || {
            let mut byte = [0];
            for _ in 0..count {
                far.read_exact(&mut byte)?;
                far.write_all(&byte)?;
            }
            Ok(())
        };
        self.both(lab, ask, answer)
    }

    fn both(
        &self,
        lab: &Lab,
        client: impl FnOnce() -> IoResult<Vec<u32>> + Send + 'static,
        server: impl FnOnce() -> IoResult<()> + Send + 'static,
    ) -> Result<Burst> {
        let (ready, go) = channel();
        let before = Ticks::now();
        let server = std::thread::spawn(move || {
            side(1, server, || {
                // A client that is gone has an error of its own.
                let _gone = ready.send(());
            })
        });
        let near = lab.run(&self.client, move || side(0, client, || await_start(&go)))?;
        let far = server.join().map_err(|_| anyhow::anyhow!("the server's thread ended early"))?;
        let machine = Ticks::now().since(before);
        let near = near.with_context(|| format!("{}: the client", self.client))?;
        let far = far.with_context(|| format!("{}: the server", self.client))?;
        let wall = near.end.max(far.end).duration_since(near.start).as_secs_f64();
        Ok(Burst { wall, cpu: near.cpu + far.cpu, machine, latencies: near.value })
    }
}

fn await_start(go: &Receiver<()>) {
    // Without a server the client fails by itself.
    let _late = go.recv_timeout(PATIENCE);
}

struct Side<T> {
    value: T,
    start: Instant,
    end: Instant,
    cpu: f64,
}

fn side<T>(cpu: usize, work: impl FnOnce() -> IoResult<T>, begin: impl FnOnce()) -> IoResult<Side<T>> {
    let mut set = CpuSet::new();
    if set.set(cpu).is_ok() {
        // A machine with one processor runs both there.
        let _alone = sched_setaffinity(Pid::from_raw(0), &set);
    }
    let cpu = thread_seconds();
    begin();
    let start = Instant::now();
    let value = work()?;
    Ok(Side { value, start, end: Instant::now(), cpu: thread_seconds() - cpu })
}

/// Processor time of the calling thread.
pub(crate) fn thread_seconds() -> f64 {
    clock_gettime(ClockId::CLOCK_THREAD_CPUTIME_ID)
        .map_or(0.0, |time| Duration::from(time).as_secs_f64())
}
