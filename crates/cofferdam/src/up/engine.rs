//! The heart of `up`: sources in, tables in the kernel out, and the last good policy kept when an edit is broken.
//!
//! Enters: files and folders, and the enforcement points to serve. Leaves: tables applied to them, rule books in the
//! journal, and the standing that `status` shows.
//! Guarantees: a load with errors about policy never replaces a good one; where there is no good one yet, what
//! could not be read is closed and everything else is enforced; generations only grow, over restarts too.
//! Does not: wait for changes, read events, or print.

use super::cluster::Cluster as OfCluster;
use super::dns::{self, DnsArgs};
use super::enforce::{Answers, Enforcer};
use super::ground::Ground;
use super::journal::Journal;
use super::keeper::Listener;
use super::lab_plan::Runs;
use super::memory::Memory;
use super::names::Names;
use super::protocol::{Load, Mode, NodeStatus, Outcome, RuleCount, Status};
use super::quarantine::Quarantines;
use super::shadow::ShadowStatus;
use crate::plain::counted;
use crate::translate::Places;
use anyhow::{Context, Result};
use compiler::lower::{Binder, Cluster, Placement};
use crds::{Code, Diagnostic, Severity};
use gateway::{Egress, Inspection, OwnInspection};
use observe::{Book, Candidate, Time};
use policy::table::Table;
use policy::{
    DomainPattern, Generation, INSPECTION_LABEL, Key, Pod, PodName, PolicySet, RuleId, SecretRef, World,
};
use std::collections::{BTreeMap, BTreeSet, HashMap, HashSet};
use std::net::IpAddr;
use std::sync::Arc;
use std::time::{Instant, SystemTime};

/// Diagnostics that the status carries; the rest is counted.
const SHOWN: usize = 200;
/// Namespaces without the authority that they want that the status names.
const UNOPENED: usize = 20;
/// Pods settled before their sources know their addresses.
const PLACED: usize = 4096;
/// Rules without their key that the status names.
const KEYLESS: usize = 10;
/// Rules that the status lists by packets.
const TOP: usize = 20;
/// Why what rules that look at requests select is closed.
const UNJUDGED: &str = "requests are judged by the gateway, and there is none: --no-gateway or --no-dns";

mod holding;
mod leading;
mod learning;
mod removed;
mod shadow;
#[cfg(test)]
mod tests;

pub(crate) use learning::Leader;
use shadow::Shadow;

/// A sandbox of a pod, as its container runtime names it. A pod that comes again has another.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Sandbox<'a> {
    pub(crate) namespace: &'a str,
    pub(crate) name: &'a str,
    /// Empty: nobody said.
    pub(crate) container: &'a str,
}

impl Sandbox<'_> {
    fn key(self) -> PodName {
        (self.namespace.into(), self.name.into())
    }
}

/// What a pod was settled with.
#[derive(Clone, Debug)]
struct Placed {
    addresses: Vec<IpAddr>,
    /// [`Sandbox::container`].
    container: Arc<str>,
}

