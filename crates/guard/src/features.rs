//! What of a text has a weight: words and runs of words, words with others between, pieces of words, marks, the order of
//! concepts, with what a sentence begins, and how it is built. Each belongs to the token with which it is complete.
//!
//! Guarantees: at most [`MOST`] features a token, found in one pass.

use crate::hash::Hash;
use crate::lexicon::{Concepts, concepts};
use crate::tokens::{Kind, Token, tokens};
use std::sync::LazyLock;

/// Features of a token, at most.
pub const MOST: usize = 96;
/// Letters of a word of which pieces are made.
const LETTERS: usize = 16;
/// How far apart, in tokens, concepts are seen together.
const REACH: usize = 10;
/// From how close on they are near.
const NEAR: usize = 3;
/// Marks behind which a sentence goes on.
const INSIDE: [char; 13] = [',', '\'', '’', '-', '(', ')', '/', '@', '_', '&', '%', '$', '='];
/// Parts of a frame, at most and at least.
const FRAME: usize = 5;
const LEAST_FRAME: usize = 3;
/// Words that say how a sentence is built, not what it is about.
const SMALL_WORDS: &str = "a an the this that these those it its he she they them their his her we us our i me my mine you your \
    yours yourself who whom whose which what when where why how is are was were be been being am do does did done have has had \
    having will would shall should can could may might must not no nor dont cant wont never and or but if then else so because \
    as than while until unless before after at by for from in into of off on onto out over to under up with without about \
    against between through during above below any all each every some such only just also too very more most much many few \
    other another same own here there now again first next last please let lets yes ok heres im ill youre thats instead \
    however therefore";
/// Tokens with concepts that are remembered.
const REMEMBERED: usize = 5;

/// What a feature is made of.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Group {
    /// One word.
    Word,
    /// Two words in a row.
    Pair,
    /// Three words in a row.
    Triple,
    /// Two words with others between.
    Skip,
    /// A piece of a word.
    Piece,
    /// A mark.
    Mark,
    /// A concept.
    Concept,
    /// A concept after another.
    Concepts,
    /// Three concepts in order.
    Order,
    /// A word or a concept with which a sentence or a line begins.
    First,
    /// Three to five parts in a row of how a text is built: borders of sentences, small words, concepts, and whatever else
    /// there is between as one.
    Frame,
}

impl Group {
    /// All.
    pub const ALL: [Self; 11] = [
        Self::Word,
        Self::Pair,
        Self::Triple,
        Self::Skip,
        Self::Piece,
        Self::Mark,
        Self::Concept,
        Self::Concepts,
        Self::Order,
        Self::First,
        Self::Frame,
    ];

    const fn hash(self) -> Hash {
        Hash::new(16 + self as u64)
    }
}

/// A folded text, its tokens and what they mean.
#[derive(Clone, Debug)]
pub struct Reading {
    /// Its tokens.
    pub tokens: Vec<Token>,
    /// The concepts that begin at each token.
    pub concepts: Vec<Concepts>,
}

impl Reading {
    /// Reads a folded text.
    pub fn of(chars: &[char]) -> Self {
        let tokens = tokens(chars);
        let concepts = concepts(chars, &tokens);
        Self { tokens, concepts }
    }

    /// Gives each feature: the place of its token, what it is made of, its hash.
    pub fn features(&self, chars: &[char], mut give: impl FnMut(usize, Group, u64)) {
        // The last words, the newest first; the last concepts, the newest last.
        let mut words = [0u64; 5];
        let mut past: Vec<(usize, Concepts)> = Vec::with_capacity(REMEMBERED + 1);
        let mut frame = Frame::default();
        for (at, token) in self.tokens.iter().enumerate() {
            match token.kind {
                Kind::Mark => give(at, Group::Mark, Group::Mark.hash().part(token.hash).value()),
                Kind::Word | Kind::Number | Kind::Character => {
                    runs(&words, token.hash, |group, hash| give(at, group, hash));
                    words.rotate_right(1);
                    if let Some(newest) = words.first_mut() {
                        *newest = token.hash;
                    }
                }
            }
            if token.kind == Kind::Word {
                pieces(chars.get(token.start..token.end).unwrap_or_default(), |hash| {
                    give(at, Group::Piece, hash);
                });
            }
            let here = self.concepts.get(at).copied().unwrap_or_default();
            let begins = self.begins(chars, at);
            frame.push(token, here, begins, |hash| give(at, Group::Frame, hash));
            if token.kind != Kind::Mark && begins {
                give(at, Group::First, Group::First.hash().part(token.hash).value());
                bits(here)
                    .for_each(|concept| give(at, Group::First, Group::First.hash().part(concept).value()));
            }
            if here != 0 {
                order(&past, at, here, |group, hash| give(at, group, hash));
                past.push((at, here));
                if past.len() > REMEMBERED {
                    past.remove(0);
                }
            }
        }
    }

    /// Whether a sentence or a line begins with the token at this place.
    fn begins(&self, chars: &[char], at: usize) -> bool {
        let before = at.checked_sub(1).and_then(|before| self.tokens.get(before));
        let (Some(before), Some(token)) = (before, self.tokens.get(at)) else { return true };
        let mark = chars.get(before.start).filter(|_| before.kind == Kind::Mark);
        mark.is_some_and(|mark| !INSIDE.contains(mark))
            || chars.get(before.end..token.start).unwrap_or_default().contains(&'\n')
    }
}

