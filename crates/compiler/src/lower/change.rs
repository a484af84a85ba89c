//! The index after it was resolved: pods, namespaces and policies that come, change and go.
//!
//! Guarantees: the index says what a new one would, except that ids differ and that groups, pod sets and peers nobody
//! uses any more stay until the next load; they match nothing and cost only their memory.

use super::dense;
use super::index::{CompiledPolicy, Id, Index, RANK_GAP, Scope, Whose};
use policy::{Labels, Order, Policy, Selector, order};
use std::net::IpAddr;
use std::sync::Arc;

impl Index {
    /// Gives an address to the first of its claimants by namespace and name.
    pub(crate) fn claim(&mut self, address: IpAddr, pod: Id, name: (&Arc<str>, &Arc<str>)) {
        let Some(&holder) = self.pod_at.get(&address) else {
            self.pod_at.insert(address, pod);
            return;
        };
        let claimants = self.contested.entry(address).or_insert_with(|| vec![holder]);
        claimants.push(pod);
        let first = self.pods.get(holder as usize).is_none_or(|held| (&held.namespace, &held.name) > name);
        if first {
            self.pod_at.insert(address, pod);
        }
    }

    fn release(&mut self, address: IpAddr, pod: Id) {
        let Some(claimants) = self.contested.get_mut(&address) else {
            self.pod_at.remove(&address);
            return;
        };
        claimants.retain(|id| *id != pod);
        let name = |id: &&Id| self.pods.get(**id as usize).map(|pod| (&pod.namespace, &pod.name));
        if let Some(first) = claimants.iter().min_by_key(name) {
            self.pod_at.insert(address, *first);
        }
        if claimants.len() < 2 {
            self.contested.remove(&address);
        }
    }

    /// Takes a pod out. Its place in the list stays, empty.
    pub(crate) fn remove_pod(&mut self, id: Id) {
        let Some(pod) = self.pods.get_mut(id as usize) else { return };
        let (addresses, node) = (std::mem::take(&mut pod.addresses), pod.node.take());
        let (group, ports) = (pod.group, std::mem::take(&mut pod.ports));
        for address in addresses {
            self.release(address, id);
        }
        if let Some(on) = node.and_then(|node| self.pods_on.get_mut(&node)) {
            on.retain(|other| *other != id);
        }
        for port in ports.iter() {
            if let Some(naming) = self.pods_naming.get_mut(&port.name) {
                naming.retain(|other| *other != id);
            }
        }
        if let Some(group) = self.groups.get_mut(group as usize) {
            group.pods.retain(|other| *other != id);
        }
    }

    /// Gives a namespace new labels.
    pub(crate) fn relabel(&mut self, namespace: Id, labels: Labels) {
        let Some(entry) = self.namespaces.get_mut(namespace as usize) else { return };
        entry.labels = labels;
        let groups = entry.groups.clone();
        self.rescope(namespace);
        groups.into_iter().for_each(|group| self.regroup(group));
    }

    /// Finds the scopes of a namespace anew.
    pub(crate) fn rescope(&mut self, namespace: Id) {
        let Some(entry) = self.namespaces.get_mut(namespace as usize) else { return };
        let scopes = self.namespace_selectors.matching(entry.whose, &entry.labels);
        for old in std::mem::replace(&mut entry.scopes, scopes.clone()) {
            if let Some(scope) = self.scopes.get_mut(old as usize) {
                scope.namespaces.retain(|other| *other != namespace);
            }
        }
        for new in scopes {
            if let Some(scope) = self.scopes.get_mut(new as usize) {
                scope.namespaces.push(namespace);
            }
        }
    }

    /// Finds the pod sets of a group anew.
    pub(crate) fn regroup(&mut self, id: Id) {
        let Some(group) = self.groups.get_mut(id as usize) else { return };
        let Some(namespace) = self.namespaces.get(group.namespace as usize) else { return };
        let mut sets = namespace.own.matching(&group.labels);
        for scope in namespace.scopes.iter().filter_map(|scope| self.scopes.get(*scope as usize)) {
            sets.extend(scope.sets.matching(&group.labels));
        }
        sets.sort_unstable();
        let old = std::mem::replace(&mut group.sets, sets.clone());
        for set in old.iter().filter(|set| sets.binary_search(set).is_err()) {
            if let Some(set) = self.sets.get_mut(*set as usize) {
                set.groups.retain(|other| *other != id);
            }
        }
        for set in sets.iter().filter(|set| old.binary_search(set).is_err()) {
            if let Some(set) = self.sets.get_mut(*set as usize) {
                set.groups.push(id);
            }
        }
    }

