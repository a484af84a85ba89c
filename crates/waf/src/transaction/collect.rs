//! What a rule's targets name: values with their names, those that exclusions take away left out.

use std::sync::Arc;

use super::Transaction;
use super::texts::{TextId, Texts};
use crate::profile::Part;
use crate::rule::{Link, Rule};
use crate::seclang::targets::{Mode, Select, Target};
use crate::variable::{Shape, Variable};

/// A value for an operator.
#[derive(Debug, Clone)]
pub(super) struct Candidate {
    pub(super) variable: Variable,
    pub(super) count: bool,
    pub(super) key: Key,
    pub(super) text: Source,
}

/// Where the key of a candidate is.
#[derive(Debug, Clone)]
pub(super) enum Key {
    /// With the fact of the variable that has this number.
    Fact(usize),
    /// Here; empty where there is none.
    Own(Arc<[u8]>),
}

/// Where the bytes of a candidate are.
#[derive(Debug, Clone)]
pub(super) enum Source {
    /// In the table of texts, where transformations are kept.
    Text(TextId),
    /// Made while rules run.
    Bytes(Arc<[u8]>),
}

/// Takes a key, and makes the value where it is wanted.
type Give<'g> = dyn FnMut(&[u8], &dyn Fn() -> (Key, Source)) + 'g;

impl Transaction {
    /// The name in reports and in `MATCHED_VAR_NAME`: `ARGS:id`.
    pub(super) fn name(&self, candidate: &Candidate) -> Vec<u8> {
        let key = match &candidate.key {
            Key::Fact(number) => {
                self.facts.of(candidate.variable).get(*number).map(|fact| &*fact.key).unwrap_or_default()
            }
            Key::Own(key) => key,
        };
        let mut name = if candidate.count { vec![b'&'] } else { Vec::new() };
        name.extend_from_slice(candidate.variable.name().as_bytes());
        if candidate.variable.shape() == Shape::Keyed && !key.is_empty() {
            name.push(b':');
            name.extend_from_slice(key);
        }
        name
    }

    /// All values that a link looks at.
    pub(super) fn candidates(&self, number: usize, rule: &Rule, link: &Link, found: &mut Vec<Candidate>) {
        let retargeted = self.is_retargeted(number, rule, link);
        for target in &link.targets {
            let excluded = |key: &[u8]| {
                let named = |other: &Target| other.variable == target.variable && other.select.has(key);
                link.exclusions.iter().any(named)
                    || retargeted
                        && self
                            .removed_targets
                            .iter()
                            .any(|(rules, other)| super::evaluate::bit(rules, number) && named(other))
            };
            if self.wholly_excluded(number, retargeted, link, target) {
                continue;
            }
            match target.mode {
                Mode::Exclude => {}
                Mode::Count => {
                    // As in v2 and v3 what is excluded counts with the others.
                    let mut count = 0_usize;
                    self.each(target, rule.injection, &mut |_, _| count += 1);
                    found.push(Candidate {
                        variable: target.variable,
                        count: true,
                        key: match &target.select {
                            Select::Key(key) => Key::Own(Arc::from(&**key)),
                            Select::All | Select::Pattern(_) => Key::Own(Arc::from(&[][..])),
                        },
                        text: Source::Bytes(Arc::from(count.to_string().as_bytes())),
                    });
                }
                Mode::Inspect => self.each(target, rule.injection, &mut |key, made| {
                    if !excluded(key) {
                        let (key, text) = made();
                        found.push(Candidate { variable: target.variable, count: false, key, text });
                    }
                }),
            }
        }
    }

    /// Whether exclusions at run time touch a link: they are about the first of a chain.
    pub(super) fn is_retargeted(&self, number: usize, rule: &Rule, link: &Link) -> bool {
        super::evaluate::bit(&self.retargeted, number)
            && rule.links.first().is_some_and(|first| std::ptr::eq(first, link))
    }

    /// Whether an exclusion takes all that the target names away, its count with it: one without a key, or one of the key that the
    /// target has. Counted as none, it would match where a rule wants something to be there.
    fn wholly_excluded(&self, number: usize, retargeted: bool, link: &Link, target: &Target) -> bool {
        let whole = |other: &Target| {
            other.variable == target.variable
                && match (&other.select, &target.select) {
                    (Select::All, _) => true,
                    (other, Select::Key(key)) => other.has(key),
                    (Select::Key(_) | Select::Pattern(_), Select::All | Select::Pattern(_)) => false,
                }
        };
        link.exclusions.iter().any(whole)
            || retargeted
                && self
                    .removed_targets
                    .iter()
                    .any(|(rules, other)| super::evaluate::bit(rules, number) && whole(other))
    }

    /// Gives each value of a target that is not excluded.
    fn each(&self, target: &Target, injection: bool, give: &mut Give<'_>) {
        let mut dynamic = |key: &[u8], value: Arc<[u8]>| {
            if target.select.has(key) {
                give(key, &|| (Key::Own(Arc::from(key)), Source::Bytes(Arc::clone(&value))));
            }
        };
        match target.variable {
            Variable::Tx => match &target.select {
                Select::Key(key) => {
                    let lower = key.to_ascii_lowercase();
                    if let Some(value) = self.tx.get(&lower) {
                        dynamic(&lower, value.as_slice().into());
                    }
                }
                Select::All | Select::Pattern(_) => {
                    for (key, value) in &self.tx {
                        dynamic(key, value.as_slice().into());
                    }
                }
            },
            Variable::MatchedVar => {
                if let Some((_, value)) = &self.matched_var {
                    dynamic(&[], Arc::clone(value));
                }
            }
            Variable::MatchedVarName => {
                if let Some((name, _)) = &self.matched_var {
                    dynamic(&[], name.as_slice().into());
                }
            }
            Variable::MatchedVars => {
                self.matched_vars.iter().for_each(|(name, value)| dynamic(name, Arc::clone(value)))
            }
            Variable::MatchedVarsNames => {
                self.matched_vars.iter().for_each(|(name, _)| dynamic(name, name.as_slice().into()));
            }
            Variable::HighestSeverity => dynamic(&[], self.highest().as_bytes().into()),
            Variable::Rule => {
                for key in [&b"id"[..], b"msg", b"severity", b"ver"] {
                    dynamic(key, self.rule_fact(key).into());
                }
            }
            variable if variable.is_persistent() => {
                for (key, value) in self.persistent(variable) {
                    dynamic(&key, value.into());
                }
            }
            // What has one value has it always: as long as nobody said another, the empty one.
            variable if variable.is_always_there() && self.facts.of(variable).is_empty() => {
                give(&[], &|| (Key::Own(Arc::from(&[][..])), Source::Text(Texts::EMPTY)));
            }
            variable => {
                for (number, fact) in self.facts.of(variable).iter().enumerate() {
                    let left_out = injection && fact.part == Part::Prose;
                    if !left_out && target.select.has(&fact.key) {
                        give(&fact.key, &|| (Key::Fact(number), Source::Text(fact.text)));
                    }
                }
            }
        }
    }
}
