//! Who exists: namespaces, pods and nodes, from what manifests or an API server say, and pods that other clusters export.
//!
//! Enters: objects. Leaves: a [`World`], and scopes to close where it contradicts itself.
//! Guarantees: names are unique, an address belongs to one live pod or all its holders are closed, completed pods are
//! gone. Does not: know any DNS name; whoever watches DNS fills [`World::names`].
//!
//! Where two objects of one kind and name differ:
//! - namespaces: nobody knows which labels hold, so all pods of the namespace are closed;
//! - pods and workloads: the first is kept, its pods are closed;
//! - nodes: they keep the labels that both agree on, and all addresses.
//!
//! Closed pods carry the label [`CLOSED_LABEL`], so that a scope can select exactly them.

mod contained;
pub(crate) mod elsewhere;
mod imports;
mod nodes;
pub(crate) mod pods;
mod workloads;

use crate::convert::{Context, source};
use crate::prepare::{Form, Prepared};
use crate::rules::Closure;
pub(crate) use contained::contained_label;
use crds::{Code, Diagnostic, EgressPolicyKind, GatewayApi, Object, ObjectName, Position};
use elsewhere::WrittenSlice;
use imports::Imports;
pub(crate) use imports::{imported_label, service_of};
use pods::WrittenPod;
use policy::{Direction, Namespace, NamespaceScope, ObjectRef, Pod, Requirement, Selector, Subject, World};
use std::cmp::Ordering;
use std::collections::{BTreeMap, BTreeSet, HashMap};
use std::net::IpAddr;
use std::sync::Arc;

/// Put on pods whose address or definition is contradicted; a closed scope selects it.
pub const CLOSED_LABEL: &str = "cofferdam.dev/closed";

/// The label every namespace carries.
pub(crate) const NAME_LABEL: &str = "kubernetes.io/metadata.name";

/// The objects of one compilation, by kind.
#[derive(Default)]
pub(crate) struct Sorted<'o> {
    pub(crate) namespaces: Vec<&'o crds::Namespace>,
    pub(crate) nodes: Vec<&'o crds::Node>,
    pub(crate) pods: Vec<&'o WrittenPod>,
    pub(crate) workloads: Vec<&'o crds::Workload>,
    pub(crate) network: Vec<&'o crds::NetworkPolicy>,
    pub(crate) cluster: Vec<&'o crds::ClusterPolicy>,
    pub(crate) egress: Vec<&'o crds::EgressPolicy>,
    pub(crate) inference: Vec<&'o crds::InferencePolicy>,
    pub(crate) keys: Vec<&'o crds::KeySecret>,
    pub(crate) detection: Vec<&'o crds::DetectionPolicy>,
    pub(crate) containments: Vec<&'o crds::Containment>,
    pub(crate) slices: Vec<&'o WrittenSlice>,
    /// Endpoints of services of all clusters.
    pub(crate) imported: Vec<&'o crds::EndpointSlice>,
}

impl<'o> Sorted<'o> {
    /// By kind. Services, their own EndpointSlices and Ingresses play no part: policy sees pods after load-balancing.
    pub(crate) fn new(objects: impl IntoIterator<Item = &'o Prepared>) -> Self {
        let mut sorted = Self::default();
        for object in objects {
            match object {
                Prepared(Form::Pod(it)) => sorted.pods.push(it),
                Prepared(Form::Slice(it)) => sorted.slices.push(it),
                Prepared(Form::Other(object)) => match &**object {
                    Object::Namespace(it) => sorted.namespaces.push(it),
                    Object::Node(it) => sorted.nodes.push(it),
                    Object::Workload(it) => sorted.workloads.push(it),
                    Object::NetworkPolicy(it) => sorted.network.push(it),
                    Object::ClusterPolicy(it) => sorted.cluster.push(it),
                    Object::EgressPolicy(it) => sorted.egress.push(it),
                    // Pods and slices have a form of their own.
                    Object::Pod(_) | Object::IdentitySlice(_) | Object::Service(_) | Object::Ingress(_) => {}
                    Object::InferencePolicy(it) => sorted.inference.push(it),
                    Object::GatewayApi(GatewayApi::Slice(it)) if it.imported.is_some() => {
                        sorted.imported.push(it);
                    }
                    // They say by which way a server is asked, and nothing of connections.
                    Object::GatewayApi(_) => {}
                    Object::KeySecret(it) => sorted.keys.push(it),
                    Object::DetectionPolicy(it) => sorted.detection.push(it),
                    Object::Containment(it) => sorted.containments.push(it),
                },
            }
        }
        sorted
    }
}

/// Says of policies that other parts enforce that nothing here does.
pub(crate) fn tell_elsewhere(context: &mut Context, sorted: &Sorted<'_>) {
    for it in &sorted.inference {
        let name = ObjectName {
            kind: "InferencePolicy".into(),
            namespace: it.meta.namespace.clone(),
            name: it.meta.name.clone(),
        };
        let note = Diagnostic::note(
            Code::Unsupported,
            "it is enforced by `cofferdam ingress-gateway`, by nothing else: nodes judge connections alone",
        );
        context.report(note.of(name).at(it.position.clone()));
    }
}

