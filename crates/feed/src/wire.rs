//! The messages of the feed, in Protocol Buffers (<https://protobuf.dev/programming-guides/encoding/>).
//!
//! Numbers of fields are never used again for something else. An enum value or a kind that a reader does not know is
//! an error to it ([`crate::decode`]), never a default: a newer controller must not be half understood.

use prost::bytes::Bytes;
use prost::{Message, Oneof};
use std::collections::BTreeMap;
use std::fmt;

/// From the controller: what changes.
#[derive(Clone, PartialEq, Message)]
pub(crate) struct Update {
    /// State of policy that this leads to.
    #[prost(uint64, tag = "1")]
    pub(crate) generation: u64,
    /// Whatever is not in this update is gone.
    #[prost(bool, tag = "2")]
    pub(crate) snapshot: bool,
    /// The update goes on in the next message; nothing of it holds before the last.
    #[prost(bool, tag = "3")]
    pub(crate) more: bool,
    /// Each a [`Resource`].
    #[prost(bytes = "bytes", repeated, tag = "4")]
    pub(crate) resources: Vec<Bytes>,
    /// What is gone.
    #[prost(message, repeated, tag = "5")]
    pub(crate) gone: Vec<Key>,
    /// How far the controller had read the API, by kind.
    #[prost(btree_map = "string, uint64", tag = "6")]
    pub(crate) revisions: BTreeMap<String, u64>,
    /// The keys that rules of the node's pods put into requests, in place of those before. Absent: they are as they were. Only
    /// in the last message.
    #[prost(message, optional, tag = "7")]
    pub(crate) keys: Option<Keys>,
    /// What DetectionPolicies say, in place of what they said before. Absent: as it was. Only in the last message. A reader that
    /// does not know it has its detectors tell of everything from their own thresholds on: it judges no worse.
    #[prost(message, optional, tag = "8")]
    pub(crate) detection: Option<Detection>,
    /// Set: a node is asked what its pods open, and the update says nothing else. To a reader that does not know it, it is one
    /// that changes nothing; nobody is told anything then.
    #[prost(message, optional, tag = "9")]
    pub(crate) asks: Option<Asks>,
}

/// What a node is to tell of what its pods open, in place of what it was asked before.
#[derive(Clone, PartialEq, Message)]
pub(crate) struct Asks {
    /// 0: nothing.
    #[prost(uint64, tag = "1")]
    pub(crate) number: u64,
    #[prost(message, optional, tag = "2")]
    pub(crate) names: Option<Names>,
}

/// What DetectionPolicies of a node's namespaces say.
#[derive(Clone, PartialEq, Message)]
pub(crate) struct Detection {
    /// Each the JSON of a [`policy::detection::Tuning`]. One that a reader does not understand whole says nothing to it.
    #[prost(bytes = "vec", repeated, tag = "1")]
    pub(crate) tunings: Vec<Vec<u8>>,
}

/// Keys. They are no part of a state that a node keeps.
#[derive(Clone, PartialEq, Message)]
pub(crate) struct Keys {
    #[prost(message, repeated, tag = "1")]
    pub(crate) all: Vec<SecretKey>,
}

/// A key, and where it is.
#[derive(Clone, PartialEq, Message)]
#[prost(skip_debug)]
pub(crate) struct SecretKey {
    #[prost(string, tag = "1")]
    pub(crate) namespace: String,
    #[prost(string, tag = "2")]
    pub(crate) name: String,
    #[prost(string, tag = "3")]
    pub(crate) entry: String,
    #[prost(string, tag = "4")]
    pub(crate) key: String,
}

impl fmt::Debug for SecretKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} of Secret {}/{} (hidden)", self.entry, self.namespace, self.name)
    }
}

/// From the node.
#[derive(Clone, PartialEq, Message)]
pub(crate) struct Report {
    #[prost(oneof = "Said", tags = "1, 2, 3")]
    pub(crate) said: Option<Said>,
}

#[derive(Clone, PartialEq, Oneof)]
pub(crate) enum Said {
    #[prost(message, tag = "1")]
    Hello(Hello),
    #[prost(message, tag = "2")]
    Standing(Standing),
    #[prost(message, tag = "3")]
    Accesses(Accesses),
}

