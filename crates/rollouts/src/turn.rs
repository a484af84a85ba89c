//! One look at every rollout, and what follows from it.
//!
//! Enters: the board. Leaves: statuses and orders at the hub, decisions for whoever listens. Guarantees: orders are given only when
//! the state that they follow from is written, and over the cluster's object as it was seen. Does not: wait for clusters.

use crate::board::{Board, Held, read};
use crate::{BEAT, News, Refusal, clusters, patiently, releases, rollouts};
use fleet::Envelope;
use fleet::hub::{
    API_VERSION, Accepted, Contender, Drift, RolloutSpec, RolloutStatus, Share, release_name, share,
};
use fleet::rollout::{Action, Plan, Seen, StageView, State, Wanted, look, step};
use futures_util::future::join_all;
use k8s_openapi::jiff::Timestamp;
use kube::Client;
use kube::api::{DynamicObject, Patch, PatchParams, PostParams, TypeMeta};
use serde_json::{Value, json};
use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;
use tokio::time::Instant;

/// Whose fields `spec.wanted` of a cluster is.
const MANAGER: &str = "cofferdam-rollouts";
/// Orders before it is looked how things stand now.
const ROUND: usize = 200;
/// Orders that are given at a time: each is of another cluster, and the hub takes several in the time of one.
const AT_ONCE: usize = 8;
/// How long the hub's answer about a release counts, where the rollout has not begun.
const AGAIN: Duration = BEAT;
/// A status with new numbers and nothing else is written at most this often, and less often the more clusters are in it.
const NUMBERS: Duration = Duration::from_secs(1);
/// So many clusters more make it a second less often.
const CLUSTERS_PER_SECOND: u64 = 200;

pub(crate) struct Turn {
    hub: Client,
    /// Whether the hub has the release that is meant, by the rollout's uid.
    releases: BTreeMap<String, (Instant, Result<(), String>)>,
    /// When its status was written last.
    written: BTreeMap<String, Instant>,
    /// What was told last of what is wrong with each object.
    told: BTreeMap<String, String>,
}

/// A rollout that is understood.
struct Ready {
    spec: RolloutSpec,
    plan: Plan,
    before: RolloutStatus,
}

impl Turn {
    pub(crate) fn new(hub: Client) -> Self {
        Self { hub, releases: BTreeMap::new(), written: BTreeMap::new(), told: BTreeMap::new() }
    }

    /// Looks at each rollout once. After how long it is to look again.
    ///
    /// # Errors
    /// The hub does not answer, or lets something not be done.
    pub(crate) async fn take(
        &mut self,
        board: &mut Board,
        now: u64,
        tell: &(impl Fn(News) + Send + Sync),
    ) -> Result<Duration, String> {
        let (mut ready, mut refused) = (BTreeMap::new(), BTreeMap::new());
        for (name, held) in board.rollouts.clone() {
            match understood(&held) {
                Ok(it) => drop(ready.insert(name, it)),
                Err(wrong) => self.invalid(board, &name, wrong, tell).await?,
            }
        }
        for (name, it) in ready.iter().filter(|(_, it)| !it.before.state.has_begun()) {
            if let Err(problem) = self.release(board, name, &it.spec).await? {
                refused.insert(name.clone(), problem);
            }
        }
        let mut shares = None;
        let mut left = ROUND;
        for name in ready.keys().cloned().collect::<Vec<_>>() {
            // Whoever took a step may have taken clusters, or let them go.
            let mine = shares.get_or_insert_with(|| shared(board, &ready, &refused)).remove(&name);
            let Some(it) = ready.get_mut(&name) else { continue };
            let mut mine = mine.unwrap_or_default();
            mine.refused.extend(refused.get(&name).cloned());
            let stepped = Stepped::of(it, board, &mine, now);
            let has_changed = stepped.state.differs_from(&it.before.state);
            let Some(after) = self.write(board, &name, it, &stepped, tell).await? else { continue };
            it.before = after;
            if has_changed {
                shares = None;
            }
            let orders = stepped.orders.get(..left).unwrap_or(&stepped.orders);
            left -= orders.len();
            for few in orders.chunks(AT_ONCE) {
                self.order(board, few, now, tell).await?;
            }
            if orders.len() < stepped.orders.len() {
                return Ok(Duration::ZERO);
            }
        }
        let uids: Vec<String> =
            board.rollouts.values().filter_map(|it| it.object.metadata.uid.clone()).collect();
        self.releases.retain(|uid, _| uids.contains(uid));
        self.written.retain(|uid, _| uids.contains(uid));
        let clusters: BTreeSet<String> = board.clusters.keys().map(|name| of_cluster(name)).collect();
        self.told.retain(|name, _| board.rollouts.contains_key(name) || clusters.contains(name));
        Ok(BEAT)
    }

