//! The kernel as enforcer: every check is a real connection attempt between namespaces.
//!
//! The evidence is two-sided. A check is allowed when something came back from its destination, denied when the kernel
//! reported the drop of exactly this connection and nothing came back. Silence alone, or both, is a failure. Where agents
//! enforce, the reports are theirs, and silence is a denial.

use super::case::{Check, End, Round};
use super::cluster::{self, Cluster as Whole};
use super::judge::{self, addresses_of, nodes_with_pods, place};
use anyhow::{Context, Result, bail};
use compiler::lower::{Cluster, Placement, Scope};
use datapath::{Config, Datapath, Event, EventSource, NftDatapath};
use lab::{Evidence, Lab, Network, NodePlan, Outcome, Place, Plan, PodPlan, Probe, ProbeTuple, probe_all};
use policy::{Generation, Labels, Node, PolicySet, Protocol, Verdict};
use std::collections::{BTreeMap, BTreeSet, HashSet};
use std::net::IpAddr;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::thread::JoinHandle;
use std::time::Duration;

/// A packet that was neither answered nor reported as dropped by then is lost.
const DEADLINE: Duration = Duration::from_secs(3);
/// Where silence is a denial, it is waited for so long.
const SILENCE: Duration = Duration::from_millis(1500);
/// Connections tried at the same time; keeps within the usual limit of open files.
const BATCH: usize = 400;
/// Nodes for pods that manifests bind to none.
const LAB_NODES: [&str; 2] = ["cofferdam-verify", "cofferdam-verify-too"];

/// What one check gave.
pub(super) enum Given {
    Verdict(Verdict),
    Failed(String),
    /// Packets cannot settle it: none can be sent between these ends, or it is about pods without addresses.
    NotSendable,
}

/// Judges rounds with real packets; keeps its lab while rounds have the same pods, nodes and addresses.
#[derive(Default)]
pub(super) struct Kernel {
    /// Who puts policy in force; nobody: this process does.
    whole: Option<Whole>,
    network: Network,
    ground: Option<Ground>,
    generation: u64,
    /// Labs made so far.
    pub labs: usize,
    /// Connections tried so far.
    pub packets: usize,
}

/// A lab, an enforcement point on each node, and what they report.
struct Ground {
    plan: Plan,
    datapaths: BTreeMap<Arc<str>, NftDatapath>,
    dropped: Arc<Dropped>,
    stop: Arc<AtomicBool>,
    readers: Vec<JoinHandle<()>>,
    // After what lives in it.
    lab: Lab,
}

/// Every connection that a kernel reported as denied.
#[derive(Default)]
struct Dropped {
    tuples: Mutex<HashSet<ProbeTuple>>,
    lost: AtomicU64,
}

impl Kernel {
    /// With agents that put policy in force, or without; and how pods hang on their nodes.
    pub(super) fn new(whole: Option<Whole>, network: Network) -> Self {
        Self { whole, network, ..Self::default() }
    }

    /// Judges the checks of a round, in order.
    pub(super) fn judge(&mut self, round: &Round, checks: &[Check]) -> Result<Vec<Given>> {
        let mut set = round.set.clone();
        schedule(&mut set, if self.whole.is_some() { &LAB_NODES } else { &LAB_NODES[..1] });
        let mut placement = place(&mut set.world).placement;
        let mut plan = Plan { network: self.network, ..plan(&set, &placement, checks)? };
        if self.whole.is_some() {
            // A pod that an API server knows has the address that its packets have.
            for pod in set.world.pods.iter_mut().map(Arc::make_mut) {
                let placed = placement.remove(&(pod.namespace.clone(), pod.name.clone()));
                pod.addresses.extend(placed.unwrap_or_default());
            }
            plan.outside.push(cluster::ADDRESS);
        }
        if self.ground.as_ref().is_none_or(|ground| ground.plan != plan) {
            // One lab at a time: the addresses of the next may be those of the last.
            self.ground = None;
            let ground = Ground::up(plan, self.whole.is_none())?;
            if let Some(whole) = &mut self.whole {
                whole.enter(&ground.lab, &ground.plan.nodes)?;
            }
            self.ground = Some(ground);
            self.labs += 1;
        }
        let ground = self.ground.as_mut().context("the lab just made")?;
        self.generation += 1;
        if let Some(whole) = &mut self.whole {
            whole.enforce(&ground.lab, &set, &round.manifests, &round.catalog)?;
        }
        let cluster = Cluster::load(&set);
        for (node, datapath) in &mut ground.datapaths {
            let mut table = cluster.lower(Scope::Node(node), &placement)?;
            table.generation = Generation(self.generation);
            let _applied = datapath.apply(&table).with_context(|| format!("node {node}"))?;
        }
        let mut given = Vec::new();
        for batch in checks.chunks(BATCH) {
            given.extend(self.judge_batch(&set, &placement, batch)?);
        }
        Ok(given)
    }

