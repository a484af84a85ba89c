//! Policies that come before those of another set: a quarantine holds whatever becomes of the sources.
//!
//! Enters: a set, and one that was compiled by itself. Leaves: the first set with the policies of the second before its own.
//! Guarantees: ids of rules that were given stay; what the second set closes is closed, too; taken out again, nothing judges by
//! it. Does not: bring the second set's world.

use policy::{Policy, PolicySet, RuleEntry, RuleId, Section};
use std::sync::Arc;

/// Puts the policies of `first` before all others of their tier and priority.
pub fn put_first(set: &mut PolicySet, first: &PolicySet) {
    let rules = Arc::make_mut(&mut set.rules);
    let mut policies = Vec::with_capacity(first.policies.len() + set.policies.len());
    for policy in &first.policies {
        let mut policy = policy.clone();
        renumber(&mut policy, |id| moved(id, first, rules));
        policies.push(policy);
    }
    for scope in &first.closed {
        let mut scope = scope.clone();
        scope.rule = moved(scope.rule, first, rules);
        set.closed.insert(0, scope);
    }
    policies.append(&mut set.policies);
    // Stable: of equals, those that were put first are first.
    policies.sort_by_key(|policy| (policy.tier, policy.priority));
    set.policies = policies;
}

/// Takes out what came from files that are meant. The entries of its rules stay, for records name them.
pub fn take_out(set: &mut PolicySet, is_meant: impl Fn(&str) -> bool) {
    set.policies.retain(|policy| !policy.source.as_ref().is_some_and(|source| is_meant(&source.file)));
    let rules = Arc::clone(&set.rules);
    let of = |rule: RuleId| rules.get(rule.0 as usize).and_then(|entry: &RuleEntry| entry.source.as_ref());
    set.closed.retain(|scope| !of(scope.rule).is_some_and(|source| is_meant(&source.file)));
}

/// The id of a rule among the others: built-in ones have the same everywhere.
fn moved(id: RuleId, first: &PolicySet, rules: &mut Vec<RuleEntry>) -> RuleId {
    if id < RuleId::FIRST_WRITTEN {
        return id;
    }
    let Some(entry) = first.rule(id) else { return id };
    // Put in again, it is the same rule: ids do not run out by repetition.
    if let Some(known) = rules.iter().rposition(|it| it == entry) {
        return RuleId(u32::try_from(known).unwrap_or(u32::MAX));
    }
    rules.push(entry.clone());
    RuleId(u32::try_from(rules.len() - 1).unwrap_or(u32::MAX))
}

