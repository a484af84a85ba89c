//! The server: its sockets, the configuration in force, and its end.

use crate::admission::Admission;
use crate::body::Hold;
use crate::bound::SessionKeys;
use crate::config::{Config, ConfigError, Limits, Live, Settings};
use crate::connection;
use crate::copies::{Copies, CopyFate};
use crate::crowd::Crowd;
use crate::keys::Keys;
use crate::pool::Pool;
use crate::record::Sink;
use crate::secured::Ways;
use crate::session::{Secret, own_secret};
use admit::{Ledger, Pins};
use purse::{Prices, Purse};
use routes::{Listener, ListenerId, Tls};
use std::collections::BTreeMap;
use std::hash::RandomState;
use std::io;
use std::net::SocketAddr;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError, RwLock};
use std::time::{Duration, SystemTime, UNIX_EPOCH};
use tokio::net::{TcpListener, TcpSocket};
use tokio::sync::{Semaphore, watch};
use tokio::task::JoinHandle;
use tokio::time::{sleep, timeout};

/// Connections that the kernel has accepted and the gateway has not.
const BACKLOG: u32 = 1024;
/// How long the gateway waits where the kernel has no more descriptors.
const REST: Duration = Duration::from_millis(50);

/// How far it is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Phase {
    Serving,
    /// What is there comes to its end; nothing new begins.
    Draining,
    /// Everything ends.
    Stopped,
}

/// Seconds since 1970.
pub(crate) fn seconds() -> u64 {
    SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default().as_secs()
}

/// Returns when everything ends.
pub(crate) async fn stopped(phase: &mut watch::Receiver<Phase>) {
    // Where nobody can say it any more, it ends as well.
    let _gone = phase.wait_for(|phase| *phase == Phase::Stopped).await;
}

/// What all connections share.
#[derive(Debug)]
pub(crate) struct Shared {
    live: RwLock<Arc<Live>>,
    pub(crate) pool: Pool,
    pub(crate) copies: Arc<Copies>,
    /// Requests whose endpoint picker could not be followed.
    pub(crate) unpicked: AtomicU64,
    crowd: Arc<Crowd>,
    pub(crate) admission: Arc<Admission>,
    pub(crate) hold: Hold,
    pub(crate) limits: Limits,
    pub(crate) sink: Arc<dyn Sink>,
    pub(crate) ledger: Arc<Ledger>,
    pub(crate) keys: Arc<Keys>,
    pub(crate) pins: Arc<Pins>,
    pub(crate) prices: Option<Arc<Prices>>,
    pub(crate) purse: Option<Arc<Purse<Ledger>>>,
    /// Under which digests of what is asked are made.
    pub(crate) digests: RandomState,
    /// Of sessions of routes without a `uid`.
    pub(crate) secret: Secret,
    pub(crate) session_keys: SessionKeys,
    ways: Ways,
    number: AtomicU64,
    phase: watch::Sender<Phase>,
}

impl Shared {
    /// The configuration of this moment.
    pub(crate) fn live(&self) -> Arc<Live> {
        Arc::clone(&self.live.read().unwrap_or_else(PoisonError::into_inner))
    }

    pub(crate) fn is_draining(&self) -> bool {
        *self.phase.borrow() != Phase::Serving
    }

    pub(crate) fn next_number(&self) -> u64 {
        self.number.fetch_add(1, Ordering::Relaxed)
    }
}

/// What a gateway counts besides records, as long as it is there and after.
#[derive(Clone, Debug)]
pub struct Figures(Arc<Shared>);

impl Figures {
    /// Copies of requests for RequestMirror filters, by what became of them.
    pub fn copies(&self) -> Vec<(CopyFate, u64)> {
        self.0.copies.counts()
    }

    /// How keys of issuers stand.
    pub fn keys(&self) -> authn::Standing {
        self.0.keys.sources.standing(seconds())
    }

    /// Requests to pools whose endpoint picker did not answer as it must, whatever became of them.
    pub fn unpicked(&self) -> u64 {
        self.0.unpicked.load(Ordering::Relaxed)
    }

    /// Connections that were closed at once, for their address had as many as [`Limits::connections_of_address`].
    pub fn crowded(&self) -> u64 {
        self.0.crowd.refused()
    }
}

/// Why a listener is not served.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Unserved {
    /// The process cannot listen on its port.
    Port,
    /// None of its certificates can be used.
    Certificate,
}

/// A socket, and the task that accepts from it.
#[derive(Debug)]
struct Listening {
    address: SocketAddr,
    task: JoinHandle<()>,
}

impl Drop for Listening {
    fn drop(&mut self) {
        self.task.abort();
    }
}

/// A running gateway. Dropped, it ends at once.
#[derive(Debug)]
pub struct Server {
    shared: Arc<Shared>,
    settings: Settings,
    listening: Mutex<BTreeMap<u16, Listening>>,
    connections: Arc<Semaphore>,
    /// Fetches keys of issuers.
    keeping: JoinHandle<()>,
}

