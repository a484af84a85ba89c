//! What is said over the local socket: newline-delimited JSON, one request per connection.
//!
//! | request | answer, line by line |
//! |---|---|
//! | `{"status":{}}` | `{"status":{…}}` |
//! | `{"flows":{"query":{…},"follow":false}}` | `{"record":{…}}` for each, oldest first, then `{"end":{"cursor":N}}` |
//! | `{"flows":{"query":{…},"follow":true}}` | the same, then `{"record":{…}}` as they come; `{"missed":N}` when the reader was too slow |
//! | `{"flows":{"query":{…},"after":N}}` | records after a cursor, at most `query.limit`, then `{"end":{"cursor":M}}` |
//! | `{"lookups":{…}}`, `{"passages":{…}}`, `{"findings":{…}}`, `{"contents":{…}}` | the same with `{"lookup":{…}}`, `{"passage":{…}}`, `{"finding":{…}}`, `{"content":{…}}` |
//! | `{"lab":{}}` | `{"lab":{"pid":N,"places":[…]}}`: the namespaces of a lab |
//! | `{"probe":{"from":"a/b","to":"c/d","protocol":"TCP","port":80}}` | `{"probe":{"outcome":"answered","address":"…"}}`, after opening that connection in the lab |
//! | `{"settle":{"namespace":"a","name":"b","addresses":["10.0.0.7"],"container":"c"}}` | `{"settled":{"generation":N}}`, once policy is in force for the pod; a CNI plugin asks so |
//! | `{"forget":{"namespace":"a","name":"b","container":"c"}}` | `{"settled":{"generation":N}}`: the pod is gone, or only the sandbox that it had before |
//! | `{"release":{}}` | `{"settled":{"generation":0}}`, once nothing is enforced any more |
//! | `{"shadow":{}}` | `{"shadow":{…}}`: what a candidate says that is judged by beside; `null` where there is none |
//! | `{"respond":{"contain":{…}}}` and the other fields of [`crate::respond::Order`] | `{"response":{…}}` |
//!
//! Anything else is answered `{"error":"…"}`. A request is one line of at most 64 KiB. The fields of a query are
//! those of [`observe::Query`], of a record those of [`observe::Record`].

use super::calls::{ApiCall, ApiCallQuery, ApiContent};
use super::finding::{Finding, FindingQuery};
use super::lookup::{Lookup, LookupQuery};
use super::passage::{Passage, PassageQuery};
use super::pen::LedgerStatus;
use super::shadow::ShadowStatus;
use super::watcher::DetectionStatus;
use crate::respond::Order;
use gateway::{QuotaUse, StoreStanding};
use observe::{Query, Record, ResolverCounts, StoreCounts, Time};
use policy::{Generation, Protocol};
use serde::{Deserialize, Serialize};
use serde_json::Value;
use std::net::IpAddr;
use std::sync::Arc;

/// Longest request.
pub(crate) const REQUEST_BYTES: u64 = 64 << 10;

