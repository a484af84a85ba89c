//! The hub of a fleet: brings releases to clusters, stage by stage, as far as what they report allows.
//!
//! Enters: a client of the hub's API server. Leaves: what each cluster is to have (`spec.wanted` of its ManagedCluster), how each
//! Rollout stands (its `status`), and every decision, once, to whoever listens. For people: what they ask ([`ask`]), how a
//! rollout stands now ([`look`]), and how all of a hub does ([`survey`]).
//! Guarantees: what was decided is written before it is acted on, and only over what it was decided by; so it can end at any
//! point, and whoever comes next goes on from there, and two at once do no harm; while the hub does not answer, nothing is
//! decided. Does not: hold a key, believe what is signed or not, connect to a cluster, or choose who runs it.

mod asking;
mod board;
mod clock;
mod survey;
mod turn;

pub use asking::{Asked, Error, Looked, Ticket, answers, ask, contents, look, who};
pub use survey::{Standing, Survey, Surveyed, survey};

use board::Board;
use clock::Clock;
use fleet::rollout::Decision;
use futures_util::StreamExt;
use kube::api::{ApiResource, DynamicObject};
use kube::core::GroupVersionKind;
use kube::runtime::watcher::{self, Config, Event, watcher};
use kube::{Api, Client};
use std::future::Future;
use std::pin::pin;
use std::time::Duration;
use tokio::time::{Instant, sleep, sleep_until, timeout};
use turn::Turn;

/// How often everything is looked at when nothing happens: silence is no event.
const BEAT: Duration = Duration::from_secs(5);
/// Rest after an event: others come with it.
const PACE: Duration = Duration::from_millis(200);
/// First and longest wait after the hub did not answer.
const BACKOFF: [Duration; 2] = [Duration::from_millis(500), Duration::from_secs(10)];
/// How long the hub may take for one answer.
const PATIENCE: Duration = Duration::from_secs(10);
/// Objects asked for at a time.
const PAGE: u32 = 500;
/// A cluster speaks three times a minute: one that did not for so many seconds is counted as silent, whatever its rollout asks for.
pub const SILENT: u64 = 120;

/// Something to be told.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum News {
    /// It was decided, and is written.
    Decided {
        /// Name of the rollout.
        rollout: String,
        /// What.
        decision: Box<Decision>,
    },
    /// The hub does not answer, or does not let something be done; nothing is decided before it does.
    Problem(String),
    /// One object is not as it should be, and is left alone. Said once.
    Unfit(String),
    /// Everything was looked at, and what followed was done.
    Looked {
        /// Rollouts at the hub.
        rollouts: usize,
        /// Of these, that wait for something that does not come by waiting alone.
        held: usize,
        /// Clusters at the hub.
        clusters: usize,
        /// Of these, that spoke before and did not for [`SILENT`].
        silent: usize,
    },
}

/// Runs until the future is dropped.
pub async fn run(hub: Client, tell: impl Fn(News) + Send + Sync) {
    let [soonest, slowest] = BACKOFF;
    let (mut board, mut wait) = (Board::default(), soonest);
    loop {
        let began = Instant::now();
        let problem = follow(&hub, &mut board, &tell).await;
        tell(News::Problem(problem));
        if began.elapsed() > slowest {
            wait = soonest;
        }
        sleep(wait).await;
        wait = (wait * 2).min(slowest);
    }
}

/// Goes by what the hub says, until it does not answer; why.
///
/// Everything is listed anew each time: what was missed meanwhile must not be taken for silence, nor what was cured for lasting.
async fn follow(hub: &Client, board: &mut Board, tell: &(impl Fn(News) + Send + Sync)) -> String {
    let config = || Config::default().page_size(PAGE);
    let mut rollouts = pin!(watcher(self::rollouts(hub), config()));
    let mut clusters = pin!(watcher(self::clusters(hub), config()));
    board.begin();
    let clock = Clock::of(hub).await;
    let mut turn = Turn::new(hub.clone());
    let mut due = Instant::now();
    loop {
        let taken = tokio::select! {
            event = rollouts.next() => take(event, |event| board.rollout(event)),
            event = clusters.next() => take(event, |event| board.cluster(event, clock.now())),
            () = sleep_until(due), if board.is_whole() => {
                match turn.take(board, clock.now(), tell).await {
                    Ok(rest) => {
                        due = Instant::now() + rest;
                        let (held, silent) = (board.held(), board.silent(clock.now()));
                        let (rollouts, clusters) = (board.rollouts.len(), board.clusters.len());
                        tell(News::Looked { rollouts, held, clusters, silent });
                    }
                    Err(problem) => return problem,
                }
                continue;
            }
        };
        if let Err(problem) = taken {
            return problem;
        }
        due = due.min(Instant::now() + PACE);
    }
}

fn take(
    event: Option<watcher::Result<Event<DynamicObject>>>,
    into: impl FnOnce(Event<DynamicObject>),
) -> Result<(), String> {
    match event {
        Some(Ok(event)) => {
            into(event);
            Ok(())
        }
        Some(Err(error)) => Err(format!("watching the hub: {error}")),
        None => Err("the hub ended a watch".to_owned()),
    }
}

pub(crate) fn rollouts(hub: &Client) -> Api<DynamicObject> {
    Api::all_with(hub.clone(), &resource("Rollout", "rollouts"))
}

pub(crate) fn clusters(hub: &Client) -> Api<DynamicObject> {
    Api::all_with(hub.clone(), &resource("ManagedCluster", "managedclusters"))
}

pub(crate) fn releases(hub: &Client) -> Api<DynamicObject> {
    Api::all_with(hub.clone(), &resource("PolicyRelease", "policyreleases"))
}

fn resource(kind: &str, plural: &str) -> ApiResource {
    ApiResource::from_gvk_with_plural(&GroupVersionKind::gvk("cofferdam.dev", "v1alpha1", kind), plural)
}

/// What the hub did not do.
#[derive(Debug)]
pub(crate) enum Refusal {
    /// What it was asked to write over is no longer what it was, or no longer there.
    Stale,
    /// This one object it does not take as it is; it answers, and others may be as they should.
    Invalid(String),
    /// Something else.
    Problem(String),
}

pub(crate) async fn patiently<T>(asked: impl Future<Output = kube::Result<T>>) -> Result<T, Refusal> {
    match timeout(PATIENCE, asked).await {
        Ok(Ok(answer)) => Ok(answer),
        Ok(Err(kube::Error::Api(status))) if matches!(status.code, 404 | 409) => Err(Refusal::Stale),
        Ok(Err(kube::Error::Api(status))) if matches!(status.code, 400 | 413 | 422) => {
            Err(Refusal::Invalid(status.message.clone()))
        }
        Ok(Err(kube::Error::Api(status))) => Err(Refusal::Problem(status.message.clone())),
        Ok(Err(error)) => Err(Refusal::Problem(told(&error))),
        Err(_) => Err(Refusal::Problem(format!("the hub does not answer within {PATIENCE:?}"))),
    }
}

/// An error with its causes, each said once.
fn told(error: &dyn std::error::Error) -> String {
    let mut text = error.to_string();
    let mut next = error.source();
    while let Some(cause) = next {
        let said = cause.to_string();
        if !text.contains(&said) {
            text = format!("{text}: {said}");
        }
        next = cause.source();
    }
    text
}
