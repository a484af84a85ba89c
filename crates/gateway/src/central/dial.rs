//! The node's end: has connections opened by a replica of the central gateway.
//!
//! Enters: what the agent told ([`Egress`]), and a permitted connection. Leaves: a [`Tunnel`], or why there is none.
//! Guarantees: the gateway must show a certificate of the cluster's authority for [`GATEWAY`]; a replica that goes away takes
//! no new streams; one that cannot be reached is left alone for ever longer, up to [`LONGEST_REST`]; nothing is ever dialled
//! another way. Each thread has connections of its own, and so has each budget of uploads: the kernel counts those by socket.

use super::asked::Asked;
use super::tunnel::Tunnel;
use super::{CONNECTION_WINDOW, HEAD, SEND_BUFFER, STREAM_WINDOW, STREAMS, gone};
use crate::forward::socket_to;
use crate::reason::Reason;
use feed::tls::{GATEWAY, Identity, TlsError};
use h2::client::{Builder, SendRequest};
use http::StatusCode;
use hyper::body::Bytes;
use rustls::ClientConfig;
use rustls_pki_types::ServerName;
use serde::{Deserialize, Serialize};
use std::collections::HashMap;
use std::fmt;
use std::net::SocketAddr;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, PoisonError, Weak};
use std::thread::ThreadId;
use std::time::Duration;
use thiserror::Error;
use tokio::time::Instant;
use tokio_rustls::TlsConnector;

/// How long a replica that could not be reached is left alone: first, and at most.
const FIRST_REST: Duration = Duration::from_millis(100);
const LONGEST_REST: Duration = Duration::from_secs(5);
/// How long one replica may take until it is connected. Others have a turn within the time that a connection has.
const CONNECT: Duration = Duration::from_secs(3);
/// How often one connection is asked for.
const ATTEMPTS: usize = 4;
/// A connection that has no streams for so long (at most twice as long) is closed.
const UNUSED: Duration = Duration::from_secs(60);
/// Ways to replicas that are remembered, before those that are not used are forgotten.
const LANES: usize = 1024;

/// Where the central gateway is, and what this node shows it.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Egress {
    /// Its replicas, or what leads to them. None: what would go there is refused.
    pub replicas: Vec<SocketAddr>,
    /// The node's certificate. None yet: what would go there is refused.
    pub shown: Option<Shown>,
}

/// A node's certificate with its key, and the authority of the other side. All PEM.
#[derive(Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Shown {
    chain: String,
    key: String,
    authority: String,
}

impl fmt::Debug for Shown {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Shown").field("chain", &self.chain).finish_non_exhaustive()
    }
}

impl From<&Identity> for Shown {
    fn from(identity: &Identity) -> Self {
        let text = |pem: &[u8]| String::from_utf8_lossy(pem).into_owned();
        Self { chain: text(&identity.chain), key: text(&identity.key), authority: text(&identity.authority) }
    }
}

/// Why the central gateway cannot be used.
#[derive(Debug, Error)]
pub enum EgressError {
    /// What the node shows is no certificate.
    #[error("what this node shows to the egress gateway: {0}")]
    Tls(#[from] TlsError),
}

/// [`Egress`], ready to be used.
#[derive(Debug)]
pub(crate) struct Means {
    egress: Egress,
    config: Option<Arc<ClientConfig>>,
}

impl Means {
    pub(crate) fn new(egress: &Egress) -> Result<Self, EgressError> {
        let config = |shown: &Shown| {
            let bytes = |text: &String| text.clone().into_bytes();
            let (chain, key) = (bytes(&shown.chain), bytes(&shown.key));
            Identity { chain, key, authority: bytes(&shown.authority) }.client().map(Arc::new)
        };
        let config = egress.shown.as_ref().map(config).transpose()?;
        Ok(Self { egress: egress.clone(), config })
    }

    /// Whether it is of these.
    pub(crate) fn is_of(&self, egress: &Egress) -> bool {
        self.egress == *egress
    }
}

/// Which way a permitted connection must go.
#[derive(Debug)]
pub enum Route {
    /// From this node.
    Direct,
    /// Through the central gateway.
    Central(Box<Forwarding>),
    /// Through the central gateway, which cannot be asked.
    Nowhere,
}

/// What a replica is asked for, and how.
#[derive(Debug)]
pub struct Forwarding {
    pub(crate) means: Arc<Means>,
    pub(crate) asked: Asked,
    pub(crate) budget: Option<u32>,
}

/// Why there is no way to a server.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Failed {
    /// The server cannot be reached.
    Unreachable,
    /// The server does not answer in time.
    Silent,
    /// It may not be, or nobody can be asked.
    Refused(Reason),
}

