//! A cluster that changes: events in, the nodes whose tables they change out.
//!
//! Enters: a policy set once, then events. Leaves: for each event the nodes it can concern, and on demand their
//! tables. Guarantees: a table judges as one lowered from scratch would. Work follows the policies that can see
//! what changed; a policy that speaks of all namespaces makes its whole audience of nodes concerned.
//! Does not: compare tables (the receiver of one can), read objects, or change nodes, names and closed scopes: for
//! these, load again.

use crate::lower::index::Id;
use crate::lower::{Binder, Cluster, LowerError, Placement, Scope};
use policy::table::Table;
use policy::{Generation, Labels, ObjectRef, Pod, Policy, PolicySet, RuleEntry};
use std::collections::{BTreeSet, HashMap};
use std::sync::Arc;

/// One change of the cluster.
#[derive(Clone, Debug)]
pub enum Event {
    /// A pod was added or changed.
    Pod(Arc<Pod>),
    /// A pod is gone, or completed.
    PodRemoved {
        /// Namespace.
        namespace: Arc<str>,
        /// Name.
        name: Arc<str>,
    },
    /// A namespace was added or its labels changed. Labels include `kubernetes.io/metadata.name`.
    Namespace {
        /// Name.
        name: Arc<str>,
        /// All labels.
        labels: Labels,
    },
    /// A policy was added or changed. `rules` is the whole list, in which the ids of the policy's rules are found.
    Policy {
        /// The policy.
        policy: Box<Policy>,
        /// By rule id.
        rules: Arc<Vec<RuleEntry>>,
    },
    /// A policy is gone.
    PolicyRemoved(ObjectRef),
}

/// A cluster and its indexes.
#[derive(Debug)]
pub struct Engine {
    cluster: Cluster,
    pods: HashMap<(Arc<str>, Arc<str>), Id>,
    policies: HashMap<ObjectRef, Id>,
}

impl Engine {
    /// Takes in a whole cluster.
    pub fn load(set: &PolicySet) -> Self {
        let cluster = Cluster::load(set);
        let index = &cluster.index;
        let name = |(id, pod): (usize, &crate::lower::index::PodEntry)| {
            ((pod.namespace.clone(), pod.name.clone()), crate::lower::dense(id))
        };
        let pods = index.pods.iter().enumerate().map(name).collect();
        let object = |id: &Id| Some((index.policies.get(*id as usize)?.object.clone(), *id));
        let policies = index.order.iter().filter_map(object).collect();
        Self { cluster, pods, policies }
    }

    /// The table for a scope, as of now.
    ///
    /// # Errors
    /// As [`crate::lower::lower`].
    pub fn lower(&self, scope: Scope<'_>, placement: &Placement) -> Result<Table, LowerError> {
        self.cluster.lower(scope, placement)
    }

