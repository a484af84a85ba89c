//! Everything that policy is made of in a cluster, for who shows it and goes by it and enforces nothing.
//!
//! Enters: a client that may list and watch it. Leaves: the objects, as [`crate::follow`] has them. Does not: read keys or what is
//! known of other clusters, or compile.

use crate::Kind;
use crate::follow::Known;
use kube::Client;
use tokio::sync::watch as latest;

/// What is read.
const KINDS: [Kind; 11] = [
    Kind::Namespace,
    Kind::Node,
    Kind::Pod,
    Kind::NetworkPolicy,
    Kind::ClusterNetworkPolicy,
    Kind::AdminNetworkPolicy,
    Kind::BaselineAdminNetworkPolicy,
    Kind::EgressPolicy,
    Kind::ClusterEgressPolicy,
    Kind::DetectionPolicy,
    Kind::Containment,
];

/// Follows an API server until the future is dropped.
pub async fn follow(client: Client, known: latest::Sender<Known>) {
    crate::follow::follow(client, KINDS.map(|kind| (kind, None)).into(), known).await;
}
