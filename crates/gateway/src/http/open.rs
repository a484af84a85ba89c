//! Opens a permitted connection: TLS at both ends if it speaks that, then HTTP, until it ends or is cut.

use super::request::Exchange;
use super::serve::{Outcome, Serving, serve, unused};
use super::sessions::Session;
use super::socket::{Counted, Cut, Socket, Stream};
use super::tasks::Owner;
use super::upstream::Upstream;
use crate::central::Failed;
use crate::decide::{Claim, Judgement, Permit};
use crate::forward::{Server, Way};
use crate::inspect::Opened;
use crate::near::Near;
use crate::reason::{End, Reason};
use crate::record::{Guard, Traffic};
use crate::referrals::Tenant;
use crate::refuse::Refused;
use crate::relay::idle;
use crate::requests::name_of;
use crate::serve::{Gateway, Phase, draining, passable};
use crate::tls::{Inspector, Speech, Unbelieved};
use policy::DnsName;
use std::net::SocketAddr;
use std::sync::atomic::AtomicBool;
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};
use tokio::sync::{Notify, watch};

/// How long a server has to hear that its connection is over.
const FAREWELL: Duration = Duration::from_secs(1);

/// A connection to be opened.
pub(crate) struct Opening<'a> {
    pub(crate) stream: Near,
    pub(crate) opened: Opened,
    pub(crate) permit: &'a Permit,
    pub(crate) phase: watch::Receiver<Phase>,
    /// Its server, as far as it is there.
    pub(crate) server: Server,
    /// Of a request to the explicit proxy, for whom it is where its claim names nobody.
    pub(crate) front: Option<Front>,
}

/// A request to the explicit proxy, which is the only one on its connection.
pub(crate) struct Front {
    pub(crate) name: Option<DnsName>,
}

/// Whose connection it is, and what ends it.
struct Parties<'a> {
    /// Where it comes from, and the id in the certificate of who came by itself.
    from: (SocketAddr, Option<Arc<str>>),
    name: &'a DnsName,
    permit: &'a Permit,
    /// What passes to and from its server, by whichever connection.
    traffic: Arc<Traffic>,
    /// The mark on what is sent there.
    mark: u32,
    cut: Arc<Cut>,
    is_clean: Arc<AtomicBool>,
    /// Whether the first connection to its server was put aside.
    is_put_aside: Arc<AtomicBool>,
    tasks: Owner,
    /// Told when the server's side ended.
    gone: Arc<Notify>,
    /// There is one request only.
    is_single: bool,
    /// It came by the explicit proxy.
    explicit: bool,
    /// What it speaks where that is not TLS.
    in_clear: Speech,
}

impl Parties<'_> {
    /// Whether each connection to its server proves whose it is.
    fn is_tls(&self) -> bool {
        matches!(self.permit.opening().claim, Claim::Tls(_))
    }

    /// The server's side, as it is counted.
    fn counted(&self, server: Way, is_put_aside: &Arc<AtomicBool>) -> Counted<Socket<Way>> {
        let Judgement { ceiling, upload, .. } = self.permit.judgement();
        let mut inner = Socket::new(server, Vec::new(), &self.is_clean);
        inner.is_put_aside = Arc::clone(is_put_aside);
        let mut counted = Counted::new(inner, Arc::clone(&self.traffic), Arc::clone(&self.cut));
        (counted.ceiling, counted.upload) = (*ceiling, upload.clone());
        counted
    }

    async fn upstream(&self, server: impl Stream + 'static, speech: Speech) -> Result<Upstream, Reason> {
        let (gone, is_put_aside) = (Arc::clone(&self.gone), Arc::clone(&self.is_put_aside));
        let opened = Upstream::open(server, speech, &self.tasks.0, gone, is_put_aside).await;
        opened.map_err(|_| Reason::ServerHandshake)
    }
}

