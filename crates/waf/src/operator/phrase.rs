//! Lists of phrases, found in one pass whatever the case of their letters.

use std::sync::Arc;

use aho_corasick::{AhoCorasick, AhoCorasickKind, MatchKind};

use crate::transform::Transformation;

/// Most phrases of a list.
const MAX_PHRASES: usize = 200_000;
/// Longer lists are not put into the scanner that all rules share.
const MAX_SHARED: usize = 2_000;

/// A list ready to be searched for.
#[derive(Debug, Clone)]
pub(crate) struct Phrases {
    finder: Arc<AhoCorasick>,
    phrases: Arc<Vec<Vec<u8>>>,
}

impl Phrases {
    /// Phrases between blanks; `|41 42|` are bytes in hexadecimal digits.
    pub(crate) fn of_words(argument: &[u8]) -> Result<Self, String> {
        Self::new(
            argument.split(u8::is_ascii_whitespace).map(bytes).filter(|word| !word.is_empty()).collect(),
        )
    }

    /// One phrase a line; empty lines and those that begin by `#` are none.
    pub(crate) fn of_lines(text: &[u8]) -> Result<Self, String> {
        let lines = text.split(|byte| *byte == b'\n').map(<[u8]>::trim_ascii);
        Self::new(
            lines.filter(|line| !line.is_empty() && !line.starts_with(b"#")).map(<[u8]>::to_vec).collect(),
        )
    }

    fn new(phrases: Vec<Vec<u8>>) -> Result<Self, String> {
        if phrases.is_empty() {
            return Err("a list without phrases matches nothing; name at least one".to_owned());
        }
        if phrases.len() > MAX_PHRASES {
            return Err(format!("more than {MAX_PHRASES} phrases"));
        }
        let finder = AhoCorasick::builder()
            .ascii_case_insensitive(true)
            .match_kind(MatchKind::Standard)
            .kind(Some(AhoCorasickKind::ContiguousNFA))
            .build(&phrases)
            .map_err(|error| format!("phrases: {error}"))?;
        Ok(Self { finder: Arc::new(finder), phrases: Arc::new(phrases) })
    }

    /// The first phrase that ends in the value, as it stands there.
    pub(crate) fn find<'v>(&self, value: &'v [u8]) -> Option<&'v [u8]> {
        let found = self.finder.find(value)?;
        value.get(found.range())
    }

    /// The phrases, for the scanner that all rules share.
    pub(crate) fn literals(&self) -> Option<Vec<Vec<u8>>> {
        let few = self.phrases.len() <= MAX_SHARED;
        few.then(|| self.phrases.iter().map(|phrase| phrase.to_ascii_lowercase()).collect())
    }
}

fn bytes(word: &[u8]) -> Vec<u8> {
    let mut out = Vec::new();
    for (index, part) in word.split(|byte| *byte == b'|').enumerate() {
        let decoded = if index % 2 == 1 { Transformation::HexDecode.apply(part, None) } else { None };
        out.extend_from_slice(decoded.as_deref().unwrap_or(part));
    }
    if word.iter().filter(|byte| **byte == b'|').count() % 2 == 0 { out } else { word.to_vec() }
}
