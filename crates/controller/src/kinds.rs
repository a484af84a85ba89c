//! Which objects of an API server policy is made of.

use crate::definition::{GROUP, VERSION};
use crate::watch::Watched;
use kube::core::{ApiResource, GroupVersionKind};

/// A kind of object that is watched.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Kind {
    /// `v1`
    Namespace,
    /// `v1`
    Node,
    /// `v1`
    Pod,
    /// `networking.k8s.io/v1`
    NetworkPolicy,
    /// `policy.networking.k8s.io/v1alpha2`
    ClusterNetworkPolicy,
    /// `policy.networking.k8s.io/v1alpha1`
    AdminNetworkPolicy,
    /// `policy.networking.k8s.io/v1alpha1`
    BaselineAdminNetworkPolicy,
    /// `cofferdam.dev/v1alpha1`
    EgressPolicy,
    /// `cofferdam.dev/v1alpha1`
    ClusterEgressPolicy,
    /// `v1`, those whose keys may be put into requests. Watched only where [`crate::ProviderKeys`] says so.
    Secret,
    /// `cofferdam.dev/v1alpha1`; it says what detectors tell, and nothing of what is allowed.
    DetectionPolicy,
    /// `cofferdam.dev/v1alpha1`: pods that are cut off.
    Containment,
    /// `cofferdam.dev/v1alpha1`: pods of other clusters. Only those in the controller's own namespace count.
    IdentitySlice,
    /// `discovery.k8s.io/v1` EndpointSlices of services of all clusters, and of no other.
    ImportedSlice,
}

impl Kind {
    /// All of them.
    pub const ALL: [Self; 14] = [
        Self::Namespace,
        Self::Node,
        Self::Pod,
        Self::NetworkPolicy,
        Self::ClusterNetworkPolicy,
        Self::AdminNetworkPolicy,
        Self::BaselineAdminNetworkPolicy,
        Self::EgressPolicy,
        Self::ClusterEgressPolicy,
        Self::Secret,
        Self::DetectionPolicy,
        Self::Containment,
        Self::IdentitySlice,
        Self::ImportedSlice,
    ];

    fn names(self) -> [&'static str; 4] {
        let policy = "policy.networking.k8s.io";
        match self {
            Self::Namespace => ["", "v1", "Namespace", "namespaces"],
            Self::Node => ["", "v1", "Node", "nodes"],
            Self::Pod => ["", "v1", "Pod", "pods"],
            Self::NetworkPolicy => ["networking.k8s.io", "v1", "NetworkPolicy", "networkpolicies"],
            Self::ClusterNetworkPolicy => {
                [policy, "v1alpha2", "ClusterNetworkPolicy", "clusternetworkpolicies"]
            }
            Self::AdminNetworkPolicy => [policy, "v1alpha1", "AdminNetworkPolicy", "adminnetworkpolicies"],
            Self::BaselineAdminNetworkPolicy => {
                [policy, "v1alpha1", "BaselineAdminNetworkPolicy", "baselineadminnetworkpolicies"]
            }
            Self::EgressPolicy => [GROUP, VERSION, "EgressPolicy", "egresspolicies"],
            Self::ClusterEgressPolicy => [GROUP, VERSION, "ClusterEgressPolicy", "clusteregresspolicies"],
            Self::Secret => ["", "v1", "Secret", "secrets"],
            Self::DetectionPolicy => [GROUP, VERSION, "DetectionPolicy", "detectionpolicies"],
            Self::Containment => [GROUP, VERSION, "Containment", "containments"],
            Self::IdentitySlice => [GROUP, VERSION, "IdentitySlice", "identityslices"],
            Self::ImportedSlice => ["discovery.k8s.io", "v1", "EndpointSlice", "endpointslices"],
        }
    }

    /// As in its URL, for example `networkpolicies`.
    pub fn plural(self) -> &'static str {
        let [_, _, _, plural] = self.names();
        plural
    }

    /// Whether it has no status, and how it stands is written beside it.
    pub(crate) fn lacks_status(self) -> bool {
        self == Self::NetworkPolicy
    }

    /// Whether its objects say what is allowed.
    pub(crate) fn is_policy(self) -> bool {
        match self {
            Self::Namespace
            | Self::Node
            | Self::Pod
            | Self::Secret
            | Self::DetectionPolicy
            | Self::IdentitySlice
            | Self::ImportedSlice => false,
            Self::NetworkPolicy
            | Self::ClusterNetworkPolicy
            | Self::AdminNetworkPolicy
            | Self::BaselineAdminNetworkPolicy
            | Self::EgressPolicy
            | Self::ClusterEgressPolicy
            | Self::Containment => true,
        }
    }

    /// Whether how its objects stand is written.
    pub(crate) fn is_reported(self) -> bool {
        self.is_policy() || [Self::DetectionPolicy, Self::IdentitySlice].contains(&self)
    }

    /// How a client asks for it.
    pub fn resource(self) -> ApiResource {
        let [group, version, kind, plural] = self.names();
        ApiResource::from_gvk_with_plural(&GroupVersionKind::gvk(group, version, kind), plural)
    }
}

impl Watched for Kind {
    fn resource(self) -> ApiResource {
        Kind::resource(self)
    }

    fn plural(self) -> &'static str {
        Kind::plural(self)
    }

    fn is_optional(self) -> bool {
        match self {
            Self::Namespace
            | Self::Node
            | Self::Pod
            | Self::NetworkPolicy
            | Self::Secret
            | Self::ImportedSlice => false,
            Self::ClusterNetworkPolicy
            | Self::AdminNetworkPolicy
            | Self::BaselineAdminNetworkPolicy
            | Self::EgressPolicy
            | Self::ClusterEgressPolicy
            | Self::DetectionPolicy
            | Self::Containment
            | Self::IdentitySlice => true,
        }
    }

    fn has_annotations(self) -> bool {
        self.is_policy()
    }

    fn labels(self) -> Option<&'static str> {
        match self {
            // As `crds::INJECT_LABEL`.
            Self::Secret => Some("cofferdam.dev/inject=true"),
            Self::ImportedSlice => Some(crds::IMPORTED_SERVICE),
            _ => None,
        }
    }

    fn may_be_forbidden(self) -> bool {
        matches!(self, Self::Secret | Self::IdentitySlice | Self::ImportedSlice)
    }
}
