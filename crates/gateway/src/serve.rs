//! One connection from accept to record, and many of them.

use crate::bounds::{Bounds, Slot};
use crate::central::{Failed, Pool};
use crate::counters::{Counters, add};
use crate::decide::{Awaits, Claim, Decision, Judge, Judgement, Opening, Permit, decide};
use crate::edges::Edges;
use crate::files::Files;
use crate::forward::Server;
use crate::front::{Caller, Resolve};
use crate::http::{self, Hold};
use crate::identify::Ends;
use crate::near::Near;
use crate::news::News;
use crate::parts::Uploads;
use crate::pinned::Pinned;
use crate::reason::{End, Reason};
use crate::record::{Guard, Sink};
use crate::referrals::{Referrals, Tenant};
use crate::refuse::Refused;
use crate::relay::Relay;
use crate::requests::{Handling, name_of};
use crate::server_gate::ServerGate;
use crate::settings::Limits;
use crate::{inspect, refuse};
use ::inspect::http_head::Host;
use nix::sys::socket::{setsockopt, sockopt};
use policy::{DnsName, Verdict, WhenUnopened};
use std::net::{IpAddr, SocketAddr, TcpListener};
use std::sync::Arc;
use std::time::{Duration, Instant};
use tokio::net::TcpStream;
use tokio::sync::watch;
use tokio::task::JoinSet;

/// How long nobody is accepted after the kernel refused: it is out of something that others must give back first.
const ACCEPT_PAUSE: Duration = Duration::from_millis(50);

/// What the proxy is told to do.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Phase {
    /// Grows when policy changed: open connections are judged again.
    pub changes: u64,
    /// Accept no more; wait for open connections, but not for ever.
    pub draining: bool,
    /// Do not wait for them at all.
    pub now: bool,
}

/// The proxy, shared by all its threads.
pub struct Gateway {
    pub(crate) judge: Arc<dyn Judge>,
    pub(crate) sink: Arc<dyn Sink>,
    pub(crate) counters: Arc<Counters>,
    pub(crate) limits: Limits,
    pub(crate) hold: Arc<Hold>,
    pub(crate) referrals: Arc<Referrals>,
    pub(crate) grants: Arc<Referrals>,
    pub(crate) files: Arc<Files>,
    pub(crate) edges: Arc<Edges>,
    pub(crate) uploads: Arc<Uploads>,
    pub(crate) pinned: Pinned,
    pub(crate) pool: Pool,
    bounds: Arc<Bounds<IpAddr>>,
    pub(crate) phase: watch::Receiver<Phase>,
    stands_for: Option<SocketAddr>,
    news: Arc<News>,
    resolver: Option<Arc<dyn Resolve>>,
}

/// What is known of a connection before it says anything: of a steered one nothing.
#[derive(Default)]
pub(crate) struct Approach {
    /// Bytes that came already.
    pub(crate) first: Vec<u8>,
    /// Its server, as far as it is there.
    pub(crate) server: Server,
    /// For whom it must be.
    pub(crate) name: Option<DnsName>,
}

/// Who comes to a listener.
#[derive(Clone, Copy, Debug)]
enum Door {
    /// Connections that the kernel steers.
    Steered,
    /// Clients of the explicit proxy.
    Front,
}

impl std::fmt::Debug for Gateway {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Gateway").field("limits", &self.limits).finish_non_exhaustive()
    }
}

impl Gateway {
    /// A proxy that judges with `judge` and does as `phase` says.
    pub fn new(
        judge: Arc<dyn Judge>,
        sink: Arc<dyn Sink>,
        counters: Arc<Counters>,
        limits: Limits,
        phase: watch::Receiver<Phase>,
    ) -> Self {
        let bounds = Bounds::new(limits.max_connections, limits.max_per_pod);
        let (hold, referrals, grants, files) = Default::default();
        let edges = Arc::new(Edges::new(Arc::clone(&counters)));
        let uploads = Arc::new(Uploads::new(Arc::clone(&counters)));
        let (pool, news) = (Pool::default(), Arc::default());
        Self {
            judge,
            sink,
            counters,
            limits,
            hold,
            referrals,
            grants,
            files,
            edges,
            uploads,
            pinned: Pinned::default(),
            pool,
            bounds,
            phase,
            stands_for: None,
            news,
            resolver: None,
        }
    }

    /// Connections were going to `destination`, whatever the kernel says: for listeners that nothing is steered to, in
    /// tests and benchmarks.
    #[must_use]
    pub fn standing_for(mut self, destination: SocketAddr) -> Self {
        self.stands_for = Some(destination);
        self
    }

    /// Somebody tells the judge what to judge by: what was told is waited for before anybody is refused.
    #[must_use]
    pub(crate) fn told_by(mut self, news: Arc<News>) -> Self {
        self.news = news;
        self
    }

