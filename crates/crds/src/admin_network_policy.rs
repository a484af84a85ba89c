//! `policy.networking.k8s.io/v1alpha1`: AdminNetworkPolicy and BaselineAdminNetworkPolicy, read into the shape of
//! their successor. What differs is said by a [`Dialect`]; here are the parts that have a shape of their own.

use crate::cluster_network_policy::{
    ClusterPolicy, ClusterPolicyKind, ClusterPort, Dialect, RuleAction, port_name,
};
use crate::decode::{Decoder, Map};
use crate::diagnostic::{Code, Diagnostic};
use crate::document::Node;
use crate::pod::{Protocol, port_number};

const ADMIN: Dialect = Dialect {
    kind: ClusterPolicyKind::AdminNetworkPolicy,
    spec: &["priority", "subject", "ingress", "egress"],
    actions: &[("Allow", RuleAction::Accept), ("Deny", RuleAction::Deny), ("Pass", RuleAction::Pass)],
    ingress_peers: &["namespaces", "pods"],
    egress_peers: &["namespaces", "pods", "networks", "nodes", "domainNames"],
    ports: "ports",
    most: 100,
    port,
};

const BASELINE: Dialect = Dialect {
    kind: ClusterPolicyKind::BaselineAdminNetworkPolicy,
    spec: &["subject", "ingress", "egress"],
    actions: &[("Allow", RuleAction::Accept), ("Deny", RuleAction::Deny)],
    egress_peers: &["namespaces", "pods", "networks", "nodes"],
    ..ADMIN
};

/// AdminNetworkPolicy.
pub(crate) fn decode_admin<'n>(d: &mut Decoder<'n>, object: Map<'n>) -> ClusterPolicy {
    ClusterPolicy::decode(d, object, ADMIN)
}

/// BaselineAdminNetworkPolicy: there is one, named `default`.
pub(crate) fn decode_baseline<'n>(d: &mut Decoder<'n>, object: Map<'n>) -> ClusterPolicy {
    let mut policy = ClusterPolicy::decode(d, object, BASELINE);
    if &*policy.meta.name != "default" {
        let message = "a BaselineAdminNetworkPolicy must be named default";
        d.report(object.place, Diagnostic::error(Code::InvalidName, message).suggest("name: default"));
        policy.broken = true;
    }
    policy
}

/// `{portNumber: {protocol, port}}`, `{portRange: {protocol, start, end}}` or `{namedPort: name}`.
fn port<'n>(d: &mut Decoder<'n>, node: &'n Node<'n>) -> Option<ClusterPort> {
    const KNOWN: [&str; 3] = ["portNumber", "portRange", "namedPort"];
    let map = d.strict(node, &KNOWN)?;
    if map.keys().count() != 1 {
        d.error(node.place, Code::ExactlyOne, format!("exactly one of {} is needed", KNOWN.join(", ")));
        return None;
    }
    if let Some(name) = d.field(map, "namedPort", port_name) {
        return name.map(ClusterPort::Named);
    }
    let number = d.field(map, "portNumber", |d, node| {
        let map = d.strict(node, &["protocol", "port"])?;
        let (protocol, port) = (protocol(d, map), d.required(map, "port", port_number)?);
        Some(ClusterPort::Numbers { protocol: protocol?, first: port, last: port })
    });
    let range = d.field(map, "portRange", |d, node| {
        let map = d.strict(node, &["protocol", "start", "end"])?;
        let protocol = protocol(d, map);
        let (first, last) = (d.required(map, "start", port_number), d.required(map, "end", port_number));
        let (first, last) = (first?, last?);
        if first > last {
            d.error(
                node.place,
                Code::InvalidPort,
                format!("the range ends at {last}, before its start {first}"),
            );
        }
        Some(ClusterPort::Numbers { protocol: protocol?, first, last })
    });
    number.or(range).flatten()
}

fn protocol<'n>(d: &mut Decoder<'n>, map: Map<'n>) -> Option<Protocol> {
    d.field(map, "protocol", Protocol::decode).unwrap_or(Some(Protocol::Tcp))
}
