//! What pods resolved and what policy says of it, as the agent tells it; and the judge over it.

use crate::ceiling::Ceiling;
use crate::decide::{Judge, Judgement, Opening, judge};
use crate::leaks::Searches;
use crate::quota::{Account, Accounts, Key, QuotaUse};
use crate::reason::Reason;
use crate::requests::{self, Demands, RequestJudgement, RequestRule};
use crate::settings::{Opaque, Rules};
use crate::tls::{Inspection, InspectionError, Inspector};
use policy::table::{Row, Ruling};
use policy::{DnsName, Generation, Operation, Protocol, RuleId, Verdict};
use serde::{Deserialize, Serialize};
use std::collections::{BTreeMap, HashMap};
use std::net::{IpAddr, SocketAddr};
use std::sync::{Arc, PoisonError, RwLock};

/// What is to be known of a rule.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct RuleFacts {
    /// As a person reads it: object, field, file and line.
    pub text: Arc<str>,
    /// What one connection may carry.
    #[serde(default, skip_serializing_if = "Ceiling::is_open")]
    pub ceiling: Ceiling,
    /// Number of the budget that all connections of this pod under the rule draw on.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub budget: Option<u32>,
    /// Which requests it allows; its connections are opened for that. `None`: any, and they are passed on unread.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub requests: Option<Arc<RequestRule>>,
    /// Number of the account on which the pod's requests under the rule draw, where it has quotas; the same over states
    /// of policy and processes. `None`: an account of this process's own, until the rule has another number.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub quota: Option<u32>,
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
    /// The rules that its rows name, and those that share their requests with them ([`RequestRule::shared`]).
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
    /// What was used of accounts, as far as the agent knows; what this process knows counts as well.
    pub quota_use: HashMap<u32, QuotaUse>,
    /// With what TLS is opened. `None`: nothing is, and what would have to be is refused.
    pub inspection: Option<Arc<Inspection>>,
}

/// A judge over a [`State`] that changes. Until there is one, everything is refused.
///
/// Single names are bound many times a second and must be in force before the answer with their address leaves, so the
/// state is changed in place, under a lock that is held for one look-up.
#[derive(Debug, Default)]
pub struct Table {
    now: RwLock<Option<InForce>>,
    searches: Searches,
    accounts: Arc<Accounts>,
}

/// A state, and what was made of it.
#[derive(Debug)]
struct InForce {
    state: State,
    inspector: Option<Arc<Inspector>>,
}

impl Table {
    /// A table that refuses everything.
    pub fn new() -> Self {
        Self::default()
    }

    /// Replaces everything. With means to open TLS that cannot be used, TLS that would have to be opened is refused.
    pub fn replace(&self, state: State) {
        let inspector = self.inspector_for(&state).ok().flatten();
        self.put(state, inspector);
    }

    /// Replaces everything, or nothing.
    ///
    /// # Errors
    /// The means to open TLS cannot be used.
    pub fn try_replace(&self, state: State) -> Result<(), InspectionError> {
        let inspector = self.inspector_for(&state)?;
        self.put(state, inspector);
        Ok(())
    }

    fn put(&self, state: State, inspector: Option<Arc<Inspector>>) {
        self.accounts.merge(&state.quota_use);
        let rules = state.pods.values().flat_map(|pod| pod.rules.values());
        self.searches.keep(rules.filter_map(|facts| Some(&facts.requests.as_ref()?.requests.leaks)));
        *self.now.write().unwrap_or_else(PoisonError::into_inner) = Some(InForce { state, inspector });
    }

    /// What there is, where it is of the same means: it has certificates and sessions that are good for more.
    fn inspector_for(&self, state: &State) -> Result<Option<Arc<Inspector>>, InspectionError> {
        let Some(means) = &state.inspection else { return Ok(None) };
        let now = self.now.read().unwrap_or_else(PoisonError::into_inner);
        let same = now.as_ref().filter(|now| now.state.inspection.as_ref() == Some(means));
        if let Some(inspector) = same.and_then(|now| now.inspector.clone()) {
            return Ok(Some(inspector));
        }
        drop(now);
        Ok(Some(Arc::new(Inspector::new(means)?)))
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
        let mut state = self.now.write().unwrap_or_else(PoisonError::into_inner);
        let Some(pod) = state.as_mut().and_then(|now| now.state.pods.get_mut(&pod)) else { return false };
        pod.rules.extend(rules);
        match bound {
            Some(bound) => pod.bound.insert(destination, bound),
            None => pod.bound.remove(&destination),
        };
        true
    }

    /// Says which budgets are used up.
    pub fn spend(&self, spent: HashMap<u32, Window>) {
        let mut state = self.now.write().unwrap_or_else(PoisonError::into_inner);
        if let Some(now) = state.as_mut() {
            now.state.spent = spent;
        }
    }

