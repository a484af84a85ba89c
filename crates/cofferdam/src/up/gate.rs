//! What a node's gateway is told: for each pod, what policy says of the addresses that it knows by name.
//!
//! Enters: a table, the maker of its rows, and pairs of a pod and an address with the names that the one has for the other.
//! Leaves: the state of the gateway, whole or by changes. Guarantees: a rule with an hour's or a day's limit is told only
//! once the kernel counts it. Does not: steer packets to the gateway, or talk to DNS.

use super::budgets::Ledger;
use super::enforce::NamedPair;
use super::gateway_proxy::{GatewayProxy, Told};
use super::keeper::Keeper;
use super::quotas::Quotas;
use super::visits::Visits;
use anyhow::Result;
use compiler::lower::{Binder, Judging};
use dns::address::{Reach, reach};
use gateway::{
    Bind, Bound, Ceiling, Egress, Inspection, Keys, Named, OwnInspection, PodState, Prices, RequestRule,
    Resolved, RuleFacts, Rules, State, StoreMeans, StoreStanding,
};
use ipnet::IpNet;
use policy::table::{Row, Table};
use policy::{DnsName, Key, OwnEgress, Pod, PodName, Protocol, RuleId, SecretRef};
use std::collections::{BTreeMap, BTreeSet, HashMap, HashSet};
use std::net::{IpAddr, SocketAddr};
use std::path::PathBuf;
use std::sync::Arc;

/// The gateway of one node.
pub(crate) struct Gate {
    pub(crate) keeper: Keeper<GatewayProxy>,
    pub(crate) budgets: Ledger,
    pub(crate) quotas: Quotas,
    holding: Holding,
    /// Which pod has an address.
    workloads: HashMap<IpAddr, Arc<str>>,
    /// Where pods may go by themselves, of those whose requests are judged.
    own: HashMap<IpAddr, Arc<OwnEgress>>,
    /// Namespaces whose pods' TLS is opened with an authority of their own or not at all.
    wanting: BTreeSet<Arc<str>>,
    /// The authorities of namespaces, so far as there are any.
    given: Arc<OwnInspection>,
    store: Option<Arc<StoreMeans>>,
    /// All keys that there are; a gateway is told those that rules of its pods have.
    keys: Arc<BTreeMap<SecretRef, Key>>,
    /// Where clients of the explicit proxy were led.
    visits: Visits,
    revision: u64,
}

/// How connections are held to their name, and opened where rules look at requests.
#[derive(Clone, Debug)]
pub(crate) struct Holding {
    pub(crate) rules: Rules,
    /// With what TLS is opened. None: it is not, and what would have to be is refused.
    pub(crate) inspection: Option<Arc<Inspection>>,
    /// By which central gateway they leave. None: from this node.
    pub(crate) egress: Option<Arc<Egress>>,
    /// What calls cost. None: nobody said.
    pub(crate) prices: Option<Arc<Prices>>,
    /// Where budgets are shared with other nodes, but for the name of this one. None: nowhere.
    pub(crate) store: Option<StoreMeans>,
    pub(crate) front: Front,
}

/// The explicit proxy, where there is one.
#[derive(Clone, Debug, Default)]
pub(crate) struct Front {
    /// Where it listens.
    pub(crate) listen: Vec<SocketAddr>,
    /// Private networks that it may lead to.
    pub(crate) private: Vec<IpNet>,
}

impl Gate {
    /// In the calling thread's network namespace. `control` is where the proxy waits for the next agent, and where, beside
    /// it, budgets are kept.
    pub(crate) fn open(node: Arc<str>, control: Option<PathBuf>, holding: Holding) -> Result<Self> {
        let beside = |extension| control.as_deref().map(|path| path.with_extension(extension));
        let budgets = Ledger::open(beside("budgets"))?;
        let quotas = Quotas::open(beside("quotas"))?;
        let store = holding.store.clone();
        let store = store.map(|means| Arc::new(StoreMeans { node: Arc::clone(&node), ..means }));
        let keeper = Keeper::open(node, control, holding.front.listen.clone())?;
        let (workloads, own) = (HashMap::new(), HashMap::new());
        let (wanting, given) = (BTreeSet::new(), Arc::default());
        let (visits, keys, revision) = (Visits::default(), Arc::default(), 0);
        Ok(Self {
            keeper,
            budgets,
            quotas,
            holding,
            workloads,
            own,
            wanting,
            given,
            store,
            keys,
            visits,
            revision,
        })
    }