/// Whose connection it is.
#[derive(Clone, Copy, PartialEq, Eq, Hash)]
struct Key {
    thread: ThreadId,
    replica: SocketAddr,
    budget: Option<u32>,
}

/// Connections to replicas.
#[derive(Default)]
pub(crate) struct Pool {
    lanes: Mutex<HashMap<Key, Arc<Lane>>>,
    turn: AtomicUsize,
}

/// The way to one replica.
struct Lane {
    key: Key,
    link: tokio::sync::Mutex<Option<Link>>,
    rest: Mutex<Option<Rest>>,
}

/// A replica is left alone.
#[derive(Clone, Copy)]
struct Rest {
    until: Instant,
    length: Duration,
}

/// A connection that is open.
struct Link {
    send: SendRequest<Bytes>,
    means: Arc<Means>,
    is_gone: Arc<AtomicBool>,
    /// Held by each of its streams too.
    places: Arc<()>,
    /// Held by nobody else.
    _kept: Arc<()>,
}

impl Link {
    fn is_usable(&self, means: &Arc<Means>) -> bool {
        let has_room = Arc::strong_count(&self.places) <= STREAMS as usize;
        has_room && !self.is_gone.load(Ordering::Relaxed) && Arc::ptr_eq(&self.means, means)
    }
}

/// A stream to be opened, and its place.
struct Start {
    send: SendRequest<Bytes>,
    place: Arc<()>,
    is_gone: Arc<AtomicBool>,
}

/// What came of asking one replica.
enum Outcome {
    Opened(Tunnel),
    /// It said no, or that the server does not answer: another would say the same.
    Settled(Failed),
    /// It takes no more, or is gone.
    Another,
}

impl Pool {
    /// Asks replicas until one opens the connection or refuses it. Says which one it was.
    pub(crate) async fn dial(
        &self,
        forwarding: &Forwarding,
        within: Duration,
    ) -> Result<(Tunnel, SocketAddr), Failed> {
        let asking = async {
            for _ in 0..ATTEMPTS {
                let Some((lane, rests)) = self.next(forwarding) else { break };
                if let Some(until) = rests {
                    tokio::time::sleep_until(until).await;
                }
                match lane.ask(forwarding).await {
                    Outcome::Opened(tunnel) => return Ok((tunnel, lane.key.replica)),
                    Outcome::Settled(failed) => return Err(failed),
                    Outcome::Another => {}
                }
            }
            Err(Failed::Refused(Reason::CentralUnreachable))
        };
        let late = Err(Failed::Refused(Reason::CentralUnreachable));
        tokio::time::timeout(within, asking).await.unwrap_or(late)
    }

    /// The next replica in turn that does not rest, or the one that wakes first, and when. None: there are no replicas.
    fn next(&self, forwarding: &Forwarding) -> Option<(Arc<Lane>, Option<Instant>)> {
        let replicas = &forwarding.means.egress.replicas;
        let first = self.turn.fetch_add(1, Ordering::Relaxed);
        let in_turn = replicas.iter().cycle().skip(first.checked_rem(replicas.len())?).take(replicas.len());
        let lanes: Vec<_> = in_turn.map(|replica| self.lane(*replica, forwarding.budget)).collect();
        let now = Instant::now();
        let rests = lanes.into_iter().map(|lane| {
            let until = lane.rest().map(|rest| rest.until).filter(|until| *until > now);
            (lane, until)
        });
        rests.min_by_key(|(_, until)| *until)
    }

    fn lane(&self, replica: SocketAddr, budget: Option<u32>) -> Arc<Lane> {
        let mut lanes = self.lanes.lock().unwrap_or_else(PoisonError::into_inner);
        if lanes.len() >= LANES {
            lanes.retain(|_, lane| lane.is_used());
        }
        let key = Key { thread: std::thread::current().id(), replica, budget };
        let lane = || Arc::new(Lane { key, link: tokio::sync::Mutex::default(), rest: Mutex::default() });
        Arc::clone(lanes.entry(key).or_insert_with(lane))
    }
}

