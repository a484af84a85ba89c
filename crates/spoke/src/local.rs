//! Policies of the fleet in the cluster.
//!
//! Enters: a release's policies. Leaves: the same in the cluster, with a label that says whose they are, and what they became
//! there. Guarantees: an object without the label is never touched, but for one that stands where one of the release in force was:
//! who takes the label off, or makes another of the same name, does not have it to themselves; an object of the fleet is replaced
//! as a whole, so that nothing somebody added to it stays; what is as it should be is not written; what the API server would keep
//! only in part is refused.

mod dropped;

use crate::resource;
use crds::ObjectName;
use fleet::hub::{Drift, Effective};
use fleet::{Digest, Manifest};
use futures_util::future::join_all;
use kube::api::{ApiResource, DeleteParams, DynamicObject, ListParams, PostParams, TypeMeta};
use kube::{Api, Client};
use serde_json::{Value, json};
use std::collections::BTreeMap;

pub use fleet::hub::LABEL;
/// Digest of the policy as it was released.
const ANNOTATION: &str = "cofferdam.dev/fleet-digest";
/// Most problems that are told; those beyond are counted.
const MOST_PROBLEMS: usize = 20;
/// Objects asked for at a time.
const PAGE: u32 = 500;
/// Objects that are written at a time.
const AT_ONCE: usize = 8;

/// Kinds that a release may hold: group, version, kind, plural.
const KINDS: [[&str; 4]; 8] = [
    ["networking.k8s.io", "v1", "NetworkPolicy", "networkpolicies"],
    ["policy.networking.k8s.io", "v1alpha2", "ClusterNetworkPolicy", "clusternetworkpolicies"],
    ["policy.networking.k8s.io", "v1alpha1", "AdminNetworkPolicy", "adminnetworkpolicies"],
    ["policy.networking.k8s.io", "v1alpha1", "BaselineAdminNetworkPolicy", "baselineadminnetworkpolicies"],
    ["cofferdam.dev", "v1alpha1", "EgressPolicy", "egresspolicies"],
    ["cofferdam.dev", "v1alpha1", "ClusterEgressPolicy", "clusteregresspolicies"],
    ["cofferdam.dev", "v1alpha1", "InferencePolicy", "inferencepolicies"],
    ["cofferdam.dev", "v1alpha1", "DetectionPolicy", "detectionpolicies"],
];

/// The policies of one release.
pub(crate) struct Intended<'r> {
    pub(crate) manifests: &'r [Manifest],
    pub(crate) drift: Drift,
    /// Whether all of them were in place before: what stands there is in the fleet's place, whatever its labels.
    pub(crate) was_in_force: bool,
}

/// What became of it.
#[derive(Debug, Default)]
pub(crate) struct Outcome {
    /// Why something is not as it should be.
    pub(crate) problems: Vec<String>,
    /// What was changed in the cluster.
    pub(crate) drift: Vec<String>,
    /// The fleet's policies as they are. `None`: that is not known.
    pub(crate) effective: Option<Effective>,
}

impl Outcome {
    /// These are the fleet's policies as the API server has them.
    fn note(&mut self, live: &[Value]) {
        match fleet::policies(live) {
            Ok((manifests, _)) => self.effective = Some(Effective::of(&manifests)),
            Err(error) => self.problems.push(format!("what the API server made of it: {error}")),
        }
    }
}

/// The cluster's own API server.
pub(crate) struct Local {
    client: Client,
    /// Objects that were seen to be as they should.
    verified: BTreeMap<ObjectName, Verified>,
    /// What those are together, as long as none of them changes.
    effective: Option<Effective>,
}

/// An object that was as it should be.
struct Verified {
    /// Of this object and no later one of the same name.
    uid: Option<String>,
    version: Option<String>,
    /// Of what it should be.
    digest: Digest,
}

impl Verified {
    fn of(object: &DynamicObject, digest: &Digest) -> Self {
        let (uid, version) = (object.metadata.uid.clone(), object.metadata.resource_version.clone());
        Self { uid, version, digest: digest.clone() }
    }

    /// Whether this object still is, and should still be the same.
    fn is(&self, object: &DynamicObject, digest: &Digest) -> bool {
        let metadata = &object.metadata;
        self.uid == metadata.uid && self.version == metadata.resource_version && self.digest == *digest
    }
}

/// An object of the fleet as it is.
struct Live {
    object: DynamicObject,
    resource: ApiResource,
}

