//! Subjects and peers that select nothing, or not what they seem to.

use super::by_name::is_own;
use super::crowd::{Crowd, host_network_pods};
use super::{Findings, every_rule, hint, peers_field};
use crds::{Code, Diagnostic};
use policy::{Direction, NamespaceScope, Peer, Peers, Policy, Rule, Selector, Tier};
use std::collections::BTreeMap;

/// Policies without a pod, and those that mean host-network pods.
pub(super) fn subjects(findings: &mut Findings<'_>, crowd: &Crowd<'_>) {
    let set = findings.set;
    if set.world.pods.is_empty() {
        return;
    }
    let on_host = host_network_pods(&set.world);
    for policy in &set.policies {
        let (scope, pods) = (&policy.subject.namespaces, &policy.subject.pods);
        let host = host_pod(findings, &on_host, scope, pods);
        let selects = crowd.any(scope, pods);
        let field = subject_field(policy);
        if let Some(name) = &host {
            findings.about_policy(policy, field, Code::Unsupported, || {
                let which = if selects { "also selects" } else { "selects only" };
                let message = format!(
                    "{which} pods of the host network, for example {name}; their traffic is their node's and not enforced"
                );
                let broad = pods.is_everything();
                let diagnostic = if broad && selects { Diagnostic::note } else { Diagnostic::warning };
                diagnostic(Code::Unsupported, message)
            });
        }
        if selects || host.is_some() {
            continue;
        }
        findings.about_policy(policy, field, Code::SelectsNothing, || {
            let message = format!("selects no pod: {}", meant(scope, pods));
            let diagnostic = Diagnostic::warning(Code::SelectsNothing, message);
            match suggestion(crowd, scope, pods) {
                Some(hint) => diagnostic.suggest(hint),
                None => diagnostic,
            }
        });
    }
}

/// Peers that no pod is, and lists that say "or" where "and" was likely meant.
pub(super) fn peers(findings: &mut Findings<'_>, crowd: &Crowd<'_>) {
    let set = findings.set;
    if set.world.pods.is_empty() {
        return;
    }
    for (_, direction, rule) in every_rule(set) {
        let Peers::AnyOf(list) = &rule.peers else { continue };
        if list.is_empty() {
            findings.about_rule(rule, peers_field(direction), Code::SelectsNothing, || {
                Diagnostic::warning(
                    Code::SelectsNothing,
                    "matches nobody: it has no peer that could be understood",
                )
            });
        }
        if either_or(findings, crowd, direction, rule, list) {
            continue;
        }
        for peer in list {
            nobody(findings, crowd, direction, rule, peer);
        }
    }
}

fn nobody(findings: &mut Findings<'_>, crowd: &Crowd<'_>, direction: Direction, rule: &Rule, peer: &Peer) {
    let set = findings.set;
    match peer {
        Peer::Pods { namespaces, pods } if !crowd.any(namespaces, pods) => {
            findings.about_rule(rule, peers_field(direction), Code::SelectsNothing, || {
                let message = format!("a peer matches no pod: {}", meant(namespaces, pods));
                let diagnostic = Diagnostic::warning(Code::SelectsNothing, message);
                match suggestion(crowd, namespaces, pods) {
                    Some(hint) => diagnostic.suggest(hint),
                    None => diagnostic,
                }
            });
        }
        Peer::Nodes(selector) if !set.world.nodes.values().any(|node| selector.matches(&node.labels)) => {
            findings.about_rule(rule, peers_field(direction), Code::SelectsNothing, || {
                Diagnostic::warning(Code::SelectsNothing, format!("a peer matches no node: {selector}"))
            });
        }
        Peer::Pods { .. } | Peer::Nodes(_) | Peer::Network { .. } | Peer::Names(_) => {}
    }
}

