//! Rules that speak of names, in own kinds above all: what they leave open, and what they do not mean.
//!
//! A name means the addresses that the pod resolved it to, so a Deny by name stops only who asks for the name: it has to be
//! backed by something that denies what nobody resolved. And `*.x` is one label in own kinds, one or more in the standard
//! one.

use super::crowd::{Crowd, Group};
use super::{Findings, peers_field};
use crds::{Code, Diagnostic};
use policy::decide::judge;
use policy::{
    Access, Action, Direction, DnsNames, DomainPattern, Endpoint, Party, Peer, Peers, Pod, Policy, PortMatch,
    Ports, Protocol, Rule, Verdict, WorkloadRef,
};
use std::collections::BTreeMap;
use std::net::{IpAddr, Ipv4Addr};

/// Some address outside that nobody resolved and no rule means but by a block of everything (RFC 7600).
const UNRESOLVED: IpAddr = IpAddr::V4(Ipv4Addr::new(192, 0, 0, 8));
/// How many label sets of pods are judged for one rule.
const MOST_GROUPS: usize = 64;
/// How many policies are looked at for all rules together.
const MOST_LOOKS: usize = 20_000_000;

/// A Deny by name where the same connection is allowed to whoever knows the address and did not ask for the name.
pub(super) fn unbacked(findings: &mut Findings<'_>, crowd: &Crowd<'_>) {
    let set = findings.set;
    let mut left = MOST_LOOKS;
    for policy in &set.policies {
        let denies = |rule: &&Rule| rule.action == Action::Deny && patterns(rule).next().is_some();
        for rule in policy.egress.rules().iter().filter(denies) {
            let groups = crowd.matching(&policy.subject.namespaces, &policy.subject.pods).take(MOST_GROUPS);
            for group in groups.filter_map(|id| crowd.group(id)) {
                left = left.saturating_sub(set.policies.len());
                if left == 0 || !is_open(findings, group, rule) {
                    continue;
                }
                findings.about_rule(rule, peers_field(Direction::Egress), Code::UnbackedDeny, || {
                    let message = "stops only pods that ask for the name: the same address, from a hosts file or another \
                                   resolver, is allowed by what else holds for them";
                    let suggestion = "allow only what they need, by name or block, instead of everything; an EgressPolicy that \
                                      selects them denies the rest";
                    Diagnostic::warning(Code::UnbackedDeny, message).suggest(suggestion)
                });
                break;
            }
        }
    }
}

/// Whether a pod of the group reaches an address that no name stands for.
fn is_open(findings: &Findings<'_>, group: &Group<'_>, rule: &Rule) -> bool {
    let pod = Pod {
        namespace: group.namespace.clone(),
        // No pod is called so: nothing was ever resolved by it.
        name: "".into(),
        labels: group.labels.clone(),
        service_account: "".into(),
        node: None,
        addresses: Vec::new(),
        ports: Vec::new(),
        host_network: false,
        workload: WorkloadRef { kind: "Pod".into(), name: "".into() },
    };
    let (protocol, port) = some_port(&rule.ports);
    let from = Endpoint { party: Party::Pod(&pod), address: None };
    let to = Endpoint { party: Party::Outside, address: Some(UNRESOLVED) };
    let access = Access { from, to, protocol, port };
    judge(findings.set, &access, Direction::Egress).verdict == Verdict::Allow
}

/// One port of a list.
fn some_port(ports: &Ports) -> (Protocol, u16) {
    const HTTPS: (Protocol, u16) = (Protocol::TCP, 443);
    match ports {
        Ports::All => HTTPS,
        Ports::AnyOf(list) => list
            .iter()
            .find_map(|entry| match entry {
                PortMatch::Numbers { protocol, first, .. } => Some((*protocol, (*first).max(1))),
                PortMatch::Named { .. } => None,
            })
            .unwrap_or(HTTPS),
    }
}