/// An object of the fleet after it was looked at.
struct Put {
    object: DynamicObject,
    /// It is as it should be, and was not seen so before.
    verified: Option<Verified>,
    drift: Option<String>,
    /// It is as it was when it was seen to be as it should.
    stays: bool,
}

impl Local {
    pub(crate) fn new(client: Client) -> Self {
        Self { client, verified: BTreeMap::new(), effective: None }
    }

    pub(crate) fn client(&self) -> Client {
        self.client.clone()
    }

    /// Makes the cluster have exactly these policies of the fleet.
    pub(crate) async fn put(&mut self, intended: &Intended<'_>) -> Outcome {
        let mut outcome = Outcome::default();
        let mut owned = match self.owned().await {
            Ok(owned) => owned,
            Err(problem) => {
                outcome.problems.push(problem);
                return outcome;
            }
        };
        // What is added comes before what is changed, and that before what goes: where a denial moves from one policy into a new
        // one, it is there twice for a moment, and never not at all.
        let (changed, added): (Vec<&Manifest>, Vec<&Manifest>) =
            intended.manifests.iter().partition(|it| owned.contains_key(&it.name));
        let (mut live, mut all_stay) = (Vec::new(), true);
        for few in added.chunks(AT_ONCE).chain(changed.chunks(AT_ONCE)) {
            let of_one = few.iter().map(|manifest| {
                let before = owned.remove(&manifest.name);
                self.put_one(intended, manifest, before)
            });
            let put: Vec<_> = of_one.collect();
            for (manifest, put) in few.iter().zip(join_all(put).await) {
                match put {
                    Ok(Put { object, verified, drift, stays }) => {
                        if let Some(verified) = verified {
                            self.verified.insert(manifest.name.clone(), verified);
                        }
                        outcome.drift.extend(drift);
                        all_stay &= stays;
                        live.push(object);
                    }
                    Err(problem) => outcome.problems.push(format!("{}: {problem}", manifest.name)),
                }
            }
        }
        all_stay &= outcome.problems.is_empty() && owned.is_empty();
        // Whatever could not be put in place, what it replaces still guards.
        if outcome.problems.is_empty() {
            for (name, live) in owned {
                if let Err(problem) = self.remove(&name, &live).await {
                    outcome.problems.push(format!("{name}: {problem}"));
                }
            }
        }
        // As many as then, and each as it was: the same ones.
        let count = intended.manifests.len() as u64;
        outcome.effective = self.effective.take().filter(|it| all_stay && it.policies == count);
        if outcome.effective.is_none() {
            outcome.note(&live.into_iter().map(plain).collect::<Vec<_>>());
        }
        // Where something could not be put in place, it is not all that should be.
        self.effective = outcome.effective.clone().filter(|_| outcome.problems.is_empty());
        [&mut outcome.problems, &mut outcome.drift].into_iter().for_each(bound);
        outcome
    }

    /// What the cluster has of the fleet, whatever it should have. Nothing is written.
    pub(crate) async fn look(&self) -> Outcome {
        let mut outcome = Outcome::default();
        match self.owned().await {
            Ok(owned) => {
                let live: Vec<Value> = owned.into_values().map(|it| plain(it.object)).collect();
                outcome.note(&live);
            }
            Err(problem) => outcome.problems.push(problem),
        }
        outcome
    }

    /// Whether the cluster would take these policies. Nothing is written. Those that it has are not tried.
    pub(crate) async fn would_take(&self, manifests: &[Manifest]) -> Vec<String> {
        let is_there =
            |it: &Manifest| self.verified.get(&it.name).is_some_and(|at| at.digest == *it.digest());
        let tried: Vec<&Manifest> = manifests.iter().filter(|it| !is_there(it)).collect();
        let mut problems = Vec::new();
        for few in tried.chunks(AT_ONCE) {
            let said: Vec<_> = few.iter().map(|manifest| self.try_one(manifest)).collect();
            for (manifest, said) in few.iter().zip(join_all(said).await) {
                problems.extend(said.err().map(|problem| format!("{}: {problem}", manifest.name)));
            }
        }
        bound(&mut problems);
        problems
    }

