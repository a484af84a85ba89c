//! One pass over a text that says which rules could match it at all.
//!
//! Enters: a text. Leaves: for each set of literals of each link a bit that says whether one of them is in the text. All rules
//! of the phases share the pass, so a rule whose literals are not there costs a look at a bit. A byte costs one step
//! of an automaton, whatever the text is.

use std::collections::BTreeMap;

use aho_corasick::automaton::{Automaton, StateID};
use aho_corasick::dfa::DFA;
use aho_corasick::{Anchored, MatchKind, StartKind};

use crate::operator::Test;
use crate::rule::{Phase, Rule};

/// Sets of literals that a scan has met, a bit each.
pub(crate) type Hits = Box<[u64]>;

/// Which bits a link's sets have.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Filter {
    first: u32,
    end: u32,
}

impl Filter {
    /// Whether a text could match, by what a scan of it met.
    pub(crate) fn passes(self, hits: &[u64]) -> bool {
        (self.first..self.end).all(|bit| has(hits, bit))
    }
}

/// Most bytes of all literals together; the automaton has a state for each at most, and a step from it for each
/// byte that literals tell apart.
const MAX_LITERALS: usize = 200_000;

/// How many states of the automaton are remembered while a text is scanned, a power of two.
const MET: usize = 256;
/// Longest literal that is looked for: the start of a longer one is in a text that has it, and says nearly as much.
const MAX_LITERAL: usize = 8;

/// Parts of a text that are scanned side by side: a step waits for memory, and several wait together.
const LANES: usize = 4;
/// Bytes that a part has in common with the one before it: a literal that begins there ends in this one.
const OVERLAP: usize = MAX_LITERAL - 1;
/// Length from which a text is parted.
const LEAST: usize = 256;

/// The literals of all links.
#[derive(Debug)]
pub(crate) struct Scanner {
    finder: Option<Finder>,
    words: usize,
}

#[derive(Debug)]
struct Finder {
    automaton: DFA,
    start: StateID,
    /// Numbers of states are multiples of a power of two; this is which.
    shift: u32,
    /// Sets that each literal belongs to.
    owners: Vec<Vec<u32>>,
}

impl Scanner {
    /// Gathers literals of the rules of some phases and gives each of their sets a number.
    ///
    /// # Errors
    /// When there are more literals than fit.
    pub(crate) fn build(rules: &mut [Rule], phases: impl Fn(Phase) -> bool) -> Result<Self, String> {
        let mut literals: BTreeMap<Vec<u8>, Vec<u32>> = BTreeMap::new();
        let mut count = 0_u32;
        let chosen = rules.iter_mut().filter(|rule| phases(rule.facts.phase));
        for link in chosen.flat_map(|rule| &mut rule.links) {
            let sought = matches!(link.operator.test, Test::Pattern(_) | Test::Phrases(_));
            if !sought || link.operator.literals.is_empty() {
                continue;
            }
            let first = count;
            for set in &link.operator.literals {
                for literal in set {
                    let start = literal.get(..MAX_LITERAL).unwrap_or(literal);
                    let owners = literals.entry(start.to_vec()).or_default();
                    if owners.last() != Some(&count) {
                        owners.push(count);
                    }
                }
                count += 1;
            }
            link.filter = Some(Filter { first, end: count });
        }
        let words = (count as usize).div_ceil(64);
        let finder = if literals.is_empty() { None } else { Some(Finder::build(literals)?) };
        Ok(Self { finder, words })
    }

    /// Sets of which a literal is in the text.
    pub(crate) fn scan(&self, text: &[u8]) -> Hits {
        let mut hits = vec![0_u64; self.words].into_boxed_slice();
        if let Some(finder) = &self.finder {
            finder.scan(text, &mut hits);
        }
        hits
    }
}

impl Finder {
    fn build(literals: BTreeMap<Vec<u8>, Vec<u32>>) -> Result<Self, String> {
        let bytes: usize = literals.keys().map(Vec::len).sum();
        if bytes > MAX_LITERALS {
            return Err(format!("literals of the rules have {bytes} bytes; {MAX_LITERALS} are allowed"));
        }
        let (patterns, owners): (Vec<_>, Vec<_>) = literals.into_iter().unzip();
        let automaton = DFA::builder()
            .ascii_case_insensitive(true)
            .match_kind(MatchKind::Standard)
            .start_kind(StartKind::Unanchored)
            .build(&patterns)
            .map_err(|error| format!("literals of the rules: {error}"))?;
        let start =
            automaton.start_state(Anchored::No).map_err(|error| format!("literals of the rules: {error}"))?;
        let shift = start.as_usize().max(1).trailing_zeros();
        Ok(Self { automaton, start, shift, owners })
    }

