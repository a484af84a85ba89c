//! `gateway.networking.k8s.io` ReferenceGrant: who of other namespaces may refer to objects of this one.

use crate::decode::{Decoder, Map};
use crate::diagnostic::Position;
use crate::meta::{ObjectMeta, Scope};
use std::sync::Arc;

/// Most entries of each list.
const MOST: usize = 16;

/// ReferenceGrant.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ReferenceGrant {
    /// Metadata.
    pub meta: ObjectMeta,
    /// Where.
    pub position: Position,
    /// What is wrong with it. It then grants nothing.
    pub broken: Option<Arc<str>>,
    /// `spec.from`
    pub from: Vec<GrantFrom>,
    /// `spec.to`
    pub to: Vec<GrantTo>,
}

/// Objects that may refer.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct GrantFrom {
    /// API group; empty for the core group.
    pub group: Arc<str>,
    /// Kind.
    pub kind: Arc<str>,
    /// Namespace.
    pub namespace: Arc<str>,
}

/// Objects that may be referred to.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct GrantTo {
    /// API group; empty for the core group.
    pub group: Arc<str>,
    /// Kind.
    pub kind: Arc<str>,
    /// `None`: any.
    pub name: Option<Arc<str>>,
}

impl ReferenceGrant {
    pub(crate) fn decode<'n>(d: &mut Decoder<'n>, object: Map<'n>) -> Self {
        let meta = ObjectMeta::decode(d, object, Scope::Namespaced, true);
        let spec = d.required(object, "spec", |d, node| {
            let map = d.strict(node, &["from", "to"])?;
            let from = d.required(map, "from", |d, node| {
                d.check_length(node, 1, MOST);
                d.list(node, |d, node| {
                    let map = d.strict(node, &["group", "kind", "namespace"])?;
                    let group =
                        d.field(map, "group", Decoder::string).unwrap_or_else(|| Some(Arc::default()));
                    let [kind, namespace] =
                        ["kind", "namespace"].map(|field| d.required(map, field, Decoder::string));
                    Some(GrantFrom { group: group?, kind: kind?, namespace: namespace? })
                })
            });
            let to = d.required(map, "to", |d, node| {
                d.check_length(node, 1, MOST);
                d.list(node, |d, node| {
                    let map = d.strict(node, &["group", "kind", "name"])?;
                    let group =
                        d.field(map, "group", Decoder::string).unwrap_or_else(|| Some(Arc::default()));
                    let kind = d.required(map, "kind", Decoder::string);
                    let name = match d.field(map, "name", Decoder::string) {
                        Some(name) => Some(name?),
                        None => None,
                    };
                    Some(GrantTo { group: group?, kind: kind?, name: name.filter(|name| !name.is_empty()) })
                })
            });
            Some((from?, to?))
        });
        let (from, to) = spec.unwrap_or_default();
        Self { meta, position: d.position(object.place), broken: d.first_error(), from, to }
    }
}
