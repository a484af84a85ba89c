//! Clusters of a fleet and what is rolled out to them, as their hub has it.

use crate::shape::Moment;
use schemars::JsonSchema;
use serde::Serialize;

/// A hub, or none.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, JsonSchema)]
pub struct Fleet {
    /// Whether this process was given a hub; without one all else is empty.
    pub has_hub: bool,
    /// By name; at most 1000.
    pub clusters: Vec<FleetCluster>,
    /// Clusters that found no room.
    pub more_clusters: u64,
    /// Those that are under way first, then by name.
    pub rollouts: Vec<FleetRollout>,
}

/// A release of policies.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, JsonSchema)]
pub struct ReleaseRef {
    /// Its number; 0: no policy of the fleet's.
    pub number: u64,
    /// Of its policies.
    pub digest: String,
}

/// One cluster, in its own words.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, JsonSchema)]
pub struct FleetCluster {
    /// Its name at the hub.
    pub name: String,
    /// As `key=value`.
    pub labels: Vec<String>,
    /// What it is to have in force; left out: what it has.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub wanted: Option<ReleaseRef>,
    /// What it has in force; left out: it never said.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub enforced: Option<ReleaseRef>,
    /// What it judges beside it, without effect.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub shadow: Option<ReleaseRef>,
    /// Seconds since it was heard, by the hub's clock; left out: never.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub silent_seconds: Option<u64>,
    /// Policies of the fleet that its API server has.
    pub policies: u64,
    /// Digest of these: two clusters with the same have the same policies. Empty: it never said.
    pub effective: String,
    /// What is done where somebody changed a policy of the fleet there: `correct` or `report`.
    pub drift_is: String,
    /// Policies of the fleet that were changed there since the release came.
    pub drift: Vec<String>,
    /// Why it does not have what is wanted.
    pub problems: Vec<String>,
}

/// A release on its way to clusters.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, JsonSchema)]
pub struct FleetRollout {
    /// Its name.
    pub name: String,
    /// What is rolled out; left out where the object cannot be read.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub release: Option<ReleaseRef>,
    /// What it falls back to; left out: nothing.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub fallback: Option<ReleaseRef>,
    /// `waiting`, `shadow`, `enforce`, `rolling-back`, `rolled-back` or `done`.
    pub phase: String,
    /// The stage that it is about.
    pub stage: String,
    /// Whether it waits for something that does not come by waiting alone.
    pub held: bool,
    /// Who paused it.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub paused: Option<String>,
    /// What it waits for.
    pub waits: Vec<String>,
    /// Why it is no plan, or may not begin.
    pub problems: Vec<String>,
    /// In order.
    pub stages: Vec<FleetStage>,
    /// The newest last; at most 20.
    pub decisions: Vec<FleetDecision>,
}

/// Clusters that get the release together.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, JsonSchema)]
pub struct FleetStage {
    /// Its name.
    pub name: String,
    /// `pending`, `shadow`, `enforce`, `through`, `going-back` or `back`.
    pub phase: String,
    /// Clusters that it selects now.
    pub selects: u64,
    /// What its gate asks for.
    pub gate: FleetGate,
    /// Whether somebody must approve it.
    pub approval: bool,
    /// Seconds for which it is to be enforced before the next begins.
    pub hold_seconds: u64,
    /// What is seen of its clusters.
    pub numbers: FleetNumbers,
    /// What it waits for.
    pub missing: Vec<String>,
    /// Its clusters; at most 200.
    pub clusters: Vec<FleetMember>,
    /// Those that found no room.
    pub more_clusters: u64,
}

/// What must be seen of a release before it is enforced.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, JsonSchema)]
pub struct FleetGate {
    /// At every cluster.
    pub seconds: u64,
    /// Judged, at all clusters together.
    pub flows: u64,
    /// Most findings at any one cluster.
    pub findings: u64,
    /// Findings that matter less do not count: `low`, `medium` or `high`.
    pub severity: &'static str,
    /// Of a hundred connections, names or requests, so many may fail at any one cluster; left out: nobody looks.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub error_percent: Option<u64>,
}

/// What became of what workloads tried that the release selects.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, JsonSchema)]
pub struct FleetErrors {
    /// Connections over TCP, without those that rules on addresses deny.
    pub connections: FleetRate,
    /// Questions to DNS.
    pub names: FleetRate,
    /// Requests that gateways of nodes read.
    pub requests: FleetRate,
}

/// How often something was tried, and failed.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, JsonSchema)]
pub struct FleetRate {
    /// All of them.
    pub tried: u64,
    /// Of these.
    pub failed: u64,
}

/// Findings, by how much they matter.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, JsonSchema)]
pub struct FleetFindings {
    /// Worth knowing.
    pub low: u64,
    /// To be looked at today.
    pub medium: u64,
    /// To be looked at now.
    pub high: u64,
}

/// What was seen of clusters together.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, JsonSchema)]
pub struct FleetNumbers {
    /// Clusters.
    pub clusters: u64,
    /// Of these, that said lately how they stand with the release.
    pub reporting: u64,
    /// Of these, that cannot have it.
    pub failing: u64,
    /// The least of them.
    pub seconds: u64,
    /// All.
    pub flows: u64,
    /// Denials that nobody accepted.
    pub denials: u64,
    /// Denials that are meant.
    pub accepted: u64,
    /// Those that count, by the gate's severity.
    pub findings: u64,
    /// All, by how much they matter.
    pub by_severity: FleetFindings,
    /// All, where it is counted.
    pub errors: FleetErrors,
}

/// One cluster of a stage that has begun.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, JsonSchema)]
pub struct FleetMember {
    /// Its name.
    pub name: String,
    /// What it was told: `shadow`, `enforce` or `back`.
    pub told: String,
    /// Seconds since it was heard; left out: never.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub silent_seconds: Option<u64>,
    /// For so long it judges, or enforces, the release.
    pub seconds: u64,
    /// Flows in that time.
    pub flows: u64,
    /// Denials that nobody accepted.
    pub denials: u64,
    /// Findings.
    pub findings: u64,
    /// The same, by how much they matter.
    pub by_severity: FleetFindings,
    /// What failed of what workloads tried; left out: nobody counts it.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub errors: Option<FleetErrors>,
    /// Why it does not have what is wanted.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub problem: Option<String>,
}

/// Something that was decided.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, JsonSchema)]
pub struct FleetDecision {
    /// When.
    pub time: Moment,
    /// What, in one word.
    pub what: String,
    /// The stage that it is about.
    pub stage: String,
    /// Who asked for it; empty: it followed from what was seen.
    pub by: String,
    /// Why.
    pub why: String,
}
