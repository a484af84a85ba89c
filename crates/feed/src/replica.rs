//! A node's copy of what it must know.
//!
//! Enters: updates. Leaves: a [`PolicySet`], and what the node has, so that a connection can go on where the last one
//! ended. Guarantees: an update holds as a whole or not at all; generations only grow; a rule keeps its id as long as
//! its policy stays as it is. Does not: enforce, or connect to anything.

use crate::decode::{self, DecodeError, Decoder};
use crate::encode;
use crate::resource::{Digest, Key, Resource, digest, renumber};
use crate::wire;
use policy::detection::Tuning;
use policy::set::built_in_rules;
use policy::{Generation, PolicySet, RuleEntry, RuleId, World};
use prost::Message as _;
use prost::bytes::Bytes;
use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

/// How far an API was read, by kind of object.
pub type Revisions = BTreeMap<String, u64>;

/// Rules that are no longer used are kept up to so many, so that ids stay.
const SLACK: usize = 1024;

/// Why an update was refused. What held before still holds.
#[derive(Clone, Debug, thiserror::Error, PartialEq, Eq)]
pub enum ReplicaError {
    /// Part of it was not understood.
    #[error(transparent)]
    Decode(#[from] DecodeError),
    /// It is older than what the node has.
    #[error("generation {offered} is older than {held}, which this node has")]
    Backwards {
        /// Of the update.
        offered: Generation,
        /// Of the node.
        held: Generation,
    },
    /// There are more rules than ids.
    #[error("{0} rules are more than the {max} that have an id", max = RuleId::MAX.0)]
    TooManyRules(usize),
}

/// One resource as the node has it.
#[derive(Clone, Debug)]
struct Held {
    digest: Digest,
    resource: Resource,
    /// As it came, to be kept so.
    bytes: Bytes,
    /// Id of the first of its rules.
    first: u32,
}

/// What a node knows.
#[derive(Clone, Debug, Default)]
pub struct Replica {
    generation: Generation,
    revisions: Revisions,
    held: BTreeMap<Key, Held>,
    rules: Vec<RuleEntry>,
    detection: Arc<[Tuning]>,
}

impl Replica {
    /// State of policy it has; 0: none yet.
    pub fn generation(&self) -> Generation {
        self.generation
    }

    /// How far the controller that it comes from had read the API.
    pub fn revisions(&self) -> &Revisions {
        &self.revisions
    }

    /// What it has.
    pub(crate) fn digests(&self) -> impl Iterator<Item = (&Key, &Digest)> {
        self.held.iter().map(|(key, held)| (key, &held.digest))
    }

    /// Takes in a whole update, given in its messages.
    ///
    /// # Errors
    /// Nothing changed.
    pub(crate) fn take(&mut self, messages: &[wire::Update]) -> Result<(), ReplicaError> {
        let Some(last) = messages.last() else { return Ok(()) };
        let (offered, held) = (Generation(last.generation), self.generation);
        if offered < held {
            return Err(ReplicaError::Backwards { offered, held });
        }
        // All of it is understood before any of it holds.
        let (mut decoder, mut gone, mut come) = (Decoder::default(), BTreeSet::new(), Vec::new());
        for message in messages {
            for key in &message.gone {
                gone.insert(decoder.key(key)?);
            }
            for bytes in &message.resources {
                let (key, resource) = decoder.resource(bytes)?;
                come.push((key, Held { digest: digest(bytes), resource, bytes: bytes.clone(), first: 0 }));
            }
        }
        let snapshot = messages.iter().any(|message| message.snapshot);
        self.check_room(snapshot, &gone, &come)?;
        if snapshot {
            self.held.clear();
            self.rules.clear();
        }
        if self.rules.is_empty() {
            self.rules = built_in_rules();
        }
        for key in &gone {
            self.held.remove(key);
        }
        for (key, held) in come {
            self.hold(key, held);
        }
        self.compact();
        if let Some(detection) = &last.detection {
            self.detection = decode::detection(detection);
        }
        self.generation = offered;
        self.revisions.clone_from(&last.revisions);
        Ok(())
    }

