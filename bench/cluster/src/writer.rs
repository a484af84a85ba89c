//! Writes pods and policies straight to the API server, as KWOK does: no kubelet runs them.

use anyhow::Result;
use controller::Kind;
use futures_util::{StreamExt, TryStreamExt, stream};
use kube::api::{DeleteParams, DynamicObject, Patch, PatchParams, PostParams};
use kube::{Api, Client};
use serde_json::{Value, json};
use std::net::Ipv4Addr;
use std::ops::Range;

/// Requests at a time.
pub(crate) const AT_ONCE: usize = 32;
/// Namespaces that pods are spread over.
const NAMESPACES: usize = 100;

pub(crate) struct Writer {
    client: Client,
}

impl Writer {
    pub(crate) fn new(client: Client) -> Self {
        Self { client }
    }

    fn api(&self, kind: Kind, namespace: &str) -> Api<DynamicObject> {
        let resource = kind.resource();
        match namespace {
            "" => Api::all_with(self.client.clone(), &resource),
            namespace => Api::namespaced_with(self.client.clone(), namespace, &resource),
        }
    }

    async fn create(&self, kind: Kind, namespace: &str, object: Value) -> Result<u64> {
        let resource = kind.resource();
        let mut object = object;
        if let Some(fields) = object.as_object_mut() {
            fields.insert("apiVersion".to_owned(), resource.api_version.into());
            fields.insert("kind".to_owned(), resource.kind.into());
        }
        let object: DynamicObject = serde_json::from_value(object)?;
        let made = match self.api(kind, namespace).create(&PostParams::default(), &object).await {
            Ok(made) => made,
            // The namespaces are there from the first time.
            Err(kube::Error::Api(status)) if status.code == 409 => return Ok(0),
            Err(error) => return Err(error.into()),
        };
        Ok(made.metadata.resource_version.and_then(|text| text.parse().ok()).unwrap_or_default())
    }

    /// Pods with an address and labels of their own, the first of every namespace on the node of the agent.
    pub(crate) async fn pods(&self, numbers: Range<usize>, nodes: usize) -> Result<()> {
        for number in 0..NAMESPACES {
            let name = format!("team-{number}");
            let object = json!({ "metadata": { "name": name, "labels": { "team": number.to_string() } } });
            self.create(Kind::Namespace, "", object).await?;
        }
        let one = |number: usize| async move {
            let (namespace, name) = (format!("team-{}", number % NAMESPACES), format!("pod-{number}"));
            let address =
                Ipv4Addr::from_bits(Ipv4Addr::new(10, 100, 0, 0).to_bits() + u32::try_from(number)?);
            let object = json!({
                "metadata": { "name": name, "labels": { "app": format!("app-{}", number % 50), "pod": number.to_string() } },
                "spec": {
                    "nodeName": format!("node-{}", number % nodes),
                    "containers": [{ "name": "c", "image": "i", "ports": [{ "name": "http", "containerPort": 80 }] }],
                },
            });
            self.create(Kind::Pod, &namespace, object).await?;
            let status = json!({ "status": { "phase": "Running", "podIPs": [{ "ip": address }] } });
            self.api(Kind::Pod, &namespace)
                .patch_status(&name, &PatchParams::default(), &Patch::Merge(status))
                .await?;
            Ok::<_, anyhow::Error>(())
        };
        stream::iter(numbers.map(one)).buffer_unordered(AT_ONCE).try_collect::<Vec<()>>().await?;
        Ok(())
    }

    /// Ordinary policies, one after the other in the namespaces; the first, for a pod of the agent's node, speaks of all pods.
    pub(crate) async fn policies(&self, count: usize) -> Result<()> {
        let one = |number: usize| async move {
            let from = if number == 0 {
                json!({ "namespaceSelector": {} })
            } else {
                json!({ "podSelector": { "matchLabels": { "app": format!("app-{}", (number + 1) % 50) } } })
            };
            let namespace = format!("team-{}", number % NAMESPACES);
            let object = json!({
                "metadata": { "name": format!("policy-{number}") },
                "spec": {
                    "podSelector": { "matchLabels": { "app": format!("app-{}", number % 50) } },
                    "ingress": [{ "from": [from], "ports": [{ "port": 1000 + number % 5000 }] }],
                },
            });
            self.create(Kind::NetworkPolicy, &namespace, object).await.map(drop)
        };
        stream::iter((0..count).map(one)).buffer_unordered(AT_ONCE).try_collect::<Vec<()>>().await?;
        Ok(())
    }

    /// A policy for the pod of `team-0` on the agent's node. Returns its revision.
    pub(crate) async fn probe_policy(&self, number: usize) -> Result<u64> {
        let object = json!({
            "metadata": { "name": format!("probe-{number}") },
            "spec": {
                "podSelector": { "matchLabels": { "pod": "0" } },
                "ingress": [{ "from": [{ "podSelector": {} }], "ports": [{ "port": 7000 + number % 1000 }] }],
            },
        });
        self.create(Kind::NetworkPolicy, "team-0", object).await
    }

    /// A policy that every pod of the cluster is subject of.
    pub(crate) async fn policy_for_all(&self, priority: u32) -> Result<u64> {
        let object = json!({
            "metadata": { "name": format!("all-{priority}") },
            "spec": {
                "tier": "Admin", "priority": priority, "subject": { "namespaces": {} },
                "egress": [{ "action": "Deny", "to": [{ "networks": ["198.51.100.0/24"] }] }],
            },
        });
        self.create(Kind::ClusterNetworkPolicy, "", object).await
    }

    /// A namespace that denies everything and allows one thing.
    pub(crate) async fn sandbox(&self, number: u64) -> Result<()> {
        let name = format!("sandbox-{number}");
        self.create(Kind::Namespace, "", json!({ "metadata": { "name": name } })).await?;
        let deny = json!({
            "metadata": { "name": "deny-all" },
            "spec": { "podSelector": {}, "policyTypes": ["Ingress", "Egress"] },
        });
        self.create(Kind::NetworkPolicy, &name, deny).await?;
        let allow = json!({
            "metadata": { "name": "model" },
            "spec": {
                "podSelector": { "matchLabels": { "app": "agent" } },
                "egress": [{ "to": [{ "namespaceSelector": { "matchLabels": { "team": "1" } } }], "ports": [{ "port": 443 }] }],
            },
        });
        self.create(Kind::NetworkPolicy, &name, allow).await?;
        let pod = json!({
            "metadata": { "name": "agent", "labels": { "app": "agent" } },
            "spec": { "nodeName": "node-0", "containers": [{ "name": "c", "image": "i" }] },
        });
        self.create(Kind::Pod, &name, pod).await?;
        let address = Ipv4Addr::from_bits(Ipv4Addr::new(10, 200, 0, 0).to_bits() + u32::try_from(number)?);
        let status = json!({ "status": { "phase": "Running", "podIPs": [{ "ip": address }] } });
        self.api(Kind::Pod, &name)
            .patch_status("agent", &PatchParams::default(), &Patch::Merge(status))
            .await?;
        Ok(())
    }

    /// Takes away what is in it; the namespace itself needs a controller that is not there.
    pub(crate) async fn remove_sandbox(&self, number: u64) -> Result<()> {
        let name = format!("sandbox-{number}");
        let params = DeleteParams::default().grace_period(0);
        self.api(Kind::Pod, &name).delete("agent", &params).await?;
        for policy in ["deny-all", "model"] {
            self.api(Kind::NetworkPolicy, &name).delete(policy, &params).await?;
        }
        self.api(Kind::Namespace, "").delete(&name, &params).await?;
        Ok(())
    }
}
