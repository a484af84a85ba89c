//! From bytes to objects: every document of a file, by kind.

use crate::admin_network_policy;
use crate::cluster_network_policy::{ClusterPolicy, ClusterPolicyKind, V1ALPHA2};
use crate::containment::Containment;
use crate::decode::{Decoder, Kept, Map, edits, is_null, json, nearest};
use crate::detection_policy::DetectionPolicy;
use crate::diagnostic::{Code, Diagnostic, ObjectName, Position};
use crate::document::{self, Document, Node as YamlNode, Place, Value};
use crate::egress_policy::{self, EgressPolicy, EgressPolicyKind};
use crate::gateway_api::GatewayApi;
use crate::glimpse::{Glimpse, fields};
use crate::identity_slice::IdentitySlice;
use crate::inference_policy::InferencePolicy;
use crate::key_secret::KeySecret;
use crate::meta::{Namespace, Node, ObjectMeta, short};
use crate::network_policy::NetworkPolicy;
use crate::pod::Pod;
use crate::read_elsewhere::ReadElsewhere;
use crate::service::{Ingress, Service};
use crate::workload::{Workload, WorkloadKind};
use std::collections::BTreeSet;
use std::sync::Arc;

/// What a file held.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Read {
    /// In the order of the file.
    pub objects: Vec<Object>,
    /// What is wrong with it.
    pub diagnostics: Vec<Diagnostic>,
}

/// One object of a kind Cofferdam reads.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Object {
    /// `v1`
    Namespace(Namespace),
    /// `v1`
    Node(Node),
    /// `v1`
    Pod(Pod),
    /// A kind that makes pods.
    Workload(Workload),
    /// `v1`
    Service(Service),
    /// Ingress or Route.
    Ingress(Ingress),
    /// `networking.k8s.io/v1`
    NetworkPolicy(NetworkPolicy),
    /// ClusterNetworkPolicy, AdminNetworkPolicy or BaselineAdminNetworkPolicy.
    ClusterPolicy(ClusterPolicy),
    /// EgressPolicy or ClusterEgressPolicy.
    EgressPolicy(EgressPolicy),
    /// `cofferdam.dev`
    InferencePolicy(InferencePolicy),
    /// Of the Gateway API, or what its objects refer to.
    GatewayApi(GatewayApi),
    /// `v1` Secret, labelled to be used.
    KeySecret(KeySecret),
    /// `cofferdam.dev`
    DetectionPolicy(DetectionPolicy),
    /// `cofferdam.dev`
    Containment(Containment),
    /// `cofferdam.dev`
    IdentitySlice(IdentitySlice),
}

impl Object {
    /// Its kind, as written.
    pub fn kind(&self) -> &'static str {
        match self {
            Self::Namespace(_) => "Namespace",
            Self::Node(_) => "Node",
            Self::Pod(_) => "Pod",
            Self::Workload(workload) => workload.kind.as_str(),
            Self::Service(_) => "Service",
            Self::Ingress(ingress) => ingress.kind,
            Self::NetworkPolicy(_) => "NetworkPolicy",
            Self::ClusterPolicy(policy) => policy.kind.as_str(),
            Self::EgressPolicy(policy) => policy.kind().as_str(),
            Self::InferencePolicy(_) => "InferencePolicy",
            Self::GatewayApi(object) => object.kind(),
            Self::KeySecret(_) => "Secret",
            Self::DetectionPolicy(_) => "DetectionPolicy",
            Self::Containment(_) => "Containment",
            Self::IdentitySlice(_) => "IdentitySlice",
        }
    }

    /// Its metadata.
    pub fn meta(&self) -> &ObjectMeta {
        match self {
            Self::Namespace(object) => &object.meta,
            Self::Node(object) => &object.meta,
            Self::Pod(object) => &object.meta,
            Self::Workload(object) => &object.meta,
            Self::Service(object) => &object.meta,
            Self::Ingress(object) => &object.meta,
            Self::NetworkPolicy(object) => &object.meta,
            Self::ClusterPolicy(object) => &object.meta,
            Self::EgressPolicy(object) => &object.meta,
            Self::InferencePolicy(object) => &object.meta,
            Self::GatewayApi(object) => object.meta(),
            Self::KeySecret(object) => &object.meta,
            Self::DetectionPolicy(object) => &object.meta,
            Self::Containment(object) => &object.meta,
            Self::IdentitySlice(object) => &object.meta,
        }
    }

    /// Where it begins.
    pub fn position(&self) -> &Position {
        match self {
            Self::Namespace(object) => &object.position,
            Self::Node(object) => &object.position,
            Self::Pod(object) => &object.position,
            Self::Workload(object) => &object.position,
            Self::Service(object) => &object.position,
            Self::Ingress(object) => &object.position,
            Self::NetworkPolicy(object) => &object.position,
            Self::ClusterPolicy(object) => &object.position,
            Self::EgressPolicy(object) => &object.position,
            Self::InferencePolicy(object) => &object.position,
            Self::GatewayApi(object) => object.position(),
            Self::KeySecret(object) => &object.position,
            Self::DetectionPolicy(object) => &object.position,
            Self::Containment(object) => &object.position,
            Self::IdentitySlice(object) => &object.position,
        }
    }

    /// Kind, namespace and name.
    pub fn object_name(&self) -> ObjectName {
        let meta = self.meta();
        ObjectName { kind: self.kind().into(), namespace: meta.namespace.clone(), name: meta.name.clone() }
    }
}

