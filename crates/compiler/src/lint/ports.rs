//! Named ports that nothing answers to.

use super::crowd::Crowd;
use super::{Findings, every_rule, hint};
use crds::{Code, Diagnostic};
use policy::{Direction, NamespaceScope, Peer, Peers, Policy, PortMatch, Ports, Protocol, Rule, Selector};

/// Named ports resolve on the destination pod; one that no possible destination has matches nothing.
pub(super) fn unresolved(findings: &mut Findings<'_>, crowd: &Crowd<'_>) {
    for (policy, direction, rule) in every_rule(findings.set) {
        let Ports::AnyOf(list) = &rule.ports else { continue };
        for entry in list {
            let PortMatch::Named { name, protocol } = entry else { continue };
            check(findings, crowd, (policy, direction, rule), name, *protocol);
        }
    }
}

fn check(
    findings: &mut Findings<'_>,
    crowd: &Crowd<'_>,
    (policy, direction, rule): (&Policy, Direction, &Rule),
    name: &str,
    protocol: Option<Protocol>,
) {
    let (everywhere, all) = (NamespaceScope::Matching(Selector::everything()), Selector::everything());
    let destinations: Vec<(&NamespaceScope, &Selector)> = match (direction, &rule.peers) {
        (Direction::Ingress, _) => vec![(&policy.subject.namespaces, &policy.subject.pods)],
        (Direction::Egress, Peers::Everyone) => vec![(&everywhere, &all)],
        (Direction::Egress, Peers::AnyOf(list)) => list
            .iter()
            .filter_map(|peer| match peer {
                Peer::Pods { namespaces, pods } => Some((namespaces, pods)),
                Peer::Network { .. } | Peer::Nodes(_) | Peer::Names(_) => None,
            })
            .collect(),
    };
    let field = match rule.peers {
        Peers::AnyOf(_) | Peers::Everyone if policy.tier == policy::Tier::NetworkPolicy => ".ports",
        Peers::AnyOf(_) | Peers::Everyone => ".protocols",
    };
    if destinations.is_empty() && direction == Direction::Egress {
        findings.about_rule(rule, field, Code::UnresolvedPort, || {
            let message =
                format!("port name {name:?} means container ports of pods, and no peer of the rule is a pod");
            Diagnostic::warning(Code::UnresolvedPort, message).suggest("use the port's number")
        });
        return;
    }
    let wanted =
        |port: &policy::NamedPort| &*port.name == name && protocol.is_none_or(|p| p == port.protocol);
    let found = destinations.iter().any(|(scope, pods)| crowd.any_with_port(scope, pods, wanted, name));
    // Where no pod is selected at all, that is said elsewhere.
    if found || !destinations.iter().any(|(scope, pods)| crowd.any(scope, pods)) {
        return;
    }
    findings.about_rule(rule, field, Code::UnresolvedPort, || {
        let of = protocol.map(|protocol| format!(" with protocol {protocol}")).unwrap_or_default();
        let message =
            format!("no destination pod has a container port named {name:?}{of}, so it matches nothing");
        let diagnostic = Diagnostic::warning(Code::UnresolvedPort, message);
        match suggestion(crowd, &destinations, name) {
            Some(text) => diagnostic.suggest(text),
            None => diagnostic.suggest("name the container port in the pod, or use its number"),
        }
    });
}

fn suggestion(
    crowd: &Crowd<'_>,
    destinations: &[(&NamespaceScope, &Selector)],
    name: &str,
) -> Option<String> {
    let groups = destinations.iter().flat_map(|(scope, pods)| crowd.matching(scope, pods)).take(200);
    let ports: Vec<&policy::NamedPort> = groups
        .filter_map(|id| crowd.group(id))
        .flat_map(|group| group.ports.iter().copied().flatten())
        .collect();
    if let Some(other) = ports.iter().find(|port| &*port.name == name) {
        return Some(format!(
            "the pods have {name:?} with protocol {}: set protocol: {}",
            other.protocol, other.protocol
        ));
    }
    let meant = hint::closest(name, ports.iter().map(|port| &*port.name))?;
    Some(format!("did you mean {meant:?}?"))
}
