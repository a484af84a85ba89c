//! Workloads that are cut off, whatever the sources say; and what loads changed, for the ledger.

use super::{Engine, PolicySet};
use crate::plain::counted;
use crate::up::cluster::Cluster;
use crate::up::protocol::{Load, Mode, Outcome};
use crate::up::quarantine::{Held, Holding, Quarantines};
use anyhow::{Context, Result, bail};
use compiler::changes::{Changes, changes};
use compiler::overlay::{put_first, take_out};
use incident::{Quarantine, What};
use observe::Time;
use policy::{Generation, ObjectRef};
use serde_json::{Map, Value};
use std::time::SystemTime;

/// Who does what this program does by itself.
const ITSELF: &str = "cofferdam";
/// Objects of a kind of change that an entry of the ledger names.
const NAMED: usize = 100;

impl Engine {
    /// Has workloads cut off by what is in a folder, from the next load on.
    pub(crate) fn with_quarantines(&mut self, quarantines: Quarantines) {
        self.quarantines = Some(quarantines);
    }

    /// Has workloads cut off by objects of the cluster.
    pub(crate) fn with_cluster(&mut self, cluster: Cluster) {
        self.of_cluster = Some(cluster);
    }

    /// By what workloads are cut off in the cluster, where this process can write to it.
    pub(crate) fn cluster(&self) -> Option<&Cluster> {
        self.of_cluster.as_ref().filter(|_| self.mode == Mode::Node)
    }

    /// The policy set in force.
    pub(crate) fn policy_set(&self) -> Option<&PolicySet> {
        self.in_force.as_ref()
    }

    /// What this process does with its policy.
    pub(crate) fn mode(&self) -> Mode {
        self.mode
    }

    /// Those who are cut off.
    pub(crate) fn held(&self) -> Vec<Held> {
        self.quarantines.as_ref().map(|it| it.read().held).unwrap_or_default()
    }

    /// Puts quarantines before all that the sources say.
    pub(super) fn hold(&mut self, set: &mut PolicySet) {
        let Some(quarantines) = &self.quarantines else { return };
        let folder = quarantines.folder().to_string_lossy().into_owned();
        take_out(set, |file| file.starts_with(&*folder));
        let Holding { set: first, problems, .. } = quarantines.read();
        self.unheld = problems;
        put_first(set, &first);
    }

    /// Cuts a workload off, at once and over restarts. When this returns, it is in force.
    ///
    /// # Errors
    /// It cannot be kept, or not be put in force; that is tried again then.
    pub(crate) fn contain(&mut self, quarantine: &Quarantine) -> Result<()> {
        self.keeping()?.keep(quarantine)?;
        self.settle_quarantines()
            .context("the workload is not cut off yet, which is tried again every few seconds")
    }

    /// Lets a workload go. Whether it was cut off.
    ///
    /// # Errors
    /// It is still cut off.
    pub(crate) fn release(&mut self, workload: &str) -> Result<bool> {
        let was_held = self.keeping()?.forget(workload)?;
        self.settle_quarantines()
            .context("the workload is still cut off, which is tried again every few seconds")?;
        Ok(was_held)
    }

    fn keeping(&self) -> Result<&Quarantines> {
        match &self.quarantines {
            Some(quarantines) => Ok(quarantines),
            None => bail!("this process goes by what a controller publishes, and cuts nobody off by itself"),
        }
    }

    /// Puts in force what was, with the quarantines as they are.
    fn settle_quarantines(&mut self) -> Result<()> {
        self.unsettled = true;
        let Some(mut set) = self.in_force.take() else { bail!("no policy is in force yet") };
        set.generation = Generation(self.generation.0 + 1);
        let done = self.enforce(&mut set);
        self.in_force = Some(set);
        self.unsettled = done.is_err();
        done
    }

    /// Lets those go whose time is over, and tries again what could not be put in force.
    pub(super) fn look_after_quarantines(&mut self) {
        let Some(quarantines) = self.quarantines.clone() else { return };
        let now = Time::from(SystemTime::now());
        for held in self.held().into_iter().filter(|held| held.until <= now) {
            if let Err(error) = quarantines.forget(&held.workload) {
                let note = format!("{} stays cut off beyond its time: {error:#}", held.workload);
                if !self.unheld.contains(&note) {
                    self.unheld.push(note);
                }
                continue;
            }
            self.unsettled = true;
            let mut detail = Map::new();
            detail.insert("until".to_owned(), held.until.to_string().into());
            if !held.incident.is_empty() {
                detail.insert("incident".to_owned(), held.incident.into());
            }
            self.journal.audit(ITSELF, What::ContainmentExpired, &held.workload, &detail);
        }
        if self.unsettled
            && self.in_force.is_some()
            && let Err(error) = self.settle_quarantines()
        {
            self.unheld =
                vec![format!("who is cut off, and who not any more, is not in force yet: {error:#}")];
        }
    }

    /// What a set would change, where that is written down.
    pub(super) fn changes(&mut self, set: &mut PolicySet) -> Option<Changes> {
        if !self.journal.keeps() {
            return None;
        }
        // Otherwise it would seem to let everybody go who is cut off.
        self.hold(set);
        Some(changes(self.in_force.as_ref(), set))
    }

    /// Writes into the ledger what a load changed, or that it is not in force.
    pub(super) fn tell(&self, load: &Load, changes: &Changes) {
        let is_applied = match load.outcome {
            Outcome::Applied | Outcome::AppliedWithClosedScopes | Outcome::JudgedOnly => true,
            Outcome::KeptLastGood | Outcome::Refused => false,
        };
        let before = &self.last;
        let is_first = before.generation == Generation(0);
        let says_the_same = if is_applied {
            changes.is_empty() && !is_first && before.outcome == load.outcome
        } else {
            // What is tried again and again is told once.
            before.outcome == load.outcome && before.diagnostics == load.diagnostics
        };
        if says_the_same {
            return;
        }
        let mut detail = Map::new();
        detail.insert("generation".to_owned(), load.generation.0.into());
        let lists = [("added", &changes.added), ("changed", &changes.changed), ("removed", &changes.removed)];
        let mut more = 0;
        for (key, objects) in lists {
            more += objects.len().saturating_sub(NAMED);
            let names: Vec<Value> =
                objects.iter().take(NAMED).map(|object: &ObjectRef| object.to_string().into()).collect();
            if !names.is_empty() {
                detail.insert(key.to_owned(), names.into());
            }
        }
        if more > 0 {
            detail.insert("more".to_owned(), more.into());
        }
        let text = match (load.diagnostics.first(), is_first) {
            (Some(first), _) if load.errors > 0 => {
                format!("{}, the first: {first}", counted(load.errors, "error"))
            }
            (_, true) => "the first of this process".to_owned(),
            (_, false) => String::new(),
        };
        if !text.is_empty() {
            detail.insert("text".to_owned(), text.into());
        }
        let what = if is_applied { What::PolicyApplied } else { What::PolicyRefused };
        self.journal.audit(ITSELF, what, "policy", &detail);
    }
}
