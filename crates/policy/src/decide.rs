//! The reference evaluator: slow, obvious, one branch per sentence of the APIs. Every fast path is tested
//! against it.
//!
//! Sentences marked K are from `k8s.io/api/networking/v1` types or the NetworkPolicy page of the Kubernetes
//! documentation; those marked C are from network-policy-api `v1alpha2` types. What an EgressPolicy means is ours
//! (`docs/decisions/0011-egress-policies.md`).

use crate::access::{Access, Direction, Endpoint, Party};
use crate::labels::Selector;
use crate::operation::Requests;
use crate::reason::Reason;
use crate::rule::{
    Action, ClosedScope, Demand, NamespaceScope, Peer, Peers, Policy, PortMatch, Ports, Rule, RuleId,
    Section, Subject, Tier,
};
use crate::set::PolicySet;
use crate::world::{Answers, Pod, World};
use serde::{Deserialize, Serialize};
use std::fmt;

/// Allow or deny. A deny is a silent drop.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
#[must_use]
pub enum Verdict {
    /// The connection may be opened.
    Allow,
    /// Its packets are dropped.
    Deny,
}

impl fmt::Display for Verdict {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Allow => "allow",
            Self::Deny => "deny",
        })
    }
}

/// What was found on the way to a judgement, in order.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
pub enum Step {
    /// A closed scope selects the pod.
    Closed(RuleId),
    /// The policy (index in [`PolicySet::policies`]) selects the pod; none of its rules matched.
    Selected(usize),
    /// A rule matched and did this.
    Matched(RuleId, Action),
    /// Nothing in this tier decided.
    FellThrough(Tier),
}

/// The judgement of one direction.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
#[must_use]
pub struct Judgement {
    /// Allow or deny.
    pub verdict: Verdict,
    /// Why.
    pub reason: Reason,
    /// The deciding rule.
    pub rule: RuleId,
    /// The way there.
    pub steps: Vec<Step>,
}

/// The judgement of an access: both directions must allow.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
#[must_use]
pub struct Decision {
    /// Deny if either direction denies.
    pub verdict: Verdict,
    /// Judged at the source.
    pub egress: Judgement,
    /// Judged at the destination.
    pub ingress: Judgement,
}

impl Decision {
    /// The direction that decided: the one that denied (egress first), else ingress where a policy could select
    /// the destination, else egress.
    pub fn deciding(&self) -> (Direction, &Judgement) {
        if self.egress.verdict == Verdict::Deny {
            return (Direction::Egress, &self.egress);
        }
        if self.ingress.verdict == Verdict::Deny || self.ingress.reason != Reason::NotSubject {
            return (Direction::Ingress, &self.ingress);
        }
        (Direction::Egress, &self.egress)
    }
}

/// Judges an access.
pub fn decide(set: &PolicySet, access: &Access<'_>) -> Decision {
    // K "A connection needs to be allowed by both the egress policy on the source pod and the ingress policy on the
    // destination pod. If either side does not allow the connection, it will not happen."
    let egress = judge(set, access, Direction::Egress);
    let ingress = judge(set, access, Direction::Ingress);
    let verdict = match (egress.verdict, ingress.verdict) {
        (Verdict::Allow, Verdict::Allow) => Verdict::Allow,
        (Verdict::Deny, _) | (_, Verdict::Deny) => Verdict::Deny,
    };
    Decision { verdict, egress, ingress }
}

/// Judges one direction of an access, with the way there.
pub fn judge(set: &PolicySet, access: &Access<'_>, direction: Direction) -> Judgement {
    let mut steps = Vec::new();
    let rule = deciding_rule(set, access, direction, &mut steps);
    // An id without an entry cannot come from a compiled set; if it does, nobody vouches for it.
    let reason = set.rule(rule).map_or(Reason::PolicyUnreadable, |entry| entry.reason);
    Judgement { verdict: reason.verdict(), reason, rule, steps }
}

/// One direction of an access, once its subject is known to be a pod.
#[derive(Clone, Copy)]
struct Question<'a> {
    set: &'a PolicySet,
    access: &'a Access<'a>,
    direction: Direction,
    pod: &'a Pod,
    peer: Endpoint<'a>,
    /// The peer is the node the pod runs on.
    own_node: bool,
    answers: Option<&'a Answers>,
}

