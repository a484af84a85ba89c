//! Copies both ways until both are done.
//!
//! Guarantees: a side that is slow makes the other wait (no more than one buffer is in between); the end of one direction
//! is passed on alone (half-close); a broken side breaks the other; what a gate holds back goes on in order or not at all,
//! and a server that ends in the middle of it broke off. Copies through one buffer for each thread first; what a
//! connection cannot write at once is its own; from `splice_after` bytes on the kernel moves the rest, where both the
//! gate and the ceiling of that direction are open.

use crate::ceiling::Ceiling;
use crate::forward::Way;
use crate::gate::Gate;
use crate::near::Near;
use crate::reason::{End, Reason};
use crate::record::Traffic;
use crate::refuse::reset;
use crate::server_gate::ServerGate;
use crate::splice::Pipe;
use crate::uploads::Upload;
use std::cell::RefCell;
use std::future::poll_fn;
use std::io;
use std::pin::Pin;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::task::{Context, Poll, ready};
use std::time::Duration;
use tokio::io::{AsyncRead, AsyncWrite, AsyncWriteExt, ReadBuf};
use tokio::net::TcpStream;
use tokio::net::tcp;

/// Bytes read at once.
const PIECE: usize = 64 * 1024;

thread_local! {
    static BUFFER: RefCell<Vec<u8>> = RefCell::new(vec![0; PIECE]);
}

/// A connection under way.
pub(crate) struct Relay<'a> {
    pub(crate) pod: Near,
    pub(crate) server: Way,
    /// Of what the pod sends.
    pub(crate) gate: Gate,
    /// Of what the server sends.
    pub(crate) server_gate: ServerGate,
    pub(crate) ceiling: Ceiling,
    /// What is drawn from before anything goes to the server.
    pub(crate) upload: Option<&'a Upload>,
    pub(crate) traffic: &'a Traffic,
    pub(crate) splice_after: u64,
    pub(crate) idle: Duration,
}

/// What stopped it before its end.
enum Broken {
    /// The pod's socket.
    Pod,
    /// The server's socket.
    Server,
    /// It went against policy.
    Policy(Reason),
    /// Something outside of it.
    Outside(End),
}

impl Relay<'_> {
    /// Sends `first` to the server, then copies. Returns how it ended, and why it was cut if it was.
    /// `stop` ends it for a reason from outside.
    pub(crate) async fn run(
        self,
        first: Vec<u8>,
        stop: impl Future<Output = Result<End, Reason>>,
    ) -> (End, Option<Reason>) {
        let Self { mut pod, server, gate, server_gate, ceiling, upload, traffic, splice_after, idle } = self;
        let between = Between { gate, server_gate, ceiling, upload, traffic, splice_after, idle };
        let ended = match server {
            Way::Direct(mut server) => {
                let (read, write) = server.split();
                let ended = between.with(first, &mut pod, read, write, stop).await;
                // Neither side may take a broken connection for a complete one.
                ended.is_err().then(|| reset(&server));
                ended
            }
            // One that did not come to its end is reset when it is dropped.
            Way::Central(tunnel) => {
                let (read, write) = tokio::io::split(tunnel);
                between.with(first, &mut pod, read, write, stop).await
            }
        };
        let Err(broken) = ended else { return (End::Closed, None) };
        pod.reset();
        match broken {
            Broken::Pod => (End::PodGone, None),
            Broken::Server => (End::ServerGone, None),
            Broken::Policy(reason) => (End::Cut, Some(reason)),
            Broken::Outside(end) => (end, None),
        }
    }
}

/// A connection without its sockets.
struct Between<'a> {
    gate: Gate,
    server_gate: ServerGate,
    ceiling: Ceiling,
    upload: Option<&'a Upload>,
    traffic: &'a Traffic,
    splice_after: u64,
    idle: Duration,
}