    /// Finds the groups of a new pod set.
    pub(crate) fn fill_set(&mut self, id: Id, scope: Scope, selector: &Selector) {
        let namespaces = match scope {
            Scope::Namespace(namespace) => vec![namespace],
            Scope::Matching(scope) => {
                self.scopes.get(scope as usize).map(|scope| scope.namespaces.clone()).unwrap_or_default()
            }
        };
        let entries = namespaces.iter().filter_map(|namespace| self.namespaces.get(*namespace as usize));
        let mut members = Vec::new();
        for group in entries.flat_map(|entry| &entry.groups) {
            if let Some(entry) = self.groups.get_mut(*group as usize)
                && selector.matches(&entry.labels)
            {
                members.push(*group);
                // The newest id is the largest: the list stays sorted.
                entry.sets.push(id);
            }
        }
        if let Some(set) = self.sets.get_mut(id as usize) {
            set.groups = members;
        }
    }

    /// Finds the namespaces of a new scope.
    pub(crate) fn fill_scope(&mut self, id: Id, whose: Whose, selector: &Selector) {
        let mut members = Vec::new();
        for (number, namespace) in self.namespaces.iter_mut().enumerate() {
            if namespace.whose == whose && selector.matches(&namespace.labels) {
                namespace.scopes.push(id);
                members.push(dense(number));
            }
        }
        if let Some(scope) = self.scopes.get_mut(id as usize) {
            scope.namespaces = members;
        }
    }

    /// Adds a policy where its tier, priority, namespace, name and kind put it.
    pub(crate) fn insert_policy(&mut self, policy: &Policy) -> Id {
        let id = dense(self.policies.len());
        self.add_policy(policy);
        self.order.pop();
        let key = policy.order();
        let place = self.order.partition_point(|other| {
            self.policies.get(*other as usize).is_some_and(|other| sort_key(other) < key)
        });
        self.order.insert(place, id);
        let rank = |place: Option<usize>| {
            let id = self.order.get(place?)?;
            self.policies.get(*id as usize).map(|policy| policy.rank)
        };
        let before = rank(place.checked_sub(1)).unwrap_or(0);
        let after = rank(place.checked_add(1)).unwrap_or(before.saturating_add(2 * RANK_GAP));
        let middle = before + after.saturating_sub(before) / 2;
        if middle > before {
            self.policies.get_mut(id as usize).into_iter().for_each(|policy| policy.rank = middle);
        } else {
            self.renumber();
        }
        id
    }

    fn renumber(&mut self) {
        for (place, id) in self.order.iter().enumerate() {
            if let Some(policy) = self.policies.get_mut(*id as usize) {
                policy.rank = (u64::from(dense(place)) + 1) * RANK_GAP;
            }
        }
    }

    /// Takes a policy out. Its place in the list stays, empty.
    pub(crate) fn remove_policy(&mut self, id: Id) {
        let Some(policy) = self.policies.get_mut(id as usize) else { return };
        let sections = std::mem::take(&mut policy.sections);
        let subject = policy.subject;
        self.order.retain(|other| *other != id);
        if let Some(set) = self.sets.get_mut(subject as usize) {
            set.policies.retain(|other| *other != id);
        }
        for rule in sections.iter().flatten().flatten() {
            for peer in rule.peers.iter().flatten() {
                if let Some(super::index::PeerEntry::Pods(set)) = self.peers.get(*peer as usize)
                    && let Some(set) = self.sets.get_mut(*set as usize)
                {
                    set.used_by.retain(|other| *other != id);
                }
            }
            for name in rule.ports.as_deref().into_iter().flat_map(super::slots::port_names) {
                if let Some(naming) = self.policies_naming.get_mut(&name) {
                    naming.retain(|other| *other != id);
                }
            }
        }
    }
}

fn sort_key(policy: &CompiledPolicy) -> Order<'_> {
    order(policy.tier, policy.priority, &policy.object)
}