/// Reads every object of a YAML or JSON file, in UTF-8 or UTF-16.
///
/// Whatever cannot be read is a diagnostic; a policy that cannot be applied as written is returned nonetheless, as
/// `broken`, so that its scope can be closed.
pub fn read_objects(file: &str, bytes: &[u8]) -> Read {
    let file: Arc<str> = file.into();
    let bytes = document::in_utf8(bytes);
    let documents = match document::read(&file, &bytes) {
        Ok(documents) => documents,
        Err(diagnostic) => return Read { objects: Vec::new(), diagnostics: vec![*diagnostic] },
    };
    let mut objects = Vec::new();
    let mut kept = Kept::default();
    for document in documents {
        let mut decoder = Decoder::new(file.clone(), kept);
        match &document {
            Document::Broken { text, place, diagnostic } => {
                objects.extend(salvage(&mut decoder, text, *place, diagnostic));
            }
            Document::Read { root, flaws } => read_document(&mut decoder, root, flaws, &mut objects),
        }
        kept = decoder.finish();
    }
    Read { objects, diagnostics: kept.diagnostics }
}

/// Reads one object of an API server, or every item of a list. `origin` stands where a file's name would.
///
/// As [`read_objects`], except that nothing has a line.
pub fn read_value(origin: &str, value: &serde_json::Value) -> Read {
    let root = document::tree(value);
    let mut decoder = Decoder::new(origin.into(), Kept::default());
    let mut objects = Vec::new();
    read_document(&mut decoder, &root, &[], &mut objects);
    Read { objects, diagnostics: decoder.finish().diagnostics }
}

/// Every object of a YAML or JSON file as JSON, unread: for whoever hands it on to an API server. What is no object is
/// left out; [`read_objects`] says what is wrong with it.
pub fn as_json(file: &str, bytes: &[u8]) -> Vec<serde_json::Value> {
    let file: Arc<str> = file.into();
    let bytes = document::in_utf8(bytes);
    let mut objects = Vec::new();
    for document in document::read(&file, &bytes).into_iter().flatten() {
        let Document::Read { root, .. } = &document else { continue };
        let (mut decoder, mut items) = (Decoder::new(file.clone(), Kept::default()), Vec::new());
        expand(&mut decoder, root, None, &mut items);
        for Item { node, kind, api_version } in items {
            let mut object = json(node);
            if let Some(fields) = object.as_object_mut() {
                // Items of a typed list inherit them.
                fields.insert("kind".into(), kind.into());
                fields.insert("apiVersion".into(), api_version.into());
            }
            objects.push(object);
        }
    }
    objects
}

fn read_document<'n>(
    decoder: &mut Decoder<'n>,
    root: &'n YamlNode<'n>,
    flaws: &[document::Flaw],
    objects: &mut Vec<Object>,
) {
    let mut items = Vec::new();
    expand(decoder, root, None, &mut items);
    let mut flaws = flaws.iter().peekable();
    for (i, item) in items.iter().enumerate() {
        // Flaws are in the order of the file; those before the next object are this one's.
        let end = items.get(i + 1).map(|next| next.node.place);
        let own = std::iter::from_fn(|| flaws.next_if(|flaw| end.is_none_or(|end| flaw.place < end)));
        objects.extend(decode(decoder, item, own.map(|flaw| flaw.diagnostic.clone())));
    }
    decoder.begin(None);
    flaws.for_each(|flaw| decoder.add(flaw.diagnostic.clone()));
}

