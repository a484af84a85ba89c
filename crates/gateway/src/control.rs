//! The proxy as a process of its own, told what is allowed by the agent over its standard input, a unix stream socket.
//!
//! Frames both ways: length (4 bytes, big endian), then JSON of an [`Order`] or a [`Told`]. The first order is
//! [`Order::Start`] and brings the listeners (SCM_RIGHTS), which the agent keeps: connections wait in them while a new
//! proxy takes the place of the old.
//! Guarantees: before there is a state everything is refused; a state that cannot be read changes nothing, and is told;
//! an order that was told as applied is in force; at the agent's end the proxy accepts no more, for it would judge by
//! what it knew last, and lets what is open end.
//! Does not: read files, arguments or environment.

use crate::counters::{Counters, Counts};
use crate::record::{Record, Sink};
use crate::serve::{Gateway, Phase};
use crate::settings::{Limits, Rules};
use crate::state::{Allowed, Bound, PodState, State, Table};
use crate::{Ceiling, Judge};
use nix::sys::resource::{Resource, getrlimit, setrlimit};
use policy::{DnsName, DomainPattern, Generation};
use rustix::cmsg_space;
use rustix::net::{
    RecvAncillaryBuffer, RecvAncillaryMessage, RecvFlags, SendAncillaryBuffer, SendAncillaryMessage,
    SendFlags, recvmsg, sendmsg,
};
use serde::de::DeserializeOwned;
use serde::{Deserialize, Serialize};
use std::collections::VecDeque;
use std::io::{self, IoSlice, IoSliceMut};
use std::mem::MaybeUninit;
use std::net::{IpAddr, TcpListener};
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::sync::Arc;
use std::sync::mpsc::{Receiver, RecvTimeoutError, SyncSender, sync_channel};
use std::thread::JoinHandle;
use std::time::{Duration, Instant};
use thiserror::Error;
use tokio::sync::watch;

/// Longest frame.
pub const MAX_FRAME: usize = 64 * 1024 * 1024;
/// Most file descriptors of one frame.
const MAX_FDS: usize = 64;
/// Records that wait to be told.
const QUEUE: usize = 8192;
/// Most records of one frame.
const BATCH: usize = 512;
/// How often counters are told, where they changed.
const COUNT_EVERY: Duration = Duration::from_secs(1);
/// File descriptors of one connection, at most: two sockets and two pipes.
const FDS_EACH: u64 = 6;
/// File descriptors of the proxy itself.
const FDS_OWN: u64 = 256;

/// What the agent tells the proxy.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum Order {
    /// First, with the listeners: IPv4 and IPv6, as [`crate::listen`] makes them.
    Start {
        /// Bounds and timeouts.
        limits: Limits,
        /// Threads that serve.
        workers: usize,
    },
    /// Everything, in place of what was.
    State {
        /// Comes back in [`Told::Applied`].
        revision: u64,
        /// State of policy that this is from; records carry it.
        generation: Generation,
        /// How claims are judged.
        rules: Rules,
        /// Pods of this node.
        pods: Vec<PodFrame>,
    },
    /// Names that a pod resolved to an address, in place of those before.
    Bind {
        /// Comes back in [`Told::Applied`].
        revision: u64,
        /// The pod's address.
        pod: IpAddr,
        /// What is bound.
        bound: BoundFrame,
    },
    /// A pod's names for an address are over.
    Unbind {
        /// Comes back in [`Told::Applied`].
        revision: u64,
        /// The pod's address.
        pod: IpAddr,
        /// The address.
        destination: IpAddr,
    },
    /// Accept no more; end when all connections did, or their time is over.
    Drain,
}

/// One pod, as told.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct PodFrame {
    /// Its address; a pod with two has two of these.
    pub address: IpAddr,
    /// All patterns that policy allows it, in the order of policy.
    pub allowed: Vec<AllowedFrame>,
    /// What it resolved.
    pub bound: Vec<BoundFrame>,
}

/// One allowed pattern, as told.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct AllowedFrame {
    /// `name` or `*.name`.
    pub pattern: String,
    /// First and last of each range of TCP ports; none means all.
    #[serde(default)]
    pub ports: Vec<(u16, u16)>,
    /// The rule as text.
    pub rule: String,
    /// What one connection may carry.
    #[serde(default)]
    pub ceiling: Ceiling,
}

/// The names of an address, as told.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct BoundFrame {
    /// The address.
    pub destination: IpAddr,
    /// Names that the pod asked for.
    pub names: Vec<String>,
    /// Which of the pod's `allowed` hold at this address, by index, in the order of policy.
    pub allowed: Vec<usize>,
}

