//! A release that is judged beside what is enforced, without effect.
//!
//! Enters: the release, everything else that the API server holds, what agents say that pods open and what of that fails, and what
//! their detectors find. Leaves: how often the release would have denied what was allowed, for how long all of it was judged, and
//! findings and failures of workloads that its policies select.
//! Guarantees: the release stands in place of the fleet's own policies, and everything else stays; nobody's policy, generation
//! or status changes by it; what a node does not say, or nobody took, is a gap, after which time begins anew; what cannot be
//! said counts as denied. Does not: publish, or write to the API server.

mod judge;

pub(crate) use judge::run;

use compiler::{Compiled, Prepared, Preparer, compile_prepared};
use crds::{Catalog, Diagnostic};
use fleet::{Beside, Judged, Ref, Signed};
use policy::dns::names_of_rules;
use policy::{DomainPattern, Generation, PolicySet, Subject};
use std::collections::BTreeSet;
use std::sync::Arc;
use tokio::sync::watch as latest;

/// Who wants a release judged, and hears what was seen.
#[derive(Debug)]
pub struct Asking {
    /// Which; `None`: none.
    pub wanted: latest::Receiver<Option<Arc<Judged>>>,
    /// What was seen.
    pub said: latest::Sender<Option<Beside>>,
}

/// What is judged by.
#[derive(Debug)]
pub(crate) struct Candidate {
    pub(crate) of: Ref,
    /// Whose workloads findings and failures are told of.
    pub(crate) about: Ref,
    /// Why there is nothing to judge by.
    pub(crate) set: Result<PolicySet, String>,
    /// Names that its rules speak of.
    pub(crate) names: Arc<[DomainPattern]>,
    /// Whom the policies of `about` are for. `None`: that is not known of all of them, and everybody counts.
    pub(crate) subjects: Option<Vec<Subject>>,
}

impl Candidate {
    /// Whether it is the same release, about the same: what was seen of it counts on.
    pub(crate) fn is_of(&self, other: &Self) -> bool {
        (&self.of, &self.about) == (&other.of, &other.about)
    }

    /// A release with everything that is not of the fleet.
    pub(crate) fn new<'o>(
        judged: &Judged,
        others: impl IntoIterator<Item = &'o Prepared>,
        catalog: &Catalog,
    ) -> Self {
        let [of, about] = judged.references();
        let origin = format!("release {}", of.number);
        let (prepared, mut wrong) = prepare(&origin, &judged.by);
        let mut all: Vec<&Prepared> = others.into_iter().collect();
        all.extend(&prepared);
        let Compiled { set, diagnostics, keys: _ } = compile_prepared(all, catalog, Generation(0));
        let is_own = |it: &Diagnostic| it.position.as_ref().is_some_and(|at| *at.file == *origin);
        wrong.extend(diagnostics.into_iter().filter(is_own));
        wrong.retain(Diagnostic::is_error);
        let names = set.policies.iter().flat_map(names_of_rules).map(|(pattern, _, _)| pattern.clone());
        let names: BTreeSet<DomainPattern> = names.collect();
        let set = match wrong.first() {
            None => Ok(set),
            Some(first) => Err(format!("{} errors, the first: {first}", wrong.len())),
        };
        let subjects = subjects(&judged.about, catalog);
        Self { of, about, set, names: names.into_iter().collect(), subjects }
    }
}

fn prepare(origin: &str, signed: &Signed) -> (Vec<Prepared>, Vec<Diagnostic>) {
    let (mut preparer, mut prepared, mut wrong) = (Preparer::default(), Vec::new(), Vec::new());
    for manifest in signed.release().manifests() {
        let read = crds::read_value(origin, &manifest.value);
        prepared.extend(read.objects.into_iter().map(|object| preparer.prepare(object)));
        wrong.extend(read.diagnostics);
    }
    (prepared, wrong)
}

/// Whom the policies of a release are for. `None`: some of them are for nobody who can be found so, such as consumers of a gateway.
fn subjects(signed: &Signed, catalog: &Catalog) -> Option<Vec<Subject>> {
    // Whom a policy selects is in the policy: other objects say only who that is.
    let (prepared, _) = prepare("release", signed);
    let set = compile_prepared(&prepared, catalog, Generation(0)).set;
    let mut found = Vec::new();
    for manifest in signed.release().manifests() {
        let name = &manifest.name;
        let is_it = |it: &&policy::Policy| {
            (&it.object.kind, &it.object.namespace, &it.object.name)
                == (&name.kind, &name.namespace, &name.name)
        };
        let before = found.len();
        found.extend(set.policies.iter().filter(is_it).map(|it| it.subject.clone()));
        if found.len() == before {
            return None;
        }
    }
    Some(found)
}