impl Between<'_> {
    /// Copies between a pod and the halves of its server's side.
    async fn with(
        self,
        first: Vec<u8>,
        pod: &mut Near,
        server_read: impl Input,
        server_write: impl Output,
        stop: impl Future<Output = Result<End, Reason>>,
    ) -> Result<(), Broken> {
        match pod {
            Near::Tcp(pod) => {
                let (read, write) = pod.split();
                self.run(first, (read, write), (server_read, server_write), stop).await
            }
            Near::Any(pod) => {
                let (read, write) = tokio::io::split(pod);
                self.run(first, (read, write), (server_read, server_write), stop).await
            }
        }
    }

    /// Copies both ways until both are done, or something stops it.
    async fn run(
        mut self,
        first: Vec<u8>,
        (pod_read, pod_write): (impl Input, impl Output),
        (server_read, server_write): (impl Input, impl Output),
        stop: impl Future<Output = Result<End, Reason>>,
    ) -> Result<(), Broken> {
        let ends = Ends::default();
        let down = Down {
            gate: &mut self.server_gate,
            ends: &ends,
            traffic: self.traffic,
            splice_after: self.splice_after,
        };
        let up = Up {
            gate: &mut self.gate,
            ceiling: self.ceiling,
            upload: self.upload,
            ends: &ends,
            traffic: self.traffic,
            splice_after: self.splice_after,
        };
        let both = both(up.run(first, pod_read, server_write), down.run(server_read, pod_write));
        tokio::select! {
            ended = both => ended,
            () = idle(self.traffic, self.idle) => Err(Broken::Outside(End::Idle)),
            stopped = stop => Err(match stopped {
                Ok(end) => Broken::Outside(end),
                Err(reason) => Broken::Policy(reason),
            }),
        }
    }
}

/// What comes from one side.
trait Input: AsyncRead + Unpin {
    /// The socket behind it, if nothing is between.
    fn socket(&self) -> Option<&TcpStream>;
}

/// What goes to one side.
trait Output: AsyncWrite + Unpin {
    /// The socket behind it, if nothing is between.
    fn socket(&self) -> Option<&TcpStream>;
}

impl Input for tcp::ReadHalf<'_> {
    fn socket(&self) -> Option<&TcpStream> {
        Some(self.as_ref())
    }
}

impl Output for tcp::WriteHalf<'_> {
    fn socket(&self) -> Option<&TcpStream> {
        Some(self.as_ref())
    }
}

impl<S: AsyncRead> Input for tokio::io::ReadHalf<S> {
    fn socket(&self) -> Option<&TcpStream> {
        None
    }
}

impl<S: AsyncWrite> Output for tokio::io::WriteHalf<S> {
    fn socket(&self) -> Option<&TcpStream> {
        None
    }
}

/// Whether a direction is at its end. Of the second nothing needs to be said to a socket: both are closed then.
#[derive(Default)]
struct Ends(AtomicBool);

impl Ends {
    async fn pass_on(&self, to: &mut impl Output) -> io::Result<()> {
        let is_second = self.0.swap(true, Ordering::Relaxed);
        if is_second && to.socket().is_some() { Ok(()) } else { to.shutdown().await }
    }
}

/// Runs both directions; the first that breaks ends the other.
async fn both(
    up: impl Future<Output = Result<(), Broken>>,
    down: impl Future<Output = Result<(), Broken>>,
) -> Result<(), Broken> {
    tokio::try_join!(up, down).map(|((), ())| ())
}

/// Returns when nothing passed for a whole period.
pub(crate) async fn idle(traffic: &Traffic, period: Duration) {
    let total = || traffic.up().wrapping_add(traffic.down());
    let mut before = total();
    loop {
        tokio::time::sleep(period).await;
        let now = total();
        if now == before {
            return;
        }
        before = now;
    }
}

/// From server to pod.
struct Down<'a> {
    gate: &'a mut ServerGate,
    ends: &'a Ends,
    traffic: &'a Traffic,
    splice_after: u64,
}

impl Down<'_> {
    async fn run(self, mut from: impl Input, mut to: impl Output) -> Result<(), Broken> {
        let Self { gate, ends, traffic, splice_after } = self;
        let count = |length: usize| add(&traffic.down, length);
        loop {
            if traffic.down() >= splice_after
                && gate.is_open()
                && let (Some(from), Some(socket)) = (from.socket(), to.socket())
                && let Ok(pipe) = Pipe::new()
            {
                splice(pipe, from, socket, count).await.map_err(|broken| match broken {
                    Side::From => Broken::Server,
                    Side::To => Broken::Pod,
                })?;
                return ends.pass_on(&mut to).await.map_err(|_| Broken::Pod);
            }
            let taken = read_through(&mut from, |bytes| {
                if bytes.is_empty() {
                    return Ok(None);
                }
                let passed = gate.push(bytes)?;
                Ok(Some((passed.len(), write_now(&to, &passed))))
            });
            match taken.await.map_err(|_| Broken::Server)?.map_err(Broken::Policy)? {
                None if gate.is_holding() => return Err(Broken::Server),
                None => return ends.pass_on(&mut to).await.map_err(|_| Broken::Pod),
                Some((length, rest)) => {
                    to.write_all(&rest).await.map_err(|_| Broken::Pod)?;
                    count(length);
                }
            }
        }
    }
}

