//! What the central gateway judges a CONNECT by: its own copy of policy, with the reference evaluator.
//!
//! Enters: a [`PolicySet`] with every pod. Leaves: judgements. Guarantees: as if the pod had resolved to the address the names
//! that its node says, which its node alone knows; a pod that is not on the node that asks, or has another address, is
//! nobody. A workload that comes by itself gets what a rule allows it by name or by address, and nothing for want of a
//! policy; its requests are judged by the same rules as a pod's. Does not: judge requests of nodes' pods, count, or know keys;
//! for such a workload a rule that demands what nobody here does allows nothing.

use super::asked::Asked;
use super::barred::{Bar, Needs};
use super::spending::{Spending, Uncounted};
use crate::ceiling::Ceiling;
use crate::decide::{Awaits, Judgement, when_unopened};
use crate::keys::Keys;
use crate::leaks::Searches;
use crate::reason::Reason;
use crate::requests::{self, Demands, Handling, RequestJudgement};
use crate::state::Window;
use policy::decide::{self, selects};
use policy::{
    Access, Answers, Direction, DnsName, Endpoint, Generation, Operation, Party, Pod, PodName, PolicySet,
    Protocol, Resolved, RuleEntry, RuleId, Verdict, World,
};
use policy::{OwnEgress, dns_rules, is_for_accounts, judging_rules, own_egress};
use std::collections::HashMap;
use std::net::{IpAddr, SocketAddr};
use std::sync::{Arc, Mutex, PoisonError};

/// Pods whose part of policy is kept at a time: those that connect now.
const PARTS: usize = 10_000;

/// As what a pod was there, and the part of a set that concerns it.
type Part = (Arc<Pod>, Arc<Mutex<PolicySet>>);

/// One state of policy, for the whole cluster.
#[derive(Debug)]
pub struct Policies {
    set: PolicySet,
    bar: Bar,
    /// Parts of the set that concern one pod, as they were needed.
    parts: Mutex<HashMap<PodName, Part>>,
}

impl Policies {
    /// By a set. Names lead into private networks only where `private` has them.
    pub fn new(set: PolicySet, private: Vec<ipnet::IpNet>) -> Self {
        let pods = set.world.pods.iter().flat_map(|pod| &pod.addresses);
        let nodes = set.world.nodes.values().flat_map(|node| &node.addresses);
        let inside = pods.chain(nodes).map(IpAddr::to_canonical).collect();
        Self { set, bar: Bar { inside, private }, parts: Mutex::default() }
    }

    /// Which state.
    pub fn generation(&self) -> Generation {
        self.set.generation
    }

    /// Judges what a node asks for.
    pub(super) fn judge(&self, node: &str, asked: &Asked) -> Judgement {
        let judgement = self.judged(node, asked);
        Judgement { generation: self.generation(), ..judgement }
    }

    /// Whether a later state may know better: of a pod that just came, or by what the node knows already.
    pub(super) fn may_be_behind(&self, asked: &Asked, judgement: &Judgement) -> bool {
        judgement.reason == Reason::UnknownPod || asked.generation > self.generation()
    }

    fn judged(&self, node: &str, asked: &Asked) -> Judgement {
        let refuse = Judgement::without_rule;
        let found =
            asked.pod.split_once('/').and_then(|(namespace, name)| self.set.world.find_pod(namespace, name));
        let is_it = |pod: &&Arc<Pod>| {
            !pod.host_network
                && pod.addresses.iter().any(|it| it.to_canonical() == asked.source.ip().to_canonical())
        };
        let Some(pod) = found.filter(is_it) else { return refuse(Reason::UnknownPod) };
        if pod.node.as_deref() != Some(node) {
            return refuse(Reason::NotOnNode);
        }
        let needs = self.bar.needs(asked.destination);
        let part = self.part(pod);
        let mut part = part.lock().unwrap_or_else(PoisonError::into_inner);
        match needs {
            Needs::Barred => refuse(Reason::BarredDestination),
            Needs::RuleOfAddress => {
                let judgement = judged_as(&mut part, pod, asked, None);
                match (judgement.reason.verdict(), is_written(&judgement)) {
                    (Verdict::Allow, true) => judgement,
                    (Verdict::Allow | Verdict::Deny, _) => refuse(Reason::BarredDestination),
                }
            }
            Needs::Rule if asked.names.is_empty() => judged_as(&mut part, pod, asked, None),
            Needs::Rule => {
                let mut judgement = refuse(Reason::NoName);
                for name in &asked.names {
                    judgement = judged_as(&mut part, pod, asked, Some(name));
                    if judgement.reason.verdict() == Verdict::Deny {
                        return judgement;
                    }
                }
                judgement
            }
        }
    }

    /// Judges a connection of a workload that comes by itself.
    pub(super) fn visited(&self, visit: &Visit<'_>) -> Judgement {
        let part = self.part(visit.workload);
        let mut part = part.lock().unwrap_or_else(PoisonError::into_inner);
        self.connection(&mut part, visit)
    }