/// What the node's pods opened, or tried to, since it said so last. Only who was asked says it.
#[derive(Clone, PartialEq, Message)]
pub(crate) struct Accesses {
    /// Of [`Asks`].
    #[prost(uint64, tag = "1")]
    pub(crate) number: u64,
    #[prost(message, repeated, tag = "2")]
    pub(crate) seen: Vec<Seen>,
    /// Those that found no room.
    #[prost(uint64, tag = "3")]
    pub(crate) lost: u64,
    #[prost(message, repeated, tag = "4")]
    pub(crate) found: Vec<Found>,
    /// Left out by who does not count.
    #[prost(message, optional, tag = "5")]
    pub(crate) tried: Option<Tried>,
}

/// What became of what pods tried.
#[derive(Clone, PartialEq, Message)]
pub(crate) struct Tried {
    #[prost(message, repeated, tag = "1")]
    pub(crate) pods: Vec<TriedByPod>,
}

#[derive(Clone, PartialEq, Message)]
pub(crate) struct TriedByPod {
    #[prost(string, tag = "1")]
    pub(crate) namespace: String,
    #[prost(string, tag = "2")]
    pub(crate) name: String,
    #[prost(message, optional, tag = "3")]
    pub(crate) connections: Option<Rate>,
    #[prost(message, optional, tag = "4")]
    pub(crate) names: Option<Rate>,
    #[prost(message, optional, tag = "5")]
    pub(crate) requests: Option<Rate>,
}

#[derive(Clone, Copy, PartialEq, Message)]
pub(crate) struct Rate {
    #[prost(uint64, tag = "1")]
    pub(crate) tried: u64,
    #[prost(uint64, tag = "2")]
    pub(crate) failed: u64,
}

/// What detectors told.
#[derive(Clone, PartialEq, Message)]
pub(crate) struct Found {
    #[prost(string, tag = "1")]
    pub(crate) id: String,
    #[prost(string, tag = "2")]
    pub(crate) namespace: String,
    /// Empty: of no pod.
    #[prost(string, tag = "3")]
    pub(crate) name: String,
    /// 1: low, 2: medium; whatever else: high.
    #[prost(uint32, tag = "4")]
    pub(crate) severity: u32,
}

#[derive(Clone, PartialEq, Message)]
pub(crate) struct Seen {
    #[prost(message, optional, tag = "1")]
    pub(crate) from: Option<End>,
    #[prost(message, optional, tag = "2")]
    pub(crate) to: Option<End>,
    #[prost(uint32, tag = "3")]
    pub(crate) protocol: u32,
    #[prost(uint32, tag = "4")]
    pub(crate) port: u32,
    #[prost(bool, tag = "5")]
    pub(crate) denied: bool,
    #[prost(string, repeated, tag = "6")]
    pub(crate) names: Vec<String>,
    #[prost(bool, tag = "7")]
    pub(crate) unfollowed: bool,
    #[prost(uint64, tag = "8")]
    pub(crate) count: u64,
}

#[derive(Clone, PartialEq, Message)]
pub(crate) struct End {
    /// 4 or 16 bytes.
    #[prost(bytes = "vec", tag = "1")]
    pub(crate) address: Vec<u8>,
    /// Of a pod.
    #[prost(string, tag = "2")]
    pub(crate) namespace: String,
    /// Empty: no pod.
    #[prost(string, tag = "3")]
    pub(crate) name: String,
}

/// Who asks, and what it has already.
#[derive(Clone, PartialEq, Message)]
pub(crate) struct Hello {
    #[prost(string, tag = "1")]
    pub(crate) node: String,
    #[prost(string, tag = "2")]
    pub(crate) version: String,
    #[prost(uint64, tag = "3")]
    pub(crate) generation: u64,
    #[prost(message, repeated, tag = "4")]
    pub(crate) has: Vec<Held>,
    #[prost(btree_map = "string, uint64", tag = "5")]
    pub(crate) revisions: BTreeMap<String, u64>,
}

#[derive(Clone, PartialEq, Message)]
pub(crate) struct Held {
    #[prost(message, optional, tag = "1")]
    pub(crate) key: Option<Key>,
    /// Of the encoded resource.
    #[prost(bytes = "vec", tag = "2")]
    pub(crate) digest: Vec<u8>,
}

