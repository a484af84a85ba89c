//! The proxy's process: sockets and clock around the [`Engine`], on one thread.
//!
//! Enters: its end of the channel to the agent, by which its sockets come. Leaves: nothing when it is told to end.
//! Guarantees: answers nothing before it has a state; goes on when the agent dies (see [`crate::control`]); what is sent
//! to the agent is bounded, and records beyond that are counted as lost.
//!
//! One thread serves all of a node's pods: what it does for a query costs microseconds. Records are written out as JSON on
//! a second one.

mod lead;

use crate::asked::Stead;
use crate::batch::Batch;
use crate::engine::{Arrival, Ask, Client, Engine, Now, TcpAsk};
use crate::frame::ToAgent;
use crate::record::Query;
use crate::tcp::{self, Connections, Turns};
use crate::udp::{Inbox, Letter, Post};
use handover::{Sockets, encode};
use observe::Time;
use policy::DnsName;
use rustix::process::setpriority_process;
use rustix::thread::gettid;
use std::cell::{Cell, RefCell};
use std::collections::BTreeMap;
use std::io;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};
use std::os::fd::OwnedFd;
use std::rc::Rc;
use std::sync::mpsc as threads;
use std::time::{Duration, Instant, SystemTime};
use thiserror::Error;
use tokio::io::Interest;
use tokio::io::unix::AsyncFd;
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::{Notify, mpsc};
use tokio::task::{AbortHandle, LocalSet, spawn_local};
use tokio::time::{sleep, sleep_until, timeout};

/// Sockets of each family that questions go upstream from; each has a port of the kernel's choice, and the next
/// question goes from any of them.
const UPSTREAM_SOCKETS: usize = 64;

/// How often one of them is replaced.
const RENEW: Duration = Duration::from_secs(1);

/// Connections to resolvers at once; further questions wait for their turn.
const TCP_ASKS: usize = 128;

/// Those of one pod.
const POD_TCP_ASKS: usize = 16;

/// How long queries wait in sockets that came before a state. Usually it follows at once; without one they hear so.
const STATE: Duration = Duration::from_secs(1);

/// How often counters are sent, and records at the latest.
const COUNTERS: Duration = Duration::from_secs(1);
const RECORDS: Duration = Duration::from_millis(100);

/// Priority of the thread that writes them out: the least that there is.
const LEAST: i32 = 19;

/// Records that wait to be written out, and that go in one frame.
const RECORDS_WAITING: usize = 8192;
const RECORDS_FRAME: usize = 256;

/// Frames that wait to be read by the agent.
const FRAMES_WAITING: usize = 256;

/// The proxy could not go on.
#[derive(Debug, Error)]
#[error("DNS proxy, {doing}: {source}")]
pub struct ProxyError {
    doing: &'static str,
    source: io::Error,
}

fn failed(doing: &'static str) -> impl FnOnce(io::Error) -> ProxyError {
    move |source| ProxyError { doing, source }
}

/// Runs a proxy until its agent tells it to end. `control` is a unix stream to the agent.
///
/// # Errors
/// It cannot begin: no sockets came, or the system refuses something.
pub fn run_proxy(control: OwnedFd) -> Result<(), ProxyError> {
    let runtime = tokio::runtime::Builder::new_current_thread();
    let runtime = { runtime }.enable_all().build().map_err(failed("starting"))?;
    LocalSet::new().block_on(&runtime, run(control))
}

async fn run(control: OwnedFd) -> Result<(), ProxyError> {
    let proxy = Rc::new(Proxy::new());
    for socket in 0..UPSTREAM_SOCKETS {
        proxy.listen_upstream(socket).map_err(failed("opening sockets for questions"))?;
    }
    spawn_local(keep_time(Rc::clone(&proxy)));
    spawn_local(renew(Rc::clone(&proxy)));
    spawn_local(tell_counters(Rc::clone(&proxy)));
    spawn_local(tell_records(Rc::clone(&proxy)));
    tokio::select! {
        parted = lead::follow(&proxy, control) => parted,
        () = proxy.broken.notified() => Err(failed("serving its sockets")(io::ErrorKind::InvalidInput.into())),
    }
}

/// Sockets of both families that questions go out of, and the tasks that hear answers.
struct Upstream {
    sockets: [Rc<Watched>; 2],
    heard: [AbortHandle; 2],
}

