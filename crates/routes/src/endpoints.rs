//! Who is behind a backend: addresses of pods.
//!
//! Enters: every object that was read. Leaves: addresses for each [`Target`]. Of a Service they are those of its
//! EndpointSlices, or without any those of the pods it selects; of an InferencePool, those of the pods it selects. Guarantees:
//! none is where a cloud hands out credentials: whoever may write an EndpointSlice would have the gateway ask for its own. Does
//! not: follow what changes; another set is built then. Does not ask an endpoint picker, the gateway does.

use crate::rule::{Resource, Target};
use crds::{GatewayApi, InferencePool, Object, Pod, PortRef, Protocol, Service};
use std::collections::{BTreeMap, BTreeSet, HashMap};
use std::net::{IpAddr, SocketAddr};
use std::sync::Arc;

/// Most endpoints of one backend.
pub const MOST_ENDPOINTS: usize = 10_000;

/// Addresses of every backend.
#[derive(Clone, Debug, Default)]
pub struct Endpoints {
    services: HashMap<(Resource, u16), Vec<SocketAddr>>,
    pools: HashMap<Resource, Vec<SocketAddr>>,
    /// Backends that have more endpoints than are asked.
    cut: Vec<String>,
    /// Endpoints that are nobody's to ask.
    barred: BTreeSet<String>,
}

type Slices<'o> = HashMap<Resource, Vec<&'o crds::EndpointSlice>>;

/// Pods that can be asked, by namespace and label: a selector looks at the fewest that it can mean.
#[derive(Default)]
struct Pods<'o> {
    by_label: HashMap<(&'o str, &'o str, &'o str), Vec<&'o Pod>>,
}

impl Endpoints {
    /// Of everything that was read.
    pub fn build(objects: &[Object]) -> Self {
        let (mut slices, mut pods) = (Slices::new(), Pods::default());
        for object in objects {
            match object {
                Object::Pod(pod) => pods.add(pod),
                Object::GatewayApi(GatewayApi::Slice(slice)) => {
                    let Some(name) = slice.service.clone() else { continue };
                    let service = Resource { namespace: slice.meta.namespace.clone(), name };
                    slices.entry(service).or_default().push(slice);
                }
                Object::Namespace(_)
                | Object::Node(_)
                | Object::Workload(_)
                | Object::Service(_)
                | Object::Ingress(_)
                | Object::InferencePolicy(_)
                | Object::DetectionPolicy(_)
                | Object::Containment(_)
                | Object::NetworkPolicy(_)
                | Object::ClusterPolicy(_)
                | Object::EgressPolicy(_)
                | Object::GatewayApi(_)
                | Object::IdentitySlice(_)
                | Object::KeySecret(_) => {}
            }
        }
        let mut endpoints = Self::default();
        for object in objects {
            if let Object::Service(service) = object {
                endpoints.add_service(service, &slices, &pods);
            } else if let Object::GatewayApi(GatewayApi::Pool(pool)) = object {
                endpoints.add_pool(pool, &pods);
            }
        }
        endpoints
    }

    /// Addresses of a backend, each once. Empty: nobody is there; answer 503.
    pub fn of(&self, target: &Target) -> &[SocketAddr] {
        let found = match target {
            Target::Service { service, port, is_h2: _ } => self.services.get(&(service.clone(), *port)),
            Target::Pool { pool, .. } => self.pools.get(pool),
            Target::Nobody(_) => None,
        };
        found.map(Vec::as_slice).unwrap_or_default()
    }

    /// Backends that have more than [`MOST_ENDPOINTS`], of which the others are not asked: kind, namespace, name and port.
    pub fn cut(&self) -> &[String] {
        &self.cut
    }

    /// Endpoints of backends that are not asked, for clouds hand out credentials there: backend and address.
    pub fn barred(&self) -> impl Iterator<Item = &str> {
        self.barred.iter().map(String::as_str)
    }

