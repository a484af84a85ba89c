//! Records, and what is summed up from them.

use crate::shape::Moment;
use crate::shape::live::Deciding;
use crate::shape::walk::Walk;
use ledger::{Edge, Stored, Sum};
use schemars::JsonSchema;
use serde::Serialize;
use serde_json::Value;

/// One entry of the ledger.
#[derive(Clone, Debug, Serialize, JsonSchema)]
pub struct Record {
    /// From 1, ascending; numbers of what was forgotten do not come again.
    pub number: i64,
    /// When; of several alike, when the first was.
    pub time: Moment,
    /// `flow`, `dns`, `tls`, `ai_call`, `finding` or `audit`.
    #[schemars(extend("enum" = ["flow", "dns", "tls", "ai_call", "finding", "audit"]))]
    pub kind: &'static str,
    /// `allow`, `deny`, `fail`, or `none` where there was nothing to decide.
    #[schemars(extend("enum" = ["allow", "deny", "fail", "none"]))]
    pub verdict: &'static str,
    /// The enforcement point.
    pub node: String,
    /// Who: `namespace/Kind/name` of a workload, or an address. Comes from the wire: show it as text only.
    pub source: String,
    /// To whom: a workload, a domain name, or an address; empty where there is none. Comes from the wire, too.
    pub destination: String,
    /// Destination port; 0 where there is none.
    pub port: u16,
    /// Number of the transport protocol; 0 where there is none.
    pub protocol: u8,
    /// The rule that decided, with the place where it was written; empty where none did.
    pub rule: String,
    /// Why, from the closed table of whoever decided.
    pub reason: String,
    /// How many; 0 where only bytes were added to connections that were counted before.
    pub count: u64,
    /// Bytes that the source sent.
    pub bytes_sent: u64,
    /// Bytes that it received.
    pub bytes_received: u64,
    /// The whole record, where there is one.
    pub detail: Value,
}

impl From<&Stored> for Record {
    fn from(Stored { id, entry }: &Stored) -> Self {
        Self {
            number: *id,
            time: Moment::of(entry.time),
            kind: entry.kind.name(),
            verdict: entry.verdict.name(),
            node: entry.node.to_string(),
            source: entry.source.to_string(),
            destination: entry.destination.to_string(),
            port: entry.port,
            protocol: entry.protocol,
            rule: entry.rule.to_string(),
            reason: entry.reason.to_string(),
            count: entry.count,
            bytes_sent: entry.sent,
            bytes_received: entry.received,
            detail: detail(entry.detail.as_deref()),
        }
    }
}

/// What this program wrote is JSON; what somebody changed may not be, and is shown as it is.
pub(crate) fn detail(text: Option<&str>) -> Value {
    let Some(text) = text else { return Value::Null };
    serde_json::from_str(text).unwrap_or_else(|_| Value::from(text))
}

/// One entry, and why it was decided so.
#[derive(Clone, Debug, Serialize, JsonSchema)]
pub struct Why {
    /// The entry.
    pub record: Record,
    /// The rule that decided; null where none did, or where it is not among the sources any more.
    pub deciding: Option<Deciding>,
    /// What else belongs to the same connection: same source, destination and port, close in time. At most 100.
    pub joined: Vec<Record>,
    /// Of what was refused, the rule that came nearest, as the record has it.
    pub nearest: Option<Nearest>,
    /// How the policy in force now judges the like, tier by tier; null where nobody here can say.
    pub walk: Option<Walk>,
}

/// A rule that nearly allowed something.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, JsonSchema)]
pub struct Nearest {
    /// Which.
    pub rule: String,
    /// What was missing for it.
    pub lacks: Value,
    /// The same with its lines; null where it is not among the sources.
    pub deciding: Option<Deciding>,
}

/// A page of edges.
#[derive(Clone, Debug, Serialize, JsonSchema)]
pub struct Edges {
    /// Those first that were first seen last.
    pub items: Vec<EdgeAnswer>,
    /// To be given as `before` for those that follow; null: there are no more. It means nothing to anybody but who gave it.
    pub next: Option<String>,
    /// What is not in the ledger: how many records found no room since it was begun.
    pub lost: u64,
}

/// Who ever reached, or tried to reach, whom.
#[derive(Clone, Debug, Serialize, JsonSchema)]
pub struct EdgeAnswer {
    /// Who.
    pub source: String,
    /// Whom.
    pub destination: String,
    /// At which port.
    pub port: u16,
    /// By which transport protocol.
    pub protocol: u8,
    /// When first.
    pub first_seen: Moment,
    /// When last.
    pub last_seen: Moment,
    /// How often it was let through.
    pub allowed: u64,
    /// How often it was not.
    pub denied: u64,
    /// Bytes that the source sent.
    pub bytes_sent: u64,
    /// Bytes that it received.
    pub bytes_received: u64,
    /// The rule that decided last.
    pub rule: String,
}

impl From<Edge> for EdgeAnswer {
    fn from(edge: Edge) -> Self {
        Self {
            source: edge.source.to_string(),
            destination: edge.destination.to_string(),
            port: edge.port,
            protocol: edge.protocol,
            first_seen: Moment::of(edge.first),
            last_seen: Moment::of(edge.last),
            allowed: edge.allowed,
            denied: edge.denied,
            bytes_sent: edge.sent,
            bytes_received: edge.received,
            rule: edge.rule.to_string(),
        }
    }
}

