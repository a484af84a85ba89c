//! The whole cluster, interned and cross-referenced.
//!
//! Enters: a policy set. Leaves: equal selectors, peers and port lists once; pods grouped by namespace and labels;
//! for every pod set (namespaces and selector) the groups in it, and for every group its pod sets.
//! Guarantees: work and memory follow groups and distinct selectors, never pod times pod or pod times policy.
//! Does not: know nodes' tables (`node`) or changes (`engine`).

use super::selectors::SelectorIndex;
use super::{Fixed, dense};
use ipnet::IpNet;
use policy::{
    Action, ClosedScope, DomainPattern, Generation, Labels, NamedPort, NamespaceScope, Node, ObjectRef, Peer,
    Peers, Pod, PodName, Policy, PolicySet, PortMatch, Ports, Resolved, RuleEntry, RuleId, Section, Selector,
    Subject, Tier,
};
use std::collections::{BTreeMap, HashMap, HashSet};
use std::net::IpAddr;
use std::sync::Arc;

/// Position in one of the index' lists.
pub(crate) type Id = u32;
pub(crate) type Map<K, V> = HashMap<K, V, Fixed>;

/// Distance of neighbours in the order of judgement.
pub(crate) const RANK_GAP: u64 = 1 << 24;

/// In which cluster a namespace is; a selector looks at those of one kind.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
pub(crate) enum Whose {
    /// In this one.
    #[default]
    Ours,
    /// In another.
    Elsewhere,
}

impl Whose {
    pub(crate) fn of(namespace: &str) -> Self {
        match policy::cluster_of(namespace) {
            None => Self::Ours,
            Some(_) => Self::Elsewhere,
        }
    }
}

/// Namespace selectors, by whose namespaces they look at.
#[derive(Debug, Default)]
pub(crate) struct ScopeSelectors {
    ours: SelectorIndex<Id>,
    elsewhere: SelectorIndex<Id>,
}

impl ScopeSelectors {
    /// The scopes that include a namespace of these labels, ascending.
    pub(crate) fn matching(&self, whose: Whose, labels: &Labels) -> Vec<Id> {
        match whose {
            Whose::Ours => self.ours.matching(labels),
            Whose::Elsewhere => self.elsewhere.matching(labels),
        }
    }

    fn insert(&mut self, whose: Whose, selector: &Selector, id: Id) {
        match whose {
            Whose::Ours => self.ours.insert(selector, id),
            Whose::Elsewhere => self.elsewhere.insert(selector, id),
        }
    }
}

/// A namespace that exists or that a policy speaks of.
#[derive(Debug, Default)]
pub(crate) struct NamespaceEntry {
    pub(crate) labels: Labels,
    pub(crate) whose: Whose,
    pub(crate) groups: Vec<Id>,
    /// Pod sets of this namespace alone.
    pub(crate) own: SelectorIndex<Id>,
    /// Scopes whose selector matches the labels.
    pub(crate) scopes: Vec<Id>,
}

/// A namespace selector.
#[derive(Debug)]
pub(crate) struct ScopeEntry {
    /// Pod sets of this scope by their pod selector.
    pub(crate) sets: SelectorIndex<Id>,
    pub(crate) namespaces: Vec<Id>,
}

/// All pods of one namespace with equal labels. No selector tells them apart.
#[derive(Debug)]
pub(crate) struct GroupEntry {
    pub(crate) namespace: Id,
    pub(crate) labels: Labels,
    pub(crate) pods: Vec<Id>,
    /// Ascending.
    pub(crate) sets: Vec<Id>,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub(crate) enum Scope {
    Namespace(Id),
    Matching(Id),
}

/// Distinct (namespaces, pod selector): subject or peer.
#[derive(Debug, Default)]
pub(crate) struct PodSetEntry {
    pub(crate) groups: Vec<Id>,
    /// Policies whose subject this is, in order of judgement.
    pub(crate) policies: Vec<Id>,
    /// Closed scopes whose subject this is.
    pub(crate) closed: Vec<Id>,
    /// Policies with a rule whose peer this is.
    pub(crate) used_by: Vec<Id>,
}

/// A distinct peer.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub(crate) enum PeerEntry {
    Pods(Id),
    Network(IpNet, Vec<IpNet>),
    Nodes(Selector),
    Names(Vec<DomainPattern>),
}

/// A rule with its parts interned.
#[derive(Debug)]
pub(crate) struct CompiledRule {
    pub(crate) id: RuleId,
    pub(crate) action: Action,
    /// `None`: everyone.
    pub(crate) peers: Option<Box<[Id]>>,
    /// `None`: all protocols and ports.
    pub(crate) ports: Option<Arc<[PortMatch]>>,
}