/// What the tasks of one thread share.
struct Proxy {
    engine: RefCell<Engine>,
    /// Where pods' datagrams come to: IPv4, IPv6.
    pods: [RefCell<Option<Rc<Watched>>>; 2],
    upstream: RefCell<Vec<Upstream>>,
    /// Space for pods' datagrams by family, and for resolvers'.
    inboxes: [RefCell<Inbox>; 2],
    answers: [RefCell<Inbox>; 2],
    post: RefCell<Post>,
    tcp_asks: Turns,
    connections: RefCell<Connections>,
    /// Frames for the agent; `None` while there is none.
    agent: RefCell<Option<mpsc::Sender<Vec<u8>>>>,
    /// Records that are not yet with the thread that writes them out; and how they get there.
    records: RefCell<Vec<Query>>,
    scribe: RefCell<Option<threads::SyncSender<Vec<Query>>>>,
    /// When the next timer rings, as [`keep_time`] knows it; and how to tell it otherwise.
    rings: Cell<Option<Instant>>,
    sooner: Notify,
    /// Rings when a state has come.
    state: Notify,
    /// Rings when sockets cannot be served.
    broken: Notify,
    unsent: Cell<u64>,
    refused: Cell<u64>,
    lost: Cell<u64>,
}

impl Proxy {
    fn new() -> Self {
        Self {
            engine: RefCell::new(Engine::new(UPSTREAM_SOCKETS, random())),
            pods: [RefCell::new(None), RefCell::new(None)],
            upstream: RefCell::default(),
            tcp_asks: Turns::new(TCP_ASKS, POD_TCP_ASKS),
            inboxes: [RefCell::new(Inbox::new()), RefCell::new(Inbox::new())],
            answers: [RefCell::new(Inbox::new()), RefCell::new(Inbox::new())],
            post: RefCell::new(Post::new()),
            connections: RefCell::default(),
            agent: RefCell::default(),
            records: RefCell::default(),
            scribe: RefCell::default(),
            rings: Cell::new(None),
            sooner: Notify::new(),
            state: Notify::new(),
            broken: Notify::new(),
            unsent: Cell::new(0),
            refused: Cell::new(0),
            lost: Cell::new(0),
        }
    }

    /// Has the engine do something, and does what follows from it.
    fn with_engine(self: &Rc<Self>, act: impl FnOnce(&mut Engine, Now)) {
        let (out, next) = {
            let mut engine = self.engine.borrow_mut();
            act(&mut engine, now());
            (engine.take_outbox(), engine.next_timer())
        };
        self.send_replies(out.replies);
        self.send_asks(out.asks);
        for ask in out.tcp_asks {
            spawn_local(ask_by_tcp(Rc::clone(self), ask));
        }
        self.keep_records(out.records);
        if !out.found.is_empty() {
            // Where there is no agent, nobody waits for it.
            self.tell(&ToAgent::Found(out.found));
        }
        if !out.again.is_empty() {
            self.ask_again(out.again);
        }
        if !out.learns.is_empty() {
            self.ask_agent(out.learns);
        }
        if next.is_some() && (self.rings.get().is_none() || next < self.rings.get()) {
            self.sooner.notify_one();
        }
    }

    fn send_replies(&self, replies: Vec<(Client, Vec<u8>)>) {
        // Few addresses are asked, so replies go out in few batches.
        let mut batches: BTreeMap<IpAddr, Vec<Letter>> = BTreeMap::new();
        for (client, bytes) in replies {
            match client {
                Client::Udp { peer, local } => {
                    batches.entry(local).or_default().push(Letter { to: peer, bytes })
                }
                Client::Tcp { connection } => {
                    if !self.connections.borrow_mut().reply(connection, bytes) {
                        self.unsent.set(self.unsent.get() + 1);
                    }
                }
                // It was told what was found.
                Client::Agent(_) => {}
            }
        }
        for (local, letters) in batches {
            let [v4, v6] = &self.pods;
            let socket = if local.is_ipv4() { v4 } else { v6 }.borrow();
            let unsent = socket.as_ref().map_or(letters.len(), |socket| {
                self.post.borrow_mut().send_from(socket.get_ref(), local, &letters)
            });
            self.unsent.set(self.unsent.get() + unsent as u64);
        }
    }

