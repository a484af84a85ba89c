//! A text in the one form that is compared: lower case, compatibility forms replaced, marks over letters removed, what is
//! invisible removed, look-alikes of Latin letters replaced where a whole word becomes Latin by it.
//!
//! Enters: a text. Leaves: [`Folded`]: characters, where in the text each came from, and which [`Tricks`] there were.
//! Guarantees: at most [`EXPANSION`] characters for each that entered, in one pass. Does not: compose again; a syllable of
//! Hangul stays one character.

use crate::confusable::looks_like;
use icu_normalizer::DecomposingNormalizerBorrowed;

/// Characters that one character becomes at most; the rest is dropped.
pub const EXPANSION: usize = 4;

/// What was done to a text to hide it.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Tricks {
    /// Invisible characters inside words.
    pub invisible: u32,
    /// Characters of the block of tags, which show as nothing.
    pub tags: u32,
    /// Controls of the direction of writing that override it.
    pub direction: u32,
    /// Words of look-alikes that became Latin.
    pub lookalikes: u32,
    /// Letters in forms made for compatibility: full width, mathematical, in circles.
    pub forms: u32,
}

impl Tricks {
    /// How many there are of all kinds.
    pub fn sum(&self) -> u32 {
        let Self { invisible, tags, direction, lookalikes, forms } = *self;
        [tags, direction, lookalikes, forms].iter().fold(invisible, |sum, count| sum.saturating_add(*count))
    }
}

/// A text in the form that is compared.
#[derive(Clone, Debug, Default)]
pub struct Folded {
    /// Its characters.
    pub chars: Vec<char>,
    /// For each, the byte of the text at which what it came from begins.
    pub at: Vec<u32>,
    /// What was done to hide it.
    pub tricks: Tricks,
    /// What its tag characters say.
    pub hidden: String,
}

impl Folded {
    /// Folds a text of less than 4 GiB; what is beyond has its place at the end.
    pub fn of(text: &str) -> Self {
        let mut folded = Self::default();
        folded.chars.reserve(text.len());
        folded.at.reserve(text.len());
        let mut word = Word::default();
        for (at, char) in text.char_indices() {
            let at = u32::try_from(at).unwrap_or(u32::MAX);
            if char.is_ascii() {
                if !char.is_ascii_alphanumeric() {
                    word.end(&mut folded);
                }
                folded.push(char.to_ascii_lowercase(), at);
                continue;
            }
            folded.other(char, at, &mut word);
        }
        word.end(&mut folded);
        folded
    }

    fn push(&mut self, char: char, at: u32) {
        self.chars.push(char);
        self.at.push(at);
    }

    /// A character beyond ASCII.
    fn other(&mut self, char: char, at: u32, word: &mut Word) {
        match kind(char) {
            Kind::Tag => {
                self.tricks.tags = self.tricks.tags.saturating_add(1);
                let shown = u32::from(char).checked_sub(0xE_0000).and_then(char::from_u32);
                self.hidden.extend(shown.filter(|shown| *shown >= ' ' && *shown < '\u{7f}'));
                return;
            }
            Kind::Direction => {
                self.tricks.direction = self.tricks.direction.saturating_add(1);
                return;
            }
            Kind::Invisible => {
                if self.chars.last().is_some_and(char::is_ascii_alphabetic) {
                    self.tricks.invisible = self.tricks.invisible.saturating_add(1);
                }
                return;
            }
            Kind::Syllable => return self.push(char, at),
            Kind::Shown => {}
        }
        let lookalike = looks_like(char).or_else(|| char.to_lowercase().next().and_then(looks_like));
        let from = self.chars.len();
        let form = DecomposingNormalizerBorrowed::new_nfkd().normalize_iter(std::iter::once(char));
        let shown = form.filter(|char| !is_mark(*char)).flat_map(char::to_lowercase);
        for char in shown.take(EXPANSION) {
            self.push(char, at);
        }
        let became = self.chars.get(from..).unwrap_or_default();
        if became.first().is_some_and(char::is_ascii_alphanumeric) {
            let is_form = is_form(char);
            self.tricks.forms = self.tricks.forms.saturating_add(u32::from(is_form));
        } else if became.iter().any(|char| char.is_alphanumeric()) || lookalike.is_some() {
            word.replace(from, self.chars.len(), lookalike);
        } else if !became.is_empty() {
            word.end(self);
        }
    }
}

/// Whether an ASCII letter is only drawn otherwise, rather than one with a mark of some language.
fn is_form(char: char) -> bool {
    matches!(u32::from(char), 0x2100..=0x214F | 0x2460..=0x24FF | 0xFF00..=0xFF5E | 0x1_D400..=0x1_D7FF | 0x1_F100..=0x1_F1FF)
}

