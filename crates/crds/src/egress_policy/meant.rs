//! What people write by mistake in an EgressPolicy, and what they meant by it.
//!
//! Enters: a field that there is not, or a text that stands in a wrong place. Leaves: the way out, in a sentence. Does not: decide what
//! is wrong; nothing that is said here is read as if it had been written.

use super::{MOST_BYTES, quantity};
use crate::decode::Stray;
use crate::name;
use ipnet::IpNet;
use std::net::IpAddr;

/// Fields of other policies, and what is written instead in `spec` of an EgressPolicy.
pub(super) const MEANT_OF_POLICY: [(&str, &str); 7] = [
    ("podSelector", "write it under subject: {podSelector: {}}"),
    (
        "namespaceSelector",
        "it is for pods of its own namespace; for those of others: kind ClusterEgressPolicy",
    ),
    ("policyTypes", "leave it out: it is about egress alone"),
    ("ingress", "who may connect to the pods says a NetworkPolicy of networking.k8s.io/v1"),
    ("rules", "write them under egress"),
    ("to", "write it in a rule: egress: [{action: Allow, to: [{domains: [huggingface.co]}]}]"),
    ("tier", "only a ClusterEgressPolicy has one"),
];

/// As [`MEANT_OF_POLICY`], of a ClusterEgressPolicy.
pub(super) const MEANT_OF_CLUSTER_POLICY: [(&str, &str); 6] = [
    ("podSelector", "write it under subject: {pods: {namespaceSelector: {}, podSelector: {}}}"),
    ("namespaceSelector", "write what it selects by under subject: {namespaces: {}}"),
    ("policyTypes", "leave it out: it is about egress alone"),
    (
        "ingress",
        "who may connect to the pods says a ClusterNetworkPolicy of policy.networking.k8s.io/v1alpha2",
    ),
    ("rules", "write them under egress"),
    ("to", "write it in a rule: egress: [{action: Allow, to: [{domains: [huggingface.co]}]}]"),
];

/// Fields that are known of elsewhere, and what is written instead in a rule.
pub(super) const MEANT_OF_RULE: [(&str, &str); 13] = [
    ("domains", "write it in an entry of to: {domains: [huggingface.co]}"),
    ("provider", "write it in an entry of to: {provider: huggingface}"),
    ("networks", "write it in an entry of to: {networks: [203.0.113.0/24]}"),
    ("clusters", "write it in an entry of to, with namespaceSelector and podSelector"),
    ("serviceImport", MEANT_OF_SERVICE),
    ("from", "a rule is about where pods connect to: write to"),
    ("peers", "write to"),
    ("verbs", "write operations: [{verbs: [download]}]"),
    ("port", "write ports: [{port: 443}]"),
    ("protocol", "write ports: [{protocol: UDP, port: 53}]"),
    ("maxUpload", "write maxUploadBytes: {hour: 50Mi}"),
    ("uploadLimit", "write maxUploadBytes: {hour: 50Mi}"),
    ("readOnly", "write downloadOnly: true"),
];

const MEANT_OF_DOMAINS: &str = "write domains: [huggingface.co]";
const MEANT_OF_SERVICE: &str = "write it in an entry of to: {serviceImport: {namespace: ml, name: train}}";
const MEANT_OF_NETWORKS: &str = "write networks: [203.0.113.0/24]";
pub(super) const MEANT_OF_PODS: &str =
    "pods of this cluster are allowed by a NetworkPolicy of networking.k8s.io/v1";