/// One object before it is decoded.
struct Item<'n> {
    node: &'n YamlNode<'n>,
    kind: &'n str,
    api_version: &'n str,
}

/// A text field of a mapping, read without any complaint.
fn peek<'n>(node: &'n YamlNode<'n>, name: &str) -> Option<&'n YamlNode<'n>> {
    let Value::Mapping(entries) = &node.value else { return None };
    entries.iter().find(|entry| entry.key == name).map(|entry| &entry.node)
}

fn peek_text<'n>(node: &'n YamlNode<'n>, name: &str) -> Option<&'n str> {
    match &peek(node, name)?.value {
        Value::Scalar { text, .. } => Some(text.as_ref()).filter(|text| !text.is_empty()),
        Value::Sequence(_) | Value::Mapping(_) => None,
    }
}

/// Finds the objects of a document: itself, or the items of a list. `list` is the kind and version that items of a
/// typed list inherit.
fn expand<'n>(
    d: &mut Decoder<'n>,
    node: &'n YamlNode<'n>,
    list: Option<(&'n str, &'n str)>,
    items: &mut Vec<Item<'n>>,
) {
    d.begin(None);
    if is_null(node) {
        return;
    }
    if !matches!(node.value, Value::Mapping(_)) {
        d.error(
            node.place,
            Code::NotAnObject,
            "no Kubernetes object: a mapping with apiVersion and kind is needed",
        );
        return;
    }
    let Some(kind) = peek_text(node, "kind").or(list.map(|(kind, _)| kind)) else {
        let mut diagnostic = Diagnostic::error(Code::NotAnObject, "no Kubernetes object: kind is missing");
        diagnostic.suggestion = peek(node, "expect").map(|_| {
            "a case of `cofferdam policy verify`? Give it apiVersion: conformance/v1 and kind: Case, and it may lie among manifests"
                .to_owned()
        });
        d.report(node.place, diagnostic);
        return;
    };
    let api_version = peek_text(node, "apiVersion").or(list.map(|(_, version)| version)).unwrap_or_default();
    // A PriceList is itself an object.
    let item_kind = kind.strip_suffix("List").filter(|_| ReadElsewhere::named(kind).is_none());
    let Some(item_kind) = item_kind else {
        items.push(Item { node, kind, api_version });
        return;
    };
    let inherited = (!item_kind.is_empty()).then_some((item_kind, api_version));
    match peek(node, "items").map(|node| &node.value) {
        Some(Value::Sequence(nodes)) => nodes.iter().for_each(|node| expand(d, node, inherited, items)),
        Some(Value::Scalar { .. }) | None => {}
        Some(Value::Mapping(_)) => d.error(node.place, Code::WrongType, "the items of a list are no list"),
    }
}

fn decode<'n>(
    d: &mut Decoder<'n>,
    item: &Item<'n>,
    flaws: impl Iterator<Item = Diagnostic>,
) -> Option<Object> {
    let object = object_name(d, item);
    d.begin(Some(object));
    flaws.for_each(|flaw| d.add(flaw));
    let map = d.map(item.node)?;
    if item.api_version.is_empty() {
        let wanted = POLICY_KINDS.iter().find(|(_, name, _)| *name == item.kind);
        let mut diagnostic = Diagnostic::error(Code::NotAnObject, "apiVersion is missing");
        diagnostic.suggestion = wanted.map(|(_, _, version)| format!("apiVersion: {version}"));
        d.report(item.node.place, diagnostic);
    }
    let (group, version) = item.api_version.rsplit_once('/').unwrap_or(("", item.api_version));
    if let Some(policy) = PolicyKind::of(group, item.kind) {
        return Some(policy.decode(d, map, item));
    }
    if let Some(kind) = WorkloadKind::of(group, item.kind) {
        return Some(Object::Workload(Workload::decode(d, map, kind)));
    }
    if let Some(object) = GatewayApi::decode(d, item.node, map, (group, version, item.kind)) {
        return Some(Object::GatewayApi(object));
    }
    match (group, item.kind) {
        ("", "Namespace") => Some(Object::Namespace(Namespace::decode(d, map))),
        ("", "Node") => Some(Object::Node(Node::decode(d, map))),
        ("", "Pod") => Some(Object::Pod(Pod::decode(d, map))),
        ("", "Service") => Some(Object::Service(Service::decode(d, map))),
        ("networking.k8s.io" | "extensions", "Ingress") => Some(Object::Ingress(Ingress::decode(d, map))),
        ("route.openshift.io" | "", "Route") => Some(Object::Ingress(Ingress::decode_route(d, map))),
        (OWN_GROUP, "IdentitySlice") if version == "v1alpha1" => {
            Some(Object::IdentitySlice(IdentitySlice::decode(d, map)))
        }
        ("", "Secret") if KeySecret::is_one(map) => Some(Object::KeySecret(KeySecret::decode(d, map))),
        (group, kind) => {
            unknown_kind(d, item, group, version, kind);
            None
        }
    }
}

