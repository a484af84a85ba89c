//! Keeps a node's DNS proxy running, and tells it what holds.
//!
//! Enters: states, and whoever puts bindings in force. Leaves: a process that answers pods. Guarantees: holds the sockets,
//! so that queries wait in them while the proxy starts again; a proxy that ended is started anew, at growing intervals; one
//! that an earlier agent left behind gives its sockets to a new one.
//! Does not: steer packets; who does asks [`Keeper::listening`] first.

use anyhow::{Context, Result};
use dns::{Agent, Binding, Counters, Proxy, Query, Sockets, State, Steering};
use nix::sys::signal::{SigSet, Signal};
use policy::Generation;
use std::net::SocketAddr;
use std::os::fd::{AsFd, OwnedFd};
use std::os::unix::net::UnixStream;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::sync::mpsc::{Receiver, RecvTimeoutError, Sender, channel};
use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

/// Name of the hidden command that is the proxy's process.
pub(crate) const COMMAND: &str = "dns-proxy";
/// Until a proxy that ended is started again: first, and at most.
const FIRST_PAUSE: Duration = Duration::from_millis(100);
const LONGEST_PAUSE: Duration = Duration::from_secs(10);
/// A proxy that ran so long was well.
const WELL: Duration = Duration::from_secs(60);

/// The proxy's process: its standard input leads to its keeper.
pub(crate) fn proxy() -> Result<()> {
    // Who started it blocks signals. Ctrl-C at a terminal is meant for `up` alone, SIGTERM for whom it names.
    let mut terminate = SigSet::empty();
    terminate.add(Signal::SIGTERM);
    terminate.thread_unblock().context("taking SIGTERM")?;
    let control =
        std::io::stdin().as_fd().try_clone_to_owned().context("taking the channel to the keeper")?;
    Ok(dns::run_proxy(control)?)
}

/// Ends the proxy that waits for its next agent here, if there is one.
pub(crate) fn dismiss(control: &Path) -> Result<()> {
    if let Some((proxy, _)) = Proxy::adopt(control, Nobody)? {
        proxy.stop()?;
        proxy.join();
    }
    Ok(())
}

/// Leads a proxy that is to end.
struct Nobody;

impl Agent for Nobody {
    fn learn(&mut self, bindings: &[Binding]) -> Vec<Result<u32, String>> {
        bindings.iter().map(|_| Err("enforcement was removed".to_owned())).collect()
    }

    fn records(&mut self, _: Vec<Query>) {}

    fn counters(&mut self, _: Counters) {}

    fn in_force(&mut self, _: Generation) {}

    fn ended(&mut self, _: &str) {}
}

/// Who puts in force what pods are about to be told, and keeps records.
pub(crate) trait Learner: Send + Sync {
    /// As [`Agent::learn`].
    fn learn(&self, bindings: &[Binding]) -> Vec<Result<u32, String>>;

    /// Queries that had their answer.
    fn looked_up(&self, node: &Arc<str>, queries: Vec<Query>);
}

/// How the proxy is.
#[derive(Clone, Debug, Default)]
pub(crate) struct Standing {
    /// Where it is to be reached; empty before there are sockets.
    pub(crate) listening: Vec<SocketAddr>,
    /// What it goes by.
    pub(crate) in_force: Option<Generation>,
    /// Why it does not answer.
    pub(crate) problem: Option<String>,
    /// What happened since it began.
    pub(crate) counters: Counters,
    /// Times it was started.
    pub(crate) starts: u64,
}

enum Order {
    Lead(Arc<dyn Learner>),
    State(Box<State>),
    Ended { run: u64, why: String },
    Stop,
}

/// The keeper of one node's proxy.
pub(crate) struct Keeper {
    orders: Sender<Order>,
    shared: Arc<Shared>,
    thread: Option<std::thread::JoinHandle<()>>,
    /// The proxy goes with its keeper.
    ends: bool,
}

#[derive(Default)]
struct Shared {
    standing: Mutex<Standing>,
    changed: Condvar,
}

impl Shared {
    fn standing(&self) -> MutexGuard<'_, Standing> {
        self.standing.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn change(&self, change: impl FnOnce(&mut Standing)) {
        change(&mut self.standing());
        self.changed.notify_all();
    }
}

impl Keeper {
    /// A keeper in the calling thread's network namespace, which starts nothing before it leads. `control` is where the
    /// proxy waits for the next agent; without one it ends with this one.
    pub(crate) fn open(node: Arc<str>, control: Option<PathBuf>) -> Result<Self> {
        let (orders, received) = channel();
        let (shared, ends) = (Arc::new(Shared::default()), control.is_none());
        let keeping = Keeping { node, control, orders: orders.clone(), shared: Arc::clone(&shared) };
        let thread = std::thread::Builder::new().name("dns-keeper".into());
        let thread =
            thread.spawn(move || keeping.run(&received)).context("starting the thread of the DNS proxy")?;
        Ok(Self { orders, shared, thread: Some(thread), ends })
    }

