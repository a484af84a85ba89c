//! One look at what the hub wants.

use crate::audit::{self, Entry};
use crate::local::{Intended, Local, Outcome, why};
use crate::source::{FOLDER, Looked, REGISTRY, Source};
use crate::{Settings, resource};
use fleet::hub::{API_VERSION, ClusterSpec, ClusterStatus, Drift, Effective, release_name};
use fleet::rollout::{Errors, Evidence, Mode, Wanted};
use fleet::{Beside, Judged, Memory, Pinned, Received, Ref, Signed, Step};
use k8s_openapi::api::core::v1::{ConfigMap, Namespace};
use k8s_openapi::jiff::Timestamp;
use kube::api::{DynamicObject, Patch, PatchParams};
use kube::{Api, Client};
use serde_json::json;
use std::collections::BTreeMap;
use std::future::Future;
use std::sync::Arc;
use std::time::Duration;
use tokio::time::{Instant, timeout};

/// How long the hub may take to answer: what is put back in the cluster does not wait for a hub that hangs.
const PATIENCE: Duration = Duration::from_secs(10);
/// For how long after a release came in force is judged by the one before it.
const WATCHED: Duration = Duration::from_secs(24 * 3600);
/// How often it is tried whether the cluster would take what is judged beside: each policy costs its API server two requests.
const TRY: Duration = Duration::from_secs(300);
/// How often a release is fetched that proves nothing: somebody may sign the same anew, when a key was revoked.
const ANEW: Duration = Duration::from_secs(30);
/// Where the cluster keeps what it remembers.
const KEPT: &str = "cofferdam-fleet";
/// Where it says how it stands, where there is no hub to be told.
const STANDS: &str = "cofferdam-fleet-status";
/// Whose fields these are.
const MANAGER: &str = "cofferdam-fleet";

/// Group, version, kind and plural of a cluster's object.
pub(crate) const CLUSTER: [&str; 4] = ["cofferdam.dev", "v1alpha1", "ManagedCluster", "managedclusters"];

pub(crate) fn clusters(hub: &Client) -> Api<DynamicObject> {
    Api::all_with(hub.clone(), &resource(CLUSTER))
}

pub(crate) async fn patiently<T>(asked: impl Future<Output = kube::Result<T>>) -> Result<T, String> {
    match timeout(PATIENCE, asked).await {
        Ok(answer) => answer.map_err(|error| why(&error)),
        Err(_) => Err(format!("it does not answer within {PATIENCE:?}")),
    }
}

/// What is kept over a restart.
#[derive(Clone, Debug, Default, PartialEq)]
struct Kept {
    memory: Memory,
    /// What is written of that.
    written: Memory,
    enforced: Option<Ref>,
    history: Vec<Entry>,
    /// What the hub says that it had, and nobody could show that it is signed: nothing older is taken. It is not kept.
    least: Option<Ref>,
}

/// By what the release in force is judged: what the one before it allows worked then.
#[derive(Clone, Debug, PartialEq, Eq)]
enum Watch {
    /// By nothing: there is none, or its time is over.
    Over,
    /// By this one.
    By(Ref),
    /// By itself, for it has none to fall back to: nothing that it denies is taken to have worked before.
    Itself,
    /// By none, although there is one: why.
    Not(String),
}

/// What a release may fall back to, if that is one.
fn fallback_of(signed: &Signed) -> Option<Ref> {
    signed.release().header().fallback.clone().filter(|it| it.number > 0)
}

/// Evidence of the release in force. Time in which it should be watched and is not, is none.
fn watched(nothing: Evidence, watch: &Watch, seen: Option<Beside>) -> Evidence {
    match (watch, seen) {
        (Watch::Itself, Some(Beside { flows, findings, errors, problem, .. })) => {
            Evidence { flows, errors, unwatched: problem, ..nothing.with(findings) }
        }
        (_, Some(seen)) => {
            let Beside {
                flows, refused: denials, more_refused: more_denials, findings, errors, problem, ..
            } = seen;
            Evidence { flows, denials, more_denials, errors, unwatched: problem, ..nothing.with(findings) }
        }
        (Watch::Over, None) => nothing,
        (Watch::By(_) | Watch::Itself, None) => Evidence { seconds: 0, ..nothing },
        (Watch::Not(why), None) => Evidence { seconds: 0, unwatched: Some(why.clone()), ..nothing },
    }
}

