//! Patterns over names with `/` between their parts.

use serde::{Deserialize, Serialize};
use std::fmt;
use std::sync::Arc;

/// A pattern over a text with `/` between its parts: `*` is any number of characters but `/`, `**` any at all. Case
/// matters.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(transparent)]
pub struct Glob(Arc<str>);

impl Glob {
    /// Any text is a pattern.
    pub fn new(text: &str) -> Self {
        Self(text.into())
    }

    /// Whether the text is meant. Takes time in proportion to the product of both lengths at most.
    pub fn matches(&self, text: &str) -> bool {
        // For each place in the text, whether the pattern so far can end there.
        let text = text.as_bytes();
        let mut reached = vec![false; text.len() + 1];
        reached.first_mut().into_iter().for_each(|start| *start = true);
        let mut rest = self.0.as_bytes();
        while let Some((first, behind)) = rest.split_first() {
            let next = if *first == b'*' {
                let is_deep = behind.first() == Some(&b'*');
                rest = if is_deep { behind.get(1..).unwrap_or_default() } else { behind };
                swallow(&reached, text, is_deep)
            } else {
                rest = behind;
                let steps = reached.iter().zip(text).map(|(here, byte)| *here && byte == first);
                std::iter::once(false).chain(steps).collect()
            };
            reached = next;
        }
        reached.last().copied().unwrap_or(false)
    }
}

/// Where a star can end that begins at any of these places.
fn swallow(reached: &[bool], text: &[u8], is_deep: bool) -> Vec<bool> {
    let mut inside = false;
    let before = std::iter::once(None).chain(text.iter().map(Some));
    let step = |(here, byte): (&bool, Option<&u8>)| {
        inside = *here || inside && (is_deep || byte != Some(&b'/'));
        inside
    };
    reached.iter().zip(before).map(step).collect()
}

impl fmt::Display for Glob {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_star_stays_within_a_part_and_two_do_not() {
        for (pattern, text, expected) in [
            ("meta-llama/*", "meta-llama/Llama-3", true),
            ("meta-llama/*", "meta-llama/Llama-3/x", false),
            ("meta-llama/*", "evil/meta-llama/Llama-3", false),
            ("meta-llama/**", "meta-llama/Llama-3/x", true),
            ("**/x", "a/b/x", true),
            ("**x", "x", true),
            ("gpt-4o*", "gpt-4o", true),
            ("gpt-4o*", "gpt-4o-mini", true),
            ("gpt-4o", "gpt-4o-mini", false),
            ("a*b*c", "a-b-b-c", true),
            ("a*b*c", "a-b-b-d", false),
            ("*", "", true),
            ("", "", true),
            ("", "a", false),
            ("*", "a/b", false),
            ("**", "a/b", true),
            ("ä*", "äé", true),
        ] {
            assert_eq!(Glob::new(pattern).matches(text), expected, "{pattern} on {text}");
        }
    }
}
