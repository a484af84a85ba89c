//! The parts of a policy set that nodes are told of one by one.
//!
//! Enters: a [`PolicySet`]. Leaves: its [`Resource`]s by [`Key`], encoded, with a digest that tells whether a node has it.
//! Guarantees: a resource's bytes depend on nothing but itself: rules are numbered within their policy, so that another
//! policy changes nothing of them. Does not: know who needs which.

use crate::encode;
use policy::detection::Tuning;
use policy::{ClosedScope, Namespace, Node, Pod, Policy, PolicySet, RuleEntry, RuleId, World};
use prost::bytes::Bytes;
use std::collections::{BTreeSet, HashMap};
use std::fmt;
use std::sync::{Arc, LazyLock};

/// Of an encoded resource: the first half of its SHA-256.
pub type Digest = [u8; 16];

/// What a resource is.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Kind {
    /// A namespace and its labels.
    Namespace,
    /// A node.
    Node,
    /// A pod.
    Pod,
    /// A policy in force.
    Policy,
    /// A scope closed because of an object.
    Closed,
}

/// An empty text, once for the thousands of keys that have one.
static NOTHING: LazyLock<Arc<str>> = LazyLock::new(|| "".into());

/// Which resource.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Key {
    /// What it is.
    pub kind: Kind,
    /// Kind of the object it comes from, where that says more than `kind`.
    pub object_kind: Arc<str>,
    /// Empty where it has none.
    pub namespace: Arc<str>,
    /// Name.
    pub name: Arc<str>,
    /// Counts closed scopes that one object brings.
    pub number: u32,
}

impl fmt::Display for Key {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{:?} {} {}/{} {}", self.kind, self.object_kind, self.namespace, self.name, self.number)
    }
}

impl Key {
    fn plain(kind: Kind, namespace: &Arc<str>, name: &Arc<str>) -> Self {
        let (namespace, name) = (namespace.clone(), name.clone());
        Self { kind, object_kind: NOTHING.clone(), namespace, name, number: 0 }
    }

    /// Of a namespace.
    pub fn namespace(name: &Arc<str>) -> Self {
        Self::plain(Kind::Namespace, &NOTHING, name)
    }

    /// Of a node.
    pub fn node(name: &Arc<str>) -> Self {
        Self::plain(Kind::Node, &NOTHING, name)
    }

    /// Of a pod.
    pub fn pod(namespace: &Arc<str>, name: &Arc<str>) -> Self {
        Self::plain(Kind::Pod, namespace, name)
    }

    /// Of a policy.
    pub fn policy(policy: &Policy) -> Self {
        let object = &policy.object;
        Self {
            object_kind: object.kind.clone(),
            ..Self::plain(Kind::Policy, &object.namespace, &object.name)
        }
    }
}

/// One part of a policy set.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Resource {
    /// A namespace and its labels.
    Namespace(Namespace),
    /// A node.
    Node(Node),
    /// A pod.
    Pod(Arc<Pod>),
    /// A policy; ids of its rules are positions in the list.
    Policy(Box<Policy>, Vec<RuleEntry>),
    /// A closed scope; its rule id means nothing here.
    Closed(ClosedScope, Box<RuleEntry>),
}

/// A resource ready to be sent.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Encoded {
    /// Which.
    pub key: Key,
    /// The message.
    pub bytes: Bytes,
    /// Of `bytes`.
    pub digest: Digest,
    /// The pod it says, by which the next state finds that it says the same.
    pod: Option<Arc<Pod>>,
}

/// The first half of the SHA-256.
pub(crate) fn digest(bytes: &[u8]) -> Digest {
    let whole = aws_lc_rs::digest::digest(&aws_lc_rs::digest::SHA256, bytes);
    let mut half = Digest::default();
    half.iter_mut().zip(whole.as_ref()).for_each(|(to, from)| *to = *from);
    half
}

/// Everything a policy set says, encoded; and the keys of its policies and closed scopes in the set's order.
#[derive(Clone, Debug, Default)]
pub struct Parts {
    /// By key.
    pub resources: HashMap<Key, Arc<Encoded>>,
    /// As [`PolicySet::policies`].
    pub policies: Vec<Key>,
    /// As [`PolicySet::closed`].
    pub closed: Vec<Key>,
    /// As [`PolicySet::detection`].
    pub detection: Arc<[Tuning]>,
}

