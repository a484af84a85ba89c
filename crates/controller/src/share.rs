//! Which parts of a publication each node gets.
//!
//! Enters: a policy set and its parts. Leaves: keys, for any node; all, for a central egress gateway. Guarantees: as
//! [`compiler::lower::View`]. Does not: send
//! anything, or know who asks.

use compiler::lower::Cluster;
use feed::server::Needs;
use feed::tls::is_gateway;
use feed::{Key, Parts};
use policy::PolicySet;
use std::collections::BTreeSet;
use std::sync::Arc;

/// Of one publication.
pub(crate) struct Shares {
    cluster: Cluster,
    set: Arc<PolicySet>,
    parts: Arc<Parts>,
}

impl Shares {
    pub(crate) fn new(set: Arc<PolicySet>, parts: Arc<Parts>) -> Self {
        Self { cluster: Cluster::load(&set), set, parts }
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
}