/// Why a release is not taken.
enum NotTaken {
    /// It did not come.
    Absent(String),
    /// It came, and changes nothing.
    Refused(String),
}

impl NotTaken {
    fn why(self) -> String {
        match self {
            Self::Absent(why) | Self::Refused(why) => why,
        }
    }
}

pub(crate) struct Spoke {
    source: Source,
    local: Local,
    settings: Settings,
    /// The cluster's object at the hub, by its uid, and which hub that is.
    hub_id: Option<(String, String)>,
    /// What was fetched of what is wanted now, and when, so that a release crosses the network once.
    fetched: BTreeMap<Ref, (Received, Instant)>,
    /// What the hub said last of local changes.
    drift: Drift,
    /// The release in force, to put back what is changed while the hub is gone.
    in_force: Option<Signed>,
    /// What is judged beside it, and since when either is as it is.
    shadow: Option<Ref>,
    /// Which release the cluster would take, and when that was tried.
    tried: Option<(Ref, Instant)>,
    /// By what is judged where nothing is to be beside.
    watch: Watch,
    /// What was said last of what fails, and with which release.
    errors: Option<(Ref, Errors)>,
    since: Instant,
    said: Option<ClusterStatus>,
    /// What the hub has of what the cluster remembers: never written lower than it is.
    at_hub: Memory,
    /// Whether that was read: before, nothing is said, for it would be written over.
    knows_hub: bool,
}

impl Spoke {
    pub(crate) fn new(source: Source, local: Client, settings: Settings) -> Self {
        let local = Local::new(local);
        let since = Instant::now();
        Self {
            source,
            local,
            settings,
            hub_id: None,
            fetched: BTreeMap::new(),
            drift: Drift::default(),
            in_force: None,
            shadow: None,
            tried: None,
            watch: Watch::Over,
            errors: None,
            since,
            said: None,
            at_hub: Memory::default(),
            knows_hub: false,
        }
    }

    /// Whether what is in force is judged by the release before it.
    pub(crate) fn is_watching(&self) -> bool {
        matches!(self.watch, Watch::By(_))
    }

    /// Does what is wanted as far as it may, and says how the cluster stands.
    pub(crate) async fn round(&mut self, looked: &Looked) -> ClusterStatus {
        let mut problems = Vec::new();
        self.note_memory(looked.as_ref().ok().and_then(Option::as_ref));
        let kept = match self.kept().await {
            Ok(kept) => kept,
            Err(problem) => {
                // What was said last still holds as far as anybody knows.
                let enforced = self.said.as_ref().map(|it| it.enforced.clone());
                let kept = Kept { enforced, ..Kept::default() };
                return self.tell(kept, Outcome { problems: vec![problem], ..Outcome::default() }).await;
            }
        };
        let told = match looked {
            Ok(Some(object)) => self.told(object, kept.clone()).await,
            Ok(None) => Err(self.source.says_nothing(&self.settings.cluster)),
            Err(problem) => Err(problem.clone()),
        };
        let (spec, kept) = match told {
            Ok(told) => told,
            Err(problem) => {
                problems.push(problem);
                (ClusterSpec { wanted: None, drift: self.drift }, kept)
            }
        };
        self.drift = spec.drift;
        if let Some(Wanted { enforce, shadow }) = &spec.wanted {
            let earlier = match &self.watch {
                Watch::By(earlier) => Some(earlier),
                Watch::Over | Watch::Itself | Watch::Not(_) => None,
            };
            let kept = [Some(enforce), shadow.as_ref(), earlier];
            self.fetched.retain(|release, _| kept.contains(&Some(release)));
        }
        let (kept, mut outcome) = self.enforce(&spec, kept).await;
        let shadow = match (&spec.wanted, looked) {
            (Some(wanted), _) => wanted.shadow.clone(),
            // For a moment that nobody answers, what was seen of a release so far is not forgotten.
            (None, Err(_)) => self.shadow.clone(),
            (None, Ok(_)) => None,
        };
        let judged = self.judge_beside(shadow.as_ref(), &kept.memory).await;
        outcome.problems.extend(judged.err().unwrap_or_default());
        problems.append(&mut outcome.problems);
        self.tell(kept, Outcome { problems, ..outcome }).await
    }

