//! Patterns with look-around, back-references, possessive quantifiers or atomic groups, which no linear-time engine has:
//! run by trying, in a bounded number of steps.
//!
//! Enters: a PCRE pattern. Leaves: whether a text matches and its groups, or that the steps were used up, which the
//! caller takes for a denial. Old rule sets have a handful of such patterns; all others run in linear time.

mod parse;

use parse::{Look, Node};

/// Most steps of one search.
const MAX_STEPS: u64 = 2_000_000;
/// Most instructions of a program.
const MAX_PROGRAM: usize = 50_000;

/// A pattern as a list of instructions.
#[derive(Debug, Clone)]
pub(crate) struct Program {
    code: Vec<Instruction>,
    /// Positions that it remembers: two for each group.
    slots: usize,
}

#[derive(Debug, Clone)]
enum Instruction {
    Set(Box<[bool; 256]>),
    /// Tries the first, then the second.
    Split(usize, usize),
    Jump(usize),
    Save(usize),
    LineStart,
    LineEnd,
    TextStart,
    TextEnd,
    Word(bool),
    Back(usize, bool),
    Look(Look, Box<Program>),
    Atomic(Box<Program>),
    Match,
}

/// What a search found: where each group is.
pub(crate) type Groups = Vec<Option<(usize, usize)>>;

/// The steps of a search are used up.
#[derive(Debug, PartialEq, Eq)]
pub(crate) struct Exhausted;

/// Compiles a pattern.
///
/// # Errors
/// Says what is wrong with it.
pub(crate) fn compile(pattern: &[u8]) -> Result<Program, String> {
    let (node, groups) = parse::parse(pattern)?;
    let slots = 2 * (groups + 1);
    program(&Node::Group(Box::new(node), Some(0)), slots)
}

fn program(node: &Node, slots: usize) -> Result<Program, String> {
    let mut program = Program { code: Vec::new(), slots };
    program.emit(node)?;
    program.code.push(Instruction::Match);
    Ok(program)
}

impl Program {
    fn emit(&mut self, node: &Node) -> Result<(), String> {
        if self.code.len() > MAX_PROGRAM {
            return Err("pattern: too large".to_owned());
        }
        match node {
            Node::Empty => {}
            Node::Set(set) => self.code.push(Instruction::Set(set.clone())),
            Node::LineStart => self.code.push(Instruction::LineStart),
            Node::LineEnd => self.code.push(Instruction::LineEnd),
            Node::TextStart => self.code.push(Instruction::TextStart),
            Node::TextEnd => self.code.push(Instruction::TextEnd),
            Node::Word(wanted) => self.code.push(Instruction::Word(*wanted)),
            Node::Back(group, fold) => self.code.push(Instruction::Back(*group, *fold)),
            Node::Concat(parts) => parts.iter().try_for_each(|part| self.emit(part))?,
            Node::Group(inner, None) => self.emit(inner)?,
            Node::Group(inner, Some(number)) => {
                self.code.push(Instruction::Save(2 * number));
                self.emit(inner)?;
                self.code.push(Instruction::Save(2 * number + 1));
            }
            Node::Look(look, inner) => {
                let inner = program(inner, self.slots)?;
                self.code.push(Instruction::Look(*look, Box::new(inner)));
            }
            Node::Atomic(inner) => {
                let inner = program(inner, self.slots)?;
                self.code.push(Instruction::Atomic(Box::new(inner)));
            }
            Node::Alternate(parts) => self.alternate(parts)?,
            Node::Repeat { inner, least, most, greedy } => self.repeat(inner, *least, *most, *greedy)?,
        }
        Ok(())
    }

    fn alternate(&mut self, parts: &[Node]) -> Result<(), String> {
        let mut ends = Vec::new();
        for (index, part) in parts.iter().enumerate() {
            if index + 1 == parts.len() {
                self.emit(part)?;
                break;
            }
            let split = self.hole();
            self.emit(part)?;
            ends.push(self.hole());
            self.fill(split, Instruction::Split(split + 1, self.code.len()));
        }
        for end in ends {
            self.fill(end, Instruction::Jump(self.code.len()));
        }
        Ok(())
    }

