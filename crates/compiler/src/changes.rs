//! Which policies differ between two sets.
//!
//! Enters: two sets. Leaves: objects. Guarantees: moving a policy in its file, or numbering its rules anew because of others, is
//! no change; that it is closed for an error is one. Does not: say what exactly changed in a policy.

use policy::{ObjectRef, Policy, PolicySet, Rule, RuleId, Section};
use std::collections::BTreeMap;

/// Objects that differ, each list in order.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Changes {
    /// Those that were not there.
    pub added: Vec<ObjectRef>,
    /// Those that say something else.
    pub changed: Vec<ObjectRef>,
    /// Those that are not there any more.
    pub removed: Vec<ObjectRef>,
}

impl Changes {
    /// Whether nothing differs.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.added.is_empty() && self.changed.is_empty() && self.removed.is_empty()
    }
}

/// What differs in `new`; all of it, where there was none before.
#[must_use]
pub fn changes(old: Option<&PolicySet>, new: &PolicySet) -> Changes {
    if old
        .is_some_and(|old| old.policies == new.policies && old.closed == new.closed && old.rules == new.rules)
    {
        return Changes::default();
    }
    let before = old.map(forms).unwrap_or_default();
    let after = forms(new);
    let mut changes = Changes::default();
    for (object, form) in &after {
        match (before.get(object), old) {
            (Some(other), Some(old)) if same((other, old), (form, new)) => {}
            (Some(_), _) => changes.changed.push((*object).clone()),
            (None, _) => changes.added.push((*object).clone()),
        }
    }
    let removed = before.keys().filter(|object| !after.contains_key(*object));
    changes.removed = removed.map(|object| (*object).clone()).collect();
    changes
}

/// How an object holds.
enum Form<'a> {
    Judged(&'a Policy),
    Closed,
}

fn forms(set: &PolicySet) -> BTreeMap<&ObjectRef, Form<'_>> {
    let judged = set.policies.iter().map(|policy| (&policy.object, Form::Judged(policy)));
    let closed = set.closed.iter().filter_map(|scope| set.rule(scope.rule)?.object.as_ref());
    judged.chain(closed.map(|object| (object, Form::Closed))).collect()
}

fn same((a, of_a): (&Form<'_>, &PolicySet), (b, of_b): (&Form<'_>, &PolicySet)) -> bool {
    match (a, b) {
        (Form::Judged(a), Form::Judged(b)) => {
            let sections = [(&a.ingress, &b.ingress), (&a.egress, &b.egress)];
            (a.tier, a.priority, &a.subject) == (b.tier, b.priority, &b.subject)
                && sections.into_iter().all(|(a, b)| same_section((a, of_a), (b, of_b)))
                && without_ids(a).dns == without_ids(b).dns
        }
        (Form::Closed, Form::Closed) => true,
        (Form::Judged(_), Form::Closed) | (Form::Closed, Form::Judged(_)) => false,
    }
}

fn same_section((a, of_a): (&Section, &PolicySet), (b, of_b): (&Section, &PolicySet)) -> bool {
    let same_rule = |(a, b): (&Rule, &Rule)| {
        let demands = |set: &PolicySet, id| set.rule(id).map(|entry| (entry.upload, entry.requests.clone()));
        (a.action, &a.peers, &a.ports) == (b.action, &b.peers, &b.ports)
            && demands(of_a, a.id) == demands(of_b, b.id)
    };
    let untouched = |section: &Section| matches!(section, Section::Untouched);
    let (rules, others) = (a.rules(), b.rules());
    untouched(a) == untouched(b) && rules.len() == others.len() && rules.iter().zip(others).all(same_rule)
}

fn without_ids(policy: &Policy) -> Policy {
    let mut policy = policy.clone();
    policy.dns.rule_ids().for_each(|id| *id = RuleId(0));
    policy
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::compile;
    use policy::Generation;

    fn policy(name: &str, port: u16) -> String {
        format!(
            "---\napiVersion: networking.k8s.io/v1\nkind: NetworkPolicy\nmetadata: {{ name: {name}, namespace: x }}\n\
             spec: {{ podSelector: {{}}, ingress: [{{ ports: [{{ port: {port} }}] }}] }}\n"
        )
    }

    fn set(text: &str) -> PolicySet {
        compile(crds::read_objects("t.yaml", text.as_bytes()).objects, Generation(1)).set
    }

    fn names(objects: &[ObjectRef]) -> String {
        objects.iter().map(|object| &*object.name).collect::<Vec<_>>().join(" ")
    }

    #[test]
    fn only_what_says_something_else_is_a_change() {
        let [a, b, c] = ["a", "b", "c"].map(|name| policy(name, 80));
        let broken = a.replace("podSelector: {}", "podSelector: []");
        let cases = [
            (None, format!("{a}{b}"), ["a b", "", ""]),
            (Some(format!("{a}{b}")), format!("{a}{b}"), ["", "", ""]),
            (Some(format!("{a}{b}")), format!("# moved\n{b}{a}"), ["", "", ""]),
            (Some(format!("{b}{c}")), format!("{a}{b}{c}"), ["a", "", ""]),
            (Some(format!("{a}{b}")), format!("{}{b}", policy("a", 81)), ["", "a", ""]),
            (Some(format!("{a}{b}{c}")), b.clone(), ["", "", "a c"]),
            (Some(a.clone()), broken.clone(), ["", "a", ""]),
            (Some(broken.clone()), broken, ["", "", ""]),
        ];
        for (old, new, expected) in cases {
            let old = old.map(|text| set(&text));
            let found = changes(old.as_ref(), &set(&new));
            let found = [found.added, found.changed, found.removed].map(|all| names(&all));
            assert_eq!(found, expected, "{new}");
        }
    }
}
