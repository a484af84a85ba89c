//! The central gateway's end: judges what nodes ask for, and connects their pods from its own address.
//!
//! Enters: TLS connections of nodes, and states of policy. Leaves: connections to servers, one record for each CONNECT.
//! Guarantees: who shows no certificate of a node of this cluster is not listened to; nothing is connected before policy was
//! received, nor against it; a change of policy cuts what it denies; a node that asks too much takes nobody else's place.
//! Told to drain it takes no new connections and streams (GOAWAY), and waits for those that are open, but not for ever.

use super::asked::{Asked, REASON};
use super::policies::Policies;
use super::tunnel::Tunnel;
use super::{CONNECTION_WINDOW, HEAD, SEND_BUFFER, STREAM_WINDOW, STREAMS, gone};
use crate::bounds::Bounds;
use crate::counters::{Counters, add};
use crate::decide::Judgement;
use crate::forward::socket_to;
use crate::http::Counted;
use crate::process::room;
use crate::reason::{End, Reason};
use crate::record::{Guard, Sink};
use crate::refuse::reset;
use crate::relay::idle;
use crate::serve::{Phase, drained, draining};
use feed::tls::{Identity, node_of};
use h2::RecvStream;
use h2::server::{Builder, SendResponse};
use http::{HeaderValue, Request, Response, StatusCode};
use hyper::body::Bytes;
use policy::Verdict;
use std::future::poll_fn;
use std::io;
use std::net::{IpAddr, Ipv4Addr, SocketAddr};
use std::sync::Arc;
use std::time::Duration;
use tokio::io::copy_bidirectional_with_sizes;
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::watch;
use tokio::task::JoinSet;
use tokio_rustls::{TlsAcceptor, server::TlsStream};

/// How long a node may take until it says who it is.
const GREETING: Duration = Duration::from_secs(10);
/// Connections from one address that did not say yet whose they are: nodes say so at once, and anybody may come.
const STRANGERS: usize = 128;
/// How long nobody is accepted after the kernel refused.
const PAUSE: Duration = Duration::from_millis(50);
/// How long a newer state of policy is waited for, where that may know better.
const BEHIND: Duration = Duration::from_secs(3);
/// Bytes that are copied at once, each way.
const PIECE: usize = 32 * 1024;
/// Streams that were reset and are remembered, of each side (h2 ends a connection that resets more at a time).
const RESETS: usize = 32;
/// Who asks for what cannot be read.
const NOBODY: SocketAddr = SocketAddr::new(IpAddr::V4(Ipv4Addr::UNSPECIFIED), 0);

/// Bounds and timeouts of a central gateway.
#[derive(Clone, Debug)]
pub struct CentralLimits {
    /// Connections of nodes at once, also those that did not say yet whose they are.
    pub connections: usize,
    /// Of these, of one node.
    pub connections_of_node: usize,
    /// Connections of pods at once.
    pub streams: usize,
    /// Of these, of one node.
    pub streams_of_node: usize,
    /// A server must answer within this.
    pub connect_timeout: Duration,
    /// A connection over which nothing passes for this long (at most twice as long) ends.
    pub idle_timeout: Duration,
    /// How long what is open is waited for when it must stop.
    pub drain_timeout: Duration,
}

impl CentralLimits {
    /// These, but no more connections than there are file descriptors for, after asking for all that this process may have.
    #[must_use]
    pub fn within_descriptors(self) -> Self {
        // Two sorts of connections, a socket each.
        let most = room(2);
        Self { connections: self.connections.min(most), streams: self.streams.min(most), ..self }
    }
}

impl Default for CentralLimits {
    fn default() -> Self {
        Self {
            connections: 16_384,
            connections_of_node: 2_048,
            streams: 50_000,
            streams_of_node: 20_000,
            connect_timeout: Duration::from_secs(5),
            idle_timeout: Duration::from_secs(3600),
            drain_timeout: Duration::from_secs(300),
        }
    }
}

/// A central egress gateway.
pub struct Central {
    policies: watch::Receiver<Option<Arc<Policies>>>,
    sink: Arc<dyn Sink>,
    counters: Arc<Counters>,
    limits: CentralLimits,
    phase: watch::Receiver<Phase>,
    greeting: Arc<Bounds<()>>,
    strangers: Arc<Bounds<IpAddr>>,
    connections: Arc<Bounds<Arc<str>>>,
    streams: Arc<Bounds<Arc<str>>>,
    stands_for: Option<SocketAddr>,
}

impl std::fmt::Debug for Central {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Central").field("limits", &self.limits).finish_non_exhaustive()
    }
}

/// What was asked, by whom, and the states of policy behind the one that allowed it.
struct Question<'a> {
    node: &'a str,
    asked: &'a Asked,
    policies: watch::Receiver<Option<Arc<Policies>>>,
}

type Connection = h2::server::Connection<TlsStream<TcpStream>, Bytes>;

