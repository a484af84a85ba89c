//! What is counted together: a pod, and a rule as its author knows it.

use policy::{PodName, RuleEntry};
use serde::{Deserialize, Serialize};
use std::collections::BTreeSet;

/// A pod, or a workload, and a rule ([`RuleEntry::known_as`]).
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub(crate) struct Account {
    pub(crate) pod: PodName,
    pub(crate) rule: String,
}

impl Account {
    /// That of a pod under a rule.
    pub(crate) fn of(pod: &PodName, entry: &RuleEntry) -> Self {
        Self { pod: pod.clone(), rule: entry.known_as() }
    }
}

/// The first number that nobody has.
pub(crate) fn free_number(first: u32, taken: impl Iterator<Item = u32>) -> Option<u32> {
    let taken: BTreeSet<u32> = taken.collect();
    (first..).find(|number| !taken.contains(number))
}
