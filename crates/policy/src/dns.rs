//! Which names a pod may ask for, and of whom.
//!
//! Enters: a set and a pod. Leaves: [`DnsRules`], everything a DNS proxy needs to serve that pod; and the judgement of one
//! question ([`decide_question`]) or one resolver ([`decide_resolver`]), with the rule behind it.
//! Guarantees: who is not restricted may ask anything; lists only ever narrow across tiers. Does not: say whether the pod may
//! connect to what it learns, or to the resolver; that is [`crate::decide`]'s.
//!
//! Tiers: the Admin tier's lists bound what the pod may ask, however many others list more. Within that, the lists of the
//! pod's EgressPolicies add up; where there is none, those of the Baseline tier do.

use crate::access::{Direction, Endpoint};
use crate::decide::{Judgement, Step, Verdict, peer_matches, selects};
use crate::domain::{DnsName, DomainPattern};
use crate::reason::Reason;
use crate::rule::{Action, DnsNames, DnsResolvers, Peer, Peers, Policy, RuleId, Tier};
use crate::set::PolicySet;
use crate::table::Ruling;
use crate::world::{Pod, World};
use std::collections::BTreeSet;

/// What holds for the DNS of one pod.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct DnsRules {
    /// Patterns that egress rules for the pod speak of. Before the pod gets an answer for a name that one of them means, the
    /// addresses have to be bound to the pod.
    pub spoken: BTreeSet<DomainPattern>,
    names: Gate<NameList>,
    resolvers: Gate<ResolverList>,
}

/// What stands between a pod and an answer.
#[derive(Clone, Debug, PartialEq, Eq)]
enum Gate<L> {
    /// One answer for everything: no policy can select the pod, or its scope is closed.
    Settled(Ruling),
    /// Every level must list what is asked; no level lets everything through.
    Levels(Vec<Vec<Listing<L>>>),
}

/// What one policy lists.
#[derive(Clone, Debug, PartialEq, Eq)]
struct Listing<L> {
    /// Index in [`PolicySet::policies`].
    policy: usize,
    listed: RuleId,
    unlisted: RuleId,
    list: L,
}

/// Names of one policy, and those that rules speak of if it says so.
#[derive(Clone, Debug, PartialEq, Eq)]
struct NameList {
    patterns: Vec<DomainPattern>,
    of_rules: Vec<(DomainPattern, RuleId)>,
}

type ResolverList = Vec<Peer>;

/// What holds for the DNS of a pod.
pub fn dns_rules(set: &PolicySet, pod: &Pod) -> DnsRules {
    let policies: Vec<(usize, &Policy)> = set
        .policies
        .iter()
        .enumerate()
        .filter(|(_, policy)| selects(&set.world, &policy.subject, pod))
        .collect();
    let spoken = policies.iter().flat_map(|(_, policy)| names_of_rules(policy));
    let spoken: BTreeSet<DomainPattern> = spoken.map(|(pattern, _, _)| pattern.clone()).collect();
    if let Some(ruling) = settled(set, pod) {
        return DnsRules { spoken, names: Gate::Settled(ruling), resolvers: Gate::Settled(ruling) };
    }
    let accepted: Vec<(DomainPattern, RuleId)> = policies
        .iter()
        .flat_map(|(_, policy)| names_of_rules(policy))
        // Any name is spoken of by nobody who wrote a policy: to be granted opens no question.
        .filter(|(pattern, _, action)| *action == Action::Accept && !pattern.is_any())
        .map(|(pattern, rule, _)| (pattern.clone(), rule))
        .collect();
    let names = levels(&policies, |policy, at| match &policy.dns.names {
        DnsNames::Any => None,
        DnsNames::Only { listed, unlisted, patterns, from_rules } => {
            let of_rules = if *from_rules { accepted.clone() } else { Vec::new() };
            let list = NameList { patterns: patterns.clone(), of_rules };
            Some(Listing { policy: at, listed: *listed, unlisted: *unlisted, list })
        }
    });
    let resolvers = levels(&policies, |policy, at| match &policy.dns.resolvers {
        DnsResolvers::Any => None,
        DnsResolvers::Only { listed, unlisted, peers } => {
            Some(Listing { policy: at, listed: *listed, unlisted: *unlisted, list: peers.clone() })
        }
    });
    DnsRules { spoken, names, resolvers }
}