    fn judge_batch(
        &mut self,
        set: &PolicySet,
        placement: &Placement,
        checks: &[Check],
    ) -> Result<Vec<Given>> {
        let ground = self.ground.as_ref().context("a lab")?;
        let mut probes = Vec::new();
        let mut owners = Vec::new();
        for (i, check) in checks.iter().enumerate() {
            if self.whole.is_some() && judge::reference(set, check)?.verdict != check.expected {
                // It would hold of pods without addresses, and these have some.
                continue;
            }
            for probe in probes_of(set, placement, check)? {
                probes.push(probe);
                owners.push(i);
            }
        }
        self.packets += probes.len();
        // Source ports come round again: what was dropped before is no evidence now.
        ground.dropped.tuples.lock().unwrap_or_else(PoisonError::into_inner).clear();
        let dropped = ground.dropped.clone();
        let evidence: Evidence = Arc::new(move |tuple| {
            // The kernel's report of an echo request carries no identifier.
            let source_port = if tuple.protocol.has_ports() { tuple.source_port } else { 0 };
            let tuple = ProbeTuple { source_port, ..*tuple };
            dropped.tuples.lock().unwrap_or_else(PoisonError::into_inner).contains(&tuple)
        });
        let deadline = if self.whole.is_some() { SILENCE } else { DEADLINE };
        let outcomes = probe_all(&ground.lab, &probes, deadline, &evidence)?;
        let mut given: Vec<Given> = checks.iter().map(|_| Given::NotSendable).collect();
        for ((owner, outcome), probe) in owners.into_iter().zip(outcomes).zip(&probes) {
            let found = match outcome {
                Outcome::Answered => Given::Verdict(Verdict::Allow),
                Outcome::Denied => Given::Verdict(Verdict::Deny),
                Outcome::Silent if self.whole.is_some() => Given::Verdict(Verdict::Deny),
                Outcome::Silent => Given::Failed(format!("no answer and no report of a drop ({probe:?})")),
                Outcome::Contradiction => {
                    Given::Failed(format!("answered and reported as dropped ({probe:?})"))
                }
                Outcome::Failed(why) => Given::Failed(format!("{why} ({probe:?})")),
            };
            let slot = given.get_mut(owner).context("an owner is a check")?;
            *slot = match (std::mem::replace(slot, Given::NotSendable), found) {
                (Given::NotSendable, found) => found,
                (Given::Verdict(a), Given::Verdict(b)) if a == b => Given::Verdict(a),
                (Given::Verdict(_), Given::Verdict(_)) => {
                    Given::Failed("the address families disagree".into())
                }
                (Given::Failed(why), _) | (_, Given::Failed(why)) => Given::Failed(why),
                (before, Given::NotSendable) => before,
            };
        }
        Ok(given)
    }

    /// Reports of drops that the kernel could not deliver.
    pub(super) fn lost(&self) -> u64 {
        self.ground.as_ref().map_or(0, |ground| ground.dropped.lost.load(Ordering::Relaxed))
    }
}

impl Ground {
    /// `enforces`: whether this process is to enforce.
    fn up(plan: Plan, enforces: bool) -> Result<Self> {
        let lab = Lab::up(plan.clone())?;
        let mut ground = Self {
            plan,
            datapaths: BTreeMap::new(),
            dropped: Arc::default(),
            stop: Arc::default(),
            readers: Vec::new(),
            lab,
        };
        // Every drop is a report of its own here: a tuple tried again is another check.
        let config = Config { guard: vec!["cfd".into()], quiet_ms: 0, ..Config::default() };
        for node in ground.plan.nodes.iter().filter(|_| enforces) {
            let (config, place) = (config.clone(), Place::Node(node.name.clone()));
            let opened = ground.lab.run(&place, move || {
                Ok::<_, datapath::ApplyError>((
                    EventSource::open(config.log_group)?,
                    NftDatapath::open(config)?,
                ))
            })?;
            let (events, datapath) = opened.with_context(|| format!("node {}", node.name))?;
            let (dropped, stop) = (ground.dropped.clone(), ground.stop.clone());
            ground.readers.push(std::thread::spawn(move || collect(events, &dropped, &stop)));
            ground.datapaths.insert(node.name.as_str().into(), datapath);
        }
        Ok(ground)
    }
}

impl Drop for Ground {
    fn drop(&mut self) {
        self.stop.store(true, Ordering::Relaxed);
        for reader in self.readers.drain(..) {
            drop(reader.join());
        }
    }
}

fn collect(mut source: EventSource, dropped: &Dropped, stop: &AtomicBool) {
    let mut events = Vec::new();
    while !stop.load(Ordering::Relaxed) {
        if !source.wait(Duration::from_millis(50)).unwrap_or(false) {
            continue;
        }
        if source.read(&mut events).is_err() {
            dropped.lost.fetch_add(1, Ordering::Relaxed);
        }
        let mut tuples = dropped.tuples.lock().unwrap_or_else(PoisonError::into_inner);
        for event in events.drain(..) {
            match event {
                Event::Denied { flow, .. } => {
                    tuples.insert(ProbeTuple {
                        source: flow.from,
                        source_port: flow.from_port,
                        destination: flow.to,
                        protocol: flow.protocol,
                        port: flow.to_port,
                    });
                }
                Event::Lost(n) => drop(dropped.lost.fetch_add(n, Ordering::Relaxed)),
                Event::Opened { .. } | Event::Closed(_) => {}
            }
        }
    }
}

