//! Rules that reach further than they seem to: the cluster's own pods, and pods behind address blocks.

use super::crowd::Crowd;
use super::{DIRECTIONS, Findings, every_rule, peers_field};
use crds::{Code, Diagnostic};
use ipnet::IpNet;
use policy::{Action, NamespaceScope, Peer, Peers, Policy, PortMatch, Ports, Protocol, Rule, Tier, World};
use std::net::IpAddr;

const SYSTEM: &str = "kube-system";

/// A broad Deny that also holds for `kube-system` cuts off DNS, metrics and whatever else the cluster needs.
pub(super) fn system_locked_out(findings: &mut Findings<'_>, crowd: &Crowd<'_>) {
    let set = findings.set;
    for policy in set.policies.iter().filter(|policy| policy.tier != Tier::NetworkPolicy) {
        if !means_system(&set.world, crowd, policy) {
            continue;
        }
        for direction in DIRECTIONS {
            let mut before: Vec<&Rule> = Vec::new();
            for rule in policy.section(direction).rules() {
                let spared = before.iter().any(|rule| is_broad(rule));
                if rule.action == Action::Deny && is_broad(rule) && !spared {
                    findings.about_rule(rule, "", Code::SystemLockedOut, || {
                        let message = format!("denies {direction} of {SYSTEM} too, cluster DNS among it");
                        let suggestion = "leave it out of spec.subject with matchExpressions: [{key: \
                                          kubernetes.io/metadata.name, operator: NotIn, values: [kube-system]}]";
                        Diagnostic::warning(Code::SystemLockedOut, message).suggest(suggestion)
                    });
                }
                before.push(rule);
            }
        }
    }
}

fn means_system(world: &World, crowd: &Crowd<'_>, policy: &Policy) -> bool {
    let in_scope = match &policy.subject.namespaces {
        NamespaceScope::Own(name) => &**name == SYSTEM,
        NamespaceScope::Matching(selector) => selector.matches(&world.namespace_labels(SYSTEM)),
        NamespaceScope::Elsewhere(_) => false,
    };
    let pods = &policy.subject.pods;
    in_scope && (pods.is_everything() || crowd.any(&NamespaceScope::Own(SYSTEM.into()), pods))
}

/// Everyone or every pod or every address, on all ports.
fn is_broad(rule: &Rule) -> bool {
    let everyone = match &rule.peers {
        Peers::Everyone => true,
        Peers::AnyOf(list) => list.iter().any(|peer| match peer {
            Peer::Pods { namespaces: NamespaceScope::Matching(selector), pods } => {
                selector.is_everything() && pods.is_everything()
            }
            Peer::Network { cidr, except } => cidr.prefix_len() == 0 && except.is_empty(),
            Peer::Pods { namespaces: NamespaceScope::Own(_) | NamespaceScope::Elsewhere(_), .. }
            | Peer::Nodes(_)
            | Peer::Names(_) => false,
        }),
    };
    let all_ports = match &rule.ports {
        Ports::All => true,
        Ports::AnyOf(list) => list.iter().any(|entry| match entry {
            PortMatch::Numbers { protocol, first, last } => {
                *protocol != Protocol::SCTP && *first <= 1 && *last == u16::MAX
            }
            PortMatch::Named { .. } => false,
        }),
    };
    everyone && all_ports
}

/// Blocks that contain addresses of pods: pods change their addresses, selectors do not. And one note if pods have no
/// known address at all, since then no block means them.
pub(super) fn blocks_with_pods(findings: &mut Findings<'_>) {
    let set = findings.set;
    let own = || set.world.pods.iter().filter(|pod| !pod.host_network && pod.cluster().is_none());
    let mut addresses: Vec<IpAddr> = own().flat_map(|pod| pod.addresses.iter().copied()).collect();
    addresses.sort_unstable();
    let without = own().filter(|pod| pod.addresses.is_empty()).count();
    let mut said = without == 0;
    for (policy, direction, rule) in every_rule(set) {
        let Peers::AnyOf(list) = &rule.peers else { continue };
        for peer in list {
            let Peer::Network { cidr, except } = peer else { continue };
            if !said {
                said = true;
                findings.about_rule(rule, peers_field(direction), Code::MissingReference, || {
                    let message = format!(
                        "{without} pods have no known address, so this block and all others are taken not to contain them"
                    );
                    let suggestion = "give status.podIP, as `kubectl get pods -o yaml` prints it";
                    Diagnostic::note(Code::MissingReference, message).suggest(suggestion)
                });
            }
            // The whole internet is commonly meant as "everyone outside"; only denying it surprises.
            let surprising =
                cidr.prefix_len() > 0 || rule.action == Action::Deny && !pods_passed(policy, direction, rule);
            if surprising && let Some(address) = inside(&addresses, cidr, except) {
                findings.about_rule(rule, peers_field(direction), Code::OverlappingAddress, || {
                    let pod = own().find(|pod| pod.addresses.contains(&address));
                    let name = pod.map(ToString::to_string).unwrap_or_default();
                    let message = format!(
                        "{cidr} contains pods, for example {name} ({address}), and so means them too"
                    );
                    let suggestion = match rule.action {
                        Action::Deny => "accept or pass the pods you mean to allow in an earlier rule",
                        Action::Accept | Action::Pass => "select pods by labels; their addresses change",
                    };
                    Diagnostic::warning(Code::OverlappingAddress, message).suggest(suggestion)
                });
            }
        }
    }
}

/// Whether an earlier rule lets pods through.
fn pods_passed(policy: &Policy, direction: policy::Direction, rule: &Rule) -> bool {
    let rules = policy.section(direction).rules();
    rules
        .iter()
        .take_while(|earlier| earlier.id != rule.id)
        .any(|earlier| earlier.action != Action::Deny && is_broad(earlier))
}

/// Some pod address in the block.
fn inside(sorted: &[IpAddr], cidr: &IpNet, except: &[IpNet]) -> Option<IpAddr> {
    let from = sorted.partition_point(|address| *address < cidr.network());
    let to = sorted.partition_point(|address| *address <= cidr.broadcast());
    let candidates = sorted.get(from..to)?.iter();
    candidates.take(10_000).find(|address| !except.iter().any(|hole| hole.contains(*address))).copied()
}