    async fn try_one(&self, manifest: &Manifest) -> Result<(), String> {
        let (api, object) = self.prepared(manifest).ok_or(NO_SUCH_KIND)?;
        let (name, params) = (&*manifest.name.name, PostParams { dry_run: true, field_manager: None });
        // One request, where it is there as it was seen last, or not there.
        let said = match self.verified.get(&manifest.name) {
            Some(known) => {
                let mut object = object.clone();
                (object.metadata.uid, object.metadata.resource_version) =
                    (known.uid.clone(), known.version.clone());
                api.replace(name, &params, &object).await
            }
            None => api.create(&params, &object).await,
        };
        match said {
            Ok(made) => return is_whole(&object, &made),
            Err(kube::Error::Api(status)) if matches!(status.code, 404 | 409) => {}
            Err(error) => return Err(why(&error)),
        }
        let said = match api.get_opt(name).await.map_err(|error| why(&error))? {
            None => api.create(&params, &object).await,
            Some(live) if !is_of_fleet(&live) => return Err(NOT_OURS.to_owned()),
            Some(live) => api.replace(name, &params, &at(object.clone(), &live)).await,
        };
        is_whole(&object, &said.map_err(|error| why(&error))?)
    }

    /// Every object with the label. A kind that the cluster does not have has none.
    async fn owned(&self) -> Result<BTreeMap<ObjectName, Live>, String> {
        let mut found = BTreeMap::new();
        for kind in KINDS {
            let resource = resource(kind);
            let api: Api<DynamicObject> = Api::all_with(self.client.clone(), &resource);
            let mut params = ListParams::default().labels(LABEL).limit(PAGE);
            loop {
                let list = match api.list(&params).await {
                    Ok(list) => list,
                    Err(kube::Error::Api(status)) if status.code == 404 => break,
                    Err(error) => return Err(format!("listing {}: {}", resource.plural, why(&error))),
                };
                let token = list.metadata.continue_.clone().filter(|it| !it.is_empty());
                for mut object in list {
                    // Items of a list say neither.
                    let (api_version, kind) = (resource.api_version.clone(), resource.kind.clone());
                    object.types = Some(TypeMeta { api_version, kind });
                    let text = |it: &Option<String>| it.as_deref().unwrap_or_default().into();
                    let (namespace, name) = (text(&object.metadata.namespace), text(&object.metadata.name));
                    let name = ObjectName { kind: resource.kind.as_str().into(), namespace, name };
                    found.insert(name, Live { object, resource: resource.clone() });
                }
                let Some(token) = token else { break };
                params = params.continue_token(&token);
            }
        }
        Ok(found)
    }

    /// The client for a policy, and the policy as it is written.
    fn prepared(&self, manifest: &Manifest) -> Option<(Api<DynamicObject>, DynamicObject)> {
        let version = manifest.value.get("apiVersion")?.as_str()?;
        let is_it = |[group, v, kind, _]: &[&str; 4]| {
            *kind == &*manifest.name.kind && format!("{group}/{v}") == version
        };
        let resource = resource(*KINDS.iter().find(|it| is_it(it))?);
        let mut value = manifest.value.clone();
        let metadata = value.get_mut("metadata")?.as_object_mut()?;
        for (field, key, text) in
            [("labels", LABEL, "true"), ("annotations", ANNOTATION, manifest.digest().as_str())]
        {
            let entry = metadata.entry(field).or_insert_with(|| json!({}));
            entry.as_object_mut()?.insert(key.to_owned(), text.into());
        }
        let object = serde_json::from_value(value).ok()?;
        let api = match &*manifest.name.namespace {
            "" => Api::all_with(self.client.clone(), &resource),
            namespace => Api::namespaced_with(self.client.clone(), namespace, &resource),
        };
        Some((api, object))
    }

