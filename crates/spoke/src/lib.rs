//! A cluster of a fleet: what its hub wants it to have, it takes, verifies and has as its own policies.
//!
//! Enters: a client of the hub's API server, or a folder or a registry that says the same; one of the cluster's own, and whom to
//! believe. Leaves: policies in the cluster that belong to the fleet; what was taken and refused, in the ConfigMap cofferdam-fleet; and how the
//! cluster stands, in the status of its object at the hub, or without a hub in the ConfigMap cofferdam-fleet-status.
//! Guarantees: nobody connects to the cluster; what is unsigned, altered or older changes nothing, and the hub is told why; what
//! is remembered is written before anything is applied; a policy that is not the fleet's is never touched; old policies go only
//! when all the new ones are there; while the hub is gone, everything stays, and what is changed locally is still put back.
//! Does not: compile or enforce; the cluster's controller does, as with every policy.

mod audit;
pub mod identity;
mod local;
pub mod registry;
mod round;
mod source;

pub use local::LABEL;
pub use source::Source;

use fleet::hub::ClusterStatus;
use fleet::{Beside, Judged, Pinned};
use futures_util::StreamExt;
use kube::Client;
use kube::api::ApiResource;
use kube::core::GroupVersionKind;
use round::Spoke;
use source::Looked;
use std::sync::Arc;
use std::time::Duration;
use tokio::sync::watch;
use tokio::time::{Instant, sleep_until};

/// How often the cluster says how it stands, and looks whether its policies of the fleet are as they should be, when nothing
/// happens.
const BEAT: Duration = Duration::from_secs(20);
/// Soonest next word to the hub of what is denied that worked before.
const ALARM: Duration = Duration::from_secs(2);
/// Soonest next look after something went wrong.
const AGAIN: Duration = Duration::from_secs(5);

/// What a cluster of a fleet is told when it starts.
pub struct Settings {
    /// Name of its ManagedCluster, at the hub or in the folder.
    pub cluster: String,
    /// Namespace of its own objects, in the cluster.
    pub namespace: String,
    /// Whom to believe now: read anew for each release, so that a key that is revoked is revoked at once. An error: nobody.
    pub pinned: Box<dyn Fn() -> Result<Pinned, String> + Send + Sync>,
    /// Who judges beside what is enforced. `None`: nobody here, and the hub is told of no accesses.
    pub judge: Option<Judge>,
}

/// The cluster's own judge of what is wanted beside.
pub struct Judge {
    /// What it judges by; `None`: nothing.
    pub wanted: watch::Sender<Option<Arc<Judged>>>,
    /// What it saw.
    pub said: watch::Receiver<Option<Beside>>,
}

/// Runs until the future is dropped. `said`: what was last said to the hub, or would have been.
pub async fn run(
    source: Source,
    local: Client,
    settings: Settings,
    said: watch::Sender<Option<ClusterStatus>>,
) {
    let mut looks = source.looks(&settings.cluster);
    let mut seen = settings.judge.as_ref().map(|judge| judge.said.clone());
    // A hub may not answer for long, and what is changed in the cluster is put back all the same.
    let (mut looked, mut next): (Looked, Instant) = match &source {
        Source::Hub(_) => (Err("the hub was not asked yet".to_owned()), Instant::now() + AGAIN),
        Source::Folder(_) => (Err("the folder was not read yet".to_owned()), Instant::now() + BEAT),
        Source::Registry(_) => (Err("the registry was not asked yet".to_owned()), Instant::now() + BEAT),
    };
    let mut spoke = Spoke::new(source, local, settings);
    let (mut refused, mut quiet) = (0, Instant::now());
    loop {
        let is_new = tokio::select! {
            look = looks.next() => match look {
                Some(found) => {
                    let differs = spec(&found) != spec(&looked);
                    looked = found;
                    differs
                }
                None => return,
            },
            () = sleep_until(next) => true,
            more = more_refused(seen.as_mut().filter(|_| spoke.is_watching()), refused, quiet) => {
                refused = more;
                true
            }
        };
        if !is_new {
            continue;
        }
        let status = spoke.round(&looked).await;
        quiet = Instant::now() + ALARM;
        next = Instant::now() + if status.problems.is_empty() { BEAT } else { AGAIN };
        said.send_replace(Some(status));
    }
}

/// Waits until twice as much is denied as `before` that the release judged by would have allowed: nobody is kept waiting by the
/// beat who would take a release back for it, and what is denied on and on does not make for rounds without end.
async fn more_refused(
    seen: Option<&mut watch::Receiver<Option<Beside>>>,
    before: u64,
    quiet: Instant,
) -> u64 {
    sleep_until(quiet).await;
    let all = |said: &Option<Beside>| said.as_ref().map_or(0, Beside::all_refused);
    // Another release begins anew.
    let is_news = |now: u64| now > 0 && (now < before || now >= before.saturating_mul(2));
    let more = match seen {
        Some(seen) => seen.wait_for(|said| is_news(all(said))).await.ok().map(|said| all(&said)),
        None => None,
    };
    match more {
        Some(more) => more,
        // Nobody judges.
        None => std::future::pending().await,
    }
}

/// What is told: apart from it, an object changes whenever the cluster says how it stands.
fn spec(looked: &Looked) -> Option<Result<Option<&serde_json::Value>, &String>> {
    match looked {
        Ok(object) => object.as_ref().map(|it| Ok(it.data.get("spec"))),
        Err(problem) => Some(Err(problem)),
    }
}

fn resource([group, version, kind, plural]: [&str; 4]) -> ApiResource {
    ApiResource::from_gvk_with_plural(&GroupVersionKind::gvk(group, version, kind), plural)
}