/// A pod of the world with the place it was written at.
pub(crate) struct Placed {
    pub(crate) pod: Arc<Pod>,
    pub(crate) position: Position,
    /// `status.hostIPs`
    pub(crate) host_addresses: Vec<IpAddr>,
    /// Why it must be closed, if it must.
    pub(crate) closed: Option<&'static str>,
}

impl Placed {
    /// Of the world: by namespace and name.
    fn order(&self, other: &Self) -> Ordering {
        let (a, b) = (&self.pod, &other.pod);
        // Most are the same text in memory.
        let by_namespace = if Arc::ptr_eq(&a.namespace, &b.namespace) {
            Ordering::Equal
        } else {
            a.namespace.cmp(&b.namespace)
        };
        by_namespace.then_with(|| a.name.cmp(&b.name))
    }

    fn name(&self) -> ObjectName {
        ObjectName { kind: "Pod".into(), namespace: self.pod.namespace.clone(), name: self.pod.name.clone() }
    }
}

/// Builds the world. The second value is what it wants closed.
pub(crate) fn world(context: &mut Context, sorted: &Sorted<'_>) -> (World, Vec<Closure>) {
    let mut closures = Vec::new();
    let mut world = World { namespaces: namespaces(context, sorted, &mut closures), ..World::default() };
    world.nodes = nodes::declared(context, &sorted.nodes);
    let mut placed = pods::written(context, &sorted.pods);
    let expanded = workloads::expand(context, sorted, &placed, &world.nodes);
    if !expanded.is_empty() {
        placed.extend(expanded);
        placed.sort_by(Placed::order);
    }
    nodes::bind(context, &mut world.nodes, &mut placed);
    close_shared_addresses(context, &world, &mut placed);
    closures.extend(close_marked(context, &mut placed));
    contained::mark(context, sorted, &mut placed);
    world.pods = placed.into_iter().map(|placed| placed.pod).collect();
    let imports = Imports::new(sorted);
    imports.mark_here(context, &mut world.pods);
    implicit_namespaces(context, sorted, &mut world);
    elsewhere::add(context, sorted, &imports, &mut world);
    (world, closures)
}

/// Reports a second object of one name. Returns whether the two differ.
pub(crate) fn report_duplicate(
    context: &mut Context,
    name: ObjectName,
    (first, second): (&Position, &Position),
    same: bool,
    consequence: &str,
) {
    let diagnostic = if same {
        Diagnostic::warning(
            Code::DuplicateObject,
            format!("written twice with the same content, also at {first}"),
        )
        .suggest("remove one of the two")
    } else {
        let message = format!("written twice with different content, also at {first}; {consequence}");
        Diagnostic::error(Code::DuplicateObject, message)
            .suggest("keep one of the two, or give one another name")
    };
    context.report(diagnostic.of(name).at(second.clone()));
}

fn namespaces(
    context: &mut Context,
    sorted: &Sorted<'_>,
    closures: &mut Vec<Closure>,
) -> BTreeMap<Arc<str>, Namespace> {
    let mut found: BTreeMap<Arc<str>, (Namespace, Position)> = BTreeMap::new();
    let mut closed = BTreeSet::new();
    for written in &sorted.namespaces {
        if written.meta.name.is_empty() {
            continue;
        }
        let name = context.interner.text(&written.meta.name);
        let mut pairs = written.meta.labels.clone();
        // The API server sets it and refuses any other value.
        pairs.insert(NAME_LABEL.into(), name.clone());
        let labels = context.interner.labels(pairs);
        let Some((first, at)) = found.get(&name) else {
            found.insert(name.clone(), (Namespace { name, labels }, written.position.clone()));
            continue;
        };
        let object = ObjectName { kind: "Namespace".into(), namespace: "".into(), name: name.clone() };
        let same = first.labels == labels;
        let consequence = "nobody knows which labels hold, so its pods are closed";
        report_duplicate(context, object, (at, &written.position), same, consequence);
        if !same && closed.insert(name.clone()) {
            closures.push(Closure {
                object: ObjectRef { kind: "Namespace".into(), namespace: "".into(), name: name.clone() },
                source: source(&written.position),
                field: "metadata.labels".into(),
                subject: Subject { namespaces: NamespaceScope::Own(name), pods: Selector::everything() },
                directions: vec![Direction::Egress, Direction::Ingress],
            });
        }
    }
    found.into_iter().map(|(name, (namespace, _))| (name, namespace)).collect()
}

/// Namespaces that every cluster has, declared or not.
const ALWAYS_THERE: [&str; 4] = ["default", "kube-node-lease", "kube-public", "kube-system"];

