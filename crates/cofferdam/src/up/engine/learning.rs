//! What pods learn from DNS while a policy is in force.
//!
//! Enters: bindings as the DNS proxy asks for them, the time. Leaves: the kernel and the gateway know by which names pods
//! know addresses, and forget what ran out. Guarantees: what could not be told stays to be told; what a connection is open
//! by is not forgotten.

use super::super::dns::DnsArgs;
use super::super::enforce::NamedPair;
use super::super::journal::Journal;
use super::super::keeper::Listener;
use super::super::names::{GRACE, Known, Names, Seconds};
use super::Engine;
use super::leading::Job;
use anyhow::Result;
use observe::{Bindings, Bound};
use policy::PodName;
use policy::table::Table;
use std::collections::{BTreeMap, HashSet};
use std::net::IpAddr;
use std::path::Path;
use std::sync::mpsc::{SyncSender, sync_channel};
use std::sync::{Arc, LazyLock, Mutex, PoisonError};
use std::time::{Instant, SystemTime};

/// Jobs for explicit proxies that wait.
const JOBS: usize = 4096;

impl Engine {
    /// Says how DNS is treated, and where what was answered is kept.
    pub(crate) fn with_dns(&mut self, args: DnsArgs, names: Option<&Path>) {
        self.dns = args;
        match names.map(|path| Names::recall(path, now())).transpose() {
            Ok(names) => self.names = names.unwrap_or_default(),
            Err(error) => {
                self.unkept = Some(format!("what DNS answers is forgotten with this process: {error:#}"));
            }
        }
    }

    /// Puts in force what pods are about to be told. For each, how many seconds it holds at least.
    pub(crate) fn learn(&mut self, wanted: &[::dns::Binding]) -> Vec<Result<u32, String>> {
        let now = now();
        let mut changed = Vec::new();
        let mut learn = |binding: &::dns::Binding| -> Result<u32, String> {
            let pod = self.pods_at.get(&binding.pod).cloned().ok_or("the pod is not known any more")?;
            let until = now + u64::from(binding.ttl) + GRACE;
            let gained = self.names.learn(&pod, &binding.names, &binding.addresses, until);
            let gained = gained.map_err(|error| format!("{error:#}"))?;
            changed.extend(gained.into_iter().map(|address| (pod.clone(), address)));
            Ok(binding.ttl)
        };
        let learned: Vec<_> = wanted.iter().map(&mut learn).collect();
        self.unbound.extend(changed);
        match self.rebind() {
            Ok(()) => learned,
            Err(error) => learned.into_iter().map(|_| Err(format!("{error:#}"))).collect(),
        }
    }

    /// Ends what ran out.
    fn expire(&mut self, now: Seconds) {
        if !self.names.is_due(now) {
            return;
        }
        let mut connected = HashSet::new();
        let due: HashSet<(IpAddr, IpAddr)> = self
            .names
            .due(now)
            .flat_map(|(pod, to)| self.addresses.get(pod).into_iter().flatten().map(move |from| (*from, to)))
            .collect();
        for enforcer in &mut self.enforcers {
            connected.extend(enforcer.connected(&due));
        }
        let addresses = &self.addresses;
        let is_open = |pod: &PodName, to: IpAddr| {
            addresses.get(pod).into_iter().flatten().any(|from| connected.contains(&(*from, to)))
        };
        self.unbound.extend(self.names.expire(now, is_open));
    }

    /// Has the kernel know what changed; what it could not be told stays to be told.
    fn rebind(&mut self) -> Result<()> {
        if self.unbound.is_empty() {
            return Ok(());
        }
        let unbound = self.unbound.iter().map(|(pod, to)| (pod, *to));
        let pairs = pairs(unbound, &self.names, &self.addresses, |to| {
            !self.pods_at.contains_key(&to) && !self.nodes_at.contains(&to)
        });
        if let Some(shadow) = &mut self.shadow {
            shadow.bind(&pairs, &self.journal);
        }
        for enforcer in &mut self.enforcers {
            if let Err(error) = enforcer.bind(&pairs, &self.journal) {
                let error = error.context(format!("node {}", enforcer.node()));
                self.why_unbound = format!("{error:#}");
                return Err(error);
            }
        }
        self.unbound.clear();
        Ok(())
    }

