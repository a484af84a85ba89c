//! From a rollout at a hub to a release in force on many clusters: a real API server as the hub, `cofferdam rollouts` as it runs,
//! the spokes as they run, each with a cluster's API server in memory. Prints one JSON object.
//!
//! Measured: seconds from the request that writes a Rollout of one stage, whose gate asks for nothing, until the last cluster has told
//! the hub that it enforces the release and has all of its policies in effect, which is then read back at the hub; requests for objects of
//! the fleet that the hub answered in that time, by its own count; and, with three real API servers, how long a change of a pod takes
//! from one cluster to what the controller of another publishes ([`identities`]). Each beside what is aimed at.

mod identities;
mod local;

use anyhow::{Context, Result, bail};
use apiserver::Cluster;
use clap::Parser;
use fleet::hub::{API_VERSION, ClusterStatus, definitions, release_object};
use fleet::{Envelope, Header, Pinned, Ref, Release, SigningKey};
use kube::config::{KubeConfigOptions, Kubeconfig};
use kube::{Client, Config};
use serde_json::{Value, json};
use spoke::Source;
use std::collections::BTreeMap;
use std::io::Write;
use std::time::{Duration, Instant};
use tokio::sync::watch;
use tokio::task::JoinSet;

/// For how long it is counted what the hub is asked while nothing changes.
const IDLE: Duration = Duration::from_secs(60);
const PATIENCE: Duration = Duration::from_secs(300);
/// Before each rollout.
const REST: Duration = Duration::from_secs(5);

/// Every so manyeth cluster is one of the few.
const FEW: usize = 10;

