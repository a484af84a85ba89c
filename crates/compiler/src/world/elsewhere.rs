//! Pods of other clusters.
//!
//! Enters: identity slices, and the world of this cluster. Leaves: namespaces called `ml@west` and their pods in that world; and
//! what was claimed and is not believed.
//! Guarantees: nothing is taken of a namespace that the namespace of the same name here does not import; a pod that claims an
//! address of this cluster, one where a cloud hands out credentials, or one that another claims too, is nobody, and both sides are
//! named.
//! Does not: know how long a cluster was silent; whoever does says so in the slice.

use super::{Imports, NAME_LABEL, Sorted};
use crate::convert::Context;
use crds::{Code, Diagnostic, IdentitySlice, ObjectName, Position};
use ipnet::IpNet;
use policy::intern::Interner;
use policy::{CLUSTER_LABEL, Labels, Namespace, Pod, Selector, WorkloadRef, World, namespace_elsewhere};
use std::collections::{BTreeMap, BTreeSet, HashMap};
use std::fmt;
use std::net::IpAddr;
use std::sync::Arc;

/// What the key of a namespace's label begins with that says that it imports: the name of the cluster follows, and the value is
/// [`IMPORTS`].
const IMPORT_LABEL: &str = "import.cofferdam.dev/";
/// The value of the label.
const IMPORTS: &str = "identities";

/// Labels as they are written, key by key.
type WrittenLabels = BTreeMap<Arc<str>, Arc<str>>;

/// An IdentitySlice object in the words of the model, as far as it can be said of one alone.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct WrittenSlice {
    name: ObjectName,
    position: Position,
    cluster: Arc<str>,
    /// What it is called in its cluster.
    namespace: Arc<str>,
    labels: WrittenLabels,
    expired: bool,
    /// Pods that are left out, for there are too many. It has none itself then.
    withheld: u32,
    pods: Vec<Arc<Pod>>,
}

impl WrittenSlice {
    pub(crate) fn new(interner: &mut Interner, written: &IdentitySlice) -> Self {
        let called = interner.text(&namespace_elsewhere(&written.namespace, &written.cluster));
        let pods = written.pods.iter().map(|identity| {
            let (kind, name) = &identity.workload;
            Arc::new(Pod {
                namespace: called.clone(),
                name: interner.text(&identity.name),
                labels: interner.labels(&identity.labels),
                service_account: interner.text(&identity.service_account),
                node: None,
                addresses: identity.addresses.clone(),
                ports: Vec::new(),
                host_network: false,
                workload: WorkloadRef { kind: interner.text(kind), name: interner.text(name) },
            })
        });
        Self {
            pods: pods.collect(),
            name: ObjectName {
                kind: "IdentitySlice".into(),
                namespace: written.meta.namespace.clone(),
                name: written.meta.name.clone(),
            },
            position: written.position.clone(),
            cluster: written.cluster.clone(),
            namespace: written.namespace.clone(),
            labels: written.namespace_labels.clone(),
            expired: written.expired,
            withheld: written.withheld,
        }
    }
}

/// A pod that somebody claimed to be in another cluster and that no rule allows anything to: its cluster is silent, or its
/// address is contested. A rule that denies goes on meaning its addresses.
pub(crate) struct Doubtful {
    namespace: Labels,
    pod: Arc<Pod>,
}

impl Doubtful {
    /// Its addresses, if the selectors mean it.
    pub(crate) fn addresses(&self, namespaces: &Selector, pods: &Selector) -> &[IpAddr] {
        let is_meant = namespaces.matches(&self.namespace) && pods.matches(&self.pod.labels);
        if is_meant { &self.pod.addresses } else { &[] }
    }
}

/// A pod of a slice while it is not known whether it is believed.
struct Claim<'s> {
    slice: &'s WrittenSlice,
    pod: &'s Arc<Pod>,
    fate: Fate,
}

#[derive(Clone, Copy, PartialEq, Eq)]
enum Fate {
    /// It is who it says.
    Believed,
    /// Its cluster is silent, or its address is another's as well.
    Doubted,
    /// It claims what is this cluster's, or is there twice: it is left out.
    Refused,
}

/// Adds pods of other clusters to the world. What is claimed and not believed is kept by the context.
pub(super) fn add(context: &mut Context, sorted: &Sorted<'_>, imports: &Imports<'_>, world: &mut World) {
    let consented: Vec<&WrittenSlice> =
        sorted.slices.iter().copied().filter(|slice| is_imported(context, world, slice)).collect();
    // Who says what is left out says nothing of the namespace's labels.
    let (withheld, consented): (Vec<_>, Vec<_>) = consented.into_iter().partition(|slice| slice.withheld > 0);
    tell_withheld(context, &withheld);
    if consented.is_empty() {
        return;
    }
    let namespaces = namespaces(context, &consented);
    let mut claims = claims(&consented);
    refuse_own(context, sorted, world, &mut claims);
    doubt_contested(context, &mut claims);
    for Claim { slice, pod, fate } in claims {
        match fate {
            Fate::Believed => {
                let mut pod = Arc::clone(pod);
                imports.mark_elsewhere(context, &slice.namespace, &mut pod);
                world.pods.push(pod);
            }
            Fate::Doubted => {
                let labels = namespaces.get(&pod.namespace).map(|namespace| namespace.labels.clone());
                let namespace = labels.unwrap_or_default();
                context.doubtful.push(Doubtful { namespace, pod: Arc::clone(pod) });
            }
            Fate::Refused => {}
        }
    }
    world.pods.sort_by(|a, b| (&a.namespace, &a.name).cmp(&(&b.namespace, &b.name)));
    world.namespaces.extend(namespaces);
}