    /// What the tables' bindings mean, for records.
    pub(super) fn bindings<'t>(&self, tables: impl Iterator<Item = &'t Arc<Table>>) -> Bindings {
        let mut bindings = Bindings::new();
        for table in tables {
            for (from, to) in table.bound.keys().chain(table.past.keys()) {
                let pod = self.pods_at.get(from);
                let known = pod.and_then(|pod| self.names.get(pod, *to));
                let names =
                    known.into_iter().flat_map(|known| known.live().chain(known.past()).cloned()).collect();
                let row = table.bound.get(&(*from, *to)).and_then(|row| table.rows.get(row.0 as usize));
                bindings.insert((*from, *to), Bound { names, row: row.cloned().map(Arc::new) });
            }
        }
        bindings
    }

    /// What is to be done now and then.
    pub(super) fn look_after_names(&mut self) {
        self.expire(now());
        // What could not be done is told, and tried again.
        let _ = self.rebind();
        for enforcer in &mut self.enforcers {
            for spent in enforcer.look_at_budgets() {
                self.journal.spent(enforcer.node(), &spent);
            }
        }
    }
}

/// For each address of these pods, the names by which it knows the other.
pub(super) fn pairs<'n>(
    known: impl Iterator<Item = (&'n PodName, IpAddr)>,
    names: &'n Names,
    addresses: &BTreeMap<PodName, Vec<IpAddr>>,
    is_outside: impl Fn(IpAddr) -> bool,
) -> Vec<NamedPair<'n>> {
    let mut pairs = Vec::new();
    for (pod, to) in known {
        let known = names.get(pod, to);
        let live: Vec<_> = known.into_iter().flat_map(Known::live).collect();
        let past: Vec<_> = known.into_iter().flat_map(Known::past).collect();
        let of_family = |from: &&IpAddr| from.is_ipv4() == to.is_ipv4();
        for from in addresses.get(pod).into_iter().flatten().filter(of_family) {
            let (live, past, from) = (live.clone(), past.clone(), *from);
            pairs.push(NamedPair { pod, from, to, live, past, is_outside: is_outside(to) });
        }
    }
    pairs
}

/// An engine that answers for the DNS of its nodes.
pub(crate) struct Leader {
    engine: Arc<Mutex<Engine>>,
    journal: Arc<Journal>,
    /// What is done for explicit proxies, on a thread of its own: whoever brings it must not wait for the engine, which may
    /// wait for it.
    jobs: SyncSender<(Arc<str>, Job)>,
}

impl Leader {
    /// Begins to answer, and waits until what is in force is what is answered by.
    pub(crate) fn lead(engine: &Arc<Mutex<Engine>>, journal: &Arc<Journal>) {
        let (jobs, todo) = sync_channel::<(Arc<str>, Job)>(JOBS);
        let leader = Self { engine: Arc::clone(engine), journal: Arc::clone(journal), jobs };
        let leading = Arc::clone(engine);
        std::thread::spawn(move || {
            for (node, job) in todo {
                leading.lock().unwrap_or_else(PoisonError::into_inner).lead_clients(&node, &job);
            }
        });
        let listener: Arc<dyn Listener> = Arc::new(leader);
        let mut held = engine.lock().unwrap_or_else(PoisonError::into_inner);
        held.lead(&listener);
        held.wait_for_dns();
    }
}

impl Listener for Leader {
    fn learn(&self, bindings: &[::dns::Binding]) -> Vec<Result<u32, String>> {
        // After a panic in a load the last good tables are still the kernel's, and can still be added to.
        self.engine.lock().unwrap_or_else(PoisonError::into_inner).learn(bindings)
    }

    fn looked_up(&self, node: &Arc<str>, queries: Vec<::dns::Query>) {
        self.journal.looked_up(node, queries);
    }

    fn asked(&self, node: &Arc<str>, ask: ::gateway::Ask) {
        // Who finds no room hears nothing, and its client that nobody answered in time.
        let _full = self.jobs.try_send((Arc::clone(node), Job::Ask(ask)));
    }

    fn found(&self, node: &Arc<str>, found: Vec<(u64, ::dns::Found)>) {
        for (id, found) in found {
            let _full = self.jobs.try_send((Arc::clone(node), Job::Found(id, found)));
        }
    }

    fn passed(&self, node: &Arc<str>, records: Vec<::gateway::Record>) {
        self.journal.passed(node, records);
    }

    fn called(&self, node: &Arc<str>, calls: Vec<::gateway::Call>) {
        self.journal.called(node, calls);
    }

    fn kept(&self, node: &Arc<str>, content: ::gateway::Content) {
        self.journal.kept(node, content);
    }
}

/// The time of day as it was at the first call, and what has passed since: what DNS answered outlives this process, and until then
/// holds for as long as the DNS proxy counts, whoever sets the clock meanwhile.
fn now() -> Seconds {
    static BEGUN: LazyLock<(SystemTime, Instant)> = LazyLock::new(|| (SystemTime::now(), Instant::now()));
    let (time, begun) = *BEGUN;
    time.duration_since(SystemTime::UNIX_EPOCH).map_or(0, |since| (since + begun.elapsed()).as_secs())
}