/// Everything that is in force, or should be.
pub(crate) struct Engine {
    mode: Mode,
    sources: Vec<String>,
    journal: Arc<Journal>,
    enforcers: Vec<Enforcer>,
    places: Places,
    /// None for a lab: its rules end with it.
    memory: Option<Memory>,
    /// Pods that the lab runs.
    running: Option<Placement>,
    generation: Generation,
    /// The last good policy.
    in_force: Option<PolicySet>,
    /// What the kernel refused.
    refused: Option<Loaded>,
    /// Addresses of pods whose sources do not say them yet.
    placed: BTreeMap<PodName, Placed>,
    /// What DNS answered pods.
    names: Names,
    /// How their DNS is treated.
    dns: DnsArgs,
    /// What of it the kernel does not know yet.
    unbound: BTreeSet<(PodName, IpAddr)>,
    /// Why the kernel could not be told of these.
    why_unbound: String,
    /// Why what DNS answers is not kept.
    unkept: Option<String>,
    /// By pod, as of the set in force.
    addresses: BTreeMap<PodName, Vec<IpAddr>>,
    pods_at: HashMap<IpAddr, PodName>,
    nodes_at: HashSet<IpAddr>,
    /// Why nothing new comes from the sources.
    cut_off: Option<String>,
    /// Why TLS is not opened, where that is known.
    unopened: Option<String>,
    /// With what it is opened of namespaces with an authority of their own, or why it is not.
    own: BTreeMap<Arc<str>, Result<Arc<Inspection>, String>>,
    /// The keys that rules put into requests, so far as they are there.
    keys: Arc<BTreeMap<SecretRef, Key>>,
    /// Why connections cannot leave by the central gateway, where they are to.
    stays: Option<String>,
    started: Time,
    last: Load,
    watched_by: String,
    notes: Vec<String>,
    /// Workloads that are cut off, and the folder that says so.
    quarantines: Option<Quarantines>,
    /// Where a controller says what holds: by what workloads are cut off.
    of_cluster: Option<OfCluster>,
    /// What of it could not be read, or not be put in force.
    unheld: Vec<String>,
    /// Whether it has to be put in force again.
    unsettled: bool,
    /// What is judged by beside, without effect.
    shadow: Option<Shadow>,
    /// Names that a controller wants to know of, for it judges by them beside.
    asked_names: Arc<[DomainPattern]>,
    /// Pods whose DNS is answered here, so that it is known by which names they know addresses.
    followed: HashSet<IpAddr>,
    /// Everything was removed, and stays so.
    is_released: bool,
}

/// What a load of the sources gave.
pub(crate) struct Loaded {
    /// How many objects were read.
    pub(crate) objects: usize,
    /// What a lab needs to run the pods.
    pub(crate) runs: Runs,
    /// Everything that policy needs.
    pub(crate) set: PolicySet,
    /// Of the reader and of the compiler.
    pub(crate) diagnostics: Vec<Diagnostic>,
    /// The keys that rules put into requests. `None`: they come by another way.
    pub(crate) keys: Option<BTreeMap<SecretRef, Key>>,
}

impl Engine {
    /// An engine that has loaded nothing yet. Generations go on after the last that was remembered.
    pub(crate) fn new(
        ground: Ground,
        sources: Vec<String>,
        journal: Arc<Journal>,
        memory: Option<Memory>,
    ) -> Self {
        let Ground { mode, enforcers } = ground;
        let generation = memory.as_ref().map(Memory::recall).unwrap_or_default();
        let started = Time::from(SystemTime::now());
        let last = Load {
            time: started,
            took_micros: 0,
            outcome: Outcome::Applied,
            generation: Generation(0),
            objects: 0,
            diagnostics: Vec::new(),
            errors: 0,
            warnings: 0,
        };
        Self {
            mode,
            sources,
            journal,
            enforcers,
            places: Places::default(),
            memory,
            running: None,
            generation,
            in_force: None,
            refused: None,
            placed: BTreeMap::new(),
            names: Names::default(),
            dns: DnsArgs::default(),
            unbound: BTreeSet::new(),
            why_unbound: String::new(),
            unkept: None,
            addresses: BTreeMap::new(),
            pods_at: HashMap::new(),
            nodes_at: HashSet::new(),
            cut_off: None,
            unopened: None,
            own: BTreeMap::new(),
            keys: Arc::default(),
            stays: None,
            started,
            last,
            watched_by: String::new(),
            notes: Vec::new(),
            quarantines: None,
            of_cluster: None,
            unheld: Vec::new(),
            unsettled: false,
            shadow: None,
            asked_names: Arc::default(),
            followed: HashSet::new(),
            is_released: false,
        }
    }

    /// Says which pods run in the lab and where they were placed; an edit cannot change them.
    pub(crate) fn in_lab(&mut self, places: Places, running: Placement) {
        self.places = places;
        self.running = Some(running);
    }

    /// Whether the kernel refused the last load: it may be willing later.
    pub(crate) fn wants_retry(&self) -> bool {
        self.last.outcome == Outcome::Refused && !self.is_released
    }

