//! What a text must contain for a pattern to match it: sets of short texts, one of each of which is in every match.
//!
//! Enters: a pattern's syntax tree. Leaves: literals in lower case, or nothing where none would be rare enough to help.
//! Guarantees: where no literal of a set is in a text, in any case of its letters, the pattern does not match it.

use regex_syntax::hir::{Class, Hir, HirKind};

/// Most literals of one pattern.
const MAX_SET: usize = 300;
/// Most sets of one pattern: the rarest say most, and each takes its place in the scanner.
const MAX_SETS: usize = 3;
/// Most texts of a part that is spelled out.
const MAX_EXACT: usize = 100;
/// Longest literal; a longer one is cut.
const MAX_LITERAL: usize = 16;
/// Members of a class that is spelled out.
const MAX_CLASS: usize = 6;
/// How likely a literal may be at any one byte of ordinary text.
const MAX_LIKELY: f64 = 0.02;

/// Literals one of which is in every match.
pub(crate) type Set = Vec<Vec<u8>>;

/// What is known about a part of a pattern.
struct Known {
    /// All texts that it matches, when they are few.
    exact: Option<Set>,
    /// Sets one of each of which is in all texts that it matches, the rarest first.
    required: Vec<Set>,
}

/// The literals of a pattern: sets, the rarest first.
pub(crate) fn required(tree: &Hir) -> Vec<Set> {
    let mut sets = known(tree).into_required();
    sets.retain(|set| likelihood(set) <= MAX_LIKELY);
    sets
}

impl Known {
    fn nothing() -> Self {
        Self { exact: None, required: Vec::new() }
    }

    fn exactly(exact: Set) -> Self {
        Self { exact: Some(exact), required: Vec::new() }
    }

    fn into_required(self) -> Vec<Set> {
        let mut sets = self.required;
        sets.extend(self.exact.and_then(usable));
        rarest(sets)
    }
}

/// A set with the empty text says nothing.
fn usable(mut set: Set) -> Option<Set> {
    if set.is_empty() || set.iter().any(Vec::is_empty) {
        return None;
    }
    for text in &mut set {
        text.truncate(MAX_LITERAL);
    }
    set.sort();
    set.dedup();
    (set.len() <= MAX_SET).then_some(set)
}

fn rarest(mut sets: Vec<Set>) -> Vec<Set> {
    sets.sort_by(|a, b| likelihood(a).total_cmp(&likelihood(b)));
    sets.dedup();
    sets.truncate(MAX_SETS);
    sets
}

/// How likely one of the texts begins at a given byte; rough frequencies of English text with code in it.
fn likelihood(set: &[Vec<u8>]) -> f64 {
    let byte = |byte: &u8| match byte {
        b' ' => 0.16,
        b'e' | b't' | b'a' | b'o' | b'i' | b'n' | b's' | b'r' => 0.07,
        b'h' | b'l' | b'd' | b'c' | b'u' | b'm' | b'f' | b'p' | b'g' => 0.03,
        b'a'..=b'z' => 0.015,
        b'.' | b',' | b'\n' | b'/' | b'=' | b'"' => 0.012,
        _ => 0.006,
    };
    set.iter().map(|text| text.iter().map(byte).product::<f64>()).sum()
}

fn known(tree: &Hir) -> Known {
    match tree.kind() {
        HirKind::Empty | HirKind::Look(_) => Known::exactly(vec![Vec::new()]),
        HirKind::Literal(literal) => Known::exactly(vec![literal.0.to_ascii_lowercase()]),
        HirKind::Class(class) => members(class).map_or_else(Known::nothing, Known::exactly),
        HirKind::Capture(capture) => known(&capture.sub),
        HirKind::Repetition(repetition) => {
            let inner = known(&repetition.sub);
            match (repetition.min, repetition.max) {
                (0, Some(1)) => match inner.exact {
                    Some(mut exact) => {
                        exact.push(Vec::new());
                        Known::exactly(exact)
                    }
                    None => Known::nothing(),
                },
                (0, _) => Known::nothing(),
                (1, Some(1)) => inner,
                (least, Some(most)) if least == most && least <= 4 => {
                    concat((0..least).map(|_| known(&repetition.sub)))
                }
                _ => Known { exact: None, required: inner.into_required() },
            }
        }
        HirKind::Concat(parts) => concat(parts.iter().map(known)),
        HirKind::Alternation(parts) => alternation(parts.iter().map(known).collect()),
    }
}

/// The members of a class in lower case, when they are few.
fn members(class: &Class) -> Option<Vec<Vec<u8>>> {
    let Class::Bytes(class) = class else { return None };
    let mut found: Vec<Vec<u8>> = Vec::new();
    for range in class.ranges() {
        for byte in range.start()..=range.end() {
            let text = vec![byte.to_ascii_lowercase()];
            if !found.contains(&text) {
                found.push(text);
            }
            if found.len() > MAX_CLASS {
                return None;
            }
        }
    }
    Some(found)
}

fn alternation(parts: Vec<Known>) -> Known {
    let texts: usize = parts.iter().map(|part| part.exact.as_ref().map_or(MAX_EXACT + 1, Vec::len)).sum();
    if texts <= MAX_EXACT {
        return Known::exactly(parts.into_iter().filter_map(|part| part.exact).flatten().collect());
    }
    let mut all = Vec::new();
    for part in parts {
        let Some(set) = part.into_required().into_iter().next() else { return Known::nothing() };
        all.extend(set);
    }
    Known { exact: None, required: usable(all).into_iter().collect() }
}

fn concat(parts: impl Iterator<Item = Known>) -> Known {
    let mut sets: Vec<Set> = Vec::new();
    let mut open: Set = vec![Vec::new()];
    let mut whole = true;
    for part in parts {
        let Known { exact, required } = part;
        sets.extend(required);
        let next = match exact {
            Some(exact) if exact.len() * open.len() <= MAX_EXACT => {
                open = open
                    .iter()
                    .flat_map(|head| exact.iter().map(move |tail| [&head[..], &tail[..]].concat()))
                    .collect();
                continue;
            }
            Some(exact) => exact,
            None => vec![Vec::new()],
        };
        sets.extend(usable(std::mem::replace(&mut open, next)));
        sets = rarest(sets);
        whole = false;
    }
    if whole {
        return Known { exact: Some(open), required: rarest(sets) };
    }
    sets.extend(usable(open));
    Known { exact: None, required: rarest(sets) }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::pattern;

    fn check(pattern: &str, expected: &[&str]) {
        let found = required(&pattern::compile(pattern.as_bytes(), false).unwrap().tree);
        let text = |set: &Set| String::from_utf8(set.join(&b'|')).unwrap();
        assert_eq!(found.iter().map(text).collect::<Vec<_>>(), expected, "{pattern}");
    }

    #[test]
    fn the_rarest_sets_that_every_match_contains_are_found() {
        check(r"(?i)union\s+select", &["select", "union"]);
        check(r"(?i)(?:sleep|benchmark)\s*\(", &["benchmark|sleep", "("]);
        check(r"(?i)[\s;]on[a-z]{3,50}\s*=[^=]", &["on", "="]);
        check(r"\$\{jndi:", &["${jndi:"]);
        check(r"a?b*.+", &[]);
        check(r"[a-z]+", &[]);
        check(r"(?:abc|x)?d", &[]);
        check(r"x(?:yz){2}", &["xyzyz"]);
    }
}