/// What a client asks.
#[derive(Clone, Debug, Serialize, Deserialize)]
#[serde(rename_all = "lowercase", deny_unknown_fields)]
pub(crate) enum Request {
    /// How things stand.
    Status {},
    /// Records.
    Flows {
        /// Which.
        #[serde(default)]
        query: Query,
        /// Only what came after this cursor.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        after: Option<u64>,
        /// Go on with what comes.
        #[serde(default)]
        follow: bool,
    },
    /// Records of DNS queries.
    Lookups {
        /// Which.
        #[serde(default)]
        query: LookupQuery,
        /// Only what came after this cursor.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        after: Option<u64>,
        /// Go on with what comes.
        #[serde(default)]
        follow: bool,
    },
    /// Connections that were held to their name.
    Passages {
        /// Which.
        #[serde(default)]
        query: PassageQuery,
        /// Only what came after this cursor.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        after: Option<u64>,
        /// Go on with what comes.
        #[serde(default)]
        follow: bool,
    },
    /// Requests that were judged.
    Calls {
        /// Which.
        #[serde(default)]
        query: ApiCallQuery,
        /// Only what came after this cursor.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        after: Option<u64>,
        /// Go on with what comes.
        #[serde(default)]
        follow: bool,
    },
    /// What somebody should look at.
    Findings {
        /// Which.
        #[serde(default)]
        query: FindingQuery,
        /// Only what came after this cursor.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        after: Option<u64>,
        /// Go on with what comes.
        #[serde(default)]
        follow: bool,
    },
    /// What was kept of requests.
    Contents {
        /// Which.
        #[serde(default)]
        query: ApiCallQuery,
        /// Only what came after this cursor.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        after: Option<u64>,
        /// Go on with what comes.
        #[serde(default)]
        follow: bool,
    },
    /// Put policy in force for a pod before it starts, and wait until it is.
    Settle {
        /// Of the pod.
        namespace: String,
        /// Of the pod.
        name: String,
        /// Those it is about to get.
        addresses: Vec<IpAddr>,
        /// Of its sandbox, as the container runtime has it.
        #[serde(default)]
        container: String,
    },
    /// A pod is gone, or a sandbox of it.
    Forget {
        /// Of the pod.
        namespace: String,
        /// Of the pod.
        name: String,
        /// Of the sandbox; empty: nobody said.
        #[serde(default)]
        container: String,
    },
    /// Remove everything from the kernel, and put nothing there any more.
    Release {},
    /// What is in the lab.
    Lab {},
    /// Open a connection in the lab.
    Probe {
        /// `namespace/name` of a pod, `node/NAME` or `outside`.
        from: String,
        /// The same, or an address.
        to: String,
        /// Transport protocol.
        protocol: Protocol,
        /// Destination port.
        port: u16,
    },
    /// What a candidate says.
    Shadow {},
    /// Do something about an incident.
    Respond(Order),
}

/// One line of an answer.
#[derive(Clone, Debug, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub(crate) enum Answer {
    /// It is so, at this state of policy.
    Settled {
        /// In force.
        generation: Generation,
    },
    /// One record.
    Record(Arc<Record>),
    /// One record of a DNS query.
    Lookup(Arc<Lookup>),
    /// One connection that was held to its name.
    Passage(Arc<Passage>),
    /// One request that was judged.
    Call(Arc<ApiCall>),
    /// One finding.
    Finding(Arc<Finding>),
    /// What was kept of one request.
    Content(Arc<ApiContent>),
    /// Records that were evicted before this reader could have them.
    Missed(u64),
    /// No more.
    End {
        /// Ask for what comes after it.
        cursor: u64,
    },
    /// How things stand.
    Status(Box<Status>),
    /// What is in the lab.
    Lab {
        /// The process that owns it.
        pid: u32,
        /// Its parts.
        places: Vec<LabPlace>,
    },
    /// What became of a probe.
    Probe(ProbeResult),
    /// The request was not understood, or could not be done.
    Error(String),
    /// What was done about an incident.
    Response(Value),
    /// What a candidate says, if there is one.
    Shadow(Option<Box<ShadowStatus>>),
}

/// A pod, node or the outside of a lab.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct LabPlace {
    /// `namespace/name` of a pod, `node/NAME` or `outside`.
    pub(crate) name: String,
    /// Its node.
    pub(crate) node: String,
    /// Its addresses.
    pub(crate) addresses: Vec<IpAddr>,
    /// Declared ports, as `80/TCP`.
    pub(crate) ports: Vec<String>,
    /// What it runs; an echo server on its ports where nothing is given.
    pub(crate) command: Option<String>,
    /// Name of its network namespace.
    pub(crate) network_namespace: String,
    /// Number of a thread that lives there, and so sees the files that are its own.
    pub(crate) thread: i32,
}

/// What became of a probe.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct ProbeResult {
    /// `answered`, `silent`, or `failed: …`.
    pub(crate) outcome: String,
    /// The address that was tried.
    pub(crate) address: IpAddr,
}

