#![allow(clippy::unwrap_used, clippy::panic, reason = "in a test a panic is the failure report")]

use super::room::{MOST_KNOWN, MOST_PODS_OF_NAMESPACE, MOST_SLICES};
use super::state::{EXPORT, IMPORTED, Side, State, Write};
use super::{Config, News, follow};
use http::{Request, Response};
use k8s_openapi::api::core::v1::{Namespace, Pod};
use kube::api::DynamicObject;
use kube::client::Body;
use kube::runtime::watcher::Event;
use kube::{Api, Client};
use serde_json::{Value, json};
use std::collections::BTreeMap;
use std::convert::Infallible;
use std::sync::Arc;
use std::sync::atomic::{AtomicU32, Ordering};
use std::time::Duration;
use tokio::sync::mpsc;
use tokio::time::{Instant, advance};

const HOUR: Duration = Duration::from_secs(3600);

/// The state of cluster east, which knows that it has namespace ml with these labels.
fn east(labels: &[(&str, &str)]) -> State {
    let mut state = State::new("east", "cofferdam-system", HOUR);
    let labels: BTreeMap<String, String> =
        labels.iter().map(|(key, value)| ((*key).to_owned(), (*value).to_owned())).collect();
    state.namespace(Event::InitApply(("ml".to_owned(), labels)));
    state.namespace(Event::InitDone);
    state
}

fn exporting() -> State {
    let [key, value] = EXPORT;
    east(&[(key, value), ("team", "a")])
}

fn importing() -> State {
    let mut state = east(&[("import.cofferdam.dev/west", "identities")]);
    state.slice_here(Event::InitDone);
    state
}

fn pod(name: &str, address: &str, more: &Value) -> Pod {
    let mut pod = json!({
        "apiVersion": "v1", "kind": "Pod",
        "metadata": { "name": name, "namespace": "ml", "labels": { "app": name },
            "ownerReferences": [{ "apiVersion": "batch/v1", "kind": "Job", "name": "train", "uid": "1" }] },
        "spec": { "containers": [] },
        "status": { "podIP": address, "podIPs": [{ "ip": address }], "phase": "Running" },
    });
    for (path, value) in more.as_object().unwrap() {
        *pod.pointer_mut(path).unwrap() = value.clone();
    }
    serde_json::from_value(pod).unwrap()
}

fn slice(namespace: &str, name: &str, spec: &Value) -> DynamicObject {
    serde_json::from_value(json!({
        "apiVersion": "cofferdam.dev/v1alpha1", "kind": "IdentitySlice",
        "metadata": { "namespace": namespace, "name": name }, "spec": spec,
    }))
    .unwrap()
}

fn of_west(address: &str) -> Value {
    json!({ "cluster": "west", "namespace": "ml", "pods": [{ "name": "train", "addresses": [address] }] })
}

fn written(writes: &[Write]) -> Vec<String> {
    let told = |write: &Write| match write {
        Write::Put { at, name: (namespace, name), object } => {
            let spec = object.get("spec").unwrap();
            let pods = spec.get("pods").unwrap().as_array().unwrap();
            let names: Vec<_> = pods.iter().map(|pod| pod.get("name").unwrap().as_str().unwrap()).collect();
            let expired = if spec.get("expired").is_some() { " expired" } else { "" };
            format!("{at:?} {namespace}/{name}: {}{expired}", names.join(" "))
        }
        Write::Remove { at, name: (namespace, name) } => format!("{at:?} {namespace}/{name} gone"),
    };
    writes.iter().map(told).collect()
}

fn done(state: &mut State, writes: &[Write]) -> Vec<String> {
    writes.iter().for_each(|write| state.wrote(write));
    written(writes)
}

