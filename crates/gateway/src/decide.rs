//! May this connection go where it was going? Pure: no I/O, no clock.
//!
//! A name opens an address for a pod because the pod resolved that name to that address. Addresses are shared, so the
//! connection itself must say for whom it is, and then it is judged as if the address meant that name alone: [`judge`] is
//! this rule. [`decide`] makes the only [`Permit`]s there are.

use crate::ceiling::Ceiling;
use crate::central::Route;
use crate::reason::Reason;
use crate::requests::{Handling, RequestJudgement};
use crate::settings::{Ech, Opaque, Rules};
use crate::state::{Bound, Named, PodState};
use crate::tls::Inspector;
use crate::uploads::Upload;
use ::inspect::http_head::{Host, HttpFlaw};
use ::inspect::{ClientHello, Flaw};
use policy::table::Ruling;
use policy::{DnsName, DomainPattern, Generation, Operation, Requests, RuleId, Verdict, WhenUnopened};
use std::net::{IpAddr, SocketAddr};
use std::sync::Arc;

/// What a connection says of itself.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Claim {
    /// A TLS hello.
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
    /// is no reason to cut what it opened; one that did not open it is none to leave it open. `permitted`: why it was opened.
    fn still(&self, opening: &Opening, _permitted: &Judgement) -> Judgement {
        self.judge(opening)
    }

    /// Judges a request of a connection that was opened ([`Handling::Open`]), by the policy of this moment.
    fn judge_request(&self, _opening: &Opening, _operation: &Operation) -> RequestJudgement {
        RequestJudgement::without_rule(Reason::RequestNotAllowed)
    }

    /// Whether a rule of the pod asks what tools are called with.
    fn wants_arguments(&self, _pod: IpAddr) -> bool {
        false
    }

    /// With what TLS of a pod is opened; `None`: with nothing, and what would have to be opened is refused.
    fn inspector(&self, _pod: IpAddr) -> Option<Arc<Inspector>> {
        None
    }

    /// Which way a permitted connection of a pod (its address and port) must take.
    fn route(&self, _pod: SocketAddr, _permit: &Permit) -> Route {
        Route::Direct
    }

    /// Whether it matters what a connection says of itself; if not, it is not waited for.
    fn needs_claim(&self, _pod: IpAddr, _destination: SocketAddr) -> bool {
        true
    }

    /// Whether a client may wait for the server to speak first on a port.
    fn may_be_silent(&self, _port: u16) -> bool {
        false
    }

    /// The name that an address means to a pod, where it means that one alone.
    fn only_name(&self, _pod: IpAddr, _destination: SocketAddr) -> Option<DnsName> {
        None
    }

    /// A number that is another one once an address of a pod is that of another pod.
    fn tenancy(&self, _pod: IpAddr) -> u64 {
        0
    }

    /// Whether a server's certificate, where it is seen, must be for the name that was judged.
    fn checks_certificates(&self) -> bool {
        true
    }
}

/// What must have led to a server before anybody is connected to it: a connection that is good for nothing else tells its
/// server that somebody is there.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Awaits {
    /// Nothing.
    #[default]
    Nothing,
    /// An answer that named something of it (`onlyReferred`).
    Referral,
    /// A grant of something of it (`redirects`).
    Grant,
}

/// What was judged.
#[derive(Clone, Debug, PartialEq, Eq)]
#[must_use]
pub struct Judgement {
    /// Why; the verdict is [`Reason::verdict`].
    pub reason: Reason,
    /// The rule that decides, as text, where policy was asked.
    pub rule: Option<Arc<str>>,
    /// The same, by its number.
    pub deciding: Option<RuleId>,
    /// What becomes of an allowed connection.
    pub handling: Handling,
    /// Of what is refused, the first rule that allows something at its address.
    pub nearest: Option<Arc<str>>,
    /// State of policy that was asked.
    pub generation: Generation,
    /// What an allowed connection may carry.
    pub ceiling: Ceiling,
    /// The budget that it draws on, which the kernel counts.
    pub budget: Option<u32>,
    /// The account that it draws on, which is counted here.
    pub upload: Option<Arc<Upload>>,
    /// What becomes of it where it is to be opened and its client does not let it.
    pub when_unopened: WhenUnopened,
    /// What must have led to its server before anybody is connected to it.
    pub awaits: Awaits,
}