/// How things stand.
#[derive(Clone, Debug, Default, Serialize, Deserialize)]
pub(crate) struct Status {
    /// Version of the running program.
    pub(crate) version: String,
    /// Process.
    pub(crate) pid: u32,
    /// Since when.
    pub(crate) started: Time,
    /// `machine`, `lab`, `node` or `judge-only`.
    pub(crate) mode: Mode,
    /// Files and folders that policy comes from.
    pub(crate) sources: Vec<String>,
    /// How their changes are noticed.
    pub(crate) watched_by: String,
    /// State of policy in force.
    pub(crate) generation: Generation,
    /// Why not everything that was written is in force; empty when it is.
    pub(crate) degraded: Vec<String>,
    /// Whether a new pod's first packets are judged, too; on a cluster's node.
    pub(crate) first_packets_judged: Option<bool>,
    /// Every enforcement point.
    pub(crate) nodes: Vec<NodeStatus>,
    /// Policies in force.
    pub(crate) policies: usize,
    /// Rules in force.
    pub(crate) rules: usize,
    /// Scopes closed because their policy could not be read.
    pub(crate) closed_scopes: usize,
    /// The last load of the sources.
    pub(crate) load: Load,
    /// Records.
    pub(crate) records: StoreCounts,
    /// Findings since the process began.
    #[serde(default)]
    pub(crate) findings: u64,
    /// What is kept on disk; left out where nothing is.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(crate) ledger: Option<LedgerStatus>,
    /// How events became records.
    pub(crate) resolver: ResolverCounts,
    /// Rules by new connections judged, most first.
    pub(crate) top_rules: Vec<RuleCount>,
    /// How detectors are; left out where there are none.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(crate) detection: Option<DetectionStatus>,
    /// What is judged by beside, without effect, and what it said so far; left out where nothing is.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(crate) shadow: Option<ShadowStatus>,
}

/// What this process does with its policy.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub(crate) enum Mode {
    /// Enforces on this machine.
    Machine,
    /// Enforces on lab nodes.
    Lab,
    /// Enforces on a cluster's node what the controller publishes.
    Node,
    /// Judges when asked, enforces nothing.
    #[default]
    JudgeOnly,
}

/// One enforcement point.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct NodeStatus {
    /// Name.
    pub(crate) node: Arc<str>,
    /// For example `nftables`.
    pub(crate) backend: String,
    /// Generation that the kernel has, if it has one.
    pub(crate) enforced: Option<Generation>,
    /// Why nothing, or not the newest generation, is enforced.
    pub(crate) problem: Option<String>,
    /// Pod addresses it judges for.
    pub(crate) endpoints: usize,
    /// Groups of pods that the same rules hold for.
    pub(crate) slots: usize,
    /// Distinct rows.
    pub(crate) rows: usize,
    /// Events that the kernel could not hand over.
    pub(crate) lost_events: u64,
    /// The DNS of its pods; left out where it is left alone.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(crate) dns: Option<DnsStatus>,
    /// Its gateway; left out where connections are not held to their name.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(crate) gateway: Option<GatewayStatus>,
}

/// How the DNS of a node's pods is answered, since its proxy was started last.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct DnsStatus {
    /// Queries that were answered.
    pub(crate) answered: u64,
    /// Queries that were refused.
    pub(crate) refused: u64,
    /// Queries that nobody could answer.
    pub(crate) failed: u64,
    /// Records of queries that were lost.
    pub(crate) lost_records: u64,
    /// Addresses that are open to pods by name.
    pub(crate) opened: usize,
    /// Times that names were put in force, or taken out, in kernel and gateway.
    #[serde(default)]
    pub(crate) binds: u64,
    /// What that took altogether, in microseconds.
    #[serde(default)]
    pub(crate) bind_micros: u64,
    /// Times the proxy was started.
    pub(crate) starts: u64,
    /// Why nobody is answered: rules on names open nothing new.
    pub(crate) problem: Option<String>,
}

