//! One watch for each kind: from the API server's events to the store's changes.
//!
//! Enters: a client. Leaves: changes, in the order of each kind. Guarantees: never ends; after a failure it resumes where
//! it was, or lists anew where the server has forgotten that (410 Gone), waiting longer each time, up to a bound; of an add-on that the
//! server does not know, it asks whether that is defined. Does not: remember objects.

use crate::absent::Definition;
use crate::standing::Told;
use crate::store::{Change, Found};
use futures_util::StreamExt;
use kube::api::{ApiResource, DynamicObject, ListParams};
use kube::core::GroupVersionKind;
use kube::runtime::watcher::{Config, Error, Event, watcher};
use kube::{Api, Client};
use serde_json::Value;
use std::pin::pin;
use std::time::Duration;
use tokio::sync::mpsc;
use tokio::time::{sleep, timeout};

#[cfg(test)]
mod tests;

/// Objects asked for at a time: bounds the memory that a list takes.
const PAGE: u32 = 500;
/// First and longest wait after a failure.
const BACKOFF: [Duration; 2] = [Duration::from_millis(200), Duration::from_secs(5)];
/// A watch that resumes says nothing until an object changes. After a failure the server is asked at this interval, longer
/// than the longest wait, whether it answers again; and has so long to answer.
const CHECK: Duration = Duration::from_secs(6);

/// A kind of object that can be watched.
pub(crate) trait Watched: Copy + Send + Sync + 'static {
    /// How a client asks for it.
    fn resource(self) -> ApiResource;

    /// As in its URL, for example `networkpolicies`.
    fn plural(self) -> &'static str;

    /// Whether a cluster may not have it: its definition is an add-on.
    fn is_optional(self) -> bool;

    /// Whether its annotations say something.
    fn has_annotations(self) -> bool;

    /// Whether what the status of its objects says of nodes is kept.
    fn keeps_status(self) -> bool {
        false
    }

    /// The kind whose object of the same name has the status of one of this kind. `None`: nobody asks how these stand.
    fn status_in(self) -> Option<Self> {
        None
    }

    /// A field selector: which of its objects are asked for. `None`: all.
    fn selector(self) -> Option<&'static str> {
        None
    }

    /// A label selector, likewise.
    fn labels(self) -> Option<&'static str> {
        None
    }

    /// Whether everything else goes on where the API server does not let it be listed: there are none of it then.
    fn may_be_forbidden(self) -> bool {
        false
    }
}

/// Watches a kind, in one namespace or in all, until nobody listens.
pub(crate) async fn watch<K: Watched>(
    client: Client,
    kind: K,
    namespace: Option<String>,
    to: mpsc::Sender<(K, Change)>,
) {
    let resource = kind.resource();
    let api: Api<DynamicObject> = match &namespace {
        None => Api::all_with(client.clone(), &resource),
        Some(namespace) => Api::namespaced_with(client.clone(), namespace, &resource),
    };
    let mut config = Config::default().page_size(PAGE);
    if let Some(fields) = kind.selector() {
        config = config.fields(fields);
    }
    if let Some(labels) = kind.labels() {
        config = config.labels(labels);
    }
    let [soonest, slowest] = BACKOFF;
    let mut events = pin!(watcher(api.clone(), config.clone()));
    let (mut failed, mut wait) = (false, soonest);
    loop {
        let event = tokio::select! {
            event = events.next() => event,
            () = sleep(CHECK), if failed => {
                let one = ListParams::default().limit(1);
                failed = !matches!(timeout(CHECK, api.list_metadata(&one)).await, Ok(Ok(_)));
                if !failed && to.send((kind, Change::Recovered)).await.is_err() {
                    return;
                }
                continue;
            }
        };
        let Some(event) = event else { return };
        let is_error = event.is_err();
        // That a list is asked for is no answer.
        let is_answer =
            matches!(event, Ok(Event::InitApply(_) | Event::InitDone | Event::Apply(_) | Event::Delete(_)));
        let found = |object| found(kind, &resource, object);
        let change = match event {
            // The list is asked for when the next event is.
            Ok(Event::Init) => Change::ListBegins(newest(&api).await),
            Ok(Event::InitApply(object)) => Change::Listed(found(object)),
            Ok(Event::InitDone) => Change::ListEnds,
            Ok(Event::Apply(object)) => Change::Applied(found(object)),
            Ok(Event::Delete(object)) => Change::Deleted(found(object)),
            Err(error) if kind.is_optional() && is_refused_with(404, &error) => {
                Change::NoSuchKind(definition(&client, &resource).await)
            }
            Err(error) => {
                let is_none = kind.may_be_forbidden() && is_refused_with(403, &error);
                if is_none && to.send((kind, Change::NoSuchKind(Definition::Unsaid))).await.is_err() {
                    return;
                }
                Change::Failed(feed::client::chain(&error))
            }
        };
        failed = matches!(change, Change::Failed(_));
        if matches!(change, Change::NoSuchKind(_)) {
            // What is there when it is served again is listed: one that only goes on would miss what came back with the definition.
            events.set(watcher(api.clone(), config.clone()));
        }
        if to.send((kind, change)).await.is_err() {
            return;
        }
        wait = if is_error {
            // Polled again, the watch tries again at once.
            sleep(wait).await;
            (wait * 2).min(slowest)
        } else if is_answer {
            soonest
        } else {
            wait
        };
    }
}