impl Central {
    /// A gateway that judges by the latest policy and does as `phase` says.
    pub fn new(
        policies: watch::Receiver<Option<Arc<Policies>>>,
        sink: Arc<dyn Sink>,
        counters: Arc<Counters>,
        limits: CentralLimits,
        phase: watch::Receiver<Phase>,
    ) -> Self {
        let greeting = Bounds::new(limits.connections, limits.connections);
        let strangers = Bounds::new(limits.connections, STRANGERS);
        let connections = Bounds::new(limits.connections, limits.connections_of_node);
        let streams = Bounds::new(limits.streams, limits.streams_of_node);
        Self {
            policies,
            sink,
            counters,
            limits,
            phase,
            greeting,
            strangers,
            connections,
            streams,
            stands_for: None,
        }
    }

    /// Connects to `server` wherever it is asked to: for tests and benchmarks on one machine.
    #[must_use]
    pub fn standing_for(mut self, server: SocketAddr) -> Self {
        self.stands_for = Some(server);
        self
    }

    /// Serves nodes until told to drain, and then until the last connection ended or the time for that is over. `identity`
    /// is looked at for each connection. Dropping the future cuts every connection.
    pub async fn serve(self: Arc<Self>, listener: TcpListener, identity: watch::Receiver<Arc<Identity>>) {
        let mut phase = self.phase.clone();
        let mut open = JoinSet::new();
        loop {
            tokio::select! {
                biased;
                () = draining(&mut phase) => break,
                Some(_) = open.join_next() => {}
                accepted = listener.accept() => match accepted {
                    Ok((stream, from)) => {
                        let identity = Arc::clone(&identity.borrow());
                        open.spawn(Arc::clone(&self).connection(stream, from.ip(), identity));
                    }
                    Err(_) => {
                        add(&self.counters.accept_errors, 1);
                        tokio::time::sleep(PAUSE).await;
                    }
                },
            }
        }
        drop(listener);
        while open.join_next().await.is_some() {}
    }

    async fn connection(self: Arc<Self>, stream: TcpStream, from: IpAddr, identity: Arc<Identity>) {
        let Ok(stranger) = self.strangers.admit(from) else {
            add(&self.counters.accept_errors, 1);
            return;
        };
        let Ok(_greeting) = self.greeting.admit(()) else { return };
        let Some((mut connection, node)) = self.greet(stream, &identity).await else {
            add(&self.counters.accept_errors, 1);
            return;
        };
        // It is somebody's from here on.
        drop(stranger);
        let Ok(_place) = self.connections.admit(Arc::clone(&node)) else {
            add(&self.counters.accept_errors, 1);
            return;
        };
        let gone = gone(connection.ping_pong());
        let over = drained(self.phase.clone(), self.limits.drain_timeout);
        tokio::pin!(gone, over);
        let (mut phase, mut is_draining) = (self.phase.clone(), false);
        let (mut streams, places) = (JoinSet::new(), Arc::new(()));
        loop {
            tokio::select! {
                accepted = connection.accept() => match accepted {
                    Some(Ok((request, respond))) => {
                        let place = Arc::clone(&places);
                        streams.spawn(Arc::clone(&self).stream(Arc::clone(&node), request, respond, place));
                    }
                    Some(Err(_)) | None => break,
                },
                Some(_) = streams.join_next() => {}
                () = draining(&mut phase), if !is_draining => {
                    is_draining = true;
                    connection.graceful_shutdown();
                }
                () = &mut gone => break,
                () = &mut over => break,
            }
        }
        // Its streams find it gone.
        drop(connection);
        while streams.join_next().await.is_some() {}
    }

    /// Whose connection it is.
    async fn greet(&self, stream: TcpStream, identity: &Identity) -> Option<(Connection, Arc<str>)> {
        let tls = TlsAcceptor::from(Arc::new(identity.server_of_known().ok()?));
        stream.set_nodelay(true).ok()?;
        let greeting = async {
            let stream = tls.accept(stream).await.ok()?;
            let node = node_of(stream.get_ref().1.peer_certificates()?.first()?)?;
            let mut builder = Builder::new();
            builder
                .initial_window_size(STREAM_WINDOW)
                .initial_connection_window_size(CONNECTION_WINDOW)
                .max_concurrent_streams(STREAMS)
                .max_concurrent_reset_streams(RESETS)
                .max_pending_accept_reset_streams(RESETS)
                .max_send_buffer_size(SEND_BUFFER)
                .max_header_list_size(HEAD);
            Some((builder.handshake(stream).await.ok()?, node.into()))
        };
        tokio::time::timeout(GREETING, greeting).await.ok()?
    }