    /// What is to be done now and then. What people should hear of it.
    pub(crate) fn tick(&mut self) -> Option<String> {
        if self.is_released {
            return None;
        }
        let news = self.put_back();
        for enforcer in &mut self.enforcers {
            enforcer.note_unlogged();
            enforcer.catch_up();
            enforcer.look_for_bypass();
        }
        self.look_after_names();
        self.look_after_quarantines();
        news
    }

    /// Begins to answer DNS.
    pub(crate) fn lead(&mut self, listener: &Arc<dyn Listener>) {
        for enforcer in &mut self.enforcers {
            enforcer.lead(listener);
        }
    }

    /// Waits until DNS is answered by what is in force, or cannot be.
    pub(crate) fn wait_for_dns(&self) {
        self.enforcers.iter().for_each(Enforcer::wait_for_dns);
    }

    /// Says why nothing new comes, or that it does. Whether that is news.
    pub(crate) fn cut_off(&mut self, reason: Option<String>) -> bool {
        let is_news = self.cut_off != reason;
        self.cut_off = reason;
        is_news
    }

    /// Has TLS opened with these means, or not at all, and why.
    pub(crate) fn inspect_with(&mut self, means: Result<Arc<Inspection>, String>) {
        let (inspection, unopened) = match means {
            Ok(inspection) => (Some(inspection), None),
            Err(why) => (None, Some(why)),
        };
        self.unopened = unopened;
        self.enforcers.iter_mut().for_each(|enforcer| enforcer.inspect_with(inspection.clone()));
    }

    /// Has TLS of a namespace's pods opened with its own authority, or not at all, and why; `None`: it has no pod here that would
    /// need it.
    pub(crate) fn inspect_own_with(
        &mut self,
        space: &Arc<str>,
        means: Option<Result<Arc<Inspection>, String>>,
    ) {
        match means {
            Some(means) => drop(self.own.insert(Arc::clone(space), means)),
            None => drop(self.own.remove(space)),
        }
        let given = self.own.iter().filter_map(|(space, means)| {
            Some((Arc::clone(space), Some(means.as_ref().ok()?.authority.clone())))
        });
        // All are given the same.
        let roots = self.own.values().find_map(|means| Some(means.as_ref().ok()?.roots.clone()));
        let given = OwnInspection { authorities: given.collect(), roots: roots.unwrap_or_default() };
        let given = Arc::new(given);
        self.enforcers.iter_mut().for_each(|enforcer| enforcer.inspect_own_with(&given));
    }

    /// Has requests leave with these keys from now on, where rules put one into them.
    pub(crate) fn inject_with(&mut self, keys: BTreeMap<SecretRef, Key>) {
        if *self.keys == keys {
            return;
        }
        self.keys = Arc::new(keys);
        self.enforcers.iter_mut().for_each(|enforcer| enforcer.inject_with(&self.keys));
    }

    /// Has connections leave by this central gateway. Where why not is told, by the last that was known.
    pub(crate) fn leave_by(&mut self, egress: Result<Egress, String>) {
        match egress {
            Ok(egress) => {
                let egress = Arc::new(egress);
                self.stays = None;
                self.enforcers.iter_mut().for_each(|enforcer| enforcer.leave_by(&egress));
            }
            Err(why) => self.stays = Some(why),
        }
    }

    /// State of policy in force; 0: none yet.
    pub(crate) fn in_force(&self) -> Generation {
        self.in_force.as_ref().map_or(Generation(0), |set| set.generation)
    }

    /// The one node that this serves.
    pub(crate) fn here(&self) -> Option<NodeStatus> {
        self.enforcers.first().map(Enforcer::status)
    }

    /// Whether the kernel has rules, of this process or an earlier one.
    pub(crate) fn has_rules(&self) -> bool {
        self.enforcers.iter().any(Enforcer::has_rules)
    }

    /// Says how changes are noticed.
    pub(crate) fn watched_by(&mut self, method: &str) {
        method.clone_into(&mut self.watched_by);
    }

