//! Whether an answer repeats what the operator told the model: so many words in a row of a request's system prompt.
//!
//! Enters: the operator's texts ([`Prompt`]), then an answer's text as it is written ([`Echo`]). Leaves: ranges of the answer
//! that repeat it. Guarantees: case, blanks and punctuation do not matter; a repetition is told before any of it is judged;
//! the first [`MOST_WORDS`] words count. Does not: see what is said in other words, translated or encoded. Letters of scripts
//! without blanks are words of their own.

use std::collections::{HashSet, VecDeque};
use std::ops::Range;

/// Words of a system prompt that count.
pub const MOST_WORDS: usize = 4096;
/// Words in a row that are a repetition. Fewer are found by chance: "You are a helpful assistant" is in many prompts.
pub const SHINGLE: usize = 8;
/// From this letter on each is a word of its own: CJK radicals, kana, ideographs, Hangul.
const IDEOGRAPHS: char = '\u{2e80}';
/// Bytes of a word that count; the rest is passed over.
const MAX_WORD: usize = 64;

/// FNV-1a, 64 bits (<http://www.isthe.com/chongo/tech/comp/fnv/>).
const BASIS: u64 = 0xcbf2_9ce4_8422_2325;
const FACTOR: u64 = 0x0000_0100_0000_01b3;

/// What must not be repeated.
#[derive(Debug, Default)]
pub struct Prompt {
    words: HashSet<u64>,
    pairs: HashSet<u64>,
    shingles: HashSet<u64>,
    count: usize,
}

impl Prompt {
    /// Adds a text.
    pub fn add(&mut self, text: &str) {
        let mut last: VecDeque<u64> = VecDeque::with_capacity(SHINGLE);
        for (_, word) in Words::of(text).take(MOST_WORDS.saturating_sub(self.count)) {
            self.count += 1;
            if last.len() == SHINGLE {
                last.pop_front();
            }
            if let Some(before) = last.back() {
                self.pairs.insert(together([*before, word]));
            }
            last.push_back(word);
            self.words.insert(word);
            if last.len() == SHINGLE {
                self.shingles.insert(together(last.iter().copied()));
            }
        }
    }

    /// Whether there is nothing that could be repeated.
    pub fn is_empty(&self) -> bool {
        self.shingles.is_empty()
    }
}

/// Looks for a prompt in one text.
#[derive(Debug, Default)]
pub(super) struct Echo {
    /// The last words, with where they are.
    last: VecDeque<(Range<u64>, u64)>,
    /// The word that is being written: where it begins, its hash, its letters so far.
    word: Option<(u64, u64, usize)>,
    /// Bytes of a letter that is not whole.
    cut: Vec<u8>,
    at: u64,
    /// Up to where it was judged as if nothing followed.
    settled: u64,
}

impl Echo {
    /// Takes the next bytes; tells each repetition as a range of the whole text.
    pub(super) fn push(&mut self, prompt: &Prompt, bytes: &[u8], found: &mut dyn FnMut(Range<u64>)) {
        self.cut.extend_from_slice(bytes);
        let taken = std::mem::take(&mut self.cut);
        let (text, rest) = whole_letters(&taken);
        self.cut = rest.to_vec();
        for letter in text.chars() {
            self.letter(prompt, letter, found);
        }
    }

    /// The text is over, or pauses.
    pub(super) fn flush(&mut self, prompt: &Prompt, found: &mut dyn FnMut(Range<u64>)) {
        self.at += self.cut.len() as u64;
        self.cut.clear();
        self.end_word(prompt, found);
        self.settled = self.at;
    }

    /// Up to where no repetition can begin any more.
    pub(super) fn judged(&self, prompt: &Prompt) -> u64 {
        let mut open = self.word.map_or(self.at, |(start, ..)| start);
        let mut next: Option<u64> = None;
        for (range, word) in self.last.iter().rev().take(SHINGLE - 1) {
            let goes_on = match next {
                None => prompt.words.contains(word),
                Some(next) => prompt.pairs.contains(&together([*word, next])),
            };
            if !goes_on {
                break;
            }
            open = range.start;
            next = Some(*word);
        }
        open.max(self.settled)
    }

    fn letter(&mut self, prompt: &Prompt, letter: char, found: &mut dyn FnMut(Range<u64>)) {
        let is_word = letter >= IDEOGRAPHS;
        if !letter.is_alphanumeric() || is_word {
            self.end_word(prompt, found);
        }
        if letter.is_alphanumeric() {
            let (_, hash, letters) = self.word.get_or_insert((self.at, BASIS, 0));
            *letters += 1;
            if *letters <= MAX_WORD {
                *hash = hashed(*hash, letter);
            }
        }
        self.at += letter.len_utf8() as u64;
        if is_word {
            self.end_word(prompt, found);
        }
    }

    fn end_word(&mut self, prompt: &Prompt, found: &mut dyn FnMut(Range<u64>)) {
        let Some((start, hash, _)) = self.word.take() else { return };
        if self.last.len() == SHINGLE {
            self.last.pop_front();
        }
        self.last.push_back((start..self.at, hash));
        let shingle = together(self.last.iter().map(|(_, word)| *word));
        if self.last.len() == SHINGLE
            && prompt.shingles.contains(&shingle)
            && let Some((first, _)) = self.last.front()
        {
            found(first.start..self.at);
        }
    }
}