    fn repeat(
        &mut self,
        inner: &Node,
        least: usize,
        most: Option<usize>,
        greedy: bool,
    ) -> Result<(), String> {
        for _ in 0..least {
            self.emit(inner)?;
        }
        let either = |go: usize, stop: usize| {
            if greedy { Instruction::Split(go, stop) } else { Instruction::Split(stop, go) }
        };
        let Some(most) = most else {
            let split = self.hole();
            self.emit(inner)?;
            self.code.push(Instruction::Jump(split));
            self.fill(split, either(split + 1, self.code.len()));
            return Ok(());
        };
        let mut splits = Vec::new();
        for _ in least..most {
            splits.push(self.hole());
            self.emit(inner)?;
        }
        for split in splits {
            self.fill(split, either(split + 1, self.code.len()));
        }
        Ok(())
    }

    fn hole(&mut self) -> usize {
        self.code.push(Instruction::Match);
        self.code.len() - 1
    }

    fn fill(&mut self, at: usize, instruction: Instruction) {
        if let Some(slot) = self.code.get_mut(at) {
            *slot = instruction;
        }
    }

    /// The first match in a text.
    ///
    /// # Errors
    /// [`Exhausted`] when the steps are used up.
    pub(crate) fn find(&self, text: &[u8]) -> Result<Option<Groups>, Exhausted> {
        let mut steps = MAX_STEPS;
        for start in 0..=text.len() {
            let mut slots = vec![None; self.slots];
            if self.run(text, start, &mut slots, &mut steps, None)?.is_some() {
                let pair = |pair: &[Option<usize>]| match pair {
                    [Some(from), Some(to)] => Some((*from, *to)),
                    _ => None,
                };
                return Ok(Some(slots.chunks(2).map(pair).collect()));
            }
        }
        Ok(None)
    }

    /// Tries to match at a place, and says where the match ends; where `end` is set it must end there.
    fn run(
        &self,
        text: &[u8],
        start: usize,
        slots: &mut Vec<Option<usize>>,
        steps: &mut u64,
        end: Option<usize>,
    ) -> Result<Option<usize>, Exhausted> {
        // What is left to try: an instruction, a place, and the positions that were remembered there.
        let mut waiting = vec![(0_usize, start, slots.clone())];
        while let Some((mut at, mut place, mut saved)) = waiting.pop() {
            while let Some(instruction) = self.code.get(at) {
                *steps = steps.checked_sub(1).ok_or(Exhausted)?;
                let before = place.checked_sub(1).and_then(|before| text.get(before)).copied();
                let here = text.get(place).copied();
                let holds = match instruction {
                    Instruction::Match => {
                        if end.is_none_or(|end| end == place) {
                            *slots = saved;
                            return Ok(Some(place));
                        }
                        false
                    }
                    Instruction::Jump(to) => {
                        at = *to;
                        continue;
                    }
                    Instruction::Split(first, second) => {
                        waiting.push((*second, place, saved.clone()));
                        at = *first;
                        continue;
                    }
                    Instruction::Save(slot) => {
                        if let Some(slot) = saved.get_mut(*slot) {
                            *slot = Some(place);
                        }
                        true
                    }
                    Instruction::Set(set) => {
                        let holds =
                            here.is_some_and(|byte| set.get(usize::from(byte)).copied().unwrap_or(false));
                        place += usize::from(holds);
                        holds
                    }
                    Instruction::LineStart => before.is_none_or(|byte| byte == b'\n'),
                    Instruction::LineEnd => here.is_none_or(|byte| byte == b'\n'),
                    Instruction::TextStart => place == 0,
                    Instruction::TextEnd => place == text.len(),
                    Instruction::Word(wanted) => {
                        let word = |byte: Option<u8>| {
                            byte.is_some_and(|byte| byte.is_ascii_alphanumeric() || byte == b'_')
                        };
                        (word(before) != word(here)) == *wanted
                    }
                    Instruction::Back(group, fold) => match referred(&saved, *group, text) {
                        Some(earlier) => {
                            let later = text.get(place..place + earlier.len());
                            *steps = steps.saturating_sub(earlier.len() as u64);
                            place += earlier.len();
                            later.is_some_and(|later| {
                                later == earlier || *fold && later.eq_ignore_ascii_case(earlier)
                            })
                        }
                        None => false,
                    },
                    Instruction::Look(look, inner) => look_around(*look, inner, text, place, &saved, steps)?,
                    Instruction::Atomic(inner) => match inner.run(text, place, &mut saved, steps, None)? {
                        Some(end) => {
                            place = end;
                            true
                        }
                        None => false,
                    },
                };
                if !holds {
                    break;
                }
                at += 1;
            }
        }
        Ok(None)
    }
}