    /// As [`Cluster::lower_each`].
    ///
    /// # Errors
    /// As [`crate::lower::lower`].
    pub fn lower_each<'n>(
        &self,
        nodes: impl IntoIterator<Item = &'n str>,
        placement: &Placement,
        give: impl FnMut(Table, Binder),
    ) -> Result<(), LowerError> {
        self.cluster.lower_each(nodes, placement, give)
    }

    /// Takes in a change, and names the nodes whose tables may differ from before.
    pub fn apply(&mut self, event: Event, generation: Generation) -> BTreeSet<Arc<str>> {
        self.cluster.index.generation = generation;
        let mut nodes = BTreeSet::new();
        match event {
            Event::Pod(pod) => {
                self.remove_pod(&(pod.namespace.clone(), pod.name.clone()), &mut nodes);
                if !pod.host_network {
                    let id = crate::lower::dense(self.cluster.index.pods.len());
                    self.cluster.index.add_pod(&pod);
                    self.pods.insert((pod.namespace.clone(), pod.name.clone()), id);
                    self.concerned_by_pod(id, &mut nodes);
                }
            }
            Event::PodRemoved { namespace, name } => self.remove_pod(&(namespace, name), &mut nodes),
            Event::Namespace { name, labels } => self.namespace(&name, labels, &mut nodes),
            Event::Policy { policy, rules } => {
                self.remove_policy(&policy.object, &mut nodes);
                self.cluster.index.rules = rules;
                let id = self.cluster.index.insert_policy(&policy);
                self.policies.insert(policy.object, id);
                self.audience(id, &mut nodes);
            }
            Event::PolicyRemoved(object) => self.remove_policy(&object, &mut nodes),
        }
        nodes
    }

    fn remove_pod(&mut self, name: &(Arc<str>, Arc<str>), nodes: &mut BTreeSet<Arc<str>>) {
        if let Some(id) = self.pods.remove(name) {
            self.concerned_by_pod(id, nodes);
            self.cluster.index.remove_pod(id);
        }
    }

    fn remove_policy(&mut self, object: &ObjectRef, nodes: &mut BTreeSet<Arc<str>>) {
        if let Some(id) = self.policies.remove(object) {
            self.audience(id, nodes);
            self.cluster.index.remove_policy(id);
        }
    }

    fn namespace(&mut self, name: &Arc<str>, labels: Labels, nodes: &mut BTreeSet<Arc<str>>) {
        let id = self.cluster.index.namespace(name);
        let groups = |engine: &Self| {
            let entry = engine.cluster.index.namespaces.get(id as usize);
            entry.map(|entry| entry.groups.clone()).unwrap_or_default()
        };
        for group in groups(self) {
            self.concerned_by_group(group, nodes);
        }
        self.cluster.index.relabel(id, labels);
        for group in groups(self) {
            self.concerned_by_group(group, nodes);
        }
    }

    /// The pod's node, and the nodes of whoever's policies can see the pod.
    fn concerned_by_pod(&self, id: Id, nodes: &mut BTreeSet<Arc<str>>) {
        let index = &self.cluster.index;
        let Some(pod) = index.pods.get(id as usize) else { return };
        nodes.extend(pod.node.clone());
        self.seen_as_peer(pod.group, nodes);
        for policy in pod.ports.iter().filter_map(|port| index.policies_naming.get(&port.name)).flatten() {
            self.audience(*policy, nodes);
        }
        let claimed = |address| index.contested.contains_key(address) || index.node_at.contains_key(address);
        if pod.addresses.iter().any(claimed) {
            // Someone else stops or starts being meant by the address; that is rare enough to ask everyone.
            nodes.extend(index.pods_on.keys().chain(index.nodes.keys()).cloned());
        }
    }

    fn concerned_by_group(&self, group: Id, nodes: &mut BTreeSet<Arc<str>>) {
        self.nodes_of(group, nodes);
        self.seen_as_peer(group, nodes);
    }

    fn seen_as_peer(&self, group: Id, nodes: &mut BTreeSet<Arc<str>>) {
        let index = &self.cluster.index;
        let sets = index.groups.get(group as usize).map_or(&[][..], |group| &group.sets);
        let sets = sets.iter().filter_map(|set| index.sets.get(*set as usize));
        let policies: BTreeSet<Id> = sets.flat_map(|set| set.used_by.iter().copied()).collect();
        // Many policies share a subject; its nodes are looked up once.
        let subject = |policy: Id| index.policies.get(policy as usize).map(|policy| policy.subject);
        let subjects: BTreeSet<Id> = policies.into_iter().filter_map(subject).collect();
        subjects.into_iter().for_each(|subject| self.nodes_of_set(subject, nodes));
    }

    /// Nodes of the pods that a policy selects.
    fn audience(&self, policy: Id, nodes: &mut BTreeSet<Arc<str>>) {
        if let Some(policy) = self.cluster.index.policies.get(policy as usize) {
            self.nodes_of_set(policy.subject, nodes);
        }
    }

    fn nodes_of_set(&self, set: Id, nodes: &mut BTreeSet<Arc<str>>) {
        let set = self.cluster.index.sets.get(set as usize);
        set.into_iter().flat_map(|set| &set.groups).for_each(|group| self.nodes_of(*group, nodes));
    }

    fn nodes_of(&self, group: Id, nodes: &mut BTreeSet<Arc<str>>) {
        let index = &self.cluster.index;
        let pods = index.groups.get(group as usize).map_or(&[][..], |group| &group.pods);
        for node in pods.iter().filter_map(|pod| index.pods.get(*pod as usize)?.node.as_ref()) {
            if !nodes.contains(node) {
                nodes.insert(node.clone());
            }
        }
    }
}