/// What the proxy tells the agent.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum Told {
    /// It has its listeners, and accepts now.
    Started,
    /// An order is in force.
    Applied {
        /// The order's.
        revision: u64,
    },
    /// An order is not in force; what was before still is.
    NotApplied {
        /// The order's.
        revision: u64,
        /// Why.
        why: String,
    },
    /// Connections that ended.
    Records(Vec<Record>),
    /// Counters, since the proxy started.
    Counts(Counts),
}

/// Why the proxy ended.
#[derive(Debug, Error)]
pub enum ControlError {
    /// The control socket failed.
    #[error("{action} the control socket: {source}")]
    Socket {
        /// What was being done.
        action: &'static str,
        /// The cause.
        source: io::Error,
    },
    /// A frame was not what it should be.
    #[error("control frame: {0}")]
    Frame(String),
    /// A thread or its runtime could not be made, or ended badly.
    #[error("serving: {0}")]
    Serve(String),
}

/// Sends one frame, with file descriptors if there are any.
///
/// # Errors
/// The other end is gone, or the frame is too long.
pub fn send<T: Serialize>(
    socket: impl AsFd,
    message: &T,
    fds: &[BorrowedFd<'_>],
) -> Result<(), ControlError> {
    let failed = |source: io::Error| ControlError::Socket { action: "writing to", source };
    let body = serde_json::to_vec(message).map_err(|error| ControlError::Frame(error.to_string()))?;
    if body.len() > MAX_FRAME || fds.len() > MAX_FDS {
        return Err(ControlError::Frame(format!("{} bytes and {} descriptors", body.len(), fds.len())));
    }
    let length = u32::try_from(body.len()).unwrap_or(u32::MAX).to_be_bytes();
    let frame = [&length[..], &body].concat();
    let mut space = [MaybeUninit::uninit(); cmsg_space!(ScmRights(MAX_FDS))];
    let mut control = SendAncillaryBuffer::new(&mut space);
    if !fds.is_empty() {
        control.push(SendAncillaryMessage::ScmRights(fds));
    }
    let mut rest = frame.as_slice();
    while !rest.is_empty() {
        let sent = match sendmsg(&socket, &[IoSlice::new(rest)], &mut control, SendFlags::NOSIGNAL) {
            Ok(sent) => sent,
            Err(rustix::io::Errno::INTR) => continue,
            Err(error) => return Err(failed(error.into())),
        };
        // The descriptors went with the first bytes.
        control.clear();
        rest = rest.get(sent..).unwrap_or_default();
    }
    Ok(())
}

/// Reads frames of one control socket.
#[derive(Debug)]
pub struct Frames {
    socket: OwnedFd,
    bytes: Vec<u8>,
    fds: VecDeque<OwnedFd>,
}

impl Frames {
    /// Frames that come from a socket.
    pub fn new(socket: OwnedFd) -> Self {
        Self { socket, bytes: Vec::new(), fds: VecDeque::new() }
    }

    /// Waits for the next frame. `None`: the other end is gone.
    ///
    /// # Errors
    /// The socket fails, or what comes is no frame.
    pub fn recv<T: DeserializeOwned>(&mut self) -> Result<Option<T>, ControlError> {
        loop {
            if let Some(length) = self.bytes.first_chunk::<4>() {
                let length = usize::try_from(u32::from_be_bytes(*length)).unwrap_or(usize::MAX);
                if length > MAX_FRAME {
                    return Err(ControlError::Frame(format!("{length} bytes announced")));
                }
                if let Some(body) = self.bytes.get(4..4 + length) {
                    let message =
                        serde_json::from_slice(body).map_err(|e| ControlError::Frame(e.to_string()));
                    self.bytes.drain(..4 + length);
                    return message.map(Some);
                }
            }
            if !self.fill()? {
                return Ok(None);
            }
        }
    }

    /// The descriptors that came so far.
    pub fn take_fds(&mut self) -> Vec<OwnedFd> {
        self.fds.drain(..).collect()
    }

    fn fill(&mut self) -> Result<bool, ControlError> {
        let mut piece = vec![0; 64 * 1024];
        let mut space = [MaybeUninit::uninit(); cmsg_space!(ScmRights(MAX_FDS))];
        let mut control = RecvAncillaryBuffer::new(&mut space);
        let mut into = [IoSliceMut::new(&mut piece)];
        let received = match recvmsg(&self.socket, &mut into, &mut control, RecvFlags::CMSG_CLOEXEC) {
            Ok(received) => received,
            Err(rustix::io::Errno::INTR) => return Ok(true),
            // Gone with something of ours unread.
            Err(rustix::io::Errno::CONNRESET) => return Ok(false),
            Err(error) => return Err(ControlError::Socket { action: "reading", source: error.into() }),
        };
        for message in control.drain() {
            if let RecvAncillaryMessage::ScmRights(fds) = message {
                self.fds.extend(fds.take(MAX_FDS.saturating_sub(self.fds.len())));
            }
        }
        self.bytes.extend_from_slice(piece.get(..received.bytes).unwrap_or_default());
        Ok(received.bytes > 0)
    }
}

/// The whole proxy process, until the agent tells it to drain or is gone, and then until its connections ended.
///
/// Raises the limit of open files to what this process may have, and takes SIGPIPE to be ignored, as every Rust program
/// has it: to splice into a connection that is gone raises it.
///
/// # Errors
/// The control socket does not bring a start, or a thread fails.
pub fn run_proxy(control: OwnedFd) -> Result<(), ControlError> {
    let socket_error = |source| ControlError::Socket { action: "sharing", source };
    let mut frames = Frames::new(control.try_clone().map_err(socket_error)?);
    let Some(Order::Start { limits, workers }) = frames.recv()? else {
        return Err(ControlError::Frame("the first order is not a start".into()));
    };
    let listeners: Vec<TcpListener> = frames.take_fds().into_iter().map(TcpListener::from).collect();
    if listeners.is_empty() {
        return Err(ControlError::Frame("a start without listeners".into()));
    }
    let (table, counters) = (Arc::new(Table::new()), Arc::new(Counters::new()));
    let (queue, queued) = sync_channel(QUEUE);
    let (phase, told_phase) = watch::channel(Phase::default());
    let judge: Arc<dyn Judge> = table.clone();
    let sink = Arc::new(Queue(queue.clone()));
    let gateway =
        Arc::new(Gateway::new(judge, sink, counters.clone(), within_descriptors(limits), told_phase));
    let teller = std::thread::spawn({
        let control = control.try_clone().map_err(socket_error)?;
        let counters = counters.clone();
        move || tell(&control, &queued, &counters)
    });
    // Before anything of the connections that may be waiting.
    let _gone = queue.send(Message::Told(Told::Started));
    let workers: Vec<_> = shared_out(listeners, workers.max(1))
        .into_iter()
        .map(|share| worker(gateway.clone(), share))
        .collect();
    drop(gateway);
    let reader = std::thread::spawn(move || obey(&mut frames, &table, &phase, &queue));
    let served = workers.into_iter().map(|worker| match worker.join() {
        Ok(result) => result,
        Err(_) => Err(ControlError::Serve("a thread panicked".into())),
    });
    let served = served.collect::<Vec<_>>().into_iter().collect::<Result<Vec<()>, _>>();
    // Wakes the reader, whose end lets the teller end when all is told.
    let _gone = rustix::net::shutdown(&control, rustix::net::Shutdown::Read);
    let read = reader.join();
    let _told = teller.join();
    served?;
    read.unwrap_or_else(|_| Err(ControlError::Serve("the reader of orders panicked".into())))
}

/// As many connections as there are file descriptors for, after asking for all that this process may have.
fn within_descriptors(mut limits: Limits) -> Limits {
    if let Ok((soft, hard)) = getrlimit(Resource::RLIMIT_NOFILE) {
        let now = if setrlimit(Resource::RLIMIT_NOFILE, hard, hard).is_ok() { hard } else { soft };
        let most = usize::try_from(now.saturating_sub(FDS_OWN) / FDS_EACH).unwrap_or(usize::MAX);
        limits.max_connections = limits.max_connections.min(most);
    }
    limits
}

/// Gives each worker listeners of either family. An unclaimed one would keep connections waiting for ever.
fn shared_out(listeners: Vec<TcpListener>, workers: usize) -> Vec<Vec<TcpListener>> {
    let mut shares: Vec<Vec<TcpListener>> = (0..workers).map(|_| Vec::new()).collect();
    let mut turns = [0, 0];
    for listener in listeners {
        let is_v6 = listener.local_addr().is_ok_and(|address| address.is_ipv6());
        let [v4, v6] = &mut turns;
        let turn = if is_v6 { v6 } else { v4 };
        if let Some(share) = shares.get_mut(*turn % workers) {
            share.push(listener);
        }
        *turn += 1;
    }
    shares
}

fn worker(gateway: Arc<Gateway>, listeners: Vec<TcpListener>) -> JoinHandle<Result<(), ControlError>> {
    std::thread::spawn(move || {
        let failed = |error: io::Error| ControlError::Serve(error.to_string());
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().map_err(failed)?;
        runtime.block_on(gateway.serve(listeners)).map_err(failed)
    })
}

/// Follows orders until the agent's end, which is an order to drain.
fn obey(
    frames: &mut Frames,
    table: &Table,
    phase: &watch::Sender<Phase>,
    queue: &SyncSender<Message>,
) -> Result<(), ControlError> {
    let ended = loop {
        let order = match frames.recv() {
            Ok(Some(order)) => order,
            Ok(None) => break Ok(()),
            Err(error) => break Err(error),
        };
        let (revision, applied) = match order {
            Order::Start { .. } => break Err(ControlError::Frame("a second start".into())),
            Order::Drain => {
                phase.send_modify(|phase| phase.draining = true);
                continue;
            }
            Order::State { revision, generation, rules, pods } => {
                let empty = State { generation, rules, ..State::default() };
                (revision, replace(table, empty, &pods, phase))
            }
            Order::Bind { revision, pod, bound } => (revision, bind(table, pod, &bound)),
            Order::Unbind { revision, pod, destination } => {
                (revision, table.unbind(pod, destination).then_some(()).ok_or_else(|| unknown(pod)))
            }
        };
        let told = match applied {
            Ok(()) => Told::Applied { revision },
            Err(why) => Told::NotApplied { revision, why },
        };
        let _gone = queue.send(Message::Told(told));
    };
    phase.send_modify(|phase| phase.draining = true);
    ended
}

fn replace(
    table: &Table,
    mut state: State,
    pods: &[PodFrame],
    phase: &watch::Sender<Phase>,
) -> Result<(), String> {
    for pod in pods {
        let allowed = pod.allowed.iter().map(read_allowed).collect::<Result<Vec<_>, _>>()?;
        let bound = pod
            .bound
            .iter()
            .map(|bound| Ok((bound.destination, read_bound(bound, &allowed)?)))
            .collect::<Result<_, String>>()?;
        state.pods.insert(pod.address, PodState { allowed, bound });
    }
    table.replace(state);
    phase.send_modify(|phase| phase.changes += 1);
    Ok(())
}

fn bind(table: &Table, pod: IpAddr, bound: &BoundFrame) -> Result<(), String> {
    let allowed = table.allowed(pod).ok_or_else(|| unknown(pod))?;
    let read = read_bound(bound, &allowed)?;
    table.bind(pod, bound.destination, read).then_some(()).ok_or_else(|| unknown(pod))
}

fn unknown(pod: IpAddr) -> String {
    format!("no pod has the address {pod}")
}

fn read_allowed(frame: &AllowedFrame) -> Result<Arc<Allowed>, String> {
    let pattern = DomainPattern::parse(&frame.pattern).map_err(|error| error.to_string())?;
    let rule = frame.rule.as_str().into();
    Ok(Arc::new(Allowed { pattern, ports: frame.ports.clone(), rule, ceiling: frame.ceiling }))
}

fn read_bound(frame: &BoundFrame, allowed: &[Arc<Allowed>]) -> Result<Bound, String> {
    let names = frame.names.iter().map(|name| DnsName::parse(name).map_err(|error| error.to_string()));
    let by_index = |index: &usize| {
        allowed.get(*index).cloned().ok_or_else(|| format!("there is no allowed pattern {index} of the pod"))
    };
    Ok(Bound {
        names: names.collect::<Result<_, _>>()?,
        allowed: frame.allowed.iter().map(by_index).collect::<Result<_, _>>()?,
    })
}

/// What waits to be told.
enum Message {
    Record(Record),
    Told(Told),
}

/// A sink that never blocks.
struct Queue(SyncSender<Message>);

impl Sink for Queue {
    fn take(&self, record: Record) -> bool {
        self.0.try_send(Message::Record(record)).is_ok()
    }
}

/// Tells everything in its order, records in batches, and counters from time to time; ends when nobody has anything to
/// tell any more, or nobody listens.
fn tell(control: &OwnedFd, queued: &Receiver<Message>, counters: &Counters) {
    let (mut last, mut told) = (Counts::default(), Instant::now());
    loop {
        let ended = match queued.recv_timeout(COUNT_EVERY) {
            Ok(first) => {
                if tell_batch(control, first, queued).is_err() {
                    return;
                }
                false
            }
            Err(RecvTimeoutError::Timeout) => false,
            Err(RecvTimeoutError::Disconnected) => true,
        };
        if !ended && told.elapsed() < COUNT_EVERY {
            continue;
        }
        let now = counters.read();
        if (now != last || ended) && send(control, &Told::Counts(now.clone()), &[]).is_err() {
            return;
        }
        (last, told) = (now, Instant::now());
        if ended {
            return;
        }
    }
}

fn tell_batch(control: &OwnedFd, first: Message, queued: &Receiver<Message>) -> Result<(), ControlError> {
    let mut records = Vec::new();
    let mut next = Some(first);
    while let Some(message) = next {
        match message {
            Message::Record(record) => records.push(record),
            Message::Told(told) => {
                if !records.is_empty() {
                    send(control, &Told::Records(std::mem::take(&mut records)), &[])?;
                }
                send(control, &told, &[])?;
            }
        }
        next = if records.len() < BATCH { queued.try_recv().ok() } else { None };
    }
    if records.is_empty() { Ok(()) } else { send(control, &Told::Records(records), &[]) }
}
