//! One enforcement point: a node, its datapath if it has one, and why not if it has none.
//!
//! Enters: tables to apply. Leaves: the kernel's state, its counters, and a thread that turns its events into records.
//! Guarantees: the status never says "enforced" for what the kernel did not take.
//! Does not: compile, or decide what to do about a refusal.

use super::events::{Tags, Tap, Unlogged};
use super::journal::Journal;
use super::keeper::{Keeper, Learner};
use super::protocol::{DnsStatus, NodeStatus};
use anyhow::{Context, Result, bail};
use compiler::lower::Binder;
use datapath::{Binding, Config, Datapath, EventSource, NftDatapath, Paths, Span, Steer, Steering};
use observe::Bound;
use policy::table::Table;
use policy::{DnsName, Generation, RuleId};
use std::collections::{BTreeMap, BTreeSet, HashSet};
use std::net::IpAddr;
use std::path::PathBuf;
use std::sync::Arc;

/// A node and what enforces there.
pub(crate) struct Enforcer {
    node: Arc<str>,
    kernel: Option<Kernel>,
    problem: Option<String>,
    in_force: Option<Generation>,
    table: Option<Arc<Table>>,
    /// Makes rows for names while the table is in force.
    binder: Binder,
    /// How pods' DNS is to be answered under the table.
    answering: Answers,
}

/// How the DNS of a node's pods is answered.
#[derive(Clone, Debug, Default)]
pub(crate) struct Answers {
    /// Whose goes to the proxy.
    pub(crate) steered: BTreeSet<IpAddr>,
    /// What the proxy goes by.
    pub(crate) state: Option<dns::State>,
}

/// How the DNS of the node's pods is answered.
struct Dns {
    steering: Steering,
    keeper: Keeper,
    /// Why queries are not steered.
    steered: Option<String>,
}

/// Names by which a pod knows an address: from, to, those that hold, those that ran out.
pub(crate) struct NamedPair<'n> {
    pub(crate) from: IpAddr,
    pub(crate) to: IpAddr,
    pub(crate) live: Vec<&'n DnsName>,
    pub(crate) past: Vec<&'n DnsName>,
}

struct Kernel {
    datapath: NftDatapath,
    tap: Tap,
    tags: Arc<Tags>,
    unlogged: Arc<Unlogged>,
    unrecorded: Growth,
    paths: Paths,
    /// Which pods' packets are not seen, or why that cannot be said.
    bypass: Option<String>,
    dns: Option<Dns>,
}

impl Kernel {
    fn problem(&self) -> Option<String> {
        self.bypass.clone().or_else(|| self.tap.problem())
    }
}

impl Kernel {
    /// Sends the DNS of these pods to the proxy, as soon as its sockets are there.
    fn steer(&mut self, pods: &BTreeSet<IpAddr>) {
        let Some(dns) = &mut self.dns else { return };
        let listening = dns.keeper.listening();
        if listening.is_empty() {
            return;
        }
        let wanted = Steer { pods: pods.clone(), dns: listening, ..Steer::default() };
        dns.steered = dns.steering.steer(&wanted).err().map(|error| error.to_string());
    }
}

/// Whether and how pods' DNS is answered.
#[derive(Clone, Debug)]
pub(crate) enum Answering {
    /// It is left alone.
    No,
    /// Until this process ends.
    WithThis,
    /// Over the end of this process; the next finds the proxy here.
    Beyond(PathBuf),
}

impl Answering {
    fn open(self, node: &Arc<str>) -> Result<Option<Dns>> {
        let control = match self {
            Self::No => return Ok(None),
            Self::WithThis => None,
            Self::Beyond(control) => Some(control),
        };
        let steering = Steering::open().context("opening what steers DNS")?;
        Ok(Some(Dns { steering, keeper: Keeper::open(Arc::clone(node), control)?, steered: None }))
    }
}

/// The sum of a counter that begins anew from time to time.
#[derive(Debug, Default)]
struct Growth {
    last: u64,
    sum: u64,
}

impl Growth {
    fn note(&mut self, now: u64) {
        self.sum += now.checked_sub(self.last).unwrap_or(now);
        self.last = now;
    }
}

