//! What the central gateway judges a CONNECT by: its own copy of policy, with the reference evaluator.
//!
//! Enters: a [`PolicySet`] with every pod. Leaves: judgements. Guarantees: as if the pod had resolved to the address the names
//! that its node says, which its node alone knows; a pod that is not on the node that asks, or has another address, is
//! nobody. A workload that comes by itself gets what a rule allows it by name or by address, and nothing for want of a
//! policy. Does not: judge requests, budgets or what is carried; for such a workload a rule that demands it allows nothing.

use super::asked::Asked;
use super::barred::{Bar, Needs};
use crate::decide::Judgement;
use crate::reason::Reason;
use policy::decide::{self, selects};
use policy::dns_rules;
use policy::{
    Access, Answers, Direction, DnsName, Endpoint, Generation, Party, Pod, PodName, PolicySet, Protocol,
    Resolved, RuleId, Verdict, World,
};
use std::collections::HashMap;
use std::net::{IpAddr, SocketAddr};
use std::sync::{Arc, Mutex, PoisonError};

/// Pods whose part of policy is kept at a time: those that connect now.
const PARTS: usize = 10_000;

/// One state of policy, for the whole cluster.
#[derive(Debug)]
pub struct Policies {
    set: PolicySet,
    bar: Bar,
    /// Parts of the set that concern one pod, as they were needed.
    parts: Mutex<HashMap<PodName, Arc<Mutex<PolicySet>>>>,
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

    /// Judges a workload that comes by itself: may it go there, for `name`, to which that address belongs?
    pub(super) fn visited(
        &self,
        workload: &Arc<Pod>,
        source: IpAddr,
        destination: SocketAddr,
        name: Option<&DnsName>,
    ) -> Judgement {
        let asked = Asked {
            pod: workload.to_string().into(),
            source: SocketAddr::new(source, 0),
            destination,
            names: Vec::new(),
            generation: self.generation(),
        };
        let part = self.part(workload);
        let mut part = part.lock().unwrap_or_else(PoisonError::into_inner);
        let judgement = match self.bar.needs(destination) {
            Needs::Barred => Judgement::without_rule(Reason::BarredDestination),
            Needs::RuleOfAddress => match judged_as(&mut part, workload, &asked, None) {
                allowed if allowed.reason.verdict() == Verdict::Allow && is_written(&allowed) => allowed,
                _ => Judgement::without_rule(Reason::BarredDestination),
            },
            Needs::Rule => judged_as(&mut part, workload, &asked, name),
        };
        let demands = judgement.deciding.is_some_and(|rule| {
            let is_read = part.requests(rule).is_some();
            is_read || part.upload(rule).is_some()
        });
        let reason = match judgement.reason.verdict() {
            Verdict::Allow if !is_written(&judgement) => Reason::WorkloadUnselected,
            Verdict::Allow if demands => Reason::NeedsNode,
            Verdict::Allow | Verdict::Deny => judgement.reason,
        };
        Judgement { reason, generation: self.generation(), ..judgement }
    }

    /// Whether a workload that comes by itself may have a name looked up: one that its policy speaks of and lets it ask for.
    ///
    /// # Errors
    /// The rule that is against it, where there is one.
    pub(super) fn may_ask(&self, workload: &Arc<Pod>, name: &DnsName) -> Result<(), Option<Arc<str>>> {
        let part = self.part(workload);
        let part = part.lock().unwrap_or_else(PoisonError::into_inner);
        let rules = dns_rules(&part, workload);
        let asked = rules.question(name);
        if asked.verdict == Verdict::Deny {
            return Err(part.rule(asked.rule).map(|entry| entry.to_string().into()));
        }
        if rules.speaks_of(name) { Ok(()) } else { Err(None) }
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
            Arc::new(Mutex::new(PolicySet {
                generation: whole.generation,
                policies: selecting.cloned().collect(),
                closed: closed.cloned().collect(),
                rules: Arc::clone(&whole.rules),
                detection: Arc::default(),
                world,
            }))
        };
        if parts.len() >= PARTS && !parts.contains_key(&key) {
            parts.clear();
        }
        Arc::clone(parts.entry(key).or_insert_with(make))
    }
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
    let access = Access {
        from: Endpoint { party: Party::Pod(pod), address: Some(asked.source.ip()) },
        to: Endpoint { party: Party::Outside, address: Some(to.ip()) },
        protocol: Protocol::TCP,
        port: to.port(),
    };
    let judged = decide::judge(part, &access, Direction::Egress);
    let reason = match (judged.verdict, name) {
        (Verdict::Allow, Some(_)) => Reason::NameAllowed,
        (Verdict::Allow, None) => Reason::AddressAllowed,
        (Verdict::Deny, Some(_)) => Reason::NameNotAllowed,
        (Verdict::Deny, None) => Reason::NoName,
    };
    let rule = part.rule(judged.rule).map(|entry| entry.to_string().into());
    Judgement { rule, deciding: Some(judged.rule), ..Judgement::without_rule(reason) }
}