/// `*.x` of an own kind where a standard policy has `*.x` too, which means more.
pub(super) fn one_label(findings: &mut Findings<'_>) {
    let set = findings.set;
    let mut standard: BTreeMap<&str, &Policy> = BTreeMap::new();
    for policy in set.policies.iter().filter(|policy| !is_own(policy)) {
        for pattern in policy.egress.rules().iter().flat_map(patterns) {
            if let DomainPattern::Below(name) = pattern {
                standard.entry(name.as_str()).or_insert(policy);
            }
        }
    }
    if standard.is_empty() {
        return;
    }
    for policy in set.policies.iter().filter(|policy| is_own(policy)) {
        for rule in policy.egress.rules() {
            let alike = patterns(rule).find_map(|pattern| match pattern {
                DomainPattern::OneBelow(name) => Some((pattern, standard.get(name.as_str())?)),
                DomainPattern::Exact(_)
                | DomainPattern::Below(_)
                | DomainPattern::Any
                | DomainPattern::Outside(_) => None,
            });
            let Some((pattern, other)) = alike else { continue };
            findings.about_rule(rule, peers_field(Direction::Egress), Code::WildcardLabels, || {
                let message = format!(
                    "\"{pattern}\" is exactly one label here, and in {} it is one or more",
                    other.object
                );
                Diagnostic::warning(Code::WildcardLabels, message)
                    .suggest(format!("for the same names write \"*{pattern}\""))
            });
        }
    }
}

/// Wildcards that would mean names of a private zone, if they were written within it.
pub(super) fn outside_zones(findings: &mut Findings<'_>) {
    let set = findings.set;
    for rule in set.policies.iter().flat_map(|policy| policy.egress.rules()) {
        let without = patterns(rule).find_map(|pattern| match pattern {
            // What answers lead to, nobody wrote as a pattern.
            DomainPattern::Outside(it) if !it.wide().is_any() => Some(it),
            DomainPattern::Outside(_)
            | DomainPattern::Exact(_)
            | DomainPattern::OneBelow(_)
            | DomainPattern::Below(_)
            | DomainPattern::Any => None,
        });
        let Some((wide, Some(zone))) = without.map(|it| (it.wide(), it.zones().first())) else { continue };
        findings.about_rule(rule, peers_field(Direction::Egress), Code::WildcardLabels, || {
            let message = format!(
                "\"{wide}\" means no name in {zone}: only what is written within a private zone does"
            );
            Diagnostic::note(Code::WildcardLabels, message).suggest(format!(
                "for such names select pods, or write a name or a wildcard that ends in {zone}"
            ))
        });
    }
}

/// Names that a rule allows and that its pods may not ask for.
pub(super) fn not_asked(findings: &mut Findings<'_>) {
    let set = findings.set;
    for policy in &set.policies {
        let DnsNames::Only { from_rules: false, patterns: own, .. } = &policy.dns.names else { continue };
        // Others of the tier may list what this one does not.
        let others = set.policies.iter().filter(|other| other.tier == policy.tier);
        let listed: Vec<&DomainPattern> = others.flat_map(listed).chain(own).collect();
        let accepts = |rule: &&Rule| rule.action == Action::Accept;
        for rule in policy.egress.rules().iter().filter(accepts) {
            let meets = |pattern: &DomainPattern| {
                listed.iter().any(|listed| listed.covers(pattern) || pattern.covers(listed))
            };
            let Some(lost) = patterns(rule).find(|pattern| !meets(pattern)) else { continue };
            findings.about_rule(rule, peers_field(Direction::Egress), Code::DnsNotAllowed, || {
                let message = format!("its pods may not ask for \"{lost}\": spec.dns.names does not list it");
                Diagnostic::warning(Code::DnsNotAllowed, message).suggest("write dns: {fromRules: true, ...}")
            });
        }
    }
}

fn listed(policy: &Policy) -> &[DomainPattern] {
    match &policy.dns.names {
        DnsNames::Any => &[],
        DnsNames::Only { patterns, .. } => patterns,
    }
}

/// Whether it is of a kind of Cofferdam's own.
pub(super) fn is_own(policy: &Policy) -> bool {
    matches!(&*policy.object.kind, "EgressPolicy" | "ClusterEgressPolicy")
}

fn patterns(rule: &Rule) -> impl Iterator<Item = &DomainPattern> {
    let peers: &[Peer] = match &rule.peers {
        Peers::Everyone => &[],
        Peers::AnyOf(list) => list,
    };
    peers.iter().flat_map(|peer| match peer {
        Peer::Names(patterns) => patterns.as_slice(),
        Peer::Pods { .. } | Peer::Network { .. } | Peer::Nodes(_) => &[],
    })
}
