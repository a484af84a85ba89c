//! One pass over a text that says which rules could match it at all.
//!
//! Enters: a text. Leaves: a set of links, a bit each, that holds every link whose literals are in the text. All rules
//! of the phases share the pass, so a rule whose literals are not there costs a look at a bit.

use aho_corasick::{AhoCorasick, AhoCorasickKind, MatchKind};
use std::collections::BTreeMap;

use crate::operator::Test;
use crate::rule::{Phase, Rule};

/// Links found by a scan, a bit each.
pub(crate) type Hits = Box<[u64]>;

/// The literals of all links.
#[derive(Debug)]
pub(crate) struct Scanner {
    finder: Option<AhoCorasick>,
    /// Links that each literal belongs to.
    owners: Vec<Vec<u32>>,
    words: usize,
}

impl Scanner {
    /// Gathers literals of the rules of some phases and gives each of their links a number.
    ///
    /// # Errors
    /// When there are more literals than fit.
    pub(crate) fn build(rules: &mut [Rule], phases: impl Fn(Phase) -> bool) -> Result<Self, String> {
        let mut literals: BTreeMap<Vec<u8>, Vec<u32>> = BTreeMap::new();
        let mut count = 0_u32;
        let chosen = rules.iter_mut().filter(|rule| phases(rule.facts.phase));
        for link in chosen.flat_map(|rule| &mut rule.links) {
            let sought = matches!(link.operator.test, Test::Pattern(_) | Test::Phrases(_));
            let Some(set) = link.operator.literals.as_ref().filter(|_| sought) else { continue };
            for literal in set {
                literals.entry(literal.clone()).or_default().push(count);
            }
            link.filter = Some(count);
            count += 1;
        }
        let words = (count as usize).div_ceil(64);
        let (patterns, owners): (Vec<_>, Vec<_>) = literals.into_iter().unzip();
        if patterns.is_empty() {
            return Ok(Self { finder: None, owners, words });
        }
        let finder = AhoCorasick::builder()
            .ascii_case_insensitive(true)
            .match_kind(MatchKind::Standard)
            .kind(Some(AhoCorasickKind::ContiguousNFA))
            .build(&patterns)
            .map_err(|error| format!("literals of the rules: {error}"))?;
        Ok(Self { finder: Some(finder), owners, words })
    }

    /// Links whose literals are in the text.
    pub(crate) fn scan(&self, text: &[u8]) -> Hits {
        let mut hits = vec![0_u64; self.words].into_boxed_slice();
        let Some(finder) = &self.finder else { return hits };
        let mut seen = vec![0_u64; self.owners.len().div_ceil(64)];
        for found in finder.find_overlapping_iter(text) {
            let literal = found.pattern().as_u32();
            if !has(&seen, literal) {
                set(&mut seen, literal);
                for owner in self.owners.get(literal as usize).into_iter().flatten() {
                    set(&mut hits, *owner);
                }
            }
        }
        hits
    }
}

fn set(hits: &mut [u64], bit: u32) {
    if let Some(word) = hits.get_mut(bit as usize / 64) {
        *word |= 1 << (bit % 64);
    }
}

/// Whether a scan found a link.
pub(crate) fn has(hits: &[u64], bit: u32) -> bool {
    hits.get(bit as usize / 64).is_some_and(|word| word >> (bit % 64) & 1 == 1)
}
