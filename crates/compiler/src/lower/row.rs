//! One row: what a list of matching rules says about every protocol and port.
//!
//! Enters: the rules that match one class, in order of judgement. Leaves: disjoint, sorted, merged cells.
//! Guarantees: the first matching rule of a tier speaks for it, a Pass leaves the tier, a Deny of the NetworkPolicy tier
//! comes before all else of it and then the more demanding, and the cost is n log n in the number of port ranges. Does not: decide which rules match (`lanes`).

use policy::table::{Cell, Row, Ruling};
use policy::{Action, Demand, NamedPort, PortMatch, Protocol, RuleId, Tier};
use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

/// One rule of a lane, as the sweep needs it.
#[derive(Clone, Debug)]
pub(crate) struct SweepRule {
    pub(crate) tier: Tier,
    pub(crate) action: Action,
    /// What it demands of what it allows.
    pub(crate) demand: Demand,
    pub(crate) ruling: Ruling,
    /// `None`: every protocol and port.
    pub(crate) ports: Option<Arc<[PortMatch]>>,
}

/// What holds where no rule of a tier matches.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Defaults {
    /// What the NetworkPolicy tier says where none of its rules matches; `None` if it does not isolate.
    pub(crate) isolation: Option<Ruling>,
    /// The default after all tiers.
    pub(crate) no_policy: Ruling,
}

/// A row with one answer.
pub(crate) fn constant(ruling: Ruling) -> Row {
    Row { otherwise: ruling, cells: Vec::new() }
}

/// The row of `matching`, ascending indexes into `rules`. Named ports are those of the destination pod.
pub(crate) fn sweep(rules: &[SweepRule], matching: &[u32], named: &[NamedPort], defaults: Defaults) -> Row {
    let mut state = State { rules, defaults, active: Active::default() };
    let mut edges: BTreeMap<Protocol, Vec<Edge>> = BTreeMap::new();
    for &index in matching {
        let Some(rule) = rules.get(index as usize) else { continue };
        match &rule.ports {
            None => state.open(index),
            Some(ports) => add_edges(&mut edges, index, ports, named),
        }
    }
    let otherwise = state.ruling();
    let mut cells = Vec::new();
    for (protocol, edges) in edges {
        sweep_protocol(&mut state, protocol, edges, otherwise, &mut cells);
    }
    Row { otherwise, cells }
}

/// At `at`, rule `index` begins or ends. `at` is one past the last port for an end.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
struct Edge {
    at: u32,
    opens: bool,
    index: u32,
}

fn add_edges(
    edges: &mut BTreeMap<Protocol, Vec<Edge>>,
    index: u32,
    ports: &[PortMatch],
    named: &[NamedPort],
) {
    let mut add = |protocol: Protocol, first: u16, last: u16| {
        if first <= last {
            let list = edges.entry(protocol).or_default();
            list.push(Edge { at: u32::from(first), opens: true, index });
            list.push(Edge { at: u32::from(last) + 1, opens: false, index });
        }
    };
    for entry in ports {
        match entry {
            PortMatch::Numbers { protocol, first, last } => add(*protocol, *first, *last),
            PortMatch::Named { name, protocol } => named
                .iter()
                .filter(|port| port.name == *name && protocol.is_none_or(|wanted| wanted == port.protocol))
                .for_each(|port| add(port.protocol, port.port, port.port)),
        }
    }
}

fn sweep_protocol(
    state: &mut State<'_>,
    protocol: Protocol,
    mut edges: Vec<Edge>,
    otherwise: Ruling,
    cells: &mut Vec<Cell>,
) {
    edges.sort_unstable();
    // A rule may cover a port twice; it is active while more ranges are open than closed.
    let mut depth: BTreeMap<u32, u32> = BTreeMap::new();
    let mut rest = edges.as_slice();
    while let Some(first) = rest.first() {
        let here = rest.partition_point(|edge| edge.at == first.at);
        let (now, later) = rest.split_at(here);
        for edge in now {
            let open = depth.entry(edge.index).or_default();
            *open = if edge.opens { *open + 1 } else { open.saturating_sub(1) };
        }
        for edge in now {
            match depth.get(&edge.index) {
                Some(0) => state.close(edge.index),
                Some(_) | None => state.open(edge.index),
            }
        }
        if let Some(next) = later.first() {
            push_cell(cells, protocol, first.at, next.at, state.ruling(), otherwise);
        }
        rest = later;
    }
}

