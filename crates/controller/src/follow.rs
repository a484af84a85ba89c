//! Several kinds of objects together, from an API server.
//!
//! Enters: a client. Leaves: every object, as soon as all kinds were read, and again whenever one differs. Guarantees: nothing is
//! seen half listed; while the API server is gone, what was read stays, and the kinds whose watch fails, and those that the cluster
//! does not have, are named. How policies stand comes apart: it changes nothing of what they are. Does not: compile, route or judge.

use crate::standing::{Standing, Standings};
use crate::store::{Change, Collection};
use crate::watch::{Watched, watch};
use crate::{QUEUE, rest_of_burst};
use crds::{Diagnostic, Object, Read};
use kube::Client;
use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;
use tokio::sync::{mpsc, watch as latest};

/// What is there.
#[derive(Clone, Debug, Default)]
pub struct Seen {
    /// Every object, by kind and name.
    pub objects: Vec<Object>,
    /// What is wrong with them.
    pub diagnostics: Vec<Diagnostic>,
}

/// What is known of an API server.
#[derive(Clone, Debug, Default)]
pub struct Known {
    /// `None`: not everything was read yet.
    pub seen: Option<Arc<Seen>>,
    /// Watches that fail now, by the plural of their kind, and why.
    pub problems: BTreeMap<&'static str, String>,
    /// Add-ons that the cluster does not have, by the plural of their kind, and the `apiVersion` that is asked for. They are
    /// asked for again and again.
    pub missing: BTreeMap<&'static str, String>,
    /// How policies stand, where that is asked for.
    pub standings: Arc<Standings>,
}

/// Follows these kinds until the future is dropped, each in one namespace or, with `None`, in all.
pub(crate) async fn follow<K: Watched + Ord>(
    client: Client,
    watches: Vec<(K, Option<String>)>,
    known: latest::Sender<Known>,
) {
    let (sender, mut changes) = mpsc::channel(QUEUE);
    let mut kinds: BTreeMap<K, Collection<Read>> = BTreeMap::new();
    for (kind, namespace) in watches {
        kinds.insert(kind, Collection::default());
        // Ends when the receiver goes with this future.
        tokio::spawn(watch(client.clone(), kind, namespace, sender.clone()));
    }
    let (mut absent, mut stood) = (BTreeSet::<K>::new(), 0);
    while let Some((kind, change)) = changes.recv().await {
        let mut take = |kind: K, change| {
            if matches!(change, Change::NoSuchKind(_)) {
                absent.insert(kind);
            } else if change == Change::ListEnds {
                absent.remove(&kind);
            }
            kinds.entry(kind).or_default().take(change, |read| read)
        };
        let differs = take(kind, change) | rest_of_burst(&mut changes, take).await;
        let failing = kinds.iter().filter_map(|(kind, of)| Some((kind.plural(), of.problem()?.clone())));
        let problems: BTreeMap<_, _> = failing.collect();
        let missing: BTreeMap<_, _> =
            absent.iter().map(|it| (it.plural(), it.resource().api_version)).collect();
        let is_complete = kinds.values().all(Collection::is_known);
        let seen = (differs && is_complete).then(|| Arc::new(all(&kinds)));
        let now = kinds.values().map(Collection::stood).sum();
        let standings = (is_complete && now != stood).then(|| standings(&kinds));
        if standings.is_some() {
            stood = now;
        }
        known.send_if_modified(|known| {
            let standings = standings.filter(|it| *it != *known.standings);
            let differs = seen.is_some()
                || standings.is_some()
                || known.problems != problems
                || known.missing != missing;
            if let Some(standings) = standings {
                known.standings = Arc::new(standings);
            }
            (known.problems, known.missing) = (problems, missing);
            known.seen = seen.or(known.seen.take());
            differs
        });
    }
}

fn all<K>(kinds: &BTreeMap<K, Collection<Read>>) -> Seen {
    let mut seen = Seen::default();
    for read in kinds.values().flat_map(Collection::made) {
        seen.objects.extend(read.objects.iter().cloned());
        seen.diagnostics.extend(read.diagnostics.iter().cloned());
    }
    seen
}

/// Of each policy, by what its own status says, or that of the object beside it.
fn standings<K: Watched + Ord>(kinds: &BTreeMap<K, Collection<Read>>) -> Standings {
    let mut all = Standings::new();
    for (kind, of) in kinds {
        let Some(status_in) = kind.status_in() else { continue };
        let word: Arc<str> = kind.resource().kind.into();
        let beside = kinds.get(&status_in).filter(|_| status_in != *kind);
        for (name, generation, told) in of.told() {
            let told = beside.map_or(told, |beside| beside.told_of(name));
            let (namespace, own) = name.clone();
            all.insert((Arc::clone(&word), namespace, own), Standing::of(told, generation));
        }
    }
    all
}
