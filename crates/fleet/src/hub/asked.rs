//! `spec` of a Rollout: what is asked for, as it is written.
//!
//! Enters: the object's `spec`, or a release that the hub has. Leaves: a [`Plan`], or everything that is wrong with it, by field.
//! Guarantees: what is not understood is no plan. Does not: know other rollouts ([`super::share`]).

use super::{Drift, FLEET_LABEL};
use crate::envelope::Envelope;
use crate::name::FleetName;
use crate::release::Ref;
use crate::rollout::{Accepted, Command, Gate, MOST_STAGES, Plan, Stage};
use serde::Deserialize;
use serde_json::Value;
use std::collections::BTreeSet;
use std::sync::Arc;

/// Most commands in one object: who asks removes those that were handled.
pub const MOST_COMMANDS: usize = 64;
/// Most kinds of denials that are accepted.
pub const MOST_ACCEPTED: usize = 256;

/// `spec` of a Rollout.
#[derive(Clone, Debug, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct RolloutSpec {
    /// What is rolled out.
    pub release: Ref,
    /// What it was signed to fall back to; left out: nothing.
    pub fallback: Option<Ref>,
    /// In order.
    pub stages: Vec<StageSpec>,
    /// Denials that are meant.
    #[serde(default)]
    pub accepted: Vec<Accepted>,
    /// Only clusters whose label [`FLEET_LABEL`] is this, and no release of another fleet. `None`: whichever clusters stages select.
    #[serde(default)]
    pub fleet: Option<FleetName>,
    /// So many denials of what worked before, at one cluster, take it back.
    #[serde(default = "one")]
    pub spike: u64,
    /// After so long without a word of it, what a cluster said does not count.
    #[serde(default = "two_minutes")]
    pub silence_seconds: u64,
    /// What its clusters do where somebody changed a policy of the fleet; left out: what each says itself.
    pub drift: Option<Drift>,
    /// Nothing goes on; going back still happens by itself.
    #[serde(default)]
    pub paused: bool,
    /// What people asked for.
    #[serde(default)]
    pub commands: Vec<Command>,
}

/// One stage, as written.
#[derive(Clone, Debug, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct StageSpec {
    /// For people.
    pub name: String,
    /// A label selector.
    pub clusters: Value,
    /// What must hold before it is enforced.
    pub gate: Gate,
    /// Whether somebody must approve as well.
    #[serde(default)]
    pub approval: bool,
    /// For so long it is enforced before the next stage begins.
    #[serde(default)]
    pub hold_seconds: u64,
}

fn one() -> u64 {
    1
}

fn two_minutes() -> u64 {
    120
}

impl RolloutSpec {
    /// Reads it.
    ///
    /// # Errors
    /// It is not understood: why.
    pub fn read(spec: Option<&Value>) -> Result<Self, String> {
        let spec = spec.ok_or("spec is missing")?;
        Self::deserialize(spec).map_err(|error| format!("spec: {error}"))
    }

    /// As a rollout goes by it.
    ///
    /// # Errors
    /// Everything that is wrong, each with its field.
    pub fn plan(&self) -> Result<Plan, Vec<String>> {
        let mut wrong = self.wrong();
        let mut stages = Vec::new();
        for (index, stage) in self.stages.iter().enumerate() {
            let mut clusters = crds::LabelSelector::read(&stage.clusters).unwrap_or_else(|problem| {
                wrong.push(format!("spec.stages[{index}].clusters: {problem}"));
                crds::LabelSelector::default()
            });
            if let Some(fleet) = &self.fleet {
                let fleet: Arc<str> = fleet.to_string().into();
                let before = clusters.match_labels.insert(FLEET_LABEL.into(), Arc::clone(&fleet));
                if let Some(other) = before.filter(|it| *it != fleet) {
                    wrong.push(format!(
                        "spec.stages[{index}].clusters: it selects clusters of fleet {other}, and spec.fleet is {fleet}"
                    ));
                }
            }
            let (name, gate) = (stage.name.clone(), stage.gate);
            stages.push(Stage { name, clusters, gate, approval: stage.approval, hold: stage.hold_seconds });
        }
        if !wrong.is_empty() {
            return Err(wrong);
        }
        Ok(Plan {
            release: self.release.clone(),
            fallback: self.fallback.clone(),
            stages,
            accepted: self.accepted.clone(),
            spike: self.spike,
            silence: self.silence_seconds,
        })
    }

    fn wrong(&self) -> Vec<String> {
        let mut wrong = Vec::new();
        let number = self.release.number;
        if number == 0 {
            wrong.push("spec.release.number: 0 is what clusters had before any release".to_owned());
        }
        if let Some(fallback) = self.fallback.as_ref().filter(|it| it.number >= number) {
            let back = fallback.number;
            wrong.push(format!("spec.fallback.number: {back} does not come before release {number}"));
        }
        if self.stages.is_empty() || self.stages.len() > MOST_STAGES {
            wrong.push(format!("spec.stages: there must be 1 to {MOST_STAGES}"));
        }
        let mut names = BTreeSet::new();
        for (index, stage) in self.stages.iter().enumerate() {
            if let Some(percent) = stage.gate.error_percent.filter(|it| *it > 100) {
                wrong.push(format!(
                    "spec.stages[{index}].gate.errorPercent: {percent} is no part of a hundred"
                ));
            }
            if stage.name.is_empty() || !names.insert(&stage.name) {
                wrong.push(format!("spec.stages[{index}].name: {:?} is no name of its own", stage.name));
            }
        }
        for (index, accepted) in self.accepted.iter().enumerate() {
            if *accepted == Accepted::default() {
                let why = "it accepts every denial; write source, destination or port";
                wrong.push(format!("spec.accepted[{index}]: {why}"));
            }
        }
        if self.accepted.len() > MOST_ACCEPTED {
            wrong.push(format!("spec.accepted: at most {MOST_ACCEPTED} may be"));
        }
        for (field, value) in [("spike", self.spike), ("silenceSeconds", self.silence_seconds)] {
            if value == 0 {
                wrong.push(format!("spec.{field}: it must be at least 1"));
            }
        }
        wrong
    }

    /// Whether the release that the hub has under the number is the one that is meant. Who signed it, each cluster asks itself.
    ///
    /// # Errors
    /// How it differs, and what to write instead.
    pub fn agrees_with(&self, envelope: &Envelope) -> Result<(), String> {
        let name = super::release_name(&self.release);
        let release = envelope.peek().map_err(|error| format!("{name} at the hub: {error}"))?;
        let found = release.reference();
        if found != self.release {
            return Err(format!(
                "{name} at the hub is release {found}, and spec.release says {}",
                self.release
            ));
        }
        if let (Some(fleet), Some(signed)) = (&self.fleet, release.fleet())
            && signed != fleet
        {
            return Err(format!("spec.fleet says {fleet}, and {name} was signed for fleet {signed}"));
        }
        let signed = release.header().fallback.as_ref();
        if signed == self.fallback.as_ref() {
            return Ok(());
        }
        let says = |it: Option<&Ref>| match it {
            Some(it) => format!("{{number: {}, digest: {}}}", it.number, it.digest),
            None => "nothing".to_owned(),
        };
        let (signed, written) = (says(signed), says(self.fallback.as_ref()));
        Err(format!("spec.fallback says {written}, and {name} was signed to fall back to {signed}"))
    }
}
