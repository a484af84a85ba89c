//! A hub on a real API server, with rollouts that are run and clusters that do as the test says.

use apiserver::Cluster;
use fleet::hub::{API_VERSION, RolloutStatus, definitions, guards};
use fleet::rollout::{Denial, Evidence, Findings, Mode, Wanted, Word};
use fleet::{Digest, Ref};
use kube::api::{ApiResource, DynamicObject, ListParams, Patch, PatchParams};
use kube::config::{KubeConfigOptions, Kubeconfig};
use kube::core::GroupVersionKind;
use kube::{Api, Client};
use rollouts::News;
use serde::Deserialize;
use serde_json::{Value, json};
use std::collections::BTreeMap;
use std::sync::{Arc, Mutex};
use std::time::Duration;
use tokio::task::JoinHandle;
use tokio::time::{Instant, sleep};

/// Longer than anything takes on a busy machine.
pub(crate) const PATIENCE: Duration = Duration::from_secs(90);
const TICK: Duration = Duration::from_millis(100);

pub(crate) fn kubectl(cluster: &Cluster, arguments: &str, input: &str) -> String {
    let output = cluster.kubectl(arguments.split(' '), input).unwrap();
    assert!(output.status.success(), "{arguments}: {}", String::from_utf8_lossy(&output.stderr));
    String::from_utf8_lossy(&output.stdout).into_owned()
}

/// What the API server says against it.
pub(crate) fn refused(cluster: &Cluster, arguments: &str, input: &str) -> String {
    let output = cluster.kubectl(arguments.split(' '), input).unwrap();
    assert!(!output.status.success(), "{arguments} was done");
    String::from_utf8_lossy(&output.stderr).into_owned()
}

pub(crate) async fn config(cluster: &Cluster) -> kube::Config {
    let file = Kubeconfig::read_from(cluster.kubeconfig()).unwrap();
    kube::Config::from_custom_kubeconfig(file, &KubeConfigOptions::default()).await.unwrap()
}

pub(crate) async fn client(cluster: &Cluster) -> Client {
    Client::try_from(config(cluster).await).unwrap()
}

pub(crate) fn objects(client: &Client, kind: &str) -> Api<DynamicObject> {
    let gvk = GroupVersionKind::gvk("cofferdam.dev", "v1alpha1", kind);
    let plural = format!("{}s", kind.to_lowercase());
    Api::all_with(client.clone(), &ApiResource::from_gvk_with_plural(&gvk, &plural))
}

pub(crate) fn reference(number: u64) -> Ref {
    if number == 0 { Ref::nothing() } else { Ref { number, digest: Digest::of(&number.to_be_bytes()) } }
}

/// What a cluster sees, and whether it says so.
#[derive(Clone, Default)]
pub(crate) struct Conduct {
    /// It neither hears nor speaks.
    pub(crate) is_cut_off: bool,
    /// Of these releases it denies what worked.
    pub(crate) breaks: Vec<u64>,
}

pub(crate) type Fleet = Arc<Mutex<BTreeMap<String, Conduct>>>;

/// Everything on one hub.
pub(crate) struct Hub {
    pub(crate) cluster: Cluster,
    pub(crate) client: Client,
    pub(crate) fleet: Fleet,
    pub(crate) news: Arc<Mutex<Vec<News>>>,
    tasks: Vec<JoinHandle<()>>,
}

impl Drop for Hub {
    fn drop(&mut self) {
        self.tasks.iter().for_each(JoinHandle::abort);
    }
}

pub(crate) fn prepare(hub: &Cluster) {
    let items: Vec<Value> = definitions().into_iter().chain(guards()).collect();
    kubectl(hub, "apply -f -", &json!({ "apiVersion": "v1", "kind": "List", "items": items }).to_string());
    kubectl(hub, "wait --for=condition=Established crd --all --timeout=60s", "");
}

impl Hub {
    pub(crate) async fn start() -> Option<Self> {
        let cluster = Cluster::start_or_skip()?;
        prepare(&cluster);
        let client = client(&cluster).await;
        let (fleet, news) = (Fleet::default(), Arc::default());
        let tasks = vec![tokio::spawn(live(client.clone(), fleet.clone()))];
        Some(Self { cluster, client, fleet, news, tasks })
    }

    /// Rollouts are run from here on.
    pub(crate) fn run(&mut self) -> usize {
        let (client, news) = (self.client.clone(), self.news.clone());
        self.tasks.push(tokio::spawn(rollouts::run(client, move |it| news.lock().unwrap().push(it))));
        self.tasks.len() - 1
    }

    /// It ends, whatever it is at.
    pub(crate) fn kill(&self, task: usize) {
        self.tasks[task].abort();
    }

    pub(crate) fn join(&self, name: &str, labels: &Value, enforced: u64) {
        let object = json!({
            "apiVersion": API_VERSION, "kind": "ManagedCluster", "metadata": { "name": name, "labels": labels },
            "spec": { "wanted": { "enforce": reference(enforced) } },
        });
        kubectl(&self.cluster, "apply -f -", &object.to_string());
        self.fleet.lock().unwrap().insert(name.to_owned(), Conduct::default());
    }

    pub(crate) fn conduct(&self, name: &str, change: impl Fn(&mut Conduct)) {
        change(self.fleet.lock().unwrap().get_mut(name).unwrap());
    }

