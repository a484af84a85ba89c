//! What is counted together: a pod, and a rule as its author knows it.

use policy::{PodName, RuleEntry};
use serde::{Deserialize, Serialize};
use std::collections::BTreeSet;

/// The position of a rule may change with any edit of its file; where it has a name, that stays.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub(crate) struct Account {
    pub(crate) pod: PodName,
    pub(crate) rule: String,
}

impl Account {
    /// That of a pod under a rule.
    pub(crate) fn of(pod: &PodName, entry: &RuleEntry) -> Self {
        let object = entry.object.as_ref().map(ToString::to_string).unwrap_or_default();
        let which = match (&entry.name, entry.index) {
            (Some(name), _) => name.to_string(),
            (None, index) => format!("{}", index.unwrap_or_default()),
        };
        Self { pod: pod.clone(), rule: format!("{object} {which}") }
    }
}

/// The first number that nobody has.
pub(crate) fn free_number(first: u32, taken: impl Iterator<Item = u32>) -> Option<u32> {
    let taken: BTreeSet<u32> = taken.collect();
    (first..).find(|number| !taken.contains(number))
}
