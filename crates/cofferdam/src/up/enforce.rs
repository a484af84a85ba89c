//! One enforcement point: a node, its datapath if it has one, and why not if it has none.
//!
//! Enters: tables to apply. Leaves: the kernel's state, its counters, and a thread that turns its events into records.
//! Guarantees: the status never says "enforced" for what the kernel did not take.
//! Does not: compile, or decide what to do about a refusal.

use super::events::{Tags, Tap, Unlogged};
use super::journal::Journal;
use super::protocol::NodeStatus;
use anyhow::{Context, Result, bail};
use datapath::{Config, Datapath, EventSource, NftDatapath, Paths};
use policy::table::Table;
use policy::{Generation, RuleId};
use std::collections::BTreeMap;
use std::sync::Arc;

/// A node and what enforces there.
pub(crate) struct Enforcer {
    node: Arc<str>,
    kernel: Option<Kernel>,
    problem: Option<String>,
    in_force: Option<Generation>,
    table: Option<Arc<Table>>,
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
}

impl Kernel {
    fn problem(&self) -> Option<String> {
        self.bypass.clone().or_else(|| self.tap.problem())
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
    pub(crate) fn open(node: Arc<str>, config: Config, journal: &Arc<Journal>) -> Result<Self> {
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
        };
        Ok(Self { node, kernel: Some(kernel), problem: None, in_force: None, table: None })
    }

    /// A node for which nothing can be enforced, and why.
    pub(crate) fn without_kernel(node: Arc<str>, problem: String) -> Self {
        Self { node, kernel: None, problem: Some(problem), in_force: None, table: None }
    }

    /// Its name.
    pub(crate) fn node(&self) -> &Arc<str> {
        &self.node
    }

    /// Puts a table in force. On an error the one before still is.
    pub(crate) fn apply(&mut self, table: &Arc<Table>) -> Result<()> {
        let Some(kernel) = &mut self.kernel else {
            // Kept for judging; the problem says that nothing is enforced.
            self.table = Some(Arc::clone(table));
            return Ok(());
        };
        match kernel.datapath.apply(table) {
            Ok(applied) => {
                kernel.tags.set(applied.tag, table.generation);
                self.problem = None;
                self.in_force = Some(table.generation);
                self.table = Some(Arc::clone(table));
                self.look_for_bypass();
                Ok(())
            }
            Err(error) => {
                self.problem = Some(error.to_string());
                bail!(error)
            }
        }
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
