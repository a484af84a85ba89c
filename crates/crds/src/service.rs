//! `v1` Service, and the two kinds that let traffic in from outside: Ingress and OpenShift Route.

use crate::decode::{Decoder, Map};
use crate::diagnostic::Position;
use crate::document::Node;
use crate::meta::ObjectMeta;
use crate::meta::{Scope, address, labels};
use crate::pod::port_number;
use crate::pod::{PortRef, Protocol};
use std::collections::BTreeMap;
use std::net::IpAddr;
use std::sync::Arc;

/// `v1` Service.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Service {
    /// Metadata.
    pub meta: ObjectMeta,
    /// Where.
    pub position: Position,
    /// `ClusterIP` if not written.
    pub service_type: Arc<str>,
    /// Pods behind it. Empty: none are selected (endpoints are managed by other means).
    pub selector: BTreeMap<Arc<str>, Arc<str>>,
    /// Ports.
    pub ports: Vec<ServicePort>,
    /// `clusterIP` and `clusterIPs`, each once; without `None`.
    pub cluster_addresses: Vec<IpAddr>,
    /// `clusterIP: None`: the name resolves to the pods themselves.
    pub headless: bool,
    /// `status.loadBalancer.ingress`: the IP address of each, or its host name.
    pub balancer_addresses: Vec<Arc<str>>,
}

/// One port of a Service.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ServicePort {
    /// Name, if it has one.
    pub name: Option<Arc<str>>,
    /// Port of the Service.
    pub port: u16,
    /// Port of the pods; the Service's own if not written.
    pub target: PortRef,
    /// Protocol.
    pub protocol: Protocol,
    /// `appProtocol`; empty if not written.
    pub app_protocol: Arc<str>,
}

/// An Ingress or an OpenShift Route: hosts, and the services behind them.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Ingress {
    /// `Ingress` or `Route`.
    pub kind: &'static str,
    /// Metadata.
    pub meta: ObjectMeta,
    /// Where.
    pub position: Position,
    /// Services in the same namespace that traffic is sent to.
    pub backends: Vec<IngressBackend>,
}

/// One service that an Ingress or Route sends traffic to.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct IngressBackend {
    /// Host of the rule; `None` for all.
    pub host: Option<Arc<str>>,
    /// Name of the service.
    pub service: Arc<str>,
    /// Port of the service for an Ingress; for a Route, the service's target port or port name. `None`: every port.
    pub port: Option<PortRef>,
}

impl Service {
    pub(crate) fn decode<'n>(d: &mut Decoder<'n>, object: Map<'n>) -> Self {
        let mut service = Self {
            meta: ObjectMeta::decode(d, object, Scope::Namespaced, false),
            position: d.position(object.place),
            service_type: d.intern("ClusterIP"),
            selector: BTreeMap::new(),
            ports: Vec::new(),
            cluster_addresses: Vec::new(),
            headless: false,
            balancer_addresses: Vec::new(),
        };
        d.field(object, "spec", |d, node| service.spec(d, node));
        service.balancer_addresses = d.field(object, "status", balancer).flatten().unwrap_or_default();
        service
    }

    fn spec<'n>(&mut self, d: &mut Decoder<'n>, node: &'n Node<'n>) {
        let Some(map) = d.map(node) else { return };
        if let Some(text) = d.field(map, "type", Decoder::string).flatten() {
            self.service_type = text;
        }
        self.selector = d.field(map, "selector", labels).unwrap_or_default();
        self.ports =
            d.field(map, "ports", |d, node| d.list(node, service_port)).flatten().unwrap_or_default();
        self.headless = d.field(map, "clusterIP", Decoder::str).flatten() == Some("None");
        self.cluster_addresses = d.field(map, "clusterIP", address).flatten().into_iter().collect();
        let listed = d.field(map, "clusterIPs", |d, node| d.list(node, address));
        for address in listed.flatten().unwrap_or_default() {
            if !self.cluster_addresses.contains(&address) {
                self.cluster_addresses.push(address);
            }
        }
    }
}

/// Addresses that a load balancer gave.
fn balancer<'n>(d: &mut Decoder<'n>, node: &'n Node<'n>) -> Option<Vec<Arc<str>>> {
    let map = d.map(node)?;
    let given = d.field(map, "loadBalancer", |d, node| {
        let map = d.map(node)?;
        d.field(map, "ingress", |d, node| {
            d.list(node, |d, node| {
                let map = d.map(node)?;
                let address = d.field(map, "ip", Decoder::string).flatten();
                address.or_else(|| d.field(map, "hostname", Decoder::string).flatten())
            })
        })
        .flatten()
    });
    given.flatten()
}