fn push_cell(
    cells: &mut Vec<Cell>,
    protocol: Protocol,
    from: u32,
    to: u32,
    ruling: Ruling,
    otherwise: Ruling,
) {
    let (Ok(first), Ok(last)) = (u16::try_from(from), u16::try_from(to.saturating_sub(1))) else { return };
    if ruling == otherwise {
        return;
    }
    if let Some(before) = cells.last_mut() {
        let adjacent = before.last.checked_add(1) == Some(first);
        if before.protocol == protocol && adjacent && before.ruling == ruling {
            before.last = last;
            return;
        }
    }
    cells.push(Cell { protocol, first, last, ruling });
}

/// Which rules match at the current port.
struct State<'a> {
    rules: &'a [SweepRule],
    defaults: Defaults,
    active: Active,
}

/// Indexes of rules, in the order in which they decide.
#[derive(Default)]
struct Active {
    admin: BTreeSet<u32>,
    /// The NetworkPolicy tier knows no order but this: what denies comes first, then the more demanding.
    denying: BTreeSet<u32>,
    judging: BTreeSet<u32>,
    limiting: BTreeSet<u32>,
    allowing: BTreeSet<u32>,
    granting: BTreeSet<u32>,
    baseline: BTreeSet<u32>,
}

impl State<'_> {
    fn open(&mut self, index: u32) {
        if let Some(tier) = self.tier(index) {
            tier.insert(index);
        }
    }

    fn close(&mut self, index: u32) {
        if let Some(tier) = self.tier(index) {
            tier.remove(&index);
        }
    }

    fn tier(&mut self, index: u32) -> Option<&mut BTreeSet<u32>> {
        let rule = self.rules.get(index as usize)?;
        let active = &mut self.active;
        Some(match (rule.tier, rule.action) {
            (Tier::Admin, _) => &mut active.admin,
            (Tier::NetworkPolicy, Action::Deny) => &mut active.denying,
            (Tier::NetworkPolicy, Action::Accept | Action::Pass) => match rule.demand {
                Demand::Requests => &mut active.judging,
                Demand::Upload => &mut active.limiting,
                Demand::Nothing => &mut active.allowing,
                Demand::Grant => &mut active.granting,
            },
            (Tier::Baseline, _) => &mut active.baseline,
        })
    }

    fn ruling(&self) -> Ruling {
        let Active { admin, denying, judging, limiting, allowing, granting, baseline } = &self.active;
        let tier = [denying, judging, limiting, allowing, granting];
        let own = tier.into_iter().find_map(|some| self.first(some));
        self.decided_by(admin)
            .or_else(|| own.map(|rule| rule.ruling))
            .or(self.defaults.isolation)
            .or_else(|| self.decided_by(baseline))
            .unwrap_or(self.defaults.no_policy)
    }

    /// The first rule of an ordered tier, unless it passes.
    fn decided_by(&self, tier: &BTreeSet<u32>) -> Option<Ruling> {
        let rule = self.first(tier)?;
        match rule.action {
            Action::Accept | Action::Deny => Some(rule.ruling),
            Action::Pass => None,
        }
    }

    fn first(&self, tier: &BTreeSet<u32>) -> Option<&SweepRule> {
        self.rules.get(*tier.first()? as usize)
    }
}

/// Whether a list of ports names one.
pub(crate) fn mentions_named(ports: &[PortMatch]) -> bool {
    ports.iter().any(|entry| matches!(entry, PortMatch::Named { .. }))
}

/// Rows by content; every row once.
#[derive(Default)]
pub(crate) struct Rows {
    ids: std::collections::HashMap<Row, policy::table::RowId>,
    pub(crate) rows: Vec<Row>,
}

impl Rows {
    pub(crate) fn find(&self, row: &Row) -> Option<policy::table::RowId> {
        self.ids.get(row).copied()
    }

    pub(crate) fn id(&mut self, row: Row) -> policy::table::RowId {
        if let Some(known) = self.ids.get(&row) {
            return *known;
        }
        let id = policy::table::RowId(super::dense(self.rows.len()));
        self.ids.insert(row.clone(), id);
        self.rows.push(row);
        id
    }
}

/// The rule id `rule` with the verdict its entry gives. An id without an entry denies: nobody vouches for it.
pub(crate) fn ruling(rules: &[policy::RuleEntry], rule: RuleId) -> Ruling {
    let reason = rules.get(rule.0 as usize).map_or(policy::Reason::PolicyUnreadable, |entry| entry.reason);
    Ruling { verdict: reason.verdict(), rule }
}