/// How the node stands.
#[derive(Clone, PartialEq, Message)]
pub(crate) struct Standing {
    /// The last update that was understood.
    #[prost(uint64, tag = "1")]
    pub(crate) received: u64,
    /// What the kernel enforces; 0: nothing yet.
    #[prost(uint64, tag = "2")]
    pub(crate) enforced: u64,
    /// Why `enforced` is not `received`, or what else is wrong.
    #[prost(string, tag = "3")]
    pub(crate) problem: String,
    /// Pod addresses it judges for.
    #[prost(uint64, tag = "4")]
    pub(crate) endpoints: u64,
    /// Whether pods are held until their policy is in force.
    #[prost(bool, tag = "5")]
    pub(crate) holds_pods: bool,
}

#[derive(Clone, PartialEq, Message)]
pub(crate) struct Key {
    #[prost(uint32, tag = "1")]
    pub(crate) kind: u32,
    #[prost(string, tag = "2")]
    pub(crate) object_kind: String,
    #[prost(string, tag = "3")]
    pub(crate) namespace: String,
    #[prost(string, tag = "4")]
    pub(crate) name: String,
    #[prost(uint32, tag = "5")]
    pub(crate) number: u32,
}

#[derive(Clone, PartialEq, Message)]
pub(crate) struct Resource {
    #[prost(message, optional, tag = "1")]
    pub(crate) key: Option<Key>,
    #[prost(oneof = "Body", tags = "2, 3, 4, 5, 6")]
    pub(crate) body: Option<Body>,
}

#[derive(Clone, PartialEq, Oneof)]
pub(crate) enum Body {
    #[prost(message, tag = "2")]
    Namespace(Namespace),
    #[prost(message, tag = "3")]
    Node(Node),
    #[prost(message, tag = "4")]
    Pod(Pod),
    #[prost(message, tag = "5")]
    Policy(Policy),
    #[prost(message, tag = "6")]
    Closed(Closed),
}

#[derive(Clone, PartialEq, Message)]
pub(crate) struct Namespace {
    #[prost(btree_map = "string, string", tag = "1")]
    pub(crate) labels: BTreeMap<String, String>,
}

#[derive(Clone, PartialEq, Message)]
pub(crate) struct Node {
    #[prost(btree_map = "string, string", tag = "1")]
    pub(crate) labels: BTreeMap<String, String>,
    /// 4 or 16 bytes each.
    #[prost(bytes = "vec", repeated, tag = "2")]
    pub(crate) addresses: Vec<Vec<u8>>,
}

#[derive(Clone, PartialEq, Message)]
pub(crate) struct Pod {
    #[prost(btree_map = "string, string", tag = "1")]
    pub(crate) labels: BTreeMap<String, String>,
    #[prost(string, tag = "2")]
    pub(crate) service_account: String,
    #[prost(string, optional, tag = "3")]
    pub(crate) node: Option<String>,
    #[prost(bytes = "vec", repeated, tag = "4")]
    pub(crate) addresses: Vec<Vec<u8>>,
    #[prost(message, repeated, tag = "5")]
    pub(crate) ports: Vec<NamedPort>,
    #[prost(bool, tag = "6")]
    pub(crate) host_network: bool,
    #[prost(string, tag = "7")]
    pub(crate) workload_kind: String,
    #[prost(string, tag = "8")]
    pub(crate) workload_name: String,
}

#[derive(Clone, PartialEq, Message)]
pub(crate) struct NamedPort {
    #[prost(string, tag = "1")]
    pub(crate) name: String,
    #[prost(uint32, tag = "2")]
    pub(crate) protocol: u32,
    #[prost(uint32, tag = "3")]
    pub(crate) port: u32,
}

