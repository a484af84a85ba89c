//! A hub and a cluster, two real API servers: what the cluster has is what somebody signed, and only forward.

#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    clippy::indexing_slicing,
    missing_docs,
    reason = "in a test a panic is the failure report"
)]

use apiserver::{Cluster, POLICY_KINDS, Part, definition};
use fleet::hub::{ClusterStatus, definitions, release_object};
use fleet::{Envelope, Header, Pinned, Ref, Release, SigningKey};
use kube::config::{KubeConfigOptions, Kubeconfig};
use serde_json::{Value, json};
use std::time::Duration;
use tokio::sync::watch;
use tokio::task::JoinHandle;

const PATIENCE: Duration = Duration::from_secs(90);

const WEB: &str = "{apiVersion: networking.k8s.io/v1, kind: NetworkPolicy, metadata: {name: web, namespace: shop}, spec: {podSelector: {matchLabels: {app: web}}, \
                   ingress: [{ports: [{port: 80}]}]}}";
const WEB_81: &str = "{apiVersion: networking.k8s.io/v1, kind: NetworkPolicy, metadata: {name: web, namespace: shop}, spec: {podSelector: {matchLabels: {app: web}}, \
                   ingress: [{ports: [{port: 81}]}]}}";
const DB: &str = "{apiVersion: networking.k8s.io/v1, kind: NetworkPolicy, metadata: {name: db, namespace: shop}, spec: {podSelector: {matchLabels: {app: db}}}}";
const MINE: &str = "{apiVersion: networking.k8s.io/v1, kind: NetworkPolicy, metadata: {name: mine, namespace: shop}, spec: {podSelector: {}}}";
const DENY: &str = "{apiVersion: policy.networking.k8s.io/v1alpha2, kind: ClusterNetworkPolicy, metadata: {name: deny}, spec: {tier: Admin, priority: 1, \
                    subject: {namespaces: {}}, egress: [{action: Deny, to: [{networks: [192.0.2.0/24]}]}]}}";

fn key() -> SigningKey {
    let head =
        [0x30, 0x2e, 0x02, 0x01, 0x00, 0x30, 0x05, 0x06, 0x03, 0x2b, 0x65, 0x70, 0x04, 0x22, 0x04, 0x20];
    let block = pem::encode(&pem::Pem::new("PRIVATE KEY", [&head[..], &[7; 32]].concat()));
    SigningKey::from_pem(block.as_bytes()).unwrap()
}

fn pinned() -> Pinned {
    let spki = [0x30, 0x2a, 0x30, 0x05, 0x06, 0x03, 0x2b, 0x65, 0x70, 0x03, 0x21, 0x00];
    let block = pem::encode(&pem::Pem::new("PUBLIC KEY", [&spki[..], &key().public()].concat()));
    let keys = json!({ "apiVersion": "cofferdam.dev/v1alpha1", "kind": "ReleaseKeys", "keys": [{ "name": "platform", "public": block }] });
    Pinned::read("keys.json", keys.to_string().as_bytes()).unwrap()
}

fn release(number: u64, files: &[&str], fallback: Option<Ref>) -> Release {
    let values: Vec<Value> = files.iter().flat_map(|text| crds::as_json("t.yaml", text.as_bytes())).collect();
    Release::build(Header { number, fallback, rollback_to: None }, &values).unwrap().0
}

fn signed(release: &Release) -> Value {
    release_object(release, &Envelope::seal(release, &[key()]))
}

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

struct World {
    hub: Cluster,
    local: Cluster,
    status: watch::Receiver<Option<ClusterStatus>>,
    task: JoinHandle<()>,
}

async fn spoke(hub: &Cluster, local: &Cluster) -> (watch::Receiver<Option<ClusterStatus>>, JoinHandle<()>) {
    let settings = spoke::Settings {
        judge: None,
        cluster: "dev".to_owned(),
        namespace: "cofferdam-system".to_owned(),
        pinned: Box::new(|| Ok(pinned())),
    };
    let sender = watch::Sender::new(None);
    let status = sender.subscribe();
    (
        status,
        tokio::spawn(spoke::run(
            spoke::Source::Hub(client(hub).await),
            client(local).await,
            settings,
            sender,
        )),
    )
}

fn as_hub(cluster: &Cluster) {
    kubectl(
        cluster,
        "apply -f -",
        &json!({ "apiVersion": "v1", "kind": "List", "items": definitions() }).to_string(),
    );
    kubectl(cluster, "wait --for=condition=Established crd --all --timeout=60s", "");
    let object = json!({ "apiVersion": "cofferdam.dev/v1alpha1", "kind": "ManagedCluster", "metadata": { "name": "dev" } });
    kubectl(cluster, "apply -f -", &object.to_string());
}