    /// Starts answering, and waits until the sockets are there or cannot be had.
    pub(crate) fn lead(&self, learner: Arc<dyn Learner>) -> Standing {
        // It fails if the thread is gone; then its standing says so.
        let _ = self.orders.send(Order::Lead(learner));
        self.wait(|standing| !standing.listening.is_empty() || standing.problem.is_some())
    }

    /// Has the proxy go by a state.
    pub(crate) fn tell(&self, state: State) {
        let _ = self.orders.send(Order::State(Box::new(state)));
    }

    /// Waits until the proxy goes by the state of this generation, or does not answer.
    pub(crate) fn wait_for(&self, generation: Generation) -> Standing {
        self.wait(|standing| standing.in_force >= Some(generation) || standing.problem.is_some())
    }

    fn wait(&self, enough: impl Fn(&Standing) -> bool) -> Standing {
        let end = Instant::now() + LONGEST_PAUSE;
        let mut standing = self.shared.standing();
        while !enough(&standing) && Instant::now() < end {
            let left = end.saturating_duration_since(Instant::now());
            standing =
                self.shared.changed.wait_timeout(standing, left).unwrap_or_else(PoisonError::into_inner).0;
        }
        standing.clone()
    }

    /// How it is.
    pub(crate) fn standing(&self) -> Standing {
        self.shared.standing().clone()
    }

    /// Where it is to be reached.
    pub(crate) fn listening(&self) -> Vec<SocketAddr> {
        self.shared.standing().listening.clone()
    }
}

impl Drop for Keeper {
    fn drop(&mut self) {
        if !self.ends {
            return;
        }
        let _ = self.orders.send(Order::Stop);
        if let Some(thread) = self.thread.take() {
            // A panic there was reported by its thread.
            let _ = thread.join();
        }
    }
}

/// What the keeper's thread has.
struct Keeping {
    node: Arc<str>,
    control: Option<PathBuf>,
    orders: Sender<Order>,
    shared: Arc<Shared>,
}

/// A proxy that runs.
struct Running {
    child: Child,
    proxy: Proxy,
    run: u64,
    since: Instant,
}

