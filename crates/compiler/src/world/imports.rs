//! Which pods are behind a service of all clusters.
//!
//! Enters: EndpointSlices that an implementation of the Multi-Cluster Services API imported (KEP-1645), the services that rules
//! name, and pods. Leaves: pods that carry a label for each such service that has them as an endpoint. Guarantees: behind a service
//! of a namespace are only pods of the namespace of that name, here and in other clusters, whatever addresses its slices have: whoever may write
//! slices chooses among those; no pod claims such a label itself. Does not: ask whether an endpoint is ready, or of which cluster a
//! slice says it is, for an address is one pod's.

use super::Sorted;
use crate::convert::Context;
use crds::EgressPeer;
use policy::{Labels, Pod};
use std::collections::{BTreeSet, HashMap};
use std::net::IpAddr;
use std::ops::Bound;
use std::sync::Arc;

/// What keys of labels begin with that mark the endpoints of a service.
const LABEL: &str = "serviceimport.cofferdam.dev/";

/// What names of services of all clusters end with (KEP-1645, "DNS").
const ZONE: &str = ".svc.clusterset.local";

/// Namespace and name of the service of all clusters whose own name in DNS this is.
pub(crate) fn service_of(domain: &str) -> Option<(&str, &str)> {
    let (name, namespace) = domain.strip_suffix(ZONE)?.split_once('.')?;
    let is_label = |it: &str| !it.is_empty() && !it.contains(['.', '*']);
    (is_label(name) && is_label(namespace)).then_some((namespace, name))
}

/// The label of pods that are behind a service of this name.
pub(crate) fn imported_label(service: &str) -> String {
    format!("{LABEL}{service}")
}

/// Services that rules name, by namespace and address of an endpoint.
#[derive(Default)]
pub(super) struct Imports<'o>(HashMap<&'o str, HashMap<IpAddr, BTreeSet<&'o Arc<str>>>>);

impl<'o> Imports<'o> {
    pub(super) fn new(sorted: &Sorted<'o>) -> Self {
        let peers =
            sorted.egress.iter().copied().flat_map(|it| &it.egress.rules).flat_map(|rule| &rule.peers);
        let mut named: BTreeSet<(&str, &str)> = BTreeSet::new();
        for peer in peers {
            match &peer.value {
                EgressPeer::ServiceImport(service) => {
                    named.insert((&service.namespace, &service.name));
                }
                EgressPeer::Domains(domains) => named.extend(domains.iter().filter_map(|it| service_of(it))),
                EgressPeer::Provider(_) | EgressPeer::Networks(_) | EgressPeer::Clusters(_) => {}
            }
        }
        let mut imports = Self::default();
        for slice in &sorted.imported {
            let Some(service) = &slice.imported else { continue };
            let namespace = &*slice.meta.namespace;
            if named.contains(&(namespace, &**service)) {
                let by_address = imports.0.entry(namespace).or_default();
                for address in slice.endpoints.iter().flat_map(|it| &it.addresses) {
                    by_address.entry(*address).or_default().insert(service);
                }
            }
        }
        imports
    }

    /// Marks pods of this cluster.
    pub(super) fn mark_here(&self, context: &mut Context, pods: &mut [Arc<Pod>]) {
        if self.0.is_empty() {
            return;
        }
        for pod in pods.iter_mut().filter(|pod| !pod.host_network) {
            let namespace = pod.namespace.clone();
            for service in self.mark(context, &namespace, pod) {
                context.imported_here.insert((namespace.clone(), service));
            }
        }
    }

    /// Marks a pod of another cluster. `namespace`: its own, as it is called there.
    pub(super) fn mark_elsewhere(&self, context: &mut Context, namespace: &Arc<str>, pod: &mut Arc<Pod>) {
        for service in self.mark(context, namespace, pod) {
            context.imported_elsewhere.insert((namespace.clone(), service));
        }
    }

    fn mark(&self, context: &mut Context, namespace: &str, pod: &mut Arc<Pod>) -> Vec<Arc<str>> {
        let by_address = self.0.get(namespace);
        let of = |address: &IpAddr| by_address?.get(address);
        let services: BTreeSet<&Arc<str>> = pod.addresses.iter().filter_map(of).flatten().copied().collect();
        if services.is_empty() && !claims(&pod.labels) {
            return Vec::new();
        }
        let mut labels = (*pod.labels.0).clone();
        labels.retain(|key, _| !key.starts_with(LABEL));
        labels.extend(services.iter().map(|it| (imported_label(it).into(), "true".into())));
        Arc::make_mut(pod).labels = context.interner.labels(labels);
        services.into_iter().cloned().collect()
    }
}

/// Whether there is a label that only this marks pods with.
fn claims(labels: &Labels) -> bool {
    let mut from = labels.0.range::<str, _>((Bound::Included(LABEL), Bound::Unbounded));
    from.next().is_some_and(|(key, _)| key.starts_with(LABEL))
}
