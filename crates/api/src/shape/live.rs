//! How things stand, and what is written.

use crate::shape::Moment;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

/// How things stand.
#[derive(Clone, Debug, Serialize, Deserialize, JsonSchema)]
pub struct Status {
    /// Of the program.
    pub version: String,
    /// By its clock.
    pub time: Moment,
    /// Which one answers.
    pub node: String,
    /// State of policy in force.
    pub generation: u64,
    /// What is done with policy: `machine`, `lab`, `node` or `judge-only`; `collector`: nothing, for it only has what others send.
    pub enforcement: String,
    /// Why not everything that was written is in force; empty when it is.
    pub degraded: Vec<String>,
    /// What is kept on disk.
    pub ledger: LedgerStatus,
    /// Every part that sees something.
    pub sensors: Vec<Sensor>,
    /// How much there is.
    pub counts: Counts,
}

/// What is kept on disk.
#[derive(Clone, Debug, Default, Serialize, Deserialize, JsonSchema)]
pub struct LedgerStatus {
    /// The file.
    pub path: String,
    /// Records that were written since the process began.
    pub written: u64,
    /// Records for which there was no room, since then.
    pub lost: u64,
    /// Why nothing is written at the moment.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub problem: Option<String>,
    /// What is asked instead of the file for records, edges, the largest, the map and series; left out where nothing is.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub store: Option<String>,
}

/// A part that sees something.
#[derive(Clone, Debug, Serialize, Deserialize, JsonSchema)]
pub struct Sensor {
    /// Of its node, or of the gateway's replica.
    pub name: String,
    /// `kernel`, `dns` or `gateway`; of a collector, itself (`collector`) and who sends to it (`sender`).
    pub role: String,
    /// Whether it does its work.
    pub ready: bool,
    /// Events or records that it lost.
    pub lost: u64,
    /// For people: what it is, or why it is not ready.
    pub detail: String,
}

/// How much there is.
#[derive(Clone, Copy, Debug, Default, Serialize, Deserialize, JsonSchema)]
pub struct Counts {
    /// Records since the process began.
    pub records: u64,
    /// Connections that were denied since then.
    pub denied: u64,
    /// Findings that nobody acknowledged.
    pub findings: u64,
    /// Incidents that nobody closed.
    pub incidents_open: u64,
}

/// A rule that decided something, as its author wrote it.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, JsonSchema)]
pub struct Deciding {
    /// Kind, namespace and name of the object.
    pub object: String,
    /// Path of the field, for example `spec.ingress[2]`.
    pub field: String,
    /// The rule's own name.
    pub name: Option<String>,
    /// The file; null where it did not come from one.
    pub file: Option<String>,
    /// Where in it, from 1.
    pub line: Option<u32>,
    /// The lines around it; empty where the file cannot be read.
    pub lines: Vec<Line>,
}

/// A line of a file.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, JsonSchema)]
pub struct Line {
    /// From 1.
    pub number: u32,
    /// Without its end; at most 500 characters.
    pub text: String,
    /// Whether it is part of what decided.
    pub decides: bool,
}

/// All policies in force.
#[derive(Clone, Debug, Serialize, JsonSchema)]
pub struct Policies {
    /// State of policy in force.
    pub generation: u64,
    /// In order of judgement.
    pub items: Vec<PolicyItem>,
    /// What other policies would have done, where some are judged beside these; left out where none are.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub shadow: Option<Shadow>,
}

/// What policies that are judged and not enforced would have done.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, JsonSchema)]
pub struct Shadow {
    /// Files and folders that they come from.
    pub sources: Vec<String>,
    /// How many there are.
    pub policies: u64,
    /// Why nothing is judged by them; null where it is.
    pub problem: Option<String>,
    /// Accesses that were judged by them since they were read as they are.
    pub judged: u64,
    /// Of these, those that were allowed and would have been denied.
    pub would_deny: u64,
    /// Of these, those that were denied and would have been allowed.
    pub would_allow: u64,
    /// Accesses of which it cannot be said: they would go by names, and the DNS of the pod is not followed.
    pub unknown: u64,
    /// Of those that differ, those that `differences` has no room for.
    pub unlisted: u64,
    /// Each way in which they differ, would-be denials first, those seen most often first; at most 200.
    pub differences: Vec<Difference>,
}

/// One way in which what happened differs from what other policies would have done.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, JsonSchema)]
pub struct Difference {
    /// What they would have done, and did not happen: `allow` or `deny`.
    pub verdict: String,
    /// Who, as records have it.
    pub source: String,
    /// To whom, as records have it.
    pub destination: String,
    /// Transport protocol.
    pub protocol: String,
    /// Destination port; 0 where the protocol has none.
    pub port: u16,
    /// Their rule: object, field, file and line.
    pub rule: String,
    /// How many accesses.
    pub count: u64,
    /// When first.
    pub first: Moment,
    /// When last.
    pub last: Moment,
}

/// One policy.
#[derive(Clone, Debug, Serialize, JsonSchema)]
pub struct PolicyItem {
    /// For example `NetworkPolicy`.
    pub kind: String,
    /// Empty where it has none.
    pub namespace: String,
    /// Its name.
    pub name: String,
    /// Where it was written.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub file: Option<String>,
    /// Where in it.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub line: Option<u32>,
    /// `admin`, `network-policy` or `baseline`.
    pub tier: String,
    /// How many pods it selects.
    pub selects: u64,
    /// Its rules.
    pub rules: Vec<RuleItem>,
    /// Why not all of it is in force.
    pub problems: Vec<String>,
    /// How it stands on the nodes of a cluster; left out where it is not a cluster's.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub standing: Option<Standing>,
}

/// How a policy stands on the nodes of a cluster, as its controller wrote it into the object's status.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, JsonSchema)]
pub struct Standing {
    /// Whether every node that needs it said that its kernel has it as it is written now; null where nobody knows.
    pub in_force: Option<bool>,
    /// For people: on how many nodes, and which one does not have it and why; or why nobody knows.
    pub detail: String,
}

/// One rule.
#[derive(Clone, Debug, Serialize, JsonSchema)]
pub struct RuleItem {
    /// As records have it.
    pub rule: String,
    /// Path of the field.
    pub field: String,
    /// Its own name.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub name: Option<String>,
    /// How many accesses it decided, of those in the ledger.
    pub hits: u64,
    /// How many of them it denied.
    pub denied: u64,
    /// When last; null: never.
    pub last: Option<Moment>,
}

/// One object as it was written.
#[derive(Clone, Debug, Serialize, JsonSchema)]
pub struct ManifestAnswer {
    /// Its text.
    pub yaml: String,
    /// Where.
    pub file: String,
    /// Where it begins, from 1.
    pub line: u32,
}

/// A budget of which something is used.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, JsonSchema)]
pub struct Budget {
    /// Who.
    pub workload: String,
    /// Under which rule.
    pub rule: String,
    /// `requests`, `tokens`, `money` (billionths) or `upload` (bytes).
    pub what: String,
    /// How much is used.
    pub used: u64,
    /// Of how much; left out where that is not known here.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub limit: Option<u64>,
    /// `hour` or `day` (UTC).
    pub window: String,
    /// When it begins anew.
    pub resets: Moment,
}
