//! Who exists: namespaces, pods and nodes, and what DNS answered each pod.

use crate::access::Protocol;
use crate::domain::DnsName;
use crate::labels::Labels;
use serde::{Deserialize, Serialize};
use std::collections::{BTreeMap, BTreeSet};
use std::fmt;
use std::net::IpAddr;
use std::sync::Arc;

/// A namespace and its labels. `kubernetes.io/metadata.name` is always among them. One of another cluster is called
/// [`namespace_elsewhere`], and [`CLUSTER_LABEL`] is among its labels.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Namespace {
    /// Name.
    pub name: Arc<str>,
    /// Labels.
    pub labels: Labels,
}

/// A named container port of a pod.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize)]
pub struct NamedPort {
    /// The name, unique within the pod for a protocol.
    pub name: Arc<str>,
    /// The protocol of the container port.
    pub protocol: Protocol,
    /// The number.
    pub port: u16,
}

/// The workload a pod belongs to; a bare pod is its own workload of kind `Pod`.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub struct WorkloadRef {
    /// For example `Deployment`.
    pub kind: Arc<str>,
    /// Name within the pod's namespace.
    pub name: Arc<str>,
}

/// A pod that may run: pending, running or terminating. Completed pods are no parties, their address may
/// already be someone else's.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Pod {
    /// Namespace.
    pub namespace: Arc<str>,
    /// Name.
    pub name: Arc<str>,
    /// Labels.
    pub labels: Labels,
    /// Service account name.
    pub service_account: Arc<str>,
    /// Name of the node it is bound to.
    pub node: Option<Arc<str>>,
    /// Every address of `status.podIPs`. Empty when none is known: then no network peer matches it.
    pub addresses: Vec<IpAddr>,
    /// Named container ports.
    pub ports: Vec<NamedPort>,
    /// A host-network pod's traffic is its node's traffic.
    pub host_network: bool,
    /// What the pod is part of.
    pub workload: WorkloadRef,
}

/// Label of a namespace of another cluster: which cluster.
pub const CLUSTER_LABEL: &str = "cofferdam.dev/cluster";
/// Stands between the name of a namespace of another cluster and that cluster. No name of a namespace or cluster contains it.
const OF: char = '@';

/// What a namespace of another cluster is called here: `ml@west`.
pub fn namespace_elsewhere(namespace: &str, cluster: &str) -> String {
    format!("{namespace}{OF}{cluster}")
}

/// The cluster in what a namespace is called here; `None`: this one.
pub fn cluster_of(namespace: &str) -> Option<&str> {
    namespace.rsplit_once(OF).map(|(_, cluster)| cluster)
}

impl Pod {
    /// The other cluster in which it runs; `None`: it runs in this one. A pod of another cluster is on no node, has no named
    /// ports, is no subject of any policy, and only a [`crate::NamespaceScope::Elsewhere`] means it.
    pub fn cluster(&self) -> Option<&str> {
        cluster_of(&self.namespace)
    }
}

impl fmt::Display for Pod {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}/{}", self.namespace, self.name)
    }
}

/// A node. Its addresses are `status.addresses`, and those of host-network pods on it.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Node {
    /// Name.
    pub name: Arc<str>,
    /// Labels.
    pub labels: Labels,
    /// Addresses.
    pub addresses: Vec<IpAddr>,
}

/// Index of a pod in [`World::pods`].
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize)]
#[serde(transparent)]
pub struct PodId(pub u32);

/// Addresses, with the names whose answers gave them.
pub type Answers = BTreeMap<IpAddr, BTreeSet<DnsName>>;

/// What DNS answered one pod.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Resolved {
    /// Not run out yet.
    pub live: Answers,
    /// Run out. They open nothing new; connections that are open live on by them.
    pub past: Answers,
}

/// A pod by namespace and name.
pub type PodName = (Arc<str>, Arc<str>);

/// How a cluster's own DNS is labelled, by kubeadm and every distribution: namespace, label, value.
pub const CLUSTER_DNS: (&str, &str, &str) = ("kube-system", "k8s-app", "kube-dns");

/// Label of a namespace whose pods have TLS opened in the name of an authority of its own: `own`, or `cluster`.
pub const INSPECTION_LABEL: &str = "cofferdam.dev/inspection-authority";
/// The one value of it that means the cluster's authority.
const OF_CLUSTER: &str = "cluster";

/// Whether a namespace with this value of [`INSPECTION_LABEL`] has an inspection authority of its own, or none. What nobody
/// understands is not the cluster's: then its pods' TLS is not opened with what they do not trust.
pub fn wants_own_authority(value: Option<&str>) -> bool {
    value.is_some_and(|value| value != OF_CLUSTER)
}