    /// What the hub says, and what the cluster remembers, were it only at the hub.
    async fn told(&mut self, object: &DynamicObject, kept: Kept) -> Result<(ClusterSpec, Kept), String> {
        let field = |name: &str| object.data.get(name).cloned();
        let spec: ClusterSpec = match field("spec") {
            Some(spec) => serde_json::from_value(spec)
                .map_err(|error| format!("what the hub wants is not understood: {error}"))?,
            None => ClusterSpec::default(),
        };
        let hub = self.hub_id(object).await?;
        let memory = kept.memory.of_hub(&hub).map_err(|refused| refused.to_string())?;
        // Only what this cluster wrote of this hub may lift what it remembers.
        let at_hub = self.at_hub.highest.clone().filter(|_| self.at_hub.hub.as_ref() == Some(&hub));
        let mut kept = Kept { memory, ..kept };
        if let Some(highest) = at_hub.filter(|it| kept.memory.judge(it) == Ok(Step::Forward)) {
            // Whoever may write at the hub says any number. What it leads back to, only who signed that release says.
            match self.fetch(&highest).await {
                Ok(signed) => kept.memory = kept.memory.after(&signed),
                Err(_) => kept.least = Some(highest),
            }
        }
        Ok((spec, kept))
    }

    fn note_memory(&mut self, object: Option<&DynamicObject>) {
        let status = object.and_then(|object| object.data.get("status")?.get("memory").cloned());
        let memory: Option<Memory> = status.and_then(|memory| serde_json::from_value(memory).ok());
        // In a folder or a registry nothing is written that could be written over.
        self.knows_hub |= object.is_some() || !matches!(self.source, Source::Hub(_));
        self.at_hub = std::mem::take(&mut self.at_hub).newer(memory.unwrap_or_default());
    }

    /// Which hub it is: two that claim one cluster are told apart by it.
    async fn hub_id(&mut self, object: &DynamicObject) -> Result<String, String> {
        let hub = match &self.source {
            Source::Hub(hub) => hub,
            Source::Folder(_) => return Ok(FOLDER.to_owned()),
            Source::Registry(_) => return Ok(REGISTRY.to_owned()),
        };
        let uid = object.metadata.uid.clone().unwrap_or_default();
        if let Some((_, id)) = self.hub_id.as_ref().filter(|(known, _)| *known == uid) {
            return Ok(id.clone());
        }
        let namespaces: Api<Namespace> = Api::all(hub.clone());
        let found = patiently(namespaces.get("kube-system")).await;
        let found = found.map_err(|problem| format!("asking which hub it is: {problem}"))?;
        let id = found.metadata.uid.unwrap_or_default();
        self.hub_id = Some((uid, id.clone()));
        Ok(id)
    }

    /// Puts in force what is wanted; where that may not be, what is in force stays, and is put back where it was changed.
    async fn enforce(&mut self, spec: &ClusterSpec, kept: Kept) -> (Kept, Outcome) {
        let mut kept = kept;
        let mut problems = Vec::new();
        if let Some(Wanted { enforce, .. }) = &spec.wanted {
            match self.take(enforce, &mut kept).await {
                Ok(signed) => self.in_force = signed,
                Err(not_taken) => {
                    problems.extend(self.note_refusal(enforce, &not_taken, &mut kept).await.err());
                    problems.push(not_taken.why());
                }
            }
        }
        let has_nothing =
            spec.wanted.as_ref().is_some_and(|it| it.enforce.number == 0) && problems.is_empty();
        let mut outcome = match &self.in_force {
            Some(signed) => {
                let was_in_force = kept.enforced.as_ref() == Some(&signed.release().reference());
                let (manifests, drift) = (signed.release().manifests(), spec.drift);
                self.local.put(&Intended { manifests, drift, was_in_force }).await
            }
            None if has_nothing => {
                let (drift, was_in_force) = (Drift::Correct, false);
                self.local.put(&Intended { manifests: &[], drift, was_in_force }).await
            }
            // After a restart, before the hub was reached, or while what is in force is not to be had, or nobody vouches for it
            // any more: what is there stays, and is told of.
            None => self.local.look().await,
        };
        let has = self.in_force.as_ref().map(|it| it.release().reference());
        let now_has = has.or(has_nothing.then(Ref::nothing)).filter(|_| outcome.problems.is_empty());
        if now_has.is_some() && now_has != kept.enforced {
            let signers = self.in_force.as_ref().map(Signed::signers).unwrap_or_default();
            if let Some(now_has) = &now_has {
                let entry = Entry::enforced(now_has, signers, self.source.name());
                audit::note(&mut kept.history, entry);
            }
            kept.enforced = now_has;
            self.since = Instant::now();
            if let Err(problem) = self.keep(&kept).await {
                problems.push(problem);
            }
        }
        problems.append(&mut outcome.problems);
        (kept, Outcome { problems, ..outcome })
    }

