//! What is legal but probably not meant.
//!
//! Enters: a [`PolicySet`]. Leaves: warnings and notes, each with the object, file and line, and what would be right.
//! Guarantees: near-linear in policies and pods: pods are grouped by labels and found through an index, checks that
//! compare pairs do so within small groups only, and each check gives at most [`MOST_OF_A_KIND`] findings and says how
//! many more there are. Does not: change anything, or say what an enforcer will do.

mod by_name;
mod cover;
mod crowd;
mod dns;
mod hint;
mod order;
mod ports;
mod reach;
mod selection;

use crate::convert::{object_name, position};
use crds::{Code, Diagnostic};
use crowd::Crowd;
use policy::{Direction, Policy, PolicySet, Rule};
use std::collections::HashMap;

/// Findings of one code beyond this are counted, not listed.
pub const MOST_OF_A_KIND: usize = 1000;

/// Every warning and note about a policy set.
#[must_use]
pub fn lint(set: &PolicySet) -> Vec<Diagnostic> {
    let crowd = Crowd::new(&set.world);
    let mut findings = Findings { set, listed: Vec::new(), counts: HashMap::new() };
    order::equal_priority(&mut findings);
    order::shadowed(&mut findings);
    order::beaten(&mut findings);
    order::limits_not_first(&mut findings, &crowd);
    selection::subjects(&mut findings, &crowd);
    selection::peers(&mut findings, &crowd);
    ports::unresolved(&mut findings, &crowd);
    dns::not_allowed(&mut findings, &crowd);
    dns::domain_names(&mut findings);
    by_name::unbacked(&mut findings, &crowd);
    by_name::one_label(&mut findings);
    by_name::outside_zones(&mut findings);
    by_name::not_asked(&mut findings);
    reach::system_locked_out(&mut findings, &crowd);
    reach::blocks_with_pods(&mut findings);
    findings.finish()
}

/// Both directions, in the order reports come.
const DIRECTIONS: [Direction; 2] = [Direction::Ingress, Direction::Egress];

/// What was found so far.
struct Findings<'s> {
    set: &'s PolicySet,
    listed: Vec<Diagnostic>,
    counts: HashMap<Code, usize>,
}

impl<'s> Findings<'s> {
    /// Whether another finding of this code would still be listed; those that are not must still be counted.
    fn has_room(&self, code: Code) -> bool {
        self.counts.get(&code).is_none_or(|count| *count < MOST_OF_A_KIND)
    }

    /// Reports something about a policy as a whole. The text is only made if it is listed.
    fn about_policy(&mut self, policy: &Policy, field: &str, code: Code, make: impl FnOnce() -> Diagnostic) {
        if self.count(code) {
            let diagnostic = make().of(object_name(&policy.object)).field(field);
            self.listed.push(match &policy.source {
                Some(source) => diagnostic.at(position(source)),
                None => diagnostic,
            });
        }
    }

    /// Reports something about a rule, or a field below it.
    fn about_rule(&mut self, rule: &Rule, below: &str, code: Code, make: impl FnOnce() -> Diagnostic) {
        if !self.count(code) {
            return;
        }
        let mut diagnostic = make();
        if let Some(entry) = self.set.rule(rule.id) {
            // An entry may stand for less than a rule, and then says where by itself.
            let is_rule = entry.field.rsplit_once('[').is_some_and(|(section, _)| !section.contains('['));
            let below = if is_rule { below } else { "" };
            diagnostic = diagnostic.field(format!("{}{below}", entry.field));
            if let Some(object) = &entry.object {
                diagnostic = diagnostic.of(object_name(object));
            }
            if let Some(source) = &entry.source {
                diagnostic = diagnostic.at(position(source));
            }
        }
        self.listed.push(diagnostic);
    }

    fn count(&mut self, code: Code) -> bool {
        let room = self.has_room(code);
        *self.counts.entry(code).or_default() += 1;
        room
    }

    fn finish(mut self) -> Vec<Diagnostic> {
        let mut more: Vec<_> = self.counts.iter().filter(|(_, count)| **count > MOST_OF_A_KIND).collect();
        more.sort_by_key(|(code, _)| **code);
        for (code, count) in more {
            let message = format!("{} more findings of this kind are not listed", count - MOST_OF_A_KIND);
            self.listed.push(Diagnostic::note(*code, message));
        }
        self.listed
    }
}

/// Every rule of every policy with its direction.
fn every_rule(set: &PolicySet) -> impl Iterator<Item = (&Policy, Direction, &Rule)> {
    set.policies.iter().flat_map(|policy| {
        DIRECTIONS.into_iter().flat_map(move |direction| {
            policy.section(direction).rules().iter().map(move |rule| (policy, direction, rule))
        })
    })
}

/// `.from` or `.to`
fn peers_field(direction: Direction) -> &'static str {
    match direction {
        Direction::Ingress => ".from",
        Direction::Egress => ".to",
    }
}