fn referred<'t>(saved: &[Option<usize>], group: usize, text: &'t [u8]) -> Option<&'t [u8]> {
    let (from, to) = (*saved.get(2 * group)?, *saved.get(2 * group + 1)?);
    text.get(from?..to?)
}

fn look_around(
    look: Look,
    inner: &Program,
    text: &[u8],
    place: usize,
    saved: &[Option<usize>],
    steps: &mut u64,
) -> Result<bool, Exhausted> {
    let mut slots = saved.to_vec();
    let found = match look {
        Look::Ahead { .. } => inner.run(text, place, &mut slots, steps, None)?.is_some(),
        Look::Behind { shortest, longest, .. } => {
            let mut found = false;
            for width in shortest..=longest.min(place) {
                let start = place.saturating_sub(width);
                found = found || inner.run(text, start, &mut slots, steps, Some(place))?.is_some();
            }
            found
        }
    };
    let (Look::Ahead { negative } | Look::Behind { negative, .. }) = look;
    Ok(found != negative)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn look_around_and_references_mean_what_they_mean_in_pcre() {
        for (pattern, text, expected) in [
            (r"<\?(?!xml)", "<?xml", false),
            (r"<\?(?!xml)", "<?php", true),
            (r"(?<!&amp);", "a&amp;", false),
            (r"(?<!&amp|&quot);", "a&lt;", true),
            (r"\b(\w+)\b=\b\1\b", "x ab=ab", true),
            (r"\b(\w+)\b=\b\1\b", "x ab=abc", false),
            (r"(?i:\b(\w+)=(?!\b\1\b)\w+)", "a=A", false),
            (r"(?i:\b(\w+)=(?!\b\1\b)\w+)", "a=b", true),
            (r"^(?=.*a)(?=.*b)[a-c]{2,3}$", "x\nacb", true),
            (r"(?<=a)b+?c*", "abc", true),
            (r"a{2}(?!a)", "baab", true),
            (r"a*+a", "aaa", false),
            (r"a*+b", "aaab", true),
            (r"(?>a|ab)c", "abc", false),
            (r"(?>ab|a)c", "abc", true),
            (r"^;\s*+[^c]", "; c", false),
            (r"(?>(b)+)\1", "bb", false),
        ] {
            let found = compile(pattern.as_bytes())
                .unwrap_or_else(|error| panic!("{pattern}: {error}"))
                .find(text.as_bytes());
            assert_eq!(found.unwrap().is_some(), expected, "{pattern} on {text}");
        }
    }

    #[test]
    fn groups_are_where_they_are_in_the_text() {
        let found = compile(br"(b+)(?=c)").unwrap().find(b"abbc").unwrap();
        assert_eq!(found, Some(vec![Some((1, 3)), Some((1, 3))]));
    }

    #[test]
    fn a_search_without_end_ends() {
        let program = compile(br"(a|a)*(?!a)b\1").unwrap();
        assert_eq!(program.find(&[b'a'; 4000]), Err(Exhausted));
        assert_eq!(compile(br"(?:a*)*(?=b)").unwrap().find(b"aaac"), Err(Exhausted));
    }
}