#[tokio::test(start_paused = true)]
async fn pods_of_a_labelled_namespace_are_exported_and_only_what_changes_is_written() {
    let mut state = exporting();
    assert_eq!(state.to_watch().into_iter().collect::<Vec<_>>(), ["ml"]);
    for event in [
        Event::InitApply(pod("b", "10.1.0.2", &json!({}))),
        Event::InitApply(pod("a", "10.1.0.1", &json!({}))),
        Event::InitApply(pod("over", "10.1.0.3", &json!({ "/status/phase": "Succeeded" }))),
        Event::InitApply(pod(
            "of-node",
            "192.0.2.1",
            &json!({ "/spec": { "containers": [], "hostNetwork": true } }),
        )),
        Event::InitApply(pod("new", "", &json!({ "/status": {} }))),
        Event::InitDone,
    ] {
        state.pod("ml", event);
    }
    assert_eq!(state.exports(), [], "it is not known what the hub has");
    assert!(!state.is_settled());
    state.slice_at_hub(Event::InitDone);
    assert!(state.is_settled());
    let writes = state.exports();
    let Some(Write::Put { at: Side::Hub, object, .. }) = writes.first() else { panic!("{writes:?}") };
    let first = object.pointer("/spec/pods/0").unwrap();
    let expected = json!({
        "name": "a", "labels": { "app": "a" }, "addresses": ["10.1.0.1"], "serviceAccount": "default",
        "workload": { "kind": "Job", "name": "train" },
    });
    assert_eq!((first, object.pointer("/spec/namespaceLabels/team")), (&expected, Some(&json!("a"))));
    assert_eq!(done(&mut state, &writes), ["Hub east/ml.0: a b"]);
    assert_eq!(state.exports(), []);
    state.pod("ml", Event::Apply(pod("a", "10.1.0.1", &json!({}))));
    assert_eq!(state.exports(), [], "it says the same");
    state.pod("ml", Event::Delete(pod("a", "10.1.0.1", &json!({}))));
    let writes = state.exports();
    assert_eq!(written(&writes), ["Hub east/ml.0: b"]);
    writes.iter().for_each(|write| state.owes(write));
    let writes = state.exports();
    assert_eq!(done(&mut state, &writes), ["Hub east/ml.0: b"], "what could not be written is written again");
    // Somebody else changes it, and adds one.
    state.slice_at_hub(Event::Apply(slice("east", "ml.0", &of_west("10.66.0.1"))));
    state.slice_at_hub(Event::Apply(slice("east", "ml.7", &of_west("10.66.0.2"))));
    assert_eq!(state.exports(), [], "two that claim one name would not stop");
    state.look();
    let writes = state.exports();
    assert_eq!(done(&mut state, &writes), ["Hub east/ml.0: b", "Hub east/ml.7 gone"]);
    // The label is taken off.
    state.namespace(Event::Apply(("ml".to_owned(), BTreeMap::new())));
    let writes = state.exports();
    assert_eq!(done(&mut state, &writes), ["Hub east/ml.0 gone"]);
}

#[tokio::test(start_paused = true)]
async fn what_another_cluster_exports_is_taken_where_it_is_imported_and_of_nobody_else() {
    let mut state = importing();
    let mut elsewhere = of_west("10.8.0.1");
    *elsewhere.get_mut("namespace").unwrap() = "other".into();
    for object in [
        slice("west", "ml.0", &of_west("10.8.0.1")),
        slice("west", "other.0", &elsewhere),
        slice("south", "ml.0", &of_west("10.8.0.2")),
        slice("west", "ml.1", &of_west("127.0.0.1")),
    ] {
        state.slice_at_hub(Event::InitApply(object));
    }
    assert_eq!(state.imports(Instant::now()).0, [], "the list is not whole");
    state.slice_at_hub(Event::InitDone);
    let (writes, problems) = state.imports(Instant::now());
    let Some(Write::Put { object, .. }) = writes.first() else { panic!("{writes:?}") };
    assert_eq!(object.pointer("/metadata/labels").and_then(|it| it.get(IMPORTED)), Some(&json!("west")));
    assert_eq!(done(&mut state, &writes), ["Local cofferdam-system/west.ml.0: train"]);
    let problems = problems.join("\n");
    for line in
        ["IdentitySlice south/ml.0 of the hub says cluster \"west\"", "west/ml.1 of the hub is not taken: "]
    {
        assert!(problems.contains(line), "{problems}");
    }
    // What was readable stays when it is not any more.
    state.slice_at_hub(Event::Apply(slice("west", "ml.0", &of_west("0.0.0.0"))));
    assert_eq!(state.imports(Instant::now()).0, []);
    state.slice_at_hub(Event::Delete(slice("west", "ml.0", &of_west("0.0.0.0"))));
    let (writes, _) = state.imports(Instant::now());
    assert_eq!(done(&mut state, &writes), ["Local cofferdam-system/west.ml.0 gone"]);
}