    /// What a rule demands of the requests that it allows.
    fn demands(&self, pod: IpAddr, rule: RuleId, facts: &RuleFacts) -> Demands {
        let Some(requests) = facts.requests.as_ref().map(|rule| &rule.requests) else {
            return Demands::default();
        };
        let account = (!requests.quotas.is_open()).then(|| Account {
            accounts: Arc::clone(&self.accounts),
            key: facts.quota.map_or(Key::Own(pod, rule), Key::Told),
            quotas: requests.quotas,
        });
        Demands { search: self.searches.of(&requests.leaks), account, answers: requests.answers }
    }

    /// What pods used of their quotas.
    pub(crate) fn accounts(&self) -> Arc<Accounts> {
        Arc::clone(&self.accounts)
    }

    /// Asks the state that there is; `None` where there is none yet.
    fn ask<T>(&self, question: impl FnOnce(&State) -> T) -> Option<T> {
        let now = self.now.read().unwrap_or_else(PoisonError::into_inner);
        now.as_ref().map(|now| question(&now.state))
    }
}

impl State {
    fn judged(&self, opening: &Opening, is_open: bool) -> Judgement {
        let judgement = match self.pods.get(&opening.pod) {
            None => Judgement::without_rule(Reason::UnknownPod),
            Some(pod) => match pod.bound.get(&opening.destination.ip()) {
                None => Judgement::without_rule(Reason::NotResolved),
                Some(bound) => judge(pod, bound, &self.rules, opening, is_open),
            },
        };
        let spent = judgement.budget.and_then(|budget| self.spent.get(&budget));
        let judgement = match spent {
            Some(window) => Judgement { reason: window.reason(), ..judgement },
            None => judgement,
        };
        Judgement { generation: self.generation, ..judgement }
    }

    fn judged_request(&self, opening: &Opening, operation: &Operation) -> RequestJudgement {
        let connection = self.judged(opening, true);
        match self.pods.get(&opening.pod) {
            Some(pod) => requests::judge_request(pod, &connection, opening, operation),
            None => RequestJudgement::without_rule(Reason::UnknownPod),
        }
    }

    /// Whether anything but allow without bounds can come out at an address.
    fn needs_claim(&self, pod: IpAddr, destination: SocketAddr) -> bool {
        let Some(pod) = self.pods.get(&pod) else { return true };
        let Some(bound) = pod.bound.get(&destination.ip()) else { return true };
        let is_free = |ruling: Ruling| {
            let limited = pod.rule(ruling.rule).is_some_and(|rule| {
                rule.budget.is_some() || !rule.ceiling.is_open() || rule.requests.is_some()
            });
            ruling.verdict == Verdict::Allow && !limited
        };
        let names = bound.names.values().map(Some).chain([None]);
        !names.map(|name| bound.ruling(name, destination.port())).all(is_free)
    }
}

impl Judge for Table {
    fn judge(&self, opening: &Opening) -> Judgement {
        let judged = self.ask(|state| state.judged(opening, false));
        judged.unwrap_or_else(|| Judgement::without_rule(Reason::NoPolicy))
    }

    fn still(&self, opening: &Opening) -> Judgement {
        let judged = self.ask(|state| state.judged(opening, true));
        judged.unwrap_or_else(|| Judgement::without_rule(Reason::NoPolicy))
    }

    fn judge_request(&self, opening: &Opening, operation: &Operation) -> RequestJudgement {
        let judged = self.ask(|state| {
            let judgement = state.judged_request(opening, operation);
            let pod = state.pods.get(&opening.pod);
            let deciding = judgement.deciding.and_then(|rule| Some((rule, Arc::clone(pod?.rule(rule)?))));
            (judgement, deciding)
        });
        let Some((judgement, deciding)) = judged else {
            return RequestJudgement::without_rule(Reason::NoPolicy);
        };
        let demands = deciding.map(|(rule, facts)| self.demands(opening.pod, rule, &facts));
        let demands = demands.unwrap_or_default();
        RequestJudgement { demands, ..judgement }
    }

    fn inspector(&self) -> Option<Arc<Inspector>> {
        let now = self.now.read().unwrap_or_else(PoisonError::into_inner);
        now.as_ref().and_then(|now| now.inspector.clone())
    }

    fn needs_claim(&self, pod: IpAddr, destination: SocketAddr) -> bool {
        self.ask(|state| state.needs_claim(pod, destination)).unwrap_or(true)
    }

    fn may_be_silent(&self, port: u16) -> bool {
        let may = self.ask(|state| {
            !state.rules.tls_ports.contains(&port)
                && !state.rules.http_ports.contains(&port)
                && state.rules.opaque == Opaque::ByEveryName
        });
        may.unwrap_or(false)
    }

    fn checks_certificates(&self) -> bool {
        self.ask(|state| state.rules.certificates).unwrap_or(true)
    }
}
