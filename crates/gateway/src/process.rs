//! The proxy as a process of its own, told what is allowed by its agent over a unix stream.
//!
//! Enters: its end of the channel, by which its sockets come. Leaves: nothing when it is told to end.
//! Guarantees: accepts nothing before it has a state; a state that cannot be read changes nothing, nor does what is bound in
//! it, and both are told; what was told as applied is in force; when the agent dies it goes on by what it knew last, as the
//! kernel does, until the next agent comes to its control socket (see [`crate::agent`]).
//! Does not: read files, arguments or environment.

use crate::asking::{Ask, Asking, Waiting};
use crate::call::Call;
use crate::capture::Content;
use crate::counters::{Counters, Counts};
use crate::message::{Binding, ToAgent, ToProxy};
use crate::news::{GATHER, News};
use crate::record::{Record, Sink};
use crate::serve::{Gateway, Phase};
use crate::settings::Limits;
use crate::state::Table;
use crate::{Judge, RuleFacts, quic};
use handover::{Assembly, Sockets, encode};
use nix::errno::Errno;
use nix::sys::resource::{Resource, getrlimit, setrlimit};
use nix::sys::socket::sockopt::PeerCredentials;
use nix::sys::socket::{MsgFlags, getsockopt, recv};
use policy::RuleId;
use std::io::{self, Write};
use std::net::{IpAddr, Shutdown, TcpListener, UdpSocket};
use std::os::fd::{AsRawFd, OwnedFd};
use std::os::unix::net::{UnixListener, UnixStream};
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::mpsc::{Receiver, RecvTimeoutError, SyncSender, sync_channel};
use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};
use thiserror::Error;
use tokio::sync::watch;

/// Records that wait to be told.
const QUEUE: usize = 8192;
/// Most records of one frame.
const BATCH: usize = 512;
/// How often counters are told, where they changed.
const COUNT_EVERY: Duration = Duration::from_secs(1);
/// How long an agent may take to read.
const PATIENCE: Duration = Duration::from_secs(5);
/// File descriptors of one connection, at most: two sockets and two pipes.
const FDS_EACH: u64 = 6;
/// File descriptors of the proxy itself.
const FDS_OWN: u64 = 256;

/// Why the proxy could not go on.
#[derive(Debug, Error)]
#[error("gateway, {doing}: {source}")]
pub struct ProcessError {
    doing: &'static str,
    source: io::Error,
}

fn failed(doing: &'static str) -> impl FnOnce(io::Error) -> ProcessError {
    move |source| ProcessError { doing, source }
}

/// The whole proxy process, until an agent tells it to end, and then until its connections ended.
///
/// Raises the limit of open files to what this process may have, and takes SIGPIPE to be ignored, as every Rust program
/// has it: to splice into a connection that is gone raises it.
///
/// # Errors
/// It cannot begin: no sockets came, or the system refuses something.
pub fn run_proxy(control: OwnedFd) -> Result<(), ProcessError> {
    let stream = UnixStream::from(control);
    let mut assembly = Assembly::default();
    let first = assembly.wait(&stream).map_err(failed("taking sockets"))?;
    let Some(ToProxy::Sockets { udp, tcp, control, limits, workers, front }) = first else {
        return Err(failed("taking sockets")(io::Error::other("the first message brings none")));
    };
    let sockets = Sockets::taken(&mut assembly, (udp, tcp, control)).map_err(failed("taking sockets"))?;
    let (table, counters) = (Arc::new(Table::new()), Arc::new(Counters::new()));
    let (queue, queued) = sync_channel(QUEUE);
    let contents = Arc::new(AtomicUsize::new(0));
    let (phase, told) = watch::channel(Phase::default());
    let (news, waiting) = (Arc::new(News::default()), Arc::<Waiting>::default());
    let asks = queue.clone();
    let send = move |ask| asks.try_send(Told::Ask(ask)).is_ok();
    let gateway = Gateway::new(
        Arc::clone(&table) as Arc<dyn Judge>,
        Arc::new(Queue(queue, Arc::clone(&contents))),
        Arc::clone(&counters),
        within_descriptors(limits),
        told,
    );
    let gateway = gateway.told_by(Arc::clone(&news));
    let gateway = Arc::new(gateway.resolving(Arc::new(Asking { waiting: Arc::clone(&waiting), send })));
    let link = Arc::new(Link::default());
    link.connect(&stream).map_err(failed("answering"))?;
    let teller = std::thread::spawn({
        let (link, table) = (Arc::clone(&link), Arc::clone(&table));
        let (waiting, contents) = (Arc::clone(&waiting), Arc::clone(&contents));
        move || tell(&link, &queued, &counters, &table, (&waiting, &contents))
    });
    let workers = (0..workers.max(1))
        .map(|number| worker(&gateway, (&sockets, front), number == 0))
        .collect::<io::Result<Vec<_>>>()
        .map_err(failed("starting"))?;
    drop(gateway);
    let obeying = Obeying { table, phase, link: Arc::clone(&link), sockets, news, waiting };
    let reader = std::thread::spawn(move || obeying.run(stream, assembly));
    for worker in workers {
        let served = worker.join().unwrap_or_else(|_| Err(io::Error::other("a thread panicked")));
        served.map_err(failed("serving"))?;
    }
    // The agent is still there to be told the last records.
    link.wake_reader();
    let _reported = reader.join();
    link.close();
    let _reported = teller.join();
    Ok(())
}