/// The characters of a word that have a look-alike, until it is known whether all have.
#[derive(Default)]
struct Word {
    /// From where to where in the folded text, and what it looks like.
    replaced: Vec<(usize, usize, &'static str)>,
    is_other: bool,
}

impl Word {
    /// Characters of one word are remembered up to here; a longer one is not looked at.
    const LONGEST: usize = 64;

    fn replace(&mut self, from: usize, to: usize, by: Option<&'static str>) {
        match by {
            Some(by) if self.replaced.len() < Self::LONGEST => self.replaced.push((from, to, by)),
            Some(_) | None => self.is_other = true,
        }
    }

    /// At its end: replaces, if nothing is left that is not Latin.
    fn end(&mut self, folded: &mut Folded) {
        if !self.is_other && !self.replaced.is_empty() {
            for (from, to, by) in &self.replaced {
                // One character stays one, so that places stay: of "rn" for an m the m, of others their first.
                let first = if *by == "rn" { Some('m') } else { by.chars().next() };
                if let (Some(place), Some(first)) = (folded.chars.get_mut(*from), first) {
                    *place = first;
                }
                for rest in folded.chars.iter_mut().take(*to).skip(from + 1) {
                    *rest = GONE;
                }
            }
            folded.tricks.lookalikes = folded.tricks.lookalikes.saturating_add(1);
        }
        self.replaced.clear();
        self.is_other = false;
    }
}

/// In the place of a character that is no more; no word ends by it.
pub const GONE: char = '\u{200b}';

enum Kind {
    Tag,
    Direction,
    Invisible,
    Syllable,
    Shown,
}

/// Default_Ignorable_Code_Point of the Unicode character database, told apart.
fn kind(char: char) -> Kind {
    match u32::from(char) {
        0xE_0000..=0xE_007F => Kind::Tag,
        0x202D | 0x202E | 0x2066..=0x2069 | 0x202A..=0x202C => Kind::Direction,
        0xAD | 0x34F | 0x61C | 0x115F | 0x1160 | 0x17B4 | 0x17B5 | 0x180B..=0x180F | 0x200B..=0x200F => {
            Kind::Invisible
        }
        0x2060..=0x2065 | 0x206A..=0x206F | 0x3164 | 0xFE00..=0xFE0F | 0xFEFF | 0xFFA0 | 0xFFF0..=0xFFF8 => {
            Kind::Invisible
        }
        0x1_BCA0..=0x1_BCA3 | 0x1_D173..=0x1_D17A | 0xE_0080..=0xE_0FFF => Kind::Invisible,
        0xAC00..=0xD7A3 | 0x3400..=0x4DBF | 0x4E00..=0x9FFF => Kind::Syllable,
        _ => Kind::Shown,
    }
}

/// Marks that stand over or under a letter of any script, the vowel signs of Arabic and Hebrew, the sound marks of kana.
fn is_mark(char: char) -> bool {
    matches!(u32::from(char), 0x300..=0x36F | 0x483..=0x489 | 0x591..=0x5BD | 0x610..=0x61A | 0x64B..=0x65F
        | 0x1AB0..=0x1AFF | 0x1DC0..=0x1DFF | 0x20D0..=0x20FF | 0x3099 | 0x309A | 0xFE20..=0xFE2F)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_text_is_folded_to_what_it_shows() {
        for (text, expected) in [
            ("Ignore ALL", "ignore all"),
            ("ｉｇｎｏｒｅ", "ignore"),
            ("𝐢𝐠𝐧𝐨𝐫𝐞 Ⓐ", "ignore a"),
            ("i\u{200b}gn\u{ad}ore", "ignore"),
            ("instrução über", "instrucao uber"),
            ("іgnоrе", "ignore"),
            ("система", "система"),
            ("무시", "무시"),
            ("ɪɢɴᴏʀᴇ", "ignore"),
            ("ʏᴏᴜʀ", "your"),
        ] {
            let folded = Folded::of(text);
            let shown: String = folded.chars.iter().filter(|char| **char != GONE).collect();
            assert_eq!(shown, expected, "{text}");
            assert_eq!(folded.chars.len(), folded.at.len());
        }
    }

    #[test]
    fn tag_characters_are_read_and_counted() {
        let text: String =
            "hi".chars().filter_map(|char| char::from_u32(0xE_0000 + u32::from(char))).collect();
        let folded = Folded::of(&format!("a{text}b"));
        assert_eq!((folded.hidden.as_str(), folded.tricks.tags), ("hi", 2));
        assert_eq!(folded.chars, ['a', 'b']);
    }

    #[test]
    fn tricks_are_counted_and_plain_foreign_text_has_none() {
        assert_eq!(Folded::of("Это обычный русский текст, für alle, 你好").tricks, Tricks::default());
        assert_eq!(Folded::of("ｈｉ").tricks.forms, 2);
        assert_eq!(Folded::of("раsswоrd").tricks.lookalikes, 1);
    }
}