/// Judges a question: may the pod ask for this name?
pub fn decide_question(set: &PolicySet, pod: &Pod, name: &DnsName) -> Judgement {
    judgement(set, |steps| dns_rules(set, pod).names.pass(|listing| listing.listing(name), steps))
}

/// Judges a resolver: may the pod ask it?
pub fn decide_resolver(set: &PolicySet, pod: &Pod, resolver: Endpoint<'_>) -> Judgement {
    let rules = dns_rules(set, pod);
    judgement(set, |steps| rules.resolvers.pass(|listing| listing.listing(&set.world, resolver), steps))
}

/// What must list something that is asked.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Lists<L> {
    /// One answer for everything.
    Settled(Ruling),
    /// Each of these must list it; the id is of the rule that refuses what one does not.
    Each(Vec<(L, RuleId)>),
}

impl DnsRules {
    /// Which names may be asked for, with the rule behind each: for who decides elsewhere.
    pub fn names(&self) -> Lists<Vec<(DomainPattern, RuleId)>> {
        self.names.lists(|listing| {
            let own = listing.list.patterns.iter().map(|pattern| (pattern.clone(), listing.listed));
            own.chain(listing.list.of_rules.iter().cloned()).collect::<Vec<_>>()
        })
    }

    /// Which resolvers may be asked.
    pub fn resolvers(&self) -> Lists<Vec<Peer>> {
        self.resolvers.lists(|listing| listing.list.clone())
    }

    /// Whether the pod may ask for this name, and the rule behind it.
    pub fn question(&self, name: &DnsName) -> Ruling {
        self.names.pass(|listing| listing.listing(name), &mut Vec::new())
    }

    /// Whether the pod may ask this resolver, and the rule behind it.
    pub fn resolver(&self, world: &World, resolver: Endpoint<'_>) -> Ruling {
        self.resolvers.pass(|listing| listing.listing(world, resolver), &mut Vec::new())
    }

    /// Whether somebody wrote a rule for the name.
    pub fn writes_of(&self, name: &DnsName) -> bool {
        self.spoken.iter().any(|pattern| !pattern.is_any() && pattern.matches(name))
    }

    /// Whether addresses that the name leads to have to be bound to the pod before it learns them.
    pub fn speaks_of(&self, name: &DnsName) -> bool {
        self.spoken.iter().any(|pattern| pattern.matches(name))
    }

    /// Whether the pod may ask for any name, and any resolver.
    pub fn is_unrestricted(&self) -> bool {
        self.names.is_open() && self.resolvers.is_open()
    }
}

impl<L> Gate<L> {
    /// What each level lists, of all policies in it.
    fn lists<T>(&self, of: impl Fn(&Listing<L>) -> Vec<T>) -> Lists<Vec<T>> {
        match self {
            Self::Settled(ruling) => Lists::Settled(*ruling),
            Self::Levels(levels) => {
                let each = levels.iter().filter_map(|level| {
                    Some((level.iter().flat_map(&of).collect(), level.first()?.unlisted))
                });
                Lists::Each(each.collect())
            }
        }
    }

    fn is_open(&self) -> bool {
        match self {
            Self::Settled(ruling) => ruling.verdict == Verdict::Allow,
            Self::Levels(levels) => levels.is_empty(),
        }
    }

