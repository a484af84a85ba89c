//! The nf_tables backend: what is in force, and how it is changed in one transaction.
//!
//! Enters: tables and bindings. Leaves: transactions. Guarantees: a failed transaction leaves the memory of what is in
//! force as it was; state left by an earlier process is read back and changed, never removed first.
//!
//! A change costs what changes: elements, and the few rules that carry the tag. Rules with lookups stay.

pub(crate) mod adopt;
pub(crate) mod batch;
mod bind;
mod count;
mod discovery;
pub(crate) mod expr;
mod frames;
mod guard;
pub(crate) mod image;
mod nobody;
pub(crate) mod program;
pub(crate) mod sets;
mod sweep;
mod tiles;

use crate::error::ApplyError;
use crate::mark::{Judged, RULE_MASK, Tag};
use crate::netlink::{Socket, TransactError};
use crate::{Applied, Beside, Binding, Datapath, Pair, Sides, Steering};
use batch::{Batch, Part, SetSpec, Shape};
use bind::Rebinding;
use image::{Change, Image, difference};
use policy::table::Table;
use policy::{RuleEntry, RuleId};
use program::{Chain, JUDGED, Parameters, Phase, RECENT4, RECENT6, SETTINGS, TAGS};
use sets::{Interval, IntervalSet, Intervals, Key};
use std::collections::{BTreeMap, HashSet};
use std::hash::{DefaultHasher, Hash, Hasher};
use std::net::IpAddr;
use std::sync::Arc;
use std::time::{Duration, Instant};

pub(crate) use program::LOG_REPLY;

const TABLE: &str = "cofferdam";
/// A table that does not exist.
const ABSENT: &str = "cofferdam_absent";
const GUARD: &str = "cofferdam_guard";
/// Changes whenever the shape of chains or sets does; a table with another schema is replaced whole.
const SCHEMA: u32 = 6;
/// The same of the guard's rules.
const GUARD_SCHEMA: u32 = 3;

/// How to enforce.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct Config {
    /// Judge open connections again when the state changes. Without it they live on as they were judged.
    pub rejudge: bool,
    /// NFLOG group of the log of denials.
    pub log_group: u16,
    /// Priority of the hooks. Must be after destination translation (-100) and should be before other filters (0).
    pub priority: i32,
    /// Prefixes of the names of pod interfaces; empty: no guard.
    pub guard: Vec<String>,
    /// A denied tuple is logged once in so many milliseconds; 0: every denied packet is.
    pub quiet_ms: u64,
    /// Most denied tuples remembered at a time. Beyond it, a thousand denied packets a second are logged, the others only
    /// counted.
    pub quiet_tuples: u32,
}

impl Default for Config {
    fn default() -> Self {
        Self {
            rejudge: true,
            log_group: 3325,
            priority: -5,
            guard: Vec::new(),
            quiet_ms: 5000,
            quiet_tuples: 1 << 16,
        }
    }
}

/// A denied tuple and how many of its packets were not logged.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Suppressed {
    /// Source.
    pub from: IpAddr,
    /// Destination.
    pub to: IpAddr,
    /// Protocol number.
    pub protocol: u8,
    /// Destination port, or what the protocol has in its place.
    pub port: u16,
    /// Packets dropped without a log entry since the one that was logged.
    pub packets: u64,
}

/// Enforcement by nf_tables in the network namespace in which it was opened.
#[derive(Debug)]
pub struct NftDatapath {
    socket: Socket,
    config: Config,
    installed: Installed,
    /// What the ids in the kernel's counters stand for; unknown if an earlier process loaded them.
    rules: Option<Arc<Vec<RuleEntry>>>,
    /// Counts that were in the kernel before the rules were renumbered.
    carried: BTreeMap<RuleId, u64>,
    /// Connections may carry tags that will come again.
    sweep_due: bool,
}

/// What is known of the kernel's tables.
#[derive(Debug, Default)]
struct Installed {
    /// Tables of these names exist but are not what this process would make.
    foreign_table: bool,
    foreign_guard: bool,
    guard: bool,
    state: Option<State>,
}

/// The table in force.
#[derive(Debug)]
struct State {
    tag: Tag,
    phase: Phase,
    /// Of the process that put it in force.
    settings: u32,
    image: Image,
    /// What the interval sets of the other phase hold.
    idle: Intervals,
}