impl World {
    async fn start() -> Option<Self> {
        let (hub, local) = (Cluster::start_or_skip()?, Cluster::start_or_skip()?);
        as_hub(&hub);
        let [kind, plural, version] = POLICY_KINDS[0];
        kubectl(&local, "apply -f -", &definition(kind, plural, version));
        kubectl(&local, "wait --for=condition=Established crd --all --timeout=60s", "");
        kubectl(&local, "create namespace shop", "");
        kubectl(&local, "create namespace cofferdam-system", "");
        let (status, task) = spoke(&hub, &local).await;
        Some(Self { hub, local, status, task })
    }

    fn publish(&self, object: &Value) {
        kubectl(&self.hub, "apply --server-side -f -", &object.to_string());
    }

    fn want(&self, release: &Ref, shadow: Option<&Ref>) {
        want(&self.hub, release, shadow);
    }

    fn drift(&self, drift: &str) {
        let patch = json!({ "spec": { "drift": drift } });
        kubectl(&self.hub, &format!("patch managedcluster dev --type=merge -p {patch}"), "");
    }

    async fn until(&mut self, what: &str, is_it: impl Fn(&ClusterStatus) -> bool) -> ClusterStatus {
        until(&mut self.status, what, is_it).await
    }

    /// The cluster says why it does not have what is wanted.
    async fn refuses(&mut self, why: &str) -> ClusterStatus {
        self.until(why, |it| it.problems.iter().any(|problem| problem.contains(why))).await
    }

    async fn has(&mut self, release: &Ref) -> ClusterStatus {
        self.until(&release.to_string(), |it| it.enforced == *release && it.problems.is_empty()).await
    }

    fn policies(&self) -> String {
        let names = kubectl(
            &self.local,
            "get networkpolicies,clusternetworkpolicies -A -l cofferdam.dev/of-fleet -o name",
            "",
        );
        names.split_whitespace().map(|it| it.rsplit('/').next().unwrap()).collect::<Vec<_>>().join(" ")
    }

    fn port(&self) -> String {
        kubectl(&self.local, "get networkpolicy web -n shop -o jsonpath={.spec.ingress[0].ports[0].port}", "")
    }
}

fn want(hub: &Cluster, release: &Ref, shadow: Option<&Ref>) {
    let patch = json!({ "spec": { "wanted": { "enforce": release, "shadow": shadow } } }).to_string();
    kubectl(hub, &format!("patch managedcluster dev --type=merge -p {patch}"), "");
}

async fn until(
    status: &mut watch::Receiver<Option<ClusterStatus>>,
    what: &str,
    is_it: impl Fn(&ClusterStatus) -> bool,
) -> ClusterStatus {
    let came = tokio::time::timeout(PATIENCE, status.wait_for(|it| it.as_ref().is_some_and(&is_it))).await;
    let found = came.ok().and_then(Result::ok).and_then(|it| it.clone());
    found.unwrap_or_else(|| panic!("{what}: {:#?}", *status.borrow()))
}

