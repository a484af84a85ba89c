//! `v1` Service, and the two kinds that let traffic in from outside: Ingress and OpenShift Route.

use crate::diagnostic::Position;
use crate::meta::ObjectMeta;
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
