//! A hub and two clusters, three real API servers: signed releases, taken by the clusters themselves.

use crate::hub::{self, Hub, client, kubectl, objects, rollout, words};
use apiserver::Cluster;
use fleet::hub::{API_VERSION, ClusterStatus, release_object};
use fleet::rollout::{Verb, Wanted, Word};
use fleet::{Envelope, Header, Pinned, Ref, Release, SigningKey};
use kube::Client;
use kube::api::{Patch, PatchParams};
use serde::Deserialize;
use serde_json::{Value, json};
use std::sync::{Arc, Mutex};
use std::time::Duration;
use tokio::sync::watch;
use tokio::task::JoinHandle;
use tokio::time::{Instant, sleep};

const NAMES: [&str; 2] = ["dev", "prod"];

fn key() -> SigningKey {
    let head =
        [0x30, 0x2e, 0x02, 0x01, 0x00, 0x30, 0x05, 0x06, 0x03, 0x2b, 0x65, 0x70, 0x04, 0x22, 0x04, 0x20];
    let block = pem::encode(&pem::Pem::new("PRIVATE KEY", [&head[..], &[7; 32]].concat()));
    SigningKey::from_pem(block.as_bytes()).unwrap()
}

fn pinned() -> Pinned {
    let spki = [0x30, 0x2a, 0x30, 0x05, 0x06, 0x03, 0x2b, 0x65, 0x70, 0x03, 0x21, 0x00];
    let block = pem::encode(&pem::Pem::new("PUBLIC KEY", [&spki[..], &key().public()].concat()));
    let keys = json!({ "apiVersion": API_VERSION, "kind": "ReleaseKeys", "keys": [{ "name": "platform", "public": block }] });
    Pinned::read("keys.json", keys.to_string().as_bytes()).unwrap()
}

struct Fleet {
    hub: Hub,
    clusters: [Cluster; 2],
    tasks: Vec<JoinHandle<()>>,
    breaks: Arc<Mutex<Vec<u64>>>,
}

impl Drop for Fleet {
    fn drop(&mut self) {
        self.tasks.iter().for_each(JoinHandle::abort);
    }
}

impl Fleet {
    async fn start() -> Option<Self> {
        let mut hub = Hub::start().await?;
        let clusters = [Cluster::start_or_skip()?, Cluster::start_or_skip()?];
        let breaks = Arc::<Mutex<Vec<u64>>>::default();
        let mut tasks = vec![tokio::spawn(see(hub.client.clone(), breaks.clone()))];
        for (name, cluster) in NAMES.iter().zip(&clusters) {
            kubectl(cluster, "create namespace shop", "");
            kubectl(cluster, "create namespace cofferdam-system", "");
            let object = json!({
                "apiVersion": API_VERSION, "kind": "ManagedCluster",
                "metadata": { "name": name, "labels": { "env": name, "story": "real" } },
            });
            kubectl(&hub.cluster, "apply -f -", &object.to_string());
            let settings = spoke::Settings {
                cluster: (*name).to_owned(),
                namespace: "cofferdam-system".to_owned(),
                pinned: Box::new(|| Ok(pinned())),
                judge: None,
            };
            let (to, local) = (hub.client.clone(), client(cluster).await);
            tasks.push(tokio::spawn(spoke::run(
                spoke::Source::Hub(to),
                local,
                settings,
                watch::Sender::new(None),
            )));
        }
        hub.run();
        Some(Self { hub, clusters, tasks, breaks })
    }

    /// Makes and signs a release that lets one port through.
    fn publish(&self, number: u64, fallback: Ref) -> Ref {
        let policy = json!({
            "apiVersion": "networking.k8s.io/v1", "kind": "NetworkPolicy", "metadata": { "name": "db", "namespace": "shop" },
            "spec": { "podSelector": {}, "ingress": [{ "ports": [{ "port": 5000 + number }] }] },
        });
        let header = Header { number, fallback: Some(fallback), rollback_to: None };
        let release = Release::build(header, &[policy]).unwrap().0;
        let object = release_object(&release, &Envelope::seal(&release, &[key()]));
        kubectl(&self.hub.cluster, "apply --server-side -f -", &object.to_string());
        release.reference()
    }

