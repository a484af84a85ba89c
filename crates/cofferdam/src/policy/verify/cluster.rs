//! The whole way as enforcer: objects to an API server, a controller that watches it, an agent on every node of the lab.
//!
//! Enters: a round as objects. Leaves: the same state in the kernels of the lab's nodes, put there by agents.
//! Guarantees: says that a state is in force only when every agent said so of what the API server holds.
//! Does not: send packets, or remove namespaces, which no server does at once.

use crate::up::client::ask;
use crate::up::names::Names;
use crate::up::protocol::{Answer, Request};
use anyhow::{Context, Result, bail};
use controller::authority::Authority;
use controller::{Kind, Reads};
use crds::Catalog;
use feed::server::Feed;
use feed::tls::{CONTROLLER, node_name};
use feed::{Digest, Key, Parts};
use kube::api::{DeleteParams, DynamicObject, ListParams, Patch, PatchParams, PostParams};
use kube::core::ApiResource;
use kube::{Api, Client};
use lab::{Lab, NodePlan, Place};
use policy::{DnsName, Generation, PodName, PolicySet, Resolved};
use serde_json::{Value, json};
use std::collections::BTreeMap;
use std::net::{IpAddr, Ipv4Addr, SocketAddr, TcpListener};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::sync::Arc;
use std::time::{Duration, Instant, SystemTime};
use tokio::runtime::Runtime;
use tokio::sync::watch;
use tokio::task::JoinHandle;

/// Where the controller is: outside the cluster, at an address that no case uses (RFC 2544).
pub(super) const ADDRESS: IpAddr = IpAddr::V4(Ipv4Addr::new(198, 19, 255, 254));
const PORT: u16 = 9443;
/// How long a state may take to be in force.
const PATIENCE: Duration = Duration::from_secs(60);
/// Seconds for which DNS answers hold.
const TAUGHT: u64 = 3600;
/// Who wrote what this writes.
const MANAGER: &str = "cofferdam-verify";

/// Policies and pods of one kind and place: kind, namespace, name.
type Name = (Kind, String, String);

/// An API server, and what serves the lab's nodes.
pub(super) struct Cluster {
    runtime: Runtime,
    client: Client,
    authority: Authority,
    /// What was written.
    held: BTreeMap<Name, Value>,
    feed: Feed,
    catalog: watch::Sender<Arc<Catalog>>,
    tasks: Vec<JoinHandle<()>>,
    agents: Vec<Agent>,
    folder: PathBuf,
    /// What agents know that DNS answered.
    taught: BTreeMap<PodName, Resolved>,
}

struct Agent {
    node: String,
    process: Child,
    log: PathBuf,
}

impl Drop for Agent {
    fn drop(&mut self) {
        // It may have ended by itself.
        let _ = self.process.kill();
        let _ = self.process.wait();
    }
}

impl Cluster {
    /// The cluster of a kubeconfig. Everything in it may be removed.
    pub(super) fn open(kubeconfig: &Path) -> Result<Self> {
        let runtime = tokio::runtime::Builder::new_multi_thread().worker_threads(2).enable_all().build()?;
        let client = runtime.block_on(crate::control::client(Some(kubeconfig)))?;
        runtime.block_on(clear(&client)).context("removing the pods and policies of before")?;
        let folder = std::env::temp_dir().join(format!("cofferdam-verify-{}", std::process::id()));
        Ok(Self {
            runtime,
            client,
            authority: Authority::new(SystemTime::now())?,
            held: BTreeMap::new(),
            feed: Feed::default(),
            catalog: watch::Sender::default(),
            tasks: Vec::new(),
            agents: Vec::new(),
            folder,
            taught: BTreeMap::new(),
        })
    }

    /// Starts a controller and the agents of a new lab.
    pub(super) fn enter(&mut self, lab: &Lab, nodes: &[NodePlan]) -> Result<()> {
        self.leave();
        self.feed = Feed::default();
        let address = SocketAddr::new(ADDRESS, PORT);
        let listener = lab.run(&Place::Outside, move || TcpListener::bind(address))??;
        listener.set_nonblocking(true)?;
        let identity = self.authority.issue(&[CONTROLLER.to_owned()], SystemTime::now())?;
        let (feed, client, catalog) = (self.feed.clone(), self.client.clone(), self.catalog.subscribe());
        let _entered = self.runtime.enter();
        let listener = tokio::net::TcpListener::from_std(listener)?;
        let serving = self.feed.clone();
        let serve = async move {
            let (_identity, latest) = watch::channel(Arc::new(identity));
            serving.serve(listener, latest, None).await;
        };
        self.tasks.push(tokio::spawn(serve));
        self.tasks.push(tokio::spawn(controller::run(
            client,
            feed,
            catalog,
            watch::Sender::default(),
            Reads::default(),
            None,
        )));
        for node in nodes {
            let agent = self.agent(lab, &node.name).with_context(|| format!("the agent of {}", node.name))?;
            self.agents.push(agent);
        }
        Ok(())
    }

