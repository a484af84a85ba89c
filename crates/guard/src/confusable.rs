//! Which ASCII a character beyond ASCII looks like (UTS #39, section 4), from the table in `data/confusables.txt`.

use std::collections::HashMap;
use std::sync::LazyLock;

static TABLE: LazyLock<HashMap<char, &'static str>> =
    LazyLock::new(|| parse(include_str!("../data/confusables.txt")));

/// The small capitals of the phonetic blocks, which the table leaves out where they are narrower than the capital.
const SMALL_CAPITALS: [(char, char); 25] = [
    ('ᴀ', 'a'),
    ('ʙ', 'b'),
    ('ᴄ', 'c'),
    ('ᴅ', 'd'),
    ('ᴇ', 'e'),
    ('ꜰ', 'f'),
    ('ɢ', 'g'),
    ('ʜ', 'h'),
    ('ɪ', 'i'),
    ('ᴊ', 'j'),
    ('ᴋ', 'k'),
    ('ʟ', 'l'),
    ('ᴍ', 'm'),
    ('ɴ', 'n'),
    ('ᴏ', 'o'),
    ('ᴘ', 'p'),
    ('ꞯ', 'q'),
    ('ʀ', 'r'),
    ('ꜱ', 's'),
    ('ᴛ', 't'),
    ('ᴜ', 'u'),
    ('ᴠ', 'v'),
    ('ᴡ', 'w'),
    ('ʏ', 'y'),
    ('ᴢ', 'z'),
];

/// What it looks like, if that is ASCII letters and digits alone; of the letters lower ones.
pub(crate) fn looks_like(char: char) -> Option<&'static str> {
    TABLE.get(&char).copied()
}

fn parse(table: &'static str) -> HashMap<char, &'static str> {
    let rows = table.lines().filter(|line| !line.starts_with('#')).filter_map(|line| line.split_once(';'));
    rows.filter_map(|(source, target)| Some((character(source)?, ascii(target)?)))
        .filter(|(source, _)| !source.is_ascii())
        .chain(SMALL_CAPITALS.into_iter().filter_map(|(source, target)| Some((source, piece(target)?))))
        .collect()
}

fn character(hex: &str) -> Option<char> {
    char::from_u32(u32::from_str_radix(hex, 16).ok()?)
}

/// Every ASCII letter and digit, and "rn", is a piece of this text; nothing is allocated for a row.
const PIECES: &str = "abcdefghijklmnopqrstuvwxyz0123456789rn";

fn ascii(target: &str) -> Option<&'static str> {
    let mut letters = target.split(' ').map(character);
    let first = letters.next()??.to_ascii_lowercase();
    match letters.next() {
        None => piece(first),
        Some(second) if first == 'r' && second? == 'n' && letters.next().is_none() => PIECES.get(36..),
        // A letter with a mark: the mark is not what is read.
        Some(second) if matches!(u32::from(second?), 0x300..=0x36F) => piece(first),
        Some(_) => None,
    }
}

fn piece(letter: char) -> Option<&'static str> {
    PIECES.find(letter).and_then(|at| PIECES.get(at..=at))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn look_alikes_of_other_scripts_are_known() {
        for (char, expected) in
            [('а', Some("a")), ('ο', Some("o")), ('Ꭺ', Some("a")), ('я', None), ('中', None)]
        {
            assert_eq!(looks_like(char), expected, "{char}");
        }
    }

    #[test]
    fn the_whole_table_is_there() {
        let rows =
            include_str!("../data/confusables.txt").lines().filter(|line| !line.starts_with('#')).count();
        assert_eq!(rows, 6565);
        assert!(TABLE.len() > 1200, "{}", TABLE.len());
    }
}
