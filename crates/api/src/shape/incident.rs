//! Findings, incidents, and what is asked for about them. What incidents are made of comes from elsewhere as JSON of these
//! shapes; the types here are what the document says of it.

use crate::shape::Moment;
use crate::shape::records::{EdgeAnswer, Record};
use crate::who::{Role, Who};
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use serde_json::Value;
use std::sync::Arc;

/// Who asks.
#[derive(Clone, Debug, Serialize, JsonSchema)]
pub struct Me {
    /// As audit entries have it.
    pub name: Arc<str>,
    /// What they may do.
    pub role: Role,
}

impl From<&Who> for Me {
    fn from(who: &Who) -> Self {
        Self { name: Arc::clone(&who.name), role: who.role }
    }
}

/// To log in.
#[derive(Clone, Debug, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct LogIn {
    /// As the program printed it, or as the cluster gives one.
    pub token: String,
}

/// How people log in besides by a token.
#[derive(Clone, Debug, Default, Serialize, JsonSchema)]
pub struct LogInBy {
    /// The host of the identity provider to which `/login` leads; null: there is none.
    pub provider: Option<String>,
}

/// Why.
#[derive(Clone, Debug, Default, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, default)]
pub struct Words {
    /// At most 4096 bytes.
    pub text: String,
}

/// What to contain.
#[derive(Clone, Debug, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct ContainOrder {
    /// As records have it.
    pub workload: String,
    /// For how long; at most 10080, a week.
    pub minutes: u32,
    /// Only say what it would do.
    #[serde(default)]
    pub dry_run: bool,
}

/// What to release.
#[derive(Clone, Debug, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct ReleaseOrder {
    /// As records have it.
    pub workload: String,
}

/// What containing a workload does.
#[derive(Clone, Debug, Serialize, JsonSchema)]
pub struct Containment {
    /// The policy.
    pub policy: String,
    /// When it ends.
    pub until: Moment,
    /// What is open, or was used in the last hour, and will be cut.
    pub cuts: Vec<EdgeAnswer>,
    /// Which one.
    pub workload: String,
    /// Whether it is cut off now.
    pub in_force: bool,
    /// What else somebody should know.
    pub warnings: Vec<String>,
}

/// What releasing a workload did.
#[derive(Clone, Debug, Serialize, JsonSchema)]
pub struct Released {
    /// Which one.
    pub workload: String,
    /// Not, where it was not cut off.
    pub released: bool,
}

/// Something that somebody should look at, as all that is told of it says.
#[derive(Clone, Debug, Serialize, JsonSchema)]
pub struct Finding {
    /// The same for all that is told of it.
    pub id: String,
    /// What found it.
    pub detector: String,
    /// How bad it is.
    #[schemars(extend("enum" = ["low", "medium", "high"]))]
    pub severity: &'static str,
    /// Whether somebody has seen it.
    #[schemars(extend("enum" = ["open", "acknowledged"]))]
    pub state: &'static str,
    /// When it began, as the newest entry says.
    pub time: Moment,
    /// When it was last seen.
    pub until: Moment,
    /// When it began, as the oldest entry about it says.
    pub first: Moment,
    /// As `until`.
    pub last: Moment,
    /// The node that told of it; empty where none is known.
    pub node: String,
    /// Who.
    pub workload: String,
    /// About what; empty where nothing can be named. Comes from the wire: show it as text only.
    pub subject: String,
    /// What happened, for people.
    pub sentence: String,
    /// What was measured.
    pub numbers: Vec<Value>,
    /// How many records speak for it.
    pub count: u64,
    /// The first of them, as `kind:number`.
    pub records: Vec<String>,
    /// As MITRE and OWASP number them.
    pub techniques: Vec<String>,
    /// The rule that was reached; empty where none was.
    pub rule: String,
    /// Entries of the ledger that told of it, the newest last.
    pub entries: Vec<i64>,
}

/// Incidents.
#[derive(Clone, Debug, Serialize, JsonSchema)]
#[schemars(rename = "ListOfIncident")]
pub struct Incidents {
    /// The latest first.
    pub items: Vec<Incident>,
    /// Always null: there are no pages of it.
    pub next: Option<i64>,
    /// What is not in the ledger: how many records found no room since it was begun.
    pub lost: u64,
    /// Whether older findings, or what people did about them, are missing here; absent where nothing is.
    #[serde(skip_serializing_if = "std::ops::Not::not")]
    pub truncated: bool,
}

