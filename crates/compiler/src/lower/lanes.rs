//! One direction of a slot: which rules match each class, and so which row holds for it.
//!
//! Enters: the rules of a slot and the classes. Leaves: a [`Lane`]. Guarantees: it lists a class only if the class's row
//! differs from the lane's own.

use super::classes::{Classes, Signature};
use super::index::{Id, Index};
use super::row::{Rows, constant, ruling, sweep};
use super::slots::{Program, Rules, SlotKey};
use super::{Fixed, dense};
use policy::table::{ClassId, Lane, Row, RowId, Ruling};
use policy::{Action, NamedPort, RuleId, Tier};
use std::collections::{BTreeMap, HashMap};

/// Classes, found the way lanes need them.
pub(crate) struct Lanes<'a> {
    index: &'a Index,
    classes: &'a Classes,
    by_peer: HashMap<Id, Vec<ClassId>, Fixed>,
    own: Vec<ClassId>,
    named: Vec<ClassId>,
}

impl<'a> Lanes<'a> {
    pub(crate) fn new(index: &'a Index, classes: &'a Classes) -> Self {
        let (mut own, mut named) = (Vec::new(), Vec::new());
        let mut by_peer: HashMap<Id, Vec<ClassId>, Fixed> = HashMap::default();
        for (id, signature) in classes.signatures.iter().enumerate() {
            let id = ClassId(dense(id));
            signature.peers.iter().for_each(|peer| by_peer.entry(*peer).or_default().push(id));
            if signature.own.is_some() {
                own.push(id);
            }
            if !signature.named.is_empty() {
                named.push(id);
            }
        }
        Self { index, classes, by_peer, own, named }
    }

    pub(crate) fn lane(&self, key: &SlotKey, direction: usize, program: &Program, rows: &mut Rows) -> Lane {
        let mut lane = match program {
            Program::Closed(ruling) => Lane { rows: BTreeMap::new(), otherwise: rows.id(constant(*ruling)) },
            Program::Rules(program) => {
                let named = if direction == 1 { key.named.as_slice() } else { &[] };
                let row = sweep(&program.rules, &program.everyone, named, program.defaults);
                let otherwise = rows.id(row);
                Lane { rows: self.class_rows(key, direction, program, rows), otherwise }
            }
        };
        if direction == 1 {
            // Nothing closes a pod to its own node, not even a closed scope.
            let row = rows.id(constant(ruling(&self.index.rules, RuleId::OWN_NODE)));
            for class in self.own.iter().filter(|class| self.is_own(**class, key)) {
                lane.rows.insert(*class, row);
            }
        }
        lane.rows.retain(|_, row| *row != lane.otherwise);
        lane
    }

    fn class_rows(
        &self,
        key: &SlotKey,
        direction: usize,
        program: &Rules,
        rows: &mut Rows,
    ) -> BTreeMap<ClassId, RowId> {
        let own_node = ruling(&self.index.rules, RuleId::OWN_NODE);
        let mut by_class = BTreeMap::new();
        let mut known: HashMap<(Vec<u32>, bool, &[NamedPort]), Row, Fixed> = HashMap::default();
        for (class, mut matching) in self.matching(program, key, direction) {
            let Some(signature) = self.classes.signatures.get(class.0 as usize) else { continue };
            matching.extend_from_slice(&program.everyone);
            matching.sort_unstable();
            matching.dedup();
            let own = direction == 0 && self.is_own(class, key);
            let named = self.named_ports(signature, key, direction, program);
            let row = known.entry((matching, own, named)).or_insert_with_key(|(matching, own, named)| {
                if *own {
                    own_row(program, matching, own_node)
                } else {
                    sweep(&program.rules, matching, named, program.defaults)
                }
            });
            by_class.insert(class, rows.id(row.clone()));
        }
        by_class
    }

    /// Classes that may differ from the lane's own row, with the rules for their peers.
    fn matching(&self, program: &Rules, key: &SlotKey, direction: usize) -> BTreeMap<ClassId, Vec<u32>> {
        let mut matching: BTreeMap<ClassId, Vec<u32>> = BTreeMap::new();
        for (peer, rules) in &program.by_peer {
            for class in self.by_peer.get(peer).into_iter().flatten() {
                matching.entry(*class).or_default().extend_from_slice(rules);
            }
        }
        if direction == 0 {
            for class in self.own.iter().filter(|class| self.is_own(**class, key)) {
                matching.entry(*class).or_default();
            }
            let named = if program.everyone_named { self.named.as_slice() } else { &[] };
            for class in named {
                matching.entry(*class).or_default();
            }
        }
        matching
    }

    fn named_ports<'b>(
        &self,
        signature: &'b Signature,
        key: &'b SlotKey,
        direction: usize,
        program: &Rules,
    ) -> &'b [NamedPort] {
        match (program.names_ports, direction) {
            (false, _) => &[],
            (true, 0) => &signature.named,
            (true, _) => &key.named,
        }
    }

    /// Whether the class is addresses of the node that the slot's pods run on.
    fn is_own(&self, class: ClassId, key: &SlotKey) -> bool {
        let own = self.classes.signatures.get(class.0 as usize).and_then(|signature| signature.own.as_ref());
        key.node.is_some() && own == key.node.as_ref()
    }
}

/// What egress says to the pod's own node. Where the NetworkPolicy tier would isolate, it leaves the own node alone, unless
/// a rule of it denies.
pub(crate) fn own_row(program: &Rules, matching: &[u32], own_node: Ruling) -> Row {
    let mut defaults = program.defaults;
    let Some(isolation) = &mut defaults.isolation else {
        return sweep(&program.rules, matching, &[], defaults);
    };
    *isolation = own_node;
    let others = |rule: &u32| {
        let rule = program.rules.get(*rule as usize);
        rule.is_some_and(|rule| rule.tier != Tier::NetworkPolicy || rule.action == Action::Deny)
    };
    let matching: Vec<u32> = matching.iter().copied().filter(others).collect();
    sweep(&program.rules, &matching, &[], defaults)
}
