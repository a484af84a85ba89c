//! The nf_tables backend: what is in force, and how it is changed in one transaction.
//!
//! Enters: tables and bindings. Leaves: transactions. Guarantees: a failed transaction leaves the memory of what is in
//! force as it was; state left by an earlier process is read back and changed, never removed first.

mod adopt;
mod batch;
mod count;
mod expr;
mod guard;
mod program;
pub(crate) mod sets;
mod sweep;

use crate::error::ApplyError;
use crate::mark::{RULE_MASK, Tag};
use crate::netlink::{Socket, TransactError};
use crate::{Applied, Datapath};
use batch::{Batch, Element, SetSpec, Shape};
use policy::table::{ClassId, Table};
use policy::{RuleEntry, RuleId};
use program::{CURRENT, JUDGED, Parameters, RECENT4, RECENT6};
use sets::{HashSet, Image, Interval, IntervalSet, Key};
use std::collections::{BTreeMap, HashMap};
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
const SCHEMA: u32 = 1;

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
    /// A denied tuple is logged once in so many milliseconds.
    pub quiet_ms: u64,
    /// Most denied tuples remembered at a time. Beyond it, denials are dropped without a log entry.
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
    /// Interval sets that are not in use: made for a change that did not happen.
    leftover: Vec<String>,
    state: Option<State>,
}

/// The table in force.
#[derive(Debug)]
struct State {
    tag: Tag,
    /// Of the process that put it in force.
    settings: u32,
    image: Image,
    /// Names of the interval sets in use.
    names: BTreeMap<IntervalSet, String>,
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
        let names = BTreeMap::from(IntervalSet::ALL.map(|set| (set, next_name(set, None))));
        make_table(&mut batch, &self.config, &comment(&self.config));
        for (set, name) in &names {
            make_interval_set(&mut batch, *set, name, &[]);
        }
        write_program(&mut batch, &parameters(&self.config, Tag(1), &names), true, self.config.priority);
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