    /// Says which pod has an address, where it may go by itself, and which namespaces want an authority of their own, from the
    /// next table on.
    pub(crate) fn know(
        &mut self,
        workloads: HashMap<IpAddr, Arc<str>>,
        own: HashMap<IpAddr, Arc<OwnEgress>>,
        wanting: BTreeSet<Arc<str>>,
    ) {
        (self.workloads, self.own, self.wanting) = (workloads, own, wanting);
    }

    /// Has connections leave by another central gateway from now on. What is open goes on as it is.
    pub(crate) fn leave_by(&mut self, egress: &Arc<Egress>) {
        if self.holding.egress.as_ref() == Some(egress) {
            return;
        }
        self.holding.egress = Some(Arc::clone(egress));
        self.revision += 1;
        let egress = self.holding.egress.clone();
        if let Some(state) = self.keeper.with_state(|told| State { egress, ..told.state.clone() }) {
            self.keeper.tell(Told { revision: self.revision, state });
        }
    }

    /// Has the gateway go by a table, and by what pods know.
    pub(crate) fn tell(&mut self, table: &Table, binder: &mut Binder, pairs: &[NamedPair<'_>]) -> Result<()> {
        self.revision += 1;
        let pods = table.endpoints.keys().map(|pod| (*pod, PodState::default())).collect();
        let mut state = State {
            generation: table.generation,
            rules: self.holding.rules.clone(),
            pods,
            spent: self.budgets.spent().clone(),
            inspection: self.holding.inspection.clone(),
            own_inspection: self.own_inspection(),
            quota_use: self.quotas.used(),
            egress: self.holding.egress.clone(),
            workloads: self.workloads.clone(),
            prices: self.holding.prices.clone(),
            store: self.store.clone(),
            keys: Arc::default(),
        };
        self.visits.retain(|pod| table.endpoints.contains_key(&pod));
        let visits = self.visits.clone();
        let told: HashSet<(IpAddr, IpAddr)> = pairs.iter().map(|pair| (pair.from, pair.to)).collect();
        let others = visits.pairs().filter(|pair| !told.contains(&(pair.from, pair.to)));
        for pair in pairs.iter().cloned().chain(others) {
            let news = News::all(&pair, &visits);
            if let Some(bind) = self.made(table, binder, &pair, &news, |_| false)? {
                apply(&bind, &mut state);
            }
        }
        // Requests are judged by all of a pod's rules that look at them, also those that no address has led to yet.
        for (pod, known) in &mut state.pods {
            known.own = self.own.get(pod).cloned().unwrap_or_default();
            for judging in binder.judging(table, *pod) {
                let facts = || {
                    Arc::new(RuleFacts { text: text(table, judging.rule), ..of_requests(table, &judging) })
                };
                known.rules.entry(judging.rule).or_insert_with(facts);
            }
        }
        state.keys = self.keys_of(&state);
        self.keeper.tell(Told { revision: self.revision, state });
        Ok(())
    }

    /// Has TLS opened with other means from now on. What is open goes on as it is.
    pub(crate) fn inspect_with(&mut self, inspection: Option<Arc<Inspection>>) {
        if self.holding.inspection == inspection {
            return;
        }
        self.holding.inspection = inspection;
        self.revision += 1;
        let inspection = self.holding.inspection.clone();
        if let Some(state) = self.keeper.with_state(|told| State { inspection, ..told.state.clone() }) {
            self.keeper.tell(Told { revision: self.revision, state });
        }
    }

    /// Has TLS of pods of some namespaces opened with these authorities from now on. What is open goes on as it is.
    pub(crate) fn inspect_own_with(&mut self, given: &Arc<OwnInspection>) {
        if self.given == *given {
            return;
        }
        self.given = Arc::clone(given);
        self.revision += 1;
        let own_inspection = self.own_inspection();
        if let Some(state) = self.keeper.with_state(|told| State { own_inspection, ..told.state.clone() }) {
            self.keeper.tell(Told { revision: self.revision, state });
        }
    }

    /// The authority of each namespace that wants its own, or that there is none.
    fn own_inspection(&self) -> Arc<OwnInspection> {
        let given = |space: &Arc<str>| self.given.authorities.get(space).cloned().flatten();
        let all = self.wanting.iter().map(|space| (Arc::clone(space), given(space)));
        let authorities: BTreeMap<_, _> = all.collect();
        match authorities.is_empty() {
            true => Arc::default(),
            false => Arc::new(OwnInspection { authorities, roots: self.given.roots.clone() }),
        }
    }

    /// Has requests leave with other keys from the next one on.
    pub(crate) fn inject_with(&mut self, keys: &Arc<BTreeMap<SecretRef, Key>>) {
        self.keys = Arc::clone(keys);
        self.revision += 1;
        let next =
            self.keeper.with_state(|told| State { keys: self.keys_of(&told.state), ..told.state.clone() });
        if let Some(state) = next {
            self.keeper.tell(Told { revision: self.revision, state });
        }
    }

    /// The keys that rules of pods of this state have.
    fn keys_of(&self, state: &State) -> Arc<Keys> {
        let rules = state.pods.values().flat_map(|pod| pod.rules.values());
        let inject =
            |facts: &Arc<RuleFacts>| Some(facts.requests.as_ref()?.requests.inject.as_ref()?.secret.clone());
        let wanted: BTreeSet<SecretRef> = rules.filter_map(inject).collect();
        Arc::new(Keys::some(&self.keys, |secret| wanted.contains(secret)))
    }

    /// Whether it was told how to open TLS.
    pub(crate) fn opens_tls(&self) -> bool {
        self.holding.inspection.is_some()
    }

    /// Tells the gateway of single pairs. It knows before it refuses somebody because of them.
    pub(crate) fn bind(&mut self, table: &Table, binder: &mut Binder, pairs: &[NamedPair<'_>]) -> Result<()> {
        let visits = std::mem::take(&mut self.visits);
        let binds = self.binds(table, binder, pairs, &visits);
        self.visits = visits;
        let binds = binds?;
        self.revision += 1;
        let revision = self.revision;
        self.keeper.extend(
            |told| {
                told.revision = revision;
                binds.iter().for_each(|bind| apply(bind, &mut told.state));
            },
            |proxy| Ok(proxy.bind(revision, &binds)?),
        );
        Ok(())
    }

    /// What it was not told of these pairs.
    fn binds(
        &mut self,
        table: &Table,
        binder: &mut Binder,
        pairs: &[NamedPair<'_>],
        visits: &Visits,
    ) -> Result<Vec<Bind>> {
        let known: Option<Vec<(Vec<RuleId>, News<'_>)>> = self.keeper.with_state(|told| {
            let state = &told.state;
            let known = |pair| {
                let (all, pod) = (News::all(pair, visits), state.pods.get(&pair.from));
                let bound = pod.and_then(|pod| pod.bound.get(&pair.to));
                let news = match bound.filter(|_| state.generation == table.generation) {
                    Some(bound) => all.beyond(bound),
                    None => all,
                };
                (pod.map(|pod| pod.rules.keys().copied().collect()).unwrap_or_default(), news)
            };
            pairs.iter().map(known).collect()
        });
        let mut known = known.unwrap_or_default().into_iter();
        let mut binds = Vec::new();
        for pair in pairs {
            let (of_pod, news) = known.next().unwrap_or_else(|| (Vec::new(), News::all(pair, visits)));
            // What it knows of a rule that looks at requests may be without the pod's budget.
            let knows = |rule: RuleId| {
                let entry = table.rules.get(rule.0 as usize);
                let is_whole = entry.is_none_or(|entry| match &entry.requests {
                    Some(requests) => entry.upload.is_none() && requests.quotas.is_open(),
                    None => true,
                });
                is_whole && of_pod.contains(&rule)
            };
            binds.extend(self.made(table, binder, pair, &news, knows)?);
        }
        Ok(binds)
    }

    /// Of the prices that calls are counted by.
    pub(crate) fn currency(&self) -> Option<Arc<str>> {
        self.holding.prices.as_ref().map(|prices| Arc::clone(&prices.currency))
    }

    /// Of which workloads pods are, before they are told of: budgets that are shared are a workload's.
    pub(crate) fn know_workloads<'w>(&mut self, pods: impl Iterator<Item = &'w Pod>) {
        if self.store.is_some() {
            self.quotas.share(pods);
        }
    }

    /// How the store of shared budgets stands; nothing where there is none.
    pub(crate) fn store_standing(&self) -> Option<StoreStanding> {
        self.store.as_ref()?;
        Some(self.keeper.standing().counts.store.unwrap_or_default())
    }

    /// Whether the explicit proxy leads anybody to an address that is no pod's and no node's.
    pub(crate) fn leads_to(&self, address: IpAddr) -> bool {
        match reach(address) {
            Reach::Public => true,
            Reach::Private => self.holding.front.private.iter().any(|net| net.contains(&address)),
            Reach::Special => false,
        }
    }

    /// Has the gateway know what policy says of addresses that a client of the explicit proxy is led to, and leads it
    /// there.
    pub(crate) fn lead(
        &mut self,
        table: &Table,
        binder: &mut Binder,
        pairs: &[NamedPair<'_>],
        (id, name): (u64, Option<&DnsName>),
    ) -> Result<()> {
        for pair in pairs {
            self.visits.note(pair.pod, (pair.from, pair.to), name);
        }
        self.bind(table, binder, pairs)?;
        self.answer(id, &Ok(pairs.iter().map(|pair| pair.to).collect()));
        Ok(())
    }

    /// Tells the gateway where a host is, or why nowhere.
    pub(crate) fn answer(&self, id: u64, found: &Resolved) {
        self.keeper.change(|_| {}, |proxy| Ok(proxy.found(id, found)?));
    }

    /// Keeps what the gateway counted of requests and tokens, for the next one.
    pub(crate) fn keep_quotas(&mut self) {
        if self.quotas.note(&self.keeper.standing().counts.quotas) {
            let used = self.quotas.used();
            // The one that runs knows it.
            self.keeper.change(|told| told.state.quota_use.clone_from(&used), |_| Ok(()));
        }
    }

    /// Tells the gateway which budgets are used up, if that changed.
    pub(crate) fn spend(&mut self) {
        let spent = self.budgets.spent();
        if self.keeper.with_state(|told| told.state.spent != *spent) == Some(true) {
            self.keeper.change(|told| told.state.spent = spent.clone(), |proxy| Ok(proxy.spend(spent)?));
        }
    }

    /// What the gateway is to know of a pair; `None` where it has nothing to do with it.
    fn made(
        &mut self,
        table: &Table,
        binder: &mut Binder,
        pair: &NamedPair<'_>,
        news: &News<'_>,
        knows: impl Fn(RuleId) -> bool,
    ) -> Result<Option<Bind>> {
        let NamedPair { pod, from, to, .. } = pair;
        if !table.endpoints.contains_key(from) {
            return Ok(None);
        }
        let Some(unnamed) = table.unbound_row(*from, *to).cloned().map(Arc::new) else { return Ok(None) };
        let mut names = BTreeMap::new();
        for (name, is_live) in &news.names {
            let row = binder.row(table, *from, pair.destination(), [*name]);
            let row = row.unwrap_or_else(|| Arc::clone(&unnamed));
            names.insert((*name).clone(), Named { row, is_live: *is_live });
        }
        let bound = news.is_known.then_some(Bound { names, unnamed, adds: news.adds });
        let mut rules = Vec::new();
        if let Some(bound) = &bound {
            let rows = bound.names.values().map(|named| &*named.row).chain([&*bound.unnamed]);
            let ids: BTreeSet<RuleId> = rows.flat_map(rules_of).filter(|rule| !knows(*rule)).collect();
            for rule in ids {
                let judging =
                    || binder.judging(table, *from).into_iter().find(|judging| judging.rule == rule);
                rules.push((rule, Arc::new(self.facts(table, pod, rule, judging)?)));
            }
        }
        Ok(Some(Bind { pod: *from, destination: *to, rules, bound }))
    }

    fn facts(
        &mut self,
        table: &Table,
        pod: &PodName,
        rule: RuleId,
        judging: impl FnOnce() -> Option<Judging>,
    ) -> Result<RuleFacts> {
        let Some(entry) = table.rules.get(rule.0 as usize) else {
            return Ok(RuleFacts { text: text(table, rule), ..RuleFacts::default() });
        };
        let limits = entry.upload.unwrap_or_default();
        let ceiling = Ceiling::from(limits);
        let budget = self.budgets.number(pod, entry)?;
        let of_requests = match &entry.requests {
            // Of a rule that should look at requests and cannot be found again, nothing is allowed.
            Some(_) => judging().map_or_else(nothing, |judging| of_requests(table, &judging)),
            None => RuleFacts::default(),
        };
        let quota = self.quotas.number(pod, entry)?;
        let shared = quota.and_then(|_| self.quotas.shared_name(pod, entry));
        Ok(RuleFacts { text: text(table, rule), ceiling, budget, quota, shared, ..of_requests })
    }
}

/// What a gateway is to be told of the names of a pair.
#[derive(Debug)]
struct News<'n> {
    /// Whether each holds now.
    names: BTreeMap<&'n DnsName, bool>,
    /// Whether these come beside what it was told.
    adds: bool,
    /// Whether it is to know the pair: also where no name makes a difference any more, what is open is judged by it.
    is_known: bool,
}

impl<'n> News<'n> {
    /// Everything.
    fn all(pair: &NamedPair<'n>, visits: &'n Visits) -> Self {
        let visited = visits.names(pair.from, pair.to);
        let led = visited.into_iter().flatten().map(|name| (name, false));
        // What holds now counts before what held.
        let held = led.chain(pair.past.iter().map(|name| (*name, false)));
        let mut names: BTreeMap<&DnsName, bool> = held.collect();
        names.extend(pair.live.iter().map(|name| (*name, true)));
        let is_known = pair.is_outside && (!names.is_empty() || visited.is_some());
        Self { names, adds: false, is_known }
    }