    /// Reads, compiles and enforces. Returns the load; its outcome says what is in force now.
    ///
    /// `read` is told the next generation; a source that has generations of its own gives those.
    pub(crate) fn load(&mut self, read: impl FnOnce(Generation) -> Loaded) -> &Load {
        let (begin, time) = (Instant::now(), Time::from(SystemTime::now()));
        let mut loaded = read(Generation(self.generation.0 + 1));
        self.refused = None;
        let of = |severity: Severity| loaded.diagnostics.iter().filter(|d| d.severity == severity).count();
        let (errors, warnings) = (of(Severity::Error), of(Severity::Warning));
        let broken = loaded.diagnostics.iter().any(is_broken_policy);
        let diagnostics = shown(&loaded.diagnostics);
        let objects = loaded.objects;
        let changes = self.changes(&mut loaded.set);
        let outcome = if broken && self.in_force.is_some() {
            self.settle_beside();
            Outcome::KeptLastGood
        } else {
            if let Some(keys) = &loaded.keys {
                self.inject_with(keys.clone());
            }
            match self.enforce(&mut loaded.set) {
                Ok(()) => {
                    self.journal.tune(&loaded.set.detection);
                    self.in_force = Some(loaded.set);
                    match self.mode {
                        Mode::JudgeOnly => Outcome::JudgedOnly,
                        // The compiler closes what an error could have selected.
                        Mode::Machine | Mode::Lab | Mode::Node if errors > 0 => {
                            Outcome::AppliedWithClosedScopes
                        }
                        Mode::Machine | Mode::Lab | Mode::Node => Outcome::Applied,
                    }
                }
                Err(error) => {
                    let note = format!("{error:#}");
                    if !self.notes.contains(&note) {
                        self.notes.push(note);
                    }
                    self.refused = Some(loaded);
                    Outcome::Refused
                }
            }
        };
        let took_micros = u64::try_from(begin.elapsed().as_micros()).unwrap_or(u64::MAX);
        let generation = self.in_force();
        let load = Load { time, took_micros, outcome, generation, objects, diagnostics, errors, warnings };
        if let Some(changes) = changes {
            self.tell(&load, &changes);
        }
        self.last = load;
        &self.last
    }

    /// Tries what the kernel refused once more.
    pub(crate) fn retry(&mut self) -> Option<&Load> {
        let refused = self.refused.take_if(|_| !self.is_released)?;
        Some(self.load(|_| refused))
    }