fn object_name<'n>(d: &mut Decoder<'n>, item: &Item<'n>) -> ObjectName {
    let metadata = peek(item.node, "metadata");
    let text = |name| metadata.and_then(|node| peek_text(node, name));
    let cluster = matches!(item.kind, "Namespace" | "Node" | "GatewayClass")
        || ReadElsewhere::named(item.kind).is_some_and(|it| it.is_of_cluster)
        || PolicyKind::named(item.kind).is_some_and(PolicyKind::is_of_cluster);
    let namespace = if cluster { "" } else { text("namespace").unwrap_or("default") };
    let name = text("name").or(text("generateName")).unwrap_or_default();
    ObjectName { kind: d.intern(&short(item.kind)), namespace: d.intern(namespace), name: d.intern(name) }
}

/// A kind that says what is allowed, or what nobody has to see, and so must never be skipped.
#[derive(Clone, Copy, PartialEq, Eq)]
enum PolicyKind {
    Namespaced,
    Cluster(ClusterPolicyKind),
    Egress(EgressPolicyKind),
    Inference,
    Detection,
    Containment,
}

const POLICY_KINDS: [(PolicyKind, &str, &str); 9] = [
    (PolicyKind::Namespaced, "NetworkPolicy", "networking.k8s.io/v1"),
    (
        PolicyKind::Cluster(ClusterPolicyKind::ClusterNetworkPolicy),
        "ClusterNetworkPolicy",
        "policy.networking.k8s.io/v1alpha2",
    ),
    (
        PolicyKind::Cluster(ClusterPolicyKind::AdminNetworkPolicy),
        "AdminNetworkPolicy",
        "policy.networking.k8s.io/v1alpha1",
    ),
    (
        PolicyKind::Cluster(ClusterPolicyKind::BaselineAdminNetworkPolicy),
        "BaselineAdminNetworkPolicy",
        "policy.networking.k8s.io/v1alpha1",
    ),
    (PolicyKind::Egress(EgressPolicyKind::EgressPolicy), "EgressPolicy", egress_policy::API_VERSION),
    (
        PolicyKind::Egress(EgressPolicyKind::ClusterEgressPolicy),
        "ClusterEgressPolicy",
        egress_policy::API_VERSION,
    ),
    (PolicyKind::Inference, "InferencePolicy", egress_policy::API_VERSION),
    (PolicyKind::Detection, "DetectionPolicy", egress_policy::API_VERSION),
    (PolicyKind::Containment, "Containment", egress_policy::API_VERSION),
];

/// Where own kinds are.
const OWN_GROUP: &str = "cofferdam.dev";

impl PolicyKind {
    /// By kind alone.
    fn named(kind: &str) -> Option<Self> {
        POLICY_KINDS.iter().find(|(_, name, _)| *name == kind).map(|(policy, _, _)| *policy)
    }

    /// Kinds of the same name in other products' groups are not meant.
    fn of(group: &str, kind: &str) -> Option<Self> {
        Self::named(kind).filter(|policy| match policy {
            Self::Namespaced | Self::Cluster(_) => {
                matches!(group, "" | "extensions" | "networking.k8s.io" | "policy.networking.k8s.io")
            }
            Self::Egress(_) | Self::Inference | Self::Detection | Self::Containment => {
                matches!(group, "" | OWN_GROUP)
            }
        })
    }

