//! What a cluster's controller says of a release that it judges beside what is enforced.
//!
//! Leaves: numbers for the cluster's evidence, and why there are none. Does not: judge, or say it to the hub.

use crate::envelope::Signed;
use crate::release::Ref;
use crate::rollout::{Denial, Errors, Findings};
use std::sync::Arc;

/// Denials alike that a cluster tells its hub of; those beyond are counted.
pub const MOST_DENIALS: usize = 100;

/// What a cluster's controller is asked to judge by.
#[derive(Clone, Debug)]
pub struct Judged {
    /// This, in place of what is in force of the fleet.
    pub by: Signed,
    /// Findings and errors are told of workloads that its policies select.
    pub about: Signed,
}

impl Judged {
    /// A release that is judged for its own sake.
    #[must_use]
    pub fn itself(release: Signed) -> Self {
        Self { by: release.clone(), about: release }
    }

    /// By which, and about which.
    #[must_use]
    pub fn references(&self) -> [Ref; 2] {
        [&self.by, &self.about].map(|it| it.release().reference())
    }
}

/// What was seen of one release.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Beside {
    /// Which.
    pub of: Ref,
    /// Whose workloads findings and errors are about.
    pub about: Ref,
    /// For how long everything was judged by it without a gap, by a clock that nobody sets.
    pub seconds: u64,
    /// Accesses that were judged in that time.
    pub flows: u64,
    /// What was allowed and would have been denied since the release is judged; at most [`MOST_DENIALS`], those seen most
    /// often. What cannot be said counts as that.
    pub denials: Vec<Denial>,
    /// Denials beyond.
    pub more_denials: u64,
    /// By which rule each of `denials` would have been: in the same order.
    pub rules: Vec<Arc<str>>,
    /// What was denied and would have been allowed since the release is judged: as `denials`. Where it is the release that was
    /// in force before, that is what worked then.
    pub refused: Vec<Denial>,
    /// Denials beyond.
    pub more_refused: u64,
    /// What detectors found in that time about workloads that the policies of `about` select.
    pub findings: Findings,
    /// What became of what they tried since then. `None`: not every node counts it.
    pub errors: Option<Errors>,
    /// Why not everything is judged by it.
    pub problem: Option<String>,
}

impl Beside {
    /// How often something was denied that would have been allowed.
    pub fn all_refused(&self) -> u64 {
        self.refused.iter().fold(self.more_refused, |all, denial| all.saturating_add(denial.count))
    }
}