    /// Puts a policy set in force at every enforcement point.
    fn enforce(&mut self, set: &mut PolicySet) -> Result<()> {
        self.refuse_released()?;
        self.notes.clear();
        self.hold(set);
        self.place(set)?;
        if !self.judges_requests() {
            self.close_unjudged(set);
        }
        let generation = set.generation;
        let placement = self.usable(&set.world);
        let before = std::mem::replace(&mut self.addresses, dns::addresses(&set.world, &placement));
        self.names.retain(|pod| match (before.get(pod), self.addresses.get(pod)) {
            // Pods keep their addresses: whoever comes by a name with others is another pod.
            (Some(before), Some(now)) => before.iter().any(|address| now.contains(address)),
            (_, _) => true,
        });
        self.pods_at =
            self.addresses.iter().flat_map(|(pod, all)| all.iter().map(|it| (*it, pod.clone()))).collect();
        self.nodes_at = set.world.nodes.values().flat_map(|node| &node.addresses).copied().collect();
        set.world.names = self.names.answers(&set.world);
        let beside = self.lower_beside(set, &placement);
        let mut followed = HashSet::new();
        let names = self.names_beside();
        let mut tables: BTreeMap<Arc<str>, Arc<Table>> = BTreeMap::new();
        let mut binders: BTreeMap<Arc<str>, Binder> = BTreeMap::new();
        let nodes = self.enforcers.iter().map(|enforcer| &**enforcer.node());
        let keep = |table: Table, binder| {
            binders.insert(table.node.clone(), binder);
            tables.insert(table.node.clone(), Arc::new(table));
        };
        Cluster::load(set).lower_each(nodes, &placement, keep).context("compiling the tables")?;
        let led_by_names = tables
            .values()
            .filter_map(|table| Some((binders.get(&table.node)?, table)))
            .flat_map(|(binder, table)| binder.led_by_names(table));
        let book = Book::new(generation, Arc::clone(&set.rules), &set.world, tables.values().cloned())
            .with_led_by_names(led_by_names);
        self.journal.add_book(book, self.bindings(tables.values()));
        // From here on the number is used: whatever happens, the next state has a higher one.
        self.generation = generation;
        if let Some(memory) = &self.memory {
            memory.keep(generation).context("remembering the generation")?;
        }
        let mut refused = Ok(());
        let pairs = learning::pairs(self.names.all(), &self.names, &self.addresses, |to| {
            !self.pods_at.contains_key(&to) && !self.nodes_at.contains(&to)
        });
        for enforcer in &mut self.enforcers {
            let Some(table) = tables.get(enforcer.node()) else { continue };
            enforcer.know_workloads(set.world.pods.iter().map(AsRef::as_ref));
            let binder = binders.remove(enforcer.node()).unwrap_or_default();
            let mut state = dns::state(set, table, &self.addresses, &self.dns);
            let steered = dns::steered(&state, &self.dns);
            if enforcer.answers_dns() {
                dns::follow(&mut state, &steered, &names);
                followed.extend(&steered);
            }
            let own = dns::own_egresses(set, table, &self.addresses);
            let wanting = set.world.own_authorities(enforcer.node());
            let answering = Answers { steered, state: Some(state), own, wanting };
            if let Err(error) = enforcer.apply(table, binder, answering, &pairs) {
                refused = Err(error).with_context(|| format!("node {}", enforcer.node()));
            }
            enforcer.forget_budgets(|(namespace, name)| set.world.find_pod(namespace, name).is_some());
        }
        self.followed.clone_from(&followed);
        self.journal.judge_beside(beside.map(|it| Candidate { followed, ..it }));
        if refused.is_ok() {
            // The tables have all of it.
            self.unbound.clear();
        }
        refused
    }

    /// Whether every node judges requests.
    fn judges_requests(&self) -> bool {
        self.enforcers.iter().all(Enforcer::judges_requests)
    }

    /// Closes what is selected by policies that look at requests, for nobody here does.
    fn close_unjudged(&mut self, set: &mut PolicySet) {
        set.close_judging(UNJUDGED);
        let entries = set.closed.iter().filter_map(|scope| set.rule(scope.rule));
        let closed =
            entries.filter(|entry| *entry.field == *UNJUDGED).filter_map(|entry| entry.object.as_ref());
        self.notes.extend(
            closed.map(|object| format!("what {object} may select is closed for egress: {UNJUDGED}")),
        );
    }

    /// Enforces for a pod at these addresses before its sources know them. Whether it is in force; if not, the pod is not
    /// known yet, or somebody else still has an address of it.
    pub(crate) fn settle(&mut self, pod: Sandbox<'_>, addresses: &[IpAddr]) -> Result<bool> {
        let key = pod.key();
        let Some(mut set) = self.in_force.take() else { return Ok(false) };
        let known = set.world.find_pod(pod.namespace, pod.name).map(|pod| pod.addresses.clone());
        let mut settled = Ok(());
        let is_settled = match known {
            None => false,
            Some(known) if addresses.iter().all(|address| known.contains(address)) => true,
            Some(_) => {
                // Whoever had one of these before has it no longer.
                self.placed.retain(|other, held| {
                    *other != key && !held.addresses.iter().any(|it| addresses.contains(it))
                });
                if self.placed.len() < PLACED {
                    let placed = Placed { addresses: addresses.to_vec(), container: pod.container.into() };
                    self.placed.insert(key.clone(), placed);
                }
                let is_usable = self.usable(&set.world).contains_key(&key);
                if is_usable {
                    settled = self.enforce(&mut set);
                }
                is_usable
            }
        };
        self.in_force = Some(set);
        settled.map(|()| is_settled)
    }