impl NftDatapath {
    /// Opens the kernel's nf_tables in the calling thread's network namespace and reads what an earlier process left
    /// in force. Changes nothing.
    ///
    /// # Errors
    /// No privilege, or no nf_tables.
    pub fn open(config: Config) -> Result<Self, ApplyError> {
        let mut socket =
            Socket::open().map_err(|errno| ApplyError::from_errno("opening nf_tables", errno))?;
        let installed = adopt::read(&mut socket, &config)?;
        Ok(Self { socket, config, installed, rules: None, carried: BTreeMap::new(), sweep_due: false })
    }

    /// Whether this kernel can carry out everything that [`Datapath::apply`] asks for. Changes nothing: the tables are
    /// made in a transaction that is then refused.
    ///
    /// # Errors
    /// What is missing, as the part that the kernel refused.
    pub fn probe(&mut self) -> Result<(), ApplyError> {
        let mut batch = self.batch();
        make_table(&mut batch, &self.config, Tag(1));
        batch.delete_table(ABSENT);
        let (messages, acknowledged, doing) = batch.finish(TABLE);
        let refused = self.socket.transact(&messages, acknowledged);
        let last = doing.iter().find(|(_, words)| words.ends_with(ABSENT)).map(|(number, _)| *number);
        match refused {
            Err(TransactError::Refused(part)) if Some(part.sequence) == last => Ok(()),
            Err(error) => Err(ApplyError::from_transact(error, &doing)),
            // It cannot succeed.
            Ok(()) => Err(ApplyError::NoAnswer),
        }
    }

    /// The tag in force.
    #[must_use]
    pub fn tag(&self) -> Option<Tag> {
        self.installed.state.as_ref().map(|state| state.tag)
    }

    /// Whether the kernel still has what is in force: somebody may have removed it. What is in its tables is not looked at.
    ///
    /// # Errors
    /// The kernel could not be asked.
    pub fn is_there(&mut self) -> Result<bool, ApplyError> {
        let Some(state) = &self.installed.state else { return Ok(true) };
        if adopt::in_force(&mut self.socket)? != Some((state.tag, state.phase, state.settings)) {
            return Ok(false);
        }
        if !self.installed.guard {
            return Ok(true);
        }
        let guard = adopt::table_comment(&mut self.socket, GUARD)?;
        Ok(guard == Some(batch::comment_bytes(&guard_comment(&self.config))))
    }

    /// [`Datapath::bind`], and [`Steering::steer_pairs`], in the same step where pairs come and no row takes anything away.
    /// Otherwise more pairs are steered before and fewer after it.
    ///
    /// # Errors
    /// Nothing changed, but that more pairs may be steered, or bindings hold and fewer pairs still are.
    pub fn bind_steered(
        &mut self,
        bindings: &[Binding],
        steering: &mut Steering,
        more: &[(Pair, Beside)],
        fewer: &[Pair],
    ) -> Result<(), ApplyError> {
        if more.is_empty() {
            // What ends must end also where somebody took the steering away.
            self.bind(bindings)?;
            return steering.steer_pairs(&[], fewer);
        }
        let rebinding = self.rebinding(bindings)?;
        if rebinding.moves() {
            steering.steer_pairs(more, &[])?;
            self.rebind(rebinding)?;
            return steering.steer_pairs(&[], fewer);
        }
        let change = steering.change(more, fewer)?;
        self.add(rebinding, |batch| change.write(batch))?;
        steering.note(change);
        Ok(())
    }

    /// Closes, between endpoints behind these interfaces, what no policy can speak of: addresses that are nobody's, and on
    /// bridges frames that IP's hooks do not see. A table that is applied later keeps it so.
    ///
    /// # Errors
    /// Some of it is still open.
    pub fn close(&mut self, sides: &Sides) -> Result<(), ApplyError> {
        let Some(state) = &self.installed.state else { return Ok(()) };
        let wanted: BTreeMap<Key, u32> = sides.keys().map(|key| (key, 0)).collect();
        let held = state.image.sides();
        let gone: Vec<Key> = held.keys().filter(|key| !wanted.contains_key(key)).copied().collect();
        let new: Vec<Key> = wanted.keys().filter(|key| !held.contains_key(key)).copied().collect();
        if !gone.is_empty() || !new.is_empty() {
            let name = sets::HashSet::Sides.name();
            let mut batch = self.batch();
            batch.remove(TABLE, name, gone.iter().map(Key::element));
            batch.add(TABLE, name, new.iter().map(Key::element));
            self.commit(batch, TABLE)?;
            if let Some(state) = &mut self.installed.state {
                state.image.hashes.insert(sets::HashSet::Sides, wanted);
            }
        }
        if sides.are_bridged() { frames::close(&mut self.socket) } else { Ok(()) }
    }