    fn leave(&mut self) {
        self.agents.clear();
        self.taught.clear();
        self.tasks.drain(..).for_each(|task| task.abort());
        // Nothing of one lab is of use to the next.
        let _ = std::fs::remove_dir_all(&self.folder);
    }

    fn agent(&self, lab: &Lab, node: &str) -> Result<Agent> {
        let folder = self.folder.join(node);
        std::fs::create_dir_all(&folder)?;
        let identity = self.authority.issue(&[node_name(node)], SystemTime::now())?;
        for (name, text) in
            [("tls.crt", identity.chain), ("tls.key", identity.key), ("ca.crt", identity.authority)]
        {
            std::fs::write(folder.join(name), text)?;
        }
        let log = folder.join("log");
        let out = std::fs::File::create(&log)?;
        let mut command = Command::new(std::env::current_exe()?);
        command
            .args(["agent", "--node", node, "--guard", "cfd", "--controller", &format!("{ADDRESS}:{PORT}")])
            // Nothing is resolved here, and a DNS proxy would outlive its agent.
            .arg("--no-dns")
            .args([Path::new("--certificates"), &folder, Path::new("--state"), &folder])
            .stdout(out.try_clone()?)
            .stderr(out)
            .stdin(Stdio::null());
        let process = lab.run(&Place::Node(node.to_owned()), move || command.spawn())??;
        Ok(Agent { node: node.to_owned(), process, log })
    }

    /// Puts a state in force: writes what differs, waits for every node.
    pub(super) fn enforce(
        &mut self,
        lab: &Lab,
        set: &PolicySet,
        policies: &[Value],
        catalog: &Arc<Catalog>,
    ) -> Result<()> {
        self.catalog.send_if_modified(|held| {
            let differs = held != catalog;
            held.clone_from(catalog);
            differs
        });
        let wanted = wanted(set, policies)?;
        let (client, held) = (self.client.clone(), &self.held);
        self.runtime.block_on(write(&client, held, &wanted))?;
        self.held = wanted;
        let holds = self.runtime.block_on(holds(&client, catalog))?;
        let end = Instant::now() + PATIENCE;
        let nodes: Vec<&Arc<str>> = set.world.nodes.keys().collect();
        while !self.is_in_force(&holds, &nodes) {
            if Instant::now() > end {
                bail!("{}", self.what_is_missing(&holds));
            }
            std::thread::sleep(Duration::from_millis(5));
        }
        if self.taught != set.world.names {
            self.teach(lab, &set.world.names)?;
        }
        Ok(())
    }

    /// Has agents know what DNS answered pods: as if they had learned it before they were started anew.
    fn teach(&mut self, lab: &Lab, names: &BTreeMap<PodName, Resolved>) -> Result<()> {
        let now = SystemTime::now().duration_since(SystemTime::UNIX_EPOCH)?.as_secs();
        let generation = self.feed.current().map(|current| current.generation);
        let nodes: Vec<String> = self.agents.drain(..).map(|agent| agent.node.clone()).collect();
        for node in nodes {
            let folder = self.folder.join(&node);
            let path = folder.join("names");
            match std::fs::remove_file(&path) {
                Err(error) if error.kind() != std::io::ErrorKind::NotFound => return Err(error.into()),
                Ok(()) | Err(_) => {}
            }
            let mut known = Names::recall(&path, now)?;
            for (pod, resolved) in names {
                for (address, names) in &resolved.live {
                    let names: Vec<DnsName> = names.iter().cloned().collect();
                    known.learn(pod, &names, &[*address], now + TAUGHT)?;
                }
            }
            self.agents.push(self.agent(lab, &node)?);
            let end = Instant::now() + PATIENCE;
            while !is_enforced(&folder.join("cofferdam.sock"), generation) {
                if Instant::now() > end {
                    bail!("the agent of {node} did not come back with what DNS answered");
                }
                std::thread::sleep(Duration::from_millis(5));
            }
        }
        self.taught = names.clone();
        Ok(())
    }

    fn is_in_force(&self, holds: &BTreeMap<Key, Digest>, nodes: &[&Arc<str>]) -> bool {
        let Some(current) = self.feed.current().filter(|it| digests(&it.parts) == *holds) else {
            return false;
        };
        let standings = self.feed.standings();
        let standings = standings.borrow();
        nodes.iter().all(|node| {
            let standing = standings.get(*node);
            standing.is_some_and(|it| it.problem.is_empty() && it.enforced >= Some(current.generation))
        })
    }