/// A policy with its parts interned.
#[derive(Debug)]
pub(crate) struct CompiledPolicy {
    pub(crate) object: ObjectRef,
    pub(crate) priority: u16,
    pub(crate) subject: Id,
    /// Place in the order of judgement, with gaps for later ones.
    pub(crate) rank: u64,
    pub(crate) tier: Tier,
    /// Egress, ingress. `None` where the policy does not speak of the direction.
    pub(crate) sections: [Option<Box<[CompiledRule]>>; 2],
    pub(crate) isolation: [RuleId; 2],
}

/// A scope that is closed, by direction (egress, ingress).
#[derive(Debug)]
pub(crate) struct Closed {
    pub(crate) rule: RuleId,
    pub(crate) directions: [bool; 2],
}

/// A pod with a network of its own.
#[derive(Debug)]
pub(crate) struct PodEntry {
    pub(crate) namespace: Arc<str>,
    pub(crate) name: Arc<str>,
    pub(crate) group: Id,
    pub(crate) node: Option<Arc<str>>,
    pub(crate) addresses: Box<[IpAddr]>,
    pub(crate) ports: Arc<[NamedPort]>,
}

impl PodEntry {
    /// Whether it runs in another cluster, which judges for it.
    pub(crate) fn is_elsewhere(&self) -> bool {
        policy::cluster_of(&self.namespace).is_some()
    }
}

/// Everything lowering needs to know of a cluster.
#[derive(Debug, Default)]
pub(crate) struct Index {
    pub(crate) generation: Generation,
    pub(crate) rules: Arc<Vec<RuleEntry>>,
    pub(crate) namespaces: Vec<NamespaceEntry>,
    pub(crate) namespace_ids: Map<Arc<str>, Id>,
    pub(crate) namespace_selectors: ScopeSelectors,
    pub(crate) scopes: Vec<ScopeEntry>,
    pub(crate) scope_ids: Map<(Whose, Selector), Id>,
    pub(crate) groups: Vec<GroupEntry>,
    pub(crate) group_ids: Map<(Id, Labels), Id>,
    pub(crate) sets: Vec<PodSetEntry>,
    pub(crate) set_ids: Map<(Scope, Selector), Id>,
    pub(crate) peers: Vec<PeerEntry>,
    pub(crate) peer_ids: Map<PeerEntry, Id>,
    port_lists: HashSet<Arc<[PortMatch]>, Fixed>,
    pod_ports: HashSet<Arc<[NamedPort]>, Fixed>,
    pub(crate) pods: Vec<PodEntry>,
    pub(crate) pods_on: Map<Arc<str>, Vec<Id>>,
    pub(crate) pods_naming: Map<Arc<str>, Vec<Id>>,
    /// The first pod that has the address.
    pub(crate) pod_at: Map<IpAddr, Id>,
    pub(crate) nodes: BTreeMap<Arc<str>, Node>,
    /// The first node that has the address.
    pub(crate) node_at: Map<IpAddr, Arc<str>>,
    pub(crate) names: BTreeMap<PodName, Resolved>,
    pub(crate) policies: Vec<CompiledPolicy>,
    /// Live policies in order of judgement.
    pub(crate) order: Vec<Id>,
    /// Policies with an egress rule that names the port.
    pub(crate) policies_naming: Map<Arc<str>, Vec<Id>>,
    /// Everyone who claims an address that more than one pod has.
    pub(crate) contested: Map<IpAddr, Vec<Id>>,
    /// Members of groups and sets are known; what comes later has to be matched when it comes.
    resolved: bool,
    pub(crate) closed: Vec<Closed>,
}

impl Index {
    /// Interns a policy set and resolves every subject and peer.
    pub(crate) fn new(set: &PolicySet) -> Self {
        let mut index = Self {
            generation: set.generation,
            rules: set.rules.clone(),
            nodes: set.world.nodes.clone(),
            names: set.world.names.clone(),
            ..Self::default()
        };
        for (name, namespace) in &set.world.namespaces {
            let id = index.namespace(name);
            if let Some(entry) = index.namespaces.get_mut(id as usize) {
                entry.labels = namespace.labels.clone();
            }
        }
        for pod in set.world.pods.iter().filter(|pod| !pod.host_network) {
            index.add_pod(pod);
        }
        for node in set.world.nodes.values() {
            for address in &node.addresses {
                index.node_at.entry(*address).or_insert_with(|| node.name.clone());
            }
        }
        for policy in &set.policies {
            index.add_policy(policy);
        }
        for scope in &set.closed {
            index.add_closed(scope);
        }
        index.resolve();
        index.resolved = true;
        index
    }

