//! Runs the rules of a phase.
//!
//! The order of things is ModSecurity's: a link's `setvar` runs for each value that matches, whether or not the chain is
//! completed; `ctl` and the like run when all links have matched, the last link's first; the disruptive action is last.

use std::sync::Arc;

use super::collect::{Candidate, Source};
use super::outcome::{Limit, MAX_MATCHES, MAX_SHOWN, MAX_VALUES, Match};
use super::texts::TextId;
use super::{Interruption, Transaction};
use crate::load::Compiled;
use crate::operator::Answer;
use crate::rule::{Engine, Link, Phase, Rule};

/// Whether a set of rules has one.
pub(super) fn bit(set: &[u64], number: usize) -> bool {
    set.get(number / 64).is_some_and(|word| word >> (number % 64) & 1 == 1)
}

/// Number of the scanner that knows literals of a phase's rules.
pub(super) fn scanner_of(phase: Phase) -> usize {
    usize::from(phase > Phase::RequestBody)
}

impl Transaction {
    /// Runs a phase, unless the transaction has ended or was let pass.
    pub(super) fn run(&mut self, phase: Phase) -> Option<&Interruption> {
        let passes = self.allowed_until.is_some_and(|until| phase <= until);
        if self.outcome.interruption.is_none() && !passes {
            self.run_rules(phase);
        }
        self.outcome.interruption.as_ref()
    }

    /// The last phase runs whatever happened before, and interrupts nothing.
    pub(super) fn run_logging(&mut self) {
        let before = self.outcome.interruption.take();
        let engine = self.engine;
        if engine == Engine::On {
            self.engine = Engine::DetectionOnly;
        }
        self.run_rules(Phase::Logging);
        self.engine = engine;
        self.outcome.interruption = before;
    }

    fn run_rules(&mut self, phase: Phase) {
        let rules = Arc::clone(&self.rules);
        let Some(numbers) = rules.phases.get(phase.index()) else { return };
        let mut at = 0;
        let mut candidates = Vec::new();
        while let Some(number) = numbers.get(at).copied() {
            at += 1;
            // Work ends here also where rules only detect, and nothing is interrupted.
            if self.engine == Engine::Off || self.spent() {
                return;
            }
            let Some(rule) = rules.rules.get(number) else { return };
            if bit(&self.removed, number) || !self.rule(&rules, number, rule, &mut candidates) {
                continue;
            }
            if let Some(target) = rule.skip_to {
                at = target.max(at);
            }
            let over =
                self.outcome.interruption.is_some() || self.allowed_until.is_some_and(|until| phase <= until);
            if over {
                return;
            }
        }
    }

    /// Runs one rule; says whether all its links matched.
    fn rule(
        &mut self,
        rules: &Compiled,
        number: usize,
        rule: &Rule,
        candidates: &mut Vec<Candidate>,
    ) -> bool {
        if rule.links.first().is_some_and(|link| self.cannot_match(rules, number, rule, link)) {
            return false;
        }
        self.matched_vars.clear();
        self.matched_var = None;
        self.current = Some(Arc::clone(&rule.facts));
        let mut report = Report::default();
        for link in &rule.links {
            let at = At { rules, rule, link };
            candidates.clear();
            if link.targets.is_empty() && link.exclusions.is_empty() {
                self.matched(at, None, Arc::from(&[][..]), Vec::new(), &mut report);
                continue;
            }
            let kept = self.gathered(number, rule, link);
            if kept.is_none() {
                self.candidates(number, rule, link, candidates);
            }
            let mut any = false;
            for candidate in kept.as_deref().unwrap_or(candidates) {
                any |= self.candidate(at, candidate, &mut report);
                if self.outcome.interruption.is_some() || self.spent() {
                    return false;
                }
            }
            if !any {
                return false;
            }
        }
        self.complete(rules, rule, report);
        true
    }

    /// Asks a link's operator of one value; says whether it matched.
    fn candidate(&mut self, at: At<'_>, candidate: &Candidate, report: &mut Report) -> bool {
        let At { rules, rule, link } = at;
        let page = rules.options.code_page.as_ref();
        let mut text = match &candidate.text {
            Source::Text(text) => *text,
            Source::Bytes(bytes) => {
                return self.made_value(at, candidate, bytes, report);
            }
        };
        let any = if link.multi_match {
            let mut any = self.ask(at, candidate, text, report);
            for step in &link.steps {
                let next = self.texts.step(text, *step, page);
                if next != text {
                    any |= self.ask(at, candidate, next, report);
                }
                text = next;
            }
            any
        } else {
            text = self.texts.after(text, link, rules.pipelines, page);
            self.ask(at, candidate, text, report)
        };
        if self.spent() {
            self.reached(Limit::Budget, rule.facts.phase);
        }
        any
    }