#[tokio::test(start_paused = true)]
async fn nothing_is_taken_any_more_when_the_namespace_here_imports_it_no_more() {
    let mut state = importing();
    state.slice_at_hub(Event::InitApply(slice("west", "ml.0", &of_west("10.8.0.1"))));
    state.slice_at_hub(Event::InitDone);
    let (writes, _) = state.imports(Instant::now());
    done(&mut state, &writes);
    state.namespace(Event::Apply(("ml".to_owned(), BTreeMap::new())));
    assert!(state.takes.all);
    let (writes, _) = state.imports(Instant::now());
    assert_eq!(done(&mut state, &writes), ["Local cofferdam-system/west.ml.0 gone"]);
}

fn lease(said: &str) -> Event<(String, String)> {
    Event::Apply(("west".to_owned(), said.to_owned()))
}

#[tokio::test(start_paused = true)]
async fn what_is_looked_at_goes_by_what_changed() {
    let mut state = importing();
    let slices: Vec<(String, Value)> =
        (0..9).map(|it| (format!("ml.{it}"), of_west(&format!("10.8.0.{it}")))).collect();
    list(&mut state, &slices);
    state.lease(lease("1"), |_| Duration::ZERO);
    let (writes, _) = state.imports(Instant::now());
    assert_eq!(done(&mut state, &writes).len(), 9);
    assert!(!state.is_due(Instant::now()), "what was written is there");
    // That a cluster speaks on is no change.
    for beat in 2..5 {
        advance(HOUR / 2).await;
        state.lease(lease(&beat.to_string()), |_| Duration::ZERO);
        assert!(!state.is_due(Instant::now()), "beat {beat}");
    }
    let due = |state: &State| (state.takes.all, state.takes.slices.len());
    state.slice_at_hub(Event::Apply(slice("west", "ml.3", &of_west("10.8.1.3"))));
    assert_eq!((due(&state), state.is_due(Instant::now())), ((false, 1), true));
    let (writes, _) = state.imports(Instant::now());
    assert_eq!(written(&writes), ["Local cofferdam-system/west.ml.3: train"]);
    writes.iter().for_each(|write| state.owes(write));
    assert_eq!(due(&state), (false, 1), "what could not be written");
    let (writes, _) = state.imports(Instant::now());
    done(&mut state, &writes);
    // What cannot be taken is said on, whatever else changes, until it can.
    state.slice_at_hub(Event::Apply(slice("west", "ml.4", &of_west("127.0.0.1"))));
    for (name, address, problems) in
        [("ml.5", "10.8.1.5", 1), ("ml.6", "10.8.1.6", 1), ("ml.4", "10.8.1.4", 0), ("ml.5", "10.8.1.9", 0)]
    {
        state.slice_at_hub(Event::Apply(slice("west", name, &of_west(address))));
        let (writes, said) = state.imports(Instant::now());
        assert_eq!((writes.len(), said.len()), (1, problems), "{name} {said:?}");
        done(&mut state, &writes);
    }
    // All of a cluster that falls silent, and of no other.
    let mut south = of_west("10.9.0.1");
    *south.get_mut("cluster").unwrap() = "south".into();
    state.slice_at_hub(Event::Apply(slice("south", "ml.0", &south)));
    let both = ["import.cofferdam.dev/west", "import.cofferdam.dev/south"];
    let labels = both.map(|key| (key.to_owned(), "identities".to_owned()));
    state.namespace(Event::Apply(("ml".to_owned(), labels.into())));
    state.slice_at_hub(Event::Apply(slice("south", "ml.0", &south)));
    state.lease(Event::Apply(("south".to_owned(), "1".to_owned())), |_| Duration::ZERO);
    let (writes, _) = state.imports(Instant::now());
    assert_eq!(done(&mut state, &writes), ["Local cofferdam-system/south.ml.0: train"]);
    advance(HOUR).await;
    state.lease(Event::Apply(("south".to_owned(), "2".to_owned())), |_| Duration::ZERO);
    let (writes, _) = state.imports(Instant::now());
    let written = done(&mut state, &writes);
    assert!(written.len() == 9 && written.iter().all(|it| it.ends_with("expired")), "{written:?}");
    assert!(!state.is_due(Instant::now()));
}