    /// Who finds where names lead, for clients of the front door. Without one it leads nowhere.
    #[must_use]
    pub fn resolving(mut self, resolver: Arc<dyn Resolve>) -> Self {
        self.resolver = Some(resolver);
        self
    }

    pub(crate) fn resolver(&self) -> Option<&Arc<dyn Resolve>> {
        self.resolver.as_ref()
    }

    pub(crate) fn stands_for(&self) -> Option<SocketAddr> {
        self.stands_for
    }

    /// A place for a connection.
    pub(crate) fn admit(&self, caller: Caller) -> Result<Slot<IpAddr>, Reason> {
        self.bounds.admit(caller.pod.ip())
    }

    /// Returns when there is a state to judge by, or none will come.
    pub(crate) async fn has_state(&self) {
        let mut phase = self.phase.clone();
        let _told_or_alone = phase.wait_for(|phase| phase.changes > 0 || phase.draining).await;
    }

    /// The record of a connection that begins.
    pub(crate) fn guard(&self, pod: SocketAddr, destination: SocketAddr) -> Guard {
        Guard::new(self.sink.clone(), self.counters.clone(), pod, destination)
    }

    /// Serves listeners on the current runtime until told to drain, and then until the last connection ended or the
    /// time for that is over. Dropping the future cuts every connection.
    ///
    /// # Errors
    /// A listener cannot be registered with the runtime.
    pub async fn serve(self: Arc<Self>, listeners: Vec<TcpListener>) -> std::io::Result<()> {
        self.serve_both(listeners, Vec::new()).await
    }

    /// As [`Self::serve`], with listeners of the front door besides those that connections are steered to. Its clients are
    /// known by their address: nothing may come to these listeners but from pods of this node directly.
    ///
    /// # Errors
    /// A listener cannot be registered with the runtime.
    pub async fn serve_both(
        self: Arc<Self>,
        steered: Vec<TcpListener>,
        front: Vec<TcpListener>,
    ) -> std::io::Result<()> {
        let mut accepting = JoinSet::new();
        let steered = steered.into_iter().map(|listener| (listener, Door::Steered));
        for (listener, door) in steered.chain(front.into_iter().map(|listener| (listener, Door::Front))) {
            listener.set_nonblocking(true)?;
            // A relay writes what it has; connections inherit this from their listener.
            setsockopt(&listener, sockopt::TcpNoDelay, &true)?;
            let listener = tokio::net::TcpListener::from_std(listener)?;
            accepting.spawn(self.clone().accept(listener, door));
        }
        while accepting.join_next().await.is_some() {}
        Ok(())
    }

    async fn accept(self: Arc<Self>, listener: tokio::net::TcpListener, door: Door) {
        let mut phase = self.phase.clone();
        let mut open = JoinSet::new();
        loop {
            tokio::select! {
                biased;
                () = draining(&mut phase) => break,
                Some(_) = open.join_next() => {}
                accepted = listener.accept() => match accepted {
                    Ok((stream, pod)) => { open.spawn(self.clone().connection(stream, pod, door)); }
                    Err(_) => {
                        add(&self.counters.accept_errors, 1);
                        tokio::time::sleep(ACCEPT_PAUSE).await;
                    }
                },
            }
        }
        // Others hold the same listener: what waits in it is for them.
        drop(listener);
        while open.join_next().await.is_some() {}
    }

    async fn connection(self: Arc<Self>, stream: TcpStream, pod: SocketAddr, door: Door) {
        let Ok(mut ends) = Ends::of(&stream, pod) else {
            add(&self.counters.accept_errors, 1);
            return;
        };
        match door {
            Door::Steered => {}
            Door::Front => {
                let caller = Caller { pod: ends.pod, listener: ends.destination };
                return Box::pin(self.front(stream, caller)).await;
            }
        }
        ends.destination = self.stands_for.unwrap_or(ends.destination);
        let mut guard = self.guard(ends.pod, ends.destination);
        let slot = match self.bounds.admit(ends.pod.ip()) {
            Ok(slot) => slot,
            Err(reason) => {
                refuse::reset(&stream);
                guard.refused(reason);
                guard.ended(End::Refused);
                return;
            }
        };
        let refused = self.judged(stream.into(), ends, Approach::default(), &mut guard).await;
        // The record does not wait for the client to take its answer; the place does.
        drop(guard);
        if let Some(refused) = refused {
            refuse::tell(refused).await;
        }
        drop::<Slot<_>>(slot);
    }

