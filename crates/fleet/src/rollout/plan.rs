//! What was asked for: which release, over which stages, held by which gates.

use super::evidence::{Denial, Severity};
use crate::release::Ref;
use crds::LabelSelector;
use serde::{Deserialize, Serialize};

/// Most stages of a rollout.
pub const MOST_STAGES: usize = 16;

/// A rollout as it was written. It does not change while it runs.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Plan {
    /// What is rolled out.
    pub release: Ref,
    /// What the release was signed to fall back to. `None`: nothing; it cannot be taken back by itself.
    pub fallback: Option<Ref>,
    /// In order, 1 to [`MOST_STAGES`]. A cluster belongs to the first that selects it.
    pub stages: Vec<Stage>,
    /// Denials that are meant.
    pub accepted: Vec<Accepted>,
    /// So many denials that are not accepted, at one cluster that enforces the release, take it back everywhere. At least 1.
    pub spike: u64,
    /// Seconds without a report after which a cluster's evidence does not count.
    pub silence: u64,
}

/// Clusters that get the release together.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Stage {
    /// For people.
    pub name: String,
    /// By labels of the clusters.
    pub clusters: LabelSelector,
    /// What must hold in `Shadow` before it is enforced.
    pub gate: Gate,
    /// Whether somebody must approve as well.
    pub approval: bool,
    /// Seconds for which every cluster must have enforced it before the next stage begins.
    pub hold: u64,
}

/// What must have been seen.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Gate {
    /// Seconds, at every cluster of the stage, by its own steady clock.
    pub seconds: u64,
    /// Flows judged, at all clusters of the stage together.
    pub flows: u64,
    /// Most findings at any one cluster.
    #[serde(default)]
    pub findings: u64,
    /// Findings that matter less do not count.
    #[serde(default)]
    pub severity: Severity,
    /// Of a hundred connections, names or requests, so many may fail at any one cluster: before the stage enforces the release, and
    /// before the next begins. `None`: nobody looks.
    #[serde(default, rename = "errorPercent", skip_serializing_if = "Option::is_none")]
    pub error_percent: Option<u64>,
}

/// Denials that are meant: what is not given fits everything.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Accepted {
    /// Workload, as in a report.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub source: Option<String>,
    /// Workload, name or address, as in a report.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub destination: Option<String>,
    /// Destination port.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub port: Option<u16>,
}

impl Accepted {
    /// Whether a denial is one of them.
    pub fn fits(&self, denial: &Denial) -> bool {
        self.source.as_ref().is_none_or(|it| *it == denial.source)
            && self.destination.as_ref().is_none_or(|it| *it == denial.destination)
            && self.port.is_none_or(|it| it == denial.port)
    }
}
