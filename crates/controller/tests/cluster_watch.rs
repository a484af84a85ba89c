//! A controller beside a real API server: what it publishes is what the server holds, through its and its store's death.

#![allow(
    clippy::unwrap_used,
    clippy::panic,
    clippy::print_stderr,
    missing_docs,
    reason = "in a test a panic is the failure report"
)]

use apiserver::{Cluster, POLICY_KINDS, Part, definition};
use controller::{Absent, Definition, Status};
use feed::server::Feed;
use feed::{Key, Parts};
use kube::config::{KubeConfigOptions, Kubeconfig};
use policy::Generation;
use std::collections::BTreeMap;
use std::time::Duration;
use tokio::sync::watch;
use tokio::task::JoinHandle;
use tokio::time::Instant;

const PATIENCE: Duration = Duration::from_secs(90);

const OBJECTS: &str = "
apiVersion: v1
kind: Namespace
metadata: {name: shop, labels: {team: a}}
---
apiVersion: v1
kind: Node
metadata: {name: node-a}
---
apiVersion: v1
kind: Pod
metadata: {name: web, namespace: shop, labels: {app: web}}
spec: {nodeName: node-a, containers: [{name: c, image: i, ports: [{name: http, containerPort: 80}]}]}
---
apiVersion: v1
kind: Pod
metadata: {name: db, namespace: shop, labels: {app: db}}
spec: {nodeName: node-a, containers: [{name: c, image: i}]}
---
apiVersion: networking.k8s.io/v1
kind: NetworkPolicy
metadata: {name: db, namespace: shop}
spec:
  podSelector: {matchLabels: {app: db}}
  ingress: [{from: [{podSelector: {matchLabels: {app: web}}}], ports: [{port: 5432}]}]
";

struct World {
    cluster: Cluster,
    feed: Feed,
    status: watch::Receiver<Status>,
    task: JoinHandle<()>,
}

impl World {
    async fn start() -> Option<Self> {
        let cluster = Cluster::start_or_skip()?;
        let (feed, sender) = (Feed::default(), watch::Sender::default());
        let status = sender.subscribe();
        let task = tokio::spawn(controller::run(
            client(&cluster).await,
            feed.clone(),
            catalog(),
            sender,
            controller::Reads { elsewhere: Some("cofferdam-system".to_owned()), ..Default::default() },
            None,
        ));
        Some(Self { cluster, feed, status, task })
    }

    fn kubectl(&self, arguments: &str, input: &str) -> String {
        let output = self.cluster.kubectl(arguments.split(' '), input).unwrap();
        assert!(output.status.success(), "{arguments}: {}", String::from_utf8_lossy(&output.stderr));
        String::from_utf8_lossy(&output.stdout).into_owned()
    }

    /// What the server holds now, asked for by kubectl and compiled.
    fn held(&self, kinds: &str) -> BTreeMap<Key, feed::Digest> {
        let text = self.kubectl(&format!("get {kinds} -A -o json"), "");
        let read = crds::read_value("x", &serde_json::from_str(&text).unwrap());
        let set = compiler::compile(read.objects, Generation(1)).set;
        digests(&Parts::new(&set, None))
    }