/// From pod to server.
struct Up<'a> {
    gate: &'a mut Gate,
    ceiling: Ceiling,
    upload: Option<&'a Upload>,
    ends: &'a Ends,
    traffic: &'a Traffic,
    splice_after: u64,
}

impl Up<'_> {
    async fn run(self, first: Vec<u8>, mut from: impl Input, mut to: impl Output) -> Result<(), Broken> {
        let Self { gate, ceiling, upload, ends, traffic, splice_after } = self;
        let count = |length: usize| add(&traffic.up, length);
        check(ceiling, traffic, first.len()).map_err(Broken::Policy)?;
        draw(upload, first.len()).await?;
        to.write_all(&first).await.map_err(|_| Broken::Server)?;
        count(first.len());
        drop(first);
        loop {
            // With a limit every piece is counted before it goes.
            if traffic.up() >= splice_after
                && ceiling.is_open()
                && upload.is_none()
                && gate.is_open()
                && let (Some(from), Some(socket)) = (from.socket(), to.socket())
                && let Ok(pipe) = Pipe::new()
            {
                splice(pipe, from, socket, count).await.map_err(|broken| match broken {
                    Side::From => Broken::Pod,
                    Side::To => Broken::Server,
                })?;
                return ends.pass_on(&mut to).await.map_err(|_| Broken::Server);
            }
            let taken = read_through(&mut from, |bytes| {
                if bytes.is_empty() {
                    return Ok(None);
                }
                let passed = gate.push(bytes)?;
                check(ceiling, traffic, passed.len())?;
                let rest = if upload.is_some() { passed.to_vec() } else { write_now(&to, &passed) };
                Ok(Some((passed.len(), rest)))
            });
            match taken.await.map_err(|_| Broken::Pod)?.map_err(Broken::Policy)? {
                None => return ends.pass_on(&mut to).await.map_err(|_| Broken::Server),
                Some((length, rest)) => {
                    draw(upload, length).await?;
                    to.write_all(&rest).await.map_err(|_| Broken::Server)?;
                    count(length);
                }
            }
        }
    }
}

fn check(ceiling: Ceiling, traffic: &Traffic, more: usize) -> Result<(), Reason> {
    ceiling.check(traffic.up().saturating_add(more as u64), traffic.down())
}

/// Has bytes counted that are about to go.
async fn draw(upload: Option<&Upload>, length: usize) -> Result<(), Broken> {
    match upload {
        Some(upload) => upload.take(length as u64).await.map_err(Broken::Policy),
        None => Ok(()),
    }
}

fn add(counter: &AtomicU64, length: usize) {
    counter.fetch_add(length as u64, Ordering::Relaxed);
}

/// Reads once and hands the bytes over before it gives the thread's buffer back. None are the end.
async fn read_through<T>(from: &mut impl Input, mut take: impl FnMut(&[u8]) -> T) -> io::Result<T> {
    let mut step = |context: &mut Context<'_>, buffer: &mut Vec<u8>| {
        let mut buffer = ReadBuf::new(buffer);
        ready!(Pin::new(&mut *from).poll_read(context, &mut buffer))?;
        Poll::Ready(Ok(take(buffer.filled())))
    };
    poll_fn(|context| BUFFER.with_borrow_mut(|buffer| step(context, buffer))).await
}

/// Writes what the socket takes at once; returns the rest. An error comes again with the next write.
fn write_now(to: &impl Output, bytes: &[u8]) -> Vec<u8> {
    let socket = to.socket().filter(|_| !bytes.is_empty());
    let written = socket.map_or(0, |socket| socket.try_write(bytes).unwrap_or(0));
    bytes.get(written..).unwrap_or_default().to_vec()
}

/// Which socket broke.
enum Side {
    From,
    To,
}

/// Moves everything up to the end.
async fn splice(mut pipe: Pipe, from: &TcpStream, to: &TcpStream, count: impl Fn(usize)) -> Result<(), Side> {
    loop {
        let length = pipe.fill(from).await.map_err(|_| Side::From)?;
        if length == 0 {
            return Ok(());
        }
        pipe.drain(to).await.map_err(|_| Side::To)?;
        count(length);
    }
}
