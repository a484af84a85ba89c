//! May this connection go where it was going? Pure: no I/O, no clock.
//!
//! A name opens an address for a pod because the pod resolved that name to that address. Addresses are shared, so the
//! connection itself must say for whom it is, and only that name counts: [`bind`] is this rule. [`decide`] makes the
//! only [`Permit`]s there are.

use crate::ceiling::Ceiling;
use crate::reason::Reason;
use crate::settings::{Ech, Opaque, Rules};
use crate::state::{Allowed, Bound};
use ::inspect::http_head::{Host, HttpFlaw};
use ::inspect::{ClientHello, Flaw};
use policy::{DnsName, Generation, Verdict};
use std::net::{IpAddr, SocketAddr};
use std::sync::Arc;

/// What a connection says of itself.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Claim {
    /// A TLS or QUIC hello.
    Tls(ClientHello),
    /// An HTTP/1 request.
    Http {
        /// Whom it is for.
        host: Host,
        /// Its method.
        method: String,
    },
    /// Neither.
    Opaque,
    /// Nothing that can be judged.
    Unreadable(Unreadable),
}

/// Why there is no claim.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Unreadable {
    /// TLS with a flaw.
    Tls(Flaw),
    /// A hello beyond the bound.
    TlsTooLarge,
    /// HTTP with a flaw.
    Http(HttpFlaw),
    /// Too slow.
    Timeout,
    /// Ended too early.
    Incomplete,
}

impl Unreadable {
    /// The reason with which it is refused.
    pub fn reason(self) -> Reason {
        match self {
            Self::Tls(_) => Reason::HelloMalformed,
            Self::TlsTooLarge => Reason::HelloTooLarge,
            Self::Timeout => Reason::Timeout,
            Self::Incomplete => Reason::Incomplete,
            Self::Http(flaw) => match flaw {
                HttpFlaw::NotHttp => Reason::Opaque,
                HttpFlaw::Malformed | HttpFlaw::Framing => Reason::HttpMalformed,
                HttpFlaw::TooLarge => Reason::HttpTooLarge,
                HttpFlaw::NoHost | HttpFlaw::SeveralHosts => Reason::HttpHost,
                HttpFlaw::Http2 | HttpFlaw::Connect | HttpFlaw::Upgrade => Reason::HttpTunnel,
            },
        }
    }
}

/// A connection at the moment of judgement.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Opening {
    /// Who opened it.
    pub pod: IpAddr,
    /// Where it was going.
    pub destination: SocketAddr,
    /// For whom it says it is.
    pub claim: Claim,
}

/// Judges connections. Implemented by whoever knows what pods resolved and what policy allows; [`crate::Table`] is one.
pub trait Judge: Send + Sync {
    /// Judges a new connection.
    fn judge(&self, opening: &Opening) -> Judgement;

    /// Judges an open connection again, after policy changed. A name that is no longer bound, for its time was over,
    /// is no reason to cut what it opened.
    fn still(&self, opening: &Opening) -> Judgement {
        self.judge(opening)
    }
}

/// What was judged.
#[derive(Clone, Debug, PartialEq, Eq)]
#[must_use]
pub struct Judgement {
    /// Why; the verdict is [`Reason::verdict`].
    pub reason: Reason,
    /// The rule that allows it, as text.
    pub rule: Option<Arc<str>>,
    /// Of what is refused, the first rule that allows something at its address.
    pub nearest: Option<Arc<str>>,
    /// State of policy that was asked.
    pub generation: Generation,
    /// What an allowed connection may carry.
    pub ceiling: Ceiling,
}

impl Judgement {
    /// A judgement that no rule is behind.
    pub fn without_rule(reason: Reason) -> Self {
        Self {
            reason,
            rule: None,
            nearest: None,
            generation: Generation::default(),
            ceiling: Ceiling::default(),
        }
    }

    fn by(reason: Reason, allowed: &Allowed) -> Self {
        Self { rule: Some(allowed.rule.clone()), ceiling: allowed.ceiling, ..Self::without_rule(reason) }
    }
}

/// Leave to forward one connection. Only [`decide`] makes one.
#[derive(Debug)]
#[must_use]
pub struct Permit {
    opening: Opening,
    judgement: Judgement,
}

impl Permit {
    /// What is permitted.
    pub fn opening(&self) -> &Opening {
        &self.opening
    }

    /// Why, and within what bounds.
    pub fn judgement(&self) -> &Judgement {
        &self.judgement
    }
}

/// The decision on a connection.
#[derive(Debug)]
#[must_use]
pub enum Decision {
    /// Forward it.
    Permit(Permit),
    /// Do not.
    Refuse(Judgement),
}

/// Decides on a new connection.
pub fn decide(judge: &dyn Judge, opening: Opening) -> Decision {
    let judgement = match &opening.claim {
        // No judge may overrule this: what was not understood is not for anybody.
        Claim::Unreadable(why) => Judgement::without_rule(why.reason()),
        Claim::Tls(_) | Claim::Http { .. } | Claim::Opaque => judge.judge(&opening),
    };
    match judgement.reason.verdict() {
        Verdict::Allow => Decision::Permit(Permit { opening, judgement }),
        Verdict::Deny => Decision::Refuse(judgement),
    }
}

/// Whether a claim fits what the pod resolved to the address (`bound`) and what policy allows there, on a port.
pub fn bind(bound: &Bound, rules: &Rules, port: u16, claim: &Claim) -> Judgement {
    let refuse = |reason| near(bound, reason);
    match claim {
        Claim::Unreadable(why) => refuse(why.reason()),
        Claim::Tls(hello) if hello.ech && rules.ech == Ech::Deny => refuse(Reason::EncryptedHello),
        Claim::Tls(hello) => match &hello.sni {
            None => refuse(Reason::NoName),
            Some(name) => bind_name(bound, port, name, Reason::NameMismatch),
        },
        Claim::Http { .. } | Claim::Opaque if rules.tls_ports.contains(&port) => refuse(Reason::NotTls),
        Claim::Http { host: Host::Address(_), .. } => refuse(Reason::NoName),
        Claim::Http { host: Host::Name(name), .. } => bind_name(bound, port, name, Reason::HostMismatch),
        Claim::Opaque => match rules.opaque {
            Opaque::Deny => refuse(Reason::Opaque),
            Opaque::ByEveryName => bind_every_name(bound, port),
        },
    }
}

fn bind_name(bound: &Bound, port: u16, name: &DnsName, mismatch: Reason) -> Judgement {
    if !bound.names.contains(name) {
        return near(bound, mismatch);
    }
    match bound.rule_for(name, port) {
        Some(allowed) => Judgement::by(Reason::NameAllowed, allowed),
        None => near(bound, Reason::NameNotAllowed),
    }
}

/// Of several names, the ceiling of each holds; so there is none for all unless they agree.
fn bind_every_name(bound: &Bound, port: u16) -> Judgement {
    let mut rules = bound.names.iter().map(|name| bound.rule_for(name, port));
    let Some(first) = rules.next() else { return Judgement::without_rule(Reason::NotResolved) };
    let Some(first) = first else { return near(bound, Reason::Opaque) };
    let same = |other: Option<&Arc<Allowed>>| other.is_some_and(|other| other.ceiling == first.ceiling);
    if rules.all(same) { Judgement::by(Reason::EveryNameAllowed, first) } else { near(bound, Reason::Opaque) }
}

/// Refused where something else is allowed.
fn near(bound: &Bound, reason: Reason) -> Judgement {
    let nearest = bound.allowed.first().map(|allowed| allowed.rule.clone());
    Judgement { nearest, ..Judgement::without_rule(reason) }
}