    fn what_is_missing(&self, holds: &BTreeMap<Key, Digest>) -> String {
        let current = self.feed.current();
        let published = current.as_ref().map(|it| it.generation);
        let is_published = current.as_ref().is_some_and(|it| digests(&it.parts) == *holds);
        let logs = self.agents.iter().map(|agent| std::fs::read_to_string(&agent.log).unwrap_or_default());
        format!(
            "after {PATIENCE:?} not in force on every node: published {published:?} (what the API server holds: \
             {is_published}), nodes {:?}, agents said {:?}",
            self.feed.standings().borrow(),
            logs.collect::<Vec<_>>()
        )
    }
}

impl Drop for Cluster {
    fn drop(&mut self) {
        self.leave();
    }
}

/// Whether an agent says that it enforces this generation.
fn is_enforced(socket: &Path, generation: Option<Generation>) -> bool {
    let answer = ask(Some(socket), &Request::Status {}).ok().and_then(|mut answers| answers.next());
    match answer {
        Some(Ok(Answer::Status(status))) => status.nodes.iter().all(|node| node.enforced >= generation),
        Some(_) | None => false,
    }
}

fn digests(parts: &Parts) -> BTreeMap<Key, Digest> {
    parts.resources.values().map(|encoded| (encoded.key.clone(), encoded.digest)).collect()
}

/// The objects of a state. Pods carry the addresses that the lab gave them.
fn wanted(set: &PolicySet, policies: &[Value]) -> Result<BTreeMap<Name, Value>> {
    let mut wanted = BTreeMap::new();
    let mut add = |kind: Kind, namespace: &str, name: &str, object| {
        wanted.insert((kind, namespace.to_owned(), name.to_owned()), object);
    };
    let world = &set.world;
    if let Some(pod) = world.pods.iter().find(|pod| pod.cluster().is_some()) {
        bail!(
            "pod {pod} is of another cluster, which no object of this one says: verify it with --enforcer kernel"
        );
    }
    let names = world.namespaces.keys().chain(world.pods.iter().map(|pod| &pod.namespace));
    for name in names {
        let labels = world.namespaces.get(name).map(|it| it.labels.clone()).unwrap_or_default();
        add(Kind::Namespace, "", name, json!({ "metadata": { "name": name, "labels": labels } }));
    }
    for node in world.nodes.values() {
        let addresses: Vec<_> =
            node.addresses.iter().map(|ip| json!({ "type": "InternalIP", "address": ip })).collect();
        let metadata = json!({ "name": node.name, "labels": node.labels });
        add(
            Kind::Node,
            "",
            &node.name,
            json!({ "metadata": metadata, "status": { "addresses": addresses } }),
        );
    }
    for pod in &world.pods {
        let ports = pod.ports.iter().enumerate().map(|(i, port)| {
            let port = json!({ "name": port.name, "protocol": port.protocol.to_string(), "containerPort": port.port });
            json!({ "name": format!("c{i}"), "image": "none", "ports": [port] })
        });
        let containers: Vec<_> = ports.chain([json!({ "name": "main", "image": "none" })]).collect();
        let addresses: Vec<_> = pod.addresses.iter().map(|ip| json!({ "ip": ip })).collect();
        let object = json!({
            "metadata": { "namespace": pod.namespace, "name": pod.name, "labels": pod.labels },
            "spec": { "nodeName": pod.node, "hostNetwork": pod.host_network, "containers": containers },
            "status": { "phase": "Running", "podIPs": addresses },
        });
        add(Kind::Pod, &pod.namespace, &pod.name, object);
    }
    for policy in policies {
        let text = |pointer: &str| policy.pointer(pointer).and_then(Value::as_str).unwrap_or_default();
        let Some(kind) = Kind::ALL.into_iter().find(|kind| kind.resource().kind == text("/kind")) else {
            continue;
        };
        let namespace = match kind {
            Kind::NetworkPolicy | Kind::EgressPolicy => {
                Some(text("/metadata/namespace")).filter(|it| !it.is_empty()).unwrap_or("default")
            }
            Kind::ClusterNetworkPolicy
            | Kind::AdminNetworkPolicy
            | Kind::BaselineAdminNetworkPolicy
            | Kind::ClusterEgressPolicy
            | Kind::Containment => "",
            // The last says nothing of what is allowed.
            Kind::Namespace
            | Kind::Node
            | Kind::Pod
            | Kind::Secret
            | Kind::IdentitySlice
            | Kind::ImportedSlice
            | Kind::DetectionPolicy => continue,
        };
        let mut object = policy.clone();
        put(
            &mut object,
            "metadata",
            json!({ "name": text("/metadata/name"), "labels": policy.pointer("/metadata/labels") }),
        );
        add(kind, namespace, text("/metadata/name"), object);
    }
    Ok(wanted)
}

