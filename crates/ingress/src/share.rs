//! How much of what all share one consumer may have: nobody has all of it, so that there is something for whoever comes next.
//!
//! Guarantees: of so many places the last eighth is for those that have few, which is a 64th. Does not: say who waits.

use std::collections::BTreeMap;
use std::sync::Arc;

/// Of how many places one is kept.
const KEPT: usize = 8;
/// Of how many places one is few.
const FEW: usize = 64;

/// Places, and who has how many.
#[derive(Debug)]
pub(crate) struct Shares {
    all: usize,
    taken: usize,
    /// Of those that have any.
    of: BTreeMap<Arc<str>, usize>,
}

impl Shares {
    pub(crate) fn new(all: usize) -> Self {
        Self { all, taken: 0, of: BTreeMap::new() }
    }

    /// Whether a consumer may have one more.
    pub(crate) fn may_take(&self, consumer: &str) -> bool {
        let own = self.of.get(consumer).copied().unwrap_or_default();
        let kept = if own < (self.all / FEW).max(1) { 0 } else { self.all / KEPT };
        self.taken < self.all - kept
    }

    /// It has one more.
    pub(crate) fn take(&mut self, consumer: &Arc<str>) {
        self.taken += 1;
        *self.of.entry(Arc::clone(consumer)).or_default() += 1;
    }

    /// It gives so many back.
    pub(crate) fn give_back(&mut self, consumer: &str, count: usize) {
        self.taken = self.taken.saturating_sub(count);
        let Some(own) = self.of.get_mut(consumer) else { return };
        *own = own.saturating_sub(count);
        if *own == 0 {
            self.of.remove(consumer);
        }
    }

    #[cfg(test)]
    pub(crate) fn is_empty(&self) -> bool {
        self.taken == 0 && self.of.is_empty()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn nobody_has_all_and_who_has_few_may_have_of_the_rest() {
        let mut shares = Shares::new(128);
        let [greedy, modest]: [Arc<str>; 2] = ["greedy", "modest"].map(Arc::from);
        let mut take = |who: &Arc<str>| {
            let mut count = 0;
            while shares.may_take(who) {
                shares.take(who);
                count += 1;
            }
            count
        };
        assert_eq!((take(&greedy), take(&modest), take(&greedy)), (112, 2, 0));
        shares.give_back(&greedy, 112);
        shares.give_back(&modest, 2);
        assert!(shares.is_empty());
    }
}
