//! Everything that policy is made of in a cluster, for who shows it and goes by it and enforces nothing.
//!
//! Enters: a client that may list and watch it. Leaves: the objects, as [`crate::follow`] has them, and how policies stand. Does not:
//! read keys or what is known of other clusters, or compile.

use crate::Kind;
use crate::definition::PLURAL;
use crate::follow::Known;
use crate::watch::Watched;
use crate::write;
use kube::Client;
use kube::api::ApiResource;
use tokio::sync::watch as latest;

/// What is read.
const KINDS: [Shown; 12] = [
    Shown::Object(Kind::Namespace),
    Shown::Object(Kind::Node),
    Shown::Object(Kind::Pod),
    Shown::Object(Kind::NetworkPolicy),
    Shown::Object(Kind::ClusterNetworkPolicy),
    Shown::Object(Kind::AdminNetworkPolicy),
    Shown::Object(Kind::BaselineAdminNetworkPolicy),
    Shown::Object(Kind::EgressPolicy),
    Shown::Object(Kind::ClusterEgressPolicy),
    Shown::Object(Kind::DetectionPolicy),
    Shown::Object(Kind::Containment),
    Shown::Status,
];

/// A kind that is read.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
enum Shown {
    /// What policy is made of.
    Object(Kind),
    /// How NetworkPolicies stand.
    Status,
}

impl Watched for Shown {
    fn resource(self) -> ApiResource {
        match self {
            Self::Object(kind) => kind.resource(),
            Self::Status => write::resource(),
        }
    }

    fn plural(self) -> &'static str {
        match self {
            Self::Object(kind) => kind.plural(),
            Self::Status => PLURAL,
        }
    }

    fn is_optional(self) -> bool {
        match self {
            Self::Object(kind) => kind.is_optional(),
            Self::Status => true,
        }
    }

    fn has_annotations(self) -> bool {
        match self {
            Self::Object(kind) => kind.has_annotations(),
            Self::Status => false,
        }
    }

    fn labels(self) -> Option<&'static str> {
        match self {
            Self::Object(kind) => kind.labels(),
            Self::Status => None,
        }
    }

    // Policies are shown all the same.
    fn may_be_forbidden(self) -> bool {
        match self {
            Self::Object(kind) => kind.may_be_forbidden(),
            Self::Status => true,
        }
    }

    fn keeps_status(self) -> bool {
        match self {
            Self::Object(kind) => kind.is_policy(),
            Self::Status => true,
        }
    }

    fn status_in(self) -> Option<Self> {
        match self {
            Self::Object(kind) if kind.lacks_status() => Some(Self::Status),
            Self::Object(kind) => kind.is_policy().then_some(self),
            Self::Status => None,
        }
    }
}

/// Follows an API server until the future is dropped.
pub async fn follow(client: Client, known: latest::Sender<Known>) {
    crate::follow::follow(client, KINDS.map(|kind| (kind, None)).into(), known).await;
}