impl Judgement {
    /// A judgement that no rule is behind.
    pub fn without_rule(reason: Reason) -> Self {
        Self {
            reason,
            rule: None,
            deciding: None,
            handling: Handling::Pass,
            nearest: None,
            generation: Generation::default(),
            ceiling: Ceiling::default(),
            budget: None,
            upload: None,
            when_unopened: WhenUnopened::Deny,
            awaits: Awaits::Nothing,
        }
    }

    fn by(reason: Reason, pod: &PodState, ruling: Ruling) -> Self {
        let Some(facts) = pod.rule(ruling.rule) else { return Self::without_rule(reason) };
        let handling = if facts.requests.is_some() { Handling::Open } else { Handling::Pass };
        Self {
            rule: Some(facts.text.clone()),
            deciding: Some(ruling.rule),
            handling,
            ceiling: facts.ceiling,
            budget: facts.budget,
            when_unopened: when_unopened(
                facts.requests.as_ref().map(|rule| &rule.requests),
                facts.budget.is_some() || !facts.ceiling.is_open(),
            ),
            ..Self::without_rule(reason)
        }
    }

    /// Whether what the connection sends is limited no less than a rule wants that has this ceiling, and has a budget or none. Whose
    /// budget it draws on was settled when it was opened, and is not asked.
    pub(crate) fn limits_as(&self, ceiling: &Ceiling, has_budget: bool) -> bool {
        (self.has_budget() || !has_budget) && self.ceiling.is_within(ceiling)
    }

    /// Whether what it sends is counted over time.
    pub(crate) fn has_budget(&self) -> bool {
        self.budget.is_some() || self.upload.is_some()
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

/// What policy says of a connection to an address that the pod resolved: `bound` is of that pod and address. What names
/// the address no longer has counts only for connections that are open.
pub(crate) fn judge(
    pod: &PodState,
    bound: &Bound,
    how: &Rules,
    opening: &Opening,
    is_open: bool,
) -> Judgement {
    let port = opening.destination.port();
    let at = Judging { pod, bound, port, is_open };
    match &opening.claim {
        Claim::Unreadable(why) => at.refuse(why.reason()),
        Claim::Tls(hello) if hello.ech && how.ech == Ech::Deny => at.nameless(Reason::EncryptedHello),
        Claim::Tls(hello) => match &hello.sni {
            None => at.nameless(Reason::NoName),
            Some(name) => {
                let judgement = at.named(name, Reason::NameMismatch);
                match (judgement.handling, shut(hello, name, &how.never_open)) {
                    (Handling::Open, Some(reason)) => at.refuse(reason),
                    (Handling::Open | Handling::Pass, _) => judgement,
                }
            }
        },
        Claim::Http { .. } | Claim::Opaque if how.tls_ports.contains(&port) => at.nameless(Reason::NotTls),
        Claim::Http { host: Host::Address(_), .. } => at.nameless(Reason::NoName),
        Claim::Http { host: Host::Name(name), .. } => at.named(name, Reason::HostMismatch),
        Claim::Opaque if how.http_ports.contains(&port) => at.nameless(Reason::Opaque),
        Claim::Opaque => match how.opaque {
            Opaque::Deny => at.nameless(Reason::Opaque),
            Opaque::ByEveryName => at.by_every_name(),
        },
    }
}

/// Only what is limited in another way may pass unread, whatever the rule says.
pub(crate) fn when_unopened(requests: Option<&Requests>, is_limited: bool) -> WhenUnopened {
    requests.filter(|_| is_limited).map_or(WhenUnopened::Deny, |requests| requests.when_unopened)
}

/// Why TLS is not opened where it would have to be: what must not be opened is not let through unread either, and it must
/// offer a protocol that can be read.
pub(crate) fn shut(hello: &ClientHello, name: &DnsName, never_open: &[DomainPattern]) -> Option<Reason> {
    if never_open.iter().any(|pattern| pattern.matches(name)) {
        return Some(Reason::NeverOpened);
    }
    let is_http = hello.alpn.is_empty() || hello.alpn.iter().any(|offered| is_read(offered));
    (!is_http).then_some(Reason::NotHttp)
}

/// Whether the requests of a protocol, by its name in ALPN, can be read.
pub(crate) fn is_read(protocol: &str) -> bool {
    protocol == "h2" || protocol == "http/1.1"
}

/// One connection under judgement.
struct Judging<'a> {
    pod: &'a PodState,
    bound: &'a Bound,
    port: u16,
    is_open: bool,
}

impl Judging<'_> {
    /// It is for this name.
    fn named(&self, name: &DnsName, mismatch: Reason) -> Judgement {
        let named = self.bound.names.get(name).filter(|it| self.counts(it));
        let ruling = self.bound.ruling(named, self.port);
        match (named, ruling.verdict) {
            (Some(_), Verdict::Allow) => Judgement::by(Reason::NameAllowed, self.pod, ruling),
            (Some(_), Verdict::Deny) => {
                let judgement = Judgement::by(Reason::NameNotAllowed, self.pod, ruling);
                Judgement { nearest: self.nearest(), ..judgement }
            }
            // As to an address that nobody resolved.
            (None, Verdict::Allow) => Judgement::by(Reason::AddressAllowed, self.pod, ruling),
            (None, Verdict::Deny) => self.refuse(mismatch),
        }
    }

