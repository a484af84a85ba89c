//! What is allowed. Everything else in Cofferdam either produces a [`PolicySet`] or asks it.
//!
//! Enters: who exists ([`World`]) and what was written ([`Policy`]). Leaves: a [`Decision`] for an [`Access`],
//! its explanation, and the compiled [`table::Table`] form that enforcement points look up.
//! Guarantees: pure (no clock, sockets, randomness, environment) and deterministic.
//! Does not: read manifests (`crds`), build tables (`compiler`) or touch packets (`datapath`).

pub mod access;
pub mod cel;
pub mod condition;
mod consumer;
pub mod contact;
pub mod decide;
pub mod detection;
pub mod dns;
pub mod domain;
pub mod explain;
mod glob;
pub mod inject;
pub mod intern;
pub mod key;
pub mod labels;
pub mod metadata;
mod money;
pub mod operation;
pub mod own_egress;
pub mod reason;
pub mod rule;
pub mod set;
pub mod table;
pub mod world;

pub use access::{Access, Direction, Endpoint, Party, Protocol};
pub use condition::{Arguments, ArgumentsFlaw, Condition, ToolCall, ToolCondition, Unmet};
pub use consumer::{Consumer, Known};
pub use contact::{Asks, Contact, HostedTools, Own, ProviderEgress, Whom};
pub use decide::{Decision, Judgement, Step, Verdict, decide, judging_rules};
pub use dns::{DnsRules, decide_question, decide_resolver, dns_rules};
pub use domain::{DnsName, DomainPattern, Outside};
pub use glob::Glob;
pub use inject::{ACCOUNT_LABEL, Inject, SecretRef, is_for_accounts, keys_of_accounts};
pub use key::{Key, KeyFlaw};
pub use labels::{Labels, Requirement, Selector};
pub use money::{Money, NANOS};
pub use operation::{
    AnswerFiles, Canaries, Capture, Credential, LeakAction, Leaks, Mismatch, Opaque, Operation, Operations,
    Quota, Quotas, Requests, Verb, WhenUnopened, judge_operation,
};
pub use own_egress::{OwnEgress, own_egress};
pub use reason::Reason;
pub use rule::{
    Action, CONTAINMENT, ClosedScope, Demand, Dns, DnsNames, DnsResolvers, NamespaceScope, ObjectRef, Order,
    Peer, Peers, Policy, PortMatch, Ports, Rule, RuleEntry, RuleId, Section, SourceRef, Subject, Tier,
    UploadLimits, order,
};
pub use set::{Generation, PolicySet};
pub use world::{
    Answers, CLUSTER_DNS, CLUSTER_LABEL, INSPECTION_LABEL, NamedPort, Namespace, Node, Pod, PodId, PodName,
    Resolved, WorkloadRef, World, cluster_of, namespace_elsewhere, wants_own_authority,
};