/// As many connections as there are file descriptors for, after asking for all that this process may have.
fn within_descriptors(mut limits: Limits) -> Limits {
    limits.max_connections = limits.max_connections.min(room(FDS_EACH));
    limits
}

/// How many things of so many file descriptors each this process may have, after asking for all that it may.
pub(crate) fn room(each: u64) -> usize {
    let Ok((soft, hard)) = getrlimit(Resource::RLIMIT_NOFILE) else { return usize::MAX };
    let now = if setrlimit(Resource::RLIMIT_NOFILE, hard, hard).is_ok() { hard } else { soft };
    usize::try_from(now.saturating_sub(FDS_OWN) / each).unwrap_or(usize::MAX)
}

type Worker = std::thread::JoinHandle<io::Result<()>>;

/// Serves all listeners, the last `front` of them as front doors; datagrams are for one worker.
fn worker(
    gateway: &Arc<Gateway>,
    (sockets, front): (&Sockets, usize),
    has_datagrams: bool,
) -> io::Result<Worker> {
    let sockets = sockets.try_clone()?;
    let gateway = Arc::clone(gateway);
    std::thread::Builder::new().name("gateway".to_owned()).spawn(move || {
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
        let mut steered: Vec<_> = sockets.tcp.into_iter().map(TcpListener::from).collect();
        let front = steered.split_off(steered.len().saturating_sub(front));
        let datagrams = sockets.udp.into_iter().filter(|_| has_datagrams).map(UdpSocket::from);
        let datagrams: Vec<_> = datagrams.collect();
        runtime.block_on(async {
            gateway.has_state().await;
            tokio::select! {
                served = Arc::clone(&gateway).serve_both(steered, front) => served,
                // Nothing is open that a drain would wait for.
                refused = quic::refuse(&gateway, datagrams), if has_datagrams => refused,
            }
        })
    })
}

/// What the thread has that does what agents say.
struct Obeying {
    table: Arc<Table>,
    phase: watch::Sender<Phase>,
    link: Arc<Link>,
    sockets: Sockets,
    news: Arc<News>,
    waiting: Arc<Waiting>,
}

/// How far what one agent said is in force.
struct Followed {
    /// The last revision that is and was not told to be.
    applied: Option<u64>,
    /// Whether its last state is, or why not.
    state: Result<(), String>,
}

/// Why an agent is followed no longer.
enum Parting {
    /// It is gone.
    Gone,
    /// It had the proxy drain before it went.
    Drained,
    /// It had the proxy end at once.
    Stopped,
}

impl Obeying {
    fn run(self, mut stream: UnixStream, mut assembly: Assembly) {
        loop {
            self.news.come_by(stream.try_clone().ok());
            let parting = self.follow(&stream, &mut assembly);
            self.news.come_by(None);
            match parting {
                Parting::Gone => {
                    self.link.part();
                    self.waiting.give_up();
                }
                Parting::Drained => return,
                Parting::Stopped => {
                    return self.phase.send_modify(|phase| {
                        phase.draining = true;
                        phase.now = true;
                    });
                }
            }
            let next = self.sockets.control.as_ref().and_then(|socket| self.next_agent(socket));
            // Without a place where a next agent would come, there will be none.
            let Some(next) = next else {
                return self.phase.send_modify(|phase| phase.draining = true);
            };
            (stream, assembly) = (next, Assembly::default());
        }
    }

