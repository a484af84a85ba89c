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
    /// Findings in that time, of workloads that the release selects.
    #[serde(default)]
    pub findings: u64,
    /// The same, by how much they matter.
    #[serde(default)]
    pub by_severity: Findings,
    /// What became of what workloads tried in that time that the release selects. `None`: nobody counts it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub errors: Option<Errors>,
    /// Enforced: why nothing is said of what worked before.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub unwatched: Option<String>,
}

/// How much fails of what workloads try.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Errors {
    /// Connections over TCP: nobody answered, or what holds them to their name refused or lost them. What rules on addresses deny
    /// is not among them: those are denials.
    #[serde(default)]
    pub connections: Rate,
    /// Questions to DNS: refused, or there was no answer. That there is no such name is an answer.
    #[serde(default)]
    pub names: Rate,
    /// Requests that the gateway read: refused, lost, or answered with a status of 500 or above.
    #[serde(default)]
    pub requests: Rate,
}

/// How often something was tried, and failed.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Rate {
    /// All of them.
    pub tried: u64,
    /// Of these.
    pub failed: u64,
}

/// Fewer failures than these are no share of anything: one of the two requests of a quiet hour is half of them.
const LEAST_ERRORS: u64 = 5;

impl Rate {
    /// Tenths of a percent. What fails may be told before that it was tried.
    #[must_use]
    pub fn per_mille(self) -> u64 {
        let of = u128::from(self.tried.max(self.failed).max(1));
        u64::try_from(u128::from(self.failed) * 1000 / of).unwrap_or(1000)
    }

    /// Whether it fails more often than so many of a hundred times, and not by chance.
    pub(crate) fn is_beyond(self, percent: u64) -> bool {
        let of = u128::from(self.tried.max(self.failed));
        self.failed >= LEAST_ERRORS && u128::from(self.failed) * 100 > of * u128::from(percent)
    }

    fn map(self, change: impl Fn(u64) -> u64) -> Self {
        Self { tried: change(self.tried), failed: change(self.failed) }
    }

    fn with(self, other: Self) -> Self {
        Self {
            tried: self.tried.saturating_add(other.tried),
            failed: self.failed.saturating_add(other.failed),
        }
    }
}

impl Errors {
    /// Each, with what it is of.
    #[must_use]
    pub fn each(&self) -> [(&'static str, Rate); 3] {
        [("connections", self.connections), ("names", self.names), ("requests", self.requests)]
    }

    /// With other numbers.
    pub(crate) fn map(self, change: impl Fn(u64) -> u64) -> Self {
        Self {
            connections: self.connections.map(&change),
            names: self.names.map(&change),
            requests: self.requests.map(&change),
        }
    }

    /// Those of both.
    #[must_use]
    pub fn with(self, other: Self) -> Self {
        Self {
            connections: self.connections.with(other.connections),
            names: self.names.with(other.names),
            requests: self.requests.with(other.requests),
        }
    }

    /// What fails most often: tenths of a percent. `None`: nothing was tried.
    #[must_use]
    pub fn worst(&self) -> Option<u64> {
        let tried = self.each().into_iter().filter(|(_, share)| share.tried > 0 || share.failed > 0);
        tried.map(|(_, share)| share.per_mille()).max()
    }
}

/// What fails: `2 of 40 requests`.
impl std::fmt::Display for Errors {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let failing = self.each().into_iter().filter(|(_, share)| share.failed > 0);
        let said: Vec<String> =
            failing.map(|(what, share)| format!("{} of {} {what}", share.failed, share.tried)).collect();
        f.write_str(if said.is_empty() { "nothing" } else { "" })?;
        f.write_str(&said.join(", "))
    }
}

/// How much a finding matters.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Severity {
    /// Worth knowing.
    Low,
    /// To be looked at today.
    #[default]
    Medium,
    /// To be looked at now.
    High,
}

/// Findings, by how much they matter. What is told again counts once.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Findings {
    /// Worth knowing.
    #[serde(default)]
    pub low: u64,
    /// To be looked at today.
    #[serde(default)]
    pub medium: u64,
    /// To be looked at now.
    #[serde(default)]
    pub high: u64,
}

