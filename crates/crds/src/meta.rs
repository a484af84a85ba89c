//! Object metadata, and the two cluster-scoped kinds that are little else: Namespace and Node.

use crate::diagnostic::Position;
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
}