    fn is_of_cluster(self) -> bool {
        match self {
            Self::Namespaced
            | Self::Egress(EgressPolicyKind::EgressPolicy)
            | Self::Inference
            | Self::Detection => false,
            Self::Cluster(_) | Self::Egress(EgressPolicyKind::ClusterEgressPolicy) | Self::Containment => {
                true
            }
        }
    }

    /// As of which no more than the metadata is known.
    fn unreadable(self, meta: ObjectMeta, position: Position) -> Object {
        match self {
            Self::Namespaced => Object::NetworkPolicy(NetworkPolicy::unreadable(meta, position)),
            Self::Cluster(kind) => Object::ClusterPolicy(ClusterPolicy::unreadable(kind, meta, position)),
            Self::Egress(kind) => Object::EgressPolicy(EgressPolicy::unreadable(kind, meta, position)),
            Self::Inference => Object::InferencePolicy(InferencePolicy::unreadable(meta, position)),
            Self::Detection => Object::DetectionPolicy(DetectionPolicy::unreadable(meta, position)),
            Self::Containment => Object::Containment(Containment::unreadable(meta, position)),
        }
    }

    fn decode<'n>(self, d: &mut Decoder<'n>, map: Map<'n>, item: &Item<'n>) -> Object {
        let wanted =
            POLICY_KINDS.iter().find(|(policy, _, _)| *policy == self).map(|(_, _, version)| *version);
        if let Some(wanted) =
            wanted.filter(|wanted| *wanted != item.api_version && !item.api_version.is_empty())
        {
            let message = format!("{:?} has no {} that can be read", short(item.api_version), item.kind);
            let diagnostic = Diagnostic::error(Code::UnknownPolicyKind, message);
            d.report(item.node.place, diagnostic.suggest(format!("apiVersion: {wanted}")));
        }
        d.strict(item.node, &["apiVersion", "kind", "metadata", "spec", "status"]);
        match self {
            Self::Namespaced => Object::NetworkPolicy(NetworkPolicy::decode(d, map)),
            Self::Cluster(ClusterPolicyKind::ClusterNetworkPolicy) => {
                Object::ClusterPolicy(ClusterPolicy::decode(d, map, V1ALPHA2))
            }
            Self::Cluster(ClusterPolicyKind::AdminNetworkPolicy) => {
                Object::ClusterPolicy(admin_network_policy::decode_admin(d, map))
            }
            Self::Cluster(ClusterPolicyKind::BaselineAdminNetworkPolicy) => {
                Object::ClusterPolicy(admin_network_policy::decode_baseline(d, map))
            }
            Self::Egress(kind) => Object::EgressPolicy(EgressPolicy::decode(d, map, kind)),
            Self::Inference => Object::InferencePolicy(InferencePolicy::decode(d, map)),
            Self::Detection => Object::DetectionPolicy(DetectionPolicy::decode(d, map)),
            Self::Containment => Object::Containment(Containment::decode(d, map)),
        }
    }
}

/// Groups of policies.
const POLICY_GROUPS: [&str; 3] = ["networking.k8s.io", "policy.networking.k8s.io", OWN_GROUP];
/// Most letters in which a group is one of these that was mistyped, and not another product's.
const MISTYPED: usize = 2;

