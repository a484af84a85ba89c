//! A folded text in tokens: words, numbers, characters of scripts without spaces, and marks that give a text its form.
//!
//! Guarantees: one pass; each character is in at most one token.

use crate::fold::GONE;
use crate::hash::Hash;

/// Letters of a word that are looked at; what is longer is cut into several.
pub const LONGEST_WORD: usize = 32;

/// What a token is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Kind {
    /// Letters of a script with spaces.
    Word,
    /// Digits; which ones is not looked at.
    Number,
    /// One character of a script without spaces.
    Character,
    /// A run of one mark: brackets, quotes, dashes and the like.
    Mark,
}

/// A token.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Token {
    /// What it is.
    pub kind: Kind,
    /// Its first character.
    pub start: usize,
    /// The first character behind it.
    pub end: usize,
    pub(crate) hash: u64,
}

/// The tokens of a folded text.
pub fn tokens(chars: &[char]) -> Vec<Token> {
    let mut tokens = Vec::with_capacity(chars.len() / 4);
    let mut at = 0;
    while let Some(first) = chars.get(at).copied() {
        let (kind, end) = match class(first) {
            Class::Space => {
                at += 1;
                continue;
            }
            Class::Character => (Kind::Character, at + 1),
            Class::Digit => (Kind::Number, run(chars, at, |char| class(char) == Class::Digit)),
            Class::Letter => (Kind::Word, run(chars, at, in_word)),
            Class::Mark => (Kind::Mark, run(chars, at, |char| char == first)),
        };
        // An apostrophe inside a word is part of it; before and behind it is not.
        let word = chars.get(at..end).unwrap_or_default();
        let shown = word.iter().filter(|char| !matches!(**char, GONE | '\'' | '’'));
        let hash = match kind {
            Kind::Number => Hash::new(1),
            Kind::Mark => Hash::new(2).char(first).part(u64::from(end - at > 2)),
            Kind::Word | Kind::Character => shown.fold(Hash::new(0), |hash, char| hash.char(*char)),
        };
        tokens.push(Token { kind, start: at, end, hash: hash.value() });
        at = end;
    }
    tokens
}

fn run(chars: &[char], from: usize, belongs: impl Fn(char) -> bool) -> usize {
    let rest = chars.get(from..).unwrap_or_default();
    from + rest.iter().take(LONGEST_WORD).take_while(|char| belongs(**char)).count().max(1)
}

fn in_word(char: char) -> bool {
    matches!(class(char), Class::Letter) || matches!(char, '\'' | '’' | GONE)
}

#[derive(Clone, Copy, PartialEq, Eq)]
enum Class {
    Space,
    Letter,
    Digit,
    Character,
    Mark,
}

fn class(char: char) -> Class {
    if char.is_ascii() {
        return match char {
            'a'..='z' | 'A'..='Z' => Class::Letter,
            '0'..='9' => Class::Digit,
            ' ' | '\t' | '\n' | '\r' => Class::Space,
            _ => Class::Mark,
        };
    }
    match u32::from(char) {
        // Thai, Lao, Burmese, Khmer; kana; ideographs.
        0xE00..=0xEFF
        | 0x1000..=0x109F
        | 0x1780..=0x17FF
        | 0x3040..=0x30FF
        | 0x3400..=0x4DBF
        | 0x4E00..=0x9FFF
        | 0xF900..=0xFAFF
        | 0x2_0000..=0x3_FFFF => Class::Character,
        // Indic scripts join with signs that are no letters; a danda ends a sentence.
        0x964 | 0x965 => Class::Mark,
        0x900..=0xDFF => Class::Letter,
        0x200B => Class::Letter,
        _ if char.is_numeric() => Class::Digit,
        _ if char.is_alphabetic() => Class::Letter,
        _ if char.is_whitespace() => Class::Space,
        _ => Class::Mark,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::fold::Folded;

    fn shown(text: &str) -> Vec<String> {
        let folded = Folded::of(text);
        tokens(&folded.chars)
            .iter()
            .map(|token| folded.chars[token.start..token.end].iter().collect())
            .collect()
    }

    #[test]
    fn a_text_becomes_words_numbers_characters_and_marks() {
        for (text, expected) in [
            ("Don't stop, 42!!", vec!["don't", "stop", ",", "42", "!!"]),
            ("忽略all", vec!["忽", "略", "all"]),
            ("निर्देशों को", vec!["निर्देशों", "को"]),
            ("<|end|>", vec!["<", "|", "end", "|", ">"]),
            ("이전 지시", vec!["이전", "지시"]),
        ] {
            assert_eq!(shown(text), expected, "{text}");
        }
    }

    #[test]
    fn tokens_follow_each_other_and_no_word_is_too_long() {
        let text = "x".repeat(100);
        let all = tokens(&Folded::of(&text).chars);
        assert_eq!(all.len(), 4);
        assert!(all.windows(2).all(|pair| pair[0].end <= pair[1].start));
    }
}
