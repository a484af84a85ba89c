//! What pods resolved and what policy says of it, as the agent tells it; and the judge over it.

use crate::capture::Keep;
use crate::ceiling::Ceiling;
use crate::central::{Asked, Egress, EgressError, Forwarding, MOST_NAMES, Means, Route, is_of_machine};
use crate::decide::{Judge, Judgement, Opening, Permit, judge};
use crate::keys::Keys;
use crate::leaks::Searches;
use crate::quota::{Account, Accounts, Key, QuotaUse, Shared};
use crate::reason::Reason;
use crate::requests::{self, Demands, RequestJudgement, RequestRule};
use crate::settings::{Opaque, Rules};
use crate::tls::{Inspection, InspectionError, Inspector, Inspectors, OwnInspection, Whose};
use policy::table::{Row, Ruling};
use policy::{DnsName, Generation, Leaks, Operation, OwnEgress, Protocol, RuleId, Verdict};
use purse::{Prices, Purse, StoreMeans, StoreStanding};
use serde::{Deserialize, Serialize};
use std::collections::{BTreeMap, HashMap};
use std::net::{IpAddr, SocketAddr};
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, PoisonError, RwLock};
use thiserror::Error;

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
    /// Name of that account, the same at all gateways, where they share it. `None`: it is this gateway's alone.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub shared: Option<Arc<str>>,
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
    pub(crate) fn reason(self) -> Reason {
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
    /// Whether the names come beside those that are bound there already ([`PodState::bind`]), and not in place of them.
    pub adds: bool,
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
    /// Where it may go by itself, for what it has providers contact.
    pub own: Arc<OwnEgress>,
}

impl PodState {
    /// What is known of a rule; nothing of one that nobody told of.
    pub(crate) fn rule(&self, rule: RuleId) -> Option<&Arc<RuleFacts>> {
        self.rules.get(&rule)
    }