    /// Forgets what was settled for a sandbox that is gone. Runtimes say that late and more than once, when the pod may have the
    /// next one: of that nothing is forgotten.
    pub(crate) fn forget(&mut self, pod: Sandbox<'_>) {
        let key = pod.key();
        let is_other = |placed: &Placed| {
            !placed.container.is_empty() && !pod.container.is_empty() && *placed.container != *pod.container
        };
        if !self.placed.get(&key).is_some_and(is_other) {
            self.placed.remove(&key);
        }
    }

    /// The addresses that hold in this world: of pods that have none in it, and nobody else's.
    fn usable(&mut self, world: &World) -> Placement {
        if self.placed.is_empty() {
            return Placement::new();
        }
        let node_addresses = world.nodes.values().flat_map(|node| &node.addresses);
        // What another cluster claims keeps no pod from its address.
        let own = world.pods.iter().filter(|pod| pod.cluster().is_none());
        let taken: HashSet<IpAddr> =
            own.flat_map(|pod| &pod.addresses).chain(node_addresses).copied().collect();
        let has_none = |key: &(Arc<str>, Arc<str>)| {
            let pod = world.find_pod(&key.0, &key.1);
            pod.is_some_and(|pod| !pod.host_network && pod.addresses.is_empty())
        };
        // What the sources say in the meantime is better.
        self.placed
            .retain(|key, _| world.find_pod(&key.0, &key.1).is_none_or(|pod| pod.addresses.is_empty()));
        let usable = |(key, placed): &(&PodName, &Placed)| {
            has_none(key) && !placed.addresses.iter().any(|address| taken.contains(address))
        };
        self.placed.iter().filter(usable).map(|(key, at)| (key.clone(), at.addresses.clone())).collect()
    }

    /// Gives pods the node and addresses that a cluster would have given them.
    fn place(&mut self, set: &mut PolicySet) -> Result<()> {
        if self.mode == Mode::Lab || self.running.is_some() {
            self.places.complete(&mut set.world).context("placing pods in the lab")?;
            self.note_not_running(set);
            return Ok(());
        }
        if self.mode == Mode::Node {
            // Others enforce for the pods of other nodes, and a pod without an address has not begun.
            return Ok(());
        }
        let Some(here) = self.enforcers.first().map(|enforcer| enforcer.node().clone()) else {
            return Ok(());
        };
        // Nobody else enforces for a pod that is bound nowhere.
        let is_nowhere = |pod: &&mut Arc<Pod>| pod.node.is_none() && pod.cluster().is_none();
        for pod in set.world.pods.iter_mut().filter(is_nowhere) {
            Arc::make_mut(pod).node = Some(here.clone());
        }
        let on_this_node = |pod: &&Arc<Pod>| pod.node.as_ref() == Some(&here) && !pod.host_network;
        let without = set.world.pods.iter().filter(on_this_node).filter(|pod| pod.addresses.is_empty());
        self.note_pods("have no address (status.podIPs), so nothing is enforced for them", without);
        Ok(())
    }

    /// Pods of the lab are made when it starts.
    fn note_not_running(&mut self, set: &PolicySet) {
        let Some(running) = self.running.take() else { return };
        let key = |pod: &Pod| (pod.namespace.clone(), pod.name.clone());
        let pods = || set.world.pods.iter().filter(|pod| !pod.host_network && pod.cluster().is_none());
        let new = pods().filter(|pod| !running.contains_key(&key(pod)));
        self.note_pods("came after the lab started and do not run: start it again to run them", new);
        let moved = |pod: &&Arc<Pod>| {
            running
                .get(&key(pod))
                .is_some_and(|held| held.iter().any(|address| !pod.addresses.contains(address)))
        };
        self.note_pods("changed their address, which needs a new start of the lab", pods().filter(moved));
        self.running = Some(running);
    }

    fn note_pods<'a>(&mut self, what: &str, pods: impl Iterator<Item = &'a Arc<Pod>>) {
        let names: Vec<String> = pods.map(ToString::to_string).collect();
        let Some(first) = names.first() else { return };
        let more = if names.len() > 1 { ", ..." } else { "" };
        self.notes.push(format!("{} pods {what}: {first}{more}", names.len()));
    }
}