/// Whether the namespace of the same name here imports it. A namespace of one name is the same in all clusters of a set: who may
/// label it here says whom it trusts.
fn is_imported(context: &mut Context, world: &World, slice: &WrittenSlice) -> bool {
    let WrittenSlice { cluster, namespace, .. } = slice;
    if cluster.is_empty() || namespace.is_empty() {
        // It could not be read, and that was said.
        return false;
    }
    let key = format!("{IMPORT_LABEL}{cluster}");
    let ours = world.namespaces.get(namespace);
    if ours.is_some_and(|ours| ours.labels.get(&key) == Some(IMPORTS)) {
        return true;
    }
    let why = match ours {
        Some(_) => "does not import it",
        None => "does not exist",
    };
    let message = format!(
        "cluster {cluster} exports its namespace {namespace}, and the one here {why}: no rule means its pods"
    );
    let diagnostic = Diagnostic::note(Code::MissingReference, message)
        .suggest(format!("to import it: kubectl label namespace {namespace} {key}={IMPORTS}"));
    context.report(diagnostic.of(slice.name.clone()).at(slice.position.clone()).field("spec.namespace"));
    false
}

fn tell_withheld(context: &mut Context, slices: &[&WrittenSlice]) {
    for slice in slices {
        let WrittenSlice { cluster, namespace, withheld, .. } = slice;
        let message = format!(
            "cluster {cluster} exports more pods of its namespace {namespace} than are taken: {withheld} are not known, and no rule \
             means them"
        );
        let diagnostic = Diagnostic::error(Code::LimitExceeded, message)
            .suggest("export fewer: those that others are to reach, in a namespace of their own");
        context.report(diagnostic.of(slice.name.clone()).at(slice.position.clone()).field("spec.withheld"));
    }
}

/// The namespaces by what they are called here, with the labels that all slices agree on: while a label is being changed, they
/// differ.
fn namespaces(context: &mut Context, slices: &[&WrittenSlice]) -> BTreeMap<Arc<str>, Namespace> {
    let mut agreed: BTreeMap<Arc<str>, (&WrittenSlice, WrittenLabels)> = BTreeMap::new();
    for slice in slices {
        let called = context.interner.text(&namespace_elsewhere(&slice.namespace, &slice.cluster));
        let (_, labels) = agreed.entry(called).or_insert_with(|| (slice, slice.labels.clone()));
        labels.retain(|key, value| slice.labels.get(key) == Some(value));
    }
    let named = agreed.into_iter().map(|(name, (slice, mut labels))| {
        // Neither can be claimed.
        labels.insert(NAME_LABEL.into(), slice.namespace.clone());
        labels.insert(CLUSTER_LABEL.into(), slice.cluster.clone());
        let labels = context.interner.labels(labels);
        (name.clone(), Namespace { name, labels })
    });
    named.collect()
}

/// Every pod of the slices; one that is there twice and the same once, and one that differs not at all.
fn claims<'s>(slices: &[&'s WrittenSlice]) -> Vec<Claim<'s>> {
    let mut claims: Vec<Claim<'s>> = Vec::new();
    let mut known: HashMap<(&str, &str), usize> = HashMap::new();
    for slice in slices {
        for pod in &slice.pods {
            let fate = if slice.expired { Fate::Doubted } else { Fate::Believed };
            let Some(first) = known.get(&(&*pod.namespace, &*pod.name)) else {
                known.insert((&pod.namespace, &pod.name), claims.len());
                claims.push(Claim { slice, pod, fate });
                continue;
            };
            // It moves from one slice to another: the newer one is not known, so neither is believed where they differ.
            if let Some(first) = claims.get_mut(*first).filter(|first| first.pod != pod) {
                first.fate = Fate::Doubted;
                claims.push(Claim { slice, pod, fate: Fate::Doubted });
            }
        }
    }
    claims
}

/// Whose an address is, that is no pod's of another cluster. It is put into words only where one claims it.
#[derive(Clone, Copy)]
enum Holder<'w> {
    Node(&'w str),
    Pod(&'w Pod),
    Network(IpNet, &'w str),
    Cloud(&'w str),
}

impl fmt::Display for Holder<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Node(node) => write!(f, "node {node}"),
            Self::Pod(pod) => write!(f, "pod {pod}"),
            Self::Network(network, node) => write!(f, "the pods' network {network} of node {node}"),
            Self::Cloud(providers) => write!(f, "the metadata service of {providers}"),
        }
    }
}

