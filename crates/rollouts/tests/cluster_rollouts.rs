//! Rollouts on a hub with a real API server: what is decided is what the clusters' numbers say, once, whoever dies meanwhile.

#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    clippy::indexing_slicing,
    missing_docs,
    reason = "in a test a panic is the failure report"
)]

mod hub;
mod real;

use apiserver::Part;
use fleet::hub::release_object;
use fleet::rollout::{Phase, Verb, Word};
use fleet::{Envelope, Header, Ref, Release};
use http::{Method, Request};
use hub::{Hub, client, config, kubectl, refused, rollout, words};
use kube::client::{Body, ClientBuilder};
use serde_json::{Value, json};
use std::future::Future;
use std::pin::Pin;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::task::{Context, Poll};
use std::time::Duration;
use tokio::sync::Notify;
use tower::{Layer, Service};

use Word::*;

/// Releases that differ by a port, and their references written over those of [`hub::reference`].
fn release(number: u64, fallback: Option<Ref>) -> Release {
    let policy = json!({
        "apiVersion": "networking.k8s.io/v1", "kind": "NetworkPolicy", "metadata": { "name": "web", "namespace": "shop" },
        "spec": { "podSelector": {}, "ingress": [{ "ports": [{ "port": 8000 + number }] }] },
    });
    Release::build(Header { number, fallback, rollback_to: None }, &[policy]).unwrap().0
}

/// Puts a release at the hub that falls back to number 7, and a Rollout of it.
fn roll_out(hub: &Hub, name: &str, story: &str, number: u64, stages: &[&str]) {
    let release = release(number, Some(hub::reference(7)));
    let envelope = Envelope::seal(&release, &[]);
    kubectl(&hub.cluster, "apply --server-side -f -", &release_object(&release, &envelope).to_string());
    let mut object = rollout(name, story, [number, 7], stages);
    object["spec"]["release"] = json!(release.reference());
    kubectl(&hub.cluster, "apply -f -", &object.to_string());
}

fn label(env: &str, story: &str) -> Value {
    json!({ "env": env, "story": story })
}

#[tokio::test]
async fn cluster_a_release_goes_as_far_as_the_numbers_allow_and_people_are_heard_once() {
    let Some(mut hub) = Hub::start().await else { return };
    hub.run();
    for name in ["dev-1", "dev-2"] {
        hub.join(name, &label("dev", "a"), 7);
    }
    hub.join("prod-1", &label("prod", "a"), 7);

    // It breaks a flow: the gate holds, with numbers, and nothing is enforced.
    hub.conduct("dev-2", |it| it.breaks = vec![8]);
    roll_out(&hub, "eight", "a", 8, &["dev", "prod"]);
    let says = "dev-2: 37 would be denied that are not accepted, such as shop/Deployment/web to shop/Deployment/db port 5432";
    let status = hub.waits("eight", says).await;
    // Who looks at the whole hub sees the same numbers, and each cluster in its own words.
    let survey = rollouts::survey(&hub.client).await.unwrap();
    let names: Vec<&str> = survey.clusters.iter().map(|it| it.name.as_str()).collect();
    assert_eq!(names, ["dev-1", "dev-2", "prod-1"]);
    let broken = &survey.clusters[1];
    assert_eq!(broken.labels["env"], "dev");
    assert_eq!(broken.status.as_ref().unwrap().enforced.number, 7);
    assert!(broken.unclear.is_none() && broken.silent.is_some_and(|it| it < 60), "{broken:?}");
    let looked = survey.rollouts[0].looked.as_ref().unwrap();
    assert_eq!((survey.rollouts[0].name.as_str(), looked.stages.len()), ("eight", 2));
    assert_eq!((looked.stages[0].numbers.denials, looked.stages[0].numbers.clusters), (37, 2));
    assert!(looked.status.state.waits.iter().any(|it| it == says), "{:?}", looked.status.state.waits);
    assert_eq!((status.phase, status.stages[0].numbers.denials), (Phase::Shadow, 37));
    assert_eq!(hub.wanted("dev-2").await.enforce.number, 7);
    hub.condition("eight", "Held").await;

    // The next one waits for its clusters, and says whose they are.
    roll_out(&hub, "nine", "a", 9, &["dev", "prod"]);
    let status = hub.waits("nine", "dev-1 is of rollout eight (Shadow)").await;
    assert_eq!((status.conditions[0].reason.as_str(), status.phase), ("Refused", Phase::Waiting));
    assert!(hub.ask("eight", Verb::Abort).await.contains(&RollsBack));
    let status = hub.condition("nine", "Done").await;
    assert_eq!(words(&status), [Began, Promoted, Settled, Began, Promoted, Settled, Finished]);
    assert_eq!(status.state.decisions[1].numbers.flows, 10_000);
    for name in ["dev-1", "dev-2", "prod-1"] {
        assert_eq!(hub.wanted(name).await.enforce.number, 9, "{name}");
    }
    let aborted = &hub.status("eight").await.state.decisions;
    assert_eq!(aborted.iter().find(|it| it.what == RollsBack).unwrap().by, "administrator");

    // Who comes now, and would be broken, is held alone; let through all the same, it alone goes back.
    hub.join("dev-3", &label("spare", "a"), 7);
    hub.conduct("dev-3", |it| it.breaks = vec![9]);
    kubectl(&hub.cluster, "label managedclusters.cofferdam.dev dev-3 env=dev --overwrite", "");
    let status = hub.waits("nine", "dev-3: 37 would be denied").await;
    assert_eq!(status.phase, Phase::Done);
    let held = hub.condition("nine", "Held").await;
    assert!(held.conditions.iter().any(|it| it.reason == "LateClusters"), "{held:#?}");
    let (cluster, why) = (Some("dev-3".to_owned()), Some("in a test".to_owned()));
    let asked = rollouts::Asked { verb: Verb::PromoteCluster, stage: None, cluster, why };
    rollouts::ask(&hub.client, "nine", "administrator", &asked).await.unwrap();
    let status = hub.waits("nine", "dev-3 came late and was sent back to release 7").await;
    let late: Vec<Word> = words(&status)[7..].to_vec();
    assert_eq!((status.phase, late), (Phase::Done, vec![Joined, Forced, SentBack]));
    for name in ["dev-1", "dev-2", "prod-1"] {
        assert_eq!(hub.wanted(name).await.enforce.number, 9, "{name}");
    }
}

