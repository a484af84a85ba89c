//! What many rules look at alike: values of a list of targets, and which literals are in any of them.
//!
//! Most rules of a large set have one of a few lists of targets and one of a few lists of transformations. For each the
//! values are gathered, transformed and scanned once, and a rule none of whose literals is in any of them costs a look at
//! a bit or two. Guarantees: holds only as long as no fact of the transaction changes; rules that an exclusion touched at
//! run time are not served from here.

use std::sync::Arc;

use super::Transaction;
use super::collect::{Candidate, Source};
use super::evaluate::scanner_of;
use super::outcome::Limit;
use crate::load::Compiled;
use crate::rule::{Link, Rule};
use crate::scanner::Hits;

/// Values of one list of targets.
#[derive(Debug, Clone)]
pub(super) struct Gathered {
    /// State of the facts from which this was made.
    version: u64,
    candidates: Arc<[Candidate]>,
    /// By list of transformations and scanner: what is in any of the values.
    met: Vec<((usize, usize), Met)>,
}

/// What scans of all values found.
#[derive(Debug, Clone)]
enum Met {
    /// These sets of literals, and no others.
    Only(Hits),
    /// A value is not one that is scanned.
    Unknown,
}

impl Transaction {
    /// Values of a link's targets, where they are the same for all rules with these targets.
    pub(super) fn gathered(&mut self, number: usize, rule: &Rule, link: &Link) -> Option<Arc<[Candidate]>> {
        let gather = link.gather.filter(|_| !self.is_retargeted(number, rule, link))?;
        let version = self.facts.version;
        if let Some(known) = self.gathered.get(gather)?.as_ref().filter(|known| known.version == version) {
            return Some(Arc::clone(&known.candidates));
        }
        let mut found = Vec::new();
        self.candidates(number, rule, link, &mut found);
        let candidates: Arc<[Candidate]> = found.into();
        let fresh = Gathered { version, candidates: Arc::clone(&candidates), met: Vec::new() };
        *self.gathered.get_mut(gather)? = Some(fresh);
        Some(candidates)
    }

    /// Whether no value of a link's targets has the literals that its operator needs.
    pub(super) fn cannot_match(&mut self, rules: &Compiled, number: usize, rule: &Rule, link: &Link) -> bool {
        let Some(filter) = link.filter.filter(|_| !link.operator.negated && !link.multi_match) else {
            return false;
        };
        let Some(candidates) = self.gathered(number, rule, link) else { return false };
        let key = (link.pipeline, scanner_of(rule.facts.phase));
        let gathered = link.gather.and_then(|gather| self.gathered.get(gather)?.as_ref());
        let known = gathered.and_then(|gathered| gathered.met.iter().find(|(known, _)| *known == key));
        if let Some((_, met)) = known {
            return matches!(met, Met::Only(hits) if !filter.passes(hits));
        }
        let met = self.meet(rules, rule, link, &candidates);
        let none = matches!(&met, Met::Only(hits) if !filter.passes(hits));
        if let Some(gather) = link.gather
            && let Some(Some(gathered)) = self.gathered.get_mut(gather)
        {
            gathered.met.push((key, met));
        }
        none
    }

    /// Transforms and scans all values.
    fn meet(&mut self, rules: &Compiled, rule: &Rule, link: &Link, candidates: &[Candidate]) -> Met {
        let group = scanner_of(rule.facts.phase);
        let Some(scanner) = rules.scanners.get(group) else { return Met::Unknown };
        let mut all = scanner.scan(&[]);
        for candidate in candidates {
            let Source::Text(text) = candidate.text else { return Met::Unknown };
            let text = self.texts.after(text, link, rules.pipelines, rules.options.code_page.as_ref());
            let Some(hits) = self.texts.hits(text, group, scanner) else { return Met::Unknown };
            for (word, more) in all.iter_mut().zip(hits) {
                *word |= more;
            }
            if self.spent() {
                self.reached(Limit::Budget, rule.facts.phase);
                return Met::Unknown;
            }
        }
        Met::Only(all)
    }
}
