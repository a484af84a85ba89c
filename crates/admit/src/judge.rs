//! Whether a request may pass.

use crate::effective::{Effective, Source};
use crds::OperationClass;
use policy::Consumer;

/// What a request does.
#[derive(Clone, Copy, Debug)]
pub struct Facts<'a> {
    /// Of which class it is.
    pub class: OperationClass,
    /// What it asks: `policy::Operation::api`.
    pub operation: &'a str,
    /// The model that it names.
    pub model: Option<&'a str>,
    /// Tools that it calls by name.
    pub tools: &'a [String],
    /// As it was sent.
    pub method: &'a str,
    /// Without its query.
    pub path: &'a str,
    /// How many tokens go in, as estimated; `None`: not known.
    pub input_tokens: Option<u64>,
}

/// Whether it may pass, and by which rule.
#[derive(Clone, Debug, PartialEq, Eq)]
#[must_use]
pub struct Verdict {
    /// Why, and so whether.
    pub reason: Reason,
    /// The name of the rule that decides, if it has one.
    pub rule: Option<std::sync::Arc<str>>,
    /// The rule that decides, or what comes nearest. `None`: nothing was written.
    pub source: Option<Source>,
    /// A sentence, for a person.
    pub message: String,
}

/// Why.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Reason {
    /// A rule allows it.
    Allowed,
    /// There are no rules, and it is inference.
    AllowedByDefault,
    /// A rule denies it.
    Denied,
    /// A condition of a rule that denies cannot be told.
    ConditionUnknown,
    /// No rule allows it.
    NoRule,
    /// There are no rules, and it is no inference.
    NotInference,
    /// A policy that cannot be applied is attached here.
    Closed,
    /// No policy says who may ask.
    NoPolicy,
}

impl Reason {
    /// Whether the request may pass.
    pub fn is_allowed(self) -> bool {
        matches!(self, Self::Allowed | Self::AllowedByDefault)
    }

    /// A word in kebab-case, for machines.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Allowed => "allowed",
            Self::AllowedByDefault => "allowed-by-default",
            Self::Denied => "denied",
            Self::ConditionUnknown => "condition-unknown",
            Self::NoRule => "no-rule",
            Self::NotInference => "not-inference",
            Self::Closed => "policy-closed",
            Self::NoPolicy => "no-policy",
        }
    }

    /// For whom it is refused: 403, or 503 where a policy has to be mended first.
    pub fn status(self) -> u16 {
        match self {
            Self::Allowed | Self::AllowedByDefault => 200,
            Self::Denied | Self::ConditionUnknown | Self::NoRule | Self::NotInference | Self::NoPolicy => 403,
            Self::Closed => 503,
        }
    }
}

impl Effective {
    /// Whether this may pass.
    pub fn judge(&self, consumer: &Consumer, facts: &Facts<'_>) -> Verdict {
        let _ = (consumer, facts);
        Verdict { reason: Reason::NoPolicy, rule: None, source: None, message: "no policy".into() }
    }
}
