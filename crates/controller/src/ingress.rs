//! What an ingress gateway goes by, from an API server.
//!
//! Enters: a client. Leaves: every object that says something of it, as soon as all kinds were read, and again whenever
//! one differs. Guarantees: nothing is seen half listed; while the API server is gone, what was read stays, and the kinds
//! whose watch fails, and those that the cluster does not have, are named. Does not: route or judge.

mod events;
mod merge;
mod policies;
mod stands;
#[cfg(test)]
mod tests;
mod write;

pub use stands::{Faults, Lacks, Stands, Told, Unserved};
pub use write::{Candidate, Writing, run as write};

use crate::definition::{GROUP, VERSION};
use crate::store::{Change, Collection};
use crate::watch::{Watched, watch};
use crate::{QUEUE, rest_of_burst};
use crds::{Diagnostic, Object, Read};
use kube::Client;
use kube::core::{ApiResource, GroupVersionKind};
use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;
use tokio::sync::{mpsc, watch as latest};

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

    /// Group and version, as in `apiVersion`.
    fn api_version(self) -> String {
        self.resource().api_version
    }

    fn plural(self) -> &'static str {
        let [_, _, _, plural] = self.0.0;
        plural
    }
}

/// What is there.
#[derive(Clone, Debug, Default)]
pub struct Seen {
    /// Every object, by kind and name.
    pub objects: Vec<Object>,
    /// What is wrong with them.
    pub diagnostics: Vec<Diagnostic>,
}

/// What is known of an API server.
#[derive(Clone, Debug, Default)]
pub struct Known {
    /// `None`: not everything was read yet.
    pub seen: Option<Arc<Seen>>,
    /// Watches that fail now, by the plural of their kind, and why.
    pub problems: BTreeMap<&'static str, String>,
    /// Add-ons that the cluster does not have, by the plural of their kind, and the `apiVersion` that is asked for. They are
    /// asked for again and again.
    pub missing: BTreeMap<&'static str, String>,
}

/// Follows an API server until the future is dropped. `secrets`: the namespaces whose Secrets are read; none: all.
pub async fn follow(client: Client, secrets: &[String], known: latest::Sender<Known>) {
    let (sender, mut changes) = mpsc::channel(QUEUE);
    let mut kinds: BTreeMap<Served, Collection<Read>> = BTreeMap::new();
    for (kind, namespace) in watches(secrets) {
        kinds.insert(kind, Collection::default());
        // Ends when the receiver goes with this future.
        tokio::spawn(watch(client.clone(), kind, namespace, sender.clone()));
    }
    let mut absent: BTreeSet<Served> = BTreeSet::new();
    while let Some((kind, change)) = changes.recv().await {
        let mut take = |kind: Served, change| {
            if change == Change::NoSuchKind {
                absent.insert(kind);
            } else if change == Change::ListEnds {
                absent.remove(&kind);
            }
            kinds.entry(kind).or_default().take(change, |read| read)
        };
        let differs = take(kind, change) | rest_of_burst(&mut changes, take).await;
        let failing = kinds.iter().filter_map(|(kind, of)| Some((kind.plural(), of.problem()?.clone())));
        let problems: BTreeMap<_, _> = failing.collect();
        let missing: BTreeMap<_, _> = absent.iter().map(|it| (it.plural(), it.api_version())).collect();
        let is_complete = kinds.values().all(Collection::is_known);
        let seen = (differs && is_complete).then(|| Arc::new(all(&kinds)));
        known.send_if_modified(|known| {
            let differs = seen.is_some() || known.problems != problems || known.missing != missing;
            (known.problems, known.missing) = (problems, missing);
            known.seen = seen.or(known.seen.take());
            differs
        });
    }
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

fn all(kinds: &BTreeMap<Served, Collection<Read>>) -> Seen {
    let mut seen = Seen::default();
    for read in kinds.values().flat_map(Collection::made) {
        seen.objects.extend(read.objects.iter().cloned());
        seen.diagnostics.extend(read.diagnostics.iter().cloned());
    }
    seen
}