impl Engine {
    /// How things stand.
    pub(crate) fn status(&mut self) -> Status {
        let (records, resolver) = self.journal.counts();
        let top_rules = self.top_rules();
        let set = self.in_force.as_ref();
        let (policies, rules, closed_scopes) = set.map_or((0, 0, 0), |set| {
            let written = set.rules.len().saturating_sub(RuleId::FIRST_WRITTEN.0 as usize);
            (set.policies.len(), written, set.closed.len())
        });
        Status {
            version: env!("CARGO_PKG_VERSION").to_owned(),
            pid: std::process::id(),
            started: self.started,
            mode: self.mode,
            sources: self.sources.clone(),
            watched_by: self.watched_by.clone(),
            generation: self.in_force(),
            degraded: self.degraded(),
            first_packets_judged: None,
            nodes: self.enforcers.iter().map(Enforcer::status).collect(),
            policies,
            rules,
            closed_scopes,
            load: self.last.clone(),
            records,
            findings: self.journal.findings.total(),
            ledger: self.journal.ledger(),
            resolver,
            top_rules,
            detection: self.journal.detection(),
            shadow: self.shadow().map(ShadowStatus::without_list),
        }
    }

    fn degraded(&self) -> Vec<String> {
        let mut reasons = Vec::new();
        if self.mode == Mode::JudgeOnly {
            reasons.push("nothing is enforced: judging only".to_owned());
        }
        let errors = counted(self.last.errors, "error");
        match self.last.outcome {
            Outcome::Applied | Outcome::JudgedOnly => {}
            Outcome::AppliedWithClosedScopes => {
                reasons.push(format!(
                    "{errors}: policies with errors close what they may select, the rest is in force"
                ));
            }
            Outcome::KeptLastGood => {
                let generation = self.in_force();
                reasons.push(format!("the last edit has {errors}: generation {generation} stays in force"));
            }
            Outcome::Refused => reasons.push("the last edit could not be put in force".to_owned()),
        }
        for enforcer in &self.enforcers {
            let problem = enforcer.dns().and_then(|dns| dns.problem);
            reasons.extend(
                problem.map(|why| format!("node {}: pods' DNS is not answered: {why}", enforcer.node())),
            );
            let problem = enforcer.gateway().and_then(|gateway| gateway.problem);
            reasons.extend(
                problem.map(|why| {
                    format!("node {}: the gateway is not as it should be: {why}", enforcer.node())
                }),
            );
        }
        if !self.unbound.is_empty() {
            reasons.push(format!(
                "the kernel could not be told of {} that DNS gave: {}",
                counted(self.unbound.len(), "destination"),
                self.why_unbound
            ));
        }
        reasons.extend(self.unopened().map(|why| format!("requests inside TLS are refused: {why}")));
        reasons.extend(self.unopened_of_their_own());
        reasons.extend(self.keyless());
        reasons
            .extend(self.stays.as_ref().map(|why| format!("the egress gateway cannot be used anew: {why}")));
        let ledger = self.journal.ledger();
        reasons.extend(
            ledger
                .and_then(|it| it.problem)
                .map(|why| format!("records are not written to the ledger: {why}")),
        );
        reasons
            .extend(self.cut_off.iter().chain(&self.unkept).chain(&self.notes).chain(&self.unheld).cloned());
        reasons
    }

    /// Why TLS is not opened though a rule in force looks at requests.
    fn unopened(&self) -> Option<&str> {
        let is_closed = |enforcer: &Enforcer| enforcer.gateway().is_some_and(|gateway| !gateway.opens_tls);
        let set = self.in_force.as_ref().filter(|_| self.enforcers.iter().any(is_closed))?;
        let looks = set.rules.iter().any(|entry| entry.requests.is_some());
        looks.then(|| self.unopened.as_deref().unwrap_or("there is no inspection authority"))
    }