/// Gives each id in a policy another.
fn renumber(policy: &mut Policy, mut of: impl FnMut(RuleId) -> RuleId) {
    for section in [&mut policy.ingress, &mut policy.egress] {
        if let Section::Rules(rules) = section {
            rules.iter_mut().for_each(|rule| rule.id = of(rule.id));
        }
    }
    policy.isolation.iter_mut().for_each(|id| *id = of(*id));
    policy.dns.rule_ids().for_each(|id| *id = of(*id));
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::compile;
    use policy::{Access, Endpoint, Generation, Protocol, Verdict, decide};

    const WORLD: &str = "\
apiVersion: v1
kind: Node
metadata: { name: other }
status: { addresses: [{ type: InternalIP, address: 172.31.0.9 }] }
---
apiVersion: v1
kind: Pod
metadata: { name: a, namespace: x, labels: { app: a } }
spec: { nodeName: n1, containers: [{ name: c, image: i }] }
status: { podIP: 10.0.0.1 }
---
apiVersion: v1
kind: Pod
metadata: { name: b, namespace: x, labels: { app: b } }
spec: { nodeName: n1, containers: [{ name: c, image: i }] }
status: { podIP: 10.0.0.2 }
---
apiVersion: policy.networking.k8s.io/v1alpha2
kind: ClusterNetworkPolicy
metadata: { name: \"0\" }
spec:
  tier: Admin
  priority: 0
  subject: { namespaces: {} }
  ingress: [{ action: Accept, from: [{ namespaces: {} }] }]
  egress: [{ action: Accept, to: [{ networks: [0.0.0.0/0] }, { namespaces: {} }] }]
";

    fn quarantine(annotations: &str) -> String {
        format!(
            "apiVersion: policy.networking.k8s.io/v1alpha2
kind: ClusterNetworkPolicy
metadata: {{ name: q, annotations: {{ {annotations} }} }}
spec:
  tier: Admin
  priority: 0
  subject: {{ pods: {{ namespaceSelector: {{}}, podSelector: {{ matchLabels: {{ app: a }} }} }} }}
  ingress: [{{ action: Deny, from: [{{ namespaces: {{}} }}] }}]
  egress: [{{ action: Deny, to: [{{ namespaces: {{}} }}] }}]
"
        )
    }

    fn set(file: &str, text: &str) -> PolicySet {
        compile(crds::read_objects(file, text.as_bytes()).objects, Generation(1)).set
    }

    /// Of both pods towards each other, and of `a` and the outside and a node, both ways.
    fn verdicts(set: &PolicySet) -> Vec<Verdict> {
        let at = |text: &str| Endpoint::at(&set.world, text.parse().unwrap());
        let pairs = [
            ("10.0.0.1", "10.0.0.2"),
            ("10.0.0.2", "10.0.0.1"),
            ("10.0.0.1", "192.0.2.1"),
            ("192.0.2.1", "10.0.0.1"),
            ("172.31.0.9", "10.0.0.1"),
            ("10.0.0.2", "192.0.2.1"),
        ];
        let judge = |(from, to)| {
            decide(set, &Access { from: at(from), to: at(to), protocol: Protocol::TCP, port: 80 }).verdict
        };
        pairs.into_iter().map(judge).collect()
    }

    #[test]
    fn a_quarantine_comes_before_everything_and_means_everybody_and_goes_without_a_trace() {
        use Verdict::{Allow, Deny};
        let quarantine = set("q/a.yaml", &quarantine("cofferdam.dev/quarantine: x/Pod/a"));
        let mut whole = set("t.yaml", WORLD);
        let (before, rules) = (whole.clone(), whole.rules.len());
        assert_eq!(verdicts(&whole), [Allow; 6]);
        for _ in 0..3 {
            put_first(&mut whole, &quarantine);
            assert_eq!(verdicts(&whole), [Deny, Deny, Deny, Deny, Deny, Allow]);
            let first = whole.policies.first().unwrap();
            assert_eq!(&*first.object.name, "q");
            let entry = whole.rule(first.egress.rules().first().unwrap().id).unwrap();
            assert_eq!(&*entry.source.as_ref().unwrap().file, "q/a.yaml");
            take_out(&mut whole, |file| file.starts_with("q/"));
            assert_eq!(verdicts(&whole), [Allow; 6]);
            assert_eq!(whole.policies, before.policies);
        }
        assert_eq!(whole.rules.len(), rules + 2);
    }

    #[test]
    fn without_its_annotation_a_deny_means_those_that_it_names() {
        use Verdict::{Allow, Deny};
        let mut whole = set("t.yaml", WORLD);
        put_first(&mut whole, &set("q/a.yaml", &quarantine("")));
        assert_eq!(verdicts(&whole), [Deny, Deny, Allow, Allow, Allow, Allow]);
    }

    #[test]
    fn a_broken_quarantine_closes_what_it_may_select() {
        let broken = quarantine("cofferdam.dev/quarantine: x/Pod/a").replace("priority: 0", "priority: none");
        let mut whole = set("t.yaml", WORLD);
        put_first(&mut whole, &set("q/a.yaml", &broken));
        assert_eq!(verdicts(&whole)[..2], [Verdict::Deny; 2]);
        take_out(&mut whole, |file| file.starts_with("q/"));
        assert_eq!(verdicts(&whole), [Verdict::Allow; 6]);
    }
}
