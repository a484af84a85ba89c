//! From where a cluster is told what to have: its hub, a folder that something beside it keeps, for example a checkout of Git, or
//! such a folder in a registry.
//!
//! Leaves: the cluster's object, whenever it changes, and releases. Guarantees: a folder is read as whoever keeps it may leave it at
//! any moment: where it is a symbolic link that is swapped, one file is read from one tree; what is half written, gone or leads out
//! of the folder is said, and nothing else comes of it. A registry that does not answer is asked less and less often. Does not:
//! believe any of them; that is the spoke's.

use crate::identity::failure;
use crate::registry::Registry;
use crate::resource;
use crate::round::{CLUSTER, clusters, patiently};
use fleet::Envelope;
use fleet::folder::{MOST_CLUSTER_BYTES, cluster_path, read_cluster};
use fleet::hub::release_name;
use fleet::{MOST_BYTES, Ref};
use futures_util::stream::{BoxStream, unfold};
use futures_util::{Stream, StreamExt};
use kube::api::DynamicObject;
use kube::runtime::watcher::{Error as WatchError, watch_object};
use kube::{Api, Client};
use serde_json::{Value, json};
use std::fs::File;
use std::future::Future;
use std::io::{ErrorKind, Read};
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;
use tokio::time::sleep;

/// First and longest pause before a hub is watched again that did not answer.
const PAUSE: [Duration; 2] = [Duration::from_secs(1), Duration::from_secs(10)];
/// How often a folder is read: whoever keeps it tells nobody.
const POLL: Duration = Duration::from_secs(5);
/// How often a registry is asked which manifest a tag means, and longest pause where it does not answer.
const ASK: Duration = Duration::from_secs(30);
const SELDOM: Duration = Duration::from_secs(300);
/// Most bytes of a release's file: base64, signatures, and what is around them.
const MOST_RELEASE: u64 = MOST_BYTES as u64 / 3 * 4 + 128 * 1024;
/// What a cluster remembers of a folder or a registry where it remembers which hub tells it.
pub(crate) const FOLDER: &str = "folder";
pub(crate) const REGISTRY: &str = "registry";

/// Who tells.
#[derive(Clone)]
pub enum Source {
    /// An API server.
    Hub(Client),
    /// A folder in the form of [`fleet::folder`].
    Folder(PathBuf),
    /// The same folder in a registry, under a tag or a digest.
    Registry(Arc<Registry>),
}

/// The cluster's object; `None`: there is none. An error: why that is not known.
pub(crate) type Looked = Result<Option<DynamicObject>, String>;

impl Source {
    /// The cluster's object, each time that it is another.
    pub(crate) fn looks(&self, cluster: &str) -> BoxStream<'static, Looked> {
        match self {
            Self::Hub(hub) => {
                let (hub, name) = (hub.clone(), cluster.to_owned());
                let what = format!("asking the hub for ManagedCluster {cluster:?}");
                watched(move || watch_object(clusters(&hub), &name), what)
            }
            Self::Folder(folder) => {
                let of = (folder.clone(), cluster.to_owned());
                polled(of, |(folder, cluster)| async move { look(&folder, &cluster).await }, |_| POLL)
            }
            Self::Registry(registry) => {
                let of = (Arc::clone(registry), cluster.to_owned());
                let ask = |(registry, cluster): (Arc<Registry>, String)| async move {
                    look_there(&registry, &cluster).await
                };
                polled(of, ask, pause)
            }
        }
    }

    /// A release of whom nobody has asked who signed it.
    pub(crate) async fn envelope(&self, release: &Ref) -> Result<Envelope, String> {
        let name = release_name(release);
        let object = match self {
            Self::Hub(hub) => {
                let kind = resource(["cofferdam.dev", "v1alpha1", "PolicyRelease", "policyreleases"]);
                let releases: Api<DynamicObject> = Api::all_with(hub.clone(), &kind);
                let found = patiently(releases.get(&name)).await;
                found.map_err(|problem| format!("{name} at the hub: {problem}"))?.data
            }
            Self::Folder(folder) => {
                let path = fleet::folder::release_path(release);
                let text = read(folder, &path, MOST_RELEASE).await?;
                released(&path, text.as_deref(), || folder.display().to_string())?
            }
            Self::Registry(registry) => {
                let path = fleet::folder::release_path(release);
                let tree = match registry.known() {
                    Some(tree) => tree,
                    None => registry.look().await?,
                };
                let text = registry.file(&tree, &path, MOST_RELEASE).await?;
                released(&path, text.as_deref(), || registry.name())?
            }
        };
        let envelope = object.pointer("/spec/envelope").cloned().unwrap_or_default();
        serde_json::from_value(envelope).map_err(|error| format!("{name}: {error}"))
    }

    /// What is said where there is no object of the cluster.
    pub(crate) fn says_nothing(&self, cluster: &str) -> String {
        match self {
            Self::Hub(_) => format!("the hub has no ManagedCluster {cluster:?}"),
            Self::Folder(_) | Self::Registry(_) => format!(
                "{} has no {}; `cofferdam release export` writes it",
                self.name(),
                cluster_path(cluster).unwrap_or_default()
            ),
        }
    }

    /// Which it is, for what is kept of what was taken from it.
    pub(crate) fn name(&self) -> String {
        match self {
            Self::Hub(_) => "the hub".to_owned(),
            // Where a link is swapped, what it leads to says which commit it is.
            Self::Folder(folder) => folder.canonicalize().as_ref().unwrap_or(folder).display().to_string(),
            Self::Registry(registry) => registry.name(),
        }
    }
}