/// A policy. Rules name their entries by position.
#[derive(Clone, PartialEq, Message)]
pub(crate) struct Policy {
    #[prost(message, optional, tag = "1")]
    pub(crate) source: Option<Source>,
    #[prost(uint32, tag = "2")]
    pub(crate) tier: u32,
    #[prost(uint32, tag = "3")]
    pub(crate) priority: u32,
    #[prost(message, optional, tag = "4")]
    pub(crate) subject: Option<PodSet>,
    /// Absent: the policy does not speak of the direction.
    #[prost(message, optional, tag = "5")]
    pub(crate) ingress: Option<Section>,
    #[prost(message, optional, tag = "6")]
    pub(crate) egress: Option<Section>,
    #[prost(uint32, optional, tag = "7")]
    pub(crate) isolation_egress: Option<u32>,
    #[prost(uint32, optional, tag = "8")]
    pub(crate) isolation_ingress: Option<u32>,
    #[prost(message, repeated, tag = "9")]
    pub(crate) entries: Vec<Entry>,
    /// Absent: the policy does not speak of names.
    #[prost(message, optional, tag = "10")]
    pub(crate) dns_names: Option<DnsNames>,
    /// Absent: the policy does not speak of resolvers.
    #[prost(message, optional, tag = "11")]
    pub(crate) dns_resolvers: Option<DnsResolvers>,
}

/// Who does not know this message does not know the reasons of its entries either, and refuses the policy.
#[derive(Clone, PartialEq, Message)]
pub(crate) struct DnsNames {
    #[prost(uint32, tag = "1")]
    pub(crate) listed: u32,
    #[prost(uint32, tag = "2")]
    pub(crate) unlisted: u32,
    #[prost(message, optional, tag = "3")]
    pub(crate) names: Option<Names>,
    #[prost(bool, tag = "4")]
    pub(crate) from_rules: bool,
}

#[derive(Clone, PartialEq, Message)]
pub(crate) struct DnsResolvers {
    #[prost(uint32, tag = "1")]
    pub(crate) listed: u32,
    #[prost(uint32, tag = "2")]
    pub(crate) unlisted: u32,
    #[prost(message, optional, tag = "3")]
    pub(crate) peers: Option<Peers>,
}

#[derive(Clone, PartialEq, Message)]
pub(crate) struct Closed {
    #[prost(message, optional, tag = "1")]
    pub(crate) entry: Option<Entry>,
    #[prost(message, optional, tag = "2")]
    pub(crate) subject: Option<PodSet>,
    #[prost(uint32, repeated, tag = "3")]
    pub(crate) directions: Vec<u32>,
}

#[derive(Clone, PartialEq, Message)]
pub(crate) struct Section {
    #[prost(message, repeated, tag = "1")]
    pub(crate) rules: Vec<Rule>,
}

#[derive(Clone, PartialEq, Message)]
pub(crate) struct Rule {
    #[prost(uint32, tag = "1")]
    pub(crate) entry: u32,
    #[prost(uint32, tag = "2")]
    pub(crate) action: u32,
    /// Absent: everyone.
    #[prost(message, optional, tag = "3")]
    pub(crate) peers: Option<Peers>,
    /// Absent: all protocols and ports.
    #[prost(message, optional, tag = "4")]
    pub(crate) ports: Option<Ports>,
}

#[derive(Clone, PartialEq, Message)]
pub(crate) struct Peers {
    #[prost(message, repeated, tag = "1")]
    pub(crate) any_of: Vec<Peer>,
}

#[derive(Clone, PartialEq, Message)]
pub(crate) struct Peer {
    #[prost(oneof = "Who", tags = "1, 2, 3, 4")]
    pub(crate) who: Option<Who>,
}

#[derive(Clone, PartialEq, Oneof)]
pub(crate) enum Who {
    #[prost(message, tag = "1")]
    Pods(PodSet),
    #[prost(message, tag = "2")]
    Network(Network),
    #[prost(message, tag = "3")]
    Nodes(Selector),
    #[prost(message, tag = "4")]
    Names(Names),
}

#[derive(Clone, PartialEq, Message)]
pub(crate) struct PodSet {
    #[prost(oneof = "Namespaces", tags = "1, 2, 4")]
    pub(crate) namespaces: Option<Namespaces>,
    #[prost(message, optional, tag = "3")]
    pub(crate) pods: Option<Selector>,
}

#[derive(Clone, PartialEq, Oneof)]
pub(crate) enum Namespaces {
    #[prost(string, tag = "1")]
    Own(String),
    #[prost(message, tag = "2")]
    Matching(Selector),
    /// To a reader that does not know it, a set of pods without namespaces, which is an error. Pods of other clusters are sent
    /// only to nodes that have a policy with such a set: no such reader takes one for a pod of its own cluster.
    #[prost(message, tag = "4")]
    Elsewhere(Selector),
}