/// Pods' networks of nodes: an address is looked for once for each length of a prefix, however many nodes there are.
struct Networks<'o> {
    by_network: HashMap<IpNet, &'o str>,
    lengths: BTreeSet<u8>,
}

impl<'o> Networks<'o> {
    fn of(nodes: &[&'o crds::Node]) -> Self {
        let mut found = Self { by_network: HashMap::new(), lengths: BTreeSet::new() };
        for node in nodes {
            for network in &node.pod_networks {
                found.by_network.entry(network.trunc()).or_insert(&node.meta.name);
                found.lengths.insert(network.prefix_len());
            }
        }
        found
    }

    fn holding(&self, address: IpAddr) -> Option<Holder<'o>> {
        self.lengths.iter().find_map(|length| {
            let network = IpNet::new(address, *length).ok()?.trunc();
            self.by_network.get(&network).map(|node| Holder::Network(network, node))
        })
    }
}

/// What is this cluster's, or its cloud's, is nobody's elsewhere.
fn refuse_own(context: &mut Context, sorted: &Sorted<'_>, world: &World, claims: &mut [Claim<'_>]) {
    let mut own: HashMap<IpAddr, Holder<'_>> = HashMap::new();
    for node in world.nodes.values() {
        own.extend(node.addresses.iter().map(|address| (*address, Holder::Node(&node.name))));
    }
    for pod in &world.pods {
        own.extend(pod.addresses.iter().map(|address| (*address, Holder::Pod(pod))));
    }
    let networks = Networks::of(&sorted.nodes);
    let holder = |address: &IpAddr| {
        // A rule that allows such a pod would open what is a cloud's.
        let of_cloud = || policy::metadata::at(*address).map(|place| Holder::Cloud(place.providers));
        own.get(address).copied().or_else(|| networks.holding(*address)).or_else(of_cloud)
    };
    let mut refused = Overlaps::default();
    for claim in claims {
        let found = claim.pod.addresses.iter().find_map(|address| Some((*address, holder(address)?)));
        if let Some((address, holder)) = found {
            claim.fate = Fate::Refused;
            refused.add(claim, address, &holder.to_string());
        }
    }
    refused.report(context, "this cluster's own is believed, and no rule means them");
}

/// An address of two pods identifies neither.
fn doubt_contested(context: &mut Context, claims: &mut [Claim<'_>]) {
    let mut holders: HashMap<IpAddr, usize> = HashMap::with_capacity(claims.len());
    let mut contested = Vec::new();
    for (at, claim) in claims.iter().enumerate().filter(|(_, claim)| claim.fate != Fate::Refused) {
        for address in &claim.pod.addresses {
            let first = *holders.entry(*address).or_insert(at);
            if first != at {
                contested.push((first, at, *address));
            }
        }
    }
    let mut doubted = Overlaps::default();
    for (first, second, address) in contested {
        let both = [claims.get(first), claims.get(second)];
        if let [Some(a), Some(b)] = both {
            // Of one pod in two slices nothing is odd.
            if a.pod.name != b.pod.name || a.pod.namespace != b.pod.namespace {
                doubted.add(a, address, &format!("pod {}", b.pod));
                doubted.add(b, address, &format!("pod {}", a.pod));
            }
        }
        for at in [first, second] {
            claims.get_mut(at).into_iter().for_each(|claim| claim.fate = Fate::Doubted);
        }
    }
    doubted.report(
        context,
        "neither is certain, so no rule allows them anything; rules that deny go on meaning the address",
    );
}

/// Pods of each slice whose address is somebody else's.
#[derive(Default)]
struct Overlaps<'s>(BTreeMap<ObjectName, (&'s WrittenSlice, String, usize)>);

impl<'s> Overlaps<'s> {
    fn add(&mut self, claim: &Claim<'s>, address: IpAddr, holder: &str) {
        let first = || {
            let pod = claim.pod;
            (claim.slice, format!("address {address} of pod {pod} is also that of {holder}"), 0)
        };
        let (_, _, count) = self.0.entry(claim.slice.name.clone()).or_insert_with(first);
        *count += 1;
    }

    /// One line for each slice: thousands of pods overlap for one reason.
    fn report(self, context: &mut Context, consequence: &str) {
        for (name, (slice, first, count)) in self.0 {
            let more = match count {
                0 | 1 => String::new(),
                more => format!(", and so with {} more of its addresses", more - 1),
            };
            let message = format!("{first}{more}; {consequence}");
            let diagnostic = Diagnostic::error(Code::OverlappingAddress, message).suggest(
                "give the clusters networks of their own, or take the label off that imports the namespace",
            );
            context.report(diagnostic.of(name).at(slice.position.clone()).field("spec.pods"));
        }
    }
}
