//! What becomes of changes.

use super::*;
use crate::watch::Watched;

const GONE: Change = Change::NoSuchKind(Definition::Gone);

fn pod(name: &str, app: &str, revision: u64) -> Found {
    let value = serde_json::json!({
        "apiVersion": "v1", "kind": "Pod",
        "metadata": {"name": name, "namespace": "a", "labels": {"app": app}, "resourceVersion": revision.to_string()},
        "spec": {"containers": [{"name": "c", "image": "i"}]},
    });
    let read = crds::read_value("the API server", &value);
    Found {
        namespace: "a".into(),
        name: name.into(),
        revision,
        uid: "".into(),
        generation: 1,
        of_fleet: false,
        told: None,
        read,
    }
}

fn names(store: &Store) -> Vec<String> {
    let mut names: Vec<_> =
        store.kinds.values().flat_map(|of| of.objects.keys().map(|(_, name)| name.to_string())).collect();
    names.sort();
    names
}

#[test]
fn a_list_replaces_what_was_there_when_it_ends_and_not_before() {
    let mut store = Store::default();
    assert!(!store.take(Kind::Pod, Change::ListBegins(3)));
    assert!(!store.take(Kind::Pod, Change::Listed(pod("one", "x", 4))));
    assert!(names(&store).is_empty());
    assert!(store.take(Kind::Pod, Change::ListEnds));
    assert!(store.take(Kind::Pod, Change::Applied(pod("two", "x", 5))));
    assert!(!store.take(Kind::Pod, Change::Applied(pod("two", "x", 6))), "it says the same");
    // The watch broke, and the list is asked for again.
    assert!(!store.take(Kind::Pod, Change::Failed("gone".into())));
    assert_eq!(store.problems().len(), 1);
    store.take(Kind::Pod, Change::Recovered);
    assert!(store.problems().is_empty());
    store.take(Kind::Pod, Change::ListBegins(3));
    assert_eq!(names(&store), ["one", "two"]);
    store.take(Kind::Pod, Change::Listed(pod("two", "x", 7)));
    assert!(store.take(Kind::Pod, Change::ListEnds));
    assert_eq!((names(&store), store.revisions()["pods"]), (vec!["two".to_owned()], 7));
    assert!(store.problems().is_empty());
    assert!(store.take(Kind::Pod, Change::Deleted(pod("two", "x", 8))));
    assert!(!store.take(Kind::Pod, Change::Deleted(pod("two", "x", 8))));
}

#[test]
fn events_in_disorder_leave_the_newest() {
    let mut store = Store::default();
    let change = |store: &mut Store, app: &str, revision| {
        store.take(Kind::Pod, Change::Applied(pod("one", app, revision)))
    };
    assert!(change(&mut store, "new", 9));
    assert!(!change(&mut store, "old", 7));
    assert!(!store.take(Kind::Pod, Change::Deleted(pod("one", "old", 8))), "of the one before");
    assert_eq!(names(&store), ["one"]);
    assert!(!change(&mut store, "new", 10), "it says what was known");
    assert!(!change(&mut store, "old", 7));
    // A cluster restored from a backup begins anew, with lower revisions.
    store.take(Kind::Pod, Change::ListBegins(3));
    store.take(Kind::Pod, Change::Listed(pod("one", "old", 3)));
    assert!(store.take(Kind::Pod, Change::ListEnds));
    assert!(change(&mut store, "new", 4));
}

#[test]
fn a_containment_holds_until_its_time_is_over() {
    let value = serde_json::json!({
        "apiVersion": "cofferdam.dev/v1alpha1", "kind": "Containment",
        "metadata": {"name": "c", "resourceVersion": "5"},
        "spec": {"namespace": "a", "podSelector": {}, "until": "2026-12-31T18:00:00Z"},
    });
    let read = crds::read_value("the API server", &value);
    let found = Found {
        namespace: "".into(),
        name: "c".into(),
        revision: 5,
        uid: "".into(),
        generation: 1,
        of_fleet: false,
        told: None,
        read,
    };
    let mut store = Store::default();
    assert!(store.take(Kind::Containment, Change::Applied(found)));
    let end = 1_798_740_000;
    for (seconds, over) in [(end - 1, 0), (end, 1)] {
        assert_eq!(store.containments(seconds), [1, over]);
        assert_eq!(store.objects(seconds).count(), 1 - over);
        assert_eq!(store.written(seconds).iter().filter(|it| it.is_over).count(), over);
    }
}

