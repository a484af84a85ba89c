//! `networking.k8s.io/v1` NetworkPolicy.
//!
//! Enters: one object. Leaves: a draft policy of the NetworkPolicy tier, or the scope to close if it is broken.

use super::{Closure, Draft, reason, rule_field};
use crate::convert::{Context, protocol, source};
use crds::{Located, NetworkPolicyPeer, NetworkPolicyPort, NetworkPolicyRule, PolicyTypes, PortRef};
use policy::{
    Action, Direction, Dns, NamespaceScope, ObjectRef, Peer, Peers, Policy, PortMatch, Ports, Reason, Rule,
    RuleEntry, RuleId, Section, Selector, SourceRef, Subject, Tier,
};
use std::sync::Arc;

pub(super) fn draft(context: &mut Context, written: &crds::NetworkPolicy) -> Draft {
    let object = context.object("NetworkPolicy", &written.meta);
    let own = object.namespace.clone();
    // "podSelector ... optional ... defaults to empty", and empty selects all pods of the namespace. One that cannot be
    // read may select any of them.
    let pods = match &written.pod_selector {
        Some(selector) => context.selector(selector),
        None => Selector::everything(),
    };
    let subject = Subject { namespaces: NamespaceScope::Own(own.clone()), pods };
    let at = source(&written.position);
    if written.broken {
        let field = context.interner.text("");
        let directions = could_speak_about(written);
        return Draft::Closed(Closure { object, source: at, field, subject, directions });
    }
    let mut drafting = Drafting { context, own, object: object.clone(), at: at.clone(), entries: Vec::new() };
    let (ingress, egress) = directions(written);
    let isolating_field = match written.policy_types {
        PolicyTypes::Listed { .. } | PolicyTypes::Unreadable => "spec.policyTypes",
        PolicyTypes::Defaulted => "spec.podSelector",
    };
    let mut isolation = [RuleId::NO_POLICY; 2];
    let [isolation_egress, isolation_ingress] = &mut isolation;
    let ingress = drafting.section(
        ingress,
        Direction::Ingress,
        &written.ingress.rules,
        isolating_field,
        isolation_ingress,
    );
    let egress =
        drafting.section(egress, Direction::Egress, &written.egress.rules, isolating_field, isolation_egress);
    let entries = drafting.entries;
    let policy = Policy {
        object,
        source: at,
        tier: Tier::NetworkPolicy,
        priority: 0,
        subject,
        ingress,
        egress,
        isolation,
        dns: Dns::default(),
    };
    Draft::Judged { policy: Box::new(policy), entries }
}

/// (ingress, egress): which directions the policy isolates.
fn directions(written: &crds::NetworkPolicy) -> (bool, bool) {
    match written.policy_types {
        PolicyTypes::Listed { ingress, egress } => (ingress, egress),
        // "If this field is not specified, it will default based on the existence of ingress or egress rules ...
        // policies ... without egress rules are assumed to affect only ingress". `egress: []` is no rule.
        PolicyTypes::Defaulted => (true, !written.egress.rules.is_empty()),
        PolicyTypes::Unreadable => (true, true),
    }
}

/// Which directions a broken policy may have meant.
fn could_speak_about(written: &crds::NetworkPolicy) -> Vec<Direction> {
    let both = vec![Direction::Egress, Direction::Ingress];
    match written.policy_types {
        PolicyTypes::Unreadable | PolicyTypes::Listed { ingress: false, egress: false } => both,
        PolicyTypes::Listed { ingress: true, egress: false } => vec![Direction::Ingress],
        PolicyTypes::Listed { ingress: false, egress: true } => vec![Direction::Egress],
        PolicyTypes::Listed { ingress: true, egress: true } => both,
        PolicyTypes::Defaulted if written.egress.written => both,
        PolicyTypes::Defaulted => vec![Direction::Ingress],
    }
}

struct Drafting<'a> {
    context: &'a mut Context,
    own: Arc<str>,
    object: ObjectRef,
    at: Option<SourceRef>,
    entries: Vec<RuleEntry>,
}

