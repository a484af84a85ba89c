//! One connection to the front door, from accept to where a steered one would be.

use super::answer::{self, ESTABLISHED, Refusal};
use super::head::{self, Request};
use super::{Caller, Host, Presented, Unresolved, place};
use crate::bounds::Slot;
use crate::central::Failed;
use crate::decide::{Claim, Decision, Judgement, Opening, Permit, decide};
use crate::forward::Server;
use crate::gate::Gate;
use crate::http;
use crate::inspect::Opened;
use crate::near::Near;
use crate::reason::{End, Reason};
use crate::record::Guard;
use crate::refuse::{self, Refused};
use crate::serve::{Approach, Gateway};
use ::inspect::ClientHello;
use ::inspect::proxy_head::{Asked, Form};
use policy::DnsName;
use std::net::{IpAddr, SocketAddr};
use std::sync::Arc;
use std::time::Duration;
use tokio::io::AsyncWriteExt;
use tokio::time::Instant;

/// Most addresses of a name that are tried.
const MAX_TRIES: usize = 4;
/// How long a client that finds no place has to take its answer: it has none to wait in.
const BRIEFLY: Duration = Duration::from_millis(200);
/// A name that nobody has (RFC 6761, section 6.4): what is judged by it is judged by the address alone.
const NOBODY: &str = "invalid";

/// What a client is to be told.
enum Told {
    /// In the words of a proxy.
    Turned(Near, Turned),
    /// In the words of what came through the tunnel.
    Refused(Refused),
}

/// Why a client gets nowhere.
struct Turned {
    reason: Reason,
    rule: Option<Arc<str>>,
    detail: Option<Arc<str>>,
}

impl Turned {
    fn by(reason: Reason) -> Self {
        Self { reason, rule: None, detail: None }
    }
}

/// An address to which a client may come.
struct Way {
    to: SocketAddr,
    /// Leave to go there, where that does not depend on what the client says in the tunnel.
    permit: Option<Permit>,
}

impl Gateway {
    /// Serves a connection to the front door. Whoever calls this is sure that it is the caller's.
    pub async fn front(&self, near: impl Into<Near>, caller: Caller) {
        let guard = self.guard(caller.pod, caller.listener);
        self.received(near.into(), caller, guard).await;
    }

    /// As [`Self::front`], of somebody who is known by a certificate. The record has where it comes from, and its id.
    pub(crate) async fn presented(&self, near: Near, caller: Caller, presented: Presented) {
        let mut guard = self.guard(presented.peer, caller.listener);
        let why = presented.refused.as_ref().map(|(_, why)| Arc::clone(why));
        guard.presented(presented.id.or(why), presented.over);
        let Some((reason, detail)) = presented.refused else {
            return self.received(near, caller, guard).await;
        };
        let request_id = guard.explicit();
        guard.refused(reason);
        guard.ended(End::Refused);
        drop(guard);
        tell(near, Turned { detail: Some(detail), ..Turned::by(reason) }, None, &request_id).await;
    }

    async fn received(&self, near: Near, caller: Caller, mut guard: Guard) {
        let request_id = guard.explicit();
        let slot = match self.welcome(caller) {
            Ok(slot) => slot,
            Err(reason) => {
                guard.refused(reason);
                guard.ended(End::Refused);
                drop(guard);
                let told = tell(near, Turned::by(reason), None, &request_id);
                let _late = tokio::time::timeout(BRIEFLY, told).await;
                return;
            }
        };
        let (told, asked) = self.visit(near, caller, &mut guard).await;
        // The record does not wait for the client to take its answer; the place does.
        drop(guard);
        match told {
            None => {}
            Some(Told::Refused(refused)) => refuse::tell(refused).await,
            Some(Told::Turned(near, turned)) => tell(near, turned, asked.as_ref(), &request_id).await,
        }
        drop(slot);
    }

    /// A place for a pod's connection. Whoever is no pod of this node gets none: its words are not even waited for.
    fn welcome(&self, caller: Caller) -> Result<Slot<IpAddr>, Reason> {
        let (pod, destination) = (caller.pod.ip(), caller.listener);
        let judged = self.judge.judge(&Opening { pod, destination, claim: Claim::Opaque });
        match judged.reason {
            Reason::UnknownPod | Reason::NoPolicy => Err(judged.reason),
            _ => self.admit(caller),
        }
    }

