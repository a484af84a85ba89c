//! A hub and two clusters, three real API servers: what one exports and the other imports is what the other's nodes know.

#![allow(
    clippy::unwrap_used,
    clippy::panic,
    clippy::print_stderr,
    clippy::indexing_slicing,
    missing_docs,
    reason = "in a test a panic is the failure report"
)]

use apiserver::Cluster;
use controller::Status;
use feed::server::Feed;
use feed::{Digest, Key};
use futures_util::{StreamExt, stream};
use k8s_openapi::api::core::v1::Pod;
use kube::Api;
use kube::api::{Patch, PatchParams, PostParams};
use kube::config::{KubeConfigOptions, Kubeconfig};
use serde_json::json;
use spoke::identity::{Shared, Sharing, share};
use std::sync::Arc;
use std::time::Duration;
use tokio::sync::watch;
use tokio::task::JoinHandle;
use tokio::time::{Instant, sleep, timeout};

const PATIENCE: Duration = Duration::from_secs(120);
/// For how long a silent cluster is believed. A lease is renewed every 20 s.
const EXPIRE_AFTER: Duration = Duration::from_secs(45);

fn kubectl(cluster: &Cluster, arguments: &str, input: &str) -> String {
    let output = cluster.kubectl(arguments.split(' '), input).unwrap();
    assert!(output.status.success(), "{arguments}: {}", String::from_utf8_lossy(&output.stderr));
    String::from_utf8_lossy(&output.stdout).into_owned()
}

async fn client(cluster: &Cluster) -> kube::Client {
    let file = Kubeconfig::read_from(cluster.kubeconfig()).unwrap();
    let config = kube::Config::from_custom_kubeconfig(file, &KubeConfigOptions::default()).await.unwrap();
    kube::Client::try_from(config).unwrap()
}

fn define(cluster: &Cluster) {
    let slices = fleet::hub::identity_slice().to_string();
    kubectl(cluster, "apply --server-side -f -", &slices);
    kubectl(cluster, "wait --for=condition=Established crd --all --timeout=60s", "");
    kubectl(cluster, "create namespace cofferdam-system", "");
}

struct World {
    hub: Cluster,
    west: Cluster,
    east: Cluster,
    /// What east's nodes are told.
    feed: Feed,
    status: watch::Receiver<Status>,
    tasks: Vec<JoinHandle<()>>,
}

impl Drop for World {
    fn drop(&mut self) {
        self.tasks.iter().for_each(JoinHandle::abort);
    }
}

impl World {
    async fn start() -> Option<Self> {
        let (hub, west, east) =
            (Cluster::start_or_skip()?, Cluster::start_or_skip()?, Cluster::start_or_skip()?);
        define(&hub);
        // West only exports: it cannot even list what others told it, and that keeps nobody from hearing of its own.
        define(&east);
        for name in ["west", "east"] {
            kubectl(&hub, &format!("create namespace {name}"), "");
        }
        kubectl(&west, "create namespace ml", "");
        kubectl(&east, "create namespace ml", "");
        let (feed, sender) = (Feed::default(), watch::Sender::default());
        let status = sender.subscribe();
        let catalog = watch::channel(Arc::new(compiler::built_in_catalog().clone())).1;
        let writes = controller::write::run(
            client(&east).await,
            feed.clone(),
            sender.subscribe(),
            watch::channel(controller::lease::Role::Leads).1,
        );
        let compiles = controller::run(
            client(&east).await,
            feed.clone(),
            catalog,
            sender,
            controller::Reads { elsewhere: Some("cofferdam-system".to_owned()), ..Default::default() },
            None,
        );
        let tasks = vec![tokio::spawn(compiles), tokio::spawn(writes)];
        Some(Self { hub, west, east, feed, status, tasks })
    }

    async fn share(&self, cluster: &str) -> (JoinHandle<()>, watch::Receiver<Shared>) {
        let of = if cluster == "west" { &self.west } else { &self.east };
        let sharing = Sharing {
            cluster: cluster.to_owned(),
            namespace: "cofferdam-system".to_owned(),
            expire_after: EXPIRE_AFTER,
        };
        let (shared, seen) = watch::channel(Shared::default());
        (tokio::spawn(share(client(&self.hub).await, client(of).await, sharing, shared)), seen)
    }

    /// What east's nodes may be told of a pod of west.
    fn told(&self, name: &str) -> Option<Digest> {
        let current = self.feed.current()?;
        let key = Key::pod(&"ml@west".into(), &name.into());
        current.parts.resources.get(&key).map(|encoded| encoded.digest)
    }

    async fn until(&self, what: &str, is_it: impl Fn(&Self) -> bool) {
        let end = Instant::now() + PATIENCE;
        while !is_it(self) {
            assert!(Instant::now() < end, "{what}: {:#?}", *self.status.borrow());
            sleep(Duration::from_millis(10)).await;
        }
    }

