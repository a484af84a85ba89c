//! What the ledger keeps of one thing that happened, or of many alike.

use serde::{Deserialize, Serialize};
use std::sync::Arc;

/// What kind of thing happened.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Kind {
    /// A connection.
    Flow,
    /// A DNS query.
    Dns,
    /// A connection that was held to its name.
    Tls,
    /// A request.
    AiCall,
    /// Something that somebody should look at.
    Finding,
    /// Something that an operator did.
    Audit,
}

impl Kind {
    /// All of them, in the order of their numbers in the file.
    pub const ALL: [Self; 6] = [Self::Flow, Self::Dns, Self::Tls, Self::AiCall, Self::Finding, Self::Audit];

    /// As JSON has it.
    #[must_use]
    pub fn name(self) -> &'static str {
        match self {
            Self::Flow => "flow",
            Self::Dns => "dns",
            Self::Tls => "tls",
            Self::AiCall => "ai_call",
            Self::Finding => "finding",
            Self::Audit => "audit",
        }
    }

    pub(crate) fn number(self) -> i64 {
        self as i64
    }

    pub(crate) fn of_number(number: i64) -> Option<Self> {
        Self::ALL.into_iter().find(|kind| kind.number() == number)
    }
}

/// How it was decided.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Verdict {
    /// It was let through.
    Allow,
    /// It was not.
    Deny,
    /// It could not be done, whatever policy says.
    Fail,
    /// There was nothing to decide.
    None,
}

impl Verdict {
    const ALL: [Self; 4] = [Self::Allow, Self::Deny, Self::Fail, Self::None];

    /// As JSON has it.
    #[must_use]
    pub fn name(self) -> &'static str {
        match self {
            Self::Allow => "allow",
            Self::Deny => "deny",
            Self::Fail => "fail",
            Self::None => "none",
        }
    }

    pub(crate) fn number(self) -> i64 {
        self as i64
    }

    pub(crate) fn of_number(number: i64) -> Option<Self> {
        Self::ALL.into_iter().find(|verdict| verdict.number() == number)
    }
}

/// One thing that happened. Without a `detail` it is one of many: those of the same 15 seconds that differ in nothing but
/// time and amounts become one entry.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Entry {
    /// When, in microseconds since 1970, UTC.
    pub time: u64,
    /// What kind.
    pub kind: Kind,
    /// How it was decided.
    pub verdict: Verdict,
    /// The enforcement point.
    pub node: Arc<str>,
    /// Who: a workload as `namespace/name`, or an address.
    pub source: Arc<str>,
    /// To whom: a workload, a domain name, or an address; empty where there is none.
    pub destination: Arc<str>,
    /// Destination port; 0 where there is none.
    pub port: u16,
    /// Number of the transport protocol; 0 where there is none.
    pub protocol: u8,
    /// The rule that decided, with the place where it was written; empty where none did.
    pub rule: Arc<str>,
    /// Why, from the closed table of whoever decided.
    pub reason: Arc<str>,
    /// How many.
    pub count: u64,
    /// Bytes that the source sent.
    pub sent: u64,
    /// Bytes that it received.
    pub received: u64,
    /// The whole record as JSON.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub detail: Option<String>,
}

impl Entry {
    /// Bytes of its texts.
    #[must_use]
    pub fn bytes(&self) -> usize {
        let Self { node, source, destination, rule, reason, detail, .. } = self;
        let words: usize = [node, source, destination, rule, reason].into_iter().map(|text| text.len()).sum();
        words + detail.as_ref().map_or(0, String::len)
    }

    /// One of this kind about which nothing else is known.
    #[must_use]
    pub fn new(kind: Kind, verdict: Verdict) -> Self {
        let nothing: Arc<str> = "".into();
        Self {
            time: 0,
            kind,
            verdict,
            node: Arc::clone(&nothing),
            source: Arc::clone(&nothing),
            destination: Arc::clone(&nothing),
            port: 0,
            protocol: 0,
            rule: Arc::clone(&nothing),
            reason: nothing,
            count: 1,
            sent: 0,
            received: 0,
            detail: None,
        }
    }
}
