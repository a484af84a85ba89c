//! `policy.networking.k8s.io`: ClusterNetworkPolicy v1alpha2, and the shape its v1alpha1 dialect
//! (AdminNetworkPolicy, BaselineAdminNetworkPolicy) is read into as well.

use crate::diagnostic::Position;
use crate::meta::{Located, ObjectMeta};
use crate::network_policy::Section;
use crate::pod::Protocol;
use crate::selector::LabelSelector;
use ipnet::IpNet;
use std::sync::Arc;

/// A cluster-wide policy of any of the three kinds.
///
/// When it is `broken`, what could be read is there, so that the pods it may select can be closed; its rules must
/// not be applied.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ClusterPolicy {
    /// Which kind it was written as.
    pub kind: ClusterPolicyKind,
    /// Metadata.
    pub meta: ObjectMeta,
    /// Where.
    pub position: Position,
    /// An error was reported; the policy cannot be applied as written.
    pub broken: bool,
    /// `None`: it could not be read.
    pub tier: Option<Tier>,
    /// 0 to 1000; 0 for a BaselineAdminNetworkPolicy. `None`: it could not be read.
    pub priority: Option<u16>,
    /// `None`: it could not be read.
    pub subject: Option<Subject>,
    /// `spec.ingress`
    pub ingress: Section<ClusterRule>,
    /// `spec.egress`
    pub egress: Section<ClusterRule>,
}

/// Which kind a cluster-wide policy was written as.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum ClusterPolicyKind {
    /// `policy.networking.k8s.io/v1alpha2`
    ClusterNetworkPolicy,
    /// `policy.networking.k8s.io/v1alpha1`
    AdminNetworkPolicy,
    /// `policy.networking.k8s.io/v1alpha1`
    BaselineAdminNetworkPolicy,
}

impl ClusterPolicyKind {
    /// The kind as written in a manifest.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::ClusterNetworkPolicy => "ClusterNetworkPolicy",
            Self::AdminNetworkPolicy => "AdminNetworkPolicy",
            Self::BaselineAdminNetworkPolicy => "BaselineAdminNetworkPolicy",
        }
    }
}

/// `spec.tier`
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Tier {
    /// Before NetworkPolicy.
    Admin,
    /// After NetworkPolicy.
    Baseline,
}

/// `spec.subject`: which pods.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Subject {
    /// All pods of these namespaces.
    Namespaces(LabelSelector),
    /// These pods.
    Pods {
        /// In these namespaces; left out means all.
        namespaces: LabelSelector,
        /// With these labels.
        pods: LabelSelector,
    },
}

/// One ingress or egress rule.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ClusterRule {
    /// Where.
    pub position: Position,
    /// Its own name, if it has one.
    pub name: Option<Arc<str>>,
    /// What it does.
    pub action: RuleAction,
    /// `from` or `to`; at least one in a policy that is not broken.
    pub peers: Vec<Located<ClusterPeer>>,
    /// `protocols` (`ports` in v1alpha1). Empty: all traffic.
    pub ports: Vec<Located<ClusterPort>>,
}

/// What a rule does.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum RuleAction {
    /// `Accept` (`Allow` in v1alpha1).
    Accept,
    /// `Deny`
    Deny,
    /// `Pass`
    Pass,
}

/// One entry of `from` or `to`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum ClusterPeer {
    /// All pods of these namespaces.
    Namespaces(LabelSelector),
    /// These pods.
    Pods {
        /// In these namespaces; left out means all.
        namespaces: LabelSelector,
        /// With these labels.
        pods: LabelSelector,
    },
    /// Any address in these blocks, host bits cleared; egress only.
    Networks(Vec<IpNet>),
    /// Nodes with these labels; egress only.
    Nodes(LabelSelector),
    /// Names or `*.` patterns, checked and in lower case without a trailing dot; egress `Accept` only.
    DomainNames(Vec<Arc<str>>),
    /// No known field, as a newer version of the API may bring. The rule must fail closed.
    Unknown {
        /// Fields that were there.
        fields: Vec<String>,
    },
}

/// One entry of `protocols` or `ports`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum ClusterPort {
    /// Ports `first` to `last`, both included.
    Numbers {
        /// Protocol.
        protocol: Protocol,
        /// First port.
        first: u16,
        /// Last port.
        last: u16,
    },
    /// A container port by name, with whatever protocol it has.
    Named(Arc<str>),
}