/// Two list entries, `namespaceSelector` and `podSelector`, where one entry with both was likely meant: the
/// pod selector matches nothing in the policy's own namespace, but does in those of the other entry. The rule then allows all
/// pods of those namespaces.
fn either_or(
    findings: &mut Findings<'_>,
    crowd: &Crowd<'_>,
    direction: Direction,
    rule: &Rule,
    list: &[Peer],
) -> bool {
    let all_of = list.iter().find_map(|peer| match peer {
        Peer::Pods { namespaces: scope @ NamespaceScope::Matching(_), pods } if pods.is_everything() => {
            Some(scope)
        }
        Peer::Pods { .. } | Peer::Network { .. } | Peer::Nodes(_) | Peer::Names(_) => None,
    });
    let Some(scope) = all_of else { return false };
    let lost = list.iter().find_map(|peer| match peer {
        Peer::Pods { namespaces: own @ NamespaceScope::Own(_), pods } if !pods.is_everything() => {
            (!crowd.any(own, pods) && crowd.any(scope, pods)).then_some(pods)
        }
        Peer::Pods { .. } | Peer::Network { .. } | Peer::Nodes(_) | Peer::Names(_) => None,
    });
    let Some(pods) = lost else { return false };
    findings.about_rule(rule, peers_field(direction), Code::SelectsNothing, || {
        let message = format!(
            "namespaceSelector and podSelector are two entries, so either is enough: all pods of the namespaces match, \
             and pods with {pods} match only in the policy's own namespace, which has none"
        );
        Diagnostic::warning(Code::SelectsNothing, message)
            .suggest("for pods that meet both, write both in one entry: remove the dash before podSelector")
    });
    true
}

fn meant(scope: &NamespaceScope, pods: &Selector) -> String {
    match scope {
        NamespaceScope::Own(name) if pods.is_everything() => format!("namespace {name} has no pods"),
        NamespaceScope::Own(name) => format!("{pods} in namespace {name}"),
        NamespaceScope::Matching(selector) if pods.is_everything() => format!("namespaces with {selector}"),
        NamespaceScope::Matching(selector) => format!("{pods} in namespaces with {selector}"),
        NamespaceScope::Elsewhere(selector) if pods.is_everything() => {
            format!("namespaces of other clusters with {selector}")
        }
        NamespaceScope::Elsewhere(selector) => {
            format!("{pods} in namespaces of other clusters with {selector}")
        }
    }
}

fn suggestion(crowd: &Crowd<'_>, scope: &NamespaceScope, pods: &Selector) -> Option<String> {
    match scope {
        NamespaceScope::Matching(selector) if !crowd.any_namespace(selector) => {
            hint::for_namespaces(crowd, selector)
        }
        NamespaceScope::Elsewhere(_) if !crowd.any(scope, &Selector::everything()) => Some(
            "a namespace is known here where its cluster exports it, and the namespace of the same name here imports it: see \
             the how-to on workloads of other clusters"
                .to_owned(),
        ),
        NamespaceScope::Matching(_) | NamespaceScope::Own(_) | NamespaceScope::Elsewhere(_) => hint::for_pods(crowd, scope, pods),
    }
}

fn subject_field(policy: &Policy) -> &'static str {
    match policy.tier {
        Tier::NetworkPolicy if !is_own(policy) => "spec.podSelector",
        Tier::NetworkPolicy | Tier::Admin | Tier::Baseline => "spec.subject",
    }
}

/// A host-network pod that the selectors would mean if it had a network of its own.
fn host_pod(
    findings: &Findings<'_>,
    on_host: &BTreeMap<&str, Vec<&policy::Pod>>,
    scope: &NamespaceScope,
    selector: &Selector,
) -> Option<String> {
    let of = |pods: &Vec<&policy::Pod>| {
        pods.iter().find(|pod| selector.matches(&pod.labels)).map(|pod| pod.to_string())
    };
    match scope {
        NamespaceScope::Own(name) => on_host.get(name.as_ref()).and_then(of),
        NamespaceScope::Matching(wanted) => on_host
            .iter()
            .filter(|(name, _)| wanted.matches(&findings.set.world.namespace_labels(name)))
            .find_map(|(_, pods)| of(pods)),
        // None of them is exported.
        NamespaceScope::Elsewhere(_) => None,
    }
}
