//! What an ingress gateway goes by, from an API server.
//!
//! Enters: a client. Leaves: every object that says something of it, as soon as all kinds were read, and again whenever
//! one differs. Guarantees: nothing is seen half listed; while the API server is gone, what was read stays, and the kinds
//! whose watch fails are named. Does not: route, judge, or write to the API server.

use crate::definition::{GROUP, VERSION};
use crate::store::Collection;
use crate::watch::{Watched, watch};
use crate::{QUEUE, rest_of_burst};
use crds::{Diagnostic, Object, Read};
use kube::Client;
use kube::core::{ApiResource, GroupVersionKind};
use std::collections::BTreeMap;
use std::sync::Arc;
use tokio::sync::{mpsc, watch as latest};

const GATEWAY_API: &str = "gateway.networking.k8s.io";
const INFERENCE: &str = "inference.networking.k8s.io";
/// Of all Secrets only these come over the wire.
const TLS_SECRETS: &str = "type=kubernetes.io/tls";

/// Group, version, kind, plural, and whether it is an add-on.
const KINDS: [([&str; 4], bool); 14] = [
    (["", "v1", "Namespace", "namespaces"], false),
    (["", "v1", "Pod", "pods"], false),
    (["", "v1", "Service", "services"], false),
    (["", "v1", "Secret", "secrets"], false),
    (["discovery.k8s.io", "v1", "EndpointSlice", "endpointslices"], false),
    ([GATEWAY_API, "v1", "GatewayClass", "gatewayclasses"], true),
    ([GATEWAY_API, "v1", "Gateway", "gateways"], true),
    ([GATEWAY_API, "v1", "HTTPRoute", "httproutes"], true),
    ([GATEWAY_API, "v1", "GRPCRoute", "grpcroutes"], true),
    ([GATEWAY_API, "v1", "ReferenceGrant", "referencegrants"], true),
    ([INFERENCE, "v1", "InferencePool", "inferencepools"], true),
    ([GROUP, VERSION, "InferencePolicy", "inferencepolicies"], true),
    ([GATEWAY_API, "v1", "BackendTLSPolicy", "backendtlspolicies"], true),
    (["", "v1", "ConfigMap", "configmaps"], false),
];

/// A kind, by its place in [`KINDS`].
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
struct Served(&'static ([&'static str; 4], bool));

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

impl Served {
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
}

/// Follows an API server until the future is dropped.
pub async fn follow(client: Client, known: latest::Sender<Known>) {
    let (sender, mut changes) = mpsc::channel(QUEUE);
    let mut kinds: BTreeMap<Served, Collection<Read>> = BTreeMap::new();
    for kind in KINDS.iter().map(Served) {
        kinds.insert(kind, Collection::default());
        // Ends when the receiver goes with this future.
        tokio::spawn(watch(client.clone(), kind, sender.clone()));
    }
    while let Some((kind, change)) = changes.recv().await {
        let mut take = |kind: Served, change| kinds.entry(kind).or_default().take(change, |read| read);
        let differs = take(kind, change) | rest_of_burst(&mut changes, take).await;
        let failing = kinds.iter().filter_map(|(kind, of)| Some((kind.plural(), of.problem()?.clone())));
        let problems: BTreeMap<_, _> = failing.collect();
        let is_complete = kinds.values().all(Collection::is_known);
        let seen = (differs && is_complete).then(|| Arc::new(all(&kinds)));
        known.send_if_modified(|known| {
            let differs = seen.is_some() || known.problems != problems;
            known.problems = problems;
            known.seen = seen.or(known.seen.take());
            differs
        });
    }
}

fn all(kinds: &BTreeMap<Served, Collection<Read>>) -> Seen {
    let mut seen = Seen::default();
    for read in kinds.values().flat_map(Collection::made) {
        seen.objects.extend(read.objects.iter().cloned());
        seen.diagnostics.extend(read.diagnostics.iter().cloned());
    }
    seen
}
