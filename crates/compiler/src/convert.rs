//! From the words of the API to the words of the model: selectors, protocols, positions, object names.
//!
//! Enters: parts of objects as `crds` read them. Leaves: the same, interned, in `policy`'s types.
//! Does not: give them meaning; that is `world` and `rules`.

use crate::world::elsewhere::Doubtful;
use crds::{Diagnostic, LabelSelector, ObjectMeta, ObjectName, Operator, Position};
use policy::intern::Interner;
use policy::{NamespaceScope, ObjectRef, Protocol, Requirement, Selector, SourceRef};
use std::collections::BTreeSet;
use std::sync::Arc;

/// What one compilation carries along.
#[derive(Default)]
pub(crate) struct Context {
    pub(crate) interner: Interner,
    pub(crate) diagnostics: Vec<Diagnostic>,
    /// Pods of other clusters that are not believed.
    pub(crate) doubtful: Vec<Doubtful>,
    /// Namespace and name of services of all clusters, of those that rules name, that have a pod of this cluster as an endpoint.
    pub(crate) imported_here: BTreeSet<(Arc<str>, Arc<str>)>,
    /// Those that have a pod of another cluster.
    pub(crate) imported_elsewhere: BTreeSet<(Arc<str>, Arc<str>)>,
}

impl Context {
    /// Keeps a diagnostic.
    pub(crate) fn report(&mut self, diagnostic: Diagnostic) {
        self.diagnostics.push(diagnostic);
    }

    /// A selector; `matchLabels` entries are `In` with one value.
    pub(crate) fn selector(&mut self, written: &LabelSelector) -> Selector {
        let interner = &mut self.interner;
        let mut requirements =
            Vec::with_capacity(written.match_labels.len() + written.match_expressions.len());
        for (key, value) in &written.match_labels {
            requirements.push(Requirement::In(interner.text(key), vec![interner.text(value)]));
        }
        for expression in &written.match_expressions {
            let key = interner.text(&expression.key);
            let mut values: Vec<_> = expression.values.iter().map(|value| interner.text(value)).collect();
            values.sort();
            values.dedup();
            requirements.push(match expression.operator {
                Operator::In => Requirement::In(key, values),
                Operator::NotIn => Requirement::NotIn(key, values),
                Operator::Exists => Requirement::Exists(key),
                Operator::DoesNotExist => Requirement::DoesNotExist(key),
            });
        }
        interner.selector(requirements)
    }

    /// The namespaces that a `namespaceSelector` matches.
    pub(crate) fn namespaces(&mut self, written: &LabelSelector) -> NamespaceScope {
        NamespaceScope::Matching(self.selector(written))
    }

    /// Names an object.
    pub(crate) fn object(&mut self, kind: &str, meta: &ObjectMeta) -> ObjectRef {
        ObjectRef {
            kind: self.interner.text(kind),
            namespace: self.interner.text(&meta.namespace),
            name: self.interner.text(&meta.name),
        }
    }
}

/// The protocol by its number.
pub(crate) fn protocol(written: crds::Protocol) -> Protocol {
    match written {
        crds::Protocol::Tcp => Protocol::TCP,
        crds::Protocol::Udp => Protocol::UDP,
        crds::Protocol::Sctp => Protocol::SCTP,
    }
}

/// Where a rule was written, if that was in a file.
pub(crate) fn source(position: &Position) -> Option<SourceRef> {
    let in_file = || SourceRef { file: position.file.clone(), line: position.line, column: position.column };
    position.is_in_a_file().then(in_file)
}

/// The position behind a source reference.
pub(crate) fn position(source: &SourceRef) -> Position {
    Position { file: source.file.clone(), line: source.line, column: source.column }
}

/// The name a diagnostic gives an object.
pub(crate) fn object_name(object: &ObjectRef) -> ObjectName {
    ObjectName { kind: object.kind.clone(), namespace: object.namespace.clone(), name: object.name.clone() }
}
