//! What pods resolved and what policy says of it, as the agent tells it; and the judge over it.

use crate::ceiling::Ceiling;
use crate::decide::{Judge, Judgement, Opening, judge};
use crate::reason::Reason;
use crate::settings::{Opaque, Rules};
use policy::table::{Row, Ruling};
use policy::{DnsName, Generation, Protocol, RuleId, Verdict};
use serde::{Deserialize, Serialize};
use std::collections::{BTreeMap, HashMap};
use std::net::{IpAddr, SocketAddr};
use std::sync::{Arc, PoisonError, RwLock};

/// What is to be known of a rule.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct RuleFacts {
    /// As a person reads it: object, field, file and line.
    pub text: Arc<str>,
    /// What one connection may carry.
    #[serde(default, skip_serializing_if = "Ceiling::is_open")]
    pub ceiling: Ceiling,
    /// Number of the budget that all connections of this pod under the rule draw on.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub budget: Option<u32>,
}

/// Which budgets are used up.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Window {
    /// Until the hour ends (UTC).
    Hour,
    /// Until the day ends (UTC).
    Day,
}

impl Window {
    fn reason(self) -> Reason {
        match self {
            Self::Hour => Reason::UploadHour,
            Self::Day => Reason::UploadDay,
        }
    }
}

/// A name that a pod resolved to an address.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Named {
    /// What policy says of the address where it means this name alone.
    pub row: Arc<Row>,
    /// Whether the answer holds; if not, it is only good for connections that are open.
    pub is_live: bool,
}

/// What a pod resolved to one address.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Bound {
    /// The names.
    pub names: BTreeMap<DnsName, Named>,
    /// What policy says of the address whatever its name.
    pub unnamed: Arc<Row>,
}

impl Bound {
    /// What policy says of a TCP port where the address means a name, and without one.
    pub(crate) fn ruling(&self, name: Option<&Named>, port: u16) -> Ruling {
        name.map_or(&self.unnamed, |name| &name.row).ruling(Protocol::TCP, port)
    }
}

/// One pod.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct PodState {
    /// The rules that its rows name.
    pub rules: HashMap<RuleId, Arc<RuleFacts>>,
    /// What it resolved.
    pub bound: HashMap<IpAddr, Bound>,
}

impl PodState {
    /// What is known of a rule; nothing of one that nobody told of.
    pub(crate) fn rule(&self, rule: RuleId) -> Option<&Arc<RuleFacts>> {
        self.rules.get(&rule)
    }
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
    /// Budgets that are used up.
    pub spent: HashMap<u32, Window>,
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

    /// Binds names to an address for a pod, in place of what was bound there; `None` forgets them. The rules are added to
    /// those that are known of the pod. False if the pod is unknown.
    #[must_use]
    pub fn bind(
        &self,
        pod: IpAddr,
        destination: IpAddr,
        rules: impl IntoIterator<Item = (RuleId, Arc<RuleFacts>)>,
        bound: Option<Bound>,
    ) -> bool {
        let mut state = self.0.write().unwrap_or_else(PoisonError::into_inner);
        let Some(pod) = state.as_mut().and_then(|state| state.pods.get_mut(&pod)) else { return false };
        pod.rules.extend(rules);
        match bound {
            Some(bound) => pod.bound.insert(destination, bound),
            None => pod.bound.remove(&destination),
        };
        true
    }

    /// Says which budgets are used up.
    pub fn spend(&self, spent: HashMap<u32, Window>) {
        let mut state = self.0.write().unwrap_or_else(PoisonError::into_inner);
        if let Some(state) = state.as_mut() {
            state.spent = spent;
        }
    }

    fn judged(&self, opening: &Opening, is_open: bool) -> Judgement {
        let state = self.0.read().unwrap_or_else(PoisonError::into_inner);
        let Some(state) = state.as_ref() else { return Judgement::without_rule(Reason::NoPolicy) };
        let judgement = match state.pods.get(&opening.pod) {
            None => Judgement::without_rule(Reason::UnknownPod),
            Some(pod) => match pod.bound.get(&opening.destination.ip()) {
                None => Judgement::without_rule(Reason::NotResolved),
                Some(bound) => judge(pod, bound, &state.rules, opening, is_open),
            },
        };
        let spent = judgement.budget.and_then(|budget| state.spent.get(&budget));
        let judgement = match spent {
            Some(window) => Judgement { reason: window.reason(), ..judgement },
            None => judgement,
        };
        Judgement { generation: state.generation, ..judgement }
    }
}

impl Judge for Table {
    fn judge(&self, opening: &Opening) -> Judgement {
        self.judged(opening, false)
    }

    fn still(&self, opening: &Opening) -> Judgement {
        self.judged(opening, true)
    }

    fn needs_claim(&self, pod: IpAddr, destination: SocketAddr) -> bool {
        let state = self.0.read().unwrap_or_else(PoisonError::into_inner);
        let pod = state.as_ref().and_then(|state| state.pods.get(&pod));
        let Some((pod, bound)) = pod.and_then(|pod| Some((pod, pod.bound.get(&destination.ip())?))) else {
            return true;
        };
        let is_free = |ruling: Ruling| {
            let limited =
                pod.rule(ruling.rule).is_some_and(|rule| rule.budget.is_some() || !rule.ceiling.is_open());
            ruling.verdict == Verdict::Allow && !limited
        };
        let names = bound.names.values().map(Some).chain([None]);
        !names.map(|name| bound.ruling(name, destination.port())).all(is_free)
    }

    fn may_be_silent(&self, port: u16) -> bool {
        let state = self.0.read().unwrap_or_else(PoisonError::into_inner);
        state.as_ref().is_some_and(|state| {
            !state.rules.tls_ports.contains(&port)
                && !state.rules.http_ports.contains(&port)
                && state.rules.opaque == Opaque::ByEveryName
        })
    }

    fn checks_certificates(&self) -> bool {
        let state = self.0.read().unwrap_or_else(PoisonError::into_inner);
        state.as_ref().is_none_or(|state| state.rules.certificates)
    }
}
