//! Authorities of namespaces: in whose name TLS of a pod is opened, where not all pods trust the same.
//!
//! Enters: [`OwnInspection`], as the agent gives it, and of which workload a pod is. Leaves: [`Whose`], and an [`Inspector`] for
//! each namespace. Guarantees: nobody is answered in the name of the cluster whose namespace wants its own, and nobody of whom
//! the namespace is not known while any does; an authority that cannot be used concerns its namespace alone.
//! Does not: know labels.

use super::{AuthorityPem, Inspector, hexadecimal};
use serde::{Deserialize, Serialize};
use std::collections::{BTreeMap, HashMap};
use std::sync::Arc;

/// Authorities of namespaces whose pods are answered in the name of no other.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct OwnInspection {
    /// By namespace. `None`: it has none now, and what would have to be opened of its pods is refused.
    pub authorities: BTreeMap<Arc<str>, Option<AuthorityPem>>,
    /// Certificates (DER) of the authorities that servers are verified with.
    #[serde(with = "hexadecimal")]
    pub roots: Vec<Vec<u8>>,
}

/// In whose name TLS is opened.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Whose<'s> {
    Cluster,
    Namespace(&'s str),
    /// Of the pod nobody said where it is.
    Nobody,
}

/// By namespace, of those whose authority can be used.
pub(crate) type Inspectors = HashMap<Arc<str>, Arc<Inspector>>;

impl OwnInspection {
    /// In whose name TLS of a pod of this workload (`namespace/name`) is opened.
    pub(crate) fn whose<'s>(&self, workload: Option<&'s str>) -> Whose<'s> {
        if self.authorities.is_empty() {
            return Whose::Cluster;
        }
        match workload.and_then(|workload| workload.split_once('/')) {
            Some((space, _)) if self.authorities.contains_key(space) => Whose::Namespace(space),
            Some(_) => Whose::Cluster,
            None => Whose::Nobody,
        }
    }

    /// Opens TLS for each namespace. What there was by the same means stays: it has certificates and sessions that are good for
    /// more.
    pub(crate) fn inspectors(&self, before: Option<(&Self, &Inspectors)>) -> Inspectors {
        let before = before.filter(|(own, _)| own.roots == self.roots);
        let held = |space: &Arc<str>, authority: &AuthorityPem| {
            let (own, inspectors) = before?;
            let is_same = own.authorities.get(space).and_then(Option::as_ref) == Some(authority);
            inspectors.get(space).filter(|_| is_same).cloned()
        };
        let made = |authority| Inspector::of(authority, &self.roots).ok().map(Arc::new);
        let given = self.authorities.iter().filter_map(|(space, it)| Some((space, it.as_ref()?)));
        given.filter_map(|(space, it)| Some((space.clone(), held(space, it).or_else(|| made(it))?))).collect()
    }
}

#[cfg(test)]
mod tests {
    #![allow(
        clippy::unwrap_used,
        clippy::indexing_slicing,
        reason = "in a test a panic is the failure report"
    )]

    use super::*;
    use crate::Authority;
    use std::time::SystemTime;

    #[test]
    fn nobody_is_answered_in_the_name_of_the_cluster_whose_namespace_wants_its_own() {
        let own = |names: &[&str]| OwnInspection {
            authorities: names.iter().map(|name| ((*name).into(), None)).collect(),
            roots: Vec::new(),
        };
        let some = own(&["a"]);
        assert_eq!(some.whose(Some("a/p")), Whose::Namespace("a"));
        assert_eq!(some.whose(Some("b/p")), Whose::Cluster);
        for unknown in [None, Some("a"), Some("")] {
            assert_eq!(some.whose(unknown), Whose::Nobody, "{unknown:?}");
        }
        assert_eq!(own(&[]).whose(None), Whose::Cluster, "nobody wants its own");
    }

    #[test]
    fn what_cannot_be_used_is_its_namespaces_alone_and_what_is_the_same_stays() {
        let made = || Authority::generate(SystemTime::now()).unwrap();
        let broken = AuthorityPem { key: "x".into(), ..made() };
        let all = [("a", Some(made())), ("b", Some(broken)), ("c", None), ("d", Some(made()))];
        let authorities = all.map(|(name, it)| (name.into(), it)).into();
        let mut own = OwnInspection { authorities, roots: Vec::new() };
        let first = own.inspectors(None);
        let names =
            |all: &Inspectors| all.keys().map(ToString::to_string).collect::<std::collections::BTreeSet<_>>();
        assert_eq!(names(&first), ["a".to_owned(), "d".to_owned()].into());
        let before = own.clone();
        own.authorities.insert("d".into(), Some(made()));
        let second = own.inspectors(Some((&before, &first)));
        assert!(Arc::ptr_eq(&first["a"], &second["a"]) && !Arc::ptr_eq(&first["d"], &second["d"]));
        let other_roots = OwnInspection { roots: vec![vec![1]], ..own.clone() };
        let third = other_roots.inspectors(Some((&own, &second)));
        assert!(!Arc::ptr_eq(&second["a"], &third["a"]));
    }
}
