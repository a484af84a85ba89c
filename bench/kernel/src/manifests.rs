//! The rules of a row, as what each side would really be given: manifests for Cofferdam, a ruleset for linear chains.
//!
//! Both say the same: so many sources may reach one port of the server, each by a rule of its own, the measured client by
//! the last one; nothing else reaches the server.

use anyhow::{Result, bail};
use compiler::lower::{Cluster, Placement, Scope};
use policy::Generation;
use policy::table::Table;
use std::fmt::Write as _;
use std::net::Ipv4Addr;

/// The port that rules speak of.
pub(crate) const OPEN: u16 = 5201;
/// A port that no rule opens.
pub(crate) const SHUT: u16 = 5202;

/// Who is measured.
#[derive(Clone, Debug)]
pub(crate) struct Ends {
    pub(crate) node: String,
    pub(crate) node_address: Ipv4Addr,
    pub(crate) client: Ipv4Addr,
    pub(crate) server: Ipv4Addr,
}

/// Sources of the rules; the last is the client.
fn sources(ends: &Ends, rules: u32) -> impl Iterator<Item = Ipv4Addr> {
    let first = u32::from(Ipv4Addr::new(10, 100, 0, 1));
    let client = ends.client;
    (1..rules).map(move |i| Ipv4Addr::from(first + i)).chain(std::iter::once(client))
}

/// Compiles the table of the node, from YAML on, as the agent does.
pub(crate) fn table(ends: &Ends, rules: u32, port: u16) -> Result<Table> {
    let yaml = manifests(ends, rules, port);
    let read = crds::read_objects("bench.yaml", yaml.as_bytes());
    let compiled = compiler::compile_unlinted(read.objects, Generation(1));
    if let Some(wrong) = read.diagnostics.iter().chain(&compiled.diagnostics).find(|d| d.is_error()) {
        bail!("the manifests of this benchmark are wrong: {wrong:?}");
    }
    Ok(Cluster::load(&compiled.set).lower(Scope::Node(&ends.node), &Placement::new())?)
}

fn manifests(ends: &Ends, rules: u32, port: u16) -> String {
    let Ends { node, node_address, client: _, server } = ends;
    let mut yaml = format!(
        "apiVersion: v1\nkind: Namespace\nmetadata: {{name: bench}}\n---\n\
         apiVersion: v1\nkind: Node\nmetadata: {{name: {node}}}\n\
         status: {{addresses: [{{type: InternalIP, address: {node_address}}}]}}\n"
    );
    let mut pod = |name: &str, on: &str, address: Ipv4Addr| {
        let _ = writeln!(
            yaml,
            "---\napiVersion: v1\nkind: Pod\nmetadata: {{name: {name}, namespace: bench, labels: {{app: {name}}}}}\n\
             spec: {{nodeName: {on}, containers: [{{name: c, image: i}}]}}\n\
             status: {{podIP: {address}, podIPs: [{{ip: {address}}}]}}"
        );
    };
    pod("server", node, *server);
    for (i, address) in sources(ends, rules).enumerate() {
        pod(&format!("peer-{i}"), if address == ends.client { node } else { "elsewhere" }, address);
    }
    for i in 0..rules {
        let _ = writeln!(
            yaml,
            "---\napiVersion: networking.k8s.io/v1\nkind: NetworkPolicy\nmetadata: {{name: rule-{i}, namespace: bench}}\n\
             spec:\n  podSelector: {{matchLabels: {{app: server}}}}\n  policyTypes: [Ingress]\n  ingress:\n  - from: \
             [{{podSelector: {{matchLabels: {{app: peer-{i}}}}}}}]\n    ports: [{{protocol: TCP, port: {port}}}]"
        );
    }
    yaml
}

/// A chain as iptables makes it on nf_tables: what is established first, then one rule after the other, each with its
/// counter, then the policy of the chain.
pub(crate) fn linear(ends: &Ends, rules: u32) -> String {
    let mut text = String::from(
        "table ip linear {\n chain forward {\n  type filter hook forward priority 0; policy drop;\n  \
         ct state established,related counter accept\n",
    );
    for source in sources(ends, rules) {
        let _ = writeln!(text, "  ip saddr {source} ip daddr {} tcp dport {OPEN} counter accept", ends.server);
    }
    text += " }\n}\n";
    text
}

/// Connections are tracked, and all are let through.
pub(crate) const CONNTRACK: &str = "table ip plain {\n chain forward {\n  type filter hook forward priority 0; policy \
    accept;\n  ct state established,related counter accept\n  ct state new counter accept\n }\n}\n";
