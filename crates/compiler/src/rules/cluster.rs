//! ClusterNetworkPolicy, and AdminNetworkPolicy and BaselineAdminNetworkPolicy as dialects of it.
//!
//! Enters: one object. Leaves: a draft policy of the Admin or Baseline tier, or the scope to close if it is broken.

use super::{Closure, Draft, reason, rule_field};
use crate::convert::{Context, protocol, source};
use crds::{ClusterPeer, ClusterPort, ClusterRule, Located, RuleAction};
use policy::{
    Action, Direction, Dns, DomainPattern, NamespaceScope, ObjectRef, Peer, Peers, Policy, PortMatch, Ports,
    Rule, RuleEntry, RuleId, Section, Selector, Subject, Tier,
};

/// Annotation by which a Deny of the Admin tier means everybody on every port: the API has no ingress peer for nodes and the
/// outside, and who is cut off must not be reached from there. The pod's own node reaches it nonetheless.
const QUARANTINE: &str = "cofferdam.dev/quarantine";

pub(super) fn draft(context: &mut Context, written: &crds::ClusterPolicy) -> Draft {
    let object = context.object(written.kind.as_str(), &written.meta);
    let at = source(&written.position);
    let subject = match &written.subject {
        Some(crds::Subject::Namespaces(selector)) => {
            Subject { namespaces: context.namespaces(selector), pods: Selector::everything() }
        }
        Some(crds::Subject::Pods { namespaces, pods }) => {
            Subject { namespaces: context.namespaces(namespaces), pods: context.selector(pods) }
        }
        // It may select anything.
        None => Subject {
            namespaces: NamespaceScope::Matching(Selector::everything()),
            pods: Selector::everything(),
        },
    };
    let (false, Some(tier), Some(priority), Some(_)) =
        (written.broken, written.tier, written.priority, &written.subject)
    else {
        let directions = match (written.ingress.written, written.egress.written) {
            (true, false) => vec![Direction::Ingress],
            (false, true) => vec![Direction::Egress],
            (true, true) | (false, false) => vec![Direction::Egress, Direction::Ingress],
        };
        let field = context.interner.text("");
        return Draft::Closed(Closure { object, source: at, field, subject, directions });
    };
    let tier = match tier {
        crds::Tier::Admin => Tier::Admin,
        crds::Tier::Baseline => Tier::Baseline,
    };
    let is_quarantine = tier == Tier::Admin && written.meta.annotations.contains_key(QUARANTINE);
    let mut drafting = Drafting { context, tier, object: object.clone(), entries: Vec::new(), is_quarantine };
    let ingress = drafting.section(Direction::Ingress, &written.ingress.rules);
    let egress = drafting.section(Direction::Egress, &written.egress.rules);
    let entries = drafting.entries;
    let isolation = [RuleId::NO_POLICY; 2];
    let policy = Policy {
        object,
        source: at,
        tier,
        priority,
        subject,
        ingress,
        egress,
        isolation,
        dns: Dns::default(),
    };
    Draft::Judged { policy: Box::new(policy), entries }
}

struct Drafting<'a> {
    context: &'a mut Context,
    tier: Tier,
    object: ObjectRef,
    entries: Vec<RuleEntry>,
    is_quarantine: bool,
}

impl Drafting<'_> {
    fn section(&mut self, direction: Direction, written: &[ClusterRule]) -> Section {
        // "A policy with no ingress rules does not affect ingress traffic."
        if written.is_empty() {
            return Section::Untouched;
        }
        Section::Rules(written.iter().enumerate().map(|(i, rule)| self.rule(direction, i, rule)).collect())
    }

    fn rule(&mut self, direction: Direction, index: usize, written: &ClusterRule) -> Rule {
        let action = match written.action {
            RuleAction::Accept => Action::Accept,
            RuleAction::Deny => Action::Deny,
            RuleAction::Pass => Action::Pass,
        };
        let (action, peers, ports) = match self.peers(action, &written.peers) {
            Some(_) if self.is_quarantine && action == Action::Deny => closed_rule(action),
            Some(peers) => (action, peers, self.ports(&written.ports)),
            None => closed_rule(action),
        };
        let id = RuleId(u32::try_from(self.entries.len()).unwrap_or(u32::MAX));
        let field = rule_field(self.context, direction, index);
        self.entries.push(RuleEntry {
            reason: reason(self.tier, action),
            object: Some(self.object.clone()),
            direction: Some(direction),
            index: u32::try_from(index).ok(),
            name: written.name.as_ref().map(|name| self.context.interner.text(name)),
            field,
            source: source(&written.position),
            upload: None,
            requests: None,
        });
        Rule { id, action, peers, ports }
    }

    /// `None` if one of the peers is not understood.
    fn peers(&mut self, action: Action, written: &[Located<ClusterPeer>]) -> Option<Peers> {
        let mut peers = Vec::with_capacity(written.len());
        for peer in written {
            match &peer.value {
                ClusterPeer::Namespaces(selector) => peers.push(Peer::Pods {
                    namespaces: self.context.namespaces(selector),
                    pods: Selector::everything(),
                }),
                ClusterPeer::Pods { namespaces, pods } => peers.push(Peer::Pods {
                    namespaces: self.context.namespaces(namespaces),
                    pods: self.context.selector(pods),
                }),
                ClusterPeer::Networks(blocks) => {
                    peers.extend(blocks.iter().map(|cidr| Peer::Network { cidr: *cidr, except: Vec::new() }));
                }
                ClusterPeer::Nodes(selector) => peers.push(Peer::Nodes(self.context.selector(selector))),
                // "domainNames ... only with the Accept action": with another it is as good as not understood.
                ClusterPeer::DomainNames(names) if action == Action::Accept => {
                    let patterns: Result<Vec<_>, _> = names.iter().map(|n| DomainPattern::parse(n)).collect();
                    peers.push(Peer::Names(patterns.ok()?));
                }
                ClusterPeer::DomainNames(_) | ClusterPeer::Unknown { .. } => return None,
            }
        }
        Some(Peers::AnyOf(peers))
    }

    fn ports(&mut self, written: &[Located<ClusterPort>]) -> Ports {
        // "If this field is not set, all traffic is matched."
        if written.is_empty() {
            return Ports::All;
        }
        let port = |port: &Located<ClusterPort>| match &port.value {
            ClusterPort::Numbers { protocol: written, first, last } => {
                PortMatch::Numbers { protocol: protocol(*written), first: *first, last: *last }
            }
            ClusterPort::Named(name) => {
                PortMatch::Named { name: self.context.interner.text(name), protocol: None }
            }
        };
        Ports::AnyOf(written.iter().map(port).collect())
    }
}

/// "implementations must fail closed": an Accept rule with an unknown peer matches nothing, a Deny or Pass rule
/// denies everything.
fn closed_rule(action: Action) -> (Action, Peers, Ports) {
    match action {
        Action::Accept => (Action::Accept, Peers::AnyOf(Vec::new()), Ports::All),
        Action::Deny | Action::Pass => (Action::Deny, Peers::Everyone, Ports::All),
    }
}
