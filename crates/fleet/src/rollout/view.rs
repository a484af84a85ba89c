//! How each stage stands, for people.
//!
//! Enters: what a step goes by. Leaves: for each stage its numbers beside what its gate asks for, what is missing, and its clusters.
//! Guarantees: the numbers are those that a step would decide by. Does not: decide.

use super::evidence::{Cluster, Errors, Findings, Seen};
use super::gate::{Answer, Question, ask_of};
use super::plan::{Gate, Plan};
use super::state::{Member, Numbers, Phase, State, Told};
use crate::release::Ref;
use serde::{Deserialize, Serialize};

/// How a stage stands.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum StagePhase {
    /// It has not begun.
    Pending,
    /// It judges the release without effect.
    Shadow,
    /// It enforces it, and the next has not begun.
    Enforce,
    /// It is through.
    Through,
    /// It is being taken back.
    GoingBack,
    /// It was taken back.
    Back,
}

/// One stage.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct StageView {
    /// Its name.
    pub name: String,
    /// How it stands.
    pub phase: StagePhase,
    /// Clusters that it selects now.
    pub selects: u64,
    /// What its gate asks for.
    pub gate: Gate,
    /// Whether somebody must approve it.
    pub approval: bool,
    /// Seconds for which it is to be enforced before the next begins.
    pub hold: u64,
    /// What is seen of its clusters: in `Shadow` of what would be, later of what is.
    pub numbers: Numbers,
    /// What it waits for.
    pub missing: Vec<String>,
    /// Its clusters.
    pub clusters: Vec<ClusterView>,
}

/// One cluster of a stage that has begun.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct ClusterView {
    /// Its name.
    pub name: String,
    /// What it was told.
    pub told: Told,
    /// It came when the rollout was done, and is judged by itself: its numbers are not among those of the stage.
    pub late: bool,
    /// What it has in force; `None`: it never said.
    pub enforced: Option<Ref>,
    /// What it judges beside it.
    pub shadow: Option<Ref>,
    /// Seconds since it was heard.
    pub silent: Option<u64>,
    /// For so long it judges, or enforces, the release.
    pub seconds: u64,
    /// Flows in that time.
    pub flows: u64,
    /// Denials that are not accepted.
    pub denials: u64,
    /// Denials that are.
    pub accepted: u64,
    /// Findings.
    pub findings: u64,
    /// The same, by how much they matter.
    pub by_severity: Findings,
    /// What failed of what workloads tried. `None`: nobody counts it.
    pub errors: Option<Errors>,
    /// Why it does not have what is wanted.
    pub problem: Option<String>,
}

/// Looks at every stage. `now`: seconds by the hub's clock.
#[must_use]
pub fn look(plan: &Plan, state: &State, seen: &Seen, now: u64) -> Vec<StageView> {
    let stages = plan.stages.iter().enumerate().map(|(index, stage)| {
        let phase = phase(state, index);
        let question = match phase {
            StagePhase::Shadow => Some(Question::Gate),
            StagePhase::Enforce | StagePhase::Through | StagePhase::GoingBack => Some(Question::Hold),
            StagePhase::Pending | StagePhase::Back => None,
        };
        let numbers = question.map_or_else(Numbers::default, |question| {
            let Answer { numbers, .. } = ask_of(index, question, (plan, state, seen, now));
            numbers
        });
        let first = |it: &&Cluster| plan.stages.iter().position(|stage| stage.clusters.selects(&it.labels));
        let selects = seen.clusters.values().filter(|it| first(it) == Some(index)).count();
        let members = state.members.iter().filter(|(_, it)| it.stage == index);
        let clusters = members.map(|(name, it)| cluster(plan, (name, it), seen.clusters.get(name), now));
        let is_current = index == state.stage && !state.is_over();
        StageView {
            name: stage.name.clone(),
            phase,
            selects: selects as u64,
            gate: stage.gate,
            approval: stage.approval,
            hold: stage.hold,
            numbers,
            missing: if is_current { state.waits.clone() } else { Vec::new() },
            clusters: clusters.collect(),
        }
    });
    stages.collect()
}

fn phase(state: &State, index: usize) -> StagePhase {
    let is_of = state.members.values().any(|it| it.stage == index);
    match state.phase {
        Phase::RollingBack if is_of => StagePhase::GoingBack,
        Phase::RolledBack if is_of => StagePhase::Back,
        Phase::RollingBack | Phase::RolledBack => StagePhase::Pending,
        Phase::Done => StagePhase::Through,
        Phase::Waiting | Phase::Shadow | Phase::Enforce if index < state.stage => StagePhase::Through,
        Phase::Waiting | Phase::Shadow | Phase::Enforce if index > state.stage => StagePhase::Pending,
        Phase::Waiting => StagePhase::Pending,
        Phase::Shadow => StagePhase::Shadow,
        Phase::Enforce => StagePhase::Enforce,
    }
}

fn cluster(plan: &Plan, (name, member): (&str, &Member), cluster: Option<&Cluster>, now: u64) -> ClusterView {
    let report = cluster.and_then(|it| it.report.as_ref());
    let evidence = report.and_then(|it| it.evidence.as_ref()).filter(|it| it.of == plan.release);
    let [denials, accepted] = evidence.map_or([0, 0], |it| it.denials(&plan.accepted));
    ClusterView {
        name: name.to_owned(),
        told: member.told,
        late: member.late,
        enforced: report.map(|it| it.enforced.clone()),
        shadow: report.and_then(|it| it.shadow.clone()),
        silent: report.map(|it| now.saturating_sub(it.heard)),
        seconds: evidence.map_or(0, |it| it.seconds),
        flows: evidence.map_or(0, |it| it.flows),
        denials,
        accepted,
        findings: evidence.map_or(0, |it| it.findings),
        by_severity: evidence.map_or_else(Findings::default, |it| it.by_severity),
        errors: evidence.and_then(|it| it.errors),
        problem: report.and_then(|it| it.problems.first().cloned()),
    }
}