#[tokio::test]
async fn cluster_what_is_forced_and_breaks_goes_back_and_silence_and_pauses_hold() {
    let Some(mut hub) = Hub::start().await else { return };
    hub.run();
    hub.join("dev-1", &label("dev", "b"), 7);
    hub.join("prod-1", &label("prod", "b"), 7);
    hub.conduct("prod-1", |it| it.breaks = vec![8]);
    roll_out(&hub, "eight", "b", 8, &["dev", "prod"]);
    hub.waits("eight", "prod-1: 37 would be denied").await;

    // Cut off: what it said last counts no more. It hears of it when it is back.
    hub.conduct("dev-1", |it| it.is_cut_off = true);
    hub.conduct("prod-1", |it| it.is_cut_off = true);
    hub.waits("eight", "prod-1 is silent for").await;
    hub.conduct("prod-1", |it| it.is_cut_off = false);
    hub.waits("eight", "prod-1: 37 would be denied").await;

    // Paused it is not forced, in whatever way it is paused; and who is told to go on with another stage does nothing.
    kubectl(
        &hub.cluster,
        "patch rollouts.cofferdam.dev eight --type=merge -p {\"spec\":{\"paused\":true}}",
        "",
    );
    hub.waits("eight", "paused by spec.paused").await;
    assert_eq!(hub.ask("eight", Verb::Promote).await, [NotDone]);
    kubectl(
        &hub.cluster,
        "patch rollouts.cofferdam.dev eight --type=merge -p {\"spec\":{\"paused\":false}}",
        "",
    );
    hub.until("resumed", "eight", |it| it.state.paused.is_none()).await;
    assert!(hub.ask("eight", Verb::Promote).await.contains(&Forced));

    // It denies what worked: back by itself, also where a cluster is cut off and only hears of it later.
    let status = hub.until("going back", "eight", |it| it.phase == Phase::RollingBack).await;
    let decision = status.state.decisions.iter().find(|it| it.what == RollsBack).unwrap();
    assert!(
        decision.why.contains("prod-1 denies 37 flows that worked before, and 20 are too many"),
        "{decision:?}"
    );
    assert_eq!(decision.by, "");
    // What was decided is written before it is acted on.
    let told = async {
        while hub.wanted("prod-1").await.enforce.number != 7 {
            tokio::time::sleep(Duration::from_millis(50)).await;
        }
    };
    tokio::time::timeout(hub::PATIENCE, told).await.expect("prod-1 is told to go back");
    hub.waits("eight", "dev-1 is not back yet").await;
    hub.conduct("dev-1", |it| it.is_cut_off = false);
    let status = hub.condition("eight", "RolledBack").await;
    assert_eq!(hub.wanted("dev-1").await.enforce.number, 7);
    let forced = status.state.decisions.iter().find(|it| it.what == Forced).unwrap();
    assert!(forced.by == "administrator" && forced.why.contains("37 would be denied"), "{forced:?}");
    assert_eq!(hub.ask("eight", Verb::Promote).await, [NotDone]);
}

