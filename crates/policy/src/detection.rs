//! What DetectionPolicies say: from where on detectors tell, and what nobody has to see.
//!
//! Guarantees: nothing here allows or denies anything. Does not: know detectors, or the time.

use crate::glob::Glob;
use crate::labels::{Labels, Selector};
use serde::{Deserialize, Serialize};
use std::sync::Arc;

/// Most policies of one namespace: each event of a pod is compared with all of its namespace.
pub const MOST_OF_NAMESPACE: usize = 64;

/// One policy.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Tuning {
    /// Whose pods.
    pub namespace: Arc<str>,
    /// Which of them.
    pub pods: Selector,
    /// What holds for detectors, each once.
    pub detectors: Vec<Tuned>,
}

/// What holds for one detector.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Tuned {
    /// Its name.
    pub detector: Arc<str>,
    /// Of its own threshold. `None`: as it is.
    pub threshold_percent: Option<u32>,
    /// Findings that nobody has to see.
    pub suppress: Vec<Suppression>,
}

/// Findings that nobody has to see.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Suppression {
    /// What they are about.
    pub subject: Glob,
    /// Where it was written: object, field, file and line.
    pub place: Arc<str>,
    /// Why, in the words of its author.
    pub reason: Arc<str>,
    /// Until when, in seconds since 1970.
    pub until: Option<u64>,
}

impl Tuning {
    /// Whether it holds for a pod.
    pub fn holds_for(&self, namespace: &str, labels: &Labels) -> bool {
        *self.namespace == *namespace && self.pods.matches(labels)
    }

    /// What holds for a detector.
    pub fn of(&self, detector: &str) -> Option<&Tuned> {
        self.detectors.iter().find(|tuned| *tuned.detector == *detector)
    }
}

impl Tuned {
    /// What a finding is suppressed by; `second` is now, since 1970.
    pub fn suppression(&self, subject: &str, second: u64) -> Option<&Suppression> {
        let holds =
            |it: &&Suppression| it.until.is_none_or(|until| second < until) && it.subject.matches(subject);
        self.suppress.iter().find(holds)
    }
}