/// One line of a table of the largest.
#[derive(Clone, Debug, Serialize, JsonSchema)]
pub struct SumAnswer {
    /// Of whom.
    pub of: String,
    /// How often.
    pub count: u64,
    /// How often it was not let through.
    pub denied: u64,
    /// Bytes sent.
    pub bytes_sent: u64,
    /// Bytes received.
    pub bytes_received: u64,
}

impl From<Sum> for SumAnswer {
    fn from(sum: Sum) -> Self {
        Self {
            of: sum.of,
            count: sum.count,
            denied: sum.denied,
            bytes_sent: sum.sent,
            bytes_received: sum.received,
        }
    }
}

/// Who reaches whom, to be drawn.
#[derive(Clone, Debug, Serialize, JsonSchema)]
pub struct Graph {
    /// Each once.
    pub nodes: Vec<Node>,
    /// Each pair once.
    pub edges: Vec<GraphEdge>,
    /// Not all that met are here: those with the most denials, then bytes, are.
    pub truncated: bool,
    /// Pairs and ports that met, in this time and with these filters.
    pub pairs: u64,
    /// Of these, how many are in none of the edges.
    pub left_out: u64,
    /// Parties that belong together were put together: nodes with `members` stand for several.
    pub is_folded: bool,
}

/// One end of connections.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, JsonSchema)]
pub struct Node {
    /// As records have it.
    pub id: String,
    /// What it is.
    pub kind: NodeKind,
    /// Of a workload.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub namespace: Option<String>,
    /// Of a provider its name in the catalog; of something outside its registrable domain.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub group: Option<String>,
    /// For people.
    pub label: String,
    /// For how many parties it stands, as far as they were counted; left out where it is one.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub members: Option<u64>,
}

/// What one end is.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum NodeKind {
    /// Pods of the cluster.
    Workload,
    /// A node, or what runs in its network.
    Node,
    /// Something outside.
    External,
    /// Something outside that the catalog knows.
    Provider,
}

/// What passed from one end to another, at all ports.
#[derive(Clone, Debug, Serialize, JsonSchema)]
pub struct GraphEdge {
    /// Who.
    pub source: String,
    /// Whom.
    pub destination: String,
    /// As `443/TCP`.
    pub ports: Vec<String>,
    /// How often it was let through.
    pub allowed: u64,
    /// How often it was not.
    pub denied: u64,
    /// Bytes that the source sent.
    pub bytes_sent: u64,
    /// Bytes that it received.
    pub bytes_received: u64,
    /// When first, of what is in the answer.
    pub first_seen: Moment,
    /// When last.
    pub last_seen: Moment,
    /// Whether nobody saw it before the time that was asked for.
    pub is_new: bool,
}

/// Counts over time.
#[derive(Clone, Debug, Serialize, JsonSchema)]
pub struct Series {
    /// Seconds of one value.
    pub step: u64,
    /// When the first value begins.
    pub start: Moment,
    /// The largest first; what is beyond the first ten is one, `(other)`.
    pub series: Vec<OneSeries>,
}

/// One line of them.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, JsonSchema)]
pub struct OneSeries {
    /// Of what.
    pub name: String,
    /// All series have as many.
    pub values: Vec<u64>,
}

/// Words that a filter could have.
#[derive(Clone, Debug, Serialize, JsonSchema)]
pub struct Hints {
    /// The most frequent first.
    pub items: Vec<Hint>,
}

/// One of them.
#[derive(Clone, Debug, Serialize, JsonSchema)]
pub struct Hint {
    /// The word.
    pub value: String,
    /// How many entries have it.
    pub count: u64,
}

/// What calls of models used.
#[derive(Clone, Debug, Serialize, JsonSchema)]
pub struct Usage {
    /// The most calls first.
    pub items: Vec<UsageItem>,
    /// Budgets of which something is used.
    pub budgets: Vec<crate::shape::live::Budget>,
    /// Not all calls of the time were looked at: only the newest are in it.
    pub truncated: bool,
}

/// What one workload used of one model.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, JsonSchema)]
pub struct UsageItem {
    /// Who.
    pub workload: String,
    /// Whom.
    pub service: String,
    /// The model that answered, or that was asked for; empty where none is known.
    pub model: String,
    /// How many.
    pub calls: u64,
    /// How many of them were refused.
    pub denied: u64,
    /// Tokens that went in.
    pub input_tokens: u64,
    /// Tokens that came out.
    pub output_tokens: u64,
    /// What they cost, in billionths.
    pub cost_nanos: u64,
    /// Of what; left out where no price is known.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub currency: Option<String>,
    /// Half of those that were allowed took at most so many milliseconds.
    pub p50_ms: u64,
    /// Nineteen in twenty.
    pub p95_ms: u64,
    /// Half of the answers began after at most so many milliseconds.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub first_token_p50_ms: Option<u64>,
    /// Findings about this workload and service.
    pub findings: u64,
}