    /// What is no plan stays as it is; it is said why.
    async fn invalid(
        &mut self,
        board: &mut Board,
        name: &str,
        wrong: Vec<String>,
        tell: &(impl Fn(News) + Send + Sync),
    ) -> Result<(), String> {
        self.say(name, format!("rollout {name}: {}", wrong.join("; ")), tell);
        // A status that is not understood may be that of a newer version: it is not written over.
        let Some(held) = board.rollouts.get(name) else { return Ok(()) };
        let Ok(before) = held.status.clone() else { return Ok(()) };
        let generation = held.object.metadata.generation.unwrap_or_default();
        let stages = (before.state.clone(), &[][..]);
        let next = RolloutStatus {
            stages: before.stages.clone(),
            stage: before.stage.clone(),
            ..RolloutStatus::next(&before, stages, &Accepted::Invalid(wrong), generation, &stamp())
        };
        if next != before {
            self.put(board, name, &next, tell).await?;
        }
        Ok(())
    }

    /// Tells a problem of one object, once.
    fn say(&mut self, of: &str, problem: String, tell: &(impl Fn(News) + Send + Sync)) {
        if self.told.get(of) != Some(&problem) {
            tell(News::Unfit(problem.clone()));
            self.told.insert(of.to_owned(), problem);
        }
    }

    /// Whether the hub has the release that is meant.
    async fn release(
        &mut self,
        board: &Board,
        name: &str,
        spec: &RolloutSpec,
    ) -> Result<Result<(), String>, String> {
        let uid = board.rollouts.get(name).and_then(|it| it.object.metadata.uid.clone()).unwrap_or_default();
        if let Some((_, said)) = self.releases.get(&uid).filter(|(at, _)| at.elapsed() < AGAIN) {
            return Ok(said.clone());
        }
        let object = release_name(&spec.release);
        let said = match patiently(releases(&self.hub).get(&object)).await {
            Ok(found) => envelope(&found).and_then(|envelope| spec.agrees_with(&envelope)),
            Err(Refusal::Stale) => Err(format!(
                "the hub has no {object}: `cofferdam release object FILE | kubectl apply --server-side -f -`"
            )),
            Err(Refusal::Invalid(problem) | Refusal::Problem(problem)) => {
                return Err(format!("asking for {object}: {problem}"));
            }
        };
        self.releases.insert(uid, (Instant::now(), said.clone()));
        Ok(said)
    }

