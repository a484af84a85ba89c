//! What would have had to be different: for a denied direction, the written rule that came nearest to allowing it.
//!
//! Enters: a set, an access and the judgement of a direction that denied. Leaves: [`Nearest`], a rule and the
//! differences. Guarantees: only rules of policies that select the pod are offered, and none that could not have
//! decided before the denial for its tier. Does not: judge; that is [`crate::decide`]'s.

use crate::access::{Access, Direction, Endpoint, Party};
use crate::decide::{Judgement, answers, peer_matches, selects};
use crate::labels::{Labels, Requirement, Selector};
use crate::reason::Reason;
use crate::rule::{Action, NamespaceScope, Peer, Peers, PortMatch, Ports, Rule, RuleId, Tier};
use crate::set::PolicySet;
use crate::world::{Answers, Pod, World};
use serde::Serialize;

/// The Accept rule that fails fewest of peer, port, protocol and order.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Nearest {
    /// Which rule.
    pub rule: RuleId,
    /// Why its peers do not match; `None` if they do.
    pub peer: Option<String>,
    /// Why its ports do not match; `None` if they do.
    pub port: Option<String>,
    /// Why its protocols do not match; `None` if they do.
    pub protocol: Option<String>,
    /// It stands behind the rule that denied, or that one beats it.
    pub too_late: bool,
}

impl Nearest {
    /// How many things differ.
    pub fn differences(&self) -> usize {
        [self.peer.is_some(), self.port.is_some(), self.protocol.is_some(), self.too_late]
            .into_iter()
            .filter(|differs| *differs)
            .count()
    }
}

/// The rule nearest to allowing a denied direction. `None` where no Accept rule could have: there is none, or the
/// denial comes from a policy that could not be read.
pub fn nearest(
    set: &PolicySet,
    access: &Access<'_>,
    direction: Direction,
    denied: &Judgement,
) -> Option<Nearest> {
    let (subject, peer) = match direction {
        Direction::Egress => (access.from, access.to),
        Direction::Ingress => (access.to, access.from),
    };
    let Party::Pod(pod) = subject.party else { return None };
    let last = last_tier(denied.reason)?;
    let answers = answers(&set.world, pod, direction);
    let mut best: Option<((usize, bool), Nearest)> = None;
    let mut too_late = false;
    for policy in set.policies.iter().filter(|policy| policy.tier <= last) {
        if !selects(&set.world, &policy.subject, pod) {
            continue;
        }
        // In the NetworkPolicy tier a Deny comes before every Accept.
        too_late |= denied.reason == Reason::EgressPolicyDeny && policy.tier == Tier::NetworkPolicy;
        for rule in policy.section(direction).rules() {
            too_late |= rule.id == denied.rule;
            if rule.action != Action::Accept {
                continue;
            }
            let candidate = compare(&set.world, rule, answers, peer, access, too_late);
            // Of equally near rules, the first of the tier that denied: its owner is the one to ask.
            let rank = (candidate.differences(), policy.tier != last);
            if best.as_ref().is_none_or(|(known, _)| rank < *known) {
                best = Some((rank, candidate));
            }
        }
    }
    best.map(|(_, nearest)| nearest)
}

/// The tier a denial came from; rules behind it are never reached.
fn last_tier(reason: Reason) -> Option<Tier> {
    match reason {
        Reason::AdminDeny => Some(Tier::Admin),
        Reason::Isolated | Reason::EgressPolicyDeny => Some(Tier::NetworkPolicy),
        Reason::BaselineDeny => Some(Tier::Baseline),
        Reason::NoPolicy
        | Reason::NotSubject
        | Reason::SameEndpoint
        | Reason::OwnNode
        | Reason::AdminAccept
        | Reason::NetworkPolicyAllow
        | Reason::EgressPolicyAllow
        | Reason::BaselineAccept
        | Reason::DnsNameAllow
        | Reason::DnsNameDeny
        | Reason::DnsResolverDeny
        | Reason::PolicyUnreadable
        | Reason::Unmanaged
        | Reason::Untracked => None,
    }
}

fn compare(
    world: &World,
    rule: &Rule,
    answers: Option<&Answers>,
    peer: Endpoint<'_>,
    access: &Access<'_>,
    too_late: bool,
) -> Nearest {
    let (port, protocol) = port_difference(&rule.ports, access);
    Nearest {
        rule: rule.id,
        peer: peer_difference(world, &rule.peers, answers, peer),
        port,
        protocol,
        too_late,
    }
}

