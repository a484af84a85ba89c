//! Keeps a node's proxies running, and tells them what holds.
//!
//! Enters: states, and whoever puts bindings in force. Leaves: a process that serves pods. Guarantees: holds the sockets,
//! so that what pods send waits in them while the proxy starts again; a proxy that ended is started anew, at growing
//! intervals, and told everything; one that an earlier agent left behind gives its sockets to a new one.
//! Does not: steer packets; who does asks [`Keeper::listening`] first. What differs between the proxies is their [`Kind`].

use anyhow::{Context, Result, bail};
use handover::{Sockets, Steering};
use nix::sys::signal::{SigSet, Signal};
use std::io;
use std::net::SocketAddr;
use std::os::fd::{AsFd, OwnedFd};
use std::os::unix::net::UnixStream;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::sync::mpsc::{Receiver, RecvTimeoutError, Sender, channel};
use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

/// Until a proxy that ended is started again: first, and at most. No longer than clients wait for an answer of DNS: each start costs
/// little, and without it pods have no names.
const FIRST_PAUSE: Duration = Duration::from_millis(100);
const LONGEST_PAUSE: Duration = Duration::from_secs(1);
/// How long somebody waits for what the keeper does.
const PATIENCE: Duration = Duration::from_secs(10);
/// A proxy that ran so long was well.
const WELL: Duration = Duration::from_secs(60);
/// A proxy that was told to end has ended by then.
const PARTING: Duration = Duration::from_secs(10);

/// A kind of proxy.
pub(crate) trait Kind: Sized + Send + Sync + 'static {
    /// Name of the hidden command that is its process.
    const COMMAND: &'static str;
    /// What people call it.
    const WHAT: &'static str;
    /// Where it listens.
    const LISTEN: [SocketAddr; 2];
    /// Everything that it is told.
    type State: Send;
    /// One that runs.
    type Proxy: Send;
    /// What it counts.
    type Counts: Clone + Default + Send;

    /// Takes over the one that an earlier agent left behind, with its sockets.
    fn adopt(path: &Path, ear: Ear<Self>) -> Result<Option<(Self::Proxy, Sockets)>>;

    /// Has one go whose sockets another serves now. While it still serves something it is told what holds, too.
    fn retire(proxy: Self::Proxy) -> Result<Option<Self::Proxy>>;

    /// Has one go at once.
    fn stop(proxy: Self::Proxy) -> Result<()>;

    /// Gives one that was just started its sockets.
    fn start(stream: UnixStream, sockets: &Sockets, ear: Ear<Self>) -> Result<Self::Proxy>;

    /// Tells it everything.
    fn tell(proxy: &Self::Proxy, state: &Self::State) -> Result<()>;
}

/// A proxy's process: its standard input leads to its keeper.
pub(crate) fn process(run: impl FnOnce(OwnedFd) -> Result<()>) -> Result<()> {
    // Who started it blocks signals. Ctrl-C at a terminal is meant for `up` alone, SIGTERM for whom it names.
    let mut terminate = SigSet::empty();
    terminate.add(Signal::SIGTERM);
    terminate.thread_unblock().context("taking SIGTERM")?;
    run(std::io::stdin().as_fd().try_clone_to_owned().context("taking the channel to the keeper")?)
}

/// Ends the proxy that waits for its next agent here, if there is one, and waits until it has ended.
pub(crate) fn dismiss<K: Kind>(control: &Path) -> Result<()> {
    let (orders, heard) = channel();
    let ear = Ear { node: "".into(), listener: Arc::new(Nobody), orders, shared: Arc::default(), run: 0 };
    let Some((proxy, _)) = K::adopt(control, ear)? else { return Ok(()) };
    K::stop(proxy)?;
    // All that a proxy's ear orders is to notice its end.
    match heard.recv_timeout(PARTING) {
        Ok(_) | Err(RecvTimeoutError::Disconnected) => Ok(()),
        Err(RecvTimeoutError::Timeout) => bail!("the {} did not end within {PARTING:?}", K::WHAT),
    }
}

/// Hears a proxy that is to end.
struct Nobody;

impl Listener for Nobody {
    fn learn(&self, bindings: &[dns::Binding]) -> Vec<Result<u32, String>> {
        bindings.iter().map(|_| Err("enforcement was removed".to_owned())).collect()
    }