#[derive(Clone, PartialEq, Message)]
pub(crate) struct Network {
    #[prost(message, optional, tag = "1")]
    pub(crate) cidr: Option<Prefix>,
    #[prost(message, repeated, tag = "2")]
    pub(crate) except: Vec<Prefix>,
}

#[derive(Clone, PartialEq, Message)]
pub(crate) struct Prefix {
    #[prost(bytes = "vec", tag = "1")]
    pub(crate) address: Vec<u8>,
    #[prost(uint32, tag = "2")]
    pub(crate) length: u32,
}

#[derive(Clone, PartialEq, Message)]
pub(crate) struct Names {
    /// `name`; `*.name` for one or more labels below, `*1.name` for exactly one. A reader that knows no `*1.` refuses it, and
    /// so never takes it for more.
    #[prost(string, repeated, tag = "1")]
    pub(crate) patterns: Vec<String>,
}

#[derive(Clone, PartialEq, Message)]
pub(crate) struct Selector {
    #[prost(message, repeated, tag = "1")]
    pub(crate) requirements: Vec<Requirement>,
}

#[derive(Clone, PartialEq, Message)]
pub(crate) struct Requirement {
    #[prost(uint32, tag = "1")]
    pub(crate) operator: u32,
    #[prost(string, tag = "2")]
    pub(crate) key: String,
    #[prost(string, repeated, tag = "3")]
    pub(crate) values: Vec<String>,
}

#[derive(Clone, PartialEq, Message)]
pub(crate) struct Ports {
    #[prost(message, repeated, tag = "1")]
    pub(crate) any_of: Vec<Port>,
}

#[derive(Clone, PartialEq, Message)]
pub(crate) struct Port {
    #[prost(uint32, optional, tag = "1")]
    pub(crate) protocol: Option<u32>,
    /// Set: a named port. Else `first` to `last` of `protocol`.
    #[prost(string, optional, tag = "2")]
    pub(crate) name: Option<String>,
    #[prost(uint32, tag = "3")]
    pub(crate) first: u32,
    #[prost(uint32, tag = "4")]
    pub(crate) last: u32,
}

/// What a rule id stands for.
#[derive(Clone, PartialEq, Message)]
pub(crate) struct Entry {
    /// As [`policy::Reason::as_str`]; behind it [`LIMITED`] where `upload` is there, and [`JUDGED`] where `requests` is,
    #[prost(string, tag = "1")]
    pub(crate) reason: String,
    #[prost(uint32, optional, tag = "2")]
    pub(crate) direction: Option<u32>,
    #[prost(uint32, optional, tag = "3")]
    pub(crate) index: Option<u32>,
    #[prost(string, optional, tag = "4")]
    pub(crate) name: Option<String>,
    #[prost(string, tag = "5")]
    pub(crate) field: String,
    #[prost(message, optional, tag = "6")]
    pub(crate) source: Option<Source>,
    /// Absent only for what no object is to blame for.
    #[prost(message, optional, tag = "7")]
    pub(crate) object: Option<Object>,
    /// Absent: nothing limits what is uploaded.
    #[prost(message, optional, tag = "8")]
    pub(crate) upload: Option<UploadLimits>,
    /// Absent: the rule does not look at requests.
    #[prost(message, optional, boxed, tag = "9")]
    pub(crate) requests: Option<Box<Requests>>,
}

/// Ends the reason of an entry that limits uploads. A reader that knows no limits knows no such reason, and refuses the policy
/// instead of allowing without limit.
pub(crate) const LIMITED: &str = "+limited";

/// Ends the reason of an entry that looks at requests, for the same cause.
pub(crate) const JUDGED: &str = "+requests";

/// What a reader must know of [`Requests`] at least: raised with each field that nobody may overlook.
pub(crate) const LEVEL: u32 = 3;
/// What is enough for rules by which nothing is granted.
pub(crate) const WITHOUT_GRANTS: u32 = 2;
/// What is enough for rules that put no key into requests.
pub(crate) const WITHOUT_INJECT: u32 = 1;

