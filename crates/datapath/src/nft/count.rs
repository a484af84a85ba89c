//! Counters of judgements by rule, kept across tables that number the same rules differently.

use policy::{Direction, ObjectRef, RuleEntry, RuleId};
use std::collections::{BTreeMap, HashMap};
use std::sync::Arc;

/// What a rule is, whatever its id.
type Identity<'a> = (Option<&'a ObjectRef>, Option<Direction>, Option<u32>);

/// Counts under the ids of `old`, moved to the ids of `new`. A rule that is gone takes its count with it.
pub(super) fn renumber(
    counts: &BTreeMap<RuleId, u64>,
    old: &Arc<Vec<RuleEntry>>,
    new: &Arc<Vec<RuleEntry>>,
) -> BTreeMap<RuleId, u64> {
    let ids: HashMap<Identity<'_>, RuleId> =
        new.iter().zip(0..).skip(first_written()).map(|(entry, id)| (identity(entry), RuleId(id))).collect();
    let moved = |id: RuleId| {
        if id < RuleId::FIRST_WRITTEN {
            return Some(id);
        }
        ids.get(&identity(old.get(id.0 as usize)?)).copied()
    };
    let mut renumbered = BTreeMap::new();
    for (id, count) in counts {
        if let Some(id) = moved(*id) {
            *renumbered.entry(id).or_insert(0) += count;
        }
    }
    renumbered
}

fn first_written() -> usize {
    RuleId::FIRST_WRITTEN.0 as usize
}

fn identity(entry: &RuleEntry) -> Identity<'_> {
    (entry.object.as_ref(), entry.direction, entry.index)
}

#[cfg(test)]
mod tests {
    use super::*;
    use policy::Reason;

    fn entry(name: &str) -> RuleEntry {
        let object = ObjectRef { kind: "NetworkPolicy".into(), namespace: "a".into(), name: name.into() };
        RuleEntry {
            reason: Reason::NetworkPolicyAllow,
            object: Some(object),
            direction: Some(Direction::Ingress),
            index: Some(0),
            name: None,
            field: "".into(),
            source: None,
            upload: None,
            requests: None,
        }
    }

    fn rules(names: &[&str]) -> Arc<Vec<RuleEntry>> {
        let unused = (0..16).map(|_| entry("unused"));
        Arc::new(unused.chain(names.iter().map(|name| entry(name))).collect())
    }

    #[test]
    fn counts_follow_their_rule_to_its_new_number() {
        let counts = [(3, 5), (16, 7), (17, 9)].map(|(id, count)| (RuleId(id), count)).into();
        let moved = renumber(&counts, &rules(&["x", "y"]), &rules(&["new", "y"]));
        assert_eq!(moved, [(3, 5), (17, 9)].map(|(id, count)| (RuleId(id), count)).into());
        let moved = renumber(&counts, &rules(&["x", "y"]), &rules(&["y", "x"]));
        assert_eq!(moved, [(3, 5), (17, 7), (16, 9)].map(|(id, count)| (RuleId(id), count)).into());
    }
}