/// Binds every pod to a node that exists. A pod of no node, and a node nobody declared, come without labels: no peer
/// speaks of them.
fn schedule(set: &mut PolicySet, nodes: &[&str]) {
    let own = set.world.pods.iter_mut().filter(|pod| pod.cluster().is_none());
    for (pod, next) in own.map(Arc::make_mut).zip(nodes.iter().cycle()) {
        let node = pod.node.get_or_insert_with(|| (*next).into()).clone();
        let declare = || Node { name: node.clone(), labels: Labels::default(), addresses: Vec::new() };
        set.world.nodes.entry(node.clone()).or_insert_with(declare);
    }
}

fn plan(set: &PolicySet, placement: &Placement, checks: &[Check]) -> Result<Plan> {
    let world = &set.world;
    let mut plan = Plan::default();
    for node in world.nodes.values() {
        plan.nodes.push(NodePlan { name: node.name.to_string(), addresses: node.addresses.clone() });
    }
    for pod in world.pods.iter().filter(|pod| !pod.host_network && pod.cluster().is_none()) {
        let end = End::Pod(pod.namespace.to_string(), pod.name.to_string());
        plan.pods.push(PodPlan {
            namespace: pod.namespace.to_string(),
            name: pod.name.to_string(),
            node: pod.node.as_deref().unwrap_or_default().to_owned(),
            addresses: addresses_of(world, placement, &end)?,
            ports: Vec::new(),
            host_network: false,
            command: None,
            env: Vec::new(),
            directory: None,
            files: Vec::new(),
        });
    }
    let known: BTreeSet<IpAddr> = plan
        .nodes
        .iter()
        .flat_map(|node| &node.addresses)
        .chain(plan.pods.iter().flat_map(|pod| &pod.addresses))
        .copied()
        .collect();
    let written = checks.iter().flat_map(|check| [&check.from, &check.to]).filter_map(|end| match end {
        End::Address(address) => Some(*address),
        End::Pod(..) => None,
    });
    let outside: BTreeSet<IpAddr> = written.filter(|a| !known.contains(a) && is_usable(*a)).collect();
    plan.outside = outside.into_iter().collect();
    if nodes_with_pods(world).is_empty() {
        bail!("no pod to enforce");
    }
    Ok(plan)
}

/// Whether packets can be sent between the ends, as far as the case writes their addresses.
pub(super) fn is_sendable(check: &Check) -> bool {
    [&check.from, &check.to].into_iter().all(|end| match end {
        End::Address(address) => is_usable(*address),
        End::Pod(..) => true,
    })
}

/// Whether a host can have the address: the kernel refuses to send to or from the others.
fn is_usable(address: IpAddr) -> bool {
    match address {
        IpAddr::V4(v4) => {
            let [first, ..] = v4.octets();
            (1..224).contains(&first) && first != 127
        }
        IpAddr::V6(v6) => {
            !v6.is_unspecified() && !v6.is_loopback() && !v6.is_multicast() && !v6.is_unicast_link_local()
        }
    }
}

/// One probe per address family that both ends have.
fn probes_of(set: &PolicySet, placement: &Placement, check: &Check) -> Result<Vec<Probe>> {
    let (froms, tos) =
        (addresses_of(&set.world, placement, &check.from)?, addresses_of(&set.world, placement, &check.to)?);
    let mut probes = Vec::new();
    for source in froms.iter().filter(|address| is_usable(**address)) {
        for to in tos.iter().filter(|to| to.is_ipv4() == source.is_ipv4() && is_usable(**to)) {
            let from = place_of(set, &check.from, *source)?;
            let protocol = match check.protocol {
                Protocol::ICMP if !source.is_ipv4() => Protocol::ICMPV6,
                other => other,
            };
            probes.push(Probe { from, source: Some(*source), to: *to, protocol, port: check.port });
        }
    }
    Ok(probes)
}

fn place_of(set: &PolicySet, end: &End, address: IpAddr) -> Result<Place> {
    let pod = match end {
        End::Pod(namespace, name) => set.world.find_pod(namespace, name).context("a pod of the case")?,
        End::Address(_) => {
            if let Some(pod) =
                set.world.pods.iter().find(|p| !p.host_network && p.addresses.contains(&address))
                && pod.cluster().is_none()
            {
                return Ok(Place::Pod(pod.namespace.to_string(), pod.name.to_string()));
            }
            let node = set.world.nodes.values().find(|node| node.addresses.contains(&address));
            return Ok(node.map_or(Place::Outside, |node| Place::Node(node.name.to_string())));
        }
    };
    if pod.cluster().is_some() {
        return Ok(Place::Outside);
    }
    if pod.host_network {
        return Ok(Place::Node(pod.node.as_deref().unwrap_or_default().to_owned()));
    }
    Ok(Place::Pod(pod.namespace.to_string(), pod.name.to_string()))
}
