//! `v1` Pod, and the pod spec that workloads share.

use crate::diagnostic::Position;
use crate::meta::ObjectMeta;
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