    /// Does what one agent says.
    fn follow(&self, stream: &UnixStream, assembly: &mut Assembly) -> Parting {
        let mut turn = self.news.turn();
        let mut followed = Followed { applied: None, state: Err("its agent told no state yet".to_owned()) };
        loop {
            // Who speaks no sense is not followed either.
            match assembly.take() {
                Ok(Some(message)) => match self.obey(message, &mut followed) {
                    Some(parting) => return parting,
                    None => continue,
                },
                Ok(None) => drop(turn),
                Err(_) => return self.gone(),
            }
            if let Some(revision) = followed.applied.take() {
                // Whoever does not hear it is gone.
                let _heard = self.link.tell(&ToAgent::Applied(revision));
                // What it found for a client of the front door comes behind what was bound for it.
                self.news.gather(GATHER, || self.waiting.has_anybody());
            }
            // Nobody else reads: what comes stays there until this thread has its turn.
            let comes = recv(stream.as_raw_fd(), &mut [0], MsgFlags::MSG_PEEK);
            turn = self.news.turn();
            match comes {
                Ok(1..) if assembly.read(stream).is_ok() => {}
                Err(Errno::EINTR) => {}
                Ok(_) | Err(_) => return self.gone(),
            }
        }
    }

    /// Leaves which revision is in force, to be told when no more is there to be done at once.
    fn obey(&self, message: ToProxy, followed: &mut Followed) -> Option<Parting> {
        let (revision, applied) = match message {
            ToProxy::Sockets { .. } => return Some(self.gone()),
            ToProxy::Stop => return Some(Parting::Stopped),
            ToProxy::Drain => {
                self.phase.send_modify(|phase| phase.draining = true);
                return None;
            }
            ToProxy::Found { id, found } => {
                self.waiting.answer(id, found);
                return None;
            }
            ToProxy::Spent(spent) => {
                self.table.spend(spent);
                self.judge_again();
                return None;
            }
            ToProxy::State { revision, state } => {
                let applied = state.read().and_then(|state| {
                    self.table.try_replace(state).map_err(|error| error.to_string())?;
                    self.judge_again();
                    Ok(())
                });
                followed.state.clone_from(&applied);
                (revision, applied)
            }
            ToProxy::Bind { revision, rules, bindings } => {
                // It says what is new to who goes by that state, with the numbers that rules have there.
                let bound = followed.state.clone().and_then(|()| bindings.read());
                (revision, bound.and_then(|bindings| self.bind(&rules, bindings)))
            }
        };
        match applied {
            Ok(()) => followed.applied = Some(revision),
            Err(why) => {
                // What came before is told before.
                let before = followed.applied.take().map(ToAgent::Applied);
                for told in before.into_iter().chain([ToAgent::NotApplied(revision, why)]) {
                    // Whoever does not hear it is gone.
                    let _heard = self.link.tell(&told);
                }
            }
        }
        None
    }

    /// The agent is: before or after it had the proxy drain.
    fn gone(&self) -> Parting {
        if self.phase.borrow().draining { Parting::Drained } else { Parting::Gone }
    }

    fn judge_again(&self) {
        self.phase.send_modify(|phase| phase.changes += 1);
    }

    fn bind(&self, rules: &[(IpAddr, RuleId, Arc<RuleFacts>)], bindings: Vec<Binding>) -> Result<(), String> {
        for Binding { pod, destination, bound } in bindings {
            let rules = rules.iter().filter(|(of, ..)| *of == pod);
            let rules = rules.map(|(_, rule, facts)| (*rule, Arc::clone(facts)));
            if !self.table.bind(pod, destination, rules, bound) {
                return Err(format!("no pod has the address {pod}"));
            }
        }
        Ok(())
    }

    /// Waits for the next agent, and gives it the sockets. Another user is turned away.
    fn next_agent(&self, socket: &OwnedFd) -> Option<UnixStream> {
        let listener = UnixListener::from(socket.try_clone().ok()?);
        listener.set_nonblocking(false).ok()?;
        loop {
            let (stream, _) = listener.accept().ok()?;
            let is_own = getsockopt(&stream, PeerCredentials)
                .is_ok_and(|peer| peer.uid() == nix::unistd::getuid().as_raw());
            if !is_own {
                continue;
            }
            let (udp, tcp, control) = self.sockets.counts();
            let Ok(frame) = encode(&ToAgent::Sockets { udp, tcp, control }) else { continue };
            // A frame as short as this one goes whole or not at all.
            if self.sockets.send_with(&stream, &frame).is_ok() && self.link.connect(&stream).is_ok() {
                self.table.accounts().untold();
                return Some(stream);
            }
        }
    }
}

/// The way to the agent, whichever there is.
#[derive(Default)]
struct Link {
    state: Mutex<LinkState>,
    changed: Condvar,
}

#[derive(Default)]
struct LinkState {
    stream: Option<UnixStream>,
    closed: bool,
}