    /// Binds names to an address, in place of what was bound there or beside it; `None` forgets them.
    pub fn bind(&mut self, destination: IpAddr, bound: Option<Bound>) {
        let Some(bound) = bound else {
            self.bound.remove(&destination);
            return;
        };
        match self.bound.get_mut(&destination).filter(|_| bound.adds) {
            Some(held) => {
                held.names.extend(bound.names);
                held.unnamed = bound.unnamed;
            }
            None => {
                self.bound.insert(destination, Bound { adds: false, ..bound });
            }
        }
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
    /// With what that of pods of some namespaces is opened instead.
    pub own_inspection: Arc<OwnInspection>,
    /// The central gateway, by which connections leave. `None`: they leave from this node.
    pub egress: Option<Arc<Egress>>,
    /// Which pod (`namespace/name`) has an address of this node: what the central gateway is told.
    pub workloads: HashMap<IpAddr, Arc<str>>,
    /// What calls cost. `None`: nobody said, and where a rule limits it, calls are refused.
    pub prices: Option<Arc<Prices>>,
    /// Where budgets are shared with other gateways. `None`: nowhere.
    pub store: Option<Arc<StoreMeans>>,
    /// The keys that requests leave with, those that rules of these pods have. What is not among them, nothing leaves with.
    pub keys: Arc<Keys>,
}

/// Why a state cannot be gone by.
#[derive(Debug, Error)]
pub enum StateError {
    /// The means to open TLS cannot be used.
    #[error(transparent)]
    Inspection(#[from] InspectionError),
    /// The central gateway cannot be used.
    #[error(transparent)]
    Egress(#[from] EgressError),
    /// Budgets cannot be shared.
    #[error("sharing budgets: {0}")]
    Store(std::io::Error),
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
    last_tenancy: AtomicU64,
}

/// A state, and what was made of it.
#[derive(Debug)]
struct InForce {
    state: State,
    inspector: Option<Arc<Inspector>>,
    own: Inspectors,
    /// None where there is no central gateway; an error where there is one that cannot be used.
    central: Option<Result<Arc<Means>, ()>>,
    purse: Option<Arc<Purse<Accounts>>>,
    /// Of each pod's address a number of its own, until another pod has it.
    tenancies: HashMap<IpAddr, u64>,
}

impl InForce {
    /// Numbers addresses: whoever had one in the state before has it still, unless another pod is said to.
    fn follow(&mut self, before: Option<&Self>, last: &AtomicU64) {
        let workloads = &self.state.workloads;
        let held = |address: &IpAddr| {
            let before = before.filter(|it| it.state.workloads.get(address) == workloads.get(address))?;
            before.tenancies.get(address).copied()
        };
        let next = || last.fetch_add(1, Ordering::Relaxed) + 1;
        let all = self.state.pods.keys().map(|address| (*address, held(address).unwrap_or_else(next)));
        self.tenancies = all.collect();
    }
}

impl Table {
    /// A table that refuses everything.
    pub fn new() -> Self {
        Self::default()
    }

    /// Replaces everything. With means to open TLS that cannot be used, TLS that would have to be opened is refused; with a
    /// central gateway that cannot be used, what would have to go through it.
    pub fn replace(&self, state: State) {
        let (inspector, own) = (self.inspector_for(&state).ok().flatten(), self.own_for(&state));
        let central = self.central_for(&state).map_err(|_| ()).transpose();
        let purse = self.purse_for(&state).ok().flatten();
        self.put(InForce { state, inspector, own, central, purse, tenancies: HashMap::new() });
    }

    /// Replaces everything, or nothing.
    ///
    /// # Errors
    /// The means to open TLS or to share budgets, or the central gateway, cannot be used.
    pub fn try_replace(&self, state: State) -> Result<(), StateError> {
        let (inspector, own) = (self.inspector_for(&state)?, self.own_for(&state));
        let central = self.central_for(&state)?.map(Ok);
        let purse = self.purse_for(&state).map_err(StateError::Store)?;
        self.put(InForce { state, inspector, own, central, purse, tenancies: HashMap::new() });
        Ok(())
    }

    fn put(&self, mut next: InForce) {
        self.accounts.merge(&next.state.quota_use);
        let rules = next.state.pods.values().flat_map(|pod| pod.rules.values());
        let requests = || rules.clone().filter_map(|facts| Some(&facts.requests.as_ref()?.requests));
        let kept: Vec<Leaks> = requests().filter_map(Keep::leaks).collect();
        self.searches.keep(requests().map(|requests| &requests.leaks).chain(&kept));
        let mut now = self.now.write().unwrap_or_else(PoisonError::into_inner);
        next.follow(now.as_ref(), &self.last_tenancy);
        *now = Some(next);
    }

    /// What there is, where it is of the same gateway: connections to it are good for more.
    fn central_for(&self, state: &State) -> Result<Option<Arc<Means>>, EgressError> {
        let Some(egress) = &state.egress else { return Ok(None) };
        let now = self.now.read().unwrap_or_else(PoisonError::into_inner);
        let held = now.as_ref().and_then(|now| now.central.as_ref()?.as_ref().ok());
        if let Some(same) = held.filter(|means| means.is_of(egress)) {
            return Ok(Some(Arc::clone(same)));
        }
        drop(now);
        Ok(Some(Arc::new(Means::new(egress)?)))
    }

    /// What there is, where it is of the same means.
    fn purse_for(&self, state: &State) -> std::io::Result<Option<Arc<Purse<Accounts>>>> {
        let Some(means) = &state.store else { return Ok(None) };
        let now = self.now.read().unwrap_or_else(PoisonError::into_inner);
        let purse = now.as_ref().and_then(|now| now.purse.clone());
        drop(now);
        match purse.filter(|purse| purse.means() == means) {
            Some(purse) => Ok(Some(purse)),
            None => Purse::start(Arc::clone(means), &self.accounts).map(Some),
        }
    }

    /// How the store of shared budgets stands; nothing where there is none.
    pub(crate) fn store_standing(&self) -> Option<StoreStanding> {
        let now = self.now.read().unwrap_or_else(PoisonError::into_inner);
        now.as_ref().and_then(|now| now.purse.as_ref()).map(|purse| purse.standing())
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

    fn own_for(&self, state: &State) -> Inspectors {
        let now = self.now.read().unwrap_or_else(PoisonError::into_inner);
        let before = now.as_ref().map(|now| (Arc::clone(&now.state.own_inspection), now.own.clone()));
        drop(now);
        state.own_inspection.inspectors(before.as_ref().map(|(own, held)| (&**own, held)))
    }

    /// Binds names to an address for a pod, as [`PodState::bind`] does. The rules are added to those that are known of the pod.
    /// False if the pod is unknown.
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
        pod.bind(destination, bound);
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
    fn demands(
        &self,
        pod: IpAddr,
        rule: RuleId,
        facts: &RuleFacts,
        (prices, purse): (Option<Arc<Prices>>, Option<Arc<Purse<Accounts>>>),
        keys: &Keys,
    ) -> Demands {
        let Some(requests) = facts.requests.as_ref().map(|rule| &rule.requests) else {
            return Demands { prices, ..Demands::default() };
        };
        let account = (!requests.quotas.is_open()).then(|| Account {
            accounts: Arc::clone(&self.accounts),
            key: facts.quota.map_or(Key::Own(pod, rule), Key::Told),
            quotas: requests.quotas,
            shared: facts.shared.clone().zip(purse).map(|(name, purse)| Shared { name, purse }),
        });
        let inject = requests.inject.as_ref().map(|inject| keys.injecting(inject));
        Demands { account, prices, inject, ..Demands::of(requests, &self.searches) }
    }

    /// What pods used of their quotas.
    pub(crate) fn accounts(&self) -> Arc<Accounts> {
        Arc::clone(&self.accounts)
    }

    /// Asks the state that there is; `None` where there is none yet.
    fn ask<T>(&self, question: impl FnOnce(&State) -> T) -> Option<T> {
        self.ask_all(|now| question(&now.state))
    }

    fn ask_all<T>(&self, question: impl FnOnce(&InForce) -> T) -> Option<T> {
        let now = self.now.read().unwrap_or_else(PoisonError::into_inner);
        now.as_ref().map(question)
    }
}

impl State {
    /// What the central gateway is to be asked for; `None` of a pod that nobody told of.
    fn asked(&self, source: SocketAddr, permit: &Permit) -> Option<Asked> {
        let Opening { pod, destination, claim } = permit.opening();
        let bound = || self.pods.get(pod)?.bound.get(&destination.ip());
        let names = match permit.judgement().reason {
            Reason::NameAllowed => requests::name_of(claim).cloned().into_iter().collect(),
            Reason::EveryNameAllowed => {
                let live = bound()?.names.iter().filter(|(_, named)| named.is_live);
                live.map(|(name, _)| name.clone()).take(MOST_NAMES).collect()
            }
            // Whatever its name.
            _ => Vec::new(),
        };
        let workload = Arc::clone(self.workloads.get(pod)?);
        let generation = permit.judgement().generation;
        Some(Asked { pod: workload, source, destination: *destination, names, generation })
    }

    fn judged(&self, opening: &Opening, is_open: bool) -> Judgement {
        let judgement = match self.pods.get(&opening.pod) {
            None => Judgement::without_rule(Reason::UnknownPod),
            Some(pod) => match pod.bound.get(&opening.destination.ip()) {
                None => Judgement::without_rule(Reason::NotResolved),
                Some(bound) => {
                    let judgement = judge(pod, bound, &self.rules, opening, is_open);
                    let awaits = requests::awaits(pod, &judgement, opening);
                    Judgement { awaits, ..judgement }
                }
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

    fn wants_arguments(&self, pod: IpAddr) -> bool {
        let asks = |facts: &Arc<RuleFacts>| {
            facts.requests.as_ref().is_some_and(|rule| !rule.requests.tool_conditions.is_empty())
        };
        self.pods.get(&pod).is_some_and(|pod| pod.rules.values().any(asks))
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

    fn still(&self, opening: &Opening, _permitted: &Judgement) -> Judgement {
        let judged = self.ask(|state| state.judged(opening, true));
        judged.unwrap_or_else(|| Judgement::without_rule(Reason::NoPolicy))
    }

    fn judge_request(&self, opening: &Opening, operation: &Operation) -> RequestJudgement {
        let judged = self.ask_all(|now| {
            let state = &now.state;
            let judgement = state.judged_request(opening, operation);
            let pod = state.pods.get(&opening.pod);
            let deciding = judgement.deciding.and_then(|rule| Some((rule, Arc::clone(pod?.rule(rule)?))));
            (judgement, deciding, (state.prices.clone(), now.purse.clone()), Arc::clone(&state.keys))
        });
        let Some((judgement, deciding, (prices, purse), keys)) = judged else {
            return RequestJudgement::without_rule(Reason::NoPolicy);
        };
        let demands = match deciding {
            Some((rule, facts)) => self.demands(opening.pod, rule, &facts, (prices, purse), &keys),
            None => Demands { prices, ..Demands::default() },
        };
        RequestJudgement { demands, ..judgement }
    }

    fn wants_arguments(&self, pod: IpAddr) -> bool {
        self.ask(|state| state.wants_arguments(pod)).unwrap_or(false)
    }

    fn inspector(&self, pod: IpAddr) -> Option<Arc<Inspector>> {
        let found = self.ask_all(|now| {
            let workload = now.state.workloads.get(&pod).map(AsRef::as_ref);
            match now.state.own_inspection.whose(workload) {
                Whose::Cluster => now.inspector.clone(),
                Whose::Namespace(space) => now.own.get(space).cloned(),
                Whose::Nobody => None,
            }
        });
        found.flatten()
    }

    fn route(&self, pod: SocketAddr, permit: &Permit) -> Route {
        let now = self.now.read().unwrap_or_else(PoisonError::into_inner);
        let Some(now) = &*now else { return Route::Nowhere };
        match &now.central {
            None => Route::Direct,
            // There such an address would mean another machine.
            Some(_) if is_of_machine(permit.opening().destination.ip()) => Route::Direct,
            Some(Err(())) => Route::Nowhere,
            Some(Ok(means)) => {
                let Some(asked) = now.state.asked(pod, permit) else { return Route::Nowhere };
                let budget = permit.judgement().budget;
                Route::Central(Box::new(Forwarding { means: Arc::clone(means), asked, budget }))
            }
        }
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

    fn only_name(&self, pod: IpAddr, destination: SocketAddr) -> Option<DnsName> {
        self.ask(|state| {
            let bound = state.pods.get(&pod)?.bound.get(&destination.ip())?;
            let mut names = bound.names.iter().filter(|(_, named)| named.is_live).map(|(name, _)| name);
            match (names.next(), names.next()) {
                (Some(only), None) => Some(only.clone()),
                (Some(_) | None, _) => None,
            }
        })
        .flatten()
    }

    fn tenancy(&self, pod: IpAddr) -> u64 {
        // One that nobody told of is refused, whatever its number.
        self.ask_all(|now| now.tenancies.get(&pod).copied()).flatten().unwrap_or(0)
    }

    fn checks_certificates(&self) -> bool {
        self.ask(|state| state.rules.certificates).unwrap_or(true)
    }
}