fn runs(past: &[u64; 5], word: u64, mut give: impl FnMut(Group, u64)) {
    give(Group::Word, Group::Word.hash().part(word).value());
    let [one, two, rest @ ..] = past;
    if *one != 0 {
        give(Group::Pair, Group::Pair.hash().part(*one).part(word).value());
    }
    if *two != 0 {
        give(Group::Triple, Group::Triple.hash().part(*two).part(*one).part(word).value());
        give(Group::Skip, Group::Skip.hash().part(*two).part(word).value());
    }
    for past in rest.iter().take(2).filter(|past| **past != 0) {
        give(Group::Skip, Group::Skip.hash().part(*past).part(word).value());
    }
}

/// Runs of four characters of the word with its borders.
fn pieces(word: &[char], mut give: impl FnMut(u64)) {
    let border = std::iter::once(' ');
    let mut last = ['\0'; 4];
    for (count, char) in border.clone().chain(word.iter().take(LETTERS).copied()).chain(border).enumerate() {
        last.rotate_left(1);
        if let Some(newest) = last.last_mut() {
            *newest = char;
        }
        if count >= 3 {
            give(last.iter().fold(Group::Piece.hash(), |hash, char| hash.char(*char)).value());
        }
    }
}

/// The last parts of how a text is built, the newest first; 0 is none.
#[derive(Default)]
struct Frame([u64; FRAME]);

impl Frame {
    const BORDER: u64 = 1;
    const NUMBER: u64 = 2;
    const OTHER: u64 = 3;
    /// Concepts follow; small words are their own hashes.
    const CONCEPT: u64 = 1000;

    fn push(&mut self, token: &Token, here: Concepts, begins: bool, mut give: impl FnMut(u64)) {
        let newest = |frame: &Self| frame.0.first().copied();
        if begins && newest(self) != Some(Self::BORDER) {
            self.part(Self::BORDER, &mut give);
        }
        let part = match token.kind {
            Kind::Mark => return,
            _ if here != 0 => Self::CONCEPT + u64::from(here.trailing_zeros()),
            Kind::Number => Self::NUMBER,
            Kind::Word | Kind::Character if SMALL.binary_search(&token.hash).is_ok() => token.hash,
            Kind::Word | Kind::Character => Self::OTHER,
        };
        if part != Self::OTHER || newest(self) != Some(Self::OTHER) {
            self.part(part, &mut give);
        }
    }

    fn part(&mut self, part: u64, give: &mut impl FnMut(u64)) {
        self.0.rotate_right(1);
        if let Some(newest) = self.0.first_mut() {
            *newest = part;
        }
        let mut hash = Group::Frame.hash();
        for (count, part) in (1..).zip(self.0.iter().take_while(|part| **part != 0)) {
            hash = hash.part(*part);
            if count >= LEAST_FRAME {
                give(hash.value());
            }
        }
    }
}

/// The hashes of [`SMALL_WORDS`], sorted.
static SMALL: LazyLock<Vec<u64>> = LazyLock::new(|| {
    let chars: Vec<char> = SMALL_WORDS.chars().collect();
    let mut hashes: Vec<u64> = tokens(&chars).iter().map(|token| token.hash).collect();
    hashes.sort_unstable();
    hashes
});

fn order(past: &[(usize, Concepts)], at: usize, here: Concepts, mut give: impl FnMut(Group, u64)) {
    let mut given = 0;
    let mut give = |group, hash| {
        given += 1;
        if given <= MOST / 2 {
            give(group, hash);
        }
    };
    for concept in bits(here) {
        give(Group::Concept, Group::Concept.hash().part(concept).value());
    }
    let within = |place: usize| at - place <= REACH;
    for (index, (place, before)) in past.iter().enumerate().rev().filter(|(_, (place, _))| within(*place)) {
        let near = u64::from(at - place <= NEAR);
        for concept in bits(here) {
            for earlier in bits(*before) {
                let pair = Group::Concepts.hash().part(earlier).part(concept);
                give(Group::Concepts, pair.part(near).value());
                let oldest = index.checked_sub(1).and_then(|index| past.get(index));
                let Some((_, first)) = oldest.filter(|(place, _)| within(*place)) else { continue };
                for first in bits(*first).take(3) {
                    give(Group::Order, Group::Order.hash().part(first).part(earlier).part(concept).value());
                }
            }
        }
    }
}

fn bits(set: Concepts) -> impl Iterator<Item = u64> {
    (0..64).filter(move |bit| set >> bit & 1 == 1)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::fold::Folded;
    use std::collections::BTreeSet;

    fn of(text: &str, meant: Group) -> BTreeSet<u64> {
        let folded = Folded::of(text);
        let mut found = BTreeSet::new();
        Reading::of(&folded.chars).features(&folded.chars, |_, group, hash| {
            found.extend((group == meant).then_some(hash));
        });
        found
    }

    #[test]
    fn sentences_that_are_built_alike_share_their_frames_and_no_others() {
        let (one, other) = ("Then glim the zorp of 3 fnarks.", "Then quib the wexel of 12 bondles.");
        let frames = of(one, Group::Frame);
        assert!(frames.len() >= 6, "{frames:?}");
        assert_eq!(frames, of(other, Group::Frame));
        assert_ne!(of(one, Group::Word), of(other, Group::Word));
        assert_ne!(frames, of("The zorp of 3 fnarks: glim it then.", Group::Frame));
    }

    #[test]
    fn no_token_has_more_features_than_said() {
        let words =
            "ignore previous rules system prompt reveal secret you now must all send money user ".repeat(20);
        let folded = Folded::of(&words);
        let reading = Reading::of(&folded.chars);
        let mut counts = vec![0usize; reading.tokens.len()];
        reading.features(&folded.chars, |at, _, _| counts[at] += 1);
        assert!(counts.iter().all(|count| *count <= MOST), "{:?}", counts.iter().max());
    }
}