impl Enforcer {
    /// Takes over enforcement in the calling thread's network namespace. What an earlier process left in force stays.
    pub(crate) fn open(
        node: Arc<str>,
        config: Config,
        journal: &Arc<Journal>,
        dns: Answering,
    ) -> Result<Self> {
        let group = config.log_group;
        let datapath = NftDatapath::open(config)?;
        // Before anything is applied, so that no event is missed.
        let source = EventSource::open(group)?;
        let (tags, unlogged) = (Arc::new(Tags::default()), Arc::new(Unlogged::default()));
        let tap =
            Tap::start(node.clone(), source, Arc::clone(journal), Arc::clone(&tags), Arc::clone(&unlogged))
                .context("starting the thread that reads events")?;
        let kernel = Kernel {
            datapath,
            tap,
            tags,
            unlogged,
            unrecorded: Growth::default(),
            paths: Paths::open()?,
            bypass: None,
            dns: dns.open(&node)?,
        };
        let kernel = Some(kernel);
        Ok(Self {
            node,
            kernel,
            problem: None,
            in_force: None,
            table: None,
            binder: Binder::default(),
            answering: Answers::default(),
        })
    }

    /// A node for which nothing can be enforced, and why.
    pub(crate) fn without_kernel(node: Arc<str>, problem: String) -> Self {
        let problem = Some(problem);
        Self {
            node,
            kernel: None,
            problem,
            in_force: None,
            table: None,
            binder: Binder::default(),
            answering: Answers::default(),
        }
    }

    /// Its name.
    pub(crate) fn node(&self) -> &Arc<str> {
        &self.node
    }

    /// Puts a table in force. On an error the one before still is.
    pub(crate) fn apply(&mut self, table: &Arc<Table>, binder: Binder, answering: Answers) -> Result<()> {
        self.answering = answering;
        let Some(kernel) = &mut self.kernel else {
            // Kept for judging; the problem says that nothing is enforced.
            (self.table, self.binder) = (Some(Arc::clone(table)), binder);
            return Ok(());
        };
        // A pod that is new is steered before its packets pass.
        kernel.steer(&self.answering.steered);
        match kernel.datapath.apply(table) {
            Ok(applied) => {
                kernel.tags.set(applied.tag, table.generation);
                self.problem = None;
                self.in_force = Some(table.generation);
                (self.table, self.binder) = (Some(Arc::clone(table)), binder);
                self.look_for_bypass();
                self.tell();
                Ok(())
            }
            Err(error) => {
                self.problem = Some(error.to_string());
                bail!(error)
            }
        }
    }