    /// How many addresses are bound to endpoints.
    #[must_use]
    pub fn bound(&self) -> usize {
        let sets = [sets::HashSet::Bound4, sets::HashSet::Bound6];
        let image = self.installed.state.as_ref().map(|state| &state.image);
        image.map_or(0, |image| sets.iter().filter_map(|set| image.hashes.get(set)).map(BTreeMap::len).sum())
    }

    /// Which of these pairs, source and real destination, have a connection now.
    ///
    /// # Errors
    /// The kernel could not be asked.
    pub fn connected(
        &mut self,
        pairs: &HashSet<(IpAddr, IpAddr)>,
    ) -> Result<HashSet<(IpAddr, IpAddr)>, ApplyError> {
        sweep::connected(&mut self.socket, pairs)
    }

    /// Denied packets that were not logged, by tuple, for the tuples that are remembered now.
    ///
    /// # Errors
    /// The kernel could not be asked.
    pub fn suppressed(&mut self) -> Result<Vec<Suppressed>, ApplyError> {
        let mut found = Vec::new();
        if self.installed.state.is_none() {
            return Ok(found);
        }
        for set in [RECENT4, RECENT6] {
            adopt::elements(&mut self.socket, TABLE, set, |key, element| {
                let packets = adopt::counted(element).unwrap_or(1);
                found.extend(adopt::tuple(key, packets.saturating_sub(1)));
            })?;
        }
        Ok(found)
    }

    /// Denied packets that were neither logged nor are among those [`suppressed`](Self::suppressed), since the table
    /// or the settings that made its rules: more tuples at a time than the kernel remembers.
    ///
    /// # Errors
    /// The kernel could not be asked.
    pub fn unrecorded(&mut self) -> Result<u64, ApplyError> {
        let mut packets = 0;
        if self.installed.state.is_some() {
            for chain in program::REFUSALS {
                packets += adopt::counted_by_rules(&mut self.socket, TABLE, chain)?;
            }
        }
        if self.installed.guard {
            packets += adopt::counted_by_rules(&mut self.socket, GUARD, guard::UNMANAGED)?;
        }
        Ok(packets)
    }

    fn counts(&mut self) -> Result<BTreeMap<RuleId, u64>, ApplyError> {
        let mut counts = self.carried.clone();
        if self.installed.state.is_none() {
            return Ok(counts);
        }
        adopt::elements(&mut self.socket, TABLE, JUDGED, |key, element| {
            let Ok(mark) = key.try_into().map(u32::from_ne_bytes) else { return };
            *counts.entry(RuleId(mark & RULE_MASK)).or_insert(0) += adopt::counted(element).unwrap_or(0);
        })?;
        Ok(counts)
    }

    /// Reads the kernel's tables anew if somebody else removed or changed them.
    fn recognize(&mut self) -> Result<(), ApplyError> {
        if !self.is_there()? {
            self.installed = adopt::read(&mut self.socket, &self.config)?;
        }
        Ok(())
    }

    /// A sweep that fails is tried again with the next change; there is time for hundreds of them.
    fn sweep(&mut self, tag: Tag) {
        self.sweep_due |= sweep::is_due(tag);
        let rejudge = self.config.rejudge;
        let old = |judged: Judged| judged.tag != tag && (rejudge || judged.is_denied());
        if self.sweep_due && sweep::forget(&mut self.socket, old).is_ok() {
            self.sweep_due = false;
        }
    }

    /// Sends a transaction. Returns how long the kernel took.
    fn commit(&mut self, batch: Batch, table: &str) -> Result<Duration, ApplyError> {
        let (messages, acknowledged, doing) = batch.finish(table);
        let start = Instant::now();
        self.socket
            .transact(&messages, acknowledged)
            .map_err(|error| ApplyError::from_transact(error, &doing))?;
        Ok(start.elapsed())
    }