/// As [`MEANT_OF_RULE`], in an entry of `to`.
const MEANT_OF_PEER: [(&str, &str); 22] = [
    ("domain", MEANT_OF_DOMAINS),
    ("domainNames", MEANT_OF_DOMAINS),
    ("dnsNames", MEANT_OF_DOMAINS),
    ("fqdn", MEANT_OF_DOMAINS),
    ("fqdns", MEANT_OF_DOMAINS),
    ("host", MEANT_OF_DOMAINS),
    ("hosts", MEANT_OF_DOMAINS),
    ("hostnames", MEANT_OF_DOMAINS),
    ("name", MEANT_OF_DOMAINS),
    ("names", MEANT_OF_DOMAINS),
    ("cidr", MEANT_OF_NETWORKS),
    ("cidrs", MEANT_OF_NETWORKS),
    ("ipBlock", MEANT_OF_NETWORKS),
    ("ip", MEANT_OF_NETWORKS),
    ("addresses", MEANT_OF_NETWORKS),
    ("serviceImports", MEANT_OF_SERVICE),
    ("service", MEANT_OF_SERVICE),
    ("services", MEANT_OF_SERVICE),
    ("pods", MEANT_OF_PODS),
    ("namespaces", MEANT_OF_PODS),
    ("providers", "write provider: huggingface, and an entry for each"),
    ("ports", "write ports in the rule, beside to"),
];

/// What is written instead of a field that is known of elsewhere.
pub(super) fn meant_in(known: &[(&str, &str)], stray: Stray<'_>) -> Option<String> {
    match stray {
        Stray::Field(written, _) => {
            let found = known.iter().find(|(field, _)| field.eq_ignore_ascii_case(written));
            found.map(|(_, help)| (*help).to_owned())
        }
        Stray::Scalar(_) => None,
    }
}

/// Of an entry of `to`: a name or an address alone has its field named.
pub(super) fn peer_meant(stray: Stray<'_>) -> Option<String> {
    match stray {
        Stray::Scalar(text) if text.parse::<IpNet>().is_ok() => {
            Some(format!("write {{networks: [\"{text}\"]}}"))
        }
        Stray::Scalar(text) if text.parse::<IpAddr>().is_ok_and(|address| address.is_ipv4()) => {
            Some(format!("write {{networks: [{text}/32]}}"))
        }
        Stray::Scalar(text) if name::own_domain_pattern(text).is_none() => {
            Some(format!("write {{domains: [\"{text}\"]}}"))
        }
        Stray::Scalar(text) if name::dns_label(text).is_none() => Some(format!("write {{provider: {text}}}")),
        Stray::Scalar(_) => None,
        Stray::Field(..) => meant_in(&MEANT_OF_PEER, stray),
    }
}

/// The same amount as it can be read, if it was only written as people do: `10MB`, `10 mib`.
pub(super) fn quantity_meant(text: &str) -> Option<String> {
    let text = text.trim();
    let end = text.find(|c: char| !c.is_ascii_digit()).unwrap_or(text.len());
    let (digits, unit) = text.split_at_checked(end)?;
    let unit = unit.trim().to_ascii_lowercase();
    let unit = match unit.strip_suffix('b').unwrap_or(&unit) {
        "" => "",
        "ki" => "Ki",
        "mi" => "Mi",
        "gi" => "Gi",
        "ti" => "Ti",
        "k" => "k",
        "m" => "M",
        "g" => "G",
        "t" => "T",
        _ => return None,
    };
    let meant = format!("{digits}{unit}");
    quantity(&meant).is_some_and(|bytes| (1..=MOST_BYTES).contains(&bytes)).then_some(meant)
}

/// What was meant by a URL, an address or a name with a port.
pub(super) fn domain_meant(text: &str) -> Option<String> {
    if text.parse::<IpAddr>().is_ok() || text.parse::<IpNet>().is_ok() {
        return Some(
            "addresses are written in an entry of their own: {networks: [203.0.113.0/24]}".to_owned(),
        );
    }
    let rest = text.split_once("://").map_or(text, |(_, rest)| rest);
    let host = rest.split(['/', '?', ':']).next().unwrap_or_default();
    let is_name = host != text && name::own_domain_pattern(host).is_none();
    is_name.then(|| {
        format!("write the name alone: {host}; ports has the port, and operations what may be asked for")
    })
}
