//! The controller's end: many nodes, each sent what it needs and lacks.
//!
//! Enters: publications, connections. Leaves: updates to nodes, and how each node stands.
//! Guarantees: one update is under way to a node at a time, so a slow node gets fewer, never a queue; a node gets nothing
//! older than what it has; it is who its certificate says. Does not: accept connections before it has published.

use crate::access::{self, Asked, Asks, Told};
use crate::encode;
use crate::enrol::{self, Granted, InspectionRequest, Registrar, Signer};
use crate::places::{Place, Places};
use crate::replica::Revisions;
use crate::resource::{Key, Kind, Parts};
use crate::tls::{is_gateway, is_of};
use crate::update::{Has, between};
use crate::wire::{Enrolled, Enrolment, Hello, Report, Said, Update};
use crate::{decode::Decoder, tls::Identity};
use hyper::server::conn::http2;
use hyper_util::rt::{TokioExecutor, TokioIo, TokioTimer};
use hyper_util::service::TowerToHyperService;
use policy::detection::Tuning;
use policy::{Generation, Key as ProviderKey, SecretRef};
use rustls::pki_types::CertificateDer;
use std::collections::{BTreeMap, BTreeSet};
use std::convert::Infallible;
use std::fmt;
use std::net::IpAddr;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;
use tokio::net::TcpListener;
use tokio::sync::{Semaphore, mpsc, watch};
use tokio_rustls::TlsAcceptor;
use tokio_stream::StreamExt as _;
use tokio_stream::wrappers::ReceiverStream;
use tonic::{Request, Response, Status, Streaming};

/// Where the one method is.
pub(crate) const PATH: &str = "/cofferdam.feed.v1.Feed/Follow";
/// What requests name as their destination; the connection itself decides where they go.
pub(crate) const ORIGIN: &str = "https://feed.cofferdam.internal";
/// Largest message either side takes.
pub(crate) const MESSAGE_LIMIT: usize = 64 << 20;
/// How often either side makes sure that the other is there, and how long it waits for the answer.
pub(crate) const ALIVE: [Duration; 2] = [Duration::from_secs(10), Duration::from_secs(20)];
/// How long a connection may take until it says who it is.
const GREETING: Duration = Duration::from_secs(10);
/// Connections at a time.
const CONNECTIONS: usize = 8192;
/// Of one node: those of before are given up only when they do not answer.
const OF_NODE: u32 = 32;
/// How long one without a certificate lasts: enough to ask for one.
const ENROLMENT: Duration = Duration::from_secs(60);
/// Requests for certificates that are answered at a time: each has the API server asked about a token.
const ENROLLING: usize = 8;
/// Of these and those that wait for their turn, so many from one address: others wait no longer than these take.
const ENROLLING_FROM: usize = 16;
/// How long one that was refused keeps its place: who guesses tokens does not have the API server flooded.
const REFUSED: Duration = Duration::from_millis(250);
/// Requests under way on one connection. A node has one.
const STREAMS: u32 = 8;
/// So many states more than are published, and no more, are believed of a node. After a restart a controller may be behind its
/// nodes by as much as its API server went back; a node that lies must not use up the numbers of all.
const AHEAD: u64 = 1 << 36;
/// Longest text of a node's that is kept, in characters: it becomes part of the status of objects.
const MOST_TEXT: usize = 1000;

/// Says what a node needs of a publication.
pub trait Needs: Send + Sync {
    /// Everything.
    fn of(&self, node: &str) -> BTreeSet<Key>;

    /// The policies and closed scopes among that.
    fn policies_of(&self, node: &str) -> Vec<&Key>;

    /// The keys that rules which select pods of the node put into requests. By default none has any.
    fn keys_of(&self, _node: &str) -> BTreeMap<SecretRef, ProviderKey> {
        BTreeMap::new()
    }
}

/// One state of policy, for all nodes.
pub struct Publication {
    /// Which state.
    pub generation: Generation,
    /// How far the API had been read: the newest of what was seen of each kind. Nodes remember it.
    pub revisions: Revisions,
    /// Up to where nothing of a kind was missed, at least. A node that had more of it does not get this state; of a kind that is
    /// not read, and so left out here, it may have had anything.
    pub reached: Revisions,
    /// All parts.
    pub parts: Arc<Parts>,
    /// Which of them a node needs.
    pub needs: Box<dyn Needs>,
}

impl fmt::Debug for Publication {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "generation {}, {} parts", self.generation, self.parts.resources.len())
    }
}