/// A namespace that pods or policies are in, but that nobody declared, exists with no label but its name.
fn implicit_namespaces(context: &mut Context, sorted: &Sorted<'_>, world: &mut World) {
    let mut missing: BTreeMap<Arc<str>, (ObjectName, Position)> = BTreeMap::new();
    let mut used = |name: &Arc<str>, object: &dyn Fn() -> ObjectName, position: &Position| {
        if !world.namespaces.contains_key(name) {
            missing.entry(name.clone()).or_insert_with(|| (object(), position.clone()));
        }
    };
    let named = |kind: &str, meta: &crds::ObjectMeta| ObjectName {
        kind: kind.into(),
        namespace: meta.namespace.clone(),
        name: meta.name.clone(),
    };
    for it in &sorted.network {
        used(&it.meta.namespace, &|| named("NetworkPolicy", &it.meta), &it.position);
    }
    for it in &sorted.egress {
        let kind = it.kind();
        if kind == EgressPolicyKind::EgressPolicy {
            used(&it.meta.namespace, &|| named(kind.as_str(), &it.meta), &it.position);
        }
    }
    for it in &sorted.pods {
        used(&it.pod.namespace, &|| it.name(), &it.position);
    }
    for it in &sorted.workloads {
        used(&it.meta.namespace, &|| named(it.kind.as_str(), &it.meta), &it.position);
    }
    // A folder without any Namespace relies on those of the cluster; with some, a missing one is likely a mistake.
    let some_declared = !sorted.namespaces.is_empty();
    for (name, (object, position)) in missing {
        let message = format!("namespace {name} is not declared; it is taken to have no label but its name");
        let diagnostic = if some_declared {
            Diagnostic::warning(Code::MissingReference, message)
        } else {
            Diagnostic::note(Code::MissingReference, message)
        };
        let name = context.interner.text(&name);
        let labels = context.interner.labels([(NAME_LABEL, &*name)]);
        world.namespaces.insert(name.clone(), Namespace { name: name.clone(), labels });
        if ALWAYS_THERE.contains(&&*name) {
            continue;
        }
        let yaml = format!("declare it: `apiVersion: v1, kind: Namespace, metadata: {{name: {name}}}`");
        context.report(diagnostic.of(object).at(position).field("metadata.namespace").suggest(yaml));
    }
}

/// An address of two live pods identifies neither: all its holders are closed. The same for a pod that has an address of
/// a node.
fn close_shared_addresses(context: &mut Context, world: &World, placed: &mut [Placed]) {
    let node_addresses: HashMap<IpAddr, &Arc<str>> = world
        .nodes
        .values()
        .flat_map(|node| node.addresses.iter().map(move |address| (*address, &node.name)))
        .collect();
    let mut holders: HashMap<IpAddr, usize> = HashMap::with_capacity(placed.len());
    let mut contested = Vec::new();
    for (i, it) in placed.iter().enumerate().filter(|(_, it)| !it.pod.host_network) {
        for address in &it.pod.addresses {
            if let Some(node) = node_addresses.get(address) {
                contested.push((*address, i, None, format!("node {node}")));
            }
            match holders.get(address) {
                None => {
                    holders.insert(*address, i);
                }
                Some(first) if *first == i => {}
                Some(first) => {
                    let other =
                        placed.get(*first).map(|other| (other.pod.to_string(), other.position.to_string()));
                    let (name, at) = other.unwrap_or_default();
                    contested.push((*address, i, Some(*first), format!("pod {name} ({at})")));
                }
            }
        }
    }
    for (address, second, first, other) in contested {
        for i in first.into_iter().chain([second]) {
            if let Some(it) = placed.get_mut(i) {
                it.closed = Some("status.podIP");
            }
        }
        let Some(it) = placed.get(second) else { continue };
        let message =
            format!("address {address} is also that of {other}; neither is certain, so the pods are closed");
        let suggestion = "give each pod its own address; set spec.hostNetwork where the pod uses its node's";
        let diagnostic = Diagnostic::error(Code::OverlappingAddress, message)
            .of(it.name())
            .at(it.position.clone())
            .field("status.podIP")
            .suggest(suggestion);
        context.report(diagnostic);
    }
}

/// Labels the pods that must be closed, and gives one closure for each.
fn close_marked(context: &mut Context, placed: &mut [Placed]) -> Vec<Closure> {
    let mut closures = Vec::new();
    for (i, it) in placed.iter_mut().enumerate() {
        let Some(field) = it.closed else { continue };
        let value = format!("pod-{i}");
        let mut pairs: BTreeMap<Arc<str>, Arc<str>> = (*it.pod.labels.0).clone();
        pairs.insert(CLOSED_LABEL.into(), value.as_str().into());
        Arc::make_mut(&mut it.pod).labels = context.interner.labels(pairs);
        let exactly_it = [Requirement::In(CLOSED_LABEL.into(), vec![value.into()])];
        closures.push(Closure {
            object: ObjectRef {
                kind: "Pod".into(),
                namespace: it.pod.namespace.clone(),
                name: it.pod.name.clone(),
            },
            source: source(&it.position),
            field: field.into(),
            subject: Subject {
                namespaces: NamespaceScope::Own(it.pod.namespace.clone()),
                pods: context.interner.selector(exactly_it),
            },
            directions: vec![Direction::Egress, Direction::Ingress],
        });
    }
    closures
}
