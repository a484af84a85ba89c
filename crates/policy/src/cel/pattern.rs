//! Patterns of `matches`: those of RE2, where `\d`, `\s` and `\w` are of ASCII.
//!
//! Guarantees: a text is looked at once, with at most [`MAX_PROGRAM`] bytes of states for each of its characters; how many a
//! pattern has is known before, and is its [`Pattern::price`].

use regex_lite::{Regex, RegexBuilder};

/// Bytes of the states that a pattern is compiled to.
pub(super) const MAX_PROGRAM: usize = 16 * 1024;
/// What costs one step for a byte of text.
const CHEAP: usize = 1024;
/// Groups within each other.
const MAX_NEST: u32 = 16;

/// A pattern.
#[derive(Debug)]
pub(super) struct Pattern {
    regex: Regex,
    price: u64,
}

impl Pattern {
    /// Reads a pattern; the error is a clause for a person.
    pub(super) fn new(text: &str) -> Result<Self, String> {
        let read = |size: usize| RegexBuilder::new(text).size_limit(size).nest_limit(MAX_NEST).build();
        let (mut size, mut price) = (CHEAP, 1);
        loop {
            match read(size) {
                Ok(regex) => return Ok(Self { regex, price }),
                Err(wrong) if size >= MAX_PROGRAM => {
                    return Err(format!("the pattern cannot be used: {wrong}"));
                }
                Err(_) => (size, price) = (size * 2, price * 2),
            }
        }
    }

    /// Whether it fits anywhere in the text.
    pub(super) fn fits(&self, text: &str) -> bool {
        self.regex.is_match(text)
    }

    /// Steps that each byte of a text costs.
    pub(super) fn price(&self) -> u64 {
        self.price
    }
}