    /// Puts in force by which names pods know addresses. Nothing is changed on an error.
    pub(crate) fn bind(&mut self, pairs: &[NamedPair<'_>], journal: &Journal) -> Result<()> {
        let Some(table) = self.table.clone() else { bail!("nothing is in force yet") };
        let mut bindings = Vec::new();
        for NamedPair { from, to, live, past } in
            pairs.iter().filter(|it| table.endpoints.contains_key(&it.from))
        {
            let row = self.binder.row(&table, *from, *to, live.iter().copied());
            let open = self.binder.open_row(&table, *from, *to, live.iter().copied(), past.iter().copied());
            let names = live.iter().chain(past).map(|name| (*name).clone()).collect();
            let bound = Bound { names, row: row.clone() };
            journal.bind(*from, *to, (row.is_some() || open.is_some()).then_some(bound));
            let binding = |span, row| Binding { from: *from, to: *to, span, row };
            bindings.extend([binding(Span::Live, row), binding(Span::Past, open)]);
        }
        let Some(kernel) = &mut self.kernel else { return Ok(()) };
        kernel.datapath.bind(&bindings)?;
        if let Some(tag) = kernel.datapath.tag() {
            kernel.tags.set(tag, table.generation);
        }
        Ok(())
    }

    /// Which of these pairs have a connection now; all of them where that cannot be said.
    pub(crate) fn connected(&mut self, pairs: &HashSet<(IpAddr, IpAddr)>) -> HashSet<(IpAddr, IpAddr)> {
        let Some(kernel) = &mut self.kernel else { return HashSet::new() };
        kernel.datapath.connected(pairs).unwrap_or_else(|_| pairs.clone())
    }

    /// Begins to answer DNS. What cannot be done shows in the status.
    pub(crate) fn lead(&mut self, learner: &Arc<dyn Learner>) {
        let Some(kernel) = &mut self.kernel else { return };
        if let Some(dns) = &kernel.dns {
            let _ = dns.keeper.lead(Arc::clone(learner));
        }
        if self.table.is_some() {
            kernel.steer(&self.answering.steered);
        }
        self.tell();
    }

    /// Tells the DNS proxy what holds, if there is one.
    fn tell(&self) {
        let dns = self.kernel.as_ref().and_then(|kernel| kernel.dns.as_ref());
        if let (Some(dns), Some(state)) = (dns, &self.answering.state) {
            dns.keeper.tell(state.clone());
        }
    }

    /// Waits until the DNS proxy goes by what is in force, or cannot.
    pub(crate) fn wait_for_dns(&self) {
        let dns = self.kernel.as_ref().and_then(|kernel| kernel.dns.as_ref());
        if let (Some(dns), Some(generation)) = (dns, self.in_force) {
            let _ = dns.keeper.wait_for(generation);
        }
    }

    /// How its pods' DNS is answered, if it is.
    pub(crate) fn dns(&self) -> Option<DnsStatus> {
        let dns = self.kernel.as_ref()?.dns.as_ref()?;
        let standing = dns.keeper.standing();
        let of = |verdict: ::dns::Verdict| {
            let queries = standing.counters.queries.iter();
            queries.filter(|(reason, _)| reason.verdict() == verdict).map(|(_, count)| count).sum()
        };
        Some(DnsStatus {
            answered: of(::dns::Verdict::Allow),
            refused: of(::dns::Verdict::Deny),
            failed: of(::dns::Verdict::Fail),
            lost_records: standing.counters.lost_records,
            opened: self.kernel.as_ref().map_or(0, |kernel| kernel.datapath.bound()),
            starts: standing.starts,
            problem: dns.steered.clone().or(standing.problem),
        })
    }

    /// New connections judged, by rule of the generation in force.
    pub(crate) fn rule_counts(&mut self) -> BTreeMap<RuleId, u64> {
        // Counters are a service; that the kernel cannot be asked shows in the next apply.
        self.kernel.as_mut().and_then(|kernel| kernel.datapath.counters().ok()).unwrap_or_default()
    }

    /// Notes how many denied packets the kernel did not log: those that the next record of the same tuple tells, and
    /// those that no record will.
    pub(crate) fn note_unlogged(&mut self) {
        let Some(kernel) = &mut self.kernel else { return };
        if !kernel.unlogged.is_wanted() {
            return;
        }
        if let Ok(suppressed) = kernel.datapath.suppressed() {
            kernel.unlogged.note(&suppressed);
        }
        if let Ok(unrecorded) = kernel.datapath.unrecorded() {
            kernel.unrecorded.note(unrecorded);
        }
    }

    /// Looks whether pods reach each other where nobody judges.
    pub(crate) fn look_for_bypass(&mut self) {
        let (Some(kernel), Some(table)) = (&mut self.kernel, &self.table) else { return };
        let pods = table.endpoints.keys().copied();
        kernel.bypass = match kernel.paths.bypass(pods) {
            Ok(bypass) => bypass.map(|bypass| bypass.to_string()),
            Err(error) => {
                Some(format!("whether pods reach each other unjudged cannot be found out: {error}"))
            }
        };
    }

    /// Whether the kernel has rules, of this process or an earlier one.
    pub(crate) fn has_rules(&self) -> bool {
        self.kernel.as_ref().is_some_and(|kernel| kernel.datapath.tag().is_some())
    }

    /// How it stands.
    pub(crate) fn status(&self) -> NodeStatus {
        let of_table = |count: fn(&Table) -> usize| self.table.as_deref().map_or(0, count);
        NodeStatus {
            node: self.node.clone(),
            backend: if self.kernel.is_some() { "nftables" } else { "none" }.to_owned(),
            enforced: self.in_force,
            problem: self.problem.clone().or_else(|| self.kernel.as_ref()?.problem()),
            endpoints: of_table(|table| table.endpoints.len()),
            slots: of_table(|table| table.slots.len()),
            rows: of_table(|table| table.rows.len()),
            lost_events: self.kernel.as_ref().map_or(0, |kernel| kernel.tap.lost() + kernel.unrecorded.sum),
            dns: self.dns(),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::Growth;

    #[test]
    fn a_counter_that_begins_anew_still_adds_up() {
        let mut growth = Growth::default();
        [5, 7, 2, 2].into_iter().for_each(|now| growth.note(now));
        assert_eq!(growth.sum, 9);
    }
}