#[tokio::test]
async fn cluster_what_cannot_be_meant_is_refused_where_it_is_written_or_said() {
    let Some(mut hub) = Hub::start().await else { return };
    hub.run();
    hub.join("dev-1", &label("dev", "c"), 7);

    // No release, and then another than was signed.
    let object = rollout("ten", "c", [10, 7], &["dev", "prod"]);
    kubectl(&hub.cluster, "apply -f -", &object.to_string());
    let status = hub.waits("ten", "the hub has no release-10").await;
    assert!(status.conditions[0].reason == "Refused", "{status:?}");
    let published =
        release_object(&release(10, Some(hub::reference(6))), &Envelope::seal(&release(10, None), &[]));
    kubectl(&hub.cluster, "apply --server-side -f -", &published.to_string());
    hub.waits("ten", "release-10 at the hub is release 10").await;

    // One that nobody can begin keeps nobody else from it; a stage that selects nobody is said.
    roll_out(&hub, "eleven", "c", 11, &["dev", "prod"]);
    let status = hub.waits("eleven", "the stage selects no cluster; promote it to pass over it").await;
    assert!(status.conditions[0].message.contains("no cluster has the labels of stage prod"), "{status:#?}");
    assert_eq!((status.stage.as_str(), status.phase), ("prod", Phase::Waiting));
    assert!(hub.ask("eleven", Verb::Promote).await.contains(&Skipped));
    hub.condition("eleven", "Done").await;

    // What makes no sense, in the object's own words.
    for (change, says) in [
        (json!({ "stages": [] }), "spec.stages"),
        (json!({ "release": hub::reference(12) }), "release never changes; make another Rollout"),
        (json!({ "fallback": null }), "fallback never changes; make another Rollout"),
        (json!({ "stages": [object["spec"]["stages"][0]] }), "stages never changes; make another Rollout"),
        (json!({ "spike": 0 }), "spec.spike"),
        (
            json!({ "commands": [{ "id": 9, "by": "mallory", "verb": "Abort" }] }),
            "a new command must be in the name of whoever writes it, administrator",
        ),
    ] {
        let patch = json!({ "spec": change }).to_string().replace(' ', "");
        let said =
            refused(&hub.cluster, &format!("patch rollouts.cofferdam.dev ten --type=merge -p {patch}"), "");
        assert!(said.contains(says), "{patch}: {said}");
    }
    kubectl(
        &hub.cluster,
        "patch rollouts.cofferdam.dev ten --type=merge -p {\"spec\":{\"accepted\":[{}]}}",
        "",
    );
    let is_invalid = |it: &fleet::hub::RolloutStatus| it.conditions[0].reason == "Invalid";
    let status = hub.until("invalid", "ten", |it| !it.conditions.is_empty() && is_invalid(it)).await;
    assert!(status.conditions[0].message.contains("spec.accepted[0]: it accepts every denial"), "{status:?}");
}

/// Ends whoever writes, at once after it has written so many times.
#[derive(Clone)]
struct Fuse {
    left: Arc<AtomicUsize>,
    blown: Arc<Notify>,
}

struct Fused<S>(S, Fuse);

impl<S> Layer<S> for Fuse {
    type Service = Fused<S>;

    fn layer(&self, inner: S) -> Fused<S> {
        Fused(inner, self.clone())
    }
}

impl<S> Service<Request<Body>> for Fused<S>
where
    S: Service<Request<Body>>,
    S::Future: Send + 'static,
    S::Response: Send,
    S::Error: Send,
{
    type Response = S::Response;
    type Error = S::Error;
    type Future = Pin<Box<dyn Future<Output = Result<S::Response, S::Error>> + Send>>;

    fn poll_ready(&mut self, context: &mut Context<'_>) -> Poll<Result<(), S::Error>> {
        self.0.poll_ready(context)
    }

    fn call(&mut self, request: Request<Body>) -> Self::Future {
        let writes = request.method() != Method::GET;
        let (answer, fuse) = (self.0.call(request), self.1.clone());
        Box::pin(async move {
            let answer = answer.await;
            if writes && fuse.left.fetch_sub(1, Ordering::Relaxed) <= 1 {
                fuse.blown.notify_one();
                std::future::pending::<()>().await;
            }
            answer
        })
    }
}