#[tokio::test(start_paused = true)]
async fn a_cluster_that_is_heard_while_its_slices_are_written_is_believed() {
    let mut state = importing();
    list(&mut state, &[("ml.0".to_owned(), of_west("10.8.0.1"))]);
    state.lease(lease("1"), |_| HOUR);
    let (writes, _) = state.imports(Instant::now());
    state.lease(lease("2"), |_| Duration::ZERO);
    assert_eq!(done(&mut state, &writes), ["Local cofferdam-system/west.ml.0: train expired"]);
    assert!(state.is_due(Instant::now()));
    let (writes, _) = state.imports(Instant::now());
    assert_eq!(written(&writes), ["Local cofferdam-system/west.ml.0: train"]);
}

#[tokio::test(start_paused = true)]
async fn what_the_hub_lost_while_this_did_not_run_goes_here_too() {
    let mut state = importing();
    let mut object = slice("cofferdam-system", "west.ml.0", &of_west("10.8.0.1"));
    object.metadata.labels = Some([(IMPORTED.to_owned(), "west".to_owned())].into());
    state.slice_here(Event::Apply(object));
    assert_eq!(state.imports(Instant::now()).0, [], "it is not known what the hub has");
    list(&mut state, &[]);
    let (writes, _) = state.imports(Instant::now());
    assert_eq!(written(&writes), ["Local cofferdam-system/west.ml.0 gone"]);
}

#[tokio::test(start_paused = true)]
async fn a_cluster_that_is_silent_expires_and_is_believed_again_when_it_speaks() {
    let mut state = importing();
    state.slice_at_hub(Event::InitApply(slice("west", "ml.0", &of_west("10.8.0.1"))));
    state.slice_at_hub(Event::InitDone);
    state.lease(lease("1"), |_| Duration::ZERO);
    let (writes, _) = state.imports(Instant::now());
    assert_eq!(done(&mut state, &writes), ["Local cofferdam-system/west.ml.0: train"]);
    advance(HOUR - Duration::from_secs(1)).await;
    assert!(state.silent(Instant::now()).is_empty() && state.imports(Instant::now()).0.is_empty());
    // Being listed anew is no word of it, and what is said counts by this cluster's clock.
    state.lease(lease("1"), |_| Duration::ZERO);
    advance(Duration::from_secs(1)).await;
    assert_eq!(state.silent(Instant::now()).into_iter().collect::<Vec<_>>(), ["west"]);
    let (writes, _) = state.imports(Instant::now());
    assert_eq!(done(&mut state, &writes), ["Local cofferdam-system/west.ml.0: train expired"]);
    state.lease(lease("0"), |_| HOUR * 9);
    let (writes, _) = state.imports(Instant::now());
    assert_eq!(done(&mut state, &writes), ["Local cofferdam-system/west.ml.0: train"]);
}

#[tokio::test(start_paused = true)]
async fn a_lease_that_nobody_saw_being_written_is_as_old_as_it_says() {
    let mut state = importing();
    state.slice_at_hub(Event::InitApply(slice("west", "ml.0", &of_west("10.8.0.1"))));
    state.slice_at_hub(Event::InitDone);
    state.lease(lease("1"), |_| HOUR);
    let (writes, _) = state.imports(Instant::now());
    assert_eq!(written(&writes), ["Local cofferdam-system/west.ml.0: train expired"]);
}

#[tokio::test(start_paused = true)]
async fn while_the_hub_cannot_be_reached_what_was_taken_stays_and_then_expires() {
    let mut state = east(&[("import.cofferdam.dev/west", "identities")]);
    let mut object = slice("cofferdam-system", "west.ml.0", &of_west("10.8.0.1"));
    object.metadata.labels = Some([(IMPORTED.to_owned(), "west".to_owned())].into());
    state.slice_here(Event::InitApply(object));
    // One that somebody wrote by hand is left alone.
    state.slice_here(Event::InitApply(slice("cofferdam-system", "mine", &of_west("10.8.0.9"))));
    state.slice_here(Event::InitDone);
    assert_eq!(state.imports(Instant::now()).0, []);
    advance(HOUR).await;
    let (writes, _) = state.imports(Instant::now());
    assert_eq!(done(&mut state, &writes), ["Local cofferdam-system/west.ml.0: train expired"]);
    assert_eq!(state.imports(Instant::now()).0, [], "once");
}