    fn batch(&self) -> Batch {
        Batch::new(self.socket.messages())
    }

    /// The first state of this table, in one transaction.
    fn load(&mut self, image: Image) -> Result<(Tag, Duration, usize), ApplyError> {
        // A table that this one replaces goes on stamping its tag until then.
        let earlier = adopt::in_force(&mut self.socket)?.map_or(Tag::NONE, |(tag, ..)| tag);
        let (tag, phase) = (earlier.next(), Phase::A);
        let rejudge = self.config.rejudge;
        sweep::forget(&mut self.socket, |judged| rejudge || judged.is_denied())?;
        let mut batch = self.batch();
        if self.installed.foreign_table {
            batch.delete_table(TABLE);
        }
        // Rules before elements: the kernel walks a map for every rule that it meets in one.
        make_table(&mut batch, &self.config, tag);
        let changes = Image::default().changes_to(&image);
        change_hash_sets(&mut batch, &changes);
        let mut added = changes.iter().map(|change| change.new.len()).sum();
        for (set, intervals) in &image.intervals {
            added += intervals.len();
            for phase in Phase::BOTH {
                add_intervals(&mut batch, *set, phase, intervals.iter());
            }
        }
        put_in_force(&mut batch, None, (tag, phase, settings(&self.config)));
        self.write_guard(&mut batch, &changes, None);
        let took = self.commit(batch, TABLE)?;
        let idle = image.intervals.clone();
        let state = State { tag, phase, settings: settings(&self.config), image, idle };
        self.settled(state);
        Ok((tag, took, added))
    }

    fn replace(
        &mut self,
        state: State,
        image: Image,
        changes: &[Change],
        keep_counts: bool,
    ) -> Result<(Tag, Duration, usize, usize), ApplyError> {
        let mut added = changes.iter().map(|change| change.new.len()).sum();
        let mut removed = changes.iter().map(|change| change.gone.len()).sum();
        for (set, wanted) in &image.intervals {
            let held = state.image.intervals.get(set).cloned().unwrap_or_default();
            if held != *wanted {
                let (gone, new) = difference(held.iter(), wanted.iter(), |interval| interval.first);
                added += new.len();
                removed += gone.len();
            }
        }
        let (mut state, took) = self.swap(state, changes, &image.intervals, keep_counts)?;
        state.image = image;
        let tag = state.tag;
        self.settled(state);
        Ok((tag, took, added, removed))
    }

    fn rebinding(&self, bindings: &[Binding]) -> Result<Rebinding, ApplyError> {
        let Some(state) = &self.installed.state else { return Err(ApplyError::NotInstalled) };
        Ok(Rebinding::of(bindings, &state.image)?)
    }

    /// Changes bindings of the state in force, and what else is written into the same transaction.
    fn add(&mut self, rebinding: Rebinding, more: impl FnOnce(&mut Batch)) -> Result<(), ApplyError> {
        let mut batch = self.batch();
        change_hash_sets(&mut batch, &rebinding.changes);
        more(&mut batch);
        if !batch.is_empty() {
            self.commit(batch, TABLE)?;
        }
        if let Some(state) = &mut self.installed.state {
            rebinding.note(&mut state.image);
        }
        Ok(())
    }

    /// A state with other bindings.
    fn rebind(&mut self, rebinding: Rebinding) -> Result<(), ApplyError> {
        let Some(state) = self.installed.state.take() else { return Err(ApplyError::NotInstalled) };
        let intervals = rebinding.intervals.as_ref().unwrap_or(&state.image.intervals).clone();
        let (mut state, _) = self.swap(state, &rebinding.changes, &intervals, true)?;
        rebinding.note(&mut state.image);
        let tag = state.tag;
        self.settled(state);
        self.sweep(tag);
        Ok(())
    }