    /// Everything that exists is known: finds which groups are in which pod sets.
    fn resolve(&mut self) {
        for (id, namespace) in self.namespaces.iter_mut().enumerate() {
            namespace.scopes = self.namespace_selectors.matching(namespace.whose, &namespace.labels);
            for scope in &namespace.scopes {
                if let Some(scope) = self.scopes.get_mut(*scope as usize) {
                    scope.namespaces.push(dense(id));
                }
            }
        }
        for (id, group) in self.groups.iter_mut().enumerate() {
            let Some(namespace) = self.namespaces.get(group.namespace as usize) else { continue };
            let mut sets = namespace.own.matching(&group.labels);
            for scope in namespace.scopes.iter().filter_map(|scope| self.scopes.get(*scope as usize)) {
                sets.extend(scope.sets.matching(&group.labels));
            }
            sets.sort_unstable();
            for set in &sets {
                if let Some(set) = self.sets.get_mut(*set as usize) {
                    set.groups.push(dense(id));
                }
            }
            group.sets = sets;
        }
    }

    /// The pod sets that would include a pod of a namespace nobody declared, ascending.
    pub(crate) fn sets_of_stranger(&self, namespace: &Labels, pod: &Labels) -> Vec<Id> {
        let scopes = self.namespace_selectors.matching(Whose::Ours, namespace);
        let scopes = scopes.iter().filter_map(|scope| self.scopes.get(*scope as usize));
        let mut sets: Vec<Id> = scopes.flat_map(|scope| scope.sets.matching(pod)).collect();
        sets.sort_unstable();
        sets
    }

    pub(crate) fn namespace(&mut self, name: &Arc<str>) -> Id {
        if let Some(known) = self.namespace_ids.get(name) {
            return *known;
        }
        let id = dense(self.namespaces.len());
        // What `World::namespace_labels` gives for a namespace nobody declared.
        let labels = Labels::from_iter([("kubernetes.io/metadata.name", name.as_ref())]);
        let whose = Whose::of(name);
        self.namespaces.push(NamespaceEntry { labels, whose, ..NamespaceEntry::default() });
        self.namespace_ids.insert(name.clone(), id);
        if self.resolved {
            self.rescope(id);
        }
        id
    }

    pub(crate) fn add_pod(&mut self, pod: &Pod) {
        let namespace = self.namespace(&pod.namespace);
        let group = self.group(namespace, &pod.labels);
        let id = dense(self.pods.len());
        let ports = self.shared_ports(&pod.ports);
        for address in &pod.addresses {
            self.claim(*address, id, (&pod.namespace, &pod.name));
        }
        if let Some(node) = &pod.node {
            self.pods_on.entry(node.clone()).or_default().push(id);
        }
        for port in ports.iter() {
            let naming = self.pods_naming.entry(port.name.clone()).or_default();
            if naming.last() != Some(&id) {
                naming.push(id);
            }
        }
        if let Some(entry) = self.groups.get_mut(group as usize) {
            entry.pods.push(id);
        }
        self.pods.push(PodEntry {
            namespace: pod.namespace.clone(),
            name: pod.name.clone(),
            group,
            node: pod.node.clone(),
            addresses: pod.addresses.as_slice().into(),
            ports,
        });
    }

    pub(crate) fn group(&mut self, namespace: Id, labels: &Labels) -> Id {
        let key = (namespace, labels.clone());
        if let Some(known) = self.group_ids.get(&key) {
            return *known;
        }
        let id = dense(self.groups.len());
        self.group_ids.insert(key, id);
        self.groups.push(GroupEntry {
            namespace,
            labels: labels.clone(),
            pods: Vec::new(),
            sets: Vec::new(),
        });
        if let Some(entry) = self.namespaces.get_mut(namespace as usize) {
            entry.groups.push(id);
        }
        if self.resolved {
            self.regroup(id);
        }
        id
    }

    fn shared_ports(&mut self, ports: &[NamedPort]) -> Arc<[NamedPort]> {
        if let Some(known) = self.pod_ports.get(ports) {
            return known.clone();
        }
        let new: Arc<[NamedPort]> = ports.into();
        self.pod_ports.insert(new.clone());
        new
    }

    pub(crate) fn add_policy(&mut self, policy: &Policy) {
        let id = dense(self.policies.len());
        let subject = self.subject(&policy.subject);
        if let Some(set) = self.sets.get_mut(subject as usize) {
            set.policies.push(id);
        }
        let sections = [self.section(&policy.egress), self.section(&policy.ingress)];
        self.refer(id, &sections);
        self.policies.push(CompiledPolicy {
            object: policy.object.clone(),
            priority: policy.priority,
            subject,
            rank: u64::from(id + 1) * RANK_GAP,
            tier: policy.tier,
            sections,
            isolation: policy.isolation,
        });
        self.order.push(id);
    }

