//! What pods resolved and what policy allows them, as the agent tells it; and the judge over it.

use crate::ceiling::Ceiling;
use crate::decide::{Claim, Judge, Judgement, Opening, bind};
use crate::reason::Reason;
use crate::settings::Rules;
use ::inspect::http_head::Host;
use policy::{DnsName, DomainPattern, Generation, Verdict};
use std::collections::{BTreeSet, HashMap};
use std::net::IpAddr;
use std::sync::{Arc, PoisonError, RwLock};

/// One pattern that a rule allows a pod.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Allowed {
    /// Which names.
    pub pattern: DomainPattern,
    /// On which TCP ports, first and last of each range; none means all.
    pub ports: Vec<(u16, u16)>,
    /// The rule, as a person reads it: object, field, file and line.
    pub rule: Arc<str>,
    /// What one connection may carry.
    pub ceiling: Ceiling,
}

impl Allowed {
    /// Whether it allows a name on a port.
    pub fn allows(&self, name: &DnsName, port: u16) -> bool {
        let on_port =
            self.ports.is_empty() || self.ports.iter().any(|(first, last)| (*first..=*last).contains(&port));
        on_port && self.pattern.matches(name)
    }
}

/// What a pod resolved to one address.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Bound {
    /// The names it asked for.
    pub names: BTreeSet<DnsName>,
    /// What is allowed at this address, in the order of policy: the first that fits decides.
    pub allowed: Vec<Arc<Allowed>>,
}

impl Bound {
    /// The first rule that allows a name on a port.
    pub fn rule_for(&self, name: &DnsName, port: u16) -> Option<&Arc<Allowed>> {
        self.allowed.iter().find(|allowed| allowed.allows(name, port))
    }
}

/// One pod.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct PodState {
    /// All that policy allows it, at whatever address.
    pub allowed: Vec<Arc<Allowed>>,
    /// What it resolved.
    pub bound: HashMap<IpAddr, Bound>,
}

/// Everything that is needed to judge.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct State {
    /// State of policy that this is from.
    pub generation: Generation,
    /// How claims are judged.
    pub rules: Rules,
    /// Pods of this node by address.
    pub pods: HashMap<IpAddr, PodState>,
}

/// A judge over a [`State`] that changes. Until there is one, everything is refused.
///
/// Single names are bound many times a second and must be in force before the answer with their address leaves, so the
/// state is changed in place, under a lock that is held for one look-up.
#[derive(Debug, Default)]
pub struct Table(RwLock<Option<State>>);

impl Table {
    /// A table that refuses everything.
    pub fn new() -> Self {
        Self::default()
    }

    /// Replaces everything.
    pub fn replace(&self, state: State) {
        *self.0.write().unwrap_or_else(PoisonError::into_inner) = Some(state);
    }

    /// Binds names to an address for a pod, in place of what was bound there. False if the pod is unknown.
    #[must_use]
    pub fn bind(&self, pod: IpAddr, destination: IpAddr, bound: Bound) -> bool {
        self.change(pod, |state| {
            state.bound.insert(destination, bound);
        })
    }

    /// Forgets what a pod resolved to an address. False if the pod is unknown.
    #[must_use]
    pub fn unbind(&self, pod: IpAddr, destination: IpAddr) -> bool {
        self.change(pod, |state| {
            state.bound.remove(&destination);
        })
    }

    /// What policy allows a pod.
    pub fn allowed(&self, pod: IpAddr) -> Option<Vec<Arc<Allowed>>> {
        let state = self.0.read().unwrap_or_else(PoisonError::into_inner);
        state.as_ref()?.pods.get(&pod).map(|pod| pod.allowed.clone())
    }

    fn change(&self, pod: IpAddr, change: impl FnOnce(&mut PodState)) -> bool {
        let mut state = self.0.write().unwrap_or_else(PoisonError::into_inner);
        let pod = state.as_mut().and_then(|state| state.pods.get_mut(&pod));
        pod.map(change).is_some()
    }

    fn with(&self, opening: &Opening, judge: impl FnOnce(&State, &PodState) -> Judgement) -> Judgement {
        let state = self.0.read().unwrap_or_else(PoisonError::into_inner);
        let Some(state) = state.as_ref() else { return Judgement::without_rule(Reason::NoPolicy) };
        let judgement = match state.pods.get(&opening.pod) {
            None => Judgement::without_rule(Reason::UnknownPod),
            Some(pod) => judge(state, pod),
        };
        Judgement { generation: state.generation, ..judgement }
    }
}

impl Judge for Table {
    fn judge(&self, opening: &Opening) -> Judgement {
        self.with(opening, |state, pod| match pod.bound.get(&opening.destination.ip()) {
            None => Judgement::without_rule(Reason::NotResolved),
            Some(bound) => bind(bound, &state.rules, opening.destination.port(), &opening.claim),
        })
    }

    fn still(&self, opening: &Opening) -> Judgement {
        let now = self.judge(opening);
        let expired = matches!(now.reason, Reason::NotResolved | Reason::NameMismatch | Reason::HostMismatch);
        if now.reason.verdict() == Verdict::Allow || !expired {
            return now;
        }
        // What the pod resolved may be forgotten by now. What policy says of the name is not. What names nobody was let in
        // by what was resolved alone, and goes with it.
        let Some(name) = name(&opening.claim) else { return now };
        self.with(opening, |state, pod| {
            let bound = Bound { names: [name.clone()].into(), allowed: pod.allowed.clone() };
            bind(&bound, &state.rules, opening.destination.port(), &opening.claim)
        })
    }
}

fn name(claim: &Claim) -> Option<&DnsName> {
    match claim {
        Claim::Tls(hello) => hello.sni.as_ref(),
        Claim::Http { host: Host::Name(name), .. } => Some(name),
        Claim::Http { host: Host::Address(_), .. } | Claim::Opaque | Claim::Unreadable(_) => None,
    }
}