    /// Writes how a rollout stands after its step, and tells what was decided. `None`: it is no longer what the step went by.
    async fn write(
        &mut self,
        board: &mut Board,
        name: &str,
        it: &Ready,
        stepped: &Stepped,
        tell: &(impl Fn(News) + Send + Sync),
    ) -> Result<Option<RolloutStatus>, String> {
        let Some(held) = board.rollouts.get(name) else { return Ok(None) };
        let uid = held.object.metadata.uid.clone().unwrap_or_default();
        let generation = held.object.metadata.generation.unwrap_or_default();
        let accepted = match stepped.refused.as_slice() {
            [] => Accepted::Yes,
            refused => Accepted::Refused(refused.to_vec()),
        };
        let stages = (stepped.state.clone(), stepped.stages.as_slice());
        let next = RolloutStatus::next(&it.before, stages, &accepted, generation, &stamp());
        // Where nothing is new but an order is still to be given, that the state is the newest is seen by writing it again.
        let is_due = !stepped.orders.is_empty()
            || next.state.differs_from(&it.before.state)
            || next.observed_generation != it.before.observed_generation
            || is_other(&next, &it.before);
        let every = NUMBERS + Duration::from_secs(next.state.members.len() as u64 / CLUSTERS_PER_SECOND);
        let is_fresh = self.written.get(&uid).is_some_and(|at| at.elapsed() < every);
        if !is_due && (next == it.before || is_fresh) {
            return Ok(Some(it.before.clone()));
        }
        if !self.put(board, name, &next, tell).await? {
            return Ok(None);
        }
        self.written.insert(uid, Instant::now());
        let count = |it: &State| it.forgotten + it.decisions.len() as u64;
        let new = count(&next.state).saturating_sub(count(&it.before.state));
        let new = usize::try_from(new).unwrap_or(usize::MAX).min(next.state.decisions.len());
        for decision in next.state.decisions.iter().skip(next.state.decisions.len() - new) {
            tell(News::Decided { rollout: name.to_owned(), decision: Box::new(decision.clone()) });
        }
        Ok(Some(next))
    }

    /// Whether it was written; not: the object is another one meanwhile, or the hub does not take it, which holds up nobody else.
    async fn put(
        &mut self,
        board: &mut Board,
        name: &str,
        status: &RolloutStatus,
        tell: &(impl Fn(News) + Send + Sync),
    ) -> Result<bool, String> {
        let Some(held) = board.rollouts.get_mut(name) else { return Ok(false) };
        let mut object = held.object.clone();
        // As it is stored: what a list gives says neither kind nor version.
        object.types = Some(TypeMeta { api_version: API_VERSION.to_owned(), kind: "Rollout".to_owned() });
        object.metadata.managed_fields = None;
        let value =
            serde_json::to_value(status).map_err(|error| format!("status of rollout {name}: {error}"))?;
        if let Some(fields) = object.data.as_object_mut() {
            fields.insert("status".to_owned(), value);
        }
        let params = PostParams { field_manager: Some(MANAGER.to_owned()), ..PostParams::default() };
        match patiently(rollouts(&self.hub).replace_status(name, &params, &object)).await {
            Ok(written) => {
                *held = Held { object: written, status: Ok(status.clone()) };
                Ok(true)
            }
            Err(Refusal::Stale) => Ok(false),
            Err(Refusal::Invalid(problem)) => {
                self.say(name, format!("writing the status of rollout {name}: {problem}"), tell);
                Ok(false)
            }
            Err(Refusal::Problem(problem)) => Err(format!("writing the status of rollout {name}: {problem}")),
        }
    }

    /// Says what each of a few clusters is to have.
    async fn order(
        &mut self,
        board: &mut Board,
        orders: &[Order],
        now: u64,
        tell: &(impl Fn(News) + Send + Sync),
    ) -> Result<(), String> {
        let api = clusters(&self.hub);
        let params = PatchParams::apply(MANAGER).force();
        let given: Vec<_> = orders.iter().filter_map(|it| Some((&it.0, patch(board, it)?))).collect();
        let asked: Vec<_> =
            given.iter().map(|(cluster, patch)| patiently(api.patch(cluster, &params, patch))).collect();
        let answers = join_all(asked).await;
        let mut failed = Ok(());
        for ((cluster, _), answer) in given.iter().zip(answers) {
            let problem = |why| format!("saying what cluster {cluster} is to have: {why}");
            match answer {
                Ok(written) => board.rewrote(&written, now),
                // The cluster spoke meanwhile, or is gone: the next look says what is due.
                Err(Refusal::Stale) => {}
                Err(Refusal::Invalid(why)) => self.say(&of_cluster(cluster), problem(why), tell),
                Err(Refusal::Problem(why)) => failed = Err(problem(why)),
            }
        }
        failed
    }
}