/// What the hub has now, listed anew.
fn list(state: &mut State, slices: &[(String, Value)]) {
    state.slice_at_hub(Event::Init);
    for (name, spec) in slices {
        state.slice_at_hub(Event::InitApply(slice("west", name, spec)));
    }
    state.slice_at_hub(Event::InitDone);
}

#[tokio::test(start_paused = true)]
async fn of_what_nobody_imports_no_pod_is_kept_and_it_comes_when_somebody_does() {
    let mut state = east(&[]);
    state.slice_here(Event::InitDone);
    let one = [("ml.0".to_owned(), of_west("10.8.0.1"))];
    list(&mut state, &one);
    let kept = state.at_hub.get(&("west".to_owned(), "ml.0".to_owned())).unwrap();
    assert_eq!(kept.get("pods"), None);
    assert_eq!(state.imports(Instant::now()).0, []);
    assert!(!state.imports_more);
    let labels = BTreeMap::from([("import.cofferdam.dev/west".to_owned(), "identities".to_owned())]);
    state.namespace(Event::Apply(("ml".to_owned(), labels)));
    assert!(state.imports_more, "the hub is to be listed anew");
    assert_eq!(state.imports(Instant::now()).0, []);
    list(&mut state, &one);
    let (writes, _) = state.imports(Instant::now());
    assert_eq!(done(&mut state, &writes), ["Local cofferdam-system/west.ml.0: train"]);
    // What is no longer imported is forgotten.
    state.namespace(Event::Apply(("ml".to_owned(), BTreeMap::new())));
    let kept = state.at_hub.get(&("west".to_owned(), "ml.0".to_owned())).unwrap();
    assert_eq!(kept.get("pods"), None);
    let (writes, _) = state.imports(Instant::now());
    assert_eq!(done(&mut state, &writes), ["Local cofferdam-system/west.ml.0 gone"]);
}

#[tokio::test(start_paused = true)]
async fn what_a_cluster_exports_beyond_measure_is_not_taken_and_counted() {
    const PODS: usize = 250;
    let spec = |slice: usize| {
        let pods = (0..PODS).map(
            |pod| json!({ "name": format!("p{slice}-{pod}"), "addresses": [format!("10.8.{slice}.{pod}")] }),
        );
        json!({ "cluster": "west", "namespace": "ml", "pods": pods.collect::<Vec<_>>() })
    };
    let most = MOST_PODS_OF_NAMESPACE / PODS;
    let slices: Vec<(String, Value)> = (0..most + 2).map(|it| (format!("ml.{it:02}"), spec(it))).collect();
    let mut state = importing();
    list(&mut state, &slices);
    let pods = |writes: &[Write]| -> usize {
        let puts = writes.iter().filter_map(|write| match write {
            Write::Put { object, .. } => object.pointer("/spec/pods")?.as_array(),
            Write::Remove { .. } => None,
        });
        puts.map(Vec::len).sum()
    };
    let rest = |writes: &[Write]| -> Vec<(String, u64)> {
        let told = writes.iter().filter_map(|write| match write {
            Write::Put { name, object, .. } => {
                Some((name.1.clone(), object.pointer("/spec/withheld")?.as_u64()?))
            }
            Write::Remove { .. } => None,
        });
        told.collect()
    };
    let (writes, problems) = state.imports(Instant::now());
    assert_eq!((pods(&writes), writes.len()), (MOST_PODS_OF_NAMESPACE, most + 1));
    assert_eq!(rest(&writes), [(format!("west.ml.{most}"), 500)]);
    let [problem] = problems.as_slice() else { panic!("{problems:?}") };
    assert!(problem.contains("cluster west exports more of namespace ml than is taken"), "{problem}");
    assert!(problem.contains("IdentitySlice west.ml.40 of this cluster counts"), "{problem}");
    done(&mut state, &writes);
    assert_eq!(state.imports(Instant::now()).0, [], "it is said once");
    // When one goes, the first of those comes in its place.
    assert!(!state.has_room_again());
    let [(first, spec), others @ ..] = slices.as_slice() else { panic!("there are slices") };
    state.slice_at_hub(Event::Delete(slice("west", first, spec)));
    assert!(state.has_room_again());
    list(&mut state, others);
    let (writes, _) = state.imports(Instant::now());
    assert_eq!((pods(&writes), rest(&writes)), (PODS, vec![(format!("west.ml.{}", most + 1), 250)]));
    assert!(writes.contains(&Write::Remove {
        at: Side::Local,
        name: ("cofferdam-system".to_owned(), "west.ml.00".to_owned())
    }));
}

