//! What a text must contain for a pattern to match it: a set of short texts, one of which is in every match.
//!
//! Enters: a pattern's syntax tree. Leaves: literals in lower case, or nothing where none would be rare enough to help.
//! Guarantees: where no literal of the set is in a text, in any case of its letters, the pattern does not match it.

use regex_syntax::hir::{Class, Hir, HirKind};

/// Most literals of one pattern.
const MAX_SET: usize = 300;
/// Most texts of a part that is spelled out.
const MAX_EXACT: usize = 100;
/// Longest literal; a longer one is cut.
const MAX_LITERAL: usize = 16;
/// Members of a class that is spelled out.
const MAX_CLASS: usize = 6;
/// How likely a literal may be at any one byte of ordinary text.
const MAX_LIKELY: f64 = 0.02;

/// What is known about a part of a pattern.
struct Known {
    /// All texts that it matches, when they are few.
    exact: Option<Vec<Vec<u8>>>,
    /// A set one of which is in all texts that it matches.
    required: Option<Vec<Vec<u8>>>,
}

/// The literals of a pattern.
pub(crate) fn required(tree: &Hir) -> Option<Vec<Vec<u8>>> {
    let set = known(tree).into_required()?;
    (likelihood(&set) <= MAX_LIKELY).then_some(set)
}

impl Known {
    fn nothing() -> Self {
        Self { exact: None, required: None }
    }

    fn exactly(exact: Vec<Vec<u8>>) -> Self {
        Self { exact: Some(exact), required: None }
    }

    fn into_required(self) -> Option<Vec<Vec<u8>>> {
        better(self.required, self.exact.and_then(usable))
    }
}

/// A set with the empty text says nothing.
fn usable(mut set: Vec<Vec<u8>>) -> Option<Vec<Vec<u8>>> {
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

fn better(a: Option<Vec<Vec<u8>>>, b: Option<Vec<Vec<u8>>>) -> Option<Vec<Vec<u8>>> {
    match (a, b) {
        (Some(a), Some(b)) => Some(if likelihood(&a) <= likelihood(&b) { a } else { b }),
        (a, b) => a.or(b),
    }
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
        let Some(set) = part.into_required() else { return Known::nothing() };
        all.extend(set);
    }
    Known { exact: None, required: usable(all) }
}

fn concat(parts: impl Iterator<Item = Known>) -> Known {
    let mut best: Option<Vec<Vec<u8>>> = None;
    let mut open: Vec<Vec<u8>> = vec![Vec::new()];
    let mut whole = true;
    for part in parts {
        let Known { exact, required } = part;
        best = better(best, required);
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
        best = better(best, usable(std::mem::replace(&mut open, next)));
        whole = false;
    }
    if whole {
        Known { exact: Some(open), required: best }
    } else {
        Known { exact: None, required: better(best, usable(open)) }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::pattern;

    fn check(pattern: &str, expected: Option<&[&str]>) {
        let found = required(&pattern::compile(pattern.as_bytes(), false).unwrap().tree);
        let found =
            found.map(|set| set.into_iter().map(|text| String::from_utf8(text).unwrap()).collect::<Vec<_>>());
        assert_eq!(
            found,
            expected.map(|set| set.iter().map(|text| (*text).to_owned()).collect()),
            "{pattern}"
        );
    }

    #[test]
    fn the_rarest_set_that_every_match_contains_is_found() {
        check(r"(?i)union\s+select", Some(&["select"]));
        check(r"(?i)(?:sleep|benchmark)\s*\(", Some(&["benchmark", "sleep"]));
        check(r"\$\{jndi:", Some(&["${jndi:"]));
        check(r"a?b*.+", None);
        check(r"[a-z]+", None);
        check(r"(?:abc|x)?d", None);
        check(r"x(?:yz){2}", Some(&["xyzyz"]));
    }
}