    /// Writes down what was refused, once for each reason.
    async fn note_refusal(&self, of: &Ref, not_taken: &NotTaken, kept: &mut Kept) -> Result<(), String> {
        let NotTaken::Refused(why) = not_taken else { return Ok(()) };
        let entry = Entry::refused(of, self.source.name(), why);
        if audit::note(&mut kept.history, entry) { self.keep(kept).await } else { Ok(()) }
    }

    /// The release, if the cluster may have it. What is remembered is written before.
    async fn take(&mut self, wanted: &Ref, kept: &mut Kept) -> Result<Option<Signed>, NotTaken> {
        let refused = |why: fleet::Refused| NotTaken::Refused(why.to_string());
        if let Some(least) = &kept.least {
            let least = Memory { highest: Some(least.clone()), ..Memory::default() };
            least.judge(wanted).map_err(refused)?;
        }
        if wanted.number == 0 {
            if *wanted != Ref::nothing() {
                let other = wanted.digest.short();
                let why = format!("release 0 holds no policy, and {other} is another digest");
                return Err(NotTaken::Refused(why));
            }
            kept.memory.judge(wanted).map_err(refused)?;
            return Ok(None);
        }
        let signed = self.fetch(wanted).await?;
        kept.memory.consider(&signed).map_err(refused)?;
        kept.memory = kept.memory.clone().after(&signed);
        if kept.memory != kept.written {
            self.keep(kept).await.map_err(NotTaken::Absent)?;
            kept.written = kept.memory.clone();
        }
        Ok(Some(signed))
    }

    /// A release whose signatures hold.
    async fn fetch(&mut self, wanted: &Ref) -> Result<Signed, NotTaken> {
        let (mut received, at) = match self.fetched.remove(wanted) {
            Some(fetched) => fetched,
            None => {
                let envelope = self.source.envelope(wanted).await.map_err(NotTaken::Absent)?;
                (Received::new(envelope), Instant::now())
            }
        };
        let opened = match (self.settings.pinned)() {
            Ok(pinned) => opened(&mut received, wanted, &pinned).map_err(NotTaken::Refused),
            Err(why) => Err(NotTaken::Absent(why)),
        };
        let is_useless = matches!(opened, Err(NotTaken::Refused(_))) && at.elapsed() > ANEW;
        if !is_useless {
            self.fetched.insert(wanted.clone(), (received, at));
        }
        opened
    }

    /// Has a release judged that the cluster would take; nothing of it has any effect.
    async fn judge_beside(&mut self, shadow: Option<&Ref>, memory: &Memory) -> Result<(), Vec<String>> {
        let before = self.shadow.take();
        let judged = self.judge_beside_of(shadow, memory, before).await;
        self.watch = Watch::Over;
        if self.shadow.is_none() {
            let (watch, by) = self.watched_by().await;
            self.watch = watch;
            self.judge_by(by);
        }
        judged
    }

    /// By what the release in force is judged, for as long as it is watched: by the one that it may fall back to, for what that
    /// allows and is denied now worked before.
    async fn watched_by(&mut self) -> (Watch, Option<Judged>) {
        let about = self.in_force.clone().filter(|_| self.settings.judge.is_some());
        let Some(about) = about.filter(|_| self.since.elapsed() <= WATCHED) else {
            return (Watch::Over, None);
        };
        let Some(fallback) = fallback_of(&about) else { return (Watch::Itself, Some(Judged::itself(about))) };
        match self.fetch(&fallback).await {
            Ok(by) => (Watch::By(by.release().reference()), Some(Judged { by, about })),
            Err(not_taken) => (Watch::Not(not_taken.why()), None),
        }
    }

