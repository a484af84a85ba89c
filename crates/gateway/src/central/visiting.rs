//! How workloads that come by themselves are judged and led: the front door's judge, and who finds where names lead for it.
//!
//! Enters: states of policy, and who came ([`Workloads`]). Leaves: judgements, by the reference evaluator as for nodes; and
//! addresses of names. Guarantees: a name is only looked up where the workload's policy speaks of it and lets it ask; a
//! connection by a name goes only to an address that this gateway itself was told for the name; what policy leaves open, and
//! what it allows with demands that nobody here can meet, is refused. Does not: open TLS, judge requests, count uploads.

use super::policies::Policies;
use super::workload::{Stranger, Workloads};
use crate::bounds::Bounds;
use crate::decide::{Claim, Judge, Judgement, Opening};
use crate::front::{Host, Resolve, Resolved, Resolving, Unresolved};
use crate::reason::Reason;
use crate::requests::{RequestJudgement, name_of};
use policy::{DnsName, Operation, Verdict};
use std::collections::HashMap;
use std::io;
use std::net::IpAddr;
use std::pin::Pin;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};
use tokio::sync::watch;

/// Names that wait for a resolver at once, and of these, those of one workload.
const ASKING: [usize; 2] = [512, 32];
/// How long a resolver may take.
const PATIENCE: Duration = Duration::from_secs(5);
/// Addresses of one name.
const MAX_ADDRESSES: usize = 16;
/// Names with an address that are remembered, and how long: a connection comes right behind its look-up.
const MAX_FOUND: usize = 65_536;
const REMEMBERED: Duration = Duration::from_secs(60);

/// What a look-up gives.
pub type Looking<'a> = Pin<Box<dyn Future<Output = io::Result<Vec<IpAddr>>> + Send + 'a>>;

/// Asks a resolver where names are.
pub trait Lookup: Send + Sync {
    /// The addresses of a name.
    fn lookup<'a>(&'a self, name: &'a DnsName) -> Looking<'a>;
}

/// The resolver of this machine.
#[derive(Clone, Copy, Debug, Default)]
pub struct SystemLookup;

impl Lookup for SystemLookup {
    fn lookup<'a>(&'a self, name: &'a DnsName) -> Looking<'a> {
        Box::pin(async move {
            // With a dot at its end it is looked up as it is, not below the domains that this machine searches.
            let found = tokio::net::lookup_host((format!("{name}."), 0)).await?;
            Ok(found.map(|it| it.ip()).collect())
        })
    }
}

/// Judges and leads workloads that come by themselves.
pub(super) struct Visiting {
    policies: watch::Receiver<Option<Arc<Policies>>>,
    workloads: Workloads,
    lookup: Arc<dyn Lookup>,
    asking: Arc<Bounds<IpAddr>>,
    /// Which names led to an address, and until when that counts.
    found: Mutex<HashMap<(IpAddr, DnsName), Instant>>,
}

impl Visiting {
    pub(super) fn new(policies: watch::Receiver<Option<Arc<Policies>>>, lookup: Arc<dyn Lookup>) -> Self {
        let [all, each] = ASKING;
        let (workloads, found) = (Workloads::default(), Mutex::default());
        Self { policies, workloads, lookup, asking: Bounds::new(all, each), found }
    }

    /// The address under which the workload of an id stands.
    pub(super) fn enter(&self, id: &str) -> Result<IpAddr, Stranger> {
        self.workloads.enter(id)
    }

    fn found(&self) -> MutexGuard<'_, HashMap<(IpAddr, DnsName), Instant>> {
        self.found.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn remember(&self, name: &DnsName, addresses: &[IpAddr], now: Instant) {
        let mut found = self.found();
        if found.len() + addresses.len() > MAX_FOUND {
            found.retain(|_, until| now <= *until);
            if found.len() + addresses.len() > MAX_FOUND {
                // Who is under way asks again: without an entry nothing passes.
                found.clear();
            }
        }
        found.extend(addresses.iter().map(|address| ((*address, name.clone()), now + REMEMBERED)));
    }

    fn leads(&self, name: &DnsName, to: IpAddr, now: Instant) -> bool {
        self.found().get(&(to, name.clone())).is_some_and(|until| now <= *until)
    }

    fn judged(&self, opening: &Opening, is_open: bool) -> Judgement {
        let refuse = Judgement::without_rule;
        let Some(workload) = self.workloads.at(opening.pod) else { return refuse(Reason::UnknownPod) };
        let Some(policies) = self.policies.borrow().clone() else { return refuse(Reason::NoPolicy) };
        let mismatch = match &opening.claim {
            Claim::Unreadable(why) => return refuse(why.reason()),
            Claim::Tls(hello) if hello.ech => return refuse(Reason::EncryptedHello),
            Claim::Tls(_) => Reason::NameMismatch,
            Claim::Http { .. } => Reason::HostMismatch,
            Claim::Opaque => Reason::NoName,
        };
        let to = opening.destination;
        let name = name_of(&opening.claim);
        let led = name.filter(|name| is_open || self.leads(name, to.ip(), Instant::now()));
        let judgement = policies.visited(&workload, opening.pod, to, led);
        let is_elsewhere = name.is_some() && led.is_none() && judgement.reason == Reason::NoName;
        if is_elsewhere { Judgement { reason: mismatch, ..judgement } } else { judgement }
    }

    async fn led(&self, pod: IpAddr, host: Host) -> Resolved {
        let name = match host {
            Host::Address(address) => return Ok(vec![address]),
            Host::Name(name) => name,
        };
        let refuse = |reason| Unresolved { reason, rule: None, detail: None };
        let workload = self.workloads.at(pod).ok_or_else(|| refuse(Reason::UnknownPod))?;
        let policies = self.policies.borrow().clone().ok_or_else(|| refuse(Reason::NoPolicy))?;
        policies
            .may_ask(&workload, &name)
            .map_err(|rule| Unresolved { rule, ..refuse(Reason::LookupRefused) })?;
        let _place = self.asking.admit(pod).map_err(|_| refuse(Reason::TooManyAsked))?;
        let failed = |why: String| Unresolved { detail: Some(why.into()), ..refuse(Reason::NoAddress) };
        let mut addresses = match tokio::time::timeout(PATIENCE, self.lookup.lookup(&name)).await {
            Ok(Ok(addresses)) => addresses,
            Ok(Err(error)) => return Err(failed(error.to_string())),
            Err(_) => return Err(failed("no resolver answered in time".to_owned())),
        };
        addresses.truncate(MAX_ADDRESSES);
        self.remember(&name, &addresses, Instant::now());
        Ok(addresses)
    }
}

impl Judge for Visiting {
    fn judge(&self, opening: &Opening) -> Judgement {
        self.judged(opening, false)
    }

    fn still(&self, opening: &Opening) -> Judgement {
        self.judged(opening, true)
    }

    /// A request that came without a tunnel: nothing is asked of it that was not of its connection.
    fn judge_request(&self, opening: &Opening, _operation: &Operation) -> RequestJudgement {
        let Judgement { reason, rule, deciding, nearest, generation, .. } = self.judged(opening, true);
        let reason = match reason.verdict() {
            Verdict::Allow => Reason::RequestAllowed,
            Verdict::Deny => reason,
        };
        RequestJudgement { rule, deciding, nearest, generation, ..RequestJudgement::without_rule(reason) }
    }
}

impl Resolve for Visiting {
    fn resolve(&self, pod: IpAddr, host: &Host) -> Resolving<'_> {
        let host = host.clone();
        Box::pin(self.led(pod, host))
    }
}