    fn looked_up(&self, _: &Arc<str>, _: Vec<dns::Query>) {}

    fn asked(&self, _: &Arc<str>, _: gateway::Ask) {}

    fn found(&self, _: &Arc<str>, _: Vec<(u64, dns::Found)>) {}

    fn passed(&self, _: &Arc<str>, _: Vec<gateway::Record>) {}

    fn called(&self, _: &Arc<str>, _: Vec<gateway::Call>) {}

    fn kept(&self, _: &Arc<str>, _: gateway::Content) {}
}

/// Who puts in force what pods are about to be told, and keeps records.
pub(crate) trait Listener: Send + Sync {
    /// As [`dns::Agent::learn`].
    fn learn(&self, bindings: &[dns::Binding]) -> Vec<Result<u32, String>>;

    /// Queries that had their answer.
    fn looked_up(&self, node: &Arc<str>, queries: Vec<dns::Query>);

    /// The gateway asks for a client of the explicit proxy where a host is. Must not wait.
    fn asked(&self, node: &Arc<str>, ask: gateway::Ask);

    /// The DNS proxy found, or did not find, what it was asked for.
    fn found(&self, node: &Arc<str>, found: Vec<(u64, dns::Found)>);

    /// Connections of the gateway that ended.
    fn passed(&self, node: &Arc<str>, records: Vec<gateway::Record>);

    /// Requests through the gateway that ended.
    fn called(&self, node: &Arc<str>, calls: Vec<gateway::Call>);

    /// What a rule had kept of a request.
    fn kept(&self, node: &Arc<str>, content: gateway::Content);
}

/// How a proxy is.
#[derive(Clone, Debug, Default)]
pub(crate) struct Standing<C> {
    /// Where it is to be reached; empty before there are sockets.
    pub(crate) listening: Vec<SocketAddr>,
    /// What it goes by.
    pub(crate) in_force: Option<u64>,
    /// There is one.
    pub(crate) is_running: bool,
    /// Why it does not serve, or not as it was told.
    pub(crate) problem: Option<String>,
    /// Why it does not listen for the explicit proxy's clients where it should.
    pub(crate) unopened: Option<String>,
    /// What happened since it began.
    pub(crate) counts: C,
    /// Times it was started.
    pub(crate) starts: u64,
}

enum Order {
    Lead(Arc<dyn Listener>),
    Ended { run: u64, why: String },
    Stop,
}

/// The keeper of one proxy of a node.
pub(crate) struct Keeper<K: Kind> {
    orders: Sender<Order>,
    shared: Arc<Shared<K>>,
    thread: Option<std::thread::JoinHandle<()>>,
    /// The proxy goes with its keeper.
    ends: bool,
}

struct Shared<K: Kind> {
    standing: Mutex<Standing<K::Counts>>,
    changed: Condvar,
    current: Mutex<Current<K>>,
}

/// What the proxy is told, and whom to tell.
struct Current<K: Kind> {
    state: Option<K::State>,
    proxy: Option<K::Proxy>,
    /// One that is going.
    retired: Option<K::Proxy>,
    /// Why the one that serves cannot be told this state, and goes by an earlier one.
    untold: Option<String>,
}

impl<K: Kind> Current<K> {
    /// Tells everybody who serves, and forgets who is gone. An error if the one that serves could not be told: it is gone, which is
    /// heard of, or it goes by what it was told before.
    fn tell(&mut self, tell: impl Fn(&K::Proxy) -> Result<()>) -> Result<()> {
        let told = self.proxy.as_ref().map_or(Ok(()), &tell);
        self.retired.take_if(|retired| tell(retired).is_err());
        told
    }
}

impl<K: Kind> Default for Shared<K> {
    fn default() -> Self {
        Self {
            standing: Mutex::default(),
            changed: Condvar::new(),
            current: Mutex::new(Current { state: None, proxy: None, retired: None, untold: None }),
        }
    }
}

impl<K: Kind> Shared<K> {
    fn standing(&self) -> MutexGuard<'_, Standing<K::Counts>> {
        self.standing.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn change(&self, change: impl FnOnce(&mut Standing<K::Counts>)) {
        change(&mut self.standing());
        self.changed.notify_all();
    }

