//! What a lab is made of.

use crate::LabError;
use policy::Protocol;
use std::collections::BTreeSet;
use std::fmt;
use std::net::IpAddr;
use std::path::PathBuf;

/// A whole lab.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Plan {
    /// At least one, if there are pods.
    pub nodes: Vec<NodePlan>,
    /// Pods, each on one of the nodes.
    pub pods: Vec<PodPlan>,
    /// Addresses that live in the namespace called outside.
    pub outside: Vec<IpAddr>,
    /// What runs in the namespace called outside.
    pub outside_programs: Vec<OutsideProgram>,
    /// How pods hang on their nodes.
    pub network: Network,
}

/// How pods hang on their nodes.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Network {
    /// Each by a veth of its own, to which its node routes, as Calico and kindnet do it.
    #[default]
    Routed,
    /// All of a node by one bridge, over which they talk to each other directly, as Flannel does it. The node's netfilter
    /// sees what the bridge forwards (`bridge-nf-call-iptables`).
    Bridged,
}

/// A node.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct NodePlan {
    /// Unique.
    pub name: String,
    /// Its addresses.
    pub addresses: Vec<IpAddr>,
}

/// A pod.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct PodPlan {
    /// Namespace.
    pub namespace: String,
    /// Name, unique within the namespace.
    pub name: String,
    /// Name of its node.
    pub node: String,
    /// At most one per address family.
    pub addresses: Vec<IpAddr>,
    /// Declared container ports.
    pub ports: Vec<(Protocol, u16)>,
    /// Lives in its node's namespace.
    pub host_network: bool,
    /// What it runs; `None` is an echo server on `ports`.
    pub command: Option<Vec<String>>,
    /// Added to the command's environment.
    pub env: Vec<(String, String)>,
    /// The command's working directory.
    pub directory: Option<PathBuf>,
    /// Files that the pod sees in place of the machine's. A pod of the host network has the machine's.
    pub files: Vec<OwnFile>,
}

/// A file that only one pod sees.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct OwnFile {
    /// Where the pod finds it; absolute.
    pub path: PathBuf,
    /// What is in it at the start.
    pub text: String,
}

/// A command that runs outside the cluster.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct OutsideProgram {
    /// Program and arguments.
    pub command: Vec<String>,
    /// Added to its environment.
    pub env: Vec<(String, String)>,
    /// Its working directory.
    pub directory: Option<PathBuf>,
}

/// Somewhere packets can start.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Place {
    /// A pod by namespace and name.
    Pod(String, String),
    /// A node by name.
    Node(String),
    /// Outside the cluster.
    Outside,
    /// The wire between nodes. Nobody's traffic starts here; it is a place to listen.
    Wire,
}

impl Place {
    /// Where a pod's packets start: a host-network pod is on its node.
    pub fn of(pod: &PodPlan) -> Self {
        if pod.host_network {
            Self::Node(pod.node.clone())
        } else {
            Self::Pod(pod.namespace.clone(), pod.name.clone())
        }
    }
}

impl fmt::Display for Place {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Pod(namespace, name) => write!(f, "pod {namespace}/{name}"),
            Self::Node(name) => write!(f, "node {name}"),
            Self::Outside => f.write_str("outside"),
            Self::Wire => f.write_str("wire"),
        }
    }
}

impl Plan {
    /// Most pods and nodes one lab can have; their number is part of interface names and hardware addresses.
    pub const LIMIT: usize = 4000;

    pub(crate) fn check(&self) -> Result<(), LabError> {
        if self.pods.len() + self.nodes.len() > Self::LIMIT {
            return Err(LabError::Plan(format!(
                "{} pods and {} nodes are more than the {} a lab can have",
                self.pods.len(),
                self.nodes.len(),
                Self::LIMIT
            )));
        }
        let nodes: BTreeSet<&str> = self.nodes.iter().map(|node| node.name.as_str()).collect();
        if nodes.len() != self.nodes.len() {
            return Err(LabError::Plan("two nodes have one name".into()));
        }
        let mut owners = std::collections::BTreeMap::new();
        let named = self.nodes.iter().map(|node| (format!("node {}", node.name), &node.addresses));
        let pods = self.pods.iter().filter(|pod| !pod.host_network);
        let pods = pods.map(|pod| (format!("pod {}/{}", pod.namespace, pod.name), &pod.addresses));
        let outside = std::iter::once(("outside".to_owned(), &self.outside));
        for (owner, addresses) in named.chain(pods).chain(outside) {
            for address in addresses {
                if let Some(other) = owners.insert(*address, owner.clone()) {
                    return Err(LabError::Plan(format!("{address} belongs to both {other} and {owner}")));
                }
            }
        }
        for pod in &self.pods {
            if !nodes.contains(pod.node.as_str()) {
                let (namespace, name, node) = (&pod.namespace, &pod.name, &pod.node);
                return Err(LabError::Plan(format!(
                    "pod {namespace}/{name} is on node {node:?}, which is not there"
                )));
            }
        }
        Ok(())
    }
}