    /// It does not say for whom it is: it is refused unless that makes no difference.
    fn nameless(&self, reason: Reason) -> Judgement {
        let unnamed = self.bound.ruling(None, self.port);
        let all = || self.rulings().chain([unnamed]);
        if all().any(|ruling| self.is_opened(ruling)) {
            return self.refuse(if reason == Reason::Opaque { Reason::NotHttp } else { reason });
        }
        let is_allowed = all().all(|ruling| ruling.verdict == Verdict::Allow);
        if is_allowed {
            return Judgement::by(Reason::AddressAllowed, self.pod, unnamed);
        }
        self.refuse(reason)
    }

    /// It cannot say for whom it is: whatever the address means must be allowed, within the same bounds.
    fn by_every_name(&self) -> Judgement {
        if self.rulings().any(|ruling| self.is_opened(ruling)) {
            return self.refuse(Reason::NotHttp);
        }
        let Some(first) = self.rulings().next() else { return self.nameless(Reason::Opaque) };
        let judgement = Judgement::by(Reason::EveryNameAllowed, self.pod, first);
        let is_same = |ruling: Ruling| {
            let other = Judgement::by(Reason::EveryNameAllowed, self.pod, ruling);
            ruling.verdict == Verdict::Allow
                && (other.ceiling, other.budget) == (judgement.ceiling, judgement.budget)
        };
        if self.rulings().all(is_same) { judgement } else { self.refuse(Reason::Opaque) }
    }

    /// Whether it is a rule that only allows certain requests.
    fn is_opened(&self, ruling: Ruling) -> bool {
        ruling.verdict == Verdict::Allow
            && self.pod.rule(ruling.rule).is_some_and(|rule| rule.requests.is_some())
    }

    fn refuse(&self, reason: Reason) -> Judgement {
        Judgement { nearest: self.nearest(), ..Judgement::without_rule(reason) }
    }

    /// A rule that allows something here.
    fn nearest(&self) -> Option<Arc<str>> {
        let allowing = self.rulings().find(|ruling| ruling.verdict == Verdict::Allow)?;
        Some(self.pod.rule(allowing.rule)?.text.clone())
    }

    fn rulings(&self) -> impl Iterator<Item = Ruling> {
        let names = self.bound.names.values().filter(|it| self.counts(it));
        names.map(|named| self.bound.ruling(Some(named), self.port))
    }

    fn counts(&self, named: &Named) -> bool {
        named.is_live || self.is_open
    }
}