impl Server {
    /// Begins, on the runtime of whoever calls, and listens nowhere before the first [`reload`](Self::reload).
    pub fn start(settings: Settings, sink: Arc<dyn Sink>) -> Self {
        let limits = settings.limits.clone();
        let keys = Arc::new(Keys::new(Arc::clone(&settings.roots)));
        let shared = Shared {
            live: RwLock::default(),
            pool: Pool::default(),
            copies: Copies::new(limits.connect),
            unpicked: AtomicU64::new(0),
            crowd: Crowd::new(limits.connections_of_address),
            admission: Admission::new(limits.running, limits.waiting, limits.wait),
            hold: Hold::new(limits.body, limits.held, limits.body_piece),
            sink,
            ledger: Arc::clone(&settings.ledger),
            keys: Arc::clone(&keys),
            pins: Arc::clone(&settings.pins),
            prices: settings.prices.clone(),
            purse: settings.purse.clone(),
            digests: RandomState::new(),
            secret: own_secret(),
            session_keys: settings.session_keys.clone(),
            ways: Ways::default(),
            number: AtomicU64::new(0),
            phase: watch::Sender::new(Phase::Serving),
            limits,
        };
        let connections = Arc::new(Semaphore::new(shared.limits.connections));
        Self {
            shared: Arc::new(shared),
            settings,
            listening: Mutex::default(),
            connections,
            keeping: tokio::spawn(keys.keep()),
        }
    }

    /// Puts a configuration in force, for requests that begin from now on. Connections stay. What of it cannot be in force is
    /// returned, and is closed: routes of policies that cannot be enforced, listeners without a certificate or port.
    ///
    /// # Errors
    /// It does not take hold, and the one before stays.
    pub fn reload(&self, config: Config) -> Result<Vec<ConfigError>, ConfigError> {
        let mut faults = Vec::new();
        let means = (&self.shared.ways, &self.settings);
        let live = Live::new(config, &self.shared.keys.sources, means, &mut faults)?;
        let ports = live.ports();
        let mut listening = self.listening();
        let mut opened = Vec::new();
        for port in ports.iter().filter(|port| !listening.contains_key(port)) {
            match self.open(*port) {
                Ok(socket) => opened.push((*port, socket)),
                Err(fault) => faults.push(fault),
            }
        }
        let named = live.config.endpoints.values().flatten().copied().collect();
        let ways = live.ways();
        *self.shared.live.write().unwrap_or_else(PoisonError::into_inner) = Arc::new(live);
        listening.retain(|port, _| ports.contains(port));
        for (port, (address, socket)) in opened {
            let task =
                tokio::spawn(accept(Arc::clone(&self.shared), socket, port, Arc::clone(&self.connections)));
            listening.insert(port, Listening { address, task });
        }
        self.shared.pool.keep(&named, &ways);
        Ok(faults)
    }

    /// Where it listens, by the ports that Gateways name.
    pub fn addresses(&self) -> BTreeMap<u16, SocketAddr> {
        self.listening().iter().map(|(port, listening)| (*port, listening.address)).collect()
    }

    /// What it counts.
    pub fn figures(&self) -> Figures {
        Figures(Arc::clone(&self.shared))
    }

    /// Listeners that should be served and are not: those of a port that cannot be had, and those that end TLS and have no
    /// certificate that can be used. With each, which of the two.
    pub fn unserved(&self) -> Vec<(ListenerId, Unserved)> {
        let (live, listening) = (self.shared.live(), self.listening());
        let why = |listener: &Listener| {
            let has_no_certificate =
                matches!(listener.tls, Tls::Terminate(_)) && live.tls(listener.id).is_none();
            match listening.contains_key(&listener.port) {
                false => Some(Unserved::Port),
                true => has_no_certificate.then_some(Unserved::Certificate),
            }
        };
        live.routing().listeners().iter().filter_map(|it| Some((it.id, why(it)?))).collect()
    }

    /// Accepts nothing more, has what is there come to its end within that time, and ends. Returns whether everything did.
    pub async fn drain(self, within: Duration) -> bool {
        self.listening().clear();
        self.shared.phase.send_replace(Phase::Draining);
        let all = u32::try_from(self.shared.limits.connections).unwrap_or(u32::MAX);
        let ended = timeout(within, self.connections.acquire_many(all)).await;
        self.shared.phase.send_replace(Phase::Stopped);
        matches!(ended, Ok(Ok(_)))
    }

    fn listening(&self) -> MutexGuard<'_, BTreeMap<u16, Listening>> {
        self.listening.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn open(&self, port: u16) -> Result<(SocketAddr, TcpListener), ConfigError> {
        let own = self.settings.ports.get(&port).copied().unwrap_or(port);
        let address = SocketAddr::new(self.settings.bind, own);
        let listen = || -> io::Result<(SocketAddr, TcpListener)> {
            let socket = if address.is_ipv4() { TcpSocket::new_v4()? } else { TcpSocket::new_v6()? };
            socket.set_reuseaddr(true)?;
            socket.bind(address)?;
            let socket = socket.listen(BACKLOG)?;
            Ok((socket.local_addr()?, socket))
        };
        listen().map_err(|source| ConfigError::Listen { port, address, source })
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        self.keeping.abort();
        self.shared.phase.send_replace(Phase::Stopped);
    }
}

/// Accepts connections as long as there is room for them.
async fn accept(shared: Arc<Shared>, socket: TcpListener, port: u16, connections: Arc<Semaphore>) {
    while let Ok(room) = Arc::clone(&connections).acquire_owned().await {
        match socket.accept().await {
            Ok((stream, client)) => {
                let place = match shared.crowd.enter(client.ip()) {
                    Ok(place) => place,
                    Err(full) => {
                        drop(stream);
                        connection::tell_crowded(&shared, client, port, full);
                        continue;
                    }
                };
                let phase = shared.phase.subscribe();
                let serving = connection::serve(Arc::clone(&shared), stream, client, port, phase);
                tokio::spawn(async move {
                    serving.await;
                    drop((room, place));
                });
            }
            // The client went before, or there are no descriptors: others will come, or go.
            Err(_) => sleep(REST).await,
        }
    }
}