#[test]
fn what_is_gone_was_not_missed_and_what_nobody_reads_was_not_either() {
    let reached = |store: &Store| store.reached().get("pods").copied();
    let mut store = Store::default();
    store.take(Kind::Pod, Change::ListBegins(10));
    store.take(Kind::Pod, Change::Listed(pod("one", "x", 4)));
    assert_eq!(reached(&store), Some(0), "the list may miss the last");
    store.take(Kind::Pod, Change::ListEnds);
    assert_eq!((reached(&store), store.revisions()["pods"]), (Some(10), 4), "the newest was removed");
    store.take(Kind::Pod, Change::Applied(pod("one", "y", 12)));
    assert_eq!(reached(&store), Some(12));
    // Restored from a backup.
    store.take(Kind::Pod, Change::ListBegins(2));
    store.take(Kind::Pod, Change::ListEnds);
    assert_eq!(reached(&store), Some(12));
    assert!(store.take(Kind::Secret, Change::NotRead));
    assert!(!store.reached().contains_key("secrets"));
    // Not at once: the API server may only just have begun.
    let mut changes = (0..30).map(|_| store.take(Kind::Containment, GONE));
    assert!(changes.next().unwrap() && changes.by_ref().take(18).all(|differs| !differs));
    assert!(changes.next().unwrap() && changes.all(|differs| !differs));
    assert!(!store.reached().contains_key("containments"));
    store.take(Kind::Containment, Change::ListBegins(20));
    assert!(!store.take(Kind::Containment, Change::ListEnds), "there is none");
    assert_eq!(store.reached()["containments"], 20);
}

#[test]
fn nothing_is_complete_before_every_kind_is_known() {
    let mut store = Store::default();
    for kind in Kind::ALL {
        assert!(!store.is_complete());
        let change = if kind.is_optional() { GONE } else { Change::ListEnds };
        assert!(store.take(kind, change));
    }
    assert!(store.is_complete());
    assert!(!store.take(Kind::AdminNetworkPolicy, GONE));
}

#[test]
fn objects_go_with_their_definition_only_when_that_is_said_for_a_minute() {
    let times = |store: &mut Store, change: &Change, count: u32| -> Vec<bool> {
        (0..count).map(|_| store.take(Kind::Pod, change.clone())).collect()
    };
    let absent = |store: &Store| store.absent().get(&Kind::Pod).copied();
    for definition in [Definition::Unserved, Definition::Starting, Definition::Unsaid] {
        let mut store = Store::default();
        store.take(Kind::Pod, Change::Listed(pod("one", "x", 4)));
        store.take(Kind::Pod, Change::ListEnds);
        times(&mut store, &Change::NoSuchKind(definition), 3 * ABSENT);
        assert_eq!(names(&store), ["one"], "{definition:?}");
        assert_eq!(absent(&store), Some(Absent { definition, held: 1, lost: 0 }));
    }
    let mut store = Store::default();
    store.take(Kind::Pod, Change::Listed(pod("one", "x", 4)));
    store.take(Kind::Pod, Change::ListEnds);
    // Whatever else comes between begins the time anew: another word of the definition, a failure, a list.
    for other in [
        Change::NoSuchKind(Definition::Starting),
        Change::NoSuchKind(Definition::Unsaid),
        Change::Failed("gone".into()),
    ] {
        times(&mut store, &GONE, ABSENT - 1);
        store.take(Kind::Pod, other);
    }
    times(&mut store, &GONE, ABSENT - 1);
    store.take(Kind::Pod, Change::Listed(pod("one", "x", 4)));
    assert!(!store.take(Kind::Pod, Change::ListEnds), "it was defined anew, and the objects are still there");
    assert_eq!((names(&store), absent(&store)), (vec!["one".to_owned()], None));
    let said = times(&mut store, &GONE, ABSENT);
    assert_eq!(said.iter().position(|differs| *differs), Some(ABSENT as usize - 1));
    assert!(names(&store).is_empty());
    assert_eq!(absent(&store), Some(Absent { definition: Definition::Gone, held: 0, lost: 1 }));
    times(&mut store, &GONE, 3);
    assert_eq!(absent(&store).map(|it| it.lost), Some(1), "it is said on");
}

#[test]
fn a_kind_that_is_only_not_served_yet_is_waited_for() {
    let mut store = Store::default();
    let kind = Kind::EgressPolicy;
    let starting = Change::NoSuchKind(Definition::Starting);
    let known = |store: &Store| store.kinds.get(&kind).is_some_and(Collection::is_known);
    for _ in 1..ABSENT {
        assert!(!store.take(kind, starting.clone()) && !known(&store), "the API server may be starting");
    }
    assert_eq!(store.absent().len(), 1, "it is told");
    assert!(store.take(kind, starting) && known(&store));
    // Nobody waits for what another version is served of; and what a cluster never had is no news.
    let unserved = Change::NoSuchKind(Definition::Unserved);
    assert!(store.take(Kind::AdminNetworkPolicy, unserved.clone()));
    // But a node that had some does not forget them.
    for _ in 0..2 * ABSENT {
        store.take(Kind::AdminNetworkPolicy, unserved.clone());
    }
    assert_eq!(store.reached().get("adminnetworkpolicies"), Some(&0));
    store.take(Kind::ClusterEgressPolicy, GONE);
    assert_eq!(store.absent().len(), 2);
}
