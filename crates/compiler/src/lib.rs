//! Kubernetes objects to one [`policy::PolicySet`], with diagnostics; and a policy set to the compiled tables.
//!
//! Enters: the objects as `crds` read them, and the catalog of providers. Leaves: a policy set that every enforcement point judges against,
//! and a diagnostic for whatever was ignored, repaired, closed or looks unintended.
//! Guarantees: pure and deterministic; nothing that is known but could not be applied ever means allow.
//! Does not: read files, decide accesses (`policy`) or touch packets (`datapath`).

pub mod changes;
pub mod connectivity;
mod convert;
mod detection;
pub mod engine;
mod keys;
pub mod lint;
pub mod lower;
pub mod overlay;
mod prepare;
mod rules;
#[cfg(feature = "sample")]
pub mod sample;
mod world;

pub use prepare::{Prepared, Preparer};
pub use world::CLOSED_LABEL;

use crds::{Catalog, Diagnostic, Object};
use policy::{Generation, Key, PolicySet, RuleId, SecretRef};
use std::collections::BTreeMap;
use std::sync::{Arc, LazyLock};

/// What objects mean, and what is to be said about them.
#[derive(Clone, Debug)]
pub struct Compiled {
    /// What every enforcement point judges against.
    pub set: PolicySet,
    /// By file and line.
    pub diagnostics: Vec<Diagnostic>,
    /// The keys that rules put into requests, so far as they are there. Part of no policy: whoever may not have them is not
    /// given them.
    pub keys: BTreeMap<SecretRef, Key>,
}

/// The catalog that comes with the program, read once.
static BUILT_IN: LazyLock<Catalog> = LazyLock::new(Catalog::built_in);

/// The catalog that comes with the program.
pub fn built_in_catalog() -> &'static Catalog {
    &BUILT_IN
}

/// Compiles objects, with the catalog that comes with the program, and looks for what is legal but probably not meant.
#[must_use]
pub fn compile(objects: Vec<Object>, generation: Generation) -> Compiled {
    compile_with(objects, built_in_catalog(), generation)
}

/// Compiles objects and looks for what is legal but probably not meant.
#[must_use]
pub fn compile_with(objects: Vec<Object>, catalog: &Catalog, generation: Generation) -> Compiled {
    let mut compiled = compile_unlinted_with(objects, catalog, generation);
    compiled.diagnostics.extend(lint::lint(&compiled.set));
    sort(&mut compiled.diagnostics);
    compiled
}

/// Compiles objects, with the catalog that comes with the program; the diagnostics are only those about what was ignored,
/// repaired or closed.
#[must_use]
pub fn compile_unlinted(objects: Vec<Object>, generation: Generation) -> Compiled {
    compile_unlinted_with(objects, built_in_catalog(), generation)
}

/// Compiles objects; the diagnostics are only those about what was ignored, repaired or closed.
#[must_use]
pub fn compile_unlinted_with(objects: Vec<Object>, catalog: &Catalog, generation: Generation) -> Compiled {
    compile_within(objects, catalog, generation, RuleId::MAX)
}

/// As [`compile_unlinted_with`], of objects made ready before.
#[must_use]
pub fn compile_prepared<'o>(
    objects: impl IntoIterator<Item = &'o Prepared>,
    catalog: &Catalog,
    generation: Generation,
) -> Compiled {
    build((convert::Context::default(), catalog), objects, generation, RuleId::MAX)
}

fn compile_within(objects: Vec<Object>, catalog: &Catalog, generation: Generation, last: RuleId) -> Compiled {
    let mut preparer = Preparer::default();
    let prepared: Vec<Prepared> = objects.into_iter().map(|object| preparer.prepare(object)).collect();
    let context = convert::Context { interner: preparer.interner, ..convert::Context::default() };
    build((context, catalog), &prepared, generation, last)
}

fn build<'o>(
    (mut context, catalog): (convert::Context, &Catalog),
    objects: impl IntoIterator<Item = &'o Prepared>,
    generation: Generation,
    last: RuleId,
) -> Compiled {
    let sorted = world::Sorted::new(objects);
    let (world, closures) = world::world(&mut context, &sorted);
    world::tell_elsewhere(&mut context, &sorted);
    let book = rules::rulebook(&mut context, catalog, &sorted, closures, last);
    let keys = keys::keys(&mut context, &sorted.keys, &book.entries);
    let set = PolicySet {
        generation,
        world,
        policies: book.policies,
        closed: book.closed,
        rules: Arc::new(book.entries),
        detection: detection::tunings(&mut context, &sorted).into(),
    };
    let mut diagnostics = context.diagnostics;
    sort(&mut diagnostics);
    Compiled { set, diagnostics, keys }
}

fn sort(diagnostics: &mut [Diagnostic]) {
    diagnostics.sort_by(|a, b| (&a.position, &a.field, a.code).cmp(&(&b.position, &b.field, b.code)));
}

#[cfg(test)]
mod tests {
    use super::*;
    use policy::{Access, Endpoint, Protocol, Reason, Verdict, decide};

    #[test]
    fn policies_beyond_the_last_rule_id_are_closed() {
        let mut yaml = String::new();
        for i in 0..6 {
            yaml += &format!(
                "---\napiVersion: v1\nkind: Pod\nmetadata: {{name: p{i}, namespace: x, labels: {{app: a{i}}}}}\nspec: {{containers: \
                 [{{name: c, image: i}}]}}\nstatus: {{podIP: 10.0.0.{i}}}\n---\napiVersion: networking.k8s.io/v1\nkind: NetworkPolicy\n\
                 metadata: {{name: n{i}, namespace: x}}\nspec: {{podSelector: {{matchLabels: {{app: a{i}}}}}, ingress: [{{}}]}}\n"
            );
        }
        let objects = crds::read_objects("t.yaml", yaml.as_bytes()).objects;
        let last = RuleId(RuleId::FIRST_WRITTEN.0 + 6);
        let compiled = compile_within(objects, built_in_catalog(), Generation(1), last);
        let set = compiled.set;
        assert!(compiled.diagnostics.iter().any(|d| d.code == crds::Code::LimitExceeded && d.is_error()));
        assert!(set.rules.len() <= last.0 as usize + 1, "{}", set.rules.len());
        assert_eq!((set.policies.len(), set.closed.len()), (3, 3));
        let from = Endpoint::at(&set.world, "192.0.2.1".parse().unwrap());
        for (i, pod) in set.world.pods.iter().enumerate() {
            let to = Endpoint::pod(&set.world, pod);
            let decision = decide(&set, &Access { from, to, protocol: Protocol::TCP, port: 80 });
            let (verdict, reason) = if i < 3 {
                (Verdict::Allow, Reason::NetworkPolicyAllow)
            } else {
                (Verdict::Deny, Reason::PolicyUnreadable)
            };
            assert_eq!((decision.verdict, decision.ingress.reason), (verdict, reason), "{pod}");
        }
    }
}
