//! How far a release may go, by what was seen: stages of clusters, each `Shadow`, then a gate, then enforced.
//!
//! Enters: the [`Plan`], the [`State`] so far, what is [`Seen`] of the clusters and asked by people, and the time. Leaves: the
//! next state, with every [`Decision`] and its numbers, and [`Action`]s: what each cluster is to have.
//! Guarantees: pure; nobody's clock but a cluster's own steady one lets a gate pass; a stage is enforced only after its gate held
//! or somebody named promoted it; actions say what is wanted and not what to do, so that one lost is simply said again; going back
//! leads only to what the release was signed to fall back to. Does not: talk to anything, or sign.

mod evidence;
mod gate;
mod plan;
mod state;
mod step;
mod view;

pub use evidence::{
    Cluster, Command, Denial, Errors, Evidence, Findings, Mode, Rate, Report, Seen, Severity, Verb, Wanted,
};
pub use plan::{Accepted, Gate, MOST_STAGES, Plan, Stage};
pub use state::{Decision, MOST_CLUSTERS, MOST_DECISIONS, Member, Numbers, Phase, State, Told, Word};
pub use step::{Action, step};
pub use view::{ClusterView, StagePhase, StageView, look};
