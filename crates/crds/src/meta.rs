//! Object metadata, and the two cluster-scoped kinds that are little else: Namespace and Node.

use crate::decode::{Decoder, Map};
use crate::diagnostic::Position;
use crate::diagnostic::{Code, Diagnostic};
use crate::document::Node as YamlNode;
use crate::name;
use ipnet::IpNet;
use std::collections::BTreeMap;
use std::net::IpAddr;
use std::sync::Arc;

/// A value with the place it was written at.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Located<T> {
    /// Where.
    pub position: Position,
    /// What.
    pub value: T,
}

/// `metadata` of an object.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct ObjectMeta {
    /// Empty only for objects that have none (an error, or a pod with `generateName`, which is then used).
    pub name: Arc<str>,
    /// `default` where a namespaced object gives none; empty for cluster-scoped kinds.
    pub namespace: Arc<str>,
    /// Labels.
    pub labels: BTreeMap<Arc<str>, Arc<str>>,
    /// Annotations.
    pub annotations: BTreeMap<Arc<str>, Arc<str>>,
    /// Owners, as written.
    pub owners: Vec<OwnerReference>,
    /// `generateName`; empty if not written.
    pub generate_name: Arc<str>,
    /// A deletion timestamp is set: the object is being deleted, and still there.
    pub deleting: bool,
    /// `creationTimestamp`, as the API server writes it, so that texts compare as times do; empty if not written.
    pub created: Arc<str>,
    /// `generation`; 0 if not written.
    pub generation: i64,
    /// `uid`, which the API server gives; empty if not written.
    pub uid: Arc<str>,
}

/// One of `metadata.ownerReferences`.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct OwnerReference {
    /// Empty if not written.
    pub kind: Arc<str>,
    /// Empty if not written.
    pub name: Arc<str>,
}

/// `v1` Namespace.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Namespace {
    /// Labels as written; `kubernetes.io/metadata.name` is added, as the API server does.
    pub meta: ObjectMeta,
    /// Where.
    pub position: Position,
}

/// `v1` Node.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Node {
    /// Metadata.
    pub meta: ObjectMeta,
    /// Where.
    pub position: Position,
    /// Every IP address of `status.addresses`.
    pub addresses: Vec<IpAddr>,
    /// `spec.podCIDRs`: where its pods get their addresses from, where the cluster says so.
    pub pod_networks: Vec<IpNet>,
}

/// Every field of `metadata` that the API has.
const FIELDS: [&str; 16] = [
    "annotations",
    "clusterName",
    "creationTimestamp",
    "deletionGracePeriodSeconds",
    "deletionTimestamp",
    "finalizers",
    "generateName",
    "generation",
    "labels",
    "managedFields",
    "name",
    "namespace",
    "ownerReferences",
    "resourceVersion",
    "selfLink",
    "uid",
];

/// What differs between kinds in how metadata is read.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Scope {
    /// Cluster-scoped.
    Cluster,
    /// Within a namespace.
    Namespaced,
}

impl ObjectMeta {
    /// Reads `metadata`. `strict`: unknown fields are errors.
    pub(crate) fn decode<'n>(decoder: &mut Decoder<'n>, object: Map<'n>, scope: Scope, strict: bool) -> Self {
        let default_namespace = if scope == Scope::Namespaced { "default" } else { "" };
        let read = decoder.required(object, "metadata", |d, node| {
            let map = if strict { d.strict(node, &FIELDS)? } else { d.map(node)? };
            Some(Self::fields(d, map, scope))
        });
        let mut meta = read.unwrap_or_default();
        if meta.namespace.is_empty() {
            meta.namespace = decoder.intern(default_namespace);
        }
        meta
    }

    fn fields<'n>(d: &mut Decoder<'n>, map: Map<'n>, scope: Scope) -> Self {
        let generate_name = d.field(map, "generateName", Decoder::string).flatten().unwrap_or_default();
        let mut name = d.field(map, "name", object_name).flatten().unwrap_or_default();
        if name.is_empty() && map.get("name").is_none() {
            if generate_name.is_empty() {
                d.error(map.place, Code::InvalidName, "the object has no name");
            } else {
                name = d.intern(generate_name.trim_end_matches('-'));
            }
        }
        let namespace = d.field(map, "namespace", |d, node| {
            let text = d.str(node)?;
            if scope == Scope::Cluster {
                let message = "this kind belongs to no namespace; the field is ignored";
                d.report(node.place, Diagnostic::warning(Code::InvalidValue, message));
                return None;
            }
            if text.is_empty() {
                return None;
            }
            if let Some(wrong) = name::dns_label(text) {
                d.error(
                    node.place,
                    Code::InvalidName,
                    format!("{:?} is no namespace name: {wrong}", short(text)),
                );
            }
            // What is no name anyway must not be that of a namespace of another cluster, ml@west: no policy has such a subject.
            Some(d.intern(&text.replace('@', "_")))
        });
        Self {
            name,
            namespace: namespace.flatten().unwrap_or_default(),
            labels: d.field(map, "labels", labels).unwrap_or_default(),
            annotations: d.field(map, "annotations", Decoder::text_map).unwrap_or_default(),
            owners: d.field(map, "ownerReferences", owners).unwrap_or_default(),
            generate_name,
            deleting: map.get("deletionTimestamp").is_some(),
            uid: d.field(map, "uid", Decoder::string).flatten().unwrap_or_default(),
            created: d.field(map, "creationTimestamp", Decoder::string).flatten().unwrap_or_default(),
            generation: d.field(map, "generation", Decoder::integer).flatten().unwrap_or_default(),
        }
    }
}

