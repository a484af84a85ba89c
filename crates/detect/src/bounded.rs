//! A map that never holds more than it may.
//!
//! Two generations: what is used is in the young one; when that is full, the old one is forgotten and the young one becomes
//! old. So every operation is constant, what was used lately stays, and what was forgotten is counted.

use std::collections::HashMap;
use std::hash::Hash;

/// At most `capacity` entries, the ones used last.
#[derive(Debug)]
pub(crate) struct Bounded<K, V> {
    young: HashMap<K, V>,
    old: HashMap<K, V>,
    half: usize,
    evicted: u64,
}

impl<K: Eq + Hash + Clone, V: Default> Bounded<K, V> {
    /// For at most so many entries.
    pub(crate) fn new(capacity: usize) -> Self {
        Self { young: HashMap::new(), old: HashMap::new(), half: (capacity / 2).max(1), evicted: 0 }
    }

    /// The entry, made if it is not there.
    pub(crate) fn entry(&mut self, key: &K) -> &mut V {
        if !self.young.contains_key(key) {
            if self.young.len() >= self.half {
                self.evicted += u64::try_from(self.old.len()).unwrap_or(u64::MAX);
                self.old = std::mem::take(&mut self.young);
            }
            if let Some(value) = self.old.remove(key) {
                self.young.insert(key.clone(), value);
            }
        }
        self.young.entry(key.clone()).or_default()
    }

    /// How many entries were forgotten.
    pub(crate) fn evicted(&self) -> u64 {
        self.evicted
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_used_stays_and_what_is_forgotten_is_counted() {
        let mut map = Bounded::<u32, u32>::new(8);
        for key in 0..1000 {
            *map.entry(&7) += 1;
            *map.entry(&key) += 1;
            assert!(map.young.len() + map.old.len() <= 8);
        }
        assert_eq!(*map.entry(&7), 1001);
        assert_eq!(*map.entry(&12), 0, "it was forgotten long ago");
        let held = u64::try_from(map.young.len() + map.old.len()).unwrap();
        assert!(map.evicted() + held >= 1000);
    }
}
