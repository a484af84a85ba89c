//! The shapes of secrets, and what tells a secret from a placeholder.
//!
//! Enters: a text and where a pattern's prefix was found in it. Leaves: the range of the secret. Guarantees: looks at no
//! more than a shape's own bound. Does not: know any vendor (`secrets`).

use std::ops::Range;

/// Most bytes between a field's name and its value.
const MAX_ASSIGNMENT: usize = 16;

/// What a secret's characters are.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Alphabet {
    /// `A-Z2-7`.
    Base32,
    /// `0-9a-f`.
    Hex,
    Alnum,
    /// And `_`.
    Word,
    /// And `_-`.
    Url,
    /// And `_-.`.
    Dotted,
    /// `A-Za-z0-9+/=`.
    Base64,
    /// `A-Z0-9-`.
    UpperDash,
}

impl Alphabet {
    pub(super) fn has(self, byte: u8) -> bool {
        match self {
            Self::Base32 => matches!(byte, b'A'..=b'Z' | b'2'..=b'7'),
            Self::Hex => matches!(byte, b'0'..=b'9' | b'a'..=b'f'),
            Self::Alnum => byte.is_ascii_alphanumeric(),
            Self::Word => byte.is_ascii_alphanumeric() || byte == b'_',
            Self::Url => byte.is_ascii_alphanumeric() || matches!(byte, b'_' | b'-'),
            Self::Dotted => byte.is_ascii_alphanumeric() || matches!(byte, b'_' | b'-' | b'.'),
            Self::Base64 => byte.is_ascii_alphanumeric() || matches!(byte, b'+' | b'/' | b'='),
            Self::UpperDash => byte.is_ascii_uppercase() || byte.is_ascii_digit() || byte == b'-',
        }
    }

    /// How many of the first bytes are of it, at most `max`.
    pub(super) fn run(self, bytes: &[u8], max: usize) -> usize {
        bytes.iter().take(max).take_while(|byte| self.has(**byte)).count()
    }
}

/// What follows a prefix.
#[derive(Clone, Copy, Debug)]
pub(super) enum Shape {
    /// So many characters, at least and at most, and then none of their kind.
    Run(Alphabet, usize, usize),
    /// The prefix is a field's name: an assignment sign, quotes, then as [`Shape::Run`].
    Field(Alphabet, usize, usize),
    /// Written out: from the text and the place of the prefix to the secret's range.
    Custom(fn(&[u8], Range<usize>) -> Option<Range<usize>>),
}

impl Shape {
    /// The secret whose prefix is at `prefix`.
    pub(super) fn find(self, text: &[u8], prefix: Range<usize>) -> Option<Range<usize>> {
        let (start, body, alphabet, min, max) = match self {
            Self::Custom(find) => return find(text, prefix),
            Self::Run(alphabet, min, max) => (prefix.start, prefix.end, alphabet, min, max),
            Self::Field(alphabet, min, max) => {
                let value = prefix.end + assignment(text.get(prefix.end..)?)?;
                (value, value, alphabet, min, max)
            }
        };
        let length = alphabet.run(text.get(body..)?, max + 1);
        let secret = text.get(body..body + length)?;
        (min..=max).contains(&length).then_some(())?;
        (!is_placeholder(secret)).then_some(start..body + length)
    }

    /// Whether bytes behind the text could make another secret, or a longer one, of what begins with `prefix`.
    pub(super) fn may_go_on(self, text: &[u8], prefix: Range<usize>) -> bool {
        let rest = text.get(prefix.end..).unwrap_or_default();
        match self {
            Self::Run(alphabet, _, max) => alphabet.run(rest, max + 1) == rest.len(),
            Self::Field(alphabet, _, max) => {
                let is_sign = |byte: &&u8| b"\"'\\ \t>:=".contains(*byte);
                let sign = rest.iter().take(MAX_ASSIGNMENT).take_while(is_sign).count();
                let value = rest.get(sign..).unwrap_or_default();
                alphabet.run(value, max + 1) == value.len()
            }
            // None of them has a blank, but for private keys, which are asked for apart.
            Self::Custom(_) => rest.iter().all(u8::is_ascii_graphic),
        }
    }
}

