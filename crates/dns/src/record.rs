//! What happened to a query, and counts of everything that has no record of its own.
//!
//! JSON of a record, one object each; fields that do not apply are left out, others are never renamed or removed:
//!
//! | field | meaning |
//! |---|---|
//! | `time` | RFC 3339, UTC, microseconds: when the query came |
//! | `generation` | state of policy that judged it; left out before there was one |
//! | `pod` | address that asked |
//! | `resolver` | address that was asked |
//! | `upstream` | resolver that answered, where one was asked for this or an earlier equal query |
//! | `transport` | `udp` or `tcp` |
//! | `name`, `type` | the question |
//! | `verdict` | `allow`, `deny`, or `fail`: it may be asked, and there was no answer |
//! | `reason` | why, from the closed table [`Reason`] |
//! | `rule` | the rule that allowed or denied, where one did |
//! | `rcode` | response code the pod got |
//! | `addresses`, `aliases` | what the answer leads to; the first 64 of each |
//! | `micros` | from the query to its answer |
//! | `learned` | the names lead this pod to these addresses in the kernel |
//! | `explicit` | true where the pod asked the explicit proxy to connect to the name, which asked in its stead |
//!
//! Does not: hold payload of other record types.

use crate::kind::{Rcode, RecordType};
use observe::Time;
use policy::Generation;
use serde::{Deserialize, Serialize};
use std::collections::BTreeMap;
use std::net::IpAddr;
use std::sync::Arc;

/// How a query came.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Transport {
    /// One datagram.
    Udp,
    /// On a connection.
    Tcp,
}

/// What became of a query.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Verdict {
    /// Answered.
    Allow,
    /// Refused.
    Deny,
    /// Allowed, and it could not be answered.
    Fail,
}

/// Why. One closed table: records, metrics and documentation take their words from here.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Reason {
    /// A resolver answered.
    Answered,
    /// The answer was kept from an earlier question.
    Cached,
    /// No resolver answered; the answer had been kept and has run out.
    Stale,
    /// Nobody is there to open addresses; those that are open already are the answer.
    Partial,
    /// No rule allows the name.
    Name,
    /// No rule allows the resolver.
    Resolver,
    /// Transfers and questions for everything.
    RecordType,
    /// The answer leads a public name to an address that is not public.
    Rebinding,
    /// The source is no pod of this node.
    UnknownPod,
    /// The pod asked too much.
    Rate,
    /// The query could not be read.
    Malformed,
    /// The proxy has not been told what holds.
    NotReady,
    /// Too many queries wait.
    Busy,
    /// No resolver answered in time.
    UpstreamSilent,
    /// A resolver could not be reached.
    UpstreamUnreachable,
    /// What a resolver answered cannot be read.
    UpstreamMalformed,
    /// The names could not be bound.
    LearnFailed,
    /// The names were not bound in time.
    LearnLate,
}

impl Reason {
    /// Every one.
    pub const ALL: [Self; 18] = [
        Self::Answered,
        Self::Cached,
        Self::Stale,
        Self::Partial,
        Self::Name,
        Self::Resolver,
        Self::RecordType,
        Self::Rebinding,
        Self::UnknownPod,
        Self::Rate,
        Self::Malformed,
        Self::NotReady,
        Self::Busy,
        Self::UpstreamSilent,
        Self::UpstreamUnreachable,
        Self::UpstreamMalformed,
        Self::LearnFailed,
        Self::LearnLate,
    ];

    /// What became of the query.
    pub fn verdict(self) -> Verdict {
        match self {
            Self::Answered | Self::Cached | Self::Stale | Self::Partial => Verdict::Allow,
            Self::Name
            | Self::Resolver
            | Self::RecordType
            | Self::Rebinding
            | Self::UnknownPod
            | Self::Rate => Verdict::Deny,
            Self::Malformed
            | Self::NotReady
            | Self::Busy
            | Self::UpstreamSilent
            | Self::UpstreamUnreachable
            | Self::UpstreamMalformed
            | Self::LearnFailed
            | Self::LearnLate => Verdict::Fail,
        }
    }

    /// Code of the extended error (RFC 8914) and response code that say so to the pod.
    pub fn codes(self) -> (Rcode, Option<u16>) {
        match self {
            Self::Answered | Self::Cached => (Rcode::NOERROR, None),
            Self::Stale | Self::Partial => (Rcode::NOERROR, Some(3)),
            Self::Name | Self::Rebinding => (Rcode::REFUSED, Some(15)),
            Self::Resolver | Self::RecordType | Self::UnknownPod | Self::Rate => (Rcode::REFUSED, Some(18)),
            Self::Malformed => (Rcode::FORMERR, None),
            Self::NotReady => (Rcode::SERVFAIL, Some(14)),
            Self::UpstreamSilent => (Rcode::SERVFAIL, Some(22)),
            Self::UpstreamUnreachable | Self::UpstreamMalformed => (Rcode::SERVFAIL, Some(23)),
            Self::Busy | Self::LearnFailed | Self::LearnLate => (Rcode::SERVFAIL, Some(0)),
        }
    }

