//! Whether a request may pass.
//!
//! Enters: what holds where it goes ([`Effective`]), who asks, and what ([`Facts`]). Leaves: a [`Verdict`]. Guarantees: rules
//! in their order; all conditions of a request together take at most [`MAX_STEPS`] steps; nothing of a token's claims, and
//! nothing of what tools are called with, is in what leaves. Does not: see the request itself.

use crate::effective::{Effective, Source};
use crate::rule::{Meant, Rule, values};
use crds::{InferenceAction, OperationClass};
use policy::cel::Budget;
use policy::condition::MAX_STEPS;
use policy::{Consumer, ToolCall};
use std::sync::Arc;

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
    /// What it calls them with, where rules ask for that: [`Effective::asks_for_arguments`].
    pub calls: &'a [ToolCall],
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
    pub rule: Option<Arc<str>>,
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
    /// A rule would allow it with other arguments of a tool, and none allows it with these.
    ToolArguments,
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
            Self::ToolArguments => "tool-arguments",
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
            Self::Denied
            | Self::ConditionUnknown
            | Self::ToolArguments
            | Self::NoRule
            | Self::NotInference
            | Self::NoPolicy => 403,
            Self::Closed => 503,
        }
    }
}

impl Effective {
    /// Whether a rule asks what tools are called with.
    pub fn asks_for_arguments(&self) -> bool {
        self.rules.iter().flat_map(|rules| rules.iter()).any(Rule::asks_for_arguments)
    }

    /// Whether this may pass: the first rule that is meant decides, and where none is, nothing passes.
    pub fn judge(&self, consumer: &Consumer, facts: &Facts<'_>) -> Verdict {
        if let Some(closed) = &self.closed {
            return Verdict::of(Reason::Closed, Some(&closed.source), closed.why.clone());
        }
        let Some((_, known_by)) = &self.authentication else {
            let message = "no InferencePolicy says who may ask here: write authentication in one".to_owned();
            return Verdict::of(Reason::NoPolicy, None, message);
        };
        match &self.rules {
            Some(rules) => by_rules(rules, consumer, facts),
            None if facts.class == OperationClass::Infer => {
                let message = "there are no rules, and whoever is known may ask models".to_owned();
                Verdict::of(Reason::AllowedByDefault, Some(known_by), message)
            }
            None => {
                let message =
                    format!("there are no rules, and what is of class {} needs one", facts.class.as_str());
                Verdict::of(Reason::NotInference, Some(known_by), message)
            }
        }
    }
}

fn by_rules(rules: &[Rule], consumer: &Consumer, facts: &Facts<'_>) -> Verdict {
    let mut budget = Budget::new(MAX_STEPS);
    let values = match rules.iter().any(Rule::has_condition) {
        true => values(consumer, facts),
        false => Vec::new(),
    };
    let mut nearest = None;
    for rule in rules {
        let reason = match (rule.is_meant(consumer, facts, &values, &mut budget), rule.action) {
            (Meant::No, _) | (Meant::Unknown(_), InferenceAction::Allow) => continue,
            (Meant::ButForArguments(unmet), InferenceAction::Allow) => {
                nearest = nearest.or(Some((rule, unmet)));
                continue;
            }
            (Meant::Yes, InferenceAction::Allow) => Reason::Allowed,
            (Meant::Yes | Meant::ButForArguments(_), InferenceAction::Deny) => Reason::Denied,
            (Meant::Unknown(why), InferenceAction::Deny) => {
                let message = format!("whether {} denies this cannot be told: {why}", rule.source);
                return Verdict::by(rule, Reason::ConditionUnknown, message);
            }
        };
        let does = if reason.is_allowed() { "allows" } else { "denies" };
        return Verdict::by(rule, reason, format!("{} {does} this", rule.source));
    }
    if let Some((rule, unmet)) = nearest {
        return Verdict::by(rule, Reason::ToolArguments, format!("by {} {unmet}", rule.source));
    }
    let message = format!(
        "no rule allows {:?} of class {} to {}",
        facts.operation,
        facts.class.as_str(),
        if consumer.name.is_empty() { "nobody in particular" } else { "this consumer" },
    );
    Verdict::of(Reason::NoRule, rules.first().map(|rule| &rule.source), message)
}

impl Verdict {
    fn of(reason: Reason, source: Option<&Source>, message: String) -> Self {
        Self { reason, rule: None, source: source.cloned(), message }
    }

    fn by(rule: &Rule, reason: Reason, message: String) -> Self {
        Self { reason, rule: rule.name.clone(), source: Some(rule.source.clone()), message }
    }
}
