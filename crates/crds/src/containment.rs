//! `cofferdam.dev/v1alpha1`: Containment, as written.
//!
//! What it says: pods of one namespace reach nobody and are reached by nobody, until a time. Guarantees: one that cannot be read
//! comes back as `broken` with all that it may select, and has no end. Does not: know the time.

use crate::decode::{Decoder, Map};
use crate::diagnostic::{Code, Diagnostic, Position};
use crate::document::Node;
use crate::meta::{ObjectMeta, Scope, short};
use crate::name;
use crate::selector::LabelSelector;
use crate::time::instant;
use std::sync::Arc;

/// Longest reason, incident, kind and name of a workload in bytes.
const MOST_TEXT: usize = 1024;
/// Fields of `spec`.
const FIELDS: [&str; 6] = ["namespace", "workload", "podSelector", "until", "reason", "incident"];

/// One object.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Containment {
    /// Metadata.
    pub meta: ObjectMeta,
    /// Where.
    pub position: Position,
    /// An error was reported; what it may select is closed.
    pub broken: bool,
    /// `namespace`; `None` only where it cannot be read.
    pub namespace: Option<Arc<str>>,
    /// Whom it cuts off.
    pub whom: Contained,
    /// `until`: seconds since 1970; [`Containment::NEVER`] where it cannot be read.
    pub until: u64,
    /// `reason`; empty if not written.
    pub reason: Arc<str>,
    /// `incident`; empty if not written.
    pub incident: Arc<str>,
}

/// Pods of a namespace.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Contained {
    /// `workload`: those that it made.
    Workload {
        /// For example `Deployment`; `Pod` for a pod by itself.
        kind: Arc<str>,
        /// Name.
        name: Arc<str>,
    },
    /// `podSelector`: those with these labels.
    Pods(LabelSelector),
}

impl Containment {
    /// The end of what has none.
    pub const NEVER: u64 = u64::MAX;

    /// Whether its time is over. One that cannot be read holds until it is removed or repaired.
    pub fn is_over(&self, seconds: u64) -> bool {
        !self.broken && self.until <= seconds
    }

    pub(crate) fn decode<'n>(d: &mut Decoder<'n>, object: Map<'n>) -> Self {
        let meta = ObjectMeta::decode(d, object, Scope::Cluster, true);
        let mut containment = Self::unreadable(meta, d.position(object.place));
        d.required(object, "spec", |d, node| containment.spec(d, node));
        containment.broken = d.is_broken();
        containment
    }

    /// One of which no more than the metadata is known.
    pub(crate) fn unreadable(meta: ObjectMeta, position: Position) -> Self {
        Self {
            meta,
            position,
            broken: true,
            namespace: None,
            whom: Contained::Pods(LabelSelector::default()),
            until: Self::NEVER,
            reason: "".into(),
            incident: "".into(),
        }
    }

    fn spec<'n>(&mut self, d: &mut Decoder<'n>, node: &'n Node<'n>) -> Option<()> {
        let map = d.strict(node, &FIELDS)?;
        self.namespace = d.required(map, "namespace", namespace);
        self.until = d.required(map, "until", until).unwrap_or(Self::NEVER);
        self.reason = d.field(map, "reason", text).flatten().unwrap_or_default();
        self.incident = d.field(map, "incident", text).flatten().unwrap_or_default();
        let workload = d.field(map, "workload", workload);
        let pods = d.field(map, "podSelector", LabelSelector::decode);
        match (workload, pods) {
            (Some(whom), None) => self.whom = whom?,
            (None, Some(pods)) => self.whom = Contained::Pods(pods?),
            (Some(_), Some(_)) | (None, None) => {
                let diagnostic =
                    Diagnostic::error(Code::ExactlyOne, "exactly one of workload and podSelector is needed");
                d.report(node.place, diagnostic.suggest("podSelector: {} for all pods of the namespace"));
            }
        }
        Some(())
    }
}

