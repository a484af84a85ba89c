//! One enforcement point: a node, its datapath if it has one, and why not if it has none.
//!
//! Enters: tables to apply. Leaves: the kernel's state, its counters, and a thread that turns its events into records.
//! Guarantees: the status never says "enforced" for what the kernel did not take.
//! Does not: compile, or decide what to do about a refusal.

use super::budgets::Spent;
use super::dns_proxy::DnsProxy;
use super::events::{Tags, Tap, Unlogged};
use super::gate::{Gate, Holding};
use super::journal::Journal;
use super::keeper::{Keeper, Listener};
use super::protocol::{DnsStatus, GatewayStatus, NodeStatus};
use anyhow::{Context, Result, bail};
use compiler::lower::{Binder, Destination};
use datapath::{
    Beside, Binding, Config, Datapath, EventSource, NftDatapath, Pair, Paths, Span, Steer, Steering,
};
use gateway::{Egress, Inspection, OwnInspection, Reason, StoreStanding};
use observe::Bound;
use policy::table::Table;
use policy::{DnsName, Generation, Key, OwnEgress, Pod, PodName, Protocol, RuleId, SecretRef, Verdict};
use std::collections::{BTreeMap, BTreeSet, HashMap, HashSet};
use std::net::{IpAddr, SocketAddr};
use std::path::PathBuf;
use std::sync::Arc;
use std::time::Instant;

mod leading;

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
    /// Times that names were put in force, and how long that took, in microseconds.
    bound: (u64, u64),
}

/// How the DNS of a node's pods is answered.
#[derive(Clone, Debug, Default)]
pub(crate) struct Answers {
    /// Whose goes to the proxy.
    pub(crate) steered: BTreeSet<IpAddr>,
    /// What the proxy goes by.
    pub(crate) state: Option<dns::State>,
    /// Where pods may go by themselves, for the gateway: of those whose requests are judged.
    pub(crate) own: HashMap<IpAddr, Arc<OwnEgress>>,
    /// Namespaces whose pods' TLS is opened with an authority of their own.
    pub(crate) wanting: BTreeSet<Arc<str>>,
}

impl Answers {
    /// Which pod has an address.
    fn workloads(&self) -> HashMap<IpAddr, Arc<str>> {
        let pods = self.state.iter().flat_map(|state| &state.pods);
        pods.flat_map(|pod| pod.addresses.iter().map(|at| (*at, Arc::clone(&pod.identity)))).collect()
    }
}

/// Most TCP ports that are told one by one to be open to an address whatever its name.
const LISTED_PORTS: usize = 16;

/// The node's proxies, and what leads to them.
struct Proxies {
    steering: Steering,
    dns: Keeper<DnsProxy>,
    /// None where connections are not held to their name.
    gate: Option<Gate>,
    /// Whose DNS is to be steered.
    pods: BTreeSet<IpAddr>,
    /// Whether connections that were allowed once stay open, whatever policy says by now.
    keeps_connections: bool,
    /// What goes to the gateway.
    named: BTreeMap<Pair, Beside>,
    /// Why that is not so.
    problem: Option<String>,
}

/// Names by which a pod knows an address.
#[derive(Clone, Debug)]
pub(crate) struct NamedPair<'n> {
    pub(crate) pod: &'n PodName,
    /// The pod's address.
    pub(crate) from: IpAddr,
    pub(crate) to: IpAddr,
    /// Names that hold.
    pub(crate) live: Vec<&'n DnsName>,
    /// Names that ran out while a connection was open.
    pub(crate) past: Vec<&'n DnsName>,
    /// Whether the address is neither a pod's nor a node's. Those judge who comes to them by its own address.
    pub(crate) is_outside: bool,
}

