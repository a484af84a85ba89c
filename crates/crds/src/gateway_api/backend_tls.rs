//! `gateway.networking.k8s.io` BackendTLSPolicy, and `v1` ConfigMaps with certificates of authorities, which it names.
//!
//! Guarantees: what is not understood makes the policy broken, and a policy says whom to trust in exactly one way. Other ConfigMaps are not
//! read. Does not: read certificates.

use super::reference::{REFERENCE, Reference, Usual, precise_hostname, refuse, section_name};
use crate::decode::{Decoder, Map};
use crate::diagnostic::{Code, Diagnostic, Position};
use crate::document::{Node, Value};
use crate::meta::{ObjectMeta, Scope};
use std::sync::Arc;

/// Most targets, as in the API.
const MOST_TARGETS: usize = 16;
/// Most references to certificates, as in the API.
const MOST_REFERENCES: usize = 8;
/// The key of a ConfigMap that has certificates.
const KEY: &str = "ca.crt";

/// BackendTLSPolicy.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct BackendTlsPolicy {
    /// Metadata.
    pub meta: ObjectMeta,
    /// Where.
    pub position: Position,
    /// What is wrong with it. Its targets, as far as they are known, must then not be asked at all.
    pub broken: Option<Arc<str>>,
    /// `spec.targetRefs`: Services of its namespace, each with the name of a port if not all of it is meant.
    pub targets: Vec<(Arc<str>, Option<Arc<str>>)>,
    /// `spec.validation.hostname`: what the certificate must be for, and what is asked for in the hello.
    pub hostname: Arc<str>,
    /// `spec.validation.caCertificateRefs`. Empty: whom the system trusts.
    pub authorities: Vec<Reference>,
}

impl BackendTlsPolicy {
    pub(crate) fn decode<'n>(d: &mut Decoder<'n>, object: Map<'n>) -> Self {
        let mut policy = Self {
            meta: ObjectMeta::decode(d, object, Scope::Namespaced, true),
            position: d.position(object.place),
            broken: None,
            targets: Vec::new(),
            hostname: Arc::default(),
            authorities: Vec::new(),
        };
        d.required(object, "spec", |d, node| {
            let map = d.strict(node, &["targetRefs", "validation", "options"])?;
            let targets = d.required(map, "targetRefs", |d, node| {
                d.check_length(node, 1, MOST_TARGETS);
                d.list(node, target)
            });
            policy.targets = targets.unwrap_or_default();
            refuse(d, map, &["options"]);
            d.required(map, "validation", |d, node| policy.validation(d, node))
        });
        policy.broken = d.first_error();
        policy
    }

    fn validation<'n>(&mut self, d: &mut Decoder<'n>, node: &'n Node<'n>) -> Option<()> {
        const FIELDS: [&str; 4] =
            ["caCertificateRefs", "wellKnownCACertificates", "hostname", "subjectAltNames"];
        let map = d.strict(node, &FIELDS)?;
        refuse(d, map, &["subjectAltNames"]);
        let hostname = d.required(map, "hostname", precise_hostname);
        self.hostname = hostname.unwrap_or_default();
        let authorities = d.field(map, "caCertificateRefs", |d, node| {
            d.check_length(node, 0, MOST_REFERENCES);
            d.list(node, |d, node| Reference::decode(d, node, Usual("", "ConfigMap"), &REFERENCE))
        });
        self.authorities = authorities.flatten().unwrap_or_default();
        let known = d.field(map, "wellKnownCACertificates", |d, node| d.one_of(node, &[("System", ())]));
        if known.is_some() != self.authorities.is_empty() {
            let message = "exactly one of caCertificateRefs and wellKnownCACertificates says whom to trust";
            let diagnostic = Diagnostic::error(Code::InvalidValue, message);
            d.report(node.place, diagnostic.suggest("wellKnownCACertificates: System"));
        }
        Some(())
    }
}

fn target<'n>(d: &mut Decoder<'n>, node: &'n Node<'n>) -> Option<(Arc<str>, Option<Arc<str>>)> {
    let map = d.strict(node, &["group", "kind", "name", "sectionName"])?;
    d.required(map, "group", |d, node| d.one_of(node, &[("", ())]));
    d.required(map, "kind", |d, node| d.one_of(node, &[("Service", ())]));
    let name = d.required(map, "name", Decoder::string);
    let section = d.field(map, "sectionName", section_name);
    Some((name?, section.flatten()))
}

/// Certificates of authorities.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct CaBundle {
    /// Metadata.
    pub meta: ObjectMeta,
    /// Where.
    pub position: Position,
    /// `data["ca.crt"]`, in PEM. Empty: not readable.
    pub certificates: Arc<str>,
}

impl CaBundle {
    /// Whether a ConfigMap has certificates of authorities where they are looked for.
    pub(crate) fn is_one(object: Map<'_>) -> bool {
        let data = object.get("data").map(|node| &node.value);
        matches!(data, Some(Value::Mapping(entries)) if entries.iter().any(|entry| entry.key == KEY))
    }

    pub(crate) fn decode<'n>(d: &mut Decoder<'n>, object: Map<'n>) -> Self {
        let mut bundle = Self {
            meta: ObjectMeta::decode(d, object, Scope::Namespaced, false),
            position: d.position(object.place),
            certificates: Arc::default(),
        };
        d.field(object, "data", |d, node| {
            let map = d.map(node)?;
            bundle.certificates = d.field(map, KEY, Decoder::string).flatten().unwrap_or_default();
            Some(())
        });
        bundle
    }
}
