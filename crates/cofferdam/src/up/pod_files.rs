//! The files that a kubelet gives a pod so that names resolve as in a cluster.
//!
//! Enters: a pod of the world. Leaves: its `/etc/resolv.conf`, `/etc/hosts` and, where the machine has one,
//! `/etc/nsswitch.conf`, or none where the world has no cluster DNS.
//! Does not: look behind Services. The lab has none, so pods ask the first DNS pod by its own address.

use lab::OwnFile;
use policy::{Pod, World};
use std::net::IpAddr;
use std::path::Path;

/// A name service switch that knows of no daemons of the machine.
const SWITCH: &str = "/etc/nsswitch.conf";

/// The cluster's DNS pod.
pub(crate) fn cluster_dns(world: &World) -> Option<IpAddr> {
    let is_dns = |pod: &&std::sync::Arc<Pod>| {
        &*pod.namespace == "kube-system" && pod.labels.get("k8s-app") == Some("kube-dns")
    };
    world.pods.iter().filter(is_dns).find_map(|pod| pod.addresses.first().copied())
}

/// The files of one pod; `dns`: whom it asks.
pub(crate) fn of(pod: &Pod, dns: Option<IpAddr>) -> Vec<OwnFile> {
    let Some(dns) = dns.filter(|_| !pod.host_network) else { return Vec::new() };
    let file = |path: &str, text: String| OwnFile { path: path.into(), text };
    let mut files =
        vec![file("/etc/resolv.conf", resolver(&pod.namespace, dns)), file("/etc/hosts", hosts(pod))];
    if Path::new(SWITCH).exists() {
        files.push(file(SWITCH, "passwd: files\ngroup: files\nhosts: files dns\n".to_owned()));
    }
    files
}

/// As for `dnsPolicy: ClusterFirst`.
fn resolver(namespace: &str, dns: IpAddr) -> String {
    format!(
        "search {namespace}.svc.cluster.local svc.cluster.local cluster.local\nnameserver {dns}\noptions ndots:5\n"
    )
}

fn hosts(pod: &Pod) -> String {
    let own = pod.addresses.iter().map(|address| format!("{address}\t{}\n", pod.name)).collect::<String>();
    format!(
        "# Kubernetes-managed hosts file.\n127.0.0.1\tlocalhost\n::1\tlocalhost ip6-localhost ip6-loopback\n{own}"
    )
}
