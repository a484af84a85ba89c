//! Who is behind a backend: `discovery.k8s.io/v1` EndpointSlice and `inference.networking.k8s.io/v1` InferencePool.

use crate::decode::{Decoder, Map};
use crate::diagnostic::Position;
use crate::document::Node;
use crate::gateway_api::reference::{Reference, Usual};
use crate::meta::{ObjectMeta, Scope};
use crate::pod::{Protocol, port_number};
use std::collections::BTreeMap;
use std::net::IpAddr;
use std::sync::Arc;

/// Label of a slice that names its Service.
const SERVICE: &str = "kubernetes.io/service-name";
/// Label of a slice that names its ServiceImport (KEP-1645, "Using `EndpointSlice` objects to track endpoints").
pub const IMPORTED_SERVICE: &str = "multicluster.kubernetes.io/service-name";
/// Most ports of an InferencePool.
const MOST_PORTS: usize = 8;

/// EndpointSlice.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct EndpointSlice {
    /// Metadata.
    pub meta: ObjectMeta,
    /// Where.
    pub position: Position,
    /// Whose, by the label; `None` without one.
    pub service: Option<Arc<str>>,
    /// The ServiceImport whose endpoints of one cluster these are, by [`IMPORTED_SERVICE`]; `None` without that label.
    pub imported: Option<Arc<str>>,
    /// Ports by name, which is empty for the only port of a Service; TCP only.
    pub ports: Vec<(Arc<str>, u16)>,
    /// `endpoints`
    pub endpoints: Vec<Endpoint>,
}

/// One entry of `endpoints`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Endpoint {
    /// Addresses of one pod.
    pub addresses: Vec<IpAddr>,
    /// `conditions.ready`; not written means yes.
    pub is_ready: bool,
    /// `conditions.terminating`
    pub is_terminating: bool,
}

/// InferencePool: pods that serve the same models.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct InferencePool {
    /// Metadata.
    pub meta: ObjectMeta,
    /// Where.
    pub position: Position,
    /// What is wrong with it. Nobody is behind it then.
    pub broken: Option<Arc<str>>,
    /// `spec.selector.matchLabels`
    pub selector: BTreeMap<Arc<str>, Arc<str>>,
    /// `spec.targetPorts`
    pub ports: Vec<u16>,
    /// `spec.appProtocol` is `kubernetes.io/h2c`: its pods speak HTTP/2 in clear.
    pub is_h2: bool,
    /// `spec.endpointPickerRef`
    pub picker: Option<PickerRef>,
}

/// `endpointPickerRef`: who says which pod of a pool answers.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct PickerRef {
    /// Of whom; its port is `port.number`.
    pub reference: Reference,
    /// `failureMode: FailOpen`
    pub is_lenient: bool,
}

impl EndpointSlice {
    pub(crate) fn decode<'n>(d: &mut Decoder<'n>, object: Map<'n>) -> Self {
        let meta = ObjectMeta::decode(d, object, Scope::Namespaced, false);
        let ports = d.field(object, "ports", |d, node| d.list(node, slice_port));
        let endpoints = d.field(object, "endpoints", |d, node| d.list(node, endpoint));
        Self {
            position: d.position(object.place),
            service: meta.labels.get(SERVICE).cloned(),
            imported: meta.labels.get(IMPORTED_SERVICE).cloned(),
            meta,
            ports: ports.flatten().unwrap_or_default(),
            endpoints: endpoints.flatten().unwrap_or_default(),
        }
    }
}

fn slice_port<'n>(d: &mut Decoder<'n>, node: &'n Node<'n>) -> Option<(Arc<str>, u16)> {
    let map = d.map(node)?;
    let protocol = d.field(map, "protocol", Protocol::decode).flatten().unwrap_or_default();
    let name = d.field(map, "name", Decoder::string).flatten().unwrap_or_default();
    let port = d.field(map, "port", port_number).flatten()?;
    (protocol == Protocol::Tcp).then_some((name, port))
}

fn endpoint<'n>(d: &mut Decoder<'n>, node: &'n Node<'n>) -> Option<Endpoint> {
    let map = d.map(node)?;
    let addresses = d.required(map, "addresses", |d, node| d.list(node, crate::meta::address));
    let mut endpoint =
        Endpoint { addresses: addresses.unwrap_or_default(), is_ready: true, is_terminating: false };
    d.field(map, "conditions", |d, node| {
        let map = d.map(node)?;
        endpoint.is_ready = d.field(map, "ready", Decoder::boolean).flatten().unwrap_or(true);
        endpoint.is_terminating = d.field(map, "terminating", Decoder::boolean).flatten().unwrap_or(false);
        Some(())
    });
    Some(endpoint)
}

impl InferencePool {
    pub(crate) fn decode<'n>(d: &mut Decoder<'n>, node: &'n Node<'n>, object: Map<'n>) -> Self {
        d.strict(node, &["apiVersion", "kind", "metadata", "spec", "status"]);
        let mut pool = Self {
            meta: ObjectMeta::decode(d, object, Scope::Namespaced, true),
            position: d.position(object.place),
            broken: None,
            selector: BTreeMap::new(),
            ports: Vec::new(),
            is_h2: false,
            picker: None,
        };
        d.required(object, "spec", |d, node| pool.spec(d, node));
        pool.broken = d.first_error();
        pool
    }

    fn spec<'n>(&mut self, d: &mut Decoder<'n>, node: &'n Node<'n>) -> Option<()> {
        let map = d.strict(node, &["selector", "targetPorts", "appProtocol", "endpointPickerRef"])?;
        d.required(map, "selector", |d, node| {
            let map = d.strict(node, &["matchLabels"])?;
            self.selector = d.required(map, "matchLabels", |d, node| Some(crate::meta::labels(d, node)))?;
            Some(())
        });
        let protocols = [("http", false), ("kubernetes.io/h2c", true)];
        let is_h2 = d.field(map, "appProtocol", |d, node| d.one_of(node, &protocols));
        self.is_h2 = is_h2.flatten().unwrap_or(false);
        let ports = d.required(map, "targetPorts", |d, node| {
            d.check_length(node, 1, MOST_PORTS);
            d.list(node, |d, node| {
                let map = d.strict(node, &["number"])?;
                d.required(map, "number", port_number)
            })
        });
        self.ports = ports.unwrap_or_default();
        self.picker = d.field(map, "endpointPickerRef", picker).flatten();
        Some(())
    }
}

fn picker<'n>(d: &mut Decoder<'n>, node: &'n Node<'n>) -> Option<PickerRef> {
    let map = d.strict(node, &["group", "kind", "name", "port", "failureMode"])?;
    let modes = [("FailOpen", true), ("FailClose", false)];
    let is_lenient = d.field(map, "failureMode", |d, node| d.one_of(node, &modes)).flatten();
    let port = d.field(map, "port", |d, node| {
        let map = d.strict(node, &["number"])?;
        d.required(map, "number", port_number)
    });
    let text = |d: &mut Decoder<'n>, field: &'n str| d.field(map, field, Decoder::string).flatten();
    let usual = Usual("", "Service");
    let reference = Reference {
        position: d.position(node.place),
        group: text(d, "group").unwrap_or_else(|| usual.0.into()),
        kind: text(d, "kind").unwrap_or_else(|| usual.1.into()),
        namespace: None,
        name: d.required(map, "name", Decoder::string)?,
        section: None,
        port: port.flatten(),
    };
    Some(PickerRef { reference, is_lenient: is_lenient.unwrap_or(false) })
}