impl Gateway {
    /// Opens a connection and answers its requests; returns it if it was refused after all, to be told.
    pub(crate) async fn open(&self, opening: Opening<'_>, guard: &mut Guard) -> Option<Refused> {
        let Opening { stream, opened, permit, phase, server, front } = opening;
        let inspector = self.judge.inspector(permit.opening().pod);
        let name = name_of(&permit.opening().claim).or_else(|| front.as_ref()?.name.as_ref());
        let lacks = match (&opened.claim, name) {
            (_, None) => Some(Reason::NotHttp),
            (Claim::Tls(_), Some(_)) if inspector.is_none() => Some(Reason::NoAuthority),
            (_, Some(_)) => None,
        };
        let (Some(name), None) = (name, lacks) else {
            let reason = lacks.unwrap_or(Reason::NotHttp);
            guard.refused(reason);
            guard.ended(End::Refused);
            let judgement = Judgement { reason, ..permit.judgement().clone() };
            return Some(Refused { stream, claim: opened.claim, judgement });
        };
        let mark = server.mark(self.limits.front_mark);
        let connected = tokio::select! {
            // Boxed: its room is not kept for as long as the connection lives.
            connected = Box::pin(self.reached(permit, server, guard)) => connected,
            () = self.drained() => {
                guard.ended(End::Drained);
                return None;
            }
        };
        let (cut, is_clean) = (Arc::new(Cut::default()), Arc::new(AtomicBool::new(false)));
        let in_clear = if opened.is_http2() { Speech::Http2 } else { Speech::Unsaid };
        let client = Socket::new(stream, opened.bytes, &is_clean);
        let (tasks, gone) = (Owner::default(), Arc::new(Notify::new()));
        let (is_single, explicit) = (front.is_some(), guard.is_explicit());
        let cut_here = Arc::clone(&cut);
        let parties = Parties {
            from: (guard.pod(), guard.asker()),
            name,
            permit,
            traffic: Arc::clone(&guard.traffic),
            mark,
            cut: cut_here,
            is_clean,
            is_put_aside: Arc::default(),
            tasks,
            gone,
            is_single,
            explicit,
            in_clear,
        };
        let server = connected.map(|server| parties.counted(server, &parties.is_put_aside));
        let (end, reason) = tokio::select! {
            biased;
            reason = cut.wait() => (End::Cut, Some(reason)),
            outcome = self.requests(client, server, &parties, inspector) => outcome,
            () = idle(&guard.traffic, self.limits.idle_timeout) => (End::Idle, None),
            stopped = self.stopped(permit, false, (phase, guard)) => match stopped {
                Ok(end) => (end, None),
                Err(reason) => (End::Cut, Some(reason)),
            },
        };
        // It may have ended by being cut.
        let (end, reason) = cut.reason().map_or((end, reason), |reason| (End::Cut, Some(reason)));
        let end = if reason == Some(Reason::ServerUnreachable) { End::Unreachable } else { end };
        guard.ended(end);
        if let Some(reason) = reason {
            guard.refused(reason);
        }
        None
    }

    /// The way to the server; or why there is none, which the client is told inside.
    async fn reached(&self, permit: &Permit, server: Server, guard: &mut Guard) -> Result<Way, Reason> {
        if !self.is_led_to(permit) {
            return Err(Reason::NotReferred);
        }
        self.server(permit, server, guard).await.map_err(unreached)
    }

    /// Takes requests until there are no more.
    async fn requests(
        &self,
        client: Socket<Near>,
        server: Result<Counted<Socket<Way>>, Reason>,
        parties: &Parties<'_>,
        inspector: Option<Arc<Inspector>>,
    ) -> Outcome {
        let (limits, name) = (&self.limits, parties.name);
        let Claim::Tls(hello) = &parties.permit.opening().claim else {
            let upstream = match server {
                Ok(server) => Box::pin(parties.upstream(server, parties.in_clear)).await,
                Err(reason) => Err(reason),
            };
            let refused = upstream.as_ref().err().copied();
            let outcome = Box::pin(self.answered(client, parties.in_clear, upstream, parties)).await;
            return refused.map_or(outcome, |reason| (End::Refused, Some(reason)));
        };
        let Some(inspector) = inspector else { return (End::Refused, Some(Reason::NoAuthority)) };
        let connected = match server {
            Ok(server) => {
                let late = Reason::ServerHandshake;
                // Boxed, as all that is over soon: its room is not kept for as long as the connection lives.
                within(limits.connect_timeout, Box::pin(inspector.connect(server, name, &hello.alpn)), late)
                    .await
            }
            Err(reason) => Err(reason),
        };
        let (upstream, speech) = match connected {
            Ok((server, speech)) => (Box::pin(parties.upstream(server, speech)).await, speech),
            // The client is told inside.
            Err(reason) => (Err(reason), Speech::first_of(&hello.alpn)),
        };
        let refused = upstream.as_ref().err().copied();
        let accepting = Box::pin(inspector.accept(client, speech));
        let client = match within(limits.header_timeout, accepting, Unbelieved::Late).await {
            Ok(client) => client,
            Err(why) => {
                self.heard(parties.permit, Err(why));
                return (End::Refused, refused.or(Some(why.reason())));
            }
        };
        self.heard(parties.permit, Ok(()));
        let outcome = Box::pin(self.answered(client, speech, upstream, parties)).await;
        refused.map_or(outcome, |reason| (End::Refused, Some(reason)))
    }

    /// Remembers whether a client let itself be opened, where its rule asks.
    fn heard(&self, permit: &Permit, shaken: Result<(), Unbelieved>) {
        let Some((pod, name)) = passable(permit) else { return };
        let pod = Tenant::of(self.judge.as_ref(), pod);
        match shaken {
            Ok(()) => self.pinned.took(pod, name, Instant::now()),
            Err(Unbelieved::Said) => self.pinned.refused(pod, name, Instant::now()),
            // Who goes without a word may have any cause.
            Err(Unbelieved::Gone | Unbelieved::Otherwise | Unbelieved::Late) => {}
        }
    }

