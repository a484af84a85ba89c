//! `inject`: with which key requests leave, in place of what the pod sent.
//!
//! Enters: an entry of `credentials`. Leaves: [`Inject`]. Guarantees: the key goes to one server, or one provider's, and the
//! rule names it in full; nowhere unread. Does not: look whether the Secret is there.

use super::{EgressPeer, EgressPolicyKind, WhenUnopened};
use crate::decode::{Decoder, Map};
use crate::diagnostic::{Code, Diagnostic};
use crate::document::Node;
use crate::meta::{Located, short};
use crate::name;
use std::sync::Arc;

/// `inject`, as written.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Inject {
    /// `secretRef.namespace`: always there in a ClusterEgressPolicy, and never in an EgressPolicy, whose own it is.
    pub namespace: Option<Arc<str>>,
    /// `secretRef.name`
    pub name: Arc<str>,
    /// `secretRef.key`
    pub key: Arc<str>,
    /// `header`, in lower case.
    pub header: Option<Arc<str>>,
}

/// Longest name of a field, in bytes.
const MOST_HEADER: usize = 64;
/// Longest key of a Secret's data (Kubernetes' own limit).
const MOST_KEY: usize = 253;
/// Fields that say how, by whom or to whom a request is.
const NO_KEYS: [&str; 14] = [
    "accept-encoding",
    "connection",
    "cookie",
    "date",
    "expect",
    "host",
    "http2-settings",
    "keep-alive",
    "range",
    "te",
    "trailer",
    "transfer-encoding",
    "upgrade",
    "via",
];

pub(super) fn inject<'n>(d: &mut Decoder<'n>, node: &'n Node<'n>, kind: EgressPolicyKind) -> Option<Inject> {
    let map = d.strict(node, &["secretRef", "header"])?;
    let header = d.field(map, "header", header);
    let secret = d.required(map, "secretRef", |d, node| secret_ref(d, node, kind));
    let (namespace, name, key) = secret?;
    let header = match header {
        Some(read) => Some(read?),
        None => None,
    };
    Some(Inject { namespace, name, key, header })
}

type SecretRef = (Option<Arc<str>>, Arc<str>, Arc<str>);

fn secret_ref<'n>(d: &mut Decoder<'n>, node: &'n Node<'n>, kind: EgressPolicyKind) -> Option<SecretRef> {
    let known: &[&str] = match kind {
        // Whoever writes in one namespace must not use the keys of another.
        EgressPolicyKind::EgressPolicy => &["name", "key"],
        EgressPolicyKind::ClusterEgressPolicy => &["namespace", "name", "key"],
    };
    let map = d.strict(node, known)?;
    let namespace = match kind {
        EgressPolicyKind::EgressPolicy => None,
        EgressPolicyKind::ClusterEgressPolicy => {
            Some(d.required(map, "namespace", |d, node| named(d, node, name::dns_label))?)
        }
    };
    let name = d.required(map, "name", |d, node| named(d, node, name::dns_subdomain));
    let key = d.required(map, "key", |d, node| {
        let text = d.string(node)?;
        let is_key = |byte: u8| byte.is_ascii_alphanumeric() || matches!(byte, b'-' | b'_' | b'.');
        if text.is_empty() || text.len() > MOST_KEY || !text.bytes().all(is_key) {
            let message = format!("{:?} is no key of a Secret's data", short(&text));
            d.error(node.place, Code::InvalidName, message);
            return None;
        }
        Some(text)
    });
    Some((namespace, name?, key?))
}

fn named<'n, E: std::fmt::Display>(
    d: &mut Decoder<'n>,
    node: &'n Node<'n>,
    wrong: impl Fn(&str) -> Option<E>,
) -> Option<Arc<str>> {
    let text = d.string(node)?;
    if let Some(wrong) = wrong(&text) {
        d.error(node.place, Code::InvalidName, format!("{:?} is no name: {wrong}", short(&text)));
        return None;
    }
    Some(text)
}

fn header<'n>(d: &mut Decoder<'n>, node: &'n Node<'n>) -> Option<Arc<str>> {
    let text = d.str(node)?.to_ascii_lowercase();
    let is_token = |byte: u8| byte.is_ascii_alphanumeric() || matches!(byte, b'-' | b'_');
    let is_name = !text.is_empty() && text.len() <= MOST_HEADER && text.bytes().all(is_token);
    let is_taken = NO_KEYS.contains(&text.as_str())
        || ["content-", "if-", "proxy-", "sec-"].iter().any(|start| text.starts_with(start));
    if !is_name || is_taken {
        let message = format!("a key cannot go in the field {:?}", short(&text));
        let diagnostic = Diagnostic::error(Code::InvalidValue, message);
        let way_out =
            "write authorization (with Bearer before the key) or the service's own field, such as x-api-key";
        d.report(node.place, diagnostic.suggest(way_out));
        return None;
    }
    Some(d.intern(&text))
}

/// What a rule with a key cannot be.
pub(super) fn check<'n>(
    d: &mut Decoder<'n>,
    rule: Map<'n>,
    peers: &[Located<EgressPeer>],
    unopened: WhenUnopened,
) {
    d.field(rule, "to", |d, node| {
        let wildcard = |peer: &Located<EgressPeer>| match &peer.value {
            EgressPeer::Domains(domains) => domains.iter().any(|domain| domain.contains('*')),
            EgressPeer::Provider(_)
            | EgressPeer::Networks(_)
            | EgressPeer::Clusters(_)
            | EgressPeer::ServiceImport(_) => false,
        };
        let wrong = match peers {
            [_, _, ..] => Some(("a key goes to one server or provider, and this rule names several", "write a rule for each key")),
            [one] if wildcard(one) => Some((
                "a key goes to servers that are named in full, for whoever has a name that a pattern matches would have the key",
                "write the name of the server",
            )),
            [_] | [] => None,
        };
        if let Some((message, way_out)) = wrong {
            d.report(node.place, Diagnostic::error(Code::InvalidValue, message).suggest(way_out));
        }
    });
    if unopened == WhenUnopened::Pass {
        d.field(rule, "whenUnopened", |d, node| {
            let message =
                "what passes unopened would leave with the pod's own key instead of the one of inject";
            let diagnostic = Diagnostic::error(Code::InvalidValue, message);
            d.report(node.place, diagnostic.suggest("leave whenUnopened out, or write whenUnopened: Deny"));
        });
    }
}
