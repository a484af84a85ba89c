//! What came of a transaction: whether it was interrupted, by which rule, and all that matched.

use std::sync::Arc;

use crate::rule::{Phase, RuleFacts};

/// Most matches that a report keeps; what is beyond is counted.
pub const MAX_MATCHES: usize = 1000;
/// Most values of one match.
pub const MAX_VALUES: usize = 16;
/// Bytes of a value that a report keeps.
pub const MAX_SHOWN: usize = 256;

/// Why a transaction goes no further.
#[derive(Debug, Clone, PartialEq, Eq)]
#[must_use]
pub struct Interruption {
    /// Who ended it.
    pub cause: Cause,
    /// Status of the answer that the client should get.
    pub status: u16,
    /// What should be done.
    pub action: Action,
    /// When.
    pub phase: Phase,
}

/// Who ended a transaction.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Cause {
    /// A rule, by its id.
    Rule(u64),
    /// A limit, named.
    Limit(Limit),
}

/// What should be done with an interrupted transaction.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Action {
    /// Answer with the status.
    Deny,
    /// Close the connection without an answer.
    Drop,
    /// Send the client to this URL.
    Redirect(Vec<u8>),
}

/// Limits that a transaction can reach.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum Limit {
    /// Arguments of query and body.
    Arguments,
    /// Bytes of all headers, or their number.
    Headers,
    /// Bytes of the request's body.
    RequestBody,
    /// Bytes of the answer's body.
    ResponseBody,
    /// Work of the rules.
    Budget,
    /// Entries of a collection that rules keep.
    Collection,
    /// A pattern that a rule makes of what it was sent, and that cannot be run.
    Pattern,
}

impl Limit {
    /// The name in reports.
    #[must_use]
    pub fn name(self) -> &'static str {
        match self {
            Self::Arguments => "arguments",
            Self::Headers => "headers",
            Self::RequestBody => "request-body",
            Self::ResponseBody => "response-body",
            Self::Budget => "budget",
            Self::Collection => "collection",
            Self::Pattern => "pattern",
        }
    }

    pub(super) fn status(self) -> u16 {
        match self {
            Self::RequestBody => 413,
            Self::Headers => 431,
            Self::Arguments => 400,
            Self::ResponseBody => 502,
            Self::Budget | Self::Collection | Self::Pattern => 403,
        }
    }
}

/// One rule that matched, all links of its chain.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Match {
    /// The rule.
    pub rule: Arc<RuleFacts>,
    /// Its message, variables filled in.
    pub message: Vec<u8>,
    /// Its data, variables filled in.
    pub data: Vec<u8>,
    /// Values that matched: name, such as `ARGS:id`, and the first [`MAX_SHOWN`] bytes after transformations.
    pub values: Vec<(Vec<u8>, Vec<u8>)>,
    /// Whether the rule asks to be written to a log.
    pub log: bool,
    /// Whether the rule asks for the transaction to be in an audit log.
    pub audit: bool,
}

/// Anomaly scores, as the Core Rule Set keeps them.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Scores {
    /// Of the request.
    pub inbound: i64,
    /// Of the answer.
    pub outbound: i64,
}

/// What came of a transaction.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Outcome {
    /// Set when the transaction must not go on.
    pub interruption: Option<Interruption>,
    /// Rules that matched, in the order in which they did.
    pub matched: Vec<Match>,
    /// Matches beyond [`MAX_MATCHES`].
    pub more_matched: u64,
    /// Limits that were reached, also where the engine only detects.
    pub limits: Vec<Limit>,
    /// Anomaly scores.
    pub scores: Scores,
    /// Whether an audit log should have the transaction.
    pub audit: bool,
    /// Which parts of it, as `SecAuditLogParts` names them.
    pub audit_parts: String,
}