    async fn judge_beside_of(
        &mut self,
        shadow: Option<&Ref>,
        memory: &Memory,
        before: Option<Ref>,
    ) -> Result<(), Vec<String>> {
        let Some(wanted) = shadow else { return Ok(()) };
        let signed = self.fetch(wanted).await.map_err(|not_taken| vec![not_taken.why()])?;
        memory.consider(&signed).map_err(|refused| vec![refused.to_string()])?;
        // Better now than when it is to be taken back.
        if let Some(fallback) = fallback_of(&signed)
            && let Err(NotTaken::Refused(why)) = self.fetch(&fallback).await
        {
            return Err(vec![format!("release {wanted} could not be taken back: {why}")]);
        }
        let is_known = self.tried.as_ref().is_some_and(|(of, at)| of == wanted && at.elapsed() < TRY);
        if !is_known {
            let problems = self.local.would_take(signed.release().manifests()).await;
            self.tried = problems.is_empty().then(|| (wanted.clone(), Instant::now()));
            if !problems.is_empty() {
                return Err(problems);
            }
        }
        if before.as_ref() != Some(wanted) {
            self.since = Instant::now();
        }
        self.shadow = Some(wanted.clone());
        self.judge_by(Some(Judged::itself(signed)));
        match self.seen_of(wanted, wanted).and_then(|seen| seen.problem) {
            Some(problem) => Err(vec![problem]),
            None => Ok(()),
        }
    }

    /// Has the cluster's judge go by a release, or by none any more.
    fn judge_by(&self, judged: Option<Judged>) {
        let Some(judge) = &self.settings.judge else { return };
        judge.wanted.send_if_modified(|wanted| {
            let differs =
                wanted.as_deref().map(Judged::references) != judged.as_ref().map(Judged::references);
            if differs {
                *wanted = judged.map(Arc::new);
            }
            differs
        });
    }

    /// What the cluster's judge saw by a release, about the workloads of one.
    fn seen_of(&self, by: &Ref, about: &Ref) -> Option<Beside> {
        let judge = self.settings.judge.as_ref()?;
        judge.said.borrow().clone().filter(|said| (&said.of, &said.about) == (by, about))
    }

    async fn tell(&mut self, kept: Kept, outcome: Outcome) -> ClusterStatus {
        let enforced = kept.enforced.clone().unwrap_or_else(Ref::nothing);
        let (of, mode) = match &self.shadow {
            Some(shadow) => (shadow.clone(), Mode::Shadow),
            None => (enforced.clone(), Mode::Enforce),
        };
        let seconds = self.since.elapsed().as_secs();
        let nothing = Evidence { seconds, ..Evidence::nothing(of, mode) };
        let evidence = match (&self.shadow, &self.settings.judge) {
            (Some(shadow), Some(_)) => match self.seen_of(shadow, shadow) {
                Some(Beside { seconds, flows, denials, more_denials, findings, errors, .. }) => {
                    Evidence { seconds, flows, denials, more_denials, errors, ..nothing.with(findings) }
                }
                // It has not begun.
                None => Evidence { seconds: 0, ..nothing },
            },
            (None, Some(_)) => {
                let seen = match &self.watch {
                    Watch::By(earlier) => self.seen_of(earlier, &enforced),
                    Watch::Itself => self.seen_of(&enforced, &enforced),
                    Watch::Over | Watch::Not(_) => None,
                };
                let found = watched(nothing, &self.watch, seen);
                // A stage that waits for another of its clusters longer than a day still asks.
                let last = self.errors.as_ref().filter(|(of, _)| *of == found.of).map(|(_, errors)| *errors);
                Evidence { errors: found.errors.or(last.filter(|_| self.watch == Watch::Over)), ..found }
            }
            (_, None) => nothing,
        };
        self.errors = evidence.errors.map(|errors| (evidence.of.clone(), errors));
        let mut status = ClusterStatus {
            beat: self.said.as_ref().map_or(0, |it| it.beat.wrapping_add(1)),
            enforced,
            shadow: self.shadow.clone(),
            evidence: Some(evidence),
            problems: outcome.problems,
            drift: outcome.drift,
            effective: outcome.effective.unwrap_or_else(|| Effective::of(&[])),
            memory: kept.memory.newer(self.at_hub.clone()),
        };
        if self.knows_hub
            && let Err(problem) = self.write(&status).await
        {
            let whom = match &self.source {
                Source::Hub(_) => "telling the hub",
                Source::Folder(_) | Source::Registry(_) => "writing how it stands",
            };
            status.problems.push(format!("{whom}: {problem}"));
        }
        self.said = Some(status.clone());
        status
    }