    fn send_asks(&self, asks: Vec<Ask>) {
        // What was asked together goes out of one socket of each family.
        let mut batches: BTreeMap<(usize, bool), Vec<Letter>> = BTreeMap::new();
        for ask in asks {
            let batch = batches.entry((ask.socket, ask.server.is_ipv4())).or_default();
            batch.push(Letter { to: ask.server, bytes: ask.bytes });
        }
        let upstream = self.upstream.borrow();
        for ((number, is_v4), letters) in batches {
            let Some(Upstream { sockets: [v4, v6], .. }) = upstream.get(number) else { continue };
            // One that cannot be sent is asked again, like one that got lost.
            let socket = if is_v4 { v4 } else { v6 };
            self.post.borrow_mut().send_plain(socket.get_ref(), &letters);
        }
    }

    fn keep_records(&self, mut records: Vec<Query>) {
        let mut kept = self.records.borrow_mut();
        kept.append(&mut records);
        if kept.len() >= RECORDS_FRAME {
            self.hand_over(&mut kept);
        }
    }

    /// Gives what is kept to the thread that writes it out. As soon as a frame is full: whoever writes many at once keeps
    /// the processor from those who answer for as long.
    fn hand_over(&self, kept: &mut Vec<Query>) {
        if kept.is_empty() {
            return;
        }
        let batch = std::mem::replace(kept, Vec::with_capacity(RECORDS_FRAME * 2));
        let count = batch.len() as u64;
        let handed = self.scribe.borrow().as_ref().is_some_and(|scribe| scribe.try_send(batch).is_ok());
        if !handed {
            self.lost.set(self.lost.get() + count);
        }
    }

    fn ask_agent(self: &Rc<Self>, learns: Vec<(u64, Vec<crate::Binding>)>) {
        let ids: Vec<u64> = learns.iter().map(|(id, _)| *id).collect();
        if self.tell(&ToAgent::Learn(learns)) {
            return;
        }
        // Not from within: the engine is asked again only when it is done.
        let proxy = Rc::clone(self);
        spawn_local(async move {
            proxy.with_engine(|engine, now| {
                for id in ids {
                    engine.learned(now, id, Err("no agent".to_owned()));
                }
            });
        });
    }

    fn ask_again(self: &Rc<Self>, again: Vec<(Stead, IpAddr, DnsName)>) {
        let proxy = Rc::clone(self);
        spawn_local(async move {
            proxy.with_engine(|engine, now| {
                for (stead, pod, name) in again {
                    engine.ask_for(now, stead, pod, &name);
                }
            });
        });
    }

    /// Whether the agent will read it.
    fn tell(&self, message: &ToAgent) -> bool {
        let Ok(frame) = encode(message) else { return false };
        self.agent.borrow().as_ref().is_some_and(|agent| agent.try_send(frame).is_ok())
    }

    /// Opens the sockets of this number, in place of those it had, and listens for answers.
    fn listen_upstream(self: &Rc<Self>, number: usize) -> io::Result<()> {
        let sockets = upstream_pair()?;
        let [v4, v6] = &sockets;
        let hear = |socket: &Rc<Watched>, family| {
            spawn_local(hear_upstream(Rc::clone(self), Rc::clone(socket), number, family)).abort_handle()
        };
        let new = Upstream { heard: [hear(v4, 0), hear(v6, 1)], sockets };
        let mut upstream = self.upstream.borrow_mut();
        match upstream.get_mut(number) {
            Some(slot) => std::mem::replace(slot, new).heard.iter().for_each(AbortHandle::abort),
            None => upstream.push(new),
        }
        Ok(())
    }

    /// Serves the sockets that came, once there is a state to serve them by.
    fn serve_soon(self: &Rc<Self>, sockets: Sockets) {
        let proxy = Rc::clone(self);
        spawn_local(async move {
            // With or without one.
            let _ = timeout(STATE, proxy.state.notified()).await;
            if proxy.serve(sockets).is_err() {
                proxy.broken.notify_one();
            }
        });
    }

    fn serve(self: &Rc<Self>, sockets: Sockets) -> io::Result<()> {
        for socket in sockets.udp {
            let socket = std::net::UdpSocket::from(socket);
            socket.set_nonblocking(true)?;
            let v4 = socket.local_addr()?.is_ipv4();
            let socket = watch(socket)?;
            let ([v4_slot, v6_slot], family) = (&self.pods, usize::from(!v4));
            *if v4 { v4_slot } else { v6_slot }.borrow_mut() = Some(Rc::clone(&socket));
            spawn_local(hear_pods(Rc::clone(self), socket, family));
        }
        for socket in sockets.tcp {
            let socket = std::net::TcpListener::from(socket);
            socket.set_nonblocking(true)?;
            spawn_local(accept(Rc::clone(self), TcpListener::from_std(socket)?));
        }
        Ok(())
    }
}