    /// Judges a request on such a connection, and says what the rule that allows it demands.
    pub(super) fn asked(
        &self,
        visit: &Visit<'_>,
        operation: &Operation,
        (searches, keys): (&Searches, &Keys),
    ) -> RequestJudgement {
        let part = self.part(visit.workload);
        let mut part = part.lock().unwrap_or_else(PoisonError::into_inner);
        let connection = self.connection(&mut part, visit);
        let asked = visit.asked(self.generation());
        let access = access(visit.workload, &asked);
        let rules = connection.deciding.map(|rule| judging_rules(&part, &access, rule)).unwrap_or_default();
        let text = |rule: RuleId| part.rule(rule).map(|entry| entry.to_string().into());
        let own = match operation.contacts.is_empty() {
            true => OwnEgress::default(),
            // As itself, what it has a provider contact needs a rule that somebody wrote.
            false => own_egress(&part, visit.workload).otherwise(Reason::WorkloadUnselected.describe()),
        };
        let operation = requests::with_contacts_judged(operation, &own);
        let judgement = requests::judge_by(rules, &connection, &operation, text);
        let Some(entry) = judgement.deciding.and_then(|rule| part.rule(rule)) else { return judgement };
        let demands = entry.requests.as_ref().map(|requests| Demands::of(requests, searches));
        let account = visit.spending.account(visit.workload, entry);
        let (Ok(account), false) = (account, needs_node(entry, visit.spending.counts())) else {
            let (nearest, generation) = (judgement.rule, judgement.generation);
            return RequestJudgement {
                nearest,
                generation,
                ..RequestJudgement::without_rule(Reason::NeedsNode)
            };
        };
        let limits = entry.upload.unwrap_or_default();
        if !connection.limits_as(&Ceiling::from(limits), limits.counts_over_time()) {
            return judgement.unlimited();
        }
        let inject = entry.requests.as_ref().and_then(|requests| requests.inject.as_ref());
        // Another policy may have the same key for an account; this one, which is not meant for any, has none.
        let is_meant = judgement.deciding.is_some_and(|rule| is_for_accounts(&part, rule));
        let inject = inject.map(|inject| match is_meant {
            true => keys.injecting(inject),
            false => Keys::default().injecting(inject),
        });
        let demands =
            Demands { account, prices: visit.spending.prices(), inject, ..demands.unwrap_or_default() };
        RequestJudgement { demands, ..judgement }
    }

    fn connection(&self, part: &mut PolicySet, visit: &Visit<'_>) -> Judgement {
        let asked = visit.asked(self.generation());
        let judgement = match self.bar.needs(visit.destination) {
            Needs::Barred => Judgement::without_rule(Reason::BarredDestination),
            Needs::RuleOfAddress => match judged_as(part, visit.workload, &asked, None) {
                allowed if allowed.reason.verdict() == Verdict::Allow && is_written(&allowed) => allowed,
                _ => Judgement::without_rule(Reason::BarredDestination),
            },
            Needs::Rule => judged_as(part, visit.workload, &asked, visit.name),
        };
        let entry = judgement.deciding.and_then(|rule| part.rule(rule));
        let needs_node = |entry: &RuleEntry| needs_node(entry, visit.spending.counts());
        let (reason, upload) = match (judgement.reason.verdict(), entry) {
            (Verdict::Allow, _) if !is_written(&judgement) => (Reason::WorkloadUnselected, None),
            (Verdict::Allow, Some(entry)) if needs_node(entry) => (Reason::NeedsNode, None),
            (Verdict::Allow, Some(entry)) => match visit.spending.upload(visit.workload, entry) {
                Ok(upload) => (judgement.reason, upload),
                Err(Uncounted) => (Reason::NeedsNode, None),
            },
            (Verdict::Allow | Verdict::Deny, _) => (judgement.reason, None),
        };
        let spent = upload.as_ref().and_then(|upload| upload.spent());
        let reason = spent.map_or(reason, Window::reason);
        let requests = entry.and_then(|entry| entry.requests.as_deref());
        let access = access(visit.workload, &asked);
        let judging = judgement.deciding.map(|rule| judging_rules(part, &access, rule));
        let ceiling = Ceiling::from(entry.and_then(|entry| entry.upload).unwrap_or_default());
        Judgement {
            reason,
            generation: self.generation(),
            handling: if requests.is_some() { Handling::Open } else { Handling::Pass },
            ceiling,
            when_unopened: when_unopened(requests, !ceiling.is_open() || upload.is_some()),
            upload,
            awaits: judging.map_or(Awaits::Nothing, |rules| requests::awaited(&rules)),
            ..judgement
        }
    }

    /// Whether a rule of such a workload asks what tools are called with.
    pub(super) fn wants_arguments(&self, workload: &Arc<Pod>) -> bool {
        let part = self.part(workload);
        let part = part.lock().unwrap_or_else(PoisonError::into_inner);
        let rules = part.policies.iter().flat_map(|policy| policy.egress.rules());
        let mut requests = rules.filter_map(|rule| part.requests(rule.id));
        requests.any(|requests| !requests.tool_conditions.is_empty())
    }