    /// Whether there are ids for all rules that would be there.
    fn check_room(
        &self,
        snapshot: bool,
        gone: &BTreeSet<Key>,
        come: &[(Key, Held)],
    ) -> Result<(), ReplicaError> {
        let of = |held: &Held| entries(&held.resource).len();
        let new: BTreeMap<&Key, &Held> = come.iter().map(|(key, held)| (key, held)).collect();
        let stays = |key: &Key| !snapshot && !new.contains_key(key) && !gone.contains(key);
        let left: usize = self.held.iter().filter(|(key, _)| stays(key)).map(|(_, held)| of(held)).sum();
        let new: usize = new.values().map(|held| of(held)).sum();
        let count = built_in_rules().len() + left + new;
        if count > RuleId::MAX.0 as usize { Err(ReplicaError::TooManyRules(count)) } else { Ok(()) }
    }

    fn hold(&mut self, key: Key, mut held: Held) {
        held.first = u32::try_from(self.rules.len()).unwrap_or(u32::MAX);
        self.rules.extend(entries(&held.resource).iter().cloned());
        self.held.insert(key, held);
    }

    /// Numbers the rules anew when most ids stand for nothing any more.
    fn compact(&mut self) {
        let used: usize = self.held.values().map(|held| entries(&held.resource).len()).sum();
        if self.rules.len() > 2 * used + SLACK || self.rules.len() > RuleId::MAX.0 as usize {
            self.rules = built_in_rules();
            for held in self.held.values_mut() {
                held.first = u32::try_from(self.rules.len()).unwrap_or(u32::MAX);
                self.rules.extend(entries(&held.resource).iter().cloned());
            }
        }
    }

    /// What the node judges by.
    pub fn policy_set(&self) -> PolicySet {
        let mut set = PolicySet {
            generation: self.generation,
            world: World::default(),
            policies: Vec::new(),
            closed: Vec::new(),
            rules: Arc::new(if self.rules.is_empty() { built_in_rules() } else { self.rules.clone() }),
            detection: Arc::clone(&self.detection),
        };
        for held in self.held.values() {
            match &held.resource {
                Resource::Namespace(it) => drop(set.world.namespaces.insert(it.name.clone(), it.clone())),
                Resource::Node(it) => drop(set.world.nodes.insert(it.name.clone(), it.clone())),
                // Keys are in the order of the world: namespace, then name.
                Resource::Pod(it) => set.world.pods.push(Arc::clone(it)),
                Resource::Policy(policy, _) => {
                    let mut policy = (**policy).clone();
                    renumber(&mut policy, |id| RuleId(held.first.saturating_add(id.0)));
                    set.policies.push(policy);
                }
                Resource::Closed(scope, _) => {
                    let mut scope = scope.clone();
                    scope.rule = RuleId(held.first);
                    set.closed.push(scope);
                }
            }
        }
        set.policies.sort_by(|a, b| a.order().cmp(&b.order()));
        set
    }

    /// All of it as one message, to be kept over a restart.
    pub fn to_bytes(&self) -> Vec<u8> {
        self.snapshot().encode_to_vec()
    }

    /// What [`Self::to_bytes`] gave.
    ///
    /// # Errors
    /// The bytes are damaged, or of another version.
    pub fn from_bytes(bytes: &[u8]) -> Result<Self, ReplicaError> {
        let snapshot = wire::Update::decode(bytes).map_err(DecodeError::from)?;
        let mut replica = Self::default();
        replica.take(&[wire::Update { snapshot: true, ..snapshot }])?;
        Ok(replica)
    }

    fn snapshot(&self) -> wire::Update {
        let resources = self.held.values().map(|held| held.bytes.clone());
        wire::Update {
            generation: self.generation.0,
            snapshot: true,
            more: false,
            resources: resources.collect::<Vec<Bytes>>(),
            gone: Vec::new(),
            revisions: self.revisions.clone(),
            keys: None,
            asks: None,
            detection: Some(encode::detection(self.detection.iter())),
        }
    }
}

fn entries(resource: &Resource) -> &[RuleEntry] {
    match resource {
        Resource::Policy(_, entries) => entries,
        Resource::Closed(_, entry) => std::slice::from_ref(entry),
        Resource::Namespace(_) | Resource::Node(_) | Resource::Pod(_) => &[],
    }
}