fn now() -> Now {
    Now { at: Instant::now(), time: Time::from(SystemTime::now()) }
}

/// Numbers from the kernel's generator, many at a time.
fn random() -> Box<dyn FnMut() -> u32> {
    let mut buffer = [0_u8; 1024];
    let mut left = 0;
    Box::new(move || {
        if left == 0 {
            let mut filled = 0;
            while let Some(rest) = buffer.get_mut(filled..).filter(|rest| !rest.is_empty()) {
                // Fails only when interrupted, or on kernels older than 3.17.
                filled +=
                    rustix::rand::getrandom(rest, rustix::rand::GetRandomFlags::empty()).unwrap_or_default();
            }
            left = buffer.len() / 4;
        }
        left -= 1;
        let chunk = buffer.get(left * 4..).and_then(<[u8]>::first_chunk);
        chunk.map_or(0, |chunk| u32::from_ne_bytes(*chunk))
    })
}

/// A socket of each family at a port of the kernel's choice.
fn upstream_pair() -> io::Result<[Rc<Watched>; 2]> {
    let open = |address: IpAddr| {
        let socket = std::net::UdpSocket::bind(SocketAddr::new(address, 0))?;
        socket.set_nonblocking(true)?;
        watch(socket)
    };
    let v4 = open(Ipv4Addr::UNSPECIFIED.into())?;
    // Where the system has no IPv6, nothing is asked over it.
    let v6 = open(Ipv6Addr::UNSPECIFIED.into()).or_else(|_: io::Error| open(Ipv4Addr::UNSPECIFIED.into()))?;
    Ok([v4, v6])
}

/// A socket that wakes the thread for what has come only. Tokio's own wakes it for each datagram that has gone, too.
type Watched = AsyncFd<OwnedFd>;

#[expect(
    deprecated,
    reason = "what replaces it is unsafe, for descriptors that nobody owns; this one is owned"
)]
fn watch(socket: std::net::UdpSocket) -> io::Result<Rc<Watched>> {
    Ok(Rc::new(AsyncFd::with_interest(OwnedFd::from(socket), Interest::READABLE)?))
}

/// Reads batches from a socket for ever; `batch` says whether there may be more.
async fn hear(socket: &Watched, mut batch: impl FnMut() -> io::Result<bool>) {
    while let Ok(mut ready) = socket.readable().await {
        match batch() {
            // The others have their turn first.
            Ok(true) => tokio::task::yield_now().await,
            Ok(false) => ready.clear_ready(),
            Err(error) if error.kind() == io::ErrorKind::WouldBlock => ready.clear_ready(),
            // An error of an earlier datagram, which the kernel tells once.
            Err(_) => {}
        }
    }
}

async fn hear_pods(proxy: Rc<Proxy>, socket: Rc<Watched>, family: usize) {
    let Some(inbox) = proxy.inboxes.get(family) else { return };
    let batch = || {
        let mut result = Ok(false);
        proxy.with_engine(|engine, now| {
            result = inbox.borrow_mut().receive(socket.get_ref(), |peer, local, bytes| {
                let Some(local) = local else { return };
                let client = Client::Udp { peer, local };
                engine.query(now, &Arrival { client, pod: peer.ip(), resolver: local, bytes });
            });
        });
        result
    };
    hear(&socket, batch).await;
}

async fn hear_upstream(proxy: Rc<Proxy>, socket: Rc<Watched>, number: usize, family: usize) {
    let Some(inbox) = proxy.answers.get(family) else { return };
    let batch = || {
        let mut result = Ok(false);
        proxy.with_engine(|engine, now| {
            result = inbox
                .borrow_mut()
                .receive(socket.get_ref(), |from, _, bytes| engine.answer(now, number, from, bytes));
        });
        result
    };
    hear(&socket, batch).await;
}

/// One after the other, sockets get new ports, unless an answer may still come to the old one.
async fn renew(proxy: Rc<Proxy>) {
    for number in (0..UPSTREAM_SOCKETS).cycle() {
        sleep(RENEW).await;
        if !proxy.engine.borrow().is_socket_in_use(number) {
            // Where there is no new one to be had, the old one goes on.
            let _ = proxy.listen_upstream(number);
        }
    }
}