    /// Notes which pod sets and port names a policy's rules use.
    pub(crate) fn refer(&mut self, id: Id, sections: &[Option<Box<[CompiledRule]>>; 2]) {
        for rule in sections.iter().flatten().flatten() {
            for peer in rule.peers.iter().flatten() {
                if let Some(PeerEntry::Pods(set)) = self.peers.get(*peer as usize)
                    && let Some(set) = self.sets.get_mut(*set as usize)
                    && set.used_by.last() != Some(&id)
                {
                    set.used_by.push(id);
                }
            }
        }
        let [egress, _] = sections;
        let ports = egress.iter().flatten().filter_map(|rule| rule.ports.as_deref());
        for name in ports.flat_map(super::slots::port_names) {
            let naming = self.policies_naming.entry(name).or_default();
            if naming.last() != Some(&id) {
                naming.push(id);
            }
        }
    }

    fn add_closed(&mut self, scope: &ClosedScope) {
        let id = dense(self.closed.len());
        let subject = self.subject(&scope.subject);
        if let Some(set) = self.sets.get_mut(subject as usize) {
            set.closed.push(id);
        }
        let directions = super::DIRECTIONS.map(|direction| scope.directions.contains(&direction));
        self.closed.push(Closed { rule: scope.rule, directions });
    }

    pub(crate) fn section(&mut self, section: &Section) -> Option<Box<[CompiledRule]>> {
        let Section::Rules(rules) = section else { return None };
        let compiled = rules.iter().map(|rule| {
            let peers = match &rule.peers {
                Peers::Everyone => None,
                Peers::AnyOf(list) => Some(list.iter().map(|peer| self.peer(peer)).collect()),
            };
            let ports = match &rule.ports {
                Ports::All => None,
                Ports::AnyOf(list) => Some(self.shared_port_list(list)),
            };
            CompiledRule { id: rule.id, action: rule.action, peers, ports }
        });
        Some(compiled.collect())
    }

    fn shared_port_list(&mut self, ports: &[PortMatch]) -> Arc<[PortMatch]> {
        if let Some(known) = self.port_lists.get(ports) {
            return known.clone();
        }
        let new: Arc<[PortMatch]> = ports.into();
        self.port_lists.insert(new.clone());
        new
    }

    fn peer(&mut self, peer: &Peer) -> Id {
        let entry = match peer {
            Peer::Pods { namespaces, pods } => PeerEntry::Pods(self.pod_set(namespaces, pods)),
            Peer::Network { cidr, except } => PeerEntry::Network(*cidr, except.clone()),
            Peer::Nodes(selector) => PeerEntry::Nodes(selector.clone()),
            Peer::Names(patterns) => PeerEntry::Names(patterns.clone()),
        };
        if let Some(known) = self.peer_ids.get(&entry) {
            return *known;
        }
        let id = dense(self.peers.len());
        self.peer_ids.insert(entry.clone(), id);
        self.peers.push(entry);
        id
    }

    pub(crate) fn subject(&mut self, subject: &Subject) -> Id {
        self.pod_set(&subject.namespaces, &subject.pods)
    }

    fn pod_set(&mut self, namespaces: &NamespaceScope, selector: &Selector) -> Id {
        let scope = match namespaces {
            NamespaceScope::Own(name) => Scope::Namespace(self.namespace(name)),
            NamespaceScope::Matching(selector) => Scope::Matching(self.scope(Whose::Ours, selector)),
            NamespaceScope::Elsewhere(selector) => Scope::Matching(self.scope(Whose::Elsewhere, selector)),
        };
        let key = (scope, selector.clone());
        if let Some(known) = self.set_ids.get(&key) {
            return *known;
        }
        let id = dense(self.sets.len());
        self.set_ids.insert(key, id);
        let filed = match scope {
            Scope::Namespace(id) => self.namespaces.get_mut(id as usize).map(|entry| &mut entry.own),
            Scope::Matching(id) => self.scopes.get_mut(id as usize).map(|entry| &mut entry.sets),
        };
        if let Some(filed) = filed {
            filed.insert(selector, id);
        }
        self.sets.push(PodSetEntry::default());
        if self.resolved {
            self.fill_set(id, scope, selector);
        }
        id
    }

    fn scope(&mut self, whose: Whose, selector: &Selector) -> Id {
        let key = (whose, selector.clone());
        if let Some(known) = self.scope_ids.get(&key) {
            return *known;
        }
        let id = dense(self.scopes.len());
        self.scope_ids.insert(key, id);
        self.namespace_selectors.insert(whose, selector, id);
        self.scopes.push(ScopeEntry { sets: SelectorIndex::default(), namespaces: Vec::new() });
        if self.resolved {
            self.fill_scope(id, whose, selector);
        }
        id
    }
}