/// Differences from the peer that fails fewest conditions.
fn peer_difference(
    world: &World,
    peers: &Peers,
    answers: Option<&Answers>,
    end: Endpoint<'_>,
) -> Option<String> {
    let list = match peers {
        Peers::Everyone => return None,
        Peers::AnyOf(list) => list,
    };
    let mut fewest: Option<Vec<String>> = None;
    for peer in list {
        if peer_matches(world, peer, answers, end) {
            return None;
        }
        let differences = differences(world, peer, end);
        if fewest.as_ref().is_none_or(|fewest| differences.len() < fewest.len()) {
            fewest = Some(differences);
        }
    }
    Some(fewest.map_or_else(|| "the rule's peers match nobody".to_owned(), |all| all.join(" and ")))
}

fn differences(world: &World, peer: &Peer, end: Endpoint<'_>) -> Vec<String> {
    match (peer, end.party) {
        (Peer::Pods { namespaces, pods }, Party::Pod(pod)) => {
            let mut all = namespace_differences(world, namespaces, pod);
            all.extend(unmet(pods, &pod.labels).map(|missing| format!("the peer {missing}")));
            all
        }
        (Peer::Pods { .. }, Party::Node(node)) => {
            vec![format!("the peer is node {}, and selectors match pods only", node.name)]
        }
        (Peer::Pods { .. }, Party::Outside) => {
            vec!["the peer is outside the cluster, and selectors match pods only".to_owned()]
        }
        (Peer::Network { cidr, except }, _) => vec![match end.address {
            None => format!("the peer has no known address, and the rule means {cidr}"),
            Some(address) if cidr.contains(&address) => {
                let carved = except.iter().find(|carved| carved.contains(&address));
                carved.map_or_else(String::new, |carved| format!("{address} is excepted by {carved}"))
            }
            Some(address) => format!("{address} is not in {cidr}"),
        }],
        (Peer::Nodes(selector), Party::Node(node)) => {
            unmet(selector, &node.labels).map(|missing| format!("node {} {missing}", node.name)).collect()
        }
        (Peer::Nodes(_), Party::Pod(_) | Party::Outside) => vec!["the peer is not a node".to_owned()],
        (Peer::Names(patterns), _) => {
            let patterns: Vec<_> = patterns.iter().map(ToString::to_string).collect();
            let address = end.address.map_or_else(|| "the peer".to_owned(), |address| address.to_string());
            vec![format!("no DNS answer to the pod for {} is known to give {address}", patterns.join(", "))]
        }
    }
}

fn namespace_differences(world: &World, namespaces: &NamespaceScope, pod: &Pod) -> Vec<String> {
    match namespaces {
        NamespaceScope::Own(name) if *name == pod.namespace => Vec::new(),
        NamespaceScope::Own(name) => {
            vec![format!("the peer is in namespace {}, not {name}", pod.namespace)]
        }
        NamespaceScope::Matching(_) if pod.cluster().is_some() => {
            vec![format!(
                "the peer is in cluster {}, and the rule means pods of this one",
                pod.cluster().unwrap_or_default()
            )]
        }
        NamespaceScope::Elsewhere(_) if pod.cluster().is_none() => {
            vec!["the peer is in this cluster, and the rule means pods of others".to_owned()]
        }
        NamespaceScope::Matching(selector) | NamespaceScope::Elsewhere(selector) => {
            let labels = world.namespace_labels(&pod.namespace);
            let all = unmet(selector, &labels);
            all.map(|missing| format!("namespace {} {missing}", pod.namespace)).collect()
        }
    }
}

/// "lacks label app=web", one for each requirement that the labels do not meet.
fn unmet(selector: &Selector, labels: &Labels) -> impl Iterator<Item = String> {
    selector.0.iter().filter(|requirement| !requirement.matches(labels)).map(|requirement| {
        let wanted = Selector::from_iter([requirement.clone()]);
        match requirement {
            Requirement::In(key, _) => match labels.get(key) {
                Some(value) => format!("has label {key}={value} instead of {wanted}"),
                None => format!("lacks label {wanted}"),
            },
            Requirement::Exists(key) => format!("lacks label {key}"),
            Requirement::NotIn(key, _) => {
                format!(
                    "has label {key}={}, and the rule wants {wanted}",
                    labels.get(key).unwrap_or_default()
                )
            }
            Requirement::DoesNotExist(key) => {
                format!("has label {key}={}, and the rule wants none", labels.get(key).unwrap_or_default())
            }
        }
    })
}

