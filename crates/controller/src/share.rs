//! Which parts of a publication each node gets.
//!
//! Enters: a policy set and its parts, and the keys that rules put into requests. Leaves: which parts, for any node; all, for a
//! central egress gateway; and which keys. Guarantees: as [`compiler::lower::View`]; a key goes only to nodes with pods that a rule
//! with it selects, and to central egress gateways where its policy names workloads without a node. Does not: send
//! anything, or know who asks.

use compiler::lower::Cluster;
use feed::server::Needs;
use feed::tls::is_gateway;
use feed::{Key, Parts};
use policy::{Key as ProviderKey, PolicySet, SecretRef, Section, keys_of_accounts};
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
        if self.keys.is_empty() {
            return BTreeMap::new();
        }
        let held =
            |secret: &SecretRef| self.keys.get_key_value(secret).map(|(at, key)| (at.clone(), key.clone()));
        // A central egress gateway opens no connection of a pod, and is not given what it does not need.
        if is_gateway(node) {
            return keys_of_accounts(&self.set).into_iter().filter_map(held).collect();
        }
        let [selecting, _] = self.cluster.selecting(node);
        let rules = selecting.into_iter().filter_map(|at| match &self.set.policies.get(at)?.egress {
            Section::Rules(rules) => Some(rules),
            Section::Untouched => None,
        });
        let inject = rules.flatten().filter_map(|rule| self.set.requests(rule.id)?.inject.as_ref());
        inject.filter_map(|it| held(&it.secret)).collect()
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, reason = "in a test a panic is the failure report")]

    use super::*;
    use policy::Generation;

    const OBJECTS: &str = "
{apiVersion: v1, kind: Pod, metadata: {name: a, namespace: team, labels: {app: asks}}, spec: {nodeName: n1, containers: [{name: c, image: i}]}, status: {podIP: 10.0.0.1}}
---
{apiVersion: v1, kind: Pod, metadata: {name: b, namespace: team}, spec: {nodeName: n2, containers: [{name: c, image: i}]}, status: {podIP: 10.0.0.2}}
---
{apiVersion: v1, kind: Secret, metadata: {name: keys, namespace: team, labels: {cofferdam.dev/inject: 'true'}}, stringData: {openai: sk-1, other: sk-2, runner: sk-3, none: sk-4}}
---
apiVersion: cofferdam.dev/v1alpha1
kind: EgressPolicy
metadata: {name: p, namespace: team}
spec:
  subject: {podSelector: {matchLabels: {app: asks}}}
  egress:
    - {action: Allow, to: [{provider: openai}], credentials: [{inject: {secretRef: {name: keys, key: openai}}}]}
---
apiVersion: cofferdam.dev/v1alpha1
kind: EgressPolicy
metadata: {name: r, namespace: team}
spec:
  subject: {podSelector: {matchLabels: {cofferdam.dev/service-account: runner}}}
  egress:
    - {action: Allow, to: [{provider: openai}], credentials: [{inject: {secretRef: {name: keys, key: runner}}}]}
---
apiVersion: cofferdam.dev/v1alpha1
kind: EgressPolicy
metadata: {name: n, namespace: team}
spec:
  subject: {podSelector: {matchExpressions: [{key: cofferdam.dev/service-account, operator: DoesNotExist}, {key: app, operator: DoesNotExist}]}}
  egress:
    - {action: Allow, to: [{provider: openai}], credentials: [{inject: {secretRef: {name: keys, key: none}}}]}
";

    #[test]
    fn a_key_goes_where_its_rule_selects_pods_and_to_gateways_whose_accounts_its_policy_names() {
        let read = crds::read_objects("t.yaml", OBJECTS.as_bytes());
        let compiled = compiler::compile(read.objects, Generation(1));
        let set = Arc::new(compiled.set);
        let parts = Arc::new(Parts::new(&set, None));
        let shares = Shares::new(set, parts, compiled.keys);
        let keys = |node: &str| {
            let keys = shares.keys_of(node);
            keys.into_iter()
                .map(|(at, key)| (at.key.to_string(), key.expose().to_owned()))
                .collect::<Vec<_>>()
        };
        let one = |name: &str, key: &str| [(name.to_owned(), key.to_owned())];
        assert_eq!(keys("n1"), one("openai", "sk-1"));
        assert_eq!(keys("n2"), one("none", "sk-4"));
        assert_eq!(keys("n3"), []);
        assert_eq!(keys(&feed::tls::gateway_name("x")), one("runner", "sk-3"));
    }
}
