//! `status` of a Rollout: how it stands, for programs and for people.
//!
//! Enters: the state after a step, and whether the object is understood. Leaves: what is written into its status. Guarantees: the
//! state is in it whole, so that nobody has to remember anything; a condition keeps the time since when it is so. Does not: write.

use crate::rollout::{Numbers, Phase, StagePhase, StageView, State, Word};
use crate::short::short;
use serde::{Deserialize, Serialize};

/// Most bytes of a condition's message.
const MOST_MESSAGE: usize = 4096;

/// `status` of a Rollout.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct RolloutStatus {
    /// Generation of the object that this is about.
    #[serde(default)]
    pub observed_generation: i64,
    /// What is going on.
    #[serde(default)]
    pub phase: Phase,
    /// Name of the stage that it is about.
    #[serde(default)]
    pub stage: String,
    /// What it waits for, in one line.
    #[serde(default)]
    pub waits: String,
    /// Each stage.
    #[serde(default)]
    pub stages: Vec<StageStatus>,
    /// `Accepted`, `Progressing`, `Held`, `Done`, `RolledBack`.
    #[serde(default)]
    pub conditions: Vec<Condition>,
    /// Everything that the next step goes by.
    #[serde(default)]
    pub state: State,
}

/// One stage, in short.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct StageStatus {
    /// Its name.
    pub name: String,
    /// How it stands.
    pub phase: StagePhase,
    /// Clusters that it selects now.
    pub selects: u64,
    /// What was seen of its clusters when this was written.
    pub numbers: Numbers,
}

/// A condition, in the form of all of Kubernetes.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Condition {
    /// Which.
    #[serde(rename = "type")]
    pub kind: String,
    /// `True` or `False`.
    pub status: String,
    /// In one word.
    pub reason: String,
    /// In words.
    pub message: String,
    /// Since when it is so.
    pub last_transition_time: String,
    /// Generation of the object that it is about.
    pub observed_generation: i64,
}

/// Whether the object is understood, and may begin.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Accepted {
    /// It is.
    Yes,
    /// It is no plan: why.
    Invalid(Vec<String>),
    /// It is one, and may not begin now: why.
    Refused(Vec<String>),
}

impl RolloutStatus {
    /// What is to be written. `before`: what is there; `now`: a time as in RFC 3339.
    #[must_use]
    pub fn next(
        before: &Self,
        (state, stages): (State, &[StageView]),
        accepted: &Accepted,
        generation: i64,
        now: &str,
    ) -> Self {
        let brief = |it: &StageView| StageStatus {
            name: it.name.clone(),
            phase: it.phase,
            selects: it.selects,
            numbers: it.numbers,
        };
        let conditions = conditions(&state, stages, accepted).map(|(kind, is_so, reason, message)| {
            let status = if is_so { "True" } else { "False" };
            let was = before.conditions.iter().find(|it| it.kind == kind && it.status == status);
            Condition {
                kind: kind.to_owned(),
                status: status.to_owned(),
                reason: reason.to_owned(),
                message: short(message, MOST_MESSAGE),
                last_transition_time: was.map_or(now, |it| &it.last_transition_time).to_owned(),
                observed_generation: generation,
            }
        });
        Self {
            observed_generation: generation,
            phase: state.phase,
            stage: stages.get(state.stage).map(|it| it.name.clone()).unwrap_or_default(),
            waits: short(state.waits.join("; "), MOST_MESSAGE),
            stages: stages.iter().map(brief).collect(),
            conditions: conditions.to_vec(),
            state,
        }
    }
}

type Said = (&'static str, bool, &'static str, String);

fn conditions(state: &State, stages: &[StageView], accepted: &Accepted) -> [Said; 5] {
    let is_accepted = *accepted == Accepted::Yes;
    let runs = matches!(state.phase, Phase::Waiting | Phase::Shadow | Phase::Enforce);
    let (reason, message) = match accepted {
        Accepted::Invalid(wrong) => ("Invalid", wrong.join("; ")),
        Accepted::Refused(wrong) => ("Refused", wrong.join("; ")),
        Accepted::Yes => ("Understood", nobody(stages)),
    };
    let waits = state.waits.join("; ");
    // What became of clusters that came late is not how it ended.
    let end = state.decisions.iter().rfind(|it| matches!(it.what, Word::Finished | Word::RolledBack));
    let last = end.or(state.decisions.last()).map(|it| it.why.clone()).unwrap_or_default();
    let is_done = state.phase == Phase::Done;
    // Where it is done, it is clusters that came late that wait.
    let goes_back = state.phase == Phase::RollingBack;
    let is_held = (runs && (state.held || !is_accepted))
        || (is_done && state.held && is_accepted)
        || (goes_back && state.held);
    let goes_on = (runs || goes_back) && !is_held;
    let word = match state.phase {
        Phase::Waiting => "Waiting",
        Phase::Shadow => "Shadow",
        Phase::Enforce => "Enforce",
        Phase::RollingBack => "RollingBack",
        Phase::RolledBack => "RolledBack",
        Phase::Done => "Done",
    };
    let held = match (is_held, state.paused.is_some(), is_accepted) {
        (false, _, _) => "Nothing",
        (true, _, _) if goes_back => "ClustersNotBack",
        (true, _, false) => "NotAccepted",
        (true, _, true) if is_done => "LateClusters",
        (true, true, true) => "Paused",
        (true, false, true) => "Missing",
    };
    let is_back = state.phase == Phase::RolledBack;
    let of = |is_so: bool| if is_so { last.clone() } else { String::new() };
    let is_held_by = if is_held && (is_accepted || goes_back) { waits.clone() } else { String::new() };
    [
        ("Accepted", is_accepted, reason, message),
        ("Progressing", goes_on, word, if goes_on { waits } else { String::new() }),
        ("Held", is_held, held, is_held_by),
        ("Done", is_done, word, of(is_done)),
        ("RolledBack", is_back, word, of(is_back)),
    ]
}

/// Stages that select nobody.
fn nobody(stages: &[StageView]) -> String {
    let empty = stages.iter().filter(|it| it.selects == 0 && it.phase == StagePhase::Pending);
    let names: Vec<&str> = empty.map(|it| it.name.as_str()).collect();
    match names.as_slice() {
        [] => String::new(),
        names => format!("no cluster has the labels of stage {} now", names.join(", ")),
    }
}