/// Findings that belong together.
#[derive(Clone, Debug, Serialize, JsonSchema)]
pub struct Incident {
    /// The same for as long as its first finding is in the ledger.
    pub id: String,
    /// For people.
    pub title: String,
    /// Where it stands.
    #[schemars(extend("enum" = ["open", "acknowledged", "contained", "closed"]))]
    pub state: String,
    /// How bad it is.
    #[schemars(extend("enum" = ["low", "medium", "high"]))]
    pub severity: String,
    /// From 0 to 100.
    pub score: u32,
    /// What the score is made of.
    pub parts: Vec<Part>,
    /// Who is in it.
    pub workloads: Vec<String>,
    /// To whom.
    pub destinations: Vec<String>,
    /// What found it.
    pub detectors: Vec<String>,
    /// As MITRE and OWASP number them.
    pub techniques: Vec<String>,
    /// When it began.
    pub first: Moment,
    /// When it was told of last.
    pub last: Moment,
    /// Ids.
    pub findings: Vec<String>,
    /// What people wrote down.
    pub notes: Vec<Note>,
    /// Who is contained.
    pub contained: Vec<Contained>,
}

/// One part of a score.
#[derive(Clone, Debug, Serialize, JsonSchema)]
pub struct Part {
    /// Of what.
    pub what: String,
    /// How many.
    pub points: i64,
    /// For people.
    pub why: String,
}

/// What somebody wrote down.
#[derive(Clone, Debug, Serialize, JsonSchema)]
pub struct Note {
    /// When.
    pub time: Moment,
    /// Who.
    pub who: String,
    /// What.
    pub text: String,
}

/// A workload that is contained.
#[derive(Clone, Debug, Serialize, JsonSchema)]
pub struct Contained {
    /// Which.
    pub workload: String,
    /// Until when.
    pub until: Moment,
}

/// All about one incident.
#[derive(Clone, Debug, Serialize, JsonSchema)]
pub struct IncidentWhole {
    /// What it is.
    pub incident: Incident,
    /// What it is made of.
    pub findings: Vec<Finding>,
    /// What happened, in order.
    pub timeline: Vec<Event>,
    /// Not all of it is there.
    pub timeline_truncated: bool,
    /// What its workloads could reach, and did.
    pub blast_radius: Vec<BlastRadius>,
}

/// One thing that happened.
#[derive(Clone, Debug, Serialize, JsonSchema)]
pub struct Event {
    /// When.
    pub time: Moment,
    /// Of what kind.
    pub kind: String,
    /// How it was decided.
    pub verdict: String,
    /// Who.
    pub source: String,
    /// To whom.
    pub destination: String,
    /// At which port; 0 where there is none.
    pub port: u16,
    /// The rule that decided.
    pub rule: String,
    /// Why.
    pub reason: String,
    /// For people.
    pub sentence: String,
    /// Of the ledger's entry.
    pub number: i64,
}

/// What a workload could reach, and did.
#[derive(Clone, Debug, Serialize, JsonSchema)]
pub struct BlastRadius {
    /// Which.
    pub workload: String,
    /// What it could reach.
    pub could: Vec<Reachable>,
    /// Whether that is all.
    pub could_is_complete: bool,
    /// What it did reach, or try to.
    pub did: Vec<EdgeAnswer>,
}

/// Something that a workload could reach.
#[derive(Clone, Debug, Serialize, JsonSchema)]
pub struct Reachable {
    /// Whom.
    pub destination: String,
    /// Ports and protocol, as `443/TCP`; `*` where all are allowed.
    pub port: String,
    /// By which rule; empty where that is not one.
    pub rule: String,
}

/// Where an indicator was seen.
#[derive(Clone, Debug, Serialize, JsonSchema)]
pub struct Hunt {
    /// As it was asked for.
    pub indicator: String,
    /// What it was understood as.
    pub kind: String,
    /// How often.
    pub hits: u64,
    /// When first; null: never.
    pub first: Option<Moment>,
    /// When last.
    pub last: Option<Moment>,
    /// By whom.
    pub workloads: Vec<HuntWorkload>,
    /// The newest of them.
    pub records: Vec<Record>,
    /// Whether there may be more than was looked at.
    pub truncated: bool,
}

/// A workload that had to do with it.
#[derive(Clone, Debug, Serialize, JsonSchema)]
pub struct HuntWorkload {
    /// Which.
    pub workload: String,
    /// How often.
    pub hits: u64,
    /// When first.
    pub first: Moment,
    /// When last.
    pub last: Moment,
}