impl NamedPair<'_> {
    /// Whether a connection must say for whom it is: a name makes a difference here.
    pub(crate) fn is_named(&self, table: &Table, binder: &mut Binder) -> bool {
        let names = || self.live.iter().chain(&self.past).copied();
        self.is_outside && binder.row(table, self.from, self.destination(), names()).is_some()
    }

    /// Where it leads.
    pub(crate) fn destination(&self) -> Destination {
        Destination { address: self.to, is_outside: self.is_outside }
    }
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
    proxies: Option<Proxies>,
}

impl Kernel {
    fn problem(&self) -> Option<String> {
        self.bypass.clone().or_else(|| self.tap.problem())
    }
}

impl Proxies {
    fn open(node: &Arc<str>, answering: Answering, keeps_connections: bool) -> Result<Self> {
        let Answering { control, gateway } = answering;
        let steering = Steering::open().context("opening what steers DNS")?;
        let beside = control.as_ref().map(|path| path.with_extension("gateway"));
        let gate = gateway.map(|holding| Gate::open(Arc::clone(node), beside, holding)).transpose()?;
        let dns = Keeper::open(Arc::clone(node), control, Vec::new())?;
        let (pods, named) = (BTreeSet::new(), BTreeMap::new());
        Ok(Self { steering, dns, gate, pods, named, keeps_connections, problem: None })
    }

    /// Has both go by a table and what pods know, and what concerns them sent there. An error where names would be open past
    /// the gateway.
    fn go_by(
        &mut self,
        table: &Table,
        binder: &mut Binder,
        answers: &Answers,
        pairs: &[NamedPair<'_>],
    ) -> Result<()> {
        self.pods.clone_from(&answers.steered);
        self.named.clear();
        if let Some(gate) = &mut self.gate {
            // Before anything is steered to it.
            gate.know(answers.workloads(), answers.own.clone(), answers.wanting.clone());
            gate.tell(table, binder, pairs)?;
            let here = pairs.iter().filter(|pair| table.endpoints.contains_key(&pair.from));
            let named = here.filter(|pair| pair.is_named(table, binder));
            let named = named.map(|pair| (pair.from, pair.to));
            self.named = named.map(|pair| (pair, self.beside(table, pair))).collect();
        }
        self.steer();
        match &self.problem {
            Some(problem) if !self.named.is_empty() => {
                bail!("connections to names cannot be steered to the gateway: {problem}")
            }
            Some(_) | None => Ok(()),
        }
    }

    /// Sends what is to be sent to the proxies, if their sockets are there.
    fn steer(&mut self) {
        let (dns, gateway) = self.listening();
        if dns.is_empty() {
            return;
        }
        let wanted = Steer { pods: self.pods.clone(), dns, gateway, named: self.named.clone() };
        self.problem = self.steering.steer(&wanted).err().map(|error| error.to_string());
    }

    /// Where the proxies are to be reached.
    fn listening(&self) -> (Vec<SocketAddr>, Vec<SocketAddr>) {
        let gateway = self.gate.as_ref().map(|gate| gate.keeper.listening());
        (self.dns.listening(), gateway.unwrap_or_default())
    }

    /// Sends to proxies whose sockets came late, and tries again what failed.
    fn catch_up(&mut self) {
        let (dns, gateway) = self.listening();
        if self.problem.is_some() || self.steering.leads_to() != Some((&dns, &gateway)) {
            self.steer();
        }
    }

    /// Which of these pairs are to be sent to the gateway and are not, and which are and are not to be.
    fn changed(
        &self,
        table: &Table,
        pairs: impl Iterator<Item = (Pair, bool)>,
    ) -> (Vec<(Pair, Beside)>, Vec<Pair>) {
        let changed = pairs.filter(|(pair, is_named)| *is_named != self.named.contains_key(pair));
        let (more, fewer): (Vec<_>, Vec<_>) = changed.partition(|(_, is_named)| *is_named);
        let more = more.into_iter().map(|(pair, _)| (pair, self.beside(table, pair))).collect();
        (more, fewer.into_iter().map(|(pair, _)| pair).collect())
    }

    /// What of the pair may go on past the gateway.
    fn beside(&self, table: &Table, (from, to): Pair) -> Beside {
        if self.keeps_connections {
            return Beside::Any;
        }
        let row = table.unbound_row(from, to);
        let ports = row.and_then(|row| row.open_ports(Protocol::TCP, LISTED_PORTS));
        ports.map_or(Beside::Any, Beside::Ports)
    }
}

/// Whether and how pods' DNS is answered, and their connections held to the names that it gave.
#[derive(Clone, Debug)]
pub(crate) struct Answering {
    /// Over the end of this process, where the next finds the DNS proxy here, and the gateway beside it; without, until this
    /// process ends.
    pub(crate) control: Option<PathBuf>,
    /// How connections are held to their name, if they are.
    pub(crate) gateway: Option<Holding>,
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
        answering: Option<Answering>,
    ) -> Result<Self> {
        let (group, rejudge) = (config.log_group, config.rejudge);
        let datapath = NftDatapath::open(config)?;
        // Before anything is applied, so that no event is missed.
        let source = EventSource::open(group)?;
        let (tags, unlogged) = (Arc::new(Tags::default()), Arc::new(Unlogged::default()));
        let tap =
            Tap::start(node.clone(), source, Arc::clone(journal), Arc::clone(&tags), Arc::clone(&unlogged))
                .context("starting the thread that reads events")?;
        let proxies = answering.map(|it| Proxies::open(&node, it, !rejudge)).transpose()?;
        let kernel = Kernel {
            datapath,
            tap,
            tags,
            unlogged,
            unrecorded: Growth::default(),
            paths: Paths::open()?,
            bypass: None,
            proxies,
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
            bound: (0, 0),
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
            bound: (0, 0),
        }
    }