    async fn visit(
        &self,
        mut near: Near,
        caller: Caller,
        guard: &mut Guard,
    ) -> (Option<Told>, Option<Asked>) {
        let request = tokio::select! {
            request = head::read(&mut near, self.limits.header_timeout) => request,
            () = self.drained() => {
                guard.ended(End::Drained);
                return (None, None);
            }
        };
        let Request { asked, bytes } = match request {
            Ok(request) => request,
            Err(reason) => return (Some(turned(near, Turned::by(reason), guard)), None),
        };
        guard.asked(method(&asked), &asked.host, asked.port);
        let told = self.lead(near, caller, Request { asked: asked.clone(), bytes }, guard).await;
        (told, Some(asked))
    }

    /// Finds the way and goes it.
    async fn lead(&self, near: Near, caller: Caller, request: Request, guard: &mut Guard) -> Option<Told> {
        // From here on a change of policy must be noticed, also one during the judgement.
        let mut phase = self.phase.clone();
        phase.mark_unchanged();
        let asked = &request.asked;
        let found = tokio::select! {
            found = self.way(caller, asked, guard) => found,
            () = self.drained() => {
                guard.ended(End::Drained);
                return None;
            }
        };
        let (way, server) = match found {
            Ok(found) => found,
            Err(turned_away) => return Some(turned(near, turned_away, guard)),
        };
        guard.goes_to(way.to);
        match (&asked.form, way.permit) {
            (Form::Request(method), Some(permit)) => {
                let claim = Claim::Http { host: asked.host.clone(), method: method.clone() };
                guard.claims(&claim);
                guard.judged(permit.judgement());
                let opened = Opened { claim, bytes: request.bytes, judged: asked.length, gate: Gate::open() };
                let name = name_of(&asked.host);
                let opening = http::Opening {
                    stream: near,
                    opened,
                    permit: &permit,
                    phase,
                    server,
                    front: Some(http::Front { name }),
                };
                Box::pin(self.open(opening, guard)).await.map(Told::Refused)
            }
            (Form::Request(_) | Form::Connect, _) => {
                self.tunnel(near, caller, request, (way.to, server), guard).await
            }
        }
    }

    /// The way to go, with the server there if it depends on nothing else.
    async fn way(&self, caller: Caller, asked: &Asked, guard: &mut Guard) -> Result<(Way, Server), Turned> {
        let ways = self.ways(caller, asked, guard).await?;
        self.first_open(ways, guard).await.map_err(|(to, reason)| {
            guard.goes_to(to);
            Turned::by(reason)
        })
    }

    /// Gives leave for a tunnel, and goes on as if the pod had connected itself.
    async fn tunnel(
        &self,
        mut near: Near,
        caller: Caller,
        request: Request,
        (to, server): (SocketAddr, Server),
        guard: &mut Guard,
    ) -> Option<Told> {
        let Request { asked, mut bytes } = request;
        let leave = async {
            near.write_all(ESTABLISHED).await?;
            near.flush().await
        };
        if leave.await.is_err() {
            guard.ended(End::PodGone);
            return None;
        }
        let name = match asked.host {
            Host::Name(name) => Some(name),
            Host::Address(_) => None,
        };
        let approach = Approach { first: bytes.split_off(asked.length), server, name };
        let ends = crate::identify::Ends { pod: caller.pod, destination: to };
        Box::pin(self.judged(near, ends, approach, guard)).await.map(Told::Refused)
    }

    /// The addresses to which a client may come, best first.
    async fn ways(&self, caller: Caller, asked: &Asked, guard: &mut Guard) -> Result<Vec<Way>, Turned> {
        let places = match self.stands_for() {
            Some(to) => vec![to],
            None => self.places(caller, asked).await?,
        };
        let (mut ways, mut refused) = (Vec::new(), None);
        for to in places.into_iter().take(MAX_TRIES) {
            match self.foresee(caller, to, asked) {
                Ok(permit) => ways.push(Way { to, permit }),
                Err(judgement) => drop(refused.get_or_insert((to, judgement))),
            }
        }
        match refused {
            Some((to, judgement)) if ways.is_empty() => {
                guard.goes_to(to);
                guard.judged(&judgement);
                Err(Turned {
                    reason: judgement.reason,
                    rule: judgement.nearest.or(judgement.rule),
                    detail: None,
                })
            }
            Some(_) | None => Ok(ways),
        }
    }

    /// Where the host is, but for where nobody is led.
    async fn places(&self, caller: Caller, asked: &Asked) -> Result<Vec<SocketAddr>, Turned> {
        let Some(resolver) = self.resolver() else { return Err(Turned::by(Reason::NoAddress)) };
        let found = resolver.resolve(caller.pod.ip(), &asked.host).await;
        let found = found.map_err(|Unresolved { reason, rule, detail }| Turned { reason, rule, detail })?;
        if found.is_empty() {
            return Err(Turned::by(Reason::NoAddress));
        }
        // What cannot be told from this machine's own is taken for it.
        let own = place::own().map_err(|_| Turned::by(Reason::Inside))?;
        // One of IPv4 that is written as IPv6 is reached by IPv4, and judged as that.
        let found = found.iter().map(IpAddr::to_canonical);
        let outside = found.filter(|it| !place::is_local(*it) && !own.contains(it));
        let places: Vec<_> = outside.map(|it| SocketAddr::new(it, asked.port)).collect();
        if places.is_empty() { Err(Turned::by(Reason::Inside)) } else { Ok(places) }
    }