/// What a watch finds. One that failed begins anew: a hub that came back from a backup counts from lower numbers, and who only goes on
/// hears nothing of it until it has caught up. What is known stays while it fails; before anything is, it is said why.
fn watched<W>(begin: impl Fn() -> W + Send + 'static, what: String) -> BoxStream<'static, Looked>
where
    W: Stream<Item = Result<Option<DynamicObject>, WatchError>> + Send + 'static,
{
    let start = (None::<BoxStream<'static, _>>, begin, what, Duration::ZERO, false);
    unfold(start, |(mut events, begin, what, mut rest, is_known)| async move {
        loop {
            let now = match &mut events {
                Some(events) => events,
                None => {
                    sleep(rest).await;
                    events.insert(begin().boxed())
                }
            };
            match now.next().await {
                Some(Ok(found)) => return Some((Ok(found), (events, begin, what, Duration::ZERO, true))),
                ended => {
                    let [soonest, longest] = PAUSE;
                    (events, rest) = (None, (rest * 2).clamp(soonest, longest));
                    if let (Some(Err(error)), false) = (ended, is_known) {
                        let why = format!("{what}: {}", failure(&error));
                        return Some((Err(why), (events, begin, what, rest, false)));
                    }
                }
            }
        }
    })
    .boxed()
}

/// What `look` finds, each time that it is another. `rest`: how long until the next, after so many in a row that found nothing out.
fn polled<O, L>(
    of: O,
    look: impl Fn(O) -> L + Send + 'static,
    rest: fn(u32) -> Duration,
) -> BoxStream<'static, Looked>
where
    O: Clone + Send + 'static,
    L: Future<Output = Looked> + Send + 'static,
{
    unfold((of, look, None::<Looked>, 0), move |(of, look, before, failed)| async move {
        let (mut failed, mut is_first) = (failed, before.is_none());
        loop {
            if !std::mem::take(&mut is_first) {
                sleep(rest(failed)).await;
            }
            let now = look(of.clone()).await;
            failed = if now.is_ok() { 0 } else { failed + 1 };
            if before.as_ref() != Some(&now) {
                return Some((now.clone(), (of, look, Some(now), failed)));
            }
        }
    })
    .boxed()
}

/// Twice as long after each time that a registry did not answer.
fn pause(failed: u32) -> Duration {
    ASK.saturating_mul(1 << failed.min(8)).min(SELDOM)
}

/// The object in a release's file.
fn released(path: &str, text: Option<&[u8]>, of: impl Fn() -> String) -> Result<Value, String> {
    let text = text.ok_or_else(|| format!("{} has no {path}", of()))?;
    serde_json::from_slice(text)
        .map_err(|error| format!("{path} is no JSON, or not wholly written yet: {error}"))
}

async fn look_there(registry: &Registry, cluster: &str) -> Looked {
    let tree = registry.look().await?;
    let path = path_of(cluster)?;
    let text = registry.file(&tree, &path, MOST_CLUSTER_BYTES).await?;
    text.map(|text| object(cluster, &path, &text)).transpose()
}

async fn look(folder: &Path, cluster: &str) -> Looked {
    let path = path_of(cluster)?;
    let text = read(folder, &path, MOST_CLUSTER_BYTES).await?;
    text.map(|text| object(cluster, &path, &text)).transpose()
}

fn path_of(cluster: &str) -> Result<String, String> {
    cluster_path(cluster).ok_or_else(|| format!("{cluster:?} is no name of a cluster"))
}

/// The object that a cluster's file says.
fn object(cluster: &str, path: &str, text: &[u8]) -> Result<DynamicObject, String> {
    let spec = read_cluster(cluster, text).map_err(|problem| format!("{path}: {problem}"))?;
    Ok(DynamicObject::new(cluster, &resource(CLUSTER)).data(json!({ "spec": spec })))
}

/// A file of the folder; `None`: it is not there.
async fn read(folder: &Path, path: &str, most: u64) -> Result<Option<Vec<u8>>, String> {
    let (folder, path) = (folder.to_owned(), path.to_owned());
    let read = tokio::task::spawn_blocking(move || read_now(&folder, &path, most));
    read.await.map_err(|_| "reading the folder was broken off".to_owned())?
}

fn read_now(folder: &Path, path: &str, most: u64) -> Result<Option<Vec<u8>>, String> {
    let say = |what: &Path, error: std::io::Error| format!("{}: {error}", what.display());
    // From here on it is this tree, whatever the link leads to meanwhile.
    let root = folder.canonicalize().map_err(|error| say(folder, error))?;
    let file = root.join(path);
    let found = match file.canonicalize() {
        Ok(found) => found,
        Err(error) if error.kind() == ErrorKind::NotFound => return Ok(None),
        Err(error) => return Err(say(&file, error)),
    };
    if !found.starts_with(&root) {
        return Err(format!("{} leads out of the folder", file.display()));
    }
    if !found.metadata().map_err(|error| say(&file, error))?.is_file() {
        return Err(format!("{} is no file", file.display()));
    }
    let mut text = Vec::new();
    let opened = File::open(&found).and_then(|it| it.take(most + 1).read_to_end(&mut text));
    opened.map_err(|error| say(&file, error))?;
    if text.len() as u64 > most {
        return Err(format!("{} has more than {most} bytes", file.display()));
    }
    Ok(Some(text))
}

#[cfg(test)]
mod tests;