    async fn says(&mut self, what: &str) {
        let told = |status: &Status| status.diagnostics.iter().any(|it| it.message.contains(what));
        let came = timeout(PATIENCE, self.status.wait_for(told)).await.is_ok();
        assert!(came, "{what}: {:#?}", *self.status.borrow());
    }
}

async fn run(cluster: &Cluster, name: &str, address: &str) {
    let pods: Api<Pod> = Api::namespaced(client(cluster).await, "ml");
    put(&pods, name, address).await;
}

async fn put(pods: &Api<Pod>, name: &str, address: &str) {
    let pod = json!({
        "apiVersion": "v1", "kind": "Pod",
        "metadata": { "name": name, "labels": { "app": "train" } },
        "spec": { "containers": [{ "name": "c", "image": "i" }] },
    });
    pods.create(&PostParams::default(), &serde_json::from_value(pod).unwrap()).await.unwrap();
    set_address(pods, name, address).await;
}

async fn set_address(pods: &Api<Pod>, name: &str, address: &str) {
    let status = json!({ "status": { "phase": "Running", "podIP": address, "podIPs": [{ "ip": address }] } });
    pods.patch_status(name, &PatchParams::default(), &Patch::Merge(&status)).await.unwrap();
}

fn removes(cluster: &Cluster, name: &str) {
    kubectl(cluster, &format!("delete pod {name} -n ml --force --grace-period=0"), "");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn cluster_identities_are_known_while_both_sides_agree_and_their_cluster_speaks() {
    let Some(mut world) = World::start().await else { return };
    let (west, _) = world.share("west").await;
    let (east, mut seen) = world.share("east").await;
    run(&world.west, "train", "10.8.0.2").await;
    run(&world.west, "other", "10.8.0.3").await;

    // Neither side alone is enough.
    kubectl(&world.west, "label namespace ml cofferdam.dev/export=identities", "");
    let ask = "get identityslices -n west -o jsonpath={.items[*].spec.pods[*].name}";
    world.until("the hub has them", |world| kubectl(&world.hub, ask, "") == "other train").await;
    sleep(Duration::from_secs(1)).await;
    assert_eq!(world.told("train"), None, "east does not import it");
    kubectl(&world.east, "label namespace ml import.cofferdam.dev/west=identities", "");
    world.until("both agree", |world| world.told("train").is_some() && world.told("other").is_some()).await;
    let policies = kubectl(&world.east, "get identityslices -A -o name", "");
    assert_eq!(policies.trim(), "identityslice.cofferdam.dev/west.ml.0");

    // What changes, comes and goes there is known here.
    let before = world.told("train");
    let pods: Api<Pod> = Api::namespaced(client(&world.west).await, "ml");
    set_address(&pods, "train", "10.8.0.9").await;
    world.until("another address", |world| world.told("train").is_some_and(|now| Some(now) != before)).await;
    removes(&world.west, "other");
    world.until("it is gone", |world| world.told("other").is_none()).await;

    // Which pods are behind a service of all clusters, its EndpointSlices say, where a rule names it.
    kubectl(&world.east, "apply --server-side -f -", &controller::definition::list().to_string());
    kubectl(&world.east, "wait --for=condition=Established crd --all --timeout=60s", "");
    let before = world.told("train");
    let policy = json!({
        "apiVersion": "cofferdam.dev/v1alpha1", "kind": "EgressPolicy", "metadata": { "name": "to-train", "namespace": "ml" },
        "spec": { "egress": [{ "action": "Allow", "to": [{ "serviceImport": { "namespace": "ml", "name": "train" } }] }] },
    });
    let labels = json!({ "multicluster.kubernetes.io/service-name": "train", "multicluster.kubernetes.io/source-cluster": "w" });
    let slice = json!({
        "apiVersion": "discovery.k8s.io/v1", "kind": "EndpointSlice", "metadata": { "name": "train-w", "namespace": "ml", "labels": labels },
        "addressType": "IPv4", "ports": [{ "port": 8080 }], "endpoints": [{ "addresses": ["10.8.0.9"] }],
    });
    kubectl(&world.east, "apply --server-side -f -", &policy.to_string());
    kubectl(&world.east, "apply --server-side -f -", &slice.to_string());
    world
        .until("it is behind the service", |world| world.told("train").is_some_and(|now| Some(now) != before))
        .await;
    let mut denies = policy.clone();
    denies["spec"]["egress"][0]["action"] = "Deny".into();
    let refused = world.east.kubectl("apply --server-side -f -".split(' '), &denies.to_string()).unwrap();
    assert!(String::from_utf8_lossy(&refused.stderr).contains("only a rule that allows can name a service"));
    kubectl(&world.east, "delete endpointslice train-w -n ml", "");
    world.until("it is not any more", |world| world.told("train") == before).await;

    // An address of this cluster is nobody's elsewhere, and that is said where people look.
    run(&world.east, "own", "10.8.0.9").await;
    world.says("address 10.8.0.9 of pod ml@west/train is also that of pod ml/own").await;
    assert_eq!(world.told("train"), None);
    let ask = "get identityslice west.ml.0 -n cofferdam-system -o jsonpath={.status.conditions[0].reason}";
    world.until("its status", |world| kubectl(&world.east, ask, "") == "OverlappingAddress").await;
    let events = "get events.events.k8s.io -A -o jsonpath={.items[*].note}";
    world
        .until("an Event", |world| kubectl(&world.east, events, "").contains("also that of pod ml/own"))
        .await;
    removes(&world.east, "own");
    world.until("nobody contests it", |world| world.told("train").is_some()).await;

    // A cluster that is silent is believed for a time, which begins with what it said last.
    let ask = "get lease cofferdam-identities -n west -o jsonpath={.spec.renewTime}";
    let said = kubectl(&world.hub, ask, "");
    world.until("it says so again", |world| kubectl(&world.hub, ask, "") != said).await;
    west.abort();
    sleep(EXPIRE_AFTER / 3).await;
    assert!(world.told("train").is_some());
    let silent = |shared: &Shared| shared.silent.contains("west");
    assert!(timeout(PATIENCE, seen.wait_for(silent)).await.is_ok(), "{:?}", *seen.borrow());
    world.until("it expired", |world| world.told("train").is_none()).await;
    let ask = "get identityslice west.ml.0 -n cofferdam-system -o jsonpath={.spec.expired}";
    assert_eq!(kubectl(&world.east, ask, ""), "true");
    let (west, _) = world.share("west").await;
    world.until("it speaks again", |world| world.told("train").is_some()).await;

    // Either side may end it.
    kubectl(&world.west, "label namespace ml cofferdam.dev/export-", "");
    world.until("west exports it no more", |world| world.told("train").is_none()).await;
    world
        .until("nothing is left", |world| {
            kubectl(&world.east, "get identityslices -A -o name", "").is_empty()
        })
        .await;
    west.abort();
    east.abort();
}

/// How long a change takes from one cluster's API server to what the other's controller publishes, with so many pods exported.
/// `COFFERDAM_IDENTITIES=10000` asks for as many as a large cluster exports; what was measured is printed.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn cluster_changes_of_exported_pods_are_known_elsewhere_within_seconds() {
    let Some(world) = World::start().await else { return };
    let count = std::env::var("COFFERDAM_IDENTITIES").ok();
    let count: usize = count.map_or(300, |text| text.parse().unwrap());
    let pods: Api<Pod> = Api::namespaced(client(&world.west).await, "ml");
    let address =
        |number: usize| format!("10.{}.{}.{}", 100 + number / 62_500, number / 250 % 250, 1 + number % 250);
    let began = Instant::now();
    let all = stream::iter(0..count).for_each_concurrent(16, |number| {
        let (pods, address) = (pods.clone(), address(number));
        async move { put(&pods, &format!("p{number}"), &address).await }
    });
    all.await;
    let made = began.elapsed();
    kubectl(&world.west, "label namespace ml cofferdam.dev/export=identities", "");
    kubectl(&world.east, "label namespace ml import.cofferdam.dev/west=identities", "");
    let began = Instant::now();
    let (west, _) = world.share("west").await;
    let (east, _) = world.share("east").await;
    let known = |world: &World| {
        let of_west = |key: &Key| &*key.namespace == "ml@west";
        world.feed.current().map_or(0, |it| it.parts.resources.keys().filter(|key| of_west(key)).count())
    };
    world.until("all are known", |world| known(world) == count).await;
    let first = began.elapsed();
    let mut took = Vec::new();
    for round in 0..200 {
        let name = format!("p{}", round * 7919 % count);
        let before = world.told(&name);
        let at = Instant::now();
        set_address(&pods, &name, &format!("10.200.{}.{}", round / 250, 1 + round % 250)).await;
        let end = at + PATIENCE;
        while world.told(&name) == before || world.told(&name).is_none() {
            assert!(Instant::now() < end, "{name}");
            sleep(Duration::from_millis(2)).await;
        }
        took.push(at.elapsed());
    }
    took.sort_unstable();
    let of = |percent: usize| took[(took.len() * percent).div_ceil(100) - 1];
    eprintln!(
        "{count} pods (made in {made:?}): all known after {first:?}; a change after {:?} (median), {:?} (p99), {:?} (most)",
        of(50),
        of(99),
        of(100)
    );
    assert!(of(99) < Duration::from_secs(20), "even on a machine that is busy");
    west.abort();
    east.abort();
}
