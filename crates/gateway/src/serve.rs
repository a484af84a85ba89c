//! One connection from accept to record, and many of them.

use crate::bounds::{Bounds, Slot};
use crate::counters::{Counters, add};
use crate::decide::{Claim, Decision, Judge, Opening, Permit, decide};
use crate::edges::Edges;
use crate::files::Files;
use crate::http::{self, Hold};
use crate::identify::Ends;
use crate::reason::{End, Reason};
use crate::record::{Guard, Sink};
use crate::referrals::Referrals;
use crate::refuse::Refused;
use crate::relay::Relay;
use crate::requests::Handling;
use crate::server_gate::ServerGate;
use crate::settings::Limits;
use crate::{forward, inspect, refuse};
use nix::sys::socket::{setsockopt, sockopt};
use policy::Verdict;
use std::net::{SocketAddr, TcpListener};
use std::sync::Arc;
use std::time::Duration;
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
    pub(crate) files: Arc<Files>,
    pub(crate) edges: Arc<Edges>,
    bounds: Arc<Bounds>,
    pub(crate) phase: watch::Receiver<Phase>,
    stands_for: Option<SocketAddr>,
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
        let (hold, referrals, files) = (Arc::default(), Arc::default(), Arc::default());
        let edges = Arc::new(Edges::new(Arc::clone(&counters)));
        Self { judge, sink, counters, limits, hold, referrals, files, edges, bounds, phase, stands_for: None }
    }

    /// Connections were going to `destination`, whatever the kernel says: for listeners that nothing is steered to, in
    /// tests and benchmarks.
    #[must_use]
    pub fn standing_for(mut self, destination: SocketAddr) -> Self {
        self.stands_for = Some(destination);
        self
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
        let mut accepting = JoinSet::new();
        for listener in listeners {
            listener.set_nonblocking(true)?;
            // A relay writes what it has; connections inherit this from their listener.
            setsockopt(&listener, sockopt::TcpNoDelay, &true)?;
            let listener = tokio::net::TcpListener::from_std(listener)?;
            accepting.spawn(self.clone().accept(listener));
        }
        while accepting.join_next().await.is_some() {}
        Ok(())
    }

    async fn accept(self: Arc<Self>, listener: tokio::net::TcpListener) {
        let mut phase = self.phase.clone();
        let mut open = JoinSet::new();
        loop {
            tokio::select! {
                biased;
                () = draining(&mut phase) => break,
                Some(_) = open.join_next() => {}
                accepted = listener.accept() => match accepted {
                    Ok((stream, pod)) => { open.spawn(self.clone().connection(stream, pod)); }
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

    async fn connection(self: Arc<Self>, stream: TcpStream, pod: SocketAddr) {
        let Ok(mut ends) = Ends::of(&stream, pod) else {
            add(&self.counters.accept_errors, 1);
            return;
        };
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
        let refused = self.judged(stream, ends, &mut guard).await;
        // The record does not wait for the client to take its answer; the place does.
        drop(guard);
        if let Some(refused) = refused {
            refuse::tell(refused).await;
        }
        drop::<Slot>(slot);
    }

    /// Judges a connection and forwards it; returns it if it was refused, to be told.
    async fn judged(&self, mut stream: TcpStream, ends: Ends, guard: &mut Guard) -> Option<Refused> {
        let opened = if self.judge.needs_claim(ends.pod.ip(), ends.destination) {
            let silence = self.judge.may_be_silent(ends.destination.port()).then_some(self.limits.silence);
            let opened = tokio::select! {
                opened = inspect::read(&mut stream, self.limits.header_timeout, silence) => opened,
                () = self.drained() => {
                    guard.ended(End::Drained);
                    return None;
                }
            };
            guard.claims(&opened.claim);
            opened
        } else {
            inspect::unread()
        };
        let opening =
            Opening { pod: ends.pod.ip(), destination: ends.destination, claim: opened.claim.clone() };
        // From here on a change of policy must be noticed, also one during the judgement.
        let mut phase = self.phase.clone();
        phase.mark_unchanged();
        match decide(self.judge.as_ref(), opening) {
            Decision::Refuse(judgement) => {
                guard.judged(&judgement);
                guard.ended(End::Refused);
                Some(Refused { stream, claim: opened.claim, judgement })
            }
            Decision::Permit(permit) => {
                guard.judged(permit.judgement());
                match permit.judgement().handling {
                    Handling::Pass => {
                        self.permitted(stream, opened, &permit, phase, guard).await;
                        None
                    }
                    Handling::Open => {
                        let opening = http::Opening { stream, pod: ends.pod, opened, permit: &permit, phase };
                        self.open(opening, guard).await
                    }
                }
            }
        }
    }

    async fn permitted(
        &self,
        stream: TcpStream,
        mut opened: inspect::Opened,
        permit: &Permit,
        phase: watch::Receiver<Phase>,
        guard: &mut Guard,
    ) {
        let first = match opened.first_bytes() {
            Ok(first) => first,
            Err(reason) => {
                guard.refused(reason);
                guard.ended(End::Refused);
                refuse::reset(&stream);
                return;
            }
        };
        let connected = tokio::select! {
            connected = forward::connect(permit, &self.limits) => connected,
            () = self.drained() => return guard.ended(End::Drained),
        };
        let Ok(server) = connected else {
            refuse::reset(&stream);
            return guard.ended(End::Unreachable);
        };
        let relay = Relay {
            pod: stream,
            server,
            gate: opened.gate,
            server_gate: self.server_gate(permit),
            ceiling: permit.judgement().ceiling,
            traffic: &guard.traffic,
            splice_after: self.limits.splice_after,
            idle: self.limits.idle_timeout,
        };
        let (end, cut) = relay.run(first, self.stopped(permit, phase)).await;
        guard.ended(end);
        if let Some(reason) = cut {
            guard.refused(reason);
        }
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

    /// Returns when an open connection must end: it was waited for long enough, or policy changed against it.
    pub(crate) async fn stopped(
        &self,
        permit: &Permit,
        mut phase: watch::Receiver<Phase>,
    ) -> Result<End, Reason> {
        let judged_again = async {
            while phase.changed().await.is_ok() {
                let still = self.judge.still(permit.opening());
                if still.reason.verdict() == Verdict::Deny {
                    return still.reason;
                }
                if (permit.judgement().handling, still.handling) == (Handling::Pass, Handling::Open) {
                    return Reason::Unread;
                }
            }
            std::future::pending().await
        };
        tokio::select! {
            reason = judged_again => Err(reason),
            () = self.drained() => Ok(End::Drained),
        }
    }

    /// Returns when draining took as long as it may.
    pub(crate) async fn drained(&self) {
        let mut phase = self.phase.clone();
        draining(&mut phase).await;
        let told = async {
            if phase.wait_for(|phase| phase.now).await.is_err() {
                std::future::pending().await
            }
        };
        tokio::select! {
            () = tokio::time::sleep(self.limits.drain_timeout) => {}
            () = told => {}
        }
    }
}

/// Returns when told to drain, also by the teller's end.
pub(crate) async fn draining(phase: &mut watch::Receiver<Phase>) {
    let _told_or_alone = phase.wait_for(|phase| phase.draining).await;
}