    /// From the state in force to one that differs by the changes and has these intervals, in one transaction.
    /// The image it returns is the old one with the new intervals. What fails leaves the state known as in force.
    fn swap(
        &mut self,
        mut state: State,
        changes: &[Change],
        intervals: &Intervals,
        keep_counts: bool,
    ) -> Result<(State, Duration), ApplyError> {
        let prepared = match self.prepare(&mut state, intervals) {
            Ok(prepared) => prepared,
            Err(error) => {
                self.installed.state = Some(state);
                return Err(error);
            }
        };
        let (tag, phase) = (state.tag.next(), state.phase.other());
        let settings = settings(&self.config);
        let mut batch = self.batch();
        change_hash_sets(&mut batch, changes);
        let mut chains = program::moving(parameters(&self.config, tag, phase));
        if state.settings != settings {
            chains.extend(program::refusal(&self.config));
        }
        for chain in &chains {
            batch.flush_chain(TABLE, &chain.name);
        }
        append_rules(&mut batch, &chains);
        put_in_force(&mut batch, Some(&state), (tag, phase, settings));
        if !keep_counts {
            batch.flush_set(TABLE, JUDGED);
        }
        self.write_guard(&mut batch, changes, Some(&state.image));
        match self.commit(batch, TABLE) {
            Ok(took) => {
                let idle = std::mem::replace(&mut state.image.intervals, intervals.clone());
                Ok((State { tag, phase, settings, image: state.image, idle }, prepared + took))
            }
            Err(error) => {
                self.installed.state = Some(state);
                Err(error)
            }
        }
    }

    /// Brings the interval sets of the other phase up to the state to come. No packet looks into them before the commit
    /// that puts them to use; on some kernels a tree shows new elements only some time after the commit that adds them.
    /// What goes and what comes may overlap, so it goes first.
    fn prepare(&mut self, state: &mut State, wanted: &Intervals) -> Result<Duration, ApplyError> {
        let mut took = Duration::ZERO;
        let phase = state.phase.other();
        for (set, wanted) in wanted {
            let held = state.idle.get(set).cloned().unwrap_or_default();
            if held == *wanted {
                continue;
            }
            let (gone, new) = difference(held.iter(), wanted.iter(), |interval| interval.first);
            if !gone.is_empty() {
                let mut batch = self.batch();
                let elements = gone.iter().flat_map(|interval| interval.elements(None));
                batch.remove(TABLE, &set.name(phase), elements);
                took += self.commit(batch, TABLE)?;
                let (_, kept) = difference(gone.into_iter(), held.iter(), |interval| interval.first);
                state.idle.insert(*set, kept.into_iter().copied().collect::<Vec<_>>().into());
            }
            let mut batch = self.batch();
            add_intervals(&mut batch, *set, phase, new.iter().copied());
            took += self.commit(batch, TABLE)?;
            state.idle.insert(*set, wanted.clone());
        }
        Ok(took)
    }

    /// What is known after a transaction that put a state in force.
    fn settled(&mut self, state: State) {
        self.installed = Installed {
            foreign_table: false,
            foreign_guard: false,
            guard: !self.config.guard.is_empty(),
            state: Some(state),
        };
    }

    /// `before` is what was in force, if that is known.
    fn write_guard(&self, batch: &mut Batch, changes: &[Change], before: Option<&Image>) {
        let wanted = !self.config.guard.is_empty();
        let fresh = !self.installed.guard;
        if self.installed.foreign_guard || (self.installed.guard && !wanted) {
            batch.delete_table(GUARD);
        }
        if !wanted {
            return;
        }
        if fresh {
            make_guard(batch, &self.config, &guard_comment(&self.config));
        }
        for (set, name) in
            [(sets::HashSet::Endpoints4, guard::MANAGED4), (sets::HashSet::Endpoints6, guard::MANAGED6)]
        {
            let change = changes.iter().find(|change| change.set == set);
            let (gone, new) = change.map_or((&[][..], &[][..]), |change| (&change.gone, &change.new));
            if before.is_none() && !fresh {
                batch.flush_set(GUARD, name);
            }
            if fresh {
                let held = before.and_then(|image| image.hashes.get(&set));
                let held = held.into_iter().flatten().map(|(key, _)| key);
                let stays = held.filter(|key| gone.binary_search(key).is_err());
                batch.add(GUARD, name, stays.chain(new.iter().map(|(key, _)| key)).map(Key::element));
                continue;
            }
            // An endpoint that only changes its slot is in both.
            let leaves = gone.iter().filter(|key| new.binary_search_by_key(key, |(key, _)| key).is_err());
            batch.remove(GUARD, name, leaves.map(Key::element));
            let comes = new.iter().filter(|(key, _)| gone.binary_search(key).is_err());
            batch.add(GUARD, name, comes.map(|(key, _)| key.element()));
        }
    }
}

