//! What people ask of a rollout, and how it stands for them.
//!
//! Enters: a client of the hub, as the user is known there. Leaves: a command in the Rollout's spec, what became of it, and how the
//! rollout stands now, from what the clusters say now. Guarantees: a command is written once, under a number of its own and in
//! the user's own name; what is shown are the numbers that a step would decide by. Does not: decide.

use crate::board::{cluster, name_of, read, stored};
use crate::turn::envelope;
use crate::{PAGE, PATIENCE, Refusal, clusters, now, patiently, releases, rollouts};
use fleet::hub::{ClusterSpec, ClusterStatus, MOST_COMMANDS, RolloutSpec, RolloutStatus, release_name};
use fleet::rollout::{Cluster, Command, Decision, Plan, Seen, StageView, Verb};
use fleet::{Ref, Release};
use k8s_openapi::api::authentication::v1::SelfSubjectReview;
use kube::api::{DynamicObject, ListParams, PostParams};
use kube::{Api, Client};
use serde_json::json;
use std::collections::BTreeMap;
use std::time::Duration;
use tokio::time::{Instant, sleep, timeout};

/// How often a command is written anew, where somebody else was faster.
const TRIES: usize = 5;
/// How often it is looked whether a command was handled.
const TICK: Duration = Duration::from_millis(300);

/// Why there is no answer.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// There is no such rollout.
    #[error("the hub has no Rollout {0:?}; `kubectl get rollouts.cofferdam.dev` lists them")]
    Missing(String),
    /// The hub does not answer, or does not let it be done.
    #[error("{0}: {1}")]
    Hub(String, String),
    /// What is there is not understood.
    #[error("Rollout {0}: {1}")]
    Unclear(String, String),
    /// Commands wait, and nobody handles them.
    #[error("{0} commands wait already; does `cofferdam rollouts` run?")]
    Waiting(usize),
    /// Others are always faster.
    #[error("the Rollout was changed by others {TRIES} times in a row; try again")]
    Busy,
}

/// What is asked.
#[derive(Clone, Debug)]
pub struct Asked {
    /// What.
    pub verb: Verb,
    /// Which stage is meant; `None`: the one that it is about when this is written.
    pub stage: Option<String>,
    /// The cluster that is meant, one that came when the rollout was done, where the verb is about one.
    pub cluster: Option<String>,
    /// Why.
    pub why: Option<String>,
}

/// A command that was written.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Ticket {
    /// Its number.
    pub id: u64,
    /// Decisions before it.
    known: u64,
}

/// A rollout as it stands now.
#[derive(Clone, Debug)]
pub struct Looked {
    /// What was asked for.
    pub spec: RolloutSpec,
    /// The same, as it is gone by; an error: it is no plan.
    pub plan: Result<Plan, Vec<String>>,
    /// What was written of it last.
    pub status: RolloutStatus,
    /// Each stage, by what the clusters say now.
    pub stages: Vec<StageView>,
}

/// Who the user is to the hub.
///
/// # Errors
/// The hub does not say.
pub async fn who(hub: &Client) -> Result<String, Error> {
    let api: Api<SelfSubjectReview> = Api::all(hub.clone());
    let asked = timeout(PATIENCE, api.create(&PostParams::default(), &SelfSubjectReview::default())).await;
    let failed = |why: String| Error::Hub("asking the hub who you are".to_owned(), why);
    let review = asked.map_err(|_| failed("it does not answer".to_owned()))?;
    let review = review.map_err(|error| failed(error.to_string()))?;
    let name = review.status.and_then(|it| it.user_info).and_then(|it| it.username);
    name.ok_or_else(|| failed("it does not say".to_owned()))
}

/// Writes a command.
///
/// # Errors
/// Why it is not written.
pub async fn ask(hub: &Client, name: &str, by: &str, asked: &Asked) -> Result<Ticket, Error> {
    for _ in 0..TRIES {
        let mut object = get(hub, name).await?;
        let (spec, status) = parts(name, &object)?;
        let handled = status.state.handled;
        let mut commands: Vec<Command> = spec.commands.iter().filter(|it| it.id > handled).cloned().collect();
        if commands.len() >= MOST_COMMANDS {
            return Err(Error::Waiting(commands.len()));
        }
        let id = spec.commands.iter().map(|it| it.id).max().unwrap_or_default().max(handled) + 1;
        let about = spec.stages.get(status.state.stage).map(|it| it.name.clone());
        let lets_through = matches!(asked.verb, Verb::Approve | Verb::Promote);
        let stage = asked.stage.clone().or(about).filter(|_| lets_through);
        let Asked { verb, cluster, why, .. } = asked.clone();
        commands.push(Command { id, by: by.to_owned(), verb, stage, cluster, why });
        if let Some(spec) = object.data.pointer_mut("/spec").and_then(|it| it.as_object_mut()) {
            spec.insert("commands".to_owned(), json!(commands));
        }
        object.metadata.managed_fields = None;
        let params =
            PostParams { field_manager: Some("cofferdam-rollout".to_owned()), ..PostParams::default() };
        match patiently(rollouts(hub).replace(name, &params, &object)).await {
            Ok(_) => return Ok(Ticket { id, known: count(&status) }),
            Err(Refusal::Stale) => {}
            Err(Refusal::Invalid(why) | Refusal::Problem(why)) => {
                return Err(Error::Hub(format!("writing Rollout {name}"), why));
            }
        }
    }
    Err(Error::Busy)
}