    /// Namespaces whose TLS is not opened for want of the authority that they want, though a rule in force looks at requests; the
    /// first few by name.
    fn unopened_of_their_own(&self) -> Vec<String> {
        let judging = self.enforcers.iter().filter(|enforcer| enforcer.gateway().is_some());
        let Some(set) = self.in_force.as_ref().filter(|set| set.rules.iter().any(|it| it.requests.is_some()))
        else {
            return Vec::new();
        };
        let wanting: BTreeSet<Arc<str>> =
            judging.flat_map(|enforcer| set.world.own_authorities(enforcer.node())).collect();
        let why = |space: &Arc<str>| match self.own.get(space) {
            Some(Ok(_)) => None,
            Some(Err(why)) => Some(why.clone()),
            None => Some(format!(
                "it is labelled {INSPECTION_LABEL}, and nobody gave an authority of it here; an agent gets one from a \
                 controller by its token"
            )),
        };
        let lacking = wanting.iter().filter_map(|space| {
            Some(format!("namespace {space}: requests of its pods inside TLS are refused: {}", why(space)?))
        });
        lacking.take(UNOPENED).collect()
    }

    /// Rules whose requests are refused for want of the key that they put into them; the first few by name.
    fn keyless(&self) -> Vec<String> {
        let rules = self.in_force.iter().flat_map(|set| set.rules.iter());
        let mut lacking = BTreeMap::new();
        for entry in rules {
            let secret = entry.requests.as_ref().and_then(|requests| Some(&requests.inject.as_ref()?.secret));
            let Some(secret) = secret.filter(|secret| !self.keys.contains_key(*secret)) else { continue };
            // A rule that names a provider is several.
            lacking.entry((entry.object.clone(), entry.index)).or_insert_with(|| {
                format!("{entry}: what it allows is refused, for its key is not there: {secret}")
            });
        }
        let more = lacking.len().saturating_sub(KEYLESS);
        let mut told: Vec<String> = lacking.into_values().take(KEYLESS).collect();
        if more > 0 {
            told.push(format!("{more} more rules lack the key that they put into requests"));
        }
        told
    }

    /// The rules that judged the most connections, over all enforcement points.
    fn top_rules(&mut self) -> Vec<RuleCount> {
        let mut sums: BTreeMap<RuleId, u64> = BTreeMap::new();
        for enforcer in &mut self.enforcers {
            for (rule, connections) in enforcer.rule_counts() {
                *sums.entry(rule).or_default() += connections;
            }
        }
        let mut counts: Vec<_> = sums.into_iter().filter(|(_, connections)| *connections > 0).collect();
        counts.sort_by_key(|(rule, connections)| (std::cmp::Reverse(*connections), *rule));
        counts.truncate(TOP);
        let text = |rule: RuleId| {
            let entry = self.in_force.as_ref().and_then(|set| set.rule(rule));
            entry.map_or_else(|| format!("rule {}", rule.0), ToString::to_string)
        };
        counts
            .into_iter()
            .map(|(rule, connections)| RuleCount { rule: rule.0, text: text(rule), connections })
            .collect()
    }
}

/// An error about a policy or the catalog, or about a file that may hold one.
pub(super) fn is_broken_policy(diagnostic: &Diagnostic) -> bool {
    let may_be_policy = |kind: &str| {
        kind.ends_with("NetworkPolicy")
            || kind.ends_with("EgressPolicy")
            || matches!(kind, "Catalog" | "DetectionPolicy" | "Containment")
    };
    let is_about_one = diagnostic.object.as_ref().is_none_or(|object| may_be_policy(&object.kind));
    // A misspelt kind is nearly one.
    diagnostic.is_error() && (is_about_one || diagnostic.code == Code::UnknownPolicyKind)
}

/// Errors first; at most a few hundred.
fn shown(diagnostics: &[Diagnostic]) -> Vec<String> {
    let mut sorted: Vec<_> = diagnostics.iter().filter(|d| d.severity != Severity::Note).collect();
    sorted.sort_by_key(|diagnostic| std::cmp::Reverse(diagnostic.severity));
    let left_out = sorted.len().saturating_sub(SHOWN);
    let mut texts: Vec<_> = sorted.into_iter().take(SHOWN).map(ToString::to_string).collect();
    if left_out > 0 {
        texts.push(format!("... and {left_out} more; see `cofferdam policy check`"));
    }
    texts
}