impl Drafting<'_> {
    fn section(
        &mut self,
        isolates: bool,
        direction: Direction,
        written: &[NetworkPolicyRule],
        isolating_field: &str,
        isolation: &mut RuleId,
    ) -> Section {
        // Rules of a direction that policyTypes leaves out have no effect.
        if !isolates {
            return Section::Untouched;
        }
        let field = self.context.interner.text(isolating_field);
        *isolation = self.add(Reason::Isolated, direction, None, field, self.at.clone());
        let mut rules = Vec::with_capacity(written.len());
        for (index, rule) in written.iter().enumerate() {
            let field = rule_field(self.context, direction, index);
            let reason = reason(Tier::NetworkPolicy, Action::Accept);
            let id = self.add(reason, direction, u32::try_from(index).ok(), field, source(&rule.position));
            let (peers, ports) = (self.peers(&rule.peers), self.ports(&rule.ports));
            rules.push(Rule { id, action: Action::Accept, peers, ports });
        }
        Section::Rules(rules)
    }

    fn add(
        &mut self,
        reason: Reason,
        direction: Direction,
        index: Option<u32>,
        field: Arc<str>,
        at: Option<SourceRef>,
    ) -> RuleId {
        let id = RuleId(u32::try_from(self.entries.len()).unwrap_or(u32::MAX));
        self.entries.push(RuleEntry {
            reason,
            object: Some(self.object.clone()),
            direction: Some(direction),
            index,
            name: None,
            field,
            source: at,
            upload: None,
            requests: None,
        });
        id
    }

    fn peers(&mut self, written: &[Located<NetworkPolicyPeer>]) -> Peers {
        // "If this field is empty or missing, this rule matches all sources."
        if written.is_empty() {
            return Peers::Everyone;
        }
        Peers::AnyOf(written.iter().filter_map(|peer| self.peer(&peer.value)).collect())
    }

    /// `None` for a peer that says nothing this version knows: it matches nobody.
    fn peer(&mut self, written: &NetworkPolicyPeer) -> Option<Peer> {
        match written {
            NetworkPolicyPeer::Selectors { pods: None, namespaces: None }
            | NetworkPolicyPeer::Unknown { .. } => None,
            NetworkPolicyPeer::Selectors { pods, namespaces } => {
                // "Otherwise it selects the Pods matching podSelector in the policy's own Namespace."
                let namespaces = match namespaces {
                    Some(selector) => self.context.namespaces(selector),
                    None => NamespaceScope::Own(self.own.clone()),
                };
                // "If podSelector is empty or missing, all pods in the selected namespaces."
                let pods = match pods {
                    Some(selector) => self.context.selector(selector),
                    None => Selector::everything(),
                };
                Some(Peer::Pods { namespaces, pods })
            }
            NetworkPolicyPeer::Block { cidr, except } => {
                Some(Peer::Network { cidr: *cidr, except: except.clone() })
            }
        }
    }

    fn ports(&mut self, written: &[Located<NetworkPolicyPort>]) -> Ports {
        // "If this field is empty or missing, this rule matches all ports (traffic not restricted by port)."
        if written.is_empty() {
            return Ports::All;
        }
        Ports::AnyOf(written.iter().map(|port| self.port(&port.value)).collect())
    }

    fn port(&mut self, written: &NetworkPolicyPort) -> PortMatch {
        let protocol = protocol(written.protocol);
        match &written.port {
            // "If this field is not provided, this matches all port names and numbers" of that protocol.
            None => PortMatch::Numbers { protocol, first: 0, last: u16::MAX },
            Some(PortRef::Number(first)) => {
                PortMatch::Numbers { protocol, first: *first, last: written.end_port.unwrap_or(*first) }
            }
            Some(PortRef::Name(name)) => {
                PortMatch::Named { name: self.context.interner.text(name), protocol: Some(protocol) }
            }
        }
    }
}