/// What is written of an order, over the cluster's object as it was seen. `None`: the cluster is gone.
fn patch(board: &Board, (cluster, wanted, drift): &Order) -> Option<Patch<Value>> {
    let known = board.clusters.get(cluster)?;
    let mut spec = json!({ "wanted": wanted });
    if let (Some(drift), Some(fields)) = (drift, spec.as_object_mut()) {
        fields.insert("drift".to_owned(), json!(drift));
    }
    Some(Patch::Apply(json!({
        "apiVersion": API_VERSION, "kind": "ManagedCluster",
        "metadata": { "name": cluster, "uid": known.uid, "resourceVersion": known.version }, "spec": spec,
    })))
}

/// Under what a problem of a cluster is kept: no rollout is called so.
fn of_cluster(name: &str) -> String {
    format!("cluster {name}")
}

/// Which cluster is to have what, and what is to be done where that is changed.
type Order = (String, Wanted, Option<Drift>);

/// What a step made of a rollout.
struct Stepped {
    state: State,
    stages: Vec<StageView>,
    refused: Vec<String>,
    orders: Vec<Order>,
}

impl Stepped {
    fn of(it: &Ready, board: &Board, mine: &Share, now: u64) -> Self {
        let seen = seen(board, &it.spec, mine);
        let (state, actions) = step(&it.plan, it.before.state.clone(), &seen, now);
        let stages = look(&it.plan, &state, &seen, now);
        let mut orders: Vec<_> = actions
            .into_iter()
            .map(|Action::Want { cluster, wanted }| (cluster, wanted, it.spec.drift))
            .collect();
        if let Some(drift) = it.spec.drift {
            for (name, known) in board.clusters.iter().filter(|(_, known)| known.drift != drift) {
                let is_mine = state.members.contains_key(name) && !orders.iter().any(|(it, ..)| it == name);
                if let Some(wanted) = known.cluster.wanted.clone().filter(|_| is_mine) {
                    orders.push((name.clone(), wanted, Some(drift)));
                }
            }
        }
        let refused = if state.has_begun() { Vec::new() } else { mine.refused.clone() };
        Self { state, stages, refused, orders }
    }
}

/// What a rollout goes by.
fn seen(board: &Board, spec: &RolloutSpec, mine: &Share) -> Seen {
    let clusters = board.clusters.iter().map(|(name, known)| {
        let mut cluster = known.cluster.clone();
        cluster.held_by = mine.held_by.get(name).cloned();
        (name.clone(), cluster)
    });
    Seen {
        clusters: clusters.collect(),
        commands: spec.commands.clone(),
        paused: spec.paused,
        refused: mine.refused.clone(),
    }
}

fn understood(held: &Held) -> Result<Ready, Vec<String>> {
    let before = held
        .status
        .clone()
        .map_err(|problem| vec![format!("its status is not understood, and it is left alone: {problem}")])?;
    let spec = RolloutSpec::read(held.object.data.get("spec")).map_err(|problem| vec![problem])?;
    let plan = spec.plan()?;
    Ok(Ready { spec, plan, before })
}

/// What each may go by. What may not begin for another reason keeps nobody else from it.
fn shared(
    board: &Board,
    ready: &BTreeMap<String, Ready>,
    refused: &BTreeMap<String, String>,
) -> BTreeMap<String, Share> {
    let names: Vec<&String> = ready.keys().filter(|name| !refused.contains_key(*name)).collect();
    let contenders: Vec<Contender> = names
        .iter()
        .filter_map(|name| {
            let (it, held) = (ready.get(*name)?, board.rollouts.get(*name)?);
            let created = held.object.metadata.creation_timestamp.as_ref().map(|it| it.0.to_string());
            let (created, state) = (created.unwrap_or_default(), it.before.state.clone());
            Some(Contender { name: (*name).clone(), created, plan: it.plan.clone(), state })
        })
        .collect();
    let shares = share(&contenders, &board.labels());
    contenders.into_iter().map(|it| it.name).zip(shares).collect()
}

