//! A candidate that is judged by beside the policy in force, without effect.
//!
//! Enters: its policies, the world of the policy in force, what DNS answers. Leaves: its tables, with the journal.
//! Guarantees: nothing of it reaches the kernel or the gateway; it has the parties of what is in force, and who is cut off is
//! cut off in it, too; where it has no tables, nothing is judged by it, and why is told.
//! Does not: read files, or judge.

use super::super::enforce::NamedPair;
use super::super::journal::Journal;
use super::super::names::Known;
use super::super::shadow::ShadowStatus;
use super::Engine;
use anyhow::Result;
use compiler::lower::{Binder, Cluster, Placement};
use observe::{Book, Candidate};
use policy::dns::names_of_rules;
use policy::table::Table;
use policy::{DnsName, DomainPattern, PodName, PolicySet};
use std::collections::{BTreeMap, BTreeSet, HashMap, HashSet};
use std::net::IpAddr;
use std::path::PathBuf;
use std::sync::Arc;

/// What is judged by beside.
pub(super) struct Shadow {
    sources: Vec<String>,
    /// Counts what was written.
    edition: u64,
    /// As it was written, or why there is none.
    set: Result<PolicySet, String>,
    /// By node.
    tables: BTreeMap<Arc<str>, (Arc<Table>, Binder)>,
    /// Why there are none.
    problem: Option<String>,
}

impl Shadow {
    /// Lowers the candidate for the parties of a set, as they are placed.
    fn lower<'n>(
        &mut self,
        mut set: PolicySet,
        in_force: &PolicySet,
        nodes: impl Iterator<Item = &'n str>,
        placement: &Placement,
    ) -> Option<Candidate> {
        self.tables.clear();
        set.world.clone_from(&in_force.world);
        let mut led_by_names = Vec::new();
        let tables = &mut self.tables;
        let keep = |table: Table, binder: Binder| {
            led_by_names.extend(binder.led_by_names(&table));
            tables.insert(table.node.clone(), (Arc::new(table), binder));
        };
        if let Err(error) = Cluster::load(&set).lower_each(nodes, placement, keep) {
            self.tables.clear();
            self.problem = Some(format!("its tables cannot be made: {error}"));
            return None;
        }
        self.problem = None;
        let tables = || self.tables.values().map(|(table, _)| table);
        let book = Book::new(in_force.generation, Arc::clone(&set.rules), &set.world, tables().cloned())
            .with_led_by_names(led_by_names);
        let bound = tables().flat_map(|table| table.bound.iter().map(move |bound| (table, bound)));
        let row = |(table, (pair, row)): (&Arc<Table>, (&(IpAddr, IpAddr), &policy::table::RowId))| {
            Some((*pair, Arc::new(table.rows.get(row.0 as usize)?.clone())))
        };
        let rows: HashMap<_, _> = bound.filter_map(row).collect();
        Some(Candidate { edition: self.edition, book: Arc::new(book), rows, followed: HashSet::new() })
    }

    /// Notes by which names pods know addresses.
    pub(super) fn bind(&mut self, pairs: &[NamedPair<'_>], journal: &Journal) {
        for pair in pairs {
            let here = self.tables.values_mut().find(|(table, _)| table.endpoints.contains_key(&pair.from));
            let Some((table, binder)) = here else { continue };
            let row = binder.row(table, pair.from, pair.destination(), pair.live.iter().copied());
            journal.bind_beside(pair.from, pair.to, row);
        }
    }
}

impl Engine {
    /// Has a candidate judged by from the next load on. A candidate that says what the one before said goes on to be counted.
    pub(crate) fn shadow_by(&mut self, sources: &[PathBuf], set: Result<PolicySet, String>) {
        let says_the_same = |a: &PolicySet, b: &PolicySet| {
            (&a.policies, &a.closed, &a.rules) == (&b.policies, &b.closed, &b.rules)
        };
        let before = self.shadow.take();
        let same = before.as_ref().is_some_and(|before| match (&before.set, &set) {
            (Ok(before), Ok(now)) => says_the_same(before, now),
            (Err(before), Err(now)) => before == now,
            (Ok(_), Err(_)) | (Err(_), Ok(_)) => false,
        });
        let edition = before.map_or(0, |it| it.edition) + u64::from(!same);
        let sources = sources.iter().map(|path| path.display().to_string()).collect();
        self.shadow = Some(Shadow { sources, edition, set, tables: BTreeMap::new(), problem: None });
    }

    /// Makes the candidate's tables for what is, or is about to be, in force.
    pub(super) fn lower_beside(&mut self, in_force: &PolicySet, placement: &Placement) -> Option<Candidate> {
        let mut shadow = self.shadow.take()?;
        // What was written stays as it is, to be compared with what is written next.
        let written = shadow.set.clone().ok();
        let candidate = written.and_then(|mut set| {
            self.hold(&mut set);
            if !self.judges_requests() {
                set.close_judging(super::UNJUDGED);
            }
            let nodes = self.enforcers.iter().map(|enforcer| &**enforcer.node());
            shadow.lower(set, in_force, nodes, placement)
        });
        self.shadow = Some(shadow);
        candidate
    }

    /// Makes the candidate's tables anew where what is in force stays.
    pub(super) fn settle_beside(&mut self) {
        if self.shadow.is_none() {
            return;
        }
        let Some(set) = self.in_force.take() else { return };
        let placement = self.usable(&set.world);
        let candidate = self.lower_beside(&set, &placement);
        let followed = self.followed.clone();
        self.journal.judge_beside(candidate.map(|it| Candidate { followed, ..it }));
        self.in_force = Some(set);
    }

    /// Names that are wanted to be known for what is judged by beside, here or by a controller.
    pub(super) fn names_beside(&self) -> BTreeSet<DomainPattern> {
        let policies = self.shadow.iter().filter_map(|it| it.set.as_ref().ok()).flat_map(|set| &set.policies);
        let own = policies.flat_map(names_of_rules).map(|(pattern, _, _)| pattern);
        own.chain(self.asked_names.iter()).cloned().collect()
    }

    /// Has it known by which of these names pods know addresses.
    ///
    /// # Errors
    /// What is in force could not be put in force with it.
    pub(crate) fn follow_names(&mut self, names: Arc<[DomainPattern]>) -> Result<()> {
        if self.asked_names == names {
            return Ok(());
        }
        self.asked_names = names;
        let Some(mut set) = self.in_force.take() else { return Ok(()) };
        let done = self.enforce(&mut set);
        self.in_force = Some(set);
        done
    }

    /// By which names a pod at an address knows another address; whether there may be more of them.
    pub(crate) fn names_known(&self, from: IpAddr, pod: &PodName, to: IpAddr) -> (Vec<DnsName>, bool) {
        let known = self.names.get(pod, to);
        let names = known.into_iter().flat_map(|known: &Known| known.live().chain(known.past()).cloned());
        (names.collect(), !self.followed.contains(&from))
    }

    /// How the candidate is judged by; `None`: there is none.
    pub(crate) fn shadow(&self) -> Option<ShadowStatus> {
        let shadow = self.shadow.as_ref()?;
        let unread = shadow.set.as_ref().err().map(|why| format!("it cannot be read: {why}"));
        let status = ShadowStatus {
            sources: shadow.sources.clone(),
            policies: shadow.set.as_ref().map_or(0, |set| set.policies.len()),
            problem: unread.or_else(|| shadow.problem.clone()),
            ..ShadowStatus::default()
        };
        Some(self.journal.with_tally(status))
    }
}