    /// Has one policy be as it should.
    async fn put_one(
        &self,
        intended: &Intended<'_>,
        manifest: &Manifest,
        before: Option<Live>,
    ) -> Result<Put, String> {
        let (name, digest) = (&*manifest.name.name, manifest.digest());
        let known = self.verified.get(&manifest.name);
        let before = before.map(|it| it.object);
        let before = match before {
            Some(object) if known.is_some_and(|known| known.is(&object, digest)) => {
                return Ok(Put { object, verified: None, drift: None, stays: true });
            }
            other => other,
        };
        let (api, object) = self.prepared(manifest).ok_or(NO_SUCH_KIND)?;
        let live = match before {
            Some(live) => live,
            // What is not there yet costs one request.
            None => match api.create(&PostParams::default(), &object).await {
                Ok(made) => {
                    is_whole(&object, &made)?;
                    let verified = Some(Verified::of(&made, digest));
                    let was_removed =
                        || format!("{} was removed in the cluster; it was put back", manifest.name);
                    let drift = known.map(|_| was_removed());
                    return Ok(Put { object: made, verified, drift, stays: false });
                }
                Err(kube::Error::Api(status)) if status.code == 409 => {
                    let found = api.get_opt(name).await.map_err(|error| why(&error))?;
                    found.ok_or_else(|| status.message.clone())?
                }
                Err(error) => return Err(why(&error)),
            },
        };
        // Whoever takes the label off a policy of the fleet, or removes it and makes another, does not have it to themselves by that.
        let is_claimed = known.is_some() || intended.was_in_force;
        if !is_of_fleet(&live) && !is_claimed {
            return Err(NOT_OURS.to_owned());
        }
        if known.is_some_and(|known| known.is(&live, digest)) {
            return Ok(Put { object: live, verified: None, drift: None, stays: true });
        }
        // The same as before in the API server's own eyes gets no other version: its defaults are no change.
        let says = live.metadata.annotations.as_ref().and_then(|it| it.get(ANNOTATION));
        let was_released = says.is_some_and(|it| it == digest.as_str())
            || intended.was_in_force
            || known.is_some_and(|known| known.digest == *digest);
        let only_tells = was_released && intended.drift == Drift::Report;
        let params = PostParams { dry_run: only_tells, field_manager: None };
        let put =
            api.replace(name, &params, &at(object.clone(), &live)).await.map_err(|error| why(&error))?;
        is_whole(&object, &put)?;
        let differs = || said(&plain(live.clone())) != said(&plain(put.clone())) || !is_of_fleet(&live);
        let drift = (was_released && differs()).then(|| {
            let done = if only_tells { "it is left as it is" } else { "it was put back" };
            format!("{} was changed in the cluster; {done}", manifest.name)
        });
        if only_tells {
            return Ok(Put { object: live, verified: None, drift, stays: false });
        }
        let verified = Some(Verified::of(&put, digest));
        Ok(Put { object: put, verified, drift, stays: false })
    }

    async fn remove(&mut self, name: &ObjectName, live: &Live) -> Result<(), String> {
        let api: Api<DynamicObject> = match &*name.namespace {
            "" => Api::all_with(self.client.clone(), &live.resource),
            namespace => Api::namespaced_with(self.client.clone(), namespace, &live.resource),
        };
        self.verified.remove(name);
        match api.delete(&name.name, &DeleteParams::default()).await {
            Ok(_) => Ok(()),
            Err(kube::Error::Api(status)) if status.code == 404 => Ok(()),
            Err(error) => Err(why(&error)),
        }
    }
}

const NO_SUCH_KIND: &str = "this cluster takes no such kind from a fleet";
const NOT_OURS: &str =
    "it is there, and not of the fleet; delete or rename it in the cluster, or leave it out of the release";

/// # Errors
/// The API server dropped something of what it was given.
fn is_whole(given: &DynamicObject, kept: &DynamicObject) -> Result<(), String> {
    let Some(field) = dropped::dropped(given, kept) else { return Ok(()) };
    Err(format!(
        "the definition (CRD) that this cluster has of its kind does not know {field}, and without that it says something else; apply \
         the definitions of this version, or of the one that made the release: `cofferdam install crds | kubectl apply -f -`"
    ))
}

fn is_of_fleet(object: &DynamicObject) -> bool {
    object.metadata.labels.as_ref().is_some_and(|labels| labels.contains_key(LABEL))
}

/// In place of what is there, if nobody else was faster.
fn at(mut object: DynamicObject, live: &DynamicObject) -> DynamicObject {
    object.metadata.resource_version.clone_from(&live.metadata.resource_version);
    object
}

/// Without what says that it is the fleet's: as it would be in a release.
fn plain(mut object: DynamicObject) -> Value {
    for (marks, key) in [(&mut object.metadata.labels, LABEL), (&mut object.metadata.annotations, ANNOTATION)]
    {
        if let Some(marks) = marks {
            marks.remove(key);
        }
    }
    // Texts and JSON values: there is nothing in it that could fail to be written.
    serde_json::to_value(object).unwrap_or_default()
}

/// What it says, whatever the API server notes about it.
fn said(value: &Value) -> Option<fleet::Manifest> {
    fleet::policies(std::slice::from_ref(value)).ok()?.0.pop()
}

pub(crate) fn why(error: &kube::Error) -> String {
    match error {
        kube::Error::Api(status) => status.message.clone(),
        other => other.to_string(),
    }
}

fn bound(list: &mut Vec<String>) {
    let more = list.len().saturating_sub(MOST_PROBLEMS);
    if more > 0 {
        list.truncate(MOST_PROBLEMS);
        list.push(format!("and {more} more"));
    }
}

#[cfg(test)]
mod tests;