    /// Judges a connection and forwards it; returns it if it was refused, to be told.
    pub(crate) async fn judged(
        &self,
        mut stream: Near,
        ends: Ends,
        approach: Approach,
        guard: &mut Guard,
    ) -> Option<Refused> {
        let Approach { first, server, name } = approach;
        let opened = if self.judge.needs_claim(ends.pod.ip(), ends.destination) {
            let silence = self.judge.may_be_silent(ends.destination.port()).then_some(self.limits.silence);
            let mut opened = tokio::select! {
                opened = inspect::read(&mut stream, first, self.limits.header_timeout, silence) => opened,
                () = self.drained() => {
                    guard.ended(End::Drained);
                    return None;
                }
            };
            let only = || name.clone().or_else(|| self.judge.only_name(ends.pod.ip(), ends.destination));
            if opened.is_http2()
                && let Some(only) = only()
            {
                opened.is_for(only);
            }
            guard.claims(&opened.claim);
            opened
        } else {
            inspect::unread(first)
        };
        let opening =
            Opening { pod: ends.pod.ip(), destination: ends.destination, claim: opened.claim.clone() };
        // From here on a change of policy must be noticed, also one during the judgement.
        let mut phase = self.phase.clone();
        phase.mark_unchanged();
        let decision = match &name {
            Some(name) if is_for_another(&opened.claim, name) => {
                Decision::Refuse(Judgement::without_rule(Reason::TunnelName))
            }
            Some(_) | None => self.decided(opening).await,
        };
        match decision {
            Decision::Refuse(judgement) => {
                guard.judged(&judgement);
                guard.ended(End::Refused);
                Some(Refused { stream, claim: opened.claim, judgement })
            }
            Decision::Permit(permit) => {
                guard.judged(permit.judgement());
                match permit.judgement().handling {
                    // Passed on, nobody would hold its requests to the name.
                    Handling::Pass if opened.is_http2() && name_of(&opened.claim).is_some() => {
                        guard.refused(Reason::HttpTunnel);
                        guard.ended(End::Refused);
                        let reason = Reason::HttpTunnel;
                        let judgement = Judgement { reason, ..permit.judgement().clone() };
                        Some(Refused { stream, claim: opened.claim, judgement })
                    }
                    Handling::Pass => {
                        Box::pin(self.permitted(stream, (opened, server), &permit, phase, guard)).await
                    }
                    Handling::Open if self.is_led_to(&permit) && self.is_left_unopened(&permit) => {
                        guard.refused(Reason::PassedUnopened);
                        Box::pin(self.permitted(stream, (opened, server), &permit, phase, guard)).await
                    }
                    Handling::Open => {
                        let opening =
                            http::Opening { stream, opened, permit: &permit, phase, server, front: None };
                        Box::pin(self.open(opening, guard)).await
                    }
                }
            }
        }
    }

    /// Decides, by all that was told until now.
    async fn decided(&self, opening: Opening) -> Decision {
        match decide(self.judge.as_ref(), opening.clone()) {
            Decision::Refuse(_) if self.news.heard().await => decide(self.judge.as_ref(), opening),
            decision @ (Decision::Permit(_) | Decision::Refuse(_)) => decision,
        }
    }

    /// Whether a connection that would be opened passes unread: its rule lets it, and clients of its pod said that they
    /// do not believe us.
    fn is_left_unopened(&self, permit: &Permit) -> bool {
        let Some((pod, name)) = passable(permit) else { return false };
        self.pinned.is(Tenant::of(self.judge.as_ref(), pod), name, Instant::now())
    }

    /// Whether a connection may reach its server: where that is only for what an answer led to, one must have led there.
    pub(crate) fn is_led_to(&self, permit: &Permit) -> bool {
        let Opening { pod, destination, claim } = permit.opening();
        let named = match permit.judgement().awaits {
            Awaits::Nothing => return true,
            Awaits::Referral => &self.referrals,
            Awaits::Grant => &self.grants,
        };
        let tenant = Tenant::of(self.judge.as_ref(), *pod);
        let is_named = |name| named.is_host_named(tenant, name, destination.port(), Instant::now());
        name_of(claim).is_some_and(is_named)
    }