impl Datapath for NftDatapath {
    fn apply(&mut self, table: &Table) -> Result<Applied, ApplyError> {
        let start = Instant::now();
        let mut image = Image::of(table)?;
        self.recognize()?;
        if let Some(state) = &self.installed.state {
            image.hashes.insert(sets::HashSet::Sides, state.image.sides().clone());
        }
        let renumbered = self.rules.as_ref() != Some(&table.rules);
        let changes = self.installed.state.as_ref().map(|state| state.image.changes_to(&image));
        if let (Some(state), Some(changes)) = (&self.installed.state, &changes)
            && changes.is_empty()
            && state.image.intervals == image.intervals
            && self.installed.guard != self.config.guard.is_empty()
            && !self.installed.foreign_guard
            && state.settings == settings(&self.config)
        {
            self.rules = Some(table.rules.clone());
            let (took, kernel) = (start.elapsed(), Duration::ZERO);
            return Ok(Applied { tag: state.tag, changed: false, added: 0, removed: 0, took, kernel });
        }
        let carried = match self.rules.clone() {
            Some(old) if renumbered => count::renumber(&self.counts()?, &old, &table.rules),
            Some(_) => self.carried.clone(),
            None => BTreeMap::new(),
        };
        let (tag, kernel, added, removed) = match (self.installed.state.take(), changes) {
            (Some(state), Some(changes)) => self.replace(state, image, &changes, !renumbered)?,
            (_, _) => {
                let (tag, kernel, added) = self.load(image)?;
                (tag, kernel, added, 0)
            }
        };
        self.carried = carried;
        self.rules = Some(table.rules.clone());
        self.sweep(tag);
        Ok(Applied { tag, changed: true, added, removed, took: start.elapsed(), kernel })
    }

    fn bind(&mut self, bindings: &[Binding]) -> Result<(), ApplyError> {
        let rebinding = self.rebinding(bindings)?;
        if rebinding.moves() { self.rebind(rebinding) } else { self.add(rebinding, |_| {}) }
    }

    fn counters(&mut self) -> Result<BTreeMap<RuleId, u64>, ApplyError> {
        self.counts()
    }

    fn uninstall(&mut self) -> Result<(), ApplyError> {
        let present = adopt::read(&mut self.socket, &self.config)?;
        let tables = [
            (present.foreign_table || present.state.is_some(), TABLE),
            (present.foreign_guard || present.guard, GUARD),
        ];
        for (_, table) in tables.iter().filter(|(there, _)| *there) {
            let (messages, acknowledged) = batch::delete_table(self.socket.messages(), table);
            let doing = [(acknowledged, format!("deleting table {table}"))];
            self.socket
                .transact(&messages, acknowledged)
                .map_err(|error| ApplyError::from_transact(error, &doing))?;
        }
        frames::open(&mut self.socket)?;
        self.installed = Installed::default();
        self.rules = None;
        self.carried.clear();
        Ok(())
    }
}

/// Tells tables of this shape from others. Settings that only change rules are not in it: those rules can be written
/// anew.
fn comment(config: &Config) -> String {
    format!("schema {SCHEMA} priority {} quiet {} {}", config.priority, config.quiet_ms, config.quiet_tuples)
}

fn guard_comment(config: &Config) -> String {
    let mut hasher = DefaultHasher::new();
    (&config.guard, config.log_group).hash(&mut hasher);
    format!("{} guard {GUARD_SCHEMA} {:016x}", comment(config), hasher.finish())
}

/// Tells the settings that rules depend on.
fn settings(config: &Config) -> u32 {
    let mut hasher = DefaultHasher::new();
    (config.rejudge, config.log_group).hash(&mut hasher);
    u32::try_from(hasher.finish() >> 32).unwrap_or_default()
}

fn parameters(config: &Config, tag: Tag, phase: Phase) -> Parameters {
    Parameters { tag, phase, rejudge: config.rejudge }
}