    /// Notes that a proxy cannot be told something, and returns why; of its end is heard otherwise. Whoever calls it holds the
    /// current one, so that another starts after it.
    fn note(&self, told: Result<()>) -> Option<String> {
        let error = told.err()?;
        let mut broken = error.chain().filter_map(|cause| cause.downcast_ref::<io::Error>());
        if !broken.all(|broken| broken.kind() == io::ErrorKind::InvalidData) {
            return None;
        }
        let problem = format!("{error:#}");
        self.change(|standing| standing.problem = Some(problem.clone()));
        Some(problem)
    }

    /// Tells what changes, and changes it. What cannot be told does not change: it would never be told again.
    fn make(
        &self,
        current: &mut Current<K>,
        change: impl FnOnce(&mut K::State),
        tell: impl Fn(&K::Proxy) -> Result<()>,
    ) {
        if current.state.is_none() {
            return;
        }
        let told = current.tell(tell);
        // Of its end is heard, and the next is told everything.
        if self.note(told).is_none()
            && let Some(state) = &mut current.state
        {
            change(state);
        }
    }

    fn current(&self) -> MutexGuard<'_, Current<K>> {
        self.current.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl<K: Kind> Keeper<K> {
    /// A keeper in the calling thread's network namespace, which starts nothing before it leads. `control` is where the
    /// proxy waits for the next agent; without one it ends with this one. `front` is where it listens for clients besides
    /// those that are steered to it.
    pub(crate) fn open(node: Arc<str>, control: Option<PathBuf>, front: Vec<SocketAddr>) -> Result<Self> {
        let (orders, received) = channel();
        let (shared, ends) = (Arc::<Shared<K>>::default(), control.is_none());
        let keeping = Keeping { node, control, front, orders: orders.clone(), shared: Arc::clone(&shared) };
        let thread = std::thread::Builder::new().name(K::COMMAND.to_owned());
        let thread = thread.spawn(move || keeping.run(&received));
        let thread = thread.with_context(|| format!("starting the thread of the {}", K::WHAT))?;
        Ok(Self { orders, shared, thread: Some(thread), ends })
    }

    /// Starts serving, and waits until the sockets are there or cannot be had.
    pub(crate) fn lead(&self, listener: Arc<dyn Listener>) {
        // It fails if the thread is gone; then its standing says so.
        let _ = self.orders.send(Order::Lead(listener));
        self.wait(PATIENCE, |standing| !standing.listening.is_empty() || standing.problem.is_some());
    }

    /// Has the proxy go by a state.
    pub(crate) fn tell(&self, state: K::State) {
        let mut current = self.shared.current();
        let told = current.tell(|proxy| K::tell(proxy, &state));
        current.state = Some(state);
        current.untold = self.shared.note(told);
    }

    /// Reads what the proxy was told last.
    pub(crate) fn with_state<T>(&self, read: impl FnOnce(&K::State) -> T) -> Option<T> {
        self.shared.current().state.as_ref().map(read)
    }

    /// Changes the state, and tells only what changed.
    pub(crate) fn change(&self, change: impl FnOnce(&mut K::State), tell: impl Fn(&K::Proxy) -> Result<()>) {
        self.shared.make(&mut self.shared.current(), change, tell);
    }

    /// As [`Self::change`], by what means nothing without the rest of the state: where that could not be told, nothing is.
    pub(crate) fn extend(&self, change: impl FnOnce(&mut K::State), tell: impl Fn(&K::Proxy) -> Result<()>) {
        let mut current = self.shared.current();
        match current.untold.clone() {
            // It may have said since that it goes by what it was told before.
            Some(problem) => self.shared.change(|standing| standing.problem = Some(problem)),
            None => self.shared.make(&mut current, change, tell),
        }
    }

    /// Waits until the proxy goes by this, or has a problem.
    pub(crate) fn wait_for(&self, number: u64) {
        self.wait(PATIENCE, |standing| standing.in_force >= Some(number) || standing.problem.is_some());
    }

    /// Whether the proxy that runs takes what it is told. Of one that does not run nothing is asked: the next is told
    /// everything before it serves.
    ///
    /// # Errors
    /// It said that it does not.
    pub(crate) fn check(&self) -> Result<()> {
        let standing = self.shared.standing();
        match &standing.problem {
            Some(problem) if standing.is_running => bail!("{problem}"),
            Some(_) | None => Ok(()),
        }
    }

    fn wait(&self, patience: Duration, enough: impl Fn(&Standing<K::Counts>) -> bool) {
        let end = Instant::now() + patience;
        let mut standing = self.shared.standing();
        while !enough(&standing) && Instant::now() < end {
            let left = end.saturating_duration_since(Instant::now());
            let waited = self.shared.changed.wait_timeout(standing, left);
            standing = waited.unwrap_or_else(PoisonError::into_inner).0;
        }
    }

    /// How it is.
    pub(crate) fn standing(&self) -> Standing<K::Counts> {
        self.shared.standing().clone()
    }

    /// Where it is to be reached.
    pub(crate) fn listening(&self) -> Vec<SocketAddr> {
        self.shared.standing().listening.clone()
    }
}

impl<K: Kind> Drop for Keeper<K> {
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
struct Keeping<K: Kind> {
    node: Arc<str>,
    control: Option<PathBuf>,
    front: Vec<SocketAddr>,
    orders: Sender<Order>,
    shared: Arc<Shared<K>>,
}

/// A proxy that runs.
struct Running {
    child: Child,
    run: u64,
    since: Instant,
}

impl Running {
    fn end(mut self) {
        // It may be gone already.
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

impl<K: Kind> Keeping<K> {
    fn run(self, orders: &Receiver<Order>) {
        let Some(listener) = wait_for_lead(orders) else { return };
        let mut pause = FIRST_PAUSE;
        let sockets = loop {
            match self.sockets(&listener) {
                Ok(sockets) => break sockets,
                Err(error) => {
                    self.shared.change(|standing| standing.problem = Some(format!("{error:#}")));
                    // One that an earlier agent left may just be ending.
                    let waited = orders.recv_timeout(pause);
                    pause = (pause * 2).min(LONGEST_PAUSE);
                    match waited {
                        Ok(Order::Stop) | Err(RecvTimeoutError::Disconnected) => return,
                        Ok(Order::Lead(_) | Order::Ended { .. }) | Err(RecvTimeoutError::Timeout) => {}
                    }
                }
            }
        };
        self.keep(orders, &sockets, &listener);
    }

    fn keep(&self, orders: &Receiver<Order>, sockets: &Sockets, listener: &Arc<dyn Listener>) {
        let mut running: Option<Running> = None;
        let (mut pause, mut runs, mut next) = (FIRST_PAUSE, 0, Instant::now());
        loop {
            if running.is_none() && Instant::now() >= next {
                runs += 1;
                match self.start(sockets, listener, runs) {
                    Ok(started) => running = Some(started),
                    Err(error) => {
                        self.shared.change(|standing| standing.problem = Some(format!("{error:#}")));
                        next = Instant::now() + pause;
                        pause = (pause * 2).min(LONGEST_PAUSE);
                    }
                }
            }
            let patience =
                if running.is_some() { PATIENCE } else { next.saturating_duration_since(Instant::now()) };
            match orders.recv_timeout(patience) {
                Ok(Order::Ended { run, why }) if running.as_ref().is_some_and(|it| it.run == run) => {
                    let Some(ended) = running.take() else { continue };
                    self.shared.current().proxy = None;
                    pause = if ended.since.elapsed() > WELL { FIRST_PAUSE } else { pause };
                    ended.end();
                    self.shared.change(|standing| {
                        standing.in_force = None;
                        standing.is_running = false;
                        standing.problem = Some(format!("the {} ended and is started again: {why}", K::WHAT));
                    });
                    next = Instant::now() + pause;
                    pause = (pause * 2).min(LONGEST_PAUSE);
                }
                Ok(Order::Stop) => {
                    if let Some(proxy) = self.shared.current().proxy.take() {
                        // It is killed anyway.
                        let _ = K::stop(proxy);
                    }
                    running.into_iter().for_each(Running::end);
                    return;
                }
                Err(RecvTimeoutError::Disconnected) => return,
                Ok(Order::Lead(_) | Order::Ended { .. }) | Err(RecvTimeoutError::Timeout) => {}
            }
        }
    }

    /// Those of a proxy that an earlier agent left behind, which then goes; else new ones.
    fn sockets(&self, listener: &Arc<dyn Listener>) -> Result<Sockets> {
        let adopted = self.control.as_deref().map(|path| K::adopt(path, self.ear(listener, 0)));
        let sockets = match adopted.transpose().context("taking over from the earlier agent")?.flatten() {
            Some((proxy, sockets)) => {
                let retired = K::retire(proxy).context("taking over from the earlier agent")?;
                self.shared.current().retired = retired;
                sockets
            }
            None => new_sockets::<K>(self.control.as_deref())?,
        };
        let (sockets, unopened) = self.with_front(sockets)?;
        let mut listening = sockets.listening().context("asking where it listens")?;
        listening.retain(|address| is_steered::<K>(*address));
        self.shared.change(|standing| {
            standing.listening = listening;
            standing.unopened = unopened;
        });
        Ok(sockets)
    }

    /// The steered sockets first, then one for each place of the front door: those that are there, and new ones. What
    /// cannot be opened is said, and the rest serves.
    fn with_front(&self, mut sockets: Sockets) -> Result<(Sockets, Option<String>)> {
        let at = sockets.listening().context("asking where it listens")?;
        let all = std::mem::take(&mut sockets.tcp).into_iter().zip(at);
        let (steered, front): (Vec<_>, Vec<_>) = all.partition(|(_, at)| is_steered::<K>(*at));
        sockets.tcp = steered.into_iter().map(|(socket, _)| socket).collect();
        let (mut front, mut unopened) = (front, None);
        for wanted in &self.front {
            let there = front.iter().position(|(_, at)| at == wanted);
            let opened = match there {
                Some(there) => Ok(front.swap_remove(there).0),
                None => handover::sockets::tcp(*wanted, Steering::None),
            };
            match opened {
                Ok(socket) => sockets.tcp.push(socket),
                Err(error) => {
                    unopened = Some(format!("nobody is served as explicit proxy at {wanted}: {error}"));
                }
            }
        }
        Ok((sockets, unopened))
    }

    fn start(&self, sockets: &Sockets, listener: &Arc<dyn Listener>, run: u64) -> Result<Running> {
        let starting = || format!("starting the {}", K::WHAT);
        let (own, its) = UnixStream::pair().with_context(starting)?;
        // The running program, even if its file was replaced meanwhile.
        let mut command = Command::new("/proc/self/exe");
        command.arg(K::COMMAND).stdin(Stdio::from(OwnedFd::from(its))).stdout(Stdio::null());
        let child = command.spawn().with_context(starting)?;
        let running = Running { child, run, since: Instant::now() };
        let mut current = self.shared.current();
        match K::start(own, sockets, self.ear(listener, run)) {
            Ok(proxy) => {
                // Before it can be told anything: what it is told from now on must be waited for.
                self.shared.change(|standing| {
                    standing.starts += 1;
                    standing.is_running = true;
                    standing.problem = None;
                });
                let told = current.state.as_ref().map_or(Ok(()), |state| K::tell(&proxy, state));
                current.untold = self.shared.note(told);
                current.proxy = Some(proxy);
                Ok(running)
            }
            Err(error) => {
                running.end();
                Err(error).with_context(starting)
            }
        }
    }

    fn ear(&self, listener: &Arc<dyn Listener>, run: u64) -> Ear<K> {
        Ear {
            node: Arc::clone(&self.node),
            listener: Arc::clone(listener),
            orders: self.orders.clone(),
            shared: Arc::clone(&self.shared),
            run,
        }
    }
}

fn wait_for_lead(orders: &Receiver<Order>) -> Option<Arc<dyn Listener>> {
    loop {
        match orders.recv().ok()? {
            Order::Lead(listener) => return Some(listener),
            Order::Stop => return None,
            Order::Ended { .. } => {}
        }
    }
}

/// Whether connections come here that were meant for others.
pub(crate) fn is_steered<K: Kind>(listener: SocketAddr) -> bool {
    K::LISTEN.iter().any(|it| it.ip() == listener.ip())
}

/// IPv6 may be off on this node; then its pods have none either.
fn new_sockets<K: Kind>(control: Option<&Path>) -> Result<Sockets> {
    let mut sockets = Sockets::bind(&K::LISTEN, Steering::Transparent)
        .or_else(|_| Sockets::bind(K::LISTEN.get(..1).unwrap_or_default(), Steering::Transparent))
        .with_context(|| format!("listening for the {}", K::WHAT))?;
    if let Some(control) = control {
        sockets = sockets.with_control(control)?;
    }
    Ok(sockets)
}

/// Hears what a proxy says.
pub(crate) struct Ear<K: Kind> {
    node: Arc<str>,
    pub(crate) listener: Arc<dyn Listener>,
    orders: Sender<Order>,
    shared: Arc<Shared<K>>,
    run: u64,
}

impl<K: Kind> Ear<K> {
    pub(crate) fn node(&self) -> &Arc<str> {
        &self.node
    }

    /// It counted: what it says now, made of what it said before.
    pub(crate) fn counted(&self, counts: impl FnOnce(&K::Counts) -> K::Counts) {
        if self.is_current() {
            self.shared.change(|standing| standing.counts = counts(&standing.counts));
        }
    }

    /// It goes by this, or does not and says why.
    pub(crate) fn goes_by(&self, number: u64, refused: Option<String>) {
        if !self.is_current() {
            return;
        }
        self.shared.change(|standing| match refused {
            Some(why) => standing.problem = Some(why),
            None => {
                standing.problem = None;
                standing.in_force = Some(number);
            }
        });
    }

    /// It is gone.
    pub(crate) fn ended(&self, why: &str) {
        // The keeper may be gone before its proxy.
        let _ = self.orders.send(Order::Ended { run: self.run, why: why.to_owned() });
    }

    /// Whether it is not one that gave its sockets away.
    fn is_current(&self) -> bool {
        self.run > 0
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Takes no more than one digit.
    struct Short;

    impl Kind for Short {
        const COMMAND: &'static str = "short";
        const WHAT: &'static str = "short proxy";
        const LISTEN: [SocketAddr; 2] = dns::LISTEN;
        type State = u8;
        type Proxy = ();
        type Counts = ();

        fn adopt(_: &Path, _: Ear<Self>) -> Result<Option<((), Sockets)>> {
            Ok(None)
        }

        fn retire((): ()) -> Result<Option<()>> {
            Ok(None)
        }

        fn stop((): ()) -> Result<()> {
            Ok(())
        }

        fn start(_: UnixStream, _: &Sockets, _: Ear<Self>) -> Result<()> {
            Ok(())
        }

        fn tell((): &(), state: &u8) -> Result<()> {
            match *state {
                7 => Err(io::Error::from(io::ErrorKind::BrokenPipe).into()),
                10.. => bail!("{state} is too long"),
                _ => Ok(()),
            }
        }
    }

    #[test]
    fn a_state_that_a_proxy_cannot_be_told_is_a_problem() {
        let keeper = Keeper::<Short>::open("n".into(), None, Vec::new()).unwrap();
        keeper.tell(10);
        assert_eq!(keeper.standing().problem, None, "there is none yet, and the next is told everything");
        keeper.shared.current().proxy = Some(());
        keeper.tell(9);
        assert_eq!(keeper.standing().problem, None);
        keeper.tell(7);
        assert_eq!(keeper.standing().problem, None, "its end is heard of");
        keeper.tell(10);
        assert_eq!(keeper.standing().problem.as_deref(), Some("10 is too long"));
    }

    #[test]
    fn what_a_proxy_cannot_be_told_is_not_taken_for_told() {
        let keeper = Keeper::<Short>::open("n".into(), None, Vec::new()).unwrap();
        keeper.tell(1);
        keeper.shared.current().proxy = Some(());
        let add = |number: u8| {
            keeper.shared.change(|standing| standing.problem = None);
            keeper.extend(|state| *state += number, |proxy| Short::tell(proxy, &number));
            (keeper.with_state(|state| *state), keeper.standing().problem)
        };
        let too_long = || Some("10 is too long".to_owned());
        assert_eq!(add(2), (Some(3), None));
        assert_eq!(add(10), (Some(3), too_long()), "it would never be told again");
        assert_eq!(add(7), (Some(10), None), "its end is heard of, and the next is told everything");
        keeper.tell(10);
        assert_eq!(add(2), (Some(10), too_long()), "nothing is added to a state that it does not have");
        keeper.tell(5);
        assert_eq!(add(2), (Some(7), None));
    }
}