impl Parts {
    /// Encodes a set. What `before` has already is shared with it.
    pub fn new(set: &PolicySet, before: Option<&Self>) -> Self {
        let mut parts = Self { detection: Arc::clone(&set.detection), ..Self::default() };
        for namespace in set.world.namespaces.values() {
            parts.add(Key::namespace(&namespace.name), &Resource::Namespace(namespace.clone()), before);
        }
        for node in set.world.nodes.values() {
            parts.add(Key::node(&node.name), &Resource::Node(node.clone()), before);
        }
        for pod in &set.world.pods {
            parts.add_pod(pod, before);
        }
        for policy in &set.policies {
            let key = Key::policy(policy);
            parts.policies.push(key.clone());
            parts.add(key, &detached(policy, set), before);
        }
        let mut numbers: HashMap<Key, u32> = HashMap::new();
        for scope in &set.closed {
            let Some(entry) = set.rule(scope.rule) else { continue };
            let (kind, namespace, name) = match &entry.object {
                Some(object) => (object.kind.clone(), object.namespace.clone(), object.name.clone()),
                None => Default::default(),
            };
            let mut key = Key { object_kind: kind, ..Key::plain(Kind::Closed, &namespace, &name) };
            let number = numbers.entry(key.clone()).or_default();
            key.number = *number;
            *number += 1;
            parts.closed.push(key.clone());
            parts.add(key, &Resource::Closed(scope.clone(), Box::new(entry.clone())), before);
        }
        parts
    }

    /// Keys of these pods with their namespaces, and of these nodes, policies and closed scopes.
    pub fn needs(
        &self,
        pods: &[(Arc<str>, Arc<str>)],
        nodes: &[Arc<str>],
        policies: &[usize],
        closed: &[usize],
        world: &World,
    ) -> BTreeSet<Key> {
        let mut keys: BTreeSet<Key> = nodes.iter().map(Key::node).collect();
        for (namespace, name) in pods {
            keys.insert(Key::pod(namespace, name));
            if world.namespaces.contains_key(namespace) {
                keys.insert(Key::namespace(namespace));
            }
        }
        keys.extend(policies.iter().filter_map(|at| self.policies.get(*at)).cloned());
        keys.extend(closed.iter().filter_map(|at| self.closed.get(*at)).cloned());
        keys
    }

    fn add_pod(&mut self, pod: &Arc<Pod>, before: Option<&Self>) {
        let key = Key::pod(&pod.namespace, &pod.name);
        let known = before.and_then(|before| before.resources.get(&key));
        let is_it = |known: &&Arc<Encoded>| known.pod.as_ref().is_some_and(|it| Arc::ptr_eq(it, pod));
        match known.filter(is_it) {
            Some(known) => drop(self.resources.insert(key, Arc::clone(known))),
            None => self.add(key, &Resource::Pod(Arc::clone(pod)), before),
        }
    }

    fn add(&mut self, key: Key, resource: &Resource, before: Option<&Self>) {
        let known = before.and_then(|before| before.resources.get(&key));
        let bytes = encode::resource(&key, resource);
        let encoded = match known.filter(|known| known.bytes == bytes) {
            Some(known) => Arc::clone(known),
            None => {
                let digest = digest(&bytes);
                let pod = match resource {
                    Resource::Pod(pod) => Some(Arc::clone(pod)),
                    Resource::Namespace(_)
                    | Resource::Node(_)
                    | Resource::Policy(..)
                    | Resource::Closed(..) => None,
                };
                Arc::new(Encoded { key: key.clone(), bytes, digest, pod })
            }
        };
        self.resources.insert(key, encoded);
    }
}

/// A policy whose rule ids are positions in its own list of entries.
fn detached(policy: &Policy, set: &PolicySet) -> Resource {
    let mut policy = policy.clone();
    let mut entries = Vec::new();
    renumber(&mut policy, |id| {
        let at = u32::try_from(entries.len()).unwrap_or(u32::MAX);
        entries.extend(set.rule(id).cloned());
        RuleId(at)
    });
    Resource::Policy(Box::new(policy), entries)
}

/// Gives every rule of a policy, the isolations it brings and its lists another id.
pub(crate) fn renumber(policy: &mut Policy, mut number: impl FnMut(RuleId) -> RuleId) {
    let spoken_of = [&policy.egress, &policy.ingress].map(|section| {
        policy.tier == policy::Tier::NetworkPolicy && !matches!(section, policy::Section::Untouched)
    });
    for (isolation, isolates) in policy.isolation.iter_mut().zip(spoken_of) {
        if isolates {
            *isolation = number(*isolation);
        }
    }
    for section in [&mut policy.ingress, &mut policy.egress] {
        if let policy::Section::Rules(rules) = section {
            rules.iter_mut().for_each(|rule| rule.id = number(rule.id));
        }
    }
    policy.dns.rule_ids().for_each(|id| *id = number(*id));
}