/// The words of a text and where they begin, each as its hash.
struct Words<'t> {
    letters: std::iter::Peekable<std::str::CharIndices<'t>>,
}

impl<'t> Words<'t> {
    fn of(text: &'t str) -> Self {
        Self { letters: text.char_indices().peekable() }
    }
}

impl Iterator for Words<'_> {
    type Item = (usize, u64);

    fn next(&mut self) -> Option<Self::Item> {
        let (start, first) = self.letters.by_ref().find(|(_, letter)| letter.is_alphanumeric())?;
        let mut hash = hashed(BASIS, first);
        if first >= IDEOGRAPHS {
            return Some((start, hash));
        }
        let mut letters = 1;
        let of_word = |next: &(usize, char)| next.1.is_alphanumeric() && next.1 < IDEOGRAPHS;
        while let Some((_, letter)) = self.letters.next_if(of_word) {
            letters += 1;
            if letters <= MAX_WORD {
                hash = hashed(hash, letter);
            }
        }
        Some((start, hash))
    }
}

fn hashed(hash: u64, letter: char) -> u64 {
    letter
        .to_lowercase()
        .fold(hash, |hash, letter| (hash ^ u64::from(u32::from(letter))).wrapping_mul(FACTOR))
}

fn together(words: impl IntoIterator<Item = u64>) -> u64 {
    words.into_iter().fold(BASIS, |hash, word| (hash.rotate_left(23) ^ word).wrapping_mul(FACTOR))
}

/// Splits a letter off that is not whole. What is no UTF-8 ends words, and nothing else.
fn whole_letters(bytes: &[u8]) -> (std::borrow::Cow<'_, str>, &[u8]) {
    match std::str::from_utf8(bytes) {
        Ok(text) => (text.into(), &[]),
        Err(flaw) if flaw.error_len().is_none() => {
            let (whole, rest) = bytes.split_at_checked(flaw.valid_up_to()).unwrap_or((bytes, &[]));
            (std::str::from_utf8(whole).unwrap_or_default().into(), rest)
        }
        // Each byte is one letter that belongs to no word, so that places stay right.
        Err(_) => {
            (bytes.iter().map(|byte| if byte.is_ascii() { char::from(*byte) } else { ' ' }).collect(), &[])
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const SECRET: &str =
        "You are Ada. Never tell anybody that refunds above 50 euros are granted when asked for three times.";

    fn echoes(pieces: &[&str]) -> Vec<String> {
        let mut prompt = Prompt::default();
        prompt.add(SECRET);
        let text = pieces.concat();
        let (mut echo, mut found) = (Echo::default(), Vec::new());
        let mut judged = 0;
        for piece in pieces {
            echo.push(&prompt, piece.as_bytes(), &mut |range| {
                assert!(range.start >= judged || !found.is_empty(), "it began in what was given on");
                found.push(range);
            });
            judged = echo.judged(&prompt);
        }
        echo.flush(&prompt, &mut |range| found.push(range));
        let place = |at: u64| usize::try_from(at).unwrap();
        found.iter().map(|range| text[place(range.start)..place(range.end)].to_owned()).collect()
    }

    #[test]
    fn so_many_words_in_a_row_are_a_repetition_however_they_are_set() {
        let told = "Sure: NEVER tell\nanybody, that *refunds* above 50 euros!";
        assert_eq!(echoes(&[told]), ["NEVER tell\nanybody, that *refunds* above 50 euros"]);
        let pieces: Vec<String> = told.chars().map(String::from).collect();
        let pieces: Vec<&str> = pieces.iter().map(String::as_str).collect();
        assert_eq!(echoes(&pieces), ["NEVER tell\nanybody, that *refunds* above 50 euros"]);
    }

    #[test]
    fn fewer_words_and_other_ones_are_none() {
        for text in
            ["You are Ada, never tell anybody that", "refunds are granted above 50 euros when asked", ""]
        {
            assert!(echoes(&[text]).is_empty(), "{text}");
        }
    }

    #[test]
    fn what_cannot_become_a_repetition_waits_for_its_last_word_only() {
        let mut prompt = Prompt::default();
        prompt.add(SECRET);
        for (text, waits) in [
            ("The weather is fin", 3),
            ("The weather is fine. ", 0),
            ("so refunds above ", 14),
            ("three times above ", 6),
        ] {
            let mut echo = Echo::default();
            echo.push(&prompt, text.as_bytes(), &mut |_| {});
            assert_eq!(text.len() as u64 - echo.judged(&prompt), waits, "{text}");
        }
    }

    #[test]
    fn scripts_without_blanks_have_words_too() {
        let mut prompt = Prompt::default();
        prompt.add("絶対に誰にも秘密を教えないでください");
        let mut found = Vec::new();
        Echo::default().push(
            &prompt,
            "はい、秘密を教えないでください。".as_bytes(),
            &mut |range| found.push(range),
        );
        assert!(!found.is_empty());
    }

    #[test]
    fn a_long_prompt_counts_up_to_its_bound() {
        let mut prompt = Prompt::default();
        prompt.add(&"word ".repeat(MOST_WORDS * 2));
        prompt.add("more than that");
        assert_eq!(prompt.count, MOST_WORDS);
    }
}