/// Any name, where patterns stand. A reader that knows no such pattern takes it for none, and refuses the policy.
pub(crate) const ANY_NAME: &str = "**";

/// Between a pattern and the zones that it does not mean, which commas separate. A reader that knows no such zones takes it for
/// none, and refuses the policy.
pub(crate) const EXCEPT: &str = " except ";

/// Which requests a rule allows.
#[derive(Clone, PartialEq, Message)]
pub(crate) struct Requests {
    #[prost(message, repeated, tag = "1")]
    pub(crate) operations: Vec<Operations>,
    #[prost(string, repeated, tag = "2")]
    pub(crate) models: Vec<String>,
    #[prost(string, repeated, tag = "3")]
    pub(crate) tools: Vec<String>,
    /// Lower-case hexadecimal.
    #[prost(string, repeated, tag = "4")]
    pub(crate) sha256: Vec<String>,
    #[prost(string, repeated, tag = "5")]
    pub(crate) aws_key_ids: Vec<String>,
    #[prost(bool, tag = "6")]
    pub(crate) only_referred: bool,
    /// Absent: not looked for. Else as [`policy::LeakAction::WORDS`].
    #[prost(string, optional, tag = "7")]
    pub(crate) secrets: Option<String>,
    #[prost(string, optional, tag = "8")]
    pub(crate) personal: Option<String>,
    #[prost(string, optional, tag = "9")]
    pub(crate) files: Option<String>,
    #[prost(string, optional, tag = "10")]
    pub(crate) canary_action: Option<String>,
    #[prost(string, repeated, tag = "11")]
    pub(crate) canaries: Vec<String>,
    #[prost(message, optional, tag = "12")]
    pub(crate) request_quota: Option<Quota>,
    #[prost(message, optional, tag = "13")]
    pub(crate) token_quota: Option<Quota>,
    /// In billionths of the currency of the node's prices.
    #[prost(message, optional, tag = "14")]
    pub(crate) money_quota: Option<Quota>,
    /// What a reader must know: [`LEVEL`], or less where less was written.
    #[prost(uint32, tag = "15")]
    pub(crate) level: u32,
    /// Absent: nothing is kept.
    #[prost(message, optional, tag = "16")]
    pub(crate) capture: Option<Capture>,
    #[prost(message, repeated, tag = "17")]
    pub(crate) tool_conditions: Vec<ToolCondition>,
    #[prost(string, optional, tag = "18")]
    pub(crate) opaque_action: Option<String>,
    #[prost(uint64, tag = "19")]
    pub(crate) opaque_from: u64,
    #[prost(string, optional, tag = "20")]
    pub(crate) pickles: Option<String>,
    #[prost(string, optional, tag = "21")]
    pub(crate) archives: Option<String>,
    /// Connections that cannot be opened pass. A reader that overlooks it refuses them.
    #[prost(bool, tag = "22")]
    pub(crate) pass_unopened: bool,
    /// Absent: requests leave with what the pod sent.
    #[prost(message, optional, tag = "23")]
    pub(crate) inject: Option<Inject>,
    /// Only what an answer granted.
    #[prost(bool, tag = "24")]
    pub(crate) granted: bool,
    /// Absent: what answers lead to is not granted. Else for how many seconds.
    #[prost(uint32, optional, tag = "25")]
    pub(crate) redirects: Option<u32>,
    /// Whom the provider may contact beside whom the pod may reach itself. A reader that overlooks it allows fewer.
    #[prost(message, optional, tag = "26")]
    pub(crate) provider_egress: Option<ProviderEgress>,
}

/// Whom the provider may contact.
#[derive(Clone, PartialEq, Message)]
pub(crate) struct ProviderEgress {
    #[prost(message, optional, tag = "1")]
    pub(crate) domains: Option<Names>,
    /// As [`policy::HostedTools::WORDS`]; empty: none.
    #[prost(string, tag = "2")]
    pub(crate) hosted_tools: String,
}

/// Where the key is that requests leave with; never the key.
#[derive(Clone, PartialEq, Message)]
pub(crate) struct Inject {
    #[prost(string, tag = "1")]
    pub(crate) namespace: String,
    #[prost(string, tag = "2")]
    pub(crate) name: String,
    #[prost(string, tag = "3")]
    pub(crate) key: String,
    /// Absent: where the service has it.
    #[prost(string, optional, tag = "4")]
    pub(crate) header: Option<String>,
}