fn put(object: &mut Value, field: &str, value: Value) {
    if let Some(fields) = object.as_object_mut() {
        fields.insert(field.to_owned(), value);
    }
}

/// Makes the server hold what is wanted, where it was left with what is held.
async fn write(client: &Client, held: &BTreeMap<Name, Value>, wanted: &BTreeMap<Name, Value>) -> Result<()> {
    let api = |(kind, namespace, _): &Name| -> (Api<DynamicObject>, ApiResource) {
        let resource = kind.resource();
        let api = match namespace.as_str() {
            "" => Api::all_with(client.clone(), &resource),
            namespace => Api::namespaced_with(client.clone(), namespace, &resource),
        };
        (api, resource)
    };
    let removed = |name: &Name, held: &Value| match name.0 {
        Kind::Namespace => false,
        // Little of a pod can be changed.
        Kind::Pod => wanted.get(name) != Some(held),
        Kind::Node
        | Kind::Secret
        | Kind::NetworkPolicy
        | Kind::ClusterNetworkPolicy
        | Kind::AdminNetworkPolicy
        | Kind::BaselineAdminNetworkPolicy
        | Kind::EgressPolicy
        | Kind::ClusterEgressPolicy
        | Kind::DetectionPolicy
        | Kind::IdentitySlice
        | Kind::ImportedSlice
        | Kind::Containment => !wanted.contains_key(name),
    };
    for (name, _) in held.iter().filter(|(name, held)| removed(name, held)) {
        let (api, _) = api(name);
        api.delete(&name.2, &DeleteParams::default().grace_period(0))
            .await
            .with_context(|| format!("removing {name:?}"))?;
    }
    for (name, object) in wanted.iter().filter(|(name, object)| held.get(*name) != Some(*object)) {
        let (api, resource) = api(name);
        let mut object = object.clone();
        put(&mut object, "apiVersion", resource.api_version.into());
        put(&mut object, "kind", resource.kind.into());
        let status = object.as_object_mut().and_then(|fields| fields.remove("status"));
        let written = if name.0 == Kind::Pod {
            let pod = serde_json::from_value(object)?;
            api.create(&PostParams::default(), &pod).await
        } else {
            api.patch(&name.2, &PatchParams::apply(MANAGER).force(), &Patch::Apply(&object)).await
        };
        written.with_context(|| format!("writing {name:?}"))?;
        if let Some(status) = status {
            let patch = Patch::Merge(json!({ "status": status }));
            api.patch_status(&name.2, &PatchParams::default(), &patch)
                .await
                .with_context(|| format!("writing the status of {name:?}"))?;
        }
    }
    Ok(())
}

/// Removes every pod, node and policy.
async fn clear(client: &Client) -> Result<()> {
    // Slices are the API server's own where nobody imports any.
    for kind in Kind::ALL.into_iter().filter(|kind| ![Kind::Namespace, Kind::ImportedSlice].contains(kind)) {
        let resource = kind.resource();
        let all: Api<DynamicObject> = Api::all_with(client.clone(), &resource);
        let list = match all.list_metadata(&ListParams::default()).await {
            Ok(list) => list,
            // An add-on that is not there.
            Err(kube::Error::Api(status)) if status.code == 404 => continue,
            Err(error) => return Err(error.into()),
        };
        for item in list {
            let api: Api<DynamicObject> = match &item.metadata.namespace {
                Some(namespace) => Api::namespaced_with(client.clone(), namespace, &resource),
                None => all.clone(),
            };
            api.delete(&item.metadata.name.unwrap_or_default(), &DeleteParams::default().grace_period(0))
                .await?;
        }
    }
    Ok(())
}

/// What the server holds, compiled.
async fn holds(client: &Client, catalog: &Catalog) -> Result<BTreeMap<Key, Digest>> {
    let mut objects = Vec::new();
    for kind in Kind::ALL {
        let resource = kind.resource();
        let api: Api<DynamicObject> = Api::all_with(client.clone(), &resource);
        let items = match api.list(&ListParams::default()).await {
            Ok(list) => list.items,
            // An add-on that is not there.
            Err(kube::Error::Api(status)) if status.code == 404 => continue,
            Err(error) => return Err(error).with_context(|| format!("listing {}", kind.plural())),
        };
        for item in items {
            let mut value = serde_json::to_value(item)?;
            put(&mut value, "apiVersion", resource.api_version.clone().into());
            put(&mut value, "kind", resource.kind.clone().into());
            objects.extend(crds::read_value("the API server", &value).objects);
        }
    }
    Ok(digests(&Parts::new(&compiler::compile_unlinted_with(objects, catalog, Generation(1)).set, None)))
}