/// Everything a policy can speak of.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct World {
    /// By name.
    pub namespaces: BTreeMap<Arc<str>, Namespace>,
    /// Sorted by namespace and name. Shared: from one state to the next most pods stay as they are.
    pub pods: Vec<Arc<Pod>>,
    /// By name.
    pub nodes: BTreeMap<Arc<str>, Node>,
    /// What DNS answered each pod. An answer opens nothing to whoever did not ask.
    pub names: BTreeMap<PodName, Resolved>,
}

impl World {
    /// The pod, if there is one of that index.
    pub fn pod(&self, id: PodId) -> Option<&Pod> {
        self.pods.get(id.0 as usize).map(Arc::as_ref)
    }

    /// The pod called `namespace/name`.
    pub fn find_pod(&self, namespace: &str, name: &str) -> Option<&Arc<Pod>> {
        let found =
            self.pods.binary_search_by(|pod| (&*pod.namespace, &*pod.name).cmp(&(namespace, name))).ok()?;
        self.pods.get(found)
    }

    /// Gives every pod the address for the name: where nobody says who asked.
    pub fn answer_everyone(&mut self, name: &DnsName, address: IpAddr) {
        for pod in &self.pods {
            let resolved = self.names.entry((pod.namespace.clone(), pod.name.clone())).or_default();
            resolved.live.entry(address).or_default().insert(name.clone());
        }
    }

    /// Namespaces with pods on the node, in a network of their own, whose TLS is opened with an authority of the namespace.
    pub fn own_authorities(&self, node: &str) -> BTreeSet<Arc<str>> {
        let wants = |name: &Arc<str>| {
            let found = self.namespaces.get(name);
            wants_own_authority(found.and_then(|it| it.labels.get(INSPECTION_LABEL)))
        };
        let here = self.pods.iter().filter(|pod| pod.node.as_deref() == Some(node) && !pod.host_network);
        let names: BTreeSet<&Arc<str>> = here.map(|pod| &pod.namespace).collect();
        names.into_iter().filter(|name| wants(name)).cloned().collect()
    }

    /// Addresses of the pods that are the cluster's DNS.
    pub fn cluster_dns(&self) -> impl Iterator<Item = IpAddr> {
        let (namespace, label, value) = CLUSTER_DNS;
        let is_dns =
            move |pod: &&Arc<Pod>| &*pod.namespace == namespace && pod.labels.get(label) == Some(value);
        self.pods.iter().filter(is_dns).flat_map(|pod| pod.addresses.iter().copied())
    }

    /// What DNS answered the pod.
    pub fn resolved(&self, pod: &Pod) -> Option<&Resolved> {
        self.names.get(&(pod.namespace.clone(), pod.name.clone()))
    }

    /// Labels of the namespace; none for one nobody declared.
    pub fn namespace_labels(&self, namespace: &str) -> Labels {
        match self.namespaces.get(namespace) {
            Some(found) => found.labels.clone(),
            None => Labels::from_iter([("kubernetes.io/metadata.name", namespace)]),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn pod(namespace: &str, node: Option<&str>, host_network: bool) -> Arc<Pod> {
        Arc::new(Pod {
            namespace: namespace.into(),
            name: "p".into(),
            labels: Labels::default(),
            service_account: "default".into(),
            node: node.map(Into::into),
            addresses: Vec::new(),
            ports: Vec::new(),
            host_network,
            workload: WorkloadRef { kind: "Pod".into(), name: "p".into() },
        })
    }

    #[test]
    fn a_node_needs_authorities_of_the_namespaces_that_want_one_and_have_pods_there() {
        let values =
            [("own", Some("own")), ("odd", Some("Own ")), ("of-all", Some("cluster")), ("plain", None)];
        let mut world = World::default();
        for (name, value) in values {
            let labels = Labels::from_iter(value.map(|value| (INSPECTION_LABEL, value)));
            world.namespaces.insert(name.into(), Namespace { name: name.into(), labels });
            world.pods.push(pod(name, Some("n1"), false));
        }
        world.pods.push(pod("unknown", Some("n1"), false));
        let own = |world: &World, node: &str| -> Vec<String> {
            world.own_authorities(node).iter().map(ToString::to_string).collect()
        };
        assert_eq!(own(&world, "n1"), ["odd", "own"]);
        assert!(own(&world, "n2").is_empty());
        world.pods = vec![pod("own", None, false), pod("own", Some("n1"), true)];
        assert!(own(&world, "n1").is_empty(), "bound nowhere, or in the network of its node");
    }
}