/// The rules that may allow requests over a connection that `by` lets the source open: `by`, and in the NetworkPolicy tier every
/// other that would let it open the connection and looks at requests. None where `by` does not look at them.
pub fn judging_rules<'s>(set: &'s PolicySet, access: &Access<'_>, by: RuleId) -> Vec<(RuleId, &'s Requests)> {
    let requests = |rule: RuleId| Some((rule, &**set.requests(rule)?));
    let (Some(first), Party::Pod(pod)) = (requests(by), access.from.party) else { return Vec::new() };
    let answers = answers(&set.world, pod, Direction::Egress);
    let (direction, peer) = (Direction::Egress, access.to);
    let question = Question { set, access, direction, pod, peer, own_node: false, answers };
    let mut tier = question.of_network_policies();
    let is_shared = tier.any(|rule| rule.id == by);
    let others = question
        .of_network_policies()
        .filter(|rule| is_shared && rule.id != by && rule.action == Action::Accept && question.matches(rule));
    // What is granted and what is written do not add up: each decides a connection where the other does not.
    let alike = |(_, requests): &(RuleId, &Requests)| requests.granted == first.1.granted;
    std::iter::once(first).chain(others.filter_map(|rule| requests(rule.id)).filter(alike)).collect()
}

fn deciding_rule(
    set: &PolicySet,
    access: &Access<'_>,
    direction: Direction,
    steps: &mut Vec<Step>,
) -> RuleId {
    let (subject, peer) = match direction {
        Direction::Egress => (access.from, access.to),
        Direction::Ingress => (access.to, access.from),
    };
    // K "hostNetwork pods: NetworkPolicy behaviour is undefined", in practice node traffic; C "Host-networked pods
    // are not selected". Nodes and the outside are never subjects either.
    let Party::Pod(pod) = subject.party else { return RuleId::NOT_SUBJECT };
    // Its own cluster judges for it.
    if pod.cluster().is_some() {
        return RuleId::NOT_SUBJECT;
    }
    // K "A Pod cannot block access to itself."
    if is_same_endpoint(subject, peer) {
        return RuleId::SAME_ENDPOINT;
    }
    let own_node = matches!(peer.party, Party::Node(node) if pod.node.as_ref() == Some(&node.name));
    // K "Traffic is allowed to a pod if ... the traffic source is the pod's local node." Nothing overrides it: a
    // ClusterNetworkPolicy has no ingress peer that could mean a node, and kubelet probes must not be cut.
    if own_node && direction == Direction::Ingress {
        return RuleId::OWN_NODE;
    }
    // A policy that is known but cannot be applied never means allow.
    let selects_pod = |scope: &&ClosedScope| selects(&set.world, &scope.subject, pod);
    let closed = set.closed.iter().filter(|scope| scope.directions.contains(&direction)).find(selects_pod);
    if let Some(scope) = closed {
        steps.push(Step::Closed(scope.rule));
        return scope.rule;
    }
    let answers = answers(&set.world, pod, direction);
    let question = Question { set, access, direction, pod, peer, own_node, answers };
    // C "Admin tier policies are evaluated before NetworkPolicies ... Lower priority value is more important."
    first_match(question, Tier::Admin, steps)
        // K "Network policies do not conflict; they are additive." Read per direction.
        .or_else(|| network_policies(question, steps))
        // C "Baseline tier policies apply when no NetworkPolicy selects the pod."
        .or_else(|| first_match(question, Tier::Baseline, steps))
        // K "By default, a pod is non-isolated; all connections are allowed."
        .unwrap_or(RuleId::NO_POLICY)
}

/// Ordered tiers: the first matching rule decides, Pass leaves the tier.
fn first_match(question: Question<'_>, tier: Tier, steps: &mut Vec<Step>) -> Option<RuleId> {
    for (index, policy) in question.selecting(tier) {
        let Some(rule) = question.matching_rule(policy) else {
            steps.push(Step::Selected(index));
            continue;
        };
        steps.push(Step::Matched(rule.id, rule.action));
        return match rule.action {
            // C "Accept: accepts the selected traffic"; C "Deny: drops the selected traffic".
            Action::Accept | Action::Deny => Some(rule.id),
            // C "Pass: skips all further policies of this tier"; after Baseline there is none, so the default holds.
            Action::Pass => None,
        };
    }
    steps.push(Step::FellThrough(tier));
    None
}

