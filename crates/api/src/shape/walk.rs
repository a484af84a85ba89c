//! The way of an access through the tiers, as policy that is in force judges it.

use crate::shape::records::Nearest;
use schemars::JsonSchema;
use serde::Serialize;

/// How the policy in force now judges an access like the record's, tier by tier. What was in force then may have judged otherwise.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, JsonSchema)]
pub struct Walk {
    /// State of policy that it is judged by.
    pub generation: u64,
    /// `allow` or `deny`: of the question for a name and the connection; requests over it are judged by their rule.
    pub verdict: String,
    /// The question for a name first, then egress, then ingress; those that are judged here.
    pub sides: Vec<WalkSide>,
    /// Of what is denied, the rule that comes nearest to allowing it.
    pub nearest: Option<Nearest>,
}

/// One judgement.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, JsonSchema)]
pub struct WalkSide {
    /// `name`, `egress` or `ingress`.
    pub direction: String,
    /// At whom it is judged.
    pub subject: String,
    /// `allow` or `deny`.
    pub verdict: String,
    /// Why, for people.
    pub reason: String,
    /// Whether this one decides: the first that denies, else the last.
    pub decides: bool,
    /// In order.
    pub steps: Vec<WalkStep>,
}

/// One thing on the way.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, JsonSchema)]
pub struct WalkStep {
    /// `admin`, `network-policy` or `baseline`; left out before all tiers.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub tier: Option<String>,
    /// `closed`: what cannot be read closes it; `selects`: a policy selects the pod, and none of its rules matches; `matches`: a
    /// rule matches; `nothing`: the tier decides nothing.
    pub found: String,
    /// What the rule does: `accept`, `deny` or `pass`.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub action: Option<String>,
    /// The policy or the rule, with the place where it was written; empty where the tier decides nothing.
    pub text: String,
    /// Whether the judgement ends with it.
    pub decides: bool,
}