/// Whether a condition says something else, apart from its words.
fn is_other(one: &RolloutStatus, other: &RolloutStatus) -> bool {
    let said = |it: &RolloutStatus| -> Vec<(String, String, String)> {
        let all = it.conditions.iter();
        all.map(|it| (it.kind.clone(), it.status.clone(), it.reason.clone())).collect()
    };
    said(one) != said(other)
}

pub(crate) fn envelope(release: &DynamicObject) -> Result<Envelope, String> {
    let spec: Option<Value> = read(release, "spec")?;
    let envelope = spec.and_then(|mut it| it.get_mut("envelope").map(Value::take)).unwrap_or_default();
    serde_json::from_value(envelope)
        .map_err(|error| format!("the envelope of the release at the hub: {error}"))
}

fn stamp() -> String {
    // In whole seconds, as everywhere in Kubernetes.
    let now = Timestamp::now();
    Timestamp::from_second(now.as_second()).unwrap_or(now).to_string()
}

#[cfg(test)]
mod tests {
    use super::*;
    use http::{Method, Request, Response};
    use kube::client::Body;
    use kube::runtime::watcher::Event;
    use std::convert::Infallible;
    use std::sync::{Arc, Mutex};

    fn rollout(name: &str) -> DynamicObject {
        let release = json!({ "number": 8, "digest": fleet::Digest::of(b"8") });
        let stage = json!({ "name": "all", "clusters": {}, "gate": { "seconds": 1, "flows": 1 } });
        let metadata = json!({
            "name": name, "uid": name, "resourceVersion": "1", "generation": 1, "creationTimestamp": "2026-01-01T00:00:00Z",
        });
        let object = json!({
            "apiVersion": API_VERSION, "kind": "Rollout", "metadata": metadata,
            "spec": { "release": release, "stages": [stage] },
        });
        serde_json::from_value(object).unwrap()
    }

    /// A hub that has no release, and takes no status of rollout a.
    async fn answer(
        request: Request<Body>,
        written: Arc<Mutex<Vec<String>>>,
    ) -> Result<Response<Body>, Infallible> {
        let refusal = |code: u16| {
            let (kind, status) = ("Status", "Failure");
            let status =
                json!({ "kind": kind, "apiVersion": "v1", "status": status, "message": "no", "code": code });
            (code, status.to_string().into_bytes())
        };
        let path = request.uri().path().to_owned();
        let (code, body) = if request.method() == Method::GET {
            refusal(404)
        } else if path.contains("/rollouts/a/") {
            refusal(422)
        } else {
            written.lock().unwrap().push(path);
            (200, request.into_body().collect_bytes().await.unwrap().to_vec())
        };
        Ok(Response::builder().status(code).body(Body::from(body)).unwrap())
    }

    #[tokio::test]
    async fn an_object_that_the_hub_does_not_take_holds_up_no_other_and_is_told_once() {
        let written = Arc::<Mutex<Vec<String>>>::default();
        let to = Arc::clone(&written);
        let hub = tower::service_fn(move |request: Request<Body>| answer(request, Arc::clone(&to)));
        let (mut board, mut turn) = (Board::default(), Turn::new(Client::new(hub, "default")));
        for name in ["a", "b"] {
            board.rollout(Event::Apply(rollout(name)));
        }
        let told = Mutex::new(Vec::new());
        let tell = |news: News| told.lock().unwrap().push(news);
        for _ in 0..2 {
            turn.take(&mut board, 1_800_000_000, &tell).await.unwrap();
        }
        assert_eq!(*written.lock().unwrap(), ["/apis/cofferdam.dev/v1alpha1/rollouts/b/status"]);
        let expected = News::Unfit("writing the status of rollout a: no".to_owned());
        assert_eq!(*told.lock().unwrap(), [expected]);
    }
}
