//! Words of SQL and what they are, from the table of libinjection, ready to be looked up at once.

use std::sync::LazyLock;

use libinjectionrs::sqli::sqli_data::SQL_KEYWORDS;

use super::token::Kind;

/// Longest text that is looked up; the words of the table are shorter.
pub(super) const LONGEST: usize = 31;
/// Places of the table, a power of two; a third of them is in use.
const PLACES: u64 = 1 << 15;
/// An odd number whose bits are spread (2 to the 64th by the golden ratio).
const SPREAD: u64 = 0x9e37_79b9_7f4a_7c15;

/// A word in capitals, and what it is.
type Known = (&'static [u8], Kind);

/// The words, and which lengths they have by their first byte, a bit each: most texts are seen to be none by that.
struct Table {
    places: Vec<Option<Known>>,
    lengths: [u32; 256],
    /// The same of those that have a space within.
    lengths_of_two: [u32; 256],
}

static TABLE: LazyLock<Table> = LazyLock::new(|| {
    let mut table = Table {
        places: vec![None; usize::try_from(PLACES).unwrap_or_default()],
        lengths: [0; 256],
        lengths_of_two: [0; 256],
    };
    for keyword in SQL_KEYWORDS {
        let word = keyword.word.as_bytes();
        let (Some(kind), Some(first)) = (Kind::of(keyword.token_type), word.first()) else { continue };
        let mut place = place(word);
        while let Some(Some(_)) = table.places.get(place) {
            place = next(place);
        }
        if let Some(slot) = table.places.get_mut(place) {
            *slot = Some((word, kind));
        }
        if let Some(lengths) = table.lengths.get_mut(usize::from(*first)) {
            *lengths |= bit(word.len());
        }
        if word.contains(&b' ')
            && let Some(lengths) = table.lengths_of_two.get_mut(usize::from(*first))
        {
            *lengths |= bit(word.len());
        }
    }
    table
});

/// The bit of a length, none for one that no word has.
fn bit(length: usize) -> u32 {
    u32::try_from(length).ok().and_then(|length| 1_u32.checked_shl(length)).unwrap_or(0)
}

/// Whether any word of a length begins by the first byte of a text.
fn may_be(lengths: &[u32; 256], text: &[u8], length: usize) -> bool {
    let first = text.first().map_or(0, u8::to_ascii_uppercase);
    lengths.get(usize::from(first)).is_some_and(|lengths| lengths & bit(length) != 0)
}

/// Where a word in capitals is, or would begin to be looked for.
fn place(word: &[u8]) -> usize {
    let mut hash = word.len() as u64;
    for piece in word.chunks(8) {
        let mut bytes = [0; 8];
        for (to, from) in bytes.iter_mut().zip(piece) {
            *to = *from;
        }
        hash = (hash ^ u64::from_le_bytes(bytes)).wrapping_mul(SPREAD);
        hash ^= hash >> 32;
    }
    usize::try_from(hash % PLACES).unwrap_or_default()
}

/// The place behind a place, the first behind the last.
fn next(place: usize) -> usize {
    (place + 1) & usize::try_from(PLACES - 1).unwrap_or_default()
}

/// What a word is, in any case of its letters, and how the table writes it; none when the table does not have it.
pub(super) fn look_up(word: &[u8]) -> Option<Known> {
    let table = &*TABLE;
    if !may_be(&table.lengths, word, word.len()) {
        return None;
    }
    let mut capitals = [0; LONGEST];
    for (to, from) in capitals.iter_mut().zip(word) {
        *to = from.to_ascii_uppercase();
    }
    table.find(capitals.get(..word.len())?)
}

/// Two words as one, a space between them.
pub(super) fn look_up_both(first: &[u8], second: &[u8]) -> Option<Known> {
    let length = first.len() + 1 + second.len();
    let table = &*TABLE;
    if !may_be(&table.lengths_of_two, first, length) {
        return None;
    }
    let mut capitals = [0; LONGEST];
    for (to, from) in capitals.iter_mut().zip(first.iter().chain(b" ").chain(second)) {
        *to = from.to_ascii_uppercase();
    }
    table.find(capitals.get(..length)?)
}

impl Table {
    /// Looks a word in capitals up.
    fn find(&self, word: &[u8]) -> Option<Known> {
        let mut place = place(word);
        while let Some(found) = *self.places.get(place)? {
            if found.0 == word {
                return Some(found);
            }
            place = next(place);
        }
        None
    }
}

/// Whether a list of tokens, a letter each, is one that injections have.
pub(super) fn is_injection(print: &[u8]) -> bool {
    let mut key = [b'0'; 9];
    for (to, from) in key.iter_mut().skip(1).zip(print) {
        *to = *from;
    }
    let known = key.get(..=print.len()).and_then(look_up);
    known.is_some_and(|(_, kind)| kind == Kind::Print)
}

#[cfg(test)]
mod tests {
    use libinjectionrs::sqli::sqli_data::lookup_word;

    use super::*;

    #[test]
    fn every_word_of_the_table_is_found_and_no_other() {
        for keyword in SQL_KEYWORDS {
            // What the table has for nothing but a plain word is not found, and is one.
            let found = look_up(keyword.word.to_ascii_lowercase().as_bytes());
            let letter = found.map_or(Kind::Word, |found| found.1).letter();
            assert_eq!(char::from(letter), lookup_word(keyword.word).to_char(), "{}", keyword.word);
            assert!(found.is_none_or(|found| found.0 == keyword.word.as_bytes()), "{}", keyword.word);
            assert_eq!(look_up(format!("{}~", keyword.word).as_bytes()), None, "{}", keyword.word);
        }
        assert!(SQL_KEYWORDS.iter().all(|keyword| keyword.word.len() <= LONGEST));
        assert_eq!(look_up_both(b"not", b"In"), look_up(b"NOT IN"));
    }
}