/// The table with its whole program and empty sets.
fn make_table(batch: &mut Batch, config: &Config, tag: Tag) {
    batch.new_table(TABLE, &comment(config));
    let plain = |name, key, map| SetSpec { name, key, map, shape: Shape::Hash };
    for set in sets::HashSet::ALL {
        batch.new_set(TABLE, plain(set.name(), set.key(), set.is_map()));
    }
    for set in IntervalSet::ALL {
        for phase in Phase::BOTH {
            let name = set.name(phase);
            batch.new_set(TABLE, SetSpec { name: &name, key: set.key(), map: true, shape: Shape::Interval });
        }
    }
    batch.new_set(TABLE, plain(TAGS, &[Part::Number], true));
    let judged = Shape::Dynamic { size: 1 << 22, timeout_ms: 0 };
    batch.new_set(TABLE, SetSpec { name: JUDGED, key: &[Part::Number], map: false, shape: judged });
    make_recent(batch, TABLE, config);
    let mut chains = program::fixed();
    chains.extend(program::refusal(config));
    chains.extend(program::moving(parameters(config, tag, Phase::A)));
    for chain in &chains {
        batch.new_chain(TABLE, &chain.name, chain.hook.map(|hook| (hook, config.priority)));
    }
    append_rules(batch, &chains);
}

fn make_recent(batch: &mut Batch, table: &str, config: &Config) {
    let shape = Shape::Dynamic { size: config.quiet_tuples, timeout_ms: config.quiet_ms.max(1) };
    let keys: [(&str, &[Part]); 2] = [
        (RECENT4, &[Part::Ipv4, Part::Ipv4, Part::Number, Part::Number]),
        (RECENT6, &[Part::Ipv6, Part::Ipv6, Part::Number, Part::Number]),
    ];
    for (name, key) in keys {
        batch.new_set(table, SetSpec { name, key, map: false, shape });
    }
}

fn make_guard(batch: &mut Batch, config: &Config, comment: &str) {
    batch.new_table(GUARD, comment);
    for (name, set) in
        [(guard::MANAGED4, sets::HashSet::Endpoints4), (guard::MANAGED6, sets::HashSet::Endpoints6)]
    {
        batch.new_set(GUARD, SetSpec { name, key: set.key(), map: false, shape: Shape::Hash });
    }
    make_recent(batch, GUARD, config);
    let chains = guard::chains(config);
    for chain in &chains {
        // Before the policy chains: what is unmanaged needs no judgement.
        batch.new_chain(GUARD, &chain.name, chain.hook.map(|hook| (hook, config.priority - 1)));
    }
    for chain in &chains {
        for (index, rule) in chain.rules.iter().enumerate() {
            batch.append_rule(GUARD, &chain.name, index, rule);
        }
    }
}

fn append_rules(batch: &mut Batch, chains: &[Chain]) {
    for chain in chains {
        for (index, rule) in chain.rules.iter().enumerate() {
            batch.append_rule(TABLE, &chain.name, index, rule);
        }
    }
}

/// Writes which tag is in force in which phase, and under which settings.
fn put_in_force(batch: &mut Batch, before: Option<&State>, (tag, phase, settings): (Tag, Phase, u32)) {
    let element = |key: u32, value: u32| (Key::number(key), value.to_ne_bytes());
    let mut new = vec![element(phase.number(), tag.number().into())];
    if before.is_none_or(|state| state.settings != settings) {
        new.push(element(SETTINGS, settings));
    }
    if let Some(state) = before {
        let mut gone = vec![Key::number(state.phase.number())];
        if state.settings != settings {
            gone.push(Key::number(SETTINGS));
        }
        batch.remove(TABLE, TAGS, gone.iter().map(Key::element));
    }
    batch.add(
        TABLE,
        TAGS,
        new.iter().map(|(key, value)| batch::Element { key: key.bytes(), value: Some(*value), end: false }),
    );
}

fn add_intervals<'a>(
    batch: &mut Batch,
    set: IntervalSet,
    phase: Phase,
    intervals: impl Iterator<Item = &'a Interval>,
) {
    batch.add(TABLE, &set.name(phase), intervals.flat_map(|interval| interval.elements(Some(set))));
}

fn change_hash_sets(batch: &mut Batch, changes: &[Change]) {
    for Change { set, gone, new } in changes {
        batch.remove(TABLE, set.name(), gone.iter().map(Key::element));
        batch.add(TABLE, set.name(), new.iter().map(|(key, value)| set.element(key, *value)));
    }
}