    pub(crate) async fn status(&self, name: &str) -> RolloutStatus {
        let found = objects(&self.client, "Rollout").get(name).await;
        let status = found.ok().and_then(|it| it.data.get("status").cloned());
        status.map(|it| RolloutStatus::deserialize(it).unwrap()).unwrap_or_default()
    }

    pub(crate) async fn until(
        &self,
        what: &str,
        name: &str,
        is_it: impl Fn(&RolloutStatus) -> bool,
    ) -> RolloutStatus {
        let end = Instant::now() + PATIENCE;
        loop {
            let status = self.status(name).await;
            if is_it(&status) {
                return status;
            }
            assert!(Instant::now() < end, "{name}: {what}: {status:#?} {:#?}", self.news.lock().unwrap());
            sleep(TICK).await;
        }
    }

    /// It waits for something that says this.
    pub(crate) async fn waits(&self, name: &str, says: &str) -> RolloutStatus {
        self.until(says, name, |it| it.waits.contains(says)).await
    }

    pub(crate) async fn condition(&self, name: &str, kind: &str) -> RolloutStatus {
        self.until(kind, name, |it| it.conditions.iter().any(|it| it.kind == kind && it.status == "True"))
            .await
    }

    pub(crate) async fn wanted(&self, name: &str) -> Wanted {
        let found = objects(&self.client, "ManagedCluster").get(name).await.unwrap();
        Wanted::deserialize(found.data["spec"]["wanted"].clone()).unwrap()
    }

    /// Asks for something, and returns what came of it.
    pub(crate) async fn ask(&self, name: &str, verb: fleet::rollout::Verb) -> Vec<Word> {
        let by = rollouts::who(&self.client).await.unwrap();
        let asked = rollouts::Asked { verb, stage: None, cluster: None, why: Some("in a test".to_owned()) };
        let ticket = rollouts::ask(&self.client, name, &by, &asked).await.unwrap();
        let decisions = rollouts::answers(&self.client, name, ticket, PATIENCE).await.unwrap();
        decisions.expect("somebody handles it").iter().map(|it| it.what).collect()
    }
}

pub(crate) fn words(status: &RolloutStatus) -> Vec<Word> {
    status.state.decisions.iter().map(|it| it.what).collect()
}

/// A Rollout of release `number` over stages `dev` and `prod` of one story.
pub(crate) fn rollout(name: &str, story: &str, [number, fallback]: [u64; 2], stages: &[&str]) -> Value {
    let stage = |env: &&str| {
        json!({
            "name": env, "clusters": { "matchLabels": { "env": env, "story": story } },
            "gate": { "seconds": 60, "flows": 100 }, "holdSeconds": 60,
        })
    };
    let stages: Vec<Value> = stages.iter().map(stage).collect();
    json!({
        "apiVersion": API_VERSION, "kind": "Rollout", "metadata": { "name": name },
        "spec": {
            "release": reference(number), "fallback": reference(fallback), "stages": stages, "spike": 20, "silenceSeconds": 3,
        },
    })
}

/// Each cluster that is not cut off has what is wanted of it, and says what it sees.
async fn live(client: Client, fleet: Fleet) {
    let api = objects(&client, "ManagedCluster");
    let mut beat = 0;
    loop {
        sleep(TICK).await;
        let Ok(list) = api.list(&ListParams::default()).await else { continue };
        for object in list {
            beat += 1;
            let name = object.metadata.name.unwrap_or_default();
            let Some(conduct) = fleet.lock().unwrap().get(&name).cloned() else { continue };
            let wanted = object.data.get("spec").and_then(|it| it.get("wanted")).cloned();
            let Some(wanted) = wanted.and_then(|it| Wanted::deserialize(it).ok()) else { continue };
            if !conduct.is_cut_off {
                let status = status(&wanted, &conduct.breaks, beat);
                let patch = json!({ "apiVersion": API_VERSION, "kind": "ManagedCluster", "metadata": { "name": name }, "status": status });
                let params = PatchParams::apply("cofferdam-fleet").force();
                let _it_may_be_gone = api.patch_status(&name, &params, &Patch::Apply(&patch)).await;
            }
        }
    }
}

fn status(wanted: &Wanted, breaks: &[u64], beat: i64) -> Value {
    json!({
        "beat": beat, "enforced": wanted.enforce, "shadow": wanted.shadow, "evidence": evidence(wanted, breaks), "problems": [],
        "drift": [], "effective": { "digest": wanted.enforce.digest, "policies": 1 }, "memory": { "highest": null },
    })
}

/// An hour's worth of it.
pub(crate) fn evidence(wanted: &Wanted, breaks: &[u64]) -> Evidence {
    let (of, mode) = match &wanted.shadow {
        Some(shadow) => (shadow.clone(), Mode::Shadow),
        None => (wanted.enforce.clone(), Mode::Enforce),
    };
    let denial = Denial {
        source: "shop/Deployment/web".to_owned(),
        destination: "shop/Deployment/db".to_owned(),
        port: 5432,
        count: 37,
    };
    let denials = if breaks.contains(&of.number) { vec![denial] } else { Vec::new() };
    Evidence {
        of,
        mode,
        seconds: 3600,
        flows: 5000,
        denials,
        more_denials: 0,
        findings: 0,
        by_severity: Findings::default(),
        errors: None,
        unwatched: None,
    }
}