/// A name the API would reject is a warning only: it changes nothing of what the object means, and manifests that
/// were never applied carry such names.
fn object_name<'n>(d: &mut Decoder<'n>, node: &'n YamlNode<'n>) -> Option<Arc<str>> {
    let text = d.str(node)?;
    if text.is_empty() {
        d.error(node.place, Code::InvalidName, "the object has no name");
    } else if let Some(wrong) = name::dns_subdomain(text) {
        let message = format!("{:?} is no object name: {wrong}", short(text));
        d.report(node.place, Diagnostic::warning(Code::InvalidName, message));
    }
    Some(d.intern(text))
}

/// Labels, each checked.
pub(crate) fn labels<'n>(d: &mut Decoder<'n>, node: &'n YamlNode<'n>) -> BTreeMap<Arc<str>, Arc<str>> {
    let labels = d.text_map(node);
    for (key, value) in &labels {
        if let Some(wrong) = name::label_key(key) {
            d.error(node.place, Code::InvalidSelector, format!("{:?} is no label key: {wrong}", short(key)));
        }
        if let Some(wrong) = name::label_value(value) {
            let message = format!("{:?} is no label value (of {:?}): {wrong}", short(value), short(key));
            d.error(node.place, Code::InvalidSelector, message);
        }
    }
    labels
}

fn owners<'n>(d: &mut Decoder<'n>, node: &'n YamlNode<'n>) -> Vec<OwnerReference> {
    let owners = d.list(node, |d, node| {
        let map = d.map(node)?;
        Some(OwnerReference {
            kind: d.field(map, "kind", Decoder::string).flatten().unwrap_or_default(),
            name: d.field(map, "name", Decoder::string).flatten().unwrap_or_default(),
        })
    });
    owners.unwrap_or_default()
}

/// Enough of a text for a message.
pub(crate) fn short(text: &str) -> String {
    text.chars().take(80).collect()
}

/// Addresses, each once; texts that are no address are errors.
pub(crate) fn address<'n>(d: &mut Decoder<'n>, node: &'n YamlNode<'n>) -> Option<IpAddr> {
    let text = d.str(node)?;
    if text.is_empty() || text == "None" {
        return None;
    }
    let parsed = text.parse();
    if parsed.is_err() {
        d.error(node.place, Code::InvalidValue, format!("{:?} is no IP address", short(text)));
    }
    parsed.ok()
}

impl Namespace {
    pub(crate) fn decode<'n>(d: &mut Decoder<'n>, object: Map<'n>) -> Self {
        let mut meta = ObjectMeta::decode(d, object, Scope::Cluster, false);
        let key = d.intern("kubernetes.io/metadata.name");
        meta.labels.insert(key, meta.name.clone());
        Self { position: d.position(object.place), meta }
    }
}

impl Node {
    pub(crate) fn decode<'n>(d: &mut Decoder<'n>, object: Map<'n>) -> Self {
        let meta = ObjectMeta::decode(d, object, Scope::Cluster, false);
        let addresses = d.field(object, "status", |d, node| {
            let map = d.map(node)?;
            d.field(map, "addresses", |d, node| d.list(node, node_address)).flatten()
        });
        let mut addresses = addresses.flatten().unwrap_or_default();
        addresses.sort_unstable();
        addresses.dedup();
        let pod_networks = d.field(object, "spec", |d, node| {
            let map = d.map(node)?;
            d.field(map, "podCIDRs", Decoder::strings)
        });
        // Another form than Kubernetes' own means nothing here.
        let pod_networks = pod_networks.flatten().unwrap_or_default();
        let pod_networks = pod_networks.iter().filter_map(|text| text.parse().ok()).collect();
        Self { position: d.position(object.place), meta, addresses, pod_networks }
    }
}

/// Host names among the addresses are left out.
fn node_address<'n>(d: &mut Decoder<'n>, node: &'n YamlNode<'n>) -> Option<IpAddr> {
    let map = d.map(node)?;
    let kind = d.field(map, "type", Decoder::str).flatten().unwrap_or_default();
    if !matches!(kind, "InternalIP" | "ExternalIP" | "") {
        return None;
    }
    d.field(map, "address", address).flatten()
}
