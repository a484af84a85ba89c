//! How a rollout stands, and what was decided on the way.

use super::evidence::{Command, Errors, Findings, Wanted};
use super::plan::Plan;
use crate::release::Ref;
use crate::short::short;
use serde::{Deserialize, Serialize};
use std::collections::{BTreeMap, BTreeSet};

/// Most decisions that are kept; of those before, how many there were.
pub const MOST_DECISIONS: usize = 200;
/// Most clusters of a rollout.
pub const MOST_CLUSTERS: usize = 5000;
/// Most bytes of the reason of a decision: all of them are in one object.
const MOST_WHY: usize = 2048;

/// How it stands. Begins as [`State::default`].
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct State {
    /// What is going on.
    pub phase: Phase,
    /// Index of the stage that it is about.
    pub stage: usize,
    /// Who paused it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub paused: Option<String>,
    /// Who approved the stage that it is about.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub approved: Option<String>,
    /// Clusters of stages that have begun, by name.
    #[serde(default)]
    pub members: BTreeMap<String, Member>,
    /// What it waits for, in words.
    #[serde(default)]
    pub waits: Vec<String>,
    /// Whether any of that does not come by waiting alone.
    #[serde(default)]
    pub held: bool,
    /// In order.
    #[serde(default)]
    pub decisions: Vec<Decision>,
    /// Decisions before those.
    #[serde(default)]
    pub forgotten: u64,
    /// The last command that was handled.
    #[serde(default)]
    pub handled: u64,
    /// Commands beside those that are not done for their number, as long as they are written.
    #[serde(default, skip_serializing_if = "BTreeSet::is_empty")]
    pub passed_over: BTreeSet<u64>,
}

/// What is going on.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub enum Phase {
    /// A stage is about to begin.
    #[default]
    Waiting,
    /// The stage judges the release without effect.
    Shadow,
    /// The stage enforces it.
    Enforce,
    /// It is being taken back.
    RollingBack,
    /// It was taken back everywhere.
    RolledBack,
    /// Every stage enforces it.
    Done,
}

/// One cluster of a stage that has begun.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Member {
    /// Index of its stage.
    pub stage: usize,
    /// What it has if the release is not for it.
    pub before: Ref,
    /// What it was told last.
    pub told: Told,
    /// Since when it says without a pause that it cannot have what is wanted, by the hub's clock.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub failing_since: Option<u64>,
    /// It was seen to enforce the release for as long as its stage holds, or has no way back from it: once the rollout is done,
    /// nobody looks for harm there.
    #[serde(default)]
    pub settled: bool,
    /// It came when the rollout was done, and has not yet enforced the release for as long as its stage holds. It goes by what it
    /// says itself, and nobody else goes by that.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub late: bool,
}

/// What a cluster was told.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum Told {
    /// Judge it without effect.
    Shadow,
    /// Enforce it.
    Enforce,
    /// Have what was there before.
    Back,
}

/// Something that was decided.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Decision {
    /// Seconds by the hub's clock.
    pub at: u64,
    /// What.
    pub what: Word,
    /// Name of the stage that it is about.
    pub stage: String,
    /// Who asked for it; empty: nobody, it followed from what was seen.
    #[serde(default, skip_serializing_if = "String::is_empty")]
    pub by: String,
    /// Why, in words.
    pub why: String,
    /// What was seen then.
    pub numbers: Numbers,
}

/// Every kind of decision.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum Word {
    /// A stage judges the release.
    Began,
    /// A stage enforces it, or a cluster that came late, for its gate held.
    Promoted,
    /// A stage enforces it, or a cluster that came late, although its gate did not hold.
    Forced,
    /// A stage has enforced it for long enough that the next may begin.
    Settled,
    /// A stage that selects nobody is passed over, or clusters of a stage from which the release could not be taken back.
    Skipped,
    /// Every stage enforces it.
    Finished,
    /// It goes back.
    RollsBack,
    /// It went back everywhere.
    RolledBack,
    /// Nothing goes on.
    Paused,
    /// It goes on.
    Resumed,
    /// Somebody approved a stage.
    Approved,
    /// What somebody asked for was not done.
    NotDone,
    /// Clusters are gone, or another rollout's.
    Left,
    /// A cluster came when the rollout was done.
    Joined,
    /// A cluster that came late goes back; nobody else does.
    SentBack,
}

/// What was seen of the clusters of a stage together.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Numbers {
    /// Clusters.
    pub clusters: u64,
    /// Of these, that said lately how they stand with the release.
    pub reporting: u64,
    /// Of these, that cannot have it.
    pub failing: u64,
    /// Seconds: the least of them.
    pub seconds: u64,
    /// Flows: all.
    pub flows: u64,
    /// Denials that are not accepted: all.
    pub denials: u64,
    /// Denials that are.
    pub accepted: u64,
    /// Findings that count for the stage: all.
    pub findings: u64,
    /// All findings, by how much they matter.
    #[serde(default)]
    pub by_severity: Findings,
    /// What failed of what workloads tried: all, where it is counted.
    #[serde(default)]
    pub errors: Errors,
}

impl State {
    /// Whether a command is still to be handled, or to be told that it is not.
    pub fn awaits(&self, command: &Command) -> bool {
        command.id > self.handled && !self.passed_over.contains(&command.id)
    }

    /// Whether any stage began, or was passed over.
    pub fn has_begun(&self) -> bool {
        self.stage > 0 || self.phase != Phase::Waiting || !self.members.is_empty()
    }

    /// Whether nothing more is going to happen by itself, but for clusters that come late.
    pub fn is_over(&self) -> bool {
        matches!(self.phase, Phase::Done | Phase::RolledBack)
    }

    /// Whether it says more than another about what clusters are to have, or about what was decided: everything but what it waits
    /// for.
    pub fn differs_from(&self, other: &Self) -> bool {
        let without = |it: &Self| Self { waits: Vec::new(), ..it.clone() };
        without(self) != without(other)
    }

    /// What a member is to have.
    pub(super) fn wanted(plan: &Plan, member: &Member) -> Wanted {
        match member.told {
            Told::Shadow => Wanted { enforce: member.before.clone(), shadow: Some(plan.release.clone()) },
            Told::Enforce => Wanted { enforce: plan.release.clone(), shadow: None },
            Told::Back => Wanted { enforce: member.before.clone(), shadow: None },
        }
    }

    pub(super) fn decide(&mut self, decision: Decision) {
        if self.decisions.len() >= MOST_DECISIONS {
            let surplus = self.decisions.len() + 1 - MOST_DECISIONS;
            self.decisions.drain(..surplus);
            self.forgotten = self.forgotten.saturating_add(surplus as u64);
        }
        let why = short(decision.why, MOST_WHY);
        self.decisions.push(Decision { why, ..decision });
    }
}