/// How a node stands, as it says.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Standing {
    /// Version of its agent.
    pub version: String,
    /// The newest state that holds everything the node needs and that it enforces; `None`: nothing yet.
    pub enforced: Option<Generation>,
    /// What is wrong.
    pub problem: String,
    /// Pod addresses it judges for.
    pub endpoints: u64,
    /// Whether pods are held, or their traffic dropped, until their policy is in force.
    pub holds_pods: bool,
    /// Connections that it has here; more than one while an old one has not been given up.
    pub connections: u32,
}

/// What the controller publishes, and who listens.
#[derive(Clone)]
pub struct Feed {
    inner: Arc<Inner>,
}

struct Inner {
    current: watch::Sender<Option<Arc<Publication>>>,
    /// As [`Publication::reached`], and further where what came since changes nothing of it.
    reached: watch::Sender<Arc<Revisions>>,
    standings: watch::Sender<BTreeMap<Arc<str>, Standing>>,
    /// The highest generation that a node has, as far as that is believed.
    highest: watch::Sender<Generation>,
    /// What nodes are asked to tell, if anything.
    asked: watch::Sender<Option<Asked>>,
    /// Counts connections.
    connections: AtomicU64,
    /// Places of those who ask for certificates.
    enrolling: Semaphore,
    /// The same, and of those who wait, by where they come from.
    asking: Places<IpAddr>,
}

impl Default for Feed {
    fn default() -> Self {
        let inner = Inner {
            current: watch::Sender::new(None),
            reached: watch::Sender::default(),
            standings: watch::Sender::new(BTreeMap::new()),
            highest: watch::Sender::new(Generation(0)),
            asked: watch::Sender::new(None),
            connections: AtomicU64::new(0),
            enrolling: Semaphore::new(ENROLLING),
            asking: Places::new(ENROLLING_FROM),
        };
        Self { inner: Arc::new(inner) }
    }
}

impl fmt::Debug for Feed {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "a feed at {:?}", self.inner.current.borrow())
    }
}

impl Feed {
    /// Makes a state the current one. Generations must grow.
    pub fn publish(&self, publication: Publication) {
        // How somebody stands who is gone, and no node of this state, is of no use to anybody.
        self.inner.standings.send_if_modified(|all| {
            let before = all.len();
            let is_node = |name: &Arc<str>| publication.parts.resources.contains_key(&Key::node(name));
            all.retain(|name, standing| standing.connections > 0 || is_node(name));
            all.len() != before
        });
        let reached = Arc::new(publication.reached.clone());
        self.inner.current.send_replace(Some(Arc::new(publication)));
        // In this order: whoever reads it first, and the state then, takes none for newer than it is.
        self.inner.reached.send_replace(reached);
    }

    /// Nothing was missed up to there, and nothing of it changes what is published.
    pub fn reach(&self, reached: Revisions) {
        self.inner.reached.send_if_modified(|held| {
            let differs = **held != reached;
            if differs {
                *held = Arc::new(reached);
            }
            differs
        });
    }

    /// What is current.
    pub fn current(&self) -> Option<Arc<Publication>> {
        self.inner.current.borrow().clone()
    }

    /// The highest generation that a node has, and whenever that grows: the next publication must have a higher one.
    pub fn highest(&self) -> watch::Receiver<Generation> {
        self.inner.highest.subscribe()
    }

    /// Asks every node what its pods open, from here on; nobody any more if `None`.
    pub fn ask(&self, asked: Option<Asked>) {
        self.inner.asked.send_replace(asked);
    }

    /// How the nodes stand, and whenever that changes.
    pub fn standings(&self) -> watch::Receiver<BTreeMap<Arc<str>, Standing>> {
        self.inner.standings.subscribe()
    }

    /// Serves nodes until the future is dropped.
    ///
    /// `identity` is looked at for each connection, so that a renewed certificate is used at once. `registrar` answers
    /// nodes that have no certificate yet.
    pub async fn serve(
        &self,
        listener: TcpListener,
        identity: watch::Receiver<Arc<Identity>>,
        registrar: Option<Registrar>,
    ) {
        let (room, strangers) = (Arc::new(Semaphore::new(CONNECTIONS)), Places::of_strangers());
        loop {
            let Ok(permit) = Arc::clone(&room).acquire_owned().await else { return };
            let Ok((stream, from)) = listener.accept().await else {
                // Out of descriptors, most likely; do not spin.
                tokio::time::sleep(Duration::from_millis(50)).await;
                continue;
            };
            // It is closed, and may come again.
            let Some(stranger) = strangers.admit(from.ip()) else { continue };
            let config = identity.borrow().server();
            let (feed, registrar) = (self.clone(), registrar.clone());
            tokio::spawn(async move {
                if let Ok(config) = config {
                    feed.connection((stream, stranger), TlsAcceptor::from(Arc::new(config)), registrar).await;
                }
                drop(permit);
            });
        }
    }