fn namespace<'n>(d: &mut Decoder<'n>, node: &'n Node<'n>) -> Option<Arc<str>> {
    let text = d.string(node)?;
    if let Some(wrong) = name::dns_label(&text) {
        d.error(node.place, Code::InvalidName, format!("{:?} is no namespace name: {wrong}", short(&text)));
        return None;
    }
    Some(text)
}

fn workload<'n>(d: &mut Decoder<'n>, node: &'n Node<'n>) -> Option<Contained> {
    let map = d.strict(node, &["kind", "name"])?;
    let kind = d.required(map, "kind", text);
    let name = d.required(map, "name", text);
    Some(Contained::Workload { kind: kind?, name: name? })
}

fn text<'n>(d: &mut Decoder<'n>, node: &'n Node<'n>) -> Option<Arc<str>> {
    let text = d.string(node)?;
    if text.trim().is_empty() || text.len() > MOST_TEXT {
        d.error(node.place, Code::InvalidValue, format!("it has 1 to {MOST_TEXT} bytes, not only spaces"));
        return None;
    }
    Some(text)
}

fn until<'n>(d: &mut Decoder<'n>, node: &'n Node<'n>) -> Option<u64> {
    let text = d.str(node)?;
    let found = instant(text);
    if found.is_none() {
        let diagnostic = Diagnostic::error(Code::InvalidValue, format!("{:?} is no time", short(text)));
        d.report(node.place, diagnostic.suggest("a time of UTC: \"2026-12-31T18:00:00Z\""));
    }
    found
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{Object, read_objects};

    const WHOLE: &str = "apiVersion: cofferdam.dev/v1alpha1
kind: Containment
metadata: {name: train, annotations: {cofferdam.dev/by: ada}}
spec:
  namespace: ai
  workload: {kind: Deployment, name: train}
  until: \"2026-12-31T18:00:00Z\"
  reason: it reads what it should not
  incident: i-1
";

    fn read(text: &str) -> (Containment, Vec<String>) {
        let read = read_objects("c.yaml", text.as_bytes());
        let found = read.objects.into_iter().find_map(|object| match object {
            Object::Containment(containment) => Some(containment),
            _ => None,
        });
        (found.unwrap(), read.diagnostics.iter().map(ToString::to_string).collect())
    }

    #[test]
    fn one_is_read_and_is_over_at_its_time() {
        let (containment, diagnostics) = read(WHOLE);
        assert_eq!(diagnostics, Vec::<String>::new());
        assert_eq!(containment.whom, Contained::Workload { kind: "Deployment".into(), name: "train".into() });
        assert_eq!((containment.namespace.as_deref(), &*containment.incident), (Some("ai"), "i-1"));
        let end = containment.until;
        assert_eq!(end, 1_798_740_000);
        assert!(!containment.is_over(end - 1) && containment.is_over(end));
        let (by_labels, diagnostics) =
            read(&WHOLE.replace("workload: {kind: Deployment, name: train}", "podSelector: {}"));
        assert_eq!((by_labels.whom, diagnostics.len()), (Contained::Pods(LabelSelector::default()), 0));
    }

    #[test]
    fn what_is_wrong_is_named_and_never_ends() {
        for (from, to, expected) in [
            ("  namespace: ai\n", "", "namespace"),
            ("namespace: ai", "namespace: A_B", "is no namespace name"),
            ("2026-12-31T18:00:00Z", "2026-12-31", "is no time"),
            ("2026-12-31T18:00:00Z", "2026-12-31T18:00:00+01:00", "is no time"),
            ("  workload: {kind: Deployment, name: train}\n", "", "exactly one of"),
            ("  until", "  podSelector: {}\n  until", "exactly one of"),
            ("kind: Deployment, ", "", "kind"),
            ("incident: i-1", "incidents: i-1", "incidents"),
            ("spec:", "specs:", "spec"),
        ] {
            let text = WHOLE.replacen(from, to, 1);
            assert_ne!(text, WHOLE, "{from}");
            let (containment, diagnostics) = read(&text);
            let all = diagnostics.join("\n");
            assert!(all.contains(expected) && all.contains("c.yaml:"), "{to}: {all}");
            assert!(containment.broken && !containment.is_over(u64::MAX), "{to}");
        }
    }
}