    /// Whether rules have read as much as they may.
    pub(super) fn spent(&self) -> bool {
        self.texts.read > self.start.budget.unwrap_or(self.rules.options.budget)
    }

    /// The same for a value that rules made, which is not kept in the table of texts.
    fn made_value(
        &mut self,
        at: At<'_>,
        candidate: &Candidate,
        bytes: &Arc<[u8]>,
        report: &mut Report,
    ) -> bool {
        let At { rules, link, .. } = at;
        let page = rules.options.code_page.as_ref();
        let mut any = false;
        let mut value = Arc::clone(bytes);
        if link.multi_match {
            any |= self.test(at, candidate, Arc::clone(&value), report);
        }
        for step in &link.steps {
            self.texts.read += value.len() as u64;
            if let Some(next) = step.apply(&value, page) {
                value = next.into();
                if link.multi_match {
                    any |= self.test(at, candidate, Arc::clone(&value), report);
                }
            }
        }
        if !link.multi_match {
            any = self.test(at, candidate, value, report);
        }
        any
    }

    fn ask(&mut self, at: At<'_>, candidate: &Candidate, text: TextId, report: &mut Report) -> bool {
        let At { rules, rule, link } = at;
        if let Some(filter) = link.filter {
            let group = scanner_of(rule.facts.phase);
            if let Some(scanner) = rules.scanners.get(group)
                && !self.texts.may_match(text, group, scanner, filter)
                && !link.operator.negated
            {
                return false;
            }
        }
        let value = self.texts.shared(text);
        self.test(at, candidate, value, report)
    }

    fn test(&mut self, at: At<'_>, candidate: &Candidate, value: Arc<[u8]>, report: &mut Report) -> bool {
        let At { rule, link, .. } = at;
        self.texts.read = self.texts.read.saturating_add(link.operator.cost(&value));
        if self.spent() {
            self.reached(Limit::Budget, rule.facts.phase);
            return false;
        }
        let answer =
            link.operator.ask(&value, link.capture, &|variable, key, out| self.append(variable, key, out));
        match answer {
            Answer::No => false,
            Answer::Yes(captures) => {
                self.matched(at, Some(candidate), value, captures, report);
                true
            }
            Answer::Unable(_) => {
                self.reached(Limit::Pattern, rule.facts.phase);
                false
            }
        }
    }

    /// What follows at once from a value that matched.
    fn matched(
        &mut self,
        at: At<'_>,
        candidate: Option<&Candidate>,
        value: Arc<[u8]>,
        captures: Vec<(usize, Vec<u8>)>,
        report: &mut Report,
    ) {
        let At { rule, link, .. } = at;
        if link.capture && !captures.is_empty() {
            for group in 0..crate::operator::MAX_CAPTURES {
                self.tx.remove(group.to_string().as_bytes());
            }
            for (group, text) in captures {
                self.tx.insert(group.to_string().into_bytes(), text);
            }
        }
        if let Some(candidate) = candidate {
            let name = self.name(candidate);
            if report.values.len() < MAX_VALUES {
                report.values.push((name.clone(), value.get(..MAX_SHOWN).unwrap_or(&value).to_vec()));
            }
            self.matched_var = Some((name.clone(), Arc::clone(&value)));
            self.matched_vars.push((name, value));
        }
        for change in &link.set {
            self.set_variable(change, rule.facts.phase);
        }
        if let Some(message) = &link.message {
            report.message = self.expand(message).into_owned();
        }
        if let Some(data) = &link.data {
            report.data = self.expand(data).into_owned();
        }
    }

    /// What follows once all links have matched.
    fn complete(&mut self, rules: &Compiled, rule: &Rule, report: Report) {
        if let Some(severity) = rule.facts.severity.map(crate::rule::Severity::number) {
            self.highest_severity =
                Some(self.highest_severity.map_or(severity, |highest| highest.min(severity)));
        }
        for late in rule.links.iter().rev().flat_map(|link| &link.late) {
            self.late(rules, late);
        }
        if self.outcome.matched.len() < MAX_MATCHES {
            let Report { message, data, values } = report;
            let rule_facts = Arc::clone(&rule.facts);
            let found = Match { rule: rule_facts, message, data, values, log: rule.log, audit: rule.audit };
            self.outcome.matched.push(found);
        } else {
            self.outcome.more_matched += 1;
        }
        self.disrupt(rule);
    }
}

/// A link, its rule, and all of them.
#[derive(Clone, Copy)]
struct At<'r> {
    rules: &'r Compiled,
    rule: &'r Rule,
    link: &'r Link,
}

/// What a rule has to say so far.
#[derive(Debug, Default)]
pub(super) struct Report {
    message: Vec<u8>,
    data: Vec<u8>,
    values: Vec<(Vec<u8>, Vec<u8>)>,
}