    async fn connection(
        &self,
        (stream, stranger): (tokio::net::TcpStream, Place<IpAddr>),
        tls: TlsAcceptor,
        registrar: Option<Registrar>,
    ) {
        // An answer that cannot be sent tells nobody anything.
        let _ = stream.set_nodelay(true);
        let Ok(Ok(stream)) = tokio::time::timeout(GREETING, tls.accept(stream)).await else { return };
        let shown = stream.get_ref().1.peer_certificates().and_then(|chain| chain.first()).cloned();
        let (feed, is_known, from) = (self.clone(), shown.is_some(), *stranger.of());
        // Whoever shows a certificate is none any more; others are one to the end.
        let _stranger = (!is_known).then_some(stranger);
        let service = tower::service_fn(move |request: http::Request<hyper::body::Incoming>| {
            let (feed, shown, registrar) = (feed.clone(), shown.clone(), registrar.clone());
            async move { Ok::<_, Infallible>(feed.answer(request, from, shown, registrar).await) }
        });
        let [interval, patience] = ALIVE;
        let serving = http2::Builder::new(TokioExecutor::new())
            .timer(TokioTimer::new())
            .keep_alive_interval(interval)
            .keep_alive_timeout(patience)
            .max_concurrent_streams(STREAMS)
            .serve_connection(TokioIo::new(stream), TowerToHyperService::new(service));
        // Whoever it is, and whatever they ask: it ends, and somebody else has the room.
        let _ended = if is_known {
            serving.await.ok()
        } else {
            tokio::time::timeout(ENROLMENT, serving).await.ok().and_then(Result::ok)
        };
    }

    async fn answer(
        &self,
        request: http::Request<hyper::body::Incoming>,
        from: IpAddr,
        shown: Option<CertificateDer<'static>>,
        registrar: Option<Registrar>,
    ) -> http::Response<tonic::body::Body> {
        match (request.uri().path(), registrar) {
            (enrol::PATH, Some(registrar)) => return self.enrolment(request, from, registrar).await,
            (PATH, _) => {}
            _ => return Status::unimplemented("no such method").into_http(),
        }
        let Some(shown) = shown else {
            return Status::unauthenticated("a node must show a certificate").into_http();
        };
        let feed = self.clone();
        let follow = tower::service_fn(move |request: Request<Streaming<Report>>| {
            let (feed, shown) = (feed.clone(), shown.clone());
            async move { feed.follow(request.into_inner(), &shown).await }
        });
        tonic::server::Grpc::new(tonic_prost::ProstCodec::<Update, Report>::default())
            .max_decoding_message_size(MESSAGE_LIMIT)
            .max_encoding_message_size(MESSAGE_LIMIT)
            .streaming(follow, request)
            .await
    }

    async fn follow(
        &self,
        mut reports: Streaming<Report>,
        shown: &CertificateDer<'static>,
    ) -> Result<Response<ReceiverStream<Result<Update, Status>>>, Status> {
        let first = tokio::time::timeout(GREETING, reports.message()).await;
        let Ok(Ok(Some(Report { said: Some(Said::Hello(hello)) }))) = first else {
            return Err(Status::invalid_argument("a node must first say who it is"));
        };
        if !is_of(shown, &hello.node) {
            return Err(Status::permission_denied(format!(
                "the certificate is not that of node {}",
                hello.node
            )));
        }
        let mut session = Session::new(self.clone(), &hello)?;
        let (sender, receiver) = mpsc::channel(4);
        tokio::spawn(async move { session.run(reports, sender).await });
        Ok(Response::new(ReceiverStream::new(receiver)))
    }

    fn stand(&self, node: &Arc<str>, change: impl FnOnce(&mut Standing)) {
        self.inner.standings.send_if_modified(|all| {
            let standing = all.entry(node.clone()).or_default();
            let before = standing.clone();
            change(standing);
            *standing != before
        });
    }