/// Waits until a command was handled. What was decided since it was written; `None`: nobody handled it in time.
///
/// # Errors
/// The hub does not say.
pub async fn answers(
    hub: &Client,
    name: &str,
    ticket: Ticket,
    patience: Duration,
) -> Result<Option<Vec<Decision>>, Error> {
    let end = Instant::now() + patience;
    loop {
        let (_, status) = parts(name, &get(hub, name).await?)?;
        if status.state.handled >= ticket.id {
            let new = usize::try_from(count(&status).saturating_sub(ticket.known)).unwrap_or(usize::MAX);
            let all = status.state.decisions;
            let skipped = all.len().saturating_sub(new);
            return Ok(Some(all.into_iter().skip(skipped).collect()));
        }
        if Instant::now() >= end {
            return Ok(None);
        }
        sleep(TICK).await;
    }
}

/// How a rollout stands now.
///
/// # Errors
/// There is none, or the hub does not answer.
pub async fn look(hub: &Client, name: &str) -> Result<Looked, Error> {
    let object = get(hub, name).await?;
    let seen = Seen { clusters: seen(hub).await?, ..Seen::default() };
    looked(name, &object, &seen)
}

/// How a rollout stands, by what is seen of the clusters.
pub(crate) fn looked(name: &str, object: &DynamicObject, seen: &Seen) -> Result<Looked, Error> {
    let (spec, status) = parts(name, object)?;
    let plan = spec.plan();
    let stages = match &plan {
        Ok(plan) => fleet::rollout::look(plan, &status.state, seen, now()),
        Err(_) => Vec::new(),
    };
    Ok(Looked { spec, plan, status, stages })
}

/// What is in a release that the hub has; nobody asks here who signed it.
///
/// # Errors
/// The hub has none, or it is another.
pub async fn contents(hub: &Client, release: &Ref) -> Result<Release, Error> {
    let name = release_name(release);
    let failed = |why: String| Error::Hub(format!("asking for {name}"), why);
    let object = match patiently(releases(hub).get(&name)).await {
        Ok(object) => object,
        Err(Refusal::Stale) => return Err(failed("the hub has no such PolicyRelease".to_owned())),
        Err(Refusal::Invalid(why) | Refusal::Problem(why)) => return Err(failed(why)),
    };
    let found =
        envelope(&object).and_then(|it| it.peek().map_err(|error| error.to_string())).map_err(failed)?;
    if found.reference() != *release {
        return Err(failed(format!("it is release {}, and not {release}", found.reference())));
    }
    Ok(found)
}

fn count(status: &RolloutStatus) -> u64 {
    status.state.forgotten + status.state.decisions.len() as u64
}

async fn get(hub: &Client, name: &str) -> Result<DynamicObject, Error> {
    match patiently(rollouts(hub).get(name)).await {
        Ok(object) => Ok(object),
        Err(Refusal::Stale) => Err(Error::Missing(name.to_owned())),
        Err(Refusal::Invalid(why) | Refusal::Problem(why)) => {
            Err(Error::Hub(format!("asking for Rollout {name}"), why))
        }
    }
}

fn parts(name: &str, object: &DynamicObject) -> Result<(RolloutSpec, RolloutStatus), Error> {
    let unclear = |why: String| Error::Unclear(name.to_owned(), why);
    let spec = RolloutSpec::read(object.data.get("spec")).map_err(unclear)?;
    let status: Option<RolloutStatus> = read(object, "status").map_err(unclear)?;
    Ok((spec, status.unwrap_or_default()))
}

async fn seen(hub: &Client) -> Result<BTreeMap<String, Cluster>, Error> {
    let now = now();
    let of = |object: DynamicObject| {
        let status: Option<ClusterStatus> = read(&object, "status").ok().flatten();
        let spec: ClusterSpec = read(&object, "spec").ok().flatten().unwrap_or_default();
        let report = status.map(|it| it.report(stored(&object).unwrap_or_default().min(now)));
        (name_of(&object), cluster(&object, spec.wanted, report))
    };
    let all = list(&clusters(hub), "ManagedClusters").await?;
    Ok(all.into_iter().map(of).collect())
}

/// All objects of a kind.
///
/// # Errors
/// The hub does not say.
pub(crate) async fn list(api: &Api<DynamicObject>, kind: &str) -> Result<Vec<DynamicObject>, Error> {
    let failed = |why: String| Error::Hub(format!("listing {kind}"), why);
    let (mut found, mut params) = (Vec::new(), ListParams::default().limit(PAGE));
    loop {
        let list = match patiently(api.list(&params)).await {
            Ok(list) => list,
            Err(Refusal::Stale) => {
                return Err(failed("the hub has no such kind, or the list changed".to_owned()));
            }
            Err(Refusal::Invalid(why) | Refusal::Problem(why)) => return Err(failed(why)),
        };
        let token = list.metadata.continue_.clone().filter(|it| !it.is_empty());
        found.extend(list);
        let Some(token) = token else { return Ok(found) };
        params = params.continue_token(&token);
    }
}
