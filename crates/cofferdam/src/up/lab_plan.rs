//! From objects and a placed world to the plan of a lab.
//!
//! Enters: the objects as written (what pods run and listen on) and the world with every pod placed. Leaves: the
//! plan, and a hosts file that names pods and services for the programs in it.
//! Guarantees: every pod of the world is in the plan; single addresses that policy names and nobody has are outside.
//! Does not: make anything.

use super::pod_files;
use crds::{Container, Object, PodSpec, Service};
use lab::{Network, NodePlan, OutsideProgram, Plan, PodPlan};
use policy::{Peer, Peers, Pod, PolicySet, Protocol, Section, World};
use std::collections::{BTreeMap, BTreeSet};
use std::fmt::Write;
use std::net::IpAddr;
use std::path::Path;
use std::sync::Arc;

/// Annotation of a pod or pod template: a command for `sh -c` that the lab runs as the pod.
pub(crate) const COMMAND: &str = "cofferdam.dev/lab-command";

/// Name of the hosts file in the lab's folder.
pub(crate) const HOSTS: &str = "hosts";

/// Annotation of a node or namespace: addresses, separated by commas, that the lab has outside.
pub(crate) const OUTSIDE: &str = "cofferdam.dev/lab-outside";

/// Annotation of a node or namespace: a command for `sh -c` that the lab runs outside, beside those addresses.
pub(crate) const OUTSIDE_COMMAND: &str = "cofferdam.dev/lab-outside-command";

type Texts = BTreeMap<Arc<str>, Arc<str>>;

/// Kind, namespace and name of a pod or of what makes pods.
type Owner = (Arc<str>, Arc<str>, Arc<str>);

/// What pods of one template run.
#[derive(Clone, Debug)]
struct Run {
    name_suffix: Arc<str>,
    labels: Texts,
    ports: Vec<(Protocol, u16)>,
    command: Option<Arc<str>>,
}

/// What the objects say about programs, which policy has no use for.
#[derive(Clone, Debug, Default)]
pub(crate) struct Runs {
    by_owner: BTreeMap<Owner, Vec<Run>>,
    services: Vec<Service>,
    outside: Vec<IpAddr>,
    outside_commands: Vec<Arc<str>>,
}

impl Runs {
    /// Collects them.
    pub(crate) fn of(objects: &[Object]) -> Self {
        let mut runs = Self::default();
        for object in objects {
            let name = object.object_name();
            let owner = (name.kind, name.namespace, name.name);
            let run = |spec: &PodSpec, labels: &Texts, annotations: &Texts, name_suffix: &Arc<str>| Run {
                name_suffix: name_suffix.clone(),
                labels: labels.clone(),
                ports: ports(spec),
                command: annotations.get(COMMAND).cloned(),
            };
            let found = match object {
                Object::Pod(pod) => vec![run(&pod.spec, &pod.meta.labels, &pod.meta.annotations, &"".into())],
                Object::Workload(workload) => workload
                    .templates
                    .iter()
                    .map(|it| run(&it.spec, &it.labels, &it.annotations, &it.name_suffix))
                    .collect(),
                Object::Service(service) => {
                    runs.services.push(service.clone());
                    continue;
                }
                Object::Namespace(_) | Object::Node(_) => {
                    let annotations = &object.meta().annotations;
                    runs.outside_commands.extend(annotations.get(OUTSIDE_COMMAND).cloned());
                    let listed = annotations.get(OUTSIDE).map_or("", |text| text);
                    // What is no address cannot be anywhere.
                    runs.outside
                        .extend(listed.split(',').filter_map(|text| text.trim().parse::<IpAddr>().ok()));
                    continue;
                }
                Object::Ingress(_)
                | Object::NetworkPolicy(_)
                | Object::ClusterPolicy(_)
                | Object::EgressPolicy(_)
                | Object::GatewayApi(_)
                | Object::InferencePolicy(_)
                | Object::DetectionPolicy(_)
                | Object::Containment(_)
                | Object::IdentitySlice(_)
                | Object::KeySecret(_) => continue,
            };
            runs.by_owner.entry(owner).or_insert(found);
        }
        runs
    }