    async fn enrolment(
        &self,
        request: http::Request<hyper::body::Incoming>,
        from: IpAddr,
        registrar: Registrar,
    ) -> http::Response<tonic::body::Body> {
        let feed = self.clone();
        let answer = tower::service_fn(move |request: Request<Enrolment>| {
            let Enrolment { token, signing_request, inspection_request, of_namespace } = request.into_inner();
            let of_cluster = (!inspection_request.is_empty())
                .then_some(InspectionRequest { of: Signer::Cluster, signing_request: inspection_request });
            let of_namespace = of_namespace.map(|it| {
                let of = Signer::Namespace(it.namespace.into());
                InspectionRequest { of, signing_request: it.signing_request }
            });
            let asked = enrol::Request { token, signing_request, inspection: of_namespace.or(of_cluster) };
            let (feed, registrar) = (feed.clone(), Arc::clone(&registrar));
            async move { feed.enrolled(asked, from, registrar).await.map(Response::new) }
        });
        tonic::server::Grpc::new(tonic_prost::ProstCodec::<Enrolled, Enrolment>::default())
            .max_decoding_message_size(enrol::LIMIT)
            .unary(answer, request)
            .await
    }

    /// Answers one that asks for a certificate, when it is its turn.
    async fn enrolled(
        &self,
        asked: enrol::Request,
        from: IpAddr,
        registrar: Registrar,
    ) -> Result<Enrolled, Status> {
        let full = || {
            Status::resource_exhausted(format!(
                "{ENROLLING_FROM} others ask for certificates from {from} now; ask again in a moment"
            ))
        };
        let _place = self.inner.asking.take(from).ok_or_else(full)?;
        let gone = |_| Status::unavailable("this controller ends");
        let _turn = self.inner.enrolling.acquire().await.map_err(gone)?;
        match tokio::time::timeout(ENROLMENT, registrar(asked)).await {
            Ok(Ok(Granted { certificate, inspection })) => {
                let (inspection, no_inspection) = match inspection {
                    Ok(chain) => (chain, String::new()),
                    Err(why) => (String::new(), why),
                };
                Ok(Enrolled { certificate, inspection, no_inspection })
            }
            Ok(Err(why)) => {
                tokio::time::sleep(REFUSED).await;
                Err(Status::permission_denied(why))
            }
            Err(_) => Err(Status::unavailable("nobody says whose token it is")),
        }
    }
}

/// One connected node.
struct Session {
    feed: Feed,
    node: Arc<str>,
    has: Has,
    /// The keys that it was given on this connection. `None`: none were yet, and what it has is not known.
    keys: Option<BTreeMap<SecretRef, ProviderKey>>,
    /// What it was told of detectors on this connection. `None`: nothing was yet.
    detection: Option<Vec<Tuning>>,
    revisions: Revisions,
    /// What it said that it has.
    claimed: Generation,
    /// Why it is not given what is published, if it is not.
    withheld: String,
    /// The last update sent, while the node has not said that it understood it.
    pending: Option<Generation>,
    /// The state the node was last brought to, and the last that changed anything for it.
    shown: Generation,
    changed: Generation,
    /// Which connection it is.
    connection: u64,
    /// What it was asked on this connection.
    asks: Asks,
    /// Accesses that it told of and nobody took.
    unheard: u64,
}

impl Session {
    fn new(feed: Feed, hello: &Hello) -> Result<Self, Status> {
        let (mut decoder, mut told) = (Decoder::default(), Vec::new());
        for held in &hello.has {
            let (Some(key), Ok(digest)) = (&held.key, held.digest.as_slice().try_into()) else { continue };
            let key = decoder.key(key).map_err(|error| Status::invalid_argument(error.to_string()))?;
            told.push((key, digest));
        }
        let node: Arc<str> = hello.node.as_str().into();
        let version = short(&hello.version);
        let mut has_room = true;
        feed.stand(&node, |standing| {
            let connections = standing.connections.saturating_add(1);
            has_room = connections <= OF_NODE;
            if has_room {
                *standing = Standing { version, connections, ..Standing::default() };
            }
        });
        if !has_room {
            return Err(Status::resource_exhausted(format!("node {node} has {OF_NODE} connections already")));
        }
        let zero = Generation(0);
        let connection = feed.inner.connections.fetch_add(1, Ordering::Relaxed);
        let revisions = hello.revisions.clone();
        Ok(Self {
            feed,
            node,
            has: told.into_iter().collect(),
            keys: None,
            detection: None,
            revisions,
            claimed: Generation(hello.generation),
            withheld: String::new(),
            pending: None,
            shown: zero,
            changed: zero,
            connection,
            asks: Asks::default(),
            unheard: 0,
        })
    }