/// How a node's connections are held to their names, since its gateway was started last.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct GatewayStatus {
    /// Connections that are open.
    pub(crate) open: u64,
    /// Connections that passed and ended.
    pub(crate) passed: u64,
    /// Connections that were refused, or cut.
    pub(crate) refused: u64,
    /// Bytes from pods to servers, of connections that ended.
    pub(crate) bytes_up: u64,
    /// Bytes from servers to pods, of connections that ended.
    pub(crate) bytes_down: u64,
    /// Records of connections that were lost.
    pub(crate) lost_records: u64,
    /// Pairs of a pod and an address whose connections go through it.
    pub(crate) named: usize,
    /// Pods and rules whose upload of the hour or day is used up.
    pub(crate) spent: usize,
    /// Requests that were judged and allowed, of those that ended.
    #[serde(default)]
    pub(crate) requests_allowed: u64,
    /// Requests that were judged and refused, or cut.
    #[serde(default)]
    pub(crate) requests_refused: u64,
    /// What was found in files that answers brought, and only told of.
    #[serde(default)]
    pub(crate) files_reported: u64,
    /// And for which they were stopped.
    #[serde(default)]
    pub(crate) files_blocked: u64,
    /// Edges of parts of uploads that were forgotten for want of room.
    #[serde(default)]
    pub(crate) edges_lost: u64,
    /// Connections that passed unread and ended, for their clients did not let them be opened.
    #[serde(default)]
    pub(crate) passed_unopened: u64,
    /// Times it was started.
    pub(crate) starts: u64,
    /// Whether it can open TLS where rules look at requests; without, those requests are refused.
    #[serde(default)]
    pub(crate) opens_tls: bool,
    /// Why connections to names do not pass, or not as policy says.
    pub(crate) problem: Option<String>,
    /// Currency of the prices that calls are counted by; none without prices.
    #[serde(default)]
    pub(crate) currency: Option<Arc<str>>,
    /// Pods and rules with budgets that were drawn on today (UTC), those that used most first; at most 100.
    #[serde(default)]
    pub(crate) used: Vec<Used>,
    /// How the store of shared budgets stands; none where each node counts for itself.
    #[serde(default)]
    pub(crate) store: Option<StoreStanding>,
}

/// What a pod used today (UTC) under a rule with budgets.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Used {
    /// Namespace and name.
    pub(crate) pod: String,
    /// Of its author: object, and the rule's name or position.
    pub(crate) rule: String,
    /// In the hour and the day.
    #[serde(flatten)]
    pub(crate) used: QuotaUse,
}

/// One load of the sources.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Load {
    /// When.
    pub(crate) time: Time,
    /// From reading to enforcing, in microseconds.
    pub(crate) took_micros: u64,
    /// Whether it is in force.
    pub(crate) outcome: Outcome,
    /// State of policy in force since; of this load, if it is in force.
    pub(crate) generation: Generation,
    /// Objects read.
    pub(crate) objects: usize,
    /// What was found, as text; at most a few hundred.
    pub(crate) diagnostics: Vec<String>,
    /// How many errors.
    pub(crate) errors: usize,
    /// How many warnings.
    pub(crate) warnings: usize,
}

/// What became of a load.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub(crate) enum Outcome {
    /// It is what questions are answered by; nothing is enforced.
    #[default]
    JudgedOnly,
    /// It is in force.
    Applied,
    /// It is in force, except for what could not be read: those scopes are closed.
    AppliedWithClosedScopes,
    /// It has errors: the last good one is still in force.
    KeptLastGood,
    /// The kernel refused it: the last good one is still in force.
    Refused,
}

/// What a rule did.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct RuleCount {
    /// Number of the rule in the generation in force.
    pub(crate) rule: u32,
    /// Object, field, file and line.
    pub(crate) text: String,
    /// New connections that it judged.
    pub(crate) connections: u64,
}