/// Runs rollouts for lives of one write and of two, until one stands so. How many lives that took.
async fn lives(hub: &Hub, name: &str, end: Phase) -> usize {
    let mut kills = 0;
    while hub.status(name).await.phase != end {
        // An order comes after the state was written, changed or not: who always dies at its first write gives none.
        let fuse = Fuse { left: Arc::new(AtomicUsize::new(1 + kills % 2)), blown: Arc::default() };
        let fused = ClientBuilder::try_from(config(&hub.cluster).await).unwrap().with_layer(&fuse).build();
        let life = tokio::spawn(rollouts::run(fused, |_| ()));
        let died = tokio::time::timeout(hub::PATIENCE, fuse.blown.notified()).await;
        life.abort();
        // The last life may need fewer writes than it has.
        let status = hub.status(name).await;
        assert!(died.is_ok() || status.phase == end, "nothing is written any more: {status:#?}");
        kills += 1;
        assert!(kills < 200, "it does not end: {:#?}", hub.status(name).await);
    }
    kills
}

#[tokio::test]
async fn cluster_killed_again_and_again_between_its_writes_it_comes_to_the_same_end() {
    let Some(mut hub) = Hub::start().await else { return };
    for name in ["dev-1", "dev-2"] {
        hub.join(name, &label("dev", "d"), 7);
    }
    hub.join("prod-1", &label("prod", "d"), 7);
    roll_out(&hub, "eight", "d", 8, &["dev", "prod"]);
    let kills = lives(&hub, "eight", Phase::Done).await;
    let status = hub.status("eight").await;
    assert_eq!(words(&status), [Began, Promoted, Settled, Began, Promoted, Settled, Finished]);
    for name in ["dev-1", "dev-2", "prod-1"] {
        assert_eq!(hub.wanted(name).await.enforce.number, 8, "{name}");
    }
    // Each of seven decisions, and of two orders for each of three clusters, was the last act of some life, or but one.
    assert!(kills >= 7, "{kills}");

    // Two at once do no harm, and neither does one that dies while the hub is away: what was wanted stays.
    let (first, second) = (hub.run(), hub.run());
    hub.conduct("prod-1", |it| it.breaks = vec![9]);
    let nine = release(9, Some(release(8, Some(hub::reference(7))).reference()));
    let sealed = Envelope::seal(&nine, &[]);
    kubectl(&hub.cluster, "apply --server-side -f -", &release_object(&nine, &sealed).to_string());
    let mut object = rollout("nine", "d", [9, 8], &["dev", "prod"]);
    object["spec"]["release"] = json!(nine.reference());
    object["spec"]["fallback"] = json!(nine.header().fallback);
    kubectl(&hub.cluster, "apply -f -", &object.to_string());
    let status = hub.waits("nine", "prod-1: 37 would be denied").await;
    assert_eq!(words(&status), [Began, Promoted, Settled, Began]);
    let left = hub.status("eight").await;
    assert!(words(&left)[7..].iter().all(|it| *it == Left) && left.state.members.is_empty(), "{left:#?}");
    hub.cluster.kill_part(Part::Api).unwrap();
    hub.kill(first);
    tokio::time::sleep(Duration::from_secs(4)).await;
    hub.cluster.start_part(Part::Api).unwrap();
    hub.client = client(&hub.cluster).await;
    hub.conduct("prod-1", |it| it.breaks.clear());
    let status = hub.condition("nine", "Done").await;
    assert_eq!(words(&status), [Began, Promoted, Settled, Began, Promoted, Settled, Finished]);
    for name in ["dev-1", "dev-2", "prod-1"] {
        assert_eq!(hub.wanted(name).await.enforce.number, 9, "{name}");
    }

    // Back, from life to life.
    hub.kill(second);
    let asked = rollouts::Asked { verb: Verb::Abort, stage: None, cluster: None, why: None };
    rollouts::ask(&hub.client, "nine", "administrator", &asked).await.unwrap();
    // Orders to all three may be given at once: what is decided, these, and that they are back.
    assert!(lives(&hub, "nine", Phase::RolledBack).await >= 3);
    assert_eq!(words(&hub.status("nine").await)[7..], [RollsBack, RolledBack]);
    for name in ["dev-1", "dev-2", "prod-1"] {
        assert_eq!(hub.wanted(name).await.enforce.number, 8, "{name}");
    }
}
