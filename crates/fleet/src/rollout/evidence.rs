//! What is seen: reports of clusters, and what people ask for.

use super::plan::Accepted;
use crate::release::Ref;
use serde::{Deserialize, Serialize};
use std::collections::BTreeMap;
use std::sync::Arc;

/// Everything that a step goes by.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Seen {
    /// By name.
    pub clusters: BTreeMap<String, Cluster>,
    /// In any order; those that were handled are passed over.
    pub commands: Vec<Command>,
    /// Whether it is written beside the plan that nothing goes on.
    pub paused: bool,
    /// Why the rollout may not begin, in words. Once it has begun, that counts no more.
    pub refused: Vec<String>,
}

/// One cluster, as the hub knows it.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Cluster {
    /// As on its object at the hub.
    pub labels: BTreeMap<Arc<str>, Arc<str>>,
    /// What the hub tells it to have; `None`: nothing yet.
    pub wanted: Option<Wanted>,
    /// What it said last; `None`: nothing yet.
    pub report: Option<Report>,
    /// The other rollout that says what it is to have.
    pub held_by: Option<String>,
}

/// What a cluster is to have.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Wanted {
    /// In force.
    pub enforce: Ref,
    /// Judged beside it, without effect.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub shadow: Option<Ref>,
}

/// How a cluster stands.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Report {
    /// When the hub heard it, seconds by the hub's clock.
    pub heard: u64,
    /// In force; [`Ref::nothing`] before the first.
    pub enforced: Ref,
    /// Judged beside it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub shadow: Option<Ref>,
    /// What was seen of the newest of the two.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub evidence: Option<Evidence>,
    /// What keeps it from having what is wanted, in words.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub problems: Vec<String>,
}

/// Numbers of one cluster about one release.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Evidence {
    /// Which.
    pub of: Ref,
    /// Judged how.
    pub mode: Mode,
    /// For so long without a gap, by a clock of the cluster's that nobody sets.
    pub seconds: u64,
    /// Judged in that time.
    pub flows: u64,
    /// In Shadow: what would have been denied and was not. Enforced: what was denied and had worked before.
    #[serde(default)]
    pub denials: Vec<Denial>,
    /// Denials that found no room in the list. They count as not accepted.
    #[serde(default)]
    pub more_denials: u64,
    /// Findings in that time.
    #[serde(default)]
    pub findings: u64,
}

/// How a release is judged.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum Mode {
    /// Without effect.
    Shadow,
    /// In force.
    Enforce,
}

/// Denials alike.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Denial {
    /// Workload.
    pub source: String,
    /// Workload, name or address.
    pub destination: String,
    /// Destination port; 0 where the protocol has none.
    pub port: u16,
    /// How many.
    pub count: u64,
}

impl Evidence {
    /// Denials that are not accepted, and those that are.
    pub(crate) fn denials(&self, accepted: &[Accepted]) -> [u64; 2] {
        let mut counts = [self.more_denials, 0];
        for denial in &self.denials {
            let [not, meant] = &mut counts;
            let side = if accepted.iter().any(|it| it.fits(denial)) { meant } else { not };
            *side = side.saturating_add(denial.count);
        }
        counts
    }
}

/// What somebody asks of a rollout.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Command {
    /// Grows from one to the next: each is handled once.
    pub id: u64,
    /// Who asks.
    pub by: String,
    /// What.
    pub verb: Verb,
    /// The stage that is meant, by name; `None`: whichever it is about. Somebody who looked at one stage does not let another
    /// one through.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub stage: Option<String>,
    /// Why, in their words.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub why: Option<String>,
}

impl Command {
    /// A reason, with that of whoever asks.
    pub(crate) fn with_reason(&self, text: &str) -> String {
        self.why.as_ref().map_or_else(|| text.to_owned(), |why| format!("{text} ({}: {why})", self.by))
    }
}

/// What can be asked.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum Verb {
    /// No stage begins or is enforced until `Resume`; going back still happens by itself.
    Pause,
    /// Go on.
    Resume,
    /// What the stage waits for, where it asks for approval. Its gate must hold all the same.
    Approve,
    /// Enforce the stage, or pass over one that selects nobody, although its gate does not hold.
    Promote,
    /// Take it back everywhere.
    Abort,
}
