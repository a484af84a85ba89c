//! Local pods that the same policies select, and what those policies say, in order of judgement.
//!
//! Enters: the pods of a table. Leaves: for each slot and direction a lane program: its rules in order, filed by
//! peer. Guarantees: two pods share a slot only if no access can tell them apart as subjects.

use super::index::{CompiledPolicy, Id, Index, PodEntry};
use super::row::{Defaults, SweepRule, mentions_named, ruling};
use super::{Fixed, dense};
use policy::table::Ruling;
use policy::{Demand, NamedPort, PortMatch, RuleEntry, RuleId, Tier};
use std::collections::{BTreeSet, HashMap};
use std::sync::Arc;

/// What tells subjects apart.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub(crate) struct SlotKey {
    /// In order of judgement.
    pub(crate) policies: Arc<[Id]>,
    /// First closed scope, by direction.
    pub(crate) closed: [Option<RuleId>; 2],
    /// Container ports that ingress rules of these policies name.
    pub(crate) named: Vec<NamedPort>,
    /// The pod's node, where a table serves several.
    pub(crate) node: Option<Arc<str>>,
}

/// What the selectors alone say about the pods of a group.
#[derive(Clone, Debug)]
pub(crate) struct GroupProfile {
    policies: Arc<[Id]>,
    closed: [Option<RuleId>; 2],
    /// Port names that ingress rules mention.
    names: BTreeSet<Arc<str>>,
}

/// Profiles, each made once for all the groups that the same subjects select.
#[derive(Debug, Default)]
pub(crate) struct Profiles {
    of_group: HashMap<Id, Arc<GroupProfile>, Fixed>,
    of_sets: HashMap<Vec<Id>, Arc<GroupProfile>, Fixed>,
}

impl Profiles {
    pub(crate) fn of(&mut self, index: &Index, group: Id) -> &GroupProfile {
        self.of_group.entry(group).or_insert_with(|| {
            let sets = index.groups.get(group as usize).map_or(&[][..], |group| &group.sets);
            // Most sets of a busy group are peers of somebody's rules and select nothing.
            let selects = |id: &&Id| {
                let set = index.sets.get(**id as usize);
                set.is_some_and(|set| !set.policies.is_empty() || !set.closed.is_empty())
            };
            let sets: Vec<Id> = sets.iter().filter(selects).copied().collect();
            let made = self.of_sets.entry(sets);
            made.or_insert_with_key(|sets| Arc::new(GroupProfile::new(index, sets))).clone()
        })
    }
}

impl GroupProfile {
    fn new(index: &Index, sets: &[Id]) -> Self {
        let sets = || sets.iter().filter_map(|set| index.sets.get(*set as usize));
        let mut policies: Vec<Id> = sets().flat_map(|set| set.policies.iter().copied()).collect();
        policies.sort_unstable_by_key(|id| index.policies.get(*id as usize).map(|policy| policy.rank));
        let mut closed_ids: Vec<Id> = sets().flat_map(|set| set.closed.iter().copied()).collect();
        closed_ids.sort_unstable();
        let closed = |direction: usize| {
            let scopes = closed_ids.iter().filter_map(|id| index.closed.get(*id as usize));
            let mut of_direction = scopes.filter(|c| c.directions.get(direction) == Some(&true));
            of_direction.next().map(|scope| scope.rule)
        };
        let closed = [closed(0), closed(1)];
        let names = ingress_names(index, &policies);
        Self { policies: policies.into(), closed, names }
    }

    pub(crate) fn key(&self, pod: &PodEntry, node: Option<Arc<str>>) -> SlotKey {
        let mut named: Vec<NamedPort> =
            pod.ports.iter().filter(|port| self.names.contains(&port.name)).cloned().collect();
        named.sort_unstable();
        named.dedup();
        SlotKey { policies: self.policies.clone(), closed: self.closed, named, node }
    }
}

fn ingress_names(index: &Index, policies: &[Id]) -> BTreeSet<Arc<str>> {
    let policies = policies.iter().filter_map(|id| index.policies.get(*id as usize));
    let rules = policies.filter_map(|policy| policy.sections.get(1)?.as_deref()).flatten();
    rules.filter_map(|rule| rule.ports.as_deref()).flat_map(port_names).collect()
}

/// Names in a port list.
pub(crate) fn port_names(ports: &[PortMatch]) -> impl Iterator<Item = Arc<str>> + '_ {
    ports.iter().filter_map(|entry| match entry {
        PortMatch::Named { name, .. } => Some(name.clone()),
        PortMatch::Numbers { .. } => None,
    })
}

/// One direction of a slot, before classes.
pub(crate) enum Program {
    /// A closed scope: one answer for everyone.
    Closed(Ruling),
    /// Rules to match.
    Rules(Arc<Rules>),
}

/// Rules of a lane, in order of judgement.
#[derive(Debug)]
pub(crate) struct Rules {
    pub(crate) rules: Vec<SweepRule>,
    pub(crate) defaults: Defaults,
    /// Rules for everyone, ascending.
    pub(crate) everyone: Vec<u32>,
    /// Rules by peer, ascending.
    pub(crate) by_peer: HashMap<Id, Vec<u32>, Fixed>,
    /// A rule for everyone names a port.
    pub(crate) everyone_named: bool,
    /// Any rule names a port.
    pub(crate) names_ports: bool,
}

/// The program of a slot for a direction (0 egress, 1 ingress).
pub(crate) fn program(index: &Index, key: &SlotKey, direction: usize) -> Program {
    if let Some(Some(rule)) = key.closed.get(direction) {
        return Program::Closed(ruling(&index.rules, *rule));
    }
    let policies: Vec<&CompiledPolicy> =
        key.policies.iter().filter_map(|id| index.policies.get(*id as usize)).collect();
    let mut out = Rules {
        rules: Vec::new(),
        defaults: Defaults { isolation: None, no_policy: ruling(&index.rules, RuleId::NO_POLICY) },
        everyone: Vec::new(),
        by_peer: HashMap::default(),
        everyone_named: false,
        names_ports: false,
    };
    for tier in [Tier::Admin, Tier::NetworkPolicy, Tier::Baseline] {
        for policy in policies.iter().filter(|policy| policy.tier == tier) {
            add_policy(index, &mut out, policy, direction);
        }
    }
    Program::Rules(Arc::new(out))
}

fn add_policy(index: &Index, out: &mut Rules, policy: &CompiledPolicy, direction: usize) {
    let Some(Some(section)) = policy.sections.get(direction) else { return };
    if policy.tier == Tier::NetworkPolicy && out.defaults.isolation.is_none() {
        // The first isolating policy names the denial.
        let id = policy.isolation.get(direction).copied().unwrap_or(RuleId::UNMANAGED);
        out.defaults.isolation = Some(ruling(&index.rules, id));
    }
    for rule in section {
        let at = dense(out.rules.len());
        let named = rule.ports.as_deref().is_some_and(mentions_named);
        out.names_ports |= named;
        match &rule.peers {
            None => {
                out.everyone.push(at);
                out.everyone_named |= named;
            }
            Some(peers) => peers.iter().for_each(|peer| {
                let filed = out.by_peer.entry(*peer).or_default();
                if filed.last() != Some(&at) {
                    filed.push(at);
                }
            }),
        }
        let ruling = ruling(&index.rules, rule.id);
        out.rules.push(SweepRule {
            tier: policy.tier,
            action: rule.action,
            demand: index.rules.get(rule.id.0 as usize).map_or(Demand::Nothing, RuleEntry::demand),
            ruling,
            ports: rule.ports.clone(),
        });
    }
}
