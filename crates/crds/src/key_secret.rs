//! `v1` Secret with the label `cofferdam.dev/inject: "true"`: keys that requests may leave with. Other Secrets are not read.
//!
//! Guarantees: a key is printed by nothing; not by `Debug`, not in a diagnostic.

use crate::decode::{Decoder, Map};
use crate::diagnostic::Position;
use crate::document::Value;
use crate::gateway_api::{Hidden, clear, encoded};
use crate::meta::{ObjectMeta, Scope};
use std::collections::BTreeMap;
use std::sync::Arc;

/// Label and value that say that keys of a Secret may be used.
pub const INJECT_LABEL: (&str, &str) = ("cofferdam.dev/inject", "true");

/// Keys by the names of their entries, as written.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct KeySecret {
    /// Metadata.
    pub meta: ObjectMeta,
    /// Where.
    pub position: Position,
    /// `data` and `stringData`, of which the latter counts. What cannot be read is left out.
    pub data: BTreeMap<Arc<str>, Hidden>,
}

impl KeySecret {
    /// Whether the object has the label.
    pub(crate) fn is_one(object: Map<'_>) -> bool {
        let labels = object.get("metadata").and_then(|node| entry(&node.value, "labels"));
        let label = labels.and_then(|labels| entry(labels, INJECT_LABEL.0));
        matches!(label, Some(Value::Scalar { text, .. }) if text == INJECT_LABEL.1)
    }

    pub(crate) fn decode<'n>(d: &mut Decoder<'n>, object: Map<'n>) -> Self {
        let meta = ObjectMeta::decode(d, object, Scope::Namespaced, false);
        let mut data = BTreeMap::new();
        d.field(object, "data", |d, node| {
            let map = d.map(node)?;
            for name in map.keys() {
                let read = d.field(map, name, encoded).flatten();
                data.extend(read.map(|bytes| (d.intern(name), Hidden(bytes))));
            }
            Some(())
        });
        // As the API server does: what is written in clear wins.
        d.field(object, "stringData", |d, node| {
            let map = d.map(node)?;
            for name in map.keys() {
                let read = d.field(map, name, clear).flatten();
                data.extend(read.map(|bytes| (d.intern(name), Hidden(bytes))));
            }
            Some(())
        });
        Self { meta, position: d.position(object.place), data }
    }
}

fn entry<'v, 'n>(value: &'v Value<'n>, name: &str) -> Option<&'v Value<'n>> {
    let Value::Mapping(entries) = value else { return None };
    entries.iter().find(|entry| entry.key == name).map(|entry| &entry.node.value)
}
