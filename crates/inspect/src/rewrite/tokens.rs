//! Where the values of a JSON text stand in it.
//!
//! Enters: a text that is JSON (RFC 8259). Leaves: its tokens with their places. Guarantees: linear, and nothing is kept. Does
//! not: find out whether it is JSON ([`is_json`] does, and must be asked first).

use serde::de::IgnoredAny;
use std::ops::Range;

/// What a token is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Kind {
    /// `{`
    Object,
    /// `[`
    Array,
    /// `}` or `]`
    Close,
    /// The name of a member, with its quotes.
    Name,
    /// A string, with its quotes.
    Text,
    /// A number or a literal.
    Bare,
}

/// One token; commas and colons are none.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Token {
    pub(crate) kind: Kind,
    pub(crate) range: Range<usize>,
}

/// Whether a text is one JSON value and nothing else, at most 128 levels deep.
pub(crate) fn is_json(text: &str) -> bool {
    serde_json::from_str::<IgnoredAny>(text).is_ok()
}

/// The tokens of a JSON text, in order.
#[derive(Clone)]
pub(crate) struct Tokens<'t> {
    text: &'t [u8],
    at: usize,
}

impl<'t> Tokens<'t> {
    pub(crate) fn of(text: &'t str) -> Self {
        Self::from(text, 0)
    }

    /// From the token that begins there on.
    pub(crate) fn from(text: &'t str, at: usize) -> Self {
        Self { text: text.as_bytes(), at }
    }

    fn rest(&self) -> &'t [u8] {
        self.text.get(self.at..).unwrap_or_default()
    }

    /// Takes so many bytes.
    fn token(&mut self, kind: Kind, length: usize) -> Token {
        let start = self.at;
        self.at = self.text.len().min(start + length);
        Token { kind, range: start..self.at }
    }

    fn text(&mut self) -> Token {
        let mut is_escaped = true;
        let inside = self.rest().iter().take_while(|byte| {
            // The first byte is the opening quote.
            let is_end = **byte == b'"' && !is_escaped;
            is_escaped = **byte == b'\\' && !is_escaped;
            !is_end
        });
        let length = inside.count() + 1;
        let token = self.token(Kind::Text, length);
        let next = self.rest().iter().find(|byte| !byte.is_ascii_whitespace());
        let kind = if next == Some(&b':') { Kind::Name } else { Kind::Text };
        Token { kind, ..token }
    }
}

impl Iterator for Tokens<'_> {
    type Item = Token;

    fn next(&mut self) -> Option<Token> {
        let is_between = |byte: &u8| byte.is_ascii_whitespace() || matches!(byte, b',' | b':');
        self.at += self.rest().iter().take_while(|byte| is_between(byte)).count();
        Some(match self.rest().first()? {
            b'{' => self.token(Kind::Object, 1),
            b'[' => self.token(Kind::Array, 1),
            b'}' | b']' => self.token(Kind::Close, 1),
            b'"' => self.text(),
            _ => {
                let is_bare = |byte: &&u8| !is_between(byte) && !matches!(byte, b'}' | b']');
                let length = self.rest().iter().take_while(is_bare).count();
                self.token(Kind::Bare, length.max(1))
            }
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn tokens_have_their_places() {
        let text = r#" {"a\"" : [1.5e3,"b\\", null,{}],"":"\u00e9"} "#;
        assert!(is_json(text));
        let found: Vec<_> = Tokens::of(text).map(|token| (token.kind, &text[token.range])).collect();
        use Kind::{Array, Bare, Close, Name, Object, Text};
        assert_eq!(
            found,
            [
                (Object, "{"),
                (Name, r#""a\"""#),
                (Array, "["),
                (Bare, "1.5e3"),
                (Text, r#""b\\""#),
                (Bare, "null"),
                (Object, "{"),
                (Close, "}"),
                (Close, "]"),
                (Name, r#""""#),
                (Text, r#""\u00e9""#),
                (Close, "}"),
            ]
        );
    }

    #[test]
    fn what_is_not_one_json_value_is_none() {
        for text in ["", "{", "{} {}", "{'a':1}", "[1,]", "nul", "\u{feff}{}", &"[".repeat(200)] {
            assert!(!is_json(text), "{text}");
        }
    }
}