async fn accept(proxy: Rc<Proxy>, listener: TcpListener) {
    loop {
        let Ok((stream, peer)) = listener.accept().await else {
            // Out of descriptors, most likely; connections wait.
            sleep(RECORDS).await;
            continue;
        };
        let Ok(local) = stream.local_addr() else { continue };
        let settings = proxy.engine.borrow().settings();
        let (each, all) = (settings.pod_connections, settings.connections);
        let Some((connection, replies)) = proxy.connections.borrow_mut().open(peer.ip(), each, all) else {
            proxy.refused.set(proxy.refused.get() + 1);
            continue;
        };
        spawn_local(serve_connection(
            Rc::clone(&proxy),
            stream,
            connection,
            (peer.ip(), local.ip()),
            replies,
        ));
    }
}

async fn serve_connection(
    proxy: Rc<Proxy>,
    stream: TcpStream,
    connection: u64,
    (pod, resolver): (IpAddr, IpAddr),
    replies: mpsc::Receiver<Vec<u8>>,
) {
    let query = |bytes: &[u8]| {
        let arrival = Arrival { client: Client::Tcp { connection }, pod, resolver, bytes };
        proxy.with_engine(|engine, now| engine.query(now, &arrival));
    };
    tcp::serve(stream, replies, query).await;
    proxy.connections.borrow_mut().close(connection);
}

async fn ask_by_tcp(proxy: Rc<Proxy>, ask: TcpAsk) {
    let patience = proxy.engine.borrow().settings().deadline();
    let asked = proxy.tcp_asks.take(ask.pod, tcp::ask(ask.server, &ask.bytes));
    let answer = timeout(patience, asked).await;
    let bytes = answer.ok().and_then(Result::ok);
    proxy.with_engine(|engine, now| engine.tcp_answer(now, ask.flight, ask.server.ip(), bytes.as_deref()));
}

async fn keep_time(proxy: Rc<Proxy>) {
    loop {
        let next = proxy.engine.borrow_mut().next_timer();
        proxy.rings.set(next);
        let ring = async {
            match next {
                Some(at) => sleep_until(at.into()).await,
                None => std::future::pending().await,
            }
        };
        tokio::select! {
            () = ring => proxy.with_engine(Engine::tick),
            () = proxy.sooner.notified() => {}
        }
    }
}

async fn tell_counters(proxy: Rc<Proxy>) {
    let mut last = None;
    loop {
        sleep(COUNTERS).await;
        let mut counters = proxy.engine.borrow().counters();
        counters.unsent = proxy.unsent.get();
        counters.connections_refused = proxy.refused.get();
        counters.lost_records = proxy.lost.get();
        if last.as_ref() != Some(&counters) && proxy.tell(&ToAgent::Counters(Box::new(counters.clone()))) {
            last = Some(counters);
        }
    }
}

/// Has records written out by another thread: it takes longer than to answer.
async fn tell_records(proxy: Rc<Proxy>) {
    let (to_scribe, records) = threads::sync_channel::<Vec<Query>>(RECORDS_WAITING / RECORDS_FRAME);
    let (written, mut frames) = mpsc::channel(FRAMES_WAITING);
    let scribe = std::thread::Builder::new().name("dns-records".to_owned()).spawn(move || {
        // Answers do not wait for records. Where that may not be asked for, they wait a little.
        let _ = setpriority_process(Some(gettid()), LEAST);
        for batch in records {
            let count = batch.len();
            let frame = encode(&ToAgent::Records(Batch::of(batch))).unwrap_or_default();
            if written.blocking_send((count, frame)).is_err() {
                return;
            }
        }
    });
    if scribe.is_err() {
        return;
    }
    *proxy.scribe.borrow_mut() = Some(to_scribe);
    let mut due = tokio::time::interval(RECORDS);
    loop {
        tokio::select! {
            _ = due.tick() => proxy.hand_over(&mut proxy.records.borrow_mut()),
            Some((count, frame)) = frames.recv() => {
                let sent = proxy.agent.borrow().as_ref().is_some_and(|agent| agent.try_send(frame).is_ok());
                if !sent {
                    proxy.lost.set(proxy.lost.get() + count as u64);
                }
            }
        }
    }
}