    /// Without what was told, if all of that is still so but for whether it holds. A name's row is the same for as long as
    /// the table is.
    fn beyond(self, told: &Bound) -> Self {
        let still = |name: &DnsName| told.names.get(name);
        if self.names.keys().filter(|name| still(name).is_some()).count() < told.names.len() {
            return self;
        }
        let is_new =
            |(name, is_live): &(&'n DnsName, bool)| still(name).is_none_or(|named| named.is_live != *is_live);
        Self { names: self.names.into_iter().filter(is_new).collect(), adds: true, ..self }
    }
}

/// Does to a state what telling a proxy does to the proxy's.
fn apply(bind: &Bind, state: &mut State) {
    let Some(pod) = state.pods.get_mut(&bind.pod) else { return };
    pod.rules.extend(bind.rules.iter().cloned());
    pod.bind(bind.destination, bind.bound.clone());
}

fn text(table: &Table, rule: RuleId) -> Arc<str> {
    let entry = table.rules.get(rule.0 as usize);
    entry.map_or_else(|| "a rule that is gone".into(), |entry| entry.to_string().into())
}

/// Which requests a rule allows, as the gateway is to know it.
fn of_requests(table: &Table, judging: &Judging) -> RuleFacts {
    let Judging { rule, names, ports, is_shared } = judging;
    let requests = table.rules.get(rule.0 as usize).and_then(|entry| entry.requests.as_deref());
    let Some(requests) = requests else { return nothing() };
    let (requests, names, ports) = (requests.clone(), names.clone(), ports.clone());
    let rule = RequestRule { requests, names, ports, shared: *is_shared };
    RuleFacts { requests: Some(Arc::new(rule)), ..RuleFacts::default() }
}

/// No request at all.
fn nothing() -> RuleFacts {
    RuleFacts { requests: Some(Arc::new(RequestRule::nothing())), ..RuleFacts::default() }
}

/// The rules by which a row judges TCP.
fn rules_of(row: &Row) -> impl Iterator<Item = RuleId> {
    let cells = row.cells.iter().filter(|cell| cell.protocol == Protocol::TCP);
    cells.map(|cell| cell.ruling.rule).chain([row.otherwise.rule])
}

#[cfg(test)]
mod tests {
    use super::*;
    use policy::Verdict;
    use policy::table::Ruling;