/// Whether a token may begin here: nothing of a longer word stands before it. An escape such as `\n` is no word.
pub(super) fn begins_word(text: &[u8], at: usize) -> bool {
    let before = |back: usize| at.checked_sub(back).and_then(|at| text.get(at)).copied();
    match before(1) {
        None => true,
        Some(b'n' | b'r' | b't') if before(2) == Some(b'\\') => true,
        Some(byte) => !Alphabet::Url.has(byte),
    }
}

/// Length of what separates a field's name from its value: quotes, blanks and exactly one kind of sign.
fn assignment(bytes: &[u8]) -> Option<usize> {
    let is_blank = |byte: u8| matches!(byte, b'"' | b'\'' | b'\\' | b' ' | b'\t' | b'>');
    let length = bytes
        .iter()
        .take(MAX_ASSIGNMENT)
        .take_while(|byte| is_blank(**byte) || matches!(byte, b':' | b'='))
        .count();
    let has_sign = bytes.get(..length)?.iter().any(|byte| matches!(byte, b':' | b'='));
    has_sign.then_some(length)
}

/// Bits of information per byte of a text, by how often each byte occurs in it.
pub(super) fn entropy(bytes: &[u8]) -> f32 {
    let mut counts = [0u16; 256];
    for byte in bytes {
        if let Some(count) = counts.get_mut(usize::from(*byte)) {
            *count = count.saturating_add(1);
        }
    }
    let total = bytes.len().min(usize::from(u16::MAX));
    let total = f32::from(u16::try_from(total).unwrap_or(u16::MAX)).max(1.0);
    let share = |count: u16| f32::from(count) / total;
    counts.iter().filter(|count| **count > 0).map(|count| -share(*count) * share(*count).log2()).sum()
}

/// Words that stand where a secret would.
const PLACEHOLDERS: [&[u8]; 12] = [
    b"example",
    b"xxxx",
    b"placeholder",
    b"redacted",
    b"changeme",
    b"your",
    b"dummy",
    b"12345678",
    b"abcdefg",
    b"00000000",
    b"....",
    b"____",
];

/// Whether somebody wrote this to stand for a secret, or to explain one.
pub(super) fn is_placeholder(secret: &[u8]) -> bool {
    let looked_at = secret.get(..secret.len().min(256)).unwrap_or(secret);
    let lower = looked_at.to_ascii_lowercase();
    let named = PLACEHOLDERS.iter().any(|word| lower.windows(word.len()).any(|part| part == *word));
    // A random text of n characters has nearly log2(n) bits, up to what its alphabet has; hexadecimal digits have four.
    let least = if lower.len() < 24 { 2.6 } else { 2.9 };
    named || entropy(looked_at) < least
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn placeholders_are_told_from_secrets() {
        for secret in ["k3J9fLq0ZxVb7NwR2tYc", "9f86d081884c7d659a2feaa0c55ad015", "IOSFQDNN7QW2T4LK"] {
            assert!(!is_placeholder(secret.as_bytes()), "{secret}");
        }
        for text in [
            "xxxxxxxxxxxxxxxxxxxx",
            "IOSFODNN7EXAMPLE",
            "your-key-goes-here-1",
            "aaaaaaaaaaaaaaaaaaaaaaaab",
            "",
        ] {
            assert!(is_placeholder(text.as_bytes()), "{text}");
        }
    }

    #[test]
    fn a_token_begins_at_a_word_or_behind_an_escape() {
        for (text, at, expected) in
            [("AKIA", 0, true), ("xAKIA", 1, false), (r"\nAKIA", 2, true), ("=AKIA", 1, true)]
        {
            assert_eq!(begins_word(text.as_bytes(), at), expected, "{text}");
        }
    }
}