impl Findings {
    /// Counts one more.
    pub fn add(&mut self, severity: Severity) {
        let count = match severity {
            Severity::Low => &mut self.low,
            Severity::Medium => &mut self.medium,
            Severity::High => &mut self.high,
        };
        *count = count.saturating_add(1);
    }

    /// Those of both.
    #[must_use]
    pub fn with(self, other: Self) -> Self {
        Self {
            low: self.low.saturating_add(other.low),
            medium: self.medium.saturating_add(other.medium),
            high: self.high.saturating_add(other.high),
        }
    }

    /// Those that matter at least so much.
    #[must_use]
    pub fn from(self, least: Severity) -> u64 {
        match least {
            Severity::Low => self.high.saturating_add(self.medium).saturating_add(self.low),
            Severity::Medium => self.high.saturating_add(self.medium),
            Severity::High => self.high,
        }
    }

    /// All of them.
    #[must_use]
    pub fn all(self) -> u64 {
        self.from(Severity::Low)
    }
}

impl std::fmt::Display for Findings {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let said = [(self.high, "high"), (self.medium, "medium"), (self.low, "low")];
        let said: Vec<String> = said
            .into_iter()
            .filter(|(count, _)| *count > 0)
            .map(|(count, word)| format!("{count} {word}"))
            .collect();
        f.write_str(if said.is_empty() { "0" } else { "" })?;
        f.write_str(&said.join(", "))
    }
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
    /// Of a release about which nothing was seen.
    #[must_use]
    pub fn nothing(of: Ref, mode: Mode) -> Self {
        let (denials, by_severity) = (Vec::new(), Findings::default());
        let (more_denials, findings, errors, unwatched) = (0, 0, None, None);
        Self {
            of,
            mode,
            seconds: 0,
            flows: 0,
            denials,
            more_denials,
            findings,
            by_severity,
            errors,
            unwatched,
        }
    }

    /// With these findings.
    #[must_use]
    pub fn with(self, findings: Findings) -> Self {
        Self { findings: findings.all(), by_severity: findings, ..self }
    }

    /// Findings that matter at least so much. Those of which it is not said how much they matter are among them.
    pub(crate) fn findings_from(&self, least: Severity) -> u64 {
        let unsaid = self.findings.saturating_sub(self.by_severity.all());
        self.by_severity.from(least).saturating_add(unsaid)
    }

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

/// How far the number of a command may be beyond the last that was handled: milliseconds since 1970 are a number as well. Without it,
/// one command with the largest number would be the last that is ever handled.
pub(super) const MOST_AHEAD: u64 = 10_000_000_000_000;

/// What somebody asks of a rollout.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Command {
    /// Grows from one to the next: each is handled once. What is too far ahead of the last that was handled is not done.
    pub id: u64,
    /// Who asks.
    pub by: String,
    /// What.
    pub verb: Verb,
    /// The stage that is meant, by name; `None`: whichever it is about. Somebody who looked at one stage does not let another
    /// one through.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub stage: Option<String>,
    /// The cluster that is meant, one that came late, where the verb is about one.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub cluster: Option<String>,
    /// Why, in their words.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub why: Option<String>,
}

impl Command {
    /// Whether its number is further ahead of the last that was handled than any may be.
    pub fn is_too_far(&self, handled: u64) -> bool {
        self.id.saturating_sub(handled) > MOST_AHEAD
    }

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
    /// Enforce the stage although its gate does not hold; or, where it has not begun, pass over a stage that selects nobody, and over
    /// clusters from which the release could not be taken back.
    Promote,
    /// Take it back everywhere.
    Abort,
    /// One cluster that came late enforces it, where its stage asks for approval. Verbs of their own: an API server that does not
    /// know the field that names the cluster leaves that out, and what was meant for one would be done to all.
    ApproveCluster,
    /// One cluster that came late enforces it, although its gate does not hold.
    PromoteCluster,
    /// One cluster that came late goes back.
    SendBack,
}
