//! `networking.k8s.io/v1` NetworkPolicy, as written, with the API server's validation.

use crate::diagnostic::Position;
use crate::meta::{Located, ObjectMeta};
use crate::pod::{PortRef, Protocol};
use crate::selector::LabelSelector;
use ipnet::IpNet;

/// A NetworkPolicy.
///
/// When it is `broken`, what could be read is there, so that the pods it may select can be closed; its rules must
/// not be applied.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct NetworkPolicy {
    /// Metadata.
    pub meta: ObjectMeta,
    /// Where.
    pub position: Position,
    /// An error was reported; the policy cannot be applied as written.
    pub broken: bool,
    /// Pods of the policy's namespace. Left out means all, which is the empty selector. `None`: it could not be read.
    pub pod_selector: Option<LabelSelector>,
    /// `policyTypes`.
    pub policy_types: PolicyTypes,
    /// `spec.ingress`. Left out and empty are the same.
    pub ingress: Section<NetworkPolicyRule>,
    /// `spec.egress`. Left out and empty are the same.
    pub egress: Section<NetworkPolicyRule>,
}

/// `policyTypes` of a NetworkPolicy.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum PolicyTypes {
    /// Left out or empty: the API server's default applies (Ingress; Egress if there is an egress rule).
    Defaulted,
    /// As listed.
    Listed {
        /// `Ingress` is listed.
        ingress: bool,
        /// `Egress` is listed.
        egress: bool,
    },
    /// Could not be read: it may be either or both.
    Unreadable,
}

/// The rules of one direction.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Section<R> {
    /// Rules that could be read. In a policy that is not broken, all of them, in order.
    pub rules: Vec<R>,
    /// The section has at least one entry, or could not be read.
    pub written: bool,
}

impl<R> Default for Section<R> {
    fn default() -> Self {
        Self { rules: Vec::new(), written: false }
    }
}

/// One ingress or egress rule.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct NetworkPolicyRule {
    /// Where.
    pub position: Position,
    /// `from` or `to`. Empty: everyone.
    pub peers: Vec<Located<NetworkPolicyPeer>>,
    /// Empty: all ports and protocols.
    pub ports: Vec<Located<NetworkPolicyPort>>,
}

/// One entry of `from` or `to`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum NetworkPolicyPeer {
    /// At least one of the two is there.
    Selectors {
        /// `podSelector`
        pods: Option<LabelSelector>,
        /// `namespaceSelector`. Left out: the policy's own namespace.
        namespaces: Option<LabelSelector>,
    },
    /// `ipBlock`
    Block {
        /// `cidr`, host bits cleared.
        cidr: IpNet,
        /// `except`, host bits cleared.
        except: Vec<IpNet>,
    },
    /// No known field. Must never be read as "everyone".
    Unknown {
        /// Fields that were there.
        fields: Vec<String>,
    },
}

/// One entry of `ports`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct NetworkPolicyPort {
    /// TCP if not written.
    pub protocol: Protocol,
    /// `None`: every port of the protocol.
    pub port: Option<PortRef>,
    /// Last port of a range; only with a number, and not below it.
    pub end_port: Option<u16>,
}
