//! Manifests in the one form that has a digest.
//!
//! Enters: objects as JSON, in any order. Leaves: policies, each once, sorted by kind, namespace and name, without what an
//! API server adds. Guarantees: two folders that say the same have the same form, whatever the order of files, documents and
//! keys; what `crds` finds an error in is refused. Does not: say whether policies make sense together; the compiler does.

use crate::digest::Digest;
use crds::{Object, ObjectName};
use serde_json::{Map, Value};
use std::collections::BTreeMap;

/// Most policies in a release.
pub const MOST_OBJECTS: usize = 5000;
/// What of an object's metadata was written by its author.
const KEPT_METADATA: [&str; 4] = ["annotations", "labels", "name", "namespace"];
/// What `kubectl apply` leaves: the whole object again.
const LAST_APPLIED: &str = "kubectl.kubernetes.io/last-applied-configuration";

/// Why manifests cannot be handed over.
#[derive(Clone, Debug, thiserror::Error, PartialEq, Eq)]
pub enum NotContents {
    /// An object that an API server would refuse, or that could not be enforced as written.
    #[error("{object} cannot be applied as written: {why}")]
    Invalid {
        /// Which.
        object: String,
        /// Its first error.
        why: String,
    },
    /// One policy, written twice.
    #[error("{0} is there twice; leave one")]
    Twice(ObjectName),
    /// Too much for one release.
    #[error("more than {MOST_OBJECTS} policies; split them into several fleets")]
    TooMany,
    /// Nothing.
    #[error("there is no policy in it")]
    Nothing,
}

/// One policy in its normal form.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Manifest {
    /// Kind, namespace (empty where the kind has none) and name.
    pub name: ObjectName,
    /// `apiVersion`, `kind`, `metadata` and `spec`.
    pub value: Value,
    digest: Digest,
}

impl Manifest {
    /// Of this policy alone.
    pub fn digest(&self) -> &Digest {
        &self.digest
    }

    fn new(name: ObjectName, value: Value) -> Self {
        let digest = Digest::of(value.to_string().as_bytes());
        Self { name, value, digest }
    }
}

/// Policies among these objects, and what else was there: namespaces, pods and the like are of a cluster, not of a policy.
///
/// # Errors
/// See [`NotContents`]; that there is none is no error here.
pub fn policies(values: &[Value]) -> Result<(Vec<Manifest>, Vec<ObjectName>), NotContents> {
    let (mut found, mut others) = (BTreeMap::new(), Vec::new());
    for value in values {
        let read = crds::read_value("the manifest", value);
        let object = read.objects.into_iter().next();
        if let Some(error) = read.diagnostics.iter().find(|it| it.is_error()) {
            let name = error.object.as_ref().map_or_else(|| "an object".to_owned(), ObjectName::to_string);
            let at = if error.field.is_empty() { String::new() } else { format!("{}: ", error.field) };
            return Err(NotContents::Invalid { object: name, why: format!("{at}{}", error.message) });
        }
        let Some(object) = object else {
            // What is of a kind that is not read is known by what was said of it.
            others.extend(read.diagnostics.into_iter().find_map(|it| it.object));
            continue;
        };
        let name = object.object_name();
        if !is_policy(&object) {
            others.push(name);
            continue;
        }
        let manifest = Manifest::new(name.clone(), normal(value, &name));
        if found.insert(name.clone(), manifest).is_some() {
            return Err(NotContents::Twice(name));
        }
        if found.len() > MOST_OBJECTS {
            return Err(NotContents::TooMany);
        }
    }
    Ok((found.into_values().collect(), others))
}

fn is_policy(object: &Object) -> bool {
    match object {
        Object::NetworkPolicy(_)
        | Object::ClusterPolicy(_)
        | Object::EgressPolicy(_)
        | Object::InferencePolicy(_)
        | Object::DetectionPolicy(_) => true,
        // Whom one cluster cuts off, and until when, is no policy of a fleet.
        Object::Containment(_)
        | Object::Namespace(_)
        | Object::Node(_)
        | Object::Pod(_)
        | Object::Workload(_)
        | Object::Service(_)
        | Object::Ingress(_)
        | Object::GatewayApi(_)
        | Object::IdentitySlice(_)
        | Object::KeySecret(_) => false,
    }
}

/// Null counts as not written, as it does for an API server; what is not of the author goes.
fn normal(value: &Value, name: &ObjectName) -> Value {
    let field = |key: &str| value.get(key).cloned().map(without_nulls);
    let written = field("metadata").unwrap_or_default();
    let mut metadata = Map::new();
    for key in KEPT_METADATA {
        let Some(mut it) = written.get(key).cloned() else { continue };
        if let Some(annotations) = it.as_object_mut() {
            annotations.remove(LAST_APPLIED);
        }
        if !it.as_object().is_some_and(Map::is_empty) {
            metadata.insert(key.to_owned(), it);
        }
    }
    // As the reader understood them: a namespace that was left out is `default`, one where none belongs is none.
    metadata.remove("namespace");
    if !name.namespace.is_empty() {
        metadata.insert("namespace".to_owned(), (*name.namespace).into());
    }
    let mut object = Map::from_iter([("metadata".to_owned(), Value::Object(metadata))]);
    for key in ["apiVersion", "kind", "spec"] {
        object.extend(field(key).map(|it| (key.to_owned(), it)));
    }
    Value::Object(object)
}

/// Depth is bounded by whoever read the text.
fn without_nulls(value: Value) -> Value {
    match value {
        Value::Object(fields) => {
            let kept = fields.into_iter().filter(|(_, it)| !it.is_null());
            Value::Object(kept.map(|(key, it)| (key, without_nulls(it))).collect())
        }
        Value::Array(items) => items.into_iter().map(without_nulls).collect(),
        Value::Null | Value::Bool(_) | Value::Number(_) | Value::String(_) => value,
    }
}