/// What the API server says of the definition of a kind that it does not know: one that is starting may have it all the same.
async fn definition(client: &Client, resource: &ApiResource) -> Definition {
    let kind = GroupVersionKind::gvk("apiextensions.k8s.io", "v1", "CustomResourceDefinition");
    let definitions: Api<DynamicObject> = Api::all_with(client.clone(), &ApiResource::from_gvk(&kind));
    let name = format!("{}.{}", resource.plural, resource.group);
    match timeout(CHECK, definitions.get(&name)).await {
        Ok(Ok(found)) if serves(&found, &resource.version) => Definition::Starting,
        Ok(Ok(_)) => Definition::Unserved,
        // Of this object, and not of a path that the server does not know.
        Ok(Err(kube::Error::Api(status)))
            if status.code == 404 && status.details.as_ref().is_some_and(|it| it.name == name) =>
        {
            Definition::Gone
        }
        Ok(Err(_)) | Err(_) => Definition::Unsaid,
    }
}

/// Whether a definition says that objects of the version are there to be read.
fn serves(definition: &DynamicObject, version: &str) -> bool {
    let versions = definition.data.pointer("/spec/versions").and_then(Value::as_array);
    let is_it = |it: &&Value| it.get("name").is_some_and(|name| name == version);
    let of_it = versions.into_iter().flatten().find(is_it);
    of_it.is_some_and(|it| it.get("served").and_then(Value::as_bool) == Some(true))
}

/// How far the API server has got now, whatever became of the objects by which it did. 0: it does not say.
async fn newest(api: &Api<DynamicObject>) -> u64 {
    let one = ListParams::default().limit(1);
    let Ok(Ok(list)) = timeout(CHECK, api.list_metadata(&one)).await else { return 0 };
    list.metadata.resource_version.and_then(|text| text.parse().ok()).unwrap_or_default()
}

fn is_refused_with(code: u16, error: &Error) -> bool {
    let (Error::InitialListFailed(cause) | Error::WatchStartFailed(cause)) = error else { return false };
    matches!(cause, kube::Error::Api(status) if status.code == code)
}

fn found(kind: impl Watched, resource: &ApiResource, object: DynamicObject) -> Found {
    let DynamicObject { types: _, mut metadata, data: mut value } = object;
    let revision = metadata.resource_version.as_deref().and_then(|text| text.parse().ok());
    let text = |text: &Option<String>| text.as_deref().unwrap_or_default().into();
    let (namespace, name) = (text(&metadata.namespace), text(&metadata.name));
    let of_fleet = metadata.labels.as_ref().is_some_and(|labels| labels.contains_key(fleet::hub::LABEL));
    let (uid, generation) = (text(&metadata.uid), metadata.generation.unwrap_or_default());
    let told = kind.keeps_status().then(|| Told::of(&value)).flatten();
    // Large, changing often, and nothing that policy is made of.
    metadata.managed_fields = None;
    if !kind.has_annotations() {
        metadata.annotations = None;
    }
    if let Some(fields) = value.as_object_mut() {
        // Items of a list have neither.
        fields.insert("apiVersion".into(), resource.api_version.clone().into());
        fields.insert("kind".into(), resource.kind.clone().into());
        fields.insert("metadata".into(), serde_json::to_value(metadata).unwrap_or(Value::Null));
    }
    let read = crds::read_value("the API server", &value);
    Found { namespace, name, revision: revision.unwrap_or_default(), uid, generation, of_fleet, told, read }
}