    fn add_service(&mut self, service: &Service, slices: &Slices<'_>, pods: &Pods<'_>) {
        let resource = resource(&service.meta);
        let slices = slices.get(&resource);
        for port in service.ports.iter().filter(|port| port.protocol == Protocol::Tcp) {
            let mut found: BTreeSet<SocketAddr> = match slices {
                Some(slices) => {
                    let name = port.name.as_deref().unwrap_or_default();
                    slices.iter().flat_map(|slice| of_slice(slice, name)).collect()
                }
                None => {
                    let selected = pods.selected(&service.meta.namespace, &service.selector);
                    selected.flat_map(|pod| of_pod(pod, number(pod, &port.target))).collect()
                }
            };
            found.retain(|endpoint| {
                let is_barred =
                    policy::metadata::asked(endpoint.ip(), policy::Protocol::TCP, endpoint.port()).is_some();
                if is_barred && self.barred.len() < MOST_ENDPOINTS {
                    self.barred
                        .insert(format!("Service {}/{}: {endpoint}", resource.namespace, resource.name));
                }
                !is_barred
            });
            if found.len() > MOST_ENDPOINTS {
                self.cut.push(format!("Service {}/{} port {}", resource.namespace, resource.name, port.port));
            }
            self.services.insert((resource.clone(), port.port), bounded(found));
        }
    }

    fn add_pool(&mut self, pool: &InferencePool, pods: &Pods<'_>) {
        if pool.broken.is_some() {
            return;
        }
        let selected = pods.selected(&pool.meta.namespace, &pool.selector);
        let found = selected.flat_map(|pod| pool.ports.iter().flat_map(move |port| of_pod(pod, Some(*port))));
        let found: BTreeSet<SocketAddr> = found.collect();
        if found.len() > MOST_ENDPOINTS {
            self.cut.push(format!("InferencePool {}/{}", pool.meta.namespace, pool.meta.name));
        }
        self.pools.insert(resource(&pool.meta), bounded(found));
    }
}

fn resource(meta: &crds::ObjectMeta) -> Resource {
    Resource { namespace: meta.namespace.clone(), name: meta.name.clone() }
}

fn bounded(found: BTreeSet<SocketAddr>) -> Vec<SocketAddr> {
    found.into_iter().take(MOST_ENDPOINTS).collect()
}

fn of_slice<'o>(slice: &'o crds::EndpointSlice, name: &'o str) -> impl Iterator<Item = SocketAddr> + 'o {
    let ports = slice.ports.iter().filter(move |(own, _)| **own == *name).map(|(_, port)| *port);
    ports.flat_map(|port| {
        let ready = slice.endpoints.iter().filter(|endpoint| endpoint.is_ready && !endpoint.is_terminating);
        ready.flat_map(move |endpoint| with_port(&endpoint.addresses, port))
    })
}

/// One address of a pod is enough: its others lead to the same one.
fn with_port(addresses: &[IpAddr], port: u16) -> Option<SocketAddr> {
    addresses.first().map(|address| SocketAddr::new(*address, port))
}

fn of_pod(pod: &Pod, port: Option<u16>) -> Option<SocketAddr> {
    with_port(&pod.addresses, port?)
}

fn number(pod: &Pod, port: &PortRef) -> Option<u16> {
    match port {
        PortRef::Number(number) => Some(*number),
        PortRef::Name(name) => {
            let named = |own: &&crds::ContainerPort| own.name.as_ref() == Some(name);
            pod.spec.ports().find(named).map(|own| own.port)
        }
    }
}

impl<'o> Pods<'o> {
    fn add(&mut self, pod: &'o Pod) {
        if pod.meta.deleting || pod.phase.is_completed() {
            return;
        }
        for (key, value) in &pod.meta.labels {
            self.by_label.entry((&pod.meta.namespace, key, value)).or_default().push(pod);
        }
    }