    async fn permitted(
        &self,
        stream: Near,
        (mut opened, server): (inspect::Opened, Server),
        permit: &Permit,
        phase: watch::Receiver<Phase>,
        guard: &mut Guard,
    ) -> Option<Refused> {
        let first = match opened.first_bytes() {
            Ok(first) => first,
            Err(reason) => {
                guard.refused(reason);
                guard.ended(End::Refused);
                stream.reset();
                return None;
            }
        };
        let connected = tokio::select! {
            // Boxed: its room is not kept for as long as the connection lives.
            connected = Box::pin(self.server(permit, server, guard)) => connected,
            () = self.drained() => {
                guard.ended(End::Drained);
                return None;
            }
        };
        let server = match connected {
            Ok(server) => server,
            Err(Failed::Unreachable | Failed::Silent) => {
                stream.reset();
                guard.ended(End::Unreachable);
                return None;
            }
            Err(Failed::Refused(reason)) => {
                guard.refused(reason);
                guard.ended(End::Refused);
                let judgement = Judgement { reason, ..permit.judgement().clone() };
                return Some(Refused { stream, claim: opened.claim, judgement });
            }
        };
        let is_unopened = permit.judgement().handling == Handling::Open;
        let relay = Relay {
            pod: stream,
            server,
            gate: opened.gate,
            server_gate: self.server_gate(permit),
            ceiling: permit.judgement().ceiling,
            upload: permit.judgement().upload.as_deref(),
            traffic: &guard.traffic,
            splice_after: self.limits.splice_after,
            idle: self.limits.idle_timeout,
        };
        let (end, cut) = relay.run(first, self.stopped(permit, is_unopened, (phase, guard))).await;
        guard.ended(end);
        if let Some(reason) = cut {
            guard.refused(reason);
        }
        None
    }

    /// What the server's answer must show: only a name in TLS comes with a certificate.
    fn server_gate(&self, permit: &Permit) -> ServerGate {
        let Claim::Tls(hello) = &permit.opening().claim else { return ServerGate::open() };
        match &hello.sni {
            Some(name)
                if permit.judgement().reason == Reason::NameAllowed && self.judge.checks_certificates() =>
            {
                ServerGate::awaiting(name, hello)
            }
            Some(_) | None => ServerGate::open(),
        }
    }

    /// Returns when an open connection must end: it was waited for long enough, policy changed against it, the account that it
    /// draws on is used up, or who opened it is nobody any more. `is_unopened`: it passes unread though its rule looks at requests.
    pub(crate) async fn stopped(
        &self,
        permit: &Permit,
        is_unopened: bool,
        (mut phase, guard): (watch::Receiver<Phase>, &Guard),
    ) -> Result<End, Reason> {
        let judged_again = async {
            while phase.changed().await.is_ok() {
                let permitted = permit.judgement();
                let still = self.judge.still(permit.opening(), permitted);
                if still.reason.verdict() == Verdict::Deny {
                    return still.reason;
                }
                let was_read = permitted.handling == Handling::Open && !is_unopened;
                let may_be_unread = is_unopened && still.when_unopened == WhenUnopened::Pass;
                if still.handling == Handling::Open && !was_read && !may_be_unread {
                    return Reason::Unread;
                }
                // What it sends is counted as it was when it was opened.
                if !permitted.limits_as(&still.ceiling, still.has_budget()) {
                    return Reason::LimitsChanged;
                }
            }
            std::future::pending().await
        };
        let used_up = async {
            match &permit.judgement().upload {
                Some(upload) => upload.over().await,
                None => std::future::pending().await,
            }
        };
        tokio::select! {
            reason = judged_again => Err(reason),
            reason = used_up => Err(reason),
            reason = guard.over() => Err(reason),
            () = self.drained() => Ok(End::Drained),
        }
    }

    /// Returns when draining took as long as it may.
    pub(crate) async fn drained(&self) {
        drained(self.phase.clone(), self.limits.drain_timeout).await;
    }
}

/// Of a connection whose rule passes what cannot be opened, its pod and the name in its TLS.
pub(crate) fn passable(permit: &Permit) -> Option<(IpAddr, &DnsName)> {
    let opening = permit.opening();
    match (permit.judgement().when_unopened, &opening.claim) {
        (WhenUnopened::Pass, Claim::Tls(hello)) => Some((opening.pod, hello.sni.as_ref()?)),
        (WhenUnopened::Pass | WhenUnopened::Deny, _) => None,
    }
}

/// Returns when draining took as long as it may.
pub(crate) async fn drained(mut phase: watch::Receiver<Phase>, longest: Duration) {
    draining(&mut phase).await;
    let told = async {
        if phase.wait_for(|phase| phase.now).await.is_err() {
            std::future::pending().await
        }
    };
    tokio::select! {
        () = tokio::time::sleep(longest) => {}
        () = told => {}
    }
}

/// Whether a connection says that it is for somebody else.
fn is_for_another(claim: &Claim, name: &DnsName) -> bool {
    match claim {
        Claim::Tls(hello) => hello.sni.as_ref().is_some_and(|sni| sni != name),
        Claim::Http { host: Host::Name(host), .. } => host != name,
        Claim::Http { host: Host::Address(_), .. } => true,
        Claim::Opaque | Claim::Unreadable(_) => false,
    }
}

/// Returns when told to drain, also by the teller's end.
pub(crate) async fn draining(phase: &mut watch::Receiver<Phase>) {
    let _told_or_alone = phase.wait_for(|phase| phase.draining).await;
}
