//! From a pod of one cluster to what the controller of another publishes of it: a hub and two clusters, three real API servers, with
//! both sharers and the importing controller as they run.
//!
//! Measured: seconds from the first list until all exported pods are known elsewhere; and for changes of an address, one after the other,
//! seconds from the request that makes the change to its publication.

use crate::{beside, client, kubectl, rounded};
use anyhow::{Context, Result, bail};
use apiserver::Cluster;
use controller::lease::Role;
use feed::server::Feed;
use feed::{Digest, Key};
use futures_util::{StreamExt, TryStreamExt, stream};
use k8s_openapi::api::core::v1::Pod;
use kube::Api;
use kube::api::{Patch, PatchParams, PostParams};
use serde_json::{Value, json};
use spoke::identity::{Shared, Sharing, share};
use std::sync::Arc;
use std::time::{Duration, Instant};
use tokio::sync::watch;
use tokio::task::JoinSet;
use tokio::time::sleep;

/// Of a hundred changes 99 are known in less than so many seconds.
const AIM: f64 = 2.0;
const PATIENCE: Duration = Duration::from_secs(600);
/// Pods that are made at a time.
const AT_ONCE: usize = 16;
/// Of Cofferdam's own objects.
const OWN: &str = "cofferdam-system";

/// `pods`: exported; `changes`: how many of them change.
pub(crate) async fn run([pods, changes]: [usize; 2]) -> Result<Value> {
    let (hub, west, east) = (Cluster::start()?, Cluster::start()?, Cluster::start()?);
    for cluster in [&hub, &east] {
        kubectl(cluster, "apply --server-side -f -", &fleet::hub::identity_slice().to_string())?;
        kubectl(cluster, "wait --for=condition=Established crd --all --timeout=60s", "")?;
        kubectl(cluster, &format!("create namespace {OWN}"), "")?;
    }
    for (cluster, namespace) in [(&hub, "west"), (&hub, "east"), (&west, "ml"), (&east, "ml")] {
        kubectl(cluster, &format!("create namespace {namespace}"), "")?;
    }
    let (feed, status) = (Feed::default(), watch::Sender::default());
    let catalog = watch::channel(Arc::new(compiler::built_in_catalog().clone())).1;
    let mut tasks = JoinSet::new();
    let leads = watch::channel(Role::Leads).1;
    tasks.spawn(controller::write::run(client(&east).await?, feed.clone(), status.subscribe(), leads));
    let reads = controller::Reads { elsewhere: Some(OWN.to_owned()), ..Default::default() };
    tasks.spawn(controller::run(client(&east).await?, feed.clone(), catalog, status, reads, None));

    let api: Api<Pod> = Api::namespaced(client(&west).await?, "ml");
    let began = Instant::now();
    let made = stream::iter(0..pods).map(|number| {
        let api = api.clone();
        async move { make(&api, number).await }
    });
    made.buffer_unordered(AT_ONCE).try_collect::<Vec<()>>().await?;
    let made = began.elapsed();
    kubectl(&west, "label namespace ml cofferdam.dev/export=identities", "")?;
    kubectl(&east, "label namespace ml import.cofferdam.dev/west=identities", "")?;
    let began = Instant::now();
    for (name, cluster) in [("west", &west), ("east", &east)] {
        let expire_after = spoke::identity::EXPIRE_AFTER;
        let sharing = Sharing { cluster: name.to_owned(), namespace: OWN.to_owned(), expire_after };
        let shared = watch::Sender::new(Shared::default());
        tasks.spawn(share(client(&hub).await?, client(cluster).await?, sharing, shared));
    }
    while known(&feed) < pods {
        if began.elapsed() > PATIENCE {
            bail!("{} of {pods} pods are known", known(&feed));
        }
        sleep(Duration::from_millis(20)).await;
    }
    let first = began.elapsed();
    let mut took = Vec::with_capacity(changes);
    for round in 0..changes {
        // A prime: all over the slices.
        let name = format!("p{}", round * 7919 % pods);
        let before = told(&feed, &name);
        let at = Instant::now();
        set_address(&api, &name, &format!("10.200.{}.{}", round / 250, 1 + round % 250)).await?;
        loop {
            let now = told(&feed, &name);
            if now.is_some() && now != before {
                break;
            }
            if at.elapsed() > PATIENCE {
                bail!("a change of {name} is not known");
            }
            sleep(Duration::from_millis(2)).await;
        }
        took.push(at.elapsed());
    }
    took.sort_unstable();
    let of = |percent: usize| -> Result<f64> {
        let at = (took.len() * percent).div_ceil(100).saturating_sub(1);
        let found = took.get(at).context("nothing was changed")?;
        Ok((found.as_secs_f64() * 1000.0).round() / 1000.0)
    };
    Ok(json!({
        "pods": pods, "changes": changes, "seconds_to_make": rounded(made.as_secs_f64()),
        "seconds_until_all_known": rounded(first.as_secs_f64()),
        "seconds_of_a_change": { "median": of(50)?, "p99": beside(of(99)?, AIM), "most": of(100)? },
    }))
}

/// Pods of west that the importing cluster publishes.
fn known(feed: &Feed) -> usize {
    let of_west = |key: &&Key| &*key.namespace == "ml@west";
    feed.current().map_or(0, |it| it.parts.resources.keys().filter(of_west).count())
}

/// What it publishes of one.
fn told(feed: &Feed, name: &str) -> Option<Digest> {
    let key = Key::pod(&"ml@west".into(), &name.into());
    feed.current()?.parts.resources.get(&key).map(|encoded| encoded.digest)
}

async fn make(api: &Api<Pod>, number: usize) -> Result<()> {
    let name = format!("p{number}");
    let pod = json!({
        "apiVersion": "v1", "kind": "Pod",
        "metadata": { "name": name, "labels": { "app": "train" } },
        "spec": { "containers": [{ "name": "c", "image": "i" }] },
    });
    api.create(&PostParams::default(), &serde_json::from_value(pod)?).await?;
    let address = format!("10.{}.{}.{}", 100 + number / 62_500, number / 250 % 250, 1 + number % 250);
    set_address(api, &name, &address).await
}

async fn set_address(api: &Api<Pod>, name: &str, address: &str) -> Result<()> {
    let status = json!({ "status": { "phase": "Running", "podIP": address, "podIPs": [{ "ip": address }] } });
    api.patch_status(name, &PatchParams::default(), &Patch::Merge(&status)).await?;
    Ok(())
}