    fn exchange(&self, parties: &Parties<'_>, upstream: Result<Upstream, Reason>) -> Arc<Exchange> {
        let opening = parties.permit.opening().clone();
        Arc::new(Exchange {
            judge: Arc::clone(&self.judge),
            sink: Arc::clone(&self.sink),
            counters: Arc::clone(&self.counters),
            hold: self.hold.share(opening.pod),
            referrals: Arc::clone(&self.referrals),
            grants: Arc::clone(&self.grants),
            files: Arc::clone(&self.files),
            edges: Arc::clone(&self.edges),
            uploads: Arc::clone(&self.uploads),
            tasks: parties.tasks.0.clone(),
            from: parties.from.clone(),
            // Who it is now: a connection may outlive its pod's tenancy.
            tenant: Tenant::of(self.judge.as_ref(), opening.pod),
            opening,
            name: parties.name.clone(),
            upstream,
            is_answered: AtomicBool::new(false),
            ledger: Arc::default(),
            tunnel: Mutex::default(),
            is_single: parties.is_single,
            explicit: parties.explicit,
        })
    }

    /// Answers requests until the client, the server or the proxy is done.
    async fn answered(
        &self,
        client: impl Stream + 'static,
        speech: Speech,
        upstream: Result<Upstream, Reason>,
        parties: &Parties<'_>,
    ) -> Outcome {
        let mut phase = self.phase.clone();
        let last = async {
            tokio::select! {
                () = parties.gone.notified() => {}
                () = draining(&mut phase) => {}
            }
        };
        let how = Serving {
            head_within: self.limits.header_timeout,
            rest_after: self.limits.rest_after,
            http2_idle: if parties.is_tls() { self.limits.http2_idle } else { self.limits.http2_rest_after },
            cut: &parties.cut,
            is_clean: &parties.is_clean,
        };
        let exchange = self.exchange(parties, upstream);
        let reopens = self.reopens(Arc::clone(&exchange), parties);
        let outcome = tokio::select! {
            biased;
            outcome = serve(client, speech, exchange, how, last) => outcome,
            outcome = reopens => outcome,
        };
        if outcome.0 == End::Closed {
            // Who does not hear it in time sees the socket close.
            let _heard = tokio::time::timeout(FAREWELL, parties.tasks.0.finish()).await;
        }
        outcome
    }
}

impl Gateway {
    /// Ends a connection to the server that nobody uses, and opens further ones where there is a request again or the one before takes
    /// no more, for as long as the client's lasts: it does not return.
    async fn reopens(&self, exchange: Arc<Exchange>, parties: &Parties<'_>) -> Outcome {
        let Ok(Upstream::Http2(sessions)) = &exchange.upstream else { return std::future::pending().await };
        loop {
            tokio::select! {
                () = sessions.wanted() => {}
                () = unused(self.limits.http2_rest_after, &exchange.ledger), if parties.is_tls() => {
                    sessions.put_aside();
                    sessions.wanted().await;
                }
            }
            // Boxed: its room is not kept for as long as the connection lives.
            let next = Box::pin(self.reopened(parties)).await;
            if next.is_err() {
                // There is no way for what its client asks next.
                parties.gone.notify_one();
            }
            sessions.came(next);
        }
    }

    /// Connects as the first time: the same way, to a server that proves the same name, within the same limits.
    async fn reopened(&self, parties: &Parties<'_>) -> Result<Session, Reason> {
        let Parties { permit, tasks, gone, .. } = parties;
        if !self.is_led_to(permit) {
            return Err(Reason::NotReferred);
        }
        let longest = self.limits.connect_timeout;
        let dialled = self.dial(permit, (longest, parties.mark), parties.from.0).await;
        let (way, _) = dialled.map_err(unreached)?;
        let (is_put_aside, gone) = (Arc::default(), Arc::clone(gone));
        let server = parties.counted(way, &is_put_aside);
        let opened = match &permit.opening().claim {
            Claim::Tls(hello) => {
                let inspector = self.judge.inspector(permit.opening().pod).ok_or(Reason::NoAuthority)?;
                let connecting = inspector.connect(server, parties.name, &hello.alpn);
                let (server, speech) = within(longest, connecting, Reason::ServerHandshake).await?;
                match speech {
                    Speech::Http2 => Session::open(server, &tasks.0, gone, is_put_aside).await,
                    // Requests are written for HTTP/2 already.
                    Speech::Unsaid | Speech::Http1 => return Err(Reason::ServerHandshake),
                }
            }
            Claim::Http { .. } | Claim::Opaque | Claim::Unreadable(_) => {
                Session::open(server, &tasks.0, gone, is_put_aside).await
            }
        };
        opened.map_err(|_| Reason::ServerHandshake)
    }
}

/// Why there is no connection to a server.
fn unreached(failed: Failed) -> Reason {
    match failed {
        Failed::Unreachable | Failed::Silent => Reason::ServerUnreachable,
        Failed::Refused(reason) => reason,
    }
}

async fn within<T, E>(time: Duration, shaking: impl Future<Output = Result<T, E>>, late: E) -> Result<T, E> {
    tokio::time::timeout(time, shaking).await.unwrap_or(Err(late))
}