    /// An empty selector selects nobody: so it is for Services.
    fn selected<'p>(
        &'p self,
        namespace: &'p str,
        selector: &'p BTreeMap<Arc<str>, Arc<str>>,
    ) -> impl Iterator<Item = &'o Pod> + 'p {
        let with = |(key, value): (&'p Arc<str>, &'p Arc<str>)| {
            self.by_label.get(&(namespace, key, value)).map(Vec::as_slice).unwrap_or_default()
        };
        let fewest = selector.iter().map(with).min_by_key(|pods| pods.len()).unwrap_or_default();
        let has_all =
            |pod: &&Pod| selector.iter().all(|(key, value)| pod.meta.labels.get(key) == Some(value));
        fewest.iter().copied().filter(has_all)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use policy::metadata::At;

    const OBJECTS: &str = "
{apiVersion: v1, kind: Service, metadata: {name: sliced, namespace: x}, spec: {selector: {app: a}, ports: [{name: web, port: 80}]}}
---
{apiVersion: discovery.k8s.io/v1, kind: EndpointSlice, metadata: {name: s1, namespace: x, labels: {kubernetes.io/service-name: sliced}},
 addressType: IPv4, ports: [{name: web, port: 8080}, {name: other, port: 9}],
 endpoints: [{addresses: [10.0.0.1]}, {addresses: [10.0.0.2], conditions: {ready: false}},
  {addresses: [10.0.0.3], conditions: {ready: true, terminating: true}}, {addresses: [10.0.0.4], conditions: {ready: true}}]}
---
{apiVersion: v1, kind: Service, metadata: {name: plain, namespace: x}, spec: {selector: {app: a}, ports: [{port: 80, targetPort: api}]}}
---
{apiVersion: v1, kind: Service, metadata: {name: bare, namespace: x}, spec: {ports: [{port: 80}]}}
---
{apiVersion: inference.networking.k8s.io/v1, kind: InferencePool, metadata: {name: pool, namespace: x},
 spec: {selector: {matchLabels: {app: a, tier: gpu}}, targetPorts: [{number: 8000}, {number: 8001}], endpointPickerRef: {name: p, port: {number: 9002}}}}
---
{apiVersion: v1, kind: Pod, metadata: {name: p1, namespace: x, labels: {app: a, tier: gpu}}, status: {phase: Running, podIP: 10.0.1.1},
 spec: {containers: [{name: c, ports: [{name: api, containerPort: 7000}]}]}}
---
{apiVersion: v1, kind: Pod, metadata: {name: p2, namespace: x, labels: {app: a}}, status: {phase: Running, podIP: 10.0.1.2},
 spec: {containers: [{name: c, ports: [{name: api, containerPort: 7001}]}]}}
---
{apiVersion: v1, kind: Pod, metadata: {name: p3, namespace: x, labels: {app: a, tier: gpu}}, status: {phase: Failed, podIP: 10.0.1.3}, spec: {containers: [{name: c}]}}
---
{apiVersion: v1, kind: Pod, metadata: {name: p4, namespace: y, labels: {app: a, tier: gpu}}, status: {phase: Running, podIP: 10.0.1.4}, spec: {containers: [{name: c}]}}
";

    #[test]
    fn endpoints_are_those_that_can_be_asked() {
        let read = crds::read_objects("t.yaml", OBJECTS.as_bytes());
        assert!(read.diagnostics.is_empty(), "{:?}", read.diagnostics);
        let endpoints = Endpoints::build(&read.objects);
        let resource = |name: &str| Resource { namespace: "x".into(), name: name.into() };
        let service = |name: &str| Target::Service { service: resource(name), port: 80, is_h2: false };
        for (target, expected) in [
            (service("sliced"), vec!["10.0.0.1:8080", "10.0.0.4:8080"]),
            (service("plain"), vec!["10.0.1.1:7000", "10.0.1.2:7001"]),
            (service("bare"), vec![]),
            (service("missing"), vec![]),
            (Target::Pool { pool: resource("pool"), is_h2: false }, vec!["10.0.1.1:8000", "10.0.1.1:8001"]),
        ] {
            let found: Vec<String> = endpoints.of(&target).iter().map(ToString::to_string).collect();
            assert_eq!(found, expected, "{target:?}");
        }
    }

    #[test]
    fn no_endpoint_is_where_a_cloud_hands_out_credentials() {
        for place in policy::metadata::PLACES {
            let ports: &[u16] = match place.ports {
                At::EveryPort => &[8080],
                At::Tcp(ports) => ports,
            };
            for port in ports {
                let text = format!(
                    "
{{apiVersion: v1, kind: Service, metadata: {{name: s, namespace: x}}, spec: {{ports: [{{name: web, port: 80}}]}}}}
---
{{apiVersion: discovery.k8s.io/v1, kind: EndpointSlice, metadata: {{name: s1, namespace: x, labels: {{kubernetes.io/service-name: s}}}},
 addressType: {}, ports: [{{name: web, port: {port}}}], endpoints: [{{addresses: [\"{}\"]}}]}}
",
                    if place.address.is_ipv4() { "IPv4" } else { "IPv6" },
                    place.address
                );
                let read = crds::read_objects("t.yaml", text.as_bytes());
                assert!(read.diagnostics.is_empty(), "{:?}", read.diagnostics);
                let endpoints = Endpoints::build(&read.objects);
                let service = Resource { namespace: "x".into(), name: "s".into() };
                let found = endpoints.of(&Target::Service { service, port: 80, is_h2: false });
                assert!(found.is_empty(), "{found:?}");
                let told = format!("Service x/s: {}", SocketAddr::new(place.address, *port));
                assert_eq!(endpoints.barred().collect::<Vec<_>>(), [told]);
            }
        }
    }
}