fn service_port<'n>(d: &mut Decoder<'n>, node: &'n Node<'n>) -> Option<ServicePort> {
    let map = d.map(node)?;
    let port = d.required(map, "port", port_number)?;
    let target = match map.get("targetPort").and_then(Decoder::as_integer) {
        Some(0) => None,
        Some(_) | None => d.field(map, "targetPort", PortRef::decode).flatten(),
    };
    Some(ServicePort {
        name: d.field(map, "name", Decoder::string).flatten().filter(|name| !name.is_empty()),
        port,
        target: target.unwrap_or(PortRef::Number(port)),
        protocol: d.field(map, "protocol", Protocol::decode).flatten().unwrap_or_default(),
        app_protocol: d.field(map, "appProtocol", Decoder::string).flatten().unwrap_or_default(),
    })
}

impl Ingress {
    /// `networking.k8s.io/v1` Ingress; the backend shape of the removed beta versions is read too.
    pub(crate) fn decode<'n>(d: &mut Decoder<'n>, object: Map<'n>) -> Self {
        let mut ingress = Self {
            kind: "Ingress",
            meta: ObjectMeta::decode(d, object, Scope::Namespaced, false),
            position: d.position(object.place),
            backends: Vec::new(),
        };
        d.field(object, "spec", |d, node| {
            let Some(map) = d.map(node) else { return };
            for name in ["defaultBackend", "backend"] {
                let backend = d.field(map, name, |d, node| ingress_backend(d, node, None));
                ingress.backends.extend(backend.flatten());
            }
            let rules = d.field(map, "rules", |d, node| d.list(node, ingress_rule));
            ingress.backends.extend(rules.flatten().unwrap_or_default().into_iter().flatten());
        });
        ingress
    }

    /// `route.openshift.io/v1` Route.
    pub(crate) fn decode_route<'n>(d: &mut Decoder<'n>, object: Map<'n>) -> Self {
        let mut route = Self {
            kind: "Route",
            meta: ObjectMeta::decode(d, object, Scope::Namespaced, false),
            position: d.position(object.place),
            backends: Vec::new(),
        };
        d.field(object, "spec", |d, node| {
            let Some(map) = d.map(node) else { return };
            let host = d.field(map, "host", Decoder::string).flatten().filter(|host| !host.is_empty());
            let port = d.field(map, "port", |d, node| {
                let map = d.map(node)?;
                d.field(map, "targetPort", PortRef::decode).flatten()
            });
            let port = port.flatten();
            let backend = |d: &mut Decoder<'n>, node: &'n Node<'n>| {
                let map = d.map(node)?;
                let service = d.required(map, "name", Decoder::string)?;
                Some(IngressBackend { host: host.clone(), service, port: port.clone() })
            };
            route.backends.extend(d.field(map, "to", backend).flatten());
            let others = d.field(map, "alternateBackends", |d, node| d.list(node, backend));
            route.backends.extend(others.flatten().unwrap_or_default());
        });
        route
    }
}

fn ingress_rule<'n>(d: &mut Decoder<'n>, node: &'n Node<'n>) -> Option<Vec<IngressBackend>> {
    let map = d.map(node)?;
    let host = d.field(map, "host", Decoder::string).flatten().filter(|host| !host.is_empty());
    let backends = d.field(map, "http", |d, node| {
        let map = d.map(node)?;
        d.field(map, "paths", |d, node| {
            d.list(node, |d, node| {
                let map = d.map(node)?;
                d.field(map, "backend", |d, node| ingress_backend(d, node, host.clone())).flatten()
            })
        })
        .flatten()
    });
    backends.flatten()
}

/// `None` for a backend that is a resource and no service.
fn ingress_backend<'n>(
    d: &mut Decoder<'n>,
    node: &'n Node<'n>,
    host: Option<Arc<str>>,
) -> Option<IngressBackend> {
    let map = d.map(node)?;
    if let Some(service) = d.field(map, "serviceName", Decoder::string).flatten() {
        let port = d.field(map, "servicePort", PortRef::decode).flatten();
        return Some(IngressBackend { host, service, port });
    }
    let backend = d.field(map, "service", |d, node| {
        let map = d.map(node)?;
        let service = d.required(map, "name", Decoder::string)?;
        let port = d.field(map, "port", |d, node| {
            let map = d.map(node)?;
            let number = d.field(map, "number", port_number).flatten().map(PortRef::Number);
            number.or_else(|| d.field(map, "name", Decoder::string).flatten().map(PortRef::Name))
        });
        Some(IngressBackend { host, service, port: port.flatten() })
    });
    backend.flatten()
}
