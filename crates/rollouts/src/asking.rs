//! What people ask of a rollout, and how it stands for them.
//!
//! Enters: a client of the hub, as the user is known there. Leaves: a command in the Rollout's spec, what became of it, and how the
//! rollout stands now, from what the clusters say now. Guarantees: a command is written once, under a number of its own and in
//! the user's own name; what is shown are the numbers that a step would decide by. Does not: decide.

use crate::board::{cluster, name_of, read, stored};
use crate::clock::Clock;
use crate::turn::envelope;
use crate::{PAGE, PATIENCE, Refusal, clusters, patiently, releases, rollouts};
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
/// A status that was not written for so many seconds, and says other numbers than there are now, is nobody's.
const IDLE: u64 = 60;
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
    /// The last command that was handled has the largest number that there is.
    #[error(
        "command {0} was handled, and no number comes after it; set status.state.handled of the Rollout to 0: \
         `kubectl edit rollouts.cofferdam.dev --subresource=status`"
    )]
    NoNumber(u64),
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
    /// Why it seems that nobody runs it: then what it waits for is of before.
    pub idle: Option<String>,
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
        // What was passed over for its number makes room like what was handled.
        let waits = spec.commands.iter().filter(|it| status.state.awaits(it));
        let mut commands: Vec<Command> = waits.cloned().collect();
        if commands.len() >= MOST_COMMANDS {
            return Err(Error::Waiting(commands.len()));
        }
        let near = commands.iter().filter(|it| !it.is_too_far(handled));
        let last = near.map(|it| it.id).max().unwrap_or(handled);
        // The API server knows no larger number.
        let id = last.checked_add(1).filter(|id| i64::try_from(*id).is_ok()).ok_or(Error::NoNumber(last))?;
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
    let now = Clock::of(hub).await.now();
    let seen = Seen { clusters: seen(hub, now).await?, ..Seen::default() };
    looked(name, &object, &seen, now)
}

/// How a rollout stands, by what is seen of the clusters. `now`: seconds since 1970, by the hub's clock.
pub(crate) fn looked(name: &str, object: &DynamicObject, seen: &Seen, now: u64) -> Result<Looked, Error> {
    let (spec, status) = parts(name, object)?;
    let plan = spec.plan();
    let stages = match &plan {
        Ok(plan) => fleet::rollout::look(plan, &status.state, seen, now),
        Err(_) => Vec::new(),
    };
    let written = stored(object).map(|at| now.saturating_sub(at));
    let generation = object.metadata.generation.unwrap_or_default();
    let idle = idle(&status, generation, plan.is_ok().then_some(stages.as_slice()), written);
    Ok(Looked { spec, plan, status, stages, idle })
}

/// Why it seems that nobody runs a rollout. `stages`: as they stand now; `written`: seconds since its status was.
fn idle(
    status: &RolloutStatus,
    generation: i64,
    stages: Option<&[StageView]>,
    written: Option<u64>,
) -> Option<String> {
    if status.conditions.is_empty() {
        return Some("nobody has looked at it yet".to_owned());
    }
    let ago = written?;
    if status.observed_generation < generation {
        return Some(format!(
            "nobody has looked at it since its spec changed; the last time was {ago} s ago"
        ));
    }
    // Whoever runs it writes other numbers when they come, of thousands of clusters within half a minute.
    let were = status.stages.iter().map(|it| it.numbers);
    let differs = !were.eq(stages?.iter().map(|it| it.numbers));
    (differs && ago > IDLE)
        .then(|| format!("its numbers have changed, and nobody has looked at it for {ago} s"))
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

async fn seen(hub: &Client, now: u64) -> Result<BTreeMap<String, Cluster>, Error> {
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
                return Err(failed(
                    "the hub has no such kind (`cofferdam install hub` defines it), or the list changed"
                        .to_owned(),
                ));
            }
            Err(Refusal::Invalid(why) | Refusal::Problem(why)) => return Err(failed(why)),
        };
        let token = list.metadata.continue_.clone().filter(|it| !it.is_empty());
        found.extend(list);
        let Some(token) = token else { return Ok(found) };
        params = params.continue_token(&token);
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use fleet::hub::{Condition, StageStatus};
    use fleet::rollout::{Gate, Numbers, StagePhase};

    #[test]
    fn a_rollout_that_nobody_runs_says_so() {
        let numbers = |seconds| Numbers { clusters: 1, reporting: 1, seconds, ..Numbers::default() };
        let view = |seconds| StageView {
            name: "dev".to_owned(),
            phase: StagePhase::Shadow,
            selects: 1,
            gate: Gate::default(),
            approval: false,
            hold: 0,
            numbers: numbers(seconds),
            missing: Vec::new(),
            clusters: Vec::new(),
        };
        let stage = StageStatus {
            name: "dev".to_owned(),
            phase: StagePhase::Shadow,
            selects: 1,
            numbers: numbers(40),
        };
        let condition = Condition {
            kind: "Accepted".to_owned(),
            status: "True".to_owned(),
            reason: "Understood".to_owned(),
            message: String::new(),
            last_transition_time: String::new(),
            observed_generation: 2,
        };
        let status = RolloutStatus {
            observed_generation: 2,
            stages: vec![stage],
            conditions: vec![condition],
            ..RolloutStatus::default()
        };
        for (status, generation, seconds, written, expected) in [
            (&RolloutStatus::default(), 1, 40, None, Some("nobody has looked at it yet")),
            (&status, 2, 40, Some(9000), None),
            (&status, 2, 60, Some(IDLE), None),
            (&status, 2, 60, Some(IDLE + 1), Some("nobody has looked at it for 61 s")),
            (&status, 3, 40, Some(7), Some("since its spec changed; the last time was 7 s ago")),
        ] {
            let said = idle(status, generation, Some(&[view(seconds)]), written);
            assert_eq!(said.is_some(), expected.is_some(), "{said:?}");
            assert!(said.unwrap_or_default().contains(expected.unwrap_or_default()), "{expected:?}");
        }
    }
}
