//! The authority of a cluster, and whom it vouches for.
//!
//! Enters: tokens of agents, gateways and collectors. Leaves: certificates for exactly the node that the API server says the
//! token's pod runs on, or for the egress gateway, the ingress gateway or the collector.
//! Guarantees: all replicas share one authority, which lives in a Secret; its certificate is published in a ConfigMap of
//! the same name; a token of anyone else, or of an agent for no node, is refused.
//! Does not: keep tokens.

use crate::authority::{Authority, AuthorityError, VALIDITY};
use crate::reviewer::{NotReviewed, review};
use crate::trust::{Authorities, SECRET};
use feed::client::chain;
use feed::enrol::{Answer, Granted, InspectionRequest, Registrar, Request, Signer};
use feed::tls::{COLLECTOR, GATEWAY, INGRESS, Identity, node_name};
use k8s_openapi::ByteString;
use k8s_openapi::api::admissionregistration::v1::{
    MutatingWebhookConfiguration, ValidatingWebhookConfiguration,
};
use k8s_openapi::api::authentication::v1::UserInfo;
use k8s_openapi::api::core::v1::{ConfigMap, Pod, Secret};
use kube::api::{ApiResource, DynamicObject, ListParams, ObjectMeta, Patch, PatchParams, PostParams};
use kube::{Api, Client};
use serde_json::{Value, json};
use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::{Duration, SystemTime};
use tokio::sync::watch;

/// Name of the Secret and of the ConfigMap.
pub const NAME: &str = "cofferdam-authority";
/// Name of the webhooks' configurations.
const WEBHOOK: &str = "cofferdam";
/// For whom tokens must be made.
pub const AUDIENCE: &str = "cofferdam";
/// Service account of agents, in the controller's namespace.
const AGENT: &str = "cofferdam-agent";
/// Service accounts of others, there too, and the name in their certificates.
const OTHERS: [(&str, &str); 3] = [
    ("cofferdam-egress-gateway", GATEWAY),
    ("cofferdam-ingress-gateway", INGRESS),
    ("cofferdam-collector", COLLECTOR),
];
/// Where the API server says on which node a token's pod runs (Kubernetes 1.32 and later).
const NODE_NAME: &str = "authentication.kubernetes.io/node-name";
/// Annotation of a pod that a node tells of itself: the mirror of a static pod.
const MIRROR: &str = "kubernetes.io/config.mirror";
/// How often it is looked whether the Secret holds another authority.
const LOOK: Duration = Duration::from_secs(10);
/// First and longest wait after a failure.
const WAIT: [Duration; 2] = [Duration::from_millis(200), Duration::from_secs(5)];