    /// A sentence for people.
    pub fn describe(self) -> &'static str {
        match self {
            Self::Answered => "answered",
            Self::Cached => "answered from what was kept",
            Self::Stale => "no resolver answers: an older answer",
            Self::Partial => "the agent opens nothing now: what is open already",
            Self::Name => "no rule allows this name",
            Self::Resolver => "no rule allows this resolver",
            Self::RecordType => "this type is not answered here",
            Self::Rebinding => "a public name leads to an address that is not public",
            Self::UnknownPod => "no pod of this node",
            Self::Rate => "too many queries",
            Self::Malformed => "cannot be read",
            Self::NotReady => "no policy yet",
            Self::Busy => "too many queries wait",
            Self::UpstreamSilent => "no resolver answers",
            Self::UpstreamUnreachable => "the resolver cannot be reached",
            Self::UpstreamMalformed => "the resolver's answer cannot be read",
            Self::LearnFailed => "the address could not be opened",
            Self::LearnLate => "the address was not opened in time",
        }
    }
}

/// One query. See the module for its JSON.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Query {
    /// When it came.
    pub time: Time,
    /// State of policy.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub generation: Option<Generation>,
    /// Who asked.
    pub pod: IpAddr,
    /// Who was asked.
    pub resolver: IpAddr,
    /// Who answered.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub upstream: Option<IpAddr>,
    /// How it came.
    pub transport: Transport,
    /// Name asked for; as text, with what text cannot hold escaped.
    pub name: Arc<str>,
    /// Type asked for.
    #[serde(rename = "type")]
    pub kind: RecordType,
    /// What became of it.
    pub verdict: Verdict,
    /// Why.
    pub reason: Reason,
    /// The rule.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub rule: Option<Arc<str>>,
    /// Response code.
    pub rcode: Rcode,
    /// Addresses of the answer.
    #[serde(default, skip_serializing_if = "no_addresses")]
    pub addresses: Arc<[IpAddr]>,
    /// Aliases on the way to them.
    #[serde(default, skip_serializing_if = "no_aliases")]
    pub aliases: Arc<[Arc<str>]>,
    /// From the query to its answer.
    pub micros: u64,
    /// Whether the answer's names are bound for the pod.
    pub learned: bool,
    /// The pod did not ask itself: it asked the explicit proxy to connect there.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub explicit: bool,
}

fn no_addresses(addresses: &Arc<[IpAddr]>) -> bool {
    addresses.is_empty()
}

fn no_aliases(aliases: &Arc<[Arc<str>]>) -> bool {
    aliases.is_empty()
}

/// How many addresses and aliases a record holds.
pub(crate) const MAX_LISTED: usize = 64;

/// What happened since the proxy began.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Counters {
    /// Queries by reason; each is counted here, also those without a record.
    pub queries: BTreeMap<Reason, u64>,
    /// Datagrams that are no query, and queries of pods far beyond their rate: without an answer.
    pub dropped: u64,
    /// Datagrams from upstream that nobody waits for or that answer something else: late, or spoofed.
    pub stray: u64,
    /// Queries sent upstream.
    pub asked: u64,
    /// Bindings asked for.
    pub learned: u64,
    /// Records that could not be handed over.
    pub lost_records: u64,
    /// Answers that could not be sent.
    pub unsent: u64,
    /// Connections that were turned away.
    pub connections_refused: u64,
    /// Answers kept, now.
    pub cached: u64,
    /// Bindings known to be in force, now.
    pub known: u64,
    /// Queries that wait, now.
    pub waiting: u64,
}

impl Counters {
    pub(crate) fn count(&mut self, reason: Reason) {
        *self.queries.entry(reason).or_default() += 1;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_reason_is_listed_once_and_only_denials_are_refused() {
        for (index, reason) in Reason::ALL.into_iter().enumerate() {
            assert_eq!(reason as usize, index);
            let refused = reason.codes().0 == Rcode::REFUSED;
            assert_eq!(refused, reason.verdict() == Verdict::Deny, "{reason:?}");
        }
    }

    #[test]
    fn json_has_the_documented_fields() {
        let query = Query {
            time: Time(0),
            generation: None,
            pod: "10.0.0.1".parse().unwrap(),
            resolver: "10.96.0.10".parse().unwrap(),
            upstream: None,
            transport: Transport::Udp,
            name: "a.io".into(),
            kind: RecordType::A,
            verdict: Verdict::Deny,
            reason: Reason::UnknownPod,
            rule: None,
            rcode: Rcode::REFUSED,
            addresses: [].into(),
            aliases: [].into(),
            micros: 5,
            learned: false,
            explicit: false,
        };
        let expected = concat!(
            r#"{"time":"1970-01-01T00:00:00.000000Z","pod":"10.0.0.1","resolver":"10.96.0.10","transport":"udp","#,
            r#""name":"a.io","type":"A","verdict":"deny","reason":"unknown_pod","rcode":5,"micros":5,"learned":false}"#
        );
        let text = serde_json::to_string(&query).unwrap();
        assert_eq!(text, expected);
        assert_eq!(serde_json::from_str::<Query>(&text).unwrap(), query);
    }
}