/// A policy in a group that Cofferdam answers for, or in one that is nearly such a group, is an error, another product's policy a warning, the rest a note.
fn unknown_kind<'n>(d: &mut Decoder<'n>, item: &Item<'n>, group: &str, version: &str, kind: &str) {
    let place = item.node.place;
    let close = nearest(kind, POLICY_KINDS.iter().map(|(_, name, _)| *name));
    let policy_like = close.is_some() || kind.to_ascii_lowercase().contains("policy");
    let mistyped = close.is_some() && POLICY_GROUPS.iter().any(|known| edits(group, known) <= MISTYPED);
    let ours = matches!(group, "policy.networking.k8s.io" | OWN_GROUP)
        || mistyped
        || policy_like && matches!(group, "" | "extensions" | "networking.k8s.io");
    let written = short(&if group.is_empty() {
        format!("{kind} {version}")
    } else {
        format!("{kind} {group}/{version}")
    });
    // What `cofferdam policy verify` reads may lie among manifests.
    if (kind, group, version) == ("Case", "conformance", "v1") {
        return;
    }
    let elsewhere = ReadElsewhere::named(kind).filter(|_| group == OWN_GROUP && version == "v1alpha1");
    if let Some(elsewhere) = elsewhere {
        let message = format!("{}; it is no policy, and among manifests it is not read", elsewhere.what);
        let diagnostic = match elsewhere.is_by_option {
            true => Diagnostic::warning(Code::UnknownKind, message),
            false => Diagnostic::note(Code::UnknownKind, message),
        };
        d.report(place, diagnostic.suggest(elsewhere.who));
    } else if ours {
        let mut diagnostic = Diagnostic::error(
            Code::UnknownPolicyKind,
            format!("{written} is no policy kind Cofferdam knows; it is not enforced"),
        );
        diagnostic.suggestion = match ReadElsewhere::near(kind).filter(|_| group == OWN_GROUP) {
            Some(near) if close.is_none() => {
                Some(format!("did you mean kind {} of {}?", near.kind, egress_policy::API_VERSION))
            }
            Some(_) | None => POLICY_KINDS
                .iter()
                .find(|(_, name, _)| Some(*name) == close)
                .map(|(_, name, version)| format!("did you mean kind {name} of {version}?")),
        };
        d.report(place, diagnostic);
    } else if policy_like && kind.to_ascii_lowercase().contains("network") {
        let message = format!("{written} is another product's policy; it is not enforced");
        d.report(place, Diagnostic::warning(Code::UnknownKind, message));
    } else {
        // Nobody here knows whether it is in a namespace at all, where it names none.
        if peek(item.node, "metadata").and_then(|node| peek_text(node, "namespace")).is_none() {
            let object = ObjectName { namespace: d.intern(""), ..object_name(d, item) };
            d.begin(Some(object));
        }
        d.report(
            place,
            Diagnostic::note(Code::UnknownKind, format!("{written} is not a kind Cofferdam reads")),
        );
    }
}

/// What a document that is not well-formed was going to be. A policy comes back as unreadable, so that its scope is
/// closed: its namespace, or for a cluster-wide one everything. A list comes back as all the policies it mentions.
fn salvage(d: &mut Decoder<'_>, text: &str, place: Place, diagnostic: &Diagnostic) -> Vec<Object> {
    let glimpse = Glimpse::new(text);
    let kind = glimpse.kind.clone().unwrap_or_default();
    let namespace: Arc<str> = glimpse.namespace.as_deref().unwrap_or("default").into();
    let name: Arc<str> = glimpse.name.as_deref().unwrap_or_default().into();
    // Without a readable apiVersion it may be ours, and is taken to be.
    let group = glimpse.api_version.as_deref().and_then(|version| version.split_once('/'));
    let policy = PolicyKind::of(group.map_or("", |(group, _)| group), &kind);
    let of_cluster = policy.is_some_and(PolicyKind::is_of_cluster);
    let namespace = if of_cluster { "".into() } else { namespace };
    let object = glimpse.kind.as_ref().map(|kind| ObjectName {
        kind: kind.as_str().into(),
        namespace: namespace.clone(),
        name: name.clone(),
    });
    d.begin(object);
    d.add(diagnostic.clone());
    let position = d.position(place);
    let meta = |name: &Arc<str>, namespace: &Arc<str>| ObjectMeta {
        name: name.clone(),
        namespace: namespace.clone(),
        ..ObjectMeta::default()
    };
    if let Some(policy) = policy {
        return vec![policy.unreadable(meta(&name, &namespace), position)];
    }
    if !kind.ends_with("List") {
        return Vec::new();
    }
    let mut objects = Vec::new();
    let kinds: BTreeSet<String> = fields(text, "kind").collect();
    for policy in kinds.iter().filter_map(|kind| PolicyKind::of("", kind)) {
        let mut namespaces: BTreeSet<String> = match policy.is_of_cluster() {
            false => fields(text, "namespace").collect(),
            true => BTreeSet::from([String::new()]),
        };
        if namespaces.is_empty() {
            namespaces.insert("default".to_owned());
        }
        for namespace in namespaces {
            objects.push(policy.unreadable(meta(&name, &namespace.into()), position.clone()));
        }
    }
    objects
}
