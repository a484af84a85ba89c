//! Which of several rollouts says what a cluster is to have.
//!
//! Enters: every rollout that is understood, and the clusters' labels. Leaves: for each rollout the clusters that are another's, and
//! why it may not begin. Guarantees: at most one rollout says what a cluster is to have; the same objects give the same answer,
//! whoever asks; one that has begun is never pushed aside by one that has not. Does not: decide anything else.

use crate::rollout::{Phase, Plan, State};
use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

/// Most clusters that are named where a rollout may not begin; those beyond are counted.
const MOST_NAMED: usize = 10;

/// Labels of each cluster, by its name.
pub type Labels = BTreeMap<String, BTreeMap<Arc<str>, Arc<str>>>;

/// A rollout among others.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Contender {
    /// Its name.
    pub name: String,
    /// When its object was made: texts that sort as the times do.
    pub created: String,
    /// What it is to do.
    pub plan: Plan,
    /// How it stands.
    pub state: State,
}

/// What of the clusters is not its own.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Share {
    /// Clusters that it selects or has, and the rollout whose they are.
    pub held_by: BTreeMap<String, String>,
    /// Why it may not begin.
    pub refused: Vec<String>,
}

/// Divides the clusters. In the order of the rollouts.
///
/// Who has a cluster in a stage that began, keeps it until it is over; among those that are over, the newest has it that took it
/// in or, where it is done, selects it: to that one it comes late. Before that, who began first, or else is older, has the clusters
/// that it selects.
#[must_use]
pub fn share(rollouts: &[Contender], clusters: &Labels) -> Vec<Share> {
    let mut division = Division { rollouts, clusters, owner: BTreeMap::new(), reserved: BTreeMap::new() };
    let mut order: Vec<usize> = (0..rollouts.len()).collect();
    order.sort_by_key(|&it| rollouts.get(it).map(|it| (&it.created, &it.name)));
    let (over, live): (Vec<usize>, Vec<usize>) = order.iter().partition(|&&it| division.is_over(it));
    let (begun, new): (Vec<usize>, Vec<usize>) = live.iter().partition(|&&it| division.has_begun(it));
    let mut late = BTreeSet::new();
    begun.iter().for_each(|&it| division.own(it, &late));
    for &it in over.iter().rev() {
        division.own(it, &late);
        late.extend(division.selected(it));
    }
    begun.iter().for_each(|&it| division.reserve(it));
    let mut shares = vec![Share::default(); rollouts.len()];
    for it in new {
        let refused = division.refused(it);
        if refused.is_empty() {
            division.reserve(it);
        }
        if let Some(share) = shares.get_mut(it) {
            share.refused = refused;
        }
    }
    // A cluster that nobody has comes late to the newest that is over and selects it, and not to those before.
    over.iter().rev().for_each(|&it| division.reserve(it));
    for (it, share) in shares.iter_mut().enumerate() {
        share.held_by = division.held_by(it);
    }
    shares
}

struct Division<'r> {
    rollouts: &'r [Contender],
    clusters: &'r Labels,
    /// Who has it in a stage that began.
    owner: BTreeMap<&'r str, usize>,
    /// Who is going to.
    reserved: BTreeMap<&'r str, usize>,
}

impl<'r> Division<'r> {
    fn is_over(&self, it: usize) -> bool {
        self.rollouts.get(it).is_some_and(|it| it.state.is_over())
    }

    fn has_begun(&self, it: usize) -> bool {
        self.rollouts.get(it).is_some_and(|it| it.state.has_begun())
    }

    fn name(&self, it: usize) -> &'r str {
        self.rollouts.get(it).map_or("", |it| &it.name)
    }

    /// `late`: clusters that come late to somebody newer.
    fn own(&mut self, it: usize, late: &BTreeSet<&str>) {
        let members = self.rollouts.get(it).into_iter().flat_map(|it| it.state.members.keys());
        for name in members.filter(|name| !late.contains(name.as_str())) {
            self.owner.entry(name).or_insert(it);
        }
    }

    /// Clusters that one may still take.
    fn selected(&self, it: usize) -> Vec<&'r str> {
        let Some(rollout) = self.rollouts.get(it) else { return Vec::new() };
        if matches!(rollout.state.phase, Phase::RollingBack | Phase::RolledBack) {
            return Vec::new();
        }
        let selects = |labels| rollout.plan.stages.iter().any(|stage| stage.clusters.selects(labels));
        let selected = self.clusters.iter().filter(|(_, labels)| selects(labels));
        selected.map(|(name, _)| name.as_str()).collect()
    }

    fn reserve(&mut self, it: usize) {
        for name in self.selected(it) {
            self.reserved.entry(name).or_insert(it);
        }
    }

    /// Who else has it, or is going to.
    fn other(&self, it: usize, cluster: &str) -> Option<usize> {
        let owner = self.owner.get(cluster).copied();
        if owner == Some(it) {
            return None;
        }
        // Whoever is over gives way to who is not.
        let owner = owner.filter(|&owner| self.is_over(it) || !self.is_over(owner));
        owner.or_else(|| self.reserved.get(cluster).copied().filter(|&other| other != it))
    }

    fn refused(&self, it: usize) -> Vec<String> {
        let selected = self.selected(it);
        let taken = selected.iter().filter_map(|cluster| Some((*cluster, self.other(it, cluster)?)));
        let mut refused: Vec<String> = taken
            .map(|(cluster, other)| {
                let stands = self.rollouts.get(other).map(|it| it.state.phase);
                let stands = stands.map_or_else(String::new, |phase| format!(" ({phase:?})"));
                let name = self.name(other);
                format!("{cluster} is of rollout {name}{stands}: let that end, or abort or delete it")
            })
            .collect();
        let more = refused.len().saturating_sub(MOST_NAMED);
        if more > 0 {
            refused.truncate(MOST_NAMED);
            refused.push(format!("and {more} more clusters"));
        }
        refused
    }

    fn held_by(&self, it: usize) -> BTreeMap<String, String> {
        let members = self.rollouts.get(it).into_iter().flat_map(|it| it.state.members.keys());
        let all = members.map(String::as_str).chain(self.selected(it));
        let taken = all.filter_map(|cluster| Some((cluster, self.other(it, cluster)?)));
        taken.map(|(cluster, other)| (cluster.to_owned(), self.name(other).to_owned())).collect()
    }
}