impl Link {
    fn state(&self) -> MutexGuard<'_, LinkState> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn connect(&self, stream: &UnixStream) -> io::Result<()> {
        stream.set_write_timeout(Some(PATIENCE))?;
        self.state().stream = Some(stream.try_clone()?);
        self.changed.notify_all();
        Ok(())
    }

    /// Lets go of the agent.
    fn part(&self) {
        self.state().stream = None;
    }

    /// Whoever reads what the agent says takes it to be at its end.
    fn wake_reader(&self) {
        if let Some(stream) = &self.state().stream {
            // It may be gone already.
            let _ = stream.shutdown(Shutdown::Read);
        }
    }

    fn close(&self) {
        self.state().closed = true;
        self.changed.notify_all();
    }

    /// Tells it if there is somebody to hear; false if nobody heard.
    fn tell(&self, message: &ToAgent) -> bool {
        encode(message).is_ok_and(|frame| write(&mut self.state(), &frame))
    }

    /// Waits for somebody to hear; false when nobody will.
    fn tell_whoever_comes(&self, message: &ToAgent) -> bool {
        let Ok(frame) = encode(message) else { return true };
        let mut state = self.state();
        loop {
            if write(&mut state, &frame) {
                return true;
            }
            if state.closed {
                return false;
            }
            state = self.changed.wait(state).unwrap_or_else(PoisonError::into_inner);
        }
    }
}

fn write(state: &mut LinkState, frame: &[u8]) -> bool {
    let Some(stream) = &mut state.stream else { return false };
    if stream.write_all(frame).is_ok() {
        return true;
    }
    // Half a frame makes everything after it senseless.
    let _ = stream.shutdown(Shutdown::Both);
    state.stream = None;
    false
}

/// A sink that never blocks, and how many bytes of contents wait in it.
struct Queue(SyncSender<Told>, Arc<AtomicUsize>);

/// Most bytes of contents that wait to be told.
const MAX_CONTENTS: usize = 16 << 20;

/// What is told of connections and requests, and asked.
enum Told {
    Record(Box<Record>),
    Call(Box<Call>),
    Ask(Ask),
    Content(Box<Content>),
}

impl Sink for Queue {
    fn take(&self, record: Record) -> bool {
        self.0.try_send(Told::Record(Box::new(record))).is_ok()
    }

    fn call(&self, call: Call) -> bool {
        self.0.try_send(Told::Call(Box::new(call))).is_ok()
    }

    fn content(&self, content: Content) -> bool {
        let length = content.weight();
        let room = |waiting: usize| waiting.checked_add(length).filter(|sum| *sum <= MAX_CONTENTS);
        if self.1.fetch_update(Ordering::Relaxed, Ordering::Relaxed, room).is_err() {
            return false;
        }
        let is_queued = self.0.try_send(Told::Content(Box::new(content))).is_ok();
        if !is_queued {
            self.1.fetch_sub(length, Ordering::Relaxed);
        }
        is_queued
    }
}

/// Tells records in batches, and counters from time to time; ends when nobody has anything to tell any more.
fn tell(
    link: &Link,
    queued: &Receiver<Told>,
    counters: &Counters,
    table: &Table,
    (asks, waiting): (&Waiting, &AtomicUsize),
) {
    let accounts = table.accounts();
    let (mut last, mut told) = (Counts::default(), Instant::now());
    loop {
        let ended = match queued.recv_timeout(COUNT_EVERY) {
            Ok(first) => {
                let (mut records, mut calls, mut contents) = (Vec::new(), Vec::new(), Vec::new());
                for told in std::iter::once(first).chain(queued.try_iter()).take(BATCH) {
                    match told {
                        Told::Record(record) => records.push(*record),
                        Told::Call(call) => calls.push(*call),
                        Told::Ask(Ask { id, pod, host }) => {
                            if !link.tell(&ToAgent::Ask { id, pod, host: host.into() }) {
                                asks.nobody_answers(id);
                            }
                        }
                        Told::Content(content) => contents.push(*content),
                    }
                }
                let is_heard = (records.is_empty() || link.tell_whoever_comes(&ToAgent::Records(records)))
                    && (calls.is_empty() || link.tell_whoever_comes(&ToAgent::Calls(calls)))
                    && contents.into_iter().all(|content| {
                        waiting.fetch_sub(content.weight(), Ordering::Relaxed);
                        link.tell_whoever_comes(&ToAgent::Content(Box::new(content)))
                    });
                if !is_heard {
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
        let now = Counts { store: table.store_standing(), ..counters.read() };
        let quotas = accounts.changed();
        if now != last || !quotas.is_empty() || ended {
            let is_heard = link.tell(&ToAgent::Counts(Counts { quotas, ..now.clone() }));
            if !is_heard {
                accounts.untold();
            }
        }
        (last, told) = (now, Instant::now());
        if ended {
            return;
        }
    }
}
