//! A text that arrives in pieces.
//!
//! Enters: bytes, split anywhere. Leaves: what is looked at of them. Guarantees: memory is bounded by [`LARGEST`] and half of it;
//! where the text was split changes nothing. Bytes that are no UTF-8 are read as U+FFFD.

use crate::verdict::{Role, Verdict, judge_text};
use std::collections::VecDeque;

/// Bytes of a text that are looked at: of a longer one its beginning and its end, half of this each.
pub const LARGEST: usize = 1 << 20;

/// Pieces of a text so far.
#[derive(Clone, Debug, Default)]
pub struct Collected {
    head: Vec<u8>,
    /// The last bytes of what did not fit.
    tail: VecDeque<u8>,
    /// Whether bytes are gone from between.
    is_partial: bool,
}

impl Collected {
    /// Takes the next piece.
    pub fn push(&mut self, piece: &[u8]) {
        let (head, rest) = piece.split_at(piece.len().min(LARGEST - self.head.len()));
        self.head.extend_from_slice(head);
        // Of a piece that is longer than the tail only its end stays.
        let rest = rest.get(rest.len().saturating_sub(LARGEST / 2)..).unwrap_or_default();
        self.tail.extend(rest);
        let over = self.tail.len().saturating_sub(LARGEST / 2);
        self.tail.drain(..over);
        self.is_partial |= !self.tail.is_empty();
    }

    /// What is looked at, and whether that is less than there was.
    fn text(&self) -> (String, bool) {
        if !self.is_partial {
            return (String::from_utf8_lossy(&self.head).into_owned(), false);
        }
        // The tail may be shorter than its half; then the rest of that half is in the head.
        let mut end: Vec<u8> = self.head.iter().copied().skip(LARGEST / 2).collect();
        end.extend(&self.tail);
        let end = end.get(end.len().saturating_sub(LARGEST / 2)..).unwrap_or_default();
        let begin = self.head.get(..LARGEST / 2).unwrap_or_default();
        (format!("{}\n{}", String::from_utf8_lossy(begin), String::from_utf8_lossy(end)), true)
    }

    /// Says what is to be said of the whole. None: the weights in the program are damaged; then nothing must pass for judged.
    #[must_use]
    pub fn judge(&self, role: Role) -> Option<Verdict> {
        let (text, is_partial) = self.text();
        judge_text(&text, is_partial, role)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn of_a_text_that_is_too_long_its_beginning_and_its_end_stay() {
        for (before, after) in [(LARGEST, 0), (LARGEST, 1), (LARGEST, LARGEST / 2), (10, 3 * LARGEST)] {
            let mut whole = vec![b'a'; before];
            whole.extend(std::iter::repeat_n(b'b', after));
            let mut at_once = Collected::default();
            at_once.push(&whole);
            let mut in_pieces = Collected::default();
            whole.chunks(70_001).for_each(|piece| in_pieces.push(piece));
            let (text, is_partial) = at_once.text();
            assert_eq!((&text, is_partial), (&in_pieces.text().0, whole.len() > LARGEST));
            assert_eq!(text.len(), if is_partial { LARGEST + 1 } else { whole.len() });
            assert_eq!(text.as_bytes().last(), whole.last());
        }
    }
}