    /// Its name.
    pub(crate) fn node(&self) -> &Arc<str> {
        &self.node
    }

    /// Puts a table in force, with what pods know by name. On an error the one before still is.
    pub(crate) fn apply(
        &mut self,
        table: &Arc<Table>,
        mut binder: Binder,
        answering: Answers,
        pairs: &[NamedPair<'_>],
    ) -> Result<()> {
        let Some(kernel) = &mut self.kernel else {
            // Kept for judging; the problem says that nothing is enforced.
            (self.table, self.binder, self.answering) = (Some(Arc::clone(table)), binder, answering);
            return Ok(());
        };
        if let Some(proxies) = &mut kernel.proxies {
            // A pod that is new is steered before its packets pass.
            if let Err(error) = proxies.go_by(table, &mut binder, &answering, pairs) {
                self.problem = Some(format!("{error:#}"));
                self.fall_back(pairs);
                return Err(error);
            }
        }
        match kernel.datapath.apply(table) {
            Ok(applied) => {
                kernel.tags.set(applied.tag, table.generation);
                self.problem = None;
                self.in_force = Some(table.generation);
                (self.table, self.binder, self.answering) = (Some(Arc::clone(table)), binder, answering);
                self.look_for_bypass();
                self.tell();
                Ok(())
            }
            Err(error) => {
                self.problem = Some(error.to_string());
                self.fall_back(pairs);
                bail!(error)
            }
        }
    }

    /// Has the proxies go by the table that stays in force.
    fn fall_back(&mut self, pairs: &[NamedPair<'_>]) {
        let proxies = self.kernel.as_mut().and_then(|kernel| kernel.proxies.as_mut());
        let (Some(proxies), Some(table)) = (proxies, &self.table) else { return };
        if let Err(error) = proxies.go_by(table, &mut self.binder, &self.answering, pairs) {
            proxies.problem = Some(format!("{error:#}"));
        }
    }

    /// Puts in force by which names pods know addresses. What fails is tried again by who asks again.
    pub(crate) fn bind(&mut self, pairs: &[NamedPair<'_>], journal: &Journal) -> Result<()> {
        let begin = Instant::now();
        let Some(table) = self.table.clone() else { bail!("nothing is in force yet") };
        let pairs: Vec<_> =
            pairs.iter().filter(|it| table.endpoints.contains_key(&it.from)).cloned().collect();
        let mut bindings = Vec::new();
        for pair in &pairs {
            let (NamedPair { from, to, live, past, .. }, there) = (pair, pair.destination());
            let row = self.binder.row(&table, *from, there, live.iter().copied());
            let open = self.binder.open_row(&table, *from, there, live.iter().copied(), past.iter().copied());
            let names = live.iter().chain(past).map(|name| (*name).clone()).collect();
            let bound = Bound { names, row: row.clone() };
            journal.bind(*from, *to, (row.is_some() || open.is_some()).then_some(bound));
            let binding = |span, row| Binding { from: *from, to: *to, span, row };
            bindings.extend([binding(Span::Live, row), binding(Span::Past, open)]);
        }
        let Some(Kernel { datapath, proxies, tags, .. }) = &mut self.kernel else { return Ok(()) };
        let (mut more, mut fewer) = (Vec::new(), Vec::new());
        if let Some(proxies) = proxies
            && proxies.steering.leads_to().is_none()
        {
            proxies.steer();
        }
        if let Some(proxies) = proxies
            && let Some(gate) = &mut proxies.gate
        {
            gate.bind(&table, &mut self.binder, &pairs)?;
            let binder = &mut self.binder;
            let named = pairs.iter().map(|pair| ((pair.from, pair.to), pair.is_named(&table, binder)));
            (more, fewer) = proxies.changed(&table, named);
        }
        match proxies {
            Some(proxies) if !proxies.dns.listening().is_empty() => {
                datapath.bind_steered(&bindings, &mut proxies.steering, &more, &fewer)?;
            }
            Some(_) | None => datapath.bind(&bindings)?,
        }
        if let Some(tag) = datapath.tag() {
            tags.set(tag, table.generation);
        }
        let Some(proxies) = proxies else { return Ok(()) };
        for pair in &fewer {
            proxies.named.remove(pair);
        }
        proxies.named.extend(more);
        if let Some(gate) = &proxies.gate {
            gate.keeper.check()?;
        }
        let (times, micros) = &mut self.bound;
        *times += 1;
        *micros += u64::try_from(begin.elapsed().as_micros()).unwrap_or(u64::MAX);
        Ok(())
    }

    /// Which of these pairs have a connection now; all of them where that cannot be said.
    pub(crate) fn connected(&mut self, pairs: &HashSet<(IpAddr, IpAddr)>) -> HashSet<(IpAddr, IpAddr)> {
        let Some(kernel) = &mut self.kernel else { return HashSet::new() };
        kernel.datapath.connected(pairs).unwrap_or_else(|_| pairs.clone())
    }

    /// Begins to answer DNS. What cannot be done shows in the status.
    pub(crate) fn lead(&mut self, listener: &Arc<dyn Listener>) {
        let proxies = self.kernel.as_mut().and_then(|kernel| kernel.proxies.as_mut());
        let Some(proxies) = proxies else { return };
        proxies.dns.lead(Arc::clone(listener));
        if let Some(gate) = &proxies.gate {
            gate.keeper.lead(Arc::clone(listener));
        }
        if self.table.is_some() {
            proxies.steer();
        }
        self.tell();
    }

    /// Tells the DNS proxy what holds, if there is one.
    fn tell(&self) {
        let proxies = self.kernel.as_ref().and_then(|kernel| kernel.proxies.as_ref());
        if let (Some(proxies), Some(state)) = (proxies, &self.answering.state) {
            proxies.dns.tell(state.clone());
        }
    }

    /// Waits until the DNS proxy goes by what is in force, or cannot.
    pub(crate) fn wait_for_dns(&self) {
        let proxies = self.kernel.as_ref().and_then(|kernel| kernel.proxies.as_ref());
        if let (Some(proxies), Some(generation)) = (proxies, self.in_force) {
            proxies.dns.wait_for(generation.0);
        }
    }

    /// Whether somebody answers its pods' DNS.
    pub(crate) fn answers_dns(&self) -> bool {
        self.kernel.as_ref().is_some_and(|kernel| kernel.proxies.is_some())
    }

    /// How its pods' DNS is answered, if it is.
    pub(crate) fn dns(&self) -> Option<DnsStatus> {
        let kernel = self.kernel.as_ref()?;
        let proxies = kernel.proxies.as_ref()?;
        let standing = proxies.dns.standing();
        let of = |verdict: ::dns::Verdict| {
            let queries = standing.counts.queries.iter();
            queries.filter(|(reason, _)| reason.verdict() == verdict).map(|(_, count)| count).sum()
        };
        Some(DnsStatus {
            answered: of(::dns::Verdict::Allow),
            refused: of(::dns::Verdict::Deny),
            failed: of(::dns::Verdict::Fail),
            lost_records: standing.counts.lost_records,
            opened: kernel.datapath.bound(),
            binds: self.bound.0,
            bind_micros: self.bound.1,
            starts: standing.starts,
            problem: proxies.problem.clone().or(standing.problem),
        })
    }

    /// How its pods' connections are held to their names, if they are.
    pub(crate) fn gateway(&self) -> Option<GatewayStatus> {
        let proxies = self.kernel.as_ref()?.proxies.as_ref()?;
        let gate = proxies.gate.as_ref()?;
        let standing = gate.keeper.standing();
        let of = |verdict: Verdict| {
            let reasons = standing.counts.reasons.iter();
            reasons.filter(|(reason, _)| reason.verdict() == verdict).map(|(_, count)| count).sum()
        };
        let requests = |verdict: Verdict| {
            let counted = standing.counts.requests.iter();
            counted.filter(|(of, ..)| *of == verdict).map(|(.., count)| count).sum()
        };
        let files = |blocked: bool| {
            let counted = standing.counts.files.iter();
            counted.filter(|(_, is_blocked, _)| *is_blocked == blocked).map(|(.., count)| count).sum()
        };
        Some(GatewayStatus {
            requests_allowed: requests(Verdict::Allow),
            requests_refused: requests(Verdict::Deny),
            files_reported: files(false),
            files_blocked: files(true),
            edges_lost: standing.counts.edges_lost,
            passed_unopened: standing.counts.reasons.get(&Reason::PassedUnopened).copied().unwrap_or(0),
            open: standing.counts.open,
            passed: of(Verdict::Allow),
            refused: of(Verdict::Deny),
            bytes_up: standing.counts.bytes_up,
            bytes_down: standing.counts.bytes_down,
            lost_records: standing.counts.records_lost,
            named: proxies.named.len(),
            spent: gate.budgets.spent().len(),
            starts: standing.starts,
            opens_tls: gate.opens_tls(),
            problem: standing
                .problem
                .or(standing.unopened)
                .or_else(|| gate.budgets.problem())
                .or_else(|| gate.quotas.problem())
                .or_else(|| store_problem(gate.store_standing()?)),
            currency: gate.currency(),
            used: gate.quotas.used_today(),
            store: gate.store_standing(),
        })
    }

    fn gate(&mut self) -> Option<&mut Gate> {
        self.kernel.as_mut()?.proxies.as_mut()?.gate.as_mut()
    }

    /// Has the gateway open TLS with other means, if there is one.
    pub(crate) fn inspect_with(&mut self, inspection: Option<Arc<Inspection>>) {
        if let Some(gate) = self.gate() {
            gate.inspect_with(inspection);
        }
    }

    /// Has it open TLS of some namespaces with authorities of their own, if there is one.
    pub(crate) fn inspect_own_with(&mut self, given: &Arc<OwnInspection>) {
        if let Some(gate) = self.gate() {
            gate.inspect_own_with(given);
        }
    }

    /// Has requests leave with other keys, if there is a gateway.
    pub(crate) fn inject_with(&mut self, keys: &Arc<BTreeMap<SecretRef, Key>>) {
        if let Some(gate) = self.gate() {
            gate.inject_with(keys);
        }
    }

    /// Has connections leave by another central gateway, or by none yet.
    pub(crate) fn leave_by(&mut self, egress: &Arc<Egress>) {
        if let Some(gate) = self.gate() {
            gate.leave_by(egress);
        }
    }

    /// Of which workloads pods are.
    pub(crate) fn know_workloads<'w>(&mut self, pods: impl Iterator<Item = &'w Pod>) {
        if let Some(gate) = self.gate() {
            gate.know_workloads(pods);
        }
    }

    /// Forgets what pods that are gone sent.
    pub(crate) fn forget_budgets(&mut self, is_there: impl Fn(&PodName) -> bool) {
        if let Some(gate) = self.gate() {
            gate.budgets.retain(&is_there);
            gate.quotas.retain(is_there);
        }
    }

    /// Looks how much of the budgets is used. What was used up since then.
    pub(crate) fn look_at_budgets(&mut self) -> Vec<Spent> {
        let Some(gate) = self.gate() else { return Vec::new() };
        gate.keep_quotas();
        let spent = gate.budgets.look();
        gate.spend();
        spent
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

    /// Has the kernel send to proxies what it could not be told to before.
    pub(crate) fn catch_up(&mut self) {
        let proxies = self.kernel.as_mut().and_then(|kernel| kernel.proxies.as_mut());
        if let (Some(proxies), Some(_)) = (proxies, &self.table) {
            proxies.catch_up();
        }
    }

    /// Looks whether pods reach each other where nobody judges, and closes what it can of that.
    pub(crate) fn look_for_bypass(&mut self) {
        let (Some(kernel), Some(table)) = (&mut self.kernel, &self.table) else { return };
        let found = match kernel.paths.behind(table.endpoints.keys().copied()) {
            Ok(behind) => {
                let open = kernel.datapath.close(&behind.sides).err();
                let open = open.map(|error| {
                    format!("pods reach each other under addresses or in frames that no policy can speak of: {error}")
                });
                [behind.bypass.map(|bypass| bypass.to_string()), open]
            }
            Err(error) => {
                [Some(format!("whether pods reach each other unjudged cannot be found out: {error}")), None]
            }
        };
        let found: Vec<String> = found.into_iter().flatten().collect();
        kernel.bypass = (!found.is_empty()).then(|| found.join("; "));
    }

    /// Whether requests that rules look at can be judged here. Where nothing is enforced, it makes no difference.
    pub(crate) fn judges_requests(&self) -> bool {
        let Some(kernel) = &self.kernel else { return true };
        kernel.proxies.as_ref().is_some_and(|proxies| proxies.gate.is_some())
    }

    /// Whether the kernel still has what was put in force here. Where it cannot be asked, the next change will tell.
    pub(crate) fn is_whole(&mut self) -> bool {
        let Some(Kernel { datapath, proxies, .. }) = &mut self.kernel else { return true };
        let steers = |proxies: &mut Proxies| proxies.steering.is_there().unwrap_or(true);
        datapath.is_there().unwrap_or(true) && proxies.as_mut().is_none_or(steers)
    }

    /// Removes everything from the kernel.
    pub(crate) fn release(&mut self) -> Result<()> {
        (self.table, self.in_force) = (None, None);
        let Some(Kernel { datapath, proxies, .. }) = &mut self.kernel else { return Ok(()) };
        datapath.uninstall().context("removing the rules")?;
        let Some(proxies) = proxies else { return Ok(()) };
        proxies.steering.uninstall().context("leaving pods' DNS and connections alone")?;
        proxies.gate.as_mut().map_or(Ok(()), |gate| gate.budgets.release())
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
            gateway: self.gateway(),
        }
    }
}

/// That budgets are not counted with other nodes.
fn store_problem(store: StoreStanding) -> Option<String> {
    let why = store.problem?;
    Some(format!(
        "the store of shared budgets cannot be reached, so that this node uses its share of them at most: {why}"
    ))
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