#[tokio::test(start_paused = true)]
async fn a_slice_without_pods_that_finds_no_room_is_not_written_as_if_pods_were_missing() {
    let empty = json!({ "cluster": "west", "namespace": "ml", "pods": [] });
    let slices: Vec<(String, Value)> =
        (0..MOST_SLICES + 1).map(|it| (format!("ml.{it:04}"), empty.clone())).collect();
    let mut state = importing();
    list(&mut state, &slices);
    let (writes, problems) = state.imports(Instant::now());
    assert_eq!((writes.len(), problems), (MOST_SLICES, Vec::new()));
}

#[tokio::test(start_paused = true)]
async fn that_a_cluster_has_more_slices_than_are_counted_is_said_where_something_of_it_is_imported() {
    // Of another namespace, and before what is imported.
    let other = json!({ "cluster": "west", "namespace": "abc", "pods": [] });
    let mut slices: Vec<(String, Value)> =
        (0..MOST_KNOWN).map(|it| (format!("abc.{it:04}"), other.clone())).collect();
    slices.push(("ml.0".to_owned(), of_west("10.8.0.1")));
    let mut state = importing();
    list(&mut state, &slices);
    let (writes, problems) = state.imports(Instant::now());
    assert_eq!(writes, []);
    let [problem] = problems.as_slice() else { panic!("{problems:?}") };
    assert!(problem.contains("cluster west has more than 8192 slices at the hub"), "{problem}");
    let (others, last) = (slices.split_off(1), slices);
    list(&mut state, &others);
    let (writes, problems) = state.imports(Instant::now());
    assert_eq!((writes.len(), problems), (1, Vec::new()), "without {last:?} there is room");

    let mut state = east(&[]);
    state.slice_here(Event::InitDone);
    let all: Vec<(String, Value)> = last.into_iter().chain(others).collect();
    list(&mut state, &all);
    assert_eq!(state.imports(Instant::now()).1, Vec::<String>::new(), "nobody here imports anything");
}

/// An API server without namespaces, where each watch but the first is silent and the first fails.
async fn quiet(request: Request<Body>, watches: Arc<AtomicU32>) -> Result<Response<Body>, Infallible> {
    let is_watch = request.uri().query().is_some_and(|query| query.contains("watch=true"));
    if is_watch && watches.fetch_add(1, Ordering::Relaxed) > 0 {
        std::future::pending::<()>().await;
    }
    let (code, body) = if is_watch {
        let (kind, status) = ("Status", "Failure");
        (
            503,
            json!({ "kind": kind, "apiVersion": "v1", "status": status, "message": "not now", "code": 503 }),
        )
    } else {
        let metadata = json!({ "resourceVersion": "1" });
        (200, json!({ "kind": "NamespaceList", "apiVersion": "v1", "metadata": metadata, "items": [] }))
    };
    Ok(Response::builder().status(code).body(Body::from(body.to_string().into_bytes())).unwrap())
}

#[tokio::test(start_paused = true)]
async fn a_watch_that_failed_once_is_not_failing_for_ever_where_nothing_changes() {
    let watches = Arc::<AtomicU32>::default();
    let counted = Arc::clone(&watches);
    let service = tower::service_fn(move |request| quiet(request, Arc::clone(&counted)));
    let api: Api<Namespace> = Api::all(Client::new(service, "default"));
    let (to, mut told) = mpsc::channel(8);
    let following =
        tokio::spawn(follow("namespaces".to_owned(), api, Config::default(), to, News::Namespace));
    let mut said = Vec::new();
    while said.len() < 5 {
        said.push(match told.recv().await.unwrap().1 {
            News::Namespace(Event::Init) => "begins",
            News::Namespace(Event::InitDone) => "is known",
            News::Failed(_) => "fails",
            _ => "else",
        });
    }
    assert_eq!(said, ["begins", "is known", "fails", "begins", "is known"]);
    following.abort();
}
