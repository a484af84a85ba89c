//! How objects of the Gateway API name each other, and the names that they share.

use crate::decode::{Decoder, Map};
use crate::diagnostic::{Code, Diagnostic, Position};
use crate::document::Node;
use crate::meta::short;
use crate::name;
use crate::pod::port_number;
use std::sync::Arc;

/// One object that names another: of `parentRefs`, `backendRefs`, `certificateRefs`, `parametersRef`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Reference {
    /// Where.
    pub position: Position,
    /// API group; empty for the core group.
    pub group: Arc<str>,
    /// Kind.
    pub kind: Arc<str>,
    /// `None`: that of the object it stands in.
    pub namespace: Option<Arc<str>>,
    /// Name.
    pub name: Arc<str>,
    /// `sectionName`; only of a parent.
    pub section: Option<Arc<str>>,
    /// Only of a parent or a backend.
    pub port: Option<u16>,
}

/// What a reference means where group and kind are not written.
#[derive(Clone, Copy)]
pub(crate) struct Usual(pub(crate) &'static str, pub(crate) &'static str);

/// Fields of every reference.
pub(crate) const REFERENCE: [&str; 4] = ["group", "kind", "name", "namespace"];

impl Reference {
    /// Reads a reference that has these fields.
    pub(crate) fn decode<'n>(
        d: &mut Decoder<'n>,
        node: &'n Node<'n>,
        usual: Usual,
        fields: &[&str],
    ) -> Option<Self> {
        let map = d.strict(node, fields)?;
        Self::of(d, map, usual)
    }

    /// Reads a reference out of a mapping whose fields are known to be right.
    pub(crate) fn of<'n>(d: &mut Decoder<'n>, map: Map<'n>, usual: Usual) -> Option<Self> {
        let group = d.field(map, "group", Decoder::string);
        let kind = d.field(map, "kind", Decoder::string);
        let name = d.required(map, "name", Decoder::string);
        let namespace = d.field(map, "namespace", |d, node| {
            let text = d.string(node)?;
            check(d, node, "namespace", name::dns_label(&text), &text);
            Some(text)
        });
        let section = d.field(map, "sectionName", section_name);
        let port = d.field(map, "port", port_number);
        Some(Self {
            position: d.position(map.place),
            group: group.unwrap_or_else(|| Some(usual.0.into()))?,
            kind: kind.unwrap_or_else(|| Some(usual.1.into()))?,
            namespace: namespace.flatten(),
            name: name?,
            section: section.flatten(),
            port: port.flatten(),
        })
    }
}

fn check<'n>(d: &mut Decoder<'n>, node: &'n Node<'n>, what: &str, wrong: Option<&str>, text: &str) {
    if let Some(wrong) = wrong {
        d.error(node.place, Code::InvalidName, format!("{:?} is no {what}: {wrong}", short(text)));
    }
}

/// The name of a listener or a rule.
pub(crate) fn section_name<'n>(d: &mut Decoder<'n>, node: &'n Node<'n>) -> Option<Arc<str>> {
    let text = d.string(node)?;
    check(d, node, "name of a section", name::dns_subdomain(&text), &text);
    Some(text)
}

/// A host name, `*.` first if it may be any name below.
pub(crate) fn hostname<'n>(d: &mut Decoder<'n>, node: &'n Node<'n>) -> Option<Arc<str>> {
    let text = d.string(node)?;
    is_name(d, node, &text, text.strip_prefix("*.").unwrap_or(&text)).then_some(text)
}

/// A host name without a wildcard.
pub(crate) fn precise_hostname<'n>(d: &mut Decoder<'n>, node: &'n Node<'n>) -> Option<Arc<str>> {
    let text = d.string(node)?;
    is_name(d, node, &text, &text).then_some(text)
}

/// RFC 1123, and no address: the API wants names.
fn is_name<'n>(d: &mut Decoder<'n>, node: &'n Node<'n>, written: &str, name: &str) -> bool {
    let wrong = match name.parse::<std::net::IpAddr>() {
        Ok(_) => Some("an address is no host name"),
        Err(_) => name::dns_subdomain(name),
    };
    check(d, node, "host name", wrong, written);
    wrong.is_none()
}

/// What the API has and Cofferdam does not do is an error: it would silently not be done.
pub(crate) fn refuse<'n>(d: &mut Decoder<'n>, map: Map<'n>, fields: &[&'n str]) {
    for field in fields {
        d.field(map, field, |d, node| {
            let message = "the Gateway API has this field, and Cofferdam does not do what it asks for";
            d.report(node.place, Diagnostic::error(Code::Unsupported, message).suggest("leave it out"));
        });
    }
}