#[tokio::test]
async fn cluster_a_spoke_takes_what_is_signed_and_newer_and_says_why_it_takes_nothing_else() {
    let Some(mut world) = World::start().await else { return };
    let one = release(1, &[WEB, DENY], Some(Ref::nothing()));
    world.publish(&signed(&one));
    world.want(&one.reference(), None);
    let status = world.has(&one.reference()).await;
    assert_eq!((world.policies().as_str(), status.effective.policies), ("web deny", 2));
    let told = kubectl(
        &world.hub,
        "get managedcluster dev -o jsonpath={.status.enforced.number}/{.status.effective.policies}",
        "",
    );
    assert_eq!(told, "1/2");

    // A release never changes at the hub.
    let patch = "patch policyrelease release-1 --type=merge -p {\"spec\":{\"number\":7}}";
    let output = world.hub.kubectl(patch.split(' '), "").unwrap();
    assert!(String::from_utf8_lossy(&output.stderr).contains("a release never changes"));

    // Nobody signed it; it was altered; it is not the one that is wanted.
    let two = release(2, &[DB], Some(one.reference()));
    world.publish(&release_object(&two, &Envelope::seal(&two, &[])));
    world.want(&two.reference(), None);
    let status = world.refuses("nobody signed it").await;
    assert_eq!((status.enforced, world.policies().as_str()), (one.reference(), "web deny"));
    let three = release(3, &[DB], Some(one.reference()));
    let mut altered = Envelope::seal(&three, &[key()]);
    altered.payload = Envelope::seal(&two, &[]).payload;
    world.publish(&release_object(&three, &altered));
    world.want(&three.reference(), None);
    world.refuses("does not hold: what was signed was altered").await;
    world.want(&Ref { number: 1, ..two.reference() }, None);
    world.refuses("is wanted").await;

    // What could not be taken back is not even judged beside.
    let nine = release(9, &[DB], Some(two.reference()));
    world.publish(&signed(&nine));
    world.want(&one.reference(), Some(&nine.reference()));
    world.refuses("could not be taken back: release-2: nobody signed it").await;

    // Forward, with one policy changed, one added and one gone; back to what it was signed to fall back to; forward again.
    let four = release(4, &[WEB_81, DB], Some(one.reference()));
    world.publish(&signed(&four));
    world.want(&one.reference(), Some(&four.reference()));
    let status = world.until("shadow", |it| it.shadow.as_ref() == Some(&four.reference())).await;
    assert_eq!(
        (status.enforced, world.policies().as_str(), world.port().as_str()),
        (one.reference(), "web deny", "80")
    );
    world.want(&four.reference(), None);
    let status = world.has(&four.reference()).await;
    assert_eq!((status.shadow, world.policies().as_str(), world.port().as_str()), (None, "db web", "81"));
    // Back from a backup meanwhile, it knows from the release that the hub names what that was signed to fall back to.
    world.task.abort();
    kubectl(&world.local, "delete configmap cofferdam-fleet -n cofferdam-system", "");
    world.want(&one.reference(), None);
    (world.status, world.task) = spoke(&world.hub, &world.local).await;
    world.has(&one.reference()).await;
    assert_eq!((world.policies().as_str(), world.port().as_str()), ("web deny", "80"));

    // One that may fall back to nothing: the way back is closed.
    let five = release(5, &[WEB_81], None);
    world.publish(&signed(&five));
    world.want(&five.reference(), None);
    world.has(&five.reference()).await;
    world.want(&four.reference(), None);
    let status = world.refuses("is older than 5").await;
    assert_eq!((status.enforced, world.policies().as_str()), (five.reference(), "web"));
    world.want(&Ref::nothing(), None);
    world.refuses("release 0").await;

    // Back from a backup, in which nothing was remembered: the hub tells it what it was.
    world.task.abort();
    kubectl(&world.local, "delete configmap cofferdam-fleet -n cofferdam-system", "");
    world.want(&four.reference(), None);
    (world.status, world.task) = spoke(&world.hub, &world.local).await;
    world.refuses("is older than 5").await;
    assert_eq!(world.policies(), "web");

    // Who has the hub, and no key, says that the cluster had a release which may fall back to what was mended, or to nothing.
    world.task.abort();
    let hub = kubectl(&world.hub, "get namespace kube-system -o jsonpath={.metadata.uid}", "");
    for (number, mended) in [(6, four.reference()), (7, Ref::nothing())] {
        let highest = Ref { number, ..five.reference() };
        let memory = json!({ "highest": highest, "fallback": mended, "hub": hub });
        let patch = json!({ "status": { "memory": memory } });
        let forge = format!("patch managedcluster dev --subresource=status --type=merge -p {patch}");
        kubectl(&world.hub, &forge, "");
        world.want(&mended, None);
        (world.status, world.task) = spoke(&world.hub, &world.local).await;
        world.refuses(&format!("is older than {number}")).await;
        assert_eq!(world.policies(), "web");
        world.task.abort();
    }
}

