//! One look at what the hub wants.

use crate::local::{Intended, Local, Outcome, why};
use crate::{Settings, resource};
use fleet::hub::{API_VERSION, ClusterSpec, ClusterStatus, Drift, Effective, release_name};
use fleet::rollout::{Evidence, Mode, Wanted};
use fleet::{Beside, Envelope, Memory, Ref, Signed};
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
/// Where the cluster keeps what it remembers.
const KEPT: &str = "cofferdam-fleet";
/// Whose fields these are.
const MANAGER: &str = "cofferdam-fleet";

pub(crate) fn clusters(hub: &Client) -> Api<DynamicObject> {
    Api::all_with(hub.clone(), &resource(["cofferdam.dev", "v1alpha1", "ManagedCluster", "managedclusters"]))
}

async fn patiently<T>(asked: impl Future<Output = kube::Result<T>>) -> Result<T, String> {
    match timeout(PATIENCE, asked).await {
        Ok(answer) => answer.map_err(|error| why(&error)),
        Err(_) => Err(format!("it does not answer within {PATIENCE:?}")),
    }
}

/// What is kept over a restart.
#[derive(Clone, Debug, Default, PartialEq)]
struct Kept {
    memory: Memory,
    enforced: Option<Ref>,
}

pub(crate) struct Spoke {
    hub: Client,
    local: Local,
    settings: Settings,
    /// The cluster's object at the hub, by its uid, and which hub that is.
    hub_id: Option<(String, String)>,
    /// What was fetched of what is wanted now, so that a release crosses the network once.
    fetched: BTreeMap<Ref, Envelope>,
    /// What the hub said last of local changes.
    drift: Drift,
    /// The release in force, to put back what is changed while the hub is gone.
    in_force: Option<Signed>,
    /// What is judged beside it, and since when either is as it is.
    shadow: Option<Ref>,
    /// What was in force before it, by which is judged where nothing else is to be.
    earlier: Option<Ref>,
    since: Instant,
    said: Option<ClusterStatus>,
    /// What the hub has of what the cluster remembers: never written lower than it is.
    at_hub: Memory,
    /// Whether that was read: before, nothing is said, for it would be written over.
    knows_hub: bool,
}

impl Spoke {
    pub(crate) fn new(hub: Client, local: Client, settings: Settings) -> Self {
        let local = Local::new(local);
        let since = Instant::now();
        Self {
            hub,
            local,
            settings,
            hub_id: None,
            fetched: BTreeMap::new(),
            drift: Drift::default(),
            in_force: None,
            shadow: None,
            earlier: None,
            since,
            said: None,
            at_hub: Memory::default(),
            knows_hub: false,
        }
    }

    /// Whether what is in force is judged by the release before it.
    pub(crate) fn is_watching(&self) -> bool {
        self.earlier.is_some()
    }

    /// Does what is wanted as far as it may, and says how the cluster stands.
    pub(crate) async fn round(&mut self, object: Option<&DynamicObject>) -> ClusterStatus {
        let mut problems = Vec::new();
        self.note_memory(object);
        let kept = match self.kept().await {
            Ok(kept) => kept,
            Err(problem) => {
                // What was said last still holds as far as anybody knows.
                let enforced = self.said.as_ref().map(|it| it.enforced.clone());
                let kept = Kept { memory: Memory::default(), enforced };
                return self.tell(kept, Outcome { problems: vec![problem], ..Outcome::default() }).await;
            }
        };
        let told = match object {
            Some(object) => self.told(object, kept.clone()).await,
            None => {
                Err(format!("the hub has no ManagedCluster {:?}, or cannot be asked", self.settings.cluster))
            }
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
            let kept = [Some(enforce), shadow.as_ref(), self.earlier.as_ref()];
            self.fetched.retain(|release, _| kept.contains(&Some(release)));
        }
        let (kept, mut outcome) = self.enforce(&spec, kept).await;
        let shadow = spec.wanted.as_ref().and_then(|it| it.shadow.as_ref());
        let judged = self.judge_beside(shadow, &kept.memory).await;
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
        let at_hub =
            Some(&self.at_hub).filter(|it| it.hub.as_ref() == Some(&hub)).cloned().unwrap_or_default();
        Ok((spec, Kept { memory: memory.newer(at_hub), ..kept }))
    }

    fn note_memory(&mut self, object: Option<&DynamicObject>) {
        let status = object.and_then(|object| object.data.get("status")?.get("memory").cloned());
        let memory: Option<Memory> = status.and_then(|memory| serde_json::from_value(memory).ok());
        self.knows_hub |= object.is_some();
        self.at_hub = std::mem::take(&mut self.at_hub).newer(memory.unwrap_or_default());
    }