/// Why port and protocol do not match, by the entry that is nearest.
fn port_difference(ports: &Ports, access: &Access<'_>) -> (Option<String>, Option<String>) {
    let list = match ports {
        Ports::All => return (None, None),
        Ports::AnyOf(list) => list,
    };
    let each = list.iter().map(|entry| entry_difference(entry, access));
    each.min_by_key(|(port, protocol)| usize::from(port.is_some()) + usize::from(protocol.is_some()))
        .unwrap_or_else(|| (Some("the rule's ports match nothing".to_owned()), None))
}

fn entry_difference(entry: &PortMatch, access: &Access<'_>) -> (Option<String>, Option<String>) {
    let (protocol, port) = (access.protocol, access.port);
    let other = |wanted| (wanted != protocol).then(|| format!("protocol {protocol} is not {wanted}"));
    match entry {
        PortMatch::Numbers { protocol: wanted, first, last } => {
            let differs = !(*first..=*last).contains(&port);
            let port = if first == last {
                differs.then(|| format!("port {port} is not {first}"))
            } else {
                differs.then(|| format!("port {port} is not in {first}-{last}"))
            };
            (port, other(*wanted))
        }
        PortMatch::Named { name, protocol: wanted } => {
            let Party::Pod(pod) = access.to.party else {
                let why = format!("port name {name:?} means a container port, and the destination is no pod");
                return (Some(why), None);
            };
            let of_name = |named: &&crate::world::NamedPort| {
                named.name == *name && wanted.is_none_or(|wanted| wanted == named.protocol)
            };
            let Some(named) = pod.ports.iter().find(of_name) else {
                return (Some(format!("pod {pod} has no container port named {name:?}")), None);
            };
            let differs =
                (named.port != port).then(|| format!("port {port} is not {} ({name:?})", named.port));
            (differs, other(named.protocol))
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::access::Protocol;

    fn access(protocol: Protocol, port: u16) -> Access<'static> {
        let outside = Endpoint { party: Party::Outside, address: Some("192.0.2.1".parse().unwrap()) };
        Access { from: outside, to: outside, protocol, port }
    }

    #[test]
    fn the_port_entry_with_fewest_differences_is_named() {
        let entry = |protocol, first, last| PortMatch::Numbers { protocol, first, last };
        let ports = Ports::AnyOf(vec![entry(Protocol::UDP, 53, 53), entry(Protocol::TCP, 80, 90)]);
        let differs = port_difference(&ports, &access(Protocol::TCP, 8080));
        assert_eq!(differs, (Some("port 8080 is not in 80-90".to_owned()), None));
        let differs = port_difference(&ports, &access(Protocol::TCP, 53));
        assert_eq!(differs, (None, Some("protocol TCP is not UDP".to_owned())));
        assert_eq!(port_difference(&ports, &access(Protocol::TCP, 80)), (None, None));
    }

    #[test]
    fn a_label_that_differs_and_one_that_is_missing_read_differently() {
        let labels = Labels::from_iter([("app", "api")]);
        let selector = Selector::from_iter([
            Requirement::In("app".into(), vec!["web".into()]),
            Requirement::Exists("team".into()),
        ]);
        let all: Vec<_> = unmet(&selector, &labels).collect();
        assert_eq!(all, ["has label app=api instead of app=web", "lacks label team"]);
    }

    #[test]
    fn an_excepted_address_is_told_from_one_outside_the_block() {
        let peer = |except: &[&str]| Peer::Network {
            cidr: "192.0.2.0/24".parse().unwrap(),
            except: except.iter().map(|block| block.parse().unwrap()).collect(),
        };
        let world = World::default();
        let end = access(Protocol::TCP, 80).from;
        assert_eq!(
            differences(&world, &peer(&["192.0.2.0/28"]), end),
            ["192.0.2.1 is excepted by 192.0.2.0/28"]
        );
        let elsewhere = Endpoint { address: Some("198.51.100.1".parse().unwrap()), ..end };
        assert_eq!(differences(&world, &peer(&[]), elsewhere), ["198.51.100.1 is not in 192.0.2.0/24"]);
    }
}