/// NetworkPolicies and EgressPolicies: any Deny, else any Accept, the most demanding first, else what answers granted, else
/// isolation. No other order.
fn network_policies(question: Question<'_>, steps: &mut Vec<Step>) -> Option<RuleId> {
    if let Some(rule) = question.denying_rule().or_else(|| question.demanding_rule()) {
        steps.push(Step::Matched(rule.id, rule.action));
        return Some(rule.id);
    }
    let mut isolation = None;
    for (index, policy) in question.selecting(Tier::NetworkPolicy) {
        // K "A pod is isolated for egress if there is any NetworkPolicy that both selects the pod and has Egress in
        // its policyTypes"; the same for ingress. An EgressPolicy isolates for egress what it selects.
        if matches!(policy.section(question.direction), Section::Untouched) {
            continue;
        }
        // K "Traffic to and from the node where a Pod is running is always allowed."
        if question.own_node {
            return Some(RuleId::OWN_NODE);
        }
        // K "the connections allowed are the union of what the applicable policies allow".
        let rules = policy.section(question.direction).rules().iter();
        if let Some(rule) = rules.filter(|rule| !question.grants(rule)).find(|rule| question.matches(rule)) {
            steps.push(Step::Matched(rule.id, rule.action));
            return Some(rule.id);
        }
        steps.push(Step::Selected(index));
        isolation.get_or_insert(policy.isolation(question.direction));
    }
    if let Some(rule) = question.granting_rule() {
        steps.push(Step::Matched(rule.id, rule.action));
        return Some(rule.id);
    }
    if isolation.is_none() {
        steps.push(Step::FellThrough(Tier::NetworkPolicy));
    }
    isolation
}

impl<'a> Question<'a> {
    fn selecting(self, tier: Tier) -> impl Iterator<Item = (usize, &'a Policy)> {
        let Self { set, pod, .. } = self;
        let of_tier = move |(_, policy): &(usize, &Policy)| {
            policy.tier == tier && selects(&set.world, &policy.subject, pod)
        };
        set.policies.iter().enumerate().filter(of_tier)
    }

    fn matching_rule(self, policy: &'a Policy) -> Option<&'a Rule> {
        policy.section(self.direction).rules().iter().find(|rule| self.matches(rule))
    }

    /// The first rule of the NetworkPolicy tier that denies. Only an EgressPolicy has such; what it denies is denied whatever
    /// the others allow, the pod's own node included: nobody writes a Deny for something to stay open.
    fn denying_rule(self) -> Option<&'a Rule> {
        self.of_network_policies().find(|rule| rule.action == Action::Deny && self.matches(rule))
    }

    /// The first rule of the NetworkPolicy tier that allows and demands something, the most demanding: what one policy demands
    /// must not be undone by another that names the same. The pod's own node is reached whatever the tier allows, so under none
    /// of its rules.
    fn demanding_rule(self) -> Option<&'a Rule> {
        if self.own_node {
            return None;
        }
        let first = |demand: Demand| {
            let demands = |rule: &&Rule| {
                rule.action == Action::Accept
                    && self.set.rule(rule.id).is_some_and(|entry| entry.demand() == demand)
            };
            self.of_network_policies().filter(demands).find(|rule| self.matches(rule))
        };
        first(Demand::Requests).or_else(|| first(Demand::Upload))
    }

    /// The first rule of the NetworkPolicy tier by which answers grant something. Only an EgressPolicy has such, which isolates.
    fn granting_rule(self) -> Option<&'a Rule> {
        self.of_network_policies().find(|rule| self.grants(rule) && self.matches(rule))
    }

    fn grants(self, rule: &Rule) -> bool {
        self.set.rule(rule.id).is_some_and(|entry| entry.demand() == Demand::Grant)
    }

    fn of_network_policies(self) -> impl Iterator<Item = &'a Rule> {
        let policies = self.selecting(Tier::NetworkPolicy);
        policies.flat_map(move |(_, policy)| policy.section(self.direction).rules())
    }

    fn matches(self, rule: &Rule) -> bool {
        // What goes to a pod or a node passes no gateway that would judge its requests.
        let is_judged = matches!(self.peer.party, Party::Outside) || self.set.requests(rule.id).is_none();
        peers_match(&self.set.world, &rule.peers, self.answers.filter(|_| is_judged), self.peer)
            && ports_match(&rule.ports, self.access)
    }
}