    /// Which hub it is: two that claim one cluster are told apart by it.
    async fn hub_id(&mut self, object: &DynamicObject) -> Result<String, String> {
        let uid = object.metadata.uid.clone().unwrap_or_default();
        if let Some((_, id)) = self.hub_id.as_ref().filter(|(known, _)| *known == uid) {
            return Ok(id.clone());
        }
        let namespaces: Api<Namespace> = Api::all(self.hub.clone());
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
                Err(problem) => problems.push(problem),
            }
        }
        let has_nothing =
            spec.wanted.as_ref().is_some_and(|it| it.enforce.number == 0) && problems.is_empty();
        let mut outcome = match &self.in_force {
            Some(signed) => {
                self.local.put(&Intended { manifests: signed.release().manifests(), drift: spec.drift }).await
            }
            None if has_nothing => self.local.put(&Intended { manifests: &[], drift: Drift::Correct }).await,
            // After a restart, before the hub was reached.
            None => Outcome::default(),
        };
        let has = self.in_force.as_ref().map(|it| it.release().reference());
        let now_has = has.or(has_nothing.then(Ref::nothing)).filter(|_| outcome.problems.is_empty());
        if now_has.is_some() && now_has != kept.enforced {
            kept.enforced = now_has;
            self.since = Instant::now();
            if let Err(problem) = self.keep(&kept).await {
                problems.push(problem);
            }
        }
        problems.append(&mut outcome.problems);
        (kept, Outcome { problems, ..outcome })
    }

    /// The release, if the cluster may have it. What is remembered is written before.
    async fn take(&mut self, wanted: &Ref, kept: &mut Kept) -> Result<Option<Signed>, String> {
        if wanted.number == 0 {
            if *wanted != Ref::nothing() {
                return Err(format!(
                    "release 0 holds no policy, and {} is another digest",
                    wanted.digest.short()
                ));
            }
            kept.memory.judge(wanted).map_err(|refused| refused.to_string())?;
            return Ok(None);
        }
        let signed = self.fetch(wanted).await?;
        kept.memory.consider(&signed).map_err(|refused| refused.to_string())?;
        let memory = kept.memory.clone().after(&signed);
        kept.memory = memory;
        self.keep(kept).await?;
        Ok(Some(signed))
    }

    /// A release of the hub whose signatures hold.
    async fn fetch(&mut self, wanted: &Ref) -> Result<Signed, String> {
        let name = release_name(wanted);
        let envelope = match self.fetched.get(wanted) {
            Some(envelope) => envelope.clone(),
            None => self.envelope(&name).await?,
        };
        let pinned = (self.settings.pinned)()?;
        let signed = envelope
            .open(&pinned, &Timestamp::now().to_string())
            .map_err(|error| format!("{name}: {error}"))?;
        let found = signed.release().reference();
        if found != *wanted {
            return Err(format!("{name} is release {found}, and {wanted} is wanted"));
        }
        self.fetched.insert(found, envelope);
        Ok(signed)
    }

    async fn envelope(&self, name: &str) -> Result<Envelope, String> {
        let kind = resource(["cofferdam.dev", "v1alpha1", "PolicyRelease", "policyreleases"]);
        let releases: Api<DynamicObject> = Api::all_with(self.hub.clone(), &kind);
        let object =
            patiently(releases.get(name)).await.map_err(|problem| format!("{name} at the hub: {problem}"))?;
        let envelope = object.data.pointer("/spec/envelope").cloned().unwrap_or_default();
        serde_json::from_value(envelope).map_err(|error| format!("{name}: {error}"))
    }

    /// Has a release judged that the cluster would take; nothing of it has any effect.
    async fn judge_beside(&mut self, shadow: Option<&Ref>, memory: &Memory) -> Result<(), Vec<String>> {
        let before = self.shadow.take();
        let judged = self.judge_beside_of(shadow, memory, before).await;
        let earlier = if self.shadow.is_none() { self.release_before().await } else { None };
        self.earlier = earlier.as_ref().map(|signed| signed.release().reference());
        if self.shadow.is_none() {
            self.judge_by(earlier);
        }
        judged
    }

    /// What the release in force may fall back to, for as long as it is watched: what that allows and is denied now worked
    /// before.
    async fn release_before(&mut self) -> Option<Signed> {
        self.settings.judge.as_ref()?;
        let fallback = self.in_force.as_ref()?.release().header().fallback.clone()?;
        if fallback.number == 0 || self.since.elapsed() > WATCHED {
            return None;
        }
        // Without it nothing is said of denials, as after that time.
        self.fetch(&fallback).await.ok()
    }

    async fn judge_beside_of(
        &mut self,
        shadow: Option<&Ref>,
        memory: &Memory,
        before: Option<Ref>,
    ) -> Result<(), Vec<String>> {
        let Some(wanted) = shadow else { return Ok(()) };
        let signed = self.fetch(wanted).await.map_err(|problem| vec![problem])?;
        memory.consider(&signed).map_err(|refused| vec![refused.to_string()])?;
        let problems = self.local.would_take(signed.release().manifests()).await;
        if !problems.is_empty() {
            return Err(problems);
        }
        if before.as_ref() != Some(wanted) {
            self.since = Instant::now();
        }
        self.shadow = Some(wanted.clone());
        self.judge_by(Some(signed));
        match self.seen_of(wanted).and_then(|seen| seen.problem) {
            Some(problem) => Err(vec![problem]),
            None => Ok(()),
        }
    }

    /// Has the cluster's judge go by a release, or by none any more.
    fn judge_by(&self, signed: Option<Signed>) {
        let Some(judge) = &self.settings.judge else { return };
        let of = |signed: &Signed| signed.release().reference();
        judge.wanted.send_if_modified(|wanted| {
            let differs = wanted.as_deref().map(of) != signed.as_ref().map(of);
            if differs {
                *wanted = signed.map(Arc::new);
            }
            differs
        });
    }

    /// What the cluster's judge saw of a release.
    fn seen_of(&self, release: &Ref) -> Option<Beside> {
        let judge = self.settings.judge.as_ref()?;
        judge.said.borrow().clone().filter(|said| said.of == *release)
    }

    async fn tell(&mut self, kept: Kept, outcome: Outcome) -> ClusterStatus {
        let enforced = kept.enforced.clone().unwrap_or_else(Ref::nothing);
        let (of, mode) = match &self.shadow {
            Some(shadow) => (shadow.clone(), Mode::Shadow),
            None => (enforced.clone(), Mode::Enforce),
        };
        let seconds = self.since.elapsed().as_secs();
        let nothing =
            Evidence { of, mode, seconds, flows: 0, denials: Vec::new(), more_denials: 0, findings: 0 };
        let evidence = match (&self.shadow, &self.settings.judge) {
            (Some(shadow), Some(_)) => match self.seen_of(shadow) {
                Some(Beside { seconds, flows, denials, more_denials, .. }) => {
                    Evidence { seconds, flows, denials, more_denials, ..nothing }
                }
                // It has not begun.
                None => Evidence { seconds: 0, ..nothing },
            },
            (None, Some(_)) => match self.earlier.as_ref().and_then(|earlier| self.seen_of(earlier)) {
                Some(Beside { flows, refused, more_refused, .. }) => {
                    Evidence { flows, denials: refused, more_denials: more_refused, ..nothing }
                }
                None => nothing,
            },
            (_, None) => nothing,
        };
        let mut status = ClusterStatus {
            beat: self.said.as_ref().map_or(0, |it| it.beat.wrapping_add(1)),
            enforced,
            shadow: self.shadow.clone(),
            evidence: Some(evidence),
            problems: outcome.problems,
            drift: outcome.drift,
            effective: Effective::of(&outcome.effective),
            memory: kept.memory.newer(self.at_hub.clone()),
        };
        if self.knows_hub
            && let Err(problem) = self.write(&status).await
        {
            status.problems.push(format!("telling the hub: {problem}"));
        }
        self.said = Some(status.clone());
        status
    }

    async fn write(&self, status: &ClusterStatus) -> Result<(), String> {
        let name = &self.settings.cluster;
        let patch = json!({
            "apiVersion": API_VERSION, "kind": "ManagedCluster", "metadata": { "name": name }, "status": status,
        });
        let (api, params) = (clusters(&self.hub), PatchParams::apply(MANAGER).force());
        patiently(api.patch_status(name, &params, &Patch::Apply(&patch))).await.map(drop)
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
        Ok(Kept { memory: memory.unwrap_or_default(), enforced })
    }

    async fn keep(&self, kept: &Kept) -> Result<(), String> {
        let text = |it: serde_json::Result<String>| it.unwrap_or_default();
        let mut data = json!({ "memory": text(serde_json::to_string(&kept.memory)) });
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
