//! How many different things there were, in half a kilobyte.
//!
//! A bit for each of 4096 places, found by a hash: what meets a bit that is set counts as seen before, so there is never more counted
//! than there was. Beyond half of the places it begins anew, which is the only way in which something counts twice. The place depends on
//! when the window began, to the microsecond: the same events give the same places, but nobody can choose names beforehand that all meet
//! in one.

use std::hash::{DefaultHasher, Hash, Hasher};

const WORDS: usize = 64;
/// Set places after which it begins anew.
const MOST: u32 = 2048;

/// The same number for the same thing.
pub(crate) fn key(thing: impl Hash) -> u64 {
    let mut hasher = DefaultHasher::new();
    thing.hash(&mut hasher);
    hasher.finish()
}

/// What was seen.
#[derive(Debug, Default)]
pub(crate) struct Seen {
    bits: Option<Box<[u64; WORDS]>>,
    set: u32,
    /// When the window began.
    salt: u64,
}

impl Seen {
    /// Whether it was not seen before.
    pub(crate) fn is_new(&mut self, key: u64) -> bool {
        if self.set >= MOST {
            self.clear(self.salt);
        }
        let bits = self.bits.get_or_insert_with(|| Box::new([0; WORDS]));
        let place = usize::try_from((self::key((self.salt, key)) >> 32) % 4096).unwrap_or(0);
        let Some(word) = bits.get_mut(place / 64) else { return false };
        let bit = 1u64 << (place % 64);
        let is_new = *word & bit == 0;
        *word |= bit;
        self.set += u32::from(is_new);
        is_new
    }

    /// Forgets all, for a window that begins at a time in microseconds.
    pub(crate) fn clear(&mut self, begins: u64) {
        self.salt = begins;
        if let Some(bits) = &mut self.bits {
            bits.fill(0);
        }
        self.set = 0;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn different_things_are_counted_once_and_not_too_often() {
        let mut seen = Seen::default();
        let mut count = |from: u32, to: u32| (from..to).filter(|thing| seen.is_new(key(thing))).count();
        let first = count(0, 500);
        assert!((430..=500).contains(&first), "{first}");
        assert_eq!(count(0, 500), 0);
        assert!(count(0, 100_000) > 2048);
    }

    #[test]
    fn what_was_chosen_to_meet_in_one_window_does_not_in_another() {
        let count = |begins: u64, things: &[u64]| {
            let mut seen = Seen::default();
            seen.clear(begins);
            things.iter().filter(|thing| seen.is_new(key(thing))).count()
        };
        let chosen: Vec<u64> = (0..400_000).filter(|thing| count(1, &[0, *thing]) == 1).take(50).collect();
        assert_eq!((chosen.len(), count(1, &chosen)), (50, 1));
        assert!(count(2, &chosen) > 45, "{}", count(2, &chosen));
    }
}