    /// Waits until what is published is what the server holds.
    async fn agrees(&self, kinds: &str) -> Generation {
        let (end, held) = (Instant::now() + PATIENCE, self.held(kinds));
        loop {
            let current = self.feed.current();
            if let Some(current) = current.filter(|current| digests(&current.parts) == held) {
                return current.generation;
            }
            assert!(Instant::now() < end, "{held:#?} is not {:#?}", *self.status.borrow());
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
    }

    async fn status(&mut self, wanted: impl FnMut(&Status) -> bool) {
        let came = tokio::time::timeout(PATIENCE, self.status.wait_for(wanted)).await.is_ok();
        assert!(came, "{:#?}", *self.status.borrow());
    }
}

/// The built-in catalog, which does not change.
fn catalog() -> watch::Receiver<std::sync::Arc<crds::Catalog>> {
    watch::channel(std::sync::Arc::new(compiler::built_in_catalog().clone())).1
}

async fn client(cluster: &Cluster) -> kube::Client {
    let file = Kubeconfig::read_from(cluster.kubeconfig()).unwrap();
    let config = kube::Config::from_custom_kubeconfig(file, &KubeConfigOptions::default()).await.unwrap();
    kube::Client::try_from(config).unwrap()
}

fn digests(parts: &Parts) -> BTreeMap<Key, feed::Digest> {
    parts.resources.values().map(|encoded| (encoded.key.clone(), encoded.digest)).collect()
}

const KINDS: &str = "namespaces,nodes,pods,networkpolicies.networking.k8s.io";

#[tokio::test]
async fn cluster_what_is_published_is_what_the_api_server_holds() {
    let Some(mut world) = World::start().await else { return };
    let mut generation = world.agrees(KINDS).await;
    let mut step = async |world: &World, arguments: &str, input: &str, kinds: &str| {
        world.kubectl(arguments, input);
        let next = world.agrees(kinds).await;
        assert!(next > generation, "{arguments}: {next} after {generation}");
        generation = next;
    };
    step(&world, "apply -f -", OBJECTS, KINDS).await;
    step(&world, "label namespace shop team=b --overwrite", "", KINDS).await;
    let address =
        "patch pod db -n shop --subresource=status -p {\"status\":{\"podIPs\":[{\"ip\":\"10.1.2.3\"}]}}";
    step(&world, address, "", KINDS).await;
    step(&world, "delete networkpolicy db -n shop", "", KINDS).await;
    step(&world, "delete pod web -n shop --force --grace-period=0", "", KINDS).await;
    step(&world, "apply -f -", OBJECTS, KINDS).await;

    // Add-on kinds that come while the controller runs are found.
    for [kind, plural, version] in POLICY_KINDS {
        world.kubectl("apply -f -", &definition(kind, plural, version));
        world.kubectl("wait --for=condition=Established crd --all --timeout=60s", "");
    }
    let admin = "
apiVersion: policy.networking.k8s.io/v1alpha2
kind: ClusterNetworkPolicy
metadata: {name: no-egress}
spec: {tier: Admin, priority: 5, subject: {namespaces: {}}, egress: [{action: Deny, to: [{networks: [0.0.0.0/0]}]}]}
";
    let all = format!("{KINDS},clusternetworkpolicies.policy.networking.k8s.io");
    step(&world, "apply -f -", admin, &all).await;

    // What cannot be read closes what it may select, and the status says which object and field.
    step(&world, "apply -f -", &admin.replace("Deny", "Denied"), &all).await;
    world.status(|status| status.closed_scopes == 1).await;
    let told: Vec<_> = world.status.borrow().diagnostics.iter().map(ToString::to_string).collect();
    assert!(
        told.iter().any(|it| it.contains("ClusterNetworkPolicy no-egress: spec.egress[0].action")),
        "{told:#?}"
    );
    world.task.abort();
}

#[tokio::test]
async fn cluster_the_last_state_stays_while_the_api_or_its_store_is_gone() {
    let Some(mut world) = World::start().await else { return };
    world.kubectl("apply -f -", OBJECTS);
    let before = world.agrees(KINDS).await;
    let parts = digests(&world.feed.current().unwrap().parts);
    for part in [Part::Api, Part::Etcd] {
        world.cluster.kill_part(part).unwrap();
    }
    world.status(|status| status.problems.len() >= 4).await;
    let current = world.feed.current().unwrap();
    assert_eq!((current.generation, digests(&current.parts)), (before, parts));

    world.cluster.start_part(Part::Etcd).unwrap();
    world.cluster.start_part(Part::Api).unwrap();
    world.kubectl("delete networkpolicy db -n shop", "");
    let after = world.agrees(KINDS).await;
    assert!(after > before, "{after} after {before}");
    world.status(|status| status.problems.is_empty() && status.policies == 0).await;

    // A controller that starts anew goes on beyond what its nodes have.
    let had = world.feed.current().unwrap().revisions.clone();
    assert!(had["networkpolicies"] > 0);
    world.task.abort();
    let (feed, sender) = (Feed::default(), watch::Sender::default());
    world.status = sender.subscribe();
    world.task = tokio::spawn(controller::run(
        client(&world.cluster).await,
        feed.clone(),
        catalog(),
        sender,
        controller::Reads { elsewhere: Some("cofferdam-system".to_owned()), ..Default::default() },
        None,
    ));
    world.feed = feed;
    assert!(world.agrees(KINDS).await > Generation(0));
    // Also of what is gone.
    let current = world.feed.current().unwrap();
    for (kind, had) in had {
        let reached = current.reached.get(&kind).copied();
        assert!(reached.is_none_or(|reached| reached >= had), "{kind}: {reached:?} of {had}");
    }
    world.task.abort();
}

#[tokio::test]
async fn cluster_objects_stay_in_force_until_their_definition_is_gone_and_that_is_said() {
    let Some(mut world) = World::start().await else { return };
    let [kind, plural, version] = POLICY_KINDS[0];
    let name = format!("crd {plural}.policy.networking.k8s.io");
    let define = |world: &World| {
        world.kubectl("apply -f -", &definition(kind, plural, version));
        world.kubectl("wait --for=condition=Established crd --all --timeout=60s", "");
    };
    define(&world);
    let deny = format!(
        "
apiVersion: policy.networking.k8s.io/{version}
kind: {kind}
metadata: {{name: no-egress}}
spec: {{tier: Admin, priority: 5, subject: {{namespaces: {{}}}}, egress: [{{action: Deny, to: [{{networks: [0.0.0.0/0]}}]}}]}}
"
    );
    world.kubectl("apply -f -", &deny);
    world.status(|status| status.policies == 1).await;
    let told =
        |status: &Status| status.absent.iter().map(|(kind, it)| (kind.plural(), *it)).collect::<Vec<_>>();

    // Defined, and not served, over a restart of the API server: nothing goes.
    let unserve = r#" --type=json -p [{"op":"replace","path":"/spec/versions/0/served","value":false}]"#;
    world.kubectl(&format!("patch {name}{unserve}"), "");
    let held = |definition| vec![(plural, Absent { definition, held: 1, lost: 0 })];
    world.status(|status| told(status) == held(Definition::Unserved)).await;
    world.cluster.kill_part(Part::Api).unwrap();
    world.status(|status| !status.problems.is_empty()).await;
    world.cluster.start_part(Part::Api).unwrap();
    world.status(|status| status.problems.is_empty() && told(status) == held(Definition::Unserved)).await;
    assert_eq!(world.status.borrow().policies, 1);

    // What is removed with the definition while nobody can watch it goes when the API server has said so for a while.
    world.kubectl(&format!("delete {name} --timeout=60s"), "");
    world.status(|status| told(status) == held(Definition::Gone)).await;
    assert_eq!(world.status.borrow().policies, 1, "not yet");
    let gone = vec![(plural, Absent { definition: Definition::Gone, held: 0, lost: 1 })];
    let came =
        tokio::time::timeout(2 * PATIENCE, world.status.wait_for(|it| told(it) == gone && it.policies == 0));
    let came = came.await.is_ok();
    assert!(came, "{:#?}", *world.status.borrow());

    // A new definition has none of the old objects, and is taken.
    define(&world);
    world.status(|status| status.absent.is_empty()).await;
    world.kubectl("apply -f -", &deny);
    world.status(|status| status.policies == 1).await;
    // One that is removed while it is watched takes its objects with it, each by its own event.
    world.kubectl(&format!("delete {name} --timeout=60s"), "");
    world.status(|status| status.policies == 0).await;
    let gone = vec![(plural, Absent { definition: Definition::Gone, held: 0, lost: 0 })];
    world.status(|status| told(status) == gone).await;
    world.task.abort();
}