impl Running {
    fn end(mut self) {
        // It may be gone already.
        let _ = self.proxy.stop();
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

impl Keeping {
    fn run(self, orders: &Receiver<Order>) {
        let Some(learner) = wait_for_lead(orders) else { return };
        let sockets = loop {
            match self.sockets(&learner) {
                Ok(sockets) => break sockets,
                Err(error) => {
                    self.shared.change(|standing| standing.problem = Some(format!("{error:#}")));
                    match orders.recv_timeout(LONGEST_PAUSE) {
                        Ok(Order::Stop) | Err(RecvTimeoutError::Disconnected) => return,
                        Ok(Order::Lead(_) | Order::State(_) | Order::Ended { .. })
                        | Err(RecvTimeoutError::Timeout) => {}
                    }
                }
            }
        };
        self.keep(orders, &sockets, &learner);
    }

    fn keep(&self, orders: &Receiver<Order>, sockets: &Sockets, learner: &Arc<dyn Learner>) {
        let mut running: Option<Running> = None;
        let mut state: Option<Box<State>> = None;
        let (mut pause, mut runs, mut next) = (FIRST_PAUSE, 0, Instant::now());
        loop {
            if running.is_none() && Instant::now() >= next {
                runs += 1;
                match self.start(sockets, learner, runs) {
                    Ok(started) => {
                        if let Some(state) = &state {
                            // Its end is heard of.
                            let _ = started.proxy.set_state((**state).clone());
                        }
                        self.shared.change(|standing| {
                            standing.starts += 1;
                            standing.problem = None;
                        });
                        running = Some(started);
                    }
                    Err(error) => {
                        self.shared.change(|standing| standing.problem = Some(format!("{error:#}")));
                        next = Instant::now() + pause;
                        pause = (pause * 2).min(LONGEST_PAUSE);
                    }
                }
            }
            let patience = if running.is_some() {
                LONGEST_PAUSE
            } else {
                next.saturating_duration_since(Instant::now())
            };
            match orders.recv_timeout(patience) {
                Ok(Order::State(new)) => {
                    if let Some(running) = &running {
                        let _ = running.proxy.set_state((*new).clone());
                    }
                    state = Some(new);
                }
                Ok(Order::Ended { run, why }) if running.as_ref().is_some_and(|it| it.run == run) => {
                    let Some(ended) = running.take() else { continue };
                    pause = if ended.since.elapsed() > WELL { FIRST_PAUSE } else { pause };
                    ended.end();
                    self.shared.change(|standing| {
                        standing.in_force = None;
                        standing.problem = Some(format!("the DNS proxy ended and is started again: {why}"));
                    });
                    next = Instant::now() + pause;
                    pause = (pause * 2).min(LONGEST_PAUSE);
                }
                Ok(Order::Stop) => {
                    running.into_iter().for_each(Running::end);
                    return;
                }
                Err(RecvTimeoutError::Disconnected) => return,
                Ok(Order::Lead(_) | Order::Ended { .. }) | Err(RecvTimeoutError::Timeout) => {}
            }
        }
    }

    /// Those of a proxy that an earlier agent left behind, which then ends; else new ones.
    fn sockets(&self, learner: &Arc<dyn Learner>) -> Result<Sockets> {
        let adopted = self.control.as_deref().map(|path| Proxy::adopt(path, self.agent(learner, 0)));
        let sockets = match adopted.transpose().context("taking over from the earlier agent")?.flatten() {
            Some((proxy, sockets)) => {
                proxy.stop().context("taking over from the earlier agent")?;
                proxy.join();
                sockets
            }
            None => new_sockets(self.control.as_deref())?,
        };
        let listening =
            [sockets.udp.first(), sockets.udp.get(1)].into_iter().flatten().zip(dns::sockets::LISTEN);
        let listening = listening.map(|(_, address)| address).collect();
        self.shared.change(|standing| standing.listening = listening);
        Ok(sockets)
    }

    fn start(&self, sockets: &Sockets, learner: &Arc<dyn Learner>, run: u64) -> Result<Running> {
        let (own, its) = UnixStream::pair().context("making a channel to the DNS proxy")?;
        // The running program, even if its file was replaced meanwhile.
        let mut command = Command::new("/proc/self/exe");
        command.arg(COMMAND).stdin(Stdio::from(OwnedFd::from(its))).stdout(Stdio::null());
        let child = command.spawn().context("starting the DNS proxy")?;
        match Proxy::start(own, sockets, self.agent(learner, run)) {
            Ok(proxy) => Ok(Running { child, proxy, run, since: Instant::now() }),
            Err(error) => {
                let mut child = child;
                let _ = child.kill();
                let _ = child.wait();
                Err(error).context("starting the DNS proxy")
            }
        }
    }

    fn agent(&self, learner: &Arc<dyn Learner>, run: u64) -> Serving {
        Serving {
            node: Arc::clone(&self.node),
            learner: Arc::clone(learner),
            orders: self.orders.clone(),
            shared: Arc::clone(&self.shared),
            run,
        }
    }
}

fn wait_for_lead(orders: &Receiver<Order>) -> Option<Arc<dyn Learner>> {
    loop {
        match orders.recv().ok()? {
            Order::Lead(learner) => return Some(learner),
            Order::Stop => return None,
            // A state comes again once there is somebody to go by it.
            Order::State(_) | Order::Ended { .. } => {}
        }
    }
}

/// IPv6 may be off on this node; then its pods have none either.
fn new_sockets(control: Option<&Path>) -> Result<Sockets> {
    let mut sockets = Sockets::bind(&dns::sockets::LISTEN, Steering::Transparent)
        .or_else(|_| Sockets::bind(dns::sockets::LISTEN.get(..1).unwrap_or_default(), Steering::Transparent))
        .context("listening for pods' DNS")?;
    if let Some(control) = control {
        sockets = sockets.with_control(control)?;
    }
    Ok(sockets)
}

/// What a proxy asks of its agent.
struct Serving {
    node: Arc<str>,
    learner: Arc<dyn Learner>,
    orders: Sender<Order>,
    shared: Arc<Shared>,
    run: u64,
}

impl Agent for Serving {
    fn learn(&mut self, bindings: &[Binding]) -> Vec<Result<u32, String>> {
        self.learner.learn(bindings)
    }

    fn records(&mut self, records: Vec<Query>) {
        self.learner.looked_up(&self.node, records);
    }

    fn counters(&mut self, counters: Counters) {
        self.shared.change(|standing| standing.counters = counters);
    }

    fn in_force(&mut self, generation: Generation) {
        self.shared.change(|standing| standing.in_force = Some(generation));
    }

    fn ended(&mut self, why: &str) {
        // The keeper may be gone before its proxy.
        let _ = self.orders.send(Order::Ended { run: self.run, why: why.to_owned() });
    }
}