/// What rules about a pod know names by: what DNS answered it. Whoever connects to it is known by no name.
pub fn answers<'w>(world: &'w World, subject: &Pod, direction: Direction) -> Option<&'w Answers> {
    match direction {
        Direction::Egress => world.resolved(subject).map(|resolved| &resolved.live),
        Direction::Ingress => None,
    }
}

/// Whether the subject of a policy includes the pod.
pub fn selects(world: &World, subject: &Subject, pod: &Pod) -> bool {
    !pod.host_network && pod_matches(world, &subject.namespaces, &subject.pods, pod)
}

fn pod_matches(world: &World, namespaces: &NamespaceScope, pods: &Selector, pod: &Pod) -> bool {
    let in_scope = match namespaces {
        NamespaceScope::Own(name) => *name == pod.namespace,
        NamespaceScope::Matching(selector) => {
            pod.cluster().is_none() && selector.matches(&world.namespace_labels(&pod.namespace))
        }
        NamespaceScope::Elsewhere(selector) => {
            pod.cluster().is_some() && selector.matches(&world.namespace_labels(&pod.namespace))
        }
    };
    in_scope && pods.matches(&pod.labels)
}

fn peers_match(world: &World, peers: &Peers, answers: Option<&Answers>, end: Endpoint<'_>) -> bool {
    match peers {
        // K "If this field is empty or missing, this rule matches all sources."
        Peers::Everyone => true,
        // K "Items in this list are combined using a logical OR operation."
        Peers::AnyOf(list) => list.iter().any(|peer| peer_matches(world, peer, answers, end)),
    }
}

/// Whether one peer means this end. `answers` are those of [`answers`].
pub fn peer_matches(world: &World, peer: &Peer, answers: Option<&Answers>, end: Endpoint<'_>) -> bool {
    match peer {
        // Selectors match pods only, never addresses or nodes.
        Peer::Pods { namespaces, pods } => {
            matches!(end.party, Party::Pod(pod) if pod_matches(world, namespaces, pods, pod))
        }
        // K "Except is a slice of CIDRs that should not be included within an IPBlock"; it carves only its own entry.
        Peer::Network { cidr, except } => end.address.is_some_and(|address| {
            cidr.contains(&address) && !except.iter().any(|carved| carved.contains(&address))
        }),
        Peer::Nodes(selector) => matches!(end.party, Party::Node(node) if selector.matches(&node.labels)),
        // NPEP-133: the address must have come from an answer for a matching name, to the pod that opens the connection.
        Peer::Names(patterns) => end.address.is_some_and(|address| {
            answers.and_then(|answers| answers.get(&address)).is_some_and(|names| {
                names.iter().any(|name| patterns.iter().any(|pattern| pattern.matches(name)))
            })
        }),
    }
}

fn ports_match(ports: &Ports, access: &Access<'_>) -> bool {
    match ports {
        // K "If this field is empty or missing, this rule matches all ports (traffic not restricted by port)."
        Ports::All => true,
        Ports::AnyOf(list) => list.iter().any(|entry| match entry {
            PortMatch::Numbers { protocol, first, last } => {
                *protocol == access.protocol && (*first..=*last).contains(&access.port)
            }
            // Named ports resolve on the destination pod, for ingress and egress; name and protocol must both match.
            PortMatch::Named { name, protocol } => {
                matches!(access.to.party, Party::Pod(pod) if pod.ports.iter().any(|port| {
                    port.name == *name
                        && port.port == access.port
                        && port.protocol == access.protocol
                        && protocol.is_none_or(|wanted| wanted == port.protocol)
                }))
            }
        }),
    }
}

fn is_same_endpoint(subject: Endpoint<'_>, peer: Endpoint<'_>) -> bool {
    match (subject.party, peer.party) {
        (Party::Pod(a), Party::Pod(b)) => (&a.namespace, &a.name) == (&b.namespace, &b.name),
        (Party::Pod(_) | Party::Node(_) | Party::Outside, _) => false,
    }
}