    fn roll_out(&self, name: &str, release: &Ref, fallback: &Ref) {
        let mut object = rollout(name, "real", [release.number, fallback.number], &NAMES);
        let more = json!({ "release": release, "fallback": fallback, "silenceSeconds": 120 });
        for (field, value) in more.as_object().unwrap() {
            object["spec"][field] = value.clone();
        }
        kubectl(&self.hub.cluster, "apply -f -", &object.to_string());
    }

    /// The port that each cluster's own policy lets through.
    async fn have(&self, expected: [&str; 2]) {
        let end = Instant::now() + hub::PATIENCE;
        let ask = "get networkpolicy -n shop -o jsonpath={.items[*].spec.ingress[0].ports[0].port}";
        loop {
            let ports = self.clusters.each_ref().map(|it| kubectl(it, ask, ""));
            if ports == expected {
                return;
            }
            assert!(Instant::now() < end, "{ports:?} and not {expected:?}");
            sleep(Duration::from_millis(200)).await;
        }
    }
}

/// Puts into what clusters say of themselves what their nodes would have seen.
async fn see(hub: Client, breaks: Arc<Mutex<Vec<u64>>>) {
    let api = objects(&hub, "ManagedCluster");
    loop {
        sleep(Duration::from_millis(100)).await;
        for name in NAMES {
            let Ok(found) = api.get(name).await else { continue };
            let status = found.data.get("status").and_then(|it| ClusterStatus::deserialize(it).ok());
            let Some(status) = status else { continue };
            let has = Wanted { enforce: status.enforced, shadow: status.shadow };
            let evidence = hub::evidence(&has, &breaks.lock().unwrap().clone());
            let patch = json!({
                "apiVersion": API_VERSION, "kind": "ManagedCluster",
                // Of what it said meanwhile, this is not evidence.
                "metadata": { "name": name, "resourceVersion": found.metadata.resource_version },
                "status": { "evidence": evidence },
            });
            // What is applied of a status is all of it.
            let params = PatchParams::default();
            let _it_spoke_meanwhile = api.patch_status(name, &params, &Patch::Merge(&patch)).await;
        }
    }
}

fn want(hub: &Hub, name: &str, release: &Ref) {
    let patch: Value = json!({ "spec": { "wanted": { "enforce": release } } });
    kubectl(&hub.cluster, &format!("patch managedcluster {name} --type=merge -p {patch}"), "");
}

#[tokio::test]
async fn cluster_signed_releases_reach_the_policies_of_two_clusters_and_leave_them_again() {
    let Some(fleet) = Fleet::start().await else { return };
    let hub = &fleet.hub;
    let seven = fleet.publish(7, Ref::nothing());
    NAMES.iter().for_each(|name| want(hub, name, &seven));
    fleet.have(["5007", "5007"]).await;

    // What would break a flow stays where it is judged without effect.
    fleet.breaks.lock().unwrap().push(8);
    let eight = fleet.publish(8, seven.clone());
    fleet.roll_out("eight", &eight, &seven);
    let status = hub.waits("eight", "dev: 37 would be denied that are not accepted").await;
    assert_eq!(status.stages[0].numbers.denials, 37);
    fleet.have(["5007", "5007"]).await;
    hub.ask("eight", Verb::Abort).await;
    hub.condition("eight", "RolledBack").await;

    // What is mended goes everywhere, stage by stage.
    let nine = fleet.publish(9, seven.clone());
    fleet.roll_out("nine", &nine, &seven);
    let status = hub.condition("nine", "Done").await;
    use Word::*;
    assert_eq!(words(&status), [Began, Promoted, Settled, Began, Promoted, Settled, Finished]);
    fleet.have(["5009", "5009"]).await;

    // What is forced and breaks a flow leaves by itself, and never got to the next stage.
    fleet.breaks.lock().unwrap().push(10);
    let ten = fleet.publish(10, nine.clone());
    fleet.roll_out("ten", &ten, &nine);
    hub.waits("ten", "dev: 37 would be denied that are not accepted").await;
    hub.ask("ten", Verb::Promote).await;
    let status = hub.condition("ten", "RolledBack").await;
    assert_eq!(words(&status), [Began, Forced, RollsBack, RolledBack]);
    fleet.have(["5009", "5009"]).await;
}
