//! Which parts of a publication each node gets.
//!
//! Enters: a policy set and its parts, and the keys that rules put into requests. Leaves: which parts, for any node; all, for a
//! central egress gateway; and which keys. Guarantees: as [`compiler::lower::View`]; a key goes only to nodes with pods that a rule
//! with it selects. Does not: send
//! anything, or know who asks.

use compiler::lower::Cluster;
use feed::server::Needs;
use feed::tls::is_gateway;
use feed::{Key, Parts};
use policy::{Key as ProviderKey, PolicySet, SecretRef, Section};
use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

/// Of one publication.
pub(crate) struct Shares {
    cluster: Cluster,
    set: Arc<PolicySet>,
    parts: Arc<Parts>,
    keys: BTreeMap<SecretRef, ProviderKey>,
}

impl Shares {
    pub(crate) fn new(
        set: Arc<PolicySet>,
        parts: Arc<Parts>,
        keys: BTreeMap<SecretRef, ProviderKey>,
    ) -> Self {
        Self { cluster: Cluster::load(&set), set, parts, keys }
    }
}

impl Needs for Shares {
    fn of(&self, node: &str) -> BTreeSet<Key> {
        // It judges for every pod.
        if is_gateway(node) {
            return self.parts.resources.keys().cloned().collect();
        }
        let view = self.cluster.view(node);
        self.parts.needs(&view.pods, &view.nodes, &view.policies, &view.closed, &self.set.world)
    }

    fn policies_of(&self, node: &str) -> Vec<&Key> {
        let [policies, closed] = self.cluster.selecting(node);
        let policies = policies.into_iter().filter_map(|at| self.parts.policies.get(at));
        policies.chain(closed.into_iter().filter_map(|at| self.parts.closed.get(at))).collect()
    }

    fn keys_of(&self, node: &str) -> BTreeMap<SecretRef, ProviderKey> {
        // A central egress gateway opens no connection, and is not given what it does not need.
        if is_gateway(node) || self.keys.is_empty() {
            return BTreeMap::new();
        }
        let [selecting, _] = self.cluster.selecting(node);
        let rules = selecting.into_iter().filter_map(|at| match &self.set.policies.get(at)?.egress {
            Section::Rules(rules) => Some(rules),
            Section::Untouched => None,
        });
        let inject = rules.flatten().filter_map(|rule| self.set.requests(rule.id)?.inject.as_ref());
        inject
            .filter_map(|it| self.keys.get_key_value(&it.secret))
            .map(|(at, key)| (at.clone(), key.clone()))
            .collect()
    }
}
