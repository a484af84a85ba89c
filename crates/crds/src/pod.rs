//! `v1` Pod, and the pod spec that workloads share.

use crate::decode::{Decoder, Map};
use crate::diagnostic::Position;
use crate::diagnostic::{Code, Diagnostic};
use crate::document::Node;
use crate::meta::ObjectMeta;
use crate::meta::{Scope, address, short};
use crate::name;
use std::net::IpAddr;
use std::sync::Arc;

/// Transport protocol of a port.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Protocol {
    /// `TCP`, the API's default.
    #[default]
    Tcp,
    /// `UDP`
    Udp,
    /// `SCTP`
    Sctp,
}

/// A port by number or by name (`IntOrString`).
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum PortRef {
    /// 1 to 65535.
    Number(u16),
    /// An IANA service name of at most 15 characters.
    Name(Arc<str>),
}

/// `v1` Pod.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Pod {
    /// Metadata.
    pub meta: ObjectMeta,
    /// Where.
    pub position: Position,
    /// Spec.
    pub spec: PodSpec,
    /// `status.phase`; `Unknown` if not written.
    pub phase: Phase,
    /// `status.podIP` and `status.podIPs`, each once.
    pub addresses: Vec<IpAddr>,
    /// `status.hostIP` and `status.hostIPs`, each once.
    pub host_addresses: Vec<IpAddr>,
}

/// `status.phase` of a pod.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Phase {
    /// Not started yet.
    Pending,
    /// Running.
    Running,
    /// All containers ended well; the address may belong to another pod by now.
    Succeeded,
    /// All containers ended, one of them badly; the address may belong to another pod by now.
    Failed,
    /// Not written or not known.
    #[default]
    Unknown,
}

impl Phase {
    /// Whether the pod has ended for good.
    pub fn is_completed(self) -> bool {
        matches!(self, Self::Succeeded | Self::Failed)
    }
}

/// What of `PodSpec` matters to policy and to the lab.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct PodSpec {
    /// `nodeName`, once scheduled.
    pub node_name: Option<Arc<str>>,
    /// `hostNetwork`: the pod's traffic is its node's.
    pub host_network: bool,
    /// `default` if not written.
    pub service_account: Arc<str>,
    /// Containers.
    pub containers: Vec<Container>,
    /// Init containers, sidecars among them.
    pub init_containers: Vec<Container>,
}

impl PodSpec {
    /// Ports of all containers, those of init containers last (sidecars serve traffic too).
    pub fn ports(&self) -> impl Iterator<Item = &ContainerPort> {
        self.containers.iter().chain(&self.init_containers).flat_map(|container| &container.ports)
    }
}

/// One container.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Container {
    /// Name.
    pub name: Arc<str>,
    /// Entrypoint.
    pub command: Vec<Arc<str>>,
    /// Its arguments.
    pub args: Vec<Arc<str>>,
    /// Declared ports.
    pub ports: Vec<ContainerPort>,
}

/// One declared port of a container.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ContainerPort {
    /// Name, if it has one.
    pub name: Option<Arc<str>>,
    /// Number.
    pub port: u16,
    /// Protocol.
    pub protocol: Protocol,
    /// Port of the node that leads here, if any.
    pub host_port: Option<u16>,
}

const PROTOCOLS: [(&str, Protocol); 3] =
    [("TCP", Protocol::Tcp), ("UDP", Protocol::Udp), ("SCTP", Protocol::Sctp)];

impl Protocol {
    pub(crate) fn decode<'n>(d: &mut Decoder<'n>, node: &'n Node<'n>) -> Option<Self> {
        d.one_of(node, &PROTOCOLS)
    }
}

/// A port number from 1 to 65535.
pub(crate) fn port_number<'n>(d: &mut Decoder<'n>, node: &'n Node<'n>) -> Option<u16> {
    let number = d.integer(node)?;
    let port = u16::try_from(number).ok().filter(|port| *port > 0);
    if port.is_none() {
        d.error(node.place, Code::InvalidPort, format!("{number} is no port: ports are 1 to 65535"));
    }
    port
}

impl PortRef {
    pub(crate) fn decode<'n>(d: &mut Decoder<'n>, node: &'n Node<'n>) -> Option<Self> {
        if Decoder::as_integer(node).is_some() {
            return port_number(d, node).map(Self::Number);
        }
        let text = d.formed(node, "a port's number or name", "443 or https")?;
        let Some(wrong) = name::port_name(text) else { return Some(Self::Name(d.intern(text))) };
        let mut diagnostic =
            Diagnostic::error(Code::InvalidPort, format!("{:?} is no port name: {wrong}", short(text)));
        let range = text.split_once('-').map(|(first, last)| (first.parse::<u16>(), last.parse::<u16>()));
        if text.parse::<u16>().is_ok() {
            diagnostic = diagnostic.suggest(format!("for a number, leave out the quotes: {text}"));
        } else if let Some((Ok(first), Ok(last))) = range {
            diagnostic = diagnostic.suggest(format!("write port: {first}, endPort: {last}"));
        }
        d.report(node.place, diagnostic);
        None
    }
}