    async fn run(&mut self, mut reports: Streaming<Report>, out: mpsc::Sender<Result<Update, Status>>) {
        let mut current = self.feed.inner.current.subscribe();
        let mut reaching = self.feed.inner.reached.subscribe();
        let mut asked = self.feed.inner.asked.subscribe();
        loop {
            if self.pending.is_none() {
                let reached = reaching.borrow_and_update().clone();
                let publication = current.borrow_and_update().clone();
                if let Some(publication) = &publication
                    && let Err(refused) = self.believe(publication)
                {
                    let _told = out.send(Err(refused)).await;
                    return;
                }
                self.note_withheld(publication.as_deref(), &reached);
                if let Some(publication) = publication.filter(|it| self.may_have(it, &reached))
                    && self.send(&publication, &out).await.is_err()
                {
                    return;
                }
            }
            let wanted = asked.borrow_and_update().clone();
            if self.ask(wanted.as_ref(), &out).await.is_err() {
                return;
            }
            tokio::select! {
                changed = current.changed() => if changed.is_err() { return },
                changed = reaching.changed(), if !self.withheld.is_empty() => if changed.is_err() { return },
                changed = asked.changed() => if changed.is_err() { return },
                report = reports.next() => match report {
                    Some(Ok(Report { said: Some(Said::Standing(standing)) })) => self.hear(&standing),
                    Some(Ok(Report { said: Some(Said::Accesses(accesses)) })) => {
                        self.pass_on(&accesses, wanted.as_ref());
                    }
                    Some(Ok(Report { said: Some(Said::Hello(_)) | None })) => {}
                    Some(Err(_)) | None => return,
                },
            }
        }
    }

    /// Asks the node what is wanted, where it was not asked that. Only once it has a state: an update cannot lead to none.
    async fn ask(
        &mut self,
        wanted: Option<&Asked>,
        out: &mpsc::Sender<Result<Update, Status>>,
    ) -> Result<(), ()> {
        let asks = wanted.map(|it| it.asks.clone()).unwrap_or_default();
        if asks == self.asks || self.shown == Generation(0) || is_gateway(&self.node) {
            return Ok(());
        }
        let update = Update {
            generation: self.changed.0,
            revisions: self.revisions.clone(),
            asks: Some(access::encode_asks(&asks)),
            ..Update::default()
        };
        self.asks = asks;
        out.send(Ok(update)).await.map_err(|_| ())
    }

    /// Hands on what the node saw, to whoever asked; what was asked by an earlier one is nobody's.
    fn pass_on(&mut self, sent: &crate::wire::Accesses, wanted: Option<&Asked>) {
        let Some(asked) = wanted.filter(|it| it.asks.number == sent.number) else { return };
        let mut accesses = access::decode_accesses(sent);
        accesses.lost = accesses.lost.saturating_add(self.unheard);
        let count = accesses.seen.iter().fold(accesses.lost, |sum, (_, count)| sum.saturating_add(*count));
        let told = Told { node: self.node.clone(), connection: self.connection, accesses };
        self.unheard = if asked.to.try_send(told).is_ok() { 0 } else { count };
    }

    /// Has whoever publishes go beyond what the node says that it has, if that can be true.
    fn believe(&self, publication: &Publication) -> Result<(), Status> {
        let (Generation(claimed), published) = (self.claimed, publication.generation);
        let known = publication.reached.values().copied().fold(published.0, u64::max);
        if claimed > known.saturating_add(AHEAD) {
            return Err(Status::failed_precondition(format!(
                "this node says that it has generation {claimed}, and {published} is published: nobody made so many; empty the \
                 folder of its agent's state (--state) and start the agent anew"
            )));
        }
        self.feed.inner.highest.send_if_modified(|highest| {
            let differs = *highest < self.claimed;
            *highest = self.claimed.max(*highest);
            differs
        });
        Ok(())
    }

    /// Whether it is newer than what the node has, in every kind of object that is read.
    fn may_have(&self, publication: &Publication, reached: &Revisions) -> bool {
        publication.generation > self.shown
            && publication.generation >= *self.feed.inner.highest.borrow()
            && self.ahead(publication, reached).is_none()
    }

