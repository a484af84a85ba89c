//! Containments of a cluster, written and removed.
//!
//! Enters: whom to cut off, and a client. Leaves: objects of an API server, one for each workload, by the same name each time.
//! Guarantees: each question has an end; one is written only over what was read before, so that of several who write at once each knows of
//! the others. Does not: put anything in force, the controller does; ask who may, RBAC does.

use crate::Kind;
use feed::client::chain;
use kube::api::{DeleteParams, DynamicObject, Patch, PatchParams, PostParams};
use kube::{Api, Client};
use serde_json::Value;
use std::time::Duration;
use tokio::time::timeout;

/// How long the API server may take.
const PATIENCE: Duration = Duration::from_secs(10);
/// Whose fields these are.
const MANAGER: &str = "cofferdam";

/// Why a containment was not written.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum NotContained {
    /// This process may not, by RBAC.
    #[error("this process may not do that in the cluster: {0}")]
    Forbidden(String),
    /// The API server refuses it, or does not answer.
    #[error("the API server: {0}")]
    Failed(String),
    /// Somebody else wrote it since it was read.
    #[error("somebody else writes it at the same time")]
    Changed,
}

/// How a containment stands.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Stand {
    /// As it was written.
    pub until: String,
    /// Whether all nodes that need it have it, as it was last written.
    pub is_in_force: bool,
    /// Nodes that need it, and those of them that have it, as far as the controller said.
    pub needed: u64,
    /// See `needed`.
    pub enforced: u64,
    /// Which state of the object this is.
    pub revision: String,
}

impl Stand {
    fn of(object: &Value, generation: i64, revision: String) -> Self {
        let at = |pointer: &str| object.pointer(pointer);
        let count = |pointer: &str| at(pointer).and_then(Value::as_u64).unwrap_or_default();
        // A status may be of an earlier state.
        let conditions = at("/status/conditions").and_then(Value::as_array).into_iter().flatten();
        let is_of_now =
            conditions.filter_map(|it| it.get("observedGeneration")?.as_i64()).any(|it| it == generation);
        Self {
            until: at("/spec/until").and_then(Value::as_str).unwrap_or_default().to_owned(),
            is_in_force: is_of_now && at("/status/phase").is_some_and(|phase| phase == "InForce"),
            needed: count("/status/nodes/needed"),
            enforced: count("/status/nodes/enforced"),
            revision,
        }
    }
}

/// Writes containments.
#[derive(Clone)]
pub struct Containments {
    client: Client,
}

impl std::fmt::Debug for Containments {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("Containments")
    }
}

impl Containments {
    /// In the cluster of this client.
    pub fn new(client: Client) -> Self {
        Self { client }
    }

    fn api(&self) -> Api<DynamicObject> {
        Api::all_with(self.client.clone(), &Kind::Containment.resource())
    }

    /// How the one of this name stands; `None`: there is none.
    ///
    /// # Errors
    /// This process may not read it, or the API server does not answer.
    pub async fn stand(&self, name: &str) -> Result<Option<Stand>, NotContained> {
        let api = self.api();
        let found = soon(api.get_opt(name)).await?;
        Ok(found.map(|object| {
            let generation = object.metadata.generation.unwrap_or_default();
            Stand::of(&object.data, generation, object.metadata.resource_version.unwrap_or_default())
        }))
    }

    /// Writes one over what was read: none, or a state of it.
    ///
    /// # Errors
    /// It is not as it was read any more; this process may not; or the API server refuses.
    pub async fn write(&self, name: &str, object: &Value, over: Option<&Stand>) -> Result<(), NotContained> {
        let api = self.api();
        let Some(stand) = over else {
            let object = serde_json::from_value(object.clone());
            let object: DynamicObject = object.map_err(|error| NotContained::Failed(error.to_string()))?;
            let params = PostParams { field_manager: Some(MANAGER.to_owned()), ..PostParams::default() };
            return soon(api.create(&params, &object)).await.map(drop);
        };
        let params = PatchParams { field_manager: Some(MANAGER.to_owned()), ..PatchParams::default() };
        let patch = over_state(object, &stand.revision);
        let patched = async {
            match api.patch(name, &params, &Patch::Merge(&patch)).await {
                Err(kube::Error::Api(status)) if status.code == 404 => Ok(None),
                answer => answer.map(Some),
            }
        };
        soon(patched).await?.map(drop).ok_or(NotContained::Changed)
    }

    /// Removes one. Whether there was one.
    ///
    /// # Errors
    /// This process may not, or the API server does not answer.
    pub async fn remove(&self, name: &str) -> Result<bool, NotContained> {
        let api = self.api();
        let gone = async {
            match api.delete(name, &DeleteParams::default()).await {
                Ok(_) => Ok(true),
                Err(kube::Error::Api(status)) if status.code == 404 => Ok(false),
                Err(error) => Err(error),
            }
        };
        soon(gone).await
    }
}

/// The object as a merge into that of a revision, and into no other: what is not said any more is gone.
fn over_state(object: &Value, revision: &str) -> Value {
    let mut patch = object.clone();
    if let Some(metadata) = patch.get_mut("metadata").and_then(Value::as_object_mut) {
        metadata.insert("resourceVersion".to_owned(), revision.into());
    }
    if let Some(spec) = patch.get_mut("spec").and_then(Value::as_object_mut) {
        for optional in ["reason", "incident"] {
            spec.entry(optional).or_insert(Value::Null);
        }
    }
    patch
}

async fn soon<T>(asked: impl Future<Output = kube::Result<T>>) -> Result<T, NotContained> {
    match timeout(PATIENCE, asked).await {
        Ok(Ok(answer)) => Ok(answer),
        Ok(Err(kube::Error::Api(status))) if status.code == 403 => {
            Err(NotContained::Forbidden(status.message.clone()))
        }
        // Of one that is there already, and of one that is another by now.
        Ok(Err(kube::Error::Api(status))) if status.code == 409 => Err(NotContained::Changed),
        Ok(Err(error)) => Err(NotContained::Failed(chain(&error))),
        Err(_) => Err(NotContained::Failed(format!("no answer within {PATIENCE:?}"))),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    #[test]
    fn what_is_written_over_a_state_is_for_that_state_and_leaves_nothing_of_it() {
        let object = json!({ "metadata": { "name": "c" }, "spec": { "namespace": "a", "reason": "why" } });
        let expected = json!({
            "metadata": { "name": "c", "resourceVersion": "7" },
            "spec": { "namespace": "a", "reason": "why", "incident": null },
        });
        assert_eq!(over_state(&object, "7"), expected);
    }
}