const PHASES: [(&str, Phase); 5] = [
    ("Pending", Phase::Pending),
    ("Running", Phase::Running),
    ("Succeeded", Phase::Succeeded),
    ("Failed", Phase::Failed),
    ("Unknown", Phase::Unknown),
];

impl Pod {
    pub(crate) fn decode<'n>(d: &mut Decoder<'n>, object: Map<'n>) -> Self {
        let meta = ObjectMeta::decode(d, object, Scope::Namespaced, false);
        let spec = d.required(object, "spec", PodSpec::decode).unwrap_or_default();
        let mut pod = Self {
            meta,
            position: d.position(object.place),
            spec,
            phase: Phase::Unknown,
            addresses: Vec::new(),
            host_addresses: Vec::new(),
        };
        d.field(object, "status", |d, node| {
            let Some(map) = d.map(node) else { return };
            pod.phase =
                d.field(map, "phase", |d, node| d.one_of(node, &PHASES)).flatten().unwrap_or_default();
            pod.addresses = addresses(d, map, "podIP", "podIPs");
            pod.host_addresses = addresses(d, map, "hostIP", "hostIPs");
        });
        pod
    }
}

/// A single address and a list of `{ip: ...}`, together, each once.
fn addresses<'n>(d: &mut Decoder<'n>, map: Map<'n>, one: &'n str, many: &'n str) -> Vec<IpAddr> {
    let mut found: Vec<IpAddr> = d.field(map, one, address).flatten().into_iter().collect();
    let listed = d.field(map, many, |d, node| {
        d.list(node, |d, node| {
            let map = d.map(node)?;
            d.field(map, "ip", address).flatten()
        })
    });
    for address in listed.flatten().unwrap_or_default() {
        if !found.contains(&address) {
            found.push(address);
        }
    }
    found
}

impl PodSpec {
    pub(crate) fn decode<'n>(d: &mut Decoder<'n>, node: &'n Node<'n>) -> Option<Self> {
        let map = d.map(node)?;
        let account = d.field(map, "serviceAccountName", Decoder::string).flatten();
        let account = account.or_else(|| d.field(map, "serviceAccount", Decoder::string).flatten());
        Some(Self {
            node_name: d.field(map, "nodeName", Decoder::string).flatten().filter(|name| !name.is_empty()),
            host_network: d.field(map, "hostNetwork", Decoder::boolean).flatten().unwrap_or(false),
            service_account: match account.filter(|name| !name.is_empty()) {
                Some(name) => name,
                None => d.intern("default"),
            },
            containers: d.field(map, "containers", containers).unwrap_or_default(),
            init_containers: d.field(map, "initContainers", containers).unwrap_or_default(),
        })
    }
}

fn containers<'n>(d: &mut Decoder<'n>, node: &'n Node<'n>) -> Vec<Container> {
    let containers = d.list(node, |d, node| {
        let map = d.map(node)?;
        Some(Container {
            name: d.field(map, "name", Decoder::string).flatten().unwrap_or_default(),
            command: d.field(map, "command", Decoder::strings).unwrap_or_default(),
            args: d.field(map, "args", Decoder::strings).unwrap_or_default(),
            ports: d
                .field(map, "ports", |d, node| d.list(node, container_port))
                .flatten()
                .unwrap_or_default(),
        })
    });
    containers.unwrap_or_default()
}

fn container_port<'n>(d: &mut Decoder<'n>, node: &'n Node<'n>) -> Option<ContainerPort> {
    let map = d.map(node)?;
    if map.get("containerPort").is_none() {
        let message = "a port without containerPort; it is left out";
        d.report(node.place, Diagnostic::warning(Code::MissingField, message));
    }
    Some(ContainerPort {
        port: d.field(map, "containerPort", port_number).flatten()?,
        name: d.field(map, "name", Decoder::string).flatten().filter(|name| !name.is_empty()),
        protocol: d.field(map, "protocol", Protocol::decode).flatten().unwrap_or_default(),
        host_port: match map.get("hostPort").and_then(Decoder::as_integer) {
            Some(0) => None,
            Some(_) | None => d.field(map, "hostPort", port_number).flatten(),
        },
    })
}
