//! How much of requests' bodies may be held until it is known what they do.

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

/// Most bytes that are held of one body.
pub(crate) const MAX_HELD: usize = 16 * 1024 * 1024;
/// Most bytes that are held in one process.
const MAX_HELD_BY_ALL: usize = 64 * 1024 * 1024;

/// Bytes held in this process.
#[derive(Debug, Default)]
pub(crate) struct Hold(AtomicUsize);

/// Bytes of one body; no longer counted when it is dropped.
#[derive(Debug)]
#[must_use]
pub(crate) struct Held {
    hold: Arc<Hold>,
    length: usize,
}

impl Held {
    pub(crate) fn none(hold: &Arc<Hold>) -> Self {
        Self { hold: Arc::clone(hold), length: 0 }
    }

    /// Counts more; false if there is no room for it.
    #[must_use]
    pub(crate) fn more(&mut self, length: usize) -> bool {
        let fits = |held: usize, most: usize| held.checked_add(length).filter(|sum| *sum <= most);
        if fits(self.length, MAX_HELD).is_none() {
            return false;
        }
        let all = &self.hold.0;
        let taken =
            all.fetch_update(Ordering::Relaxed, Ordering::Relaxed, |held| fits(held, MAX_HELD_BY_ALL));
        self.length += if taken.is_ok() { length } else { 0 };
        taken.is_ok()
    }
}

impl Drop for Held {
    fn drop(&mut self) {
        self.hold.0.fetch_sub(self.length, Ordering::Relaxed);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn one_body_and_all_together_are_bounded_and_room_is_given_back() {
        let hold = Arc::new(Hold::default());
        let mut all: Vec<Held> = (0..4).map(|_| Held::none(&hold)).collect();
        for held in &mut all {
            assert!(held.more(MAX_HELD) && !held.more(1));
        }
        let mut fifth = Held::none(&hold);
        assert!(!fifth.more(1) && fifth.length == 0);
        drop(all.pop());
        assert!(fifth.more(MAX_HELD) && !fifth.more(usize::MAX));
        drop((all, fifth));
        assert_eq!(hold.0.load(Ordering::Relaxed), 0);
    }
}