    fn scan(&self, text: &[u8], hits: &mut [u64]) {
        let mut seen = vec![0_u64; self.owners.len().div_ceil(64)];
        // Where the automaton was when it last met literals: texts often meet the same again and again.
        let mut met = [StateID::ZERO; MET];
        let mut step = |state: &mut StateID, byte: u8| {
            *state = self.automaton.next_state(Anchored::No, *state, byte);
            if self.automaton.is_match(*state) {
                let Some(before) = met.get_mut(state.as_usize() >> self.shift & (MET - 1)) else { return };
                if *before != *state {
                    *before = *state;
                    self.note(*state, &mut seen, hits);
                }
            }
        };
        let mut states = [self.start; LANES];
        let lanes = lanes(text);
        let common = lanes.map(<[u8]>::len).into_iter().min().unwrap_or_default();
        let [one, two, three, four] = lanes.map(|lane| lane.split_at_checked(common).unwrap_or_default());
        let together = one.0.iter().zip(two.0).zip(three.0.iter().zip(four.0));
        for ((a, b), (c, d)) in together {
            for (state, byte) in states.iter_mut().zip([a, b, c, d]) {
                step(state, *byte);
            }
        }
        for (state, rest) in states.iter_mut().zip([one.1, two.1, three.1, four.1]) {
            rest.iter().for_each(|byte| step(state, *byte));
        }
    }

    #[cold]
    fn note(&self, state: StateID, seen: &mut [u64], hits: &mut [u64]) {
        for index in 0..self.automaton.match_len(state) {
            let literal = self.automaton.match_pattern(state, index).as_u32();
            if !has(seen, literal) {
                set(seen, literal);
                for owner in self.owners.get(literal as usize).into_iter().flatten() {
                    set(hits, *owner);
                }
            }
        }
    }
}

/// Parts of a text that together hold each literal that the whole holds. A short one is one part.
fn lanes(text: &[u8]) -> [&[u8]; LANES] {
    let length =
        if text.len() < LEAST { text.len() } else { (text.len() + (LANES - 1) * OVERLAP).div_ceil(LANES) };
    let lane = |lane: usize| {
        let from = lane * length.saturating_sub(OVERLAP);
        let to = text.len().min(from + length);
        if lane > 0 && length == text.len() { &[] } else { text.get(from..to).unwrap_or_default() }
    };
    std::array::from_fn(lane)
}

fn set(hits: &mut [u64], bit: u32) {
    if let Some(word) = hits.get_mut(bit as usize / 64) {
        *word |= 1 << (bit % 64);
    }
}

fn has(hits: &[u64], bit: u32) -> bool {
    hits.get(bit as usize / 64).is_some_and(|word| word >> (bit % 64) & 1 == 1)
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn a_short_text_is_one_part_and_a_long_one_is_parted_whole() {
        let bytes = |parts: [&[u8]; LANES]| parts.map(<[u8]>::len);
        assert_eq!(bytes(lanes(&[0; LEAST - 1])), [LEAST - 1, 0, 0, 0]);
        assert_eq!(bytes(lanes(&[0; 400])), [106, 106, 106, 103]);
    }

    proptest! {
        #[test]
        fn a_literal_is_met_exactly_where_it_is_in_the_text(
            pieces in prop::collection::vec("[a-c]{1,9}|[abc]{40}|x{100}", 0..30),
            literals in prop::collection::btree_set("[a-cx]{1,8}", 1..12),
        ) {
            let text = pieces.concat();
            let sets = literals.iter().zip(0_u32..).map(|(literal, set)| (literal.clone().into_bytes(), vec![set]));
            let finder = Finder::build(sets.collect()).unwrap();
            let mut hits = [0];
            finder.scan(text.as_bytes(), &mut hits);
            for (literal, set) in literals.iter().zip(0_u32..) {
                prop_assert_eq!(has(&hits, set), text.contains(literal.as_str()), "{} in {}", literal, text);
            }
        }
    }
}