#[tokio::test]
async fn cluster_what_is_not_the_fleets_is_left_alone_and_what_is_the_fleets_is_put_back() {
    let Some(mut world) = World::start().await else { return };
    let one = release(1, &[WEB, DB], Some(Ref::nothing()));
    world.publish(&signed(&one));
    world.want(&one.reference(), None);
    world.has(&one.reference()).await;

    // A policy of the cluster's own in the way: nothing that guards goes.
    kubectl(&world.local, "apply -f -", MINE);
    let two = release(2, &[WEB_81, MINE], Some(one.reference()));
    world.publish(&signed(&two));
    world.want(&two.reference(), None);
    let status = world.refuses("NetworkPolicy shop/mine: it is there, and not of the fleet").await;
    assert_eq!((status.enforced, world.policies().as_str()), (one.reference(), "db web"));
    kubectl(&world.local, "delete networkpolicy mine -n shop", "");
    world.has(&two.reference()).await;
    assert_eq!(world.policies(), "mine web");

    // Who takes the label off does not have it to themselves, nor does who removes one.
    kubectl(&world.local, "label networkpolicy web -n shop cofferdam.dev/of-fleet-", "");
    kubectl(&world.local, "delete networkpolicy mine -n shop", "");
    let web = |done: &str| format!("NetworkPolicy shop/web was changed in the cluster; {done}");
    let mine = "NetworkPolicy shop/mine was removed in the cluster; it was put back".to_owned();
    for (drift, expected) in [
        ("Report", vec![mine, web("it is left as it is")]),
        ("Correct", vec![web("it was put back")]),
        ("Report", vec![]),
    ] {
        world.drift(drift);
        world.until(drift, |it| it.drift == expected && it.problems.is_empty()).await;
    }
    let beat = world.status.borrow().as_ref().map(|it| it.beat);
    world.drift("Correct");
    world.until("Correct once more", |it| Some(it.beat) != beat).await;
    assert_eq!(world.policies(), "mine web");

    // Nor does who makes another of the same name, also not before a controller that begins anew.
    let takes_over = |world: &World| {
        kubectl(&world.local, "delete networkpolicy web -n shop", "");
        let web = MINE.replace("name: mine", "name: web");
        assert_ne!(web, MINE);
        kubectl(&world.local, "apply -f -", &web);
    };
    let is_back = |it: &ClusterStatus| it.drift == [web("it was put back")] && it.problems.is_empty();
    takes_over(&world);
    world.until("another of the same name", is_back).await;
    world.task.abort();
    takes_over(&world);
    (world.status, world.task) = spoke(&world.hub, &world.local).await;
    world.until("another of the same name, before the start", is_back).await;
    assert_eq!(world.port(), "81");

    // The hub is gone; what somebody opens is closed again all the same.
    world.hub.kill_part(Part::Api).unwrap();
    let open = "patch networkpolicy web -n shop --type=merge -p {\"spec\":{\"ingress\":[{}],\"policyTypes\":[\"Ingress\"]}}";
    kubectl(&world.local, open, "");
    let is_cut_off = |it: &ClusterStatus| it.problems.iter().any(|it| it.contains("telling the hub"));
    let is_changed = |it: &ClusterStatus| it.drift.iter().any(|it| it.contains("shop/web was changed"));
    let status = world.until("drift without a hub", |it| is_cut_off(it) && is_changed(it)).await;
    assert_eq!((status.enforced, world.port().as_str()), (two.reference(), "81"));
    world.hub.start_part(Part::Api).unwrap();
    world.has(&two.reference()).await;

    // Another hub claims the cluster: here, its own API server.
    as_hub(&world.local);
    let three = release(3, &[DB], Some(two.reference()));
    kubectl(&world.local, "apply --server-side -f -", &signed(&three).to_string());
    want(&world.local, &three.reference(), None);
    let (mut other, task) = spoke(&world.local, &world.local).await;
    until(&mut other, "another hub", |it| it.problems.iter().any(|it| it.contains("claims it"))).await;
    task.abort();
    assert_eq!(world.policies(), "mine web");

    // One that begins while nobody vouches for what is in force tells what there is, and not that there is nothing.
    let settings = spoke::Settings {
        judge: None,
        cluster: "dev".to_owned(),
        namespace: "cofferdam-system".to_owned(),
        pinned: Box::new(|| Err("the keys cannot be read".to_owned())),
    };
    world.task.abort();
    let sender = watch::Sender::new(None);
    world.status = sender.subscribe();
    let source = spoke::Source::Hub(client(&world.hub).await);
    world.task = tokio::spawn(spoke::run(source, client(&world.local).await, settings, sender));
    let is_told = |it: &ClusterStatus| it.problems.iter().any(|it| it.contains("the keys cannot be read"));
    let status = world.until("nobody vouches for it", is_told).await;
    assert_eq!((status.enforced, status.effective.policies), (two.reference(), 2));
    assert_eq!(world.policies(), "mine web");

    // Told only to report.
    world.drift("Report");
    // The watch may take its time after the hub was away: one that begins now knows.
    world.task.abort();
    (world.status, world.task) = spoke(&world.hub, &world.local).await;
    world.has(&two.reference()).await;
    kubectl(&world.local, open, "");
    world.until("report", |it| it.drift.iter().any(|it| it.contains("it is left as it is"))).await;
    assert_eq!(world.port(), "");
}