    /// `rule`: the rule by which a policy lists what is asked, if it does.
    fn pass(&self, rule: impl Fn(&Listing<L>) -> Option<RuleId>, steps: &mut Vec<Step>) -> Ruling {
        let levels = match self {
            Self::Settled(ruling) => {
                if ruling.verdict == Verdict::Deny {
                    steps.push(Step::Closed(ruling.rule));
                }
                return *ruling;
            }
            Self::Levels(levels) => levels,
        };
        let mut passed = Ruling { verdict: Verdict::Allow, rule: RuleId::NO_POLICY };
        for level in levels {
            let mut found = None;
            for listing in level {
                found = rule(listing);
                match found {
                    Some(rule) => {
                        steps.push(Step::Matched(rule, Action::Accept));
                        break;
                    }
                    None => steps.push(Step::Selected(listing.policy)),
                }
            }
            match (found, level.first()) {
                (Some(rule), _) => passed.rule = rule,
                (None, Some(first)) => return Ruling { verdict: Verdict::Deny, rule: first.unlisted },
                (None, None) => {}
            }
        }
        passed
    }
}

impl Listing<NameList> {
    fn listing(&self, name: &DnsName) -> Option<RuleId> {
        if self.list.patterns.iter().any(|pattern| pattern.matches(name)) {
            return Some(self.listed);
        }
        self.list.of_rules.iter().find(|(pattern, _)| pattern.matches(name)).map(|(_, rule)| *rule)
    }
}

impl Listing<ResolverList> {
    fn listing(&self, world: &World, resolver: Endpoint<'_>) -> Option<RuleId> {
        // No resolver is known by its name.
        self.list.iter().any(|peer| peer_matches(world, peer, None, resolver)).then_some(self.listed)
    }
}

/// What holds for the pod whatever is listed.
fn settled(set: &PolicySet, pod: &Pod) -> Option<Ruling> {
    if pod.host_network {
        return Some(Ruling { verdict: Verdict::Allow, rule: RuleId::NOT_SUBJECT });
    }
    let mut scopes = set.closed.iter().filter(|scope| scope.directions.contains(&Direction::Egress));
    let closed = scopes.find(|scope| selects(&set.world, &scope.subject, pod))?;
    Some(Ruling { verdict: Verdict::Deny, rule: closed.rule })
}

/// The policies that list something, level by level.
fn levels<L>(
    policies: &[(usize, &Policy)],
    listing: impl Fn(&Policy, usize) -> Option<Listing<L>>,
) -> Gate<L> {
    let of = |tier: Tier| -> Vec<Listing<L>> {
        let of_tier = policies.iter().filter(|(_, policy)| policy.tier == tier);
        of_tier.filter_map(|(at, policy)| listing(policy, *at)).collect()
    };
    let own = of(Tier::NetworkPolicy);
    let own = if own.is_empty() { of(Tier::Baseline) } else { own };
    Gate::Levels([of(Tier::Admin), own].into_iter().filter(|level| !level.is_empty()).collect())
}

/// Patterns of names that egress rules of a policy speak of, and what those rules do.
pub fn names_of_rules(policy: &Policy) -> impl Iterator<Item = (&DomainPattern, RuleId, Action)> {
    policy.egress.rules().iter().flat_map(|rule| {
        let peers = match &rule.peers {
            Peers::Everyone => &[],
            Peers::AnyOf(list) => list.as_slice(),
        };
        let patterns = peers.iter().flat_map(|peer| match peer {
            Peer::Names(patterns) => patterns.as_slice(),
            Peer::Pods { .. } | Peer::Network { .. } | Peer::Nodes(_) => &[],
        });
        patterns.map(|pattern| (pattern, rule.id, rule.action))
    })
}