/// Why there is no authority.
#[derive(Debug, thiserror::Error)]
pub enum RegistrarError {
    /// The API server did not answer as it should.
    #[error("{0}: {cause}", cause = chain(.1))]
    Api(&'static str, #[source] kube::Error),
    /// The Secret holds something else.
    #[error("Secret {NAME}: {0}; remove it to have a new one made, which every agent then asks anew")]
    Authority(#[from] AuthorityError),
    /// Somebody else makes it, and has not.
    #[error("Secret {NAME} is not there yet; whoever is to write it (cert-manager, say) has not")]
    Awaited,
    /// The Secret lacks a key.
    #[error("Secret {NAME} has no {0}; remove it to have a new one made")]
    Missing(&'static str),
}

/// Who makes an authority where there is none.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Maker {
    /// The first controller.
    Controller,
    /// Somebody else, as cert-manager does it: a CA certificate in a Secret of type `kubernetes.io/tls`.
    Somebody,
}

/// The authority in the namespace's Secret. Publishes its certificate.
///
/// # Errors
/// The API server refuses, the Secret holds something else, or nobody has made it.
pub async fn authority(
    client: &Client,
    namespace: &str,
    maker: Maker,
) -> Result<Arc<Authority>, RegistrarError> {
    let secrets: Api<Secret> = Api::namespaced(client.clone(), namespace);
    let held =
        || async { secrets.get_opt(NAME).await.map_err(|e| RegistrarError::Api("reading the Secret", e)) };
    let secret = match held().await? {
        Some(secret) => secret,
        None if maker == Maker::Somebody => return Err(RegistrarError::Awaited),
        None => match secrets.create(&PostParams::default(), &fresh()?).await {
            Ok(secret) => secret,
            // Another replica was faster.
            Err(kube::Error::Api(status)) if status.code == 409 => {
                held().await?.ok_or(RegistrarError::Missing("tls.crt"))?
            }
            Err(error) => return Err(RegistrarError::Api("writing the Secret", error)),
        },
    };
    let authority = Authority::from_pem(&text(&secret, "tls.crt")?, &text(&secret, "tls.key")?)?;
    let maps: Api<ConfigMap> = Api::namespaced(client.clone(), namespace);
    let map = json!({
        "apiVersion": "v1", "kind": "ConfigMap", "metadata": { "name": NAME },
        "data": { "ca.crt": authority.certificate() },
    });
    maps.patch(NAME, &PatchParams::apply("cofferdam-controller").force(), &Patch::Apply(&map))
        .await
        .map_err(|error| RegistrarError::Api("publishing the authority's certificate", error))?;
    Ok(Arc::new(authority))
}

fn text(secret: &Secret, key: &'static str) -> Result<String, RegistrarError> {
    let bytes = secret.data.as_ref().and_then(|data| data.get(key)).ok_or(RegistrarError::Missing(key))?;
    Ok(String::from_utf8_lossy(&bytes.0).into_owned())
}

/// Waits until the Secret holds another authority than this, or none.
pub async fn until_superseded(client: &Client, namespace: &str, authority: &Authority) {
    let secrets: Api<Secret> = Api::namespaced(client.clone(), namespace);
    loop {
        tokio::time::sleep(LOOK).await;
        // An API server that does not answer has said nothing.
        let Ok(secret) = secrets.get_opt(NAME).await else { continue };
        let held = secret.and_then(|secret| text(&secret, "tls.crt").ok());
        if held.as_deref() != Some(authority.certificate()) {
            return;
        }
    }
}

/// As [`authority`], tried until it works; what fails is said once.
pub async fn authority_at_last(
    client: &Client,
    namespace: &str,
    maker: Maker,
    say: impl Fn(String),
) -> Arc<Authority> {
    let [mut wait, slowest] = WAIT;
    let mut said = String::new();
    loop {
        match authority(client, namespace, maker).await {
            Ok(authority) => return authority,
            Err(error) if error.to_string() == said => {}
            Err(error) => {
                said = error.to_string();
                say(said.clone());
            }
        }
        tokio::time::sleep(wait).await;
        wait = (wait * 2).min(slowest);
    }
}

fn fresh() -> Result<Secret, RegistrarError> {
    let (certificate, key) = Authority::new(SystemTime::now())?.to_pem();
    let bytes = |text: String| ByteString(text.into_bytes());
    Ok(Secret {
        metadata: ObjectMeta { name: Some(NAME.to_owned()), ..ObjectMeta::default() },
        type_: Some("kubernetes.io/tls".to_owned()),
        data: Some(BTreeMap::from([
            ("tls.crt".to_owned(), bytes(certificate)),
            ("tls.key".to_owned(), bytes(key)),
        ])),
        ..Secret::default()
    })
}

/// A certificate of these names, renewed while the future runs.
pub async fn renew(authority: Arc<Authority>, names: Vec<String>, to: watch::Sender<Arc<Identity>>) {
    loop {
        tokio::time::sleep(VALIDITY / 4).await;
        if let Ok(identity) = authority.issue(&names, SystemTime::now()) {
            to.send_replace(Arc::new(identity));
        }
    }
}

/// Names that the API server knows the webhook by: the Service's, and this machine's for where there is none.
pub fn webhook_names(namespace: &str) -> Vec<String> {
    vec![format!("cofferdam-controller.{namespace}.svc"), "localhost".to_owned()]
}

/// Puts the authority's certificate into the configurations of the webhooks, where there are any.
///
/// # Errors
/// The API server refuses.
pub async fn vouch_for_webhook(client: &Client, authority: &Authority) -> Result<(), RegistrarError> {
    let bundle = json!(ByteString(authority.certificate().as_bytes().to_vec()));
    for resource in [
        ApiResource::erase::<ValidatingWebhookConfiguration>(&()),
        ApiResource::erase::<MutatingWebhookConfiguration>(&()),
    ] {
        vouch_in(&Api::all_with(client.clone(), &resource), &bundle).await?;
    }
    Ok(())
}

async fn vouch_in(api: &Api<DynamicObject>, bundle: &Value) -> Result<(), RegistrarError> {
    let found = api.get_opt(WEBHOOK).await;
    let Some(found) = found.map_err(|e| RegistrarError::Api("reading a webhook's configuration", e))? else {
        return Ok(());
    };
    let mut hooks = found.data.get("webhooks").and_then(Value::as_array).cloned().unwrap_or_default();
    if hooks.iter().all(|hook| hook.pointer("/clientConfig/caBundle") == Some(bundle)) {
        return Ok(());
    }
    for config in hooks.iter_mut().filter_map(|hook| hook.pointer_mut("/clientConfig")?.as_object_mut()) {
        config.insert("caBundle".to_owned(), bundle.clone());
    }
    // Refused when somebody changed it meanwhile; looked at again later.
    let patch =
        json!({ "metadata": { "resourceVersion": found.metadata.resource_version }, "webhooks": hooks });
    let patched = api.patch(WEBHOOK, &PatchParams::default(), &Patch::Merge(&patch)).await;
    patched.map(drop).map_err(|error| RegistrarError::Api("writing a webhook's configuration", error))
}

/// Answers agents that ask for a certificate, and for an authority to open TLS with.
pub fn registrar(
    client: Client,
    namespace: &str,
    authority: Arc<Authority>,
    inspection: watch::Receiver<Authorities>,
) -> Registrar {
    let accounts = format!("system:serviceaccount:{namespace}:");
    Arc::new(move |request| {
        let inspection = inspection.borrow().clone();
        Box::pin(answer(client.clone(), accounts.clone(), Arc::clone(&authority), inspection, request))
    })
}

async fn answer(
    client: Client,
    accounts: String,
    authority: Arc<Authority>,
    inspection: Authorities,
    request: Request,
) -> Answer {
    let user = match review(client.clone(), request.token, AUDIENCE).await {
        Ok(user) => user,
        Err(NotReviewed::Refused(why)) => return Err(why),
        Err(NotReviewed::Unavailable(why)) => return Err(format!("the token cannot be reviewed: {why}")),
    };
    let holder = holder(&user, &accounts)?;
    let now = SystemTime::now();
    let name = match &holder {
        Holder::Node(node) => node_name(node),
        Holder::Other(name) => (*name).to_owned(),
    };
    let certificate =
        authority.sign(&request.signing_request, &[name], now).map_err(|error| error.to_string())?;
    let inspection = match (request.inspection, holder) {
        (Some(asked), Holder::Node(node)) => intermediate(client, &inspection, &asked, &node, now).await,
        (Some(_), Holder::Other(name)) => Err(format!("{name} opens no TLS of pods")),
        (None, _) => Err("it was not asked for".to_owned()),
    };
    Ok(Granted { certificate, inspection })
}

/// An authority of a node, signed by the one that it asks for: the cluster's, or that of a namespace with pods there.
async fn intermediate(
    client: Client,
    authorities: &Authorities,
    asked: &InspectionRequest,
    node: &str,
    now: SystemTime,
) -> Result<String, String> {
    let (root, secret) = match &asked.of {
        Signer::Cluster => (authorities.cluster.clone()?, SECRET.to_owned()),
        Signer::Namespace(name) => {
            let root = authorities.of_namespace(name)?;
            // That there is such a namespace is known by now.
            let here = format!("spec.nodeName={node},status.phase!=Succeeded,status.phase!=Failed");
            let pods: Api<Pod> = Api::namespaced(client, name);
            let found = pods.list_metadata(&ListParams::default().fields(&here)).await;
            let found = found.map_err(|error| {
                format!("it is not known which pods of namespace {name} are on {node}: {}", chain(&error))
            })?;
            if !is_host(found.items.iter().map(|pod| &pod.metadata)) {
                return Err(format!("namespace {name} has no pod on {node} that the cluster placed there"));
            }
            (root, format!("{name}/{SECRET}"))
        }
    };
    let signed = root.intermediate(&asked.signing_request, node, now);
    signed.map_err(|error| format!("Secret {secret}: {error}"))
}

/// Whether these pods of a node are there because the cluster put one there. A node may itself say that it runs a pod of any
/// namespace, but only as a mirror of a static pod of its own (NodeRestriction), and nobody can take that mark off.
fn is_host<'p>(mut pods: impl Iterator<Item = &'p ObjectMeta>) -> bool {
    let is_mirror = |pod: &ObjectMeta| pod.annotations.as_ref().is_some_and(|it| it.contains_key(MIRROR));
    pods.any(|pod| !is_mirror(pod))
}

/// Who asks.
#[derive(Debug, PartialEq, Eq)]
enum Holder {
    /// The agent of a node.
    Node(String),
    /// A replica of something that there is once in a cluster, by the name in its certificate.
    Other(&'static str),
}

/// Who that is, of those whose service accounts begin so.
fn holder(user: &UserInfo, accounts: &str) -> Result<Holder, String> {
    let name = user.username.as_deref().unwrap_or_default();
    let account = name.strip_prefix(accounts).unwrap_or_default();
    if let Some((_, name)) = OTHERS.iter().find(|(known, _)| *known == account) {
        return Ok(Holder::Other(name));
    }
    if account != AGENT {
        let others = OTHERS.map(|(known, _)| known).join(", ");
        return Err(format!("the token is of {name}, not of {AGENT}, {others} of this namespace"));
    }
    let nodes = user.extra.as_ref().and_then(|extra| extra.get(NODE_NAME)).map(Vec::as_slice);
    match nodes {
        Some([node]) => Ok(Holder::Node(node.clone())),
        Some(_) | None => {
            Err("the token is not bound to a pod on a node (Kubernetes 1.32 or later is needed)".to_owned())
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn user(name: &str, node: Option<&str>) -> UserInfo {
        let extra = node.map(|node| BTreeMap::from([(NODE_NAME.to_owned(), vec![node.to_owned()])]));
        UserInfo { username: Some(name.to_owned()), extra, ..UserInfo::default() }
    }

    #[test]
    fn a_node_is_no_host_by_what_it_says_itself() {
        let pod = |annotation: Option<&str>| ObjectMeta {
            annotations: annotation.map(|it| [(it.to_owned(), "x".to_owned())].into()),
            ..ObjectMeta::default()
        };
        let (placed, mirror) = (pod(Some("a")), pod(Some("kubernetes.io/config.mirror")));
        assert!(is_host([&mirror, &placed].into_iter()) && is_host([&pod(None)].into_iter()));
        assert!(!is_host([&mirror].into_iter()) && !is_host([].into_iter()));
    }

    #[test]
    fn a_service_account_has_one_name_and_others_none() {
        const OURS: &str = "system:serviceaccount:sys:";
        let of = |name: &str, node| holder(&user(&format!("{OURS}{name}"), node), OURS);
        assert_eq!(of("cofferdam-agent", Some("a")), Ok(Holder::Node("a".to_owned())));
        assert_eq!(of("cofferdam-egress-gateway", Some("a")), Ok(Holder::Other(GATEWAY)));
        assert_eq!(of("cofferdam-ingress-gateway", None), Ok(Holder::Other(INGRESS)));
        assert_eq!(of("cofferdam-collector", None), Ok(Holder::Other(COLLECTOR)));
        assert!(of("cofferdam-agent", None).is_err());
        for stranger in ["system:serviceaccount:other:cofferdam-collector", "cofferdam-collector", "", OURS] {
            assert!(holder(&user(stranger, Some("a")), OURS).is_err(), "{stranger}");
        }
    }
}