    /// Whether a client may come to an address, before it says in a tunnel for whom it is. Of an address without a name
    /// that can depend on it.
    fn foresee(&self, caller: Caller, to: SocketAddr, asked: &Asked) -> Result<Option<Permit>, Judgement> {
        let hello = |name: DnsName| Claim::Tls(ClientHello { sni: Some(name), ..ClientHello::default() });
        let claims = match (&asked.form, &asked.host) {
            (Form::Request(method), host) => vec![Claim::Http { host: host.clone(), method: method.clone() }],
            (Form::Connect, Host::Name(name)) => vec![hello(name.clone())],
            (Form::Connect, Host::Address(_)) => {
                [Some(Claim::Opaque), DnsName::parse(NOBODY).ok().map(hello)].into_iter().flatten().collect()
            }
        };
        let mut refused = Judgement::without_rule(Reason::NotJudged);
        for claim in claims {
            match decide(self.judge.as_ref(), Opening { pod: caller.pod.ip(), destination: to, claim }) {
                Decision::Permit(permit) => return Ok(Some(permit)),
                Decision::Refuse(judgement) => refused = judgement,
            }
        }
        // A name may be allowed there.
        let may_be_named = asked.form == Form::Connect && matches!(asked.host, Host::Address(_));
        if may_be_named && refused.reason == Reason::NameMismatch {
            refused.reason = Reason::NoName;
        }
        if may_be_named && refused.nearest.is_some() { Ok(None) } else { Err(refused) }
    }

    /// The first way that a server answers at. One that depends on what is said in the tunnel is not tried before.
    async fn first_open(
        &self,
        ways: Vec<Way>,
        guard: &mut Guard,
    ) -> Result<(Way, Server), (SocketAddr, Reason)> {
        let (mark, deadline) = (self.limits.front_mark, Instant::now() + self.limits.connect_timeout);
        let mut failed = None;
        let mut left = u32::try_from(ways.len()).unwrap_or(u32::MAX);
        for way in ways {
            // Nor one that nobody is to be connected to: its client is told inside.
            let Some(permit) = way.permit.as_ref().filter(|permit| self.is_led_to(permit)) else {
                return Ok((way, Server::Marked(mark)));
            };
            let within = deadline.saturating_duration_since(Instant::now()) / left.max(1);
            left = left.saturating_sub(1);
            let reason = match self.connect(permit, (within, mark), guard).await {
                Ok(server) => {
                    let budget = permit.judgement().budget;
                    return Ok((way, Server::Open(server, budget)));
                }
                Err(Failed::Silent) => Reason::ServerSilent,
                Err(Failed::Unreachable) => Reason::ServerUnreachable,
                Err(Failed::Refused(reason)) => reason,
            };
            failed = Some((way.to, reason));
        }
        let nowhere = (SocketAddr::from(([0, 0, 0, 0], 0)), Reason::NoAddress);
        Err(failed.unwrap_or(nowhere))
    }
}

/// The name of a host; of an IPv4 address its text, for that is whom its requests are for.
fn name_of(host: &Host) -> Option<DnsName> {
    match host {
        Host::Name(name) => Some(name.clone()),
        Host::Address(address) if address.is_ipv4() => DnsName::parse(&address.to_string()).ok(),
        Host::Address(_) => None,
    }
}

fn method(asked: &Asked) -> &str {
    match &asked.form {
        Form::Connect => "CONNECT",
        Form::Request(method) => method,
    }
}

fn turned(near: Near, turned: Turned, guard: &mut Guard) -> Told {
    guard.refused(turned.reason);
    guard.near_to(turned.rule.clone());
    let is_unreachable = [Reason::ServerUnreachable, Reason::ServerSilent].contains(&turned.reason);
    guard.ended(if is_unreachable { End::Unreachable } else { End::Refused });
    Told::Turned(near, turned)
}

async fn tell(near: Near, turned: Turned, asked: Option<&Asked>, request_id: &str) {
    let refusal = Refusal {
        reason: turned.reason,
        method: asked.map_or("", method),
        asked: asked.map(|asked| format!("{} at port {}", asked.host, asked.port)),
        rule: turned.rule.as_deref(),
        detail: turned.detail.as_deref(),
        request_id,
    };
    answer::tell(near, &refusal).await;
}
