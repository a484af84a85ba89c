//! Candidate policies: read from their folder, and how what they say differs from what happens.
//!
//! Enters: the folders of the policy in force and of the candidate, the catalog. Leaves: the candidate's policy set, or why
//! there is none; and the form in which its judgement is told.
//! Guarantees: parties are those of the policy in force; a candidate of which any policy cannot be read as written is judged
//! by as little as one that cannot be read at all. Does not: judge (`observe::shadow`), or enforce anything.

use super::engine::is_broken_policy;
use crate::catalog::CatalogArg;
use crate::folder;
use crate::plain::counted;
use crds::{Diagnostic, Object};
use observe::{Difference, Sightings, Tally};
use policy::{Generation, PolicySet};
use serde::{Deserialize, Serialize};
use std::path::PathBuf;

/// How a candidate is judged beside what is enforced.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct ShadowStatus {
    /// Files and folders that it comes from.
    pub(crate) sources: Vec<String>,
    /// Its policies.
    pub(crate) policies: usize,
    /// Why nothing is judged by it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(crate) problem: Option<String>,
    /// Accesses that were judged by it since it was read as it is.
    pub(crate) judged: u64,
    /// Of these, those that were allowed and would have been denied.
    pub(crate) would_deny: u64,
    /// Of these, those that were denied and would have been allowed.
    pub(crate) would_allow: u64,
    /// Accesses of which it cannot be said: they would go by names, and the DNS of the pod is not followed.
    pub(crate) unknown: u64,
    /// Of those that differ, those for which there is no room in the list.
    pub(crate) unlisted: u64,
    /// Each way in which they differ; only where it was asked for.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub(crate) differences: Vec<Seen>,
}

/// One way in which what happened differs, and how often it was seen.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Seen {
    /// Who, to whom, and why.
    #[serde(flatten)]
    pub(crate) difference: Difference,
    /// How often and when.
    #[serde(flatten)]
    pub(crate) seen: Sightings,
}

impl ShadowStatus {
    /// The same, with what the candidate said.
    pub(crate) fn with(self, tally: &Tally) -> Self {
        let seen = |(difference, seen): (&Difference, &Sightings)| Seen {
            difference: difference.clone(),
            seen: *seen,
        };
        Self {
            judged: tally.judged,
            would_deny: tally.would_deny,
            would_allow: tally.would_allow,
            unknown: tally.unknown,
            unlisted: tally.unlisted,
            differences: tally.differences().into_iter().map(seen).collect(),
            ..self
        }
    }

    /// The counts alone.
    pub(crate) fn without_list(self) -> Self {
        Self { differences: Vec::new(), ..self }
    }
}

/// Reads a candidate: its policies, and all but the policies of what is in force.
///
/// # Errors
/// Something of it cannot be read as it was written. The first such thing, and how many there are.
pub(crate) fn read(
    enforced: &[PathBuf],
    candidate: &[PathBuf],
    catalog: &CatalogArg,
) -> Result<PolicySet, String> {
    let found = folder::read(candidate, None);
    let mut wrong: Vec<Diagnostic> = found.diagnostics;
    let parties = folder::read(enforced, None).objects.into_iter().filter(|object| !is_policy(object));
    let objects = parties.chain(found.objects.into_iter().filter(is_policy)).collect();
    let catalog = catalog.read().unwrap_or_else(|unread| {
        wrong.extend(unread);
        catalog.without_providers()
    });
    let compiled = compiler::compile_unlinted_with(objects, &catalog, Generation(0));
    wrong.extend(compiled.diagnostics);
    wrong.retain(is_broken_policy);
    match wrong.first() {
        None => Ok(compiled.set),
        // It becomes one line.
        Some(first) => {
            let first = first.to_string().replace("\n  ", "; ");
            Err(format!("{}, the first: {first}", counted(wrong.len(), "error")))
        }
    }
}

/// Whether it says what is allowed.
fn is_policy(object: &Object) -> bool {
    match object {
        Object::NetworkPolicy(_) | Object::ClusterPolicy(_) | Object::EgressPolicy(_) => true,
        Object::Namespace(_)
        | Object::Node(_)
        | Object::Pod(_)
        | Object::Workload(_)
        | Object::Service(_)
        | Object::Ingress(_)
        | Object::InferencePolicy(_)
        | Object::GatewayApi(_)
        | Object::IdentitySlice(_)
        | Object::KeySecret(_)
        | Object::DetectionPolicy(_)
        // Whoever is cut off stays so, whatever is judged by.
        | Object::Containment(_) => false,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::fs;

    const PARTIES: &str = "
{apiVersion: v1, kind: Namespace, metadata: {name: a}}
---
{apiVersion: networking.k8s.io/v1, kind: NetworkPolicy, metadata: {name: old, namespace: a}, spec: {podSelector: {}}}
";
    const NEXT: &str = "
{apiVersion: v1, kind: Namespace, metadata: {name: other}}
---
{apiVersion: networking.k8s.io/v1, kind: NetworkPolicy, metadata: {name: new, namespace: a}, spec: {podSelector: {}}}
";

    fn read_as(enforced: &str, candidate: &str) -> Result<PolicySet, String> {
        let [here, there] = [enforced, candidate].map(|text| {
            let folder = tempfile::tempdir().unwrap();
            fs::write(folder.path().join("a.yaml"), text).unwrap();
            folder
        });
        read(&[here.path().to_owned()], &[there.path().to_owned()], &CatalogArg::default())
    }

    #[test]
    fn a_candidate_has_its_own_policies_and_the_parties_of_what_is_in_force() {
        let set = read_as(PARTIES, NEXT).unwrap();
        let names: Vec<_> = set.policies.iter().map(|it| &*it.object.name).collect();
        assert_eq!(names, ["new"]);
        assert_eq!(set.world.namespaces.keys().map(AsRef::as_ref).collect::<Vec<&str>>(), ["a"]);
    }

    #[test]
    fn one_policy_that_cannot_be_read_is_no_candidate() {
        let broken = NEXT.replace("podSelector: {}", "podSelectr: {}");
        let why = read_as(PARTIES, &broken).unwrap_err();
        assert!(why.contains("error") && why.contains("a.yaml"), "{why}");
        assert!(read_as(PARTIES, "kind: [").is_err());
        // What is wrong with the policies in force is none of the candidate's.
        assert!(read_as(&PARTIES.replace("podSelector: {}", "podSelectr: {}"), NEXT).is_ok());
    }
}
