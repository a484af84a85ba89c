//! What rules do: change collections, change the engine, interrupt.

use super::outcome::{Action, Cause, Interruption, Limit};
use super::{MAX_TX, Transaction};
use crate::load::Compiled;
use crate::operator::integer;
use crate::rule::{Allow, Change, Ctl, Disruptive, Engine, Late, Phase, Rule, SetVar};
use crate::variable::Variable;

/// Status of a denial whose rule names none.
const FORBIDDEN: u16 = 403;

impl Transaction {
    /// `setvar`.
    pub(super) fn set_variable(&mut self, change: &SetVar, phase: Phase) {
        let key = self.expand(&change.key).to_ascii_lowercase();
        let current = |transaction: &Self| {
            let mut value = Vec::new();
            transaction.append(change.collection, Some(&key), &mut value);
            integer(&value)
        };
        let value = match &change.change {
            Change::Unset => None,
            Change::Set(text) => Some(self.expand(text).into_owned()),
            Change::Add(text) => {
                let sum = current(self).saturating_add(integer(&self.expand(text)));
                Some(sum.to_string().into_bytes())
            }
            Change::Subtract(text) => {
                let difference = current(self).saturating_sub(integer(&self.expand(text)));
                Some(difference.to_string().into_bytes())
            }
        };
        let room = match (change.collection, value) {
            (Variable::Tx, None) => {
                self.tx.remove(&key);
                true
            }
            (Variable::Tx, Some(value)) => {
                let room = self.tx.len() < MAX_TX || self.tx.contains_key(&key);
                if room {
                    self.tx.insert(key, value);
                }
                room
            }
            (collection, value) => match self.opened.get(&collection) {
                Some(opened) => self.store.set(collection, opened, &key, value),
                // A collection that no rule has opened keeps nothing, as in ModSecurity.
                None => true,
            },
        };
        if !room {
            self.reached(Limit::Collection, phase);
        }
    }

    pub(super) fn late(&mut self, rules: &Compiled, late: &Late) {
        match late {
            Late::Ctl(ctl) => self.control(ctl),
            Late::Open(variable, key) => {
                let key = self.expand(key).into_owned();
                self.store.open(*variable, &key, self.start.now, rules.options.collection_timeout);
                match variable {
                    Variable::Session => self.set(Variable::Sessionid, key.clone()),
                    Variable::User => self.set(Variable::Userid, key.clone()),
                    _ => {}
                }
                self.opened.insert(*variable, key);
            }
            Late::Expire(Variable::Tx, ..) => {}
            Late::Expire(variable, name, seconds) => {
                let seconds = u64::try_from(integer(&self.expand(seconds))).unwrap_or(0);
                let name = self.expand(name).into_owned();
                if let Some(key) = self.opened.get(variable) {
                    self.store.expire(*variable, key, &name, self.start.now.saturating_add(seconds));
                }
            }
        }
    }

    fn control(&mut self, ctl: &Ctl) {
        match ctl {
            Ctl::Engine(engine) => self.engine = *engine,
            Ctl::Audit(audit) => self.audit = *audit,
            Ctl::AuditParts(change) => self.change_parts(change),
            Ctl::ForceRequestBodyVariable(force) => self.force_request_body = *force,
            Ctl::RequestBodyAccess(access) => self.request_body_access = *access,
            Ctl::ResponseBodyAccess(access) => self.response_body_access = *access,
            Ctl::RequestBodyProcessor(processor) => self.choose_processor(*processor),
            Ctl::Remove(which) => {
                merge(&mut self.removed, &which.rules);
            }
            Ctl::RemoveTarget(which, target) => {
                merge(&mut self.retargeted, &which.rules);
                self.removed_targets.push((which.rules.clone(), target.clone()));
            }
        }
    }

    /// `+E`, `-E` or all parts.
    fn change_parts(&mut self, change: &str) {
        match change.split_at_checked(1) {
            Some(("+", parts)) => {
                let more: Vec<char> =
                    parts.chars().filter(|part| !self.audit_parts.contains(*part)).collect();
                self.audit_parts.extend(more);
            }
            Some(("-", parts)) => self.audit_parts.retain(|part| !parts.contains(part)),
            _ => self.audit_parts = change.to_owned(),
        }
    }

    /// The disruptive action of a rule that matched.
    pub(super) fn disrupt(&mut self, rule: &Rule) {
        let Some(disruptive) = &rule.disruptive else { return };
        if self.engine != Engine::On || self.outcome.interruption.is_some() {
            return;
        }
        let (action, status) = match disruptive {
            Disruptive::Pass | Disruptive::Block => return,
            Disruptive::Allow(scope) => {
                self.allow(*scope, rule.facts.phase);
                return;
            }
            Disruptive::Deny => (Action::Deny, rule.status.unwrap_or(FORBIDDEN)),
            Disruptive::Drop => (Action::Drop, rule.status.unwrap_or(FORBIDDEN)),
            Disruptive::Redirect(url) => {
                let status = rule.status.filter(|status| (300..400).contains(status)).unwrap_or(302);
                (Action::Redirect(self.expand(url).into_owned()), status)
            }
        };
        let cause = Cause::Rule(rule.facts.id);
        self.outcome.interruption = Some(Interruption { cause, status, action, phase: rule.facts.phase });
    }

    fn allow(&mut self, scope: Allow, phase: Phase) {
        let until = match scope {
            Allow::Everything => Phase::ResponseBody,
            Allow::Request => Phase::RequestBody.max(phase),
            Allow::Phase => phase,
        };
        self.allowed_until = Some(self.allowed_until.map_or(until, |before| before.max(until)));
    }
}

fn merge(into: &mut [u64], set: &[u64]) {
    for (word, more) in into.iter_mut().zip(set) {
        *word |= more;
    }
}