fn judgement(set: &PolicySet, ruling: impl FnOnce(&mut Vec<Step>) -> Ruling) -> Judgement {
    let mut steps = Vec::new();
    let Ruling { verdict, rule } = ruling(&mut steps);
    let reason = set.rule(rule).map_or(Reason::PolicyUnreadable, |entry| entry.reason);
    Judgement { verdict, reason, rule, steps }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::access::Party;
    use crate::labels::{Labels, Selector};
    use crate::rule::{ClosedScope, Dns, NamespaceScope, ObjectRef, Ports, Rule, Section, Subject};
    use crate::set::{Generation, built_in_rules};
    use crate::world::WorkloadRef;
    use std::sync::Arc;

    fn pod(name: &str) -> Pod {
        Pod {
            namespace: "x".into(),
            name: name.into(),
            labels: Labels::from_iter([("app", name)]),
            service_account: "default".into(),
            node: None,
            addresses: Vec::new(),
            ports: Vec::new(),
            host_network: false,
            workload: WorkloadRef { kind: "Pod".into(), name: name.into() },
        }
    }

    fn patterns(texts: &[&str]) -> Vec<DomainPattern> {
        texts.iter().map(|text| DomainPattern::parse_own(text).unwrap()).collect()
    }

    fn everyone() -> Subject {
        Subject { namespaces: NamespaceScope::Matching(Selector::everything()), pods: Selector::everything() }
    }

    struct Builder {
        set: PolicySet,
        rules: Vec<crate::rule::RuleEntry>,
    }

    impl Builder {
        fn new() -> Self {
            let set = PolicySet::empty(Generation(1), World::default());
            Self { set, rules: built_in_rules() }
        }

        fn entry(&mut self, reason: Reason) -> RuleId {
            let mut entry = self.rules[0].clone();
            entry.reason = reason;
            self.rules.push(entry);
            RuleId(u32::try_from(self.rules.len() - 1).unwrap())
        }

        /// A policy that lists these names, and accepts connections to those.
        fn policy(&mut self, tier: Tier, names: Option<(&[&str], bool)>, accepts: &[&str]) -> &mut Policy {
            let rule = Rule {
                id: self.entry(Reason::EgressPolicyAllow),
                action: Action::Accept,
                peers: Peers::AnyOf(vec![Peer::Names(patterns(accepts))]),
                ports: Ports::All,
            };
            let names = match names {
                None => DnsNames::Any,
                Some((names, from_rules)) => DnsNames::Only {
                    listed: self.entry(Reason::DnsNameAllow),
                    unlisted: self.entry(Reason::DnsNameDeny),
                    patterns: patterns(names),
                    from_rules,
                },
            };
            self.set.policies.push(Policy {
                object: ObjectRef { kind: "EgressPolicy".into(), namespace: "x".into(), name: "p".into() },
                source: None,
                tier,
                priority: 0,
                subject: everyone(),
                ingress: Section::Untouched,
                egress: Section::Rules(vec![rule]),
                isolation: [RuleId::NO_POLICY; 2],
                dns: Dns { names, resolvers: DnsResolvers::Any },
            });
            self.set.policies.last_mut().unwrap()
        }

        fn set(mut self) -> PolicySet {
            self.set.rules = Arc::new(self.rules);
            self.set
        }
    }

    fn asks(set: &PolicySet, name: &str, expected: Reason) {
        let name = DnsName::parse(name).unwrap();
        let judged = decide_question(set, &pod("a"), &name);
        assert_eq!(judged.reason, expected, "{name}");
        assert_eq!(judged.verdict, expected.verdict(), "{name}");
        let ruling = dns_rules(set, &pod("a")).question(&name);
        assert_eq!((ruling.verdict, ruling.rule), (judged.verdict, judged.rule), "{name}");
    }

    #[test]
    fn who_is_not_restricted_may_ask_anything_and_rules_still_speak_of_names() {
        let mut builder = Builder::new();
        builder.policy(Tier::NetworkPolicy, None, &["*.hub.io"]);
        let set = builder.set();
        asks(&set, "anything.example", Reason::NoPolicy);
        let rules = dns_rules(&set, &pod("a"));
        assert!(rules.is_unrestricted());
        assert!(rules.speaks_of(&DnsName::parse("api.hub.io").unwrap()));
        assert!(!rules.speaks_of(&DnsName::parse("hub.io").unwrap()));
    }

    #[test]
    fn lists_of_one_tier_add_up_and_an_admin_list_bounds_them() {
        let mut builder = Builder::new();
        builder.policy(Tier::Admin, Some((&["**.io"], false)), &[]);
        builder.policy(Tier::NetworkPolicy, Some((&["a.io"], false)), &[]);
        builder.policy(Tier::NetworkPolicy, Some((&["b.io", "c.com"], false)), &[]);
        builder.policy(Tier::Baseline, Some((&["d.io"], false)), &[]);
        let set = builder.set();
        asks(&set, "a.io", Reason::DnsNameAllow);
        asks(&set, "b.io", Reason::DnsNameAllow);
        asks(&set, "c.com", Reason::DnsNameDeny);
        // Baseline is for pods that no EgressPolicy restricts.
        asks(&set, "d.io", Reason::DnsNameDeny);
    }

    #[test]
    fn baseline_holds_where_nothing_else_restricts() {
        let mut builder = Builder::new();
        builder.policy(Tier::NetworkPolicy, None, &["a.io"]);
        builder.policy(Tier::Baseline, Some((&["d.io"], true)), &[]);
        let set = builder.set();
        asks(&set, "d.io", Reason::DnsNameAllow);
        asks(&set, "e.io", Reason::DnsNameDeny);
        // The rule that speaks of the name is the one that lets it be asked.
        asks(&set, "a.io", Reason::EgressPolicyAllow);
    }

    #[test]
    fn a_rule_that_denies_adds_no_name() {
        let mut builder = Builder::new();
        let policy = builder.policy(Tier::NetworkPolicy, Some((&[], true)), &["a.io"]);
        if let Section::Rules(rules) = &mut policy.egress {
            rules[0].action = Action::Deny;
        }
        let set = builder.set();
        asks(&set, "a.io", Reason::DnsNameDeny);
        assert!(dns_rules(&set, &pod("a")).speaks_of(&DnsName::parse("a.io").unwrap()));
    }

    #[test]
    fn a_closed_scope_asks_nothing_and_the_hosts_network_everything() {
        let mut builder = Builder::new();
        builder.policy(Tier::NetworkPolicy, Some((&["a.io"], false)), &[]);
        let rule = builder.entry(Reason::PolicyUnreadable);
        let mut set = builder.set();
        let of_host = Pod { host_network: true, ..pod("a") };
        let name = DnsName::parse("b.io").unwrap();
        assert_eq!(decide_question(&set, &of_host, &name).reason, Reason::NotSubject);
        let scope = |directions| ClosedScope { rule, subject: everyone(), directions };
        set.closed = vec![scope(vec![Direction::Ingress])];
        asks(&set, "a.io", Reason::DnsNameAllow);
        set.closed.push(scope(vec![Direction::Egress]));
        asks(&set, "a.io", Reason::PolicyUnreadable);
    }

    #[test]
    fn only_listed_resolvers_may_be_asked() {
        let mut builder = Builder::new();
        let (listed, unlisted) =
            (builder.entry(Reason::EgressPolicyAllow), builder.entry(Reason::DnsResolverDeny));
        let cidr = "192.0.2.53/32".parse().unwrap();
        let peers = vec![Peer::Network { cidr, except: Vec::new() }];
        builder.policy(Tier::NetworkPolicy, None, &[]).dns.resolvers =
            DnsResolvers::Only { listed, unlisted, peers };
        let set = builder.set();
        for (address, expected) in
            [("192.0.2.53", Reason::EgressPolicyAllow), ("192.0.2.54", Reason::DnsResolverDeny)]
        {
            let end = Endpoint { party: Party::Outside, address: Some(address.parse().unwrap()) };
            let judged = decide_resolver(&set, &pod("a"), end);
            assert_eq!((judged.reason, judged.verdict), (expected, expected.verdict()), "{address}");
        }
        assert!(!dns_rules(&set, &pod("a")).is_unrestricted());
        asks(&set, "a.io", Reason::NoPolicy);
    }
}