/// Sizes of a run.
struct Size {
    clusters: usize,
    /// Exported pods, and how many of them change, one after the other.
    identities: [usize; 2],
    /// Policies of each release, one after the other, and whether it is for all clusters or a few.
    releases: &'static [(usize, Who)],
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Who {
    All,
    Few,
}

impl Who {
    fn has(self, number: usize) -> bool {
        match self {
            Self::All => true,
            Self::Few => number.is_multiple_of(FEW),
        }
    }
}

// For a few last: what the others have then, the next release could not fall back to.
const FULL: Size = Size {
    clusters: 200,
    identities: [10_000, 200],
    releases: &[
        (10, Who::All),
        (10, Who::All),
        (50, Who::All),
        (50, Who::All),
        (150, Who::All),
        (150, Who::All),
        (50, Who::Few),
    ],
};
const QUICK: Size = Size {
    clusters: 20,
    identities: [500, 100],
    releases: &[(10, Who::All), (100, Who::All), (10, Who::Few)],
};

/// A release is in effect on 200 clusters in less than so many seconds.
const AIM: f64 = 10.0;

type Said = watch::Receiver<Option<ClusterStatus>>;

/// Measure how long a release takes from a rollout at a hub into force on many clusters, and how much the hub is asked
///
/// The hub is a real kube-apiserver, which tests/apiserver/build builds; the clusters' API servers are in memory. One JSON object goes
/// to standard output.
#[derive(Parser, Debug)]
#[command(after_help = "Example:
  tests/apiserver/build && cargo run --release -p bench-fleet -- --quick")]
struct Args {
    /// 20 clusters and 3 releases instead of 200 and 7, and 500 pods instead of 10,000, to see that it works
    #[arg(long)]
    quick: bool,
    /// Only releases, or only pods
    #[arg(long, value_enum)]
    only: Option<Part>,
}

/// A part of what is measured.
#[derive(clap::ValueEnum, Clone, Copy, Debug, PartialEq, Eq)]
enum Part {
    /// From a rollout to a release in effect
    Releases,
    /// From a pod to what another cluster knows of it
    Identities,
}

fn main() -> Result<()> {
    let Args { quick, only } = Args::parse();
    let size = if quick { QUICK } else { FULL };
    let runtime =
        tokio::runtime::Builder::new_multi_thread().enable_all().build().context("starting a runtime")?;
    let report = runtime.block_on(async {
        let machine = bench_machine::describe();
        let fleet = match only {
            Some(Part::Identities) => None,
            Some(Part::Releases) | None => Some(run(&size).await.context("releases")?),
        };
        let identities = match only {
            Some(Part::Releases) => None,
            Some(Part::Identities) | None => {
                Some(identities::run(size.identities).await.context("identities")?)
            }
        };
        anyhow::Ok(json!({ "machine": machine, "fleet": fleet, "identities": identities }))
    })?;
    writeln!(std::io::stdout(), "{report:#}").context("printing")
}

/// What was measured beside what is aimed at: 1 is the aim, less is better.
fn beside(measured: f64, aim: f64) -> Value {
    json!({ "aim": aim, "measured": measured, "of_aim": rounded(measured / aim), "is_met": measured < aim })
}

fn rounded(number: f64) -> f64 {
    (number * 100.0).round() / 100.0
}

async fn run(size: &Size) -> Result<Value> {
    let hub = Cluster::start()?;
    let list = json!({ "apiVersion": "v1", "kind": "List", "items": definitions() });
    kubectl(&hub, "apply --server-side -f -", &list.to_string())?;
    kubectl(&hub, "wait --for=condition=Established crd --all --timeout=60s", "")?;
    let items: Vec<Value> = (0..size.clusters).map(managed).collect();
    let list = json!({ "apiVersion": "v1", "kind": "List", "items": items });
    kubectl(&hub, "apply --server-side -f -", &list.to_string())?;

    let key = key()?;
    let (mut tasks, mut said) = (JoinSet::new(), Vec::new());
    for number in 0..size.clusters {
        let sender = watch::Sender::new(None);
        said.push(sender.subscribe());
        let pinned = pinned(&key)?;
        let settings = spoke::Settings {
            cluster: name(number),
            namespace: "cofferdam-system".to_owned(),
            pinned: Box::new(move || Ok(pinned.clone())),
            judge: None,
        };
        // Each has connections of its own, as each is a cluster of its own.
        tasks.spawn(spoke::run(Source::Hub(client(&hub).await?), local::client(), settings, sender));
    }
    tasks.spawn(rollouts::run(client(&hub).await?, |_| ()));
    until(&said, Instant::now(), |status| status.problems.is_empty()).await.context("the spokes begin")?;

    let (mut before, mut releases, mut number) = (Ref::nothing(), Vec::new(), 0);
    for (policies, who) in size.releases {
        number += 1;
        let release = release(number, *policies, &before)?;
        let object = release_object(&release, &Envelope::seal(&release, std::slice::from_ref(&key)));
        kubectl(&hub, "apply --server-side -f -", &object.to_string())?;
        // What the last one made for is over.
        tokio::time::sleep(REST).await;
        let wanted = release.reference();
        let concerned: Vec<Said> =
            said.iter().enumerate().filter(|(at, _)| who.has(*at)).map(|(_, it)| it.clone()).collect();
        let asked = asked(&hub)?;
        let began = Instant::now();
        kubectl(&hub, "apply --server-side -f -", &rollout(&wanted, &before, *who).to_string())?;
        let effective = |status: &ClusterStatus| {
            let has_all = status.effective.policies == *policies as u64;
            status.enforced == wanted && has_all && status.problems.is_empty()
        };
        let came = until(&concerned, began, effective).await.with_context(|| format!("release {number}"))?;
        let more = more(&asked, &self::asked(&hub)?);
        let at_hub = at_hub(&hub, number, *policies)?;
        if at_hub != concerned.len() {
            bail!(
                "release {number}: {} clusters said that they have it, and the hub has {at_hub}",
                concerned.len()
            );
        }
        let last = came.last().copied().unwrap_or_default();
        releases.push(json!({
            "policies": policies, "clusters": concerned.len(), "seconds_to_half": came.get(came.len() / 2),
            "seconds_to_all": beside(last, AIM), "hub_requests": more,
        }));
        before = wanted;
    }
    tokio::time::sleep(REST).await;
    let asked = asked(&hub)?;
    tokio::time::sleep(IDLE).await;
    let idle = more(&asked, &self::asked(&hub)?);
    Ok(json!({ "clusters": size.clusters, "releases": releases, "hub_requests_in_an_idle_minute": idle }))
}

/// Clusters of which the hub itself has that they enforce a release and have so many policies in effect, the same ones.
fn at_hub(hub: &Cluster, number: u64, policies: usize) -> Result<usize> {
    let columns = "jsonpath={range .items[*]}{.status.enforced.number} {.status.effective.policies} {.status.effective.digest}{\"\\n\"}{end}";
    let text = run_kubectl(hub, &["get", "managedclusters", "-o", columns], "")?;
    let wanted = format!("{number} {policies} ");
    let digests: Vec<&str> = text.lines().filter_map(|line| line.strip_prefix(&wanted)).collect();
    if digests.windows(2).any(|two| two.first() != two.last()) {
        bail!("release {number}: clusters have other policies in effect than others");
    }
    Ok(digests.len())
}

/// Waits until all say so. When each did, in seconds since it began, in order.
async fn until(said: &[Said], began: Instant, is_it: impl Fn(&ClusterStatus) -> bool) -> Result<Vec<f64>> {
    let (mut came, mut left) = (Vec::new(), said.to_vec());
    while !left.is_empty() {
        let since = began.elapsed();
        if since > PATIENCE {
            bail!(
                "{} clusters do not say so, such as {:?}",
                left.len(),
                left.first().map(|it| it.borrow().clone())
            );
        }
        left.retain(|it| {
            let is_so = it.borrow().as_ref().is_some_and(&is_it);
            if is_so {
                came.push(rounded(since.as_secs_f64()));
            }
            !is_so
        });
        tokio::time::sleep(Duration::from_millis(10)).await;
    }
    Ok(came)
}

fn name(number: usize) -> String {
    format!("c{number}")
}

fn managed(number: usize) -> Value {
    let part = if Who::Few.has(number) { "few" } else { "rest" };
    json!({
        "apiVersion": API_VERSION, "kind": "ManagedCluster",
        "metadata": { "name": name(number), "labels": { "env": "bench", "part": part } },
    })
}

fn rollout(release: &Ref, fallback: &Ref, who: Who) -> Value {
    let labels = match who {
        Who::All => json!({ "env": "bench" }),
        Who::Few => json!({ "part": "few" }),
    };
    let stage = json!({
        "name": "one", "clusters": { "matchLabels": labels }, "gate": { "seconds": 0, "flows": 0 }, "holdSeconds": 0,
    });
    json!({
        "apiVersion": API_VERSION, "kind": "Rollout", "metadata": { "name": format!("release-{}", release.number) },
        "spec": { "release": release, "fallback": fallback, "stages": [stage] },
    })
}

fn release(number: u64, policies: usize, fallback: &Ref) -> Result<Release> {
    let policy = |at: usize| {
        json!({
            "apiVersion": "networking.k8s.io/v1", "kind": "NetworkPolicy", "metadata": { "name": format!("p{at}"), "namespace": "shop" },
            "spec": { "podSelector": { "matchLabels": { "app": format!("a{at}") } }, "ingress": [{ "ports": [{ "port": 1000 + number }] }] },
        })
    };
    let values: Vec<Value> = (0..policies).map(policy).collect();
    let header = Header { number, fallback: Some(fallback.clone()), rollback_to: None };
    Ok(Release::build(header, &values)?.0)
}

/// Of bytes that everybody knows.
fn key() -> Result<SigningKey> {
    let head =
        [0x30, 0x2e, 0x02, 0x01, 0x00, 0x30, 0x05, 0x06, 0x03, 0x2b, 0x65, 0x70, 0x04, 0x22, 0x04, 0x20];
    let block = pem::encode(&pem::Pem::new("PRIVATE KEY", [&head[..], &[7; 32]].concat()));
    Ok(SigningKey::from_pem(block.as_bytes())?)
}

fn pinned(key: &SigningKey) -> Result<Pinned> {
    let spki = [0x30, 0x2a, 0x30, 0x05, 0x06, 0x03, 0x2b, 0x65, 0x70, 0x03, 0x21, 0x00];
    let block = pem::encode(&pem::Pem::new("PUBLIC KEY", [&spki[..], &key.public()].concat()));
    let keys = json!({ "apiVersion": API_VERSION, "kind": "ReleaseKeys", "keys": [{ "name": "bench", "public": block }] });
    Ok(Pinned::read("keys", keys.to_string().as_bytes())?)
}

async fn client(hub: &Cluster) -> Result<Client> {
    let file = Kubeconfig::read_from(hub.kubeconfig())?;
    Ok(Client::try_from(Config::from_custom_kubeconfig(file, &KubeConfigOptions::default()).await?)?)
}

fn kubectl(cluster: &Cluster, arguments: &str, input: &str) -> Result<String> {
    run_kubectl(cluster, &arguments.split(' ').collect::<Vec<_>>(), input)
}

fn run_kubectl(cluster: &Cluster, arguments: &[&str], input: &str) -> Result<String> {
    let output = cluster.kubectl(arguments.iter().copied(), input)?;
    if !output.status.success() {
        bail!("kubectl {}: {}", arguments.join(" "), String::from_utf8_lossy(&output.stderr));
    }
    Ok(String::from_utf8_lossy(&output.stdout).into_owned())
}

/// Requests for objects of the fleet that the hub has answered, by what and verb.
fn asked(hub: &Cluster) -> Result<BTreeMap<String, u64>> {
    let mut counts = BTreeMap::new();
    for line in kubectl(hub, "get --raw /metrics", "")?.lines() {
        let Some(labels) = line.strip_prefix("apiserver_request_total{") else { continue };
        let Some((labels, value)) = labels.rsplit_once("} ") else { continue };
        let label = |name: &str| {
            let (_, rest) = labels.split_once(&format!("{name}=\""))?;
            rest.split_once('"').map(|(value, _)| value)
        };
        if label("group") != Some("cofferdam.dev") {
            continue;
        }
        let name = ["resource", "subresource", "verb"].map(|it| label(it).unwrap_or_default()).join(" ");
        // Large ones are written with an exponent.
        let value: f64 = value.trim().parse().context("a count of requests")?;
        *counts.entry(name).or_default() +=
            format!("{value:.0}").parse::<u64>().context("a count of requests")?;
    }
    Ok(counts)
}

fn more(before: &BTreeMap<String, u64>, after: &BTreeMap<String, u64>) -> Value {
    let more = after.iter().filter_map(|(name, count)| {
        let more = count.saturating_sub(before.get(name).copied().unwrap_or_default());
        (more > 0).then(|| (name.clone(), json!(more)))
    });
    Value::Object(more.collect())
}
