//! Does one selector, peer or port list include everything another does?
//!
//! Enters: two of a kind. Leaves: true only if the first certainly includes the second; it compares what was written, not
//! who exists, so a cover stays one when pods come and go. Does not: find every cover.

use policy::{NamespaceScope, Peer, Peers, PortMatch, Ports, Requirement, Rule, Selector, Subject, World};

/// Whether `wide` matches all that `narrow` does.
pub(super) fn rule(world: &World, wide: &Rule, narrow: &Rule) -> bool {
    ports(&wide.ports, &narrow.ports) && peers(world, &wide.peers, &narrow.peers)
}

/// Whether `wide` selects all that `narrow` does.
pub(super) fn subject(world: &World, wide: &Subject, narrow: &Subject) -> bool {
    scope(world, &wide.namespaces, &narrow.namespaces) && selector(&wide.pods, &narrow.pods)
}

fn peers(world: &World, wide: &Peers, narrow: &Peers) -> bool {
    match (wide, narrow) {
        (Peers::Everyone, Peers::Everyone | Peers::AnyOf(_)) => true,
        (Peers::AnyOf(_), Peers::Everyone) => false,
        (Peers::AnyOf(wide), Peers::AnyOf(narrow)) => {
            !narrow.is_empty() && narrow.iter().all(|n| wide.iter().any(|w| peer(world, w, n)))
        }
    }
}

fn peer(world: &World, wide: &Peer, narrow: &Peer) -> bool {
    match (wide, narrow) {
        (Peer::Pods { namespaces: a, pods: x }, Peer::Pods { namespaces: b, pods: y }) => {
            scope(world, a, b) && selector(x, y)
        }
        (Peer::Network { cidr: a, except: holes }, Peer::Network { cidr: b, except: also }) => {
            let harmless = |hole: &ipnet::IpNet| {
                let apart = !hole.contains(b) && !b.contains(hole);
                apart || also.iter().any(|other| other.contains(hole))
            };
            a.contains(b) && holes.iter().all(harmless)
        }
        (Peer::Nodes(a), Peer::Nodes(b)) => selector(a, b),
        (Peer::Names(a), Peer::Names(b)) => b.iter().all(|narrow| a.iter().any(|wide| wide.covers(narrow))),
        (Peer::Pods { .. } | Peer::Network { .. } | Peer::Nodes(_) | Peer::Names(_), _) => false,
    }
}

fn scope(world: &World, wide: &NamespaceScope, narrow: &NamespaceScope) -> bool {
    match (wide, narrow) {
        (NamespaceScope::Own(a), NamespaceScope::Own(b)) => a == b,
        (NamespaceScope::Own(_), NamespaceScope::Matching(_)) => false,
        (NamespaceScope::Matching(a), NamespaceScope::Own(b)) => a.matches(&world.namespace_labels(b)),
        (NamespaceScope::Matching(a), NamespaceScope::Matching(b))
        | (NamespaceScope::Elsewhere(a), NamespaceScope::Elsewhere(b)) => selector(a, b),
        (NamespaceScope::Elsewhere(_), NamespaceScope::Own(_) | NamespaceScope::Matching(_))
        | (NamespaceScope::Own(_) | NamespaceScope::Matching(_), NamespaceScope::Elsewhere(_)) => false,
    }
}

/// Every requirement of the wide one follows from one of the narrow one.
fn selector(wide: &Selector, narrow: &Selector) -> bool {
    wide.0.iter().all(|wanted| narrow.0.iter().any(|given| follows(wanted, given)))
}

fn follows(wanted: &Requirement, given: &Requirement) -> bool {
    match (wanted, given) {
        (Requirement::In(a, all), Requirement::In(b, some)) => a == b && some.iter().all(|v| all.contains(v)),
        (Requirement::NotIn(a, some), Requirement::NotIn(b, all)) => {
            a == b && some.iter().all(|v| all.contains(v))
        }
        (Requirement::NotIn(a, barred), Requirement::In(b, some)) => {
            a == b && !some.iter().any(|v| barred.contains(v))
        }
        (Requirement::NotIn(a, _), Requirement::DoesNotExist(b))
        | (Requirement::Exists(a), Requirement::In(b, _) | Requirement::Exists(b))
        | (Requirement::DoesNotExist(a), Requirement::DoesNotExist(b)) => a == b,
        (
            Requirement::In(..)
            | Requirement::NotIn(..)
            | Requirement::Exists(_)
            | Requirement::DoesNotExist(_),
            _,
        ) => false,
    }
}

fn ports(wide: &Ports, narrow: &Ports) -> bool {
    match (wide, narrow) {
        (Ports::All, Ports::All | Ports::AnyOf(_)) => true,
        (Ports::AnyOf(_), Ports::All) => false,
        (Ports::AnyOf(wide), Ports::AnyOf(narrow)) => narrow.iter().all(|n| wide.iter().any(|w| port(w, n))),
    }
}

fn port(wide: &PortMatch, narrow: &PortMatch) -> bool {
    match (wide, narrow) {
        (
            PortMatch::Numbers { protocol: a, first: from, last: to },
            PortMatch::Numbers { protocol: b, first, last },
        ) => a == b && from <= first && last <= to,
        // A named port is some port of its protocol.
        (
            PortMatch::Numbers { protocol: a, first, last: u16::MAX },
            PortMatch::Named { protocol: Some(b), .. },
        ) => a == b && *first <= 1,
        (PortMatch::Named { name: a, protocol: None }, PortMatch::Named { name: b, .. }) => a == b,
        (PortMatch::Named { .. }, PortMatch::Named { .. }) => wide == narrow,
        (PortMatch::Numbers { .. }, PortMatch::Named { .. })
        | (PortMatch::Named { .. }, PortMatch::Numbers { .. }) => false,
    }
}