#[cfg(test)]
mod tests {
    use super::*;
    use policy::Verdict;

    const fn allow(rule: u32) -> Ruling {
        Ruling { verdict: Verdict::Allow, rule: RuleId(rule) }
    }

    fn numbers(first: u16, last: u16) -> Vec<PortMatch> {
        vec![PortMatch::Numbers { protocol: Protocol::TCP, first, last }]
    }

    fn check(rules: &[SweepRule], isolation: Option<Ruling>, expected: &[(u16, u16, u32)]) {
        let all: Vec<u32> = (0..super::super::dense(rules.len())).collect();
        let row = sweep(rules, &all, &[], Defaults { isolation, no_policy: allow(0) });
        let got: Vec<_> = row.cells.iter().map(|c| (c.first, c.last, c.ruling.rule.0)).collect();
        assert_eq!(got, expected);
    }

    #[test]
    fn first_match_wins_and_equal_neighbours_merge() {
        let (a, b, c) = (numbers(10, 20), numbers(15, 30), numbers(31, 40));
        let rule = |ports: &Vec<PortMatch>, id| SweepRule {
            tier: Tier::NetworkPolicy,
            action: Action::Accept,
            demand: Demand::Nothing,
            ruling: allow(id),
            ports: Some(ports.as_slice().into()),
        };
        let rules = [rule(&a, 16), rule(&b, 17), rule(&c, 17)];
        let deny = Ruling { verdict: Verdict::Deny, rule: RuleId(18) };
        check(&rules, Some(deny), &[(10, 20, 16), (21, 40, 17)]);
    }

    #[test]
    fn a_pass_leaves_its_tier_only() {
        let (a, b) = (numbers(1, 100), numbers(50, 60));
        let pass = SweepRule {
            tier: Tier::Admin,
            action: Action::Pass,
            demand: Demand::Nothing,
            ruling: allow(16),
            ports: Some(a.into()),
        };
        let deny = SweepRule {
            tier: Tier::Admin,
            action: Action::Deny,
            demand: Demand::Nothing,
            ruling: allow(17),
            ports: None,
        };
        let base = SweepRule {
            tier: Tier::Baseline,
            action: Action::Accept,
            demand: Demand::Nothing,
            ruling: allow(18),
            ports: Some(b.into()),
        };
        check(&[pass, deny, base], None, &[(1, 49, 0), (50, 60, 18), (61, 100, 0)]);
    }

    #[test]
    fn a_deny_of_the_network_policy_tier_beats_what_stands_before_it() {
        let (a, b) = (numbers(1, 100), numbers(50, 60));
        let rule = |action, ruling, ports: Vec<PortMatch>| SweepRule {
            tier: Tier::NetworkPolicy,
            action,
            demand: Demand::Nothing,
            ruling,
            ports: Some(ports.into()),
        };
        let accept = rule(Action::Accept, allow(16), a);
        let deny = Ruling { verdict: Verdict::Deny, rule: RuleId(17) };
        let denied = rule(Action::Deny, deny, b);
        check(&[accept, denied], None, &[(1, 49, 16), (50, 60, 17), (61, 100, 16)]);
    }

    #[test]
    fn what_demands_more_beats_other_accepts_of_the_network_policy_tier_alone() {
        for (tier, middle, end) in [(Tier::NetworkPolicy, 17, 18), (Tier::Admin, 16, 16)] {
            let rule = |demand, id, ports: Vec<PortMatch>| SweepRule {
                tier,
                action: Action::Accept,
                demand,
                ruling: allow(id),
                ports: Some(ports.into()),
            };
            let rules = [
                rule(Demand::Nothing, 16, numbers(1, 100)),
                rule(Demand::Upload, 17, numbers(50, 70)),
                rule(Demand::Requests, 18, numbers(60, 70)),
                rule(Demand::Grant, 19, numbers(40, 100)),
            ];
            let expected = [(1, 49, 16), (50, 59, middle), (60, 70, end), (71, 100, 16)];
            let merged = [(1, 100, 16)];
            check(&rules, None, if middle == 17 { &expected } else { &merged });
        }
    }

    #[test]
    fn the_whole_port_range_is_one_cell() {
        let all = numbers(0, 65535);
        let rule = SweepRule {
            tier: Tier::Baseline,
            action: Action::Accept,
            demand: Demand::Nothing,
            ruling: allow(16),
            ports: Some(all.into()),
        };
        check(&[rule], None, &[(0, 65535, 16)]);
    }
}
