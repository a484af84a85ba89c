//! What of a text has a weight: words and runs of words, words with others between, pieces of words, marks, the order of
//! concepts, and with what a sentence begins. Each belongs to the token with which it is complete.
//!
//! Guarantees: at most [`MOST`] features a token, found in one pass.

use crate::hash::Hash;
use crate::lexicon::{Concepts, concepts};
use crate::tokens::{Kind, Token, tokens};

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
}

impl Group {
    /// All.
    pub const ALL: [Self; 10] = [
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
            if token.kind != Kind::Mark && self.begins(chars, at) {
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
