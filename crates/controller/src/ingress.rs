//! What an ingress gateway goes by, from an API server.
//!
//! Enters: a client. Leaves: every object that says something of it, as [`crate::follow`] has them. Does not: route or judge.

mod events;
mod merge;
mod policies;
mod serves;
mod stands;
#[cfg(test)]
mod tests;
mod write;

pub use crate::follow::{Known, Seen};
pub use serves::Serves;
pub use stands::{Faults, Lacks, Stands, Told, Unserved};
pub use write::{Candidate, Writing, run as write};

use crate::definition::{GROUP, VERSION};
use crate::watch::Watched;
use kube::Client;
use kube::core::{ApiResource, GroupVersionKind};
use tokio::sync::watch as latest;

const GATEWAY_API: &str = "gateway.networking.k8s.io";
const INFERENCE: &str = "inference.networking.k8s.io";
/// Of all Secrets only these come over the wire.
const TLS_SECRETS: &str = "type=kubernetes.io/tls";

/// Group, version, kind, plural, and whether it is an add-on.
const KINDS: [([&str; 4], bool); 15] = [
    (["", "v1", "Namespace", "namespaces"], false),
    (["", "v1", "Pod", "pods"], false),
    (["", "v1", "Service", "services"], false),
    (["", "v1", "Secret", "secrets"], false),
    (["discovery.k8s.io", "v1", "EndpointSlice", "endpointslices"], false),
    ([GATEWAY_API, "v1", "GatewayClass", "gatewayclasses"], true),
    ([GATEWAY_API, "v1", "Gateway", "gateways"], true),
    ([GATEWAY_API, "v1", "HTTPRoute", "httproutes"], true),
    ([GATEWAY_API, "v1", "GRPCRoute", "grpcroutes"], true),
    ([GATEWAY_API, "v1", "TLSRoute", "tlsroutes"], true),
    ([GATEWAY_API, "v1", "ReferenceGrant", "referencegrants"], true),
    ([INFERENCE, "v1", "InferencePool", "inferencepools"], true),
    ([GROUP, VERSION, "InferencePolicy", "inferencepolicies"], true),
    ([GATEWAY_API, "v1", "BackendTLSPolicy", "backendtlspolicies"], true),
    (["", "v1", "ConfigMap", "configmaps"], false),
];
/// Kinds whose status is written.
const WITH_STATUS: [&str; 8] = [
    "GatewayClass",
    "Gateway",
    "HTTPRoute",
    "GRPCRoute",
    "TLSRoute",
    "InferencePolicy",
    "InferencePool",
    "BackendTLSPolicy",
];

/// A kind, by its place in [`KINDS`], and which of several watches of it: Secrets have one for each of their namespaces.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
struct Served(&'static ([&'static str; 4], bool), usize);

impl Watched for Served {
    fn resource(self) -> ApiResource {
        let [group, version, kind, plural] = self.0.0;
        ApiResource::from_gvk_with_plural(&GroupVersionKind::gvk(group, version, kind), plural)
    }

    fn plural(self) -> &'static str {
        let [_, _, _, plural] = self.0.0;
        plural
    }

    fn is_optional(self) -> bool {
        self.0.1
    }

    fn has_annotations(self) -> bool {
        false
    }

    fn selector(self) -> Option<&'static str> {
        (self.plural() == "secrets").then_some(TLS_SECRETS)
    }
}

/// Kinds whose status is written.
fn with_status() -> impl Iterator<Item = Served> {
    KINDS.iter().map(|kind| Served(kind, 0)).filter(|it| WITH_STATUS.contains(&it.kind()))
}

impl Served {
    fn kind(self) -> &'static str {
        let [_, _, kind, _] = self.0.0;
        kind
    }
}

/// Follows an API server until the future is dropped. `secrets`: the namespaces whose Secrets are read; none: all.
pub async fn follow(client: Client, secrets: &[String], known: latest::Sender<Known>) {
    crate::follow::follow(client, watches(secrets), known).await;
}

/// What is watched, and in which namespace; `None`: in all.
fn watches(secrets: &[String]) -> Vec<(Served, Option<String>)> {
    let mut watches = Vec::new();
    for kind in KINDS.iter().map(|kind| Served(kind, 0)) {
        if kind.plural() == "secrets" && !secrets.is_empty() {
            let of = |(at, namespace): (usize, &String)| (Served(kind.0, at), Some(namespace.clone()));
            watches.extend(secrets.iter().enumerate().map(of));
        } else {
            watches.push((kind, None));
        }
    }
    watches
}