    /// Whether a workload that comes by itself may have a name looked up: one that its policy speaks of, or of which something is
    /// granted, and that it lets it ask for.
    ///
    /// # Errors
    /// The rule that is against it, where there is one.
    pub(super) fn may_ask(
        &self,
        workload: &Arc<Pod>,
        name: &DnsName,
        is_granted: bool,
    ) -> Result<(), Option<Arc<str>>> {
        let part = self.part(workload);
        let part = part.lock().unwrap_or_else(PoisonError::into_inner);
        let rules = dns_rules(&part, workload);
        let asked = rules.question(name);
        if asked.verdict == Verdict::Deny {
            return Err(part.rule(asked.rule).map(|entry| entry.to_string().into()));
        }
        // Rules that grant speak of every name, and allow none by that.
        let is_meant = rules.writes_of(name) || is_granted && rules.speaks_of(name);
        if is_meant { Ok(()) } else { Err(None) }
    }

    /// The policies that select a pod, and a world that has nobody else.
    fn part(&self, pod: &Arc<Pod>) -> Arc<Mutex<PolicySet>> {
        let key = (pod.namespace.clone(), pod.name.clone());
        let mut parts = self.parts.lock().unwrap_or_else(PoisonError::into_inner);
        let make = || {
            let whole = &self.set;
            let namespace = whole.world.namespaces.get(&pod.namespace);
            let namespaces = namespace.map(|it| (it.name.clone(), it.clone())).into_iter().collect();
            let world = World { namespaces, pods: vec![Arc::clone(pod)], ..World::default() };
            let selecting = whole.policies.iter().filter(|it| selects(&whole.world, &it.subject, pod));
            let closed = whole.closed.iter().filter(|it| selects(&whole.world, &it.subject, pod));
            let part = Arc::new(Mutex::new(PolicySet {
                generation: whole.generation,
                policies: selecting.cloned().collect(),
                closed: closed.cloned().collect(),
                rules: Arc::clone(&whole.rules),
                detection: Arc::default(),
                world,
            }));
            (Arc::clone(pod), part)
        };
        if parts.len() >= PARTS && !parts.contains_key(&key) {
            parts.clear();
        }
        // Who comes back by itself may stand under another address.
        if parts.get(&key).is_some_and(|(was, _)| !Arc::ptr_eq(was, pod)) {
            parts.remove(&key);
        }
        Arc::clone(&parts.entry(key).or_insert_with(make).1)
    }
}

/// Where a workload that comes by itself wants to go.
#[derive(Clone, Copy, Debug)]
pub(super) struct Visit<'a> {
    /// Who it is to policy.
    pub(super) workload: &'a Arc<Pod>,
    /// The address under which it stands.
    pub(super) source: IpAddr,
    pub(super) destination: SocketAddr,
    /// The name to which that address belongs, where the connection is for one.
    pub(super) name: Option<&'a DnsName>,
    /// What it draws on.
    pub(super) spending: &'a Spending,
}

impl Visit<'_> {
    fn asked(&self, generation: Generation) -> Asked {
        Asked {
            pod: self.workload.to_string().into(),
            source: SocketAddr::new(self.source, 0),
            destination: self.destination,
            names: Vec::new(),
            generation,
        }
    }
}

/// Whether a rule demands what nobody here can meet: an account that several gateways draw on, where they share no store (`counts`); or
/// a place for contents.
fn needs_node(rule: &RuleEntry, counts: bool) -> bool {
    let requests = rule.requests.as_deref();
    requests.is_some_and(|it| !counts && !it.quotas.is_open() || it.capture.is_some())
}

/// Whether somebody wrote the rule that decides.
fn is_written(judgement: &Judgement) -> bool {
    judgement.deciding.is_some_and(|rule| rule >= RuleId::FIRST_WRITTEN)
}

/// As if the address meant this name alone, or none.
fn judged_as(part: &mut PolicySet, pod: &Pod, asked: &Asked, name: Option<&DnsName>) -> Judgement {
    let to = asked.destination;
    let live: Answers = name.map(|name| (to.ip(), [name.clone()].into())).into_iter().collect();
    let key = (pod.namespace.clone(), pod.name.clone());
    part.world.names = [(key, Resolved { live, past: Answers::new() })].into();
    let judged = decide::judge(part, &access(pod, asked), Direction::Egress);
    let reason = match (judged.verdict, name) {
        (Verdict::Allow, Some(_)) => Reason::NameAllowed,
        (Verdict::Allow, None) => Reason::AddressAllowed,
        (Verdict::Deny, Some(_)) => Reason::NameNotAllowed,
        (Verdict::Deny, None) => Reason::NoName,
    };
    let rule = part.rule(judged.rule).map(|entry| entry.to_string().into());
    Judgement { rule, deciding: Some(judged.rule), ..Judgement::without_rule(reason) }
}

fn access<'a>(pod: &'a Pod, asked: &Asked) -> Access<'a> {
    let to = asked.destination;
    Access {
        from: Endpoint { party: Party::Pod(pod), address: Some(asked.source.ip()) },
        to: Endpoint { party: Party::Outside, address: Some(to.ip()) },
        protocol: Protocol::TCP,
        port: to.port(),
    }
}