    fn row() -> Arc<Row> {
        let otherwise = Ruling { verdict: Verdict::Deny, rule: RuleId(16) };
        Arc::new(Row { otherwise, cells: Vec::new() })
    }

    fn names(numbers: std::ops::Range<usize>) -> Vec<DnsName> {
        numbers.map(|number| DnsName::parse(&format!("n{number}.cdn.io")).unwrap()).collect()
    }

    fn pair<'n>(pod: &'n PodName, live: &'n [DnsName], past: &'n [DnsName]) -> NamedPair<'n> {
        NamedPair {
            pod,
            from: [10, 0, 0, 1].into(),
            to: [192, 0, 2, 1].into(),
            live: live.iter().collect(),
            past: past.iter().collect(),
            is_outside: true,
        }
    }

    /// Tells what is new, and says of how many names that was, and whether beside the others.
    fn tell(state: &mut PodState, pair: &NamedPair<'_>) -> (usize, bool) {
        let visits = Visits::default();
        let all = News::all(pair, &visits);
        let news = match state.bound.get(&pair.to) {
            Some(told) => all.beyond(told),
            None => all,
        };
        let named =
            |(name, is_live): (&&DnsName, &bool)| ((*name).clone(), Named { row: row(), is_live: *is_live });
        let bound = Bound { names: news.names.iter().map(named).collect(), unnamed: row(), adds: news.adds };
        state.bind(pair.to, news.is_known.then_some(bound));
        (news.names.len(), news.adds)
    }