    /// A sweep that fails is tried again with the next change; there is time for hundreds of them.
    fn sweep(&mut self, tag: Tag) {
        self.sweep_due |= self.config.rejudge && sweep::is_due(tag);
        if self.sweep_due && sweep::forget_old_tags(&mut self.socket, tag).is_ok() {
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

    /// One transaction from what is in force to the image.
    fn replace(&mut self, image: Image, keep_counts: bool) -> Result<(Tag, Duration, Changes), ApplyError> {
        let old = self.installed.state.as_ref();
        let tag = old.map_or(Tag::NONE, |state| state.tag).next();
        let fresh = old.is_none();
        let empty = Image::default();
        let before = old.map_or(&empty, |state| &state.image);
        let mut changes = Changes::default();
        let mut names = BTreeMap::new();
        let mut retired = Vec::new();
        let mut made = Vec::new();
        for set in IntervalSet::ALL {
            let previous = old.and_then(|state| state.names.get(&set));
            let wanted = image.intervals.get(&set).map(Vec::as_slice).unwrap_or_default();
            let unchanged = before.intervals.get(&set).is_some_and(|held| held.as_slice() == wanted);
            if let (Some(previous), true) = (previous, unchanged) {
                names.insert(set, previous.clone());
                continue;
            }
            let name = next_name(set, previous);
            changes.added += wanted.len();
            changes.removed += before.intervals.get(&set).map_or(0, Vec::len);
            retired.extend(previous.cloned());
            made.push((set, name.clone(), wanted));
            names.insert(set, name);
        }
        let mut prepared = Duration::ZERO;
        if !fresh && (!made.is_empty() || !self.installed.leftover.is_empty()) {
            prepared = self.prepare(&made, &names)?;
        }
        let old = self.installed.state.as_ref();
        let before = old.map_or(&empty, |state| &state.image);
        let mut batch = self.batch();
        if fresh {
            if self.installed.foreign_table {
                batch.delete_table(TABLE);
            }
            make_table(&mut batch, &self.config, &comment(&self.config));
            for (set, name, intervals) in &made {
                make_interval_set(&mut batch, *set, name, intervals);
            }
        }
        for set in HashSet::ALL {
            changes.count(change_hash_set(&mut batch, set, before, &image));
        }
        let settings = settings(&self.config);
        let parameters = parameters(&self.config, tag, &names);
        write_program(&mut batch, &parameters, fresh, self.config.priority);
        for name in &retired {
            batch.delete_set(TABLE, name);
        }
        if let Some(state) = old {
            batch.remove(
                TABLE,
                CURRENT,
                current(state.tag, state.settings, &state.names).iter().map(Key::element),
            );
        }
        batch.add(TABLE, CURRENT, current(tag, settings, &names).iter().map(Key::element));
        if !fresh && !keep_counts {
            batch.flush_set(TABLE, JUDGED);
        }
        self.write_guard(&mut batch, before, &image);
        let took = self.commit(batch, TABLE)?;
        self.installed = Installed {
            foreign_table: false,
            foreign_guard: false,
            guard: !self.config.guard.is_empty(),
            leftover: Vec::new(),
            state: Some(State { tag, settings, image, names }),
        };
        Ok((tag, prepared + took, changes))
    }

    /// Makes the interval sets of the state to come. On some kernels a tree shows new elements only some time after
    /// the commit, so it is filled before the commit that puts it to use. Until then only a packet which that commit
    /// overtakes looks into it.
    fn prepare(
        &mut self,
        made: &[(IntervalSet, String, &[Interval])],
        names: &BTreeMap<IntervalSet, String>,
    ) -> Result<Duration, ApplyError> {
        let mut batch = self.batch();
        // The stamp is that of the state still in force, which the next packet of the connection does not accept.
        let tag = self.installed.state.as_ref().map_or(Tag::NONE, |state| state.tag);
        let again = program::again(parameters(&self.config, tag, names));
        for chain in &again {
            batch.flush_chain(TABLE, &chain.name);
        }
        for name in &self.installed.leftover {
            batch.delete_set(TABLE, name);
        }
        for (set, name, intervals) in made {
            make_interval_set(&mut batch, *set, name, intervals);
        }
        append_rules(&mut batch, &again);
        let took = self.commit(batch, TABLE)?;
        self.installed.leftover = made.iter().map(|(_, name, _)| name.clone()).collect();
        Ok(took)
    }

    fn write_guard(&self, batch: &mut Batch, before: &Image, image: &Image) {
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
        let nothing = HashMap::new();
        for (set, name) in [(HashSet::Endpoints4, guard::MANAGED4), (HashSet::Endpoints6, guard::MANAGED6)] {
            let held = before.hashes.get(&set).filter(|_| !fresh).unwrap_or(&nothing);
            let wanted = image.hashes.get(&set).unwrap_or(&nothing);
            let gone = held.keys().filter(|key| !wanted.contains_key(key));
            batch.remove(GUARD, name, gone.map(Key::element));
            let new = wanted.keys().filter(|key| !held.contains_key(key));
            batch.add(GUARD, name, new.map(Key::element));
        }
    }
}

impl Datapath for NftDatapath {
    fn apply(&mut self, table: &Table) -> Result<Applied, ApplyError> {
        let start = Instant::now();
        let image = Image::of(table)?;
        let guarded = self.installed.guard != self.config.guard.is_empty();
        if let Some(state) = &self.installed.state
            && state.image == image
            && guarded
            && state.settings == settings(&self.config)
        {
            self.rules = Some(table.rules.clone());
            return Ok(Applied {
                tag: state.tag,
                changed: false,
                added: 0,
                removed: 0,
                took: start.elapsed(),
                kernel: Duration::ZERO,
            });
        }
        let renumbered = self.rules.as_ref() != Some(&table.rules);
        let carried = match self.rules.clone() {
            Some(old) if renumbered => count::renumber(&self.counts()?, &old, &table.rules),
            Some(_) => self.carried.clone(),
            None => BTreeMap::new(),
        };
        let (tag, kernel, changes) = self.replace(image, !renumbered)?;
        self.carried = carried;
        self.rules = Some(table.rules.clone());
        self.sweep(tag);
        let Changes { added, removed } = changes;
        Ok(Applied { tag, changed: true, added, removed, took: start.elapsed(), kernel })
    }

    fn bind(&mut self, address: IpAddr, class: ClassId) -> Result<(), ApplyError> {
        let Some(state) = &self.installed.state else { return Err(ApplyError::NotInstalled) };
        let (set, key) = (HashSet::hosts(address), Key::address(address));
        match state.image.hashes.get(&set).and_then(|hosts| hosts.get(&key)) {
            Some(held) if *held == class.0 => return Ok(()),
            Some(_) => {
                let mut image = state.image.clone();
                image.put(set, key, class.0);
                return self.replace(image, true).map(|_| ());
            }
            None => {}
        }
        let held = state.image.hashes.get(&set).map_or(0, HashMap::len);
        if held >= set.bound() {
            let full = sets::BrokenTable::TooMany { set: set.name(), elements: held + 1, bound: set.bound() };
            return Err(full.into());
        }
        let mut batch = self.batch();
        let element = Element { key: key.bytes(), value: Some(encode(set, class.0)), end: false };
        batch.add(TABLE, set.name(), std::iter::once(element));
        self.commit(batch, TABLE)?;
        if let Some(state) = &mut self.installed.state {
            state.image.put(set, key, class.0);
        }
        Ok(())
    }

    fn unbind(&mut self, address: IpAddr) -> Result<(), ApplyError> {
        let Some(state) = &self.installed.state else { return Err(ApplyError::NotInstalled) };
        let (set, key) = (HashSet::hosts(address), Key::address(address));
        if !state.image.hashes.get(&set).is_some_and(|hosts| hosts.contains_key(&key)) {
            return Ok(());
        }
        let mut batch = self.batch();
        let element = Element { key: key.bytes(), value: None, end: false };
        batch.remove(TABLE, set.name(), std::iter::once(element));
        self.commit(batch, TABLE)?;
        if let Some(state) = &mut self.installed.state {
            state.image.hashes.entry(set).or_default().remove(&key);
        }
        Ok(())
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
        self.installed = Installed::default();
        self.rules = None;
        self.carried.clear();
        Ok(())
    }
}

/// Elements put in and taken out.
#[derive(Clone, Copy, Debug, Default)]
struct Changes {
    added: usize,
    removed: usize,
}

impl Changes {
    fn count(&mut self, other: Self) {
        self.added += other.added;
        self.removed += other.removed;
    }
}

/// Tells tables of this shape from others. Settings that only change rules are not in it: rules are written anew with
/// every change of state.
fn comment(config: &Config) -> String {
    format!("schema {SCHEMA} priority {} quiet {} {}", config.priority, config.quiet_ms, config.quiet_tuples)
}

fn guard_comment(config: &Config) -> String {
    let mut hasher = DefaultHasher::new();
    (&config.guard, config.log_group).hash(&mut hasher);
    format!("{} guard {:016x}", comment(config), hasher.finish())
}

/// Twelve bits that tell the settings that rules depend on.
fn settings(config: &Config) -> u32 {
    let mut hasher = DefaultHasher::new();
    (config.rejudge, config.log_group).hash(&mut hasher);
    u32::try_from(hasher.finish() >> 52).unwrap_or_default()
}

fn name_of(names: &BTreeMap<IntervalSet, String>, set: IntervalSet) -> &str {
    names.get(&set).map_or("", String::as_str)
}

/// Elements of the set of the tag: the tag; a bit per interval set whose name ends in `b`, and the settings.
fn current(tag: Tag, settings: u32, names: &BTreeMap<IntervalSet, String>) -> [Key; 2] {
    let letters = IntervalSet::ALL
        .iter()
        .enumerate()
        .filter(|(_, set)| name_of(names, **set).ends_with('b'))
        .fold(LETTERS | settings << SETTINGS_SHIFT, |bits, (index, _)| bits | 1 << index);
    [Key::number(tag.bits()), Key::number(letters)]
}

/// Marks the element that is no tag.
const LETTERS: u32 = 0x100;
const SETTINGS_SHIFT: u32 = 9;

fn next_name(set: IntervalSet, previous: Option<&String>) -> String {
    let letter = if previous.is_some_and(|name| name.ends_with('a')) { 'b' } else { 'a' };
    format!("{}{letter}", set.stem())
}

fn make_table(batch: &mut Batch, config: &Config, comment: &str) {
    batch.new_table(TABLE, comment);
    for set in HashSet::ALL {
        let spec =
            SetSpec { name: set.name(), key_length: set.key_length(), map: set.is_map(), shape: Shape::Hash };
        batch.new_set(TABLE, spec);
    }
    batch.new_set(TABLE, SetSpec { name: CURRENT, key_length: 4, map: false, shape: Shape::Hash });
    let judged = Shape::Dynamic { size: 1 << 22, timeout_ms: 0 };
    batch.new_set(TABLE, SetSpec { name: JUDGED, key_length: 4, map: false, shape: judged });
    make_recent(batch, TABLE, config);
}

fn make_recent(batch: &mut Batch, table: &str, config: &Config) {
    let shape = Shape::Dynamic { size: config.quiet_tuples, timeout_ms: config.quiet_ms.max(1) };
    for (name, key_length) in [(RECENT4, 16), (RECENT6, 40)] {
        batch.new_set(table, SetSpec { name, key_length, map: false, shape });
    }
}

fn make_guard(batch: &mut Batch, config: &Config, comment: &str) {
    batch.new_table(GUARD, comment);
    for (name, key_length) in [(guard::MANAGED4, 4), (guard::MANAGED6, 16)] {
        batch.new_set(GUARD, SetSpec { name, key_length, map: false, shape: Shape::Hash });
    }
    make_recent(batch, GUARD, config);
    let chains = guard::chains(&config.guard, config.log_group);
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

fn write_program(batch: &mut Batch, parameters: &Parameters<'_>, fresh: bool, priority: i32) {
    let chains = program::chains(*parameters);
    for chain in &chains {
        if fresh {
            batch.new_chain(TABLE, &chain.name, chain.hook.map(|hook| (hook, priority)));
        } else {
            batch.flush_chain(TABLE, &chain.name);
        }
    }
    append_rules(batch, &chains);
}

fn append_rules(batch: &mut Batch, chains: &[program::Chain]) {
    for chain in chains {
        for (index, rule) in chain.rules.iter().enumerate() {
            batch.append_rule(TABLE, &chain.name, index, rule);
        }
    }
}

fn parameters<'a>(config: &Config, tag: Tag, names: &'a BTreeMap<IntervalSet, String>) -> Parameters<'a> {
    Parameters {
        tag,
        rejudge: config.rejudge,
        log_group: config.log_group,
        networks4: name_of(names, IntervalSet::Networks4),
        networks6: name_of(names, IntervalSet::Networks6),
        spans: name_of(names, IntervalSet::Spans),
    }
}

fn make_interval_set(batch: &mut Batch, set: IntervalSet, name: &str, intervals: &[Interval]) {
    batch.new_set(TABLE, SetSpec { name, key_length: set.key_length(), map: true, shape: Shape::Interval });
    let value = |interval: &Interval| match set {
        IntervalSet::Networks4 | IntervalSet::Networks6 => interval.value.to_be_bytes(),
        IntervalSet::Spans => interval.value.to_ne_bytes(),
    };
    let elements = intervals.iter().flat_map(|interval| {
        let first = Element { key: interval.first.bytes(), value: Some(value(interval)), end: false };
        let end = interval.end.as_ref().map(|end| Element { key: end.bytes(), value: None, end: true });
        std::iter::once(first).chain(end)
    });
    batch.add(TABLE, name, elements);
}

fn change_hash_set(batch: &mut Batch, set: HashSet, before: &Image, image: &Image) -> Changes {
    let nothing = HashMap::new();
    let held = before.hashes.get(&set).unwrap_or(&nothing);
    let wanted = image.hashes.get(&set).unwrap_or(&nothing);
    let gone: Vec<_> = held.iter().filter(|(key, value)| wanted.get(key) != Some(value)).collect();
    let new: Vec<_> = wanted.iter().filter(|(key, value)| held.get(key) != Some(value)).collect();
    batch.remove(
        TABLE,
        set.name(),
        gone.iter().map(|(key, _)| Element { key: key.bytes(), value: None, end: false }),
    );
    batch.add(
        TABLE,
        set.name(),
        new.iter().map(|(key, value)| Element {
            key: key.bytes(),
            value: set.is_map().then(|| encode(set, **value)),
            end: false,
        }),
    );
    Changes { added: new.len(), removed: gone.len() }
}

/// Rulings become connection marks, which the kernel keeps in the byte order of the machine; names are compared as
/// bytes.
fn encode(set: HashSet, value: u32) -> [u8; 4] {
    if set.is_ruling() { value.to_ne_bytes() } else { value.to_be_bytes() }
}
