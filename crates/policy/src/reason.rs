//! Why. One closed table: evaluators, records, metrics and documentation all use these.

use crate::decide::Verdict;
use serde::{Deserialize, Serialize};
use std::fmt;

/// Why one direction of an access was judged as it was.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Reason {
    /// No policy decides this direction, and the API's default is allow.
    NoPolicy,
    /// This end is not a pod with a network of its own, so no policy can select it.
    NotSubject,
    /// A pod reached itself.
    SameEndpoint,
    /// Traffic between a pod and its own node.
    OwnNode,
    /// An Admin tier rule accepted it.
    AdminAccept,
    /// An Admin tier rule denied it.
    AdminDeny,
    /// A NetworkPolicy rule allows it.
    NetworkPolicyAllow,
    /// An EgressPolicy rule allows it.
    EgressPolicyAllow,
    /// An EgressPolicy rule denies it, whatever other policies of its tier allow.
    EgressPolicyDeny,
    /// NetworkPolicies or EgressPolicies isolate the pod and none of their rules allows it.
    Isolated,
    /// A Baseline tier rule accepted it.
    BaselineAccept,
    /// A Baseline tier rule denied it.
    BaselineDeny,
    /// The name is one that the pod may ask for.
    DnsNameAllow,
    /// The pod may only ask for names that are listed, and this one is not.
    DnsNameDeny,
    /// The pod may only ask resolvers that are listed, and this one is not.
    DnsResolverDeny,
    /// A policy that could select the pod could not be read; its scope is closed until it can.
    PolicyUnreadable,
    /// The pod is not managed yet: it has no policy, so nothing may pass.
    Unmanaged,
    /// The packet belongs to no connection the kernel tracks.
    Untracked,
}

impl Reason {
    /// Every reason, in a fixed order.
    pub const ALL: [Self; 18] = [
        Self::NoPolicy,
        Self::NotSubject,
        Self::SameEndpoint,
        Self::OwnNode,
        Self::AdminAccept,
        Self::AdminDeny,
        Self::NetworkPolicyAllow,
        Self::EgressPolicyAllow,
        Self::EgressPolicyDeny,
        Self::Isolated,
        Self::BaselineAccept,
        Self::BaselineDeny,
        Self::DnsNameAllow,
        Self::DnsNameDeny,
        Self::DnsResolverDeny,
        Self::PolicyUnreadable,
        Self::Unmanaged,
        Self::Untracked,
    ];

    /// The verdict that always comes with this reason.
    pub fn verdict(self) -> Verdict {
        match self {
            Self::NoPolicy
            | Self::NotSubject
            | Self::SameEndpoint
            | Self::OwnNode
            | Self::AdminAccept
            | Self::NetworkPolicyAllow
            | Self::EgressPolicyAllow
            | Self::BaselineAccept
            | Self::DnsNameAllow => Verdict::Allow,
            Self::AdminDeny
            | Self::EgressPolicyDeny
            | Self::Isolated
            | Self::BaselineDeny
            | Self::DnsNameDeny
            | Self::DnsResolverDeny
            | Self::PolicyUnreadable
            | Self::Unmanaged
            | Self::Untracked => Verdict::Deny,
        }
    }

    /// Short stable word for records and metrics.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::NoPolicy => "no-policy",
            Self::NotSubject => "not-subject",
            Self::SameEndpoint => "same-endpoint",
            Self::OwnNode => "own-node",
            Self::AdminAccept => "admin-accept",
            Self::AdminDeny => "admin-deny",
            Self::NetworkPolicyAllow => "network-policy-allow",
            Self::EgressPolicyAllow => "egress-policy-allow",
            Self::EgressPolicyDeny => "egress-policy-deny",
            Self::Isolated => "isolated",
            Self::BaselineAccept => "baseline-accept",
            Self::BaselineDeny => "baseline-deny",
            Self::DnsNameAllow => "dns-name-allow",
            Self::DnsNameDeny => "dns-name-deny",
            Self::DnsResolverDeny => "dns-resolver-deny",
            Self::PolicyUnreadable => "policy-unreadable",
            Self::Unmanaged => "unmanaged",
            Self::Untracked => "untracked",
        }
    }

    /// One sentence for a person.
    pub fn describe(self) -> &'static str {
        match self {
            Self::NoPolicy => "no policy decides this direction; the default is allow",
            Self::NotSubject => "this end is not a pod that a policy can select",
            Self::SameEndpoint => "a pod may always reach itself",
            Self::OwnNode => "traffic between a pod and its own node is always allowed",
            Self::AdminAccept => "accepted in the Admin tier",
            Self::AdminDeny => "denied in the Admin tier",
            Self::NetworkPolicyAllow => "allowed by a NetworkPolicy rule",
            Self::EgressPolicyAllow => "allowed by an EgressPolicy rule",
            Self::EgressPolicyDeny => {
                "denied by an EgressPolicy rule, which beats what others of its tier allow"
            }
            Self::Isolated => "isolated by a NetworkPolicy or an EgressPolicy, and no rule allows it",
            Self::BaselineAccept => "accepted in the Baseline tier",
            Self::BaselineDeny => "denied in the Baseline tier",
            Self::DnsNameAllow => "a name that the pod may ask for",
            Self::DnsNameDeny => "not among the names that the pod may ask for",
            Self::DnsResolverDeny => "not among the resolvers that the pod may ask",
            Self::PolicyUnreadable => {
                "a policy that may select this pod could not be read; its scope is closed"
            }
            Self::Unmanaged => "the pod is not managed yet, so nothing may pass",
            Self::Untracked => "the packet belongs to no tracked connection",
        }
    }
}

impl fmt::Display for Reason {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}