impl Lane {
    fn rest(&self) -> Option<Rest> {
        *self.rest.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Whether something is open or being opened.
    fn is_used(&self) -> bool {
        self.link
            .try_lock()
            .map_or(true, |link| link.as_ref().is_some_and(|link| !link.is_gone.load(Ordering::Relaxed)))
    }

    async fn ask(&self, forwarding: &Forwarding) -> Outcome {
        let Some(head) = forwarding.asked.head() else {
            return Outcome::Settled(Failed::Refused(Reason::CentralRefused));
        };
        let start = tokio::time::timeout(CONNECT, self.start(&forwarding.means)).await;
        let Ok(Some(Start { mut send, place, is_gone })) = start else {
            self.tire();
            return Outcome::Another;
        };
        *self.rest.lock().unwrap_or_else(PoisonError::into_inner) = None;
        let Ok((answer, stream)) = send.send_request(head, false) else { return Outcome::Another };
        let Ok(answer) = answer.await else { return Outcome::Another };
        match answer.status() {
            StatusCode::OK => Outcome::Opened(Tunnel::new(stream, answer.into_body(), place)),
            StatusCode::BAD_GATEWAY => Outcome::Settled(Failed::Unreachable),
            StatusCode::SERVICE_UNAVAILABLE => {
                // Behind one address there may be several.
                is_gone.store(true, Ordering::Relaxed);
                Outcome::Another
            }
            _ => Outcome::Settled(Failed::Refused(Reason::CentralRefused)),
        }
    }

    /// Leaves the replica alone for a while, longer each time.
    fn tire(&self) {
        let mut rest = self.rest.lock().unwrap_or_else(PoisonError::into_inner);
        let now = Instant::now();
        let length = match *rest {
            // Others waited for the same connection.
            Some(rest) if rest.until > now => return,
            Some(rest) => (rest.length * 2).min(LONGEST_REST),
            None => FIRST_REST,
        };
        *rest = Some(Rest { until: now + length, length });
    }

    /// A place on the connection that there is, or on a new one.
    async fn start(&self, means: &Arc<Means>) -> Option<Start> {
        let mut held = self.link.lock().await;
        if let Some(link) = held.take_if(|link| link.is_usable(means)) {
            let (send, place, is_gone) = (link.send.clone(), link.places.clone(), link.is_gone.clone());
            *held = Some(link);
            if let Ok(send) = send.ready().await {
                return Some(Start { send, place, is_gone });
            }
        }
        *held = None;
        let link = self.open(means).await?;
        let (send, place, is_gone) = (link.send.clone(), link.places.clone(), link.is_gone.clone());
        *held = Some(link);
        drop(held);
        Some(Start { send: send.ready().await.ok()?, place, is_gone })
    }

    async fn open(&self, means: &Arc<Means>) -> Option<Link> {
        let config = means.config.clone()?;
        let socket = socket_to(self.key.replica, self.key.budget).ok()?;
        let stream = socket.connect(self.key.replica).await.ok()?;
        let name = ServerName::try_from(GATEWAY).ok()?;
        let stream = TlsConnector::from(config).connect(name, stream).await.ok()?;
        let mut builder = Builder::new();
        builder
            .initial_window_size(STREAM_WINDOW)
            .initial_connection_window_size(CONNECTION_WINDOW)
            .max_send_buffer_size(SEND_BUFFER)
            .max_header_list_size(HEAD)
            .enable_push(false);
        let (send, mut connection) = builder.handshake::<_, Bytes>(stream).await.ok()?;
        let (places, kept, is_gone) = (Arc::new(()), Arc::new(()), Arc::new(AtomicBool::new(false)));
        let pings = gone(connection.ping_pong());
        let unused = unused(Arc::downgrade(&kept), Arc::downgrade(&places));
        let ended = Arc::clone(&is_gone);
        tokio::spawn(async move {
            tokio::select! {
                _ended = connection => {}
                () = pings => {}
                () = unused => {}
            }
            ended.store(true, Ordering::Relaxed);
        });
        Some(Link { send, means: Arc::clone(means), is_gone, places, _kept: kept })
    }
}

/// Returns when a connection that is kept had no streams for a while. One that is not kept ends with its last.
async fn unused(kept: Weak<()>, places: Weak<()>) {
    loop {
        tokio::time::sleep(UNUSED).await;
        if kept.strong_count() == 1 && places.strong_count() == 1 {
            return;
        }
    }
}