    /// A kind of which the node has had more than was read, and both.
    fn ahead(&self, publication: &Publication, reached: &Revisions) -> Option<(&String, [u64; 2])> {
        self.revisions.iter().find_map(|(kind, had)| {
            let published = publication.reached.get(kind)?;
            let reached = reached.get(kind).copied().unwrap_or_default().max(*published);
            (reached < *had).then_some((kind, [*had, reached]))
        })
    }

    /// Has it be seen that a node is not given what is published, for it has had more.
    fn note_withheld(&mut self, publication: Option<&Publication>, reached: &Revisions) {
        let ahead = publication.and_then(|it| self.ahead(it, reached));
        let why = ahead.map(|(kind, [had, reached])| {
            let known = if reached == 0 {
                // The controller's own line says why: the API server may not serve them.
                "has read none of them".to_owned()
            } else {
                format!("knows them up to {reached}")
            };
            format!(
                "it has had {kind} up to revision {had}, and this controller {known}: it keeps what it has; where the \
                 API server came back from a backup, empty the folder of its agent's state (--state) and start the agent anew"
            )
        });
        let why = why.unwrap_or_default();
        if self.withheld != why {
            self.withheld.clone_from(&why);
            self.feed.stand(&self.node, |standing| standing.problem = why);
        }
    }

    async fn send(
        &mut self,
        publication: &Publication,
        out: &mpsc::Sender<Result<Update, Status>>,
    ) -> Result<(), ()> {
        let needs = publication.needs.of(&self.node);
        let first = self.shown == Generation(0);
        let mut messages = between(
            &publication.parts,
            &needs,
            &mut self.has,
            publication.generation,
            &publication.revisions,
        );
        self.shown = publication.generation;
        let keys = publication.needs.keys_of(&self.node);
        if self.keys.as_ref() != Some(&keys)
            && let Some(last) = messages.last_mut()
        {
            last.keys = Some(encode::keys(&keys));
            self.keys = Some(keys);
        }
        let detection = tunings(&publication.parts, &needs);
        if self.detection.as_ref() != Some(&detection)
            && let Some(last) = messages.last_mut()
        {
            last.detection = Some(encode::detection(detection.iter()));
            self.detection = Some(detection);
        }
        let is_empty = |update: &Update| {
            update.resources.is_empty()
                && update.gone.is_empty()
                && update.keys.is_none()
                && update.detection.is_none()
                && update.asks.is_none()
        };
        if !first && messages.iter().all(is_empty) {
            // The node need not hear of what is no change to it: what it enforces is this state too.
            self.note_current();
            return Ok(());
        }
        self.changed = publication.generation;
        self.pending = Some(publication.generation);
        self.revisions.clone_from(&publication.revisions);
        for message in messages {
            out.send(Ok(message)).await.map_err(|_| ())?;
        }
        Ok(())
    }

    fn hear(&mut self, said: &crate::wire::Standing) {
        if self.pending.is_some_and(|pending| pending.0 <= said.received) {
            self.pending = None;
        }
        let enforced = (said.enforced > 0).then_some(Generation(said.enforced));
        let (changed, shown) = (self.changed, self.shown);
        let problem = if self.withheld.is_empty() { &said.problem } else { &self.withheld };
        self.feed.stand(&self.node, |standing| {
            let is_current = enforced.is_some_and(|enforced| enforced >= changed);
            standing.enforced = if is_current { Some(shown) } else { enforced };
            standing.problem = short(problem);
            standing.endpoints = said.endpoints;
            standing.holds_pods = said.holds_pods;
        });
    }

    fn note_current(&self) {
        let (changed, shown) = (self.changed, self.shown);
        self.feed.stand(&self.node, |standing| {
            if standing.enforced.is_some_and(|enforced| enforced >= changed) {
                standing.enforced = Some(shown);
            }
        });
    }
}

/// A node's text, as much of it as is kept.
fn short(text: &str) -> String {
    text.chars().take(MOST_TEXT).collect()
}

/// What holds for detectors in the namespaces that a node needs.
fn tunings(parts: &Parts, needs: &BTreeSet<Key>) -> Vec<Tuning> {
    if parts.detection.is_empty() {
        return Vec::new();
    }
    let namespaces: BTreeSet<&str> =
        needs.iter().filter(|key| key.kind == Kind::Pod).map(|key| &*key.namespace).collect();
    parts.detection.iter().filter(|tuning| namespaces.contains(&*tuning.namespace)).cloned().collect()
}

impl Drop for Session {
    fn drop(&mut self) {
        let gone = |standing: &mut Standing| standing.connections = standing.connections.saturating_sub(1);
        self.feed.stand(&self.node, gone);
    }
}