    /// What a pod runs: what was written for the pod itself, else the template of its role.
    fn of_pod(&self, pod: &Pod) -> Option<&Run> {
        let itself = ("Pod".into(), pod.namespace.clone(), pod.name.clone());
        let owner = (pod.workload.kind.clone(), pod.namespace.clone(), pod.workload.name.clone());
        let fits = |run: &&Run| {
            run.labels.iter().all(|(key, value)| pod.labels.get(key) == Some(&**value))
                && pod.name.contains(&*run.name_suffix)
        };
        let of = |key| self.by_owner.get(key).and_then(|runs| runs.iter().find(fits).or(runs.first()));
        of(&itself).or_else(|| of(&owner))
    }

    /// The plan. Programs start in `directory`, with the lab's folder and their own names in the environment.
    pub(crate) fn plan(&self, set: &PolicySet, directory: &Path, folder: &Path) -> Plan {
        let dns = pod_files::cluster_dns(&set.world);
        let outside_programs = self.outside_commands.iter().map(|command| OutsideProgram {
            command: shell(command),
            env: shared_environment(folder),
            directory: Some(directory.to_path_buf()),
        });
        let nodes = set.world.nodes.values();
        let nodes =
            nodes.map(|node| NodePlan { name: node.name.to_string(), addresses: node.addresses.clone() });
        let pods = set.world.pods.iter().filter_map(|pod| {
            let run = self.of_pod(pod);
            let node = pod.node.as_ref()?.to_string();
            Some(PodPlan {
                namespace: pod.namespace.to_string(),
                name: pod.name.to_string(),
                env: environment(pod, &node, folder),
                node,
                addresses: one_per_family(&pod.addresses),
                ports: run.map(|run| run.ports.clone()).unwrap_or_default(),
                host_network: pod.host_network,
                command: run.and_then(|run| run.command.as_ref()).map(|command| shell(command)),
                directory: Some(directory.to_path_buf()),
                files: pod_files::of(pod, dns),
            })
        });
        Plan {
            nodes: nodes.collect(),
            pods: pods.collect(),
            outside: outside(set, &self.outside),
            outside_programs: outside_programs.collect(),
            network: Network::Routed,
        }
    }

    /// Lines of a hosts file: pods as `name.namespace.pod`, services as clusters name them, every pod behind one.
    pub(crate) fn hosts(&self, world: &World) -> String {
        let mut text = String::new();
        let mut line = |address: &IpAddr, name: &str, namespace: &str, kind: &str| {
            let _ = writeln!(
                text,
                "{address} {name}.{namespace}.{kind} {name}.{namespace}.{kind}.cluster.local{}",
                if kind == "svc" { format!(" {name}.{namespace}") } else { String::new() }
            );
        };
        for pod in world.pods.iter().filter(|pod| pod.cluster().is_none()) {
            for address in &pod.addresses {
                line(address, &pod.name, &pod.namespace, "pod");
            }
        }
        for service in self.services.iter().filter(|service| !service.selector.is_empty()) {
            let (name, namespace) = (&service.meta.name, &service.meta.namespace);
            let behind = |pod: &&Arc<Pod>| {
                pod.namespace == *namespace
                    && service.selector.iter().all(|(key, value)| pod.labels.get(key) == Some(&**value))
            };
            for pod in world.pods.iter().filter(behind) {
                for address in &pod.addresses {
                    line(address, name, namespace, "svc");
                }
            }
        }
        text
    }
}

fn ports(spec: &PodSpec) -> Vec<(Protocol, u16)> {
    let containers: &[Container] = &spec.containers;
    let declared = containers.iter().chain(&spec.init_containers).flat_map(|container| &container.ports);
    let number = |protocol| match protocol {
        crds::Protocol::Tcp => Protocol::TCP,
        crds::Protocol::Udp => Protocol::UDP,
        crds::Protocol::Sctp => Protocol::SCTP,
    };
    let all: BTreeSet<_> = declared.map(|port| (number(port.protocol), port.port)).collect();
    all.into_iter().collect()
}