    #[test]
    fn a_name_more_costs_one_name_however_many_there_are() {
        let (mut state, pod) = (PodState::default(), ("x".into(), "a".into()));
        let all = names(0..500);
        let told: usize = (1..=500).map(|count| tell(&mut state, &pair(&pod, &all[..count], &[])).0).sum();
        assert_eq!(told, 500);
        let known = &state.bound[&IpAddr::from([192, 0, 2, 1])];
        assert!(known.names.keys().eq(all.iter().collect::<BTreeSet<_>>()) && !known.adds);
    }

    #[test]
    fn what_holds_no_more_is_told_alone_and_what_is_gone_with_all_that_is_left() {
        let (mut state, pod) = (PodState::default(), ("x".into(), "a".into()));
        let all = names(0..10);
        assert_eq!(tell(&mut state, &pair(&pod, &all, &[])), (10, false));
        assert_eq!(tell(&mut state, &pair(&pod, &all, &[])), (0, true));
        assert_eq!(tell(&mut state, &pair(&pod, &all[..7], &all[7..])), (3, true));
        let holds = |state: &PodState| {
            let known = state.bound.values().flat_map(|bound| bound.names.values());
            known.map(|named| named.is_live).collect::<Vec<_>>()
        };
        assert_eq!(holds(&state), [[true; 7].as_slice(), &[false; 3]].concat());
        assert_eq!(tell(&mut state, &pair(&pod, &all[..6], &all[7..])), (9, false), "one is gone");
        assert_eq!(holds(&state).len(), 9);
        assert_eq!(tell(&mut state, &pair(&pod, &[], &[])), (0, false));
        assert!(state.bound.is_empty());
    }
}