    async fn write(&self, status: &ClusterStatus) -> Result<(), String> {
        let name = &self.settings.cluster;
        let Source::Hub(hub) = &self.source else { return self.write_here(status).await };
        let patch = json!({
            "apiVersion": API_VERSION, "kind": "ManagedCluster", "metadata": { "name": name }, "status": status,
        });
        let (api, params) = (clusters(hub), PatchParams::apply(MANAGER).force());
        patiently(api.patch_status(name, &params, &Patch::Apply(&patch))).await.map(drop)
    }

    /// In the cluster itself.
    async fn write_here(&self, status: &ClusterStatus) -> Result<(), String> {
        let text = serde_json::to_string(status).map_err(|error| error.to_string())?;
        let patch = json!({
            "apiVersion": "v1", "kind": "ConfigMap", "metadata": { "name": STANDS },
            "data": { "cluster": self.settings.cluster, "status": text },
        });
        let params = PatchParams::apply(MANAGER).force();
        patiently(self.kept_api().patch(STANDS, &params, &Patch::Apply(&patch))).await.map(drop)
    }

    fn kept_api(&self) -> Api<ConfigMap> {
        Api::namespaced(self.local.client(), &self.settings.namespace)
    }

    async fn kept(&self) -> Result<Kept, String> {
        let found = self.kept_api().get_opt(KEPT).await;
        let found = found.map_err(|error| format!("reading what the cluster remembers: {}", why(&error)))?;
        let data = found.and_then(|it| it.data).unwrap_or_default();
        // What cannot be read is not forgotten: then nothing is taken.
        let unreadable = |error: serde_json::Error| {
            format!(
                "ConfigMap {}/{KEPT} cannot be read, and nothing is taken before it can: {error}",
                self.settings.namespace
            )
        };
        let memory = data.get("memory").map(|it| serde_json::from_str(it)).transpose().map_err(unreadable)?;
        let enforced =
            data.get("enforced").map(|it| serde_json::from_str(it)).transpose().map_err(unreadable)?;
        // What happened is no ground to take or refuse anything.
        let history = data.get("history").and_then(|it| serde_json::from_str(it).ok());
        let memory: Memory = memory.unwrap_or_default();
        let written = memory.clone();
        Ok(Kept { memory, written, enforced, history: history.unwrap_or_default(), least: None })
    }

    async fn keep(&self, kept: &Kept) -> Result<(), String> {
        let text = |it: serde_json::Result<String>| it.unwrap_or_default();
        let mut data = json!({
            "memory": text(serde_json::to_string(&kept.memory)),
            "history": text(serde_json::to_string(&kept.history)),
        });
        if let (Some(enforced), Some(fields)) = (&kept.enforced, data.as_object_mut()) {
            fields.insert("enforced".to_owned(), text(serde_json::to_string(enforced)).into());
        }
        let patch =
            json!({ "apiVersion": "v1", "kind": "ConfigMap", "metadata": { "name": KEPT }, "data": data });
        let params = PatchParams::apply(MANAGER).force();
        let written = self.kept_api().patch(KEPT, &params, &Patch::Apply(&patch)).await;
        written.map(drop).map_err(|error| format!("keeping what the cluster remembers: {}", why(&error)))
    }
}

/// The release that is wanted, if it is in there and its signatures hold.
fn opened(received: &mut Received, wanted: &Ref, pinned: &Pinned) -> Result<Signed, String> {
    let name = release_name(wanted);
    let opened = received.open(pinned, &Timestamp::now().to_string());
    let signed = opened.map_err(|error| format!("{name}: {error}"))?;
    let found = signed.release().reference();
    if found != *wanted {
        return Err(format!("{name} is release {found}, and {wanted} is wanted"));
    }
    Ok(signed)
}

#[cfg(test)]
mod tests;