/// What is kept of contents.
#[derive(Clone, Copy, PartialEq, Message)]
pub(crate) struct Capture {
    #[prost(bool, tag = "1")]
    pub(crate) requests: bool,
    #[prost(bool, tag = "2")]
    pub(crate) answers: bool,
    #[prost(uint32, tag = "3")]
    pub(crate) max_bytes: u32,
}

/// A condition on what tools are called with.
#[derive(Clone, PartialEq, Message)]
pub(crate) struct ToolCondition {
    #[prost(string, tag = "1")]
    pub(crate) tool: String,
    /// An expression in CEL.
    #[prost(string, tag = "2")]
    pub(crate) when: String,
}

/// How much in a window; absent where that is not limited.
#[derive(Clone, Copy, PartialEq, Message)]
pub(crate) struct Quota {
    #[prost(uint64, optional, tag = "1")]
    pub(crate) hour: Option<u64>,
    #[prost(uint64, optional, tag = "2")]
    pub(crate) day: Option<u64>,
}

/// Some verbs on some resources.
#[derive(Clone, PartialEq, Message)]
pub(crate) struct Operations {
    /// As [`policy::Verb::as_str`].
    #[prost(string, repeated, tag = "1")]
    pub(crate) verbs: Vec<String>,
    #[prost(string, repeated, tag = "2")]
    pub(crate) resources: Vec<String>,
}

/// Bytes; absent where that is not limited.
#[derive(Clone, PartialEq, Message)]
pub(crate) struct UploadLimits {
    #[prost(uint64, optional, tag = "1")]
    pub(crate) connection: Option<u64>,
    #[prost(uint64, optional, tag = "2")]
    pub(crate) hour: Option<u64>,
    #[prost(uint64, optional, tag = "3")]
    pub(crate) day: Option<u64>,
    #[prost(bool, tag = "4")]
    pub(crate) download_only: bool,
}

#[derive(Clone, PartialEq, Message)]
pub(crate) struct Object {
    #[prost(string, tag = "1")]
    pub(crate) kind: String,
    #[prost(string, tag = "2")]
    pub(crate) namespace: String,
    #[prost(string, tag = "3")]
    pub(crate) name: String,
}

#[derive(Clone, PartialEq, Message)]
pub(crate) struct Source {
    #[prost(string, tag = "1")]
    pub(crate) file: String,
    #[prost(uint32, tag = "2")]
    pub(crate) line: u32,
    #[prost(uint32, tag = "3")]
    pub(crate) column: u32,
}

/// A node asks for a certificate.
#[derive(Clone, PartialEq, Message)]
pub(crate) struct Enrolment {
    #[prost(string, tag = "1")]
    pub(crate) token: String,
    #[prost(bytes = "vec", tag = "2")]
    pub(crate) signing_request: Vec<u8>,
    /// For an authority of its own; empty: it wants none.
    #[prost(bytes = "vec", tag = "3")]
    pub(crate) inspection_request: Vec<u8>,
    /// The same, to be signed by the authority of a namespace. Not in place of the field above: a controller that does not know
    /// this one would answer in the name of the cluster's.
    #[prost(message, optional, tag = "4")]
    pub(crate) of_namespace: Option<OfNamespace>,
}

/// A signing request, for the authority of a namespace.
#[derive(Clone, PartialEq, Message)]
pub(crate) struct OfNamespace {
    #[prost(string, tag = "1")]
    pub(crate) namespace: String,
    #[prost(bytes = "vec", tag = "2")]
    pub(crate) signing_request: Vec<u8>,
}

/// The certificate, PEM.
#[derive(Clone, PartialEq, Message)]
pub(crate) struct Enrolled {
    #[prost(string, tag = "1")]
    pub(crate) certificate: String,
    /// Empty where none was asked for, there is none, or the controller does not know of such.
    #[prost(string, tag = "2")]
    pub(crate) inspection: String,
    /// Why it is empty.
    #[prost(string, tag = "3")]
    pub(crate) no_inspection: String,
}