    /// One CONNECT from its head to its record.
    async fn stream(
        self: Arc<Self>,
        node: Arc<str>,
        request: Request<RecvStream>,
        mut respond: SendResponse<Bytes>,
        place: Arc<()>,
    ) {
        let (head, receive) = request.into_parts();
        let asked = Asked::read(&head);
        let (source, destination) = asked.as_ref().map_or((NOBODY, NOBODY), |it| (it.source, it.destination));
        let mut guard = Guard::new(Arc::clone(&self.sink), Arc::clone(&self.counters), source, destination);
        guard.asked_by(Arc::clone(&node), asked.as_ref().map_or(&[], |asked| &asked.names));
        let Some(asked) = asked else {
            return refuse(respond, &mut guard, StatusCode::BAD_REQUEST, Reason::ConnectMalformed);
        };
        let Ok(_slot) = self.streams.admit(Arc::clone(&node)) else {
            return refuse(respond, &mut guard, StatusCode::SERVICE_UNAVAILABLE, Reason::TooMany);
        };
        let opening = async {
            let mut policies = self.policies.clone();
            let judgement = self.judged(&node, &asked, &mut policies).await;
            guard.judged(&judgement);
            let reason = judgement.reason;
            match reason.verdict() {
                Verdict::Allow => Ok((self.connect(destination).await, policies)),
                Verdict::Deny => Err(reason),
            }
        };
        // Who took it back needs no connection.
        let opened = tokio::select! {
            opened = opening => opened,
            _ = poll_fn(|cx| respond.poll_reset(cx)) => return guard.ended(End::PodGone),
        };
        let (server, policies) = match opened {
            Ok((Ok(server), policies)) => (server, policies),
            Ok((Err(_), _)) => {
                guard.ended(End::Unreachable);
                return answer(respond, StatusCode::BAD_GATEWAY, None);
            }
            Err(Reason::NoPolicy) => {
                return refuse(respond, &mut guard, StatusCode::SERVICE_UNAVAILABLE, Reason::NoPolicy);
            }
            Err(reason) => return refuse(respond, &mut guard, StatusCode::FORBIDDEN, reason),
        };
        let Ok(send) = respond.send_response(Response::new(()), false) else {
            return guard.ended(End::PodGone);
        };
        let tunnel = Tunnel::new(send, receive, place);
        self.copied(Question { node: &node, asked: &asked, policies }, tunnel, server, &mut guard).await;
    }

    /// By the policy of now, or of a moment later where that may know better.
    async fn judged(
        &self,
        node: &str,
        asked: &Asked,
        policies: &mut watch::Receiver<Option<Arc<Policies>>>,
    ) -> Judgement {
        let end = tokio::time::Instant::now() + BEHIND;
        loop {
            let now = policies.borrow_and_update().clone();
            let Some(now) = now else { return Judgement::without_rule(Reason::NoPolicy) };
            let judgement = now.judge(node, asked);
            let is_last =
                judgement.reason.verdict() == Verdict::Allow || !now.may_be_behind(asked, &judgement);
            if is_last || !matches!(tokio::time::timeout_at(end, policies.changed()).await, Ok(Ok(()))) {
                return judgement;
            }
        }
    }

    async fn connect(&self, destination: SocketAddr) -> io::Result<TcpStream> {
        let to = self.stands_for.unwrap_or(destination);
        let connecting = socket_to(to, None)?.connect(to);
        match tokio::time::timeout(self.limits.connect_timeout, connecting).await {
            Ok(connected) => connected,
            Err(_) => Err(io::ErrorKind::TimedOut.into()),
        }
    }

    /// Copies until both sides are done, policy is against it, or time is over.
    async fn copied(
        &self,
        question: Question<'_>,
        mut tunnel: Tunnel,
        mut server: TcpStream,
        guard: &mut Guard,
    ) {
        let Question { node, asked, mut policies } = question;
        let mut counted = Counted::new(&mut server, Arc::clone(&guard.traffic), Arc::default());
        let denied = async {
            while policies.changed().await.is_ok() {
                let Some(now) = policies.borrow_and_update().clone() else { continue };
                let judgement = now.judge(node, asked);
                if judgement.reason.verdict() == Verdict::Deny {
                    return judgement.reason;
                }
            }
            std::future::pending().await
        };
        let (end, reason) = tokio::select! {
            copied = copy_bidirectional_with_sizes(&mut tunnel, &mut counted, PIECE, PIECE) => match copied {
                Ok(_) => (End::Closed, None),
                Err(_) => (End::ServerGone, None),
            },
            reason = denied => (End::Cut, Some(reason)),
            () = idle(&guard.traffic, self.limits.idle_timeout) => (End::Idle, None),
            () = drained(self.phase.clone(), self.limits.drain_timeout) => (End::Drained, None),
        };
        if end != End::Closed {
            // Neither side may take a broken connection for a complete one; a tunnel that is dropped says so itself.
            reset(&server);
        }
        guard.ended(end);
        if let Some(reason) = reason {
            guard.refused(reason);
        }
    }
}

fn refuse(respond: SendResponse<Bytes>, guard: &mut Guard, status: StatusCode, reason: Reason) {
    guard.refused(reason);
    guard.ended(End::Refused);
    answer(respond, status, Some(reason));
}

fn answer(mut respond: SendResponse<Bytes>, status: StatusCode, reason: Option<Reason>) {
    let mut answer = Response::new(());
    *answer.status_mut() = status;
    if let Some(reason) = reason {
        answer.headers_mut().insert(REASON, HeaderValue::from_static(reason.as_str()));
    }
    // Who asked may be gone.
    let _gone = respond.send_response(answer, true);
}