/// A simple command takes the shell's place: the lab's end ends what it started, and that should be the program.
fn shell(command: &str) -> Vec<String> {
    let first = command.split_whitespace().next().unwrap_or_default();
    let is_simple = !command.contains([';', '&', '|', '(', ')', '{', '}', '<', '>', '\n'])
        && !first.contains('=')
        && !["exec", "cd", "trap", "export", "eval", "wait", ":", "."].contains(&first);
    let command = if is_simple { format!("exec {command}") } else { command.to_owned() };
    vec!["sh".to_owned(), "-c".to_owned(), command]
}

fn environment(pod: &Pod, node: &str, folder: &Path) -> Vec<(String, String)> {
    let address = pod.addresses.first().map(ToString::to_string).unwrap_or_default();
    let own = [
        ("POD_NAMESPACE", pod.namespace.to_string()),
        ("POD_NAME", pod.name.to_string()),
        ("POD_IP", address),
        ("NODE_NAME", node.to_owned()),
    ];
    let own = own.into_iter().map(|(key, value)| (key.to_owned(), value));
    own.chain(shared_environment(folder)).collect()
}

/// `COFFERDAM_LAB` is a folder that all programs of the lab may write, and that goes with it.
fn shared_environment(folder: &Path) -> Vec<(String, String)> {
    let program = std::env::current_exe().unwrap_or_default();
    let values = [
        ("COFFERDAM", &program),
        ("COFFERDAM_LAB", &folder.to_owned()),
        ("COFFERDAM_HOSTS", &folder.join(HOSTS)),
    ];
    values.map(|(key, value)| (key.to_owned(), value.display().to_string())).to_vec()
}

fn one_per_family(addresses: &[IpAddr]) -> Vec<IpAddr> {
    let first = |is_v4: bool| addresses.iter().find(|address| address.is_ipv4() == is_v4).copied();
    [first(true), first(false)].into_iter().flatten().collect()
}

/// Those listed, blocks of a single address, and pods of other clusters: the hosts outside that policy speaks of.
fn outside(set: &PolicySet, listed: &[IpAddr]) -> Vec<IpAddr> {
    let world = &set.world;
    let pods = world.pods.iter().filter(|pod| pod.cluster().is_none()).flat_map(|pod| &pod.addresses);
    let known: BTreeSet<&IpAddr> =
        pods.chain(world.nodes.values().flat_map(|node| &node.addresses)).collect();
    let sections = set.policies.iter().flat_map(|policy| [&policy.ingress, &policy.egress]);
    let peers = sections.flat_map(Section::rules).filter_map(|rule| match &rule.peers {
        Peers::AnyOf(peers) => Some(peers),
        Peers::Everyone => None,
    });
    let single = peers.flatten().filter_map(|peer| match peer {
        Peer::Network { cidr, .. } if cidr.prefix_len() == cidr.max_prefix_len() => Some(cidr.addr()),
        Peer::Network { .. } | Peer::Pods { .. } | Peer::Nodes(_) | Peer::Names(_) => None,
    });
    let usable = |address: &IpAddr| {
        !address.is_loopback()
            && !address.is_unspecified()
            && !address.is_multicast()
            && !known.contains(address)
    };
    single.chain(listed.iter().copied()).filter(usable).collect::<BTreeSet<_>>().into_iter().collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_simple_commands_take_the_shells_place() {
        let cases = [
            ("python3 programs/store.py --port 7000", true),
            ("echo $POD_NAME", true),
            ("while :; do sleep 1; done", false),
            ("LEVEL=1 serve", false),
            ("serve > log", false),
            ("a && b", false),
            ("exec serve", false),
        ];
        for (command, simple) in cases {
            let words = shell(command);
            assert_eq!(
                words.last().unwrap().starts_with("exec ") && !command.starts_with("exec"),
                simple,
                "{command}"
            );
        }
    }
}
